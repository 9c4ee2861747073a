package record

import (
	"time"

	"minglu/agent/fmp4"
	"minglu/drivers"
)

const (
	// maxHold is the longest a picture may stand without that being a hole in the recording.
	maxHold = time.Second
	// window is over how many samples the usual distance of two samples is taken: a camera that
	// alternates between two distances, or slows down in the dark, is not losing pictures.
	window = 8
)

// qsample waits in a track to be cut into a fragment. Its duration is known once its successor has come.
type qsample struct {
	tfdt, dur int64
	cto       int32
	sync      bool
	data      []byte
	cause     string // why there is a hole before it, if there is one
	anew      bool   // it begins a run or follows a break: a hole before it is the whole channel's
}

// track puts the samples of one codec sequence on the session's timeline. Ticks are of its timescale.
type track struct {
	id     uint32
	format *drivers.Format
	scale  int64 // ticks per second

	run    int   // of the sample last pushed, 0 before the first
	t0, d0 int64 // tfdt and DTS at which the run was anchored; t0 follows At
	last   int64 // DTS of the sample last placed
	placed int64 // and its tfdt
	far    int64 // ticks the newest distance of two samples has on the timeline …
	near   int64 // … and in the source, 0 unknown

	queue []qsample // the last one is held while held is set
	held  bool
	end   int64 // ticks: where the media ends, the held sample's usual duration included
	cut   int64 // ticks: where the last fragment ended, -1 before the first
	anew  bool  // of the next sample

	deltas [window]int64 // recent distances, 0 unused
	at     int
	cause  string // why the next hole is there, "" unknown
	total  int64  // ticks in queue without the held sample
}

func newTrack(id uint32, f *drivers.Format) track {
	return track{id: id, format: f, scale: int64(f.ClockHz), cut: -1}
}

// ticks rounds a media time to the track's timescale.
func (t *track) ticks(d time.Duration) int64 {
	sec, ns := int64(d/time.Second), int64(d%time.Second)
	return sec*t.scale + (ns*t.scale+int64(time.Second)/2)/int64(time.Second)
}

// micros is the media time of a position.
func (t *track) micros(ticks int64) int64 { return fmp4.MediaTime(uint64(ticks), 0, uint32(t.scale)) }

// usual is how long a sample lasts when nothing is lost.
func (t *track) usual() int64 {
	var m int64
	for _, d := range t.deltas {
		m = max(m, d)
	}
	if m == 0 {
		m = t.scale / 25
	}
	return m
}

func (t *track) learn(delta int64) {
	if delta > 0 {
		t.deltas[t.at] = delta
		t.at = (t.at + 1) % window
	}
}

// place returns the tfdt of a sample, and why there is a hole before it if there is one, and gives the
// held sample its duration. It must be followed by push or by nothing.
func (t *track) place(s *drivers.Sample, at time.Duration) (tfdt int64, cause string) {
	cause, t.cause = t.cause, ""
	if t.run == 0 || s.Run != t.run {
		if t.run != 0 && (cause == "" || cause == causeKeyframe) {
			cause = causeConnection
		}
		t.finish()
		t.run, t.d0, t.last = s.Run, s.DTS, s.DTS
		t.t0 = max(t.ticks(at), t.end)
		t.placed, t.far, t.near = t.t0, 0, 0
		t.anew = true
		return t.t0, cause
	}
	if cause == "" {
		cause = causeNoData
	}
	tfdt = t.t0 + s.DTS - t.d0
	// Capture bends At slowly after what the source's clock is off (agreed with package capture). A tick
	// of difference is rounding. Where the run was anchored late, behind an overlap, At is caught up with
	// at half the distance of its samples.
	if d := t.ticks(at) - tfdt; d > 1 || d < -1 {
		d = max(d, -(s.DTS-t.last)/2)
		t.t0 += d
		tfdt += d
	}
	t.far, t.near = tfdt-t.placed, s.DTS-t.last
	t.last, t.placed = s.DTS, tfdt
	if !t.held {
		return max(tfdt, t.end), cause
	}
	h := &t.queue[len(t.queue)-1]
	tfdt = max(tfdt, h.tfdt)
	delta := tfdt - h.tfdt
	if t.hole(delta, t.near) {
		if cause == causeNoData && delta < t.ticks(maxHold) {
			defer t.learn(t.near)
		}
		t.finish()
		return tfdt, cause
	}
	t.learn(t.near)
	h.dur = delta
	t.total += delta
	t.held, t.end = false, tfdt
	return tfdt, ""
}

