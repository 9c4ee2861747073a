package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"minglu/agent/clock"
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/record/recovery"
	"minglu/agent/report"
	"minglu/agent/room"
	"minglu/agent/store"
)

// Limits of the way out: a service manager kills after more.
const (
	sealWithin  = 9 * time.Second  // a running session is sealed within this, or left to recovery
	pollClimate = 10 * time.Second // the air of a room changes slowly
	absentWait  = 30 * time.Second // for disks, before a repair goes on without them
	readyWithin = 5 * time.Second  // disks that have not been looked at by then count as absent
	openWithin  = 10 * time.Second // a continuation is signed on a disk by then, or what was cut is repaired without waiting for it
)

var errStopped = errors.New("asked to stop")

// Run records the room until ctx ends, then seals what is running and stops everything in the order
// of need: room, cameras, pages; recorder; state. It returns nil when it was asked to stop.
func (a *agent) Run(ctx context.Context) error {
	defer a.close()
	// The recorder outlives the rest: it is what the last seal needs.
	recCtx, recStop := context.WithCancelCause(context.WithoutCancel(ctx))
	recDone := make(chan error, 1)
	go func() { recDone <- a.recorder.Run(recCtx) }()

	// The room and its devices end only after the seal was asked for.
	liveCtx, liveStop := context.WithCancelCause(context.WithoutCancel(ctx))
	g, gctx := errgroup.WithContext(liveCtx)
	a.goAll(gctx, g)
	g.Go(func() error { return a.begin(gctx) })

	select {
	case <-ctx.Done():
		a.log.Info("stopping", "why", context.Cause(ctx))
	case <-gctx.Done():
	}
	if err := a.systemd.Stopping(); err != nil {
		a.log.Warn("systemd is not told", "err", err)
	}
	a.sealAll()
	liveStop(errStopped)
	err := g.Wait()
	recStop(errStopped)
	a.wg.Wait()
	recErr := <-recDone
	return errors.Join(asked(err), asked(recErr))
}

// awaitIdle returns when no session runs and none is being sealed, or ctx ends.
func (a *agent) awaitIdle(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.mu.Lock()
		busy := a.session != nil || len(a.closing) > 0 || a.opening != ""
		a.mu.Unlock()
		if !busy && isIdle(a.loop.State()) {
			return
		}
	}
}

// asked drops the error of something that was only asked to stop.
func asked(err error) error {
	if errors.Is(err, errStopped) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// goAll starts everything that lives beside the recorder. Only the room's loop and the pages may end
// the agent; a device that fails is a fault, not an end.
func (a *agent) goAll(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error {
		a.awaitRecorder(ctx) // asked for a recording before it knows its disks, it could only say that there are none
		return a.loop.Run(ctx)
	})
	g.Go(func() error { return a.web.Run(ctx) })
	g.Go(func() error {
		if addr := a.web.Addr(ctx); addr != "" {
			a.log.Info("the room's page is open", "address", addr)
		}
		return nil
	})
	g.Go(func() error { a.tellReady(ctx); return nil })
	g.Go(func() error { return a.guard.Run(ctx) })
	g.Go(func() error { return a.clock.Run(ctx) })
	g.Go(func() error { return a.capture.Run(ctx) })
	g.Go(func() error { return a.health.Run(ctx) })
	g.Go(func() error { return a.runRates(ctx) })
	g.Go(func() error { return a.runLive(ctx) })
	if a.uplink != nil {
		g.Go(func() error { return a.uplink.Run(ctx) })
	}
	g.Go(func() error { return a.keeper.Run(ctx) })
	g.Go(func() error { return a.notary.Run(ctx) })
	g.Go(func() error { return a.lists.Run(ctx) })
	if a.cfg.NTP != nil {
		g.Go(func() error { return a.runTimeServer(ctx) })
	}
	g.Go(func() error { return a.runLamp(ctx) })
	if a.devices.lights != nil {
		g.Go(func() error { return a.runLights(ctx) })
	}
	g.Go(func() error { return a.runMirror(ctx) })
	g.Go(func() error { return a.runKeeping(ctx) })
	if a.devices.speaker != nil {
		g.Go(func() error { return a.runSpeaker(ctx) })
	}
	if a.devices.thermometer != nil {
		g.Go(func() error { return a.runClimate(ctx) })
	}
	if a.devices.rtc != nil {
		g.Go(func() error { return a.runRTC(ctx) })
	}
	if a.devices.power != nil {
		g.Go(func() error { return a.runPower(ctx) })
	}
	if a.devices.buzzer != nil {
		g.Go(func() error { return a.runBuzzer(ctx) })
	}
	for name, s := range a.devices.scanners {
		g.Go(func() error { return a.runScanner(ctx, name, s, a.scanned) })
	}
	for kind, in := range a.devices.inputs {
		g.Go(func() error { return a.runInput(ctx, kind, in) })
	}
}

