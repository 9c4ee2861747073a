package bridge

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"minglu/agent/evidence"
	"minglu/agent/report"
	"minglu/provisioning/ca"
)

// mosquitto starts the broker as docs/enrolment.md shows it, and returns its address.
func mosquitto(t *testing.T, authority *ca.CA, dir string) string {
	t.Helper()
	files, err := authority.Export()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, _, err := authority.IssueServer([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	conf := fmt.Sprintf(`user root
listener %s 127.0.0.1
cafile %[2]s/ca.pem
crlfile %[2]s/ca.crl
certfile %[2]s/server.pem
keyfile %[2]s/server.key
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file %[2]s/acl
`, port, dir)
	acl := "user " + ca.BrokerName + "\ntopic readwrite minglu/1/#\n\npattern readwrite minglu/1/%u/#\n"
	var roots, lists []byte
	for name, b := range files {
		switch filepath.Ext(name) {
		case ".pem":
			if filepath.Dir(name) == "ca" {
				roots = append(roots, b...)
			}
		case ".crl":
			if filepath.Dir(name) == "ca" {
				lists = append(lists, b...)
			}
		}
	}
	for name, b := range map[string][]byte{"ca.pem": roots, "ca.crl": lists, "server.pem": cert, "server.key": key, "acl": []byte(acl), "conf": []byte(conf)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto" // not in everybody's PATH
	}
	c := exec.Command(program, "-c", filepath.Join(dir, "conf"))
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			b, _ := os.ReadFile(out.Name())
			t.Logf("mosquitto:\n%s", b)
		}
	})
	return addr
}

// client connects to the broker with a certificate of the authority.
func client(t *testing.T, addr, name string, conf *tls.Config) mqtt.Client {
	t.Helper()
	o := mqtt.NewClientOptions().AddBroker("ssl://" + addr).SetClientID(name).SetTLSConfig(conf).SetAutoReconnect(false).SetConnectTimeout(5 * time.Second)
	c := mqtt.NewClient(o)
	deadline := time.Now().Add(20 * time.Second)
	for {
		token := c.Connect()
		if token.WaitTimeout(6*time.Second) && token.Error() == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%s cannot connect: %v", name, token.Error())
		}
		time.Sleep(100 * time.Millisecond) // the broker is starting
	}
	t.Cleanup(func() { c.Disconnect(100) })
	return c
}

// TestMosquitto carries reports and answers over a broker that is not ours, which lets each device only
// below its own name.
func TestMosquitto(t *testing.T) {
	authority, err := ca.Init(ca.Options{Dir: filepath.Join(t.TempDir(), "ca")}, "测试机关", []byte("a passphrase for tests"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	addr := mosquitto(t, authority, dir)
	roots := x509.NewCertPool()
	roots.AddCert(authority.Root())
	pair := func() tls.Certificate {
		c, k, _, err := authority.IssueServer([]string{"127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		p, err := tls.X509KeyPair(c, k)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	type got struct {
		device string
		kind   report.Kind
		will   bool
	}
	came := make(chan got, 10)
	refused := make(chan string, 10)
	b, err := New(Options{URL: "mqtts://" + addr, TLS: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair()}}, Name: ca.BrokerName, Log: slog.New(slog.DiscardHandler),
		Receive: func(d string, k report.Kind, _ []byte, will bool) { came <- got{d, k, will} },
		Refused: func(_, why, _ string) { refused <- why }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()

	room := client(t, addr, "room-3", &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{deviceCert(t, authority, "room-3")}})
	answers := make(chan string, 10)
	if token := room.Subscribe("minglu/1/room-3/ack", 1, func(_ mqtt.Client, m mqtt.Message) { answers <- string(m.Payload()) }); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	state, err := json.Marshal(report.State{V: 1, Device: "room-3", Online: false, Boot: "b", BdSeq: 1, Run: "0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	// Until the office has subscribed, what is not retained goes nowhere: send until it comes.
	for sent := false; !sent; {
		room.Publish("minglu/1/room-3/health", 1, false, []byte("{}"))
		select {
		case g := <-came:
			sent = g == got{"room-3", report.KindHealth, false}
		case <-time.After(200 * time.Millisecond):
		}
	}
	room.Publish("minglu/1/room-4/health", 1, false, []byte("{}")) // another room's: the broker drops it
	room.Publish("minglu/1/room-3/state", 1, true, state)
	for g := range came {
		if g.device != "room-3" {
			t.Fatalf("%+v came from room-3", g)
		}
		if g.kind == report.KindState {
			break
		}
	}
	if err := b.Send("room-3", "ack", []byte("stored")); err != nil {
		t.Fatal(err)
	}
	if a := <-answers; a != "stored" {
		t.Errorf("answer %q", a)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := b.Send("room-3", "ack", nil); err == nil {
		t.Error("sent without a connection")
	}
}

func TestOptions(t *testing.T) {
	for _, url := range []string{"", "https://broker", "mqtts://", "mqtts:broker"} {
		if _, err := New(Options{URL: url}); err == nil {
			t.Errorf("%q is taken", url)
		}
	}
}

// deviceCert enrols a device and returns its TLS certificate.
func deviceCert(t *testing.T, authority *ca.CA, name string) tls.Certificate {
	t.Helper()
	var keys [2]*ecdsa.PrivateKey
	var requests [2][]byte
	var uri *url.URL
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
		if uri == nil {
			spki, err := x509.MarshalPKIXPublicKey(keys[0].Public())
			if err != nil {
				t.Fatal(err)
			}
			uri = &url.URL{Scheme: "minglu", Opaque: evidence.DeviceID(spki)}
		}
		if requests[i], err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}, URIs: []*url.URL{uri}}, keys[i]); err != nil {
			t.Fatal(err)
		}
	}
	out, err := authority.IssueDevice(ca.Request{Name: name, Sign: requests[0], TLS: requests[1], Ref: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{out.TLS.Raw, authority.Issuing().Raw}, PrivateKey: keys[1]}
}
