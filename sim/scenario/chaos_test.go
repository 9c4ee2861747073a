package scenario

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"minglu/agent/evidence"
)

const (
	defaultChaos = 30 * time.Second
	chaosCalm    = time.Minute // of faults, then all of them end and it is looked what stays
	chaosHeals   = 2 * time.Minute
	chaosFault   = 6 * time.Second // lasts a fault at most
	chaosPause   = 1500 * time.Millisecond

	// What may be more at the next calm moment of the same process. Memory: the collector lets it double.
	moreGoroutines  = 30
	moreDescriptors = 20
	moreMemory      = 48 << 20
)

// TestChaos lets faults of every kind happen at once, at random, for MINGLU_CHAOS: cameras that vanish,
// stand still, show black or are covered; microphones silent or too loud; a disk full, failing, unplugged
// or hung; steps of the clock; a dead, hung or killed office; viewers that take nothing; the agent killed
// or restarted. Nothing may pile up, nothing may panic, every session must verify.
func TestChaos(t *testing.T) {
	t.Parallel()
	length := lasts(t, "MINGLU_CHAOS", defaultChaos)
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("MINGLU_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("MINGLU_SEED=%q: %v", s, err)
		}
	}
	t.Logf("chaos for %v, MINGLU_SEED=%d", length, seed)
	const device = "room-chaos"
	c := &chaos{t: t, rand: rand.New(rand.NewPCG(seed, 0)), counts: map[string]int{}, disks: Disks(t, 2, 4000)}
	c.relay, c.office = lab.Relay(t), lab.Office(t, device)
	for i, path := range []string{"cam1", "cam2"} {
		c.streams[i] = Stream{Codec: []string{"h264", "h265"}[i], Size: "320x240", Rate: 25, GOP: 25, Sound: []string{"aac", ""}[i], Phase: i, Length: 4 * time.Hour}
		c.cameras[i] = c.relay.Publish(path, c.streams[i])
	}
	r := Room{
		Name: device, Preroll: "2s", Postroll: "1s", Segment: "10s", Extra: c.office.Reports(device),
		Channels: map[string]string{"face": c.relay.URL("cam1"), "room": c.relay.URL("cam2"), "front": "camera: {sim: {width: 1152, height: 448, fps: 5}}", "voice": SimMicrophone},
	}
	for _, d := range c.disks {
		r.Disks = append(r.Disks, d.Dir)
	}
	c.Agent = lab.Start(t, r)
	trust := c.Trust()
	c.heal()
	for began := time.Now(); time.Since(began) < length; {
		c.storm(min(chaosCalm, max(length/3, 10*time.Second), length-time.Since(began)))
		c.heal()
	}
	c.judge(length, trust)
}

// chaos is a room in which anything may happen.
type chaos struct {
	*Agent
	t       *testing.T
	rand    *rand.Rand
	relay   *Relay
	office  *Office
	disks   []*Disk
	streams [2]Stream
	cameras [2]*Publisher
	counts  map[string]int // faults by name
	logs    []string       // of agents that have ended
	calms   [][]usage      // of each agent's process, at each calm moment
}

// usage is what a process holds.
type usage struct{ goroutines, descriptors, memory float64 }

// trouble is a fault of one thing; only one at a time has a thing.
type trouble struct {
	name  string
	thing string
	disk  string // the disk it is about: a disk has one trouble at a time, one that failed cannot hang as well
	begin func() (end func())
}

