// Package power says what a room runs on, mains or battery, and how long the battery lasts: from an INA219 or INA226 over
// I²C with its shunt in the battery's lead.
//
// Data sheets: TI SBOS448G (INA219), here "219" with section, and SBOS547B (INA226), here "226". The INA219 measures 0 to
// 26 V in steps of 4 mV and ±320 mV over its shunt in steps of 10 µV, off by 0.1 mV at most; the INA226 0 to 36 V in
// steps of 1.25 mV and ±81.92 mV in steps of 2.5 µV, off by 0.01 mV. V- of the chip is the side of the load, V+ that of the
// battery: current out of the battery is positive (else [Battery.Reversed]).
//
// [Meter] is the chip, in units of periph.io. [Supply] judges: see there.
//
// What is wrong is a [drivers.Problem], from here or from package i2cbus: "nak" (absent or dead), "stuck", "wrong-chip",
// "overrange" (the shunt is too large), "no-battery" (no voltage at all: its fuse, its plug).
package power
