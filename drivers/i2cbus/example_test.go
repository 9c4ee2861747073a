package i2cbus_test

import (
	"fmt"

	"minglu/drivers/i2cbus"
)

func Example() {
	bus := i2cbus.New("/dev/i2c-1") // opens nothing yet
	defer bus.Close()
	status := make([]byte, 3)
	err := bus.Tx(0x44, []byte{0xF3, 0x2D}, status) // what an SHT3x says of itself
	fmt.Println(status, err)                        // a missing chip or bus is told in words
}
