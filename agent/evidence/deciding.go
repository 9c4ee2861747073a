package evidence

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"reflect"
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
	// root; -1 if there is none. It always lies behind the deciding signature.
	FirstBad int64
	// Damaged is the number of a sign line behind the deciding one whose signature holds over its
	// own text, while another sign line lies between the two: lines were changed after they were signed
	// and durable (R5, V3); -1 if there is none. What lies behind the deciding signature is then no torn
	// tail. Without another sign line between, a power cut explains it: of the last lines written a disk
	// may have kept the end and lost the middle.
	Damaged int64
}

// signAt is a line that looks like a sign line.
type signAt struct {
	number, start, end int64 // end is behind the line feed
	sound              bool  // size and root hold, all lines before it are canonical
}

// Decide finds the deciding signature of a log file: the last sign line whose size, root and
// signature hold, every line before it being canonical and every sign line before it having the
// right size and root. With none it returns [ErrUnsigned], and the fields Lines, Torn, FirstBad and
// Damaged still tell. It verifies as few signatures as possible: of a sound log, one.
func Decide(log []byte, origin string, pub *ecdsa.PublicKey) (Deciding, error) {
	d := Deciding{FirstBad: -1, Damaged: -1}
	signs := d.scan(log)
	later := signAt{number: -1} // the last one whose signature holds over its own text only
	for i := len(signs) - 1; i >= 0; i-- {
		s := signs[i]
		if !s.sound && later.number >= 0 {
			continue
		}
		var v Sign
		if UnmarshalCanonical(log[s.start:s.end-1], &v, true) != nil {
			continue
		}
		root, err := ParseHash(v.Root)
		if err != nil || VerifySig(pub, origin, v.Size, root, v.Sig) != nil {
			continue
		}
		if s.sound {
			d.Size, d.Root, d.Sig, d.End = v.Size, root, v.Sig, s.end
			d.damaged(log, later)
			return d, nil
		}
		later = s
	}
	d.damaged(log, later)
	return d, ErrUnsigned
}

// damaged judges what lies between the deciding signature and a later one.
func (d *Deciding) damaged(log []byte, later signAt) {
	if later.number >= 0 && bytes.Contains(log[d.End:later.start], []byte(`,"type":"sign"}`+"\n")) {
		d.Damaged = later.number
	}
}

// scan splits the log, checks lines and roots, and returns what looks like sign lines.
func (d *Deciding) scan(log []byte) []signAt {
	var signs []signAt
	var tree Tree
	for start := int64(0); ; d.Lines++ {
		n := bytes.IndexByte(log[start:], '\n')
		if n < 0 {
			d.Torn = int64(len(log)) - start
			return signs
		}
		line, end := log[start:start+int64(n)], start+int64(n)+1
		isSign := bytes.HasSuffix(line, []byte(`,"type":"sign"}`)) && bytes.HasPrefix(line, []byte(`{"root":"`)) && n <= MaxLine
		if d.FirstBad < 0 && !soundLine(line, &tree, isSign) {
			d.FirstBad = d.Lines
		}
		if isSign {
			signs = append(signs, signAt{number: d.Lines, start: start, end: end, sound: d.FirstBad < 0})
		}
		tree.Append(line)
		start = end
	}
}

// soundLine tells whether a line can follow the lines in tree.
func soundLine(line []byte, tree *Tree, isSign bool) bool {
	n, err := parseLine(line)
	if err != nil {
		return false
	}
	if t := n.get("type"); !isSign {
		return t == nil || t.str != "sign"
	}
	var s Sign
	return n.decode(reflect.ValueOf(&s).Elem(), true, "") == nil && s.Size == tree.Size() && s.Root == tree.Root().String()
}
