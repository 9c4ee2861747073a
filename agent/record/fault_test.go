package record_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/clock"
	"minglu/agent/durable/durabletest"
	"minglu/agent/evidence"
	"minglu/agent/record"
)

// TestDiskForgets: a disk that gives back other bytes than were written is found out when its segments
// are read back, and the digests of the log are those of the other.
func TestDiskForgets(t *testing.T) {
	cam := get(t, camera)
	synctest.Test(t, func(t *testing.T) {
		l := new(durabletest.Layer)
		r := start(t, 2, func(o *record.Options) { o.Layer = l })
		s := r.open(sessionID, "face")
		r.play(s, r.up(), part{ch: "face", clip: cam, to: 2 * time.Second, run: 1})
		synctest.Wait()
		f, err := os.OpenFile(filepath.Join(r.disks[0], "sessions", sessionID, "face-00001.mp4"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := f.ReadAt(b[:], 60_000); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := f.WriteAt(b[:], 60_000); err != nil {
			t.Fatal(err)
		}
		f.Close()
		sealed := r.seal(s, "button")
		if sealed.Err != nil || len(sealed.Disks) != 1 || sealed.Disks[0] != r.disks[1] || len(sealed.Failed) != 1 || sealed.Failed[0].Cause != "differs" {
			t.Errorf("sealed %+v", sealed)
		}
		r.stop()
		r.check(r.disks[1], sessionID, 0)
	})
}

// TestClockStep: a step of the wall clock is a line and moves no media.
func TestClockStep(t *testing.T) {
	cam := get(t, camera)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		step := time.Duration(0)
		r := start(t, 1, func(o *record.Options) {
			now := o.Now
			o.Now = func() clock.Reading {
				mu.Lock()
				defer mu.Unlock()
				c := now()
				if c.T = c.T.Add(step); step != 0 {
					c.Epoch++
				}
				return c
			}
		})
		s := r.open(sessionID, "face")
		zero := r.up()
		r.play(s, zero, part{ch: "face", clip: cam, to: 2 * time.Second, run: 1})
		mu.Lock()
		step = -time.Hour
		mu.Unlock()
		r.play(s, zero, part{ch: "face", clip: cam, from: 2 * time.Second, to: 4 * time.Second, run: 1})
		r.seal(s, "button")
		r.stop()
		var clocks []evidence.Clock
		for _, l := range r.read(r.disks[0], sessionID) {
			var c evidence.Clock
			if l.Type == "clock" && l.Decode(&c) == nil {
				clocks = append(clocks, c)
			}
		}
		if len(clocks) != 2 || clocks[1].Epoch != 2 || clocks[1].Step != -3_600_000_000 || clocks[1].At < 2_000_000 || clocks[1].At > 2_600_000 {
			t.Errorf("clock lines %+v", clocks)
		}
		if g := r.gaps(r.disks[0], sessionID); len(g) != 0 {
			t.Errorf("gaps %+v", g)
		}
		r.check(r.disks[0], sessionID, 0)
	})
}

// TestUnplugged: an absent disk's folder is not made, and a mount point left empty is not written to.
func TestUnplugged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, 2, nil)
		<-r.rec.Ready()
		gone := r.disks[0] + ".away"
		if err := os.Rename(r.disks[0], gone); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(r.disks[0], 0o755); err != nil {
			t.Fatal(err)
		}
		s := r.open(sessionID, "face")
		time.Sleep(time.Second)
		sealed := r.seal(s, "button")
		if sealed.Err != nil || len(sealed.Disks) != 1 || sealed.Disks[0] != r.disks[1] || len(sealed.Failed) != 1 {
			t.Errorf("sealed %+v", sealed)
		}
		time.Sleep(2 * record.DefaultRetry)
		if st := r.rec.Disks()[0]; st.OK || st.Cause != "unplugged" {
			t.Errorf("status %+v", st)
		}
		r.stop()
		if _, err := os.Stat(filepath.Join(r.disks[0], "sessions")); err == nil {
			t.Error("a session was written beside the mount point")
		}
	})
}

// TestFloor: at the floor a session ends by itself and is sealed on every disk.
func TestFloor(t *testing.T) {
	cam := get(t, camera)
	synctest.Test(t, func(t *testing.T) {
		l := new(durabletest.Layer)
		began := time.Now()
		l.Free = func() int64 {
			if time.Since(began) > 3*time.Second {
				return 1 << 10
			}
			return 1 << 40
		}
		r := start(t, 2, func(o *record.Options) { o.Layer = l })
		s := r.open(sessionID, "face")
		r.play(s, r.up(), part{ch: "face", clip: cam, to: 6 * time.Second, run: 1})
		sealed := r.seal(s, "too late")
		if sealed.Err != nil || sealed.Reason != "disk-full" || len(sealed.Disks) == 0 {
			t.Errorf("sealed %+v\n%s", sealed, r.logs)
		}
		r.check(sealed.Disks[0], sessionID, 0)
		r.stop()
	})
}

