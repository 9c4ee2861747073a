package main

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"minglu/agent/mirror"
	"minglu/agent/record/recovery"
	"minglu/agent/room"
)

// unsealed is a session that lost its disks before it was sealed, while the agent ran on.
type unsealed struct {
	cause string
	up    time.Duration // uptime at which it ended
}

// openMirror makes what completes the copies of sealed sessions in the background.
func (a *agent) openMirror() (err error) {
	a.mirror, err = mirror.New(mirror.Options{
		Disks: a.mirrorDisks, InUse: a.inUse, Busy: a.recording, Before: a.repairAgain, Device: a.id.D, OnReport: a.onCopies, Layer: a.layer, Log: a.log})
	return err
}

// runMirror waits until the repairs of the start are over: they work on the same folders.
func (a *agent) runMirror(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-a.repaired:
	}
	if err := a.mirror.Run(ctx); ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx) // also with a hanging disk left behind
}

// mirrorDisks are the disks that can at least be read.
func (a *agent) mirrorDisks() (disks []mirror.Disk) {
	for _, d := range a.recorder.Disks() {
		if d.ID != "" && (d.OK || d.Cause == "full" || d.Cause == "read-only") {
			disks = append(disks, mirror.Disk{ID: d.ID, Dir: d.Disk, ReadOnly: !d.OK})
		}
	}
	return disks
}

// recording says that the disks are needed: a session runs, is being sealed, or a disk that was too slow
// for its seal is still at it.
func (a *agent) recording() bool {
	for _, d := range a.recorder.Disks() {
		if d.Queued > 0 && d.Lag > time.Second {
			return true
		}
	}
	st := a.loop.State()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.session != nil || len(a.closing) > 0 || st.Phase == room.Recording || st.Phase == room.PostRoll
}

// sealFailed remembers a session whose disks are gone, for when one is back.
func (a *agent) sealFailed(c *current) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unsealed[c.id] = unsealed{"disk-failed", c.ended}
}

// repairAgain repairs what could not be repaired before: a session that lost its disks before its seal, and,
// once a disk is back, what was cut on it, or goes on there beyond a seal made without it. The mirror calls
// it before each pass, so that both never work on a session together.
func (a *agent) repairAgain(ctx context.Context) {
	a.repairing.Lock()
	defer a.repairing.Unlock()
	a.rememberDisks()
	a.mu.Lock()
	back := a.diskBack
	a.diskBack = false
	lost := maps.Clone(a.unsealed)
	a.mu.Unlock()
	wanted := a.strange
	a.strange = map[string]bool{}
	for id := range lost {
		wanted[id] = true
	}
	if back {
		var dirs []string
		for _, d := range a.recoveryDisks() {
			dirs = append(dirs, d.Dir)
		}
		a.notary.Look(unproven(dirs, mostUnproven)...)
		pending, err := recovery.Pending(a.recoveryDisks())
		if err != nil {
			a.log.Error("looking for interrupted sessions", "err", err)
		}
		for _, p := range pending {
			if !a.inUse(p.Session) && !a.copyOnly(p.Session) {
				wanted[p.Session] = true
			}
		}
	}
	if len(wanted) > 0 && len(a.mirrorDisks()) > 0 {
		a.repair(ctx, func(id string) bool { return wanted[id] }, lost)
	}
}

// cutOf tells recovery what the agent itself saw of a session's end.
func cutOf(waiting map[string]unsealed) func(string) (string, time.Duration) {
	return func(id string) (string, time.Duration) { return waiting[id].cause, waiting[id].up }
}

// settled clears what was said of a session that could not be sealed.
func (a *agent) settled(it recovery.Item) {
	a.mu.Lock()
	_, waited := a.unsealed[it.Session]
	if it.Outcome != recovery.Failed {
		delete(a.unsealed, it.Session)
	}
	a.mu.Unlock()
	if waited && it.Outcome != recovery.Failed {
		a.loop.Fault("seal.failed", it.Session, false)
	}
}

// copyOnly tells of a session found at the start whether one copy is sealed and entered as such, so that
// the others need no repair: the mirror completes them, at its own pace.
func (a *agent) copyOnly(id string) bool {
	b, err := a.ledger.BytesFrom(0)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) { // canonical lines: these bytes must occur
		if bytes.Contains(line, []byte(`"type":"sealed"`)) && bytes.Contains(line, []byte(`"session":"`+id+`"`)) {
			return a.mirror.Completes(id)
		}
	}
	return false
}

// onCopies turns the state of the copies into faults: one for each disk that lacks any, one for each
// session whose copies tell different stories.
func (a *agent) onCopies(r mirror.Report) {
	lacking := make(map[string]bool)
	for _, c := range r.Lacking {
		lacking[c.Dir] = true
	}
	for _, dir := range a.cfg.Storage.Disks {
		if lacking[dir] || r.Whole { // a look that was broken off says nothing of the rest
			a.loop.Fault("copy.incomplete", a.diskName(dir), lacking[dir])
		}
	}
	if r.Whole {
		for id := range a.foreign {
			if !slices.ContainsFunc(r.Foreign, func(c mirror.Copy) bool { return c.Session == id }) {
				a.loop.Fault("copy.foreign", id, false)
				delete(a.foreign, id)
			}
		}
	}
	for _, c := range r.Foreign {
		if !a.foreign[c.Session] { // it may be more of the same: recovery knows, and looks once
			a.strange[c.Session] = true
			a.mirror.Kick()
		}
		a.foreign[c.Session] = true
		a.loop.Fault("copy.foreign", c.Session, true)
	}
	for _, c := range r.Completed {
		if err := a.enter(c.Session); err != nil {
			a.log.Error("catalogue", "session", c.Session, "err", err)
		}
	}
}
