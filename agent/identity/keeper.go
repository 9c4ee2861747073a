package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"minglu/agent/report"
)

// How often a [Keeper] looks, unless told otherwise.
const (
	DefaultCheck = 10 * time.Minute
	offlineCheck = time.Minute      // while the uplink is down, for the office may have refused it: from one tick on, doubling up to this
	keeperTick   = 10 * time.Second // between two looks at the clock and at the uplink
)

// Faults of a [Keeper].
const (
	FaultNotEnrolled = "identity.notenrolled"
	FaultRevoked     = "identity.revoked"
	FaultMisnamed    = "identity.misnamed"
	FaultExpiring    = "identity.expiring"
	FaultExpired     = "identity.expired"
)

// KeeperOptions are what a [Keeper] needs.
type KeeperOptions struct {
	Open     Options
	Identity *Identity
	Needed   bool // the office lets in nobody without a certificate: not being enrolled is a fault
	Now      func() time.Time
	// Offline reports whether the way to the office is down; Fault raises or clears a fault. Neither may block.
	Offline func() bool
	Fault   func(code, ch string, on bool)
	// Changed tells that there are other certificates from here on; Lists that there are newer
	// revocation lists: PEM, not judged. May be nil.
	Changed func(*Identity)
	Lists   func(crl, root []byte)
	Trust   func(files map[string][]byte) // report.TrustFiles of the office, at each look; may be nil
	Board   report.Board
	Check   time.Duration // 0: DefaultCheck
	Log     *slog.Logger
}

// Keeper renews the certificates of a device at two thirds of their life and asks how it stands. Safe
// for concurrent use.
type Keeper struct {
	o      KeeperOptions
	mu     sync.Mutex
	id     *Identity
	faults map[string]bool
	looked func() // a test counts looks; nil mostly
}

// NewKeeper starts nothing yet.
func NewKeeper(o KeeperOptions) *Keeper {
	if o.Check == 0 {
		o.Check = DefaultCheck
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Fault == nil {
		o.Fault = func(string, string, bool) {}
	}
	if o.Offline == nil {
		o.Offline = func() bool { return false }
	}
	return &Keeper{o: o, id: o.Identity, faults: map[string]bool{}}
}

// Current is the identity with the newest certificates. Its keys are those of the one given.
func (k *Keeper) Current() *Identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.id
}

// ClientTLS is [Office.ClientTLS] of the newest certificates, at each connection. nil: not enrolled.
func (k *Keeper) ClientTLS() *tls.Config {
	office := k.Current().Office
	if office == nil {
		return nil
	}
	t := office.ClientTLS(k.o.Now)
	t.Certificates = nil
	t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &k.Current().Office.TLS, nil
	}
	return t
}

