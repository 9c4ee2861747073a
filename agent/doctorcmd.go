package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/agent/doctor"
	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/identity"
	"minglu/agent/mirror"
	"minglu/agent/record/recovery"
	"minglu/agent/report"
	"minglu/agent/store"
)

const (
	cycleFile    = "cycle.json"
	checkWithin  = 20 * time.Second
	cameraRate   = 4_000_000 // bit/s, for the hours left, of what nobody has measured yet
	soundRate    = 64_000    // likewise, of a microphone
	repairRate   = 1 << 40   // nothing records: as fast as it goes
	doctorOfSelf = "minglu-agent doctor"
)

// measured is what doctor wrote of the disks, nil if it never did.
func measured(state string) *doctor.Measured {
	b, err := os.ReadFile(filepath.Join(state, cycleFile))
	if err != nil {
		return nil
	}
	m, err := doctor.ParseMeasured(b)
	if err != nil {
		return nil
	}
	return &m
}

// signingCycle is the cycle in force.
func signingCycle(cfg *config.Config) time.Duration {
	if m := measured(cfg.State); m != nil {
		return cfg.Storage.SigningCycle(m.Cycle())
	}
	return cfg.Storage.SigningCycle(0)
}

// doctor runs one "minglu-agent doctor".
func (c *commands) doctor(stdout, stderr io.Writer) int {
	cfg, wrong := parse(c.Doctor.Config, stderr)
	if cfg == nil {
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if c.Doctor.Repair {
		return withoutAgent(cfg, doctorOfSelf, stderr, func(ctx context.Context, o *offline) (int, error) { return exitGood, o.repairAll(ctx, stdout) })
	}
	e := &examination{cfg: cfg, wrong: wrong, layer: durable.OS{}, heard: map[string]int64{}}
	lock, err := lockState(cfg.State)
	e.running = errors.As(err, new(takenError))
	if lock != nil {
		defer lock.Close() // no agent starts while the disks are measured
	}
	all := []doctor.Finding{}
	doctor.Run(ctx, e.checks(), checkWithin, func(f []doctor.Finding) {
		all = append(all, f...)
		if !c.Doctor.JSON {
			for _, one := range f {
				printFinding(stdout, one)
			}
		}
	})
	worst := doctor.Worst(all)
	if c.Doctor.JSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(struct {
			Worst    doctor.Level     `json:"worst"`
			Running  bool             `json:"running"`
			CycleMS  int64            `json:"cycle_ms"`
			Findings []doctor.Finding `json:"findings"`
		}{worst, e.running, signingCycle(cfg).Milliseconds(), all}); err != nil {
			return exitFailed
		}
	}
	if ctx.Err() != nil || worst == doctor.Bad {
		return exitFailed
	}
	return exitGood
}

func printFinding(w io.Writer, f doctor.Finding) {
	mark := map[doctor.Level]string{doctor.Good: "[正常 good]", doctor.Note: "[注意 note]", doctor.Bad: "[故障 FAIL]"}[f.Level]
	fmt.Fprintf(w, "%s %s\n            %s\n", mark, f.Text.Zh, f.Text.En)
	if f.Do.Zh != "" {
		fmt.Fprintf(w, "          → %s\n            %s\n", f.Do.Zh, f.Do.En)
	}
}

// parse reads a configuration whose folders and files may be missing, and what of them is wrong. nil: it says
// why it cannot.
func parse(path string, stderr io.Writer) (*config.Config, []config.Problem) {
	_, err := config.Load(path)
	wrong := (*config.Error)(nil)
	if err == nil || errors.As(err, &wrong) {
		var b []byte
		if b, err = os.ReadFile(path); err == nil {
			var cfg *config.Config
			if cfg, err = config.Parse(path, b); err == nil && wrong == nil {
				return cfg, nil
			} else if err == nil {
				return cfg, wrong.Problems
			}
		}
	}
	fmt.Fprintln(stderr, err)
	return nil, nil
}

// examination gathers what the checks look at.
type examination struct {
	cfg     *config.Config
	wrong   []config.Problem
	layer   durable.Layer
	running bool
	cert    *x509.Certificate
	office  *identity.Office // where the device is enrolled
	speeds  []doctor.Barrier
	mu      sync.Mutex       // guards heard: a check that was given up may still end
	heard   map[string]int64 // bit/s of channels
}

