package evidence

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// The national suite, evidence-format.md section 3: manifest.json.sm2 is a raw SM2 signature over
// manifest.json with SM3 and the default identity 1234567812345678 (GM/T 0009). It stands beside the
// P-256 signature and never in its place.

// SignSM2 returns manifest.json.sm2: the DER signature. Its nonces come from random, so that two calls
// give two signatures, both good.
func SignSM2(random io.Reader, manifest []byte, key *sm2.PrivateKey) ([]byte, error) {
	sig, err := key.Sign(random, manifest, sm2.DefaultSM2SignerOpts)
	if err != nil {
		return nil, fmt.Errorf("sm2: %w", err)
	}
	return sig, nil
}

// VerifySM2 checks manifest.json.sm2 with the key of an SM2 certificate. The signature must be the one
// DER encoding of its two numbers.
func VerifySM2(manifest, sig []byte, cert *smx509.Certificate) error {
	pub, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != sm2.P256() {
		return errors.New("sm2: the certificate's key is not on the SM2 curve")
	}
	r, s, err := parseSig(sig)
	if err != nil {
		return fmt.Errorf("sm2: %w", err)
	}
	if der, err := marshalSig(r, s); err != nil || !bytes.Equal(der, sig) {
		return errors.New("sm2: not the one encoding of a signature (DER)")
	}
	if !sm2.VerifyASN1WithSM2(pub, nil, manifest, sig) {
		return errors.New("sm2: signature does not hold")
	}
	return nil
}

// SM2KeyLine returns the fields of the ledger's key line that names an SM2 key (use "sm2"): the base64
// SubjectPublicKeyInfo and the SHA-256 of sm2.pem.
func SM2KeyLine(certFile []byte) (spki, cert string, err error) {
	certs, err := SM2CertsPEM(certFile)
	if err != nil {
		return "", "", err
	}
	return base64.StdEncoding.EncodeToString(certs[0].RawSubjectPublicKeyInfo), DigestFile("", certFile).SHA256, nil
}

// SM2CertsPEM reads sm2.pem strictly: the device's SM2 certificate, then those between it and a root.
func SM2CertsPEM(b []byte) ([]*smx509.Certificate, error) {
	if len(b) > maxCMS {
		return nil, errors.New("sm2: certificates: a file over 64 KiB")
	}
	certs, err := parseSM2Certs(b)
	if err != nil {
		return nil, fmt.Errorf("sm2: certificates: %w", err)
	}
	var again bytes.Buffer
	for _, c := range certs {
		again.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	if !bytes.Equal(again.Bytes(), b) {
		return nil, errors.New("sm2: certificates: not the one way PEM is written here")
	}
	return certs, nil
}

func parseSM2Certs(b []byte) (certs []*smx509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %q is not a certificate", block.Type)
		}
		c, err := smx509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no PEM block in it")
	}
	return certs, nil
}

// sm2Anchor tells which authority vouches for an SM2 certificate of the device at a time.
func (t *Trust) sm2Anchor(certs []*smx509.Certificate, device string, at time.Time) (by string, err error) {
	leaf := certs[0]
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "minglu:"+device {
		return "", fmt.Errorf("the SM2 certificate is that of %v, not of device minglu:%s", leaf.URIs, device)
	}
	if t == nil || len(t.SM2) == 0 {
		return "", errors.New("no SM2 authority is trusted: put its certificate into the trust folder's sm2/")
	}
	roots, between := smx509.NewCertPool(), smx509.NewCertPool()
	for _, r := range t.SM2 {
		roots.AddCert(r)
	}
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(smx509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at,
		KeyUsages: []smx509.ExtKeyUsage{smx509.ExtKeyUsageAny}})
	if err != nil {
		return "", fmt.Errorf("no trusted authority vouches for the SM2 certificate: %w", err)
	}
	return "authority " + chains[0][len(chains[0])-1].Subject.String(), nil
}
