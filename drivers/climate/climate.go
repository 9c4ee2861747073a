// Package climate reads temperature and humidity of a room's air from a Sensirion SHT3x or SHT4x over I²C.
//
// Data sheets: SHT3x-DIS version 5 (May 2018), here "3x" with page; SHT4x version 6 (February 2023), here "4x" with
// section. Both measure -40 to 125 °C and 0 to 100 %RH in steps of 2.7 m°C and 15 m%RH (19 of an SHT4x); of a
// SHT30 ±0.2 °C and ±2 %RH, of a SHT40 the same at room temperature. Each word is followed by a CRC-8, which is checked.
//
// Faults, each a [drivers.Problem] from here or from package i2cbus: "nak" (absent, or busy), "stuck", "crc" (a
// disturbed line), "heater" (somebody switched the heater on: what is measured is no room). After a fault the chip is
// reset and looked at again before its next reading is believed. An SHT4x at the address of a SHT3x would
// take the command for a measurement as one for its heater; it is told apart by the status register it has not.
package climate

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"minglu/drivers"
)

// Sensor is one chip. It implements [drivers.Thermometer], starts no goroutine and is safe for concurrent use. The caller
// keeps the bus and closes it.
type Sensor struct {
	c      i2c.Dev
	m      model
	uptime func() time.Duration

	turn  chan struct{} // of capacity 1: one measurement at a time; guards known
	known bool          // the chip has been looked at since its last fault
}

// model is what the two families differ in.
type model struct {
	name           string
	reset, measure []byte
	identify       []byte // a command that the other family does not answer …
	identity       int    // … with so many words
	heater         func([]uint16) bool
	awake, takes   time.Duration       // after a reset, and for a measurement, at most
	humidity       func(s int64) int64 // raw word to 1/1000 %RH
}

var (
	sht3x = model{name: "SHT3x",
		reset: []byte{0x30, 0xA2}, measure: []byte{0x24, 0x00}, // 3x p. 12 table 14; p. 10 table 9: high, no clock stretching
		identify: []byte{0xF3, 0x2D}, identity: 1, // 3x p. 13 table 17: status register
		heater: func(w []uint16) bool { return w[0]>>13&1 == 1 },   // table 18
		awake:  2 * time.Millisecond, takes: 16 * time.Millisecond, // 3x p. 7 table 4: 1.5 ms and 15 ms; 15.5 ms below 2.4 V
		humidity: func(s int64) int64 { return scaled(s, 100_000) }} // 3x p. 14, 4.13
	sht4x = model{name: "SHT4x",
		reset: []byte{0x94}, measure: []byte{0xFD}, // 4x 4.5: soft reset; high precision
		identify: []byte{0x89}, identity: 2, // serial number
		heater: func([]uint16) bool { return false },              // it ends by itself after 1 s at most (4x 4.9)
		awake:  2 * time.Millisecond, takes: 9 * time.Millisecond, // 4x 3.1: 1 ms and 8.3 ms
		humidity: func(s int64) int64 { return min(max(scaled(s, 125_000)-6000, 0), 100_000) }} // 4x 4.6: to be cropped
)

// NewSHT3x returns the SHT30, SHT31 or SHT35 at addr: 0x44, or 0x45 with pin ADDR high. It talks to nobody yet.
func NewSHT3x(bus i2c.Bus, addr uint16, uptime func() time.Duration) *Sensor {
	return &Sensor{c: i2c.Dev{Bus: bus, Addr: addr}, m: sht3x, uptime: uptime, turn: make(chan struct{}, 1)}
}

// NewSHT4x returns the SHT40, SHT41 or SHT45 at addr: 0x44, 0x45 or 0x46 as its type number says. It talks to nobody yet.
func NewSHT4x(bus i2c.Bus, addr uint16, uptime func() time.Duration) *Sensor {
	return &Sensor{c: i2c.Dev{Bus: bus, Addr: addr}, m: sht4x, uptime: uptime, turn: make(chan struct{}, 1)}
}

// Sense measures. It takes 9 to 16 ms, and up to some seconds on a bus that is stuck.
func (s *Sensor) Sense(ctx context.Context) (physic.Temperature, physic.RelativeHumidity, error) {
	t, h, err := s.sense(ctx)
	// 1/1000 °C and 1/1000 %RH are exact in both units.
	return physic.ZeroCelsius + physic.Temperature(t)*physic.MilliKelvin, physic.RelativeHumidity(h) * physic.MicroRH * 10, err
}

