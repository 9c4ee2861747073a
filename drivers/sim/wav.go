package sim

import (
	"encoding/binary"
	"fmt"
	"math"

	"minglu/drivers/pcm"
)

// decodeWAV returns what [pcm.ParseWAV] takes as sound at [SampleRateHz], mono, within ±1.
func decodeWAV(b []byte) ([]float32, error) {
	s, err := pcm.ParseWAV(b)
	if err == nil {
		s, err = s.Mono().At(SampleRateHz)
	}
	if err != nil {
		return nil, fmt.Errorf("sim: speaker: %w", err)
	}
	out := make([]float32, len(s.Values))
	for i, v := range s.Values {
		out[i] = float32(v) / 32768
	}
	return out, nil
}

// Chime is an announcement for rooms that have none of their own: three rising tones, as WAV, PCM 16
// bit, mono, 16 kHz, 1.5 s. It says no words: a body records its own notice.
func Chime() []byte {
	const rate, tone = 16000, 8000
	var pcm []byte
	for _, hz := range []float64{523.25, 659.26, 783.99} { // c'', e'', g''
		for i := range tone {
			t := float64(i) / rate
			x := math.Exp(-4*t) * min(1, 200*t) * (math.Sin(2*math.Pi*hz*t) + 0.3*math.Sin(4*math.Pi*hz*t)) / 1.3
			pcm = binary.LittleEndian.AppendUint16(pcm, uint16(int16(24000*x)))
		}
	}
	h := append([]byte("RIFF"), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(h[4:], uint32(36+len(pcm)))
	h = append(h, "WAVEfmt "...)
	for _, v := range []struct {
		size int
		v    uint32
	}{{4, 16}, {2, 1}, {2, 1}, {4, rate}, {4, 2 * rate}, {2, 2}, {2, 16}} {
		h = append(h, byte(v.v), byte(v.v>>8))
		if v.size == 4 {
			h = append(h, byte(v.v>>16), byte(v.v>>24))
		}
	}
	h = append(h, "data"...)
	h = binary.LittleEndian.AppendUint32(h, uint32(len(pcm)))
	return append(h, pcm...)
}
