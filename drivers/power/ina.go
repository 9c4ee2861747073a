package power

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"minglu/drivers"
)

// model is what the two chips differ in.
type model struct {
	name     string
	config   uint16 // what we set: the mean of many conversions, again and again
	shuntLSB int64  // nV at the shunt; register 1 is signed
	shuntMax int64  // of that register: more is shown as this
	busLSB   int64  // µV of the bus voltage
	busShift uint   // it stands so many bits up in register 2
	offset   int64  // nV at the shunt that the chip may be off
	identify func(*Meter) error
}

// Registers of both, 219 table 2 and 226 table 7-4; those of the INA226 that say who it is, 226 table 7-19 and 7-20.
const (
	regConfig = 0x00
	regShunt  = 0x01
	regBus    = 0x02
	regMaker  = 0xFE
	regDie    = 0xFF

	reset219 = 0x399F // 219 8.6.2: the value after a reset
	makerTI  = 0x5449
	die226   = 0x2260
)

var (
	ina219 = model{name: "INA219", config: 0x3FFF, // 219 8.6.2.1: 32 V, ±320 mV, 128 samples of each (68 ms), continuously
		shuntLSB: 10_000, shuntMax: 32_000, busLSB: 4000, busShift: 3, offset: 100_000, identify: (*Meter).identity219}
	ina226 = model{name: "INA226", config: 0x4927, // 226 7.6.1: 128 samples of 1.1 ms of each, continuously
		shuntLSB: 2500, shuntMax: 0x7FFF, busLSB: 1250, offset: 10_000, identify: (*Meter).identity226}
)

// Meter is one chip with its shunt. It starts no goroutine and is safe for concurrent use. The caller keeps the bus and closes it.
type Meter struct {
	c     i2c.Dev
	m     model
	shunt physic.ElectricResistance

	mu    sync.Mutex // guards the chip and what follows
	known bool       // it has been looked at and set up since its last fault
}

// NewINA219 returns the chip at addr, 0x40 to 0x4F, with its shunt of more than 0 Ω. It talks to nobody yet.
func NewINA219(bus i2c.Bus, addr uint16, shunt physic.ElectricResistance) *Meter {
	return &Meter{c: i2c.Dev{Bus: bus, Addr: addr}, m: ina219, shunt: shunt}
}

// NewINA226 returns the chip at addr, 0x40 to 0x4F, with its shunt of more than 0 Ω. It talks to nobody yet.
func NewINA226(bus i2c.Bus, addr uint16, shunt physic.ElectricResistance) *Meter {
	return &Meter{c: i2c.Dev{Bus: bus, Addr: addr}, m: ina226, shunt: shunt}
}

// Measure returns the voltage of the bus and the current from V+ to V-, means over the last conversions (INA219 68 ms, INA226
// 0.28 s). Current is voltage by shunt, reckoned here: the chip's own current register needs its calibration register, which a chip
// that lost its power has forgotten, and then shows 0 A as if nothing were the matter.
func (m *Meter) Measure(ctx context.Context) (physic.ElectricPotential, physic.ElectricCurrent, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, i, err := m.measure(ctx)
	if m.known = err == nil; err != nil {
		return 0, 0, fmt.Errorf("power: %s at %#02x: %w", m.m.name, m.c.Addr, err)
	}
	return v, i, nil
}

