package evidence

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// lineTable: rules of evidence-format.md section 1 and the list at the end of section 7.
var lineTable = []struct {
	rule string
	line string
	ok   bool
}{
	{"the smallest line", `{}`, true},
	{"keys sorted", `{"a":1,"b":[true,false,null,"x"]}`, true},
	{"negative numbers", `{"a":-1}`, true},
	{"largest number", `{"a":9007199254740991}`, true},
	{"smallest number", `{"a":-9007199254740991}`, true},
	{"no HTML escaping, slash and U+2028 as they are", "{\"a\":\"<>&/\u2028\u2029\x7f\ufeff\"}", true},
	{"short escapes", `{"a":"\"\\\b\t\n\f\r"}`, true},
	{"other control characters in lower hex", `{"a":"\u0000\u000b\u001f"}`, true},
	{"eight levels", `{"a":[[[[[[[]]]]]]]}`, true},
	{"a key of 32 characters", `{"a0_` + strings.Repeat("z", 29) + `":1}`, true},
	{"16384 bytes", `{"a":"` + strings.Repeat("x", MaxLine-8) + `"}`, true},

	{"two types, one with a capital", `{"type":"mark","Type":"fragment"}`, false},
	{"two types, capital first", `{"Type":"fragment","type":"mark"}`, false},
	{"exponent", `{"a":1e0}`, false},
	{"fraction", `{"a":1.0}`, false},
	{"2^53", `{"a":9007199254740992}`, false},
	{"-2^53", `{"a":-9007199254740992}`, false},
	{"beyond 64 bits", `{"a":99999999999999999999}`, false},
	{"minus zero", `{"a":-0}`, false},
	{"leading zero", `{"a":01}`, false},
	{"plus", `{"a":+1}`, false},
	{"minus alone", `{"a":-}`, false},
	{"lone surrogate, escaped", `{"a":"\ud800"}`, false},
	{"surrogate pair, escaped", `{"a":"\ud83d\ude00"}`, false},
	{"lone surrogate, in bytes", "{\"a\":\"\xed\xa0\x80\"}", false},
	{"not UTF-8", "{\"a\":\"\xff\"}", false},
	{"overlong UTF-8", "{\"a\":\"\xc0\xaf\"}", false},
	{"byte order mark", "\xef\xbb\xbf{}", false},
	{"CR at the end", "{}\r", false},
	{"CR in a string", "{\"a\":\"\r\"}", false},
	{"line feed at the end", "{}\n", false},
	{"NUL at the end", "{}\x00", false},
	{"NUL tail alone", "\x00\x00\x00", false},
	{"NUL in a string", "{\"a\":\"\x00\"}", false},
	{"key twice", `{"a":1,"a":1}`, false},
	{"key twice, one escaped", `{"\u0061":1,"a":1}`, false},
	{"keys out of order", `{"b":1,"a":1}`, false},
	{"empty key", `{"":1}`, false},
	{"key of 33 characters", `{"` + strings.Repeat("z", 33) + `":1}`, false},
	{"key begins with a digit", `{"0":1}`, false},
	{"key begins with _", `{"_a":1}`, false},
	{"key with a dot", `{"a.b":1}`, false},
	{"key with Kelvin sign", "{\"\u212a\":1}", false},
	{"nine levels", `{"a":[[[[[[[[]]]]]]]]}`, false},
	{"trailing bytes", `{}{}`, false},
	{"trailing comma", `{"a":1,}`, false},
	{"leading comma", `{,"a":1}`, false},
	{"comma in an array", `{"a":[,1]}`, false},
	{"two commas", `{"a":[1,,2]}`, false},
	{"white space", `{"a": 1}`, false},
	{"white space before", ` {}`, false},
	{"no object", `[]`, false},
	{"a string", `"a"`, false},
	{"nothing", ``, false},
	{"cut", `{"a":"b`, false},
	{"cut escape", `{"a":"\`, false},
	{"upper hex", `{"a":"\u001F"}`, false},
	{"long escape where there is a short one", `{"a":"\u000a"}`, false},
	{"escaped slash", `{"a":"\/"}`, false},
	{"escaped letter", `{"a":"\u0061"}`, false},
	{"escaped DEL", `{"a":"\u007f"}`, false},
	{"single quotes", `{'a':1}`, false},
	{"literal in capitals", `{"a":True}`, false},
	{"NaN", `{"a":NaN}`, false},
	{"16385 bytes", `{"a":"` + strings.Repeat("x", MaxLine-7) + `"}`, false},
}

func TestCheckLine(t *testing.T) {
	for _, tt := range lineTable {
		if err := CheckLine([]byte(tt.line)); (err == nil) != tt.ok {
			t.Errorf("%s: CheckLine(%.60q) = %v", tt.rule, tt.line, err)
		}
	}
}

func FuzzCheckLine(f *testing.F) {
	for _, tt := range lineTable {
		f.Add([]byte(tt.line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if CheckLine(line) != nil {
			return
		}
		var v map[string]any
		if err := UnmarshalCanonical(line, &v, true); err != nil {
			t.Fatalf("checked, but not read: %v", err)
		}
		again, err := MarshalLine(v)
		if err != nil || !bytes.Equal(again, line) {
			t.Fatalf("%q is written again as %q, %v", line, again, err)
		}
	})
}

func TestParseLine(t *testing.T) {
	const salt = "00112233445566778899aabbccddeeff"
	for _, tt := range []struct {
		rule string
		line string
		ok   bool
	}{
		{"all common fields", `{"salt":"` + salt + `","seq":0,"t":-5,"te":-1,"type":"mark","up":3}`, true},
		{"unknown types and fields are kept", `{"foo":{},"salt":"` + salt + `","seq":0,"t":0,"te":0,"type":"new","up":3}`, true},
		{"a fragment has no salt", `{"seq":0,"t":0,"te":0,"type":"fragment","up":3}`, true},
		{"any other has", `{"seq":0,"t":0,"te":0,"type":"mark","up":3}`, false},
		{"of 32 digits", `{"salt":"0011","seq":0,"t":0,"te":0,"type":"mark","up":3}`, false},
		{"in lower hex", `{"salt":"` + strings.ToUpper(salt) + `","seq":0,"t":0,"te":0,"type":"mark","up":3}`, false},
		{"no type", `{"salt":"` + salt + `","seq":0,"t":0,"te":0,"up":3}`, false},
		{"type is a string", `{"salt":"` + salt + `","seq":0,"t":0,"te":0,"type":1,"up":3}`, false},
		{"no seq", `{"salt":"` + salt + `","t":0,"te":0,"type":"mark","up":3}`, false},
		{"no up", `{"salt":"` + salt + `","seq":0,"t":0,"te":0,"type":"mark"}`, false},
		{"seq null", `{"salt":"` + salt + `","seq":null,"t":0,"te":0,"type":"mark","up":3}`, false},
		{"te below -1", `{"salt":"` + salt + `","seq":0,"t":0,"te":-2,"type":"mark","up":3}`, false},
		{"sign line", `{"root":"r","sig":"s","size":1,"type":"sign"}`, true},
		{"sign line with more", `{"a":1,"root":"r","sig":"s","size":1,"type":"sign"}`, false},
		{"sign line with less", `{"root":"r","size":1,"type":"sign"}`, false},
	} {
		if _, err := ParseLine([]byte(tt.line)); (err == nil) != tt.ok {
			t.Errorf("%s: ParseLine(%q) = %v", tt.rule, tt.line, err)
		}
	}
}

// TestMarshalLine writes and reads back each line struct.
func TestMarshalLine(t *testing.T) {
	for _, v := range allLines {
		b, err := MarshalLine(v)
		if err != nil {
			t.Errorf("%T: %v", v, err)
			continue
		}
		if err := CheckLine(b); err != nil {
			t.Errorf("%T: written as %s: %v", v, b, err)
		}
		got := reflect.New(reflect.TypeOf(v))
		if err := UnmarshalCanonical(b, got.Interface(), true); err != nil {
			t.Errorf("%T: %v", v, err)
		}
		if again, err := MarshalLine(got.Interface()); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%T: %s is read and written as %s, %v", v, b, again, err)
		}
	}
}

func TestMarshalLineWhatItWrites(t *testing.T) {
	for _, tt := range []struct {
		rule string
		v    any
		want string // "" means refused
	}{
		{"embedded fields are laid flat and sorted", Mark{Common: Common{Type: "mark", Salt: "s"}, Text: "<>&/\u2028", Who: "王"},
			"{\"at\":0,\"salt\":\"s\",\"seq\":0,\"t\":0,\"te\":0,\"text\":\"<>&/\u2028\",\"type\":\"mark\",\"up\":0,\"who\":\"王\"}"},
		{"a nil slice is empty", Disks{}, `{"seq":0,"t":0,"te":0,"type":"","up":0,"writing":[]}`},
		{"a nil pointer is null", map[string]any{"prev": (*LedgerRef)(nil), "none": nil}, `{"none":null,"prev":null}`},
		{"broken UTF-8 is replaced", map[string]string{"a": "\xff\x01"}, "{\"a\":\"\ufffd\\u0001\"}"},
		{"floats are refused", map[string]any{"a": 1.5}, ""},
		{"a number too large is refused", map[string]any{"a": int64(1) << 53}, ""},
		{"a bad key is refused", map[string]any{"A": 1}, ""},
		{"an array is no line", []int{1}, ""},
		{"nor is nothing", nil, ""},
		{"too long is refused", map[string]any{"a": strings.Repeat("x", MaxLine)}, ""},
		{"too deep is refused", map[string]any{"a": [][][][][][][][]int{{{{{{{{}}}}}}}}}, ""},
	} {
		got, err := MarshalLine(tt.v)
		if string(got) != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: MarshalLine() = %s, %v; want %s", tt.rule, got, err, tt.want)
		}
	}
}

func TestUnmarshalCanonicalNamesTheField(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{"t":1,"te":1}`, `field "src" is missing`},
		{`{"src":1,"t":1,"te":1}`, `field "src" is no string`},
		{`{"src":"","t":null,"te":1}`, `field "t" is no int64`},
		{`{"a":1,"src":"","t":1,"te":1}`, `field "a" is not part of the format`},
	} {
		var m Moment
		if err := UnmarshalCanonical([]byte(tt.in), &m, true); fmt.Sprint(err) != tt.want {
			t.Errorf("%s: %v, want %s", tt.in, err, tt.want)
		}
	}
}

func BenchmarkMarshalFragment(b *testing.B) {
	f := Fragment{Common: Common{Type: "fragment", Seq: 12345, T: 1764031474000000, TE: 1500, Up: 123456789}, Ch: "face", Seg: 3, N: 1200,
		Off: 12345678, Len: 262144, Head: strings.Repeat("a", 64), Body: strings.Repeat("b", 64), From: 1, To: 500001, Samples: []int64{12, 25}, St: 7}
	for b.Loop() {
		if _, err := MarshalLine(f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseFragment(b *testing.B) {
	line, err := MarshalLine(Fragment{Common: Common{Type: "fragment"}, Ch: "face", Head: strings.Repeat("a", 64), Body: strings.Repeat("b", 64), Samples: []int64{12, 25}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l, err := ParseLine(line)
		if err != nil {
			b.Fatal(err)
		}
		var f Fragment
		if err := l.Decode(&f); err != nil {
			b.Fatal(err)
		}
	}
}
