package fleet

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"minglu/agent/report"
)

// batch is one transaction being made. What is to happen in memory waits in after until it is committed.
type batch struct {
	f     *Fleet
	tx    *sql.Tx
	boxes map[boxKey]*numbers // copies, changed
	acks  map[boxKey]bool
	after []func() // with the fleet's lock held
	stmts map[string]*sql.Stmt
	runs  map[string]run // of devices whose State is in this batch
}

// commit writes ops in one transaction, then shows them and acknowledges. On an error nothing is
// changed. all writes what is kept for the next full write too.
func (f *Fleet) commit(ctx context.Context, ops []op, all bool) error {
	tx, err := f.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	b := newBatch(f, tx)
	for _, p := range ops {
		if err := b.do(ctx, p); err != nil {
			return errors.Join(fmt.Errorf("%s %s: %w", p.device, p.kind, err), tx.Rollback())
		}
	}
	return b.commit(ctx, all)
}

func newBatch(f *Fleet, tx *sql.Tx) *batch {
	return &batch{f: f, tx: tx, boxes: map[boxKey]*numbers{}, acks: map[boxKey]bool{}, stmts: map[string]*sql.Stmt{}, runs: map[string]run{}}
}

// commit ends the transaction, shows what it did and acknowledges it.
func (b *batch) commit(ctx context.Context, all bool) error {
	f := b.f
	if err := b.finish(ctx, all); err != nil {
		return errors.Join(err, b.tx.Rollback())
	}
	if err := b.tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	for k, o := range b.boxes {
		f.boxes[k] = o
		delete(f.waiting, k)
		if o.waiting() {
			f.waiting[k] = true
		}
	}
	f.mu.Lock()
	for _, do := range b.after {
		do()
	}
	f.commits++
	f.acks += int64(len(b.acks))
	f.mu.Unlock()
	for k := range b.acks {
		f.acknowledge(k, f.boxes[k].upto())
	}
	return nil
}

// exec runs a statement, prepared once in a transaction.
func (b *batch) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s := b.stmts[query]
	if s == nil {
		var err error
		if s, err = b.tx.PrepareContext(ctx, query); err != nil {
			return nil, err
		}
		b.stmts[query] = s // closed with the transaction
	}
	return s.ExecContext(ctx, args...)
}

func (b *batch) do(ctx context.Context, p op) error {
	r := func() *room { // in after only
		r := b.f.room(p.device)
		if r.heard.Before(p.at) {
			r.heard, r.heardWall, r.dirty = p.at, p.at.Round(0), true
		}
		return r
	}
	switch {
	case p.state != nil:
		return b.state(ctx, p, r)
	case p.comp != nil:
		b.after = append(b.after, func() {
			r := r()
			r.judge(p.comp)
			b.f.touch(r)
		})
		_, err := b.exec(ctx, `INSERT INTO room (device, heard, compliance) VALUES (?, ?, ?)
			ON CONFLICT (device) DO UPDATE SET heard = excluded.heard, compliance = excluded.compliance`, p.device, p.at.UnixMilli(), string(p.raw))
		return err
	case p.num != nil:
		return b.numbered(ctx, p, r)
	default:
		b.after = append(b.after, func() { r().health = p.raw })
		return nil
	}
}

func (b *batch) state(ctx context.Context, p op, r func() *room) error {
	if p.state.Online {
		if _, err := b.exec(ctx, `INSERT INTO room (device, heard, state, online) VALUES (?, ?, ?, 1)
			ON CONFLICT (device) DO UPDATE SET heard = excluded.heard, state = excluded.state, online = 1`, p.device, p.at.UnixMilli(), string(p.raw)); err != nil {
			return err
		}
		if err := b.overtaken(ctx, p); err != nil {
			return err
		}
	}
	b.after = append(b.after, func() {
		one := r
		if p.will { // the broker speaks, not the device
			one = func() *room { return b.f.room(p.device) }
		}
		room := one()
		if room.take(p.state, p.will) {
			room.silent = room.isSilent(b.f.o.Now())
			b.f.touch(room)
		}
	})
	return nil
}

// overtaken closes alarms that an earlier run of the agent raised and that no longer hold: that run
// cannot clear them any more.
func (b *batch) overtaken(ctx context.Context, p op) error {
	b.f.mu.RLock()
	var over []alarmKey
	now, known := b.runs[p.device]
	if r := b.f.rooms[p.device]; r != nil && !known {
		now = run{r.state.Run, r.begun, r.state.Faults}
	}
	if r := b.f.rooms[p.device]; r != nil && now.id != p.state.Run {
		now.begun = p.state.T
		for k, a := range r.alarms {
			if !holds(p.state.Faults, k) && a.Since.Before(p.state.T) {
				over = append(over, k)
			}
		}
	}
	b.f.mu.RUnlock()
	b.runs[p.device] = run{p.state.Run, now.begun, p.state.Faults}
	for _, k := range over {
		if err := b.clear(ctx, p.device, k, p.state.T); err != nil {
			return err
		}
	}
	return nil
}

