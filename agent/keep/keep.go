// Package keep decides how long sessions stay, and deletes them when they may go.
//
// Two ways lead out of a room. A session is *released* when the archive has proven that it has it: its copies here make
// room, nothing of it is lost. It is *destroyed* when its term has passed, nothing holds it, and an appraisal names it
// that two persons approved and a trusted appraiser signed: then the archive's copy goes too, and what stays are
// digests, entries, and the appraisal.
//
// What it guarantees: [Plan] is pure, and everything it asks is asked again right before the first file goes.
// Nothing is released without a receipt that names every file of every copy here, is entered in the ledger, and
// whose files the archive still holds. Nothing held is deleted. Nothing is deleted while the clock cannot be
// believed. A folder leaves sessions/ in one step, so that each copy is there whole or not at all.
//
// The order of a destruction, for a cut may come between any two, and each step may be repeated:
//  1. the appraisal (state, then each disk's ledger/appraisals)
//  2. the ledger's `destroying`
//  3. on each disk: sessions/S is renamed to tmp/gone-S; what lies there is deleted
//  4. what is kept of S in the state folder beside the ledger
//  5. the archive's copy
//  6. the ledger's `destroyed`
//
// A copy that comes back on an old disk goes the same way again. A release is step 3 alone, by way of tmp/leaving-S, in
// which the archive is asked once more; its manifest is first kept in the state folder.
//
// It does not know what a session is (package evidence does), who may hold or approve (package access does), or
// where the archive is (package archive does).
package keep

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"minglu/agent/durable"
)

// What [New] uses where Options leaves a field zero.
const (
	DefaultEvery     = 10 * time.Minute
	DefaultLocal     = 30 * 24 * time.Hour
	DefaultMinMonths = 6
	DefaultFreeBelow = 0.2
)

const busyRetry = 2 * time.Second

