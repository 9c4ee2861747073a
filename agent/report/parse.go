package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// Errors of the Parse functions that a caller may want to count apart.
var (
	// ErrVersion: the sender is newer than this program. Update this program.
	ErrVersion = errors.New("unknown version")
	// ErrSize: the message has more than MaxSize bytes.
	ErrSize = fmt.Errorf("more than %d bytes", MaxSize)
)

// maxDepth is how deep objects and lists may lie in each other. Version 1 needs 4.
const maxDepth = 16

// ParseState reads a State or a Will.
func ParseState(b []byte) (State, error) { return parse[State]("state", b) }

// ParseHealth reads a Health.
func ParseHealth(b []byte) (Health, error) { return parse[Health]("health", b) }

// ParseCompliance reads a Compliance.
func ParseCompliance(b []byte) (Compliance, error) { return parse[Compliance]("compliance", b) }

// ParseNumbered reads a Numbered and checks its body if the type is one of this version. A later type is
// accepted, so that it can be stored and acknowledged.
func ParseNumbered(b []byte) (Numbered, error) { return parse[Numbered]("numbered message", b) }

// ParseAck reads an Ack.
func ParseAck(b []byte) (Ack, error) { return parse[Ack]("ack", b) }

// ParseCommand reads a Command. A Do of a later version is accepted; whoever carries out refuses it.
func ParseCommand(b []byte) (Command, error) { return parse[Command]("command", b) }

// Session reads the body of a type that begins with "session.".
func (m Numbered) Session() (SessionEvent, error) { return parseBody[SessionEvent](m) }

// Look reads the body of session.accessed.
func (m Numbered) Look() (Look, error) { return parseBody[Look](m) }

// Alarm reads the body of alarm.raised and alarm.cleared.
func (m Numbered) Alarm() (Alarm, error) { return parseBody[Alarm](m) }

// Refused reads the body of command.refused.
func (m Numbered) Refused() (CommandRefused, error) { return parseBody[CommandRefused](m) }

// Message is one of State, Health, Compliance, Numbered, Ack, Command, Checkpoint, Ledger, Cosignature, Timestamp, Lists.
type Message interface {
	required() []string // keys that must be there, even where their zero value is allowed
	message
}

// message is a type whose fields have limits.
type message interface{ check(c *checker) }

// Marshal writes a message. It fails if the message breaks a limit: what it wrote can be parsed. V may be
// left 0, and lists nil.
func Marshal(m Message) ([]byte, error) {
	switch x := m.(type) {
	case State:
		x.V = Version
		return marshal("state", x)
	case Health:
		x.V = Version
		if x.Measurements == nil {
			x.Measurements = []Measurement{}
		}
		return marshal("health", x)
	case Compliance:
		x.V = Version
		if x.Items == nil {
			x.Items = []Item{}
		}
		return marshal("compliance", x)
	case Numbered:
		x.V = Version
		return marshal("numbered message", x)
	case Ack:
		x.V = Version
		return marshal("ack", x)
	case Command:
		x.V = Version
		return marshal("command", x)
	case Checkpoint:
		x.V = Version
		return marshal("checkpoint", x)
	case Ledger:
		x.V = Version
		return marshal("ledger", x)
	case Cosignature:
		x.V = Version
		if x.Lines == nil {
			x.Lines = []string{}
		}
		return marshal("cosignature", x)
	case Timestamp:
		x.V = Version
		return marshal("timestamp", x)
	case Lists:
		x = x.whole()
		x.V = Version
		return marshal("lists", x)
	}
	panic(fmt.Sprintf("BUG: report: marshal of %T", m))
}

// NumberedBody is one of SessionEvent, Look, Alarm, CommandRefused: what a [Numbered] carries.
type NumberedBody interface {
	message
	carried()
}

// MarshalBody writes a body within its limits.
func MarshalBody(body NumberedBody) (json.RawMessage, error) {
	var c checker
	if body.check(&c); c.err != nil {
		return nil, fmt.Errorf("report: %T: %w", body, c.err)
	}
	return json.Marshal(body)
}

func (SessionEvent) carried()   {}
func (Look) carried()           {}
func (Alarm) carried()          {}
func (CommandRefused) carried() {}

func (State) required() []string      { return []string{"device", "online", "bdseq", "run"} }
func (Health) required() []string     { return []string{"device", "t", "measurements"} }
func (Compliance) required() []string { return []string{"device", "t", "profile", "items"} }
func (Numbered) required() []string   { return []string{"device", "outbox", "n", "t", "type", "body"} }
func (Ack) required() []string        { return []string{"outbox", "upto"} }
func (Command) required() []string    { return []string{"id", "do", "t", "who"} }

