package report

import "time"

// The messages of this file are not numbered: the newest of a kind holds, and whoever asked asks again.
// They carry what the device shows the outside of its ledger, and what the outside gives back for it.

// Checkpoint is the newest signed state of a device's ledger, with the proof that it continues the state
// that the office holds as far as the device knows. It is answered by a [Cosignature].
type Checkpoint struct {
	V      int       `json:"v"`
	Device string    `json:"device"`
	T      time.Time `json:"t"`      // the device's wall time
	Origin string    `json:"origin"` // minglu/D/G
	Old    int64     `json:"old"`    // size that the office holds as far as the device knows; 0: nothing
	Size   int64     `json:"size"`
	Root   string    `json:"root"`            // SHA-256, base64
	Note   string    `json:"note"`            // C2SP signed note with the device's line
	Proof  []string  `json:"proof,omitempty"` // consistency proof of RFC 6962 from Old to Size, base64; none if Old is 0 or Size
}

// Ledger is a piece of a device's ledger: lines as they stand in its file, sign lines among them. They are
// opaque ids and digests. The office keeps what follows on what it has, passes over the rest, and
// answers by a [Cosignature] whose HaveLines tells where the next piece has to begin.
type Ledger struct {
	V      int       `json:"v"`
	Device string    `json:"device"`
	T      time.Time `json:"t"`
	Origin string    `json:"origin"`
	From   int64     `json:"from"`  // number of the first line, from 0
	Lines  []string  `json:"lines"` // without line feed
}

// Cosignature is the office's answer to a [Checkpoint] or a [Ledger]. A device that reads Held without
// having been given Lines tries again with Old = Held.Size. It never means that the device has to stop.
type Cosignature struct {
	V         int      `json:"v"`
	Origin    string   `json:"origin"`
	Size      int64    `json:"size"`               // of the checkpoint answered; 0: it answers a piece of the ledger
	Lines     []string `json:"lines"`              // C2SP cosignature lines over that checkpoint, "— NAME BASE64", of one or more witnesses
	Held      *Held    `json:"held,omitempty"`     // what the office's witness has cosigned last of this origin; none: nothing
	Conflict  bool     `json:"conflict,omitempty"` // the checkpoint does not continue Held, or Held is larger: an alarm
	Refused   string   `json:"refused,omitempty"`  // why there is no cosignature: "signature", "proof", "foreign", "read-only", …
	HaveLines int64    `json:"have_lines"`         // lines of this origin's file the office keeps, from line 0 without a hole
}

// Held is a state of a ledger that a witness has cosigned.
type Held struct {
	Size int64  `json:"size"`
	Root string `json:"root,omitempty"` // base64; "" if the witness tells its size alone
}

// Timestamp asks the office for an RFC 3161 token (Request), or answers (Reply or Error). A device passes
// over what it asked itself: brokers may send it back.
type Timestamp struct {
	V       int    `json:"v"`
	ID      string `json:"id"`                // 1 to 64 of A-Z, a-z, 0-9, dot, hyphen, underscore; the answer has the request's
	Request string `json:"request,omitempty"` // DER TimeStampReq, base64
	Reply   string `json:"reply,omitempty"`   // DER TimeStampResp, base64, as the authority gave it
	Error   string `json:"error,omitempty"`   // why there is none: "unconfigured", "refused", "busy", "unreachable"
}

// Exchange is whoever at the office answers messages that are not numbered. Receive MUST NOT block for
// long: it holds up the device that sent the message. It returns an error for what is malformed or
// speaks for another device; the office counts and shows it. Answers go out through the function that
// the exchange was given, by [Marshal]: a Cosignature as [KindCosignature], a Timestamp as [KindTimestamp].
type Exchange interface {
	Receive(device string, k Kind, payload []byte) error
}

// Limits of this file's fields.
const (
	maxProof   = 64        // hashes
	maxPiece   = 2000      // lines of a Ledger
	maxLine    = 16 << 10  // characters of a line
	maxCosigs  = 32        // cosignature lines
	maxCosig   = 6000      // characters: ML-DSA-44 has 2420 bytes
	maxRequest = 4096      // characters of base64
	maxReply   = 128 << 10 // characters of base64
)

// ParseCheckpoint reads a Checkpoint.
func ParseCheckpoint(b []byte) (Checkpoint, error) { return parse[Checkpoint]("checkpoint", b) }

// ParseLedger reads a Ledger.
func ParseLedger(b []byte) (Ledger, error) { return parse[Ledger]("ledger", b) }

// ParseCosignature reads a Cosignature.
func ParseCosignature(b []byte) (Cosignature, error) { return parse[Cosignature]("cosignature", b) }

// ParseTimestamp reads a Timestamp.
func ParseTimestamp(b []byte) (Timestamp, error) { return parse[Timestamp]("timestamp", b) }

func (Checkpoint) required() []string {
	return []string{"device", "t", "origin", "old", "size", "root", "note"}
}
func (Ledger) required() []string      { return []string{"device", "t", "origin", "from", "lines"} }
func (Cosignature) required() []string { return []string{"origin", "size", "lines", "have_lines"} }
func (Timestamp) required() []string   { return []string{"id"} }

func (m Checkpoint) check(c *checker) {
	c.device(m.Device)
	c.time("t", m.T)
	c.text("origin", m.Origin, 1, maxName)
	c.number("old", m.Old, 0, maxNumber)
	c.number("size", m.Size, 1, maxNumber)
	c.chars("root", m.Root, 44, 44, base64)
	c.text("note", m.Note, 1, maxNote)
	each(c, "proof", m.Proof, maxProof, func(s *string, c *checker) { c.chars("", *s, 44, 44, base64) })
}

func (m Ledger) check(c *checker) {
	c.device(m.Device)
	c.time("t", m.T)
	c.text("origin", m.Origin, 1, maxName)
	c.number("from", m.From, 0, maxNumber)
	if len(m.Lines) == 0 {
		c.fail("lines", "none")
	}
	each(c, "lines", m.Lines, maxPiece, func(s *string, c *checker) { c.text("", *s, 2, maxLine) })
}

func (m Cosignature) check(c *checker) {
	c.text("origin", m.Origin, 1, maxName)
	c.number("size", m.Size, 0, maxNumber)
	each(c, "lines", m.Lines, maxCosigs, func(s *string, c *checker) { c.text("", *s, 1, maxCosig) })
	if m.Held != nil {
		c.in("held", func(c *checker) {
			c.number("size", m.Held.Size, 1, maxNumber)
			c.exactly("root", m.Held.Root, 44, base64, true)
		})
	}
	c.chars("refused", m.Refused, 0, 32, word)
	c.number("have_lines", m.HaveLines, 0, maxNumber)
}

func (m Timestamp) check(c *checker) {
	c.chars("id", m.ID, 1, 64, ident)
	c.chars("request", m.Request, 0, maxRequest, base64)
	c.chars("reply", m.Reply, 0, maxReply, base64)
	c.chars("error", m.Error, 0, 32, word)
	n := 0
	for _, s := range []string{m.Request, m.Reply, m.Error} {
		if s != "" {
			n++
		}
	}
	if n != 1 {
		c.fail("request", "want exactly one of request, reply and error")
	}
}
