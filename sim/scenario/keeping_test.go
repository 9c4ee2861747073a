package scenario

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// keepingRoom is a room with an archive, two folders as disks, and people. free is the percent below which room is made.
func keepingRoom(t *testing.T, free int) (a *Agent, disks []string, archive string) {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"a", "b"} {
		disks = append(disks, filepath.Join(root, d))
	}
	archive = filepath.Join(root, "archive")
	for _, d := range append(disks, archive) {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a = lab.Start(t, Room{Body: "{name: 测试机关, uscc: 111400000000000011}", Auth: "login", Channels: map[string]string{"face": SimCamera, "voice": SimMicrophone}, Disks: disks,
		Preroll: "0s", Postroll: "0s", Extra: fmt.Sprintf("archive: {folder: %s}\nkeep: {local: 0s, free_below: %d}\n", archive, free)})
	for _, u := range [][]string{{"wang", "--role", "operator"}, {"shen", "--role", "auditor"}, {"qian", "--role", "keeper"}, {"zhao", "--role", "approver"}} {
		cmd := exec.Command(lab.Agent, append([]string{"user", "add", "--config", a.Config}, u...)...)
		cmd.Stdin = strings.NewReader(roomPassword + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("user add %v: %v: %s", u, err, out)
		}
	}
	return a, disks, archive
}

// recordKept records a session of a case and waits for its seal.
func (a *Agent) recordKept(t *testing.T, caseNo string) (id string) {
	t.Helper()
	var began struct {
		ID string `json:"id"`
	}
	a.Call("POST", "/session", map[string]any{"case": caseNo}, &began, http.StatusCreated)
	pause(1500 * time.Millisecond)
	a.Call("POST", "/session/stop", map[string]string{"reason": "test"}, nil, http.StatusAccepted)
	Wait(t, 30*time.Second, "the seal", func() bool {
		_, err := os.Stat(filepath.Join(a.Session(1, began.ID), "manifest.json.p7s"))
		return err == nil
	})
	return began.ID
}

// desk is a person's browser at the page "keeping".
func (a *Agent) desk(t *testing.T, name string, width, height int64, lang string) func(what string, tasks ...chromedp.Action) {
	t.Helper()
	ctx := chromium(t)
	do := func(what string, tasks ...chromedp.Action) {
		t.Helper()
		var b []byte
		err := chromedp.Run(ctx, tasks...)
		_ = chromedp.Run(ctx, chromedp.CaptureScreenshot(&b))
		shot(t, fmt.Sprintf("keeping-%s-%dx%d-%s", name, width, height, lang), b)
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, a.Log())
		}
	}
	do(name+" logs in", chromedp.EmulateViewport(width, height), chromedp.Navigate(a.base+"/login"), chromedp.Evaluate("document.cookie='lang="+lang+"; path=/'", nil),
		chromedp.Navigate(a.base+"/login"), chromedp.SendKeys("[name=name]", name), chromedp.SendKeys("[name=password]", roomPassword+kb.Enter), poll("location.pathname === '/'"),
		chromedp.Navigate(a.base+"/keeping"))
	return do
}

func there(folder string) bool { _, err := os.Stat(folder); return err == nil }

// whole fails if a copy is neither there whole nor gone.
func whole(t *testing.T, a *Agent, id string, disks []string) (copies int) {
	t.Helper()
	for i := range disks {
		dir := a.Session(i, id)
		if !there(dir) {
			continue
		}
		copies++
		for _, f := range []string{"manifest.json", "manifest.json.p7s", "log.jsonl", "face-00001.mp4", "voice-00001.mp4"} {
			if !there(filepath.Join(dir, f)) {
				t.Fatalf("half a session: %s lacks %s", dir, f)
			}
		}
	}
	return copies
}

