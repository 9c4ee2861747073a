package recovery_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minglu/agent/clock"
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/record/recovery"
)

// a tail is what the cut left of the batch after the last signed one: media by file name, and log.
type tail struct {
	media func(name string, b []byte) []byte
	log   func(b []byte) []byte
}

func all(b []byte) []byte  { return b }
func none([]byte) []byte   { return nil }
func half(b []byte) []byte { return b[:len(b)/2] }
func upTo(n int) func([]byte) []byte {
	return func(b []byte) []byte { return b[:min(n, len(b))] }
}
func zeros(n int) func([]byte) []byte {
	return func([]byte) []byte { return make([]byte, n) }
}
func media(f func([]byte) []byte) func(string, []byte) []byte {
	return func(_ string, b []byte) []byte { return f(b) }
}
func onlyFace(f func([]byte) []byte) func(string, []byte) []byte {
	return func(name string, b []byte) []byte {
		if strings.HasPrefix(name, "face") {
			return f(b)
		}
		return nil
	}
}

func (w *world) tail(d recovery.Disk, n int, t tail) {
	w.Helper()
	for name, m := range w.batches[n].media {
		if b := t.media(name, m); b != nil {
			extend(w, d, name, b)
		}
	}
	extend(w, d, "log.jsonl", t.log(w.batches[n].log))
}

// ten cycles, a new segment in the fifth.
func tenCycles(t testing.TB) *world {
	w := newWorld(t)
	for i := range 10 {
		w.cycle(i == 4)
	}
	return w
}

func TestCrash(t *testing.T) {

	for _, tt := range []struct {
		rule        string
		batches     int
		tails       []tail
		face, voice string
		aside       int // files in aside/
	}{
		{"a cut exactly after a signature loses nothing", 3, nil, "intact 0-1500, gap 1500-40000", "intact 0-1500, gap 1500-40000", 0},
		{"whole fragments without a log are recovered", 3, []tail{{media(all), none}}, "intact 0-1500, recovered 1500-2000, gap 2000-40000", "intact 0-1500, recovered 1500-2000, gap 2000-40000", 0},
		{"of one channel only", 3, []tail{{onlyFace(all), none}}, "intact 0-1500, recovered 1500-2000, gap 2000-40000", "intact 0-1500, gap 1500-40000", 0},
		{"a fragment cut in its moof is set aside", 3, []tail{{onlyFace(upTo(50)), none}}, "intact 0-1500, gap 1500-40000", "intact 0-1500, gap 1500-40000", 1},
		{"a fragment cut in its mdat is set aside", 3, []tail{{media(half), none}}, "intact 0-1500, gap 1500-40000", "intact 0-1500, gap 1500-40000", 2},
		{"a fragment that lacks its last byte is set aside", 3, []tail{{onlyFace(func(b []byte) []byte { return b[:len(b)-1] }), none}}, "intact 0-1500, gap 1500-40000", "intact 0-1500, gap 1500-40000", 1},
		{"zeros instead of media are set aside", 3, []tail{{media(zeros(4096)), none}}, "intact 0-1500, gap 1500-40000", "intact 0-1500, gap 1500-40000", 2},
		{"zeros after whole fragments are set aside", 3, []tail{{media(func(b []byte) []byte { return append(bytes.Clone(b), make([]byte, 999)...) }), none}},
			"intact 0-1500, recovered 1500-2000, gap 2000-40000", "intact 0-1500, recovered 1500-2000, gap 2000-40000", 2},
		{"zeros at the end of the log are set aside", 3, []tail{{media(all), zeros(4096)}}, "intact 0-1500, recovered 1500-2000, gap 2000-40000", "intact 0-1500, recovered 1500-2000, gap 2000-40000", 1},
		{"a log line cut in the middle is set aside", 3, []tail{{media(all), half}}, "intact 0-1500, recovered 1500-2000, gap 2000-40000", "intact 0-1500, recovered 1500-2000, gap 2000-40000", 1},
		{"a sign line without its line feed signs nothing", 3, []tail{{media(all), func(b []byte) []byte { return b[:len(b)-1] }}},
			"intact 0-1500, recovered 1500-2000, gap 2000-40000", "intact 0-1500, recovered 1500-2000, gap 2000-40000", 1},
		{"no more than ahead_ms is recovered", 5, []tail{{media(all), none}, {media(all), none}, {media(all), none}, {media(all), none}, {media(all), none}},
			"intact 0-2500, recovered 2500-4000, gap 4000-40000", "intact 0-2500, recovered 2500-4000, gap 4000-40000", 2},
		{"a segment that no signed line opened is set aside", 4, []tail{{media(all), none}}, "intact 0-2000, gap 2000-40000", "intact 0-2000, gap 2000-40000", 2},
		{"even when it is cut in its init", 4, []tail{{onlyFace(upTo(20)), none}}, "intact 0-2000, gap 2000-40000", "intact 0-2000, gap 2000-40000", 1},
		{"nothing is recovered after a hole in the bytes", 3, []tail{{media(zeros(8)), none}, {media(all), none}}, "intact 0-1500, gap 1500-40000", "intact 0-1500, gap 1500-40000", 4},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			w := tenCycles(t)
			d := w.disk("a", tt.batches)
			for i, tl := range tt.tails {
				w.tail(d, tt.batches+i, tl)
			}
			it := w.recover(d)
			if it.Outcome != recovery.Recovered || it.Cause != recovery.PowerLost || it.Err != nil {
				t.Errorf("item %+v; want recovered from a power loss", it)
			}
			w.signed(d, tt.batches)
			r := w.verify(d)
			if r.Exit != 3 || spans(r, "face") != tt.face || spans(r, "voice") != tt.voice {
				t.Errorf("verify exits %d, face %q, voice %q; want 3, %q, %q\n%s", r.Exit, spans(r, "face"), spans(r, "voice"), tt.face, tt.voice, brief(r))
			}
			if names, _ := filepath.Glob(filepath.Join(folder(d), "aside", "*")); len(names) != tt.aside {
				t.Errorf("aside/ has %q, want %d files", names, tt.aside)
			}
			if rep, err := recovery.Run(context.Background(), w.options(nil, d)); err != nil || len(rep.Items) != 0 {
				t.Errorf("a second Run() = %+v, %v; want nothing to do", rep, err)
			}
			if open, err := recovery.Pending([]recovery.Disk{d}); err != nil || len(open) != 0 {
				t.Errorf("Pending() = %+v, %v; want none", open, err)
			}
		})
	}
}

