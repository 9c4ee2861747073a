package inventory

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"minglu/boards"
)

// lines lists the lines of the header; on a board that is not known all that are free. A line that
// something uses is told with its user.
func (l *look) lines() {
	if l.Lines == nil {
		return
	}
	all, err := l.Lines()
	l.problem("gpio", err)
	known := len(l.board.Header.Pins) > 0
	for _, x := range all {
		pin := l.board.PinOf(x.Chip, x.Number)
		if known && pin == nil {
			continue
		}
		i := Item{Kind: Line, Name: x.Name, Path: x.Chip + ":" + strconv.Itoa(x.Number), Node: x.Device}
		if i.Name == "" {
			i.Name = fmt.Sprintf("%s %d", x.Chip, x.Number)
		}
		if pin != nil {
			i.Name, i.Pin, i.Unverified = pin.Name, pin.Pin, l.board.Header.Unverified
			if x.Name != "" && x.Name != pin.Name {
				i.Name += " (" + x.Name + ")"
			}
		}
		line := x.Name
		if line == "" {
			line = strconv.Itoa(x.Number)
		}
		if x.Used {
			i.Note = note("已被占用："+x.Consumer, "In use by "+x.Consumer)
		} else {
			i.Config = fmt.Sprintf("inputs: {button: {gpio: {chip: %s, line: %s}}}\n", quote(x.Chip), quote(line))
		}
		l.add(i)
	}
}

// buses lists the I²C buses and what answers on them.
func (l *look) buses() {
	for _, n := range l.names("/sys/class/i2c-dev") {
		sys := path.Join("/sys/class/i2c-dev", n)
		node := l.treeNode(path.Join(sys, "device"))
		i := Item{Kind: Bus, Name: l.text(sys + "/name"), Path: "/dev/" + n}
		b := l.bus(node)
		if b != nil {
			i.Name = b.Name + ", " + pins(b) + " · " + i.Name
			i.Unverified = l.board.Header.Unverified
		} else if node == "" {
			i.Note = note("编号随启动顺序而定", "Its number depends on the order of starting")
		}
		l.add(i)
		if l.Sensors == nil || (b == nil && !l.board.Generic()) { // buses inside a board are none of ours: a power supply hangs there
			continue
		}
		found, err := l.Sensors(i.Path)
		l.problem(i.Path, err)
		for _, s := range found {
			x := Item{Kind: Sensor, Name: s.Name, Path: fmt.Sprintf("%s, 0x%02x", i.Path, s.Address)}
			if key := map[string]string{"climate": "thermometer", "clock": "rtc", "power": "power"}[s.Kind]; key != "" {
				x.Config = fmt.Sprintf("%s:\n  i2c: {bus: %s, chip: %s, address: 0x%02x}\n", key, quote(i.Path), s.Name, s.Address)
			}
			l.add(x)
		}
	}
	for _, b := range l.board.Buses { // those of the header that nobody switched on
		if b.Kind != "i2c" || l.hasBus(b.Node) {
			continue
		}
		l.add(Item{Kind: Bus, Name: b.Name + ", " + pins(&b), Unverified: true,
			Note: note("未打开：需设备树叠加层（设备树节点 "+b.Node+"）", "Switched off: a device tree overlay must switch it on (node "+b.Node+")")})
	}
}

func (l *look) bus(node string) *boards.Bus {
	for i := range l.board.Buses {
		if b := &l.board.Buses[i]; b.Node == node && node != "" {
			return b
		}
	}
	return nil
}

func (l *look) hasBus(node string) bool {
	for _, n := range l.names("/sys/class/i2c-dev") {
		if l.treeNode(path.Join("/sys/class/i2c-dev", n, "device")) == node {
			return true
		}
	}
	return false
}

// pins says where a bus is on the header.
func pins(b *boards.Bus) string {
	var s []string
	for _, signal := range []string{"sda", "scl", "tx", "rx", "mosi", "miso", "sclk", "ce0", "ce1"} {
		if n, ok := b.Pins[signal]; ok {
			s = append(s, fmt.Sprintf("%s %d", strings.ToUpper(signal), n))
		}
	}
	return strings.Join(s, " ")
}

// clocks lists the hardware clocks.
func (l *look) clocks() {
	for _, n := range l.names("/sys/class/rtc") {
		sys := path.Join("/sys/class/rtc", n)
		i := Item{Kind: RTC, Name: l.text(sys + "/name"), Path: "/dev/" + n}
		if l.text(sys+"/hctosys") == "1" {
			i.Note = note("系统启动时由它校时", "The system takes its time from it at the start")
		}
		i.Config = "rtc: {device: " + quote(i.Path) + "}\n"
		if r := l.board.RTC; r != nil && l.treeNode(path.Join(sys, "device")) == r.Name {
			i.Unverified = r.Unverified
		}
		l.add(i)
	}
}

// watchdogs lists the hardware watchdogs.
func (l *look) watchdogs() {
	auto := l.Guard()
	for _, n := range l.names("/sys/class/watchdog") {
		sys := path.Join("/sys/class/watchdog", n)
		i := Item{Kind: Watchdog, Name: l.text(sys + "/identity"), Path: "/dev/" + n, Config: "watchdog: {device: " + quote("/dev/"+n) + "}\n"}
		if i.Name == "" {
			i.Name = n
		}
		switch {
		case i.Name == softdog:
			i.Note = note("由内核软件实现：内核卡死时不起作用", "Made by the kernel: of no use when the kernel itself hangs")
		case i.Path == auto:
			i.Note = note("这块板自动使用它，不必配置", "Used by itself on this board: no need to write it down")
		}
		l.add(i)
	}
}

// softdog is the identity of the kernel's watchdog without hardware.
const softdog = "Software Watchdog"

// Guard returns the watchdog that a known board uses by itself, such as "/dev/watchdog0"; "" on a generic
// board and where there is none.
func (l *look) Guard() string {
	w := l.board.Watchdog
	if w == nil || l.board.Generic() {
		return ""
	}
	for _, n := range l.names("/sys/class/watchdog") {
		sys := path.Join("/sys/class/watchdog", n)
		if l.text(sys+"/identity") == w.Identity || l.treeNode(path.Join(sys, "device")) == w.Node {
			return "/dev/" + n
		}
	}
	return ""
}

// Guard returns the watchdog that the board uses by itself, such as "/dev/watchdog0"; "" on a generic board
// and where there is none.
func Guard(o Options) string {
	b, _ := boards.Detect(boards.Running{FS: sub(o.Root, "proc/device-tree")}, o.Arch)
	if configured := boards.Find(o.Board); configured != nil {
		b = configured
	}
	return (&look{o, nil, b}).Guard()
}

// tpm lists the device that keeps keys.
func (l *look) tpm() {
	for _, n := range l.names("/sys/class/tpm") {
		i := Item{Kind: TPM, Name: "TPM " + l.text(path.Join("/sys/class/tpm", n, "tpm_version_major")) + ".x", Path: "/dev/tpmrm" + strings.TrimPrefix(n, "tpm")}
		if l.text(path.Join("/sys/class/tpm", n, "tpm_version_major")) == "2" {
			i.Name = "TPM 2.0"
			i.Config = "identity: {tpm: " + quote(i.Path) + "}\n"
		} else {
			i.Note = note("只支持 TPM 2.0", "Only TPM 2.0 can be used")
		}
		l.add(i)
	}
}