// TestWriteOrder: on each disk media comes before the log that signs it, and both before the ledger.
func TestWriteOrder(t *testing.T) {
	cam := get(t, camera)
	synctest.Test(t, func(t *testing.T) {
		l := new(durabletest.Layer)
		r := start(t, 2, func(o *record.Options) { o.Layer = l })
		s := r.open(sessionID, "face")
		r.play(s, r.up(), part{ch: "face", clip: cam, to: 2 * time.Second, run: 1})
		if err := r.rec.LedgerAppend(gen, 0, []byte("{}\n")); err != nil {
			t.Error(err)
		}
		r.play(s, r.up()-2*time.Second, part{ch: "face", clip: cam, from: 2 * time.Second, to: 4 * time.Second, run: 1})
		r.seal(s, "button")
		r.stop()
		for _, disk := range r.disks {
			unsynced := make(map[string]bool)
			ledger := false
			for _, op := range l.Ops() {
				if !strings.HasPrefix(op.Name, disk) {
					continue
				}
				base := filepath.Base(op.Name)
				inLedger := strings.Contains(op.Name, "/ledger/"+gen+"/")
				switch {
				case op.Verb == "write" && (base == "log.jsonl" || inLedger):
					for name := range unsynced {
						if name != op.Name {
							t.Errorf("%s was written while %s was not synced", op.Name, name)
						}
					}
					ledger = ledger || inLedger
					unsynced[op.Name] = true
				case op.Verb == "write":
					unsynced[op.Name] = true
				case op.Verb == "sync" || op.Verb == "datasync":
					delete(unsynced, op.Name)
				}
			}
			if !ledger || len(unsynced) > 0 {
				t.Errorf("ledger written: %v; left unsynced: %v", ledger, unsynced)
			}
			b, err := os.ReadFile(filepath.Join(disk, "ledger", gen, "log.jsonl"))
			if string(b) != "{}\n" {
				t.Errorf("ledger copy %q, %v", b, err)
			}
		}
	})
}

// TestCut cuts the power in the middle: the deciding signature covers all but the last second or so,
// and everything it covers is there.
func TestCut(t *testing.T) {
	cam, mic := get(t, camera), get(t, microphone)
	for _, loss := range []durabletest.Loss{durabletest.LoseAll, durabletest.LoseNone, durabletest.LoseTorn, durabletest.LoseZero} {
		synctest.Test(t, func(t *testing.T) {
			l := new(durabletest.Layer)
			r := start(t, 1, func(o *record.Options) { o.Layer, o.Segment = l, 2*time.Second })
			s := r.open(sessionID, "face", "voice")
			zero := r.up()
			r.play(s, zero, part{ch: "face", clip: cam, to: 4700 * time.Millisecond, run: 1}, part{ch: "voice", clip: mic, to: 4700 * time.Millisecond, run: 1})
			cut := t.TempDir()
			at := s.Media(r.up())
			if err := l.Cut(r.disks[0], cut, loss); err != nil {
				t.Fatal(err)
			}
			r.stop()
			b, err := os.ReadFile(filepath.Join(cut, "sessions", sessionID, "log.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			d, err := evidence.Decide(b, evidence.SessionOrigin(r.dev.id, gen, sessionID), r.dev.signer.Public())
			if err != nil {
				t.Fatal(err)
			}
			to := make(map[string]int64)
			for _, line := range lines(r, b[:d.End]) {
				var f evidence.Fragment
				if line.Type == "fragment" && line.Decode(&f) == nil {
					to[f.Ch] = f.To
				}
			}
			for _, ch := range []string{"face", "voice"} {
				if lost := at - to[ch]; lost > 1_000_000 {
					t.Errorf("loss %d: %s: %d µs are lost, promised is under a second", loss, ch, lost)
				}
			}
			res := r.check(cut, sessionID, 3) // an open session: sound, but not sealed
			for _, sp := range res.Sessions[0].Spans {
				if sp.Finding != evidence.FindingIntact && sp.Finding != evidence.FindingGap {
					t.Errorf("loss %d: %+v", loss, sp)
				}
			}
		})
	}
}