func (m *Meter) measure(ctx context.Context) (physic.ElectricPotential, physic.ElectricCurrent, error) {
	if err := context.Cause(ctx); err != nil {
		return 0, 0, err
	}
	if !m.known {
		if err := m.meet(); err != nil {
			return 0, 0, err
		}
	}
	config, err := m.read(regConfig)
	if err != nil {
		return 0, 0, err
	}
	if config != m.m.config { // it lost its power in between, or is another now
		if err := m.meet(); err != nil {
			return 0, 0, err
		}
	}
	shunt, err := m.read(regShunt)
	if err != nil {
		return 0, 0, err
	}
	bus, err := m.read(regBus)
	if err != nil {
		return 0, 0, err
	}
	raw := int64(int16(shunt))
	if raw >= m.m.shuntMax || raw <= -m.m.shuntMax {
		return 0, 0, &drivers.Problem{Code: "overrange", Zh: "电流超出测量范围；请换用阻值更小的分流电阻，并相应修改 agent.yaml 的 shunt_mohm",
			En: "the current is more than can be measured: take a smaller shunt, and correct shunt_mohm in agent.yaml", Err: fmt.Errorf("shunt voltage register %#04x", shunt)}
	}
	volts := physic.ElectricPotential(int64(bus>>m.m.busShift)*m.m.busLSB) * physic.MicroVolt
	return volts, m.current(raw * m.m.shuntLSB), nil
}

// current is nV over the shunt.
func (m *Meter) current(nanovolt int64) physic.ElectricCurrent {
	// nV by nΩ is A: at most 320 mV and 1e9 nA/A stay within 64 bits in this order.
	return physic.ElectricCurrent(nanovolt * int64(physic.Ohm/physic.MicroOhm) / int64(m.shunt/physic.MicroOhm))
}

// Offset is the current that the chip may show where none flows.
func (m *Meter) Offset() physic.ElectricCurrent { return m.current(m.m.offset) }

// meet makes sure that the chip is the one, and sets it up.
func (m *Meter) meet() error {
	if m.shunt <= 0 {
		return errors.New("the shunt has no resistance: give it in the options")
	}
	if err := m.m.identify(m); err != nil {
		return err
	}
	if err := m.write(regConfig, m.m.config); err != nil {
		return err
	}
	return m.want(regConfig, m.m.config)
}

// identity219 looks at the two bits that are 0 in every INA219: it has no register that says who it is. That it takes our
// configuration is the rest.
func (m *Meter) identity219() error {
	config, err := m.read(regConfig)
	if err == nil && config>>14 != 0 {
		err = m.wrong(regConfig, config)
	}
	return err
}

func (m *Meter) identity226() error {
	return errors.Join(m.want(regMaker, makerTI), m.want(regDie, die226))
}

func (m *Meter) want(reg byte, value uint16) error {
	got, err := m.read(reg)
	if err == nil && got != value {
		err = m.wrong(reg, got)
	}
	return err
}

func (m *Meter) wrong(reg byte, got uint16) error {
	return &drivers.Problem{Code: "wrong-chip", Zh: "这个地址上不是 " + m.m.name + "；请核对 agent.yaml 的 power.i2c", En: "the chip at this address is no " + m.m.name + ": check power.i2c in agent.yaml",
		Err: fmt.Errorf("register %#02x reads %#04x", reg, got)}
}

func (m *Meter) read(reg byte) (uint16, error) {
	var r [2]byte
	err := m.c.Tx([]byte{reg}, r[:])
	return binary.BigEndian.Uint16(r[:]), err
}

func (m *Meter) write(reg byte, v uint16) error {
	return m.c.Tx([]byte{reg, byte(v >> 8), byte(v)}, nil)
}

// Recognise returns "ina226" or "ina219" if one answers at addr, as far as it can be told by reading: an INA226 says who it
// is, an INA219 is taken for one by the configuration it has after a reset, or that this package gives it. Anything else is
// "". Register 0 is asked for first: there are chips to which the INA226's own register is a command.
func Recognise(bus i2c.Bus, addr uint16) string {
	m := NewINA226(bus, addr, physic.Ohm)
	config, err := m.read(regConfig)
	switch {
	case err != nil:
		return ""
	case config == reset219 || config == ina219.config:
		return "ina219"
	case config>>12 == 4 && m.identity226() == nil: // 226 7.6.1: the upper four bits read 0100
		return "ina226"
	}
	return ""
}
