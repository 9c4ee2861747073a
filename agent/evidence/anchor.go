package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// MaxAnchor bounds an anchor file, in bytes (V1).
const MaxAnchor = 1 << 20

// anchorJSON is tokens/anchor-<size>.json, evidence-format.md section 3 "anchor JSON".
type anchorJSON struct {
	Type         string       `json:"type"` // "anchor"
	V            int64        `json:"v"`    // 1
	Ledger       string       `json:"ledger"`
	Checkpoint   string       `json:"checkpoint"`
	Cosignatures []string     `json:"cosignatures"`
	Token        string       `json:"token"`
	Lines        []anchorLine `json:"lines"`
}

type anchorLine struct {
	Index   int64    `json:"index"`
	Line    string   `json:"line"`
	Outside []string `json:"outside"`
}

// IndexedLine is a line of a ledger with its number.
type IndexedLine struct {
	Index int64
	Line  []byte // without line feed
}

// AnchorFile is a parsed anchor file: a state of a device ledger, what outsiders say of it, and lines
// that are proven to be in it.
type AnchorFile struct {
	Checkpoint   Checkpoint
	Cosignatures []string // lines, without line feed
	Token        []byte   // TimeStampResp in normal form over the checkpoint note; nil if there is none
	Lines        []IndexedLine
}

// AnchorName is the anchor file's path in a session folder.
func AnchorName(size int64) string { return fmt.Sprintf("tokens/anchor-%012d.json", size) }

// Imprint is what a token over the checkpoint is over: SHA-256 of the note.
func (c Checkpoint) Imprint() [32]byte { return sha256.Sum256([]byte(c.Note())) }

// SessionLine tells whether an anchor of the session carries this line of the ledger: a generation or
// key line, or one of the session's head, sealed, amend and lost lines.
func SessionLine(raw []byte, session string) bool {
	if !bytes.Contains(raw, []byte(`"type":"generation"`)) && !bytes.Contains(raw, []byte(`"type":"key"`)) && !bytes.Contains(raw, []byte(session)) {
		return false // a cheap look first: ledgers have many lines
	}
	line, err := ParseLine(raw)
	if err != nil {
		return false
	}
	var of struct {
		Session string `json:"session"`
	}
	switch line.Type {
	case "generation", "key":
		return true
	case "head", "sealed", "amend", "lost":
		return line.Decode(&of) == nil && of.Session == session
	}
	return false
}

// SessionLines returns the lines that [SessionLine] chooses of a ledger's bytes, whole lines only.
func SessionLines(ledger []byte, session string) []IndexedLine {
	var out []IndexedLine
	for n := int64(0); ; n++ {
		raw, rest, ok := lineAt(ledger)
		if !ok {
			return out
		}
		if ledger = rest; SessionLine(raw, session) {
			out = append(out, IndexedLine{n, raw})
		}
	}
}

// BuildAnchor returns an anchor file over a checkpoint. lines are what [SessionLine] chose of the ledger,
// in order; those at or behind the checkpoint's size are left out, of the heads of one log all but the last,
// and what a later seal has taken the place of, once a person had entered that it is lost. inclusion returns the hashes beside line i in the tree of size lines ([FullTree.Inclusion]).
// token is nil, or a reply in normal form ([NormalToken]).
func BuildAnchor(c Checkpoint, lines []IndexedLine, inclusion func(i, size int64) ([]Hash, error), cosignatures []string, token []byte) ([]byte, error) {
	f := anchorJSON{Type: "anchor", V: 1, Ledger: c.Origin, Checkpoint: c.Note(), Cosignatures: cosignatures,
		Token: base64.StdEncoding.EncodeToString(token), Lines: []anchorLine{}}
	if f.Cosignatures == nil {
		f.Cosignatures = []string{}
	}
	for _, l := range lastHeads(lines, c.Size) {
		outside, err := inclusion(l.Index, c.Size)
		if err != nil {
			return nil, fmt.Errorf("anchor at %d: %w", c.Size, err)
		}
		a := anchorLine{Index: l.Index, Line: string(l.Line), Outside: []string{}}
		for _, h := range outside {
			a.Outside = append(a.Outside, h.String())
		}
		f.Lines = append(f.Lines, a)
	}
	b, err := MarshalCanonical(f)
	if err == nil {
		_, err = ParseAnchor(b) // whoever writes what nobody may read should know at once
	}
	if err != nil {
		return nil, fmt.Errorf("anchor at %d: %w", c.Size, err)
	}
	return b, nil
}

