package health

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/clock"
	"minglu/agent/standard"
	"minglu/drivers"
)

// badDecoder fails as told.
type badDecoder struct {
	gray func(ctx context.Context, in <-chan []byte, out func([]byte)) error
}

func (d badDecoder) Gray(ctx context.Context, in <-chan []byte, _, _ int, out func([]byte)) error {
	return d.gray(ctx, in, out)
}

func (d badDecoder) PCM(ctx context.Context, in <-chan []byte, out func([]byte)) error {
	return d.gray(ctx, in, out)
}

func TestADecoderThatFailsHarmsNothing(t *testing.T) {
	r, _ := shoot(t)
	for _, tt := range []struct {
		rule string
		gray func(ctx context.Context, in <-chan []byte, out func([]byte)) error
		why  string
	}{
		{"one that ends at once", func(context.Context, <-chan []byte, func([]byte)) error { return errors.New("no such codec") }, whyBroken.En},
		{"one that eats and gives nothing", func(ctx context.Context, in <-chan []byte, _ func([]byte)) error {
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-in:
				}
			}
		}, whyNotYet.En},
		{"one that never eats", func(ctx context.Context, _ <-chan []byte, _ func([]byte)) error { <-ctx.Done(); return ctx.Err() }, whyNotYet.En},
		{"one that gives a few and hangs", func(ctx context.Context, in <-chan []byte, out func([]byte)) error {
			for range 3 {
				<-in
				out(bytes.Repeat([]byte{90, 200}, viewBytes/2))
			}
			<-ctx.Done()
			return ctx.Err()
		}, whyNoneLately.En},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := begin(t, r, badDecoder{tt.gray})
			w.run(60)
			for _, item := range []string{"camera.black", "camera.frozen", "camera.covered"} {
				if v := w.verdict(item, "face"); v.Result != standard.Unknown || v.Why.En != tt.why {
					t.Errorf("%s: %s: %s %q, want unknown: %s", tt.rule, item, v.Result, v.Why.En, tt.why)
				}
			}
			if v := w.verdict("camera.fps", "face"); v.Result != standard.Pass {
				t.Errorf("%s: the stream suffers: %+v", tt.rule, v)
			}
			if e := w.happened(); len(e) > 0 {
				t.Errorf("%s: %v", tt.rule, e)
			}
			w.stop()
		})
	}
}

// TestADecoderIsTriedAgain: back-off up to 30 s, and all is well once it works.
func TestADecoderIsTriedAgain(t *testing.T) {
	r, d := shoot(t)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Time
		w := begin(t, r, badDecoder{func(ctx context.Context, in <-chan []byte, out func([]byte)) error {
			mu.Lock()
			at = append(at, time.Now())
			n := len(at)
			mu.Unlock()
			if n <= 12 { // two cameras
				return errors.New("out of memory")
			}
			return d.Gray(ctx, in, viewWidth, viewHeight, out)
		}})
		w.run(120)
		if v := w.verdict("camera.black", "face"); v.Result != standard.Pass {
			t.Errorf("%+v", v)
		}
		if n := len(at); n > 16 {
			t.Errorf("started %d times in 2 minutes", n)
		}
		w.stop()
	})
}

// TestTheTapNeverBlocks: not before Run, not with a decoder that takes nothing, not for a stranger.
func TestTheTapNeverBlocks(t *testing.T) {
	r, _ := shoot(t)
	began := time.Now()
	h, err := New(Options{Channels: []Channel{{"face", true}}, Facts: func() Facts { return Facts{} }, Decoder: badDecoder{},
		Now: func() clock.Reading { return clock.Reading{T: time.Now(), Up: time.Since(began)} }})
	if err != nil {
		t.Fatal(err)
	}
	s := drivers.Sample{Format: r.format, Keyframe: true, Data: r.usual[0]}
	h.Sample("face", s) // before it is described
	h.Describe("face", drivers.Description{Formats: []*drivers.Format{r.format, nil, {}}})
	for i := range 100000 {
		s.Arrival, s.DTS, s.Track = time.Duration(i)*time.Millisecond, int64(i)*90, i%5-1
		h.Sample("face", s)
		h.Sample("stranger", s)
		h.Lost("face", i%5-1, 1, "packets lost")
		h.SenderReport("face", drivers.SenderReport{Track: i % 3})
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("200000 samples took %v", took)
	}
	h.Describe("stranger", drivers.Description{})
	h.Relearn("stranger")
	h.Relearn("face")
}

// live is a Health with the real decoder and the real clock, looked at by hand.
func live(t *testing.T, o Options) (*Health, *Facts, func()) {
	t.Helper()
	began := time.Now().Add(-time.Hour)
	f := &Facts{Recording: true, Channels: []ChannelFact{{ID: "face", Connected: true}}}
	o.Channels = []Channel{{"face", true}}
	o.Now = func() clock.Reading {
		return clock.Reading{T: time.Now(), Up: time.Since(began), Error: time.Millisecond}
	}
	o.Facts = func() Facts { return *f }
	o.Every = 50 * time.Millisecond
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.Run(ctx) })
	return h, f, func() { cancel(); wg.Wait() }
}

