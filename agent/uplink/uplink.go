// Package uplink reports to the office over MQTT and takes its commands.
//
// It guarantees: each numbered message given to [Uplink.Publish] without an error reaches the office at
// least once, in order, without a hole in the numbers, over power cuts, lost connections and restarts,
// once it is in the outbox file; it is deleted only when the office itself says that it has stored it
// ([report.Ack]), never on the broker's word. Each connection begins with the whole state, compliance and
// health. A connection on which nothing is acknowledged is dropped and made anew. No call but Run ever
// waits for a disk or a network, and nothing a broker sends can stop the program (each packet is
// checked before the MQTT library sees it).
//
// It does not guarantee that a message arrives only once (the office tells by its number), nor anything
// for what was given to Publish less than a disk's sync before a power cut, nor that a command sent while
// the room was away is carried out.
//
// The write order. A cut after any step leaves what was promised before it:
//
//  1. Publish queues the message in memory
//  2. the message is written to the outbox file with its number, and synced
//  3. it is sent; it stays in the file
//  4. the office's ack is noted in the file; when enough is acknowledged the file is replaced by a shorter one
//
// Use: [New], then [Uplink.Run]; Publish and [Uplink.Touch] at any time.
package uplink

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"minglu/agent/clock"
	"minglu/agent/durable"
	"minglu/agent/report"
)

// What [New] uses where Options leaves a field zero.
const (
	DefaultHealthEvery = 10 * time.Second // between two health messages
	DefaultKeepAlive   = 15 * time.Second // of MQTT; the broker sends the Will after one and a half of it
	DefaultTimeout     = 10 * time.Second // for connecting, and for the broker to acknowledge what was published
	DefaultAckTimeout  = 15 * time.Second // for the office to acknowledge, before it is sent again; doubles up to 8 times
	DefaultRetryMin    = time.Second      // between connections; doubles, with jitter
	DefaultRetryMax    = 30 * time.Second
	DefaultWindow      = 16      // numbered messages sent and not acknowledged by the office
	DefaultMaxMessages = 20_000  // in the outbox
	DefaultMaxBytes    = 8 << 20 // in the outbox; it is kept in memory too
)

// Faults this package raises and clears.
const (
	FaultFull   = "uplink.full"   // the outbox is full: messages are refused
	FaultOutbox = "uplink.outbox" // the outbox cannot be written
	FaultLost   = "uplink.lost"   // the outbox was damaged: another one was begun with what could be read; until the agent starts again
)

// Errors of [Uplink.Publish].
var (
	ErrFull   = errors.New("the outbox is full: is the office connected, does the disk answer?")
	ErrClosed = errors.New("the uplink has ended")
)

// Options say where to report what. Zero intervals and limits mean the defaults.
type Options struct {
	URL    string // mqtt://host:1883 or mqtts://host:8883; a user and password in it are used unless Username is set
	Device string // name of the device: certificate CN, user, part of the topics

	Username, Password string
	TLS                *tls.Config // for mqtts; nil: the system's roots

	Outbox string        // folder of the outbox, on the disk of the state folder; made if missing
	Layer  durable.Layer // nil: the real file system

	// What is to be reported, called by Run's goroutines one at a time each; MUST NOT block. V and Device
	// are filled in, for State also Online, BdSeq, Run and, if zero, T. A Compliance without T is not
	// there yet and not sent; Touch once it is.
	State      func() report.State
	Health     func() report.Health
	Compliance func() report.Compliance

	// Command carries out one command, one at a time; the answer goes to the office. ctx ends after
	// CommandTimeout. nil: every command is refused.
	Command func(ctx context.Context, c report.Command) Answer

	// Receive takes what the office sends beside acks and commands: [report.KindCosignature],
	// [report.KindLists] and [report.KindTimestamp], as it came. MUST NOT block. nil: it is passed over.
	Receive func(k report.Kind, payload []byte)
	// Connected tells that a connection was made (true) or has ended. MUST NOT block. nil: nobody.
	Connected func(bool)

	// Fault raises or clears a fault of this package. MUST NOT block, may be called often with the same. nil: nobody.
	Fault func(code, ch string, on bool)

	Now func() clock.Reading // time of messages, and of commands if its error is known

	HealthEvery, KeepAlive, Timeout, AckTimeout, RetryMin, RetryMax time.Duration
	Window, MaxMessages, MaxBytes                                   int

	Dial func(ctx context.Context) (net.Conn, error) // nil: by URL
	Log  *slog.Logger                                // nil: slog.Default
}

