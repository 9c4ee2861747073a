package durable

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Files are the verbs, on one file system. The zero Layer is [OS]. Tmp is a folder on the same file
// system as the files written; it must exist (see [Files.Mkdir]). Safe for concurrent use.
type Files struct {
	Layer Layer
	Tmp   string
	Perm  fs.FileMode // of files made; 0 means 0o644
}

// In returns the verbs of the real file system with temporary files in tmp.
func In(tmp string) Files { return Files{Layer: OS{}, Tmp: tmp} }

func (f Files) layer() Layer {
	if f.Layer == nil {
		return OS{}
	}
	return f.Layer
}

func (f Files) perm() fs.FileMode {
	if f.Perm == 0 {
		return 0o644
	}
	return f.Perm
}

// Create writes a file that MUST NOT exist yet. When it returns nil the file is visible and durable. An
// error wrapping fs.ErrExist means that the name is taken; nothing was changed then.
func (f Files) Create(name string, data []byte) error {
	return f.put("create", name, data, f.layer().RenameNew)
}

// CreateSame is [Files.Create], but a file that holds exactly these bytes already is a success, so that
// a step can be repeated after a cut. It is durable and visible when it returns nil. Other bytes under
// that name are an error wrapping fs.ErrExist.
func (f Files) CreateSame(name string, data []byte) error {
	err := f.Create(name, data)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	old, rerr := f.ReadFile(name)
	if rerr != nil {
		return fmt.Errorf("durable: create same: %w", rerr)
	}
	if !bytes.Equal(old, data) {
		return fmt.Errorf("durable: create same: %s holds other bytes: %w", name, fs.ErrExist)
	}
	// The earlier writer may have been cut between rename and folder sync.
	if err := f.SyncFile(name); err != nil {
		return err
	}
	return f.syncParent("create same", name)
}

// Replace writes a file whether it exists or not. Readers see the old bytes or the new ones. When it
// returns nil the new ones are visible and durable.
func (f Files) Replace(name string, data []byte) error {
	return f.put("replace", name, data, f.layer().Rename)
}

func (f Files) put(verb, name string, data []byte, rename func(from, to string) error) error {
	l := f.layer()
	tmp := filepath.Join(f.Tmp, filepath.Base(name)+"."+randomHex(8)+".tmp")
	fail := func(step string, err error) error {
		return fmt.Errorf("durable: %s: %s: %s: %w", verb, name, step, err)
	}
	h, err := l.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.perm())
	if err != nil {
		return fail("temporary file", err)
	}
	_, err = h.WriteAt(data, 0)
	if err == nil {
		err = h.Sync()
	}
	err = errors.Join(err, h.Close())
	if err != nil {
		l.Remove(tmp) // best effort: Sweep takes the rest
		return fail("write", err)
	}
	if err := rename(tmp, name); err != nil {
		l.Remove(tmp)
		return fail("rename", err)
	}
	return f.syncParent(verb, name)
}

// MkdirAll is [Files.Mkdir] that also makes the folders above name, up to one that exists. Never for a
// folder on a recording disk: where the disk is not mounted it would make one in its place.
func (f Files) MkdirAll(name string) error {
	err := f.Mkdir(name)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(name) != name {
		if err := f.MkdirAll(filepath.Dir(name)); err != nil {
			return err
		}
		err = f.Mkdir(name)
	}
	return err
}

// Mkdir makes the folder name in a folder that is there: an error wraps fs.ErrNotExist where it is not.
// It is durable and visible when it returns nil; a folder that exists already is a success.
func (f Files) Mkdir(name string) error {
	err := f.layer().Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrExist) {
		if _, derr := f.layer().ReadDir(name); derr != nil {
			return fmt.Errorf("durable: mkdir: %w", derr)
		}
		err = nil
	}
	if err != nil {
		return fmt.Errorf("durable: mkdir: %w", err)
	}
	return f.syncParent("mkdir", name)
}

// Rename moves a file or folder within the file system, replacing a file of that name. Durable in both
// folders when it returns nil.
func (f Files) Rename(from, to string) error {
	if err := f.layer().Rename(from, to); err != nil {
		return fmt.Errorf("durable: rename: %w", err)
	}
	if err := f.syncParent("rename", to); err != nil {
		return err
	}
	if filepath.Dir(from) == filepath.Dir(to) {
		return nil
	}
	return f.syncParent("rename", from)
}

// RenameNew is [Files.Rename] that fails with an error wrapping fs.ErrExist if to exists.
func (f Files) RenameNew(from, to string) error {
	if err := f.layer().RenameNew(from, to); err != nil {
		return fmt.Errorf("durable: rename: %w", err)
	}
	if err := f.syncParent("rename", to); err != nil {
		return err
	}
	if filepath.Dir(from) == filepath.Dir(to) {
		return nil
	}
	return f.syncParent("rename", from)
}

// Truncate cuts a file to size. Durable when it returns nil.
func (f Files) Truncate(name string, size int64) error {
	h, err := f.layer().OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("durable: truncate: %w", err)
	}
	if err = h.Truncate(size); err == nil {
		err = h.Sync()
	}
	if err = errors.Join(err, h.Close()); err != nil {
		return fmt.Errorf("durable: truncate: %s: %w", name, err)
	}
	return f.syncParent("truncate", name)
}

// Remove takes a file or an empty folder away. Durable when it returns nil; a name that does not exist
// is a success.
func (f Files) Remove(name string) error {
	if err := f.layer().Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("durable: remove: %w", err)
	}
	return f.syncParent("remove", name)
}

// SyncFile makes what others wrote to a file durable.
func (f Files) SyncFile(name string) error {
	h, err := f.layer().OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("durable: sync: %w", err)
	}
	if err := errors.Join(h.Sync(), h.Close()); err != nil {
		return fmt.Errorf("durable: sync: %s: %w", name, err)
	}
	return nil
}

// SyncDir makes the names in a folder durable.
func (f Files) SyncDir(name string) error {
	if err := f.layer().SyncDir(name); err != nil {
		return fmt.Errorf("durable: sync folder: %s: %w", name, err)
	}
	return nil
}

func (f Files) syncParent(verb, name string) error {
	if err := f.layer().SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("durable: %s: %s: sync folder: %w", verb, name, err)
	}
	return nil
}

// ReadFile reads a whole file.
func (f Files) ReadFile(name string) ([]byte, error) {
	h, err := f.layer().OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	size, err := h.Size()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(h, 0, size))
}

// Space tells how many bytes can still be written at name, and how many there are in all.
func (f Files) Space(name string) (free, total int64, err error) { return f.layer().Space(name) }

// Sweep removes the files a cut left in Tmp. Call it before the first verb of a start.
func (f Files) Sweep() error {
	entries, err := f.layer().ReadDir(f.Tmp)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".tmp" {
			err = errors.Join(err, f.layer().Remove(filepath.Join(f.Tmp, e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("durable: sweep: %w", err)
	}
	return nil
}

func randomHex(n int) string {
	b := make([]byte, n/2)
	rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}
