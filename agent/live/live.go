// Package live shows the channels of a room to browsers by WebRTC: WHEP (draft-ietf-wish-whep) over HTTP
// for the agreement, one UDP socket for all pictures and sound.
//
// It guarantees: a viewer begins with the pictures since the last keyframe and waits for none; pictures
// are cut into packets once per channel and never coded anew; nothing is shown in a pause, nor in an
// idle room unless the rule of the body allows it, and a viewer is cut when that time comes; viewers are
// limited in number, each has a bounded queue and loses what does not fit, and one that stalls or
// vanishes is closed and costs nobody a picture. Sound and picture carry sender reports made from the
// uptime at which they were captured, so a browser may align them even if they are two channels.
//
// It does not guarantee delivery, and decides nothing about who may look: whoever mounts [Live.Handler]
// does that first, and writes the entry. It shows H.264, H.265 where the browser offers it, and Opus. AAC
// cannot be carried by WebRTC: the answer says so and a microphone channel may take its place. WebRTC
// has no B-frames (Chromium 156 stops at the first one): of such streams only the keyframes are shown, and
// the answer says so.
//
// Use: [New], mount the handler at /whep/, and Run until its context ends.
package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"minglu/drivers"
)

// Defaults and limits.
const (
	DefaultMaxViewers   = 64 // of all channels; each tile of a page is one
	DefaultMaxPerChan   = 24
	DefaultSilent       = 10 * time.Second
	DefaultClose        = 3 * time.Second  // a connection that does not close within this is left and counted
	connectWithin       = 10 * time.Second // from the answer to the first packet
	describeWithin      = 2 * time.Second  // for a channel to say what it delivers
	lookEvery           = 200 * time.Millisecond
	maxOfferBytes       = 64 << 10
	queueBytes          = 4 << 20 // waiting for one viewer
	queueFrames         = 1500
	cacheBytes          = 4 << 20 // a group of pictures longer than this is not kept: newcomers wait for the next
	burstPackets        = 64      // sent at once, then burstPause: a group of pictures must not overflow the sockets on its way
	burstPause          = 4 * time.Millisecond
	reportEvery         = time.Second
	nackPackets         = 512 // kept per viewer and track for retransmission, half a second of 4 Mbit/s
	mtu                 = 1160
	socketBufferBytes   = 1 << 20
	defaultListenSocket = "127.0.0.1:0"
)

// State is what the room does, as far as it matters here.
type State string

// The states of a room.
const (
	Idle      State = "idle"
	Recording State = "recording"
	Paused    State = "paused"
)

// Tap takes what one channel delivers, in order, one call at a time. It has the methods of capture.Tap.
type Tap interface {
	Describe(ch string, d drivers.Description)
	Sample(ch string, s drivers.Sample)
	Lost(ch string, track, n int, cause string)
	SenderReport(ch string, r drivers.SenderReport)
}

// Channel is one channel that may be looked at.
type Channel struct {
	ID    string
	Sound string // id of the microphone channel that goes with these pictures unless the request says otherwise; "": its own
}

// Options say what is shown and where. Zero values mean the defaults.
type Options struct {
	Channels []Channel
	// Tap gives t the samples of a channel since the last keyframe and then what comes, until stop has
	// returned. Required; capture.Capture.Tap does it.
	Tap func(ch string, t Tap) (stop func())
	// State is what the room does now: quick, from any goroutine. Required.
	State func() State
	// IdleAllowed says whether the body's rule lets an idle room be shown; nil: no.
	IdleAllowed func() bool
	// Who names the viewer of a request for Viewers; nil: nobody is named.
	Who func(r *http.Request) string

	Listen   string        // UDP address for all viewers, "127.0.0.1:0" by default; "0.0.0.0:8189" for a network
	PortMax  int           // with a port in Listen: the ports up to this one are tried too
	Silent   time.Duration // a viewer that is not heard of for so long is closed
	Close    time.Duration // how long a connection may take to close
	MaxAll   int
	MaxOfOne int // viewers of one channel

	Log *slog.Logger // nil: none
}

// Viewer is one who watches.
type Viewer struct {
	ID      string // not a secret: the first characters of the resource
	Channel string
	Sound   string // channel the sound comes from, "" without
	Who     string
	Remote  netip.Addr
	Since   time.Time
	Live    bool  // connected, not just agreed
	Packets int64 // sent
	Bytes   int64
	Dropped int64 // frames that did not fit into its queue
	Asked   int64 // pictures it could not decode (PLI, FIR)
}

