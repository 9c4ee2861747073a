package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clip makes fragmented MP4 with the real ffmpeg and cuts it into an init and fragments.
func clip(t *testing.T, args ...string) [][]byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clip.mp4")
	args = append(append([]string{"-v", "error"}, args...), "-movflags", "frag_every_frame+empty_moov+default_base_moof", file)
	if out, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var pieces [][]byte
	var piece []byte
	for len(b) >= 8 {
		n := binary.BigEndian.Uint32(b)
		kind := string(b[4:8])
		if kind != "mfra" {
			piece = append(piece, b[:n]...)
		}
		if kind == "moov" || kind == "mdat" {
			pieces, piece = append(pieces, piece), nil
		}
		b = b[n:]
	}
	return pieces
}

func open(t *testing.T, o Options) *FFmpeg {
	t.Helper()
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// steps is a clip whose picture n is of luma 16+20n.
var steps = []string{"-f", "lavfi", "-i", "color=black:s=320x180:r=1,format=yuv420p,geq=lum='16+20*N':cb=128:cr=128", "-t", "8"}

// TestGrayComesAtOnce: each picture is out before the next is in, whatever the codec reorders.
func TestGrayComesAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"h264", []string{"-c:v", "libx264", "-g", "1"}},
		{"h264 that tells of reordering", []string{"-c:v", "libx264", "-bf", "2", "-x264-params", "keyint=1:bframes=2"}},
		{"h265", []string{"-c:v", "libx265", "-x265-params", "keyint=1:log-level=error"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pieces := clip(t, append(append([]string{}, steps...), tt.args...)...)
			f := open(t, Options{})
			ctx, cancel := context.WithCancelCause(t.Context())
			in, got := make(chan []byte), make(chan byte, 100)
			done := make(chan error, 1)
			go func() { done <- f.Gray(ctx, in, 32, 18, func(pix []byte) { got <- pix[9*32+16] }) }()
			in <- pieces[0]
			for n, p := range pieces[1:] {
				in <- p
				want := float64(20*n) * 255 / 219
				select {
				case v := <-got:
					if d := float64(v) - want; d < -4 || d > 4 {
						t.Errorf("picture %d is of luma %d, want %.0f of 255", n, v, want)
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("picture %d did not come", n)
				}
			}
			cancel(errors.New("asked to stop"))
			if err := <-done; err == nil || !strings.Contains(err.Error(), "asked to stop") {
				t.Errorf("Gray() = %v, want the reason", err)
			}
			if f.CPU() <= 0 {
				t.Error("no CPU time counted")
			}
		})
	}
}

func TestPCM(t *testing.T) {
	for _, codec := range []string{"aac", "libopus"} {
		pieces := clip(t, "-f", "lavfi", "-i", "sine=frequency=400:sample_rate=48000", "-t", "2", "-c:a", codec)
		f := open(t, Options{})
		in := make(chan []byte, len(pieces))
		for _, p := range pieces {
			in <- p
		}
		close(in)
		bytes, loudest := 0, 0
		err := f.PCM(t.Context(), in, func(pcm []byte) {
			bytes += len(pcm)
			for ; len(pcm) >= 2; pcm = pcm[2:] {
				loudest = max(loudest, int(int16(binary.LittleEndian.Uint16(pcm))))
			}
		})
		if err == nil || bytes < 2*90000 || bytes > 2*110000 || loudest < 3000 {
			t.Errorf("%s: %d bytes, loudest %d, err %v; want 2 s of sound", codec, bytes, loudest, err)
		}
	}
}

// program writes a shell script that stands in for ffmpeg.
func program(t *testing.T, script string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ffmpeg")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAProcessThatFails(t *testing.T) {
	for _, tt := range []struct{ rule, script, want string }{
		{"one that dies says why", "echo no such codec >&2; exit 3", "no such codec"},
		{"one that dies without a word", "exit 3", "exit status 3"},
		{"one that eats and gives nothing is killed", "cat >/dev/null", "hangs"},
		{"one that does not eat is killed", "sleep 1000", "hangs"},
		{"one whose child holds the pipes is killed with it", "sleep 1000 & wait", "hangs"},
		{"one that talks without end is bounded", "while :; do echo nonsense >&2; done", "hangs"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := open(t, Options{Path: program(t, tt.script), Hang: 300 * time.Millisecond})
			ctx, cancel := context.WithCancel(t.Context())
			in := make(chan []byte)
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					select {
					case in <- make([]byte, 100<<10):
					case <-ctx.Done():
						return
					}
				}
			})
			err := f.Gray(ctx, in, 32, 18, func([]byte) {})
			cancel()
			wg.Wait()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Gray() = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestGarbageIsRefusedByFFmpeg(t *testing.T) {
	f := open(t, Options{Hang: 5 * time.Second})
	in := make(chan []byte, 1)
	in <- []byte(strings.Repeat("#EXTM3U file:///etc/passwd\n", 1000))
	close(in)
	err := f.Gray(t.Context(), in, 32, 18, func([]byte) { t.Error("a picture of it") })
	if err == nil || errors.Is(err, errHangs) {
		t.Errorf("Gray() = %v", err)
	}
}

func TestWhatCannotRun(t *testing.T) {
	if _, err := New(Options{Path: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, ErrNone) {
		t.Errorf("New() = %v, want ErrNone", err)
	}
	f := open(t, Options{})
	for _, side := range []int{0, 1, MaxSide + 1} {
		if err := f.Gray(t.Context(), nil, side, 18, nil); err == nil {
			t.Errorf("a picture of width %d was accepted", side)
		}
	}
}

func TestPriorityIsLow(t *testing.T) {
	f := open(t, Options{Path: program(t, `cut -d" " -f19 /proc/self/stat >&2`), Nice: 7})
	// The priority is set right after the start: a process this short may have looked before.
	var err error
	for range 20 {
		if err = f.Gray(t.Context(), make(chan []byte), 32, 18, func([]byte) {}); err != nil && strings.HasSuffix(err.Error(), fmt.Sprint(7)) {
			return
		}
	}
	t.Errorf("the process runs at another priority: %v", err)
}
