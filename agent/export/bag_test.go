package export_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"minglu/agent/durable"
	"minglu/agent/durable/durabletest"
	"minglu/agent/evidence"
	"minglu/agent/export"
)

const (
	session = "20260301T033000Z-0123abcf" // of the golden sessions: recovered, with aside/
	golden  = "../evidence/testdata/golden/sessions/" + session
)

func bag(t *testing.T, change func(*export.Options)) (string, error) {
	t.Helper()
	o := export.Options{Session: session, From: os.DirFS(golden), To: t.TempDir(), More: map[string][]byte{"proofs/anchor-000000000007.json": []byte(`{}`)},
		Info: [][2]string{{"Source-Organization", "某县\n市场监督管理局"}, {"External-Identifier", session}}}
	if change != nil {
		change(&o)
	}
	b, err := export.Write(t.Context(), o)
	return b.Dir, err
}

// TestBag: the bag is one by RFC 8493, holds the session unchanged, and its script agrees with openssl.
func TestBag(t *testing.T) {
	dir, err := bag(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, manifest := range []string{"manifest-sha256.txt", "tagmanifest-sha256.txt"} {
		b, err := os.ReadFile(filepath.Join(dir, manifest))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
			data, err := os.ReadFile(filepath.Join(dir, name))
			if got := sha256.Sum256(data); !ok || err != nil || hex.EncodeToString(got[:]) != sum {
				t.Errorf("%s: %q does not hold: %v", manifest, line, err)
			}
		}
	}
	info, err := os.ReadFile(filepath.Join(dir, "bag-info.txt"))
	if err != nil || !strings.Contains(string(info), "Source-Organization: 某县 市场监督管理局\n") || !strings.Contains(string(info), "Payload-Oxum: ") {
		t.Errorf("bag-info.txt: %q %v", info, err)
	}
	if r := evidence.VerifyPlaces([]evidence.Place{{Path: filepath.Join(dir, "data", session), FS: os.DirFS(filepath.Join(dir, "data", session))}}, evidence.VerifyOptions{}); r.Exit != evidence.ExitSound {
		t.Errorf("the session in the bag: exit %d %+v", r.Exit, r)
	}
	if out, err := exec.Command("sh", filepath.Join(dir, "verify.sh")).CombinedOutput(); err != nil || !strings.Contains(string(out), "signature holds") {
		t.Errorf("verify.sh: %v\n%s", err, out)
	}
}

// TestScriptFinds: what the script must not let pass.
func TestScriptFinds(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"a file altered": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "data", session, "voice-00001.mp4"), []byte("other"), 0o644)
		},
		"a file taken away": func(dir string) error { return os.Remove(filepath.Join(dir, "data", session, "log.jsonl")) },
		"a file added":      func(dir string) error { return os.WriteFile(filepath.Join(dir, "data", "more"), nil, 0o644) },
		"all digests made anew, the manifest changed": func(dir string) error {
			return exec.Command("sh", "-c", `cd "$1" && sed -i 's/"reason":"/"reason":"x/' data/*/manifest.json && find data -type f | sort | xargs sha256sum > manifest-sha256.txt &&
				sha256sum bagit.txt bag-info.txt manifest-sha256.txt verify.sh README.txt > tagmanifest-sha256.txt`, "sh", dir).Run()
		},
		"all digests made anew, media changed": func(dir string) error {
			return exec.Command("sh", "-c", `cd "$1" && printf x >> data/`+session+`/voice-00001.mp4 && find data -type f | sort | xargs sha256sum > manifest-sha256.txt &&
				sha256sum bagit.txt bag-info.txt manifest-sha256.txt verify.sh README.txt > tagmanifest-sha256.txt`, "sh", dir).Run()
		},
	} {
		dir, err := bag(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("sh", filepath.Join(dir, "verify.sh")).CombinedOutput(); err == nil || !strings.Contains(string(out), "FAIL") {
			t.Errorf("%s: verify.sh says %v\n%s", name, err, out)
		}
	}
}

