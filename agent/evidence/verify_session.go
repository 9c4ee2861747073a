package evidence

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/emmansun/gmsm/smx509"
)

var (
	sessionName = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$`)
	channelName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	originForm  = regexp.MustCompile(`^minglu/([0-9a-f]{32})/((?:[0-9a-f]{16}){1,2})/([0-9]{8}T[0-9]{6}Z-[0-9a-f]{8})$`)
)

// copyCheck is the check of one copy of a session: one folder in one place.
type copyCheck struct {
	v    *verifier
	fsys fs.FS // the session folder
	path string
	id   string // the folder's name

	res   SessionResult
	spans []Span // of the session as a whole, as found

	files map[string]int64 // every file with its size
	known map[string]bool  // files that something signed or fixed by the format names

	shown []notedState // states of the device's ledgers that its tokens/ are over

	device string // D
	certs  []*x509.Certificate
	pub    *ecdsa.PublicKey // of the device; the session log may be by another (Open.LogKey)
	logPub *ecdsa.PublicKey
	sm2    []*smx509.Certificate // sm2.pem
	open   Open
	logs   []*signedLog // log.jsonl, recovery-1.jsonl, …

	channels   []*channelCheck // in order of appearance
	breaks     []Span
	aside      []Aside
	last       int64  // end of the media as far as any line tells, µs
	closed     *Close // nil: the end is unknown
	closedMark Moment // wall time of the close line
	ended      bool   // a log ends in seal and sign: nothing may be added any more
	short      bool   // a ledger knows more of it
	damaged    bool   // signed lines of a log were changed or cut off
	given      bool   // what a person gave up of it is told
	preroll    int64  // µs of media before the session was opened
	manifest   []byte // manifest.json as it is, nil if there is none
	p7s        []byte

	named      []named // outside proofs that lines name, in order
	out        outside
	amendments []*amendmentCheck
	toldAll    bool // a ledger given tells of all its amendments and keys
}

// check runs steps V1 to V12, V15, V18 and V19 on the folder.
func (c *copyCheck) check() {
	c.res = SessionResult{ID: c.id, Paths: []string{c.path}, Spans: []Span{}}
	c.known = make(map[string]bool)
	if err := c.readAll(); err != nil {
		c.res.Unchecked = err.Error()
		return
	}
	for _, ch := range c.channels {
		for _, s := range ch.segments {
			c.v.total += c.files[s.open.File]
		}
	}
	for _, ch := range c.channels {
		ch.check()
	}
	c.sealChecks()
	c.anchors()
	c.amended()
	c.lateTails()
	c.checkSM2()
	c.listing()
	c.vouch()
	c.summary()
}

// readAll does steps V1 and V3 to V6: after it the model of what was signed is complete.
func (c *copyCheck) readAll() (err error) {
	if c.files, err = listFiles(c.fsys); err != nil {
		return uncheckable("V1: %w", err)
	}
	data, err := readLimited(c.fsys, "log.jsonl", MaxLog)
	if err != nil {
		return uncheckable("log.jsonl: %w", err)
	}
	if err := c.identify(data); err != nil {
		return err
	}
	if c.manifest, err = c.optional("manifest.json", MaxJSON); err != nil {
		return err
	}
	if c.p7s, err = c.optional("manifest.json.p7s", MaxDER); err != nil {
		return err
	}
	log, err := decide("log.jsonl", c.open.Origin, data, c.logPub)
	if err != nil {
		return err
	}
	c.logs = append(c.logs, log)
	c.known["log.jsonl"] = true
	for n := 1; ; n++ {
		file := fmt.Sprintf("recovery-%d.jsonl", n)
		data, err := c.optional(file, MaxLog)
		if err != nil {
			return err
		}
		if data == nil {
			break
		}
		rec, err := decide(file, RecoveryOrigin(c.open.Origin, n), data, c.pub)
		if err != nil {
			return err
		}
		c.logs = append(c.logs, rec)
		c.known[file] = true
	}
	c.ended = c.logs[len(c.logs)-1].ended()
	return newWalker(c).walk()
}

// optional reads a file that need not be there: nil then.
func (c *copyCheck) optional(name string, limit int64) ([]byte, error) {
	b, err := readLimited(c.fsys, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, uncheckable("%s: %w", name, err)
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// identify does step V4: line 0, the folder's name and the certificate belong together.
func (c *copyCheck) identify(data []byte) error {
	raw, _, ok := lineAt(data)
	if !ok {
		return uncheckable("log.jsonl: line 0: the file holds no whole line")
	}
	line, err := ParseLine(raw)
	if err != nil {
		return uncheckable("log.jsonl: line 0: %w", err)
	}
	if line.Type != "open" {
		return uncheckable("log.jsonl: line 0 is %q, not \"open\"", line.Type)
	}
	if err := line.Decode(&c.open); err != nil {
		return uncheckable("log.jsonl: line 0: %w", err)
	}
	o := &c.open
	m := originForm.FindStringSubmatch(o.Origin)
	switch {
	case o.V != 1:
		return uncheckable("log.jsonl: line 0: format version %d is not known here", o.V)
	case m == nil:
		return uncheckable("log.jsonl: line 0: origin %q is not minglu/D/G/S", o.Origin)
	case m[3] != o.Session:
		return uncheckable("log.jsonl: line 0: origin says session %s, field says %s", m[3], o.Session)
	case o.Session != c.id:
		return uncheckable("log.jsonl: line 0: the folder is called %s and the session in it %s: give the folder that name", c.id, o.Session)
	case o.Device.ID != m[1]:
		return uncheckable("log.jsonl: line 0: device %s is not that of the origin", o.Device.ID)
	case o.AheadMS < 0 || o.AheadMS > 60_000:
		return uncheckable("log.jsonl: line 0: ahead_ms %d is out of range", o.AheadMS)
	}
	c.device = m[1]
	c.res.Origin = o.Origin
	return c.readCertificates()
}

func (c *copyCheck) readCertificates() error {
	for _, file := range []string{"device.pem", "chain.pem"} {
		b, err := c.optional(file, MaxDER)
		if err != nil {
			return err
		}
		if b == nil {
			if file == "device.pem" {
				return uncheckable("device.pem: missing: without the device's certificate no signature can be checked")
			}
			continue
		}
		if d := sha256.Sum256(b); file == "device.pem" && hex.EncodeToString(d[:]) != c.open.Cert {
			return uncheckable("device.pem: is not the certificate that log.jsonl line 0 names")
		}
		certs, err := CertsPEM(b)
		if err != nil {
			return uncheckable("%s: %w", file, err)
		}
		if len(certs) == 0 || file == "device.pem" && len(certs) != 1 {
			return uncheckable("%s: holds %d certificates", file, len(certs))
		}
		c.certs = append(c.certs, certs...)
		c.known[file] = true
	}
	pub, err := deviceCertificate(c.certs[0], c.device)
	if err != nil {
		return uncheckable("device.pem: %w", err)
	}
	c.pub = pub
	if c.logPub, err = c.open.LogKey(pub); err != nil {
		return uncheckable("log.jsonl: line 0: %w", err)
	}
	return c.readSM2()
}

// found notes something about the session as a whole, because of one of its files.
func (c *copyCheck) found(f Finding, file, cause string) *Span {
	c.spans = append(c.spans, Span{Finding: f, File: file, Cause: cause, To: -1})
	return &c.spans[len(c.spans)-1]
}

func (c *copyCheck) note(format string, args ...any) {
	if len(c.res.Notes) < 100 {
		c.res.Notes = append(c.res.Notes, fmt.Sprintf(format, args...))
	}
}

// vouch does step V18 and gives the grade.
func (c *copyCheck) vouch() {
	leaf := c.certs[0]
	c.res.Signer = &Signatory{Device: c.device, Name: leaf.Subject.CommonName,
		Issuer: leaf.Issuer.CommonName, Certificate: fingerprint(leaf)}
	by, err := c.v.o.Trust.anchor(c.certs, c.judgedAt())
	if err != nil {
		c.res.Grade, c.res.Why = 0, err.Error()
		c.bound()
		return
	}
	c.res.Signer.Anchor = by
	c.res.Grade, c.res.Why = c.bound()
}

// summary fills in what a reader wants to know beside the findings, and lays the spans together.
func (c *copyCheck) summary() {
	r := &c.res
	o := &c.open
	r.Room, r.Body, r.Continues = o.Device.Room, o.Body.Name, o.Continues
	r.Opened, r.Preroll = &Moment{T: o.T, TE: o.TE, Src: o.Src}, c.preroll
	if c.closed != nil {
		r.Reason, r.Closed = c.closed.Reason, &c.closedMark
	}
	for _, l := range c.logs {
		r.Lines += l.Size + 1
	}
	for _, ch := range c.channels {
		r.Spans = append(r.Spans, ch.merged()...)
	}
}

// place puts what was found about the session as a whole before the spans of its channels.
func (c *copyCheck) place() {
	for i := range c.spans {
		if c.spans[i].To < 0 {
			c.spans[i].To = c.last
		}
	}
	slices.SortStableFunc(c.spans, func(a, b Span) int { return a.Finding.rank() - b.Finding.rank() })
	c.res.Spans = slices.Concat([]Span{}, c.spans, c.res.Spans) // [] and not null where nothing was found
}

// segmentFile is the only name segment n of a channel may have: names sort in order of time.
func segmentFile(ch string, n int64) string { return fmt.Sprintf("%s-%05d.mp4", ch, n) }

// unsealedMedia tells whether an unlisted file is what an unfinished session may leave: a segment
// whose segment.open was not signed yet.
func (c *copyCheck) unsealedMedia(name string) bool {
	for _, ch := range c.channels {
		if name == segmentFile(ch.id, int64(len(ch.segments))+1) {
			return true
		}
	}
	ch, rest, ok := strings.Cut(name, "-")
	return ok && rest == "00001.mp4" && channelName.MatchString(ch)
}
