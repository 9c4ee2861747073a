package web

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(withChromium{m}) }

// serve runs s until the test ends and gives its base URL. The test ends only when Run has.
func serve(t *testing.T, s *Server) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	addr := s.Addr(t.Context())
	if addr == "" {
		t.Fatal(<-ended)
	}
	done := false
	stop = func() {
		if done {
			return
		}
		done = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run = %v", err)
			}
		case <-time.After(StopWithin + time.Minute):
			t.Error("Run does not end")
		}
	}
	t.Cleanup(stop)
	return "http://" + addr, stop
}

func client(t *testing.T) *http.Client {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestEventsFollowTheState(t *testing.T) {
	f := newFake()
	url, stop := serve(t, newServer(t, f))
	r, err := client(t).Get(url + "/api/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	wait := func(what string) {
		for lines.Scan() {
			if strings.Contains(lines.Text(), what) {
				return
			}
		}
		t.Fatalf("the stream ended without %s: %v", what, lines.Err())
	}
	wait(`"state":"idle"`)
	f.now("paused", nil)
	wait(`"state":"paused"`)
	stop() // must not wait for the stream
	for lines.Scan() {
	}
}

func TestRunStopsWithClientsThatHang(t *testing.T) {
	t.Parallel()
	f, reading, enough := newFake(), make(chan struct{}), make(chan struct{})
	f.media = func() Media { // far more than any buffer between here and a client that does not read
		close(reading)
		return Media{memory{bytes.NewReader(make([]byte, 64<<20)), func() { close(enough) }}, "face-00001.mp4", opened}
	}
	url, stop := serve(t, newServer(t, f))
	host := strings.TrimPrefix(url, "http://")
	for _, say := range []string{
		"", "GET / HT", // says nothing, or half a request
		"POST /api/v1/session HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", // half a body
		"GET " + one + "/media/face/1 HTTP/1.1\r\nHost: " + host + "\r\nCookie: minglu=good\r\n\r\n",                            // never reads
	} {
		c, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, say); err != nil {
			t.Fatal(err)
		}
	}
	<-reading // else there is nothing to break off
	began := time.Now()
	r, err := client(t).Get(url + "/api/v1/state") // others are served meanwhile
	if err != nil || r.StatusCode != 200 {
		t.Fatal(r, err)
	}
	r.Body.Close()
	stop()
	<-enough
	if d := time.Since(began); d > StopWithin+20*time.Second {
		t.Errorf("stopping took %v", d)
	}
}

func TestManyWatchers(t *testing.T) {
	var h hub
	for range MaxWatchers {
		if h.join(false) == nil {
			t.Fatal("too few watchers")
		}
	}
	if h.join(false) != nil {
		t.Error("one watcher too many")
	}
	c := h.join(true)
	if c == nil {
		t.Error("the panel has no place")
	}
	h.leave(c)
	h.close()
	if h.join(true) != nil {
		t.Error("joined a closed hub")
	}
}

func TestASlowWatcherGetsTheNewestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hub
		f := newFake()
		c := h.join(true)
		ctx, cancel := context.WithCancel(t.Context())
		go h.run(ctx, f.State)
		time.Sleep(10 * Frame)
		f.now("sealing", nil)
		time.Sleep(Frame)
		synctest.Wait()
		if b := <-c; !strings.Contains(string(b), `"state":"sealing"`) {
			t.Errorf("got %s, want the newest", b)
		}
		cancel()
		synctest.Wait()
	})
}

func TestAStreamEndsWithItsLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := newServer(t, f)
		body := make(chan string)
		go func() { body <- call(s, "GET", "/api/v1/events", "", "Remote: 192.0.2.7", logged).Body.String() }()
		synctest.Wait()
		f.mu.Lock()
		delete(f.users, "good")
		f.mu.Unlock()
		if b := <-body; !strings.HasSuffix(b, "event: logout\ndata: {}\n\n") {
			t.Errorf("stream ended with %.100q", b[max(0, len(b)-100):])
		}
	})
}

func TestOnlySoManyTransfers(t *testing.T) {
	s := newServer(t, newFake())
	for range MaxTransfers {
		s.sending <- struct{}{}
	}
	if w := call(s, "GET", one+"/media/face/1", "", logged); w.Code != 503 || code(w) != "busy" {
		t.Errorf("%d %s, want 503 busy", w.Code, w.Body)
	}
	<-s.sending
	if w := call(s, "GET", one+"/media/face/1", "", logged); w.Code != 200 {
		t.Errorf("%d %s, want the file", w.Code, w.Body)
	}
}

// dialled is a listener whose connections come from other machines.
type dialled struct {
	conns chan net.Conn
	net.Listener
}

type from struct {
	net.Conn
	addr net.Addr
}

func (c from) RemoteAddr() net.Addr { return c.addr }

func (d dialled) Accept() (net.Conn, error) {
	c, ok := <-d.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func TestConnectionsAreBoundedButForThePanel(t *testing.T) {
	d := dialled{conns: make(chan net.Conn, 10)}
	l := &limited{Listener: d, places: make(chan struct{}, 2)}
	dial := func(ip string) net.Conn {
		a, b := net.Pipe()
		d.conns <- from{a, &net.TCPAddr{IP: net.ParseIP(ip)}}
		return b
	}
	accept := func() net.Conn {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for range 2 {
		dial("192.0.2.7")
	}
	first := accept()
	accept()
	refused := dial("192.0.2.8")
	dial("127.0.0.1")
	if c := accept(); !loopback(c.RemoteAddr()) {
		t.Errorf("accepted %v, want the panel", c.RemoteAddr())
	}
	if _, err := refused.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the one too many reads %v, want to be closed", err)
	}
	first.Close()
	first.Close() // gives its place back once
	dial("192.0.2.9")
	accept()
	if len(l.places) != 2 {
		t.Errorf("%d places taken, want 2", len(l.places))
	}
}

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "room-3"}, IPAddresses: []net.IP{net.ParseIP("127.0.0.1")},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, b []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	cert, keyFile := write("cert.pem", "CERTIFICATE", der), write("key.pem", "EC PRIVATE KEY", k)
	if _, err := LoadTLS(keyFile, cert); err == nil || !strings.Contains(err.Error(), "web.tls.cert") {
		t.Errorf("LoadTLS of exchanged files = %v, want what to do", err)
	}
	conf, err := LoadTLS(cert, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	url, _ := serve(t, newServer(t, newFake(), func(o *Options) { o.TLS = conf }))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer tr.CloseIdleConnections()
	r, err := (&http.Client{Transport: tr}).Get(strings.Replace(url, "http:", "https:", 1) + "/api/v1/state")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != 200 {
		t.Errorf("over TLS: %s", r.Status)
	}
}

func TestRunSaysWhyItCannotListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := newServer(t, newFake(), func(o *Options) { o.Listen = taken.Addr().String() })
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "change web.listen") {
		t.Errorf("Run = %v, want what to do", err)
	}
	if a := s.Addr(t.Context()); a != "" {
		t.Errorf("Addr = %q after a failure", a)
	}
}
