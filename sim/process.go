package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// program finds one of our programs: as given, beside this one, or in PATH.
func program(name, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("no %s beside %s or in PATH: make build", name, self)
	}
	return found, nil
}

// free tells that nobody listens at an address yet: what answers there would not be ours.
func free(flag, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%w; %s takes another address", err, flag)
	}
	return l.Close()
}

// process is a program of ours that runs in the background. A nil process is none.
type process struct {
	name  string
	log   string // its output
	cmd   *exec.Cmd
	ended chan struct{} // closed once it has ended
	err   error         // how, after that
}

// start runs a program in a process group of its own: ctrl-C is for the demo, which then asks it to stop.
// When the demo dies without a word, the kernel asks in its place.
func start(log, name string, args ...string) (*process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &process{name: filepath.Base(name), log: log, cmd: exec.Command(name, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// answers waits until ok returns nil or ctx has ended.
func (p *process) answers(ctx context.Context, ok func() error) error {
	deadline := time.After(startWithin)
	for ctx.Err() == nil && ok() != nil {
		select {
		case <-p.ended:
			return fmt.Errorf("%s did not start: %w", p.name, p.problem())
		case <-deadline:
			return fmt.Errorf("%s does not answer; see %s", p.name, p.log)
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// problem is why it ended, with the end of its log.
func (p *process) problem() error {
	tail, _ := os.ReadFile(p.log)
	return fmt.Errorf("%w\n%s", errors.Join(p.err, errors.New("it ended")), tail[max(0, len(tail)-2000):])
}

// end asks it to stop and waits.
func (p *process) end() error {
	if p == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		if p.err != nil {
			return fmt.Errorf("%s ended badly: %w; see %s", p.name, p.err, p.log)
		}
		return nil
	case <-time.After(stopWithin):
		p.kill()
		return fmt.Errorf("%s did not stop within %s; see %s", p.name, stopWithin, p.log)
	}
}

// kill ends it at once, if it still runs.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}
