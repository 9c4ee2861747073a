package recovery_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/record/recovery"
)

// cutLayer ends the goroutine that uses it at its n-th operation, as kill -9 would, with half of a
// write done. With lose, whatever was not synced by then is undone, as a power cut would.
type cutLayer struct {
	durable.OS
	t    testing.TB
	n    int // operations until the cut
	lose bool
	undo []undo
}

// undo takes back one operation that only a sync of the file or folder at makes durable.
type undo struct {
	at string
	do func() error
}

func (l *cutLayer) step() (last bool) {
	l.n--
	return l.n == 0
}

// op counts one operation; at the last one it does cut instead of returning.
func (l *cutLayer) op() {
	if l.step() {
		l.die()
	}
}

func (l *cutLayer) die() {
	if l.lose {
		for _, u := range slices.Backward(l.undo) {
			if err := u.do(); err != nil {
				l.t.Error("undo:", err)
			}
		}
	}
	runtime.Goexit()
}

func (l *cutLayer) later(at string, do func() error) { l.undo = append(l.undo, undo{at, do}) }

func (l *cutLayer) synced(at string) {
	l.undo = slices.DeleteFunc(l.undo, func(u undo) bool { return u.at == at })
}

func (l *cutLayer) OpenFile(name string, flag int, perm fs.FileMode) (durable.Handle, error) {
	_, err := os.Lstat(name)
	if fresh := errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0; fresh {
		l.op()
		l.later(filepath.Dir(name), func() error {
			if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil // renamed since
		})
	}
	h, err := l.OS.OpenFile(name, flag, perm)
	return &cutHandle{h, l, name}, err
}

func (l *cutLayer) Mkdir(name string, perm fs.FileMode) error {
	l.op()
	err := l.OS.Mkdir(name, perm)
	if err == nil {
		l.later(filepath.Dir(name), func() error { return os.RemoveAll(name) })
	}
	return err
}

func (l *cutLayer) Rename(from, to string) error { return l.rename(from, to, l.OS.Rename) }

func (l *cutLayer) RenameNew(from, to string) error { return l.rename(from, to, l.OS.RenameNew) }

func (l *cutLayer) rename(from, to string, do func(from, to string) error) error {
	l.op()
	old, oldErr := os.ReadFile(to)
	err := do(from, to)
	if err == nil {
		l.later(filepath.Dir(to), func() error {
			if err := os.Rename(to, from); err != nil || oldErr != nil {
				return err
			}
			return os.WriteFile(to, old, 0o644)
		})
	}
	return err
}

func (l *cutLayer) Remove(name string) error {
	l.op()
	b, err := os.ReadFile(name)
	if err != nil {
		return l.OS.Remove(name)
	}
	l.later(filepath.Dir(name), func() error { return os.WriteFile(name, b, 0o644) })
	return l.OS.Remove(name)
}

func (l *cutLayer) SyncDir(name string) error {
	l.op()
	l.synced(name)
	return nil // what a cut leaves is simulated: the real disk need not be waited for
}

type cutHandle struct {
	durable.Handle
	l    *cutLayer
	name string
}

// restore is the undo of a change of the file's bytes.
func (h *cutHandle) restore() {
	b, err := os.ReadFile(h.name)
	if err != nil {
		h.l.t.Error(err)
	}
	h.l.later(h.name, func() error { return os.WriteFile(h.name, b, 0o644) })
}

func (h *cutHandle) WriteAt(p []byte, off int64) (int, error) {
	h.restore()
	if h.l.step() {
		if _, err := h.Handle.WriteAt(p[:len(p)/2], off); err != nil {
			h.l.t.Error(err)
		}
		h.l.die()
	}
	return h.Handle.WriteAt(p, off)
}

func (h *cutHandle) Truncate(size int64) error {
	h.restore()
	h.l.op()
	return h.Handle.Truncate(size)
}

func (h *cutHandle) Datasync() error { return h.Sync() }

func (h *cutHandle) Sync() error {
	h.l.op()
	h.l.synced(h.name)
	return nil
}

// fastLayer is the real one but for the syncs.
func fastLayer(t testing.TB) durable.Layer { return &cutLayer{t: t, n: -1} }

// cutLedger lets calls of the ledger count as operations too.
type cutLedger struct {
	*fakeLedger
	l *cutLayer
}

func (c cutLedger) Head(session, log string, size int64, root evidence.Hash) error {
	c.l.op()
	return c.fakeLedger.Head(session, log, size, root)
}

func (c cutLedger) Sealed(session, m, p string) error {
	c.l.op()
	return c.fakeLedger.Sealed(session, m, p)
}

