package inventory

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// serials lists serial ports of the board and USB adapters. The console is told as such.
func (l *look) serials() {
	console := strings.Fields(l.text("/sys/class/tty/console/active"))
	for _, n := range l.names("/sys/class/tty") {
		sys := path.Join("/sys/class/tty", n)
		usb := strings.HasPrefix(n, "ttyUSB") || strings.HasPrefix(n, "ttyACM")
		own := strings.HasPrefix(n, "ttyAMA") || strings.HasPrefix(n, "ttyS")
		node := l.treeNode(path.Join(sys, "device"))
		if !usb && (!own || l.target(path.Join(sys, "device")) == "" || l.text(path.Join(sys, "type")) == "0") { // ttyS without hardware
			continue
		}
		i := Item{Kind: Serial, Name: n, Node: "/dev/" + n, Path: l.stable("/dev/"+n, "/dev/serial/by-id", "/dev/serial/by-path")}
		if i.Path == "" {
			i.Path, i.Node = "/dev/"+n, ""
		}
		if b := l.bus(node); b != nil {
			i.Name, i.Unverified = b.Name+", "+pins(b), l.board.Header.Unverified
		}
		if usb {
			i.Name = strings.TrimSpace(l.usbName(sys))
			if i.Name == "" {
				i.Name = n
			}
		}
		for _, c := range console {
			if c == n {
				i.Note = note("系统控制台：接设备前请先关闭（启动参数 console=）", "The system's console: switch it off before something hangs there (boot parameter console=)")
			}
		}
		if i.Note == nil {
			i.Config = fmt.Sprintf("scanner: {serial: {device: %s}}\n", quote(i.Path))
		}
		l.add(i)
	}
}

// usbName is how a USB device calls itself, found some folders above the class device.
func (l *look) usbName(sys string) string {
	dir := l.target(path.Join(sys, "device"))
	if real := l.target(sys); real != "" { // /sys/class/tty/ttyUSB0 is a link itself
		dir = real
	}
	for range 8 {
		if dir == "" || dir == "/" {
			return ""
		}
		if p := l.text(dir + "/product"); p != "" {
			return strings.TrimSpace(l.text(dir+"/manufacturer") + " " + p)
		}
		dir = path.Dir(dir)
	}
	return ""
}

// scanners lists what types like a keyboard by USB: scanners do, and so do keyboards.
func (l *look) scanners() {
	for _, n := range l.names("/dev/input/by-id") {
		if !strings.HasSuffix(n, "-event-kbd") {
			continue
		}
		link := path.Join("/dev/input/by-id", n)
		node := l.target(link)
		i := Item{Kind: Scanner, Name: l.text("/sys/class/input/" + path.Base(node) + "/device/name"), Path: link, Node: node,
			Config: "scanner: {hid: {device: " + quote(link) + "}}\n"}
		if i.Name == "" {
			i.Name = n
		}
		low := strings.ToLower(i.Name)
		if strings.Contains(low, "keyboard") {
			i.Note = note("名称像键盘：请确认它是扫码器，扫码器会被独占", "It is called a keyboard: make sure it is the scanner, which is taken for ourselves")
		}
		l.add(i)
	}
}

// disks lists file systems by label, where they are mounted, and what tells their wear.
func (l *look) disks() {
	mounts := map[string]string{} // device -> folder
	for line := range strings.Lines(l.text("/proc/mounts") + "\n") {
		if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[0], "/dev/") && mounts[f[0]] == "" {
			mounts[f[0]] = unescape(f[1])
		}
	}
	for _, d := range l.names("/sys/block") {
		sys := path.Join("/sys/block", d)
		if strings.HasPrefix(d, "loop") || strings.HasPrefix(d, "ram") || strings.HasPrefix(d, "zram") || strings.HasPrefix(d, "nbd") || l.text(sys+"/size") == "0" {
			continue
		}
		parts := []string{}
		for _, p := range l.names(sys) {
			if strings.HasPrefix(p, d) && l.text(path.Join(sys, p, "partition")) != "" {
				parts = append(parts, p)
			}
		}
		if len(parts) == 0 {
			parts = []string{d}
		}
		for _, p := range parts {
			l.disk(d, p, mounts)
		}
	}
}

func (l *look) disk(d, part string, mounts map[string]string) {
	sys := path.Join("/sys/block", d)
	size := l.text(path.Join(sys, part, "size"))
	if part == d {
		size = l.text(sys + "/size")
	}
	sectors, _ := strconv.ParseInt(size, 10, 64) // of 512 bytes, whatever the disk's own are
	model := strings.TrimSpace(l.text(sys+"/device/vendor") + " " + l.text(sys+"/device/model"))
	if model == "" {
		model = l.text(sys + "/device/name") // of an SD card
	}
	node := "/dev/" + part
	i := Item{Kind: Disk, Name: strings.TrimSpace(fmt.Sprintf("%s %.0f GB", model, float64(sectors)*512/1e9)), Node: node,
		Path: l.stable(node, "/dev/disk/by-label", "/dev/disk/by-uuid", "/dev/disk/by-id")}
	if i.Path == "" {
		i.Path = node
	}
	at := mounts[node]
	switch {
	case at == "/" || strings.HasPrefix(at, "/boot"):
		i.Note = note("系统盘（挂载于 "+at+"），不宜存放录像", "The system's own disk (mounted at "+at+"): no place for recordings")
	case at != "":
		i.Config = "storage: {disks: [" + quote(at) + "]}\n"
	case l.stable(node, "/dev/disk/by-label", "/dev/disk/by-uuid") != "":
		i.Note = note("未挂载：minglu-agent init 可按卷标挂载", "Not mounted: minglu-agent init mounts it by its label")
	default:
		i.Note = note("没有文件系统", "It has no file system")
	}
	if w := l.text(sys + "/device/life_time"); w != "" {
		i.Name += ", life_time " + w
	}
	l.add(i)
}

// unescape turns the \040 of /proc/mounts back.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
