package report

import "time"

// States of a [Grant].
const (
	GrantAsked   = "asked"   // somebody must answer
	GrantGiven   = "given"   // good within its term
	GrantRefused = "refused" // with Why
	GrantEnded   = "ended"   // taken back before its term was over
)

// Rules by which a [Grant] was given.
const (
	RuleOwn      = "own"      // the person's own session or office: the stated purpose is enough
	RuleApproved = "approved" // somebody else said yes
)

// Party is somebody outside the bodies for whom a copy is made: the party, a lawyer, a court.
type Party struct {
	Name     string `json:"name"`
	Capacity string `json:"capacity"` // 当事人, 代理律师, 法院 …
	Document string `json:"document"` // kind and number of what they showed: 律师证 1401…
}

// Receipt is the party's word for a copy.
type Receipt struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`     // who handed it over
	Medium string    `json:"medium"` // 光盘 1 张, U 盘 …
	Digest string    `json:"digest"` // SHA-256 of the manifest that was handed over, hex
	Signed string    `json:"signed"` // who signed the receipt on paper
}

// Grant is a wish to look at a session or to take it (调阅), and what became of it.
type Grant struct {
	ID       string    `json:"id"`                // 16 hex digits
	Session  string    `json:"session,omitempty"` // which session, or
	Case     string    `json:"case,omitempty"`    // all sessions of this case of Body
	Body     string    `json:"body,omitempty"`    // USCC of the sessions' body
	Who      string    `json:"who"`               // name of the login
	Do       []string  `json:"do"`                // "view", "play", "download", "export", "copy"
	Purpose  string    `json:"purpose"`
	For      *Party    `json:"for,omitempty"` // of a copy
	Asked    time.Time `json:"asked"`
	State    string    `json:"state"`
	Rule     string    `json:"rule,omitempty"` // of what is given
	By       string    `json:"by,omitempty"`   // who answered
	Answered time.Time `json:"answered,omitzero"`
	Until    time.Time `json:"until,omitzero"` // end of the term
	Why      string    `json:"why,omitempty"`  // of a refusal or an end
	Receipt  *Receipt  `json:"receipt,omitempty"`
}

// Look is one line of a room's register: who looked at what, why, by whose leave; or what became of a
// [Grant].
type Look struct {
	At      time.Time `json:"at"`
	Who     string    `json:"who"`
	Roles   []string  `json:"roles,omitempty"`
	Action  string    `json:"action"` // "watch", "view", "play", "verify", "download", "export", "copy"; "grant." and its state, or "grant.handed"
	Session string    `json:"session,omitempty"`
	Body    string    `json:"body,omitempty"` // USCC
	Case    string    `json:"case,omitempty"`
	Channel string    `json:"channel,omitempty"`
	Segment int64     `json:"segment,omitempty"`
	Remote  string    `json:"remote,omitempty"`
	Grant   string    `json:"grant,omitempty"` // its id
	Purpose string    `json:"purpose,omitempty"`
	Rule    string    `json:"rule,omitempty"`
	By      string    `json:"by,omitempty"` // who gave it
	Why     string    `json:"why,omitempty"`
	Do      []string  `json:"do,omitempty"`
	Until   time.Time `json:"until,omitzero"`
	For     *Party    `json:"for,omitempty"`
	Receipt *Receipt  `json:"receipt,omitempty"`
	Salt    string    `json:"salt,omitempty"` // 32 hex digits, so that the ledger's name for the line tells nothing

	// Ref is what the ledger names the line by: the first 16 bytes of the SHA-256 of its bytes, hex. It is
	// no part of the line.
	Ref string `json:"-"`
}

func (l Look) check(c *checker) {
	c.time("at", l.At)
	c.text("who", l.Who, 1, maxName)
	each(c, "roles", l.Roles, 16, func(s *string, c *checker) { c.chars("", *s, 1, 32, word) })
	c.chars("action", l.Action, 1, 32, word)
	c.chars("session", l.Session, 0, maxID, ident)
	c.text("body", l.Body, 0, maxID)
	c.text("case", l.Case, 0, maxName)
	c.chars("channel", l.Channel, 0, maxID, ident)
	c.number("segment", l.Segment, 0, maxNumber)
	c.text("remote", l.Remote, 0, maxID)
	c.chars("grant", l.Grant, 0, maxID, ident)
	c.text("purpose", l.Purpose, 0, maxText)
	c.chars("rule", l.Rule, 0, 32, word)
	c.text("by", l.By, 0, maxName)
	c.text("why", l.Why, 0, maxText)
	each(c, "do", l.Do, 16, func(s *string, c *checker) { c.chars("", *s, 1, 32, word) })
	if l.For != nil {
		c.text("for.name", l.For.Name, 1, maxName)
		c.text("for.capacity", l.For.Capacity, 0, maxName)
		c.text("for.document", l.For.Document, 0, maxName)
	}
	if l.Receipt != nil {
		c.text("receipt.by", l.Receipt.By, 0, maxName)
		c.text("receipt.medium", l.Receipt.Medium, 0, maxName)
		c.text("receipt.signed", l.Receipt.Signed, 0, maxName)
		c.exactly("receipt.digest", l.Receipt.Digest, 64, hex, true)
	}
}
