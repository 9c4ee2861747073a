package sim

import (
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
