package evidence

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
)

// A device whose key is slow (a TPM) signs a software key for each session; the session log's sign
// lines are then by that key, everything else by the device's. Evidence-format.md section 1 "session key".

// sessionKeyText is what the device signs.
func sessionKeyText(origin, skey string) []byte {
	return []byte("minglu session key v1\n" + origin + "\n" + skey + "\n")
}

// CertifySessionKey returns the fields skey and skey_sig of `open` for the session with this origin: the
// session key's public part, and the device's signature over it.
func (s *Signer) CertifySessionKey(origin string, session *ecdsa.PublicKey) (skey, sig string, err error) {
	spki, err := x509.MarshalPKIXPublicKey(session)
	if err != nil || session.Curve != elliptic.P256() {
		return "", "", errors.New("session key: want ECDSA P-256")
	}
	skey = base64.StdEncoding.EncodeToString(spki)
	der, err := s.signDigest(sha256.Sum256(sessionKeyText(origin, skey)))
	if err != nil {
		return "", "", fmt.Errorf("session key: %w", err)
	}
	return skey, base64.StdEncoding.EncodeToString(der), nil
}

// LogKey returns the key that signs the session log: the device's, or the session key that the device
// certified in this line. Recovery files, the ledger and the manifest are always by the device's.
func (o *Open) LogKey(device *ecdsa.PublicKey) (*ecdsa.PublicKey, error) {
	if o.SKey == "" && o.SKeySig == "" {
		return device, nil
	}
	spki, err := strictBase64(o.SKey)
	if err != nil {
		return nil, fmt.Errorf("session key: %w", err)
	}
	key, err := publicSPKI(spki)
	if err != nil {
		return nil, fmt.Errorf("session key: %w", err)
	}
	der, err := strictBase64(o.SKeySig)
	if err != nil {
		return nil, fmt.Errorf("session key: signature: %w", err)
	}
	if err := verifyDER(device, sha256.Sum256(sessionKeyText(o.Origin, o.SKey)), der); err != nil {
		return nil, fmt.Errorf("session key: not certified by the device: %w", err)
	}
	return key, nil
}

// publicSPKI reads a DER SubjectPublicKeyInfo of a P-256 key, in its one encoding.
func publicSPKI(spki []byte) (*ecdsa.PublicKey, error) {
	v, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, err
	}
	key, ok := v.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("not an ECDSA P-256 key")
	}
	if again, err := x509.MarshalPKIXPublicKey(key); err != nil || string(again) != string(spki) {
		return nil, errors.New("not the one encoding of a P-256 key")
	}
	return key, nil
}
