package main

import (
	"errors"
	"slices"
	"testing"

	"periph.io/x/conn/v3/physic"

	"minglu/agent/inventory"
	"minglu/drivers"
)

// chips is a bus with chips that answer a register each, by address and what is written.
type chips struct {
	answers map[uint16]map[string][]byte
	broken  bool // stuck
	asked   []uint16
	wrote   map[uint16][]byte // the longest transfer to each
	pending []byte
}

func (c *chips) String() string                  { return "chips" }
func (c *chips) SetSpeed(physic.Frequency) error { return nil }

func (c *chips) Tx(addr uint16, w, r []byte) error {
	c.asked = append(c.asked, addr)
	if c.broken {
		return &drivers.Problem{Code: "stuck"}
	}
	if len(w) > len(c.wrote[addr]) {
		c.wrote[addr] = w
	}
	if len(w) > 0 {
		c.pending = c.answers[addr][string(w)]
	}
	if c.answers[addr] == nil || len(r) > 0 && len(c.pending) < len(r) {
		return &drivers.Problem{Code: "nak"}
	}
	copy(r, c.pending)
	return nil
}

// TestSensors recognises each chip there is a driver for, writes to none more than a command of two bytes, leaves those of the kernel
// alone, and gives a stuck bus up at once.
func TestSensors(t *testing.T) {
	clock := make([]byte, 0x13)
	copy(clock, []byte{0x56, 0x34, 0x12, 4, 0x25, 0x11, 0x26})
	c := &chips{wrote: map[uint16][]byte{}, answers: map[uint16]map[string][]byte{
		0x40: {"\x00": {0x41, 0x27}, "\xFE": {0x54, 0x49}, "\xFF": {0x22, 0x60}},
		0x41: {"\x00": {0x39, 0x9F}},
		0x42: {"\x00": {0x12, 0x34}}, // another
		0x44: {"\xF3\x2D": {0xBE, 0xEF, 0x92}},
		0x45: {"\x89": {0xBE, 0xEF, 0x92, 0xBE, 0xEF, 0x92}},
		0x48: {"\x0F": {0x11, 0x17}},
		0x68: {"\x00": clock},
	}}
	want := []inventory.SensorInfo{{Name: "ina226", Address: 0x40, Kind: "power"}, {Name: "ina219", Address: 0x41, Kind: "power"}, {Name: "sht3x", Address: 0x44, Kind: "climate"},
		{Name: "sht4x", Address: 0x45, Kind: "climate"}, {Name: "tmp117", Address: 0x48, Kind: "climate"}, {Name: "ds3231", Address: 0x68, Kind: "clock"}}
	got, err := recognised(t.Context(), c, func(uint16) bool { return false })
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("found %+v, %v; want %+v", got, err, want)
	}
	for addr, w := range c.wrote {
		if len(w) > 1 && (addr < 0x44 || addr > 0x46) {
			t.Errorf("% x was written to %#02x, which may be any chip", w, addr)
		}
	}
	c.asked = nil
	got, err = recognised(t.Context(), c, func(addr uint16) bool { return addr == 0x68 || addr == 0x40 })
	if err != nil || !slices.Equal(got, want[1:5]) || slices.Contains(c.asked, 0x68) || slices.Contains(c.asked, 0x40) {
		t.Errorf("found %+v, %v, asked % x; chips of the kernel are left alone", got, err, c.asked)
	}
	c.asked, c.broken = nil, true
	var p *drivers.Problem
	if got, err := recognised(t.Context(), c, func(uint16) bool { return false }); len(got) != 0 || !errors.As(err, &p) || p.Code != "stuck" || len(c.asked) != 1 {
		t.Errorf("a stuck bus was asked %d times: %v, %v", len(c.asked), got, err)
	}
	if _, err := sensorsOn(t.Context(), "/dev/i2c-none"); !errors.As(err, &p) || p.Code != "not-found" {
		t.Errorf("no bus: %v", err)
	}
}