// sealAll ends a running session and waits for every seal under way, but not for ever.
func (a *agent) sealAll() {
	if !isIdle(a.loop.State()) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := a.loop.Ask(ctx, room.Shutdown{})
		cancel()
		if err != nil { // the loop itself has ended
			a.finish(a.running(), "agent stopping")
		}
	}
	done := make(chan struct{})
	go func() { a.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(sealWithin):
		a.log.Error("a seal takes too long; the next start finishes it")
	}
}

// begin does once what a start needs: it records on where a cut interrupted, then repairs beside it.
func (a *agent) begin(ctx context.Context) error {
	defer close(a.repaired)
	a.awaitRecorder(ctx)
	a.awaitADisk(ctx)
	a.rememberDisks()
	if ctx.Err() != nil {
		return nil
	}
	a.clock.Poll(ctx)
	a.finishAmendments(ctx)
	pending, err := recovery.Pending(a.recoveryDisks())
	if err != nil {
		a.log.Error("looking for interrupted sessions", "err", err)
	}
	lacking := map[string]bool{} // only copies of sealed sessions
	pending = slices.DeleteFunc(pending, func(p recovery.Open) bool {
		lacking[p.Session] = a.copyOnly(p.Session)
		return lacking[p.Session] || a.inUse(p.Session)
	})
	a.recordOn(ctx, pending)
	a.learnRecords(ctx)
	if a.rebuild {
		a.log.Info("rebuilding the catalogue from the session folders")
		if err := a.store.Rebuild(ctx, a.storeDisks(), a.inUse, func(p store.Progress) {
			if p.N%100 == 0 || p.N == p.Of {
				a.log.Info("catalogue", "sessions", p.N, "of", p.Of)
			}
		}); err != nil && ctx.Err() == nil {
			a.log.Error("catalogue", "err", err)
		}
	}
	if len(pending) > 0 {
		a.awaitDisks(ctx)
		a.repair(ctx, func(id string) bool { return !lacking[id] }, nil)
	}
	a.completeCatalogue(ctx)
	return nil
}

// completeCatalogue enters what was sealed right before a cut.
func (a *agent) completeCatalogue(ctx context.Context) {
	entered, err := a.store.Complete(ctx, a.storeDisks(), a.inUse)
	if err != nil && ctx.Err() == nil {
		a.log.Error("catalogue", "err", err)
	}
	for _, id := range entered {
		a.log.Info("entered into the catalogue", "session", id)
		a.notary.Look(id)
	}
}

// awaitRecorder returns once each disk has been looked at, or one hangs, or ctx ends.
func (a *agent) awaitRecorder(ctx context.Context) {
	select {
	case <-a.recorder.Ready():
	case <-time.After(readyWithin):
	case <-ctx.Done():
	}
}

// awaitADisk returns when a disk can at least be read: without any there is nothing to repair, and nobody
// knows whether the room was recording.
func (a *agent) awaitADisk(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for len(a.mirrorDisks()) == 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// awaitDisks gives disks that are slow to appear time before anything is repaired without them (R4).
func (a *agent) awaitDisks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, absentWait)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for len(a.recoveryDisks()) < len(a.cfg.Storage.Disks) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// recordOn continues the newest session that was cut while it recorded or paused. It returns when the
// continuation is signed on a disk: the session that was cut must not be sealed before, or another cut
// between the two would leave nothing that says the room was recording.
func (a *agent) recordOn(ctx context.Context, pending []recovery.Open) {
	for i := len(pending) - 1; i >= 0; i-- {
		p := pending[i]
		if p.Ended || p.Last.IsZero() {
			continue
		}
		ago := a.clock.Now().T.Sub(p.Last)
		if p.Boot == a.boot { // the wall clock is not needed within one boot
			ago = clock.Uptime() - p.LastUp
		}
		if ago < 0 { // a clock that fell back tells nothing: better one session too many
			ago = 0
		}
		back := clock.Uptime() - a.began // until here, the time the agent took
		if p.Boot != a.boot {
			back = clock.Uptime() // and the board to boot
		}
		a.mu.Lock()
		a.records.resumeAfter = &back
		a.mu.Unlock()
		ctx, cancel := context.WithTimeout(ctx, openWithin)
		defer cancel()
		if _, err := a.loop.Ask(ctx, room.PowerBack{Session: p.Session, Paused: p.Paused, Ago: ago, Details: cutDetails(p)}); err != nil {
			a.log.Error("recording on", "session", p.Session, "err", err)
			return
		}
		if c := a.running(); c != nil {
			select {
			case <-c.session.Opened():
			case <-c.session.Failed():
			case <-c.session.Done():
			case <-ctx.Done(): // a disk that hangs: the repair has waited long enough
			}
		}
		return
	}
}

// cutDetails is whose session it was.
func cutDetails(p recovery.Open) (d room.Details) {
	var o evidence.Open
	if l, err := evidence.ParseLine(p.Info); err == nil && l.Decode(&o) == nil {
		d.Body = room.Body(o.Body)
	}
	var e evidence.Details
	l, err := evidence.ParseLine(p.Details)
	if err != nil || l.Decode(&e) != nil {
		return d
	}
	d.Case, d.Matter, d.MatterID, d.MatterVersion, d.Booking, d.Flags = e.Case, e.Matter, e.MatterID, e.MatterVersion, e.Booking, e.Flags
	for _, o := range e.Officers {
		d.Officers = append(d.Officers, room.Officer(o))
	}
	return d
}

