//go:build hil

package usbsim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// TestHILBind plugs in a camera with a microphone and a line, and wants the kernel's drivers to bind; again
// after it was pulled out, at the same place.
func TestHILBind(t *testing.T) {
	paths := map[string]int{}
	for range 2 {
		p, err := Plug(Device{Product: "room camera", Serial: "7", Camera: &Camera{Modes: []Mode{{"H264", 1280, 720, 25}}, Next: func(Mode, int) Picture { return Picture{} }},
			Mic: &Microphone{Channels: 1, Next: func(int64, int) int16 { return 0 }}, Line: NewLine()})
		if err != nil {
			t.Fatal(err)
		}
		var nodes []string
		for _, find := range []func() (string, error){p.Video, p.PCM, p.TTY} {
			n, err := find()
			if err != nil {
				t.Error(err)
			}
			nodes = append(nodes, n)
		}
		path, err := p.Path()
		if err != nil {
			t.Error(err)
		}
		paths[path]++
		if serial, err := os.ReadFile("/sys/bus/usb/devices/" + path + "/serial"); string(serial) != "7\n" || err != nil {
			t.Errorf("serial %q, %v", serial, err)
		}
		if err := p.Unplug(); err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if _, err := os.Stat(n); err == nil {
				t.Errorf("%s is still there", n)
			}
		}
	}
	if len(paths) != 1 {
		t.Errorf("places %v, want one", paths)
	}
}

// TestHILLine reads with the kernel's own tty what the device writes.
func TestHILLine(t *testing.T) {
	line := NewLine()
	p, err := Plug(Device{Line: line})
	if err != nil {
		t.Fatal(err)
	}
	tty, err := p.TTY()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(tty, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	go line.Write([]byte("6901234567892\n"))
	b := make([]byte, 100)
	if n, err := f.Read(b); string(b[:n]) != "6901234567892\n" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
	gone := make(chan error, 1)
	go func() {
		_, err := f.Read(b)
		gone <- err
	}()
	p.end()
	select {
	case err := <-gone:
		if err == nil {
			t.Error("a read of a line that is pulled out has no error")
		}
	case <-time.After(10 * time.Second):
		t.Error("a read of a line that is pulled out waits for ever")
	}
	f.Close()
	if err := p.Unplug(); err != nil {
		t.Error(err)
	}
}

// TestHILPictures takes pictures from the kernel's driver, which hides the broken one but counts it, until the
// camera is pulled out.
func TestHILPictures(t *testing.T) {
	const broken = 3
	p, err := Plug(Device{Camera: &Camera{Modes: []Mode{{"MJPG", 1280, 720, 25}, {"H264", 640, 480, 25}}, Next: func(m Mode, n int) Picture {
		return Picture{Data: bytes.Repeat(fmt.Appendf(nil, "%s %04d;", m.Format, n), 2000), Broken: n == broken}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Unplug()
	node, err := p.Video()
	if err != nil {
		t.Fatal(err)
	}
	v := openVideo(t, node, "H264", 640, 480)
	seen := map[int]uint32{} // picture to the driver's number
	for range 6 {
		b, sequence, err := v.next()
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if _, err := fmt.Sscanf(string(b), "H264 %d;", &n); err != nil || !bytes.Equal(b, bytes.Repeat(fmt.Appendf(nil, "H264 %04d;", n), 2000)) {
			t.Errorf("%d bytes %q: %v", len(b), b[:min(20, len(b))], err)
		}
		seen[n] = sequence
	}
	if _, ok := seen[broken]; ok || seen[broken+1]-seen[broken-1] != 2 {
		t.Errorf("pictures %v, want one left out before %d, and counted", seen, broken+1)
	}
	p.end()
	for n := 0; ; n++ {
		// EINVAL where the driver stopped the stream before it went.
		if _, _, err := v.next(); errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.EINVAL) {
			break
		} else if err != nil || n > 10 {
			t.Errorf("pulled out: %d buffers, then %v, want ENODEV", n, err)
			break
		}
	}
	v.close()
}

// The smallest part of V4L2 that takes pictures (uapi/linux/videodev2.h), for 32 and 64 bits.
type video struct {
	t    *testing.T
	fd   int
	maps [][]byte
}

type format struct {
	kind uint32
	pix  [200 / unsafe.Sizeof(uintptr(0))]uintptr
}

type request struct{ count, kind, memory, _, _ uint32 }

type buffer struct {
	index, kind, used, _, _ uint32
	_                       syscall.Timeval
	_                       [4]uint32
	sequence, memory        uint32
	offset                  uintptr
	length, _, _            uint32
}

func call[T any](fd int, dir, nr uintptr, v *T) error {
	for {
		_, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), dir<<30|unsafe.Sizeof(*v)<<16|'V'<<8|nr, uintptr(unsafe.Pointer(v)))
		if e != syscall.EINTR && e != 0 {
			return e
		} else if e == 0 {
			return nil
		}
	}
}

func openVideo(t *testing.T, node, fourcc string, w, h uint32) *video {
	t.Helper()
	fd, err := syscall.Open(node, syscall.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	v := &video{t: t, fd: fd}
	f := format{kind: 1}
	copy(unsafe.Slice((*uint32)(unsafe.Pointer(&f.pix)), 4), []uint32{w, h, uint32(fourcc[0]) | uint32(fourcc[1])<<8 | uint32(fourcc[2])<<16 | uint32(fourcc[3])<<24, 1})
	if err := call(fd, 3, 5, &f); err != nil {
		t.Fatalf("format: %v", err)
	}
	r := request{count: 4, kind: 1, memory: 1}
	if err := call(fd, 3, 8, &r); err != nil {
		t.Fatalf("buffers: %v", err)
	}
	for i := range r.count {
		b := buffer{index: i, kind: 1, memory: 1}
		if err := call(fd, 3, 9, &b); err != nil {
			t.Fatalf("buffer %d: %v", i, err)
		}
		m, err := syscall.Mmap(fd, int64(b.offset), int(b.length), syscall.PROT_READ, syscall.MAP_SHARED)
		if err != nil {
			t.Fatalf("buffer %d: %v", i, err)
		}
		v.maps = append(v.maps, m)
		if err := call(fd, 3, 15, &b); err != nil {
			t.Fatalf("queue: %v", err)
		}
	}
	on := uint32(1)
	if err := call(fd, 1, 18, &on); err != nil {
		t.Fatalf("stream on: %v", err)
	}
	return v
}

// next waits for a picture.
func (v *video) next() (data []byte, sequence uint32, err error) {
	b := buffer{kind: 1, memory: 1}
	if err := call(v.fd, 3, 17, &b); err != nil {
		return nil, 0, err
	}
	data, sequence = bytes.Clone(v.maps[b.index][:b.used]), b.sequence
	return data, sequence, call(v.fd, 3, 15, &b)
}

func (v *video) close() {
	for _, m := range v.maps {
		if err := syscall.Munmap(m); err != nil {
			v.t.Error(err)
		}
	}
	if err := syscall.Close(v.fd); err != nil {
		v.t.Error(err)
	}
}
