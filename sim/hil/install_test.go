package hil

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The office's answers at minglu-agent init: one network camera on the host, two disks by label.
const answers = `room-3
询问室三
1
某县市场监督管理局

rtsp://10.0.2.2:%s/cam1
被询问人

1 2
127.0.0.1:8080
wang
long enough a password
127.0.0.1:8093
CODE
y
`

// trial is what a person does with a new board, and later with a newer package: it runs as a service of
// the guest's systemd. Each step prints a line with the seconds since the board started.
const trial = `#!/bin/bash
set -eu
cd %[1]s
step() { echo "STEP $1 $(cut -d. -f1 /proc/uptime)"; }
trap 'echo "FAILED at line $LINENO"; journalctl --no-pager -u minglu-agent | tail -40' ERR
export DEBIAN_FRONTEND=noninteractive
api() { exec 3<>/dev/tcp/127.0.0.1/8080; printf '%%s /api/v1/%%s HTTP/1.0\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: %%d\r\n\r\n%%s' "$1" "$2" "${#3}" "$3" >&3; cat <&3; exec 3>&-; }
step begin
# The office, here on the same board; its configuration is the operator's to write.
dpkg -i office.deb
cat >/etc/minglu/office.yaml <<X
name: 管理中心
state: /var/lib/minglu-office
web: {listen: "127.0.0.1:8090"}
mqtt: {listen: "127.0.0.1:8883", tls: {from_ca: true}, passwords: false}
devices_api: {listen: "127.0.0.1:8093"}
X
chgrp minglu-office /etc/minglu/office.yaml; chmod 640 /etc/minglu/office.yaml
office() { runuser -u minglu-office -- minglu-provisioning "$@" --config /etc/minglu/office.yaml; }
echo "a passphrase of the root" | office ca init
systemctl start minglu-provisioning
systemctl is-active minglu-provisioning
systemd-analyze security --no-pager minglu-provisioning | tail -1
code=$(office enrol code room-3 | grep -oE '([0-9A-Z]{5}-){7}[0-9A-Z]{5}')
sed -i "s/^CODE$/$code/" answers
step office
dpkg -i old.deb
step installed
systemctl is-enabled minglu-agent
[ "$(systemctl is-active minglu-agent)" = inactive ]
minglu-agent init <answers >init.log || slow=yes
cat init.log
# An emulated disk on a busy host may be too slow for doctor; nothing else may be wrong.
[ -z "${slow:-}" ] || ! grep -A1 'FAIL\]' init.log | grep -v -e too.slow -e 过慢 -e '^--'
[ "$(grep -c ✓ init.log)" -ge 7 ]
step ready
systemctl is-active minglu-agent
grep -c '# minglu' /etc/fstab
grep -q '已登记' init.log
for n in $(seq 30); do journalctl -u minglu-agent | grep -q "reporting to the office" && break; sleep 1; done
journalctl -u minglu-agent | grep "reporting to the office"
ls /srv/minglu/a/sessions /srv/minglu/b/sessions
systemd-analyze security --no-pager minglu-agent | tail -1
[ "$(stat -c %%U /srv/minglu/a/sessions)" = minglu ]
api POST session '{"matter":"upgrade"}' | grep -q '201 Created'
sleep 5
cp /etc/minglu/agent.yaml before.yaml
dpkg -i new.deb
step upgraded
cmp before.yaml /etc/minglu/agent.yaml
# The session goes on with the program it began with; the new one comes when the room is idle.
api GET state '' | grep -q '"state":"recording"'
readlink /proc/$(systemctl show -p MainPID --value minglu-agent)/exe | grep deleted
api POST session/stop '{"reason":"end"}' | grep -q '202 Accepted'
for n in $(seq 60); do journalctl -u minglu-agent | grep -c "page is open" | grep -q 2 && break; sleep 1; done
for n in $(seq 30); do api GET state '' 2>/dev/null | grep -q '"state":"idle"' && break; sleep 1; done
if readlink /proc/$(systemctl show -p MainPID --value minglu-agent)/exe | grep deleted; then exit 1; fi # "!" would not end this
ls -d /srv/minglu/a/sessions/*
[ "$(ls /srv/minglu/a/sessions/*/manifest.json.p7s | wc -l)" = 2 ]
step renewed
mkdir -p out
cp -r /srv/minglu/a out/a; cp -r /srv/minglu/b out/b; minglu-agent trust --config /etc/minglu/agent.yaml >out/device.pem
dpkg -r minglu-agent
step removed
if systemctl is-active minglu-agent; then exit 1; fi
[ -e /etc/minglu/agent.yaml ]
diff -r /srv/minglu/a/sessions out/a/sessions
dpkg -P minglu-agent
step purged
[ ! -e /etc/minglu/agent.yaml ]
[ ! -e /usr/bin/minglu-agent ]
diff -r /srv/minglu/a/sessions out/a/sessions
ls /var/lib/minglu/identity >/dev/null
dpkg -P minglu-provisioning
if systemctl is-active minglu-provisioning; then exit 1; fi
ls /var/lib/minglu-office/ca >/dev/null
[ ! -e /etc/minglu ]
step done
`

// atMost is how long it may take from the package to the first sealed session, in the guest's time.
const atMost = 10 * time.Minute

