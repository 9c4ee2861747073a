package recovery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/record/recovery"
)

// Whatever of the seal is there, the rest is made, and nothing else is written.
func TestFinishSeal(t *testing.T) {
	w := tenCycles(t)
	w.end()
	d := w.disk("a", len(w.batches))
	if it := w.recover(d); it.Outcome != recovery.Finished || it.Err != nil || len(it.Notes) > 0 {
		t.Fatalf("item %+v; want only the seal finished", it)
	}
	if r := w.verify(d); r.Exit != 0 || spans(r, "face") != "intact 0-5000" {
		t.Errorf("verify exits %d, face %q: %+v", r.Exit, spans(r, "face"), brief(r))
	}
	if !bytes.Contains(w.led.data, []byte(`"type":"sealed"`)) || !bytes.Contains(w.led.data, []byte(`"type":"head"`)) {
		t.Error("the ledger lacks the head or the sealed line")
	}
	size := len(w.led.data)
	want := contents(t, folder(d))
	for _, gone := range [][]string{{"manifest.json.p7s"}, {"manifest.json", "manifest.json.p7s"}} {
		for _, name := range gone {
			must(t, os.Remove(filepath.Join(folder(d), name)))
		}
		w.recover(d)
		got := contents(t, folder(d))
		if gone[0] == "manifest.json.p7s" { // a signature made anew may be another one
			want["manifest.json.p7s"] = got["manifest.json.p7s"]
		}
		if diff := differ(want, got); len(diff) > 0 {
			t.Errorf("without %q: differs in %q", gone, diff)
		}
	}
	if len(w.led.data) != size {
		t.Error("the ledger got lines twice")
	}
}

func TestIndexIsFinished(t *testing.T) {
	for _, tt := range []struct {
		rule string
		n    int // bytes of the index that are there
	}{{"not begun", 0}, {"half written", 40}} {
		t.Run(tt.rule, func(t *testing.T) {
			w := tenCycles(t)
			d := w.disk("a", 5)
			index := w.batches[4].index["face-00001.mp4"]
			b := append(bytes.Clone(index[:tt.n]), w.batches[0].media["face-00001.mp4"][int(w.initLen("face-"))+tt.n:][:reserve-tt.n]...)
			w.overwrite(d, "face-00001.mp4", w.initLen("face-"), b)
			w.recover(d)
			if r := w.verify(d); r.Exit != 3 || len(r.Sessions[0].Notes) > 0 {
				t.Errorf("verify exits %d: %s", r.Exit, brief(r))
			}
		})
	}
}

