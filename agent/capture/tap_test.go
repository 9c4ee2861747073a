package capture

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minglu/drivers"
)

// tapGot is a got that also takes reports, and hangs while held.
type tapGot struct {
	got
	hold chan struct{} // nil: never hangs
}

func (g *tapGot) Sample(ch string, s drivers.Sample) {
	if g.hold != nil {
		<-g.hold
	}
	g.got.Sample(ch, s)
	g.mu.Lock()
	defer g.mu.Unlock()
	if k := fmt.Sprintf("from keyframe=%t", s.Keyframe); len(g.samples) == 1 || strings.HasPrefix(g.events[len(g.events)-1], "lost") {
		g.events = append(g.events, k)
	}
}

func (g *tapGot) SenderReport(ch string, r drivers.SenderReport) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events = append(g.events, fmt.Sprintf("report %s %d", ch, r.PTS))
}

func (g *tapGot) story() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.events, "; ")
}

func film(ctx context.Context, out drivers.Sink, _ int, up func() time.Duration) error {
	return camera(ctx, out, up, 0, forever)
}

func unbroken(t *testing.T, rule string, ss []drivers.Sample) {
	t.Helper()
	for i := 1; i < len(ss); i++ {
		if ss[i].DTS != ss[i-1].DTS+3600 {
			t.Errorf("%s: sample %d has DTS %d after %d", rule, i, ss[i].DTS, ss[i-1].DTS)
		}
	}
}

func TestTapBeginsAtTheLastKeyframe(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		attach bool
	}{{"idle, out of the pre-roll", false}, {"while recording", true}} {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, Options{}, film)
			defer r.stop()
			sink := &got{}
			if tt.attach {
				r.Attach(sink)
			}
			time.Sleep(3*time.Second + 500*time.Millisecond)
			g, other := &tapGot{}, &tapGot{}
			began := r.up()
			stop := r.Tap("face", g)
			defer r.Tap("face", other)()
			synctest.Wait()
			ss := g.of(0)
			if len(ss) == 0 || !ss[0].Keyframe || began-ss[0].Arrival > time.Second || began-ss[len(ss)-1].Arrival > 50*time.Millisecond {
				t.Fatalf("%s: %d samples at once, want all since the last keyframe", tt.rule, len(ss))
			}
			if s := g.story(); s != "describe face cam; from keyframe=true" {
				t.Errorf("%s: %s", tt.rule, s)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			stop()
			stop() // twice is once
			ss = g.of(0)
			unbroken(t, tt.rule, ss)
			time.Sleep(time.Second)
			synctest.Wait()
			if n := len(g.of(0)); n != len(ss) {
				t.Errorf("%s: %d samples after the tap was stopped", tt.rule, n-len(ss))
			}
			if n := len(other.of(0)); n < len(ss)+20 {
				t.Errorf("%s: the other tap has %d samples, want them to go on", tt.rule, n)
			}
			if tt.attach {
				r.Detach()
				rec := sink.of(0)
				unbroken(t, "the recording", rec)
				for _, s := range ss {
					i := slices.IndexFunc(rec, func(x drivers.Sample) bool { return x.DTS == s.DTS })
					if i >= 0 && (rec[i].At != s.At || rec[i].Run != s.Run) {
						t.Errorf("sample %d: the tap has it at %v run %d, the recording at %v run %d", s.DTS, s.At, s.Run, rec[i].At, rec[i].Run)
					}
				}
			}
		})
	}
}

func TestTapThatHangsHarmsNoOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{}, film)
		defer r.stop()
		sink := &got{}
		r.Attach(sink)
		g := &tapGot{hold: make(chan struct{})}
		stop := r.Tap("face", g)
		time.Sleep(200 * time.Second) // 5 000 pictures
		synctest.Wait()
		if n := len(sink.of(0)); n < 4900 {
			t.Errorf("the recording got %d samples beside a tap that hangs", n)
		}
		close(g.hold)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		stop()
		if s := g.story(); !strings.Contains(s, "lost face 0 0 "+CauseBehind+"; from keyframe=true") {
			t.Errorf("a tap that hung: %s", s)
		}
		r.Detach()
		unbroken(t, "the recording", sink.of(0))
	})
}

func TestTapSeesNothingOfAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{}, film)
		defer r.stop()
		r.Attach(&got{})
		time.Sleep(2 * time.Second)
		g := &tapGot{}
		defer r.Tap("face", g)()
		time.Sleep(time.Second)
		r.Pause()
		paused := r.up()
		late := &tapGot{}
		defer r.Tap("face", late)()
		time.Sleep(5*time.Second + 300*time.Millisecond)
		synctest.Wait()
		if n := len(late.of(0)); n != 0 {
			t.Errorf("a tap of the pause got %d samples", n)
		}
		r.Attach(&got{})
		resumed := r.up()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for _, s := range append(g.of(0), late.of(0)...) {
			if s.Arrival > paused && s.Arrival < resumed {
				t.Errorf("a sample of the pause, at %v", s.Arrival)
			}
		}
		if s, want := g.story(), "describe face cam; from keyframe=true; lost face 0 0 "+CausePaused+"; from keyframe=true"; s != want {
			t.Errorf("a tap told: %s, want %s", s, want)
		}
		if len(late.of(0)) == 0 {
			t.Error("a tap of the pause got nothing after it")
		}
	})
}

func TestTapIsToldOfReconnectsLossesAndReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
			if n == 1 {
				defer func() {
					out.SenderReport(drivers.SenderReport{PTS: 7})
					out.Lost(0, 3, "sequence")
				}()
				return camera(ctx, out, up, 0, 500)
			}
			return camera(ctx, out, up, 0, forever)
		})
		defer r.stop()
		g := &tapGot{}
		defer r.Tap("face", g)()
		defer r.Tap("nobody", g)()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		want := "describe face cam; from keyframe=true; report face 7; lost face 0 3 sequence; lost face 0 0 connection lost; describe face cam"
		if s := g.story(); !strings.HasPrefix(s, want) {
			t.Errorf("a tap told: %s, want %s", s, want)
		}
	})
}

// looked notes when it was called.
type looked struct {
	tapGot
	at map[time.Time]bool
}

func (l *looked) Sample(ch string, s drivers.Sample) {
	l.tapGot.Sample(ch, s)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at[time.Now()] = true
}

// TestGlanceComesInBatches: everything comes, in order, but its goroutine wakes up once each every; and
// stop does not wait for the next time.
func TestGlanceComesInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{}, film)
		defer r.stop()
		time.Sleep(time.Second)
		l := &looked{at: map[time.Time]bool{}}
		stop := r.Glance("face", 100*time.Millisecond, l)
		time.Sleep(2 * time.Second)
		began := time.Now()
		stop()
		if d := time.Since(began); d > 0 {
			t.Errorf("stop took %s", d)
		}
		ss := l.of(0)
		unbroken(t, "glance", ss)
		if len(ss) < 45 || len(l.at) > 22 {
			t.Errorf("%d samples in %d batches, want about 50 in 20", len(ss), len(l.at))
		}
	})
}
