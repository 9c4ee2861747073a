package fmp4

func parseSPS265(nal []byte) (SPS, error) {
	if len(nal) < 16 || nal[0]>>1&0x3F != 33 {
		return SPS{}, errSPS
	}
	var s SPS
	r := newBits(nal[2:])
	r.skip(4)
	layers := int(r.u(3))
	s.layers, s.nested = byte(layers+1), r.flag()
	if layers > 6 {
		return SPS{}, errSPS
	}
	for i := range s.general {
		s.general[i] = byte(r.u(8))
	}
	skipSubLayers(r, layers)
	r.upTo(15)
	s.ChromaFormat = byte(r.upTo(3))
	separate := s.ChromaFormat == 3 && r.flag()
	s.Width, s.Height = r.upTo(maxSide), r.upTo(maxSide)
	if r.flag() {
		cropX, cropY := 1, 1
		if !separate && (s.ChromaFormat == 1 || s.ChromaFormat == 2) {
			cropX = 2
		}
		if !separate && s.ChromaFormat == 1 {
			cropY = 2
		}
		s.Width -= cropX * (r.upTo(maxSide) + r.upTo(maxSide))
		s.Height -= cropY * (r.upTo(maxSide) + r.upTo(maxSide))
	}
	s.BitDepthLuma = byte(8 + r.upTo(7))
	s.BitDepthChroma = byte(8 + r.upTo(7))
	if r.bad {
		return SPS{}, errSPS
	}
	s.FPS = rate265(r, layers) // a fault in there leaves the rate unknown
	return s, nil
}

// skipSubLayers reads the rest of profile_tier_level (H.265 7.3.3).
func skipSubLayers(r *bitReader, layers int) {
	var profile, level [8]bool
	for i := range layers {
		profile[i], level[i] = r.flag(), r.flag()
	}
	if layers > 0 {
		r.skip(2 * (8 - layers))
	}
	for i := range layers {
		if profile[i] {
			r.skip(88)
		}
		if level[i] {
			r.skip(8)
		}
	}
}

// rate265 reads on from log2_max_pic_order_cnt_lsb to the timing of the VUI.
func rate265(r *bitReader, layers int) float64 {
	pocBits := r.upTo(12) + 4
	first := layers
	if r.flag() {
		first = 0
	}
	for range layers - first + 1 {
		r.ue()
		r.ue()
		r.ue()
	}
	for range 6 { // block sizes and depths
		r.ue()
	}
	if r.flag() { // scaling_list_enabled_flag
		if r.flag() {
			skipScaling265(r)
		}
	}
	r.skip(2)
	if r.flag() { // PCM
		r.skip(8)
		r.ue()
		r.ue()
		r.skip(1)
	}
	skipRefSets(r)
	if r.flag() { // long-term reference pictures
		for n := r.upTo(32); n > 0; n-- {
			r.skip(pocBits + 1)
		}
	}
	r.skip(2)
	if !r.flag() {
		return 0
	}
	skipVUIHead(r)
	r.skip(3)
	if r.flag() { // default display window
		for range 4 {
			r.ue()
		}
	}
	if !r.flag() {
		return 0
	}
	units, scale := r.u(32), r.u(32)
	if r.bad || units == 0 {
		return 0
	}
	return float64(scale) / float64(units)
}

// skipScaling265 reads scaling_list_data (H.265 7.3.4).
func skipScaling265(r *bitReader) {
	for size := range 4 {
		step := 1
		if size == 3 {
			step = 3
		}
		for m := 0; m < 6 && !r.bad; m += step {
			if !r.flag() {
				r.ue()
				continue
			}
			if size > 1 {
				r.se()
			}
			for range min(64, 1<<(4+2*size)) {
				r.se()
			}
		}
	}
}

// skipRefSets reads the st_ref_pic_sets (H.265 7.3.7).
func skipRefSets(r *bitReader) {
	n := r.upTo(64)
	prev := 0
	for i := 0; i < n && !r.bad; i++ {
		if i > 0 && r.flag() { // predicted from the one before
			r.skip(1)
			r.ue()
			count := 0
			for range prev + 1 {
				used := r.flag()
				if !used {
					used = r.flag() // use_delta_flag
				}
				if used {
					count++
				}
			}
			prev = count
			continue
		}
		negative, positive := r.upTo(16), r.upTo(16)
		for range negative + positive {
			r.ue()
			r.skip(1)
		}
		prev = negative + positive
	}
}
