// Package archive hands sealed sessions over to the body's archive: a mounted share, an S3 bucket or a WebDAV folder.
//
// What it guarantees: a file counts as handed over only when the archive gave the very bytes back, by their
// SHA-256; a session is archived only when each of its files did, and the bag's tags, and then the receipt that
// names them is durable in the state folder before [Options.Archived] is called, which enters it in the ledger.
// A session to which something was added later (a token, an amendment) is handed over again, what is there
// already left alone. A cut at any point loses at most what was under way of one file; the next start goes on.
// Nothing of the session on this device is written, and nothing is deleted.
//
// What it does not: judge a recording (package evidence does), decide what may be deleted (package keep does), or
// keep the archive from losing later what it had.
//
// The order of writing, for a cut may come between any two:
//  1. progress: the files wanted, with size and digest (state)
//  2. each file under data/: sent to a temporary name or an upload of parts, read back, given its name (archive);
//     noted as done (state)
//  3. the bag's tags, likewise (archive)
//  4. receipt (state), then receipt.json (archive)
//  5. Options.Archived: the ledger's line
//  6. progress is removed (state)
//
// It reads and sends at most at Options.Rate, only within Options.Window unless a session waits too long, and
// stops between two pieces when Options.Busy says that the disks are needed for a recording.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"minglu/agent/durable"
)

// What [New] uses where Options leaves a field zero.
const (
	DefaultRate  = 12 << 20 // bytes a second
	DefaultEvery = 10 * time.Minute
	DefaultLate  = 20 * time.Hour // a session that waits longer is sent outside the window too: it is due within a day
	DefaultStall = 2 * time.Minute
)

const (
	firstRetry = 30 * time.Second
	lastRetry  = 10 * time.Minute
	busyRetry  = 2 * time.Second
	stopGrace  = 3 * time.Second // a system call on a dead share cannot be interrupted
	chunk      = 256 << 10       // read at a time
	saveEvery  = 32 << 20        // bytes sent between two notes of how far a file is
)

// Upload is one file to be handed over.
type Upload struct {
	Path   string // below the archive's root, slashes between
	Size   int64
	SHA256 string // hex
	Src    io.ReaderAt
	// Resume is what Save was given last for this path, size and digest; nil at first. Save makes durable how far
	// the upload is; an error of it ends the upload.
	Resume []byte
	Save   func([]byte) error
}

// Target is one archive. Its methods block, end with ctx as soon as the system lets them, and are called by one
// goroutine at a time. Errors wrap one of the Err values where it fits.
type Target interface {
	// Where names the archive for people and receipts, without secrets.
	Where() string
	// Put returns nil only when the archive holds the file under its name and gave its bytes back right.
	Put(ctx context.Context, u Upload, pace func(n int) error) error
	// Holds tells whether a file of that size is there under that name. It reads no bytes.
	Holds(ctx context.Context, path string, size int64) (bool, error)
	// RemoveAll removes all below a folder, and what an upload left behind. Nothing there is a success.
	RemoveAll(ctx context.Context, folder string) error
}

// What is wrong, for whoever has to act.
var (
	ErrFull        = errors.New("the archive is full")
	ErrCredentials = errors.New("the archive refuses the credentials or the right to write")
	ErrDigest      = errors.New("the archive gave back other bytes than were sent")
	ErrClock       = errors.New("the archive says that this clock is wrong")
	ErrUnreachable = errors.New("the archive cannot be reached")
	ErrSlow        = errors.New("the archive takes nothing any more")
	ErrSource      = errors.New("no copy here holds the bytes that were signed: verify the session")
)

// Problem is the code of what is wrong: "full", "credentials", "digest", "clock", "slow", "source", "unreachable".
type Problem string

// ProblemOf returns the code of an error, "" of none.
func ProblemOf(err error) Problem {
	for _, p := range []struct {
		err  error
		code Problem
	}{{ErrFull, "full"}, {ErrCredentials, "credentials"}, {ErrDigest, "digest"}, {ErrClock, "clock"}, {ErrSlow, "slow"}, {ErrSource, "source"}} {
		if errors.Is(err, p.err) {
			return p.code
		}
	}
	if err == nil {
		return ""
	}
	return "unreachable"
}

// Job is one session that waits.
type Job struct {
	Session string
	Since   time.Time // when it was sealed
	Copies  []fs.FS   // its folder on the disks present, the best first
}

