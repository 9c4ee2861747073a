package sim

import (
	"strings"
	"testing"
	"testing/synctest"

	"minglu/drivers/driverstest"
)

// TestSoundConformance: the simulated microphone and speaker do what the real ones do.
func TestSoundConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, uptime, _ := room(t)
		driverstest.Microphone(t, driverstest.MicrophoneOptions{Microphone: r.Microphone("voice"), Uptime: uptime})
		driverstest.Speaker(t, driverstest.SpeakerOptions{Speaker: r.Speaker()})
	})
}

// TestScannerConformance: the simulated scanner does what the real ones do, and refuses what they cannot read.
func TestScannerConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, uptime, _ := room(t)
		driverstest.Scanner(t, driverstest.ScannerOptions{Scanner: r.Scanner(), Uptime: uptime, Ready: synctest.Wait, Scan: func(text string) {
			if err := r.Scan(text); err != nil {
				t.Error(err)
			}
		}})
		for _, bad := range []string{"", "  ", "\x1b[2J", "\xff", strings.Repeat("9", maxScan+1)} {
			if r.Scan(bad) == nil {
				t.Errorf("%q was read", bad)
			}
		}
	})
}
