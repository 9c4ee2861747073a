package ledger

import (
	"bytes"
	"fmt"
	"math/bits"
	"os"
	"sync"

	"minglu/agent/evidence"
)

// blockLines is how many lines the index keeps one hash for: a year of a busy room takes about 200 kB,
// and a proof reads a handful of blocks of about 80 kB.
const blockLines = 256

// index knows the tree over the durable lines of the master file, sign lines included, well enough to
// prove anything about it.
type index struct {
	mu     sync.RWMutex // guards what follows
	blocks []block
	open   []evidence.Hash // leaves of the block being filled
	start  int64           // its offset in the file
	size   int64           // lines
	bytes  int64
}

// block is blockLines whole lines.
type block struct {
	root evidence.Hash
	off  int64 // of its first line
}

// add takes whole lines that have become durable.
func (x *index) add(b []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for line := range bytes.Lines(b) {
		x.open = append(x.open, evidence.LeafHash(bytes.TrimSuffix(line, []byte{'\n'})))
		x.size++
		x.bytes += int64(len(line))
		if len(x.open) == blockLines {
			x.blocks = append(x.blocks, block{rootOf(x.open), x.start})
			x.open, x.start = nil, x.bytes
		}
	}
}

func rootOf(leaves []evidence.Hash) evidence.Hash {
	var t evidence.Tree
	for _, h := range leaves {
		t.AppendLeaf(h)
	}
	return t.Root()
}

// Checkpoint returns the newest durable signed state. Does not block. Call [Ledger.Published] before it
// is shown (W2).
func (l *Ledger) Checkpoint() (evidence.Checkpoint, error) {
	s := l.now.Load()
	line, err := evidence.ParseLine(s.sign)
	if err != nil {
		return evidence.Checkpoint{}, fmt.Errorf("ledger: BUG: sign line: %w", err)
	}
	var sign evidence.Sign
	if err := line.Decode(&sign); err != nil {
		return evidence.Checkpoint{}, fmt.Errorf("ledger: BUG: sign line: %w", err)
	}
	root, err := evidence.ParseHash(sign.Root)
	if err != nil {
		return evidence.Checkpoint{}, fmt.Errorf("ledger: BUG: sign line: %w", err)
	}
	return evidence.Checkpoint{Origin: s.ref.Origin, Size: sign.Size, Root: root, Sig: sign.Sig}, nil
}

// Lines returns how many durable lines there are, sign lines included.
func (l *Ledger) Lines() int64 {
	l.index.mu.RLock()
	defer l.index.mu.RUnlock()
	return l.index.size
}

// ReadLines returns durable lines from number from on, at least one if there is one, and no more than
// fit into so many lines and bytes.
func (l *Ledger) ReadLines(from int64, lines, maxBytes int) (list []string, err error) {
	if from < 0 {
		return nil, fmt.Errorf("ledger: line %d", from)
	}
	size := 0
	err = l.Walk(from, func(_ int64, line []byte) bool {
		if len(list) > 0 && (len(list) == lines || size+len(line) > maxBytes) {
			return false
		}
		size += len(line)
		list = append(list, string(line))
		return true
	})
	return list, err
}

// Walk calls f with each durable line from number from on, without line feed, until it returns false. It
// reads the file piece by piece and does not hold up the ledger. The bytes are f's during the call only.
func (l *Ledger) Walk(from int64, f func(number int64, line []byte) bool) error {
	l.index.mu.RLock()
	size := l.index.size
	l.index.mu.RUnlock()
	for n := from - from%blockLines; n < size; n += blockLines {
		lines, err := l.blockLines(n / blockLines)
		if err != nil {
			return err
		}
		for i, line := range lines {
			if at := n + int64(i); at >= from && at < size && !f(at, line) {
				return nil
			}
		}
	}
	return nil
}

// blockLines reads block i from the file, as much of it as is durable.
func (l *Ledger) blockLines(i int64) ([][]byte, error) {
	x := &l.index
	x.mu.RLock()
	from, to := x.start, x.bytes
	if i < int64(len(x.blocks)) {
		from = x.blocks[i].off
		if to = x.start; i+1 < int64(len(x.blocks)) {
			to = x.blocks[i+1].off
		}
	}
	x.mu.RUnlock()
	f, err := os.Open(l.name)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	defer f.Close()
	b := make([]byte, to-from)
	if _, err := f.ReadAt(b, from); err != nil {
		return nil, fmt.Errorf("ledger: %s: at %d: %w", l.name, from, err)
	}
	if len(b) == 0 {
		return nil, nil
	}
	return bytes.Split(bytes.TrimSuffix(b, []byte{'\n'}), []byte{'\n'}), nil
}

