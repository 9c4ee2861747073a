package health

import (
	"encoding/binary"
	"math"
	"time"
)

// What makes sound silent or clipped.
const (
	silentDB    = -60.0 // mean, dBFS
	floorDB     = -120.0
	clippedFrom = 32767 // also -32767: some converters clip symmetrically
	soundWindow = 300 * time.Millisecond
)

// sound follows the decoded sound of one track.
type sound struct {
	hz, channels int
	n            int     // values in the window
	sum          float64 // of squares
	clips        int

	seen    bool
	at      time.Duration // of the newest window
	level   float64       // dBFS
	clipped float64       // share of values
	loudAt  time.Duration // of the last window that was not silent
}

// take signed 16-bit values that were decoded at uptime at.
func (s *sound) take(pcm []byte, at time.Duration) {
	size := max(1, int(int64(s.hz)*int64(soundWindow)/int64(time.Second))*s.channels)
	for ; len(pcm) >= 2; pcm = pcm[2:] {
		v := int(int16(binary.LittleEndian.Uint16(pcm)))
		s.sum += float64(v) * float64(v)
		if v >= clippedFrom || v <= -clippedFrom {
			s.clips++
		}
		if s.n++; s.n < size {
			continue
		}
		s.level = decibel(math.Sqrt(s.sum / float64(s.n)))
		s.clipped = float64(s.clips) / float64(s.n)
		if s.level >= silentDB || !s.seen {
			s.loudAt = at
		}
		s.seen, s.at = true, at
		s.n, s.sum, s.clips = 0, 0, 0
	}
}

func (s *sound) forget() { *s = sound{hz: s.hz, channels: s.channels} }

func decibel(v float64) float64 {
	if v <= 0 {
		return floorDB
	}
	return max(floorDB, 20*math.Log10(v/32768))
}
