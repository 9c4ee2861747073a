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
	"strings"
	"time"
)

// How long the demo waits for its agent.
const (
	startWithin = 15 * time.Second
	comesAfter  = 3 * time.Second // somebody enters the room
	stopWithin  = 20 * time.Second

	provenWithin = 15 * time.Second // outside times and witnesses, after the end
)

type demo struct {
	Dir      string `default:"var/demo" help:"where room and office keep what they have"`
	Listen   string `default:"127.0.0.1:8080" help:"address of the room's page"`
	Office   string `default:"127.0.0.1:8090" help:"address of the office's pages"`
	Broker   string `default:"127.0.0.1:8883" help:"address of the office's MQTT broker"`
	Devices  string `default:"127.0.0.1:8093" help:"address where the office enrols boards"`
	Agent    string `help:"minglu-agent to run; default: the one beside this program"`
	Empty    bool   `help:"nobody enters: start the session yourself"`
	NoOffice bool   `help:"the room alone"`
}

// device is the room's name at the office.
const device = "demo-room"

// run starts office and agent as processes of their own, lets somebody enter the room, and after ctx
// has ended has the session sealed and verified.
func (d *demo) run(ctx context.Context, stdout, stderr io.Writer) error {
	agent, err := program("minglu-agent", d.Agent)
	if err != nil {
		return err
	}
	for flag, addr := range map[string]string{"--listen": d.Listen, "--office": d.Office, "--broker": d.Broker, "--devices": d.Devices} {
		if err := free(flag, addr); err != nil {
			return err
		}
	}
	o, err := d.startOffice(ctx)
	if err != nil {
		return err
	}
	defer o.end()
	config, err := d.prepare(agent)
	if err != nil {
		return err
	}
	if err := o.enrol(agent, config, d.Devices); err != nil {
		return err
	}
	before := d.sessions()
	room, err := start(filepath.Join(d.Dir, "agent.log"), agent, "run", "--config", config)
	if err != nil {
		return err
	}
	defer room.kill()
	if err := d.live(ctx, stdout, room); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "\n正在封存 · sealing …")
	trust, err := d.seal(o, agent, config, before)
	if err := errors.Join(err, room.end()); err != nil {
		return err
	}
	return d.verify(agent, trust, before, stdout, stderr)
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
func (d *demo) live(ctx context.Context, stdout io.Writer, room *process) error {
	base := "http://" + d.Listen
	if err := room.answers(ctx, func() error { _, err := state(ctx, base); return err }); err != nil {
		return fmt.Errorf("%w; is %s in use? --listen takes another address", err, d.Listen)
	}
	if ctx.Err() != nil {
		return nil
	}
	fmt.Fprintf(stdout, `明录模拟房间已启动 · a simulated room is running

  房间页面  room page    %s/
  操作设备  devices      %s/sim/
`, base, base)
	if !d.NoOffice {
		fmt.Fprintf(stdout, "  管理端    office       http://%s/\n", d.Office)
	}
	fmt.Fprintf(stdout, `  录像文件  recordings   %s
  日志      logs         %s

按 ctrl-C 结束、封存并核验 · ctrl-C ends, seals and verifies

`, filepath.Join(d.Dir, "disk-{a,b}", "sessions"), filepath.Join(d.Dir, "*.log"))
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
		case <-room.ended:
			return fmt.Errorf("the agent ended by itself: %w", room.problem())
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

// seal ends the session while the room still runs, so that outside times and witnesses can follow the
// seal, and returns the trust folder to judge by.
func (d *demo) seal(o *office, agent, config string, before []string) (trust string, err error) {
	trust = filepath.Join(d.Dir, "trust")
	if err := os.RemoveAll(trust); err != nil {
		return "", err
	}
	if o == nil {
		cert, err := exec.Command(agent, "trust", "--config", config).Output()
		if err != nil {
			return "", fmt.Errorf("%s trust: %w", agent, err)
		}
		return trust, errors.Join(os.MkdirAll(trust, 0o755), os.WriteFile(filepath.Join(trust, "device.pem"), cert, 0o644))
	}
	if _, err := o.command("trust", "export", "--config", o.config, "--to", trust); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), provenWithin)
	defer cancel()
	if req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.Listen+"/api/v1/session/stop", strings.NewReader("{}")); err == nil {
		req.Header.Set("Content-Type", "application/json")
		if resp, err := client.Do(req); err == nil { // there may be none to stop
			resp.Body.Close()
		}
	}
	for tick := time.NewTicker(250 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			return trust, nil // it is what it is
		case <-tick.C:
		}
		if s, err := state(ctx, "http://"+d.Listen); err != nil || s.State != "idle" {
			continue
		}
		news := d.news(before)
		if len(news) == 0 || exec.CommandContext(ctx, agent, append([]string{"verify", "--require", "3", "--trust", trust}, news...)...).Run() == nil {
			return trust, nil
		}
	}
}

// news are the session folders of this demo.
func (d *demo) news(before []string) (news []string) {
	for _, s := range d.sessions() {
		if !slices.Contains(before, s) {
			news = append(news, s)
		}
	}
	return news
}

// verify asks the verifier about the sessions of this demo.
func (d *demo) verify(agent, trust string, before []string, stdout, stderr io.Writer) error {
	args := []string{"verify", "--trust", trust}
	args = append(args, d.news(before)...)
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
	err := c.Run()
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
