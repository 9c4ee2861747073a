package rtc

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"

	"minglu/drivers"
	"minglu/drivers/driverstest"
)

func uptime() time.Duration { return time.Hour }

// chip is all registers: seven of the time, alarms, control, status, aging, temperature.
func chip(now []byte, control, status byte, temp ...byte) i2ctest.IO {
	r := append(append([]byte(nil), now...), 1, 2, 3, 4, 5, 6, 7, control, status, 0)
	if len(temp) == 0 {
		temp = []byte{25, 0x40}
	}
	return i2ctest.IO{Addr: 0x68, W: []byte{0x00}, R: append(r, temp...)}
}

// noon is Wednesday, 25 November 2026, 12:34:56.
var noon = []byte{0x56, 0x34, 0x12, 4, 0x25, 0x11, 0x26}

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name string
		io   i2ctest.IO
		want time.Time
		stop bool
		code string
	}{
		{"24 hours", chip(noon, 0x1C, 0x08), time.Date(2026, 11, 25, 12, 34, 56, 0, time.UTC), false, ""},
		{"the oscillator stood still", chip([]byte{0, 0, 0, 1, 1, 1, 0}, 0x1C, 0x88), time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), true, ""},
		{"12 hours, noon", chip([]byte{0, 0, 0x72, 1, 0x28, 0x02, 0x28}, 0, 0), time.Date(2028, 2, 28, 12, 0, 0, 0, time.UTC), false, ""},
		{"12 hours, midnight", chip([]byte{0, 0, 0x52, 1, 0x29, 0x02, 0x28}, 0, 0), time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC), false, ""},
		{"12 hours, 11 pm", chip([]byte{0x59, 0x59, 0x71, 1, 0x31, 0x12, 0x99}, 0, 0), time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC), false, ""},
		{"the next century", chip([]byte{0, 0, 0, 5, 1, 0x81, 0}, 0, 0), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), false, ""},
		{"no month 0", chip([]byte{0, 0, 0, 1, 1, 0, 0}, 0, 0), time.Time{}, false, "no-time"},
		{"no 30 February", chip([]byte{0, 0, 0, 1, 0x30, 2, 0x26}, 0, 0), time.Time{}, false, "no-time"},
		{"no BCD", chip([]byte{0x5A, 0, 0, 1, 1, 1, 0}, 0, 0), time.Time{}, false, "no-time"},
		{"60 seconds", chip([]byte{0x60, 0, 0, 1, 1, 1, 0}, 0, 0), time.Time{}, false, "no-time"},
		{"another chip, by its seconds", chip([]byte{0x80, 0, 0, 1, 1, 1, 0}, 0, 0), time.Time{}, false, "wrong-chip"},
		{"another chip, by its status", chip(noon, 0, 0x10), time.Time{}, false, "wrong-chip"},
		{"another chip, by its temperature", chip(noon, 0, 0, 25, 0x01), time.Time{}, false, "wrong-chip"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{tt.io}}
			got, err := NewDS3231(bus, uptime).Read(t.Context())
			var p *drivers.Problem
			errors.As(err, &p)
			switch {
			case tt.code == "" && (err != nil || got != drivers.RTCTime{T: tt.want, Stopped: tt.stop, Up: time.Hour}):
				t.Errorf("Read() = %+v, %v; want %v, stopped %v", got, err, tt.want, tt.stop)
			case tt.code != "" && (p == nil || p.Code != tt.code || p.Zh == "" || got != drivers.RTCTime{}):
				t.Errorf("Read() = %+v, %v; want the problem %q", got, err, tt.code)
			}
			if err := bus.Close(); err != nil { // one transfer: the time cannot change within it
				t.Error(err)
			}
		})
	}
}

// TestTemperature has the example of p. 15, and the cold.
func TestTemperature(t *testing.T) {
	for raw, want := range map[[2]byte]physic.Temperature{{0x19, 0x40}: 25_250, {0xFF, 0xC0}: -250, {0xD8, 0x00}: -40_000} {
		bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{chip(noon, 0, 0, raw[:]...)}}
		if got, err := NewDS3231(bus, uptime).Temperature(t.Context()); err != nil || got != physic.ZeroCelsius+want*physic.MilliKelvin {
			t.Errorf("% x: %v, %v; want %d m°C", raw, got, err, want)
		}
	}
}

