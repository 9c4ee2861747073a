package ca

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/emmansun/gmsm/smx509"

	"minglu/agent/report"
)

// Reasons for a revocation.
const (
	ReasonLost      = "key compromised" // the board or its key fell into other hands
	ReasonReplaced  = "replaced device"
	ReasonRetired   = "out of service"
	ReasonUnnamed   = "unspecified"
	checkpointEvery = 24 * time.Hour
)

// reasonCodes are those of RFC 5280 5.3.1.
var reasonCodes = map[string]int64{ReasonLost: 1, ReasonReplaced: 4, ReasonRetired: 5, ReasonUnnamed: 0}

// Reasons lists them.
func Reasons() []string { return []string{ReasonLost, ReasonReplaced, ReasonRetired, ReasonUnnamed} }

// Revoke revokes the certificates of a device by its name, or one by its serial in hex, and makes new
// revocation lists. It returns what it revoked; of a name without a good certificate that is an error.
func (c *CA) Revoke(which, reason string) (out []Entry, err error) {
	code, ok := reasonCodes[reason]
	if !ok {
		return nil, fmt.Errorf("ca: revoke: reason %q: use one of %s", reason, strings.Join(Reasons(), ", "))
	}
	err = c.change(func() error {
		var lines []any
		now := c.o.Now()
		for _, e := range c.s.entries {
			// An expired one too when it is named: what it signed before its end is judged by this list for ever.
			if e.Revoked.IsZero() && (e.Serial == strings.ToLower(which) || e.Name == which && e.Kind != KindServer && e.good(now)) {
				lines = append(lines, &revoked{Serial: e.Serial, Reason: reason, Code: code})
				out = append(out, *e)
			}
		}
		if len(lines) == 0 {
			return fmt.Errorf("%q is neither a name nor a serial with a certificate that is good: see minglu-provisioning ca list", which)
		}
		return c.append(lines...)
	})
	if err != nil {
		return nil, fmt.Errorf("ca: revoke: %w", err)
	}
	return out, c.Refresh()
}

// Refresh makes new revocation lists if something was revoked since the last ones, half of their time
// is over, or a file is missing or another.
func (c *CA) Refresh() error {
	err := c.change(func() error {
		for _, l := range []struct {
			kind, file, root string
			make             func(*state, int64) ([]byte, error)
		}{{"p256", CRLFile, rootCRLFile, c.listP256}, {"sm2", SM2CRLFile, sm2RootCRLFile, c.listSM2}} {
			if err := c.refresh(l.kind, l.file, l.root, l.make); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ca: revocation list: %w", err)
	}
	return nil
}

func (c *CA) refresh(kind, file, rootFile string, make func(*state, int64) ([]byte, error)) error {
	name := filepath.Join(c.o.Dir, file)
	have, err := readIf(name)
	if err != nil {
		return err
	}
	last := c.s.lists[kind]
	if block, _ := pem.Decode(have); block != nil && hexSHA256(block.Bytes) == last.SHA256 && last.N == c.s.count(kind) &&
		c.o.Now().Before(time.UnixMicro(last.Until).Add(-CRLFor/2)) {
		return nil
	}
	der, err := make(c.s, last.Number+1)
	if err != nil {
		return err
	}
	if err := c.append(&listed{Kind: kind, Number: last.Number + 1, SHA256: hexSHA256(der), Until: c.o.Now().Add(CRLFor).UnixMicro(), N: c.s.count(kind)}); err != nil {
		return err
	}
	root, err := readIf(filepath.Join(c.o.Dir, rootFile))
	if err != nil {
		return err
	}
	return c.files.Replace(name, append(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), root...))
}

// of reports whether an entry belongs to the list of a kind.
func of(kind string, e *Entry) bool { return (e.Kind == KindSM2) == (kind == "sm2") }

func (s *state) count(kind string) (n int64) {
	for _, e := range s.revoked {
		if of(kind, e) {
			n++
		}
	}
	return n
}

// list is the revocations of a kind. Expired certificates stay in it: what they signed is judged by it.
func (s *state) list(kind string) (out []x509.RevocationListEntry) {
	for _, e := range s.revoked {
		serial, ok := new(big.Int).SetString(e.Serial, 16)
		if of(kind, e) && ok {
			out = append(out, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: e.Revoked, ReasonCode: int(e.code)})
		}
	}
	return out
}

func (c *CA) listP256(s *state, number int64) ([]byte, error) {
	now := c.o.Now()
	return x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: now, NextUpdate: now.Add(CRLFor),
		RevokedCertificateEntries: s.list("p256")}, c.issuing, c.key)
}

func (c *CA) listSM2(s *state, number int64) ([]byte, error) {
	now := c.o.Now()
	var entries []smx509.RevocationListEntry
	for _, e := range s.list("sm2") {
		entries = append(entries, smx509.RevocationListEntry{SerialNumber: e.SerialNumber, RevocationTime: e.RevocationTime, ReasonCode: e.ReasonCode})
	}
	return smx509.CreateRevocationList(rand.Reader, &smx509.RevocationList{Number: big.NewInt(number), ThisUpdate: now, NextUpdate: now.Add(CRLFor),
		RevokedCertificateEntries: entries}, c.sm2Issuing, c.sm2Key)
}