// Every length of the unsigned media and log, with and without zeros after it.
func TestCrashAtEveryByte(t *testing.T) {
	w := tenCycles(t)
	next := w.batches[6]
	names := []string{"face-00002.mp4", "voice-00002.mp4", "log.jsonl"}
	whole := [][]byte{next.media[names[0]], next.media[names[1]], next.log}
	total := len(whole[0]) + len(whole[1]) + len(whole[2])
	const step = 41 // prime: it meets every kind of place
	for cut := 0; cut <= total; cut += step {
		for _, pad := range []int{0, 700} {
			led := *w.led
			d := w.disk("a", 6)
			left := cut
			for i, b := range whole {
				n := min(left, len(b))
				left -= n
				extend(t, d, names[i], append(bytes.Clone(b[:n]), make([]byte, pad)...))
			}
			w.led = &fakeLedger{log: w.newLog(led.Origin(), func() clock.Reading { return w.clock }).(*ledger.SessionLog)}
			it := w.recover(d)
			w.signed(d, 6)
			if r := w.verify(d); it.Outcome != recovery.Recovered || r.Exit != 3 {
				t.Fatalf("cut at %d, %d zeros: %+v, verify exits %d: %s", cut, pad, it, r.Exit, brief(r))
			}
		}
	}
}

func TestSameBoot(t *testing.T) {
	w := tenCycles(t)
	w.boot = "boot-1"
	w.now.Up, w.now.T = 30*time.Second, start.Add(-time.Hour) // the wall clock does not matter within a boot
	d := w.disk("a", 3)
	if it := w.recover(d); it.Cause != recovery.Stopped || it.GapFrom != 1_500_000 || it.GapTo != 20_000_000 {
		t.Errorf("item %+v; want the agent stopped, a gap until 20 s", it)
	}
	if r := w.verify(d); r.Exit != 3 || spans(r, "face") != "intact 0-1500, gap 1500-20000" {
		t.Errorf("verify exits %d, face %q", r.Exit, spans(r, "face"))
	}
}

