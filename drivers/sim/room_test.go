package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minglu/drivers"
)

func itoa(n int) string { return strconv.Itoa(n) }

var (
	_ drivers.Source      = (*Camera)(nil)
	_ drivers.Source      = (*Microphone)(nil)
	_ drivers.Input       = (*Input)(nil)
	_ drivers.Lamp        = (*Lamp)(nil)
	_ drivers.Thermometer = (*Thermometer)(nil)
	_ drivers.Speaker     = (*Speaker)(nil)
	_ drivers.Scanner     = (*Scanner)(nil)
)

// tape keeps what a source delivers.
type tape struct {
	opened  []drivers.Description
	samples []drivers.Sample
	lost    int
}

func (t *tape) Open(d drivers.Description)        { t.opened = append(t.opened, d) }
func (t *tape) Sample(s drivers.Sample)           { t.samples = append(t.samples, s) }
func (t *tape) SenderReport(drivers.SenderReport) {}
func (t *tape) Lost(_, n int, _ string)           { t.lost += n }

// room returns a room with everything, on the bubble's clock, booted 100.7 s ago.
func room(t *testing.T) (*Room, func() time.Duration, *[]time.Duration) {
	t.Helper()
	boot, steps := time.Now(), &[]time.Duration{}
	uptime := func() time.Duration { return 100*time.Second + 700*time.Millisecond + time.Since(boot) }
	r, err := New(Options{
		Cameras: []CameraOptions{{ID: "face"}, {ID: "room", FPS: 30}}, Microphones: []string{"voice"},
		Button: true, Door: true, Presence: true, Lamp: true, Thermometer: true, Speaker: true, Scanner: true,
		Uptime: uptime, StepClock: func(d time.Duration) { *steps = append(*steps, d) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, uptime, steps
}

// record runs a source for d and returns what came.
func record(t *testing.T, s drivers.Source, d time.Duration) (*tape, error) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	out := &tape{}
	err := s.Run(ctx, out)
	return out, err
}

func TestCameraKeepsTheGridOfUptime(t *testing.T) {
	for id, fps := range map[string]int64{"face": 25, "room": 30} {
		synctest.Test(t, func(t *testing.T) {
			r, _, _ := room(t)
			got, err := record(t, r.Camera(id), 2*time.Second)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Run() = %v", err)
			}
			if n := int64(len(got.samples)); n < 2*fps-1 || n > 2*fps+1 {
				t.Errorf("%s: %d pictures in 2 s, want %d", id, n, 2*fps)
			}
			if !got.samples[0].Keyframe {
				t.Error("the first picture is no keyframe")
			}
			for i, s := range got.samples {
				n := s.DTS * fps / 90000
				if s.DTS != n*90000/fps {
					n++ // rounding down
				}
				if late := s.Arrival - time.Duration(n)*time.Second/time.Duration(fps); late < 0 || late > time.Microsecond {
					t.Fatalf("%s: picture %d came %v after its time", id, n, late)
				}
				if i > 0 && s.DTS-got.samples[i-1].DTS != 90000/fps {
					t.Fatalf("%s: a step of %d ticks, want %d", id, s.DTS-got.samples[i-1].DTS, 90000/fps)
				}
			}
		})
	}
}

func TestFlashAndBeepBeginTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := room(t)
		sound, _ := record(t, r.Microphone("voice"), 3*time.Second)
		cam := r.Camera("face")
		var beeps []time.Duration
		for _, s := range sound.samples { // a beep begins where the 1 kHz sine begins
			x := samplesOf(s.Data)
			if s.PTS%SampleRateHz == 0 && tone(x, BeepHz) > 0.2 {
				beeps = append(beeps, time.Duration(s.PTS)*time.Second/SampleRateHz)
			} else if s.PTS%SampleRateHz >= int64(BeepLength)*SampleRateHz/int64(time.Second) && tone(x, BeepHz) > 0.2 {
				t.Errorf("a beep at %v, which is no full second", time.Duration(s.PTS)*time.Second/SampleRateHz)
			}
		}
		shot := newShot(cam.o)
		var flashes []time.Duration
		lighted, dark := 0, true
		for n := int64(100*25 + 18); n < 104*25; n++ {
			shot.take(n, time.Time{}, &faults{})
			p := shot.shown
			lit := p.Y[((p.H-FlashInset)&^15+FlashSize/2)*p.W+p.W-FlashInset+FlashSize/2] == white
			if lit && dark {
				flashes = append(flashes, frameTime(n, 25))
			}
			dark = !lit
			lighted += b2i(lit)
		}
		if lighted != 3*2 { // 80 ms, as long as the beep
			t.Errorf("the flash lights %d pictures in 3 s, want 6", lighted)
		}
		if len(beeps) != 3 || !slices.Equal(beeps, flashes) {
			t.Errorf("beeps at %v, flashes at %v: want three each, together", beeps, flashes)
		}
	})
}

