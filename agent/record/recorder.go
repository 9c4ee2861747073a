package record

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"
)

// stopGrace is how long Run waits for a disk that hangs: a system call on a dead disk cannot be interrupted.
const stopGrace = 3 * time.Second

const watchEvery = time.Second

// Recorder writes sessions to disks. Its methods are safe for concurrent use.
type Recorder struct {
	o     Options
	disks []*disk
	bufs  buffers
	seed  maphash.Seed
	ready chan struct{}

	mu       sync.Mutex // guards what follows
	running  bool
	stopped  bool
	unprobed int
	sessions map[*Session]bool
	stop     chan struct{}  // closed when Run was asked to end
	wg       sync.WaitGroup // sessions and what they started
}

// New checks the options. Nothing runs before [Recorder.Run]. The folders of the disks are not made: one
// that does not exist counts as unplugged, lest a session be written beside a mount point.
func New(o Options) (*Recorder, error) {
	if err := o.valid(); err != nil {
		return nil, err
	}
	r := &Recorder{o: o, seed: maphash.MakeSeed(), ready: make(chan struct{}), stop: make(chan struct{}), sessions: make(map[*Session]bool)}
	for _, path := range o.Disks {
		r.disks = append(r.disks, newDisk(r, path))
	}
	r.unprobed = len(r.disks)
	return r, nil
}

// Run owns the disks until ctx ends, then waits for the sessions being sealed and for the disks; it
// returns the cause. A session still open then is left as a power cut would leave it: close it before.
// A disk that hangs is not waited for longer than a few seconds; its goroutine ends when the system
// call does. Run may be called once.
func (r *Recorder) Run(ctx context.Context) error {
	r.mu.Lock()
	r.running = true
	r.mu.Unlock()
	var disks sync.WaitGroup
	for _, d := range r.disks {
		disks.Go(d.run)
	}
	r.watch(ctx)
	r.mu.Lock()
	r.stopped = true
	close(r.stop)
	r.mu.Unlock()
	r.wg.Wait()
	for _, d := range r.disks {
		d.finish()
	}
	ended := make(chan struct{})
	go func() { disks.Wait(); close(ended) }()
	for wait := time.NewTicker(stopGrace); ; {
		select {
		case <-ended:
			wait.Stop()
			return context.Cause(ctx)
		case <-wait.C:
			if r.anyHung(stopGrace) {
				wait.Stop()
				return fmt.Errorf("record: a disk hangs and is left behind: %w", context.Cause(ctx))
			}
		}
	}
}

// anyHung reports whether a disk has worked on one thing for longer than limit.
func (r *Recorder) anyHung(limit time.Duration) bool {
	now := r.o.Now().Up
	for _, d := range r.disks {
		if d.stuck(now, limit) {
			return true
		}
	}
	return false
}

// watch looks after disks until ctx ends: one may hang while no session writes to it.
func (r *Recorder) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, d := range r.disks {
				d.watch(r.o.Now().Up)
			}
		}
	}
}

func (r *Recorder) diskReady() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unprobed--; r.unprobed == 0 {
		close(r.ready)
	}
}

// Ready is closed once each disk has been looked at for the first time. A disk that hangs then is never ready.
func (r *Recorder) Ready() <-chan struct{} { return r.ready }

// Disks returns the disks as last seen, in the order of Options.Disks. Does not block.
func (r *Recorder) Disks() []DiskStatus {
	now := r.o.Now().Up
	out := make([]DiskStatus, len(r.disks))
	for i, d := range r.disks {
		out[i] = d.status(now)
	}
	return out
}

// Open begins a session and returns at once: its folder is made by the disks' goroutines. Samples may
// be written immediately. An error wraps [ErrNoDisk] if no disk is usable now, [ErrClosed] if Run has
// ended or has not begun. Sessions may overlap: the one before may still be sealing.
func (r *Recorder) Open(o Opening) (*Session, error) {
	s, err := newSession(r, o)
	if err != nil {
		return nil, fmt.Errorf("record: open: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || !r.running {
		return nil, fmt.Errorf("record: open: %w", ErrClosed)
	}
	r.sessions[s] = true
	r.wg.Go(s.run)
	return s, nil
}

// background runs f beside a session; Run waits for it. Only a session's goroutine calls it.
func (r *Recorder) background(f func()) { r.wg.Go(f) }

// ended forgets a session.
func (r *Recorder) ended(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, s)
}
