package record

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"minglu/agent/durable"
)

// errUnplugged means that the folder is there, but not the disk that was in it.
var errUnplugged = errors.New("the disk is gone from its folder")

// errForeign means that a disk is another device's: it is only read (R12).
var errForeign = errors.New("the disk holds what another device recorded: it is not written to")

// op is one thing a disk does. Its bytes count against Options.QueueBytes while it waits.
type op struct {
	target *target // whose it is; nil: the disk's own
	bytes  int64
	queued time.Duration
	do     func(d *disk) error
	// drop is called instead of do when the target has failed before its turn.
	drop func()
}

// disk executes ops in order, in one goroutine.
type disk struct {
	r     *Recorder
	path  string
	files durable.Files
	reads chan struct{}    // one token for each file being read back
	read  reads            // how they get on
	bg    sync.WaitGroup   // those; only run adds and waits
	lock  diskLock         // of run
	open  map[*target]bool // those with files on it; of run

	mu       sync.Mutex // guards what follows
	ops      []op
	queued   int64
	wake     chan struct{}
	busy     bool // an op or a look is being done since started
	started  time.Duration
	ok       bool
	told     bool // OnDisk knows that it failed
	cause    string
	id       string
	free     int64
	total    int64
	synced   int64
	lastSync time.Duration
	checked  time.Duration // uptime of free
	looked   time.Duration // uptime of the last look but for the disk's being there
	closing  bool
}

func newDisk(r *Recorder, path string) *disk {
	return &disk{
		r: r, path: path, id: r.o.Known[path], files: durable.Files{Layer: r.o.Layer, Tmp: filepath.Join(path, "tmp")},
		reads: make(chan struct{}, 2), wake: make(chan struct{}, 1), open: make(map[*target]bool), free: -1, total: -1,
	}
}

// put queues an op and reports whether there was room. It never blocks.
func (d *disk) put(o op) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing || o.bytes > 0 && d.queued > 0 && d.queued+o.bytes > d.r.o.QueueBytes {
		return false
	}
	o.queued = d.r.o.Now().Up
	d.ops = append(d.ops, o)
	d.queued += o.bytes
	d.kick()
	return true
}

func (d *disk) kick() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run executes ops until finish was called and nothing is left.
func (d *disk) run() {
	d.look()
	d.r.diskReady()
	tick := time.NewTicker(min(hereEvery, d.r.o.Retry))
	defer tick.Stop()
	for {
		o, state := d.next()
		switch state {
		case gotOp:
			d.exec(o)
			continue
		case ended:
			d.bg.Wait()
			return
		}
		select {
		case <-d.wake:
		case <-tick.C:
			d.look()
		}
	}
}

// look sees whether a disk that works is still in its folder; less often it measures its space, and tries
// one that does not work. It may hang as any op.
func (d *disk) look() {
	now := d.r.o.Now().Up
	d.mu.Lock()
	ok, due := d.ok, d.looked == 0 || now-d.looked >= d.r.o.Retry
	d.busy, d.started = true, now
	if due {
		d.looked = now
	}
	d.mu.Unlock()
	switch {
	case ok:
		if err := d.here(); err != nil {
			d.fail(d.causeOf(err), err, nil)
			d.leave(err)
		} else if due {
			d.space(0)
		}
	case due:
		d.probe()
	}
	d.mu.Lock()
	d.busy = false
	d.mu.Unlock()
}

type nextState int

const (
	idle nextState = iota
	gotOp
	ended
)

func (d *disk) next() (op, nextState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.ops) == 0 {
		if d.closing {
			return op{}, ended
		}
		return op{}, idle
	}
	o := d.ops[0]
	d.ops[0] = op{}
	d.ops = d.ops[1:]
	if len(d.ops) == 0 {
		d.ops = nil
	}
	d.busy, d.started = true, d.r.o.Now().Up
	return o, gotOp
}

