//go:build hil

package power

import (
	"errors"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"minglu/drivers"
	"minglu/drivers/driverstest"
	"minglu/drivers/i2cbus"
	"minglu/sim/hil/i2cchip"
)

var began = time.Now()

func sinceBoot() time.Duration { return time.Since(began) }

// TestHILMainsLost lets both chips measure a battery through the kernel's I²C while the mains go and come, and lets them fail.
func TestHILMainsLost(t *testing.T) {
	bus, err := i2cchip.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	for _, tt := range []struct {
		name string
		make func(i2c.Bus, uint16, physic.ElectricResistance) *Meter
		chip *i2cchip.Words
		set  func(w *i2cchip.Words, mv, ma int) // over 10 mΩ
	}{
		{"INA219", NewINA219, &i2cchip.Words{Reg: [256]uint16{regConfig: reset219}},
			func(w *i2cchip.Words, mv, ma int) {
				w.Reg[regBus], w.Reg[regShunt] = uint16(mv/4)<<3, uint16(int16(ma))
			}},
		{"INA226", NewINA226, &i2cchip.Words{Reg: [256]uint16{regConfig: 0x4127, regMaker: makerTI, regDie: die226}},
			func(w *i2cchip.Words, mv, ma int) {
				w.Reg[regBus], w.Reg[regShunt] = uint16(mv*4/5), uint16(int16(ma*4))
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus.Put(0x40, tt.chip)
			b := i2cbus.New(bus.Path())
			defer b.Close()
			if got := Recognise(b, 0x40); got != map[string]string{"INA219": "ina219", "INA226": "ina226"}[tt.name] {
				t.Errorf("Recognise() = %q", got)
			}
			mains := func(on bool) {
				bus.Do(func() {
					tt.set(tt.chip, map[bool]int{true: 12_600, false: 12_200}[on], map[bool]int{true: -100, false: 700}[on])
				})
			}
			mains(true)
			s, err := New(tt.make(b, 0x40, 10*physic.MilliOhm), three, sinceBoot)
			if err != nil {
				t.Fatal(err)
			}
			driverstest.PowerMeter(t, driverstest.PowerMeterOptions{Meter: s, Uptime: sinceBoot, Mains: mains})
			want := func(code string) {
				t.Helper()
				x, err := s.Read(t.Context())
				var p *drivers.Problem
				switch {
				case code == "" && (err != nil || x.MilliVolt != 12_600 || x.MilliAmp != -100):
					t.Errorf("Read() = %+v, %v", x, err)
				case code != "" && (!errors.As(err, &p) || p.Code != code):
					t.Errorf("Read() = %+v, %v; want the problem %q", x, err, code)
				}
			}
			want("")
			bus.Put(0x40, nil)
			want("nak")
			bus.Put(0x40, tt.chip)
			want("")
			bus.Stick(true)
			want("stuck")
			bus.Stick(false)
			want("")
			bus.Do(func() { tt.set(tt.chip, 0, 0) })
			want("no-battery")
			mains(true)
			bus.Do(func() { tt.chip.Reg[regConfig] = 0x4000 }) // lost its power, and is another: bit 14 is 0 in an INA219, and the INA226 says who it is
			want(map[string]string{"INA219": "wrong-chip", "INA226": ""}[tt.name])
		})
	}
}
