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
	// settleTime is how long a new run is held back while a sink is attached: cameras send what they
	// had in store in one burst, and the first arrival says little about when it was captured.
	settleTime = 500 * time.Millisecond
	// reportsAgree is how far two pairs of sender reports may differ and still say the same;
	// reportsAgain how many that say something else must agree before they are believed: the
	// reports of two tracks do not step at the same moment. reportsAge is how long they count.
	reportsAgree = 50 * time.Millisecond
	reportsAgain = 3
	reportsAge   = time.Minute
)

// since converts ticks to time without overflow.
func since(ticks int64, hz int) time.Duration {
	h := int64(hz)
	return time.Duration(ticks/h)*time.Second + time.Duration(ticks%h*int64(time.Second)/h)
}

// trackLine maps the ticks of one track to uptime during one run.
type trackLine struct {
	line
	seen bool
	dts  int64 // of the newest sample

	report *drivers.SenderReport // newest
	apart  relation              // from the lead track, by the reports
	skew   time.Duration         // how much later than by its arrival this track lies by the reports
	fixed  bool                  // samples of this run are being recorded: the line is only steered
}

// relation is how far the ticks of a track are from those of the lead track: a moment is at time
// ticks t of this one and t + value of the lead.
type relation struct {
	known bool
	value time.Duration
	at    time.Duration // arrival of the report that last said so
	other time.Duration // what reports say that is not believed yet
	again int           // how often
}

// say takes what the newest pair of reports says.
func (r *relation) say(v, now time.Duration) {
	switch {
	case !r.known, (v - r.value).Abs() <= reportsAgree:
		r.known, r.value, r.at, r.again = true, v, now, 0
	case r.again > 0 && (v-r.other).Abs() <= reportsAgree:
		if r.again++; r.again >= reportsAgain {
			r.value, r.at, r.again = v, now, 0
		}
	default:
		r.other, r.again = v, 1
	}
}

// run is one unbroken stretch of a channel.
type run struct {
	n      int
	desc   *drivers.Description
	first  time.Duration // arrival of its first sample
	tracks []trackLine
}

// newRun begins the first run of a connection. Of before, the tracks of the last one, it keeps what is
// in the device and not in the connection: the error of its clocks, and how its sound lags.
func newRun(n int, d *drivers.Description, first time.Duration, before []trackLine) *run {
	r := &run{n: n, desc: d, first: first, tracks: make([]trackLine, len(d.Formats))}
	for i, f := range d.Formats {
		t := &r.tracks[i]
		t.hz = max(f.ClockHz, 1)
		if len(before) == len(d.Formats) && before[i].hz == t.hz {
			t.drift, t.skew = before[i].drift, before[i].skew
			t.rate = t.drift
		}
	}
	return r
}

// next begins another run of the same connection. What is known of the tracks stays, but for the one
// whose clock jumped: -1 if none did.
func (r *run) next(jumped int, first time.Duration) *run {
	n := newRun(r.n+1, r.desc, first, r.tracks)
	for i := range n.tracks {
		if i != jumped {
			n.tracks[i] = r.tracks[i]
			n.tracks[i].fixed = false
		}
	}
	return n
}

// ends is the last moment of what was captured for a sample. A picture cannot arrive before it was
// captured, nor sound before its last frame was. lookahead is how many ticks an encoder here has
// moved the sound forward.
func ends(s *drivers.Sample, lookahead int64) int64 { return s.PTS + s.Duration + lookahead }

// broken reports whether a sample cannot belong to this run.
func (r *run) broken(s *drivers.Sample, lookahead int64) bool {
	t := &r.tracks[s.Track]
	return t.seen && (s.DTS < t.dts || s.Arrival-t.where(ends(s, lookahead)) < t.low()-jump)
}

// observe learns from a sample, and steers the line of its track.
func (r *run) observe(s *drivers.Sample, lookahead int64) {
	t := &r.tracks[s.Track]
	t.seen, t.dts = true, s.DTS
	t.add(s.DTS, ends(s, lookahead), s.Arrival)
	if t.due(s.Arrival) {
		t.steer(r.off(s.Track, s.Arrival), s.Arrival, !t.fixed)
	}
}

// reported learns from a sender report. It never moves the lead track, and another track only as far
// as the difference of two reports says again and again.
func (r *run) reported(s *drivers.SenderReport) {
	r.tracks[s.Track].report = s
	lead := r.tracks[0].report
	if lead == nil {
		return
	}
	epoch := func(t *trackLine) time.Time { return t.report.NTP.Add(-since(t.report.PTS, t.hz)) }
	for i := 1; i < len(r.tracks); i++ {
		if t := &r.tracks[i]; t.report != nil && (s.Track == i || s.Track == 0) {
			t.apart.say(epoch(t).Sub(epoch(&r.tracks[0])), s.Arrival)
		}
	}
}

// off is how far the line of a track is from where the track should lie now: the lead track where its
// least delayed samples arrive; another one beside it by the sender reports, if they are there and
// believable, else where its own samples arrive.
func (r *run) off(track int, now time.Duration) time.Duration {
	t := &r.tracks[track]
	own := t.low()
	if track == 0 {
		return own
	}
	lead := &r.tracks[0]
	if !lead.seen || !t.apart.known || now-t.apart.at > reportsAge {
		return own + t.skew
	}
	beside := lead.at(since(t.head, t.hz) + t.apart.value)
	if !lead.fixed {
		beside += lead.low()
	}
	by := beside - t.where(t.head)
	if d := by - own; d > -maxReportShift && d < maxReportShift {
		t.skew = d
		return by
	}
	return own + t.skew
}

// at maps ticks of a track to uptime.
func (r *run) at(track int, ticks int64) time.Duration {
	t := &r.tracks[track]
	if t.fixed {
		return t.where(ticks)
	}
	return t.where(ticks) + r.off(track, t.newest())
}

// fix makes the mapping of a track continuous from here on.
func (r *run) fix(track int) {
	if t := &r.tracks[track]; !t.fixed {
		t.anchor += r.off(track, t.newest())
		t.fixed = true
	}
}

// loosen lets the mapping follow at once again.
func (r *run) loosen() {
	for i := range r.tracks {
		r.tracks[i].fixed = false
	}
}
