package input_test

import (
	"context"
	"fmt"
	"time"

	"periph.io/x/conn/v3/gpio"

	"minglu/drivers"
	"minglu/drivers/gpioline"
	"minglu/drivers/input"
)

// uptime stands for the time since boot, CLOCK_BOOTTIME.
func uptime() time.Duration { return time.Since(began) }

var began = time.Now()

// A push button to ground.
func Example() {
	button, err := input.New(input.Options{Kind: drivers.Button, Uptime: uptime, Open: func() (gpio.PinIn, error) {
		return gpioline.OpenInput(gpioline.Options{Chip: "pinctrl-bcm2711", Line: "GPIO27", ActiveLow: true, Bias: gpio.PullUp, Debounce: 10 * time.Millisecond})
	}})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = button.Run(ctx, func(e drivers.InputEvent) { fmt.Println(e.On, e.Up) })
	fmt.Println(err) // a missing chip, or why ctx ended
}
