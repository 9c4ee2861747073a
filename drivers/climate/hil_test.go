//go:build hil

package climate

import (
	"errors"
	"strings"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"

	"minglu/drivers"
	"minglu/drivers/driverstest"
	"minglu/drivers/i2cbus"
	"minglu/sim/hil/i2cchip"
)

var began = time.Now()

func sinceBoot() time.Duration { return time.Since(began) }

// TestHILFaults reads both families through the kernel, and lets them fail in each way there is.
func TestHILFaults(t *testing.T) {
	bus, err := i2cchip.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	three, four := &i2cchip.SHT3x{MilliCelsius: 21_500, MilliPercent: 43_000}, &i2cchip.SHT4x{MilliCelsius: -3_210, MilliPercent: 98_700, Serial: 0xC0FFEE}
	for _, tt := range []struct {
		name string
		make func(i2c.Bus, uint16, func() time.Duration) *Sensor
		chip i2cchip.Chip
		bad  *bool
		mute *bool
		want drivers.Climate
	}{
		{"SHT3x", NewSHT3x, three, &three.BadCRC, &three.Mute, drivers.Climate{MilliCelsius: 21_500, MilliPercent: 43_000}},
		{"SHT4x", NewSHT4x, four, &four.BadCRC, &four.Mute, drivers.Climate{MilliCelsius: -3_210, MilliPercent: 98_700}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus.Put(0x44, tt.chip)
			b := i2cbus.New(bus.Path())
			defer b.Close()
			if got := Recognise(t.Context(), b, 0x44); got != strings.ToLower(tt.name) {
				t.Errorf("Recognise() = %q", got)
			}
			s := tt.make(b, 0x44, sinceBoot)
			read := func(code string) {
				t.Helper()
				c, err := s.Read(t.Context())
				var p *drivers.Problem
				switch {
				case code == "" && err != nil:
					t.Errorf("Read() = %v", err)
				case code == "" && (abs(c.MilliCelsius-tt.want.MilliCelsius) > 2 || abs(c.MilliPercent-tt.want.MilliPercent) > 2):
					t.Errorf("Read() = %+v, want %+v", c, tt.want)
				case code != "" && (!errors.As(err, &p) || p.Code != code):
					t.Errorf("Read() = %v, want the problem %q", err, code)
				case code != "":
					t.Log(err)
				}
			}
			driverstest.Thermometer(t, driverstest.ThermometerOptions{Thermometer: s, Uptime: sinceBoot})
			read("")
			bus.Do(func() { *tt.bad = true })
			read("crc")
			bus.Do(func() { *tt.bad = false })
			read("")
			bus.Do(func() { *tt.mute = true })
			read("nak")
			bus.Do(func() { *tt.mute = false })
			bus.Put(0x44, nil)
			read("nak")
			bus.Put(0x44, tt.chip)
			read("")
			bus.Stick(true)
			read("stuck")
			bus.Stick(false)
			read("")
		})
	}
}

func abs(n int) int { return max(n, -n) }
