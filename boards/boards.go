// Package boards holds what is known of the ARM computers a room is built on, one YAML file a board:
// how it is recognised, where header pins, buses, lamps and watchdog are, what its encoder and its
// processor can.
//
// Each fact says where it is from: a node and property of the board's device tree as Debian ships it
// ([Board.Kernel] names package, version and file), which [Board.Check] compares with any device tree: the
// shipped file in a test, or /proc/device-tree on the board itself. What no device tree shows is marked
// unverified and names another source; whoever shows a fact shows that mark too.
//
// The package reads no device and knows no driver. Everything in it is safe for concurrent use.
package boards

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

// Board is one kind of computer.
type Board struct {
	Name       string   `yaml:"name"` // as in agent.yaml, such as "raspberrypi-4"
	Title      Text     `yaml:"title"`
	Arch       []string `yaml:"arch"`       // GOARCH of the systems it runs, the usual one first
	Compatible []string `yaml:"compatible"` // any of these in the root's compatible property; none: a generic board
	Kernel     Kernel   `yaml:"kernel"`     // whose device tree the proofs are about; empty for a generic board

	Chips       []Chip    `yaml:"chips"`
	Header      Header    `yaml:"header"`
	Buses       []Bus     `yaml:"buses"`
	Encoders    []Encoder `yaml:"encoders"` // none: ffmpeg or the camera encodes
	Watchdog    *Watchdog `yaml:"watchdog"`
	LEDs        []LED     `yaml:"leds"`
	Temperature *Source   `yaml:"temperature"`  // name of the thermal zone
	Undervolt   *Source   `yaml:"undervoltage"` // name of the hwmon device with in0_lcrit_alarm
	RTC         *Source   `yaml:"rtc"`          // device-tree node of a clock with a battery on the board
	Crypto      *Crypto   `yaml:"crypto"`
	Storage     []Storage `yaml:"storage"`
	Notes       []Text    `yaml:"notes"` // what somebody who wires the board must know
	facts       []NamedFact
}

// Text is said in both languages.
type Text struct {
	Zh string `yaml:"zh" json:"zh"`
	En string `yaml:"en" json:"en"`
}

// Kernel names the Debian package whose device tree the proofs are about.
type Kernel struct {
	Package string   `yaml:"package"` // such as linux-base-7.3.4+deb13-arm64
	Version string   `yaml:"version"` // of the package
	Suite   string   `yaml:"suite"`   // of Debian it comes from
	DTBs    []string `yaml:"dtbs"`    // below the package's folder of device trees; the proofs hold in each
}

// Fact says where something is known from.
type Fact struct {
	Proof      []Proof `yaml:"proof"`      // what the device tree shows of it
	Unverified bool    `yaml:"unverified"` // it, or a part of it, is shown by no device tree
	Source     string  `yaml:"source"`     // where the unverified part is from
}

// Chip is a GPIO controller.
type Chip struct {
	ID    string `yaml:"id"`    // as pins name it
	Label string `yaml:"label"` // as the kernel names it, see gpioinfo
	Node  string `yaml:"node"`
	Lines int    `yaml:"lines"`
	Fact  `yaml:",inline"`
}

// Header is the row of pins people wire to.
type Header struct {
	Pins []Pin            `yaml:"pins"`
	Fact `yaml:",inline"` // of the pins' places
}

// Pin is one place of the header.
type Pin struct {
	Pin    int    `yaml:"pin"`    // number printed on the board, from 1
	Name   string `yaml:"name"`   // GPIO4, GPIO3_A3, or 3V3, 5V, GND
	Chip   string `yaml:"chip"`   // ID of its controller; "" for a supply
	Line   int    `yaml:"line"`   // offset on the chip
	Kernel string `yaml:"kernel"` // name of the line in the device tree, "" if it has none
}

// Bus is an I²C, SPI or UART whose lines are on the header.
type Bus struct {
	Kind string         `yaml:"kind"` // "i2c", "spi", "uart"
	Name string         `yaml:"name"` // as the board's papers call it
	Node string         `yaml:"node"`
	Pins map[string]int `yaml:"pins"` // signal -> header pin
	On   bool           `yaml:"on"`   // Debian's device tree switches it on; otherwise an overlay must
	Fact `yaml:",inline"`
}

