package evidence

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"testing"
	"time"
)

var testTime = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)

// testCert returns a certificate of test key n, self-made if issuer is nil, else by test key 9.
func testCert(t testing.TB, n int, issuer *x509.Certificate, edit func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(int64(n) + 200), Subject: pkix.Name{CommonName: "room-3"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		URIs: []*url.URL{{Scheme: "minglu", Opaque: DeviceID(testSigner(t, n).SPKI())}}, BasicConstraintsValid: true,
	}
	if edit != nil {
		edit(tmpl)
	}
	parent, signer := tmpl, testKey(t, n)
	if issuer != nil {
		parent, signer = issuer, testKey(t, 9)
	}
	der, err := x509.CreateCertificate(nil, tmpl, parent, testKey(t, n).Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testCA(t testing.TB) *x509.Certificate {
	return testCert(t, 9, nil, func(c *x509.Certificate) {
		c.Subject.CommonName, c.URIs, c.IsCA = "office CA", nil, true
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageCertSign, nil
	})
}

func TestSignManifestByOpenSSL(t *testing.T) {
	manifest := []byte(`{"type":"manifest"}`)
	self, ca := testCert(t, 1, nil, nil), testCA(t)
	issued := testCert(t, 1, ca, nil)
	for _, tt := range []struct {
		name   string
		certs  []*x509.Certificate
		anchor *x509.Certificate
	}{
		{"self-made certificate", []*x509.Certificate{self}, self},
		{"certificate by a CA", []*x509.Certificate{issued}, ca},
		{"certificate with its chain", []*x509.Certificate{issued, ca}, ca},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p7s, err := SignManifest(manifest, tt.certs, testKey(t, 1), testTime)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := SignManifest(manifest, tt.certs, testKey(t, 1), testTime); err != nil || !bytes.Equal(again, p7s) {
				t.Errorf("the same manifest gives another signature, %v", err)
			}
			if got, err := CheckCMS(p7s, manifest, tt.certs); err != nil || !got.Equal(testTime.Truncate(time.Second)) {
				t.Errorf("CheckCMS() = %v, %v", got, err)
			}
			dir := t.TempDir()
			write(t, dir, "manifest.json", manifest)
			write(t, dir, "manifest.json.p7s", p7s)
			write(t, dir, "ca.pem", MarshalCertsPEM(tt.anchor))
			openssl(t, dir, "cms", "-verify", "-binary", "-inform", "DER", "-in", "manifest.json.p7s", "-content", "manifest.json",
				"-CAfile", "ca.pem", "-out", "out")
			openssl(t, dir, "cms", "-verify", "-cades", "-binary", "-inform", "DER", "-in", "manifest.json.p7s", "-content", "manifest.json",
				"-CAfile", "ca.pem", "-out", "out")
		})
	}
}

