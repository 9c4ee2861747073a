package clock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// world is a board's clocks under the control of a test; call its methods inside a synctest bubble.
type world struct {
	boot   time.Time
	offset atomic.Int64 // of the wall clock
	source atomic.Pointer[Source]
	steps  chan Step
	dir    string
}

func newWorld(t *testing.T) *world {
	w := &world{boot: time.Now(), steps: make(chan Step, 100), dir: t.TempDir()}
	w.vouch(Estimate{Error: 3 * time.Millisecond, Source: SourceChrony}, nil)
	return w
}

func (w *world) vouch(e Estimate, err error) {
	s := Source(func(context.Context) (Estimate, error) { return e, err })
	w.source.Store(&s)
}

func (w *world) uptime() time.Duration { return 100*time.Second + time.Since(w.boot) }

func (w *world) options() Options {
	return Options{
		FloorFile: filepath.Join(w.dir, "floor"),
		Replace:   func(name string, b []byte) error { return os.WriteFile(name, b, 0o600) },
		Sources:   []Source{func(ctx context.Context) (Estimate, error) { return (*w.source.Load())(ctx) }},
		Uptime:    w.uptime,
		Wall:      func() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) },
		OnStep:    func(s Step) { w.steps <- s },
		OnSet:     func(ctx context.Context, _ func()) { <-ctx.Done() },
	}
}

func (w *world) clock(t *testing.T, o Options) *Clock {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs c until the end of the test's bubble function calls stop, which waits.
func run(t *testing.T, c *Clock) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want context canceled", err)
		}
	})
	return func() { cancel(); wg.Wait() }
}

func TestReadingBeforeAnySourceIsUnverified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.clock(t, w.options()).Now()
		if want := (Reading{T: time.Now().UTC().Round(0), Error: -1, Source: SourceUnverified, Up: 100 * time.Second, Epoch: 1}); r != want {
			t.Errorf("Now() = %+v, want %+v", r, want)
		}
	})
}

func TestErrorGrowsBetweenPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.clock(t, w.options())
		if r := c.Poll(t.Context()); r.Error != 3*time.Millisecond || r.Source != "chrony" {
			t.Errorf("Poll() = %+v, want 3ms from chrony", r)
		}
		time.Sleep(10 * time.Second)
		if r := c.Now(); r.Error != 3*time.Millisecond+500*time.Microsecond {
			t.Errorf("after 10 s: error %v, want 3.5ms", r.Error)
		}
	})
}

func TestSources(t *testing.T) {
	lost := errors.New("not there")
	for _, tt := range []struct {
		rule    string
		answers []error // nil: vouches with as many ms as its place, from 1
		want    time.Duration
	}{
		{"the first that answers holds", []error{nil, nil}, time.Millisecond},
		{"one that is not there is passed over", []error{lost, nil}, 2 * time.Millisecond},
		{"unsynchronised is an answer", []error{ErrUnverified, nil}, -1},
		{"nobody is there", []error{lost, lost}, -1},
		{"no source at all", []error{}, -1},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			o := w.options()
			o.Sources = []Source{}
			for i, err := range tt.answers {
				o.Sources = append(o.Sources, func(context.Context) (Estimate, error) {
					return Estimate{Error: time.Duration(i+1) * time.Millisecond, Source: SourceKernel}, err
				})
			}
			if r := w.clock(t, o).Poll(t.Context()); r.Error != tt.want {
				t.Errorf("%s: error %v, want %v", tt.rule, r.Error, tt.want)
			}
		})
	}
}

