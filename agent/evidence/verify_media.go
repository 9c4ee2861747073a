package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"slices"

	"github.com/emmansun/gmsm/sm3"

	"minglu/agent/fmp4"
)

// channelCheck is one channel: what was signed of it, and what is there.
type channelCheck struct {
	c        *copyCheck
	id       string
	n        int64 // fragments signed
	last     int64 // end of the signed media, µs
	segments []*segmentCheck
	spans    []Span

	tracks   []trackEnd
	frames   int64 // lead samples
	duration int64 // of them, in µs
	slow     int64 // lead samples that last longer than 1.5 times the usual
}

// trackEnd is where the last sample of a track ended, in ticks of its timescale.
type trackEnd struct {
	scale uint32
	end   uint64
}

// segmentCheck is one file of a channel.
type segmentCheck struct {
	ch        *channelCheck
	open      SegmentOpen
	close     *SegmentClose // nil: never closed
	fragments []signedFragment
	end       int64 // offset behind the last signed fragment

	file    fs.File
	digests []hash.Hash // of the whole file: SHA-256, SM3
	buf     []byte
	tracks  []fmp4.Track // nil: the init is not readable
	index   []fmp4.IndexEntry
	whole   bool // every fragment so far was parsed
}

// signedFragment is what a covered line says of a fragment.
type signedFragment struct {
	log        *signedLog
	line       int64
	off, len   int64
	from, to   int64
	head, body Hash
	samples    []int64
	t, te      int64
	finding    Finding // what it is if the bytes hold: intact, recovered, or foreign beyond the bound
	intact     bool    // the bytes hold, and it is
}

func (ch *channelCheck) check() {
	for _, s := range ch.segments {
		if err := s.check(); err != nil {
			ch.c.res.Unchecked = err.Error()
			return
		}
	}
	if ch.slow > 0 {
		ch.c.note("channel %s: %d pictures last longer than 1.5 times the usual", ch.id, ch.slow)
	}
}

// merged returns the channel's findings over time (V9).
func (ch *channelCheck) merged() []Span {
	if len(ch.spans) == 0 {
		return nil
	}
	slack := int64(20_000)
	if ch.frames > 0 {
		slack = ch.duration / ch.frames / 2
	}
	spans := slices.Clone(ch.spans)
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for _, s := range ch.spans {
		first, last = min(first, s.From), max(last, s.To)
	}
	told := last // or longer: a session may end in a declared break
	for _, b := range ch.c.breaks {
		if b.From-told <= edgeReach {
			told = max(told, b.To)
		}
	}
	if cl := ch.c.closed; cl != nil && cl.At-told > edgeReach {
		spans = append(spans, Span{Channel: ch.id, From: told, To: min(cl.At, MaxInt), Finding: FindingGap, Cause: "undeclared"})
		last = cl.At
	}
	for _, b := range ch.c.breaks {
		before, after := int64(math.MinInt64), int64(math.MaxInt64)
		for _, s := range ch.spans { // a picture ends with its duration and begins with a keyframe
			if s.To <= b.From {
				before = max(before, s.To)
			}
			if s.From >= b.To {
				after = min(after, s.From)
			}
		}
		from, to := b.From, b.To
		if before >= b.From-edgeReach {
			from = before
		}
		if after <= b.To+edgeReach {
			to = after
		}
		begin := first
		if lead := first - b.To; lead >= 0 && lead <= edgeReach { // the session begins with it
			begin = min(begin, b.From)
		}
		if b.Channel = ch.id; from < last || to > first {
			b.From, b.To = max(from, begin), min(to, max(last, to))
			spans = append(spans, b)
		}
	}
	return merge(spans, slack)
}

// edgeReach is how far (µs) a declared break reaches to the nearest fragments: the last picture
// before it ends with its own duration, the first after it waits for a keyframe. It is also how much
// earlier than the session a channel may end without a word.
const edgeReach = 2_000_000

