package evidence

import (
	"crypto/ecdsa"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// notedState is a state of a ledger that somebody was shown, and the file that says so.
type notedState struct {
	Checkpoint
	file string
}

// maxNotes is how many checkpoints beside a ledger are looked at, the largest.
const maxNotes = 16

// readNotes reads the largest checkpoints in anchors/ (section 3, ledger). What is none is left out: it
// could be put there by anybody, and proves nothing.
func readNotes(fsys fs.FS, path string) (notes []notedState) {
	entries, err := fs.ReadDir(fsys, "anchors")
	if err != nil {
		return nil
	}
	for _, e := range slices.Backward(entries) { // names are numbers of one length
		if !strings.HasSuffix(e.Name(), ".note") {
			continue
		}
		name := "anchors/" + e.Name()
		b, err := readLimited(fsys, name, MaxLine)
		if err != nil {
			continue
		}
		if c, err := ParseCheckpoint(string(b)); err == nil {
			notes = append(notes, notedState{c, path + "/" + name})
		}
		if len(notes) == maxNotes {
			break
		}
	}
	return notes
}

// states are, by ledger, the states at hand that its device signed: beside the ledger or in a session's
// tokens/.
func (v *verifier) states() map[string][]notedState {
	all := make(map[string][]notedState)
	for _, l := range v.ledgers {
		if l.log == nil {
			continue
		}
		for _, n := range l.noted {
			if n.Origin == l.log.origin && slices.ContainsFunc(l.keys, func(k *ecdsa.PublicKey) bool { return n.Verify(k) == nil }) {
				all[n.Origin] = append(all[n.Origin], n)
			}
		}
	}
	for _, c := range v.copies {
		for _, n := range c.shown {
			all[n.Origin] = append(all[n.Origin], n)
		}
	}
	for _, states := range all {
		slices.SortStableFunc(states, func(a, b notedState) int { return int(max(-1, min(1, a.Size-b.Size))) })
	}
	return all
}

// contradicted holds the ledgers of which copies are given against the states that their device signed (V24).
// It tells, by origin, why a ledger is too short (lines are missing, and with them sessions may be: of
// several copies the longest counts), and by copy why it is another one.
func (v *verifier) contradicted() (short map[string]string, other map[*ledgerCopy]string) {
	short, other = make(map[string]string), make(map[*ledgerCopy]string)
	longest := make(map[string]int64)
	for _, l := range v.ledgers {
		if l.log != nil {
			longest[l.log.origin] = max(longest[l.log.origin], l.log.Size+1) // with the sign line itself
		}
	}
	states := v.states()
	for origin, size := range longest {
		if len(states[origin]) == 0 {
			continue
		}
		if n := states[origin][len(states[origin])-1]; n.Size > size && !v.grown(n) {
			short[origin] = fmt.Sprintf("this ledger ends after %d lines, and the device signed a state of %d: what came between is missing, sessions may be too (%s)", size, n.Size, n.file)
		}
	}
	for _, l := range v.ledgers {
		if l.log != nil {
			if n, ok := l.not(states[l.log.origin]); ok {
				other[l] = fmt.Sprintf("this ledger is not the one of which the device signed a state of %d lines: two histories (%s)", n.Size, n.file)
			}
		}
	}
	return short, other
}

// grown tells whether a ledger that was read too short for a state has got its lines since: a room records on.
func (v *verifier) grown(n notedState) bool {
	return slices.ContainsFunc(v.ledgers, func(l *ledgerCopy) bool {
		if l.log == nil || l.log.origin != n.Origin {
			return false
		}
		b, err := readLimited(l.fsys, "log.jsonl", MaxLog)
		if err != nil {
			return false
		}
		root, ok := rootAt(b, n.Size)
		return ok && root == n.Root
	})
}

// not returns the first of the states, in order of size, that the ledger's signed lines contradict.
func (l *ledgerCopy) not(states []notedState) (notedState, bool) {
	var tree Tree
	rest := l.data[:l.log.End]
	for _, n := range states {
		for tree.Size() < n.Size {
			raw, after, ok := lineAt(rest)
			if !ok {
				return notedState{}, false // too short to tell
			}
			tree.Append(raw)
			rest = after
		}
		if tree.Root() != n.Root {
			return n, true
		}
	}
	return notedState{}, false
}

// rootAt returns the tree hash over the first lines of a log, if it has so many.
func rootAt(log []byte, size int64) (Hash, bool) {
	var tree Tree
	for tree.Size() < size {
		raw, after, ok := lineAt(log)
		if !ok {
			return Hash{}, false
		}
		tree.Append(raw)
		log = after
	}
	return tree.Root(), true
}
