// Package fleet keeps what the rooms report: their newest state, compliance and measurements, every
// numbered message, open alarms, and what had to be refused.
//
// It guarantees: a numbered message is acknowledged only after the transaction that holds it is on the
// disk (SQLite, WAL, synchronous=FULL), with the highest number before which none is missing; it is
// stored once however often it comes, takes effect in the order of its numbers, and a missing number
// is on record for ever. A kill or power cut at any moment loses nothing that was acknowledged. What
// is malformed, from a newer version, or speaks for another device is counted by device and reason
// and never stored. A room that was not heard of for [SilentAfter], or whose Will has come, is
// silent, whatever it last said; a late Will cannot silence a newer connection. Work for one message
// does not grow with the number of rooms or events.
//
// It does not guarantee that health survives a restart newer than [HealthEvery]; devices send it anew.
// When the database cannot be written it tries again for ever, and devices wait: they keep what is not
// acknowledged.
//
// Use: [Open], then Run until its context ends; [Fleet.Receive] from the broker, the rest from pages.
package fleet

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"minglu/agent/report"
)

// Limits.
const (
	SilentAfter    = 90 * time.Second
	BatchWait      = 50 * time.Millisecond // a message waits so long for others to share its commit
	BatchSize      = 500
	HealthEvery    = time.Minute // measurements and last-heard times are written so often
	DefaultKeep    = 400 * 24 * time.Hour
	DefaultPerRoom = 100_000 // events of one room

	queueSize   = 2000
	retryAfter  = time.Second
	maxOutboxes = 64 // of one device, within the time events are kept
)

// Options of [Open].
type Options struct {
	Path string // of the database
	// Send publishes an acknowledgement; it does not wait. An error is logged: the device asks again.
	Send    func(device string, kind report.Kind, payload []byte) error
	Names   func() []string // the devices that may log in; they are rooms even before they speak. May be nil
	Now     func() time.Time
	Keep    time.Duration // of events; 0: DefaultKeep
	PerRoom int           // events; 0: DefaultPerRoom
	Log     *slog.Logger  // nil: none
}

// Fleet is the open database with the newest state of each room in memory. Safe for concurrent use.
type Fleet struct {
	o     Options
	write *sql.DB // one connection: SQLite has one writer
	read  *sql.DB
	queue chan op
	ended chan struct{} // closed when Run has returned
	start time.Time

	mu      sync.RWMutex
	rooms   map[string]*room
	bodies  map[string]string // that have sessions: name by key
	refused map[refusalKey]*Refusal
	dirty   map[refusalKey]bool // refusals not written yet
	change  int64               // counts changes of rooms
	trouble string              // why the database cannot be written now
	acks    int64
	commits int64

	// Touched by the writer only, or before it starts.
	boxes   map[boxKey]*numbers // as committed
	waiting map[boxKey]bool     // those with a number that is waited for
}

type boxKey struct{ device, outbox string }

// op is one piece of work for the writer.
type op struct {
	device string
	kind   report.Kind
	will   bool
	raw    []byte
	at     time.Time
	state  *report.State
	comp   *report.Compliance
	num    *report.Numbered
	alarm  *report.Alarm
}

// Open opens or makes the database and reads the newest state of each room. A database of another
// version, or a damaged one, is an error that says so: it is never set aside by itself, because it
// holds what devices have deleted.
func Open(o Options) (*Fleet, error) {
	if o.Path == "" || o.Now == nil || o.Send == nil {
		return nil, errors.New("fleet: Options.Path, Send and Now are needed")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Keep == 0 {
		o.Keep = DefaultKeep
	}
	if o.PerRoom == 0 {
		o.PerRoom = DefaultPerRoom
	}
	if o.Names == nil {
		o.Names = func() []string { return nil }
	}
	f := &Fleet{o: o, queue: make(chan op, queueSize), ended: make(chan struct{}), start: o.Now(),
		rooms: map[string]*room{}, bodies: map[string]string{}, refused: map[refusalKey]*Refusal{}, dirty: map[refusalKey]bool{}, boxes: map[boxKey]*numbers{}, waiting: map[boxKey]bool{}}
	err := f.connect()
	if err == nil {
		err = f.load()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("fleet: %s: %w", o.Path, err), f.Close())
	}
	f.names()
	return f, nil
}

