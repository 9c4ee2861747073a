package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"minglu/agent/evidence"
	"minglu/agent/report"
)

const phrase = "correct horse battery"

// authority makes one whose clock the test turns.
func authority(t *testing.T) (*CA, *time.Time) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	c, err := Init(Options{Dir: filepath.Join(t.TempDir(), "ca"), Now: func() time.Time { return now }}, "某县市场监管局", []byte(phrase))
	if err != nil {
		t.Fatal(err)
	}
	return c, &now
}

func again(t *testing.T, c *CA) *CA {
	t.Helper()
	o, err := Open(c.o)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func p256Key() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func csr(name string, key crypto.Signer) []byte {
	return must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key))
}

// request is that of a new device with all keys.
func request(name, ref string) Request {
	return Request{Name: name, Ref: ref, Sign: csr(name, p256Key()), TLS: csr(name, p256Key()), SM2: sm2CSR(name)}
}

func sm2CSR(name string) []byte {
	return must(smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{Subject: pkix.Name{CommonName: name}, SignatureAlgorithm: smx509.SM2WithSM3}, must(sm2.GenerateKey(rand.Reader))))
}

func openssl(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openssl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestInit(t *testing.T) {
	c, _ := authority(t)
	if _, err := Init(c.o, "x", []byte(phrase)); err == nil || !strings.Contains(err.Error(), "made once") {
		t.Errorf("a second Init: %v", err)
	}
	if _, err := Init(Options{Dir: filepath.Join(t.TempDir(), "ca")}, "x", []byte("short")); err == nil || !strings.Contains(err.Error(), "longer") {
		t.Errorf("a short passphrase: %v", err)
	}
	if _, err := Open(Options{Dir: t.TempDir()}); !errors.Is(err, ErrNone) {
		t.Errorf("no authority: %v", err)
	}
	for name, perm := range map[string]os.FileMode{RootKeyFile: 0o600, issuingKeyFile: 0o600, sm2KeyFile: 0o600} {
		if info, err := os.Stat(filepath.Join(c.o.Dir, name)); err != nil || info.Mode().Perm() != perm {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	// The root's key is what openssl calls an encrypted private key, and belongs to the certificate.
	if out, err := openssl(t, c.o.Dir, "pkey", "-in", RootKeyFile, "-passin", "pass:"+phrase, "-pubout", "-out", filepath.Join(t.TempDir(), "pub.pem")); err != nil {
		t.Errorf("root key: %v %s", err, out)
	}
	if out, err := openssl(t, c.o.Dir, "pkey", "-in", RootKeyFile, "-passin", "pass:wrong wrong wrong", "-noout"); err == nil {
		t.Errorf("the root key opens with a wrong passphrase: %s", out)
	}
	if out, err := openssl(t, c.o.Dir, "verify", "-CAfile", RootFile, IssuingFile); err != nil {
		t.Errorf("issuing: %v %s", err, out)
	}
	if err := os.Chmod(filepath.Join(c.o.Dir, issuingKeyFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c.o); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key others may read: %v", err)
	}
}

func TestCertificatesAreWhatTheFormatAsks(t *testing.T) {
	c, now := authority(t)
	out, err := c.IssueDevice(request("room-3", "code 1"))
	if err != nil {
		t.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(c.Root())
	between.AddCert(c.Issuing())
	for _, tt := range []struct {
		cert *x509.Certificate
		eku  x509.ExtKeyUsage
	}{{out.Sign, x509.ExtKeyUsageEmailProtection}, {out.TLS, x509.ExtKeyUsageClientAuth}} {
		d, err := evidence.CertDevice(tt.cert)
		if err != nil || d != out.Device || tt.cert.Subject.CommonName != "room-3" || tt.cert.KeyUsage != x509.KeyUsageDigitalSignature || len(tt.cert.ExtKeyUsage) != 1 || tt.cert.ExtKeyUsage[0] != tt.eku {
			t.Errorf("certificate %v: D %s %v", tt.cert.Subject, d, err)
		}
		if _, err := tt.cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: *now, KeyUsages: []x509.ExtKeyUsage{tt.eku}}); err != nil {
			t.Error(err)
		}
	}
	if out.Device != evidence.DeviceID(out.Sign.RawSubjectPublicKeyInfo) {
		t.Error("D is not of the signing key")
	}
	smRoots, smBetween := smx509.NewCertPool(), smx509.NewCertPool()
	smRoots.AddCert(c.SM2Root())
	smBetween.AddCert(c.SM2Issuing())
	if _, err := out.SM2.Verify(smx509.VerifyOptions{Roots: smRoots, Intermediates: smBetween, CurrentTime: *now, KeyUsages: []smx509.ExtKeyUsage{smx509.ExtKeyUsageEmailProtection}}); err != nil {
		t.Errorf("SM2: %v", err)
	}
	if e, s := c.Check(out.TLS, "room-3"); s.State != report.StandingGood || e.Device != out.Device {
		t.Errorf("standing %+v", s)
	}
}

func TestRefusedRequests(t *testing.T) {
	c, _ := authority(t)
	if _, err := c.IssueDevice(request("room-1", "code 1")); err != nil {
		t.Fatal(err)
	}
	key := p256Key()
	other := func(r Request, change func(*Request)) Request { change(&r); return r }
	for _, tt := range []struct {
		rule string
		r    Request
		code string
	}{
		{"a P-384 key", other(request("room-2", "x"), func(r *Request) {
			r.Sign = csr("room-2", must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)))
		}), "request"},
		{"an SM2 key for TLS", other(request("room-2", "x"), func(r *Request) { r.TLS = sm2CSR("room-2") }), "request"},
		{"a P-256 key for SM2", other(request("room-2", "x"), func(r *Request) { r.SM2 = csr("room-2", p256Key()) }), "request"},
		{"one key for both", other(request("room-2", "x"), func(r *Request) { r.Sign, r.TLS = csr("room-2", key), csr("room-2", key) }), "request"},
		{"another name in the TLS request", other(request("room-2", "x"), func(r *Request) { r.TLS = csr("room-9", p256Key()) }), "name"},
		{"a request that is not signed by its key", other(request("room-2", "x"), func(r *Request) { r.Sign[len(r.Sign)-1] ^= 1 }), "request"},
		{"another device's D", other(request("room-2", "x"), func(r *Request) {
			tmpl := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "room-2"}, URIs: serverURIs("minglu:00112233445566778899aabbccddeeff")}
			r.TLS = must(x509.CreateCertificateRequest(rand.Reader, tmpl, p256Key()))
		}), "device"},
		{"no request at all", Request{Name: "room-2", Ref: "x"}, "request"},
		{"a name that is enrolled", request("room-1", "code 2"), "name.enrolled"},
		{"a code that other keys used", request("room-1", "code 1"), "code.used"},
	} {
		_, err := c.IssueDevice(tt.r)
		e := (*Refused)(nil)
		if !errors.As(err, &e) || e.Code != tt.code {
			t.Errorf("%s: %v, want %s", tt.rule, err, tt.code)
		}
	}
	if n := len(c.Entries()); n != 3 {
		t.Errorf("%d certificates, want the 3 of room-1", n)
	}
}

