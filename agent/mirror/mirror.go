// Package mirror completes the copies of sealed sessions: a disk that failed or was away while a
// session was recorded gets what it lacks from the best other copy.
//
// What it guarantees: a source is a copy whose manifest.json is signed by the certificate beside it, and
// each byte it copies has the SHA-256 that this manifest names. Each file is written under DISK/tmp,
// synced, read back, and only then renamed to its place, media first, then logs, manifest.json, and the
// signature last, so that a cut after any step leaves a copy that is whole or that the next pass goes on
// with. A copy whose log is no byte prefix of the good one (but for a torn tail without a signature) is
// reported and never touched. Nothing is ever deleted but temporary files of its own; a file that holds
// other bytes than the good one is kept in DISK/tmp/superseded-SESSION.
//
// It does not judge (package evidence does), does not seal (record/recovery does), and leaves alone what
// is in use, what is of another device, and a folder in which the disk it knows is not mounted.
//
// A pass lists all sessions, which is cheap where nothing changed since they were found complete; then
// copies what lacks; then, once in the life of the process, reads each complete copy and holds it
// against its digests. It reads and writes at most at Options.Rate, and stops between two chunks when
// Options.Busy says that a disk is needed.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"minglu/agent/durable"
)

// What [New] uses where Options leaves a field zero.
const (
	DefaultRate  = 16 << 20 // bytes a second
	DefaultEvery = 10 * time.Minute
	DefaultSpare = 1 << 30   // bytes
	DefaultFloor = 320 << 20 // bytes, above the floor of package record
)

const (
	chunkBytes = 1 << 20         // read or written at a time
	syncBytes  = 8 << 20         // written between two syncs, lest a recorder's own sync waits for all of it
	busyRetry  = time.Second     // between two looks whether the disks are needed
	stopGrace  = 3 * time.Second // a system call on a dead disk cannot be interrupted
)

// Disk is a disk that is present.
type Disk struct {
	ID       string // as in ledger/disk.json
	Dir      string
	ReadOnly bool // full or failing: only copied from
}

// Options are what a Mirror needs. All functions are called from the goroutine of a pass.
type Options struct {
	Disks  func() []Disk             // those present now
	InUse  func(session string) bool // being recorded or sealed; nil: none
	Busy   func() bool               // the disks are needed for something that may not wait; nil: never
	Before func(context.Context)     // called before each pass of Run: what must not work beside it; nil: nothing
	Device string                    // D: sessions of another device are left alone; "": of any device

	Rate  int64         // bytes read or written a second, over all
	Every time.Duration // between two passes that nobody asked for
	Spare int64         // bytes that stay free on a disk, for the next recording …
	Floor int64         // … and for a small session, less than a sixteenth of Spare

	OnProgress func(Progress) // a chunk was copied; must not block; nil: nobody
	OnReport   func(Report)   // what is known when sessions were listed, after each copy, and at the end; must not block; nil: nobody

	Layer durable.Layer // nil: the operating system
	Log   *slog.Logger  // nil: silent
}

// Progress tells how far the copying of one session to one disk is.
type Progress struct {
	Session string
	Disk    string // ID of the disk written to
	File    string
	Done    int64 // bytes of what was missing
	Total   int64
}

// Copy is one session on one disk.
type Copy struct {
	Session string
	Disk    string // ID
	Dir     string // folder of the disk
	Bytes   int64  // missing, or copied
	Why     string // in English: what lacks, or why it is left alone
	Err     error  // what stopped the copying, nil if nothing has yet
}

// Report is the state of all copies as last seen.
type Report struct {
	Sessions  int    // sealed sessions found
	Lacking   []Copy // copies that are absent or incomplete
	Foreign   []Copy // copies that tell another story, never touched
	Completed []Copy // by this pass
	Checked   int64  // bytes read and found right by this pass
	Waiting   bool   // the pass stopped because the disks are needed
	Whole     bool   // all sessions were looked at: what is not said here is not so
	Done      bool   // the pass is over
}

