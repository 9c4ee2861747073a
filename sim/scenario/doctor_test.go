package scenario

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"minglu/agent/evidence"
)

// command runs the agent's program and returns what it says and its exit code.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, complaint bytes.Buffer
	cmd := exec.Command(lab.Agent, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), complaint.String()
}

// expectExit runs a command and wants its exit code, and words in what it says.
func expectExit(t *testing.T, want int, words string, args ...string) string {
	t.Helper()
	code, out, complaint := command(t, args...)
	if code != want || !strings.Contains(out+complaint, words) {
		t.Errorf("%q exits %d, want %d and %q\n%s%s", args, code, want, words, out, complaint)
	}
	return out
}

// expectSound runs the verifier: nothing may be bad. A machine under load may have left a declared gap.
func expectSound(t *testing.T, args ...string) {
	t.Helper()
	if code, out := lab.Verify(t, args...); code != 0 && code != 3 {
		t.Errorf("verify %q exits %d\n%s", args, code, out)
	}
}

// findings runs doctor --json. broken are the checks that must fail, all others must not; a machine under
// load may be too slow a disk, and rightly so.
func (a *Agent) findings(t *testing.T, broken ...string) (levels map[string]string, cycleMS int64, running bool) {
	t.Helper()
	code, out, complaint := command(t, "doctor", "--config", a.Config, "--json")
	var r struct {
		Running  bool
		CycleMS  int64 `json:"cycle_ms"`
		Findings []struct {
			Check, On, Level string
			Text, Do         struct{ Zh, En string }
		}
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("doctor exits %d: %v\n%s%s", code, err, out, complaint)
	}
	levels = map[string]string{}
	want := 0
	for _, f := range r.Findings {
		if f.Text.Zh == "" || f.Text.En == "" || f.Level == "bad" && f.Do.En == "" {
			t.Errorf("words are missing: %+v", f)
		}
		name := strings.TrimSuffix(f.Check+" "+f.On, " ")
		levels[name] = f.Level
		if f.Level == "bad" {
			want = 1
			if f.Check != "disk.speed" && !slices.Contains(broken, name) {
				t.Errorf("not broken: %+v", f)
			}
		}
	}
	for _, name := range broken {
		if levels[name] != "bad" {
			t.Errorf("%s is broken, and doctor says %q", name, levels[name])
		}
	}
	if code != want {
		t.Errorf("doctor exits %d, want %d", code, want)
	}
	return levels, r.CycleMS, r.Running
}

