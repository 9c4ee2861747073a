package evidence_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/mod/sumdb/tlog"

	"minglu/agent/evidence"
)

// storedHashes is a tree as golang.org/x/mod keeps it.
type storedHashes []tlog.Hash

func (s storedHashes) ReadHashes(ix []int64) (out []tlog.Hash, err error) {
	for _, i := range ix {
		out = append(out, s[i])
	}
	return out, nil
}

// TestFullTree holds roots, range and consistency proofs of every state of a tree against x/mod.
func TestFullTree(t *testing.T) {
	var tree evidence.FullTree
	var theirs storedHashes
	var leaves []evidence.Hash
	for n := int64(0); n < 40; n++ {
		line := []byte{byte(n)}
		theirs = append(theirs, must(tlog.StoredHashes(n, line, theirs))...)
		tree.Append(line)
		leaves = append(leaves, evidence.LeafHash(line))
	}
	root := func(n int64) evidence.Hash { return must(tree.Root(n)) }
	for n := int64(1); n <= 40; n++ {
		if want := must(tlog.TreeHash(n, theirs)); root(n) != evidence.Hash(want) {
			t.Fatalf("root at %d", n)
		}
		for i := range n {
			for j := i + 1; j <= n; j += 3 {
				outside := must(tree.Range(n, i, j))
				if got, err := evidence.RangeRoot(n, i, leaves[i:j], outside); err != nil || got != root(n) {
					t.Fatalf("range [%d,%d) of %d: %v", i, j, n, err)
				}
			}
			old := i + 1
			ours := must(tree.Consistency(old, n))
			theirs := must(tlog.ProveTree(n, old, theirs))
			if len(ours) != len(theirs) {
				t.Fatalf("consistency %d to %d: %d hashes, x/mod has %d", old, n, len(ours), len(theirs))
			}
			for k := range ours {
				if ours[k] != evidence.Hash(theirs[k]) {
					t.Fatalf("consistency %d to %d: hash %d", old, n, k)
				}
			}
			if err := evidence.CheckConsistency(old, n, root(old), root(n), ours); err != nil {
				t.Fatal(err)
			}
			if err := evidence.CheckConsistency(old, n, evidence.Hash{1}, root(n), ours); err == nil {
				t.Fatalf("consistency %d to %d holds for another root", old, n)
			}
		}
	}
	if err := evidence.CheckConsistency(0, 9, evidence.Hash{}, root(9), nil); err != nil {
		t.Error(err)
	}
}

// anchor makes an anchor file over the ledger's last state, signed by its device.
func (b *book) anchor(session string, token func(imprint [32]byte) []byte, cosign ...func(text []byte) string) []byte {
	return b.anchorAt(b.tree.Size(), session, token, cosign...)
}

func (b *book) anchorAt(size int64, session string, token func(imprint [32]byte) []byte, cosign ...func(text []byte) string) []byte {
	var tree evidence.FullTree
	for _, line := range bytes.Split(bytes.TrimSuffix(b.data, []byte("\n")), []byte("\n")) {
		tree.Append(line)
	}
	c := evidence.Checkpoint{Origin: b.origin, Size: size, Root: must(tree.Root(size))}
	c.Sig = must(b.dev.signer.Sign(c.Origin, c.Size, c.Root))
	var der []byte
	if token != nil {
		der = token(c.Imprint())
	}
	var lines []string
	for _, f := range cosign {
		lines = append(lines, f(c.Text()))
	}
	return must(evidence.BuildAnchor(c, evidence.SessionLines(b.data, session), tree.Inclusion, lines, der))
}

