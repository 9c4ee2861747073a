//go:build hil

package tmp117

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"periph.io/x/conn/v3/physic"

	"minglu/drivers"
	"minglu/sim/hil/i2cchip"
)

// kernelBus is an adapter of the kernel's, by I2C_RDWR (uapi/linux/i2c-dev.h).
type kernelBus struct{ f *os.File }

func (b kernelBus) String() string                  { return b.f.Name() }
func (b kernelBus) SetSpeed(physic.Frequency) error { return nil }

func (b kernelBus) Tx(addr uint16, w, r []byte) error {
	const rdwr, flagRead = 0x0707, 1
	type message struct {
		addr, flags, n uint16
		buf            *byte
	}
	var list []message
	if len(w) > 0 {
		list = append(list, message{addr, 0, uint16(len(w)), &w[0]})
	}
	if len(r) > 0 {
		list = append(list, message{addr, flagRead, uint16(len(r)), &r[0]})
	}
	arg := struct {
		list *message
		n    uint32
	}{&list[0], uint32(len(list))}
	_, _, e := syscall.Syscall(syscall.SYS_IOCTL, b.f.Fd(), rdwr, uintptr(unsafe.Pointer(&arg)))
	runtime.KeepAlive(list)
	if e != 0 {
		return e
	}
	return nil
}

func errno(want syscall.Errno) func(error) bool {
	return func(err error) bool { return errors.Is(err, want) }
}

func wrongChip(err error) bool {
	p := new(drivers.Problem)
	return errors.As(err, &p) && p.Code == "wrong-chip"
}

// TestHILFaults reads the chip through the kernel's I²C, and tells its faults apart: pulled out, a bus whose
// clock is held low, another chip. After each it reads again.
func TestHILFaults(t *testing.T) {
	bus, err := i2cchip.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	f, err := os.OpenFile(bus.Path(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chip := &i2cchip.Words{Reg: [256]uint16{regResult: 0x0C80, regIdentity: 0x1117}} // 25 °C; revision 1
	d := New(kernelBus{f}, 0x48, func() time.Duration { return 0 })
	for _, tt := range []struct {
		fault      string
		is         func(error) bool
		make, mend func()
	}{
		{"pulled out", errno(syscall.ENXIO), func() { bus.Put(0x48, nil) }, func() { bus.Put(0x48, chip) }},
		{"stuck", errno(syscall.ETIMEDOUT), func() { bus.Stick(true) }, func() { bus.Stick(false) }},
		{"another chip", wrongChip, func() { bus.Put(0x48, nil); d.Read(t.Context()); bus.Put(0x48, &i2cchip.Words{}) }, func() { bus.Put(0x48, chip) }},
	} {
		bus.Put(0x48, chip)
		c, err := d.Read(t.Context())
		if err != nil || c.MilliCelsius != 25000 {
			t.Fatalf("before %s: %+v, %v", tt.fault, c, err)
		}
		tt.make()
		if c, err := d.Read(t.Context()); !tt.is(err) {
			t.Errorf("%s: %+v, %v", tt.fault, c, err)
		}
		tt.mend()
		if c, err := d.Read(t.Context()); err != nil || c.MilliCelsius != 25000 {
			t.Errorf("after %s: %+v, %v", tt.fault, c, err)
		}
	}
}
