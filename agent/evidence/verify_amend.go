package evidence

import (
	"crypto/x509"
	"fmt"
	"path"
	"strconv"
	"time"
)

// AmendmentResult is what an amendment that holds says.
type AmendmentResult struct {
	N       int64             `json:"n"`
	Kind    string            `json:"kind"`
	T       int64             `json:"t"` // µs since 1970 by the device's clock
	Data    map[string]string `json:"data"`
	Outside int64             `json:"outside,omitempty"` // of its token; 0: there is none
}

// amendmentCheck is one amendment as found.
type amendmentCheck struct {
	n    int64
	json []byte // nil: missing
}

// amended does V15 with the files of the folder and the `amend` lines of its anchors.
func (c *copyCheck) amended() {
	if c.manifest == nil || c.p7s == nil {
		return // nothing to amend; listing calls amendment files foreign
	}
	last := int64(0)
	for name := range c.files {
		if m := amendmentName.FindStringSubmatch(name); m != nil {
			n, _ := strconv.ParseInt(m[1], 10, 64) // at most four digits
			last = max(last, n)
		}
	}
	for n := range c.out.amends {
		last = max(last, n)
	}
	var prev []byte
	for n := int64(1); n <= last; n++ {
		prev = c.amendment(n, prev)
	}
}

// amendment checks amendment n and returns its bytes, for the next to name.
func (c *copyCheck) amendment(n int64, prev []byte) []byte {
	name := AmendmentName(n)
	json, err := c.optional(name, MaxJSON)
	p7s, err2 := c.optional(name+".p7s", MaxDER)
	if err != nil || err2 != nil || json == nil || p7s == nil {
		c.known[name], c.known[name+".p7s"] = true, true
		c.amendments = append(c.amendments, &amendmentCheck{n: n})
		cause := "an amendment after it is here"
		switch {
		case c.out.amends[n] != "":
			cause = "the ledger names it"
		case json != nil:
			cause = "the amendment's signature is not there"
		case p7s != nil:
			cause = "its signature is here, the amendment is not"
		}
		c.found(FindingMissing, name, cause)
		return json
	}
	c.known[name], c.known[name+".p7s"] = true, true
	c.amendments = append(c.amendments, &amendmentCheck{n, json})
	c.heldToLedger(n, json, c.out.amends[n])
	certs, ok := c.amendmentCerts(n)
	if !ok {
		return json
	}
	if n > 1 && prev == nil {
		prev = []byte{} // missing, and told; nothing has this digest
	}
	a, err := followingAmendment(json, n, c.id, c.manifest, prev)
	if err != nil {
		c.found(FindingAltered, name, fmt.Sprintf("the amendment does not hold: %v", err))
		return json
	}
	c.attached(a)
	if err := a.signed(json, p7s, certs); err != nil {
		c.found(FindingAltered, name+".p7s", fmt.Sprintf("the amendment and its signature do not belong together: %v", err))
		return json
	}
	r := AmendmentResult{N: n, Kind: a.Kind, T: a.T, Data: a.Data}
	if p, ok := c.tokenOver(name+".tsr", p7s); ok {
		r.Outside = p.Time.UnixMicro()
	}
	c.vouchAmendment(name, a, certs, r.Outside)
	c.res.Amendments = append(c.res.Amendments, r)
	return json
}

// attached holds the file that an amendment names against it (V15).
func (c *copyCheck) attached(a *Amendment) {
	if a.Kind != AmendAttachment {
		return
	}
	t, err := a.Attachment()
	if err != nil {
		c.found(FindingAltered, AmendmentName(a.N), "the amendment names no attachment as it must")
		return
	}
	name := AttachmentPath(t.SHA256)
	c.known[name] = true
	size, there := c.files[name]
	switch {
	case !there:
		c.found(FindingMissing, name, "an amendment names this attachment: "+path.Base(t.Name))
	case size != t.Size || c.digest(name) != t.SHA256:
		c.found(FindingAltered, name, "is not the attachment that the amendment names")
	}
}

// amendmentCerts returns the certificates the amendment must be signed with: those of amendment-N.pem if
// it is there, else those of the session.
func (c *copyCheck) amendmentCerts(n int64) ([]*x509.Certificate, bool) {
	name := fmt.Sprintf("amendment-%d.pem", n)
	b, err := c.optional(name, MaxDER)
	if err == nil && b == nil {
		return c.certs, true
	}
	c.known[name] = true
	var certs []*x509.Certificate
	if err == nil {
		certs, err = CertsPEM(b)
	}
	if err == nil {
		_, err = deviceCertificate(certs[0], c.device)
	}
	if err != nil {
		c.found(FindingAltered, name, err.Error())
	}
	return certs, err == nil
}

// vouchAmendment wants somebody to vouch for a key that is not the session's.
func (c *copyCheck) vouchAmendment(name string, a *Amendment, certs []*x509.Certificate, outside int64) {
	if pub, err := publicP256(certs[0]); err != nil || pub.Equal(c.pub) {
		return
	}
	at := a.T
	if outside != 0 {
		at = outside
	}
	if _, err := c.v.o.Trust.anchor(certs, time.UnixMicro(at)); err != nil {
		c.found(FindingForeign, name, fmt.Sprintf("signed with another key of this device's name: %v", err))
	}
}

// amendmentNamed takes an `amend` line that an anchor proves.
func (c *copyCheck) amendmentNamed(r AmendRef) {
	if _, again := c.out.amends[r.N]; !again && r.N >= 1 && r.N <= 9999 {
		c.out.amends[r.N] = r.SHA256
	}
}

// heldToLedger compares an amendment with what a ledger's `amend` line says.
func (c *copyCheck) heldToLedger(n int64, json []byte, want string) {
	if want != "" && json != nil && DigestFile("", json).SHA256 != want {
		c.found(FindingAltered, AmendmentName(n), "is not the one that the ledger names")
	}
}

// amendedIn holds the amendments against a whole ledger: it names them all.
func (c *copyCheck) amendedIn(l *ledgerCopy) {
	c.toldAll = true
	have := make(map[int64]bool)
	for _, a := range c.amendments {
		have[a.n] = true
		want := l.amends[c.id][a.n]
		c.heldToLedger(a.n, a.json, want)
		if want == "" && a.json != nil {
			c.note("%s: the ledger does not name it (yet)", AmendmentName(a.n))
		}
	}
	for n := range l.amends[c.id] {
		if !have[n] {
			c.found(FindingMissing, AmendmentName(n), "the ledger names it")
		}
	}
}

// untold says what nobody can prove without the ledger.
func (c *copyCheck) untold() {
	if c.pub != nil && !c.toldAll && DeviceID(c.certs[0].RawSubjectPublicKeyInfo) != c.device {
		c.note("signed by a later key of this device: only its certificate says that it follows the first, the device's ledger would show it")
	}
	if len(c.amendments) > 0 && !c.toldAll {
		c.note("whether an amendment after number %d was taken away cannot be told without the device's ledger", c.amendments[len(c.amendments)-1].n)
	}
}
