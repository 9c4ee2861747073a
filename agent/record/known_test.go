package record_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/record"
)

const someGeneration = "00112233445566aa"

// TestKnownDiskIsAwaited: a folder in which a disk was before, and that is empty or not there at all, is a
// disk that is away: it is given no name and nothing is made. It is taken in when it comes back. Where none
// is known an empty folder is a new disk.
func TestKnownDiskIsAwaited(t *testing.T) {
	for _, c := range []struct {
		rule   string
		known  bool
		folder bool
		ok     bool
	}{{"known", true, true, false}, {"known, and no folder", true, false, false}, {"no folder", false, false, false}, {"new", false, true, true}} {
		t.Run(c.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, 2, func(o *record.Options) {
					if c.known {
						o.Known = map[string]string{o.Disks[0]: strings.Repeat("ab", 16)}
					}
					if !c.folder {
						if err := os.Remove(o.Disks[0]); err != nil {
							t.Fatal(err)
						}
					}
				})
				<-r.rec.Ready()
				if err := r.rec.LedgerAppend(someGeneration, 0, []byte("line\n")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * record.DefaultRetry)
				st := r.rec.Disks()[0]
				if st.OK != c.ok || !c.ok && st.Cause != "unplugged" {
					t.Errorf("status %+v", st)
				}
				entries, err := os.ReadDir(r.disks[0])
				if (err == nil) != c.folder || (len(entries) > 0) != c.ok {
					t.Errorf("%d entries, %v", len(entries), err)
				}
				if !c.known || c.folder {
					r.stop()
					return
				}
				if err := os.MkdirAll(filepath.Join(r.disks[0], "ledger"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(r.disks[0], "ledger", "disk.json"), []byte(`{"id":"`+strings.Repeat("ab", 16)+`"}`), 0o644); err != nil {
					t.Fatal(err)
				}
				time.Sleep(record.DefaultRetry + time.Second)
				synctest.Wait()
				if st := r.rec.Disks()[0]; !st.OK || st.ID != strings.Repeat("ab", 16) {
					t.Errorf("it came back: %+v", st)
				}
				r.stop()
			})
		})
	}
}

// TestDiskIsMovedAway: a disk whose folder goes, or empties, or holds another disk, is told within two
// seconds, recorded on or not, and nothing is made where it was. The other disk has everything. When it is
// back it is used again.
func TestDiskIsMovedAway(t *testing.T) {
	cam := get(t, camera)
	for _, instead := range []string{"nothing", "an empty folder", "another disk"} {
		for _, then := range []string{"idle", "a ledger line", "a session"} {
			recorded := then == "a session"
			t.Run(instead+", "+then, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := start(t, 2, func(o *record.Options) {
						o.Segment = time.Minute // no file is made that would tell
						o.Foreign = func(_, id string) bool { return id == strings.Repeat("cd", 16) }
					})
					<-r.rec.Ready()
					dir, away := r.disks[0], r.disks[0]+".away"
					var s *record.Session
					zero := r.up()
					if recorded {
						s = r.open(sessionID, "face")
						r.play(s, zero, part{ch: "face", clip: cam, to: time.Second, run: 1})
					}
					if err := os.Rename(dir, away); err != nil {
						t.Fatal(err)
					}
					switch instead {
					case "an empty folder":
						if err := os.Mkdir(dir, 0o755); err != nil {
							t.Fatal(err)
						}
					case "another disk":
						if err := os.MkdirAll(filepath.Join(dir, "ledger"), 0o755); err != nil {
							t.Fatal(err)
						}
						if err := os.WriteFile(filepath.Join(dir, "ledger", "disk.json"), []byte(`{"id":"`+strings.Repeat("cd", 16)+`"}`), 0o644); err != nil {
							t.Fatal(err)
						}
					}
					if then == "a ledger line" {
						if err := r.rec.LedgerAppend(someGeneration, 0, []byte("line\n")); err != nil {
							t.Fatal(err)
						}
						synctest.Wait()
						if st := r.rec.Disks()[0]; st.OK {
							t.Error("a line was to be written, and the disk is thought to be there")
						}
					}
					if recorded {
						r.play(s, zero, part{ch: "face", clip: cam, from: time.Second, to: 3 * time.Second, run: 1})
					} else {
						time.Sleep(2 * time.Second)
					}
					synctest.Wait()
					r.mu.Lock()
					events := len(r.events)
					r.mu.Unlock()
					if st := r.rec.Disks()[0]; st.OK || events != 1 || r.events[0].Code() != "disk.gone" {
						t.Errorf("two seconds later: %+v, told %+v", st, r.events)
					}
					var made []string
					if err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
						made = append(made, strings.TrimPrefix(p, dir))
						return err
					}); err != nil && !os.IsNotExist(err) {
						t.Fatal(err)
					}
					if want := map[string]int{"nothing": 1, "an empty folder": 1, "another disk": 3}[instead]; len(made) != want {
						t.Errorf("where the disk was there is now %q", made)
					}
					if recorded {
						if sealed := r.seal(s, "button"); sealed.Err != nil || len(sealed.Disks) != 1 || sealed.Disks[0] != r.disks[1] {
							t.Errorf("sealed %+v", sealed)
						}
						r.check(r.disks[1], sessionID, 0)
					}
					if err := os.RemoveAll(dir); err != nil {
						t.Fatal(err)
					}
					if err := os.Rename(away, dir); err != nil {
						t.Fatal(err)
					}
					time.Sleep(record.DefaultRetry + time.Second)
					synctest.Wait()
					if st := r.rec.Disks()[0]; !st.OK {
						t.Errorf("it is back: %+v", st)
					}
					r.stop()
				})
			})
		}
	}
}

