// Package buzzer sounds signals on an active buzzer 有源蜂鸣器, one that makes its own tone when its line is on.
//
// The line takes a gpio.Level, High meaning sound: of package gpioline, which turns an active-low module round, or of periph.io. It
// is opened for each signal and given back after it, so that a buzzer plugged in later works. Wire a pull resistor that means
// silence: what becomes of a line that nobody holds is the chip driver's choice (package gpioline).
//
//	signal   sounds
//	start    one long, 0.4 s
//	paused   two short, 0.1 s
//	end      three short, 0.1 s
//	ask      one short, one long
//	fault    five short, 0.1 s, twice
//
// What is wrong is what the line says, a [drivers.Problem] where a person can mend it. Whether anybody hears it cannot be told.
package buzzer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/gpio"

	"minglu/drivers"
)

// Open opens the line, silent. [Buzzer.Sound] calls Halt on it in the end.
type Open func() (gpio.PinOut, error)

// Buzzer is one buzzer. It implements [drivers.Buzzer]; signals wait for one another.
type Buzzer struct {
	open Open
	turn chan struct{} // of capacity 1: one signal at a time
}

// New returns the buzzer of a line. It opens nothing yet.
func New(open Open) *Buzzer { return &Buzzer{open, make(chan struct{}, 1)} }

const (
	short = 100 * time.Millisecond
	long  = 400 * time.Millisecond
	rest  = 100 * time.Millisecond // after each tone
)

// Tones are how long a signal sounds, tone by tone, with 0.1 s of silence between. A tone of 0 is a pause more.
func Tones(b drivers.Beep) []time.Duration {
	switch b {
	case drivers.BeepStart:
		return []time.Duration{long}
	case drivers.BeepPaused:
		return []time.Duration{short, short}
	case drivers.BeepEnd:
		return []time.Duration{short, short, short}
	case drivers.BeepAsk:
		return []time.Duration{short, long}
	case drivers.BeepFault:
		return []time.Duration{short, short, short, short, short, 0, 0, 0, short, short, short, short, short}
	}
	return nil
}

// Sound implements [drivers.Buzzer].
func (z *Buzzer) Sound(ctx context.Context, b drivers.Beep) error {
	tones := Tones(b)
	if tones == nil {
		return fmt.Errorf("buzzer: no signal %q", b)
	}
	select {
	case z.turn <- struct{}{}:
		defer func() { <-z.turn }()
	case <-ctx.Done():
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	line, err := z.open()
	if err != nil {
		return fmt.Errorf("buzzer: %w", err)
	}
	err = sound(ctx, line, tones)
	if err := errors.Join(err, line.Out(gpio.Low), line.Halt()); err != nil {
		return fmt.Errorf("buzzer: %w", err)
	}
	return nil
}

func sound(ctx context.Context, line gpio.PinOut, tones []time.Duration) error {
	for _, tone := range tones {
		if tone > 0 {
			if err := line.Out(gpio.High); err != nil {
				return err
			}
			if err := wait(ctx, tone); err != nil {
				return err
			}
			if err := line.Out(gpio.Low); err != nil {
				return err
			}
		}
		if err := wait(ctx, rest); err != nil {
			return err
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

var _ drivers.Buzzer = (*Buzzer)(nil)
