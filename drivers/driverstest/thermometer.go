package driverstest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"minglu/drivers"
)

// ThermometerOptions say how to test a thermometer.
type ThermometerOptions struct {
	Thermometer drivers.Thermometer
	Uptime      func() time.Duration
}

// Thermometer tests a thermometer: its readings are of a room and of now, may be asked for by several goroutines, and one
// that nobody waits for any more ends.
func Thermometer(t *testing.T, o ThermometerOptions) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 3 {
				before := o.Uptime()
				c, err := o.Thermometer.Read(t.Context())
				if err != nil {
					t.Errorf("Read() = %v", err)
				}
				if c.MilliCelsius < -40_000 || c.MilliCelsius > 125_000 || c.MilliPercent < -1 || c.MilliPercent > 100_000 {
					t.Errorf("Read() = %+v: no air of a room", c)
				}
				if c.Up < before || c.Up > o.Uptime() {
					t.Errorf("Read() is of uptime %v, want %v to %v", c.Up, before, o.Uptime())
				}
			}
		})
	}
	wg.Wait()
	cause := errors.New("asked to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if c, err := o.Thermometer.Read(ctx); !errors.Is(err, cause) || c != (drivers.Climate{}) {
		t.Errorf("Read() for nobody = %+v, %v; want nothing, and the cause", c, err)
	}
}
