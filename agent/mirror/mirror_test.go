package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/durable/durabletest"
	"minglu/agent/evidence"
	"minglu/agent/mirror"
)

const (
	session = "20260301T013000Z-0123abcd" // of the golden sessions: sealed, two channels, two segments each
	cut     = "20260301T033000Z-0123abcf" // sealed by recovery, with aside/
	open    = "20260301T043000Z-0123abd0" // not sealed
	golden  = "../evidence/testdata/golden/sessions"
	fast    = 1 << 40
)

// disk is a folder as a disk of the recorder is.
func disk(t *testing.T, name string, sessions ...string) mirror.Disk {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	for _, sub := range []string{"ledger", "sessions", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	id := strings.Repeat(name, 32)
	must(t, os.WriteFile(filepath.Join(dir, "ledger", "disk.json"), fmt.Appendf(nil, `{"id":%q}`, id), 0o644))
	for _, s := range sessions {
		must(t, os.CopyFS(filepath.Join(dir, "sessions", s), os.DirFS(filepath.Join(golden, s))))
	}
	return mirror.Disk{ID: id, Dir: dir}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name string, b []byte) { t.Helper(); must(t, os.WriteFile(name, b, 0o644)) }

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	return b
}

// tree is every file below a folder.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		all[rel] = string(read(t, p))
		return nil
	})
	if !errors.Is(err, fs.ErrNotExist) {
		must(t, err)
	}
	return all
}

func at(d mirror.Disk, s string, name ...string) string {
	return filepath.Join(append([]string{d.Dir, "sessions", s}, name...)...)
}

// pass does one pass over disks.
func pass(t *testing.T, o mirror.Options, disks ...mirror.Disk) mirror.Report {
	t.Helper()
	o.Disks = func() []mirror.Disk { return disks }
	if o.Rate == 0 {
		o.Rate = fast
	}
	if o.Floor == 0 {
		o.Floor = 1
	}
	m, err := mirror.New(o)
	must(t, err)
	return m.Pass(t.Context())
}

// partial makes the copy of a session what a disk holds that was pulled out in its middle: media, log and
// index as they were before the last lines.
func partial(t *testing.T, d mirror.Disk, s string) {
	t.Helper()
	log := read(t, at(d, s, "log.jsonl"))
	lines := bytes.SplitAfter(log, []byte("\n"))
	write(t, at(d, s, "log.jsonl"), bytes.Join(lines[:len(lines)/2], nil))
	for _, n := range []string{"manifest.json", "manifest.json.p7s", "face-00002.mp4"} {
		must(t, os.Remove(at(d, s, n)))
	}
	face := read(t, at(d, s, "face-00001.mp4"))
	m, err := evidence.ParseManifest(read(t, filepath.Join(golden, s, "manifest.json")))
	must(t, err)
	seg := m.Channels[0].Segments[0]
	empty := make([]byte, seg.Reserve)
	copy(empty, []byte{byte(seg.Reserve >> 24), byte(seg.Reserve >> 16), byte(seg.Reserve >> 8), byte(seg.Reserve), 'f', 'r', 'e', 'e'})
	copy(face[seg.InitLen:], empty)
	write(t, at(d, s, "face-00001.mp4"), face[:len(face)-100])
}