// run is what a device's newest State says of alarms.
type run struct {
	id     string
	begun  time.Time
	faults []report.ActiveFault
}

func holds(faults []report.ActiveFault, k alarmKey) bool {
	return slices.ContainsFunc(faults, func(x report.ActiveFault) bool { return x.Code == k.code && x.Ch == k.ch })
}

// late reports whether an alarm was raised by an earlier run and does not hold any more.
func (b *batch) late(device string, k alarmKey, since time.Time) bool {
	now, known := b.runs[device]
	if !known {
		b.f.mu.RLock()
		defer b.f.mu.RUnlock()
		if r := b.f.rooms[device]; r != nil {
			now = run{r.state.Run, r.begun, r.state.Faults}
		}
	}
	return since.Before(now.begun) && !holds(now.faults, k)
}

func (b *batch) box(ctx context.Context, k boxKey) (*numbers, error) {
	if o := b.boxes[k]; o != nil {
		return o, nil
	}
	o, err := b.f.box(ctx, b.tx, k)
	if err != nil {
		return nil, err
	}
	c := &numbers{o.top, slices.Clone(o.holes), o.applied}
	b.boxes[k] = c
	return c, nil
}

func (b *batch) numbered(ctx context.Context, p op, r func() *room) error {
	k := boxKey{p.device, p.num.Outbox}
	o, err := b.box(ctx, k)
	if err != nil {
		return err
	}
	if o.top == 0 {
		var n int
		if err := b.tx.QueryRowContext(ctx, "SELECT count(*) FROM outbox WHERE device = ?", p.device).Scan(&n); err != nil {
			return err
		}
		if n >= maxOutboxes {
			delete(b.boxes, k)
			b.after = append(b.after, func() { b.f.refuse(p.device, WhyNumber, "too many outboxes") })
			return nil
		}
	}
	before := o.missing()
	switch o.add(p.num.N, p.at) {
	case refused:
		if o.top == 0 {
			delete(b.boxes, k)
		}
		b.after = append(b.after, func() { b.f.refuse(p.device, WhyNumber, fmt.Sprintf("number %d of outbox %s", p.num.N, k.outbox)) })
		return nil
	case again:
		b.acks[k] = true
		b.after = append(b.after, func() { r() })
		return nil
	}
	b.acks[k] = true
	if _, err := b.exec(ctx, "INSERT INTO event (device, outbox, n, t, received, type, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
		p.device, k.outbox, p.num.N, p.num.T.UTC().Format(time.RFC3339Nano), p.at.UnixMilli(), p.num.Type, string(p.num.Body)); err != nil {
		return err
	}
	if err := b.catalogue(ctx, p.device, b.roomName(p.device), p.num); err != nil {
		return err
	}
	delta := o.missing() - before
	b.after = append(b.after, func() {
		r := r()
		r.events++
		r.missing += delta
		b.f.touch(r)
	})
	if delta != 0 {
		if err := b.saveHoles(ctx, k, o); err != nil {
			return err
		}
	}
	if err := b.advance(ctx, k, o, &p); err != nil {
		return err
	}
	return b.saveBox(ctx, k, o, p.at)
}

// roomName is what people call the room of a device now.
func (b *batch) roomName(device string) string {
	b.f.mu.RLock()
	defer b.f.mu.RUnlock()
	if r := b.f.rooms[device]; r != nil {
		return cmp.Or(r.state.Room, device)
	}
	return device
}

func (b *batch) saveBox(ctx context.Context, k boxKey, o *numbers, at time.Time) error {
	_, err := b.exec(ctx, `INSERT INTO outbox (device, outbox, top, applied, used) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (device, outbox) DO UPDATE SET top = excluded.top, applied = excluded.applied, used = excluded.used`, k.device, k.outbox, o.top, o.applied, at.UnixMilli())
	return err
}

func (b *batch) saveHoles(ctx context.Context, k boxKey, o *numbers) error {
	if _, err := b.exec(ctx, "DELETE FROM hole WHERE device = ? AND outbox = ?", k.device, k.outbox); err != nil {
		return err
	}
	for _, h := range o.holes {
		if _, err := b.exec(ctx, "INSERT INTO hole (device, outbox, lo, hi, since, lost) VALUES (?, ?, ?, ?, ?, ?)",
			k.device, k.outbox, h.lo, h.hi, h.since.UnixMilli(), h.lost); err != nil {
			return err
		}
	}
	return nil
}