func marshal[T Message](what string, m T) ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("report: %s: %w", what, err)
	}
	_, err = parse[T](what, b)
	return b, err
}

func parse[T Message](what string, b []byte) (T, error) {
	var none, m T
	fail := func(err error) (T, error) { return none, fmt.Errorf("report: %s: %w", what, err) }
	if len(b) > MaxSize {
		return fail(ErrSize)
	}
	keys, err := scan(b)
	if err != nil {
		return fail(err)
	}
	var head struct {
		V json.Number `json:"v"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return fail(fmt.Errorf("v: %w", err))
	}
	if head.V != "1" {
		return fail(fmt.Errorf("v: %q, this program reads %d: %w", short(head.V.String()), Version, ErrVersion))
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return fail(err)
	}
	for _, k := range m.required() {
		if !keys[k] {
			return fail(fmt.Errorf("%s: missing", k))
		}
	}
	var c checker
	m.check(&c)
	if c.err != nil {
		return fail(c.err)
	}
	return m, nil
}

func parseBody[T message](m Numbered) (T, error) {
	var none, v T
	if _, err := scan(m.Body); err != nil {
		return none, fmt.Errorf("report: %s: body: %w", short(m.Type), err)
	}
	if err := json.Unmarshal(m.Body, &v); err != nil {
		return none, fmt.Errorf("report: %s: body: %w", short(m.Type), err)
	}
	c := checker{path: []string{"body"}}
	v.check(&c)
	if c.err != nil {
		return none, fmt.Errorf("report: %s: %w", short(m.Type), c.err)
	}
	return v, nil
}

// level is one object or list that scan is inside of.
type level struct {
	keys map[string]bool // nil: a list
	key  string          // the key just read; "" if a key comes next
}

// scan holds what encoding/json leaves open: one object, valid UTF-8, no key twice or in another case, no
// null but as a value that was not measured, bounded depth. It returns the keys of the outermost object.
func scan(b []byte) (map[string]bool, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	outer := level{keys: map[string]bool{}}
	for stack := []level{outer}; len(stack) > 0; {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		if stack, err = step(stack, t); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON object")
	}
	return outer.keys, nil
}

func step(stack []level, t json.Token) ([]level, error) {
	if t == json.Delim('}') || t == json.Delim(']') {
		return stack[:len(stack)-1], nil
	}
	top := &stack[len(stack)-1]
	if top.keys != nil && top.key == "" {
		var c checker
		k, _ := t.(string)
		if c.chars("key", k, 1, 32, az+digits+"_-"); c.err != nil || top.keys[k] {
			return nil, fmt.Errorf("key %q is malformed or stands twice", short(k))
		}
		top.key, top.keys[k] = k, true
		return stack, nil
	}
	if t == nil && top.key != "value" {
		return nil, fmt.Errorf("%s: null: leave it out", top.key)
	}
	if v, ok := t.(string); ok && slices.Contains(timeKeys(), top.key) && !rfc3339(v) {
		return nil, fmt.Errorf("%s: %q is no time as RFC 3339 writes it", top.key, short(v))
	}
	top.key = ""
	switch t {
	case json.Delim('{'):
		stack = append(stack, level{keys: map[string]bool{}})
	case json.Delim('['):
		stack = append(stack, level{})
	}
	if len(stack) > maxDepth {
		return nil, fmt.Errorf("more than %d levels", maxDepth)
	}
	return stack, nil
}

// timeKeys returns the keys whose texts are times, wherever they stand.
func timeKeys() []string { return []string{"t", "at", "since", "begins", "until"} }

// rfc3339 reports whether s has the form YYYY-MM-DDThh:mm:ss, a fraction or none, Z or ±hh:mm, after the
// year 1000. encoding/json lets an hour of one digit pass.
func rfc3339(s string) bool {
	const form = "1000-00-00T00:00:00"
	digit := func(b byte) bool { return '0' <= b && b <= '9' }
	like := func(s, form string) bool {
		if len(s) != len(form) {
			return false
		}
		for i := range len(s) {
			if digit(form[i]) != digit(s[i]) || !digit(form[i]) && s[i] != form[i] {
				return false
			}
		}
		return true
	}
	if len(s) < len(form) || !like(s[:len(form)], form) || s[0] != '1' && s[0] != '2' {
		return false
	}
	s = s[len(form):]
	if len(s) > 1 && s[0] == '.' && digit(s[1]) {
		for s = s[1:]; len(s) > 0 && digit(s[0]); s = s[1:] {
		}
	}
	return s == "Z" || like(s, "+00:00") || like(s, "-00:00")
}
