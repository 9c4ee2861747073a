//go:build hil

package scanner

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"minglu/drivers"
	"minglu/drivers/driverstest"
	"minglu/sim/hil/usbsim"
)

// boottime is the uptime as the agent counts it.
func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// keyboard is a scanner that the kernel takes for a keyboard (uinput; Documentation/input/uinput.rst).
type keyboard struct {
	t    *testing.T
	f    *os.File
	path string
}

func plugKeyboard(t *testing.T) *keyboard {
	t.Helper()
	fd, err := unix.Open("/dev/uinput", unix.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("/dev/uinput: %v", err)
	}
	k := &keyboard{t: t, f: os.NewFile(uintptr(fd), "uinput")}
	t.Cleanup(func() { k.f.Close() })
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(unix.IoctlSetInt(fd, 1<<30|4<<16|'U'<<8|100, evKey)) // UI_SET_EVBIT
	for c := range 255 {
		do(unix.IoctlSetInt(fd, 1<<30|4<<16|'U'<<8|101, c)) // UI_SET_KEYBIT
	}
	var setup [92]byte // struct uinput_setup: bus, vendor, product, version, name[80], ff_effects_max
	copy(setup[8:], "HIL Barcode Scanner")
	binary.NativeEndian.PutUint16(setup[:], 3)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), 1<<30|92<<16|'U'<<8|3, uintptr(unsafe.Pointer(&setup))); errno != 0 { // UI_DEV_SETUP
		t.Fatal(errno)
	}
	do(unix.IoctlSetInt(fd, 'U'<<8|1, 0)) // UI_DEV_CREATE
	var name [64]byte
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), 2<<30|64<<16|'U'<<8|44, uintptr(unsafe.Pointer(&name))); errno != 0 { // UI_GET_SYSNAME
		t.Fatal(errno)
	}
	sys := "/sys/devices/virtual/input/" + unix.ByteSliceToString(name[:])
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if found, _ := filepath.Glob(sys + "/event*"); len(found) == 1 {
			k.path = "/dev/input/" + filepath.Base(found[0])
			if _, err := os.Stat(k.path); err == nil {
				return k
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%s has no node", sys)
		}
	}
}

// scan types a code and Enter, a report in 4 ms as scanners do: the kernel keeps 64 events for a reader.
func (k *keyboard) scan(text string) {
	k.t.Helper()
	for _, e := range append(press(typed(text)...), press(keyEnter)...) {
		if e.kind == 4 || e.value == 2 {
			continue
		}
		if e == (event{}) {
			time.Sleep(4 * time.Millisecond)
		}
		if _, err := k.f.Write(bytesOf(e)); err != nil {
			k.t.Fatal(err)
		}
	}
	if _, err := k.f.Write(bytesOf(event{})); err != nil {
		k.t.Fatal(err)
	}
}

// grabbed waits until somebody has taken the device for himself.
func (k *keyboard) grabbed() {
	k.t.Helper()
	fd, err := unix.Open(k.path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		k.t.Fatal(err)
	}
	defer unix.Close(fd)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if err := unix.IoctlSetInt(fd, eviocgrab, 1); errors.Is(err, unix.EBUSY) {
			return
		} else if err == nil {
			_ = unix.IoctlSetInt(fd, eviocgrab, 0)
		}
		if time.Now().After(end) {
			k.t.Fatal("nobody takes the device")
		}
	}
}

func TestHILKeyboard(t *testing.T) {
	k := plugKeyboard(t)
	s, err := NewKeyboard(KeyboardOptions{Path: k.path, Uptime: boottime})
	if err != nil {
		t.Fatal(err)
	}
	driverstest.Scanner(t, driverstest.ScannerOptions{Scanner: s, Scan: k.scan, Ready: k.grabbed, Uptime: boottime})
}

// TestHILKeyboardIsGrabbed: nobody else gets the keys, and a second agent is told why it does not.
func TestHILKeyboardIsGrabbed(t *testing.T) {
	k := plugKeyboard(t)
	other, err := os.OpenFile(k.path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s, err := NewKeyboard(KeyboardOptions{Path: k.path, Uptime: boottime})
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, s)
	k.grabbed()
	k.scan("2026-12")
	if got := r.next(); got != "2026-12" {
		t.Errorf("%q", got)
	}
	if err := other.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := other.Read(make([]byte, 1024)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("another process reads %d bytes of the scanner, %v", n, err)
	}
	var p *drivers.Problem
	if err := s.Run(t.Context(), nil); !errors.As(err, &p) || p.Code != "busy" {
		t.Errorf("a second Run() = %v, want the problem \"busy\"", err)
	}
	r.stop()
	r.end()
}

// TestHILKeyboardUnplugged pulls it out and plugs it in again and again.
func TestHILKeyboardUnplugged(t *testing.T) {
	link := filepath.Join(t.TempDir(), "usb-Scanner-event-kbd")
	s, err := NewKeyboard(KeyboardOptions{Path: link, Uptime: boottime})
	if err != nil {
		t.Fatal(err)
	}
	before := 0
	for round := range 5 {
		var p *drivers.Problem
		if err := s.Run(t.Context(), nil); !errors.As(err, &p) || p.Code != "not-found" {
			t.Errorf("while it is out: Run() = %v", err)
		}
		k := plugKeyboard(t)
		if err := os.Symlink(k.path, link); err != nil {
			t.Fatal(err)
		}
		r := run(t, s)
		k.grabbed()
		k.scan("7")
		if got := r.next(); got != "7" {
			t.Errorf("%q", got)
		}
		pulled := time.Now()
		k.f.Close()
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

// TestHILSerial is a scanner in the mode "USB COM port", pulled out and plugged in again.
func TestHILSerial(t *testing.T) {
	line := usbsim.NewLine()
	before := 0
	for round := range 4 {
		plugged, err := usbsim.Plug(usbsim.Device{Product: "Barcode Scanner", Line: line})
		if err != nil {
			t.Fatal(err)
		}
		path, err := plugged.TTY()
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewSerial(SerialOptions{Path: path, Baud: 115200, Uptime: boottime})
		if err != nil {
			t.Fatal(err)
		}
		r := run(t, s)
		for _, text := range []string{"2026-12", "并市监罚〔2026〕12号", strings.Repeat("0123456789", 25)} {
			if _, err := line.Write([]byte(text + "\r\n")); err != nil {
				t.Fatal(err)
			}
			if got := r.next(); got != text {
				t.Errorf("%q, want %q", got, text)
			}
		}
		if line.Baud() != 115200 {
			t.Errorf("the line has %d baud", line.Baud())
		}
		pulled := time.Now()
		if err := plugged.Unplug(); err != nil {
			t.Error(err)
		}
		var p *drivers.Problem
		if err := r.end(); !errors.As(err, &p) || p.Code != "gone" || time.Since(pulled) > 2*time.Second {
			t.Errorf("Run() = %v after %v, want the problem \"gone\"", err, time.Since(pulled))
		}
		if err := s.Run(t.Context(), nil); !errors.As(err, &p) || p.Code != "not-found" {
			t.Errorf("while it is out: Run() = %v", err)
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
