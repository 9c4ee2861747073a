// Package i2cbus is an I²C bus of the kernel (/dev/i2c-N, Documentation/i2c/dev-interface.rst) for drivers that take an
// i2c.Bus of periph.io.
//
// It stands in place of periph.io/x/host/v3/sysfs, which gives the text of an error and not the error, finds no
// bus that appears later, and hands the kernel addresses of its stack, which Go may move while it waits for a lock. What
// is gained: an absent chip, a stuck bus and an unplugged adapter can be told apart, and people are told which in words
// ([drivers.Problem]):
//
//	"nak"          no acknowledge: no chip at the address, or it is busy or dead
//	"stuck"        a line is held low: time-out, or arbitration lost
//	"not-found"    no such bus
//	"gone"         the adapter was unplugged; the next transfer looks for it anew
//	"permission", "unsupported" (an adapter that speaks SMBus only)
//	"bus"          any other failure of a transfer
//
// (Documentation/i2c/fault-codes.rst; adapters differ in what they say of the first two.)
package i2cbus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"minglu/drivers"
)

// Bus is one bus. It implements i2c.BusCloser and is safe for concurrent use; the kernel carries out one transfer at a
// time, also between programs.
type Bus struct {
	name string

	mu     sync.Mutex // guards f, and one transfer
	f      *os.File   // nil before the first transfer and after a failure
	closed bool
}

// New returns the bus with a device name such as "/dev/i2c-1" or an adapter's name as
// /sys/bus/i2c/devices/i2c-*/name tells it, which stays the same when the numbers change. It opens nothing: the first
// transfer does, and so does the first one after a failure.
func New(name string) *Bus { return &Bus{name: name} }

func (b *Bus) String() string { return b.name }

// SetSpeed is refused: the device tree sets the speed of a bus.
func (b *Bus) SetSpeed(physic.Frequency) error {
	return fmt.Errorf("i2cbus: %s: the speed of a bus is set in the device tree", b.name)
}

// Close gives the bus back. Later transfers fail with os.ErrClosed.
func (b *Bus) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.drop()
}

func (b *Bus) drop() error {
	f := b.f
	if f == nil {
		return nil
	}
	b.f = nil
	return f.Close()
}

// Of uapi/linux/i2c.h and i2c-dev.h.
const (
	ioctlFuncs = 0x0705
	ioctlRdwr  = 0x0707
	flagRead   = 0x0001
	canI2C     = 0x0001
	maxAddr    = 0x77 // 7 bits, without those the specification reserves (UM10204 3.1.12)
	minAddr    = 0x08
)

type message struct {
	addr, flags, length uint16
	data                *byte
}

type transfer struct {
	messages *message
	count    uint32
}

// Tx writes w to the chip at addr and reads r from it, with a repeated start between: one transfer. It blocks until the
// adapter has done so or given up, usually after a second. On an error r is not to be used.
func (b *Bus) Tx(addr uint16, w, r []byte) error {
	if addr < minAddr || addr > maxAddr || len(w) > 0xFFFF || len(r) > 0xFFFF || len(w)+len(r) == 0 {
		return fmt.Errorf("i2cbus: %s: a transfer of %d and %d bytes with address %#02x is none", b.name, len(w), len(r), addr)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.open(); err != nil {
		return err
	}
	if err := b.do(addr, w, r); err != nil {
		b.drop() // so that an adapter that is back is found
		return fmt.Errorf("i2cbus: %s: %#02x: %w", b.name, addr, problem(b.name, addr, err))
	}
	return nil
}

func (b *Bus) do(addr uint16, w, r []byte) error {
	var pin runtime.Pinner // the kernel writes there: it must not move
	defer pin.Unpin()
	var m []message
	if len(w) > 0 {
		pin.Pin(&w[0])
		m = append(m, message{addr: addr, length: uint16(len(w)), data: &w[0]})
	}
	if len(r) > 0 {
		pin.Pin(&r[0])
		m = append(m, message{addr: addr, flags: flagRead, length: uint16(len(r)), data: &r[0]})
	}
	pin.Pin(&m[0])
	t := &transfer{messages: &m[0], count: uint32(len(m))}
	return ioctl(b.f, ioctlRdwr, unsafe.Pointer(t))
}

func ioctl(f *os.File, op uintptr, arg unsafe.Pointer) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var e unix.Errno
	if err := c.Control(func(fd uintptr) { _, _, e = unix.Syscall(unix.SYS_IOCTL, fd, op, uintptr(arg)) }); err != nil {
		return err
	}
	if e != 0 {
		return e
	}
	return nil
}

