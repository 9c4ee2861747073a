package main

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"minglu/agent/report"
	"minglu/agent/room"
	"minglu/drivers"
)

// tickEvery is how often time alone is looked at: a held button must end a session on the spot.
const tickEvery = 100 * time.Millisecond

// roomLoop owns the room's state: it feeds events to room.Step one at a time and hands the actions on.
type roomLoop struct {
	rules   room.Rules
	uptime  func() time.Duration
	do      func(room.Action) // carries out one action; must not block on a device or a disk
	events  chan request
	faulted func(f room.Fault, on bool, since time.Time) // told of each fault that began or ended; must not block
	moved   func()                                       // told of each change of phase or session; must not block
	log     *slog.Logger
	last    time.Duration // uptime of the last step; only Run's goroutine
	decided atomic.Int64  // the same, for who watches over the agent

	mu    sync.Mutex // guards what follows, for readers
	state room.State
	since map[room.Fault]time.Time // of the standing faults, Impairs cleared
}

// request is an event with somebody who may wait for the answer.
type request struct {
	event  room.Event
	up     time.Duration        // uptime at which it happened; 0: now
	answer chan<- []room.Action // buffered; nil: nobody waits
}

func newRoomLoop(rules room.Rules, uptime func() time.Duration, log *slog.Logger) *roomLoop {
	return &roomLoop{rules: rules, uptime: uptime, events: make(chan request, 256), log: log, since: map[room.Fault]time.Time{}, faulted: func(room.Fault, bool, time.Time) {}, moved: func() {}}
}

// Run feeds events until ctx ends. Events sent later are dropped.
func (l *roomLoop) Run(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		var r request
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case r = <-l.events:
		case <-tick.C:
			r = request{event: room.Tick{}}
		}
		l.step(r)
	}
}

func (l *roomLoop) step(r request) {
	now := l.uptime()
	if r.up > 0 { // never before what has already been decided
		now = min(now, max(r.up, l.last))
	}
	l.last = now
	l.decided.Store(int64(now))
	before := l.State()
	next, actions := room.Step(l.rules, before, r.event, now)
	l.mu.Lock()
	l.state = next
	began, ended := l.noteFaults()
	l.mu.Unlock()
	if next.Phase != before.Phase || next.Session != before.Session || next.Failing != before.Failing {
		l.moved()
	}
	for f, since := range began {
		l.faulted(f, true, since)
	}
	for f, since := range ended {
		l.faulted(f, false, since)
	}
	for _, a := range actions {
		l.do(a)
	}
	if r.answer != nil {
		r.answer <- actions
	}
}

// noteFaults remembers since when each standing fault stands, and tells what changed. mu is held.
func (l *roomLoop) noteFaults() (began, ended map[room.Fault]time.Time) {
	began, ended = map[room.Fault]time.Time{}, l.since
	standing := make(map[room.Fault]time.Time, len(l.state.Faults))
	for _, f := range l.state.Faults {
		f.Impairs = false
		t, ok := l.since[f]
		if !ok {
			t = time.Now().UTC()
			began[f] = t
		}
		standing[f] = t
	}
	maps.DeleteFunc(ended, func(f room.Fault, _ time.Time) bool { _, stands := standing[f]; return stands })
	l.since = standing
	return began, ended
}

// State returns the room as it is now.
func (l *roomLoop) State() room.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Faults returns the standing faults with the time each began.
func (l *roomLoop) Faults() map[room.Fault]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := make(map[room.Fault]time.Time, len(l.since))
	for f, t := range l.since {
		m[f] = t
	}
	return m
}

// Send puts an event into the queue; it never blocks. A queue that is full means a loop that hangs:
// the event is dropped and logged.
func (l *roomLoop) Send(e room.Event) {
	select {
	case l.events <- request{event: e}:
	default:
		l.log.Error("room: event dropped, the queue is full", "event", e)
	}
}

// Input turns a change of an input into an event of the time it happened.
func (l *roomLoop) Input(e drivers.InputEvent) {
	r := request{up: e.Up}
	switch e.Kind {
	case drivers.Button:
		r.event = room.Button{Down: e.On}
	case drivers.Door:
		r.event = room.Door{Open: e.On}
	case drivers.Presence:
		r.event = room.Presence{On: e.On}
	default:
		return
	}
	select {
	case l.events <- r:
	default:
		l.log.Error("room: input dropped, the queue is full", "input", e.Kind)
	}
}

// Ask sends an event and waits for the actions that answer it.
func (l *roomLoop) Ask(ctx context.Context, e room.Event) ([]room.Action, error) {
	answer := make(chan []room.Action, 1)
	select {
	case l.events <- request{event: e, answer: answer}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Fault raises or clears a fault of the catalogue.
func (l *roomLoop) Fault(code, ch string, on bool) {
	if !on {
		l.Send(room.Clear{Code: code, Ch: ch})
		return
	}
	l.Send(room.Raise{Fault: room.Fault{Code: code, Ch: ch, Impairs: report.Find(code).Severity != report.Warning}})
}

// latest puts v into a channel of capacity 1 in place of what nobody has taken yet.
func latest[T any](c chan T, v T) {
	for {
		select {
		case c <- v:
			return
		default:
		}
		select {
		case <-c:
		default:
		}
	}
}
