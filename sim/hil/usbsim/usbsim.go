// Package usbsim plays USB devices for tests in a guest of package hil: a camera (UVC 1.1: MJPEG, H.264), a
// microphone (UAC 1.0) and a serial line (CDC ACM), which the kernel's own drivers uvcvideo, snd-usb-audio
// and cdc-acm bind to. The kernel's vhci-hcd speaks USB/IP to it over a socket
// (Documentation/usb/usbip_protocol.rst of Linux); plugging in and pulling out is Plug and Unplug.
//
//	usb, err := usbsim.Plug(usbsim.Device{Camera: &usbsim.Camera{Modes: …, Next: …}})   // rig "usb"
//	node, err := usb.Video()                                                            // "/dev/video0"
//	usb.Unplug()                                                                        // returns when the kernel has let go
package usbsim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Device is what is plugged in: one cable, up to three functions.
type Device struct {
	Product string // "" for "HIL device"
	Serial  string // "" for "0001"; devices of one maker may well have the same
	Camera  *Camera
	Mic     *Microphone
	Line    *Line
}

// Plugged is a device at a port. Safe for concurrent use.
type Plugged struct {
	d     Device
	conn  io.ReadWriteCloser
	port  int
	tasks sync.WaitGroup

	writing sync.Mutex // of answers, whole ones

	mu     sync.Mutex
	wake   *sync.Cond
	queues map[uint8][]*urb // waiting, by endpoint address
	gone   bool
}

// urb is a transfer that the host asks for.
type urb struct {
	seq     uint32
	in      bool
	ep      uint8 // address: bit 7 for IN
	length  int
	packets []int // isochronous: length of each
	setup   [8]byte
	data    []byte // OUT
}

const (
	vhci     = "/sys/devices/platform/vhci_hcd.0"
	patience = 20 * time.Second // for the kernel to bind a driver, and to let go
	glance   = 10 * time.Millisecond
)

// Plug plugs a device into the first free port; the same port again where it was pulled out before. It
// returns at once: see [Plugged.Video] and the others for when a driver has bound.
func Plug(d Device) (*Plugged, error) {
	status, err := os.ReadFile(filepath.Join(vhci, "status"))
	if err != nil {
		return nil, fmt.Errorf("usbsim: %w: is vhci-hcd loaded?", err)
	}
	const highSpeed, device = 3, 0x10002
	port, err := freePort(string(status))
	if err != nil {
		return nil, err
	}
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("usbsim: socket: %w", err)
	}
	defer syscall.Close(fds[1])
	if err := syscall.SetNonblock(fds[0], true); err != nil { // so that Close ends a Read that waits
		return nil, errors.Join(fmt.Errorf("usbsim: socket: %w", err), syscall.Close(fds[0]))
	}
	p := start(d, os.NewFile(uintptr(fds[0]), "usbsim"))
	p.port = port
	if err := os.WriteFile(filepath.Join(vhci, "attach"), fmt.Appendf(nil, "%d %d %d %d", port, fds[1], device, highSpeed), 0); err != nil {
		p.end()
		p.tasks.Wait()
		return nil, fmt.Errorf("usbsim: attach to port %d: %w", port, err)
	}
	return p, nil
}

// free is a port without a device (VDEV_ST_NULL of drivers/usb/usbip).
const free = 4

// ports calls visit for each high-speed port.
func ports(status string, visit func(port, state int)) {
	for l := range strings.Lines(status) { // hub port sta spd dev sockfd local_busid
		var hub string
		var port, state int
		if n, _ := fmt.Sscanf(l, "%s %d %d", &hub, &port, &state); n == 3 && hub == "hs" {
			visit(port, state)
		}
	}
}

func freePort(status string) (int, error) {
	found := -1
	ports(status, func(port, state int) {
		if state == free && found < 0 {
			found = port
		}
	})
	if found < 0 {
		return 0, fmt.Errorf("usbsim: no free port in %q", status)
	}
	return found, nil
}