// repair seals what a cut left open, with its true cause: of the sessions that are wanted and not in use.
// lost are those that this agent saw losing their disks.
func (a *agent) repair(ctx context.Context, wanted func(session string) bool, lost map[string]unsealed) {
	defer a.amender.Hold()() // a late tail is an amendment too
	done, err := recovery.Run(ctx, recovery.Options{
		Disks: a.recoveryDisks(), Ledger: headWriter{a}, NewLog: a.newLog, Device: a.id.D, Key: a.id.Key, Certs: a.identity().Certs(), Extras: a.identity().SealExtras,
		Now: a.clock.Now, BootID: a.boot, Layer: a.layer, Log: a.log,
		Skip: func(id string) bool { return a.inUse(id) || !wanted(id) }, Cut: cutOf(lost),
	})
	if err != nil && ctx.Err() == nil {
		a.log.Error("repair", "err", err)
	}
	for _, it := range done.Items {
		a.log.Info("repaired", "session", it.Session, "outcome", it.Outcome, "cause", it.Cause, "err", it.Err)
		a.settled(it)
		switch it.Outcome {
		case recovery.Recovered, recovery.Finished, recovery.LateTail:
			_, seen := lost[it.Session]
			a.loop.Fault("session.recovered", it.Session, !seen)
			a.notary.Look(it.Session)
			a.tell(report.SessionRecovered, report.SessionEvent{Session: it.Session, Reason: it.Cause, Copies: len(a.recoveryDisks())})
		case recovery.Waiting: // the fault of the absent disk stands
		default:
			a.loop.Fault("session.damaged", it.Session, true)
		}
		if err := a.enter(it.Session); err != nil {
			a.log.Error("catalogue", "session", it.Session, "err", err)
		}
	}
}

// newLog is an empty log signed by this device's key.
func (a *agent) newLog(origin string) recovery.Log {
	return ledger.NewSessionLog(ledger.LogOptions{Origin: origin, Signer: a.signer, Now: a.clock.Now})
}

// enter puts a session's folder into the catalogue.
func (a *agent) enter(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return a.store.Put(ctx, store.FromFolder(a.storeDisks(), id))
}

func (a *agent) setOpening(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.opening = id
}

// inUse says that a session is not to be repaired, copied or listed anew: it is being opened, recorded or sealed, or it
// is on its way out, or was destroyed.
func (a *agent) inUse(id string) bool { return a.busyWith(id) || a.keep != nil && a.keep.Gone(id) }

// busyWith says that a session is being opened, recorded or sealed.
func (a *agent) busyWith(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, closing := a.closing[id]
	return closing || a.opening == id || a.session != nil && a.session.id == id
}

func (a *agent) recoveryDisks() (disks []recovery.Disk) {
	for _, d := range a.recorder.Disks() {
		if d.ID != "" && (d.OK || d.Cause == "full") {
			disks = append(disks, recovery.Disk{ID: d.ID, Dir: d.Disk})
		}
	}
	return disks
}

func (a *agent) storeDisks() (disks []store.Disk) {
	for _, d := range a.recorder.Disks() {
		if d.ID != "" && d.Cause != "foreign" {
			disks = append(disks, store.Disk{ID: d.ID, Dir: d.Disk})
		}
	}
	return append(disks, adoptedDisks(a.cfg.State)...)
}

// diskName is how people call a disk: A, B in the order of the configuration.
func (a *agent) diskName(dir string) string {
	for i, d := range a.cfg.Storage.Disks {
		if d == dir {
			return string(rune('A' + i))
		}
	}
	return dir
}

// diskOf is how people call the disk with an id, "" if it is none of those that were ever seen here.
func (a *agent) diskOf(id string) string {
	for _, d := range a.recorder.Disks() {
		if d.ID == id && id != "" {
			return a.diskName(d.Disk)
		}
	}
	return ""
}

// onStep notes a jump of the wall clock: media time goes on, a new clock epoch begins.
func (a *agent) onStep(s clock.Step) {
	a.log.Warn("the wall clock jumped; media time goes on", "by", s.By, "epoch", s.Reading.Epoch)
	if c := a.running(); c != nil {
		c.session.Note(&evidence.Clock{Epoch: s.Reading.Epoch, At: c.session.Media(s.Reading.Up), Step: s.By.Microseconds(), Src: s.Reading.Source})
	}
	a.health.Stepped(s.Reading.Up, s.By)
	if err := a.ledgerLine(func(l *ledger.Ledger) error {
		_, err := l.Append(&evidence.LedgerClock{Epoch: s.Reading.Epoch, Step: s.By.Microseconds(), Src: s.Reading.Source})
		return err
	}); err != nil {
		a.log.Error("ledger", "err", err)
	}
}

// Origin and BytesFrom complete what recovery needs of the ledger.
func (h headWriter) Origin() string { return h.a.ledger.Origin() }

func (h headWriter) BytesFrom(off int64) ([]byte, error) { return h.a.ledger.BytesFrom(off) }
