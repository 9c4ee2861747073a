// Package rtsp receives pictures and sound of a network camera over RTSP (RFC 2326, RTP inside the
// TCP connection).
//
// It guarantees: an access unit is delivered whole, once and in the order of its coding, or not at
// all; what is missing is told by Sink.Lost, and after a loss nothing that needs the missing picture
// is delivered before the next keyframe. DTS rises strictly within a connection: over the wrap of RTP
// timestamps, and over steps of the camera's clock, which cost no picture. G.711 is delivered as the
// samples it stands for. No error, log line
// or String holds a password. Run returns a *drivers.Problem unless it was told to stop, and only
// when the session is torn down and the connection closed.
//
// It does not reconnect, does not trust the camera's wall clock (sender reports are only passed on),
// does not decode, and knows neither UDP nor multicast: a room's cameras are on a cable.
//
// Use: make a [Source] with [New] and call Run again after each return, with back-off.
package rtsp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"

	"minglu/drivers"
)

// Defaults of Options.
const (
	DefaultTimeout = 10 * time.Second // for one answer, one read, one write
	DefaultSilence = 10 * time.Second // for media once playing
)

// Bounds that are not configurable.
const (
	maxAccessUnit = 8 << 20                // bytes of one picture; above it the stream is broken
	ssrcPatience  = 2 * time.Second        // foreign packets and none of ours: the camera has begun a new stream
	paramsWait    = 30 * time.Second       // for parameter sets when the description has none
	teardownWait  = 500 * time.Millisecond // for the camera to close after TEARDOWN
	never         = 200 * 365 * 24 * time.Hour
)

// Options say which camera and how.
type Options struct {
	URL     string               // rtsp://user:password@host:port/path; special characters of the password as %XX
	Uptime  func() time.Duration // time since boot, monotonic; required
	Log     *slog.Logger         // nil: nothing is logged
	Timeout time.Duration        // 0: DefaultTimeout
	Silence time.Duration        // 0: DefaultSilence
}

// String is the redacted URL, so that printing Options shows no password.
func (o Options) String() string { return Redacted(o.URL) }

// GoString is String: %#v must not show a password either.
func (o Options) GoString() string { return o.String() }

// LogValue is String for slog.
func (o Options) LogValue() slog.Value { return slog.StringValue(o.String()) }

// Source is one camera. It implements drivers.Source. Run must not be called twice at a time.
type Source struct {
	url     *base.URL
	shown   string
	secrets secrets
	uptime  func() time.Duration
	log     *slog.Logger
	timeout time.Duration
	silence time.Duration
	connect func(ctx context.Context, network, address string) (net.Conn, error)
	lies    atomic.Bool // the camera uses another SSRC than it announces
}

var _ drivers.Source = (*Source)(nil)

// New checks the address; it does not connect. The error is a *drivers.Problem of code "address".
func New(o Options) (*Source, error) {
	if o.Uptime == nil {
		return nil, errors.New("rtsp: options: Uptime is missing")
	}
	u, err := base.ParseURL(o.URL)
	if err != nil || u.Hostname() == "" {
		// The parser's own error quotes the address with its password: it is dropped.
		return nil, &drivers.Problem{
			Code: "address",
			Zh:   fmt.Sprintf("摄像机地址 %s 写法不对：应为 rtsp://用户:密码@主机:端口/路径，密码中的特殊字符请写成 %%XX", Redacted(o.URL)),
			En:   fmt.Sprintf("camera address %s is malformed: write rtsp://user:password@host:port/path, special characters of the password as %%XX", Redacted(o.URL)),
		}
	}
	s := &Source{
		url: u, shown: Redacted(o.URL), secrets: secretsOf(o.URL, u), uptime: o.Uptime, log: o.Log,
		timeout: o.Timeout, silence: o.Silence,
	}
	s.connect = s.dial
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.timeout <= 0 {
		s.timeout = DefaultTimeout
	}
	if s.silence <= 0 {
		s.silence = DefaultSilence
	}
	s.log = s.log.With("camera", s.shown)
	return s, nil
}

// String is the camera's redacted URL.
func (s *Source) String() string { return s.shown }

