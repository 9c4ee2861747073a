package uplink

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"minglu/agent/clock"
	"minglu/agent/report"
)

const childEnv = "MINGLU_UPLINK_CHILD"

// within bounds each wait of these tests; none should come near.
const within = 2 * time.Minute

// broker is a mosquitto on a port of its own.
type broker struct {
	t    *testing.T
	conf string
	port int
	cmd  *exec.Cmd
}

func newBroker(t *testing.T, lines ...string) *broker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, port: l.Addr().(*net.TCPAddr).Port, conf: filepath.Join(t.TempDir(), "mosquitto.conf")}
	l.Close()
	text := fmt.Sprintf("user root\nlistener %d 127.0.0.1\npersistence false\nlog_dest none\n%s\n", b.port, strings.Join(lines, "\n"))
	if err := os.WriteFile(b.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	name, err := exec.LookPath("mosquitto")
	if err != nil {
		name = "/usr/sbin/mosquitto"
	}
	b.cmd = exec.Command(name, "-c", b.conf)
	if err := b.cmd.Start(); err != nil {
		b.t.Fatalf("%v: run tools/install", err)
	}
}

func (b *broker) stop() {
	if b.cmd != nil {
		b.cmd.Process.Kill()
		b.cmd.Wait()
		b.cmd = nil
	}
}

// realOffice is the office of world, at a real broker.
type realOffice struct {
	*world
	client  mqtt.Client
	changed chan struct{}
	kept    []string // retained messages as they came to a new subscriber
}

func newOffice(t *testing.T, b *broker, name string) *realOffice {
	t.Helper()
	o := &realOffice{world: &world{t: t}, changed: make(chan struct{}, 1)}
	o.office.numbers, o.office.bodies = map[string][]int64{}, map[string]string{}
	opts := mqtt.NewClientOptions().AddBroker(fmt.Sprintf("tcp://127.0.0.1:%d", b.port)).SetClientID(name).
		SetConnectRetry(true).SetConnectRetryInterval(50 * time.Millisecond).SetMaxReconnectInterval(100 * time.Millisecond).SetConnectTimeout(2 * time.Second).
		SetOnConnectHandler(func(c mqtt.Client) { c.Subscribe("minglu/1/#", 1, o.receive) })
	o.client = mqtt.NewClient(opts)
	if tok := o.client.Connect(); !tok.WaitTimeout(within) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	t.Cleanup(func() { o.client.Disconnect(100) })
	return o
}

func (o *realOffice) receive(c mqtt.Client, m mqtt.Message) {
	if m.Retained() {
		_, k, _ := report.ParseTopic(m.Topic())
		o.lock(func() { o.kept = append(o.kept, string(k)) })
	}
	if ack := o.arrive(m.Topic(), m.Payload(), m.Retained()); ack != nil {
		c.Publish(report.Topic(device, report.KindAck), 1, false, ack) // not waited for: a handler may not
	}
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// until waits for what arrives to make cond true.
func (o *realOffice) until(what string, cond func() bool) {
	o.t.Helper()
	late := time.After(within)
	for {
		ok := false
		o.lock(func() { ok = cond() })
		if ok {
			return
		}
		select {
		case <-o.changed:
		case <-late:
			o.t.Fatalf("waited in vain: %s; office: %+v", what, o.office)
		}
	}
}

// count is how many numbered messages the office has.
func (o *realOffice) count() (n int) {
	for _, ns := range o.office.numbers {
		n += len(ns)
	}
	return n
}

// room is an uplink in a process of its own, which can be killed.
type room struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startRoom(t *testing.T, url, dir string) *room {
	t.Helper()
	r := &room{t: t, cmd: exec.Command(os.Args[0])}
	r.cmd.Env = append(os.Environ(), childEnv+"="+url, childEnv+"_DIR="+dir)
	r.cmd.Stderr = os.Stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	r.out = bufio.NewScanner(out)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	return r
}

// say publishes messages and returns when they are durable.
func (r *room) say(from, to int) {
	r.t.Helper()
	for i := from; i <= to; i++ {
		fmt.Fprintf(r.in, "s-%d\n", i)
	}
	for i := from; i <= to; i++ {
		if !r.out.Scan() || r.out.Text() != fmt.Sprintf("durable s-%d", i) {
			r.t.Fatalf("the room said %q", r.out.Text())
		}
	}
}

func (r *room) kill() {
	r.cmd.Process.Signal(syscall.SIGKILL)
	r.cmd.Wait()
}

// beRoom is the child's main.
func beRoom(url, dir string) {
	o := realOptions(url, dir)
	o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	u, err := New(o)
	if err != nil {
		panic(err)
	}
	go u.Run(context.Background())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := u.Publish(report.SessionPaused, report.SessionEvent{Session: in.Text()}); err != nil {
			panic(err)
		}
		for durable := false; !durable; time.Sleep(time.Millisecond) {
			u.box.mu.Lock()
			durable = u.box.queued == 0
			u.box.mu.Unlock()
		}
		fmt.Println("durable", in.Text())
	}
}

func realOptions(url, dir string) Options {
	return Options{
		URL: url, Device: device, Outbox: dir, Username: device, Password: "hunter2",
		State:  func() report.State { return report.State{Boot: "b0", State: "idle"} },
		Health: func() report.Health { return report.Health{T: time.Now().UTC()} },
		Compliance: func() report.Compliance {
			return report.Compliance{T: time.Now().UTC(), Profile: report.Profile{ID: "p", Version: "1"}}
		},
		Now:      func() clock.Reading { return clock.Reading{T: time.Now().UTC(), Up: clock.Uptime()} },
		RetryMin: 20 * time.Millisecond, RetryMax: 100 * time.Millisecond, Timeout: 3 * time.Second, AckTimeout: 200 * time.Millisecond, HealthEvery: time.Second,
	}
}

