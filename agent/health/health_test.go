package health

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/report"
	"minglu/agent/standard"
)

// TestTenQuietMinutes: nothing is raised in a room where all is well, and what passes is measured.
func TestTenQuietMinutes(t *testing.T) {
	r, d := shoot(t)
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, r, d)
		w.run(120)
		w.set(func() { w.changes = 0 })
		w.run(480)
		if w.changes > 0 {
			t.Errorf("%d reports of a change in a room where nothing changes", w.changes)
		}
		if e := w.happened(); len(e) > 0 {
			t.Errorf("false alarms: %v", e)
		}
		known, passed := map[string]bool{}, 0
		for _, m := range w.h.Latest().Measurements {
			if m.Known() {
				known[m.Measure] = true
				if m.At == 0 || m.How.Zh == "" || m.How.En == "" {
					t.Errorf("%+v: without time or how it was taken", m)
				}
			} else if m.Unknown.Zh == "" || m.Unknown.En == "" {
				t.Errorf("%+v: unknown without reason", m)
			}
		}
		for _, v := range w.h.Latest().Verdicts {
			switch {
			case v.Result == standard.Pass:
				passed++
			case v.Result == standard.Fail && !slices.Contains([]string{"camera.width", "camera.height", "camera.floor", "rec.copies"}, v.Item):
				t.Errorf("fails in a good room: %+v", v) // the clips are small, the two disks one file system
			}
		}
		t.Logf("%d measures known, %d verdicts pass of %d", len(known), passed, len(w.h.Latest().Verdicts))
		if len(known) < 35 {
			t.Errorf("%d measures known, want 35 and more", len(known))
		}
		w.stop()
	})
}

// TestEveryMeasureOfTheProfileIsAccountedFor: measured, or unknown for a reason of its own.
func TestEveryMeasureOfTheProfileIsAccountedFor(t *testing.T) {
	r, d := shoot(t)
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, r, d)
		w.run(3)
		ms := w.h.Latest().Measurements
		for _, it := range standard.Default().Items {
			i := slices.IndexFunc(ms, func(m standard.Measurement) bool { return m.Measure == it.Measure })
			if i < 0 {
				t.Errorf("%s: nothing says why %s is not measured", it.ID, it.Measure)
				continue
			}
			if m := ms[i]; m.Known() && m.Value.Kind() == standard.NumberKind && m.Unit != it.Unit {
				t.Errorf("%s: measured in %q, judged in %q", it.ID, m.Unit, it.Unit)
			}
		}
		w.stop()
	})
}

