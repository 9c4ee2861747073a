package main

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minglu/agent/config"
	"minglu/agent/evidence"
	"minglu/agent/record"
	"minglu/agent/report"
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
	if err := a.keepKnown(known); err != nil {
		a.log.Error("remembering the disks", "err", err)
	}
}

func (a *agent) keepKnown(known map[string]string) error {
	b, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		return err
	}
	return a.files.Replace(filepath.Join(a.cfg.State, config.DisksFile), append(b, '\n'))
}

// foreignDisk is what the recorder asks of a disk that is new in its folder. What it answers of a disk that is
// another's holds until the next start: nothing here writes to it.
func (a *agent) foreignDisk(dir, id string) bool {
	a.mu.Lock()
	known := a.others[id]
	a.mu.Unlock()
	if known || !foreignDisk(a.cfg.State, a.id.D, dir, id) {
		return known
	}
	if id != "" {
		a.mu.Lock()
		a.others[id] = true
		a.mu.Unlock()
	}
	return true
}

// foreignDisk tells whether a disk, by folder and id ("" if it has none), is another's than the device's, and
// only to be read (R12): it holds a ledger or sessions, and none is of this device. A disk that this device
// has used is its own, whatever is on it. Where the state folder was lost the disks of before are another's:
// the device has another key, and only a person can say that it is the same room ("adopt --record").
func foreignDisk(state, device, dir, id string) bool {
	if id != "" && slices.Contains(slices.Collect(maps.Values(config.KnownDisks(state))), id) {
		return false
	}
	others := false
	generations, _ := filepath.Glob(filepath.Join(dir, "ledger", "*", "log.jsonl")) // the pattern is sound
	for _, name := range generations {
		g := filepath.Base(filepath.Dir(name))
		if strings.Contains(g, ".") { // what was set aside here: X.foreign-1
			continue
		}
		if _, err := os.Stat(filepath.Join(state, "ledger", g)); err == nil {
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
		if o.Device.ID == device {
			return false
		}
		others = true
	}
	return others
}

// firstLine is the first line of a file without its end, nil if it has none within the bounds of a log's.
func firstLine(name string) []byte {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, evidence.MaxLine+1)).ReadBytes('\n')
	if err != nil {
		return nil
	}
	return line[:len(line)-1]
}

// diskCodes are the faults of a disk that is not used; one of them stands at a time.
var diskCodes = []string{"disk.full", "disk.gone", "disk.slow", "disk.taken", "disk.other", "disk.failed"}

// onDisk turns what happened to a disk, which the recorder has logged, into faults.
func (a *agent) onDisk(e record.DiskEvent) {
	name, code := a.diskName(e.Disk), ""
	if e.Failed {
		code = e.Code()
	}
	a.mu.Lock()
	a.failed[e.Disk] = e.Failed
	none := !slices.ContainsFunc(a.cfg.Storage.Disks, func(dir string) bool { return !a.failed[dir] })
	a.diskBack = a.diskBack || !e.Failed
	a.mu.Unlock()
	for _, c := range diskCodes {
		a.loop.Fault(c, name, c == code)
	}
	a.loop.Fault("disk.none", "", none) // also before anybody wants a recording
	if e.Failed {
		return
	}
	if a.notary != nil {
		a.notary.Look()
	}
	a.mirror.Kick()
}

// faultText is what a fault says of a channel or disk. Of a disk that fails it says whether another one works.
func (a *agent) faultText(code, ch string) report.Text {
	t := report.Find(code).Text.In(ch)
	if !slices.Contains(diskCodes, code) {
		return t
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, dir := range a.cfg.Storage.Disks {
		if name := a.diskName(dir); name != ch && !a.failed[dir] {
			return report.Text{Zh: t.Zh + "；磁盘 " + name + " 正常，录制照常", En: t.En + "; disk " + name + " works, and recording goes on there"}
		}
	}
	return t
}
