package config

import (
	"fmt"
	"strings"
	"time"
)

// DefaultWatchdog is after how long without feeding the board is reset.
const DefaultWatchdog = time.Minute

// Watchdog is the hardware that resets the board when recording stands still.
type Watchdog struct {
	Device  string   `yaml:"device"`  // "auto" (default): that of a board that is known; "none"; or a device such as /dev/watchdog0
	Timeout Duration `yaml:"timeout"` // without feeding for this long the board is reset, 10s to 10m; default 60s
}

// What device may say beside a path.
const (
	WatchdogAuto = "auto"
	WatchdogNone = "none"
)

func (c *Config) checkWatchdog(d *decoder) {
	if w := c.Watchdog.Device; w != WatchdogAuto && w != WatchdogNone && !strings.HasPrefix(w, "/dev/") {
		d.bad("watchdog.device", fmt.Sprintf("看门狗 %q 无效；请写 auto、none 或设备名，例如 /dev/watchdog0", w),
			fmt.Sprintf("watchdog %q: write auto, none or a device such as /dev/watchdog0", w))
	}
}
