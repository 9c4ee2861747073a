package record

import (
	"slices"
	"testing"
	"time"

	"minglu/drivers"
)

// TestSlowCameraWithBFrames: whatever a camera's pictures are stretched by, they are shown in their order
// and evenly.
func TestSlowCameraWithBFrames(t *testing.T) {
	const tick = 3600 // 25 a second at 90 kHz
	for _, tt := range []struct {
		rule     string
		num, den int64 // the true distance of two pictures by the stamped one
	}{
		{"as stamped", 1, 1},
		{"stamping 25 and sending 21 a second", 25, 21},
		{"stamping 25 and sending 12 a second", 25, 12},
		{"stamping 25 and sending 30 a second", 25, 30},
	} {
		tr := newTrack(1, &drivers.Format{Codec: drivers.H264, ClockHz: 90000})
		for gop := range int64(20) {
			// Decoding order of I0 P3 B1 B2 P6 B4 B5 …: shown this many pictures after the decoding.
			for i, after := range []int64{2, 4, 1, 1, 4, 1, 1, 4, 1, 1} {
				n := gop*10 + int64(i)
				s := &drivers.Sample{Run: 1, DTS: n * tick, PTS: (n + after) * tick, Keyframe: i == 0, Data: []byte{1}}
				tfdt, cause := tr.place(s, time.Duration(n*tick*tt.num/tt.den)*time.Second/90000)
				tr.push(s, tfdt, cause)
			}
		}
		var shown []int64
		for i, q := range tr.queue {
			if i > 20 { // the mapping is steady
				shown = append(shown, q.tfdt+int64(q.cto))
			}
		}
		slices.Sort(shown)
		want := int64(tick) * tt.num / tt.den
		for i := 1; i < len(shown)-4; i++ {
			if d := shown[i] - shown[i-1]; d < want*9/10 || d > want*11/10 {
				t.Errorf("%s: pictures %d and %d are %d ticks apart, want about %d", tt.rule, i-1, i, d, want)
				break
			}
		}
	}
}
