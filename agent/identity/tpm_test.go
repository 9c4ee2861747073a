package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"minglu/agent/evidence"
	"minglu/agent/report"
)

// swtpm starts a TPM in software and returns its socket. The folder holds what a TPM keeps over power cuts.
func swtpm(t *testing.T, dir string) (socket string, off func()) {
	t.Helper()
	// Socket names are short (108 bytes).
	run, err := os.MkdirTemp("", "swtpm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	socket = filepath.Join(run, "s")
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+socket,
		"--ctrl", "type=unixio,path="+filepath.Join(run, "c"), "--flags", "not-need-init,startup-clear")
	out := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	off = func() { _ = cmd.Process.Kill(); <-done }
	t.Cleanup(off)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // another process
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			return socket, off
		}
		if time.Now().After(end) {
			t.Fatalf("swtpm does not answer: %s", out)
		}
	}
}

// TestTPM: one life of a device whose key is in a TPM.
func TestTPM(t *testing.T) {
	state, keeps := t.TempDir(), t.TempDir()
	socket, off := swtpm(t, keeps)
	open := func(socket string) *Identity {
		t.Helper()
		id, err := Open(Options{State: state, Name: "room-3", TPM: socket})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = id.Close() })
		return id
	}
	id := open(socket)
	if !id.TPM || !id.Made || !isSelfMade(id.Cert) {
		t.Fatalf("%+v", id)
	}
	if _, err := os.Stat(filepath.Join(state, Folder, KeyFile)); err == nil {
		t.Error("the key is in a file too")
	}
	signer, err := evidence.NewSigner(id.Key)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(5) { // r and s short now and then, s in both halves
		sig, err := signer.Sign("minglu/x", i, evidence.Hash{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		if err := evidence.VerifySig(id.Key.Public().(*ecdsa.PublicKey), "minglu/x", i, evidence.Hash{byte(i)}, sig); err != nil {
			t.Error(err)
		}
	}
	p7s, err := evidence.SignManifest([]byte("{}"), id.Certs(), id.Key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.CheckCMS(p7s, []byte("{}"), id.Certs()); err != nil {
		t.Error(err)
	}
	key, err := id.SessionSigner("minglu/d/g/s")
	if err != nil {
		t.Fatal(err)
	}
	open1 := evidence.Open{Origin: "minglu/d/g/s", SKey: key.SKey, SKeySig: key.SKeySig}
	if pub, err := open1.LogKey(id.Key.Public().(*ecdsa.PublicKey)); err != nil || !pub.Equal(key.Public()) || pub.Equal(id.Key.Public()) {
		t.Errorf("session key: %v", err)
	}
	// Starts are counted once each, and never turned back.
	counts := map[string]int64{}
	for _, boot := range []string{"boot-1", "boot-1", "boot-2", "boot-2"} {
		n, err := id.BootCount(boot)
		if err != nil || counts[boot] != 0 && counts[boot] != n {
			t.Errorf("%s: %d, %v", boot, n, err)
		}
		counts[boot] = n
	}
	if counts["boot-2"] != counts["boot-1"]+1 || counts["boot-1"] < 1 {
		t.Errorf("counts %v", counts)
	}
	// Nothing loaded stays in the TPM, no session is open.
	err = id.tpm.do(func(tp transport.TPM) error {
		for _, from := range []uint32{0x80000000, 0x02000000, 0x03000000} {
			r, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: from, PropertyCount: 10}.Execute(tp)
			if err != nil {
				return err
			}
			handles, err := r.CapabilityData.Data.Handles()
			if err != nil {
				return err
			}
			if len(handles.Handle) > 0 {
				t.Errorf("handles %x stay", handles.Handle)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	// Power is cut, the disk is an older image: the key is the same, the counter goes on.
	if err := id.Close(); err != nil {
		t.Error(err)
	}
	if _, err := id.Key.Sign(nil, make([]byte, 32), crypto.SHA256); !errors.Is(err, errTPMClosed) {
		t.Errorf("after Close: %v", err)
	}
	off()
	socket, _ = swtpm(t, keeps)
	if err := os.Remove(filepath.Join(state, Folder, bootFile)); err != nil {
		t.Fatal(err)
	}
	again := open(socket)
	if again.D != id.D || again.Made || string(again.DevicePEM) != string(id.DevicePEM) {
		t.Error("another device after a power cut")
	}
	if n, err := again.BootCount("boot-2"); err != nil || n <= counts["boot-2"] {
		t.Errorf("an older image: %d after %d, %v", n, counts["boot-2"], err)
	}
	// It is enrolled like any other.
	o := openOffice(t)
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Enrol(t.Context(), Options{State: state, Name: "room-3", TPM: socket}, o.api, o.code("room-3", false), report.Board{}); err != nil {
		t.Fatal(err)
	}
	enrolled := open(socket)
	if enrolled.D != id.D || enrolled.Office == nil || isSelfMade(enrolled.Cert) {
		t.Error("not enrolled")
	}
	if err := enrolled.Close(); err != nil {
		t.Error(err)
	}
	// Another TPM has another key; no second identity is made by itself.
	other, _ := swtpm(t, t.TempDir())
	for _, tt := range []struct{ rule, tpm, want string }{
		{"another TPM", other, "another board"},
		{"no TPM named", "", "identity.tpm"},
		{"a TPM that is not there", "/nonexistent", "no such file"},
	} {
		if _, err := Open(Options{State: state, Name: "room-3", TPM: tt.tpm}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.rule, err)
		}
	}
	// State lost, TPM kept: the same key, the same device.
	fresh, err := Open(Options{State: t.TempDir(), Name: "room-3", TPM: socket})
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if fresh.D != id.D || fresh.Made {
		t.Errorf("state lost: device %s, was %s", fresh.D, id.D)
	}
	sum := sha256.Sum256([]byte("x"))
	sig, err := fresh.Key.Sign(nil, sum[:], crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(id.Key.Public().(*ecdsa.PublicKey), sum[:], sig) {
		t.Errorf("signature: %v", err)
	}
}

func TestKeyInAFileAndATPM(t *testing.T) {
	state := t.TempDir()
	load(t, state, "room-3")
	if _, err := Open(Options{State: state, Name: "room-3", TPM: "/dev/tpmrm0"}); err == nil || !strings.Contains(err.Error(), "identity.tpm") {
		t.Errorf("a key in a file, and a TPM named: %v", err)
	}
}