// Read implements [drivers.Thermometer]; its time is that of the measurement's end.
func (s *Sensor) Read(ctx context.Context) (drivers.Climate, error) {
	t, h, err := s.sense(ctx)
	if err != nil {
		return drivers.Climate{}, err
	}
	return drivers.Climate{MilliCelsius: int(t), MilliPercent: int(h), Up: s.uptime()}, nil
}

// sense returns 1/1000 °C and 1/1000 %RH.
func (s *Sensor) sense(ctx context.Context) (t, h int64, err error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	if !s.known {
		err = s.meet(ctx)
	}
	var w []uint16
	if err == nil {
		w, err = s.ask(ctx, s.m.measure, s.m.takes, 2)
	}
	if s.known = err == nil; err != nil {
		return 0, 0, fmt.Errorf("climate: %s at %#02x: %w", s.m.name, s.c.Addr, err)
	}
	return scaled(int64(w[0]), 175_000) - 45_000, s.m.humidity(int64(w[1])), nil // 3x p. 14, 4x 4.6
}

// scaled is full·s/(2^16-1), rounded.
func scaled(s, full int64) int64 { return (s*full + 32767) / 65535 }

// meet resets the chip and makes sure that it is the one.
func (s *Sensor) meet(ctx context.Context) error {
	if err := s.c.Tx(s.m.reset, nil); err != nil {
		return err
	}
	if err := wait(ctx, s.m.awake); err != nil {
		return err
	}
	w, err := s.ask(ctx, s.m.identify, time.Millisecond, s.m.identity)
	if err != nil {
		return err
	}
	if s.m.heater(w) {
		return &drivers.Problem{Code: "heater",
			Zh:  "温湿度传感器的加热器已打开，读数不可用；请检查是否有其他程序在使用它",
			En:  "the climate sensor's heater is on, its readings are of no use: does another program use it?",
			Err: fmt.Errorf("status %#04x", w[0])}
	}
	return nil
}

// ask sends a command and reads the words of its answer.
func (s *Sensor) ask(ctx context.Context, command []byte, after time.Duration, words int) ([]uint16, error) {
	if err := s.c.Tx(command, nil); err != nil {
		return nil, err
	}
	if err := wait(ctx, after); err != nil {
		return nil, err
	}
	b := make([]byte, 3*words)
	if err := s.c.Tx(nil, b); err != nil {
		return nil, err
	}
	w := make([]uint16, words)
	for i := range w {
		if got, want := b[3*i+2], crc8(b[3*i:3*i+2]); got != want {
			return nil, &drivers.Problem{Code: "crc",
				Zh:  "温湿度传感器的数据校验错误；请检查接线长度和上拉电阻",
				En:  "data of the climate sensor fail their check: look at the length of its cable and the pull-up resistors",
				Err: fmt.Errorf("% x: checksum %#02x, want %#02x", b, got, want)}
		}
		w[i] = binary.BigEndian.Uint16(b[3*i:])
	}
	return w, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// crc8 is the checksum of 3x p. 14 table 20: polynomial x^8+x^5+x^4+1, from 0xFF, nothing reflected.
func crc8(b []byte) byte {
	crc := byte(0xFF)
	for _, v := range b {
		crc ^= v
		for range 8 {
			if crc&0x80 != 0 {
				crc = crc<<1 ^ 0x31
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// Recognise returns "sht3x" or "sht4x" if one answers at addr with a right checksum, else "". It asks an SHT4x for its serial number,
// half a command to a SHT3x, which it passes over, and a SHT3x for its status, and measures nothing.
func Recognise(ctx context.Context, bus i2c.Bus, addr uint16) string {
	for _, s := range []*Sensor{NewSHT4x(bus, addr, nil), NewSHT3x(bus, addr, nil)} {
		if _, err := s.ask(ctx, s.m.identify, time.Millisecond, s.m.identity); err == nil {
			return strings.ToLower(s.m.name)
		}
	}
	return ""
}

var _ drivers.Thermometer = (*Sensor)(nil)
