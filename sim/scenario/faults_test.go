package scenario

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"minglu/agent/evidence"
)

const (
	diskFloor = 256 << 20 // record.DefaultFloor: kept free to seal
	clockStep = -3 * time.Second
	reordered = 3 // pictures at most that x264 sends ahead of those shown before them
)

// waitFault waits until the page shows a fault, and wants words in both languages and what to do.
func (a *Agent) waitFault(within time.Duration, ch string, codes ...string) Fault {
	a.t.Helper()
	var found Fault
	Wait(a.t, within, "a fault "+strings.Join(codes, "|")+" of "+ch, func() bool {
		for _, f := range a.State().Faults {
			if f.Ch == ch && slices.Contains(codes, f.Code) {
				found = f
				return true
			}
		}
		return false
	})
	if found.Text.Zh == "" || found.Text.En == "" || found.Do.Zh == "" || found.Do.En == "" || found.Severity == "" {
		a.t.Errorf("the fault has not all its words: %+v", found)
	}
	return found
}

// waitCleared waits until no fault of these codes stands.
func (a *Agent) waitCleared(within time.Duration, ch string, codes ...string) {
	a.t.Helper()
	Wait(a.t, within, "the end of the fault "+strings.Join(codes, "|")+" of "+ch, func() bool {
		return !slices.ContainsFunc(a.State().Faults, func(f Fault) bool { return f.Ch == ch && slices.Contains(codes, f.Code) })
	})
}

// sim operates a simulated device of the room.
func (a *Agent) sim(path string) {
	a.t.Helper()
	res, err := http.Post(a.base+"/sim/"+path, "application/x-www-form-urlencoded", nil)
	if err != nil {
		a.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		a.t.Fatalf("POST /sim/%s: %s", path, res.Status)
	}
}

// hasLine wants a line in the log of a session.
func hasLine(t *testing.T, folder, what string, ok func(Line) bool) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder, "log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(Lines(t, b), ok) {
		t.Errorf("the log has no line: %s", what)
	}
}

func faultLine(ch string, codes ...string) func(Line) bool {
	return func(l Line) bool { return l.Type == "fault" && l.Ch == ch && slices.Contains(codes, l.Code) }
}

// faultRoom is a room with one small camera that keeps sending, and what the test adds.
type faultRoom struct {
	*Agent
	disks []*Disk
	trust string
	relay *Relay
	face  camera
}

func newFaultRoom(t *testing.T, segment string, more map[string]string, relay *Relay) *faultRoom {
	t.Helper()
	f := &faultRoom{disks: Disks(t, 2, 500), relay: relay, face: camera{"face", "cam1", "h264", "aac", 25}}
	r := Room{Channels: map[string]string{"face": relay.URL("cam1")}, Preroll: "2s", Postroll: "1s", Segment: segment}
	for id, source := range more {
		r.Channels[id] = source
	}
	for _, d := range f.disks {
		r.Disks = append(r.Disks, d.Dir)
	}
	f.Agent = lab.Start(t, r)
	f.trust = f.Trust()
	f.WaitLive(20 * time.Second)
	pause(1200 * time.Millisecond) // a keyframe comes within a second
	return f
}

// whole wants every frame the first camera sent between from and to on a disk.
func (f *faultRoom) whole(t *testing.T, disk int, id string, from, to time.Time) {
	t.Helper()
	files := Segments(t, f.Session(disk, id), "face")
	rec := recording{f.Agent, id, from, to}
	pictures := Packets(t, files, "v")
	sent := f.relay.Frames(f.face.path, f.face.codec)
	same(t, "face picture", pictures, sent, rec)
	// Where the session ends between a picture and those shown before it, these are not there.
	slices.SortFunc(pictures, func(a, b Packet) int { return int(a.PTS - b.PTS) })
	steady := pace(sent, 90000) <= evenPace
	for i := 1; i < len(pictures)-reordered; i++ {
		if d := pictures[i].PTS - pictures[i-1].PTS; steady && (d > 60*time.Millisecond || d < 20*time.Millisecond) {
			t.Errorf("face picture: %v then %v", pictures[i-1].PTS, pictures[i].PTS)
		}
	}
	sound := Packets(t, files, "a")
	if _, err := Stretch(sound, f.relay.Frames(f.face.path, f.face.sound)); err != nil {
		t.Errorf("face sound: %v", err)
	}
}

