package gpioline_test

import (
	"fmt"

	"periph.io/x/conn/v3/gpio"

	"minglu/drivers/gpioline"
)

func Example() {
	lamp, err := gpioline.OpenOutput(gpioline.Options{Chip: "pinctrl-bcm2711", Line: "GPIO17"}, gpio.Low)
	if err != nil {
		fmt.Println(err) // says which lines there are, or who has it
		return
	}
	defer lamp.Close()
	fmt.Println(lamp.Out(gpio.High))
}
