package ledger

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestThin: which old anchors go.
func TestThin(t *testing.T) {
	var list []Anchor
	for i := range int64(1000) { // an hour of an idle room each: 4 lines
		list = append(list, Anchor{4 * i, true, i%3 == 0})
	}
	for i := range int64(keepNewest) {
		list = append(list, Anchor{4000 + 4*i, true, true})
	}
	if drop := thin(list, 0, keepNewest); len(drop) > 0 {
		t.Errorf("all are needed by a session, and %d go", len(drop))
	}
	if drop := thin(list[1000:], 1<<40, keepNewest); len(drop) > 0 {
		t.Errorf("%d of the newest go", len(drop))
	}
	drop := thin(list, 2000, keepNewest)
	if len(drop) == 0 || slices.Max(drop) >= 2000 {
		t.Fatalf("drop %d, up to %v", len(drop), slices.Max(drop))
	}
	left := slices.DeleteFunc(slices.Clone(list), func(a Anchor) bool { return slices.Contains(drop, a.Size) })
	tokens, cosigs := map[int64]int64{}, map[int64]int64{}
	for _, a := range list[:1000] { // the last of each block
		if a.Token {
			tokens[a.Size/keepBlock] = a.Size
		}
		if a.Cosig {
			cosigs[a.Size/keepBlock] = a.Size
		}
	}
	for _, want := range []map[int64]int64{tokens, cosigs} {
		for block, size := range want {
			if size < 2000 && slices.Contains(drop, size) {
				t.Errorf("the last of block %d goes: %d", block, size)
			}
		}
	}
	if old := len(left) - keepNewest - 500; old > 2*2000/keepBlock+1 {
		t.Errorf("%d old ones stay", old)
	}
	if again := thin(left, 2000, keepNewest); len(again) > 0 {
		t.Errorf("once more takes away %v", again)
	}
}

// TestThinAnchors: files go from the state folder and then from a disk, and never from a disk alone.
func TestThinAnchors(t *testing.T) {
	o := testOptions(t, t.TempDir())
	o.Layer = noSync{}
	l, _ := open(t, o)
	disk := t.TempDir()
	here := filepath.Dir(l.anchorFile(0, noteFile))
	there := filepath.Join(disk, "ledger", l.Generation(), anchorsFolder)
	l.Close()
	const keep, all = 100, 130
	for _, dir := range []string{here, there} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for i := range int64(all) {
			for _, kind := range []string{noteFile, tokenFile} {
				if err := os.WriteFile(filepath.Join(dir, anchorName(1+i, kind)), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	l, _ = open(t, o)
	l.anchors.keep = keep
	count := func(dir string) int {
		names, err := readNames(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	if _, err := l.Copy(disk).SyncAnchors(64); err != nil || count(there) != 2*all {
		t.Errorf("before any thinning the disk holds %d files, %v", count(there), err)
	}
	if err := l.ThinAnchors(1 << 40); err != nil {
		t.Fatal(err)
	}
	if n := count(here); n != 2*(keep+1) { // the 30 oldest are of one block
		t.Errorf("%d files in the state folder", n)
	}
	if n := len(l.Anchors(0)); n != keep+1 {
		t.Errorf("%d anchors", n)
	}
	if _, err := l.Copy(disk).SyncAnchors(64); err != nil || count(there) != 2*(keep+1) {
		t.Errorf("the disk holds %d files, %v", count(there), err)
	}
	if _, _, _, err := l.ReadAnchor(all); err != nil {
		t.Errorf("the newest: %v", err)
	}
	// A state folder that lost files does not make the disk lose them.
	for i := range int64(40) {
		if err := removeAnchor(l.files, here, all-i); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	l, _ = open(t, o)
	l.anchors.keep = keep
	if err := l.ThinAnchors(1 << 40); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Copy(disk).SyncAnchors(64); err != nil || count(there) != 2*(keep+1) {
		t.Errorf("the disk holds %d files after the state folder lost some, %v", count(there), err)
	}
}

// TestCosignatureGrowsOnDisk: a witness that answers later reaches the copy.
func TestCosignatureGrowsOnDisk(t *testing.T) {
	o := testOptions(t, t.TempDir())
	l, _ := open(t, o)
	disk := t.TempDir()
	if err := os.Mkdir(filepath.Join(disk, "ledger"), 0o755); err != nil { // as the recorder does
		t.Fatal(err)
	}
	for i, line := range []string{"— a x", "— b y"} {
		if err := l.SaveAnchor(5, "note", nil, []string{line}); err != nil {
			t.Fatal(err)
		}
		if all, err := l.Copy(disk).SyncAnchors(4); !all || err != nil {
			t.Fatal(all, err)
		}
		b, err := os.ReadFile(filepath.Join(disk, "ledger", l.Generation(), anchorsFolder, anchorName(5, cosigFile)))
		if want := []string{"— a x\n", "— a x\n— b y\n"}[i]; string(b) != want || err != nil {
			t.Errorf("on the disk: %q, %v", b, err)
		}
	}
}
