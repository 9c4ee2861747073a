package clock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/facebook/time/ntp/chrony"
)

// Estimate is what a source says of the system clock.
type Estimate struct {
	Error  time.Duration // the clock is off by no more than this
	Source string
	// Stratum of the system clock (RFC 5905 3): 1 is a clock itself, each step over the network one more; 0
	// unknown.
	Stratum int
}

// Source asks once. An error wrapping [ErrUnverified] is an answer: the clock is not synchronised,
// and no other source need be asked. Any other error means that this source is not there.
type Source func(ctx context.Context) (Estimate, error)

// ErrUnverified says that nobody vouches for the clock.
var ErrUnverified = errors.New("the clock is not synchronised: check the network and the time server")

// DefaultChrony are chronyd's command sockets: the Unix socket for root and chrony's own user, UDP
// on loopback for everybody else (chrony.conf(5), bindcmdaddress).
var DefaultChrony = []string{"/run/chrony/chronyd.sock", "127.0.0.1:323"}

// chronyTimeout bounds one question: chronyd on this machine answers within milliseconds.
const chronyTimeout = time.Second

// Chrony asks chronyd for its tracking data at the first of addrs that answers: a path is a Unix
// datagram socket, else host:port over UDP. Error = |offset| + root delay/2 + root dispersion
// (RFC 5905 11.2, root distance). A chronyd that follows its own clock ("local") vouches for nothing.
func Chrony(addrs ...string) Source {
	return func(ctx context.Context) (Estimate, error) {
		err := errors.New("clock: chrony: no address")
		for _, a := range addrs {
			var t *chrony.ReplyTracking
			if t, err = tracking(ctx, a); err == nil {
				return trackingError(&t.Tracking)
			}
		}
		return Estimate{}, err
	}
}

// refLocal is the reference id of a chronyd that serves its own clock (127.127.1.1).
const refLocal = 0x7F7F0101

func trackingError(t *chrony.Tracking) (Estimate, error) {
	if t.LeapStatus == 3 || t.Stratum == 0 || t.RefID == 0 || t.RefID == refLocal { // leap 3: RFC 5905 7.3
		return Estimate{}, fmt.Errorf("clock: chrony: leap %d, stratum %d, reference %08X: %w", t.LeapStatus, t.Stratum, t.RefID, ErrUnverified)
	}
	s := max(t.CurrentCorrection, -t.CurrentCorrection) + t.RootDelay/2 + t.RootDispersion
	if !(s >= 0 && s < 1e6) {
		return Estimate{}, fmt.Errorf("clock: chrony: root distance of %g s: %w", s, ErrUnverified)
	}
	return Estimate{Error: max(time.Duration(s*1e9), time.Microsecond), Source: SourceChrony, Stratum: int(t.Stratum)}, nil
}

func tracking(ctx context.Context, addr string) (*chrony.ReplyTracking, error) {
	conn, err := dialChrony(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("clock: chrony: %w", err)
	}
	defer conn.Close()
	deadline := time.Now().Add(chronyTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("clock: chrony: %s: %w", addr, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	reply, err := (&chrony.Client{Connection: conn}).Communicate(chrony.NewTrackingPacket())
	if err != nil {
		return nil, fmt.Errorf("clock: chrony: %s: %w", addr, err)
	}
	t, ok := reply.(*chrony.ReplyTracking)
	if !ok {
		return nil, fmt.Errorf("clock: chrony: %s: a reply of type %T to a tracking request: is another program there?", addr, reply)
	}
	return t, nil
}

// unixConn takes its own socket away when closed: chronyd answers to a name only.
type unixConn struct {
	*net.UnixConn
	local string
}

func (c unixConn) Close() error { return errors.Join(c.UnixConn.Close(), os.Remove(c.local)) }

func dialChrony(ctx context.Context, addr string) (net.Conn, error) {
	if !filepath.IsAbs(addr) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", addr)
	}
	local := filepath.Join(filepath.Dir(addr), "minglu."+strconv.Itoa(os.Getpid())+".sock")
	os.Remove(local) // of a process of this number that was killed
	conn, err := net.DialUnix("unixgram", &net.UnixAddr{Name: local, Net: "unixgram"}, &net.UnixAddr{Name: addr, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	c := unixConn{conn, local}
	if err := os.Chmod(local, 0o666); err != nil { // chronyd runs as another user
		c.Close()
		return nil, err
	}
	return c, nil
}
