package uplink

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// half is one direction of a pipe: a buffer as large as it need be, like a network's, that a test can stall.
type half struct {
	mu       sync.Mutex // guards what follows
	buf      []byte
	closed   bool
	stalled  bool
	readBy   time.Time
	writeBy  time.Time
	changed  chan struct{}
	traveled int
}

func newHalf() *half { return &half{changed: make(chan struct{})} }

// set changes something and wakes who waits.
func (h *half) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.changed)
	h.changed = make(chan struct{})
}

// until waits until ready, closed, or the deadline that by gives. It returns with the lock held.
func (h *half) until(ready func() bool, by func() time.Time) error {
	h.mu.Lock()
	for !ready() {
		if h.closed {
			return io.EOF
		}
		at, changed := by(), h.changed
		if !at.IsZero() && !time.Now().Before(at) {
			return os.ErrDeadlineExceeded
		}
		h.mu.Unlock()
		var late <-chan time.Time
		if !at.IsZero() {
			t := time.NewTimer(time.Until(at))
			defer t.Stop()
			late = t.C
		}
		select {
		case <-changed:
		case <-late:
		}
		h.mu.Lock()
	}
	return nil
}

func (h *half) Read(p []byte) (int, error) {
	err := h.until(func() bool { return len(h.buf) > 0 && !h.stalled }, func() time.Time { return h.readBy })
	defer h.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n := copy(p, h.buf)
	h.buf = h.buf[n:]
	h.traveled += n
	return n, nil
}

func (h *half) Write(p []byte) (int, error) {
	err := h.until(func() bool { return !h.stalled && !h.closed }, func() time.Time { return h.writeBy })
	h.mu.Unlock()
	if err == io.EOF {
		err = io.ErrClosedPipe
	}
	if err != nil {
		return 0, err
	}
	h.set(func() { h.buf = append(h.buf, p...) })
	return len(p), nil
}

// end is one end of a pipe.
type end struct{ in, out *half }

func pipe() (a, b *end) {
	x, y := newHalf(), newHalf()
	return &end{x, y}, &end{y, x}
}

func (e *end) Read(p []byte) (int, error)  { return e.in.Read(p) }
func (e *end) Write(p []byte) (int, error) { return e.out.Write(p) }
func (e *end) Close() error {
	e.in.set(func() { e.in.closed = true })
	e.out.set(func() { e.out.closed = true })
	return nil
}
func (e *end) stall(on bool) {
	e.in.set(func() { e.in.stalled = on })
	e.out.set(func() { e.out.stalled = on })
}
func (e *end) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (e *end) RemoteAddr() net.Addr { return &net.TCPAddr{} }
func (e *end) SetReadDeadline(t time.Time) error {
	e.in.set(func() { e.in.readBy = t })
	return nil
}
func (e *end) SetWriteDeadline(t time.Time) error {
	e.out.set(func() { e.out.writeBy = t })
	return nil
}
func (e *end) SetDeadline(t time.Time) error {
	e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}