// start serves a device on the host's connection.
func start(d Device, conn io.ReadWriteCloser) *Plugged {
	p := &Plugged{d: d, conn: conn, queues: map[uint8][]*urb{}}
	p.wake = sync.NewCond(&p.mu)
	p.tasks.Go(p.serve)
	for _, f := range p.functions() {
		f.start(p)
	}
	return p
}

// function is one of a device's functions.
type function interface {
	interfaces() int
	descriptors(first int) []byte
	// request answers a class request to the function's n-th interface, or to one of its endpoints (n -1).
	request(n int, setup setup, data []byte) (out []byte, ok bool)
	start(p *Plugged)
}

func (p *Plugged) functions() (list []function) {
	if p.d.Camera != nil {
		list = append(list, p.d.Camera)
	}
	if p.d.Mic != nil {
		list = append(list, p.d.Mic)
	}
	if p.d.Line != nil {
		list = append(list, p.d.Line)
	}
	return list
}

// Unplug pulls the device out and waits until the kernel has let go of it. It is safe to call twice.
func (p *Plugged) Unplug() error {
	p.end()
	p.tasks.Wait()
	for deadline := time.Now().Add(patience); ; time.Sleep(glance) {
		status, err := os.ReadFile(filepath.Join(vhci, "status"))
		if err != nil {
			return fmt.Errorf("usbsim: %w", err)
		}
		left := len(p.find("idVendor"))
		ports(string(status), func(port, state int) {
			if port == p.port && state != free {
				left++
			}
		})
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("usbsim: the kernel still holds port %d after %v: does a program keep its device open?", p.port, patience)
		}
	}
}

func (p *Plugged) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		p.gone = true
		p.wake.Broadcast()
		_ = p.conn.Close()
	}
}

// Video returns the camera's node, such as "/dev/video0", when the driver has bound.
func (p *Plugged) Video() (string, error) { return p.node("*/video4linux/video*") }

// TTY returns the serial line's node, such as "/dev/ttyACM0", when the driver has bound.
func (p *Plugged) TTY() (string, error) { return p.node("*/tty/tty*") }

// PCM returns the microphone's node, such as "/dev/snd/pcmC1D0c", when the driver has bound.
func (p *Plugged) PCM() (string, error) {
	node, err := p.node("*/sound/card*/pcm*c")
	return strings.Replace(node, "/dev/", "/dev/snd/", 1), err
}

// Path returns the device's place on the bus, such as "1-2": the same while it is in the same port.
func (p *Plugged) Path() (string, error) {
	node, err := p.node("idVendor")
	return filepath.Base(filepath.Dir(node)), err
}

// find returns what matches below the device's folder in sysfs.
func (p *Plugged) find(pattern string) []string {
	all, _ := filepath.Glob(fmt.Sprintf("%s/usb*/*-%d/%s", vhci, p.port+1, pattern))
	return all
}

func (p *Plugged) node(pattern string) (string, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(glance) {
		all := p.find(pattern)
		if pattern == "idVendor" && len(all) > 0 {
			return all[0], nil
		}
		if len(all) > 0 {
			node := "/dev/" + filepath.Base(all[0])
			if _, err := os.Stat(strings.Replace(node, "/dev/pcm", "/dev/snd/pcm", 1)); err == nil {
				return node, nil
			}
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("usbsim: no driver has bound to port %d after %v: nothing is at %s", p.port, patience, pattern)
		}
	}
}

// Of the USB/IP protocol. All numbers of its headers are big endian.
const (
	cmdSubmit, cmdUnlink = 1, 2
	retSubmit, retUnlink = 3, 4
	headerBytes          = 48
	packetBytes          = 16 // of an isochronous packet's descriptor
	maxTransfer          = 1 << 20
	maxPackets           = 1024
)

