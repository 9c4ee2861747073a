package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"minglu/agent/evidence"
)

// Details say whose session it is; all may be empty and given later.
type Details struct {
	Case     string    `json:"case"`
	Matter   Matter    `json:"matter"`
	Officers []Officer `json:"officers"`
	Body     *Body     `json:"body,omitempty"`    // nil: the default body
	Flags    []string  `json:"flags"`             // "drill", "minor", "secret"
	Booking  string    `json:"booking,omitempty"` // id of the booking that was taken
}

// Matter is a matter of the list: in JSON "name" or {"name","id","version"}.
type Matter struct {
	Name    string `json:"name,omitempty"`
	ID      string `json:"id,omitempty"`
	Version string `json:"version,omitempty"`
}

// Officer is one officer with the number of the credential: in JSON "name credential" or
// {"name","credential"}.
type Officer evidence.Officer

// Body is the law-enforcement body a session belongs to.
type Body = evidence.Body

// Bounds of what a person may give.
const (
	maxText     = 500 // bytes of one field
	maxOfficers = 20
)

// MarshalJSON writes a matter that only has a name as that name, as it came.
func (m Matter) MarshalJSON() ([]byte, error) {
	if m.ID == "" && m.Version == "" {
		return json.Marshal(m.Name)
	}
	type plain Matter
	return json.Marshal(plain(m))
}

// UnmarshalJSON reads both forms.
func (m *Matter) UnmarshalJSON(b []byte) error {
	*m = Matter{}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &m.Name)
	}
	type plain Matter
	return json.Unmarshal(b, (*plain)(m))
}

// UnmarshalJSON reads both forms; the credential is what follows the last white space.
func (o *Officer) UnmarshalJSON(b []byte) error {
	*o = Officer{}
	if len(b) == 0 || b[0] != '"' {
		type plain Officer
		return json.Unmarshal(b, (*plain)(o))
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	f := strings.Fields(s)
	if n := len(f); n > 1 {
		o.Name, o.Credential = strings.Join(f[:n-1], " "), f[n-1]
	} else if n == 1 {
		o.Name = f[0]
	}
	return nil
}

// valid holds what people may give to bounds that keep each log line small.
func (d *Details) valid() error {
	texts := []string{d.Case, d.Matter.Name, d.Matter.ID, d.Matter.Version, d.Booking}
	for _, o := range d.Officers {
		texts = append(texts, o.Name, o.Credential)
	}
	if d.Body != nil {
		texts = append(texts, d.Body.Name, d.Body.USCC, d.Body.System)
	}
	for _, t := range texts {
		if err := validText(t); err != nil {
			return err
		}
	}
	if len(d.Officers) > maxOfficers {
		return fmt.Errorf("%d officers, at most %d", len(d.Officers), maxOfficers)
	}
	seen := map[string]bool{}
	for _, f := range d.Flags {
		if f != "drill" && f != "minor" && f != "secret" || seen[f] {
			return fmt.Errorf("flag %.20q: use drill, minor, secret, each once", f)
		}
		seen[f] = true
	}
	return nil
}

func validText(t string) error {
	if len(t) > maxText {
		return fmt.Errorf("a field has %d bytes, at most %d", len(t), maxText)
	}
	if !utf8.ValidString(t) || strings.ContainsFunc(t, func(r rune) bool { return r < 0x20 || r == 0x7F }) {
		return errors.New("a field has control characters")
	}
	return nil
}

// say is the body of mark, pause and stop.
type say struct {
	Text   string `json:"text"`
	Reason string `json:"reason"`
	Kind   string `json:"kind"` // of a mark: "agenda", or ""
}

func (s *say) valid() error {
	if s.Kind != "" && s.Kind != "agenda" {
		return errors.New("the kind of a mark is agenda, or none")
	}
	return errors.Join(validText(s.Text), validText(s.Reason))
}

type credentials struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

func (c *credentials) valid() error { return nil } // access judges them

// decode reads exactly one JSON value.
func decode(b []byte, v any) error {
	if !utf8.Valid(b) {
		return errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(v); err != nil {
		return errors.New("not the JSON this command takes")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON")
	}
	if c, ok := v.(interface{ valid() error }); ok {
		return c.valid()
	}
	return nil
}
