package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"minglu/agent/evidence"
)

// today's lists of a room: an officer whose credential is good, one whose is not, a matter with an agenda.
const roomLists = `{"v":1,"t":"2026-11-23T01:00:00Z","bodies":[{"name":"测试机关","uscc":"11110000MA01AAAA0D","rules":{"max_minutes":60}}],
"officers":[{"name":"王某","credential":"A1","body":"11110000MA01AAAA0D"},{"name":"李某","credential":"A2","body":"11110000MA01AAAA0D","to":"2020-01-01"}],
"matters":[{"id":"TZ-01","version":"2026-1","name":"行政处罚听证","kind":"hearing","agenda":["核对身份","告知权利"],"retention":{"kind":"case"},"limit_minutes":30}],
"bookings":[],"cases":[{"case":"测市监罚〔2026〕12号","body":"11110000MA01AAAA0D"}]}`

// shown is what this test looks at of a state.
type shown struct {
	State   string
	Session *struct {
		ID, Case, Continues, Trigger, Question string
		Matter                                 any // a name, or {id, version, name}
		Agenda                                 []string
		LimitMS                                int64 `json:"limit_ms"`
		Prompts                                []struct{ Text, Who string }
	}
}

// TestHearingOverThreeDays is the real programs' hearing: matter from the office's list, case by scanner, adjourned,
// continued by a scan, a power cut in the middle, ended; then completed at a desk, and something else was not recorded.
func TestHearingOverThreeDays(t *testing.T) {
	t.Parallel()
	disks := Disks(t, 2, 400)
	a := lab.Start(t, Room{Body: "{name: 测试机关, uscc: 11110000MA01AAAA0D}", Channels: map[string]string{"face": SimCamera}, Disks: []string{disks[0].Dir, disks[1].Dir},
		Preroll: "0s", Postroll: "0s", Extra: "scanner: {sim: {}}\n"})
	trust := a.Trust()
	file := filepath.Join(t.TempDir(), "lists.json")
	if err := os.WriteFile(file, []byte(roomLists), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(lab.Agent, "lists", "import", "--config", a.Config, file).CombinedOutput(); err != nil {
		t.Fatalf("lists import: %v: %s", err, out)
	}
	var c struct {
		Officers  []struct{ Credential string }
		Matters   []struct{ ID string }
		Adjourned []struct{ Session string }
	}
	Wait(t, 20*time.Second, "the lists are taken", func() bool { a.Call("GET", "/choices", nil, &c, http.StatusOK); return len(c.Matters) == 1 })
	if len(c.Officers) != 1 || c.Officers[0].Credential != "A1" {
		t.Errorf("officers valid today: %+v", c.Officers)
	}
	a.WaitLive(20 * time.Second)

	var s shown
	look := func() shown { s = shown{}; a.Call("GET", "/state", nil, &s, http.StatusOK); return s }
	ended := func(id, reason string) {
		t.Helper()
		pause(time.Second)
		a.Call("POST", "/session/stop", map[string]string{"reason": reason}, nil, http.StatusAccepted)
		Wait(t, 30*time.Second, "sealed", func() bool {
			var x struct{ State string }
			a.Call("GET", "/sessions/"+id, nil, &x, http.StatusOK)
			return x.State == "sealed"
		})
	}
	scan := func() { a.sim("scan?code=" + url.QueryEscape("测市监罚[2026]12号")) }

	var started struct{ ID string }
	a.Call("POST", "/session", map[string]any{"matter": map[string]string{"id": "TZ-01"}, "officers": []string{"王某 A1"}}, &started, http.StatusCreated)
	first := started.ID
	scan()
	Wait(t, 5*time.Second, "the scan completes the case", func() bool { return look().Session != nil && s.Session.Case == "测市监罚〔2026〕12号" })
	if !listed(s.Session.Matter) || len(s.Session.Agenda) != 2 || s.Session.LimitMS != 30*60*1000 {
		t.Errorf("the matter of the list: %+v", s.Session)
	}
	a.Call("POST", "/session/mark", map[string]string{"text": "核对身份", "kind": "agenda"}, nil, http.StatusOK)
	a.Call("POST", "/session/prompt", map[string]string{"text": "请出示证件"}, nil, http.StatusOK)
	if look(); len(s.Session.Prompts) != 1 || s.Session.Prompts[0].Text != "请出示证件" {
		t.Errorf("prompts: %+v", s.Session.Prompts)
	}
	a.Call("POST", "/session/seen", map[string]string{}, nil, http.StatusOK)
	ended(first, "adjourned")
	a.Call("GET", "/choices", nil, &c, http.StatusOK)
	if len(c.Adjourned) != 1 || c.Adjourned[0].Session != first {
		t.Errorf("adjourned: %+v", c.Adjourned)
	}

	scan() // the second day
	Wait(t, 5*time.Second, "the scan continues the hearing", func() bool { return look().Session != nil && s.Session.ID != "" })
	second := s.Session.ID
	if s.Session.Continues != first || !listed(s.Session.Matter) {
		t.Errorf("the second day continues %q, want %s with its facts: %+v", s.Session.Continues, first, s.Session)
	}
	a.sim("scan?code=13") // another case, in the middle
	Wait(t, 5*time.Second, "it is asked about", func() bool { return look().Session.Question == "scan" })
	a.Call("POST", "/session/answer", map[string]bool{"yes": false}, nil, http.StatusOK)
	pause(2 * time.Second)
	a.Kill()
	a.Restart()
	Wait(t, 20*time.Second, "it records on", func() bool { return look().Session != nil && s.Session.Trigger == "power" })
	third := s.Session.ID
	if s.Session.Continues != second || s.Session.Case != "测市监罚〔2026〕12号" || !listed(s.Session.Matter) {
		t.Errorf("after the cut: %+v", s.Session)
	}
	ended(third, "adjourned")
	a.Call("POST", "/session", map[string]any{"continues": third}, &started, http.StatusCreated) // the third day, by touch
	fourth := started.ID
	ended(fourth, "")
	a.Call("GET", "/choices", nil, &c, http.StatusOK)
	if len(c.Adjourned) != 0 {
		t.Errorf("it is over, and still adjourned: %+v", c.Adjourned)
	}
	a.amend(trust, fourth)
	a.notRecorded()
	a.chain(trust, first, second, third, fourth)
}

func listed(matter any) bool {
	m, ok := matter.(map[string]any)
	return ok && m["id"] == "TZ-01" && m["version"] == "2026-1" && m["name"] == "行政处罚听证"
}

// amend completes the session that was started without facts, and holds the result against the verifier.
func (a *Agent) amend(trust, id string) {
	t := a.t
	t.Helper()
	var x struct {
		Case     string
		Flags    []string
		Attached []struct{ Name, SHA256 string }
		Refused  []struct{ Party string }
		Amended  int
	}
	a.Call("POST", "/sessions/"+id+"/details", map[string]any{"case": "测市监罚〔2026〕12号", "officers": []string{"王某 A1"}, "flags": []string{"minor"}}, nil, http.StatusCreated)
	pdf := []byte("%PDF 笔录")
	res, err := http.Post(a.base+"/api/v1/sessions/"+id+"/attachments?kind=record&name="+url.QueryEscape("笔录.pdf"), "application/octet-stream", bytes.NewReader(pdf))
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("attach: %v %v", res, err)
	}
	res.Body.Close()
	a.Call("POST", "/sessions/"+id+"/refused", map[string]string{"party": "张某", "reason": "不认可笔录"}, &x, http.StatusCreated)
	if x.Case != "测市监罚〔2026〕12号" || len(x.Flags) != 1 || len(x.Attached) != 1 || len(x.Refused) != 1 || x.Amended != 3 {
		t.Errorf("completed: %+v", x)
	}
	for disk := range a.disks {
		r := lab.VerifyJSON(t, "--require", "0", "--trust", trust, a.Session(disk, id))
		if len(r.Sessions) != 1 || r.Exit != evidence.ExitGood && r.Exit != evidence.ExitSound || len(r.Sessions[0].Amendments) != 3 {
			t.Errorf("disk %d: verify exits %d\n%s", disk, r.Exit, Text(r))
		}
	}
	name := filepath.Join(a.Session(1, id), "attachments", x.Attached[0].SHA256)
	if err := os.WriteFile(name, []byte("%PDF 記录"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := lab.VerifyJSON(t, "--require", "0", "--trust", trust, a.Session(1, id)); r.Exit != evidence.ExitBad {
		t.Errorf("an attachment that was changed: verify exits %d\n%s", r.Exit, Text(r))
	}
	if err := os.WriteFile(name, pdf, 0o644); err != nil {
		t.Fatal(err)
	}
}

// notRecorded enters a reason and finds it signed, listed and named by the ledger.
func (a *Agent) notRecorded() {
	t := a.t
	t.Helper()
	var n struct{ ID, At string }
	a.Call("POST", "/not-recorded", map[string]string{"why": "secret", "reason": "涉及国家秘密", "who": "王某 A1"}, &n, http.StatusCreated)
	var l struct {
		NotRecorded []struct{ ID, Reason, Who string } `json:"not_recorded"`
	}
	a.Call("GET", "/not-recorded", nil, &l, http.StatusOK)
	if len(l.NotRecorded) != 1 || l.NotRecorded[0].ID != n.ID || l.NotRecorded[0].Reason != "涉及国家秘密" {
		t.Errorf("not recorded: %+v", l)
	}
	logs, err := filepath.Glob(filepath.Join(a.disks[0], "ledger", "*", "log.jsonl"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("ledgers %v, %v", logs, err)
	}
	Wait(t, 10*time.Second, "the ledger names it", func() bool {
		b, err := os.ReadFile(logs[0])
		return err == nil && bytes.Contains(b, []byte(fmt.Sprintf(`"id":%q`, n.ID))) && bytes.Contains(b, []byte(`"type":"notrecorded"`))
	})
}

// chain verifies the sessions of one hearing together with the ledger: each continues the one before it.
func (a *Agent) chain(trust string, ids ...string) {
	t := a.t
	t.Helper()
	Wait(t, 60*time.Second, "what the cut left open is sealed", func() bool {
		_, err := os.Stat(filepath.Join(a.Session(0, ids[1]), "manifest.json.p7s"))
		return err == nil
	})
	a.Stop()
	r := lab.VerifyJSON(t, "--require", "0", "--trust", trust, a.disks[0])
	if len(r.Sessions) != len(ids) || r.Exit != evidence.ExitSound && r.Exit != evidence.ExitGood {
		t.Fatalf("verify exits %d\n%s", r.Exit, Text(r))
	}
	for i, s := range r.Sessions {
		want := ""
		if i > 0 {
			want = ids[i-1]
		}
		if s.ID != ids[i] || s.Continues != want {
			t.Errorf("session %s continues %q, want %s continuing %q", s.ID, s.Continues, ids[i], want)
		}
	}
	b, err := os.ReadFile(filepath.Join(a.Session(0, ids[0]), "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m evidence.Manifest
	if err := json.Unmarshal(b, &m); err != nil || m.MatterID != "TZ-01" || m.MatterVersion != "2026-1" || len(m.Marks) != 1 || m.Marks[0].Kind != "agenda" || m.Reason != "adjourned" {
		t.Errorf("the first day's manifest: %s %s %v %s, %v", m.MatterID, m.MatterVersion, m.Marks, m.Reason, err)
	}
}
