package main

import (
	"context"
	"os"
	"runtime"
	"time"

	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/agent/guard"
	"minglu/agent/inventory"
	"minglu/agent/room"
	"minglu/drivers/watchdog"
)

// openGuard makes what feeds the watchdogs. It opens none: Run does.
func (a *agent) openGuard() (err error) {
	o := guard.Options{Facts: a.guardFacts, Uptime: clock.Uptime, Systemd: a.systemd, Log: a.log,
		Fault: func(failed bool, _ error) { a.loop.Fault("watchdog.failed", "", failed) }}
	if dev := watchdogOf(a.cfg); dev != "" {
		o.Open = func() (guard.Watchdog, error) { return a.openWatchdog(dev) }
	}
	a.guard, err = guard.New(o)
	return err
}

// watchdogOf is the device of the hardware watchdog, "" for none. A simulated room has one only when told.
func watchdogOf(cfg *config.Config) string {
	switch dev := cfg.Watchdog.Device; dev {
	case config.WatchdogAuto, "":
		if cfg.Sim() {
			return ""
		}
		return inventory.Guard(inventory.Options{Root: os.DirFS("/"), Arch: runtime.GOARCH, Board: cfg.Board})
	case config.WatchdogNone:
		return ""
	default:
		return dev
	}
}

func (a *agent) openWatchdog(dev string) (guard.Watchdog, error) {
	timeout := a.cfg.Watchdog.Timeout.Std()
	if timeout == 0 {
		timeout = config.DefaultWatchdog
	}
	w, err := watchdog.Open(dev, timeout)
	if err != nil {
		return nil, err
	}
	i := w.Info()
	a.log.Info("the hardware watchdog runs", "device", dev, "identity", i.Identity, "timeout", i.Timeout, "asked", timeout, "off_at_stop", i.Magic, "it_reset_the_board", i.Reset)
	a.loop.Fault("watchdog.reset", "", i.Reset)
	return w, nil
}

// guardFacts is one look at what the room does.
func (a *agent) guardFacts() guard.Facts {
	st := a.loop.State()
	now := clock.Uptime()
	f := guard.Facts{Up: now, Loop: max(time.Duration(a.loop.decided.Load()), a.began), // it waits for the disks first
		Disks:  len(a.cfg.Storage.Disks),
		Wanted: st.Phase == room.Recording || st.Phase == room.PostRoll || st.Failing}
	if c := a.running(); c != nil {
		f.Session, f.Durable = c.id, c.session.Status().Durable
	}
	for _, c := range a.capture.Status() {
		if c.SampleAge >= 0 {
			f.Arrived = max(f.Arrived, now-c.SampleAge)
		}
	}
	for _, d := range a.recorder.Disks() {
		switch {
		case d.OK:
		case d.Cause == "hung":
			f.Hung++
		default:
			f.Lost++
		}
	}
	return f
}

// tellReady says once that the room can be used: its page is open and its disks have been looked at.
func (a *agent) tellReady(ctx context.Context) {
	a.awaitRecorder(ctx)
	if a.web.Addr(ctx) == "" || ctx.Err() != nil {
		return
	}
	if err := a.systemd.Ready(); err != nil {
		a.log.Warn("systemd is not told", "err", err)
	}
}
