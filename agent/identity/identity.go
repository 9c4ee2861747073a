// Package identity keeps what a device is: the key it signs with, its certificates, and its enrolment
// with an office.
//
// The signing key is ECDSA P-256, in a file of the state folder that only its owner may read or in a
// TPM 2.0. Until enrolment the certificate is self-made; a verifier believes it only when it is told
// to. A key is made once, when there is neither key nor certificate; a key that cannot be used is an
// error that says what to do, never a reason to make a second key: the device would lose its name D.
// On another board than before it is another device: a new key is made and the old folder kept beside.
//
// [Enrol] gets certificates from the office by a one-time code that also proves the office to the
// device. One rename commits all of it ([EnrolmentFile]): after a cut there is all or nothing, and the
// same code asks again. A [Keeper] renews them and tells how the device stands.
//
// Anyone who can read the file can sign: the package guards against mistakes, not against root. A TPM
// keeps the key from being copied, not from being used. The keys' bytes appear in no error and no log.
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

	"github.com/emmansun/gmsm/sm2"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// The files, in the folder "identity" of the state folder. ChainFile and those after it are there
// after enrolment only, and follow EnrolmentFile.
const (
	Folder        = "identity"
	KeyFile       = "device.key"
	TPMFile       = "device.tpm" // in place of KeyFile: where in the TPM the key is
	CertFile      = "device.pem"
	TLSKeyFile    = "tls.key"
	SM2KeyFile    = "sm2.key"
	EnrolmentFile = "enrolment.json"
	ChainFile     = "chain.pem"
	TLSFile       = "tls.pem"
	RootFile      = "root.pem"
	SM2File       = "sm2.pem"

	boardFile = "board.json"
	bootFile  = "boot.json"
)

// Options of [Open].
type Options struct {
	State string        // state folder; the identity is in State/identity
	Name  string        // device.name
	TPM   string        // device of the TPM such as /dev/tpmrm0, or a socket; "": the key is in a file
	Board string        // serial of the board, "" if it tells none
	Layer durable.Layer // nil: the operating system
}

// Identity is what a device signs with. It does not change once opened; safe for concurrent use.
type Identity struct {
	Key   crypto.Signer
	Cert  *x509.Certificate
	Chain []*x509.Certificate // above Cert, without it; empty while the certificate is self-made
	D     string              // the device's name for life, evidence-format.md section 1
	Made  bool                // the key was made just now: this is a new device
	TPM   bool                // Key is in a TPM: each signature takes long

	DevicePEM []byte // device.pem of each session folder
	ChainPEM  []byte // chain.pem; nil if Chain is empty: then there is no such file
	SM2PEM    []byte // sm2.pem: the SM2 certificate and those between it and its root; nil without one

	// Earlier are the keys of before a rotation: what they signed stays signed.
	Earlier []*ecdsa.PublicKey
	Office  *Office // where the device is enrolled; nil: nowhere
	Before  *Before // the device of another board whose state this was until now; nil mostly

	sm2Key  *sm2.PrivateKey
	tpm     *tpmDevice
	dir     string
	keyFile string // KeyFile, or that of a rotation
	files   durable.Files
}

// Before is a device that is no more: its state came to another board.
type Before struct {
	D      string
	Public *ecdsa.PublicKey
	Folder string // where its identity is kept
}

// Close ends what serves the TPM. Nothing can be signed with a key in it afterwards.
func (id *Identity) Close() error {
	if id == nil || id.tpm == nil {
		return nil
	}
	return id.tpm.Close()
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

// Load is [Open] with the key in a file, on a board without a serial.
func Load(stateDir, name string) (*Identity, error) {
	return Open(Options{State: stateDir, Name: name})
}

// Open reads the identity, or makes it if neither key nor certificate is there; what it made is
// durable when it returns. A self-made certificate follows Name, one from an office does not. Only one
// process at a time may call it on a folder. Close it.
func Open(o Options) (*Identity, error) {
	if !validName.MatchString(o.Name) {
		return nil, fmt.Errorf("identity: device name %q: want 1 to 64 of a-z, 0-9 and -", o.Name)
	}
	id := &Identity{dir: filepath.Join(o.State, Folder)}
	id.files = durable.Files{Layer: o.Layer, Tmp: filepath.Join(id.dir, "tmp")}
	err := id.open(&o)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", errors.Join(err, id.Close()))
	}
	return id, nil
}

