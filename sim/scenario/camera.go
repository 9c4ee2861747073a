package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Relay is a running rtsprelay: an RTSP server that ffmpeg publishes to and the agent reads from.
type Relay struct {
	t      testing.TB
	lab    *Lab
	p      *process
	addr   string
	frames string
	login  string

	mu   sync.Mutex
	read int64              // of the frame log, whole lines
	seen map[string][]Frame // path and codec -> in order
}

// Relay starts an RTSP server. args are flags of rtsprelay, such as "-user", "u", "-pass", "p".
func (l *Lab) Relay(t testing.TB, args ...string) *Relay {
	t.Helper()
	r := &Relay{t: t, lab: l, frames: filepath.Join(t.TempDir(), "frames.jsonl")}
	var user, pass string
	for i := 0; i+1 < len(args); i++ {
		switch args[i] {
		case "-user":
			user = args[i+1]
		case "-pass":
			pass = args[i+1]
		}
	}
	if user != "" {
		r.login = user + ":" + pass + "@"
	}
	r.p = start(t, l.relay, append([]string{"-framelog", r.frames}, args...)...)
	Wait(t, 10*time.Second, "rtsprelay listens", func() bool {
		addr, ok := strings.CutPrefix(r.p.out.String(), "listening ")
		r.addr = strings.TrimSpace(addr)
		return ok && strings.HasSuffix(addr, "\n")
	})
	return r
}

// URL is the address a camera of this path has for the agent, with the login if there is one.
func (r *Relay) URL(path string) string { return "rtsp://" + r.login + r.addr + "/" + path }

// Frame is one access unit or sound packet that the relay passed on. SHA256 is over the bytes that a
// sample of a recording has.
type Frame struct {
	Path   string `json:"path"`
	Codec  string `json:"codec"` // "h264", "h265", "aac", "opus"
	TS     uint32 `json:"ts"`    // RTP timestamp
	Key    bool   `json:"key"`
	Size   int    `json:"size"`
	SHA256 string `json:"sha256"`
	WallUS int64  `json:"wall_us"` // µs since 1970
}

// Frames returns what was passed on so far on a path in one codec, in order. The caller changes nothing in it.
func (r *Relay) Frames(path, codec string) []Frame {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := os.Open(r.frames)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, r.read, math.MaxInt64-r.read))
	if err != nil {
		r.t.Fatal(err)
	}
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	r.read += int64(len(b))
	if r.seen == nil {
		r.seen = map[string][]Frame{}
	}
	for line := range bytes.Lines(b) {
		var f Frame
		if err := json.Unmarshal(line, &f); err != nil {
			r.t.Fatalf("frame log: %v", err)
		}
		key := f.Path + " " + f.Codec
		r.seen[key] = append(r.seen[key], f)
	}
	seen := r.seen[path+" "+codec]
	return seen[:len(seen):len(seen)]
}

// Stream says what a camera sends: testsrc2 with a white flash of 80 ms and a beep of 80 ms at the
// beginning of each second of its time, both from the same clock.
type Stream struct {
	Codec   string        // "h264" (x264 with two B-frames) or "h265" (x265)
	Size    string        // "1920x1080"
	Rate    int           // frames per second
	GOP     int           // frames between keyframes
	Sound   string        // "aac", "opus", "alaw" or "" for none
	Phase   int           // shifts the picture, so that two cameras differ
	Length  time.Duration // of the clip that is sent; it is repeated when Loop
	Loop    bool
	Encoded bool // encode the clip first and send it as it is: no load while sending
}

// Publisher is a running ffmpeg.
type Publisher struct{ p *process }

