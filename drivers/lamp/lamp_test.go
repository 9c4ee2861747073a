package lamp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"

	"minglu/drivers"
	"minglu/drivers/driverstest"
)

// light is a line that remembers; its faults are set from outside.
type light struct {
	gpiotest.Pin
	mu     sync.Mutex
	opened int
	open   bool
	first  gpio.Level // as it was opened
	writes int
	fail   error
	stuck  bool
}

func (p *light) Open(level gpio.Level) (gpio.PinOut, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		return nil, p.fail
	}
	p.opened++
	p.open, p.first = true, level
	p.Pin.Out(level)
	return p, nil
}

func (p *light) Out(l gpio.Level) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes++
	if p.fail != nil || p.stuck {
		return p.fail
	}
	return p.Pin.Out(l)
}

func (p *light) Level() (gpio.Level, error) { return p.Pin.Read(), nil }

// Read is the trap of periph's gpioioctl: it makes an input of an output. Nobody may call it.
func (p *light) Read() gpio.Level { panic("Read on an output") }

func (p *light) Halt() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = false
	return nil
}

func (p *light) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// look samples which lights are lit for 4 s in steps of 100 ms, between the moments lights change: a letter
// for each set of lights, digits how many samples.
func look(lights ...*light) string {
	time.Sleep(50 * time.Millisecond)
	var seen strings.Builder
	last, n := -1, 0
	for range 40 {
		now := 0
		for i, l := range lights {
			if l.Pin.Read() {
				now |= 1 << i
			}
		}
		if now != last && n > 0 {
			fmt.Fprintf(&seen, "%d×%d ", last, n)
			n = 0
		}
		last = now
		n++
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Fprintf(&seen, "%d×%d", last, n)
	return seen.String()
}

func newLights(n int) []*light {
	l := make([]*light, n)
	for i := range l {
		l[i] = &light{Pin: gpiotest.Pin{N: fmt.Sprintf("L%d", i)}}
	}
	return l
}

// start runs the lamp and returns how to end it and see what it says.
func start(t *testing.T, l *Lamp) (stop func() error) {
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	synctest.Wait()
	return func() error { cancel(errStop); return <-done }
}

var errStop = errors.New("asked to stop")

func TestWhatPeopleSee(t *testing.T) {
	fast := strings.TrimSuffix(strings.Repeat("1×2 0×2 ", 10), " ")
	for _, tt := range []struct {
		kind   string
		lights int
		lamp   func(l []*light) *Lamp
		state  drivers.LampState
		see    string
	}{
		{"single", 1, nil, drivers.LampIdle, "0×40"},
		{"single", 1, nil, drivers.LampRecording, "1×40"},
		{"single", 1, nil, drivers.LampPaused, "1×10 0×10 1×10 0×10"},
		{"single", 1, nil, drivers.LampImpaired, "1×18 0×2 1×18 0×2"},
		{"single", 1, nil, drivers.LampFault, fast},
		{"rgb", 3, nil, drivers.LampIdle, "2×40"},
		{"rgb", 3, nil, drivers.LampRecording, "1×40"},
		{"rgb", 3, nil, drivers.LampPaused, "3×40"},
		{"rgb", 3, nil, drivers.LampImpaired, "1×16 3×4 1×16 3×4"},
		{"rgb", 3, nil, drivers.LampFault, strings.ReplaceAll(fast, "1×", "3×")},
		{"tower", 3, nil, drivers.LampIdle, "4×40"},
		{"tower", 3, nil, drivers.LampRecording, "1×40"},
		{"tower", 3, nil, drivers.LampPaused, "2×40"},
		{"tower", 3, nil, drivers.LampImpaired, "1×10 3×10 1×10 3×10"},
		{"tower", 3, nil, drivers.LampFault, "2×5 0×5 2×5 0×5 2×5 0×5 2×5 0×5"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newLights(tt.lights)
			l := map[string]func() *Lamp{
				"single": func() *Lamp { return Single(p[0].Open) },
				"rgb":    func() *Lamp { return RGB(p[0].Open, p[1].Open, p[2].Open) },
				"tower":  func() *Lamp { return Tower(p[0].Open, p[1].Open, p[2].Open) },
			}[tt.kind]()
			stop := start(t, l)
			if err := l.Set(drivers.LampPaused); err != nil {
				t.Error(err)
			}
			time.Sleep(1230 * time.Millisecond) // in the middle of something else
			if err := l.Set(tt.state); err != nil {
				t.Error(err)
			}
			if tt.state == drivers.LampPaused { // set again: it keeps its rhythm, so begin anew
				l.Set(drivers.LampIdle)
				l.Set(drivers.LampPaused)
			}
			if see := look(p...); see != tt.see {
				t.Errorf("%s %s: people see %s, want %s", tt.kind, tt.state, see, tt.see)
			}
			if err := stop(); !errors.Is(err, errStop) {
				t.Errorf("Run() = %v", err)
			}
			for _, x := range p {
				if x.Pin.Read() != gpio.Low || x.open {
					t.Errorf("%s: %s after Run, open %v; want dark and given back", x, x.Pin.Read(), x.open)
				}
			}
		})
	}
}

