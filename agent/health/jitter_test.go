package health

import (
	"testing"
	"time"

	"minglu/agent/clock"
	"minglu/drivers"
)

func TestMissing(t *testing.T) {
	const tick = 90 // of a millisecond
	regular := func(n int, ms int64) (out []int64) {
		for range n {
			out = append(out, ms*tick)
		}
		return out
	}
	join := func(parts ...[]int64) (out []int64) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	for _, tt := range []struct {
		rule  string
		steps []int64 // from picture to picture
		want  int64
	}{
		{"even pictures are all there", regular(100, 40), 0},
		{"a hole of three is three", join(regular(50, 40), []int64{160 * tick}, regular(50, 40)), 3},
		{"one picture right after another loses none of the next", join(regular(50, 40), []int64{1}, regular(50, 40)), 0},
		{"pictures stamped a third early and late are all there", join(regular(50, 40), []int64{28 * tick, 52 * tick, 28 * tick, 52 * tick}, regular(50, 40)), 0},
		{"a first distance that is a hole does not hide the holes after it", join([]int64{400 * tick}, regular(60, 40), []int64{80 * tick}), 1},
		{"a faster rate loses nothing", join(regular(50, 40), regular(50, 20)), 0},
	} {
		tr, f := &track{}, &drivers.Format{Codec: drivers.H264, ClockHz: 90000}
		s, missing := drivers.Sample{Format: f, Data: []byte{1}, Arrival: time.Hour}, int64(0)
		for i, d := range append([]int64{0}, tt.steps...) {
			s.DTS += d
			if i > 0 {
				missing += tr.missing(&s)
			}
			tr.dts, tr.run = s.DTS, s.Run
		}
		if missing != tt.want {
			t.Errorf("%s: %d missing, want %d", tt.rule, missing, tt.want)
		}
	}
}

func TestLostSound(t *testing.T) {
	for cause, want := range map[string]int{"packets lost": 1, "the driver's own words": 1, causeConnection: 0, causeNoFrames: 0, causePaused: 0, causeBehind: 0} {
		c := newChannel(Channel{ID: "voice"}, &Options{Now: func() clock.Reading { return clock.Reading{Up: time.Hour} }})
		c.describe(drivers.Description{Formats: []*drivers.Format{{Codec: drivers.Opus, ClockHz: 48000}}})
		c.missed(0, cause)
		if n := c.lossesIn(time.Hour); n != want {
			t.Errorf("%q counts as %d losses of sound, want %d", cause, n, want)
		}
	}
}
