package scanner

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"

	"minglu/drivers"
	"minglu/drivers/driverstest"
)

var began = time.Now()

func uptime() time.Duration { return time.Hour + time.Since(began) }

// running is a scanner that runs; it collects what is scanned.
type running struct {
	t     *testing.T
	scans chan string
	done  chan error
	stop  context.CancelFunc
}

func run(t *testing.T, s drivers.Scanner) *running {
	ctx, stop := context.WithCancel(t.Context())
	r := &running{t, make(chan string, 64), make(chan error, 1), stop}
	go func() { r.done <- s.Run(ctx, func(text string, _ time.Duration) { r.scans <- text }) }()
	return r
}

func (r *running) next() string {
	r.t.Helper()
	select {
	case s := <-r.scans:
		return s
	case err := <-r.done:
		r.t.Fatalf("Run() = %v", err)
	case <-time.After(5 * time.Second):
		r.t.Fatal("nothing is scanned")
	}
	return ""
}

func (r *running) end() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(5 * time.Second):
		r.t.Fatal("Run does not end")
		return nil
	}
}

// opened waits until the line is raw: until then it echoes and gathers lines.
func opened(t *testing.T, far *os.File) {
	t.Helper()
	raw, err := far.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); ; {
		lflag := uint32(0)
		if err := raw.Control(func(fd uintptr) {
			if tio, err := unix.IoctlGetTermios(int(fd), unix.TCGETS); err == nil {
				lflag = tio.Lflag
			} else {
				lflag = unix.ICANON
			}
		}); err != nil {
			t.Fatal(err)
		}
		if lflag&unix.ICANON == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("nobody opens the line")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestSerialCodes(t *testing.T) {
	long := strings.Repeat("9", MaxText)
	for _, tt := range []struct {
		rule   string
		ending Ending
		prefix string
		line   string // written in one go, then "END" as a code of its own
		want   []string
	}{
		{"CR ends a code", Newline, "", "2026-12\r", []string{"2026-12"}},
		{"LF ends a code", Newline, "", "2026-12\n2026-13\n", []string{"2026-12", "2026-13"}},
		{"CR and LF end one code, not two", Newline, "", "a\r\nb\r\n", []string{"a", "b"}},
		{"Chinese comes through", Newline, "", "并市监罚〔2026〕12号\r", []string{"并市监罚〔2026〕12号"}},
		{"blanks around it are none of it", Newline, "", "  7 8 \r", []string{"7 8"}},
		{"a tab ends it where that is set", Tab, "", "1\r2\t3\t", []string{"3"}},
		{"the longest one", Newline, "", long + "\r", []string{long}},
		{"one byte more is dropped as a whole", Newline, "", long + "0\r1\r", []string{"1"}},
		{"endless noise is dropped", Newline, "", strings.Repeat("noise", 500) + "\r1\r", []string{"1"}},
		{"what is not UTF-8 is dropped", Newline, "", "\xb2\xa2\r1\r", []string{"1"}},
		{"control characters are not passed on", Newline, "", "1\x1b[2J\r2\x00\r3\r", []string{"3"}},
		{"only blanks are no code", Newline, "", " \r1\r", []string{"1"}},
		{"the prefix is taken off", Newline, "]C1", "]C1123\r]C1" + long + "\r", []string{"123", long}},
		{"what lacks the prefix is dropped", Newline, "]C1", "123\r]C1\r]C14\r", []string{"4"}},
	} {
		far, path := driverstest.PTY(t)
		s, err := NewSerial(SerialOptions{Path: path, Ending: tt.ending, Prefix: tt.prefix, Uptime: uptime})
		if err != nil {
			t.Fatal(err)
		}
		r := run(t, s)
		opened(t, far)
		end := "\r"
		if tt.ending == Tab {
			end = "\t"
		}
		if _, err := far.WriteString(tt.line + tt.prefix + "END" + end); err != nil {
			t.Fatal(err)
		}
		var got []string
		for s := r.next(); s != "END"; s = r.next() {
			got = append(got, s)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
		r.stop()
		if err := r.end(); !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v", err)
		}
	}
}

// TestSerialPause: some scanners put nothing behind a code.
func TestSerialPause(t *testing.T) {
	far, path := driverstest.PTY(t)
	s, err := NewSerial(SerialOptions{Path: path, Ending: Pause, Uptime: uptime})
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, s)
	opened(t, far)
	for _, text := range []string{"2026-12", "2026-13"} {
		if _, err := far.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if got := r.next(); got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
	r.stop()
	r.end()
}

// TestHalfACode: what stopped in the middle does not become the beginning of the next one.
func TestHalfACode(t *testing.T) {
	c := code{log: slog.New(slog.DiscardHandler)}
	for i, b := range []byte("20") {
		c.add(b, time.Duration(i)*time.Millisecond)
	}
	for i, b := range []byte("2026-12") {
		c.add(b, 5*time.Second+time.Duration(i)*time.Millisecond)
	}
	if text, ok := c.end(); text != "2026-12" || !ok {
		t.Errorf("%q, %v", text, ok)
	}
}

// TestUnplugged pulls the plug again and again: it is told in words, the way back is by the path, nothing is left open.
func TestUnplugged(t *testing.T) {
	link := filepath.Join(t.TempDir(), "usb-Scanner-if00")
	s, err := NewSerial(SerialOptions{Path: link, Uptime: uptime})
	if err != nil {
		t.Fatal(err)
	}
	var p *drivers.Problem
	if err := s.Run(t.Context(), nil); !errors.As(err, &p) || p.Code != "not-found" || p.Zh == "" || p.En == "" {
		t.Errorf("Run() = %v, want the problem \"not-found\"", err)
	}
	before := 0
	for round := range 20 {
		far, path := driverstest.PTY(t)
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		r := run(t, s)
		opened(t, far)
		if _, err := far.WriteString("7\r"); err != nil {
			t.Fatal(err)
		}
		if got := r.next(); got != "7" {
			t.Errorf("%q", got)
		}
		pulled := time.Now()
		far.Close()
		if err := r.end(); !errors.As(err, &p) || p.Code != "gone" || time.Since(pulled) > time.Second {
			t.Errorf("Run() = %v after %v, want the problem \"gone\"", err, time.Since(pulled))
		}
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case round == 0:
			before = len(open)
		case len(open) > before:
			t.Fatalf("round %d: %d descriptors, %d after the first", round, len(open), before)
		}
	}
}

