package inventory

import (
	"os"
	"strings"
	"testing"
	"time"

	"minglu/boards"
)

func read(t *testing.T, name string) Options {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	root, err := recorded(b)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Root: root, Arch: "arm64"}
}

// want is what an item must be; note and config are parts of it.
type want struct {
	kind             Kind
	name, path, node string
	pin              int
	note, config     string
	unverified       bool
}

func compare(t *testing.T, m *Machine, all []want) {
	t.Helper()
	for i := range max(len(all), len(m.Items)) {
		if i >= len(all) {
			t.Errorf("more than wanted: %+v", m.Items[i])
			continue
		}
		w := all[i]
		if i >= len(m.Items) {
			t.Errorf("missing: %+v", w)
			continue
		}
		g := m.Items[i]
		var note string
		if g.Note != nil {
			note = g.Note.En
			if g.Note.Zh == "" {
				t.Errorf("%s: no Chinese note", g.Name)
			}
		}
		if g.Kind != w.kind || g.Name != w.name || g.Path != w.path || g.Node != w.node || g.Pin != w.pin || g.Unverified != w.unverified ||
			!strings.Contains(note, w.note) || (w.note == "") != (note == "") || !strings.Contains(g.Config, w.config) || (w.config == "") != (g.Config == "") {
			t.Errorf("item %d:\n got %+v note %q\nwant %+v", i, g, note, w)
		}
	}
}

func TestRaspberryPi(t *testing.T) {
	o := read(t, "raspberrypi-4-composed.txt")
	o.Lines = func() ([]LineInfo, error) {
		return []LineInfo{
			{Chip: "pinctrl-bcm2711", Device: "/dev/gpiochip0", Number: 4, Name: "GPIO_GCLK"},
			{Chip: "pinctrl-bcm2711", Device: "/dev/gpiochip0", Number: 17, Name: "GPIO17", Used: true, Consumer: "lamp"},
			{Chip: "pinctrl-bcm2711", Device: "/dev/gpiochip0", Number: 42, Name: "STATUS_LED_G_CLK"}, // not on the header
			{Chip: "raspberrypi-exp-gpio", Device: "/dev/gpiochip1", Number: 4, Name: "VDD_SD_IO_SEL"},
		}, nil
	}
	o.Videos = func() []VideoInfo {
		return []VideoInfo{{Node: "/dev/video0", Card: "HD Webcam C615", Formats: []string{"H264", "MJPG"}}} // video10 gives no picture
	}
	asked := []string{}
	o.Sensors = func(bus string) ([]SensorInfo, error) {
		asked = append(asked, bus)
		return []SensorInfo{{"sht3x", 0x44, "climate"}}, nil
	}
	m := Look(o)
	compare(t, m, []want{
		{kind: Camera, name: "HD Webcam C615: HD Webcam C615 (H264, MJPG)", node: "/dev/video0", path: "/dev/v4l/by-path/platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1.2:1.0-video-index0", config: `v4l2: {device: "/dev/v4l/by-path/`},
		{kind: Speaker, name: "vc4-hdmi-0 · MAI PCM i2s-hifi-0", path: "hw:CARD=vc4hdmi0,DEV=0", node: "hw:0,0", config: "speaker:"},
		{kind: Speaker, name: "vc4-hdmi-1 · MAI PCM i2s-hifi-0", path: "hw:CARD=vc4hdmi1,DEV=0", node: "hw:1,0", config: "speaker:"},
		{kind: Microphone, name: "HD Webcam C615 · USB Audio", path: "usb:1-1.2,0", node: "hw:2,0", note: "USB socket", config: `alsa: "usb:1-1.2,0"`},
		{kind: Microphone, name: "USB PnP Sound Device · USB Audio", path: "usb:1-1.4,0", node: "hw:3,0", note: "USB socket", config: `alsa: "usb:1-1.4,0"`},
		{kind: Speaker, name: "USB PnP Sound Device · USB Audio", path: "usb:1-1.4,0", node: "hw:3,0", note: "USB socket", config: "speaker:"},
		{kind: Line, name: "GPIO4 (GPIO_GCLK)", path: "pinctrl-bcm2711:4", node: "/dev/gpiochip0", pin: 7, config: `{chip: "pinctrl-bcm2711", line: "GPIO_GCLK"}`, unverified: true},
		{kind: Line, name: "GPIO17", path: "pinctrl-bcm2711:17", node: "/dev/gpiochip0", pin: 11, note: "In use by lamp", unverified: true},
		{kind: Bus, name: "I2C1, SDA 3 SCL 5 · bcm2835 (i2c@7e804000)", path: "/dev/i2c-1", unverified: true},
		{kind: Sensor, name: "sht3x", path: "/dev/i2c-1, 0x44", config: `i2c: {bus: "/dev/i2c-1", chip: sht3x, address: 0x44}`},
		{kind: Bus, name: "DDC-HDMI", path: "/dev/i2c-20"},
		{kind: Serial, name: "UART1, TX 8 RX 10", path: "/dev/ttyS1", note: "console", unverified: true},
		{kind: Serial, name: "FTDI FT232R USB UART", path: "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A10K5J7X-if00-port0", node: "/dev/ttyUSB0", config: "serial"},
		{kind: Scanner, name: "Newland Auto-ID NLS-HR22", path: "/dev/input/by-id/usb-Newland_Auto-ID_NLS-HR22_01234567-event-kbd", node: "/dev/input/event3", config: "hid"},
		{kind: Disk, name: "SC32G 1 GB", path: "/dev/mmcblk0p1", node: "/dev/mmcblk0p1", note: "system's own"},
		{kind: Disk, name: "SC32G 31 GB", path: "/dev/disk/by-label/RASPIROOT", node: "/dev/mmcblk0p2", note: "system's own"},
		{kind: Disk, name: "Samsung Portable SSD T7 1000 GB", path: "/dev/disk/by-label/minglu-a", node: "/dev/sda1", config: `disks: ["/media/a"]`},
		{kind: Disk, name: "WD Elements 2621 1000 GB", path: "/dev/disk/by-label/minglu-b", node: "/dev/sdb1", note: "Not mounted"},
		{kind: RTC, name: "rtc-ds1307 1-0068", path: "/dev/rtc0", note: "takes its time", config: "rtc: {device: \"/dev/rtc0\"}\n"},
		{kind: Watchdog, name: "Broadcom BCM2835 Watchdog timer", path: "/dev/watchdog0", config: "watchdog:", note: "Used by itself"},
		{kind: TPM, name: "TPM 2.0", path: "/dev/tpmrm0", config: "identity:"},
	})
	if m.Board != "raspberrypi-4" || m.Seen.Model != "Raspberry Pi 4 Model B Rev 1.5" || len(m.Crypto) != 0 {
		t.Errorf("board %q, seen %+v, crypto %q; the Pi 4 has no AES", m.Board, m.Seen, m.Crypto)
	}
	if len(m.Unverified) == 0 || len(m.Differs) == 0 { // the composed tree has no node below the root
		t.Errorf("unverified %d, differs %d", len(m.Unverified), len(m.Differs))
	}
	if len(asked) != 1 || asked[0] != "/dev/i2c-1" {
		t.Errorf("asked for sensors on %q; buses inside the board are left alone", asked)
	}
	if g := Guard(o); g != "/dev/watchdog0" {
		t.Errorf("Guard() = %q", g)
	}
}

