//go:build hil

package input

import (
	"context"
	"errors"
	"testing"
	"time"

	"periph.io/x/conn/v3/gpio"

	"minglu/drivers"
	"minglu/drivers/driverstest"
	"minglu/drivers/gpioline"
	"minglu/sim/hil/gpiosim"
)

var began = time.Now()

func sinceBoot() time.Duration { return time.Since(began) }

// TestHILConformance presses a button to ground on a line of the kernel. (No bias: gpio-sim takes it for what moves the line.)
func TestHILConformance(t *testing.T) {
	for _, debounce := range []time.Duration{0, 20 * time.Millisecond} {
		c, err := gpiosim.New("room", "", "BUTTON")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Pull(1, true); err != nil {
			t.Fatal(err)
		}
		in, err := New(Options{Kind: drivers.Button, Uptime: sinceBoot, Open: func() (gpio.PinIn, error) {
			return gpioline.OpenInput(gpioline.Options{Chip: "room", Line: "BUTTON", ActiveLow: true, Debounce: debounce})
		}})
		if err != nil {
			t.Fatal(err)
		}
		driverstest.Input(t, driverstest.InputOptions{Input: in, Kind: drivers.Button, Uptime: sinceBoot, Set: func(on bool) {
			if err := c.Pull(1, !on); err != nil {
				t.Error(err)
			}
		}})
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestHILUnplugged pulls the chip while the input waits.
func TestHILUnplugged(t *testing.T) {
	c, err := gpiosim.New("usb", "DOOR")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in, err := New(Options{Kind: drivers.Door, Uptime: sinceBoot, Open: func() (gpio.PinIn, error) {
		return gpioline.OpenInput(gpioline.Options{Line: "DOOR"})
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = in.Run(ctx, func(drivers.InputEvent) {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	var p *drivers.Problem
	if !errors.As(err, &p) || p.Code != "gone" {
		t.Errorf("Run() = %v, want the problem \"gone\"", err)
	}
}