func TestSerialConformance(t *testing.T) {
	far, path := driverstest.PTY(t)
	s, err := NewSerial(SerialOptions{Path: path, Uptime: uptime})
	if err != nil {
		t.Fatal(err)
	}
	driverstest.Scanner(t, driverstest.ScannerOptions{Scanner: s, Uptime: uptime, Ready: func() { opened(t, far) }, Scan: func(text string) {
		if _, err := far.WriteString(text + "\r\n"); err != nil {
			t.Error(err)
		}
	}})
}

func TestWords(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code string
	}{
		{plain(fmt.Errorf("x: %w", unix.EIO)), "gone"}, {unix.ENODEV, "gone"}, {unix.EBUSY, "busy"}, {unix.EACCES, "permission"}, {os.ErrNotExist, "not-found"}, {unix.ENXIO, "not-found"},
	} {
		var p *drivers.Problem
		if err := problem("x", tt.err); !errors.As(err, &p) || p.Code != tt.code || p.Zh == "" || p.En == "" {
			t.Errorf("%v: %v, want %q", tt.err, err, tt.code)
		}
	}
	if _, err := serial.Open(filepath.Join(t.TempDir(), "none"), &serial.Mode{}); !errors.Is(plain(err), unix.ENOENT) {
		t.Errorf("%v", plain(err))
	}
}

// press are the events of keys that are pressed and let go, with shift where the sign wants it.
func press(codes ...uint16) (all []event) {
	for _, c := range codes {
		shift := c&0x8000 != 0
		c &^= 0x8000
		if shift {
			all = append(all, event{kind: evKey, code: keyLeftShift, value: 1})
		}
		all = append(all, event{kind: 4, code: 4, value: 0x70000}, event{kind: evKey, code: c, value: 1}, event{}, event{kind: evKey, code: c, value: 2}, event{kind: evKey, code: c})
		if shift {
			all = append(all, event{kind: evKey, code: keyLeftShift})
		}
	}
	return all
}

