package power

import (
	"testing"
	"time"
)

// cells is the rested voltage of three lithium cells, mV, at 0, 5, 10, 20 … 100 % of what they hold.
var cells = []struct{ charge, mv float64 }{{-1, 0}, {0, 9300}, {0.05, 10_200}, {0.1, 10_500}, {0.2, 10_800}, {0.3, 11_000}, {0.5, 11_250}, {0.7, 11_700}, {0.9, 12_200}, {1, 12_600}}

func rested(charge float64) float64 {
	for i := 1; i < len(cells); i++ {
		a, b := cells[i-1], cells[i]
		if charge <= b.charge {
			return a.mv + (b.mv-a.mv)*(charge-a.charge)/(b.charge-a.charge)
		}
	}
	return cells[len(cells)-1].mv
}

// discharge lets the mains go and a board run on batteries of all ages until it goes down. It returns how long that took, how
// long before 3 minutes were left according to the judge, and what the judge said a minute after the loss.
func discharge(real float64, ohm float64, ma func(s int) float64, full bool) (lasted, warned, early time.Duration) {
	s, least := newState(), 20.0
	charge, start := 1.0, 60
	if !full {
		charge = 0.6
	}
	for sec := 0; ; sec += 2 {
		up := time.Duration(sec) * time.Second
		if sec < start {
			current := -10.0
			if !full {
				current = -1500 // charging hard
			}
			s.step(three, least, up, rested(charge)-ohm*current, current)
			continue
		}
		i := ma(sec)
		charge -= i * 2 / 3600 / real
		mv := rested(charge) - ohm*i
		mains, _, left := s.step(three, least, up, mv, i)
		if !mains && sec >= start+60 && early == 0 {
			early = left
		}
		if !mains && left < 3*time.Minute && warned == 0 {
			warned = up
		}
		if mv <= 9600 {
			return up - time.Duration(start)*time.Second, up - warned, early
		}
	}
}

// TestLeft: whatever the age of the battery and the load, the warning comes in time to seal, and not absurdly early.
func TestLeft(t *testing.T) {
	steady := func(ma float64) func(int) float64 { return func(int) float64 { return ma } }
	for _, tt := range []struct {
		name       string
		real, ohm  float64 // mAh; mV a mA
		ma         func(int) float64
		full       bool
		least, max time.Duration // warned before the end
		promise    float64       // said after a minute, at most so many times what came
	}{
		{"new, 0.6 A", 5000, 0.1, steady(600), true, 2 * time.Minute, 40 * time.Minute, 1.1},
		{"new, 3 A", 5000, 0.1, steady(3000), true, 2 * time.Minute, 15 * time.Minute, 1.1},
		{"half its capacity, 0.6 A", 2500, 0.2, steady(600), true, 2 * time.Minute, 40 * time.Minute, 2.1},
		{"a tenth of it, 0.6 A", 500, 0.4, steady(600), true, 2 * time.Minute, 20 * time.Minute, 10},
		{"a tenth of it, 2 A", 500, 0.3, steady(2000), true, 90 * time.Second, 14 * time.Minute, 10},
		{"not full, 0.6 A", 5000, 0.1, steady(600), false, 2 * time.Minute, 40 * time.Minute, 1.6},
		{"load that jumps", 5000, 0.1, func(s int) float64 { return map[bool]float64{true: 400, false: 1600}[s%20 < 10] }, true, 2 * time.Minute, 40 * time.Minute, 1.6},
	} {
		lasted, warned, early := discharge(tt.real, tt.ohm, tt.ma, tt.full)
		t.Logf("%s: lasted %v, warned %v before; %v said after a minute", tt.name, lasted, warned, early.Round(time.Second))
		if warned < tt.least || warned > tt.max {
			t.Errorf("%s: warned %v before the end, want %v to %v", tt.name, warned, tt.least, tt.max)
		}
		if early.Seconds() > tt.promise*lasted.Seconds() {
			t.Errorf("%s: promised %v, lasted %v", tt.name, early, lasted)
		}
	}
}

// TestMains: which way current flows counts once it has done so for 3 s; less than a board takes is nothing.
func TestMains(t *testing.T) {
	for _, tt := range []struct {
		name string
		ma   []float64 // second by second
		want bool
	}{
		{"charging", []float64{-500, -500, -500, -500, -500}, true},
		{"at rest", []float64{5, 15, 19, 19, 19}, true},
		{"a peak of load", []float64{0, 500, 500, 500, 0, 500, 500, 500}, true},
		{"lost", []float64{0, 500, 500, 500, 500}, false},
		{"found lost", []float64{500}, false},
		{"back for a moment", []float64{500, -100, -100, 500, -100}, false},
		{"back", []float64{500, -100, -100, -100, -100}, true},
	} {
		s, mains, left := newState(), true, time.Duration(0)
		for sec, ma := range tt.ma {
			mains, _, left = s.step(three, 20, time.Duration(sec)*time.Second, 12_000, ma)
		}
		if mains != tt.want || mains != (left == -1) {
			t.Errorf("%s: mains %v, left %v", tt.name, mains, left)
		}
	}
	s := newState()
	for sec := range 5 {
		s.step(three, 20, time.Duration(sec)*time.Second, 12_000, 0)
	}
	if mains, _, _ := s.step(three, 20, 66*time.Second, 12_000, 500); mains {
		t.Error("after a minute without a reading the mains are still believed in")
	}
	if _, _, left := s.step(three, 20, 68*time.Second, 9600, 500); left != 0 {
		t.Errorf("at the voltage where the board goes down %v are left", left)
	}
}
