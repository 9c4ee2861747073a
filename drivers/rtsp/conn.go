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
)

// dial connects within the timeout.
func (s *Source) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: s.timeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &deadlineConn{Conn: c, timeout: s.timeout}, nil
}

// deadlineConn ends a read that brings nothing for the timeout, measured by the monotonic clock,
// and closes so that the last request still reaches the peer.
type deadlineConn struct {
	net.Conn
	timeout time.Duration
	armed   time.Time // when the read deadline was last set; only the reader uses it
	closing atomic.Bool
}

// Read renews the deadline at most ten times per timeout: a stream reads often.
func (c *deadlineConn) Read(b []byte) (int, error) {
	if now := time.Now(); now.Sub(c.armed) > c.timeout/10 && !c.closing.Load() {
		c.armed = now
		if err := c.SetReadDeadline(now.Add(c.timeout + c.timeout/10)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(b)
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
