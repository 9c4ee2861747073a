package rtsp

import "time"

// What a timestamp may do before it counts as a step of the camera's clock.
const (
	// maxAhead is how far timestamps may run ahead of the arrival of what they stamp.
	maxAhead = 500 * time.Millisecond
	// unsure is how long a stream is young: cameras begin with what they have in store, sent at once,
	// so that their arrival says nothing yet.
	unsure = time.Second
	// recent is how many timestamps are remembered to know the usual distance.
	recent = 8
	// quickest is how long the least delayed arrival counts; between one and two of them.
	quickest = 10 * time.Second
)

// ticks turns the RTP timestamps of a track (RFC 3550 5.1) into 64 bits that run on over the wrap of 32
// bits and over steps of the camera's clock. A step is told by a fall that no reordering explains, or by
// a timestamp that is ahead of its arrival: nothing arrives before it was captured. What is stepped to
// is put where its arrival says, a whole number of usual distances on. No picture is lost for it, no
// distance shown that is none.
type ticks struct {
	known  bool
	now    clockFace     // by which timestamps are read
	before clockFace     // the one before: with B-frames, timestamps of both come mixed for a moment
	turned time.Duration // arrival at which now took its place
	steps  int
	began  time.Duration // arrival of the first

	last    [recent]int64 // what was given out, a ring
	n       int
	newest  int64            // greatest given out
	arrived time.Duration    // its arrival
	low     [2]time.Duration // least arrival - ticks of this window and the one before
	window  time.Duration    // when this one began
}

// clockFace reads timestamps: ts is at, and others lie within half the range of 32 bits around it.
type clockFace struct {
	valid bool
	ts    uint32
	at    int64
}

func (f clockFace) unwrap(ts uint32) int64 { return f.at + int64(int32(ts-f.ts)) }

// next gives the ticks of the next timestamp. fall is how far it may be behind the newest, in usual
// distances; even says that one usual distance has passed if the arrival does not contradict.
func (t *ticks) next(ts uint32, hz int, arrival time.Duration, fall int64, even bool) int64 {
	if !t.known {
		t.known, t.now = true, clockFace{true, ts, int64(ts)}
		t.newest, t.arrived, t.began, t.window = int64(ts), arrival, arrival, arrival
		t.low[0] = arrival - duration(int64(ts), hz)
		t.low[1] = t.low[0]
		t.last[0], t.n = int64(ts), 1
		return int64(ts)
	}
	at := t.now.unwrap(ts)
	if !t.plausible(at, hz, arrival, fall) {
		old := t.before.unwrap(ts)
		if t.before.valid && arrival-t.turned < time.Second && t.plausible(old, hz, arrival, fall) {
			return t.give(old, hz, arrival) // stamped before the step, decoded after it
		}
		at = t.place(hz, arrival, even)
		t.before, t.turned = t.now, arrival
		t.steps++
	}
	t.now = clockFace{true, ts, at}
	return t.give(at, hz, arrival)
}

// plausible reports whether ticks can follow what was given out.
func (t *ticks) plausible(at int64, hz int, arrival time.Duration, fall int64) bool {
	if at < t.newest {
		return t.newest-at <= fall
	}
	return arrival-t.began < unsure || arrival-duration(at, hz) >= min(t.low[0], t.low[1])-maxAhead
}

// usual is the least distance of the timestamps given out lately.
func (t *ticks) usual(hz int) int64 {
	least := int64(0)
	for i := range min(t.n, recent) {
		for j := range i {
			d := max(t.last[i]-t.last[j], t.last[j]-t.last[i])
			if d > 0 && (least == 0 || d < least) {
				least = d
			}
		}
	}
	if least == 0 {
		return int64(hz) / 25
	}
	return least
}

// place puts what was stepped to a whole number of usual distances after the newest.
func (t *ticks) place(hz int, arrival time.Duration, even bool) int64 {
	u := t.usual(hz)
	if even && arrival-t.arrived < time.Second {
		return t.newest + u
	}
	passed := arrival - min(t.low[0], t.low[1]) - duration(t.newest, hz)
	n := (int64(passed/time.Microsecond)*int64(hz)/1e6 + u/2) / u
	return t.newest + max(n, 1)*u
}

func (t *ticks) give(at int64, hz int, arrival time.Duration) int64 {
	t.last[t.n%recent] = at
	if t.n++; t.n >= 2*recent {
		t.n -= recent
	}
	if at > t.newest {
		t.newest, t.arrived = at, arrival
	}
	offset := arrival - duration(at, hz)
	if arrival-t.window >= quickest {
		t.window, t.low[1], t.low[0] = arrival, t.low[0], offset
	}
	t.low[0] = min(t.low[0], offset)
	return at
}

// duration converts ticks without overflow.
func duration(ticks int64, hz int) time.Duration {
	h := int64(max(hz, 1))
	return time.Duration(ticks/h)*time.Second + time.Duration(ticks%h*int64(time.Second)/h)
}
