package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"minglu/agent/durable"
)

var (
	// errSource means that no other copy can give a file: the disk written to is not to blame.
	errSource   = errors.New("no other copy holds the bytes that were signed: verify both copies")
	errReadOnly = errors.New("the disk is full or cannot be written")
	errNoRoom   = errors.New("not enough room: archive old sessions, or use a larger disk")
	errReadBack = errors.New("the disk gives back other bytes than were written: replace it")
)

// writer makes one copy complete.
type writer struct {
	m     *Mirror
	ctx   context.Context
	j     *job
	f     *folder
	files durable.Files
	done  int64 // bytes copied
	total int64 // bytes that lacked
	ready bool  // the folders to write in are there
}

// complete holds each file of a copy against the manifest and copies those that are absent or wrong.
func (m *Mirror) complete(ctx context.Context, j *job, f *folder) (copied int64, err error) {
	_, missing := f.lacks(j.good)
	w := &writer{m: m, ctx: ctx, j: j, f: f, total: missing, files: durable.Files{Layer: m.o.Layer, Tmp: filepath.Join(f.disk.Dir, "tmp", "mirror")}}
	if missing > 0 {
		if err := w.room(missing); err != nil {
			return 0, err
		}
	}
	defer m.progress(Progress{})
	for _, x := range j.good.wants {
		if err := w.ensure(x); err != nil {
			return w.done, err
		}
	}
	return w.done, nil
}

// check reads a copy that looks complete, once, and remembers its session when all its copies are right.
func (m *Mirror) check(ctx context.Context, r *Report, j *job, f *folder, bad map[string]bool) error {
	if bad[f.disk.ID] {
		return nil
	}
	copied, err := m.complete(ctx, j, f)
	switch {
	case errors.Is(err, errBusy) || ctx.Err() != nil:
		return err
	case err != nil:
		why, _ := f.lacks(j.good)
		if why == "" {
			why = "it holds other bytes than were signed, or cannot be read"
			r.Lacking = append(r.Lacking, Copy{Session: j.session, Disk: f.disk.ID, Dir: f.disk.Dir, Why: why, Err: err})
			m.o.Log.Warn("mirror: a copy is not right", "session", j.session, "disk", f.disk.Dir, "err", err)
		}
		return nil
	case copied > 0:
		m.o.Log.Warn("a damaged copy was made good from the other", "session", j.session, "disk", f.disk.Dir, "bytes", copied)
		r.Completed = append(r.Completed, Copy{Session: j.session, Disk: f.disk.ID, Dir: f.disk.Dir, Bytes: copied, Why: "it held other bytes than were signed"})
	}
	if j.right == nil {
		j.right = make(map[string]bool)
	}
	for _, x := range j.good.wants {
		r.Checked += f.files[x.name].size
	}
	if j.right[f.disk.ID] = true; len(j.right) == len(j.copies) {
		stamp := ""
		for _, f := range j.all {
			stamp += f.stamp()
		}
		m.seen[stamp] = j.foreign
		for _, f := range j.copies {
			for name := range f.files {
				delete(m.sound, m.key(j, f, name))
			}
		}
	}
	return nil
}

// room makes sure that the running recording keeps its space.
func (w *writer) room(missing int64) error {
	free, _, err := w.files.Space(w.f.disk.Dir)
	if err != nil {
		return err
	}
	keep := w.m.o.Floor
	if missing > w.m.o.Spare/16 {
		keep = w.m.o.Spare
	}
	if free-missing < keep {
		return fmt.Errorf("%d bytes are missing and %d are free: %w", missing, free, errNoRoom)
	}
	return nil
}

func (m *Mirror) key(j *job, f *folder, name string) string {
	return f.disk.ID + "/" + j.session + "/" + name
}

