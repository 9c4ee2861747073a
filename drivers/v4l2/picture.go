package v4l2

import (
	"fmt"
	"unsafe"

	"minglu/drivers/overlay"
)

const (
	nrSetSelection = 95
	targetCrop     = 0 // V4L2_SEL_TGT_CROP
)

// selection is struct v4l2_selection.
type selection struct {
	Type, Target, Flags uint32
	Left, Top           int32
	Width, Height       uint32
	_                   [9]uint32
}

var _ = [1]struct{}{}[unsafe.Sizeof(selection{})-64]

// crop tells an encoder which part of its input is the picture. The type is the one of the
// single-planar interface for both (since Linux 4.13).
func (d *device) crop(kind uint32, width, height int) error {
	if kind == outputMulti {
		kind = outputSingle
	}
	if err := call(d.fd, dirReadWrite, nrSetSelection, &selection{Type: kind, Target: targetCrop, Width: uint32(width), Height: uint32(height)}); err != nil {
		return fmt.Errorf("VIDIOC_S_SELECTION: %w", err)
	}
	return nil
}

// part is one component plane of a raw picture within its memory.
type part struct{ at, stride, line, lines int }

// parts says where the components of a raw picture lie: of each the first byte, the bytes from line to
// line, and how many bytes and lines belong to a picture of width × height (kernel documentation,
// "YUV formats").
func (l *layout) parts(width, height int) []part {
	s, h := l.stride, l.height
	switch l.format {
	case YUYV:
		return []part{{0, s, 2 * width, height}}
	case NV12:
		return []part{{0, s, width, height}, {s * h, s, width, height / 2}}
	case YU12:
		return []part{{0, s, width, height}, {s * h, s / 2, width / 2, height / 2}, {s*h + s/2*(h/2), s / 2, width / 2, height / 2}}
	}
	return nil
}

// picture is the memory of a raw picture as its components lie in it. The layout holds it.
func (l *layout) picture(memory []byte, width, height int) overlay.Picture {
	parts := l.parts(width, height)
	plane := func(i, at, step, x, y int) overlay.Plane {
		return overlay.Plane{Pix: memory[parts[i].at+at:], Stride: parts[i].stride, Step: step, SubX: x, SubY: y}
	}
	p := overlay.Picture{Width: width, Height: height}
	switch l.format {
	case YUYV:
		p.Y, p.U, p.V = plane(0, 0, 2, 1, 1), plane(0, 1, 4, 2, 1), plane(0, 3, 4, 2, 1)
	case NV12:
		p.Y, p.U, p.V = plane(0, 0, 1, 1, 1), plane(1, 0, 2, 2, 2), plane(1, 1, 2, 2, 2)
	case YU12:
		p.Y, p.U, p.V = plane(0, 0, 1, 1, 1), plane(1, 0, 1, 2, 2), plane(2, 0, 1, 2, 2)
	}
	return p
}

// holds reports whether the memory the driver gives holds the picture it says it holds.
func (l *layout) holds() bool {
	parts := l.parts(l.width, l.height)
	for _, p := range parts {
		if p.stride < p.line || p.at+(p.lines-1)*p.stride+p.line > l.size {
			return false
		}
	}
	return len(parts) > 0
}

// bytes is how many of a picture must have come for it to be whole.
func (l *layout) bytes() int {
	parts := l.parts(l.width, l.height)
	if len(parts) == 0 {
		return 0
	}
	p := parts[len(parts)-1]
	return p.at + (p.lines-1)*p.stride + p.line
}

// copyPicture copies width × height pixels from a picture laid out as f to one laid out as t, of the
// same format. Both layouts hold it, and from has f.bytes().
func copyPicture(to []byte, t *layout, from []byte, f *layout, width, height int) {
	target := t.parts(width, height)
	for i, p := range f.parts(width, height) {
		q := target[i]
		for y := range p.lines {
			copy(to[q.at+y*q.stride:][:q.line], from[p.at+y*p.stride:][:p.line])
		}
	}
}
