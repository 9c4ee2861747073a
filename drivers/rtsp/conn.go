package rtsp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	// gatherEvery is between two looks at a connection that streams: a camera sends a picture as dozens
	// of packets, and waking for each costs more than all that is done with it. All connections of a
	// process look at the same moments, so that one wake-up serves them all. It is no divisor of a usual
	// distance of pictures or sound packets (33⅓, 40, 20, 21⅓ ms): some of them are seen as they arrive,
	// and the mapping of capture, which follows the quickest, is not late by a fixed part of it.
	gatherEvery = 9 * time.Millisecond
	// gatherIdle is how many looks in vain end that: the connection is waited for again.
	gatherIdle = 12
	// gatherBytes is what one look takes in, and more than the largest packet: at 100 Mbit/s all of it.
	gatherBytes = 128 << 10
)

// dial connects within the timeout.
func (s *Source) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: s.timeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return newDeadlineConn(c, s.timeout, s.url.Scheme == "rtsp"), nil
}

// dial is connect of the source, and remembers the connection.
func (se *session) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := se.src.connect(ctx, network, address)
	se.conn, _ = c.(*deadlineConn)
	return c, err
}

// deadlineConn ends a read that brings nothing for the timeout, measured by the monotonic clock, looks at
// a stream at certain moments only (gatherEvery), hands media packets straight to their tracks
// (interleaved), and closes so that the last request still reaches the peer.
type deadlineConn struct {
	net.Conn
	timeout time.Duration
	closing atomic.Bool
	interleaved

	// What follows belongs to the reader.
	armed time.Time // when the read deadline was last set
	raw   syscall.RawConn
	look  func(fd uintptr) bool // one read that does not wait; sets n and errno
	pace  *pace                 // once it streams
	n     int
	errno syscall.Errno
	buf   []byte // buf[r:w] was read and not looked at yet
	r, w  int
	pass  []byte // of buf: for the library
}

// newDeadlineConn; parse is false if what comes is not RTSP itself but its encryption.
func newDeadlineConn(c net.Conn, timeout time.Duration, parse bool) *deadlineConn {
	d := &deadlineConn{Conn: c, timeout: timeout, interleaved: interleaved{off: !parse}}
	s, ok := c.(syscall.Conn)
	if !ok {
		return d
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return d
	}
	d.raw = raw
	d.look = func(fd uintptr) bool {
		d.n, d.errno = readNow(fd, d.buf[d.w:])
		return true
	}
	return d
}

// readNow reads from a descriptor that does not block. Go's scheduler need not know of it: its monitor
// would wake up each time.
func readNow(fd uintptr, to []byte) (n int, errno syscall.Errno) {
	r, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(to))), uintptr(len(to)))
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// Read gives the library what is for it, or waits for something.
func (c *deadlineConn) Read(b []byte) (int, error) {
	for len(c.pass) == 0 {
		n, pass := c.split(c.buf[c.r:c.w])
		if c.pass = c.buf[c.r : c.r+n]; !pass {
			c.pass = nil
		}
		if c.r += n; n > 0 {
			continue
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.pass)
	c.pass = c.pass[n:]
	return n, nil
}

// fill reads at least one byte behind what was not looked at yet. After an error nothing is read any more.
func (c *deadlineConn) fill() error {
	err := c.more()
	if err != nil && c.pace != nil {
		c.pace.close()
		c.pace = nil
	}
	return err
}

func (c *deadlineConn) more() error {
	if c.buf == nil {
		c.buf = make([]byte, gatherBytes)
	}
	c.w = copy(c.buf, c.buf[c.r:c.w])
	c.r = 0
	if now := time.Now(); now.Sub(c.armed) > c.timeout/10 && !c.closing.Load() {
		c.armed = now // at most ten times per timeout: a stream reads often
		if err := c.SetReadDeadline(now.Add(c.timeout + c.timeout/10)); err != nil {
			return err
		}
	}
	if c.streams && c.pace == nil && c.raw != nil {
		c.pace = newPace()
	}
	for vain := 0; c.pace != nil && vain < gatherIdle; vain++ {
		c.pace.wait()
		switch err := c.raw.Read(c.look); {
		case err != nil:
			return err
		case c.errno == syscall.EAGAIN, c.errno == syscall.EINTR:
		case c.errno != 0:
			return os.NewSyscallError("read", c.errno)
		case c.n == 0:
			return io.EOF
		default:
			c.w += c.n
			return nil
		}
	}
	if c.pace != nil {
		c.pace.stop()
	}
	n, err := c.Conn.Read(c.buf[c.w:])
	if c.w += n; n > 0 {
		err = nil // it comes again
	}
	return err
}

// Close half-closes, waits a moment for the peer to close too, and closes. Without it the kernel
// would answer media that is still under way with a reset, which can overtake the TEARDOWN, and a
// camera would keep the old session beside the next one.
func (c *deadlineConn) Close() error {
	if !c.closing.Swap(true) {
		if t, ok := c.Conn.(*net.TCPConn); ok && t.CloseWrite() == nil {
			stop := time.AfterFunc(teardownWait, func() { _ = t.Close() })
			_, _ = io.Copy(io.Discard, t)
			stop.Stop()
		}
	}
	return c.Conn.Close()
}

// unreachable reports whether err is the network's or the machine's, not the protocol's.
func unreachable(err error) bool {
	var ne net.Error
	var oe *net.OpError
	var dns *net.DNSError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errSetupTooLong) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) ||
		errors.As(err, &dns) || errors.As(err, &oe) || errors.As(err, &ne) && ne.Timeout()
}
