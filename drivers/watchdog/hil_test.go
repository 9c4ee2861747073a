//go:build hil

package watchdog

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"minglu/drivers"
)

// TestHILWatchdog opens the emulated i6300esb, which would reset the board for real.
func TestHILWatchdog(t *testing.T) {
	const dev = "/dev/watchdog0"
	d, err := Open(dev, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if i := d.Info(); i.Timeout != 20*time.Second || !strings.Contains(i.Identity, "6300ESB") || !i.Magic || i.Reset {
		t.Errorf("%+v", i)
	}
	if err := d.Feed(); err != nil {
		t.Error(err)
	}
	var p *drivers.Problem
	if _, err := Open(dev, time.Minute); !errors.As(err, &p) || p.Code != "busy" {
		t.Errorf("a second one: %v, want busy", err)
	}
	if got := state(t); got != "active" {
		t.Errorf("while open it is %q", got)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if got := state(t); got != "inactive" {
		t.Errorf("after the orderly end it is %q: the board would be reset", got)
	}
	if d, err = Open(dev, time.Minute); err != nil {
		t.Fatalf("again: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func state(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/sys/class/watchdog/watchdog0/state")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// TestUnfed never feeds: the board is reset, and it does not come back. Only TestWatchdogBites of sim/hil runs
// it, and wants just that.
func TestUnfed(t *testing.T) {
	d, err := Open("/dev/watchdog0", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 12 {
		time.Sleep(time.Second)
		if err := d.Feed(); err != nil {
			t.Fatal(err)
		}
	}
	os.Stdout.WriteString("fed for 12 s, from now on not\n")
	time.Sleep(time.Minute)
	t.Error("a minute later the board still runs")
}
