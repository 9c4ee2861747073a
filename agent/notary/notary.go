// Package notary gets outside proofs for the device ledger and the sealed sessions: tokens of time-stamping
// authorities (RFC 3161) and cosignatures of witnesses (C2SP tlog-witness).
//
// It guarantees: each moment that evidence.md names ([Options.Recording] and [Notary.Moment]) is followed
// by a request as soon as somebody can be asked; while nobody can, only the newest state of the ledger
// waits, and one request then covers all that came before. Nothing is shown outside before the ledger has
// it durable as published (W2). Only what holds is kept: a token is checked down to its authority's root,
// its nonce and its imprint, a cosignature by the witness's key if that is known. What was got is durable
// in the ledger's folder and named by lines of the ledger, and of the session that runs, before anything
// else is done with it. A sealed session gets its proofs into its own folder, also when they come weeks and
// restarts later ([Options.Sessions] is looked through for what lacks them). What the parties say that they are not
// set up to give is not waited for; sessions that never complete are passed by, remembered, and looked at again.
//
// A cosignature makes a witness hold the state: it gets the newest each minute while something is recorded.
// It is kept and named in the logs at the moments at which tokens are asked for: the 60 lines an hour
// between would bound nothing more closely, and a year of them would be 100,000 files.
//
// It does not judge sessions (the verifier does), and never holds up a recording: it has goroutines and
// limits of its own.
//
// The order in which one proof is got. A cut after any step leaves a proof that is missing, never one that
// is wrong:
//
//  1. the newest checkpoint is noted as published
//  2. it is sent
//  3. note, token and cosignatures are files of the ledger's folder
//  4. `token` and `cosig` lines name them in the ledger
//  5. an `anchor` line names them in the running session
//  6. sealed sessions that wait for them get their anchor files
//
// Use: [New], then [Notary.Run]; the other methods at any time.
package notary

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"minglu/agent/clock"
	"minglu/agent/evidence"
	"minglu/agent/report"
)

// How often what is asked for without an event.
const (
	TokenRecording = 10 * time.Minute // a token while a session runs
	TokenIdle      = time.Hour        // and while none does
	ShowRecording  = time.Minute      // the newest checkpoint to the witness while a session runs
	ShowIdle       = time.Hour        // and while none does
)

// Limits.
const (
	askTSA      = 15 * time.Second // for one authority's answer, directly or through the office
	askWitness  = 15 * time.Second // for one witness's answer
	backoffMin  = 10 * time.Second // after a failure; doubles
	backoffMax  = 5 * time.Minute  // so long after an office is back a request is made at the latest
	unwanted    = time.Hour        // after an office said that it has no authority to ask
	lateAfter   = 24 * time.Hour   // without any token, though some are to be had: a fault (the window of grade 2)
	maxReply    = 64 << 10         // bytes of a reply
	maxCosigs   = 8                // lines kept for one checkpoint
	owesEvery   = 5 * time.Minute  // between two requests for what sealed sessions lack
	maxOwed     = 512              // sealed sessions looked after at a time
	maxPassed   = 4096             // remembered of those that lack something and were passed by
	passedStep  = 128              // of them looked at at a time
	stopGrace   = 3 * time.Second  // a system call on a dead disk cannot be interrupted
	chunkLines  = 500              // of the ledger, in one message to the office
	chunkBytes  = 96 << 10         // of them
	chunkRetry  = 30 * time.Second // for the office to say that it has them
	presenceGap = 5 * time.Minute  // somebody who comes in so soon after another moment is none of its own
	awaitLate   = 5 * time.Second  // for witnesses elsewhere, after the office's own answer
	maxRecent   = 16               // checkpoints that witnesses elsewhere may still answer
	anchorsStep = 64               // files brought to a disk's copy of the ledger at a time
)

// Faults this package raises and clears.
const (
	FaultConflict = "witness.conflict" // a witness holds another history: until the agent starts again
	FaultLate     = "timestamp.late"   // no token for a day
)

// Moment is an event after which proofs are asked for.
type Moment string

// The moments.
const (
	Presence Moment = "presence"
	Precheck Moment = "precheck"
	Opened   Moment = "opened" // the session's first head is in the ledger
	Sealed   Moment = "sealed" // the session's `sealed` line is
)

// Ledger is the device ledger (package ledger). All it returns is durable.
type Ledger interface {
	Origin() string
	Checkpoint() (evidence.Checkpoint, error)
	Published(size int64) error
	Lines() int64
	ReadLines(from int64, lines, maxBytes int) ([]string, error)
	Walk(from int64, f func(number int64, line []byte) bool) error
	Consistency(old, size int64) ([]evidence.Hash, error)
	Inclusion(i, size int64) ([]evidence.Hash, error)
	WitnessHolds(size int64, root string) (conflict bool, err error)
	SaveAnchor(size int64, note string, token []byte, cosigs []string) error
	ReadAnchor(size int64) (note string, token []byte, cosigs []string, err error)
	// EachAnchor tells of what is kept for checkpoints of at least a size, smallest first, until f returns false.
	EachAnchor(from int64, f func(size int64, token, cosig bool) bool)
	// ThinAnchors takes away old ones below a size that nothing needs any more.
	ThinAnchors(before int64) error
}

