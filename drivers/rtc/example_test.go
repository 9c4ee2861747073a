package rtc_test

import (
	"context"
	"fmt"
	"time"

	"minglu/drivers/i2cbus"
	"minglu/drivers/rtc"
)

var began = time.Now()

// uptime stands for the time since boot, CLOCK_BOOTTIME.
func uptime() time.Duration { return time.Since(began) }

func Example() {
	bus := i2cbus.New("/dev/i2c-1")
	defer bus.Close()
	clock := rtc.NewDS3231(bus, uptime)
	t, err := clock.Read(context.Background())
	if err == nil && t.Stopped {
		fmt.Println("the battery is empty, or new")
		err = clock.Set(context.Background(), time.Now)
	}
	fmt.Println(t.T, err)
}