// RootAt returns the root of the tree over the first size lines.
func (l *Ledger) RootAt(size int64) (evidence.Hash, error) {
	if size == 0 {
		return new(evidence.Tree).Root(), nil
	}
	p := prover{l: l}
	if err := p.within(size); err != nil {
		return evidence.Hash{}, err
	}
	h := p.root(0, size)
	return h, p.err
}

// Consistency proves that the tree of size lines continues that of old (RFC 6962 2.1.2). It is empty for
// old 0 and for old equal to size.
func (l *Ledger) Consistency(old, size int64) ([]evidence.Hash, error) {
	p := prover{l: l}
	if err := p.within(size); err != nil || old < 0 || old > size {
		return nil, fmt.Errorf("ledger: consistency of %d with %d: %w", old, size, orElse(err, "it is smaller"))
	}
	if old == 0 || old == size {
		return nil, nil
	}
	p.consistency(old, 0, size, true)
	return p.out, p.err
}

// Inclusion returns the hashes outside line i in the tree of size lines: the range proof of one line
// (evidence-format.md section 1).
func (l *Ledger) Inclusion(i, size int64) ([]evidence.Hash, error) {
	p := prover{l: l}
	if err := p.within(size); err != nil || i < 0 || i >= size {
		return nil, fmt.Errorf("ledger: inclusion of line %d in %d: %w", i, size, orElse(err, "no such line"))
	}
	p.outside(i, 0, size)
	return p.out, p.err
}

func orElse(err error, why string) error {
	if err == nil {
		return fmt.Errorf("%s", why)
	}
	return err
}

// prover walks the tree; it keeps the leaves of the block it read last.
type prover struct {
	l      *Ledger
	err    error
	out    []evidence.Hash
	block  int64
	leaves []evidence.Hash
}

func (p *prover) within(size int64) error {
	if n := p.l.Lines(); size > n {
		return fmt.Errorf("ledger: %d lines, there are %d", size, n)
	}
	return nil
}

// root is the hash over the lines [a,b), a subtree of a larger tree: below blockLines it lies in one block.
func (p *prover) root(a, b int64) evidence.Hash {
	n := b - a
	if p.err != nil {
		return evidence.Hash{}
	}
	if n == blockLines {
		if h, ok := p.whole(a / blockLines); ok {
			return h
		}
	}
	if n <= blockLines {
		leaves := p.read(a / blockLines)
		if i := a % blockLines; i+n <= int64(len(leaves)) {
			return rootOf(leaves[i : i+n])
		}
		p.fail(a)
		return evidence.Hash{}
	}
	k := split(n)
	left := p.root(a, a+k)
	return evidence.NodeHash(left, p.root(a+k, b))
}

func (p *prover) whole(i int64) (evidence.Hash, bool) {
	x := &p.l.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	if i < int64(len(x.blocks)) {
		return x.blocks[i].root, true
	}
	return evidence.Hash{}, false
}

// read returns the leaves of a block.
func (p *prover) read(i int64) []evidence.Hash {
	if p.leaves != nil && p.block == i {
		return p.leaves
	}
	x := &p.l.index
	x.mu.RLock()
	filled := i == int64(len(x.blocks))
	if filled {
		p.block, p.leaves = i, append([]evidence.Hash(nil), x.open...)
	}
	x.mu.RUnlock()
	if filled {
		return p.leaves
	}
	lines, err := p.l.blockLines(i)
	if err != nil {
		p.err = err
		return nil
	}
	p.block, p.leaves = i, nil
	for _, line := range lines {
		p.leaves = append(p.leaves, evidence.LeafHash(line))
	}
	if h, ok := p.whole(i); ok && h != rootOf(p.leaves) {
		p.fail(i * blockLines)
	}
	return p.leaves
}

func (p *prover) fail(line int64) {
	if p.err == nil {
		p.err = fmt.Errorf("ledger: %s: the lines near %d are not those that were written: check the disk of the state folder, then restart", p.l.name, line)
	}
}

// consistency is SUBPROOF(m, D[a:b], whole) of RFC 6962 2.1.2.
func (p *prover) consistency(m, a, b int64, whole bool) {
	n := b - a
	if m == n {
		if !whole {
			p.out = append(p.out, p.root(a, b))
		}
		return
	}
	if k := split(n); m <= k {
		p.consistency(m, a, a+k, whole)
		p.out = append(p.out, p.root(a+k, b))
	} else {
		p.consistency(m-k, a+k, b, false)
		p.out = append(p.out, p.root(a, a+k))
	}
}

// outside appends the hashes beside line i, from left to right.
func (p *prover) outside(i, a, b int64) {
	switch {
	case b <= i || a > i:
		p.out = append(p.out, p.root(a, b))
	case b-a > 1:
		k := split(b - a)
		p.outside(i, a, a+k)
		p.outside(i, a+k, b)
	}
}

// split returns the largest power of two below n, for n > 1.
func split(n int64) int64 { return 1 << (bits.Len64(uint64(n-1)) - 1) }