// TestKeepingKilled kills the agent at random moments while it hands over and makes room: a copy is there whole or
// gone, none goes before the ledger says archived, and what the archive has is whole.
func TestKeepingKilled(t *testing.T) {
	t.Parallel()
	a, disks, archive := keepingRoom(t, 90)
	a.WaitLive(20 * time.Second)
	id := a.recordKept(t, "某市监罚〔2026〕1号")
	archived := func() bool {
		return strings.Contains(a.ledgerText(t), `"session":"`+id+`"`) && strings.Contains(a.ledgerText(t), `"type":"archived"`)
	}
	for i := range 8 {
		pause(time.Duration(rand.IntN(3000)) * time.Millisecond)
		a.Kill()
		if n := whole(t, a, id, disks); n < len(disks) && !archived() {
			t.Fatalf("kill %d: %d copies, and the ledger does not say archived", i, n)
		}
		a.Restart()
	}
	Wait(t, 90*time.Second, "room is made", func() bool { return archived() && whole(t, a, id, disks) == 0 })
	bags, err := filepath.Glob(filepath.Join(archive, "*", id))
	if err != nil || len(bags) != 1 {
		t.Fatalf("the archive holds %v, %v", bags, err)
	}
	if code, out := lab.Verify(t, bags[0], "--trust", a.Trust()); code != 0 {
		t.Errorf("the archive's bag: exit %d\n%s", code, out)
	}
	if code := a.Stop(); code != 0 {
		t.Fatalf("exit %d\n%s", code, a.Log())
	}
	if code, out := lab.Verify(t, disks[0], "--trust", a.Trust()); strings.Contains(out, "missing") || !strings.Contains(out, "archived") {
		t.Errorf("the disk: exit %d\n%s", code, out)
	}
}

