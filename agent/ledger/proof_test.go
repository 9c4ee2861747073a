package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// filled is a ledger of so many lines, and its lines as they stand in the file.
func filled(t testing.TB, o Options, entries int) (*Ledger, [][]byte) {
	t.Helper()
	o.Layer = noSync{}
	l, _ := open(t, o)
	for i := range entries {
		if err := l.Config(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := l.BytesFrom(0)
	if err != nil {
		t.Fatal(err)
	}
	return l, bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
}

func hashes(list []evidence.Hash) (out []tlog.Hash) {
	for _, h := range list {
		out = append(out, tlog.Hash(h))
	}
	return out
}

// TestProofsHoldForAnother: what this ledger proves, golang.org/x/mod/sumdb/tlog accepts.
func TestProofsHoldForAnother(t *testing.T) {
	o := testOptions(t, t.TempDir())
	l, lines := filled(t, o, 700)
	n := int64(len(lines))
	if l.Lines() != n || n < 5*blockLines {
		t.Fatalf("%d lines, the file has %d", l.Lines(), n)
	}
	var tree evidence.Tree
	roots := []evidence.Hash{tree.Root()}
	for _, line := range lines {
		tree.Append(line)
		roots = append(roots, tree.Root())
	}
	r := rand.New(rand.NewPCG(1, 2))
	sizes := []int64{1, 2, 3, blockLines - 1, blockLines, blockLines + 1, 2 * blockLines, 3*blockLines + 5, 4 * blockLines, n - 1, n}
	for range 60 {
		sizes = append(sizes, 1+r.Int64N(n))
	}
	check := func(l *Ledger) {
		t.Helper()
		for _, size := range sizes {
			if got, err := l.RootAt(size); err != nil || got != roots[size] {
				t.Fatalf("RootAt(%d) = %v, %v", size, got, err)
			}
			i := r.Int64N(size)
			outside, err := l.Inclusion(i, size)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := evidence.RangeRoot(size, i, []evidence.Hash{evidence.LeafHash(lines[i])}, outside); err != nil || got != roots[size] {
				t.Fatalf("inclusion of %d in %d: %v", i, size, err)
			}
			old := 1 + r.Int64N(size)
			proof, err := l.Consistency(old, size)
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.CheckTree(hashes(proof), size, tlog.Hash(roots[size]), old, tlog.Hash(roots[old])); err != nil {
				t.Fatalf("consistency of %d with %d: %v", old, size, err)
			}
		}
	}
	check(l)
	for _, err := range []error{second(l.RootAt(n + 1)), second(l.Consistency(5, n+1)), second(l.Consistency(6, 5)), second(l.Consistency(-1, 5)), second(l.Inclusion(5, 5)), second(l.Inclusion(-1, 5))} {
		if err == nil {
			t.Error("something that is not there is proven")
		}
	}
	if p, err := l.Consistency(0, n); err != nil || len(p) > 0 {
		t.Errorf("from nothing: %v, %v", p, err)
	}
	ck, err := l.Checkpoint()
	if err != nil || ck.Size != n-1 || ck.Root != roots[n-1] || ck.Verify(l.o.Signer.Public()) != nil {
		t.Errorf("Checkpoint() = %+v, %v", ck, err)
	}
	got, err := l.ReadLines(blockLines-3, 2000, 1<<30)
	if err != nil || int64(len(got)) != n-blockLines+3 || got[0] != string(lines[blockLines-3]) || got[len(got)-1] != string(lines[n-1]) {
		t.Errorf("ReadLines: %d lines, %v", len(got), err)
	}
	if got, err := l.ReadLines(10, 3, 1<<30); err != nil || len(got) != 3 {
		t.Errorf("3 lines: %d, %v", len(got), err)
	}
	if got, err := l.ReadLines(10, 2000, 1); err != nil || len(got) != 1 {
		t.Errorf("1 byte: %d lines, %v", len(got), err)
	}
	if got, err := l.ReadLines(n, 10, 10); err != nil || len(got) != 0 {
		t.Errorf("beyond the end: %d lines, %v", len(got), err)
	}
	l.Close()
	again, _ := open(t, o)
	check(again) // the index is built from the file too
	ck, err = again.Checkpoint()
	if err != nil || ck.Size != n+1 {
		t.Errorf("after a restart: %+v, %v", ck, err)
	}

	// A file that changed under the ledger proves nothing.
	b, _ := os.ReadFile(again.name)
	b[len(b)/4] ^= 1
	os.WriteFile(again.name, b, 0o644)
	bad := 0
	for i := range n - 1 {
		if _, err := again.Inclusion(i, n); err != nil {
			bad++
		}
	}
	if bad != blockLines {
		t.Errorf("%d lines cannot be proven, want those of one block", bad)
	}
}

func second[T any](_ T, err error) error { return err }

func TestAnchors(t *testing.T) {
	o := testOptions(t, t.TempDir())
	l, _ := open(t, o)
	if _, _, _, err := l.ReadAnchor(3); !errors.Is(err, fs.ErrNotExist) || len(l.Anchors(0)) != 0 {
		t.Errorf("nothing there: %v", err)
	}
	save := func(size int64, token string, cosigs ...string) {
		t.Helper()
		var der []byte
		if token != "" {
			der = []byte(token)
		}
		if err := l.SaveAnchor(size, fmt.Sprint("note ", size), der, cosigs); err != nil {
			t.Fatal(err)
		}
	}
	save(30, "token")
	save(5, "", "— a x")
	save(5, "", "— b y")
	save(5, "", "— b y") // again
	save(7, "t", "— a z")
	if err := l.SaveAnchor(30, "note 30", []byte("other"), nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another token for the same checkpoint: %v", err)
	}
	want := "[{5 false true} {7 true true} {30 true false}]"
	if got := fmt.Sprint(l.Anchors(0)); got != want {
		t.Errorf("Anchors(0) = %s, want %s", got, want)
	}
	if got := fmt.Sprint(l.Anchors(6)); got != "[{7 true true} {30 true false}]" {
		t.Errorf("Anchors(6) = %s", got)
	}
	l.Close()
	l, _ = open(t, o)
	if got := fmt.Sprint(l.Anchors(0)); got != want {
		t.Errorf("after a restart: %s, want %s", got, want)
	}
	note, token, cosigs, err := l.ReadAnchor(5)
	if note != "note 5" || token != nil || strings.Join(cosigs, "|") != "— a x|— b y" || err != nil {
		t.Errorf("ReadAnchor(5) = %q, %q, %q, %v", note, token, cosigs, err)
	}
	disk := t.TempDir()
	if err := os.Mkdir(filepath.Join(disk, "ledger"), 0o755); err != nil {
		t.Fatal(err)
	}
	if all, err := l.Copy(disk).SyncAnchors(4); all || err != nil {
		t.Errorf("four of seven files: %t, %v", all, err)
	}
	if all, err := l.Copy(disk).SyncAnchors(4); !all || err != nil {
		t.Errorf("the rest: %t, %v", all, err)
	}
	files, _ := filepath.Glob(filepath.Join(disk, "ledger", l.Generation(), "anchors", "*"))
	if len(files) != 7 || filepath.Base(files[0]) != "000000000005.cosig" {
		t.Errorf("on the disk: %q", files)
	}
}

// TestWitnessRule is R2 for what a witness holds: 50 devices whose flash forgot a random piece of its end.
// None continues a history that the witness knows otherwise for longer than until its next start, and
// none is locked out.
func TestWitnessRule(t *testing.T) {
	for i := range 50 {
		r := rand.New(rand.NewPCG(3, uint64(i)))
		o := testOptions(t, t.TempDir())
		o.Layer = noSync{}
		w := witness{}
		l, _ := open(t, o)
		work := func(entries int) {
			for range entries {
				if err := l.Config(fmt.Sprint(r.Uint64())); err != nil {
					t.Fatal(err)
				}
			}
		}
		work(r.IntN(300))
		w.show(t, l)
		l.Close()
		image := clone(t, o.State) // what the flash will fall back to: everything, "published" too
		l, _ = open(t, o)
		work(1 + r.IntN(40))
		shown := r.IntN(3) > 0
		if shown {
			if conflict := w.show(t, l); conflict {
				t.Fatalf("case %d: an honest history is refused", i)
			}
		}
		old := l.Origin()
		l.Close()

		o.State = image
		l, opened := open(t, o)
		if opened.Fresh {
			t.Fatalf("case %d: the image is as good as any until the witness speaks: %+v", i, opened)
		}
		work(r.IntN(60)) // shorter or longer than what the witness holds
		if conflict := w.show(t, l); conflict != shown {
			t.Fatalf("case %d: conflict %t, want %t", i, conflict, shown)
		}
		work(r.IntN(100)) // it records on
		l.Close()
		l, opened = open(t, o)
		if opened.Fresh != shown || shown && (opened.Cause != CauseWitness || opened.Prev == nil || opened.Prev.Origin != old) {
			t.Fatalf("case %d: next start: %+v", i, opened)
		}
		work(3)
		if w.show(t, l) {
			t.Fatalf("case %d: locked out", i)
		}
		if shown {
			line, err := l.ReadLines(0, 1, 1)
			if err != nil || !strings.Contains(line[0], fmt.Sprintf(`"witness_size":%d}`, w.held[old].size)) {
				t.Errorf("case %d: %s, %v", i, line, err)
			}
		}
		l.Close()
		if l, opened = open(t, o); opened.Fresh {
			t.Errorf("case %d: the new generation is not continued: %+v", i, opened)
		}
		l.Close()
	}
}

// witness keeps what it was shown, as C2SP tlog-witness says.
type witness struct{ held map[string]state }

type state struct {
	size int64
	root evidence.Hash
}

// show lets the witness see the newest checkpoint, and the ledger the witness's answer.
func (w *witness) show(t *testing.T, l *Ledger) (conflict bool) {
	t.Helper()
	ck, err := l.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Published(ck.Size); err != nil {
		t.Fatal(err)
	}
	if w.held == nil {
		w.held = map[string]state{}
	}
	h, ok := w.held[ck.Origin]
	if ok && h.size <= ck.Size {
		proof, err := l.Consistency(h.size, ck.Size)
		if err != nil {
			t.Fatal(err)
		}
		ok = tlog.CheckTree(hashes(proof), ck.Size, tlog.Hash(ck.Root), h.size, tlog.Hash(h.root)) != nil
	}
	if !ok {
		w.held[ck.Origin] = state{ck.Size, ck.Root}
	}
	root := w.held[ck.Origin].root.String()
	if w.held[ck.Origin].size > ck.Size && ck.Size%4 == 1 { // C2SP tlog-witness tells the size alone
		root = ""
	}
	conflict, err = l.WitnessHolds(w.held[ck.Origin].size, root)
	if err != nil || conflict != ok {
		t.Fatalf("WitnessHolds = %t, %v; the witness thinks %t", conflict, err, ok)
	}
	return conflict
}

func clone(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestWitnessSizeFromElsewhere(t *testing.T) {
	o := testOptions(t, t.TempDir())
	l, _ := open(t, o)
	l.Close()
	o.WitnessSize = l.Ref().Size
	l, opened := open(t, o)
	if opened.Fresh {
		t.Errorf("the witness knows no more than the device: %+v", opened)
	}
	l.Close()
	o.WitnessSize = l.Ref().Size + 1
	if _, opened := open(t, o); opened.Cause != CauseWitness {
		t.Errorf("the witness knows more: %+v", opened)
	}
}

// noSync is the real file system without syncs, where no cut is tested.
type noSync struct{ durable.OS }

func (noSync) SyncDir(string) error { return nil }

func (n noSync) OpenFile(name string, flag int, perm fs.FileMode) (durable.Handle, error) {
	h, err := n.OS.OpenFile(name, flag, perm)
	return noSyncFile{h}, err
}

type noSyncFile struct{ durable.Handle }

func (noSyncFile) Sync() error     { return nil }
func (noSyncFile) Datasync() error { return nil }
