package evidence

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/digitorus/pkcs7"
)

// ErrUntrusted means that an outside proof holds and nobody trusted stands behind it: whoever has
// other anchors may judge otherwise. Every other error of [VerifyToken] and [Witness.Verify] means
// that the bytes prove nothing to anybody.
var ErrUntrusted = errors.New("not trusted")

// TokenInfo is what an RFC 3161 token says.
type TokenInfo struct {
	Time     time.Time     // genTime, UTC: when the authority saw the digest
	Accuracy time.Duration // of Time; 0 if the authority tells none
	Serial   *big.Int
	Policy   string   // dotted object identifier
	TSA      string   // common name of the signing certificate, else its subject
	Nonce    *big.Int // nil if there is none
	SHA256   string   // of the token's bytes, as `token` lines and `anchor` lines name it

	Chain []*x509.Certificate // from the signing certificate to a root; nil if not trusted
}

// Object identifiers of RFC 3161, RFC 5035, RFC 2634, as DER.
var (
	oidTSTInfo       = oid(1, 2, 840, 113549, 1, 9, 16, 1, 4)
	oidSigningCertV1 = oid(1, 2, 840, 113549, 1, 9, 16, 2, 12)
	oidSHA256        = oid(2, 16, 840, 1, 101, 3, 4, 2, 1)
	oidExtKeyUsage   = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// tokenSignatures says which signature algorithms may stand beside which digest: what a SignerInfo
// names outside its signature must leave no choice.
var tokenSignatures = []struct{ digest, signature []byte }{
	{oidSHA256, oid(1, 2, 840, 113549, 1, 1, 1)}, {oidSHA256, oid(1, 2, 840, 113549, 1, 1, 11)}, {oidSHA256, oid(1, 2, 840, 10045, 4, 3, 2)},
	{oid(2, 16, 840, 1, 101, 3, 4, 2, 2), oid(1, 2, 840, 113549, 1, 1, 1)}, {oid(2, 16, 840, 1, 101, 3, 4, 2, 2), oid(1, 2, 840, 113549, 1, 1, 12)},
	{oid(2, 16, 840, 1, 101, 3, 4, 2, 2), oid(1, 2, 840, 10045, 4, 3, 3)},
	{oid(2, 16, 840, 1, 101, 3, 4, 2, 3), oid(1, 2, 840, 113549, 1, 1, 1)}, {oid(2, 16, 840, 1, 101, 3, 4, 2, 3), oid(1, 2, 840, 113549, 1, 1, 13)},
	{oid(2, 16, 840, 1, 101, 3, 4, 2, 3), oid(1, 2, 840, 10045, 4, 3, 4)}, {oid(2, 16, 840, 1, 101, 3, 4, 2, 3), oid(1, 3, 101, 112)},
}

// tokenParts are the parts of a TimeStampResp that mean something, taken apart.
type tokenParts struct {
	content   []byte   // DER TSTInfo
	attrs     [][]byte // signed attributes, each as DER
	digestAlg []byte   // SHA-256: oidSHA256, …
	path      []*x509.Certificate
	normal    []byte // the response in normal form
}

// NormalToken brings the reply of a time-stamping authority into the one form this format keeps
// (evidence-format.md section 3, "token"): status granted and no words, of the certificates only the
// signer's and those that lead from it towards a root, in DER order, no revocation lists and no
// unsigned attributes. All it leaves out is outside the authority's signature. It fails, with the
// authority's words, if the reply grants no token, and if the token carries no certificate of its
// signer. It checks no signature: [VerifyToken] does.
func NormalToken(reply []byte) ([]byte, error) {
	p, err := takeToken(reply)
	if err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	return p.normal, nil
}

// VerifyToken checks an RFC 3161 response over a SHA-256 imprint: that it is in normal form, granted,
// signed by the certificate it names by digest, and over this imprint; then, that the certificate is a
// time-stamping authority's (extended key usage timeStamping, critical and alone) with a chain to one
// of the roots at the token's own time. If only the latter fails, the error is [ErrUntrusted] and the
// rest is told. It judges no nonce (compare TokenInfo.Nonce) and no revocation ([Trust.Token] does).
func VerifyToken(der []byte, imprint [32]byte, roots []*x509.Certificate) (TokenInfo, error) {
	info, path, err := readToken(der, imprint)
	if err != nil {
		return TokenInfo{}, fmt.Errorf("timestamp: %w", err)
	}
	if info.Chain, err = tsaChain(path, roots, info.Time); err != nil {
		return info, fmt.Errorf("timestamp of %s by %q: %w: %w", info.Time.Format(time.RFC3339), info.TSA, ErrUntrusted, err)
	}
	return info, nil
}

// readToken does what needs no trust.
func readToken(der []byte, imprint [32]byte) (TokenInfo, []*x509.Certificate, error) {
	fail := func(err error) (TokenInfo, []*x509.Certificate, error) { return TokenInfo{}, nil, err }
	p, err := takeToken(der)
	if err != nil {
		return fail(err)
	}
	if !bytes.Equal(p.normal, der) {
		return fail(errors.New("not in the normal form of this format: bits in it are free to change"))
	}
	if err := p.signed(der); err != nil {
		return fail(err)
	}
	info, hashed, err := readTST(p.content)
	if err != nil {
		return fail(err)
	}
	if !bytes.Equal(hashed, imprint[:]) {
		return fail(fmt.Errorf("it is over other data: imprint %x, want %x", hashed, imprint))
	}
	leaf := p.path[0]
	if info.TSA = leaf.Subject.CommonName; info.TSA == "" {
		info.TSA = leaf.Subject.String()
	}
	sum := sha256.Sum256(der)
	info.SHA256 = hex.EncodeToString(sum[:])
	return info, p.path, nil
}

// tsaChain checks that the path belongs to a time-stamping authority and ends at a root.
func tsaChain(path, roots []*x509.Certificate, at time.Time) ([]*x509.Certificate, error) {
	leaf := path[0]
	if !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}) || len(leaf.UnknownExtKeyUsage) > 0 {
		return nil, errors.New("its certificate's extended key usage is not timeStamping alone")
	}
	for _, e := range leaf.Extensions { // Go's parser does not tell (RFC 3161 2.3)
		if e.Id.Equal(oidExtKeyUsage) && !e.Critical {
			return nil, errors.New("its certificate's extended key usage is not critical")
		}
	}
	pool, between := x509.NewCertPool(), x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	for _, c := range path[1:] {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}})
	if err != nil {
		return nil, fmt.Errorf("no chain to a trusted time-stamping authority at the token's time: %w", err)
	}
	return chains[0], nil
}

