// Package ca is the office's certification authority: a root whose key goes to a safe place, an
// issuing authority that works beside the office, and the same once more for the national suite (SM2).
//
// It guarantees: every certificate, revocation and revocation list is a line of the authority's own
// append-only log before anybody gets it, and each change ends in a signature over the whole log
// (docs/evidence-format.md section 1, origin minglu-ca/…), so that a second certificate of the same
// name cannot be made in silence once a checkpoint is outside (see [CA.Run]). What belongs together,
// the certificates of a device and the revocation of those they replace, is one change: after a cut
// there is all of it or nothing. A certificate is good only if this log holds its very bytes. Commands
// and a running office may use a folder at the same time: a change is found within a second.
//
// It does not guarantee anything against who can read the state folder: there lies the issuing key.
// That is why the root's key does not stay there.
//
// Use: [Init] once, then [Open]; [CA.IssueDevice], [CA.Revoke], [CA.Check] from anywhere.
package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// Lifetimes. A device renews at two thirds of each.
const (
	RootFor    = 20 * 365 * 24 * time.Hour
	IssuingFor = 10 * 365 * 24 * time.Hour
	SignFor    = 3 * 365 * 24 * time.Hour // a device's signing certificates, SM2 too
	TLSFor     = 365 * 24 * time.Hour     // for TLS, devices and office
	CRLFor     = 7 * 24 * time.Hour       // a revocation list; it is made anew at half of it
	skew       = 5 * time.Minute          // a certificate holds from so long before it was made: clocks differ
)

// Files of the authority's folder.
const (
	RootKeyFile = "root.key"     // encrypted, both roots; to be moved away
	RootFile    = "root.pem"     // P-256
	IssuingFile = "issuing.pem"  // P-256, by the root
	SM2RootFile = "sm2-root.pem" // the same in SM2
	SM2File     = "sm2-issuing.pem"
	CRLFile     = "ca.crl" // lists of issuing and root authority, PEM
	SM2CRLFile  = "sm2-ca.crl"
	LogFile     = "log.jsonl"

	issuingKeyFile = "issuing.key"
	sm2KeyFile     = "sm2-issuing.key"
	serverKeyFile  = "server.key"
	rootCRLFile    = "root.crl"
	sm2RootCRLFile = "sm2-root.crl"
	lockFile       = "lock"
	tokensFolder   = "tokens"
	tmpFolder      = "tmp"
)

// ErrNone means that there is no authority in the folder yet.
var ErrNone = errors.New("there is no certification authority yet: run minglu-provisioning ca init --config office.yaml")

// ErrDamaged means that bytes in the middle of the log are not what was signed. Nothing is issued or revoked then.
var ErrDamaged = errors.New("the authority's log is damaged, and nothing is issued or revoked until it is whole again")

// Options of [Init] and [Open].
type Options struct {
	Dir string           // the authority's folder
	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: none
}

func (o *Options) defaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// CA is an open authority. Safe for concurrent use, also by other processes on the same folder.
type CA struct {
	o          Options
	files      durable.Files
	root       *x509.Certificate
	issuing    *x509.Certificate
	key        crypto.Signer
	sm2Root    *smx509.Certificate
	sm2Issuing *smx509.Certificate
	sm2Key     *sm2.PrivateKey
	signer     *evidence.Signer
	origin     string

	mu     sync.Mutex // guards what follows
	s      *state
	looked time.Time
	server *serverCert
	broken error // of type ErrDamaged: s holds what can still be read
}

