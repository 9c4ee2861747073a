package record

import (
	"encoding/binary"
	"fmt"
	"time"

	"minglu/agent/fmp4"
	"minglu/drivers"
)

// Causes of gaps this package finds itself.
const (
	causeConnection = "connection lost"
	causeNoData     = "no data"
	causeLate       = "started late"
	causeNever      = "never delivered"
	causeKeyframe   = "waiting for a keyframe"
	causeFormat     = "format changed"
	causeOverrun    = "recorder overloaded"
)

// channel is the recording of one channel. Its session's goroutine owns it.
type channel struct {
	id      string
	desc    drivers.Description
	formats []*drivers.Format // one per track, the newest seen

	tracks  []track       // as of the segment that is open, or of the one to open at the next keyframe
	needKey bool          // nothing is recorded before the next keyframe of the lead track
	renew   bool          // that keyframe begins a new segment
	carried bool          // keyframes carry their parameter sets: they are not those of the segment
	credit  time.Duration // media for which segments may begin because of new parameter sets
	seen    time.Duration // media time up to which credit was given
	at      time.Duration // media time of the newest sample
	keyAt   time.Duration // media time of the newest keyframe that began a fragment
	from    time.Duration // media time before which sound is dropped: where the picture starts

	seg  *segment // nil: none open
	n    int64    // fragments so far
	segs int64    // segments so far

	// declared is the media time, in µs, up to which fragments, gaps and pauses account for everything.
	declared int64
	started  bool   // a sample of the lead track was kept
	begun    bool   // declared is of a fragment, a gap or a pause
	resumed  bool   // nothing recorded since the last resume
	cause    string // why nothing comes, as last told

	pending int64 // media, in µs, in the batch being made
	status  ChannelStatus
	runs    []fmp4.Run // reused by each cut
	counts  []int64
}

// cut is one fragment to be written. Its slices are the channel's: valid until the next one.
type cut struct {
	runs     []fmp4.Run
	from, to int64  // µs
	lead     bool   // it has samples of the lead track
	ticks    int64  // lead ticks at which it begins
	cause    string // of the hole before it, if there is one
	sound    []gapSpan
}

// gapSpan is a hole in a track beside the lead, in µs.
type gapSpan struct {
	from, to int64
	cause    string
}

// describe takes over what the source says at a new connection. every is the length of a segment.
func (c *channel) describe(d drivers.Description, every time.Duration) {
	c.renew = c.renew || c.desc.Shown != d.Shown // it stands in segment.open
	c.desc = d
	c.formats = append([]*drivers.Format(nil), d.Formats...)
	if len(d.Formats) == 0 {
		return
	}
	other, sets := len(c.tracks) != len(d.Formats), false
	for i := 0; !other && i < len(d.Formats); i++ {
		g, f := c.tracks[i].format, d.Formats[i]
		switch {
		case compatible(g, f):
		case onlySets(g, f):
			sets = true
		default:
			other = true
		}
	}
	c.renew = c.renew || other || sets && !c.carry(c.at, every)
	c.needKey = c.needKey || d.Formats[0].Codec.Video()
}

// setSegments is how many segments may begin because of new parameter sets before the next ones must
// wait for their time: then they are carried in the samples, so that a camera that changes its mind
// each second does not make a file each second.
const setSegments = 8

// carry decides that samples carry their parameter sets. at is the media time, every that of a segment.
func (c *channel) carry(at, every time.Duration) bool {
	if c.seg == nil && !c.carried {
		return false
	}
	if c.seen == 0 {
		c.credit = setSegments * every
	}
	c.credit = min(c.credit+max(0, at-c.seen), setSegments*every)
	c.seen = max(at, 1)
	if c.carried = c.credit < every; !c.carried {
		c.credit -= every
	}
	return c.carried
}

// onlySets reports whether two formats differ in nothing but parameter sets, which samples can carry.
func onlySets(g, f *drivers.Format) bool {
	return f.Codec.Video() && f.Codec == g.Codec && f.ClockHz == g.ClockHz && len(f.SPS) > 0
}

// withSets is an access unit that begins with the parameter sets of its format (ISO 14496-15 5.3.2, as
// "avc3" has them: decoders take them in any file).
func withSets(f *drivers.Format, unit []byte) []byte {
	var out []byte
	for _, set := range [][]byte{f.VPS, f.SPS, f.PPS} {
		if len(set) > 0 {
			out = binary.BigEndian.AppendUint32(out, uint32(len(set)))
			out = append(out, set...)
		}
	}
	return append(out, unit...)
}

// compatible reports whether samples of f may follow those of g in one file, as far as a description
// tells: parameter sets may come in the stream only.
func compatible(g, f *drivers.Format) bool {
	if len(f.SPS) == 0 && f.Codec.Video() {
		return f.Codec == g.Codec && f.ClockHz == g.ClockHz
	}
	return g.Equal(f)
}