func TestSameRequestGetsTheSameAnswer(t *testing.T) {
	c, _ := authority(t)
	r := request("room-3", "code 1")
	first := must(c.IssueDevice(r))
	second := must(again(t, c).IssueDevice(r)) // another process, after a cut
	if !first.Sign.Equal(second.Sign) || !first.TLS.Equal(second.TLS) || !bytes.Equal(first.SM2.Raw, second.SM2.Raw) || second.Device != first.Device {
		t.Error("other certificates for the same request")
	}
}

func TestReplacedDevice(t *testing.T) {
	c, _ := authority(t)
	old := must(c.IssueDevice(request("room-3", "code 1")))
	r := request("room-3", "code 2")
	r.Replace = true
	fresh := must(c.IssueDevice(r))
	if _, s := c.Check(old.TLS, ""); s.State != report.StandingRevoked || s.Reason != ReasonReplaced {
		t.Errorf("the old one stands %+v", s)
	}
	if _, s := c.Check(fresh.TLS, "room-3"); s.State != report.StandingGood {
		t.Errorf("the new one stands %+v", s)
	}
	// A renewal keeps D and revokes nothing, also with another signing key.
	renew := request("room-3", "renew")
	renew.Device = fresh.Device
	next := must(c.IssueDevice(renew))
	if next.Device != fresh.Device || must(evidence.CertDevice(next.Sign)) != fresh.Device {
		t.Errorf("renewed as %s", next.Device)
	}
	if _, s := c.Check(fresh.TLS, "room-3"); s.State != report.StandingGood {
		t.Errorf("after renewal %+v", s)
	}
}

