package driverstest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"minglu/drivers"
)

// PowerMeterOptions say how to test a power meter.
type PowerMeterOptions struct {
	Meter  drivers.PowerMeter
	Uptime func() time.Duration
	Mains  func(on bool) // takes the mains away, or gives them back; they are there at the start
}

// powerWithin is how long a power cut may stay unnoticed, read once a second.
const powerWithin = 8 * time.Second

// PowerMeter tests a power meter: it tells when the mains are lost, that what is left becomes less, and when they are back; it
// may be read by several goroutines, and one that nobody waits for any more ends.
func PowerMeter(t *testing.T, o PowerMeterOptions) {
	t.Helper()
	read := func() drivers.Supply {
		t.Helper()
		before := o.Uptime()
		s, err := o.Meter.Read(t.Context())
		if err != nil {
			t.Errorf("Read() = %v", err)
		}
		if s.MilliVolt <= 0 || s.Charge < 0 || s.Charge > 1000 || s.Mains != (s.Left == -1) || !s.Mains && s.Left < 0 {
			t.Errorf("Read() = %+v", s)
		}
		if s.Up < before || s.Up > o.Uptime() {
			t.Errorf("Read() is of uptime %v, want %v to %v", s.Up, before, o.Uptime())
		}
		return s
	}
	until := func(mains bool) drivers.Supply {
		t.Helper()
		for began := o.Uptime(); ; {
			if s := read(); s.Mains == mains {
				return s
			}
			if o.Uptime()-began > powerWithin {
				t.Fatalf("mains are %v for %v, and it is not told", mains, powerWithin)
			}
			time.Sleep(time.Second)
		}
	}
	until(true)
	o.Mains(false)
	first := until(false)
	time.Sleep(2 * time.Second)
	if s := read(); s.Mains || s.Left >= first.Left || s.MilliAmp <= 0 {
		t.Errorf("2 s after %+v it reads %+v", first, s)
	}
	o.Mains(true)
	until(true)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 3 {
				read()
			}
		})
	}
	wg.Wait()
	cause := errors.New("asked to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if s, err := o.Meter.Read(ctx); !errors.Is(err, cause) || s != (drivers.Supply{}) {
		t.Errorf("Read() for nobody = %+v, %v; want nothing, and the cause", s, err)
	}
}