// Encoder is a video encoder of the chip.
type Encoder struct {
	Name    string   `yaml:"name"`
	Formats []string `yaml:"formats"` // "h264", "h265", "mjpeg"
	Fact    `yaml:",inline"`
}

// Watchdog is the hardware that resets the board.
type Watchdog struct {
	Identity string `yaml:"identity"` // as WDIOC_GETSUPPORT says
	Node     string `yaml:"node"`     // "" for a generic board
	Max      int    `yaml:"max"`      // longest time of the hardware itself, seconds; 0 unknown
	Fact     `yaml:",inline"`
}

// LED is a lamp on the board itself, not the room's.
type LED struct {
	Name string `yaml:"name"` // below /sys/class/leds
	Fact `yaml:",inline"`
}

// Source is something the kernel names.
type Source struct {
	Name string `yaml:"name"`
	Fact `yaml:",inline"`
}

// Crypto is what the processor has instructions for.
type Crypto struct {
	AES  bool `yaml:"aes"`
	SHA2 bool `yaml:"sha2"`
	Fact `yaml:",inline"`
}

// Storage is where recordings or the system can lie, and what tells its wear.
type Storage struct {
	Kind string `yaml:"kind"` // "sd", "emmc", "nvme", "usb"
	Wear string `yaml:"wear"` // below /sys/block/NAME/device, or a tool; "" if nothing tells
	Fact `yaml:",inline"`
}

// NamedFact is a fact with the words that name it, such as "pin 7 GPIO4".
type NamedFact struct {
	Name string
	Fact
}

//go:embed data/*.yaml
var data embed.FS

var all = sync.OnceValue(func() []*Board {
	names, err := fs.Glob(data, "data/*.yaml")
	if err != nil || len(names) == 0 {
		panic("BUG: boards: no data")
	}
	var list []*Board
	for _, n := range names {
		b, err := fs.ReadFile(data, n)
		if err != nil {
			panic("BUG: boards: " + err.Error())
		}
		x, err := Parse(b)
		if err != nil {
			panic("BUG: boards: " + n + ": " + err.Error())
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b *Board) int { return strings.Compare(a.Name, b.Name) })
	return list
})

// All returns the boards that are known, by name.
func All() []*Board { return slices.Clone(all()) }

// Find returns the board of a name in agent.yaml, nil if there is none.
func Find(name string) *Board {
	for _, b := range all() {
		if b.Name == name {
			return b
		}
	}
	return nil
}

// Parse reads one board's file. Unknown keys and facts without proof or source are errors.
func Parse(b []byte) (*Board, error) {
	var x Board
	if err := yaml.UnmarshalWithOptions(b, &x, yaml.Strict()); err != nil {
		return nil, err
	}
	if x.Name == "" || x.Title.Zh == "" || x.Title.En == "" || len(x.Arch) == 0 {
		return nil, errors.New("name, title and arch are needed")
	}
	if err := x.collect(); err != nil {
		return nil, fmt.Errorf("%s: %w", x.Name, err)
	}
	return &x, nil
}

// Generic says that nothing is known of the board but its processor's kind.
func (b *Board) Generic() bool { return len(b.Compatible) == 0 }

// Facts returns everything the file claims, in its order.
func (b *Board) Facts() []NamedFact { return slices.Clone(b.facts) }

// Pin returns a header pin, nil if the header has none of that number.
func (b *Board) Pin(n int) *Pin {
	for i := range b.Header.Pins {
		if b.Header.Pins[i].Pin == n {
			return &b.Header.Pins[i]
		}
	}
	return nil
}

// Chip returns a controller by its ID in the file, nil if there is none.
func (b *Board) Chip(id string) *Chip {
	for i := range b.Chips {
		if b.Chips[i].ID == id {
			return &b.Chips[i]
		}
	}
	return nil
}

// PinOf returns the header pin of a line, nil if the line is on none.
func (b *Board) PinOf(chipLabel string, line int) *Pin {
	for i := range b.Header.Pins {
		p := &b.Header.Pins[i]
		if c := b.Chip(p.Chip); c != nil && c.Label == chipLabel && p.Line == line {
			return p
		}
	}
	return nil
}

