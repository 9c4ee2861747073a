package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// parsers reads each kind of message.
func parseKind(k Kind, b []byte) (Message, error) {
	switch k {
	case KindState:
		return ParseState(b)
	case KindHealth:
		return ParseHealth(b)
	case KindCompliance:
		return ParseCompliance(b)
	case KindAck:
		return ParseAck(b)
	case KindCommand:
		return ParseCommand(b)
	case KindCheckpoint:
		return ParseCheckpoint(b)
	case KindLedger:
		return ParseLedger(b)
	case KindCosignature:
		return ParseCosignature(b)
	case KindTimestamp:
		return ParseTimestamp(b)
	case KindLists:
		return ParseLists(b)
	}
	m, err := ParseNumbered(b)
	if of, _ := KindOf(m.Type); err == nil && of != k {
		err = fmt.Errorf("type %s travels as %s", m.Type, of)
	}
	return m, err
}

func compiled(t testing.TB) map[Kind]*jsonschema.Schema {
	t.Helper()
	all := map[Kind]*jsonschema.Schema{}
	for _, k := range Kinds() {
		c := jsonschema.NewCompiler()
		c.DefaultDraft(jsonschema.Draft2020)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema(k)))
		if err == nil {
			err = c.AddResource(string(k), doc)
		}
		if err != nil {
			t.Fatal(err)
		}
		if all[k], err = c.Compile(string(k)); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func valid(s *jsonschema.Schema, b []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

func examples(t testing.TB, k Kind) (list [][]byte) {
	t.Helper()
	var s struct{ Examples []json.RawMessage }
	if err := json.Unmarshal(Schema(k), &s); err != nil || len(s.Examples) == 0 {
		t.Fatalf("%s: no examples: %v", k, err)
	}
	for _, e := range s.Examples {
		list = append(list, e)
	}
	return list
}

func TestExamplesHoldInSchemaAndCode(t *testing.T) {
	for k, s := range compiled(t) {
		for i, b := range examples(t, k) {
			if err := valid(s, b); err != nil {
				t.Errorf("%s example %d: schema: %v", k, i, err)
			}
			m, err := parseKind(k, b)
			if err != nil {
				t.Errorf("%s example %d: %v", k, i, err)
				continue
			}
			again, err := Marshal(m)
			if err != nil || valid(s, again) != nil {
				t.Errorf("%s example %d, marshalled again: %v, %v", k, i, err, valid(s, again))
			}
			if want, got := compact(b), compact(again); want != got {
				t.Errorf("%s example %d: a field is lost\nwant %s\ngot  %s", k, i, want, got)
			}
		}
	}
}

// compact is JSON with sorted keys, without what only says that nothing is known.
func compact(b []byte) string {
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return "not JSON"
	}
	out, _ := json.Marshal(strip(v))
	return string(out)
}

func strip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if x == nil || x == "" {
				delete(v, k)
			} else {
				v[k] = strip(x)
			}
		}
	case []any:
		for i := range v {
			v[i] = strip(v[i])
		}
	}
	return v
}

