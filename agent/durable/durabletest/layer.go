// Package durabletest is a file layer for tests: it remembers what was synced, so that a test can cut
// the power, and fails or hangs where a test says so.
//
// It writes through to the real file system, and keeps beside it what a disk is bound to hold: the
// bytes of each file as of its last sync, and the names in each folder as of the folder's last sync.
// [Layer.Cut] lays that state out in another folder.
package durabletest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"minglu/agent/durable"
)

// Op is one call to the operating system. Verb is one of "open", "create", "mkdir", "rename",
// "remove", "syncdir", "readdir", "space", "read", "write", "truncate", "sync", "datasync".
type Op struct {
	Verb string
	Name string // as given; for rename the new name
	Off  int64
	Len  int
}

// Layer is a [durable.Layer]. The zero Layer is ready to use. Safe for concurrent use.
type Layer struct {
	// Before is called before each op, without a lock held: an error is returned instead of doing the
	// op; blocking hangs it. nil: nothing fails.
	Before func(Op) error
	// Free is what Space tells; 0: 1 TiB.
	Free func() int64
	// Journal keeps every change for a [Replay].
	Journal bool

	mu      sync.Mutex // guards what follows
	changes []Change
	ops     []Op
	visible map[string]*node
	synced  map[string]*node
}

// node is a file as the disk has it. A folder is a node with dir set.
type node struct {
	dir     bool
	data    []byte // durable
	pending []change
}

type change struct {
	off  int64
	data []byte // nil: truncate to off
}

func (n *node) apply() {
	for _, c := range n.pending {
		n.data = c.on(n.data)
	}
	n.pending = nil
}

func (c change) on(b []byte) []byte {
	if c.data == nil {
		if int64(len(b)) > c.off {
			return b[:c.off]
		}
		return append(b, make([]byte, c.off-int64(len(b)))...)
	}
	if end := c.off + int64(len(c.data)); end > int64(len(b)) {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	copy(b[c.off:], c.data)
	return b
}

func (l *Layer) begin(op Op) error {
	l.mu.Lock()
	if l.visible == nil {
		l.visible, l.synced = make(map[string]*node), make(map[string]*node)
	}
	l.ops = append(l.ops, op)
	before := l.Before
	l.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(op)
}

// Ops returns all calls so far, in the order in which they began.
func (l *Layer) Ops() []Op {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ops)
}

// OpenFile implements [durable.Layer].
func (l *Layer) OpenFile(name string, flag int, perm fs.FileMode) (durable.Handle, error) {
	verb := "open"
	if flag&os.O_CREATE != 0 {
		verb = "create"
	}
	if err := l.begin(Op{Verb: verb, Name: name}); err != nil {
		return nil, &fs.PathError{Op: verb, Path: name, Err: err}
	}
	h, err := durable.OS{}.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.visible[name]
	if n == nil { // new, or there before this layer: then durable as it is
		n = new(node)
		if flag&os.O_CREATE == 0 {
			if b, err := os.ReadFile(name); err == nil {
				n.data = b
			}
			l.synced[name] = n
		}
		l.visible[name] = n
		if flag&os.O_CREATE != 0 {
			l.note(Change{Verb: "create", Name: name})
		}
	}
	return &handle{Handle: h, l: l, n: n, name: name}, nil
}

// Mkdir implements [durable.Layer].
func (l *Layer) Mkdir(name string, perm fs.FileMode) error {
	if err := l.begin(Op{Verb: "mkdir", Name: name}); err != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	if err := os.Mkdir(name, perm); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.visible[name] = &node{dir: true}
	l.note(Change{Verb: "mkdir", Name: name})
	return nil
}

// Rename implements [durable.Layer]. Folders are not modelled.
func (l *Layer) Rename(from, to string) error { return l.rename(from, to, durable.OS{}.Rename) }

// RenameNew implements [durable.Layer].
func (l *Layer) RenameNew(from, to string) error { return l.rename(from, to, durable.OS{}.RenameNew) }

func (l *Layer) rename(from, to string, do func(from, to string) error) error {
	if err := l.begin(Op{Verb: "rename", Name: to}); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	if err := do(from, to); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, n := range l.visible { // of a folder, what is in it too
		if name == from || strings.HasPrefix(name, from+string(filepath.Separator)) {
			delete(l.visible, name)
			l.visible[to+strings.TrimPrefix(name, from)] = n
		}
	}
	l.note(Change{Verb: "rename", Name: to, From: from})
	return nil
}

