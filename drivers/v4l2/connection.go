package v4l2

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"minglu/drivers"
	"minglu/drivers/annexb"
	"minglu/drivers/overlay"
)

const (
	cameraBuffers = 8                // pictures the driver may have ready before it drops some
	firstKeyframe = 30 * time.Second // until a keyframe with its parameter sets must have come
	tooManyBad    = 100              // pictures in a row that cannot be read
)

// Causes of losses.
const (
	causeDropped   = "pictures dropped by the camera's driver"
	causeDamaged   = "damaged picture"
	causeEncoder   = "picture damaged by the encoder"
	causeTooSlow   = "the encoder did not keep up"
	causeEncoderIn = "the encoder refused a picture"
)

// coder takes coded pictures. It is annexb.Track for all that is recorded, and something simpler in
// tests of encoders of other codecs.
type coder interface {
	Add(data []byte, pts, dts int64, arrival time.Duration) error
	Gap(n int, cause string)
	Missed(n int, cause string)
}

// connection is one Run. It belongs to one goroutine.
type connection struct {
	s        *Source
	out      *gate
	wake     *waker
	newCoder func(*connection) coder

	cam    *device
	queue  *queue
	layout layout
	rate   float64
	enc    *encoder         // nil: the camera's own pictures are coded
	paint  *overlay.Painter // nil: nothing is drawn into them
	codec  FourCC           // of what is delivered

	coder    coder
	stamps   stamps // of the camera
	coded    stamps // of the encoder
	sequence uint32
	running  bool          // sequence is valid
	began    time.Duration // uptime at which pictures were asked for
	last     time.Duration // uptime of the last good one
	bad      int           // pictures in a row that could not be read
	isOpen   bool
}

// run opens everything and delivers until it fails or the waker says stop.
func (c *connection) run() error {
	if err := c.open(); err != nil {
		return err
	}
	c.s.o.Log.Info("v4l2: open", "identity", c.identity(), "format", c.layout.format.String(), "width", c.layout.width, "height", c.layout.height, "fps", c.rate)
	c.began = c.s.o.Uptime()
	c.last = c.began
	fds := []unix.PollFd{{Fd: int32(c.wake.fd), Events: unix.POLLIN}, {Fd: int32(c.cam.fd), Events: unix.POLLIN | unix.POLLPRI}}
	if c.enc != nil {
		fds = append(fds, unix.PollFd{Fd: int32(c.enc.d.fd), Events: unix.POLLIN | unix.POLLOUT})
	}
	wait := int(min(c.s.o.Silence/4, time.Second) / time.Millisecond)
	for {
		for i := range fds {
			fds[i].Revents = 0
		}
		if _, err := unix.Poll(fds, max(wait, 1)); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll: %w", err)
		}
		if fds[0].Revents != 0 {
			return errStopped
		}
		if len(fds) > 2 && fds[2].Revents != 0 {
			if err := c.enc.ready(c.fromEncoder); err != nil {
				return c.s.noEncoder(err)
			}
		}
		if fds[1].Revents != 0 {
			if err := c.pictures(fds[1].Revents); err != nil {
				return err
			}
		}
		switch now := c.s.o.Uptime(); {
		case now-c.last >= c.s.o.Silence:
			return c.s.silent()
		case !c.isOpen && now-c.began >= max(firstKeyframe, c.s.o.Silence):
			return c.s.unreadable(errors.New("no keyframe with parameter sets"))
		}
	}
}

// open finds a way from the camera to coded pictures and starts it.
func (c *connection) open() (err error) {
	o := &c.s.o
	if c.cam, err = open(o.Device); err != nil {
		return err
	}
	kind, ok := c.cam.camera()
	if _, _, m2m := c.cam.converter(); !ok || m2m {
		return c.s.notCamera(printable(text(c.cam.cap.Card[:])))
	}
	format, board, err := c.choose(c.cam.formats(kind))
	if err != nil {
		return err
	}
	if board != nil {
		c.enc = &encoder{d: board} // so that it is closed
	}
	if c.layout, err = c.cam.setFormat(kind, format, o.Width, o.Height, 0); err != nil {
		return err
	}
	if o.Width > 0 && (c.layout.width != o.Width || c.layout.height != o.Height) {
		return c.s.noSize(format, c.layout.width, c.layout.height, c.cam.sizes(format))
	}
	c.rate, c.codec = c.cam.setRate(kind, o.FPS), format
	if board != nil {
		if c.layout.planes != 1 || !c.layout.holds() {
			return fmt.Errorf("%v in %d planes of %d bytes cannot be a picture of %d×%d", format, c.layout.planes, c.layout.size, c.layout.width, c.layout.height)
		}
		c.codec = o.Codec
		fps := c.rate
		if fps <= 0 {
			fps = 25
		}
		if c.enc, err = newEncoder(board, o.Codec, format, c.layout.width&^1, c.layout.height&^1, fps); err != nil {
			return c.s.noEncoder(err)
		}
	}
	if err := c.control(); err != nil {
		return err
	}
	c.cam.subscribe(eventSourceChange)
	if c.queue, err = newQueue(c.cam, kind, cameraBuffers); err != nil {
		return err
	}
	if c.enc != nil {
		if err := c.enc.start(); err != nil {
			return c.s.noEncoder(err)
		}
		c.painter()
	}
	c.coder = c.newCoder(c)
	return c.queue.fill()
}

