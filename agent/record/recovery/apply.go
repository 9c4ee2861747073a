package recovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"minglu/agent/durable"
)

// SpareBytes stay free on a disk that is completed from another: the running session needs them.
const SpareBytes = 1 << 30

const (
	chunkBytes = 1 << 20 // copied at a time
	syncBytes  = 8 << 20 // written between two syncs
)

// apply makes the copies what the plan says. All pieces are durable in aside/ before the first file is cut.
func (j *job) apply(st *state, p *plan) error {
	if err := j.each(func(c *replica) error { return errors.Join(c.makeTmp(), c.files.Sweep()) }); err != nil {
		return err
	}
	steps := []func(*replica) error{
		func(c *replica) error { return p.of(c, func(pc piece) error { return j.aside(st, pc) }) },
		func(c *replica) error { return j.mirrorAside(st, c) },
		func(c *replica) error { return p.of(c, piece.cut) },
		func(c *replica) error { return j.complete(st, p, c) },
	}
	for _, step := range steps {
		if err := j.each(step); err != nil {
			return err
		}
	}
	if err := j.here(p); err != nil {
		return err
	}
	return j.mirrorCerts()
}

// here holds that all media the recovery file is about to name is on some disk.
func (j *job) here(p *plan) error {
	for _, t := range p.targets {
		var longest int64
		for _, c := range j.copies {
			size, err := sizeOf(c.path(t.seg.File))
			if err != nil {
				return err
			}
			longest = max(longest, size)
		}
		if longest < t.end {
			return fmt.Errorf("%s ends at %d, want %d", t.seg.File, longest, t.end)
		}
	}
	return nil
}

// of does a step for each piece of a copy.
func (p *plan) of(c *replica, step func(piece) error) error {
	for _, pc := range p.pieces {
		if pc.c != c {
			continue
		}
		if err := step(pc); err != nil {
			return err
		}
	}
	return nil
}

// each does a step on every copy. A disk on which it fails is left out from then on, and said so, as
// long as the source goes on: a full or failing disk must not keep the other from being sealed.
func (j *job) each(step func(*replica) error) error {
	for _, c := range slices.Clone(j.copies) {
		err := step(c)
		if err == nil {
			continue
		}
		if c == j.copies[0] || j.ctx.Err() != nil {
			return err
		}
		j.note("disk %s: left out: %v", c.disk.ID, err)
		j.copies = slices.DeleteFunc(j.copies, func(d *replica) bool { return d == c })
	}
	return nil
}

// complete gives a copy the media, then the log lines, that another has beyond it.
func (j *job) complete(st *state, p *plan, c *replica) error {
	var missing int64
	for _, t := range p.targets {
		if t.end < 0 || t.alone[c] {
			continue
		}
		size, err := sizeOf(c.path(t.seg.File))
		if err != nil {
			return err
		}
		missing += max(t.end-size, 0)
	}
	if free, _, err := c.files.Space(c.dir); err != nil || missing > SpareBytes/16 && free-missing < SpareBytes {
		return errors.Join(fmt.Errorf("%d bytes of the session are missing there and %d are free: make space", missing, free), err)
	}
	for _, t := range p.targets {
		if t.end < 0 || t.alone[c] {
			continue
		}
		if err := j.completeMedia(t, c); err != nil {
			return err
		}
	}
	return j.completeLogs(st, c)
}

