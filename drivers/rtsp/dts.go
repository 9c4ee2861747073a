package rtsp

import (
	"slices"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"

	"minglu/drivers"
)

// dtsClock finds the decoding times of access units, which RTP does not carry.
//
// Where the parameter sets say how many pictures N may precede another in decoding order and follow
// it in output order (sps_max_num_reorder_pics, max_num_reorder_frames), the decoding time of the
// n-th picture is the (n−N)-th smallest presentation time: exact, and known at once. Where they do
// not, mediacommon's extractor, which learns N from picture order counts, gives it.
//
// It never fails and its result rises strictly.
type dtsClock struct {
	restart bool // what came before has no bearing: begin anew at the next keyframe
	format  *drivers.Format

	ranked bool
	depth  int
	frame  int64   // ticks between pictures, as the parameter sets say or 25 a second
	queue  []int64 // presentation times not yet given out, ascending; depth of them between calls

	learn *h264.DTSExtractor // if not ranked
	au    [][]byte

	started bool
	last    int64
	step    int64 // last distance of two pictures
}

// next returns the decoding time of the next picture. pic are its slices.
func (d *dtsClock) next(f *drivers.Format, pic [][]byte, key bool, pts int64) int64 {
	if key && (d.restart || f != d.format) {
		d.begin(f, pts)
	}
	var dts int64
	if d.ranked {
		i, _ := slices.BinarySearch(d.queue, pts)
		d.queue = slices.Insert(d.queue, i, pts)
		dts = d.queue[0]
		d.queue = slices.Delete(d.queue, 0, 1)
	} else {
		dts = d.extract(pic, key, pts)
	}
	if d.started {
		dts = max(dts, d.last+1)
		d.step = dts - d.last
	}
	d.started, d.last = true, dts
	return dts
}

func (d *dtsClock) begin(f *drivers.Format, pts int64) {
	before := d.depth
	d.restart, d.format = false, f
	d.depth, d.frame, d.ranked = reorder(f)
	if d.ranked {
		d.depth = max(d.depth, before) // less delay than before would look like a hole
	}
	if d.frame <= 0 || d.frame > int64(f.ClockHz) {
		d.frame = int64(f.ClockHz) / 25
	}
	d.queue = d.queue[:0]
	for i := d.depth; i > 0; i-- {
		d.queue = append(d.queue, pts-int64(i)*d.frame)
	}
	d.learn = &h264.DTSExtractor{}
	d.learn.Initialize()
}

// extract asks the library. Where it fails (too many reordered frames after a loss, structures it
// does not know), the picture follows the one before at the same distance, and the extractor begins
// anew at the next keyframe.
func (d *dtsClock) extract(pic [][]byte, key bool, pts int64) int64 {
	d.au = d.au[:0]
	if key {
		d.au = append(d.au, d.format.SPS, d.format.PPS)
	}
	d.au = append(d.au, pic...)
	dts, err := d.learn.Extract(d.au, pts)
	if err == nil {
		return dts
	}
	d.restart = true
	if d.started {
		return min(pts, d.last+max(d.step, 1))
	}
	return pts
}

// reorder reads from the parameter sets how deep pictures are reordered and how long one lasts.
func reorder(f *drivers.Format) (depth int, ticks int64, known bool) {
	length := func(fps float64) int64 {
		if fps < 1 {
			return 0
		}
		return int64(float64(f.ClockHz)/fps + 0.5)
	}
	if f.Codec == drivers.H265 {
		var s h265.SPS
		if s.Unmarshal(f.SPS) != nil || len(s.MaxNumReorderPics) == 0 {
			return 0, 0, true
		}
		// of all temporal layers, which is the last entry (H.265 7.4.3.2.1)
		return int(min(s.MaxNumReorderPics[len(s.MaxNumReorderPics)-1], 16)), length(s.FPS()), true
	}
	var s h264.SPS
	if s.Unmarshal(f.SPS) != nil {
		return 0, 0, false
	}
	const baseline = 66
	switch {
	case s.PicOrderCntType == 2, s.ProfileIdc == baseline: // output order is decoding order, H.264 8.2.1.3, A.2.1
		return 0, length(s.FPS()), true
	case s.VUI != nil && s.VUI.BitstreamRestriction != nil:
		return int(min(s.VUI.BitstreamRestriction.MaxNumReorderFrames, 16)), length(s.FPS()), true
	}
	return 0, length(s.FPS()), false
}