// TestEachLimitHoldsInSchemaAndCode changes an example so that one rule breaks: both must refuse.
func TestEachLimitHoldsInSchemaAndCode(t *testing.T) {
	schema := compiled(t)
	long := func(n int) string { return strings.Repeat("录", n) }
	for _, tt := range []struct {
		k       Kind
		example int
		path    string // where, "a.0.b"
		value   any    // nil: take it away
	}{
		{KindState, 0, "v", 2}, {KindState, 0, "v", nil}, {KindState, 0, "v", "1"},
		{KindState, 0, "device", "Room"}, {KindState, 0, "device", nil}, {KindState, 0, "device", strings.Repeat("a", 65)}, {KindState, 0, "device", "a/b"},
		{KindState, 0, "online", nil}, {KindState, 0, "online", 1}, {KindState, 0, "bdseq", 0}, {KindState, 0, "bdseq", nil}, {KindState, 0, "bdseq", 1.5}, {KindState, 0, "bdseq", int64(1) << 53},
		{KindState, 0, "run", "xyz"}, {KindState, 1, "run", nil}, {KindState, 0, "boot", nil}, {KindState, 0, "t", nil}, {KindState, 0, "t", "yesterday"}, {KindState, 0, "t", 5}, {KindState, 0, "t", "2026-11-23T6:05:09Z"}, {KindState, 0, "t", "0001-01-01T00:00:00Z"}, {KindState, 0, "t", "2026-11-23T06:05:09"}, {KindState, 0, "t", "2026-11-23T06:05:09.Z"}, {KindState, 0, "t", "2026-11-23 06:05:09Z"},
		{KindState, 0, "state", nil}, {KindState, 0, "state", "Recording"}, {KindState, 0, "room", long(201)}, {KindState, 0, "room", "a\x00b"}, {KindState, 0, "room", 5},
		{KindState, 0, "body.name", ""}, {KindState, 0, "body", "x"}, {KindState, 0, "session", "a b"}, {KindState, 0, "faults.0.code", ""}, {KindState, 0, "faults.0.ch", long(201)}, {KindState, 0, "faults", many(201, map[string]any{"code": "a.b"})},
		{KindState, 0, "version", long(129)},
		{KindHealth, 0, "t", nil}, {KindHealth, 0, "measurements", nil}, {KindHealth, 0, "measurements", many(1001, map[string]any{"measure": "a", "value": 1})}, {KindHealth, 0, "measurements.0.measure", "A b"},
		{KindHealth, 0, "measurements.0.value", nil}, {KindHealth, 0, "measurements.0.value", []any{1}}, {KindHealth, 0, "measurements.0.value", map[string]any{}}, {KindHealth, 0, "measurements.0.value", long(1001)},
		{KindHealth, 0, "measurements.1.unknown", nil}, {KindHealth, 0, "measurements.1.value", 3}, {KindHealth, 0, "measurements.1.unknown.zh", ""}, {KindHealth, 0, "measurements.0.unit", long(129)}, {KindHealth, 0, "measurements.0.how", "x"}, {KindHealth, 0, "measurements.0.at", "x"},
		{KindCompliance, 0, "profile.id", ""}, {KindCompliance, 0, "profile", nil}, {KindCompliance, 0, "items", nil}, {KindCompliance, 0, "items.0.verdict", "good"}, {KindCompliance, 0, "items.0.verdict", nil}, {KindCompliance, 0, "items.0.severity", "high"},
		{KindCompliance, 0, "items.0.since", nil}, {KindCompliance, 0, "items.0.zh", ""}, {KindCompliance, 0, "items.0.en", nil}, {KindCompliance, 0, "items.0.basis", ""}, {KindCompliance, 0, "items.1.why", nil}, {KindCompliance, 0, "items.0.clause", long(1001)}, {KindCompliance, 0, "items.0.limit", long(1001)}, {KindCompliance, 0, "items.0.item", ""},
		{KindSession, 0, "outbox", "0"}, {KindSession, 0, "outbox", nil}, {KindSession, 0, "n", 0}, {KindSession, 0, "n", nil}, {KindSession, 0, "t", nil}, {KindSession, 0, "type", "alarm.raised"}, {KindSession, 0, "type", "session"}, {KindSession, 0, "type", "session.Opened"}, {KindSession, 0, "body", nil}, {KindSession, 0, "body", []any{}},
		{KindSession, 0, "body.session", nil}, {KindSession, 0, "body.officers.0.name", ""}, {KindSession, 0, "body.officers", many(51, map[string]any{"name": "a"})}, {KindSession, 0, "body.case", long(201)}, {KindSession, 0, "body.failed.0", ""}, {KindSession, 3, "body.manifest", "abc"}, {KindSession, 3, "body.media_ms", -1}, {KindSession, 3, "body.copies", 101}, {KindSession, 5, "body.command", "a b"}, {KindSession, 1, "body.reason", long(1001)},
		{KindAlarm, 0, "body.code", ""}, {KindAlarm, 0, "body.severity", "bad"}, {KindAlarm, 0, "body.do_zh", nil}, {KindAlarm, 0, "body.zh", long(1001)}, {KindAlarm, 1, "body.en", ""}, {KindAlarm, 2, "body.command", ""}, {KindAlarm, 2, "body.code", nil}, {KindAlarm, 0, "type", "session.opened"},
		{KindCheckpoint, 0, "size", 0}, {KindCheckpoint, 0, "size", nil}, {KindCheckpoint, 0, "old", -1}, {KindCheckpoint, 0, "old", nil}, {KindCheckpoint, 0, "root", "short"}, {KindCheckpoint, 0, "note", long(4097)}, {KindCheckpoint, 0, "note", nil}, {KindCheckpoint, 0, "origin", ""}, {KindCheckpoint, 0, "origin", "a\rb"}, {KindCheckpoint, 0, "t", nil}, {KindCheckpoint, 0, "device", nil},
		{KindCheckpoint, 0, "proof.0", "x"}, {KindCheckpoint, 0, "proof", many(65, strings.Repeat("A", 44))}, {KindCheckpoint, 0, "proof", "x"},
		{KindLedger, 0, "from", -1}, {KindLedger, 0, "from", nil}, {KindLedger, 0, "lines", nil}, {KindLedger, 0, "lines", []any{}}, {KindLedger, 0, "lines.0", ""}, {KindLedger, 0, "lines.0", long(16385)}, {KindLedger, 0, "lines", many(2001, "{}")}, {KindLedger, 0, "origin", long(201)}, {KindLedger, 0, "device", "A"},
		{KindCosignature, 0, "origin", nil}, {KindCosignature, 0, "size", -1}, {KindCosignature, 0, "size", nil}, {KindCosignature, 0, "lines", nil}, {KindCosignature, 0, "lines", many(33, "a")}, {KindCosignature, 0, "lines.0", long(6001)}, {KindCosignature, 0, "held.size", 0}, {KindCosignature, 0, "held.size", nil}, {KindCosignature, 0, "held.root", "x"}, {KindCosignature, 1, "conflict", 1}, {KindCosignature, 1, "refused", "A b"}, {KindCosignature, 0, "have_lines", nil}, {KindCosignature, 0, "have_lines", -1},
		{KindTimestamp, 0, "id", nil}, {KindTimestamp, 0, "id", "a/b"}, {KindTimestamp, 0, "request", nil}, {KindTimestamp, 0, "request", "ä"}, {KindTimestamp, 0, "request", strings.Repeat("A", 4097)}, {KindTimestamp, 1, "reply", strings.Repeat("A", 128<<10+1)}, {KindTimestamp, 0, "reply", "AAAA"}, {KindTimestamp, 2, "request", "AAAA"}, {KindTimestamp, 2, "error", "Too Bad"},
		{KindLists, 0, "version", "v1"}, {KindLists, 0, "t", nil}, {KindLists, 0, "bodies", nil}, {KindLists, 0, "officers", nil}, {KindLists, 0, "matters", nil}, {KindLists, 0, "bookings", nil}, {KindLists, 0, "cases", nil}, {KindLists, 0, "device", "A"}, {KindLists, 0, "left_out", -1},
		{KindLists, 0, "bodies.0.name", ""}, {KindLists, 0, "bodies.0.uscc", "1"}, {KindLists, 0, "bodies.0.uscc", nil}, {KindLists, 0, "bodies.0.system", long(201)}, {KindLists, 0, "bodies.0.division", "12"}, {KindLists, 0, "bodies.0.rules.approval", "none"}, {KindLists, 0, "bodies.0.rules.max_minutes", 10081}, {KindLists, 0, "bodies.0.rules.warn_minutes", -1}, {KindLists, 0, "bodies.0.rules.preroll_off", 1},
		{KindLists, 0, "bodies", many(101, map[string]any{"name": "a", "uscc": "11110000MA01AAAA0D", "rules": map[string]any{}})},
		{KindLists, 0, "officers.0.name", ""}, {KindLists, 0, "officers.0.credential", ""}, {KindLists, 0, "officers.0.body", "x"}, {KindLists, 0, "officers.0.from", "2026-1-1"}, {KindLists, 0, "officers.0.to", "soon"}, {KindLists, 0, "officers", many(2001, map[string]any{"name": "a", "credential": "b", "body": "11110000MA01AAAA0D"})},
		{KindLists, 0, "matters.0.id", "a b"}, {KindLists, 0, "matters.0.version", ""}, {KindLists, 0, "matters.0.name", ""}, {KindLists, 0, "matters.0.kind", "raid"}, {KindLists, 0, "matters.0.body", "x"}, {KindLists, 0, "matters.0.starts", long(201)}, {KindLists, 0, "matters.0.ends", long(201)}, {KindLists, 0, "matters.0.agenda.0", ""}, {KindLists, 0, "matters.0.agenda.0", long(61)}, {KindLists, 0, "matters.0.agenda", many(31, "a")},
		{KindLists, 0, "matters.0.retention", nil}, {KindLists, 0, "matters.0.retention.kind", "ever"}, {KindLists, 0, "matters.0.retention.months", 6}, {KindLists, 0, "matters.1.retention.months", nil}, {KindLists, 0, "matters.1.retention.months", 1201}, {KindLists, 0, "matters.1.limit_minutes", -1}, {KindLists, 0, "matters.0.approved_on", "x"}, {KindLists, 0, "matters.0.approved_by", long(201)}, {KindLists, 0, "matters", many(301, map[string]any{"id": "a", "version": "1", "name": "b", "kind": "hearing", "retention": map[string]any{"kind": "case"}})},
		{KindLists, 0, "bookings.0.id", ""}, {KindLists, 0, "bookings.0.body", nil}, {KindLists, 0, "bookings.0.case", long(201)}, {KindLists, 0, "bookings.0.matter", "a b"}, {KindLists, 0, "bookings.0.officers.0", ""}, {KindLists, 0, "bookings.0.officers", many(51, "a")}, {KindLists, 0, "bookings.0.begins", "2026-11-24"}, {KindLists, 0, "bookings.0.until", nil}, {KindLists, 0, "bookings.0.note", long(1001)}, {KindLists, 0, "bookings", many(501, map[string]any{"id": "a", "body": "11110000MA01AAAA0D", "begins": "2026-11-24T01:00:00Z", "until": "2026-11-24T01:00:00Z"})},
		{KindLists, 0, "cases.0.case", ""}, {KindLists, 0, "cases.0.body", "x"}, {KindLists, 0, "cases.0.title", long(201)}, {KindLists, 0, "cases.1.closed", "2026"}, {KindLists, 0, "cases.1.keep_until", "ever"}, {KindLists, 0, "cases", many(2001, map[string]any{"case": "a", "body": "11110000MA01AAAA0D"})},
		{KindState, 0, "lists", "abc"},
		{KindAck, 0, "upto", nil}, {KindAck, 0, "upto", -1}, {KindAck, 0, "outbox", "0011223344556g77"},
		{KindCommand, 0, "id", ""}, {KindCommand, 0, "id", "a/b"}, {KindCommand, 0, "do", ""}, {KindCommand, 0, "t", nil}, {KindCommand, 0, "who", ""}, {KindCommand, 0, "officers.0.name", nil}, {KindCommand, 1, "text", long(1001)},
		{KindCommand, 0, "who", nil}, {KindCommand, 0, "case", map[string]any{"a": 1}},
	} {
		var v any
		if err := json.Unmarshal(examples(t, tt.k)[tt.example], &v); err != nil {
			t.Fatal(err)
		}
		change(v, strings.Split(tt.path, "."), tt.value)
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		_, err = parseKind(tt.k, b)
		if err == nil {
			t.Errorf("%s.%s = %.40v: the code accepts it", tt.k, tt.path, tt.value)
		} else if !strings.HasPrefix(err.Error(), "report: ") && !strings.HasPrefix(err.Error(), "type ") {
			t.Errorf("%s.%s: the error does not say where: %v", tt.k, tt.path, err)
		}
		if valid(schema[tt.k], b) == nil {
			t.Errorf("%s.%s = %.40v: the schema accepts it", tt.k, tt.path, tt.value)
		}
	}
}

