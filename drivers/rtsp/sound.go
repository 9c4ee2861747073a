package rtsp

import (
	"bytes"
	"errors"

	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/bluenviron/gortsplib/v5/pkg/format/rtpfragmented"
	"github.com/bluenviron/gortsplib/v5/pkg/format/rtpmpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/opus"
	"github.com/pion/rtp"

	"minglu/drivers"
)

// errIncomplete means that more packets are needed for a sound packet.
var errIncomplete = errors.New("incomplete")

// sound receives AAC (RFC 3640, RFC 6416), Opus (RFC 7587) or G.711 (RFC 3551 4.5.14).
type sound struct {
	track
	format *drivers.Format
	decode func(*rtp.Packet) ([][]byte, error)
	length func(unit []byte) int64 // duration of a unit, in ticks

	seq     uint16     // renumbered for the library's decoders, which look for holes themselves
	pkt     rtp.Packet // used again and again
	started bool
	least   int64 // DTS of the next unit
}

// newSound returns nil if the format cannot be recorded.
func (se *session) newSound(f format.Format) *sound {
	a := &sound{track: track{se: se}}
	switch f := f.(type) {
	case *format.Opus:
		if f.ChannelCount < 1 || f.ChannelCount > 2 {
			return nil
		}
		a.format = &drivers.Format{Codec: drivers.Opus, ClockHz: 48000, SampleRateHz: 48000, Channels: f.ChannelCount}
		a.decode = func(p *rtp.Packet) ([][]byte, error) { return [][]byte{p.Payload}, nil }
		a.length = opus.PacketDuration2
	case *format.MPEG4Audio:
		if !a.aac(f.Config) {
			return nil
		}
		d, err := f.CreateDecoder()
		if err != nil {
			return nil
		}
		a.decode = func(p *rtp.Packet) ([][]byte, error) {
			units, err := d.Decode(p)
			if errors.Is(err, rtpmpeg4audio.ErrMorePacketsNeeded) {
				err = errIncomplete
			}
			return units, err
		}
	case *format.MPEG4AudioLATM:
		// With the configuration out of band and one program with one layer, which is what cameras do.
		if f.CPresent || f.StreamMuxConfig == nil || len(f.StreamMuxConfig.Programs) != 1 ||
			len(f.StreamMuxConfig.Programs[0].Layers) != 1 || !a.aac(f.StreamMuxConfig.Programs[0].Layers[0].AudioSpecificConfig) {
			return nil
		}
		d, err := f.CreateDecoder()
		if err != nil {
			return nil
		}
		mux := f.StreamMuxConfig
		a.decode = func(p *rtp.Packet) ([][]byte, error) {
			b, err := d.Decode(p)
			if errors.Is(err, rtpfragmented.ErrMorePacketsNeeded) {
				return nil, errIncomplete
			} else if err != nil {
				return nil, err
			}
			return latm(mux, b)
		}
	case *format.G711:
		if f.SampleRate < 1 || f.SampleRate > 48000 || f.ChannelCount < 1 || f.ChannelCount > 2 {
			return nil
		}
		a.format = &drivers.Format{Codec: drivers.PCM, ClockHz: f.SampleRate, SampleRateHz: f.SampleRate, Channels: f.ChannelCount, Exact: true}
		law := aLaw
		if f.MULaw {
			law = muLaw
		}
		a.decode = func(p *rtp.Packet) ([][]byte, error) { return [][]byte{expand(p.Payload, law)}, nil }
		a.length = func(unit []byte) int64 { return int64(len(unit) / 2 / f.ChannelCount) }
	default:
		return nil
	}
	a.clock, a.first = a.format.ClockHz, a.format
	return a
}

// latm takes the AAC frames out of an AudioMuxElement(0), ISO 14496-3 1.7.3.
func latm(mux *mpeg4audio.StreamMuxConfig, b []byte) ([][]byte, error) {
	el := mpeg4audio.AudioMuxElement{StreamMuxConfig: mux}
	if err := el.Unmarshal(b); err != nil {
		return nil, err
	}
	var units [][]byte
	for _, frame := range el.Payloads {
		if len(frame) != 1 || len(frame[0]) != 1 {
			return nil, errPayload
		}
		units = append(units, frame[0][0])
	}
	return units, nil
}

func (a *sound) aac(c *mpeg4audio.AudioSpecificConfig) bool {
	if c == nil || c.SampleRate <= 0 || c.ChannelConfig < 1 || c.ChannelConfig > 2 {
		return false
	}
	conf, err := c.Marshal()
	if err != nil {
		return false
	}
	a.format = &drivers.Format{
		Codec: drivers.AAC, ClockHz: c.SampleRate, AudioConfig: conf,
		SampleRateHz: c.SampleRate, Channels: int(c.ChannelConfig),
	}
	ticks := int64(mpeg4audio.SamplesPerAccessUnit)
	if c.FrameLengthFlag { // ISO 14496-3 4.5.1.1
		ticks = 960
	}
	a.length = func([]byte) int64 { return ticks }
	return true
}

func (a *sound) base() *track { return &a.track }

func (a *sound) packet(p packet) {
	// Overlaps up to a tenth of a second are sloppy stamping, more is a step of the clock.
	steps := a.steps
	pts := a.ticks.next(p.ts, a.clock, p.arrival, int64(a.clock)/10, false)
	if a.steps != steps {
		a.se.src.log.Warn("rtsp: the camera's clock stepped", "track", a.index, "timestamp", p.ts, "ticks", pts)
	}
	if a.seq++; p.lost {
		a.seq++ // what the decoder has begun is not completed by this packet
	}
	a.pkt.Marker, a.pkt.SequenceNumber, a.pkt.Timestamp = p.marker, a.seq, p.ts
	a.pkt.Payload = bytes.Clone(p.payload) // units share it, and are kept
	units, err := a.decode(&a.pkt)
	switch {
	case errors.Is(err, errIncomplete):
		return
	case err != nil:
		a.se.lost(a.index, 1, "unreadable sound packet")
		return
	}
	for _, u := range units {
		d := a.length(u)
		if len(u) == 0 || d <= 0 {
			a.se.lost(a.index, 1, "unreadable sound packet")
			continue
		}
		at := pts
		if a.started {
			at = max(pts, a.least) // overlapping timestamps must not make DTS fall
		}
		a.started, a.least = true, at+1
		pts += d
		a.se.give(drivers.Sample{
			Track: a.index, Format: a.format, PTS: at, DTS: at, Duration: d,
			Arrival: p.arrival, Keyframe: true, Data: u,
		})
	}
}
