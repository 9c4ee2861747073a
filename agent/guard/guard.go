// Package guard lets others watch over the agent: the board's hardware watchdog, which resets the board, and
// systemd, which starts the agent anew (sd_notify(3), without a library).
//
// It guarantees: both are fed only while what the room wants really happens, as [Step] decides: while it
// records, what arrives becomes durable and signed; while it is idle, its loop decides and its cameras' loops
// answer. A fault that a reset does not mend (no camera delivers, the disks are full or were pulled out) is no
// reason to stop feeding. It guarantees that recording never depends on it: a watchdog that cannot be opened
// is a fault, looked for again every [Retry]. At an orderly stop the watchdog is switched off.
//
// systemd is to wait less long than the hardware, so that a new start is tried before a reset:
// WatchdogSec=20s in the unit, [DefaultTimeout] for the hardware.
package guard

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"minglu/agent/report"
)

const (
	// DefaultTimeout is after how long without feeding the hardware resets the board.
	DefaultTimeout = 60 * time.Second
	// Retry is when a watchdog that could not be opened is looked for again.
	Retry = 30 * time.Second

	every = 2 * time.Second // how often the facts are looked at
)

// Watchdog is one that is open. A driver's Feed does not block.
type Watchdog interface {
	Feed() error
	Close() error
}

// Options are what the guard needs.
type Options struct {
	// Open opens the hardware watchdog. nil: there is none.
	Open func() (Watchdog, error)
	// Facts says what the room does. It may hang: then nothing is fed.
	Facts  func() Facts
	Uptime func() time.Duration
	// Fault tells that the watchdog cannot be used, or can again. nil: nobody is told.
	Fault   func(failed bool, err error)
	Systemd *Systemd // nil: not started by systemd
	Log     *slog.Logger
}

// Guard feeds those who watch.
type Guard struct {
	o Options

	mu   sync.Mutex // guards what follows
	last Verdict
}

// New returns a guard; [Guard.Run] works.
func New(o Options) (*Guard, error) {
	if o.Facts == nil || o.Uptime == nil {
		return nil, errors.New("guard: options: Facts and Uptime are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Fault == nil {
		o.Fault = func(bool, error) {}
	}
	return &Guard{o: o, last: Verdict{Feed: true}}, nil
}

// Verdict is the newest decision.
func (g *Guard) Verdict() Verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// Run feeds until ctx ends, switches the watchdog off and returns the cause. A call of Options.Facts that
// hangs is left behind.
func (g *Guard) Run(ctx context.Context) error {
	dog := &kennel{o: g.o}
	defer dog.close()
	tick := time.NewTicker(every)
	defer tick.Stop()
	facts := make(chan Facts, 1)
	asked := false
	last := Facts{Up: g.o.Uptime(), Loop: g.o.Uptime()} // the start counts as a sign of life
	state := State{}
	for {
		if !asked {
			asked = true
			go func() { facts <- g.o.Facts() }()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case last = <-facts:
			asked = false
			select { // the next look is due with the next tick
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-tick.C:
			}
		case <-tick.C:
		}
		var v Verdict
		state, v = Step(state, last, g.o.Uptime())
		g.decided(v)
		dog.feed(v.Feed)
		if v.Feed {
			g.o.Systemd.alive()
		}
	}
}

func (g *Guard) decided(v Verdict) {
	g.mu.Lock()
	before := g.last
	g.last = v
	g.mu.Unlock()
	if v.Feed != before.Feed {
		if v.Feed {
			g.o.Log.Info("the watchdogs are fed again")
		} else {
			g.o.Log.Error("the watchdogs are not fed any more", "why", v.Why.En)
		}
	}
	g.o.Systemd.status(v.Why)
}

// kennel opens the hardware watchdog, feeds it and looks for it again.
type kennel struct {
	o      Options
	dog    Watchdog
	failed bool
	again  time.Duration // uptime of the next try
}

func (k *kennel) feed(yes bool) {
	if k.o.Open == nil {
		return
	}
	if k.dog == nil {
		if !yes || k.o.Uptime() < k.again { // a room that does not record is not reset before it ever did
			return
		}
		dog, err := k.o.Open()
		if err != nil {
			k.trouble(err)
			return
		}
		k.dog = dog
		k.well()
		return
	}
	if !yes {
		return
	}
	if err := k.dog.Feed(); err != nil {
		k.trouble(errors.Join(err, k.dog.Close()))
		k.dog = nil
		return
	}
	k.well()
}

func (k *kennel) trouble(err error) {
	k.again = k.o.Uptime() + Retry
	if !k.failed {
		k.o.Log.Warn("no hardware watchdog; recording goes on without it", "err", err)
	}
	k.failed = true
	k.o.Fault(true, err)
}

func (k *kennel) well() {
	if k.failed {
		k.failed = false
		k.o.Fault(false, nil)
	}
}

func (k *kennel) close() {
	if k.dog == nil {
		return
	}
	if err := k.dog.Close(); err != nil {
		k.o.Log.Error("the watchdog cannot be switched off: the board may be reset", "err", err)
	}
}

func text(zh, en string) report.Text { return report.Text{Zh: zh, En: en} }