// Mirror completes copies. Its methods are safe for concurrent use.
type Mirror struct {
	o    Options
	kick chan struct{}

	pass  sync.Mutex        // held during a pass; guards what follows
	seen  map[string][]Copy // by stamps of sessions whose copies were read and are the same: those that are foreign
	sound map[string]string // stamps of files found right in a session whose check is not over, by disk/session/file
	next  time.Time         // before which nothing more may be read or written

	mu   sync.Mutex // guards what follows
	last Report
	now  Progress
}

// New checks the options. Nothing runs before [Mirror.Run].
func New(o Options) (*Mirror, error) {
	if o.Disks == nil {
		return nil, errors.New("mirror: options: Disks must be set")
	}
	if o.InUse == nil {
		o.InUse = func(string) bool { return false }
	}
	if o.Busy == nil {
		o.Busy = func() bool { return false }
	}
	if o.Before == nil {
		o.Before = func(context.Context) {}
	}
	if o.OnProgress == nil {
		o.OnProgress = func(Progress) {}
	}
	if o.OnReport == nil {
		o.OnReport = func(Report) {}
	}
	if o.Layer == nil {
		o.Layer = durable.OS{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		v   *int64
		def int64
	}{{&o.Rate, DefaultRate}, {&o.Spare, DefaultSpare}, {&o.Floor, DefaultFloor}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.Every == 0 {
		o.Every = DefaultEvery
	}
	return &Mirror{o: o, kick: make(chan struct{}, 1), seen: make(map[string][]Copy), sound: make(map[string]string)}, nil
}

// Kick asks for a pass soon: a disk is back, a session was sealed. Does not block.
func (m *Mirror) Kick() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// Without calls do while no pass runs, so that nothing is copied meanwhile. It does not wait: false, and do was not
// called, while one does.
func (m *Mirror) Without(do func()) bool {
	if !m.pass.TryLock() {
		return false
	}
	defer m.pass.Unlock()
	do()
	return true
}

// Report returns what is known of the copies. Does not block.
func (m *Mirror) Report() Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// Progress tells what is being copied, the zero Progress if nothing is. Does not block.
func (m *Mirror) Progress() Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

func (m *Mirror) progress(p Progress) {
	m.mu.Lock()
	m.now = p
	m.mu.Unlock()
	if p.Session != "" {
		m.o.OnProgress(p)
	}
}

// Run does one pass at once and others as they are asked for, until ctx ends; it returns the cause. It
// waits for the pass under way, but not for a disk that hangs.
func (m *Mirror) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() { defer close(done); m.loop(ctx) }()
	<-ctx.Done()
	select {
	case <-done:
		return context.Cause(ctx)
	case <-time.After(stopGrace):
		return fmt.Errorf("mirror: a disk hangs and is left behind: %w", context.Cause(ctx))
	}
}

func (m *Mirror) loop(ctx context.Context) {
	for ctx.Err() == nil {
		m.o.Before(ctx)
		r := m.Pass(ctx)
		wait, kick := m.o.Every, m.kick
		for r.Waiting && m.o.Busy() { // what lacks is known; listing everything again would tell no more
			if !sleep(ctx, busyRetry) {
				return
			}
			wait = 0
		}
		if r.Waiting {
			wait = busyRetry
		}
		select {
		case <-ctx.Done():
		case <-kick:
		case <-time.After(wait):
		}
	}
}

// sleep reports whether ctx is still going on after d.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// errBusy stops a pass: the disks are needed.
var errBusy = errors.New("the disks are needed")

// pace accounts for n bytes read or written, waits as the rate asks, and says whether to stop.
func (m *Mirror) pace(ctx context.Context, n int) error {
	if m.o.Busy() {
		return errBusy
	}
	now := time.Now()
	if m.next.Before(now) {
		m.next = now
	}
	m.next = m.next.Add(time.Duration(float64(n) / float64(m.o.Rate) * float64(time.Second)))
	if wait := m.next.Sub(now); wait > 10*time.Millisecond && !sleep(ctx, wait) {
		return context.Cause(ctx)
	}
	return context.Cause(ctx)
}
