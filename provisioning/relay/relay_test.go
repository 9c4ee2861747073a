package relay

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/digitorus/timestamp"

	"minglu/agent/report"
	"minglu/sim/tsa"
)

// sent keeps what the relay sends.
type sent struct {
	mu  sync.Mutex
	got []string // device id reply|error
	b   map[string]report.Timestamp
}

func (s *sent) send(device string, k report.Kind, payload []byte) error {
	m, err := report.ParseTimestamp(payload)
	if err != nil || k != report.KindTimestamp {
		return fmt.Errorf("%s: %w", k, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	what := m.Error
	if m.Reply != "" {
		what = "reply"
	}
	s.got = append(s.got, device+" "+m.ID+" "+what)
	if s.b == nil {
		s.b = map[string]report.Timestamp{}
	}
	s.b[m.ID] = m
	return nil
}

func (s *sent) take() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, s.got = s.got, nil
	return list
}

func query(t testing.TB, hash crypto.Hash) string {
	t.Helper()
	q, err := timestamp.CreateRequest(strings.NewReader("x"), &timestamp.RequestOptions{Hash: hash, Certificates: true, Nonce: big.NewInt(7)})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(q)
}

func message(t testing.TB, m report.Timestamp) []byte {
	t.Helper()
	b, err := report.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func authority(t testing.TB, name string) (*tsa.Server, Authority) {
	t.Helper()
	s, err := tsa.New(tsa.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return s, Authority{name, func(ctx context.Context, q []byte) ([]byte, error) { return s.Reply(q) }}
}

// running runs a relay to the end of the test.
func running(t *testing.T, o Options) (*Relay, *sent) {
	s := &sent{}
	o.Send = s.send
	r := New(o)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	return r, s
}

func TestAuthoritiesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, a := authority(t, "first")
		second, b := authority(t, "second")
		r, s := running(t, Options{Authorities: []Authority{a, b}, Roots: []*x509.Certificate{first.Root(), second.Root()}})
		ask := func(id string) string {
			t.Helper()
			if err := r.Receive("room-1", report.KindTimestamp, message(t, report.Timestamp{ID: id, Request: query(t, crypto.SHA256)})); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			got := s.take()
			if len(got) != 1 {
				t.Fatalf("%s: answers %q", id, got)
			}
			return strings.TrimPrefix(got[0], "room-1 "+id+" ")
		}
		by := func(id string) string {
			der, _ := base64.StdEncoding.DecodeString(s.b[id].Reply)
			ts, err := timestamp.ParseResponse(der)
			if err != nil {
				t.Fatal(err)
			}
			return ts.Certificates[0].Subject.CommonName
		}
		if got := ask("1"); got != "reply" || by("1") != "first" {
			t.Errorf("%s by %s", got, by("1"))
		}
		for i, f := range []tsa.Failure{tsa.WrongImprint, tsa.OtherRoot, tsa.NotCritical, tsa.Refusing, tsa.Garbage, tsa.NoCerts} {
			first.Fail(f)
			time.Sleep(LeaveAlone + PerDevice)
			id := fmt.Sprint("f", i)
			if got := ask(id); got != "reply" || by(id) != "second" {
				t.Errorf("with the first %s: %s", f, got)
			}
		}
		second.Fail(tsa.Refusing)
		time.Sleep(LeaveAlone + PerDevice)
		if got := ask("3"); got != "unreachable" {
			t.Errorf("with both failing: %s", got)
		}
		n := first.Requests() + second.Requests()
		first.Fail(tsa.Good)
		if got := ask("4"); got != "unreachable" || first.Requests()+second.Requests() != n {
			t.Errorf("right after: %s; they are left alone", got)
		}
		time.Sleep(LeaveAlone)
		if got := ask("5"); got != "reply" {
			t.Errorf("later: %s", got)
		}
	})
}

func TestNonsenseReachesNobody(t *testing.T) {
	asked := 0
	s := &sent{}
	r := New(Options{Authorities: []Authority{{"a", func(context.Context, []byte) ([]byte, error) { asked++; return nil, errors.New("no") }}}, Send: s.send})
	b64 := base64.StdEncoding.EncodeToString
	for rule, request := range map[string]string{
		"no DER": b64([]byte("hello")), "another hash": query(t, crypto.SHA512), "a byte behind": b64(append(decoded(t, query(t, crypto.SHA256)), 0)), "not base64": "====", "long": b64(make([]byte, 2000)),
	} {
		if err := r.Receive("room-1", report.KindTimestamp, message(t, report.Timestamp{ID: "x", Request: request})); err == nil {
			t.Errorf("%s: accepted", rule)
		}
		if got := s.take(); len(got) != 1 || got[0] != "room-1 x refused" {
			t.Errorf("%s: %q", rule, got)
		}
	}
	if err := r.Receive("room-1", report.KindTimestamp, []byte("{")); err == nil || len(s.take()) > 0 {
		t.Error("no message: accepted or answered")
	}
	if err := r.Receive("room-1", report.KindTimestamp, message(t, report.Timestamp{ID: "x", Reply: "AAAA"})); err != nil || len(s.take()) > 0 {
		t.Error("our own answer is answered")
	}
	if asked > 0 || len(r.queue) > 0 {
		t.Error("an authority was asked")
	}
}

