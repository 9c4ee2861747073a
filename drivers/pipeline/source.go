package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"minglu/drivers"
	"minglu/drivers/annexb"
)

// OverlayFile stands in a command for the file whose text is drawn into the picture.
const OverlayFile = "{overlay}"

// Defaults of [SourceOptions].
const (
	DefaultSilence = 10 * time.Second
	stopWait       = time.Second // from asking a process to end to killing it
)

// SourceOptions say which process plays camera. They come from the configuration of the board alone.
type SourceOptions struct {
	Command  []string             // program and arguments, no shell; writes an MPEG transport stream to its standard output
	Name     string               // of the camera, for people
	Template string               // what Command was made from, for the record; "": unknown
	Overlay  drivers.Overlay      // text to draw, asked for each second; needed if Command has OverlayFile
	Dir      string               // where the overlay's file may lie; "": the system's folder for such files
	Uptime   func() time.Duration // time since boot, monotonic; required
	Log      *slog.Logger         // nil: nothing is logged
	Silence  time.Duration        // a process without picture for so long is ended; 0: DefaultSilence
}

// Source is a camera behind a process. It implements drivers.Source. Run must not be called twice at a time.
type Source struct {
	o       SourceOptions
	overlay bool
}

var _ drivers.Source = (*Source)(nil)

// NewSource checks the options; it starts nothing.
func NewSource(o SourceOptions) (*Source, error) {
	s := &Source{o: o, overlay: slices.ContainsFunc(o.Command, func(a string) bool { return strings.Contains(a, OverlayFile) })}
	switch {
	case o.Uptime == nil:
		return nil, errors.New("pipeline: options: Uptime is missing")
	case len(o.Command) == 0 || o.Command[0] == "":
		return nil, errors.New("pipeline: options: Command is missing")
	case s.overlay && o.Overlay == nil:
		return nil, errors.New("pipeline: options: Command has " + OverlayFile + ", and there is no Overlay")
	}
	if s.o.Log == nil {
		s.o.Log = slog.New(slog.DiscardHandler)
	}
	s.o.Silence = cmp.Or(o.Silence, DefaultSilence)
	s.o.Command = slices.Clone(o.Command)
	return s, nil
}

// String is the program's name; the arguments may hold a password.
func (s *Source) String() string { return "pipeline " + filepath.Base(s.o.Command[0]) }

// GoString is String.
func (s *Source) GoString() string { return s.String() }

// LogValue is String for slog.
func (s *Source) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Run starts the process and delivers its pictures to out until ctx ends or the process does, and returns
// the cause: that of ctx, or a *drivers.Problem with the end of what the process said. When it returns,
// the process and its group have ended. It blocks up to stopWait longer than ctx.
func (s *Source) Run(ctx context.Context, out drivers.Sink) error {
	err := s.run(ctx, out)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.problem(err)
}

func (s *Source) run(outer context.Context, out drivers.Sink) error {
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	args := slices.Clone(s.o.Command)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	if s.overlay {
		o, err := newOverlay(s.o.Dir, s.text)
		if err != nil {
			return fmt.Errorf("overlay: %w", err)
		}
		kept := make(chan struct{})
		go func() { defer close(kept); o.keep(ctx, s.o.Log) }()
		defer func() { cancel(nil); <-kept; o.remove() }()
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], OverlayFile, o.file)
		}
	}
	c := exec.Command(args[0], args[1:]...)
	c.Env = []string{"LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-C is the agent's business
	c.WaitDelay = 2 * time.Second
	said := &tail{}
	c.Stderr = said
	stdout, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	g := &group{id: c.Process.Pid}
	wg.Go(func() {
		<-ctx.Done()
		g.kill(syscall.SIGTERM)
	})
	var last atomic.Int64
	last.Store(int64(s.o.Uptime()))
	wg.Go(func() { s.watch(ctx, &last, cancel) })
	// Whoever holds the other end may live longer than the process: reading must end all the same.
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(stopWait, func() {
			g.kill(syscall.SIGKILL)
			stdout.Close()
		})
	})()
	err = s.read(stdout, out, &last)
	cause := context.Cause(ctx)
	if cause != nil || !errors.Is(err, io.EOF) {
		g.kill(syscall.SIGTERM)
	} else {
		err = nil // it ends by itself: let it say why
	}
	late := time.AfterFunc(stopWait, func() { g.kill(syscall.SIGKILL) })
	waited := c.Wait()
	late.Stop()
	g.end()
	if err == nil {
		err = waited
	}
	if cause != nil {
		err = cause
	}
	return &ending{err: err, said: said.text()}
}

// group is the group of a process.
type group struct {
	mu    sync.Mutex
	id    int
	ended bool
}

func (g *group) kill(s syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ended {
		_ = syscall.Kill(-g.id, s)
	}
}

// end kills what the process left behind. The group's number may be another's from now on.
func (g *group) end() {
	g.kill(syscall.SIGKILL)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
}

