package buzzer_test

import (
	"context"
	"fmt"

	"periph.io/x/conn/v3/gpio"

	"minglu/drivers"
	"minglu/drivers/buzzer"
	"minglu/drivers/gpioline"
)

func Example() {
	b := buzzer.New(func() (gpio.PinOut, error) {
		return gpioline.OpenOutput(gpioline.Options{Chip: "pinctrl-bcm2711", Line: "GPIO26", Consumer: "my-buzzer"}, gpio.Low)
	})
	fmt.Println(b.Sound(context.Background(), drivers.BeepStart))
}
