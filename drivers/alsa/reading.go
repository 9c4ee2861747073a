package alsa

import (
	"context"
	"errors"
	"maps"
	"math"
	"sync"
	"time"
)

// block is what one read of a card gave.
type block struct {
	at     int64         // number of its first PCM frame, lost ones counted
	lost   int64         // frames missing before it
	cause  string        // why
	heard  time.Duration // uptime at which its last frame was
	values []int16       // all channels, interleaved; shared, read-only
}

// tap is what one microphone takes from its card.
type tap struct {
	blocks chan block
	missed int64 // frames that found no room, for the next block to tell; the reader's
	cause  string
}

// reading is a card being read, from the first microphone that runs to the last.
type reading struct {
	stop  context.CancelCauseFunc
	ready chan struct{} // closed once the card is open: what follows is set
	rateHz,
	channels int
	identity string
	done     chan struct{} // closed once the card is closed: err is set
	err      error

	mu   sync.Mutex // guards taps and over
	taps map[*tap]bool
	over bool // the last tap has left
}

var errNobody = errors.New("alsa: no microphone of the card runs any more")

// join adds a tap, and starts reading if nobody does. It waits for a card that is just being closed.
func (c *Card) join(ctx context.Context, t *tap) (*reading, error) {
	for {
		r, joined := c.tryJoin(t)
		if joined {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-r.done:
		}
	}
}

func (c *Card) tryJoin(t *tap) (r *reading, joined bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.reading; r != nil && !r.ended() {
		return r, r.add(t)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	r = &reading{stop: stop, ready: make(chan struct{}), done: make(chan struct{}), taps: map[*tap]bool{t: true}}
	c.reading = r
	channels, microphones := c.channels, c.microphones
	go func() {
		defer close(r.done)
		r.err = c.read(ctx, r, channels, microphones)
	}()
	return r, true
}

func (r *reading) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *reading) add(t *tap) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.taps[t] = true
	}
	return !r.over
}

// leave takes a tap away; the last one ends the reading and waits until the card is free.
func (c *Card) leave(r *reading, t *tap) {
	r.mu.Lock()
	delete(r.taps, t)
	r.over = r.over || len(r.taps) == 0
	over := r.over
	r.mu.Unlock()
	if over {
		r.stop(errNobody)
		<-r.done
	}
}

// deliver hands a block to each tap that has room.
func (r *reading) deliver(b block, frames int64) {
	r.mu.Lock()
	taps := maps.Clone(r.taps)
	r.mu.Unlock()
	for t := range taps {
		own := b
		if t.missed > 0 {
			own.lost += t.missed
			own.cause = t.cause
		}
		select {
		case t.blocks <- own:
			t.missed = 0
		default:
			t.missed, t.cause = own.lost+frames, CauseSlow
		}
	}
}

// read opens the card and reads it until ctx ends or it fails.
func (c *Card) read(ctx context.Context, r *reading, channels int, microphones []*Microphone) (err error) {
	d, card, err := c.open(c.o.Name, wish{rateHz: c.o.RateHz, channels: channels, periods: capturePeriods})
	if err != nil {
		return problem(microphone, c.o.Name, err)
	}
	defer func() {
		if failed := d.Close(); failed != nil && ctx.Err() != nil {
			c.o.Log.Warn("sound card not closed", "name", c.o.Name, "err", failed)
		}
	}()
	for _, m := range microphones {
		if m.seat.Gain > 0 {
			c.setGain(card, m.seat)
		}
	}
	if err := errors.Join(d.Prepare(), d.Start()); err != nil {
		return problem(microphone, c.o.Name, err)
	}
	r.rateHz, r.channels, r.identity = d.rateHz, d.channels, c.o.Name
	if name := longName("/", card); name != "" {
		r.identity = name + ", " + c.o.Name
	}
	close(r.ready)
	c.o.Log.Info("microphone open", "name", c.o.Name, "rate_hz", d.rateHz, "channels", d.channels, "bytes_per_value", d.layout.Bytes())
	cap := capturing{device: d, uptime: c.o.Uptime, deliver: r.deliver, buf: make([]byte, d.period*d.frameBytes())}
	cap.last = c.o.Uptime()
	for ctx.Err() == nil {
		if err := cap.step(); err != nil {
			return problem(microphone, c.o.Name, err)
		}
	}
	return context.Cause(ctx)
}

// setGain never stands in the way of recording.
func (c *Card) setGain(card uint, s Seat) {
	for _, channel := range s.Channels {
		levels, err := setLevel(card, mix{control: s.Control, suffix: captureVolume, channel: channel, percent: s.Gain})
		if err != nil {
			c.o.Log.Warn("gain of the microphone not set: recording goes on with what it is", "name", c.o.Name, "err", err)
			continue
		}
		c.o.Log.Info("gain of the microphone", "name", c.o.Name, "channel", channel, "percent", s.Gain, "mixer", levels)
	}
}

// capturing is the loop's state: which frame comes next and when the last one was heard.
type capturing struct {
	*device
	uptime  func() time.Duration
	deliver func(b block, frames int64)
	buf     []byte

	at    int64         // number of the next frame
	lost  int64         // frames missing before it
	cause string        // why
	heard time.Duration // uptime of the last frame
	begun bool          // a frame has come
	last  time.Duration // uptime of the last read that gave any, or of the start
}

// step waits for the card and takes one block from it.
func (c *capturing) step() error {
	ready, err := c.Wait(waitMillis)
	n := 0
	if ready && err == nil {
		n, err = c.Read(c.buf)
	}
	if n > 0 {
		c.take(n)
	}
	switch cause, broken := xrun(err); {
	case broken:
		return c.restart(cause)
	case err != nil && !again(err):
		return err
	case n == 0 && c.uptime()-c.last > silentAfter:
		return errSilent
	}
	return nil
}

// take delivers the first n frames of the buffer.
func (c *capturing) take(n int) {
	c.last = c.uptime()
	heard := c.last
	m, err := c.moment()
	now := c.uptime()
	switch ago := m.ago + c.lasts(int64(m.delay)); {
	case err == nil && m.running && m.ago > -sane && m.ago < sane && m.delay >= 0:
		heard = min(now-ago, now)
	case c.begun: // it has stopped meanwhile: what was read lies behind what was read before
		heard = min(c.heard+c.lasts(int64(n)+c.lost), now)
	}
	c.heard = max(heard, c.heard)
	values := c.layout.Decode(make([]int16, 0, n*c.channels), c.buf[:n*c.frameBytes()])
	c.deliver(block{at: c.at, lost: c.lost, cause: c.cause, heard: c.heard, values: values}, int64(n))
	c.at += int64(n)
	c.lost, c.cause, c.begun = 0, "", true
}

// restart makes the card go on after it stopped by itself, and counts what was not recorded: from the last frame
// that was read to the new start.
func (c *capturing) restart(cause string) error {
	if err := c.Prepare(); err != nil {
		return err
	}
	if err := c.Start(); err != nil { // without it nothing comes, for ever
		return err
	}
	started := c.uptime()
	if m, err := c.moment(); err == nil && m.started >= 0 && m.started < sane {
		started -= m.started
	}
	if c.begun {
		frames := int64(math.Round((started - c.heard).Seconds() * float64(c.rateHz)))
		if frames > 0 {
			c.at, c.lost, c.cause = c.at+frames, c.lost+frames, cause
			c.heard = started
		}
	}
	c.last = c.uptime()
	return nil
}

// lasts is how long frames are.
func (c *capturing) lasts(frames int64) time.Duration {
	return time.Duration(frames) * time.Second / time.Duration(c.rateHz)
}
