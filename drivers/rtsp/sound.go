package rtsp

import (
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

// sound receives AAC (RFC 3640, RFC 6416) or Opus (RFC 7587).
type sound struct {
	track
	format *drivers.Format
	decode func(*rtp.Packet) ([][]byte, error)
	ticks  func(unit []byte) int64 // duration of a unit

	seq     uint16 // renumbered for the library's decoders, which look for holes themselves
	started bool
	next    int64 // least DTS of the next unit
	newest  int64
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
		a.ticks = opus.PacketDuration2
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
	a.ticks = func([]byte) int64 { return ticks }
	return true
}

func (a *sound) base() *track { return &a.track }

func (a *sound) packet(p packet) {
	pts := a.pts(p.ts)
	if err := a.fallen(pts, a.newest); a.started && err != nil {
		a.se.broken(a.se.src.newStream(err.Error()))
		return
	}
	a.newest = pts
	if a.seq++; p.lost {
		a.seq++ // what the decoder has begun is not completed by this packet
	}
	units, err := a.decode(&rtp.Packet{
		Header:  rtp.Header{Marker: p.marker, SequenceNumber: a.seq, Timestamp: p.ts},
		Payload: p.payload,
	})
	switch {
	case errors.Is(err, errIncomplete):
		return
	case err != nil:
		a.se.lost(a.index, 1, "unreadable sound packet")
		return
	}
	for _, u := range units {
		d := a.ticks(u)
		if len(u) == 0 || d <= 0 {
			a.se.lost(a.index, 1, "unreadable sound packet")
			continue
		}
		at := pts
		if a.started {
			at = max(pts, a.next) // overlapping timestamps must not make DTS fall
		}
		a.started, a.next = true, at+1
		pts += d
		a.se.give(drivers.Sample{
			Track: a.index, Format: a.format, PTS: at, DTS: at, Duration: d,
			Arrival: p.arrival, Keyframe: true, Data: u,
		})
	}
}
