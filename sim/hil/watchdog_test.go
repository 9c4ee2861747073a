package hil

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWatchdogBites: a hardware watchdog that is fed leaves the board alone; one that is fed no more resets it,
// whatever hangs.
func TestWatchdogBites(t *testing.T) {
	if asked(t) == short {
		t.Log("half a minute of waiting is for the usual form")
		return
	}
	rig, err := FindRig("watchdog")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "unfed")
	if err := BuildTest(file, "arm64", "minglu/drivers/watchdog", "hil"); err != nil {
		t.Fatal(err)
	}
	var out output
	began := time.Now()
	g, err := kernel(t).Boot(t.Context(), Options{Modules: rig.Modules, QEMU: rig.QEMU, Files: map[string]string{"unfed": file}, Stdout: &out, Stderr: &out,
		Job: Job{Run: []Program{{Name: "unfed", File: "unfed", Args: []string{"-test.run=TestUnfed"}, Seconds: driverSeconds}}}})
	if err != nil {
		t.Fatal(err)
	}
	results, err := g.Wait()
	if said := out.tail(4000); err == nil || len(results) != 0 || !strings.Contains(said, "from now on not") {
		t.Errorf("the program ended %+v, the guest %v, and said %q; want a reset after it was fed for 12 s", results, err, said)
	}
	figure(t, "watchdog of 10 s, fed for 12 s: the board was reset %v after power on", time.Since(began).Round(100*time.Millisecond))
}