// found adds a finding over fragments, at a place in the segment's file.
func (s *segmentCheck) found(f Finding, off int64, cause string, frags ...signedFragment) {
	sp := Span{Channel: s.ch.id, From: s.ch.c.last, Finding: f, Cause: cause, File: s.open.File, Offset: off}
	if len(frags) == 0 {
		frags = s.fragments
	}
	for _, fr := range frags {
		sp.From, sp.To = min(sp.From, fr.from), max(sp.To, fr.to)
	}
	if len(frags) == 0 {
		sp.To = sp.From
	}
	s.ch.spans = append(s.ch.spans, sp)
}

// check does steps V7, V8 and V10 on one file, reading it once from start to end.
func (s *segmentCheck) check() error {
	c := s.ch.c
	if _, ok := c.files[s.open.File]; !ok {
		s.found(FindingMissing, 0, "the file is not there")
		return nil
	}
	f, err := c.fsys.Open(s.open.File)
	if err != nil {
		return uncheckable("V7: %w", err)
	}
	defer f.Close()
	s.file, s.digests, s.whole = f, []hash.Hash{sha256.New(), sm3.New()}, true

	if ok, err := s.checkInit(); !ok || err != nil {
		return err
	}
	reserve, err := s.read(s.open.Reserve)
	if err != nil || int64(len(reserve)) < s.open.Reserve {
		s.found(FindingMissing, s.open.InitLen, "the file ends within the space for its index", s.fragments...)
		return err
	}
	reserve = bytes.Clone(reserve)
	for i := range s.fragments {
		fr := &s.fragments[i]
		b, err := s.read(fr.len)
		if err != nil {
			return err
		}
		if int64(len(b)) < fr.len {
			s.found(FindingMissing, fr.off, fmt.Sprintf("the file ends at %d", fr.off+int64(len(b))), s.fragments[i:]...)
			s.whole = false
			break
		}
		s.fragment(fr, b)
	}
	return s.finish(reserve)
}

// read returns the next n bytes, fewer only at the end of the file, and adds them to the digests of
// the whole. The bytes hold until the next call.
func (s *segmentCheck) read(n int64) ([]byte, error) {
	c := s.ch.c
	if have := c.files[s.open.File]; n > have {
		n = have + 1 // no more memory than the file can fill
	}
	s.buf = slices.Grow(s.buf[:0], int(n))[:n]
	got, err := readFull(s.file, s.buf)
	if err != nil {
		return nil, uncheckable("%s: %w", s.open.File, err)
	}
	b := s.buf[:got]
	for _, d := range s.digests {
		d.Write(b)
	}
	c.res.Bytes += int64(got)
	c.v.progress(c.id, s.open.File, int64(got))
	return b, nil
}

// readFull fills b as far as the file reaches.
func readFull(r io.Reader, b []byte) (int, error) {
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}

func (s *segmentCheck) checkInit() (ok bool, err error) {
	b, err := s.read(s.open.InitLen)
	if err != nil {
		return false, err
	}
	if d := sha256.Sum256(b); hex.EncodeToString(d[:]) != s.open.Init {
		s.found(FindingAltered, 0, "the init (ftyp, moov) is not the one that was signed")
		return int64(len(b)) == s.open.InitLen, nil
	}
	init, err := fmp4.ParseInit(b)
	if err != nil {
		s.found(FindingAltered, 0, fmt.Sprintf("the init (ftyp, moov) is not readable: %v", err))
		return true, nil
	}
	if len(init.Tracks) == 0 || int64(init.Tracks[0].Timescale) != s.open.Timescale {
		s.found(FindingAltered, 0, "the init's timescale is not the one that was signed")
		return true, nil
	}
	s.tracks = init.Tracks
	return true, nil
}

