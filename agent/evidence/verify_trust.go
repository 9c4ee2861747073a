package evidence

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/emmansun/gmsm/smx509"
)

// Trust is what a verifier has from elsewhere: certification authorities, certificates of devices
// taken over by hand, time-stamping authorities, witnesses, appraisers, and revocation lists.
type Trust struct {
	Roots      []*x509.Certificate    // certification authorities
	Devices    []*x509.Certificate    // devices trusted without one
	Known      []*x509.Certificate    // devices whose keys are known, so that their ledgers can be read where no session is left; they vouch for nothing
	Revoked    []*x509.RevocationList // used only if an authority of Roots or TSA signed them
	TSA        []*x509.Certificate    // authorities over time-stamping authorities
	Witnesses  []Witness
	Appraisers []*x509.Certificate   // who may sign the appraisal before a destruction
	SM2        []*smx509.Certificate // authorities over the devices' SM2 certificates
}

// trustFolders are the folders of a trust folder, and how a file with one of the extensions is taken in.
var trustFolders = []struct {
	dir string
	ext []string
	add func(*Trust, []byte) error
}{
	{".", []string{".pem", ".crl"}, (*Trust).addAuthority},
	{"ca", []string{".pem", ".crl"}, (*Trust).addAuthority},
	{"devices", []string{".pem", ".crl"}, (*Trust).addAuthority},
	{"known", []string{".pem"}, func(t *Trust, b []byte) error {
		return eachPEM(b, func(c *x509.Certificate) { t.Known = append(t.Known, c) }, nil)
	}},
	{"tsa", []string{".pem", ".crl"}, func(t *Trust, b []byte) error {
		return eachPEM(b, func(c *x509.Certificate) { t.TSA = append(t.TSA, c) }, func(l *x509.RevocationList) { t.Revoked = append(t.Revoked, l) })
	}},
	{"appraisers", []string{".pem"}, func(t *Trust, b []byte) error {
		return eachPEM(b, func(c *x509.Certificate) { t.Appraisers = append(t.Appraisers, c) }, nil)
	}},
	{"witness", []string{".vkey"}, func(t *Trust, b []byte) error {
		w, err := ReadWitnesses(b)
		t.Witnesses = append(t.Witnesses, w...)
		return err
	}},
	{"sm2", []string{".pem"}, func(t *Trust, b []byte) error {
		certs, err := parseSM2Certs(b)
		t.SM2 = append(t.SM2, certs...)
		return err
	}},
}

// ReadTrust reads a trust folder: *.pem and *.crl in it and in its folders ca/ and devices/ (a
// certificate that may sign others is a root; any other is a device's own), tsa/*.pem and *.crl,
// witness/*.vkey, appraisers/*.pem, sm2/*.pem and known/*.pem. Other files and folders are left alone.
func ReadTrust(fsys fs.FS) (*Trust, error) {
	t := new(Trust)
	for _, f := range trustFolders {
		entries, err := fs.ReadDir(fsys, f.dir)
		if errors.Is(err, fs.ErrNotExist) && f.dir != "." {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("trust: %w", err)
		}
		for _, e := range entries {
			name := path.Join(f.dir, e.Name())
			if e.IsDir() || !slices.Contains(f.ext, path.Ext(name)) || litter(name) {
				continue
			}
			b, err := readLimited(fsys, name, 1<<20)
			if err == nil {
				if err = f.add(t, b); err == nil {
					continue
				}
				err = fmt.Errorf("%s: %w: remove the file or replace it by %s", name, err,
					map[bool]string{true: "one with a verifier key on each line", false: "a PEM certificate or revocation list"}[f.dir == "witness"])
			}
			return nil, fmt.Errorf("trust: %w", err)
		}
	}
	return t, nil
}

func (t *Trust) addAuthority(b []byte) error {
	return eachPEM(b, func(c *x509.Certificate) {
		if c.IsCA && c.BasicConstraintsValid {
			t.Roots = append(t.Roots, c)
		} else {
			t.Devices = append(t.Devices, c)
		}
	}, func(l *x509.RevocationList) { t.Revoked = append(t.Revoked, l) })
}