// Publish sends a stream to a path in real time, until Stop or its end. It returns once the relay
// passes frames on.
func (r *Relay) Publish(path string, s Stream) *Publisher {
	r.t.Helper()
	// Without max_delay ffmpeg keeps sound back for 0.7 s, to fill its packets; a camera does not.
	to := []string{"-max_delay", "50000", "-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://" + r.addr + "/" + path}
	args := []string{"-v", "error", "-nostdin"}
	if s.Encoded {
		clip, err := r.lab.clip(s)
		if err != nil {
			r.t.Fatal(err)
		}
		args = append(args, "-re")
		if s.Loop {
			args = append(args, "-stream_loop", "-1")
		}
		args = append(append(args, "-i", clip, "-c", "copy"), to...)
	} else {
		args = append(append(args, s.encode(true)...), to...)
	}
	p := &Publisher{start(r.t, "ffmpeg", args...)}
	Wait(r.t, 20*time.Second, "ffmpeg sends to "+path, func() bool {
		if p.p.ended() {
			r.t.Fatalf("ffmpeg ended: %s", p.p.out)
		}
		_, err := os.Stat(r.frames)
		return err == nil && len(r.Frames(path, s.Codec)) > 0
	})
	return p
}

// Stop ends the stream in good order; Kill like a pulled cable.
func (p *Publisher) Stop() { p.p.stop(syscall.SIGINT, 5*time.Second) }

// Kill ends the stream without a goodbye.
func (p *Publisher) Kill() { p.p.kill() }

// Ended reports whether the stream has come to its end.
func (p *Publisher) Ended() bool { return p.p.ended() }

// encode returns ffmpeg's arguments from the source to the coded streams.
func (s Stream) encode(realtime bool) []string {
	var args []string
	in := func(graph string) {
		if realtime {
			args = append(args, "-re")
		}
		args = append(args, "-f", "lavfi", "-i", graph)
	}
	in(fmt.Sprintf("testsrc2=r=%d:s=%s,hue=h=%d,drawbox=enable='lt(mod(t,1),0.08)':color=white:t=fill", s.Rate, s.Size, 40*s.Phase))
	if s.Phase == 0 { // hue costs; the first camera does without
		args[len(args)-1] = fmt.Sprintf("testsrc2=r=%d:s=%s,drawbox=enable='lt(mod(t,1),0.08)':color=white:t=fill", s.Rate, s.Size)
	}
	if s.Sound != "" {
		in("aevalsrc='if(lt(mod(t,1),0.08),0.8*sin(2*PI*1000*t),0)':s=48000:c=mono")
	}
	args = append(args, "-t", fmt.Sprintf("%.3f", s.Length.Seconds()), "-pix_fmt", "yuv420p", "-g", fmt.Sprint(s.GOP))
	if s.Codec == "h265" {
		args = append(args, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params",
			fmt.Sprintf("log-level=error:open-gop=0:bframes=2:keyint=%d", s.GOP))
	} else {
		args = append(args, "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-b:v", "4M", "-maxrate", "6M", "-bufsize", "6M")
	}
	switch s.Sound {
	case "aac":
		args = append(args, "-c:a", "aac", "-b:a", "64k")
	case "alaw":
		args = append(args, "-c:a", "pcm_alaw", "-ar", "8000")
	case "opus":
		args = append(args, "-c:a", "libopus", "-frame_duration", "20", "-b:a", "32k")
	}
	return args
}

// clip encodes a stream into a file, once per Lab.
func (l *Lab) clip(s Stream) (string, error) {
	key := fmt.Sprintf("%s-%s-%d-%d-%s-%d-%d", s.Codec, s.Size, s.Rate, s.GOP, s.Sound, s.Phase, s.Length.Milliseconds())
	l.mu.Lock()
	make, ok := l.clips[key]
	if !ok {
		make = sync.OnceValues(func() (string, error) {
			file := filepath.Join(l.Dir, key+".nut")
			args := append([]string{"-n", "19", "ffmpeg", "-v", "error", "-nostdin"}, s.encode(false)...) // beside what runs in real time
			out, err := exec.Command("nice", append(args, file)...).CombinedOutput()
			if err != nil {
				return "", fmt.Errorf("scenario: ffmpeg %s: %w\n%s", key, err, out)
			}
			return file, nil
		})
		l.clips[key] = make
	}
	l.mu.Unlock()
	return make()
}
