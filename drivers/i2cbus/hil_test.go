//go:build hil

package i2cbus

import (
	"errors"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minglu/drivers"
	"minglu/sim/hil/i2cchip"
)

func TestHILBus(t *testing.T) {
	sim, err := i2cchip.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	r := &i2cchip.Registers{}
	copy(r.Reg[0x20:], "chip")
	sim.Put(0x50, r)
	for _, name := range []string{sim.Path(), "i2c-hil0"} {
		b := New(name)
		ask := func(code string, errno error) {
			t.Helper()
			got := make([]byte, 4)
			err := b.Tx(0x50, []byte{0x20}, got)
			if code == "" {
				if err != nil || string(got) != "chip" {
					t.Errorf("%s: %q, %v", name, got, err)
				}
				return
			}
			var p *drivers.Problem
			if !errors.As(err, &p) || p.Code != code || !errors.Is(err, errno) {
				t.Errorf("%s: %v, want the problem %q", name, err, code)
			} else {
				t.Log(err)
			}
		}
		ask("", nil)
		sim.Put(0x50, nil)
		ask("nak", unix.ENXIO)
		sim.Put(0x50, r)
		ask("", nil)
		sim.Stick(true)
		began := time.Now()
		ask("stuck", unix.ETIMEDOUT)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a stuck bus held us for %v", took)
		}
		sim.Stick(false)
		ask("", nil)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 50 {
					ask("", nil)
				}
			})
		}
		wg.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}