// readTST reads a TSTInfo (RFC 3161 2.4.2) and returns the hashed message with it.
func readTST(content []byte) (info TokenInfo, hashed []byte, err error) {
	bad := func(what string) (TokenInfo, []byte, error) {
		return TokenInfo{}, nil, fmt.Errorf("TSTInfo: %s", what)
	}
	outer, err := elements(content, tagSequence)
	if err != nil {
		return bad(err.Error())
	}
	f := outer
	if len(f) < 5 || !bytes.Equal(f[0].FullBytes, version1) {
		return bad("not version 1")
	}
	var policy asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(f[1].FullBytes, &policy); err != nil || len(rest) > 0 {
		return bad("no policy")
	}
	info.Policy = policy.String()
	imprint, err := elements(f[2].FullBytes, tagSequence)
	if err != nil || len(imprint) != 2 || imprint[1].FullBytes[0] != tagOctets {
		return bad("no imprint")
	}
	if alg, err := algorithm(imprint[0]); err != nil || !bytes.Equal(alg, oidSHA256) {
		return bad("the imprint is not by SHA-256")
	}
	if rest, err := asn1.Unmarshal(f[3].FullBytes, &info.Serial); err != nil || len(rest) > 0 {
		return bad("no serial number")
	}
	// RFC 3161 wants Z and no trailing zeros; time.Parse reads a fraction after the seconds by itself.
	s := string(f[4].Bytes)
	if info.Time, err = time.Parse("20060102150405Z", s); f[4].FullBytes[0] != 0x18 || err != nil || strings.HasSuffix(s, "0Z") && strings.Contains(s, ".") {
		return bad("genTime cannot be read")
	}
	for _, e := range f[5:] {
		switch e.FullBytes[0] {
		case tagSequence:
			if info.Accuracy, err = accuracy(e); err != nil {
				return bad("accuracy cannot be read")
			}
		case 0x02:
			if _, err := asn1.Unmarshal(e.FullBytes, &info.Nonce); err != nil {
				return bad("nonce cannot be read")
			}
		}
	}
	return info, imprint[1].Bytes, nil
}

