package watchdog_test

import (
	"fmt"
	"time"

	"minglu/drivers/watchdog"
)

func Example() {
	w, err := watchdog.Open("/dev/watchdog0", time.Minute)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Close()
	for range time.Tick(w.Info().Timeout / 4) {
		if err := w.Feed(); err != nil {
			fmt.Println(err)
		}
	}
}