func TestLeftAlone(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		outcome recovery.Outcome
		make    func(w *world) recovery.Disk
		opts    func(o *recovery.Options)
	}{
		{"a flipped bit with signed hours after it", recovery.Damaged, func(w *world) recovery.Disk {
			d := w.disk("a", 8)
			flip(w, filepath.Join(folder(d), "log.jsonl"), len(w.batches[0].log)+100)
			w.tail(d, 8, tail{media(all), half})
			return d
		}, nil},
		{"a flipped bit in the first line", recovery.Damaged, func(w *world) recovery.Disk {
			d := w.disk("a", 8)
			flip(w, filepath.Join(folder(d), "log.jsonl"), 20)
			return d
		}, nil},
		{"a log that the ledger knew and that is gone", recovery.Damaged, func(w *world) recovery.Disk {
			d := w.disk("a", 2)
			must(w, os.Truncate(filepath.Join(folder(d), "log.jsonl"), 10))
			must(w, w.led.Head(session, "log.jsonl", 1, [32]byte{}))
			return d
		}, nil},
		{"a log that is a pipe or a link", recovery.Damaged, func(w *world) recovery.Disk {
			d := w.disk("a", 2)
			name := filepath.Join(folder(d), "log.jsonl")
			must(w, os.Rename(name, filepath.Join(d.Dir, "elsewhere")))
			must(w, os.Symlink(filepath.Join(d.Dir, "elsewhere"), name))
			return d
		}, nil},
		{"another device", recovery.Foreign, func(w *world) recovery.Disk { return w.disk("a", 3) }, func(o *recovery.Options) { o.Device = strings.Repeat("0", 32) }},
		{"another key under the same name", recovery.Foreign, func(w *world) recovery.Disk { return w.disk("a", 3) }, func(o *recovery.Options) { o.Key = newWorld(t).key }},
		{"a sealed session whose log is gone, and the ledger too", recovery.Damaged, func(w *world) recovery.Disk {
			d := w.disk("a", 5)
			w.recover(d)
			must(w, os.Remove(filepath.Join(folder(d), "log.jsonl")))
			must(w, os.Remove(filepath.Join(folder(d), "manifest.json.p7s")))
			w.led = &fakeLedger{log: w.newLog(w.led.Origin(), w.options(nil).Now).(*ledger.SessionLog)}
			return d
		}, nil},
		{"an unsigned folder on a disk with another device's ledger", recovery.Foreign, func(w *world) recovery.Disk {
			d := w.disk("a", 0)
			w.tail(d, 0, tail{media(all), none})
			other := newWorld(w)
			dir := filepath.Join(d.Dir, "ledger", "fedcba9876543210")
			must(w, os.MkdirAll(dir, 0o755))
			must(w, os.WriteFile(filepath.Join(dir, "log.jsonl"), other.led.data, 0o644))
			must(w, os.Remove(filepath.Join(folder(d), "device.pem")))
			return d
		}, nil},
		{"no certificate anywhere", recovery.Damaged, func(w *world) recovery.Disk {
			d := w.disk("a", 3)
			must(w, os.Remove(filepath.Join(folder(d), "device.pem")))
			return d
		}, func(o *recovery.Options) { o.Certs = nil }},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			w := tenCycles(t)
			d := tt.make(w)
			before := contents(t, folder(d))
			o := w.options(nil, d)
			if tt.opts != nil {
				tt.opts(&o)
			}
			rep, err := recovery.Run(context.Background(), o)
			if err != nil || len(rep.Items) != 1 || rep.Items[0].Outcome != tt.outcome || rep.Items[0].Err == nil {
				t.Errorf("Run() = %+v, %v; want %s", rep, err, tt.outcome)
			}
			if diff := differ(before, contents(t, folder(d))); len(diff) > 0 {
				t.Errorf("touched %q", diff)
			}
		})
	}
}

func TestOwnCertificateComesBack(t *testing.T) {
	w := tenCycles(t)
	d := w.disk("a", 3)
	must(t, os.Remove(filepath.Join(folder(d), "device.pem")))
	if it := w.recover(d); it.Outcome != recovery.Recovered {
		t.Errorf("item %+v", it)
	}
	if r := w.verify(d); r.Exit != 3 {
		t.Errorf("verify exits %d: %s", r.Exit, brief(r))
	}
}

func TestUnsigned(t *testing.T) {
	w := tenCycles(t)
	d := w.disk("a", 0)
	w.tail(d, 0, tail{media(all), half})
	want := contents(t, folder(d))
	if it := w.recover(d); it.Outcome != recovery.Unsigned {
		t.Errorf("item %+v; want unsigned", it)
	}
	if _, err := os.Stat(folder(d)); !errors.Is(err, os.ErrNotExist) {
		t.Error("the folder is still among the sessions")
	}
	if diff := differ(want, contents(t, filepath.Join(d.Dir, "tmp", "unsigned-"+session))); len(diff) > 0 {
		t.Errorf("lost %q", diff)
	}
}

// A signed byte that went bad is the verifier's to tell; the session is sealed all the same.
func TestDamagedMediaIsSealed(t *testing.T) {
	w := tenCycles(t)
	d := w.disk("a", 3)
	flip(t, filepath.Join(folder(d), "face-00001.mp4"), len(w.batches[0].media["face-00001.mp4"])+200)
	if it := w.recover(d); it.Outcome != recovery.Recovered || len(it.Notes) == 0 {
		t.Errorf("item %+v; want it recovered with a note", it)
	}
	r := w.verify(d)
	if r.Exit != 1 || !strings.Contains(spans(r, "face"), "altered 500-1000") || !strings.Contains(spans(r, "voice"), "intact 0-1500") {
		t.Errorf("verify exits %d, face %q, voice %q", r.Exit, spans(r, "face"), spans(r, "voice"))
	}
}