func (d *disk) exec(o op) {
	if o.target != nil && o.target.failed.Load() {
		if o.drop != nil {
			o.drop()
		}
	} else if err := o.do(d); err != nil {
		d.fail(d.causeOf(err), err, o.target)
		if errors.Is(err, errUnplugged) {
			d.leave(err)
		}
	}
	d.mu.Lock()
	d.busy = false
	d.queued -= o.bytes
	d.mu.Unlock()
}

// finish lets run return when the queue is empty.
func (d *disk) finish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = true
	d.kick()
}

// fail marks the disk as failed for new sessions, and t, if any, for good. It is told once.
func (d *disk) fail(cause string, err error, t *target) {
	d.mu.Lock()
	told := d.told
	d.ok, d.told, d.cause = false, true, cause
	d.mu.Unlock()
	e := DiskEvent{Disk: d.path, Failed: true, Cause: cause, Err: err}
	if !told {
		d.r.o.Log.Error("disk failed", "disk", d.path, "cause", cause, "err", err)
		d.r.o.OnDisk(e)
	}
	if t != nil {
		t.fail(e)
		d.forget(t)
	}
}

// leave gives up what sessions write to a disk that is no longer in its folder: they might go on for long
// with files nobody will find, and an open file keeps a disk from being mounted elsewhere.
func (d *disk) leave(err error) {
	for t := range d.open {
		d.fail(d.causeOf(err), err, t)
		t.close()
	}
}

// forget takes the bytes that wait for a target that failed out of the queue: the disk may hang for ever.
func (d *disk) forget(t *target) {
	var gone []op
	d.mu.Lock()
	keep := d.ops[:0]
	for _, o := range d.ops {
		if o.target == t && o.bytes > 0 {
			gone = append(gone, o)
			d.queued -= o.bytes
		} else {
			keep = append(keep, o)
		}
	}
	clear(d.ops[len(keep):])
	d.ops = keep
	d.mu.Unlock()
	for _, o := range gone {
		if o.drop != nil {
			o.drop()
		}
	}
}

// watch tells of a disk that hangs while no session would.
func (d *disk) watch(now time.Duration) {
	d.mu.Lock()
	told := d.told
	d.mu.Unlock()
	if !told && d.hung(now) {
		d.fail("hung", fmt.Errorf("record: %s: no answer for more than %s", d.path, d.r.o.HangAfter), nil)
	}
}

// probe finds out whether the disk can be written, and makes it ready.
func (d *disk) probe() {
	if err := d.prepare(); err != nil {
		cause := d.causeOf(err)
		d.mu.Lock()
		d.told = d.told && d.cause == cause // who reads that a disk is unplugged must hear that another one is there now
		d.mu.Unlock()
		d.fail(cause, err, nil)
		return
	}
	d.mu.Lock()
	told := d.told
	d.ok, d.told, d.cause = true, false, ""
	d.mu.Unlock()
	if told {
		d.r.o.Log.Info("disk is back", "disk", d.path)
		d.r.o.OnDisk(DiskEvent{Disk: d.path})
	}
}

// hereEvery is how often a disk is looked for in its folder while it has nothing to do.
const hereEvery = time.Second

// errFull means that a disk is at its floor.
var errFull = fmt.Errorf("below the floor: %w", syscall.ENOSPC)

func (d *disk) prepare() error {
	if _, err := d.r.o.Layer.ReadDir(d.path); err != nil {
		return err
	}
	id, err := readDiskID(d.files, d.path)
	d.mu.Lock()
	known := d.id
	d.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist) && known != "" && !mounted(d.path):
		return errUnplugged
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	}
	if err := d.lock.hold(d.path); err != nil {
		return err
	}
	defer d.lock.release()
	if (id == "" || id != known) && d.r.o.Foreign != nil && d.r.o.Foreign(d.path, id) {
		return errForeign
	}
	for _, dir := range []string{"tmp", "sessions", "ledger"} {
		if err := d.files.Mkdir(filepath.Join(d.path, dir)); err != nil {
			return err
		}
	}
	if err := d.files.Sweep(); err != nil {
		return err
	}
	if id == "" {
		if id, err = makeDiskID(d.files, d.path); err != nil {
			return err
		}
	}
	if err := d.tryWrite(); err != nil {
		return err
	}
	if d.r.o.LedgerSync != nil {
		if err := d.r.o.LedgerSync(d.path); err != nil {
			return err
		}
	}
	d.mu.Lock()
	d.id = id
	d.mu.Unlock()
	if !d.space(0) {
		return errFull
	}
	return nil
}