// open opens the bus if it is not open; mu is held.
func (b *Bus) open() error {
	switch {
	case b.closed:
		return fmt.Errorf("i2cbus: %s: %w", b.name, os.ErrClosed)
	case b.f != nil:
		return nil
	}
	dev := device(b.name)
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("i2cbus: %s: %w", b.name, unopened(b.name, dev, err))
	}
	var funcs uintptr // unsigned long
	if err := ioctl(f, ioctlFuncs, unsafe.Pointer(&funcs)); err != nil || funcs&canI2C == 0 {
		f.Close()
		return fmt.Errorf("i2cbus: %s: %w", b.name, problem(b.name, 0, unix.EOPNOTSUPP))
	}
	b.f = f
	return nil
}

// device is the device of a bus that may be called by its adapter's name.
func device(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	files, _ := filepath.Glob("/sys/bus/i2c/devices/i2c-*/name")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(b)) == name {
			return "/dev/" + filepath.Base(filepath.Dir(f))
		}
	}
	return "/dev/" + filepath.Base(name)
}

func unopened(name, dev string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &drivers.Problem{Code: "not-found", Err: err,
			Zh: "没有 I²C 总线 " + name + "；请在设备树中启用（树莓派：raspi-config），并核对 agent.yaml",
			En: "there is no I²C bus " + name + ": enable it in the device tree (Raspberry Pi: raspi-config), and correct agent.yaml"}
	case errors.Is(err, fs.ErrPermission):
		return &drivers.Problem{Code: "permission", Err: err,
			Zh: "无权打开 " + dev + "；请将运行用户加入 i2c 组",
			En: "not allowed to open " + dev + ": add the user to the group i2c"}
	}
	return err
}

// problem puts words to what an adapter says of a transfer.
func problem(name string, addr uint16, err error) error {
	p := &drivers.Problem{Err: err}
	chip := fmt.Sprintf("%#02x", addr)
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EREMOTEIO): // the address, or a byte, was not acknowledged
		p.Code = "nak"
		p.Zh = "I²C 总线 " + name + " 上地址 " + chip + " 的芯片没有应答；请检查接线、供电和地址"
		p.En = "no chip answers at address " + chip + " of I²C bus " + name + ": check its wiring, power and address"
	case errors.Is(err, unix.ETIMEDOUT), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EBUSY):
		p.Code = "stuck"
		p.Zh = "I²C 总线 " + name + " 被占住；请给总线上的芯片断电重启，并检查接线和上拉电阻"
		p.En = "I²C bus " + name + " is stuck: switch its chips off and on, and check wiring and pull-up resistors"
	case errors.Is(err, unix.ENODEV):
		p.Code = "gone"
		p.Zh = "I²C 适配器 " + name + " 已断开；请检查接线，恢复后自动继续"
		p.En = "the I²C adapter " + name + " is gone: check its connection; it goes on by itself"
	case errors.Is(err, unix.EOPNOTSUPP):
		p.Code = "unsupported"
		p.Zh = "适配器 " + name + " 不能作普通 I²C 传输；请换用其他总线"
		p.En = "adapter " + name + " cannot do plain I²C transfers: use another bus"
	default:
		p.Code = "bus"
		p.Zh = "I²C 总线 " + name + " 与地址 " + chip + " 通信失败；请检查接线"
		p.En = "I²C bus " + name + " failed with address " + chip + ": check the wiring"
	}
	return p
}

var _ i2c.BusCloser = (*Bus)(nil)