func (e *examination) checks() []doctor.Check {
	cfg := e.cfg
	now := func(name, on string, run func(ctx context.Context) []doctor.Finding) doctor.Check {
		return doctor.Check{Name: name, On: on, Run: run}
	}
	list := []doctor.Check{
		now("state", "", func(context.Context) []doctor.Finding { return doctor.State(cfg.State, e.running) }),
		now("config", "", e.config),
		now("identity", "", e.identity),
		now("identity.enrolled", "", e.enrolled),
		now("ledger", "", func(context.Context) []doctor.Finding {
			if e.cert == nil {
				return nil
			}
			return doctor.Ledger(cfg.State, e.cert)
		}),
		now("catalogue", "", func(context.Context) []doctor.Finding {
			return doctor.Catalogue(store.Check(filepath.Join(cfg.State, catalogueFile)))
		}),
	}
	var space []doctor.Check // asked for when the channels were heard
	for i, dir := range cfg.Storage.Disks {
		o := doctor.DiskOptions{Name: string(rune('A' + i)), Dir: dir, Known: config.KnownDisks(cfg.State)[dir], Write: !e.running, Layer: e.layer}
		o.Others = slices.Concat(cfg.Storage.Disks[:i], cfg.Storage.Disks[i+1:])
		space = append(space, now("disk.space", o.Name, func(context.Context) []doctor.Finding {
			o.Other = e.foreign(dir)
			o.Rate, o.Guess = e.rate()
			return doctor.Space(o)
		}))
		list = append(list, now("disk.present", o.Name, func(ctx context.Context) []doctor.Finding {
			o.Other = e.foreign(dir)
			return doctor.Disk(ctx, o)
		}))
		if !e.running {
			list = append(list, now("disk.speed", o.Name, func(ctx context.Context) []doctor.Finding {
				o.Other = e.foreign(dir)
				return doctor.Speed(ctx, o, len(cfg.Channels), func(b doctor.Barrier) { e.speeds = append(e.speeds, b) })
			}))
		}
	}
	list = append(list, now("disk.cycle", "", e.cycle), now("sessions", "", e.sessions))
	if !e.running { // a second connection disturbs some cameras
		list = append(list, e.channels()...)
	}
	list = append(list, space...)
	list = append(list, e.roomChecks()...)
	list = append(list, now("clock", "", e.clock))
	if !e.running {
		list = append(list, now("web.port", cfg.Web.Listen, func(context.Context) []doctor.Finding { return doctor.Port(cfg.Web.Listen) }))
	}
	return append(list, now("office.api", "", e.standing), now("office", "", e.broker))
}

// config tells what of the configuration is wrong; of disks that are not there their own check tells.
func (e *examination) config(context.Context) (all []doctor.Finding) {
	for _, p := range e.wrong {
		if slices.ContainsFunc(e.cfg.Storage.Disks, func(dir string) bool {
			_, err := os.Stat(dir)
			return err != nil && strings.HasPrefix(p.Key, "storage.disks") && strings.Contains(p.Zh, fmt.Sprintf("%q", dir))
		}) {
			continue
		}
		at := fmt.Sprintf("%s:%d:%d ", p.File, p.Line, p.Column)
		all = append(all, doctor.Finding{Check: "config", On: p.Key, Level: doctor.Bad, Text: textOf(at+p.Zh, at+p.En), Do: textOf("请更正 "+p.File, "Correct "+p.File)})
	}
	return all
}

// rate is what a session takes: of each channel what doctor heard just now or, while the agent runs, what that
// keeps; guess says that one was never measured.
func (e *examination) rate() (sum int64, guess bool) {
	kept := readRates(e.cfg.State)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.cfg.Channels {
		rate := e.heard[c.ID]
		if rate == 0 {
			rate = kept[c.ID]
		}
		if rate == 0 {
			guess = true
			if rate = soundRate; c.Camera != nil {
				rate = cameraRate
			}
		}
		sum += rate
	}
	return sum, guess
}

// hears takes the rate of a channel.
func (e *examination) hears(ch string) func(int64) {
	return func(rate int64) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.heard[ch] = rate
	}
}

