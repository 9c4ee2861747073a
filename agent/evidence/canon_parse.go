package evidence

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// node is one value of canonical JSON. kind is '{', '[', '"', '0' (integer), 't' (true or false) or 'n'.
type node struct {
	kind  byte
	str   string
	num   int64
	truth bool
	keys  []string // of an object, sorted; elems are their values
	elems []node
}

// get returns the value of a key, nil if there is none.
func (n *node) get(key string) *node {
	if i, ok := slices.BinarySearch(n.keys, key); ok {
		return &n.elems[i]
	}
	return nil
}

// parser accepts exactly the canonical form: no white space, keys sorted, one way to write each
// string and number. So parsing is the proof that serialising again gives the same bytes
// (FuzzCheckLine holds it to that).
type parser struct {
	b   []byte
	pos int
}

func parseCanonical(b []byte) (*node, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("not canonical: not UTF-8")
	}
	p := parser{b: b}
	if p.peek() != '{' {
		return nil, p.errorf("want an object")
	}
	n, err := p.value(1)
	if err != nil {
		return nil, err
	}
	if p.pos != len(b) {
		return nil, p.errorf("bytes after the end")
	}
	return &n, nil
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("not canonical at byte %d: %s", p.pos, fmt.Sprintf(format, args...))
}

// peek returns the next byte, 0 at the end; a NUL in the text is refused wherever peek is used.
func (p *parser) peek() byte {
	if p.pos < len(p.b) {
		return p.b[p.pos]
	}
	return 0
}

func (p *parser) take(s string) bool {
	if len(p.b)-p.pos >= len(s) && string(p.b[p.pos:p.pos+len(s)]) == s {
		p.pos += len(s)
		return true
	}
	return false
}

func (p *parser) value(depth int) (n node, err error) {
	switch c := p.peek(); {
	case c == '{' || c == '[':
		if depth > MaxDepth {
			return n, p.errorf("nested deeper than %d", MaxDepth)
		}
		if c == '{' {
			return p.object(depth)
		}
		return p.array(depth)
	case c == '"':
		n.kind = '"'
		n.str, err = p.text()
		return n, err
	case c == '-' || c >= '0' && c <= '9':
		n.kind = '0'
		n.num, err = p.integer()
		return n, err
	case p.take("true"):
		return node{kind: 't', truth: true}, nil
	case p.take("false"):
		return node{kind: 't'}, nil
	case p.take("null"):
		return node{kind: 'n'}, nil
	}
	return n, p.errorf("want a value")
}

func (p *parser) object(depth int) (node, error) {
	n := node{kind: '{'}
	p.pos++
	for !p.take("}") {
		if len(n.keys) > 0 && !p.take(",") {
			return n, p.errorf("want , or }")
		}
		if p.peek() != '"' {
			return n, p.errorf("want a key")
		}
		key, err := p.text()
		if err != nil {
			return n, err
		}
		if !validKey(key) {
			return n, p.errorf("key %q is not [a-z][a-z0-9_]{0,31}", key)
		}
		if len(n.keys) > 0 && key <= n.keys[len(n.keys)-1] {
			return n, p.errorf("key %q is repeated or out of order", key)
		}
		if !p.take(":") {
			return n, p.errorf("want :")
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return n, err
		}
		n.keys = append(n.keys, key)
		n.elems = append(n.elems, v)
	}
	return n, nil
}

func (p *parser) array(depth int) (node, error) {
	n := node{kind: '['}
	p.pos++
	for !p.take("]") {
		if len(n.elems) > 0 && !p.take(",") {
			return n, p.errorf("want , or ]")
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return n, err
		}
		n.elems = append(n.elems, v)
	}
	return n, nil
}

// integer reads 0|-?[1-9][0-9]* of magnitude below 2^53.
func (p *parser) integer() (int64, error) {
	start := p.pos
	p.take("-")
	digits := p.pos
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.pos++
	}
	s := string(p.b[start:p.pos])
	if p.pos == digits || p.b[digits] == '0' && s != "0" {
		return 0, p.errorf("%q is not how an integer is written", s)
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v > MaxInt || v < -MaxInt {
		return 0, p.errorf("integer of magnitude over 2^53-1")
	}
	return v, nil
}

// text reads a string as RFC 8785 3.2.2.2 writes it.
func (p *parser) text() (string, error) {
	p.pos++
	start := p.pos
	for p.pos < len(p.b) && p.b[p.pos] >= ' ' && p.b[p.pos] != '\\' {
		if p.b[p.pos] == '"' {
			p.pos++
			return string(p.b[start : p.pos-1]), nil
		}
		p.pos++
	}
	s := slices.Clone(p.b[start:p.pos])
	for p.pos < len(p.b) {
		switch c := p.b[p.pos]; {
		case c == '"':
			p.pos++
			return string(s), nil
		case c < ' ':
			return "", p.errorf("control character %#02x in a string", c)
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			s = append(s, r)
		default:
			s = append(s, c)
			p.pos++
		}
	}
	return "", p.errorf("string without end")
}

// escape reads one of the escapes RFC 8785 allows; each stands for one byte below 0x20, " or \.
func (p *parser) escape() (byte, error) {
	for _, c := range []byte("\"\\\b\t\n\f\r") {
		if p.take(shortEscape(c)) {
			return c, nil
		}
	}
	for c := range byte(' ') {
		if shortEscape(c) == "" && p.take(fmt.Sprintf(`\u%04x`, c)) {
			return c, nil
		}
	}
	return 0, p.errorf("escape that RFC 8785 does not write")
}

// shortEscape returns the two-character escape of c, "" if it has none.
func shortEscape(c byte) string {
	switch c {
	case '"':
		return `\"`
	case '\\':
		return `\\`
	case '\b':
		return `\b`
	case '\t':
		return `\t`
	case '\n':
		return `\n`
	case '\f':
		return `\f`
	case '\r':
		return `\r`
	}
	return ""
}
