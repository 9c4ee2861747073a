package main

import (
	"context"
	"fmt"
	"time"

	"minglu/agent/capture"
	"minglu/agent/clock"
	"minglu/agent/evidence"
	"minglu/agent/health"
	"minglu/agent/record"
	"minglu/agent/report"
	"minglu/agent/web"
)

const (
	lostAfter = 2 * time.Second // GB 50395-2007 9.0.1 asks for an alarm on loss of video; 2 s is ours
	lowHours  = 24.0            // standard item rec.hours
)

// channelFault says what is wrong with a channel, "" if nothing.
func (a *agent) channelFault(st capture.Status, camera bool) string {
	switch {
	case st.SampleAge >= 0 && st.SampleAge < lostAfter:
		return ""
	case !camera:
		return "microphone.gone"
	}
	return health.CameraFault(channelFact(st), a.health.Latest().Faults, clock.Uptime())
}

// runClimate reads the air of the room.
func (a *agent) runClimate(ctx context.Context) error {
	tick := time.NewTicker(pollClimate)
	defer tick.Stop()
	for {
		c, err := a.devices.thermometer.Read(ctx)
		if err == nil {
			f := &health.ClimateFact{At: c.Up, Celsius: float64(c.MilliCelsius) / 1000}
			if h := float64(c.MilliPercent) / 1000; h >= 0 {
				f.Humidity = &h
			}
			a.mu.Lock()
			a.climate = f
			a.mu.Unlock()
		}
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
		signed = signedAgo(c.session.Status(), c.resumed())
	}
	states := []web.ChannelState{}
	for i, st := range a.capture.Status() {
		w := web.ChannelState{ID: st.ID, Name: a.cfg.Channels[i].Name, Kind: "microphone", State: "live", Codecs: append([]string{}, st.Codecs...), Width: st.Width, Height: st.Height, FPS: st.FPS, BitsPerSec: st.BitsPerSec, AgeMS: -1, SignedAgoMS: -1}
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
		if code := a.channelFault(st, camera); code != "" {
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

// signedAgo is for each channel that has recorded how old, in ms, its newest moment is that is signed
// and on a disk: what others sign makes none of its own new. Nothing is owed from before resumed.
func signedAgo(st record.Status, resumed time.Duration) map[string]int64 {
	newest := time.Duration(0)
	for _, ch := range st.Channels {
		newest = max(newest, ch.To)
	}
	ago := map[string]int64{}
	for _, ch := range st.Channels {
		if ch.Segment > 0 {
			ago[ch.Ch] = (st.Media - max(min(ch.To, newest-st.Unsynced), resumed)).Milliseconds()
		}
	}
	return ago
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
	rate := a.bitRate()
	copies, copying := a.mirror.Report(), a.mirror.Progress()
	states := []web.DiskState{}
	for _, d := range a.recorder.Disks() {
		w := web.DiskState{Name: a.diskName(d.Disk), State: "ok", FreeBytes: d.Free, Hours: -1, SignedAgoMS: d.Lag.Milliseconds(), CopyPercent: -1}
		for _, c := range copies.Lacking {
			if c.Disk == d.ID {
				w.Lacking++
			}
		}
		if copying.Disk == d.ID && copying.Total > 0 {
			w.CopyPercent = copying.Done * 100 / copying.Total
		}
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
		items = append(items, web.Item{Code: code, Ch: ch, Text: web.Text(a.faultText(code, ch)), Do: web.Text(f.Do.In(ch))})
	}
	for _, f := range a.health.Precheck() {
		add(f.Code, f.Ch)
	}
	for _, d := range a.recorder.Disks() { // what a disk told the recorder itself
		if !d.OK {
			add(record.DiskEvent{Cause: d.Cause}.Code(), a.diskName(d.Disk))
		}
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
