package capture

import (
	"slices"
	"sync"
	"time"

	"minglu/drivers"
)

// Causes told to Tap.Lost beside those of the channel.
const (
	CauseBehind = "tap did not keep up" // what waited for it was dropped; it goes on at the next keyframe
	CausePaused = "paused"              // nothing is handed over until the pause has ended
)

// What may wait for one tap.
const (
	tapItems = 2000 // about a minute of sound, or of pictures
	tapBytes = 32 << 20
)

// Tap looks at one channel without a part in the recording. Its calls come one at a time, in order,
// from a goroutine of its own, so they may take their time: a tap that does not keep up loses what
// waits for it and goes on at the next keyframe, and the channel never notices.
type Tap interface {
	// Describe comes before the first sample, and again after each reconnect, as soon as a source is
	// connected.
	Describe(ch string, d drivers.Description)
	// Sample hands over one sample; Run and Format are set. At is the best that is known by now: while
	// a run is young, or not being recorded, it may come to differ from what is recorded by the delay
	// of the network. Lead samples begin at a keyframe, again after each Lost with CauseBehind.
	Sample(ch string, s drivers.Sample)
	// Lost names the cause of a hole in a track: n packets, or 0 if not known how many. With
	// CauseBehind and CausePaused, all tracks have the hole.
	Lost(ch string, track, n int, cause string)
	// SenderReport ties ticks to the source's own wall clock. Not during a pause.
	SenderReport(ch string, r drivers.SenderReport)
}

// Tap hands t what the source of a channel says of itself and its samples since the last keyframe,
// then everything that comes, whether a sink is attached or not. During a pause it hands over
// nothing, and drops what still waits. Each channel may have several taps. stop ends it: once it has
// returned, t gets no more calls; t itself must not call it. A channel that does not exist delivers nothing.
func (c *Capture) Tap(ch string, t Tap) (stop func()) { return c.Glance(ch, 0, t) }

// Glance is [Capture.Tap] for a tap that is in no hurry: it gets what has come each every at the soonest.
// Its goroutine is woken that often, and not for each sample.
func (c *Capture) Glance(ch string, every time.Duration, t Tap) (stop func()) {
	for _, k := range c.channels {
		if k.id == ch {
			return k.tap(every, t)
		}
	}
	return func() {}
}

// tapped is one tap and what waits for it.
type tapped struct {
	ch    string
	to    Tap
	every time.Duration
	told  *drivers.Description // what was told last; channel.mu guards it
	ended chan struct{}        // closed with stopped
	timer *time.Timer          // of rest

	mu      sync.Mutex
	wake    sync.Cond // something waits, or stopped
	queue   []offer   // its memory is used again
	waiting []offer   // the rest of queue
	bytes   int64
	behind  bool // until the next keyframe
	stopped bool
}

// offer is one thing that waits for a tap; exactly one of its fields counts, in this order.
type offer struct {
	desc   *drivers.Description
	report *drivers.SenderReport
	item
}

// tap adds a tap and gives it what there is.
func (c *channel) tap(every time.Duration, to Tap) (stop func()) {
	t := &tapped{ch: c.id, to: to, every: every, ended: make(chan struct{})}
	t.wake.L = &t.mu
	c.mu.Lock()
	if c.paused {
		t.behind = true
	} else {
		c.fill(t)
	}
	if c.desc != nil {
		t.describe(c.desc)
	}
	c.taps = append(c.taps, t)
	c.mu.Unlock()

	done := make(chan struct{})
	go func() {
		defer close(done)
		for t.next() {
		}
	}()
	return sync.OnceFunc(func() {
		c.mu.Lock()
		c.taps = slices.DeleteFunc(c.taps, func(o *tapped) bool { return o == t })
		c.mu.Unlock()
		t.mu.Lock()
		t.stopped = true
		close(t.ended)
		t.wake.Signal()
		t.mu.Unlock()
		<-done
	})
}

