package main

import (
	"strings"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/bluenviron/gortsplib/v5/pkg/liberrors"
	"github.com/bluenviron/gortsplib/v5/pkg/ntp"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

const (
	reportEvery = time.Second            // how often readers get a sender report
	flushTime   = 500 * time.Millisecond // what readers get to take the last packets of a publisher that has gone
)

// relay is the handler of the server.
type relay struct {
	server     *gortsplib.Server
	user, pass string
	log        *frameLog // nil: none

	mu      sync.Mutex
	streams map[string]*stream // by path
}

// stream is one path with a publisher.
type stream struct {
	path      string
	publisher *gortsplib.ServerSession
	out       *gortsplib.ServerStream
	tracks    map[*description.Media]*passing
}

// passing is the state of one media; only the publisher's reading goroutine uses it.
type passing struct {
	ssrc    map[uint8]uint32 // SSRC towards readers, by payload type
	clock   int
	report  *rtcp.SenderReport // last of the publisher, with the SSRC towards readers
	came    time.Time
	sent    time.Time
	packets uint32
	octets  uint32
	frames  *framer
}

func (r *relay) find(path string) *stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.streams[strings.Trim(path, "/")]
}

func status(code base.StatusCode) *base.Response { return &base.Response{StatusCode: code} }

// OnDescribe implements gortsplib.ServerHandlerOnDescribe.
func (r *relay) OnDescribe(ctx *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	if r.user != "" && !ctx.Conn.VerifyCredentials(ctx.Request, r.user, r.pass) {
		return status(base.StatusUnauthorized), nil, liberrors.ErrServerAuth{}
	}
	s := r.find(ctx.Path)
	if s == nil {
		return status(base.StatusNotFound), nil, nil
	}
	return status(base.StatusOK), s.out, nil
}

// OnAnnounce implements gortsplib.ServerHandlerOnAnnounce.
func (r *relay) OnAnnounce(ctx *gortsplib.ServerHandlerOnAnnounceCtx) (*base.Response, error) {
	path := strings.Trim(ctx.Path, "/")
	s := &stream{
		path: path, publisher: ctx.Session,
		out:    &gortsplib.ServerStream{Server: r.server, Desc: ctx.Description},
		tracks: map[*description.Media]*passing{},
	}
	if err := s.out.Initialize(); err != nil {
		return status(base.StatusBadRequest), err
	}
	stats := s.out.Stats()
	for i, m := range ctx.Description.Medias {
		p := &passing{ssrc: map[uint8]uint32{}, frames: newFramer(r.log, path, i, m)}
		for f, st := range stats.Medias[m].Formats {
			p.ssrc[f.PayloadType()] = st.LocalSSRC
			p.clock = f.ClockRate()
		}
		s.tracks[m] = p
	}
	r.mu.Lock()
	old := r.streams[path]
	r.streams[path] = s
	r.mu.Unlock()
	if old != nil {
		old.out.Close()
		old.publisher.Close()
	}
	return status(base.StatusOK), nil
}

// OnSetup implements gortsplib.ServerHandlerOnSetup.
func (r *relay) OnSetup(ctx *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	if ctx.Session.State() == gortsplib.ServerSessionStatePreRecord {
		return status(base.StatusOK), nil, nil
	}
	if r.user != "" && !ctx.Conn.VerifyCredentials(ctx.Request, r.user, r.pass) {
		return status(base.StatusUnauthorized), nil, liberrors.ErrServerAuth{}
	}
	s := r.find(ctx.Path)
	if s == nil {
		return status(base.StatusNotFound), nil, nil
	}
	return status(base.StatusOK), s.out, nil
}

// OnPlay implements gortsplib.ServerHandlerOnPlay.
func (r *relay) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return status(base.StatusOK), nil
}

// OnRecord implements gortsplib.ServerHandlerOnRecord.
func (r *relay) OnRecord(ctx *gortsplib.ServerHandlerOnRecordCtx) (*base.Response, error) {
	s := r.find(ctx.Path)
	if s == nil || s.publisher != ctx.Session {
		return status(base.StatusNotFound), nil
	}
	ctx.Session.OnPacketRTPAny(func(m *description.Media, _ format.Format, p *rtp.Packet) { s.rtp(m, p) })
	ctx.Session.OnPacketRTCPAny(func(m *description.Media, p rtcp.Packet) {
		if sr, ok := p.(*rtcp.SenderReport); ok {
			s.sr(m, sr)
		}
	})
	return status(base.StatusOK), nil
}

// OnSessionClose implements gortsplib.ServerHandlerOnSessionClose: without its publisher a path is gone.
func (r *relay) OnSessionClose(ctx *gortsplib.ServerHandlerOnSessionCloseCtx) {
	r.mu.Lock()
	var gone *stream
	for path, s := range r.streams {
		if s.publisher == ctx.Session {
			gone = s
			delete(r.streams, path)
		}
	}
	r.mu.Unlock()
	if gone != nil {
		time.AfterFunc(flushTime, gone.out.Close)
	}
}

// rtp passes a packet on, before it a sender report if one is due. Errors concern single readers,
// whom the library has then thrown out.
func (s *stream) rtp(m *description.Media, p *rtp.Packet) {
	t, now := s.tracks[m], time.Now()
	if t.report != nil && now.Sub(t.sent) >= reportEvery {
		t.sent = now
		since := now.Sub(t.came)
		sr := *t.report
		sr.NTPTime = ntp.Encode(ntp.Decode(sr.NTPTime).Add(since))
		sr.RTPTime += uint32(since * time.Duration(t.clock) / time.Second)
		sr.PacketCount, sr.OctetCount = t.packets, t.octets
		_ = s.out.WritePacketRTCP(m, &sr)
	}
	t.packets++
	t.octets += uint32(len(p.Payload))
	t.frames.packet(p, now)
	_ = s.out.WritePacketRTP(m, p)
}

// sr keeps a report of the publisher; it goes out with the next packet.
func (s *stream) sr(m *description.Media, sr *rtcp.SenderReport) {
	t := s.tracks[m]
	for _, ssrc := range t.ssrc {
		t.report = &rtcp.SenderReport{SSRC: ssrc, NTPTime: sr.NTPTime, RTPTime: sr.RTPTime}
	}
	t.came, t.sent = time.Now(), time.Time{}
}