func (c *chaos) troubles() []trouble {
	onOff := func(path string) func() func() {
		return func() func() {
			c.ask("/sim/fault/" + path)
			return func() { c.ask("/sim/fault/" + path + "&on=false") }
		}
	}
	all := []trouble{
		{"black", "front", "", onOff("black?channel=front")},
		{"frozen", "front", "", onOff("frozen?channel=front")},
		{"covered", "front", "", onOff("covered?channel=front")},
		{"no frames", "front", "", onOff("no-frames?channel=front")},
		{"simulated camera gone", "front", "", onOff("gone?channel=front")},
		{"silence", "voice", "", onOff("silence?channel=voice")},
		{"clipping", "voice", "", onOff("clipping?channel=voice")},
		{"microphone gone", "voice", "", onOff("gone?channel=voice")},
		{"clock step", "clock", "", func() func() {
			step := time.Duration(c.rand.Int64N(int64(8*time.Second))) - 4*time.Second
			c.ask("/sim/fault/clock-step?by=" + step.String())
			return func() {}
		}},
		{"office killed", "office", "", func() func() { c.office.Kill(); return c.office.Restart }},
		{"office stopped", "office", "", func() func() { c.office.Stop(); return c.office.Restart }},
		{"office hangs", "office", "", func() func() {
			_ = c.office.p.cmd.Process.Signal(syscall.SIGSTOP)
			return func() { _ = c.office.p.cmd.Process.Signal(syscall.SIGCONT) }
		}},
		{"agent killed", "agent", "", func() func() { c.ended(c.Kill); return func() {} }},
		{"agent restarted", "agent", "", func() func() {
			c.ended(func() {
				if code := c.Agent.Stop(); code != 0 {
					c.t.Errorf("the agent exits %d after SIGTERM", code)
				}
			})
			return func() {}
		}},
		{"session ends", "session", "", func() func() {
			c.try("POST", "/session/stop", `{"reason":"test"}`)
			return c.begin
		}},
		{"pause", "session", "", func() func() {
			c.try("POST", "/session/pause", `{"reason":"休庭"}`)
			return func() { c.try("POST", "/session/resume", "{}") }
		}},
		{"hung viewer of the page", "viewer", "", func() func() { return c.hang("/api/v1/events") }},
		{"hung viewer of a list", "viewer2", "", func() func() { return c.hang("/api/v1/sessions?limit=100") }},
	}
	for i := range c.cameras {
		path := fmt.Sprintf("cam%d", i+1)
		all = append(all,
			trouble{"camera gone", path, "", func() func() {
				c.cameras[i].Kill()
				return func() { c.cameras[i] = c.relay.Publish(path, c.streams[i]) }
			}},
			trouble{"camera stands still", path, "", func() func() {
				c.cameras[i].signal(c.t, syscall.SIGSTOP)
				return func() { c.cameras[i].signal(c.t, syscall.SIGCONT) }
			}})
	}
	for i, d := range c.disks {
		// Nine of ten troubles of disks meet one at a time: a room without a disk records nothing.
		thing := "disk"
		if c.rand.IntN(10) == 0 {
			thing = d.Dir
		}
		all = append(all,
			trouble{"disk full", thing, d.Dir, func() func() {
				ballast, err := d.Brim()
				if err != nil {
					c.t.Errorf("disk %d: %v", i, err)
				}
				return func() { removeFile(c.t, ballast) }
			}},
			trouble{"disk unplugged", thing, d.Dir, func() func() {
				spare := d.Dir + ".spare"
				if err := errors.Join(os.MkdirAll(spare, 0o755), syscall.Mount(d.Dir, spare, "", syscall.MS_BIND, ""), d.Detach()); err != nil {
					c.t.Errorf("disk %d: %v", i, err)
				}
				return func() {
					if err := errors.Join(syscall.Mount(spare, d.Dir, "", syscall.MS_BIND, ""), syscall.Unmount(spare, syscall.MNT_DETACH)); err != nil {
						c.t.Errorf("disk %d: attach again: %v", i, err)
					}
				}
			}},
			trouble{"disk hangs", thing, d.Dir, func() func() {
				thaw, err := d.Freeze()
				if err != nil {
					c.t.Errorf("disk %d: %v", i, err)
					return func() {}
				}
				return thaw
			}},
			trouble{"disk fails", thing, d.Dir, func() func() {
				ok, err := d.Fail()
				if err != nil {
					c.t.Errorf("disk %d: %v", i, err)
				}
				return func() {
					if ok {
						c.revive(d)
					}
				}
			}})
	}
	return all
}

