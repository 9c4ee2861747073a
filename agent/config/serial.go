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

// DefaultScannerBaud is what scanners come with.
const DefaultScannerBaud = 9600

// fillScanner sets the defaults of a scanner.
func (c *Config) fillScanner() {
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