func TestMissingMediaIsSealed(t *testing.T) {
	w := tenCycles(t)
	d := w.disk("a", 3)
	must(t, os.Remove(filepath.Join(folder(d), "face-00001.mp4")))
	if it := w.recover(d); it.Outcome != recovery.Recovered || len(it.Notes) == 0 {
		t.Errorf("item %+v; want it recovered with a note", it)
	}
	r := w.verify(d)
	if r.Exit != 1 || !strings.Contains(spans(r, "face"), "missing") || !strings.Contains(spans(r, "voice"), "intact 0-1500") {
		t.Errorf("verify exits %d, face %q, voice %q", r.Exit, spans(r, "face"), spans(r, "voice"))
	}
}

// R10: the session was recovered from one disk, then the other comes back.
func TestDiskReturns(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		n       int // batches on the disk that returns
		outcome recovery.Outcome
		face    string
	}{
		{"with less: it is completed", 3, recovery.Recovered, "intact 0-2500, gap 2500-40000"},
		{"with the same", 5, recovery.Recovered, "intact 0-2500, gap 2500-40000"},
		{"with more signed lines: they are in it, intact", 8, recovery.LateTail, "intact 0-4000, gap 4000-40000"},
		{"with its own end", 11, recovery.LateTail, "intact 0-5000"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			w := tenCycles(t)
			if tt.n > 10 {
				w.end()
			}
			a, b := w.disk("a", 5), w.disk("b", tt.n)
			w.tail(a, 5, tail{media(half), half})
			if tt.n < 10 {
				w.tail(b, tt.n, tail{media(half), half})
			}
			if it := w.recover(a); it.Outcome != recovery.Recovered {
				t.Fatalf("item %+v", it)
			}
			before := contents(t, folder(a))
			w.now.T = w.now.T.Add(time.Hour) // the gap ends where the first start began
			it := w.recover(a, b)
			if it.Outcome != tt.outcome || it.Err != nil {
				t.Errorf("item %+v; want %s", it, tt.outcome)
			}
			w.signed(a, max(5, min(tt.n, 10)))
			w.signed(b, tt.n)
			after := contents(t, folder(a))
			if diff := differ(after, contents(t, folder(b))); len(diff) > 0 {
				t.Errorf("the copies differ in %q", diff)
			}
			for _, name := range []string{"manifest.json", "manifest.json.p7s", "recovery-1.jsonl"} {
				if before[name] != after[name] {
					t.Errorf("%s was touched", name)
				}
			}
			if diff := differ(before, after); tt.outcome != recovery.LateTail && len(diff) > 0 {
				t.Errorf("the sealed copy was touched: %q", diff)
			}
			for _, d := range []recovery.Disk{a, b} {
				if r := w.verifyAll(d); r.Exit != 3 && tt.n < 10 || r.Exit != 0 && tt.n > 10 || spans(r, "face") != tt.face {
					t.Errorf("disk %s: verify exits %d, face %q, want %q: %s", d.ID, r.Exit, spans(r, "face"), tt.face, brief(r))
				}
			}
			if rep, err := recovery.Run(context.Background(), w.options(nil, a, b)); err != nil || len(rep.Items) > 0 {
				t.Errorf("a second Run() = %+v, %v", rep, err)
			}
		})
	}
}

// A session that was sealed on one disk is not sealed once more on another that is here alone.
func TestSealedElsewhere(t *testing.T) {
	for _, n := range []int{3, 5, 8} {
		w := tenCycles(t)
		a, b := w.disk("a", 5), w.disk("b", n)
		w.tail(b, n, tail{media(half), half})
		w.recover(a)
		before := contents(t, b.Dir)
		if it := w.recover(b); it.Outcome != recovery.Waiting || it.Err == nil {
			t.Errorf("item %+v; want it to wait", it)
		}
		if diff := differ(before, contents(t, b.Dir)); len(diff) > 0 {
			t.Errorf("touched %q", diff)
		}
	}
}

