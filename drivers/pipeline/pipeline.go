// Package pipeline works media with processes: cameras whose pictures an ffmpeg or GStreamer process
// encodes, and decoders for looking at what is recorded.
//
// A [Source] is a camera behind a process of the board's configuration, never of a page or an API. The
// process writes an MPEG transport stream to its standard output: every such program can, it carries
// presentation and decoding times, says when a packet is missing, and can be joined again after damage; a
// bare byte stream has no times, and fragmented MP4 neither survives damage nor says when parameter sets
// change. Its guarantees are those of [drivers.Source]; the process is killed with its group, what it says
// is bounded and stands in the error without logins, and text is drawn into the picture by way of a file
// that is replaced each second. Sound in the stream is left out: microphones are sources of their own.
// It does not start a process again (package capture does), nor choose its arguments.
// Faults it tells: not-found, pipeline (the process ended), protocol, codec, no-frames.
//
// A decoder [FFmpeg] is for looking at pictures and sound, not for recording them. Its guarantees: the process gets fragmented MP4 on its standard input and nothing else (no file, no
// network, no shell, a fixed list of arguments); it runs at low priority with one thread; one that
// hangs is killed; when a call returns, its process has ended. Each
// picture comes out as soon as it is in.
//
// It is made for keyframes: the caller hands over only those it wants decoded.
package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Defaults of [Options].
const (
	DefaultNice = 10
	DefaultHang = 15 * time.Second
)

// MaxSide bounds the pictures that can be asked for, in pixels.
const MaxSide = 1920

// ErrNone says that there is no ffmpeg here: install it, or go without.
var ErrNone = errors.New("no ffmpeg")

// errHangs is why a process was killed that took input and gave nothing.
var errHangs = errors.New("the process hangs")

// Options say how to run ffmpeg. They come from the configuration of the board, never from a page or
// an API.
type Options struct {
	Path string        // of the program; "": ffmpeg in PATH
	Nice int           // added to the priority number, 0 to 19; 0: DefaultNice
	Hang time.Duration // killed after so long with input and without output; 0: DefaultHang
}

// FFmpeg starts decoders. Its methods are safe for concurrent use; each call has a process of its own.
type FFmpeg struct {
	o    Options
	path string
	cpu  atomic.Int64 // ns of processes that have ended
}

// New looks for the program. The error wraps [ErrNone] if it is not there.
func New(o Options) (*FFmpeg, error) {
	if o.Path == "" {
		o.Path = "ffmpeg"
	}
	if o.Nice == 0 {
		o.Nice = DefaultNice
	}
	if o.Hang <= 0 {
		o.Hang = DefaultHang
	}
	path, err := exec.LookPath(o.Path)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w at %q: %w", ErrNone, o.Path, err)
	}
	return &FFmpeg{o: o, path: path}, nil
}

// CPU is the time spent by the processes that have ended.
func (f *FFmpeg) CPU() time.Duration { return time.Duration(f.cpu.Load()) }

// input is what comes before the filters: only the MP4 demuxer, only a pipe, as little looking ahead
// as possible.
var input = []string{
	"-hide_banner", "-loglevel", "error", "-nostdin", "-protocol_whitelist", "pipe",
	"-probesize", "32", "-analyzeduration", "0", "-fpsprobesize", "0",
	"-threads", "1", "-flags", "low_delay", "-f", "mp4", "-i", "pipe:0",
}

// Gray decodes pictures to 8-bit gray in full range, width×height, top row first. The pixels are
// picked, not averaged: averages would hide the noise by which a live picture differs from a frozen
// one. It blocks until ctx ends or the process does and returns the cause, never nil. out must not
// keep its argument, nor block for long.
func (f *FFmpeg) Gray(ctx context.Context, in <-chan []byte, width, height int, out func(pix []byte)) error {
	if width < 2 || height < 2 || width > MaxSide || height > MaxSide {
		return fmt.Errorf("pipeline: a picture of %d×%d: want 2 to %d", width, height, MaxSide)
	}
	args := append(append([]string{}, input...), "-map", "0:v:0", "-vf",
		"scale="+strconv.Itoa(width)+":"+strconv.Itoa(height)+":flags=neighbor:out_range=full,format=gray",
		"-fps_mode", "passthrough", "-f", "rawvideo", "-threads", "1", "-flush_packets", "1", "pipe:1") // a thread more holds a picture back
	return f.run(ctx, in, args, func(r io.Reader, moved func()) error {
		pix := make([]byte, width*height)
		for {
			if _, err := io.ReadFull(r, pix); err != nil {
				return err
			}
			moved()
			out(pix)
		}
	})
}

