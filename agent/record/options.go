package record

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"minglu/agent/clock"
	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// What [New] uses where Options leaves a field zero.
const (
	DefaultCycle      = 500 * time.Millisecond
	DefaultFragment   = 500 * time.Millisecond
	DefaultSegment    = 5 * time.Minute
	DefaultFloor      = 256 << 20
	DefaultQueueBytes = 48 << 20
	DefaultHangAfter  = 15 * time.Second
	DefaultRetry      = 5 * time.Second
	DefaultHeadEvery  = time.Minute
)

// Options are what a Recorder needs.
type Options struct {
	Disks []string // folders, at least one; each is one disk
	// Known are the ids of the disks that were last seen in these folders, by folder. Where one is known,
	// an empty folder that is no mount point is a disk that is unplugged, and no new one.
	Known map[string]string
	// Foreign tells whether a disk, by folder and id ("": it has none), that was not in this folder before is
	// another device's: then nothing is made or written on it (R12). The disk's goroutine calls it, each time
	// the disk is tried. nil: none is.
	Foreign func(dir, id string) bool

	Cycle time.Duration // between two sign lines
	// OneBarrier writes the log lines of a cycle with the media of the next one, and syncs all at once: a
	// disk is flushed once a cycle instead of twice. A sign line still covers only media that was durable
	// before it (W1). What a power cut loses of the media stays the same, one cycle and what the flush
	// takes; what is signed lags one cycle more, and is within ahead_ms, so that recovery takes it up (R7).
	// Where an order counts it is kept at once, not a cycle later: at open, segment.close, pause, seal.
	OneBarrier bool

	Fragment time.Duration // media in one fragment at most
	Segment  time.Duration // media in one file, up to the next keyframe
	Floor    int64         // bytes: a disk with less free space counts as full, so that a session can still be sealed on it

	QueueBytes int64         // bytes waiting for one disk; more means that it hangs
	HangAfter  time.Duration // a disk that has worked on one thing for so long hangs
	Retry      time.Duration // between two looks at a disk that failed
	HeadEvery  time.Duration // between two ledger heads of a running session

	Now    func() clock.Reading
	Ledger Ledger
	// LedgerSync completes the ledger copy on a disk (R3). A disk's goroutine calls it when the disk
	// begins to be used, and when bytes are missing before those of [Recorder.LedgerAppend]. nil: nobody does.
	LedgerSync func(disk string) error
	// OnDisk is told each time a disk fails or comes back. It is called from the disks' and sessions'
	// goroutines and must not block.
	OnDisk func(DiskEvent)

	Layer durable.Layer // nil: the operating system
	Log   *slog.Logger  // nil: slog.Default
}

// Log is the session log being written (ledger.SessionLog). It numbers, times, salts and signs lines.
type Log interface {
	Append(v any) (seq int64, line []byte, err error)
	Sign() (size int64, root evidence.Hash, err error)
	Take() []byte
	Size() int64
}

// Ledger is the device ledger. Both calls return when their lines are durable in the state folder, and
// may block; record calls them from goroutines that nothing waits for but the seal.
type Ledger interface {
	Head(session, log string, size int64, root evidence.Hash) error
	Sealed(session, manifestSHA256, p7sSHA256 string) error
}

// Opening says what a session begins with.
type Opening struct {
	Session string // S of evidence-format.md section 1
	Log     Log    // fresh
	// Open is line 0. Record fills Session, V, Disks, CycleMS, AheadMS, Cert, and Src from the clock.
	Open evidence.Open
	Zero time.Duration // uptime at which media time is 0: that of the first sample of the pre-roll
	// Trigger is the uptime at which recording was asked for; 0: now. A channel whose media begins by
	// then is not late, wherever its pre-roll begins.
	Trigger time.Duration
	Lines   []any // line structs that follow line 0 at once (details, precheck)

	// Channels are those that should deliver: one that is late or never comes gets its gap line.
	Channels []string

	Certs []*x509.Certificate // the device's first, then its chain; become device.pem and chain.pem
	Key   crypto.Signer       // of Certs[0]: signs the manifest
	SM2   []byte              // sm2.pem, nil: none, and no SM3 digests
	// Extras gives further files of the seal over the manifest, beside manifest.json.p7s; nil: none.
	Extras func(manifest []byte) (map[string][]byte, error)
}

// DiskEvent tells that a disk failed or came back.
type DiskEvent struct {
	Disk   string // folder
	Failed bool
	Cause  string // "full", "read-only", "io-error", "unplugged", "hung", "differs", "taken", "foreign", "error"; "" when it came back
	Err    error
}

// Code is the fault of the catalogue (package report) for the cause.
func (e DiskEvent) Code() string {
	switch e.Cause {
	case "full":
		return "disk.full"
	case "unplugged":
		return "disk.gone"
	case "hung":
		return "disk.slow"
	case "taken":
		return "disk.taken"
	case "foreign":
		return "disk.other"
	}
	return "disk.failed"
}

// ErrNoDisk means that no disk can be written: raise the fault, and try again after Options.Retry.
var ErrNoDisk = errors.New("no disk can be written: check that one is plugged in and has space")

// ErrClosed means that the session or the recorder has ended.
var ErrClosed = errors.New("closed")

var channelID = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func (o *Options) valid() error {
	setDefault(&o.Cycle, DefaultCycle)
	setDefault(&o.Fragment, DefaultFragment)
	setDefault(&o.Segment, DefaultSegment)
	setDefault(&o.Floor, int64(DefaultFloor))
	setDefault(&o.QueueBytes, int64(DefaultQueueBytes))
	setDefault(&o.HangAfter, DefaultHangAfter)
	setDefault(&o.Retry, DefaultRetry)
	setDefault(&o.HeadEvery, DefaultHeadEvery)
	if o.Layer == nil {
		o.Layer = durable.OS{}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.OnDisk == nil {
		o.OnDisk = func(DiskEvent) {}
	}
	switch {
	case len(o.Disks) == 0:
		return errors.New("record: options: no disk")
	case o.Now == nil || o.Ledger == nil:
		return errors.New("record: options: Now and Ledger must be set")
	case o.Cycle < 50*time.Millisecond || o.Cycle > 10*time.Second:
		return fmt.Errorf("record: options: cycle %s is not between 50ms and 10s", o.Cycle)
	case o.Fragment < 100*time.Millisecond || o.Fragment > 500*time.Millisecond:
		return fmt.Errorf("record: options: fragment %s is not between 100ms and 500ms", o.Fragment)
	case o.Segment < time.Second || o.Segment > 15*time.Minute:
		return fmt.Errorf("record: options: segment %s is not between 1s and 15m", o.Segment)
	}
	return nil
}

// ahead is how much media of a channel may lie beyond the last durable sign line (ahead_ms).
func (o *Options) ahead() time.Duration { return 2*o.Cycle + 500*time.Millisecond }
