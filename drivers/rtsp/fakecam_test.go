package rtsp

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"minglu/drivers"
)

// Parameter sets written by x264 (baseline, pic_order_cnt_type 2, so that DTS is PTS): 640x360 and 320x240.
func testSets() (sps640, sps320, pps []byte) {
	return unhex("6742c01ed900a02ff97011000003000100000300320f162e48"),
		unhex("6742c00dd90141fb011000000300100000030320f142a480"), unhex("68cb83cb20")
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return b
}

// uptime is the monotonic clock of tests.
func uptime() time.Duration { return time.Since(epoch) }

var epoch = time.Now()

// fakeCamera speaks just enough RTSP, and exactly what a test wants.
type fakeCamera struct {
	sdp     string
	session string // value of the Session header
	server  string // value of the Server header
	// transport is added to the Transport header of the answer to SETUP.
	transport string
	mute      map[base.Method]bool
	play      func(c *camConn) // after PLAY was answered; nil: nothing is sent
	addr      string

	mu   sync.Mutex
	seen []seenRequest
}

type seenRequest struct {
	method base.Method
	at     time.Time
	header base.Header
}

type camConn struct {
	t *testing.T
	net.Conn
	mu   sync.Mutex
	seq  [2]uint16
	ssrc [2]uint32
	done chan struct{} // closed when the client is gone
}

// start listens until the test ends.
func (f *fakeCamera) start(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.serve(t, c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return "rtsp://" + f.addr + "/cam"
}

func (f *fakeCamera) serve(t *testing.T, c net.Conn) {
	cc := &camConn{t: t, Conn: c, done: make(chan struct{}), ssrc: [2]uint32{111, 222}}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer c.Close()
	defer close(cc.done)
	r := bufio.NewReader(c)
	for {
		if b, err := r.Peek(1); err == nil && b[0] == base.InterleavedFrameMagicByte { // receiver reports
			var f base.InterleavedFrame
			if f.Unmarshal(r) != nil {
				return
			}
			continue
		}
		var req base.Request
		if req.Unmarshal(r) != nil {
			return
		}
		f.mu.Lock()
		f.seen = append(f.seen, seenRequest{req.Method, time.Now(), req.Header})
		f.mu.Unlock()
		if f.mute[req.Method] {
			continue
		}
		h := base.Header{"CSeq": req.Header["CSeq"]}
		var body []byte
		switch req.Method {
		case base.Options:
			h["Public"] = base.HeaderValue{"DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"}
		case base.Describe:
			h["Content-Type"] = base.HeaderValue{"application/sdp"}
			h["Server"] = base.HeaderValue{f.server}
			body = []byte(f.sdp)
		case base.Setup:
			h["Transport"] = base.HeaderValue{strings.Join(req.Header["Transport"], ",") + f.transport}
			h["Session"] = base.HeaderValue{f.session}
		}
		b, _ := (&base.Response{StatusCode: base.StatusOK, Header: h, Body: body}).Marshal()
		cc.write(b)
		if req.Method == base.Play && f.play != nil {
			wg.Go(func() { f.play(cc) })
		}
	}
}

func (f *fakeCamera) requests(m base.Method) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	var at []time.Time
	for _, r := range f.seen {
		if r.method == m {
			at = append(at, r.at)
		}
	}
	return at
}

func (c *camConn) write(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.Write(b)
}

func (c *camConn) frame(channel int, payload []byte) {
	b, _ := base.InterleavedFrame{Channel: channel, Payload: payload}.Marshal()
	c.write(b)
}

// rtp sends one packet of a track; the sequence number counts by itself.
func (c *camConn) rtp(track int, ts uint32, marker bool, payload ...byte) {
	p := rtp.Packet{Header: rtp.Header{
		Version: 2, PayloadType: uint8(96 + track), SequenceNumber: c.seq[track], Timestamp: ts, SSRC: c.ssrc[track], Marker: marker,
	}, Payload: payload}
	c.seq[track]++
	b, err := p.Marshal()
	if err != nil {
		c.t.Error(err)
	}
	c.frame(2*track, b)
}

func (c *camConn) report(track int, ntp uint64, ts uint32) {
	b, err := (&rtcp.SenderReport{SSRC: c.ssrc[track], NTPTime: ntp, RTPTime: ts}).Marshal()
	if err != nil {
		c.t.Error(err)
	}
	c.frame(2*track+1, b)
}

// key sends a keyframe in one packet, n telling frames apart; delta another picture.
func (c *camConn) key(ts uint32, n byte)   { c.rtp(0, ts, true, 0x65, 0x88, n, n) }
func (c *camConn) delta(ts uint32, n byte) { c.rtp(0, ts, true, 0x61, 0x9A, n, n) }

// sdpH264 is a description with one H.264 track, and one Opus track if sound.
func sdpH264(sound bool, fmtp string) string {
	s := "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=Test Cam\r\nt=0 0\r\n" +
		"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1" + fmtp + "\r\na=control:trackID=0\r\n"
	if sound {
		s += "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\na=fmtp:97 sprop-stereo=1\r\na=control:trackID=1\r\n"
	}
	return s
}

func sprop(sets ...[]byte) string {
	var s []string
	for _, b := range sets {
		s = append(s, base64.StdEncoding.EncodeToString(b))
	}
	return ";sprop-parameter-sets=" + strings.Join(s, ",")
}

// sink keeps all it is given. Its method wait lets a test stop as soon as it has enough.
type sink struct {
	mu      sync.Mutex
	desc    []drivers.Description
	samples []drivers.Sample
	reports []drivers.SenderReport
	lost    []string
	change  chan struct{}
}

func newSink() *sink { return &sink{change: make(chan struct{}, 1)} }

func (s *sink) note(f func()) {
	s.mu.Lock()
	f()
	s.mu.Unlock()
	select {
	case s.change <- struct{}{}:
	default:
	}
}

func (s *sink) Open(d drivers.Description) { s.note(func() { s.desc = append(s.desc, d) }) }
func (s *sink) Sample(x drivers.Sample)    { s.note(func() { s.samples = append(s.samples, x) }) }
func (s *sink) SenderReport(r drivers.SenderReport) {
	s.note(func() { s.reports = append(s.reports, r) })
}
func (s *sink) Lost(track, n int, cause string) {
	s.note(func() { s.lost = append(s.lost, fmt.Sprintf("%d: %d %s", track, n, cause)) })
}

// run runs a source until enough is true, its end, or ten seconds.
func (s *sink) run(t *testing.T, src *Source, enough func() bool) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- src.Run(ctx, s) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-s.change:
			s.mu.Lock()
			ok := enough != nil && enough()
			s.mu.Unlock()
			if ok {
				cancel()
				return <-ended
			}
		}
	}
}

func mustNew(t *testing.T, o Options) *Source {
	t.Helper()
	o.Uptime = uptime
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