// painter prepares what is drawn. A font that fails leaves the pictures as they are, and the record says so.
func (c *connection) painter() {
	o := &c.s.o
	if o.Overlay == nil {
		return
	}
	c.paint = overlay.NewPainter(o.Overlay, o.Font)
	e := c.enc
	p := e.raw.picture(make([]byte, e.raw.size), e.visible.width, e.visible.height)
	if err := c.paint.Draw(&p, o.Uptime()); err != nil {
		o.Log.Error("v4l2: nothing can be drawn into the pictures", "err", err)
		c.paint = nil
	}
}

// choose picks what the camera shall deliver, and opens the encoder that is needed for it.
func (c *connection) choose(offers []FourCC) (FourCC, *device, error) {
	o := &c.s.o
	want := []FourCC{H264, HEVC}
	if o.Format != 0 {
		want = []FourCC{o.Format}
	}
	for _, f := range want {
		if (f == H264 || f == HEVC) && slices.Contains(offers, f) {
			return f, nil, nil
		}
	}
	want = []FourCC{YU12, NV12, YUYV} // the least bytes first
	if o.Format != 0 {
		want = []FourCC{o.Format}
	}
	have := slices.ContainsFunc(want, func(f FourCC) bool { return raw(f) && slices.Contains(offers, f) })
	if !have || o.Encoder == NoEncoder {
		return 0, nil, c.s.noFormat(offers)
	}
	enc, err := openEncoder(o.Encoder, o.Codec)
	if err != nil {
		return 0, nil, c.s.noEncoder(err)
	}
	takes := rawFormats(enc)
	for _, f := range want {
		if slices.Contains(offers, f) && slices.Contains(takes, f) {
			return f, enc, nil
		}
	}
	enc.close()
	return 0, nil, c.s.noFormat(offers)
}

// control sets what the configuration asks for, on the camera or else on the encoder.
func (c *connection) control() error {
	var names []string
	for name := range c.s.o.Control {
		names = append(names, name)
	}
	slices.Sort(names)
	mine, its := c.cam.controls(), []Control(nil)
	if c.enc != nil {
		its = c.enc.list
	}
	for _, name := range names {
		v, d, list := c.s.o.Control[name], c.cam, mine
		named := func(x Control) bool { return x.Name == name }
		i := slices.IndexFunc(mine, named)
		if i < 0 && c.enc != nil {
			d, list = c.enc.d, its
			i = slices.IndexFunc(its, named)
		}
		if i < 0 {
			return c.s.noControl(name, append(mine, its...))
		}
		if want := list[i].check(v); want != "" {
			return c.s.badControl(&list[i], v, want, nil)
		}
		if err := d.set(&list[i], v); err != nil {
			return c.s.badControl(&list[i], v, fmt.Sprintf("%d-%d", list[i].Min, list[i].Max), err)
		}
	}
	return nil
}

// close lets go of everything. It may hang as long as a driver does.
func (c *connection) close() {
	if c.queue != nil {
		c.queue.free()
	}
	if c.enc != nil {
		c.enc.close()
	}
	if c.cam != nil {
		c.cam.close()
	}
	if n := c.stamps.wrong; n > 0 {
		c.s.o.Log.Warn("v4l2: time stamps of the driver were not believed", "pictures", n)
	}
}

