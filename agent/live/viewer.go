package live

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// Why a viewer is ended.
var (
	errLeft    = errors.New("the viewer left")
	errLost    = errors.New("no connection to the viewer")
	errSilent  = errors.New("the viewer does not answer")
	errChanged = errors.New("the channel delivers something else now")
)

// viewer is one who watches one channel, with the sound of that or of another one.
type viewer struct {
	l       *Live
	id      string // secret: who has it may end the view
	channel string
	sound   string
	who     string
	remote  netip.Addr
	since   time.Time
	feeds   []*feed // used
	wants   []want
	pc      *webrtc.PeerConnection
	video   *track
	audio   *track

	ctx       context.Context
	end       context.CancelCauseFunc
	connected chan struct{}
	once      sync.Once
	heard     atomic.Int64 // since, ns, of the last RTCP packet
	asked     atomic.Int64
	packets   atomic.Int64
	sent      atomic.Int64 // bytes
	dropped   atomic.Int64

	mu     sync.Mutex // guards what waits
	queue  []*frame
	bytes  int
	behind bool // pictures wait for a keyframe
	wake   chan struct{}
}

func (v *viewer) shown() Viewer {
	s := Viewer{ID: v.id[:8], Channel: v.channel, Sound: v.sound, Who: v.who, Remote: v.remote, Since: v.since,
		Packets: v.packets.Load(), Bytes: v.sent.Load(), Dropped: v.dropped.Load(), Asked: v.asked.Load()}
	select {
	case <-v.connected:
		s.Live = true
	default:
	}
	return s
}

// begin queues the pictures a newcomer starts with.
func (v *viewer) begin(cache []*frame) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.behind = len(cache) == 0
	for _, f := range cache {
		v.queue = append(v.queue, f)
		v.bytes += f.bytes
	}
	v.stir()
}

// push queues one frame; what does not fit is dropped with all pictures up to the next keyframe.
func (v *viewer) push(f *frame) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.behind && f.video {
		if !f.key {
			v.dropped.Add(1)
			return
		}
		v.behind = false
	}
	if len(v.queue) >= queueFrames || len(v.queue) > 0 && v.bytes+f.bytes > queueBytes+cacheBytes {
		v.dropped.Add(int64(len(v.queue)))
		v.queue, v.bytes, v.behind = nil, 0, v.video != nil
		if f.video && !f.key {
			v.dropped.Add(1)
			return
		}
		v.behind = v.behind && !f.video
	}
	v.queue = append(v.queue, f)
	v.bytes += f.bytes
	v.stir()
}

func (v *viewer) stir() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// take waits for a frame; nil when there is none yet and something else is to be done.
func (v *viewer) take(tick <-chan time.Time) (f *frame, more bool) {
	for {
		v.mu.Lock()
		if len(v.queue) > 0 {
			f = v.queue[0]
			v.queue[0] = nil
			v.queue = v.queue[1:]
			v.bytes -= f.bytes
			more = len(v.queue) > 0
		}
		v.mu.Unlock()
		if f != nil {
			return f, more
		}
		select {
		case <-v.wake:
		case <-tick:
			return nil, false
		case <-v.ctx.Done():
			return nil, false
		}
	}
}

// run shows until the viewer is ended, then takes everything down.
func (v *viewer) run() {
	defer v.l.forget(v)
	wait := time.NewTimer(connectWithin)
	defer wait.Stop()
	select {
	case <-v.connected:
		v.l.served.Add(1)
		v.heard.Store(int64(time.Since(v.since)))
		for i, f := range v.feeds {
			f.join(v, v.wants[i])
		}
		v.show()
	case <-wait.C:
		v.end(errLost)
	case <-v.ctx.Done():
	}
	for _, f := range v.feeds {
		f.leave(v)
		v.l.unuse(f)
	}
	v.l.o.Log.Info("view ended", "channel", v.channel, "who", v.who, "viewer", v.id[:8], "why", context.Cause(v.ctx),
		"packets", v.packets.Load(), "dropped", v.dropped.Load())
	v.l.closePeer(v.pc)
}

// show sends what is queued until the viewer is ended.
func (v *viewer) show() {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	burst := 0
	for v.ctx.Err() == nil {
		f, more := v.take(tick.C)
		if f == nil {
			v.check()
			continue
		}
		t := v.video
		if !f.video {
			t = v.audio
		}
		n, err := t.send(f)
		v.packets.Add(int64(n))
		v.sent.Add(int64(f.bytes))
		if err != nil {
			v.end(err)
			return
		}
		t.report(v.pc, f)
		if burst += n; !more {
			burst = 0
		} else if burst >= burstPackets {
			burst = 0
			v.rest(burstPause)
		}
	}
}

