// Package i2cchip plays chips on an I²C bus for tests in a guest of package hil: the kernel module i2c-hil
// (sim/hil/kmod) is an adapter like any other to the program under test (/dev/i2c-N, also I2C_RDWR, also for
// kernel drivers), and asks this package what the chips say.
//
//	bus, err := i2cchip.Open()                    // rig "lines"
//	bus.Put(0x44, &i2cchip.SHT3x{MilliCelsius: 21500, MilliPercent: 43000})
//	dev, err := sht3x.New(… bus.Path() …)         // the driver under test
//	bus.Put(0x44, nil)                            // pulled out: no acknowledge
//	bus.Stick(true)                               // clock held low: the adapter gives up after a second
package i2cchip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Chip is one chip. The bus calls it from one goroutine at a time. An error is a missing acknowledge.
type Chip interface {
	Write(b []byte) error       // one message to the chip
	Read(n int) ([]byte, error) // n bytes from it
}

// Bus is the chips' side of an adapter. Safe for concurrent use.
type Bus struct {
	dev  io.ReadWriteCloser
	path string
	done chan struct{}

	mu    sync.Mutex
	chips map[uint16]Chip
	stuck bool
	count int
}

// Open plays the first adapter of i2c-hil. Close it.
func Open() (*Bus, error) {
	const dev, name = "/dev/i2c-hil0", "i2c-hil0"
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("i2cchip: %w: is i2c-hil loaded, and nobody else at it?", err)
	}
	b := newBus(f)
	names, err := filepath.Glob("/sys/bus/i2c/devices/i2c-*/name")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("i2cchip: %w", err), b.Close())
	}
	for _, n := range names {
		if text, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(text)) == name {
			b.path = "/dev/" + filepath.Base(filepath.Dir(n))
			return b, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("i2cchip: no adapter %s in %q", name, names), b.Close())
}

func newBus(dev io.ReadWriteCloser) *Bus {
	b := &Bus{dev: dev, done: make(chan struct{}), chips: map[uint16]Chip{}}
	go b.serve()
	return b
}

// Path returns the adapter's device, such as "/dev/i2c-1": what the program under test opens.
func (b *Bus) Path() string { return b.path }

// Put puts a chip at an address, or takes away what is there (nil).
func (b *Bus) Put(addr uint16, c Chip) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chips[addr] = c
	if c == nil {
		delete(b.chips, addr)
	}
}

// Do runs f while no transfer is going on: for changing what chips say.
func (b *Bus) Do(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// Stick makes the bus stuck, or lets it go: no transfer is answered, and the adapter gives up each of them
// after a second with ETIMEDOUT.
func (b *Bus) Stick(on bool) { b.Do(func() { b.stuck = on }) }

// Transfers returns how many transfers were asked for.
func (b *Bus) Transfers() (n int) {
	b.Do(func() { n = b.count })
	return n
}

// Close leaves the bus without chips and waits until nobody serves it. It is safe to call twice.
func (b *Bus) Close() error {
	err := b.dev.Close()
	<-b.done
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// Of struct i2c_msg (uapi/linux/i2c.h) and of the requests of kmod/i2c-hil.c.
const (
	flagRead   = 1
	requestMax = 16384
	headBytes  = 8
)

func (b *Bus) serve() {
	defer close(b.done)
	buf := make([]byte, requestMax)
	for {
		n, err := b.dev.Read(buf)
		if err != nil {
			return
		}
		answer, ok := b.answer(buf[:n])
		if !ok {
			continue
		}
		if _, err := b.dev.Write(answer); err != nil && !errors.Is(err, syscall.ESTALE) { // stale: given up meanwhile
			return
		}
	}
}

// answer carries out one request: {seq, number of messages, of each {addr, flags, length, 0, bytes of a
// write}} is answered by {seq, 0 or a negative errno, bytes of all reads}. All of it is little endian here,
// as the boards are. No answer is a stuck bus.
func (b *Bus) answer(req []byte) ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	if b.stuck || len(req) < headBytes {
		return nil, false
	}
	le := binary.LittleEndian
	head, rest := req[:headBytes], req[headBytes:]
	status, data := int32(0), []byte(nil)
	for range le.Uint32(head[4:]) {
		if len(rest) < headBytes {
			return nil, false
		}
		addr, flags, n := le.Uint16(rest), le.Uint16(rest[2:]), int(le.Uint16(rest[4:]))
		rest = rest[headBytes:]
		var sent []byte
		if flags&flagRead == 0 {
			if len(rest) < n {
				return nil, false
			}
			sent, rest = rest[:n], rest[n:]
		}
		if status != 0 {
			continue // what comes after a missing acknowledge is not sent
		}
		got, err := b.message(addr, flags, n, sent)
		if err != nil {
			status = -int32(syscall.ENXIO)
			continue
		}
		data = append(data, got...)
	}
	out := append([]byte(nil), head[:4]...)
	out = le.AppendUint32(out, uint32(status))
	return append(out, data...), true
}

var errAbsent = errors.New("no chip there")

func (b *Bus) message(addr, flags uint16, n int, sent []byte) ([]byte, error) {
	c := b.chips[addr]
	if c == nil {
		return nil, errAbsent
	}
	if flags&flagRead == 0 {
		return nil, c.Write(sent)
	}
	got, err := c.Read(n)
	for len(got) < n { // nobody pulls the line down
		got = append(got, 0xff)
	}
	return got[:n], err
}
