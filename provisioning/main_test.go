package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"minglu/agent/report"
	"minglu/provisioning/config"
)

// TestMain lets the test binary be the program itself, so that it can be killed.
func TestMain(m *testing.M) {
	if os.Getenv("MINGLU_OFFICE_ARGS") == "" {
		os.Exit(m.Run())
	}
	os.Args = append(os.Args[:1], strings.Split(os.Getenv("MINGLU_OFFICE_ARGS"), "\n")...)
	main()
}

const demo = "demo: true\nweb: {listen: \"127.0.0.1:0\", auth: none}\nmqtt: {listen: \"127.0.0.1:0\"}\n"

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "office.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func do(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var o, e bytes.Buffer
	code = command(t.Context(), args, strings.NewReader(stdin), &o, &e)
	return code, o.String(), e.String()
}

func TestCommands(t *testing.T) {
	good := write(t, demo)
	for _, tt := range []struct {
		rule  string
		stdin string
		args  []string
		code  int
		out   string // in either output
	}{
		{"nothing to do", "", nil, 2, "serve"},
		{"help", "", []string{"--help"}, 0, "device add"},
		{"version", "", []string{"version"}, 0, "minglu-provisioning "},
		{"example", "", []string{"example"}, 0, "mqtt:"},
		{"an unknown command", "", []string{"fly"}, 2, "--help"},
		{"no configuration named", "", []string{"serve"}, 2, "config"},
		{"no such configuration", "", []string{"serve", "--config", "/nonexistent"}, 2, "--config"},
		{"a configuration with an unknown key", "", []string{"serve", "--config", write(t, "name: a\nwebb: {}\n")}, 2, "office.yaml:2:"},
		{"an open door", "", []string{"serve", "--config", write(t, "mqtt: {listen: \"0.0.0.0:1883\"}")}, 2, "mqtt.tls"},
		{"certificates that are not there", "", []string{"serve", "--config", write(t, "mqtt: {listen: \"0.0.0.0:1883\", tls: {cert: a, key: b}}")}, 2, "mqtt.tls"},
		{"two devices", "", []string{"device", "add", "room-1", "room-2", "--config", good}, 0, "room-2 "},
		{"a bad device name", "", []string{"device", "add", "Room", "--config", good}, 2, "lower-case"},
		{"list", "", []string{"device", "list", "--config", good}, 0, "room-1\nroom-2\n"},
		{"a user", "correct horse\n", []string{"user", "add", "王某", "--role", "manager", "--config", good}, 0, "王某"},
		{"a short password", "x\n", []string{"user", "add", "王某", "--role", "manager", "--config", good}, 2, "longer"},
		{"no password", "", []string{"user", "add", "王某", "--role", "manager", "--config", good}, 2, "standard input"},
		{"an unknown role", "correct horse\n", []string{"user", "add", "王某", "--role", "king", "--config", good}, 2, "manager"},
	} {
		code, stdout, stderr := do(t, tt.stdin, tt.args...)
		if code != tt.code || !strings.Contains(stdout+stderr, tt.out) {
			t.Errorf("%s: exit %d (want %d): %s%s", tt.rule, code, tt.code, stdout, stderr)
		}
	}
}

func addDevice(t *testing.T, file, name string) (password string) {
	t.Helper()
	code, out, stderr := do(t, "", "device", "add", name, "--config", file)
	f := strings.Fields(out)
	if code != 0 || len(f) != 2 {
		t.Fatalf("device add: %d %s%s", code, out, stderr)
	}
	return f[1]
}

// room is a device with a client of its own and an outbox in memory.
type room struct {
	paho.Client
	acks chan report.Ack
}

