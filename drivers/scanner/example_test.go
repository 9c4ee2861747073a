package scanner_test

import (
	"context"
	"fmt"
	"time"

	"minglu/drivers/scanner"
)

var began = time.Now()

// uptime stands for the time since boot, CLOCK_BOOTTIME.
func uptime() time.Duration { return time.Since(began) }

// A scanner in the mode "USB COM port", unplugged and plugged in as people do.
func Example() {
	s, err := scanner.NewSerial(scanner.SerialOptions{Path: "/dev/serial/by-id/usb-Honeywell_1950g-if00", Uptime: uptime})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		err := s.Run(ctx, func(text string, up time.Duration) { fmt.Println(text, up) })
		fmt.Println(err) // unplugged, or why ctx ended
		time.Sleep(time.Second)
	}
}

// A scanner that types, found by its path.
func ExampleKeyboard() {
	s, err := scanner.NewKeyboard(scanner.KeyboardOptions{Path: "/dev/input/by-id/usb-Newland_HR22-event-kbd", Uptime: uptime})
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Run(context.Background(), func(text string, up time.Duration) { fmt.Println(text, up) }))
}