// verdict wants an exit code of the verifier for the copies of a session on some disks.
func (f *faultRoom) verdict(t *testing.T, id string, want int, disks ...int) evidence.SessionResult {
	t.Helper()
	args := []string{"--require", "0", "--trust", f.trust}
	for _, d := range disks {
		args = append(args, f.Session(d, id))
	}
	r := lab.VerifyJSON(t, args...)
	if len(r.Sessions) == 1 && want == evidence.ExitGood && r.Exit == evidence.ExitSound && f.stalled(r.Sessions[0].Spans) {
		return r.Sessions[0]
	}
	if len(r.Sessions) != 1 || r.Exit != want {
		t.Fatalf("verify of the copies on disks %v exits %d, want %d\n%s", disks, r.Exit, want, Text(r))
	}
	return r.Sessions[0]
}

// stalled reports whether nothing is missing but what the first camera did not send: a loaded machine keeps
// its ffmpeg waiting, which the record then rightly tells. That all it sent is there, whole looks after.
func (f *faultRoom) stalled(spans []evidence.Span) bool {
	sent := f.relay.Frames(f.face.path, f.face.codec)
	waited := int64(0)
	for i := 1; i < len(sent); i++ {
		waited = max(waited, sent[i].WallUS-sent[i-1].WallUS)
	}
	for _, s := range spans {
		if s.Finding != evidence.FindingIntact && (s.Finding != evidence.FindingGap || s.To-s.From > waited+1e6 || !slices.Contains([]string{"no data", "no frames"}, s.Cause)) {
			return false
		}
	}
	return waited > 500e3
}

// TestFaults lets one thing fail at a time: the rest is recorded on, the page says what happened and
// what to do, the record shows it, and the verifier finds nothing but what was declared.
func TestFaults(t *testing.T) {
	t.Parallel()
	relay := lab.Relay(t)
	relay.Publish("cam1", Stream{Codec: "h264", Size: "320x240", Rate: 25, GOP: 25, Sound: "aac", Length: time.Hour})
	t.Run("rooms", func(t *testing.T) {
		t.Run("cameras", func(t *testing.T) { t.Parallel(); faultCameras(t, relay) })
		t.Run("full disk", func(t *testing.T) { t.Parallel(); faultFull(t, relay) })
		t.Run("dead disk", func(t *testing.T) { t.Parallel(); faultDead(t, relay) })
		t.Run("detached disk", func(t *testing.T) { t.Parallel(); faultDetached(t, relay) })
		t.Run("silence", func(t *testing.T) { t.Parallel(); faultSilence(t, relay) })
	})
}