var sessionID = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$`)

// Disk is a disk that is present and can be written.
type Disk struct{ ID, Dir string }

// Archive is what the keeper asks of the archive.
type Archive interface {
	// Proves returns nil if a receipt that the archive still holds names every file of every copy given, and its digest.
	Proves(ctx context.Context, session string, copies []fs.FS) (receipt string, err error)
	// Remove takes the session out of the archive; a session it does not have is a success.
	Remove(ctx context.Context, session string) error
}

// ErrLater is what an [Archive] wraps when it must be asked again later: no failure.
var ErrLater = errors.New("later")

// Follow reads what the ledger has got since. Any goroutine.
func (k *Keeper) Follow() error { return k.ends.more(k.o.Ledger) }

// Ledger is the device ledger as the keeper needs it.
type Ledger interface {
	BytesFrom(off int64) ([]byte, error) // of the generation in force
	Archived(session, receipt string) error
	Destroying(session, appraisal string) error
	Destroyed(session, appraisal string) error
}

// Options are what a Keeper needs. Functions are called from the goroutine of Run unless said.
type Options struct {
	State   string   // the state folder: keep/ and ledger/appraisals/ in it are this package's
	Earlier []string // logs of earlier generations of the ledger
	Ledger  Ledger
	Archive Archive // nil: there is none, nothing is released
	Policy  Policy
	// Sessions lists the sealed sessions of this device that have a copy here, or had one: all but Receipt,
	// Held, Appraisal and Destroyed is filled in.
	Sessions func(context.Context) ([]Session, error)
	Disks    func() []Disk
	Space    func() []Space
	InUse    func(session string) bool
	// Alone calls do while nobody else works on the folders of sealed sessions: copies, repairs. An error wraps
	// ErrLater where it cannot now. nil: nobody else ever does.
	Alone func(do func() error) error
	Busy  func() bool // a room that records deletes nothing; nil: never
	Now   func() (now time.Time, sure bool)
	// Appraisers are who may sign an appraisal; the device's own certificate counts too where the room is alone.
	// Any goroutine.
	Appraisers func() []*x509.Certificate
	Forget     func(session string) error                       // takes away what else is kept of a destroyed session; nil: nothing
	Gone       func(ctx context.Context, session string, e End) // a session left; may come again for the same
	Kept       func(ctx context.Context, s Session, d Decision) // what the plan says, each pass
	OnFault    func(code, session string, on bool)              // "failed": a deletion that does not succeed; nil: nobody
	OnHold     func(h Hold, released bool, sessions []Session)  // nil: nobody
	Every      time.Duration
	Files      durable.Files // of the state folder
	Layer      durable.Layer // of the disks; nil: the operating system
	Log        *slog.Logger
}

// Keeper keeps and deletes. Its methods are safe for concurrent use.
type Keeper struct {
	o    Options
	kick chan struct{}
	ends ends

	work sync.Mutex // held during a pass

	mu         sync.Mutex // guards what follows
	holds      []Hold
	appraisals map[string]*signed // by SHA-256
	drafts     []Draft
	going      map[string]bool
	last       []Decision
	failed     map[string]bool
	early      int
}

// New opens what is kept in the state folder. Nothing runs before [Keeper.Run].
func New(o Options) (*Keeper, error) {
	if o.State == "" || o.Ledger == nil || o.Sessions == nil || o.Disks == nil || o.Space == nil || o.InUse == nil || o.Now == nil || o.Appraisers == nil || o.Gone == nil || o.Kept == nil {
		return nil, errors.New("keep: BUG: options: State, Ledger, Sessions, Disks, Space, InUse, Now, Appraisers, Gone and Kept must be set")
	}
	if o.Alone == nil {
		o.Alone = func(do func() error) error { return do() }
	}
	if o.Busy == nil {
		o.Busy = func() bool { return false }
	}
	if o.Forget == nil {
		o.Forget = func(string) error { return nil }
	}
	if o.OnFault == nil {
		o.OnFault = func(string, string, bool) {}
	}
	if o.OnHold == nil {
		o.OnHold = func(Hold, bool, []Session) {}
	}
	if o.Every == 0 {
		o.Every = DefaultEvery
	}
	if o.Layer == nil {
		o.Layer = durable.OS{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{o: o, kick: make(chan struct{}, 1), appraisals: make(map[string]*signed), going: make(map[string]bool), failed: make(map[string]bool)}
	for _, dir := range []string{k.dir(), k.manifests(), k.appraisalsDir()} {
		if err := o.Files.MkdirAll(dir); err != nil {
			return nil, fmt.Errorf("keep: %w", err)
		}
	}
	if err := k.ends.open(o); err != nil {
		return nil, fmt.Errorf("keep: ledger: %w", err)
	}
	if err := errors.Join(k.readHolds(), k.readAppraisals(), k.readDrafts()); err != nil {
		return nil, fmt.Errorf("keep: %w", err)
	}
	return k, nil
}

func (k *Keeper) dir() string       { return filepath.Join(k.o.State, "keep") }
func (k *Keeper) manifests() string { return filepath.Join(k.dir(), "manifests") }
func (k *Keeper) manifest(session string) string {
	return filepath.Join(k.manifests(), session+".json")
}

// Kick asks for a pass soon. Does not block.
func (k *Keeper) Kick() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// Gone tells whether a session is on its way out, or the ledger says that it was destroyed: nobody shall copy,
// repair or archive it. Any goroutine.
func (k *Keeper) Gone(session string) bool {
	k.mu.Lock()
	going := k.going[session]
	k.mu.Unlock()
	e := k.ends.of(session)
	return going || e.Kind == Destroyed || e.Kind == Destroying
}

// End is how the ledger says a session left. Any goroutine.
func (k *Keeper) End(session string) End { return k.ends.of(session) }

// Decisions are those of the last pass. Any goroutine.
func (k *Keeper) Decisions() []Decision {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.last)
}

// Early counts sessions that are gone though nobody was allowed to delete them, as of the last pass.
func (k *Keeper) Early() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.early
}

// Run passes now and then until ctx ends; it returns the cause.
func (k *Keeper) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		wait := k.o.Every
		if k.o.Busy() {
			wait = busyRetry
		} else if err := k.Pass(ctx); errors.Is(err, ErrLater) {
			wait = busyRetry
		} else if err != nil && ctx.Err() == nil {
			k.o.Log.Error("keep: not all was done; it is tried again", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-k.kick:
		case <-time.After(wait):
		}
	}
	return context.Cause(ctx)
}

// Pass finishes what a cut left, decides anew, and does what may be done. It blocks until done. An error wraps
// [ErrLater] where something has to wait for others.
func (k *Keeper) Pass(ctx context.Context) error {
	k.work.Lock()
	defer k.work.Unlock()
	errs := []error{k.sweep()}
	sessions, decisions, err := k.plan(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for i, d := range decisions {
		if ctx.Err() != nil || k.o.Busy() {
			break
		}
		k.o.Kept(ctx, sessions[i], d)
		var err error
		switch d.Do {
		case Destroy:
			err = k.destroy(ctx, sessions[i])
		case Release:
			err = k.release(ctx, sessions[i])
		default:
			continue
		}
		if errors.Is(err, ErrLater) {
			errs = append(errs, err)
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("keep: %s %s: %w", d.Do, d.Session, err))
		}
		k.fault(d.Session, err != nil)
	}
	return errors.Join(errs...)
}

func (k *Keeper) fault(session string, on bool) {
	k.mu.Lock()
	was := k.failed[session]
	k.failed[session] = on
	if !on {
		delete(k.failed, session)
	}
	k.mu.Unlock()
	if was != on {
		k.o.OnFault("failed", session, on)
	}
}

// plan gathers the facts and asks [Plan].
func (k *Keeper) plan(ctx context.Context) ([]Session, []Decision, error) {
	if err := k.ends.more(k.o.Ledger); err != nil {
		return nil, nil, fmt.Errorf("keep: ledger: %w", err)
	}
	sessions, err := k.o.Sessions(ctx)
	if err != nil {
		return nil, nil, err
	}
	early := 0
	for i := range sessions {
		s := &sessions[i]
		e := k.ends.of(s.ID)
		s.Receipt = e.Receipt != ""
		s.Destroyed = e.Kind == Destroyed || e.Kind == Destroying
		s.InUse = s.InUse || k.o.InUse(s.ID)
		s.Held = k.held(*s) != nil
		s.Appraisal = k.appraised(s.ID)
		if len(s.Disks) == 0 && e == (End{}) {
			early++
		}
	}
	now, sure := k.o.Now()
	decisions := Plan(sessions, k.o.Policy, k.o.Space(), now, sure)
	k.mu.Lock()
	k.last, k.early = decisions, early
	k.mu.Unlock()
	return sessions, decisions, nil
}

// again is the decision on one session right before something is done.
func (k *Keeper) again(s Session, want Do) bool {
	s.Held, s.InUse = k.held(s) != nil, k.o.InUse(s.ID)
	now, sure := k.o.Now()
	var space []Space
	if want == Release { // its room was needed a moment ago
		for _, id := range s.Disks {
			space = append(space, Space{ID: id, Total: 1 << 60})
		}
	}
	p := k.o.Policy
	return Plan([]Session{s}, p, space, now, sure)[0].Do == want
}
