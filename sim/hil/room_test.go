package hil

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"minglu/agent/evidence"
	"minglu/drivers/sim"
	"minglu/sim/scenario"
)

// roomSeconds is how long the tests of a room may take, by the guest's clock.
const roomSeconds = 1200

// TestRoom runs the agent in a room of real kernel drivers (package wired), on a board whose clock is its own, and
// judges here what it recorded there: by the verifier, by ffprobe, and by the number in each decoded picture.
func TestRoom(t *testing.T) {
	if asked(t) == short {
		t.Log("the short form has the drivers alone: HIL=usual")
		return
	}
	l := newRoomLab(t)
	for _, arch := range []string{"arm64", "arm"} {
		t.Run(arch, func(t *testing.T) {
			b := l.board(t, arch)
			began := time.Now()
			results, err := b.boot(t, "HIL(Session|Unplugged|Stick)")
			if err != nil {
				t.Errorf("%v\n%s", err, b.said.tail(20000))
			}
			report(t, results)
			figure(t, "%s: a room of real drivers: three tests in %v", arch, time.Since(began).Round(time.Second))
			if t.Failed() {
				return
			}
			b.read(t, "a", "stick")
			whole := b.judge(t, "TestHILSession", "a")
			if gap := longest(whole.result, "no data"); gap > hiccup || whole.exit != evidence.ExitGood && whole.exit != evidence.ExitSound {
				t.Errorf("verify exits %d, the longest gap is %v\n%s", whole.exit, gap, scenario.Text(whole.result))
			}
			if len(whole.jumps) > 0 {
				t.Errorf("the pictures' numbers jump: %v", whole.jumps)
			}
			pulled := b.judge(t, "TestHILUnplugged", "a")
			if pulled.exit != evidence.ExitSound || len(pulled.jumps) != 1 {
				t.Errorf("camera pulled out once: verify exits %d, the numbers jump %v; want %d and one jump\n%s", pulled.exit, pulled.jumps, evidence.ExitSound, scenario.Text(pulled.result))
			}
			for _, disk := range []string{"a", "stick"} {
				stick := b.judge(t, "TestHILStick", disk)
				if stick.exit != evidence.ExitGood && stick.exit != evidence.ExitSound || len(stick.jumps) > 0 {
					t.Errorf("disk %s after the stick was pulled out: verify exits %d, the numbers jump %v\n%s", disk, stick.exit, stick.jumps, scenario.Text(stick.result))
				}
			}
		})
	}
}

// hiccup is for how long a picture of usbsim may be late, and its time be a gap: none of them is missing.
const hiccup = 200 * time.Millisecond

// longest is the longest span of a session that is not whole; one for another cause than known counts as an hour.
func longest(r evidence.Result, known string) (gap time.Duration) {
	for _, s := range r.Sessions {
		for _, sp := range s.Spans {
			switch {
			case sp.Cause == known:
				gap = max(gap, time.Duration(sp.To-sp.From)*time.Microsecond)
			case sp.Cause != "":
				return time.Hour
			}
		}
	}
	return gap
}

// TestBite lets the disk of a board hang while it records: nothing becomes durable, the agent feeds the watchdog no
// more, and that resets the board. After it the room records on, and what was signed before is there.
func TestBite(t *testing.T) {
	if asked(t) == short {
		t.Log("the short form has the drivers alone: HIL=usual")
		return
	}
	b := newRoomLab(t).board(t, "arm64")
	disk, err := ServeDisk(b.image("a"), filepath.Join(t.TempDir(), "disk"))
	must(t, err)
	b.o.Disks = []*Disk{disk}
	bitten := make(chan error, 1)
	b.line = func(g *Guest, asked string) {
		if asked != "hang disk" {
			return
		}
		disk.Trip(1)
		go func() {
			bitten <- b.monitor.await("WATCHDOG")
			g.Cut() // the emulator would wait for the disk before it ends
		}()
	}
	results, err := b.boot(t, "TestStall")
	said := b.said.tail(4000)
	if err == nil || len(results) != 0 {
		t.Fatalf("the guest ended %+v, %v; want a reset\n%s", results, err, said)
	}
	unfed := regexp.MustCompile(`not fed any more after (\S+)`).FindStringSubmatch(said)
	if unfed == nil {
		t.Fatalf("reset before the agent stopped feeding:\n%v\n%s", err, said)
	}
	must(t, <-bitten)
	figure(t, "disk hangs: the agent stops feeding after %s by the guest's clock, the watchdog resets the board", unfed[1])
	results, err = b.boot(t, "HILAfterBite")
	if err != nil {
		t.Errorf("%v\n%s", err, b.said.tail(20000))
	}
	if report(t, results); t.Failed() {
		return
	}
	must(t, disk.Close())
	b.read(t, "a")
	on := b.judge(t, "TestHILAfterBite", "a")
	if on.result.Sessions[0].Continues == "" || len(on.jumps) > 0 {
		t.Errorf("the session after the reset: %s", scenario.Text(on.result))
	}
}

