package record

import "testing"

// TestPulled: what is there was not pulled out; a disk that was is for a guest (TestHILStick of sim/hil/wired).
func TestPulled(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "/proc", "/dev/shm", "/", "/no such folder"} {
		if pulled(dir) {
			t.Errorf("%s counts as pulled out", dir)
		}
	}
}