// ensure makes one file of the copy what the manifest says.
func (w *writer) ensure(x want) error {
	have, ok := w.f.files[x.name]
	if ok && (x.size < 0 || have.size == x.size) {
		if x.sha256 == "" || w.m.sound[w.m.key(w.j, w.f, x.name)] == have.stamp {
			return nil
		}
		sum, err := w.sum(w.f.path(x.name))
		switch {
		case err == nil && sum == x.sha256:
			w.m.sound[w.m.key(w.j, w.f, x.name)] = have.stamp
			return nil
		case err != nil && (errors.Is(err, errBusy) || w.ctx.Err() != nil):
			return err
		}
		w.m.o.Log.Warn("mirror: a file is not what was signed", "file", w.f.path(x.name), "err", err)
	}
	if w.f.disk.ReadOnly {
		return errReadOnly
	}
	found := error(errSource)
	for _, src := range w.j.copies {
		have, ok := src.files[x.name]
		if src == w.f || !ok || x.size >= 0 && have.size != x.size {
			continue
		}
		err := w.copy(src, x)
		if err == nil {
			return w.listed(x)
		}
		if !errors.Is(err, errSource) {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		found = err
	}
	return fmt.Errorf("%s: %w", x.name, found)
}

// listed reads the folder anew after one of its files was exchanged.
func (w *writer) listed(x want) error {
	f, err := w.m.list(w.f.disk, w.j.session)
	if err != nil {
		return err
	}
	*w.f = *f
	w.m.sound[w.m.key(w.j, w.f, x.name)] = f.files[x.name].stamp
	return nil
}

// folder makes one folder in a folder that MUST be there: on an empty mount point nothing is made.
func (w *writer) folder(dir string) error {
	if _, err := w.m.o.Layer.ReadDir(dir); err == nil {
		return nil
	}
	if err := w.m.o.Layer.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return w.files.SyncDir(filepath.Dir(dir))
}

// prepare makes the folders, and takes away what an earlier cut left of our own.
func (w *writer) prepare(name string) error {
	if err := w.m.present(w.f.disk); err != nil {
		return err
	}
	if !w.ready {
		if err := w.folder(w.files.Tmp); err != nil {
			return err
		}
		if err := w.files.Sweep(); err != nil {
			return err
		}
		if err := w.folder(w.f.dir); err != nil {
			return err
		}
		w.ready = true
	}
	if dir := path.Dir(name); dir != "." {
		return w.folder(w.f.path(dir))
	}
	return nil
}

// copy writes one file from another copy. An error that wraps errSource is one of that copy.
func (w *writer) copy(src *folder, x want) (err error) {
	if err := w.prepare(x.name); err != nil {
		return err
	}
	in, err := w.m.o.Layer.OpenFile(src.path(x.name), os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", errSource, err)
	}
	defer in.Close()
	tmp := filepath.Join(w.files.Tmp, w.j.session+"."+path.Base(x.name)+".tmp")
	if err := w.files.Remove(tmp); err != nil {
		return err
	}
	out, err := w.files.CreateFile(tmp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil { // what cannot be removed now the next Sweep takes
			err = errors.Join(err, out.Close(), w.files.Remove(tmp))
		}
	}()
	sum, err := w.stream(in, out, x)
	if err != nil {
		return err
	}
	if x.sha256 != "" && sum != x.sha256 {
		return fmt.Errorf("%w: %s is not what was signed", errSource, src.path(x.name))
	}
	if back, err := w.hash(out, out.Size(), sha256.New()); err != nil {
		return err
	} else if back != sum {
		return errReadBack
	}
	if err := w.place(tmp, in, x); err != nil {
		return err
	}
	return out.Close()
}

// stream copies bytes and returns their digest once they are durable.
func (w *writer) stream(in durable.Handle, out *durable.File, x want) (string, error) {
	size, err := in.Size()
	if err != nil {
		return "", fmt.Errorf("%w: %w", errSource, err)
	}
	h, buf := sha256.New(), make([]byte, chunkBytes)
	for off := int64(0); off < size; {
		if err := w.m.pace(w.ctx, 2*chunkBytes); err != nil { // read and written
			return "", err
		}
		n, err := in.ReadAt(buf[:min(chunkBytes, size-off)], off)
		if n == 0 {
			return "", fmt.Errorf("%w: %w", errSource, err)
		}
		h.Write(buf[:n])
		if _, err := out.Write(buf[:n]); err != nil {
			return "", err
		}
		if off += int64(n); off%syncBytes < int64(n) {
			if err := out.Sync(); err != nil {
				return "", err
			}
		}
		w.done += int64(n)
		w.total = max(w.total, w.done)
		w.m.progress(Progress{Session: w.j.session, Disk: w.f.disk.ID, File: x.name, Done: w.done, Total: w.total})
	}
	return hex.EncodeToString(h.Sum(nil)), out.Sync()
}

// place puts the finished file under its name. What stands there is replaced if all its bytes are in the
// new one, else kept in tmp/superseded-SESSION.
func (w *writer) place(tmp string, in durable.Handle, x want) error {
	name := w.f.path(x.name)
	old, err := w.m.o.Layer.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return w.put(tmp, name, w.files.RenameNew)
	}
	if err != nil {
		return err
	}
	same, err := w.contained(old, in, x)
	if err := errors.Join(err, old.Close()); err != nil {
		return err
	}
	if same {
		return w.put(tmp, name, w.files.Rename)
	}
	kept := filepath.Join(w.f.disk.Dir, "tmp", "superseded-"+w.j.session)
	if err := w.folder(kept); err != nil {
		return err
	}
	for n := 1; ; n++ {
		err := w.files.RenameNew(name, filepath.Join(kept, fmt.Sprintf("%s.%d", path.Base(x.name), n)))
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		return w.put(tmp, name, w.files.RenameNew)
	}
}

