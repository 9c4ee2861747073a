package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// witnessed is State/ledger/witness.json: a state of a generation that a witness holds and that this
// device could not continue.
type witnessed struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"` // base64, "" if the witness told its size alone, which the master had not reached
}

func witnessFile(state string) string { return filepath.Join(folder(state), "witness.json") }

// WitnessHolds notes durably that a witness holds a state of this generation that the master does not
// contain: its size is larger, or its root at that size is another ("" if it tells none). The next Open
// begins a new generation if that is still so (R2). It reports whether the state is indeed not in the
// master; one that is, is not noted: then a consistency proof from its size answers the witness.
func (l *Ledger) WitnessHolds(size int64, root string) (conflict bool, err error) {
	w := witnessed{l.Origin(), size, root}
	if size <= l.Ref().Size {
		have, err := l.RootAt(size)
		if err != nil {
			return false, err
		}
		if root == "" || root == have.String() {
			return false, nil
		}
	}
	b, err := evidence.MarshalCanonical(w)
	if err == nil {
		err = l.files.Replace(witnessFile(l.o.State), b)
	}
	if err != nil {
		return true, fmt.Errorf("ledger: %w", err)
	}
	return true, nil
}

// readWitnessed returns what was noted of a generation; Size 0: nothing.
func readWitnessed(files durable.Files, o Options, origin string) (w witnessed, err error) {
	b, err := files.ReadFile(witnessFile(o.State))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return w, err
	}
	if err != nil || evidence.UnmarshalCanonical(b, &w, true) != nil || w.Origin != origin {
		w = witnessed{}
	}
	return w, nil
}

// contradicts reports whether a master cut at its deciding signature lacks what a witness holds. A
// master that was too short when that was noted has grown in another way since.
func (w witnessed) contradicts(m *master) bool {
	switch {
	case w.Size <= 0 || !m.signed:
		return false
	case w.Size > m.decided.Size || w.Root == "":
		return true
	}
	return treeOfFirst(m.log, w.Size).Root().String() != w.Root
}

// treeOfFirst returns the tree over the first n whole lines.
func treeOfFirst(log []byte, n int64) *evidence.Tree {
	t := new(evidence.Tree)
	for line := range bytes.Lines(log) {
		if t.Size() == n {
			break
		}
		t.Append(bytes.TrimSuffix(line, []byte{'\n'}))
	}
	return t
}
