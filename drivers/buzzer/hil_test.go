//go:build hil

package buzzer

import (
	"errors"
	"testing"
	"time"

	"periph.io/x/conn/v3/gpio"

	"minglu/drivers"
	"minglu/drivers/driverstest"
	"minglu/drivers/gpioline"
	"minglu/sim/hil/gpiosim"
)

// TestHILBuzzer sounds on a line of the kernel, both ways round, and finds the line pulled out in the middle.
func TestHILBuzzer(t *testing.T) {
	for _, low := range []bool{false, true} {
		c, err := gpiosim.New("buzzer", "BUZZER")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Pull(0, low); err != nil { // the resistor that means silence
			t.Fatal(err)
		}
		b := New(func() (gpio.PinOut, error) {
			return gpioline.OpenOutput(gpioline.Options{Chip: "buzzer", Line: "BUZZER", ActiveLow: low}, gpio.Low)
		})
		sounds := func() bool {
			high, err := c.High(0)
			return err == nil && high != low
		}
		driverstest.Buzzer(t, driverstest.BuzzerOptions{Buzzer: b, Silent: func() bool { return !sounds() }})
		done := make(chan error, 1)
		go func() { done <- b.Sound(t.Context(), drivers.BeepFault) }()
		for end := time.Now().Add(5 * time.Second); !sounds(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("nothing is heard")
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		var p *drivers.Problem
		if err := <-done; !errors.As(err, &p) || p.Code != "gone" {
			t.Errorf("pulled out: %v", err)
		}
		if err := b.Sound(t.Context(), drivers.BeepStart); !errors.As(err, &p) || p.Code != "not-found" {
			t.Errorf("not there: %v", err)
		}
	}
}