func TestDeadClock(t *testing.T) {
	w := tenCycles(t)
	w.now.T = time.Unix(0, 0)
	d := w.disk("a", 3)
	if it := w.recover(d); it.Outcome != recovery.Recovered || it.GapTo <= it.GapFrom {
		t.Errorf("item %+v; want a gap of unknown length, not none", it)
	}
	if r := w.verify(d); r.Exit != 3 {
		t.Errorf("verify exits %d: %s", r.Exit, brief(r))
	}
}

func TestPausedAtTheCut(t *testing.T) {
	w := newWorld(t)
	w.cycle(false)
	w.cycle(false, evidence.Pause{Common: evidence.Common{Type: "pause"}, At: 1_000_000, Reason: "adjournment", Who: "panel"})
	w.cycle(false)
	d := w.disk("a", 2)
	w.tail(d, 2, tail{media(all), none}) // media that may not exist during a pause
	open, err := recovery.Pending([]recovery.Disk{d})
	if err != nil || len(open) != 1 || !open[0].Paused || open[0].Ended || open[0].Boot != "boot-1" {
		t.Errorf("Pending() = %+v, %v; want one paused session", open, err)
	}
	w.recover(d)
	r := w.verify(d)
	if r.Exit != 3 || !strings.HasPrefix(spans(r, "face"), "intact 0-1000, break 1000-") || strings.Contains(spans(r, "face"), "recovered") {
		t.Errorf("verify exits %d, face %q; want a break and nothing recovered: %s", r.Exit, spans(r, "face"), brief(r))
	}
}

func TestPending(t *testing.T) {
	w := tenCycles(t)
	a, b := w.disk("a", 3), w.disk("b", 5)
	w.tail(b, 5, tail{media(none), half})
	open, err := recovery.Pending([]recovery.Disk{a, b})
	if err != nil || len(open) != 1 {
		t.Fatalf("Pending() = %+v, %v", open, err)
	}
	o := open[0]
	if want := start.Add(2500 * time.Millisecond); o.Session != session || !o.Last.Equal(want) || o.LastUp != 12500*time.Millisecond || o.Paused || o.Boot != "boot-1" {
		t.Errorf("Pending() = %+v; want the longer copy's last signed line at %s", o, want)
	}
	if !bytes.Contains(o.Info, []byte(`"type":"open"`)) || !bytes.Contains(o.Details, []byte("2026-17")) {
		t.Errorf("Info %s, Details %s", o.Info, o.Details)
	}
}

