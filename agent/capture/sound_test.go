package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/fmp4"
	"minglu/drivers"
)

// lips delivers 25 pictures a second in the order I P B B and sound of 20 ms. Both are of the same
// scene: picture tick p and sound tick a are of one moment where p/90000 = a/48000 + shift. Pictures
// arrive pictureDelay after they were taken, sound soundDelay after it was heard.
type lips struct {
	shift                    time.Duration
	pictureDelay, soundDelay time.Duration
	reports                  int // after so many pictures, 0 none
	wrong                    time.Duration
}

func (l lips) run(ctx context.Context, out drivers.Sink, up func() time.Duration) error {
	out.Open(drivers.Description{Formats: []*drivers.Format{video, sound}})
	type due struct {
		at time.Duration
		f  func()
	}
	zero := up()
	ntp := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC) // wrong, as cameras are
	var queue []due
	add := func(at time.Duration, f func()) {
		i := len(queue)
		for i > 0 && queue[i-1].at > at {
			i--
		}
		queue = append(queue[:i], append([]due{{at, f}}, queue[i:]...)...)
	}
	for k := int64(0); k < 25*40; k++ {
		// Decoding order 0, 3, 1, 2, 6, 4, 5 …: shown 0, 1, 2 …; PTS-DTS is 1, 3, 0, 0 frames of 40 ms.
		shown := k
		switch {
		case k == 0:
		case k%3 == 1:
			shown = k + 2
		default:
			shown = k - 1
		}
		taken := time.Duration(shown) * 40 * time.Millisecond
		pts, dts := shown*3600, (k-1)*3600
		sent := max(taken, time.Duration(k+1)*40*time.Millisecond) + l.pictureDelay
		add(sent, func() {
			out.Sample(drivers.Sample{Format: video, PTS: pts, DTS: dts, Arrival: up(), Keyframe: k%24 == 0, Data: []byte{1}})
			if l.reports > 0 && k%int64(l.reports) == 1 {
				out.SenderReport(drivers.SenderReport{Track: 0, NTP: ntp.Add(taken), PTS: pts, Arrival: up()})
			}
		})
	}
	for k := int64(0); k < 50*40; k++ {
		heard := time.Duration(k) * 20 * time.Millisecond
		pts := k*960 - int64(l.shift)*48000/int64(time.Second)
		add(heard+20*time.Millisecond+l.soundDelay, func() {
			out.Sample(drivers.Sample{Track: 1, Format: sound, PTS: pts, DTS: pts, Duration: 960, Arrival: up(), Keyframe: true, Data: []byte{2}})
			if l.reports > 0 && k%int64(l.reports) == 1 {
				out.SenderReport(drivers.SenderReport{Track: 1, NTP: ntp.Add(heard + l.wrong), PTS: pts, Arrival: up()})
			}
		})
	}
	for _, d := range queue {
		if !sleep(ctx, zero+d.at-up()) {
			return ctx.Err()
		}
		d.f()
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestSoundLiesBesideItsPicture(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		rule string
		l    lips
		most time.Duration // between sound and picture of one moment
		runs int
	}{
		{"reports place it exactly, whatever the ticks' origins", lips{shift: 1234 * time.Second, reports: 20}, 0, 1},
		{"reports undo 200 ms that sound packets are late", lips{soundDelay: 200 * ms, reports: 20}, 0, 1},
		{"reports undo 200 ms that pictures are late", lips{pictureDelay: 200 * ms, reports: 20}, 0, 1},
		{"without reports arrival decides, B-frames or not", lips{}, 40 * ms, 1},
		{"without reports the delays stay", lips{soundDelay: 200 * ms}, 240 * ms, 1},
		{"a report that moves sound by seconds is not believed", lips{reports: 20, wrong: 3 * time.Second}, 40 * ms, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, Options{Preroll: 3 * time.Second}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
				return tt.l.run(ctx, out, up)
			})
			time.Sleep(5 * time.Second)
			var g got
			r.Attach(&g)
			time.Sleep(20 * time.Second)
			r.stop()
			p, a := g.of(0), g.of(1)
			if len(p) < 550 || len(a) < 1100 {
				t.Fatalf("%s: %d pictures, %d sounds", tt.rule, len(p), len(a))
			}
			shown := p[0].At + since(p[0].PTS-p[0].DTS, 90000)
			moment := since(p[0].PTS, 90000)
			heard := a[0].At + (moment - tt.l.shift - since(a[0].PTS, 48000))
			if d := (heard - shown).Abs(); d > tt.most+time.Microsecond {
				t.Errorf("%s: sound is %v from its picture, want at most %v", tt.rule, heard-shown, tt.most)
			}
			for _, s := range [][]drivers.Sample{p, a} {
				for i := 1; i < len(s); i++ {
					d := s[i].At - s[i-1].At - since(s[i].DTS-s[i-1].DTS, s[i].Format.ClockHz)
					if s[i].Run != tt.runs || d.Abs() > time.Nanosecond {
						t.Fatalf("%s: track %d sample %d: run %d, %v off its ticks", tt.rule, s[i].Track, i, s[i].Run, d)
					}
				}
			}
		})
	}
}