// TestSet: the time is written as its second begins, the oscillator is let go on without power, the flag is cleared and the rest of
// control and status kept; then it is read back.
func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which begins at midnight of 1 January 2000 UTC
		wrote := i2ctest.IO{Addr: 0x68, W: []byte{0x00, 0x01, 0x00, 0x00, 7, 0x01, 0x01, 0x00}}
		for _, tt := range []struct {
			name string
			ops  []i2ctest.IO
			code string
		}{
			{"stopped", []i2ctest.IO{chip(noon, 0x9C, 0x8B), wrote, {Addr: 0x68, W: []byte{0x0E, 0x1C}}, {Addr: 0x68, W: []byte{0x0F, 0x0B}}, chip([]byte{1, 0, 0, 7, 1, 1, 0}, 0x1C, 0x0B)}, ""},
			{"it held no time at all", []i2ctest.IO{chip(make([]byte, 7), 0x1C, 0x80), wrote, {Addr: 0x68, W: []byte{0x0E, 0x1C}}, {Addr: 0x68, W: []byte{0x0F, 0x00}}, chip([]byte{1, 0, 0, 7, 1, 1, 0}, 0x1C, 0)}, ""},
			{"it does not go", []i2ctest.IO{chip(noon, 0x1C, 0x80), wrote, {Addr: 0x68, W: []byte{0x0E, 0x1C}}, {Addr: 0x68, W: []byte{0x0F, 0x00}}, chip([]byte{1, 0, 0, 7, 1, 1, 0}, 0x1C, 0x80)}, "stopped"},
			{"it did not take the time", []i2ctest.IO{chip(noon, 0x1C, 0), wrote, {Addr: 0x68, W: []byte{0x0E, 0x1C}}, {Addr: 0x68, W: []byte{0x0F, 0x00}}, chip(noon, 0x1C, 0)}, "stopped"},
			{"another chip is not written to", []i2ctest.IO{chip(noon, 0, 0x70)}, "wrong-chip"},
		} {
			bus := &i2ctest.Playback{DontPanic: true, Ops: tt.ops}
			midnight := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
			began := time.Now()
			err := NewDS3231(bus, uptime).Set(t.Context(), func() time.Time { return midnight.Add(300*time.Millisecond + time.Since(began)) })
			var p *drivers.Problem
			if errors.As(err, &p); tt.code == "" && err != nil || tt.code != "" && (p == nil || p.Code != tt.code) {
				t.Errorf("%s: Set() = %v, want %q", tt.name, err, tt.code)
			}
			if took := time.Since(began); tt.code != "wrong-chip" && took != 700*time.Millisecond {
				t.Errorf("%s: written after %v, want at the next full second", tt.name, took)
			}
			if err := bus.Close(); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	})
}

func TestSetOfAnotherAge(t *testing.T) {
	for _, year := range []int{1970, 1999, 2200} {
		bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{chip(noon, 0, 0)}}
		if err := NewDS3231(bus, uptime).Set(t.Context(), func() time.Time { return time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC) }); err == nil {
			t.Errorf("the year %d was set", year)
		}
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	}
}

// cell is a bus with a DS3231 that goes by the bubble's clock.
type cell struct {
	i2ctest.Playback
	offset time.Duration
	status byte
}

func (c *cell) Tx(_ uint16, w, r []byte) error {
	c.Lock()
	defer c.Unlock()
	switch {
	case len(w) == 8:
		t, err := decode([7]byte(w[1:]))
		c.offset = time.Until(t)
		return err
	case len(w) == 2 && w[0] == regStatus:
		c.status = w[1]
	case len(r) == regAll:
		b, err := encode(time.Now().Add(c.offset).UTC())
		copy(r, b[:])
		r[regStatus] = c.status
		return err
	}
	return nil
}

func TestConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boot := time.Now()
		up := func() time.Duration { return time.Since(boot) }
		now := func() time.Time { return time.Now().AddDate(26, 0, 0) }
		driverstest.RTC(t, driverstest.RTCOptions{RTC: NewDS3231(&cell{status: 0x88}, up), Uptime: up, Now: now})
	})
}

func TestRecognise(t *testing.T) {
	for _, tt := range []struct {
		io   i2ctest.IO
		want bool
	}{{chip(noon, 0x1C, 0x88), true}, {chip(make([]byte, 7), 0, 0), false}, {i2ctest.IO{Addr: 0x68, W: []byte{0x01}}, false}} {
		bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{tt.io}}
		if got := Recognise(bus); got != tt.want {
			t.Errorf("Recognise() = %v", got)
		}
	}
}

func TestNoKernelClock(t *testing.T) {
	for path, code := range map[string]string{"/dev/rtc-none": "not-found", "/dev/null": "device"} {
		r, err := NewKernel(path, uptime).Read(t.Context())
		var p *drivers.Problem
		if !errors.As(err, &p) || p.Code != code || r != (drivers.RTCTime{}) {
			t.Errorf("%s: %+v, %v; want the problem %q", path, r, err, code)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewKernel("/dev/rtc-none", uptime).Read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Read() for nobody = %v", err)
	}
}
