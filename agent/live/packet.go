package live

import "encoding/binary"

// NAL unit types, ITU-T H.264 table 7-1 and H.265 table 7-1.
const (
	avcSPS, avcPPS, avcAUD, avcFiller = 7, 8, 9, 12
	hevcVPS, hevcSPS, hevcPPS         = 32, 33, 34
	hevcAUD, hevcFiller               = 35, 38
)

// units splits an access unit of NAL units with 4-byte lengths. What is cut off in the middle is left away.
func units(au []byte) [][]byte {
	var out [][]byte
	for len(au) > 4 {
		n := int64(binary.BigEndian.Uint32(au))
		if n > int64(len(au)-4) {
			break
		}
		if n > 0 {
			out = append(out, au[4:4+n])
		}
		au = au[4+n:]
	}
	return out
}

// packing is how NAL units become payloads of RTP: RFC 6184 for H.264, RFC 7798 for H.265.
type packing struct {
	head     int // bytes of a NAL unit header
	kind     func(nal []byte) int
	together byte // STAP-A, AP
	piece    byte // FU-A, FU
	drop     [2]int
	sets     []int // parameter sets
}

var (
	avcPacking = packing{head: 1, kind: func(n []byte) int { return int(n[0] & 0x1f) }, together: 24, piece: 28,
		drop: [2]int{avcAUD, avcFiller}, sets: []int{avcSPS, avcPPS}}
	hevcPacking = packing{head: 2, kind: func(n []byte) int { return int(n[0] >> 1 & 0x3f) }, together: 48, piece: 49,
		drop: [2]int{hevcAUD, hevcFiller}, sets: []int{hevcVPS, hevcSPS, hevcPPS}}
)

// payloads makes the RTP payloads of one access unit. They share the bytes of au where a NAL unit fits
// into one. sets are sent before it, in one packet, if au has none of its own.
func (p *packing) payloads(au []byte, sets [][]byte) [][]byte {
	var out [][]byte
	nals := units(au)
	own := false
	for _, n := range nals {
		own = own || len(n) >= p.head && p.kind(n) == p.sets[0]
	}
	if !own && len(sets) > 0 {
		if b := p.aggregate(sets); len(b) <= mtu {
			out = append(out, b)
		} else {
			for _, s := range sets {
				out = p.unit(out, s)
			}
		}
	}
	for _, n := range nals {
		if len(n) < p.head || p.kind(n) == p.drop[0] || p.kind(n) == p.drop[1] {
			continue
		}
		out = p.unit(out, n)
	}
	return out
}

// unit adds one NAL unit, whole or in pieces (RFC 6184 5.8, RFC 7798 4.4.3).
func (p *packing) unit(out [][]byte, nal []byte) [][]byte {
	if len(nal) <= mtu {
		return append(out, nal)
	}
	kind := byte(p.kind(nal))
	for rest, first := nal[p.head:], true; len(rest) > 0; first = false {
		n := min(len(rest), mtu-p.head-1)
		b := make([]byte, 0, p.head+1+n)
		b = p.header(b, nal, p.piece)
		flags := kind
		if first {
			flags |= 0x80
		}
		if n == len(rest) {
			flags |= 0x40
		}
		out = append(out, append(append(b, flags), rest[:n]...))
		rest = rest[n:]
	}
	return out
}

// header writes the NAL unit header of nal with another type.
func (p *packing) header(b, nal []byte, kind byte) []byte {
	if p.head == 1 {
		return append(b, nal[0]&0xe0|kind)
	}
	return append(b, nal[0]&0x81|kind<<1, nal[1])
}

// aggregate puts small NAL units into one packet (RFC 6184 5.7.1, RFC 7798 4.4.2).
func (p *packing) aggregate(nals [][]byte) []byte {
	b := p.header(nil, nals[0], p.together)
	for _, n := range nals {
		b = binary.BigEndian.AppendUint16(b, uint16(len(n)))
		b = append(b, n...)
	}
	return b
}
