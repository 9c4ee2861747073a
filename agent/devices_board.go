package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/agent/health"
	"minglu/agent/room"
	"minglu/drivers"
	"minglu/drivers/buzzer"
	"minglu/drivers/gpioline"
	"minglu/drivers/i2cbus"
	"minglu/drivers/power"
	"minglu/drivers/rtc"
	"minglu/drivers/sim"
)

// openBoard makes the drivers of hardware clock, battery and buzzer.
func (d *devices) openBoard(cfg *config.Config, room *sim.Room) (err error) {
	switch c := cfg.RTC; {
	case c == nil:
	case c.Sim != nil:
		d.rtc = room.RTC()
	case c.I2C != nil:
		d.rtc = rtc.NewDS3231(i2cbus.New(c.I2C.Bus), clock.Uptime)
	default:
		d.rtc = rtc.NewKernel(c.Device, clock.Uptime)
	}
	switch p := cfg.Power; {
	case p == nil:
	case p.Sim != nil:
		d.power = room.Power()
	default:
		if d.power, err = battery(p); err != nil {
			return fmt.Errorf("power: %w", err)
		}
	}
	switch b := cfg.Buzzer; {
	case b == nil:
	case b.Sim != nil:
		d.buzzer = room.Buzzer()
	default:
		o := gpioline.Options{Chip: b.GPIO.Chip, Line: b.GPIO.Line, ActiveLow: b.GPIO.ActiveLow, Consumer: "minglu-buzzer"}
		d.buzzer = buzzer.New(func() (gpio.PinOut, error) { return gpioline.OpenOutput(o, gpio.Low) })
	}
	return nil
}

// battery is the judge of a battery with its meter on a bus.
func battery(p *config.Power) (drivers.PowerMeter, error) {
	chip := map[string]func(i2c.Bus, uint16, physic.ElectricResistance) *power.Meter{"ina219": power.NewINA219, "ina226": power.NewINA226}[p.I2C.Chip]
	b := power.Battery{Full: physic.ElectricPotential(p.Battery.FullMV) * physic.MilliVolt, Empty: physic.ElectricPotential(p.Battery.EmptyMV) * physic.MilliVolt,
		CapacityMAH: p.Battery.CapacityMAH, Reversed: p.Reversed}
	return power.New(chip(i2cbus.New(p.I2C.Bus), p.I2C.Addr(), physic.ElectricResistance(p.ShuntMOhm)*physic.MilliOhm), b, clock.Uptime)
}

const (
	pollRTC    = 10 * time.Second
	rtcTrust   = 500 * time.Millisecond // the board's clock is known this well before it sets another
	rtcOff     = 2 * time.Second        // of a clock that shows full seconds, before it is set
	rtcDiffers = 2 * time.Minute        // a DS3231 is off by a minute a year
	rtcLost    = 24 * time.Hour         // so far before a time that has certainly passed, no drift explains it

	pollPower = time.Second
)

// rtcFile holds the boot during which the hardware clock was found stopped: once it is set, it does not tell any more.
const rtcFile = "rtc-stopped"

// judgment is what is to be thought of a hardware clock.
type judgment struct {
	stopped bool // it stood still: its battery is dead, or new
	differs bool // from a board's clock that nobody vouches for
	set     bool // it is to be set
}

// judgeRTC compares a hardware clock with the board's; floor is a time that has certainly passed.
func judgeRTC(r drivers.RTCTime, now clock.Reading, floor time.Time) judgment {
	shown := r.T.Add(now.Up - r.Up) // up to a second behind the clock itself
	off := now.T.Sub(shown)
	j := judgment{stopped: r.Stopped || shown.Before(floor.Add(-rtcLost))}
	trusted := now.Error >= 0 && now.Error <= rtcTrust
	j.set = trusted && (j.stopped || off < -rtcOff+time.Second || off > rtcOff)
	j.differs = now.Error < 0 && !j.stopped && off.Abs() > rtcDiffers
	return j
}

