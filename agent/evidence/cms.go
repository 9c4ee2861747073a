package evidence

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The template of manifest.json.p7s, evidence-format.md section 3, after RFC 5652 and RFC 5035:
//
//	ContentInfo { id-signedData, [0] SignedData {
//	  version 1, digestAlgorithms { sha256 }, encapContentInfo { id-data },
//	  certificates [0] in DER set order,
//	  signerInfos { SignerInfo {
//	    version 1, issuerAndSerialNumber, sha256,
//	    signedAttrs [0] { contentType id-data, signingTime, messageDigest, signingCertificateV2 },
//	    ecdsa-with-SHA256, signature } } } }
//
// sha256 is the default of ESSCertIDv2.hashAlgorithm and so left out (DER); issuerSerial, which is
// optional there, is left out because SignerInfo names the certificate already.

// DER tags used here.
const (
	tagOctets   = 0x04
	tagSequence = 0x30
	tagSet      = 0x31
	tagContext0 = 0xA0
)

// Object identifiers, as DER.
var (
	oidData          = oid(1, 2, 840, 113549, 1, 7, 1)
	oidSignedData    = oid(1, 2, 840, 113549, 1, 7, 2)
	oidContentType   = oid(1, 2, 840, 113549, 1, 9, 3)
	oidMessageDigest = oid(1, 2, 840, 113549, 1, 9, 4)
	oidSigningTime   = oid(1, 2, 840, 113549, 1, 9, 5)
	oidSigningCertV2 = oid(1, 2, 840, 113549, 1, 9, 16, 2, 47)
	algSHA256        = der(tagSequence, oid(2, 16, 840, 1, 101, 3, 4, 2, 1))
	algECDSASHA256   = der(tagSequence, oid(1, 2, 840, 10045, 4, 3, 2))
	version1         = []byte{0x02, 0x01, 0x01}
)

// maxCMS bounds what CheckCMS reads (V1).
const maxCMS = 64 << 10

// SignManifest returns manifest.json.p7s: CMS SignedData, detached, DER, by the template of
// evidence-format.md section 3. certs[0] belongs to key, the rest is its chain; the root may be left
// out. signingTime is cut to seconds. With a key in software the same arguments give the same bytes.
func SignManifest(manifest []byte, certs []*x509.Certificate, key crypto.Signer, signingTime time.Time) ([]byte, error) {
	s, err := NewSigner(key)
	if err != nil {
		return nil, fmt.Errorf("cms: %w", err)
	}
	if len(certs) == 0 || !s.Public().Equal(certs[0].PublicKey) {
		return nil, errors.New("cms: the first certificate is not that of the signing key")
	}
	attrs, err := signedAttrs(manifest, certs[0], signingTime)
	if err != nil {
		return nil, fmt.Errorf("cms: %w", err)
	}
	signature, err := s.signDigest(sha256.Sum256(der(tagSet, attrs)))
	if err != nil {
		return nil, fmt.Errorf("cms: %w", err)
	}
	return signedData(certs, attrs, signature), nil
}

// CheckCMS checks a detached signature over content by certs[0]. It rebuilds the file from the
// certificates, the signing time and the signature, and compares bytes, so that no bit is free.
// It judges no chain and no date. It returns the signing time the signer claimed.
func CheckCMS(p7s, content []byte, certs []*x509.Certificate) (signingTime time.Time, err error) {
	if len(certs) == 0 || len(p7s) > maxCMS {
		return time.Time{}, errors.New("cms: no certificate, or a file over 64 KiB")
	}
	pub, err := publicP256(certs[0])
	if err != nil {
		return time.Time{}, fmt.Errorf("cms: %w", err)
	}
	signingTime, signature, err := freeParts(p7s)
	if err != nil {
		return time.Time{}, fmt.Errorf("cms: not the form this format allows: %w", err)
	}
	attrs, err := signedAttrs(content, certs[0], signingTime)
	if err != nil {
		return time.Time{}, fmt.Errorf("cms: %w", err)
	}
	if want := signedData(certs, attrs, signature); !bytes.Equal(p7s, want) {
		return time.Time{}, errors.New("cms: signs other content, names other certificates, or is not in the form this format allows")
	}
	if err := verifyDER(pub, sha256.Sum256(der(tagSet, attrs)), signature); err != nil {
		return time.Time{}, fmt.Errorf("cms: %w", err)
	}
	return signingTime, nil
}

