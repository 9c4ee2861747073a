package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minglu/agent/evidence"
	"minglu/provisioning/ca"
	"minglu/provisioning/config"
	"minglu/provisioning/witness"
)

// TestBackupAndRestore copies an office while it runs, builds it again where nothing is, and finds what it
// knew: users, authority, witness. The restored witness cosigns nothing until a person has confirmed it.
func TestBackupAndRestore(t *testing.T) {
	file := write(t, strings.Replace(demo, "auth: none", "auth: none, tls: {cert: web.crt, key: web.key}", 1)+"timestamp: {urls: [\"http://127.0.0.1:1/\"], roots: [tsa-root.pem]}\n")
	beside(t, filepath.Dir(file))
	phrase := filepath.Join(t.TempDir(), "phrase")
	if err := os.WriteFile(phrase, []byte("correct horse battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{"ca", "init", "--config", file, "--passphrase", phrase}},
		{"a long password\n", []string{"user", "add", "li", "--role", "manager", "--config", file}},
	} {
		if code, out, said := do(t, c.stdin, c.args...); code != 0 {
			t.Fatalf("%v: %d %s%s", c.args, code, out, said)
		}
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	request := shown(t, cfg)
	_, vkey, _ := do(t, "", "witness", "vkey", "--config", file)
	if _, err := add(t, cfg, request); err != nil {
		t.Fatal(err)
	}

	// While it runs …
	ctx, stop := context.WithCancel(t.Context())
	ended, open := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- serve(ctx, cfg, slog.New(slog.DiscardHandler), func(string, string) { close(open) })
	}()
	<-open
	to := filepath.Join(t.TempDir(), "office.tar")
	if code, out, said := do(t, "", "backup", "--config", file, "--to", to); code != 0 || !strings.Contains(out, "not encrypted") {
		t.Errorf("backup: %d %s%s", code, out, said)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if code, _, said := do(t, "", "restore", to, "--config", file); code == 0 || !strings.Contains(said, "not empty") {
		t.Errorf("restored over an office that is there: %d %s", code, said)
	}

	// … and on another machine, where not even office.yaml is.
	file = filepath.Join(t.TempDir(), "elsewhere", "office.yaml")
	if code, out, said := do(t, "", "restore", to, "--config", file); code != 0 || !strings.Contains(out, "witness confirm") {
		t.Fatalf("restore: %d %s%s", code, out, said)
	}
	again, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web.crt", "web.key", "tsa-root.pem"} { // the backup alone is enough to serve
		was, err := os.ReadFile(filepath.Join(filepath.Dir(cfg.Web.TLS.Cert), name))
		got, gerr := os.ReadFile(filepath.Join(filepath.Dir(file), name))
		if err != nil || gerr != nil || string(got) != string(was) {
			t.Errorf("%s: %v, %v", name, err, gerr)
		}
	}
	ctx, stop = context.WithCancel(t.Context())
	open = make(chan struct{})
	go func() {
		ended <- serve(ctx, again, slog.New(slog.DiscardHandler), func(string, string) { close(open) })
	}()
	select {
	case <-open:
		stop()
		err = <-ended
	case err = <-ended:
		stop()
		t.Error("the restored office does not serve")
	}
	if err != nil {
		t.Error(err)
	}
	if users, err := os.ReadFile(again.Users); err != nil || !strings.Contains(string(users), `"li"`) {
		t.Errorf("users: %s %v", users, err)
	}
	if _, err := add(t, again, request); !errors.Is(err, witness.ErrFrozen) {
		t.Errorf("a restored witness cosigns: %v", err)
	}
	if code, out, said := do(t, "", "witness", "confirm", "--config", file); code != 0 || !strings.Contains(out, "confirmed") {
		t.Errorf("confirm: %d %s%s", code, out, said)
	}
	request.Old = 1
	if _, err := add(t, again, request); err != nil {
		t.Errorf("a confirmed witness: %v", err)
	}
	if _, same, _ := do(t, "", "witness", "vkey", "--config", file); vkey == "" || same != vkey {
		t.Errorf("the restored witness is %q, before it was %q", same, vkey)
	}
}

// beside makes the files that office.yaml names: a certificate with its key, and a root.
func beside(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "office"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	for name, b := range map[string][]byte{"web.crt": crt, "tsa-root.pem": crt, "web.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// shown enrols a device with the office's authority and returns the first state of its ledger.
func shown(t *testing.T, cfg *config.Config) witness.Request {
	t.Helper()
	authority, err := openCA(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := evidence.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	device := evidence.DeviceID(signer.SPKI())
	csr := func(k *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "room-3"}, URIs: []*url.URL{{Scheme: "minglu", Opaque: device}}}, k)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authority.IssueDevice(ca.Request{Name: "room-3", Sign: csr(key), TLS: csr(other), Ref: "test"}); err != nil {
		t.Fatal(err)
	}
	var tree evidence.Tree
	tree.Append([]byte("the first line"))
	origin := evidence.LedgerOrigin(device, "00000000000000a1")
	sig, err := signer.Sign(origin, 1, tree.Root())
	if err != nil {
		t.Fatal(err)
	}
	return witness.Request{Note: evidence.Note(origin, 1, tree.Root(), sig)}
}

// add shows a request to the office's own witness.
func add(t *testing.T, cfg *config.Config, r witness.Request) (string, error) {
	t.Helper()
	authority, err := openCA(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := openWitness(filepath.Join(cfg.State, witnessFolder), witnessName(cfg), (&enrolledKeys{ca: authority}).now, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.Add(r)
}
