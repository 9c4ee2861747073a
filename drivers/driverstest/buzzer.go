package driverstest

import (
	"context"
	"errors"
	"testing"
	"time"

	"minglu/drivers"
)

// BuzzerOptions say how to test a buzzer.
type BuzzerOptions struct {
	Buzzer drivers.Buzzer
	Silent func() bool // nothing sounds now
}

// Buzzer tests a buzzer: each signal sounds for a moment and leaves it silent, one that nobody waits for any more ends at
// once, in the middle too, and what is no signal is refused.
func Buzzer(t *testing.T, o BuzzerOptions) {
	t.Helper()
	for _, b := range []drivers.Beep{drivers.BeepStart, drivers.BeepPaused, drivers.BeepEnd, drivers.BeepAsk, drivers.BeepFault} {
		began := time.Now()
		if err := o.Buzzer.Sound(t.Context(), b); err != nil || !o.Silent() {
			t.Errorf("Sound(%s) = %v, silent %v", b, err, o.Silent())
		}
		if took := time.Since(began); took < 100*time.Millisecond || took > 3*time.Second+within {
			t.Errorf("%s sounded for %v", b, took)
		}
	}
	if err := o.Buzzer.Sound(t.Context(), "song"); err == nil {
		t.Error("a signal nobody knows is sounded")
	}
	cause := errors.New("asked to stop")
	for _, after := range []time.Duration{0, 150 * time.Millisecond} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(after, func() { cancel(cause) })
		if after == 0 {
			cancel(cause)
		}
		began := time.Now()
		if err := o.Buzzer.Sound(ctx, drivers.BeepFault); !errors.Is(err, cause) || !o.Silent() || time.Since(began) > after+within {
			t.Errorf("stopped after %v: Sound() = %v after %v, silent %v", after, err, time.Since(began), o.Silent())
		}
	}
}
