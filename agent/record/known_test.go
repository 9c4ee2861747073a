package record_test

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"minglu/agent/record"
)

// TestKnownDiskIsAwaited: an empty folder in which a disk was before is a disk that is not mounted: it is
// given no name and nothing is made in it. Where none is known it is a new disk.
func TestKnownDiskIsAwaited(t *testing.T) {
	for _, c := range []struct {
		rule  string
		known bool
		ok    bool
	}{{"known", true, false}, {"new", false, true}} {
		t.Run(c.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, 2, func(o *record.Options) {
					if c.known {
						o.Known = map[string]string{o.Disks[0]: strings.Repeat("ab", 16)}
					}
				})
				<-r.rec.Ready()
				st := r.rec.Disks()[0]
				entries, err := os.ReadDir(r.disks[0])
				if st.OK != c.ok || !c.ok && st.Cause != "unplugged" || err != nil || (len(entries) > 0) != c.ok {
					t.Errorf("status %+v, %d entries, %v", st, len(entries), err)
				}
				r.stop()
			})
		})
	}
}
