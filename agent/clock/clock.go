// Package clock tells wall time together with how far to trust it.
//
// A [Reading] carries UTC, an error bound with its source, the uptime it was taken at, and the
// number of the clock epoch: the stretch without a step it belongs to. Guarantees: a reading never
// pairs a stepped wall clock with the epoch before the step; an error bound is given only while
// chrony or the kernel vouches for one; a clock that shows a time before the floor (the latest time
// known to have passed, kept over power cuts, or the build date) is passed on as it is, marked, and
// never trusted. It does not set the clock, and does not know whether chrony's servers tell the truth.
//
// Use: [New], then [Clock.Run] in the background, [Clock.Now] anywhere.
package clock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What [New] uses where Options leaves a field zero.
const (
	DefaultCheck     = 250 * time.Millisecond // between looks for a step
	DefaultPoll      = 10 * time.Second       // between questions to the sources
	DefaultSave      = time.Minute            // between writes of the floor
	DefaultStepLimit = 50 * time.Millisecond  // a smaller jump of the wall clock is no step
)

// DriftPPM is by how many parts per million the error bound grows between two polls: more than a
// quartz that chrony disciplines drifts.
const DriftPPM = 50

// floorMargin keeps the floor this far below the time it is taken from, so that the small
// corrections of a healthy clock never fall below it.
const floorMargin = time.Second

// Sources of a [Reading].
const (
	SourceChrony     = "chrony"
	SourceKernel     = "kernel"
	SourceUnverified = "unverified"
)

// Reading is the wall clock at one moment.
type Reading struct {
	T      time.Time     // UTC, without monotonic part
	Error  time.Duration // the true time lies within T ± Error; -1 unknown
	Source string        // who vouches for Error: "chrony", "kernel", "unverified"
	Up     time.Duration // uptime at T
	Epoch  int64         // clock epoch, from 1; each step of the wall clock begins another
	// Stratum as the source tells it (RFC 5905 3), 0 unknown.
	Stratum int

	// BeforeFloor says that T cannot be right: it lies before a time that has certainly passed.
	// Error is -1 then.
	BeforeFloor bool
}

// Step is one jump of the wall clock.
type Step struct {
	By      time.Duration // how far it jumped, negative: back
	Reading Reading       // right after the jump, of the new epoch
}

// Options say where a Clock takes its facts from. The zero value serves a board.
type Options struct {
	FloorFile string    // keeps the floor over power cuts; "" keeps none
	Build     time.Time // when the program was built: no true time lies before it

	// Replace writes FloorFile durably (durable.Replace in the agent). nil: the floor is only read.
	Replace func(name string, data []byte) error

	Sources []Source                      // asked in order until one answers; nil: chrony, then the kernel
	Uptime  func() time.Duration          // nil: [Uptime]
	Wall    func() time.Time              // nil: time.Now
	OnStep  func(Step)                    // called by Run, one at a time; may block only Run
	OnSet   func(context.Context, func()) // calls back when the system clock is set, until ctx ends; nil: timerfd

	Check, Poll, Save, StepLimit time.Duration // zero: the defaults

	Log *slog.Logger // nil: slog.Default
}

// Clock reads the wall clock. Its methods are safe for concurrent use.
type Clock struct {
	o    Options
	sim  atomic.Int64 // simulated step, ns
	kick chan struct{}
	now  atomic.Pointer[state]

	saved time.Time // floor as last written; Run's alone

	mu      sync.Mutex // guards pending, and writing now
	pending []Step
}

// state is what a reading is made of beside the two clocks. It is never changed, only replaced.
type state struct {
	epoch   int64
	offset  time.Duration // wall − uptime as Unix ns, at the start of the epoch
	floor   time.Time
	at      time.Duration // uptime of floor and err
	err     time.Duration // -1 unknown
	polled  time.Duration // uptime of err
	source  string
	stratum int
}