// TestFaultsComeAndGo: each within 5 s of its window, alone, and away as soon.
func TestFaultsComeAndGo(t *testing.T) {
	r, d := shoot(t)
	show := func(what string) func(*world) { return func(w *world) { w.shows["face"] = what } }
	for _, tt := range []struct {
		code, ch  string
		window    time.Duration
		on, off   func(w *world)
		clearsIn  time.Duration // 0: at once
		alongside []string      // other faults that belong to it
	}{
		{code: "picture.black", ch: "face", window: 2 * second, on: show("black"), off: show("")},
		{code: "picture.covered", ch: "face", window: 10 * second, on: show("covered"), off: show("")},
		{code: "picture.frozen", ch: "face", window: 10 * second, on: show("frozen"), off: show("")},
		{code: "camera.noframes", ch: "face", window: 2 * second, on: func(w *world) { w.silent["face"] = true }, off: func(w *world) { w.silent["face"] = false },
			clearsIn: 65 * second, alongside: []string{"picture.lossy face", "picture.slow face"}},
		{code: "camera.gone", ch: "face", window: 2 * second,
			on:       func(w *world) { w.silent["face"], w.facts.Channels[0].Connected = true, false },
			off:      func(w *world) { w.silent["face"], w.facts.Channels[0].Connected = false, true },
			clearsIn: 65 * second, alongside: []string{"picture.lossy face", "picture.slow face"}},
		{code: "camera.credentials", ch: "wide", window: 2 * second,
			on: func(w *world) {
				w.silent["wide"], w.facts.Channels[1].Connected, w.facts.Channels[1].Problem = true, false, "credentials"
			},
			off: func(w *world) {
				w.silent["wide"], w.facts.Channels[1].Connected, w.facts.Channels[1].Problem = false, true, ""
			},
			clearsIn: 65 * second, alongside: []string{"picture.lossy wide", "picture.slow wide"}},
		{code: "microphone.gone", ch: "voice", window: 5 * second, on: func(w *world) { w.silent["voice"] = true }, off: func(w *world) { w.silent["voice"] = false }},
		{code: "sound.silent", ch: "voice", on: func(w *world) { w.facts.Channels[2].Level.Quiet = 61 * second }, off: func(w *world) { w.facts.Channels[2].Level.Quiet = 0 }},
		{code: "sound.clipping", ch: "voice", window: 10 * second, clearsIn: 10 * second,
			on: func(w *world) { w.facts.Channels[2].Level.Clipped = 0.2 }, off: func(w *world) { w.facts.Channels[2].Level.Clipped = 0 }},
		{code: "picture.slow", ch: "face", window: 30 * second, clearsIn: 40 * second, on: func(w *world) { w.fps = 20 }, off: func(w *world) { w.fps = 25 }, alongside: []string{"picture.slow wide", "picture.lossy face", "picture.lossy wide"}},
		{code: "disk.low", ch: "B", on: func(w *world) { w.facts.Disks[1].Free = 1 << 30 }, off: func(w *world) { w.facts.Disks[1].Free = 1 << 40 }},
		{code: "record.unsigned", window: 0, on: func(w *world) { w.facts.Session.Unsigned = 16 * second }, off: func(w *world) { w.facts.Session.Unsigned = second }},
		{code: "clock.inaccurate", on: func(w *world) { w.err = 2 * second }, off: func(w *world) { w.err = second / 100 }},
		{code: "clock.unverified", on: func(w *world) { w.err = -1 }, off: func(w *world) { w.err = second / 100 }},
		{code: "clock.behind", on: func(w *world) { w.floor = true }, off: func(w *world) { w.floor = false }},
		{code: "camera.clock", ch: "face", on: func(w *world) { w.ntp = 3 * second }, off: func(w *world) { w.ntp = 0 }, alongside: []string{"camera.clock wide"}},
		{code: "climate.stale", on: func(w *world) { w.facts.Climate.At = time.Hour - 61*second }, off: func(w *world) { w.facts.Climate.At = 0 }},
		{code: "certificate.expiring", on: func(w *world) { w.facts.CertDaysLeft = ptr(3.0) }, off: func(w *world) { w.facts.CertDaysLeft = ptr(300.0) }},
		{code: "board.hot", window: probeEvery, clearsIn: probeEvery,
			on:  func(w *world) { put(t, w.sys, "class/thermal/thermal_zone1/temp", "91000") },
			off: func(w *world) { put(t, w.sys, "class/thermal/thermal_zone1/temp", "50000") }},
		{code: "power.low", window: probeEvery, clearsIn: probeEvery,
			on:  func(w *world) { put(t, w.sys, "class/hwmon/hwmon1/in0_lcrit_alarm", "1") },
			off: func(w *world) { put(t, w.sys, "class/hwmon/hwmon1/in0_lcrit_alarm", "0") }},
	} {
		t.Run(tt.code, func(t *testing.T) {
			if report.Find(tt.code).Code != tt.code || strings.HasPrefix(report.Find(tt.code).Text.En, "Unknown fault") {
				t.Fatalf("%s is not in the catalogue", tt.code)
			}
			synctest.Test(t, func(t *testing.T) {
				w := begin(t, r, d)
				w.run(75)
				began := w.up()
				w.set(func() { tt.on(w) })
				w.run(int((tt.window + 15*second) / second))
				ended := w.up()
				w.set(func() { tt.off(w) })
				w.run(int((tt.clearsIn + 15*second) / second))
				name := strings.TrimSpace(tt.code + " " + tt.ch)
				raised, cleared := time.Duration(-1), time.Duration(-1)
				for _, e := range w.happened() {
					switch {
					case e.what == "+"+name && raised < 0:
						raised = e.at - began
					case e.what == "-"+name && raised >= 0 && cleared < 0:
						cleared = e.at - ended
					case slices.Contains(tt.alongside, e.what[1:]):
					default:
						t.Errorf("another fault, %v after the beginning: %s", e.at-began, e.what)
					}
				}
				if raised < 0 || raised > tt.window+5*second {
					t.Errorf("raised after %v, want within 5 s of its window of %v", raised, tt.window)
				}
				if cleared < 0 || cleared > tt.clearsIn+5*second {
					t.Errorf("cleared after %v", cleared)
				}
				t.Logf("%s: raised after %v, cleared after %v", name, raised, cleared)
				w.stop()
			})
		})
	}
}