// faultCameras unplugs one camera and plugs it in again, freezes another so that it is connected and
// sends nothing, and steps the clock, all in one session.
func faultCameras(t *testing.T, relay *Relay) {
	small := Stream{Codec: "h265", Size: "320x240", Rate: 25, GOP: 25, Phase: 1, Length: time.Hour}
	gone := relay.Publish("cam2", small)
	small.Codec, small.Phase = "h264", 2
	mute := relay.Publish("cam3", small)
	f := newFaultRoom(t, "", map[string]string{"room": relay.URL("cam2"), "desk": relay.URL("cam3")}, relay)
	from := time.Now()
	id := f.Begin()
	pause(2 * time.Second)

	gone.Kill()
	if err := mute.p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	cut := time.Now()
	f.sim("fault/clock-step?by=" + clockStep.String())
	f.waitFault(5*time.Second, "", "clock.step")
	unplugged := []string{"camera.gone", "camera.not-found"}
	f.waitFault(10*time.Second, "room", unplugged...)
	told := time.Since(cut)
	f.waitFault(10*time.Second, "desk", "camera.noframes")
	if st := f.State(); st.State != "recording" || st.Lamp != "impaired" {
		t.Errorf("with two cameras gone the room is %s and its lamp %s", st.State, st.Lamp)
	}
	small.Codec, small.Phase = "h265", 1
	relay.Publish("cam2", small)
	f.waitCleared(15*time.Second, "room", unplugged...)
	pause(2 * time.Second)
	to := time.Now()
	f.End(id)
	figure(t, "camera unplugged: told after %v", told.Round(10*time.Millisecond))

	for disk := range 2 {
		f.whole(t, disk, id, from, to)
		folder := f.Session(disk, id)
		hasLine(t, folder, "fault of room", faultLine("room", unplugged...))
		hasLine(t, folder, "room mended", func(l Line) bool { return l.Type == "cleared" && l.Ch == "room" })
		hasLine(t, folder, "fault of desk", faultLine("desk", "camera.noframes"))
		hasLine(t, folder, "gap of room", func(l Line) bool { return l.Type == "gap" && l.Ch == "room" })
		hasLine(t, folder, "gap of desk", func(l Line) bool { return l.Type == "gap" && l.Ch == "desk" })
		hasLine(t, folder, "step of the clock", func(l Line) bool {
			return l.Type == "clock" && (time.Duration(l.Step)*time.Microsecond-clockStep).Abs() < 100*time.Millisecond
		})
		hasLine(t, folder, "fault of the clock", faultLine("", "clock.step"))
	}
	s := f.verdict(t, id, evidence.ExitSound, 0, 1)
	for _, sp := range s.Spans {
		if sp.Finding != evidence.FindingIntact && (sp.Finding != evidence.FindingGap || sp.Channel == "face") {
			t.Errorf("span %+v", sp)
		}
		if sp.Finding == evidence.FindingGap {
			t.Logf("gap of %s: %.1f s to %.1f s, %s", sp.Channel, float64(sp.From)/1e6, float64(sp.To)/1e6, sp.Cause)
		}
	}
	for _, ch := range []string{"room", "desk"} {
		if !slices.ContainsFunc(s.Spans, func(sp evidence.Span) bool {
			return sp.Channel == ch && sp.Finding == evidence.FindingGap && sp.Cause != "undeclared"
		}) {
			t.Errorf("the verifier names no gap of %s: %+v", ch, s.Spans)
		}
	}
}

// faultFull fills one disk to its floor, frees it, in the next session fills the other to the brim, and
// in the last one both.
func faultFull(t *testing.T, relay *Relay) {
	f := newFaultRoom(t, "", nil, relay)
	for n, fill := range []func(*Disk) string{
		func(d *Disk) string { return d.Fill(t, diskFloor-1<<20) },
		func(d *Disk) string {
			ballast, err := d.Brim()
			if err != nil {
				t.Fatal(err)
			}
			return ballast
		},
	} {
		name := string(rune('A' + n))
		from := time.Now()
		id := f.Begin()
		pause(1500 * time.Millisecond)
		ballast := fill(f.disks[n])
		f.waitFault(10*time.Second, name, "disk.full")
		pause(2 * time.Second)
		if st := f.State(); st.State != "recording" {
			t.Errorf("with disk %s full the room is %s", name, st.State)
		}
		to := time.Now()
		f.End(id)
		f.whole(t, 1-n, id, from, to)
		hasLine(t, f.Session(1-n, id), "fault of the disk", faultLine(name, "disk.full"))
		f.verdict(t, id, evidence.ExitGood, 1-n)
		f.verdict(t, id, evidence.ExitSound, n) // its end is unknown, what it holds is sound
		f.verdict(t, id, evidence.ExitGood, 1-n, n)
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		f.waitCleared(15*time.Second, name, "disk.full")
		pause(1500 * time.Millisecond) // a keyframe each second: the next session's pre-roll has one, and so no gap at its start
	}
	id := f.Begin()
	pause(time.Second)
	ballast := []string{f.disks[0].Fill(t, diskFloor-1<<20), f.disks[1].Fill(t, diskFloor-1<<20)}
	Wait(t, 20*time.Second, "the session is sealed", func() bool {
		_, err := os.Stat(filepath.Join(f.Session(0, id), "manifest.json.p7s"))
		_, err1 := os.Stat(filepath.Join(f.Session(1, id), "manifest.json.p7s"))
		return err == nil || err1 == nil
	})
	f.waitFault(10*time.Second, "", "room.nothing")
	if st := f.State(); st.State != "fault" || st.Lamp != "fault" {
		t.Errorf("with both disks full the room is %s, its lamp %s", st.State, st.Lamp)
	}
	if s := f.verdict(t, id, evidence.ExitGood, 0, 1); s.Reason != "disk-full" {
		t.Errorf("the session ended for the reason %q", s.Reason)
	}
	for _, b := range ballast {
		if err := os.Remove(b); err != nil {
			t.Fatal(err)
		}
	}
	f.waitCleared(20*time.Second, "", "room.nothing")
	st := f.State()
	if st.Session == nil || st.State != "recording" || st.Session.Continues != id {
		t.Fatalf("with room again the room is %s with session %+v; want recording, as the continuation of %s", st.State, st.Session, id)
	}
	pause(time.Second)
	f.End(st.Session.ID)
	// One disk alone lacks what did not fit; together they have all.
	if r := lab.VerifyJSON(t, "--require", "0", "--trust", f.trust, f.disks[0].Dir, f.disks[1].Dir); r.Exit != evidence.ExitGood && r.Exit != evidence.ExitSound {
		t.Errorf("verify of both disks exits %d\n%s", r.Exit, Text(r))
	}
}

