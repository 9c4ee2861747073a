package durable

import (
	"io/fs"
	"sync/atomic"
)

// Stats is what went through a [Counting] layer since it was made.
type Stats struct {
	Fsyncs  int64 // calls of fsync and fdatasync that succeeded, of files and folders
	Written int64 // bytes handed to write
	Read    int64 // bytes read, from the page cache or the disk
}

// Counting is a [Layer] that counts what goes through another one. Make one for a whole program and
// give it to everything that writes. Safe for concurrent use.
type Counting struct {
	Layer
	fsyncs, written, read atomic.Int64
}

// NewCounting counts what goes through l; nil is [OS].
func NewCounting(l Layer) *Counting {
	if l == nil {
		l = OS{}
	}
	return &Counting{Layer: l}
}

// Stats is what went through so far. Does not block.
func (c *Counting) Stats() Stats {
	return Stats{Fsyncs: c.fsyncs.Load(), Written: c.written.Load(), Read: c.read.Load()}
}

// OpenFile implements [Layer].
func (c *Counting) OpenFile(name string, flag int, perm fs.FileMode) (Handle, error) {
	h, err := c.Layer.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &counted{Handle: h, c: c}, nil
}

// SyncDir implements [Layer].
func (c *Counting) SyncDir(name string) error { return c.synced(c.Layer.SyncDir(name)) }

func (c *Counting) synced(err error) error {
	if err == nil {
		c.fsyncs.Add(1)
	}
	return err
}

type counted struct {
	Handle
	c *Counting
}

func (h *counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := h.Handle.ReadAt(p, off)
	h.c.read.Add(int64(n))
	return n, err
}

func (h *counted) WriteAt(p []byte, off int64) (int, error) {
	n, err := h.Handle.WriteAt(p, off)
	h.c.written.Add(int64(n))
	return n, err
}

func (h *counted) Sync() error     { return h.c.synced(h.Handle.Sync()) }
func (h *counted) Datasync() error { return h.c.synced(h.Handle.Datasync()) }
