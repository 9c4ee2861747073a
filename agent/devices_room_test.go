package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/report"
	"minglu/agent/room"
	"minglu/drivers"
)

// moody is a lamp that obeys when it feels like it.
type moody struct {
	mu    sync.Mutex
	err   error
	shown []drivers.LampState
}

func (m *moody) Set(s drivers.LampState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.shown = append(m.shown, s)
	}
	return m.err
}

func (m *moody) set(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// faultsOf runs an agent that has only devices, and a room's loop that is told of their faults.
func faultsOf(t *testing.T, d devices, run func(a *agent, ctx context.Context) error) *agent {
	a := &agent{log: slog.New(slog.DiscardHandler), devices: d, lampWish: make(chan lampWish, 1), lampLost: make(chan struct{}, 1)}
	began := time.Now()
	a.loop = newRoomLoop(room.DefaultRules(), func() time.Duration { return time.Since(began) }, a.log)
	a.loop.do = func(room.Action) {}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() { a.loop.Run(ctx) })
	wg.Go(func() { run(a, ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return a
}

// stands reports whether a fault stands.
func stands(a *agent, code, ch string) bool {
	synctest.Wait()
	_, yes := a.loop.Faults()[room.Fault{Code: code, Ch: ch}]
	return yes
}

func TestLampIsSetUntilItObeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &moody{err: errors.New("no such line")}
		a := faultsOf(t, devices{lamp: m}, func(a *agent, ctx context.Context) error { return a.runLamp(ctx) })
		latest(a.lampWish, lampWish{state: drivers.LampRecording})
		if !stands(a, "lamp.failed", "") {
			t.Error("a lamp that does not obey is no fault")
		}
		m.set(nil)
		time.Sleep(lampRetry)
		if stands(a, "lamp.failed", "") || len(m.shown) != 1 || m.shown[0] != drivers.LampRecording {
			t.Errorf("the lamp is back, the fault stands: %v, shown %v", stands(a, "lamp.failed", ""), m.shown)
		}
		m.set(errors.New("unplugged"))
		latest(a.lampLost, struct{}{}) // its lines say so before anybody sets it
		if !stands(a, "lamp.failed", "") {
			t.Error("a lamp that was unplugged is no fault")
		}
	})
}

// flaky is an input that is not there for a while.
type flaky struct {
	mu   sync.Mutex
	runs int
	gone int // so many runs fail
}

func (f *flaky) Run(ctx context.Context, event func(drivers.InputEvent)) error {
	f.mu.Lock()
	f.runs++
	gone := f.runs <= f.gone
	f.mu.Unlock()
	if gone {
		return &drivers.Problem{Code: "not-found", Zh: "找不到", En: "not there"}
	}
	event(drivers.InputEvent{Kind: drivers.Door})
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestInputThatIsNotThereIsLookedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{gone: 6}
		a := faultsOf(t, devices{}, func(a *agent, ctx context.Context) error { return a.runInput(ctx, drivers.Door, f) })
		if !stands(a, "input.failed", "door") {
			t.Error("an input that is not there is no fault")
		}
		time.Sleep((1 + 2 + 4 + 8 + 10 + 10) * time.Second)
		if stands(a, "input.failed", "door") || f.runs != 7 {
			t.Errorf("after %d runs the fault stands: %v", f.runs, stands(a, "input.failed", "door"))
		}
	})
}

func TestFaultsOfTheRoomsDevicesAreInTheCatalogue(t *testing.T) {
	for _, code := range []string{"lamp.failed", "input.failed"} {
		if f := report.Find(code); f.Severity != report.Warning {
			t.Errorf("%s: %+v", code, f)
		}
	}
}
