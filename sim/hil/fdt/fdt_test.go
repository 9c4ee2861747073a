package fdt

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// small is the tree `/ { compatible = "a","b"; soc { gpio@1 { lines = <7>; }; }; };` as dtc writes it.
func small() []byte {
	var structs bytes.Buffer
	word := func(n ...uint32) {
		for _, n := range n {
			binary.Write(&structs, binary.BigEndian, n)
		}
	}
	text := func(s string) {
		structs.WriteString(s + "\x00")
		for structs.Len()%4 != 0 {
			structs.WriteByte(0)
		}
	}
	names := "compatible\x00lines\x00"
	word(tokenBegin)
	text("")
	word(tokenProp, 4, 0)
	text("a\x00b")
	word(tokenNop, tokenBegin)
	text("soc")
	word(tokenBegin)
	text("gpio@1")
	word(tokenProp, 4, 11, 7, tokenEnd, tokenEnd, tokenEnd, tokenLast)
	var b bytes.Buffer
	const head = 40
	for _, n := range []uint32{magic, uint32(head + structs.Len() + len(names)), head, uint32(head + structs.Len()), head, version, 16, 0, uint32(len(names)), uint32(structs.Len())} {
		binary.Write(&b, binary.BigEndian, n)
	}
	b.Write(structs.Bytes())
	b.WriteString(names)
	return b.Bytes()
}

func TestParse(t *testing.T) {
	tree, err := Parse(small())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tree.Nodes(), []string{"/", "/soc", "/soc/gpio@1"}; !slices.Equal(got, want) {
		t.Errorf("nodes %q, want %q", got, want)
	}
	if v, ok := tree.Property("/soc/gpio@1", "lines"); !ok || !bytes.Equal(v, []byte{0, 0, 0, 7}) {
		t.Errorf("lines = %x, %v; want one cell, 7", v, ok)
	}
	if v, ok := tree.Property("/", "compatible"); !ok || string(v) != "a\x00b\x00" {
		t.Errorf("compatible = %q, %v", v, ok)
	}
	if _, ok := tree.Property("/soc", "lines"); ok {
		t.Error("a property of another node was found")
	}
}

// TestDamaged cuts the tree at each length, and turns each byte: an error or a tree, never a panic.
func TestDamaged(t *testing.T) {
	whole := small()
	for n := range whole {
		if _, err := Parse(whole[:n]); err == nil {
			t.Errorf("cut to %d of %d bytes it parsed", n, len(whole))
		}
		b := bytes.Clone(whole)
		b[n] ^= 0xff
		if tree, err := Parse(b); err == nil && len(tree.Nodes()) == 0 {
			t.Errorf("byte %d turned: a tree without nodes", n)
		}
	}
	deep := bytes.Replace(whole, []byte("soc\x00"), []byte("s\x00\x00\x00"), 1)
	if _, err := Parse(deep); err != nil {
		t.Errorf("a shorter name: %v", err)
	}
	if _, err := Parse(bytes.Repeat([]byte{0}, MaxBytes+1)); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("too large: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(small())
	f.Fuzz(func(t *testing.T, b []byte) {
		tree, err := Parse(b)
		if err != nil {
			return
		}
		for _, n := range tree.Nodes() {
			for _, p := range tree.Properties(n) {
				if _, ok := tree.Property(n, p); !ok {
					t.Errorf("%s %s is listed but not there", n, p)
				}
			}
		}
	})
}
