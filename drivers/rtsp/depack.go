package rtsp

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// NAL unit types used here: H.264 table 7-1 and RFC 6184 table 1; H.265 table 7-1 and RFC 7798 4.4.
const (
	avcIDR, avcSEI, avcSPS, avcPPS, avcAUD = 5, 6, 7, 8, 9
	avcStapA, avcFuA                       = 24, 28

	hevcIRAPFirst, hevcIRAPLast        = 16, 21 // BLA, IDR, CRA
	hevcRASLN, hevcRASLR               = 8, 9
	hevcIDRW, hevcIDRN                 = 19, 20
	hevcVPS, hevcSPS, hevcPPS, hevcAUD = 32, 33, 34, 35
	hevcSEI                            = 39 // before the slices; 40 comes after
	hevcAP, hevcFU                     = 48, 49
)

// Reasons why an access unit cannot be whole.
var (
	errPayload  = errors.New("malformed RTP payload")
	errFragment = errors.New("fragment without its beginning")
	errTooBig   = errors.New("access unit too big")
)

// nals collects the NAL units of one access unit in one buffer that is used again and again.
type nals struct {
	hevc bool
	buf  []byte
	ends []int // end of each complete unit in buf; it begins where the one before ends
	open bool  // a fragmented unit is being put together at the end of buf
}

func (n *nals) reset() { n.buf, n.ends, n.open = n.buf[:0], n.ends[:0], false }

func (n *nals) header() int {
	if n.hevc {
		return 2
	}
	return 1
}

// kind is the type of a NAL unit of at least header() bytes.
func (n *nals) kind(unit []byte) int {
	if n.hevc {
		return int(unit[0] >> 1 & 0x3F)
	}
	return int(unit[0] & 0x1F)
}

// each calls f for every complete unit. The slice is valid until reset.
func (n *nals) each(f func(kind int, unit []byte)) {
	begin := 0
	for _, end := range n.ends {
		unit := n.buf[begin:end:end]
		begin = end
		f(n.kind(unit), unit)
	}
}

// begins returns the first bytes of the unit that a payload starts or carries first (header and one
// byte more), or false if the payload continues a fragmented one.
func (n *nals) begins(p []byte) (kind int, second byte, ok bool) {
	h := n.header()
	if len(p) < h+1 {
		return 0, 0, false
	}
	switch k := n.kind(p); {
	case n.hevc && k == hevcFU, !n.hevc && k == avcFuA:
		if len(p) < h+2 || p[h]&0x80 == 0 {
			return 0, 0, false
		}
		if n.hevc {
			return int(p[h] & 0x3F), p[h+1], true
		}
		return int(p[h] & 0x1F), p[h+1], true
	case n.hevc && k == hevcAP, !n.hevc && k == avcStapA:
		if len(p) < h+2+h+1 {
			return 0, 0, false
		}
		return n.kind(p[h+2:]), p[h+2+h], true
	default:
		return k, p[h], true
	}
}

// add takes the payload of one RTP packet: RFC 6184 5.6-5.8 (modes 0 and 1), RFC 7798 4.4.1-4.4.3
// without decoding order numbers. After an error the access unit is lost.
func (n *nals) add(p []byte) error {
	h := n.header()
	if len(p) < h || len(p) == h && !n.bare(p) {
		return errPayload
	}
	if len(n.buf)+len(p) > maxAccessUnit {
		return errTooBig
	}
	k := n.kind(p)
	fragment := k == avcFuA
	aggregate := k == avcStapA
	if n.hevc {
		fragment, aggregate = k == hevcFU, k == hevcAP
	}
	if n.open && !fragment {
		return errFragment // its end is missing
	}
	switch {
	case fragment:
		return n.fragment(p, h)
	case aggregate:
		return n.aggregate(p[h:])
	case k > hevcFU, !n.hevc && (k > avcStapA-1 || k == 0):
		return errPayload // interleaved modes, PACI and undefined types
	}
	n.unit(p)
	return nil
}

func (n *nals) fragment(p []byte, h int) error {
	if len(p) < h+1 {
		return errPayload
	}
	head := p[h]
	if head&0x80 != 0 {
		if n.open {
			return errFragment
		}
		n.open = true
		if n.hevc { // F, layer and temporal id from the payload header, type from the FU header
			n.buf = append(n.buf, p[0]&0x81|head&0x3F<<1, p[1])
		} else {
			n.buf = append(n.buf, p[0]&0xE0|head&0x1F)
		}
	} else if !n.open {
		return errFragment
	}
	n.buf = append(n.buf, p[h+1:]...)
	if head&0x40 != 0 {
		n.open = false
		n.close()
	}
	return nil
}

func (n *nals) aggregate(p []byte) error {
	for len(p) > 0 {
		if len(p) < 2 {
			return errPayload
		}
		size := int(binary.BigEndian.Uint16(p))
		p = p[2:]
		if size == 0 { // padding of some cameras
			if len(bytes.Trim(p, "\x00")) != 0 {
				return errPayload
			}
			return nil
		}
		if size > len(p) || size < n.header() {
			return errPayload
		}
		n.unit(p[:size])
		p = p[size:]
	}
	return nil
}

func (n *nals) unit(p []byte) {
	n.buf = append(n.buf, p...)
	n.close()
}

var startCode = []byte{0, 0, 1}

// close ends the unit at the end of buf. A start code cannot occur inside a unit (H.264 7.4.1), so
// where one is seen the camera has put several units, in the form of Annex B, into one.
func (n *nals) close() {
	begin := 0
	if len(n.ends) > 0 {
		begin = n.ends[len(n.ends)-1]
	}
	rest := n.buf[begin:]
	if !bytes.Contains(rest, startCode) {
		n.mark(begin, len(n.buf))
		return
	}
	rest = bytes.Clone(rest)
	n.buf = n.buf[:begin]
	for len(rest) > 0 {
		unit := rest
		if i := bytes.Index(rest, startCode); i >= 0 {
			unit, rest = rest[:i], rest[i+len(startCode):]
		} else {
			rest = nil
		}
		unit = bytes.TrimRight(unit, "\x00") // trailing_zero_8bits, H.264 B.1.1
		from := len(n.buf)
		n.buf = append(n.buf, unit...)
		n.mark(from, len(n.buf))
	}
}

// mark records buf[from:to] as a unit, unless it is too short to be one.
func (n *nals) mark(from, to int) {
	if to-from < n.header()+1 && !(to-from == n.header() && n.bare(n.buf[from:to])) {
		n.buf = n.buf[:from]
		return
	}
	n.ends = append(n.ends, to)
}

// bare reports whether a unit may consist of its header alone: end of sequence and of stream.
func (n *nals) bare(unit []byte) bool {
	k := n.kind(unit)
	return n.hevc && (k == 36 || k == 37) || !n.hevc && (k == 10 || k == 11)
}
