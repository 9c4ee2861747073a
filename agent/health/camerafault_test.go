package health

import (
	"testing"
	"time"
)

// TestCameraFault: why a camera sends nothing, in the words that help.
func TestCameraFault(t *testing.T) {
	const up = time.Hour
	for _, tt := range []struct {
		rule     string
		fact     ChannelFact
		standing string
		want     string
	}{
		{"never reached: the address may be wrong", ChannelFact{SampleAge: -1, Problem: "address"}, "", "camera.address"},
		{"never delivered: the path may be wrong", ChannelFact{SampleAge: -1, Problem: "not-found"}, "", "camera.not-found"},
		{"delivered before, not reached now: unplugged", ChannelFact{SampleAge: 10 * second, Problem: "address"}, "", "camera.gone"},
		{"delivered before, a relay no longer has it: unplugged", ChannelFact{SampleAge: 10 * second, Problem: "not-found"}, "camera.noframes", "camera.gone"},
		{"delivered before, the password was changed", ChannelFact{SampleAge: 10 * second, Problem: "credentials"}, "", "camera.credentials"},
		{"delivered before, set to another codec", ChannelFact{SampleAge: 10 * second, Problem: "codec"}, "", "camera.codec"},
		{"delivered before, the connection ended", ChannelFact{SampleAge: 10 * second, Problem: "gone"}, "", "camera.gone"},
		{"a problem nobody knows", ChannelFact{SampleAge: -1, Problem: "?"}, "", "camera.gone"},
		{"connected for long, no picture comes any more", ChannelFact{SampleAge: 3 * second, Connected: true, ConnectedSince: up - time.Minute}, "", "camera.noframes"},
		{"connected nobody knows since when", ChannelFact{SampleAge: 3 * second, Connected: true}, "", "camera.noframes"},
		{"cut for want of pictures", ChannelFact{SampleAge: 6 * second, Problem: "no-frames"}, "camera.noframes", "camera.noframes"},
		{"just reconnected: still what it was", ChannelFact{SampleAge: 20 * second, Connected: true, ConnectedSince: up - second}, "camera.gone", "camera.gone"},
		{"just reconnected after it had no pictures", ChannelFact{SampleAge: 20 * second, Connected: true, ConnectedSince: up - second}, "camera.noframes", "camera.noframes"},
		{"just reconnected, nothing stood yet", ChannelFact{SampleAge: 3 * second, Connected: true, ConnectedSince: up - second}, "", "camera.gone"},
		{"just connected for the first time", ChannelFact{SampleAge: -1, Connected: true, ConnectedSince: up - second}, "camera.address", "camera.address"},
		{"reconnected, and 5 s later no picture yet", ChannelFact{SampleAge: 20 * second, Connected: true, ConnectedSince: up - 5*second}, "camera.gone", "camera.noframes"},
		{"sends again, not yet for long enough", ChannelFact{SampleAge: 0, Connected: true, ConnectedSince: up - 9*second}, "camera.credentials", "camera.credentials"},
		{"another kind of fault of it is no reason", ChannelFact{SampleAge: 20 * second, Connected: true, ConnectedSince: up - second}, "camera.clock", "camera.gone"},
	} {
		tt.fact.ID = "face"
		standing := []Fault{{Code: "camera.protocol", Ch: "wide"}}
		if tt.standing != "" {
			standing = append(standing, Fault{Code: tt.standing, Ch: "face"})
		}
		if got := CameraFault(tt.fact, standing, up); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.rule, got, tt.want)
		}
	}
}
