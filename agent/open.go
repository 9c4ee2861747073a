package main

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"minglu/agent/amend"
	"minglu/agent/archive"
	"minglu/agent/capture"
	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/guard"
	"minglu/agent/health"
	"minglu/agent/identity"
	"minglu/agent/keep"
	"minglu/agent/ledger"
	"minglu/agent/lists"
	"minglu/agent/live"
	"minglu/agent/mirror"
	"minglu/agent/notary"
	"minglu/agent/record"
	"minglu/agent/room"
	"minglu/agent/store"
	"minglu/agent/unrecorded"
	"minglu/agent/uplink"
	"minglu/agent/web"
	"minglu/drivers"
	"minglu/drivers/sim"
)

// Names in the state folder.
const (
	usersFile     = "users.json"
	floorFile     = "time-floor"
	catalogueFile = "catalogue.db"
	listsFile     = "lists.json"
	resultsFolder = "verified"
	trustFolder   = "trust"
	tmpFolder     = "tmp"
)

// buildDate is a time that has passed: no clock that shows less is believed. The release build sets it.
var buildDate = "2026-11-25T00:00:00Z"

// agent is everything that runs in one room. main alone knows all the parts; they know each other
// only through interfaces of their own.
type agent struct {
	cfg      *config.Config
	log      *slog.Logger
	lock     *os.File // keeps a second agent out of the state folder
	layer    *durable.Counting
	files    durable.Files // of the state folder
	boot     string
	board    string        // the name of what was recognised, or as configured
	began    time.Duration // uptime at which the agent started
	clock    *clock.Clock
	id       *identity.Identity // its keys and name; for its certificates ask identity()
	keeper   *identity.Keeper   // renews them
	signer   *evidence.Signer
	ledger   *ledger.Ledger
	recorder *record.Recorder
	capture  *capture.Capture
	store    *store.Store
	rebuild  bool // the catalogue is to be rebuilt
	mirror   *mirror.Mirror
	foreign  map[string]bool // sessions whose copies differ, as told; only the mirror's goroutine
	strange  map[string]bool // of them, those that recovery has not looked at; likewise
	repaired chan struct{}   // closed when what a cut left open was repaired at the start
	web      *web.Server
	sim      *sim.Room // nil on a real board
	devices  devices
	loop     *roomLoop
	lampWish chan lampWish
	lampLost chan struct{} // the lamp's lines failed
	sounds   chan sound
	beeps    chan drivers.Beep
	health   *health.Health
	live     *live.Live
	uplink   *uplink.Uplink // nil without an office
	notary   *notary.Notary
	amender  *amend.Amender   // adds to sealed sessions
	unrec    *unrecorded.Book // what was lawfully not recorded
	lists    *lists.Book      // bodies, officers, matters, bookings and cases
	guard    *guard.Guard     // feeds who watches over the agent
	systemd  *guard.Systemd   // nil: not started by it
	runID    string           // of this start, for the office
	keep     *keep.Keeper     // decides how long sessions stay, and deletes
	archive  *archive.Archive // nil: there is none
	keeping  keeping

	repairing sync.Mutex // held while sessions are repaired, or leave

	ledgerMu sync.Mutex // one line at a time goes to master and copies

	mu       sync.Mutex // guards what follows
	session  *current   // the session under way, nil if none
	opening  string     // id of the session that is being opened, "" if none
	closing  map[string]*current
	unsealed map[string]unsealed // sessions that lost their disks, by id
	failed   map[string]bool     // disks that cannot be used, by folder
	others   map[string]bool     // disks that are another device's, by id
	diskBack bool                // a disk came back since sessions were last looked for that need repair
	lampAt   time.Duration       // uptime at which the lamp last changed …
	lampFor  time.Duration       // … and the trigger it followed
	climate  *health.ClimateFact
	supply   *health.PowerFact
	looks    struct { // without a purpose, of the last month
		n  *int
		at time.Duration // uptime of the count
	}
	rates   map[string]int64 // bit/s of channels when they last delivered, by id
	records facts            // what past sessions have shown
	wg      sync.WaitGroup   // seals and other work that Run waits for
}