// Run keeps the identity until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(keeperTick)
	defer tick.Stop()
	var last time.Time
	wait := keeperTick
	for {
		off, since := k.o.Offline(), k.o.Now().Sub(last)
		if !off {
			wait = keeperTick
		}
		if last.IsZero() || since < 0 || since >= k.o.Check || off && since >= wait {
			k.Look(ctx)
			if off && !last.IsZero() {
				wait = min(2*wait, offlineCheck)
			}
			last = k.o.Now()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Look renews what is due, asks how the device stands, and raises and clears the faults.
func (k *Keeper) Look(ctx context.Context) {
	if k.looked != nil {
		k.looked()
	}
	id, now := k.Current(), k.o.Now()
	if id.Office == nil {
		k.stand(map[string]bool{FaultNotEnrolled: k.o.Needed})
		return
	}
	faults := map[string]bool{FaultMisnamed: id.Office.Name != k.o.Open.Name, FaultExpired: !now.Before(id.Office.EndsAt())}
	if !now.Before(id.Office.RenewAt()) && !faults[FaultMisnamed] {
		if err := k.Renew(ctx); err != nil {
			k.o.Log.Warn("certificates not renewed", "err", err)
			left, life := id.Office.EndsAt().Sub(now), id.Office.EndsAt().Sub(id.Office.RenewAt())
			faults[FaultExpiring] = left < life/2 && left > 0
		} else {
			faults[FaultExpired] = false
		}
	}
	var st report.Standing
	t := k.ClientTLS()
	err := call(ctx, id.Office.API, t, http.MethodGet, report.PathStatus, nil, &st)
	if err != nil { // nobody said anything new
		k.mu.Lock()
		for _, code := range []string{FaultRevoked, FaultNotEnrolled} {
			faults[code] = k.faults[code]
		}
		k.mu.Unlock()
	} else {
		faults[FaultRevoked] = st.State == report.StandingRevoked
		faults[FaultNotEnrolled] = st.State == report.StandingUnknown
		faults[FaultMisnamed] = faults[FaultMisnamed] || st.State == report.StandingMisnamed
		faults[FaultExpired] = faults[FaultExpired] || st.State == report.StandingExpired
	}
	k.stand(faults)
	if err == nil && k.o.Trust != nil {
		var b []byte
		terr := call(ctx, id.Office.API, t, http.MethodGet, report.PathTrust, nil, &b)
		files, perr := report.ParseTrustFiles(b)
		if terr = errors.Join(terr, perr); terr == nil {
			k.o.Trust(files.Files)
		} else {
			k.o.Log.Warn("what the office trusts is not known", "err", terr)
		}
	}
	if err == nil && k.o.Lists != nil {
		var crl, root []byte
		lerr := errors.Join(call(ctx, id.Office.API, t, http.MethodGet, report.PathCRL, nil, &crl), call(ctx, id.Office.API, t, http.MethodGet, report.PathRoot, nil, &root))
		if lerr == nil {
			k.o.Lists(crl, root)
		} else {
			k.o.Log.Warn("the office's revocation lists are not renewed", "err", lerr)
		}
	}
}

// stand tells what has changed.
func (k *Keeper) stand(faults map[string]bool) {
	for _, code := range []string{FaultNotEnrolled, FaultRevoked, FaultMisnamed, FaultExpiring, FaultExpired} {
		k.mu.Lock()
		same := k.faults[code] == faults[code]
		k.faults[code] = faults[code]
		k.mu.Unlock()
		if !same {
			k.o.Fault(code, "", faults[code])
		}
	}
}

// Renew gets new certificates for the same keys, and makes them the current ones.
func (k *Keeper) Renew(ctx context.Context) error {
	id := k.Current()
	keys, err := id.makeKeys()
	if err != nil {
		return fmt.Errorf("identity: renew: %w", err)
	}
	ask, err := id.request(id.Office.Name, keys)
	if err != nil {
		return fmt.Errorf("identity: renew: %w", err)
	}
	ask.Board = k.o.Board
	ask.Board.TPM = id.TPM
	next := *id
	next.Office, next.SM2PEM, next.Earlier = nil, nil, nil
	root := id.Office.Root
	if err := id.ask(ctx, id.Office.API, k.ClientTLS(), report.PathRenew, ask, keys, id.Office.Ref, func() *x509.Certificate { return root }, k.o.Now()); err != nil {
		return fmt.Errorf("identity: renew: %w", err)
	}
	e, err := next.settle()
	if err == nil {
		err = next.loadCerts(k.o.Open.Name)
	}
	if err == nil {
		err = next.loadOffice(e)
	}
	if err != nil {
		return fmt.Errorf("identity: renew: %s: %w", filepath.Join(id.dir, EnrolmentFile), err)
	}
	k.mu.Lock()
	k.id = &next
	k.mu.Unlock()
	k.o.Log.Info("certificates renewed", "until", next.Office.EndsAt().Format(time.RFC3339))
	if k.o.Changed != nil {
		k.o.Changed(&next)
	}
	return nil
}