// await feeds until the newest report satisfies ok.
func await(t *testing.T, h *Health, what string, feed func(i int), ok func(map[string]standard.Measurement) bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for i := 0; time.Now().Before(deadline); i++ {
		feed(i)
		time.Sleep(20 * time.Millisecond)
		ms := map[string]standard.Measurement{}
		for _, m := range h.Latest().Measurements {
			ms[m.Measure] = m
		}
		if ok(ms) {
			return
		}
	}
	t.Errorf("%s: never", what)
}

// TestPicturesThroughTheRealDecoder: from the tap to the measurement, also when the camera changes
// its codec, and the process ends with Run.
func TestPicturesThroughTheRealDecoder(t *testing.T) {
	h, _, stop := live(t, Options{Decoder: ffmpeg(t)})
	defer stop()
	for _, encode := range [][]string{x264, x265, cbr} {
		usual := filmed(t, scene, 12, encode)
		black := filmed(t, scene+",drawbox=c=black:t=fill", 3, encode)
		feed := func(samples []drivers.Sample) func(int) {
			return func(i int) {
				if i == 0 {
					h.Describe("face", drivers.Description{Formats: []*drivers.Format{samples[0].Format}})
				}
				s := samples[i%len(samples)]
				s.Arrival = h.o.Now().Up
				h.Sample("face", s)
			}
		}
		name := strings.Join(encode[1:2], " ")
		await(t, h, name+": a usual picture", feed(usual), func(ms map[string]standard.Measurement) bool {
			m := ms["picture.black_for"]
			return m.Known() && m.Value.Num() == 0
		})
		await(t, h, name+": a black picture", feed(black), func(ms map[string]standard.Measurement) bool {
			return ms["picture.black_for"].Value.Num() > 0
		})
	}
}

// TestSoundThroughTheRealDecoder: silence and clipping of a camera's coded sound.
func TestSoundThroughTheRealDecoder(t *testing.T) {
	picture := filmed(t, scene, 2, x264)
	for _, codec := range []drivers.Codec{drivers.AAC, drivers.Opus} {
		h, _, stop := live(t, Options{Decoder: ffmpeg(t)})
		for _, tt := range []struct {
			what, filter string
			ok           func(silent, clipped float64) bool
		}{
			{"speech", "volume=-12dB", func(silent, clipped float64) bool { return silent == 0 && clipped == 0 }},
			{"silence", "volume=0", func(silent, _ float64) bool { return silent > 0.5 }},
			{"clipping", "volume=60dB:precision=fixed", func(silent, clipped float64) bool { return silent == 0 && clipped > 0.1 }},
		} {
			sound := spoken(t, "sine=frequency=300:sample_rate=48000,"+tt.filter, 4, codec)
			h.Describe("face", drivers.Description{Formats: []*drivers.Format{picture[0].Format, sound[0].Format}})
			await(t, h, string(codec)+": "+tt.what, func(i int) {
				s := picture[0]
				s.Arrival = h.o.Now().Up
				h.Sample("face", s)
				for j := range 5 {
					s := sound[(5*i+j)%len(sound)]
					s.Arrival = h.o.Now().Up
					h.Sample("face", s)
				}
			}, func(ms map[string]standard.Measurement) bool {
				a, b := ms["audio.silent_for"], ms["audio.clipped"]
				return a.Known() && b.Known() && tt.ok(a.Value.Num(), b.Value.Num())
			})
		}
		stop()
	}
}

// TestWhatACameraCosts logs the processor time of looking at one camera, one keyframe a second.
func TestWhatACameraCosts(t *testing.T) {
	for _, encode := range [][]string{x264, x265} {
		samples := filmed(t, "testsrc2=size=1920x1080:rate=5", 4, encode)
		f := ffmpeg(t)
		w, init, err := newWrap(samples[0].Format)
		if err != nil {
			t.Fatal(err)
		}
		in := make(chan []byte, 100)
		in <- init
		n := 0
		for i := range samples {
			if samples[i].Keyframe {
				n++
				in <- w.wrap(&samples[i])[0]
			}
		}
		close(in)
		v := newView()
		var look time.Duration
		_ = f.Gray(t.Context(), in, viewWidth, viewHeight, func(pix []byte) {
			began := time.Now()
			v.take(pix, 0)
			look += time.Since(began)
		})
		t.Logf("%s 1080p: %d keyframes: ffmpeg %v of CPU each (start included), analysis %v", encode[1], n, (f.CPU() / time.Duration(n)).Round(10*time.Microsecond), (look / time.Duration(n)).Round(10*time.Microsecond))
		if f.CPU()/time.Duration(n) > 200*time.Millisecond {
			t.Errorf("a keyframe costs %v", f.CPU()/time.Duration(n))
		}
	}
}
