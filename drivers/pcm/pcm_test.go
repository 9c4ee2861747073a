package pcm

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"
)

func sine(hz, rateHz, frames int) []int16 {
	v := make([]int16, frames)
	for i := range v {
		v[i] = int16(16000 * math.Sin(2*math.Pi*float64(hz)*float64(i)/float64(rateHz)))
	}
	return v
}

// TestResample: a tone stays the tone it was, in time, whatever the sizes of the pieces; what the lower rate cannot
// hold is gone.
func TestResample(t *testing.T) {
	for _, tt := range []struct {
		from, to, hz int
		gain         float64
	}{
		{48000, 48000, 1000, 1}, {16000, 48000, 1000, 1}, {44100, 48000, 1000, 1}, {44100, 48000, 15000, 1}, {96000, 48000, 1000, 1}, {192000, 48000, 5000, 1},
		{8000, 48000, 440, 1}, {11025, 48000, 1000, 1}, {22050, 16000, 1000, 1}, {8001, 48000, 440, 1}, {96000, 48000, 30000, 0}, {48000, 16000, 12000, 0},
	} {
		in := sine(tt.hz, tt.from, tt.from/2)
		r, err := NewResampler(tt.from, tt.to, 1)
		if err != nil {
			t.Fatal(err)
		}
		var out []int16
		for left, n := in, 1; len(left) > 0; n = n*7%331 + 1 {
			n = min(n, len(left))
			out = r.Push(out, left[:n])
			left = left[n:]
		}
		out = r.Flush(out)
		if want := (len(in)*tt.to + tt.from - 1) / tt.from; len(out) != want {
			t.Errorf("%d to %d Hz: %d frames, want %d", tt.from, tt.to, len(out), want)
		}
		want := sine(tt.hz, tt.to, len(out))
		worst := 0.0
		for i := tt.to / 50; i < len(out)-tt.to/50; i++ {
			worst = max(worst, math.Abs(float64(out[i])-tt.gain*float64(want[i])))
		}
		if worst > 40 {
			t.Errorf("%d to %d Hz: a tone of %d Hz is off by up to %.0f", tt.from, tt.to, tt.hz, worst)
		}
	}
	for _, bad := range [][3]int{{0, 48000, 1}, {48000, 400000, 1}, {48000, 16000, 0}, {191999, 191998, 1}} {
		if _, err := NewResampler(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("NewResampler(%v) was accepted", bad)
		}
	}
}

// TestResampleChannels: channels stay apart, and a reset forgets.
func TestResampleChannels(t *testing.T) {
	r, err := NewResampler(44100, 48000, 2)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		in := make([]int16, 2*4410)
		for i := range in {
			in[i] = int16(1000 - 3000*(i%2))
		}
		out := r.Flush(r.Push(nil, in))
		for i := 1000; i < len(out)-1000; i++ {
			if want := 1000 - 3000*(i%2); int(out[i]) != want {
				t.Fatalf("value %d is %d, want %d", i, out[i], want)
			}
		}
	}
}

func TestLayouts(t *testing.T) {
	for _, tt := range []struct {
		l    Layout
		raw  []byte
		want []int16
	}{
		{S16, []byte{0x34, 0x12, 0xFF, 0xFF}, []int16{0x1234, -1}},
		{S24, []byte{0x56, 0x34, 0x12, 0xEE, 0x00, 0x00, 0x80, 0x00}, []int16{0x1234, -32768}}, // the fourth byte is noise
		{S24, []byte{0xFF, 0xFF, 0x7F, 0x00}, []int16{32767}},                                  // rounding does not turn over
		{S24x3, []byte{0x80, 0x34, 0x12, 0xFF, 0xFF, 0xFF}, []int16{0x1235, 0}},
		{S32, []byte{0x78, 0x56, 0x34, 0x12, 0x00, 0x00, 0xFF, 0xFF}, []int16{0x1234, -1}},
		{S32, []byte{1, 2, 3}, nil},
	} {
		if got := tt.l.Decode(nil, tt.raw); !slices.Equal(got, tt.want) {
			t.Errorf("layout %d: % x is %v, want %v", tt.l, tt.raw, got, tt.want)
		}
	}
	values := []int16{0, 1, -1, 32767, -32768, 12345}
	for _, l := range []Layout{S16, S24, S24x3, S32} {
		b := l.Encode(nil, values)
		if got := l.Decode(nil, b); len(b) != len(values)*l.Bytes() || !slices.Equal(got, values) {
			t.Errorf("layout %d: %v comes back as %v", l, values, got)
		}
	}
}

