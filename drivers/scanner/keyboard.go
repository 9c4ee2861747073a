package scanner

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"minglu/drivers"
)

// KeyboardOptions say which device types the codes.
type KeyboardOptions struct {
	Path   string               // required; best one of /dev/input/by-id, …-event-kbd
	Prefix string               // what the scanner types before each code; codes without it are dropped
	Uptime func() time.Duration // required: the board's uptime
	Log    *slog.Logger         // nil: none
}

// Keyboard is a scanner that types what it reads, and then Enter (or Tab). It implements [drivers.Scanner].
type Keyboard struct{ o KeyboardOptions }

// NewKeyboard returns the scanner. It opens nothing: Run does.
func NewKeyboard(o KeyboardOptions) (*Keyboard, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Path == "" || o.Uptime == nil:
		return nil, errors.New("scanner: options: Path and Uptime are required")
	case len(o.Prefix) > 16:
		return nil, fmt.Errorf("scanner: %s: prefix of %d bytes: 16 at most", o.Path, len(o.Prefix))
	}
	return &Keyboard{o}, nil
}

// Of include/uapi/linux/input.h and input-event-codes.h.
const (
	eviocgrab     = 1<<30 | 4<<16 | 'E'<<8 | 0x90 // EVIOCGRAB, _IOW('E', 0x90, int)
	eviocsclockid = 1<<30 | 4<<16 | 'E'<<8 | 0xA0 // EVIOCSCLOCKID, _IOW('E', 0xa0, int)
	evSyn         = 0
	evKey         = 1
	synDropped    = 3
	keyTab        = 15
	keyEnter      = 28
	keyLeftShift  = 42
	keyRightShift = 54
	keyKPEnter    = 96
)

// eventBytes is the size of struct input_event: two of C's long, type, code and value.
const eventBytes = 2*int(unsafe.Sizeof(uintptr(0))) + 8

// Run implements [drivers.Scanner]. While it runs, nobody else gets the scanner's keys.
func (k *Keyboard) Run(ctx context.Context, scanned func(text string, up time.Duration)) error {
	f, err := os.OpenFile(k.o.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return problem(k.o.Path, err)
	}
	defer f.Close()
	if err := grab(f); err != nil {
		return problem(k.o.Path, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	t := typing{code: code{prefix: k.o.Prefix, log: k.o.Log}}
	buf := make([]byte, 64*eventBytes)
	for {
		n, err := f.Read(buf)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			return problem(k.o.Path, err)
		}
		up := k.o.Uptime()
		for e := range events(buf[:n]) {
			at := up
			if age := time.Duration(now.Nano()) - e.at; age >= 0 && age < time.Minute {
				at -= age
			}
			if text, ok := t.key(e, at); ok {
				scanned(text, at)
			}
		}
		if errors.Is(err, io.EOF) {
			err = errGone
		}
		if err != nil {
			return problem(k.o.Path, err)
		}
	}
}

// grab takes the device for this process alone and sets its clock to CLOCK_MONOTONIC.
func grab(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), eviocsclockid, unix.CLOCK_MONOTONIC); failed == nil {
			failed = unix.IoctlSetInt(int(fd), eviocgrab, 1)
		}
	})
	return errors.Join(err, failed)
}

// event is one input_event.
type event struct {
	at         time.Duration // on CLOCK_MONOTONIC
	kind, code uint16
	value      int32
}

// events are the whole events in b; the kernel gives no parts.
func events(b []byte) func(yield func(event) bool) {
	return func(yield func(event) bool) {
		for ; len(b) >= eventBytes; b = b[eventBytes:] {
			var s, us int64
			rest := b[eventBytes-8:]
			if eventBytes == 24 {
				s, us = int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:]))
			} else {
				s, us = int64(binary.NativeEndian.Uint32(b)), int64(binary.NativeEndian.Uint32(b[4:]))
			}
			e := event{time.Duration(s)*time.Second + time.Duration(us)*time.Microsecond,
				binary.NativeEndian.Uint16(rest), binary.NativeEndian.Uint16(rest[2:]), int32(binary.NativeEndian.Uint32(rest[4:]))}
			if !yield(e) {
				return
			}
		}
	}
}

// typing makes codes of keys.
type typing struct {
	code
	shift  [2]bool // left, right
	unsure bool    // events were lost: what comes up to the next end is not a whole code
}

// key takes one event; ok is true when it ends a code.
func (t *typing) key(e event, up time.Duration) (text string, ok bool) {
	switch {
	case e.kind == evSyn && e.code == synDropped:
		t.unsure = true
		return "", false
	case e.kind != evKey:
		return "", false
	case e.code == keyLeftShift:
		t.shift[0] = e.value != 0
		return "", false
	case e.code == keyRightShift:
		t.shift[1] = e.value != 0
		return "", false
	case e.value != 1: // a key let go, or repeating because it is held
		return "", false
	case e.code == keyEnter, e.code == keyKPEnter, e.code == keyTab:
		if t.unsure {
			t.unsure = false
			t.drop("keys were lost")
			return "", false
		}
		return t.end()
	}
	c := keys[e.code]
	b := c[0]
	if (t.shift[0] || t.shift[1]) && c[1] != 0 {
		b = c[1]
	}
	if b != 0 {
		t.add(b, up)
	}
	return "", false
}

// keys is what an American keyboard types, plain and with shift, by the kernel's key codes.
var keys = func() map[uint16][2]byte {
	m := map[uint16][2]byte{}
	row := func(first uint16, plain, shifted string) {
		for i := range plain {
			m[first+uint16(i)] = [2]byte{plain[i], shifted[i]}
		}
	}
	row(2, "1234567890-=", "!@#$%^&*()_+")
	row(16, "qwertyuiop[]", "QWERTYUIOP{}")
	row(30, "asdfghjkl;'`", `ASDFGHJKL:"~`)
	row(43, `\zxcvbnm,./`, "|ZXCVBNM<>?")
	row(55, "*", "*")
	row(57, " ", " ")
	row(71, "789-456+1230.", "789-456+1230.") // number pad
	row(98, "/", "/")
	return m
}()

var _ drivers.Scanner = (*Keyboard)(nil)
