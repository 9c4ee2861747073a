package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"minglu/agent/evidence"
)

// loadCerts reads certificate and chain, or makes the certificate.
func (id *Identity) loadCerts(name string) error {
	path := filepath.Join(id.dir, CertFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return id.selfMade(path, name)
	}
	if err != nil {
		return err
	}
	certs, err := evidence.CertsPEM(b)
	if err == nil && len(certs) != 1 {
		err = errors.New("want one certificate; the others belong into " + ChainFile)
	}
	if err == nil && !sameKey(id.Key, certs[0].PublicKey) {
		err = errors.New("is of another key")
	}
	if err == nil {
		id.D, err = evidence.CertDevice(certs[0])
	}
	if err != nil {
		return fmt.Errorf("%s: %w: put the certificate of this key back, or remove the file to go on with a self-made one", path, err)
	}
	if isSelfMade(certs[0]) && certs[0].Subject.CommonName != name {
		return id.selfMade(path, name)
	}
	id.Cert, id.DevicePEM = certs[0], b
	return id.loadChain(filepath.Join(id.dir, ChainFile))
}

func sameKey(key crypto.Signer, pub any) bool {
	p, ok := key.Public().(*ecdsa.PublicKey)
	return ok && p.Equal(pub)
}

func isSelfMade(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

func (id *Identity) loadChain(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if id.Chain, err = evidence.CertsPEM(b); err != nil {
		return fmt.Errorf("%s: %w: put the chain of this device's certificate back", path, err)
	}
	id.ChainPEM = b
	return nil
}

// selfMade makes the certificate and returns when it is durable.
func (id *Identity) selfMade(path, name string) error {
	cert, err := makeCert(id.Key, name)
	if err != nil {
		return err
	}
	if id.D, err = evidence.CertDevice(cert); err != nil {
		return err
	}
	id.Cert, id.DevicePEM = cert, evidence.MarshalCertsPEM(cert)
	return id.files.Replace(path, id.DevicePEM)
}

// makeCert returns the self-made certificate of a key: the same key in a file and name give the same bytes. It
// holds from 1970, so that a board without a clock can sign, to the end of time as RFC 5280 4.1.2.5 writes it.
func makeCert(key crypto.Signer, name string) (*x509.Certificate, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(spki)
	digest[16] = digest[16]&0x3f | 0x40 // positive, and of one length
	tmpl := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(digest[16:]),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Unix(0, 0),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		URIs:                  []*url.URL{{Scheme: "minglu", Opaque: evidence.DeviceID(spki)}},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(nil, tmpl, tmpl, key.Public(), key) // no rand: RFC 6979
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}