// Answer is what became of a command: refused if Code is set.
type Answer struct {
	Session string // the session it was about
	Code    string // why it was refused: "busy", "idle", "unknown" …
	Text    report.Text
}

// Status is what the uplink knows of itself.
type Status struct {
	Connected  bool
	Since      time.Duration // uptime of the last change of Connected
	OfflineFor time.Duration // 0 when connected
	Connects   int64         // connections made since New
	LastError  string        // of the last connection that ended or could not be made, without credentials

	OutboxID string
	Waiting  int           // numbered messages the office has not acknowledged, those not yet on disk included
	Bytes    int           // of them
	Acked    int64         // number up to which the office has acknowledged
	LastAck  time.Duration // uptime of the last acknowledgement that covered something; 0 never
	Refused  int64         // messages Publish refused
	Resent   int64         // numbered messages sent again

	Ignored  int64 // inbound messages that were retained, on a wrong topic, oversized, malformed or for another outbox
	Commands int64 // carried out or refused
}

// Settled reports whether the office has acknowledged all there is, over a connection that works.
func (s Status) Settled() bool { return s.Connected && s.Waiting == 0 }

// Uplink is the way to the office. Its methods are safe for concurrent use.
type Uplink struct {
	o    Options
	run  string
	dial func(ctx context.Context) (net.Conn, error)

	queue    chan draft          // Publish to the writer
	commands chan report.Command // inbound to the worker
	box      *box                // what is durable and not acknowledged
	changed  chan struct{}       // box grew, was acknowledged, or something was touched; capacity 1
	touched  [3]atomic.Bool      // by place in snapshotKinds
	drained  chan struct{}       // closed when all that was queued is durable, at the end
	seen     dedup
	exchange exchange

	highest                                              high // the connection's
	bdseq, connects, refused, resent, ignored, ncommands atomic.Int64
	storm                                                storm

	mu        sync.Mutex // guards what follows
	closed    bool
	connected bool
	since     time.Duration
	lastError string
	faults    map[string]bool
}

// New returns an uplink, and an error for options that cannot work. It touches no disk and no network.
func New(o Options) (*Uplink, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil: // the URL may hold a password: not quoted
		return nil, errors.New("uplink: options: the address is no URL")
	case o.Dial == nil && (u.Scheme != "mqtt" && u.Scheme != "mqtts" || u.Hostname() == ""):
		return nil, fmt.Errorf("uplink: options: address %s: want mqtt://host:port or mqtts://host:port", u.Redacted())
	case !report.ValidDevice(o.Device):
		return nil, fmt.Errorf("uplink: options: device %q: want 1 to 64 of a-z, 0-9 and hyphen", o.Device)
	case o.State == nil || o.Health == nil || o.Compliance == nil || o.Now == nil || o.Outbox == "":
		return nil, errors.New("uplink: options: State, Health, Compliance, Now and Outbox are needed")
	case min(o.HealthEvery, o.KeepAlive, o.Timeout, o.AckTimeout, o.RetryMin, o.RetryMax) < 0 || min(o.Window, o.MaxMessages, o.MaxBytes) < 0:
		return nil, errors.New("uplink: options: a negative interval or limit: use 0 for the default")
	}
	if o.Username == "" && u.User != nil {
		o.Username = u.User.Username()
		o.Password, _ = u.User.Password()
	}
	o.defaults()
	run := make([]byte, 8)
	rand.Read(run) // never fails since Go 1.24
	up := &Uplink{
		o: o, run: hex.EncodeToString(run), dial: o.Dial,
		queue: make(chan draft, maxQueue), commands: make(chan report.Command, maxCommands), changed: make(chan struct{}, 1), drained: make(chan struct{}),
		since: o.Now().Up, faults: map[string]bool{},
	}
	up.box = newBox(&o)
	up.storm.log = o.Log
	if up.dial == nil {
		up.dial = dialer(u, o.TLS)
	}
	return up, nil
}