// Close closes the database. Call it after Run has returned.
func (f *Fleet) Close() error {
	var errs []error
	for _, db := range []*sql.DB{f.read, f.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Receive takes one message of a device in. It returns when the message is queued, or counted as
// refused; it waits while the queue is full. payload belongs to the fleet from now on.
func (f *Fleet) Receive(device string, kind report.Kind, payload []byte, will bool) {
	p, why, err := parse(device, kind, payload)
	if err != nil {
		f.Refuse(device, why, string(kind)+": "+err.Error())
		return
	}
	p.device, p.kind, p.will, p.raw, p.at = device, kind, will, payload, f.o.Now()
	select {
	case f.queue <- p:
	case <-f.ended:
	}
}

// Reasons for refusing a message; the broker has others.
const (
	WhyMalformed = "malformed"
	WhyForeign   = "foreign"   // it speaks for another device
	WhyNewer     = "newer"     // of a version this program does not know
	WhyNumber    = "number"    // a number or an outbox that cannot be
	WhyOversized = "oversized" // larger than report.MaxSize
)

func parse(device string, kind report.Kind, b []byte) (p op, why string, err error) {
	said := ""
	switch kind {
	case report.KindState:
		var m report.State
		m, err = report.ParseState(b)
		p.state, said = &m, m.Device
	case report.KindHealth:
		var m report.Health
		m, err = report.ParseHealth(b)
		said = m.Device
	case report.KindCompliance:
		var m report.Compliance
		m, err = report.ParseCompliance(b)
		p.comp, said = &m, m.Device
	case report.KindSession, report.KindAlarm:
		var m report.Numbered
		m, err = report.ParseNumbered(b)
		p.num, said = &m, m.Device
		if err == nil && (m.Type == report.AlarmRaised || m.Type == report.AlarmCleared) {
			var a report.Alarm
			a, err = m.Alarm()
			p.alarm = &a
		}
	default:
		return p, WhyMalformed, fmt.Errorf("no report is of kind %q", kind)
	}
	switch {
	case errors.Is(err, report.ErrVersion):
		return p, WhyNewer, err
	case errors.Is(err, report.ErrSize):
		return p, WhyOversized, err
	case err != nil:
		return p, WhyMalformed, err
	case said != device:
		return p, WhyForeign, fmt.Errorf("speaks for %q", said)
	}
	return p, "", nil
}

// Run writes what comes in until ctx ends, and then what is queued. It returns nil, or why the last
// write failed. Call it once.
func (f *Fleet) Run(ctx context.Context) error {
	defer close(f.ended)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	k := &keeper{f: f}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case first := <-f.queue:
			f.persist(ctx, f.gather(first))
		case <-tick.C:
			f.tick(ctx, k)
		}
	}
	var last []op
	for {
		select {
		case p := <-f.queue:
			last = append(last, p)
			continue
		default:
		}
		break
	}
	if err := f.commit(context.WithoutCancel(ctx), last, true); err != nil {
		return fmt.Errorf("fleet: last write: %w", err)
	}
	return nil
}

// gather collects what else arrives within BatchWait.
func (f *Fleet) gather(first op) []op {
	batch := append(make([]op, 0, 16), first)
	full := time.NewTimer(BatchWait)
	defer full.Stop()
	for len(batch) < BatchSize {
		select {
		case p := <-f.queue:
			batch = append(batch, p)
		case <-full.C:
			return batch
		}
	}
	return batch
}

// persist commits until it succeeds or ctx ends.
func (f *Fleet) persist(ctx context.Context, batch []op) {
	for {
		err := f.commit(context.WithoutCancel(ctx), batch, false) // what is begun is ended
		if err == nil || ctx.Err() != nil {
			f.setTrouble(nil)
			return
		}
		f.setTrouble(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryAfter):
		}
	}
}

func (f *Fleet) setTrouble(err error) {
	said := ""
	if err != nil {
		said = err.Error()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if said != "" && f.trouble != said {
		f.o.Log.Error("fleet: the database cannot be written; trying again", "err", said)
	}
	f.trouble = said
}

// Trouble says why the database cannot be written now, "" if it can.
func (f *Fleet) Trouble() string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.trouble
}

// acknowledge tells a device what is stored.
func (f *Fleet) acknowledge(k boxKey, upto int64) {
	b, err := report.Marshal(report.Ack{Outbox: k.outbox, UpTo: upto})
	if err == nil {
		err = f.o.Send(k.device, report.KindAck, b)
	}
	if err != nil {
		f.o.Log.Warn("fleet: acknowledgement not sent; the device will send again", "device", k.device, "err", err)
	}
}

func must(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: fleet: " + err.Error()) // of what was parsed from JSON
	}
	return string(b)
}
