package capture

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"minglu/drivers"
)

// heavy delivers 40 Mbit/s at 25 pictures a second. All pictures share their bytes.
func heavy(ctx context.Context, out drivers.Sink, up func() time.Duration, group int) error {
	picture := make([]byte, 40e6/8/25)
	out.Open(drivers.Description{Formats: []*drivers.Format{video}})
	for k := 0; sleep(ctx, 40*time.Millisecond); k++ {
		out.Sample(drivers.Sample{Format: video, PTS: int64(k) * 3600, DTS: int64(k) * 3600, Arrival: up(), Keyframe: k%group == 0, Data: picture})
	}
	return ctx.Err()
}

// TestHeavyCamera: the pre-roll of a camera of 40 Mbit/s stays within its bytes, and even with a keyframe
// each ten seconds a recording begins at once.
func TestHeavyCamera(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		group int
		most  int64         // bytes
		least time.Duration // of pre-roll, whenever the session begins after the first 20 s
	}{
		{"groups of two seconds", 50, DefaultPrerollBytes, 4 * time.Second},
		{"groups of ten seconds", 250, oneGroup * DefaultPrerollBytes, 0},
	} {
		for _, begin := range []time.Duration{20, 23, 27, 29} {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, Options{}, func(ctx context.Context, out drivers.Sink, _ int, up func() time.Duration) error {
					return heavy(ctx, out, up, tt.group)
				})
				most := int64(0)
				for range begin * 10 {
					time.Sleep(100 * time.Millisecond)
					most = max(most, r.Status()[0].Bytes)
				}
				now := r.up()
				var g got
				r.Attach(&g)
				for range 150 {
					time.Sleep(100 * time.Millisecond)
					most = max(most, r.Status()[0].Bytes)
				}
				r.stop()
				s := g.of(0)
				if most > tt.most+1<<20 {
					t.Errorf("%s: %d MiB were kept, bound %d", tt.rule, most>>20, tt.most>>20)
				}
				if !s[0].Keyframe || now-s[0].At < tt.least || s[0].At > now {
					t.Errorf("%s, begun after %d s: the first picture is of %v before, keyframe %v", tt.rule, begin, now-s[0].At, s[0].Keyframe)
				}
				checkWhole(t, s)
			})
		}
	}
}

// TestNothingOfASealedSessionComesAgain: the pre-roll is emptied when a session ends.
func TestNothingOfASealedSessionComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{}, func(ctx context.Context, out drivers.Sink, _ int, up func() time.Duration) error {
			return camera(ctx, out, up, 0, forever)
		})
		var a, b got
		time.Sleep(5 * time.Second)
		r.Attach(&a)
		time.Sleep(10*time.Second + 500*time.Millisecond)
		r.Detach()
		ended := r.up()
		if s := r.Status()[0]; s.Bytes != 0 || r.Earliest() != 0 {
			t.Errorf("after the session %d bytes are kept, from %v on", s.Bytes, r.Earliest())
		}
		time.Sleep(100 * time.Millisecond)
		r.Attach(&b)
		time.Sleep(5 * time.Second)
		r.stop()
		s := b.of(0)
		if len(s) < 100 || s[0].At < ended-40*time.Millisecond {
			t.Errorf("%d pictures, the first %v after the end of the session before", len(s), s[0].At-ended)
		}
	})
}

// TestOverrunIsAHoleOfItsLength: a microphone that lost sound says so; how much is told by its ticks,
// or, where they went on as if nothing were, by the arrival of what follows.
func TestOverrunIsAHoleOfItsLength(t *testing.T) {
	const lost = 300 * time.Millisecond
	for _, tt := range []struct {
		rule string
		told bool // by the ticks
		runs int
	}{{"ticks that count what was lost", true, 1}, {"ticks that do not", false, 2}} {
		synctest.Test(t, func(t *testing.T) {
			f := &drivers.Format{Codec: drivers.PCM, ClockHz: 48000, SampleRateHz: 48000, Channels: 1}
			r := start(t, Options{}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
				out.Open(drivers.Description{Formats: []*drivers.Format{f}})
				began, ticks := up(), int64(0)
				for k := int64(0); ; k++ {
					heard := time.Duration(k+1) * 20 * time.Millisecond
					if k >= 500 {
						heard += lost
					}
					if k == 500 {
						out.Lost(0, 14400, "overrun")
						if tt.told {
							ticks += 14400
						}
					}
					if !sleep(ctx, began+heard-up()) {
						return ctx.Err()
					}
					out.Sample(drivers.Sample{Format: f, PTS: ticks, DTS: ticks, Duration: 960, Arrival: up(), Keyframe: true, Data: tone(int(ticks), 960, 1, 8000)})
					ticks += 960
				}
			})
			var g got
			r.Attach(&g)
			time.Sleep(20 * time.Second)
			r.stop()
			var holes []time.Duration
			s := g.of(0)
			for i := 1; i < len(s); i++ {
				if d := s[i].At - s[i-1].At - 20*time.Millisecond; d.Abs() > time.Millisecond {
					holes = append(holes, d)
				}
			}
			if len(holes) != 1 || (holes[0]-lost).Abs() > 2*time.Millisecond || s[len(s)-1].Run != tt.runs || len(s) < 900 {
				t.Errorf("%s: holes %v, run %d, %d packets; want one of %v", tt.rule, holes, s[len(s)-1].Run, len(s), lost)
			}
			told := false
			for _, e := range g.events {
				told = told || e == "lost face 0 14400 overrun"
			}
			if !told {
				t.Errorf("%s: events %q, want the cause", tt.rule, g.events)
			}
		})
	}
}
