// Package capture keeps the sources of a room connected and brings what they deliver onto one timeline.
//
// It guarantees: each sample handed to a [Sink] carries the uptime of its decoding time (At) and the
// number of the unbroken stretch it belongs to (Run); samples of a channel come in the order of their
// arrival, without a hole or a repetition between pre-roll and what follows; a pre-roll begins at a
// keyframe and stays within its bound of bytes; after [Capture.Pause] nothing is kept. A source that
// fails, or is silent, is connected again.
//
// The timeline follows capture time. Within a run, At grows as the source's ticks do, bent slowly so
// that the least delayed samples of the last seconds lie where they arrived: nothing arrives before it
// was captured, and on a cable the quickest arrive right after. A bend takes at most half a percent, so
// that no single picture or sound is seen or heard out of its time; a clock that is up to 500 ppm off is
// learned and costs a few milliseconds, not seconds in a day. A source whose stamps are no time at all
// (25 a second stamped, 21 sent) is followed at the rate it is found to have. Sender reports only say
// how a camera's sound lies beside its picture: never where either lies, and when they step nothing moves.
//
// It does not guarantee that all samples arrive, only that their loss is told ([Sink].Lost, a new Run,
// or a distance of ticks). Nothing here waits for a disk, a viewer or another channel.
//
// Sound from a raw microphone is encoded to Opus here, once, and its level measured.
package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"golang.org/x/sync/errgroup"

	"minglu/drivers"
)

// Defaults of [Options].
const (
	DefaultPreroll      = 10 * time.Second
	DefaultPrerollBytes = 32 << 20
	DefaultNoFrames     = 5 * time.Second
)

// Channel is one camera with its sound, or one microphone.
type Channel struct {
	ID     string // [a-z][a-z0-9_]{0,31}, unique
	Source drivers.Source
}

// Options say what is captured. Zero values mean the defaults.
type Options struct {
	Channels     []Channel
	Preroll      time.Duration        // kept of each channel while no sink is attached; negative: none
	PrerollBytes int64                // bound of one channel's pre-roll; more is dropped from its beginning. A single group of pictures may take twice as much
	NoFrames     time.Duration        // a connection whose lead track is silent for so long is cut
	Uptime       func() time.Duration // required; the clock of drivers.Sample.Arrival
	Log          *slog.Logger         // nil: none
}

// Sink takes what the channels deliver. Calls for one channel come one at a time, those for different
// channels at the same time. None may block, or call back into Capture.
type Sink interface {
	// Describe comes before the first sample of a channel and again after each reconnect.
	Describe(ch string, d drivers.Description)
	// Sample hands over one sample; At, Run and Format are set.
	Sample(ch string, s drivers.Sample)
	// Lost names the cause of a hole in a track: n packets, or 0 if not known how many.
	Lost(ch string, track int, n int, cause string)
}

// Capture keeps the channels of one room. Its methods are safe for concurrent use.
type Capture struct {
	channels []*channel
}

var idRule = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// New checks o and returns a Capture that does nothing before Run.
func New(o Options) (*Capture, error) {
	if o.Uptime == nil {
		return nil, errors.New("capture: no clock given")
	}
	if o.Preroll == 0 {
		o.Preroll = DefaultPreroll
	}
	o.Preroll = max(o.Preroll, 0)
	if o.PrerollBytes <= 0 {
		o.PrerollBytes = DefaultPrerollBytes
	}
	if o.NoFrames <= 0 {
		o.NoFrames = DefaultNoFrames
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Capture{}
	seen := map[string]bool{}
	for _, ch := range o.Channels {
		switch {
		case !idRule.MatchString(ch.ID):
			return nil, fmt.Errorf("capture: channel %q: its id must be lower case letters, digits and _, at most 32", ch.ID)
		case seen[ch.ID]:
			return nil, fmt.Errorf("capture: channel %q: two channels have this id", ch.ID)
		case ch.Source == nil:
			return nil, fmt.Errorf("capture: channel %q: no source", ch.ID)
		}
		seen[ch.ID] = true
		c.channels = append(c.channels, newChannel(ch, &o))
	}
	return c, nil
}

// Run connects all sources and keeps them connected until ctx ends. It returns the cause once every
// source has ended.
func (c *Capture) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, ch := range c.channels {
		g.Go(func() error { ch.supervise(ctx); return nil })
	}
	_ = g.Wait()
	return context.Cause(ctx)
}

// Attach hands the pre-roll of each channel to s, then everything that comes. It ends a pause, and
// takes the place of a sink attached before. While a sink is attached, only the samples since the
// last keyframe are kept: they begin the pre-roll of a sink that takes its place.
func (c *Capture) Attach(s Sink) {
	for _, ch := range c.channels {
		ch.attach(s)
	}
}

// Detach ends the delivery: when it returns, the sink gets no more calls. The pre-roll is emptied, so
// that nothing of a session that was sealed comes into the next one, and fills again from the next keyframe.
func (c *Capture) Detach() {
	for _, ch := range c.channels {
		ch.detach()
	}
}

// Pause detaches, forgets all pre-roll and keeps nothing until Attach: sources stay connected, but
// what they deliver is dropped unseen. After it the pictures begin a new Run.
func (c *Capture) Pause() {
	for _, ch := range c.channels {
		ch.pause()
	}
}

// Earliest is the uptime at which the longest pre-roll begins, 0 if there is none.
func (c *Capture) Earliest() time.Duration {
	var first time.Duration
	for _, ch := range c.channels {
		if at, ok := ch.earliest(); ok && (first == 0 || at < first) {
			first = at
		}
	}
	return first
}

// Status tells how each channel stands, in the order of Options.Channels.
func (c *Capture) Status() []Status {
	out := make([]Status, len(c.channels))
	for i, ch := range c.channels {
		out[i] = ch.status()
	}
	return out
}