// typed are the key codes of a text, 0x8000 for shift.
func typed(text string) (codes []uint16) {
	for _, b := range []byte(text) {
		for c, k := range keys {
			if c >= 55 && c != 57 {
				continue // the number pad's
			}
			if k[0] == b {
				codes = append(codes, c)
			} else if k[1] == b {
				codes = append(codes, c|0x8000)
			}
		}
	}
	return codes
}

func TestKeyboardTyping(t *testing.T) {
	all := "abcxyzABCXYZ0123456789-=[];'`\\,./!@#$%^&*()_+{}:\"~|<>? Z"
	type step = []event
	for _, tt := range []struct {
		rule  string
		steps step
		want  []string
	}{
		{"each sign of the keyboard", append(press(typed(all)...), press(keyEnter)...), []string{all}},
		{"both enters and the tab end a code", append(append(append(press(typed("1")...), press(keyKPEnter)...), append(press(typed("2")...), press(keyTab)...)...), press(keyEnter)...), []string{"1", "2"}},
		{"the number pad", append(press(71, 72, 73, 74, 75, 82, 83, 98), press(keyEnter)...), []string{"789-40./"}},
		{"keys that type nothing", append(press(1, 59, 60, 103, 200, 4), press(keyEnter)...), []string{"3"}},
		{"a code of which keys were lost is dropped as a whole", slices.Concat(press(typed("12")...), step{{kind: evSyn, code: synDropped}}, press(typed("4")...), press(keyEnter), press(typed("5")...), press(keyEnter)), []string{"5"}},
	} {
		ty := typing{code: code{log: slog.New(slog.DiscardHandler)}}
		var got []string
		for _, e := range tt.steps {
			if text, ok := ty.key(e, time.Second); ok {
				got = append(got, text)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
	}
}

// bytesOf is an event as the kernel gives it.
func bytesOf(e event) (b []byte) {
	s, us := uint64(e.at/time.Second), uint64(e.at%time.Second/time.Microsecond)
	if eventBytes == 24 {
		b = binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(b, s), us)
	} else {
		b = binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(b, uint32(s)), uint32(us))
	}
	b = binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(b, e.kind), e.code)
	return binary.NativeEndian.AppendUint32(b, uint32(e.value))
}

func TestEvents(t *testing.T) {
	want := []event{{5*time.Second + 7*time.Microsecond, evKey, 30, 1}, {6 * time.Second, evKey, 30, 0}, {0, evSyn, 0, -1}}
	var raw []byte
	for _, e := range want {
		raw = append(raw, bytesOf(e)...)
	}
	if got := slices.Collect(events(append(raw, 1, 2, 3))); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestOptions(t *testing.T) {
	for i, o := range []SerialOptions{{}, {Path: "x"}, {Path: "x", Uptime: uptime, Baud: 1}, {Path: "x", Uptime: uptime, Ending: "bell"}, {Path: "x", Uptime: uptime, Prefix: strings.Repeat("x", 17)}} {
		if _, err := NewSerial(o); err == nil {
			t.Errorf("serial options %d were accepted", i)
		}
	}
	for i, o := range []KeyboardOptions{{}, {Path: "x"}, {Path: "x", Uptime: uptime, Prefix: strings.Repeat("x", 17)}} {
		if _, err := NewKeyboard(o); err == nil {
			t.Errorf("keyboard options %d were accepted", i)
		}
	}
}

func FuzzCode(f *testing.F) {
	f.Add([]byte("2026-12\r"), "]C1")
	f.Fuzz(func(t *testing.T, b []byte, prefix string) {
		c := code{prefix: prefix, log: slog.New(slog.DiscardHandler)}
		for i, x := range b {
			if x != '\r' {
				c.add(x, time.Duration(i)*time.Millisecond)
			} else if text, ok := c.end(); ok && (text == "" || len(text) > MaxText || strings.ContainsAny(text, "\x00\x1b\n")) {
				t.Errorf("%q", text)
			}
		}
	})
}
