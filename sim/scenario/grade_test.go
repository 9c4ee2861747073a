package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestGradeThreeAcrossNamespaces: an office, a mosquitto in the middle and a room, each in a network
// namespace of its own. From ca init on five commands make a session that a third party finds to be signed
// by an enrolled device, bounded by outside time stamps and witnessed: grade 3.
func TestGradeThreeAcrossNamespaces(t *testing.T) {
	t.Parallel()
	officeNS, middle, roomNS := Between(t)
	const (
		officeIP = "10.98.1.2"
		broker   = "10.98.1.1" // the middle, seen from the office …
		toRoom   = "10.98.2.1" // … and from the room
		name     = "room-3"
	)
	// The authority for time is somebody else's, in the office's reach alone.
	tsaDir := t.TempDir()
	tsa := startCommand(t, inNamespace(officeNS, lab.Sim, "tsa", "--dir", tsaDir, "--listen", "127.0.0.1:8318"))
	Wait(t, 10*time.Second, "the time-stamping authority listens", func() bool { return strings.Contains(tsa.out.String(), "http://") })

	dir := t.TempDir()
	office := &Authority{Office: &Office{Dir: dir, Config: filepath.Join(dir, "office.yaml"), t: t, lab: lab}, API: officeIP + ":8093"}
	text := fmt.Sprintf(`name: 测试管理端
demo: true
state: office
web: {listen: "127.0.0.1:8090", auth: none}
mqtt: {url: "mqtts://%s:8883", ca: root.pem, tls: {cert: client.pem, key: client.key}}
devices_api: {listen: "0.0.0.0:8093", hosts: [%s]}
timestamp: {urls: ["http://127.0.0.1:8318/"], roots: [%q]}
`, broker, officeIP, filepath.Join(tsaDir, "root.pem"))
	phrase := filepath.Join(dir, "phrase")
	for file, b := range map[string]string{office.Config: text, phrase: "correct horse battery\n"} {
		if err := os.WriteFile(file, []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	// 1
	run(t, lab.Serve, "ca", "init", "--config", office.Config, "--passphrase", phrase)
	mosquitto := office.middleBroker(t, middle, broker, toRoom)
	// 2
	serve := startCommand(t, inNamespace(officeNS, lab.Serve, "serve", "--config", office.Config))
	Wait(t, 20*time.Second, "the office is at the broker", func() bool { return strings.Contains(serve.out.String(), "connected to the broker") })
	// 3
	code := office.Code(name)
	a := board(t, name)
	a.ns = roomNS
	own, err := os.ReadFile(a.Config)
	if err == nil {
		err = os.WriteFile(a.Config, fmt.Appendf(own, "mqtt: {url: \"mqtts://%s:8883\"}\n", toRoom), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	// 4
	if out, err := inNamespace(roomNS, lab.Agent, "enrol", "--config", a.Config, "--office", office.API, "--code", code).CombinedOutput(); err != nil {
		t.Fatalf("enrol: %v: %s", err, out)
	}
	// 5
	a.Restart()
	a.WaitLive(30 * time.Second)
	id := a.Begin()
	folder := a.Session(0, id)
	Wait(t, 60*time.Second, "the running session has an outside time", func() bool { return strings.Contains(read(t, folder, "log.jsonl"), `"type":"anchor"`) })
	a.End(id)

	trust := filepath.Join(t.TempDir(), "trust")
	run(t, lab.Serve, "trust", "export", "--config", office.Config, "--to", trust)
	var exit int
	var said string
	Wait(t, 90*time.Second, "a third party finds grade 3", func() bool {
		exit, said = lab.Verify(t, "--trust", trust, "--require", "3", folder)
		return exit == 0
	})
	if !strings.Contains(said, "3") {
		t.Errorf("verify says %s", said)
	}
	// The office has the lines of the ledger, byte for byte, and they name the session.
	ledgers, err := filepath.Glob(filepath.Join(dir, "office", "ledgers", "*", "*", "log.jsonl"))
	if err != nil || len(ledgers) != 1 {
		t.Fatalf("ledgers at the office: %v, %v", ledgers, err)
	}
	Wait(t, 60*time.Second, "the office keeps the ledger's lines", func() bool { return strings.Contains(read(t, ledgers[0]), id) })
	byHand(t, folder, trust)
	if a.Stop() != 0 {
		t.Error("the agent did not end well")
	}
	a.outsider(office.Office, id, trust)
	if mosquitto.ended() || serve.ended() {
		t.Error("broker or office ended")
	}
}

// read reads a file; one that does not exist is empty.
func read(t testing.TB, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// middleBroker starts mosquitto in a namespace, with a certificate of the authority for both of its sides,
// and gives the office one to come with. It lets each device only below its own name.
func (o *Authority) middleBroker(t testing.TB, ns string, hosts ...string) *process {
	t.Helper()
	dir := t.TempDir()
	o.CA(append([]string{"server"}, append(hosts, "--cert", filepath.Join(dir, "server.pem"), "--key", filepath.Join(dir, "server.key"))...)...)
	o.CA("server", "office.example", "--cert", filepath.Join(o.Dir, "client.pem"), "--key", filepath.Join(o.Dir, "client.key"))
	o.CA("export", filepath.Join(dir, "out"))
	root := read(t, dir, "out", "ca", "root.pem")
	for name, s := range map[string]string{
		filepath.Join(o.Dir, "root.pem"): root,
		filepath.Join(dir, "ca.pem"):     root + read(t, dir, "out", "ca", "issuing.pem"),
		filepath.Join(dir, "ca.crl"):     o.CA("crl"),
		filepath.Join(dir, "acl"):        "user Minglu.Office\ntopic readwrite minglu/1/#\n\npattern readwrite minglu/1/%u/#\n",
		filepath.Join(dir, "conf"): strings.ReplaceAll(`user root
listener 8883
persistence false
cafile DIR/ca.pem
certfile DIR/server.pem
keyfile DIR/server.key
crlfile DIR/ca.crl
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file DIR/acl
`, "DIR", dir),
	} {
		if err := os.WriteFile(name, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := startCommand(t, inNamespace(ns, "/usr/sbin/mosquitto", "-c", filepath.Join(dir, "conf")))
	Wait(t, 15*time.Second, "mosquitto listens", func() bool { return strings.Contains(p.out.String(), "running") })
	return p
}
