// Package identity keeps the key a device signs with for life, and its certificate.
//
// The key is ECDSA P-256 in a file of the state folder that only its owner may read. Until
// enrolment the certificate is self-made; a verifier trusts it only when told to (grade 0 otherwise).
// A key is made once, when there is none; a key file that cannot be read is an error that says what
// to do, never a reason to make a second key: that would break the device's name D.
//
// Anyone who can read the file can sign: the package guards against mistakes, not against root.
package identity

import (
	"crypto"
	"crypto/x509"
	"errors"
)

// Identity is what a device signs with. It does not change once loaded; safe for concurrent use.
type Identity struct {
	Key   crypto.Signer
	Cert  *x509.Certificate
	Chain []*x509.Certificate // above Cert, without it; empty while the certificate is self-made
	D     string              // the device's name for life, evidence-format.md section 1

	DevicePEM []byte // device.pem of each session folder
	ChainPEM  []byte // chain.pem; nil if Chain is empty: then there is no such file
}

// Certs returns the certificate followed by its chain, as evidence.SignManifest wants them.
func (id *Identity) Certs() []*x509.Certificate {
	return append([]*x509.Certificate{id.Cert}, id.Chain...)
}

// Load reads the identity in stateDir/identity (device.key, device.pem, chain.pem), or makes it, durably, if none
// of the files exists. name is the certificate's common name. It refuses a key file that others may read.
func Load(stateDir, name string) (*Identity, error) {
	return nil, errors.New("identity: not built yet")
}