func TestMosquittoAndRoomDieInTurn(t *testing.T) {
	b := newBroker(t, "allow_anonymous true")
	o := newOffice(t, b, "office")
	dir, url := t.TempDir(), fmt.Sprintf("mqtt://127.0.0.1:%d", b.port)
	r := startRoom(t, url, dir)
	r.say(1, 10)
	o.until("the first ten", func() bool { return o.count() == 10 })

	b.stop()
	r.say(11, 30)
	r.kill() // while the broker is away
	r = startRoom(t, url, dir)
	r.say(31, 40)
	b.start()
	o.until("what was said while the broker was away", func() bool { return o.count() == 40 })

	o.lock(func() { o.office.deaf, o.office.seen = true, nil })
	r.say(41, 45)
	o.until("messages sent again, for no ack came", func() bool { return o.count() == 45 && o.office.twice >= 10 })
	r.kill() // before any ack of them
	o.until("the Will", func() bool {
		return slices.ContainsFunc(o.office.seen, func(s string) bool { return strings.HasPrefix(s, "state false ") })
	})
	o.lock(func() { o.office.deaf = false })
	r = startRoom(t, url, dir)
	r.say(46, 50)
	o.until("the rest", func() bool { return o.count() == 50 })

	o.lock(func() { o.kept, o.office.seen = nil, nil })
	late := newOffice(t, b, "late")
	late.until("the retained state", func() bool { return len(late.kept) > 0 })
	late.until("a health message", func() bool { return len(late.office.seen) > 2 })
	if !slices.Equal(late.kept, []string{"state"}) {
		t.Errorf("retained: %q, want state alone", late.kept)
	}

	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.office.numbers) != 1 || len(o.office.wrong) > 0 {
		t.Errorf("%d outboxes, wrong: %q", len(o.office.numbers), o.office.wrong)
	}
	for id, ns := range o.office.numbers {
		for i := range ns {
			var m report.Numbered
			if err := json.Unmarshal([]byte(o.office.bodies[fmt.Sprint(id, i+1)]), &m); err != nil || string(m.Body) != fmt.Sprintf(`{"session":"s-%d"}`, i+1) {
				t.Errorf("message %d is %s, %v", i+1, m.Body, err)
			}
		}
	}
}

// TestMosquittoWithTLSAndPassword: credentials and the broker's certificate are checked, and never logged.
func TestMosquittoWithTLSAndPassword(t *testing.T) {
	dir := t.TempDir()
	roots := selfSigned(t, dir)
	passwords := filepath.Join(dir, "passwords")
	if out, err := exec.Command("mosquitto_passwd", "-c", "-b", passwords, device, "hunter2").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	plain := newBroker(t, "allow_anonymous false", "password_file "+passwords)
	secret := newBroker(t, "allow_anonymous false", "password_file "+passwords, "certfile "+filepath.Join(dir, "cert.pem"), "keyfile "+filepath.Join(dir, "key.pem"))
	for _, tt := range []struct {
		rule   string
		url    string
		change func(o *Options)
		log    string // "": it connects
	}{
		{"a password", fmt.Sprintf("mqtt://127.0.0.1:%d", plain.port), func(*Options) {}, ""},
		{"a password in the address", fmt.Sprintf("mqtt://%s:hunter2@127.0.0.1:%d", device, plain.port), func(o *Options) { o.Username, o.Password = "", "" }, ""},
		{"a wrong password", fmt.Sprintf("mqtt://127.0.0.1:%d", plain.port), func(o *Options) { o.Password = "hunter22" }, "not Authorized"},
		{"the office's own CA", fmt.Sprintf("mqtts://127.0.0.1:%d", secret.port), func(o *Options) { o.TLS = &tls.Config{RootCAs: roots} }, ""},
		{"a broker the system does not know", fmt.Sprintf("mqtts://127.0.0.1:%d", secret.port), func(*Options) {}, "certificate signed by unknown authority"},
		{"a broker with TLS, spoken to without", fmt.Sprintf("mqtt://127.0.0.1:%d", secret.port), func(*Options) {}, "no connection"},
	} {
		log, connected := newLines(), make(chan struct{}, 100)
		o := realOptions(tt.url, t.TempDir())
		o.Log = slog.New(slog.NewTextHandler(log, nil))
		o.State = func() report.State {
			select {
			case connected <- struct{}{}:
			default:
			}
			return report.State{Boot: "b0", State: "idle"}
		}
		tt.change(&o)
		u, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeoutCause(t.Context(), within, fmt.Errorf("waited in vain"))
		done := make(chan error, 1)
		go func() { done <- u.Run(ctx) }()
		for waiting := true; waiting; {
			select {
			case <-connected:
				waiting = tt.log != ""
			case line := <-log.lines:
				waiting = tt.log == "" || !strings.Contains(line, tt.log)
			case <-ctx.Done():
				t.Errorf("%s: %v: %+v", tt.rule, context.Cause(ctx), u.Status())
				waiting = false
			}
		}
		stop()
		<-done
		if s := log.String() + u.Status().LastError; strings.Contains(s, "hunter2") {
			t.Errorf("%s: the password is in the log: %s", tt.rule, s)
		}
	}
}

// lines keeps a log and passes its lines on.
type lines struct {
	lockedBuffer
	lines chan string
}

func newLines() *lines { return &lines{lines: make(chan string, 1000)} }

func (l *lines) Write(p []byte) (int, error) {
	select {
	case l.lines <- string(p):
	default:
	}
	return l.lockedBuffer.Write(p)
}

// selfSigned writes cert.pem and key.pem for 127.0.0.1.
func selfSigned(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(cert)
	return pool
}
