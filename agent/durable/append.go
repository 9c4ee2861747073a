package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrBroken is what a [File] returns after a write or a sync of it has failed: the kernel may have
// dropped the bytes, so a later success would prove nothing. Open the file anew and read back what is there.
var ErrBroken = errors.New("an earlier write failed: what is on the disk is unknown")

// File is one file being written at offsets its owner keeps. Not safe for concurrent use, except that
// others may read the file by its name.
type File struct {
	h      Handle
	name   string
	size   int64
	broken error
}

// CreateFile makes a file that MUST NOT exist yet, empty, and makes its name durable. Close it.
func (f Files) CreateFile(name string) (*File, error) {
	h, err := f.layer().OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, f.perm())
	if err != nil {
		return nil, fmt.Errorf("durable: append: %w", err)
	}
	if err := f.syncParent("append", name); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return &File{h: h, name: name}, nil
}

// Append opens a file for writing at its end, making it if there is none. The name is durable when it
// returns nil. Close it.
func (f Files) Append(name string) (*File, error) {
	h, err := f.layer().OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return f.CreateFile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("durable: append: %w", err)
	}
	size, err := h.Size()
	if err == nil {
		err = f.syncParent("append", name)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("durable: append: %s: %w", name, err), h.Close())
	}
	return &File{h: h, name: name, size: size}, nil
}

// Name is the name the file was opened by.
func (f *File) Name() string { return f.name }

// Size is the offset after the last byte.
func (f *File) Size() int64 { return f.size }

// Write puts p at the end. The bytes are visible when it returns, durable after [File.Sync] only.
func (f *File) Write(p []byte) (int, error) {
	if err := f.WriteAt(p, f.size); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteAt puts p at off, which MUST NOT lie beyond the end. Visible when it returns, durable after [File.Sync] only.
func (f *File) WriteAt(p []byte, off int64) error {
	if f.broken != nil {
		return f.broken
	}
	if off < 0 || off > f.size {
		return fmt.Errorf("durable: append: %s: offset %d of a file of %d bytes would leave a hole", f.name, off, f.size)
	}
	n, err := f.h.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return f.fail("write", err)
	}
	f.size = max(f.size, off+int64(len(p)))
	return nil
}

// Sync makes all bytes written so far durable (fdatasync: bytes and size). Blocks as long as the disk takes.
func (f *File) Sync() error {
	if f.broken != nil {
		return f.broken
	}
	if err := f.h.Datasync(); err != nil {
		return f.fail("sync", err)
	}
	return nil
}

// ReadAt reads what is visible.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.h.ReadAt(p, off) }

// Close frees the file. It makes nothing durable.
func (f *File) Close() error {
	if err := f.h.Close(); err != nil {
		return fmt.Errorf("durable: append: %s: close: %w", f.name, err)
	}
	return nil
}

func (f *File) fail(step string, err error) error {
	f.broken = fmt.Errorf("durable: append: %s: %w", f.name, ErrBroken)
	return fmt.Errorf("durable: append: %s: %s: %w", f.name, step, err)
}
