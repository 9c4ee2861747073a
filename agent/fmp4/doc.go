// Package fmp4 reads and writes the fragmented MP4 files a recording is made of (ISO 14496-12).
//
// A file is an init ([Init]: ftyp, moov), a reserved free box ([Reserve], later [Index]) and fragments
// ([AppendFragment]: moof, mdat). What is read is held to "strict moof" of evidence-format.md section 1,
// so that bytes covered by a signature can mean one thing only: [ParseFragment] refuses boxes, flags
// and offsets by which other software could show something else than what was hashed.
//
// The package is pure: no files, clock or goroutine. Readers are bounded and never panic on foreign
// bytes; what they return shares the bytes they were given.
package fmp4

// Bounds of evidence-format.md section 5, V1.
const (
	MaxInit     = 1 << 20  // bytes of ftyp and moov
	MaxFragment = 64 << 20 // bytes of moof and mdat
	MaxTracks   = 16
)

// Codec names how a track is coded. The values are those of drivers.Codec.
type Codec string

// The codecs that can be written. PCM is signed 16-bit little endian, interleaved.
const (
	H264 Codec = "h264"
	H265 Codec = "h265"
	AAC  Codec = "aac"
	Opus Codec = "opus"
	PCM  Codec = "pcm"
)

// Video reports whether the codec carries pictures.
func (c Codec) Video() bool { return c == H264 || c == H265 }

// Track describes one track of a file.
type Track struct {
	ID        uint32 // from 1
	Timescale uint32 // ticks per second
	Codec     Codec

	VPS, SPS, PPS []byte // video: NAL units without start code; VPS for H.265 only
	Width, Height int    // video: pixels after cropping; Init takes them from the SPS

	AudioConfig []byte // AAC: AudioSpecificConfig, ISO 14496-3 1.6.2.1
	SampleRate  int    // sound: PCM frames per second
	Channels    int    // sound
}

// Sample is one access unit or sound packet. Durations are ticks of its track.
type Sample struct {
	Duration uint32
	CTO      int32 // composition time offset: presentation minus decoding time; may be negative
	Sync     bool  // decoding can start here
	Data     []byte
}

// Run is the samples of one track in one fragment, in decoding order, each directly after the other.
type Run struct {
	Track   uint32
	Time    uint64 // tfdt: decoding time of the first sample, ticks
	Samples []Sample
}

// Duration is the sum of the samples' durations, ticks.
func (r *Run) Duration() uint64 {
	var d uint64
	for i := range r.Samples {
		d += uint64(r.Samples[i].Duration)
	}
	return d
}

// Fragment is a parsed moof and mdat. Samples share the bytes it was parsed from.
type Fragment struct {
	Seq     uint32 // mfhd sequence number
	HeadLen int    // bytes of the moof box; the mdat box is the rest
	Runs    []Run  // in file order; a track occurs at most once
}

// InitInfo is a parsed init.
type InitInfo struct {
	Tracks []Track // in file order
}

// MediaTime is evidence-format.md section 1 "media time": floor((tfdt-base)·10^6/timescale), in µs.
// It is exact for any tfdt below 2^63.
func MediaTime(tfdt uint64, base int64, timescale uint32) int64 {
	ticks, scale := int64(tfdt)-base, int64(max(timescale, 1))
	sec, rest := ticks/scale, ticks%scale
	if rest < 0 {
		sec, rest = sec-1, rest+scale
	}
	return sec*1e6 + rest*1e6/scale
}
