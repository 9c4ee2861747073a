package scenario

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mirrorRoom is a room with simulated devices and two disks, of which b can be pulled out and plugged in.
func mirrorRoom(t *testing.T) (a *Agent, pull, plug func()) {
	t.Helper()
	disks := Disks(t, 2, 500)
	plug = disks[1].Spare(t)
	a = lab.Start(t, Room{
		Channels: map[string]string{"face": SimCamera, "voice": SimMicrophone}, Disks: []string{disks[0].Dir, disks[1].Dir},
		Segment: "10s", Preroll: "1s", Postroll: "0s",
	})
	a.WaitLive(20 * time.Second)
	pull = func() {
		if err := disks[1].Unmount(); err != nil {
			t.Fatal(err)
		}
	}
	return a, pull, plug
}

// files is every file of a session folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		all[strings.TrimPrefix(p, dir)] = string(b)
		return err
	}); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return all
}

// TestDiskComesBack: a disk is pulled out in the middle of a session and plugged in after the seal. Its
// copy is completed beside everything else, also when the agent is killed while it copies.
func TestDiskComesBack(t *testing.T) {
	t.Parallel()
	a, pull, plug := mirrorRoom(t)
	id := a.Begin()
	pause(3 * time.Second)
	pull()
	a.waitFault(30*time.Second, "B", "disk.gone", "disk.failed")
	a.End(id)
	if got := files(t, a.Session(1, id)); len(got) > 0 {
		t.Fatalf("the empty mount point was written to: %d files", len(got))
	}
	plug()
	if got := files(t, a.Session(1, id)); got["/manifest.json"] != "" || got["/log.jsonl"] == "" {
		t.Fatalf("the copy on B should be cut short: %d files", len(got))
	}
	killed := 0
	Wait(t, 60*time.Second, "the agent copies", func() bool { // killed while it writes a file, or just after
		entries, err := os.ReadDir(filepath.Join(a.disks[1], "tmp", "mirror"))
		if err == nil && len(entries) > 0 && killed == 0 {
			a.Kill()
			killed = len(entries)
		}
		return killed > 0 || files(t, a.Session(1, id))["/manifest.json.p7s"] != ""
	})
	t.Logf("killed while copying: %v", killed > 0)
	if killed > 0 {
		got := files(t, a.Session(1, id))
		t.Logf("after the kill: %d files on B", len(got))
		expectSound(t, "--require", "0", "--trust", a.Trust(), a.Session(0, id), a.Session(1, id))
		a.Restart()
	}
	a.waitCleared(60*time.Second, "B", "copy.incomplete", "disk.gone", "disk.failed")
	Wait(t, 60*time.Second, "the copy on B is complete", func() bool { return files(t, a.Session(1, id))["/manifest.json.p7s"] != "" })
	if x, y := files(t, a.Session(0, id)), files(t, a.Session(1, id)); !maps.Equal(x, y) {
		t.Errorf("the copies differ: %d and %d files", len(x), len(y))
	}
	for _, paths := range [][]string{{a.Session(0, id), a.Session(1, id)}, {a.Session(1, id)}, {a.disks[0], a.disks[1]}} {
		expectSound(t, append([]string{"--require", "0", "--trust", a.Trust()}, paths...)...)
	}
	for _, f := range a.State().Faults {
		if f.Code == "session.recovered" {
			t.Errorf("a copy was completed, and people are told of a repair: %s", f.Ch)
		}
	}
	if code := a.Stop(); code != 0 {
		t.Errorf("exit %d\n%s", code, a.Log())
	}

	// A start without the disk: its empty mount point is no new disk.
	pull()
	a.Restart()
	a.waitFault(15*time.Second, "B", "disk.gone")
	if entries, err := os.ReadDir(a.disks[1]); err != nil || len(entries) > 0 {
		t.Errorf("the empty mount point was written to: %v %v", entries, err)
	}
	plug()
	a.waitCleared(30*time.Second, "B", "disk.gone")
	if code := a.Stop(); code != 0 {
		t.Errorf("exit %d\n%s", code, a.Log())
	}
}

// TestSealIsRetried: a room with one disk loses it in the middle of a session. When the disk is back the
// session is sealed with its true cause, without a restart, and the room has recorded on.
func TestSealIsRetried(t *testing.T) {
	t.Parallel()
	disk := Disks(t, 1, 700)[0]
	plug := disk.Spare(t)
	a := lab.Start(t, Room{Channels: map[string]string{"voice": SimMicrophone}, Disks: []string{disk.Dir}, Segment: "10s", Preroll: "1s", Postroll: "0s"})
	a.WaitLive(20 * time.Second)
	id := a.Begin()
	pause(2 * time.Second)
	if err := disk.Unmount(); err != nil {
		t.Fatal(err)
	}
	a.waitFault(40*time.Second, id, "seal.failed")
	plug()
	a.waitCleared(60*time.Second, id, "seal.failed")
	folder := a.Session(0, id)
	if files(t, folder)["/manifest.json.p7s"] == "" {
		t.Fatalf("not sealed\n%s", a.Log())
	}
	code, out := lab.Verify(t, "--require", "0", "--trust", a.Trust(), folder)
	if code != 3 || !strings.Contains(files(t, folder)["/manifest.json"], `"reason":"disk-failed"`) {
		t.Errorf("verify exits %d, want 3\n%s", code, out)
	}
	Wait(t, 30*time.Second, "the room records on", func() bool { s := a.State().Session; return s != nil && s.ID != id && s.Continues == id })
	a.End(a.State().Session.ID)
	if code := a.Stop(); code != 0 {
		t.Errorf("exit %d\n%s", code, a.Log())
	}
}
