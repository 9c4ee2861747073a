package recovery

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"minglu/agent/fmp4"
)

// ends is where a channel stands after a fragment.
type ends struct {
	tracks []fmp4.Track
	ticks  []uint64 // per track of this segment; 0 where nothing was yet
	to     int64    // µs: end of the channel
}

// whole is a fragment found complete and strict.
type whole struct {
	data     []byte
	head     int // bytes of the moof
	from, to int64
	start    []uint64 // ticks per track; 0 for a track without samples, which then has count 0
	end      []uint64
	samples  []int64 // per track
	sample   int64   // µs of its longest sample
}

// before tells whether any of its tracks begins before the end of what came before it.
func (w *whole) before(p ends) bool {
	for i, n := range w.samples {
		if n > 0 && w.start[i] < p.ticks[i] {
			return true
		}
	}
	return false
}

// then is where the channel stands after it.
func (w *whole) then(p ends) ends {
	next := ends{tracks: p.tracks, ticks: append([]uint64{}, p.ticks...), to: max(p.to, w.to)}
	for i, n := range w.samples {
		if n > 0 {
			next.ticks[i] = w.end[i]
		}
	}
	return next
}

// boxes tells the length of the moof and of moof and mdat at the start of b. b may be cut short.
func boxes(b []byte) (head, total int64, ok bool) {
	h, body, err := fmp4.FragmentLen(bytes.NewReader(b), 0, int64(len(b)))
	return h, h + body, err == nil && h+body <= int64(len(b))
}

// fragmentAt reads the fragment at off; nil if there is no whole one.
func fragmentAt(f *os.File, off, size int64, prev ends) *whole {
	head, body, err := fmp4.FragmentLen(f, off, size)
	if err != nil || head+body > size-off || head+body > maxFragmentBytes {
		return nil
	}
	b := make([]byte, head+body)
	if _, err := f.ReadAt(b, off); err != nil {
		return nil
	}
	p, err := fmp4.ParseFragment(b, prev.tracks)
	if err != nil {
		return nil
	}
	return measure(b, p, prev.tracks)
}

// measure tells what a parsed fragment holds; nil if it has no sample.
func measure(b []byte, p *fmp4.Fragment, tracks []fmp4.Track) *whole {
	w := &whole{data: b, head: p.HeadLen, samples: make([]int64, len(tracks)), start: make([]uint64, len(tracks)), end: make([]uint64, len(tracks))}
	first := len(tracks)
	for _, r := range p.Runs {
		for i, t := range tracks {
			if t.ID != r.Track || len(r.Samples) == 0 {
				continue
			}
			w.samples[i], w.start[i], w.end[i] = int64(len(r.Samples)), r.Time, r.Time+r.Duration()
			for _, s := range r.Samples {
				w.sample = max(w.sample, fmp4.MediaTime(uint64(s.Duration), 0, t.Timescale))
			}
			if i < first { // media time is that of the lead track, else of the first there is
				first = i
				w.from, w.to = fmp4.MediaTime(w.start[i], 0, t.Timescale), fmp4.MediaTime(w.end[i], 0, t.Timescale)
			}
		}
	}
	if first == len(tracks) {
		return nil
	}
	return w
}

// before reads the signed fragments of a segment and tells where each track ends.
func before(f io.ReaderAt, s *segment) (ends, error) {
	e := ends{}
	err := each(f, s, func(w *whole, _ *fmp4.Fragment) { e = w.then(e) }, func(tracks []fmp4.Track) {
		e.tracks, e.ticks = tracks, make([]uint64, len(tracks))
	})
	return e, err
}

// each parses the init and all fragments of a segment.
func each(f io.ReaderAt, s *segment, fragment func(*whole, *fmp4.Fragment), init func([]fmp4.Track)) error {
	b := make([]byte, min(s.InitLen, fmp4.MaxInit))
	if _, err := f.ReadAt(b, 0); err != nil {
		return err
	}
	info, err := fmp4.ParseInit(b)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if s.Base != 0 || len(info.Tracks) == 0 || int64(info.Tracks[0].Timescale) != s.Timescale {
		return fmt.Errorf("init: timescale or base is not what the log says")
	}
	init(info.Tracks)
	for _, fr := range s.frags {
		if fr.Len < 16 || fr.Len > maxFragmentBytes {
			return fmt.Errorf("fragment %d: length %d", fr.N, fr.Len)
		}
		b := make([]byte, fr.Len)
		if _, err := f.ReadAt(b, fr.Off); err != nil {
			return fmt.Errorf("fragment %d: %w", fr.N, err)
		}
		p, err := fmp4.ParseFragment(b, info.Tracks)
		if err != nil {
			return fmt.Errorf("fragment %d: %w", fr.N, err)
		}
		w := measure(b, p, info.Tracks)
		if w == nil {
			return fmt.Errorf("fragment %d: no samples", fr.N)
		}
		fragment(w, p)
	}
	return nil
}

// indexFor computes what the reserve of a segment holds once it is closed.
func indexFor(f io.ReaderAt, s *segment) ([]byte, error) {
	var (
		entries []fmp4.IndexEntry
		tracks  []fmp4.Track
	)
	err := each(f, s, func(w *whole, p *fmp4.Fragment) {
		entries = append(entries, fmp4.EntryOf(p.Runs, tracks, int64(len(w.data))))
	}, func(t []fmp4.Track) { tracks = t })
	if err != nil {
		return nil, err
	}
	return fmp4.Index(tracks[0], entries, int(s.Reserve))
}