// The cut came between the manifest of the session's own end and the ledger's word of it; the next start had
// only the other disk, which had failed before: the seal that the ledger names holds, and nothing is lost.
func TestTwoSeals(t *testing.T) {
	for _, named := range []bool{true, false} {
		w := tenCycles(t)
		w.end()
		a, b := w.disk("a", 5), w.disk("b", len(w.batches))
		fresh := func() {
			w.led = &fakeLedger{log: w.newLog(w.led.Origin(), w.options(nil).Now).(*ledger.SessionLog)}
			must(t, w.led.append(evidence.Generation{}))
		}
		w.recover(b)
		fresh()
		w.recover(a)
		if !named { // the cut came once more before the ledger had it
			fresh()
		}
		it := w.recover(a, b)
		if it.Outcome != recovery.LateTail || it.Err != nil {
			t.Errorf("item %+v", it)
		}
		for _, d := range []recovery.Disk{a, b} {
			if r := w.verifyAll(d); r.Exit != 0 || spans(r, "face") != "intact 0-5000" {
				t.Errorf("disk %s: verify exits %d, face %q: %s", d.ID, r.Exit, spans(r, "face"), brief(r))
			}
		}
		if diff := differ(contents(t, folder(a)), contents(t, folder(b))); len(diff) > 0 {
			t.Errorf("the copies differ in %q", diff)
		}
		if names, _ := filepath.Glob(filepath.Join(b.Dir, "tmp", "superseded-"+session, "manifest.json*")); len(names) != 2 {
			t.Errorf("kept of the other seal: %q", names)
		}
	}
}

// A disk that goes away again while its late tail is being added: the sealed copy is what it was, or has
// what was added in full.
func TestLateTailCut(t *testing.T) {
	w := tenCycles(t)
	a0, b0 := w.disk("a", 5), w.disk("b", 8)
	w.recover(a0)
	led := *w.led
	for n := 1; ; n++ {
		disks := copyDisks(t, []recovery.Disk{a0, b0})
		a, b := disks[0], disks[1]
		w.led = &fakeLedger{log: w.newLog(led.Origin(), w.options(nil).Now).(*ledger.SessionLog)}
		must(t, w.led.append(evidence.Generation{}))
		done := w.cut(&cutLayer{t: t, n: n, lose: n%2 == 0}, a, b)
		alone := w.run(a)
		if r := w.verifyAll(a); r.Exit != 3 || !strings.HasPrefix(spans(r, "face"), "intact 0-") {
			t.Fatalf("cut at %d, then alone %+v: verify exits %d, face %q: %s", n, alone, r.Exit, spans(r, "face"), brief(r))
		}
		w.run(a, b)
		for _, d := range []recovery.Disk{a, b} {
			if r := w.verifyAll(d); r.Exit != 3 || spans(r, "face") != "intact 0-4000, gap 4000-40000" {
				t.Fatalf("cut at %d: disk %s: verify exits %d, face %q: %s", n, d.ID, r.Exit, spans(r, "face"), brief(r))
			}
			must(t, os.RemoveAll(d.Dir))
		}
		if done {
			t.Logf("%d operations", n-1)
			return
		}
	}
}