// TestCopies: what a pass makes of the copy on disk b, beside a good one on disk a.
func TestCopies(t *testing.T) {
	for _, c := range []struct {
		rule    string
		session string
		before  func(t *testing.T, a, b mirror.Disk)
		same    bool   // b is then as a
		kept    string // a file of b that is kept in tmp/superseded
		foreign string // b is untouched, and reported with this word
		stuck   string // b stays incomplete for this reason
	}{
		{rule: "a session that is on one disk only is copied whole", session: session, same: true},
		{rule: "so is one that recovery sealed, with aside/ and its recovery file", session: cut, same: true},
		{rule: "and one with tokens, a chain, SM2 and an amendment", session: "20260301T063000Z-0123abd2", same: true},
		{rule: "a copy cut short in its middle is completed, and nothing of it needs keeping", session: session, same: true,
			before: func(t *testing.T, a, b mirror.Disk) { partial(t, b, session) }},
		{rule: "a torn tail of the log is kept aside", session: session, same: true, kept: "log.jsonl.1",
			before: func(t *testing.T, a, b mirror.Disk) {
				partial(t, b, session)
				write(t, at(b, session, "log.jsonl"), append(read(t, at(b, session, "log.jsonl")), make([]byte, 300)...))
			}},
		{rule: "media that are not those that were signed are kept aside and made good", session: session, same: true, kept: "voice-00001.mp4.1",
			before: func(t *testing.T, a, b mirror.Disk) {
				v := read(t, at(b, session, "voice-00001.mp4"))
				v[len(v)-3] ^= 1
				write(t, at(b, session, "voice-00001.mp4"), v)
			}},
		{rule: "a copy whose signed log tells another story is left alone", session: session, foreign: "signed lines follow",
			before: func(t *testing.T, a, b mirror.Disk) {
				partial(t, b, session)
				log := read(t, at(b, session, "log.jsonl"))
				log[40] ^= 1
				write(t, at(b, session, "log.jsonl"), log)
			}},
		{rule: "a log that was signed beyond the seal is left to recovery", session: session, foreign: "goes on",
			before: func(t *testing.T, a, b mirror.Disk) {
				log := read(t, at(b, session, "log.jsonl"))
				last := log[bytes.LastIndexByte(log[:len(log)-1], '\n')+1:]
				write(t, at(b, session, "log.jsonl"), append(log, last...))
			}},
		{rule: "what is wrong on the good disk is not spread", session: session, stuck: "no other copy",
			before: func(t *testing.T, a, b mirror.Disk) {
				must(t, os.RemoveAll(at(b, session)))
				v := read(t, at(a, session, "voice-00001.mp4"))
				v[len(v)-3] ^= 1
				write(t, at(a, session, "voice-00001.mp4"), v)
			}},
		{rule: "a session that is not sealed is recovery's", session: open,
			before: func(t *testing.T, a, b mirror.Disk) { must(t, os.RemoveAll(at(b, open))) }},
	} {
		t.Run(c.rule, func(t *testing.T) {
			a, b := disk(t, "a", c.session), disk(t, "b")
			if c.before != nil {
				must(t, os.CopyFS(at(b, c.session), os.DirFS(at(a, c.session))))
				c.before(t, a, b)
			}
			before := tree(t, b.Dir)
			was := tree(t, at(b, c.session))
			r := pass(t, mirror.Options{}, a, b)
			if !r.Done || r.Waiting {
				t.Errorf("the pass did not end: %+v", r)
			}
			got := tree(t, at(b, c.session))
			if c.same && !maps.Equal(got, tree(t, filepath.Join(golden, c.session))) {
				t.Errorf("the copies differ: %v, %+v", slices.Sorted(maps.Keys(got)), r)
			}
			if c.same && (len(r.Completed) != 1 || len(r.Lacking) != 0) {
				t.Errorf("report: %+v", r)
			}
			if !c.same && c.stuck == "" && !maps.Equal(tree(t, b.Dir), before) {
				t.Errorf("disk b was written to: %+v", r)
			}
			if c.foreign != "" && (len(r.Foreign) != 1 || r.Foreign[0].Disk != b.ID || !strings.Contains(r.Foreign[0].Why, c.foreign)) {
				t.Errorf("not reported as foreign: %+v", r)
			}
			if c.stuck != "" && (len(r.Lacking) == 0 || !strings.Contains(fmt.Sprint(r.Lacking[0].Err), c.stuck) || len(tree(t, at(b, c.session))["manifest.json"]) > 0) {
				t.Errorf("report: %+v", r)
			}
			kept := tree(t, filepath.Join(b.Dir, "tmp"))
			switch name := filepath.Join("superseded-"+c.session, c.kept); {
			case c.kept == "" && len(kept) > 0:
				t.Errorf("left in tmp: %v", slices.Sorted(maps.Keys(kept)))
			case c.kept != "" && (len(kept) != 1 || kept[name] != was[strings.TrimSuffix(c.kept, ".1")]):
				t.Errorf("kept in tmp: %v", slices.Sorted(maps.Keys(kept)))
			}
		})
	}
}

