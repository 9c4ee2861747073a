package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minglu/agent/config"
	"minglu/agent/evidence"
	"minglu/agent/record"
)

// rememberDisks makes durable which disks are here: an empty mount point is no new disk, and a folder that
// is not there at a start is a disk that is away.
func (a *agent) rememberDisks() {
	known := config.KnownDisks(a.cfg.State)
	changed := false
	for _, d := range a.recorder.Disks() {
		if d.OK && d.ID != "" && known[d.Disk] != d.ID {
			known[d.Disk], changed = d.ID, true
		}
	}
	if !changed {
		return
	}
	b, err := json.MarshalIndent(known, "", "  ")
	if err == nil {
		err = a.files.Replace(filepath.Join(a.cfg.State, config.DisksFile), append(b, '\n'))
	}
	if err != nil {
		a.log.Error("remembering the disks", "err", err)
	}
}

// foreignDisk tells whether a disk is another device's, and only to be read (R12): it holds a ledger or
// sessions, none of them this device's. A disk this device has used before is its own, whatever is on it.
func (a *agent) foreignDisk(dir, id string) bool {
	if slices.Contains(slices.Collect(maps.Values(config.KnownDisks(a.cfg.State))), id) {
		return false
	}
	others := false
	generations, _ := filepath.Glob(filepath.Join(dir, "ledger", "*", "log.jsonl")) // the pattern is sound
	for _, name := range generations {
		g := filepath.Base(filepath.Dir(name))
		if strings.Contains(g, ".") { // what was set aside here: X.foreign-1
			continue
		}
		if _, err := os.Stat(filepath.Join(a.cfg.State, "ledger", g)); err == nil {
			return false
		}
		others = true
	}
	logs, _ := filepath.Glob(filepath.Join(dir, "sessions", "*", "log.jsonl"))
	for _, name := range logs {
		var o evidence.Open
		l, err := evidence.ParseLine(firstLine(name))
		if err != nil || l.Decode(&o) != nil {
			continue
		}
		if o.Device.ID == a.id.D {
			return false
		}
		others = true
	}
	return others
}

// diskCodes are the faults of a disk that is not used.
var diskCodes = []string{"disk.full", "disk.gone", "disk.slow", "disk.taken", "disk.other", "disk.failed"}

// onDisk turns what happened to a disk into faults and ledger lines.
func (a *agent) onDisk(e record.DiskEvent) {
	name := a.diskName(e.Disk)
	if e.Failed {
		a.log.Error("disk", "disk", e.Disk, "cause", e.Cause, "err", e.Err)
		a.loop.Fault(e.Code(), name, true)
		a.tellNoDisk()
		return
	}
	a.log.Info("disk is back", "disk", e.Disk)
	if a.notary != nil {
		a.notary.Look()
	}
	a.mu.Lock()
	a.diskBack = true
	a.mu.Unlock()
	a.mirror.Kick()
	for _, c := range diskCodes {
		a.loop.Fault(c, name, false)
	}
	a.tellNoDisk()
}

// tellNoDisk says that no disk can be used, before anybody wants a recording.
func (a *agent) tellNoDisk() {
	none := !slices.ContainsFunc(a.recorder.Disks(), func(d record.DiskStatus) bool { return d.OK })
	a.loop.Fault("disk.none", "", none)
}
