package config

import (
	"strings"
	"testing"
)

// TestScanners: a device alone is enough; each mistake is told at its key.
func TestScanners(t *testing.T) {
	real := soundRoom + "channels: [{id: a, microphone: {alsa: 'hw:0,0'}}]\n"
	c, err := Parse("agent.yaml", []byte(real+"scanner: {serial: /dev/serial/by-id/usb-X-if00}\n"))
	if err != nil || *c.Scanner.Serial != (SerialScanner{Device: "/dev/serial/by-id/usb-X-if00", Baud: DefaultScannerBaud, Ending: "newline"}) {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = Parse("agent.yaml", []byte(real+"scanner: {hid: {device: /dev/input/by-id/usb-X-event-kbd, prefix: ']C1'}}\n"))
	if err != nil || *c.Scanner.HID != (HIDScanner{Device: "/dev/input/by-id/usb-X-event-kbd", Prefix: "]C1"}) {
		t.Errorf("%+v, %v", c, err)
	}
	for scanner, key := range map[string]string{
		"{}": "scanner", "{sim: {}}": "scanner.sim", "{serial: /dev/ttyS1, sim: {}}": "scanner", "{serial: ttyS1}": "scanner.serial.device", "{hid: ''}": "scanner.hid.device",
		"{serial: {device: /dev/ttyS1, baud: 12}}": "scanner.serial.baud", "{serial: {device: /dev/ttyS1, ending: bell}}": "scanner.serial.ending",
		"{serial: {device: /dev/ttyS1, prefix: 12345678901234567}}": "scanner.serial.prefix", "{hid: {device: /dev/../etc/passwd}}": "scanner.hid.device",
	} {
		_, err := Parse("agent.yaml", []byte(real+"scanner: "+scanner+"\n"))
		if err == nil || !strings.Contains(err.Error(), ": "+key+": ") || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("scanner: %s\n%v; want one problem at %s", scanner, err, key)
		}
	}
}

// TestModbusSensors: a device alone is an XY-MD02; register 0 is one; each mistake is told at its key.
func TestModbusSensors(t *testing.T) {
	real := soundRoom + "channels: [{id: a, microphone: {alsa: 'hw:0,0'}}]\n"
	for sensor, want := range map[string]Modbus{
		"/dev/ttyUSB0": {Device: "/dev/ttyUSB0", Baud: 9600, Parity: "none", Slave: 1, Table: "input", Temperature: 1, Humidity: 2, Scale: 100},
		"{device: /dev/ttyUSB0, baud: 4800, parity: even, slave: 7, table: holding, temperature: 0, humidity: -1, scale: 10}": {Device: "/dev/ttyUSB0", Baud: 4800, Parity: "even", Slave: 7, Table: "holding", Humidity: -1, Scale: 10},
	} {
		c, err := Parse("agent.yaml", []byte(real+"thermometer: {modbus: "+sensor+"}\n"))
		if err != nil || *c.Thermometer.Modbus != want {
			t.Errorf("%s: %+v, %v", sensor, c, err)
		}
	}
	for sensor, key := range map[string]string{
		"{modbus: ttyUSB0}": "thermometer.modbus.device", "{modbus: {device: /dev/ttyS1, slave: 248}}": "thermometer.modbus.slave", "{modbus: {device: /dev/ttyS1, parity: mark}}": "thermometer.modbus.parity",
		"{modbus: {device: /dev/ttyS1, table: coils}}": "thermometer.modbus.table", "{modbus: {device: /dev/ttyS1, temperature: -1}}": "thermometer.modbus.temperature",
		"{modbus: {device: /dev/ttyS1, humidity: 70000}}": "thermometer.modbus.humidity", "{modbus: {device: /dev/ttyS1, scale: 5000}}": "thermometer.modbus.scale",
		"{modbus: /dev/ttyS1, i2c: {bus: /dev/i2c-1}}": "thermometer", "{modbus: /dev/ttyS1, sim: {}}": "thermometer", "{}": "thermometer",
	} {
		_, err := Parse("agent.yaml", []byte(real+"thermometer: "+sensor+"\n"))
		if err == nil || !strings.Contains(err.Error(), ": "+key+": ") || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("thermometer: %s\n%v; want one problem at %s", sensor, err, key)
		}
	}
}