func many(n int, v any) (list []any) {
	for range n {
		list = append(list, v)
	}
	return list
}

func change(v any, path []string, to any) {
	switch v := v.(type) {
	case map[string]any:
		switch {
		case len(path) > 1:
			change(v[path[0]], path[1:], to)
		case to == nil:
			delete(v, path[0])
		default:
			v[path[0]] = to
		}
	case []any:
		i := int(path[0][0] - '0')
		if len(path) > 1 {
			change(v[i], path[1:], to)
		} else {
			v[i] = to
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := string(examples(t, KindAck)[0])
	for _, tt := range []struct {
		rule, text string
		is         error
	}{
		{"a later version, by name", `{"v":2,"outbox":"0011223344556677","upto":12}`, ErrVersion},
		{"a version of ours written otherwise", `{"v":1.0,"outbox":"0011223344556677","upto":12}`, ErrVersion},
		{"no version", `{"outbox":"0011223344556677","upto":12}`, ErrVersion},
		{"too long", good + strings.Repeat(" ", MaxSize), ErrSize},
		{"two messages", good + good, nil},
		{"garbage behind", good + "x", nil},
		{"cut short", good[:len(good)-1], nil},
		{"not an object", `[1]`, nil},
		{"null", `null`, nil},
		{"empty", ``, nil},
		{"a key twice", `{"v":1,"outbox":"0011223344556677","upto":12,"upto":13}`, nil},
		{"a key in another case", `{"v":1,"outbox":"0011223344556677","upto":12,"Upto":13}`, nil},
		{"null for a field", `{"v":1,"outbox":"0011223344556677","upto":null}`, nil},
		{"not UTF-8", `{"v":1,"outbox":"0011223344556677","upto":12,"x":"` + "\xff" + `"}`, nil},
		{"too deep", `{"v":1,"outbox":"0011223344556677","upto":12,"x":` + strings.Repeat("[", 17) + strings.Repeat("]", 17) + `}`, nil},
	} {
		_, err := ParseAck([]byte(tt.text))
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %v", tt.rule, err)
		}
	}
	if m, err := ParseAck([]byte(`{"v":1,"outbox":"0011223344556677","upto":12,"later":{"value":null}}`)); err != nil || m.UpTo != 12 {
		t.Errorf("a field of later: %v, %v; want it passed over", m, err)
	}
}

func TestLaterTypesAreStoredUnread(t *testing.T) {
	m, err := ParseNumbered([]byte(`{"v":1,"device":"d","outbox":"0011223344556677","n":1,"t":"2026-11-23T06:05:09Z","type":"session.moved","body":{"where":[1]}}`))
	if err != nil || string(m.Body) != `{"where":[1]}` {
		t.Errorf("%v, %v", m, err)
	}
}

func TestMarshalRefusesWhatParseWould(t *testing.T) {
	now := time.Date(2026, 11, 23, 6, 5, 9, 0, time.UTC)
	if _, err := Marshal(Health{Device: "d", T: now, Measurements: []Measurement{{Measure: "m", Value: 1}}}); err != nil {
		t.Errorf("an int is a number: %v", err)
	}
	if b, err := Marshal(Compliance{Device: "d", T: now, Profile: Profile{ID: "p", Version: "1"}}); err != nil || !bytes.Contains(b, []byte(`"items":[]`)) {
		t.Errorf("no items: %s, %v", b, err)
	}
	for _, m := range []Message{
		State{}, Health{Device: "d"}, Command{ID: "x"}, Ack{Outbox: "x"}, Numbered{Device: "d"},
		Health{Device: "d", T: now, Measurements: []Measurement{{Measure: "m", Value: strings.Repeat("x", 1001)}}},
	} {
		if b, err := Marshal(m); err == nil {
			t.Errorf("Marshal(%T) = %s, want an error", m, b)
		}
	}
	if _, err := MarshalBody(Alarm{}); err == nil {
		t.Error("an empty alarm was marshalled")
	}
	for _, f := range Catalogue() {
		if _, err := MarshalBody(AlarmOf(f.Code, "face", now)); err != nil {
			t.Error(err)
		}
	}
	if _, err := MarshalBody(AlarmOf("later.code", "", now)); err != nil {
		t.Error(err)
	}
}

func TestTopics(t *testing.T) {
	for _, k := range Kinds() {
		d, got, err := ParseTopic(Topic("room-3", k))
		if d != "room-3" || got != k || err != nil {
			t.Errorf("ParseTopic(Topic(%s)) = %s, %s, %v", k, d, got, err)
		}
	}
	for _, s := range []string{"", "minglu/1/room-3", "minglu/1//state", "minglu/2/room-3/state", "minglu/1/Room/state", "minglu/1/a/b/state", "minglu/1/a/st+te", "minglu/1/+/state", "x/minglu/1/a/state"} {
		if d, k, err := ParseTopic(s); err == nil || errors.Is(err, ErrKind) {
			t.Errorf("ParseTopic(%q) = %s, %s, %v", s, d, k, err)
		}
	}
	if d, k, err := ParseTopic("minglu/1/a/later"); d != "a" || k != "later" || !errors.Is(err, ErrKind) {
		t.Errorf("a later kind: %s, %s, %v", d, k, err)
	}
	for typ, want := range map[string]Kind{SessionSealed: KindSession, AlarmRaised: KindAlarm, CommandWasRefused: KindAlarm, "checkpoint": "", "state.x": "", "session.": "", "": "", "checkpoint.x": ""} {
		if k, ok := KindOf(typ); k != want && ok || ok != (want != "") {
			t.Errorf("KindOf(%q) = %s, %t", typ, k, ok)
		}
	}
}

// fuzz: whatever the code accepts, the schema accepts, and it can be written again.
func fuzz(f *testing.F, kinds ...Kind) {
	all := compiled(f)
	for _, k := range kinds {
		for _, b := range examples(f, k) {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, k := range kinds {
			m, err := parseKind(k, b)
			if err != nil {
				continue
			}
			if err := valid(all[k], b); err != nil {
				t.Fatalf("%s: the code accepts what the schema refuses: %v", k, err)
			}
			again, err := Marshal(m)
			if err != nil && len(b) < MaxSize/8 { // escapes may make it longer than it came
				t.Fatalf("%s: accepted, but cannot be written: %v", k, err)
			}
			if err == nil && valid(all[k], again) != nil {
				t.Fatalf("%s: written against the schema: %s", k, again)
			}
		}
	})
}

func FuzzParseState(f *testing.F)      { fuzz(f, KindState) }
func FuzzParseHealth(f *testing.F)     { fuzz(f, KindHealth) }
func FuzzParseCompliance(f *testing.F) { fuzz(f, KindCompliance) }
func FuzzParseNumbered(f *testing.F)   { fuzz(f, KindSession, KindAlarm) }
func FuzzParseAck(f *testing.F)        { fuzz(f, KindAck) }
func FuzzParseCommand(f *testing.F)    { fuzz(f, KindCommand) }

func FuzzParseExchange(f *testing.F) {
	fuzz(f, KindCheckpoint, KindLedger, KindCosignature, KindTimestamp)
}

func FuzzParseLists(f *testing.F) { fuzz(f, KindLists) }

// TestDigestIsOfTheContent: another time or place of assembly is no other version, another entry is.
func TestDigestIsOfTheContent(t *testing.T) {
	m := Lists{Device: "d", Cases: []ListCase{{Case: "1", Body: "b"}}}
	same, other := m, m
	same.T, same.Version, same.Bodies, same.V = time.Now(), "x", []ListBody{}, 1
	other.Cases = []ListCase{{Case: "2", Body: "b"}}
	if m.Digest() != same.Digest() || m.Digest() == other.Digest() {
		t.Errorf("%s, %s, %s: want the same twice, then another", m.Digest(), same.Digest(), other.Digest())
	}
}

func FuzzParseTopic(f *testing.F) {
	f.Add("minglu/1/room-3/state")
	f.Fuzz(func(t *testing.T, s string) {
		if d, k, err := ParseTopic(s); (err == nil || errors.Is(err, ErrKind)) && Topic(d, k) != s {
			t.Fatalf("ParseTopic(%q) = %s, %s", s, d, k)
		}
	})
}