// TestQEMU is a recording of a Debian kernel 6.1 on arm64 with vivid, vicodec, snd-aloop, snd-dummy, an I²C adapter,
// test clocks and an i6300esb (make hil; rig lines+media+watchdog), without udev.
func TestQEMU(t *testing.T) {
	o := read(t, "qemu-virt-arm64.txt")
	m := Look(o)
	compare(t, m, []want{
		{kind: Camera, name: "vivid-000-vid-cap", path: "/dev/video0", node: "/dev/video0", note: "No stable path", config: "v4l2"},
		{kind: Encoder, name: "stateful-encoder", path: "/dev/video2", node: "/dev/video2", note: "No stable path"},
		{kind: Microphone, name: "Loopback · Loopback PCM", path: "hw:CARD=Loopback,DEV=0", node: "hw:0,0", config: "alsa"},
		{kind: Speaker, name: "Loopback · Loopback PCM", path: "hw:CARD=Loopback,DEV=0", node: "hw:0,0", config: "alsa"},
		{kind: Microphone, name: "Loopback · Loopback PCM", path: "hw:CARD=Loopback,DEV=1", node: "hw:0,1", config: "alsa"},
		{kind: Speaker, name: "Loopback · Loopback PCM", path: "hw:CARD=Loopback,DEV=1", node: "hw:0,1", config: "alsa"},
		{kind: Microphone, name: "Dummy · Dummy PCM", path: "hw:CARD=Dummy,DEV=0", node: "hw:1,0", config: "alsa"},
		{kind: Speaker, name: "Dummy · Dummy PCM", path: "hw:CARD=Dummy,DEV=0", node: "hw:1,0", config: "alsa"},
		{kind: Bus, name: "i2c-hil0", path: "/dev/i2c-0", note: "order of starting"},
		{kind: Serial, name: "ttyAMA0", path: "/dev/ttyAMA0", note: "console"},
		{kind: RTC, name: "rtc-pl031 9010000.pl031", path: "/dev/rtc0", note: "takes its time", config: "rtc: {device: \"/dev/rtc0\"}\n"},
		{kind: RTC, name: "rtc-test rtc-test.0", path: "/dev/rtc1", config: "rtc: {device: \"/dev/rtc1\"}\n"},
		{kind: RTC, name: "rtc-test rtc-test.1", path: "/dev/rtc2", config: "rtc: {device: \"/dev/rtc2\"}\n"},
		{kind: RTC, name: "rtc-test rtc-test.2", path: "/dev/rtc3", config: "rtc: {device: \"/dev/rtc3\"}\n"},
		{kind: Watchdog, name: "i6300ESB timer", path: "/dev/watchdog0", config: "watchdog:"},
	})
	if m.Board != "generic-arm64" || m.Seen.Model != "linux,dummy-virt" || strings.Join(m.Crypto, " ") != "aes sha2" {
		t.Errorf("board %q, seen %+v, crypto %q", m.Board, m.Seen, m.Crypto)
	}
	if g := Guard(o); g != "" {
		t.Errorf("Guard() = %q: a board nobody knows arms no watchdog unasked", g)
	}
}