// foreign tells whether a disk is another device's.
func (e *examination) foreign(dir string) bool {
	id, err := doctor.ReadDiskID(dir)
	if err != nil {
		return false // there is none, or it is told
	}
	device := ""
	if e.cert != nil {
		device, _ = evidence.CertDevice(e.cert) // one that is none is told
	}
	return foreignDisk(e.cfg.State, device, dir, id)
}

// cycle keeps what was measured for the next start.
func (e *examination) cycle(context.Context) []doctor.Finding {
	if n := len(e.speeds); n > 0 && n == len(e.cfg.Storage.Disks) {
		m := doctor.Measured{CycleMS: doctor.Cycle(e.speeds).Milliseconds(), At: time.Now().UTC().Truncate(time.Second), Disks: e.speeds}
		b, err := m.Marshal()
		files := durable.In(filepath.Join(e.cfg.State, tmpFolder))
		if err == nil {
			err = errors.Join(files.MkdirAll(files.Tmp), files.Replace(filepath.Join(e.cfg.State, cycleFile), b))
		}
		if err != nil {
			return []doctor.Finding{{Check: "disk.cycle", Level: doctor.Bad, Text: textOf("测量结果不能保存："+err.Error(), "What was measured cannot be kept: "+err.Error())}}
		}
	}
	return []doctor.Finding{doctor.CycleFinding(signingCycle(e.cfg), e.cfg.Storage.Cycle, measured(e.cfg.State))}
}

// sessions looks at the folders on the disks.
func (e *examination) sessions(ctx context.Context) []doctor.Finding {
	var disks []mirror.Disk
	var rec []recovery.Disk
	names := map[string]string{}
	s := doctor.Sessions{Lacking: map[string][]string{}}
	for i, dir := range e.cfg.Storage.Disks {
		if id, err := doctor.ReadDiskID(dir); err == nil && !e.foreign(dir) {
			disks = append(disks, mirror.Disk{ID: id, Dir: dir})
			rec = append(rec, recovery.Disk{ID: id, Dir: dir})
			names[id] = string(rune('A' + i))
		}
		for _, pattern := range []string{"tmp/unsigned-*", "tmp/superseded-*", "ledger/*.foreign-*"} {
			found, _ := filepath.Glob(filepath.Join(dir, pattern))
			s.Aside = append(s.Aside, found...)
		}
	}
	m, err := mirror.New(mirror.Options{Disks: func() []mirror.Disk { return disks }, Layer: e.layer})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	r := m.Look(ctx)
	s.Sealed = r.Sessions
	lacking := map[string]bool{}
	for _, c := range r.Lacking {
		s.Lacking[names[c.Disk]] = append(s.Lacking[names[c.Disk]], c.Session)
		lacking[c.Session] = true
	}
	for _, c := range r.Foreign {
		s.Foreign = append(s.Foreign, c.Session)
		lacking[c.Session] = true
	}
	pending, err := recovery.Pending(rec)
	for _, p := range pending {
		if !lacking[p.Session] && !(e.running && time.Since(p.Last) < time.Minute) {
			s.Interrupted = append(s.Interrupted, p.Session)
		}
	}
	all := s.Findings()
	if err != nil {
		all = append(all, doctor.Finding{Check: "sessions", Level: doctor.Bad, Text: textOf("会话文件夹不能列出："+err.Error(), "The sessions cannot be listed: "+err.Error())})
	}
	return all
}

func (e *examination) channels() (list []doctor.Check) {
	quiet := slog.New(slog.DiscardHandler)
	d, _, err := openDevices(e.cfg, func(time.Duration) {}, newCaptions(e.cfg, quiet), quiet)
	if err != nil {
		return []doctor.Check{{Name: "channel", Run: func(context.Context) []doctor.Finding {
			return []doctor.Finding{{Check: "channel", Level: doctor.Bad, Text: textOf("设备不能打开："+err.Error(), "The devices cannot be opened: "+err.Error())}}
		}}}
	}
	for _, ch := range d.channels {
		list = append(list, doctor.Check{Name: "channel", On: ch.ID, Run: func(ctx context.Context) []doctor.Finding {
			return doctor.Channel(ctx, ch.ID, ch.Source, e.hears(ch.ID))
		}})
	}
	return append(list, e.attached(d)...)
}

