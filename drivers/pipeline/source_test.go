package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"minglu/drivers"
	"minglu/drivers/annexb"
	"minglu/drivers/driverstest"
)

var boot = time.Now()

func uptime() time.Duration { return time.Hour + time.Since(boot) }

// generate is a command that plays camera: a test picture encoded by ffmpeg, in real time.
func generate(args ...string) []string {
	c := []string{"ffmpeg", "-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i", "testsrc=s=320x180:r=25,format=yuv420p"}
	return append(append(c, args...), "-f", "mpegts", "-omit_video_pes_length", "0", "-flush_packets", "1", "-muxdelay", "0", "-muxpreload", "0", "pipe:1")
}

var x264 = []string{"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10"}

func source(t *testing.T, o SourceOptions) *Source {
	t.Helper()
	o.Uptime, o.Name, o.Dir = uptime, "face", t.TempDir()
	s, err := NewSource(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestProcessIsACamera: what every camera must do, with each codec, and with pictures out of order.
func TestProcessIsACamera(t *testing.T) {
	for name, args := range map[string][]string{
		"h264":                 x264,
		"h264 with B pictures": {"-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-b_strategy", "0", "-g", "10", "-x264-params", "rc-lookahead=0:sync-lookahead=0"},
		"h265":                 {"-c:v", "libx265", "-preset", "ultrafast", "-tune", "zerolatency", "-x265-params", "keyint=10:log-level=error"},
	} {
		t.Run(name, func(t *testing.T) {
			driverstest.Camera(t, driverstest.CameraOptions{Camera: source(t, SourceOptions{Command: generate(args...)}), Uptime: uptime, Pictures: 20, Within: 20 * time.Second})
		})
	}
}

// TestEveryPictureOnceAndInTime: 25 a second, none lost, at their own times.
func TestEveryPictureOnceAndInTime(t *testing.T) {
	s := source(t, SourceOptions{Command: generate(append([]string{"-t", "2"}, x264...)...)})
	out := driverstest.NewStrict(t, uptime)
	err := s.Run(t.Context(), out)
	if p := (*drivers.Problem)(nil); !errors.As(err, &p) || p.Code != "pipeline" {
		t.Errorf("Run() = %v, want the process's end", err)
	}
	x := out.Samples()
	if len(x) != 50 || len(out.Losses()) > 0 {
		t.Fatalf("%d pictures, lost %v", len(x), out.Losses())
	}
	for i := range x[1:] {
		if d := x[i+1].DTS - x[i].DTS; d != 3600 {
			t.Errorf("picture %d is %d ticks after the one before", i+1, d)
		}
	}
	if d := out.Described(); d.Formats[0].Width != 320 || d.Identity != "pipeline ffmpeg" || d.Shown != (drivers.Shown{}) {
		t.Errorf("described as %+v", d)
	}
}

func TestProcessesThatFail(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, tt := range []struct {
		rule    string
		command []string
		code    string
		says    string
	}{
		{"one that is not there", []string{none}, "not-found", "install it"},
		{"one that is not in the path", []string{"minglu-no-such-program"}, "not-found", "install it"},
		{"one that dies says why", []string{"sh", "-c", "echo /dev/video9: busy >&2; exit 3"}, "pipeline", "/dev/video9: busy"},
		{"one that dies without a word", []string{"sh", "-c", "exit 3"}, "pipeline", "exit status 3"},
		{"one that says a login", []string{"sh", "-c", "echo rtsp://admin:secret@cam/1 refused >&2"}, "pipeline", "rtsp://***@cam/1"},
		{"one that says a login at the edge of what is kept", []string{"sh", "-c", "echo rtsp://admin:secret@cam/1 " + strings.Repeat("x", tailBytes-16) + " >&2"}, "pipeline", "xxxx"},
		{"one that gives nothing", []string{"sleep", "1000"}, "no-frames", "started anew"},
		{"one that will not end", []string{"sh", "-c", "trap '' TERM; sleep 1000 & wait; sleep 1000"}, "no-frames", "started anew"},
		{"one whose child holds the pipe", []string{"setsid", "sh", "-c", "sleep 8 & sleep 1000"}, "no-frames", "started anew"},
		{"one that writes something else", []string{"cat", "/dev/zero"}, "protocol", "mpegts"},
		{"one that gives a film of another codec", []string{"ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=320x180:r=25", "-c:v", "mpeg2video", "-q", "1", "-f", "mpegts", "-"}, "codec", "libx264"},
		{"one that talks without end is bounded", []string{"sh", "-c", "while :; do echo nonsense >&2; done"}, "no-frames", "nonsense"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			t.Parallel()
			s := source(t, SourceOptions{Command: tt.command, Silence: 700 * time.Millisecond})
			if tt.code == "codec" {
				s.o.Silence = 20 * time.Second
			}
			err := s.Run(t.Context(), driverstest.NewStrict(t, uptime))
			var p *drivers.Problem
			if !errors.As(err, &p) || p.Code != tt.code || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "secret") || len(err.Error()) > 1000 {
				t.Errorf("Run() = %v, want %s: %s", err, tt.code, tt.says)
			}
		})
	}
}

