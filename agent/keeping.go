package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"minglu/agent/archive"
	"minglu/agent/config"
	"minglu/agent/evidence"
	"minglu/agent/keep"
	"minglu/agent/ledger"
	"minglu/agent/record"
	"minglu/agent/store"
)

// archiveFolder of the state holds progress and receipts.
const archiveFolder = "archive"

// settleFor is how long a sealed session waits before it is handed over: its first outside proofs come meanwhile.
const settleFor = 20 * time.Second

// simSettle is the same in a simulated room, where nobody has the time.
const simSettle = 2 * time.Second

// keeping is what main remembers of it.
type keeping struct {
	facts map[string]factsOf // by session; only the keeper's and the archive's goroutine, see mu
	said  map[string]store.Kept
	fault archive.Problem // that stands
}

// factsOf are what a folder says of a session, as long as the folder is not touched.
type factsOf struct {
	stamp time.Time
	facts evidence.Facts
}

// openKeeping makes what hands over, keeps and deletes.
func (a *agent) openKeeping() error {
	a.keeping = keeping{facts: map[string]factsOf{}, said: map[string]store.Kept{}}
	state := filepath.Join(a.cfg.State, archiveFolder)
	if err := a.files.Mkdir(state); err != nil {
		return err
	}
	o := keep.Options{
		State: a.cfg.State, Earlier: a.earlierLedgers(), Ledger: ledgerEnds{a}, Sessions: a.keptSessions,
		Policy: keep.Policy{Local: a.cfg.Keep.Local.Std(), MinMonths: a.cfg.Keep.MinMonths, FreeBelow: float64(a.cfg.Keep.FreeBelow) / 100},
		Disks:  a.keepDisks, Space: a.keepSpace, InUse: a.busyWith, Alone: a.aloneWithFolders, Busy: a.recording, Now: a.sureNow, Appraisers: a.appraisers,
		Forget: a.forget, Gone: a.sessionGone, Kept: a.sessionKept, OnHold: a.onHold,
		OnFault: func(code, session string, on bool) { a.loop.Fault("keep."+code, session, on) },
		Files:   a.files, Layer: a.layer, Log: a.log,
	}
	if c := a.cfg.Archive; c != nil {
		target, err := a.archiveTarget(c)
		if err != nil {
			return &usageError{err}
		}
		ao := archive.Options{Target: target, Device: a.id.D, State: state, Jobs: a.archiveJobs, Archived: a.sessionArchived, Busy: a.recording,
			Keep: func(id string) bool { return a.keep != nil && a.keep.Gone(id) }, Late: c.Late.Std(), Rate: int64(c.Rate) * 1e6 / 8, OnStatus: a.onArchive,
			Now: func() (time.Time, int64) {
				r := a.clock.Now()
				return r.T, r.Error.Microseconds()
			},
			Info:  [][2]string{{"Source-Organization", a.cfg.Body.Name}, {"Internal-Sender-Description", a.cfg.Device.Room + " " + a.cfg.Device.Name}},
			Files: a.files, Log: a.log}
		if c.Hours != "" {
			if ao.Window, err = archive.ParseWindow(c.Hours); err != nil {
				return &usageError{err}
			}
		}
		if a.archive, err = archive.New(ao); err != nil {
			return err
		}
		o.Archive = keptArchive{a.archive}
	}
	var err error
	a.keep, err = keep.New(o)
	return err
}

func (a *agent) archiveTarget(c *config.Archive) (archive.Target, error) {
	var t *tls.Config
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("archive.ca: %w", err)
		}
		t = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("archive.ca: %s holds no PEM certificate", c.CA)
		}
	}
	if c.Folder != "" {
		apart := append([]string{a.cfg.State}, a.cfg.Storage.Disks...)
		if a.cfg.Sim() { // everything may lie on one disk there
			apart = nil
		}
		return archive.NewFolder(c.Folder, apart, a.layer), nil
	}
	if c.S3 != "" {
		return archive.NewS3(c.S3.Reveal(), c.Region, t)
	}
	return archive.NewWebDAV(c.WebDAV.Reveal(), t)
}