func (id *Identity) open(o *Options) (err error) {
	if id.Before, err = id.leaveBoard(o.Board); err != nil {
		return err
	}
	if err := errors.Join(id.files.MkdirAll(id.files.Tmp), id.files.Sweep()); err != nil {
		return err
	}
	if err := id.keepBoard(o.Board); err != nil {
		return err
	}
	enrolled, err := id.settle()
	if err != nil {
		return err
	}
	id.keyFile = enrolled.keyFile()
	if err := id.openKey(o); err != nil {
		return err
	}
	if err := id.loadCerts(o.Name); err != nil {
		return err
	}
	return id.loadOffice(enrolled)
}

// openKey opens the key where it is, or makes it where it is to be.
func (id *Identity) openKey(o *Options) error {
	_, err := os.Lstat(filepath.Join(id.dir, TPMFile))
	inTPM := err == nil
	_, err = os.Lstat(filepath.Join(id.dir, id.keyFile))
	inFile := err == nil
	switch {
	case inTPM && o.TPM == "":
		return fmt.Errorf("the device's key is in a TPM, but identity.tpm is not set: name the TPM in agent.yaml, such as /dev/tpmrm0")
	case inFile && o.TPM != "":
		return fmt.Errorf("the device's key is in %s, not in the TPM: take identity.tpm out of agent.yaml, or move %s away and be a new device from then on", filepath.Join(id.dir, id.keyFile), id.dir)
	case o.TPM != "":
		return id.openTPMKey(o.TPM, inTPM)
	}
	key, made, err := loadKey(id.dir, id.keyFile, id.files)
	if err != nil {
		return err
	}
	id.Key, id.Made = key, made
	return nil
}

// loadKey reads the device's key, or makes it.
func loadKey(dir, file string, files durable.Files) (key *ecdsa.PrivateKey, made bool, err error) {
	name := filepath.Join(dir, file)
	b, err := readSecret(name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(filepath.Join(dir, CertFile)); err == nil {
			return nil, false, fmt.Errorf("%s is missing, but its certificate is there: put the key back from a backup, or remove %s too and be a new device from then on", name, CertFile)
		}
		key, err := makeKey(name, files)
		return key, true, err
	}
	if err != nil {
		return nil, false, err
	}
	if key, err = parseKey(b); err != nil {
		return nil, false, fmt.Errorf("%s: %w: put it back from a backup; a new key would make this another device", name, err)
	}
	return key, false, nil
}

// readSecret reads a file that only its owner may read.
func readSecret(name string) ([]byte, error) {
	info, err := os.Lstat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file: put the key there itself", name)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s may be read or written by others (mode %#o): find out who did, then chmod 600 it", name, info.Mode().Perm())
	}
	return os.ReadFile(name)
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
	return key, putSecret(files, name, der)
}

// putSecret writes a key that is not there yet.
func putSecret(files durable.Files, name string, der []byte) error {
	files.Perm = 0o600
	return files.Create(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func keyBlock(b []byte) ([]byte, error) {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		return nil, errors.New("is damaged: not one PEM block PRIVATE KEY")
	}
	return block.Bytes, nil
}

func parseKey(b []byte) (*ecdsa.PrivateKey, error) {
	der, err := keyBlock(b)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("is damaged: not PKCS #8") // err might quote bytes of the key
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("holds no ECDSA P-256 key")
	}
	return key, nil
}
