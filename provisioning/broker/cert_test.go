package broker

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"minglu/agent/report"
	"minglu/provisioning/ca"
)

func authority(t *testing.T) *ca.CA {
	t.Helper()
	c, err := ca.Init(ca.Options{Dir: filepath.Join(t.TempDir(), "ca")}, "测试", []byte("correct horse battery"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// enrolled gives a device its TLS certificate.
func enrolled(t *testing.T, c *ca.CA, name string) tls.Certificate {
	t.Helper()
	request := func() (*ecdsa.PrivateKey, []byte) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, crypto.Signer(key))
		if err != nil {
			t.Fatal(err)
		}
		return key, der
	}
	_, sign := request()
	key, der := request()
	out, err := c.IssueDevice(ca.Request{Name: name, Ref: name, Sign: sign, TLS: der})
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{out.TLS.Raw, c.Issuing().Raw}, PrivateKey: key}
}

// openTLS is open with TLS and an authority.
func openTLS(t *testing.T, c *ca.CA, noPasswords bool) *office {
	t.Helper()
	conf, err := c.Serve([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	o := &office{held: map[string]bool{}}
	locked := func(f func()) { o.mu.Lock(); defer o.mu.Unlock(); f() }
	b, err := New(Options{Listen: "127.0.0.1:0", TLS: conf, NoPasswords: noPasswords,
		Login: func(d, p string) bool { return p == "secret of "+d }, Knows: func(string, string) bool { return false },
		Certificate: func(cert *x509.Certificate) (string, string) {
			e, st := c.Check(cert, "")
			if st.State == report.StandingGood {
				return e.Name, ""
			}
			return e.Name, st.State
		},
		Receive: func(m Message) { locked(func() { o.got = append(o.got, m) }) }, Refused: func(r Refusal) { locked(func() { o.refused = append(o.refused, r) }) },
		Here: func(string) { locked(func() { o.here++ }) }, Gone: func(string) { locked(func() { o.here-- }) }, Hold: o})
	if err != nil {
		t.Fatal(err)
	}
	o.Broker = b
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	if o.addr = b.Addr(ctx); o.addr == "" {
		t.Fatal(<-done)
	}
	o.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(o.stop)
	return o
}

func (o *office) secure(c *ca.CA, user, password, id string, certs ...tls.Certificate) (paho.Client, error) {
	return o.client(user, password, func(p *paho.ClientOptions) {
		roots := x509.NewCertPool()
		roots.AddCert(c.Root())
		p.Servers = nil
		p.AddBroker("ssl://" + o.addr).SetClientID(id).SetTLSConfig(&tls.Config{RootCAs: roots, Certificates: certs})
	})
}

func TestWhoGetsInByCertificate(t *testing.T) {
	c, other := authority(t), authority(t)
	room3, room4, foreign := enrolled(t, c, "room-3"), enrolled(t, c, "room-4"), enrolled(t, other, "room-3")
	if _, err := c.Revoke("room-4", ca.ReasonLost); err != nil {
		t.Fatal(err)
	}
	both, only := openTLS(t, c, false), openTLS(t, c, true)
	for _, tt := range []struct {
		rule                string
		o                   *office
		cert                []tls.Certificate
		user, password, id  string
		device, why, detail string
	}{
		{"its certificate", only, []tls.Certificate{room3}, "", "", "room-3", "", "", ""},
		{"its certificate and its name", only, []tls.Certificate{room3}, "room-3", "", "room-3", "", "", ""},
		{"a certificate needs no password to be right", both, []tls.Certificate{room3}, "room-3", "wrong", "room-3", "", "", ""},
		{"another name than the certificate's", only, []tls.Certificate{room3}, "room-9", "", "room-9", "room-3", WhyCert, "misnamed"},
		{"another client id than the certificate's name", only, []tls.Certificate{room3}, "", "", "room-9", "room-3", WhyClientID, "room-9"},
		{"a revoked one", only, []tls.Certificate{room4}, "", "", "room-4", "room-4", WhyCert, "revoked"},
		{"a revoked one does not fall back on a password", both, []tls.Certificate{room4}, "room-4", "secret of room-4", "room-4", "room-4", WhyCert, "revoked"},
		{"one of another authority", only, []tls.Certificate{foreign}, "", "", "room-3", "", WhyCert, "notenrolled"},
		{"a password where certificates are needed", only, nil, "room-5", "secret of room-5", "room-5", "", WhyCert, "notenrolled"},
		{"a password where it is allowed", both, nil, "room-5", "secret of room-5", "room-5", "", "", ""},
		{"a wrong password where it is allowed", both, nil, "room-5", "x", "room-5", "", WhyLogin, "room-5"},
	} {
		before := len(tt.o.whys())
		p, err := tt.o.secure(c, tt.user, tt.password, tt.id, tt.cert...)
		if (err == nil) != (tt.why == "") {
			t.Errorf("%s: %v", tt.rule, err)
		}
		if err == nil {
			p.Disconnect(0)
			continue
		}
		until(t, tt.rule+" is told", func() bool { return len(tt.o.whys()) > before })
		tt.o.mu.Lock()
		r := tt.o.refused[before]
		tt.o.mu.Unlock()
		if r.Device != tt.device || r.Why != tt.why || !strings.Contains(r.Detail, tt.detail) {
			t.Errorf("%s: refused %+v", tt.rule, r)
		}
	}
	if _, err := New(Options{Listen: "127.0.0.1:0", NoPasswords: true, Login: both.o.Login, Knows: both.o.Knows, Receive: both.o.Receive, Refused: both.o.Refused, Hold: both}); err == nil {
		t.Error("certificates without TLS")
	}
}

func TestRevokedConnectionEnds(t *testing.T) {
	c := authority(t)
	o := openTLS(t, c, true)
	lost := make(chan struct{})
	roots := x509.NewCertPool()
	roots.AddCert(c.Root())
	connect := func(name string, gone func()) paho.Client {
		cert := enrolled(t, c, name)
		p := paho.NewClient(paho.NewClientOptions().AddBroker("ssl://" + o.addr).SetClientID(name).SetAutoReconnect(false).SetConnectRetry(false).
			SetTLSConfig(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}}).SetConnectionLostHandler(func(paho.Client, error) { gone() }))
		if tok := p.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		return p
	}
	connect("room-3", func() { close(lost) })
	var ended atomic.Bool // paho may take its own Disconnect for a lost connection
	other := connect("room-4", func() {
		if !ended.Load() {
			t.Error("the other device was disconnected too")
		}
	})
	o.Recheck()
	if got := o.whys(); len(got) > 0 {
		t.Fatalf("refused %q", got)
	}
	if _, err := c.Revoke("room-3", ca.ReasonLost); err != nil {
		t.Fatal(err)
	}
	o.Recheck()
	select {
	case <-lost:
	case <-time.After(30 * time.Second):
		t.Fatal("still connected")
	}
	if got := o.whys(); !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "room-3 cert revoked") }) {
		t.Errorf("the office was told %q", got)
	}
	if !other.IsConnectionOpen() {
		t.Error("the other device is gone")
	}
	ended.Store(true)
	other.Disconnect(0)
}
