//go:build hil

package lamp

import (
	"context"
	"errors"
	"testing"
	"time"

	"periph.io/x/conn/v3/gpio"

	"minglu/drivers"
	"minglu/drivers/gpioline"
	"minglu/sim/hil/gpiosim"
)

// TestHILTower shows each state on a tower behind a relay board that switches when its inputs are low.
func TestHILTower(t *testing.T) {
	c, err := gpiosim.New("relays", "IN1", "IN2", "IN3")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	line := func(name string) Open {
		return func(level gpio.Level) (gpio.PinOut, error) {
			return gpioline.OpenOutput(gpioline.Options{Chip: "relays", Line: name, ActiveLow: true}, level)
		}
	}
	l := Tower(line("IN1"), line("IN2"), line("IN3"))
	if err := l.Set(drivers.LampRecording); !errors.Is(err, ErrNotOpen) {
		t.Errorf("Set() before Run = %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	shows := func(want Lights) bool {
		for i := range 3 {
			if high, err := c.High(i); err != nil || high == bool(want.level(i)) {
				return false
			}
		}
		return true
	}
	wait := func(want Lights, most time.Duration) {
		t.Helper()
		for end := time.Now().Add(most); !shows(want); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("lights %03b are not lit within %v", want, most)
			}
		}
	}
	wait(red, 5*time.Second)
	for _, tt := range []struct {
		s     drivers.LampState
		first Lights
		then  Lights
	}{
		{drivers.LampPaused, amber, amber}, {drivers.LampImpaired, red, red | amber},
		{drivers.LampFault, amber, 0}, {drivers.LampIdle, ready, ready}, {drivers.LampRecording, red, red},
	} {
		began := time.Now()
		if err := l.Set(tt.s); err != nil {
			t.Fatalf("Set(%s) = %v", tt.s, err)
		}
		if took := time.Since(began); !shows(tt.first) {
			t.Errorf("%s: not shown when Set returned after %v", tt.s, took)
		} else {
			t.Logf("%s: shown after %v", tt.s, took)
		}
		wait(tt.then, 3*time.Second)
	}
	stop := errors.New("stop")
	cancel(stop)
	if err := <-done; !errors.Is(err, stop) {
		t.Errorf("Run() = %v", err)
	}
}

// TestHILUnplugged pulls the expander the lamp hangs on, and puts it back.
func TestHILUnplugged(t *testing.T) {
	c, err := gpiosim.New("usb", "LAMP")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { c.Close() }()
	l := Single(func(level gpio.Level) (gpio.PinOut, error) {
		return gpioline.OpenOutput(gpioline.Options{Chip: "usb", Line: "LAMP"}, level)
	})
	l.Set(drivers.LampPaused)
	done := make(chan error, 1)
	go func() { done <- l.Run(t.Context()) }()
	for _, open := l.Lit(); !open; _, open = l.Lit() {
		time.Sleep(time.Millisecond)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	var p *drivers.Problem
	if err := <-done; !errors.As(err, &p) || p.Code != "gone" {
		t.Errorf("Run() = %v, want the problem \"gone\"", err)
	}
	if err := l.Run(t.Context()); !errors.As(err, &p) || p.Code != "not-found" {
		t.Errorf("Run() without the chip = %v, want the problem \"not-found\"", err)
	}
	if c, err = gpiosim.New("usb", "LAMP"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := l.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run() with the chip back = %v", err)
	}
}
