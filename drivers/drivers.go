// Package drivers holds the kinds of device a room is made of and the media types they speak.
//
// A kind (camera, lamp, button …) is a small interface or a struct of plain values here; its
// implementations live in one sub-package each (drivers/rtsp, drivers/sim …), take what they need
// as arguments, and import nothing of each other. Who opens a device closes it: a method Run(ctx)
// returns only when everything it started has ended, and only then is the device free again.
//
// Bytes handed over in a [Sample] are shared and read-only from the moment they are handed over.
package drivers

import (
	"bytes"
	"context"
	"time"
)

// Codec names how the samples of a track are coded.
type Codec string

// The codecs a recording can hold. PCM is signed 16-bit little endian, interleaved.
const (
	H264 Codec = "h264" // ITU-T H.264; samples are access units, NAL units with 4-byte big-endian length
	H265 Codec = "h265" // ITU-T H.265; as H264
	AAC  Codec = "aac"  // ISO 14496-3 AAC; one raw_data_block per sample, no ADTS
	Opus Codec = "opus" // RFC 6716; one packet per sample
	PCM  Codec = "pcm"
)

// Video reports whether the codec carries pictures.
func (c Codec) Video() bool { return c == H264 || c == H265 }

// Format describes one track completely enough to write its init. It is immutable: a change of
// parameter sets makes a new Format.
type Format struct {
	Codec   Codec
	ClockHz int // ticks per second of Sample.PTS and DTS; 90 000 for video (RFC 6184, RFC 7798)

	VPS, SPS, PPS []byte // video: parameter sets as NAL units without start code; VPS for H.265 only
	Width, Height int    // video: pixels after cropping, 0 while unknown

	AudioConfig  []byte // AAC: AudioSpecificConfig, ISO 14496-3 1.6.2.1
	SampleRateHz int    // sound: PCM frames per second
	Channels     int    // sound: 1 mono, 2 stereo
	Exact        bool   // PCM: what the source coded without loss (G.711), to be recorded as it is
}

// Equal reports whether both formats describe the same track.
func (f *Format) Equal(g *Format) bool {
	return f.Codec == g.Codec && f.ClockHz == g.ClockHz && f.SampleRateHz == g.SampleRateHz && f.Channels == g.Channels && f.Exact == g.Exact &&
		bytes.Equal(f.VPS, g.VPS) && bytes.Equal(f.SPS, g.SPS) && bytes.Equal(f.PPS, g.PPS) && bytes.Equal(f.AudioConfig, g.AudioConfig)
}

// Sample is one access unit or one sound packet.
type Sample struct {
	Track  int     // index into Description.Formats
	Format *Format // what Data is coded as; another pointer than before means: new parameter sets from here on (video: at a keyframe)

	// PTS and DTS are ticks of Format.ClockHz since an arbitrary origin of this connection and
	// track, unwrapped to 64 bit. DTS never falls within a connection; sound has DTS == PTS.
	PTS, DTS int64
	Duration int64         // ticks, sound only (0 for video: the next sample's DTS tells)
	Arrival  time.Duration // uptime at which the last byte arrived
	Keyframe bool          // decoding can start here; always true for sound
	Data     []byte        // read-only, shared

	// At is where DTS lies on the board's monotonic clock (uptime of capture). Package capture
	// sets it; a driver leaves it 0. Within one Run, At grows as DTS does, but for the slow bends that
	// keep it where samples arrive: half a percent at most for a clock that works.
	At time.Duration
	// Run numbers the unbroken stretches of one channel, from 1: another Run means that the
	// timeline was anchored anew (reconnect, clock of the source stepped). Package capture sets it.
	Run int
}

// Description is what a source says of itself once connected.
type Description struct {
	Formats  []*Format // index 0 is the lead track: the video if there is one
	Identity string    // make, model, serial, as far as the device tells; never credentials
	SDP      []byte    // the session description as received, if any (RFC 8866)
	Shown    Shown     // what can be read in the pictures, as far as the driver knows by construction
}

// SenderReport ties a track's ticks to the source's own wall clock (RTCP SR, RFC 3550 6.4.1).
type SenderReport struct {
	Track   int
	NTP     time.Time     // the source's wall clock; may be wrong, may step
	PTS     int64         // unwrapped, same origin as Sample.PTS
	Arrival time.Duration // uptime
}

// Sink takes what a Source delivers. All calls of one Run come from one goroutine at a time; none may block.
type Sink interface {
	// Open is called once per connection, before any other.
	Open(Description)
	Sample(Sample)
	SenderReport(SenderReport)
	// Lost says that n packets or frames of a track were lost on the way (sequence gap, overrun).
	Lost(track int, n int, cause string)
}

// Source is a camera or a microphone: something a channel is recorded from.
type Source interface {
	// Run connects once and delivers to out until ctx ends or the connection fails, and returns the
	// cause, never nil. It does not reconnect: package capture does, with back-off. After it has
	// returned it may be called again.
	Run(ctx context.Context, out Sink) error
}

// Problem is an error that a person at the room can mend: it says what is wrong and what to do.
// Drivers wrap their causes in it where they know more than "connection refused".
type Problem struct {
	Code   string // stable: "credentials", "not-found", "codec", "address", "protocol", "unplugged", "busy"; a driver may have more
	Zh, En string // what is wrong and what to do, one sentence each; no credentials in it
	Err    error
}

func (p *Problem) Error() string {
	if p.Err == nil {
		return p.En
	}
	return p.En + ": " + p.Err.Error()
}

func (p *Problem) Unwrap() error { return p.Err }