// wav is the start of a file, with chunks of its own after it.
func wav(tag, channels, rateHz, bits int, chunks ...string) []byte {
	b := append([]byte("RIFF"), 0, 0, 0, 0)
	b = append(b, "WAVEfmt \x10\x00\x00\x00"...)
	for _, v := range []int{tag, channels} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(rateHz))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(bits))
	for _, c := range chunks {
		b = append(b, c...)
	}
	return b
}

func TestParseWAV(t *testing.T) {
	data := "data\x08\x00\x00\x00\x01\x00\x03\x00\x05\x00\x07\x00"
	s, err := ParseWAV(wav(1, 2, 16000, 16, "LIST\x03\x00\x00\x00abc\x00", data))
	if err != nil || s.RateHz != 16000 || s.Channels != 2 || !slices.Equal(s.Values, []int16{1, 3, 5, 7}) {
		t.Fatalf("%+v, %v", s, err)
	}
	if m := s.Mono(); m.Channels != 1 || !slices.Equal(m.Values, []int16{2, 6}) {
		t.Errorf("mono: %+v", m)
	}
	if a, err := s.At(48000); err != nil || len(a.Values) != 12 || a.RateHz != 48000 {
		t.Errorf("at 48 kHz: %+v, %v", a, err)
	}
	if s, err := ParseWAV(wav(1, 2, 16000, 16, data[:len(data)-3])); err != nil || len(s.Values) != 2 {
		t.Errorf("cut short: %+v, %v", s, err)
	}
	for what, b := range map[string][]byte{
		"nothing": nil, "MP3": []byte("ID3 and then some more"), "no data": wav(1, 1, 8000, 16), "8 bit": wav(1, 1, 8000, 8, data), "float": wav(3, 1, 8000, 16, data),
		"no channels": wav(1, 0, 8000, 16, data), "3 channels": wav(1, 3, 8000, 16, data), "96 kHz": wav(1, 1, 96000, 16, data), "0 Hz": wav(1, 1, 0, 16, data),
		"data first": append([]byte("RIFF\x00\x00\x00\x00WAVE"), data...), "too long": append(wav(1, 1, 8000, 16, "data\xff\xff\xff\x7f"), make([]byte, 2*8000*MaxWAVSeconds+1)...),
	} {
		if _, err := ParseWAV(b); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func FuzzParseWAV(f *testing.F) {
	f.Add(wav(1, 2, 16000, 16, "LIST\x03\x00\x00\x00abc\x00", "data\x04\x00\x00\x00\x01\x00\x03\x00"))
	f.Add(bytes.Repeat([]byte("RIFF"), 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseWAV(b)
		if err == nil && (s.Channels < 1 || s.Channels > 2 || len(s.Values)%s.Channels != 0 || s.RateHz < MinRateHz || len(s.Values) > len(b)) {
			t.Errorf("%d values of %d channels at %d Hz of %d bytes", len(s.Values), s.Channels, s.RateHz, len(b))
		}
	})
}

func BenchmarkResample44100(b *testing.B) {
	r, err := NewResampler(44100, 48000, 1)
	if err != nil {
		b.Fatal(err)
	}
	in, out := sine(1000, 44100, 882), []int16(nil)
	for b.Loop() {
		out = r.Push(out[:0], in)
	}
}
