package v4l2

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// device is an open video node. Not safe for concurrent use.
type device struct {
	fd   int
	path string
	cap  capability
}

// open opens a node. It never blocks: the node is opened non-blocking.
func open(path string) (*device, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	d := &device{fd: fd, path: path}
	if err := call(fd, dirRead, nrQueryCap, &d.cap); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("VIDIOC_QUERYCAP: %w", err)
	}
	return d, nil
}

func (d *device) close() { unix.Close(d.fd) }

// caps are what this node can do, not the whole device.
func (d *device) caps() uint32 {
	if d.cap.Capabilities&capDeviceCaps != 0 {
		return d.cap.DevCaps
	}
	return d.cap.Capabilities
}

// camera reports whether the node delivers pictures, and by which buffer type.
func (d *device) camera() (kind uint32, ok bool) {
	switch c := d.caps(); {
	case c&capStreaming == 0:
		return 0, false
	case c&capCaptureMulti != 0:
		return captureMulti, true
	case c&capCapture != 0:
		return captureSingle, true
	}
	return 0, false
}

// converter reports whether the node takes pictures and gives them back coded otherwise.
func (d *device) converter() (in, out uint32, ok bool) {
	switch c := d.caps(); {
	case c&capStreaming == 0:
		return 0, 0, false
	case c&capM2MMulti != 0:
		return outputMulti, captureMulti, true
	case c&capM2M != 0:
		return outputSingle, captureSingle, true
	}
	return 0, 0, false
}

// maxList bounds what a driver may list: one that counts without end must not hold us.
const maxList = 512

func (d *device) formats(kind uint32) (list []FourCC) {
	for i := uint32(0); i < maxList; i++ {
		f := fmtDesc{Index: i, Type: kind}
		if call(d.fd, dirReadWrite, nrEnumFmt, &f) != nil {
			break
		}
		list = append(list, FourCC(f.PixFmt))
	}
	return list
}

// sizes are the picture sizes of a format, in words, for people.
func (d *device) sizes(f FourCC) string {
	var list []string
	for i := uint32(0); i < maxList; i++ {
		s := frameSize{Index: i, PixFmt: uint32(f)}
		if call(d.fd, dirReadWrite, nrEnumFrameSizes, &s) != nil {
			break
		}
		if s.Type != 1 { // not discrete
			return fmt.Sprintf("%d×%d-%d×%d", s.Size[0], s.Size[3], s.Size[1], s.Size[4])
		}
		list = append(list, fmt.Sprintf("%d×%d", s.Size[0], s.Size[1]))
	}
	return strings.Join(list, " ")
}

// layout is how the pictures of one queue lie in memory.
type layout struct {
	format        FourCC
	width, height int
	stride        int // bytes of a line of the first plane; 0 for coded pictures
	planes        int
	size          int // bytes of the first plane
}

func multi(kind uint32) bool { return kind == captureMulti || kind == outputMulti }

// setFormat asks for a format and returns what the driver made of it. size is the room for a coded
// picture, 0 lets the driver choose; width 0 keeps the size in force.
func (d *device) setFormat(kind uint32, want FourCC, width, height, size int) (layout, error) {
	f := format{Type: kind}
	if err := call(d.fd, dirReadWrite, nrGetFmt, &f); err != nil {
		return layout{}, fmt.Errorf("VIDIOC_G_FMT: %w", err)
	}
	if multi(kind) {
		p := f.multi()
		if width > 0 {
			p.Width, p.Height = uint32(width), uint32(height)
		}
		p.PixFmt, p.Field, p.NumPlanes = uint32(want), fieldNone, 1
		p.Planes[0] = planeFormat{SizeImage: uint32(size)}
	} else {
		p := f.single()
		if width > 0 {
			p.Width, p.Height = uint32(width), uint32(height)
		}
		p.PixFmt, p.Field, p.BytesPerLine, p.SizeImage = uint32(want), fieldNone, 0, uint32(size)
	}
	if err := call(d.fd, dirReadWrite, nrSetFmt, &f); err != nil {
		return layout{}, fmt.Errorf("VIDIOC_S_FMT %v: %w", want, err)
	}
	l := f.layout()
	if l.format != want {
		return l, fmt.Errorf("VIDIOC_S_FMT: asked for %v, got %v", want, l.format)
	}
	if l.width < 16 || l.height < 16 || l.width > maxSide || l.height > maxSide || l.size <= 0 || l.size > maxPicture {
		return l, fmt.Errorf("VIDIOC_S_FMT: a picture of %d×%d in %d bytes", l.width, l.height, l.size)
	}
	return l, nil
}