// TestInstall goes from the package to a sealed session on a Debian board without a file edited by hand, then
// upgrades in the middle of a session, removes and purges.
func TestInstall(t *testing.T) {
	if asked(t) != long {
		t.Log("a Debian root takes ten minutes to make and to start: HIL=long")
		return
	}
	k := kernel(t)
	ctx, stop := context.WithTimeout(t.Context(), 40*time.Minute)
	defer stop()
	root, err := k.Debian(ctx)
	if err != nil {
		t.Fatal(err)
	}
	host := t.TempDir()
	port := camera(t, "cam1")
	debianPackage(t, "agent", filepath.Join(host, "old.deb"), "0~trial1")
	debianPackage(t, "agent", filepath.Join(host, "new.deb"), "0~trial2")
	debianPackage(t, "provisioning", filepath.Join(host, "office.deb"), "0~trial1")
	script(t, filepath.Join(host, "answers"), fmt.Sprintf(answers, port))
	script(t, filepath.Join(host, "trial.sh"), fmt.Sprintf(trial, host))
	// The service that a person's hands are, put in by a small system of its own before the real one starts.
	script(t, filepath.Join(host, "begin.sh"), fmt.Sprintf(`#!/bin/sh
mkdir -p /etc/systemd/system/multi-user.target.wants /etc/tmpfiles.d
ln -sf /dev/null /etc/tmpfiles.d/tmp.conf # it would empty /tmp, and with it this folder of the host
cat >/etc/systemd/system/trial.service <<'X'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=file:%[1]s/log
StandardError=inherit
ExecStart=/bin/bash %[1]s/trial.sh
ExecStopPost=/bin/sh -c 'sync; echo "%[2]s" >/dev/console; systemctl poweroff --force'
X
ln -sf ../trial.service /etc/systemd/system/multi-user.target.wants/
exec /sbin/init
`, host, ended))
	o := Options{
		Job:     Job{Network: true, Work: host, Root: &Root{Device: "/dev/vda", Init: []string{"/bin/sh", host + "/begin.sh"}}},
		Modules: []string{"virtio_blk", "ext4"}, QEMU: Drive("root", root, true),
	}
	for _, label := range []string{"minglu-a", "minglu-b"} {
		img := filepath.Join(host, label+".img")
		command(t, "truncate", "-s", "600M", img)
		command(t, "mkfs.ext4", "-q", "-L", label, img)
		o.QEMU = append(o.QEMU, Drive(strings.ReplaceAll(label, "-", ""), img, true)...)
	}
	began := time.Now()
	g, err := k.Boot(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Wait()
	log, _ := os.ReadFile(filepath.Join(host, "log"))
	t.Logf("%v on the host\n%s", time.Since(began).Round(time.Second), log)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]time.Duration{}
	for _, m := range regexp.MustCompile(`(?m)^STEP (\w+) (\d+)$`).FindAllStringSubmatch(string(log), -1) {
		s, _ := strconv.Atoi(m[2])
		at[m[1]] = time.Duration(s) * time.Second
	}
	if _, ok := at["done"]; !ok {
		t.Fatal("the trial did not come to its end")
	}
	if took := at["ready"] - at["office"]; took > atMost {
		t.Errorf("from package to sealed session %v, want at most %v", took, atMost)
	} else {
		figure(t, "from package to the first sealed and verified session %v of guest time; upgrade in a session %v", took, at["upgraded"]-at["ready"])
	}
	// Outside: the host's own program, on what was copied off.
	agent := filepath.Join(host, "minglu-agent")
	must(t, Build(agent, runtime.GOARCH, "minglu/agent"))
	out, err := exec.Command(agent, "verify", "--require", "0", filepath.Join(host, "out/a"), filepath.Join(host, "out/b")).CombinedOutput()
	if err != nil && !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("verify of both disks: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// camera is a network camera on the host's loopback, which the guest reaches as 10.0.2.2: ffmpeg's test picture
// and tone through the relay. It returns its port.
func camera(t *testing.T, path string) (port string) {
	t.Helper()
	relay := filepath.Join(t.TempDir(), "rtsprelay")
	must(t, Build(relay, runtime.GOARCH, "minglu/sim/rtsprelay"))
	c := exec.Command(relay)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	addr := strings.TrimSpace(strings.TrimPrefix(line, "listening "))
	_, port, err = net.SplitHostPort(addr)
	must(t, err)
	f := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=15", "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
		"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15", "-pix_fmt", "yuv420p", "-c:a", "aac", "-max_delay", "50000", "-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://"+addr+"/"+path)
	f.Stderr = os.Stderr
	must(t, f.Start())
	t.Cleanup(func() { _ = f.Process.Kill(); _ = f.Wait() })
	return port
}

// debianPackage makes the package of a program for arm64 as make deb does.
func debianPackage(t *testing.T, program, to, version string) {
	t.Helper()
	dir := t.TempDir()
	must(t, build("arm64", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", filepath.Join(dir, program), "minglu/"+program))
	c := exec.Command("make", "-s", "one-deb")
	c.Dir = tree(t)
	c.Env = append(os.Environ(), "PROGRAM="+program, "BUILT="+dir, "DEB_ARCH=arm64", "VERSION="+version, "TO="+to)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("make one-deb: %v\n%s", err, out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func script(t *testing.T, name, text string) {
	t.Helper()
	must(t, os.WriteFile(name, []byte(text), 0o755))
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
