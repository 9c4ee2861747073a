package main

import (
	"context"
	"path/filepath"
	"time"

	"minglu/agent/archive"
	"minglu/agent/health"
	"minglu/agent/keep"
	"minglu/agent/report"
	"minglu/agent/store"
)

// sessionArchived enters a receipt in the ledger, once.
func (a *agent) sessionArchived(ctx context.Context, r archive.Receipt, sum string) error {
	if err := a.keep.Follow(); err != nil {
		return err
	}
	if a.keep.End(r.Session).Receipt == sum {
		return nil
	}
	if err := (ledgerEnds{a}).Archived(r.Session, sum); err != nil {
		return err
	}
	a.log.Info("archived", "session", r.Session, "where", r.Where, "receipt", sum)
	a.change(ctx, r.Session, func(k *store.Kept) {
		k.Archive = store.Archived{Where: r.Where, At: time.UnixMicro(r.T).UTC(), Receipt: sum}
	})
	a.tell(report.SessionArchived, report.SessionEvent{Session: r.Session, Where: r.Where, Receipt: sum, Until: a.keptOf(r.Session).Until})
	a.keep.Kick()
	return a.keep.Follow()
}

func (a *agent) settle() time.Duration {
	if a.cfg.Sim() {
		return simSettle
	}
	return settleFor
}

// archiveSoon asks for a look once a session that was sealed now has settled.
func (a *agent) archiveSoon() {
	if a.archive != nil {
		time.AfterFunc(a.settle()+time.Second, a.archive.Kick)
	}
}

func (a *agent) keptOf(id string) store.Kept {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keeping.said[id]
}

// change keeps in the catalogue how a session is kept, if that is something else than before.
func (a *agent) change(ctx context.Context, id string, edit func(*store.Kept)) {
	a.mu.Lock()
	k, ok := a.keeping.said[id]
	a.mu.Unlock()
	if !ok {
		if row, err := a.store.Get(ctx, id); err == nil {
			k = row.Kept
		}
	}
	was := k
	edit(&k)
	same := was.Archive == k.Archive && was.Until == k.Until && was.Gone == k.Gone && was.Appraisal == k.Appraisal && (was.Hold == nil) == (k.Hold == nil) && (was.Hold == nil || was.Hold.ID == k.Hold.ID)
	if !same {
		if err := a.store.SetKept(ctx, id, k); err != nil {
			a.log.Error("catalogue", "session", id, "err", err)
			return
		}
	}
	a.mu.Lock()
	a.keeping.said[id] = k
	a.mu.Unlock()
}

// sessionKept takes what the plan says of a session.
func (a *agent) sessionKept(ctx context.Context, s keep.Session, d keep.Decision) {
	before := "" // as the catalogue has it: a restart tells nothing anew
	hold := a.keep.HeldBy(s.ID, s.Case)
	a.change(ctx, s.ID, func(k *store.Kept) {
		before = k.Until
		k.Until, k.Hold = d.Until, nil
		if hold != nil {
			k.Hold = &store.Hold{ID: hold.ID, By: hold.By, Reason: hold.Reason, Since: hold.Since}
		}
	})
	if before != d.Until && d.Until != "" {
		a.tell(report.SessionKept, report.SessionEvent{Session: s.ID, Until: d.Until})
	}
}

// sessionGone notes that a session left this room.
func (a *agent) sessionGone(ctx context.Context, id string, e keep.End) {
	typ, gone := report.SessionMoved, store.GoneArchive
	if e.Kind == keep.Destroyed {
		typ, gone = report.SessionDestroyed, store.Destroyed
		if err := a.store.Strip(ctx, id); err != nil {
			a.log.Error("catalogue", "session", id, "err", err)
		}
	}
	told := false
	now := a.clock.Now().T
	a.change(ctx, id, func(k *store.Kept) {
		told = k.Gone == gone
		k.Gone, k.Appraisal, k.GoneAt = gone, e.Appraisal, now.UnixMicro()
	})
	a.mu.Lock()
	delete(a.keeping.facts, id)
	a.mu.Unlock()
	if !told {
		a.tell(typ, report.SessionEvent{Session: id, Receipt: e.Appraisal})
	}
}

// restoreKept enters into the catalogue what the ledger says and a cut, or a new catalogue, left out.
func (a *agent) restoreKept(ctx context.Context) {
	rows, err := a.rows(ctx)
	if err != nil {
		a.log.Error("catalogue", "err", err)
		return
	}
	for _, r := range rows {
		e := a.keep.End(r.ID)
		switch {
		case e.Kind == keep.Destroyed && r.Kept.Gone != store.Destroyed:
			a.sessionGone(ctx, r.ID, e)
		case e.Receipt != "" && r.Kept.Archive.Receipt != e.Receipt && a.archive != nil:
			if rec, sum, err := a.archive.Receipt(r.ID); err == nil && sum == e.Receipt {
				a.change(ctx, r.ID, func(k *store.Kept) {
					k.Archive = store.Archived{Where: rec.Where, At: time.UnixMicro(rec.T).UTC(), Receipt: sum}
				})
			}
		}
	}
}

// forget takes away what else the state folder has of a destroyed session.
func (a *agent) forget(id string) error {
	return a.files.Remove(filepath.Join(a.cfg.State, resultsFolder, id+".json"))
}

func (a *agent) onHold(h keep.Hold, released bool, _ []keep.Session) {
	e := report.SessionEvent{Session: h.Session, Case: h.Case, Command: h.ID, Who: h.By, Reason: h.Reason}
	typ := report.SessionHeld
	if released {
		typ, e.Who, e.Reason = report.SessionReleased, h.Released.By, h.Released.Reason
	}
	if e.Session == "" {
		e.Session = "case"
	}
	a.tell(typ, e)
}

// onArchive turns the archive's trouble into a fault, one at a time.
func (a *agent) onArchive(s archive.Status) {
	a.mu.Lock()
	was := a.keeping.fault
	a.keeping.fault = s.Problem
	a.mu.Unlock()
	if was == s.Problem {
		return
	}
	if was != "" {
		a.loop.Fault("archive."+string(was), "", false)
	}
	if s.Problem != "" {
		a.loop.Fault("archive."+string(s.Problem), "", true)
	}
}

// archiveFact is how the handing over stands.
func (a *agent) archiveFact() health.ArchiveFact {
	f := health.ArchiveFact{Configured: a.archive != nil}
	if a.keep.Decisions() != nil {
		early := a.keep.Early()
		f.Early = &early
	}
	if a.archive != nil {
		waits := time.Duration(0)
		if s := a.archive.Status(); !s.Oldest.IsZero() {
			waits = max(0, a.clock.Now().T.Sub(s.Oldest))
		}
		f.OldestFor = &waits
	}
	return f
}
