package record_test

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/record"
)

const ms = time.Millisecond

// TestHoles: each hole in a channel is one gap line with its cause, and nothing else is.
func TestHoles(t *testing.T) {
	cam := get(t, camera)
	type gap struct {
		from, to time.Duration // of media time, ±50 ms
		cause    string
	}
	for _, tt := range []struct {
		rule string
		play func(r *room, s *record.Session, zero time.Duration)
		want []gap
	}{
		{"unbroken media has none", func(r *room, s *record.Session, zero time.Duration) {
			r.play(s, zero, part{ch: "face", clip: cam, to: 3 * time.Second, run: 1})
		}, nil},
		{"lost packets leave a hole of their own", func(r *room, s *record.Session, zero time.Duration) {
			r.play(s, zero, part{ch: "face", clip: cam, to: 1400 * ms, run: 1})
			s.Lost("face", 0, "packets lost")
			time.Sleep(300 * ms)
			for _, m := range cam.samples {
				if m.At >= 1720*ms && m.At < 3*time.Second {
					if m.Track == 1 {
						continue
					}
					m.At += zero
					s.Write("face", m)
				}
			}
			time.Sleep(1300 * ms)
		}, []gap{{1400 * ms, 1720 * ms, "packets lost"}, {1400 * ms, 3000 * ms, "sound: no data"}}},
		{"a lost connection, anchored anew at a keyframe", func(r *room, s *record.Session, zero time.Duration) {
			r.play(s, zero, part{ch: "face", clip: cam, to: 1500 * ms, run: 1})
			r.play(s, zero, part{ch: "face", clip: cam, from: 1500 * ms, to: 4 * time.Second, shift: time.Second, run: 2})
		}, []gap{{1500 * ms, 3000 * ms, "connection lost"}}},
		{"a channel that comes late", func(r *room, s *record.Session, zero time.Duration) {
			r.play(s, zero, part{ch: "face", clip: cam, to: 2 * time.Second, shift: time.Second, run: 1})
		}, []gap{{0, time.Second, "started late"}}},
		{"a channel that is gone before the end", func(r *room, s *record.Session, zero time.Duration) {
			r.play(s, zero, part{ch: "face", clip: cam, to: 2 * time.Second, run: 1})
			s.Lost("face", -1, "connection lost")
			time.Sleep(3 * time.Second)
		}, []gap{{2 * time.Second, 5 * time.Second, "connection lost"}}},
		{"a channel that never comes", func(r *room, s *record.Session, zero time.Duration) {
			time.Sleep(3 * time.Second)
		}, []gap{{0, 3 * time.Second, "never delivered"}}},
		{"a break is not a gap", func(r *room, s *record.Session, zero time.Duration) {
			r.play(s, zero, part{ch: "face", clip: cam, to: 1500 * ms, run: 1})
			s.Pause("rest", "officer")
			r.play(s, zero, part{ch: "face", clip: cam, from: 1500 * ms, to: 3500 * ms, run: 1})
			s.Resume("go on", "officer")
			r.play(s, zero, part{ch: "face", clip: cam, from: 3500 * ms, to: 5500 * ms, run: 1})
		}, nil},
		{"a session that begins with a break lacks nothing before it", func(r *room, s *record.Session, zero time.Duration) {
			time.Sleep(2 * ms)
			s.Pause("goes on after a power cut", "officer")
			time.Sleep(1498 * ms)
			s.Resume("", "officer")
			r.play(s, zero, part{ch: "face", clip: cam, from: 1500 * ms, to: 4 * time.Second, run: 1})
		}, nil},
		{"one that resumes from it without the camera does", func(r *room, s *record.Session, zero time.Duration) {
			time.Sleep(2 * ms)
			s.Pause("goes on after a power cut", "officer")
			time.Sleep(1498 * ms)
			s.Resume("", "officer")
			time.Sleep(2500 * ms)
		}, []gap{{1500 * ms, 4 * time.Second, "no data"}}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, 1, nil)
				s := r.open(sessionID, "face")
				tt.play(r, s, r.up())
				if sealed := r.seal(s, "button"); sealed.Err != nil {
					t.Fatalf("sealed %+v\n%s", sealed, r.logs)
				}
				r.stop()
				got := r.gaps(r.disks[0], sessionID)
				near := func(us int64, d time.Duration) bool { return (time.Duration(us)*time.Microsecond - d).Abs() <= 60*ms }
				ok := len(got) == len(tt.want)
				for i := 0; ok && i < len(got); i++ {
					ok = near(got[i].From, tt.want[i].from) && near(got[i].To, tt.want[i].to) && got[i].Cause == tt.want[i].cause
				}
				if !ok {
					t.Errorf("gaps %+v, want %v", got, tt.want)
				}
				exit := 3
				if len(tt.want) == 0 && !strings.Contains(tt.rule, "break") {
					exit = 0
				}
				res := r.check(r.disks[0], sessionID, exit)
				for _, sp := range res.Sessions[0].Spans {
					if sp.Cause == "undeclared" {
						t.Errorf("%+v", sp)
					}
				}
			})
		})
	}
}

