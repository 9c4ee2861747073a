package usbsim

import (
	"encoding/binary"
	"sync"
	"time"
)

// Mode is what a camera can deliver.
type Mode struct {
	Format        string // "MJPG" or "H264", as V4L2 says it
	Width, Height int    // pixels
	PerSecond     int    // pictures
}

// Picture is one picture as the camera sends it.
type Picture struct {
	Data   []byte // a JPEG, or an access unit of H.264 with start codes; nil: none is sent this time
	Broken bool   // the camera says that something went wrong: error bit of the payload's header
}

// Camera is a USB camera (UVC 1.1, USB-IF "Universal Serial Bus Device Class Definition for Video Devices").
// Linux 6.1 hides broken pictures: a number is left out in the sequence of buffers.
type Camera struct {
	Modes []Mode
	// Next returns picture n of a stream, from 0 on; n counts what the bus has asked for by the clock. It is
	// called from one goroutine, and must be quick.
	Next func(m Mode, n int) Picture

	mu      sync.Mutex
	probe   [probeBytes]byte
	streams int // how often a stream was begun
}

const (
	probeBytes   = 34 // of UVC 1.1, table 4-75
	videoIn      = 0x81
	videoPayload = 3072             // 3 times 1024 bytes …
	payloadEvery = time.Millisecond // … each eighth microframe: 3 MB/s, and no more transfers than an emulated board can bear
	payloadPower = 4                // that in the descriptor: 2^(n-1) microframes
	cameraClass  = 0x0e
)

// guidH264 is the format's GUID: the letters and the tail all FourCCs have.
var guidH264 = []byte("H264\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71")

func (c *Camera) interfaces() int { return 2 }

// formats groups the modes: a format's frames in the order of Modes.
func (c *Camera) formats() (names []string, frames map[string][]Mode) {
	frames = map[string][]Mode{}
	for _, m := range c.Modes {
		if frames[m.Format] == nil {
			names = append(names, m.Format)
		}
		frames[m.Format] = append(frames[m.Format], m)
	}
	return names, frames
}

// mode returns the mode of a format's and a frame's number, from 1 on; the first for what there is not.
func (c *Camera) mode(format, frame int) Mode {
	names, frames := c.formats()
	if format < 1 || format > len(names) {
		format = 1
	}
	list := frames[names[format-1]]
	if frame < 1 || frame > len(list) {
		frame = 1
	}
	return list[frame-1]
}

func interval(m Mode) uint32 { return uint32(10_000_000 / m.PerSecond) } // 100 ns

func largest(m Mode) uint32 { return uint32(m.Width * m.Height * 2) } // bytes

func (c *Camera) descriptors(first int) []byte {
	control, stream := first, first+1
	// A camera (entity 1) behind an output (3); controls it has none.
	units := pack(0x12, 0x24, 2, 1, uint16(0x0201), 0, 0, uint16(0), uint16(0), uint16(0), 3, 0, 0, 0)
	units = pack(units, 9, 0x24, 3, 3, uint16(0x0101), 0, 1, 0)
	units = pack(13, 0x24, 1, uint16(0x0110), uint16(13+len(units)), uint32(6000000), 1, stream, units)
	names, frames := c.formats()
	var formats []byte
	for i, name := range names {
		list := frames[name]
		if name == "H264" { // frame based payload, 3.1.1
			formats = pack(formats, 28, 0x24, 0x10, i+1, len(list), guidH264, 0, 1, 0, 0, 0, 0, 1)
		} else {
			formats = pack(formats, 11, 0x24, 6, i+1, len(list), 1, 1, 0, 0, 0, 0)
		}
		for j, m := range list {
			size := []any{uint16(m.Width), uint16(m.Height), uint32(1_000_000), uint32(100_000_000)}
			if name == "H264" {
				formats = pack(append(append([]any{formats, 30, 0x24, 0x11, j + 1, 0}, size...), interval(m), 1, uint32(0), interval(m))...)
			} else {
				formats = pack(append(append([]any{formats, 30, 0x24, 7, j + 1, 0}, size...), largest(m), interval(m), 1, interval(m))...)
			}
		}
		formats = pack(formats, 6, 0x24, 13, 1, 1, 4) // BT.709 and its like
	}
	controls := make([]byte, len(names)) // none, of each format
	head := 13 + len(names)
	formats = pack(head, 0x24, 1, len(names), uint16(head+len(formats)), videoIn, 0, 3, 0, 0, 0, 1, controls, formats)
	return pack(8, 11, control, 2, cameraClass, 3, 0, 2,
		9, 4, control, 0, 0, cameraClass, 1, 0, 2, units,
		9, 4, stream, 0, 0, cameraClass, 2, 0, 0, formats,
		9, 4, stream, 1, 1, cameraClass, 2, 0, 0, 7, 5, videoIn, 5, uint16(0x1400), payloadPower)
}

