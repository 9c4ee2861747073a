package record

import (
	"context"
	"time"

	"minglu/drivers"
)

// Recorder writes sessions to disks. Its methods are safe for concurrent use.
type Recorder struct{ o Options }

// New checks the options. Nothing runs before [Recorder.Run].
func New(o Options) (*Recorder, error) {
	if err := o.valid(); err != nil {
		return nil, err
	}
	return &Recorder{o: o}, nil
}

// Run owns the disks until ctx ends, then waits for the sessions being sealed and for the disks; it
// returns the cause. A session still open then is left as a power cut would leave it: close it before.
func (r *Recorder) Run(ctx context.Context) error { return nil }

// Ready is closed once each disk has been looked at for the first time.
func (r *Recorder) Ready() <-chan struct{} { return nil }

// Disks returns the disks as last seen, in the order of Options.Disks. Does not block.
func (r *Recorder) Disks() []DiskStatus { return nil }

// LedgerAppend puts bytes of ledger generation gen at off of its copies on the disks, after
// everything handed to each disk before (W2). Does not block.
func (r *Recorder) LedgerAppend(gen string, off int64, b []byte) {}

// Open begins a session and returns at once: its folder is made by the disks' goroutines. Samples may
// be written immediately. An error wraps [ErrNoDisk] if no disk is usable.
func (r *Recorder) Open(o Opening) (*Session, error) { return nil, ErrNoDisk }

// Session is one recording. Its methods are safe for concurrent use and never block, except Wait.
type Session struct{ id string }

// ID is S.
func (s *Session) ID() string { return s.id }

// Media returns the media time, in µs, of an uptime.
func (s *Session) Media(up time.Duration) int64 { return 0 }

// Opened is closed once the open line is durable on a disk and named by a ledger head.
func (s *Session) Opened() <-chan struct{} { return nil }

// Write hands over one sample of a channel; s.At, s.Run and s.Format are set. Samples of a track come
// in order of DTS.
func (s *Session) Write(ch string, sample drivers.Sample) {}

// Describe tells what the source of a channel says of itself. Call it before its first sample, and at
// each connection.
func (s *Session) Describe(ch string, d drivers.Description) {}

// Lost names the cause of the next hole in a channel's track: "packets lost", "connection lost" …
// Without it a hole is put down to the source ("no data").
func (s *Session) Lost(ch string, track int, cause string) {}

// Note adds a line of package evidence (mark, fault, lamp, details, anchor …) to the log.
func (s *Session) Note(v any) {}

// Pause cuts all channels and stops recording them until Resume.
func (s *Session) Pause(reason, who string) {}

// Resume ends a pause. Each channel starts again at its next keyframe.
func (s *Session) Resume(reason, who string) {}

// Close ends the session: what was written before is recorded, nothing after. Sealing goes on in the
// background; see [Session.Wait]. Only the first call counts.
func (s *Session) Close(reason string) {}

// Done is closed once the session is sealed, or has failed for good.
func (s *Session) Done() <-chan struct{} { return nil }

// Failed is closed once the last disk of the session has failed: nothing is recorded any more.
func (s *Session) Failed() <-chan struct{} { return nil }

// Wait waits for Done and returns what happened.
func (s *Session) Wait(ctx context.Context) (Sealed, error) { return Sealed{}, nil }

// Status tells how the session stands.
func (s *Session) Status() Status { return Status{} }

// Sealed is what became of a session.
type Sealed struct {
	Session  string
	Reason   string        // as given to Close, or "disk-full", "disk-failed"
	Disks    []string      // folders on which it is sealed
	Failed   []DiskEvent   // disks that failed during the session
	Manifest string        // SHA-256 of manifest.json, hex
	Took     time.Duration // from Close to the ledger's sealed line
	Media    time.Duration // media time at the end
	Err      error         // nil: sealed on each of Disks. Else it is left to recovery
}

// Status is a running session as last seen.
type Status struct {
	Session  string
	State    string // "recording", "paused", "sealing", "sealed", "failed"
	Media    time.Duration
	Channels []ChannelStatus
	Disks    []string      // folders it is being written to
	Size     int64         // lines signed
	Durable  int64         // lines signed that are durable on a disk
	Unsynced time.Duration // media of the channel worst off that lies beyond them
}

// ChannelStatus is one channel of a session.
type ChannelStatus struct {
	Ch        string
	Segment   int64 // 0: nothing recorded yet
	Fragments int64
	Bytes     int64
	To        time.Duration // media time at the end of the last fragment
	Gaps      int64
	Dropped   int64 // samples not recorded: before a keyframe, in a pause, unknown format
}
