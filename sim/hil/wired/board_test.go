//go:build hil

// Package wired is a whole room in a guest of package hil: the program minglu-agent as a board runs it, with a USB
// camera that delivers the test card, a USB microphone, a button and a lamp at lines, a thermometer at a bus and a
// hardware watchdog, all behind the kernel's own drivers. TestRoom of package hil boots it, pulls what hangs at the
// emulator itself, and judges on the host what was recorded here.
package wired

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"minglu/sim/hil/gpiosim"
	"minglu/sim/hil/i2cchip"
	"minglu/sim/hil/usbsim"
)

// What the host puts into the share.
const (
	shareFile = "/share/minglu-agent"
	cardFile  = "/share/card" // the test card's access units from a keyframe on, each behind its length (4 bytes, big endian)
)

// Lines of the chip.
const (
	lampLine = iota
	buttonLine
)

const (
	agentFile  = "/tmp/minglu-agent" // in memory: while the board waits for the host's files its clock runs on
	cameraLink = "/dev/v4l/by-id/usb-HIL_room_camera_7-video-index0"
	fps        = 25
	page       = "127.0.0.1:8080"
	stateDir   = "/tmp/minglu"
	startTime  = 3 * time.Minute // for the agent to show its devices, on a busy machine
	sealTime   = 3 * time.Minute
	holdTime   = 3500 * time.Millisecond // of a long press: 3 s are asked for
)

// wires is what hangs on the board: it plays the other side of each device.
type wires struct {
	t      *testing.T
	pins   *gpiosim.Chip
	bus    *i2cchip.Bus
	card   [][]byte
	began  time.Time
	camera *usbsim.Plugged
	mic    *usbsim.Plugged
	short  sync.Once
	sent   atomic.Int64 // number of the last picture
	agent  *exec.Cmd
	ended  chan error
	said   words
	config string
}

// words keeps what the agent says.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// wire plugs everything in.
func wire(t *testing.T) *wires {
	t.Helper()
	w := &wires{t: t}
	b, err := os.ReadFile(shareFile)
	must(t, err)
	must(t, os.WriteFile(agentFile, b, 0o755))
	b, err = os.ReadFile(cardFile)
	must(t, err)
	w.began = time.Now()
	for len(b) > 0 {
		n := 4 + int(binary.BigEndian.Uint32(b))
		w.card = append(w.card, b[4:n])
		b = b[n:]
	}
	w.pins, err = gpiosim.New("wired-pins", "LAMP", "BUTTON")
	must(t, err)
	t.Cleanup(func() { w.pins.Close() })
	w.bus, err = i2cchip.Open()
	must(t, err)
	t.Cleanup(func() { w.bus.Close() })
	w.bus.Put(0x44, &i2cchip.SHT3x{MilliCelsius: 21500, MilliPercent: 43000})
	w.bus.Put(0x68, i2cchip.NewDS3231(time.Now().UTC(), false))
	w.plugCamera()
	w.plugMicrophone()
	return w
}

// plugCamera plugs the camera in. Its picture n is due n/fps after the room was wired, in or out: what was missed
// while it was out shows by the numbers. A stream begins with the first keyframe that is due.
func (w *wires) plugCamera() {
	w.t.Helper()
	base := -1
	var err error
	w.camera, err = usbsim.Plug(usbsim.Device{Product: "room camera", Serial: "7", Camera: &usbsim.Camera{
		Modes: []usbsim.Mode{{Format: "H264", Width: 1280, Height: 720, PerSecond: fps}},
		Next: func(_ usbsim.Mode, n int) usbsim.Picture {
			if n == 0 || base < 0 {
				base = (int(time.Since(w.began).Seconds()) + 1) * fps
			}
			at := base + n
			if at >= len(w.card) {
				w.short.Do(func() { w.t.Errorf("the card has %d pictures: make it longer", len(w.card)) })
				return usbsim.Picture{}
			}
			w.sent.Store(int64(at))
			return usbsim.Picture{Data: w.card[at]}
		},
	}})
	must(w.t, err)
	w.t.Cleanup(func() { w.camera.Unplug() })
	node, err := w.camera.Video()
	must(w.t, err)
	// There is no udev in the guest: its name for the camera is made here.
	must(w.t, os.MkdirAll(filepath.Dir(cameraLink), 0o755))
	_ = os.Remove(cameraLink)
	must(w.t, os.Symlink(node, cameraLink))
}