// CRL is the newest revocation lists of issuing and root authority, PEM.
func (c *CA) CRL() ([]byte, error) {
	b, err := readIf(filepath.Join(c.o.Dir, CRLFile))
	if b != nil || err != nil {
		return b, err
	}
	if err := c.Refresh(); err != nil {
		return nil, err
	}
	return readIf(filepath.Join(c.o.Dir, CRLFile))
}

// Export is what others need to judge certificates of this authority, by name as in a trust folder
// (docs/evidence-format.md): ca/, sm2/; and the log with its checkpoint in log/. No secret is in it.
func (c *CA) Export() (map[string][]byte, error) {
	if err := c.Refresh(); err != nil {
		return nil, err
	}
	out := map[string][]byte{"log/checkpoint.txt": []byte(c.Checkpoint())}
	for to, from := range map[string]string{"ca/root.pem": RootFile, "ca/issuing.pem": IssuingFile, "ca/ca.crl": CRLFile,
		"sm2/root.pem": SM2RootFile, "sm2/issuing.pem": SM2File, "sm2/ca.crl": SM2CRLFile, "log/log.jsonl": LogFile} {
		b, err := readIf(filepath.Join(c.o.Dir, from))
		if err != nil {
			return nil, fmt.Errorf("ca: export: %w", err)
		}
		out[to] = b
	}
	return out, nil
}

// Check tells how a client's certificate stands. name is "" for any; the certificate must be one of
// ours for TLS, byte for byte.
func (c *CA) Check(cert *x509.Certificate, name string) (e Entry, s report.Standing) {
	now := c.o.Now()
	s = report.Standing{V: 1, State: report.StandingUnknown, Now: now.UTC()}
	if cert == nil {
		return e, s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.current().bySerial[hex.EncodeToString(cert.SerialNumber.Bytes())]
	if known == nil || !bytes.Equal(known.DER, cert.Raw) {
		return e, s
	}
	switch {
	case known.Kind != KindTLS || name != "" && known.Name != name:
		s.State = report.StandingMisnamed
	case !known.Revoked.IsZero():
		s.State, s.Reason, s.At = report.StandingRevoked, known.Reason, known.Revoked
	case !now.Before(known.Until):
		s.State, s.At = report.StandingExpired, known.Until
	default:
		s.State = report.StandingGood
	}
	return *known, s
}

// Stamper gets a time-stamp token (RFC 3161) over a SHA-256. A nil token without error means that it is
// queued: it is asked for again later.
type Stamper interface {
	Stamp(ctx context.Context, imprint [32]byte) (token []byte, err error)
}

// Run refreshes the revocation lists before they end and has the log stamped once a day, if stamper is
// not nil, until ctx ends. What fails is logged and tried again within the hour.
func (c *CA) Run(ctx context.Context, stamper Stamper) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := c.Refresh(); err != nil {
			c.o.Log.Error("ca", "err", err)
		}
		if stamper != nil {
			if err := c.Stamp(ctx, stamper); err != nil && ctx.Err() == nil {
				c.o.Log.Warn("ca: the log got no time stamp", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Stamp has the log's newest checkpoint stamped if the last token is a day old and something changed.
func (c *CA) Stamp(ctx context.Context, stamper Stamper) error {
	note := c.Checkpoint()
	c.mu.Lock()
	size, due := c.s.signed.size, c.o.Now().Sub(c.s.stampAt) >= checkpointEvery && c.s.signed.size > c.s.stamp+2
	c.mu.Unlock()
	if !due {
		return nil
	}
	token, err := stamper.Stamp(ctx, sha256.Sum256([]byte(note)))
	if err != nil || token == nil {
		return err
	}
	return c.change(func() error {
		dir := filepath.Join(c.o.Dir, tokensFolder)
		if err := c.files.MkdirAll(dir); err != nil {
			return err
		}
		for ext, b := range map[string][]byte{"note": []byte(note), "tsr": token} {
			if err := c.files.Replace(filepath.Join(dir, fmt.Sprintf("%012d.%s", size, ext)), b); err != nil {
				return err
			}
		}
		return c.append(&stamped{Size: size, SHA256: hexSHA256(token)})
	})
}

// serverName is the common name of the office's own certificate.
const serverName = "minglu-office"

func serverTemplate(now, until time.Time) *x509.Certificate {
	return &x509.Certificate{SerialNumber: newSerial(), Subject: pkix.Name{CommonName: serverName}, NotBefore: now.Add(-skew), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
}

func sameNames(cert *x509.Certificate, dns []string, ips []string) bool {
	have := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		have = append(have, ip.String())
	}
	for _, want := range slices.Concat(dns, ips) {
		if !slices.Contains(have, want) {
			return false
		}
	}
	return true
}
