// Package scenario runs the real programs together and looks at what they leave behind: the agent as
// it is shipped, cameras that are other processes speaking RTSP (ffmpeg through sim/rtsprelay), and
// disks that are file systems of their own.
//
// It is for the tests of this folder and judges nothing by itself. Everything started with a
// testing.TB is stopped, unmounted and removed at the end of that test, also after a failure. It
// needs ffmpeg, ffprobe and, for mounts, root. Only 127.0.0.1 is used.
//
// Use: Open a [Lab] in TestMain, then Lab.Relay, Relay.Publish, Disks and Lab.Start in a test.
package scenario

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Lab holds the programs under test, built once.
type Lab struct {
	Dir   string // scratch folder, removed by Close
	Agent string // minglu-agent
	Sim   string // minglu-sim
	Serve string // minglu-provisioning
	relay string

	mu    sync.Mutex
	clips map[string]func() (string, error) // encoded once, see clip
}

// Open builds the programs; it takes as long as the Go build does. Close removes them.
func Open() (*Lab, error) {
	dir, err := os.MkdirTemp("", "minglu-scenario-")
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	l := &Lab{
		Dir: dir, Agent: filepath.Join(dir, "minglu-agent"), Sim: filepath.Join(dir, "minglu-sim"),
		Serve: filepath.Join(dir, "minglu-provisioning"), relay: filepath.Join(dir, "rtsprelay"),
		clips: map[string]func() (string, error){},
	}
	for bin, pkg := range map[string]string{l.Agent: "minglu/agent", l.Sim: "minglu/sim", l.Serve: "minglu/provisioning", l.relay: "minglu/sim/rtsprelay"} {
		cmd := exec.Command("go", "build", "-o", bin, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			_ = os.RemoveAll(dir)
			return nil, fmt.Errorf("scenario: build %s: %w\n%s", pkg, err, out)
		}
	}
	return l, nil
}

// Close removes the scratch folder.
func (l *Lab) Close() { _ = os.RemoveAll(l.Dir) }

// process is a program that runs beside the test.
type process struct {
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it has ended
}

// output keeps what a program says; safe for concurrent use.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs a program until the end of the test at the latest. Its output is shown if the test failed.
func start(t testing.TB, name string, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(name, args...))
}

// startCommand is start for a command that is not run as usual.
func startCommand(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	name := cmd.Path
	p := &process{cmd: cmd, out: &output{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	// Ctrl-C is for the test, which stops it; a test that is killed leaves nothing behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", filepath.Base(name), err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			text := p.out.String()
			t.Logf("output of %s:\n%s", filepath.Base(name), text[max(0, len(text)-4000):])
		}
	})
	return p
}

// stop asks the program to end and kills it when it does not within [patience] times the time; it returns
// the exit code.
func (p *process) stop(sig os.Signal, within time.Duration) int {
	_ = p.cmd.Process.Signal(sig)
	limit := time.NewTimer(patience * within)
	defer limit.Stop()
	select {
	case <-p.done:
	case <-limit.C:
		p.kill()
	}
	return p.cmd.ProcessState.ExitCode()
}

// kill ends the program as a power cut would, and waits.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// patience is how many times longer than on a quiet machine a test waits for what must come: a wait judges
// nothing, a loaded machine is late for reasons of its own, and a test that gives up costs everything.
const patience = 5

// Wait polls ok until it is true, and fails the test when it is not within [patience] times the time. What
// is judged by its time is measured, not waited for.
func Wait(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	within *= patience
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("after %v still not: %s", within, what)
		}
	}
}

// freePort returns an address nobody listens on at the moment.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// run runs a program to its end and returns what it says; a failure fails the test.
func run(t testing.TB, name string, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	if e := cmd.Run(); e != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, e, err.String())
	}
	return out.String(), err.String()
}