// TestForeignDisk: a disk of another device is only read (R12).
func TestForeignDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := strings.Repeat("cd", 16)
		synced := ""
		r := start(t, 2, func(o *record.Options) {
			if err := os.MkdirAll(filepath.Join(o.Disks[0], "ledger"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(o.Disks[0], "ledger", "disk.json"), []byte(`{"id":"`+id+`"}`), 0o644); err != nil {
				t.Fatal(err)
			}
			o.Foreign = func(dir, is string) bool { return dir == o.Disks[0] && is == id }
			o.LedgerSync = func(disk string) error { synced += disk; return nil }
		})
		<-r.rec.Ready()
		s := r.open(sessionID, "face")
		if sealed := r.seal(s, "button"); sealed.Err != nil || len(sealed.Disks) != 1 {
			t.Errorf("sealed %+v", sealed)
		}
		st := r.rec.Disks()[0]
		if st.OK || st.Cause != "foreign" || synced != r.disks[1] || len(r.events) != 1 || r.events[0].Code() != "disk.other" {
			t.Errorf("status %+v, ledger copied to %s, told %+v", st, synced, r.events)
		}
		entries, err := os.ReadDir(r.disks[0])
		if err != nil || len(entries) != 1 {
			t.Errorf("it was written to: %v %v", entries, err)
		}
		r.stop()
	})
}

// TestForeignDiskComes: another device's disk is put where one's own was, with an id or without: people are told
// of it instead of the absence, and nothing is written.
func TestForeignDiskComes(t *testing.T) {
	for _, named := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, 2, func(o *record.Options) {
				o.Known = map[string]string{o.Disks[0]: strings.Repeat("ab", 16)}
				if !named {
					o.Known = nil
				}
				if err := os.Remove(o.Disks[0]); err != nil {
					t.Fatal(err)
				}
				o.Foreign = func(dir, id string) bool { return dir == o.Disks[0] && (id != "") == named }
			})
			<-r.rec.Ready()
			put := "sessions"
			if named {
				put = "ledger"
			}
			if err := os.MkdirAll(filepath.Join(r.disks[0], put), 0o755); err != nil {
				t.Fatal(err)
			}
			if named {
				if err := os.WriteFile(filepath.Join(r.disks[0], "ledger", "disk.json"), []byte(`{"id":"`+strings.Repeat("cd", 16)+`"}`), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(3 * record.DefaultRetry)
			synctest.Wait()
			var told []string
			for _, e := range r.events {
				told = append(told, e.Code())
			}
			entries, err := os.ReadDir(r.disks[0])
			if strings.Join(told, " ") != "disk.gone disk.other" || err != nil || len(entries) != 1 {
				t.Errorf("named %t: told %q; on it %v, %v", named, told, entries, err)
			}
			r.stop()
		})
	}
}
