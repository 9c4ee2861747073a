package capture

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"minglu/drivers"
)

// world is a camera and a microphone that see and hear the same, each by its own clock, for hours of
// simulated time: no goroutine, no queue, only the lines.
type world struct {
	camera, microphone float64 // error of their clocks: 200e-6 runs fast
	jitter             time.Duration
	hours              float64
	stamp, sent        float64 // pictures a second as stamped and as sent; 0: 25 both
}

// far is how far sound and picture of one moment come to lie apart at most, and a picture from its
// capture, after settle; and the greatest distance of two pictures from what it was in truth, as a share.
func (w world) far(settle time.Duration) (apart, truth time.Duration, bend float64) {
	stamp, sent := w.stamp, w.sent
	if stamp == 0 {
		stamp, sent = 25, 25
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	start := 1000 * time.Hour
	vid := newRun(1, &drivers.Description{Formats: []*drivers.Format{video}}, start, nil)
	mic := newRun(1, &drivers.Description{Formats: []*drivers.Format{sound}}, start, nil)
	delay := func() time.Duration { // mostly short, sometimes long
		return time.Millisecond + time.Duration(rnd.ExpFloat64()*float64(w.jitter))
	}
	const pts = 5_000_000
	frames := int64(w.hours * 3600 * sent)
	var lastV, lastA, micAt, micDue time.Duration
	var micTaken time.Duration
	n := int64(0)
	var before, beforeTrue time.Duration
	for k := range frames {
		taken := time.Duration(float64(k) / sent * 1e9)
		stamps := float64(k) / stamp
		if stamp == sent {
			stamps = taken.Seconds() * (1 + w.camera)
		}
		s := drivers.Sample{Format: video, PTS: pts + int64(math.Round(stamps*90000)), Keyframe: k%50 == 0}
		s.DTS = s.PTS
		s.Arrival = max(start+taken+delay(), lastV) // TCP keeps the order
		lastV = s.Arrival
		if vid.broken(&s, 0) {
			panic("BUG: the picture broke off")
		}
		vid.observe(&s, 0)
		vid.fix(0)
		at := vid.at(0, s.DTS) - start
		// The microphone's packets that have been heard by now.
		for micDue <= taken {
			a := drivers.Sample{Format: sound, PTS: n * 960, DTS: n * 960, Duration: 960}
			micTaken = time.Duration(float64(n) * 0.02 / (1 + w.microphone) * 1e9)
			micDue = micTaken + 20*time.Millisecond
			a.Arrival = max(start+micDue+delay(), lastA)
			lastA = a.Arrival
			mic.observe(&a, 0)
			mic.fix(0)
			micAt = mic.at(0, a.DTS) - start
			n++
		}
		if taken > settle {
			truth = max(truth, (at - taken).Abs())
			apart = max(apart, ((micAt - micTaken) - (at - taken)).Abs())
			bend = max(bend, math.Abs(float64(at-before)/float64(taken-beforeTrue)-1))
		}
		before, beforeTrue = at, taken
	}
	return apart, truth, bend
}

// TestSoundStaysBesideThePictureForHours: two clocks that are as wrong as clocks get are held together
// by the arrival of what they stamp, without a visible jolt.
func TestSoundStaysBesideThePictureForHours(t *testing.T) {
	const ppm, ms = 1e-6, time.Millisecond
	for _, w := range []world{
		{hours: 8, camera: 200 * ppm, microphone: -200 * ppm, jitter: 2 * ms},
		{hours: 8, camera: -200 * ppm, microphone: 200 * ppm, jitter: 2 * ms},
		{hours: 8, microphone: 200 * ppm, jitter: 5 * ms},
		{hours: 8, microphone: -200 * ppm},
		{hours: 8, camera: 50 * ppm, jitter: 10 * ms},
	} {
		apart, truth, bend := w.far(0)
		t.Logf("%+v: sound up to %v from its picture, picture up to %v from its capture, distances of pictures up to %.2f %% off", w, apart, truth, 100*bend)
		if apart > 20*ms || truth > 20*ms || bend > maxSlew+maxDrift {
			t.Errorf("%+v: %v apart, %v from the truth, %.4f bent; want at most 20 ms, 20 ms, %v", w, apart, truth, bend, maxSlew+maxDrift)
		}
	}
}

// TestStampedRateIsNotTheRate: a camera that stamps 25 pictures a second and sends 21 plays at the
// speed of what it shows.
func TestStampedRateIsNotTheRate(t *testing.T) {
	for _, w := range []world{
		{hours: 0.5, stamp: 25, sent: 21, jitter: 2 * time.Millisecond},
		{hours: 0.5, stamp: 25, sent: 30, jitter: 2 * time.Millisecond},
		{hours: 0.5, stamp: 25, sent: 12.5, jitter: 2 * time.Millisecond},
		{hours: 0.5, stamp: 15, sent: 15.4, jitter: 2 * time.Millisecond},
	} {
		_, start, _ := w.far(0)
		_, truth, bend := w.far(3 * time.Minute)
		t.Logf("%v sent as %v: up to %v off while the rate is found, %v after 3 minutes; %.1f %% bent", w.sent, w.stamp, start, truth, 100*bend)
		if start > 5*time.Second || truth > 100*time.Millisecond {
			t.Errorf("%v sent as %v: up to %v off at first, %v after 3 minutes", w.sent, w.stamp, start, truth)
		}
	}
}

// TestReportsThatStep: a camera that sets its clock tells it in the reports of its tracks one after
// the other; sound stays where it is.
func TestReportsThatStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
			out.Open(drivers.Description{Formats: []*drivers.Format{video, sound}})
			ntp := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for k := int64(0); sleep(ctx, 20*time.Millisecond); k++ {
				if k%2 == 0 {
					out.Sample(drivers.Sample{Format: video, PTS: k * 1800, DTS: k * 1800, Arrival: up(), Keyframe: k%50 == 0, Data: []byte{1}})
				}
				out.Sample(drivers.Sample{Track: 1, Format: sound, PTS: k * 960, DTS: k * 960, Duration: 960, Arrival: up(), Keyframe: true, Data: []byte{2}})
				wall := ntp.Add(time.Duration(k) * 20 * time.Millisecond)
				switch step := time.Duration(k/3000) * 700 * time.Millisecond; { // each minute
				case k%250 == 0:
					out.SenderReport(drivers.SenderReport{Track: 0, NTP: wall.Add(step), PTS: k * 1800, Arrival: up()})
				case k%250 == 125:
					out.SenderReport(drivers.SenderReport{Track: 1, NTP: wall.Add(step), PTS: k * 960, Arrival: up()})
				}
			}
			return ctx.Err()
		})
		var g got
		r.Attach(&g)
		time.Sleep(10 * time.Minute)
		r.stop()
		p, a := g.of(0), g.of(1)
		const settled = 25 * 55
		for i := settled; i < len(p); i++ {
			if d := (p[i].At - a[2*i].At - (p[settled].At - a[2*settled].At)).Abs(); d > 10*time.Millisecond || p[i].Run != 1 {
				t.Fatalf("picture %d: sound moved by %v, run %d", i, d, p[i].Run)
			}
		}
	})
}

// TestSoundKeepsItsPlaceOverAReconnect: the reports of the new connection come late; what the last
// one said of the sound's delay holds until then.
func TestSoundKeepsItsPlaceOverAReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lips{soundDelay: 200 * time.Millisecond, reports: 20}
		r := start(t, Options{}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
			if n > 1 {
				l.reports = 0
			}
			return l.run(ctx, out, up)
		})
		var g got
		r.Attach(&g)
		time.Sleep(90 * time.Second) // 40 s of film, and 5 until the silence is noticed
		r.stop()
		p, a := g.of(0), g.of(1)
		last := func(s []drivers.Sample) drivers.Sample { return s[len(s)-1] }
		v, s := last(p), last(a)
		if v.Run != 2 || s.Run != 2 {
			t.Fatalf("runs %d and %d", v.Run, s.Run)
		}
		shown := v.At + since(v.PTS-v.DTS, 90000)
		heard := s.At + since(v.PTS, 90000) - since(s.PTS, 48000)
		if d := (heard - shown).Abs(); d > 45*time.Millisecond {
			t.Errorf("after the reconnect sound is %v from its picture", d)
		}
	})
}