// retrack makes tracks for the formats in use from here on. Positions on the timeline are kept. What
// was queued must have been cut.
func (c *channel) retrack() {
	old := c.tracks
	c.tracks = make([]track, len(c.formats))
	for i, f := range c.formats {
		t := &c.tracks[i]
		*t = newTrack(uint32(i+1), f)
		if i >= len(old) {
			continue
		}
		o := &old[i]
		t.cause, t.end = o.cause, rescale(o.end, o.scale, t.scale)
		if o.scale == t.scale {
			t.run, t.t0, t.d0, t.last, t.cut, t.anew = o.run, o.t0, o.d0, o.last, o.cut, o.anew
			t.deltas, t.at = o.deltas, o.at
		}
	}
	c.runs = make([]fmp4.Run, len(c.tracks))
	c.counts = make([]int64, len(c.tracks))
	c.renew, c.carried = false, false
}

// rescale rounds up, so that what follows never lies before what was.
func rescale(ticks, from, to int64) int64 {
	if from == to {
		return ticks
	}
	return ticks/from*to + (ticks%from*to+from-1)/from
}

// take makes the next fragment of what is complete, leaving out the last keep samples of the lead
// track; ok is false if there is nothing. Sound alone makes a fragment only when the picture is late
// by more than lateGrace, or when all must go: a fragment of sound that is merely ahead would begin
// after the picture that follows it.
func (c *channel) take(keep int, all bool) (f cut, ok bool) {
	n := 0
	clear(c.counts)
	for i := range c.tracks {
		t := &c.tracks[i]
		m := t.complete()
		if i == 0 {
			m -= keep
		}
		if m <= 0 {
			continue
		}
		if lead := &c.tracks[0]; i > 0 && n == 0 && !all && t.micros(t.end)-lead.micros(lead.end) < lateGrace.Microseconds() {
			continue
		}
		r := &c.runs[n]
		r.Samples = r.Samples[:0]
		x := t.take(m, r)
		c.counts[i] = int64(len(r.Samples))
		if n == 0 {
			f.lead = i == 0
			f.from, f.to = t.micros(x.from), t.micros(x.to)
			f.ticks = rescale(x.from, t.scale, c.tracks[0].scale)
		}
		switch {
		case i == 0:
			f.cause = x.cause
		case x.after >= 0 && 2*(x.from-x.after) > t.usual():
			f.sound = append(f.sound, gapSpan{t.micros(x.after), t.micros(x.from), x.cause})
		}
		n++
	}
	f.runs = c.runs[:n]
	return f, n > 0
}

// full reports whether a track has as much media as a fragment may hold, and by how many samples of
// the lead track it has more.
func (c *channel) full(limit time.Duration) (full bool, keep int) {
	for i := range c.tracks {
		t := &c.tracks[i]
		most := t.ticks(limit)
		if t.total < most || t.complete() == 0 {
			continue
		}
		if i == 0 && t.total > most && t.complete() > 1 {
			keep = 1
		}
		full = true
	}
	return full, keep
}

// fmp4Tracks describes the tracks for the init.
func (c *channel) fmp4Tracks() []fmp4.Track {
	out := make([]fmp4.Track, len(c.tracks))
	for i := range c.tracks {
		f := c.tracks[i].format
		out[i] = fmp4.Track{
			ID: c.tracks[i].id, Timescale: uint32(f.ClockHz), Codec: fmp4.Codec(f.Codec),
			VPS: f.VPS, SPS: f.SPS, PPS: f.PPS, Width: f.Width, Height: f.Height,
			AudioConfig: f.AudioConfig, SampleRate: f.SampleRateHz, Channels: f.Channels,
		}
	}
	return out
}

// segment is one file of a channel while the session knows it.
type segment struct {
	ch      string
	n       int64
	file    string
	initLen int64
	init    [32]byte
	reserve int64
	refs    int // that many fragments fit into the index
	tracks  []fmp4.Track
	start   int64 // lead ticks at which it begins
	size    int64 // bytes handed to the disks
	index   []fmp4.IndexEntry
	written []fragmentSum // to know the bytes again when they are read back
}

// fragmentSum is of the bytes of one fragment as they were handed to the disks. 64 bits with a secret
// seed find what a disk got wrong as surely as the digests of the line would, at a twentieth of the cost.
type fragmentSum struct {
	len int64
	sum uint64
}

func segmentFile(ch string, n int64) string { return fmt.Sprintf("%s-%05d.mp4", ch, n) }

// reserveSize is the size of the reserved free box: an index of fragments half a second long, three
// times over (keyframes cut additional ones), and at least 64. sidx v1 is 40 bytes and 12 for each
// reference (ISO 14496-12 8.16.3), followed by a free box of at least 8.
func reserveSize(segmentDuration, fragment time.Duration) (bytes int64, refs int) {
	refs = max(64, int(3*segmentDuration/fragment)+64)
	return int64(40 + 12*refs + 8), refs
}
