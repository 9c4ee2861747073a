package fleet

import (
	"slices"
	"time"
)

// Limits of numbering.
const (
	// HoleWait is how long a missing number is waited for. A device sends in order and keeps what is
	// not acknowledged, so a number that did not come by then is no longer there. The hole stays on
	// record, and the acknowledgement moves on past it.
	HoleWait = 10 * time.Minute
	MaxAhead = 1_000_000 // a number so far beyond the newest is not believed
	maxHoles = 1000      // of one outbox
)

// hole is a stretch of numbers that are missing, both ends included.
type hole struct {
	lo, hi int64
	since  time.Time // when it was found, or this process began
	lost   bool      // waited for in vain
}

// numbers is what is known of one outbox: everything from 1 to top but the holes. It decides, and
// touches no database.
type numbers struct {
	top     int64
	holes   []hole // in order
	applied int64  // events up to here have had their effect on alarms
}

// upto is the highest number without a missing one before it that is still waited for.
func (o *numbers) upto() int64 {
	for _, h := range o.holes {
		if !h.lost {
			return h.lo - 1
		}
	}
	return o.top
}

func (o *numbers) missing() (n int64) {
	for _, h := range o.holes {
		n += h.hi - h.lo + 1
	}
	return n
}

func (o *numbers) waiting() bool {
	return slices.ContainsFunc(o.holes, func(h hole) bool { return !h.lost })
}

// what add did.
type added int

const (
	fresh   added = iota // to be stored
	again                // was there already
	refused              // not believable
)

// add takes number n in.
func (o *numbers) add(n int64, now time.Time) added {
	switch {
	case n < 1 || n > o.top+MaxAhead:
		return refused
	case n == o.top+1:
		o.top = n
		return fresh
	case n > o.top:
		if len(o.holes) >= maxHoles {
			return refused
		}
		o.holes = append(o.holes, hole{lo: o.top + 1, hi: n - 1, since: now})
		o.top = n
		return fresh
	}
	i := slices.IndexFunc(o.holes, func(h hole) bool { return h.lo <= n && n <= h.hi })
	if i < 0 {
		return again
	}
	h := o.holes[i]
	var rest []hole
	if h.lo < n {
		rest = append(rest, hole{h.lo, n - 1, h.since, h.lost})
	}
	if n < h.hi {
		rest = append(rest, hole{n + 1, h.hi, h.since, h.lost})
	}
	o.holes = slices.Replace(o.holes, i, i+1, rest...)
	return fresh
}

// giveUp marks as lost what was waited for long enough, and reports whether there was any.
func (o *numbers) giveUp(now time.Time) bool {
	any := false
	for i, h := range o.holes {
		if !h.lost && now.Sub(h.since) >= HoleWait {
			o.holes[i].lost, any = true, true
		}
	}
	return any
}