// New returns a clock that is unverified until [Clock.Poll] or [Clock.Run] has asked its sources.
// A floor file that cannot be read is logged and counts as none: time may be doubted, recording not refused.
func New(o Options) (*Clock, error) {
	if o.Check < 0 || o.Poll < 0 || o.Save < 0 || o.StepLimit < 0 {
		return nil, errors.New("clock: options: a negative interval: use 0 for the default")
	}
	setDefault(&o.Check, DefaultCheck)
	setDefault(&o.Poll, DefaultPoll)
	setDefault(&o.Save, DefaultSave)
	setDefault(&o.StepLimit, DefaultStepLimit)
	if o.Sources == nil {
		o.Sources = []Source{Chrony(DefaultChrony...), Kernel}
	}
	if o.Uptime == nil {
		o.Uptime = Uptime
	}
	if o.Wall == nil {
		o.Wall = time.Now
	}
	if o.OnSet == nil {
		o.OnSet = watchSet
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	floor := o.Build.UTC()
	if saved, err := readFloor(o.FloorFile); err != nil {
		o.Log.Warn("time floor lost, the build date serves", "err", err)
	} else if saved.After(floor) {
		floor = saved
	}
	c := &Clock{o: o, kick: make(chan struct{}, 1), saved: floor}
	wall, up := c.read()
	c.now.Store(&state{epoch: 1, offset: since(wall, up), floor: floor, at: up, polled: up, err: -1, source: SourceUnverified})
	return c, nil
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

// Now reads the clock. It does no I/O and never blocks for long.
func (c *Clock) Now() Reading {
	wall, up := c.read()
	s := c.now.Load()
	if c.stepped(s, wall, up) {
		s, wall, up = c.check()
	}
	return s.reading(wall, up)
}

func (s *state) reading(wall time.Time, up time.Duration) Reading {
	r := Reading{T: wall, Error: s.err, Source: s.source, Up: up, Epoch: s.epoch, Stratum: s.stratum, BeforeFloor: wall.Before(s.floor)}
	if r.BeforeFloor {
		r.Error = -1
	} else if r.Error >= 0 {
		r.Error += max(up-s.polled, 0) / 1e6 * DriftPPM
	}
	return r
}

// read takes both clocks as one: the wall clock between two looks at the uptime that lie close
// together, so that a delay of this goroutine is not taken for a step.
func (c *Clock) read() (time.Time, time.Duration) {
	var wall time.Time
	var up time.Duration
	best := time.Duration(1<<63 - 1)
	for range 5 {
		a := c.o.Uptime()
		w := c.o.Wall()
		b := c.o.Uptime()
		if b-a < best {
			best, wall, up = b-a, w, a+(b-a)/2
		}
		if best < c.o.StepLimit/10 {
			break
		}
	}
	return wall.Round(0).UTC().Add(time.Duration(c.sim.Load())), up
}

// since is wall − uptime: it stays the same until the wall clock is set, because the kernel slews
// CLOCK_REALTIME and CLOCK_BOOTTIME alike (adjtimex(2), clock_gettime(2)).
func since(wall time.Time, up time.Duration) time.Duration {
	return time.Duration(wall.UnixNano()) - up
}

func (c *Clock) stepped(s *state, wall time.Time, up time.Duration) bool {
	return (since(wall, up) - s.offset).Abs() > c.o.StepLimit
}

// check looks for a step, and moves the floor on. After a step the sources have to vouch anew.
func (c *Clock) check() (*state, time.Time, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.checkLocked()
}

func (c *Clock) checkLocked() (*state, time.Time, time.Duration) {
	wall, up := c.read()
	next := *c.now.Load()
	next.floor, next.at = moveFloor(next.floor, next.at, wall, up), up
	if c.stepped(&next, wall, up) {
		by := since(wall, up) - next.offset
		next.epoch, next.offset = next.epoch+1, next.offset+by
		next.err, next.source, next.stratum, next.polled = -1, SourceUnverified, 0, up
		c.pending = append(c.pending, Step{By: by, Reading: next.reading(wall, up)})
		c.wake()
	}
	c.now.Store(&next)
	return &next, wall, up
}

// moveFloor lets the floor run on as fast as the uptime. It stays a lower bound of the true time
// whatever the wall clock shows; a clock below it finds it standing still, so that a floor taken
// from a source that lied is caught up with some day.
func moveFloor(floor time.Time, at time.Duration, wall time.Time, up time.Duration) time.Time {
	if floor.IsZero() || up <= at || wall.Before(floor) {
		return floor
	}
	if moved := floor.Add(up - at); moved.Before(wall) {
		return moved
	}
	return wall
}

func (c *Clock) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Poll asks the sources once and returns the reading after it. It blocks as long as they take,
// some seconds at worst.
func (c *Clock) Poll(ctx context.Context) Reading {
	before, _, _ := c.check()
	est, err := Estimate{Error: -1, Source: SourceUnverified}, error(nil)
	for _, ask := range c.o.Sources {
		var e Estimate
		if e, err = ask(ctx); err == nil {
			est = e
		}
		if err == nil || errors.Is(err, ErrUnverified) {
			break
		}
	}
	if c.sim.Load() != 0 { // whoever sets a clock by hand makes its error unknown
		est = Estimate{Error: -1, Source: SourceUnverified}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, wall, up := c.checkLocked()
	if now.epoch != before.epoch { // stepped while we asked: the answer is about another clock
		return now.reading(wall, up)
	}
	next := *now
	if est.Source != next.source {
		c.o.Log.Info("clock source", "source", est.Source, "error", est.Error, "why", err)
	}
	next.err, next.source, next.stratum, next.polled = est.Error, est.Source, est.Stratum, up
	if f := wall.Add(-est.Error - floorMargin); est.Error >= 0 && f.After(next.floor) {
		next.floor, next.at = f, up
	}
	c.now.Store(&next)
	return next.reading(wall, up)
}

// Run watches for steps, polls the sources and keeps the floor until ctx ends; it returns the cause.
// A source or a disk that fails is logged once per change and tried again.
func (c *Clock) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { c.o.OnSet(ctx, c.wake) })
	check, poll, save := time.NewTicker(c.o.Check), time.NewTicker(c.o.Poll), time.NewTicker(c.o.Save)
	defer check.Stop()
	defer poll.Stop()
	defer save.Stop()
	c.Poll(ctx)
	lastErr := ""
	for {
		select {
		case <-ctx.Done():
			c.save(&lastErr)
			return context.Cause(ctx)
		case <-check.C:
			c.check()
		case <-c.kick:
			c.check()
		case <-poll.C:
			c.Poll(ctx)
		case <-save.C:
			c.save(&lastErr)
		}
		if c.tell() {
			c.Poll(ctx)
		}
	}
}

// tell hands the pending steps out and reports whether there were any.
func (c *Clock) tell() bool {
	c.mu.Lock()
	steps := c.pending
	c.pending = nil
	c.mu.Unlock()
	for _, s := range steps {
		c.o.Log.Warn("wall clock stepped", "by", s.By, "epoch", s.Reading.Epoch, "now", s.Reading.T)
		if c.o.OnStep != nil {
			c.o.OnStep(s)
		}
	}
	return len(steps) > 0
}

func (c *Clock) save(last *string) {
	floor := c.Floor()
	if c.o.FloorFile == "" || c.o.Replace == nil || !floor.After(c.saved) {
		return
	}
	err := c.o.Replace(c.o.FloorFile, []byte(floor.UTC().Format(time.RFC3339Nano)+"\n"))
	switch {
	case err == nil:
		c.saved, *last = floor, ""
	case err.Error() != *last:
		*last = err.Error()
		c.o.Log.Error("time floor not saved", "file", c.o.FloorFile, "err", err)
	}
}

func readFloor(file string) (time.Time, error) {
	if file == "" {
		return time.Time{}, nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("clock: floor: %w", err)
	}
	t, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(b)))
	if err != nil {
		return time.Time{}, fmt.Errorf("clock: floor: %s: %w", file, err)
	}
	return t.UTC(), nil
}

// Floor is a time that has certainly passed.
func (c *Clock) Floor() time.Time { return c.now.Load().floor }

// SimulateStep moves this clock, not the system's, by d, as if somebody had set it: for a
// simulated room. Readings stay unverified until the sum of all simulated steps is 0 again.
func (c *Clock) SimulateStep(d time.Duration) {
	c.sim.Add(int64(d))
	c.wake()
}
