package lamp

import (
	"time"

	"periph.io/x/conn/v3/gpio"

	"minglu/drivers"
)

// Lights is a set of lights: bit i is the i-th argument of [Single], [RGB] or [Tower].
type Lights uint8

func (l Lights) level(i int) gpio.Level { return l>>i&1 == 1 }

// Step is one step of a pattern.
type Step struct {
	Lit Lights
	For time.Duration
}

// Pattern is what the lights do in one state, again and again.
type Pattern []Step

// steady lights are written and read back again every 5 s: somebody may have pulled the expander they hang on.
func steady(l Lights) Pattern { return Pattern{{l, 5 * time.Second}} }

func blinking(a, b Lights, forA, forB time.Duration) Pattern { return Pattern{{a, forA}, {b, forB}} }

const (
	one Lights = 1

	red   Lights = 1 << 0
	green Lights = 1 << 1 // of RGB
	amber Lights = 1 << 1 // of a tower
	ready Lights = 1 << 2 // green of a tower
)

var single = map[drivers.LampState]Pattern{
	drivers.LampIdle:      steady(0),
	drivers.LampRecording: steady(one),
	drivers.LampPaused:    blinking(one, 0, time.Second, time.Second),
	drivers.LampImpaired:  blinking(one, 0, 1800*time.Millisecond, 200*time.Millisecond),
	drivers.LampFault:     blinking(one, 0, 200*time.Millisecond, 200*time.Millisecond),
}

var rgb = map[drivers.LampState]Pattern{
	drivers.LampIdle:      steady(green),
	drivers.LampRecording: steady(red),
	drivers.LampPaused:    steady(red | green),
	drivers.LampImpaired:  blinking(red, red|green, 1600*time.Millisecond, 400*time.Millisecond),
	drivers.LampFault:     blinking(red|green, 0, 200*time.Millisecond, 200*time.Millisecond),
}

var tower = map[drivers.LampState]Pattern{
	drivers.LampIdle:      steady(ready),
	drivers.LampRecording: steady(red),
	drivers.LampPaused:    steady(amber),
	drivers.LampImpaired:  blinking(red, red|amber, time.Second, time.Second),
	drivers.LampFault:     blinking(amber, 0, 500*time.Millisecond, 500*time.Millisecond),
}