// Sessions are the sealed sessions on the disks. Its methods are called from one goroutine and may block
// for a disk's limit.
type Sessions interface {
	// Sealed lists sessions that hold a manifest and its signature and that nobody writes, with an id
	// after the given one, in order, at most n.
	Sealed(after string, n int) ([]string, error)
	// Read reads a file of a session from the first disk that has it. An error wrapping fs.ErrNotExist
	// means that none has.
	Read(session, file string) ([]byte, error)
	// Write makes a file hold data, durable, on each disk that has the session. An error means that not one
	// disk holds it.
	Write(session, file string, data []byte) error
	// Anchors brings anchors that the disks' copies of the ledger lack to them, at most n for each disk.
	Anchors(n int) error
}

// Authority is one way to a time-stamping authority.
type Authority struct {
	Name string // for the log; no password
	// Ask sends a DER TimeStampReq and returns the reply as it came.
	Ask func(ctx context.Context, request []byte) ([]byte, error)
}

// WitnessAt is a witness that is asked directly, by C2SP tlog-witness over HTTP.
type WitnessAt struct {
	Name string // for the log
	// Add posts a body to add-checkpoint and returns status, content type and body of the answer.
	Add func(ctx context.Context, body []byte) (status int, contentType string, answer []byte, err error)
}

// Options are what a Notary needs.
type Options struct {
	Device      string // name of the device
	Ledger      Ledger
	Append      func(line any) error // adds an evidence.Token or evidence.Cosig to the ledger and its copies
	Sessions    Sessions
	Authorities []Authority // asked in order; the first that answers well counts
	Witnesses   []WitnessAt
	// Office sends to the office over MQTT; nil: there is none. With Relay it is the last authority.
	Office  func(report.Message) error
	Relay   bool
	Witness bool // the office is a witness to be shown checkpoints; needs Office

	Trust     func() *evidence.Trust     // authorities and witnesses believed in; called for each proof
	Recording func() bool                // a session runs
	Named     func(evidence.Anchor)      // an anchor line for the running session, if one runs; MUST NOT block
	Fault     func(code string, on bool) // MUST NOT block; may be called often with the same
	Now       func() clock.Reading

	// Through is the session up to which all have their proofs but those Passed, noted at each change; "" none.
	Through     string
	Passed      []string
	SaveThrough func(through string, passed []string) error
	Log         *slog.Logger // nil: slog.Default
}

// Status is what the notary knows of itself.
type Status struct {
	Tokens, Cosigs int64         // got since the start
	Failures       int64         // requests that brought nothing
	TokenAt        time.Duration // uptime of the last token; 0: none since the start
	CosigAt        time.Duration
	Waiting        bool // a token is wanted and could not be got yet
	Owed           int  // sealed sessions that lack proofs, of those looked at
	OfficeLines    int64
	Conflict       bool
	LastError      string
}

// Notary is one. Its methods are safe for concurrent use; none but Run waits for anything.
type Notary struct {
	o     Options
	tsa   *authorities
	relay *relay
	feed  feed

	wakeRounds, wakeOwed, wakeFeed chan struct{} // capacity 1
	answers                        chan report.Cosignature
	late                           chan report.Cosignature

	// The rounds' goroutine's:
	witnesses []*witness
	recent    []evidence.Checkpoint    // shown, newest last
	keptAt    map[string]time.Duration // when a line of a witness was last kept, by its name
	several   bool                     // the office hands on lines of witnesses elsewhere

	mu     sync.Mutex // guards what follows
	plan   plan
	asked  int64    // size of the checkpoint that waits for the office's answer, 0 none
	off    job      // tokens, cosignatures: whoever could give them says that they are not set up to
	anew   bool     // somebody was set up: sessions that were finished without may get more
	relook bool     // anchors grew: sessions finished a moment ago may get more
	look   []string // sessions to be looked at whatever Through says
	online bool
	newest string // digest of the newest token
	status Status
}

// New returns a notary. It reads which token was got last.
func New(o Options) *Notary {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	n := &Notary{o: o, wakeRounds: make(chan struct{}, 1), wakeOwed: make(chan struct{}, 1), wakeFeed: make(chan struct{}, 1), answers: make(chan report.Cosignature, 1), late: make(chan report.Cosignature, 16), keptAt: map[string]time.Duration{}}
	list := o.Authorities
	if o.Office != nil && o.Relay {
		n.relay = newRelay(o.Office, n.isOnline)
		list = append(list[:len(list):len(list)], Authority{"office", n.relay.ask})
	}
	n.tsa = &authorities{o: &n.o, list: make([]authority, len(list)), jitter: jitter, online: n.isOnline}
	for i, a := range list {
		n.tsa.list[i].Authority = a
	}
	n.plan = plan{tokens: len(list) > 0, witnesses: o.Office != nil && o.Witness || len(o.Witnesses) > 0, began: o.Now().Up, jitter: jitter}
	if n.plan.witnesses {
		n.witnesses = n.allWitnesses()
	}
	last := int64(-1)
	o.Ledger.EachAnchor(0, func(size int64, token, _ bool) bool {
		if token {
			last = size
		}
		return true
	})
	if _, token, _, err := o.Ledger.ReadAnchor(last); err == nil && token != nil {
		n.newest = digest(token)
	}
	return n
}

