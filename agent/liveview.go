package main

import (
	"context"
	"net"
	"net/http"

	"minglu/agent/live"
	"minglu/agent/room"
	"minglu/agent/web"
)

func (a *agent) openLive() (err error) {
	o := live.Options{
		Tap:   func(ch string, t live.Tap) (stop func()) { return a.capture.Tap(ch, t) },
		State: a.liveState, IdleAllowed: func() bool { return a.cfg.Live.Idle }, Listen: a.liveListen(), Log: a.log,
		Who: func(r *http.Request) string { return web.UserName(r.Context()) },
	}
	sound := ""
	for _, c := range a.cfg.Channels {
		if c.Microphone != nil && sound == "" {
			sound = c.ID
		}
	}
	for _, c := range a.cfg.Channels {
		k := live.Channel{ID: c.ID}
		if c.Camera != nil {
			k.Sound = sound
		}
		o.Channels = append(o.Channels, k)
	}
	a.live, err = live.New(o)
	return err
}

// liveListen is the UDP address of the pictures: as configured, else the host of the pages.
func (a *agent) liveListen() string {
	if a.cfg.Live.Listen != "" {
		return a.cfg.Live.Listen
	}
	host, _, err := net.SplitHostPort(a.cfg.Web.Listen)
	if err != nil {
		return ""
	}
	return net.JoinHostPort(host, "0")
}

func (a *agent) liveState() live.State {
	switch a.loop.State().Phase {
	case room.Recording, room.PostRoll:
		return live.Recording
	case room.Paused:
		return live.Paused
	}
	return live.Idle
}

// runLive shows pictures for as long as it can; that they cannot be shown ends nothing else.
func (a *agent) runLive(ctx context.Context) error {
	if err := a.live.Run(ctx); ctx.Err() == nil {
		a.log.Error("live pictures cannot be shown", "err", err)
		<-ctx.Done()
	}
	return context.Cause(ctx)
}