// roomLab is what the boards have in common.
type roomLab struct {
	lab    *scenario.Lab
	kernel *Kernel
	card   string
}

func newRoomLab(t *testing.T) *roomLab {
	t.Helper()
	l := &roomLab{kernel: kernel(t), card: filepath.Join(t.TempDir(), "card"), lab: &scenario.Lab{Agent: filepath.Join(t.TempDir(), "minglu-agent")}}
	must(t, Build(l.lab.Agent, runtime.GOARCH, "minglu/agent"))
	writeCard(t, l.card)
	return l
}

// roomBoard is a board with a room.
type roomBoard struct {
	lab  *roomLab
	arch string
	dir  string
	o    Options
	said *output
	out  string               // the guest writes there
	ids  map[string]string    // session to judge, by the test in the guest that recorded it
	line func(*Guest, string) // what it asks for

	monitor *monitor
}

// image is the file of a disk: "a" of the board itself, "state", "stick".
func (b *roomBoard) image(disk string) string { return filepath.Join(b.dir, disk+".img") }

// board builds what runs on a board. Its own disk is an image, as is the USB stick.
func (l *roomLab) board(t *testing.T, arch string) *roomBoard {
	t.Helper()
	rig, err := FindRig("lines+usb+watchdog+stick")
	must(t, err)
	dir := t.TempDir()
	b := &roomBoard{lab: l, arch: arch, dir: dir, ids: map[string]string{}, said: &output{}, out: filepath.Join(dir, "out")}
	must(t, os.Mkdir(b.out, 0o755))
	b.o = Options{Steady: true, Modules: rig.Modules, QEMU: rig.QEMU,
		Files: map[string]string{"card": l.card, "minglu-agent": filepath.Join(dir, "agent"), "wired": filepath.Join(dir, "wired")}}
	must(t, Build(b.o.Files["minglu-agent"], arch, "minglu/agent"))
	must(t, BuildTest(b.o.Files["wired"], arch, "minglu/sim/hil/wired", "hil"))
	for _, name := range []string{"a", "state", "stick"} {
		must(t, MakeDisk(b.image(name), 512))
	}
	b.monitor = openMonitor(t, &b.o)
	b.o.QEMU = append(b.o.QEMU, "-blockdev", "driver=raw,node-name=stick,cache.no-flush=on,file.driver=file,file.cache.no-flush=on,file.filename="+b.image("stick"), "-device", "usb-storage,id=stick,drive=stick")
	b.line = func(_ *Guest, asked string) {
		var err error
		switch asked {
		case "pull stick":
			err = b.monitor.do("device_del", map[string]string{"id": "stick"})
		case "plug stick":
			err = b.monitor.do("device_add", map[string]string{"driver": "usb-storage", "id": "stick", "drive": "stick"})
		}
		if err != nil {
			t.Errorf("%s: %v", asked, err)
		}
	}
	return b
}

// quick are the emulator's arguments for a disk that never waits for the host's: while a steady guest has nothing else
// to do, its clock would run far ahead.
func quick(id, file string) []string {
	return []string{"-drive", fmt.Sprintf("if=none,id=%s,format=raw,cache=unsafe,file=%s", id, file), "-device", "virtio-blk-pci,drive=" + id}
}

// boot runs tests of package wired on the board.
func (b *roomBoard) boot(t *testing.T, tests string) ([]Result, error) {
	t.Helper()
	said := newLines()
	o := b.o
	if len(o.Disks) == 0 {
		o.QEMU = append(slices.Clone(o.QEMU), quick("a", b.image("a"))...)
	}
	o.QEMU = append(slices.Clone(o.QEMU), quick("state", b.image("state"))...)
	o.Stdout, o.Stderr = io.MultiWriter(b.said, said), b.said
	o.Job = Job{Work: b.out, Mounts: []Mount{{"/dev/vda", "/disk/a"}, {"/dev/vdb", "/state"}},
		Run: []Program{{Name: "room-" + b.arch, File: "wired", Args: []string{"-test.v", "-test.run=" + tests, fmt.Sprintf("-test.timeout=%ds", roomSeconds)}, Dir: b.out, Seconds: roomSeconds, Keep: true}}}
	g, err := b.lab.kernel.Boot(t.Context(), o)
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for l := range said.c {
			asked, ok := strings.CutPrefix(string(l), "host: ")
			var test, id string
			if n, _ := fmt.Sscanf(asked, "session %s %s", &test, &id); n == 2 {
				b.ids[test] = id
			} else if ok {
				b.line(g, asked)
			}
		}
	}()
	results, err := g.Wait()
	said.close()
	<-done
	return results, err
}

