package main

import (
	"path/filepath"
	"testing"
)

// The golden sessions of the evidence format, as the player sees them.
func TestReadSegments(t *testing.T) {
	golden := filepath.Join("evidence", "testdata", "golden", "sessions")
	for _, tt := range []struct{ rule, id string }{
		{"a whole session", "20260301T013000Z-0123abcd"},
		{"with a pause and a gap", "20260301T023000Z-0123abce"},
		{"recovered fragments are played too", "20260301T033000Z-0123abcf"},
		{"one that was never sealed", "20260301T043000Z-0123abd0"},
	} {
		channels, err := filepath.Glob(filepath.Join(golden, tt.id, "*-00001.mp4"))
		if err != nil || len(channels) == 0 {
			t.Fatalf("%s: no media: %v", tt.rule, err)
		}
		for _, name := range channels {
			ch := filepath.Base(name[:len(name)-len("-00001.mp4")])
			segs, err := readSegments(t.Context(), filepath.Join(golden, tt.id), ch)
			if err != nil || len(segs) == 0 {
				t.Fatalf("%s: %s: %v, %d segments", tt.rule, ch, err, len(segs))
			}
			for _, s := range segs {
				end := int64(0)
				for _, f := range s.Fragments {
					if f.Off < s.Init.Len || f.Off < end || f.To <= f.From || f.Off+f.Len > s.Size {
						t.Errorf("%s: %s: fragment %+v of a file of %d bytes", tt.rule, s.File, f, s.Size)
					}
					end = f.Off + f.Len
				}
				if len(s.Fragments) == 0 || s.Duration <= 0 || s.Wall == "" || len(s.Codecs) == 0 {
					t.Errorf("%s: %s is not playable: %+v", tt.rule, s.File, s)
				}
			}
		}
	}
}

func TestReadSegmentsOfAForeignChannel(t *testing.T) {
	segs, err := readSegments(t.Context(), filepath.Join("evidence", "testdata", "golden", "sessions", "20260301T013000Z-0123abcd"), "nobody")
	if err != nil || len(segs) != 0 {
		t.Errorf("readSegments() = %v, %v; want none", segs, err)
	}
}
