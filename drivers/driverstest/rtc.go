package driverstest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"minglu/drivers"
)

// RTCOptions say how to test a hardware clock.
type RTCOptions struct {
	RTC    drivers.RTC
	Uptime func() time.Duration
	Now    func() time.Time // a clock that goes right, to set a settable one from; it is years from what the clock under test shows
}

// RTC tests a hardware clock: it shows full seconds of UTC that go on, may be read by several goroutines, and one that nobody
// waits for any more ends. A settable one goes on from where it was set, to the second, whatever was wrong with it before.
func RTC(t *testing.T, o RTCOptions) {
	t.Helper()
	read := func() drivers.RTCTime {
		t.Helper()
		before := o.Uptime()
		r, err := o.RTC.Read(t.Context())
		if err != nil {
			t.Errorf("Read() = %v", err)
		}
		if r.T.Location() != time.UTC || !r.T.Equal(r.T.Truncate(time.Second)) {
			t.Errorf("Read() shows %v: no full second of UTC", r.T)
		}
		if r.Up < before || r.Up > o.Uptime() {
			t.Errorf("Read() is of uptime %v, want %v to %v", r.Up, before, o.Uptime())
		}
		return r
	}
	first := read()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 3 {
				read()
			}
		})
	}
	wg.Wait()
	time.Sleep(1100 * time.Millisecond)
	if next := read(); next.T.Sub(first.T) < time.Second || next.T.Sub(first.T) > time.Second+within {
		t.Errorf("1.1 s after %v it shows %v", first.T, next.T)
	}
	cause := errors.New("asked to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if r, err := o.RTC.Read(ctx); !errors.Is(err, cause) || r != (drivers.RTCTime{}) {
		t.Errorf("Read() for nobody = %+v, %v; want nothing, and the cause", r, err)
	}
	s, ok := o.RTC.(drivers.SettableRTC)
	if !ok {
		return
	}
	if err := s.Set(ctx, o.Now); !errors.Is(err, cause) {
		t.Errorf("Set() for nobody = %v, want the cause", err)
	}
	if off := o.Now().Sub(read().T).Abs(); off < 24*time.Hour {
		t.Fatalf("it is %v from what it is to be set to: nothing is shown by setting it", off)
	}
	if err := s.Set(t.Context(), o.Now); err != nil {
		t.Fatalf("Set() = %v", err)
	}
	r := read()
	if off := o.Now().Sub(r.T); r.Stopped || off < 0 || off > time.Second+within {
		t.Errorf("set, it shows %v at %v, stopped %v", r.T, o.Now(), r.Stopped)
	}
}
