package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"minglu/agent/capture"
	"minglu/agent/clock"
	"minglu/agent/health"
	"minglu/agent/record"
	"minglu/agent/report"
	"minglu/agent/room"
	"minglu/agent/standard"
	"minglu/agent/store"
	"minglu/drivers/pipeline"
)

// viewsFolder holds what was learnt of each camera's usual view.
const viewsFolder = "views"

// healthEvery is how often health gets what came: it looks once a second.
const healthEvery = 100 * time.Millisecond

// maxView bounds one file of it.
const maxView = 1 << 20

// facts are what past sessions have shown; nil: not known.
type facts struct {
	precheck    *bool
	longestRun  *time.Duration // without a gap
	resumeAfter *time.Duration
	verifiedAt  time.Time // newest verification of a stored session
}

func (a *agent) openHealth() (err error) {
	o := health.Options{Now: a.clock.Now, Facts: a.healthFacts, Fault: a.loop.Fault, Report: a.onReport, Bases: views{a}, Log: a.log}
	for _, c := range a.cfg.Channels {
		o.Channels = append(o.Channels, health.Channel{ID: c.ID, Camera: c.Camera != nil})
	}
	for _, dir := range a.cfg.Storage.Disks {
		o.Disks = append(o.Disks, health.Disk{Name: a.diskName(dir), Dir: dir})
	}
	switch d, err := pipeline.New(pipeline.Options{}); {
	case err == nil:
		o.Decoder = d
	case errors.Is(err, pipeline.ErrNone):
		a.log.Info("no ffmpeg here: pictures and coded sound are recorded, not looked at")
	default:
		return err
	}
	if a.health, err = health.New(o); err != nil {
		return err
	}
	for _, c := range a.cfg.Channels {
		a.capture.Glance(c.ID, healthEvery, a.health) // for as long as the agent lives
	}
	return a.files.Mkdir(filepath.Join(a.cfg.State, viewsFolder))
}

// onReport tells the office when something has changed.
func (a *agent) onReport(r health.Report) {
	if a.uplink == nil {
		return
	}
	if r.FaultsChanged {
		a.uplink.Touch(report.KindHealth)
	}
	if r.VerdictsChanged {
		a.uplink.Touch(report.KindCompliance)
	}
}

// healthFacts gathers what the samples do not tell.
func (a *agent) healthFacts() health.Facts {
	st := a.loop.State()
	now := a.clock.Now()
	f := health.Facts{
		Recording: st.Session != "" && st.Phase == room.Recording || st.Phase == room.PostRoll, Paused: st.Phase == room.Paused,
		Clock: health.ClockFact{Polled: true}, HasThermometer: a.devices.thermometer != nil,
		Uplink: health.UplinkFact{Configured: a.uplink != nil}, Stamps: health.StampFact{Configured: false},
	}
	if a.uplink != nil {
		up := a.uplink.Status()
		if f.Uplink.LastAck = up.LastAck; up.Settled() {
			f.Uplink.LastAck = now.Up // the office has all there is
		}
	}
	for _, c := range a.capture.Status() {
		f.Channels = append(f.Channels, channelFact(c))
	}
	for _, d := range a.recorder.Disks() {
		free := d.Free
		if free >= 0 {
			free = max(0, free-record.DefaultFloor)
		}
		f.Disks = append(f.Disks, health.DiskFact{Name: a.diskName(d.Disk), OK: d.OK, Free: free})
	}
	f.Session = a.sessionFact(now)
	left := a.identity().Cert.NotAfter.Sub(now.T).Hours() / 24
	f.CertDaysLeft = &left
	f.Unexplained = a.unexplained()
	f.Archive = a.archiveFact()
	a.mu.Lock()
	defer a.mu.Unlock()
	f.Climate, f.Power, f.HasBattery = a.climate, a.supply, a.devices.power != nil
	f.LastPrecheck, f.LongestRun, f.ResumeAfter = a.records.precheck, a.records.longestRun, a.records.resumeAfter
	if t := a.records.verifiedAt; !t.IsZero() {
		age := max(0, now.T.Sub(t))
		f.LastVerified = &age
	}
	return f
}

// channelFact is a channel as health wants it.
func channelFact(c capture.Status) health.ChannelFact {
	k := health.ChannelFact{ID: c.ID, Connected: c.Connected, SampleAge: c.SampleAge, Shown: c.Shown,
		SourceHz: c.SourceHz, Level: health.Level{Known: c.Level.Known, RMS: c.Level.RMS, Clipped: c.Level.Clipped, Quiet: c.Level.Quiet}}
	switch {
	case c.Connected:
		k.ConnectedSince = c.Since
	case c.Problem != nil:
		k.Problem = c.Problem.Code
	}
	return k
}

