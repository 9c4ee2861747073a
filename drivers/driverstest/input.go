package driverstest

import (
	"context"
	"errors"
	"testing"
	"time"

	"minglu/drivers"
)

// InputOptions say how to test an input.
type InputOptions struct {
	Input  drivers.Input
	Kind   drivers.InputKind
	Set    func(on bool)        // moves it from outside; it is off at the start
	Uptime func() time.Duration // the board's
}

// Input tests an input: it tells the state found, each change once and in order with the time it happened,
// again after another Run, and ends with ctx's cause.
func Input(t *testing.T, o InputOptions) {
	events, stop := run(t, o)
	expect := func(on bool, since time.Duration) {
		t.Helper()
		select {
		case e := <-events:
			if e.On != on || e.Kind != o.Kind {
				t.Fatalf("event %+v, want %s on=%v", e, o.Kind, on)
			}
			if e.Up < since || e.Up > o.Uptime() {
				t.Errorf("event of uptime %v, want %v to %v", e.Up, since, o.Uptime())
			}
		case <-time.After(within):
			t.Fatalf("no event on=%v within %v", on, within)
		}
	}
	expect(false, 0)
	for range 3 {
		for _, on := range []bool{true, false} {
			up := o.Uptime()
			o.Set(on)
			expect(on, up)
		}
	}
	o.Set(true)
	expect(true, 0)
	stop()

	events, stop = run(t, o)
	expect(true, 0) // the state found, not a memory of the Run before
	o.Set(false)
	expect(false, 0)
	stop()
	select {
	case e := <-events:
		t.Errorf("one event too many: %+v", e)
	default:
	}
}

// run starts the input; stop ends it and looks at what it returns.
func run(t *testing.T, o InputOptions) (<-chan drivers.InputEvent, func()) {
	t.Helper()
	cause := errors.New("asked to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	events, done := make(chan drivers.InputEvent, 64), make(chan error, 1)
	go func() { done <- o.Input.Run(ctx, func(e drivers.InputEvent) { events <- e }) }()
	return events, func() {
		t.Helper()
		cancel(cause)
		select {
		case err := <-done:
			if !errors.Is(err, cause) {
				t.Errorf("Run() = %v, want the cause it was stopped for", err)
			}
		case <-time.After(within):
			t.Fatalf("Run does not end within %v of being asked to", within)
		}
	}
}
