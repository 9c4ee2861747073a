package boards

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Extract is the part of a device tree that a board's proofs look at, kept as text beside the tests with
// the package it was read from: lines "NODE PROPERTY HEX", after a head of lines "# KEY VALUE".
type Extract struct {
	Package, Version, DTB, SHA256 string // SHA256 of the .dtb file, in hex
	props                         map[[2]string][]byte
}

// NewExtract takes from a tree what the board's proofs name, and how the tree calls itself.
func NewExtract(b *Board, t Tree) *Extract {
	x := &Extract{Package: b.Kernel.Package, Version: b.Kernel.Version, props: map[[2]string][]byte{}}
	take := func(node, name string) {
		if v, ok := t.Property(node, name); ok {
			x.props[[2]string{node, name}] = v
		}
	}
	take("/", "model")
	take("/", "compatible")
	for _, f := range b.facts {
		for _, p := range f.Proof {
			if p.Property == "" {
				p.Property = "compatible"
			}
			take(p.Node, p.Property)
		}
	}
	return x
}

// Property makes it a [Tree].
func (x *Extract) Property(node, name string) ([]byte, bool) {
	v, ok := x.props[[2]string{node, name}]
	return v, ok
}

// Marshal writes it, the same bytes for the same content.
func (x *Extract) Marshal() []byte {
	var lines []string
	for k, v := range x.props {
		lines = append(lines, fmt.Sprintf("%s %s %s\n", k[0], k[1], hex.EncodeToString(v)))
	}
	slices.Sort(lines)
	return []byte(fmt.Sprintf("# package %s\n# version %s\n# dtb %s\n# sha256 %s\n", x.Package, x.Version, x.DTB, x.SHA256) + strings.Join(lines, ""))
}

// ParseExtract reads what Marshal wrote.
func ParseExtract(b []byte) (*Extract, error) {
	x := &Extract{props: map[[2]string][]byte{}}
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 2*maxProperty)
	for s.Scan() {
		w := strings.Fields(s.Text())
		if len(w) == 2 { // an empty property
			w = append(w, "")
		}
		if len(w) != 3 {
			return nil, fmt.Errorf("boards: extract: line %q", s.Text())
		}
		if w[0] == "#" {
			field := map[string]*string{"package": &x.Package, "version": &x.Version, "dtb": &x.DTB, "sha256": &x.SHA256}[w[1]]
			if field == nil {
				return nil, fmt.Errorf("boards: extract: key %q", w[1])
			}
			*field = w[2]
			continue
		}
		v, err := hex.DecodeString(w[2])
		if err != nil {
			return nil, fmt.Errorf("boards: extract: %s %s: %w", w[0], w[1], err)
		}
		x.props[[2]string{w[0], w[1]}] = v
	}
	return x, s.Err()
}