// revive gives a disk that failed a healthy file system again: what was durable on it.
func (c *chaos) revive(d *Disk) {
	if err := d.Detach(); err != nil {
		c.t.Error(err)
	}
	// The failed file system lives on as long as the agent has a file of it open, and what it still holds
	// in memory reaches its image later: the disk goes on as a copy of what is on it now.
	image, again := d.Dir+".img", d.Dir+".img.again"
	for _, cmd := range [][]string{{"cp", "--sparse=always", image, again}, {"mv", again, image}, {"e2fsck", "-p", "-f", image}, {"mount", "-o", "loop", image, d.Dir}} {
		out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput()
		if exit := new(exec.ExitError); errors.As(err, &exit) && cmd[0] == "e2fsck" && exit.ExitCode() == 1 {
			err = nil // it mended what a cut leaves
		}
		if err != nil {
			c.t.Errorf("%s: %v: %s", strings.Join(cmd, " "), err, out)
		}
	}
}

// storm lets faults begin and end for a while; at its end all have ended.
func (c *chaos) storm(length time.Duration) {
	type standing struct {
		trouble
		until time.Time
		end   func()
	}
	var now []standing
	finish := func(all bool) {
		now = slices.DeleteFunc(now, func(s standing) bool {
			if !all && time.Now().Before(s.until) {
				return false
			}
			s.end()
			return true
		})
	}
	for began := time.Now(); time.Since(began) < length && !c.t.Failed(); {
		all := c.troubles()
		x := all[c.rand.IntN(len(all))]
		// A board that is killed while its only disk hangs is another story than both.
		held := slices.ContainsFunc(now, func(s standing) bool {
			return s.thing == x.thing || s.disk != "" && s.disk == x.disk || x.thing == "agent" && s.name == "disk hangs"
		})
		if !held && (x.thing != "agent" || c.rand.IntN(3) == 0) {
			c.counts[x.name]++
			now = append(now, standing{x, time.Now().Add(time.Duration(c.rand.Int64N(int64(chaosFault)))), x.begin()})
		}
		pause(time.Duration(c.rand.Int64N(int64(chaosPause))))
		finish(false)
	}
	finish(true)
}

// heal waits until the room is well and records, and notes what the agent holds.
func (c *chaos) heal() {
	Wait(c.t, chaosHeals, "the room is well again", func() bool {
		for _, d := range c.disks { // a disk that failed may have forgotten that its ballast was removed
			_ = os.Remove(filepath.Join(d.Dir, "ballast"))
		}
		st := c.State()
		for _, ch := range st.Channels {
			if ch.State != "live" {
				return false
			}
		}
		for _, d := range st.Disks {
			if d.State != "ok" {
				return false
			}
		}
		return true
	})
	c.begin()
	Wait(c.t, chaosHeals, "the room records again", func() bool {
		if st := c.State(); st.State == "recording" && st.Session != nil {
			return true
		}
		c.begin()
		return false
	})
	pause(3 * time.Second) // what is over may be put away
	if len(c.calms) == 0 {
		c.calms = append(c.calms, nil)
	}
	u := c.usage()
	last := &c.calms[len(c.calms)-1]
	*last = append(*last, u)
	c.t.Logf("calm: %.0f goroutines, %.0f descriptors, %.0f MB; so far %v", u.goroutines, u.descriptors, u.memory/1e6, c.counts)
}

// begin begins a session where none goes on, and goes on with one that pauses.
func (c *chaos) begin() {
	c.try("POST", "/session", `{"case":"测试案","matter":"询问","officers":["张三 A001","李四 A002"]}`)
	c.try("POST", "/session/resume", "{}")
}

// ended ends the agent and starts another.
func (c *chaos) ended(how func()) {
	how()
	c.logs = append(c.logs, c.Log())
	c.Restart()
	c.calms = append(c.calms, nil)
}