func (a *agent) sessionFact(now clock.Reading) *health.SessionFact {
	c := a.running()
	if c == nil {
		return nil
	}
	st, lag := c.session.Status(), c.latencies()
	f := &health.SessionFact{Began: c.trigger, GapTotal: map[string]time.Duration{}, Unsigned: st.Unsynced}
	for _, d := range st.Disks {
		f.Disks = append(f.Disks, a.diskName(d))
	}
	gaps := time.Duration(0)
	for _, ch := range st.Channels {
		f.GapTotal[ch.Ch] = ch.GapTotal
		gaps += ch.GapTotal
	}
	if lag.notice > 0 {
		f.NoticeAfter = &lag.notice
	}
	if lag.durable > 0 {
		f.TriggerToRecord = &lag.durable
	}
	if a.devices.lamp != nil {
		if lag.lamp == 0 {
			lag.lamp = now.Up - c.trigger
		}
		f.LampLag = &lag.lamp
	}
	if gaps == 0 {
		a.longRun(st.Media)
	}
	return f
}

// longRun remembers a recording without a gap if it is the longest so far.
func (a *agent) longRun(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.records.longestRun == nil || *a.records.longestRun < d {
		a.records.longestRun = &d
	}
}

// verified notes that a stored session was verified just now.
func (a *agent) verified() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.records.verifiedAt = a.clock.Now().T
}

// learnRecords reads from the catalogue what past sessions have shown.
func (a *agent) learnRecords(ctx context.Context) {
	rows, err := a.store.List(ctx, store.Filter{}, store.MaxLimit, 0)
	if err != nil {
		a.log.Error("catalogue", "err", err)
		return
	}
	for _, r := range rows {
		if r.Gaps == 0 && r.Breaks == 0 && r.State == store.Sealed {
			a.longRun(r.Duration)
		}
		a.mu.Lock()
		if r.Verified.At.After(a.records.verifiedAt) {
			a.records.verifiedAt = r.Verified.At
		}
		a.mu.Unlock()
	}
}

// wall turns an uptime into wall time, as far as it is known now.
func wall(now clock.Reading, up time.Duration) time.Time {
	if up == 0 {
		return time.Time{}
	}
	return now.T.Add(up - now.Up).Round(time.Millisecond)
}

func reportText(t standard.Text) *report.Text {
	if t == (standard.Text{}) {
		return nil
	}
	return &report.Text{Zh: t.Zh, En: t.En}
}

// looked is the newest look at the room; before the first one it is empty and of now.
func (a *agent) looked() health.Report {
	r := a.health.Latest()
	if r.At.T.IsZero() {
		r.At = a.clock.Now()
	}
	return r
}

// reportHealth is what was measured, as it goes to pages and office.
func (a *agent) reportHealth() report.Health {
	r := a.looked()
	h := report.Health{V: report.Version, Device: a.cfg.Device.Name, T: r.At.T, Measurements: []report.Measurement{}}
	for _, m := range r.Measurements {
		k := report.Measurement{Measure: m.Measure, Subject: m.Subject, Unit: m.Unit, At: wall(r.At, m.At), How: reportText(m.How), AtLeast: m.AtLeast}
		if m.Known() {
			k.Value = m.Value.Any()
		} else {
			k.Unknown = reportText(m.Unknown)
		}
		h.Measurements = append(h.Measurements, k)
	}
	return h
}

// reportCompliance is what was judged.
func (a *agent) reportCompliance() report.Compliance {
	r, p := a.looked(), a.health.Profile()
	c := report.Compliance{V: report.Version, Device: a.cfg.Device.Name, T: r.At.T, Items: []report.Item{},
		Profile: report.Profile{ID: p.ID, Version: p.Version, Zh: p.Title.Zh, En: p.Title.En}}
	for _, v := range r.Verdicts {
		c.Items = append(c.Items, report.Item{
			Item: v.Item, Subject: v.Subject, Verdict: string(v.Result), Value: v.Value.Any(), Limit: v.Limit, Unit: v.Unit, Clause: v.Clause,
			Basis: v.Basis.Kind, Seen: v.Basis.Seen, Since: wall(r.At, v.Since), Severity: string(v.Severity), Why: reportText(v.Why), Zh: v.Title.Zh, En: v.Title.En,
		})
	}
	return c
}

// views keeps what health learnt of each camera's usual view.
type views struct{ a *agent }

func (v views) file(ch string) string {
	return filepath.Join(v.a.cfg.State, viewsFolder, ch)
}

func (v views) Load(ch string) ([]byte, error) {
	b, err := readAtMost(v.file(ch), maxView)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (v views) Save(ch string, base []byte) error { return v.a.files.Replace(v.file(ch), base) }