func (v *viewer) rest(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-v.ctx.Done():
	}
}

// check ends a viewer that was sent something and has not answered for long.
func (v *viewer) check() {
	for _, t := range []*track{v.video, v.audio} {
		if t == nil || t.lastSent.IsZero() || time.Since(t.lastSent) > reportEvery {
			continue
		}
		if time.Since(v.since)-time.Duration(v.heard.Load()) > v.l.o.Silent {
			v.end(errSilent)
		}
		return
	}
}

// listen takes what the viewer reports about one track, and keeps the retransmissions going, until the
// connection is closed.
func (v *viewer) listen(s *webrtc.RTPSender) {
	for {
		packets, _, err := s.ReadRTCP()
		if err != nil {
			return
		}
		v.heard.Store(int64(time.Since(v.since)))
		for _, p := range packets {
			switch p.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				v.asked.Add(1)
			}
		}
	}
}

// track sends the frames of one kind to one viewer. It implements [webrtc.TrackLocal]; its frames are
// sent by one goroutine, after Bind.
type track struct {
	codec webrtc.RTPCodecParameters
	kind  webrtc.RTPCodecType

	out         webrtc.TrackLocalWriter
	ssrc        webrtc.SSRC
	playout     uint8 // id of the playout-delay extension, 0: not agreed
	sequence    uint16
	sentPackets uint32
	sentBytes   uint32
	lastSent    time.Time
	reported    time.Time
}

// playoutDelay asks a browser to show pictures as soon as they are decoded
// (webrtc.googlesource.com, rtp-hdrext/playout-delay: 12 bits least, 12 bits most, in 10 ms).
const playoutDelay = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"

var noDelay = []byte{0, 0, 0}

func (t *track) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	for _, p := range c.CodecParameters() {
		if p.PayloadType != t.codec.PayloadType {
			continue
		}
		for _, e := range c.HeaderExtensions() {
			if e.URI == playoutDelay {
				t.playout = uint8(e.ID)
			}
		}
		t.out, t.ssrc = c.WriteStream(), c.SSRC()
		return p, nil
	}
	return webrtc.RTPCodecParameters{}, webrtc.ErrUnsupportedCodec
}

func (t *track) Unbind(webrtc.TrackLocalContext) error { return nil }
func (t *track) ID() string                            { return t.kind.String() }
func (t *track) RID() string                           { return "" }
func (t *track) StreamID() string                      { return "room" }
func (t *track) Kind() webrtc.RTPCodecType             { return t.kind }

// send writes the packets of one frame and counts them.
func (t *track) send(f *frame) (n int, err error) {
	for i, p := range f.payloads {
		h := &rtp.Header{Version: 2, PayloadType: uint8(t.codec.PayloadType), SSRC: uint32(t.ssrc), SequenceNumber: t.sequence,
			Timestamp: uint32(f.ticks), Marker: f.video && i == len(f.payloads)-1}
		if t.playout != 0 && f.video {
			if err := h.SetExtension(t.playout, noDelay); err != nil {
				return n, err
			}
		}
		t.sequence++
		if _, err := t.out.WriteRTP(h, p); err != nil {
			return n, err
		}
		t.sentPackets++
		t.sentBytes += uint32(len(p))
		n++
	}
	t.lastSent = time.Now()
	return n, nil
}

// report ties the RTP time of f to the uptime at which it was captured (RFC 3550 6.4.1), as if the board
// had booted in 1970: alike for all channels, and untouched by steps of the wall clock.
func (t *track) report(pc *webrtc.PeerConnection, f *frame) {
	if t.lastSent.Sub(t.reported) < reportEvery {
		return
	}
	t.reported = t.lastSent
	const from1900to1970 = 2208988800
	at := f.at
	ntp := uint64(from1900to1970+at/time.Second)<<32 | uint64(at%time.Second)<<32/uint64(time.Second)
	_ = pc.WriteRTCP([]rtcp.Packet{&rtcp.SenderReport{SSRC: uint32(t.ssrc), NTPTime: ntp, RTPTime: uint32(f.ticks),
		PacketCount: t.sentPackets, OctetCount: t.sentBytes}}) // the next one comes in a second
}
