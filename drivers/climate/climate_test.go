package climate

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"

	"minglu/drivers"
	"minglu/drivers/driverstest"
)

// The messages of the data sheets. Checksums were calculated beside this code; CRC(0xBEEF) = 0x92 is the data sheet's.
var (
	reset3, status3 = i2ctest.IO{Addr: 0x44, W: []byte{0x30, 0xA2}}, i2ctest.IO{Addr: 0x44, W: []byte{0xF3, 0x2D}}
	afterReset3     = i2ctest.IO{Addr: 0x44, R: []byte{0x80, 0x10, 0xE1}} // table 18: alert and reset, as after each reset
	heaterOn3       = i2ctest.IO{Addr: 0x44, R: []byte{0x20, 0x00, 0x5D}}
	measure3        = i2ctest.IO{Addr: 0x44, W: []byte{0x24, 0x00}}
	reset4, serial4 = i2ctest.IO{Addr: 0x44, W: []byte{0x94}}, i2ctest.IO{Addr: 0x44, W: []byte{0x89}}
	number4         = i2ctest.IO{Addr: 0x44, R: []byte{0x12, 0x34, 0x37, 0x56, 0x78, 0x7D}}
	measure4        = i2ctest.IO{Addr: 0x44, W: []byte{0xFD}}
	met3, met4      = []i2ctest.IO{reset3, status3, afterReset3, measure3}, []i2ctest.IO{reset4, serial4, number4, measure4}
	sht3, sht4      = NewSHT3x, NewSHT4x
)

func answer(b ...byte) i2ctest.IO { return i2ctest.IO{Addr: 0x44, R: b} }

func uptime() time.Duration { return time.Hour }

func TestSense(t *testing.T) {
	for _, tt := range []struct {
		name   string
		sensor func(i2c.Bus, uint16, func() time.Duration) *Sensor
		ops    []i2ctest.IO
		t      physic.Temperature // above 0 °C
		h      physic.RelativeHumidity
	}{
		{"SHT3x: a room", sht3, append(met3, answer(0x66, 0x66, 0x93, 0x80, 0x00, 0xA2)), 25 * physic.Kelvin, 50*physic.PercentRH + 10*physic.MicroRH},
		{"SHT3x: the lowest", sht3, append(met3, answer(0, 0, 0x81, 0, 0, 0x81)), -45 * physic.Kelvin, 0},
		{"SHT3x: the highest", sht3, append(met3, answer(0xFF, 0xFF, 0xAC, 0xFF, 0xFF, 0xAC)), 130 * physic.Kelvin, 100 * physic.PercentRH},
		{"SHT4x: a room", sht4, append(met4, answer(0x66, 0x66, 0x93, 0x80, 0x00, 0xA2)), 25 * physic.Kelvin, 56*physic.PercentRH + 501*10*physic.MicroRH},
		{"SHT4x: below 0 %RH is 0", sht4, append(met4, answer(0, 0, 0x81, 0, 0, 0x81)), -45 * physic.Kelvin, 0},
		{"SHT4x: above 100 %RH is 100", sht4, append(met4, answer(0xFF, 0xFF, 0xAC, 0xFF, 0xFF, 0xAC)), 130 * physic.Kelvin, 100 * physic.PercentRH},
	} {
		synctest.Test(t, func(t *testing.T) {
			bus := &i2ctest.Playback{DontPanic: true, Ops: tt.ops}
			temp, h, err := tt.sensor(bus, 0x44, uptime).Sense(t.Context())
			if temp != physic.ZeroCelsius+tt.t || h != tt.h || err != nil {
				t.Errorf("%s: Sense() = %s, %s, %v; want %s, %s", tt.name, temp, h, err, physic.ZeroCelsius+tt.t, tt.h)
			}
			if err := bus.Close(); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		})
	}
}

func TestOnceMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := answer(0x66, 0x66, 0x93, 0x80, 0x00, 0xA2)
		spoilt := answer(0x66, 0x66, 0x92, 0x80, 0x00, 0xA2)
		spoilt2 := answer(0x66, 0x66, 0x93, 0x80, 0x01, 0xA2)
		var ops []i2ctest.IO
		for _, part := range [][]i2ctest.IO{met3, {good, measure3, good}, {measure3, spoilt}, met3, {spoilt2}, met3, {good}, {measure3, good}} {
			ops = append(ops, part...)
		}
		bus := &i2ctest.Playback{DontPanic: true, Ops: ops}
		s := NewSHT3x(bus, 0x44, uptime)
		for i, code := range []string{"", "", "crc", "crc", "", ""} {
			c, err := s.Read(t.Context())
			var p *drivers.Problem
			switch {
			case code == "" && (err != nil || c != drivers.Climate{MilliCelsius: 25000, MilliPercent: 50001, Up: time.Hour}):
				t.Errorf("reading %d: %+v, %v", i, c, err)
			case code != "" && (!errors.As(err, &p) || p.Code != code || p.Zh == "" || p.En == ""):
				t.Errorf("reading %d: %v, want the problem %q", i, err, code)
			}
		}
		if err := bus.Close(); err != nil { // reset after each fault, and only then
			t.Error(err)
		}
	})
}

func TestHeater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{reset3, status3, heaterOn3}}
		var p *drivers.Problem
		if _, _, err := NewSHT3x(bus, 0x44, uptime).Sense(t.Context()); !errors.As(err, &p) || p.Code != "heater" {
			t.Errorf("Sense() = %v, want the problem \"heater\"", err)
		}
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestSHT4xInPlaceOfSHT3x: the other chip must not be asked to measure, which switches its heater on (4x 4.5: 0x24).
func TestSHT4xInPlaceOfSHT3x(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{reset3, status3, answer(0xFF, 0xFF, 0xFF)}}
		var p *drivers.Problem
		if _, _, err := NewSHT3x(bus, 0x44, uptime).Sense(t.Context()); !errors.As(err, &p) || p.Code != "crc" {
			t.Errorf("Sense() = %v", err)
		}
	})
}

func TestEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("stop")
		bus := &i2ctest.Playback{DontPanic: true, Ops: met3}
		time.AfterFunc(5*time.Millisecond, func() { cancel(cause) })
		if _, err := NewSHT3x(bus, 0x44, uptime).Read(ctx); !errors.Is(err, cause) {
			t.Errorf("Read() = %v", err)
		}
	})
}

// air is a bus with one SHT4x that always answers.
type air struct{ i2ctest.Playback }

func (a *air) Tx(_ uint16, w, r []byte) error {
	if len(w) == 0 {
		copy(r, []byte{0x66, 0x66, 0x93, 0x80, 0x00, 0xA2})
	}
	return nil
}

func TestConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boot := time.Now()
		up := func() time.Duration { return time.Since(boot) }
		driverstest.Thermometer(t, driverstest.ThermometerOptions{Thermometer: NewSHT4x(&air{}, 0x44, up), Uptime: up})
	})
}

func TestChecksum(t *testing.T) {
	if got := crc8([]byte{0xBE, 0xEF}); got != 0x92 { // 3x p. 14 table 20
		t.Errorf("CRC(0xBEEF) = %#x, want 0x92", got)
	}
}

func TestRecognise(t *testing.T) {
	serial := []i2ctest.IO{{Addr: 0x44, W: []byte{0x89}}, {Addr: 0x44, R: []byte{0xBE, 0xEF, 0x92, 0xBE, 0xEF, 0x92}}}
	ask3 := i2ctest.IO{Addr: 0x44, W: []byte{0xF3, 0x2D}}
	for _, tt := range []struct {
		ops  []i2ctest.IO
		want string
	}{
		{serial, "sht4x"},
		{[]i2ctest.IO{serial[0], {Addr: 0x44, R: []byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}}, ask3, {Addr: 0x44, R: []byte{0xBE, 0xEF, 0x92}}}, "sht3x"},
		{[]i2ctest.IO{serial[0], {Addr: 0x44, R: make([]byte, 6)}, ask3, {Addr: 0x44, R: []byte{0, 0, 0}}}, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			bus := &i2ctest.Playback{DontPanic: true, Ops: tt.ops}
			if got := Recognise(t.Context(), bus, 0x44); got != tt.want {
				t.Errorf("Recognise() = %q, want %q", got, tt.want)
			}
			if err := bus.Close(); err != nil { // it said nothing else
				t.Error(err)
			}
		})
	}
}
