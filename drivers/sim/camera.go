package sim

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"minglu/drivers"
)

// maxLate is how far a camera or microphone may fall behind before it lets pictures or sound drop
// instead of delivering them late.
const maxLate = 2 * time.Second

// Camera is a synthetic camera: a test card in H.264 Constrained Baseline, a keyframe at each whole
// second of uptime. It implements [drivers.Source]; one Run at a time.
type Camera struct {
	o      CameraOptions
	uptime func() time.Duration
	wall   func() time.Time
	faults faults
	frames atomic.Int64 // delivered
	last   atomic.Int64 // number of the last one
}

func newCamera(o CameraOptions, uptime func() time.Duration, wall func() time.Time) (*Camera, error) {
	for _, f := range []struct {
		name           string
		v              *int
		def, low, high int
	}{{"width", &o.Width, 1280, MinWidth, 1920}, {"height", &o.Height, 720, MinHeight, 1088}, {"fps", &o.FPS, 25, 5, 60}} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < f.low || *f.v > f.high || f.name != "fps" && *f.v%2 != 0 {
			return nil, fmt.Errorf("sim: camera %s: %s %d: choose %d to %d, width and height even", o.ID, f.name, *f.v, f.low, f.high)
		}
	}
	return &Camera{o: o, uptime: uptime, wall: wall}, nil
}

// Run delivers pictures on the grid of uptime n/fps until ctx ends or the camera is gone.
func (c *Camera) Run(ctx context.Context, out drivers.Sink) error {
	if c.faults.has(FaultGone) {
		return errGone(c.o.ID)
	}
	s := newShot(c.o)
	out.Open(drivers.Description{Formats: []*drivers.Format{s.format}, Identity: "Minglu simulated camera " + c.o.ID})
	fps := int64(c.o.FPS)
	n := int64(c.uptime())*fps/int64(time.Second) + 1
	for ; ; n++ {
		if err := waitUntil(ctx, c.uptime, frameTime(n, fps)); err != nil {
			return err
		}
		if c.faults.has(FaultGone) {
			return errGone(c.o.ID)
		}
		if late := c.uptime() - frameTime(n, fps); late > maxLate {
			skip := int64(late) * fps / int64(time.Second)
			out.Lost(0, int(skip), "the simulated camera did not keep up")
			n += skip
		}
		if c.faults.has(FaultNoFrames) {
			continue
		}
		sample := s.take(n, c.wall(), &c.faults)
		sample.Arrival = c.uptime()
		c.frames.Add(1)
		c.last.Store(n)
		out.Sample(sample)
	}
}

// frameTime is the uptime picture n belongs to, rounded up: a picture is never before its time.
func frameTime(n, fps int64) time.Duration {
	return time.Duration(n/fps)*time.Second + time.Duration((n%fps*int64(time.Second)+fps-1)/fps)
}

// waitUntil returns nil once uptime has reached at, or the cause of ctx.
func waitUntil(ctx context.Context, uptime func() time.Duration, at time.Duration) error {
	for {
		d := at - uptime()
		if d <= 0 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return nil
		}
		t := time.NewTimer(d)
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C:
		}
	}
}

// shot makes the samples of one connection.
type shot struct {
	o              CameraOptions
	card           *card
	enc            *encoder
	format         *drivers.Format
	black, covered *picture
	shown          *picture
	started        bool
}

func newShot(o CameraOptions) *shot {
	s := &shot{o: o, card: newCard(o.Width, o.Height, o.FPS, o.ID), enc: newEncoder(o.Width, o.Height, o.FPS)}
	s.format = &drivers.Format{Codec: drivers.H264, ClockHz: 90000, SPS: s.enc.sps(), PPS: s.enc.pps(), Width: o.Width, Height: o.Height}
	s.shown = s.card.picture
	return s
}

// picture is what the lens sees as frame n.
func (s *shot) picture(n int64, wall time.Time, f *faults) *picture {
	switch {
	case f.has(FaultFrozen) && s.started:
	case f.has(FaultBlack):
		if s.black == nil {
			s.black = newPicture(s.o.Width, s.o.Height)
			s.black.fill(0, 0, s.black.W, s.black.H, [3]byte{black, grey, grey})
		}
		s.shown = s.black
	case f.has(FaultCovered):
		if s.covered == nil {
			s.covered = newPicture(s.o.Width, s.o.Height)
		}
		s.covered.cover(n)
		s.shown = s.covered
	default:
		s.shown = s.card.draw(n, wall)
	}
	return s.shown
}

// cover paints what a hand before the lens leaves: dark but not black, almost even, never quite still.
func (p *picture) cover(n int64) {
	seed := uint32(n) | 1
	for y := 0; y < p.H; y += 16 {
		for x := 0; x < p.W; x += 16 {
			seed = seed*1664525 + 1013904223
			p.fill(x, y, 16, 16, [3]byte{byte(52 + y*8/p.H + int(seed>>31)), 126, 132})
		}
	}
}

func (s *shot) take(n int64, wall time.Time, f *faults) drivers.Sample {
	p := s.picture(n, wall, f)
	key := !s.started || n%int64(s.o.FPS) == 0
	s.started = true
	ticks := n * 90000 / int64(s.o.FPS)
	return drivers.Sample{Format: s.format, PTS: ticks, DTS: ticks, Keyframe: key, Data: s.enc.encode(p, key)}
}
