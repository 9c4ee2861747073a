package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"minglu/agent/evidence"
)

// job is one session with copies that are not known to be complete and right.
type job struct {
	session string
	all     []*folder // on each disk, those that are not there too
	copies  []*folder // of them those that tell the same story
	foreign []Copy    // the others
	good    *good
	lacking []*folder
	right   map[string]bool // disks whose copy was read and is right
}

// Pass looks at all sessions once and completes what lacks. It blocks until done, until ctx ends, or
// until the disks are needed. [Mirror.Run] calls it; without a Run it may be called alone.
func (m *Mirror) Pass(ctx context.Context) Report { return m.run(ctx, true) }

// Look only lists what lacks, without reading media and without writing.
func (m *Mirror) Look(ctx context.Context) Report { return m.run(ctx, false) }

// Completes tells that a session has a sealed copy and others that lack only what that one holds, none of
// which tells another story. It reads no media.
func (m *Mirror) Completes(session string) bool {
	m.pass.Lock()
	defer m.pass.Unlock()
	var disks []Disk
	for _, d := range m.o.Disks() {
		if m.present(d) == nil {
			disks = append(disks, d)
		}
	}
	r := &Report{}
	j, _, err := m.look(context.Background(), disks, session, r, false)
	return err == nil && j != nil && len(j.lacking) > 0 && len(r.Foreign) == 0
}

func (m *Mirror) run(ctx context.Context, write bool) Report {
	m.pass.Lock()
	defer m.pass.Unlock()
	r := &Report{}
	jobs, check := m.survey(ctx, r, write)
	r.Whole = ctx.Err() == nil && !r.Waiting
	if write {
		m.tell(r)
		m.work(ctx, r, jobs, check)
	}
	r.Done = true
	m.tell(r)
	return *r
}

func (m *Mirror) tell(r *Report) {
	c := *r
	c.Lacking, c.Foreign, c.Completed = slices.Clone(r.Lacking), slices.Clone(r.Foreign), slices.Clone(r.Completed)
	m.mu.Lock()
	m.last = c
	m.mu.Unlock()
	m.o.OnReport(c)
}

// survey lists the sessions: those with something to copy, oldest first, and those whose copies have the
// right sizes and were not read yet. deep allows media to be read where nothing else tells what is right.
func (m *Mirror) survey(ctx context.Context, r *Report, deep bool) (jobs, check []*job) {
	var disks []Disk
	ids := make(map[string]bool)
	for _, d := range m.o.Disks() {
		if err := m.present(d); err != nil {
			m.o.Log.Warn("mirror: disk is left out", "disk", d.Dir, "err", err)
			continue
		}
		entries, err := m.o.Layer.ReadDir(filepath.Join(d.Dir, "sessions"))
		if err != nil {
			m.o.Log.Warn("mirror: disk is left out", "disk", d.Dir, "err", err)
			continue
		}
		disks = append(disks, d)
		for _, e := range entries {
			if e.IsDir() && sessionID.MatchString(e.Name()) {
				ids[e.Name()] = true
			}
		}
	}
	fresh := make(map[string][]Copy)
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if ctx.Err() != nil {
			break
		}
		if m.o.InUse(id) {
			continue
		}
		j, stamp, err := m.look(ctx, disks, id, r, deep)
		if stopped(r, ctx, err) {
			break
		}
		if err != nil {
			m.o.Log.Warn("mirror: session is left out", "session", id, "err", err)
			continue
		}
		switch {
		case j == nil && stamp != "":
			fresh[stamp] = m.seen[stamp]
		case j != nil && len(j.lacking) > 0:
			jobs = append(jobs, j)
		case j != nil:
			check = append(check, j)
		}
	}
	if ctx.Err() == nil && !r.Waiting {
		m.seen = fresh // of sessions that are gone nothing is remembered
	}
	return jobs, check
}

// present makes sure that the disk itself is in its folder, and not an empty mount point or another disk.
func (m *Mirror) present(d Disk) error {
	b, err := m.read(filepath.Join(d.Dir, "ledger", "disk.json"), 4096)
	if err != nil {
		return err
	}
	var f struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(b, &f); err != nil || f.ID != d.ID || d.ID == "" {
		return fmt.Errorf("%s: is not the disk %s any more", d.Dir, d.ID)
	}
	return nil
}

// look finds out how a session stands. j is nil where there is nothing to do; stamp is then what is to be
// remembered of it.
func (m *Mirror) look(ctx context.Context, disks []Disk, id string, r *Report, deep bool) (j *job, stamp string, err error) {
	j = &job{session: id}
	for _, d := range disks {
		f, err := m.list(d, id)
		if err != nil {
			return nil, "", fmt.Errorf("disk %s: %w", d.Dir, err)
		}
		j.all = append(j.all, f)
		stamp += f.stamp()
	}
	if foreign, ok := m.seen[stamp]; ok {
		r.Sessions++
		r.Foreign = append(r.Foreign, foreign...)
		return nil, stamp, nil
	}
	j.copies = slices.Clone(j.all)
	known := len(r.Foreign)
	if err := m.judge(ctx, j, r, deep); err != nil || j.good == nil {
		return nil, "", err
	}
	j.foreign = slices.Clone(r.Foreign[known:])
	r.Sessions++
	for _, f := range j.copies {
		why, missing := f.lacks(j.good)
		if why == "" {
			continue
		}
		r.Lacking = append(r.Lacking, Copy{Session: id, Disk: f.disk.ID, Dir: f.disk.Dir, Bytes: missing, Why: why})
		j.lacking = append(j.lacking, f)
	}
	return j, "", nil
}

