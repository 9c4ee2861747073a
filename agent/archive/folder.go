package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"minglu/agent/durable"
)

// Folder is an archive on a mounted share. Each file is written as NAME.part beside its place, synced every 32 MiB,
// read back, and renamed.
type Folder struct {
	dir   string
	apart []string
	files durable.Files
}

const (
	partExt = ".part"
)

// NewFolder takes a folder that is there. It must not lie on the file system of one of the folders apart: an
// archive on the recorder's own disk is none, and an empty mount point lies there too. layer nil: the operating
// system.
func NewFolder(dir string, apart []string, layer durable.Layer) *Folder {
	return &Folder{dir: dir, apart: apart, files: durable.Files{Layer: layer, Tmp: dir}}
}

// Where implements Target.
func (f *Folder) Where() string { return "folder " + f.dir }

// there makes sure that the share is mounted.
func (f *Folder) there() error {
	st, err := os.Stat(f.dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	dev := st.Sys().(*syscall.Stat_t).Dev
	for _, dir := range f.apart {
		o, err := os.Stat(dir)
		if err == nil && o.Sys().(*syscall.Stat_t).Dev == dev {
			return fmt.Errorf("%w: %s lies on the same file system as %s: is the share not mounted?", ErrUnreachable, f.dir, dir)
		}
	}
	return nil
}

func (f *Folder) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

// offset is how far a file was synced.
type offset struct {
	Off int64 `json:"off"`
}

// Put implements Target.
func (f *Folder) Put(ctx context.Context, u Upload, pace func(int) error) error {
	if err := f.there(); err != nil {
		return err
	}
	return ofSystem(f.put(ctx, u, pace))
}

func (f *Folder) put(ctx context.Context, u Upload, pace func(int) error) error {
	to := f.path(u.Path)
	if err := f.files.MkdirAll(filepath.Dir(to)); err != nil {
		return err
	}
	at := offset{}
	if u.Resume != nil && json.Unmarshal(u.Resume, &at) != nil {
		at = offset{}
	}
	w, err := f.files.Append(to + partExt)
	if err != nil {
		return err
	}
	defer w.Close()
	if at.Off < 0 || at.Off > u.Size || at.Off > w.Size() {
		at.Off = 0
	}
	for noted := at.Off; at.Off < u.Size; {
		b := make([]byte, min(chunk, u.Size-at.Off))
		if _, err := u.Src.ReadAt(b, at.Off); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: %w", ErrSource, err)
		}
		if err := w.WriteAt(b, at.Off); err != nil {
			return err
		}
		at.Off += int64(len(b))
		if at.Off-noted >= saveEvery {
			if err := w.Sync(); err != nil {
				return err
			}
			note, _ := json.Marshal(at)
			if err := u.Save(note); err != nil {
				return err
			}
			noted = at.Off
		}
		if err := pace(len(b)); err != nil {
			return err
		}
	}
	if err := w.Sync(); err != nil {
		return err
	}
	if w.Size() > u.Size { // of another file that was to stand here
		if err := f.files.Truncate(to+partExt, u.Size); err != nil {
			return err
		}
	}
	if err := f.readBack(ctx, to+partExt, u, pace); err != nil {
		return err
	}
	return f.files.Rename(to+partExt, to)
}

// readBack holds what lies on the share against the digest. A file system may answer from its own memory: the
// server's word is as good as the share's protocol.
func (f *Folder) readBack(ctx context.Context, name string, u Upload, pace func(int) error) error {
	l := f.files.Layer
	if l == nil {
		l = durable.OS{}
	}
	h, err := l.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer h.Close()
	sum, err := digest(io.NewSectionReader(h, 0, u.Size), pace)
	if err != nil {
		return err
	}
	if sum != u.SHA256 {
		return fmt.Errorf("%w: %s", ErrDigest, u.Path)
	}
	return context.Cause(ctx)
}

// Holds implements Target.
func (f *Folder) Holds(_ context.Context, name string, size int64) (bool, error) {
	if err := f.there(); err != nil {
		return false, err
	}
	st, err := os.Stat(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, ofSystem(err)
	}
	return st.Mode().IsRegular() && st.Size() == size, nil
}

// RemoveAll implements Target.
func (f *Folder) RemoveAll(ctx context.Context, folder string) error {
	if err := f.there(); err != nil {
		return err
	}
	return ofSystem(f.remove(ctx, f.path(folder)))
}

func (f *Folder) remove(ctx context.Context, dir string) error {
	l := f.files.Layer
	if l == nil {
		l = durable.OS{}
	}
	entries, err := l.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			err = f.remove(ctx, name)
		} else {
			err = l.Remove(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return f.files.Remove(dir)
}

// ofSystem says what an error of the operating system means to whoever has to act.
func ofSystem(err error) error {
	switch {
	case err == nil || ProblemOf(err) != "unreachable" || errors.Is(err, errBusy) || errors.Is(err, errWindow):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// compare reads what an archive gives back and holds it against the digest.
func compare(r io.Reader, u Upload, pace func(int) error) error {
	sum := sha256.New()
	b, n := make([]byte, chunk), int64(0)
	for {
		k, err := r.Read(b)
		sum.Write(b[:k])
		n += int64(k)
		if n > u.Size {
			break
		}
		if err == io.EOF {
			break
		}
		if err == nil {
			err = pace(k)
		}
		if err != nil {
			return err
		}
	}
	if n != u.Size || !strings.EqualFold(hex.EncodeToString(sum.Sum(nil)), u.SHA256) {
		return fmt.Errorf("%w: %s", ErrDigest, u.Path)
	}
	return nil
}
