package tmp117_test

import (
	"context"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c/i2ctest"

	"minglu/drivers/tmp117"
)

func Example() {
	bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{ // on a board: the bus of drivers/i2cbus
		{Addr: 0x48, W: []byte{0x0F}, R: []byte{0x11, 0x17}},
		{Addr: 0x48, W: []byte{0x00}, R: []byte{0x0C, 0x80}},
	}}
	began := time.Now()
	d := tmp117.New(bus, 0x48, func() time.Duration { return time.Since(began) })
	t, err := d.Temperature(context.Background())
	fmt.Println(t, err)
	// Output: 25°C <nil>
}
