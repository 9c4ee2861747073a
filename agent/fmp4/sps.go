package fmp4

import (
	"errors"
	"fmt"
)

// SPS is what a sequence parameter set tells.
type SPS struct {
	Width, Height                int     // pixels after cropping
	FPS                          float64 // by the timing of the VUI, 0 if it gives none
	ChromaFormat                 byte    // 1 = 4:2:0
	BitDepthLuma, BitDepthChroma byte

	general [12]byte // H.265: general_profile_space to general_level_idc
	layers  byte     // H.265: temporal layers
	nested  bool
}

var errSPS = errors.New("SPS: broken")

// maxSide bounds what is believed: the side of a picture at H.264 or H.265 level 6.2.
const maxSide = 16888

// ParseSPS reads an SPS NAL unit without start code (H.264 7.3.2.1.1, H.265 7.3.2.2).
func ParseSPS(c Codec, nal []byte) (SPS, error) {
	var s SPS
	var err error
	switch {
	case len(nal) > 1<<12:
		return SPS{}, fmt.Errorf("%w: %d bytes", errSPS, len(nal))
	case c == H264:
		s, err = parseSPS264(nal)
	case c == H265:
		s, err = parseSPS265(nal)
	default:
		return SPS{}, fmt.Errorf("SPS: codec %q has none", c)
	}
	switch {
	case err != nil:
		return SPS{}, err
	case s.Width < 1 || s.Height < 1 || s.Width > maxSide || s.Height > maxSide:
		return SPS{}, fmt.Errorf("%w: %d×%d pixels", errSPS, s.Width, s.Height)
	case s.ChromaFormat > 3 || s.BitDepthLuma > 15 || s.BitDepthChroma > 15:
		return SPS{}, fmt.Errorf("%w: chroma format %d, depth %d and %d", errSPS, s.ChromaFormat, s.BitDepthLuma, s.BitDepthChroma)
	}
	return s, nil
}

// bitReader reads an RBSP: emulation prevention bytes are left out (H.264 7.4.1.1).
type bitReader struct {
	b   []byte
	pos int // in bits
	bad bool
}

func newBits(nal []byte) *bitReader {
	out := make([]byte, 0, len(nal))
	zeros := 0
	for _, v := range nal {
		if zeros >= 2 && v == 3 {
			zeros = 0
			continue
		}
		if v == 0 {
			zeros++
		} else {
			zeros = 0
		}
		out = append(out, v)
	}
	return &bitReader{b: out}
}

func (r *bitReader) u(n int) uint32 {
	if r.pos+n > 8*len(r.b) {
		r.bad = true
		return 0
	}
	var v uint32
	for range n {
		v = v<<1 | uint32(r.b[r.pos/8]>>(7-r.pos%8)&1)
		r.pos++
	}
	return v
}

func (r *bitReader) flag() bool { return r.u(1) == 1 }

func (r *bitReader) skip(n int) {
	if r.pos+n > 8*len(r.b) {
		r.bad = true
		return
	}
	r.pos += n
}

// ue is an Exp-Golomb code (H.264 9.1).
func (r *bitReader) ue() uint32 {
	n := 0
	for !r.bad && r.u(1) == 0 {
		if n++; n > 31 {
			r.bad = true
		}
	}
	if r.bad {
		return 0
	}
	return 1<<n - 1 + r.u(n)
}

// upTo is a ue that must not be larger than limit.
func (r *bitReader) upTo(limit uint32) int {
	v := r.ue()
	if v > limit {
		r.bad = true
		return 0
	}
	return int(v)
}

// se has the same length as ue; its value is not needed but in scaling lists.
func (r *bitReader) se() int {
	v := int64(r.ue())
	if v%2 == 0 {
		return int(-v / 2)
	}
	return int(v/2 + 1)
}
