package driverstest

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"time"

	"minglu/drivers"
)

// MicrophoneOptions say how to test a microphone.
type MicrophoneOptions struct {
	Microphone drivers.Source
	Uptime     func() time.Duration // the board's
}

// Microphone tests a microphone that nobody disturbs: it describes one track of PCM before anything else, its blocks
// follow one another in ticks and in time, none comes before it was heard, a Run ends with ctx's cause, and another
// one begins anew.
func Microphone(t *testing.T, o MicrophoneOptions) {
	for range 2 {
		l := &listener{t: t, uptime: o.Uptime}
		cause := errors.New("asked to stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		began := time.Now()
		if err := o.Microphone.Run(ctx, l); !errors.Is(err, cause) {
			t.Fatalf("Run() = %v, want the cause it was stopped for", err)
		}
		if took := time.Since(began); took > time.Second+within {
			t.Errorf("Run took %v to end", took-time.Second)
		}
		if l.format == nil || l.frames < int64(l.format.SampleRateHz)/2 {
			t.Fatalf("%d frames of %+v in a second", l.frames, l.format)
		}
	}
}

// listener is a drivers.Sink that looks at what it gets.
type listener struct {
	t      *testing.T
	uptime func() time.Duration
	format *drivers.Format
	frames int64
	next   int64         // PTS
	last   time.Duration // arrival
}

func (l *listener) Open(d drivers.Description) {
	if l.format != nil || len(d.Formats) != 1 {
		l.t.Fatalf("described again, or as %d tracks", len(d.Formats))
	}
	l.format = d.Formats[0]
	if f := l.format; f.Codec != drivers.PCM || f.ClockHz != f.SampleRateHz || f.Channels < 1 || f.Channels > 2 || f.SampleRateHz < 8000 || f.SampleRateHz > 48000 || d.Identity == "" {
		l.t.Errorf("described as %+v of %q", f, d.Identity)
	}
}

func (l *listener) Sample(s drivers.Sample) {
	switch {
	case l.format == nil:
		l.t.Fatal("a sample before the description")
	case s.Track != 0 || s.Format != l.format || !s.Keyframe || s.At != 0 || s.Run != 0:
		l.t.Errorf("sample %+v", s)
	case s.DTS != s.PTS || l.frames > 0 && s.PTS != l.next:
		l.t.Errorf("PTS %d, DTS %d after %d", s.PTS, s.DTS, l.next)
	case s.Duration <= 0 || int64(len(s.Data)) != 2*int64(l.format.Channels)*s.Duration:
		l.t.Errorf("%d bytes for %d frames of %d channels", len(s.Data), s.Duration, l.format.Channels)
	case s.Arrival > l.uptime() || s.Arrival < l.last:
		l.t.Errorf("arrival %v after %v, at %v", s.Arrival, l.last, l.uptime())
	}
	l.next, l.last = s.PTS+s.Duration, s.Arrival
	l.frames += s.Duration
}

func (l *listener) SenderReport(drivers.SenderReport) {
	l.t.Error("a microphone has no clock of its own")
}

func (l *listener) Lost(_, n int, cause string) { l.t.Errorf("lost %d: %s", n, cause) }

// SpeakerOptions say how to test a speaker.
type SpeakerOptions struct {
	Speaker drivers.Speaker
}

// Speaker tests a speaker: Play returns when the sound has been played, ends with ctx's cause in the middle of it, and
// refuses at once what is no sound.
func Speaker(t *testing.T, o SpeakerOptions) {
	const length = 600 * time.Millisecond
	for _, f := range []struct{ rateHz, channels int }{{8000, 1}, {16000, 1}, {44100, 2}, {48000, 1}} {
		wav := beep(f.rateHz, f.channels, length)
		began := time.Now()
		if err := o.Speaker.Play(t.Context(), wav); err != nil {
			t.Fatalf("%d Hz, %d channels: Play() = %v", f.rateHz, f.channels, err)
		}
		if took := time.Since(began); took < length-50*time.Millisecond || took > length+within {
			t.Errorf("%d Hz, %d channels: %v were played in %v", f.rateHz, f.channels, length, took)
		}
	}
	for what, wav := range map[string][]byte{"nothing": nil, "text": []byte("this is no sound at all"), "half a head": beep(16000, 1, length)[:30]} {
		began := time.Now()
		if err := o.Speaker.Play(t.Context(), wav); err == nil || time.Since(began) > within {
			t.Errorf("%s: Play() = %v after %v", what, err, time.Since(began))
		}
	}
	long := beep(16000, 1, 30*time.Second)
	cause := errors.New("asked to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(200*time.Millisecond, func() { cancel(cause) })
	began := time.Now()
	if err := o.Speaker.Play(ctx, long); !errors.Is(err, cause) || time.Since(began) > within {
		t.Errorf("stopped: Play() = %v after %v", err, time.Since(began))
	}
	began = time.Now()
	if err := o.Speaker.Play(ctx, long); !errors.Is(err, cause) || time.Since(began) > within {
		t.Errorf("stopped before: Play() = %v after %v", err, time.Since(began))
	}
}

// beep is a WAV file of 1 kHz.
func beep(rateHz, channels int, length time.Duration) []byte {
	n := int(int64(length) * int64(rateHz) / int64(time.Second))
	b := append([]byte("RIFF"), 0, 0, 0, 0)
	b = append(b, "WAVEfmt \x10\x00\x00\x00\x01\x00"...)
	b = binary.LittleEndian.AppendUint16(b, uint16(channels))
	b = binary.LittleEndian.AppendUint32(b, uint32(rateHz))
	b = binary.LittleEndian.AppendUint32(b, uint32(2*channels*rateHz))
	b = binary.LittleEndian.AppendUint16(b, uint16(2*channels))
	b = append(b, "\x10\x00data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(2*n*channels))
	for i := range n {
		for range channels {
			b = binary.LittleEndian.AppendUint16(b, uint16(int16(12000*math.Sin(2*math.Pi*1000*float64(i)/float64(rateHz)))))
		}
	}
	return b
}