// open makes all parts in order of need, on the file system under, nil for the real one. Nothing runs before Run. What was opened is closed again on error.
func open(cfg *config.Config, log *slog.Logger, under durable.Layer) (a *agent, err error) {
	a = &agent{cfg: cfg, log: log, layer: durable.NewCounting(under), began: clock.Uptime(), lampWish: make(chan lampWish, 1), lampLost: make(chan struct{}, 1), sounds: make(chan sound, 8), beeps: make(chan drivers.Beep, 8), closing: map[string]*current{}, unsealed: map[string]unsealed{}, failed: map[string]bool{}, others: map[string]bool{}, rates: readRates(cfg.State), foreign: map[string]bool{}, strange: map[string]bool{}, repaired: make(chan struct{})}
	opened := a // returning nil and an error sets a to nil
	defer func() {
		if err != nil {
			opened.close()
		}
	}()
	if a.boot, err = clock.BootID(); err != nil {
		return nil, err
	}
	if a.board, err = recognise(cfg, log); err != nil {
		return nil, &usageError{err}
	}
	if err := a.openState(); err != nil {
		return nil, err
	}
	if a.devices, a.sim, err = openDevices(cfg, func(d time.Duration) { a.clock.SimulateStep(d) }, a.captions(), log); err != nil {
		return nil, &usageError{err}
	}
	a.recorder, err = record.New(record.Options{
		Disks: cfg.Storage.Disks, Known: config.KnownDisks(cfg.State), Foreign: a.foreignDisk, Cycle: signingCycle(cfg), OneBarrier: signingCycle(cfg) > record.DefaultCycle, Fragment: cfg.Storage.Fragment.Std(), Segment: cfg.Storage.Segment.Std(),
		Now: a.clock.Now, Ledger: headWriter{a}, LedgerSync: a.syncLedger, OnDisk: a.onDisk, Layer: a.layer, Log: log,
	})
	if err != nil {
		return nil, err
	}
	a.capture, err = capture.New(capture.Options{Channels: a.devices.channels, Preroll: cfg.Storage.Preroll.Std(), Uptime: clock.Uptime, Log: log})
	if err != nil {
		return nil, err
	}
	if err := a.openAmendments(); err != nil {
		return nil, err
	}
	a.loop = newRoomLoop(roomRules(cfg), clock.Uptime, log)
	a.loop.do, a.loop.faulted, a.loop.moved = a.do, a.onFault, a.onMove
	if err := a.openMirror(); err != nil {
		return nil, err
	}
	if err := a.openKeeping(); err != nil {
		return nil, err
	}
	if err := a.openHealth(); err != nil {
		return nil, err
	}
	if err := a.openLive(); err != nil {
		return nil, err
	}
	a.systemd = guard.Here()
	if err := a.openGuard(); err != nil {
		return nil, err
	}
	a.openKeeper()
	a.lists = lists.Open(lists.Options{Path: filepath.Join(cfg.State, listsFile), Device: cfg.Device.Name, Files: a.files, Changed: a.onMove, Log: log})
	if err := a.openUplink(); err != nil {
		return nil, &usageError{err}
	}
	if err := a.openNotary(); err != nil {
		return nil, &usageError{err}
	}
	return a, a.openWeb()
}

