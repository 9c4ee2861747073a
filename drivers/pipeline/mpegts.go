package pipeline

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"minglu/drivers"
	"minglu/drivers/annexb"
)

// An MPEG transport stream, ITU-T H.222.0, as far as one picture track needs it. It may be anything:
// what cannot be read is skipped and told.

const (
	packetBytes = 188 // H.222.0 2.4.3.2
	syncByte    = 0x47
	nullPID     = 0x1FFF
	maxJunk     = 1 << 20 // bytes without a packet: this is no transport stream
	maxBlind    = 8 << 20 // bytes of packets without a picture track

	streamH264, streamH265 = 0x1B, 0x24 // stream_type, H.222.0 table 2-34
)

// Reasons why the output of a process is of no use.
var (
	errNoTS      = errors.New("the output is no MPEG transport stream")
	errNoPicture = errors.New("the transport stream has no H.264 or H.265 in it")
	errCodec     = errors.New("the codec changed")
)

// demuxer takes a transport stream apart. unit gets each access unit with its times in ticks of 90 kHz,
// counted on over the wrap of 33 bits, and the uptime its last byte came; lost tells of a hole before
// what comes next. Neither may keep the bytes.
type demuxer struct {
	uptime func() time.Duration
	begin  func(drivers.Codec)
	unit   func(au []byte, pts, dts int64, arrival time.Duration)
	lost   func(cause string)

	pmt, pid int // 0: not known
	codec    drivers.Codec
	counter  int // continuity_counter of the last packet, -1: none yet
	blind    int

	in       bool // a PES packet is under way
	pes      []byte
	want     int // its bytes, 0: up to the next
	arrival  time.Duration
	clock    int64 // last time, unwrapped
	hasClock bool
}

// stampedReader knows when the last bytes came.
type stampedReader struct {
	r      io.Reader
	uptime func() time.Duration
	at     time.Duration
}

func (s *stampedReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.at = s.uptime()
	return n, err
}

// read runs until r ends or the stream is of no use. The cause is never nil.
func (d *demuxer) read(r io.Reader) error {
	d.counter = -1
	s := &stampedReader{r: r, uptime: d.uptime}
	b := bufio.NewReaderSize(s, 64*packetBytes)
	junk := 0
	for {
		p, err := b.Peek(packetBytes)
		if err != nil {
			if len(p) > 0 && err == io.EOF && junk > 0 {
				return fmt.Errorf("%w: %w", errNoTS, err)
			}
			return err
		}
		if p[0] != syncByte {
			next := bytes.IndexByte(p[1:], syncByte) + 1
			if next == 0 {
				next = packetBytes
			}
			if junk == 0 && d.pid != 0 {
				d.drop("damaged transport stream")
			}
			if junk += next; junk > maxJunk {
				return errNoTS
			}
			_, _ = b.Discard(next)
			continue
		}
		// The packet may be a byte of junk that looks like one: the tables' checks and the start code tell.
		if err := d.packet(p, s.at); err != nil {
			return err
		}
		if d.pid != 0 {
			junk = 0
		}
		_, _ = b.Discard(packetBytes)
	}
}

// packet takes one transport packet (H.222.0 2.4.3.2).
func (d *demuxer) packet(p []byte, arrival time.Duration) error {
	head := binary.BigEndian.Uint32(p)
	pid := int(head >> 8 & 0x1FFF)
	start, broken := head&0x400000 != 0, head&0x800000 != 0 || head&0xC0 != 0
	body := p[4:]
	jump := false
	if head&0x20 != 0 { // adaptation field
		n := int(body[0])
		if n >= len(body) {
			n, broken = len(body)-1, true
		}
		jump = n > 0 && body[1]&0x80 != 0
		body = body[1+n:]
	}
	if head&0x10 == 0 {
		body = nil
	}
	if d.pid == 0 {
		if d.blind += packetBytes; d.blind > maxBlind {
			return errNoPicture
		}
	}
	switch {
	case pid == nullPID:
	case pid == 0 && start && !broken:
		if s := section(body, 0); s != nil {
			d.programs(s)
		}
	case d.pmt != 0 && pid == d.pmt && start && !broken:
		if s := section(body, 2); s != nil {
			return d.streams(s)
		}
	case d.pid != 0 && pid == d.pid && len(body) > 0:
		d.picture(body, start, broken, jump, int(head&15), arrival)
	}
	return nil
}

// section returns the body of the one table section that a packet carries (H.222.0 2.4.4), nil if it
// is of another table, not whole, or its check is wrong.
func section(b []byte, table byte) []byte {
	if len(b) < 1 || int(b[0])+1 >= len(b) {
		return nil
	}
	if b = b[1+int(b[0]):]; len(b) < 12 || b[0] != table {
		return nil
	}
	n := 3 + int(binary.BigEndian.Uint16(b[1:])&0xFFF)
	if n > len(b) || n < 12 || crc32(b[:n]) != 0 || b[5]&1 == 0 {
		return nil
	}
	return b[8 : n-4]
}

