package evidence

import "fmt"

// FullTree is a tree that keeps every node, 64 bytes a line, so that it can prove anything of any of
// its states in logarithmic time: what a ledger needs for witnesses and anchors. The zero FullTree is
// empty. Not safe for concurrent use.
type FullTree struct {
	levels [][]Hash // levels[k][i] is the root of the complete subtree over leaves [i·2^k, (i+1)·2^k)
}

// Size returns the number of leaves.
func (t *FullTree) Size() int64 {
	if len(t.levels) == 0 {
		return 0
	}
	return int64(len(t.levels[0]))
}

// Append adds a line, given without its line feed.
func (t *FullTree) Append(line []byte) { t.AppendLeaf(LeafHash(line)) }

// AppendLeaf adds a leaf by its hash.
func (t *FullTree) AppendLeaf(h Hash) {
	for k := 0; ; k++ {
		if k == len(t.levels) {
			t.levels = append(t.levels, nil)
		}
		t.levels[k] = append(t.levels[k], h)
		n := len(t.levels[k])
		if n%2 == 1 {
			return
		}
		h = NodeHash(t.levels[k][n-2], h)
	}
}

// Root returns the root of the tree over the first size leaves; it needs 0 ≤ size ≤ Size().
func (t *FullTree) Root(size int64) (Hash, error) {
	if size < 0 || size > t.Size() {
		return Hash{}, fmt.Errorf("tree of %d lines has no state at %d", t.Size(), size)
	}
	if size == 0 {
		return new(Tree).Root(), nil
	}
	return t.node(0, size), nil
}

// node returns the root over leaves [a,b); a is a multiple of the largest power of two below b−a.
func (t *FullTree) node(a, b int64) Hash {
	k := 0
	for int64(1)<<k < b-a {
		k++
	}
	if int64(1)<<k == b-a {
		return t.levels[k][a>>k]
	}
	m := a + split(b-a)
	return NodeHash(t.node(a, m), t.node(m, b))
}

// Range returns the hashes `outside` that prove leaves [i,j) of the tree over the first size leaves,
// as [RangeProof] does.
func (t *FullTree) Range(size, i, j int64) ([]Hash, error) {
	if i < 0 || i >= j || j > size || size > t.Size() {
		return nil, fmt.Errorf("range proof: [%d,%d) of %d lines, %d known", i, j, size, t.Size())
	}
	var outside []Hash
	var walk func(a, b int64)
	walk = func(a, b int64) {
		switch {
		case b <= i || a >= j:
			outside = append(outside, t.node(a, b))
		case b-a > 1:
			k := split(b - a)
			walk(a, a+k)
			walk(a+k, b)
		}
	}
	walk(0, size)
	return outside, nil
}

// Inclusion returns the hashes beside line i in the tree over the first size leaves.
func (t *FullTree) Inclusion(i, size int64) ([]Hash, error) { return t.Range(size, i, i+1) }

// Consistency returns the hashes that prove the tree over the first old leaves to begin the tree over
// the first size leaves (RFC 6962 2.1.2). It needs 0 ≤ old ≤ size ≤ Size(). From nothing, and between
// equal states, the proof is empty.
func (t *FullTree) Consistency(old, size int64) ([]Hash, error) {
	if old < 0 || old > size || size > t.Size() {
		return nil, fmt.Errorf("consistency proof: from %d lines to %d, %d known", old, size, t.Size())
	}
	if old == 0 {
		return nil, nil
	}
	return t.subproof(0, size, old, true), nil
}

// subproof is SUBPROOF of RFC 6962 2.1.2 over leaves [a,b), m counted from a.
func (t *FullTree) subproof(a, b, m int64, whole bool) []Hash {
	if m == b-a {
		if whole {
			return nil
		}
		return []Hash{t.node(a, b)}
	}
	k := split(b - a)
	if m <= k {
		return append(t.subproof(a, a+k, m, whole), t.node(a+k, b))
	}
	return append(t.subproof(a+k, b, m-k, false), t.node(a, a+k))
}
