//go:build hil

package v4l2

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"minglu/drivers"
	"minglu/drivers/driverstest"
	"minglu/sim/hil/usbsim"
)

const usbRate = 5 // pictures a second: this guest is slow

// usbCamera plugs in a camera that delivers the test card in H.264; wrong changes a picture on its way.
func usbCamera(t *testing.T, units [][]byte, wrong func(n int, p usbsim.Picture) usbsim.Picture) (*usbsim.Plugged, string) {
	t.Helper()
	usb, err := usbsim.Plug(usbsim.Device{Product: "room camera", Serial: "7", Camera: &usbsim.Camera{
		Modes: []usbsim.Mode{{Format: "MJPG", Width: 640, Height: 480, PerSecond: usbRate}, {Format: "H264", Width: 1152, Height: 448, PerSecond: usbRate}},
		Next: func(m usbsim.Mode, n int) usbsim.Picture {
			return wrong(n, usbsim.Picture{Data: units[n%len(units)]})
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { usb.Unplug() })
	node, err := usb.Video()
	if err != nil {
		t.Fatal(err)
	}
	return usb, node
}

func asIs(_ int, p usbsim.Picture) usbsim.Picture { return p }

// TestHILUSBCamera: uvcvideo with a camera that makes H.264 does what every camera must.
func TestHILUSBCamera(t *testing.T) {
	_, node := usbCamera(t, card(t, 20, usbRate), asIs)
	s, err := New(Options{Device: node, Uptime: boardUptime})
	if err != nil {
		t.Fatal(err)
	}
	driverstest.Camera(t, driverstest.CameraOptions{Camera: s, Uptime: boardUptime, Pictures: 8, Within: 30 * time.Second})
}

// TestHILUSBWrongPictures: frozen, cut short, garbled and broken pictures are losses, and the camera goes on.
func TestHILUSBWrongPictures(t *testing.T) {
	var kind atomic.Int32
	_, node := usbCamera(t, card(t, 20, usbRate), func(n int, p usbsim.Picture) usbsim.Picture {
		switch k := kind.Load(); {
		case k == 1:
			kind.Store(0)
			p.Broken = true
		case k == 2:
			kind.Store(0)
			p.Data = []byte("this is no picture")
		}
		return p
	})
	s, err := New(Options{Device: node, Uptime: boardUptime})
	if err != nil {
		t.Fatal(err)
	}
	out := driverstest.NewStrict(t, boardUptime)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, out) }()
	wait := func(n int) {
		t.Helper()
		select {
		case <-out.After(n):
		case err := <-done:
			t.Fatalf("Run() = %v", err)
		case <-time.After(40 * time.Second):
			t.Fatalf("%d pictures, want %d; lost %v", len(out.Samples()), n, out.Losses())
		}
	}
	wait(3)
	for _, k := range []int32{1, 2} {
		kind.Store(k)
		wait(len(out.Samples()) + 8)
	}
	cancel(errEnough)
	if err := <-done; !errors.Is(err, errEnough) {
		t.Errorf("Run() = %v", err)
	}
	lost := out.Losses()
	t.Logf("%d pictures, lost %v", len(out.Samples()), lost)
	if lost[causeDropped]+lost[causeDamaged] < 1 || lost["damaged picture"] < 1 {
		t.Errorf("lost %v: a broken picture and one that is none are missing", lost)
	}
}

// TestHILUSBUnplugged: pulled out, the connection ends with words; plugged in again, it begins with a keyframe.
func TestHILUSBUnplugged(t *testing.T) {
	units := card(t, 20, usbRate)
	usb, node := usbCamera(t, units, asIs)
	for round := range 2 {
		s, err := New(Options{Device: node, Uptime: boardUptime})
		if err != nil {
			t.Fatal(err)
		}
		out := driverstest.NewStrict(t, boardUptime)
		done := make(chan error, 1)
		go func() { done <- s.Run(t.Context(), out) }()
		select {
		case <-out.After(4):
		case err := <-done:
			t.Fatalf("Run() = %v", err)
		case <-time.After(30 * time.Second):
			t.Fatal("no pictures")
		}
		pulled := time.Now()
		usb.Unplug()
		select {
		case err = <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("Run does not end")
		}
		t.Logf("round %d: known after %v: %v", round, time.Since(pulled), err)
		if p := (*drivers.Problem)(nil); !errors.As(err, &p) || p.Code != "unplugged" {
			t.Errorf("Run() = %v, want unplugged", err)
		}
		out.Shut()
		err = s.Run(t.Context(), driverstest.NewStrict(t, boardUptime))
		if p := (*drivers.Problem)(nil); !errors.As(err, &p) || p.Code != "not-found" && p.Code != "unplugged" {
			t.Errorf("without the camera Run() = %v", err)
		}
		if round == 0 {
			usb, node = usbCamera(t, units, asIs)
		}
	}
}