func (p *Plugged) serve() {
	defer p.end()
	for {
		head := make([]byte, headerBytes)
		if _, err := io.ReadFull(p.conn, head); err != nil {
			return
		}
		field := func(at int) uint32 { return binary.BigEndian.Uint32(head[at:]) }
		switch field(0) {
		case cmdSubmit:
			r, err := p.readURB(head)
			if err != nil {
				return
			}
			if r.ep&0x0f != 0 {
				p.mu.Lock()
				p.queues[r.ep] = append(p.queues[r.ep], r)
				p.wake.Broadcast()
				p.mu.Unlock()
				continue
			}
			p.answerControl(r)
		case cmdUnlink:
			status := int32(0)
			if p.take(func(r *urb) bool { return r.seq == field(20) }) {
				status = -int32(syscall.ECONNRESET)
			}
			out := make([]byte, headerBytes)
			binary.BigEndian.PutUint32(out, retUnlink)
			binary.BigEndian.PutUint32(out[4:], field(4))
			binary.BigEndian.PutUint32(out[20:], uint32(status))
			p.send(out)
		default:
			return
		}
	}
}

// readURB reads what follows the header of a CMD_SUBMIT.
func (p *Plugged) readURB(head []byte) (*urb, error) {
	field := func(at int) uint32 { return binary.BigEndian.Uint32(head[at:]) }
	r := &urb{seq: field(4), in: field(12) == 1, ep: uint8(field(16)), length: int(field(24))}
	if r.in {
		r.ep |= 0x80
	}
	copy(r.setup[:], head[40:])
	if r.length > maxTransfer {
		return nil, fmt.Errorf("usbsim: a transfer of %d bytes", r.length)
	}
	if !r.in && r.length > 0 {
		r.data = make([]byte, r.length)
		if _, err := io.ReadFull(p.conn, r.data); err != nil {
			return nil, err
		}
	}
	if n := field(32); n > 0 && n <= maxPackets { // 0xffffffff: not isochronous
		d := make([]byte, packetBytes*n)
		if _, err := io.ReadFull(p.conn, d); err != nil {
			return nil, err
		}
		for i := range n {
			r.packets = append(r.packets, int(binary.BigEndian.Uint32(d[packetBytes*i+4:])))
		}
	}
	return r, nil
}

// take takes a waiting transfer away, and reports whether it was there.
func (p *Plugged) take(which func(*urb) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ep, q := range p.queues {
		for i, r := range q {
			if which(r) {
				p.queues[ep] = append(q[:i:i], q[i+1:]...)
				return true
			}
		}
	}
	return false
}

// first waits for a transfer of an endpoint and leaves it in the queue; nil when the device is gone.
func (p *Plugged) first(ep uint8) *urb {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queues[ep]) == 0 && !p.gone {
		p.wake.Wait()
	}
	if p.gone {
		return nil
	}
	return p.queues[ep][0]
}

// answer ends a transfer: with data for IN, and how much was taken for OUT.
func (p *Plugged) answer(r *urb, status int32, data []byte, actual int, packets []byte) {
	out := make([]byte, headerBytes, headerBytes+len(data)+len(packets))
	put := func(at int, v uint32) { binary.BigEndian.PutUint32(out[at:], v) }
	put(0, retSubmit)
	put(4, r.seq)
	put(20, uint32(status))
	put(24, uint32(actual))
	put(32, uint32(len(packets)/packetBytes))
	p.send(append(append(out, data...), packets...))
}

func (p *Plugged) send(b []byte) {
	p.writing.Lock()
	defer p.writing.Unlock()
	if _, err := p.conn.Write(b); err != nil {
		p.end()
	}
}

// isochronous answers the transfers of an IN endpoint at the pace of the bus: a packet each period.
func (p *Plugged) isochronous(ep uint8, period time.Duration, packet func(limit int) []byte) {
	var next time.Time
	for {
		r := p.first(ep)
		if r == nil {
			return
		}
		if now := time.Now(); next.Before(now.Add(-100 * time.Millisecond)) { // begins, or the machine stood still
			next = now
		}
		next = next.Add(time.Duration(len(r.packets)) * period)
		time.Sleep(time.Until(next))
		if !p.take(func(x *urb) bool { return x == r }) {
			continue // called back meanwhile
		}
		var data, packets []byte
		offset := 0
		for _, limit := range r.packets {
			b := packet(limit)
			data = append(data, b...)
			for _, v := range []int{offset, limit, len(b), 0} {
				packets = binary.BigEndian.AppendUint32(packets, uint32(v))
			}
			offset += limit
		}
		p.answer(r, 0, data, len(data), packets)
	}
}