// pictures takes what the camera has ready.
func (c *connection) pictures(ready int16) error {
	if ready&unix.POLLPRI != 0 && c.cam.events(eventSourceChange) {
		return c.s.changed()
	}
	for n := 0; ; n++ {
		f, err := c.queue.take()
		if errors.Is(err, unix.EAGAIN) {
			if n == 0 && ready&(unix.POLLERR|unix.POLLHUP) != 0 {
				return fmt.Errorf("poll: %w", unix.EIO)
			}
			return nil
		}
		if errors.Is(err, unix.EINVAL) && ready&(unix.POLLERR|unix.POLLHUP) != 0 {
			err = unix.ENODEV // some drivers stop the stream of an unplugged camera before we ask
		}
		if err != nil {
			return fmt.Errorf("VIDIOC_DQBUF: %w", err)
		}
		if err := c.picture(&f); err != nil {
			return err
		}
		if err := c.queue.put(f.index, 0, unix.Timeval{}); err != nil {
			return err
		}
	}
}

// picture looks at one buffer of the camera.
func (c *connection) picture(f *frame) error {
	missed := c.coder.Gap // of coded pictures, others need the missing one
	if c.enc != nil {
		missed = c.coder.Missed
	}
	if n := int32(f.sequence - c.sequence - 1); c.running && n > 0 {
		missed(int(n), causeDropped)
	}
	c.sequence, c.running = f.sequence, true
	ns := c.stamps.next(f.flags, f.stamp, monotonic())
	if f.flags&flagError != 0 || len(f.data) == 0 || c.enc != nil && len(f.data) < c.layout.bytes() {
		missed(1, causeDamaged)
		return nil
	}
	c.last = c.s.o.Uptime()
	if c.enc == nil {
		return c.add(f.data, ns)
	}
	if !c.enc.room() {
		missed(1, causeTooSlow)
		return nil
	}
	undrawn := error(nil)
	if err := c.enc.encode(func(to []byte) { undrawn = c.draw(to, f, ns) }, ns); err != nil {
		return c.s.noEncoder(fmt.Errorf("%s: %w", causeEncoderIn, err))
	}
	if undrawn != nil { // the next connection does without, and says so
		return c.s.noText(undrawn)
	}
	return nil
}

// draw writes a picture of the camera and the text of its moment where the encoder takes it from.
func (c *connection) draw(to []byte, f *frame, ns int64) error {
	e := c.enc
	copyPicture(to, &e.raw, f.data, &c.layout, e.visible.width, e.visible.height)
	if c.paint == nil {
		return nil
	}
	p := e.raw.picture(to, e.visible.width, e.visible.height)
	return c.paint.Draw(&p, c.s.o.Uptime()-time.Duration(monotonic()-ns))
}

// shown says what can be read in the pictures.
func (c *connection) shown() drivers.Shown {
	if c.paint == nil {
		return drivers.Shown{}
	}
	return c.s.o.Overlay.Shown()
}

// fromEncoder takes one coded picture.
func (c *connection) fromEncoder(f *frame) error {
	if f.flags&flagError != 0 {
		c.coder.Gap(1, causeEncoder)
		c.enc.keyframe()
		return nil
	}
	if len(f.data) == 0 {
		return nil
	}
	return c.add(f.data, c.coded.next(f.flags, f.stamp, monotonic()))
}

func (c *connection) add(data []byte, ns int64) error {
	pts := ticks(ns)
	if err := c.coder.Add(data, pts, pts, c.s.o.Uptime()); err != nil {
		if c.bad++; c.bad >= tooManyBad {
			return c.s.unreadable(err)
		}
		return nil
	}
	c.bad = 0
	return nil
}

// track makes samples of what is recorded.
func (c *connection) track() coder {
	codec := drivers.H264
	if c.codec == HEVC {
		codec = drivers.H265
	}
	return &annexb.Track{
		Codec: codec,
		Open: func(f *drivers.Format) {
			c.isOpen = true
			c.out.do(func(s drivers.Sink) {
				s.Open(drivers.Description{Formats: []*drivers.Format{f}, Identity: c.identity(), Shown: c.shown()})
			})
		},
		Sample: func(x drivers.Sample) { c.out.do(func(s drivers.Sink) { s.Sample(x) }) },
		Lost:   func(n int, cause string) { c.out.do(func(s drivers.Sink) { s.Lost(0, n, cause) }) },
	}
}

// identity is what camera, driver and encoder say of themselves.
func (c *connection) identity() string {
	parts := []string{text(c.cam.cap.Card[:]), text(c.cam.cap.Driver[:]), text(c.cam.cap.Bus[:])}
	if c.enc != nil {
		parts = append(parts, "encoder "+text(c.enc.d.cap.Card[:]))
	}
	for i := range parts {
		parts[i] = printable(parts[i])
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}
