//go:build hil

package alsa

import (
	"errors"
	"math"
	"testing"
	"time"

	"minglu/drivers"
	"minglu/sim/hil/usbsim"
)

// TestHILUSB records from a USB microphone that is pulled out and plugged in again, several times: it is told in
// words, found again by its socket, and nothing is left open.
func TestHILUSB(t *testing.T) {
	device := usbsim.Device{Product: "Desk microphone", Mic: &usbsim.Microphone{Channels: 2, Next: func(n int64, c int) int16 {
		return int16(16000 / float64(c+1) * math.Sin(2*math.Pi*1000*float64(n)/48000))
	}}}
	plug := func() *usbsim.Plugged {
		t.Helper()
		p, err := usbsim.Plug(device)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.PCM(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	plugged := plug()
	socket, err := plugged.Path()
	if err != nil {
		t.Fatal(err)
	}
	card, err := NewCard(CardOptions{Name: "usb:" + socket, Uptime: boottime})
	if err != nil {
		t.Fatal(err)
	}
	left, err := card.Microphone(Seat{Channels: []int{1}, Gain: 80})
	if err != nil {
		t.Fatal(err)
	}
	both, err := card.Microphone(Seat{Channels: []int{2, 1}})
	if err != nil {
		t.Fatal(err)
	}
	before := 0
	for round := range 4 {
		if round > 0 {
			plugged = plug()
		}
		errs := make(chan error, 2)
		var a, b = newRecorded(), newRecorded()
		go func() { errs <- left.Run(t.Context(), a) }()
		go func() { errs <- both.Run(t.Context(), b) }()
		a.wait(t, 24000)
		b.wait(t, 24000)
		if v := tone(a.channel(0, 4800), 1000, 48000); math.Abs(v-16000) > 800 {
			t.Errorf("the tone has amplitude %.0f, want 16000", v)
		}
		if v := tone(b.channel(0, 4800), 1000, 48000); math.Abs(v-8000) > 400 {
			t.Errorf("the tone of the second channel has amplitude %.0f, want 8000", v)
		}
		if a.desc[0].Formats[0].Channels != 1 || b.desc[0].Formats[0].Channels != 2 {
			t.Errorf("%+v, %+v", a.desc[0].Formats[0], b.desc[0].Formats[0])
		}
		if levels, err := left.Level(); err != nil || len(levels) != 1 || levels[0].Percent[0] < 78 || levels[0].Percent[0] > 82 {
			t.Errorf("gain 80 reads back as %+v, %v", levels, err)
		}
		all, err := List()
		found := false
		for _, d := range all {
			found = found || d.USB == "usb:"+socket+",0" && d.Capture
		}
		if err != nil || !found {
			t.Errorf("usb:%s is not in %+v, %v", socket, all, err)
		}
		pulled := time.Now()
		if err := plugged.Unplug(); err != nil {
			t.Error(err)
		}
		for range 2 {
			select {
			case err := <-errs:
				var p *drivers.Problem
				if !errors.As(err, &p) || p.Code != "gone" {
					t.Errorf("Run() = %v, want the problem \"gone\"", err)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("an unplugged microphone goes on")
			}
		}
		if took := time.Since(pulled); took > 3*time.Second {
			t.Errorf("it took %v to see that it was unplugged", took)
		}
		var p *drivers.Problem
		if err := left.Run(t.Context(), newRecorded()); !errors.As(err, &p) || p.Code != "not-found" {
			t.Errorf("while it is out: Run() = %v", err)
		}
		switch now := descriptors(t); {
		case round == 0:
			before = now
		case now > before:
			t.Fatalf("%d descriptors after round %d, %d after the first", now, round, before)
		}
	}
}
