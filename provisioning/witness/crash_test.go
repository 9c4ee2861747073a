package witness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"minglu/agent/durable/durabletest"
	"minglu/agent/evidence"
)

// crashes is in how many random ways requests and power cuts are mixed.
const crashes = 1000

// errCut is what every call to the disk ends in after the power was cut.
var errCut = errors.New("power cut")

// cutLayer is a disk whose power is cut before its nth change.
func cutLayer(n int) *durabletest.Layer {
	var mu sync.Mutex
	return &durabletest.Layer{Before: func(op durabletest.Op) error {
		switch op.Verb {
		case "read", "readdir", "open", "space":
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if n--; n < 0 {
			return errCut
		}
		return nil
	}}
}

// TestNeverTwoHistories mixes requests of two forks of one ledger, and of a ledger that follows, at once
// and with power cuts at every step of a cosignature: whatever was cosigned is one history, and no size
// is cosigned after a larger one.
func TestNeverTwoHistories(t *testing.T) {
	key := newKey(t)
	honest := newHistory(t, key, g1)
	honest.grow(40, "line")
	forked := honest.fork(6, func(o *history) { o.grow(6, "line"); o.grow(34, "other") })
	later := newHistory(t, key, g2)
	later.grow(40, "line")
	cases, cut, cosigned := crashes, 0, 0
	if testing.Short() {
		cases = 100
	}
	const seed = 20261125
	for n := range cases {
		r := rand.New(rand.NewPCG(seed, uint64(n)))
		got, cuts, err := mix(t, r, []*history{honest, forked, later})
		if err != nil {
			t.Fatalf("case %d of seed %d: %v", n, seed, err)
		}
		cut += cuts
		cosigned += got
	}
	fmt.Printf("figure: witness: %d cosignatures in %d mixes of three histories with %d power cuts, none contradicts another\n", cosigned, cases, cut)
	if cut < cases/2 || cosigned < cases {
		t.Errorf("%d cuts and %d cosignatures: too few to prove anything", cut, cosigned)
	}
}

// mix runs one random mix and returns how much was cosigned and cut.
func mix(t *testing.T, r *rand.Rand, all []*history) (cosigned, cuts int, err error) {
	base := t.TempDir()
	if dir, err := os.MkdirTemp("/dev/shm", "minglu-"); err == nil { // syncs cost nothing there; the layer does the losing
		defer os.RemoveAll(dir)
		base = dir
	}
	rig := newRigIn(t, filepath.Join(base, "first"), all[0])
	if err := os.Mkdir(rig.dir, 0o700); err != nil {
		return 0, 0, err
	}
	seen := map[string][]signed{}
	for range 4 { // lives of the process
		layer := cutLayer(r.IntN(14))
		next := filepath.Join(base, fmt.Sprint(cuts))
		if err := os.CopyFS(next, os.DirFS(rig.dir)); err != nil { // durable before this life began
			return 0, 0, err
		}
		w, err := Open(rig.options(layer))
		if err == nil {
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 2 + r.IntN(2) { // requests at once
				h, size := all[r.IntN(len(all))], 1+r.Int64N(40)
				wg.Go(func() {
					for _, old := range []int64{0, heldOf(w, h)} {
						if old > size {
							continue
						}
						if _, err := w.Add(h.show(old, size)); err == nil {
							root, _ := h.tree.Root(size)
							mu.Lock()
							seen[h.origin] = append(seen[h.origin], signed{size, root, h})
							mu.Unlock()
						}
					}
				})
			}
			wg.Wait()
			w.Close()
		}
		// What the disk holds after the cut is all that is left.
		if err := layer.Cut(rig.dir, next, durabletest.Loss(r.IntN(4))); err != nil {
			return 0, 0, err
		}
		rig.dir = next
		cuts++
	}
	for origin, list := range seen {
		cosigned += len(list)
		for i, a := range list {
			for _, b := range list[i+1:] {
				if err := agree(a, b); err != nil {
					return 0, 0, fmt.Errorf("%s: %w", origin, err)
				}
			}
		}
	}
	return cosigned, cuts, nil
}

type signed struct {
	size int64
	root evidence.Hash
	h    *history
}

// agree fails if two cosigned states are not of one history.
func agree(a, b signed) error {
	if a.size > b.size {
		a, b = b, a
	}
	root, err := b.h.tree.Root(a.size)
	if err != nil {
		return err
	}
	if root != a.root {
		return fmt.Errorf("sizes %d and %d were cosigned, and the second does not continue the first", a.size, b.size)
	}
	return nil
}

func heldOf(w *Witness, h *history) int64 {
	held, err := w.Held(h.device())
	if err != nil {
		return 0
	}
	for _, g := range held {
		if g.Origin == h.origin {
			return g.Size
		}
	}
	return 0
}