func (o *Options) defaults() {
	for _, d := range []struct {
		field *time.Duration
		def   time.Duration
	}{
		{&o.HealthEvery, DefaultHealthEvery}, {&o.KeepAlive, DefaultKeepAlive}, {&o.Timeout, DefaultTimeout}, {&o.AckTimeout, DefaultAckTimeout},
		{&o.RetryMin, DefaultRetryMin}, {&o.RetryMax, DefaultRetryMax},
	} {
		if *d.field == 0 {
			*d.field = d.def
		}
	}
	for _, d := range []struct {
		field *int
		def   int
	}{{&o.Window, DefaultWindow}, {&o.MaxMessages, DefaultMaxMessages}, {&o.MaxBytes, DefaultMaxBytes}} {
		if *d.field == 0 {
			*d.field = d.def
		}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Fault == nil {
		o.Fault = func(string, string, bool) {}
	}
	if o.Connected == nil {
		o.Connected = func(bool) {}
	}
	if o.Command == nil {
		o.Command = func(context.Context, report.Command) Answer {
			return Answer{Code: "unsupported", Text: report.Text{Zh: "本机不接受远程指令", En: "This room takes no commands"}}
		}
	}
}

// Publish queues a numbered message; it never blocks. typ is one of report's types, body fits it. It
// becomes durable within a sync of the disk, in the order of the calls; Run that is asked to stop
// writes what is queued before it returns. An error means that the message will not be sent: ErrFull,
// ErrClosed, or a body beyond its limits.
func (u *Uplink) Publish(typ string, body report.NumberedBody) error {
	d, err := newDraft(&u.o, typ, body)
	if err != nil {
		u.refused.Add(1)
		return fmt.Errorf("uplink: publish: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.closed:
		err = ErrClosed
	case !u.box.reserve(d.cost()):
		err = ErrFull
	default:
		select {
		case u.queue <- d:
			return nil
		default: // the disk hangs
			u.box.refuse(d.cost())
			err = ErrFull
		}
	}
	u.refused.Add(1)
	return fmt.Errorf("uplink: publish: %s: %w", typ, err)
}

// Touch says that what a message of this kind reports has changed: KindState, KindHealth or
// KindCompliance. It is sent at once, but not more often than [snapshotGap]. It never blocks.
func (u *Uplink) Touch(k report.Kind) {
	i := slices.Index(snapshotKinds(), k)
	if i < 0 {
		panic("BUG: uplink: touch of " + string(k))
	}
	u.touched[i].Store(true)
	u.wake()
}

// Send gives the newest message of an un-numbered kind: [report.KindCheckpoint], [report.KindLedger] or
// [report.KindTimestamp]. It is sent once over a connection, with QoS 1, and takes the place of one of its
// kind that has not left yet; without a connection it waits for the next. Nothing tells that it arrived but
// the office's answer: ask again when none comes. Never blocks. An error is a message beyond its limits.
func (u *Uplink) Send(m report.Message) error {
	k, err := u.exchange.put(m)
	if err != nil {
		return fmt.Errorf("uplink: send %s: %w", k, err)
	}
	u.wake()
	return nil
}

// Status tells how the uplink is. It never blocks.
func (u *Uplink) Status() Status {
	s := u.box.status()
	s.Connects, s.Refused, s.Resent, s.Ignored, s.Commands = u.connects.Load(), u.refused.Load(), u.resent.Load(), u.ignored.Load(), u.ncommands.Load()
	now := u.o.Now().Up
	u.mu.Lock()
	defer u.mu.Unlock()
	s.Connected, s.Since, s.LastError = u.connected, u.since, u.lastError
	if !s.Connected {
		s.OfflineFor = now - s.Since
	}
	return s
}

func (u *Uplink) wake() {
	select {
	case u.changed <- struct{}{}:
	default:
	}
}

// fault tells the owner of changes only.
func (u *Uplink) fault(code string, on bool) {
	u.mu.Lock()
	same := u.faults[code] == on
	u.faults[code] = on
	u.mu.Unlock()
	if !same {
		u.o.Fault(code, "", on)
	}
}