func TestTwoDisks(t *testing.T) {
	for _, tt := range []struct {
		rule string
		a, b func(w *world) recovery.Disk
		face string
		both bool // the folders end up the same
	}{
		{"equal disks", func(w *world) recovery.Disk { return w.disk("a", 3) }, func(w *world) recovery.Disk { return w.disk("b", 3) }, "intact 0-1500, gap 1500-40000", true},
		{"the longer log is the source, the other is completed", func(w *world) recovery.Disk { return w.disk("a", 3) }, func(w *world) recovery.Disk { return w.disk("b", 7) }, "intact 0-3500, gap 3500-40000", true},
		{"a tail that the other disk signed is no tail", func(w *world) recovery.Disk {
			d := w.disk("a", 3)
			w.tail(d, 3, tail{media(all), half})
			return d
		}, func(w *world) recovery.Disk { return w.disk("b", 6) }, "intact 0-3000, gap 3000-40000", true},
		{"zeros where the other disk has signed bytes are set aside", func(w *world) recovery.Disk {
			d := w.disk("a", 3)
			w.tail(d, 3, tail{media(zeros(300)), zeros(300)})
			return d
		}, func(w *world) recovery.Disk { return w.disk("b", 6) }, "intact 0-3000, gap 3000-40000", true},
		{"the longest unsigned tail counts", func(w *world) recovery.Disk {
			d := w.disk("a", 5)
			w.tail(d, 5, tail{media(all), none})
			w.tail(d, 6, tail{media(all), none})
			return d
		}, func(w *world) recovery.Disk {
			d := w.disk("b", 5)
			w.tail(d, 5, tail{media(half), none})
			return d
		}, "intact 0-2500, recovered 2500-3500, gap 3500-40000", true},
		{"whole fragments beyond a longer log come from the other disk", func(w *world) recovery.Disk {
			d := w.disk("a", 5)
			for i := 5; i < 8; i++ {
				w.tail(d, i, tail{media(all), none})
			}
			return d
		}, func(w *world) recovery.Disk { return w.disk("b", 7) }, "intact 0-3500, recovered 3500-4000, gap 4000-40000", true},
		{"where the disks differ none is taken", func(w *world) recovery.Disk {
			d := w.disk("a", 5)
			w.tail(d, 5, tail{media(all), none})
			return d
		}, func(w *world) recovery.Disk {
			d := w.disk("b", 5)
			w.tail(d, 5, tail{media(func(b []byte) []byte { c := bytes.Clone(b); c[len(c)-1] ^= 1; return c }), none})
			return d
		}, "intact 0-2500, gap 2500-40000", true},
		{"a fragment behind a hole that only the other disk can fill is set aside", func(w *world) recovery.Disk {
			d := w.disk("a", 5)
			w.tail(d, 5, tail{media(func(b []byte) []byte { return make([]byte, len(b)) }), none})
			w.tail(d, 6, tail{media(all), none})
			return d
		}, func(w *world) recovery.Disk {
			d := w.disk("b", 5)
			w.tail(d, 5, tail{media(all), none})
			return d
		}, "intact 0-2500, recovered 2500-3000, gap 3000-40000", true},
		{"a disk whose folder was just made is completed", func(w *world) recovery.Disk { return w.disk("a", 3) }, func(w *world) recovery.Disk { return w.disk("b", 0) }, "intact 0-1500, gap 1500-40000", true},
		{"a lost certificate comes from the other disk", func(w *world) recovery.Disk {
			d := w.disk("a", 3)
			must(w, os.Remove(filepath.Join(folder(d), "device.pem")))
			return d
		}, func(w *world) recovery.Disk { return w.disk("b", 3) }, "intact 0-1500, gap 1500-40000", true},
		{"a damaged copy is left alone and the good one sealed", func(w *world) recovery.Disk {
			d := w.disk("a", 8)
			flip(w, filepath.Join(folder(d), "log.jsonl"), len(w.batches[0].log)+100)
			return d
		}, func(w *world) recovery.Disk { return w.disk("b", 6) }, "intact 0-3000, gap 3000-40000", false},
		{"a damaged file is left alone and the good one closed", func(w *world) recovery.Disk {
			d := w.disk("a", 3)
			flip(w, filepath.Join(folder(d), "face-00001.mp4"), len(w.batches[0].media["face-00001.mp4"])+200)
			return d
		}, func(w *world) recovery.Disk { return w.disk("b", 3) }, "intact 0-1500, gap 1500-40000", false},
	} {
		for _, swap := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, swapped %v", tt.rule, swap), func(t *testing.T) {
				w := tenCycles(t)
				a, b := tt.a(w), tt.b(w)
				before := contents(t, folder(a))
				disks := []recovery.Disk{a, b}
				if swap {
					disks = []recovery.Disk{b, a}
				}
				it := w.recover(disks...)
				if it.Outcome != recovery.Recovered {
					t.Fatalf("item %+v", it)
				}
				if r := w.verify(b); r.Exit != 3 || spans(r, "face") != tt.face {
					t.Errorf("verify exits %d, face %q; want 3, %q: %s", r.Exit, spans(r, "face"), tt.face, brief(r))
				}
				if d := differ(contents(t, folder(a)), contents(t, folder(b))); tt.both && len(d) > 0 {
					t.Errorf("the disks differ in %q", d)
				}
				if !tt.both && len(it.Notes) == 0 {
					t.Error("the damage is not reported")
				}
				if after := contents(t, folder(a)); !tt.both && strings.Contains(tt.rule, "damaged copy") && len(differ(before, after)) > 0 {
					t.Errorf("the damaged copy was touched: %q", differ(before, after))
				}
			})
		}
	}
}

func flip(t testing.TB, name string, at int) {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	b[at] ^= 0x20
	must(t, os.WriteFile(name, b, 0o644))
}
