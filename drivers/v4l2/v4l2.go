// Package v4l2 takes pictures from cameras of the kernel's Video4Linux (USB, CSI, HDMI grabbers): coded
// H.264 and H.265 as the camera makes them, and raw pictures through a video encoder of the board, both
// by memory-mapped buffers, over the single- and the multi-planar interface. Raw pictures get date, time and place
// drawn in before they are coded, where Options say so. Source: Linux Media
// Infrastructure userspace API, Part I; structures of include/uapi/linux/videodev2.h. No C.
//
// It guarantees what package drivers asks of a [drivers.Source]. PTS is the kernel's monotonic time of
// the picture; a stamp that cannot be true is replaced by the moment the picture was taken out. Pictures
// the driver marks as damaged, or whose numbers are missing, are told by Sink.Lost; of a coded stream
// nothing follows before the next keyframe, so that no picture is delivered that lacks its reference. An
// end asked for by ctx ends a wait at once. Run returns a *[drivers.Problem] unless it was told to stop.
// A driver that does not let go of an unplugged device holds Run for at most [Options].Close; Run
// refuses to begin again until it has.
//
// It does not reconnect, does not decode, and does not know sound: a microphone of a USB camera is a
// sound card. MJPEG is not recorded here: package pipeline codes it anew. (Measured: image/jpeg
// takes some 12 ms of an EPYC core for a picture of 1280×720 in 257 kB; 25 a second would be most of a core of the boards
// that have an encoder.)
//
// Faults it tells: not-found, unplugged, permission, busy, address (not a camera), codec (nothing to
// record, or unreadable), size, control, format-changed, no-frames, overlay (the text
// cannot be drawn; it connects again without), device.
package v4l2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"minglu/drivers"
	"minglu/drivers/overlay"
)

// Defaults of Options.
const (
	DefaultSilence = 5 * time.Second
	DefaultClose   = 5 * time.Second
)

// NoEncoder as Options.Encoder says that raw pictures shall not be encoded.
const NoEncoder = "none"

// Options say which camera and how. They come from the configuration of the board.
type Options struct {
	Device  string               // path of the node; a stable one: /dev/v4l/by-id/… or by-path/…
	Format  FourCC               // what the camera shall deliver; 0: the first of H264, HEVC, and what an encoder takes
	Width   int                  // pixels; 0: as the camera is set
	Height  int                  // pixels; 0: as the camera is set
	FPS     int                  // pictures a second; 0: as the camera is set. The driver takes the nearest it has
	Encoder string               // node of the encoder for raw pictures; "": the board's first; NoEncoder: none
	Codec   FourCC               // what the encoder makes; 0: H264
	Control map[string]int64     // of camera or encoder, names as v4l2-ctl -l lists them
	Overlay drivers.Overlay      // drawn into raw pictures before the encoder; nil: nothing is. What the camera has coded is left as it is
	Font    *overlay.Font        // to draw with; nil: overlay.Builtin
	Uptime  func() time.Duration // time since boot, monotonic; required
	Log     *slog.Logger         // nil: nothing is logged
	Silence time.Duration        // a camera without picture for so long is given up; 0: DefaultSilence
	Close   time.Duration        // a driver may take so long to let go; 0: DefaultClose
}

// Source is one camera. It implements drivers.Source. Run must not be called twice at a time.
type Source struct {
	o       Options
	holding atomic.Bool // a connection is under way, or its driver has not let go
}

var _ drivers.Source = (*Source)(nil)

// New checks the options; it opens nothing.
func New(o Options) (*Source, error) {
	switch {
	case o.Uptime == nil:
		return nil, errors.New("v4l2: options: Uptime is missing")
	case o.Device == "":
		return nil, errors.New("v4l2: options: Device is missing")
	case (o.Width == 0) != (o.Height == 0) || o.Width < 0 || o.Height < 0 || o.Width > maxSide || o.Height > maxSide || o.FPS < 0:
		return nil, errors.New("v4l2: options: Width and Height go together, 16 to 8192; FPS is not negative")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("camera", o.Device)
	o.Silence, o.Close = cmp.Or(o.Silence, DefaultSilence), cmp.Or(o.Close, DefaultClose)
	o.Codec = cmp.Or(o.Codec, H264)
	if o.Font == nil {
		o.Font = overlay.Builtin()
	}
	o.Control = maps.Clone(o.Control)
	return &Source{o: o}, nil
}

// String is the camera's path.
func (s *Source) String() string { return s.o.Device }

// Run opens the camera and delivers to out until ctx ends or the camera fails, and returns the cause: that
// of ctx, or a *drivers.Problem. It may be called again after it has returned.
func (s *Source) Run(ctx context.Context, out drivers.Sink) error {
	return s.run(ctx, &gate{out: out}, func(c *connection) coder { return c.track() })
}

// run keeps the connection in a goroutine of its own, because a driver may hang in a call nothing ends.
func (s *Source) run(ctx context.Context, g *gate, coder func(*connection) coder) error {
	defer g.shut()
	if !s.holding.CompareAndSwap(false, true) {
		return s.held()
	}
	wake, err := newWaker()
	if err != nil {
		s.holding.Store(false)
		return s.problem(err)
	}
	c := &connection{s: s, out: g, wake: wake, newCoder: coder}
	result, closed := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(closed)
		stop := context.AfterFunc(ctx, wake.signal)
		result <- c.run()
		c.close()
		stop()
		wake.close()
		s.holding.Store(false)
	}()
	stopped := false
	select {
	case err = <-result:
	case <-ctx.Done():
		stopped = true
	}
	limit := time.NewTimer(s.o.Close)
	defer limit.Stop()
	select {
	case <-closed:
	case <-limit.C:
		s.o.Log.Error("v4l2: the driver does not let go of the camera")
		return s.held()
	}
	if stopped || errors.Is(err, errStopped) {
		return context.Cause(ctx)
	}
	return s.problem(err)
}

var errStopped = errors.New("asked to stop")

// waker ends a wait of poll(2) from another goroutine. The runtime's own poller is no way: to register
// a camera there calls its poll, which starts reading where streaming has not begun (vb2_core_poll).
type waker struct {
	mu     sync.Mutex
	fd     int
	closed bool
}

func newWaker() (*waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &waker{fd: fd}, nil
}

func (w *waker) signal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		_, _ = unix.Write(w.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

func (w *waker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	unix.Close(w.fd)
}

// gate keeps a connection that hangs from calling a sink that belongs to others by then.
type gate struct {
	mu  sync.Mutex
	out drivers.Sink // nil: shut
}

func (g *gate) do(f func(drivers.Sink)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.out != nil {
		f(g.out)
	}
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.out = nil
}