func accuracy(v asn1.RawValue) (time.Duration, error) {
	parts, err := elements(v.FullBytes, tagSequence)
	units := map[byte]time.Duration{0x02: time.Second, 0x80: time.Millisecond, 0x81: time.Microsecond}
	total := time.Duration(0)
	for _, p := range parts {
		unit, n := units[p.FullBytes[0]], new(big.Int).SetBytes(p.Bytes)
		if unit == 0 || !n.IsInt64() || n.Int64() > 1e6 {
			return 0, errors.New("out of range")
		}
		total += time.Duration(n.Int64()) * unit
	}
	return total, err
}

// takeToken takes a TimeStampResp apart (RFC 3161 2.4.2, RFC 5652 5.1) and puts its normal form together.
func takeToken(der []byte) (*tokenParts, error) {
	if len(der) > maxCMS {
		return nil, errors.New("over 64 KiB")
	}
	resp, err := elements(der, tagSequence)
	if err != nil || len(resp) == 0 || len(resp) > 2 {
		return nil, errors.New("not the reply of a time-stamping authority in DER")
	}
	if err := granted(resp[0]); err != nil {
		return nil, err
	}
	if len(resp) != 2 {
		return nil, errors.New("granted, and no token in it")
	}
	info, err := elements(resp[1].FullBytes, tagSequence)
	if err != nil || len(info) != 2 || !bytes.Equal(info[0].FullBytes, oidSignedData) || info[1].FullBytes[0] != tagContext0 {
		return nil, errors.New("the token is not CMS SignedData")
	}
	sd, err := elements(info[1].Bytes, tagSequence)
	if err != nil || len(sd) < 4 || len(sd) > 6 {
		return nil, errors.New("the token is not CMS SignedData")
	}
	return takeSignedData(sd)
}

func takeSignedData(sd []asn1.RawValue) (*tokenParts, error) {
	encap, err := elements(sd[2].FullBytes, tagSequence)
	if err != nil || len(encap) != 2 || !bytes.Equal(encap[0].FullBytes, oidTSTInfo) {
		return nil, errors.New("the token signs no TSTInfo")
	}
	octets, err := single(encap[1].Bytes, tagOctets)
	if err != nil {
		return nil, errors.New("the token signs no TSTInfo")
	}
	signers, err := elements(sd[len(sd)-1].FullBytes, tagSet)
	if err != nil || len(signers) != 1 {
		return nil, errors.New("the token has not one signer")
	}
	si, err := elements(signers[0].FullBytes, tagSequence)
	if err != nil || len(si) < 6 || len(si) > 7 || si[3].FullBytes[0] != tagContext0 || si[5].FullBytes[0] != tagOctets {
		return nil, errors.New("the token's signer has no signed attributes")
	}
	p := &tokenParts{content: octets.Bytes}
	digest, err := algorithm(si[2])
	if err != nil {
		return nil, err
	}
	signature, err := algorithm(si[4])
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(tokenSignatures, func(a struct{ digest, signature []byte }) bool {
		return bytes.Equal(a.digest, digest) && bytes.Equal(a.signature, signature)
	}) {
		return nil, errors.New("the token's digest and signature algorithms are not a pair known here (RSA PKCS #1, ECDSA, Ed25519 with SHA-2)")
	}
	p.digestAlg = digest
	attrs, err := elements(der(tagSequence, si[3].Bytes), tagSequence)
	if err != nil {
		return nil, errors.New("the token's signed attributes cannot be read")
	}
	for _, a := range attrs {
		if f, err := elements(a.FullBytes, tagSequence); err != nil || len(f) != 2 || f[0].FullBytes[0] != 0x06 || f[1].FullBytes[0] != tagSet {
			return nil, errors.New("the token's signed attributes cannot be read")
		}
		p.attrs = append(p.attrs, a.FullBytes)
	}
	var certs []byte
	if sd[3].FullBytes[0] == tagContext0 {
		certs = sd[3].Bytes
	}
	if p.path, err = signerPath(certs, si[1].FullBytes); err != nil {
		return nil, err
	}
	raw := make([][]byte, len(p.path))
	for i, c := range p.path {
		raw[i] = c.Raw
	}
	signer := der(tagSequence, version1, si[1].FullBytes, si[2].FullBytes, der(tagContext0, setOf(p.attrs...)), si[4].FullBytes, si[5].FullBytes)
	p.normal = der(tagSequence, der(tagSequence, []byte{0x02, 0x01, 0x00}),
		der(tagSequence, oidSignedData, der(tagContext0, der(tagSequence,
			[]byte{0x02, 0x01, 0x03},
			der(tagSet, si[2].FullBytes),
			der(tagSequence, oidTSTInfo, der(tagContext0, der(tagOctets, p.content))),
			der(tagContext0, setOf(raw...)),
			der(tagSet, signer),
		))))
	return p, nil
}

