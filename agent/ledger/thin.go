package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"minglu/agent/durable"
)

// A room gets tens of anchors a day. What sessions need of them lies in their own folders; here they are for
// sessions that still lack something, and show how long the ledger was, and when. A session of which nothing is known
// for longer than the newest last (unsealed, or sealed on a disk that is away) may find its bounds thinned.
const (
	keepNewest = 4096 // anchors that stay: more than a month of a busy room
	keepBlock  = 256  // lines of the ledger, of which one token and one cosignature stay for ever
	thinStep   = 64   // anchors taken away at a time
)

// thin chooses what may go of a list of anchors: what is below floor, not among the keep newest, and neither
// the last with a token nor the last with a cosignature of its block of lines. The same list, or what was
// left of it, gives the same answer: it goes by no clock.
func thin(list []Anchor, floor int64, keep int) (drop []int64) {
	list = list[:max(0, len(list)-keep)]
	end, _ := slices.BinarySearchFunc(list, floor, bySize)
	for i, a := range list[:end] {
		token, cosig := a.Token, a.Cosig
		for _, later := range list[i+1:] {
			if later.Size/keepBlock != a.Size/keepBlock {
				break
			}
			token, cosig = token && !later.Token, cosig && !later.Cosig
		}
		if !token && !cosig {
			drop = append(drop, a.Size)
		}
	}
	return drop
}

// ThinAnchors takes old anchors below a size away that nobody needs: of those it keeps the newest 4096, and of
// older ones the last token and the last cosignature of each 256 lines of the ledger. before is the
// smallest size that a session which lacks proofs may need. Copies follow at their next SyncAnchors. It takes
// a few at a time; call it now and then.
func (l *Ledger) ThinAnchors(before int64) error {
	l.anchors.mu.Lock()
	l.anchors.floor = before
	drop := thin(l.anchors.list, before, l.anchors.keep)
	l.anchors.mu.Unlock()
	drop = drop[:min(len(drop), thinStep)]
	for _, size := range drop {
		if err := removeAnchor(l.files, filepath.Dir(l.anchorFile(size, noteFile)), size); err != nil {
			return fmt.Errorf("ledger: anchor: %w", err)
		}
		l.anchors.mu.Lock()
		if i, ok := slices.BinarySearchFunc(l.anchors.list, size, bySize); ok {
			l.anchors.list = slices.Delete(l.anchors.list, i, i+1)
		}
		l.anchors.mu.Unlock()
	}
	return nil
}

// removeAnchor takes the proofs away before the note that they are over.
func removeAnchor(files durable.Files, dir string, size int64) error {
	for _, kind := range []string{tokenFile, cosigFile, noteFile} {
		if err := files.Remove(filepath.Join(dir, anchorName(size, kind))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// thin takes away of the copy's folder what it may by itself, and the master does not hold either.
func (c *Copy) thin(files durable.Files, dir string, names []string) error {
	var there anchors
	for _, n := range names {
		if a, ok := anchorOf(n); ok {
			there.put(a)
		}
	}
	x := &c.l.anchors
	x.mu.Lock()
	drop := slices.DeleteFunc(thin(there.list, x.floor, x.keep), func(size int64) bool {
		_, ok := slices.BinarySearchFunc(x.list, size, bySize)
		return ok
	})
	x.mu.Unlock()
	for _, size := range drop[:min(len(drop), thinStep)] {
		if err := removeAnchor(files, dir, size); err != nil {
			return fmt.Errorf("ledger: copy: anchor: %w", err)
		}
	}
	return nil
}