// try does a request whose answer may be a refusal.
func (c *chaos) try(method, path, body string) {
	req, err := http.NewRequest(method, c.base+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	c.do(req)
}

// ask operates a simulated device; one that is gone may refuse.
func (c *chaos) ask(path string) {
	req, err := http.NewRequest("POST", c.base+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.do(req)
}

func (c *chaos) do(req *http.Request) {
	client := http.Client{Timeout: 30 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		c.t.Errorf("%s %s: %v", req.Method, req.URL.Path, err)
		return
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	if res.StatusCode >= 500 && res.StatusCode != http.StatusServiceUnavailable {
		c.t.Errorf("%s %s: %s", req.Method, req.URL.Path, res.Status)
	}
}

// hang asks for a page and takes nothing of the answer.
func (c *chaos) hang(path string) (end func()) {
	var open []net.Conn
	for range 5 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.base, "http://"))
		if err != nil {
			c.t.Error(err)
			continue
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, strings.TrimPrefix(c.base, "http://"))
		open = append(open, conn)
	}
	return func() {
		for _, conn := range open {
			conn.Close()
		}
	}
}

// usage reads the agent's own numbers.
func (c *chaos) usage() (u usage) {
	c.t.Helper()
	res, err := http.Get(c.base + "/metrics")
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	for name, v := range map[string]*float64{"go_goroutines ": &u.goroutines, "process_open_fds ": &u.descriptors, "process_resident_memory_bytes ": &u.memory} {
		_, after, ok := strings.Cut("\n"+string(b), "\n"+name)
		text, _, _ := strings.Cut(after, "\n")
		if *v, err = strconv.ParseFloat(text, 64); !ok || err != nil {
			c.t.Fatalf("metrics have no %s: %v", name, err)
		}
	}
	return u
}

// judge ends the session and looks at what is left.
func (c *chaos) judge(length time.Duration, trust string) {
	t := c.t
	if st := c.State(); st.Session != nil {
		c.End(st.Session.ID)
	}
	if code := c.Agent.Stop(); code != 0 {
		t.Errorf("the agent exits %d after SIGTERM", code)
	}
	for _, log := range append(c.logs, c.Log()) {
		for _, bad := range []string{"panic:", "fatal error:", "BUG:", "WARNING: DATA RACE"} {
			if at := strings.Index(log, bad); at >= 0 {
				t.Errorf("an agent said %q", log[at:min(len(log), at+2000)])
			}
		}
	}
	var most usage
	samples := 0
	for _, calm := range c.calms {
		for _, u := range calm {
			samples++
			most.goroutines, most.descriptors, most.memory = max(most.goroutines, u.goroutines), max(most.descriptors, u.descriptors), max(most.memory, u.memory)
			first := calm[0]
			if u.goroutines > first.goroutines+moreGoroutines || u.descriptors > first.descriptors+moreDescriptors || u.memory > 2*first.memory+moreMemory {
				t.Errorf("what the agent holds grows: %+v at first, then %+v", first, u)
			}
		}
	}
	r := lab.VerifyJSON(t, "--require", "0", "--trust", trust, c.disks[0].Dir, c.disks[1].Dir)
	exits := map[int]int{}
	for _, s := range r.Sessions {
		if exits[s.Exit]++; s.Exit != evidence.ExitGood && s.Exit != evidence.ExitSound {
			t.Errorf("%s: verify exits %d: %v\n%+v", s.ID, s.Exit, s.Notes, s.Spans)
		}
	}
	if r.Exit != evidence.ExitGood && r.Exit != evidence.ExitSound {
		t.Errorf("verify of both disks exits %d: %+v", r.Exit, r.Ledgers)
	}
	total := 0
	for _, n := range c.counts {
		total += n
	}
	figure(t, "chaos for %v: %d faults of %d kinds; %d processes of the agent, %d calm moments: at most %.0f goroutines, %.0f descriptors, %.0f MB; %d sessions, verify exits %v",
		length, total, len(c.counts), len(c.calms), samples, most.goroutines, most.descriptors, most.memory/1e6, len(r.Sessions), exits)
}
