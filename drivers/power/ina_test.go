package power

import (
	"encoding/binary"
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

func rd(reg byte, word uint16) i2ctest.IO {
	return i2ctest.IO{Addr: 0x40, W: []byte{reg}, R: []byte{byte(word >> 8), byte(word)}}
}

func wr(reg byte, word uint16) i2ctest.IO {
	return i2ctest.IO{Addr: 0x40, W: []byte{reg, byte(word >> 8), byte(word)}}
}

var (
	met219 = []i2ctest.IO{rd(0, 0x399F), wr(0, 0x3FFF), rd(0, 0x3FFF)}
	met226 = []i2ctest.IO{rd(0xFE, 0x5449), rd(0xFF, 0x2260), wr(0, 0x4927), rd(0, 0x4927)}
)

func values(config, shunt, bus uint16) []i2ctest.IO {
	return []i2ctest.IO{rd(0, config), rd(1, shunt), rd(2, bus)}
}

func join(a ...[]i2ctest.IO) (ops []i2ctest.IO) {
	for _, x := range a {
		ops = append(ops, x...)
	}
	return ops
}

// TestMeasure has the examples of the data sheets: 219 8.6.3.1 (-320 mV is 0x8300) and 8.6.3.2 (32 V is 0x1F40, above bit 3); 226
// 7.6.2 (-80 mV is 0x8300) and 7.6.3 (1.25 mV a step).
func TestMeasure(t *testing.T) {
	const mOhm, mV, mA = physic.MilliOhm, physic.MilliVolt, physic.MilliAmpere
	for _, tt := range []struct {
		name   string
		make   func(i2c.Bus, uint16, physic.ElectricResistance) *Meter
		shunt  physic.ElectricResistance
		ops    []i2ctest.IO
		volts  physic.ElectricPotential
		amps   physic.ElectricCurrent
		code   string
		offset physic.ElectricCurrent
	}{
		{"219, 20 mV over 10 mΩ", NewINA219, 10 * mOhm, join(met219, values(0x3FFF, 2000, 0x1F40<<3|2)), 32000 * mV, 2000 * mA, "", 10 * mA},
		{"219, into the battery", NewINA219, 100 * mOhm, join(met219, values(0x3FFF, 0xF830, 3000<<3)), 12000 * mV, -200 * mA, "", mA},
		{"219, its range and more", NewINA219, 10 * mOhm, join(met219, values(0x3FFF, 0x8300, 3000<<3)), 0, 0, "overrange", 10 * mA},
		{"219, set up by another program", NewINA219, 10 * mOhm, join([]i2ctest.IO{rd(0, 0x1EEF), wr(0, 0x3FFF), rd(0, 0x3FFF)}, values(0x3FFF, 1, 1<<3)), 4 * mV, mA, "", 10 * mA},
		{"226, a step", NewINA226, 1 * mOhm, join(met226, values(0x4927, 1, 1)), 1250 * physic.MicroVolt, 2500 * physic.MicroAmpere, "", 10 * mA},
		{"226, -80 mV over 10 mΩ", NewINA226, 10 * mOhm, join(met226, values(0x4927, 0x8300, 9600)), 12000 * mV, -8000 * mA, "", mA},
		{"226, its range and more", NewINA226, 10 * mOhm, join(met226, values(0x4927, 0x8000, 9600)), 0, 0, "overrange", mA},
		{"219 for 226", NewINA226, 10 * mOhm, []i2ctest.IO{rd(0xFE, 0xFFFF), rd(0xFF, 0xFFFF)}, 0, 0, "wrong-chip", mA},
		{"226 for 219", NewINA219, 10 * mOhm, []i2ctest.IO{rd(0, 0x4127)}, 0, 0, "wrong-chip", 10 * mA},
		{"219, it takes nothing", NewINA219, 10 * mOhm, []i2ctest.IO{rd(0, 0x0C80), wr(0, 0x3FFF), rd(0, 0x0C80)}, 0, 0, "wrong-chip", 10 * mA},
		{"226, reset in between", NewINA226, 10 * mOhm, join(met226, []i2ctest.IO{rd(0, 0x4127)}, met226, []i2ctest.IO{rd(1, 400), rd(2, 9600)}), 12000 * mV, 100 * mA, "", mA},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus := &i2ctest.Playback{DontPanic: true, Ops: tt.ops}
			m := tt.make(bus, 0x40, tt.shunt)
			v, i, err := m.Measure(t.Context())
			var p *drivers.Problem
			errors.As(err, &p)
			if v != tt.volts || i != tt.amps || (tt.code == "") != (err == nil) || tt.code != "" && (p == nil || p.Code != tt.code || p.Zh == "") {
				t.Errorf("Measure() = %v, %v, %v; want %v, %v, %q", v, i, err, tt.volts, tt.amps, tt.code)
			}
			if m.Offset() != tt.offset {
				t.Errorf("Offset() = %v, want %v", m.Offset(), tt.offset)
			}
			if err := bus.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRecognise(t *testing.T) {
	for _, tt := range []struct {
		name string
		ops  []i2ctest.IO
		want string
	}{
		{"226", []i2ctest.IO{rd(0, 0x4127), rd(0xFE, 0x5449), rd(0xFF, 0x2260)}, "ina226"},
		{"226 in use", []i2ctest.IO{rd(0, 0x4927), rd(0xFE, 0x5449), rd(0xFF, 0x2260)}, "ina226"},
		{"219 after a reset", []i2ctest.IO{rd(0, 0x399F)}, "ina219"},
		{"219 in use", []i2ctest.IO{rd(0, 0x3FFF)}, "ina219"},
		{"HDC1080, of the same maker", []i2ctest.IO{rd(0, 0x4644), rd(0xFE, 0x5449), rd(0xFF, 0x1050)}, ""},
		{"another: nothing but register 0 is asked for", []i2ctest.IO{rd(0, 0)}, ""},
		{"nobody", []i2ctest.IO{{Addr: 0x41}}, ""},
	} {
		bus := &i2ctest.Playback{DontPanic: true, Ops: tt.ops}
		if got := Recognise(bus, 0x40); got != tt.want {
			t.Errorf("%s: Recognise() = %q, want %q", tt.name, got, tt.want)
		}
		if err := bus.Close(); err != nil && tt.name != "nobody" {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// lead is a bus with an INA226 over 10 mΩ in the lead of a battery.
type lead struct {
	i2ctest.Playback
	reg [256]uint16
}

func (l *lead) Tx(_ uint16, w, r []byte) error {
	l.Lock()
	defer l.Unlock()
	if len(w) == 3 {
		l.reg[w[0]] = binary.BigEndian.Uint16(w[1:])
	}
	if len(r) == 2 {
		binary.BigEndian.PutUint16(r, l.reg[w[0]])
	}
	return nil
}

func (l *lead) set(mv, ma int) {
	l.Lock()
	defer l.Unlock()
	l.reg[regBus], l.reg[regShunt] = uint16(mv*4/5), uint16(int16(ma*4)) // 1.25 mV; 2.5 µV over 10 mΩ
}

// three is a battery of three lithium cells.
var three = Battery{Full: 12_600 * physic.MilliVolt, Empty: 9600 * physic.MilliVolt, CapacityMAH: 5000}

func TestConformance(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			boot := time.Now()
			up := func() time.Duration { return time.Since(boot) }
			l := &lead{reg: [256]uint16{regMaker: makerTI, regDie: die226}}
			sign := map[bool]int{false: 1, true: -1}[reversed]
			mains := func(on bool) {
				l.set(map[bool]int{true: 12_600, false: 12_200}[on], sign*map[bool]int{true: -100, false: 700}[on])
			}
			mains(true)
			b := three
			b.Reversed = reversed
			s, err := New(NewINA226(l, 0x40, 10*physic.MilliOhm), b, up)
			if err != nil {
				t.Fatal(err)
			}
			driverstest.PowerMeter(t, driverstest.PowerMeterOptions{Meter: s, Uptime: up, Mains: mains})
			l.set(0, 0)
			var p *drivers.Problem
			if _, err := s.Read(t.Context()); !errors.As(err, &p) || p.Code != "no-battery" {
				t.Errorf("without a battery: %v", err)
			}
		})
	}
}

func TestNoSuchBattery(t *testing.T) {
	for _, b := range []Battery{{}, {Full: physic.Volt, Empty: physic.Volt, CapacityMAH: 1}, {Full: physic.Volt, Empty: physic.MilliVolt}} {
		if _, err := New(NewINA219(&lead{}, 0x40, physic.Ohm), b, nil); err == nil {
			t.Errorf("%+v is taken", b)
		}
	}
	if _, err := New(NewINA219(&lead{}, 0x40, 0), three, nil); err == nil {
		t.Error("a shunt of 0 Ω is taken")
	}
}
