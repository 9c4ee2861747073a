package evidence

import "errors"

// Limits of evidence-format.md section 1.
const (
	MaxLine  = 16384     // bytes of a line without its line feed
	MaxDepth = 8         // nesting of objects and arrays, the outermost counts 1
	MaxInt   = 1<<53 - 1 // largest magnitude of a number
)

// MarshalLine returns v, a struct of this package's kind or a map with string keys, as a canonical
// line without line feed. Nil slices become [], nil maps {}, nil pointers null; bytes that are not
// UTF-8 become U+FFFD. Floats, keys outside [a-z][a-z0-9_]{0,31}, numbers beyond [MaxInt] and lines
// over [MaxLine] are errors.
func MarshalLine(v any) ([]byte, error) { return nil, errors.New("not built yet") }

// MarshalCanonical is MarshalLine without the limit on length, for manifest.json and its kind.
func MarshalCanonical(v any) ([]byte, error) { return nil, errors.New("not built yet") }

// UnmarshalCanonical reads canonical JSON of any length into the struct dst points to. Every field
// without omitempty must be there and not null (pointers may be null); with exact, no other field may.
func UnmarshalCanonical(b []byte, dst any, exact bool) error { return errors.New("not built yet") }

// CheckLine tells whether line, without line feed, is canonical: see section 1.
func CheckLine(line []byte) error { return errors.New("not built yet") }

// Line is one parsed line.
type Line struct {
	Raw    []byte // without line feed; shared with the caller's bytes
	Common        // of a sign line only Type is set
}

// ParseLine checks a line with [CheckLine] and reads the common fields, which must be there: type,
// seq, t, te, up, and salt unless it is a fragment; a sign line has exactly its four fields.
func ParseLine(line []byte) (Line, error) { return Line{}, errors.New("not built yet") }

// Decode reads the line into the struct dst points to, as [UnmarshalCanonical] does; unknown
// fields are ignored, except in a sign line.
func (l Line) Decode(dst any) error { return UnmarshalCanonical(l.Raw, dst, l.Type == "sign") }
