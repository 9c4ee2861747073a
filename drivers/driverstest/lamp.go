package driverstest

import (
	"sync"
	"testing"

	"minglu/drivers"
)

// LampOptions say how to test a lamp.
type LampOptions struct {
	Lamp drivers.Lamp // open
	// Shows reports whether somebody who looks at it long enough sees s, and no other state; it may be asked again and again.
	Shows func(s drivers.LampState) bool
}

// Lamp tests a lamp: it shows each state from each other one, refuses words that are none, and may be set from
// several goroutines.
func Lamp(t *testing.T, o LampOptions) {
	states := []drivers.LampState{drivers.LampIdle, drivers.LampRecording, drivers.LampPaused, drivers.LampImpaired, drivers.LampFault}
	for _, from := range states {
		for _, to := range states {
			for _, s := range []drivers.LampState{from, to, to} {
				if err := o.Lamp.Set(s); err != nil {
					t.Fatalf("Set(%s) = %v", s, err)
				}
			}
			eventually(t, "from "+string(from)+" the lamp shows "+string(to), func() bool { return o.Shows(to) })
		}
	}
	for _, s := range []drivers.LampState{"", "disco"} {
		if err := o.Lamp.Set(s); err == nil {
			t.Errorf("Set(%q) was accepted", s)
		}
	}
	eventually(t, "a refused word changes nothing", func() bool { return o.Shows(drivers.LampFault) })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, s := range states {
				if err := o.Lamp.Set(s); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := o.Lamp.Set(drivers.LampRecording); err != nil {
		t.Error(err)
	}
	eventually(t, "after many at once", func() bool { return o.Shows(drivers.LampRecording) })
}