// plugMicrophone plugs the microphone in: a tone of 1 kHz.
func (w *wires) plugMicrophone() {
	w.t.Helper()
	var tone [usbsim.MicRateHz / 1000]int16
	for i := range tone {
		tone[i] = int16(8000 * math.Sin(2*math.Pi*float64(i)/float64(len(tone))))
	}
	var err error
	w.mic, err = usbsim.Plug(usbsim.Device{Product: "desk microphone", Serial: "8", Mic: &usbsim.Microphone{Channels: 1,
		Next: func(n int64, _ int) int16 { return tone[n%int64(len(tone))] }}})
	must(w.t, err)
	w.t.Cleanup(func() { w.mic.Unplug() })
	_, err = w.mic.PCM()
	must(w.t, err)
}

// configure writes agent.yaml with what "minglu-agent devices" lists here.
func (w *wires) configure(disks ...string) {
	w.t.Helper()
	out, err := exec.Command(agentFile, "devices", "--json", "--local").Output()
	must(w.t, err)
	var found struct {
		Items []struct{ Kind, Name, Path, Config string }
	}
	must(w.t, json.Unmarshal(out, &found))
	item := func(kind, name string) (path, config string) {
		w.t.Helper()
		for _, i := range found.Items {
			if i.Kind == kind && strings.Contains(i.Name, name) {
				return i.Path, i.Config
			}
		}
		w.t.Fatalf("minglu-agent devices lists no %s %q:\n%s", kind, name, out)
		return "", ""
	}
	path := func(kind, name string) string { p, _ := item(kind, name); return p }
	lines := func(kind, name string) string { _, c := item(kind, name); return c }
	line := func(name string) string {
		chip, n, ok := strings.Cut(path("line", name), ":")
		if !ok {
			w.t.Fatalf("line %s: want CHIP:LINE", name)
		}
		return fmt.Sprintf("chip: %q, line: %q", chip, n)
	}
	text := fmt.Sprintf(`device: {name: room-3, room: 询问室三, kind: interview}
body: {name: 某县市场监督管理局}
state: %q
board: generic
channels:
  - {id: face, name: 被询问人, camera: {v4l2: {device: %q}}}
  - {id: voice, name: 桌面话筒, microphone: {alsa: %q}}
storage:
  disks: [%s]
  preroll: 2s
  postroll: 1s
inputs:
  button: {gpio: {%s, active_low: true, bias: pull-up}}
lamp: {gpio: {%s}}
watchdog: {device: %q, timeout: 10s}
room: {resume_within: 1h}
web: {listen: %q}
%s%s`, stateDisk, path("camera", "room camera"), path("microphone", "desk microphone"), strings.Join(disks, ", "), line("BUTTON"), line("LAMP"),
		path("watchdog", "i6300ESB"), page, lines("sensor", "sht3x"), lines("sensor", "ds3231"))
	w.config = "/tmp/agent.yaml"
	must(w.t, os.WriteFile(w.config, []byte(text), 0o644))
	w.t.Logf("agent.yaml:\n%s", text)
}

// run starts the agent and waits until both channels deliver and it is idle, or records on.
func (w *wires) run() {
	w.t.Helper()
	w.agent = exec.Command(agentFile, "run", "--config", w.config)
	w.agent.Stdout, w.agent.Stderr = &w.said, &w.said
	must(w.t, w.agent.Start())
	w.ended = make(chan error, 1)
	go func() { w.ended <- w.agent.Wait() }()
	w.t.Cleanup(func() {
		w.agent.Process.Kill()
		if w.t.Failed() {
			w.t.Logf("the agent said:\n%s", w.said.String())
		}
	})
	w.wait(startTime, "both channels live", func() bool { return w.live("face") && w.live("voice") })
}

// stop ends the agent as systemd does.
func (w *wires) stop() {
	w.t.Helper()
	must(w.t, w.agent.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-w.ended:
		must(w.t, err)
	case <-time.After(sealTime):
		_ = w.agent.Process.Signal(syscall.SIGQUIT) // it says where it stands
		<-w.ended
		w.t.Fatal("the agent does not end")
	}
}

// state is what the page shows.
type state struct {
	State    string
	Session  *struct{ ID string }
	Channels []struct{ ID, State string }
	Faults   []struct{ Code string }
}

func (w *wires) state() (s state) {
	res, err := http.Get("http://" + page + "/api/v1/state")
	if err != nil {
		return state{}
	}
	defer res.Body.Close()
	_ = json.NewDecoder(res.Body).Decode(&s)
	return s
}

func (w *wires) live(id string) bool {
	return slices.ContainsFunc(w.state().Channels, func(c struct{ ID, State string }) bool { return c.ID == id && c.State == "live" })
}

// pictures waits for n more pictures of the camera.
func (w *wires) pictures(n int) {
	w.t.Helper()
	want := w.sent.Load() + int64(n)
	w.wait(startTime, fmt.Sprintf("%d pictures", n), func() bool { return w.sent.Load() >= want })
}

