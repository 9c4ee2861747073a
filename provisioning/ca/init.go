package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/emmansun/gmsm/pkcs"
	"github.com/emmansun/gmsm/pkcs8"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// MinPassphrase is the least length of the root's passphrase, in characters.
const MinPassphrase = 12

// kdfRounds is what a guess at the passphrase costs: PBKDF2-HMAC-SHA-256 as OWASP advises.
const kdfRounds = 600_000

// newSerial is 127 random bits: positive, and never the same twice (RFC 5280 4.1.2.2).
func newSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

// Init makes an authority in o.Dir, which must not hold one: all of it or, after a cut, nothing. body
// is whose it is. The root keys are encrypted with the passphrase into [RootKeyFile] (PKCS #8, PBES2);
// they are needed again only for another issuing authority, and are to be moved to a safe place.
func Init(o Options, body string, passphrase []byte) (*CA, error) {
	o.defaults()
	if utf8.RuneCount(passphrase) < MinPassphrase {
		return nil, fmt.Errorf("ca: init: the passphrase has fewer than %d characters: take a longer one", MinPassphrase)
	}
	if _, err := os.Lstat(o.Dir); err == nil {
		return nil, fmt.Errorf("ca: init: %s is there already: an authority is made once", o.Dir)
	}
	above := filepath.Dir(o.Dir)
	tmp, err := os.MkdirTemp(above, "ca-being-made-*") // 0700
	if err != nil {
		return nil, fmt.Errorf("ca: init: %w", err)
	}
	defer os.RemoveAll(tmp)
	m := &maker{o: o, dir: tmp, body: clip(body, 64), files: durable.Files{Tmp: filepath.Join(tmp, tmpFolder), Perm: 0o600}}
	if err := m.make(passphrase); err != nil {
		return nil, fmt.Errorf("ca: init: %w", err)
	}
	if err := (durable.Files{}).RenameNew(tmp, o.Dir); err != nil {
		return nil, fmt.Errorf("ca: init: %w", err)
	}
	return Open(o)
}

func clip(s string, runes int) string {
	if r := []rune(s); len(r) > runes {
		return string(r[:runes])
	}
	return s
}

type maker struct {
	o     Options
	dir   string
	body  string
	files durable.Files
}

func (m *maker) put(name, typ string, der []byte) error {
	return m.files.Create(filepath.Join(m.dir, name), pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
}

func (m *maker) make(passphrase []byte) error {
	if err := m.files.MkdirAll(m.files.Tmp); err != nil {
		return err
	}
	now := m.o.Now()
	template := func(cn string, path int, life time.Duration, serial *big.Int) *x509.Certificate {
		return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{Organization: []string{m.body}, CommonName: cn},
			NotBefore: now.Add(-skew), NotAfter: now.Add(life), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			BasicConstraintsValid: true, IsCA: true, MaxPathLen: path, MaxPathLenZero: path == 0}
	}
	// P-256
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tmpl := template("Minglu root CA", 1, RootFor, newSerial())
	rootDER, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, rootKey.Public(), rootKey)
	if err != nil {
		return err
	}
	root, err := x509.ParseCertificate(rootDER)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template("Minglu issuing CA 1", 0, IssuingFor, newSerial()), root, key.Public(), rootKey)
	if err != nil {
		return err
	}
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-skew), NextUpdate: now.Add(IssuingFor)}, root, rootKey)
	if err != nil {
		return err
	}
	// SM2
	sm2RootKey, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	sm2Key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	st := smTemplate(template("Minglu SM2 root CA", 1, RootFor, newSerial()))
	sm2RootDER, err := smx509.CreateCertificate(rand.Reader, st, st, sm2RootKey.Public(), sm2RootKey)
	if err != nil {
		return err
	}
	sm2Root, err := smx509.ParseCertificate(sm2RootDER)
	if err != nil {
		return err
	}
	sm2DER, err := smx509.CreateCertificate(rand.Reader, smTemplate(template("Minglu SM2 issuing CA 1", 0, IssuingFor, newSerial())), sm2Root, sm2Key.Public(), sm2RootKey)
	if err != nil {
		return err
	}
	sm2List, err := smx509.CreateRevocationList(rand.Reader, &smx509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-skew), NextUpdate: now.Add(IssuingFor)}, sm2Root, sm2RootKey)
	if err != nil {
		return err
	}
	if err := m.keys(passphrase, rootKey, sm2RootKey, key, sm2Key); err != nil {
		return err
	}
	for _, f := range []struct {
		name, typ string
		der       []byte
	}{{RootFile, "CERTIFICATE", rootDER}, {IssuingFile, "CERTIFICATE", der}, {rootCRLFile, "X509 CRL", list},
		{SM2RootFile, "CERTIFICATE", sm2RootDER}, {SM2File, "CERTIFICATE", sm2DER}, {sm2RootCRLFile, "X509 CRL", sm2List}} {
		if err := m.put(f.name, f.typ, f.der); err != nil {
			return err
		}
	}
	return m.log(root, key, &begun{V: 1, Root: b64(rootDER), Issuing: b64(der), SM2Root: b64(sm2RootDER), SM2Issuing: b64(sm2DER)})
}

func b64(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

// smTemplate is the same certificate for the national suite.
func smTemplate(t *x509.Certificate) *smx509.Certificate {
	s := smx509.Certificate{SerialNumber: t.SerialNumber, Subject: t.Subject, NotBefore: t.NotBefore, NotAfter: t.NotAfter, KeyUsage: smx509.KeyUsage(t.KeyUsage),
		BasicConstraintsValid: true, IsCA: t.IsCA, MaxPathLen: t.MaxPathLen, MaxPathLenZero: t.MaxPathLenZero, URIs: t.URIs, SignatureAlgorithm: smx509.SM2WithSM3}
	if len(t.ExtKeyUsage) > 0 {
		s.ExtKeyUsage = []smx509.ExtKeyUsage{smx509.ExtKeyUsageEmailProtection}
	}
	return &s
}

// keys writes both root keys encrypted, one after the other, and the issuing keys as they are.
func (m *maker) keys(passphrase []byte, rootKey, sm2RootKey, key, sm2Key crypto.Signer) error {
	lock := &pkcs8.Opts{Cipher: pkcs.AES256CBC, KDFOpts: pkcs.NewPBKDF2Opts(pkcs.SHA256, 16, kdfRounds)}
	var both []byte
	for _, k := range []crypto.Signer{rootKey, sm2RootKey} {
		der, err := pkcs8.MarshalPrivateKey(k, passphrase, lock)
		if err != nil {
			return errors.New("encrypt the root key") // the library's words might hold it
		}
		both = append(both, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})...)
	}
	if err := m.files.Create(filepath.Join(m.dir, RootKeyFile), both); err != nil {
		return err
	}
	for _, k := range []struct {
		name string
		key  crypto.Signer
	}{{issuingKeyFile, key}, {sm2KeyFile, sm2Key}} {
		der, err := smx509.MarshalPKCS8PrivateKey(k.key)
		if err != nil {
			return err
		}
		if err := m.put(k.name, "PRIVATE KEY", der); err != nil {
			return err
		}
	}
	return nil
}

// log writes the first lines.
func (m *maker) log(root *x509.Certificate, key crypto.Signer, first *begun) error {
	signer, err := evidence.NewSigner(key)
	if err != nil {
		return err
	}
	c := &CA{o: m.o, origin: Origin(root), signer: signer}
	b, err := c.lines(new(evidence.Tree), []any{first})
	if err != nil {
		return err
	}
	return m.files.Create(filepath.Join(m.dir, LogFile), b)
}
