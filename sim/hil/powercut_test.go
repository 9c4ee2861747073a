package hil

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"minglu/agent/evidence"
	"minglu/sim/scenario"
)

const (
	cutsLong     = 50
	cutsUsual    = 5
	cutsShort    = 1
	lostAtMost   = time.Second     // per channel, with the cycle of 500 ms
	guestIdle    = 0.5             // below: one of its two emulated processors may have had no time left for the cameras
	beforeCut    = 6 * time.Second // at most, from the beginning of a session's recording
	excusedShare = 4               // one of so many sessions may be excused for a machine that stood still, or was busy
)

// TestPowerCuts cuts the power of a board that records two network cameras to two ext4 disks, again and
// again over one growing history. Writes that no barrier had ordered are lost, kept or torn at random. The
// cameras and their frame log are on the host, where no power is cut; what the board knew to be durable it
// said over a serial line before. After the last cut the host reads the disks.
func TestPowerCuts(t *testing.T) {
	cuts := map[form]int{short: cutsShort, usual: cutsUsual, long: cutsLong}[asked(t)]
	if s := os.Getenv("HIL_CUTS"); s != "" {
		var err error
		if cuts, err = strconv.Atoi(s); err != nil || cuts < 1 {
			t.Fatalf("HIL_CUTS=%q: want a number from 1 on", s)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("MINGLU_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("MINGLU_SEED=%q: %v", s, err)
		}
	}
	t.Logf("%d cuts, MINGLU_SEED=%d", cuts, seed)
	t.Run("arm64", func(t *testing.T) { powerCuts(t, "arm64", cuts, seed) })
	if asked(t) > short { // the recorder with 32 bits
		t.Run("arm", func(t *testing.T) { powerCuts(t, "arm", max(1, cuts/10), seed) })
	}
}

func powerCuts(t *testing.T, arch string, cuts int, seed uint64) {
	b := newBoard(t, arch, rand.New(rand.NewPCG(seed, 0)))
	began := time.Now()
	for n := range cuts {
		b.once(fmt.Sprintf("cut %d", n), true)
		if t.Failed() {
			t.Fatalf("cut %d: see above", n)
		}
	}
	b.once("after the last cut", false)
	b.judge(arch, cuts, time.Since(began))
}

// board is a board whose power is cut, with its disks and cameras.
type board struct {
	t       *testing.T
	rand    *rand.Rand
	lab     *scenario.Lab
	relay   *scenario.Relay
	kernel  *Kernel
	idle    *scenario.Idle
	dir     string
	images  []string // disk A, disk B, state
	files   map[string]string
	history []cut
}

// cut is one session that was cut.
type cut struct {
	session string
	at      time.Time
	durable []durable
	stood   time.Duration // longest time the guest stood still
	media   bool          // each channel was being recorded
	idle    float64       // share of the processors' time before the cut
	guest   float64       // least share of the guest's own processors in a second
}

type durable struct {
	Disk     int
	Session  string
	Size     int64
	Root     string
	Channels int
}

var boardCameras = []struct{ id, path, codec, sound string }{{"face", "cam1", "h264", "aac"}, {"room", "cam2", "h265", ""}}

func newBoard(t *testing.T, arch string, r *rand.Rand) *board {
	t.Helper()
	b := &board{t: t, rand: r, kernel: kernel(t), idle: scenario.WatchIdle(t), dir: t.TempDir(), files: map[string]string{}}
	var err error
	if b.lab, err = scenario.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.lab.Close)
	b.relay = b.lab.Relay(t)
	for i, c := range boardCameras {
		b.relay.Publish(c.path, scenario.Stream{Codec: c.codec, Size: "320x240", Rate: 25, GOP: 25, Sound: c.sound, Phase: i, Length: 4 * time.Hour})
	}
	for _, name := range []string{"a", "b", "state"} {
		image := filepath.Join(b.dir, name+".img")
		if err := MakeDisk(image, 2048); err != nil {
			t.Fatal(err)
		}
		b.images = append(b.images, image)
	}
	for name, pkg := range map[string]string{"room": "minglu/sim/hil/room", "minglu-agent": "minglu/agent"} {
		b.files[name] = filepath.Join(b.dir, name)
		if err := Build(b.files[name], arch, pkg); err != nil {
			t.Fatal(err)
		}
	}
	var config strings.Builder
	config.WriteString("device: {name: room-hil, room: 断电试验室}\nbody: {name: 测试机关}\nboard: sim\nstate: /state/agent\n" +
		"web: {listen: \"127.0.0.1:8080\", auth: none}\nstorage: {disks: [/disk/a, /disk/b], preroll: 2s, postroll: 1s}\nchannels:\n")
	for _, c := range boardCameras {
		// The emulator's network shows the host's 127.0.0.1 as 10.0.2.2.
		fmt.Fprintf(&config, "  - {id: %s, camera: {rtsp: %q}}\n", c.id, strings.Replace(b.relay.URL(c.path), "127.0.0.1", "10.0.2.2", 1))
	}
	b.files["agent.yaml"] = filepath.Join(b.dir, "agent.yaml")
	if err := os.WriteFile(b.files["agent.yaml"], []byte(config.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return b
}

// once boots the board, waits until it records, and after a random time cuts its power; or, where it is
// not to be cut, leaves it until what was cut before is sealed.
func (b *board) once(what string, cutting bool) {
	t := b.t
	t.Helper()
	var disks []*Disk
	for i, image := range b.images {
		d, err := ServeDisk(image, filepath.Join(b.dir, fmt.Sprintf("disk%d.socket", i)))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		disks = append(disks, d)
	}
	said := newLines()
	var complaint output
	g, err := b.kernel.Boot(context.WithoutCancel(t.Context()), Options{
		Files: b.files, Disks: disks, Stdout: said, Stderr: &complaint,
		Job: Job{
			Mounts: []Mount{{"/dev/vda", "/disk/a"}, {"/dev/vdb", "/disk/b"}, {"/dev/vdc", "/state"}}, Network: true,
			Run: []Program{{Name: "room", File: "room", Args: []string{Share + "/minglu-agent", Share + "/agent.yaml", "http://127.0.0.1:8080/api/v1", "/disk/a", "/disk/b"}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	off := false
	defer func() {
		if !off {
			g.Cut()
			_, _ = g.Wait()
		}
		if t.Failed() {
			t.Logf("%s: the guest said: %s", what, complaint.tail(8000))
		}
	}()
	c, sealed, unsealed := cut{guest: 1}, false, []string(nil)
	note := func(line []byte) {
		var v struct {
			Recording string
			LateMS    int64 `json:"late_ms"`
			Unsealed  []string
			Idle      *float64
			durable
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Errorf("%s: the guest said %q: %v", what, line, err)
			return
		}
		switch {
		case v.Recording != "":
			c.session = v.Recording
		case v.LateMS > 0:
			c.stood = max(c.stood, time.Duration(v.LateMS)*time.Millisecond)
		case v.Idle != nil:
			c.guest = min(c.guest, *v.Idle)
		case v.Unsealed != nil:
			sealed, unsealed = len(v.Unsealed) == 0, v.Unsealed
		default:
			c.durable = append(c.durable, v.durable)
		}
	}
	// Where the power is cut: at any instant once each channel has media on each disk; at one of the next
	// requests to a disk, because most instants are between two cycles; or at one of the start, when what
	// was cut before is being repaired.
	booted := time.Now()
	wait, moment := time.Duration(b.rand.Int64N(int64(beforeCut))), "at any instant"
	var tripped <-chan struct{}
	kind := b.rand.IntN(5)
	trip := func(disk int, requests int64) {
		tripped, moment, wait = disks[disk].Trip(requests), fmt.Sprintf("at write or flush %d of %c", requests, 'A'+disk), 2*beforeCut
	}
	switch {
	case !cutting:
		wait = 3 * settle // many may be waiting for their repair
	case kind == 0 && len(b.history) > 0:
		trip(b.rand.IntN(len(disks)), 1+b.rand.Int64N(150))
		moment += " from the start on"
	}
	up := time.Duration(0)
	timer := time.NewTimer(settle)
	defer timer.Stop()
	for on := true; on; {
		if up > 0 && sealed && !cutting {
			break
		}
		if up == 0 && b.everywhere(c.durable) {
			up = time.Since(booted)
			if cutting && tripped == nil && kind > 2 {
				trip(b.rand.IntN(2), 1+b.rand.Int64N(100))
			}
			timer.Reset(wait)
		}
		select {
		case line := <-said.c:
			note(line)
		case <-g.Done():
			off = true
			_, err := g.Wait()
			t.Fatalf("%s: the guest went off by itself: %v", what, err)
		case <-tripped:
			on = false
		case <-timer.C:
			if up == 0 {
				t.Fatalf("%s: after %v not each channel is recorded", what, settle)
			}
			if !cutting {
				t.Errorf("%s: after %v these sessions are not sealed: %q", what, wait, unsealed)
			}
			on = false
		}
	}
	g.Cut()
	c.at = time.Now()
	_, _ = g.Wait()
	off = true
	said.close()
	for line := range said.c {
		note(line)
	}
	var losses []string
	for i, d := range disks {
		l, err := d.Cut(b.rand)
		if err != nil {
			t.Fatal(err)
		}
		flushes, written := d.Counts()
		losses = append(losses, fmt.Sprintf("%c: %+v of %d kB written, %d flushes", 'A'+i, l, written>>10, flushes))
	}
	t.Logf("%s: up after %v, cut %v later %s, %d durable signatures told, stood still %v at most; %s", what, up.Round(100*time.Millisecond), (c.at.Sub(booted) - up).Round(time.Millisecond), moment,
		len(c.durable), c.stood, strings.Join(losses, "; "))
	c.media, c.idle = up > 0, b.idle.Share(c.at.Add(-5*time.Second), c.at)
	b.history = append(b.history, c)
}

// everywhere reports whether each channel has durable media on each disk.
func (b *board) everywhere(told []durable) bool {
	var have [2]bool
	for _, d := range told {
		have[d.Disk] = have[d.Disk] || d.Channels == len(boardCameras)
	}
	return have[0] && have[1]
}

// judge reads the disks on the host and holds every session that was cut against the frame log and against
// what the board said was durable. The last is still open: it was cut too, and nothing repaired it since.
func (b *board) judge(arch string, cuts int, took time.Duration) {
	t := b.t
	var disks []string
	for i, image := range b.images[:2] {
		// Status 1: the journal was played back, as after any cut.
		exit := new(exec.ExitError)
		if out, err := exec.Command("e2fsck", "-p", "-f", image).CombinedOutput(); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
			t.Errorf("e2fsck of disk %c: %v: %s", 'A'+i, err, out)
		}
		dir := filepath.Join(b.dir, fmt.Sprintf("disk%d", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		// Read out, not mounted: that needs no root.
		if out, err := exec.Command("debugfs", "-R", "rdump / "+dir, image).CombinedOutput(); err != nil {
			t.Fatalf("debugfs of disk %c: %v: %s", 'A'+i, err, out)
		}
		disks = append(disks, dir)
	}
	var lost []time.Duration
	var exits = map[int]int{}
	excused, signatures, inRepair := 0, 0, 0
	for n, c := range b.history {
		if !c.media {
			inRepair++
		}
		if c.session == "" {
			continue
		}
		what := fmt.Sprintf("session %d %s", n, c.session)
		var folders []string
		for _, d := range disks {
			folder := filepath.Join(d, "sessions", c.session)
			if _, err := os.Stat(folder); err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			folders = append(folders, folder)
		}
		sealed := n < len(b.history)-1
		r := b.lab.VerifyJSON(t, append([]string{"--require", "0"}, folders...)...)
		exits[r.Exit]++
		if len(r.Sessions) != 1 || sealed && r.Exit != evidence.ExitGood && r.Exit != evidence.ExitSound {
			t.Errorf("%s: verify exits %d\n%s", what, r.Exit, scenario.Text(r))
			continue
		}
		for i, folder := range folders {
			b.signed(what, folder, i, c.durable)
		}
		signatures += len(c.durable)
		if !sealed || !c.media {
			continue
		}
		gone := b.compare(what, folders, c)
		if worst := slices.Max(gone); worst > lostAtMost {
			if c.stood < worst-lostAtMost && c.idle >= scenario.BusyIdle && c.guest >= guestIdle {
				t.Errorf("%s: the last %v are missing, want at most %v; the guest stood still for %v at most, its processors were idle for %.0f %% of each second and those of the host for %.0f %%",
					what, worst, lostAtMost, c.stood, 100*c.guest, 100*c.idle)
			}
			excused++
		}
		lost = append(lost, gone...)
	}
	if cuts >= cutsLong && excused > cuts/excusedShare {
		t.Errorf("in %d of %d sessions the machine stood still: too many to judge the loss by", excused, len(b.history))
	}
	if r := b.lab.VerifyJSON(t, append([]string{"--require", "0"}, disks...)...); r.Exit != evidence.ExitGood && r.Exit != evidence.ExitSound {
		t.Errorf("verify of both disks exits %d", r.Exit)
		for _, s := range r.Sessions {
			t.Logf("%s: %+v", s.ID, s.Spans)
		}
	}
	if t.Failed() { // for whoever looks into it
		kept := filepath.Join(tree(t), "out", "hil-failed")
		out, err := exec.Command("sh", "-c", `rm -rf "$2" && mkdir -p "$2" && cp -a --sparse=always "$1"/disk? "$1"/*.img "$2"`, "sh", b.dir, kept).CombinedOutput()
		t.Logf("the disks are kept in %s: %v %s", kept, err, out)
	}
	slices.Sort(lost)
	if len(lost) == 0 {
		t.Fatal("no loss was measured")
	}
	figure(t, "%s: power cut %d times in %v (%d while starting): lost per track %v median, %v worst of %d (%d sessions excused); %d durable signatures told, all there; verify exits %v",
		arch, cuts, took.Round(time.Second), inRepair, lost[len(lost)/2].Round(time.Millisecond), lost[len(lost)-1].Round(time.Millisecond), len(lost), excused, signatures, exits)
}

// signed wants each signature that was durable on a disk still there, with the media it covers.
func (b *board) signed(what, folder string, disk int, told []durable) {
	log, err := os.ReadFile(filepath.Join(folder, "log.jsonl"))
	if err != nil {
		b.t.Errorf("%s: %v", what, err)
		return
	}
	log = scenario.Signed(log)
	has := map[string]bool{}
	for l := range strings.Lines(string(log)) {
		var v struct {
			Type, Root string
			Size       int64
		}
		if json.Unmarshal([]byte(l), &v) == nil && v.Type == "sign" {
			has[fmt.Sprint(v.Size, v.Root)] = true
		}
	}
	for _, d := range told {
		if d.Disk == disk && !has[fmt.Sprint(d.Size, d.Root)] {
			b.t.Errorf("%s: disk %d lost the signature over %d lines that was durable there", what, disk, d.Size)
		}
	}
	if _, err := scenario.CheckFragments(folder, scenario.Lines(b.t, log)); err != nil {
		b.t.Errorf("%s: disk %d: signed media: %v", what, disk, err)
	}
}

// compare wants the samples of a session to be an unbroken stretch of what each camera sent, on the disk
// that has more, and returns what is missing at the end of each track.
func (b *board) compare(what string, folders []string, c cut) (gone []time.Duration) {
	for _, cam := range boardCameras {
		for i, codec := range []string{cam.codec, cam.sound} {
			if codec == "" {
				continue
			}
			sent := b.relay.Frames(cam.path, codec)
			end, _ := slices.BinarySearchFunc(sent, c.at.UnixMicro(), func(f scenario.Frame, at int64) int { return int(f.WallUS - at) })
			if end == 0 {
				b.t.Fatalf("%s: %s sent nothing", what, cam.path)
			}
			best := time.Duration(-1)
			for _, folder := range folders {
				last, err := scenario.Stretch(scenario.Packets(b.t, scenario.Segments(b.t, folder, cam.id), "va"[i:i+1]), sent[:end])
				if err != nil {
					b.t.Errorf("%s: %s %s: %v", what, cam.id, codec, err)
					continue
				}
				if d := time.Duration(sent[end-1].WallUS-sent[last].WallUS) * time.Microsecond; best < 0 || d < best {
					best = d
				}
			}
			gone = append(gone, best)
		}
	}
	return gone
}

// lines hands on whole lines; the writer never waits for the reader.
type lines struct {
	w *io.PipeWriter
	c chan []byte
}

func newLines() *lines {
	r, w := io.Pipe()
	l := &lines{w, make(chan []byte, 1<<16)}
	go func() {
		defer close(l.c)
		for s := bufio.NewScanner(r); s.Scan(); {
			l.c <- slices.Clone(s.Bytes())
		}
		_ = r.Close() // a line without an end, or too long: what follows is discarded
	}()
	return l
}

func (l *lines) Write(p []byte) (int, error) { return l.w.Write(p) }
func (l *lines) close()                      { _ = l.w.Close() }

// output keeps what is said; safe for concurrent use.
type output struct {
	mu sync.Mutex
	b  []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b = append(o.b, p...)
	return len(p), nil
}

func (o *output) tail(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.b[max(0, len(o.b)-n):])
}