func (e *examination) clock(ctx context.Context) []doctor.Finding {
	build, err := time.Parse(time.RFC3339, buildDate)
	if err != nil {
		panic("BUG: build date: " + err.Error())
	}
	c, err := clock.New(clock.Options{FloorFile: filepath.Join(e.cfg.State, floorFile), Build: build,
		Replace: func(string, []byte) error { return nil }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return []doctor.Finding{{Check: "clock", Level: doctor.Bad, Text: textOf("时钟不可用："+err.Error(), "The clock cannot be read: "+err.Error())}}
	}
	return doctor.Clock(c.Poll(ctx), c.Floor())
}

// repairAll does what the next start of the agent would do, and completes the copies at full speed.
func (o *offline) repairAll(ctx context.Context, stdout io.Writer) error {
	var rec []recovery.Disk
	var disks []mirror.Disk
	for _, d := range o.disks {
		rec = append(rec, recovery.Disk{ID: d.id, Dir: d.dir})
		disks = append(disks, mirror.Disk{ID: d.id, Dir: d.dir})
	}
	m, err := mirror.New(mirror.Options{Disks: func() []mirror.Disk { return disks }, Device: o.id.D, Rate: repairRate, Log: o.log})
	if err != nil {
		return err
	}
	o.mirror = m
	boot, err := clock.BootID()
	if err != nil {
		return err
	}
	pending, err := recovery.Pending(rec)
	if err != nil {
		return err
	}
	only := map[string]bool{}
	for _, p := range pending {
		only[p.Session] = !o.copyOnly(p.Session)
	}
	done, err := recovery.Run(ctx, recovery.Options{
		Disks: rec, Ledger: headWriter{o.agent}, NewLog: o.newLog, Device: o.id.D, Key: o.id.Key, Certs: o.id.Certs(), Extras: o.id.SealExtras,
		Now: o.clock.Now, BootID: boot, Skip: func(id string) bool { return !only[id] }, Layer: o.layer, Log: o.log,
	})
	for _, it := range done.Items {
		fmt.Fprintf(stdout, "会话 session %s: %s %s\n", it.Session, outcomeWords(it.Outcome), it.Cause)
		if it.Err != nil {
			fmt.Fprintf(stdout, "    %v\n", it.Err)
		}
	}
	if err != nil {
		return err
	}
	r := m.Pass(ctx)
	for _, c := range r.Completed {
		fmt.Fprintf(stdout, "已补齐副本 copy completed: %s → %s (%d bytes)\n", c.Session, c.Dir, c.Bytes)
	}
	if err := o.store.Rebuild(ctx, o.folders(), nil, nil); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "目录库已重建 · the catalogue is rebuilt")
	var left []string
	for _, c := range append(r.Lacking, r.Foreign...) {
		left = append(left, fmt.Sprintf("%s on %s: %s %v", c.Session, c.Dir, c.Why, c.Err))
	}
	for _, it := range done.Items {
		if it.Outcome != recovery.Recovered && it.Outcome != recovery.Finished && it.Outcome != recovery.LateTail && it.Outcome != recovery.Unsigned {
			left = append(left, it.Session+": "+string(it.Outcome))
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("有未能修复之处 / not everything could be repaired:\n  %s", strings.Join(left, "\n  "))
	}
	return context.Cause(ctx)
}

// outcomeWords says what became of a session, in both languages.
func outcomeWords(o recovery.Outcome) string {
	zh := map[recovery.Outcome]string{recovery.Recovered: "已修复并封存", recovery.Finished: "已补完封存", recovery.Unsigned: "中断于首次签名之前，已移开",
		recovery.Damaged: "不能自动修复，未改动", recovery.Foreign: "属于其他设备，未改动", recovery.LateTail: "晚到磁盘上多出的已签内容已补入并附补正",
		recovery.Waiting: "已在另一块未接入的磁盘上封存，等它接回，未改动", recovery.Failed: "修复失败"}
	return strings.TrimSpace(zh[o] + " " + string(o))
}

func textOf(zh, en string) report.Text { return report.Text{Zh: zh, En: en} }
