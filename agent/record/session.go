package record

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"minglu/agent/clock"
	"minglu/agent/evidence"
	"minglu/drivers"
)

// The states of a session.
const (
	StateRecording = "recording"
	StatePaused    = "paused"
	StateSealing   = "sealing"
	StateSealed    = "sealed"
	StateFailed    = "failed"
)

// Session is one recording. Its methods are safe for concurrent use and never block, except Wait.
type Session struct {
	r       *Recorder
	id      string
	zero    time.Duration
	trigger int64 // media time of the trigger, µs
	log     Log
	certs   []certFile
	chain   []*x509.Certificate
	key     crypto.Signer
	sm2     bool // digests of files also by SM3

	opened, failed, done chan struct{}

	mu     sync.Mutex // guards what follows
	inbox  []msg
	woken  time.Duration // arrival of the last sample that woke run
	held   int64         // bytes of samples in inbox
	wake   chan struct{}
	status Status
	result Sealed

	// What follows belongs to the goroutine of run.
	spare              []msg
	chans              map[string]*channel
	order              []*channel
	expected           []string
	targets            []*target
	state              string
	batch              *batch
	clock              clock.Reading // at the last clock line
	p7sSum             string
	extras             func(manifest []byte) (map[string][]byte, error) // nil: none
	signed             int64                                            // lines covered by the last sign line
	signedAt           time.Duration
	lagging            bool // the log bytes of the last batch wait for the next (Options.OneBarrier)
	closing            closing
	head               heads
	indexes            []pendingIndex
	broken             error // a log that refuses a line
	over               bool  // run may return
	deriver            evidence.Deriver
	deriveErr          error
	mediaTo, durableTo int64 // µs
}

// Samples are taken in several at a time: each wake-up costs more than what is done with one of them.
// What is in the inbox at the end of a cycle is taken in before it is cut.
const (
	gatherFor     = 100 * time.Millisecond
	gatherSamples = 64
)

type certFile struct {
	name string
	data []byte
}

type msgKind int

const (
	msgSample msgKind = iota
	msgDescribe
	msgLost
	msgNote
	msgPause
	msgResume
	msgClose
	msgDiskFailed
	msgDiskFull
	msgBatch    // a batch is durable on target
	msgReadBack // a segment was read back from target
	msgHead     // the ledger answered
	msgManifest // the manifest is made
	msgPut      // the manifest is durable on target
	msgSealed   // the ledger answered
)

// msg is one thing for the session's goroutine to take in.
type msg struct {
	kind   msgKind
	ch     string
	sample drivers.Sample
	desc   *drivers.Description
	track  int
	text   string
	who    string
	v      any
	up     time.Duration

	target *target
	event  DiskEvent
	batch  *batch
	read   *reading
	sum    digests
	size   int64
	doc    []byte
	extras map[string][]byte
	p7s    []byte
	err    error
}

func newSession(r *Recorder, o Opening) (*Session, error) {
	switch {
	case o.Session == "" || o.Log == nil || o.Key == nil || len(o.Certs) == 0:
		return nil, errors.New("session, log, key and certificate must be given")
	case o.Log.Size() != 0:
		return nil, errors.New("the log is not fresh")
	}
	s := &Session{
		r: r, id: o.Session, zero: o.Zero, log: o.Log, chain: o.Certs, key: o.Key, extras: o.Extras,
		opened: make(chan struct{}), failed: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1),
		chans: make(map[string]*channel), expected: o.Channels, state: StateRecording, batch: new(batch),
	}
	s.result.Session = s.id
	s.certs = append(s.certs, certFile{"device.pem", evidence.MarshalCertsPEM(o.Certs[0])})
	if len(o.Certs) > 1 {
		s.certs = append(s.certs, certFile{"chain.pem", evidence.MarshalCertsPEM(o.Certs[1:]...)})
	}
	if s.sm2 = o.SM2 != nil; s.sm2 {
		s.certs = append(s.certs, certFile{"sm2.pem", o.SM2})
	}
	for _, ch := range o.Channels {
		if !channelID.MatchString(ch) {
			return nil, fmt.Errorf("channel %q: want a letter, then letters, digits or _", ch)
		}
		s.channel(ch)
	}
	for _, d := range r.disks {
		if d.usable() {
			s.targets = append(s.targets, newTarget(d, s))
		}
	}
	if len(s.targets) == 0 {
		return nil, ErrNoDisk
	}
	if err := s.begin(o); err != nil {
		return nil, err
	}
	return s, nil
}

