package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TSA starts a time-stamping authority in a process of its own and returns its address and the file of its root.
func (l *Lab) TSA(t testing.TB, dir string) (url, root string, p *process) {
	t.Helper()
	p = start(t, l.Sim, "tsa", "--dir", dir, "--listen", "127.0.0.1:0")
	Wait(t, 10*time.Second, "the time-stamping authority listens", func() bool {
		_, rest, ok := strings.Cut(p.out.String(), "http://")
		addr, _, whole := strings.Cut(rest, "/")
		url = "http://" + addr + "/"
		return ok && whole
	})
	return url, filepath.Join(dir, "root.pem"), p
}

// believe puts the root of an authority into the agent's trust folder.
func (a *Agent) believe(root string) {
	a.t.Helper()
	dir := filepath.Join(a.Dir, "state", "trust", "tsa")
	b, err := os.ReadFile(root)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "root.pem"), b, 0o644)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

// anchorsOf reads the anchor files of a session.
func anchorsOf(t testing.TB, folder string) (list []anchorFile) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "tokens", "anchor-*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var a anchorFile
		if err := json.Unmarshal(b, &a); err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	return list
}

type anchorFile struct {
	Token        string
	Cosignatures []string
	Lines        []struct{ Line string }
}

// sealedWith reports whether one anchor with a token holds the session's `sealed` line.
func sealedWith(list []anchorFile) bool {
	for _, a := range list {
		for _, l := range a.Lines {
			if a.Token != "" && strings.Contains(l.Line, `"type":"sealed"`) {
				return true
			}
		}
	}
	return false
}

// proofs waits until a session has its outside proofs on every disk, and lets openssl judge the seal's.
func (a *Agent) proofs(id, root string, within time.Duration) {
	a.t.Helper()
	for disk := range a.disks {
		folder := a.Session(disk, id)
		Wait(a.t, within, "the seal of "+id+" is stamped", func() bool {
			_, err := os.Stat(filepath.Join(folder, "manifest.json.tsr"))
			return err == nil && sealedWith(anchorsOf(a.t, folder))
		})
		c := exec.Command("openssl", "ts", "-verify", "-data", "manifest.json.p7s", "-in", "manifest.json.tsr", "-CAfile", root)
		c.Dir = folder
		if out, err := c.CombinedOutput(); err != nil {
			a.t.Errorf("openssl ts -verify: %v\n%s", err, out)
		}
	}
}

// TestTokensDirect: a room with an authority it can reach. The open line names the token that came before,
// the log the tokens that came while it ran, and the sealed session has all of them on both disks.
func TestTokensDirect(t *testing.T) {
	t.Parallel()
	url, root, _ := lab.TSA(t, t.TempDir())
	a := lab.Start(t, Room{Channels: map[string]string{"voice": SimMicrophone}, Disks: []string{t.TempDir(), t.TempDir()}, Preroll: "0s", Postroll: "0s",
		Extra: fmt.Sprintf("timestamp: {urls: [%q]}\n", url)})
	a.believe(root)
	a.WaitLive(20 * time.Second)
	Wait(t, 20*time.Second, "the ledger has a token from before the session", func() bool {
		tokens, err := filepath.Glob(filepath.Join(a.Dir, "state", "ledger", "*", "anchors", "*.tsr"))
		return err == nil && len(tokens) > 0
	})
	id := a.Begin()
	log := filepath.Join(a.Session(0, id), "log.jsonl")
	Wait(t, 20*time.Second, "the session's log names a token", func() bool {
		b, err := os.ReadFile(log)
		return err == nil && bytes.Contains(b, []byte(`"type":"anchor"`))
	})
	a.End(id)
	began := time.Now()
	a.proofs(id, root, 20*time.Second)
	figure(t, "proofs of a sealed session after %v, %d anchors", time.Since(began).Round(time.Millisecond), len(anchorsOf(t, a.Session(0, id))))
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	if strings.Contains(first, `"token":""`) {
		t.Errorf("the open line names no token: %s", first)
	}
	if n := len(anchorsOf(t, a.Session(0, id))); n < 3 {
		t.Errorf("%d anchors, want one from before, one from the opening, one over the seal", n)
	}
	dir := a.Trust()
	if err := os.MkdirAll(filepath.Join(dir, "tsa"), 0o755); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(root)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "tsa", "root.pem"), pem, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if code, out := lab.Verify(t, a.disks[0], "--trust", dir, "--require", "2"); code != 0 {
		t.Errorf("verify --require 2: exit %d\n%s", code, out)
	}
}

// TestTokensThroughTheOffice: a room without internet. The office is away while a session is recorded and
// sealed, the agent is restarted; when the office is back, the session gets its proofs.
func TestTokensThroughTheOffice(t *testing.T) {
	t.Parallel()
	url, root, _ := lab.TSA(t, t.TempDir())
	o := lab.Office(t, "room-test")
	f, err := os.OpenFile(o.Config, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintf(f, "timestamp: {urls: [%q], roots: [%q]}\n", url, root)
	}
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	o.Stop()
	a := lab.Start(t, Room{Channels: map[string]string{"voice": SimMicrophone}, Disks: []string{t.TempDir(), t.TempDir()}, Preroll: "0s", Postroll: "0s", Extra: o.Reports("room-test")})
	a.believe(root)
	a.WaitLive(20 * time.Second)
	away := a.Begin()
	a.End(away)
	a.Kill()
	a.Restart()
	if _, err := os.Stat(filepath.Join(a.Session(0, away), "manifest.json.tsr")); err == nil {
		t.Error("a session sealed while nobody could be asked has a token")
	}
	o.Restart()
	back := time.Now()
	a.proofs(away, root, 60*time.Second)
	figure(t, "proofs of a session sealed while the office was away %v after the office is back", time.Since(back).Round(time.Millisecond))
	a.WaitLive(20 * time.Second)
	here := a.Begin()
	a.End(here)
	a.proofs(here, root, 20*time.Second)
	for _, r := range o.Refusals() {
		t.Errorf("the office refused %+v", r)
	}
}