// runKeeping waits until the repairs of the start are over, then hands over and keeps until ctx ends.
func (a *agent) runKeeping(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.repaired:
	}
	a.restoreKept(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if a.archive != nil {
			if err := a.archive.Run(ctx); ctx.Err() == nil {
				a.log.Error("archive", "err", err)
			}
		}
	}()
	err := a.keep.Run(ctx)
	<-done
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// sureNow is the time, and whether it can be believed enough to delete by. A simulated room has no time source.
func (a *agent) sureNow() (time.Time, bool) {
	r := a.clock.Now()
	return r.T, !r.BeforeFloor && (a.cfg.Sim() || r.Error >= 0 && r.Error < time.Hour)
}

func (a *agent) appraisers() []*x509.Certificate {
	return append(slices.Clone(a.trust().Appraisers), a.identity().Cert)
}

// earlierLedgers are the master logs of the generations before this one.
func (a *agent) earlierLedgers() []string {
	all, _ := filepath.Glob(filepath.Join(a.cfg.State, "ledger", "*", "log.jsonl"))
	return slices.DeleteFunc(all, func(name string) bool { return filepath.Base(filepath.Dir(name)) == a.ledger.Generation() })
}

// ledgerEnds is the ledger as the keeper needs it.
type ledgerEnds struct{ a *agent }

func (l ledgerEnds) BytesFrom(off int64) ([]byte, error) { return l.a.ledger.BytesFrom(off) }

func (l ledgerEnds) Archived(session, receipt string) error {
	return l.append(evidence.Archived{Session: session, SHA256: receipt})
}

func (l ledgerEnds) Destroying(session, appraisal string) error {
	return l.append(evidence.Destroy{Common: evidence.Common{Type: keep.Destroying}, Session: session, Appraisal: appraisal})
}

func (l ledgerEnds) Destroyed(session, appraisal string) error {
	return l.append(evidence.Destroy{Common: evidence.Common{Type: keep.Destroyed}, Session: session, Appraisal: appraisal})
}

func (l ledgerEnds) append(v any) error {
	return l.a.ledgerLine(func(x *ledger.Ledger) error { _, err := x.Append(v); return err })
}

// aloneWithFolders calls do while nothing is copied or repaired.
func (a *agent) aloneWithFolders(do func() error) (err error) {
	if !a.repairing.TryLock() {
		return keep.ErrLater
	}
	defer a.repairing.Unlock()
	if !a.mirror.Without(func() { err = do() }) {
		return keep.ErrLater
	}
	return err
}

// keptArchive is the archive as the keeper needs it.
type keptArchive struct{ a *archive.Archive }

func askAgain(err error) error {
	if errors.Is(err, archive.ErrBusy) {
		return fmt.Errorf("%w: %w", keep.ErrLater, err)
	}
	return err
}

func (k keptArchive) Proves(ctx context.Context, session string, copies []fs.FS) (string, error) {
	sum, err := k.a.Proves(ctx, session, copies)
	return sum, askAgain(err)
}

func (k keptArchive) Remove(ctx context.Context, session string) error {
	return askAgain(k.a.Remove(ctx, session))
}

func (a *agent) keepDisks() (disks []keep.Disk) {
	for _, d := range a.recorder.Disks() {
		if d.ID != "" && (d.OK || d.Cause == "full") {
			disks = append(disks, keep.Disk{ID: d.ID, Dir: d.Disk})
		}
	}
	return disks
}

func (a *agent) keepSpace() (space []keep.Space) {
	for _, d := range a.keepDisks() {
		free, total, err := a.layer.Space(d.Dir)
		if err == nil {
			space = append(space, keep.Space{ID: d.ID, Free: max(0, free-record.DefaultFloor), Total: total})
		}
	}
	return space
}

// rows are the sealed sessions of this device that are not gone, oldest first.
func (a *agent) rows(ctx context.Context) (rows []store.Session, err error) {
	f := store.Filter{Here: true}
	for {
		some, err := a.store.List(ctx, f, store.MaxLimit, 0)
		if err != nil {
			return nil, err
		}
		for _, r := range some {
			if (r.State == store.Sealed || r.State == store.Recovered) && (r.Device.ID == "" || r.Device.ID == a.id.D) {
				rows = append(rows, r)
			}
		}
		if len(some) < store.MaxLimit {
			slices.Reverse(rows)
			return rows, nil
		}
		f.Before = some[len(some)-1].ID
	}
}

// copiesOf are the folders of a session on the disks that can be written.
func (a *agent) copiesOf(id string) (ids, dirs []string) {
	for _, d := range a.keepDisks() {
		dir := filepath.Join(d.Dir, "sessions", id)
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			ids, dirs = append(ids, d.ID), append(dirs, dir)
		}
	}
	return ids, dirs
}

