package config

import (
	"fmt"
	"strings"
)

// Scanner reads the case number off a bar code: serial, hid or both of them; or sim.
type Scanner struct {
	Serial *SerialScanner `yaml:"serial"` // on a serial line, or USB in the mode "COM port"; its device alone, or keys
	HID    *HIDScanner    `yaml:"hid"`    // on USB, typing like a keyboard; its device alone, or keys
	Sim    *SimDevice     `yaml:"sim"`    // board sim only
}

// SerialScanner is a scanner on a serial line. The device alone may be written for it.
type SerialScanner struct {
	Device string `yaml:"device"` // required; best one of /dev/serial/by-id
	Baud   int    `yaml:"baud"`   // 300 to 4000000; default 9600
	Ending string `yaml:"ending"` // "newline" (default), "tab", "pause": what follows a code
	Prefix string `yaml:"prefix"` // what the scanner puts before each code, up to 16 bytes; codes without it are dropped
}

// HIDScanner is a scanner that types. The device alone may be written for it.
type HIDScanner struct {
	Device string `yaml:"device"` // required; best one of /dev/input/by-id
	Prefix string `yaml:"prefix"` // as of a serial one
}

// Modbus is a climate sensor that speaks Modbus RTU. The device alone, written for it, means an XY-MD02.
type Modbus struct {
	Device      string `yaml:"device"`      // required; best one of /dev/serial/by-id
	Baud        int    `yaml:"baud"`        // 300 to 4000000; default 9600
	Parity      string `yaml:"parity"`      // "none" (default), "even", "odd"
	Slave       int    `yaml:"slave"`       // its address, 1 to 247; default 1
	Table       string `yaml:"table"`       // "input" (default: function 4), "holding" (function 3)
	Temperature int    `yaml:"temperature"` // register, signed, 0 to 65535; default 1
	Humidity    int    `yaml:"humidity"`    // register, -1 for none; default 2
	Scale       int    `yaml:"scale"`       // 1/1000 °C and 1/1000 %RH in one step, 1 to 1000; default 100: tenths
}

// DefaultScannerBaud is what scanners come with.
const DefaultScannerBaud = 9600

// fillSerial sets the defaults of what hangs on serial lines.
func (c *Config) fillSerial(d *decoder) {
	if c.Thermometer != nil && c.Thermometer.Modbus != nil {
		m := c.Thermometer.Modbus
		orInt(&m.Baud, 9600)
		orText(&m.Parity, "none")
		orInt(&m.Slave, 1)
		orText(&m.Table, "input")
		orInt(&m.Scale, 100)
		if d.at["thermometer.modbus.temperature"] == nil { // register 0 is one
			m.Temperature = 1
		}
		if d.at["thermometer.modbus.humidity"] == nil {
			m.Humidity = 2
		}
	}
	if c.Scanner != nil && c.Scanner.Serial != nil {
		orInt(&c.Scanner.Serial.Baud, DefaultScannerBaud)
		orText(&c.Scanner.Serial.Ending, "newline")
	}
}

// checkScanner checks the scanner.
func (c *Config) checkScanner(d *decoder) {
	s := c.Scanner
	if s == nil {
		return
	}
	c.needsOne(d, "scanner", "serial / hid", s.Serial != nil || s.HID != nil, s.Sim != nil)
	if l := s.Serial; l != nil {
		d.device("scanner.serial.device", l.Device, "/dev/serial/by-id/…")
		d.baud("scanner.serial.baud", l.Baud)
		d.oneOf("scanner.serial.ending", l.Ending, "newline", "tab", "pause")
		d.prefix("scanner.serial.prefix", l.Prefix)
	}
	if h := s.HID; h != nil {
		d.device("scanner.hid.device", h.Device, "/dev/input/by-id/…-event-kbd")
		d.prefix("scanner.hid.prefix", h.Prefix)
	}
}

func (c *Config) checkThermometer(d *decoder) {
	t := c.Thermometer
	if t.I2C != nil && t.Modbus != nil {
		d.bad("thermometer", "请只填写 i2c 与 modbus 之一", "name only one of i2c and modbus")
	}
	c.needsOne(d, "thermometer", "i2c / modbus", t.I2C != nil || t.Modbus != nil, t.Sim != nil)
	m := t.Modbus
	if m == nil {
		return
	}
	d.device("thermometer.modbus.device", m.Device, "/dev/serial/by-id/…")
	d.baud("thermometer.modbus.baud", m.Baud)
	d.oneOf("thermometer.modbus.parity", m.Parity, "none", "even", "odd")
	d.oneOf("thermometer.modbus.table", m.Table, "input", "holding")
	for _, r := range []struct {
		key          string
		v, low, high int
	}{{"slave", m.Slave, 1, 247}, {"temperature", m.Temperature, 0, 65535}, {"humidity", m.Humidity, -1, 65535}, {"scale", m.Scale, 1, 1000}} {
		if r.v < r.low || r.v > r.high {
			d.bad("thermometer.modbus."+r.key, fmt.Sprintf("%d 超出范围；请按传感器说明书取 %d 到 %d", r.v, r.low, r.high), fmt.Sprintf("%d is out of range: choose %d to %d, by the sensor's manual", r.v, r.low, r.high))
		}
	}
}

func (d *decoder) device(key, path, example string) {
	if !strings.HasPrefix(path, "/dev/") || len(path) > 255 || strings.Contains(path, "/../") {
		d.bad(key, fmt.Sprintf("设备 %q 无效；请写其路径，例如 %s（minglu-agent devices 列出）", path, example), fmt.Sprintf("device %q: write its path, such as %s (minglu-agent devices lists them)", path, example))
	}
}

func (d *decoder) baud(key string, v int) {
	if v < 300 || v > 4000000 {
		d.bad(key, fmt.Sprintf("波特率 %d 超出范围；请取 300 到 4000000", v), fmt.Sprintf("%d baud is out of range: choose 300 to 4000000", v))
	}
}

func (d *decoder) prefix(key, v string) {
	if len(v) > 16 {
		d.bad(key, "过长；至多 16 个字节", "too long: 16 bytes at most")
	}
}
