package power_test

import (
	"context"
	"fmt"
	"time"

	"periph.io/x/conn/v3/physic"

	"minglu/drivers/i2cbus"
	"minglu/drivers/power"
)

var began = time.Now()

// uptime stands for the time since boot, CLOCK_BOOTTIME.
func uptime() time.Duration { return time.Since(began) }

func Example() {
	bus := i2cbus.New("/dev/i2c-1")
	defer bus.Close()
	meter := power.NewINA226(bus, 0x40, 10*physic.MilliOhm)
	supply, err := power.New(meter, power.Battery{Full: 12_600 * physic.MilliVolt, Empty: 9600 * physic.MilliVolt, CapacityMAH: 5000}, uptime)
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := supply.Read(context.Background()) // every few seconds
	fmt.Println(s.Mains, s.Left, err)
}
