package capture

import (
	"time"

	"minglu/drivers"
)

const (
	// jump is how far a source's ticks may run ahead of the arrival of its samples. Nothing arrives
	// before it was captured, so more than this means that the source's clock stepped.
	jump = 500 * time.Millisecond
	// maxReportShift bounds what sender reports may move sound against its arrival: cameras with
	// two unrelated clocks in one SDP exist.
	maxReportShift = time.Second
	// envelopeWindow is how long the earliest arrival counts, so that the envelope can follow a
	// clock that drifts; between one and two windows are looked at.
	envelopeWindow = 10 * time.Second
	// settleTime is how long a new run is held back while a sink is attached: cameras send what they
	// had in store in one burst, and the first arrival says little about when it was captured.
	settleTime = 500 * time.Millisecond
)

// since converts ticks to time without overflow.
func since(ticks int64, hz int) time.Duration {
	h := int64(hz)
	return time.Duration(ticks/h)*time.Second + time.Duration(ticks%h*int64(time.Second)/h)
}

// envelope is the lowest of the offsets arrival - ticks lately: what the network delayed least.
type envelope struct {
	now, before time.Duration
	from        time.Duration // when the window of now began
	n           int           // windows with a value, at most 2
}

func (e *envelope) add(offset, arrival time.Duration) {
	switch {
	case e.n == 0:
		*e = envelope{now: offset, from: arrival, n: 1}
	case arrival-e.from >= envelopeWindow:
		*e = envelope{now: offset, before: e.now, from: arrival, n: 2}
	default:
		e.now = min(e.now, offset)
	}
}

func (e *envelope) low() time.Duration {
	if e.n == 2 {
		return min(e.now, e.before)
	}
	return e.now
}

// trackLine maps the ticks of one track to uptime during one run.
type trackLine struct {
	hz       int
	seen     bool
	dts      int64                 // of the newest sample
	decoding envelope              // arrival - DTS
	showing  envelope              // arrival - end of what was captured: PTS, for sound its end
	report   *drivers.SenderReport // newest

	fixed  bool // samples of this run are being recorded: offset stays
	offset time.Duration
}

// run is one unbroken stretch of a channel.
type run struct {
	n      int
	desc   *drivers.Description
	first  time.Duration // arrival of its first sample
	tracks []trackLine
}

func newRun(n int, d *drivers.Description, first time.Duration) *run {
	r := &run{n: n, desc: d, first: first, tracks: make([]trackLine, len(d.Formats))}
	for i, f := range d.Formats {
		r.tracks[i].hz = max(f.ClockHz, 1)
	}
	return r
}

// next begins another run of the same connection. What is known of the tracks stays, but for the one
// whose clock jumped: -1 if none did.
func (r *run) next(jumped int, first time.Duration) *run {
	n := newRun(r.n+1, r.desc, first)
	for i := range n.tracks {
		if i != jumped {
			n.tracks[i] = r.tracks[i]
			n.tracks[i].fixed = false
		}
	}
	return n
}

// broken reports whether a sample cannot belong to this run.
func (r *run) broken(s *drivers.Sample) bool {
	t := &r.tracks[s.Track]
	return t.seen && (s.DTS < t.dts || s.Arrival-since(s.DTS, t.hz) < t.decoding.low()-jump)
}

// observe learns from a sample. A picture cannot arrive before it was captured, nor sound before its
// last frame was: PTS and end of the earliest bound the offset from above. lookahead is how many
// ticks an encoder here has moved the sound forward.
func (r *run) observe(s *drivers.Sample, lookahead int64) {
	t := &r.tracks[s.Track]
	t.seen, t.dts = true, s.DTS
	t.decoding.add(s.Arrival-since(s.DTS, t.hz), s.Arrival)
	t.showing.add(s.Arrival-since(s.PTS+s.Duration+lookahead, t.hz), s.Arrival)
}

// at maps ticks of a track to uptime.
func (r *run) at(track int, ticks int64) time.Duration {
	return r.place(track) + since(ticks, r.tracks[track].hz)
}

// place is the offset of a track: the uptime of its tick 0. The lead track lies where its samples
// arrive; another one beside it by the sender reports, if they are there and believable.
func (r *run) place(track int) time.Duration {
	t := &r.tracks[track]
	if t.fixed {
		return t.offset
	}
	own := t.showing.low()
	if track == 0 {
		return own
	}
	lead := &r.tracks[0]
	if !lead.seen || lead.report == nil || t.report == nil {
		return own
	}
	shift := t.report.NTP.Sub(lead.report.NTP)
	byReport := r.at(0, lead.report.PTS) + shift - since(t.report.PTS, t.hz)
	if d := byReport - own; d > -maxReportShift && d < maxReportShift {
		return byReport
	}
	return own
}

// fix makes the mapping of a track final for this run.
func (r *run) fix(track int) {
	if t := &r.tracks[track]; !t.fixed {
		t.offset = r.place(track)
		t.fixed = true
	}
}

// loosen lets the mapping follow what is learned again.
func (r *run) loosen() {
	for i := range r.tracks {
		r.tracks[i].fixed = false
	}
}