func TestStandings(t *testing.T) {
	c, now := authority(t)
	a := must(c.IssueDevice(request("room-1", "1")))
	other, _ := authority(t)
	foreign := must(other.IssueDevice(request("room-1", "1")))
	forged := *a.TLS
	forged.Raw = bytes.Clone(a.TLS.Raw)
	forged.Raw[len(forged.Raw)-1] ^= 1
	for _, tt := range []struct {
		rule string
		cert *x509.Certificate
		name string
		want string
	}{
		{"good", a.TLS, "room-1", report.StandingGood}, {"none", nil, "", report.StandingUnknown}, {"of another authority", foreign.TLS, "room-1", report.StandingUnknown},
		{"not byte for byte", &forged, "room-1", report.StandingUnknown}, {"another name", a.TLS, "room-2", report.StandingMisnamed}, {"the signing certificate", a.Sign, "room-1", report.StandingMisnamed},
	} {
		if _, s := c.Check(tt.cert, tt.name); s.State != tt.want {
			t.Errorf("%s: %+v, want %s", tt.rule, s, tt.want)
		}
	}
	*now = now.Add(TLSFor)
	if _, s := c.Check(a.TLS, "room-1"); s.State != report.StandingExpired {
		t.Errorf("expired: %+v", s)
	}
}

func TestRevocationByOpenSSL(t *testing.T) {
	c, now := authority(t)
	a := must(c.IssueDevice(request("room-1", "1")))
	b := must(c.IssueDevice(request("room-2", "2")))
	if _, err := c.Revoke("nobody", ReasonLost); err == nil {
		t.Error("a name that is not there was revoked")
	}
	if _, err := c.Revoke("room-1", "bad mood"); err == nil {
		t.Error("any reason will do")
	}
	gone, err := again(t, c).Revoke("room-1", ReasonLost) // the command, beside a running office
	if err != nil || len(gone) != 3 {
		t.Fatalf("revoked %d: %v", len(gone), err)
	}
	c.looked = time.Time{}
	if _, s := c.Check(a.TLS, "room-1"); s.State != report.StandingRevoked || s.Reason != ReasonLost {
		t.Errorf("standing %+v", s)
	}
	dir := t.TempDir()
	files := must(c.Export())
	for name, b := range files {
		if strings.Contains(string(b), "PRIVATE KEY") {
			t.Errorf("%s holds a key", name)
		}
		if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, "/", "-")), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, der := range map[string][]byte{"a-sign.pem": a.Sign.Raw, "a-tls.pem": a.TLS.Raw, "b-sign.pem": b.Sign.Raw, "b-tls.pem": b.TLS.Raw, "a-sm2.pem": a.SM2.Raw, "b-sm2.pem": b.SM2.Raw} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		rule  string
		args  []string
		wrong string // "" verifies
	}{
		{"a good signing certificate", []string{"-purpose", "smimesign", "b-sign.pem"}, ""},
		{"a good TLS certificate", []string{"-purpose", "sslclient", "b-tls.pem"}, ""},
		{"the TLS certificate does not sign evidence", []string{"-purpose", "smimesign", "b-tls.pem"}, "purpose"},
		{"a revoked one", []string{"a-sign.pem"}, "revoked"},
		{"a revoked one for TLS", []string{"-purpose", "sslclient", "a-tls.pem"}, "revoked"},
	} {
		args := append([]string{"verify", "-crl_check_all", "-CAfile", "ca-root.pem", "-untrusted", "ca-issuing.pem", "-CRLfile", "ca-ca.crl"}, tt.args...)
		out, err := openssl(t, dir, args...)
		if (err == nil) != (tt.wrong == "") || !strings.Contains(out, tt.wrong) {
			t.Errorf("%s: %v %s", tt.rule, err, out)
		}
	}
	// OpenSSL 3.0 takes the distid for one certificate at a time, and for no list.
	for _, args := range [][]string{{"-partial_chain", "-CAfile", "sm2-issuing.pem", "b-sm2.pem"}, {"-CAfile", "sm2-root.pem", "sm2-issuing.pem"}} {
		if out, err := openssl(t, dir, append([]string{"verify", "-vfyopt", "distid:1234567812345678"}, args...)...); err != nil {
			t.Errorf("SM2: %v %s", err, out)
		}
	}
	block, _ := pem.Decode(files["sm2/ca.crl"])
	list := must(smx509.ParseRevocationList(block.Bytes))
	if err := list.CheckSignatureFrom(c.SM2Issuing()); err != nil || len(list.RevokedCertificateEntries) != 1 || list.RevokedCertificateEntries[0].SerialNumber.Cmp(a.SM2.SerialNumber) != 0 {
		t.Errorf("SM2 list %v: %v", list.RevokedCertificateEntries, err)
	}
	// The list is made anew before it ends, with a higher number, and not before it must.
	number := func() int64 {
		block, _ := pem.Decode(must(c.CRL()))
		return must(x509.ParseRevocationList(block.Bytes)).Number.Int64()
	}
	n := number()
	if err := c.Refresh(); err != nil || number() != n {
		t.Errorf("a fresh list was made anew: %v", err)
	}
	*now = now.Add(CRLFor/2 + time.Hour)
	if err := c.Refresh(); err != nil || number() != n+1 {
		t.Errorf("number %d after %d: %v", number(), n, err)
	}
	if err := os.Truncate(filepath.Join(c.o.Dir, CRLFile), 100); err != nil {
		t.Fatal(err)
	}
	if err := c.Refresh(); err != nil || number() != n+2 {
		t.Errorf("a damaged file: number %d: %v", number(), err)
	}
}