// granted reads a PKIStatusInfo.
func granted(v asn1.RawValue) error {
	f, err := elements(v.FullBytes, tagSequence)
	if err != nil || len(f) == 0 || f[0].FullBytes[0] != 0x02 || len(f[0].Bytes) != 1 {
		return errors.New("the reply has no status")
	}
	if f[0].Bytes[0] <= 1 { // granted, granted with modifications: what was granted is in the token
		return nil
	}
	var words []string
	for _, e := range f[1:] {
		if e.FullBytes[0] == tagSequence {
			texts, _ := elements(e.FullBytes, tagSequence)
			for _, t := range texts {
				words = append(words, string(t.Bytes))
			}
		} else if e.FullBytes[0] == 0x03 && len(e.Bytes) > 1 {
			words = append(words, fmt.Sprintf("failure bits %x", e.Bytes[1:]))
		}
	}
	return fmt.Errorf("the authority refused: status %d %q", f[0].Bytes[0], strings.Join(words, ", "))
}

// signerPath returns the signer's certificate and those that lead from it towards a root, the root itself
// left out: whoever verifies has it, or does not trust it.
func signerPath(raw, sid []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	list, err := elements(der(tagSequence, raw), tagSequence)
	if err != nil || len(list) > 32 {
		return nil, errors.New("the token's certificates cannot be read")
	}
	for _, e := range list {
		if c, err := x509.ParseCertificate(e.FullBytes); err == nil {
			all = append(all, c)
		}
	}
	var path []*x509.Certificate
	for _, c := range all {
		serial, _ := asn1.Marshal(c.SerialNumber) // a big.Int cannot fail
		if bytes.Equal(der(tagSequence, c.RawIssuer, serial), sid) {
			path = append(path, c)
			break
		}
	}
	if len(path) == 0 {
		return nil, errors.New("the token carries no certificate of its signer: ask the authority for it (certReq)")
	}
	for len(path) < 8 {
		last := path[len(path)-1]
		i := slices.IndexFunc(all, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, last.RawIssuer) && !bytes.Equal(c.RawSubject, c.RawIssuer) &&
				!slices.Contains(path, c) && last.CheckSignatureFrom(c) == nil
		})
		if i < 0 {
			break
		}
		path = append(path, all[i])
	}
	return path, nil
}