// TestRecordAgain: what Record writes gives the same look, also when it is recorded again.
func TestRecordAgain(t *testing.T) {
	for _, name := range []string{"raspberrypi-4-composed.txt", "qemu-virt-arm64.txt"} {
		o := read(t, name)
		first, tree := Record(o)
		root, err := recorded(tree)
		if err != nil {
			t.Fatal(err)
		}
		o.Root = root
		second, again := Record(o)
		if len(first.Items) == 0 || len(first.Items) != len(second.Items) || string(tree) != string(again) {
			t.Errorf("%s: %d items recorded, %d items replayed; trees of %d and %d bytes", name, len(first.Items), len(second.Items), len(tree), len(again))
		}
	}
}

// TestNothingThere: an empty machine is no error.
func TestNothingThere(t *testing.T) {
	root, err := recorded([]byte("proc/\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := Look(Options{Root: root, Arch: "amd64"})
	if m.Board != "generic" || len(m.Items) != 0 || m.Facts() != boards.Find("generic") {
		t.Errorf("%+v", m)
	}
}

// TestHeaderBusSwitchedOff: a ROCK 3A as Debian starts it has no I²C on its header; it is told how to get it.
func TestHeaderBusSwitchedOff(t *testing.T) {
	root, err := recorded([]byte("proc/device-tree/compatible = \"radxa,rock3a\\x00rockchip,rk3568\\x00\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	off := Look(Options{Root: root, Arch: "arm64"}).Of(Bus)
	if len(off) != 3 || off[0].Name != "I2C1, SDA 27 SCL 28" || off[0].Note == nil || !strings.Contains(off[0].Note.En, "overlay") {
		t.Errorf("buses %+v", off)
	}
}

func TestState(t *testing.T) {
	root, err := recorded([]byte(`proc/device-tree/compatible = "raspberrypi,4-model-b\x00"
sys/class/hwmon/hwmon0/name = "cpu_thermal\n"
sys/class/hwmon/hwmon1/name = "rpi_volt\n"
sys/class/hwmon/hwmon1/in0_lcrit_alarm = "1\n"
sys/class/thermal/thermal_zone0/type = "cpu-thermal\n"
sys/class/thermal/thermal_zone0/temp = "48199\n"
sys/class/thermal/thermal_zone1/type = "other\n"
sys/class/thermal/thermal_zone1/temp = "99000\n"
sys/class/thermal/cooling_device0/type = "fan\n"
sys/class/watchdog/watchdog0/identity = "Software Watchdog\n"
sys/class/watchdog/watchdog0/state = "active\n"
sys/class/watchdog/watchdog0/timeout = "60\n"
`))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Root: root, Arch: "arm64"}
	s := StateOf(o)
	if s.Undervolt == nil || !*s.Undervolt || s.Celsius == nil || *s.Celsius != 48.199 {
		t.Errorf("a Pi 4: %v %v", s.Undervolt, s.Celsius)
	}
	o.Board = "generic-arm64"
	if s := StateOf(o); s.Undervolt != nil || s.Celsius == nil || *s.Celsius != 99 {
		t.Errorf("a board that is not known: %v, the hottest zone counts: %v", s.Undervolt, s.Celsius)
	}
	want := WatchdogState{true, "Software Watchdog", "active", time.Minute, true}
	for _, dev := range []string{"/dev/watchdog0", "/dev/watchdog"} {
		if w := WatchdogAt(o, dev); w != want {
			t.Errorf("%s: %+v", dev, w)
		}
	}
	if w := WatchdogAt(o, "/dev/watchdog1"); w.Exists {
		t.Errorf("%+v", w)
	}
}
