// Package pcm holds what drivers of sound have in common: reading WAV files, resampling, and the layouts in
// which sound cards hand over their values. It is arithmetic only: it opens nothing and keeps no state but what
// its types show.
package pcm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxWAVSeconds bounds an announcement, so that no file can eat the memory.
const MaxWAVSeconds = 120

// Sound is a piece of sound: signed 16-bit values, the channels of one PCM frame beside each other.
type Sound struct {
	RateHz   int
	Channels int
	Values   []int16 // a multiple of Channels
}

// ParseWAV reads RIFF WAVE, PCM 16 bit, one or two channels, 8 to 48 kHz, at most [MaxWAVSeconds] (Microsoft and
// IBM, Multimedia Programming Interface and Data Specifications 1.0, 1991). A file cut short plays as far as it goes.
func ParseWAV(b []byte) (Sound, error) {
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return Sound{}, errors.New("not a RIFF WAVE file: convert it to PCM, 16 bit")
	}
	var s Sound
	for b = b[12:]; len(b) >= 8; {
		id, size := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:]))
		b = b[8:]
		body := b[:min(size, int64(len(b)))]
		switch {
		case id == "fmt " && len(body) >= 16:
			s.Channels, s.RateHz = int(binary.LittleEndian.Uint16(body[2:])), int(binary.LittleEndian.Uint32(body[4:]))
			tag, bits := binary.LittleEndian.Uint16(body), binary.LittleEndian.Uint16(body[14:])
			if tag != 1 && tag != 0xFFFE || bits != 16 || s.Channels < 1 || s.Channels > 2 || s.RateHz < 8000 || s.RateHz > 48000 {
				return Sound{}, fmt.Errorf("WAV of format %d, %d bit, %d channels, %d Hz: convert it to PCM, 16 bit, mono or stereo, 8 to 48 kHz", tag, bits, s.Channels, s.RateHz)
			}
		case id == "data" && s.Channels > 0:
			if len(body) > MaxWAVSeconds*2*s.Channels*s.RateHz {
				return Sound{}, fmt.Errorf("WAV of more than %d s: shorten it", MaxWAVSeconds)
			}
			s.Values = make([]int16, len(body)/(2*s.Channels)*s.Channels)
			for i := range s.Values {
				s.Values[i] = int16(binary.LittleEndian.Uint16(body[2*i:]))
			}
			return s, nil
		case id == "data":
			return Sound{}, errors.New("WAV without a format before its data")
		}
		b = b[min(size+size&1, int64(len(b))):]
	}
	return Sound{}, errors.New("WAV without data")
}

// Mono is the mean of the channels of s.
func (s Sound) Mono() Sound {
	if s.Channels == 1 {
		return s
	}
	m := Sound{RateHz: s.RateHz, Channels: 1, Values: make([]int16, len(s.Values)/s.Channels)}
	for i := range m.Values {
		sum := 0
		for _, v := range s.Values[i*s.Channels:][:s.Channels] {
			sum += int(v)
		}
		m.Values[i] = int16(sum / s.Channels)
	}
	return m
}

// At is s at another rate, 8 to 192 kHz.
func (s Sound) At(rateHz int) (Sound, error) {
	r, err := NewResampler(s.RateHz, rateHz, s.Channels)
	if err != nil {
		return Sound{}, err
	}
	values := r.Push(nil, s.Values)
	return Sound{RateHz: rateHz, Channels: s.Channels, Values: r.Flush(values)}, nil
}
