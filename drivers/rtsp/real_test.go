package rtsp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minglu/drivers"
)

// passed is a line of rtsprelay's frame log.
type passed struct {
	Path, Codec, SHA256 string
	Track               int
	TS                  uint32
	Key                 bool
}

// relay builds and starts sim/rtsprelay and returns its address and the path of its frame log.
func relay(t *testing.T, args ...string) (addr, frames string) {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "rtsprelay")
	if out, err := exec.Command("go", "build", "-o", bin, "minglu/sim/rtsprelay").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	frames = filepath.Join(dir, "frames.jsonl")
	cmd := exec.Command(bin, append([]string{"-framelog", frames}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if err != nil || !ok {
		t.Fatalf("rtsprelay said %q, %v", line, err)
	}
	return addr, frames
}

func frameLog(t *testing.T, path string) []passed {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []passed
	for line := range bytes.Lines(b) {
		var p passed
		if err := json.Unmarshal(line, &p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// TestRealStreams receives what ffmpeg sends through another process and compares each frame.
func TestRealStreams(t *testing.T) {
	addr, frames := relay(t, "-user", "operator", "-pass", "s3cret")
	const seconds = 6
	for _, tt := range []struct {
		name   string
		video  []string
		sound  []string
		codecs [2]drivers.Codec
		unit   int64 // ticks of a sound packet
		delay  int64 // greatest PTS - DTS in frames
	}{
		{"x264 with B-frames and AAC", []string{"-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "50"},
			[]string{"-c:a", "aac"}, [2]drivers.Codec{drivers.H264, drivers.AAC}, 1024, 4},
		{"x264 with B-pyramid, slices and repeated headers", []string{"-c:v", "libx264", "-preset", "superfast", "-bf", "3",
			"-x264-params", "b-pyramid=normal:slices=4:repeat-headers=1:aud=1:keyint=40"},
			[]string{"-c:a", "libopus", "-frame_duration", "20"}, [2]drivers.Codec{drivers.H264, drivers.Opus}, 960, 6},
		{"x265 with open GOPs", []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=50:bframes=3"},
			[]string{"-c:a", "aac"}, [2]drivers.Codec{drivers.H265, drivers.AAC}, 1024, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := strings.ReplaceAll(tt.name[:4]+tt.name[len(tt.name)-4:], " ", "_")
			size := "1280x720"
			if strings.HasPrefix(tt.name, "x264 with B-frames") {
				size = "1920x1080"
			}
			args := append([]string{"-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i", "testsrc2=r=25:s=" + size,
				"-re", "-f", "lavfi", "-i", "sine=frequency=440:r=48000", "-t", "6", "-pix_fmt", "yuv420p"}, tt.video...)
			args = append(append(args, tt.sound...), "-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://"+addr+"/"+path)
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, "ffmpeg", args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// Until the path is there the relay answers "not found".
			src, s := mustNew(t, Options{URL: "rtsp://operator:s3cret@" + addr + "/" + path}), newSink()
			for {
				err := src.Run(ctx, s)
				if p := asProblem(err); ctx.Err() != nil || p != nil && p.Code != "not-found" {
					break // the relay ends the connection with its publisher
				}
				wait := time.NewTimer(20 * time.Millisecond)
				<-wait.C
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("ffmpeg: %v\n%s", err, stderr.String())
			}
			if len(s.desc) != 1 || len(s.lost) != 0 {
				t.Fatalf("%d connections, lost %q", len(s.desc), s.lost)
			}
			for track, codec := range tt.codecs {
				compare(t, s, track, codec, frameLog(t, frames), path)
			}
			if n := count(s, 0); n < (seconds-2)*25 {
				t.Errorf("%d pictures in %d s", n, seconds)
			}
			times(t, s, tt.unit, tt.delay)
		})
	}
}

func count(s *sink, track int) int {
	n := 0
	for _, x := range s.samples {
		if x.Track == track {
			n++
		}
	}
	return n
}

// compare wants the frames of the log, from the first one received on: each, once, in order.
func compare(t *testing.T, s *sink, track int, codec drivers.Codec, all []passed, path string) {
	t.Helper()
	var want []passed
	for _, p := range all {
		if p.Path == path && p.Codec == string(codec) {
			want = append(want, p)
		}
	}
	i := -1
	for _, x := range s.samples {
		if x.Track != track {
			continue
		}
		sum := sha256.Sum256(x.Data)
		hash := hex.EncodeToString(sum[:])
		if i < 0 {
			for i = 0; i < len(want) && want[i].SHA256 != hash; i++ {
			}
			if i > len(want)/3 {
				t.Fatalf("track %d: the first frame received is number %d of %d", track, i, len(want))
			}
		}
		if i >= len(want) || want[i].SHA256 != hash || codec.Video() && (want[i].TS != uint32(x.PTS) || want[i].Key != x.Keyframe) {
			t.Fatalf("track %d: frame %d of %d is not the one that was sent", track, i, len(want))
		}
		i++
	}
	if i != len(want) {
		t.Errorf("track %d: the last frame received is number %d of %d", track, i, len(want))
	}
}

// times checks the timestamps of 25 pictures a second and unbroken sound, and that sound and picture
// started together according to the sender reports.
func times(t *testing.T, s *sink, unit, delay int64) {
	t.Helper()
	var last [2]*drivers.Sample
	seen := map[int64]bool{}
	for i := range s.samples {
		x := &s.samples[i]
		before := last[x.Track]
		last[x.Track] = x
		if x.Format.Codec.Video() {
			if d := x.PTS - x.DTS; d < 0 || d > delay*3600 {
				t.Errorf("picture at %d has DTS %d", x.PTS, x.DTS)
			}
			seen[x.PTS] = true
		} else if before != nil && x.PTS != before.PTS+unit || x.Duration != unit {
			t.Errorf("sound at %d of %d ticks after %d", x.PTS, x.Duration, before.PTS)
		}
		if before != nil && x.DTS <= before.DTS {
			t.Errorf("track %d: DTS %d after %d", x.Track, x.DTS, before.DTS)
		}
		if before != nil && x.Track == 0 && x.DTS-before.DTS > 2*3600 {
			t.Errorf("DTS %d after %d: more than two frames", x.DTS, before.DTS)
		}
	}
	holes := 0
	for pts := range seen {
		if !seen[pts+3600] {
			holes++ // the last frame, and the end of a group cut short
		}
	}
	if holes > 1 {
		t.Errorf("%d holes in the PTS of the pictures", holes)
	}
	// By its sender report each track has a wall clock: source time zero is the same on both.
	first := func(track int) (drivers.SenderReport, bool) {
		for _, r := range s.reports {
			if r.Track == track {
				return r, true
			}
		}
		return drivers.SenderReport{}, false
	}
	v, ok1 := first(0)
	a, ok2 := first(1)
	if !ok1 || !ok2 {
		t.Fatalf("%d sender reports, want some of both tracks", len(s.reports))
	}
	wall := func(r drivers.SenderReport, x *drivers.Sample) time.Time {
		return r.NTP.Add(time.Duration(x.PTS-r.PTS) * time.Second / time.Duration(x.Format.ClockHz))
	}
	if d := wall(v, last[0]).Sub(wall(a, last[1])); d < -200*time.Millisecond || d > 200*time.Millisecond {
		t.Errorf("by their reports the last picture and the last sound are %v apart", d)
	}
}
