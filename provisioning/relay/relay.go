// Package relay asks time-stamping authorities (RFC 3161) for the rooms, which have no internet: requests
// and replies travel over MQTT.
//
// It guarantees: what is not a request for a token over a SHA-256 digest reaches no authority; a device
// asks no more often than [PerDevice] and nobody waits behind it; the authorities are asked in order, and
// one that fails is left alone for a while. Each request is answered, with a reply or with the reason why
// there is none. Where the authorities' roots are known, a reply that does not lead to one of them is not
// handed on and the next authority is asked.
//
// It learns nothing of what is stamped: a digest. The device checks nonce, imprint and chain itself and
// believes no word of the office.
//
// Use: [New], then [Relay.Run]; it implements report.Exchange for report.KindTimestamp.
package relay

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/report"
)

// Limits.
const (
	PerDevice  = 12 * time.Second // between two requests of one device, after Burst at once
	Burst      = 20
	AskWithin  = 10 * time.Second // for one authority; a device waits 15 s
	LeaveAlone = 30 * time.Second // an authority that failed
	Workers    = 8                // asking at the same time
	maxWaiting = 512              // requests of all devices
	maxReply   = 64 << 10         // bytes
	maxRequest = 1024             // bytes of DER
)

// Authority is one time-stamping authority.
type Authority struct {
	Name string // for the log
	Ask  func(ctx context.Context, request []byte) (reply []byte, err error)
}

// Options of [New].
type Options struct {
	Authorities []Authority // in order; none: each request is answered "unconfigured"
	Roots       []*x509.Certificate
	Send        func(device string, k report.Kind, payload []byte) error
	Now         func() time.Time // nil: time.Now
	Log         *slog.Logger     // nil: slog.Default
}

// Relay is one relay. Safe for concurrent use.
type Relay struct {
	o     Options
	queue chan question

	mu    sync.Mutex // guards what follows
	pace  map[string]*allowance
	alone []time.Time // by authority: not before
}

type question struct {
	device, id string
	der        []byte
	imprint    [32]byte
}

// allowance is how much a device may still ask.
type allowance struct {
	have float64
	at   time.Time
}

// New returns a relay.
func New(o Options) *Relay {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Relay{o: o, queue: make(chan question, maxWaiting), pace: map[string]*allowance{}, alone: make([]time.Time, len(o.Authorities))}
}

// Receive takes a request; it never blocks. An error says that the message is malformed or more than its
// device may ask for.
func (r *Relay) Receive(device string, k report.Kind, payload []byte) error {
	m, err := report.ParseTimestamp(payload)
	if err != nil {
		return err
	}
	if m.Request == "" { // our own answer, from a broker that sends it back
		return nil
	}
	q := question{device: device, id: m.ID}
	if q.der, err = base64.StdEncoding.DecodeString(m.Request); err == nil {
		q.imprint, err = imprintOf(q.der)
	}
	switch {
	case err != nil:
		r.answer(q, report.Timestamp{Error: "refused"})
		return fmt.Errorf("relay: %w", err)
	case len(r.o.Authorities) == 0:
		r.answer(q, report.Timestamp{Error: "unconfigured"})
		return nil
	case !r.may(device):
		r.answer(q, report.Timestamp{Error: "busy"})
		return fmt.Errorf("relay: more than one request in %v", PerDevice)
	}
	select {
	case r.queue <- q:
	default:
		r.answer(q, report.Timestamp{Error: "busy"})
	}
	return nil
}

// maxNonce is for authorities that refuse longer ones.
const maxNonce = 128 // bits

// imprintOf reads a TimeStampReq (RFC 3161 2.4.1) and wants no more of it than a token with certificates over
// a SHA-256 digest: no policy, no extensions. What an authority may refuse, or answer with a token that
// nobody can check, is refused here: it would look like the authority's fault.
func imprintOf(der []byte) (imprint [32]byte, err error) {
	var q struct {
		Version int
		Imprint struct {
			Algorithm pkix.AlgorithmIdentifier
			Hashed    []byte
		}
		Nonce   *big.Int `asn1:"optional"`
		CertReq bool     `asn1:"optional"`
	}
	if len(der) > maxRequest {
		return imprint, fmt.Errorf("a request of %d bytes", len(der))
	}
	rest, err := asn1.Unmarshal(der, &q)
	switch {
	case err != nil:
		return imprint, fmt.Errorf("no time-stamp request: %w", err)
	case !q.CertReq:
		return imprint, errors.New("a time-stamp request without certReq: its token could not be checked")
	case q.Nonce != nil && (q.Nonce.Sign() < 0 || q.Nonce.BitLen() > maxNonce):
		return imprint, fmt.Errorf("a nonce that is negative or longer than %d bits", maxNonce)
	case len(rest) > 0 || q.Version != 1 || !q.Imprint.Algorithm.Algorithm.Equal(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}) || len(q.Imprint.Hashed) != len(imprint):
		return imprint, errors.New("no time-stamp request over a SHA-256 digest")
	}
	if p := q.Imprint.Algorithm.Parameters; len(p.FullBytes) > 0 && !bytes.Equal(p.FullBytes, asn1.NullBytes) {
		return imprint, errors.New("a time-stamp request whose digest has parameters")
	}
	if again, err := asn1.Marshal(q); err != nil || !bytes.Equal(again, der) { // encoding/asn1 passes over what follows in a sequence
		return imprint, errors.New("a time-stamp request with more in it than digest, nonce and certReq")
	}
	return [32]byte(q.Imprint.Hashed), nil
}