// Open reads the authority. It returns ErrNone if there is none. One whose log is damaged opens all the same:
// it judges certificates by all that can still be read, and answers everything else with [ErrDamaged]
// until the log is put back.
func Open(o Options) (*CA, error) {
	o.defaults()
	c := &CA{o: o, files: durable.Files{Tmp: filepath.Join(o.Dir, tmpFolder), Perm: 0o600}}
	if _, err := os.Stat(filepath.Join(o.Dir, IssuingFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	err := c.load()
	if err == nil {
		c.s = newState(c.origin)
		if err = c.change(func() error { return nil }); errors.Is(err, ErrDamaged) {
			o.Log.Error("ca: nothing is issued or revoked until this is mended", "err", err)
			err = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	return c, nil
}

func (c *CA) load() (err error) {
	if c.root, err = c.readCert(RootFile); err != nil {
		return err
	}
	if c.issuing, err = c.readCert(IssuingFile); err != nil {
		return err
	}
	if c.sm2Root, err = c.readSM2Cert(SM2RootFile); err != nil {
		return err
	}
	if c.sm2Issuing, err = c.readSM2Cert(SM2File); err != nil {
		return err
	}
	key, err := readKey(filepath.Join(c.o.Dir, issuingKeyFile))
	if err != nil {
		return err
	}
	p256, ok := key.(*ecdsa.PrivateKey)
	if !ok || !p256.PublicKey.Equal(c.issuing.PublicKey) {
		return fmt.Errorf("%s is not the key of %s: put the one back from the backup", issuingKeyFile, IssuingFile)
	}
	c.key = p256
	if key, err = readKey(filepath.Join(c.o.Dir, sm2KeyFile)); err != nil {
		return err
	}
	if c.sm2Key, ok = key.(*sm2.PrivateKey); !ok || !c.sm2Key.PublicKey.Equal(c.sm2Issuing.PublicKey) {
		return fmt.Errorf("%s is not the key of %s: put the one back from the backup", sm2KeyFile, SM2File)
	}
	if err := c.issuing.CheckSignatureFrom(c.root); err != nil {
		return fmt.Errorf("%s is not by %s: %w", IssuingFile, RootFile, err)
	}
	c.origin = Origin(c.root)
	c.signer, err = evidence.NewSigner(c.key)
	return err
}

// Origin returns the origin of the log of the authority with this root.
func Origin(root *x509.Certificate) string {
	return "minglu-ca/" + evidence.DeviceID(root.RawSubjectPublicKeyInfo)
}

func (c *CA) readCert(name string) (*x509.Certificate, error) {
	b, err := os.ReadFile(filepath.Join(c.o.Dir, name))
	if err != nil {
		return nil, err
	}
	certs, err := evidence.CertsPEM(b)
	if err != nil || len(certs) != 1 {
		return nil, fmt.Errorf("%s: want one certificate: %w", name, err)
	}
	return certs[0], nil
}

func (c *CA) readSM2Cert(name string) (*smx509.Certificate, error) {
	b, err := os.ReadFile(filepath.Join(c.o.Dir, name))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM certificate", name)
	}
	cert, err := smx509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return cert, nil
}

// readKey reads a key that only its owner may read. The error holds nothing of it.
func readKey(name string) (any, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read or written by others (mode %#o): find out who did, then chmod 600 it", name, info.Mode().Perm())
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s is damaged: put it back from the backup", name)
	}
	key, err := smx509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: put it back from the backup", name)
	}
	return key, nil
}

// change holds the folder's lock, brings the state up to date and lets do go on from there.
func (c *CA) change(do func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	lock, err := os.OpenFile(filepath.Join(c.o.Dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // and with it the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if err := errors.Join(c.files.MkdirAll(c.files.Tmp), c.files.Sweep()); err != nil {
		return err
	}
	known := c.s
	if c.broken != nil { // has it been put back?
		c.s = newState(c.origin)
	}
	err = c.follow(true)
	if errors.Is(err, ErrDamaged) && c.broken == nil {
		c.salvage()
	} else if err != nil && c.broken != nil {
		c.s = known
	}
	if err != nil {
		if errors.Is(err, ErrDamaged) {
			c.broken = err
		}
		return err
	}
	c.broken = nil
	return do()
}

// current is the state, at most a second old. The caller does not change it, and holds mu.
func (c *CA) current() *state {
	if now := time.Now(); now.Sub(c.looked) >= time.Second && c.broken == nil {
		c.looked = now
		if err := c.follow(false); err != nil {
			c.o.Log.Error("ca: what was known is kept", "err", err)
		}
	}
	return c.s
}

// Root, Issuing, SM2Root and SM2Issuing are the authority's certificates.
func (c *CA) Root() *x509.Certificate { return c.root }

// Issuing is by Root and issues.
func (c *CA) Issuing() *x509.Certificate { return c.issuing }

// SM2Root is the root of the national suite.
func (c *CA) SM2Root() *smx509.Certificate { return c.sm2Root }

// SM2Issuing is by SM2Root and issues.
func (c *CA) SM2Issuing() *smx509.Certificate { return c.sm2Issuing }

// Entries lists every certificate ever issued, oldest first.
func (c *CA) Entries() []Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.current()
	out := make([]Entry, len(s.entries))
	for i, e := range s.entries {
		out[i] = *e
	}
	return out
}

// Names lists the devices that hold a certificate now, sorted by when they first did.
func (c *CA) Names() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, now := c.current(), c.o.Now()
	seen := map[string]bool{}
	for _, e := range s.entries {
		if e.Kind == KindTLS && e.good(now) && !seen[e.Name] {
			seen[e.Name] = true
			names = append(names, e.Name)
		}
	}
	return names
}

// Checkpoint is the newest signed state of the log, as a note.
func (c *CA) Checkpoint() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.current()
	return evidence.Note(c.origin, s.signed.size, s.signed.root, s.signed.sig)
}

// Fingerprint is the SHA-256 of the root certificate, hex.
func Fingerprint(root *x509.Certificate) string {
	d := sha256.Sum256(root.Raw)
	return hex.EncodeToString(d[:])
}
