package fmp4

import "slices"

// profiles with chroma_format_idc in the SPS (H.264 7.3.2.1.1).
var chromaProfiles = []uint32{100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}

func parseSPS264(nal []byte) (SPS, error) {
	if len(nal) < 4 || nal[0]&0x9F != 7 {
		return SPS{}, errSPS
	}
	s := SPS{ChromaFormat: 1, BitDepthLuma: 8, BitDepthChroma: 8}
	r := newBits(nal[1:])
	profile := r.u(8)
	r.skip(16)
	r.upTo(31)
	separate := false
	if slices.Contains(chromaProfiles, profile) {
		s.ChromaFormat = byte(r.upTo(3))
		if s.ChromaFormat == 3 {
			separate = r.flag()
		}
		s.BitDepthLuma = byte(8 + r.upTo(6))
		s.BitDepthChroma = byte(8 + r.upTo(6))
		r.skip(1)
		if r.flag() {
			skipScaling264(r, s.ChromaFormat)
		}
	}
	r.upTo(12) // log2_max_frame_num
	switch r.upTo(2) {
	case 0:
		r.upTo(12)
	case 1:
		r.skip(1)
		r.se()
		r.se()
		for n := r.upTo(255); n > 0 && !r.bad; n-- {
			r.se()
		}
	}
	r.upTo(16) // max_num_ref_frames
	r.skip(1)
	w, h := 16*(r.upTo(maxSide/16)+1), 16*(r.upTo(maxSide/16)+1)
	fields := 1
	if !r.flag() { // frame_mbs_only_flag
		fields = 2
		r.skip(1)
	}
	r.skip(1)
	// Table 6-1; a separate colour plane counts as monochrome.
	cropX, cropY := 1, fields
	if !separate && (s.ChromaFormat == 1 || s.ChromaFormat == 2) {
		cropX = 2
	}
	if !separate && s.ChromaFormat == 1 {
		cropY *= 2
	}
	s.Width, s.Height = w, h*fields
	if r.flag() {
		s.Width -= cropX * (r.upTo(maxSide) + r.upTo(maxSide))
		s.Height -= cropY * (r.upTo(maxSide) + r.upTo(maxSide))
	}
	vui := r.flag()
	if r.bad {
		return SPS{}, errSPS
	}
	if vui {
		s.FPS = vuiRate264(r)
	}
	return s, nil
}

func skipScaling264(r *bitReader, chroma byte) {
	lists := 8
	if chroma == 3 {
		lists = 12
	}
	for i := range lists {
		if !r.flag() {
			continue
		}
		size := 16
		if i >= 6 {
			size = 64
		}
		last, next := 8, 8
		for j := 0; j < size && !r.bad; j++ {
			if next != 0 {
				next = (last + r.se()) & 0xFF
			}
			if next != 0 {
				last = next
			}
		}
	}
}

// skipVUIHead reads what the VUIs of H.264 (E.1.1) and H.265 (E.2.1) begin with.
func skipVUIHead(r *bitReader) {
	if r.flag() && r.u(8) == 255 { // sample aspect ratio
		r.skip(32)
	}
	if r.flag() { // overscan
		r.skip(1)
	}
	if r.flag() { // video signal type
		r.skip(4)
		if r.flag() {
			r.skip(24)
		}
	}
	if r.flag() { // chroma location
		r.ue()
		r.ue()
	}
}

func vuiRate264(r *bitReader) float64 {
	skipVUIHead(r)
	if !r.flag() {
		return 0
	}
	units, scale := r.u(32), r.u(32)
	if r.bad || units == 0 {
		return 0
	}
	return float64(scale) / float64(units) / 2 // counts fields
}
