package record

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"minglu/agent/durable"
)

// target is one session on one disk. The disk's goroutine owns its files.
type target struct {
	d   *disk
	s   *Session
	dir string

	failed  atomic.Bool
	durable atomic.Int64 // lines signed that are durable here

	reading int  // files being read back; of the session's goroutine
	told    bool // diskFailed ran; of the session's goroutine

	locked  bool // it holds the disk's lock
	log     *durable.File
	files   map[string]*durable.File
	dirty   []*durable.File
	lagging *batch // its media is durable, its log bytes are still to be written
}

func newTarget(d *disk, s *Session) *target {
	return &target{d: d, s: s, dir: filepath.Join(d.path, "sessions", s.id), files: make(map[string]*durable.File)}
}

// fail gives the copy on this disk up. The session learns of it, once.
func (t *target) fail(e DiskEvent) {
	if t.failed.CompareAndSwap(false, true) {
		t.s.post(msg{kind: msgDiskFailed, target: t, event: e})
	}
}

// open makes the folder with the certificates and an empty log (W3).
func (t *target) open(certs []certFile) error {
	// The disk may have been pulled out since it was last looked at, and its mount point be left.
	if err := t.d.here(); err != nil {
		return err
	}
	if err := t.d.lock.hold(t.d.path); err != nil {
		return err
	}
	t.locked = true
	t.d.open[t] = true
	if err := t.d.files.Mkdir(t.dir); err != nil {
		return err
	}
	for _, c := range certs {
		if err := t.d.files.CreateSame(filepath.Join(t.dir, c.name), c.data); err != nil {
			return err
		}
	}
	log, err := t.d.files.CreateFile(filepath.Join(t.dir, "log.jsonl"))
	t.log = log
	return err
}

// write executes a batch in the order of W1 and W2:
//
//  1. write all media
//  2. sync each file touched, side by side
//  3. write the log bytes, whose last line signs that media
//  4. sync the log
//
// The log bytes of a lagging batch wait for step 1 and 2 of the next one instead: the media they sign
// is durable by then. It returns the newest batch that is durable with its log bytes, nil if none is new.
func (t *target) write(b *batch) (*batch, error) {
	// W1: media beyond the last durable sign line is bounded, whatever waits.
	if t.lagging != nil && t.lagging.span+b.span > t.s.r.o.ahead().Microseconds() {
		if _, err := t.catchUp(); err != nil {
			return nil, err
		}
	}
	t.dirty = t.dirty[:0]
	for i := range b.media {
		w := &b.media[i]
		f := t.files[w.file]
		if w.create {
			var err error
			if f, err = t.d.files.CreateFile(filepath.Join(t.dir, w.file)); err != nil {
				return nil, err
			}
			t.files[w.file] = f
		}
		if f == nil {
			return nil, fmt.Errorf("BUG: record: %s: write before create", w.file)
		}
		if err := f.WriteAt(w.buf.b, w.off); err != nil {
			return nil, err
		}
		if !slices.Contains(t.dirty, f) {
			t.dirty = append(t.dirty, f)
		}
	}
	done := t.lagging
	if done != nil {
		if _, err := t.log.Write(done.log); err != nil {
			return nil, err
		}
		t.dirty = append(t.dirty, t.log)
	}
	if err := syncAll(t.dirty); err != nil {
		return nil, err
	}
	t.lagging = b
	if done != nil {
		t.durable.Store(done.size)
	}
	if b.lag {
		return done, nil
	}
	return t.catchUp()
}

// catchUp writes and syncs the log bytes of the batch whose media was written last. It returns that
// batch, nil if there is none.
func (t *target) catchUp() (*batch, error) {
	b := t.lagging
	if b == nil {
		return nil, nil
	}
	if len(b.log) > 0 {
		if _, err := t.log.Write(b.log); err != nil {
			return nil, err
		}
		if err := t.log.Sync(); err != nil {
			return nil, err
		}
	}
	t.lagging = nil
	t.durable.Store(b.size)
	return b, nil
}

// syncAll syncs side by side: the disk's cache is flushed once for all, if the file system can.
func syncAll(files []*durable.File) error {
	if len(files) == 1 {
		return files[0].Sync()
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all error
	for _, f := range files {
		wg.Go(func() {
			if err := f.Sync(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				all = errors.Join(all, err)
			}
		})
	}
	wg.Wait()
	return all
}

// putIndex writes the index of a closed segment into its reserve and lets the file go.
func (t *target) putIndex(seg *segment, index []byte) error {
	f := t.files[seg.file]
	if f == nil {
		return fmt.Errorf("BUG: record: %s: index before create", seg.file)
	}
	err := f.WriteAt(index, seg.initLen)
	if err == nil {
		err = f.Sync()
	}
	delete(t.files, seg.file)
	return errors.Join(err, f.Close())
}

// putManifest writes the manifest and its signatures; manifest.json.p7s comes last.
func (t *target) putManifest(manifest []byte, extras map[string][]byte, p7s []byte) error {
	if err := t.d.files.CreateSame(filepath.Join(t.dir, "manifest.json"), manifest); err != nil {
		return err
	}
	for name, b := range extras {
		if err := t.d.files.CreateSame(filepath.Join(t.dir, name), b); err != nil {
			return err
		}
	}
	return t.d.files.CreateSame(filepath.Join(t.dir, "manifest.json.p7s"), p7s)
}

// close lets all files go, once a log that lags is complete.
func (t *target) close() {
	if t.log != nil && !t.failed.Load() {
		if _, err := t.catchUp(); err != nil {
			t.d.r.o.Log.Error("end of the log not written", "session", t.s.id, "disk", t.d.path, "err", err)
		}
	}
	t.lagging = nil
	delete(t.d.open, t)
	for name, f := range t.files {
		f.Close()
		delete(t.files, name)
	}
	if t.log != nil {
		t.log.Close()
		t.log = nil
	}
	if t.locked {
		t.d.lock.release()
		t.locked = false
	}
}