func TestStepBeginsAnEpoch(t *testing.T) {
	for _, tt := range []struct {
		rule string
		by   time.Duration
		step bool
	}{
		{"ahead", 2 * time.Second, true},
		{"back", -time.Hour, true},
		{"just over the limit", 51 * time.Millisecond, true},
		{"a small correction is no step", 49 * time.Millisecond, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			c := w.clock(t, w.options())
			stop := run(t, c)
			time.Sleep(time.Second)
			w.offset.Add(int64(tt.by))
			time.Sleep(DefaultCheck)
			synctest.Wait()
			stop()
			r := c.Now()
			if !tt.step {
				if r.Epoch != 1 || len(w.steps) != 0 {
					t.Errorf("%s: epoch %d, %d steps; want 1, 0", tt.rule, r.Epoch, len(w.steps))
				}
				return
			}
			if r.Epoch != 2 || len(w.steps) != 1 {
				t.Fatalf("%s: epoch %d, %d steps; want 2, 1", tt.rule, r.Epoch, len(w.steps))
			}
			s := <-w.steps
			if s.By != tt.by || s.Reading.Epoch != 2 || s.Reading.Error != -1 || s.Reading.Source != SourceUnverified {
				t.Errorf("%s: step %+v", tt.rule, s)
			}
			if !r.BeforeFloor && r.Error < 0 {
				t.Errorf("%s: the source was not asked again after the step: %+v", tt.rule, r)
			}
		})
	}
}

func TestSmallCorrectionsAddUpToAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.clock(t, w.options())
		stop := run(t, c)
		for range 3 {
			w.offset.Add(int64(20 * time.Millisecond))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		stop()
		if len(w.steps) != 1 || (<-w.steps).By != 60*time.Millisecond {
			t.Error("want one step of 60ms after three corrections of 20ms")
		}
	})
}

func TestNoReadingPairsANewTimeWithTheOldEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.clock(t, w.options()) // Run is not even started
		c.Poll(t.Context())
		w.offset.Add(int64(time.Minute))
		if r := c.Now(); r.Epoch != 2 || r.Error != -1 {
			t.Errorf("Now() right after a step = %+v, want epoch 2, error -1", r)
		}
		stop := run(t, c)
		synctest.Wait()
		stop()
		if len(w.steps) != 1 {
			t.Errorf("%d steps told, want 1", len(w.steps))
		}
	})
}

func TestAnswerAboutTheClockBeforeAStepIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := w.options()
		o.Sources = []Source{func(context.Context) (Estimate, error) {
			w.offset.Add(int64(time.Hour))
			return Estimate{Error: time.Millisecond, Source: SourceChrony}, nil
		}}
		c := w.clock(t, o)
		if r := c.Poll(t.Context()); r.Epoch != 2 || r.Error != -1 || c.Floor().After(time.Now()) {
			t.Errorf("stepped while chrony was asked: %+v, floor %v", r, c.Floor())
		}
	})
}

func TestSetOfTheSystemClockWakesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := w.options()
		kick := make(chan struct{})
		o.OnSet = func(ctx context.Context, set func()) {
			for {
				select {
				case <-ctx.Done():
					return
				case <-kick:
					set()
				}
			}
		}
		o.Check = time.Hour
		c := w.clock(t, o)
		stop := run(t, c)
		synctest.Wait()
		before := time.Now()
		w.offset.Add(int64(time.Second))
		kick <- struct{}{}
		<-w.steps
		if d := time.Since(before); d != 0 {
			t.Errorf("told after %v, want at once", d)
		}
		stop()
	})
}

func TestSimulatedStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.clock(t, w.options())
		stop := run(t, c)
		synctest.Wait()
		c.SimulateStep(10 * time.Second)
		if s := <-w.steps; s.By != 10*time.Second {
			t.Errorf("step by %v, want 10s", s.By)
		}
		synctest.Wait()
		if r := c.Now(); r.Source != SourceUnverified || r.Error != -1 || !r.T.Equal(time.Now().Add(10*time.Second)) {
			t.Errorf("stepped: %+v", r)
		}
		c.SimulateStep(-10 * time.Second)
		<-w.steps
		synctest.Wait()
		if r := c.Now(); r.Source != SourceChrony || r.Epoch != 3 {
			t.Errorf("stepped back: %+v, want chrony again, epoch 3", r)
		}
		stop()
	})
}

