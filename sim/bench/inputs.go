package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// clipLength is how many seconds a clip goes on before it begins again.
const clipLength = "10"

// startWithin bounds how long a program may take to do what it is there for.
const startWithin = 20 * time.Second

// encode makes the clip: 1080p25, about 4 Mbit/s of H.264 without B-frames, a keyframe each 2 s, AAC.
// The noise is that of a sensor: without it a test card does not fill the rate.
func encode(ctx context.Context, file string) error {
	c := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-nostdin",
		"-f", "lavfi", "-i", "testsrc2=r=25:s=1920x1080,noise=alls=4:allf=t", "-f", "lavfi", "-i", "sine=440:r=48000", "-t", clipLength,
		"-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "50", "-sc_threshold", "0",
		"-b:v", "4M", "-maxrate", "4M", "-bufsize", "4M", "-c:a", "aac", "-b:a", "64k", file)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("ffmpeg encodes the clip: %w\n%s", err, out)
	}
	return nil
}

// cameras are streams being sent.
type cameras struct {
	frames string   // the relay's log
	urls   []string // one each
	procs  []*process
}

// cameras starts n of them and waits until each sends.
func (b *bench) cameras(ctx context.Context, n int) (in *cameras, err error) {
	in = &cameras{frames: filepath.Join(b.dir, "frames.jsonl")}
	defer func() {
		if err != nil {
			in.stop()
		}
	}()
	relay, err := start(nil, b.relay, "-framelog", in.frames)
	if err != nil {
		return nil, err
	}
	in.procs = append(in.procs, relay)
	var addr string
	if err := until(ctx, startWithin, "rtsprelay listens", relay, func() bool {
		line, ok := strings.CutPrefix(relay.said(), "listening ")
		addr = strings.TrimSpace(line)
		return ok && strings.HasSuffix(line, "\n")
	}); err != nil {
		return nil, err
	}
	for i := range n {
		url := fmt.Sprintf("rtsp://%s/c%d", addr, i+1)
		p, err := start(nil, "ffmpeg", "-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i", b.clip, "-c", "copy",
			"-max_delay", "50000", "-f", "rtsp", "-rtsp_transport", "tcp", url)
		if err != nil {
			return nil, err
		}
		in.procs, in.urls = append(in.procs, p), append(in.urls, url)
		path := fmt.Appendf(nil, `"path":"c%d"`, i+1)
		if err := until(ctx, startWithin, "ffmpeg sends to "+url, p, func() bool {
			log, _ := os.ReadFile(in.frames)
			return bytes.Contains(log, path)
		}); err != nil {
			return nil, err
		}
	}
	return in, nil
}

func (in *cameras) stop() {
	for i := len(in.procs) - 1; i >= 0; i-- {
		in.procs[i].kill()
	}
	_ = os.Remove(in.frames)
}

// media counts the bytes of the frames that were passed on from one moment to another.
func (in *cameras) media(from, to time.Time) (n int64, err error) {
	f, err := os.Open(in.frames)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return n, nil // a line that is being written is after the window
		} else if err != nil {
			return 0, err
		}
		var frame struct {
			Size   int64 `json:"size"`
			WallUS int64 `json:"wall_us"`
		}
		if err := json.Unmarshal(line, &frame); err != nil {
			return 0, fmt.Errorf("frame log: %w", err)
		}
		if frame.WallUS >= from.UnixMicro() && frame.WallUS < to.UnixMicro() {
			n += frame.Size
		}
	}
}