// TestEachMakesTheOtherGood: two copies with different damage become two good ones.
func TestEachMakesTheOtherGood(t *testing.T) {
	a, b := disk(t, "a", session), disk(t, "b", session)
	for d, name := range map[string]string{a.Dir: "face-00001.mp4", b.Dir: "voice-00002.mp4"} {
		p := filepath.Join(d, "sessions", session, name)
		v := read(t, p)
		v[len(v)/2] ^= 0x20
		write(t, p, v)
	}
	r := pass(t, mirror.Options{}, a, b)
	want := tree(t, filepath.Join(golden, session))
	if !maps.Equal(tree(t, at(a, session)), want) || !maps.Equal(tree(t, at(b, session)), want) || len(r.Completed) != 2 {
		t.Errorf("report: %+v", r)
	}
}

// TestLeftAlone: disks and sessions that may not be written.
func TestLeftAlone(t *testing.T) {
	for _, c := range []struct {
		rule   string
		change func(t *testing.T, b *mirror.Disk, o *mirror.Options)
		why    string
	}{
		{"an empty mount point is no disk", func(t *testing.T, b *mirror.Disk, _ *mirror.Options) {
			for _, sub := range []string{"ledger/disk.json", "ledger", "sessions", "tmp"} {
				must(t, os.Remove(filepath.Join(b.Dir, sub)))
			}
		}, ""},
		{"another disk in its folder is not it", func(t *testing.T, b *mirror.Disk, _ *mirror.Options) {
			write(t, filepath.Join(b.Dir, "ledger", "disk.json"), []byte(`{"id":"cccccccccccccccccccccccccccccccc"}`))
		}, ""},
		{"a session in use", func(t *testing.T, _ *mirror.Disk, o *mirror.Options) {
			o.InUse = func(string) bool { return true }
		}, ""},
		{"a session of another device", func(t *testing.T, _ *mirror.Disk, o *mirror.Options) {
			o.Device = strings.Repeat("0", 32)
		}, ""},
		{"a full disk", func(t *testing.T, b *mirror.Disk, _ *mirror.Options) { b.ReadOnly = true }, "cannot be written"},
		{"a disk without room for the next recording", func(t *testing.T, _ *mirror.Disk, o *mirror.Options) {
			o.Layer = &durabletest.Layer{Free: func() int64 { return 10_000 }}
			o.Floor = 9_000
		}, "not enough room"},
		{"a disk that fails", func(t *testing.T, b *mirror.Disk, o *mirror.Options) {
			o.Layer = &durabletest.Layer{Before: func(op durabletest.Op) error {
				if op.Verb == "write" && strings.HasPrefix(op.Name, b.Dir) {
					return syscall.EIO
				}
				return nil
			}}
		}, "input/output error"},
		{"a disk that gives back other bytes", func(t *testing.T, b *mirror.Disk, o *mirror.Options) {
			o.Layer = &durabletest.Layer{Before: func(op durabletest.Op) error {
				if op.Verb == "read" && strings.HasPrefix(op.Name, filepath.Join(b.Dir, "tmp")) {
					f, err := os.OpenFile(op.Name, os.O_WRONLY, 0)
					if err != nil {
						return err
					}
					_, err = f.WriteAt([]byte{0xee}, 7)
					return errors.Join(err, f.Close())
				}
				return nil
			}}
		}, "gives back other bytes"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			a, b := disk(t, "a", session), disk(t, "b")
			o := mirror.Options{}
			c.change(t, &b, &o)
			before := tree(t, b.Dir)
			r := pass(t, o, a, b)
			if got := tree(t, b.Dir); !maps.Equal(got, before) {
				t.Errorf("written: %v", slices.Sorted(maps.Keys(got)))
			}
			if c.why == "" && len(r.Lacking) > 0 || c.why != "" && (len(r.Lacking) != 1 || !strings.Contains(fmt.Sprint(r.Lacking[0].Err), c.why)) {
				t.Errorf("report: %+v", r)
			}
		})
	}
}