// fill gives a tap the samples since the last keyframe. c.mu is held.
func (c *channel) fill(t *tapped) {
	all := c.ring.all()
	from := len(all)
	for i := range all {
		if all[i].key() {
			from = i
		}
	}
	t.behind = true
	for i := range all[from:] {
		c.show(t, &all[from+i])
	}
}

// showAll gives one item to every tap. c.mu is held.
func (c *channel) showAll(it *item) {
	for _, t := range c.taps {
		c.show(t, it)
	}
}

// show gives one item to a tap. c.mu is held.
func (c *channel) show(t *tapped, it *item) {
	t.describe(it.run.desc)
	o := offer{item: *it}
	if it.isSample() {
		o.sample.At, o.sample.Run = it.run.at(it.sample.Track, it.sample.DTS), it.run.n
	}
	t.offer(o)
}

// pauseTaps tells every tap of a pause, and takes back what it has not seen yet. c.mu is held.
func (c *channel) pauseTaps() {
	for _, t := range c.taps {
		t.mu.Lock()
		t.drop(CausePaused)
		t.mu.Unlock()
	}
}

// reportAll tells every tap of a sender report. c.mu is held.
func (c *channel) reportAll(r *drivers.SenderReport) {
	for _, t := range c.taps {
		t.offer(offer{report: r})
	}
}

// describe tells of a connection once. channel.mu is held.
func (t *tapped) describe(d *drivers.Description) {
	if t.told != d {
		t.told = d
		t.offer(offer{desc: d})
	}
}

// offer queues o, or what comes of it: a full queue is dropped, and a tap that is behind waits for a
// keyframe.
func (t *tapped) offer(o offer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	media := o.desc == nil && o.report == nil
	if media && t.behind {
		if !o.key() {
			return
		}
		t.behind = false
	}
	if len(t.waiting) >= tapItems || t.bytes+o.size() > tapBytes {
		t.drop(CauseBehind)
		if media && !o.key() {
			return
		}
		t.behind = t.behind && !media
	}
	if len(t.waiting) == 0 {
		t.waiting = t.queue[:0]
	}
	t.waiting = append(t.waiting, o)
	if cap(t.waiting) > cap(t.queue) {
		t.queue = t.waiting
	}
	t.bytes += o.size()
	t.wake.Signal()
}

// drop takes back what waits, but for the newest description, and says why. t.mu is held.
func (t *tapped) drop(cause string) {
	var kept []offer
	for _, o := range t.waiting {
		if o.desc != nil {
			kept = []offer{o}
		}
	}
	clear(t.queue) // lets the media go
	t.queue = append(kept, offer{item: item{cause: cause}})
	t.waiting = t.queue
	t.bytes = int64(len(t.waiting)) * perItem
	t.behind = true
	t.wake.Signal()
}

// next waits for one thing and hands it over; false once the tap was stopped.
func (t *tapped) next() bool {
	t.mu.Lock()
	if len(t.waiting) == 0 && t.every > 0 {
		t.mu.Unlock()
		t.rest()
		t.mu.Lock()
	}
	for len(t.waiting) == 0 && !t.stopped {
		t.wake.Wait()
	}
	if t.stopped {
		t.queue, t.waiting = nil, nil
		t.mu.Unlock()
		return false
	}
	o := t.waiting[0]
	t.waiting[0] = offer{}
	t.waiting = t.waiting[1:]
	t.bytes -= o.size()
	t.mu.Unlock()
	switch {
	case o.desc != nil:
		t.to.Describe(t.ch, *o.desc)
	case o.report != nil:
		t.to.SenderReport(t.ch, *o.report)
	case o.isSample():
		t.to.Sample(t.ch, o.sample)
	default:
		t.to.Lost(t.ch, o.sample.Track, o.lost, o.cause)
	}
	return true
}

// rest lets things gather.
func (t *tapped) rest() {
	if t.timer == nil {
		t.timer = time.NewTimer(t.every)
	} else {
		t.timer.Reset(t.every)
	}
	select {
	case <-t.timer.C:
	case <-t.ended:
		t.timer.Stop()
	}
}
