package tsa

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"minglu/agent/evidence"
)

// ask sends a request over data with nonce 7.
func ask(t *testing.T, url string, data []byte) (status int, reply []byte) {
	t.Helper()
	q, err := timestamp.CreateRequest(bytes.NewReader(data), &timestamp.RequestOptions{Hash: crypto.SHA256, Certificates: true, Nonce: big.NewInt(7)})
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(url, "application/timestamp-query", bytes.NewReader(q))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	reply, err = io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, reply
}

func TestOpensslAccepts(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(filepath.Join(dir, "tsa"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	defer web.Close()
	data := []byte("what is to be stamped")
	status, reply := ask(t, web.URL, data)
	if status != http.StatusOK {
		t.Fatalf("%d: %s", status, reply)
	}
	normal, err := evidence.NormalToken(reply)
	if err != nil {
		t.Fatal(err)
	}
	info, err := evidence.VerifyToken(normal, sha256.Sum256(data), []*x509.Certificate{s.Root()})
	if err != nil || info.Nonce.Int64() != 7 || time.Since(info.Time) > time.Minute {
		t.Errorf("%+v, %v", info, err)
	}
	for name, b := range map[string][]byte{"data": data, "reply.tsr": reply, "normal.tsr": normal} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"reply.tsr", "normal.tsr"} {
		c := exec.Command("openssl", "ts", "-verify", "-data", "data", "-in", f, "-CAfile", "tsa/root.pem")
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("openssl ts -verify of %s: %v\n%s", f, err, out)
		}
	}
	again, err := Open(filepath.Join(dir, "tsa"), Options{})
	if err != nil || !again.Root().Equal(s.Root()) {
		t.Errorf("opened again the root is another: %v", err)
	}
	// openssl's own request.
	c := exec.Command("openssl", "ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "q.tsq")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	q, err := os.ReadFile(filepath.Join(dir, "q.tsq"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := again.Reply(q)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "r.tsr"), r, 0o644); err != nil {
		t.Fatal(err)
	}
	c = exec.Command("openssl", "ts", "-verify", "-queryfile", "q.tsq", "-in", "r.tsr", "-CAfile", "tsa/root.pem")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("openssl ts -verify against its own request: %v\n%s", err, out)
	}
}

// TestEachFailureShows: whoever looks sees each failure; no failure passes as good.
func TestEachFailureShows(t *testing.T) {
	s, err := New(Options{Delay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	defer web.Close()
	data := []byte("x")
	for f, says := range map[Failure]string{
		WrongImprint: "over other data", NoEKU: "not timeStamping alone", NotCritical: "not critical", Expired: "certificate", OtherRoot: "unknown authority", NoCerts: "no certificate of its signer",
		Refusing: "refused", Garbage: "not the reply", Broken: "500", WrongNonce: "nonce", ClockOff: "clock", Slow: "",
	} {
		if err := s.Fail(f); err != nil {
			t.Fatal(err)
		}
		status, reply := ask(t, web.URL, data)
		got := ""
		if status != http.StatusOK {
			got = "status 500"
		} else {
			normal, err := evidence.NormalToken(reply)
			var info evidence.TokenInfo
			if err == nil {
				info, err = evidence.VerifyToken(normal, sha256.Sum256(data), []*x509.Certificate{s.Root()})
			}
			switch {
			case err != nil:
				got = err.Error()
				if trust := f == NoEKU || f == NotCritical || f == OtherRoot; f != Expired && trust != errors.Is(err, evidence.ErrUntrusted) {
					t.Errorf("%s: %v", f, err)
				}
			case info.Nonce.Int64() != 7:
				got = "nonce"
			case time.Since(info.Time) > 20*time.Hour:
				got = "clock"
			}
		}
		if !strings.Contains(got, says) || says == "" && got != "" {
			t.Errorf("%s: %q, want %q in it", f, got, says)
		}
	}
	if s.Fail("later") == nil {
		t.Error("an unknown failure is accepted")
	}
	if n := s.Requests(); n != int64(len(Failures())) {
		t.Errorf("%d requests counted", n)
	}
	res, err := http.Get(web.URL)
	if err != nil || res.StatusCode != http.StatusBadRequest {
		t.Errorf("GET: %v, %v", res, err)
	}
	res.Body.Close()
}
