package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"minglu/agent/report"
	"minglu/drivers"
	"minglu/drivers/onvif"
)

// clockOff is from where a camera's clock is told as wrong.
const clockOff = 2 * time.Second

// camerasCommand is "minglu-agent cameras": what ONVIF says of network cameras, and their clocks put right.
type camerasCommand struct {
	Config string   `placeholder:"FILE" help:"ask the cameras of this agent.yaml, with their passwords; otherwise those that answer in the network"`
	User   string   `placeholder:"NAME" help:"user of cameras that were found; the password is read from standard input"`
	At     []string `placeholder:"HOST" help:"ask these instead of looking in the network"`
	NTP    string   `name:"ntp" placeholder:"HOST" help:"let them take their time from this host: the board's address in the cameras' network"`
	Set    bool     `help:"set their clocks by hand to this board's time"`
	JSON   bool     `help:"print what was found as JSON"`
}

// askedCamera is what one camera said.
type askedCamera struct {
	Name    string          `json:"name"`
	Address string          `json:"address"`
	Channel string          `json:"channel,omitempty"` // of agent.yaml
	Clock   *string         `json:"clock_ahead,omitempty"`
	FromNTP bool            `json:"from_ntp,omitempty"`
	Streams []streamAddress `json:"streams,omitempty"`
	Set     string          `json:"set,omitempty"` // what was set
	Problem *report.Text    `json:"problem,omitempty"`
}

type streamAddress struct {
	Profile string `json:"profile"`
	Codec   string `json:"codec"`
	Width   int    `json:"width"`
	Height  int    `json:"height"`
	FPS     int    `json:"fps"`
	URL     string `json:"url"` // without user and password
}

// target is a camera to ask.
type target struct {
	channel, name string
	o             onvif.Options
}

func (c *camerasCommand) run(stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	targets, code := c.targets(ctx, stdin, stderr)
	if code != exitGood {
		return code
	}
	list := []askedCamera{}
	for _, t := range targets {
		a := c.ask(ctx, t)
		if a.Problem != nil {
			code = exitFailed
		}
		list = append(list, a)
		if !c.JSON {
			printCamera(stdout, a, t.o.User)
		}
	}
	if c.JSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(list); err != nil {
			return exitFailed
		}
	} else if len(list) == 0 {
		fmt.Fprintln(stdout, "没有摄像机应答；请检查网络，并在摄像机中打开 ONVIF · no camera answers: check the network, and switch ONVIF on in the cameras")
	}
	return code
}

// targets are the cameras to ask, with their passwords.
func (c *camerasCommand) targets(ctx context.Context, stdin io.Reader, stderr io.Writer) (list []target, code int) {
	if c.Config != "" {
		cfg := load(c.Config, stderr)
		if cfg == nil {
			return nil, exitUsage
		}
		for _, ch := range cfg.Channels {
			if ch.Camera == nil || ch.Camera.RTSP == "" {
				continue
			}
			u, err := url.Parse(ch.Camera.RTSP.Reveal())
			if err != nil {
				continue // config has checked it
			}
			password, _ := u.User.Password()
			list = append(list, target{ch.ID, ch.Name, onvif.Options{Address: u.Hostname(), User: u.User.Username(), Password: password, Now: time.Now}})
		}
		return list, exitGood
	}
	password := ""
	if c.User != "" {
		var err error
		if password, err = readPassword(stdin, stderr); err != nil {
			fmt.Fprintln(stderr, "minglu-agent:", err)
			return nil, exitUsage
		}
	}
	for _, h := range c.At {
		list = append(list, target{"", h, onvif.Options{Address: h, User: c.User, Password: password, Now: time.Now}})
	}
	if len(c.At) > 0 {
		return list, exitGood
	}
	found, err := onvif.Discover(ctx, onvif.Discovery{})
	if err != nil {
		fmt.Fprintln(stderr, "minglu-agent:", err)
	}
	for _, f := range found {
		list = append(list, target{"", strings.TrimSpace(f.Name + " " + f.Model), onvif.Options{Address: f.Service, User: c.User, Password: password, Now: time.Now}})
	}
	return list, exitGood
}

// ask asks one camera, and sets what is to be set.
func (c *camerasCommand) ask(ctx context.Context, t target) askedCamera {
	a := askedCamera{Name: t.name, Address: t.o.Address, Channel: t.channel}
	cam, err := onvif.New(t.o)
	if err == nil {
		err = c.talk(ctx, cam, t, &a)
	}
	if p := (*drivers.Problem)(nil); errors.As(err, &p) {
		a.Problem = &report.Text{Zh: p.Zh, En: p.En}
	} else if err != nil {
		a.Problem = &report.Text{Zh: "出错：" + err.Error(), En: err.Error()}
	}
	return a
}

func (c *camerasCommand) talk(ctx context.Context, cam *onvif.Camera, t target, a *askedCamera) error {
	if t.o.User != "" {
		id, err := cam.Identity(ctx)
		if err != nil {
			return err
		}
		a.Name = strings.TrimSpace(id.Maker + " " + id.Model)
		profiles, err := cam.Profiles(ctx)
		if err != nil {
			return err
		}
		for _, p := range profiles {
			u, err := cam.Stream(ctx, p.Token)
			if err != nil {
				return err
			}
			a.Streams = append(a.Streams, streamAddress{p.Name, p.Codec, p.Width, p.Height, p.FPS, u})
		}
	}
	if c.Set {
		if err := cam.SetClock(ctx, time.Now()); err != nil {
			return err
		}
		a.Set = "clock"
	}
	if c.NTP != "" {
		if err := cam.SetNTP(ctx, c.NTP); err != nil {
			return err
		}
		a.Set = "ntp " + c.NTP
	}
	clock, err := cam.Clock(ctx)
	if err != nil {
		return err
	}
	ahead := clock.Ahead.Round(time.Second).String()
	a.Clock, a.FromNTP = &ahead, clock.FromNTP
	return nil
}

func printCamera(w io.Writer, a askedCamera, user string) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	at := a.Address
	if a.Channel != "" {
		at = a.Channel + ", " + at
	}
	p("# %s  (%s)", a.Name, at)
	if a.Clock != nil {
		from := "手动设定 set by hand"
		if a.FromNTP {
			from = "来自 NTP from NTP"
		}
		p("#   时钟偏差 clock ahead by %s, %s", *a.Clock, from)
		if d, err := time.ParseDuration(*a.Clock); err == nil && d.Abs() >= clockOff {
			p("#   请用 --ntp 让它从本机取时间（配置 ntp.listen）· let it take its time from this board: --ntp, and ntp.listen in agent.yaml")
		}
	}
	if a.Set != "" {
		p("#   已设置 was set: %s", a.Set)
	}
	for _, s := range a.Streams {
		p("#   %s: %s %d×%d %d/s", s.Profile, s.Codec, s.Width, s.Height, s.FPS)
		if a.Channel == "" {
			p("channels:\n  - {id: room, camera: {rtsp: %q}}", strings.Replace(s.URL, "://", "://"+url.User(user).String()+":PASSWORD@", 1))
		} else {
			p("#     %s", s.URL)
		}
	}
	if a.Problem != nil {
		p("#   %s · %s", a.Problem.Zh, a.Problem.En)
	}
	p("")
}
