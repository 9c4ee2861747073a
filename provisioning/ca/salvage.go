package ca

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"

	"github.com/emmansun/gmsm/smx509"

	"minglu/agent/evidence"
)

// salvage adds to the state what can be read of a log behind the place where it is damaged: certificates that
// this authority's key did sign, revocations, and those of the newest revocation list, which may be of lines
// that are gone. It errs on the side of refusing: a revocation counts wherever it is found.
func (c *CA) salvage() {
	b, err := os.ReadFile(filepath.Join(c.o.Dir, LogFile))
	if err != nil || int64(len(b)) < c.s.bytes {
		return
	}
	for raw := range bytes.Lines(b[c.s.bytes:]) {
		l, err := evidence.ParseLine(bytes.TrimSuffix(raw, []byte{'\n'}))
		if err == nil && (l.Type == "revoked" || l.Type == "issued" && c.signed(l)) {
			_ = c.s.apply(l) // a line that says nothing
		}
	}
	list, err := readIf(filepath.Join(c.o.Dir, CRLFile))
	block, _ := pem.Decode(list)
	if err != nil || block == nil {
		return
	}
	crl, err := x509.ParseRevocationList(block.Bytes)
	if err != nil || crl.CheckSignatureFrom(c.issuing) != nil {
		return
	}
	for _, r := range crl.RevokedCertificateEntries {
		if e := c.s.bySerial[hex.EncodeToString(r.SerialNumber.Bytes())]; e != nil && e.Revoked.IsZero() {
			e.Revoked, e.Reason, e.code = r.RevocationTime, ReasonUnnamed, int64(r.ReasonCode)
			for reason, code := range reasonCodes {
				if code == e.code {
					e.Reason = reason
				}
			}
			c.s.revoked = append(c.s.revoked, e)
		}
	}
}

// signed reports whether the certificate of an issued line is new and by this authority.
func (c *CA) signed(l evidence.Line) bool {
	var i issued
	if l.Decode(&i) != nil || c.s.bySerial[i.Serial] != nil {
		return false
	}
	der, err := base64.StdEncoding.DecodeString(i.Cert)
	if err != nil {
		return false
	}
	if i.Kind == KindSM2 {
		cert, err := smx509.ParseCertificate(der)
		return err == nil && hex.EncodeToString(cert.SerialNumber.Bytes()) == i.Serial && cert.CheckSignatureFrom(c.sm2Issuing) == nil
	}
	cert, err := x509.ParseCertificate(der)
	return err == nil && hex.EncodeToString(cert.SerialNumber.Bytes()) == i.Serial && cert.CheckSignatureFrom(c.issuing) == nil
}
