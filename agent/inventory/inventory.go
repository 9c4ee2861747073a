// Package inventory lists what hangs on a machine and what agent.yaml calls it: cameras, microphones,
// speakers, GPIO lines, I²C buses and the sensors on them, serial ports, scanners, disks, clocks, watchdogs,
// a TPM; and which board it is.
//
// It reads /sys, /proc and /dev below a file system it is given, and opens no device: nothing that records
// is disturbed. What only a device itself can tell (names of lines, formats of cameras, which chips answer on a
// bus) comes from the [Probes] that main makes of the drivers; without them that part is left out and the
// rest stands. Each item has the stable path to put into agent.yaml, which outlives another order of plugging
// in and a restart.
//
// It is safe for concurrent use. It judges nothing: package doctor does.
package inventory

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"minglu/agent/report"
	"minglu/boards"
)

// Kind is a kind of thing.
type Kind string

// The kinds, in the order they are listed.
const (
	Camera     Kind = "camera"
	NetCamera  Kind = "network-camera"
	Encoder    Kind = "encoder"
	Microphone Kind = "microphone"
	Speaker    Kind = "speaker"
	Line       Kind = "line"
	Bus        Kind = "i2c"
	Sensor     Kind = "sensor"
	Serial     Kind = "serial"
	Scanner    Kind = "scanner"
	Disk       Kind = "disk"
	RTC        Kind = "rtc"
	Watchdog   Kind = "watchdog"
	TPM        Kind = "tpm"
)

// Kinds are all kinds in the order they are listed.
func Kinds() []Kind {
	return []Kind{Camera, NetCamera, Encoder, Microphone, Speaker, Line, Bus, Sensor, Serial, Scanner, Disk, RTC, Watchdog, TPM}
}

// Item is one thing.
type Item struct {
	Kind       Kind         `json:"kind"`
	Name       string       `json:"name"`                 // as it calls itself
	Path       string       `json:"path"`                 // stable; what to put into agent.yaml
	Node       string       `json:"node,omitempty"`       // what it is just now, if that is another
	Pin        int          `json:"pin,omitempty"`        // of the header, of a line
	Config     string       `json:"config,omitempty"`     // lines of agent.yaml, ready to paste
	Note       *report.Text `json:"note,omitempty"`       // what to know about it
	Unverified bool         `json:"unverified,omitempty"` // no device tree shows it (its pin, its place)
}

// Machine is what was found.
type Machine struct {
	Board      string        `json:"board"`
	Title      report.Text   `json:"title"`
	Seen       boards.Seen   `json:"seen"` // what the device tree says
	Crypto     []string      `json:"crypto"`
	Items      []Item        `json:"items"`
	Unverified []string      `json:"unverified"` // facts of the board that no device tree shows, with their source
	Differs    []string      `json:"differs"`    // facts of the board that this kernel's device tree does not bear out
	Notes      []report.Text `json:"notes"`
	Problems   []string      `json:"problems,omitempty"` // what could not be looked at
	board      *boards.Board
}

// LineInfo is a GPIO line as the kernel describes it.
type LineInfo struct {
	Chip, Device string // label, /dev/gpiochipN
	Number       int
	Name         string // "" none
	Consumer     string // who uses it
	Used, Output bool
}

// VideoInfo is a video node as its driver describes it.
type VideoInfo struct {
	Node    string // /dev/videoN
	Card    string
	Encoder bool
	Formats []string
}

// SensorInfo is a chip that answered.
type SensorInfo struct {
	Name    string // as agent.yaml calls the kind: sht3x, sht4x, ds3231, ina219, ina226
	Address uint16
	Kind    string // what it measures: "climate", "clock", "power"
}

// NetInfo is a camera in the network that answered.
type NetInfo struct{ Name, Model, Host, Service string }

// Probes ask devices. Each may be nil.
type Probes struct {
	Lines   func() ([]LineInfo, error)
	Videos  func() []VideoInfo
	Network func() ([]NetInfo, error)              // takes some seconds
	Sensors func(bus string) ([]SensorInfo, error) // bus is /dev/i2c-N; asks known addresses with harmless reads alone
}

// Options say where to look.
type Options struct {
	Root  fs.FS  // of the machine, os.DirFS("/")
	Arch  string // GOARCH
	Board string // as configured; "auto" or "" recognises it
	Probes
}

// look is one look at a machine.
type look struct {
	Options
	m     *Machine
	board *boards.Board
}

