package standard

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Kind is the kind of a [Value].
type Kind uint8

// The kinds.
const (
	None Kind = iota
	NumberKind
	TextKind
	BoolKind
)

// Value is a number, a text, a truth value or nothing. Values are comparable.
type Value struct {
	kind  Kind
	num   float64
	text  string
	truth bool
}

// Number returns v as a value; one that is not finite is nothing.
func Number(v float64) Value {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return Value{}
	}
	return Value{kind: NumberKind, num: v}
}

// String returns s as a value.
func String(s string) Value { return Value{kind: TextKind, text: s} }

// Bool returns b as a value.
func Bool(b bool) Value { return Value{kind: BoolKind, truth: b} }

// Kind says what v is.
func (v Value) Kind() Kind { return v.kind }

// Num is the number, 0 for other kinds.
func (v Value) Num() float64 { return v.num }

// Text is the text, "" for other kinds.
func (v Value) Text() string { return v.text }

// True is the truth value, false for other kinds.
func (v Value) True() bool { return v.truth }

// Any is v as float64, string, bool or nil.
func (v Value) Any() any {
	switch v.kind {
	case NumberKind:
		return v.num
	case TextKind:
		return v.text
	case BoolKind:
		return v.truth
	}
	return nil
}

// String is v for people: numbers with at most 4 significant decimals.
func (v Value) String() string {
	switch v.kind {
	case NumberKind:
		return number(v.num)
	case TextKind:
		return v.text
	case BoolKind:
		return strconv.FormatBool(v.truth)
	}
	return "—"
}

// number writes 25, 24.97, 0.3333, 1000000.
func number(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	s := strconv.FormatFloat(f, 'f', 4, 64)
	for s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	if s[len(s)-1] == '.' {
		s = s[:len(s)-1]
	}
	return s
}

// MarshalJSON writes a number, a string, a bool or null.
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(v.Any()) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *Value) UnmarshalJSON(b []byte) error {
	var a any
	if err := json.Unmarshal(b, &a); err != nil {
		return err
	}
	switch a := a.(type) {
	case nil:
		*v = Value{}
	case float64:
		*v = Number(a)
	case string:
		*v = String(a)
	case bool:
		*v = Bool(a)
	default:
		return fmt.Errorf("standard: value %s: want a number, text, true, false or null", b)
	}
	return nil
}