// TestStopsWhenDisksAreNeeded: within one chunk, leaving nothing, and goes on later.
func TestStopsWhenDisksAreNeeded(t *testing.T) {
	a, b := disk(t, "a", session), disk(t, "b")
	n := 0
	r := pass(t, mirror.Options{Busy: func() bool { n++; return n > 4 }}, a, b)
	if !r.Waiting || len(r.Lacking) != 1 || n != 5 {
		t.Errorf("%d questions, report: %+v", n, r)
	}
	if left := tree(t, filepath.Join(b.Dir, "tmp")); len(left) > 0 {
		t.Errorf("left: %v", slices.Sorted(maps.Keys(left)))
	}
	if r := pass(t, mirror.Options{}, a, b); len(r.Completed) != 1 || !maps.Equal(tree(t, at(b, session)), tree(t, at(a, session))) {
		t.Errorf("report: %+v", r)
	}
}

// TestSecondPassIsCheap: nothing is opened but the names of the disks.
func TestSecondPassIsCheap(t *testing.T) {
	a, b := disk(t, "a", session, cut), disk(t, "b", session)
	l := &durabletest.Layer{}
	m, err := mirror.New(mirror.Options{Disks: func() []mirror.Disk { return []mirror.Disk{a, b} }, Rate: fast, Floor: 1, Layer: l})
	must(t, err)
	if r := m.Pass(t.Context()); r.Checked == 0 || len(r.Completed) != 1 {
		t.Errorf("first pass: %+v", r)
	}
	before := len(l.Ops())
	if r := m.Pass(t.Context()); r.Sessions != 2 || r.Checked != 0 || len(r.Lacking)+len(r.Completed) != 0 {
		t.Errorf("second pass: %+v", r)
	}
	for _, op := range l.Ops()[before:] {
		if op.Verb != "readdir" && filepath.Base(op.Name) != "disk.json" {
			t.Errorf("%s %s", op.Verb, op.Name)
		}
	}
	must(t, os.Remove(at(b, cut, "voice-00001.mp4")))
	if r := m.Pass(t.Context()); len(r.Completed) != 1 || !maps.Equal(tree(t, at(b, cut)), tree(t, at(a, cut))) {
		t.Errorf("a file taken away is not noticed: %+v", r)
	}
}

// TestForeignCopyIsReadOnce: a session of which one copy tells another story is not read again in each pass, and
// is reported in each.
func TestForeignCopyIsReadOnce(t *testing.T) {
	a, b := disk(t, "a", session), disk(t, "b", session)
	log := read(t, at(b, session, "log.jsonl"))
	write(t, at(b, session, "log.jsonl"), append([]byte("{}\n"), log...))
	l := &durabletest.Layer{}
	m, err := mirror.New(mirror.Options{Disks: func() []mirror.Disk { return []mirror.Disk{a, b} }, Rate: fast, Floor: 1, Layer: l})
	must(t, err)
	if r := m.Pass(t.Context()); len(r.Foreign) != 1 || r.Checked == 0 {
		t.Errorf("first pass: %+v", r)
	}
	before := len(l.Ops())
	if r := m.Pass(t.Context()); len(r.Foreign) != 1 || r.Sessions != 1 || r.Checked != 0 {
		t.Errorf("second pass: %+v", r)
	}
	for _, op := range l.Ops()[before:] {
		if op.Verb != "readdir" && filepath.Base(op.Name) != "disk.json" {
			t.Errorf("%s %s", op.Verb, op.Name)
		}
	}
	write(t, at(b, session, "log.jsonl"), append(log, 0)) // a torn tail
	if r := m.Pass(t.Context()); len(r.Foreign) != 0 || len(r.Completed) != 1 {
		t.Errorf("a change is not noticed: %+v", r)
	}
}

// TestBrokenOffIsNotWhole: a pass that stops while it lists does not say that it saw all.
func TestBrokenOffIsNotWhole(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	a, b := disk(t, "a", session, cut), disk(t, "b", session)
	o := mirror.Options{Disks: func() []mirror.Disk { return []mirror.Disk{a, b} }, Rate: fast, Floor: 1}
	m, err := mirror.New(o)
	must(t, err)
	if r := m.Look(ctx); !r.Whole || !r.Done {
		t.Errorf("a whole look: %+v", r)
	}
	o.InUse = func(string) bool { stop(); return false }
	m, err = mirror.New(o)
	must(t, err)
	if r := m.Look(ctx); r.Whole || !r.Done {
		t.Errorf("broken off: %+v", r)
	}
}

