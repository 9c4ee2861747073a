package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"minglu/agent/evidence"
)

// Refused is why a request gets no certificate; Code is one of report's refusals.
type Refused struct {
	Code string
	Err  error
}

func (r *Refused) Error() string { return "ca: " + r.Err.Error() }
func (r *Refused) Unwrap() error { return r.Err }

func refuse(code, format string, args ...any) error {
	return &Refused{code, fmt.Errorf(format, args...)}
}

// Request is what a device asks for: PKCS #10 as DER.
type Request struct {
	Name           string
	Sign, TLS, SM2 []byte // SM2 may be nil
	Ref            string // the code's: asked again with the same keys, it gets the same answer
	Renews         string // instead of Ref: the serial of the certificate that asks for others
	Replace        bool   // certificates of the name that are still good are revoked as "replaced device"
	Device         string // D, when it is known: a renewal may bring another signing key, never another D
}

// Issued are the certificates of a device.
type Issued struct {
	Device    string
	Sign, TLS *x509.Certificate
	SM2       *smx509.Certificate // nil: none was asked for
}

// checked is a request whose contents hold.
type checked struct {
	device    string
	sign, tls *x509.CertificateRequest
	sm2       *smx509.CertificateRequest
}

func p256(key any) bool {
	pub, ok := key.(*ecdsa.PublicKey)
	return ok && pub.Curve == elliptic.P256()
}

// check reads the requests: key types, self-signatures, names, D.
func (r *Request) check() (k checked, err error) {
	one := func(what string, der []byte) (*x509.CertificateRequest, error) {
		c, err := x509.ParseCertificateRequest(der)
		if err == nil {
			err = c.CheckSignature()
		}
		switch {
		case err != nil:
			return nil, refuse("request", "the request for %s: %w", what, err)
		case !p256(c.PublicKey):
			return nil, refuse("request", "the request for %s: its key is not ECDSA P-256", what)
		case c.Subject.CommonName != r.Name:
			return nil, refuse("name", "the request for %s is for %q, not for %q", what, c.Subject.CommonName, r.Name)
		}
		return c, nil
	}
	if k.sign, err = one("signing", r.Sign); err != nil {
		return k, err
	}
	if k.tls, err = one("TLS", r.TLS); err != nil {
		return k, err
	}
	if bytes.Equal(k.sign.RawSubjectPublicKeyInfo, k.tls.RawSubjectPublicKeyInfo) {
		return k, refuse("request", "one key for signing and TLS: make two")
	}
	k.device = evidence.DeviceID(k.sign.RawSubjectPublicKeyInfo)
	if r.Device != "" {
		k.device = r.Device
	}
	var sm2URIs []*url.URL
	if r.SM2 != nil {
		if k.sm2, err = smx509.ParseCertificateRequest(r.SM2); err == nil {
			err = k.sm2.CheckSignature()
		}
		if err != nil {
			return k, refuse("request", "the request for SM2: %w", err)
		}
		pub, ok := k.sm2.PublicKey.(*ecdsa.PublicKey)
		if !ok || !sm2.IsSM2PublicKey(pub) {
			return k, refuse("request", "the request for SM2: its key is not SM2")
		}
		if k.sm2.Subject.CommonName != r.Name {
			return k, refuse("name", "the request for SM2 is for %q, not for %q", k.sm2.Subject.CommonName, r.Name)
		}
		sm2URIs = k.sm2.URIs
	}
	for _, uris := range [][]*url.URL{k.sign.URIs, k.tls.URIs, sm2URIs} { // openssl leaves them out
		for _, u := range uris {
			if u.String() != "minglu:"+k.device {
				return k, refuse("device", "a request names %s, but the signing key is that of minglu:%s", u, k.device)
			}
		}
	}
	return k, nil
}

// IssueDevice gives a device its certificates, as one change with the revocation of those they replace.
// Errors of type *Refused are the request's fault.
func (c *CA) IssueDevice(r Request) (out Issued, err error) {
	k, err := r.check()
	if err != nil {
		return out, err
	}
	if r.Renews != "" {
		keys := sha256.New()
		keys.Write(k.sign.RawSubjectPublicKeyInfo)
		keys.Write(k.tls.RawSubjectPublicKeyInfo)
		if k.sm2 != nil {
			keys.Write(k.sm2.RawSubjectPublicKeyInfo)
		}
		r.Ref = fmt.Sprintf("%s%x", renewalRef(r.Renews), keys.Sum(nil)[:8])
	}
	err = c.change(func() error {
		if out, err = c.before(&r, &k); out.Sign != nil || err != nil {
			return err
		}
		lines, err := c.replaced(&r, &k)
		if err != nil {
			return err
		}
		if out, err = c.make(&r, &k, &lines); err != nil {
			return err
		}
		return c.append(lines...)
	})
	if e := (*Refused)(nil); err != nil && !errors.As(err, &e) {
		err = fmt.Errorf("ca: issue: %w", err)
	}
	if err != nil {
		return Issued{}, err
	}
	if r.Replace {
		err = c.Refresh()
	}
	return out, err
}

func renewalRef(serial string) string { return "renew " + serial + " " }

// Renewals counts for how many sets of keys a certificate has asked for others.
func (c *CA) Renewals(serial string) (n int) {
	for _, e := range c.Entries() {
		if e.Kind == KindTLS && strings.HasPrefix(e.Ref, renewalRef(serial)) {
			n++
		}
	}
	return n
}

