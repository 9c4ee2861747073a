package notary

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"minglu/agent/clock"
	"minglu/agent/evidence"
)

// timeStampReq is RFC 3161 2.4.1; no policy and no extensions are asked for.
type timeStampReq struct {
	Version int
	Imprint struct {
		Algorithm pkix.AlgorithmIdentifier
		Hashed    []byte
	}
	Nonce   *big.Int
	CertReq bool
}

// request asks for a token over a SHA-256 imprint, with the certificate in it.
func request(imprint [sha256.Size]byte) (der []byte, nonce *big.Int, err error) {
	q := timeStampReq{Version: 1, CertReq: true}
	q.Imprint.Algorithm = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, Parameters: asn1.NullRawValue}
	q.Imprint.Hashed = imprint[:]
	if q.Nonce, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63)); err != nil {
		return nil, nil, err
	}
	der, err = asn1.Marshal(q)
	return der, q.Nonce, err
}

// token is what an authority gave.
type token struct {
	der   []byte // the reply in normal form
	info  evidence.TokenInfo
	asked clock.Reading
}

// authorities are asked in order; one that fails is left alone for a while.
type authorities struct {
	o      *Options
	jitter func(time.Duration) time.Duration
	online func() bool

	mu   sync.Mutex // guards list
	list []authority
	told bool // that no root is trusted
}

type authority struct {
	Authority
	retry time.Duration // uptime before which it is not asked
	wait  time.Duration // the last back-off
	off   bool          // its last answer was that it is none (errUnwanted)
}

// errUnwanted: it is no use to ask again soon.
var errUnwanted = errors.New("it is not set up to give any")

// errOffline: there is no connection; the next one ends the wait.
var errOffline = errors.New("no connection to the office")

// retryAt returns the uptime at which one of them may be asked.
func (t *authorities) retryAt() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := never
	for _, a := range t.list {
		at = min(at, a.retry)
	}
	return at
}

// off reports whether whoever can be asked says that there is no authority.
func (t *authorities) off() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.list) > 0 && !slices.ContainsFunc(t.list, func(a authority) bool { return !a.off })
}

// back forgets failures: the network is there again.
func (t *authorities) back() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.list {
		t.list[i].retry, t.list[i].wait = 0, 0
	}
}

// get returns the first good token over the imprint.
func (t *authorities) get(ctx context.Context, imprint [sha256.Size]byte) (token, error) {
	err := errBackoff
	for i := range t.list {
		t.mu.Lock()
		a := t.list[i]
		t.mu.Unlock()
		if t.o.Now().Up < a.retry {
			continue
		}
		got, aerr := t.ask(ctx, a, imprint)
		if ctx.Err() != nil {
			return token{}, context.Cause(ctx)
		}
		t.mu.Lock()
		t.list[i].note(aerr, t.o.Now().Up, t.jitter)
		if errors.Is(aerr, errOffline) && t.online() {
			t.list[i].retry = 0 // it came back meanwhile
		}
		t.mu.Unlock()
		if aerr == nil {
			return got, nil
		}
		err = fmt.Errorf("%s: %w", a.Name, aerr)
		t.o.Log.Debug("no token", "authority", a.Name, "err", aerr)
	}
	return token{}, err
}

func (a *authority) note(err error, up time.Duration, jitter func(time.Duration) time.Duration) {
	switch {
	case err == nil:
		a.retry, a.wait, a.off = 0, 0, false
	case errors.Is(err, errUnwanted):
		a.retry, a.off = up+unwanted, true
	case errors.Is(err, errOffline):
		a.retry = never
	default:
		a.wait = backoff(a.wait)
		a.retry = up + jitter(a.wait)
	}
}

func (t *authorities) ask(ctx context.Context, a authority, imprint [sha256.Size]byte) (token, error) {
	der, nonce, err := request(imprint)
	if err != nil {
		return token{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTSA)
	defer cancel()
	got := token{asked: t.o.Now()}
	reply, err := a.Ask(ctx, der)
	if err != nil {
		return token{}, err
	}
	replied := t.o.Now()
	if got.der, err = evidence.NormalToken(reply); err != nil {
		return token{}, err
	}
	got.info, err = t.o.Trust().Token(got.der, imprint)
	if errors.Is(err, evidence.ErrUntrusted) && len(t.o.Trust().TSA) == 0 {
		t.tellUntrusted(got.info.TSA)
		err = nil
	}
	if err == nil {
		err = fits(got, nonce, replied)
	}
	return got, err
}

// tellUntrusted says once that tokens are kept although nobody here can judge them: who has the
// authority's root can, and a token not asked for is lost for good.
func (t *authorities) tellUntrusted(name string) {
	t.mu.Lock()
	told := t.told
	t.told = true
	t.mu.Unlock()
	if !told {
		t.o.Log.Warn("tokens are kept without being judged: put the authority's root certificate into trust/tsa of the state folder", "authority", name)
	}
}

// slack is how far a token's time may lie outside the time of asking, beyond both clocks' own bounds.
const slack = time.Minute

// fits compares a token that holds with what was asked. Its time is judged only by a clock that knows its
// own error.
func fits(t token, nonce *big.Int, replied clock.Reading) error {
	if t.info.Nonce == nil || t.info.Nonce.Cmp(nonce) != 0 {
		return errors.New("the token answers another request: its nonce is not ours")
	}
	if t.asked.Error < 0 || replied.Error < 0 || t.asked.Epoch != replied.Epoch {
		return nil
	}
	early := t.asked.T.Add(-t.asked.Error - t.info.Accuracy - slack)
	late := replied.T.Add(replied.Error + t.info.Accuracy + slack)
	if t.info.Time.Before(early) || t.info.Time.After(late) {
		return fmt.Errorf("the authority's clock says %s, ours %s ± %v", t.info.Time.Format(time.RFC3339), replied.T.Format(time.RFC3339), replied.Error)
	}
	return nil
}