// tone is PCM frames of 440 Hz at this amplitude.
func tone(from, frames, channels int, amplitude float64) []byte {
	var b []byte
	for i := range frames {
		v := amplitude * math.Sin(2*math.Pi*440*float64(from+i)/48000)
		for range channels {
			b = binary.LittleEndian.AppendUint16(b, uint16(int16(max(-32768, min(32767, v)))))
		}
	}
	return b
}

func TestRawSoundIsEncodedOnce(t *testing.T) {
	for _, tt := range []struct {
		rule            string
		block, channels int
		rate            int
	}{
		{"blocks of a frame", 960, 1, 48000},
		{"blocks of another length", 1024, 2, 48000},
		{"long blocks", 4800, 1, 48000},
		{"a slow converter", 160, 1, 16000},
	} {
		var packets [][]byte
		synctest.Test(t, func(t *testing.T) {
			f := &drivers.Format{Codec: drivers.PCM, ClockHz: tt.rate, SampleRateHz: tt.rate, Channels: tt.channels}
			var began time.Duration
			r := start(t, Options{}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
				began = up()
				out.Open(drivers.Description{Formats: []*drivers.Format{f}})
				for at := 0; ; at += tt.block {
					if !sleep(ctx, began+since(int64(at+tt.block), tt.rate)-up()) {
						return ctx.Err()
					}
					out.Sample(drivers.Sample{Format: f, PTS: int64(at), DTS: int64(at), Duration: int64(tt.block), Arrival: up(), Keyframe: true, Data: tone(at, tt.block, tt.channels, 8000)})
				}
			})
			var g got
			r.Attach(&g)
			time.Sleep(10 * time.Second)
			if s := r.Status()[0]; s.Codecs[0] != "opus" || !s.Level.Known || math.Abs(s.Level.RMS+15.26) > 0.2 || math.Abs(s.Level.Peak+12.25) > 0.2 || s.Level.Clipped != 0 {
				t.Errorf("%s: status %+v", tt.rule, s)
			}
			r.stop()
			s := g.of(0)
			if len(s) < 490 {
				t.Fatalf("%s: %d packets in 10 s, want 50 a second", tt.rule, len(s))
			}
			for i, x := range s {
				if x.Duration != 960 || x.Format.Codec != drivers.Opus || x.Format.ClockHz != 48000 || !x.Keyframe || i > 0 && (x.DTS-s[i-1].DTS != 960 || x.At-s[i-1].At != 20*time.Millisecond) {
					t.Fatalf("%s: packet %d: %d ticks at %d", tt.rule, i, x.Duration, x.DTS)
				}
				packets = append(packets, x.Data)
			}
			delay := since(int64(r.channels[0].encoders[0].lookahead), 48000)
			if d := s[0].At + delay - began; d.Abs() > time.Millisecond {
				t.Errorf("%s: the first packet is heard %v after it was spoken", tt.rule, d)
			}
		})
		decodes(t, tt.rule, packets, tt.channels)
	}
}