// Options are what an Archive needs. All functions are called from the goroutine of Run.
type Options struct {
	Target Target
	Device string // D: the folder of this device in the archive
	State  string // folder of progress and receipts; it must exist
	// Jobs lists the sealed sessions that [Archive.Receipt] may not cover any more, oldest first. Those that it does
	// cover cost only a listing.
	Jobs func(context.Context) ([]Job, error)
	// Archived enters a receipt in the ledger. It is called again after a cut: it must know what it entered.
	Archived func(ctx context.Context, r Receipt, sha256 string) error
	Busy     func() bool       // the disks are needed for a recording; nil: never
	Keep     func(string) bool // the session is on its way to destruction: leave it alone; nil: none
	Now      func() (t time.Time, errorUS int64)
	Info     [][2]string // bag-info.txt: names and values of one line

	Rate   int64   // bytes a second, over all
	Window *Window // nil: at any time
	Late   time.Duration
	Every  time.Duration
	Stall  time.Duration

	OnStatus func(Status) // something changed; must not block; nil: nobody
	Files    durable.Files
	Log      *slog.Logger
}

// Status is what people see.
type Status struct {
	Where   string
	Waiting int       // sessions not archived yet
	Oldest  time.Time // since when the oldest waits, zero: none does
	Idle    string    // why nothing is sent though something waits: "window", "busy", "retry", "" it is sent
	Session string    // being sent, "" none
	File    string
	Done    int64 // bytes of the session
	Total   int64
	Problem Problem // of the last try
	Text    string  // the same in English, for the log
	Since   time.Time
	Next    time.Time // of the next try after a failure
	Last    time.Time // when a session was archived last
}

// Archive hands sessions over. Its methods are safe for concurrent use.
type Archive struct {
	o    Options
	kick chan struct{}

	work sync.Mutex // held while the target is used; guards what follows
	next time.Time  // before which no more may be read or sent

	mu     sync.Mutex // guards what follows
	status Status
	moved  time.Time // when a byte moved last
}

// New checks the options. Nothing runs before [Archive.Run].
func New(o Options) (*Archive, error) {
	if o.Target == nil || o.Jobs == nil || o.Archived == nil || o.Now == nil || o.State == "" || o.Device == "" {
		return nil, errors.New("archive: options: Target, Jobs, Archived, Now, State and Device must be set")
	}
	if o.Busy == nil {
		o.Busy = func() bool { return false }
	}
	if o.Keep == nil {
		o.Keep = func(string) bool { return false }
	}
	if o.OnStatus == nil {
		o.OnStatus = func(Status) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Rate == 0 {
		o.Rate = DefaultRate
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.Late, DefaultLate}, {&o.Every, DefaultEvery}, {&o.Stall, DefaultStall}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	return &Archive{o: o, kick: make(chan struct{}, 1), status: Status{Where: o.Target.Where()}}, nil
}

// Kick asks for a pass soon: a session was sealed, or the archive is back. Does not block.
func (a *Archive) Kick() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// Status returns what is known. Does not block.
func (a *Archive) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

func (a *Archive) tell(change func(*Status)) {
	a.mu.Lock()
	change(&a.status)
	s := a.status
	a.mu.Unlock()
	a.o.OnStatus(s)
}

// Run hands over what waits, and looks again when asked or after Options.Every, until ctx ends; it returns the
// cause. It waits for what is under way, but not for a share that hangs.
func (a *Archive) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() { defer close(done); a.loop(ctx) }()
	<-ctx.Done()
	select {
	case <-done:
		return context.Cause(ctx)
	case <-time.After(stopGrace):
		return fmt.Errorf("archive: %s hangs and is left behind: %w", a.o.Target.Where(), context.Cause(ctx))
	}
}

func (a *Archive) loop(ctx context.Context) {
	retry := time.Duration(0)
	for ctx.Err() == nil {
		idle, err := a.Pass(ctx)
		wait := a.o.Every
		switch {
		case err != nil && ctx.Err() == nil:
			retry = min(max(2*retry, firstRetry), lastRetry)
			wait, idle = retry, "retry"
			a.o.Log.Warn("archive: not handed over, it is tried again", "in", wait, "err", err)
		case idle == "busy":
			wait = busyRetry
		default:
			retry = 0
		}
		if idle == "window" {
			now, _ := a.o.Now()
			wait = min(wait, a.o.Window.until(now))
		}
		a.tell(func(s *Status) {
			s.Idle, s.Next = idle, time.Time{}
			if idle == "retry" {
				now, _ := a.o.Now()
				s.Next = now.Add(wait)
			}
		})
		select {
		case <-ctx.Done():
		case <-a.kick:
		case <-time.After(wait):
		}
	}
}

// Reasons to stop in the middle, which are no failures.
var (
	errBusy   = errors.New("the disks are needed for a recording")
	errWindow = errors.New("outside the hours for archiving")
)