func TestAnchor(t *testing.T) {
	g := goldenScript().make()
	b := ledgerFor(g.dev, func(b *book) {
		b.head("20260101T000000Z-00000000", g)
		b.head(goldenID, g)
		b.head(goldenID, g)
		b.sealed(goldenID, g.files)
	})
	a := newTSA("tsa", nil)
	w, key := witness("a")
	trust := &evidence.Trust{Witnesses: []evidence.Witness{w}}
	file := b.anchor(goldenID, func(i [32]byte) []byte { return a.token(i, goldenStart) }, func(text []byte) string { return must(evidence.Cosign(w.Name, key, text, goldenStart)) })
	p := must(evidence.ParseAnchor(file))
	if err := p.Checkpoint.Verify(g.dev.signer.Public()); err != nil || len(p.Lines) != 3 || p.Lines[0].Index != 0 || p.Lines[1].Index != 3 || p.Lines[2].Index != 4 {
		t.Errorf("%v %v", p.Lines, err)
	}
	proofs, notes, err := trust.Outside(p)
	if err != nil || len(proofs) != 1 || proofs[0].By != w.Name || !proofs[0].Cosig || len(notes) != 1 || !strings.Contains(notes[0], "no chain to a trusted") {
		t.Errorf("%v %v %v", proofs, notes, err)
	}
	trust.TSA = append(trust.TSA, a.root)
	if proofs, notes, err := trust.Outside(p); err != nil || len(proofs) != 2 || len(notes) != 0 || proofs[0].SHA256 != hexSum(p.Token) {
		t.Errorf("%v %v %v", proofs, notes, err)
	}
	for i := range file {
		flipped := bytes.Clone(file)
		flipped[i] ^= 1 << (i % 8)
		p, err := evidence.ParseAnchor(flipped)
		if err == nil {
			err = p.Checkpoint.Verify(g.dev.signer.Public())
		}
		if err == nil {
			_, _, err = trust.Outside(p)
		}
		if err == nil || errors.Is(err, evidence.ErrUntrusted) {
			t.Fatalf("byte %d (%q) is free: %v", i, file[max(0, i-20):i+1], err)
		}
	}
}

// TestAnchorsAfterALoss: anchors of before a disk was lost name what it held; they do not speak against what is
// left and was sealed since, once an anchor shows that a person gave the rest up.
func TestAnchorsAfterALoss(t *testing.T) {
	g, short := goldenScript().make(), goldenScript()
	short.cut = true
	rest := short.make()
	rest.recover(0)
	tree := ledgerFor(g.dev, func(b *book) {
		b.head(goldenID, g)
		b.sealed(goldenID, g.files)
		b.sign()
	})
	before := tree.anchor(goldenID, nil)
	tree.add(evidence.LostTail{Common: tree.common("lost"), Session: goldenID, Size: 20, Disk: "b", Cause: "broken"})
	tree.head(goldenID, rest)
	tree.sealed(goldenID, rest.files)
	tree.sign()
	after := tree.anchor(goldenID, nil)
	var types []string
	for _, l := range must(evidence.ParseAnchor(after)).Lines {
		types = append(types, must(evidence.ParseLine(l.Line)).Type)
	}
	if got := strings.Join(types, " "); got != "generation lost head sealed" {
		t.Errorf("the newer anchor carries %q", got)
	}
	alone := ledgerFor(g.dev, func(b *book) {
		b.head(goldenID, rest)
		b.sealed(goldenID, g.files)
		b.sign()
	})
	sealOf := alone.anchor(goldenID, nil)
	alone.add(evidence.LostTail{Common: alone.common("lost"), Session: goldenID, Size: 22, Disk: "b", Cause: "broken"})
	alone.sealed(goldenID, rest.files)
	alone.sign()
	name := func(b []byte) string { return evidence.AnchorName(must(evidence.ParseAnchor(b)).Checkpoint.Size) }
	for _, tt := range []struct {
		rule    string
		files   fstest.MapFS
		anchors [][]byte
		exit    int
		says    string
	}{
		{"what is left, with both", rest.files, [][]byte{before, after}, 3, "lost with a disk, a person entered: broken"},
		{"what is left, with the newer one", rest.files, [][]byte{after}, 3, goldenID},
		{"the seal alone was lost", rest.files, [][]byte{sealOf, alone.anchor(goldenID, nil)}, 3, "lost with a disk, a person entered: broken"},
		{"what is left, and nobody gave the rest up", rest.files, [][]byte{before}, 1, "sealed with"},
		{"what was thought lost, with both", g.files, [][]byte{before, after}, 0, goldenID},
	} {
		files := tt.files
		for _, a := range tt.anchors {
			files = with(files, name(a), a)
		}
		r := evidence.Verify(files, evidence.VerifyOptions{Path: goldenID, Trust: goldenTrust})
		if b := asJSON(t, r); r.Exit != tt.exit || !bytes.Contains(b, []byte(tt.says)) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", tt.rule, r.Exit, tt.exit, tt.says, b)
		}
	}
}
