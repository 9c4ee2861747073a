package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"minglu/agent/evidence"
)

const (
	shownWithin   = 5 * time.Second // beyond the window of the item
	clearedWithin = 5 * time.Second // beyond what the item takes to be good again
	settles       = 2 * time.Second // a value must be good so long
	silentFor     = 60 * time.Second
	officeStep    = 1500 * time.Millisecond // within what a camera's clock may differ
)

// officeFault is one fault and how the office must show it.
type officeFault struct {
	name    string
	device  string
	item    string   // "item camera.black face"
	alarm   []string // one of them: "alarm picture.black face"
	window  time.Duration
	clears  time.Duration // until the item can be good again
	also    []string      // what rightly fails or is told with it
	on, off time.Time
	stays   bool // the item stands until the end of the session
}

// small is what fails in these rooms without any fault, and shows only when its window has passed: they
// are of few pixels and 5 frames per second, so that a test machine can bear them.
var small = []string{"item camera.fps front", "alarm picture.slow front", "item camera.bitrate front", "item camera.bitrate calm", "item camera.bitrate face",
	"item camera.bitrate room", "item camera.bitrate desk", "item camera.bitrate hall", "item camera.bitrate gate"}

// plan is what a test does at which time after the beginning of the sessions.
type plan struct {
	at time.Duration
	do func()
}