// PCM decodes sound to signed 16-bit little endian, interleaved, with the source's own rate and
// channels, in pieces of whole values. Otherwise as [FFmpeg.Gray].
func (f *FFmpeg) PCM(ctx context.Context, in <-chan []byte, out func(pcm []byte)) error {
	args := append(append([]string{}, input...), "-map", "0:a:0", "-f", "s16le", "-threads", "1", "-flush_packets", "1", "pipe:1")
	return f.run(ctx, in, args, func(r io.Reader, moved func()) error {
		buf := make([]byte, 16<<10)
		odd := 0
		for {
			n, err := r.Read(buf[odd:])
			if n += odd; n > 1 {
				moved()
				out(buf[:n&^1])
			}
			if odd = n & 1; odd == 1 {
				buf[0] = buf[n-1]
			}
			if err != nil {
				return err
			}
		}
	})
}

// run starts a process, feeds it and reads it until one of them ends.
func (f *FFmpeg) run(ctx context.Context, in <-chan []byte, args []string, read func(io.Reader, func()) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := exec.CommandContext(ctx, f.path, args...)
	c.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	c.WaitDelay = 2 * time.Second
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-C is the agent's business
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	said := &tail{}
	c.Stderr = said
	stdin, err := c.StdinPipe()
	if err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("pipeline: start: %w", err)
	}
	// The process has no privilege to lose; a kernel that refuses this leaves it as it is.
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, c.Process.Pid, f.o.Nice)

	// Whoever holds the other end may live longer than the process: reading must end all the same.
	defer context.AfterFunc(ctx, func() { stdout.Close() })()
	var p progress
	var wg sync.WaitGroup
	wg.Go(func() {
		defer stdin.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case b, ok := <-in:
				if !ok {
					return
				}
				p.writing.Store(true)
				_, err := stdin.Write(b)
				p.writing.Store(false)
				if p.fed.Add(1); err != nil {
					return
				}
			}
		}
	})
	wg.Go(func() { p.watch(ctx, f.o.Hang, cancel) })
	readErr := read(stdout, func() { p.given.Add(1) })
	cause := context.Cause(ctx)
	cancel(nil)
	wg.Wait()
	waitErr := c.Wait()
	if s := c.ProcessState; s != nil {
		f.cpu.Add(int64(s.UserTime() + s.SystemTime()))
	}
	switch {
	case cause != nil:
		return fmt.Errorf("pipeline: %w", cause)
	case said.text() != "":
		return fmt.Errorf("pipeline: ffmpeg: %s", said.text())
	}
	return fmt.Errorf("pipeline: ffmpeg ended: %w", errors.Join(readErr, waitErr))
}

// progress is what the watch looks at.
type progress struct {
	fed, given atomic.Int64 // pieces taken, pieces given out
	writing    atomic.Bool  // a piece is on its way in
}

// ahead is how many pieces may go in before something must come out: the init, and what a decoder that
// reorders pictures may hold back.
const ahead = 5

// watch kills a process that does not take its input, or takes much of it and gives nothing, for limit.
func (p *progress) watch(ctx context.Context, limit time.Duration, kill context.CancelCauseFunc) {
	step := max(limit/8, time.Millisecond)
	tick := time.NewTicker(step)
	defer tick.Stop()
	var fed, given int64 // when something last came out
	still := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch out := p.given.Load(); {
		case out != given:
			fed, given, still = p.fed.Load(), out, 0
		case p.writing.Load() || p.fed.Load()-fed > ahead:
			still += step
		default:
			still = 0
		}
		if still >= limit {
			kill(errHangs)
			return
		}
	}
}

// tail keeps the end of what a process says.
type tail struct {
	mu  sync.Mutex
	b   []byte
	cut bool // something came before b
}

const tailBytes = 400

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > tailBytes {
		t.b = append([]byte(nil), t.b[len(t.b)-tailBytes:]...)
		t.cut = true
	}
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.b
	if t.cut { // half a word may be half a login
		b = b[bytes.IndexAny(b, " \n\t")+1:]
	}
	return redacted(string(bytes.ToValidUTF8(bytes.TrimSpace(b), nil)))
}
