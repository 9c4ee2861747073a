package recovery_test

import (
	"testing"
	"time"

	"minglu/agent/record/recovery"
)

// TestCauseOfOneWhoWasThere: an agent that ran on knows why a session was cut, and when it ended: the gap
// ends there and not at the repair. A session of another boot was cut by the power, whoever says what.
func TestCauseOfOneWhoWasThere(t *testing.T) {
	const now = 10 * time.Minute
	run := func(boot, cause string, up time.Duration) recovery.Item {
		t.Helper()
		w := tenCycles(t)
		w.boot, w.now.Up = boot, now
		o := w.options(fastLayer(w), w.disk("a", 8))
		o.Cut = func(string) (string, time.Duration) { return cause, up }
		rep, err := recovery.Run(t.Context(), o)
		if err != nil || len(rep.Items) != 1 || rep.Items[0].Outcome != recovery.Recovered {
			t.Fatalf("%+v %v", rep.Items, err)
		}
		return rep.Items[0]
	}
	later := run("boot-1", "", 0)
	if later.Cause != recovery.Stopped {
		t.Errorf("nobody was there: %q", later.Cause)
	}
	if it := run("boot-1", "disk-failed", now-30*time.Second); it.Cause != "disk-failed" || later.GapTo-it.GapTo != (30*time.Second).Microseconds() {
		t.Errorf("cause %q, gap to %d; nobody there: to %d", it.Cause, it.GapTo, later.GapTo)
	}
	if it := run("boot-2", "disk-failed", now); it.Cause != recovery.PowerLost {
		t.Errorf("another boot: %q", it.Cause)
	}
}
