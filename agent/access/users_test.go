package access

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAdd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.json")
	for _, tt := range []struct {
		rule, name, password string
		roles                []string
		want                 string // part of the error
	}{
		{"a new user is an operator", "wang", "12345678", nil, ""},
		{"names in Chinese", "王某", "八个汉字也算密码", []string{Auditor, Manager}, ""},
		{"again: new password, new roles", "wang", "87654321", []string{Supervisor}, ""},
		{"a short password", "li", "1234567", nil, "take a longer one"},
		{"a giant one", "li", strings.Repeat("x", 257), nil, "take a shorter one"},
		{"an unknown role", "li", "12345678", []string{"root"}, "use one of approver"},
		{"no name", "", "12345678", nil, "1 to 64 bytes"},
		{"a name with a space", "li si", "12345678", nil, "use letters"},
		{"a name with a line break", "li\n", "12345678", nil, "use letters"},
		{"a name that turns the writing direction", "li\u202e", "12345678", nil, "use letters"},
		{"the panel's name", "panel", "12345678", nil, "take another"},
		{"the simulation's name", "sim", "12345678", nil, "take another"},
	} {
		err := Add(file, tt.name, tt.password, tt.roles...)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Add = %v, want %q", tt.rule, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), tt.password) && tt.password != "" {
			t.Errorf("%s: the error shows the password", tt.rule)
		}
	}
	users, err := readUsers(file)
	if err != nil || len(users) != 2 || users[0].Roles[0] != Supervisor || !users[0].password.is("87654321") || users[0].password.is("12345678") {
		t.Errorf("users = %+v, %v; want two, the first changed", users, err)
	}
	st, err := os.Stat(file)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", st.Mode(), err)
	}
	b, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(b), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("file %s, %v: want Argon2id with 19 MiB and 2 passes", b, err)
	}
}

func TestAddNeedsItsFolder(t *testing.T) {
	if err := Add(filepath.Join(t.TempDir(), "nowhere", "users.json"), "wang", "12345678"); err == nil {
		t.Error("Add into no folder succeeded")
	}
}

func TestAUserAddedLaterMayLogIn(t *testing.T) {
	r := newRoom(t, ModeLogin)
	if err := Add(r.file, "new", secret); err != nil {
		t.Fatal(err)
	}
	r.login(t, "new")
}

func TestOpenRefusesADamagedFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.json")
	if err := os.WriteFile(file, []byte(`{"v":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{File: file, Mode: ModeLogin, Uptime: func() time.Duration { return 0 }, Record: func(context.Context, Entry) error { return nil }})
	if err == nil || !strings.Contains(err.Error(), "version 1") {
		t.Errorf("Open = %v, want what is wrong", err)
	}
}

func FuzzParseUsers(f *testing.F) {
	good := newPassword("12345678").String()
	f.Add([]byte(`{"v":1,"users":[{"name":"wang","roles":["operator"],"argon2id":"` + good + `"}]}`))
	f.Add([]byte(`{"v":1,"users":[{"name":"a","roles":null,"argon2id":"$argon2id$v=19$m=99999999,t=2,p=1$AAAA$AAAA"}]}`))
	f.Add([]byte(`{"v":1,"users":[]}{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		users, err := parseUsers(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(userFile{1, users})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseUsers(again); err != nil {
			t.Errorf("what parsed does not parse again: %v", err)
		}
		for _, u := range users {
			if u.password.kib > maxKiB || u.password.String() != u.Hash {
				t.Errorf("%q passed", u.Hash)
			}
		}
	})
}