// Look lists what is there. What cannot be read is left out; what a probe could not do is in Problems.
func Look(o Options) *Machine {
	tree := boards.Running{FS: sub(o.Root, "proc/device-tree")}
	b, seen := boards.Detect(tree, o.Arch)
	if configured := boards.Find(o.Board); configured != nil {
		b = configured
	}
	m := &Machine{Board: b.Name, Title: report.Text(b.Title), Seen: seen, Items: []Item{}, Unverified: []string{}, Differs: []string{}, Notes: []report.Text{}, board: b}
	for _, n := range b.Notes {
		m.Notes = append(m.Notes, report.Text(n))
	}
	for _, f := range b.Facts() {
		if f.Unverified {
			m.Unverified = append(m.Unverified, f.Name+": "+f.Source)
		}
	}
	if !b.Generic() {
		for _, bad := range b.Check(tree) {
			m.Differs = append(m.Differs, bad.String())
		}
	}
	l := &look{o, m, b}
	m.Crypto = l.crypto()
	for _, part := range []func(){l.videos, l.network, l.sound, l.lines, l.buses, l.serials, l.scanners, l.disks, l.clocks, l.watchdogs, l.tpm} {
		part()
	}
	return m
}

// Facts returns the board as package boards knows it.
func (m *Machine) Facts() *boards.Board { return m.board }

// Of returns the items of a kind.
func (m *Machine) Of(k Kind) (list []Item) {
	for _, i := range m.Items {
		if i.Kind == k {
			list = append(list, i)
		}
	}
	return list
}

func (l *look) add(i Item) { l.m.Items = append(l.m.Items, i) }

func (l *look) problem(what string, err error) {
	if err != nil {
		l.m.Problems = append(l.m.Problems, what+": "+err.Error())
	}
}

func note(zh, en string) *report.Text { return &report.Text{Zh: zh, En: en} }

func sub(root fs.FS, dir string) fs.FS {
	s, err := fs.Sub(root, dir)
	if err != nil {
		panic("BUG: inventory: " + err.Error())
	}
	return s
}

// maxFile bounds what is read of a file of /sys or /proc.
const maxFile = 1 << 20

// text reads a file without the white space around it, "" if it is not there.
func (l *look) text(name string) string {
	f, err := l.Root.Open(strings.TrimPrefix(name, "/"))
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 0, 512)
	for len(b) < maxFile {
		b = slices.Grow(b, 512)
		n, err := f.Read(b[len(b) : len(b)+512])
		b = b[:len(b)+n]
		if err != nil {
			break
		}
	}
	return strings.TrimSpace(strings.TrimRight(string(b), "\x00"))
}

// names lists a folder, numbers in order: video2 before video10.
func (l *look) names(dir string) (list []string) {
	entries, err := fs.ReadDir(l.Root, strings.TrimPrefix(dir, "/"))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	slices.SortFunc(list, natural)
	return list
}

func natural(a, b string) int {
	if len(a) != len(b) && strings.TrimRight(a, "0123456789") == strings.TrimRight(b, "0123456789") {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// target is where a symbolic link leads, as an absolute path; "" if it is none.
func (l *look) target(name string) string {
	to, err := fs.ReadLink(l.Root, strings.TrimPrefix(name, "/"))
	if err != nil {
		return ""
	}
	if !path.IsAbs(to) {
		to = path.Join(path.Dir(name), to)
	}
	return to
}

// stable returns the names that udev gives to a node in folders, the first folder first.
func (l *look) stable(node string, dirs ...string) string {
	for _, dir := range dirs {
		for _, n := range l.names(dir) {
			if l.target(path.Join(dir, n)) == node {
				return path.Join(dir, n)
			}
		}
	}
	return ""
}

// treeNode is the device-tree node behind a device of /sys, "" if there is none.
func (l *look) treeNode(dev string) string {
	to := l.target(path.Join(dev, "of_node"))
	if i := strings.Index(to, "/devicetree/base/"); i >= 0 {
		return to[i+len("/devicetree/base"):]
	}
	return ""
}

// crypto is what /proc/cpuinfo says the processor has instructions for.
func (l *look) crypto() []string {
	have := []string{}
	for line := range strings.Lines(l.text("/proc/cpuinfo")) {
		key, value, _ := strings.Cut(line, ":")
		if k := strings.TrimSpace(key); k != "Features" && k != "flags" {
			continue
		}
		for _, w := range strings.Fields(value) {
			if name := map[string]string{"aes": "aes", "sha2": "sha2", "sha512": "sha512", "sm3": "sm3", "sm4": "sm4", "sha_ni": "sha2"}[w]; name != "" {
				have = append(have, name)
			}
		}
		break // all processors of a board have the same in common
	}
	slices.Sort(have)
	return have
}
