package gpioline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/gpio"
)

// Input is a line that is read. Its methods are safe for concurrent use, but for the waits ([Input.Next],
// [Input.WaitForEdge]): one goroutine waits at a time.
type Input struct {
	line
	pull gpio.Pull
	last uint32 // sequence number of the newest edge, 0 before the first
}

// OpenInput takes the line with both edges.
func OpenInput(o Options) (*Input, error) {
	if o.Debounce < 0 || o.Debounce > maxDebounce {
		return nil, fmt.Errorf("gpioline: debounce %v: choose 0s to %v", o.Debounce, maxDebounce)
	}
	flags := uint64(flagInput | flagEdgeRising | flagEdgeFalling)
	switch o.Bias {
	case gpio.PullUp:
		flags |= flagBiasPullUp
	case gpio.PullDown:
		flags |= flagBiasPullDown
	case gpio.Float:
		flags |= flagBiasDisabled
	}
	var attrs []unix.GPIOV2LineAttribute
	if o.Debounce > 0 {
		attrs = append(attrs, unix.GPIOV2LineAttribute{Id: unix.GPIO_V2_LINE_ATTR_ID_DEBOUNCE, Flags: debounceValue(uint32(o.Debounce.Microseconds()))})
	}
	in := &Input{pull: o.Bias}
	if err := in.request(o, flags, attrs); err != nil {
		return nil, err
	}
	return in, nil
}

// debounceValue puts a u32 where the C union has it, whatever the byte order.
func debounceValue(us uint32) uint64 {
	var b [8]byte
	binary.NativeEndian.PutUint32(b[:], us)
	return binary.NativeEndian.Uint64(b[:])
}

// eventSize is that of struct gpio_v2_line_event.
const eventSize = 48

// Next waits for the next edge and returns the level after it and how long ago it came (not counting the time Debounce
// held it back). Where edges were lost (more than 16 unread) it returns the level as it is now, age 0. It
// ends with ctx's cause, with an error wrapping os.ErrClosed when the line is closed, or with the device's error.
func (in *Input) Next(ctx context.Context) (level gpio.Level, age time.Duration, err error) {
	in.mu.Lock()
	f := in.f
	in.mu.Unlock()
	if f == nil {
		return gpio.Low, 0, fmt.Errorf("gpioline: %s: %w", in.name, errClosed)
	}
	for {
		f.SetReadDeadline(time.Now().Add(lookEvery))
		stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
		level, age, err = in.next(ctx, f)
		stop()
		if ctx.Err() != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return level, age, err
		}
		if _, err := in.Level(); err != nil {
			return gpio.Low, 0, err
		}
	}
}

// lookEvery is how often a line that is waited on is looked at: Linux before 6.6 does not wake those who wait for
// the edges of a chip that is unplugged.
const lookEvery = 2 * time.Second

func (in *Input) next(ctx context.Context, f *os.File) (level gpio.Level, age time.Duration, err error) {
	var b [eventSize]byte
	switch n, err := f.Read(b[:]); {
	case err != nil && ctx.Err() != nil:
		return gpio.Low, 0, context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return gpio.Low, 0, err
	case err == nil && n != eventSize, errors.Is(err, io.EOF):
		return gpio.Low, 0, fmt.Errorf("gpioline: %s: wait: %w", in.name, gone(in.name, unix.ENODEV))
	case err != nil:
		return gpio.Low, 0, fmt.Errorf("gpioline: %s: wait: %w", in.name, gone(in.name, err))
	}
	seq := binary.NativeEndian.Uint32(b[20:])
	lost := in.last != 0 && seq != in.last+1
	in.last = seq
	if lost {
		level, err = in.Level()
		return level, 0, err
	}
	at := time.Duration(binary.NativeEndian.Uint64(b[:]))
	age = max(monotonic()-at, 0)
	return binary.NativeEndian.Uint32(b[8:]) == unix.GPIO_V2_LINE_EVENT_RISING_EDGE, age, nil
}

// monotonic is the clock of the kernel's edges.
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("BUG: CLOCK_MONOTONIC: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// WaitForEdge waits for an edge, for periph: true after one, false when timeout has passed (0: only one that has come
// already; below 0: for ever) or the line is closed or gone.
func (in *Input) WaitForEdge(timeout time.Duration) bool {
	if timeout < 0 {
		_, _, err := in.Next(context.Background())
		return err == nil
	}
	in.mu.Lock()
	f := in.f
	in.mu.Unlock()
	if f == nil {
		return false
	}
	// A deadline that has passed makes Read fail without looking: leave it a moment to look.
	f.SetReadDeadline(time.Now().Add(max(timeout, time.Millisecond)))
	_, _, err := in.next(context.Background(), f)
	return err == nil
}

// Read is Level for periph; a line that cannot be read is Low.
func (in *Input) Read() gpio.Level {
	l, err := in.Level()
	return l && err == nil
}

// In accepts what the line was opened with and refuses anything else: the kernel has it already.
func (in *Input) In(pull gpio.Pull, _ gpio.Edge) error {
	if pull != in.pull && pull != gpio.PullNoChange {
		return fmt.Errorf("gpioline: %s: opened with %s, not %s", in.name, in.pull, pull)
	}
	return nil
}

// Pull returns what the line was opened with.
func (in *Input) Pull() gpio.Pull { return in.pull }

// DefaultPull is unknown.
func (in *Input) DefaultPull() gpio.Pull { return gpio.PullNoChange }

// Function says what the line is, for periph.
func (in *Input) Function() string { return string(gpio.IN) }

var _ gpio.PinIn = (*Input)(nil)
