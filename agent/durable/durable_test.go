package durable_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"minglu/agent/durable"
	"minglu/agent/durable/durabletest"
)

func setup(t *testing.T) (*durabletest.Layer, durable.Files, string) {
	t.Helper()
	l := new(durabletest.Layer)
	dir := t.TempDir()
	f := durable.Files{Layer: l, Tmp: filepath.Join(dir, "tmp")}
	if err := f.Mkdir(f.Tmp); err != nil {
		t.Fatal(err)
	}
	return l, f, dir
}

func TestVerbs(t *testing.T) {
	for _, tt := range []struct {
		rule string
		verb func(durable.Files, string, []byte) error
		old  string // "" there is no file yet
		want error
		has  string
	}{
		{"Create makes a file", durable.Files.Create, "", nil, "new"},
		{"Create never touches a file that exists", durable.Files.Create, "old", fs.ErrExist, "old"},
		{"CreateSame makes a file", durable.Files.CreateSame, "", nil, "new"},
		{"CreateSame accepts the same bytes", durable.Files.CreateSame, "new", nil, "new"},
		{"CreateSame refuses other bytes", durable.Files.CreateSame, "old", fs.ErrExist, "old"},
		{"Replace makes a file", durable.Files.Replace, "", nil, "new"},
		{"Replace replaces", durable.Files.Replace, "old", nil, "new"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			_, f, dir := setup(t)
			name := filepath.Join(dir, "file")
			if tt.old != "" {
				if err := os.WriteFile(name, []byte(tt.old), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := tt.verb(f, name, []byte("new")); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if b, _ := os.ReadFile(name); string(b) != tt.has {
				t.Errorf("file has %q, want %q", b, tt.has)
			}
			if e, _ := os.ReadDir(f.Tmp); len(e) != 0 {
				t.Errorf("%s was left in tmp", e[0].Name())
			}
		})
	}
}

// TestCutAnywhere cuts the power before each call to the system: what is there then is the old state or
// the new one, and the new one once the verb has returned.
func TestCutAnywhere(t *testing.T) {
	errCut := errors.New("cut")
	for _, verb := range []struct {
		name string
		do   func(durable.Files, string, []byte) error
		old  string
	}{
		{"Create", durable.Files.Create, ""},
		{"CreateSame", durable.Files.CreateSame, ""},
		{"Replace", durable.Files.Replace, "old"},
	} {
		for _, loss := range []durabletest.Loss{durabletest.LoseAll, durabletest.LoseNone, durabletest.LoseTorn, durabletest.LoseZero} {
			for step := 0; ; step++ {
				l, f, dir := setup(t)
				name := filepath.Join(dir, "file")
				if verb.old != "" {
					if err := f.Create(name, []byte(verb.old)); err != nil {
						t.Fatal(err)
					}
				}
				before := len(l.Ops())
				l.Before = func(durabletest.Op) error {
					if len(l.Ops())-before > step {
						return errCut
					}
					return nil
				}
				err := verb.do(f, name, []byte("new"))
				after := t.TempDir()
				if cerr := l.Cut(dir, after, loss); cerr != nil {
					t.Fatal(cerr)
				}
				b, rerr := os.ReadFile(filepath.Join(after, "file"))
				what := fmt.Sprintf("%s, cut before step %d, loss %d", verb.name, step, loss)
				switch {
				case err == nil && string(b) != "new":
					t.Errorf("%s: returned nil and the file has %q, %v", what, b, rerr)
				case rerr == nil && string(b) != "new" && (string(b) != verb.old || verb.old == ""):
					t.Errorf("%s: the file has %q: neither old nor new", what, b)
				case verb.old != "" && rerr != nil:
					t.Errorf("%s: the old file is gone: %v", what, rerr)
				}
				if err == nil {
					break
				}
			}
		}
	}
}

func TestAppend(t *testing.T) {
	l, f, dir := setup(t)
	name := filepath.Join(dir, "log")
	h, err := f.Append(name)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = h.Write([]byte("one"))
	must(err)
	must(h.Sync())
	_, err = h.Write([]byte("two"))
	must(err)
	cut := t.TempDir()
	must(l.Cut(dir, cut, durabletest.LoseAll))
	if b, _ := os.ReadFile(filepath.Join(cut, "log")); string(b) != "one" {
		t.Errorf("after a cut the log has %q: what was synced must be there", b)
	}
	if err := h.WriteAt([]byte("x"), 7); err == nil {
		t.Error("a write beyond the end would leave a hole and was accepted")
	}
	must(h.Close())
	h, err = f.Append(name)
	must(err)
	if h.Size() != 6 {
		t.Errorf("opened again at %d, want 6", h.Size())
	}
	must(h.Close())
	if _, err := f.CreateFile(name); !errors.Is(err, fs.ErrExist) {
		t.Errorf("CreateFile of a file that exists: %v", err)
	}
}

func TestFailedSyncIsForEver(t *testing.T) {
	for _, verb := range []string{"write", "datasync"} {
		l, f, dir := setup(t)
		h, err := f.Append(filepath.Join(dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		once := true
		l.Before = func(op durabletest.Op) error {
			if op.Verb == verb && once {
				once = false
				return syscall.EIO
			}
			return nil
		}
		_, err = h.Write([]byte("x"))
		if err == nil {
			err = h.Sync()
		}
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v, want EIO", verb, err)
		}
		if err := h.Sync(); !errors.Is(err, durable.ErrBroken) {
			t.Errorf("%s: the sync after it says %v: it would prove nothing", verb, err)
		}
		if _, err := h.Write([]byte("y")); !errors.Is(err, durable.ErrBroken) {
			t.Errorf("%s: the write after it says %v", verb, err)
		}
		h.Close()
	}
}

func TestFolders(t *testing.T) {
	l, f, dir := setup(t)
	deep := filepath.Join(dir, "a", "b", "c")
	for range 2 {
		if err := f.MkdirAll(deep); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Create(filepath.Join(deep, "x"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := f.Rename(filepath.Join(deep, "x"), filepath.Join(dir, "a", "y")); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(filepath.Join(dir, "a", "y"), 0); err != nil {
		t.Fatal(err)
	}
	cut := t.TempDir()
	if err := l.Cut(dir, cut, durabletest.LoseAll); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(cut, "a", "y"))
	if err != nil || len(b) != 0 {
		t.Errorf("after the cut a/y has %q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(cut, "a", "b", "c", "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old name survived: %v", err)
	}
	if err := f.Remove(filepath.Join(dir, "a", "y")); err != nil {
		t.Error(err)
	}
	if err := f.Remove(filepath.Join(dir, "a", "y")); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
}

func TestSweep(t *testing.T) {
	_, f, _ := setup(t)
	for _, n := range []string{"manifest.json.0123.tmp", "keep"} {
		if err := os.WriteFile(filepath.Join(f.Tmp, n), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sweep(); err != nil {
		t.Fatal(err)
	}
	if e, _ := os.ReadDir(f.Tmp); len(e) != 1 || e[0].Name() != "keep" {
		t.Errorf("left: %v", e)
	}
}

func TestRealFiles(t *testing.T) {
	dir := t.TempDir()
	f := durable.In(dir)
	name := filepath.Join(dir, "x")
	want := bytes.Repeat([]byte("0123456789"), 10_000)
	if err := f.Create(name, want); err != nil {
		t.Fatal(err)
	}
	if b, err := f.ReadFile(name); err != nil || !bytes.Equal(b, want) {
		t.Errorf("read %d bytes, %v", len(b), err)
	}
	if free, total, err := f.Space(dir); err != nil || free <= 0 || total < free {
		t.Errorf("space %d of %d, %v", free, total, err)
	}
	if err := f.Create(name, nil); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "durable: create: "+name) {
		t.Errorf("error %q does not say what was tried", err)
	}
}

// TestCounting: what goes through a layer is counted, what fails is not.
func TestCounting(t *testing.T) {
	l, _, dir := setup(t)
	c := durable.NewCounting(l)
	f := durable.Files{Layer: c, Tmp: filepath.Join(dir, "tmp")}
	if err := f.Create(filepath.Join(dir, "x"), []byte("12345")); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Stats(), (durable.Stats{Fsyncs: 2, Written: 5}); got != want {
		t.Errorf("after one file %+v, want %+v: the file and its folder", got, want)
	}
	h, err := f.Append(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	before := c.Stats()
	l.Before = func(op durabletest.Op) error {
		if op.Verb == "datasync" {
			return syscall.EIO
		}
		return nil
	}
	if _, err := h.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if err := h.Sync(); err == nil {
		t.Error("the sync did not fail")
	}
	if _, err := h.ReadAt(make([]byte, 2), 0); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Stats(), (durable.Stats{Fsyncs: before.Fsyncs, Written: before.Written + 3, Read: before.Read + 2}); got != want {
		t.Errorf("after a sync that failed %+v, want %+v", got, want)
	}
}

// TestBeyondFourGigabytes: offsets are of 64 bits, also where an int has 32. The file is sparse.
func TestBeyondFourGigabytes(t *testing.T) {
	dir := t.TempDir()
	f := durable.In(dir)
	name := filepath.Join(dir, "x")
	h, err := f.CreateFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	const size = 5<<30 + 1
	if err := f.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	if h, err = f.Append(name); err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if h.Size() != size {
		t.Fatalf("opened at %d, want %d", h.Size(), int64(size))
	}
	if _, err := h.Write([]byte("end")); err != nil {
		t.Fatal(err)
	}
	var b [3]byte
	if _, err := h.ReadAt(b[:], size); err != nil || string(b[:]) != "end" {
		t.Errorf("%q, %v", b, err)
	}
	if info, err := os.Stat(name); err != nil || info.Size() != size+3 {
		t.Errorf("%v, %v", info, err)
	}
}
