package sim

import (
	"context"
	"fmt"
	"sync"
	"time"

	"minglu/drivers"
)

// The simulated battery.
const (
	powerLasts  = 30 * time.Minute // full
	powerWorn   = 40 * time.Second // worn out
	powerVolts  = 12_600           // mV, full
	powerEmpty  = 9600             // mV
	powerTakes  = 600              // mA
	powerCharge = 10               // it charges so many times as slowly as it runs down
)

// Power is a simulated battery with its meter. It implements [drivers.PowerMeter]; it charges while there are mains and runs down
// without, but never takes the power away.
type Power struct {
	uptime func() time.Duration

	mu   sync.Mutex
	at   time.Duration // uptime of left
	left time.Duration // on the battery
	lost bool          // mains
	worn bool
}

// Read implements [drivers.PowerMeter].
func (p *Power) Read(ctx context.Context) (drivers.Supply, error) {
	if ctx.Err() != nil {
		return drivers.Supply{}, context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.read(), nil
}

// read lets the battery run up to now; mu is held.
func (p *Power) read() drivers.Supply {
	up := p.uptime()
	gone := up - p.at
	p.at = up
	if p.lost {
		p.left = max(p.left-gone, 0)
	} else {
		p.left += gone / powerCharge
	}
	p.left = min(p.left, p.full())
	charge := int(p.left * 1000 / powerLasts)
	s := drivers.Supply{MilliVolt: powerEmpty + (powerVolts-powerEmpty)*charge/1000, Mains: !p.lost, Charge: charge, Left: -1, Up: up}
	if p.lost {
		s.MilliAmp, s.Left = powerTakes, p.left
	} else if p.left < p.full() {
		s.MilliAmp = -powerTakes / powerCharge
	}
	return s
}

func (p *Power) full() time.Duration {
	if p.worn {
		return powerWorn
	}
	return powerLasts
}

func (p *Power) fault(name string, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read()
	if name == FaultMains {
		p.lost = on
		return
	}
	p.worn = on
	p.left = p.full()
}

// PowerState is what the battery does.
type PowerState struct {
	Mains   bool          `json:"mains"`
	WornOut bool          `json:"worn_out"`
	Left    time.Duration `json:"left_ns"` // -1 with mains
}

func (p *Power) state() *PowerState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.read()
	return &PowerState{s.Mains, p.worn, s.Left}
}

// RTC is a simulated hardware clock. It implements [drivers.SettableRTC].
type RTC struct {
	uptime func() time.Duration

	mu      sync.Mutex
	offset  time.Duration // time - uptime, as Unix ns
	stopped bool
}

// since is a time less an uptime.
func since(t time.Time, up time.Duration) time.Duration { return time.Duration(t.UnixNano()) - up }

// Read implements [drivers.RTC].
func (c *RTC) Read(ctx context.Context) (drivers.RTCTime, error) {
	if ctx.Err() != nil {
		return drivers.RTCTime{}, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	up := c.uptime()
	return drivers.RTCTime{T: time.Unix(0, int64(c.offset+up)).UTC().Truncate(time.Second), Stopped: c.stopped, Up: up}, nil
}

// Set implements [drivers.SettableRTC]; it waits for no second, as it can begin one at any time.
func (c *RTC) Set(ctx context.Context, now func() time.Time) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset, c.stopped = since(now(), c.uptime()), false
	return nil
}

// die lets the battery be dead, so that the clock begins in 2000, or takes that back.
func (c *RTC) die(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = on
	if on {
		c.offset = since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), c.uptime())
	}
}

// RTCState is what the hardware clock shows.
type RTCState struct {
	T       time.Time `json:"t"`
	Stopped bool      `json:"stopped"`
}

func (c *RTC) state() *RTCState {
	r, err := c.Read(context.Background())
	if err != nil {
		return nil
	}
	return &RTCState{r.T, r.Stopped}
}

// BuzzerSound is one signal that sounded.
type BuzzerSound struct {
	Beep drivers.Beep  `json:"beep"`
	Up   time.Duration `json:"up_ns"`
}

// buzzerLength is how long a simulated signal sounds.
const buzzerLength = 300 * time.Millisecond

// buzzerHistory is how many signals a buzzer remembers.
const buzzerHistory = 64

// Buzzer is a simulated buzzer. It implements [drivers.Buzzer] and remembers what sounded when.
type Buzzer struct {
	uptime func() time.Duration

	mu     sync.Mutex
	sounds []BuzzerSound
}

// Sound implements [drivers.Buzzer].
func (b *Buzzer) Sound(ctx context.Context, beep drivers.Beep) error {
	switch beep {
	case drivers.BeepStart, drivers.BeepPaused, drivers.BeepEnd, drivers.BeepAsk, drivers.BeepFault:
	default:
		return fmt.Errorf("sim: buzzer: no signal %q", beep)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	up := b.uptime()
	b.mu.Lock()
	if len(b.sounds) == buzzerHistory {
		b.sounds = append(b.sounds[:0], b.sounds[1:]...)
	}
	b.sounds = append(b.sounds, BuzzerSound{beep, up})
	b.mu.Unlock()
	return waitUntil(ctx, b.uptime, up+buzzerLength)
}

// Sounds are the last signals, oldest first.
func (b *Buzzer) Sounds() []BuzzerSound {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]BuzzerSound(nil), b.sounds...)
}

var (
	_ drivers.PowerMeter  = (*Power)(nil)
	_ drivers.SettableRTC = (*RTC)(nil)
	_ drivers.Buzzer      = (*Buzzer)(nil)
)
