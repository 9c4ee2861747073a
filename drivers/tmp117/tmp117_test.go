package tmp117

import (
	"errors"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c/i2ctest"

	"minglu/drivers"
	"minglu/drivers/driverstest"
)

func uptime() time.Duration { return time.Hour }

var who = i2ctest.IO{Addr: 0x48, W: []byte{0x0F}, R: []byte{0x11, 0x17}} // revision 1

func result(b ...byte) i2ctest.IO { return i2ctest.IO{Addr: 0x48, W: []byte{0x00}, R: b} }

// TestRead has the values of SNOSD82D table 7-1 (the first two), and the ends.
func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name string
		raw  []byte
		want int // 1/1000 °C
		code string
	}{
		{"a room", []byte{0x0C, 0x80}, 25_000, ""},
		{"frost", []byte{0xF3, 0x80}, -25_000, ""},
		{"one step", []byte{0x00, 0x01}, 7, ""},
		{"the highest", []byte{0x7F, 0xFF}, 255_992, ""},
		{"just powered", []byte{0x80, 0x00}, 0, "not-ready"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{who, result(tt.raw...)}}
			c, err := New(bus, 0x48, uptime).Read(t.Context())
			var p *drivers.Problem
			errors.As(err, &p)
			switch {
			case tt.code == "" && (err != nil || c != drivers.Climate{MilliCelsius: tt.want, MilliPercent: -1, Up: time.Hour}):
				t.Errorf("Read() = %+v, %v; want %d", c, err, tt.want)
			case tt.code != "" && (p == nil || p.Code != tt.code || p.Zh == "" || c != drivers.Climate{}):
				t.Errorf("Read() = %+v, %v; want the problem %q", c, err, tt.code)
			}
			if err := bus.Close(); err != nil { // nothing more, nothing less on the wire
				t.Error(err)
			}
		})
	}
}

// TestLooksAgain: the chip's identity is read once, and again after a fault: another chip may have been plugged in.
func TestLooksAgain(t *testing.T) {
	other := i2ctest.IO{Addr: 0x48, W: []byte{0x0F}, R: []byte{0x00, 0x75}}
	bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{who, result(0x0C, 0x80), result(0x80, 0x00), other, who, result(0x0C, 0x80)}}
	d := New(bus, 0x48, uptime)
	for i, code := range []string{"", "not-ready", "wrong-chip", ""} {
		_, err := d.Read(t.Context())
		var p *drivers.Problem
		if errors.As(err, &p); code == "" && err != nil || code != "" && (p == nil || p.Code != code) {
			t.Errorf("reading %d: %v, want %q", i+1, err, code)
		}
	}
	if err := bus.Close(); err != nil {
		t.Error(err)
	}
}

func TestRecognise(t *testing.T) {
	for want, io := range map[bool]i2ctest.IO{true: who, false: {Addr: 0x48, W: []byte{0x0F}, R: []byte{0x00, 0x75}}} {
		bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{io}}
		if got := Recognise(bus, 0x48); got != want {
			t.Errorf("Recognise() = %v, want %v", got, want)
		}
	}
	if Recognise(&i2ctest.Playback{DontPanic: true}, 0x48) {
		t.Error("nobody was recognised")
	}
}

// thermometer is a bus with a TMP117 at 25 °C.
type thermometer struct{ i2ctest.Playback }

func (*thermometer) Tx(_ uint16, w, r []byte) error {
	copy(r, map[byte][]byte{regResult: {0x0C, 0x80}, regIdentity: {0x01, 0x17}}[w[0]])
	return nil
}

func TestConformance(t *testing.T) {
	driverstest.Thermometer(t, driverstest.ThermometerOptions{Thermometer: New(&thermometer{}, 0x48, uptime), Uptime: uptime})
}