// jitter spreads what many devices do after an outage.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

func digest(b []byte) string {
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}

// Run asks for proofs until ctx ends and returns its cause once all it started has ended. Of a disk that hangs
// the goroutine that waits for it is left behind after a moment. Call it once.
func (n *Notary) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { n.rounds(ctx) })
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		n.deliver(ctx)
	}()
	if n.o.Office != nil && n.o.Witness {
		wg.Go(func() { n.feedLines(ctx) })
	}
	wg.Wait()
	select {
	case <-delivered:
		return context.Cause(ctx)
	case <-ctx.Done():
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-delivered:
	case <-grace.C:
		n.o.Log.Error("a disk hangs: proofs may be missing in sealed sessions until the next start")
	}
	return context.Cause(ctx)
}

// Moment tells of an event after which proofs are wanted.
func (n *Notary) Moment(m Moment) {
	up := n.o.Now().Up
	n.mu.Lock()
	flicker := m == Presence && n.plan.wished > 0 && up-n.plan.wished < presenceGap
	if !flicker {
		n.plan.moment(up)
	}
	n.mu.Unlock()
	if flicker {
		return
	}
	wake(n.wakeRounds)
	if m == Sealed {
		wake(n.wakeOwed)
	}
}

// Look makes the notary look at sealed sessions again: one was sealed just now, maybe days after it began, or
// by a repair; a disk came back.
func (n *Notary) Look(sessions ...string) {
	n.mu.Lock()
	n.look = append(n.look, sessions...)
	n.mu.Unlock()
	wake(n.wakeOwed)
}

// Newest returns the digest of the newest token, for the open line of a session; "" if there is none yet.
func (n *Notary) Newest() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.newest
}

// Connected tells that the office can be reached, or cannot any more.
func (n *Notary) Connected(on bool) {
	n.mu.Lock()
	n.online = on
	if on {
		n.plan.back()
	}
	n.mu.Unlock()
	if on {
		n.tsa.back()
	}
	if on {
		wake(n.wakeRounds)
		wake(n.wakeOwed)
		wake(n.wakeFeed)
	}
}

func (n *Notary) isOnline() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.online
}

// Receive takes what the office sends: [report.KindCosignature] and [report.KindTimestamp]. Never blocks. An error
// says that the message was of no use.
func (n *Notary) Receive(k report.Kind, payload []byte) error {
	switch k {
	case report.KindTimestamp:
		m, err := report.ParseTimestamp(payload)
		if err != nil {
			return err
		}
		if n.relay == nil || m.Request != "" { // a broker may send our own request back
			return nil
		}
		return n.relay.receive(m)
	case report.KindCosignature:
		m, err := report.ParseCosignature(payload)
		if err != nil {
			return err
		}
		if m.Origin != n.o.Ledger.Origin() {
			return errors.New("notary: a cosignature for another ledger: " + m.Origin)
		}
		n.feed.told(m.HaveLines, m.Size == 0)
		wake(n.wakeFeed)
		n.mu.Lock()
		asked := n.asked
		if m.Size == asked {
			n.asked = 0
		}
		n.mu.Unlock()
		switch {
		case m.Size == 0:
		case m.Size == asked:
			latest(n.answers, m)
		case len(m.Lines) > 0: // a witness elsewhere, later
			select {
			case n.late <- m:
			default:
				return errors.New("notary: too many cosignatures at once")
			}
		}
		return nil
	}
	return errors.New("notary: a message of kind " + string(k))
}

// Status tells how the notary is.
func (n *Notary) Status() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.status
	s.Waiting, s.Conflict, s.OfficeLines = n.plan.token, n.plan.conflict, n.feed.lines()
	return s
}

func (n *Notary) failed(what string, err error) {
	n.mu.Lock()
	n.status.Failures++
	n.status.LastError = what + ": " + err.Error()
	n.mu.Unlock()
	say := n.o.Log.Warn
	if errors.Is(err, errOffline) || errors.Is(err, errUnwanted) { // told elsewhere, and for weeks
		say = n.o.Log.Debug
	}
	say("no proof from outside, trying again", "what", what, "err", err)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// latest puts v into c, which has room for one, in the place of what is there.
func latest[T any](c chan T, v T) {
	for {
		select {
		case c <- v:
			return
		default:
		}
		select {
		case <-c:
		default:
		}
	}
}
