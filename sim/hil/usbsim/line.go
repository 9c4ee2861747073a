package usbsim

import (
	"io"
	"os"
	"sync"
)

// Line is a serial line behind USB (CDC ACM, USB-IF "CDC PSTN" 1.2), as bar-code scanners and RS-485
// adapters have: what the device writes the host reads. Read and Write are the device's side; they end with
// io.EOF and os.ErrClosed when it is pulled out. Safe for concurrent use.
type Line struct {
	mu     sync.Mutex
	wake   *sync.Cond
	in     []byte // from the host
	coding [7]byte
	p      *Plugged
}

// NewLine returns a line that is plugged in nowhere yet. It can be plugged in again after it was pulled out.
func NewLine() *Line {
	l := &Line{coding: [7]byte{0x80, 0x25, 0, 0, 0, 0, 8}} // 9600 8N1
	l.wake = sync.NewCond(&l.mu)
	return l
}

const (
	lineIn, lineOut, lineEvents = 0x83, 0x03, 0x84
	linePacket                  = 512
)

func (l *Line) interfaces() int { return 2 }

func (l *Line) descriptors(first int) []byte {
	control, data := first, first+1
	const communication, acm, at, dataClass, bulk, interrupt = 2, 2, 1, 0x0a, 2, 3
	return pack(8, 11, control, 2, communication, acm, at, 0,
		9, 4, control, 0, 1, communication, acm, at, 0,
		5, 0x24, 0, uint16(0x0110), 5, 0x24, 1, 0, data, 4, 0x24, 2, 2, 5, 0x24, 6, control, data,
		7, 5, lineEvents, interrupt, uint16(16), 9,
		9, 4, data, 0, 2, dataClass, 0, 0, 0,
		7, 5, lineIn, bulk, uint16(linePacket), 0, 7, 5, lineOut, bulk, uint16(linePacket), 0)
}

func (l *Line) request(n int, s setup, data []byte) ([]byte, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	const setCoding, getCoding, setLines = 0x20, 0x21, 0x22
	switch {
	case n != 0:
		return nil, false
	case s.request() == setCoding:
		copy(l.coding[:], data)
		return nil, true
	case s.request() == getCoding:
		return l.coding[:], true
	}
	return nil, s.request() == setLines
}

// Baud returns the speed that the host has set.
func (l *Line) Baud() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.coding[0]) | int(l.coding[1])<<8 | int(l.coding[2])<<16 | int(l.coding[3])<<24
}

func (l *Line) start(p *Plugged) {
	l.mu.Lock()
	l.p, l.in = p, nil
	l.mu.Unlock()
	p.tasks.Go(func() {
		for {
			r := p.first(lineOut)
			if r == nil {
				break
			}
			if !p.take(func(x *urb) bool { return x == r }) {
				continue
			}
			l.mu.Lock()
			l.in = append(l.in, r.data...)
			l.wake.Broadcast()
			l.mu.Unlock()
			p.answer(r, 0, nil, len(r.data), nil)
		}
		l.mu.Lock()
		l.p = nil
		l.wake.Broadcast()
		l.mu.Unlock()
	})
}

// Read returns what the host has written; it waits for it.
func (l *Line) Read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.in) == 0 {
		if l.p == nil {
			return 0, io.EOF
		}
		l.wake.Wait()
	}
	n := copy(b, l.in)
	l.in = l.in[n:]
	return n, nil
}

// Write returns when the host has taken all: while nobody reads the line, it waits.
func (l *Line) Write(b []byte) (n int, err error) {
	for n < len(b) {
		l.mu.Lock()
		p := l.p
		l.mu.Unlock()
		if p == nil {
			return n, os.ErrClosed
		}
		r := p.first(lineIn)
		if r == nil {
			return n, os.ErrClosed
		}
		if !p.take(func(x *urb) bool { return x == r }) {
			continue // called back meanwhile
		}
		part := b[n:min(len(b), n+r.length)]
		p.answer(r, 0, part, len(part), nil)
		n += len(part)
	}
	return n, nil
}
