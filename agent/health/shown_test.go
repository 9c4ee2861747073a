package health

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"minglu/agent/standard"
	"minglu/drivers"
)

// TestTextInPictures: known where this board draws it or a person says so, never guessed.
func TestTextInPictures(t *testing.T) {
	r, d := shoot(t)
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, r, d)
		for _, tt := range []struct {
			rule    string
			shown   drivers.Shown
			measure string
			known   bool
			want    bool
			says    string // in how it is known, or why not
		}{
			{"a camera's own pictures are not read", drivers.Shown{}, "picture.time_overlay", false, false, "camera.shown"},
			{"drawn by this board", drivers.Shown{Time: drivers.ShownByBoard}, "picture.time_overlay", true, true, "drawn by this board"},
			{"what is not drawn is not known", drivers.Shown{Time: drivers.ShownByBoard}, "picture.climate_overlay", false, false, "camera.shown"},
			{"a person saw the camera's time", drivers.Shown{Time: drivers.ShownByCam, Place: drivers.ShownByNone, Stated: "王某 2026-11-25"}, "picture.time_overlay", true, true, "stated by 王某 2026-11-25"},
			{"a person saw that there is no place", drivers.Shown{Time: drivers.ShownByCam, Place: drivers.ShownByNone, Stated: "王某 2026-11-25"}, "picture.place_overlay", true, false, "stated by 王某 2026-11-25"},
		} {
			w.set(func() { w.facts.Channels[0].Shown = tt.shown })
			w.run(2)
			ms := w.h.Latest().Measurements
			i := slices.IndexFunc(ms, func(m standard.Measurement) bool { return m.Measure == tt.measure && m.Subject == "face" })
			if i < 0 {
				t.Fatalf("%s: not measured", tt.rule)
			}
			m := ms[i]
			if m.Known() != tt.known || tt.known && m.Value != standard.Bool(tt.want) || !strings.Contains(m.How.En+m.Unknown.En, tt.says) {
				t.Errorf("%s: %+v", tt.rule, m)
			}
		}
		w.stop()
	})
}
