package record_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/durable"
	"minglu/agent/durable/durabletest"
	"minglu/agent/evidence"
	"minglu/agent/fmp4"
	"minglu/agent/record"
)

// TestCutAgainstTheOrder cuts the power at many moments and lets the disk have written the log, which
// nobody had synced yet, but none of the media: the worst order a disk may choose. What the log signs
// is there all the same, at most ahead_ms of media is on the disk beyond it, and what is lost of the
// media is one cycle and a little.
func TestCutAgainstTheOrder(t *testing.T) {
	cam, mic := get(t, camera), get(t, microphone)
	for _, tt := range []struct {
		rule   string
		one    bool
		cycle  time.Duration
		signed time.Duration // not signed at most: a cycle, the time to write it, the fragment held back
		media  time.Duration // not on the disk at most
	}{
		{"two barriers, 500 ms", false, 500 * time.Millisecond, time.Second, time.Second},
		{"one barrier, 500 ms", true, 500 * time.Millisecond, 1500 * time.Millisecond, time.Second},
		{"two barriers, 1 s", false, time.Second, 1500 * time.Millisecond, 1500 * time.Millisecond},
		{"one barrier, 1 s", true, time.Second, 2500 * time.Millisecond, 1500 * time.Millisecond},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(durabletest.Layer)
				l.Before = func(op durabletest.Op) error {
					if op.Verb == "datasync" {
						time.Sleep(20 * time.Millisecond) // a moment to cut in
					}
					return nil
				}
				r := start(t, 1, func(o *record.Options) {
					o.Layer, o.Cycle, o.OneBarrier, o.Segment = l, tt.cycle, tt.one, 2*time.Second
				})
				s := r.open(sessionID, "face", "voice")
				zero := r.up()
				played := make(chan struct{})
				go func() {
					defer close(played)
					r.play(s, zero, part{ch: "face", clip: cam, to: 5500 * time.Millisecond, run: 1}, part{ch: "voice", clip: mic, to: 5500 * time.Millisecond, run: 1})
				}()
				time.Sleep(3 * time.Second)
				for range 41 {
					time.Sleep(57 * time.Millisecond)
					synctest.Wait()
					cutAgainst(t, r, l, s.Media(r.up()), tt.signed, tt.media, tt.cycle)
				}
				<-played
				sealed := r.seal(s, "button")
				if sealed.Err != nil {
					t.Fatalf("%+v\n%s", sealed, r.logs)
				}
				r.check(r.disks[0], sessionID, 0)
				r.stop()
			})
		})
	}
}

func cutAgainst(t *testing.T, r *room, l *durabletest.Layer, at int64, signed, media, cycle time.Duration) {
	t.Helper()
	cut := t.TempDir()
	if err := l.Cut(r.disks[0], cut, durabletest.LoseAll); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join("sessions", sessionID, "log.jsonl")
	b, err := os.ReadFile(filepath.Join(r.disks[0], log))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cut, log), b, 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := evidence.Decide(b, evidence.SessionOrigin(r.dev.id, gen, sessionID), r.dev.signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	to, segs := make(map[string]int64), make(map[string]*signedPart) // µs signed, by channel; by file
	for _, line := range lines(r, b[:d.End]) {
		var f evidence.Fragment
		var o evidence.SegmentOpen
		switch {
		case line.Type == "segment.open" && line.Decode(&o) == nil:
			segs[o.File] = &signedPart{ch: o.Ch, init: o.InitLen}
		case line.Type == "fragment" && line.Decode(&f) == nil:
			to[f.Ch] = f.To
			segs[fmt.Sprintf("%s-%05d.mp4", f.Ch, f.Seg)].end = f.Off + f.Len
		}
	}
	there := maps.Clone(to)
	for file, x := range segs {
		there[x.ch] = max(there[x.ch], beyond(t, filepath.Join(cut, "sessions", sessionID, file), x))
	}
	for _, ch := range []string{"face", "voice"} {
		if lost := time.Duration(at-to[ch]) * time.Microsecond; lost > signed {
			t.Errorf("at %d µs: %s of %s are not signed, promised is %s", at, lost, ch, signed)
		}
		if lost := time.Duration(at-there[ch]) * time.Microsecond; lost > media {
			t.Errorf("at %d µs: %s of %s are not on the disk, promised is %s", at, lost, ch, media)
		}
		if ahead := time.Duration(there[ch]-to[ch]) * time.Microsecond; ahead > 2*cycle+500*time.Millisecond {
			t.Errorf("at %d µs: %s of %s are on the disk beyond the signature: more than ahead_ms", at, ahead, ch)
		}
	}
	for _, sp := range r.check(cut, sessionID, 3).Sessions[0].Spans {
		if sp.Finding != evidence.FindingIntact && sp.Finding != evidence.FindingGap {
			t.Errorf("at %d µs: %+v", at, sp)
		}
	}
}

// signedPart is where the signed part of a file ends.
type signedPart struct {
	ch        string
	init, end int64
}

// beyond returns up to which media time, in µs, there are whole fragments after the signed ones.
func beyond(t *testing.T, file string, x *signedPart) (to int64) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil || x.end == 0 {
		return 0
	}
	info, err := fmp4.ParseInit(b[:x.init])
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmp4.Scan(bytes.NewReader(b), x.end, int64(len(b)), info.Tracks, func(_ int64, _ []byte, f *fmp4.Fragment) error {
		run := &f.Runs[0]
		ticks := run.Time
		for i := range run.Samples {
			ticks += uint64(run.Samples[i].Duration)
		}
		to = fmp4.MediaTime(ticks, 0, info.Tracks[run.Track-1].Timescale)
		return nil
	})
	if err != nil {
		t.Logf("%s: %v", file, err) // torn
	}
	return to
}

// TestOneBarrierFlushesOnce counts what one cycle costs: a sync for each file, all at once, and the log's
// with them; and a log that nothing follows is completed all the same.
func TestOneBarrierFlushesOnce(t *testing.T) {
	cam := get(t, camera)
	rounds := func(one bool) (n int64) {
		synctest.Test(t, func(t *testing.T) {
			l := new(durabletest.Layer)
			var under, barriers atomic.Int64
			l.Before = func(op durabletest.Op) error {
				if op.Verb == "datasync" {
					if under.Add(1) == 1 {
						barriers.Add(1)
					}
					time.Sleep(10 * time.Millisecond)
					under.Add(-1)
				}
				return nil
			}
			c := durable.NewCounting(l)
			r := start(t, 1, func(o *record.Options) { o.Layer, o.OneBarrier = c, one })
			s := r.open(sessionID, "face")
			zero := r.up()
			r.play(s, zero, part{ch: "face", clip: cam, to: time.Second, run: 1})
			before := barriers.Load()
			r.play(s, zero, part{ch: "face", clip: cam, from: time.Second, to: 5 * time.Second, run: 1})
			n = barriers.Load() - before
			time.Sleep(5 * time.Second) // nothing comes any more
			synctest.Wait()
			st := s.Status()
			if st.Durable != st.Size {
				t.Errorf("one barrier %v: %d lines signed, %d durable: the log was left behind", one, st.Size, st.Durable)
			}
			r.seal(s, "button")
			r.stop()
			if got := c.Stats(); got.Fsyncs == 0 || got.Written < 100_000 {
				t.Errorf("counted %+v", got)
			}
		})
		return n
	}
	two := rounds(false)
	one := rounds(true)
	if one < 7 || one > 10 || two < 15 {
		t.Errorf("4 s of recording flushed the disk %d times with one barrier, %d with two; want about 8 and 16", one, two)
	}
}
