package hil

import (
	"context"
	"encoding/binary"
	"os"
	"testing"
	"testing/synctest"
	"time"

	devices "minglu/drivers"
	"minglu/drivers/sim"
)

// The test card that the USB camera of package wired delivers.
const (
	cardWidth, cardHeight = 1280, 720
	cardFPS               = 25
	cardPictures          = 180 * cardFPS
)

// writeCard writes the test card as the camera in the guest delivers it: access units of H.264 with start codes,
// parameter sets before each keyframe, each unit behind its length. The first is a keyframe.
func writeCard(t *testing.T, name string) {
	t.Helper()
	tape := cardTape{}
	synctest.Test(t, func(t *testing.T) { // 3 minutes of a camera take some seconds
		began := time.Now()
		up := func() time.Duration { return time.Minute + time.Since(began) }
		r, err := sim.New(sim.Options{Cameras: []sim.CameraOptions{{ID: "face", Width: cardWidth, Height: cardHeight, FPS: cardFPS}}, Uptime: up})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		tape.full = cancel
		_ = r.Camera("face").Run(ctx, &tape)
	})
	must(t, os.WriteFile(name, tape.b, 0o644))
}

// cardTape keeps what the simulated camera delivers.
type cardTape struct {
	b    []byte
	n    int
	runs bool
	full func()
}

func (c *cardTape) Open(devices.Description) {}

func (c *cardTape) Lost(int, int, string) {}

func (c *cardTape) SenderReport(devices.SenderReport) {}

func (c *cardTape) Sample(s devices.Sample) {
	if !c.runs { // the first may be a keyframe out of turn
		c.runs = true
		return
	}
	if c.n == cardPictures || c.n == 0 && !s.Keyframe {
		return
	}
	var unit []byte
	put := func(u []byte) { unit = append(append(unit, 0, 0, 0, 1), u...) }
	if s.Keyframe {
		put(s.Format.SPS)
		put(s.Format.PPS)
	}
	for d := s.Data; len(d) > 0; {
		k := 4 + binary.BigEndian.Uint32(d)
		put(d[4:k])
		d = d[k:]
	}
	c.b = append(binary.BigEndian.AppendUint32(c.b, uint32(len(unit))), unit...)
	if c.n++; c.n == cardPictures {
		c.full()
	}
}