// TestRequestsByOpenSSL: whoever has openssl alone can ask.
func TestRequestsByOpenSSL(t *testing.T) {
	c, _ := authority(t)
	dir := t.TempDir()
	r := Request{Name: "room-7", Ref: "x"}
	for name, to := range map[string]*[]byte{"sign": &r.Sign, "tls": &r.TLS} {
		if out, err := openssl(t, dir, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name+".key", "-subj", "/CN=room-7", "-outform", "DER", "-out", name+".csr"); err != nil {
			t.Fatal(err, out)
		}
		*to = must(os.ReadFile(filepath.Join(dir, name+".csr")))
	}
	if out, err := openssl(t, dir, "ecparam", "-genkey", "-name", "SM2", "-noout", "-out", "sm2.key"); err != nil {
		t.Fatal(err, out)
	}
	if out, err := openssl(t, dir, "req", "-new", "-key", "sm2.key", "-sm3", "-sigopt", "distid:1234567812345678", "-subj", "/CN=room-7", "-outform", "DER", "-out", "sm2.csr"); err != nil {
		t.Fatal(err, out)
	}
	r.SM2 = must(os.ReadFile(filepath.Join(dir, "sm2.csr")))
	if out, err := c.IssueDevice(r); err != nil || out.SM2 == nil {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestCut: whatever a cut leaves of the last change, the authority goes on with what was before it.
func TestCut(t *testing.T) {
	c, _ := authority(t)
	must(c.IssueDevice(request("room-1", "1")))
	name := filepath.Join(c.o.Dir, LogFile)
	before := must(os.ReadFile(name))
	must(c.IssueDevice(request("room-2", "2")))
	after := must(os.ReadFile(name))
	for cut := len(before); cut < len(after); cut += 1 + (len(after)-len(before))/40 {
		if err := os.WriteFile(name, after[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		o := again(t, c)
		if n := len(o.Entries()); n != 3 {
			t.Fatalf("cut at %d of %d: %d certificates", cut-len(before), len(after)-len(before), n)
		}
		if b := must(os.ReadFile(name)); !bytes.Equal(b, before) {
			t.Fatalf("cut at %d: the log is not what it was", cut-len(before))
		}
	}
	if _, err := again(t, c).IssueDevice(request("room-2", "2")); err != nil {
		t.Error(err)
	}
	for i := 0; i < len(before)-1; i += 101 {
		bad := bytes.Clone(before)
		bad[i] ^= 1
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		o := again(t, c)
		if _, err := o.IssueDevice(request("room-9", "9")); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "backup") {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if b := must(os.ReadFile(name)); !bytes.Equal(b, bad) {
			t.Fatalf("byte %d changed: and then more of the log", i)
		}
	}
}

func TestLogIsSignedAndStampedDaily(t *testing.T) {
	c, now := authority(t)
	must(c.IssueDevice(request("room-1", "1")))
	log := must(os.ReadFile(filepath.Join(c.o.Dir, LogFile)))
	d, err := evidence.Decide(log, Origin(c.Root()), c.signer.Public())
	if err != nil || d.Damaged >= 0 || !strings.HasPrefix(c.Checkpoint(), Origin(c.Root())+"\n") {
		t.Fatalf("%+v, %v", d, err)
	}
	s := &stamper{}
	for _, tt := range []struct {
		rule string
		do   func()
		n    int
	}{
		{"the first", func() {}, 1},
		{"not twice a day", func() { must(c.IssueDevice(request("room-2", "2"))) }, 1},
		{"the next day", func() { *now = now.Add(25 * time.Hour) }, 2},
		{"not when nothing is new", func() { *now = now.Add(25 * time.Hour) }, 2},
		{"again after a revocation", func() { must(c.Revoke("room-1", ReasonLost)) }, 3},
	} {
		tt.do()
		if err := c.Stamp(t.Context(), s); err != nil || s.n != tt.n {
			t.Errorf("%s: %d tokens, want %d: %v", tt.rule, s.n, tt.n, err)
		}
		c = again(t, c)
	}
}

type stamper struct{ n int }

func (s *stamper) Stamp(context.Context, [32]byte) ([]byte, error) {
	s.n++
	return []byte("token"), nil
}

func TestServerCertificate(t *testing.T) {
	c, now := authority(t)
	leaf := func(hosts ...string) *x509.Certificate {
		t.Helper()
		cfg := must(c.Serve(hosts))
		cert := must(cfg.GetCertificate(nil))
		if len(cert.Certificate) != 3 {
			t.Fatalf("chain of %d", len(cert.Certificate))
		}
		return must(x509.ParseCertificate(cert.Certificate[0]))
	}
	a := leaf("office.example", "127.0.0.1")
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(c.Root())
	between.AddCert(c.Issuing())
	for _, host := range []string{"office.example", "127.0.0.1"} {
		if _, err := a.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: host, CurrentTime: *now}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, s := c.Check(a, ""); s.State == report.StandingGood {
		t.Error("the office's certificate is good for a client")
	}
	c = again(t, c)
	if b := leaf("127.0.0.1", "office.example"); !b.Equal(a) {
		t.Error("another certificate after a restart")
	}
	if b := leaf("office.example", "10.0.0.1"); b.Equal(a) {
		t.Error("the same certificate for other hosts")
	}
	cfg := must(c.Serve([]string{"office.example"}))
	*now = now.Add(TLSFor * 3 / 4)
	if b := must(cfg.GetCertificate(nil)).Leaf; b.NotBefore.Before(now.Add(-time.Hour)) {
		t.Error("not renewed while serving")
	}
}

func serverURIs(u string) []*url.URL { return []*url.URL{must(url.Parse(u))} }

// TestDamagedLog: an office whose log is damaged in its middle goes on judging and serving, issues nothing, and is
// itself again when the log is put back.
func TestDamagedLog(t *testing.T) {
	c, _ := authority(t)
	one := must(c.IssueDevice(request("room-1", "1")))
	must(c.Serve([]string{"office.example"}))
	name := filepath.Join(c.o.Dir, LogFile)
	middle := len(must(os.ReadFile(name)))
	two := must(c.IssueDevice(request("room-2", "2")))
	gone := len(must(os.ReadFile(name))) // what lies between is lost
	three := must(c.IssueDevice(request("room-3", "3")))
	four := must(c.IssueDevice(request("room-4", "4")))
	must(c.Revoke("room-4", ReasonLost))
	must(c.Revoke("room-1", ReasonRetired))
	good := must(os.ReadFile(name))
	bad := bytes.Clone(good)
	clear(bad[middle+10 : gone-10])
	at := bytes.Index(bad, []byte(ReasonRetired)) // a revocation whose line is lost: only the list tells
	clear(bad[at-5 : at+5])
	if err := os.WriteFile(name, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	o := again(t, c)
	for rule, w := range map[string]struct {
		cert  *x509.Certificate
		state string
	}{
		"of before, revoked by a line that is lost": {one.TLS, report.StandingRevoked},
		"whose line is lost":                        {two.TLS, report.StandingUnknown},
		"of after":                                  {three.TLS, report.StandingGood},
		"of after, revoked":                         {four.TLS, report.StandingRevoked},
	} {
		if _, st := o.Check(w.cert, ""); st.State != w.state {
			t.Errorf("a certificate %s is %q, want %q", rule, st.State, w.state)
		}
	}
	if _, err := o.IssueDevice(request("room-5", "5")); !errors.Is(err, ErrDamaged) {
		t.Errorf("issue: %v", err)
	}
	if _, err := o.Revoke("room-3", ReasonLost); !errors.Is(err, ErrDamaged) {
		t.Errorf("revoke: %v", err)
	}
	if b, err := o.CRL(); err != nil || !bytes.Contains(b, []byte("X509 CRL")) {
		t.Errorf("lists: %v", err)
	}
	for _, host := range []string{"office.example", "another.example"} {
		if conf, err := o.Serve([]string{host}); err != nil {
			t.Errorf("serve as %s: %v", host, err)
		} else if _, err := conf.GetCertificate(nil); err != nil {
			t.Error(err)
		}
	}
	if b := must(os.ReadFile(name)); !bytes.Equal(b, bad) {
		t.Error("the damaged log was changed: it is a proof")
	}
	if err := os.WriteFile(name, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := o.IssueDevice(request("room-5", "5")); err != nil {
		t.Errorf("put back: %v", err)
	}
	if _, st := o.Check(two.TLS, ""); st.State != report.StandingGood {
		t.Errorf("put back: %q", st.State)
	}
}
