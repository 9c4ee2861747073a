package record

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/fmp4"
	"minglu/drivers"
)

// lateGrace is how far the media of a channel may lag behind the clock before that is a loss: network,
// encoder, and the sample held back.
const lateGrace = time.Second

// breakEdge is how long after a resume a channel may wait for its next keyframe: that is still the break.
const breakEdge = 2 * time.Second

// sample puts one sample on its track, and cuts what is complete.
func (s *Session) sample(c *channel, m *drivers.Sample) {
	if c == nil {
		return
	}
	at := m.At - s.zero
	if s.state != StateRecording || m.Format == nil || m.Track < 0 || m.Track >= len(c.formats) || at < 0 {
		c.status.Dropped++
		return
	}
	c.at = max(c.at, at)
	if c.formats[m.Track] != m.Format {
		s.reformat(c, m)
	}
	kept := m.Track == 0 && s.leadSample(c, m, at) || m.Track != 0 && s.sideSample(c, m, at)
	if !kept {
		c.status.Dropped++
		return
	}
	if full, keep := c.full(s.r.o.Fragment); full {
		s.cut(c, keep)
	}
}

// reformat notes that a track is coded differently from this sample on.
func (s *Session) reformat(c *channel, m *drivers.Sample) {
	c.formats[m.Track] = m.Format
	switch {
	case m.Track >= len(c.tracks):
		c.renew = true
	case c.tracks[m.Track].format.Equal(m.Format): // what the segment has, or carried as all are by now
	case !onlySets(c.tracks[m.Track].format, m.Format) || !c.carry(c.at, s.r.o.Segment):
		c.renew = true
	}
}

// leadSample takes a sample of the lead track and reports whether it is kept.
func (s *Session) leadSample(c *channel, m *drivers.Sample, at time.Duration) bool {
	video := m.Format.Codec.Video()
	if video && !m.Keyframe && (c.needKey || c.renew || len(c.tracks) == 0) {
		c.needKey = true
		if c.cause == "" {
			c.cause = causeKeyframe
		}
		return false
	}
	if len(c.tracks) == 0 {
		c.retrack()
	}
	due := c.renew || s.segmentDue(c) && (!video || m.Keyframe)
	c.renew = c.renew || due && c.carried
	t := &c.tracks[0]
	if c.cause != "" && t.cause == "" {
		t.cause = c.cause
	}
	c.cause = ""
	if t.scale != int64(m.Format.ClockHz) {
		t.run = 0 // ticks of another length: anchored anew
		t.finish()
	}
	rescaled := t.scale != int64(m.Format.ClockHz)
	var tfdt int64
	var cause string
	if !rescaled {
		tfdt, cause = t.place(m, at)
	}
	// A fragment begins at a keyframe, so that players can jump there; a camera with keyframes alone does
	// not make a fragment of each, which would fill the index before the file has its length.
	begins := video && m.Keyframe && (c.keyAt == 0 || at-c.keyAt >= s.r.o.Fragment*4/5)
	if begins {
		c.keyAt = at
	}
	if due || begins {
		if c.renew {
			for i := range c.tracks {
				c.tracks[i].finish()
			}
		}
		s.cutAll(c, c.renew)
	}
	if due {
		s.closeSegment(c)
		if c.renew {
			c.retrack()
			t = &c.tracks[0]
		}
	}
	if rescaled {
		tfdt, cause = t.place(m, at)
	}
	if c.needKey || !c.started {
		c.from = at
	}
	c.needKey, c.started = false, true
	if c.carried && m.Keyframe {
		m.Data = withSets(m.Format, m.Data)
	}
	t.push(m, tfdt, cause)
	return true
}

// sideSample takes a sample of another track: the sound of a camera.
func (s *Session) sideSample(c *channel, m *drivers.Sample, at time.Duration) bool {
	if !c.started || c.needKey || c.renew || m.Track >= len(c.tracks) || at < c.from {
		return false
	}
	t := &c.tracks[m.Track]
	tfdt, cause := t.place(m, at)
	t.push(m, tfdt, cause)
	return true
}

