// Package lamp shows on real lights whether people are recorded: one light, a red-green-blue one, or a tower of
// red, amber and green behind relays.
//
// The lights are lines that take a gpio.Level, High meaning lit: of package gpioline, which turns an
// active-low relay board round, or of periph.io. What each state of the room looks like is a [Pattern]; a steady red
// (or the one light, lit steadily) always means that everything is recorded:
//
//	state      one light            red-green-blue            tower
//	idle       dark                 green                     green
//	recording  lit                  red                       red
//	paused     1 s lit, 1 s dark    yellow                    amber
//	impaired   lit, off for 0.2 s   red, yellow for 0.4 s     red, and amber blinking
//	           every 2 s            every 2 s                 1 s, 1 s
//	fault      0.2 s lit, 0.2 dark  yellow, 0.2 s, 0.2 s      amber, 0.5 s, 0.5 s
//
// Nothing flashes more than three times a second (WCAG 2.2, 2.3.1: photosensitive epilepsy), and the relays of a
// tower switch at most twice a second: a relay of 100 000 operations lasts 14 hours of fault, and idles unworn.
//
// At opening the lights show the state that was set last, idle if none was, from the first moment. When Run
// is asked to stop, all lights go dark: nobody records any more. When the process is killed, the lines do what the
// kernel's driver leaves them with (see package gpioline): wire a pull resistor that means dark.
//
// Faults: the lines cannot be opened, written, or do not follow (where they can be read back). Then Run and Set
// return the cause, [drivers.Problem] where a person can mend it; a caller runs it again.
package lamp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"

	"minglu/drivers"
)

// Open opens the line of one light, lit or dark from the first moment. [Lamp.Run] calls Halt on it in the end.
type Open func(level gpio.Level) (gpio.PinOut, error)

// readable is a line that can tell its level without losing its direction. (Read of gpio.PinIn is not used: on
// some pins of periph.io it makes an input of an output.)
type readable interface {
	Level() (gpio.Level, error)
}

// Lamp is one lamp. It implements [drivers.Lamp].
type Lamp struct {
	open     []Open
	patterns map[drivers.LampState]Pattern

	mu    sync.Mutex // guards what follows and the lines
	state drivers.LampState
	lines []gpio.PinOut // of the lights, in the order of open; nil while Run is not at work
	lit   Lights
	turn  chan struct{} // closed when state changed, for the one that blinks
}

// Single returns a lamp of one light.
func Single(light Open) *Lamp { return newLamp(single, light) }

// RGB returns a lamp of three colours behind one glass.
func RGB(red, green, blue Open) *Lamp { return newLamp(rgb, red, green, blue) }

// Tower returns a lamp of three lights one above the other, usually behind relays.
func Tower(red, amber, green Open) *Lamp { return newLamp(tower, red, amber, green) }

func newLamp(p map[drivers.LampState]Pattern, open ...Open) *Lamp {
	return &Lamp{open: open, patterns: p, state: drivers.LampIdle, turn: make(chan struct{})}
}

// ErrNotOpen says that Run is not at work, because the lights could not be opened or it was not called. What
// was set is shown as soon as it is.
var ErrNotOpen = errors.New("the lamp is not open")

// Set shows s, and remembers it for when the lights are opened. It returns when the lights have taken
// the first step of its pattern: within a millisecond on a board's own lines.
func (l *Lamp) Set(s drivers.LampState) error {
	p, ok := l.patterns[s]
	if !ok {
		return fmt.Errorf("lamp: no state %q", s)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s == l.state && l.lines != nil { // a blinking lamp keeps its rhythm
		return nil
	}
	l.state = s
	if l.lines == nil {
		return fmt.Errorf("lamp: %w", ErrNotOpen)
	}
	close(l.turn)
	l.turn = make(chan struct{})
	return l.show(p[0].Lit)
}

// Lit returns which lights are lit now, and false while the lights are not open.
func (l *Lamp) Lit() (Lights, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lit, l.lines != nil
}

// Run opens the lights, shows what is set and blinks, until ctx ends or a line fails; it returns the cause. Then the
// lights are dark, as far as they obey, and closed. It may be called again, one at a time.
func (l *Lamp) Run(ctx context.Context) error {
	if err := l.up(); err != nil {
		return fmt.Errorf("lamp: %w", err)
	}
	err := l.blink(ctx)
	return errors.Join(err, l.down())
}

func (l *Lamp) up() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines != nil {
		panic("BUG: lamp: two Runs at a time")
	}
	lit := l.patterns[l.state][0].Lit
	var lines []gpio.PinOut
	for i, open := range l.open {
		p, err := open(lit.level(i))
		if err != nil {
			return errors.Join(err, halt(lines))
		}
		lines = append(lines, p)
	}
	l.lines, l.lit = lines, lit
	if err := l.follow(); err != nil {
		l.lines = nil
		return errors.Join(err, halt(lines))
	}
	return nil
}

// blink takes the steps of the pattern as their time comes.
func (l *Lamp) blink(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for step := 0; ; step++ {
		l.mu.Lock()
		turn, p := l.turn, l.patterns[l.state]
		now := p[step%len(p)]
		err := l.show(now.Lit)
		l.mu.Unlock()
		if err != nil {
			return err
		}
		timer.Reset(now.For)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-turn:
			step = -1 // the new pattern begins at its first step
		case <-timer.C:
		}
	}
}

// show writes the lights; mu is held.
func (l *Lamp) show(lit Lights) error {
	for i, p := range l.lines {
		if err := p.Out(lit.level(i)); err != nil {
			return fmt.Errorf("lamp: %w", err)
		}
	}
	l.lit = lit
	return l.follow()
}

// follow reads the lights back; mu is held.
func (l *Lamp) follow() error {
	for i, p := range l.lines {
		r, ok := p.(readable)
		if !ok {
			continue
		}
		switch is, err := r.Level(); {
		case err != nil:
			return fmt.Errorf("lamp: %w", err)
		case is != l.lit.level(i):
			return fmt.Errorf("lamp: %w", &drivers.Problem{Code: "stuck",
				Zh:  "指示灯线 " + p.Name() + " 的电平不随控制变化；请检查接线是否短路",
				En:  "the lamp's line " + p.Name() + " does not follow: check its wiring for a short circuit",
				Err: fmt.Errorf("wrote %s, reads %s", l.lit.level(i), is)})
		}
	}
	return nil
}

// down puts the lights out and gives the lines back.
func (l *Lamp) down() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.lines {
		p.Out(gpio.Low) // one that failed is why we are here
	}
	lines := l.lines
	l.lines, l.lit = nil, 0
	return halt(lines)
}

func halt(lines []gpio.PinOut) (err error) {
	for _, p := range lines {
		err = errors.Join(err, p.Halt())
	}
	return err
}

var _ drivers.Lamp = (*Lamp)(nil)
