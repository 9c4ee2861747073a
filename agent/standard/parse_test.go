package standard

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

const head = "id: p\nversion: \"1\"\ntitle: {zh: 试, en: test}\nitems:\n"

func item(fields string) string {
	return head + "  - {" + fields + "}\n"
}

const whole = "id: a, measure: m, unit: s, min: 1, severity: must, basis: {kind: law, seen: read, source: x}, zh: 甲, en: A"

func TestParseRefuses(t *testing.T) {
	if _, err := Parse([]byte(item(whole))); err != nil {
		t.Fatalf("a whole item: %v", err)
	}
	for _, tt := range []struct{ rule, yaml, want string }{
		{"an unknown key", item(whole + ", minimum: 2"), "minimum"},
		{"a repeated key", item(whole + ", min: 2"), "min"},
		{"the comma in a text that was not quoted", item(strings.Replace(whole, "en: A", "en: two views, the face and the room", 1)), ""},
		{"an item twice", item(whole) + "  - {" + whole + "}\n", "twice"},
		{"no title", item(strings.Replace(whole, ", en: A", "", 1)), "zh and en"},
		{"no limit", item(strings.Replace(whole, "min: 1, ", "", 1)), "no limit"},
		{"two kinds of limit", item(whole + ", equals: true"), "more than one"},
		{"a range that cannot be met", item(whole + ", max: 0"), "above max"},
		{"an unknown severity", item(strings.Replace(whole, "must", "shall", 1)), "shall"},
		{"an unknown kind of basis", item(strings.Replace(whole, "law", "gossip", 1)), "gossip"},
		{"a rule without source", item(strings.Replace(whole, "source: x", "source: \"\"", 1)), "source"},
		{"a window that is no duration", item(whole + ", window: soon"), "window"},
		{"a window without end", item(whole + ", window: 1000h"), "window"},
		{"a negative tolerance", item(whole + ", tolerance: -1"), "tolerance"},
		{"a limit that is no number", item(whole + ", max: .nan"), ""},
		{"an empty list of texts", item(strings.Replace(whole, "min: 1", "oneOf: []", 1)), ""},
		{"an unknown situation", item(whole + ", when: {session: asleep}"), "asleep"},
		{"an id with a space", item(strings.Replace(whole, "id: a", "id: a b", 1)), "id"},
		{"no items", head, "items"},
		{"no id", strings.Replace(item(whole), "id: p", "id: \"\"", 1), "id"},
		{"nothing", "", ""},
		{"too deep", "a: " + strings.Repeat("[", 1000), "deep"},
		{"too long", strings.Repeat("#", maxBytes+1), "bytes"},
	} {
		p, err := Parse([]byte(tt.yaml))
		if err == nil {
			t.Errorf("%s: accepted as %+v", tt.rule, p)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %q does not say %q", tt.rule, err, tt.want)
		}
	}
}

func TestValuesAreJSON(t *testing.T) {
	for _, tt := range []struct {
		v     Value
		json  string
		shown string
	}{
		{Number(24.97), "24.97", "24.97"}, {Number(25), "25", "25"}, {Number(1.0 / 3), "0.3333333333333333", "0.3333"},
		{String("h264"), `"h264"`, "h264"}, {Bool(false), "false", "false"}, {Value{}, "null", "—"},
	} {
		b, err := json.Marshal(tt.v)
		if err != nil || string(b) != tt.json || tt.v.String() != tt.shown {
			t.Errorf("%v: %s %v %q, want %s %q", tt.v, b, err, tt.v.String(), tt.json, tt.shown)
		}
		var back Value
		if err := json.Unmarshal(b, &back); err != nil || back != tt.v {
			t.Errorf("%s read back: %v %v", b, back, err)
		}
	}
	var v Value
	if err := v.UnmarshalJSON([]byte("[1]")); err == nil {
		t.Error("a list is no value")
	}
}

func FuzzParseProfile(f *testing.F) {
	data, err := os.ReadFile("default.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(item(whole)))
	f.Add([]byte(item(whole + ", window: 30s, tolerance: 0.5, when: {session: recording, class: A}, manual: true")))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			return
		}
		ms := []Measurement{}
		for i := range p.Items {
			good, _ := values(&p.Items[i])
			ms = append(ms, Measurement{Measure: p.Items[i].Measure, Value: good, Unit: p.Items[i].Unit})
		}
		_, vs := Step(p, State{}, ms, Facts{Recording: true}, s)
		if len(vs) < len(p.Items) {
			t.Errorf("%d verdicts for %d items", len(vs), len(p.Items))
		}
	})
}
