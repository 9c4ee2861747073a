package v4l2

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// encoder is a stateful video encoder of the board (V4L2 memory-to-memory; kernel documentation
// "Memory-to-memory Stateful Video Encoder Interface").
type encoder struct {
	d       *device
	in, out *queue
	raw     layout
	visible struct{ width, height int }
	free    []uint32 // input buffers the driver does not hold
	list    []Control
	force   *Control // asks for a keyframe; nil: it has none
}

const (
	encoderBuffers = 4
	codedRoom      = 2 << 20 // bytes for one coded picture, at least
)

// openEncoder opens the encoder at path, or with an empty path the first of the board, that makes want.
func openEncoder(path string, want FourCC) (*device, error) {
	paths := []string{path}
	if path == "" {
		paths, _ = filepath.Glob("/dev/video*")
		slices.SortFunc(paths, func(a, b string) int {
			if len(a) != len(b) {
				return len(a) - len(b)
			}
			if a < b {
				return -1
			}
			return 1
		})
	}
	var last error
	for _, p := range paths {
		d, err := open(p)
		if err != nil {
			last = err
			continue
		}
		if in, out, ok := d.converter(); ok && slices.Contains(d.formats(out), want) && slices.ContainsFunc(d.formats(in), raw) {
			return d, nil
		}
		last = fmt.Errorf("%s (%s) does not encode to %v", p, text(d.cap.Card[:]), want)
		d.close()
	}
	if path == "" {
		last = fmt.Errorf("no device of this board encodes to %v", want)
	}
	return nil, last
}

// rawFormats are what an encoder takes, of those we can write.
func rawFormats(d *device) []FourCC {
	in, _, _ := d.converter()
	return slices.DeleteFunc(d.formats(in), func(f FourCC) bool { return !raw(f) })
}

// newEncoder prepares d, which it closes from now on, for pictures of width × height in format from.
func newEncoder(d *device, want, from FourCC, width, height int, fps float64) (_ *encoder, err error) {
	e := &encoder{d: d}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	inKind, outKind, ok := d.converter()
	if !ok {
		return e, errors.New("no encoder")
	}
	if _, err := d.setFormat(outKind, want, width, height, max(codedRoom, width*height)); err != nil {
		return e, err
	}
	if e.raw, err = d.setFormat(inKind, from, width, height, 0); err != nil {
		return e, err
	}
	if e.raw.width < width || e.raw.height < height || e.raw.planes != 1 || !e.raw.holds() {
		return e, fmt.Errorf("the encoder takes %d×%d in %d planes of %d bytes, not %d×%d", e.raw.width, e.raw.height, e.raw.planes, e.raw.size, width, height)
	}
	e.visible.width, e.visible.height = width, height
	if e.raw.width != width || e.raw.height != height {
		if err := d.crop(inKind, width, height); err != nil {
			return e, err
		}
	}
	d.setRate(inKind, int(fps+0.5))
	e.list = d.controls()
	gop := max(int64(fps+0.5), 1) // a keyframe each second
	for _, c := range []struct {
		id uint32
		v  int64
	}{{ctrlBFrames, 0}, {ctrlGOPSize, gop}, {ctrlIPeriod, gop}, {ctrlRepeatHeader, 1}, {ctrlHeaderMode, headerWithFirst}, {ctrlBitrate, defaultBitrate(width, height)}} {
		d.prefer(e.list, c.id, c.v)
	}
	if i := slices.IndexFunc(e.list, func(c Control) bool { return c.id == ctrlForceKey }); i >= 0 {
		e.force = &e.list[i]
	}
	return e, nil
}

// defaultBitrate is 4 Mbit/s for 1080p and in proportion for others, bits a second.
func defaultBitrate(width, height int) int64 {
	return max(int64(width)*int64(height)*4_000_000/(1920*1080), 500_000)
}

// start lets the encoder run; controls are set before.
func (e *encoder) start() (err error) {
	inKind, outKind, _ := e.d.converter()
	if e.in, err = newQueue(e.d, inKind, encoderBuffers); err != nil {
		return err
	}
	if e.out, err = newQueue(e.d, outKind, encoderBuffers); err != nil {
		return err
	}
	for i, b := range e.in.bufs {
		if len(b) < e.raw.size {
			return fmt.Errorf("input buffer %d of %d bytes, want %d", i, len(b), e.raw.size)
		}
		e.free = append(e.free, uint32(i))
	}
	if err := e.out.fill(); err != nil {
		return err
	}
	return e.in.start()
}

// close frees everything; twice is harmless.
func (e *encoder) close() {
	for _, q := range []*queue{e.in, e.out} {
		if q != nil {
			q.free()
		}
	}
	e.in, e.out = nil, nil
	if e.d != nil {
		e.d.close()
	}
	e.d = nil
}

// room reports whether a picture can be put in.
func (e *encoder) room() bool { return len(e.free) > 0 }

// encode puts one picture in, written by draw; its time comes back with what it becomes. There must be room.
func (e *encoder) encode(draw func(to []byte), ns int64) error {
	i := e.free[len(e.free)-1]
	draw(e.in.bufs[i][:e.raw.size])
	if err := e.in.put(i, e.raw.size, unix.NsecToTimeval(ns)); err != nil {
		return err
	}
	e.free = e.free[:len(e.free)-1]
	return nil
}

// keyframe asks for one soon.
func (e *encoder) keyframe() {
	if e.force != nil {
		_ = e.d.set(e.force, 1)
	}
}

// ready takes back what the encoder has done with and gives each coded picture. An error ends the encoder.
func (e *encoder) ready(give func(f *frame) error) error {
	for {
		f, err := e.in.take()
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			return fmt.Errorf("VIDIOC_DQBUF: %w", err)
		}
		e.free = append(e.free, f.index)
	}
	for {
		f, err := e.out.take()
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("VIDIOC_DQBUF: %w", err)
		}
		if err := give(&f); err != nil {
			return err
		}
		if f.flags&flagLast != 0 {
			return errors.New("the encoder has ended its stream")
		}
		if err := e.out.put(f.index, 0, unix.Timeval{}); err != nil {
			return err
		}
	}
}
