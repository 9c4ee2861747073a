package climate_test

import (
	"context"
	"fmt"
	"time"

	"minglu/drivers/climate"
	"minglu/drivers/i2cbus"
)

// uptime stands for the time since boot, CLOCK_BOOTTIME.
func uptime() time.Duration { return time.Since(began) }

var began = time.Now()

func Example() {
	bus := i2cbus.New("/dev/i2c-1")
	defer bus.Close()
	s := climate.NewSHT3x(bus, 0x44, uptime)
	t, h, err := s.Sense(context.Background())
	fmt.Println(t, h, err) // a missing chip is an error of each reading until it is there
}