func connect(t *testing.T, mqtt, name, password string) *room {
	t.Helper()
	r := &room{acks: make(chan report.Ack, 1000)}
	will, err := report.Marshal(report.State{Device: name, Run: run1, BdSeq: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.Client = paho.NewClient(paho.NewClientOptions().AddBroker("tcp://"+mqtt).SetClientID(name).SetUsername(name).SetPassword(password).
		SetAutoReconnect(false).SetBinaryWill("minglu/1/"+name+"/state", will, 1, true))
	for end := time.Now().Add(10 * time.Second); ; {
		tok := r.Connect()
		if tok.WaitTimeout(5*time.Second) && tok.Error() == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("connect: %v", tok.Error())
		}
	}
	tok := r.Subscribe(report.Topic(name, report.KindAck), 1, func(_ paho.Client, m paho.Message) {
		if a, err := report.ParseAck(m.Payload()); err == nil {
			r.acks <- a
		}
	})
	if !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	t.Cleanup(func() { r.Disconnect(0) })
	return r
}

const run1, box = "aaaaaaaaaaaaaaaa", "00112233445566aa"

func opened(t *testing.T, name string, n int64) []byte {
	t.Helper()
	body, err := report.MarshalBody(report.SessionEvent{Session: fmt.Sprintf("20261123T060509Z-%08x", n)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := report.Marshal(report.Numbered{Device: name, Outbox: box, N: n, T: time.Unix(1_800_000_000+n, 0).UTC(), Type: report.SessionOpened, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func get(t *testing.T, url string, v any) error {
	t.Helper()
	a, err := http.Get(url)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != 200 {
		err = fmt.Errorf("%d %s", a.StatusCode, b)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// TestFromDeviceToPage: a registered device reports, and the API shows it; a Will makes it silent.
func TestFromDeviceToPage(t *testing.T) {
	file := write(t, demo)
	password := addDevice(t, file, "room-3")
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	addr, done := make(chan [2]string, 1), make(chan error, 1)
	go func() {
		done <- serve(ctx, cfg, slog.New(slog.DiscardHandler), func(web, mqtt string) { addr <- [2]string{web, mqtt} })
	}()
	var at [2]string
	select {
	case at = <-addr:
	case err := <-done:
		t.Fatal(err)
	}
	r := connect(t, at[1], "room-3", password)
	state, err := report.Marshal(report.State{Device: "room-3", Online: true, Run: run1, BdSeq: 1, Boot: "b", T: time.Now(), Room: "询问室三", State: "idle", Since: time.Now(), Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r.Publish(report.Topic("room-3", report.KindState), 1, true, state)
	r.Publish(report.Topic("room-3", report.KindSession), 1, false, opened(t, "room-3", 1))
	select {
	case a := <-r.acks:
		t.Logf("stored and acknowledged after %v", time.Since(began).Round(time.Millisecond))
		if a.Outbox != box || a.UpTo != 1 {
			t.Errorf("acknowledged %+v", a)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("not acknowledged")
	}
	is := func(what, want string) {
		t.Helper()
		var room struct{ Class, Room string }
		for end := time.Now().Add(5 * time.Second); room.Class != want; time.Sleep(10 * time.Millisecond) { // over HTTP there is nothing to wait on
			if err := get(t, "http://"+at[0]+"/api/v1/rooms/room-3", &room); err != nil || time.Now().After(end) {
				t.Fatalf("%s: %+v, %v", what, room, err)
			}
		}
	}
	is("no list yet", "partial")
	r.Publish(report.Topic("room-9", report.KindSession), 1, false, "evil").WaitTimeout(5 * time.Second)
	is("thrown out for a foreign topic, its Will came", "silent")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestKilled: an office is killed again and again while a device reports; in the end every message is
// there once, in order, and what was acknowledged was never lost.
func TestKilled(t *testing.T) {
	file := write(t, strings.ReplaceAll(strings.ReplaceAll(demo, "127.0.0.1:0\", auth", "127.0.0.1:"+free(t)+"\", auth"), "{listen: \"127.0.0.1:0\"}", "{listen: \"127.0.0.1:"+free(t)+"\"}"))
	password := addDevice(t, file, "room-3")
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	start := func() *exec.Cmd {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "MINGLU_OFFICE_ARGS=serve\n--config\n"+file)
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	const total = 400
	var acked int64
	kills := 0
	for acked < total {
		c := start()
		r := connect(t, cfg.MQTT.Listen, "room-3", password)
		kill := time.After(time.Duration(60+37*kills) * time.Millisecond) // later each time, so that it comes to an end
		next := time.NewTicker(2 * time.Millisecond)                      // so that a kill falls among messages, commits and acknowledgements
		for n, alive := acked+1, true; alive && acked < total; {          // what is not acknowledged is sent again
			select {
			case <-next.C:
				if n <= total {
					r.Publish(report.Topic("room-3", report.KindSession), 1, false, opened(t, "room-3", n))
					n++
				}
			case a := <-r.acks:
				if a.UpTo < acked {
					t.Fatalf("acknowledged up to %d after %d: something was lost", a.UpTo, acked)
				}
				acked = a.UpTo
			case <-kill:
				kills, alive = kills+1, false
			}
		}
		next.Stop()
		if acked < total {
			_ = c.Process.Kill()
			_ = c.Wait()
			r.Disconnect(0)
			continue
		}
		var got struct {
			Events []struct {
				N    int64
				Body struct{ Session string }
			}
		}
		if err := get(t, "http://"+cfg.Web.Listen+"/api/v1/events?limit=1000", &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Events) != total {
			t.Errorf("%d events, want %d", len(got.Events), total)
		}
		for i, e := range got.Events {
			if e.N != int64(total-i) || e.Body.Session != fmt.Sprintf("20261123T060509Z-%08x", e.N) {
				t.Fatalf("event %d is number %d", i, e.N)
			}
		}
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := c.Wait(); err != nil {
			t.Errorf("SIGTERM: %v", err)
		}
	}
	if kills < 3 {
		t.Errorf("only %d kills: too quick to prove anything", kills)
	}
	t.Logf("%d kills, %d messages each there once", kills, total)
}

// free gives a port that is free now; the office must have the same one after each kill.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	return port
}
