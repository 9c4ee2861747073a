package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"minglu/drivers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	video = &drivers.Format{Codec: drivers.H264, ClockHz: 90000}
	sound = &drivers.Format{Codec: drivers.AAC, ClockHz: 48000, SampleRateHz: 48000, Channels: 1}
)

// sourceFunc is a source made of one function; the int counts its connections from 1.
type sourceFunc struct {
	n int
	f func(ctx context.Context, out drivers.Sink, n int) error
}

func (s *sourceFunc) Run(ctx context.Context, out drivers.Sink) error {
	s.n++
	return s.f(ctx, out, s.n)
}

// got keeps what a sink was given.
type got struct {
	mu      sync.Mutex
	samples []drivers.Sample
	events  []string
}

func (g *got) Describe(ch string, d drivers.Description) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events = append(g.events, fmt.Sprintf("describe %s %s", ch, d.Identity))
}

func (g *got) Sample(ch string, s drivers.Sample) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.samples = append(g.samples, s)
}

func (g *got) Lost(ch string, track int, n int, cause string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events = append(g.events, fmt.Sprintf("lost %s %d %d %s", ch, track, n, cause))
}

func (g *got) of(track int) []drivers.Sample {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.samples), func(s drivers.Sample) bool { return s.Track != track })
}

// rig is a capture of one source inside a synctest bubble; its clock began an hour ago.
type rig struct {
	*Capture
	up   func() time.Duration
	stop func()
}

func start(t *testing.T, o Options, f func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error) *rig {
	t.Helper()
	boot := time.Now().Add(-time.Hour)
	r := &rig{up: func() time.Duration { return time.Since(boot) }}
	o.Uptime = r.up
	o.Channels = []Channel{{ID: "face", Source: &sourceFunc{f: func(ctx context.Context, out drivers.Sink, n int) error { return f(ctx, out, n, r.up) }}}}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Capture = c
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		why := errors.New("asked to stop")
		cancel(why)
		if err := <-ended; !errors.Is(err, why) {
			t.Errorf("Run() = %v, want the reason it was stopped", err)
		}
	})
	r.stop = stop
	return r
}

// camera delivers 25 pictures a second with a keyframe each second, from tick origin on, until ctx ends or frames are through.
func camera(ctx context.Context, out drivers.Sink, up func() time.Duration, origin int64, frames int) error {
	out.Open(drivers.Description{Formats: []*drivers.Format{video}, Identity: "cam"})
	for k := 0; k < frames; k++ {
		if !sleep(ctx, 40*time.Millisecond) {
			return context.Cause(ctx)
		}
		dts := origin + int64(k)*3600
		out.Sample(drivers.Sample{Format: video, PTS: dts, DTS: dts, Arrival: up(), Keyframe: k%25 == 0, Data: make([]byte, 1000)})
	}
	return errors.New("end of film")
}

const forever = 1 << 30

func TestNewRefusesWhatCannotBeCaptured(t *testing.T) {
	up := func() time.Duration { return 0 }
	src := &sourceFunc{}
	for _, tt := range []struct {
		rule string
		o    Options
	}{
		{"a clock is needed", Options{}},
		{"ids are lower case", Options{Uptime: up, Channels: []Channel{{"Face", src}}}},
		{"ids are unique", Options{Uptime: up, Channels: []Channel{{"a", src}, {"a", src}}}},
		{"a channel has a source", Options{Uptime: up, Channels: []Channel{{"a", nil}}}},
	} {
		if _, err := New(tt.o); err == nil {
			t.Errorf("%s: New() accepted it", tt.rule)
		}
	}
}

func TestBackoffDoublesAndIsResetByAGoodConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		r := start(t, Options{}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
			at = append(at, up())
			if n == 8 {
				return camera(ctx, out, up, 0, 25*20)
			}
			return &drivers.Problem{Code: "credentials", Zh: "密码", En: "password", Err: errors.New("401")}
		})
		time.Sleep(5 * time.Second)
		s := r.Status()[0]
		if s.State != Failed || s.Problem == nil || s.Problem.Code != "credentials" || s.Attempts < 3 || s.Connected || s.SampleAge != -1 {
			t.Errorf("status after failures: %+v", s)
		}
		time.Sleep(75 * time.Second)
		r.stop()
		want := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second, 20 * time.Second}
		for i, w := range want {
			d := at[i+1] - at[i]
			if i == 7 { // a good connection of 20 s, then at once
				if d != w {
					t.Errorf("after a good connection tried again after %v, want %v", d, w)
				}
			} else if d < w*8/10 || d > w*12/10 {
				t.Errorf("attempt %d: waited %v, want %v by a fifth", i+1, d, w)
			}
		}
	})
}

func TestSilentConnectionIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		r := start(t, Options{NoFrames: 5 * time.Second}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
			at = append(at, up())
			out.Open(drivers.Description{Formats: []*drivers.Format{video, sound}})
			for k := int64(0); sleep(ctx, 20*time.Millisecond); k++ { // sound alone does not count
				out.Sample(drivers.Sample{Track: 1, Format: sound, PTS: k * 960, DTS: k * 960, Duration: 960, Arrival: up(), Keyframe: true, Data: []byte{1}})
			}
			return ctx.Err()
		})
		time.Sleep(8 * time.Second)
		s := r.Status()[0]
		if s.Problem == nil || s.Problem.Code != "no-frames" || s.State != Waiting {
			t.Errorf("status: %+v, problem %v", s, s.Problem)
		}
		r.stop()
		if len(at) != 2 || at[1]-at[0] < 5*time.Second || at[1]-at[0] > 7*time.Second {
			t.Errorf("connected at %v, want twice, 5 to 7 s apart", at)
		}
	})
}

// checkWhole checks that the pictures are each 40 ms after the other, in ticks and in uptime.
func checkWhole(t *testing.T, s []drivers.Sample) {
	t.Helper()
	for i := 1; i < len(s); i++ {
		if s[i].DTS-s[i-1].DTS != 3600 || s[i].At-s[i-1].At != 40*time.Millisecond || s[i].Run != s[i-1].Run {
			t.Fatalf("sample %d: DTS %d at %v run %d after DTS %d at %v run %d", i, s[i].DTS, s[i].At, s[i].Run, s[i-1].DTS, s[i-1].At, s[i-1].Run)
		}
	}
}

func TestPrerollThenLiveWithoutHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{Preroll: 10 * time.Second}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
			return camera(ctx, out, up, 5000, forever)
		})
		time.Sleep(33*time.Second + 333*time.Millisecond)
		if s := r.Status()[0]; s.State != Live || s.FPS < 24.9 || s.FPS > 25.1 || s.BitsPerSec != 200000 || s.Preroll < 10*time.Second || s.Preroll > 11*time.Second {
			t.Errorf("status: %+v", s)
		}
		earliest, trigger := r.Earliest(), r.up()
		var g got
		r.Attach(&g)
		if n := len(g.of(0)); n < 250 || n > 275 {
			t.Errorf("pre-roll of %d pictures, want 10 to 11 s of 25", n)
		}
		time.Sleep(5 * time.Second)
		r.Detach()
		n := len(g.samples)
		time.Sleep(time.Second)
		s := g.of(0)
		if len(s) != n {
			t.Errorf("%d samples after Detach", len(s)-n)
		}
		checkWhole(t, s)
		first, last := s[0], s[len(s)-1]
		if !first.Keyframe || first.At != earliest || trigger-first.At < 10*time.Second || last.At < trigger+4900*time.Millisecond {
			t.Errorf("first %v (key %v), last %v; earliest %v, trigger %v", first.At, first.Keyframe, last.At, earliest, trigger)
		}
		if want := []string{"describe face cam"}; !slices.Equal(g.events, want) {
			t.Errorf("events %q, want %q", g.events, want)
		}
		r.stop()
	})
}

func TestAttachDuringFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{Preroll: time.Second}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
			return camera(ctx, out, up, 0, forever)
		})
		for i := range 40 { // at all phases of the camera, also while it delivers
			time.Sleep(2*time.Second + time.Duration(i)*7*time.Millisecond)
			var g got
			r.Attach(&g)
			time.Sleep(2 * time.Second)
			r.Detach()
			s := g.of(0)
			if len(s) < 60 || !s[0].Keyframe {
				t.Fatalf("round %d: %d samples", i, len(s))
			}
			checkWhole(t, s)
		}
		// One session directly after another: the second begins at the last keyframe of the first.
		var a, b got
		r.Attach(&a)
		time.Sleep(10 * time.Second)
		r.Attach(&b)
		time.Sleep(time.Second)
		r.stop()
		over := a.of(0)[len(a.of(0))-1].At - b.of(0)[0].At
		if over < 0 || over >= time.Second || !b.of(0)[0].Keyframe {
			t.Errorf("the next session begins %v before the end of the first, want less than a group of pictures", over)
		}
	})
}

func TestPauseKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
			return camera(ctx, out, up, 0, forever)
		})
		var g got
		r.Attach(&g)
		time.Sleep(5 * time.Second)
		r.Pause()
		paused := r.up()
		time.Sleep(7*time.Second + 500*time.Millisecond)
		if s := r.Status()[0]; s.Bytes != 0 || s.State != Live || s.Reconnects != 0 {
			t.Errorf("paused: %+v", s)
		}
		if r.Earliest() != 0 {
			t.Error("there is a pre-roll while paused")
		}
		resumed := r.up()
		r.Attach(&g)
		time.Sleep(5 * time.Second)
		r.stop()
		for _, s := range g.of(0) {
			if s.At > paused && s.At < resumed-40*time.Millisecond {
				t.Fatalf("sample of %v, paused from %v to %v", s.At, paused, resumed)
			}
			if s.At >= resumed && s.Run != 2 || s.At < paused && s.Run != 1 {
				t.Fatalf("sample at %v in run %d", s.At, s.Run)
			}
		}
		if last := g.samples[len(g.samples)-1]; last.At < resumed+4*time.Second {
			t.Errorf("last sample at %v, resumed at %v", last.At, resumed)
		}
	})
}

