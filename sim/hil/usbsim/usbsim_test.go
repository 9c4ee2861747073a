package usbsim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// host is the kernel's side of a device.
type host struct {
	t    *testing.T
	conn net.Conn
	seq  uint32
}

func plug(t *testing.T, d Device) (*host, *Plugged) {
	t.Helper()
	ours, theirs := net.Pipe()
	p := start(d, theirs)
	t.Cleanup(func() {
		ours.Close()
		p.end()
		p.tasks.Wait()
	})
	return &host{t: t, conn: ours}, p
}

// submit asks for a transfer, and returns its number.
func (h *host) submit(ep uint8, length int, setup []byte, data []byte, packets ...int) uint32 {
	h.t.Helper()
	h.seq++
	b := make([]byte, headerBytes)
	put := func(at int, v uint32) { binary.BigEndian.PutUint32(b[at:], v) }
	put(0, cmdSubmit)
	put(4, h.seq)
	if ep&0x80 != 0 || len(setup) > 0 && setup[0]&0x80 != 0 {
		put(12, 1)
	}
	put(16, uint32(ep&0x0f))
	put(24, uint32(length))
	put(32, 0xffffffff)
	copy(b[40:], setup)
	b = append(b, data...)
	if len(packets) > 0 {
		put(32, uint32(len(packets)))
		for i, n := range packets {
			for _, v := range []int{i * n, n, 0, 0} {
				b = binary.BigEndian.AppendUint32(b, uint32(v))
			}
		}
	}
	if _, err := h.conn.Write(b); err != nil {
		h.t.Fatal(err)
	}
	return h.seq
}

// answer is what a transfer ends with.
type answer struct {
	command, seq uint32
	status       int32
	data         []byte
	packets      []int // lengths
}

// answer reads the next; in says whether data comes with it.
func (h *host) answer(in bool) (a answer) {
	h.t.Helper()
	b := make([]byte, headerBytes)
	if _, err := io.ReadFull(h.conn, b); err != nil {
		h.t.Fatal(err)
	}
	field := func(at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }
	a.command, a.seq, a.status = field(0), field(4), int32(field(20))
	if a.command == retUnlink {
		return a
	}
	if in {
		a.data = make([]byte, field(24))
		if _, err := io.ReadFull(h.conn, a.data); err != nil {
			h.t.Fatal(err)
		}
	}
	for range field(32) {
		var d [packetBytes]byte
		if _, err := io.ReadFull(h.conn, d[:]); err != nil {
			h.t.Fatal(err)
		}
		a.packets = append(a.packets, int(binary.BigEndian.Uint32(d[8:])))
	}
	return a
}

func (h *host) control(setup []byte, length int, data []byte) answer {
	h.t.Helper()
	h.submit(0, max(length, len(data)), setup, data)
	return h.answer(setup[0]&0x80 != 0)
}

func everything() Device {
	return Device{
		Camera: &Camera{Modes: []Mode{{"H264", 1280, 720, 25}, {"MJPG", 640, 480, 1000}, {"H264", 640, 480, 25}}, Next: func(m Mode, n int) Picture {
			return Picture{Data: bytes.Repeat(fmt.Appendf(nil, "%s %d;", m.Format, n), 1000), Broken: n == 1}
		}},
		Mic:  &Microphone{Next: func(n int64, ch int) int16 { return int16(n*2) + int16(ch) }},
		Line: NewLine(),
	}
}