// advance lets the events up to upto take effect, in order. p is the one just stored, or nil.
func (b *batch) advance(ctx context.Context, k boxKey, o *numbers, p *op) error {
	upto := o.upto()
	if upto <= o.applied {
		return nil
	}
	if p != nil && upto == o.applied+1 && p.num.N == upto {
		o.applied = upto
		return b.apply(ctx, k.device, p.num, p.alarm)
	}
	rows, err := b.tx.QueryContext(ctx, "SELECT n, t, type, body FROM event WHERE device = ? AND outbox = ? AND n > ? AND n <= ? AND type IN (?, ?) ORDER BY n",
		k.device, k.outbox, o.applied, upto, report.AlarmRaised, report.AlarmCleared)
	if err != nil {
		return err
	}
	var due []report.Numbered
	for rows.Next() {
		m := report.Numbered{V: report.Version, Device: k.device, Outbox: k.outbox}
		var t, body string
		if err := rows.Scan(&m.N, &t, &m.Type, &body); err != nil {
			return errors.Join(err, rows.Close())
		}
		m.T, _ = time.Parse(time.RFC3339Nano, t) // as we wrote it
		m.Body = []byte(body)
		due = append(due, m)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, m := range due {
		a, err := m.Alarm()
		if err != nil {
			continue // was checked when it came
		}
		if err := b.apply(ctx, k.device, &m, &a); err != nil {
			return err
		}
	}
	o.applied = upto
	return nil
}

// apply is the effect of one event beyond being on record.
func (b *batch) apply(ctx context.Context, device string, m *report.Numbered, a *report.Alarm) error {
	if a == nil {
		return nil
	}
	k := alarmKey{a.Code, a.Ch}
	if m.Type == report.AlarmCleared {
		return b.clear(ctx, device, k, m.T)
	}
	alarm := *a
	if alarm.Since.IsZero() {
		alarm.Since = m.T
	}
	if b.late(device, k, alarm.Since) {
		_, err := b.exec(ctx, "INSERT INTO alarm (device, code, ch, t, cleared, body) VALUES (?, ?, ?, ?, ?, ?)",
			device, a.Code, a.Ch, alarm.Since.UTC().Format(time.RFC3339Nano), m.T.UTC().Format(time.RFC3339Nano), must(alarm))
		return err
	}
	_, err := b.exec(ctx, `INSERT INTO alarm (device, code, ch, t, body) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (device, code, ch) WHERE cleared = '' DO UPDATE SET body = excluded.body`,
		device, a.Code, a.Ch, alarm.Since.UTC().Format(time.RFC3339Nano), must(alarm))
	b.after = append(b.after, func() {
		r := b.f.room(device)
		r.alarms[k] = alarm
		b.f.touch(r)
	})
	return err
}

func (b *batch) clear(ctx context.Context, device string, k alarmKey, t time.Time) error {
	_, err := b.exec(ctx, "UPDATE alarm SET cleared = ? WHERE device = ? AND code = ? AND ch = ? AND cleared = ''",
		t.UTC().Format(time.RFC3339Nano), device, k.code, k.ch)
	b.after = append(b.after, func() {
		r := b.f.room(device)
		delete(r.alarms, k)
		b.f.touch(r)
	})
	return err
}

// finish writes what was refused, and with all the measurements and last-heard times.
func (b *batch) finish(ctx context.Context, all bool) error {
	b.f.mu.Lock()
	refused := make([]Refusal, 0, len(b.f.dirty))
	for k := range b.f.dirty {
		refused = append(refused, *b.f.refused[k])
	}
	type seen struct {
		name   string
		heard  time.Time
		health string
	}
	var rooms []seen
	if all {
		for _, r := range b.f.rooms {
			if r.dirty {
				rooms = append(rooms, seen{r.name, r.heardWall, string(r.health)})
			}
		}
	}
	b.f.mu.Unlock()
	for _, r := range refused {
		if _, err := b.exec(ctx, `INSERT INTO refused (device, why, n, last, detail) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (device, why) DO UPDATE SET n = excluded.n, last = excluded.last, detail = excluded.detail`,
			r.Device, r.Why, r.N, r.Last.UnixMilli(), r.Detail); err != nil {
			return err
		}
	}
	for _, r := range rooms {
		if _, err := b.exec(ctx, `INSERT INTO room (device, heard, health) VALUES (?, ?, ?)
			ON CONFLICT (device) DO UPDATE SET heard = excluded.heard, health = excluded.health`, r.name, r.heard.UnixMilli(), r.health); err != nil {
			return err
		}
	}
	b.after = append(b.after, func() {
		for _, r := range refused {
			if now := b.f.refused[refusalKey{r.Device, r.Why}]; now.N == r.N {
				delete(b.f.dirty, refusalKey{r.Device, r.Why})
			}
		}
		for _, r := range rooms {
			if now := b.f.room(r.name); now.heardWall.Equal(r.heard) {
				now.dirty = false
			}
		}
	})
	return nil
}