// fragment does step V8 on one fragment, and V6 as far as a line must match its moof.
func (s *segmentCheck) fragment(fr *signedFragment, b []byte) {
	headLen := firstBox(b)
	headOK := sha256.Sum256(b[:headLen]) == fr.head
	bodyOK := sha256.Sum256(b[headLen:]) == fr.body
	if s.tracks == nil {
		return // the whole segment is altered already
	}
	m, err := fmp4.ParseFragment(b, s.tracks)
	finding, cause := fr.finding, ""
	switch {
	case headOK && bodyOK && err == nil:
		if cause = s.matches(fr, m); cause != "" {
			finding = FindingAltered
		}
	case err == nil && bodyOK:
		finding, cause = FindingRetimed, "the samples are those that were signed, their timing or order is not"
	case err != nil:
		finding, cause = FindingAltered, fmt.Sprintf("not the one moof and mdat that were signed: %v", err)
	default:
		finding, cause = FindingAltered, "the samples are not those that were signed"
	}
	if finding == FindingForeign {
		cause = "more than the device may have had unsigned at a cut"
	}
	if finding != FindingIntact && finding != FindingRecovered {
		s.whole = s.whole && finding == FindingForeign
		s.found(finding, fr.off, cause, *fr)
		return
	}
	s.ch.c.res.Fragments++
	fr.intact = finding == FindingIntact
	s.ch.spans = append(s.ch.spans, Span{Channel: s.ch.id, From: fr.from, To: fr.to, Finding: finding, Cause: cause})
}

// firstBox returns the length of the first box as its header says, at most all of b.
func firstBox(b []byte) int {
	if len(b) < 8 {
		return len(b)
	}
	if n := binary.BigEndian.Uint32(b); int64(n) <= int64(len(b)) {
		return int(n)
	}
	return len(b)
}

// matches tells how a signed line differs from what its moof says, "" if it does not.
func (s *segmentCheck) matches(fr *signedFragment, m *fmp4.Fragment) string {
	counts := make([]int64, len(s.tracks))
	from, to, lead := int64(0), int64(0), len(s.tracks)
	for _, r := range m.Runs {
		i := slices.IndexFunc(s.tracks, func(t fmp4.Track) bool { return t.ID == r.Track })
		end := r.Time + r.Duration()
		if i < 0 || end < r.Time || end > MaxInt {
			return "its track or time is out of range"
		}
		if !s.ch.follows(i, s.tracks[i].Timescale, r.Time, end) {
			return "it begins before the one before it ends"
		}
		counts[i] += int64(len(r.Samples))
		if len(r.Samples) > 0 && i < lead { // without lead samples the first track that has some tells the time
			lead = i
			scale := s.tracks[i].Timescale
			base := s.open.Base * int64(scale) / s.open.Timescale
			from, to = fmp4.MediaTime(r.Time, base, scale), fmp4.MediaTime(end, base, scale)
		}
		if i == 0 {
			s.ch.pace(r.Samples, s.tracks[0].Timescale)
		}
	}
	s.index = append(s.index, fmp4.EntryOf(m.Runs, s.tracks, fr.len))
	switch {
	case !slices.Equal(counts, fr.samples):
		return fmt.Sprintf("it holds %d samples, the line says %d", counts, fr.samples)
	case from != fr.from || to != fr.to:
		return fmt.Sprintf("it lasts from %d to %d, the line says %d to %d", from, to, fr.from, fr.to)
	}
	return ""
}

// follows tells whether a run of a track begins no earlier than the one before it ended.
func (ch *channelCheck) follows(track int, scale uint32, start, end uint64) bool {
	for len(ch.tracks) <= track {
		ch.tracks = append(ch.tracks, trackEnd{})
	}
	t := &ch.tracks[track]
	ok := t.scale != scale || start >= t.end
	*t = trackEnd{scale, end}
	return ok
}

// pace takes note of how long the lead's pictures last.
func (ch *channelCheck) pace(samples []fmp4.Sample, scale uint32) {
	for _, v := range samples {
		d := int64(v.Duration) * 1_000_000 / int64(scale)
		if ch.frames > 10 && d > ch.duration/ch.frames*3/2 {
			ch.slow++
		}
		ch.frames++
		ch.duration += d
	}
}
