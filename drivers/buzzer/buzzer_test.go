package buzzer

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"

	"minglu/drivers"
	"minglu/drivers/driverstest"
)

// pin writes down when its level changed.
type pin struct {
	gpiotest.Pin
	began  time.Time
	wrote  strings.Builder
	failAt int // the n-th Out fails
	outs   int
	halted int
}

func (p *pin) Out(l gpio.Level) error {
	if p.outs++; p.outs == p.failAt {
		return errors.New("unplugged")
	}
	if l != p.Read() {
		fmt.Fprintf(&p.wrote, " %d%s", time.Since(p.began).Milliseconds(), map[gpio.Level]string{gpio.High: "+", gpio.Low: "-"}[l])
	}
	return p.Pin.Out(l)
}

func (p *pin) Halt() error { p.halted++; return nil }

func TestSignals(t *testing.T) {
	for b, want := range map[drivers.Beep]string{
		drivers.BeepStart:  " 0+ 400-",
		drivers.BeepPaused: " 0+ 100- 200+ 300-",
		drivers.BeepEnd:    " 0+ 100- 200+ 300- 400+ 500-",
		drivers.BeepAsk:    " 0+ 100- 200+ 600-",
		drivers.BeepFault:  " 0+ 100- 200+ 300- 400+ 500- 600+ 700- 800+ 900- 1300+ 1400- 1500+ 1600- 1700+ 1800- 1900+ 2000- 2100+ 2200-",
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &pin{began: time.Now()}
			if err := New(func() (gpio.PinOut, error) { return p, nil }).Sound(t.Context(), b); err != nil || p.wrote.String() != want || p.halted != 1 {
				t.Errorf("%s: %v, %q, given back %d times; want %q", b, err, p.wrote.String(), p.halted, want)
			}
		})
	}
}

func TestConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pin{began: time.Now()}
		driverstest.Buzzer(t, driverstest.BuzzerOptions{Buzzer: New(func() (gpio.PinOut, error) { return p, nil }), Silent: func() bool { return p.Read() == gpio.Low }})
	})
}

func TestSignalsWaitForOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pin{began: time.Now()}
		b := New(func() (gpio.PinOut, error) { return p, nil })
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if err := b.Sound(t.Context(), drivers.BeepStart); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if want := " 0+ 400- 500+ 900-"; p.wrote.String() != want {
			t.Errorf("%q, want %q", p.wrote.String(), want)
		}
	})
}

func TestFaults(t *testing.T) {
	gone := &drivers.Problem{Code: "not-found", Zh: "没有", En: "no such line"}
	var p *drivers.Problem
	if err := New(func() (gpio.PinOut, error) { return nil, gone }).Sound(t.Context(), drivers.BeepStart); !errors.As(err, &p) || p.Code != "not-found" {
		t.Errorf("no line: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		for n := range 3 {
			line := &pin{began: time.Now(), failAt: n + 1}
			if err := New(func() (gpio.PinOut, error) { return line, nil }).Sound(t.Context(), drivers.BeepStart); err == nil || line.halted != 1 {
				t.Errorf("write %d fails: %v, given back %d times", n+1, err, line.halted)
			}
		}
	})
}
