package report

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"
)

// Lists is what the office knows of people and work that one room needs: nobody types it at the room.
// The newest holds. It is sent after a birth whose [State] names another version, and at each change; the
// device says in State.Lists which version it holds, and that is its acknowledgement.
type Lists struct {
	V        int           `json:"v"`
	Device   string        `json:"device"`
	Version  string        `json:"version"` // 64 hex digits, made by [Lists.Digest]; opaque to the device
	T        time.Time     `json:"t"`       // when the office put it together
	Bodies   []ListBody    `json:"bodies"`  // that use the room; the first one is its own
	Officers []ListOfficer `json:"officers"`
	Matters  []ListMatter  `json:"matters"`
	Bookings []Booking     `json:"bookings"`
	Cases    []ListCase    `json:"cases"`
	LeftOut  int           `json:"left_out,omitempty"` // entries that found no place in a message; the oldest cases go first
}

// ListBody is a body 单位 that uses the room.
type ListBody struct {
	Name     string `json:"name"`
	USCC     string `json:"uscc"`               // 统一社会信用代码, 18 digits and capitals
	System   string `json:"system,omitempty"`   // 系统
	Division string `json:"division,omitempty"` // 行政区划代码, 6 digits
	Rules    Rules  `json:"rules"`
}

// Rules are what a body decides for its sessions.
type Rules struct {
	PrerollOff  bool   `json:"preroll_off,omitempty"`  // nothing from before the trigger is kept
	WarnMinutes int    `json:"warn_minutes,omitempty"` // a session this long is warned of; 0: not
	MaxMinutes  int    `json:"max_minutes,omitempty"`  // the lawful limit that is shown; 0: none
	Approval    string `json:"approval,omitempty"`     // of access: "all" looks need it, or only those of "others" than its officers; "": the room's default
}

// Approvals of [Rules].
const (
	ApprovalAll    = "all"
	ApprovalOthers = "others"
)

// ListOfficer is an official with a credential.
type ListOfficer struct {
	Name       string `json:"name"`
	Credential string `json:"credential"`         // 执法证号
	Body       string `json:"body"`               // USCC
	From       string `json:"from,omitempty"`     // first day the credential is good, "2006-01-02"; "": no limit
	To         string `json:"to,omitempty"`       // last day
	Operator   bool   `json:"operator,omitempty"` // may operate the recorder while others ask
}

// ValidOn reports whether the credential is good on a day, "2006-01-02" in the room's time zone.
func (o ListOfficer) ValidOn(day string) bool {
	return (o.From == "" || o.From <= day) && (o.To == "" || day <= o.To)
}

// Kinds of a [ListMatter].
const (
	MatterInterview = "interview" // 询问, 讯问
	MatterHearing   = "hearing"   // 听证
)

// Kinds of [Retention].
const (
	KeepWithCase    = "case"      // as long as the case file
	KeepMonths      = "months"    // so many months after the end of the session
	KeepPermanently = "permanent" // for ever
)

// ListMatter is one line of a body's 音像记录事项清单: what has to be recorded, from which moment to
// which, and how long it is kept. A changed line is another version of the same id: at most one version of
// an id is not Retired, and the others say how long the sessions recorded under them are kept.
type ListMatter struct {
	ID           string    `json:"id"`      // 1 to 64 of A-Z, a-z, 0-9, dot, hyphen, underscore
	Version      string    `json:"version"` // such as "2026-1"
	Name         string    `json:"name"`
	Kind         string    `json:"kind"`
	Body         string    `json:"body,omitempty"`   // USCC; "": of all bodies
	Starts       string    `json:"starts,omitempty"` // from which moment, in words
	Ends         string    `json:"ends,omitempty"`   // to which moment, in words
	Agenda       []string  `json:"agenda,omitempty"` // marks in their order
	Retention    Retention `json:"retention"`
	LimitMinutes int       `json:"limit_minutes,omitempty"` // the lawful limit of this matter; 0: that of the body
	ApprovedBy   string    `json:"approved_by,omitempty"`   // who approved this version
	ApprovedOn   string    `json:"approved_on,omitempty"`   // the day, "2006-01-02"
	Retired      bool      `json:"retired,omitempty"`       // no new session takes it
}

// Retention is how long sessions of a matter are kept.
type Retention struct {
	Kind   string `json:"kind"`
	Months int    `json:"months,omitempty"` // 1 or more if Kind is KeepMonths, else 0
}

// Booking is a time in this room that was given to a session to come.
type Booking struct {
	ID       string    `json:"id"`
	Body     string    `json:"body"` // USCC
	Case     string    `json:"case,omitempty"`
	Matter   string    `json:"matter,omitempty"`   // id
	Officers []string  `json:"officers,omitempty"` // credentials
	Operator string    `json:"operator,omitempty"` // credential or name
	From     time.Time `json:"begins"`
	To       time.Time `json:"until"` // after From
	Note     string    `json:"note,omitempty"`
}

// ListCase is a case 案件 that is open, or has sessions in this room.
type ListCase struct {
	Case      string `json:"case"` // 案号
	Body      string `json:"body"` // USCC
	Title     string `json:"title,omitempty"`
	Closed    string `json:"closed,omitempty"`     // day; "": open
	KeepUntil string `json:"keep_until,omitempty"` // last day the case file is kept; "": not known yet, KeepForever: for ever
}