// lastHeads leaves out what lies at or behind size, every head line but the last of its log, and what comes
// before a lost line that a sealed line follows.
func lastHeads(lines []IndexedLine, size int64) []IndexedLine {
	var out []IndexedLine
	seen := make(map[string]bool)
	sealed, lost := false, false
	for _, l := range slices.Backward(lines) {
		if l.Index >= size {
			continue
		}
		var h Head
		line, err := ParseLine(l.Line)
		sealed, lost = sealed || line.Type == "sealed", lost || sealed && line.Type == "lost"
		if lost && (line.Type == "head" || line.Type == "sealed" || line.Type == "amend") {
			continue
		}
		if err == nil && line.Type == "head" && line.Decode(&h) == nil {
			key := h.Session + " " + h.Log
			if seen[key] {
				continue
			}
			seen[key] = true
		}
		out = append(out, l)
	}
	slices.Reverse(out)
	return out
}

// ParseAnchor reads an anchor file strictly and checks all that needs no key: canonical bytes, the form
// of note, cosignature lines and token, and that each line is in the tree of the checkpoint.
func ParseAnchor(b []byte) (*AnchorFile, error) {
	a, err := parseAnchor(b)
	if err != nil {
		return nil, fmt.Errorf("anchor: %w", err)
	}
	return a, nil
}

func parseAnchor(b []byte) (*AnchorFile, error) {
	if len(b) > MaxAnchor {
		return nil, errors.New("over 1 MiB")
	}
	var f anchorJSON
	if err := UnmarshalCanonical(b, &f, true); err != nil {
		return nil, err
	}
	c, err := ParseCheckpoint(f.Checkpoint)
	if err != nil {
		return nil, err
	}
	switch {
	case f.Type != "anchor" || f.V != 1:
		return nil, fmt.Errorf("type %q version %d is not known here", f.Type, f.V)
	case f.Ledger != c.Origin:
		return nil, errors.New("the checkpoint is of another ledger")
	case len(f.Cosignatures) > 64 || len(f.Lines) > 4096:
		return nil, errors.New("more than 64 cosignatures or 4096 lines")
	}
	a := &AnchorFile{Checkpoint: c, Cosignatures: f.Cosignatures}
	if a.Token, err = strictBase64(f.Token); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	for i, l := range f.Cosignatures {
		if _, err := ParseCosignature(l); err != nil {
			return nil, err
		}
		if slices.Contains(f.Cosignatures[:i], l) {
			return nil, errors.New("a cosignature comes twice")
		}
	}
	for i, l := range f.Lines {
		if i > 0 && l.Index <= f.Lines[i-1].Index {
			return nil, errors.New("lines are not in order")
		}
		if err := l.check(c); err != nil {
			return nil, fmt.Errorf("line %d: %w", l.Index, err)
		}
		a.Lines = append(a.Lines, IndexedLine{l.Index, []byte(l.Line)})
	}
	return a, nil
}

// check proves the line to be in the checkpoint's tree.
func (l anchorLine) check(c Checkpoint) error {
	line, err := ParseLine([]byte(l.Line))
	if err != nil {
		return err
	}
	if line.Seq != l.Index {
		return fmt.Errorf("its seq is %d", line.Seq)
	}
	var outside []Hash
	for _, s := range l.Outside {
		h, err := ParseHash(s)
		if err != nil {
			return err
		}
		outside = append(outside, h)
	}
	root, err := RangeRoot(c.Size, l.Index, []Hash{LeafHash([]byte(l.Line))}, outside)
	if err == nil && root != c.Root {
		err = errors.New("is not in the tree of the checkpoint")
	}
	return err
}

// isAnchorName tells whether a path is where anchors lie.
func isAnchorName(name string) bool {
	return path.Dir(name) == "tokens" && strings.HasPrefix(path.Base(name), "anchor-") && path.Ext(name) == ".json"
}
