// Package identity keeps the key a device signs with for life, and its certificate.
//
// The key is ECDSA P-256 in a file of the state folder that only its owner may read. Until
// enrolment the certificate is self-made; a verifier believes it only when it is told to. A key is
// made once, when there is neither key nor certificate; a key file that cannot be used is an error
// that says what to do, never a reason to make a second key: the device would lose its name D.
//
// Anyone who can read the file can sign: the package guards against mistakes, not against root.
// The key's bytes appear in no error and no log.
package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// The files, in the folder "identity" of the state folder. ChainFile is there after enrolment only.
const (
	Folder    = "identity"
	KeyFile   = "device.key"
	CertFile  = "device.pem"
	ChainFile = "chain.pem"
)

// Identity is what a device signs with. It does not change once loaded; safe for concurrent use.
type Identity struct {
	Key   crypto.Signer
	Cert  *x509.Certificate
	Chain []*x509.Certificate // above Cert, without it; empty while the certificate is self-made
	D     string              // the device's name for life, evidence-format.md section 1
	Made  bool                // the key was made just now: this is a new device

	DevicePEM []byte // device.pem of each session folder
	ChainPEM  []byte // chain.pem; nil if Chain is empty: then there is no such file
}

// Certs returns the certificate followed by its chain, as evidence.SignManifest wants them.
func (id *Identity) Certs() []*x509.Certificate {
	return append([]*x509.Certificate{id.Cert}, id.Chain...)
}

// CertFiles returns the digests of the certificate files, as evidence.DeriveManifest wants them.
func (id *Identity) CertFiles() []evidence.FileDigest {
	files := []evidence.FileDigest{evidence.DigestFile(CertFile, id.DevicePEM)}
	if id.ChainPEM != nil {
		files = append(files, evidence.DigestFile(ChainFile, id.ChainPEM))
	}
	return files
}

// validName is the rule of the configuration's device.name, which becomes the common name.
var validName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// Load reads the identity in stateDir/identity, or makes it if neither key nor certificate is there;
// what it made is durable when it returns. A self-made certificate follows name, one from an office
// does not. Only one process at a time may call it on a folder.
func Load(stateDir, name string) (*Identity, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("identity: device name %q: want 1 to 64 of a-z, 0-9 and -", name)
	}
	dir := filepath.Join(stateDir, Folder)
	files := durable.In(filepath.Join(dir, "tmp"))
	if err := errors.Join(files.Mkdir(files.Tmp), files.Sweep()); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	key, made, err := loadKey(dir, files)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	id := &Identity{Key: key, Made: made}
	if err := id.loadCerts(dir, files, key, name); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return id, nil
}

// loadKey reads the key, or makes it.
func loadKey(dir string, files durable.Files) (key *ecdsa.PrivateKey, made bool, err error) {
	name := filepath.Join(dir, KeyFile)
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(filepath.Join(dir, CertFile)); err == nil {
			return nil, false, fmt.Errorf("%s is missing, but its certificate is there: put the key back from a backup, or remove %s too and be a new device from then on", name, CertFile)
		}
		key, err := makeKey(name, files)
		return key, true, err
	case err != nil:
		return nil, false, err
	case !info.Mode().IsRegular():
		return nil, false, fmt.Errorf("%s is no regular file: put the key there itself", name)
	case info.Mode().Perm()&0o077 != 0:
		return nil, false, fmt.Errorf("%s may be read or written by others (mode %#o): find out who did, then chmod 600 it", name, info.Mode().Perm())
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, false, err
	}
	if key, err = parseKey(b); err != nil {
		return nil, false, fmt.Errorf("%s: %w: put it back from a backup; a new key would make this another device", name, err)
	}
	return key, false, nil
}

// makeKey makes a key and returns it once it is durable: nothing may be signed before.
func makeKey(name string, files durable.Files) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	files.Perm = 0o600
	if err := files.Create(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return nil, err
	}
	return key, nil
}

func parseKey(b []byte) (*ecdsa.PrivateKey, error) {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		return nil, errors.New("is damaged: not one PEM block PRIVATE KEY")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("is damaged: not PKCS #8") // err might quote bytes of the key
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("holds no ECDSA P-256 key")
	}
	return key, nil
}
