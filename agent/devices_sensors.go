package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"periph.io/x/conn/v3/i2c"

	"minglu/agent/inventory"
	"minglu/drivers"
	"minglu/drivers/climate"
	"minglu/drivers/i2cbus"
	"minglu/drivers/power"
	"minglu/drivers/rtc"
	"minglu/drivers/tmp117"
)

// sensorsOn lists the chips on a bus such as /dev/i2c-1 that this program has drivers for. It asks nobody but at their addresses, and
// only reads; a chip that the kernel knows of is the kernel's and is left alone.
func sensorsOn(ctx context.Context, name string) ([]inventory.SensorInfo, error) {
	bus := i2cbus.New(name)
	defer bus.Close()
	kernels := func(addr uint16) bool {
		_, err := os.Lstat(fmt.Sprintf("/sys/bus/i2c/devices/%s-%04x", strings.TrimPrefix(filepath.Base(name), "i2c-"), addr))
		return err == nil
	}
	return recognised(ctx, bus, kernels)
}

// recognised asks the chips of a bus but those that are taken. A bus that fails otherwise than by nobody's answering is not asked on.
func recognised(ctx context.Context, bus i2c.Bus, taken func(addr uint16) bool) (found []inventory.SensorInfo, err error) {
	b := &patient{Bus: bus}
	for addr := uint16(0x40); addr <= 0x4F; addr++ {
		if taken(addr) {
			continue
		}
		x := inventory.SensorInfo{Address: addr}
		if addr >= 0x44 && addr <= 0x46 {
			x.Name, x.Kind = climate.Recognise(ctx, b, addr), "climate"
		}
		if addr >= 0x48 && addr <= 0x4B && tmp117.Recognise(b, addr) {
			x.Name, x.Kind = "tmp117", "climate"
		}
		if x.Name == "" {
			x.Name, x.Kind = power.Recognise(b, addr), "power"
		}
		if x.Name != "" {
			found = append(found, x)
		}
	}
	if !taken(0x68) && rtc.Recognise(b) {
		found = append(found, inventory.SensorInfo{Name: "ds3231", Address: 0x68, Kind: "clock"})
	}
	return found, b.err
}

// patient is a bus that nobody is asked on any more once it has failed: a stuck one takes a second for each transfer.
type patient struct {
	i2c.Bus
	err error
}

func (p *patient) Tx(addr uint16, w, r []byte) error {
	if p.err != nil {
		return p.err
	}
	err := p.Bus.Tx(addr, w, r)
	var why *drivers.Problem
	if errors.As(err, &why) && slices.Contains([]string{"stuck", "not-found", "gone", "permission", "unsupported"}, why.Code) {
		p.err = err
	}
	return err
}