// begin writes line 0 and what follows at once, and queues the folder.
func (s *Session) begin(o Opening) error {
	now := s.r.o.Now()
	s.clock = now
	trigger := o.Trigger
	if trigger == 0 {
		trigger = now.Up
	}
	s.trigger = s.Media(trigger)
	open := o.Open
	open.Type, open.V, open.Session, open.Src = "open", 1, s.id, now.Source
	open.CycleMS, open.AheadMS = s.r.o.Cycle.Milliseconds(), s.r.o.ahead().Milliseconds()
	cert := sha256.Sum256(s.certs[0].data)
	open.Cert = hex.EncodeToString(cert[:])
	open.Channels = o.Channels
	open.Disks = []string{}
	for _, t := range s.targets {
		open.Disks = append(open.Disks, t.d.diskID())
	}
	lines := append([]any{open, evidence.Clock{Common: evidence.Common{Type: "clock"}, Epoch: now.Epoch, At: s.Media(now.Up), Src: now.Source}}, o.Lines...)
	if err := s.deriver.Begin("log.jsonl"); err != nil {
		return err
	}
	for _, v := range lines {
		if _, _, err := s.log.Append(v); err != nil {
			return fmt.Errorf("line %T: %w", v, err)
		}
	}
	for _, t := range s.targets {
		t.d.put(op{target: t, do: func(*disk) error { return t.open(s.certs) }})
	}
	s.flush()
	return s.broken
}

// ID is S.
func (s *Session) ID() string { return s.id }

// Media returns the media time, in µs, of an uptime.
func (s *Session) Media(up time.Duration) int64 { return (up - s.zero).Microseconds() }

// Opened is closed once the open line is durable on a disk and named by a ledger head.
func (s *Session) Opened() <-chan struct{} { return s.opened }

// Write hands over one sample of a channel; s.At, s.Run and s.Format are set. Samples of a track come
// in order of DTS. Sample bytes are read, never changed, and let go within about a cycle.
func (s *Session) Write(ch string, sample drivers.Sample) {
	s.post(msg{kind: msgSample, ch: ch, sample: sample})
}

// Describe tells what the source of a channel says of itself. Call it before its first sample, and at
// each connection.
func (s *Session) Describe(ch string, d drivers.Description) {
	s.post(msg{kind: msgDescribe, ch: ch, desc: &d})
}

// Lost names the cause of the next hole in a channel's track: "packets lost", "connection lost" …
// Without it a hole is put down to the source ("no data"), or to the connection if the run is another.
func (s *Session) Lost(ch string, track int, cause string) {
	s.post(msg{kind: msgLost, ch: ch, track: track, text: cause})
}

// Note adds a line of package evidence (mark, fault, lamp, details, anchor …) to the log. Lines about
// media (fragment, segment, gap, pause, clock, close, seal) are record's own and are refused, as is a
// line the log does not take; both are logged.
func (s *Session) Note(v any) { s.post(msg{kind: msgNote, v: v}) }

// Pause cuts all channels and stops recording them until Resume.
func (s *Session) Pause(reason, who string) {
	s.post(msg{kind: msgPause, text: reason, who: who, up: s.r.o.Now().Up})
}

// Resume ends a pause. Each channel starts again at its next keyframe.
func (s *Session) Resume(reason, who string) {
	s.post(msg{kind: msgResume, text: reason, who: who, up: s.r.o.Now().Up})
}

// Close ends the session: what was written before is recorded, nothing after. Sealing goes on in the
// background; see [Session.Wait]. Only the first call counts.
func (s *Session) Close(reason string) {
	s.post(msg{kind: msgClose, text: reason, up: s.r.o.Now().Up})
}

// Done is closed once the session is sealed, or has failed for good.
func (s *Session) Done() <-chan struct{} { return s.done }

// Failed is closed once the last disk of the session has failed: nothing is recorded any more. It is
// also closed, with Done, if the session could not be sealed.
func (s *Session) Failed() <-chan struct{} { return s.failed }

// Wait waits for Done and returns what happened; or the cause of ctx's end.
func (s *Session) Wait(ctx context.Context) (Sealed, error) {
	select {
	case <-s.done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.result, nil
	case <-ctx.Done():
		return Sealed{}, context.Cause(ctx)
	}
}

// Status tells how the session stands, as of its last cycle.
func (s *Session) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Channels = append([]ChannelStatus(nil), st.Channels...)
	st.Disks = append([]string(nil), st.Disks...)
	return st
}

// post puts a message into the inbox. It never blocks. Samples beyond what the inbox may hold are
// dropped; the hole they leave becomes a gap.
func (s *Session) post(m msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if m.kind == msgSample {
		if s.held > s.r.o.QueueBytes {
			m = msg{kind: msgLost, ch: m.ch, track: m.sample.Track, text: causeOverrun}
			if n := len(s.inbox); n > 0 && s.inbox[n-1].kind == msgLost && s.inbox[n-1].text == causeOverrun && s.inbox[n-1].ch == m.ch {
				return
			}
		} else {
			s.held += int64(len(m.sample.Data))
		}
	}
	s.inbox = append(s.inbox, m)
	if m.kind == msgSample {
		if len(s.inbox) < gatherSamples && (m.sample.Arrival-s.woken).Abs() < gatherFor {
			return // the ticker comes soon enough at the latest
		}
		s.woken = m.sample.Arrival
	}
	s.kick()
}