// Live shows the channels of one room. Its methods are safe for concurrent use.
type Live struct {
	o      Options
	cert   webrtc.Certificate
	mux    atomic.Pointer[socket]
	bound  chan struct{}
	once   sync.Once
	wg     sync.WaitGroup // viewers
	stuck  atomic.Int64
	served atomic.Int64

	mu      sync.Mutex
	feeds   map[string]*feed // with viewers, or being asked what they are
	viewers map[string]*viewer
	ended   error // why there are no more viewers
}

// New checks o. It opens nothing before Run.
func New(o Options) (*Live, error) {
	if o.Tap == nil || o.State == nil {
		return nil, errors.New("live: options: Tap and State are needed")
	}
	if o.IdleAllowed == nil {
		o.IdleAllowed = func() bool { return false }
	}
	if o.Who == nil {
		o.Who = func(*http.Request) string { return "" }
	}
	if o.Listen == "" {
		o.Listen = defaultListenSocket
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.Silent, DefaultSilent}, {&o.Close, DefaultClose}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if o.MaxAll <= 0 {
		o.MaxAll = DefaultMaxViewers
	}
	if o.MaxOfOne <= 0 {
		o.MaxOfOne = DefaultMaxPerChan
	}
	cert, err := newCertificate()
	if err != nil {
		return nil, fmt.Errorf("live: certificate for DTLS: %w", err)
	}
	return &Live{o: o, cert: cert, bound: make(chan struct{}), feeds: map[string]*feed{}, viewers: map[string]*viewer{}}, nil
}

// Run opens the UDP socket and shows until ctx ends. It returns the cause once every viewer is closed
// (each within Options.Close), or why it cannot listen. Call it once.
func (l *Live) Run(ctx context.Context) error {
	defer l.once.Do(func() { close(l.bound) })
	m, err := listen(l.o.Listen, l.o.PortMax)
	if err != nil {
		return err
	}
	defer m.close()
	l.mux.Store(m)
	l.once.Do(func() { close(l.bound) })
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.shut(context.Cause(ctx))
			l.wg.Wait()
			return context.Cause(ctx)
		case <-tick.C:
			l.look()
		}
	}
}

// Addr waits until Run listens and gives the UDP address; the zero AddrPort when ctx ends first or Run has failed.
func (l *Live) Addr(ctx context.Context) netip.AddrPort {
	select {
	case <-l.bound:
		if m := l.mux.Load(); m != nil {
			return m.addr
		}
	case <-ctx.Done():
	}
	return netip.AddrPort{}
}

// Viewers tells who watches, the longest first.
func (l *Live) Viewers() []Viewer {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Viewer, 0, len(l.viewers))
	for _, v := range l.viewers {
		out = append(out, v.shown())
	}
	slices.SortFunc(out, func(a, b Viewer) int { return a.Since.Compare(b.Since) })
	return out
}

// Stuck counts connections that did not close in time since the start. They hold memory, nothing else.
func (l *Live) Stuck() int64 { return l.stuck.Load() }

// Served counts the views since the start.
func (l *Live) Served() int64 { return l.served.Load() }

// look cuts all viewers when the room may not be shown any more.
func (l *Live) look() {
	l.mu.Lock()
	n := len(l.viewers)
	l.mu.Unlock()
	if n == 0 {
		return
	}
	if r := l.closedNow(); r != nil {
		l.endAll(r)
	}
}

// closedNow is why the room may not be shown at the moment, nil if it may.
func (l *Live) closedNow() *refusal {
	switch l.o.State() {
	case Recording:
		return nil
	case Paused:
		return &refusal{http.StatusConflict, "paused", "会话已暂停，暂停期间不显示画面和声音。", "The session is paused; nothing is shown during a pause."}
	default:
		if l.o.IdleAllowed() {
			return nil
		}
		return &refusal{http.StatusConflict, "idle", "未在录音录像，不显示画面和声音。", "Nothing is being recorded, so nothing is shown."}
	}
}

func (l *Live) endAll(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range l.viewers {
		v.end(why)
	}
}

// shut ends all viewers and lets none in.
func (l *Live) shut(why error) {
	l.mu.Lock()
	l.ended = why
	l.mu.Unlock()
	l.endAll(why)
}

func (l *Live) channel(id string) *Channel {
	if i := slices.IndexFunc(l.o.Channels, func(c Channel) bool { return c.ID == id }); i >= 0 {
		return &l.o.Channels[i]
	}
	return nil
}
