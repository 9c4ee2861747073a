package boards

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Proof is one line of a device tree that a fact stands on. In a board's file it is written as
//
//	/soc/i2c@7e804000 status okay                       one of the property's strings
//	/soc/gpio@7e200000 gpio-line-names[2] SDA1          the string at that place
//	/soc/gpio@7e200000/i2c1-gpio2 brcm,pins <2 3>       cells that follow each other in it
//	/soc/watchdog@7e100000                              the node is there
type Proof struct {
	Node     string
	Property string // "" : the node alone, shown by any compatible property
	Index    int    // place of the string, -1 any
	Value    string
	Cells    []uint32 // nil: strings
}

// UnmarshalText reads a proof.
func (p *Proof) UnmarshalText(b []byte) error {
	words := strings.SplitN(strings.TrimSpace(string(b)), " ", 3)
	p.Index = -1
	p.Node = words[0]
	if !strings.HasPrefix(p.Node, "/") {
		return fmt.Errorf("proof %q: a node's path begins with /", b)
	}
	if len(words) == 1 {
		return nil
	}
	if len(words) == 2 {
		return fmt.Errorf("proof %q: want NODE, or NODE PROPERTY VALUE", b)
	}
	p.Property, p.Value = words[1], words[2]
	if name, rest, ok := strings.Cut(p.Property, "["); ok {
		n, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
		if err != nil || n < 0 || !strings.HasSuffix(rest, "]") {
			return fmt.Errorf("proof %q: want PROPERTY[N]", b)
		}
		p.Property, p.Index = name, n
	}
	if !strings.HasPrefix(p.Value, "<") {
		return nil
	}
	for _, w := range strings.Fields(strings.Trim(p.Value, "<>")) {
		n, err := strconv.ParseUint(w, 0, 32)
		if err != nil {
			return fmt.Errorf("proof %q: cell %q: %w", b, w, err)
		}
		p.Cells = append(p.Cells, uint32(n))
	}
	if len(p.Cells) == 0 {
		return fmt.Errorf("proof %q: no cells", b)
	}
	return nil
}

func (p Proof) String() string {
	s := p.Node
	if p.Property != "" {
		s += " " + p.Property
	}
	if p.Index >= 0 {
		s += fmt.Sprintf("[%d]", p.Index)
	}
	return strings.TrimSpace(s + " " + p.Value)
}

// holds compares the proof with a tree and says what is there.
func (p Proof) holds(t Tree) (found string, ok bool) {
	name := p.Property
	if name == "" {
		name = "compatible"
	}
	b, ok := t.Property(p.Node, name)
	switch {
	case !ok:
		return "no such node or property", false
	case p.Property == "":
		return "", true
	case p.Cells != nil:
		cells := make([]uint32, len(b)/4)
		for i := range cells {
			cells[i] = binary.BigEndian.Uint32(b[4*i:])
		}
		for i := range cells {
			if len(cells)-i >= len(p.Cells) && slices.Equal(cells[i:i+len(p.Cells)], p.Cells) {
				return "", true
			}
		}
		return fmt.Sprint(cells), false
	}
	list := Strings(b)
	if p.Index >= 0 {
		if p.Index < len(list) && list[p.Index] == p.Value {
			return "", true
		}
		return fmt.Sprintf("%q", list), false
	}
	return fmt.Sprintf("%q", list), slices.Contains(list, p.Value)
}

// Strings splits a property that holds strings.
func Strings(b []byte) []string {
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

// limited ends a read that finds more than a device tree can hold.
type limited struct {
	f    fs.File
	left int
}

func (l *limited) Read(b []byte) (int, error) {
	n, err := l.f.Read(b)
	if l.left -= n; l.left < 0 {
		return n, errors.New("boards: a property of the device tree is too long")
	}
	if errors.Is(err, io.EOF) {
		return n, io.EOF
	}
	return n, err
}