// TestOfficeFaults lets each fault happen in a room of foreign cameras, where ffmpeg makes it, and in a
// simulated room, and follows at the office what fails and clears, and that nothing else does.
func TestOfficeFaults(t *testing.T) {
	t.Parallel()
	born, stalled, idle := time.Now(), stalls(t), WatchIdle(t)
	const cameras, simulated = "room-cameras", "room-simulated"
	soundOn, soundOff := 15*time.Second, 15*time.Second+silentFor+7*time.Second
	scenes := []scene{
		{path: "face", source: sceneCard, filter: filterBlack, before: 2, sound: fmt.Sprintf("volume=0:enable='between(t,%v,%v)'", soundOn.Seconds(), soundOff.Seconds())},
		{path: "room", source: sceneRoom, filter: filterFrozen, before: 2, sound: "volume=40:enable='between(t,15,27)',aformat=sample_fmts=s16"},
		{path: "desk", source: sceneZoom, filter: filterCovered, before: 2},
		{path: "hall", source: sceneCard},
		{path: "gate", source: sceneRoom},
		{path: "calm", source: sceneRoom},
	}
	files := clips(t, scenes)
	relay, office := lab.Relay(t), lab.Office(t, cameras, simulated)
	pub, first := map[string]*Publisher{}, map[string]time.Time{}
	for _, s := range scenes {
		pub[s.path] = s.play(t, relay, files)
		first[s.path] = time.UnixMicro(relay.frames264(s.path)[0].WallUS)
	}
	disks := Disks(t, 4, 500)
	foreign := Room{Name: cameras, Channels: map[string]string{}, Disks: []string{disks[0].Dir, disks[1].Dir}, Preroll: "2s", Postroll: "0s", Segment: "10s", Extra: office.Reports(cameras)}
	for _, s := range scenes[:5] {
		foreign.Channels[s.path] = relay.URL(s.path)
	}
	own := Room{
		Name: simulated, Disks: []string{disks[2].Dir, disks[3].Dir}, Preroll: "2s", Postroll: "0s", Extra: office.Reports(simulated),
		Channels: map[string]string{"calm": relay.URL("calm"), "front": "camera: {sim: {width: 1152, height: 448, fps: 5}}", "voice": SimMicrophone, "boom": SimMicrophone},
	}
	agents := []*Agent{lab.Start(t, foreign), lab.Start(t, own)}
	seen := map[string]*Watch{cameras: office.Watch(cameras), simulated: office.Watch(simulated)}
	var sessions []string
	for _, a := range agents {
		a.WaitLive(20 * time.Second)
	}
	pause(time.Until(first["face"].Add(12 * time.Second)))
	for _, a := range agents {
		sessions = append(sessions, a.Begin())
	}
	began := time.Now()
	t.Logf("sessions begin %v after the test, %v after the first picture", began.Sub(born), began.Sub(first["face"]))
	pause(2 * time.Second)
	standing := map[string]map[string][]Span{}
	for device, w := range seen {
		spans, err := w.Spans()
		if err != nil {
			t.Fatalf("%s at the office: %v", device, err)
		}
		standing[device] = spans
	}
	sim := agents[1].sim
	attach := disks[1].Spare(t)
	var ballast string
	faults := map[string]*officeFault{}
	fault := func(key string, f officeFault) func() {
		faults[key] = &f
		return func() { f := faults[key]; f.on = time.Now() }
	}
	over := func(key string) func() { return func() { faults[key].off = time.Now() } }
	both := func(fs ...func()) func() {
		return func() {
			for _, f := range fs {
				f()
			}
		}
	}
	onOff := func(key, path string, from, to time.Duration, f officeFault) []plan {
		f.device, f.name = simulated, key
		return []plan{{from, both(fault(key, f), func() { sim("fault/" + path) })}, {to, both(func() { sim("fault/" + path + "&on=false") }, over(key))}}
	}
	lost := func(ch string) []string { // true of a camera that sends nothing for a while
		return []string{"item rec.gaps " + ch, "item camera.fps " + ch, "alarm picture.slow " + ch, "item rec.drops " + ch, "alarm picture.lossy " + ch,
			"item camera.keyframe " + ch, "item camera.bitrate " + ch, "item camera.views"}
	}
	plans := slices.Concat(
		onOff("sim black", "black?channel=front", 3*time.Second, 10*time.Second, officeFault{item: "item camera.black front", alarm: []string{"alarm picture.black front"}, window: 2 * time.Second}),
		onOff("sim frozen", "frozen?channel=front", 14*time.Second, 30*time.Second, officeFault{item: "item camera.frozen front", alarm: []string{"alarm picture.frozen front"}, window: 10 * time.Second}),
		onOff("sim covered", "covered?channel=front", 32*time.Second, 48*time.Second, officeFault{item: "item camera.covered front", alarm: []string{"alarm picture.covered front"}, window: 10 * time.Second,
			also: []string{"item camera.blur front", "alarm picture.blurred front", "item camera.moved front", "alarm picture.moved front"}}),
		onOff("sim no frames", "no-frames?channel=front", 50*time.Second, 57*time.Second, officeFault{item: "item camera.signal front", alarm: []string{"alarm camera.noframes front"}, window: 2 * time.Second, also: lost("front")}),
		onOff("sim gone", "gone?channel=front", 61*time.Second, 68*time.Second, officeFault{item: "item camera.signal front", alarm: []string{"alarm camera.gone front", "alarm camera.not-found front"}, window: 2 * time.Second, clears: 3 * time.Second, also: lost("front")}),
		onOff("sim silence", "silence?channel=voice", 3*time.Second, 70*time.Second, officeFault{item: "item mic.silence voice", alarm: []string{"alarm sound.silent voice"}, window: silentFor,
			also: []string{"item mic.snr voice"}}),
		onOff("sim clipping", "clipping?channel=boom", 3*time.Second, 16*time.Second, officeFault{item: "item mic.clipping boom", alarm: []string{"alarm sound.clipping boom"}, window: 10 * time.Second, clears: 10 * time.Second}),
		[]plan{
			{4 * time.Second, both(fault("clock step", officeFault{device: simulated, item: "item time.steps", stays: true, alarm: []string{"alarm clock.step"}}), func() { sim("fault/clock-step?by=" + officeStep.String()) }, over("clock step"))},
			{5 * time.Second, both(fault("disk full", officeFault{device: simulated, item: "item rec.copies", stays: true, alarm: []string{"alarm disk.full A"}, clears: 10 * time.Second, also: []string{"item rec.hours A", "alarm disk.low A", "alarm copy.incomplete A"}}),
				func() { ballast = disks[2].Fill(t, diskFloor-1<<20) })},
			{13 * time.Second, both(func() { removeFile(t, ballast) }, over("disk full"))},
			// A disk that was taken out of its folder shows when the next file is begun.
			{30 * time.Second, both(fault("disk gone", officeFault{device: cameras, item: "item rec.copies", stays: true, alarm: []string{"alarm disk.gone B", "alarm disk.failed B"}, window: 10 * time.Second, clears: 15 * time.Second,
				also: []string{"item rec.hours B", "alarm disk.low B", "alarm copy.incomplete B"}}), func() {
				if err := disks[1].Detach(); err != nil {
					t.Error(err)
				}
			})},
			{48 * time.Second, both(attach, over("disk gone"))},
			{6 * time.Second, both(fault("gone", officeFault{device: cameras, item: "item camera.signal hall", alarm: []string{"alarm camera.gone hall", "alarm camera.not-found hall"}, window: 2 * time.Second, clears: 10 * time.Second, also: lost("hall")}),
				pub["hall"].Kill)},
			{13 * time.Second, both(func() { scenes[3].play(t, relay, files) }, over("gone"))},
			{7 * time.Second, both(fault("no frames", officeFault{device: cameras, item: "item camera.signal gate", alarm: []string{"alarm camera.noframes gate"}, window: 2 * time.Second, also: lost("gate")}), func() { pub["gate"].signal(t, syscall.SIGSTOP) })},
			{14 * time.Second, both(func() { pub["gate"].signal(t, syscall.SIGCONT) }, over("no frames"))},
			{81 * time.Second, func() {}},
		},
	)
	slices.SortStableFunc(plans, func(a, b plan) int { return int(a.at - b.at) })
	for _, p := range plans {
		pause(time.Until(began.Add(p.at)))
		p.do()
	}
	for _, f := range []struct {
		key, path, item, alarm string
		at, length             time.Duration
		window, clears         time.Duration
		also                   []string
	}{
		{"black", "face", "item camera.black face", "alarm picture.black face", 20 * time.Second, faultLength, 2 * time.Second, 0, []string{"item camera.bitrate face"}},
		{"frozen", "room", "item camera.frozen room", "alarm picture.frozen room", 20 * time.Second, faultLength, 10 * time.Second, 0, nil},
		{"covered", "desk", "item camera.covered desk", "alarm picture.covered desk", 20 * time.Second, faultLength, 10 * time.Second, 0,
			[]string{"item camera.blur desk", "alarm picture.blurred desk", "item camera.moved desk", "alarm picture.moved desk"}},
		{"silence", "face", "item mic.silence face", "alarm sound.silent face", soundOn, soundOff - soundOn, silentFor, 0, []string{"item mic.snr face"}},
		{"clipping", "room", "item mic.clipping room", "alarm sound.clipping room", 15 * time.Second, 12 * time.Second, 10 * time.Second, 10 * time.Second, nil},
	} {
		on := first[f.path].Add(f.at)
		if began.After(on) {
			t.Errorf("%s began %v before the session: this machine is too slow for the plan", f.key, began.Sub(on))
		}
		faults[f.key] = &officeFault{name: f.key, device: cameras, item: f.item, alarm: []string{f.alarm}, window: f.window, clears: f.clears, also: f.also, on: on, off: on.Add(f.length)}
	}
	// A step is shown for a minute; that it is one of this session stays true.
	faults["clock step"].off = faults["clock step"].on.Add(time.Minute)
	for key, f := range faults {
		f.name = key
	}
	delays(t, relay, scenes, first, faults)
	for i, a := range agents {
		a.End(sessions[i])
	}
	for _, w := range seen {
		Wait(t, settles+clearedWithin, "with the session ends what stands through it", func() bool { return !w.Stands("item rec.copies") && !w.Stands("item time.steps") })
	}
	slow := overloaded(t, stalled(), agents[0].Session(0, sessions[0]), agents[1].Session(1, sessions[1])) || idle.Busy(began, time.Now())
	seconds := judgeOffice(t, seen, standing, faults, slow)
	for _, key := range slices.Sorted(maps.Keys(seconds)) {
		figure(t, "at the office: %-13s %s", key, seconds[key])
	}
	for i, a := range agents {
		if r := lab.VerifyJSON(t, "--require", "0", "--trust", a.Trust(), a.Session(0, sessions[i]), a.Session(1, sessions[i])); r.Exit != evidence.ExitGood && r.Exit != evidence.ExitSound {
			t.Errorf("verify of %s exits %d\n%s", sessions[i], r.Exit, Text(r))
		}
	}
}