// put renames, if the disk is still the one it was.
func (w *writer) put(tmp, name string, rename func(from, to string) error) error {
	if err := w.m.present(w.f.disk); err != nil {
		return err
	}
	return rename(tmp, name)
}

// contained tells whether all bytes of old are those of good at the same place. Space for an index that
// is still empty counts as such.
func (w *writer) contained(old, good durable.Handle, x want) (bool, error) {
	size, err := old.Size()
	if err != nil {
		return false, err
	}
	if n, err := good.Size(); err != nil || size > n {
		return false, err
	}
	a, b := make([]byte, chunkBytes), make([]byte, chunkBytes)
	for off := int64(0); off < size; off += chunkBytes {
		if err := w.m.pace(w.ctx, 2*chunkBytes); err != nil {
			return false, err
		}
		n := min(chunkBytes, size-off)
		if _, err := old.ReadAt(a[:n], off); err != nil && !errors.Is(err, io.EOF) {
			return false, nil // it cannot be read any more, so it is kept
		}
		if _, err := good.ReadAt(b[:n], off); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		for p := max(x.zeros[0]-off, 0); p < min(x.zeros[1]-off, n); p++ {
			if z := int64(8); off+p >= x.zeros[0]+z && a[p] == 0 || off+p < x.zeros[0]+z {
				b[p] = a[p] // the box header of an empty space differs from that of an index
			}
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return false, nil
		}
	}
	return true, nil
}

func (w *writer) sum(name string) (string, error) {
	h, err := w.m.o.Layer.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer h.Close()
	size, err := h.Size()
	if err != nil {
		return "", err
	}
	return w.hash(h, size, sha256.New())
}

func (w *writer) hash(in io.ReaderAt, size int64, h hash.Hash) (string, error) {
	buf := make([]byte, chunkBytes)
	for off := int64(0); off < size; {
		if err := w.m.pace(w.ctx, chunkBytes); err != nil {
			return "", err
		}
		n, err := in.ReadAt(buf[:min(chunkBytes, size-off)], off)
		if n == 0 {
			return "", err
		}
		h.Write(buf[:n])
		off += int64(n)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
