// Package tsa is a time-stamping authority (RFC 3161) for tests and demonstrations, with a root of its own.
//
// It answers as a real one does: its certificate has the extended key usage timeStamping, critical and
// alone, and `openssl ts -verify` accepts its tokens. It can also be told to misbehave in each way that a
// client has to notice ([Failure]).
//
// Its keys stand in plain files and anybody may ask it: its tokens prove nothing.
//
// Use: [New] or [Open], then serve it over HTTP; [Server.Root] is what goes into a trust folder's tsa/.
package tsa

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/digitorus/timestamp"
)

// Failure is one way to misbehave.
type Failure string

// The failures.
const (
	Good         Failure = ""
	WrongNonce   Failure = "nonce"        // another nonce than asked for
	WrongImprint Failure = "imprint"      // a token over other data
	NoEKU        Failure = "no-eku"       // signed by a certificate that is none of a time-stamping authority
	NotCritical  Failure = "not-critical" // its extended key usage is not critical
	Expired      Failure = "expired"      // by a certificate that had expired at the token's time
	OtherRoot    Failure = "other-root"   // by an authority under another root
	NoCerts      Failure = "no-certs"     // a token without the certificate, although asked for it
	Refusing     Failure = "refusing"     // status rejection
	Broken       Failure = "broken"       // HTTP 500
	Garbage      Failure = "garbage"      // HTTP 200 with bytes that are no reply
	Slow         Failure = "slow"         // no answer within Options.Delay, or until the client gives up
	ClockOff     Failure = "clock-off"    // its clock is wrong by Options.ClockOff
)

// Failures returns all failures.
func Failures() []Failure {
	return []Failure{WrongNonce, WrongImprint, NoEKU, NotCritical, Expired, OtherRoot, NoCerts, Refusing, Broken, Garbage, Slow, ClockOff}
}

// What [New] uses where Options leaves a field zero.
const (
	DefaultDelay    = time.Minute
	DefaultClockOff = -26 * time.Hour
)

// Options of an authority.
type Options struct {
	Name     string           // common name; "" for "minglu sim TSA"
	Now      func() time.Time // nil: the system's clock
	Delay    time.Duration    // of Slow
	ClockOff time.Duration    // of ClockOff
}

// Server is one authority. Safe for concurrent use.
type Server struct {
	o        Options
	root     *x509.Certificate
	rootKey  *ecdsa.PrivateKey
	key      *ecdsa.PrivateKey
	cert     *x509.Certificate
	requests atomic.Int64

	mu    sync.Mutex // guards what follows
	fail  Failure
	certs map[Failure]*x509.Certificate // made at first use
}

// New makes an authority with new keys.
func New(o Options) (*Server, error) {
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	if s.rootKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("tsa: %w", err)
	}
	if s.root, err = makeRoot(s.o.Name+" root", s.rootKey); err != nil {
		return nil, fmt.Errorf("tsa: %w", err)
	}
	return s, s.begin()
}

// Open is New with a root that is kept in a folder: root.pem and root.key, made if missing.
func Open(dir string, o Options) (*Server, error) {
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	if s.root, s.rootKey, err = readRoot(dir); errors.Is(err, fs.ErrNotExist) {
		if s, err = New(o); err != nil {
			return nil, err
		}
		return s, s.save(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("tsa: %w", err)
	}
	return s, s.begin()
}

func newServer(o Options) (*Server, error) {
	if o.Name == "" {
		o.Name = "minglu sim TSA"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Delay == 0 {
		o.Delay = DefaultDelay
	}
	if o.ClockOff == 0 {
		o.ClockOff = DefaultClockOff
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("tsa: %w", err)
	}
	return &Server{o: o, key: key, certs: map[Failure]*x509.Certificate{}}, nil
}

func (s *Server) begin() (err error) {
	s.cert, err = s.makeCert(Good)
	return err
}

func readRoot(dir string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	read := func(name string) ([]byte, error) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		p, _ := pem.Decode(b)
		if p == nil {
			return nil, fmt.Errorf("%s: no PEM", name)
		}
		return p.Bytes, nil
	}
	der, err := read("root.pem")
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("root.pem: %w", err)
	}
	if der, err = read("root.key"); err != nil {
		return nil, nil, err
	}
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		return nil, nil, fmt.Errorf("root.key: %w", err)
	}
	return cert, key, nil
}

func (s *Server) save(dir string) error {
	der, err := x509.MarshalECPrivateKey(s.rootKey)
	if err != nil {
		return fmt.Errorf("tsa: %w", err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	err = errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "root.key"), key, 0o600), os.WriteFile(filepath.Join(dir, "root.pem"), s.RootPEM(), 0o644))
	if err != nil {
		return fmt.Errorf("tsa: %w", err)
	}
	return nil
}

// Root is the certificate of the root.
func (s *Server) Root() *x509.Certificate { return s.root }

// RootPEM is Root as a file of a trust folder's tsa/.
func (s *Server) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.root.Raw})
}

// Fail makes the authority misbehave from the next request on, or behave again with [Good].
func (s *Server) Fail(f Failure) error {
	if f != Good && !slices.Contains(Failures(), f) {
		return fmt.Errorf("tsa: failure %q: choose one of %v", f, Failures())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
	return nil
}

// Requests is how many requests have come so far, those answered badly included.
func (s *Server) Requests() int64 { return s.requests.Load() }

func (s *Server) failure() Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fail
}

// ServeHTTP implements [http.Handler]: RFC 3161 3.4, on every path.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	if r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/timestamp-query") {
		http.Error(w, "POST an application/timestamp-query", http.StatusBadRequest)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f := s.failure()
	switch f {
	case Broken:
		http.Error(w, "out of order", http.StatusInternalServerError)
		return
	case Slow:
		select {
		case <-r.Context().Done():
			return
		case <-time.After(s.o.Delay):
		}
	}
	reply, err := s.reply(body, f)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	_, _ = w.Write(reply) // the client has gone
}

// Reply answers one request as it would over HTTP with status 200.
func (s *Server) Reply(request []byte) ([]byte, error) { return s.reply(request, s.failure()) }

func (s *Server) reply(request []byte, f Failure) ([]byte, error) {
	q, err := timestamp.ParseRequest(request)
	if err != nil {
		return nil, fmt.Errorf("tsa: request: %w", err)
	}
	switch f {
	case Refusing:
		return timestamp.CreateErrorResponse(timestamp.Rejection, timestamp.SystemFailure)
	case Garbage:
		return []byte("<html>maintenance</html>"), nil
	}
	t := timestamp.Timestamp{
		HashAlgorithm: q.HashAlgorithm, HashedMessage: slices.Clone(q.HashedMessage), Nonce: q.Nonce,
		Time: s.o.Now().UTC(), Accuracy: time.Second, Policy: asn1.ObjectIdentifier{1, 2, 3, 4, 1}, AddTSACertificate: q.Certificates && f != NoCerts,
	}
	switch f {
	case WrongNonce:
		t.Nonce = new(big.Int).Add(orZero(q.Nonce), big.NewInt(1))
	case WrongImprint:
		t.HashedMessage[0] ^= 1
	case ClockOff:
		t.Time = t.Time.Add(s.o.ClockOff)
	}
	cert, err := s.certFor(f)
	if err != nil {
		return nil, err
	}
	return t.CreateResponseWithOpts(cert, s.key, crypto.SHA256)
}

func orZero(n *big.Int) *big.Int {
	if n == nil {
		return new(big.Int)
	}
	return n
}