// runRTC watches the hardware clock, and sets it from a board's clock that is known well. The fault of its battery stands
// until a start after another boot finds it going.
func (a *agent) runRTC(ctx context.Context) error {
	tick := time.NewTicker(pollRTC)
	defer tick.Stop()
	name := filepath.Join(a.cfg.State, rtcFile)
	boot, err := readAtMost(name, 100)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("hardware clock", "err", err)
	}
	stopped := string(boot) == a.boot
	a.loop.Fault("rtc.battery", "", stopped)
	for last := ""; ; {
		found, err := a.lookAtRTC(ctx)
		said := fmt.Sprint(err)
		switch {
		case ctx.Err() != nil:
		case err != nil && said != last:
			a.log.Warn("hardware clock", "err", err, "todo", todo(err))
		case found && !stopped:
			stopped = true
			a.loop.Fault("rtc.battery", "", true)
			if err := a.files.Replace(name, []byte(a.boot)); err != nil {
				a.log.Error("hardware clock", "err", err)
			}
		}
		last = said
		a.loop.Fault("rtc.failed", "", err != nil)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// lookAtRTC looks once, and reports whether the clock stood still.
func (a *agent) lookAtRTC(ctx context.Context) (stopped bool, err error) {
	r, err := a.devices.rtc.Read(ctx)
	if p := new(drivers.Problem); errors.As(err, &p) && p.Code == "no-time" { // nor does it hold a time: it never went
		r, err = drivers.RTCTime{Stopped: true, Up: clock.Uptime()}, nil
	}
	if err != nil {
		return false, err
	}
	j := judgeRTC(r, a.clock.Now(), a.clock.Floor())
	a.loop.Fault("rtc.differs", "", j.differs)
	s, ok := a.devices.rtc.(drivers.SettableRTC)
	if !j.set || !ok {
		return j.stopped, nil
	}
	a.log.Info("setting the hardware clock", "shows", r.T, "stopped", r.Stopped, "now", a.clock.Now().T)
	return j.stopped, s.Set(ctx, func() time.Time { return a.clock.Now().T })
}

// runPower watches mains and battery, and ends the running session before the battery does.
func (a *agent) runPower(ctx context.Context) error {
	tick := time.NewTicker(pollPower)
	defer tick.Stop()
	last, low := "", false
	for {
		s, err := a.devices.power.Read(ctx)
		if said := fmt.Sprint(err); err != nil && ctx.Err() == nil && said != last {
			last = said
			a.log.Warn("battery", "err", err, "todo", todo(err))
		}
		a.loop.Fault("power.failed", "", err != nil)
		if err == nil {
			last = ""
			low = a.onSupply(s, low)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// onSupply takes one reading, and returns whether the battery ends soon. The faults of a meter that fell silent stand.
func (a *agent) onSupply(s drivers.Supply, wasLow bool) (low bool) {
	f := &health.PowerFact{At: s.Up, Mains: s.Mains, Volts: float64(s.MilliVolt) / 1000, Charge: float64(s.Charge) / 1000, Low: s.Charge == 0 && !s.Mains}
	if !s.Mains {
		f.Left = &s.Left
	}
	a.mu.Lock()
	a.supply = f
	a.mu.Unlock()
	low = !s.Mains && s.Left < a.cfg.Power.SealAt.Std()
	a.loop.Fault("power.mains", "", !s.Mains)
	a.loop.Fault("power.battery", "", low)
	if low && !wasLow {
		a.log.Warn("the battery ends soon; a running session is sealed", "left", s.Left, "volts", f.Volts)
		a.loop.Send(room.BatteryLow{})
	}
	return low
}

// beeps are the signals of the buzzer for what the room announces.
var beeps = map[string]drivers.Beep{"notice": drivers.BeepStart, "resumed": drivers.BeepStart, "paused": drivers.BeepPaused, "end": drivers.BeepEnd,
	"ask": drivers.BeepAsk, "limit": drivers.BeepAsk, "fault": drivers.BeepFault}

// beep queues a signal; with the queue full, the room is loud enough.
func (a *agent) beep(name string) {
	b, ok := beeps[name]
	if a.devices.buzzer == nil || !ok {
		return
	}
	select {
	case a.beeps <- b:
	default:
	}
}

// runBuzzer sounds one signal after the other.
func (a *agent) runBuzzer(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case b := <-a.beeps:
			err := a.devices.buzzer.Sound(ctx, b)
			if err != nil && ctx.Err() == nil {
				a.log.Warn("buzzer", "err", err, "todo", todo(err))
			}
			if ctx.Err() == nil {
				a.loop.Fault("buzzer.failed", "", err != nil)
			}
		}
	}
}
