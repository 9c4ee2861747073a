// Package tmp117 reads the Texas Instruments TMP117 thermometer over I²C.
//
// Data sheet: TI SNOSD82D, 7.6 Register Map. It measures -55 to 150 °C in steps of 7.8125 m°C, ±0.1 °C between -20 and
// 50 °C, and converts by itself once a second. It knows no humidity.
//
// Faults, each a [drivers.Problem]: what the bus says ("nak": absent or dead, "stuck"), "wrong-chip" (another chip at the
// address), "not-ready" (no conversion yet: ask again after a second). After a fault the chip is looked at again.
package tmp117

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"minglu/drivers"
)

// Registers, SNOSD82D 7.6, and what they hold.
const (
	regResult   = 0x00
	regIdentity = 0x0F
	identity    = 0x117  // the upper 4 bits are the silicon's revision
	notYet      = 0x8000 // -256 °C, the value after a reset
)

// Dev is one TMP117. It implements [drivers.Thermometer], starts no goroutine and is safe for concurrent use. The caller
// keeps the bus and closes it.
type Dev struct {
	c      i2c.Dev
	uptime func() time.Duration

	mu    sync.Mutex // guards what follows
	known bool       // the chip has been looked at since its last fault
}

// New returns the sensor at addr: 0x48, 0x49, 0x4A or 0x4B, by pin ADD0. It talks to nobody yet.
func New(bus i2c.Bus, addr uint16, uptime func() time.Duration) *Dev {
	return &Dev{c: i2c.Dev{Bus: bus, Addr: addr}, uptime: uptime}
}

// Temperature returns the latest conversion. It does not wait for one.
func (d *Dev) Temperature(ctx context.Context) (physic.Temperature, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	raw, err := d.ask(ctx)
	if d.known = err == nil; err != nil {
		return 0, fmt.Errorf("tmp117: at %#02x: %w", d.c.Addr, err)
	}
	return physic.ZeroCelsius + physic.Temperature(raw)*7_812_500*physic.NanoKelvin, nil // exact: 7.8125 m°C a step
}

// Read implements [drivers.Thermometer].
func (d *Dev) Read(ctx context.Context) (drivers.Climate, error) {
	t, err := d.Temperature(ctx)
	if err != nil {
		return drivers.Climate{}, err
	}
	return drivers.Climate{MilliCelsius: int((t - physic.ZeroCelsius) / physic.MilliKelvin), MilliPercent: -1, Up: d.uptime()}, nil
}

func (d *Dev) ask(ctx context.Context) (int16, error) {
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	if !d.known {
		id, err := d.read(regIdentity)
		if err != nil {
			return 0, err
		}
		if id&0x0FFF != identity {
			return 0, &drivers.Problem{Code: "wrong-chip", Zh: "这个地址上不是 TMP117；请核对 agent.yaml 的 chip 和 address", En: "the chip at this address is no TMP117: check chip and address in agent.yaml",
				Err: fmt.Errorf("device ID %#04x, want %#03x", id, identity)}
		}
	}
	raw, err := d.read(regResult)
	if err == nil && raw == notYet {
		err = &drivers.Problem{Code: "not-ready", Zh: "温度计刚上电，尚未测量；请稍后再读", En: "the thermometer has just been powered and measured nothing: read it again in a second", Err: errors.New("-256 °C")}
	}
	return int16(raw), err
}

func (d *Dev) read(reg byte) (uint16, error) {
	var r [2]byte
	err := d.c.Tx([]byte{reg}, r[:])
	return binary.BigEndian.Uint16(r[:]), err
}

// Recognise reports whether a TMP117 answers at addr. It reads its identity alone.
func Recognise(bus i2c.Bus, addr uint16) bool {
	id, err := New(bus, addr, nil).read(regIdentity)
	return err == nil && id&0x0FFF == identity
}

var _ drivers.Thermometer = (*Dev)(nil)
