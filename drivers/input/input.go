// Package input listens to what hangs on one line of a GPIO chip: a push button, a door contact, a presence
// sensor (PIR) with a switched output.
//
// The line is a gpio.PinIn, High meaning on: pressed, open, somebody there. Package gpioline turns an active-low line
// round, sets the pull resistor, debounces in the kernel and knows when an edge came; on a plain pin of periph.io this package
// polls for edges with finite waits (WaitForEdge(0) waits for ever on some of its pins, Halt does not end it) and
// debounces itself. How long a button is held is the time between its two events: what a long
// press means is decided where they go.
//
// Wiring that the defaults fit:
//
//   - button: normally open, to ground; bias pull-up, active low
//   - door: reed contact, closed while the door is, to ground; bias pull-up; open reads high
//   - presence: HC-SR501 and its like drive their output high for some seconds after each motion; bias
//     pull-down, so that a cable that came off reads as nobody
//
// Faults: the line cannot be opened, or its chip goes away; Run returns the cause, a [drivers.Problem] where a person
// can mend it. A contact that sticks or a wire that broke cannot be told from a door that stays shut.
package input

import (
	"context"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/gpio"

	"minglu/drivers"
)

// Options say what hangs on which line.
type Options struct {
	Kind drivers.InputKind
	// Open opens the line; Run calls Halt on it in the end.
	Open func() (gpio.PinIn, error)
	// Debounce is how long a plain pin must hold a level before it counts; a line that knows its edges' times has done it.
	Debounce time.Duration
	Uptime   func() time.Duration // required: the board's uptime
}

// Edges is a line that says more of an edge than that there was one: the level after it, how long ago it came, and
// why there will be none any more. gpioline.Input does.
type Edges interface {
	gpio.PinIn
	Level() (gpio.Level, error)
	Next(ctx context.Context) (level gpio.Level, age time.Duration, err error)
}

// Input is one button, contact or sensor. It implements [drivers.Input].
type Input struct{ o Options }

// New returns the input. It opens nothing: Run does.
func New(o Options) (*Input, error) {
	if o.Kind == "" || o.Open == nil || o.Uptime == nil || o.Debounce < 0 {
		return nil, errors.New("input: options: Kind, Open and Uptime are required, Debounce is not negative")
	}
	return &Input{o}, nil
}

// Run implements [drivers.Input]: it opens the line, tells its state and each change until ctx ends, and gives it
// back. One Run at a time; after it has returned it may be called again.
func (in *Input) Run(ctx context.Context, event func(drivers.InputEvent)) error {
	pin, err := in.o.Open()
	if err != nil {
		return fmt.Errorf("input: %s: %w", in.o.Kind, err)
	}
	tell := in.changes(event)
	if e, ok := pin.(Edges); ok {
		err = follow(ctx, e, tell)
	} else {
		err = in.poll(ctx, pin, tell)
	}
	if halt := pin.Halt(); halt != nil {
		err = errors.Join(err, halt)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("input: %s: %w", in.o.Kind, err)
}

// changes tells event the first level and then those that differ from the one before.
func (in *Input) changes(event func(drivers.InputEvent)) func(gpio.Level, time.Duration) {
	first, last := true, gpio.Low
	return func(l gpio.Level, age time.Duration) {
		if !first && l == last {
			return
		}
		first, last = false, l
		event(drivers.InputEvent{Kind: in.o.Kind, On: bool(l), Up: in.o.Uptime() - age})
	}
}

func follow(ctx context.Context, e Edges, tell func(gpio.Level, time.Duration)) error {
	l, err := e.Level()
	for age := time.Duration(0); err == nil; l, age, err = e.Next(ctx) {
		tell(l, age)
	}
	return err
}

// lookEvery bounds a wait for an edge: so long may an end of ctx go unnoticed.
const lookEvery = 100 * time.Millisecond

func (in *Input) poll(ctx context.Context, pin gpio.PinIn, tell func(gpio.Level, time.Duration)) error {
	if err := pin.In(gpio.PullNoChange, gpio.BothEdges); err != nil {
		return err
	}
	tell(pin.Read(), 0)
	for ctx.Err() == nil {
		if !pin.WaitForEdge(lookEvery) {
			continue
		}
		for in.o.Debounce > 0 && ctx.Err() == nil && pin.WaitForEdge(in.o.Debounce) {
		}
		tell(pin.Read(), 0)
	}
	return context.Cause(ctx)
}

var _ drivers.Input = (*Input)(nil)
