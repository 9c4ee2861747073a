package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"minglu/agent/capture"
	"minglu/agent/clock"
	"minglu/agent/evidence"
	"minglu/agent/record"
	"minglu/agent/report"
	"minglu/agent/room"
	"minglu/agent/web"
)

// What the watch calls a fault.
const (
	watchEvery  = 250 * time.Millisecond
	lostAfter   = 2 * time.Second  // GB 50395-2007 9.0.1 asks for an alarm on loss of video; 2 s is ours
	silentAfter = 60 * time.Second // mean under -60 dBFS
	clippedOver = 0.001            // share of PCM frames at full scale
	stepShown   = time.Minute      // a step of the clock is shown this long
	lowHours    = 24.0
	startGrace  = 5 * time.Second // cameras are not missed right after the start
)

// watch looks at channels, disks and clock, and raises and clears faults. It only looks: nothing
// waits for it.
type watch struct {
	a     *agent
	began time.Duration

	mu       sync.Mutex // guards what follows
	standing map[[2]string]bool
	stepUp   time.Duration // uptime of the last step, 0 none
	rate     int64         // bit/s of all channels, for the hours left
}

func newWatch(a *agent) *watch { return &watch{a: a, standing: map[[2]string]bool{}} }

// Run looks until ctx ends.
func (w *watch) Run(ctx context.Context) error {
	w.began = clock.Uptime()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			w.look()
		}
	}
}

func (w *watch) stepped(up time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stepUp = up
}

// set raises or clears a fault when it changes.
func (w *watch) set(code, ch string, on bool) {
	key := [2]string{code, ch}
	w.mu.Lock()
	change := w.standing[key] != on
	if on {
		w.standing[key] = true
	} else {
		delete(w.standing, key)
	}
	w.mu.Unlock()
	if change {
		w.a.loop.Fault(code, ch, on)
	}
}

func (w *watch) look() {
	now := clock.Uptime()
	paused := w.a.loop.State().Phase == room.Paused
	rate := int64(0)
	for i, st := range w.a.capture.Status() {
		rate += st.BitsPerSec
		if paused || now-w.began < startGrace {
			continue
		}
		code := channelFault(st, w.a.cfg.Channels[i].Camera != nil)
		for _, c := range channelFaults {
			w.set(c, st.ID, c == code)
		}
		w.set("sound.silent", st.ID, st.Level.Known && st.Level.Quiet >= silentAfter)
		w.set("sound.clipping", st.ID, st.Level.Known && st.Level.Clipped > clippedOver)
	}
	w.mu.Lock()
	if rate > 0 {
		w.rate = rate
	}
	step := w.stepUp
	w.mu.Unlock()
	for _, d := range w.a.diskStates() {
		w.set("disk.low", d.Name, d.State == "ok" && d.Hours >= 0 && d.Hours < lowHours)
	}
	r := w.a.clock.Now()
	w.set("clock.unverified", "", r.Error < 0 && !r.BeforeFloor)
	w.set("clock.behind", "", r.BeforeFloor)
	w.set("clock.step", "", step > 0 && now-step < stepShown)
}

// channelFaults are the faults of a channel, of which one at most stands.
var channelFaults = []string{"camera.gone", "camera.noframes", "camera.credentials", "camera.address", "camera.not-found", "camera.codec", "camera.protocol", "microphone.gone"}

// channelFault says what is wrong with a channel, "" if nothing.
func channelFault(st capture.Status, camera bool) string {
	live := st.SampleAge >= 0 && st.SampleAge < lostAfter
	switch {
	case live:
		return ""
	case !camera:
		return "microphone.gone"
	case st.Problem != nil && !st.Connected:
		if code := "camera." + st.Problem.Code; slices.Contains(channelFaults, code) {
			return code
		}
		return "camera.gone"
	case st.Connected:
		return "camera.noframes"
	}
	return "camera.gone"
}

