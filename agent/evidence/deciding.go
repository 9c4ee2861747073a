package evidence

import (
	"crypto/ecdsa"
	"errors"
)

// ErrUnsigned means that no sign line of a log holds.
var ErrUnsigned = errors.New("no signature in this log holds")

// Deciding is what the signatures of one log file say about it. Line numbers count from 0.
type Deciding struct {
	Size int64 // lines covered by the deciding signature, which itself is line number Size
	Root Hash
	Sig  string
	End  int64 // offset of the byte after the deciding sign line's line feed

	Lines int64 // whole lines in the file
	Torn  int64 // bytes after the last line feed

	// FirstBad is the first line that is not canonical, or that is a sign line with a wrong size or
	// root; -1 if there is none. It may lie before the deciding signature only if a sign line's size
	// or root is wrong and the key signed over it.
	FirstBad int64
	// Damaged is the number of a sign line after the deciding one whose signature holds over its own
	// text, so that lines before it were changed after they were signed (R5); -1 if there is none.
	Damaged int64
}

// Decide finds the deciding signature of a log file: the last sign line whose size, root and
// signature hold, every line before it being canonical. With none it returns [ErrUnsigned], and the
// other fields (Lines, Torn, FirstBad, Damaged) still tell. It verifies few signatures, not all.
func Decide(log []byte, origin string, pub *ecdsa.PublicKey) (Deciding, error) {
	return Deciding{}, errors.New("not built yet")
}