// tryWrite writes and syncs a file, because some disks turn read-only without saying so before.
func (d *disk) tryWrite() error {
	name := filepath.Join(d.path, "tmp", "probe.tmp")
	f, err := d.files.CreateFile(name)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4096))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), d.r.o.Layer.Remove(name))
}

// space reads the free space if what is known is older than age, and reports whether it is above the floor.
func (d *disk) space(age time.Duration) bool {
	now := d.r.o.Now().Up
	d.mu.Lock()
	if d.free >= 0 && now-d.checked < age {
		defer d.mu.Unlock()
		return d.free >= d.r.o.Floor
	}
	d.mu.Unlock()
	free, total, err := d.files.Space(d.path)
	if err != nil {
		return true // whatever is wrong will show in the next write
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free, d.total, d.checked = free, total, now
	return free >= d.r.o.Floor
}

// usable reports whether a new session can be written here.
func (d *disk) usable() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ok && !d.closing && d.free >= d.r.o.Floor
}

// wrote counts a batch.
func (d *disk) wrote(took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.synced++
	d.lastSync = took
}

// hung reports whether the disk has worked on one op, or waits for one piece of what it reads back, for
// too long.
func (d *disk) hung(now time.Duration) bool { return d.stuck(now, d.r.o.HangAfter) }

func (d *disk) stuck(now, limit time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.busy && now-d.started > limit || d.read.stuck(now, limit)
}

// reads are the files being read back from a disk. Safe for concurrent use.
type reads struct {
	mu    sync.Mutex
	since map[*segment]time.Duration // uptime at which a piece was asked for
}

// begin notes that a piece of a segment was asked for; end that none is any more.
func (r *reads) begin(seg *segment, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since == nil {
		r.since = make(map[*segment]time.Duration)
	}
	r.since[seg] = now
}

func (r *reads) end(seg *segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.since, seg)
}

func (r *reads) stuck(now, limit time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, since := range r.since {
		if now-since > limit {
			return true
		}
	}
	return false
}

func (d *disk) status(now time.Duration) DiskStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := DiskStatus{
		Disk: d.path, ID: d.id, OK: d.ok, Cause: d.cause, Free: d.free, Total: d.total,
		Queued: d.queued, Synced: d.synced, LastSync: d.lastSync,
	}
	switch {
	case d.busy:
		s.Lag = now - d.started
	case len(d.ops) > 0:
		s.Lag = now - d.ops[0].queued
	}
	return s
}

func (d *disk) diskID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.id
}

func (d *disk) backlog() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queued
}

// causeOf names an error of this disk. One that was pulled out says EIO to whoever has files open on it.
func (d *disk) causeOf(err error) string {
	if c := causeOf(err); c != "io-error" || !pulled(d.path) {
		return c
	}
	return "unplugged"
}

// causeOf names an error in a word that does not change.
func causeOf(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "full"
	case errors.Is(err, syscall.EROFS):
		return "read-only"
	case errors.Is(err, errDiffers):
		return "differs"
	case errors.Is(err, errTaken):
		return "taken"
	case errors.Is(err, errForeign):
		return "foreign"
	case errors.Is(err, errUnplugged), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO), errors.Is(err, fs.ErrNotExist):
		return "unplugged"
	case errors.Is(err, syscall.EIO):
		return "io-error"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "hung"
	}
	return "error"
}
