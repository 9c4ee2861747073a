package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

func itoa(n int) string { return strconv.Itoa(n) }

// decoder fills a Config from the syntax tree, and remembers where each key stands so that what is
// found later can be told with its place.
type decoder struct {
	file     string
	at       map[string]*token.Position // of values, by key path; "" is the document
	wrong    map[string]bool            // keys without a usable value: what follows from that is not told
	problems []Problem
}

// bad notes a problem at key, or at the nearest key above it that is in the file.
func (d *decoder) bad(key, zh, en string) {
	var pos *token.Position
	for k := key; ; k = parent(k) {
		if d.wrong[k] {
			return
		}
		if pos == nil {
			pos = d.at[k]
		}
		if k == "" {
			break
		}
	}
	d.badAt(pos, key, zh, en)
}

// unusable notes that the value of key is of the wrong kind.
func (d *decoder) unusable(key, zh, en string) {
	d.bad(key, zh, en)
	d.wrong[key] = true
}

func (d *decoder) badAt(pos *token.Position, key, zh, en string) {
	p := Problem{File: d.file, Key: key, Zh: zh, En: en}
	if pos != nil {
		p.Line, p.Column = pos.Line, pos.Column
	}
	d.problems = append(d.problems, p)
}

func parent(key string) string { return key[:max(strings.LastIndexAny(key, ".["), 0)] }

func (d *decoder) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Error{d.problems}
}

// maxFileBytes bounds the file: a configuration is small, and the YAML parser recurses.
const maxFileBytes = 64 << 10

// maxDepth is deeper than any key.
const maxDepth = 32

func (d *decoder) parse(data []byte, c *Config) {
	if len(data) > maxFileBytes || nesting(data) > maxDepth {
		d.badAt(nil, "", "文件过大或嵌套过深：这不是代理程序的配置文件", "too large or too deep: this is no configuration of the agent")
		return
	}
	f, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var pos *token.Position
		msg := err.Error()
		if e := yaml.Error(nil); errors.As(err, &e) {
			msg = e.GetMessage()
			if t := e.GetToken(); t != nil {
				pos = t.Position
			}
		}
		msg, _, _ = strings.Cut(msg, "\n")
		d.badAt(pos, "", "不是有效的 YAML："+msg+"；请检查缩进和标点", "not valid YAML: "+msg+": check indentation and punctuation")
		return
	}
	var docs []ast.Node
	for _, doc := range f.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			docs = append(docs, doc.Body)
		}
	}
	if len(docs) != 1 {
		d.badAt(nil, "", "文件应当恰好含有一份配置；可用 example.yaml 作模板", "the file should hold exactly one configuration: start from example.yaml")
		return
	}
	d.node(docs[0], "", reflect.ValueOf(c).Elem())
}

// nesting is an upper bound of how deep a document's flow collections and indentation go.
func nesting(data []byte) int {
	flow, deepest, seq := 0, 0, 0
	for _, c := range data {
		switch c {
		case '[', '{':
			flow++
		case ']', '}':
			flow = max(flow-1, 0)
		case '\n':
			seq = 0
		case '-', '?', ':', '!', '&', '*', '>', '|':
			seq++ // "- - - -" nests on one line
		default:
			if c != ' ' && c != '\t' {
				seq = 0
			}
		}
		deepest = max(deepest, flow, seq)
	}
	return deepest
}