// before gives the certificates that Ref got already, if it is the same keys that ask.
func (c *CA) before(r *Request, k *checked) (out Issued, err error) {
	used := false
	for _, e := range c.s.entries {
		if e.Ref != r.Ref {
			continue
		}
		used = true
		switch e.Kind {
		case KindSM2:
			if cert, err := smx509.ParseCertificate(e.DER); err == nil && k.sm2 != nil && bytes.Equal(cert.RawSubjectPublicKeyInfo, k.sm2.RawSubjectPublicKeyInfo) {
				out.SM2 = cert
			}
			continue
		case KindSign, KindTLS:
		default:
			continue
		}
		cert, err := x509.ParseCertificate(e.DER)
		if err != nil {
			return out, err
		}
		out.Device = e.Device
		if e.Kind == KindSign && bytes.Equal(cert.RawSubjectPublicKeyInfo, k.sign.RawSubjectPublicKeyInfo) {
			out.Sign = cert
		}
		if e.Kind == KindTLS && bytes.Equal(cert.RawSubjectPublicKeyInfo, k.tls.RawSubjectPublicKeyInfo) {
			out.TLS = cert
		}
		if !e.Revoked.IsZero() {
			return Issued{}, refuse("code.used", "what this was good for was issued, and revoked since")
		}
	}
	if used && (out.Sign == nil || out.TLS == nil || (out.SM2 == nil) != (k.sm2 == nil)) {
		return Issued{}, refuse("code.used", "it was used already, by other keys")
	}
	return out, nil
}

// replaced makes the lines that revoke what a new device of the name takes the place of, and refuses a
// name or a key that is in use otherwise.
func (c *CA) replaced(r *Request, k *checked) (lines []any, err error) {
	now := c.o.Now()
	for _, e := range c.s.entries {
		if e.Reason == ReasonLost && e.Kind == KindSign {
			if cert, err := x509.ParseCertificate(e.DER); err == nil && bytes.Equal(cert.RawSubjectPublicKeyInfo, k.sign.RawSubjectPublicKeyInfo) {
				return nil, refuse("revoked", "this key was revoked as compromised and is good for nothing any more: stop minglu-agent run once all sessions are sealed (only this key can seal them), move the folder identity of its state folder away and keep it, then enrol with the same code: it makes another key and is another device")
			}
		}
		if !e.good(now) || e.Kind == KindServer {
			continue
		}
		switch {
		case e.Device == k.device && e.Name != r.Name:
			return nil, refuse("device", "this device is enrolled as %s: revoke that first", e.Name)
		case e.Name != r.Name || r.Device != "" && e.Device == k.device: // others; a renewal
		case r.Replace:
			lines = append(lines, &revoked{Serial: e.Serial, Reason: ReasonReplaced, Code: reasonCodes[ReasonReplaced]})
		case e.Device != k.device || r.Device == "":
			return nil, refuse("name.enrolled", "%s is enrolled already: make a code with --replace", r.Name)
		}
	}
	return lines, nil
}

// make makes the certificates and their lines.
func (c *CA) make(r *Request, k *checked, lines *[]any) (out Issued, err error) {
	out.Device = k.device
	uri := []*url.URL{{Scheme: "minglu", Opaque: k.device}}
	now := c.o.Now()
	template := func(life time.Duration, eku x509.ExtKeyUsage) *x509.Certificate {
		until := now.Add(life)
		if until.After(c.issuing.NotAfter) {
			until = c.issuing.NotAfter
		}
		return &x509.Certificate{SerialNumber: newSerial(), Subject: pkix.Name{CommonName: r.Name}, NotBefore: now.Add(-skew), NotAfter: until,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{eku}, URIs: uri, BasicConstraintsValid: true}
	}
	add := func(kind string, der []byte, serial *big.Int, until time.Time) {
		*lines = append(*lines, &issued{Kind: kind, Name: r.Name, Device: k.device, Serial: hex.EncodeToString(serial.Bytes()), Cert: b64(der), Until: until.UnixMicro(), Ref: r.Ref})
	}
	if out.Sign, err = c.sign(template(SignFor, x509.ExtKeyUsageEmailProtection), k.sign.PublicKey); err != nil {
		return out, err
	}
	add(KindSign, out.Sign.Raw, out.Sign.SerialNumber, out.Sign.NotAfter)
	if out.TLS, err = c.sign(template(TLSFor, x509.ExtKeyUsageClientAuth), k.tls.PublicKey); err != nil {
		return out, err
	}
	add(KindTLS, out.TLS.Raw, out.TLS.SerialNumber, out.TLS.NotAfter)
	if k.sm2 == nil {
		return out, nil
	}
	st := smTemplate(template(SignFor, x509.ExtKeyUsageEmailProtection))
	der, err := smx509.CreateCertificate(rand.Reader, st, c.sm2Issuing, k.sm2.PublicKey, c.sm2Key)
	if err != nil {
		return out, err
	}
	if out.SM2, err = smx509.ParseCertificate(der); err != nil {
		return out, err
	}
	add(KindSM2, der, out.SM2.SerialNumber, out.SM2.NotAfter)
	return out, nil
}

func (c *CA) sign(tmpl *x509.Certificate, pub any) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.issuing, pub, c.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