func samplesOf(b []byte) []float64 {
	x := make([]float64, len(b)/2)
	for i := range x {
		x[i] = float64(int16(binary.LittleEndian.Uint16(b[2*i:]))) / 32768
	}
	return x
}

// tone is the amplitude of one frequency (Goertzel).
func tone(x []float64, hz float64) float64 {
	re, im := 0.0, 0.0
	for i, v := range x {
		re += v * math.Cos(2*math.Pi*hz*float64(i)/SampleRateHz)
		im += v * math.Sin(2*math.Pi*hz*float64(i)/SampleRateHz)
	}
	return 2 * math.Hypot(re, im) / float64(len(x))
}

func level(x []float64) (rms, peak float64) {
	for _, v := range x {
		rms += v * v
		peak = max(peak, math.Abs(v))
	}
	return math.Sqrt(rms / float64(len(x))), peak
}

func all(t *tape) []float64 {
	var x []float64
	for _, s := range t.samples {
		x = append(x, samplesOf(s.Data)...)
	}
	return x
}

func TestMicrophone(t *testing.T) {
	for _, tt := range []struct {
		fault            string
		minRMS, maxRMS   float64
		minPeak, maxPeak float64
		clipped          bool
	}{
		{"", 0.05, 0.2, 0.45, 0.95, false},
		{FaultSilence, 0, 0, 0, 0, false},
		{FaultClipping, 0.3, 1, 0.999, 1, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, _, _ := room(t)
			if tt.fault != "" {
				if err := r.Fault(tt.fault, "voice", true); err != nil {
					t.Fatal(err)
				}
			}
			got, _ := record(t, r.Microphone("voice"), 5*time.Second)
			if n := len(got.samples); n < 248 || n > 250 {
				t.Errorf("%d blocks in 5 s, want about 249", n)
			}
			for i, s := range got.samples {
				end := time.Duration(s.PTS+BlockFrames) * time.Second / SampleRateHz
				if s.Arrival != end || len(s.Data) != 2*BlockFrames || s.Duration != BlockFrames {
					t.Fatalf("block %d: arrival %v, want %v; %d bytes", i, s.Arrival, end, len(s.Data))
				}
				if i > 0 && s.PTS != got.samples[i-1].PTS+BlockFrames {
					t.Fatalf("block %d: a hole in the sound", i)
				}
			}
			rms, peak := level(all(got))
			if rms < tt.minRMS || rms > tt.maxRMS || peak < tt.minPeak || peak > tt.maxPeak {
				t.Errorf("%q: rms %.3f, peak %.3f", tt.fault, rms, peak)
			}
		})
	}
}

func TestSpeechHasSyllablesAndPauses(t *testing.T) {
	v := newVoice()
	var loud, quiet int
	for range 250 { // 5 s in blocks of 20 ms
		x := make([]float64, BlockFrames)
		for i := range x {
			x[i] = v.next()
		}
		switch rms, _ := level(x); {
		case rms > 0.03:
			loud++
		case rms < 0.003:
			quiet++
		}
	}
	if loud < 100 || quiet < 30 {
		t.Errorf("%d loud and %d quiet blocks of 250: want speech with pauses", loud, quiet)
	}
}

