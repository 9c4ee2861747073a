package fmp4

import (
	"errors"
	"fmt"
	"math"
)

// ParseFragment reads b, which must be exactly one fragment, held to strict moof of
// evidence-format.md section 1: moof (mfhd, then traf of known tracks and nothing else) directly
// followed by mdat, both with 32-bit sizes that sum to len(b); default-base-is-moof, no
// base-data-offset; each run's data inside this mdat, and no byte in two runs. Sizes, durations and
// flags must be in the fragment itself, not in trex. Samples share b.
func ParseFragment(b []byte, tracks []Track) (*Fragment, error) {
	f, err := parseFragment(b, tracks)
	if err != nil {
		return nil, fmt.Errorf("fmp4: fragment: %w", err)
	}
	return f, nil
}

func parseFragment(b []byte, tracks []Track) (*Fragment, error) {
	if len(b) > MaxFragment {
		return nil, fmt.Errorf("%d bytes, most are %d", len(b), MaxFragment)
	}
	kind, moof, rest, err := nextBox(b)
	if err != nil {
		return nil, err
	}
	if kind != "moof" {
		return nil, fmt.Errorf("begins with %q, want moof", kind)
	}
	f := &Fragment{HeadLen: len(b) - len(rest)}
	kind, _, rest, err = nextBox(rest)
	switch {
	case err != nil:
		return nil, err
	case kind != "mdat" || len(rest) != 0:
		return nil, errors.New("moof is not followed by exactly one mdat")
	}
	kind, body, moof, err := nextBox(moof)
	if err != nil {
		return nil, err
	}
	r := reader{b: body}
	versionFlags := r.u32()
	f.Seq = r.u32()
	if kind != "mfhd" || versionFlags != 0 || r.done() != nil {
		return nil, errors.New("moof does not begin with a plain mfhd")
	}
	var spans []span
	err = each(moof, func(kind string, body []byte) error {
		if kind != "traf" {
			return errors.New("no such box is allowed in moof")
		}
		if len(f.Runs) == maxRunsOfFragment {
			return errors.New("too many")
		}
		run, s, err := parseTraf(b, f.HeadLen, body, tracks)
		if err != nil {
			return err
		}
		for i := range f.Runs {
			if f.Runs[i].Track == run.Track {
				return fmt.Errorf("track %d: twice", run.Track)
			}
			if s.from < spans[i].to && spans[i].from < s.to {
				return fmt.Errorf("track %d: shares data with track %d", run.Track, f.Runs[i].Track)
			}
		}
		f.Runs, spans = append(f.Runs, run), append(spans, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(f.Runs) == 0 {
		return nil, errors.New("no traf")
	}
	return f, nil
}

// span is the bytes [from,to) of a fragment.
type span struct{ from, to int64 }

// parseTraf reads tfhd, tfdt, trun in this order.
func parseTraf(frag []byte, headLen int, b []byte, tracks []Track) (run Run, s span, err error) {
	var box [3][]byte
	for i, want := range [...]string{"tfhd", "tfdt", "trun"} {
		var kind string
		if kind, box[i], b, err = nextBox(b); err != nil {
			return Run{}, span{}, err
		}
		if kind != want {
			return Run{}, span{}, fmt.Errorf("%q where %s must be", kind, want)
		}
	}
	if len(b) != 0 {
		return Run{}, span{}, errors.New("more boxes than tfhd, tfdt, trun")
	}
	h, err := parseTfhd(box[0])
	if err != nil {
		return Run{}, span{}, fmt.Errorf("tfhd: %w", err)
	}
	known := false
	for i := range tracks {
		known = known || tracks[i].ID == h.track
	}
	if !known {
		return Run{}, span{}, fmt.Errorf("track %d is not in the init", h.track)
	}
	run.Track = h.track
	r := reader{b: box[1]}
	switch r.u32() {
	case 0:
		run.Time = uint64(r.u32())
	case 1 << 24:
		run.Time = r.u64()
	default:
		return Run{}, span{}, errors.New("tfdt: unknown version or flags")
	}
	if err := r.done(); err != nil {
		return Run{}, span{}, fmt.Errorf("tfdt: %w", err)
	}
	if run.Time >= maxTime {
		return Run{}, span{}, fmt.Errorf("tfdt: time %d is beyond all bounds", run.Time)
	}
	run.Samples, s, err = parseTrun(frag, headLen, box[2], h)
	if err != nil {
		return Run{}, span{}, fmt.Errorf("trun: %w", err)
	}
	return run, s, nil
}

type trackHeader struct {
	has                          uint32
	track, duration, size, flags uint32
}

func parseTfhd(b []byte) (h trackHeader, err error) {
	r := reader{b: b}
	h.has = r.u32() // version 0
	h.track = r.u32()
	if h.has&tfhdBaseIsMoof == 0 || h.has&tfhdBaseOffset != 0 {
		return h, errors.New("data must be placed relative to the moof")
	}
	if h.has&^(tfhdBaseIsMoof|tfhdDescription|tfhdDuration|tfhdSize|tfhdFlags) != 0 {
		return h, fmt.Errorf("version and flags %#08x", h.has)
	}
	if h.has&tfhdDescription != 0 && r.u32() != 1 {
		return h, errors.New("sample description is not 1")
	}
	if h.has&tfhdDuration != 0 {
		h.duration = r.u32()
	}
	if h.has&tfhdSize != 0 {
		h.size = r.u32()
	}
	if h.has&tfhdFlags != 0 {
		h.flags = r.u32()
	}
	return h, r.done()
}

func parseTrun(frag []byte, headLen int, b []byte, h trackHeader) ([]Sample, span, error) {
	r := reader{b: b}
	vf := r.u32()
	version, has := vf>>24, vf&0xFFFFFF
	count := int64(r.u32())
	const all = trunDataOffset | trunFirstFlags | trunDuration | trunSize | trunFlags | trunCTO
	switch {
	case version > 1 || has&^all != 0 || has&trunDataOffset == 0:
		return nil, span{}, fmt.Errorf("version and flags %#08x", vf)
	case has&trunFirstFlags != 0 && has&trunFlags != 0:
		return nil, span{}, errors.New("flags of the first sample told twice")
	case has&trunDuration == 0 && h.has&tfhdDuration == 0, has&trunSize == 0 && h.has&tfhdSize == 0, has&trunFlags == 0 && h.has&tfhdFlags == 0:
		return nil, span{}, errors.New("durations, sizes and flags must be in the fragment")
	}
	offset := int64(int32(r.u32()))
	first := h.flags
	if has&trunFirstFlags != 0 {
		first = r.u32()
	}
	// A sample has at least one byte: that bounds count also where the table has no column.
	if count == 0 || offset < int64(headLen)+8 || count > int64(len(frag))-offset {
		return nil, span{}, fmt.Errorf("%d samples at offset %d of %d bytes", count, offset, len(frag))
	}
	columns := int64(0)
	for _, f := range [...]uint32{trunDuration, trunSize, trunFlags, trunCTO} {
		if has&f != 0 {
			columns++
		}
	}
	if count*4*columns != int64(len(r.b)) {
		return nil, span{}, fmt.Errorf("%d samples in %d bytes", count, len(r.b))
	}
	s := span{offset, offset}
	samples := make([]Sample, count)
	for i := range samples {
		x := &samples[i]
		size, flags, cto := h.size, h.flags, uint32(0)
		x.Duration = h.duration
		if i == 0 {
			flags = first
		}
		if has&trunDuration != 0 {
			x.Duration = r.u32()
		}
		if has&trunSize != 0 {
			size = r.u32()
		}
		if has&trunFlags != 0 {
			flags = r.u32()
		}
		if has&trunCTO != 0 {
			cto = r.u32()
		}
		if version == 0 && cto > math.MaxInt32 {
			return nil, span{}, fmt.Errorf("sample %d: composition offset %d", i, cto)
		}
		if size == 0 || int64(size) > int64(len(frag))-s.to {
			return nil, span{}, fmt.Errorf("sample %d: %d bytes at %d of %d", i, size, s.to, len(frag))
		}
		x.CTO, x.Sync = int32(cto), flags&sampleNonSync == 0
		x.Data = frag[s.to : s.to+int64(size) : s.to+int64(size)]
		s.to += int64(size)
	}
	return samples, s, r.done()
}
