// Package fdt reads flattened device trees: the .dtb files of Debian's kernels and what a firmware hands
// to a kernel. Format: Devicetree Specification v0.4, chapter 5, version 17.
//
// It reads what is needed to look facts up and nothing else: memory reservations are not kept, and
// nothing is written. What it is given is bounded and checked; a damaged file is an error, never a panic.
package fdt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Bounds: Debian's largest board file is 0.2 MB and seven deep.
const (
	MaxBytes = 4 << 20
	maxDepth = 32
)

const (
	magic   = 0xd00dfeed
	version = 17

	tokenBegin = 1
	tokenEnd   = 2
	tokenProp  = 3
	tokenNop   = 4
	tokenLast  = 9
)

// Tree is one device tree. It is safe for concurrent use.
type Tree struct{ nodes map[string]map[string][]byte }

var errCut = errors.New("it ends too early")

// Parse reads a .dtb file.
func Parse(b []byte) (*Tree, error) {
	if len(b) < 40 || len(b) > MaxBytes {
		return nil, fmt.Errorf("fdt: %d bytes, want 40 to %d", len(b), MaxBytes)
	}
	word := func(at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }
	if word(0) != magic || word(20) < version || word(24) > version {
		return nil, fmt.Errorf("fdt: magic %#x, version %d: no device tree of version %d", word(0), word(20), version)
	}
	structs, err := section(b, word(8), word(36))
	if err != nil {
		return nil, fmt.Errorf("fdt: structure block: %w", err)
	}
	names, err := section(b, word(12), word(32))
	if err != nil {
		return nil, fmt.Errorf("fdt: strings block: %w", err)
	}
	r := reader{b: structs, names: names, t: &Tree{map[string]map[string][]byte{}}}
	if err := r.read(); err != nil {
		return nil, fmt.Errorf("fdt: structure block at %d: %w", r.at, err)
	}
	return r.t, nil
}

func section(b []byte, off, size uint32) ([]byte, error) {
	if end := uint64(off) + uint64(size); end > uint64(len(b)) {
		return nil, errCut
	}
	return b[off : off+size], nil
}

type reader struct {
	b, names []byte
	at       int
	t        *Tree
}

func (r *reader) read() error {
	var path []string
	for {
		token, err := r.word()
		if err != nil {
			return err
		}
		switch token {
		case tokenNop:
		case tokenBegin:
			name, err := text(r.b[r.at:])
			if err != nil {
				return err
			}
			r.at = (r.at + len(name) + 4) &^ 3
			if path = append(path, name); len(path) > maxDepth {
				return fmt.Errorf("more than %d deep", maxDepth)
			}
			r.t.nodes[join(path)] = map[string][]byte{}
		case tokenProp:
			if err := r.property(path); err != nil {
				return err
			}
		case tokenEnd:
			if len(path) == 0 {
				return errors.New("a node ends that never began")
			}
			path = path[:len(path)-1]
		case tokenLast:
			if len(path) != 0 || len(r.t.nodes) == 0 {
				return errCut
			}
			return nil
		default:
			return fmt.Errorf("token %d", token)
		}
	}
}

func (r *reader) property(path []string) error {
	size, err := r.word()
	if err != nil {
		return err
	}
	off, err := r.word()
	if err != nil {
		return err
	}
	if uint64(off) > uint64(len(r.names)) || uint64(size) > uint64(len(r.b)-r.at) || len(path) == 0 {
		return errCut
	}
	name, err := text(r.names[off:])
	if err != nil {
		return err
	}
	r.t.nodes[join(path)][name] = r.b[r.at : r.at+int(size)]
	r.at = (r.at + int(size) + 3) &^ 3
	return nil
}

func (r *reader) word() (uint32, error) {
	if r.at > len(r.b)-4 {
		return 0, errCut
	}
	r.at += 4
	return binary.BigEndian.Uint32(r.b[r.at-4:]), nil
}

func text(b []byte) (string, error) {
	s, _, ok := strings.Cut(string(b[:min(len(b), 256)]), "\x00")
	if !ok {
		return "", errors.New("a name without end")
	}
	return s, nil
}

// join writes a path; the root's own name is empty.
func join(path []string) string {
	if len(path) == 1 {
		return "/"
	}
	return strings.Join(path, "/")
}

// Property returns a property of the node at a path such as "/soc/gpio@7e200000". The bytes are shared.
func (t *Tree) Property(node, name string) ([]byte, bool) {
	v, ok := t.nodes[node][name]
	return v, ok
}

// Nodes returns the paths of all nodes, sorted.
func (t *Tree) Nodes() []string { return slices.Sorted(maps.Keys(t.nodes)) }

// Properties returns the names of a node's properties, sorted.
func (t *Tree) Properties(node string) []string { return slices.Sorted(maps.Keys(t.nodes[node])) }
