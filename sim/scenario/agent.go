package scenario

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Room is the configuration of an agent.
type Room struct {
	Name     string            // of the device; "" for room-test
	Body     string            // YAML of the body; "" for one without a code
	Auth     string            // of the pages; "" for none
	Channels map[string]string // id -> RTSP address, or YAML such as SimCamera and SimMicrophone
	Disks    []string          // folders
	Segment  string            // "" for the default
	Preroll  string
	Postroll string
	Extra    string   // more lines of YAML, whole top-level keys
	Env      []string // KEY=VALUE, beside the test's own
}

// What a channel may have in place of an address.
const (
	SimCamera     = "camera: {sim: {}}"
	SimMicrophone = "microphone: {sim: {}}"
)

// Agent is a minglu-agent, running or stopped.
type Agent struct {
	Dir    string // its configuration and state
	Config string // path of agent.yaml
	t      testing.TB
	lab    *Lab
	base   string
	p      *process
	disks  []string
	ns     string // network namespace, "" for the test's own
	env    []string
}

// Start writes agent.yaml and starts the agent. It returns when its pages answer.
func (l *Lab) Start(t testing.TB, r Room) *Agent {
	t.Helper()
	a := &Agent{Dir: t.TempDir(), t: t, lab: l, disks: r.Disks, env: r.Env}
	a.Config = filepath.Join(a.Dir, "agent.yaml")
	listen := freePort(t)
	a.base = "http://" + listen
	var b strings.Builder
	// Board sim opens the pages on loopback without a login; no device of it is simulated.
	fmt.Fprintf(&b, "device: {name: %s, room: 测试室}\nbody: %s\nboard: sim\nweb: {listen: %q, auth: %s}\nchannels:\n",
		cmp.Or(r.Name, "room-test"), cmp.Or(r.Body, "{name: 测试机关}"), listen, cmp.Or(r.Auth, "none"))
	for id, url := range r.Channels {
		source := url
		if strings.HasPrefix(url, "rtsp://") {
			source = fmt.Sprintf("camera: {rtsp: %q}", url)
		}
		fmt.Fprintf(&b, "  - {id: %s, %s}\n", id, source)
	}
	fmt.Fprintf(&b, "storage:\n  disks: [%s]\n", strings.Join(r.Disks, ", "))
	for key, v := range map[string]string{"segment": r.Segment, "preroll": r.Preroll, "postroll": r.Postroll} {
		if v != "" {
			fmt.Fprintf(&b, "  %s: %s\n", key, v)
		}
	}
	b.WriteString(r.Extra)
	if err := os.WriteFile(a.Config, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	a.Restart()
	return a
}

// Restart starts the agent after Stop or Kill.
func (a *Agent) Restart() {
	a.t.Helper()
	cmd := inNamespace(a.ns, a.lab.Agent, "run", "--config", a.Config)
	cmd.Env = append(os.Environ(), a.env...)
	a.p = startCommand(a.t, cmd)
	Wait(a.t, 15*time.Second, "the agent answers", func() bool {
		if a.p.ended() {
			a.t.Fatalf("the agent ended, %v: %s", a.p.cmd.ProcessState, a.p.out)
		}
		res, err := clientIn(a.ns).Get(a.base + "/api/v1/state")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// Stop asks the agent to end, as a service manager would, and returns its exit code.
func (a *Agent) Stop() int { return a.p.stop(syscall.SIGTERM, 20*time.Second) }

// Kill ends the agent at once, as a power cut would.
func (a *Agent) Kill() { a.p.kill() }

// Log is what the agent said since it was last started.
func (a *Agent) Log() string { return a.p.out.String() }

// Call does one request of the API (path below /api/v1) and decodes the answer into out unless it is
// nil. Another status than want fails the test.
func (a *Agent) Call(method, path string, body, out any, want int) {
	a.t.Helper()
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			a.t.Fatal(err)
		}
		send = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, a.base+"/api/v1"+path, send)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := clientIn(a.ns).Do(req)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != want {
		a.t.Fatalf("%s %s: status %d, want %d: %s %v", method, path, res.StatusCode, want, answer, err)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			a.t.Fatalf("%s %s: %v in %s", method, path, err, answer)
		}
	}
}

// State is the part of GET state that tests look at.
type State struct {
	State    string
	Session  *struct{ ID, Continues string }
	Channels []struct {
		ID, State     string
		Codecs        []string
		Width, Height int
	}
	Disks  []struct{ Name, State string }
	Faults []Fault
	Lamp   string
}

// Fault is a fault as people are told it.
type Fault struct {
	Code, Severity, Ch string
	Text, Do           struct{ Zh, En string }
}

// State asks what the room is doing.
func (a *Agent) State() (s State) {
	a.t.Helper()
	a.Call("GET", "/state", nil, &s, http.StatusOK)
	return s
}

// WaitLive waits until every channel delivers.
func (a *Agent) WaitLive(within time.Duration) {
	a.t.Helper()
	Wait(a.t, within, "all channels are live", func() bool {
		for _, c := range a.State().Channels {
			if c.State != "live" {
				return false
			}
		}
		return true
	})
}

// Begin starts a session and returns its id.
func (a *Agent) Begin() string {
	a.t.Helper()
	var s struct{ ID string }
	a.Call("POST", "/session", map[string]any{"case": "测试案", "matter": "询问", "officers": []string{"张三 A001", "李四 A002"}}, &s, http.StatusCreated)
	return s.ID
}

// End stops the session and waits until it is sealed.
func (a *Agent) End(id string) {
	a.t.Helper()
	a.Call("POST", "/session/stop", map[string]string{"reason": "test"}, nil, http.StatusAccepted)
	Wait(a.t, 30*time.Second, "the session is sealed", func() bool {
		var s struct{ State string }
		a.Call("GET", "/sessions/"+id, nil, &s, http.StatusOK)
		return s.State == "sealed"
	})
}

// Verify runs "minglu-agent verify" and returns its exit code and output.
func (l *Lab) Verify(t testing.TB, args ...string) (code int, out string) {
	t.Helper()
	cmd := exec.Command(l.Agent, append([]string{"verify"}, args...)...)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("verify: %v", err)
	}
	return cmd.ProcessState.ExitCode(), string(b)
}

// Trust writes the agent's certificate into a folder for --trust and returns the folder.
func (a *Agent) Trust() string {
	a.t.Helper()
	dir := filepath.Join(a.Dir, "trust-anchors")
	out, _ := run(a.t, a.lab.Agent, "trust", "--config", a.Config)
	if err := os.MkdirAll(filepath.Join(dir, "ca"), 0o755); err != nil {
		a.t.Fatal(err)
	}
	for _, f := range []string{"device.pem", "ca/device.pem"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(out), 0o644); err != nil {
			a.t.Fatal(err)
		}
	}
	return dir
}

// Session is the folder of a session on the n-th disk.
func (a *Agent) Session(disk int, id string) string {
	return filepath.Join(a.disks[disk], "sessions", id)
}

// Segments lists the media files of a channel in a session folder, in order.
func Segments(t testing.TB, folder, channel string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, channel+"-*.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}
