package power

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"periph.io/x/conn/v3/physic"

	"minglu/drivers"
)

// Battery is what feeds the room when the mains are gone.
type Battery struct {
	Full        physic.ElectricPotential // rested after charging
	Empty       physic.ElectricPotential // at which the board goes down; below Full
	CapacityMAH int                      // mAh, between the two
	Reversed    bool                     // the shunt is the other way round: current into the battery is positive
}

// Rules of the judgement.
const (
	leastLoad   = 20    // mA out of the battery that may be a board: less is leakage, or the offset of the meter
	settled     = 3     // s that current flows one way before it counts: a peak of load is no power cut
	nearlyFull  = 0.985 // of Full, and hardly any current: the battery is charged
	smoothing   = 30.0  // s over which current is averaged, so that minutes do not jump
	slopeAfter  = 20    // s after the loss of mains: before, the voltage sinks under its new load
	slopeOver   = 60    // s between the two voltages whose difference counts
	slopeLeast  = 10.0  // mV of difference below which there is none
	slopeMargin = 180   // s, at most half: towards the end the voltage sinks faster than it did in the last minute
	lostTrack   = 60    // s without a reading after which what was is forgotten
)

// Supply is a battery with its meter. It implements [drivers.PowerMeter], starts no goroutine and is safe for concurrent use.
//
// Mains are lost when for 3 s more flows out of the battery than a board at rest, or the meter's error, could be. How long it lasts
// is the least of two guesses. One counts the charge: what the battery held when the mains were lost, full if it was seen
// full, else by its voltage, less what has flowed since, and never more than its voltage under load says; by the
// current of the last half minute. The other looks at the voltage, which sinks faster and faster towards the end, of an
// aged battery long before its charge on paper is used up: when it reaches Empty if it goes on as in the last minute.
// Both err on the side of less.
type Supply struct {
	m      *Meter
	b      Battery
	least  float64 // mA
	uptime func() time.Duration

	mu      sync.Mutex // guards battery
	battery state
}

// New returns the judge of a battery; it refuses one that cannot be.
func New(m *Meter, b Battery, uptime func() time.Duration) (*Supply, error) {
	if b.Empty <= 0 || b.Full <= b.Empty || b.CapacityMAH <= 0 {
		return nil, errors.New("power: battery: Empty above 0, Full above Empty and CapacityMAH are required")
	}
	if m.shunt <= 0 {
		return nil, errors.New("power: the shunt has no resistance")
	}
	least := max(leastLoad, 2*float64(m.Offset())/float64(physic.MilliAmpere))
	return &Supply{m: m, b: b, least: least, uptime: uptime, battery: newState()}, nil
}

// Read implements [drivers.PowerMeter].
func (s *Supply) Read(ctx context.Context) (drivers.Supply, error) {
	v, i, err := s.m.Measure(ctx)
	if err != nil {
		return drivers.Supply{}, err
	}
	if s.b.Reversed {
		i = -i
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	up := s.uptime()
	mv, ma := float64(v)/float64(physic.MilliVolt), float64(i)/float64(physic.MilliAmpere)
	if v < s.b.Empty/4 {
		s.battery = newState()
		return drivers.Supply{}, fmt.Errorf("power: %w", &drivers.Problem{Code: "no-battery", Zh: "没有电池电压；请检查电池的保险和接线", En: "the battery has no voltage: check its fuse and plug",
			Err: fmt.Errorf("%.0f mV", mv)})
	}
	mains, charge, left := s.battery.step(s.b, s.least, up, mv, ma)
	return drivers.Supply{MilliVolt: int(math.Round(mv)), MilliAmp: int(math.Round(ma)), Mains: mains, Charge: int(math.Round(1000 * charge)), Left: left, Up: up}, nil
}

// state is what is known of a battery from the readings before.
type state struct {
	at     time.Duration // uptime of the reading before
	known  bool          // there was one
	mains  bool
	turned time.Duration // since when current flows against mains; -1: it does not
	lost   time.Duration // when the mains were
	charge float64       // 0 to 1
	ma     float64       // out of the battery, smoothed
	mv     []volt        // of the last minute
}

type volt struct {
	at time.Duration
	mv float64
}

func newState() state { return state{mains: true, turned: -1} }

// step judges one reading: mains, what is in the battery, how long it lasts.
func (s *state) step(b Battery, least float64, up time.Duration, mv, ma float64) (mains bool, charge float64, left time.Duration) {
	full, empty := float64(b.Full)/float64(physic.MilliVolt), float64(b.Empty)/float64(physic.MilliVolt)
	byVoltage := min(max((mv-empty)/(full-empty), 0), 1)
	dt := (up - s.at).Seconds()
	if !s.known || dt > lostTrack || dt < 0 {
		*s = newState()
		s.charge, s.ma, dt = byVoltage, ma, 0
		if ma >= least { // found on the battery: no peak of load, as far as we know
			s.mains, s.lost = false, up
		}
	}
	s.at, s.known = up, true
	s.turn(up, least, ma)
	s.charge = min(max(s.charge-ma*dt/3600/float64(b.CapacityMAH), 0), 1)
	if s.mains {
		s.ma = ma
		if mv >= nearlyFull*full && ma < least && ma > -0.1*float64(b.CapacityMAH) {
			s.charge = 1
		}
		return true, s.charge, -1
	}
	s.ma += (ma - s.ma) * min(dt/smoothing, 1)
	charge = min(s.charge, byVoltage)
	if s.lost+slopeAfter*time.Second > up && mv > empty { // sagging under its new load
		charge = s.charge
	}
	lasts := charge * float64(b.CapacityMAH) / max(s.ma, least) * 3600
	if t, ok := s.slope(up, mv, empty); ok {
		lasts = min(lasts, t)
	}
	return false, charge, time.Duration(min(lasts, 1e6) * float64(time.Second))
}

// turn notes which way current flows, once it has done so for long enough.
func (s *state) turn(up time.Duration, least, ma float64) {
	if (ma >= least) != s.mains {
		s.turned = -1
		return
	}
	if s.turned < 0 {
		s.turned = up
	}
	if up-s.turned < settled*time.Second {
		return
	}
	s.turned, s.mains = -1, !s.mains
	s.lost, s.mv, s.ma = up, nil, ma
}

// slope is in how many seconds the voltage reaches empty if it sinks as it did over the last minute, less a margin.
func (s *state) slope(up time.Duration, mv, empty float64) (seconds float64, ok bool) {
	if up-s.lost < slopeAfter*time.Second {
		return 0, false
	}
	for len(s.mv) > 1 && up-s.mv[1].at >= slopeOver*time.Second {
		s.mv = s.mv[1:]
	}
	s.mv = append(s.mv, volt{up, mv})
	first := s.mv[0]
	sunk, over := first.mv-mv, (up - first.at).Seconds()
	if over < slopeOver/2 || sunk < slopeLeast {
		return 0, mv <= empty
	}
	seconds = max(mv-empty, 0) / sunk * over
	return seconds - min(seconds/2, slopeMargin), true
}

var _ drivers.PowerMeter = (*Supply)(nil)