// logged waits for a line of the session's log.
func (w *wires) logged(disk, id, kind, ch, code string) {
	w.t.Helper()
	w.wait(startTime, fmt.Sprintf("a %s line of %s %s…", kind, ch, code), func() bool {
		return slices.ContainsFunc(lines(w.t, disk, id), func(l line) bool {
			return l.Type == kind && (ch == "" || l.Ch == ch) && strings.HasPrefix(l.Code, code)
		})
	})
}

// press presses the button for so long, and returns after how long the lamp's line was as wanted: from before the
// button's line is pulled to after the lamp's was read.
func (w *wires) press(long time.Duration, lamp bool) (took time.Duration) {
	w.t.Helper()
	began := time.Now()
	must(w.t, w.pins.Pull(buttonLine, false))
	defer func() {
		time.Sleep(time.Until(began.Add(long)))
		must(w.t, w.pins.Pull(buttonLine, true))
	}()
	for took < long+20*time.Second {
		high, err := w.pins.High(lampLine)
		took = time.Since(began)
		must(w.t, err)
		if high == lamp {
			return took
		}
		time.Sleep(200 * time.Microsecond)
	}
	w.t.Fatalf("the lamp's line is not %v", lamp)
	return 0
}

// begin presses the button shortly, and returns the session that begins.
func (w *wires) begin(disk string) (id string, lamp time.Duration) {
	w.t.Helper()
	before := sessions(disk)
	lamp = w.press(200*time.Millisecond, true)
	w.wait(startTime, "a session's folder", func() bool {
		for _, s := range sessions(disk) {
			if !slices.Contains(before, s) {
				id = s
			}
		}
		return id != ""
	})
	return id, lamp
}

// end ends the session by a long press, and waits until it is sealed on the disks.
func (w *wires) end(id string, disks ...string) {
	w.t.Helper()
	w.press(holdTime, false)
	w.sealed(id, disks...)
}

func (w *wires) sealed(id string, disks ...string) {
	w.t.Helper()
	for _, d := range disks {
		w.wait(sealTime, "sealed on "+d, func() bool {
			_, err := os.Stat(filepath.Join(d, "sessions", id, "manifest.json.p7s"))
			return err == nil
		})
	}
}

func sessions(disk string) (ids []string) {
	entries, _ := os.ReadDir(filepath.Join(disk, "sessions"))
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids
}

// line is what is read of a line of a session's log.
type line struct {
	Type, Ch, Code, Cause string
	From, To, At          int64
	Raw                   string `json:"-"`
}

func lines(t *testing.T, disk, id string) (all []line) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(disk, "sessions", id, "log.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	must(t, err)
	for l := range bytes.Lines(b) {
		v := line{Raw: string(l)}
		if json.Unmarshal(l, &v) == nil {
			all = append(all, v)
		}
	}
	return all
}

// fragments counts the fragments of a channel that the log on a disk names.
func (w *wires) fragments(disk, id, ch string) (n int) {
	for _, l := range lines(w.t, disk, id) {
		if l.Type == "fragment" && l.Ch == ch {
			n++
		}
	}
	return n
}

// grow waits until the channel has n more fragments on the disk than now.
func (w *wires) grow(disk, id, ch string, n int) {
	w.t.Helper()
	want := w.fragments(disk, id, ch) + n
	w.wait(startTime+time.Duration(n)*time.Second, fmt.Sprintf("%d more fragments of %s on %s", n, ch, disk), func() bool { return w.fragments(disk, id, ch) >= want })
}

// judge leaves a session to the host, which reads the disks once the board is off.
func (w *wires) judge(id string) {
	w.t.Helper()
	pem, err := exec.Command(agentFile, "trust", "--config", w.config).Output()
	must(w.t, err)
	must(w.t, os.WriteFile("device.pem", pem, 0o644))
	fmt.Printf("host: session %s %s\n", w.t.Name(), id)
}

// mount mounts a disk, which may take its time to come.
func mount(t *testing.T, device, dir string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	ctx, stop := context.WithTimeout(t.Context(), startTime)
	defer stop()
	var err error
	for ctx.Err() == nil {
		if err = syscall.Mount(device, dir, "ext4", syscall.MS_NOATIME, ""); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("mount %s: %v", device, err)
}

func (w *wires) wait(within time.Duration, what string, ok func() bool) {
	w.t.Helper()
	for until := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
		select {
		case err := <-w.ended:
			w.t.Fatalf("%s: the agent ended: %v", what, err)
		default:
		}
		if time.Now().After(until) {
			w.t.Fatalf("not within %v: %s; state %+v", within, what, w.state())
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