// TestCutAtEachStep: the power fails at each operation, with each loss of what was not synced. What is
// then on disk b is never a half file under a final name, and the next pass makes it whole.
func TestCutAtEachStep(t *testing.T) {
	want := tree(t, filepath.Join(golden, session))
	for _, loss := range []durabletest.Loss{durabletest.LoseAll, durabletest.LoseNone, durabletest.LoseTorn, durabletest.LoseZero} {
		steps := 0
		for stop, over := 1, false; !over; stop += 7 {
			a, b := disk(t, "a", session), disk(t, "b")
			must(t, os.CopyFS(at(b, session), os.DirFS(at(a, session))))
			partial(t, b, session)
			was := tree(t, at(b, session))
			n := 0
			l := &durabletest.Layer{}
			for name := range tree(t, b.Dir) { // known to the layer before anything happens
				h, err := l.OpenFile(filepath.Join(b.Dir, name), os.O_RDONLY, 0)
				must(t, err)
				must(t, h.Close())
			}
			l.Before = func(op durabletest.Op) error {
				if !strings.HasPrefix(op.Name, b.Dir) {
					return nil
				}
				if n++; n > stop {
					return syscall.EIO
				}
				return nil
			}
			over = len(pass(t, mirror.Options{Layer: l}, a, b).Completed) == 1
			steps++

			after := mirror.Disk{ID: b.ID, Dir: t.TempDir()}
			for _, sub := range []string{"ledger", "sessions", "tmp"} {
				must(t, os.MkdirAll(filepath.Join(after.Dir, sub), 0o755))
			}
			must(t, os.MkdirAll(at(after, session), 0o755))
			must(t, os.MkdirAll(filepath.Join(after.Dir, "tmp", "mirror"), 0o755))
			l.Before = nil
			must(t, l.Cut(b.Dir, after.Dir, loss))
			for name, data := range tree(t, at(after, session)) {
				if data != want[name] && data != was[name] {
					t.Fatalf("loss %d, cut after step %d: %s is neither old nor new (%d bytes)", loss, stop, name, len(data))
				}
			}
			r := pass(t, mirror.Options{}, a, after)
			if len(r.Lacking) > 0 || !maps.Equal(tree(t, at(after, session)), want) {
				t.Fatalf("loss %d, cut after step %d: not made whole: %+v", loss, stop, r)
			}
			if left := tree(t, filepath.Join(after.Dir, "tmp")); len(r.Completed) > 0 && len(left) > 0 {
				t.Fatalf("loss %d, cut after step %d: left in tmp: %v", loss, stop, slices.Sorted(maps.Keys(left)))
			}
		}
		t.Logf("loss %d: %d cuts", loss, steps)
	}
}

// TestRate: bytes read and written keep to the rate.
func TestRate(t *testing.T) {
	a, b := disk(t, "a", session), disk(t, "b")
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		pass(t, mirror.Options{Rate: 1 << 20}, a, b)
		// Eight files: each a chunk read and written, read back, and read again by the check of copy a.
		if took := time.Since(begin); took < 8*4*time.Second/2 || took > 8*6*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// TestRun: a pass at once, another when asked for, and an end that waits.
func TestRun(t *testing.T) {
	a, b := disk(t, "a", session), disk(t, "b")
	reports := make(chan mirror.Report, 16)
	befores := 0
	m, err := mirror.New(mirror.Options{
		Disks: func() []mirror.Disk { return []mirror.Disk{a, b} }, Rate: fast, Floor: 1,
		Before: func(context.Context) { befores++ }, OnReport: func(r mirror.Report) {
			if r.Done {
				reports <- r
			}
		},
	})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	if r := <-reports; len(r.Completed) != 1 {
		t.Errorf("first pass: %+v", r)
	}
	must(t, os.CopyFS(at(b, cut), os.DirFS(filepath.Join(golden, cut))))
	m.Kick()
	if r := <-reports; len(r.Completed) != 1 || r.Completed[0].Session != cut || r.Completed[0].Disk != a.ID {
		t.Errorf("second pass: %+v", r)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) || befores != 2 {
		t.Errorf("Run() = %v, %d passes", err, befores)
	}
}
