package input

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"

	"minglu/drivers"
	"minglu/drivers/driverstest"
)

// edgeLine is a line that knows when its edges came, as gpioline.Input does.
type edgeLine struct {
	gpiotest.Pin
	edges chan gpio.Level
	age   time.Duration // of each edge when it is told
	fail  chan error

	mu     sync.Mutex
	level  gpio.Level
	halted int
}

func newEdgeLine() *edgeLine {
	return &edgeLine{edges: make(chan gpio.Level, 16), fail: make(chan error, 1)}
}

func (l *edgeLine) set(level gpio.Level) {
	l.mu.Lock()
	l.level = level
	l.mu.Unlock()
	l.edges <- level
}

func (l *edgeLine) Level() (gpio.Level, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.edges) > 0 { // nobody listened
		<-l.edges
	}
	return l.level, nil
}

func (l *edgeLine) Next(ctx context.Context) (gpio.Level, time.Duration, error) {
	select {
	case <-ctx.Done():
		return gpio.Low, 0, context.Cause(ctx)
	case err := <-l.fail:
		return gpio.Low, 0, err
	case e := <-l.edges:
		return e, l.age, nil
	}
}

func (l *edgeLine) Halt() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.halted++
	return nil
}

// plain is a pin of periph.io with its worst habits: WaitForEdge(0) hangs, and so does a wait for ever.
type plain struct {
	gpiotest.Pin
	t *testing.T
}

func (p *plain) WaitForEdge(timeout time.Duration) bool {
	if timeout <= 0 || timeout > time.Second {
		p.t.Errorf("WaitForEdge(%v): a wait that Halt does not end", timeout)
		return false
	}
	return p.Pin.WaitForEdge(timeout)
}

func uptime() func() time.Duration {
	boot := time.Now()
	return func() time.Duration { return time.Hour + time.Since(boot) }
}

func TestConformance(t *testing.T) {
	t.Run("a line that knows its edges", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, up := newEdgeLine(), uptime()
			in, err := New(Options{Kind: drivers.Door, Uptime: up, Open: func() (gpio.PinIn, error) { return l, nil }})
			if err != nil {
				t.Fatal(err)
			}
			driverstest.Input(t, driverstest.InputOptions{Input: in, Kind: drivers.Door, Uptime: up, Set: func(on bool) { l.set(gpio.Level(on)) }})
			if l.halted != 2 {
				t.Errorf("given back %d times after two Runs", l.halted)
			}
		})
	})
	t.Run("a plain pin of periph.io", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, up := &plain{Pin: gpiotest.Pin{N: "P", EdgesChan: make(chan gpio.Level, 16)}, t: t}, uptime()
			in, err := New(Options{Kind: drivers.Presence, Uptime: up, Debounce: 10 * time.Millisecond, Open: func() (gpio.PinIn, error) { return p, nil }})
			if err != nil {
				t.Fatal(err)
			}
			driverstest.Input(t, driverstest.InputOptions{Input: in, Kind: drivers.Presence, Uptime: up, Set: func(on bool) { p.EdgesChan <- gpio.Level(on) }})
		})
	})
}

// listen runs the input for a second of the bubble and returns what it told and the error.
func listen(t *testing.T, in *Input, meanwhile func()) (events []drivers.InputEvent, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	go meanwhile()
	err = in.Run(ctx, func(e drivers.InputEvent) { events = append(events, e) })
	return events, err
}

func TestEventsBearTheTimeOfTheEdge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newEdgeLine()
		l.age = 7 * time.Millisecond
		in, err := New(Options{Kind: drivers.Button, Uptime: uptime(), Open: func() (gpio.PinIn, error) { return l, nil }})
		if err != nil {
			t.Fatal(err)
		}
		events, err := listen(t, in, func() {
			time.Sleep(100 * time.Millisecond)
			l.set(gpio.High)
			time.Sleep(100 * time.Millisecond)
			l.set(gpio.High) // an edge was lost between
			l.set(gpio.Low)
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run() = %v", err)
		}
		want := []drivers.InputEvent{
			{Kind: drivers.Button, Up: time.Hour},
			{Kind: drivers.Button, On: true, Up: time.Hour + 93*time.Millisecond},
			{Kind: drivers.Button, Up: time.Hour + 193*time.Millisecond},
		}
		if len(events) != len(want) {
			t.Fatalf("events %+v, want %+v", events, want)
		}
		for i := range want {
			if events[i] != want[i] {
				t.Errorf("event %d = %+v, want %+v", i, events[i], want[i])
			}
		}
	})
}

func TestAPlainPinIsDebounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &plain{Pin: gpiotest.Pin{N: "P", EdgesChan: make(chan gpio.Level)}, t: t}
		in, err := New(Options{Kind: drivers.Button, Uptime: uptime(), Debounce: 10 * time.Millisecond, Open: func() (gpio.PinIn, error) { return p, nil }})
		if err != nil {
			t.Fatal(err)
		}
		events, _ := listen(t, in, func() {
			time.Sleep(100 * time.Millisecond)
			for _, l := range []gpio.Level{true, false, true, false, true} { // a contact that bounces for 8 ms
				p.EdgesChan <- l
				time.Sleep(2 * time.Millisecond)
			}
			time.Sleep(100 * time.Millisecond)
			for _, l := range []gpio.Level{false, true} { // a spike of the wiring
				p.EdgesChan <- l
				time.Sleep(2 * time.Millisecond)
			}
		})
		if len(events) != 2 || !events[1].On || events[1].Up != time.Hour+118*time.Millisecond {
			t.Errorf("events %+v, want off, then on 10 ms after the last bounce", events)
		}
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := &drivers.Problem{Code: "gone", Zh: "x", En: "x"}
		l := newEdgeLine()
		open := error(nil)
		in, err := New(Options{Kind: drivers.Button, Uptime: uptime(), Open: func() (gpio.PinIn, error) { return l, open }})
		if err != nil {
			t.Fatal(err)
		}
		if events, err := listen(t, in, func() { l.fail <- gone }); !errors.Is(err, gone) || len(events) != 1 || l.halted != 1 {
			t.Errorf("a line that fails: Run() = %v, events %v, given back %d times", err, events, l.halted)
		}
		open = gone
		if events, err := listen(t, in, func() {}); !errors.Is(err, gone) || len(events) != 0 {
			t.Errorf("a line that does not open: Run() = %v, events %v", err, events)
		}
		if _, err := New(Options{Kind: drivers.Button}); err == nil {
			t.Error("options without Open were taken")
		}
	})
}
