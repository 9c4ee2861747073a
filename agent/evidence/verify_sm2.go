package evidence

import (
	"encoding/base64"
	"fmt"
	"slices"
)

// SM2Result is what the national suite's signature beside ours is worth. The module that makes it is
// not certified.
type SM2Result struct {
	Certificate string `json:"certificate"` // SHA-256 of its DER
	Named       bool   `json:"named"`       // a ledger line signed with P-256 names the key
	Anchor      string `json:"anchor"`      // which authority vouches, "" for none
	Why         string `json:"why,omitempty"`

	spki string
}

// is tells whether a ledger line names this key.
func (r *SM2Result) is(k Key) bool { return k.SPKI == r.spki }

// readSM2 reads sm2.pem.
func (c *copyCheck) readSM2() error {
	b, err := c.optional("sm2.pem", MaxDER)
	if err != nil || b == nil {
		return err
	}
	if c.sm2, err = SM2CertsPEM(b); err != nil {
		return uncheckable("sm2.pem: %w", err)
	}
	c.known["sm2.pem"] = true
	return nil
}

// checkSM2 judges manifest.json.sm2: it holds with the certificate that the manifest names, or is altered.
func (c *copyCheck) checkSM2() {
	const name = "manifest.json.sm2"
	if c.manifest == nil || c.sm2 == nil {
		return // listing calls a signature without key foreign
	}
	sig, err := c.optional(name, MaxDER)
	c.known[name] = true
	switch {
	case err != nil:
		c.found(FindingAltered, name, err.Error())
		return
	case sig == nil:
		c.found(FindingMissing, name, "the manifest names an SM2 certificate, its signature is not there")
		return
	}
	if err := VerifySM2(c.manifest, sig, c.sm2[0]); err != nil {
		c.found(FindingAltered, name, fmt.Sprintf("is no SM2 signature over the manifest: %v", err))
		return
	}
	leaf := c.sm2[0]
	r := &SM2Result{Certificate: digestOf(leaf.Raw), spki: base64.StdEncoding.EncodeToString(leaf.RawSubjectPublicKeyInfo)}
	r.Named = slices.ContainsFunc(c.out.sm2, r.is)
	if r.Anchor, err = c.v.o.Trust.sm2Anchor(c.sm2, c.device, c.judgedAt()); err != nil {
		r.Why = err.Error()
	}
	c.res.SM2 = r
}