func (d *decoder) node(n ast.Node, key string, v reflect.Value) {
	pos := n.GetToken().Position
	if n.Type() == ast.MappingType || n.Type() == ast.MappingValueType {
		if m := mappingValues(n); len(m) > 0 {
			pos = m[0].Key.GetToken().Position
		}
	}
	d.at[key] = pos
	switch v.Interface().(type) {
	case Duration:
		d.duration(n, key, v)
		return
	case Capture, Playback, SerialScanner, HIDScanner, Modbus:
		if n.Type() == ast.StringType { // a device without settings
			d.text(n, key, v.FieldByName("Device"))
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if n.Type() == ast.NullType { // "sim:" alone means "sim: {}"
			v.Set(reflect.New(v.Type().Elem()))
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		d.node(n, key, v.Elem())
	case reflect.Struct:
		d.mapping(n, key, v)
	case reflect.Slice:
		d.sequence(n, key, v)
	case reflect.String:
		d.text(n, key, v)
	case reflect.Int:
		i, ok := n.(*ast.IntegerNode)
		if !ok {
			d.unusable(key, "应为整数", "should be a whole number")
			return
		}
		x, err := strconv.ParseInt(i.Token.Value, 10, 32)
		if err != nil {
			d.unusable(key, "应为十进制整数", "should be a decimal whole number of ordinary size")
			return
		}
		v.SetInt(x)
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			d.unusable(key, "应为 true 或 false", "should be true or false")
			return
		}
		v.SetBool(b.Value)
	default:
		panic("BUG: config: no decoder for " + v.Type().String())
	}
}

func mappingValues(n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

func (d *decoder) mapping(n ast.Node, key string, v reflect.Value) {
	if n.Type() != ast.MappingType && n.Type() != ast.MappingValueType {
		want := strings.Join(keysOf(v.Type()), ", ")
		if want == "" {
			d.unusable(key, "没有可设置的键：请写 {}", "has no keys to set: write {}")
		} else {
			d.unusable(key, "应为键值对，可用的键："+want, "should hold keys and values; its keys are: "+want)
		}
		return
	}
	seen := map[string]bool{}
	for _, kv := range mappingValues(n) {
		name := kv.Key.GetToken().Value
		path := strings.TrimPrefix(key+"."+name, ".")
		pos := kv.Key.GetToken().Position
		field, ok := fieldOf(v, name)
		switch {
		case !ok:
			zh, en := "未知的键", "unknown key"
			if near := nearest(name, keysOf(v.Type())); near != "" {
				zh, en = zh+"；是否想写 "+near+"？", en+": did you mean "+near+"?"
			} else if known := strings.Join(keysOf(v.Type()), ", "); known != "" {
				zh, en = zh+"；可用的键："+known, en+": the keys here are "+known
			} else {
				zh, en = zh+"；这里没有可设置的键", en+": there are no keys here"
			}
			d.badAt(pos, path, zh, en)
		case seen[name]:
			d.badAt(pos, path, "同一个键写了两次；请删去一个", "the same key twice: remove one")
		default:
			seen[name] = true
			if kv.Value == nil || kv.Value.Type() == ast.NullType && field.Kind() != reflect.Pointer {
				d.at[path] = pos
				d.unusable(path, "没有值；请写上值或删去此行", "has no value: give one or remove the line")
				continue
			}
			d.node(kv.Value, path, field)
			if kv.Value.Type() == ast.NullType {
				d.at[path] = pos
			}
		}
	}
}

func (d *decoder) sequence(n ast.Node, key string, v reflect.Value) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.unusable(key, "应为列表，例如 [a, b]", "should be a list, such as [a, b]")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values)))
	for i, e := range s.Values {
		if e == nil {
			d.unusable(key+"["+itoa(i)+"]", "空的列表项；请删去", "an empty entry: remove it")
			continue
		}
		d.node(e, key+"["+itoa(i)+"]", v.Index(i))
	}
}

// text takes plain words, numbers and booleans as they are written: a room may be called 3.
func (d *decoder) text(n ast.Node, key string, v reflect.Value) {
	s := ""
	switch n := n.(type) {
	case *ast.StringNode:
		s = n.Value
	case *ast.LiteralNode:
		s = n.Value.Value
	case *ast.IntegerNode:
		s = n.Token.Value
	case *ast.FloatNode:
		s = n.Token.Value
	case *ast.BoolNode:
		s = n.Token.Value
	default:
		d.unusable(key, "应为文字", "should be text (anchors, aliases and tags are not taken)")
		return
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			d.unusable(key, "含有控制字符或无效的 UTF-8", "holds a control character or invalid UTF-8")
			return
		}
	}
	v.SetString(s)
}

func (d *decoder) duration(n ast.Node, key string, v reflect.Value) {
	s := n.GetToken().Value
	x, err := time.ParseDuration(s)
	if _, text := n.(*ast.StringNode); err != nil || !text && s != "0" {
		d.unusable(key, fmt.Sprintf("时长 %q 无效；请写数字加单位，例如 500ms、10s、5m、8h", s), fmt.Sprintf("duration %q: write a number with its unit, such as 500ms, 10s, 5m, 8h", s))
		return
	}
	v.SetInt(int64(x))
}

func fieldOf(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		keys = append(keys, t.Field(i).Tag.Get("yaml"))
	}
	return keys
}

// nearest is the key that name most likely was meant to be: at most a third of its letters differ.
func nearest(name string, keys []string) string {
	best, word := len(name)/3+1, ""
	for _, k := range keys {
		if n := distance(name, k); n < best {
			best, word = n, k
		}
	}
	return word
}

// distance is the Levenshtein distance of two short words.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}
