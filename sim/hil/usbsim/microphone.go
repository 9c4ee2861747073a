package usbsim

import (
	"encoding/binary"
	"time"
)

// Microphone is a USB microphone (UAC 1.0, USB-IF "Universal Serial Bus Device Class Definition for Audio
// Devices"): 48 kHz, 16 bit, with mute and gain.
type Microphone struct {
	Channels int // 1 or 2; 0 for 2
	// Next returns the level of a channel in frame n, counted from the plugging in by what the bus took. It is
	// called from one goroutine, and must be quick.
	Next func(n int64, channel int) int16
}

// MicRateHz is the microphone's rate.
const MicRateHz = 48000

const (
	soundIn    = 0x82
	soundClass = 1
	framesMS   = MicRateHz / 1000
)

func (m *Microphone) channels() int {
	if m.Channels == 0 {
		return 2
	}
	return m.Channels
}

func (m *Microphone) interfaces() int { return 2 }

func (m *Microphone) descriptors(first int) []byte {
	control, stream := first, first+1
	ch := m.channels()
	spatial := uint16(3) // left and right front
	if ch == 1 {
		spatial = 0
	}
	// A microphone (10) through mute and gain (11) to the host (12).
	units := pack(12, 0x24, 2, 10, uint16(0x0201), 0, ch, spatial, 0, 0)
	units = pack(units, 8+ch, 0x24, 6, 11, 10, 1, 3, make([]byte, ch), 0)
	units = pack(units, 9, 0x24, 3, 12, uint16(0x0101), 0, 11, 0)
	units = pack(9, 0x24, 1, uint16(0x0100), uint16(9+len(units)), 1, stream, units)
	return pack(8, 11, control, 2, soundClass, 1, 0, 0,
		9, 4, control, 0, 0, soundClass, 1, 0, 0, units,
		9, 4, stream, 0, 0, soundClass, 2, 0, 0,
		9, 4, stream, 1, 1, soundClass, 2, 0, 0,
		7, 0x24, 1, 12, 1, uint16(1), // PCM
		11, 0x24, 2, 1, ch, 2, 16, 1, MicRateHz&0xff, MicRateHz>>8&0xff, MicRateHz>>16,
		9, 5, soundIn, 5, uint16(framesMS*ch*2+8), 4, 0, 0, 7, 0x25, 1, 1, 0, uint16(0))
}

func (m *Microphone) request(n int, s setup, _ []byte) ([]byte, bool) {
	const frequency = 1
	if n < 0 { // the endpoint's
		return pack(MicRateHz&0xff, MicRateHz>>8&0xff, MicRateHz>>16), s.index() == soundIn && s.value()>>8 == frequency
	}
	const mute, featureUnit = 1, 11
	if n != 0 || s.index()>>8 != featureUnit {
		return nil, false
	}
	if !s.in() {
		return nil, true
	}
	if s.value()>>8 == mute {
		return []byte{0}, true
	}
	const getCur, getMin, getMax, getRes = 0x81, 0x82, 0x83, 0x84
	gain, ok := map[byte]int16{getCur: -10 * 256, getMin: -40 * 256, getMax: 0, getRes: 256}[s.request()] // 1/256 dB
	return pack(uint16(gain)), ok
}

func (m *Microphone) start(p *Plugged) {
	n := int64(0)
	p.tasks.Go(func() {
		p.isochronous(soundIn, time.Millisecond, func(limit int) []byte {
			var b []byte
			for range min(framesMS, limit/(2*m.channels())) {
				for c := range m.channels() {
					b = binary.LittleEndian.AppendUint16(b, uint16(m.Next(n, c)))
				}
				n++
			}
			return b
		})
	})
}
