package watchdog

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minglu/drivers"
)

// fake is a driver that writes down what it is asked.
type fake struct {
	did     []string
	options uint32
	boot    uint32
	step    int // times are rounded up to it
	seconds int
	fail    string
}

func (f *fake) do(s string) error {
	f.did = append(f.did, s)
	if f.fail == s {
		return unix.EIO
	}
	return nil
}

func (f *fake) info() (string, uint32, error) { return "fake", f.options, f.do("info") }
func (f *fake) set(n int) error {
	if f.step > 0 {
		n = (n + f.step - 1) / f.step * f.step
	}
	f.seconds = n
	return f.do("set")
}
func (f *fake) get() (int, error)           { return f.seconds, f.do("get") }
func (f *fake) bootStatus() (uint32, error) { return f.boot, f.do("boot") }
func (f *fake) keepAlive() error            { return f.do("feed") }
func (f *fake) write(b []byte) error        { return f.do("write " + string(b)) }
func (f *fake) close() error                { return f.do("close") }

func TestLife(t *testing.T) {
	f := &fake{options: unix.WDIOF_MAGICCLOSE | unix.WDIOF_SETTIMEOUT | unix.WDIOF_KEEPALIVEPING, step: 22, boot: unix.WDIOF_CARDRESET}
	d, err := start("/dev/watchdog9", 60*time.Second, f)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Info{"fake", 66 * time.Second, true, true}); d.Info() != want {
		t.Errorf("Info() = %+v, want %+v: the time is what was read back", d.Info(), want)
	}
	if err := d.Feed(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := d.Feed(); !errors.Is(err, ErrClosed) {
		t.Errorf("Feed() after Close() = %v", err)
	}
	if want := []string{"info", "boot", "set", "get", "feed", "feed", "write V", "close"}; !slices.Equal(f.did, want) {
		t.Errorf("did %q, want %q", f.did, want)
	}
}

// TestFixedTime: a driver whose time cannot be set is used as it is.
func TestFixedTime(t *testing.T) {
	f := &fake{seconds: 30}
	d, err := start("/dev/watchdog9", time.Minute, f)
	if err != nil || d.Info().Timeout != 30*time.Second || d.Info().Magic || slices.Contains(f.did, "set") {
		t.Errorf("%v, %+v, did %q", err, d.Info(), f.did)
	}
}

// TestFailedStart: whatever fails, the device is given back switched off, and the error can be mended by a person.
func TestFailedStart(t *testing.T) {
	for _, step := range []string{"info", "set", "get", "feed"} {
		f := &fake{options: unix.WDIOF_SETTIMEOUT, fail: step}
		d, err := start("/dev/watchdog9", time.Minute, f)
		var p *drivers.Problem
		if d != nil || !errors.As(err, &p) || p.Code != "device" || !errors.Is(err, unix.EIO) {
			t.Errorf("%s fails: %v, %v", step, d, err)
		}
		end := []string{"write V", "close"}
		if step == "info" { // it may be a disk that somebody named by mistake
			end = []string{"info", "close"}
		}
		if n := len(f.did); !slices.Equal(f.did[n-2:], end) {
			t.Errorf("%s fails: did %q, want it to end with %q", step, f.did, end)
		}
	}
	if d, err := start("/dev/watchdog9", time.Minute, &fake{}); d != nil || err == nil {
		t.Errorf("a time of 0 s was taken: %v, %v", d, err)
	}
}

func TestOpenProblems(t *testing.T) {
	var p *drivers.Problem
	if _, err := Open(filepath.Join(t.TempDir(), "watchdog9"), time.Minute); !errors.As(err, &p) || p.Code != "not-found" || p.Zh == "" {
		t.Errorf("no such device: %v", err)
	}
	for errno, code := range map[error]string{unix.EBUSY: "busy", unix.EACCES: "permission", unix.ENODEV: "not-found", unix.EIO: "device"} {
		if p := openProblem("/dev/watchdog0", &os.PathError{Op: "open", Path: "x", Err: errno}); p.Code != code || p.Zh == "" || p.En == "" {
			t.Errorf("%v: %+v, want code %s", errno, p, code)
		}
	}
	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(plain, time.Minute); !errors.As(err, &p) || p.Code != "device" {
		t.Errorf("a file that is no watchdog: %v", err)
	}
	if b, err := os.ReadFile(plain); err != nil || len(b) != 0 {
		t.Errorf("it was written to: %q, %v", b, err)
	}
	for _, d := range []time.Duration{0, Min - 1, Max + 1} {
		if _, err := Open(plain, d); err == nil {
			t.Errorf("%v was taken", d)
		}
	}
}
