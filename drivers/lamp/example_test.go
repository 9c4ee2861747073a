package lamp_test

import (
	"context"
	"time"

	"periph.io/x/conn/v3/gpio"

	"minglu/drivers"
	"minglu/drivers/gpioline"
	"minglu/drivers/lamp"
)

// A relay board switches its lamp on while its input is low.
func Example() {
	l := lamp.Single(func(lit gpio.Level) (gpio.PinOut, error) {
		return gpioline.OpenOutput(gpioline.Options{Chip: "pinctrl-bcm2711", Line: "GPIO17", ActiveLow: true}, lit)
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go l.Set(drivers.LampRecording) // shown as soon as the line is open
	l.Run(ctx)                      // a missing chip is its error; run it again later
}