// TestCheckCMSEachBitFlipped holds that no bit of the file is free.
func TestCheckCMSEachBitFlipped(t *testing.T) {
	manifest := []byte(`{"type":"manifest"}`)
	ca := testCA(t)
	certs := []*x509.Certificate{testCert(t, 1, ca, nil), ca}
	p7s, err := SignManifest(manifest, certs, testKey(t, 1), testTime)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(p7s) * 8 {
		bad := bytes.Clone(p7s)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := CheckCMS(bad, manifest, certs); err == nil {
			t.Fatalf("bit %d of byte %d flipped, and the signature holds", i%8, i/8)
		}
	}
	for what, bad := range map[string][]byte{"cut": p7s[:len(p7s)-1], "longer": append(bytes.Clone(p7s), 0), "empty": nil} {
		if _, err := CheckCMS(bad, manifest, certs); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	for what, c := range map[string][]*x509.Certificate{
		"chain left out": certs[:1], "another certificate of the key": {testCert(t, 1, nil, nil), ca}, "another key": {testCert(t, 2, nil, nil), ca}, "none": nil,
	} {
		if _, err := CheckCMS(p7s, manifest, c); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := CheckCMS(p7s, append(manifest, ' '), certs); err == nil {
		t.Error("other content is accepted")
	}
}

func TestCheckCMSRefusesHighS(t *testing.T) {
	manifest := []byte(`{}`)
	certs := []*x509.Certificate{testCert(t, 1, nil, nil)}
	attrs, err := signedAttrs(manifest, certs[0], testTime)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := testSigner(t, 1).signDigest(sha256.Sum256(der(tagSet, attrs)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckCMS(signedData(certs, attrs, sig), manifest, certs); err != nil {
		t.Fatal(err)
	}
	r, s, err := parseSig(sig)
	if err != nil {
		t.Fatal(err)
	}
	high, err := asn1.Marshal(struct{ R, S *big.Int }{r, s.Sub(elliptic.P256().Params().N, s)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckCMS(signedData(certs, attrs, high), manifest, certs); err == nil {
		t.Error("a second signature made without the key is accepted")
	}
}

func TestSignManifestRefuses(t *testing.T) {
	if _, err := SignManifest(nil, []*x509.Certificate{testCert(t, 2, nil, nil)}, testKey(t, 1), testTime); err == nil {
		t.Error("a certificate of another key is accepted")
	}
	if _, err := SignManifest(nil, nil, testKey(t, 1), testTime); err == nil {
		t.Error("no certificate is accepted")
	}
}

func FuzzCheckCMS(f *testing.F) {
	certs := []*x509.Certificate{testCert(f, 1, nil, nil)}
	p7s, err := SignManifest([]byte("x"), certs, testKey(f, 1), testTime)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p7s)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := CheckCMS(b, []byte("x"), certs); err == nil && !bytes.Equal(b, p7s) {
			t.Fatal("a signature made without the key is accepted")
		}
	})
}

func TestCertsPEM(t *testing.T) {
	a, b := testCert(t, 1, nil, nil), testCA(t)
	good := MarshalCertsPEM(a, b)
	if got, err := CertsPEM(good); err != nil || len(got) != 2 || !got[0].Equal(a) || !got[1].Equal(b) {
		t.Errorf("CertsPEM() = %v, %v", got, err)
	}
	for what, bad := range map[string][]byte{
		"empty":          nil,
		"text before":    append([]byte("x\n"), good...),
		"text after":     append(bytes.Clone(good), "x\n"...),
		"CR LF":          bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")),
		"no line feed":   good[:len(good)-1],
		"a second empty": append(bytes.Clone(good), '\n'),
		"a key":          bytes.ReplaceAll(good, []byte("CERTIFICATE"), []byte("PRIVATE KEY")),
		"a header":       bytes.Replace(good, []byte("-----\n"), []byte("-----\nA: b\n\n"), 1),
	} {
		if _, err := CertsPEM(bad); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func TestCertDevice(t *testing.T) {
	d := DeviceID(testSigner(t, 1).SPKI())
	for _, tt := range []struct {
		rule string
		uris []*url.URL
		ok   bool
	}{
		{"one URI minglu:D", []*url.URL{{Scheme: "minglu", Opaque: d}}, true},
		{"none", nil, false},
		{"two", []*url.URL{{Scheme: "minglu", Opaque: d}, {Scheme: "minglu", Opaque: d}}, false},
		{"another scheme", []*url.URL{{Scheme: "mailto", Opaque: d}}, false},
		{"upper hex", []*url.URL{{Scheme: "minglu", Opaque: "AA" + d[2:]}}, false},
		{"more behind", []*url.URL{{Scheme: "minglu", Opaque: d, RawQuery: "x"}}, false},
	} {
		got, err := CertDevice(testCert(t, 1, nil, func(c *x509.Certificate) { c.URIs = tt.uris }))
		if (err == nil) != tt.ok || tt.ok && got != d {
			t.Errorf("%s: CertDevice() = %q, %v", tt.rule, got, err)
		}
	}
}