// runClimate reads the air of the room.
func (a *agent) runClimate(ctx context.Context) error {
	tick := time.NewTicker(pollClimate)
	defer tick.Stop()
	for {
		c, err := a.devices.thermometer.Read(ctx)
		a.mu.Lock()
		if a.climate = nil; err == nil {
			a.climate = &web.Climate{Celsius: float64(c.MilliCelsius) / 1000, Humidity: float64(c.MilliPercent) / 1000}
		}
		a.mu.Unlock()
		if s := a.running(); s != nil && err == nil {
			s.session.Note(&evidence.Event{Common: evidence.Common{Type: "climate"}, At: s.session.Media(c.Up),
				Text: fmt.Sprintf("%.1f °C %.0f %%RH", float64(c.MilliCelsius)/1000, float64(c.MilliPercent)/1000)})
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// channelStates are the channels as the pages show them.
func (a *agent) channelStates() []web.ChannelState {
	signed := map[string]int64{}
	if c := a.running(); c != nil {
		st := c.session.Status()
		for _, ch := range st.Channels {
			signed[ch.Ch] = st.Unsynced.Milliseconds()
		}
	}
	states := []web.ChannelState{}
	for i, st := range a.capture.Status() {
		w := web.ChannelState{ID: st.ID, Kind: "microphone", State: "live", Codecs: append([]string{}, st.Codecs...), Width: st.Width, Height: st.Height, FPS: st.FPS, BitsPerSec: st.BitsPerSec, AgeMS: -1, SignedAgoMS: -1}
		if st.SampleAge >= 0 {
			w.AgeMS = st.SampleAge.Milliseconds()
		}
		camera := a.cfg.Channels[i].Camera != nil
		if camera {
			w.Kind = "camera"
		}
		if st.Level.Known {
			w.LevelDB, w.PeakDB = &st.Level.RMS, &st.Level.Peak
		}
		if ms, ok := signed[st.ID]; ok {
			w.SignedAgoMS = ms
		}
		if code := channelFault(st, camera); code != "" {
			f := report.Find(code)
			w.State, w.Text = channelState(st), &web.Text{Zh: f.Text.In(st.ID).Zh, En: f.Text.In(st.ID).En}
			if st.State == capture.Connecting && st.Attempts == 0 {
				w.Text = nil
			}
		}
		states = append(states, w)
	}
	return states
}

func channelState(st capture.Status) string {
	switch {
	case st.State == capture.Connecting && st.Attempts == 0:
		return "connecting"
	case st.Problem != nil && !st.Connected:
		return "failed"
	}
	return "lost"
}

// diskStates are the disks as the pages show them.
func (a *agent) diskStates() []web.DiskState {
	a.faults.mu.Lock()
	rate := a.faults.rate
	a.faults.mu.Unlock()
	states := []web.DiskState{}
	for _, d := range a.recorder.Disks() {
		w := web.DiskState{Name: a.diskName(d.Disk), State: "ok", FreeBytes: d.Free, Hours: -1, SignedAgoMS: d.Lag.Milliseconds()}
		switch {
		case d.OK && d.Lag > lostAfter:
			w.State = "behind"
		case d.OK:
		case d.Cause == "full":
			w.State = "full"
		case d.Cause == "unplugged":
			w.State = "absent"
		default:
			w.State = "failed"
		}
		if rate > 0 && d.Free >= 0 {
			w.Hours = float64(max(0, d.Free-record.DefaultFloor)) * 8 / float64(rate) / 3600
		}
		states = append(states, w)
	}
	return states
}

func clockState(r clock.Reading) web.ClockState {
	w := web.ClockState{T: r.T, ErrorUS: r.Error.Microseconds(), Source: r.Source, Quality: "good"}
	switch {
	case r.Error < 0:
		w.ErrorUS, w.Quality = -1, "unverified"
	case r.Error > time.Second: // standard item time.error
		w.Quality = "fair"
	}
	return w
}

// precheck is the check before use: it never blocks, what fails enters the record and is asked about.
func (a *agent) precheck(c *current) []web.Item {
	items := []web.Item{}
	add := func(code, ch string) {
		f := report.Find(code)
		items = append(items, web.Item{Code: code, Ch: ch, Text: web.Text(f.Text.In(ch)), Do: web.Text(f.Do.In(ch))})
	}
	for i, st := range a.capture.Status() {
		if code := channelFault(st, a.cfg.Channels[i].Camera != nil); code != "" {
			add(code, st.ID)
		}
	}
	for _, d := range a.diskStates() {
		switch {
		case d.State == "full":
			add("disk.full", d.Name)
		case d.State != "ok" && d.State != "behind":
			add("disk.failed", d.Name)
		case d.Hours >= 0 && d.Hours < lowHours:
			add("disk.low", d.Name)
		}
	}
	switch r := a.clock.Now(); {
	case r.BeforeFloor:
		add("clock.behind", "")
	case r.Error < 0:
		add("clock.unverified", "")
	}
	e := &evidence.Event{Common: evidence.Common{Type: "precheck"}, At: c.session.Media(clock.Uptime()), Code: "passed"}
	for _, it := range items {
		e.Code = "failed"
		if e.Text != "" {
			e.Text += " "
		}
		e.Text += it.Code + ":" + it.Ch
	}
	c.session.Note(e)
	return items
}