func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := room(t)
		for _, s := range []drivers.Source{r.Camera("face"), r.Microphone("voice")} {
			time.AfterFunc(time.Second, func() { r.Fault(FaultGone, "", true) })
			start := time.Now()
			_, err := record(t, s, time.Minute)
			var p *drivers.Problem
			if d := time.Since(start); !errors.As(err, &p) || p.Code != "not-found" || d > 1100*time.Millisecond {
				t.Errorf("Run() = %v after %v, want not-found right after a second", err, d)
			}
			if got, err := record(t, s, time.Minute); !errors.As(err, &p) || len(got.opened) != 0 {
				t.Errorf("Run() while gone = %v", err)
			}
			r.Fault(FaultGone, "", false)
			if got, err := record(t, s, time.Second); !errors.Is(err, context.DeadlineExceeded) || len(got.samples) < 20 {
				t.Errorf("Run() when back = %v with %d samples", err, len(got.samples))
			}
		}
	})
}

func TestNoFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := room(t)
		time.AfterFunc(time.Second, func() { r.Fault(FaultNoFrames, "face", true) })
		time.AfterFunc(3*time.Second, func() { r.Fault(FaultNoFrames, "face", false) })
		got, _ := record(t, r.Camera("face"), 4*time.Second)
		if n := len(got.samples); n < 48 || n > 52 {
			t.Errorf("%d pictures, want 50 in the two seconds with pictures", n)
		}
		hole := int64(0)
		for i, s := range got.samples[1:] {
			hole = max(hole, s.DTS-got.samples[i].DTS)
		}
		if d := float64(hole) / 90000; d < 1.9 || d > 2.1 {
			t.Errorf("the longest hole has %.2f s, want 2", d)
		}
	})
}

func TestLateCameraDropsInsteadOfLagging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := room(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		out := &slow{tape: tape{}, once: 5 * time.Second}
		r.Camera("face").Run(ctx, out)
		if out.lost < 100 || out.lost > 130 || len(out.samples)+out.lost < 248 {
			t.Errorf("%d lost, %d delivered", out.lost, len(out.samples))
		}
	})
}

func TestLateMicrophoneDropsInsteadOfLagging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := room(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		out := &slow{tape: tape{}, once: 5 * time.Second}
		r.Microphone("voice").Run(ctx, out)
		if out.lost < 240 || out.lost > 250 || len(out.samples)+out.lost < 495 {
			t.Errorf("%d lost, %d delivered", out.lost, len(out.samples))
		}
	})
}

// slow blocks in its first sample, which a sink must not: it stands for a machine that stood still.
type slow struct {
	tape
	once time.Duration
}

func (s *slow) Sample(x drivers.Sample) {
	time.Sleep(s.once)
	s.once = 0
	s.tape.Sample(x)
}

func TestSpeakerIsHeardByTheMicrophone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := room(t)
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		out := &tape{}
		var wg sync.WaitGroup
		wg.Go(func() { r.Microphone("voice").Run(ctx, out) })
		time.Sleep(1400 * time.Millisecond) // uptime 102.1: after a beep
		start := time.Now()
		if err := r.Speaker().Play(ctx, Chime()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 1500*time.Millisecond || d > 1501*time.Millisecond {
			t.Errorf("Play() returned after %v, want 1.5s", d)
		}
		wg.Wait()
		n := 0
		for _, s := range out.samples {
			at := time.Duration(s.PTS) * time.Second / SampleRateHz
			if tone(samplesOf(s.Data), 523.25) > 0.1 && at >= 102100*time.Millisecond && at < 102600*time.Millisecond {
				n++
			}
		}
		if n < 5 {
			t.Errorf("the chime's first tone is heard in %d blocks", n)
		}
		if plays, last := r.Speaker().Plays(); plays != 1 || last != 102100*time.Millisecond {
			t.Errorf("Plays() = %d, %v", plays, last)
		}
	})
}

func TestSpeakerStopsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, uptime, _ := room(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := r.Speaker().Play(ctx, Chime()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Play() = %v", err)
		}
		var x [BlockFrames]float64
		r.speaker.air.mix(x[:], pcmFrames(uptime())+1)
		if _, peak := level(x[:]); peak != 0 {
			t.Error("it still sounds")
		}
	})
}

