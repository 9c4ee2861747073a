package capture

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/thesyncim/gopus"

	"minglu/drivers"
)

const (
	opusHz       = 48000 // ticks of Opus are always 48 kHz (RFC 7587 4.1)
	opusFrame    = 960   // 20 ms
	bitrateMono  = 32000
	bitrateTwo   = 48000
	maxPacket    = 1276 // RFC 6716 3.2.1: one frame, TOC included
	slab         = 16 << 10
	levelWindow  = 300 * time.Millisecond
	quietDB      = -60.0
	silenceDB    = -120.0
	complexity   = 5
	fullScale    = 32768.0
	clippedFrom  = 32767 // also -32767: some converters clip symmetrically
	maxPCMSample = 1 << 20
)

// encoder makes Opus packets of 20 ms from PCM of any block size. Ticks of what it returns are 48 kHz
// ticks of capture: the delay of the codec is taken off.
type encoder struct {
	enc       *gopus.Encoder
	hz, ch    int
	format    *drivers.Format
	lookahead int64 // 48 kHz ticks

	pcm  []int16 // less than one frame waits
	have int
	next int64 // PTS of the PCM frame after those, source ticks
	slab []byte
	// lapsed: the source told a loss since the last block.
	lapsed bool
	meter
}

// newEncoder takes what Opus takes: 8, 12, 16, 24 or 48 kHz, one or two channels.
func newEncoder(f *drivers.Format) (*encoder, error) {
	if f.SampleRateHz != f.ClockHz {
		return nil, fmt.Errorf("PCM with a clock of %d Hz for %d Hz of sound", f.ClockHz, f.SampleRateHz)
	}
	enc, err := gopus.NewEncoder(gopus.EncoderConfig{SampleRate: f.SampleRateHz, Channels: f.Channels, Application: gopus.ApplicationVoIP})
	if err != nil {
		return nil, fmt.Errorf("sound of %d Hz, %d channels: %w", f.SampleRateHz, f.Channels, err)
	}
	rate := bitrateMono
	if f.Channels == 2 {
		rate = bitrateTwo
	}
	for _, err := range []error{enc.SetBitrate(rate), enc.SetComplexity(complexity), enc.SetFrameSize(f.SampleRateHz / 50)} {
		if err != nil {
			return nil, fmt.Errorf("opus: %w", err)
		}
	}
	return &encoder{
		enc: enc, hz: f.SampleRateHz, ch: f.Channels, pcm: make([]int16, f.SampleRateHz/50*f.Channels),
		format:    &drivers.Format{Codec: drivers.Opus, ClockHz: opusHz, SampleRateHz: opusHz, Channels: f.Channels},
		lookahead: int64(enc.Lookahead()) * int64(opusHz/f.SampleRateHz),
		meter:     meter{frames: int(int64(f.SampleRateHz) * int64(levelWindow) / int64(time.Second))},
	}, nil
}

// encode calls emit for each packet that s completes. hole reports that s does not follow what came
// before: what waited for its frame to fill is dropped, at most 20 ms.
func (e *encoder) encode(s *drivers.Sample, emit func(drivers.Sample)) (hole bool, err error) {
	if len(s.Data) > maxPCMSample {
		return false, fmt.Errorf("block of %d bytes", len(s.Data))
	}
	n := len(s.Data) / 2 / e.ch // PCM frames
	if s.PTS != e.next {
		hole = e.next != 0
		e.have = 0
	}
	data := s.Data
	for at := s.PTS; len(data) >= 2*e.ch; at++ {
		for range e.ch {
			v := int16(binary.LittleEndian.Uint16(data))
			data = data[2:]
			e.pcm[e.have] = v
			e.have++
			e.add(v)
		}
		e.endFrame(s.Arrival)
		if e.have == len(e.pcm) {
			e.have = 0
			packet, err := e.packet()
			if err != nil {
				return hole, err
			}
			pts := (at+1)*int64(opusHz/e.hz) - opusFrame - e.lookahead
			emit(drivers.Sample{
				Track: s.Track, Format: e.format, PTS: pts, DTS: pts, Duration: opusFrame,
				Arrival: s.Arrival, Keyframe: true, Data: packet,
			})
		}
	}
	e.next = s.PTS + int64(n)
	return hole, nil
}

// packet encodes e.pcm into a piece of a slab that is used up once and then left to its readers.
func (e *encoder) packet() ([]byte, error) {
	if len(e.slab) < maxPacket {
		e.slab = make([]byte, slab)
	}
	n, err := e.enc.EncodeInt16(e.pcm, e.slab[:maxPacket])
	if err != nil {
		return nil, fmt.Errorf("opus: %w", err)
	}
	p := e.slab[:n:n]
	e.slab = e.slab[n:]
	return p, nil
}

// reset forgets what waits.
func (e *encoder) reset() {
	e.have, e.next = 0, 0
	e.enc.Reset()
	e.meter = meter{frames: e.frames}
}

// meter measures windows of sound.
type meter struct {
	frames  int // of a window
	n       int
	values  int
	sum     float64 // of squares
	peak    int
	clipped int
	clips   bool // this frame

	level    Level
	loudAt   time.Duration // arrival of the last window that was not quiet
	measured time.Duration // arrival of the last window
}

func (m *meter) add(v int16) {
	x := int(v)
	m.sum += float64(x) * float64(x)
	m.values++
	x = max(x, -x)
	m.peak = max(m.peak, x)
	m.clips = m.clips || x >= clippedFrom
}

func (m *meter) endFrame(arrival time.Duration) {
	if m.clips {
		m.clipped++
		m.clips = false
	}
	if m.n++; m.n < m.frames {
		return
	}
	m.level = Level{
		Known: true, RMS: decibel(math.Sqrt(m.sum / float64(m.values))), Peak: decibel(float64(m.peak)),
		Clipped: float64(m.clipped) / float64(m.n),
	}
	if m.level.RMS >= quietDB || m.measured == 0 {
		m.loudAt = arrival
	}
	m.measured = arrival
	m.level.Quiet = arrival - m.loudAt
	m.n, m.values, m.sum, m.peak, m.clipped = 0, 0, 0, 0, 0
}

func decibel(v float64) float64 {
	if v <= 0 {
		return silenceDB
	}
	return max(silenceDB, 20*math.Log10(v/fullScale))
}