func TestRunsBeginAnew(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		jump  int64         // ticks at picture 100
		stall time.Duration // before it
		runs  int
		bend  float64 // how far the time between two pictures may be from their ticks
	}{
		{"an even clock is one run", 0, 0, 1, 0},
		{"a small lead of the ticks is jitter, taken off slowly", 90000 * 4 / 10, 0, 1, maxSlew},
		{"a forward jump is a new run", 90000 * 6 / 10, 0, 2, 0},
		{"a backward jump is a new run", -3601, 0, 2, 0},
		{"a loss that ticks and arrival agree on is no new run", 90000 * 3, 3 * time.Second, 1, 0},
		{"a late delivery is no new run, but followed", 0, 3 * time.Second, 1, grossSlew},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, Options{}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
				out.Open(drivers.Description{Formats: []*drivers.Format{video}})
				for k := int64(0); ; k++ {
					wait, dts := 40*time.Millisecond, k*3600
					if k == 100 {
						wait += tt.stall
					}
					if k >= 100 {
						dts += tt.jump
					}
					if !sleep(ctx, wait) {
						return ctx.Err()
					}
					out.Sample(drivers.Sample{Format: video, PTS: dts, DTS: dts, Arrival: up(), Keyframe: k%25 == 0, Data: []byte{1}})
				}
			})
			var g got
			r.Attach(&g)
			time.Sleep(15 * time.Second)
			r.stop()
			s := g.of(0)
			if last := s[len(s)-1]; last.Run != tt.runs {
				t.Errorf("%s: ended in run %d, want %d", tt.rule, last.Run, tt.runs)
			}
			for i := 1; i < len(s); i++ {
				a, b := s[i-1], s[i]
				ticks := since(b.DTS-a.DTS, 90000)
				if off := (b.At - a.At - ticks).Abs(); a.Run == b.Run && off > time.Duration(float64(ticks)*tt.bend)+2 {
					t.Fatalf("%s: sample %d: %v of uptime for %d ticks", tt.rule, i, b.At-a.At, b.DTS-a.DTS)
				}
				if a.Run != b.Run && b.At-b.Arrival > time.Millisecond {
					t.Errorf("%s: new run anchored at %v, arrived %v", tt.rule, b.At, b.Arrival)
				}
			}
			if len(s) < 300-int(tt.stall/(40*time.Millisecond)) {
				t.Errorf("%s: %d samples", tt.rule, len(s))
			}
		})
	}
}

func TestReconnectIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
			return camera(ctx, out, up, int64(n)*1e9, 25*12)
		})
		var g got
		r.Attach(&g)
		time.Sleep(20 * time.Second)
		r.stop()
		want := []string{"describe face cam", "lost face 0 0 connection lost", "describe face cam"}
		if len(g.events) < 3 || !slices.Equal(g.events[:3], want) {
			t.Errorf("events %q, want %q", g.events, want)
		}
		if s := r.Status()[0]; s.Reconnects != 1 {
			t.Errorf("%d reconnects", s.Reconnects)
		}
		if s := g.of(0); s[0].Run != 1 || s[len(s)-1].Run != 2 || len(s) < 480 {
			t.Errorf("%d samples, runs %d to %d", len(s), s[0].Run, s[len(s)-1].Run)
		}
	})
}

func TestDeadCameraLeavesNoOldPreroll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
			if n > 1 {
				return errors.New("unplugged")
			}
			return camera(ctx, out, up, 0, 25*30)
		})
		time.Sleep(35 * time.Second)
		if r.Earliest() == 0 {
			t.Error("5 s after the cable was pulled the pre-roll is gone")
		}
		time.Sleep(6 * time.Second)
		if s := r.Status()[0]; r.Earliest() != 0 || s.Bytes != 0 {
			t.Errorf("11 s after the cable was pulled: earliest %v, %d bytes", r.Earliest(), s.Bytes)
		}
		r.stop()
	})
}

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 100_000
		most := int64(0)
		r := start(t, Options{Preroll: time.Hour, PrerollBytes: limit}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
			return camera(ctx, out, up, 0, forever)
		})
		for range 200 {
			time.Sleep(100 * time.Millisecond)
			most = max(most, r.Status()[0].Bytes)
		}
		if most > limit || most < limit*6/10 {
			t.Errorf("pre-roll took up to %d bytes, bound %d", most, limit)
		}
		var g got
		r.Attach(&g)
		if s := g.of(0); len(s) == 0 || !s[0].Keyframe {
			t.Errorf("%d samples, the first must be a keyframe", len(s))
		}
		for range 200 {
			time.Sleep(100 * time.Millisecond)
			if b := r.Status()[0].Bytes; b > 26*1200 {
				t.Fatalf("while recorded %d bytes are kept, want one group of pictures", b)
			}
		}
		checkWhole(t, g.of(0))
		r.stop()
		if n := len(r.channels[0].ring.items); n > 200 {
			t.Errorf("ring of %d items for one group of pictures", n)
		}
	})
}