func (c cutLedger) Amend(session string, n int64, sha256 string) error {
	c.l.op()
	return c.fakeLedger.Amend(session, n, sha256)
}

// copyDisks makes a second pair of disks with the same bytes.
func copyDisks(t testing.TB, disks []recovery.Disk) []recovery.Disk {
	t.Helper()
	var out []recovery.Disk
	for _, d := range disks {
		c := recovery.Disk{ID: d.ID, Dir: states(t)}
		must(t, os.CopyFS(c.Dir, os.DirFS(d.Dir)))
		out = append(out, c)
	}
	return out
}

// A recovery that is cut after any operation, and then cut again a little later, and then let run, ends
// as one that was never cut (R11). Salts and clock are fixed here, so that means: the same bytes.
func TestCutAnywhere(t *testing.T) {
	for _, tt := range []struct {
		rule string
		both bool // cut each operation both ways, else in turn: it takes its time
		make func(w *world) []recovery.Disk
	}{
		{"one disk with a torn end", true, func(w *world) []recovery.Disk {
			d := w.disk("a", 5)
			w.tail(d, 5, tail{media(all), half})
			w.tail(d, 6, tail{media(half), none})
			return []recovery.Disk{d}
		}},
		{"two disks, one behind, both torn", false, func(w *world) []recovery.Disk {
			a, b := w.disk("a", 3), w.disk("b", 6)
			w.tail(a, 3, tail{media(zeros(500)), half})
			w.tail(b, 6, tail{media(all), zeros(100)})
			return []recovery.Disk{a, b}
		}},
		{"two disks that differ", false, func(w *world) []recovery.Disk {
			a, b := w.disk("a", 5), w.disk("b", 5)
			w.tail(a, 5, tail{media(all), none})
			w.tail(b, 5, tail{media(func(b []byte) []byte { c := slices.Clone(b); c[len(c)-1] ^= 1; return c }), none})
			return []recovery.Disk{a, b}
		}},
		{"a segment nobody signed, on one of two disks", false, func(w *world) []recovery.Disk {
			a, b := w.disk("a", 4), w.disk("b", 4)
			w.tail(b, 4, tail{media(all), none})
			return []recovery.Disk{a, b}
		}},
		{"a sealed log, the other disk behind with zeros", false, func(w *world) []recovery.Disk {
			w.end()
			a, b := w.disk("a", len(w.batches)), w.disk("b", 8)
			w.tail(b, 8, tail{media(zeros(64)), zeros(64)})
			return []recovery.Disk{a, b}
		}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			w := tenCycles(t)
			origin := tt.make(w)
			led := *w.led
			fresh := func() {
				w.led = &fakeLedger{log: w.newLog(led.Origin(), w.options(nil).Now).(*ledger.SessionLog)}
			}
			run := func(l *cutLayer, disks []recovery.Disk) (done bool) {
				o := w.options(l, disks...)
				o.Ledger = cutLedger{w.led, l}
				end := make(chan bool)
				go func() {
					defer close(end)
					rep, err := recovery.Run(context.Background(), o)
					if err != nil || len(rep.Items) > 1 || len(rep.Items) == 1 && rep.Items[0].Err != nil {
						t.Errorf("Run() = %+v, %v", rep, err)
					}
					end <- true
				}()
				return <-end
			}
			fresh()
			want := copyDisks(t, origin)
			if !run(&cutLayer{t: t, n: -1}, want) {
				t.Fatal("the uncut recovery did not end")
			}
			for n := 1; ; n++ {
				for _, lose := range []bool{false, true} {
					if !tt.both && lose == (n%2 == 0) {
						continue
					}
					fresh()
					disks := copyDisks(t, origin)
					if run(&cutLayer{t: t, n: n, lose: lose}, disks) {
						if n < 20 {
							t.Fatalf("only %d operations: is the layer in use?", n)
						}
						t.Logf("%d operations", n-1)
						return
					}
					run(&cutLayer{t: t, n: n/2 + 1, lose: lose}, disks)
					run(&cutLayer{t: t, n: -1}, disks)
					for i := range disks {
						if diff := differ(contents(t, folder(want[i])), contents(t, folder(disks[i]))); len(diff) > 0 {
							t.Fatalf("cut at %d, lose %v: disk %s differs in %q", n, lose, disks[i].ID, diff)
						}
						if r := w.verify(disks[i]); r.Exit != 3 && r.Exit != 0 {
							t.Fatalf("cut at %d, lose %v: verify exits %d: %s", n, lose, r.Exit, brief(r))
						}
						must(t, os.RemoveAll(disks[i].Dir))
					}
				}
			}
		})
	}
}