// openState opens what lives in the state folder: clock floor, identity, ledger, catalogue.
func (a *agent) openState() (err error) {
	if err := os.MkdirAll(a.cfg.State, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if a.lock, err = lockState(a.cfg.State); err != nil {
		return err
	}
	a.files = durable.Files{Layer: a.layer, Tmp: filepath.Join(a.cfg.State, tmpFolder)}
	for _, dir := range []string{a.files.Tmp, filepath.Join(a.cfg.State, resultsFolder), filepath.Join(a.cfg.State, trustFolder)} {
		if err := a.files.Mkdir(dir); err != nil {
			return fmt.Errorf("state folder: %w", err)
		}
	}
	if err := a.files.Sweep(); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	build, err := time.Parse(time.RFC3339, buildDate)
	if err != nil {
		panic("BUG: build date: " + err.Error())
	}
	a.clock, err = clock.New(clock.Options{FloorFile: filepath.Join(a.cfg.State, floorFile), Build: build, Replace: a.files.Replace, OnStep: a.onStep, Log: a.log})
	if err != nil {
		return err
	}
	ids := identityOptions(a.cfg)
	if a.id, err = identity.Open(ids); err != nil {
		return err
	}
	nv, err := a.id.BootCount(a.boot)
	if err != nil {
		return err
	}
	if a.signer, err = evidence.NewSigner(a.id.Key); err != nil {
		return err
	}
	var opened ledger.Opened
	a.ledger, opened, err = ledger.Open(ledger.Options{State: a.cfg.State, Device: a.id.D, Signer: a.signer, Now: a.clock.Now, Boot: a.boot, Board: ids.Board, NV: nv, Before: formerDevice(a.id), Earlier: a.id.Earlier, Layer: a.layer, Log: a.log})
	if err != nil {
		return err
	}
	if opened.Fresh && opened.Cause != "first" {
		a.log.Warn("the device ledger begins anew", "cause", opened.Cause)
	}
	if err := a.announceSM2(a.id); err != nil {
		return err
	}
	a.store, a.rebuild, err = store.Open(store.Options{Path: filepath.Join(a.cfg.State, catalogueFile), Log: a.log})
	return err
}

func (a *agent) openWeb() (err error) {
	gate, err := a.openAccess()
	if err != nil {
		return err
	}
	o := web.Options{Listen: a.cfg.Web.Listen, State: a.snapshot, Room: roomCommands{a}, Store: a.sessions(), Access: webAccess{gate}, Amends: webAmends{a}, Unrec: webUnrecorded{a}, Grants: webGrants{gate, a.sessions()}, Hearings: a.sessions(), Keeping: webKeeping{a}, Log: a.log,
		Health: a.reportHealth, Compliance: a.reportCompliance, Live: a.live.Handler("/whep/"), WatchIdle: a.cfg.Live.Idle, Writes: a.layer.Stats}
	if a.uplink != nil {
		o.Outbox = func() int64 { return int64(a.uplink.Status().Waiting) }
	}
	if t := a.cfg.Web.TLS; t != nil {
		if o.TLS, err = web.LoadTLS(t.Cert, t.Key); err != nil {
			return &usageError{err}
		}
	}
	if a.sim != nil {
		o.Sim = a.sim.Handler()
	}
	a.web, err = web.New(o)
	return err
}

// close frees what open opened.
func (a *agent) close() {
	if a.ledger != nil {
		if err := a.ledger.Close(); err != nil {
			a.log.Error("ledger", "err", err)
		}
	}
	if a.store != nil {
		if err := a.store.Close(); err != nil {
			a.log.Error("catalogue", "err", err)
		}
	}
	if err := a.id.Close(); err != nil {
		a.log.Error("identity", "err", err)
	}
	if a.lock != nil {
		a.lock.Close()
	}
}

// trust is what this device believes: its trust folder and its own certificate.
func (a *agent) trust() *evidence.Trust {
	t, err := evidence.ReadTrust(os.DirFS(filepath.Join(a.cfg.State, trustFolder)))
	if err != nil {
		a.log.Warn("trust folder", "err", err)
		t = new(evidence.Trust)
	}
	t.Devices = append(t.Devices, a.identity().Cert)
	return t
}

func roomRules(cfg *config.Config) room.Rules {
	r := room.DefaultRules()
	r.Triggers = nil
	for _, s := range cfg.Room.Start {
		r.Triggers = append(r.Triggers, room.Trigger(s))
	}
	r.PostRoll = cfg.Storage.Postroll.Std()
	r.PresenceHold = cfg.Room.PresenceHold.Std()
	r.PauseAsk = cfg.Room.PauseLimit.Std()
	r.EmptyAsk, r.EmptyStop = cfg.Room.EmptyAsk.Std(), cfg.Room.EmptyStop.Std()
	r.NoticeWithin = cfg.Room.NoticeWithin.Std()
	r.Limits, r.LimitAhead = nil, cfg.Room.LimitWarn.Std()
	if l := cfg.Room.Limit.Std(); l > 0 {
		r.Limits = []time.Duration{l}
	}
	r.Continue = cfg.Room.ResumeWithin.Std()
	return r
}

// headWriter is the ledger as the recorder needs it: each line goes on to the copies on the disks.
type headWriter struct{ a *agent }

func (h headWriter) Head(session, log string, size int64, root evidence.Hash) error {
	return h.a.ledgerLine(func(l *ledger.Ledger) error { return l.Head(session, log, size, root) })
}

func (h headWriter) Sealed(session, manifest, p7s string) error {
	return h.a.ledgerLine(func(l *ledger.Ledger) error { return l.Sealed(session, manifest, p7s) })
}

func (h headWriter) Amend(session string, n int64, sha256 string) error {
	return h.a.ledgerLine(func(l *ledger.Ledger) error { return l.Amend(session, n, sha256) })
}

// ledgerLine adds a line to the master and hands the new bytes to the disks.
func (a *agent) ledgerLine(add func(*ledger.Ledger) error) error {
	a.ledgerMu.Lock()
	defer a.ledgerMu.Unlock()
	from := a.ledger.Bytes()
	if err := add(a.ledger); err != nil {
		return err
	}
	b, err := a.ledger.BytesFrom(from)
	if err != nil {
		return err
	}
	if a.recorder == nil { // no agent runs: the copies are completed when the command ends
		return nil
	}
	a.recorder.LedgerAppend(a.ledger.Generation(), from, b)
	return nil
}

// syncLedger completes the ledger's copy on a disk.
func (a *agent) syncLedger(disk string) error {
	foreign, err := a.ledger.Copy(disk).Sync()
	if foreign != "" {
		a.log.Warn("a ledger that is not ours was set aside", "disk", disk, "as", foreign)
		a.loop.Fault("disk.foreign", a.diskName(disk), true)
	}
	return err
}

// sessions is what the pages may look at.
func (a *agent) sessions() *sessions {
	return &sessions{
		store: a.store, disks: a.storeDisks, trust: a.trust, results: filepath.Join(a.cfg.State, resultsFolder), files: a.files, verified: a.verified,
		room: func(w *web.Session) { w.Room, w.Device = a.cfg.Device.Room, a.cfg.Device.Name },
		live: a.liveSessions, disk: a.diskOf, own: a.id.D,
	}
}

// liveSessions are those being recorded or sealed, newest first: the catalogue does not have them yet.
func (a *agent) liveSessions() (list []web.Session) {
	phase := string(a.loop.State().Phase)
	a.mu.Lock()
	c, closing := a.session, slices.Collect(maps.Values(a.closing))
	a.mu.Unlock()
	if c != nil {
		list = append(list, c.row(phase, a.body()))
	}
	slices.SortFunc(closing, func(x, y *current) int { return strings.Compare(y.id, x.id) })
	for _, c := range closing {
		list = append(list, c.row("sealing", a.body()))
	}
	for i := range list {
		list[i].Room, list[i].Device = a.cfg.Device.Room, a.cfg.Device.Name
		for k, dir := range list[i].Disks {
			list[i].Disks[k] = a.diskName(dir)
		}
	}
	return list
}