// judge finds the signed manifest of a session and leaves the copies that tell the same story in
// j.copies. Without one j.good stays nil: the session is not sealed, which is recovery's work.
func (m *Mirror) judge(ctx context.Context, j *job, r *Report, deep bool) error {
	var (
		v        *evidence.Manifest
		manifest []byte
		p7s      []byte
		first    *folder
	)
	for _, f := range slices.Clone(j.copies) {
		some, b, err := m.manifest(f, j.session)
		if err != nil {
			return fmt.Errorf("disk %s: %w", f.disk.Dir, err)
		}
		switch {
		case some == nil || m.o.Device != "" && some.Device.ID != m.o.Device:
		case v == nil:
			v, manifest, first = some, b, f
			if p7s, err = m.read(f.path(p7sFile), evidence.MaxDER); err != nil {
				return err
			}
		case string(b) != string(manifest):
			r.Foreign = append(r.Foreign, Copy{Session: j.session, Disk: f.disk.ID, Dir: f.disk.Dir,
				Why: "it was sealed with another manifest than the copy on disk " + first.disk.ID})
			j.copies = slices.DeleteFunc(j.copies, func(o *folder) bool { return o == f })
		}
	}
	if v == nil {
		return nil
	}
	if grown(v, j.copies) {
		g, err := m.asItIs(ctx, j, deep)
		if err != nil {
			return err
		}
		return m.agree(j, r, g)
	}
	wants, err := wantsOf(v, manifest, p7s, j.copies)
	if err != nil {
		return err
	}
	g := &good{wants: wants}
	for _, f := range j.copies { // the log is short: read it whole
		b, err := m.read(f.path(logFile), evidence.MaxLog)
		if err == nil && slices.ContainsFunc(v.Logs, func(l evidence.LogDigest) bool { return l.File == logFile && l.SHA256 == digestOf(b) }) {
			g.log = b
			break
		}
	}
	if g.log == nil {
		return fmt.Errorf("no copy holds the log that %s names: verify the session", manifestFile)
	}
	return m.agree(j, r, g)
}

// agree leaves out the copies whose log is not the beginning of the good one.
func (m *Mirror) agree(j *job, r *Report, g *good) error {
	for _, f := range slices.Clone(j.copies) {
		b, err := m.read(f.path(logFile), evidence.MaxLog)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("disk %s: %w", f.disk.Dir, err)
		}
		if why := strange(b, g.log); why != "" {
			r.Foreign = append(r.Foreign, Copy{Session: j.session, Disk: f.disk.ID, Dir: f.disk.Dir, Why: why})
			j.copies = slices.DeleteFunc(j.copies, func(o *folder) bool { return o == f })
		}
	}
	j.good = g
	return nil
}

// lacks says what a copy has not, by names and sizes, and how many bytes that are; "" if it looks complete.
func (f *folder) lacks(g *good) (why string, missing int64) {
	var names []string
	for _, w := range g.wants {
		have, ok := f.files[w.name]
		if ok && (w.size < 0 || have.size == w.size) {
			continue
		}
		names = append(names, w.name)
		missing += max(w.size, 0)
	}
	switch {
	case len(names) == 0:
		return "", 0
	case !f.there:
		return "the session is not on this disk", missing
	case len(names) > 3:
		names = append(names[:3], fmt.Sprintf("and %d more", len(names)-3))
	}
	return "missing or incomplete: " + strings.Join(names, ", "), missing
}

// work copies what lacks, then reads what was never read.
func (m *Mirror) work(ctx context.Context, r *Report, jobs, check []*job) {
	bad := make(map[string]bool) // disks that failed in this pass
	for _, j := range jobs {
		for _, f := range j.lacking {
			if bad[f.disk.ID] {
				continue
			}
			n, err := m.complete(ctx, j, f)
			if stopped(r, ctx, err) {
				return
			}
			i := slices.IndexFunc(r.Lacking, func(c Copy) bool { return c.Session == j.session && c.Disk == f.disk.ID })
			if err != nil {
				m.o.Log.Warn("mirror: copy not completed", "session", j.session, "disk", f.disk.Dir, "err", err)
				r.Lacking[i].Err = err
				bad[f.disk.ID] = !errors.Is(err, errSource)
			} else {
				m.o.Log.Info("copy completed", "session", j.session, "disk", f.disk.Dir, "bytes", n)
				r.Completed = append(r.Completed, Copy{Session: j.session, Disk: f.disk.ID, Dir: f.disk.Dir, Bytes: n})
				r.Lacking = slices.Delete(r.Lacking, i, i+1)
			}
			m.tell(r)
		}
	}
	for _, j := range append(check, jobs...) {
		for _, f := range j.copies {
			if err := m.check(ctx, r, j, f, bad); stopped(r, ctx, err) {
				return
			}
		}
	}
}

func stopped(r *Report, ctx context.Context, err error) bool {
	r.Waiting = r.Waiting || errors.Is(err, errBusy)
	return r.Waiting || ctx.Err() != nil
}