// KeepForever is the KeepUntil of a case file that is never destroyed.
const KeepForever = "9999-12-31"

// Limits of this file's fields.
const (
	maxBodies   = 100
	maxPeople   = 2000
	maxMatters  = 300
	maxAgenda   = 30
	maxMark     = 60 // characters of a mark
	maxBookings = 500
	maxCases    = 2000
	maxMinutes  = 7 * 24 * 60
	maxMonths   = 1200
)

// ParseLists reads a Lists.
func ParseLists(b []byte) (Lists, error) { return parse[Lists]("lists", b) }

func (Lists) required() []string {
	return []string{"device", "version", "t", "bodies", "officers", "matters", "bookings", "cases"}
}

// Digest is the version of what the lists say: hex SHA-256 of their JSON without version and time.
func (m Lists) Digest() string {
	m = m.whole()
	m.V, m.Version, m.T = Version, "", time.Time{}
	b, err := json.Marshal(m)
	if err != nil {
		panic("BUG: report: lists: " + err.Error()) // a struct of texts, numbers and times
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// whole has no list that is nil.
func (m Lists) whole() Lists {
	if m.Bodies == nil {
		m.Bodies = []ListBody{}
	}
	if m.Officers == nil {
		m.Officers = []ListOfficer{}
	}
	if m.Matters == nil {
		m.Matters = []ListMatter{}
	}
	if m.Bookings == nil {
		m.Bookings = []Booking{}
	}
	if m.Cases == nil {
		m.Cases = []ListCase{}
	}
	return m
}

func (m Lists) check(c *checker) {
	c.device(m.Device)
	c.chars("version", m.Version, 64, 64, hex)
	c.time("t", m.T)
	c.number("left_out", int64(m.LeftOut), 0, maxNumber)
	each(c, "bodies", m.Bodies, maxBodies, func(b *ListBody, c *checker) {
		c.text("name", b.Name, 1, maxName)
		c.uscc("uscc", b.USCC, false)
		c.text("system", b.System, 0, maxName)
		c.exactly("division", b.Division, 6, digits, true)
		c.in("rules", func(c *checker) {
			c.number("warn_minutes", int64(b.Rules.WarnMinutes), 0, maxMinutes)
			c.number("max_minutes", int64(b.Rules.MaxMinutes), 0, maxMinutes)
			c.oneOf("approval", b.Rules.Approval, "", ApprovalAll, ApprovalOthers)
		})
	})
	each(c, "officers", m.Officers, maxPeople, func(o *ListOfficer, c *checker) {
		c.text("name", o.Name, 1, maxName)
		c.text("credential", o.Credential, 1, maxName)
		c.uscc("body", o.Body, false)
		c.day("from", o.From)
		c.day("to", o.To)
	})
	each(c, "matters", m.Matters, maxMatters, (*ListMatter).check)
	each(c, "bookings", m.Bookings, maxBookings, func(b *Booking, c *checker) {
		c.chars("id", b.ID, 1, 64, ident)
		c.uscc("body", b.Body, false)
		c.text("case", b.Case, 0, maxName)
		c.chars("matter", b.Matter, 0, 64, ident)
		each(c, "officers", b.Officers, maxOfficers, func(s *string, c *checker) { c.text("", *s, 1, maxName) })
		c.text("operator", b.Operator, 0, maxName)
		c.time("begins", b.From)
		c.time("until", b.To)
		c.text("note", b.Note, 0, maxText)
	})
	each(c, "cases", m.Cases, maxCases, func(x *ListCase, c *checker) {
		c.text("case", x.Case, 1, maxName)
		c.uscc("body", x.Body, false)
		c.text("title", x.Title, 0, maxName)
		c.day("closed", x.Closed)
		c.day("keep_until", x.KeepUntil)
	})
}

func (x *ListMatter) check(c *checker) {
	c.chars("id", x.ID, 1, 64, ident)
	c.text("version", x.Version, 1, 64)
	c.text("name", x.Name, 1, maxName)
	c.oneOf("kind", x.Kind, MatterInterview, MatterHearing)
	c.uscc("body", x.Body, true)
	c.text("starts", x.Starts, 0, maxName)
	c.text("ends", x.Ends, 0, maxName)
	each(c, "agenda", x.Agenda, maxAgenda, func(s *string, c *checker) { c.text("", *s, 1, maxMark) })
	c.in("retention", func(c *checker) {
		c.oneOf("kind", x.Retention.Kind, KeepWithCase, KeepMonths, KeepPermanently)
		if x.Retention.Kind == KeepMonths {
			c.number("months", int64(x.Retention.Months), 1, maxMonths)
		} else {
			c.number("months", int64(x.Retention.Months), 0, 0)
		}
	})
	c.number("limit_minutes", int64(x.LimitMinutes), 0, maxMinutes)
	c.text("approved_by", x.ApprovedBy, 0, maxName)
	c.day("approved_on", x.ApprovedOn)
}

func (c *checker) uscc(field, s string, optional bool) {
	c.exactly(field, s, 18, digits+"ABCDEFGHIJKLMNOPQRSTUVWXYZ", optional)
}

// day wants a day of the calendar, or nothing.
func (c *checker) day(field, s string) {
	if s == "" {
		return
	}
	if _, err := time.Parse(time.DateOnly, s); err != nil || s < "1900" {
		c.fail(field, "%q: want a day such as 2026-11-23", short(s))
	}
}
