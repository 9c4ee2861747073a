package fmp4

import (
	"fmt"
	"math"
)

// IndexEntry is what an index tells of one fragment.
type IndexEntry struct {
	Size     int64  // bytes of moof and mdat
	Time     uint64 // tfdt of the lead track; without lead samples that of the first run, in lead ticks rounded up
	CTO      int32  // of the first lead sample, 0 without one
	Duration uint64 // lead ticks of the samples; used for the last fragment only
	Sync     bool   // the first lead sample is sync
}

// EntryOf is the index entry of a fragment of size bytes with these runs; tracks[0] is the lead.
// Recorder and verifier both use it. A run of an unknown track counts as one of the lead.
func EntryOf(runs []Run, tracks []Track, size int64) IndexEntry {
	lead := &tracks[0]
	for i := range runs {
		if r := &runs[i]; r.Track == lead.ID && len(r.Samples) > 0 {
			return IndexEntry{Size: size, Time: r.Time, CTO: r.Samples[0].CTO, Duration: r.Duration(), Sync: r.Samples[0].Sync}
		}
	}
	if len(runs) == 0 {
		return IndexEntry{Size: size}
	}
	scale := lead.Timescale
	for i := range tracks {
		if tracks[i].ID == runs[0].Track {
			scale = tracks[i].Timescale
		}
	}
	from := rescale(runs[0].Time, scale, lead.Timescale)
	return IndexEntry{Size: size, Time: from, Duration: rescale(runs[0].Time+runs[0].Duration(), scale, lead.Timescale) - from}
}

// rescale rounds up: what follows must not seem to begin before what was.
func rescale(ticks uint64, from, to uint32) uint64 {
	if from == to || from == 0 {
		return ticks
	}
	f, t := uint64(from), uint64(to)
	return ticks/f*t + (ticks%f*t+f-1)/f
}

// Sizes of sidx version 1 (ISO 14496-12 8.16.3) and of the smallest free box that follows it here.
const (
	sidxHead    = 8 + 4 + 4 + 4 + 8 + 8 + 2 + 2
	sidxRef     = 12
	fillerSmall = 8
)

// ReserveFor is how many bytes an index of n fragments needs.
func ReserveFor(n int) int { return sidxHead + sidxRef*n + fillerSmall }

// Reserve is one zero-filled free box of n bytes, n at least 8.
func Reserve(n int) []byte {
	w := &writer{b: make([]byte, 0, max(n, fillerSmall))}
	at := w.begin("free")
	w.zero(n - 8)
	w.end(at)
	return w.b
}

// Index returns what takes the place of a reserve of this many bytes once the segment has ended:
// sidx version 1 and a free box of at least 8 bytes (evidence-format.md section 1, reserve). It
// fails if the reserve is too small: begin a new segment before (see [ReserveFor]). Without
// fragments there is nothing to index and the reserve stays as it was.
func Index(lead Track, frags []IndexEntry, reserve int) ([]byte, error) {
	need := ReserveFor(len(frags))
	switch {
	case len(frags) == 0 && reserve >= fillerSmall:
		return Reserve(reserve), nil
	case reserve < need || reserve > MaxInit*16 || len(frags) > math.MaxUint16:
		return nil, fmt.Errorf("fmp4: index: %d fragments need %d bytes, reserved are %d", len(frags), need, reserve)
	}
	filler := reserve - need + fillerSmall
	w := &writer{b: make([]byte, 0, reserve)}
	at := w.full("sidx", 1, 0)
	w.u32(lead.ID)
	w.u32(lead.Timescale)
	w.u64(uint64(max(0, int64(frags[0].Time)+int64(frags[0].CTO))))
	w.u64(uint64(filler))
	w.u16(0)
	w.u16(uint16(len(frags)))
	for i, f := range frags {
		d := f.Duration
		if i+1 < len(frags) {
			// Sound that went on alone may reach beyond where the picture comes back: then nothing.
			d = max(frags[i+1].Time, f.Time) - f.Time
		}
		if f.Size < 16 || f.Size > MaxFragment || d > math.MaxUint32 {
			return nil, fmt.Errorf("fmp4: index: fragment %d: %d bytes, %d ticks", i, f.Size, d)
		}
		w.u32(uint32(f.Size))
		w.u32(uint32(d))
		if f.Sync {
			w.u32(1<<31 | 1<<28) // starts with SAP, type 1, delta 0
		} else {
			w.u32(0)
		}
	}
	w.end(at)
	w.raw(Reserve(filler))
	return w.b, nil
}