// TestDescriptors walks the configuration as a host does: lengths add up, interfaces are numbered, and the
// numbers in class descriptors are those of the interfaces.
func TestDescriptors(t *testing.T) {
	h, _ := plug(t, everything())
	if d := h.control([]byte{0x80, 6, 0, 1, 0, 0, 18, 0}, 18, nil); len(d.data) != 18 || d.data[0] != 18 || binary.LittleEndian.Uint16(d.data[8:]) != Vendor {
		t.Errorf("device: % x", d.data)
	}
	short := h.control([]byte{0x80, 6, 0, 2, 0, 0, 9, 0}, 9, nil)
	total := int(binary.LittleEndian.Uint16(short.data[2:]))
	c := h.control([]byte{0x80, 6, 0, 2, 0, 0, 0xff, 0xff}, 0xffff, nil).data
	if len(c) != total || c[4] != 6 {
		t.Fatalf("configuration of %d bytes and %d interfaces, want %d and 6", len(c), c[4], total)
	}
	var interfaces []byte
	formats := 0
	for b := c; len(b) > 0; b = b[b[0]:] {
		if int(b[0]) < 2 || int(b[0]) > len(b) {
			t.Fatalf("a descriptor of %d bytes where %d are left: % x", b[0], len(b), b[:min(16, len(b))])
		}
		switch {
		case b[1] == 4 && b[3] == 0:
			interfaces = append(interfaces, b[2])
		case b[1] == 0x24 && (b[2] == 6 || b[2] == 0x10) && len(interfaces) == 2:
			formats++
		}
	}
	if !bytes.Equal(interfaces, []byte{0, 1, 2, 3, 4, 5}) || formats != 2 {
		t.Errorf("interfaces %d, %d formats of pictures", interfaces, formats)
	}
	if s := h.control([]byte{0x80, 6, 2, 3, 0, 0, 255, 0}, 255, nil); !bytes.Equal(s.data, []byte("\x16\x03H\x00I\x00L\x00 \x00d\x00e\x00v\x00i\x00c\x00e\x00")) {
		t.Errorf("product: %q", s.data)
	}
	if a := h.control([]byte{0xc0, 77, 0, 0, 0, 0, 1, 0}, 1, nil); a.status == 0 {
		t.Error("a vendor's request is answered")
	}
}

// TestPictures agrees on a mode, begins, and puts pictures together from packets; the second is marked broken.
func TestPictures(t *testing.T) {
	h, _ := plug(t, everything())
	wish := make([]byte, probeBytes)
	wish[2], wish[3] = 2, 9 // MJPG, a frame there is not
	h.control([]byte{0x21, 1, 0, 1, 1, 0, probeBytes, 0}, 0, wish)
	got := h.control([]byte{0xa1, 0x81, 0, 1, 1, 0, probeBytes, 0}, probeBytes, nil).data
	if len(got) != probeBytes || got[2] != 2 || got[3] != 1 || binary.LittleEndian.Uint32(got[4:]) != 10_000 || binary.LittleEndian.Uint32(got[22:]) != videoPayload {
		t.Fatalf("negotiated % x", got)
	}
	h.control([]byte{0x21, 1, 0, 2, 1, 0, probeBytes, 0}, 0, got)
	h.control([]byte{0x01, setInterface, 1, 0, 1, 0, 0, 0}, 0, nil)
	var pictures [][]byte
	var broken []bool
	var part []byte
	for len(pictures) < 3 {
		h.submit(videoIn, 8*videoPayload, nil, nil, videoPayload, videoPayload, videoPayload, videoPayload, videoPayload, videoPayload, videoPayload, videoPayload)
		a := h.answer(true)
		rest := a.data
		for _, n := range a.packets {
			p := rest[:n]
			rest = rest[n:]
			if n == 0 {
				continue
			}
			if p[0] != 2 || p[1]&1 != byte(len(pictures)+1)&1 {
				t.Fatalf("head % x in picture %d", p[:2], len(pictures))
			}
			part = append(part, p[2:]...)
			if p[1]&2 != 0 {
				pictures, broken, part = append(pictures, part), append(broken, p[1]&0x40 != 0), nil
			}
		}
	}
	for n, p := range pictures {
		if want := bytes.Repeat(fmt.Appendf(nil, "MJPG %d;", n), 1000); !bytes.Equal(p, want) || broken[n] != (n == 1) {
			t.Errorf("picture %d: %d bytes %q…, broken %v", n, len(p), p[:min(20, len(p))], broken[n])
		}
	}
}