// GoString is String.
func (s *Source) GoString() string { return s.shown }

// LogValue is String for slog.
func (s *Source) LogValue() slog.Value { return slog.StringValue(s.shown) }

// Run connects, delivers to out until ctx ends or the connection fails, and returns the cause: the
// cause of ctx, or a *drivers.Problem. It blocks up to half a second longer than ctx for the
// TEARDOWN. It may be called again after it has returned.
func (s *Source) Run(ctx context.Context, out drivers.Sink) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tcp := gortsplib.ProtocolTCP
	se := &session{src: s, out: out, fail: cancel}
	client := &gortsplib.Client{
		Scheme: s.url.Scheme, Host: s.url.Host, Protocol: &tcp,
		// gortsplib measures silence by the wall clock, so that a step of the clock would end every
		// connection: silence is measured by deadlineConn and watch instead.
		ReadTimeout: never, WriteTimeout: s.timeout,
		UserAgent:       "minglu",
		DialContext:     se.dial,
		OnPacketsLost:   func(uint64) {}, // counted by track, per SSRC
		OnDecodeError:   func(err error) { s.log.Debug("rtsp: packet dropped", "err", s.secrets.clean(err.Error())) },
		OnServerRequest: func(*base.Request) {},
	}
	if err := client.Start(); err != nil {
		return s.problem(err)
	}
	// TEARDOWN only reaches the camera, and Run only returns, when the client has closed.
	defer client.Close()

	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	wg.Go(func() {
		<-ctx.Done()
		client.Close()
	})
	setup := time.AfterFunc(4*s.timeout, func() { cancel(errSetupTooLong) })
	defer setup.Stop()
	err := se.play(client)
	if err == nil {
		setup.Stop()
		s.log.Info("rtsp: playing", "identity", se.desc.Identity, "tracks", len(se.desc.Formats))
		wg.Go(func() { se.watch(ctx) })
		err = client.Wait()
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
		if se.told(cause) { // asked to stop: not our failure
			return cause
		}
	}
	return s.problem(err)
}

var errSetupTooLong = errors.New("no end of the set-up")

// told reports whether cause came from the caller's context.
func (se *session) told(cause error) bool {
	var p *drivers.Problem
	return !errors.As(cause, &p) && !errors.Is(cause, errSetupTooLong)
}

// session is one connection.
type session struct {
	src    *Source
	out    drivers.Sink
	fail   context.CancelCauseFunc // ends the connection; never waits
	desc   drivers.Description
	tracks []receiver
	video  *video // nil: sound only

	lastMedia atomic.Int64 // uptime of the last packet of ours, ns
	opened    atomic.Bool
	dead      bool // after fail: what still comes in is not delivered
	conn      *deadlineConn
}

// receiver turns the packets of one track into samples.
type receiver interface {
	base() *track
	packet(pkt packet)
}

// watch ends a connection that stays open but brings no media, or never says what it carries.
func (se *session) watch(ctx context.Context) {
	s := se.src
	start := s.uptime()
	tick := time.NewTicker(min(time.Second, s.silence/4))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.uptime()
		switch last := max(start, time.Duration(se.lastMedia.Load())); {
		case now-last >= s.silence:
			se.fail(s.silent())
			return
		case !se.opened.Load() && now-start >= max(paramsWait, s.silence):
			se.fail(s.noParameters())
			return
		}
	}
}

// open tells the sink what is coming; once, and before any sample.
func (se *session) open() {
	se.out.Open(se.desc)
	se.opened.Store(true)
	for _, r := range se.tracks {
		r.base().flushReport()
	}
}

// give delivers a sample if the sink knows its track already.
func (se *session) give(s drivers.Sample) {
	if se.opened.Load() && !se.dead {
		se.out.Sample(s)
	}
}

// lost tells of n missing packets or frames.
func (se *session) lost(track, n int, cause string) {
	if se.opened.Load() && !se.dead {
		se.out.Lost(track, n, cause)
	}
}

// broken ends the connection from within a callback.
func (se *session) broken(p *drivers.Problem) {
	se.dead = true
	se.fail(p)
}