// may takes one request off a device's allowance.
func (r *Relay) may(device string) bool {
	now := r.o.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.pace[device]
	if a == nil {
		a = &allowance{Burst, now}
		r.pace[device] = a
	}
	a.have = min(a.have+now.Sub(a.at).Seconds()/PerDevice.Seconds(), Burst)
	a.at = now
	if a.have < 1 {
		return false
	}
	a.have--
	return true
}

// Run asks until ctx ends; what waits then is lost, and the devices ask again.
func (r *Relay) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range Workers {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case q := <-r.queue:
					r.serve(ctx, q)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (r *Relay) serve(ctx context.Context, q question) {
	for i, a := range r.o.Authorities {
		if r.isAlone(i) {
			continue
		}
		reply, err := r.ask(ctx, a, q)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			r.answer(q, report.Timestamp{Reply: base64.StdEncoding.EncodeToString(reply)})
			return
		}
		r.o.Log.Warn("a time-stamping authority does not answer as it should", "authority", a.Name, "err", err)
		r.leave(i)
	}
	r.answer(q, report.Timestamp{Error: "unreachable"})
}

func (r *Relay) isAlone(i int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.o.Now().Before(r.alone[i])
}

func (r *Relay) leave(i int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alone[i] = r.o.Now().Add(LeaveAlone)
}

func (r *Relay) ask(ctx context.Context, a Authority, q question) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, AskWithin)
	defer cancel()
	reply, err := a.Ask(ctx, q.der)
	if err != nil {
		return nil, err
	}
	normal, err := evidence.NormalToken(reply)
	if err != nil {
		return nil, err
	}
	if _, err = evidence.VerifyToken(normal, q.imprint, r.o.Roots); errors.Is(err, evidence.ErrUntrusted) && len(r.o.Roots) == 0 {
		err = nil
	}
	return reply, err
}

func (r *Relay) answer(q question, m report.Timestamp) {
	m.ID = q.id
	b, err := report.Marshal(m)
	if err == nil {
		err = r.o.Send(q.device, report.KindTimestamp, b)
	}
	if err != nil {
		r.o.Log.Warn("a time-stamp reply cannot be handed on; the device asks again", "device", q.device, "err", err)
	}
}

// HTTP is an authority at an address (RFC 3161 3.4).
func HTTP(address string, client *http.Client) (Authority, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return Authority{}, errors.New("relay: the address of a time-stamping authority is no URL") // it may hold a password
	}
	name := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String() // a password stands before the host, a key in the query
	return Authority{Name: name, Ask: func(ctx context.Context, request []byte) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(request))
		if err != nil {
			return nil, errors.New("the address is no URL")
		}
		req.Header.Set("Content-Type", "application/timestamp-query")
		res, err := client.Do(req)
		if why := (*url.Error)(nil); errors.As(err, &why) { // it quotes the address with its query
			return nil, why.Err
		}
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(io.LimitReader(res.Body, maxReply+1))
		kind := res.Header.Get("Content-Type")
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode != http.StatusOK:
			return nil, fmt.Errorf("it answers %s", res.Status)
		case len(b) > maxReply:
			return nil, fmt.Errorf("its reply has more than %d bytes", maxReply)
		case !strings.HasPrefix(kind, "application/timestamp-reply"):
			return nil, fmt.Errorf("it answers with %.80q: is the address right?", kind)
		}
		return b, nil
	}}, nil
}

// Unwitnessed answers devices of an office that has no witness, so that they do not ask in vain.
type Unwitnessed struct {
	Send func(device string, k report.Kind, payload []byte) error
}

// Receive implements report.Exchange for report.KindCheckpoint and report.KindLedger.
func (u Unwitnessed) Receive(device string, k report.Kind, payload []byte) error {
	if k != report.KindCheckpoint {
		return nil
	}
	m, err := report.ParseCheckpoint(payload)
	if err != nil {
		return err
	}
	b, err := report.Marshal(report.Cosignature{Origin: m.Origin, Size: m.Size, Refused: "unconfigured"})
	if err != nil {
		return err
	}
	return u.Send(device, report.KindCosignature, b)
}