func TestWAVThatIsNone(t *testing.T) {
	good := Chime()
	patch := func(at int, b ...byte) []byte { c := bytes.Clone(good); copy(c[at:], b); return c }
	for name, wav := range map[string][]byte{
		"empty": nil, "no RIFF": patch(0, 'X'), "8 bit": patch(34, 8), "7 channels": patch(22, 7), "0 Hz": patch(24, 0, 0),
		"float": patch(20, 3), "no data": good[:36], "no fmt": append(bytes.Clone(good[:12]), good[36:]...),
		"hours": append(patch(40, 0, 0, 0, 1), make([]byte, 4<<20)...),
	} {
		if _, err := decodeWAV(wav); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if x, err := decodeWAV(good); err != nil || len(x) != 72000 {
		t.Errorf("the chime: %d PCM frames, %v", len(x), err)
	}
	if x, err := decodeWAV(good[:len(good)/2]); err != nil || len(x) == 0 {
		t.Errorf("a chime cut short: %d PCM frames, %v", len(x), err)
	}
}

func FuzzWAV(f *testing.F) {
	f.Add(Chime()[:200])
	f.Fuzz(func(t *testing.T, wav []byte) {
		x, err := decodeWAV(wav)
		if err == nil && len(x) > 120*SampleRateHz {
			t.Errorf("%d PCM frames", len(x))
		}
	})
}

func TestInputTellsEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := room(t)
		ctx, cancel := context.WithCancel(t.Context())
		var got []drivers.InputEvent
		var wg sync.WaitGroup
		wg.Go(func() {
			err := r.Input(drivers.Button).Run(ctx, func(e drivers.InputEvent) { got = append(got, e) })
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Run() = %v", err)
			}
		})
		synctest.Wait()
		r.Press(3 * time.Second)
		r.SetInput(drivers.Button, true) // no change
		time.Sleep(4 * time.Second)
		synctest.Wait()
		cancel()
		wg.Wait()
		up := 100*time.Second + 700*time.Millisecond
		want := []drivers.InputEvent{{Kind: drivers.Button, Up: up}, {Kind: drivers.Button, On: true, Up: up}, {Kind: drivers.Button, Up: up + 3*time.Second}}
		if !slices.Equal(got, want) {
			t.Errorf("events %v, want %v", got, want)
		}
		if len(r.Input(drivers.Button).subs) != 0 {
			t.Error("Run left its subscription behind")
		}
	})
}

func TestLampRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := room(t)
		l := r.Lamp()
		for _, s := range []drivers.LampState{drivers.LampIdle, drivers.LampIdle, drivers.LampRecording} {
			if err := l.Set(s); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		want := []LampChange{{drivers.LampIdle, 100700 * time.Millisecond}, {drivers.LampRecording, 102700 * time.Millisecond}}
		if got := l.Changes(); !slices.Equal(got, want) {
			t.Errorf("Changes() = %v, want %v", got, want)
		}
		if l.Set("purple") == nil {
			t.Error("the lamp turned purple")
		}
		for i := range 2 * lampHistory {
			l.Set([]drivers.LampState{drivers.LampIdle, drivers.LampPaused}[i%2])
		}
		if n := len(l.Changes()); n != lampHistory {
			t.Errorf("%d changes kept, want %d", n, lampHistory)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	up := func() time.Duration { return 0 }
	for rule, o := range map[string]Options{
		"no uptime":         {},
		"a card too narrow": {Uptime: up, Cameras: []CameraOptions{{ID: "a", Width: 640}}},
		"odd width":         {Uptime: up, Cameras: []CameraOptions{{ID: "a", Width: 1281}}},
		"too fast":          {Uptime: up, Cameras: []CameraOptions{{ID: "a", FPS: 1000}}},
		"one id twice":      {Uptime: up, Cameras: []CameraOptions{{ID: "a"}}, Microphones: []string{"a"}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", rule)
		}
	}
	r, err := New(Options{Uptime: up})
	if err != nil {
		t.Fatal(err)
	}
	if r.Camera("x") != nil || r.Microphone("x") != nil || r.Press(0) == nil || r.SetInput(drivers.Door, true) == nil || r.Fault(FaultClockStep, "", true) == nil {
		t.Error("an empty room has devices")
	}
}

func BenchmarkMicrophoneSecond(b *testing.B) {
	m, v := &Microphone{air: &air{}}, newVoice()
	for b.Loop() {
		for k := range int64(50) {
			m.block(v, k*BlockFrames)
		}
	}
}