// TestFormatChange: other parameter sets begin another file, and every file is decodable alone.
func TestFormatChange(t *testing.T) {
	cam, big := get(t, camera), get(t, larger)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, 1, nil)
		s := r.open(sessionID, "face")
		zero := r.up()
		r.play(s, zero, part{ch: "face", clip: cam, to: 2 * time.Second, run: 1})
		r.play(s, zero, part{ch: "face", clip: big, from: 2 * time.Second, to: 4 * time.Second, run: 2})
		if sealed := r.seal(s, "button"); sealed.Err != nil {
			t.Fatalf("sealed %+v\n%s", sealed, r.logs)
		}
		r.stop()
		for _, f := range []string{"face-00001.mp4", "face-00002.mp4"} {
			if n := probe(t, filepath.Join(r.disks[0], "sessions", sessionID, f)); n < 140 {
				t.Errorf("%s has %d frames", f, n)
			}
		}
		r.check(r.disks[0], sessionID, 0)
	})
}

// TestPreroll: what is handed over at once is cut and signed in pieces of at most ahead_ms.
func TestPreroll(t *testing.T) {
	cam := get(t, camera)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, 1, nil)
		time.Sleep(6 * time.Second)
		<-r.rec.Ready()
		o := r.opening(sessionID, "face")
		o.Zero = r.up() - 6*time.Second
		s, err := r.rec.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		r.play(s, o.Zero, part{ch: "face", clip: cam, to: 6 * time.Second, run: 1})
		if sealed := r.seal(s, "button"); sealed.Err != nil {
			t.Fatalf("sealed %+v\n%s", sealed, r.logs)
		}
		r.stop()
		r.check(r.disks[0], sessionID, 0)
		media, signs := int64(0), 0
		for _, line := range r.read(r.disks[0], sessionID) {
			var f evidence.Fragment
			switch {
			case line.Type == "sign":
				media = 0
				signs++
			case line.Type == "fragment" && line.Decode(&f) == nil:
				if media += f.To - f.From; media > 1_500_000 {
					t.Errorf("%d µs of media before a sign line", media)
				}
				if f.To-f.From > 500_000 {
					t.Errorf("a fragment of %d µs", f.To-f.From)
				}
			}
		}
		if signs < 5 {
			t.Errorf("%d sign lines", signs)
		}
	})
}

// TestOverlap: a session may be opened while the one before is being sealed.
func TestOverlap(t *testing.T) {
	cam := get(t, camera)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, 2, nil)
		release := make(chan struct{})
		s1 := r.open(sessionID, "face")
		zero := r.up()
		r.play(s1, zero, part{ch: "face", clip: cam, to: time.Second, run: 1})
		synctest.Wait()
		r.ledger.onHead = func() error { <-release; return nil }
		s1.Close("button")
		s2 := r.open("20260301T020000Z-0123abcd", "face")
		r.play(s2, zero, part{ch: "face", clip: cam, from: time.Second, to: 3 * time.Second, run: 1})
		close(release)
		if sealed := r.seal(s1, "again"); sealed.Err != nil || sealed.Reason != "button" {
			t.Errorf("first: %+v", sealed)
		}
		if sealed := r.seal(s2, "button"); sealed.Err != nil {
			t.Errorf("second: %+v", sealed)
		}
		r.stop()
		r.check(r.disks[1], sessionID, 0)
	})
}

// TestKeyframeFirst: nothing is recorded before the first keyframe.
func TestKeyframeFirst(t *testing.T) {
	cam := get(t, camera)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, 1, nil)
		s := r.open(sessionID, "face")
		zero := r.up()
		r.play(s, zero, part{ch: "face", clip: cam, from: 400 * ms, to: 3 * time.Second, run: 1})
		r.seal(s, "button")
		r.stop()
		got := r.gaps(r.disks[0], sessionID)
		if len(got) != 1 || got[0].From != 0 || got[0].To != 1_000_000 {
			t.Errorf("gaps %+v, want one up to the first keyframe", got)
		}
		probe(t, filepath.Join(r.disks[0], "sessions", sessionID, "face-00001.mp4"))
	})
}

// TestSaysThatItRecords: a log that nothing is written to ends where the agent died, as far as anybody
// can tell; so a session without media goes on being signed, in a break not.
func TestSaysThatItRecords(t *testing.T) {
	cam := get(t, camera)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, 1, nil)
		s := r.open(sessionID, "face")
		zero := r.up()
		r.play(s, zero, part{ch: "face", clip: cam, to: 6 * time.Second, run: 1})
		if n := r.kinds(r.disks[0], sessionID)["clock"]; n != 1 {
			t.Errorf("%d clock lines while media comes", n)
		}
		time.Sleep(35 * time.Second)
		if n := r.kinds(r.disks[0], sessionID)["clock"]; n != 4 {
			t.Errorf("%d clock lines after 35 s without media, want 3 more than 1", n)
		}
		s.Pause("rest", "officer")
		time.Sleep(35 * time.Second)
		if n := r.kinds(r.disks[0], sessionID)["clock"]; n != 4 {
			t.Errorf("%d clock lines after a break, want as many as before it", n)
		}
		if sealed := r.seal(s, "button"); sealed.Err != nil {
			t.Fatalf("sealed %+v\n%s", sealed, r.logs)
		}
		r.stop()
		r.check(r.disks[0], sessionID, 3)
	})
}
