//go:build hil

package rtc

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minglu/drivers"
	"minglu/drivers/driverstest"
	"minglu/drivers/i2cbus"
	"minglu/sim/hil/i2cchip"
)

var began = time.Now()

func sinceBoot() time.Duration { return time.Since(began) }

// right is a clock that goes right.
func right() time.Time {
	return time.Date(2031, 2, 3, 23, 59, 55, 0, time.UTC).Add(sinceBoot())
}

// TestHILBatteryDead meets a DS3231 whose battery is dead, through the kernel's I²C: told, set, read back, and dead again after the
// next loss of power.
func TestHILBatteryDead(t *testing.T) {
	bus, err := i2cchip.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	b := i2cbus.New(bus.Path())
	defer b.Close()
	d := NewDS3231(b, sinceBoot)
	for range 2 { // power lost twice
		bus.Put(0x68, i2cchip.NewDS3231(time.Time{}, true))
		r, err := d.Read(t.Context())
		if err != nil || !r.Stopped || r.T.Year() != 2000 {
			t.Fatalf("a dead battery reads %+v, %v", r, err)
		}
		driverstest.RTC(t, driverstest.RTCOptions{RTC: d, Uptime: sinceBoot, Now: right})
		if r, err := d.Read(t.Context()); err != nil || r.Stopped {
			t.Errorf("set, it reads %+v, %v", r, err)
		}
	}
	bus.Put(0x68, i2cchip.NewDS3231(time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), false))
	if r, err := d.Read(t.Context()); err != nil || r.Stopped || r.T.Year() != 2027 {
		t.Errorf("a good battery reads %+v, %v", r, err)
	}
	if c, err := d.Temperature(t.Context()); err != nil || c.Celsius() != 25 {
		t.Errorf("Temperature() = %v, %v", c, err)
	}
}

func TestHILFaults(t *testing.T) {
	bus, err := i2cchip.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	b := i2cbus.New(bus.Path())
	defer b.Close()
	d, good := NewDS3231(b, sinceBoot), i2cchip.NewDS3231(time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), false)
	for _, tt := range []struct {
		code       string
		make, mend func()
	}{
		{"nak", func() { bus.Put(0x68, nil) }, func() {}},
		{"stuck", func() { bus.Stick(true) }, func() { bus.Stick(false) }},
		{"wrong-chip", func() {
			r := &i2cchip.Registers{}
			for i := range r.Reg {
				r.Reg[i] = 0xFF
			}
			bus.Put(0x68, r)
		}, func() {}},
	} {
		bus.Put(0x68, good)
		if _, err := d.Read(t.Context()); err != nil {
			t.Errorf("before %s: %v", tt.code, err)
		}
		tt.make()
		for what, err := range map[string]error{"Set": d.Set(t.Context(), right), "Read": func() error { _, err := d.Read(t.Context()); return err }()} {
			var p *drivers.Problem
			if !errors.As(err, &p) || p.Code != tt.code {
				t.Errorf("%s: %v, want the problem %q", what, err, tt.code)
			}
		}
		tt.mend()
	}
}

// TestHILKernelClock lets the kernel's driver of the DS3231 (rtc-ds1307) have the chip, and reads it as a kernel's clock: with a dead
// battery it refuses to tell a time.
func TestHILKernelClock(t *testing.T) {
	bus, err := i2cchip.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	adapter := "/sys/bus/i2c/devices/" + strings.TrimPrefix(bus.Path(), "/dev/")
	for _, dead := range []bool{false, true} {
		bus.Put(0x68, i2cchip.NewDS3231(time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC), dead))
		if err := os.WriteFile(adapter+"/new_device", []byte("ds3231 0x68"), 0); err != nil {
			t.Fatal(err)
		}
		var dev string
		for deadline := time.Now().Add(10 * time.Second); dev == ""; time.Sleep(20 * time.Millisecond) { // bound by a worker of the kernel
			if found, _ := filepath.Glob(adapter + "/*-0068/rtc/rtc*"); len(found) == 1 {
				dev = "/dev/" + filepath.Base(found[0])
			} else if time.Now().After(deadline) {
				t.Fatal("no rtc after 10 s")
			}
		}
		k := NewKernel(dev, sinceBoot)
		r, err := k.Read(t.Context())
		if want := map[bool]int{false: 2031, true: 1970}[dead]; err != nil || r.T.Year() != want || r.Stopped != dead {
			t.Errorf("battery dead %v: %+v, %v", dead, r, err)
		}
		t.Logf("battery dead %v: %+v", dead, r)
		if !dead {
			driverstest.RTC(t, driverstest.RTCOptions{RTC: k, Uptime: sinceBoot})
		}
		if err := os.WriteFile(adapter+"/delete_device", []byte("0x68"), 0); err != nil {
			t.Error(err)
		}
	}
}

// TestHIL1970: a kernel's clock that begins in 1970 (rtc-test) is read as it is.
func TestHIL1970(t *testing.T) {
	names, _ := filepath.Glob("/sys/class/rtc/rtc*/name")
	for _, n := range names {
		if b, err := os.ReadFile(n); err != nil || !strings.HasPrefix(string(b), "rtc-test") {
			continue
		}
		dev := "/dev/" + filepath.Base(filepath.Dir(n))
		fd, err := unix.Open(dev, unix.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.IoctlSetRTCTime(fd, &unix.RTCTime{Year: 70, Mday: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := NewKernel(dev, sinceBoot).Read(t.Context()); !busy(err) {
			t.Errorf("in use by another: %v", err)
		}
		unix.Close(fd)
		r, err := NewKernel(dev, sinceBoot).Read(t.Context())
		if err != nil || r.T.Year() != 1970 || r.T.YearDay() != 1 {
			t.Errorf("Read() = %+v, %v; want the first second of 1970", r, err)
		}
		return
	}
	t.Error("no rtc-test here")
}

func busy(err error) bool {
	var p *drivers.Problem
	return errors.As(err, &p) && p.Code == "busy"
}