func TestFloor(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // where synctest begins
	for _, tt := range []struct {
		rule   string
		file   string // content
		build  time.Time
		before bool
	}{
		{"no floor known", "", time.Time{}, false},
		{"a clock after the floor is trusted", "1999-12-31T23:59:59Z\n", time.Time{}, false},
		{"a clock before the floor is not", "2000-01-01T00:00:01Z\n", time.Time{}, true},
		{"nor one before the build", "", now.Add(time.Hour), true},
		{"the later of both counts", "2000-01-02T00:00:00Z\n", now.Add(-time.Hour), true},
		{"a spoilt file leaves the build date", "what", now.Add(-time.Hour), false},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			o := w.options()
			o.Build = tt.build
			if tt.file != "" {
				if err := os.WriteFile(o.FloorFile, []byte(tt.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c := w.clock(t, o)
			r, floor := c.Poll(t.Context()), c.Floor()
			if r.BeforeFloor != tt.before || (r.Error < 0) != tt.before {
				t.Errorf("%s: %+v, want before the floor %v", tt.rule, r, tt.before)
			}
			if !r.T.Equal(now) {
				t.Errorf("%s: T = %v, want the clock as it is", tt.rule, r.T)
			}
			time.Sleep(500 * time.Millisecond)
			if c.check(); c.Now().BeforeFloor != tt.before || c.Floor().Before(floor) {
				t.Errorf("%s: half a second later: %+v, floor %v", tt.rule, c.Now(), c.Floor())
			}
		})
	}
}

func TestFloorIsKeptOverAPowerCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := run(t, w.clock(t, w.options()))
		time.Sleep(5*time.Minute + time.Second) // five saves; then the power goes
		cut := time.Now()
		b, err := os.ReadFile(filepath.Join(w.dir, "floor"))
		if err != nil {
			t.Fatal(err)
		}
		stop()
		if err := os.WriteFile(filepath.Join(w.dir, "floor"), b, 0o600); err != nil { // without the save at the end
			t.Fatal(err)
		}
		w.offset.Store(-time.Now().UnixNano()) // the battery of the RTC is flat: 1970
		c := w.clock(t, w.options())
		if r := c.Poll(t.Context()); !r.BeforeFloor || r.Error != -1 {
			t.Errorf("in 1970: %+v, want before the floor", r)
		}
		if f := c.Floor(); f.After(cut) || f.Before(cut.Add(-DefaultSave-DefaultPoll-2*floorMargin)) {
			t.Errorf("floor %v, want within the last minute or so before %v", f, cut)
		}
	})
}

func TestUnverifiedClockCannotPushTheFloorAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.vouch(Estimate{}, ErrUnverified)
		o := w.options()
		o.Build = time.Now().Add(-time.Hour)
		c := w.clock(t, o)
		w.offset.Store(int64(100 * 24 * time.Hour)) // set by hand, wrongly
		stop := run(t, c)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		stop()
		if got, want := c.Floor().Sub(o.Build), 10*time.Minute; got > want || got < want-time.Second {
			t.Errorf("floor moved by %v, want as much as the uptime did, %v", got, want)
		}
	})
}

func TestFloorThatLiedIsCaughtUpWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := w.options()
		o.Build = time.Now().Add(5 * time.Minute)
		c := w.clock(t, o)
		stop := run(t, c)
		defer stop()
		time.Sleep(5*time.Minute + 20*time.Second)
		synctest.Wait()
		if r := c.Now(); r.BeforeFloor || r.Error < 0 {
			t.Errorf("after five minutes: %+v, want a trusted reading", r)
		}
	})
}

func TestFailingDiskDoesNotStopTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := w.options()
		tries := 0
		o.Replace = func(string, []byte) error { tries++; return errors.New("disk gone") }
		stop := run(t, w.clock(t, o))
		time.Sleep(3*time.Minute + time.Second)
		stop()
		if tries != 4 { // three minutes and the end
			t.Errorf("%d tries to save the floor, want 4", tries)
		}
	})
}

// A goroutine that was not run for a while between the two looks at the clocks must not see a step.
func TestDelayIsNoStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := w.options()
		n := 0
		o.Wall = func() time.Time {
			if n++; n%4 == 1 || n%4 == 2 {
				time.Sleep(300 * time.Millisecond)
			}
			return time.Now()
		}
		c := w.clock(t, o)
		for range 20 {
			if r := c.Now(); r.Epoch != 1 {
				t.Fatal("a delay was taken for a step")
			}
		}
	})
}

func TestNewRefusesNegativeIntervals(t *testing.T) {
	if _, err := New(Options{Poll: -1}); err == nil {
		t.Error("New() accepted a negative interval")
	}
}

func BenchmarkNow(b *testing.B) {
	c, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c.Now()
	}
}