// segmentDue reports whether the next keyframe should begin a new file.
func (s *Session) segmentDue(c *channel) bool {
	if c.seg == nil || len(c.seg.index) == 0 {
		return false
	}
	t := &c.tracks[0]
	_, refs := reserveSize(s.r.o.Segment, s.r.o.Fragment)
	return t.end-c.seg.start >= t.ticks(s.r.o.Segment) || len(c.seg.index) >= refs-refs/8
}

// cut makes one round of fragments of what is complete, cutAll until nothing is; with all also of
// sound that has no picture yet.
func (s *Session) cut(c *channel, keep int) {
	if f, ok := c.take(keep, false); ok {
		s.emit(c, &f)
	}
}

func (s *Session) cutAll(c *channel, all bool) {
	for {
		_, keep := c.full(s.r.o.Fragment)
		f, ok := c.take(keep, all)
		if !ok {
			return
		}
		s.emit(c, &f)
	}
}

// emit writes a fragment into the batch, with the lines that belong before it.
func (s *Session) emit(c *channel, f *cut) {
	if s.broken != nil {
		return
	}
	// W1: no more than ahead_ms of a channel between two sign lines.
	if c.pending > 0 && c.pending+f.to-f.from > s.r.o.ahead().Microseconds() {
		s.flush()
	}
	if c.seg != nil && len(c.seg.index) >= c.seg.refs {
		s.closeSegment(c) // no keyframe came while the reserve filled up
	}
	if c.seg == nil && !s.openSegment(c, f) {
		return
	}
	s.declare(c, f)

	seg := c.seg
	buf := s.r.bufs.get()
	b, headLen, err := fmp4.AppendFragment(buf.b, uint32(c.n+1), f.runs)
	buf.b = b
	if err != nil {
		s.break_("fragment", err)
		return
	}
	n := int64(len(b))
	head, body := sha256.Sum256(b[:headLen]), sha256.Sum256(b[headLen:])
	s.append(evidence.Fragment{
		Common: evidence.Common{Type: "fragment"}, Ch: c.id, Seg: seg.n, N: c.n, Off: seg.size, Len: n,
		Head: hex.EncodeToString(head[:]), Body: hex.EncodeToString(body[:]),
		From: f.from, To: f.to, Samples: c.counts,
	})
	s.batch.add(write{file: seg.file, off: seg.size, buf: buf})
	s.batch.to = max(s.batch.to, f.to)
	s.mediaTo = max(s.mediaTo, f.to)
	seg.size += n
	seg.written = append(seg.written, fragmentSum{n, maphash.Bytes(s.r.seed, b)})
	seg.index = append(seg.index, fmp4.EntryOf(f.runs, seg.tracks, n))
	c.n++
	c.pending += f.to - f.from
	c.status.Fragments, c.status.To = c.n, time.Duration(f.to)*time.Microsecond
	c.status.Bytes += n
	for i := range f.runs {
		clear(f.runs[i].Samples) // lets the media go
	}
}

// declare writes a gap line for the hole before a fragment, if there is one. A quarter of a frame is
// well below what a verifier tolerates (half of one), and above what rounding makes.
func (s *Session) declare(c *channel, f *cut) {
	for _, g := range f.sound {
		s.gap(c, g.from, g.to, "sound: "+g.cause)
	}
	if !f.lead {
		return
	}
	first, cause := c.declared == 0 && !c.begun, f.cause
	allowed := c.tracks[0].micros(c.tracks[0].usual()) / 4
	switch {
	case first:
		allowed = max(allowed, s.trigger)
	case c.resumed:
		allowed = breakEdge.Microseconds()
	}
	if f.from-c.declared > allowed {
		switch {
		case cause != "" && cause != causeNoData:
		case first:
			cause = causeLate
		case c.resumed:
			cause = causeKeyframe
		default:
			cause = causeNoData
		}
		s.gap(c, c.declared, f.from, cause)
	}
	c.resumed, c.begun = false, true
	c.declared = max(c.declared, f.to)
}

