package rtsp

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/pion/rtp"
)

// maxHead bounds the head of an RTSP message; what has a longer one is left to the library alone.
const maxHead = 64 << 10

// interleaved takes RTP packets out of the bytes of a connection (RFC 2326 10.12) and gives each to its
// track where it lies, without a copy. All else, RTSP messages and RTCP, is the library's, in its order.
// The library would copy each packet twice, allocate it, and reckon statistics nobody reads; it sends no
// receiver reports then, which cameras take for signs of life beside its own keep-alives only.
type interleaved struct {
	packets atomic.Pointer[[256]func(b []byte)] // by channel; set by the one who sets up

	// What follows belongs to the reader.
	off     bool   // everything is the library's
	streams bool   // interleaved packets come
	through int    // bytes left of what is the library's
	head    []byte // of an RTSP message, until its end is seen
	text    bool   // inside it
}

// split looks at what was read and says of how much it knows whose it is: the library's, or dealt with.
// n is 0 if more is needed.
func (s *interleaved) split(b []byte) (n int, library bool) {
	switch {
	case len(b) == 0:
		return 0, false
	case s.off:
		return len(b), true
	case s.through > 0:
		n = min(s.through, len(b))
		s.through -= n
		return n, true
	case s.text:
		return s.message(b), true
	case len(b) < 2:
		return 0, false
	case b[0] == '$':
		return s.packet(b)
	case b[0] >= 'A' && b[0] <= 'Z' && b[1] >= 'A' && b[1] <= 'Z':
		s.text, s.head = true, s.head[:0]
		return s.message(b), true
	}
	return 1, true // litter between messages
}

// packet is split for an interleaved packet.
func (s *interleaved) packet(b []byte) (n int, library bool) {
	if len(b) < 4 {
		return 0, false
	}
	s.streams = true
	size := 4 + int(binary.BigEndian.Uint16(b[2:]))
	var take func([]byte)
	if p := s.packets.Load(); p != nil {
		take = p[b[1]]
	}
	switch {
	case take == nil:
		s.through = size
		return s.split(b)
	case len(b) < size:
		return 0, false
	}
	take(b[4:size])
	return size, false
}

// message passes an RTSP message on and finds its end (RFC 2326 4, 12.14).
func (s *interleaved) message(b []byte) (n int) {
	had := len(s.head)
	s.head = append(s.head, b...)
	end := bytes.Index(s.head, []byte("\r\n\r\n"))
	if end < 0 || end > maxHead {
		s.off = len(s.head) > maxHead
		return len(b)
	}
	end += 4
	s.text, s.through = false, contentLength(s.head[:end])
	return end - had
}

func contentLength(head []byte) int {
	for line := range strings.SplitSeq(string(head), "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(strings.TrimSpace(name), "content-length") {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31)
			if err == nil {
				return int(n)
			}
		}
	}
	return 0
}

// parseRTP reads a packet (RFC 3550 5.1) into p, whose payload shares b. It does not read extensions.
func parseRTP(p *rtp.Packet, b []byte) bool {
	if len(b) < 12 || b[0]>>6 != 2 {
		return false
	}
	p.Marker, p.PayloadType = b[1]&0x80 != 0, b[1]&0x7F
	p.SequenceNumber, p.Timestamp, p.SSRC = binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	begin, end := 12+4*int(b[0]&0xF), len(b)
	if b[0]&0x10 != 0 {
		if begin+4 > end {
			return false
		}
		begin += 4 + 4*int(binary.BigEndian.Uint16(b[begin+2:]))
	}
	if b[0]&0x20 != 0 {
		pad := int(b[end-1])
		if pad == 0 {
			return false
		}
		end -= pad
	}
	if begin > end {
		return false
	}
	p.Payload = b[begin:end:end]
	return true
}

// direct lets the packets of a track come without the library. ids are its two channels of the connection.
func (se *session) direct(ids *[2]int, c choice) {
	if se.conn == nil || ids == nil || ids[0] < 0 || ids[0] > 255 {
		return
	}
	var all [256]func([]byte)
	if p := se.conn.packets.Load(); p != nil {
		all = *p
	}
	take, kind := se.onRTP(c.track), c.format.PayloadType()
	var p rtp.Packet // used again and again
	all[ids[0]] = func(b []byte) {
		switch ok := parseRTP(&p, b); {
		case !ok:
			se.src.log.Debug("rtsp: packet dropped", "err", "malformed RTP packet")
		case p.PayloadType == kind:
			take(&p)
		}
	}
	se.conn.packets.Store(&all)
}