// eachPEM hands over the certificates and revocation lists of a PEM file; list nil takes none.
func eachPEM(b []byte, cert func(*x509.Certificate), list func(*x509.RevocationList)) error {
	found := false
	for {
		var block *pem.Block
		block, b = pem.Decode(b)
		if block == nil {
			break
		}
		found = true
		switch {
		case block.Type == "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return err
			}
			cert(c)
		case block.Type == "X509 CRL" && list != nil:
			l, err := x509.ParseRevocationList(block.Bytes)
			if err != nil {
				return err
			}
			list(l)
		default:
			return fmt.Errorf("PEM block %q has no place here", block.Type)
		}
	}
	if !found {
		return errors.New("no PEM block in it")
	}
	return nil
}

// anchor tells what vouches for the certificate at a time (step V18), or why nothing does. The
// chain's other certificates only help to reach a root.
func (t *Trust) anchor(certs []*x509.Certificate, at time.Time) (by string, err error) {
	leaf := certs[0]
	if t != nil && len(t.Roots)+len(t.Devices) == 0 {
		return "", errors.New("the trust folder holds no certificate, so nobody vouches for the device: put its certificate or that of its authority there, in PEM form and named *.pem")
	}
	if t == nil {
		return "", errors.New("no trust anchor was given, so nobody vouches for the device: give --trust a folder with its certificate or that of its authority")
	}
	for _, d := range t.Devices {
		if bytes.Equal(d.Raw, leaf.Raw) {
			return "the device's own certificate " + fingerprint(leaf), nil
		}
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, r := range t.Roots {
		// An authority below another of the folder is no anchor of its own: the one above may have revoked it.
		if slices.ContainsFunc(t.Roots, func(above *x509.Certificate) bool {
			return !bytes.Equal(above.Raw, r.Raw) && r.CheckSignatureFrom(above) == nil
		}) {
			between.AddCert(r)
		} else {
			roots.AddCert(r)
		}
	}
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}})
	if err != nil {
		return "", fmt.Errorf("none of the trust anchors given vouches for certificate %s: %w", fingerprint(leaf), err)
	}
	for _, chain := range chains {
		if err = t.revoked(chain, at); err == nil {
			return "authority " + chain[len(chain)-1].Subject.String(), nil
		}
	}
	return "", err
}

// revoked fails if a certificate of the chain was revoked by its issuer at or before a time.
func (t *Trust) revoked(chain []*x509.Certificate, at time.Time) error {
	for i, c := range chain[:len(chain)-1] {
		for _, l := range t.Revoked {
			if !bytes.Equal(l.RawIssuer, c.RawIssuer) || l.CheckSignatureFrom(chain[i+1]) != nil {
				continue
			}
			if slices.ContainsFunc(l.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
				return e.SerialNumber.Cmp(c.SerialNumber) == 0 && !e.RevocationTime.After(at)
			}) {
				return fmt.Errorf("certificate %s was revoked before %s", fingerprint(c), at.UTC().Format(time.RFC3339))
			}
		}
	}
	return nil
}

func fingerprint(c *x509.Certificate) string { return digestOf(c.Raw) }

func digestOf(b []byte) string {
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}

// deviceCertificate checks what a certificate must say to sign for device id (section 1, "certificate").
func deviceCertificate(c *x509.Certificate, id string) (*ecdsa.PublicKey, error) {
	pub, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, errors.New("its key is not ECDSA P-256")
	}
	if len(c.URIs) != 1 || c.URIs[0].String() != "minglu:"+id {
		return nil, fmt.Errorf("it is the certificate of %v, not of device minglu:%s: another device's key", c.URIs, id)
	}
	if c.KeyUsage != x509.KeyUsageDigitalSignature {
		return nil, errors.New("its key usage is not digitalSignature alone")
	}
	if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}) || len(c.UnknownExtKeyUsage) > 0 {
		return nil, errors.New("its extended key usage is not emailProtection alone")
	}
	// A self-made certificate has nobody to say that a second key took over the name of a first one.
	if bytes.Equal(c.RawIssuer, c.RawSubject) {
		if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
			return nil, fmt.Errorf("self-made, and its signature does not hold: %w", err)
		}
		if DeviceID(c.RawSubjectPublicKeyInfo) != id {
			return nil, fmt.Errorf("self-made with a key that device minglu:%s is not named after: another device's key", id)
		}
	}
	return pub, nil
}
