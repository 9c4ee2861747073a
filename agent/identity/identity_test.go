package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minglu/agent/evidence"
)

func load(t *testing.T, state, name string) *Identity {
	t.Helper()
	id, err := Load(state, name)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestLoadMakesOneIdentityForLife(t *testing.T) {
	state := t.TempDir()
	id := load(t, state, "room-3")
	info, err := os.Stat(filepath.Join(state, Folder, KeyFile))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	again := load(t, state, "room-3")
	if !id.Made || again.Made || !again.Key.(*ecdsa.PrivateKey).Equal(id.Key) || !again.Cert.Equal(id.Cert) || again.D != id.D || !bytes.Equal(again.DevicePEM, id.DevicePEM) {
		t.Errorf("second Load() = %+v, first %+v", again, id)
	}
	litter, err := os.ReadDir(filepath.Join(state, Folder, "tmp"))
	if err != nil || len(litter) > 0 {
		t.Errorf("temporary files %v, %v", litter, err)
	}
}

func TestCertificate(t *testing.T) {
	id := load(t, t.TempDir(), "room-3")
	spki, err := x509.MarshalPKIXPublicKey(id.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	c := id.Cert
	if d, err := evidence.CertDevice(c); err != nil || d != id.D || d != evidence.DeviceID(spki) {
		t.Errorf("device %q, %v, want %q", d, err, id.D)
	}
	if c.Subject.CommonName != "room-3" || c.KeyUsage != x509.KeyUsageDigitalSignature || len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageEmailProtection || c.IsCA {
		t.Errorf("certificate is %+v", c)
	}
	roots := x509.NewCertPool()
	roots.AddCert(c)
	for _, at := range []time.Time{time.Unix(1, 0), time.Now(), time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: c.ExtKeyUsage}); err != nil {
			t.Errorf("at %v: %v", at, err)
		}
	}
	if got, err := evidence.CertsPEM(id.DevicePEM); err != nil || len(got) != 1 || !got[0].Equal(c) || id.ChainPEM != nil {
		t.Errorf("device.pem: %v", err)
	}
}

func TestManifestSignedByOpenSSL(t *testing.T) {
	state := t.TempDir()
	id := load(t, state, "room-3")
	p7s, err := evidence.SignManifest([]byte("{}"), id.Certs(), id.Key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"manifest.json": []byte("{}"), "manifest.json.p7s": p7s} {
		if err := os.WriteFile(filepath.Join(state, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "manifest.json.p7s", "-content", "manifest.json",
		"-CAfile", filepath.Join(Folder, CertFile), "-out", "out")
	cmd.Dir = state
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestLoadRefusesAndSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		rule string
		do   func(t *testing.T, dir string) error
		want string
	}{
		{"a key file others may read", func(t *testing.T, dir string) error { return os.Chmod(filepath.Join(dir, KeyFile), 0o640) }, "chmod 600"},
		{"a damaged key", func(t *testing.T, dir string) error { return os.Truncate(filepath.Join(dir, KeyFile), 100) }, "put it back from a backup"},
		{"an empty key", func(t *testing.T, dir string) error { return os.Truncate(filepath.Join(dir, KeyFile), 0) }, "put it back from a backup"},
		{"a key lost while its certificate is there", func(t *testing.T, dir string) error { return os.Remove(filepath.Join(dir, KeyFile)) }, "put the key back"},
		{"a link as key", func(t *testing.T, dir string) error {
			name := filepath.Join(dir, KeyFile)
			if err := os.Rename(name, name+".away"); err != nil {
				return err
			}
			return os.Symlink(name+".away", name)
		}, "no regular file"},
		{"a damaged certificate", func(t *testing.T, dir string) error { return os.Truncate(filepath.Join(dir, CertFile), 100) }, "remove the file"},
		{"a certificate of another key", func(t *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, CertFile), load(t, t.TempDir(), "room-4").DevicePEM, 0o644)
		}, "of another key"},
		{"a damaged chain", func(t *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, ChainFile), []byte("x"), 0o644)
		}, "chain"},
	} {
		state := t.TempDir()
		id := load(t, state, "room-3")
		before, err := os.ReadFile(filepath.Join(state, Folder, KeyFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := tt.do(t, filepath.Join(state, Folder)); err != nil {
			t.Fatal(err)
		}
		if got, err := Load(state, "room-3"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Load() = %+v, %v; want %q", tt.rule, got, err, tt.want)
		} else if strings.Contains(err.Error(), string(before[40:80])) {
			t.Errorf("%s: the error shows the key", tt.rule)
		}
		if after, err := os.ReadFile(filepath.Join(state, Folder, KeyFile)); err == nil && len(after) == len(before) && !bytes.Equal(after, before) {
			t.Errorf("%s: there is another key now, device was %s", tt.rule, id.D)
		}
	}
}

func TestLoadAfterCutBetweenKeyAndCertificate(t *testing.T) {
	state := t.TempDir()
	id := load(t, state, "room-3")
	if err := os.Remove(filepath.Join(state, Folder, CertFile)); err != nil {
		t.Fatal(err)
	}
	if again := load(t, state, "room-3"); !bytes.Equal(again.DevicePEM, id.DevicePEM) {
		t.Error("another certificate for the same key")
	}
}

func TestSelfMadeCertificateFollowsTheName(t *testing.T) {
	state := t.TempDir()
	id := load(t, state, "room-3")
	other := load(t, state, "room-4")
	if other.Cert.Subject.CommonName != "room-4" || other.D != id.D || !other.Key.(*ecdsa.PrivateKey).Equal(id.Key) {
		t.Errorf("renamed: %v, D %s, was %s", other.Cert.Subject, other.D, id.D)
	}
	for _, name := range []string{"", "Room", "a b", strings.Repeat("a", 65), "房间"} {
		if _, err := Load(state, name); err == nil {
			t.Errorf("name %q is accepted", name)
		}
	}
}

func TestCertFiles(t *testing.T) {
	state := t.TempDir()
	id := load(t, state, "room-3")
	if got := id.CertFiles(); len(got) != 1 || got[0].File != "device.pem" || len(got[0].SHA256) != 64 {
		t.Errorf("CertFiles() = %v", got)
	}
	if err := os.WriteFile(filepath.Join(state, Folder, ChainFile), load(t, t.TempDir(), "ca").DevicePEM, 0o644); err != nil {
		t.Fatal(err)
	}
	if id = load(t, state, "room-3"); len(id.CertFiles()) != 2 || len(id.Certs()) != 2 || id.ChainPEM == nil {
		t.Errorf("with a chain: %v", id.CertFiles())
	}
}