// Whatever happens to the log of one copy, the other one is used, the session is sealed with its true cause,
// and what was no signed part of it is kept in aside/ with its digest.
func TestDamagedLog(t *testing.T) {
	name := func(d recovery.Disk) string { return filepath.Join(folder(d), "log.jsonl") }
	for _, tt := range []struct {
		rule   string
		break_ func(w *world, d recovery.Disk)
		kept   bool // the copy is left alone
	}{
		{"zeros at its end", func(w *world, d recovery.Disk) { extend(w, d, "log.jsonl", make([]byte, 4096)) }, false},
		{"its last half page is gone", func(w *world, d recovery.Disk) { must(w, os.Truncate(name(d), int64(len(w.batches[0].log)+77))) }, false},
		{"cut to nothing", func(w *world, d recovery.Disk) { must(w, os.Truncate(name(d), 0)) }, false},
		{"not there", func(w *world, d recovery.Disk) { must(w, os.Remove(name(d))) }, false},
		{"a flipped byte in its last lines", func(w *world, d recovery.Disk) {
			flip(w, name(d), len(contents(w, folder(d))["log.jsonl"])-700)
		}, false},
		{"a flipped byte hours before its end", func(w *world, d recovery.Disk) { flip(w, name(d), len(w.batches[0].log)+100) }, true},
		{"a flipped byte in its first line", func(w *world, d recovery.Disk) { flip(w, name(d), 30) }, true},
		{"its middle overwritten with zeros", func(w *world, d recovery.Disk) {
			b := []byte(contents(w, folder(d))["log.jsonl"])
			copy(b[len(w.batches[0].log):], make([]byte, 512))
			must(w, os.WriteFile(name(d), b, 0o644))
		}, true},
	} {
		for swapped := range 2 {
			t.Run(fmt.Sprintf("%s, disk %d", tt.rule, swapped), func(t *testing.T) {
				w := tenCycles(t)
				disks := []recovery.Disk{w.disk("a", 8), w.disk("b", 8)}
				bad, good := disks[swapped], disks[1-swapped]
				tt.break_(w, bad)
				before := contents(t, folder(bad))
				if it := w.recover(disks...); it.Outcome != recovery.Recovered || it.Cause != recovery.PowerLost || it.Err != nil {
					t.Fatalf("item %+v", it)
				}
				want := []recovery.Disk{good, bad}
				if tt.kept {
					want = want[:1]
					if diff := differ(before, contents(t, folder(bad))); len(diff) > 0 {
						t.Errorf("the damaged copy was touched: %q", diff)
					}
				}
				for _, d := range want {
					w.signed(d, 8)
					if r := w.verifyAll(d); r.Exit != 3 || told(r, "face") != "intact 0-4000, gap 4000-40000 power lost" {
						t.Errorf("disk %s: verify exits %d, face %q: %s", d.ID, r.Exit, told(r, "face"), brief(r))
					}
				}
				both := []evidence.Place{{Path: folder(good), FS: os.DirFS(folder(good))}, {Path: folder(bad), FS: os.DirFS(folder(bad))}}
				if r := evidence.VerifyPlaces(both, evidence.VerifyOptions{}); r.Exit != 3 {
					t.Errorf("both together: verify exits %d: %s", r.Exit, brief(r))
				}
			})
		}
	}
}

// Litter of desktops and of an earlier cut, and folders that are no sessions, are in nobody's way and stay.
func TestLitter(t *testing.T) {
	w := tenCycles(t)
	d := w.disk("a", 5)
	for name, b := range map[string]string{
		folder(d) + "/.DS_Store": "x", folder(d) + "/Thumbs.db": "x", folder(d) + "/._face-00001.mp4": "x", folder(d) + "/desktop.ini": "x",
		d.Dir + "/sessions/.Trashes/x": "x", d.Dir + "/sessions/notes/x": "x", d.Dir + "/sessions/readme.txt": "x", d.Dir + "/sessions/20260301T080000Z-0A0B0C0D/log.jsonl": "x",
		d.Dir + "/tmp/recovery/log.jsonl.0011.tmp": "x", d.Dir + "/tmp/probe.tmp": "x", d.Dir + "/lost+found/x": "x",
	} {
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, []byte(b), 0o644))
	}
	if it := w.recover(d); it.Outcome != recovery.Recovered || it.Err != nil {
		t.Errorf("item %+v", it)
	}
	if r := w.verify(d); r.Exit != 3 || spans(r, "face") != "intact 0-2500, gap 2500-40000" {
		t.Errorf("verify exits %d, face %q: %s", r.Exit, spans(r, "face"), brief(r))
	}
	after := contents(t, d.Dir)
	if after["sessions/notes/x"] != "x" || after["sessions/"+session+"/.DS_Store"] != "x" || after["sessions/20260301T080000Z-0A0B0C0D/log.jsonl"] != "x" || after["tmp/probe.tmp"] != "x" {
		t.Error("litter was touched")
	}
}