func TestNoStateLooksLikeAnother(t *testing.T) {
	for _, p := range []map[drivers.LampState]Pattern{single, rgb, tower} {
		seen := map[string]drivers.LampState{}
		for s, steps := range p {
			if k := fmt.Sprint(steps); seen[k] != "" {
				t.Errorf("%s and %s look alike", s, seen[k])
			} else {
				seen[k] = s
			}
			for _, step := range steps {
				if len(steps) > 1 && steps[0].For+steps[1].For < time.Second/3 {
					t.Errorf("%s flashes more than three times a second", s)
				}
				if s != drivers.LampRecording && s != drivers.LampImpaired && len(steps) == 1 && step.Lit == red {
					t.Errorf("%s is steady red, which means that everything is recorded", s)
				}
			}
		}
	}
}

func TestConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newLights(1)
		l := Single(p[0].Open)
		stop := start(t, l)
		driverstest.Lamp(t, driverstest.LampOptions{Lamp: l, Shows: func(s drivers.LampState) bool {
			// the rhythm of a lamp that was set a while ago: how much of 4 s it is lit, and how often it changes
			see := look(p[0])
			lit, n := 0, 0
			for _, part := range strings.Fields(see) {
				var level, samples int
				fmt.Sscanf(part, "%d×%d", &level, &samples)
				lit += level * samples
				n++
			}
			switch s {
			case drivers.LampIdle:
				return see == "0×40"
			case drivers.LampRecording:
				return see == "1×40"
			case drivers.LampPaused:
				return lit == 20 && n <= 5
			case drivers.LampImpaired:
				return lit == 36
			case drivers.LampFault:
				return lit == 20 && n >= 20
			}
			return false
		}})
		stop()
	})
}

func TestOpensWhatWasSetAndReopens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newLights(1)
		l := Single(p[0].Open)
		if err := l.Set(drivers.LampRecording); !errors.Is(err, ErrNotOpen) {
			t.Errorf("Set() before Run = %v, want ErrNotOpen", err)
		}
		missing := &drivers.Problem{Code: "not-found", Zh: "x", En: "x"}
		p[0].fail = missing
		if err := l.Run(t.Context()); !errors.Is(err, missing) {
			t.Errorf("Run() = %v, want why the line does not open", err)
		}
		if _, open := l.Lit(); open {
			t.Error("open without a line")
		}
		p[0].fail = nil
		stop := start(t, l)
		if lit, open := l.Lit(); p[0].first != gpio.High || lit != one || !open {
			t.Errorf("opened %s, Lit() = %v, %v; want lit from the first moment", p[0].first, lit, open)
		}
		stop()
	})
}

func TestSecondLightMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newLights(3)
		p[2].fail = errors.New("no such line")
		l := RGB(p[0].Open, p[1].Open, p[2].Open)
		if err := l.Run(t.Context()); !errors.Is(err, p[2].fail) {
			t.Errorf("Run() = %v", err)
		}
		if p[0].open || p[1].open {
			t.Error("lines that did open were not given back")
		}
	})
}

func TestLineFails(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		state drivers.LampState
		after time.Duration
	}{
		{"a blinking light: at its next step", drivers.LampPaused, time.Second},
		{"a steady light: when it is looked after", drivers.LampRecording, 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newLights(1)
			l := Single(p[0].Open)
			done := make(chan error, 1)
			go func() { done <- l.Run(t.Context()) }()
			synctest.Wait()
			l.Set(tt.state)
			synctest.Wait()
			gone := errors.New("gone")
			p[0].set(func() { p[0].fail = gone })
			began := time.Now()
			if err := <-done; !errors.Is(err, gone) || time.Since(began) > tt.after {
				t.Errorf("%s: Run() = %v after %v, want %v within %v", tt.rule, err, time.Since(began), gone, tt.after)
			}
			if err := l.Set(drivers.LampIdle); !errors.Is(err, ErrNotOpen) {
				t.Errorf("Set() = %v", err)
			}
		})
	}
}

func TestLineDoesNotFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newLights(1)
		l := Single(p[0].Open)
		stop := start(t, l)
		p[0].set(func() { p[0].stuck = true })
		var problem *drivers.Problem
		if err := l.Set(drivers.LampRecording); !errors.As(err, &problem) || problem.Code != "stuck" {
			t.Errorf("Set() = %v, want the problem \"stuck\"", err)
		}
		if err := stop(); !errors.As(err, &problem) {
			t.Errorf("Run() = %v", err)
		}
	})
}
