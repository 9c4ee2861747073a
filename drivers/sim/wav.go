package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// maxWAVSeconds bounds an announcement, so that no file can eat the memory.
const maxWAVSeconds = 120

// decodeWAV returns the sound at [SampleRateHz], mono, within ±1. It takes RIFF WAVE, PCM 16 bit, one or
// two channels, 8 to 48 kHz (Microsoft and IBM, Multimedia Programming Interface 1.0, 1991).
func decodeWAV(b []byte) ([]float32, error) {
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, errors.New("sim: speaker: not a RIFF WAVE file: convert it to PCM, 16 bit")
	}
	channels, rate := 0, 0
	for b = b[12:]; len(b) >= 8; {
		id, size := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:]))
		b = b[8:]
		body := b[:min(size, int64(len(b)))] // a file cut short plays as far as it goes
		switch {
		case id == "fmt " && len(body) >= 16:
			channels, rate = int(binary.LittleEndian.Uint16(body[2:])), int(binary.LittleEndian.Uint32(body[4:]))
			tag, bits := binary.LittleEndian.Uint16(body), binary.LittleEndian.Uint16(body[14:])
			if tag != 1 && tag != 0xFFFE || bits != 16 || channels < 1 || channels > 2 || rate < 8000 || rate > 48000 {
				return nil, fmt.Errorf("sim: speaker: WAV of format %d, %d bit, %d channels, %d Hz: convert it to PCM, 16 bit, mono or stereo, 8 to 48 kHz", tag, bits, channels, rate)
			}
		case id == "data" && channels > 0:
			if len(body) > maxWAVSeconds*2*channels*rate {
				return nil, fmt.Errorf("sim: speaker: WAV of more than %d s: shorten it", maxWAVSeconds)
			}
			return resample(body, channels, rate), nil
		case id == "data":
			return nil, errors.New("sim: speaker: WAV without a format before its data")
		}
		b = b[min(size+size&1, int64(len(b))):]
	}
	return nil, errors.New("sim: speaker: WAV without data")
}

// resample interpolates linearly, which does for an announcement.
func resample(data []byte, channels, rate int) []float32 {
	n := len(data) / (2 * channels)
	at := func(i int) float64 {
		sum := 0
		for c := range channels {
			sum += int(int16(binary.LittleEndian.Uint16(data[2*(min(i, n-1)*channels+c):])))
		}
		return float64(sum) / float64(channels) / 32768
	}
	out := make([]float32, int64(n)*SampleRateHz/int64(rate))
	for i := range out {
		pos := int64(i) * int64(rate)
		j, frac := int(pos/SampleRateHz), float64(pos%SampleRateHz)/SampleRateHz
		out[i] = float32(at(j)*(1-frac) + at(j+1)*frac)
	}
	return out
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