// delays names as a fault what is one: a publisher that this machine held up for a while.
func delays(t *testing.T, relay *Relay, scenes []scene, first map[string]time.Time, faults map[string]*officeFault) {
	t.Helper()
	for _, s := range scenes {
		if s.path == "hall" || s.path == "gate" {
			continue // interrupted on purpose
		}
		sent, late := relay.frames264(s.path), time.Duration(0)
		var at time.Time
		for i, f := range sent {
			// How far behind its own rate.
			if behind := time.UnixMicro(f.WallUS).Sub(first[s.path]) - time.Duration(i)*time.Second/sceneRate; behind > late {
				late, at = behind, time.UnixMicro(f.WallUS)
			}
		}
		t.Logf("%s was sent at most %v late", s.path, late.Round(time.Millisecond))
		if late > stallNoticed {
			figure(t, "this machine held %s up for %v at %s", s.path, late.Round(time.Millisecond), at.Format("15:04:05"))
			for _, f := range faults {
				for _, device := range []string{"room-cameras", "room-simulated"} {
					if f.device == device {
						f.also = append(f.also, "item camera.fps "+s.path, "alarm picture.slow "+s.path, "item camera.keyframe "+s.path)
					}
				}
			}
		}
	}
}

// judgeOffice holds what was seen at the office against the faults there were, and returns the seconds
// each took to be shown and to clear.
func judgeOffice(t *testing.T, seen map[string]*Watch, standing map[string]map[string][]Span, faults map[string]*officeFault, slow bool) map[string]string {
	t.Helper()
	seconds := map[string]string{}
	shown, cleared := shownWithin, clearedWithin
	if slow { // each of the programs on the way waits for its turn
		shown, cleared = 4*shownWithin, 4*clearedWithin
	}
	explained := map[string][]Span{} // device and key -> when it may stand
	explain := func(device, key string, s Span) { explained[device+" "+key] = append(explained[device+" "+key], s) }
	spans := map[string]map[string][]Span{}
	for device, w := range seen {
		s, err := w.Spans()
		if err != nil {
			t.Errorf("%s at the office: %v", device, err)
		}
		spans[device] = s
	}
	end := time.Now()
	for name, f := range faults {
		may := Span{f.on.Add(-time.Second), f.off.Add(f.clears + settles + cleared)}
		for _, key := range append([]string{f.item}, f.alarm...) {
			explain(f.device, key, may)
		}
		if f.stays {
			explain(f.device, f.item, Span{f.on, end})
		}
		for _, key := range f.also {
			explain(f.device, key, Span{f.on.Add(-time.Second), end}) // means over a minute, and sums
		}
		text := "window " + fmt.Sprint(f.window)
		for i, kind := range [][]string{{f.item}, f.alarm} {
			var hit *Span
			for _, key := range kind {
				for _, s := range spans[f.device][key] {
					if s.From.After(may.From) && s.From.Before(may.To) && hit == nil {
						hit = &s
					}
				}
			}
			if hit == nil {
				t.Errorf("%s: the office never showed %s", name, strings.Join(kind, " or "))
				text += ", never"
				continue
			}
			after := hit.From.Sub(f.on)
			text += fmt.Sprintf(", %s after %.1f s", strings.Fields(kind[0])[0], after.Seconds())
			if after > f.window+shown {
				t.Errorf("%s: %s after %v, want %v", name, kind, after, f.window+shown)
			}
			if stays := f.stays && i == 0; stays {
				text += ", stands to the end of the session"
				if !hit.To.IsZero() && hit.To.Before(f.off.Add(settles+clearedWithin)) {
					t.Errorf("%s: %s cleared within the session: %v", name, kind, spans[f.device][kind[0]])
				}
				continue
			}
			if hit.To.IsZero() {
				text += ", not cleared"
				if end.After(may.To) {
					t.Errorf("%s: %s has not cleared %v after its end", name, kind, end.Sub(f.off))
				}
				continue
			}
			text += fmt.Sprintf(", cleared %.1f s after the end", hit.To.Sub(f.off).Seconds())
			if hit.To.After(may.To) {
				t.Errorf("%s: %s cleared %v after its end, want %v", name, kind, hit.To.Sub(f.off), may.To.Sub(f.off))
			}
			if hit.To.Before(f.off.Add(-time.Second)) {
				t.Errorf("%s: %s cleared %v before its end", name, kind, f.off.Sub(hit.To))
			}
		}
		seconds[name] = text
	}
	for device, all := range spans {
		for key, list := range all {
			if len(standing[device][key]) > 0 || slices.Contains(small, key) || slow && ofOverload(key) {
				continue
			}
			for _, s := range list {
				if !slices.ContainsFunc(explained[device+" "+key], func(e Span) bool { return !s.From.Before(e.From) && !s.From.After(e.To) }) {
					t.Errorf("false alarm: %s %s from %s to %s", device, key, s.From.Format("15:04:05.0"), s.To.Format("15:04:05.0"))
				}
			}
		}
	}
	return seconds
}