// run is the session's goroutine: it owns the fragments and the log.
func (s *Session) run() {
	defer s.r.ended(s)
	tick := time.NewTicker(s.r.o.Cycle)
	defer tick.Stop()
	for !s.over {
		select {
		case <-s.wake:
			s.drain()
		case <-tick.C:
			s.drain()
			s.tick()
		case <-s.r.stop:
			s.drain()
			if s.state == StateRecording || s.state == StatePaused {
				s.end(fmt.Errorf("left open: %w", ErrClosed), StateFailed)
				return
			}
			// Sealing goes on; the ticker paces the rest of the loop.
			s.finishSealing(tick)
			return
		}
	}
}

// finishSealing is run after the recorder was asked to stop.
func (s *Session) finishSealing(tick *time.Ticker) {
	for !s.over {
		select {
		case <-s.wake:
		case <-tick.C:
			s.tick()
		}
		s.drain()
	}
}

// drain takes in what is in the inbox. While every disk has more waiting than it should, as after a
// long pre-roll, samples stay there.
func (s *Session) drain() {
	for !s.over && !s.congested() {
		s.mu.Lock()
		in := s.inbox
		s.inbox = s.spare[:0]
		s.mu.Unlock()
		if len(in) == 0 {
			s.spare = in
			return
		}
		var bytes int64
		for i := range in {
			s.take(&in[i])
			bytes += int64(len(in[i].sample.Data))
			if s.over {
				return
			}
			if s.congested() && i+1 < len(in) {
				s.putBack(in[i+1:], bytes)
				clear(in)
				s.spare = nil
				return
			}
		}
		clear(in)
		s.spare = in[:0]
		s.mu.Lock()
		s.held -= bytes
		s.mu.Unlock()
	}
	if s.congested() {
		s.takeEvents()
	}
}

// putBack returns what was not taken in to the head of the inbox.
func (s *Session) putBack(rest []msg, done int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held -= done
	s.inbox = append(append([]msg(nil), rest...), s.inbox...)
}

// takeEvents takes in what disks and ledger answered, ahead of the samples waiting.
func (s *Session) takeEvents() {
	s.mu.Lock()
	var events []msg
	keep := s.inbox[:0]
	for _, m := range s.inbox {
		if m.kind >= msgDiskFailed {
			events = append(events, m)
		} else {
			keep = append(keep, m)
		}
	}
	clear(s.inbox[len(keep):])
	s.inbox = keep
	s.mu.Unlock()
	for i := range events {
		if !s.over {
			s.take(&events[i])
		}
	}
	if len(events) > 0 && !s.congested() {
		s.kick()
	}
}

func (s *Session) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// congested reports whether each disk of the session has half of what it may have waiting.
func (s *Session) congested() bool {
	live := false
	for _, t := range s.targets {
		if t.failed.Load() {
			continue
		}
		live = true
		if t.d.backlog() < s.r.o.QueueBytes/2 {
			return false
		}
	}
	return live
}

func (s *Session) take(m *msg) {
	switch m.kind {
	case msgSample:
		s.sample(s.channel(m.ch), &m.sample)
	case msgDescribe:
		if c := s.channel(m.ch); c != nil {
			c.describe(*m.desc, s.r.o.Segment)
		}
	case msgLost:
		s.noteLoss(m)
	case msgNote:
		s.note(m.v)
	case msgPause:
		s.pause(m)
	case msgResume:
		s.resume(m)
	case msgClose:
		s.close(m.text, m.up)
	case msgDiskFailed:
		s.diskFailed(m)
	case msgDiskFull:
		s.diskFull(m.target)
	case msgBatch:
		s.batchDurable(m)
	case msgReadBack:
		s.readBackDone(m)
	case msgHead:
		s.headDone(m)
	case msgManifest:
		s.manifestMade(m)
	case msgPut:
		s.manifestDurable(m.target)
	case msgSealed:
		s.ledgerSealed(m.err)
	}
}

// channel returns the channel of that id, making it if need be; nil if the id is not one.
func (s *Session) channel(id string) *channel {
	c := s.chans[id]
	if c == nil && channelID.MatchString(id) {
		c = &channel{id: id, status: ChannelStatus{Ch: id}}
		s.chans[id] = c
		s.order = append(s.order, c)
	}
	return c
}
