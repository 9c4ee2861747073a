package scenario

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// spoil changes a file in place.
func spoil(t *testing.T, name string, change func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestDamageIsMended: the power was cut in the middle of a session, and the ends of its logs and of the ledger are
// rubbish, on each disk another kind; the catalogue is damaged in a page. Doctor says so and mends it, as a start
// does, and not a byte is lost that was signed.
func TestDamageIsMended(t *testing.T) {
	t.Parallel()
	a := silentRoom(t, "room-damage", Disks(t, 2, 700))
	first := a.recordOne()
	id := a.Begin()
	pause(3 * time.Second)
	a.Kill()
	state := filepath.Join(a.Dir, "state")
	logs := []string{filepath.Join(a.Session(0, id), "log.jsonl"), filepath.Join(a.Session(1, id), "log.jsonl")}
	signed, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	end := []byte(`,"type":"sign"}` + "\n")
	signed = signed[:bytes.LastIndex(signed, end)+len(end)]
	fragments := bytes.Count(signed, []byte(`"type":"fragment"`))
	spoil(t, logs[0], func([]byte) []byte { return append(bytes.Clone(signed), "{\"body\":\"0123 \xff\x00 rubbish"...) })
	spoil(t, logs[1], func(b []byte) []byte { clear(b[max(0, len(b)-700):]); return b }) // into what is signed there
	masters, err := filepath.Glob(filepath.Join(state, "ledger", "*", "log.jsonl"))
	if err != nil || len(masters) != 1 {
		t.Fatalf("ledgers: %v %v", masters, err)
	}
	spoil(t, masters[0], func(b []byte) []byte { return append(b, make([]byte, 300)...) })
	spoil(t, filepath.Join(a.disks[1], strings.TrimPrefix(masters[0], state)), func(b []byte) []byte { clear(b[len(b)-100:]); return b })
	page := func(b []byte) []byte {
		for i := 4096; i < 8192 && i < len(b); i++ {
			b[i] ^= 0x55
		}
		return b
	}
	catalogue := filepath.Join(state, "catalogue.db")
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(catalogue + suffix); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	spoil(t, catalogue, page)

	if levels, _, _ := a.findings(t, "catalogue"); levels["ledger"] != "note" || levels["sessions.interrupted"] != "note" {
		t.Errorf("with damage: %v", levels)
	}
	expectExit(t, 0, id+": 已修复并封存", "doctor", "--repair", "--config", a.Config)
	if levels, _, _ := a.findings(t); levels["catalogue"] != "good" || levels["ledger"] != "good" || levels["sessions.interrupted"] != "" || levels["sessions.copies B"] != "" {
		t.Errorf("after the repair: %v", levels)
	}
	for _, name := range logs {
		if b, err := os.ReadFile(name); err != nil || !bytes.Equal(b, signed) {
			t.Errorf("%s holds %d bytes, %d were signed: %v", name, len(b), len(signed), err)
		}
	}
	code, out := lab.Verify(t, "--require", "0", "--trust", a.Trust(), a.disks[0], a.disks[1])
	if code != 3 || fragments == 0 {
		t.Errorf("verify exits %d of %d signed fragments\n%s", code, fragments, out)
	}
	if aside, err := filepath.Glob(filepath.Join(a.disks[0], "ledger", "*.foreign-*")); err != nil || len(aside) > 0 {
		t.Errorf("a ledger with zeros at its end was called another's: %v %v", aside, err)
	}

	spoil(t, catalogue, page) // and once more before a start
	a.Restart()
	for _, want := range []struct{ id, state string }{{first, "sealed"}, {id, "recovered"}} {
		Wait(t, 20*time.Second, "the catalogue is built anew", func() bool {
			res, err := http.Get(a.base + "/api/v1/sessions/" + want.id)
			if err != nil {
				return false
			}
			res.Body.Close()
			return res.StatusCode == http.StatusOK
		})
		var s struct{ State string }
		a.Call("GET", "/sessions/"+want.id, nil, &s, http.StatusOK)
		if s.State != want.state {
			t.Errorf("%s is %q, want %q", want.id, s.State, want.state)
		}
	}
	if code := a.Stop(); code != 0 {
		t.Errorf("exit %d\n%s", code, a.Log())
	}
}