// TestClockStep: a step shows for a minute and belongs to the session in which it happened.
func TestClockStep(t *testing.T) {
	r, d := shoot(t)
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, r, d)
		w.run(10)
		w.h.Stepped(w.up(), -3*second)
		w.run(3)
		if v := w.verdict("time.steps", ""); v.Result != standard.Fail || v.Value.Num() != 3 {
			t.Errorf("%+v", v)
		}
		w.run(70)
		got := []string{}
		for _, e := range w.happened() {
			got = append(got, e.what)
		}
		if want := []string{"+clock.step", "-clock.step"}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		w.set(func() { w.facts.Session.Began = w.up() })
		w.run(4)
		if v := w.verdict("time.steps", ""); v.Result != standard.Pass {
			t.Errorf("the next session: %+v", v)
		}
		w.stop()
	})
}

// TestAPauseIsNotLookedAt: no fault, all unknown or not applicable, and nothing of before counts after.
func TestAPauseIsNotLookedAt(t *testing.T) {
	r, d := shoot(t)
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, r, d)
		w.run(20)
		w.set(func() { w.facts.Paused, w.facts.Recording = true, false })
		for _, ch := range []string{"face", "wide", "voice"} {
			w.h.Lost(ch, 0, 0, causePaused)
		}
		for range 300 { // capture goes on counting, the tap gets nothing
			time.Sleep(second)
		}
		for _, m := range w.h.Latest().Measurements {
			if strings.HasPrefix(m.Measure, "picture.") && m.Known() || m.Measure == "video.fps" && m.Known() {
				t.Errorf("in a pause: %+v", m)
			}
		}
		w.set(func() { w.facts.Paused, w.facts.Recording = false, true })
		w.run(60)
		if e := w.happened(); len(e) > 0 {
			t.Errorf("faults of a pause: %v", e)
		}
		if v := w.verdict("rec.drops", "face"); v.Result == standard.Fail {
			t.Errorf("the pause counts as lost frames: %+v", v)
		}
		w.stop()
	})
}

// TestWithoutADecoder: unknown with that reason, never pass.
func TestWithoutADecoder(t *testing.T) {
	r, _ := shoot(t)
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, r, nil)
		w.run(30)
		for _, item := range []string{"camera.black", "camera.frozen", "camera.covered", "camera.blur", "camera.moved"} {
			if v := w.verdict(item, "face"); v.Result != standard.Unknown || v.Why.En != "no decoder" {
				t.Errorf("%s: %+v", item, v)
			}
		}
		if v := w.verdict("camera.fps", "face"); v.Result == standard.Fail {
			t.Errorf("%+v", v)
		}
		w.stop()
	})
}

// TestPrecheck says at once what would fail.
func TestPrecheck(t *testing.T) {
	r, d := shoot(t)
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, r, d)
		w.set(func() { w.facts.Recording = false })
		w.run(20)
		if f := w.h.Precheck(); len(f) > 0 {
			t.Errorf("a good room: %v", f)
		}
		w.set(func() {
			w.shows["face"], w.silent["voice"], w.facts.Disks[0].Free, w.err = "black", true, 1<<20, -1
		})
		w.run(10)
		got := []string{}
		for _, f := range w.h.Precheck() {
			got = append(got, f.Code+" "+f.Ch)
		}
		want := []string{"picture.black face", "microphone.gone voice", "disk.low A", "clock.unverified "}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		w.stop()
	})
}
