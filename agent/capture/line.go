package capture

import (
	"math"
	"time"
)

// How a line is steered. The gains are those of a loop that answers within half a minute and does not
// swing (damping about 1): a source whose clock is 200 ppm off stays within 8 ms, and within 3 ms once
// its error has been learned.
const (
	look      = time.Second // the least delayed sample of each such window is looked at
	windows   = 8           // that many of them
	gain      = 0.04        // of the error taken off in a second
	learning  = 0.0004      // of the error added to drift in a second, in 1/s
	deadBand  = 2 * time.Millisecond
	learnable = 40 * time.Millisecond // a greater error is no drift
	leapFrom  = 20 * time.Millisecond // of an error that a line nobody records is rid of at once
	maxDrift  = 500e-6                // of a clock that works
	maxSlew   = 5e-3                  // while an error is taken off: nobody hears or sees half a percent
	// A source that stamps another rate than it sends is followed at its true rate, within these.
	minGross, maxGross = -0.6, 2.0
	leastGross         = 0.01
	sureGross          = 0.03
	grossDrift         = 0.02
	grossSlew          = 0.1
	strayWindows       = 4 // so many windows in a row are further off than jump
)

// point is the least delayed sample of one window: the ticks of its end, and its arrival.
type point struct {
	ticks   int64
	arrival time.Duration
}

// line is the mapping of one track's ticks to uptime: straight but for the slow bends that keep it at
// the earliest arrivals. It passes through (ref, anchor) and grows by 1+rate.
type line struct {
	hz     int
	ref    int64
	anchor time.Duration
	rate   float64
	drift  float64 // the part of rate that is the error of the source's clock, as learned
	gross  float64 // the part of rate that is a source whose stamps are no time at all

	points [windows]point // a ring; cur is the window under way
	cur, n int
	from   time.Duration // when the window under way began
	judged time.Duration // when it was last steered
	head   int64         // where the newest sample begins
	last   time.Duration // its arrival
}

// at maps time in ticks to uptime.
func (l *line) at(ticks time.Duration) time.Duration {
	d := ticks - since(l.ref, l.hz)
	return l.anchor + d + time.Duration(float64(d)*l.rate)
}

// where maps ticks to uptime.
func (l *line) where(ticks int64) time.Duration {
	d := since(ticks-l.ref, l.hz)
	return l.anchor + d + time.Duration(float64(d)*l.rate)
}

func (l *line) newest() time.Duration { return l.last }

// add looks at one sample: where it begins on the line, where what was captured ends, when it came.
func (l *line) add(begin, end int64, arrival time.Duration) {
	p := point{end, arrival}
	l.head, l.last = begin, arrival
	switch {
	case l.n == 0:
		l.ref, l.anchor, l.from, l.judged = end, arrival, arrival, arrival
		l.points[0], l.cur, l.n = p, 0, 1
	case arrival-l.from >= look:
		l.from = arrival
		l.cur = (l.cur + 1) % windows
		l.points[l.cur] = p
		l.n = min(l.n+1, windows)
	case l.late(p) <= l.late(l.points[l.cur]):
		l.points[l.cur] = p
	}
}

// late is how long after the line a sample arrived.
func (l *line) late(p point) time.Duration { return p.arrival - l.where(p.ticks) }

// back returns the point of the k-th window before the one under way.
func (l *line) back(k int) point { return l.points[(l.cur-k+windows)%windows] }

// low is how long after the line the least delayed of the latest samples arrived: negative if the line
// says that it was captured after it came.
func (l *line) low() time.Duration {
	if l.n == 0 {
		return 0
	}
	low := l.late(l.back(0))
	for k := 1; k < l.n; k++ {
		low = min(low, l.late(l.back(k)))
	}
	return low
}

// due reports whether the line is to be steered now.
func (l *line) due(now time.Duration) bool { return now-l.judged >= look }

// steer bends the line by what it is off, so that it is where it should be in a while. A line that
// nobody records may leap instead.
func (l *line) steer(off, now time.Duration, leap bool) {
	passed := min(now-l.judged, 4*look).Seconds()
	l.judged = now
	late := l.late(l.back(0))
	leapt := leap && off.Abs() > leapFrom
	if leapt {
		l.anchor += off
	}
	g, ok := l.trueRate()
	stray := ok && math.Abs(g-l.gross-l.drift) > sureGross && (leap || late.Abs() > jump/2)
	if stray || ok && off.Abs() > jump && math.Abs(g-l.gross) > leastGross {
		if math.Abs(g) < leastGross {
			g = 0
		}
		l.gross, l.drift = g, 0
	}
	over := (off - min(max(off, -deadBand), deadBand)).Seconds() * (1 + l.gross) // ticks pass at that speed
	switch {
	case leapt, off > jump && !ok: // it is there already; or it is catching up
		over = 0
	case l.n < windows: // too young to tell a drift
	case l.gross != 0 && off.Abs() <= jump/2:
		l.drift = clamp(l.drift+learning*over*passed, grossDrift)
	case l.gross == 0 && off.Abs() <= learnable:
		l.drift = clamp(l.drift+learning*over*passed, maxDrift)
	}
	most := maxSlew
	if off.Abs() > jump || l.gross != 0 {
		most = grossSlew
	}
	l.bend(l.gross + l.drift + clamp(gain*over, most))
}

// bend changes the rate from the newest sample on.
func (l *line) bend(rate float64) {
	if rate == l.rate {
		return // an even source keeps its exact distances
	}
	l.anchor, l.ref = l.where(l.head), l.head
	l.rate = rate
}

// trueRate is by how much time passes faster than ticks by the least delayed samples of the latest
// windows; ok is false while that cannot be said: too few of them, a step and no rate, or what was in
// store is being sent.
func (l *line) trueRate() (g float64, ok bool) {
	if l.n <= strayWindows {
		return 0, false
	}
	g, ok = l.slope(strayWindows, 0)
	for k := range strayWindows {
		a, b := l.back(k+1), l.back(k)
		one, fine := l.slope(k+1, k)
		if !fine || math.Abs(one-g) > max(sureGross, math.Abs(g)/2) {
			return 0, false
		}
		ticks := since(b.ticks-a.ticks, l.hz)
		step := b.arrival - a.arrival - ticks - time.Duration(float64(ticks)*l.gross)
		if l.late(b) > learnable && step < -learnable/2 {
			return 0, false // late, and less so each time
		}
	}
	return min(max(g, minGross), maxGross), ok
}

// slope is by how much time passed faster than ticks between the points of two windows.
func (l *line) slope(from, to int) (g float64, ok bool) {
	a, b := l.back(from), l.back(to)
	ticks := since(b.ticks-a.ticks, l.hz)
	if ticks <= 0 {
		return 0, false
	}
	return float64(b.arrival-a.arrival)/float64(ticks) - 1, true
}

func clamp(v, most float64) float64 { return min(max(v, -most), most) }
