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
