package evidence

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// CertsPEM reads the certificates of device.pem or chain.pem strictly: the file must be exactly what
// [MarshalCertsPEM] writes, with one certificate or more.
func CertsPEM(b []byte) ([]*x509.Certificate, error) {
	if len(b) > maxCMS {
		return nil, errors.New("certificates: a file over 64 KiB")
	}
	var certs []*x509.Certificate
	for rest := b; len(rest) > 0; {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificates: number %d: %w", len(certs)+1, err)
		}
		certs, rest = append(certs, c), after
	}
	if len(certs) == 0 {
		return nil, errors.New("certificates: there is none")
	}
	if !bytes.Equal(MarshalCertsPEM(certs...), b) {
		return nil, errors.New("certificates: not the one way PEM is written here (64 characters a line, no headers, nothing between)")
	}
	return certs, nil
}

// MarshalCertsPEM returns the certificates as PEM blocks, one after the other.
func MarshalCertsPEM(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.Bytes()
}

// CertDevice returns D from the certificate: its only URI must be minglu:D.
func CertDevice(c *x509.Certificate) (string, error) {
	if len(c.URIs) == 1 && c.URIs[0].Scheme == "minglu" && isHex(c.URIs[0].Opaque, 32) && c.URIs[0].String() == "minglu:"+c.URIs[0].Opaque {
		return c.URIs[0].Opaque, nil
	}
	return "", fmt.Errorf("certificate of %q does not name one device as minglu:D", c.Subject.CommonName)
}

// publicP256 returns the key of a certificate that can sign evidence.
func publicP256(c *x509.Certificate) (*ecdsa.PublicKey, error) {
	pub, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, fmt.Errorf("certificate of %q has no ECDSA P-256 key", c.Subject.CommonName)
	}
	return pub, nil
}