// sizeOf is 0 for a file that is not there.
func sizeOf(name string) (int64, error) {
	fi, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// aside puts a piece into the copy's aside/, or, when the session is sealed and its list of aside files
// with it, into tmp/superseded-S: then a signed line holds other bytes for its place.
func (j *job) aside(st *state, pc piece) error {
	f, size, err := openFile(pc.c.path(pc.file))
	if err != nil {
		return err
	}
	defer f.Close()
	if pc.off+pc.len > size {
		return fmt.Errorf("%s changed while it was read: is another agent running?", pc.file)
	}
	sum, err := digestOf(f, pc.off, pc.len)
	if err != nil {
		return err
	}
	dir := pc.c.path("aside")
	if st.sealed || pc.stray {
		dir = filepath.Join(pc.c.disk.Dir, "tmp", "superseded-"+j.id)
		j.note("disk %s: %s: %d bytes from %d on are in no signed log: moved to %s", pc.c.disk.ID, pc.file, pc.len, pc.off, dir)
	}
	j.item.LostBytes += pc.len
	if err := pc.c.files.Mkdir(dir); err != nil {
		return err
	}
	name := fmt.Sprintf("%s@%d-%.16s.%s", filepath.Base(pc.file), pc.off, sum, pc.why)
	return j.stream(pc.c.files, filepath.Join(dir, name), io.NewSectionReader(f, pc.off, pc.len), pc.c.files.RenameNew)
}

// cut takes the piece away from its file.
func (pc piece) cut() error {
	name := pc.c.path(pc.file)
	if pc.whole {
		return pc.c.files.Remove(name)
	}
	return pc.c.files.Truncate(name, pc.off)
}

// mirrorAside gives a copy the aside files of all: one manifest lists them for every disk.
func (j *job) mirrorAside(st *state, to *replica) error {
	for _, from := range j.copies {
		names, err := from.asideNames()
		if err != nil {
			return err
		}
		for _, name := range names {
			if st.sealed && !st.aside[name] {
				continue
			}
			if err := j.mirror(from, to, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// asideNames lists the files of aside/, sorted, as paths inside the session.
func (c *replica) asideNames() ([]string, error) {
	entries, err := os.ReadDir(c.path("aside"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, "aside/"+e.Name())
		}
	}
	return names, err
}

// mirror copies one file to another copy, unless it is there already.
func (j *job) mirror(from, to *replica, name string) error {
	if _, err := os.Lstat(to.path(name)); err == nil {
		return nil // written whole or not at all
	}
	f, size, err := openFile(from.path(name))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := to.files.Mkdir(filepath.Dir(to.path(name))); err != nil {
		return err
	}
	return j.stream(to.files, to.path(name), io.NewSectionReader(f, 0, size), to.files.RenameNew)
}

// stream is durable's CreateSame, or Replace, for bytes that need not fit in memory.
func (j *job) stream(files durable.Files, name string, in *io.SectionReader, rename func(from, to string) error) (err error) {
	tmp := filepath.Join(files.Tmp, filepath.Base(name)+".tmp") // one Run at a time: no two have this name
	if err := files.Remove(tmp); err != nil {
		return err
	}
	out, err := files.CreateFile(tmp)
	if err != nil {
		return err
	}
	err = j.appendTo(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	err = rename(tmp, name)
	if errors.Is(err, fs.ErrExist) { // made before a cut: its name has the digest
		err = errors.Join(files.Remove(tmp), files.SyncDir(filepath.Dir(name)))
	}
	return err
}

// appendTo writes all of in at the end of out, durably.
func (j *job) appendTo(out *durable.File, in *io.SectionReader) error {
	buf := make([]byte, min(chunkBytes, in.Size()))
	for off := int64(0); off < in.Size(); {
		if j.ctx.Err() != nil {
			return context.Cause(j.ctx)
		}
		n, err := in.ReadAt(buf[:min(int64(len(buf)), in.Size()-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
		if off += int64(n); off%syncBytes == 0 { // a recorder's own sync beside this must not wait for gigabytes
			if err := out.Sync(); err != nil {
				return err
			}
		}
	}
	return out.Sync()
}

// completeMedia appends to the copy's file what the target has beyond it.
func (j *job) completeMedia(t *target, c *replica) error {
	name := c.path(t.seg.File)
	size, err := sizeOf(name)
	if err != nil || size >= t.end {
		return err
	}
	out, err := c.files.Append(name)
	if err != nil {
		return err
	}
	err = j.fill(out, t, c)
	return errors.Join(err, out.Close())
}

func (j *job) fill(out *durable.File, t *target, c *replica) error {
	for _, sp := range t.spans {
		if out.Size() >= sp.end || sp.c == c {
			continue
		}
		in, size, err := openFile(sp.c.path(t.seg.File))
		if err != nil {
			return err
		}
		if size < sp.end {
			err = fmt.Errorf("%s on disk %s ends at %d, want %d", t.seg.File, sp.c.disk.ID, size, sp.end)
		} else {
			err = j.appendTo(out, io.NewSectionReader(in, out.Size(), sp.end-out.Size()))
		}
		if err = errors.Join(err, in.Close()); err != nil {
			return err
		}
	}
	return nil
}

// completeLogs gives the copy the source's signed lines and the recovery files it lacks. The log is
// exchanged whole: were many signed lines appended at once, a cut could leave some and lose others before
// them, which is how a log looks that somebody altered.
func (j *job) completeLogs(st *state, c *replica) error {
	data := st.logs[0].Data
	if c.tail < int64(len(data)) {
		if err := j.stream(c.files, c.path("log.jsonl"), io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))), c.files.Rename); err != nil {
			return err
		}
	}
	for _, l := range st.logs[1:] {
		if err := c.files.CreateSame(c.path(l.File), l.Data); err != nil {
			return err
		}
	}
	return nil
}

// mirrorCerts gives each copy device.pem, chain.pem and sm2.pem. The one the open line names is the right one.
func (j *job) mirrorCerts() error {
	i := slices.IndexFunc(j.copies, func(c *replica) bool {
		b, err := readFile(c.path("device.pem"), maxPEMBytes)
		return err == nil && digest(b) == j.open.Cert
	})
	if i < 0 {
		return j.ownCerts()
	}
	from := j.copies[i]
	return j.each(func(c *replica) error {
		for _, name := range []string{"device.pem", "chain.pem", "sm2.pem"} {
			if _, err := os.Lstat(from.path(name)); err != nil {
				continue
			}
			if err := j.mirror(from, c, name); err != nil {
				return err
			}
		}
		return nil
	})
}
