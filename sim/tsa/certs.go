package tsa

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"
)

// validFrom and validTo frame everything a simulated clock may show.
var (
	validFrom = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
	validTo   = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
)

func makeRoot(name string, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: validFrom, NotAfter: validTo,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return sign(t, t, key.Public(), key)
}

// certFor is the certificate a failure signs with.
func (s *Server) certFor(f Failure) (*x509.Certificate, error) {
	switch f {
	case NoEKU, NotCritical, Expired, OtherRoot:
	default:
		return s.cert, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.certs[f]; c != nil {
		return c, nil
	}
	c, err := s.makeCert(f)
	if err == nil {
		s.certs[f] = c
	}
	return c, err
}

func (s *Server) makeCert(f Failure) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return nil, fmt.Errorf("tsa: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(2)), Subject: pkix.Name{CommonName: s.o.Name}, NotBefore: validFrom, NotAfter: validTo, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	root, key := s.root, s.rootKey
	switch f {
	case NoEKU:
	case Expired:
		t.NotAfter = s.o.Now().Add(-24 * time.Hour)
		t.NotBefore = t.NotAfter.Add(-365 * 24 * time.Hour)
	case OtherRoot:
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err == nil {
			root, err = makeRoot("another root", key)
		}
		if err != nil {
			return nil, err
		}
	}
	if f != NoEKU {
		t.ExtraExtensions = []pkix.Extension{timeStamping(f != NotCritical)}
	}
	return sign(t, root, s.key.Public(), key)
}

// timeStamping is the extended key usage of RFC 3161 2.3. The x509 package would not make it critical.
func timeStamping(critical bool) pkix.Extension {
	v, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		panic("BUG: tsa: " + err.Error())
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: critical, Value: v}
}

func sign(t, parent *x509.Certificate, pub any, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("tsa: %w", err)
	}
	return x509.ParseCertificate(der)
}
