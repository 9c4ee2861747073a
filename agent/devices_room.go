package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"periph.io/x/conn/v3/gpio"

	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/drivers"
	"minglu/drivers/climate"
	"minglu/drivers/gpioline"
	"minglu/drivers/i2cbus"
	"minglu/drivers/input"
	"minglu/drivers/lamp"
	"minglu/drivers/sim"
	"minglu/drivers/tmp117"
)

// openRoom makes the drivers of lamp, inputs and sensors. They open their lines and chips when they run: one that is
// missing is a fault, not an end.
func (d *devices) openRoom(cfg *config.Config, room *sim.Room) error {
	d.inputs = map[drivers.InputKind]drivers.Input{}
	for kind, in := range map[drivers.InputKind]*config.Input{drivers.Button: cfg.Inputs.Button, drivers.Door: cfg.Inputs.Door, drivers.Presence: cfg.Inputs.Presence} {
		switch {
		case in == nil:
		case in.Sim != nil:
			d.inputs[kind] = room.Input(kind)
		case in.GPIO != nil:
			real, err := lineInput(kind, in.GPIO)
			if err != nil {
				return fmt.Errorf("inputs.%s: %w", kind, err)
			}
			d.inputs[kind] = real
		}
	}
	switch l := cfg.Lamp; {
	case l == nil:
	case l.Sim != nil:
		d.lamp = room.Lamp()
	case l.GPIO != nil:
		real := lineLamp(l.GPIO)
		d.lamp, d.lights = real, real.Run
	}
	return d.openBoard(cfg, room)
}

// chipOnBus is the thermometer at an address of a bus; it talks to nobody before it is read.
func chipOnBus(c *config.I2C) drivers.Thermometer {
	bus := i2cbus.New(c.Bus)
	switch c.Chip {
	case "sht4x":
		return climate.NewSHT4x(bus, c.Addr(), clock.Uptime)
	case "tmp117":
		return tmp117.New(bus, c.Addr(), clock.Uptime)
	}
	return climate.NewSHT3x(bus, c.Addr(), clock.Uptime)
}

func lineInput(kind drivers.InputKind, g *config.InputGPIO) (*input.Input, error) {
	o := gpioline.Options{Chip: g.Chip, Line: g.Line, ActiveLow: g.ActiveLow, Bias: biases[g.Bias], Debounce: g.Debounce.Std(), Consumer: "minglu-" + string(kind)}
	return input.New(input.Options{Kind: kind, Uptime: clock.Uptime, Open: func() (gpio.PinIn, error) { return gpioline.OpenInput(o) }})
}

var biases = map[string]gpio.Pull{"as-is": gpio.PullNoChange, "pull-up": gpio.PullUp, "pull-down": gpio.PullDown, "none": gpio.Float}

func lineLamp(g *config.LampGPIO) *lamp.Lamp {
	light := func(line string) lamp.Open {
		o := gpioline.Options{Chip: g.Chip, Line: line, ActiveLow: g.ActiveLow, Consumer: "minglu-lamp"}
		return func(level gpio.Level) (gpio.PinOut, error) { return gpioline.OpenOutput(o, level) }
	}
	switch g.Kind() {
	case "rgb":
		return lamp.RGB(light(g.Red), light(g.Green), light(g.Blue))
	case "tower":
		return lamp.Tower(light(g.Red), light(g.Amber), light(g.Green))
	}
	return lamp.Single(light(g.Line))
}

// Between two tries at a device that is not there.
const (
	tryFirst  = time.Second
	tryMost   = 10 * time.Second
	trySteady = time.Minute // what worked this long starts from tryFirst again
)

// tries spaces the tries at one device, and logs why it is not there when that changes.
type tries struct {
	what  string
	log   *slog.Logger
	next  time.Duration
	last  string
	began time.Duration
}

// again runs a device until ctx ends; lost is told of each failure.
func (t *tries) again(ctx context.Context, run func(context.Context) error, lost func(error)) error {
	for {
		t.began = clock.Uptime()
		err := run(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		lost(err)
		if t.wait(ctx, err) != nil {
			return context.Cause(ctx)
		}
	}
}

// wait waits until the next try is due.
func (t *tries) wait(ctx context.Context, why error) error {
	if t.next == 0 || clock.Uptime()-t.began > trySteady {
		t.next, t.last = tryFirst, ""
	}
	if said := fmt.Sprint(why); said != t.last {
		t.last = said
		t.log.Warn("device failed, it is looked for again", "device", t.what, "err", why, "todo", todo(why))
	}
	defer func() { t.next = min(2*t.next, tryMost) }()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(t.next):
		return nil
	}
}

// todo is what a person can do about an error, "" if nobody knows.
func todo(err error) string {
	var p *drivers.Problem
	if errors.As(err, &p) {
		return p.Zh
	}
	return ""
}

// runLights keeps the lamp's lines open and blinking.
func (a *agent) runLights(ctx context.Context) error {
	t := tries{what: "lamp", log: a.log}
	return t.again(ctx, a.devices.lights, func(error) { latest(a.lampLost, struct{}{}) })
}

// lampRetry is how soon a lamp that did not obey is set again.
const lampRetry = 2 * time.Second

// lampWish is what the lamp is to show, and the trigger it follows.
type lampWish struct {
	state   drivers.LampState
	trigger time.Duration
}

// runLamp shows on the lamp what was asked for last, again until it obeys; a lamp that hangs delays nothing else.
func (a *agent) runLamp(ctx context.Context) error {
	wish := lampWish{state: drivers.LampIdle}
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case wish = <-a.lampWish:
		case <-a.lampLost:
		case <-retry:
		}
		if a.devices.lamp == nil {
			continue
		}
		err := a.devices.lamp.Set(wish.state)
		a.loop.Fault("lamp.failed", "", err != nil)
		if retry = nil; err != nil {
			retry = time.After(lampRetry)
			continue
		}
		a.mu.Lock()
		a.lampAt, a.lampFor = clock.Uptime(), wish.trigger
		a.mu.Unlock()
	}
}

// runInput listens to an input for ever; one that fails is looked for again.
func (a *agent) runInput(ctx context.Context, kind drivers.InputKind, in drivers.Input) error {
	t := tries{what: string(kind), log: a.log}
	return t.again(ctx, func(ctx context.Context) error {
		return in.Run(ctx, func(e drivers.InputEvent) {
			a.loop.Fault("input.failed", string(kind), false)
			a.loop.Input(e)
			if e.Kind == drivers.Presence && e.On {
				a.presence()
			}
		})
	}, func(error) { a.loop.Fault("input.failed", string(kind), true) })
}
