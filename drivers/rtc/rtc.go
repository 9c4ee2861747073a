// Package rtc reads hardware clocks with a battery of their own: a DS3231 over I²C, which it also sets, and whatever clock
// the kernel drives (/dev/rtcN), which the kernel sets by itself from network time.
//
// Data sheet: Maxim 19-5170 revision 10 (March 2015), here with page or figure. The DS3231 counts seconds in UTC from 2000
// to 2199, ±2 ppm between 0 and 40 °C (a minute a year), and says by its oscillator-stop flag whether it stood
// still since it was set: a CR2032 that is dead, missing, or new. Such a clock shows 1 January 2000 or anything else; the
// kernel's own clocks show 1970 or 2000 then, or refuse to tell. The flag goes only when the clock is set.
//
// What is wrong is a [drivers.Problem], from here or from package i2cbus: "nak" (absent or dead), "stuck", "wrong-chip" (the
// registers are not those of a DS3231), "no-time" (no valid date), "stopped" (does not go after it was set), of a
// kernel's clock "not-found", "busy", "permission". An empty battery is none: [drivers.RTCTime] says Stopped.
package rtc

import (
	"errors"

	"minglu/drivers"
)

// broken reports whether only the time itself is wrong.
func broken(err error) bool {
	p := new(drivers.Problem)
	return errors.As(err, &p) && p.Code == "no-time"
}