// signed checks the signature, and that the attributes name content and certificate (RFC 3161 2.4.1, RFC 5652 11).
func (p *tokenParts) signed(resp []byte) error {
	r := derReader{rest: resp}
	r = *r.enter(tagSequence, 0)
	r.skip(1)
	p7, err := pkcs7.Parse(r.rest)
	if err != nil {
		return err
	}
	// A time given, the library asks no clock; without roots it judges no chain.
	if err := p7.VerifyWithOpts(x509.VerifyOptions{CurrentTime: p.path[0].NotBefore}); err != nil {
		return fmt.Errorf("its signature does not hold: %w", err)
	}
	if v := p.attr(oidContentType); !bytes.Equal(v, oidTSTInfo) {
		return errors.New("its signed content type is not TSTInfo")
	}
	return p.names(p.path[0])
}

// attr returns the one value of a signed attribute, nil if there is not exactly one.
func (p *tokenParts) attr(oid []byte) []byte {
	for _, a := range p.attrs {
		f, err := elements(a, tagSequence)
		if err != nil || len(f) != 2 || !bytes.Equal(f[0].FullBytes, oid) {
			continue
		}
		if v, err := elements(f[1].FullBytes, tagSet); err == nil && len(v) == 1 {
			return v[0].FullBytes
		}
		return nil
	}
	return nil
}

// names checks that the signed attributes name the certificate by digest: ESSCertIDv2 (RFC 5035), or
// ESSCertID with SHA-1 (RFC 2634), which old authorities still use.
func (p *tokenParts) names(leaf *x509.Certificate) error {
	first := func(v []byte) []asn1.RawValue { // SigningCertificate ::= SEQUENCE { certs SEQUENCE OF ESSCertID, … }
		outer, err := elements(v, tagSequence)
		if err != nil || len(outer) == 0 {
			return nil
		}
		certs, err := elements(outer[0].FullBytes, tagSequence)
		if err != nil || len(certs) == 0 {
			return nil
		}
		id, _ := elements(certs[0].FullBytes, tagSequence)
		return id
	}
	if id := first(p.attr(oidSigningCertV2)); len(id) > 0 {
		hash := crypto.SHA256
		if id[0].FullBytes[0] == tagSequence {
			alg, err := algorithm(id[0])
			known := map[string]crypto.Hash{string(oidSHA256): crypto.SHA256, string(oid(2, 16, 840, 1, 101, 3, 4, 2, 2)): crypto.SHA384,
				string(oid(2, 16, 840, 1, 101, 3, 4, 2, 3)): crypto.SHA512}
			if hash = known[string(alg)]; err != nil || hash == 0 || !hash.Available() || len(id) < 2 {
				return errors.New("it names its certificate by a digest not known here")
			}
			id = id[1:]
		}
		h := hash.New()
		h.Write(leaf.Raw)
		if bytes.Equal(h.Sum(nil), id[0].Bytes) {
			return nil
		}
		return errors.New("it was signed with another certificate than the one it carries")
	}
	if id := first(p.attr(oidSigningCertV1)); len(id) > 0 {
		if d := sha1.Sum(leaf.Raw); bytes.Equal(d[:], id[0].Bytes) {
			return nil
		}
	}
	return errors.New("it does not name the certificate it was signed with")
}

// algorithm reads an AlgorithmIdentifier whose parameters are absent or NULL and returns its OID as DER.
func algorithm(v asn1.RawValue) ([]byte, error) {
	f, err := elements(v.FullBytes, tagSequence)
	if err != nil || len(f) == 0 || len(f) > 2 || f[0].FullBytes[0] != 0x06 || len(f) == 2 && !bytes.Equal(f[1].FullBytes, []byte{5, 0}) {
		return nil, errors.New("an algorithm has parameters not known here")
	}
	return f[0].FullBytes, nil
}

// elements returns the elements of a constructed value with the tag, which must be all of b.
func elements(b []byte, tag byte) ([]asn1.RawValue, error) {
	outer, err := single(b, tag)
	if err != nil {
		return nil, err
	}
	var out []asn1.RawValue
	for rest := outer.Bytes; len(rest) > 0; {
		var v asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// single returns the one element that b is.
func single(b []byte, tag byte) (v asn1.RawValue, err error) {
	rest, err := asn1.Unmarshal(b, &v)
	if err == nil && (len(rest) > 0 || v.FullBytes[0] != tag) {
		err = fmt.Errorf("not one element with tag %#x", tag)
	}
	return v, err
}
