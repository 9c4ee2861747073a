// Package health measures what a room really does, has it judged, and raises and clears the faults
// that follow from the verdicts.
//
// It sees only the samples pushed into it ([Health.Sample]), the facts main pulls together for it
// ([Facts]) and files of the kernel: never a simulator, never a driver. It guarantees: a tap never
// blocks, and drops when the analysis is behind; each measurement carries its unit, the uptime it was
// true at and how it was taken; what cannot be measured here is unknown with the reason, never guessed;
// a decoder that dies or hangs costs only the items that need it; Run leaves no goroutine behind.
//
// Pictures and coded sound are looked at through a [Decoder], keyframes only. Without one those items
// are "unknown: no decoder".
package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"minglu/agent/clock"
	"minglu/agent/standard"
	"minglu/drivers"
)

// Every is how often the room is measured and judged.
const Every = time.Second

// Channel is one channel of the room.
type Channel struct {
	ID     string
	Camera bool // else a microphone
}

// Disk is one disk of the room.
type Disk struct {
	Name string // as people call it: the subject of its measurements
	Dir  string
}

// Decoder makes pictures and sound from coded media. Both methods take fragmented MP4 of one track, in
// pieces that are whole boxes, block until ctx ends or decoding fails, and return the cause. out is
// called from one goroutine and must not keep its argument.
type Decoder interface {
	// Gray gives each picture in 8-bit gray, full range, scaled to width×height, top row first.
	Gray(ctx context.Context, in <-chan []byte, width, height int, out func(pix []byte)) error
	// PCM gives the sound as signed 16-bit little endian, interleaved, in pieces of any length.
	PCM(ctx context.Context, in <-chan []byte, out func(pcm []byte)) error
}

// Bases keeps what was learnt of each camera's usual view over restarts. Its methods may block.
type Bases interface {
	Load(ch string) ([]byte, error) // nil, nil if there is none
	Save(ch string, base []byte) error
}

// Options say what is measured. Channels, Now and Facts are required.
type Options struct {
	Channels []Channel
	Disks    []Disk
	Profile  *standard.Profile    // nil: the default one
	Now      func() clock.Reading // must not block
	Facts    func() Facts         // pulled each second; must not block for long
	Decoder  Decoder              // nil: none on this board
	Bases    Bases                // nil: learnt anew at each start
	// Fault is told what has begun and what has ended, ends first, from one goroutine.
	Fault func(code, ch string, on bool)
	// Report is called after each look at the room, from one goroutine; nil: nobody asks.
	Report func(Report)
	Sys    string        // where sysfs is mounted; "": /sys
	Every  time.Duration // 0: [Every]
	Log    *slog.Logger  // nil: none
}

// Fault is one condition of the catalogue that stands.
type Fault struct {
	Code, Ch string        // as in agent/report
	Since    time.Duration // uptime
}

// Report is the room as last looked at. It is shared and not to be changed.
type Report struct {
	At           clock.Reading
	Measurements []standard.Measurement // in order of measure and subject
	Verdicts     []standard.Verdict     // in the order of the profile
	Faults       []Fault
	// FaultsChanged and VerdictsChanged say whether anything but values differs from the report before.
	FaultsChanged, VerdictsChanged bool
}

// Health measures one room. Its methods are safe for concurrent use.
type Health struct {
	o        Options
	began    time.Duration
	channels map[string]*channel
	order    []*channel
	probes   *probes

	mu    sync.Mutex // guards what follows
	last  Report
	steps []step
	rate  int64 // bit/s of all channels while they last delivered

	trigger *time.Duration // of the last session, to its first durable signature

	// Run's alone.
	state    standard.State
	standing []Fault
}

// step is one jump of the wall clock.
type step struct{ at, by time.Duration }

// New checks the options. Nothing is measured before Run, but samples may be pushed.
func New(o Options) (*Health, error) {
	if o.Now == nil || o.Facts == nil {
		return nil, errors.New("health: options: Now and Facts are needed")
	}
	if o.Profile == nil {
		o.Profile = standard.Default()
	}
	if o.Fault == nil {
		o.Fault = func(string, string, bool) {}
	}
	if o.Report == nil {
		o.Report = func(Report) {}
	}
	if o.Every <= 0 {
		o.Every = Every
	}
	if o.Sys == "" {
		o.Sys = "/sys"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &Health{o: o, channels: map[string]*channel{}, probes: newProbes(o.Sys, o.Disks), began: o.Now().Up}
	for _, c := range o.Channels {
		if h.channels[c.ID] != nil {
			return nil, fmt.Errorf("health: options: channel %q twice", c.ID)
		}
		ch := newChannel(c, &h.o)
		h.channels[c.ID] = ch
		h.order = append(h.order, ch)
	}
	return h, nil
}

// Run measures and judges until ctx ends, and returns the cause once all it started has ended. A disk
// that hangs is not waited for longer than some seconds.
func (h *Health) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, c := range h.order {
		c.start(ctx, &wg)
	}
	wg.Go(func() { h.probes.run(ctx) })
	tick := time.NewTicker(h.o.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			h.look()
		}
	}
}

// Latest is the newest report; its verdicts are empty before the first look. Does not block.
func (h *Health) Latest() Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// Profile is what is judged by.
func (h *Health) Profile() *standard.Profile { return h.o.Profile }

// Stepped notes that the wall clock jumped, at an uptime.
func (h *Health) Stepped(up, by time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steps = append(h.steps, step{up, by})
	if len(h.steps) > maxSteps {
		h.steps = h.steps[1:]
	}
}

// Relearn forgets the usual view of a camera, after it was moved on purpose.
func (h *Health) Relearn(ch string) {
	if c := h.channels[ch]; c != nil {
		c.relearn()
	}
}

// Describe is the tap: it takes what a source says of itself once connected.
func (h *Health) Describe(ch string, d drivers.Description) {
	if c := h.channels[ch]; c != nil {
		c.describe(d)
	}
}

// Sample is the tap: it takes one sample, old or new, and keeps nothing of it but a keyframe or some
// sound for the decoder.
func (h *Health) Sample(ch string, s drivers.Sample) {
	if c := h.channels[ch]; c != nil {
		c.sample(&s)
	}
}

// Lost is the tap: packets or frames of a track were lost on the way.
func (h *Health) Lost(ch string, track, n int, cause string) {
	if c := h.channels[ch]; c != nil {
		c.missed(track, cause)
	}
}

// SenderReport is the tap: it takes the source's own idea of the time.
func (h *Health) SenderReport(ch string, r drivers.SenderReport) {
	if c := h.channels[ch]; c != nil {
		c.reported(&r)
	}
}