// Pass hands over what waits, oldest first. idle says why it stopped early, "" if it did not; an error is the
// archive's: nothing more was tried after it, but for a session whose own copies are wrong.
func (a *Archive) Pass(ctx context.Context) (idle string, err error) {
	a.work.Lock()
	defer a.work.Unlock()
	jobs, err := a.o.Jobs(ctx)
	if err != nil {
		return "", err
	}
	todo := a.due(jobs)
	var wrong error
	for i, j := range todo {
		a.queue(todo[i:])
		err := a.session(ctx, j)
		switch {
		case err == nil:
			a.tell(func(s *Status) { s.Last, _ = a.o.Now(); s.Session, s.File = "", "" })
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case errors.Is(err, errBusy):
			return "busy", nil
		case errors.Is(err, errWindow):
			return "window", nil
		default:
			now, _ := a.o.Now()
			a.tell(func(s *Status) {
				if s.Problem != ProblemOf(err) {
					s.Since = now
				}
				s.Problem, s.Text, s.Session = ProblemOf(err), err.Error(), ""
			})
			if !errors.Is(err, ErrSource) {
				return "", fmt.Errorf("archive: session %s: %w", j.Session, err)
			}
			wrong = fmt.Errorf("archive: session %s: %w", j.Session, err)
			continue // the others can go
		}
	}
	if wrong == nil {
		a.queue(nil)
		a.tell(func(s *Status) { s.Problem, s.Text, s.Since = "", "", time.Time{} })
	}
	return "", wrong
}

// due leaves out what is archived already.
func (a *Archive) due(jobs []Job) (todo []Job) {
	for _, j := range jobs {
		if !a.o.Keep(j.Session) && !a.Covered(j) {
			todo = append(todo, j)
		}
	}
	return todo
}

func (a *Archive) queue(todo []Job) {
	a.tell(func(s *Status) {
		s.Waiting, s.Oldest = len(todo), time.Time{}
		for _, j := range todo {
			if s.Oldest.IsZero() || j.Since.Before(s.Oldest) {
				s.Oldest = j.Since
			}
		}
	})
}

// Remove takes a session away from the archive, for its destruction, and its receipt and progress here. It may be
// called again after a cut.
// It does not wait: an error wraps [ErrBusy] while something is being sent.
func (a *Archive) Remove(ctx context.Context, session string) error {
	if !a.work.TryLock() {
		return ErrBusy
	}
	defer a.work.Unlock()
	ctx, stop := a.watch(ctx)
	defer stop()
	if err := a.o.Target.RemoveAll(ctx, a.folder(session)); err != nil {
		return fmt.Errorf("archive: remove %s: %w", session, cause(ctx, err))
	}
	return errors.Join(a.o.Files.Remove(a.file(session, receiptExt)), a.o.Files.Remove(a.file(session, progressExt)))
}

func (a *Archive) folder(session string) string { return a.o.Device + "/" + session }

// pace accounts for n bytes read or sent, waits as the rate asks, and says whether to stop.
func (a *Archive) pace(ctx context.Context, late bool) func(n int) error {
	return func(n int) error {
		a.mu.Lock()
		a.moved = time.Now()
		a.mu.Unlock()
		if a.o.Busy() {
			return errBusy
		}
		if now, _ := a.o.Now(); a.o.Window != nil && !late && !a.o.Window.open(now) {
			return errWindow
		}
		now := time.Now()
		if a.next.Before(now) {
			a.next = now
		}
		a.next = a.next.Add(time.Duration(float64(n) / float64(a.o.Rate) * float64(time.Second)))
		if wait := a.next.Sub(now); wait > 10*time.Millisecond {
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
		}
		return context.Cause(ctx)
	}
}

// watch ends the context it returns when no byte has moved for Options.Stall.
func (a *Archive) watch(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	a.mu.Lock()
	a.moved = time.Now()
	a.mu.Unlock()
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(max(a.o.Stall/8, time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			a.mu.Lock()
			still := time.Since(a.moved)
			a.mu.Unlock()
			if still > a.o.Stall {
				now, _ := a.o.Now()
				a.tell(func(s *Status) { s.Problem, s.Text, s.Since = "slow", ErrSlow.Error(), now.Add(-still) })
				cancel(fmt.Errorf("%w: nothing for %s", ErrSlow, still.Round(time.Second)))
				return
			}
		}
	}()
	return ctx, func() { close(done); <-ended; cancel(nil) }
}

// cause prefers why a context ended over what the library made of it.
func cause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return errors.Join(context.Cause(ctx), err)
}