// Bounds of what a driver may say.
const (
	maxSide    = 8192
	maxPicture = 128 << 20
)

func (f *format) layout() layout {
	if multi(f.Type) {
		p := f.multi()
		return layout{FourCC(p.PixFmt), int(p.Width), int(p.Height), int(p.Planes[0].BytesPerLine), int(p.NumPlanes), int(p.Planes[0].SizeImage)}
	}
	p := f.single()
	return layout{FourCC(p.PixFmt), int(p.Width), int(p.Height), int(p.BytesPerLine), 1, int(p.SizeImage)}
}

// setRate asks for pictures a second and returns what the driver chose, 0 if it does not say.
func (d *device) setRate(kind uint32, fps int) float64 {
	p := streamParm{Type: kind}
	if call(d.fd, dirReadWrite, nrGetParm, &p) != nil {
		return 0
	}
	if fps > 0 {
		p.Numerator, p.Denominator = 1, uint32(fps)
		if call(d.fd, dirReadWrite, nrSetParm, &p) != nil {
			return 0
		}
	}
	if p.Numerator == 0 || p.Denominator == 0 {
		return 0
	}
	return float64(p.Denominator) / float64(p.Numerator)
}

// subscribe asks to be told of an event. Drivers that know it not are as good.
func (d *device) subscribe(kind uint32) {
	_ = call(d.fd, dirWrite, nrSubscribeEvent, &eventSubscription{Type: kind})
}

// events takes what has happened; true if an event of that kind is among it.
func (d *device) events(kind uint32) (found bool) {
	for range maxList {
		var e event
		if call(d.fd, dirRead, nrDequeueEvent, &e) != nil {
			break
		}
		found = found || e.Type == kind
	}
	return found
}

// Info is a video node of this board.
type Info struct {
	Path    string // stable if there is one: /dev/v4l/by-id, by-path; else /dev/videoN
	Node    string // /dev/videoN
	Card    string // as the driver calls it
	Driver  string
	Bus     string
	Encoder bool     // takes raw pictures and gives coded ones; else a camera
	Formats []FourCC // of a camera: what it delivers; of an encoder: what it makes
}

// List returns the cameras and encoders of this board. It opens each node for a moment, and leaves out
// those it may not open and those that are neither.
func List() []Info {
	nodes, _ := filepath.Glob("/dev/video*")
	stable := links()
	var list []Info
	for _, node := range nodes {
		d, err := open(node)
		if err != nil {
			continue
		}
		i := Info{Path: node, Node: node, Card: text(d.cap.Card[:]), Driver: text(d.cap.Driver[:]), Bus: text(d.cap.Bus[:])}
		if s := stable[node]; s != "" {
			i.Path = s
		}
		in, out, m2m := d.converter()
		kind, camera := d.camera()
		switch {
		case m2m && slices.ContainsFunc(d.formats(out), coded) && slices.ContainsFunc(d.formats(in), raw):
			i.Encoder, i.Formats = true, d.formats(out)
		case !m2m && camera:
			i.Formats = d.formats(kind)
		}
		d.close()
		if len(i.Formats) > 0 {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b Info) int {
		return strings.Compare(fmt.Sprintf("%08d%s", len(a.Node), a.Node), fmt.Sprintf("%08d%s", len(b.Node), b.Node))
	})
	return list
}

func coded(f FourCC) bool { return f == H264 || f == HEVC || f == FWHT }
func raw(f FourCC) bool   { return f == YU12 || f == NV12 || f == YUYV }

// links are the names udev gives to nodes: by-id tells maker, model and serial number, by-path the socket.
func links() map[string]string {
	m := map[string]string{}
	for _, dir := range []string{"/dev/v4l/by-path", "/dev/v4l/by-id"} {
		names, _ := filepath.Glob(dir + "/*")
		for _, name := range names {
			if node, err := filepath.EvalSymlinks(name); err == nil {
				m[node] = name
			}
		}
	}
	return m
}

// gone reports whether an error says that the device was unplugged.
func gone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
}
