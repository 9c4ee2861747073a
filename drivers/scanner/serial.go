package scanner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"

	"minglu/drivers"
)

// Ending says where a code ends.
type Ending string

// The endings.
const (
	Newline Ending = "newline" // CR, LF or both
	Tab     Ending = "tab"
	Pause   Ending = "pause" // nothing follows for a tenth of a second
)

// DefaultBaud is what scanners come with; on USB it means nothing.
const DefaultBaud = 9600

// SerialOptions say where the scanner is and how it writes.
type SerialOptions struct {
	Path   string               // required; best one of /dev/serial/by-id
	Baud   int                  // 0: [DefaultBaud]; 8 bits, no parity, one stop bit
	Ending Ending               // "": [Newline]
	Prefix string               // what the scanner puts before each code; codes without it are dropped
	Uptime func() time.Duration // required: the board's uptime
	Log    *slog.Logger         // nil: none
}

// Serial is a scanner on a serial line. It implements [drivers.Scanner].
type Serial struct{ o SerialOptions }

// NewSerial returns the scanner. It opens nothing: Run does.
func NewSerial(o SerialOptions) (*Serial, error) {
	if o.Baud == 0 {
		o.Baud = DefaultBaud
	}
	if o.Ending == "" {
		o.Ending = Newline
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Path == "" || o.Uptime == nil:
		return nil, errors.New("scanner: options: Path and Uptime are required")
	case o.Baud < 300 || o.Baud > 4000000:
		return nil, fmt.Errorf("scanner: %s: %d baud: choose 300 to 4000000", o.Path, o.Baud)
	case o.Ending != Newline && o.Ending != Tab && o.Ending != Pause:
		return nil, fmt.Errorf("scanner: %s: ending %q: choose newline, tab or pause", o.Path, o.Ending)
	case len(o.Prefix) > 16:
		return nil, fmt.Errorf("scanner: %s: prefix of %d bytes: 16 at most", o.Path, len(o.Prefix))
	}
	return &Serial{o}, nil
}

// readFor bounds a read: an end of ctx is seen that soon, and a pause is that long.
const readFor = 100 * time.Millisecond

// Run implements [drivers.Scanner]. It is the only one that touches the port, and never writes: in this library a
// write that comes after Close lands in whatever file has got the number of the descriptor.
func (s *Serial) Run(ctx context.Context, scanned func(text string, up time.Duration)) error {
	port, err := serial.Open(s.o.Path, &serial.Mode{BaudRate: s.o.Baud, DataBits: 8, Parity: serial.NoParity, StopBits: serial.OneStopBit})
	if err != nil {
		return problem(s.o.Path, plain(err))
	}
	defer port.Close()
	if err := port.SetReadTimeout(readFor); err != nil {
		return problem(s.o.Path, plain(err))
	}
	c := code{prefix: s.o.Prefix, log: s.o.Log}
	tell := func(up time.Duration) {
		if text, ok := c.end(); ok {
			scanned(text, up)
		}
	}
	buf := make([]byte, 256)
	for ctx.Err() == nil {
		n, err := port.Read(buf)
		up := s.o.Uptime()
		for _, b := range buf[:n] {
			if s.o.Ending == Newline && (b == '\r' || b == '\n') || s.o.Ending == Tab && b == '\t' {
				tell(up)
				continue
			}
			c.add(b, up)
		}
		switch {
		case err != nil:
			return problem(s.o.Path, plain(err))
		case n == 0 && s.o.Ending == Pause:
			tell(up)
		}
	}
	return context.Cause(ctx)
}

// plain turns the library's errors into those of the system: it hides some of them.
func plain(err error) error {
	var e *serial.PortError
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case serial.PortNotFound:
		return fmt.Errorf("%w (%w)", unix.ENOENT, err)
	case serial.PortBusy:
		return fmt.Errorf("%w (%w)", unix.EBUSY, err)
	case serial.PermissionDenied:
		return fmt.Errorf("%w (%w)", unix.EACCES, err)
	case serial.PortClosed: // so it calls a read of no bytes, which is how a line ends that was unplugged
		return fmt.Errorf("%w (%w)", errGone, err)
	}
	return err
}

var _ drivers.Scanner = (*Serial)(nil)
