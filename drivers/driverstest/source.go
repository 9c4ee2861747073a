package driverstest

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"minglu/drivers"
)

// CameraOptions say how to test a camera.
type CameraOptions struct {
	Camera   drivers.Source
	Uptime   func() time.Duration // the board's
	Pictures int                  // to look at in each of two Runs
	Within   time.Duration        // in which they must come
}

// Camera tests a camera that nobody disturbs: what it delivers passes [Strict], a Run ends with ctx's cause
// and calls nothing afterwards, and another one begins anew with a keyframe.
func Camera(t *testing.T, o CameraOptions) {
	t.Helper()
	for range 2 {
		s := NewStrict(t, o.Uptime)
		cause := errors.New("asked to stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() { done <- o.Camera.Run(ctx, s) }()
		enough := s.After(o.Pictures)
		select {
		case <-enough:
		case err := <-done:
			t.Fatalf("Run() = %v after %d pictures", err, len(s.Samples()))
		case <-time.After(o.Within):
			t.Errorf("%d pictures in %v, want %d", len(s.Samples()), o.Within, o.Pictures)
		}
		began := time.Now()
		cancel(cause)
		select {
		case err := <-done:
			if !errors.Is(err, cause) {
				t.Errorf("Run() = %v, want the cause it was stopped for", err)
			}
		case <-time.After(2 * within):
			t.Fatalf("Run does not end within %v", 2*within)
		}
		if took := time.Since(began); took > within {
			t.Errorf("Run took %v to end", took)
		}
		s.Shut()
	}
}

// Strict is a drivers.Sink for pictures that fails its test when a source breaks what package drivers says:
// described once and before all else; the first picture is a keyframe; DTS rises; nothing arrives before
// now, nor earlier than what came before it; another format comes with a keyframe only; a picture is NAL
// units behind their lengths.
type Strict struct {
	t      *testing.T
	uptime func() time.Duration

	mu      sync.Mutex
	desc    *drivers.Description
	samples []drivers.Sample
	lost    map[string]int
	shut    bool
	waits   map[int]chan struct{} // by number of pictures
}

// NewStrict returns a sink. uptime is the clock of arrivals.
func NewStrict(t *testing.T, uptime func() time.Duration) *Strict {
	return &Strict{t: t, uptime: uptime, lost: map[string]int{}, waits: map[int]chan struct{}{}}
}

// After is closed once n pictures have come.
func (s *Strict) After(n int) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits[n] == nil {
		s.waits[n] = make(chan struct{})
		if len(s.samples) >= n {
			close(s.waits[n])
		}
	}
	return s.waits[n]
}

// Samples are the pictures so far.
func (s *Strict) Samples() []drivers.Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.samples[:len(s.samples):len(s.samples)]
}

// Described is what Open was called with, nil before.
func (s *Strict) Described() *drivers.Description {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.desc
}

// Losses are how many pictures were told lost, by cause.
func (s *Strict) Losses() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := map[string]int{}
	for k, n := range s.lost {
		m[k] = n
	}
	return m
}

// Shut says that Run has returned: any further call is an error.
func (s *Strict) Shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
}

// Open implements drivers.Sink.
func (s *Strict) Open(d drivers.Description) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut || s.desc != nil {
		s.t.Error("described again, or after Run has returned")
	}
	if len(d.Formats) == 0 || d.Formats[0] == nil || d.Identity == "" {
		s.t.Errorf("described as %+v", d)
	} else {
		s.format(d.Formats[0])
	}
	s.desc = &d
}

func (s *Strict) format(f *drivers.Format) {
	sets := len(f.SPS) > 0 && len(f.PPS) > 0 && (f.Codec == drivers.H264 || len(f.VPS) > 0)
	if !f.Codec.Video() || f.ClockHz != 90000 || !sets || f.Width <= 0 || f.Height <= 0 {
		s.t.Errorf("format %+v is not whole", f)
	}
}

// Sample implements drivers.Sink.
func (s *Strict) Sample(x drivers.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut || s.desc == nil {
		s.t.Error("a picture before the description, or after Run has returned")
		return
	}
	before := drivers.Sample{DTS: x.DTS - 1}
	if n := len(s.samples); n > 0 {
		before = s.samples[n-1]
	} else if !x.Keyframe {
		s.t.Error("the first picture is no keyframe")
	}
	switch now := s.uptime(); {
	case x.Track < 0 || x.Track >= len(s.desc.Formats) || x.Format == nil:
		s.t.Errorf("picture of track %d, format %v", x.Track, x.Format)
	case x.DTS <= before.DTS:
		s.t.Errorf("DTS %d after %d", x.DTS, before.DTS)
	case x.Arrival > now || x.Arrival < before.Arrival:
		s.t.Errorf("arrival %v after %v, now %v", x.Arrival, before.Arrival, now)
	case x.Format != before.Format && before.Format != nil && !x.Keyframe:
		s.t.Error("another format without a keyframe")
	case x.At != 0 || x.Run != 0:
		s.t.Error("At and Run are for package capture to set")
	}
	s.format(x.Format)
	for b := x.Data; len(b) > 0 || len(x.Data) == 0; {
		if len(b) < 5 || int64(binary.BigEndian.Uint32(b)) > int64(len(b)-4) || binary.BigEndian.Uint32(b) == 0 {
			s.t.Errorf("broken lengths in a picture of %d bytes", len(x.Data))
			break
		}
		b = b[4+binary.BigEndian.Uint32(b):]
	}
	s.samples = append(s.samples, x)
	if c := s.waits[len(s.samples)]; c != nil {
		close(c)
	}
}

// SenderReport implements drivers.Sink.
func (s *Strict) SenderReport(drivers.SenderReport) {}

// Lost implements drivers.Sink.
func (s *Strict) Lost(track, n int, cause string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut || s.desc == nil || track < 0 || track >= len(s.desc.Formats) || n <= 0 || cause == "" {
		s.t.Errorf("Lost(%d, %d, %q)", track, n, cause)
	}
	s.lost[cause] += n
}