// crc32 is the check of H.222.0 annex A: 0 over a section with its CRC.
func crc32(b []byte) uint32 {
	c := uint32(0xFFFFFFFF)
	for _, x := range b {
		c ^= uint32(x) << 24
		for range 8 {
			if c&0x80000000 != 0 {
				c = c<<1 ^ 0x04C11DB7
			} else {
				c <<= 1
			}
		}
	}
	return c
}

// programs finds the first program in a program association section.
func (d *demuxer) programs(s []byte) {
	for ; len(s) >= 4; s = s[4:] {
		if binary.BigEndian.Uint16(s) != 0 {
			d.pmt = int(binary.BigEndian.Uint16(s[2:]) & 0x1FFF)
			return
		}
	}
}

// streams finds the first picture track in a program map section.
func (d *demuxer) streams(s []byte) error {
	if len(s) < 4 {
		return nil
	}
	skip := 4 + int(binary.BigEndian.Uint16(s[2:])&0xFFF)
	if skip > len(s) {
		return nil
	}
	for s = s[skip:]; len(s) >= 5; {
		pid := int(binary.BigEndian.Uint16(s[1:]) & 0x1FFF)
		codec := map[byte]drivers.Codec{streamH264: drivers.H264, streamH265: drivers.H265}[s[0]]
		if codec != "" {
			switch {
			case d.codec == "":
				d.codec = codec
				d.begin(codec)
			case d.codec != codec:
				return errCodec
			}
			if pid != d.pid {
				d.in, d.counter = false, -1
			}
			d.pid = pid
			return nil
		}
		n := 5 + int(binary.BigEndian.Uint16(s[3:])&0xFFF)
		if n > len(s) {
			return nil
		}
		s = s[n:]
	}
	return nil
}

func (d *demuxer) drop(cause string) {
	d.in = false
	d.lost(cause)
}

// picture takes the payload of a packet of the picture track.
func (d *demuxer) picture(body []byte, start, broken, jump bool, counter int, arrival time.Duration) {
	before := d.counter
	d.counter = counter
	switch {
	case broken:
		d.drop("damaged transport stream")
		return
	case before < 0 || jump || counter == (before+1)&15:
	case counter == before: // a packet sent twice
		return
	default:
		d.drop("hole in the transport stream")
	}
	if start {
		d.flush()
		d.in, d.pes, d.want = true, d.pes[:0], 0
		if len(body) >= 6 {
			if n := int(binary.BigEndian.Uint16(body[4:])); n > 0 {
				d.want = 6 + n
			}
		}
	}
	if !d.in {
		return
	}
	if len(d.pes)+len(body) > annexb.MaxAccessUnit {
		d.drop("picture too big")
		return
	}
	d.pes = append(d.pes, body...)
	d.arrival = arrival
	if d.want > 0 && len(d.pes) >= d.want {
		d.pes = d.pes[:d.want]
		d.flush()
	}
}

// flush ends the PES packet under way (H.222.0 2.4.3.6).
func (d *demuxer) flush() {
	if !d.in {
		return
	}
	d.in = false
	p := d.pes
	if len(p) < 9 || p[0] != 0 || p[1] != 0 || p[2] != 1 || p[6]&0xC0 != 0x80 || 9+int(p[8]) > len(p) || d.want > len(p) {
		d.lost("damaged transport stream")
		return
	}
	head, au := p[9:9+int(p[8])], p[9+int(p[8]):]
	var pts, dts int64
	ok := false
	switch flags := p[7] >> 6; {
	case flags == 2 && len(head) >= 5:
		pts, ok = stamp(head)
		dts = pts
	case flags == 3 && len(head) >= 10:
		var ok2 bool
		pts, ok = stamp(head)
		dts, ok2 = stamp(head[5:])
		ok = ok && ok2
	}
	if !ok {
		d.lost("picture without a time")
		return
	}
	dts = d.unwrap(dts)
	pts = dts + signed33(pts-dts)
	if len(au) > 0 {
		d.unit(au, pts, dts, d.arrival)
	}
}

// stamp reads a PTS or DTS of 33 bits; its marker bits must be set.
func stamp(b []byte) (int64, bool) {
	v := int64(b[0]>>1&7)<<30 | int64(b[1])<<22 | int64(b[2]>>1)<<15 | int64(b[3])<<7 | int64(b[4]>>1)
	return v, b[0]&b[2]&b[4]&1 == 1
}

// unwrap counts on over 2^33, from the time nearest to the last.
func (d *demuxer) unwrap(t int64) int64 {
	if d.hasClock {
		t = d.clock + signed33(t-d.clock)
	}
	d.hasClock, d.clock = true, t
	return t
}

// signed33 is a difference of times of 33 bits, from -2^32 to 2^32-1.
func signed33(v int64) int64 { return v << 31 >> 31 }
