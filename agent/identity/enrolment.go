package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/emmansun/gmsm/smx509"

	"minglu/agent/evidence"
	"minglu/agent/report"
)

// Office is where a device is enrolled.
type Office struct {
	API  string          // host:port of its device API
	MQTT string          // port of its broker over TLS, host:port where that is elsewhere, "" if it has none
	Name string          // common name of the certificates
	TLS  tls.Certificate // the device's, for the office
	Root *x509.Certificate
	Ref  string // of the code the device was enrolled with
	Key  string // file of the signing key, in Folder; not where a TPM has it

	sign *x509.Certificate
	sm2  *smx509.Certificate
}

// enrolment is enrolment.json: replacing it is the one step that changes what a device is enrolled as.
type enrolment struct {
	V      int             `json:"v"` // 1
	Office string          `json:"office"`
	Ref    string          `json:"ref"`
	Reply  report.Enrolled `json:"reply"`
	Key    string          `json:"key,omitempty"` // file of the signing key; "": KeyFile
	// Earlier are the public keys of before, oldest first, as DER.
	Earlier [][]byte `json:"earlier,omitempty"`
}

// keyFile is where the signing key is.
func (e *enrolment) keyFile() string {
	if e == nil || e.Key == "" {
		return KeyFile
	}
	return e.Key
}

func publicOf(c *x509.Certificate) (*ecdsa.PublicKey, error) {
	pub, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, errors.New("its key is not ECDSA P-256")
	}
	return pub, nil
}

// commit makes an enrolment the one in force, durably.
func (id *Identity) commit(e *enrolment) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := id.files.Replace(filepath.Join(id.dir, EnrolmentFile), b); err != nil {
		return err
	}
	_, err = id.settle()
	return err
}