// TestPictureRate: within a stream a picture comes when it is due, and one that was not asked for in time is
// not lost but late.
func TestPictureRate(t *testing.T) {
	at := time.Now()
	s := stream{mode: Mode{"MJPG", 640, 480, 25}, since: at}
	sent := []int{}
	next := func(_ Mode, n int) Picture {
		sent = append(sent, n)
		return Picture{Data: []byte{1}}
	}
	for ms := range 200 {
		s.packet(100, at.Add(time.Duration(ms)*time.Millisecond), next)
	}
	if fmt.Sprint(sent) != "[0 1 2 3 4]" {
		t.Errorf("in 200 ms at 25 a second: %v", sent)
	}
}

func TestSound(t *testing.T) {
	h, _ := plug(t, everything())
	h.submit(soundIn, 400, nil, nil, 200, 200)
	a := h.answer(true)
	if fmt.Sprint(a.packets) != "[192 192]" || len(a.data) != 384 {
		t.Fatalf("packets %v", a.packets)
	}
	for n := range 96 {
		for ch := range 2 {
			if v := binary.LittleEndian.Uint16(a.data[4*n+2*ch:]); int(v) != 2*n+ch {
				t.Fatalf("frame %d channel %d: %d", n, ch, v)
			}
		}
	}
}

// TestLine says something both ways, and ends when the device is pulled out.
func TestLine(t *testing.T) {
	d := everything()
	h, p := plug(t, d)
	if a := h.control([]byte{0x21, 0x20, 0, 0, 4, 0, 7, 0}, 0, []byte{0, 0xc2, 1, 0, 0, 0, 8}); a.status != 0 || d.Line.Baud() != 115200 {
		t.Errorf("status %d, %d baud", a.status, d.Line.Baud())
	}
	h.submit(lineOut, 5, nil, []byte("hello"))
	h.answer(false)
	b := make([]byte, 10)
	if n, err := d.Line.Read(b); string(b[:n]) != "hello" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
	wrote := make(chan error, 1)
	go func() { _, err := d.Line.Write([]byte("6901234567892\r\n")); wrote <- err }()
	h.submit(lineIn, 8, nil, nil)
	if a := h.answer(true); string(a.data) != "69012345" {
		t.Errorf("first %q", a.data)
	}
	h.submit(lineIn, 512, nil, nil)
	if a := h.answer(true); string(a.data) != "67892\r\n" {
		t.Errorf("rest %q", a.data)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	p.end()
	p.tasks.Wait()
	if _, err := d.Line.Write([]byte("x")); err == nil {
		t.Error("written to a line that is pulled out")
	}
	if _, err := d.Line.Read(b); err != io.EOF {
		t.Errorf("read from it: %v", err)
	}
}

// TestUnlink calls back a transfer that waits, and one that is not there.
func TestUnlink(t *testing.T) {
	h, _ := plug(t, everything())
	seq := h.submit(lineIn, 512, nil, nil)
	for n, want := range []int32{-104, 0} { // ECONNRESET
		b := make([]byte, headerBytes)
		binary.BigEndian.PutUint32(b, cmdUnlink)
		binary.BigEndian.PutUint32(b[4:], 1000)
		binary.BigEndian.PutUint32(b[20:], seq)
		if _, err := h.conn.Write(b); err != nil {
			t.Fatal(err)
		}
		if a := h.answer(false); a.command != retUnlink || a.seq != 1000 || a.status != want {
			t.Errorf("%d: %+v, want status %d", n, a, want)
		}
	}
}

func TestFreePort(t *testing.T) {
	const status = "hub port sta spd dev      sockfd local_busid\nhs  0000 006 003 00010002 000003 0-0\nhs  0001 004 000 00000000 000000 0-0\nss  0008 004 000 00000000 000000 0-0\n"
	if n, err := freePort(status); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := freePort("hs  0000 006 003 00010002 000003 0-0\nss  0008 004 000 00000000 000000 0-0\n"); err == nil {
		t.Error("a port where there is none")
	}
}