// The state folder was lost, or the card exchanged: the ledger is of another generation and knows nothing.
// The session is sealed all the same, and one that was sealed before is left as it is.
func TestOtherGeneration(t *testing.T) {
	w := tenCycles(t)
	a, b := w.disk("a", 5), w.disk("b", 3)
	w.led = &fakeLedger{log: w.newLog(evidence.LedgerOrigin(w.device, "fedcba9876543210"), w.options(nil).Now).(*ledger.SessionLog)}
	must(t, w.led.append(evidence.Generation{Cause: "missing"}))
	if it := w.recover(a); it.Outcome != recovery.Recovered || it.Err != nil {
		t.Errorf("item %+v", it)
	}
	if r := w.verify(a); r.Exit != 3 || spans(r, "face") != "intact 0-2500, gap 2500-40000" {
		t.Errorf("verify exits %d, face %q: %s", r.Exit, spans(r, "face"), brief(r))
	}
	before := contents(t, folder(a))
	w.led = &fakeLedger{log: w.newLog(evidence.LedgerOrigin(w.device, "0000000000000001"), w.options(nil).Now).(*ledger.SessionLog)}
	must(t, w.led.append(evidence.Generation{Cause: "missing"}))
	if it := w.recover(a, b); it.Outcome != recovery.Recovered || it.Err != nil {
		t.Errorf("item %+v", it)
	}
	if diff := differ(before, contents(t, folder(a))); len(diff) > 0 {
		t.Errorf("the sealed copy was touched: %q", diff)
	}
	if diff := differ(before, contents(t, folder(b))); len(diff) > 0 {
		t.Errorf("the copies differ: %q", diff)
	}
}

func TestSkip(t *testing.T) {
	w := tenCycles(t)
	d := w.disk("a", 3)
	before := contents(t, d.Dir)
	o := w.options(nil, d)
	o.Skip = func(id string) bool { return id == session }
	if rep, err := recovery.Run(context.Background(), o); err != nil || len(rep.Items) != 0 {
		t.Errorf("Run() = %+v, %v; want the running session left out", rep, err)
	}
	if diff := differ(before, contents(t, d.Dir)); len(diff) > 0 {
		t.Errorf("touched %q", diff)
	}
}

func TestEnds(t *testing.T) {
	w := tenCycles(t)
	d := w.disk("a", 3)
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("power button")
	cancel(cause)
	if _, err := recovery.Run(ctx, w.options(nil, d)); !errors.Is(err, cause) {
		t.Errorf("Run() = %v, want the reason it was stopped", err)
	}
	if _, err := recovery.Run(context.Background(), recovery.Options{}); err == nil {
		t.Error("Run() takes empty options")
	}
	var seen []recovery.Progress
	o := w.options(nil, d)
	o.Progress = func(p recovery.Progress) { seen = append(seen, p) }
	_, err := recovery.Run(context.Background(), o)
	if err != nil || len(seen) != 1 || seen[0] != (recovery.Progress{Session: session, N: 1, Of: 1}) {
		t.Errorf("progress %+v, %v", seen, err)
	}
}

// The digest of a closed segment is read back in the background: the next one may open first.
func TestTwoSegmentsOpen(t *testing.T) {
	w := newWorld(t)
	w.late = true
	for i := range 6 {
		w.cycle(i == 2)
	}
	d := w.disk("a", 4)
	w.tail(d, 4, tail{media(all), none})
	extend(t, d, "face-00001.mp4", w.batches[1].media["face-00001.mp4"]) // whole, but not the last segment
	w.recover(d)
	r := w.verify(d)
	if r.Exit != 3 || spans(r, "face") != "intact 0-2000, recovered 2000-2500, gap 2500-40000" {
		t.Errorf("verify exits %d, face %q: %s", r.Exit, spans(r, "face"), brief(r))
	}
}