// faultDead makes a disk answer with errors only.
func faultDead(t *testing.T, relay *Relay) {
	f := newFaultRoom(t, "10s", nil, relay)
	from := time.Now()
	id := f.Begin()
	pause(1500 * time.Millisecond)
	within := 5 * time.Second
	if ok, err := f.disks[1].Fail(); err != nil {
		t.Fatal(err)
	} else if !ok { // a tmpfs can only be taken away, which shows at the next file
		within = 20 * time.Second
		if err := f.disks[1].Detach(); err != nil {
			t.Fatal(err)
		}
	}
	f.otherGoesOn(t, id, from, within)
}

// faultDetached takes a disk out of its folder: it shows when the next file is begun.
func faultDetached(t *testing.T, relay *Relay) {
	f := newFaultRoom(t, "10s", nil, relay)
	from := time.Now()
	id := f.Begin()
	pause(1500 * time.Millisecond)
	if err := f.disks[1].Detach(); err != nil {
		t.Fatal(err)
	}
	f.otherGoesOn(t, id, from, 20*time.Second)
	if _, err := os.Stat(filepath.Join(f.disks[1].Dir, "sessions")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the agent wrote into the empty folder where the disk was: %v", err)
	}
}

// otherGoesOn wants disk B told as failed and everything whole on disk A.
func (f *faultRoom) otherGoesOn(t *testing.T, id string, from time.Time, within time.Duration) {
	t.Helper()
	codes := []string{"disk.failed", "disk.gone"}
	f.waitFault(within, "B", codes...)
	pause(2 * time.Second)
	if st := f.State(); st.State != "recording" {
		t.Errorf("without disk B the room is %s", st.State)
	}
	to := time.Now()
	f.End(id)
	f.whole(t, 0, id, from, to)
	hasLine(t, f.Session(0, id), "fault of the disk", faultLine("B", codes...))
	f.verdict(t, id, evidence.ExitGood, 0)
}

// faultSilence has a microphone that delivers, but silence only.
func faultSilence(t *testing.T, relay *Relay) {
	f := newFaultRoom(t, "", map[string]string{"voice": SimMicrophone}, relay)
	f.sim("fault/silence?channel=voice")
	from := time.Now()
	id := f.Begin()
	pause(50 * time.Second) // the threshold is a minute of the session: an empty room is silent too
	if st := f.State(); slices.ContainsFunc(st.Faults, func(x Fault) bool { return x.Code == "sound.silent" }) {
		t.Errorf("told as silent before a minute: %+v", st.Faults)
	}
	f.waitFault(20*time.Second, "voice", "sound.silent")
	f.sim("fault/silence?channel=voice&on=false")
	f.waitCleared(10*time.Second, "voice", "sound.silent")
	to := time.Now()
	f.End(id)
	f.whole(t, 0, id, from, to)
	hasLine(t, f.Session(0, id), "fault of voice", faultLine("voice", "sound.silent"))
	hasLine(t, f.Session(0, id), "voice mended", func(l Line) bool { return l.Type == "cleared" && l.Ch == "voice" })
	f.verdict(t, id, evidence.ExitGood, 0, 1)
}
