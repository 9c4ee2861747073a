package capture

import (
	"time"

	"minglu/drivers"
)

// State says whether a channel delivers.
type State string

// The states of a channel.
const (
	Connecting State = "connecting" // the first attempt, or a reconnect that has not failed yet
	Live       State = "live"       // samples of the lead track arrive
	Waiting    State = "waiting"    // connected, but no sample yet
	Failed     State = "failed"     // the last attempt failed; another follows
)

// Status is how one channel stands at one moment.
type Status struct {
	ID         string
	State      State
	Connected  bool
	Since      time.Duration     // uptime at which Connected last changed; 0: never was
	SampleAge  time.Duration     // since the last sample of the lead track arrived; -1 if none ever did
	FPS        float64           // samples a second of the lead track over the last 2 s
	BitsPerSec int64             // of all tracks over the last 2 s
	Codecs     []string          // RFC 6381, one a track, lead first
	Formats    []*drivers.Format // as in use, one a track; raw sound as what it is encoded to
	Identity   string            // as the source tells
	Shown      drivers.Shown     // as the source tells, of its last connection
	Width      int               // pixels, 0 unknown or no picture
	Height     int
	Attempts   int              // failed attempts since the last connection
	Reconnects int64            // connections after the first
	Lost       int64            // packets and frames the source reported lost
	Problem    *drivers.Problem // why the last connection or attempt ended, nil if it did not
	Level      Level
	SourceHz   int           // PCM frames a second of a raw microphone before they are encoded, 0 if it is none
	Preroll    time.Duration // kept at the moment
	Bytes      int64         // of it
}

// Level is how loud a raw microphone is. Coded sound from a camera is not decoded: its level is unknown.
type Level struct {
	Known   bool
	RMS     float64       // dBFS, a full-scale square wave is 0; -120 for digital silence
	Peak    float64       // dBFS
	Clipped float64       // share of PCM frames at full scale, 0 to 1
	Quiet   time.Duration // how long RMS has been under -60 dBFS
}
