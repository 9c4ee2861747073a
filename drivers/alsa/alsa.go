// Package alsa records from the microphones, and plays announcements on the speakers, that Linux knows as ALSA
// devices, straight from the kernel (include/uapi/sound/asound.h) through gen2brain/alsa: alsa-lib, its plugins and
// its daemons take no part.
//
// A [Card] is one capture device; each seat of the room has a [Microphone] of it, one or two of its channels. The
// device is open while at least one of them runs. Values are delivered as 16-bit PCM in blocks of 20 ms at 48 kHz, or
// at what other rate the card has that Opus takes; other rates are resampled. Each block says when its last
// frame was heard, by the clock of the kernel, whenever it was read.
//
// Guarantees: frames are counted, so that a block's PTS is the place in time where it belongs. After an overrun or a
// sleep the stream is prepared and started again, and the loss is told, as long as it was ([drivers.Sink].Lost, in PCM
// frames), and skipped in PTS: sound is never packed edge to edge over a hole. A card that delivers nothing for two
// seconds ends the Run; so does one that is unplugged, with a [drivers.Problem] in words. The name is looked up anew by
// the next Run. Nothing is left open after the last Run has returned.
//
// Faults: not-found, gone (unplugged), busy, permission, codec (channels or format the card has not), no-frames.
// A microphone that is mute or broken but delivers zeros looks like a silent room: package capture measures that.
package alsa

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"minglu/drivers"
	"minglu/drivers/pcm"
)

// Causes told to [drivers.Sink].Lost.
const (
	CauseOverrun   = "sound card overrun" // nobody read in time
	CauseSuspended = "board suspended"
	CauseSlow      = "sound not taken in time" // the sink held up its caller
)

// Bounds.
const (
	maxChannels    = 32
	capturePeriods = 50                     // of the buffer, at most: one second may pass without a read
	waitMillis     = 100                    // the longest wait in the kernel: an end of ctx is seen that soon
	silentAfter    = 2 * time.Second        // without a frame the card is given up
	queueBlocks    = 50                     // between a card and a sink: a second
	sane           = 500 * time.Millisecond // the kernel's stamp and the reader's clock do not differ by more
)

// CardOptions say which device and how.
type CardOptions struct {
	Name   string               // required: see [CheckName]
	RateHz int                  // wished for, 8000 to 192000; 0: 48000
	Uptime func() time.Duration // required: the board's uptime
	Log    *slog.Logger         // nil: none
}

// Card is one capture device, shared by the microphones on it. Safe for concurrent use.
type Card struct {
	o    CardOptions
	open func(name string, w wish) (*device, uint, error)

	mu          sync.Mutex // guards what follows
	channels    int        // the highest in use
	microphones []*Microphone
	reading     *reading
}

