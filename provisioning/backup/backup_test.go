package backup

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var made = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

// office writes an office's state with a database that is being written to, and returns its folder.
func office(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	for name, text := range map[string]string{"users.json": "{}", "ca/issuing.key": "secret", "ledgers/d/g/log.jsonl": "line\n", "tmp/litter": "x", "witness/lock": ""} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "fleet.db")+"?_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, q := range []string{"CREATE TABLE room (device TEXT)", "INSERT INTO room VALUES ('room-3')"} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRestoreGivesWhatWasThere(t *testing.T) {
	state := office(t)
	file := filepath.Join(t.TempDir(), "office.tar")
	if err := Write(t.Context(), file, []Source{{"state", state, true}, {"office.yaml", "/nowhere/office.yaml", false}}, made); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup holds keys, and its mode is %v (%v)", info.Mode(), err)
	}
	to := filepath.Join(t.TempDir(), "new", "state")
	when, err := Restore(t.Context(), file, map[string]string{"state": to})
	if err != nil || !when.Equal(made) {
		t.Fatalf("restore: %v, %v", when, err)
	}
	for name, want := range map[string]string{"users.json": "{}", "ca/issuing.key": "secret", "ledgers/d/g/log.jsonl": "line\n"} {
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"tmp/litter", "witness/lock", "fleet.db-wal"} {
		if _, err := os.Stat(filepath.Join(to, name)); err == nil {
			t.Errorf("%s was restored", name)
		}
	}
	db, err := sql.Open("sqlite", filepath.Join(to, "fleet.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var device string
	if err := db.QueryRow("SELECT device FROM room").Scan(&device); err != nil || device != "room-3" {
		t.Errorf("the database holds %q, %v", device, err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "office.tar")
	if err := Write(t.Context(), file, []Source{{"state", office(t), true}}, made); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.LastIndex(string(good), "secret")
	flipped := append([]byte(nil), good...)
	flipped[secret] ^= 1
	for _, c := range []struct {
		rule string
		data []byte
		busy bool // something is at the target
		want string
	}{
		{"a changed byte", flipped, false, "damaged"},
		{"a file cut short", good[:len(good)/2], false, "damaged"},
		{"any other file", []byte("hello"), false, "not a backup"},
		{"a machine that is not empty", good, true, "not empty"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			dir := t.TempDir()
			from, to := filepath.Join(dir, "b.tar"), filepath.Join(dir, "state")
			if err := os.WriteFile(from, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			if c.busy {
				if err := os.MkdirAll(filepath.Join(to, "ca"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Restore(t.Context(), from, map[string]string{"state": to})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("restore: %v, want %q", err, c.want)
			}
			if _, err := os.Stat(filepath.Join(to, "users.json")); err == nil {
				t.Error("something was written")
			}
		})
	}
}

func TestWriteNeverReplacesABackup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "office.tar")
	if err := os.WriteFile(file, []byte("older"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(t.Context(), file, []Source{{"state", office(t), true}}, made); err == nil {
		t.Error("the older backup was replaced")
	}
	if got, _ := os.ReadFile(file); string(got) != "older" {
		t.Errorf("the older backup holds %q now", got)
	}
}

// TestLinksAreFollowed: a state folder, or a part of it, that lies on another disk is copied like any other.
func TestLinksAreFollowed(t *testing.T) {
	state := office(t)
	other := filepath.Join(t.TempDir(), "disk")
	if err := os.Rename(filepath.Join(state, "ledgers"), other); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "state")
	for name, to := range map[string]string{link: state, filepath.Join(state, "ledgers"): other, filepath.Join(state, "nowhere"): "/nowhere/at/all"} {
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "office.tar")
	if err := Write(t.Context(), file, []Source{{"state", link, true}}, made); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "state")
	if _, err := Restore(t.Context(), file, map[string]string{"state": to}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"users.json": "{}", "ledgers/d/g/log.jsonl": "line\n"} {
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
		}
	}
	if err := os.Symlink(".", filepath.Join(state, "round")); err != nil {
		t.Fatal(err)
	}
	if err := Write(t.Context(), file+"2", []Source{{"state", link, true}}, made); err == nil || !strings.Contains(err.Error(), "symbolic links") {
		t.Errorf("a link to its own folder: %v", err)
	}
}

// TestNothingWhereSomethingIsNeeded: a backup from which the office could not be built is none.
func TestNothingWhereSomethingIsNeeded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "office.tar")
	yaml := filepath.Join(t.TempDir(), "office.yaml")
	if err := os.WriteFile(yaml, []byte("name: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Write(t.Context(), file, []Source{{"office.yaml", yaml, true}, {"state", t.TempDir(), true}}, made)
	if _, there := os.Stat(file); err == nil || !strings.Contains(err.Error(), "state") || there == nil {
		t.Errorf("an empty state: %v", err)
	}
}
