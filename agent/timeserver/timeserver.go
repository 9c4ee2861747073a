// Package timeserver gives the board's time to its cameras by NTP (RFC 5905, server mode, as SNTP clients
// ask: RFC 5905 14).
//
// It guarantees: it names a time as good only while the board's clock knows its own error and that error is
// at most [Options.MaxError]; else it answers, as RFC 5905 7.3 wants, with leap indicator 3 and stratum 16,
// which no client follows. The error bound goes out as root dispersion, so that a client can judge for
// itself. It answers client requests only, with packets no longer than theirs, and keeps nothing of
// whoever asks: it cannot be used to amplify, to peer or to ask about others.
//
// It does not set any clock, and speaks no authentication: it is for the cameras' own network.
//
// Use: [New], then [Server.Run].
package timeserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"sync/atomic"
	"time"

	"minglu/agent/clock"
)

const (
	// DefaultMaxError is how much the clock may be off before it is no time to give.
	DefaultMaxError = 200 * time.Millisecond
	// unknownStratum is what a clock is taken for whose source tells none: far from any reference.
	unknownStratum = 9
	// perSecond bounds how many requests are answered; 64 cameras that ask each 16 s make 4.
	perSecond = 500

	packetSize = 48 // RFC 5905 7.3, without extensions
	epoch1900  = 2208988800
)

// Options are what a Server needs.
type Options struct {
	Listen   string               // host:port, UDP
	Now      func() clock.Reading // called for each answer
	MaxError time.Duration        // 0: DefaultMaxError
	Log      *slog.Logger         // nil: slog.Default
}

// Status is what the server has done.
type Status struct {
	Answered, Refused int64 // refused: no client request, or too many
	Good              bool  // the last answer named a time as good
}

// Server is one time server. Safe for concurrent use.
type Server struct {
	o                 Options
	answered, refused atomic.Int64
	good              atomic.Bool
	addr              atomic.Pointer[string]
	bound             chan struct{}
}

// New checks the options and opens nothing yet.
func New(o Options) (*Server, error) {
	if _, _, err := net.SplitHostPort(o.Listen); err != nil || o.Now == nil {
		return nil, fmt.Errorf("timeserver: options: listen %q: want host:port, and a clock", o.Listen)
	}
	if o.MaxError == 0 {
		o.MaxError = DefaultMaxError
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Server{o: o, bound: make(chan struct{})}, nil
}

// Run answers until ctx ends and returns its cause, or why it cannot listen. Call it once.
func (s *Server) Run(ctx context.Context) error {
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", s.o.Listen)
	if err != nil {
		close(s.bound)
		return fmt.Errorf("timeserver: listen %q: %w: another time server (chronyd, ntpd) on this address? take another in ntp.listen", s.o.Listen, err)
	}
	addr := conn.LocalAddr().String()
	s.addr.Store(&addr)
	close(s.bound)
	s.o.Log.Info("giving time to cameras", "address", addr)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	b := make([]byte, 512)
	var p pace
	for {
		k, from, err := conn.ReadFrom(b)
		received := s.o.Now()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("timeserver: %w", err)
		}
		if err != nil { // an ICMP error of an earlier answer
			continue
		}
		answer, ok := s.answer(b[:k], received)
		if !ok || !p.may(received.Up) {
			s.refused.Add(1)
			continue
		}
		s.answered.Add(1)
		_, _ = conn.WriteTo(answer, from) // whoever asked has gone
	}
}

// pace counts the answers of a second.
type pace struct {
	second time.Duration
	n      int
}

func (p *pace) may(up time.Duration) bool {
	if s := up.Truncate(time.Second); s != p.second {
		p.second, p.n = s, 0
	}
	p.n++
	return p.n <= perSecond
}

// Addr blocks until the server listens and gives the address; "" when ctx ends or it cannot.
func (s *Server) Addr(ctx context.Context) string {
	select {
	case <-s.bound:
		if a := s.addr.Load(); a != nil {
			return *a
		}
	case <-ctx.Done():
	}
	return ""
}

// Status tells what it has done.
func (s *Server) Status() Status {
	return Status{s.answered.Load(), s.refused.Load(), s.good.Load()}
}

// answer makes the reply to a request that came at the given reading; false for what is no client request.
func (s *Server) answer(q []byte, received clock.Reading) ([]byte, bool) {
	if len(q) < packetSize {
		return nil, false
	}
	version, mode := q[0]>>3&7, q[0]&7
	if mode != 3 || version < 1 || version > 4 { // RFC 5905 figure 10: client
		return nil, false
	}
	a := make([]byte, packetSize)
	leap, stratum, ref := byte(3), 16, [4]byte{}
	good := received.Error >= 0 && received.Error <= s.o.MaxError && !received.BeforeFloor
	if good {
		leap, stratum = 0, received.Stratum+1
		if received.Stratum == 0 {
			stratum = unknownStratum + 1
		}
		ref = [4]byte{127, 127, 1, 1}
		good = stratum < 16
	}
	if !good {
		leap, stratum = 3, 16
	}
	s.good.Store(good)
	a[0] = leap<<6 | version<<3 | 4 // server
	if a[1] = byte(stratum); stratum == 16 {
		a[1] = 0 // on the wire "unspecified or invalid" (figure 11): all clients know that
	}
	a[2] = q[2]                           // poll interval, as asked
	a[3] = precision(time.Microsecond)    // of the board's clock
	binary.BigEndian.PutUint32(a[4:8], 0) // root delay is in the dispersion: the bound is all we know
	if received.Error >= 0 {
		binary.BigEndian.PutUint32(a[8:12], short(received.Error))
	}
	copy(a[12:16], ref[:])
	put(a[16:24], received.T) // reference time: the clock is disciplined all the time
	copy(a[24:32], q[40:48])  // origin: the client's transmit timestamp, unread
	put(a[32:40], received.T)
	put(a[40:48], s.o.Now().T)
	return a, true
}

// put writes a timestamp: seconds since 1900 and their fraction (RFC 5905 6). Era 1 begins in 2036; the
// low 32 bits are right in each.
func put(b []byte, t time.Time) {
	binary.BigEndian.PutUint32(b, uint32(t.Unix()+epoch1900))
	binary.BigEndian.PutUint32(b[4:], uint32(uint64(t.Nanosecond())<<32/1e9))
}

// short is the 16.16 seconds format of RFC 5905 6, rounded up.
func short(d time.Duration) uint32 {
	v := (uint64(d)<<16 + 1e9 - 1) / 1e9
	return uint32(min(v, 1<<32-1))
}

// precision is log2 of seconds.
func precision(d time.Duration) byte {
	return byte(int8(-bits.Len64(uint64(time.Second/d)) + 1))
}
