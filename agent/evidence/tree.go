package evidence

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/bits"
)

// Hash is a node of the tree of RFC 6962 2.1 over SHA-256.
type Hash [sha256.Size]byte

// String returns the hash as the format writes it: base64 with padding.
func (h Hash) String() string { return base64.StdEncoding.EncodeToString(h[:]) }

// ParseHash reads base64 with padding and zero trailing bits.
func ParseHash(s string) (h Hash, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	// DecodeString skips CR and LF; the length tells whether there were any.
	if err != nil || len(b) != len(h) || len(s) != base64.StdEncoding.EncodedLen(len(h)) {
		return h, fmt.Errorf("hash %q: want 44 characters of base64", s)
	}
	return Hash(b), nil
}

// LeafHash is SHA-256(0x00 ‖ line), the line without its line feed.
func LeafHash(line []byte) (h Hash) {
	d := sha256.New()
	d.Write([]byte{0})
	d.Write(line)
	d.Sum(h[:0])
	return h
}

// NodeHash is SHA-256(0x01 ‖ left ‖ right).
func NodeHash(left, right Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// Tree is a growing tree that keeps one hash per set bit of its size, no more (a compact range).
// The zero Tree is empty. Not safe for concurrent use.
type Tree struct {
	size int64
	full []Hash // roots of the complete subtrees, largest first
}

// Size returns the number of leaves.
func (t *Tree) Size() int64 { return t.size }

// Append adds a line, given without its line feed.
func (t *Tree) Append(line []byte) { t.AppendLeaf(LeafHash(line)) }

// AppendLeaf adds a leaf by its hash.
func (t *Tree) AppendLeaf(h Hash) {
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.full) - 1
		h = NodeHash(t.full[last], h)
		t.full = t.full[:last]
	}
	t.full = append(t.full, h)
	t.size++
}

// Root returns the Merkle tree hash of RFC 6962 2.1; of an empty tree it is SHA-256 of nothing.
func (t *Tree) Root() Hash {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	last := len(t.full) - 1
	h := t.full[last]
	for i := last - 1; i >= 0; i-- {
		h = NodeHash(t.full[i], h)
	}
	return h
}

// Clone returns an independent copy.
func (t *Tree) Clone() *Tree {
	return &Tree{size: t.size, full: append(make([]Hash, 0, 64), t.full...)}
}

// RangeProof returns the hashes `outside` that prove leaves [i,j) of the tree over all leaves,
// evidence-format.md section 1. It needs 0 ≤ i < j ≤ len(leaves).
func RangeProof(leaves []Hash, i, j int64) ([]Hash, error) {
	n := int64(len(leaves))
	if i < 0 || i >= j || j > n {
		return nil, fmt.Errorf("range proof: [%d,%d) is not within %d lines", i, j, n)
	}
	var outside []Hash
	rangeOutside(leaves, 0, i, j, &outside)
	return outside, nil
}

// rangeOutside walks the tree over leaves, the first of which has number a.
func rangeOutside(leaves []Hash, a, i, j int64, outside *[]Hash) {
	b := a + int64(len(leaves))
	switch {
	case b <= i || a >= j:
		var t Tree
		for _, h := range leaves {
			t.AppendLeaf(h)
		}
		*outside = append(*outside, t.Root())
	case b-a > 1:
		k := split(b - a)
		rangeOutside(leaves[:k], a, i, j, outside)
		rangeOutside(leaves[k:], a+k, i, j, outside)
	}
}

// RangeRoot returns the root of a tree of size leaves, of which [i, i+len(leaves)) are given, and
// fails unless outside is used up exactly.
func RangeRoot(size, i int64, leaves, outside []Hash) (Hash, error) {
	j := i + int64(len(leaves))
	if i < 0 || len(leaves) == 0 || j > size || size > MaxInt {
		return Hash{}, fmt.Errorf("range proof: [%d,%d) is not within %d lines", i, j, size)
	}
	p := rangeChecker{i: i, j: j, leaves: leaves, outside: outside}
	h := p.root(0, size)
	if p.short || len(p.outside) > 0 {
		return Hash{}, fmt.Errorf("range proof: %d hashes for [%d,%d) of %d lines are not as many as needed", len(outside), i, j, size)
	}
	return h, nil
}

type rangeChecker struct {
	i, j    int64
	leaves  []Hash
	outside []Hash
	short   bool
}

// root is r(a,b) of evidence-format.md section 1. A proof that is too short ends the walk early, so
// that the work is bounded by the hashes given and not by the size claimed.
func (p *rangeChecker) root(a, b int64) Hash {
	switch {
	case p.short:
		return Hash{}
	case b <= p.i || a >= p.j:
		if len(p.outside) == 0 {
			p.short = true
			return Hash{}
		}
		h := p.outside[0]
		p.outside = p.outside[1:]
		return h
	case b-a == 1:
		return p.leaves[a-p.i]
	}
	k := split(b - a)
	left := p.root(a, a+k)
	return NodeHash(left, p.root(a+k, b))
}

// split returns the largest power of two below n, for n > 1.
func split(n int64) int64 { return 1 << (bits.Len64(uint64(n-1)) - 1) }