// TestNothingHalf: a bag that could not be finished has not its name, and the next one can be.
func TestNothingHalf(t *testing.T) {
	for _, verb := range []string{"write", "datasync", "syncdir", "rename"} {
		to := t.TempDir()
		n := 0
		l := &durabletest.Layer{Before: func(op durabletest.Op) error {
			if op.Verb == verb {
				if n++; n > 3 || verb == "rename" {
					return syscall.EIO
				}
			}
			return nil
		}}
		_, err := bag(t, func(o *export.Options) { o.To, o.Files = to, durable.Files{Layer: l} })
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s fails: %v", verb, err)
		}
		if _, err := os.Stat(filepath.Join(to, session)); err == nil {
			t.Errorf("%s fails, and there is a bag", verb)
		}
		if _, err := bag(t, func(o *export.Options) { o.To = to }); err != nil {
			t.Errorf("after %s failed: %v", verb, err)
		}
		if _, err := bag(t, func(o *export.Options) { o.To = to }); !errors.Is(err, export.ErrExists) {
			t.Errorf("a second bag of that name: %v", err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := export.Write(ctx, export.Options{Session: session, From: os.DirFS(golden), To: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("asked to stop: %v", err)
	}
}

const (
	witnessed = "20260301T063000Z-0123abd2" // golden: issued certificate, time stamp, amendment
	trust     = "../evidence/testdata/golden/trust"
)

// TestScriptOutside: certificates, time stamp and revocation by what is named to the script.
func TestScriptOutside(t *testing.T) {
	more := t.TempDir()
	for name, at := range map[string]time.Time{"before.crl": stamp.Add(-time.Minute), "after.crl": stamp.Add(time.Hour)} {
		if err := os.WriteFile(filepath.Join(more, name), revoking(t, at), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	device, err := os.ReadFile(filepath.Join("../evidence/testdata/golden/sessions", witnessed, "device.pem"))
	if err == nil {
		err = os.CopyFS(filepath.Join(more, "own"), fstest.MapFS{"room-3.pem": {Data: device}})
	}
	if err != nil {
		t.Fatal(err)
	}
	ca, tsa, crl := trust+"/ca/root.pem", trust+"/tsa/root-1.pem", trust+"/ca/ca.crl"
	for _, tt := range []struct {
		rule  string
		args  []string
		strip string // file to leave out of the session
		fails bool
		says  []string
	}{
		{"a trust folder", []string{trust}, "", false, []string{"the time stamp holds: Mar  1 01:31:00 2026", "the manifest's signature holds", "amendment-1.json", "is not revoked"}},
		{"the files of it", []string{ca, tsa, crl}, "", false, []string{"the time stamp holds", "is not revoked"}},
		{"a folder with the device's certificate alone", []string{more + "/own"}, "", false, []string{"the manifest's signature holds", "not checked: no authority"}},
		{"nothing named", nil, "", false, []string{"no CA given", "there is a time stamp, not checked"}},
		{"no list named", []string{ca}, "", false, []string{"no revocation list given"}},
		{"the time stamp is not there", []string{trust}, "manifest.json.tsr", false, []string{"there is no time stamp"}},
		{"a CA that is not there", []string{"nowhere.pem"}, "", true, []string{"CA: nowhere.pem", "name the right file"}},
		{"a TSA that is not there", []string{ca, "nowhere.pem"}, "", true, []string{"TSA: nowhere.pem"}},
		{"a list that is not there", []string{ca, tsa, "nowhere.crl"}, "", true, []string{"CRL: nowhere.crl"}},
		{"a folder without certificates", []string{t.TempDir()}, "", true, []string{"name a trust folder"}},
		{"another authority", []string{tsa}, "", true, []string{"the manifest's signature"}},
		{"another time-stamping authority", []string{ca, ca}, "", true, []string{"FAIL: 时间戳"}},
		{"revoked before the time stamp", []string{ca, tsa, more + "/before.crl"}, "", true, []string{"was revoked before that"}},
		{"revoked after it", []string{ca, tsa, more + "/after.crl"}, "", false, []string{"the signature stands"}},
		{"revoked later, and no time stamp says that the signature is older", []string{ca, tsa, more + "/after.crl"}, "manifest.json.tsr", true, []string{"no time stamp that was checked"}},
	} {
		from := t.TempDir()
		if err := os.CopyFS(from, os.DirFS(filepath.Join("../evidence/testdata/golden/sessions", witnessed))); err != nil {
			t.Fatal(err)
		}
		if tt.strip != "" {
			if err := os.Remove(filepath.Join(from, tt.strip)); err != nil {
				t.Fatal(err)
			}
		}
		dir, err := bag(t, func(o *export.Options) { o.Session, o.From = witnessed, os.DirFS(from) })
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("sh", append([]string{filepath.Join(dir, "verify.sh")}, tt.args...)...).CombinedOutput()
		if (err != nil) != tt.fails || strings.Contains(string(out), "FAIL") != tt.fails || strings.Contains(string(out), "passed") == tt.fails {
			t.Errorf("%s: %v\n%s", tt.rule, err, out)
		}
		for _, says := range tt.says {
			if !strings.Contains(string(out), says) {
				t.Errorf("%s: does not say %q:\n%s", tt.rule, says, out)
			}
		}
	}
}

// stamp is the time of the golden session's time stamp.
var stamp = time.Date(2026, 3, 1, 1, 31, 0, 0, time.UTC)

// revoking is a list of the golden issuing authority, whose key is made from its name, by which the device's
// certificate was revoked.
func revoking(t *testing.T, at time.Time) []byte {
	t.Helper()
	read := func(name string) *x509.Certificate {
		b, err := os.ReadFile(filepath.Join("../evidence/testdata/golden/sessions", witnessed, name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(b)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	scalar := sha256.Sum256([]byte("golden issuing"))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.CreateRevocationList(nil, &x509.RevocationList{Number: big.NewInt(2), ThisUpdate: at, NextUpdate: at.AddDate(1, 0, 0),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: read("device.pem").SerialNumber, RevocationTime: at}}}, read("chain.pem"), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})
}
