package i2cbus

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"minglu/drivers"
)

func TestWords(t *testing.T) {
	for _, tt := range []struct {
		errno unix.Errno
		code  string
	}{
		{unix.ENXIO, "nak"}, {unix.EREMOTEIO, "nak"}, {unix.ETIMEDOUT, "stuck"}, {unix.EAGAIN, "stuck"}, {unix.EBUSY, "stuck"},
		{unix.ENODEV, "gone"}, {unix.EOPNOTSUPP, "unsupported"}, {unix.EIO, "bus"},
	} {
		var p *drivers.Problem
		if err := problem("/dev/i2c-1", 0x44, tt.errno); !errors.As(err, &p) || p.Code != tt.code || p.Zh == "" || p.En == "" || !errors.Is(err, tt.errno) {
			t.Errorf("%v: %v, want the problem %q", tt.errno, err, tt.code)
		}
	}
}

func TestNoBus(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, code := range map[string]string{"/dev/i2c-none": "not-found", "no such adapter": "not-found", file: "unsupported"} {
		var p *drivers.Problem
		if err := New(name).Tx(0x44, []byte{1}, nil); !errors.As(err, &p) || p.Code != code {
			t.Errorf("%s: %v, want the problem %q", name, err, code)
		}
	}
	b := New("/dev/i2c-none")
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := b.Tx(0x44, []byte{1}, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Tx() after Close = %v", err)
	}
	for _, tx := range []struct {
		addr uint16
		w    []byte
	}{{0x03, []byte{1}}, {0x78, []byte{1}}, {0x44, nil}} {
		var p *drivers.Problem
		if err := New("/dev/i2c-none").Tx(tx.addr, tx.w, nil); err == nil || errors.As(err, &p) {
			t.Errorf("Tx(%#x, %v) = %v, want it refused before the bus is opened", tx.addr, tx.w, err)
		}
	}
}
