package evidence

import (
	"errors"
	"fmt"
	"reflect"
)

// Limits of evidence-format.md section 1.
const (
	MaxLine  = 16384     // bytes of a line without its line feed
	MaxDepth = 8         // nesting of objects and arrays, the outermost counts 1
	MaxInt   = 1<<53 - 1 // largest magnitude of a number
)

// MarshalLine returns v, a struct with json tags or a map with string keys, as a canonical line
// without line feed. Nil slices become [], nil maps {}, nil pointers null; bytes that are not UTF-8
// become U+FFFD. Floats, keys outside [a-z][a-z0-9_]{0,31}, numbers beyond [MaxInt], nesting beyond
// [MaxDepth] and lines over [MaxLine] are errors.
func MarshalLine(v any) ([]byte, error) {
	b, err := MarshalCanonical(v)
	if err == nil && len(b) > MaxLine {
		err = fmt.Errorf("line of %d bytes, at most %d are allowed", len(b), MaxLine)
	}
	if err != nil {
		return nil, fmt.Errorf("marshal %T: %w", v, err)
	}
	return b, nil
}

// MarshalCanonical is MarshalLine without the limit on length, for manifest.json and its kind.
func MarshalCanonical(v any) ([]byte, error) {
	b, err := appendValue(make([]byte, 0, 512), reflect.ValueOf(v), 1)
	if err != nil {
		return nil, err
	}
	if b[0] != '{' {
		return nil, fmt.Errorf("%T is no object", v)
	}
	return b, nil
}

// UnmarshalCanonical reads canonical JSON of any length into the struct dst points to. Every field
// without omitempty must be there and not null (pointers may be null); with exact, no other field
// may. After an error dst may be half filled.
func UnmarshalCanonical(b []byte, dst any, exact bool) error {
	n, err := parseCanonical(b)
	if err != nil {
		return err
	}
	p := reflect.ValueOf(dst)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("BUG: decode into %T, want a pointer", dst)
	}
	return n.decode(p.Elem(), exact, "")
}

// CheckLine tells whether line, without line feed, is canonical (section 1): equal to its own RFC
// 8785 serialisation and within the limits on keys, numbers, nesting and length.
func CheckLine(line []byte) error {
	_, err := parseLine(line)
	return err
}

// Line is one parsed line.
type Line struct {
	Raw    []byte // without line feed; shared with the caller's bytes
	Common        // of a sign line only Type is set
}

// ParseLine checks a line with [CheckLine] and reads the common fields, which must be there: type,
// seq, t, te, up, and salt unless it is a fragment; a sign line has exactly its four fields.
func ParseLine(line []byte) (Line, error) {
	n, err := parseLine(line)
	if err != nil {
		return Line{}, err
	}
	l := Line{Raw: line}
	if t := n.get("type"); t == nil || t.kind != '"' || t.str == "" {
		return Line{}, errors.New("line has no type")
	} else if t.str == "sign" {
		l.Type = "sign"
		return l, n.decode(reflect.ValueOf(new(Sign)).Elem(), true, "")
	}
	if err := n.decode(reflect.ValueOf(&l.Common).Elem(), false, ""); err != nil {
		return Line{}, err
	}
	switch {
	case l.Seq < 0, l.TE < -1, l.Up < 0:
		return Line{}, fmt.Errorf("%s line: seq, te or up out of range", l.Type)
	case l.Type != "fragment" && !isHex(l.Salt, 32):
		return Line{}, fmt.Errorf("%s line: salt is not 32 lower hex digits", l.Type)
	}
	return l, nil
}

// Decode reads the line into the struct dst points to, as [UnmarshalCanonical] does; unknown
// fields are ignored, except in a sign line.
func (l Line) Decode(dst any) error { return UnmarshalCanonical(l.Raw, dst, l.Type == "sign") }

func parseLine(line []byte) (*node, error) {
	if len(line) > MaxLine {
		return nil, fmt.Errorf("line of %d bytes, at most %d are allowed", len(line), MaxLine)
	}
	return parseCanonical(line)
}

// isHex reports whether s is exactly n lower hex digits.
func isHex(s string, n int) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == n
}

// validKey reports whether s is [a-z][a-z0-9_]{0,31}.
func validKey(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '_') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 32
}
