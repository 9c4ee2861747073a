package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTrustExportAgain: an export takes the place of an earlier one, whole; what is not one is left alone.
func TestTrustExportAgain(t *testing.T) {
	file := withCA(t)
	to := filepath.Join(t.TempDir(), "trust")
	export := func(want int, said string) {
		t.Helper()
		if code, out, err := do(t, "", "trust", "export", "--config", file, "--to", to); code != want || !strings.Contains(out+err, said) {
			t.Fatalf("trust export: %d %s%s", code, out, err)
		}
	}
	export(0, "SHA-256")
	gone := filepath.Join(to, "known", "room-9-abcdef.pem") // as if it had been in the earlier one
	if err := os.MkdirAll(filepath.Dir(gone), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(gone, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	link := to + "-link"
	if err := os.Symlink(to, link); err != nil {
		t.Fatal(err)
	}
	to = link
	export(0, "SHA-256")
	if _, err := os.Stat(gone); err == nil {
		t.Error("a file of the earlier export is still there")
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is one no more: %v", err)
	}
	if list, err := os.ReadDir(filepath.Dir(link)); err != nil || len(list) != 2 {
		t.Errorf("left behind: %v, %v", list, err)
	}
	own := filepath.Join(to, "witness", "province.vkey")
	if err := os.WriteFile(own, []byte("# mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	export(2, "province.vkey is of no export")
	if err := os.Remove(own); err != nil {
		t.Fatal(err)
	}
	file = withCA(t)
	export(2, "another authority")
}

// withCA is the configuration of an office with an authority.
func withCA(t *testing.T) (file string) {
	t.Helper()
	file = write(t, demo)
	phrase := filepath.Join(t.TempDir(), "phrase")
	if err := os.WriteFile(phrase, []byte("correct horse battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, said := do(t, "", "ca", "init", "--config", file, "--passphrase", phrase); code != 0 {
		t.Fatalf("ca init: %d %s%s", code, out, said)
	}
	return file
}

// TestWitnessKeepsItsName: a witness that stands alone prints the key others know it by, and under no other name.
func TestWitnessKeepsItsName(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		rule string
		name string
		code int
		want string
	}{
		{"it has no name yet", "", 2, "--name"},
		{"a name that is none", "a b", 2, ""},
		{"its name", "witness.example/w", 0, "witness.example/w+"},
		{"without the name", "", 0, "witness.example/w+"},
		{"another name", "witness.example/x", 2, `called "witness.example/w"`},
	} {
		args := []string{"witness", "vkey", "--state", dir}
		if c.name != "" {
			args = append(args, "--name", c.name)
		}
		if code, out, said := do(t, "", args...); code != c.code || !strings.Contains(out+said, c.want) {
			t.Errorf("%s: %d %s%s", c.rule, code, out, said)
		}
	}
}

// TestNoUselessPassword: an office that takes no passwords hands out none, and says what a room needs.
func TestNoUselessPassword(t *testing.T) {
	file := write(t, "mqtt: {listen: \"127.0.0.1:0\", tls: {from_ca: true}, passwords: false}\n")
	code, out, said := do(t, "", "device", "add", "room-3", "--config", file)
	if code != 2 || out != "" || !strings.Contains(said, "enrol code room-3") {
		t.Errorf("device add: %d %q %s", code, out, said)
	}
}