// watch ends a process that gives no picture.
func (s *Source) watch(ctx context.Context, last *atomic.Int64, end context.CancelCauseFunc) {
	tick := time.NewTicker(max(s.o.Silence/8, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.o.Uptime()-time.Duration(last.Load()) >= s.o.Silence {
			end(errSilent)
			return
		}
	}
}

var errSilent = errors.New("no picture")

// read takes the process's output apart into samples.
func (s *Source) read(r io.Reader, out drivers.Sink, last *atomic.Int64) error {
	t := &annexb.Track{
		Open: func(f *drivers.Format) {
			out.Open(drivers.Description{Formats: []*drivers.Format{f}, Identity: s.identity(), Shown: s.shown()})
		},
		Sample: func(x drivers.Sample) {
			last.Store(int64(x.Arrival))
			out.Sample(x)
		},
		Lost: func(n int, cause string) { out.Lost(0, n, cause) },
	}
	d := &demuxer{
		uptime: s.o.Uptime,
		begin:  func(c drivers.Codec) { t.Codec = c },
		lost:   func(cause string) { t.Gap(1, cause) },
		unit: func(au []byte, pts, dts int64, arrival time.Duration) {
			if err := t.Add(au, pts, dts, arrival); err != nil {
				s.o.Log.Debug("pipeline: picture dropped", "err", err)
			}
		},
	}
	return d.read(r)
}

func (s *Source) identity() string {
	id := s.String()
	if s.o.Template != "" {
		id += " (" + s.o.Template + ")"
	}
	return id
}

// text is what is drawn at this moment.
func (s *Source) text() string { return strings.Join(s.o.Overlay.Lines(s.o.Uptime()), "\n") }

// shown is known of a command that has a place for the text; another may draw what it likes.
func (s *Source) shown() drivers.Shown {
	if !s.overlay {
		return drivers.Shown{}
	}
	return s.o.Overlay.Shown()
}

// ending is why a process gave no more.
type ending struct {
	err  error
	said string
}

func (e *ending) Error() string {
	text := "the process ended"
	if e.err != nil {
		text = e.err.Error()
	}
	if e.said != "" {
		text += ": " + e.said
	}
	return text
}

func (e *ending) Unwrap() error { return e.err }

// problem says what an error means to the person in the room.
func (s *Source) problem(err error) error {
	program := filepath.Base(s.o.Command[0])
	var p *drivers.Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist) && errors.As(err, new(*fs.PathError)), errors.Is(err, fs.ErrPermission) && errors.As(err, new(*fs.PathError)):
		return &drivers.Problem{Code: "not-found", Err: err,
			Zh: fmt.Sprintf("摄像机 %s 所需的程序 %s 无法运行：请安装（例如 apt install ffmpeg），并核对配置中 pipeline.command 的第一项", s.o.Name, program),
			En: fmt.Sprintf("the program %s that camera %s needs cannot be run: install it (such as apt install ffmpeg), and check the first word of pipeline.command in the configuration", program, s.o.Name)}
	case errors.Is(err, errSilent):
		return &drivers.Problem{Code: "no-frames", Err: err,
			Zh: fmt.Sprintf("摄像机 %s 的程序 %s 在 %v 内没有送来图像，已重新启动：请检查摄像机和编码器", s.o.Name, program, s.o.Silence),
			En: fmt.Sprintf("the program %s of camera %s gave no picture for %v and is started anew: check the camera and the encoder", program, s.o.Name, s.o.Silence)}
	case errors.Is(err, errNoTS):
		return &drivers.Problem{Code: "protocol", Err: err,
			Zh: fmt.Sprintf("摄像机 %s 的程序 %s 没有输出 MPEG-TS：请在 pipeline.command 末尾写 -f mpegts pipe:1（GStreamer 用 mpegtsmux ! fdsink）", s.o.Name, program),
			En: fmt.Sprintf("the program %s of camera %s writes no MPEG-TS: end pipeline.command with -f mpegts pipe:1 (GStreamer: mpegtsmux ! fdsink)", program, s.o.Name)}
	case errors.Is(err, errNoPicture), errors.Is(err, errCodec):
		return &drivers.Problem{Code: "codec", Err: err,
			Zh: fmt.Sprintf("摄像机 %s 的程序 %s 没有输出 H.264 或 H.265：请在 pipeline.command 中选用相应的编码器，例如 -c:v libx264", s.o.Name, program),
			En: fmt.Sprintf("the program %s of camera %s gives no H.264 or H.265: choose such an encoder in pipeline.command, as -c:v libx264", program, s.o.Name)}
	}
	return &drivers.Problem{Code: "pipeline", Err: err,
		Zh: fmt.Sprintf("摄像机 %s 的程序 %s 停止了，正在重新启动：请检查摄像机是否插好，并按其报错修改 pipeline.command", s.o.Name, program),
		En: fmt.Sprintf("the program %s of camera %s ended and is started again: check that the camera is plugged in, and mend pipeline.command as it says", program, s.o.Name)}
}

var loginInURL = regexp.MustCompile(`://[^/@\s]*@`)

// redacted hides logins in what a process says.
func redacted(s string) string { return loginInURL.ReplaceAllString(s, "://***@") }
