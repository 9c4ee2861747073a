package record_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/evidence"
	"minglu/drivers"
)

// TestShownStandsInTheRecord: whose time is seen in the pictures, from which file on.
func TestShownStandsInTheRecord(t *testing.T) {
	cam := get(t, camera)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, 1, nil)
		s := r.open(sessionID, "face")
		zero := r.up()
		for i, shown := range []drivers.Shown{
			{},
			{Time: drivers.ShownByBoard, Place: drivers.ShownByBoard},
			{Time: drivers.ShownByCam, Climate: drivers.ShownByNone, Stated: "王某 2026-11-25"},
		} {
			s.Describe("face", drivers.Description{Formats: cam.formats[:1], Shown: shown})
			for _, m := range cam.samples {
				if m.Track != 0 || m.At >= time.Second {
					continue
				}
				m.At += zero + time.Duration(i)*time.Second
				m.DTS += int64(i) * 90000
				m.PTS += int64(i) * 90000
				time.Sleep(m.At - r.up())
				s.Write("face", m)
			}
		}
		if sealed := r.seal(s, "button"); sealed.Err != nil {
			t.Fatalf("sealed %+v\n%s", sealed, r.logs)
		}
		r.stop()
		b, err := os.ReadFile(filepath.Join(r.disks[0], "sessions", sessionID, "log.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		want := []map[string]string{nil, {"time": "board", "place": "board"}, {"time": "camera", "climate": "none", "stated": "王某 2026-11-25"}}
		n := 0
		for _, line := range lines(r, b) {
			var o evidence.SegmentOpen
			if line.Type != "segment.open" {
				continue
			}
			if err := line.Decode(&o); err != nil || n >= len(want) || !maps.Equal(o.Shown, want[n]) {
				t.Errorf("file %d: shown %v, %v", n+1, o.Shown, err)
			}
			n++
		}
		if n != len(want) {
			t.Errorf("%d files, want one for each thing that is shown", n)
		}
		r.check(r.disks[0], sessionID, 0)
	})
}
