package evidence

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
)

// SignedText is the text a signature is made over: a C2SP tlog-checkpoint without extension lines.
func SignedText(origin string, size int64, root Hash) []byte {
	return fmt.Appendf(nil, "%s\n%d\n%s\n", origin, size, root)
}

// Note returns the checkpoint as a signed note with exactly one signature line, sig as in a sign line.
// golang.org/x/mod/sumdb/note reads it, given a verifier of [VerifySig].
func Note(origin string, size int64, root Hash, sig string) string {
	return fmt.Sprintf("%s\n— %s %s\n", SignedText(origin, size, root), origin, sig)
}

// KeyID is the first 4 bytes of SHA-256 of the key's SubjectPublicKeyInfo.
func KeyID(spki []byte) [4]byte {
	d := sha256.Sum256(spki)
	return [4]byte(d[:4])
}

// VKey returns the verifier key string of C2SP signed-note with type 0x02 (ECDSA).
func VKey(origin string, spki []byte) string {
	id := KeyID(spki)
	return origin + "+" + hex.EncodeToString(id[:]) + "+" + base64.StdEncoding.EncodeToString(append([]byte{2}, spki...))
}

// DeviceID returns D, the name a device keeps for life: the hex of the first 16 bytes of SHA-256 of
// its first key's SubjectPublicKeyInfo.
func DeviceID(spki []byte) string {
	d := sha256.Sum256(spki)
	return hex.EncodeToString(d[:16])
}

// LedgerOrigin returns the origin of a device ledger.
func LedgerOrigin(device, generation string) string { return "minglu/" + device + "/" + generation }

// SessionOrigin returns the origin of a session log.
func SessionOrigin(device, generation, session string) string {
	return LedgerOrigin(device, generation) + "/" + session
}

// RecoveryOrigin returns the origin of recovery n of the session log with the given origin.
func RecoveryOrigin(sessionOrigin string, n int) string {
	return fmt.Sprintf("%s/r%d", sessionOrigin, n)
}

// Signer signs trees with the device key. Safe for concurrent use if its key is.
type Signer struct {
	key  crypto.Signer
	spki []byte
	id   [4]byte
}

// NewSigner takes an ECDSA P-256 key. It is given no randomness: a key in software
// (*ecdsa.PrivateKey) signs by RFC 6979, so that the same tree gives the same signature; any other
// must bring its own, as a TPM does.
func NewSigner(key crypto.Signer) (*Signer, error) {
	pub, ok := key.Public().(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, fmt.Errorf("signing key is %T, want ECDSA P-256", key.Public())
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return &Signer{key: key, spki: spki, id: KeyID(spki)}, nil
}

// Public returns the public key.
func (s *Signer) Public() *ecdsa.PublicKey { return s.key.Public().(*ecdsa.PublicKey) }

// SPKI returns the DER SubjectPublicKeyInfo; not to be changed.
func (s *Signer) SPKI() []byte { return s.spki }

// KeyID returns the key's id.
func (s *Signer) KeyID() [4]byte { return s.id }

// Sign returns the sig field for a tree: base64(key ID ‖ DER ECDSA-Sig-Value), s ≤ n/2.
func (s *Signer) Sign(origin string, size int64, root Hash) (string, error) {
	der, err := s.signDigest(sha256.Sum256(SignedText(origin, size, root)))
	if err != nil {
		return "", fmt.Errorf("sign %s at %d: %w", origin, size, err)
	}
	return base64.StdEncoding.EncodeToString(append(s.id[:], der...)), nil
}

// SignLine returns the sign line, without line feed, for the state of t.
func (s *Signer) SignLine(origin string, t *Tree) ([]byte, error) {
	root := t.Root()
	sig, err := s.Sign(origin, t.Size(), root)
	if err != nil {
		return nil, err
	}
	return MarshalLine(Sign{Type: "sign", Root: root.String(), Sig: sig, Size: t.Size()})
}

func (s *Signer) signDigest(digest [32]byte) ([]byte, error) {
	der, err := s.key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return lowS(der)
}

var (
	order     = elliptic.P256().Params().N
	halfOrder = new(big.Int).Rsh(order, 1)
)

// lowS replaces s by n-s where s > n/2: both verify, and only one is ours.
func lowS(der []byte) ([]byte, error) {
	r, s, err := parseSig(der)
	if err != nil {
		return nil, err
	}
	if s.Cmp(halfOrder) > 0 {
		s.Sub(order, s)
	}
	return marshalSig(r, s)
}

// parseSig reads an Ecdsa-Sig-Value (RFC 3279 2.2.3), marshalSig writes it. Who compares the two
// knows that the encoding is DER.
func parseSig(der []byte) (r, s *big.Int, err error) {
	var v struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &v)
	if err == nil && len(rest) > 0 {
		err = errors.New("bytes after the signature")
	}
	return v.R, v.S, err
}

func marshalSig(r, s *big.Int) ([]byte, error) {
	return asn1.Marshal(struct{ R, S *big.Int }{r, s})
}

// verifyDER checks a signature made by a [Signer]: DER without a spare byte, low-S, and valid.
func verifyDER(pub *ecdsa.PublicKey, digest [32]byte, der []byte) error {
	low, err := lowS(der)
	if err != nil || string(low) != string(der) {
		return errors.New("signature is not the one encoding this format allows (DER, s at most n/2)")
	}
	if !ecdsa.VerifyASN1(pub, digest[:], der) {
		return errors.New("signature does not hold")
	}
	return nil
}

// VerifySig checks the sig field of a sign line over a tree.
func VerifySig(pub *ecdsa.PublicKey, origin string, size int64, root Hash, sig string) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(sig)
	if err != nil || base64.StdEncoding.EncodeToString(raw) != sig || len(raw) < 4 {
		return errors.New("signature is not strict base64")
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return err
	}
	if KeyID(spki) != [4]byte(raw) {
		return fmt.Errorf("signature is by key %x, not by %x", raw[:4], KeyID(spki))
	}
	return verifyDER(pub, sha256.Sum256(SignedText(origin, size, root)), raw[4:])
}
