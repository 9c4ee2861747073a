package inventory

import (
	"path"
	"strconv"
	"time"

	"minglu/boards"
)

// State is how the board is just now, as far as /sys tells.
type State struct {
	Undervolt *bool    // the supply is, or was since it was last asked, too low; nil: unknown
	Celsius   *float64 // of the processor; nil: unknown
}

// StateOf reads supply and temperature from where the board's file says; on a board that is not known the hottest
// thermal zone counts.
func StateOf(o Options) (s State) {
	b, _ := boards.Detect(boards.Running{FS: sub(o.Root, "proc/device-tree")}, o.Arch)
	if configured := boards.Find(o.Board); configured != nil {
		b = configured
	}
	l := &look{o, nil, b}
	for _, n := range l.names("/sys/class/hwmon") {
		sys := path.Join("/sys/class/hwmon", n)
		if b.Undervolt != nil && l.text(sys+"/name") == b.Undervolt.Name {
			if v := l.text(sys + "/in0_lcrit_alarm"); v != "" {
				low := v != "0"
				s.Undervolt = &low
			}
		}
	}
	for _, n := range l.names("/sys/class/thermal") {
		sys := path.Join("/sys/class/thermal", n)
		milli, err := strconv.ParseInt(l.text(sys+"/temp"), 10, 32)
		if err != nil || b.Temperature != nil && l.text(sys+"/type") != b.Temperature.Name {
			continue
		}
		if c := float64(milli) / 1000; s.Celsius == nil || c > *s.Celsius {
			s.Celsius = &c
		}
	}
	return s
}

// WatchdogState is a watchdog as /sys tells of it, without opening it.
type WatchdogState struct {
	Exists   bool
	Identity string
	State    string // "active", "inactive", "" where the kernel does not tell
	Timeout  time.Duration
	Software bool // without hardware
}

// WatchdogAt looks at a device such as /dev/watchdog0. /dev/watchdog is the first one.
func WatchdogAt(o Options, dev string) (w WatchdogState) {
	l := &look{o, nil, nil}
	name := path.Base(dev)
	if name == "watchdog" {
		name = "watchdog0"
	}
	for _, n := range l.names("/sys/class/watchdog") {
		if n != name {
			continue
		}
		sys := path.Join("/sys/class/watchdog", n)
		w = WatchdogState{Exists: true, Identity: l.text(sys + "/identity"), State: l.text(sys + "/state")}
		w.Software = w.Identity == softdog
		if s, err := strconv.Atoi(l.text(sys + "/timeout")); err == nil {
			w.Timeout = time.Duration(s) * time.Second
		}
	}
	return w
}
