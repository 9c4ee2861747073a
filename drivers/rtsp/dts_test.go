package rtsp

import (
	"slices"
	"testing"

	"minglu/drivers"
)

func TestDecodingTimes(t *testing.T) {
	const f = 3600
	sps, _, pps := testSets()
	// High, max_num_reorder_frames 2, 25 fps: x264 -bf 3 with pyramid.
	pyramid := unhex("6764001eacd940a02ff97011000003000100000300320f162d96")
	for _, tt := range []struct {
		rule   string
		sps    []byte
		codec  drivers.Codec
		frames []int64 // PTS in frames; negative: keyframe with that PTS - 1, begun anew if below -1000
		want   []int64
	}{
		{"without reordering it is the PTS", sps, drivers.H264, []int64{-1, 1, 2, 3}, []int64{0, 1, 2, 3}},
		{"two frames of reordering are two frames of delay from the first picture on", pyramid, drivers.H264,
			[]int64{-1, 4, 2, 1, 3, 8, 6, 5, 7}, []int64{-2, -1, 0, 1, 2, 3, 4, 5, 6}},
		{"a varying frame rate is followed exactly", pyramid, drivers.H264,
			[]int64{-1, 10, 5, 1, 6, 20}, []int64{-2, -1, 0, 1, 5, 6}},
		{"after a loss it begins anew at the keyframe", pyramid, drivers.H264,
			[]int64{-1, 4, 2, -1051, 54, 52, 51}, []int64{-2, -1, 0, 48, 49, 50, 51}},
	} {
		d := &dtsClock{restart: true}
		format := &drivers.Format{Codec: tt.codec, ClockHz: 90000, SPS: tt.sps, PPS: pps}
		var got []int64
		for _, n := range tt.frames {
			key := n < 0
			if n < -1000 {
				d.restart, n = true, n+1000
			}
			if key {
				n = -n - 1
			}
			got = append(got, d.next(format, [][]byte{{0x65, 0x88}}, key, n*f))
		}
		for i := range got {
			got[i] /= f
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.rule, got, tt.want)
		}
	}
}

// A new parameter set may reorder more deeply: its times hold from its keyframe on.
func TestDecodingTimesOfANewFormat(t *testing.T) {
	sps, _, pps := testSets()
	d := &dtsClock{restart: true}
	one := &drivers.Format{Codec: drivers.H264, ClockHz: 90000, SPS: sps, PPS: pps}
	two := &drivers.Format{Codec: drivers.H264, ClockHz: 90000, SPS: unhex("6764001eacd940a02ff97011000003000100000300320f162d96"), PPS: pps}
	d.next(one, nil, true, 0)
	if got := d.next(two, nil, true, 36000); got != 36000-7200 {
		t.Errorf("DTS %d, want two frames before the picture", got)
	}
}

// A stream the extractor does not understand still gets times that rise and follow the pictures.
func TestDecodingTimesWithoutHelp(t *testing.T) {
	d := &dtsClock{restart: true}
	f := &drivers.Format{Codec: drivers.H264, ClockHz: 90000, SPS: []byte{0x67}, PPS: []byte{0x68}}
	last := int64(-1)
	for i, pts := range []int64{0, 3600, 7200, 7200, 5000, 10800, 14400} {
		dts := d.next(f, [][]byte{{0x65, 0x88}}, i%3 == 0, pts)
		if dts <= last || dts > pts && pts > last {
			t.Errorf("picture %d at %d: DTS %d after %d", i, pts, dts, last)
		}
		last = dts
	}
}
