package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/notary"
	"minglu/agent/record"
	"minglu/agent/report"
)

// throughFile names the session up to which all have their outside proofs, and below it those that do not.
const throughFile = "notary-through"

// openNotary makes what gets outside proofs: from the authorities and witnesses of the configuration, and
// through the office.
func (a *agent) openNotary() error {
	client := &http.Client{Timeout: 20 * time.Second}
	o := notary.Options{
		Device: a.cfg.Device.Name, Ledger: a.ledger, Sessions: sealedSessions{a}, Trust: a.trust,
		Recording: func() bool { return a.running() != nil },
		Append: func(line any) error {
			return a.ledgerLine(func(l *ledger.Ledger) error { _, err := l.Append(line); return err })
		},
		Named: func(line evidence.Anchor) {
			if c := a.running(); c != nil {
				c.session.Note(&line)
			}
		},
		Fault: func(code string, on bool) { a.loop.Fault(code, "", on) },
		Now:   a.clock.Now, Log: a.log,
	}
	via := ""
	if t := a.cfg.Timestamp; t != nil {
		via = t.Via
		for i, u := range t.URLs {
			at, err := notary.HTTPAuthority(u.Reveal(), client)
			if err != nil {
				return fmt.Errorf("timestamp.urls[%d]: %w", i, err)
			}
			o.Authorities = append(o.Authorities, at)
		}
	}
	if w := a.cfg.Witness; w != nil {
		for i, u := range w.URLs {
			at, err := notary.HTTPWitness(u.Reveal(), client)
			if err != nil {
				return fmt.Errorf("witness.urls[%d]: %w", i, err)
			}
			o.Witnesses = append(o.Witnesses, at)
		}
	}
	if a.uplink != nil {
		o.Office, o.Witness, o.Relay = a.uplink.Send, true, via != "direct"
	}
	file := filepath.Join(a.cfg.State, throughFile)
	through, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state folder: %w", err)
	}
	if lines := strings.Fields(string(through)); len(lines) > 0 {
		o.Through, o.Passed = lines[0], lines[1:]
	}
	o.SaveThrough = func(session string, passed []string) error {
		return a.files.Replace(file, []byte(strings.Join(append([]string{session}, passed...), "\n")+"\n"))
	}
	a.notary = notary.New(o)
	return nil
}

// fromOffice hands on what the office sends beside acks and commands.
func (a *agent) fromOffice(k report.Kind, payload []byte) {
	if k == report.KindLists {
		a.lists.Receive(payload)
		return
	}
	if a.notary == nil {
		return
	}
	if err := a.notary.Receive(k, payload); err != nil {
		a.log.Warn("from the office", "kind", k, "err", err)
	}
}

func (a *agent) officeConnected(on bool) {
	if a.notary != nil {
		a.notary.Connected(on)
	}
}

// moment tells the notary of an event after which outside proofs are wanted.
func (a *agent) moment(m notary.Moment) {
	if a.notary != nil {
		a.notary.Moment(m)
	}
}

// sealedSessions are the sealed sessions on the disks that work, as the notary needs them.
type sealedSessions struct{ a *agent }

func (s sealedSessions) disks() []record.DiskStatus {
	return slices.DeleteFunc(s.a.recorder.Disks(), func(d record.DiskStatus) bool { return d.ID == "" || !d.OK })
}

func (s sealedSessions) file(d record.DiskStatus, session, file string) string {
	return filepath.Join(d.Disk, "sessions", session, filepath.FromSlash(file))
}

// Sealed implements notary.Sessions.
func (s sealedSessions) Sealed(after string, n int) (ids []string, err error) {
	for _, d := range s.disks() {
		entries, derr := os.ReadDir(filepath.Join(d.Disk, "sessions"))
		if derr != nil && !errors.Is(derr, fs.ErrNotExist) {
			err = errors.Join(err, derr)
		}
		i, _ := slices.BinarySearchFunc(entries, after+"\x00", func(e fs.DirEntry, name string) int { return cmp.Compare(e.Name(), name) })
		found := 0
		for _, e := range entries[i:] {
			if found == n {
				break
			}
			if _, serr := os.Stat(s.file(d, e.Name(), "manifest.json.p7s")); serr == nil && !s.a.inUse(e.Name()) {
				ids = append(ids, e.Name())
				found++
			}
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return ids[:min(len(ids), n)], err
}

// Read implements notary.Sessions.
func (s sealedSessions) Read(session, file string) ([]byte, error) {
	err := fmt.Errorf("%s/%s: %w", session, file, fs.ErrNotExist)
	for _, d := range s.disks() {
		b, derr := os.ReadFile(s.file(d, session, file))
		if derr == nil {
			return b, nil
		}
		if !errors.Is(derr, fs.ErrNotExist) {
			err = derr
		}
	}
	return nil, err
}

// Write implements notary.Sessions. The mirror brings the file to disks that are away.
func (s sealedSessions) Write(session, file string, data []byte) error {
	err, written := error(nil), 0
	for _, d := range s.disks() {
		name := s.file(d, session, file)
		if _, serr := os.Stat(s.file(d, session, "manifest.json.p7s")); serr != nil {
			continue
		}
		files := durable.Files{Layer: s.a.layer, Tmp: filepath.Join(d.Disk, tmpFolder)}
		werr := errors.Join(files.Mkdir(files.Tmp), files.Mkdir(filepath.Dir(name)))
		if werr == nil {
			werr = files.Replace(name, data)
		}
		if werr == nil {
			written++
		}
		err = errors.Join(err, werr)
	}
	if written > 0 {
		return nil
	}
	return errors.Join(err, fmt.Errorf("%s/%s is on no disk", session, file))
}

// Anchors implements notary.Sessions.
func (s sealedSessions) Anchors(n int) (err error) {
	for _, d := range s.disks() {
		_, aerr := s.a.ledger.Copy(d.Disk).SyncAnchors(n)
		err = errors.Join(err, aerr)
	}
	return err
}

// mostUnproven is how many sessions the notary is asked to look at again when a disk is back.
const mostUnproven = 512

// unproven lists the newest sealed sessions on disks without any outside proof: the notary may have passed them by
// while their only disk was away.
func unproven(dirs []string, most int) (ids []string) {
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(dir, "sessions"))
		if err != nil {
			continue // its fault is told elsewhere
		}
		for _, e := range entries {
			has := func(name string) bool {
				_, err := os.Stat(filepath.Join(dir, "sessions", e.Name(), name))
				return err == nil
			}
			if has("manifest.json.p7s") && !has("manifest.json.tsr") && !has("tokens") {
				ids = append(ids, e.Name())
			}
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return ids[max(0, len(ids)-most):]
}

// presence tells the notary that somebody came in, before anything is recorded.
func (a *agent) presence() {
	if a.running() == nil {
		a.moment(notary.Presence)
	}
}

// tokenAtOpen is the digest of the newest outside token, for a session's open line.
func (a *agent) tokenAtOpen() string {
	if a.notary == nil {
		return ""
	}
	return a.notary.Newest()
}