// signedAttrs returns the attributes in DER set order, without the tag around them: it is SET OF
// where they are signed and [0] where they are stored (RFC 5652 5.4).
func signedAttrs(content []byte, cert *x509.Certificate, signingTime time.Time) ([]byte, error) {
	// UTCTime for 1950 to 2049, GeneralizedTime otherwise (RFC 5652 11.3).
	utc, err := asn1.Marshal(signingTime.UTC().Truncate(time.Second))
	if err != nil {
		return nil, fmt.Errorf("signing time: %w", err)
	}
	digest, certDigest := sha256.Sum256(content), sha256.Sum256(cert.Raw)
	attr := func(oid, value []byte) []byte { return der(tagSequence, oid, der(tagSet, value)) }
	return setOf(
		attr(oidContentType, oidData),
		attr(oidSigningTime, utc),
		attr(oidMessageDigest, der(tagOctets, digest[:])),
		attr(oidSigningCertV2, der(tagSequence, der(tagSequence, der(tagSequence, der(tagOctets, certDigest[:]))))),
	), nil
}

// signedData puts the file together.
func signedData(certs []*x509.Certificate, attrs, signature []byte) []byte {
	raw := make([][]byte, len(certs))
	for i, c := range certs {
		raw[i] = c.Raw
	}
	serial, _ := asn1.Marshal(certs[0].SerialNumber) // a big.Int cannot fail
	signer := der(tagSequence,
		version1,
		der(tagSequence, certs[0].RawIssuer, serial),
		algSHA256,
		der(tagContext0, attrs),
		algECDSASHA256,
		der(tagOctets, signature),
	)
	return der(tagSequence, oidSignedData, der(tagContext0, der(tagSequence,
		version1,
		der(tagSet, algSHA256),
		der(tagSequence, oidData),
		der(tagContext0, setOf(raw...)),
		der(tagSet, signer),
	)))
}

// freeParts returns the two parts of the file that certificates and content do not determine.
// Whatever else it steps over is compared by its caller.
func freeParts(p7s []byte) (signingTime time.Time, signature []byte, err error) {
	r := derReader{rest: p7s}
	signed := r.enter(tagSequence, 0).enter(tagContext0, 1).enter(tagSequence, 0)
	signer := signed.enter(tagSet, 4).enter(tagSequence, 0)
	attrs := signer.enter(tagContext0, 3)
	signer.skip(1)
	signature = signer.enter(tagOctets, 0).rest
	for len(attrs.rest) > 0 && signingTime.IsZero() {
		attr := attrs.enter(tagSequence, 0)
		if attrs.bad {
			break
		}
		if bytes.HasPrefix(attr.rest, oidSigningTime) {
			value := attr.enter(tagSet, 1).rest
			if rest, err := asn1.Unmarshal(value, &signingTime); err != nil || len(rest) > 0 {
				return time.Time{}, nil, errors.New("signing time cannot be read")
			}
		}
	}
	if signingTime.IsZero() || len(signature) == 0 {
		return time.Time{}, nil, errors.New("no signing time or no signature where they belong")
	}
	return signingTime.UTC(), signature, nil
}

// derReader walks through DER. After a misstep rest is empty.
type derReader struct {
	rest []byte
	bad  bool
}

// enter skips elements, then returns a reader of the next element's content, which must have the tag.
func (r *derReader) enter(tag byte, skip int) *derReader {
	r.skip(skip)
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(r.rest, &v)
	if err != nil || v.FullBytes[0] != tag {
		r.rest, r.bad = nil, true
		return &derReader{bad: true}
	}
	r.rest = rest
	return &derReader{rest: v.Bytes}
}

func (r *derReader) skip(n int) {
	for range n {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(r.rest, &v)
		if err != nil {
			rest, r.bad = nil, true
		}
		r.rest = rest
	}
}

// der returns one element of DER: tag, length, the parts one after the other.
func der(tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := []byte{tag}
	switch { // X.690 8.1.3, the shortest form
	case n < 0x80:
		b = append(b, byte(n))
	case n < 0x100:
		b = append(b, 0x81, byte(n))
	case n < 0x10000:
		b = append(b, 0x82, byte(n>>8), byte(n))
	default:
		b = append(b, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, bytes.Join(parts, nil)...)
}

// setOf joins elements in the order DER wants for SET OF (X.690 11.6).
func setOf(elements ...[]byte) []byte {
	sorted := slices.Clone(elements)
	slices.SortFunc(sorted, bytes.Compare)
	return bytes.Join(sorted, nil)
}

// oid returns an object identifier as DER.
func oid(arcs ...int) []byte {
	b, err := asn1.Marshal(asn1.ObjectIdentifier(arcs))
	if err != nil {
		panic("BUG: object identifier: " + err.Error())
	}
	return b
}