// collect gathers the facts, those of single pins too, and checks that each stands on something.
func (b *Board) collect() error {
	add := func(name string, f Fact) { b.facts = append(b.facts, NamedFact{name, f}) }
	for _, c := range b.Chips {
		add("chip "+c.Label, c.Fact)
	}
	if len(b.Header.Pins) > 0 {
		add("places of the header's pins", b.Header.Fact)
	}
	for _, p := range b.Header.Pins {
		if p.Chip == "" {
			continue
		}
		c := b.Chip(p.Chip)
		if c == nil || p.Line < 0 || p.Line >= c.Lines {
			return fmt.Errorf("pin %d: no line %d on chip %q", p.Pin, p.Line, p.Chip)
		}
		if p.Kernel != "" {
			add(fmt.Sprintf("pin %d %s", p.Pin, p.Name), Fact{Proof: []Proof{{Node: c.Node, Property: "gpio-line-names", Index: p.Line, Value: p.Kernel}}})
		}
	}
	for _, x := range b.Buses {
		for signal, n := range x.Pins {
			if p := b.Pin(n); p == nil || p.Chip == "" {
				return fmt.Errorf("bus %s: %s is on pin %d, which is no line", x.Name, signal, n)
			}
		}
		add(x.Kind+" "+x.Name, x.Fact)
	}
	for _, x := range b.Encoders {
		add("encoder "+x.Name, x.Fact)
	}
	if b.Watchdog != nil {
		add("watchdog", b.Watchdog.Fact)
	}
	for _, x := range b.LEDs {
		add("LED "+x.Name, x.Fact)
	}
	for _, x := range []struct {
		name string
		*Source
	}{{"temperature", b.Temperature}, {"undervoltage", b.Undervolt}, {"rtc", b.RTC}} {
		if x.Source != nil {
			add(x.name, x.Fact)
		}
	}
	if b.Crypto != nil {
		add("crypto", b.Crypto.Fact)
	}
	for _, x := range b.Storage {
		add("storage "+x.Kind, x.Fact)
	}
	for _, f := range b.facts {
		switch {
		case len(f.Proof) == 0 && !f.Unverified:
			return fmt.Errorf("%s: neither proof nor unverified", f.Name)
		case f.Unverified && f.Source == "":
			return fmt.Errorf("%s: unverified, but no source", f.Name)
		}
	}
	return nil
}

// Tree is a device tree: package fdt reads one from a file, [Running] that of the machine.
type Tree interface {
	// Property returns a property of the node at a path such as "/soc/gpio@7e200000".
	Property(node, name string) ([]byte, bool)
}

// Mismatch is a proof that a device tree does not bear out.
type Mismatch struct {
	Fact  string
	Proof Proof
	Found string // what is there instead
}

func (m Mismatch) String() string {
	return fmt.Sprintf("%s: want %s, found %s", m.Fact, m.Proof, m.Found)
}

// Check compares all proofs, and by what the board is recognised, with a device tree.
func (b *Board) Check(t Tree) (bad []Mismatch) {
	if got, _ := Detect(t, ""); got != b && !b.Generic() {
		p := Proof{Node: "/", Property: "compatible", Index: -1, Value: strings.Join(b.Compatible, " or ")}
		found, _ := p.holds(t)
		bad = append(bad, Mismatch{"recognition", p, found})
	}
	for _, f := range b.facts {
		for _, p := range f.Proof {
			if found, ok := p.holds(t); !ok {
				bad = append(bad, Mismatch{f.Name, p, found})
			}
		}
	}
	return bad
}

// Running reads the device tree below a folder such as /proc/device-tree.
type Running struct{ fs.FS }

// maxProperty bounds what is read of a property; the longest that is looked at are names of lines.
const maxProperty = 64 << 10

// Property reads one property.
func (r Running) Property(node, name string) ([]byte, bool) {
	file := path.Join(strings.Trim(node, "/"), name)
	if r.FS == nil || !fs.ValidPath(file) {
		return nil, false
	}
	f, err := r.FS.Open(file)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(&limited{f, maxProperty}); err != nil {
		return nil, false
	}
	return buf.Bytes(), true
}
