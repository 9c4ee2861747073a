package ledger

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

func testOptions(t testing.TB, state string) Options {
	return Options{State: state, Device: testDevice, Signer: testSigner(t), Now: testClock(), Boot: "b00t", Board: "serial-1", Disks: []string{"a"}, Log: slog.New(slog.DiscardHandler)}
}

func open(t testing.TB, o Options) (*Ledger, Opened) {
	t.Helper()
	l, opened, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, opened
}

// check reads the master file and holds that all of it is signed. It returns the types of its lines.
func check(t testing.TB, l *Ledger) (types []string) {
	t.Helper()
	b, err := os.ReadFile(l.name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := evidence.Decide(b, l.Origin(), l.o.Signer.Public())
	if err != nil || d.End != int64(len(b)) || l.Bytes() != d.End || l.Ref() != (evidence.LedgerRef{Origin: l.Origin(), Size: d.Size, Root: d.Root.String()}) {
		t.Fatalf("Decide() = %+v, %v of %d bytes; ledger says %+v, %d", d, err, len(b), l.Ref(), l.Bytes())
	}
	if got, err := l.BytesFrom(0); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("BytesFrom(0): %d bytes, %v; want %d", len(got), err, len(b))
	}
	n := int64(0)
	for line := range bytes.Lines(b) {
		p, err := evidence.ParseLine(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil || p.Type != "sign" && p.Seq != n {
			t.Fatalf("line %d: %s, %v", n, line, err)
		}
		if p.Type != "sign" {
			types = append(types, p.Type)
		}
		n++
	}
	return types
}

func TestLedgerLines(t *testing.T) {
	l, opened := open(t, testOptions(t, t.TempDir()))
	if !opened.Fresh || opened.Cause != CauseFirst || opened.Prev != nil || opened.Cut != 0 {
		t.Errorf("Open() = %+v", opened)
	}
	for _, err := range []error{
		l.Head("s", "log.jsonl", 3, evidence.Hash{}), l.Sealed("s", "m", "p"), l.Access("s", "r"), l.Clock(2, -5, "chrony"), l.Config("c"),
		l.Disks([]string{"a", "b"}), l.Lost("s", 3, "b", "burnt"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if size, err := l.Append(evidence.Archived{Session: "s"}); err != nil || size != l.Ref().Size {
		t.Errorf("Append() = %d, %v", size, err)
	}
	if _, err := l.Append(evidence.Destroy{}); err == nil {
		t.Error("a line without a type is accepted")
	}
	want := "generation boot head sealed access clock config disks lost archived"
	if got := strings.Join(check(t, l), " "); got != want {
		t.Errorf("lines are %s, want %s", got, want)
	}
	if b, err := l.BytesFrom(l.Bytes()); err != nil || len(b) != 0 {
		t.Errorf("BytesFrom(end) = %q, %v", b, err)
	}
	if _, err := l.BytesFrom(l.Bytes() + 1); err == nil {
		t.Error("bytes beyond the end are given")
	}
}

func TestReopenGoesOn(t *testing.T) {
	o := testOptions(t, t.TempDir())
	l, _ := open(t, o)
	g, before := l.Generation(), l.Ref()
	if err := errors.Join(l.Published(before.Size), l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if err := l.Config("c"); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v", err)
	}
	l, opened := open(t, o)
	if opened != (Opened{}) || l.Generation() != g {
		t.Errorf("Open() = %+v, generation %s, was %s", opened, l.Generation(), g)
	}
	if got := check(t, l); fmt.Sprint(got) != "[generation boot boot]" {
		t.Errorf("lines are %v", got)
	}
}

// TestOpenJudges holds R2: what is continued, and what begins a generation and why.
func TestOpenJudges(t *testing.T) {
	flip := func(t *testing.T, l *Ledger, at int64) {
		b, err := os.ReadFile(l.name)
		if err != nil {
			t.Fatal(err)
		}
		b[at] ^= 1
		if err := os.WriteFile(l.name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(t *testing.T, name string) {
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		rule  string
		do    func(t *testing.T, l *Ledger, o *Options)
		cause string
		prev  bool // the new generation names the old one's signed state
	}{
		{"nothing happened", func(*testing.T, *Ledger, *Options) {}, "", false},
		{"one signed line changed", func(t *testing.T, l *Ledger, _ *Options) { flip(t, l, l.Bytes()/2) }, CauseDamaged, true},
		{"the first line changed", func(t *testing.T, l *Ledger, _ *Options) { flip(t, l, 20) }, CauseDamaged, false},
		{"the file is missing", func(t *testing.T, l *Ledger, _ *Options) { remove(t, l.name) }, CauseMissing, false},
		{"current.json is missing", func(t *testing.T, l *Ledger, _ *Options) { remove(t, currentFile(l.o.State)) }, CauseMissing, true},
		{"current.json is damaged", func(t *testing.T, l *Ledger, _ *Options) {
			if err := os.WriteFile(currentFile(l.o.State), []byte("{"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, CauseDamaged, true},
		{"the state folder was emptied", func(t *testing.T, l *Ledger, _ *Options) { remove(t, folder(l.o.State)) }, CauseFirst, false},
		{"an older image came back, less than published", func(t *testing.T, l *Ledger, _ *Options) {
			size := l.Bytes()
			if err := errors.Join(l.Config("c"), l.Published(l.Ref().Size), os.Truncate(l.name, size)); err != nil {
				t.Fatal(err)
			}
		}, CauseShort, true},
		{"an older image came back, but no more was published", func(t *testing.T, l *Ledger, _ *Options) {
			size := l.Bytes()
			if err := errors.Join(l.Published(l.Ref().Size), l.Config("c"), os.Truncate(l.name, size)); err != nil {
				t.Fatal(err)
			}
		}, "", false},
		{"the identity was moved away and a new key made", func(t *testing.T, _ *Ledger, o *Options) {
			newKey(t, o)
		}, CauseOtherKey, false},
		{"the card sits in another board", func(_ *testing.T, _ *Ledger, o *Options) { o.Board = "serial-2" }, CauseOtherBoard, true},
		{"the board tells no serial today", func(_ *testing.T, _ *Ledger, o *Options) { o.Board = "" }, "", false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			o := testOptions(t, t.TempDir())
			l, _ := open(t, o)
			if err := l.Disks([]string{"a", "b"}); err != nil {
				t.Fatal(err)
			}
			old := l.Ref()
			tt.do(t, l, &o)
			l.Close()
			l2, opened := open(t, o)
			if opened.Cause != tt.cause || opened.Fresh != (tt.cause != "") || (opened.Prev != nil) != tt.prev || (l2.Generation() == l.Generation()) != (tt.cause == "") {
				t.Errorf("Open() = %+v, generation %s, was %s", opened, l2.Generation(), l.Generation())
			}
			if tt.prev && opened.Prev.Origin != old.Origin {
				t.Errorf("follows %+v, want %s", opened.Prev, old.Origin)
			}
			check(t, l2)
			if opened.Fresh && tt.cause != CauseFirst && tt.cause != CauseMissing {
				if _, err := os.Stat(l.name); err != nil {
					t.Errorf("the old file was deleted: %v", err)
				}
			}
		})
	}
}

// newKey makes the options those of a device with another key.
func newKey(t *testing.T, o *Options) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if o.Signer, err = evidence.NewSigner(key); err != nil {
		t.Fatal(err)
	}
	o.Device = evidence.DeviceID(o.Signer.SPKI())
}

// lazy is the operating system without its syncs, for tests about what a file holds and not when.
type lazy struct{ durable.OS }

type lazyHandle struct{ durable.Handle }

func (lazy) SyncDir(string) error { return nil }

func (l lazy) OpenFile(name string, flag int, perm os.FileMode) (durable.Handle, error) {
	h, err := l.OS.OpenFile(name, flag, perm)
	return lazyHandle{h}, err
}

func (lazyHandle) Sync() error     { return nil }
func (lazyHandle) Datasync() error { return nil }

// TestCutAtEachByte cuts the master at each byte of its last three lines and opens it again.
func TestCutAtEachByte(t *testing.T) {
	state := t.TempDir()
	o := testOptions(t, state)
	o.Layer = lazy{}
	l, _ := open(t, o)
	if err := errors.Join(l.Config("c"), l.Disks([]string{"a", "b"})); err != nil {
		t.Fatal(err)
	}
	l.Close()
	whole, err := os.ReadFile(l.name)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	start := len(whole) - len(lines[len(lines)-2]) - len(lines[len(lines)-3]) - len(lines[len(lines)-4])
	for cut := start; cut <= len(whole); cut++ {
		for _, tail := range []string{"", "\x00\x00\x00\x00"} { // some file systems leave zeros
			left := append(whole[:cut:cut], tail...)
			if err := os.RemoveAll(folder(state)); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Dir(l.name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.WriteFile(l.name, left, 0o644), writeCurrent(durable.Files{Layer: lazy{}, Tmp: state}, state, current{Generation: l.Generation()})); err != nil {
				t.Fatal(err)
			}
			l2, opened := open(t, o)
			if opened.Fresh || l2.Generation() != l.Generation() {
				t.Fatalf("cut at %d%q: %+v", cut, tail, opened)
			}
			check(t, l2)
			after, err := os.ReadFile(l2.name)
			if err != nil {
				t.Fatal(err)
			}
			kept := len(left) - int(opened.Cut)
			if !bytes.HasPrefix(after, left[:kept]) {
				t.Fatalf("cut at %d%q: signed lines changed", cut, tail)
			}
			aside, err := filepath.Glob(filepath.Join(filepath.Dir(l2.name), "aside", "*"))
			if err != nil || len(aside) != min(1, int(opened.Cut)) {
				t.Fatalf("cut at %d%q: aside %v, %v", cut, tail, aside, err)
			}
			if len(aside) == 1 {
				if got, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(got, left[kept:]) {
					t.Fatalf("cut at %d%q: aside holds %q, %v", cut, tail, got, err)
				}
			}
			l2.Close()
		}
	}
}

// faulty fails syncs and writes on command.
type faulty struct {
	durable.OS
	sync, write atomic.Bool
}

type faultyHandle struct {
	durable.Handle
	f *faulty
}

func (f *faulty) OpenFile(name string, flag int, perm os.FileMode) (durable.Handle, error) {
	h, err := f.OS.OpenFile(name, flag, perm)
	return faultyHandle{h, f}, err
}

func (h faultyHandle) Datasync() error {
	if h.f.sync.Load() {
		return errors.New("input/output error")
	}
	return h.Handle.Datasync()
}

func (h faultyHandle) WriteAt(p []byte, off int64) (int, error) {
	if h.f.write.Load() {
		n, _ := h.Handle.WriteAt(p[:len(p)/2], off)
		return n, errors.New("no space left on device")
	}
	return h.Handle.WriteAt(p, off)
}

func TestGoesOnAfterAnError(t *testing.T) {
	f := new(faulty)
	o := testOptions(t, t.TempDir())
	o.Layer = f
	l, _ := open(t, o)
	before := l.Ref()
	for name, broken := range map[string]*atomic.Bool{"write": &f.write, "sync": &f.sync} {
		broken.Store(true)
		for range 2 {
			if err := l.Config("lost" + strings.Repeat("x", 1000)); err == nil || l.Ref() != before {
				t.Errorf("%s: Config() = %v, ledger at %+v", name, err, l.Ref())
			}
		}
		broken.Store(false)
	}
	if err := l.Config("kept"); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(check(t, l)); got != "[generation boot config]" {
		t.Errorf("lines are %s", got)
	}
	b, err := l.BytesFrom(0)
	if err != nil || bytes.Contains(b, []byte("lost")) {
		t.Errorf("the line that failed is there: %v", err)
	}
}

func TestGoesOnOnlyWithWhatWasSigned(t *testing.T) {
	f := new(faulty)
	o := testOptions(t, t.TempDir())
	o.Layer = f
	l, _ := open(t, o)
	f.sync.Store(true)
	if err := l.Config("c"); err == nil {
		t.Fatal("no error")
	}
	f.sync.Store(false)
	whole, err := l.BytesFrom(0)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(whole)
	changed[30] ^= 1
	for what, b := range map[string][]byte{"shorter": whole[:len(whole)-1], "changed": changed} {
		if err := os.WriteFile(l.name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := l.Config("c"); err == nil || !strings.Contains(err.Error(), "lost lines") {
			t.Errorf("%s: Config() = %v", what, err)
		}
	}
}

func TestPublished(t *testing.T) {
	o := testOptions(t, t.TempDir())
	l, _ := open(t, o)
	if err := l.Published(l.Ref().Size + 1); err == nil {
		t.Error("more than signed is published")
	}
	if err := errors.Join(l.Published(l.Ref().Size), l.Published(1)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(currentFile(o.State))
	if err != nil || string(b) != fmt.Sprintf(`{"generation":"%s","published":%d}`, l.Generation(), l.Ref().Size) {
		t.Errorf("current.json is %s, %v", b, err)
	}
}

func TestCopy(t *testing.T) {
	l, _ := open(t, testOptions(t, t.TempDir()))
	disk := t.TempDir()
	name := filepath.Join(disk, "ledger", l.Generation(), logFile)
	if _, err := l.Copy(disk).Sync(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder in which no disk is: %v", err)
	}
	if entries, err := os.ReadDir(disk); err != nil || len(entries) > 0 {
		t.Errorf("a folder in which no disk is was written to: %v, %v", entries, err)
	}
	if err := os.Mkdir(filepath.Join(disk, "ledger"), 0o755); err != nil {
		t.Fatal(err)
	}
	sync := func(rule string, wantForeign string) {
		t.Helper()
		foreign, err := l.Copy(disk).Sync()
		if err != nil || filepath.Base(foreign) != wantForeign {
			t.Errorf("%s: Sync() = %q, %v; want %q", rule, foreign, err, wantForeign)
		}
		want, err := l.BytesFrom(0)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: copy of %d bytes, %v; want %d", rule, len(got), err, len(want))
		}
	}
	sync("an empty disk gets all", ".")
	if err := l.Config("c"); err != nil {
		t.Fatal(err)
	}
	sync("a copy that fell behind is completed", ".")
	if err := os.Truncate(name, 100); err != nil {
		t.Fatal(err)
	}
	sync("a torn copy is completed", ".")
	sync("a whole copy stays", ".")
	for _, hole := range []byte{0, 0xff} {
		b, err := l.BytesFrom(0)
		if err != nil {
			t.Fatal(err)
		}
		copy(b[100:], bytes.Repeat([]byte{hole}, 200))
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		sync("bytes that a power cut kept from the disk are written", ".")
	}
	for n := 1; n <= 2; n++ {
		if err := os.WriteFile(name, []byte("something else"), 0o644); err != nil {
			t.Fatal(err)
		}
		sync("another copy is kept aside", fmt.Sprintf("%s.foreign-%d", l.Generation(), n))
	}
	longer, err := l.BytesFrom(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(longer, "more\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	sync("a longer copy is kept aside", l.Generation()+".foreign-3")
	if b, err := os.ReadFile(filepath.Join(disk, "ledger", l.Generation()+".foreign-1", logFile)); err != nil || string(b) != "something else" {
		t.Errorf("the first foreign copy holds %q, %v", b, err)
	}
}

func TestLedgerConcurrently(t *testing.T) {
	l, _ := open(t, testOptions(t, t.TempDir()))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				from := l.Bytes()
				if err := l.Head("s", "log.jsonl", l.Ref().Size, evidence.Hash{}); err != nil {
					t.Error(err)
				}
				if b, err := l.BytesFrom(from); err != nil || len(b) == 0 || b[len(b)-1] != '\n' {
					t.Errorf("BytesFrom(%d): %d bytes, %v", from, len(b), err)
				}
			}
		})
	}
	wg.Wait()
	if got := check(t, l); len(got) != 42 {
		t.Errorf("%d lines, want 42", len(got))
	}
}

func BenchmarkLedgerAppend(b *testing.B) {
	l, _ := open(b, testOptions(b, b.TempDir()))
	for b.Loop() {
		if err := l.Config("c"); err != nil {
			b.Fatal(err)
		}
	}
}
