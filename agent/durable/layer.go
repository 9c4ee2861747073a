package durable

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Layer is the few calls to the operating system this package needs. Tests put another one in its
// place that loses writes, fails or hangs. Implementations are safe for concurrent use.
type Layer interface {
	OpenFile(name string, flag int, perm fs.FileMode) (Handle, error)
	Mkdir(name string, perm fs.FileMode) error
	Rename(from, to string) error
	// RenameNew is Rename that fails with fs.ErrExist if to exists.
	RenameNew(from, to string) error
	Remove(name string) error
	SyncDir(name string) error
	ReadDir(name string) ([]fs.DirEntry, error)
	// Space tells how many bytes an ordinary user can still write at name, and how many there are in all.
	Space(name string) (free, total int64, err error)
}

// Handle is an open file.
type Handle interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Size() (int64, error)
	Sync() error     // fsync(2): bytes and all metadata
	Datasync() error // fdatasync(2): bytes, and the size if it changed
	Close() error
}

// OS is the real [Layer].
type OS struct{}

type osFile struct{ *os.File }

// OpenFile implements [Layer].
func (OS) OpenFile(name string, flag int, perm fs.FileMode) (Handle, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Mkdir implements [Layer].
func (OS) Mkdir(name string, perm fs.FileMode) error { return os.Mkdir(name, perm) }

// Rename implements [Layer].
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// RenameNew implements [Layer]: renameat2(2) with RENAME_NOREPLACE, and where a file system does not
// know that, link(2) and unlink(2).
func (OS) RenameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	switch err {
	case nil:
		return nil
	case unix.EINVAL, unix.ENOSYS:
		if err := os.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
	}
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
}

// Remove implements [Layer].
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir implements [Layer].
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// ReadDir implements [Layer].
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// Space implements [Layer].
func (OS) Space(name string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f osFile) Datasync() error {
	var err error
	c, cerr := f.SyscallConn()
	if cerr != nil {
		return cerr
	}
	if cerr := c.Control(func(fd uintptr) {
		for {
			if err = unix.Fdatasync(int(fd)); err != unix.EINTR {
				return
			}
		}
	}); cerr != nil {
		return cerr
	}
	if err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}