func (s *Session) gap(c *channel, from, to int64, cause string) {
	if to <= from {
		return
	}
	s.append(evidence.Gap{Common: evidence.Common{Type: "gap"}, Ch: c.id, From: from, To: to, Cause: cause})
	c.status.Gaps++
	c.status.GapTotal += time.Duration(to-from) * time.Microsecond
}

// openSegment begins a new file; its init and reserve go into the batch.
func (s *Session) openSegment(c *channel, f *cut) bool {
	tracks := c.fmp4Tracks()
	init, err := fmp4.Init(tracks)
	if err != nil {
		// Without an init nothing can be played: wait for parameter sets that make one.
		c.cause, c.needKey, c.renew = causeFormat, true, true
		s.r.o.Log.Error("channel cannot be recorded", "session", s.id, "channel", c.id, "err", err)
		return false
	}
	reserve, refs := reserveSize(s.r.o.Segment, s.r.o.Fragment)
	c.segs++
	seg := &segment{
		ch: c.id, n: c.segs, file: segmentFile(c.id, c.segs), init: sha256.Sum256(init), initLen: int64(len(init)),
		reserve: reserve, refs: refs, tracks: tracks, start: f.ticks,
	}
	sdp := ""
	if len(c.desc.SDP) > 0 {
		sum := sha256.Sum256(c.desc.SDP)
		sdp = hex.EncodeToString(sum[:])
	}
	codecs := make([]string, len(tracks))
	for i := range tracks {
		codecs[i] = tracks[i].CodecString()
	}
	s.append(evidence.SegmentOpen{
		Common: evidence.Common{Type: "segment.open"}, Ch: c.id, Seg: seg.n, File: seg.file,
		Init: hex.EncodeToString(seg.init[:]), InitLen: seg.initLen, Reserve: reserve,
		Timescale: int64(tracks[0].Timescale), Codec: codecs, Camera: c.desc.Identity, SDP: sdp, Shown: shown(c.desc.Shown),
	})
	buf := s.r.bufs.get()
	buf.b = append(append(buf.b, init...), fmp4.Reserve(int(reserve))...)
	seg.size = int64(len(buf.b))
	s.batch.add(write{file: seg.file, create: true, buf: buf})
	c.seg = seg
	c.status.Segment = seg.n
	return true
}

// shown is what the record says of the text in the pictures; nil: nobody knows anything of it.
func shown(s drivers.Shown) map[string]string {
	m := map[string]string{}
	for key, by := range map[string]drivers.ShownBy{"time": s.Time, "place": s.Place, "climate": s.Climate, "case": s.Case} {
		if by != drivers.ShownUnknown {
			m[key] = string(by)
		}
	}
	if len(m) > 0 && s.Stated != "" {
		m["stated"] = s.Stated
	}
	return m
}

// closeSegment ends a file: its fragments are signed, then it is read back from the disks, then its
// segment.close line is written, then its index.
func (s *Session) closeSegment(c *channel) {
	seg := c.seg
	if c.seg = nil; seg == nil {
		return
	}
	s.flush()
	index, err := fmp4.Index(seg.tracks[0], seg.index, int(seg.reserve))
	if err != nil {
		s.break_("index", err)
		return
	}
	s.closing.reading++
	read := &reading{seg: seg, index: index}
	for _, t := range s.targets {
		if s.do(t, op{do: func(d *disk) error {
			d.readInBackground(t, read)
			return nil
		}}) {
			t.reading++
		}
	}
}

// break_ gives the session up because its log or its files no longer follow the format: a bug here or
// a source that gives what cannot be written.
func (s *Session) break_(what string, err error) {
	s.r.o.Log.Error("session broken", "session", s.id, "what", what, "err", err)
	if s.broken == nil {
		s.broken = err
	}
}
