package rtsp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/pion/rtp"

	"minglu/drivers"
)

// onWire is an interleaved packet.
func onWire(ch byte, payload string) string {
	return "$" + string([]byte{ch}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(payload)))) + payload
}

// separate runs bytes that come in pieces of some length through interleaved, channel 0 being a track's.
func separate(in []byte, piece int) (library, track string, streams bool) {
	var all [256]func([]byte)
	var lib, own strings.Builder
	all[0] = func(b []byte) { fmt.Fprintf(&own, "%s;", b) }
	var s interleaved
	s.packets.Store(&all)
	var have []byte
	for len(in) > 0 {
		n := min(piece, len(in))
		have, in = append(have, in[:n]...), in[n:]
		for {
			n, pass := s.split(have)
			if n == 0 {
				break
			}
			if pass {
				lib.Write(have[:n])
			}
			have = have[n:]
		}
	}
	return lib.String(), own.String(), s.streams
}

func TestInterleaved(t *testing.T) {
	const ok = "RTSP/1.0 200 OK\r\nCSeq: 4\r\n\r\n"
	const body = "RTSP/1.0 200 OK\r\ncontent-LENGTH : 5\r\nCSeq: 5\r\n\r\n$\x00\x00\x01x"
	for _, tt := range []struct {
		rule, in, library, track string
		streams                  bool
	}{
		{"messages are the library's", ok + ok, ok + ok, "", false},
		{"so is a body, whatever is in it", body + ok, body + ok, "", false},
		{"packets of a track go to it", ok + onWire(0, "one") + onWire(0, "two"), ok, "one;two;", true},
		{"those of other channels to the library", onWire(0, "one") + onWire(1, "rtcp") + onWire(0, "two"), onWire(1, "rtcp"), "one;two;", true},
		{"a message between packets", onWire(0, "one") + body + onWire(0, "two"), body, "one;two;", true},
		{"a request of the camera", onWire(0, "one") + "OPTIONS * RTSP/1.0\r\n\r\n" + onWire(0, "two"), "OPTIONS * RTSP/1.0\r\n\r\n", "one;two;", true},
		{"an empty packet", onWire(0, "") + onWire(1, "") + onWire(0, "two"), onWire(1, ""), ";two;", true},
		{"litter is the library's to skip", "\x00\r\n" + onWire(0, "one") + "\x80" + onWire(0, "two"), "\x00\r\n\x80", "one;two;", true},
		{"what is not there yet is waited for", ok + onWire(0, "one")[:6], ok, "", true},
	} {
		for _, piece := range []int{1, 2, 3, 7, 1000} {
			library, track, streams := separate([]byte(tt.in), piece)
			if library != tt.library || track != tt.track || streams != tt.streams {
				t.Errorf("%s, in pieces of %d: library %q, track %q, streams %v", tt.rule, piece, library, track, streams)
			}
		}
	}
}

// FuzzInterleaved: nothing is lost or added, and the pieces in which bytes come make no difference.
func FuzzInterleaved(f *testing.F) {
	f.Add([]byte("RTSP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc"+onWire(0, "one")+onWire(3, "x")), uint16(5))
	f.Add([]byte("PLAY\x00$\x00\x00\x05abcde$$"), uint16(1))
	f.Fuzz(func(t *testing.T, in []byte, piece uint16) {
		lib, own, _ := separate(bytes.Clone(in), int(piece%4096)+1)
		again, mine, _ := separate(bytes.Clone(in), len(in)+1)
		if lib != again || own != mine {
			t.Fatalf("in pieces of %d: %q %q, at once: %q %q", piece, lib, own, again, mine)
		}
		if len(lib)+len(own) > 2*len(in)+1 {
			t.Fatalf("%d bytes became %d", len(in), len(lib)+len(own))
		}
	})
}

