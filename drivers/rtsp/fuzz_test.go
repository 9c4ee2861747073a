package rtsp

import (
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/pion/rtp"

	"minglu/drivers"
)

// strict checks what every consumer relies on.
type strict struct {
	t      *testing.T
	opened bool
	dts    map[int]int64
	key    bool
}

func (s *strict) Open(drivers.Description)          { s.opened = true }
func (s *strict) SenderReport(drivers.SenderReport) {}
func (s *strict) Lost(_, n int, _ string) {
	if n <= 0 {
		s.t.Errorf("Lost(%d)", n)
	}
}

func (s *strict) Sample(x drivers.Sample) {
	if !s.opened || x.Format == nil || len(x.Data) == 0 {
		s.t.Fatalf("sample %+v, opened %v", x, s.opened)
	}
	if last, ok := s.dts[x.Track]; ok && x.DTS <= last {
		s.t.Fatalf("DTS %d after %d", x.DTS, last)
	}
	s.dts[x.Track] = x.DTS
	if !x.Format.Codec.Video() {
		return
	}
	s.key = s.key || x.Keyframe
	if !s.key {
		s.t.Fatal("a picture before the first keyframe")
	}
	for b := x.Data; len(b) > 0; {
		n := binary.BigEndian.Uint32(b)
		if n == 0 || int(n) > len(b)-4 {
			s.t.Fatalf("broken lengths in % x", x.Data)
		}
		b = b[4+n:]
	}
}

// FuzzPackets feeds a track any packets: two bytes say how sequence number and timestamp go on and
// where the marker is, one how long the payload is.
func FuzzPackets(f *testing.F) {
	sps, _, pps := testSets()
	seed := func(units ...[]byte) {
		var b []byte
		for _, u := range units {
			b = append(append(b, 0x81, 36, byte(len(u))), u...)
		}
		f.Add(b, false)
		f.Add(b, true)
	}
	seed([]byte{9, 0xF0}, sps, pps, []byte{0x65, 0x88, 1, 1}, []byte{0x61, 0x9A, 2, 2})
	seed([]byte{0x7C, 0x85, 0x88, 1}, []byte{0x7C, 0x45, 3}, []byte{0x78, 0, 2, 9, 0xF0, 0, 4, 0x65, 0x88, 1, 1})
	seed([]byte{0x40, 1, 12}, []byte{0x42, 1, 1}, []byte{0x44, 1, 0xC1}, []byte{0x26, 1, 0xAF}, []byte{0x62, 1, 0x93, 0xAF}, []byte{0x62, 1, 0x53, 0xAF})
	f.Fuzz(func(t *testing.T, b []byte, hevc bool) {
		se := &session{
			src: &Source{log: slog.New(slog.DiscardHandler), uptime: uptime, url: &base.URL{Host: "h"}},
			out: &strict{t: t, dts: map[int]int64{}}, fail: func(error) {},
		}
		var fm format.Format = &format.H264{PayloadTyp: 96, SPS: sps, PPS: pps, PacketizationMode: 1}
		if hevc {
			fm = &format.H265{PayloadTyp: 96}
		}
		v := se.newVideo(fm)
		se.tracks = []receiver{v}
		se.desc.Formats = []*drivers.Format{v.format}
		if v.format != nil {
			se.open()
		}
		receive := se.onRTP(v)
		var seq uint16
		var ts uint32
		for len(b) >= 3 {
			seq += uint16(b[0] & 3)
			ts += uint32(b[1]) * 100
			n := min(int(b[2]), len(b)-3)
			receive(&rtp.Packet{Header: rtp.Header{SequenceNumber: seq, Timestamp: ts, Marker: b[0]&0x80 != 0, SSRC: uint32(b[0] & 4)}, Payload: b[3 : 3+n]})
			b = b[3+n:]
		}
	})
}

// FuzzRedacted looks for a password that gets through.
func FuzzRedacted(f *testing.F) {
	f.Add("rtsp://", "admin", "@10.0.0.1/x")
	f.Add("", "a/b", "@h")
	f.Fuzz(func(t *testing.T, scheme, user, rest string) {
		const pass = "hunter2-SECRET"
		if got := Redacted(scheme + user + ":" + pass + "@" + rest); strings.Contains(got, pass) && !strings.Contains(scheme+user+rest, "://") {
			t.Errorf("%q shows the password", got)
		}
		raw := "rtsp://" + user + ":" + pass + "@" + rest
		if got := Redacted(raw); strings.Contains(got, pass) && !strings.Contains(user, "://") {
			t.Errorf("%q shows the password", got)
		}
		if s, err := New(Options{URL: raw, Uptime: uptime}); err != nil && strings.Contains(err.Error(), pass) || err == nil && strings.Contains(s.String(), pass) {
			t.Errorf("New(%q) shows the password: %v %v", raw, s, err)
		}
	})
}

// FuzzTimestamps: whatever timestamps come and whenever, ticks never fall further than reordering may,
// and what is stepped to comes after what was.
func FuzzTimestamps(f *testing.F) {
	f.Add([]byte{0, 0, 14, 16, 40, 0, 0, 28, 32, 40, 255, 255, 0, 0, 40}, uint8(0))
	f.Add([]byte{255, 255, 255, 0, 1, 0, 0, 14, 16, 40}, uint8(17))
	f.Fuzz(func(t *testing.T, b []byte, between uint8) {
		var k ticks
		now := time.Hour
		for ; len(b) >= 5; b = b[5:] {
			ts := binary.BigEndian.Uint32(b)
			now += time.Duration(b[4]) * time.Millisecond
			newest, known, steps := k.newest, k.known, k.steps
			fall := int64(between%20) * k.usual(90000)
			at := k.next(ts, 90000, now, fall, between&1 == 0)
			if known && (at < newest-fall || k.steps != steps && at <= newest) {
				t.Fatalf("ticks %d after %d, steps %d then %d: fell by more than %d", at, newest, steps, k.steps, fall)
			}
		}
	})
}
