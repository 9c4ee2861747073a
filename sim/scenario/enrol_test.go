package scenario

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Authority is an office with a certification authority, where devices enrol.
type Authority struct {
	*Office
	API string // address of its device API
}

// Authority makes an authority by the commands of the documentation and starts its office. Devices come
// in by certificate alone.
func (l *Lab) Authority(t testing.TB, more ...string) *Authority {
	t.Helper()
	o := &Authority{Office: &Office{Dir: t.TempDir(), Broker: freePort(t), t: t, lab: l}, API: freePort(t)}
	o.Config = filepath.Join(o.Dir, "office.yaml")
	listen := freePort(t)
	o.base = "http://" + listen
	text := fmt.Sprintf("name: 测试管理端\ndemo: true\nstate: office\nweb: {listen: %q, auth: none}\nmqtt: {listen: %q, tls: {from_ca: true}, passwords: false}\ndevices_api: {listen: %q}\n%s",
		listen, o.Broker, o.API, strings.Join(more, "\n"))
	phrase := filepath.Join(o.Dir, "phrase")
	for name, b := range map[string]string{o.Config: text, phrase: "correct horse battery\n"} {
		if err := os.WriteFile(name, []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, l.Serve, "ca", "init", "--config", o.Config, "--passphrase", phrase)
	o.Restart()
	return o
}

// Code makes a code for a device.
func (o *Authority) Code(device string, args ...string) string {
	o.t.Helper()
	out, _ := run(o.t, o.lab.Serve, append([]string{"enrol", "code", device, "--config", o.Config}, args...)...)
	return strings.TrimSpace(out)
}

// CA runs a command of the authority.
func (o *Authority) CA(args ...string) string {
	o.t.Helper()
	out, _ := run(o.t, o.lab.Serve, append(append([]string{"ca"}, args...), "--config", o.Config)...)
	return out
}

// enrol runs the agent's command and returns its exit code.
func (o *Authority) enrol(config, code string) (exit int, out string) {
	cmd := exec.Command(o.lab.Agent, "enrol", "--config", config, "--office", o.API, "--code", code)
	b, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(b)
}

// board writes the configuration of a device that has not been started.
func board(t testing.TB, name string) *Agent {
	t.Helper()
	a := &Agent{Dir: t.TempDir(), t: t, lab: lab, disks: []string{t.TempDir()}}
	a.Config = filepath.Join(a.Dir, "agent.yaml")
	listen := freePort(t)
	a.base = "http://" + listen
	text := fmt.Sprintf("device: {name: %s, room: 测试室}\nbody: {name: 测试机关}\nboard: sim\nweb: {listen: %q, auth: none}\nchannels:\n  - {id: voice, %s}\nstorage: {disks: [%s], preroll: 1s, postroll: 0s}\n",
		name, listen, SimMicrophone, a.disks[0])
	if err := os.WriteFile(a.Config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *Agent) identity(name string) string { return filepath.Join(a.Dir, "state", "identity", name) }

func (a *Agent) faulty(code string) bool {
	return slices.ContainsFunc(a.State().Faults, func(f Fault) bool { return f.Code == code })
}

// TestEnrolledBoard: from ca init to a session that the office's root vouches for, and its revocation;
// then the same device and the same lists with mosquitto.
func TestEnrolledBoard(t *testing.T) {
	t.Parallel()
	const name = "room-3"
	tsa, tsaRoot, _ := lab.TSA(t, t.TempDir())
	office := lab.Authority(t, fmt.Sprintf("timestamp: {urls: [%q], roots: [%q]}\n", tsa, tsaRoot))
	a := board(t, name)
	code := office.Code(name)
	if exit, out := office.enrol(a.Config, code); exit != 0 || !strings.Contains(out, "minglu:") {
		t.Fatalf("enrol: %d %s", exit, out)
	}
	if exit, out := office.enrol(a.Config, code); exit != 0 || !strings.Contains(out, "enrolled before") {
		t.Errorf("the same code again: %d %s", exit, out)
	}
	a.Restart()
	a.WaitLive(30 * time.Second)
	Wait(t, 30*time.Second, "the room is at the office by its certificate", func() bool {
		var r OfficeRoom
		return office.get("/rooms/"+name, &r) == nil && r.State == "idle"
	})
	if exit, out := office.enrol(a.Config, office.Code("room-4")); exit != 1 || !strings.Contains(out, "stop minglu-agent run first") {
		t.Errorf("enrolled while it runs: %d %s", exit, out)
	}
	id := a.Begin()
	Wait(t, 20*time.Second, "the office knows the session", func() bool { return office.Room(name).Session == id })
	a.End(id)
	Wait(t, 20*time.Second, "the office knows its end", func() bool { return office.Room(name).Session == "" })
	if levels, _, _ := a.findings(t); levels["identity.enrolled"] != "good" || levels["office.api "+office.API] != "good" || levels["office "+office.Broker] != "good" {
		t.Errorf("doctor, of an enrolled board: %v", levels)
	}
	if log := office.p.out.String() + a.Log(); strings.Contains(log, code) || strings.Contains(log, "PRIVATE") {
		t.Error("a log holds a secret")
	}

	// Anybody checks it with openssl and the office's root, lists included.
	out := t.TempDir()
	office.CA("export", out)
	folder := a.Session(0, id)
	root, issuing, crl := filepath.Join(out, "ca/root.pem"), filepath.Join(out, "ca/issuing.pem"), filepath.Join(out, "ca/ca.crl")
	openssl(t, "", "cms", "-verify", "-binary", "-inform", "DER", "-in", filepath.Join(folder, "manifest.json.p7s"), "-content", filepath.Join(folder, "manifest.json"), "-CAfile", root, "-out", os.DevNull)
	for _, f := range []string{filepath.Join(folder, "device.pem"), a.identity("tls.pem")} {
		openssl(t, "", "verify", "-crl_check_all", "-CAfile", root, "-untrusted", issuing, "-CRLfile", crl, f)
	}
	pub := filepath.Join(t.TempDir(), "sm2.pub")
	openssl(t, "", "x509", "-in", filepath.Join(folder, "sm2.pem"), "-noout", "-pubkey", "-out", pub)
	openssl(t, "", "dgst", "-sm3", "-verify", pub, "-signature", filepath.Join(folder, "manifest.json.sm2"), "-sigopt", "distid:1234567812345678", filepath.Join(folder, "manifest.json"))
	if exit, text := lab.Verify(t, folder, "--trust", out); exit != 0 {
		t.Errorf("verify: %d %s", exit, text)
	}

	// The log of certificates has a token, which openssl takes.
	tokens := filepath.Join(office.Dir, "office/ca/tokens")
	Wait(t, 30*time.Second, "the log of certificates is stamped", func() bool { list, _ := filepath.Glob(tokens + "/*.tsr"); return len(list) > 0 })
	list, err := filepath.Glob(tokens + "/*.tsr")
	if err != nil {
		t.Fatal(err)
	}
	openssl(t, "", "ts", "-verify", "-in", list[0], "-data", strings.TrimSuffix(list[0], "tsr")+"note", "-CAfile", tsaRoot)

	broker := office.mosquitto(t)
	own, err := os.ReadFile(a.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, extra := range []string{fmt.Sprintf("mqtt: {url: \"mqtts://%s\"}\n", broker.addr), ""} { // there, and back
		if code := a.Stop(); code != 0 {
			t.Errorf("the agent ended with %d", code)
		}
		if err := os.WriteFile(a.Config, append(slices.Clone(own), extra...), 0o644); err != nil {
			t.Fatal(err)
		}
		a.Restart()
		Wait(t, 60*time.Second, "the agent is connected", func() bool { return strings.Contains(a.Log(), "reporting to the office") })
	}
	if err := broker.publish(a); err != nil {
		t.Errorf("mosquitto refuses the device: %v", err)
	}
	if err := broker.publish(nil); err == nil {
		t.Error("mosquitto takes a client without certificate")
	}

	// Revoked: the live connection ends, the page and the office say why, mosquitto refuses it too.
	office.CA("revoke", name, "--reason", "key compromised")
	Wait(t, 60*time.Second, "the page says that the certificate was revoked", func() bool { return a.faulty("identity.revoked") })
	a.findings(t, "office.api "+office.API)
	Wait(t, 60*time.Second, "the office lists the refusal", func() bool { return refusals(office.Office, name, "cert") > 0 })
	broker.restart()
	if err := broker.publish(a); err == nil {
		t.Error("mosquitto takes a revoked certificate")
	}
	if exit, text := lab.Verify(t, folder, "--trust", out); exit != 0 {
		t.Errorf("the session from before the revocation, with the lists from before it: %d %s", exit, text)
	}
	if exit, text := office.enrol(board(t, name).Config, office.Code(name)); exit != 0 {
		t.Errorf("another board under the name of a revoked one: %d %s", exit, text)
	}
	if a.Stop() != 0 {
		t.Error("the agent did not end well")
	}
}

// TestBoardWithTPM: its key is in a TPM that takes 50 ms and more for a signature, each session is signed by a key of its own. Killed in the middle of
// a session it repairs it; the starts are counted.
func TestBoardWithTPM(t *testing.T) {
	t.Parallel()
	office := lab.Authority(t)
	a := board(t, "room-3")
	text, err := os.ReadFile(a.Config)
	if err == nil {
		err = os.WriteFile(a.Config, append(text, fmt.Sprintf("identity: {tpm: %q}\n", softTPM(t))...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if exit, out := office.enrol(a.Config, office.Code("room-3")); exit != 0 {
		t.Fatalf("enrol: %d %s", exit, out)
	}
	if _, err := os.Stat(a.identity("device.key")); err == nil {
		t.Error("the key is in a file")
	}
	a.Restart()
	a.WaitLive(30 * time.Second)
	whole := a.Begin()
	time.Sleep(4 * time.Second) // of recording
	a.End(whole)
	if m := regexp.MustCompile(`trigger_to_durable=(\S+)`).FindStringSubmatch(a.Log()); m == nil {
		t.Error("the agent does not tell when the first signature was durable")
	} else {
		figure(t, "with a TPM of 50 ms: the first signature is durable after %s", m[1])
	}
	if b, err := os.ReadFile(filepath.Join(a.Session(0, whole), "log.jsonl")); err != nil {
		t.Error(err)
	} else {
		figure(t, "and %d signatures in 4 s of recording and its seal", bytes.Count(b, []byte(`"type":"sign"`)))
	}
	cut := a.Begin()
	log := filepath.Join(a.Session(0, cut), "log.jsonl")
	Wait(t, 20*time.Second, "fragments are signed", func() bool {
		b, err := os.ReadFile(log)
		return err == nil && bytes.Count(b, []byte(`"type":"sign"`)) > 4
	})
	a.Kill()
	a.Restart()
	Wait(t, 60*time.Second, "the session is repaired", func() bool {
		_, err := os.Stat(filepath.Join(a.Session(0, cut), "manifest.json.p7s"))
		return err == nil
	})
	out := filepath.Join(t.TempDir(), "trust")
	office.CA("export", out)
	for id, want := range map[string]int{whole: 0, cut: 3} {
		b, err := os.ReadFile(filepath.Join(a.Session(0, id), "log.jsonl"))
		if err != nil || !bytes.Contains(b, []byte(`"skey":"`)) || !bytes.Contains(b, []byte(`"tpm":true`)) {
			t.Errorf("%s: no session key in its log: %v", id, err)
		}
		if exit, text := lab.Verify(t, a.Session(0, id), "--trust", out); exit != want {
			t.Errorf("verify: %d, want %d: %s", exit, want, text)
		}
		if _, err := os.Stat(filepath.Join(a.Session(0, id), "manifest.json.sm2")); err != nil {
			t.Error(err)
		}
	}
	if a.Stop() != 0 {
		t.Error("the agent did not end well")
	}
}

// TestRotatedKey: another key, the same device: its ledger goes on, sessions by either key are anchored.
func TestRotatedKey(t *testing.T) {
	t.Parallel()
	office := lab.Authority(t)
	a := board(t, "room-3")
	if exit, out := office.enrol(a.Config, office.Code("room-3")); exit != 0 {
		t.Fatal(out)
	}
	session := func() string {
		a.Restart()
		a.WaitLive(30 * time.Second)
		id := a.Begin()
		a.End(id)
		if code := a.Stop(); code != 0 {
			t.Errorf("the agent ended with %d", code)
		}
		return id
	}
	before := session()
	if out, _ := run(t, lab.Agent, "rotate", "--config", a.Config); !strings.Contains(out, "minglu:") {
		t.Errorf("rotate: %s", out)
	}
	after := session()
	out := filepath.Join(t.TempDir(), "trust")
	office.CA("export", out)
	exit, text := lab.Verify(t, a.disks[0], "--trust", out)
	if exit != 0 {
		t.Errorf("verify: %d %s", exit, text)
	}
	ledgers, err := filepath.Glob(filepath.Join(a.Dir, "state/ledger/*/log.jsonl"))
	if err != nil || len(ledgers) != 1 {
		t.Fatalf("ledgers %v, %v", ledgers, err)
	}
	b, err := os.ReadFile(ledgers[0])
	if err != nil || bytes.Count(b, []byte(`"use":"sign"`)) != 1 {
		t.Errorf("no key line in the ledger: %v", err)
	}
	pem := func(id string) string {
		b, err := os.ReadFile(filepath.Join(a.Session(0, id), "device.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if pem(before) == pem(after) {
		t.Error("both sessions have the same certificate")
	}
}

// softTPM starts a TPM in software and returns its socket.
func softTPM(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "swtpm-") // socket names are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	start(t, "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+socket, "--ctrl", "type=unixio,path="+filepath.Join(dir, "c"), "--flags", "not-need-init,startup-clear")
	Wait(t, 15*time.Second, "the TPM answers", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return delayed(t, socket, 50*time.Millisecond)
}

// delayed passes commands on to a TPM and holds each answer back, as a slow chip does.
func delayed(t testing.TB, to string, by time.Duration) string {
	t.Helper()
	socket := to + "-slow"
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("unix", to)
				if err != nil {
					return
				}
				defer out.Close()
				go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
				for b := make([]byte, 8192); ; {
					n, err := out.Read(b)
					if n == 0 || err != nil {
						return
					}
					time.Sleep(by)
					if _, err := in.Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return socket
}

// TestEnrolRefused: each refusal is said at the board with its reason, and at the office.
func TestEnrolRefused(t *testing.T) {
	t.Parallel()
	office := lab.Authority(t)
	good := office.Code("room-1")
	if exit, out := office.enrol(board(t, "room-1").Config, good); exit != 0 {
		t.Fatal(out)
	}
	mistyped := []byte(office.Code("room-2"))
	if mistyped[0]++; mistyped[0] > 'Z' || mistyped[0] == '9'+1 || strings.ContainsRune("ILOU", rune(mistyped[0])) {
		mistyped[0] = '2'
	}
	for _, tt := range []struct {
		rule, name, code string
		exit             int
		say, why         string
	}{
		{"a mistyped code", "room-2", string(mistyped), 2, "group by group", ""},
		{"a code of another name", "room-2", office.Code("room-5"), 3, "another name", "enrol-name"},
		{"a used code", "room-1", good, 3, "code.used", "enrol-code.used"},
		{"another office's code", "room-2", lab.Authority(t).Code("room-2"), 1, "not the office", ""},
	} {
		exit, out := office.enrol(board(t, tt.name).Config, tt.code)
		if exit != tt.exit || !strings.Contains(out, tt.say) {
			t.Errorf("%s: exit %d, %s", tt.rule, exit, out)
		}
		if strings.Contains(out, tt.code) {
			t.Errorf("%s: the output holds the code", tt.rule)
		}
		if tt.why != "" && !slices.ContainsFunc(office.Refusals(), func(r Refusal) bool { return r.Why == tt.why }) {
			t.Errorf("%s: the office lists %+v", tt.rule, office.Refusals())
		}
	}
	if cmd := exec.Command(lab.Serve, "enrol", "code", "room-1", "--config", office.Config); cmd.Run() == nil {
		t.Error("a code for a name that is enrolled, without --replace")
	}
	// Replaced: the new device comes in, the old one is out.
	a := board(t, "room-1")
	if exit, out := office.enrol(a.Config, office.Code("room-1", "--replace")); exit != 0 {
		t.Errorf("replaced: %d %s", exit, out)
	}
	if list := office.CA("list", "--all"); strings.Count(list, "replaced device") != 3 {
		t.Errorf("the list says %s", list)
	}
	// Not enrolled: recording goes on, the page and the office say why nothing is reported.
	lone := board(t, "room-9")
	text, err := os.ReadFile(lone.Config)
	if err == nil {
		err = os.WriteFile(lone.Config, append(text, fmt.Sprintf("mqtt: {url: \"mqtts://%s\", ca: %q}\n", office.Broker, a.identity("root.pem"))...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	lone.Restart()
	Wait(t, 30*time.Second, "the page says that the device is not enrolled", func() bool { return lone.faulty("identity.notenrolled") })
	Wait(t, 30*time.Second, "the office lists it", func() bool { return refusals(office.Office, "", "cert") > 0 })
	id := lone.Begin()
	lone.End(id)
}

// TestEnrolKilled: kill -9 of the device's command at moments over its whole run, and of the office:
// nothing or everything, and the same code ends it.
func TestEnrolKilled(t *testing.T) {
	t.Parallel()
	office := lab.Authority(t)
	whole := func() time.Duration {
		began := time.Now()
		if exit, out := office.enrol(board(t, "room-0").Config, office.Code("room-0")); exit != 0 {
			t.Fatal(out)
		}
		return time.Since(began)
	}()
	const rounds = 12
	nothing := 0
	for n := range rounds {
		name := fmt.Sprintf("room-%d", n+1)
		a, code := board(t, name), office.Code(name)
		cmd := exec.Command(lab.Agent, "enrol", "--config", a.Config, "--office", office.API, "--code", code)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		victim := cmd.Process.Kill
		if n%3 == 2 {
			victim = func() error { office.Kill(); return nil }
		}
		kill := time.AfterFunc(whole*time.Duration(n)/rounds, func() { _ = victim() })
		_ = cmd.Wait()
		kill.Stop()
		if n%3 == 2 {
			office.Kill()
			office.Restart()
		}
		_, err := os.Stat(a.identity("enrolment.json"))
		if err != nil {
			nothing++
		}
		if exit, out := office.enrol(a.Config, code); exit != 0 {
			t.Errorf("round %d (after %v, enrolled %v): %d %s", n, whole*time.Duration(n)/rounds, err == nil, exit, out)
		}
		if c := strings.Count(office.CA("list", "--all"), name+" "); c != 3 {
			t.Errorf("round %d: %d certificates for %s, want 3", n, c, name)
		}
	}
	t.Logf("a whole enrolment took %v; %d of %d were cut before they were", whole.Round(time.Millisecond), nothing, rounds)
}

// openssl runs it and fails the test if it does.
func openssl(t testing.TB, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// foreignBroker is a mosquitto with a certificate of the authority, which lets in its devices alone.
type foreignBroker struct {
	t    testing.TB
	o    *Authority
	dir  string
	addr string
	p    *process
}

func (o *Authority) mosquitto(t testing.TB) *foreignBroker {
	t.Helper()
	b := &foreignBroker{t: t, o: o, dir: t.TempDir(), addr: freePort(t)}
	o.CA("server", "127.0.0.1", "--cert", filepath.Join(b.dir, "server.pem"), "--key", filepath.Join(b.dir, "server.key"))
	o.CA("export", filepath.Join(b.dir, "out"))
	var both []byte
	for _, name := range []string{"issuing.pem", "root.pem"} {
		c, err := os.ReadFile(filepath.Join(b.dir, "out", "ca", name))
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, c...)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "ca.pem"), both, 0o644); err != nil {
		t.Fatal(err)
	}
	b.restart()
	return b
}

// restart takes the newest lists.
func (b *foreignBroker) restart() {
	b.t.Helper()
	if b.p != nil {
		b.p.stop(syscall.SIGTERM, 10*time.Second)
	}
	crl := b.o.CA("crl")
	_, port, _ := strings.Cut(b.addr, ":")
	text := fmt.Sprintf("user root\nlistener %s 127.0.0.1\npersistence false\ncafile %s/ca.pem\ncertfile %s/server.pem\nkeyfile %s/server.key\ncrlfile %s/ca.crl\nrequire_certificate true\nuse_identity_as_username true\nallow_anonymous false\n",
		port, b.dir, b.dir, b.dir, b.dir)
	for name, s := range map[string]string{"ca.crl": crl, "mosquitto.conf": text} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(s), 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	name, err := exec.LookPath("mosquitto")
	if err != nil {
		name = "/usr/sbin/mosquitto"
	}
	b.p = start(b.t, name, "-c", filepath.Join(b.dir, "mosquitto.conf"))
	Wait(b.t, 15*time.Second, "mosquitto listens", func() bool { return strings.Contains(b.p.out.String(), "running") })
}

// publish reports as a device, by its certificate; nil: without one.
func (b *foreignBroker) publish(a *Agent) error {
	_, port, _ := strings.Cut(b.addr, ":")
	// With TLS 1.3 a client learns only after its own handshake that it is refused, or when its keep-alive ends.
	args := []string{"-h", "127.0.0.1", "-p", port, "-k", "5", "--cafile", filepath.Join(b.dir, "ca.pem"), "-q", "1", "-i", "room-3", "-t", "minglu/1/room-3/state", "-m", "x"}
	if a != nil {
		args = append(args, "--cert", a.identity("tls.pem"), "--key", a.identity("tls.key"))
	}
	cmd := exec.Command("mosquitto_pub", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, out.String())
	}
	return nil
}
