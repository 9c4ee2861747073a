package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"minglu/agent/durable"
)

// chunkBytes is how much is copied at a time.
const chunkBytes = 1 << 20

// apply makes the copies what the plan says. All pieces are durable in aside/ before the first file is cut.
func (j *job) apply(st *state, p *plan) error {
	for _, c := range j.copies {
		if err := c.files.Mkdir(c.files.Tmp); err != nil {
			return err
		}
	}
	for _, pc := range p.pieces {
		if err := j.aside(st, pc); err != nil {
			return err
		}
	}
	if !st.sealed {
		if err := j.mirrorAside(); err != nil {
			return err
		}
	}
	for _, pc := range p.pieces {
		if err := pc.cut(); err != nil {
			return err
		}
	}
	for _, t := range p.targets {
		for _, c := range j.copies {
			if t.end < 0 || t.alone[c] {
				continue
			}
			if err := t.complete(c); err != nil {
				return err
			}
		}
	}
	for _, c := range j.copies {
		if err := j.completeLogs(st, c); err != nil {
			return err
		}
	}
	return j.mirrorCerts()
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
	if st.sealed {
		dir = filepath.Join(pc.c.files.Tmp, "superseded-"+j.id)
		j.note("disk %s: %s: %d bytes from %d on are in no signed log: moved to %s", pc.c.disk.ID, pc.file, pc.len, pc.off, dir)
	}
	j.item.LostBytes += pc.len
	if err := pc.c.files.Mkdir(dir); err != nil {
		return err
	}
	name := fmt.Sprintf("%s@%d-%.16s.%s", pc.file, pc.off, sum, pc.why)
	return stream(pc.c.files, filepath.Join(dir, name), io.NewSectionReader(f, pc.off, pc.len))
}

// cut takes the piece away from its file.
func (pc piece) cut() error {
	name := pc.c.path(pc.file)
	if pc.whole {
		return pc.c.files.Remove(name)
	}
	return pc.c.files.Truncate(name, pc.off)
}

// mirrorAside gives each copy the aside files of all: one manifest lists them for every disk.
func (j *job) mirrorAside() error {
	for _, from := range j.copies {
		names, err := from.asideNames()
		if err != nil {
			return err
		}
		for _, name := range names {
			for _, to := range j.copies {
				if to == from {
					continue
				}
				if err := mirror(from, to, name); err != nil {
					return err
				}
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
func mirror(from, to *replica, name string) error {
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
	return stream(to.files, to.path(name), io.NewSectionReader(f, 0, size))
}

// stream is durable's CreateSame for bytes that need not fit in memory.
func stream(files durable.Files, name string, in *io.SectionReader) (err error) {
	tmp := filepath.Join(files.Tmp, filepath.Base(name)+".tmp") // one Run at a time: no two have this name
	if err := files.Remove(tmp); err != nil {
		return err
	}
	out, err := files.CreateFile(tmp)
	if err != nil {
		return err
	}
	err = appendTo(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	err = files.RenameNew(tmp, name)
	if errors.Is(err, fs.ErrExist) { // made before a cut: its name has the digest
		err = errors.Join(files.Remove(tmp), files.SyncDir(filepath.Dir(name)))
	}
	return err
}

// appendTo writes all of in at the end of out, durably.
func appendTo(out *durable.File, in *io.SectionReader) error {
	buf := make([]byte, min(chunkBytes, in.Size()))
	for off := int64(0); off < in.Size(); {
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
		off += int64(n)
	}
	return out.Sync()
}

// complete appends to the copy's file what the target has beyond it.
func (t *target) complete(c *replica) error {
	name := c.path(t.seg.File)
	var size int64
	switch fi, err := os.Lstat(name); {
	case errors.Is(err, fs.ErrNotExist) && t.end == 0:
		return nil
	case err == nil:
		size = fi.Size()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if size >= t.end {
		return nil
	}
	out, err := c.files.Append(name)
	if err != nil {
		return err
	}
	err = t.fill(out, c)
	return errors.Join(err, out.Close())
}

func (t *target) fill(out *durable.File, c *replica) error {
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
			err = appendTo(out, io.NewSectionReader(in, out.Size(), sp.end-out.Size()))
		}
		if err = errors.Join(err, in.Close()); err != nil {
			return err
		}
	}
	return nil
}

// completeLogs gives the copy the source's signed lines and the recovery files it lacks.
func (j *job) completeLogs(st *state, c *replica) error {
	data := st.logs[0].Data
	name := c.path("log.jsonl")
	if c.tail < int64(len(data)) {
		out, err := c.files.Append(name)
		if err != nil {
			return err
		}
		if out.Size() != c.tail {
			err = fmt.Errorf("log.jsonl is %d bytes long, want %d: is another agent running?", out.Size(), c.tail)
		} else {
			err = appendTo(out, io.NewSectionReader(bytes.NewReader(data), c.tail, int64(len(data))-c.tail))
		}
		if err = errors.Join(err, out.Close()); err != nil {
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

// mirrorCerts gives each copy device.pem and chain.pem. The one the open line names is the right one.
func (j *job) mirrorCerts() error {
	i := slices.IndexFunc(j.copies, func(c *replica) bool {
		b, err := readFile(c.path("device.pem"), maxPEMBytes)
		return err == nil && digest(b) == j.open.Cert
	})
	if i < 0 {
		return j.ownCerts()
	}
	for _, c := range j.copies {
		for _, name := range []string{"device.pem", "chain.pem"} {
			if _, err := os.Lstat(j.copies[i].path(name)); err == nil {
				if err := mirror(j.copies[i], c, name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