// keptSessions gathers the facts of all sessions for the keeper.
func (a *agent) keptSessions(ctx context.Context) (list []keep.Session, err error) {
	rows, err := a.rows(ctx)
	if err != nil {
		return nil, err
	}
	list = a.cameBack(ctx)
	all := len(a.keepDisks()) == len(a.cfg.Storage.Disks)
	for _, r := range rows {
		ids, dirs := a.copiesOf(r.ID)
		if len(ids) == 0 && !all {
			continue // on a disk that is away
		}
		f := a.factsOf(r, dirs)
		s := keep.Session{ID: r.ID, Case: f.Case, Closed: r.Closed, Bytes: r.Bytes, Disks: ids}
		if m, ok := a.lists.MatterVersion(f.MatterID, f.MatterVersion); ok {
			s.Retention = m.Retention
		}
		if c, ok := a.lists.Case(f.Case); ok && f.Case != "" {
			s.CaseUntil = c.KeepUntil
		}
		list = append(list, s)
	}
	return list, nil
}

// cameBack looks for folders of sessions that are gone: an old disk is here. Of destroyed ones it tells; others are
// entered again.
func (a *agent) cameBack(ctx context.Context) (destroyed []keep.Session) {
	seen := map[string]bool{}
	for _, d := range a.keepDisks() {
		entries, err := os.ReadDir(filepath.Join(d.Dir, "sessions"))
		if err != nil {
			continue // the recorder tells
		}
		for _, e := range entries {
			id := e.Name()
			if seen[id] || !sessionID.MatchString(id) {
				continue
			}
			seen[id] = true
			end := a.keep.End(id)
			if end == (keep.End{}) {
				continue
			}
			if end.Kind == keep.Archived {
				if row, err := a.store.Get(ctx, id); err == nil && row.Kept.Gone == store.GoneArchive {
					a.change(ctx, id, func(k *store.Kept) { k.Gone, k.GoneAt = "", 0 })
				}
				continue
			}
			if row, err := a.store.Get(ctx, id); err != nil || row.Kept.Gone == store.Destroyed {
				ids, _ := a.copiesOf(id)
				destroyed = append(destroyed, keep.Session{ID: id, Disks: ids})
			}
		}
	}
	return destroyed
}

// factsOf reads manifest and amendments of a session, again when its folder was touched.
func (a *agent) factsOf(r store.Session, dirs []string) evidence.Facts {
	if len(dirs) == 0 {
		dirs = []string{""}
	}
	st, err := os.Stat(dirs[0])
	a.mu.Lock()
	have, ok := a.keeping.facts[r.ID]
	a.mu.Unlock()
	if ok && (err != nil || have.stamp.Equal(st.ModTime())) {
		return have.facts
	}
	f := evidence.Facts{Case: r.Case, Matter: r.Matter}
	if err == nil {
		if m, g, ferr := evidence.ReadFacts(os.DirFS(dirs[0])); ferr == nil && m != nil {
			f = g
		}
	} else if b, rerr := readAtMost(filepath.Join(a.cfg.State, "keep", "manifests", r.ID+".json"), evidence.MaxJSON); rerr == nil {
		if m, merr := evidence.ParseManifest(b); merr == nil {
			f = evidence.FactsOf(m, nil)
		}
	}
	have = factsOf{facts: f}
	if err == nil {
		have.stamp = st.ModTime()
	}
	a.mu.Lock()
	a.keeping.facts[r.ID] = have
	a.mu.Unlock()
	return f
}

// archiveJobs lists the sessions with a copy here.
func (a *agent) archiveJobs(ctx context.Context) (jobs []archive.Job, err error) {
	rows, err := a.rows(ctx)
	if err != nil {
		return nil, err
	}
	now := a.clock.Now().T
	for _, r := range rows {
		if a.inUse(r.ID) || now.Sub(r.Closed) < a.settle() && now.After(r.Closed) {
			continue
		}
		_, dirs := a.copiesOf(r.ID)
		if len(dirs) == 0 {
			continue
		}
		j := archive.Job{Session: r.ID, Since: r.Closed}
		for _, d := range dirs {
			j.Copies = append(j.Copies, os.DirFS(d))
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}