// hole reports whether a distance of two samples, which is near by the ticks of the source, means that
// something is missing between them. 1.5 frames are the verifier's measure (evidence-format.md V9). Where
// capture stretches a source that sends fewer pictures than it stamps, nothing is missing: a picture
// stands until the next one.
func (t *track) hole(delta, near int64) bool {
	if delta > t.ticks(maxHold) {
		return true
	}
	known := t.deltas[0] != 0 || t.deltas[window-1] != 0
	return known && 2*near > 3*t.usual()
}

// shown is how long after its decoding a picture is shown. Where the timeline stretches the distances of
// decoding, because a camera sends fewer pictures than it stamps, it stretches this one alike: else pictures
// would be shown unevenly, and beyond twice the distance in another order. Slow bending is left alone.
func (t *track) shown(s *drivers.Sample) int64 {
	cto := s.PTS - s.DTS
	stretched := 50*max(t.far-t.near, t.near-t.far) >= t.near
	if t.near <= 0 || t.far > 4*t.near || t.near > 4*t.far || !stretched { // beyond that it is a jump
		return cto
	}
	return cto * t.far / t.near
}

// push holds a sample back until its successor comes.
func (t *track) push(s *drivers.Sample, tfdt int64, cause string) {
	if !t.format.Codec.Video() {
		t.deltas = [window]int64{s.Duration} // sound tells itself how long it lasts
	}
	t.queue = append(t.queue, qsample{tfdt: tfdt, cto: int32(t.shown(s)), sync: s.Keyframe, data: s.Data, cause: cause, anew: t.anew})
	t.anew = false
	t.held, t.end = true, tfdt+t.usual()
}

// finish gives the held sample its usual duration: nothing follows it directly.
func (t *track) finish() {
	if t.held {
		h := &t.queue[len(t.queue)-1]
		h.dur = t.usual()
		t.total += h.dur
		t.held, t.end = false, h.tfdt+h.dur
	}
}

// resume makes the next sample follow a break: what is missing before it is no hole of the track.
func (t *track) resume() { t.anew = true }

// complete is how many samples can be cut.
func (t *track) complete() int {
	if t.held {
		return len(t.queue) - 1
	}
	return len(t.queue)
}

// taken is a stretch of samples that follow each other without a hole.
type taken struct {
	from, to int64  // ticks
	after    int64  // ticks at which the stretch before ended, -1 if a hole before it is not the track's own
	cause    string // why there is a hole before it, if there is one
}

// take moves the first samples, at most n, that follow each other without a hole into run.
func (t *track) take(n int, run *fmp4.Run) taken {
	q := t.queue[:n]
	x := taken{from: q[0].tfdt, to: q[0].tfdt, after: t.cut, cause: q[0].cause}
	if q[0].anew {
		x.after = -1
	}
	k := 0
	for k < n && q[k].tfdt == x.to {
		s := &q[k]
		run.Samples = append(run.Samples, fmp4.Sample{Duration: uint32(s.dur), CTO: s.cto, Sync: s.sync, Data: s.data})
		x.to += s.dur
		k++
	}
	run.Track, run.Time = t.id, uint64(x.from)
	rest := copy(t.queue, t.queue[k:])
	clear(t.queue[rest:]) // lets the media go
	t.queue = t.queue[:rest]
	t.total -= x.to - x.from
	t.cut = x.to
	return x
}