// A hole before a whole fragment is a gap with its own cause, not a stretch of time made up.
func TestHoleBeforeRecovered(t *testing.T) {
	w := tenCycles(t)
	d := w.disk("a", 6)
	for _, name := range []string{"face-00002.mp4", "voice-00002.mp4"} {
		extend(t, d, name, w.batches[7].media[name])
	}
	w.recover(d)
	r := w.verify(d)
	if want := "intact 0-3000, gap 3000-3500, recovered 3500-4000, gap 4000-40000"; r.Exit != 3 || spans(r, "face") != want || spans(r, "voice") != want {
		t.Errorf("verify exits %d, face %q, voice %q: %s", r.Exit, spans(r, "face"), spans(r, "voice"), brief(r))
	}
}

// A fragment that begins before the last signed one ends is not accepted.
func TestOverlapIsNotRecovered(t *testing.T) {
	w := tenCycles(t)
	d := w.disk("a", 7)
	extend(t, d, "face-00002.mp4", w.batches[6].media["face-00002.mp4"])
	w.recover(d)
	if r := w.verify(d); r.Exit != 3 || spans(r, "face") != "intact 0-3500, gap 3500-40000" {
		t.Errorf("verify exits %d, face %q: %s", r.Exit, spans(r, "face"), brief(r))
	}
}

// fullLayer fails every write below a folder.
type fullLayer struct {
	durable.Layer
	dir string
}

func (l fullLayer) OpenFile(name string, flag int, perm os.FileMode) (durable.Handle, error) {
	if strings.HasPrefix(name, l.dir) && flag != os.O_RDONLY {
		return nil, syscall.ENOSPC
	}
	return l.Layer.OpenFile(name, flag, perm)
}

func TestOneDiskFull(t *testing.T) {
	w := tenCycles(t)
	a, b := w.disk("a", 6), w.disk("b", 4)
	w.tail(b, 4, tail{media(all), half})
	before := contents(t, folder(b))
	rep, err := recovery.Run(context.Background(), w.options(fullLayer{fastLayer(t), b.Dir}, a, b))
	if err != nil || len(rep.Items) != 1 || rep.Items[0].Outcome != recovery.Recovered || len(rep.Items[0].Notes) == 0 {
		t.Fatalf("Run() = %+v, %v; want it recovered on the other disk, with a note", rep, err)
	}
	if r := w.verify(a); r.Exit != 3 || spans(r, "face") != "intact 0-3000, gap 3000-40000" {
		t.Errorf("verify exits %d, face %q: %s", r.Exit, spans(r, "face"), brief(r))
	}
	if diff := differ(before, contents(t, folder(b))); len(diff) > 0 {
		t.Errorf("the full disk changed in %q", diff)
	}
	if it := w.recover(a, b); it.Outcome != recovery.Recovered || it.Err != nil { // space was made
		t.Errorf("item %+v", it)
	}
	if diff := differ(contents(t, folder(a)), contents(t, folder(b))); len(diff) > 0 {
		t.Errorf("the disks differ in %q", diff)
	}
}

// A segment closed long ago that a disk lacks is copied whole, index and all.
func TestOldSegmentIsCopied(t *testing.T) {
	w := tenCycles(t)
	a, b := w.disk("a", 8), w.disk("b", 8)
	must(t, os.Remove(filepath.Join(folder(b), "face-00001.mp4")))
	must(t, os.Truncate(filepath.Join(folder(b), "voice-00001.mp4"), 1000))
	w.recover(a, b)
	if diff := differ(contents(t, folder(a)), contents(t, folder(b))); len(diff) > 0 {
		t.Errorf("the disks differ in %q", diff)
	}
	if r := w.verify(b); r.Exit != 3 {
		t.Errorf("verify exits %d: %s", r.Exit, brief(r))
	}
}
