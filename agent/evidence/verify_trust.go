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
)

// Trust is what a verifier has from elsewhere: certification authorities, certificates of devices
// taken over by hand, and revocation lists.
type Trust struct {
	Roots   []*x509.Certificate    // certification authorities
	Devices []*x509.Certificate    // devices trusted without one
	Revoked []*x509.RevocationList // used only if one of Roots signed them
}

// ReadTrust reads a trust folder: every *.pem and *.crl in it and in its folders ca/ and devices/. A
// certificate that may sign others is a root; any other is a device's own. Other folders belong to
// outside proofs (tsa/, witness/, appraisers/) and are not read here.
func ReadTrust(fsys fs.FS) (*Trust, error) {
	t := new(Trust)
	for _, dir := range []string{".", "ca", "devices"} {
		entries, err := fs.ReadDir(fsys, dir)
		if errors.Is(err, fs.ErrNotExist) && dir != "." {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("trust: %w", err)
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			if ext := path.Ext(name); e.IsDir() || ext != ".pem" && ext != ".crl" {
				continue
			}
			b, err := readLimited(fsys, name, 1<<20)
			if err != nil {
				return nil, fmt.Errorf("trust: %w", err)
			}
			if err := t.add(b); err != nil {
				return nil, fmt.Errorf("trust: %s: %w: remove the file or replace it by a PEM certificate or revocation list", name, err)
			}
		}
	}
	return t, nil
}

func (t *Trust) add(b []byte) error {
	found := false
	for {
		var block *pem.Block
		block, b = pem.Decode(b)
		if block == nil {
			break
		}
		found = true
		switch block.Type {
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return err
			}
			if c.IsCA && c.BasicConstraintsValid {
				t.Roots = append(t.Roots, c)
			} else {
				t.Devices = append(t.Devices, c)
			}
		case "X509 CRL":
			l, err := x509.ParseRevocationList(block.Bytes)
			if err != nil {
				return err
			}
			t.Revoked = append(t.Revoked, l)
		default:
			return fmt.Errorf("PEM block %q is neither a certificate nor a revocation list", block.Type)
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
		roots.AddCert(r)
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
				return fmt.Errorf("certificate %s was revoked before the session ended", fingerprint(c))
			}
		}
	}
	return nil
}

func fingerprint(c *x509.Certificate) string {
	d := sha256.Sum256(c.Raw)
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