// decodes has ffmpeg decode the packets and compares length and loudness.
func decodes(t *testing.T, rule string, packets [][]byte, channels int) {
	t.Helper()
	track := fmp4.Track{ID: 1, Timescale: 48000, Codec: fmp4.Opus, SampleRate: 48000, Channels: channels}
	file, err := fmp4.Init([]fmp4.Track{track})
	if err != nil {
		t.Fatal(err)
	}
	run := fmp4.Run{Track: 1}
	for _, p := range packets {
		run.Samples = append(run.Samples, fmp4.Sample{Duration: 960, Sync: true, Data: p})
	}
	if file, _, err = fmp4.AppendFragment(file, 1, []fmp4.Run{run}); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "sound.mp4")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	var warnings bytes.Buffer
	cmd := exec.Command("ffmpeg", "-v", "warning", "-i", name, "-f", "s16le", "-")
	cmd.Stderr = &warnings
	pcm, err := cmd.Output()
	if err != nil || warnings.Len() > 0 {
		t.Fatalf("%s: ffmpeg: %v: %s", rule, err, warnings.String())
	}
	if want := len(packets) * 960 * channels * 2; len(pcm) != want {
		t.Errorf("%s: decoded %d bytes, want %d", rule, len(pcm), want)
	}
	var sum float64
	n := 0
	for i := 48000; i+1 < len(pcm); i += 2 {
		v := float64(int16(binary.LittleEndian.Uint16(pcm[i:])))
		sum += v * v
		n++
	}
	if db := 20 * math.Log10(math.Sqrt(sum/float64(n))/32768); math.Abs(db+15.26) > 1.5 {
		t.Errorf("%s: decoded sound has %.1f dBFS, want -15.3", rule, db)
	}
}

func TestLevelTellsSilenceAndClipping(t *testing.T) {
	e, err := newEncoder(&drivers.Format{Codec: drivers.PCM, ClockHz: 48000, SampleRateHz: 48000, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	feed := func(seconds int, amplitude float64) {
		for range seconds * 50 {
			s := drivers.Sample{PTS: int64(at), Arrival: since(int64(at+960), 48000), Data: tone(at, 960, 1, amplitude)}
			if hole, err := e.encode(&s, func(drivers.Sample) {}); err != nil || hole {
				t.Fatal(hole, err)
			}
			at += 960
		}
	}
	feed(3, 0)
	if l := e.level; l.RMS != -120 || l.Peak != -120 || l.Quiet < 2*time.Second || l.Quiet > 3*time.Second {
		t.Errorf("silence: %+v", l)
	}
	feed(3, 60000)
	if l := e.level; l.Clipped < 0.5 || l.Quiet != 0 || l.Peak < -0.01 {
		t.Errorf("clipping: %+v", l)
	}
	s := drivers.Sample{PTS: int64(at) + 5000, Data: tone(0, 960, 1, 100)}
	var pts []int64
	if hole, err := e.encode(&s, func(s drivers.Sample) { pts = append(pts, s.PTS) }); err != nil || !hole || len(pts) != 1 || pts[0] != s.PTS-e.lookahead {
		t.Errorf("after a hole: %v, %v, packets at %v", hole, err, pts)
	}
}

func TestUnknownSoundIsRefusedInWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &drivers.Format{Codec: drivers.PCM, ClockHz: 44100, SampleRateHz: 44100, Channels: 1}
		r := start(t, Options{}, func(ctx context.Context, out drivers.Sink, n int, up func() time.Duration) error {
			out.Open(drivers.Description{Formats: []*drivers.Format{f}})
			<-ctx.Done()
			return ctx.Err()
		})
		time.Sleep(100 * time.Millisecond)
		if p := r.Status()[0].Problem; p == nil || p.Code != "codec" {
			t.Errorf("problem %v, want one of the codec", p)
		}
		r.stop()
	})
}

func BenchmarkEncode(b *testing.B) {
	e, err := newEncoder(&drivers.Format{Codec: drivers.PCM, ClockHz: 48000, SampleRateHz: 48000, Channels: 1})
	if err != nil {
		b.Fatal(err)
	}
	s := drivers.Sample{Data: tone(0, 960, 1, 8000)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.encode(&s, func(drivers.Sample) {}); err != nil {
			b.Fatal(err)
		}
		s.PTS += 960
	}
}
