package hil

import (
	"bytes"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// served is a disk of 256 kB and a client that talks to it as qemu does.
func served(t *testing.T) (d *Disk, do func(flags, kind uint16, at int64, b []byte), hangUp func()) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, make([]byte, 256<<10), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := ServeDisk(image, image+".socket")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	c, err := net.Dial("unix", d.Socket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	read := func(n int) []byte {
		b := make([]byte, n)
		for got := 0; got < n; {
			k, err := c.Read(b[got:])
			if err != nil {
				t.Fatal(err)
			}
			got += k
		}
		return b
	}
	read(18)
	if err := put(c, uint32(1), uint64(nbdOptMagic), uint32(nbdOptExport), uint32(0)); err != nil {
		t.Fatal(err)
	}
	read(10 + 124)
	cookie := uint64(0)
	do = func(flags, kind uint16, at int64, b []byte) {
		t.Helper()
		cookie++
		if err := put(c, uint32(nbdRequest), flags, kind, cookie, at, uint32(len(b))); err != nil {
			t.Fatal(err)
		}
		if kind == nbdWrite {
			if err := put(c, b); err != nil {
				t.Fatal(err)
			}
		}
		if code, to := read(8)[4:], read(8); !bytes.Equal(code, make([]byte, 4)) || to[7] != byte(cookie) {
			t.Fatalf("answer %x to request %x, want %x without error", code, to, cookie)
		}
		if kind == nbdRead {
			copy(b, read(len(b)))
		}
	}
	return d, do, func() { _ = c.Close() }
}

func TestDiskLosesOnlyWhatWasNotFlushed(t *testing.T) {
	var lost, torn int
	for seed := range uint64(64) {
		d, do, hangUp := served(t)
		fill := func(v byte) []byte { return bytes.Repeat([]byte{v}, 8*atom) }
		do(0, nbdWrite, 0, fill(1))
		do(0, nbdFlush, 0, nil)
		do(0, nbdWrite, 8*atom, fill(2))
		do(nbdFUA, nbdWrite, 16*atom, fill(3))
		do(0, nbdWrite, 0, fill(4))
		b := fill(0)
		if do(0, nbdRead, 0, b); !bytes.Equal(b, fill(4)) {
			t.Fatal("a guest does not read what it wrote")
		}
		hangUp()
		if _, err := d.Cut(rand.New(rand.NewPCG(seed, 0))); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(d.Image)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(after); i += atom {
			s := after[i : i+atom]
			var may []byte
			switch i / atom / 8 {
			case 0:
				may = []byte{1, 4}
			case 1:
				may = []byte{0, 2}
			case 2:
				may = []byte{3}
			default:
				may = []byte{0}
			}
			if !bytes.Contains(may, s[:1]) || !bytes.Equal(s, bytes.Repeat(s[:1], atom)) {
				t.Fatalf("seed %d: block %d holds %d, want one of %v whole", seed, i/atom, s[0], may)
			}
		}
		switch first, last := after[8*atom], after[15*atom]; {
		case first != last:
			torn++
		case first == 0:
			lost++
		}
	}
	if lost == 0 || torn == 0 {
		t.Errorf("64 cuts lost %d writes and tore %d: want some of both", lost, torn)
	}
}
