package scenario

import (
	"os"
	"testing"
	"time"
)

// TestStartAtOnce asks for a recording as soon as the page answers, while both disks are still slow to
// answer their first look: it is not refused, and both disks hold it.
func TestStartAtOnce(t *testing.T) {
	t.Parallel()
	disks := Disks(t, 2, 300)
	for _, d := range disks {
		thaw, err := d.Freeze()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(thaw)
		time.AfterFunc(2*time.Second, thaw)
	}
	a := lab.Start(t, Room{Channels: map[string]string{"face": SimCamera}, Disks: []string{disks[0].Dir, disks[1].Dir}, Postroll: "0s"})
	id := a.Begin()
	a.End(id)
	for disk := range disks {
		if _, err := os.Stat(a.Session(disk, id) + "/manifest.json"); err != nil {
			t.Error(err)
		}
	}
}
