package scenario

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minglu/agent/evidence"
)

const (
	lampWithin    = 50 * time.Millisecond
	durableWithin = time.Second
	prerollKept   = 10 * time.Second
	triggers      = 3
)

// uptime reads the clock that the simulated devices show.
func uptime(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// TestTriggerLatency presses the simulated button and measures from outside: to the lamp, to the first
// signed media on a disk, and how much of the time before the press is in the file. It measures, so it
// has the machine for itself: the parallel tests begin after it.
func TestTriggerLatency(t *testing.T) {
	relay := lab.Relay(t)
	relay.Publish("cam1", Stream{Codec: "h264", Size: "640x360", Rate: 25, GOP: 25, Sound: "aac", Length: time.Hour})
	disks := Disks(t, 2, 400)
	a := lab.Start(t, Room{
		Channels: map[string]string{"face": relay.URL("cam1"), "voice": SimMicrophone},
		Disks:    []string{disks[0].Dir, disks[1].Dir}, Postroll: "0s",
		Extra: "inputs: {button: {sim: {}}}\nlamp: {sim: {}}\nspeaker: {sim: {}}\n",
	})
	a.WaitLive(20 * time.Second)
	pause(12 * time.Second)
	var lamp, durable []time.Duration
	for n := range triggers {
		l, d, wall, id := press(t, a)
		lamp, durable = append(lamp, l), append(durable, d)
		pause(time.Second)
		a.End(id)
		if n > 0 {
			continue
		}
		got, sent := Packets(t, Segments(t, a.Session(0, id), "face"), "v"), relay.Frames("cam1", "h264")
		last, err := stretch(got, sent)
		if err != nil {
			t.Fatal(err)
		}
		kept := wall.Sub(time.UnixMicro(sent[last-len(got)+1].WallUS))
		figure(t, "pre-roll in the file: %v", kept.Round(10*time.Millisecond))
		if kept < prerollKept {
			t.Errorf("%v of what came before the trigger are in the file, want %v", kept, prerollKept)
		}
		if r := lab.VerifyJSON(t, "--require", "0", a.Session(0, id), a.Session(1, id)); r.Exit != evidence.ExitGood {
			t.Errorf("verify exits %d\n%s", r.Exit, Text(r))
		}
	}
	figure(t, "trigger to lamp %v, to the first signed media on a disk %v (%d triggers)", lamp, durable, triggers)
	// Of the triggers the middle one counts: a test machine does other things too. All are printed.
	slices.Sort(lamp)
	slices.Sort(durable)
	if l, d := lamp[triggers/2], durable[triggers/2]; l > lampWithin || d > durableWithin {
		t.Errorf("trigger to lamp %v, want %v; to signed media %v, want %v", l, lampWithin, d, durableWithin)
	}
}

// press presses the button and returns how long lamp and disk took, the wall time of the press, and the session.
func press(t *testing.T, a *Agent) (lamp, durable time.Duration, wall time.Time, id string) {
	t.Helper()
	before, wall := uptime(t), time.Now()
	a.sim("button?on=true")
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ; durable == 0; <-tick.C {
		if uptime(t)-before > 10*time.Second {
			t.Fatal("no signed media 10 s after the trigger")
		}
		if id == "" {
			if st := a.State(); st.Session != nil && st.State == "recording" {
				id = st.Session.ID
			}
			continue
		}
		log, err := os.ReadFile(filepath.Join(a.Session(0, id), "log.jsonl"))
		if err == nil && slices.ContainsFunc(Lines(t, Signed(log)), func(l Line) bool { return l.Type == "fragment" }) {
			durable = uptime(t) - before
		}
	}
	a.sim("button?on=false")
	res, err := http.Get(a.base + "/sim/state")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var st struct {
		Lamp []struct {
			State string
			Up    time.Duration `json:"up_ns"`
		}
	}
	if err := json.Unmarshal(b, &st); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	for _, l := range st.Lamp {
		if l.Up > before {
			if l.State != "recording" { // "impaired" says that too, and that something else is wrong
				t.Logf("after the trigger the lamp shows %s: %+v", l.State, a.State().Faults)
				if l.State != "impaired" {
					t.Errorf("the lamp shows %s", l.State)
				}
			}
			return l.Up - before, durable, wall, id
		}
	}
	t.Fatalf("the lamp did not change: %s", b)
	return
}

// TestDemo runs the demo as a stranger does, in an empty folder and without ffmpeg: somebody enters,
// the room records, ctrl-C seals, and the verifier's answer is shown.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	listen := freePort(t)
	cmd := exec.Command(lab.Sim, "demo", "--dir", dir, "--listen", listen)
	cmd.Env = []string{"PATH=" + t.TempDir(), "HOME=" + t.TempDir()}
	began := time.Now()
	p := startCommand(t, cmd)
	Wait(t, 10*time.Second, "presence starts a session", func() bool {
		if p.ended() {
			t.Fatalf("the demo ended: %s", p.out)
		}
		return regexp.MustCompile(`recording  \S+ \(presence\)`).MatchString(p.out.String())
	})
	took := time.Since(began)
	if out := p.out.String(); !strings.Contains(out, "http://"+listen+"/") {
		t.Errorf("the demo does not say what to open:\n%s", out)
	}
	pause(3 * time.Second)
	code := p.stop(syscall.SIGINT, 20*time.Second)
	out := p.out.String()
	if code != 0 || !strings.Contains(out, "完好、已签名、完整 / intact, signed and whole") {
		t.Errorf("after ctrl-C the demo exits %d:\n%s", code, out)
	}
	figure(t, "demo: recording %v after the start", took.Round(100*time.Millisecond))
}

// TestBadConfiguration: what cannot be right is refused with file, line and remedy.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	good := []string{
		"device: {name: room-test, room: 测试室}",
		"body: {name: 测试机关}",
		"board: sim",
		"channels:",
		"  - {id: face, camera: {sim: {}}}",
		"  - {id: voice, microphone: {sim: {}}}",
		"storage: {disks: [disk-a, disk-b]}",
	}
	for _, tt := range []struct {
		rule         string
		line         int // from 1, replaced
		by           string
		what, remedy []string
	}{
		{"an unknown key", 3, "bord: sim", []string{"bord", "未知的键", "unknown key"}, []string{"是否想写 board", "did you mean board"}},
		{"a missing disk", 7, "storage: {disks: [disk-a, disk-c]}", []string{"disk-c"}, []string{"请", "mount"}},
		{"a channel id twice", 6, "  - {id: face, microphone: {sim: {}}}", []string{`"face"`, "重复", "taken"}, []string{"请改名", "choose another"}},
	} {
		dir := t.TempDir()
		for _, d := range []string{"disk-a", "disk-b"} {
			if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		lines := slices.Clone(good)
		lines[tt.line-1] = tt.by
		file := filepath.Join(dir, "agent.yaml")
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(lab.Agent, "run", "--config", file)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if code := cmd.ProcessState.ExitCode(); code != 2 {
			t.Errorf("%s: exit %d, want 2\n%s", tt.rule, code, out)
		}
		for _, want := range slices.Concat([]string{fmt.Sprintf("%s:%d:", file, tt.line)}, tt.what, tt.remedy) {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: the answer lacks %q:\n%s", tt.rule, want, out)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "state")); err == nil {
			t.Errorf("%s: a refused configuration left a state folder", tt.rule)
		}
	}
}