// TestGroupEndsWithRun: nothing of a process lives on, be it stopped or ended by itself.
func TestGroupEndsWithRun(t *testing.T) {
	for _, end := range []string{"wait", "exit 0"} {
		file := filepath.Join(t.TempDir(), "pid")
		s := source(t, SourceOptions{Command: []string{"sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $! > " + file + ".new; mv " + file + ".new " + file + "; " + end}})
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx, driverstest.NewStrict(t, uptime)) }()
		var pid int
		for pid == 0 {
			b, _ := os.ReadFile(file)
			pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
			time.Sleep(time.Millisecond)
		}
		cause := errors.New("asked to stop")
		if end == "wait" {
			cancel(cause)
		}
		if err := <-done; end == "wait" && !errors.Is(err, cause) {
			t.Errorf("Run() = %v", err)
		}
		cancel(nil)
		for until := time.Now().Add(5 * time.Second); syscall.Kill(pid, 0) == nil && !zombie(pid); {
			if time.Now().After(until) {
				t.Fatalf("%s: the child lives on", end)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func zombie(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return bytes.Contains(b, []byte(") Z"))
}

// overlayFunc is text that a function makes.
type overlayFunc func() string

func (f overlayFunc) Shown() drivers.Shown         { return drivers.Shown{Time: drivers.ShownByBoard} }
func (f overlayFunc) Lines(time.Duration) []string { return strings.Split(f(), "\n") }

// TestOverlay: what the agent says stands in the picture, follows it, and the record says whose clock it is.
func TestOverlay(t *testing.T) {
	font := "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"
	text := make(chan string, 1)
	text <- "询问室三 2026-11-25"
	shown := ""
	s := source(t, SourceOptions{
		Template: "black",
		Command: append(append([]string{"ffmpeg", "-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i", "color=black:s=640x64:r=10,format=yuv420p",
			"-vf", "drawtext=fontfile=" + font + ":textfile=" + OverlayFile + ":reload=1:expansion=none:fontcolor=white:fontsize=32:x=8:y=8"}, x264...), "-f", "mpegts", "pipe:1"),
		Overlay: overlayFunc(func() string {
			select {
			case shown = <-text:
			default:
			}
			return shown
		}),
	})
	out := driverstest.NewStrict(t, uptime)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, out) }()
	wait := func(n int) []drivers.Sample {
		t.Helper()
		select {
		case <-out.After(n):
		case err := <-done:
			t.Fatalf("Run() = %v", err)
		case <-time.After(20 * time.Second):
			t.Fatal("no pictures")
		}
		return out.Samples()
	}
	first := wait(5)[0]
	if d := out.Described(); d.Shown != (drivers.Shown{Time: drivers.ShownByBoard}) || d.Identity != "pipeline ffmpeg (black)" {
		t.Errorf("described as %+v, which does not say whose time is seen", d)
	}
	text <- ""
	n := len(out.Samples())
	var later drivers.Sample
	for i := n + 21; later.Data == nil; i++ { // two seconds on, the next keyframe
		if x := wait(i); x[i-1].Keyframe {
			later = x[i-1]
		}
	}
	cancel()
	<-done
	left, _ := filepath.Glob(filepath.Join(s.o.Dir, "*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if a, b := bright(t, first), bright(t, later); a < 500 || b > 20 {
		t.Errorf("%d bright pixels with text, %d without", a, b)
	}
}

// bright counts the bright pixels of a keyframe.
func bright(t *testing.T, s drivers.Sample) (n int) {
	t.Helper()
	var b []byte
	for _, u := range [][]byte{s.Format.SPS, s.Format.PPS} {
		b = append(append(b, 0, 0, 0, 1), u...)
	}
	for d := s.Data; len(d) > 0; {
		k := 4 + int(d[0])<<24 + int(d[1])<<16 + int(d[2])<<8 + int(d[3])
		b = append(append(b, 0, 0, 0, 1), d[4:k]...)
		d = d[k:]
	}
	c := exec.Command("ffmpeg", "-v", "error", "-f", "h264", "-i", "pipe:0", "-frames:v", "1", "-pix_fmt", "gray", "-f", "rawvideo", "pipe:1")
	c.Stdin = bytes.NewReader(b)
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range out {
		if v > 128 {
			n++
		}
	}
	return n
}

func TestDrawable(t *testing.T) {
	for in, want := range map[string]string{
		"询问室三\n23.4°C 45%RH": "询问室三\n23.4°C 45％RH",
		"%{localtime}\\n":    "％{localtime}＼n",
		"a\x00b\x1bc\xff":    "abc",
	} {
		if got := drawable(in); got != want {
			t.Errorf("drawable(%q) = %q, want %q", in, got, want)
		}
	}
	if got := []rune(drawable(strings.Repeat("字", 2*maxOverlay))); len(got) != maxOverlay {
		t.Errorf("%d characters", len(got))
	}
}

func TestNewSourceRefuses(t *testing.T) {
	for _, o := range []SourceOptions{{}, {Uptime: uptime}, {Uptime: uptime, Command: []string{""}}, {Uptime: uptime, Command: []string{"x", OverlayFile}}} {
		if _, err := NewSource(o); err == nil {
			t.Errorf("NewSource(%v) is content", o.Command)
		}
	}
	s := source(t, SourceOptions{Command: []string{"ffmpeg", "-i", "rtsp://admin:secret@cam"}})
	if text := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(text, "secret") {
		t.Error("printing a source shows a password")
	}
}

// stream is a whole transport stream of ffmpeg.
func stream(t testing.TB, args ...string) []byte {
	c := append([]string{"-v", "error", "-f", "lavfi", "-i", "testsrc=s=320x180:r=25,format=yuv420p", "-t", "1"}, args...)
	out, err := exec.Command("ffmpeg", append(c, "-f", "mpegts", "pipe:1")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// demux counts what comes of a stream.
func demux(b []byte) (units, lost int, last int64, err error) {
	d := &demuxer{uptime: uptime, begin: func(drivers.Codec) {}, lost: func(string) { lost++ }, unit: func(au []byte, pts, dts int64, _ time.Duration) {
		units++
		last = dts
	}}
	err = d.read(bytes.NewReader(b))
	return units, lost, last, err
}

// TestDamagedStream: damage is told and passes.
func TestDamagedStream(t *testing.T) {
	whole := stream(t, x264...)
	all, lost, _, _ := demux(whole)
	if all != 24 || lost != 0 { // the 25th has no successor that ends it
		t.Fatalf("%d access units, %d losses", all, lost)
	}
	packets := len(whole) / packetBytes
	for _, tt := range []struct {
		rule   string
		change func(b []byte) []byte
	}{
		{"a packet is missing", func(b []byte) []byte { return append(b[:packets/2*packetBytes], b[(packets/2+1)*packetBytes:]...) }},
		{"bytes are missing", func(b []byte) []byte { return append(b[:packets/2*packetBytes+50], b[packets/2*packetBytes+90:]...) }},
		{"junk is between", func(b []byte) []byte {
			at := packets / 2 * packetBytes
			return append(append(bytes.Clone(b[:at]), bytes.Repeat([]byte{1}, 1000)...), b[at:]...)
		}},
		{"a packet says that it is broken", func(b []byte) []byte { b[packets/2*packetBytes+1] |= 0x80; return b }},
	} {
		n, lost, _, _ := demux(tt.change(bytes.Clone(whole)))
		if n < all-3 || lost == 0 {
			t.Errorf("%s: %d access units of %d, %d losses", tt.rule, n, all, lost)
		}
	}
	if n, lost, _, _ := demux(append(bytes.Clone(whole[:40*packetBytes]), whole[39*packetBytes:]...)); n != all || lost != 0 {
		t.Errorf("a packet sent twice: %d access units, %d losses", n, lost)
	}
}

// TestTimesRunOnOverTheWrap: times of 33 bits wrap after 26.5 hours.
func TestTimesRunOnOverTheWrap(t *testing.T) {
	b := stream(t, append(x264, "-output_ts_offset", "95441.9")...) // 2^33 ticks are 95443.7 s
	n, _, last, _ := demux(b)
	if want := int64(95443.2*annexb.ClockHz) + 20*3600; n != 24 || last < want {
		t.Errorf("%d access units, the last at %d, want more than %d", n, last, want)
	}
}

// FuzzDemux feeds any bytes: no panic, times that are whole, nothing longer than what came.
func FuzzDemux(f *testing.F) {
	b := stream(f, x264...)
	f.Add(b[:20*packetBytes])
	f.Add(append(b[:5*packetBytes:5*packetBytes], b[7*packetBytes:12*packetBytes]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &demuxer{uptime: uptime, begin: func(drivers.Codec) {}, lost: func(cause string) {
			if cause == "" {
				t.Error("a loss without cause")
			}
		}, unit: func(au []byte, pts, dts int64, _ time.Duration) {
			if len(au) == 0 || len(au) > len(b) || pts-dts > 1<<32 || dts-pts > 1<<32 {
				t.Errorf("access unit of %d bytes at %d, %d", len(au), pts, dts)
			}
		}}
		if err := d.read(bytes.NewReader(b)); err == nil {
			t.Error("read() ends without a cause")
		}
	})
}

// Command lines as a board would have them.
func ExampleNewSource() {
	began := time.Now()
	camera, err := NewSource(SourceOptions{
		Name: "被询问人",
		Command: []string{"ffmpeg", "-v", "error", "-nostdin", "-f", "v4l2", "-input_format", "mjpeg", "-video_size", "1280x720", "-framerate", "25",
			"-i", "/dev/v4l/by-id/usb-maker_model-video-index0",
			"-vf", "drawtext=fontfile=/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc:textfile={overlay}:reload=1:expansion=none:fontcolor=white:box=1:boxcolor=black@0.5:x=8:y=8",
			"-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-g", "25", "-f", "mpegts", "-omit_video_pes_length", "0", "pipe:1"},
		Overlay: overlayFunc(func() string { return time.Now().Format("2006-01-02 15:04:05") }),
		Uptime:  func() time.Duration { return time.Since(began) },
	})
	fmt.Println(camera, err)
	// Output: pipeline ffmpeg <nil>
}
