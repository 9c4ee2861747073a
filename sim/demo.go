package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// How long the demo waits for its agent.
const (
	startWithin = 15 * time.Second
	comesAfter  = 3 * time.Second // somebody enters the room
	stopWithin  = 20 * time.Second
)

type demo struct {
	Dir    string `default:"var/demo" help:"where the room keeps its state and its two disks"`
	Listen string `default:"127.0.0.1:8080" help:"address of the room's page"`
	Agent  string `help:"minglu-agent to run; default: the one beside this program"`
	Empty  bool   `help:"nobody enters: start the session yourself"`
}

// run starts the agent as its own process, lets somebody enter the room, and after ctx has ended has
// the session sealed and verified.
func (d *demo) run(ctx context.Context, stdout, stderr io.Writer) error {
	agent, err := d.agent()
	if err != nil {
		return err
	}
	config, err := d.prepare(agent)
	if err != nil {
		return err
	}
	before := d.sessions()
	log, err := os.Create(filepath.Join(d.Dir, "agent.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	c := exec.Command(agent, "run", "--config", config)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-C is for the demo, which asks the agent to stop
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	if err := d.live(ctx, stdout, ended); err != nil {
		tail, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w\n%s", err, tail[max(0, len(tail)-2000):])
	}
	fmt.Fprintln(stdout, "\n正在封存 · sealing …")
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("the agent ended badly: %w; see %s", err, log.Name())
		}
	case <-time.After(stopWithin):
		_ = c.Process.Kill()
		return fmt.Errorf("the agent did not stop within %s; see %s", stopWithin, log.Name())
	}
	return d.verify(agent, config, before, stdout, stderr)
}

// agent finds the program that records.
func (d *demo) agent() (string, error) {
	if d.Agent != "" {
		return d.Agent, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), "minglu-agent")
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	found, err := exec.LookPath("minglu-agent")
	if err != nil {
		return "", fmt.Errorf("no minglu-agent beside %s or in PATH: make build", self)
	}
	return found, nil
}

// prepare makes the two disks and the configuration, and keeps those of an earlier demo.
func (d *demo) prepare(agent string) (config string, err error) {
	for _, disk := range []string{"disk-a", "disk-b"} {
		if err := os.MkdirAll(filepath.Join(d.Dir, disk), 0o755); err != nil {
			return "", err
		}
	}
	out, err := exec.Command(agent, "example", "--sim", "--listen", d.Listen).Output()
	if err != nil {
		return "", fmt.Errorf("%s example: %w", agent, err)
	}
	config = filepath.Join(d.Dir, "agent.yaml")
	return config, os.WriteFile(config, out, 0o600)
}

// live waits for the page, says what to open, lets somebody in, and returns when ctx ends.
func (d *demo) live(ctx context.Context, stdout io.Writer, ended <-chan error) error {
	base := "http://" + d.Listen
	deadline := time.After(startWithin)
	for {
		if _, err := state(ctx, base); err == nil {
			break
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the agent did not start (%w); is %s in use? --listen takes another address", errors.Join(err), d.Listen)
		case <-deadline:
			return fmt.Errorf("the agent does not answer at %s", base)
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
	fmt.Fprintf(stdout, `明录模拟房间已启动 · a simulated room is running

  房间页面  room page    %s/
  操作设备  devices      %s/sim/
  录像文件  recordings   %s
  日志      log          %s

按 ctrl-C 结束、封存并核验 · ctrl-C ends, seals and verifies

`, base, base, filepath.Join(d.Dir, "disk-{a,b}", "sessions"), filepath.Join(d.Dir, "agent.log"))
	enter := time.After(comesAfter)
	if d.Empty {
		enter = nil
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return fmt.Errorf("the agent ended by itself: %w", errors.Join(err, errors.New("unexpected")))
		case <-enter:
			fmt.Fprintln(stdout, "有人进入房间 · somebody enters the room")
			if err := post(ctx, base+"/sim/presence", url.Values{"on": {"true"}}); err != nil {
				return err
			}
		case <-tick.C:
			if s, err := state(ctx, base); err == nil && s.line() != last {
				last = s.line()
				fmt.Fprintln(stdout, last)
			}
		}
	}
}

// verify asks the verifier about the sessions of this demo, with this device's certificate as anchor.
func (d *demo) verify(agent, config string, before []string, stdout, stderr io.Writer) error {
	cert, err := exec.Command(agent, "trust", "--config", config).Output()
	if err != nil {
		return fmt.Errorf("%s trust: %w", agent, err)
	}
	trust := filepath.Join(d.Dir, "trust")
	if err := os.MkdirAll(trust, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(trust, "device.pem"), cert, 0o644); err != nil {
		return err
	}
	args := []string{"verify", "--trust", trust}
	for _, s := range d.sessions() {
		if !slices.Contains(before, s) {
			args = append(args, s)
		}
	}
	if len(args) == 3 {
		fmt.Fprintln(stdout, "没有新的会话 · no new session")
		return nil
	}
	c := exec.Command(agent, args...)
	c.Stdout, c.Stderr = stdout, stderr
	fmt.Fprintf(stdout, "\n$ minglu-agent")
	for _, a := range args {
		fmt.Fprint(stdout, " ", a)
	}
	fmt.Fprintln(stdout)
	err = c.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == 3 {
		return nil // sound; the verifier has said what is special
	}
	return err
}

// sessions are the session folders on both disks.
func (d *demo) sessions() []string {
	found, _ := filepath.Glob(filepath.Join(d.Dir, "disk-*", "sessions", "*"))
	return found
}

// roomState is what the demo shows of GET /api/v1/state.
type roomState struct {
	State   string `json:"state"`
	Session *struct {
		ID      string `json:"id"`
		Trigger string `json:"trigger"`
	} `json:"session"`
	Faults []struct {
		Text struct{ Zh, En string } `json:"text"`
	} `json:"faults"`
}

func (s *roomState) line() string {
	names := map[string]string{"idle": "空闲", "recording": "正在录音录像", "paused": "暂停", "postroll": "结束中", "sealing": "封存中", "fault": "故障"}
	line := names[s.State] + " " + s.State
	if s.Session != nil {
		line += "  " + s.Session.ID + " (" + s.Session.Trigger + ")"
	}
	for _, f := range s.Faults {
		line += "\n  ⚠ " + f.Text.Zh + " · " + f.Text.En
	}
	return line
}

var client = &http.Client{Timeout: 5 * time.Second}

func state(ctx context.Context, base string) (*roomState, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/state", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", base, resp.Status)
	}
	s := new(roomState)
	return s, json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(s)
}
