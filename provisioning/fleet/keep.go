package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	keepEvery = time.Hour
	keepChunk = 500 // rows deleted in one go, so that writers need not wait
)

// keeper does what is due by time.
type keeper struct {
	f       *Fleet
	tick    int64
	flushed time.Time
	aged    time.Time
}

// tick is called every second, between batches.
func (f *Fleet) tick(ctx context.Context, k *keeper) {
	now := f.o.Now()
	k.tick++
	if k.tick%2 == 0 {
		f.names()
	}
	f.fallSilent(now)
	err := f.wait(ctx, now)
	f.mu.RLock()
	dirty := len(f.dirty) > 0
	f.mu.RUnlock()
	if all := now.Sub(k.flushed) >= HealthEvery; err == nil && (all || dirty) {
		if err = f.commit(ctx, nil, all); err == nil && all {
			k.flushed = now
		}
	}
	if err == nil && now.Sub(k.aged) >= keepEvery {
		var more bool
		if more, err = f.age(ctx, now); err == nil && !more {
			k.aged = now
		}
	}
	if ctx.Err() == nil {
		f.setTrouble(err)
	}
}

// fallSilent notices the rooms that were not heard of for too long.
func (f *Fleet) fallSilent(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rooms {
		if s := r.isSilent(now); s != r.silent {
			r.silent = s
			f.touch(r)
		}
	}
}

// wait gives up on numbers that were waited for long enough, and acknowledges what comes after them.
func (f *Fleet) wait(ctx context.Context, now time.Time) error {
	for k := range f.waiting {
		o, err := f.box(ctx, f.read, k)
		if err != nil {
			return fmt.Errorf("outbox: %w", err)
		}
		if !o.waiting() { // deleted for its age
			delete(f.waiting, k)
			continue
		}
		if c := (&numbers{o.top, append([]hole(nil), o.holes...), o.applied}); !c.giveUp(now) {
			continue
		}
		if err := f.giveUp(ctx, k, now); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fleet) giveUp(ctx context.Context, k boxKey, now time.Time) error {
	tx, err := f.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	b := newBatch(f, tx)
	if err := b.giveUp(ctx, k, now); err != nil {
		return errors.Join(fmt.Errorf("%s: numbers: %w", k.device, err), tx.Rollback())
	}
	return b.commit(ctx, false)
}

func (b *batch) giveUp(ctx context.Context, k boxKey, now time.Time) error {
	o, err := b.box(ctx, k)
	if err != nil {
		return err
	}
	o.giveUp(now)
	b.acks[k] = true
	b.f.o.Log.Warn("fleet: numbers are missing and no longer waited for", "device", k.device, "outbox", k.outbox, "missing", o.missing())
	b.after = append(b.after, func() { b.f.touch(b.f.room(k.device)) })
	if err := b.saveHoles(ctx, k, o); err != nil {
		return err
	}
	if err := b.advance(ctx, k, o, nil); err != nil {
		return err
	}
	return b.saveBox(ctx, k, o, now)
}

// age deletes a chunk of what is older than it is kept, and of what one room has too much of.
func (f *Fleet) age(ctx context.Context, now time.Time) (more bool, err error) {
	old := now.Add(-f.o.Keep).UnixMilli()
	res, err := f.write.ExecContext(ctx, "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE received < ? ORDER BY received LIMIT ?)", old, keepChunk)
	if err != nil {
		return false, fmt.Errorf("old events: %w", err)
	}
	n, _ := res.RowsAffected()
	more = n == keepChunk
	oldText := now.Add(-f.o.Keep).UTC().Format(time.RFC3339Nano)
	if _, err := f.write.ExecContext(ctx, "DELETE FROM alarm WHERE cleared <> '' AND cleared < ?", oldText); err != nil {
		return false, fmt.Errorf("old alarms: %w", err)
	}
	if _, err := f.write.ExecContext(ctx, "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE opened < ? ORDER BY opened LIMIT ?)", now.Add(-SessionsFor).UnixMilli(), keepChunk); err != nil {
		return false, fmt.Errorf("old sessions: %w", err)
	}
	if _, err := f.write.ExecContext(ctx, "DELETE FROM unrecorded WHERE t < ?", now.Add(-SessionsFor).UnixMilli()); err != nil {
		return false, fmt.Errorf("old reasons: %w", err)
	}
	if _, err := f.write.ExecContext(ctx, "DELETE FROM look WHERE t < ?", now.Add(-SessionsFor).UnixMilli()); err != nil {
		return false, fmt.Errorf("old looks: %w", err)
	}
	// An outbox nobody used for so long is gone; its holes go with it.
	if _, err := f.write.ExecContext(ctx, "DELETE FROM hole WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.device = hole.device AND o.outbox = hole.outbox AND o.used < ?)", old); err != nil {
		return false, fmt.Errorf("old holes: %w", err)
	}
	if res, err = f.write.ExecContext(ctx, "DELETE FROM outbox WHERE used < ?", old); err != nil {
		return false, fmt.Errorf("old outboxes: %w", err)
	}
	if gone, _ := res.RowsAffected(); gone > 0 {
		clear(f.boxes) // read anew when used
	}
	f.mu.RLock()
	much := map[string]int64{}
	for _, r := range f.rooms {
		if over := r.events - int64(f.o.PerRoom); over > 0 {
			much[r.name] = min(over, keepChunk)
			more = more || over > keepChunk
		}
	}
	f.mu.RUnlock()
	for name, over := range much {
		if _, err := f.write.ExecContext(ctx, "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE device = ? ORDER BY id LIMIT ?)", name, over); err != nil {
			return false, fmt.Errorf("events of %q: %w", name, err)
		}
	}
	if n > 0 || len(much) > 0 {
		return more, f.recount()
	}
	return more, nil
}

// recount counts the events of each room anew, from the index.
func (f *Fleet) recount() error {
	count := map[string]int64{}
	if err := each(f.read, "SELECT device, count(*) FROM event GROUP BY device", func(s scanner) error {
		var name string
		var n int64
		err := s.Scan(&name, &n)
		count[name] = n
		return err
	}); err != nil {
		return fmt.Errorf("count: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rooms {
		r.events = count[r.name]
	}
	return nil
}