func decoded(t *testing.T, s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPace: one device that asks without end gets what it may and keeps nobody waiting.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := authority(t, "a")
		r, s := running(t, Options{Authorities: []Authority{a}})
		req := query(t, crypto.SHA256)
		bad := 0
		for i := range 1000 {
			if r.Receive("room-1", report.KindTimestamp, message(t, report.Timestamp{ID: fmt.Sprint(i), Request: req})) != nil {
				bad++
			}
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if want := 1000 - Burst - 8; bad < want-2 || bad > want+2 {
			t.Errorf("%d of 1000 refused in 100 s, want about %d", bad, want)
		}
		s.take()
		if err := r.Receive("room-2", report.KindTimestamp, message(t, report.Timestamp{ID: "x", Request: req})); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := s.take(); len(got) != 1 || got[0] != "room-2 x reply" {
			t.Errorf("another room: %q", got)
		}
	})
}

func TestWithoutAuthority(t *testing.T) {
	s := &sent{}
	r := New(Options{Send: s.send})
	if err := r.Receive("room-1", report.KindTimestamp, message(t, report.Timestamp{ID: "x", Request: query(t, crypto.SHA256)})); err != nil || s.take()[0] != "room-1 x unconfigured" {
		t.Error(err)
	}
	var got []byte
	u := Unwitnessed{func(_ string, _ report.Kind, b []byte) error { got = b; return nil }}
	note := "o\n1\n" + strings.Repeat("A", 44) + "\n\n— o x\n"
	b, _ := report.Marshal(report.Checkpoint{Device: "room-1", T: time.Now(), Origin: "o", Size: 1, Root: strings.Repeat("A", 44), Note: note})
	if err := u.Receive("room-1", report.KindCheckpoint, b); err != nil {
		t.Fatal(err)
	}
	if m, err := report.ParseCosignature(got); err != nil || m.Refused != "unconfigured" || m.Size != 1 {
		t.Errorf("%+v, %v", m, err)
	}
	if u.Receive("room-1", report.KindLedger, nil) != nil || u.Receive("room-1", report.KindCheckpoint, nil) == nil {
		t.Error("ledger pieces are passed over, malformed checkpoints are not")
	}
}

func TestHTTP(t *testing.T) {
	s, err := tsa.New(tsa.Options{})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	defer web.Close()
	a, err := HTTP(web.URL, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	q := decoded(t, query(t, crypto.SHA256))
	if b, err := a.Ask(t.Context(), q); err != nil || len(b) < 500 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	s.Fail(tsa.Broken)
	if _, err := a.Ask(t.Context(), q); err == nil || !strings.Contains(err.Error(), "500") {
		t.Error(err)
	}
	if _, err := HTTP("tsa.example", http.DefaultClient); err == nil {
		t.Error("an address without scheme is accepted")
	}
}

// TestAskersFault: a request that no authority can answer well is refused here, and no authority is left alone
// for it by all rooms.
func TestAskersFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, a := authority(t, "one")
		r, s := running(t, Options{Authorities: []Authority{a}, Roots: []*x509.Certificate{server.Root()}})
		request := func(o timestamp.RequestOptions) []byte {
			t.Helper()
			o.Hash = crypto.SHA256
			q, err := timestamp.CreateRequest(strings.NewReader("x"), &o)
			if err != nil {
				t.Fatal(err)
			}
			return q
		}
		good := timestamp.RequestOptions{Certificates: true, Nonce: big.NewInt(7)}
		policy, long, bare := good, good, good
		policy.TSAPolicyOID = asn1.ObjectIdentifier{1, 2, 3}
		long.Nonce = new(big.Int).Lsh(big.NewInt(1), 1000)
		bare.Certificates = false
		for rule, der := range map[string][]byte{"without certificates": request(bare), "a policy": request(policy), "a nonce of 1000 bits": request(long)} {
			if err := r.Receive("room-9", report.KindTimestamp, message(t, report.Timestamp{ID: "bad", Request: base64.StdEncoding.EncodeToString(der)})); err == nil {
				t.Errorf("%s: no error", rule)
			}
			synctest.Wait()
			if got := s.take(); len(got) != 1 || got[0] != "room-9 bad refused" {
				t.Errorf("%s: %q", rule, got)
			}
			if err := r.Receive("room-1", report.KindTimestamp, message(t, report.Timestamp{ID: "good", Request: base64.StdEncoding.EncodeToString(request(good))})); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if got := s.take(); len(got) != 1 || got[0] != "room-1 good reply" {
				t.Errorf("another room after %s: %q", rule, got)
			}
		}
	})
}

// TestAddressIsNotTold: an authority's address may hold a key.
func TestAddressIsNotTold(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	web.Close()
	a, err := HTTP(strings.Replace(web.URL, "http://", "http://user:word@", 1)+"/tsa?key=hush", &http.Client{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Ask(t.Context(), nil)
	if told := fmt.Sprint(a.Name, err); err == nil || strings.Contains(told, "hush") || strings.Contains(told, "user") || !strings.Contains(told, "/tsa") {
		t.Errorf("told: %s", told)
	}
}
