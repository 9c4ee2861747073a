package sim

import (
	"testing"
	"testing/synctest"
	"time"

	"minglu/drivers/driverstest"
)

// board is a room with nothing but battery, clock and buzzer.
func board(t *testing.T) (*Room, func() time.Duration) {
	boot := time.Now()
	uptime := func() time.Duration { return 100*time.Second + time.Since(boot) }
	r, err := New(Options{Power: true, RTC: true, Buzzer: true, Uptime: uptime})
	if err != nil {
		t.Fatal(err)
	}
	return r, uptime
}

func TestPowerConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, uptime := board(t)
		driverstest.PowerMeter(t, driverstest.PowerMeterOptions{Meter: r.Power(), Uptime: uptime, Mains: func(on bool) {
			if err := r.Fault(FaultMains, "", !on); err != nil {
				t.Error(err)
			}
		}})
	})
}

func TestRTCConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, uptime := board(t)
		if c, err := r.RTC().Read(t.Context()); err != nil || c.Stopped || time.Since(c.T).Abs() > time.Second {
			t.Errorf("at the start it shows %+v, %v", c, err)
		}
		if err := r.Fault(FaultRTC, "", true); err != nil {
			t.Fatal(err)
		}
		if c, err := r.RTC().Read(t.Context()); err != nil || !c.Stopped || c.T.Year() != 2000 {
			t.Errorf("with a dead battery it shows %+v, %v", c, err)
		}
		driverstest.RTC(t, driverstest.RTCOptions{RTC: r.RTC(), Uptime: uptime, Now: func() time.Time { return time.Now().AddDate(30, 0, 0) }})
	})
}

func TestBuzzerConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := board(t)
		driverstest.Buzzer(t, driverstest.BuzzerOptions{Buzzer: r.Buzzer(), Silent: func() bool { return true }})
		if got := r.Buzzer().Sounds(); len(got) != 6 || got[0].Beep != "start" { // the one that was stopped sounded too
			t.Errorf("it sounded %+v", got)
		}
	})
}

// TestWornOutBattery lasts 40 s, and is full again when it is changed.
func TestWornOutBattery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := board(t)
		for _, f := range []string{FaultWornOut, FaultMains} {
			if err := r.Fault(f, "", true); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		if s := r.State().Power; s.Mains || !s.WornOut || s.Left != 30*time.Second {
			t.Errorf("10 s after the power cut: %+v", s)
		}
		time.Sleep(time.Minute)
		if s := r.State().Power; s.Left != 0 {
			t.Errorf("a minute later: %+v", s)
		}
		r.Fault(FaultWornOut, "", false)
		if s := r.State().Power; s.Left != powerLasts {
			t.Errorf("changed: %+v", s)
		}
		bare, err := New(Options{Uptime: r.o.Uptime})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range powerFaults {
			if bare.Fault(f, "", true) == nil {
				t.Errorf("a room without it has the fault %s", f)
			}
		}
	})
}
