package health

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"minglu/drivers"
)

// shelf keeps bases in memory.
type shelf struct {
	mu   sync.Mutex
	kept map[string][]byte
	err  error
}

func (s *shelf) Load(ch string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[ch], s.err
}

func (s *shelf) Save(ch string, base []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[ch] = base
	return s.err
}

// TestTheUsualViewSurvivesARestart: it is saved at the end, and judged by from the first picture on.
func TestTheUsualViewSurvivesARestart(t *testing.T) {
	r, d := shoot(t)
	s := &shelf{kept: map[string][]byte{}}
	synctest.Test(t, func(t *testing.T) {
		w := beginWith(t, r, d, s)
		w.run(30)
		w.stop()
		if len(s.kept) != 2 {
			t.Fatalf("%d views saved, want those of two cameras", len(s.kept))
		}
		w = beginWith(t, r, d, s)
		w.run(4)
		f := w.snapshot()
		if m := find(w.h.measure(&f, w.now()), "picture.scene_match", "face"); m.Value.Num() < 0.9 {
			t.Errorf("after the restart: %+v", m)
		}
		w.h.Relearn("face")
		if m := find(w.h.measure(&f, w.now()), "picture.scene_match", "face"); m.Known() {
			t.Errorf("after the camera was moved on purpose: %+v", m)
		}
		w.stop()
	})
	s.err = errors.New("disk full")
	synctest.Test(t, func(t *testing.T) {
		w := beginWith(t, r, d, s)
		w.run(30)
		w.stop()
		if e := w.happened(); len(e) > 0 {
			t.Errorf("a view that cannot be kept raises %v", e)
		}
	})
}

// BenchmarkTap is what one sample costs its giver.
func BenchmarkTap(b *testing.B) {
	w := &world{}
	h, err := New(Options{Channels: []Channel{{"face", true}}, Now: w.now, Facts: func() Facts { return Facts{} }})
	if err != nil {
		b.Fatal(err)
	}
	f := &drivers.Format{Codec: drivers.H264, ClockHz: 90000}
	h.Describe("face", drivers.Description{Formats: []*drivers.Format{f}})
	s := drivers.Sample{Format: f, Run: 1, Data: make([]byte, 10000)}
	b.ReportAllocs()
	for b.Loop() {
		s.DTS += 3600
		s.Arrival += 40 * second / 1000
		h.Sample("face", s)
	}
}