// NewCard returns a card. It opens nothing.
func NewCard(o CardOptions) (*Card, error) {
	if err := CheckName(o.Name); err != nil {
		return nil, err
	}
	if o.Uptime == nil {
		return nil, errors.New("alsa: options: Uptime is required")
	}
	if o.RateHz == 0 {
		o.RateHz = 48000
	}
	if o.RateHz < pcm.MinRateHz || o.RateHz > pcm.MaxRateHz {
		return nil, fmt.Errorf("alsa: %s: rate of %d Hz: choose %d to %d", o.Name, o.RateHz, pcm.MinRateHz, pcm.MaxRateHz)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Card{o: o, channels: 1, open: func(name string, w wish) (*device, uint, error) {
		card, number, err := find("/", name)
		if err != nil {
			return nil, 0, err
		}
		d, err := openDevice(card, number, w)
		return d, card, err
	}}, nil
}

// Seat says what one microphone of a card is.
type Seat struct {
	Channels []int  // one (mono) or two (stereo) of the card's channels, from 1; none: the first
	Gain     int    // percent of the range of the mixer's control, 1 to 100; 0 leaves it as it is
	Control  string // name of that control; "": each whose name ends with "Capture Volume"
}

// Microphone is one seat's microphone: one or two channels of a card. It implements [drivers.Source].
type Microphone struct {
	card *Card
	seat Seat
}

// Microphone returns the microphone of a seat. Call it before the Run of any other one of the card.
func (c *Card) Microphone(s Seat) (*Microphone, error) {
	if len(s.Channels) == 0 {
		s.Channels = []int{1}
	}
	s.Channels = slices.Clone(s.Channels)
	bad := len(s.Channels) > 2 || slices.Min(s.Channels) < 1 || slices.Max(s.Channels) > maxChannels
	if bad || s.Gain < 0 || s.Gain > 100 {
		return nil, fmt.Errorf("alsa: %s: channels %v with gain %d: name one or two channels of 1 to %d, and a gain of 1 to 100, or 0", c.o.Name, s.Channels, s.Gain, maxChannels)
	}
	m := &Microphone{c, s}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.channels = max(c.channels, slices.Max(s.Channels))
	c.microphones = append(c.microphones, m)
	return m, nil
}

// Card returns the card that the microphone is one of.
func (m *Microphone) Card() *Card { return m.card }

// Level reads how the gain of the microphone stands in the mixer. It does not disturb a Run.
func (m *Microphone) Level() ([]Level, error) {
	card, _, err := find("/", m.card.o.Name)
	if err != nil {
		return nil, problem(microphone, m.card.o.Name, err)
	}
	return readLevel(card, mix{control: m.seat.Control, suffix: captureVolume})
}

// Run implements [drivers.Source]: it delivers the channels of the seat as PCM until ctx ends or the card fails. One
// Run of a Microphone at a time.
func (m *Microphone) Run(ctx context.Context, out drivers.Sink) error {
	t := &tap{blocks: make(chan block, queueBlocks)}
	r, err := m.card.join(ctx, t)
	if err != nil {
		return err
	}
	defer m.card.leave(r, t)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.done:
		return r.err
	case <-r.ready:
	}
	e, err := newEmitter(m, r)
	if err != nil {
		return err
	}
	out.Open(drivers.Description{Formats: []*drivers.Format{e.format}, Identity: r.identity})
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case b := <-t.blocks:
			e.emit(b, out)
		case <-r.done:
			for len(t.blocks) > 0 && ctx.Err() == nil {
				e.emit(<-t.blocks, out)
			}
			return r.err
		}
	}
}

// emitter makes samples of one seat from the blocks of its card.
type emitter struct {
	format    *drivers.Format
	from      int   // channels of a block
	pick      []int // of them, from 0
	resampler *pcm.Resampler
	up, down  int   // frames out for frames in
	next      int64 // PTS
	begun     bool
}

func newEmitter(m *Microphone, r *reading) (*emitter, error) {
	e := &emitter{from: r.channels, up: 1, down: 1}
	for _, c := range m.seat.Channels {
		if c > r.channels {
			return nil, problem(microphone, m.card.o.Name, fmt.Errorf("%w: channel %d of %d", errFormat, c, r.channels))
		}
		e.pick = append(e.pick, c-1)
	}
	rate := r.rateHz
	if !slices.Contains([]int{8000, 12000, 16000, 24000, 48000}, rate) { // what Opus takes: RFC 6716 table 1
		rate = 48000
		var err error
		if e.resampler, err = pcm.NewResampler(r.rateHz, rate, len(e.pick)); err != nil {
			return nil, problem(microphone, m.card.o.Name, fmt.Errorf("%w: %w", errFormat, err))
		}
		e.up, e.down = e.resampler.Ratio()
	}
	e.format = &drivers.Format{Codec: drivers.PCM, ClockHz: rate, SampleRateHz: rate, Channels: len(e.pick)}
	return e, nil
}

func (e *emitter) emit(b block, out drivers.Sink) {
	if b.lost > 0 && e.begun {
		out.Lost(0, int(min(e.scaled(b.lost), math.MaxInt32)), b.cause)
	}
	if b.lost > 0 || !e.begun {
		e.next, e.begun = e.scaled(b.at), true
		if e.resampler != nil {
			e.resampler.Reset()
		}
	}
	values := make([]int16, 0, len(b.values)/e.from*len(e.pick))
	for frame := b.values; len(frame) >= e.from; frame = frame[e.from:] {
		for _, c := range e.pick {
			values = append(values, frame[c])
		}
	}
	if e.resampler != nil {
		values = e.resampler.Push(nil, values)
	}
	if len(values) == 0 {
		return
	}
	data := make([]byte, 0, 2*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint16(data, uint16(v))
	}
	n := int64(len(values) / len(e.pick))
	out.Sample(drivers.Sample{Format: e.format, PTS: e.next, DTS: e.next, Duration: n, Arrival: b.heard, Keyframe: true, Data: data})
	e.next += n
}

// scaled is frames of the card in frames of the format, rounded up.
func (e *emitter) scaled(frames int64) int64 {
	return (frames*int64(e.up) + int64(e.down) - 1) / int64(e.down)
}

var _ drivers.Source = (*Microphone)(nil)
