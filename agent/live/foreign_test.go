package live

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"minglu/agent/capture"
	"minglu/drivers"
)

// loop plays a film of another encoder again and again, 25 pictures a second.
type loop struct {
	up      func() time.Duration
	samples []drivers.Sample
}

func (l *loop) Run(ctx context.Context, out drivers.Sink) error {
	out.Open(drivers.Description{Formats: []*drivers.Format{l.samples[0].Format}, Identity: "film"})
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	for k := 0; ; k++ {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		s := l.samples[k%len(l.samples)]
		turn := int64(k/len(l.samples)) * int64(len(l.samples)) * 3600
		s.PTS, s.DTS, s.Arrival = s.PTS+turn, s.DTS+turn, l.up()
		out.Sample(s)
	}
}

// encode makes 4 s of H.264 with x264: High profile, a keyframe every 4 s (40 pictures with B-frames), about 4 Mbit/s.
func encode(t *testing.T, bFrames int) []drivers.Sample {
	t.Helper()
	dir := t.TempDir()
	mp4, raw := filepath.Join(dir, "f.mp4"), filepath.Join(dir, "f.h264")
	cmd := func(name string, args ...string) []byte {
		b, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, b)
		}
		return b
	}
	cmd("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25", "-vf", "noise=alls=12:allf=t", "-t", "4", "-pix_fmt", "yuv420p",
		"-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-bf", fmt.Sprint(bFrames), "-g", fmt.Sprint(100-30*bFrames), "-sc_threshold", "0", "-b:v", "4M", "-maxrate", "4M", "-bufsize", "4M",
		"-video_track_timescale", "90000", mp4)
	cmd("ffmpeg", "-v", "error", "-i", mp4, "-c", "copy", "-bsf:v", "h264_mp4toannexb,h264_metadata=aud=insert", raw)
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	f := &drivers.Format{Codec: drivers.H264, ClockHz: 90000, Width: 1280, Height: 720}
	times := strings.Fields(string(cmd("ffprobe", "-v", "error", "-show_entries", "packet=pts,dts", "-of", "csv=p=0", mp4)))
	var out []drivers.Sample
	for _, n := range bytes.Split(bytes.ReplaceAll(b, []byte{0, 0, 0, 1}, []byte{0, 0, 1}), []byte{0, 0, 1}) {
		if len(n) == 0 {
			continue
		}
		switch n[0] & 31 {
		case avcAUD:
			s := drivers.Sample{Format: f}
			if _, err := fmt.Sscanf(times[len(out)], "%d,%d", &s.PTS, &s.DTS); err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		case avcSPS:
			f.SPS = n
		case avcPPS:
			f.PPS = n
		default:
			s := &out[len(out)-1]
			s.Keyframe = s.Keyframe || n[0]&31 == 5
			s.Data = append(s.Data, au(n)...)
		}
	}
	return out
}

// TestChromiumPlaysWhatCamerasSend: High profile, long groups of pictures, many packets a picture.
func TestChromiumPlaysWhatCamerasSend(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		bFrames int
		picture string
		fps     int // at least
	}{{"High profile", 0, "h264; profile=other", 20}, {"with B-frames", 2, "h264; profile=other; order=reordered", 0}} {
		t.Run(tt.rule, func(t *testing.T) {
			r := &rig{}
			boot := time.Now().Add(-time.Hour)
			r.up = func() time.Duration { return time.Since(boot) }
			r.set(Recording)
			r.start(t, Options{Channels: []Channel{{ID: "face"}}}, []capture.Channel{{ID: "face", Source: &loop{r.up, encode(t, tt.bFrames)}}})
			time.Sleep(2 * time.Second) // half of a group of pictures is there when the page comes
			ctx := chromium(t, r.url)
			wait(t, ctx, "window.w && w.view.state === 'live'")
			var began float64
			var first []float64
			if err := chromedp.Run(ctx, chromedp.Evaluate("window.began", &began), chromedp.Sleep(3*time.Second), chromedp.Evaluate("[pictures[0][0], pictures.length]", &first)); err != nil {
				t.Fatal(err)
			}
			wait(t, ctx, fmt.Sprintf("w.view.stats.fps > %d", tt.fps)+" && w.view.stats.width === 1280")
			var stats any
			_ = chromedp.Run(ctx, chromedp.Evaluate("[w.view.picture, w.view.stats]", &stats))
			t.Logf("first picture after %.0f ms, %.0f shown in 3 s; %v", first[0]-began, first[1], stats)
			wait(t, ctx, fmt.Sprintf("w.view.picture === %q", tt.picture))
			if v := r.Viewers(); len(v) != 1 || v[0].Dropped != 0 {
				t.Errorf("Viewers() = %+v, want one whose queue held everything", v)
			}
		})
	}
}