// Remove implements [durable.Layer].
func (l *Layer) Remove(name string) error {
	if err := l.begin(Op{Verb: "remove", Name: name}); err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	if err := os.Remove(name); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.visible, name)
	l.note(Change{Verb: "remove", Name: name})
	return nil
}

// SyncDir implements [durable.Layer].
func (l *Layer) SyncDir(name string) error {
	if err := l.begin(Op{Verb: "syncdir", Name: name}); err != nil {
		return &fs.PathError{Op: "syncdir", Path: name, Err: err}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.synced {
		if filepath.Dir(p) == name {
			delete(l.synced, p)
		}
	}
	for p, n := range l.visible {
		if filepath.Dir(p) == name {
			l.synced[p] = n
		}
	}
	l.note(Change{Verb: "syncdir", Name: name})
	return nil
}

// ReadDir implements [durable.Layer].
func (l *Layer) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := l.begin(Op{Verb: "readdir", Name: name}); err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return os.ReadDir(name)
}

// Space implements [durable.Layer].
func (l *Layer) Space(name string) (free, total int64, err error) {
	if err := l.begin(Op{Verb: "space", Name: name}); err != nil {
		return 0, 0, err
	}
	if l.Free == nil {
		return 1 << 40, 1 << 41, nil
	}
	return l.Free(), 1 << 41, nil
}

// Loss says what of the bytes written but not synced a cut leaves on the disk.
type Loss int

// The losses.
const (
	LoseAll  Loss = iota // nothing of it
	LoseNone             // all of it: the cache was flushed in time
	LoseTorn             // of each file the first half of what was written
	LoseZero             // the size but not the bytes: zeros
)

// Cut lays out in the empty folder to what the disk holds below from after a power cut now.
func (l *Layer) Cut(from, to string, loss Loss) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for p := range l.synced {
		if strings.HasPrefix(p, from+string(filepath.Separator)) {
			names = append(names, p)
		}
	}
	slices.Sort(names)
	var all error
	for _, p := range names {
		n := l.synced[p]
		dst := filepath.Join(to, strings.TrimPrefix(p, from))
		if n.dir {
			all = errors.Join(all, os.MkdirAll(dst, 0o755))
			continue
		}
		if _, err := os.Stat(filepath.Dir(dst)); err != nil {
			continue // its folder was never synced
		}
		all = errors.Join(all, os.WriteFile(dst, n.after(loss), 0o644))
	}
	return all
}

func (n *node) after(loss Loss) []byte {
	b := slices.Clone(n.data)
	for _, c := range n.pending {
		switch {
		case loss == LoseAll:
			continue
		case loss == LoseTorn:
			c.data = c.data[:len(c.data)/2]
		case loss == LoseZero:
			c.data = make([]byte, len(c.data))
		}
		if b = c.on(b); loss == LoseTorn {
			break
		}
	}
	return b
}

type handle struct {
	durable.Handle
	l    *Layer
	n    *node
	name string
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	if err := h.l.begin(Op{"read", h.name, off, len(p)}); err != nil {
		return 0, &fs.PathError{Op: "read", Path: h.name, Err: err}
	}
	return h.Handle.ReadAt(p, off)
}

func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	if err := h.l.begin(Op{"write", h.name, off, len(p)}); err != nil {
		return 0, &fs.PathError{Op: "write", Path: h.name, Err: err}
	}
	n, err := h.Handle.WriteAt(p, off)
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	data := append([]byte{}, p[:n]...)
	h.n.pending = append(h.n.pending, change{off, data})
	h.l.note(Change{Verb: "write", Name: h.name, Off: off, Data: data})
	return n, err
}

func (h *handle) Truncate(size int64) error {
	if err := h.l.begin(Op{Verb: "truncate", Name: h.name, Off: size}); err != nil {
		return &fs.PathError{Op: "truncate", Path: h.name, Err: err}
	}
	if err := h.Handle.Truncate(size); err != nil {
		return err
	}
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	h.n.pending = append(h.n.pending, change{off: size})
	h.l.note(Change{Verb: "truncate", Name: h.name, Off: size})
	return nil
}

func (h *handle) Sync() error     { return h.sync("sync") }
func (h *handle) Datasync() error { return h.sync("datasync") }

// sync makes durable what was written before it began.
func (h *handle) sync(verb string) error {
	if err := h.l.begin(Op{Verb: verb, Name: h.name}); err != nil {
		return &fs.PathError{Op: verb, Path: h.name, Err: err}
	}
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	h.n.apply()
	h.l.note(Change{Verb: "sync", Name: h.name})
	return nil
}