// enrolment reads enrolment.json, nil if there is none.
func (id *Identity) enrolment() (*enrolment, error) {
	name := filepath.Join(id.dir, EnrolmentFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	e := new(enrolment)
	if err == nil {
		err = json.Unmarshal(b, e)
	}
	if err == nil && e.Key != "" && !rotatedKey.MatchString(e.Key) {
		err = errors.New("it names no key file")
	}
	if err == nil && e.V != 1 {
		err = fmt.Errorf("version %d, this program reads 1", e.V)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: put it back from a backup, or remove it and enrol again", name, err)
	}
	return e, nil
}

// Enrolled reads where the device of a state folder is enrolled, nil if nowhere. It changes nothing, and may be
// called beside a running agent.
func Enrolled(state string) (*Office, error) {
	id := &Identity{dir: filepath.Join(state, Folder)}
	e, err := id.enrolment()
	if err == nil && e != nil {
		if id.Cert, err = x509.ParseCertificate(e.Reply.Sign); err != nil {
			err = fmt.Errorf("%s: %w: enrol again", EnrolmentFile, err)
		} else {
			err = id.loadOffice(e)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return id.Office, nil
}

// Standing asks the office how it sees the device's certificate. It blocks for 20 s at most.
func (o *Office) Standing(ctx context.Context, now func() time.Time) (st report.Standing, err error) {
	err = call(ctx, o.API, o.ClientTLS(now), http.MethodGet, report.PathStatus, nil, &st)
	return st, err
}

// settle makes the certificate files follow enrolment.json, if there is one.
func (id *Identity) settle() (*enrolment, error) {
	e, err := id.enrolment()
	if e == nil || err != nil {
		return nil, err
	}
	block := func(ders ...[]byte) []byte {
		var b bytes.Buffer
		for _, der := range ders {
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // to memory
		}
		return b.Bytes()
	}
	r := &e.Reply
	files := map[string][]byte{CertFile: block(r.Sign), ChainFile: block(r.Chain...), TLSFile: block(append([][]byte{r.TLS}, r.Chain...)...), RootFile: block(r.Root)}
	if r.SM2 != nil {
		files[SM2File] = block(sm2Files(r)...)
	}
	for name, want := range files {
		if have, err := os.ReadFile(filepath.Join(id.dir, name)); err == nil && bytes.Equal(have, want) {
			continue
		}
		if err := id.files.Replace(filepath.Join(id.dir, name), want); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// sm2Files are the certificates of sm2.pem: the device's and those between it and the root.
func sm2Files(r *report.Enrolled) [][]byte {
	chain := r.SM2Chain
	if len(chain) > 0 {
		chain = chain[:len(chain)-1]
	}
	return append([][]byte{r.SM2}, chain...)
}

// loadOffice reads the keys and certificates towards the office.
func (id *Identity) loadOffice(e *enrolment) error {
	if e == nil {
		return nil
	}
	for _, spki := range e.Earlier {
		pub, err := x509.ParsePKIXPublicKey(spki)
		key, ok := pub.(*ecdsa.PublicKey)
		if err != nil || !ok {
			return fmt.Errorf("%s: an earlier key cannot be read: put the file back from a backup", EnrolmentFile)
		}
		id.Earlier = append(id.Earlier, key)
	}
	b, err := readSecret(filepath.Join(id.dir, TLSKeyFile))
	if err != nil {
		return err
	}
	key, err := parseKey(b)
	if err != nil {
		return fmt.Errorf("%s: %w: remove it and %s, and enrol again", TLSKeyFile, err, EnrolmentFile)
	}
	if id.sm2Key, err = loadSM2(id.dir); err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(e.Reply.TLS)
	if err == nil && !key.PublicKey.Equal(leaf.PublicKey) {
		err = errors.New("is of another key")
	}
	if err != nil {
		return fmt.Errorf("%s: %w: enrol again", TLSFile, err)
	}
	root, err := x509.ParseCertificate(e.Reply.Root)
	if err != nil {
		return fmt.Errorf("%s: %w: enrol again", RootFile, err)
	}
	id.Office = &Office{API: e.Office, MQTT: e.Reply.MQTT, Name: e.Reply.Name, Root: root, Ref: e.Ref, Key: e.keyFile(), sign: id.Cert,
		TLS: tls.Certificate{Certificate: append([][]byte{leaf.Raw}, e.Reply.Chain...), PrivateKey: key, Leaf: leaf}}
	if e.Reply.SM2 == nil {
		return nil
	}
	if id.Office.sm2, err = smx509.ParseCertificate(e.Reply.SM2); err != nil {
		return fmt.Errorf("%s: %w: enrol again", SM2File, err)
	}
	if id.sm2Key == nil || !id.sm2Key.PublicKey.Equal(id.Office.sm2.PublicKey) {
		return fmt.Errorf("%s is not the key of %s: put it back from a backup, or enrol again", SM2KeyFile, SM2File)
	}
	id.SM2PEM, err = os.ReadFile(filepath.Join(id.dir, SM2File))
	return err
}

// RenewAt is when the first of the certificates has two thirds of its life behind it.
func (o *Office) RenewAt() time.Time {
	at := func(from, until time.Time) time.Time { return from.Add(until.Sub(from) * 2 / 3) }
	first := at(o.TLS.Leaf.NotBefore, o.TLS.Leaf.NotAfter)
	if t := at(o.sign.NotBefore, o.sign.NotAfter); t.Before(first) {
		first = t
	}
	if o.sm2 != nil {
		if t := at(o.sm2.NotBefore, o.sm2.NotAfter); t.Before(first) {
			first = t
		}
	}
	return first
}

// EndsAt is when the first of the certificates ends.
func (o *Office) EndsAt() time.Time {
	end := o.TLS.Leaf.NotAfter
	if o.sign.NotAfter.Before(end) {
		end = o.sign.NotAfter
	}
	return end
}

// check judges the office's answer: each certificate is of our key, by the root, for our name and use.
func (id *Identity) check(e *report.Enrolled, name string, keys *keys, root *x509.Certificate, at time.Time) error {
	if !bytes.Equal(e.Root, root.Raw) || e.Name != name {
		return errors.New("the answer is of another root or for another name")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	for _, der := range e.Chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		between.AddCert(c)
	}
	for _, want := range []struct {
		what string
		der  []byte
		pub  *ecdsa.PublicKey
		eku  x509.ExtKeyUsage
	}{{"signing", e.Sign, id.Key.Public().(*ecdsa.PublicKey), x509.ExtKeyUsageEmailProtection}, {"TLS", e.TLS, &keys.tls.PublicKey, x509.ExtKeyUsageClientAuth}} {
		c, err := x509.ParseCertificate(want.der)
		if err == nil {
			_, err = c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: later(at, c.NotBefore), KeyUsages: []x509.ExtKeyUsage{want.eku}})
		}
		if err == nil && !want.pub.Equal(c.PublicKey) {
			err = errors.New("is of another key")
		}
		if err == nil && c.Subject.CommonName != name {
			err = fmt.Errorf("is for %q", c.Subject.CommonName)
		}
		d := ""
		if err == nil {
			d, err = evidence.CertDevice(c)
		}
		if err == nil && (d != e.Device || d != id.D) {
			err = errors.New("is of another device")
		}
		if err != nil {
			return fmt.Errorf("the certificate for %s: %w", want.what, err)
		}
	}
	if e.SM2 == nil {
		return nil
	}
	c, err := smx509.ParseCertificate(e.SM2)
	if err == nil && (keys.sm2 == nil || !keys.sm2.PublicKey.Equal(c.PublicKey)) {
		err = errors.New("is of another key")
	}
	if err == nil {
		var file bytes.Buffer
		for _, der := range sm2Files(e) {
			_ = pem.Encode(&file, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // to memory
		}
		_, err = evidence.SM2CertsPEM(file.Bytes())
	}
	if err != nil {
		return fmt.Errorf("the certificate for SM2: %w", err)
	}
	return nil
}

// later lets a board whose clock is behind use a certificate that was made just now.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