func (c *Camera) request(n int, s setup, data []byte) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n == 1 && s.request() == setInterface && !s.class() {
		if s.value() == 1 {
			c.streams++
		}
		return nil, true
	}
	const probe, commit = 1, 2
	if which := s.value() >> 8; n != 1 || which != probe && which != commit {
		return nil, false
	}
	const setCur, getLen, getInfo = 0x01, 0x85, 0x86
	switch s.request() {
	case setCur:
		copy(c.probe[:], data)
		return nil, true
	case getLen:
		return []byte{probeBytes, 0}, true
	case getInfo:
		return []byte{3}, true // can be read and set
	default: // GET_CUR, GET_DEF, GET_MIN, GET_MAX
		return c.negotiate(), true
	}
}

// negotiate returns what the camera makes of the host's wish.
func (c *Camera) negotiate() []byte {
	p := c.probe
	m := c.mode(int(p[2]), int(p[3]))
	names, frames := c.formats()
	for i, name := range names {
		for j, x := range frames[name] {
			if x == m {
				p[2], p[3] = byte(i+1), byte(j+1)
			}
		}
	}
	le := binary.LittleEndian
	le.PutUint32(p[4:], interval(m))
	le.PutUint32(p[18:], largest(m))
	le.PutUint32(p[22:], videoPayload)
	return p[:]
}

func (c *Camera) start(p *Plugged) {
	var s stream
	p.tasks.Go(func() {
		p.isochronous(videoIn, payloadEvery, func(limit int) []byte {
			c.mu.Lock()
			begun, m := c.streams, c.mode(int(c.probe[2]), int(c.probe[3]))
			c.mu.Unlock()
			if begun != s.begun {
				s = stream{begun: begun, mode: m, since: time.Now()}
			}
			return s.packet(limit, time.Now(), c.Next)
		})
	})
}

// stream is where the sending of one stream is.
type stream struct {
	begun  int
	mode   Mode
	since  time.Time
	next   int // picture
	rest   []byte
	broken bool
	toggle byte
}

// packet returns the next payload (2.4.3), nil where nothing is to be sent.
func (s *stream) packet(limit int, now time.Time, next func(Mode, int) Picture) []byte {
	if len(s.rest) == 0 {
		due := s.since.Add(time.Duration(s.next) * time.Second / time.Duration(s.mode.PerSecond))
		if now.Before(due) {
			return nil
		}
		pic := next(s.mode, s.next)
		s.next++
		if len(pic.Data) == 0 {
			return nil
		}
		s.rest, s.broken = pic.Data, pic.Broken
		s.toggle ^= 1
	}
	const head, endOfFrame, failed, endOfHead = 2, 0x02, 0x40, 0x80
	n := min(max(limit-head, 0), len(s.rest))
	out := append([]byte{head, endOfHead | s.toggle}, s.rest[:n]...)
	s.rest = s.rest[n:]
	if s.broken {
		out[1] |= failed
	}
	if len(s.rest) == 0 {
		out[1] |= endOfFrame
	}
	return out
}