// report tells each test of the guest as one of this test.
func report(t *testing.T, results []Result) {
	t.Helper()
	for _, r := range results {
		cases := verdicts(r.Output)
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				for _, f := range regexp.MustCompile(`figure: (.*)`).FindAllStringSubmatch(c.text, -1) {
					figure(t, "%s %s: %s", r.Name, c.name, f[1])
				}
				if !c.passed {
					t.Errorf("failed in the guest: %s", c.text)
				}
			})
		}
		if r.Status != 0 || len(cases) == 0 {
			t.Errorf("status %d %s, %d tests\n%s", r.Status, r.Error, len(cases), r.Output)
		}
	}
}

// judgement is what the host finds on a disk that was brought out.
type judgement struct {
	result evidence.Result
	exit   int
	jumps  []string // where the pictures' numbers of a session do not follow each other
}

// read reads disks of the board, which is off, and verifies each as a whole.
func (b *roomBoard) read(t *testing.T, disks ...string) {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(b.out, "device.pem"))
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(b.trust(), "ca"), 0o755))
	for _, f := range []string{"device.pem", "ca/device.pem"} {
		must(t, os.WriteFile(filepath.Join(b.trust(), f), pem, 0o644))
	}
	for _, d := range disks {
		// Status 1: the journal was played back; the board switched itself off with its disks mounted.
		exit := new(exec.ExitError)
		if out, err := exec.Command("e2fsck", "-p", "-f", b.image(d)).CombinedOutput(); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
			t.Errorf("e2fsck of disk %s: %v: %s", d, err, out)
		}
		must(t, os.Mkdir(b.files(d), 0o755))
		command(t, "debugfs", "-R", "rdump / "+b.files(d), b.image(d))
		if all := b.lab.lab.VerifyJSON(t, "--trust", b.trust(), b.files(d)); all.Exit != evidence.ExitGood && all.Exit != evidence.ExitSound {
			t.Errorf("verify of disk %s: exit %d\n%s", d, all.Exit, scenario.Text(all))
		}
	}
}

func (b *roomBoard) trust() string { return filepath.Join(b.dir, "trust") }

// files is where the files of a disk are once it was read.
func (b *roomBoard) files(disk string) string { return filepath.Join(b.dir, disk) }

// judge verifies the session of a test in the guest on a disk, reads its media files with ffprobe and decodes its
// pictures.
func (b *roomBoard) judge(t *testing.T, test, disk string) (j judgement) {
	t.Helper()
	session := filepath.Join(b.files(disk), "sessions", b.ids[test])
	j.result = b.lab.lab.VerifyJSON(t, "--trust", b.trust(), session)
	j.exit = j.result.Exit
	pictures := scenario.Segments(t, session, "face")
	for _, f := range append(pictures, scenario.Segments(t, session, "voice")...) {
		if said := scenario.Probe(f); said != "" {
			t.Errorf("ffprobe %s: %s", f, said)
		}
	}
	count, last := 0, int64(-1)
	for _, f := range pictures {
		for _, n := range numbers(t, f) {
			if last >= 0 && n != last+1 {
				j.jumps = append(j.jumps, fmt.Sprintf("%d to %d", last, n))
			}
			last = n
			count++
		}
	}
	if count == 0 {
		t.Errorf("%s: no picture", session)
	}
	figure(t, "%s %s, disk %s: verify exits %d; %d pictures, numbers jump %d times %v", b.arch, test, disk, j.exit, count, len(j.jumps), j.jumps)
	return j
}

// numbers decodes a file and reads the number of each picture.
func numbers(t *testing.T, file string) (all []int64) {
	t.Helper()
	const row = sim.NumberY + sim.NumberSize/2
	c := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-i", file, "-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "-1",
		"-vf", fmt.Sprintf("crop=%d:2:0:%d,format=gray", cardWidth, row), "-f", "rawvideo", "-")
	var complaint bytes.Buffer
	c.Stderr = &complaint
	raw, err := c.Output()
	if err != nil || complaint.Len() > 0 {
		t.Errorf("ffmpeg %s: %v %s", file, err, complaint.String())
	}
	for line := range slices.Chunk(raw, 2*cardWidth) {
		n, err := sim.ReadNumber(line, 0, cardWidth, cardWidth) // one row stands for all
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		all = append(all, int64(n))
	}
	return all
}