func TestParseRTP(t *testing.T) {
	full := rtp.Packet{Header: rtp.Header{Version: 2, Marker: true, PayloadType: 96, SequenceNumber: 65535, Timestamp: 1 << 31, SSRC: 7}, Payload: []byte("payload")}
	many := full
	many.CSRC = []uint32{1, 2}
	many.Extension, many.ExtensionProfile = true, 0xBEDE
	if err := many.SetExtension(1, []byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	padded := full
	padded.Padding, padded.PaddingSize = true, 5
	for _, tt := range []struct {
		rule string
		p    rtp.Packet
	}{{"a plain packet", full}, {"sources and extensions", many}, {"padding", padded}} {
		b, err := tt.p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		var got rtp.Packet
		if !parseRTP(&got, b) || string(got.Payload) != "payload" || !got.Marker || got.PayloadType != 96 || got.SequenceNumber != 65535 || got.Timestamp != 1<<31 || got.SSRC != 7 {
			t.Errorf("%s: %+v", tt.rule, got)
		}
		for n := range b { // cut off: never a panic, never more than is there
			if parseRTP(&got, b[:n]) && len(got.Payload) > n-12 {
				t.Errorf("%s, cut to %d: %d bytes of payload", tt.rule, n, len(got.Payload))
			}
		}
	}
	for _, b := range []string{"", "\x80", "\x40aaaaaaaaaaaaa", "\xa0aaaaaaaaaaa\x00", "\xa0aaaaaaaaaaa\xff", "\x90aaaaaaaaaaaaa\xff\xff", "\x8faaaaaaaaaaaa"} {
		if parseRTP(new(rtp.Packet), []byte(b)) {
			t.Errorf("% x is taken for a packet", b)
		}
	}
}

// sink counts samples.
type counter struct{ samples int }

func (c *counter) Open(drivers.Description)          {}
func (c *counter) Sample(drivers.Sample)             { c.samples++ }
func (c *counter) Lost(int, int, string)             {}
func (c *counter) SenderReport(drivers.SenderReport) {}

// TestAllocations: in steady state a packet allocates nothing, and an access unit itself, once.
func TestAllocations(t *testing.T) {
	sps, _, pps := testSets()
	out := new(counter)
	se := &session{src: &Source{uptime: func() time.Duration { return time.Second }, log: slog.New(slog.DiscardHandler)}, out: out}
	se.conn = newDeadlineConn(nil, time.Second, true)
	video := &format.H264{PayloadTyp: 96, SPS: sps, PPS: pps, PacketizationMode: 1}
	v := se.newVideo(video)
	v.index = 0
	aac := &format.MPEG4Audio{PayloadTyp: 97, SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3,
		Config: &mpeg4audio.AudioSpecificConfig{Type: 2, SampleRate: 48000, ChannelConfig: 1}}
	a := se.newSound(aac)
	a.base().index = 1
	se.tracks = []receiver{v, a}
	se.desc.Formats = []*drivers.Format{v.first, a.base().first}
	se.open()
	se.direct(&[2]int{0, 1}, choice{format: video, track: v})
	se.direct(&[2]int{2, 3}, choice{format: aac, track: a})
	give := func(ch byte, b []byte) {
		for len(b) > 0 {
			n, pass := se.conn.split(b)
			if n == 0 || pass {
				t.Fatalf("channel %d: a packet was not taken", ch)
			}
			b = b[n:]
		}
	}
	wire := func(ch, kind byte, seq uint16, ts uint32, marker bool, payload []byte) []byte {
		b, err := (&rtp.Packet{Header: rtp.Header{Version: 2, Marker: marker, PayloadType: kind, SequenceNumber: seq, Timestamp: ts, SSRC: 1}, Payload: payload}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return []byte(onWire(ch, string(b)))
	}
	// Pictures of ten packets: an IDR in fragments, then P slices.
	const parts, pictures = 10, 300
	var packets [][]byte
	seq := uint16(0)
	for pic := range pictures {
		kind := byte(0x61)
		if pic == 0 {
			kind = 0x65
		}
		for i := range parts {
			head := kind & 0x1F
			if i == 0 {
				head |= 0x80
			}
			if i == parts-1 {
				head |= 0x40
			}
			payload := append([]byte{kind&0xE0 | 28, head}, bytes.Repeat([]byte{0x9a, byte(pic)}, 600)...)
			packets = append(packets, wire(0, 96, seq, uint32(pic)*3600, i == parts-1, payload))
			seq++
		}
	}
	k := 0
	next := func() { give(0, packets[k]); k++ }
	for range 50 * parts {
		next()
	}
	if per := testing.AllocsPerRun(200, func() {
		for range parts {
			next()
		}
	}); per > 1 {
		t.Errorf("a picture of %d packets allocates %.1f times, want once: itself", parts, per)
	}
	if out.samples != 50+201 {
		t.Errorf("%d pictures came out", out.samples)
	}
	// Sound: the packet's bytes, and what the library's decoder makes of it.
	var sounds [][]byte
	for i := range 300 {
		unit := bytes.Repeat([]byte{0x21, byte(i)}, 80)
		payload := append([]byte{0, 16, byte(len(unit) >> 5), byte(len(unit) << 3)}, unit...)
		sounds = append(sounds, wire(2, 97, uint16(i), uint32(i)*1024, true, payload))
	}
	k, out.samples = 0, 0
	listen := func() { give(2, sounds[k]); k++ }
	for range 50 {
		listen()
	}
	if per := testing.AllocsPerRun(200, listen); per > 4 {
		t.Errorf("a packet of sound allocates %.1f times", per)
	}
	if out.samples != 50+201 {
		t.Errorf("%d sound packets came out", out.samples)
	}
}