// TestDestructionAfterExpiry is the story from an expired session to its destruction, with the agent killed at every turn:
// held it stays, one person is not enough, and what remains are digests, entries and the list with two names.
func TestDestructionAfterExpiry(t *testing.T) {
	t.Parallel()
	a, disks, archive := keepingRoom(t, 0)
	lists := filepath.Join(t.TempDir(), "lists.json")
	b, err := json.Marshal(map[string]any{"v": 1, "device": "room-test", "t": time.Now().UTC().Format(time.RFC3339),
		"bodies": []any{map[string]any{"name": "测试机关", "uscc": "111400000000000011", "rules": map[string]any{}}},
		"cases":  []any{map[string]any{"case": "旧案", "body": "111400000000000011", "keep_until": "2026-01-01"}}})
	if err == nil {
		err = os.WriteFile(lists, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	run(t, lab.Agent, "lists", "import", lists, "--config", a.Config)
	a.WaitLive(20 * time.Second)
	old := a.recordKept(t, "旧案")
	kept := a.recordKept(t, "新案")
	bag := func(id string) bool {
		m, _ := filepath.Glob(filepath.Join(archive, "*", id, "receipt.json"))
		return len(m) == 1
	}
	Wait(t, 60*time.Second, "both are archived", func() bool { return bag(old) && bag(kept) })
	step := time.Duration(0)
	years := func() { // the time after a restart is the machine's again, and no clock goes back
		step += 24 * time.Hour
		a.sim(fmt.Sprintf("fault/clock-step?by=%s", 250*24*time.Hour+step))
	}
	years()
	people := map[string]*visitor{}
	login := func() {
		for _, n := range []string{"shen", "qian", "zhao", "wang"} {
			people[n] = a.visitor(n)
		}
	}
	login()
	type state struct {
		Sessions []struct {
			ID, Until, Do, Why, Gone string
			Due, Held                bool
		}
		Holds      []struct{ ID string }
		Appraisals []struct {
			ID    string
			Final bool
		}
	}
	look := func() (s state) {
		if code, out := people["shen"].do("GET", "/keeping", ""); code != http.StatusOK || json.Unmarshal([]byte(out), &s) != nil {
			t.Fatalf("keeping: %d %s", code, out)
		}
		return s
	}
	due := func(id string) bool {
		for _, s := range look().Sessions {
			if s.ID == id {
				return s.Due
			}
		}
		return false
	}
	must := func(who, path, body string, want int) string {
		t.Helper()
		code, out := people[who].do("POST", path, body)
		if code != want {
			t.Fatalf("%s: POST %s: %d %s, want %d", who, path, code, out, want)
		}
		return out
	}
	must("wang", "/keeping/holds", fmt.Sprintf(`{"session":%q,"reason":"x"}`, old), http.StatusForbidden)
	must("qian", "/keeping/holds", `{"case":"旧案","reason":"行政复议"}`, http.StatusCreated) // and so the plan is made anew
	Wait(t, 30*time.Second, "the hold", func() bool { s := look(); return len(s.Holds) == 1 && !due(old) })
	propose := fmt.Sprintf(`{"sessions":[%q],"reason":"保存期满"}`, old)
	must("qian", "/keeping/appraisals", propose, http.StatusConflict)
	a.Kill()
	a.Restart()
	a.WaitLive(20 * time.Second)
	years()
	login()
	s := look()
	if len(s.Holds) != 1 {
		t.Fatalf("the hold did not outlive a kill: %+v", s)
	}
	must("qian", "/keeping/holds/"+s.Holds[0].ID+"/release", `{"reason":"复议结束"}`, http.StatusForbidden)
	must("shen", "/keeping/holds/"+s.Holds[0].ID+"/release", `{"reason":"复议结束"}`, http.StatusOK)
	Wait(t, 30*time.Second, "it is due", func() bool { return due(old) })
	must("qian", "/keeping/appraisals", fmt.Sprintf(`{"sessions":[%q,%q],"reason":"保存期满"}`, old, kept), http.StatusConflict) // nobody knows until when the other case is kept
	qian := a.desk(t, "qian", 1024, 600, "zh")
	qian("the keeper proposes", poll("document.querySelector('#sessions input[aria-label=\""+old+"\"]')"), chromedp.Click("#sessions input[aria-label='"+old+"']"),
		chromedp.Click("#propose"), chromedp.SendKeys("#why", "保存期满"+kb.Enter), poll("document.querySelector('#lists li')"))
	qian("one person is not enough", poll("document.querySelector('#lists li button') && !document.querySelector('#lists li button.strong')"))
	id := look().Appraisals[0].ID
	must("qian", "/keeping/appraisals/"+id, `{"give":true}`, http.StatusForbidden)
	if !there(a.Session(0, old)) || !there(a.Session(1, old)) {
		t.Fatal("it is gone before the second word")
	}
	a.desk(t, "zhao", 1920, 1080, "en")("another person approves", poll("document.querySelector('#lists li button.strong')"), chromedp.Click("#lists li button.strong"),
		poll("/Approved/.test(document.querySelector('#lists li strong').textContent)"))
	for i := range 5 {
		pause(time.Duration(rand.IntN(150)) * time.Millisecond)
		a.Kill()
		if n := whole(t, a, old, disks); n < len(disks) && !strings.Contains(a.ledgerText(t), `"type":"destroying"`) {
			t.Fatalf("kill %d: %d copies, and the ledger does not say destroying", i, n)
		}
		a.Restart()
		years()
	}
	Wait(t, 60*time.Second, "it is destroyed", func() bool { return strings.Contains(a.ledgerText(t), `"type":"destroyed"`) })
	if whole(t, a, old, disks) != 0 || bag(old) || whole(t, a, kept, disks) != 2 || !bag(kept) {
		t.Errorf("left of the destroyed: %d copies, archive %v; of the other: %d copies, archive %v", whole(t, a, old, disks), bag(old), whole(t, a, kept, disks), bag(kept))
	}
	a.WaitLive(20 * time.Second)
	login()
	for _, x := range look().Sessions {
		if x.ID == old && x.Gone != "destroyed" {
			t.Errorf("the list says %+v", x)
		}
	}
	a.desk(t, "shen", 1024, 600, "zh")("what remains is told", poll("[...document.querySelectorAll('#sessions tr')].some((r) => r.textContent.includes('"+old+"') && r.textContent.includes('已销毁'))"))
	if code := a.Stop(); code != 0 {
		t.Fatalf("exit %d\n%s", code, a.Log())
	}
	trust := a.Trust()
	if _, out := lab.Verify(t, disks[1], "--trust", trust); !strings.Contains(out, "device's word") {
		t.Errorf("without a trusted appraiser:\n%s", out)
	}
	pem, err := os.ReadFile(filepath.Join(trust, "device.pem"))
	if err == nil {
		err = os.Mkdir(filepath.Join(trust, "appraisers"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(trust, "appraisers", "room.pem"), pem, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, out := lab.Verify(t, disks[1], "--trust", trust); !strings.Contains(out, "approved by qian (qian) and zhao (zhao)") || strings.Contains(out, "missing") {
		t.Errorf("with the room itself as a trusted appraiser:\n%s", out)
	}
}
