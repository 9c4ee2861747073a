package evidence

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// field is one member of an object: a field of a struct, embedded structs laid flat, or a map entry.
type field struct {
	key      string
	optional bool // omitempty
	v        reflect.Value
}

// structFields appends the fields of v that have a json tag.
func structFields(dst []field, v reflect.Value) []field {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		tag, has := f.Tag.Lookup("json")
		switch {
		case f.Anonymous && !has && f.Type.Kind() == reflect.Struct:
			dst = structFields(dst, v.Field(i))
		case has && tag != "-":
			key, option, _ := strings.Cut(tag, ",")
			dst = append(dst, field{key, option == "omitempty", v.Field(i)})
		}
	}
	return dst
}

// appendValue writes v as RFC 8785 does.
func appendValue(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			return append(dst, "null"...), nil
		}
		return appendValue(dst, v.Elem(), depth)
	case reflect.Struct:
		fields := structFields(make([]field, 0, 24), v)
		fields = slices.DeleteFunc(fields, func(f field) bool { return f.optional && empty(f.v) })
		return appendObject(dst, fields, depth)
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String {
			return nil, fmt.Errorf("%s has no string keys", v.Type())
		}
		var fields []field
		for it := v.MapRange(); it.Next(); {
			fields = append(fields, field{key: it.Key().String(), v: it.Value()})
		}
		return appendObject(dst, fields, depth)
	case reflect.Slice, reflect.Array:
		return appendArray(dst, v, depth)
	case reflect.String:
		return appendText(dst, v.String()), nil
	case reflect.Bool:
		return strconv.AppendBool(dst, v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n := v.Int(); n >= -MaxInt && n <= MaxInt {
			return strconv.AppendInt(dst, n, 10), nil
		}
		return nil, fmt.Errorf("%d is over 2^53-1", v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n := v.Uint(); n <= MaxInt {
			return strconv.AppendUint(dst, n, 10), nil
		}
		return nil, fmt.Errorf("%d is over 2^53-1", v.Uint())
	case reflect.Invalid:
		return append(dst, "null"...), nil
	}
	return nil, fmt.Errorf("%s cannot be written: only objects, arrays, strings, integers, bool", v.Type())
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Map, reflect.Slice:
		return v.Len() == 0
	}
	return v.IsZero()
}

func appendObject(dst []byte, fields []field, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("nested deeper than %d", MaxDepth)
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.key, b.key) })
	dst = append(dst, '{')
	for i, f := range fields {
		if !validKey(f.key) {
			return nil, fmt.Errorf("key %q is not [a-z][a-z0-9_]{0,31}", f.key)
		}
		if i > 0 {
			if fields[i-1].key == f.key {
				return nil, fmt.Errorf("key %q is repeated", f.key)
			}
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, f.key...)
		dst = append(dst, '"', ':')
		var err error
		if dst, err = appendValue(dst, f.v, depth+1); err != nil {
			return nil, fmt.Errorf("%s: %w", f.key, err)
		}
	}
	return append(dst, '}'), nil
}

func appendArray(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("nested deeper than %d", MaxDepth)
	}
	dst = append(dst, '[')
	for i := range v.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendValue(dst, v.Index(i), depth+1); err != nil {
			return nil, fmt.Errorf("%d: %w", i, err)
		}
	}
	return append(dst, ']'), nil
}

// appendText writes a string as RFC 8785 3.2.2.2 does.
func appendText(dst []byte, s string) []byte {
	s = strings.ToValidUTF8(s, "\uFFFD")
	dst = append(dst, '"')
	for i := range len(s) {
		c := s[i]
		switch short := shortEscape(c); {
		case short != "":
			dst = append(dst, short...)
		case c < ' ':
			dst = fmt.Appendf(dst, `\u%04x`, c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// decode stores n in v. path names v in errors.
func (n *node) decode(v reflect.Value, exact bool, path string) error {
	wrong := func() error {
		return fmt.Errorf("field %q is no %s", strings.TrimPrefix(path, "."), v.Type())
	}
	switch v.Kind() {
	case reflect.Interface:
		v.Set(reflect.ValueOf(n.plain()))
		return nil
	case reflect.Pointer:
		if n.kind == 'n' {
			v.SetZero()
			return nil
		}
		v.Set(reflect.New(v.Type().Elem()))
		return n.decode(v.Elem(), exact, path)
	case reflect.Struct:
		if n.kind != '{' {
			return wrong()
		}
		return n.decodeStruct(v, exact, path)
	case reflect.Map:
		if n.kind != '{' {
			return wrong()
		}
		v.Set(reflect.MakeMapWithSize(v.Type(), len(n.keys)))
		for i, key := range n.keys {
			e := reflect.New(v.Type().Elem()).Elem()
			if err := n.elems[i].decode(e, exact, path+"."+key); err != nil {
				return err
			}
			v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), e)
		}
		return nil
	case reflect.Slice:
		if n.kind != '[' {
			return wrong()
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.elems), len(n.elems)))
		for i := range n.elems {
			if err := n.elems[i].decode(v.Index(i), exact, path+"."+strconv.Itoa(i)); err != nil {
				return err
			}
		}
		return nil
	case reflect.String:
		if n.kind != '"' {
			return wrong()
		}
		v.SetString(n.str)
		return nil
	case reflect.Bool:
		if n.kind != 't' {
			return wrong()
		}
		v.SetBool(n.truth)
		return nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n.kind != '0' || v.OverflowInt(n.num) {
			return wrong()
		}
		v.SetInt(n.num)
		return nil
	}
	return errors.New("BUG: decode into " + v.Type().String())
}

func (n *node) decodeStruct(v reflect.Value, exact bool, path string) error {
	fields := structFields(make([]field, 0, 24), v)
	found := 0
	for _, f := range fields {
		e := n.get(f.key)
		if e == nil {
			if !f.optional {
				return fmt.Errorf("field %q is missing", strings.TrimPrefix(path+"."+f.key, "."))
			}
			continue
		}
		found++
		if err := e.decode(f.v, exact, path+"."+f.key); err != nil {
			return err
		}
	}
	if !exact || found == len(n.keys) {
		return nil
	}
	for _, key := range n.keys {
		if !slices.ContainsFunc(fields, func(f field) bool { return f.key == key }) {
			return fmt.Errorf("field %q is not part of the format", strings.TrimPrefix(path+"."+key, "."))
		}
	}
	return nil
}

// plain returns the value as any: nil, bool, int64, string, []any or map[string]any.
func (n *node) plain() any {
	switch n.kind {
	case '{':
		m := make(map[string]any, len(n.keys))
		for i, key := range n.keys {
			m[key] = n.elems[i].plain()
		}
		return m
	case '[':
		s := make([]any, len(n.elems))
		for i := range n.elems {
			s[i] = n.elems[i].plain()
		}
		return s
	case '"':
		return n.str
	case '0':
		return n.num
	case 't':
		return n.truth
	}
	return nil
}