// hoursAgree holds the hours that doctor has left on a disk against those of the page.
func (a *Agent) hoursAgree(t *testing.T) {
	t.Helper()
	Wait(t, 20*time.Second, "the agent keeps what its channels deliver", func() bool {
		_, err := os.Stat(filepath.Join(a.Dir, "state", "rates.json"))
		return err == nil
	})
	_, out, _ := command(t, "doctor", "--config", a.Config)
	m := regexp.MustCompile(`Disk A has .* about (\d+) hours of recording at [0-9.]+ Mbit/s \(measured\)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("doctor says nothing of the hours left on A\n%s", out)
	}
	said, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Disks []struct {
			Name  string
			Hours float64
		}
	}
	a.Call("GET", "/state", nil, &s, http.StatusOK)
	if page := s.Disks[0].Hours; s.Disks[0].Name != "A" || said < 0.7*page-1 || said > 1.3*page+1 {
		t.Errorf("doctor has %.0f hours left, the page %+v", said, s.Disks)
	}
}

// silentRoom is a room with one microphone, which costs next to nothing.
func silentRoom(t *testing.T, name string, disks []*Disk) *Agent {
	t.Helper()
	r := Room{Name: name, Channels: map[string]string{"voice": SimMicrophone}, Preroll: "1s", Postroll: "0s"}
	for _, d := range disks {
		r.Disks = append(r.Disks, d.Dir)
	}
	a := lab.Start(t, r)
	a.WaitLive(20 * time.Second)
	return a
}

// recordOne records for two seconds.
func (a *Agent) recordOne() string {
	a.t.Helper()
	id := a.Begin()
	pause(2 * time.Second)
	a.End(id)
	return id
}

// ledgerLines are the lines of a type in the ledger copies on a disk.
func ledgerLines(t *testing.T, disk, typ string) (lines []string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(disk, "ledger", "*", "log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range logs {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(b)) {
			if strings.Contains(l, `"type":"`+typ+`"`) {
				lines = append(lines, l)
			}
		}
	}
	return lines
}

// TestDoctorAndExport: what doctor says of a sound room, running and stopped, and of one with damage,
// which --repair mends; and a session packed for somebody outside.
func TestDoctorAndExport(t *testing.T) {
	t.Parallel()
	a := silentRoom(t, "room-doctor", Disks(t, 2, 700))
	id := a.recordOne()

	sessions := filepath.Join(a.disks[0], "sessions") // beside it the agent itself writes
	before := files(t, sessions)
	levels, _, running := a.findings(t)
	if !running || levels["disk.present A"] != "good" || levels["disk.speed A"] != "" || levels["ledger"] != "good" || levels["catalogue"] != "good" || levels["identity"] != "good" {
		t.Errorf("beside the running agent: %v", levels)
	}
	a.hoursAgree(t)
	if after := files(t, sessions); !maps.Equal(before, after) {
		t.Error("doctor wrote to a disk of a running agent")
	}
	for _, args := range [][]string{{"doctor", "--repair"}, {"export", id, "--to", t.TempDir()}, {"adopt", a.disks[0]}, {"lost", id, "--disk", "0123456789", "--who", "x", "--cause", "y"}} {
		expectExit(t, 2, "", append(args, "--config", a.Config)...)
	}
	if code := a.Stop(); code != 0 {
		t.Fatalf("exit %d", code)
	}

	levels, cycle, _ := a.findings(t)
	if levels["disk.speed A"] == "" || levels["disk.speed B"] == "" || levels["disk.write A"] != "good" || levels["channel voice"] != "good" || levels["disk.cycle"] != "good" || cycle < 500 || cycle > 2000 {
		t.Errorf("the stopped room: %v, cycle %d ms", levels, cycle)
	}
	if _, err := os.Stat(filepath.Join(a.Dir, "state", "cycle.json")); err != nil {
		t.Error(err)
	}
	figure(t, "doctor chose a cycle of %d ms", cycle)

	to := t.TempDir()
	was := len(ledgerLines(t, a.disks[0], "access"))
	expectExit(t, 0, "exported", "export", id, "--config", a.Config, "--to", to, "--who", "律师 A")
	expectExit(t, 2, "", "export", id, "--config", a.Config, "--to", to)
	expectExit(t, 2, "", "export", "20200101T000000Z-00000000", "--config", a.Config, "--to", to)
	if n := len(ledgerLines(t, a.disks[0], "access")); n != was+1 {
		t.Errorf("%d entries of access, want one more than %d", n, was)
	}
	bag := filepath.Join(to, id)
	if x, y := files(t, a.Session(0, id)), files(t, filepath.Join(bag, "data", id)); !maps.Equal(x, y) {
		t.Errorf("the bag holds %d files, the session %d", len(y), len(x))
	}
	if out, err := exec.Command("sh", filepath.Join(bag, "verify.sh")).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("signature holds")) {
		t.Errorf("verify.sh: %v\n%s", err, out)
	}
	proofs, err := filepath.Glob(filepath.Join(bag, "data", "proofs", "anchor-*.json"))
	if err != nil || len(proofs) != 1 {
		t.Fatalf("proofs: %v %v", proofs, err)
	}
	b, err := os.ReadFile(proofs[0])
	if err != nil {
		t.Fatal(err)
	}
	if anchor, err := evidence.ParseAnchor(b); err != nil || !slices.ContainsFunc(anchor.Lines, func(l evidence.IndexedLine) bool {
		return bytes.Contains(l.Line, []byte(`"type":"sealed"`)) && bytes.Contains(l.Line, []byte(id))
	}) {
		t.Errorf("the proof does not show that the session is sealed in the ledger: %v", err)
	}
	expectSound(t, filepath.Join(bag, "data", id), "--trust", a.Trust())

	// Damage: the catalogue, a copy cut short, a copy that is gone.
	if err := os.WriteFile(filepath.Join(a.Dir, "state", "catalogue.db"), []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		_ = os.Remove(filepath.Join(a.Dir, "state", "catalogue.db"+suffix))
	}
	if err := os.Remove(filepath.Join(a.Session(1, id), "manifest.json.p7s")); err != nil {
		t.Fatal(err)
	}
	if levels, _, _ := a.findings(t, "catalogue"); levels["sessions.copies B"] != "note" || levels["sessions.interrupted"] != "" {
		t.Errorf("with damage: %v", levels)
	}
	expectExit(t, 0, "copy completed", "doctor", "--repair", "--config", a.Config)
	if levels, _, _ := a.findings(t); levels["catalogue"] != "good" || levels["sessions.copies B"] != "" {
		t.Errorf("after the repair: %v", levels)
	}
	expectSound(t, a.disks[0], a.disks[1], "--trust", a.Trust())
}

// cutCopy leaves of a session's copy what a disk has that went away halfway.
func cutCopy(t *testing.T, folder string) {
	t.Helper()
	name := filepath.Join(folder, "log.jsonl")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	end := []byte(`,"type":"sign"}` + "\n")
	cut := bytes.LastIndex(b[:len(b)/2], end)
	if cut < 0 {
		t.Fatalf("%s: no signature in its first half", name)
	}
	if err := os.WriteFile(name, b[:cut+len(end)], 0o644); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"manifest.json", "manifest.json.p7s"} {
		if err := os.Remove(filepath.Join(folder, gone)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAdoptAndLost: a dead board's disk is taken into another room, read-only; what its lost disk held is
// entered by a person.
func TestAdoptAndLost(t *testing.T) {
	t.Parallel()
	disks := Disks(t, 4, 700)
	dead := silentRoom(t, "room-dead", disks[:2])
	id := dead.recordOne()
	lost, part := dead.recordOne(), dead.recordOne()
	dead.Stop()

	// The second session was on B only, and B is gone for good.
	var diskB struct{ ID string }
	b, err := os.ReadFile(filepath.Join(dead.disks[1], "ledger", "disk.json"))
	if err == nil {
		err = json.Unmarshal(b, &diskB)
	}
	if err != nil {
		t.Fatal(err)
	}
	expectExit(t, 2, "here at", "lost", lost, "--disk", diskB.ID, "--who", "王五", "--cause", "磁盘损坏", "--config", dead.Config)
	if err := os.RemoveAll(dead.Session(0, lost)); err != nil {
		t.Fatal(err)
	}
	cutCopy(t, dead.Session(0, part)) // A was away when it was sealed
	for _, sub := range []string{"ledger", "sessions", "tmp"} {
		if err := os.RemoveAll(filepath.Join(dead.disks[1], sub)); err != nil {
			t.Fatal(err)
		}
	}
	expectExit(t, 1, "", "verify", dead.disks[0], "--trust", dead.Trust())
	expectExit(t, 2, "", "lost", lost, "--disk", diskB.ID[:8], "--who", " ", "--cause", "x", "--config", dead.Config)
	expectExit(t, 0, "", "lost", lost, "--disk", diskB.ID, "--who", "王五", "--cause", "磁盘损坏", "--config", dead.Config)
	expectExit(t, 1, part+": waiting", "doctor", "--repair", "--config", dead.Config)
	expectExit(t, 0, "", "lost", part, "--disk", diskB.ID[:8], "--who", "王五", "--cause", "磁盘损坏", "--config", dead.Config)
	expectExit(t, 0, part+": 已修复并封存", "doctor", "--repair", "--config", dead.Config)
	expectExit(t, 3, "a person entered", "verify", dead.Session(0, part), dead.disks[0], "--trust", dead.Trust())
	if lines := ledgerLines(t, dead.disks[0], "lost"); len(lines) != 2 || !strings.Contains(lines[0], "王五") {
		t.Errorf("the ledger: %q", lines)
	}
	expectExit(t, 3, "a person entered", "verify", dead.disks[0], "--trust", dead.Trust())
	expectExit(t, 2, "this room already", "adopt", filepath.Join(dead.disks[0], "."), "--config", dead.Config) // by another path, still its own

	// The board is dead: another room takes the disk in.
	heir := silentRoom(t, "room-heir", disks[2:])
	heir.Stop()
	before := files(t, dead.disks[0])
	expectExit(t, 0, "room-dead", "adopt", dead.disks[0], "--config", heir.Config)
	expectExit(t, 0, "room-dead", "adopt", dead.disks[0], "--config", heir.Config) // repeated: nothing twice
	if lines := ledgerLines(t, heir.disks[0], "adopt"); len(lines) != 1 || !strings.Contains(lines[0], `"origin":"minglu/`) {
		t.Errorf("the ledger: %q", lines)
	}
	heir.Restart()
	var s struct {
		State, Device string
		Adopted       bool
	}
	heir.Call("GET", "/sessions/"+id, nil, &s, http.StatusOK)
	if s.State != "sealed" || s.Device != "room-dead" || !s.Adopted {
		t.Errorf("as shown: %+v", s)
	}
	heir.Stop()
	if after := files(t, dead.disks[0]); !maps.Equal(before, after) {
		t.Error("the adopted disk was written to")
	}
	expectExit(t, 0, "exported", "export", id, "--config", heir.Config, "--to", t.TempDir())
}
