package identity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"minglu/agent/report"
)

// callWithin bounds one call of the office.
const callWithin = 20 * time.Second

// ErrNotOffice means that whoever answered is not the office the code, or the enrolment, is of.
var ErrNotOffice = errors.New("who answers there is not the office: compare the address, and make sure that the code is from that office")

// ClientTLS is how to speak TLS to the office the device is enrolled with: with the device's certificate,
// and to nobody but a server that the office's root vouches for. By which name or address the office was
// reached does not matter: its authority gives certificates for servers to itself alone.
func (o *Office) ClientTLS(now func() time.Time) *tls.Config {
	return officeTLS(func(cs []*x509.Certificate) *x509.Certificate { return o.Root }, []tls.Certificate{o.TLS}, now)
}

func officeTLS(root func([]*x509.Certificate) *x509.Certificate, certs []tls.Certificate, now func() time.Time) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: certs,
		InsecureSkipVerify: true, // VerifyConnection does it, by the pinned root
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return ErrNotOffice
			}
			r := root(cs.PeerCertificates)
			if r == nil {
				return ErrNotOffice
			}
			roots, between := x509.NewCertPool(), x509.NewCertPool()
			roots.AddCert(r)
			for _, c := range cs.PeerCertificates[1:] {
				between.AddCert(c)
			}
			leaf := cs.PeerCertificates[0]
			_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: later(now(), leaf.NotBefore),
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			if err != nil {
				return fmt.Errorf("%w (%w)", ErrNotOffice, err)
			}
			return nil
		}}
}

// maxLists is how long revocation lists may be, some 50 bytes for each certificate ever revoked: what a verifier
// reads of a file of the trust folder.
const maxLists = 1 << 20

// call does one request of the device API. A refusal is of type *report.EnrolRefusal.
func call(ctx context.Context, office string, t *tls.Config, method, path string, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, (&url.URL{Scheme: "https", Host: office, Path: path}).String(), send)
	if err != nil {
		return err
	}
	tr := &http.Transport{TLSClientConfig: t, DisableKeepAlives: true, ForceAttemptHTTP2: false}
	defer tr.CloseIdleConnections()
	client := http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(r)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err
		}
		return fmt.Errorf("office %s: %w", office, err)
	}
	defer res.Body.Close()
	most := int64(report.MaxEnrol)
	if path == report.PathCRL {
		most = maxLists
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err != nil || int64(len(b)) > most {
		return fmt.Errorf("office %s: its answer is cut or too long: %w", office, err)
	}
	if res.StatusCode != http.StatusOK {
		var why report.EnrolRefusal
		if json.Unmarshal(b, &why) != nil || why.Code == "" {
			return fmt.Errorf("office %s: HTTP status %d: is this the device API of the office?", office, res.StatusCode)
		}
		return &why
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = b
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("office %s: its answer: %w", office, err)
	}
	return nil
}

// keys are those beside the signing key.
type keys struct {
	tls *ecdsa.PrivateKey
	sm2 *sm2.PrivateKey
}

// makeKeys reads them, or makes them and makes them durable: a request sent twice has the same keys.
func (id *Identity) makeKeys() (k *keys, err error) {
	k = new(keys)
	name := filepath.Join(id.dir, TLSKeyFile)
	b, err := readSecret(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k.tls, err = makeKey(name, id.files)
	case err == nil:
		if k.tls, err = parseKey(b); err != nil {
			err = fmt.Errorf("%s: %w: remove it and enrol again", name, err)
		}
	}
	if err != nil {
		return nil, err
	}
	k.sm2, err = makeSM2(id.dir, id.files)
	return k, err
}

// request makes the PKCS #10 requests.
func (id *Identity) request(name string, k *keys) (e report.Enrol, err error) {
	e = report.Enrol{V: 1, Name: name}
	uris := []*url.URL{{Scheme: "minglu", Opaque: id.D}}
	for _, r := range []struct {
		key crypto.Signer
		to  *[]byte
	}{{id.Key, &e.Sign}, {k.tls, &e.TLS}} {
		if *r.to, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}, URIs: uris, SignatureAlgorithm: x509.ECDSAWithSHA256}, r.key); err != nil {
			return e, err
		}
	}
	e.SM2, err = smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{Subject: pkix.Name{CommonName: name}, URIs: uris, SignatureAlgorithm: smx509.SM2WithSM3}, k.sm2)
	return e, err
}

// Enrolment is what [Enrol] did.
type Enrolment struct {
	Already bool // by this very code, before
	Device  string
	Office  *Office
}

// Enrol gets the device its certificates: makes the keys that are missing, asks the office, checks the
// answer and commits it with one rename. It may be asked again after a cut or an error, with the same
// code. office is host:port of the device API. A refusal of the office is of type *report.EnrolRefusal.
func Enrol(ctx context.Context, o Options, office string, code report.EnrolCode, board report.Board) (*Enrolment, error) {
	if _, _, err := net.SplitHostPort(office); err != nil {
		return nil, fmt.Errorf("identity: enrol: office %q: want HOST:PORT of its device API", office)
	}
	id, err := Open(o)
	if err != nil {
		return nil, err
	}
	defer id.Close()
	if id.Office != nil && id.Office.Ref == code.Ref() && id.Office.Name == o.Name {
		return &Enrolment{Already: true, Device: id.D, Office: id.Office}, nil
	}
	k, err := id.makeKeys()
	if err != nil {
		return nil, fmt.Errorf("identity: enrol: %w", err)
	}
	ask, err := id.request(o.Name, k)
	if err != nil {
		return nil, fmt.Errorf("identity: enrol: %w", err)
	}
	ask.Code, ask.Board = code.String(), board
	ask.Board.TPM = id.TPM
	var root *x509.Certificate
	t := officeTLS(func(cs []*x509.Certificate) *x509.Certificate {
		for _, c := range cs {
			if code.IsRoot(c.Raw) {
				root = c
				return c
			}
		}
		return nil
	}, nil, time.Now)
	if err := id.ask(ctx, office, t, report.PathEnrol, ask, k, code.Ref(), func() *x509.Certificate { return root }, time.Now()); err != nil {
		return nil, fmt.Errorf("identity: enrol: %w", err)
	}
	if err := id.Close(); err != nil {
		return nil, err
	}
	after, err := Open(o)
	if err != nil {
		return nil, err
	}
	return &Enrolment{Device: after.D, Office: after.Office}, after.Close()
}

// ask sends a request and commits what comes back.
func (id *Identity) ask(ctx context.Context, office string, t *tls.Config, path string, r report.Enrol, k *keys, ref string, root func() *x509.Certificate, at time.Time) error {
	var b []byte
	if err := call(ctx, office, t, http.MethodPost, path, r, &b); err != nil {
		return err
	}
	reply, err := report.ParseEnrolled(b)
	if err != nil {
		return err
	}
	if err := id.check(&reply, r.Name, k, root(), at); err != nil {
		return fmt.Errorf("the office's answer cannot be used: %w", err)
	}
	e := &enrolment{V: 1, Office: office, Ref: ref, Reply: reply}
	if had, err := id.settle(); err != nil {
		return err
	} else if had != nil { // a renewal or another enrolment of the same key
		e.Key, e.Earlier = had.Key, had.Earlier
	}
	return id.commit(e)
}
