package scenario

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// away unmounts a disk and takes its mount point away too, as an automounter does; what it returns brings both
// back. plug is of its Spare.
func (d *Disk) away(t *testing.T, plug func()) (back func()) {
	t.Helper()
	if err := d.Unmount(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.Dir); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Mkdir(d.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		plug()
	}
}

// words is what people are told of a fault, "" if it does not stand.
func (a *Agent) words(code, ch string) string {
	a.t.Helper()
	for _, f := range a.State().Faults {
		if f.Code == code && f.Ch == ch {
			return f.Text.En + " / " + f.Do.En
		}
	}
	return ""
}

// TestStartWithoutDisks: the room starts though a disk it knows is not there, not even its folder, and records
// on the other; with none it says so, keeps trying, and records as soon as one appears.
func TestStartWithoutDisks(t *testing.T) {
	t.Parallel()
	disks := Disks(t, 2, 700)
	plugA, plugB := disks[0].Spare(t), disks[1].Spare(t)
	a := silentRoom(t, "room-absent", disks)
	a.recordOne()
	if code := a.Stop(); code != 0 {
		t.Fatalf("exit %d\n%s", code, a.Log())
	}

	back := disks[1].away(t, plugB)
	a.findings(t, "disk.present B")
	a.Restart()
	a.waitFault(15*time.Second, "B", "disk.gone")
	if w := a.words("disk.gone", "B"); !strings.Contains(w, "disk A works") {
		t.Errorf("what is said of B: %q", w)
	}
	id := a.recordOne()
	if _, err := os.Lstat(disks[1].Dir); err == nil {
		t.Error("a folder was made where the disk was")
	}
	back()
	a.waitCleared(60*time.Second, "B", "disk.gone", "copy.incomplete")
	Wait(t, 60*time.Second, "the copy on B is complete", func() bool { return files(t, a.Session(1, id))["/manifest.json.p7s"] != "" })
	if x, y := files(t, a.Session(0, id)), files(t, a.Session(1, id)); !maps.Equal(x, y) {
		t.Errorf("the copies differ: %d and %d files", len(x), len(y))
	}
	if code := a.Stop(); code != 0 {
		t.Fatalf("exit %d\n%s", code, a.Log())
	}

	backs := []func(){disks[0].away(t, plugA), disks[1].away(t, plugB)}
	a.Restart()
	a.waitFault(15*time.Second, "", "disk.none")
	a.waitFault(15*time.Second, "A", "disk.gone")
	if w := a.words("disk.gone", "A"); strings.Contains(w, "works") {
		t.Errorf("no disk works, and this is said of A: %q", w)
	}
	if s := a.State().State; s != "fault" {
		t.Errorf("the room shows %q, want fault", s)
	}
	a.Call("POST", "/session", map[string]any{"case": "测试案"}, nil, http.StatusServiceUnavailable)
	if s := a.State(); s.State != "fault" || s.Lamp != "fault" || s.Session != nil {
		t.Errorf("nothing can be recorded: %+v", s)
	}
	backs[0]()
	Wait(t, 30*time.Second, "the room records", func() bool { return a.State().Session != nil })
	id = a.State().Session.ID
	a.waitCleared(15*time.Second, "", "disk.none", "room.nothing")
	pause(2 * time.Second)
	a.End(id)
	backs[1]()
	a.waitCleared(60*time.Second, "B", "disk.gone")

	id = a.Begin() // power is cut, and the disks are slow to appear
	pause(2 * time.Second)
	a.Kill()
	backs = []func(){disks[0].away(t, plugA), disks[1].away(t, plugB)}
	a.Restart()
	a.waitFault(15*time.Second, "", "disk.none")
	backs[0]()
	backs[1]()
	Wait(t, 30*time.Second, "the room records on", func() bool { return a.State().Session != nil })
	if s := a.State().Session; s.Continues != id {
		t.Errorf("%s continues %q, want %s", s.ID, s.Continues, id)
	}
	a.End(a.State().Session.ID)
	if code := a.Stop(); code != 0 {
		t.Errorf("exit %d\n%s", code, a.Log())
	}
	expectSound(t, "--require", "0", "--trust", a.Trust(), a.disks[0], a.disks[1])
}

// TestStateIsLost: a board's system disk is lost, and with it what the device knew. Its disks are another
// device's then: nothing is written to them until a person says that they are this room's.
func TestStateIsLost(t *testing.T) {
	t.Parallel()
	a := silentRoom(t, "room-state", Disks(t, 2, 700))
	id := a.recordOne()
	if code := a.Stop(); code != 0 {
		t.Fatalf("exit %d\n%s", code, a.Log())
	}
	trust := a.Trust() + "-old"
	if err := os.Rename(a.Trust(), trust); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(a.Dir, "state"), filepath.Join(a.Dir, "lost")); err != nil {
		t.Fatal(err)
	}
	before := []map[string]string{files(t, a.disks[0]), files(t, a.disks[1])}
	a.Restart()
	a.waitFault(15*time.Second, "A", "disk.other")
	a.waitFault(15*time.Second, "B", "disk.other")
	a.waitFault(15*time.Second, "", "disk.none")
	if w := a.words("disk.other", "A"); !strings.Contains(w, "adopt --record") {
		t.Errorf("what is said of A: %q", w)
	}
	a.Stop()
	a.findings(t, "disk.other A", "disk.other B")
	expectExit(t, 0, "", "doctor", "--repair", "--config", a.Config)
	if after := files(t, a.disks[0]); !maps.Equal(before[0], after) {
		t.Errorf("disk A was written to: %q, then %q", slices.Sorted(maps.Keys(before[0])), slices.Sorted(maps.Keys(after)))
	}

	elsewhere := t.TempDir()
	if err := os.CopyFS(filepath.Join(elsewhere, "ledger"), os.DirFS(filepath.Join(a.disks[0], "ledger"))); err != nil {
		t.Fatal(err)
	}
	expectExit(t, 2, "none of storage.disks", "adopt", "--record", elsewhere, "--config", a.Config)
	expectExit(t, 0, "beside", "adopt", "--record", a.disks[0], "--config", a.Config)
	expectExit(t, 2, "this room already", "adopt", a.disks[0], "--config", a.Config)
	a.Restart()
	a.waitFault(15*time.Second, "B", "disk.other")
	next := a.recordOne()
	var s struct {
		State   string
		Adopted bool
	}
	a.Call("GET", "/sessions/"+id, nil, &s, http.StatusOK)
	if s.State != "sealed" || !s.Adopted {
		t.Errorf("the session of before, as shown: %+v", s)
	}
	if code := a.Stop(); code != 0 {
		t.Errorf("exit %d\n%s", code, a.Log())
	}
	expectSound(t, "--require", "0", "--trust", a.Trust(), a.Session(0, next))
	expectSound(t, "--require", "0", "--trust", trust, a.Session(0, id))
	if after := files(t, a.Session(0, id)); !maps.Equal(after, files(t, a.Session(1, id))) {
		t.Error("the session of before was changed")
	}
	if lines := ledgerLines(t, a.disks[0], "adopt"); len(lines) != 1 {
		t.Errorf("the ledger: %q", lines)
	}
	if after := files(t, a.disks[1]); !maps.Equal(before[1], after) {
		t.Error("disk B was written to")
	}
}
