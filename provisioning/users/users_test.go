package users

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestBookKeepsHashesOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "devices.json")
	b, err := Open(Devices, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := NewPassword()
	if len(p) != 32 || p == NewPassword() {
		t.Errorf("password %q", p)
	}
	if err := b.Add("room-3", p); err != nil {
		t.Fatal(err)
	}
	other, err := Open(Devices, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		rule, name, text string
		want             bool
	}{
		{"the password", "room-3", p, true}, {"again, without a hash", "room-3", p, true}, {"another", "room-3", "x" + p, false}, {"none", "room-3", "", false},
		{"another name", "room-4", p, false}, {"no name", "", p, false},
	} {
		if _, ok := other.Check(tt.name, tt.text); ok != tt.want {
			t.Errorf("%s: %v", tt.rule, ok)
		}
		if got := other.Knows(tt.name, tt.text); got != tt.want {
			t.Errorf("%s: known %v", tt.rule, got)
		}
	}
	raw, err := os.ReadFile(file)
	st, _ := os.Stat(file)
	if err != nil || strings.Contains(string(raw), p) || st.Mode().Perm() != 0o600 {
		t.Errorf("the file holds %s, mode %v, %v", raw, st.Mode(), err)
	}
	p2 := NewPassword()
	if err := other.Add("room-3", p2); err != nil {
		t.Fatal(err)
	}
	if _, ok := other.Check("room-3", p); ok || other.Knows("room-3", p) {
		t.Error("the old password still opens")
	}
	if _, ok := other.Check("room-3", p2); !ok {
		t.Error("the new one does not")
	}
}

func TestTwoWritersLoseNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "devices.json")
	var wg sync.WaitGroup
	for _, n := range []string{"a", "b", "c", "d", "e", "f"} {
		wg.Go(func() {
			b, err := Open(Devices, file, nil)
			if err == nil {
				err = b.Add(n, NewPassword())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b, err := Open(Devices, file, nil)
	if err != nil || len(b.Names()) != 6 {
		t.Errorf("kept %v, %v", b.Names(), err)
	}
}

func TestNamesAndPasswordsThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		rule       string
		kind       Kind
		name, text string
		roles      []string
		says       string
	}{
		{"a device with capitals", Devices, "Room-3", "long enough", nil, "lower-case"},
		{"a device with a slash", Devices, "a/b", "long enough", nil, "lower-case"},
		{"a person with a newline", People, "a\nb", "long enough", []string{Manager}, "letters"},
		{"a short password", People, "王某", "short", []string{Manager}, "longer"},
		{"a password too long to hash", People, "王某", strings.Repeat("x", 300), []string{Manager}, "shorter"},
		{"no role", People, "王某", "long enough", nil, "role"},
		{"an unknown role", People, "王某", "long enough", []string{"king"}, "manager"},
	} {
		b, err := Open(tt.kind, filepath.Join(dir, "x.json"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Add(tt.name, tt.text, tt.roles...); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.rule, err)
		}
	}
	for _, s := range []string{"{", "[]", `{"v":2}`, `{"v":1,"accounts":[{"name":"a","argon2id":"x"}]}`, `{"v":1} {}`, `{"v":1,"more":1}`} {
		file := filepath.Join(dir, "bad.json")
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Devices, file, nil); err == nil {
			t.Errorf("read %s", s)
		}
	}
}

func TestDoor(t *testing.T) {
	b, err := Open(People, filepath.Join(t.TempDir(), "users.json"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add("王某", "correct horse", Manager); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	d := NewDoor(b, func() time.Time { return now })
	tok, who, err := d.Login("192.0.2.1", "王某", "correct horse")
	if err != nil || who.Name != "王某" || !who.Is(Manager) || who.Is(Auditor) {
		t.Fatalf("%+v, %v", who, err)
	}
	if _, ok := d.Who(tok, true); !ok {
		t.Error("not let in")
	}
	if _, ok := d.Who(tok+"x", true); ok {
		t.Error("a wrong token")
	}
	now = now.Add(LoginIdle - time.Second)
	if _, ok := d.Who(tok, false); !ok {
		t.Error("out too soon")
	}
	now = now.Add(time.Second)
	if _, ok := d.Who(tok, true); ok {
		t.Error("a page that refreshes itself kept the login alive")
	}
	for i := range FreeFailures {
		if _, _, err := d.Login("192.0.2.1", "王某", "wrong"); err != Wrong {
			t.Errorf("failure %d: %v", i, err)
		}
	}
	if _, _, err := d.Login("192.0.2.1", "王某", "correct horse"); err != Held {
		t.Errorf("after failures: %v", err)
	}
	now = now.Add(FirstHold)
	tok, _, err = d.Login("192.0.2.1", "王某", "correct horse")
	if err != nil {
		t.Fatalf("after the hold: %v", err)
	}
	if err := b.Add("王某", "another horse", Manager); err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Who(tok, true); ok {
		t.Error("a new password ends old logins")
	}
	tok, _, err = d.Login("192.0.2.1", "王某", "another horse")
	if d.Logout(tok); err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Who(tok, true); ok {
		t.Error("logged out")
	}
}

func TestHoldOffGrowsAndIsBounded(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	h := NewHoldOff(2, func() time.Time { return now })
	h.Fail("a")
	if h.Held("a") {
		t.Error("one is free")
	}
	h.Fail("a")
	now = now.Add(FirstHold)
	if h.Held("a") {
		t.Error("held too long")
	}
	h.Fail("a")
	now = now.Add(2*FirstHold - 1)
	if !h.Held("a") || h.Held("b") {
		t.Error("each failure doubles the wait, of this key alone")
	}
	for i := range 3 * maxKeys {
		h.Fail(strings.Repeat("k", i%100) + time.Duration(i).String())
	}
	if len(h.by) > maxKeys {
		t.Errorf("%d keys", len(h.by))
	}
}

func FuzzParsePassword(f *testing.F) {
	f.Add(newPassword(Devices, "x").String())
	f.Add("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parsePassword(s); err == nil && p.String() != s {
			t.Errorf("%q parsed as %q", s, p)
		}
	})
}
