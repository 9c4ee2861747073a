package evidence

import "fmt"

// Exit codes of a verification, evidence-format.md section 5.
const (
	ExitGood      = 0 // all intact, and graded at least as required
	ExitBad       = 1 // something is altered, re-timed, missing or foreign
	ExitUnchecked = 2 // something could not be checked, or no session was found
	ExitSound     = 3 // nothing bad, but recovered spans, breaks, gaps, an open end, or a lower grade
)

// heavier returns the exit code that counts of two: 1, 2, 3, 0.
func heavier(a, b int) int {
	rank := [4]int{ExitGood: 0, ExitSound: 1, ExitUnchecked: 2, ExitBad: 3}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// Result is the verifier's answer. Its JSON form is stable; fields are only ever added.
type Result struct {
	Exit     int             `json:"exit"`
	Require  int             `json:"require"` // the grade that was asked for
	Sessions []SessionResult `json:"sessions"`
	Ledgers  []LedgerResult  `json:"ledgers,omitempty"`
	Notes    []string        `json:"notes,omitempty"`
}

// SessionResult is the answer for one session, over all the copies given.
type SessionResult struct {
	ID    string   `json:"id"`
	Exit  int      `json:"exit"`
	Grade int      `json:"grade"`          // 0 to 3, evidence-format.md section 5
	Why   string   `json:"why,omitempty"`  // why the grade is not higher
	Paths []string `json:"paths"`          // the copies, the one the spans come from first
	Spans []Span   `json:"spans"`          // by channel, then time; those of the whole session first
	Open  string   `json:"open,omitempty"` // why the end is unknown; "" for a sealed session

	Unchecked string   `json:"unchecked,omitempty"` // why it could not be checked
	Notes     []string `json:"notes,omitempty"`

	Origin     string            `json:"origin,omitempty"`
	Signer     *Signatory        `json:"signer,omitempty"`
	Room       string            `json:"room,omitempty"`
	Body       string            `json:"body,omitempty"`
	Case       string            `json:"case,omitempty"`
	Reason     string            `json:"reason,omitempty"`    // why it ended
	Continues  string            `json:"continues,omitempty"` // the session before it
	Opened     *Moment           `json:"opened,omitempty"`    // by the device's clock
	Closed     *Moment           `json:"closed,omitempty"`
	Preroll    int64             `json:"preroll,omitempty"` // µs of media from before `opened`: media time 0 is that much earlier
	Outside    *Outside          `json:"outside,omitempty"` // nil: no outside proof that this trust can judge
	Amendments []AmendmentResult `json:"amendments,omitempty"`
	SM2        *SM2Result        `json:"sm2,omitempty"`
	Lines      int64             `json:"lines"`     // of all logs, signed
	Fragments  int64             `json:"fragments"` // intact or recovered
	Bytes      int64             `json:"bytes"`     // of media read
}

// Signatory is who signed.
type Signatory struct {
	Device      string `json:"device"` // D
	Name        string `json:"name"`   // common name of the certificate
	Issuer      string `json:"issuer"`
	Certificate string `json:"certificate"` // SHA-256 of its DER
	Anchor      string `json:"anchor"`      // what vouches for it, "" if nothing given does
}

// LedgerResult is the answer for one ledger.
type LedgerResult struct {
	Path      string   `json:"path"`
	Origin    string   `json:"origin,omitempty"`
	Lines     int64    `json:"lines"`    // signed
	Sessions  int      `json:"sessions"` // that it names
	Finding   Finding  `json:"finding,omitempty"`
	Unchecked string   `json:"unchecked,omitempty"`
	Cause     string   `json:"cause,omitempty"`
	Notes     []string `json:"notes,omitempty"`
}

// settle works out the exit code of a session from what was found.
func (s *SessionResult) settle(require int) {
	s.Exit = ExitGood
	if s.Grade < require && !s.lawfullyGone() || s.Open != "" {
		s.Exit = ExitSound
	}
	for _, sp := range s.Spans {
		switch {
		case sp.Finding.bad():
			s.Exit = ExitBad
		case sp.Finding != FindingIntact && sp.Finding != FindingDestroyed || sp.Cause == deviceWord:
			s.Exit = heavier(s.Exit, ExitSound)
		}
	}
	if s.Unchecked != "" {
		s.Exit = heavier(s.Exit, ExitUnchecked)
	}
}

// lawfullyGone says that nothing is there to grade, and that somebody trusted signed why.
func (s *SessionResult) lawfullyGone() bool {
	return len(s.Spans) == 1 && s.Spans[0].Finding == FindingDestroyed && s.Spans[0].Cause != deviceWord
}

// settle works out the exit code of all.
func (r *Result) settle() {
	r.Exit = ExitGood
	if len(r.Sessions) == 0 {
		r.Exit = ExitUnchecked
		r.Notes = append(r.Notes, "no session found")
	}
	for i := range r.Sessions {
		r.Sessions[i].settle(r.Require)
		r.Exit = heavier(r.Exit, r.Sessions[i].Exit)
	}
	for _, l := range r.Ledgers {
		if l.Finding.bad() {
			r.Exit = heavier(r.Exit, ExitBad)
		}
		if l.Unchecked != "" {
			r.Exit = heavier(r.Exit, ExitUnchecked)
		}
	}
}

// deviceWord is the cause of a destruction that only the device asserts.
const deviceWord = "device's word: no appraisal signed by a trusted appraiser"

// unchecked is an error that makes a session not checkable.
type unchecked struct{ error }

func uncheckable(format string, args ...any) error {
	return unchecked{fmt.Errorf(format, args...)}
}
