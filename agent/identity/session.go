package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"minglu/agent/evidence"
)

// SessionKey signs the log of one session. Safe for concurrent use.
type SessionKey struct {
	*evidence.Signer
	SKey, SKeySig string // fields of the `open` line; "" where the device's own key signs
	once          *onceKey
}

// SessionSigner gives what signs the log of a session with this origin. A key in a file signs itself. In
// place of a key in a TPM, which may take 50 ms for a signature, it is a key made for this session and
// certified by the TPM now (one signature): it never leaves memory. Erase it once the session is sealed.
func (id *Identity) SessionSigner(origin string) (*SessionKey, error) {
	device, err := evidence.NewSigner(id.Key)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if !id.TPM {
		return &SessionKey{Signer: device}, nil
	}
	return certify(device, origin)
}

func certify(device *evidence.Signer, origin string) (*SessionKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("identity: session key: %w", err)
	}
	once := &onceKey{pub: &key.PublicKey}
	once.key.Store(key)
	s := &SessionKey{once: once}
	if s.Signer, err = evidence.NewSigner(once); err != nil {
		return nil, fmt.Errorf("identity: session key: %w", err)
	}
	if s.SKey, s.SKeySig, err = device.CertifySessionKey(origin, once.pub); err != nil {
		return nil, fmt.Errorf("identity: session key: %w", err)
	}
	return s, nil
}

// Erase forgets the session's own key; it signs nothing any more. A device's key stays.
func (s *SessionKey) Erase() {
	if s.once != nil {
		s.once.key.Store(nil)
	}
}

// onceKey is a key that can be forgotten.
type onceKey struct {
	pub *ecdsa.PublicKey
	key atomic.Pointer[ecdsa.PrivateKey]
}

var errErased = errors.New("identity: the session's key was erased at its seal")

func (k *onceKey) Public() crypto.PublicKey { return k.pub }

func (k *onceKey) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	key := k.key.Load()
	if key == nil {
		return nil, errErased
	}
	return key.Sign(r, digest, opts)
}
