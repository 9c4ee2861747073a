// Package witness holds what each device ledger last showed, and cosigns only what continues it.
//
// It guarantees: of one ledger it never cosigns two states that contradict each other, over restarts,
// power cuts and any order of requests; a state is durable here before its cosignature exists; a size
// once cosigned is never cosigned smaller. Of a device it cosigns one generation at a time: the first
// state of a newer one ends those before it, for good. A witness that was restored from a backup may
// have forgotten what it cosigned after the backup, so it cosigns nothing until a person confirms it.
//
// It does not judge what the lines say, cannot tell a device from somebody who holds its key, and
// cannot see a history that nobody shows it.
//
// The protocol is C2SP tlog-witness (https://c2sp.org/tlog-witness), spoken over HTTP by [Witness.Handler]
// and over MQTT by package relay's messages; the cosignature is C2SP tlog-cosignature, Ed25519.
//
// The order of a cosignature. A crash after any step leaves either the old state held and nothing
// signed, or the new state held, which may be cosigned again at any time:
//
//  1. the request is checked against what is held
//  2. the new state replaces the old one in a file of the device, synced
//  3. the cosignature is made and returned
package witness

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// Options are what a witness needs.
type Options struct {
	Dir  string             // its state; made if missing. One process at a time holds it
	Name string             // of its key, as in its vkey
	Key  ed25519.PrivateKey // never the device's
	// Keys returns the signing keys of a device by its D, those of before included; none: it is unknown.
	// It is called for each request and must not block for long.
	Keys  func(device string) []*ecdsa.PublicKey
	Now   func() time.Time // for cosignatures; whole seconds count
	Alarm func(Alarm)      // told of what a person should look at; must not block. nil: nobody
	Layer durable.Layer    // nil: the operating system
	Log   *slog.Logger     // nil: slog.Default
}

// Alarm is something a person should look at.
type Alarm struct {
	Device string // D
	Origin string // of the ledger
	Code   string // one of the Alarm constants
	Detail string
}

// Codes of alarms.
const (
	AlarmFork       = "fork"       // two signed states of one ledger contradict each other
	AlarmEnded      = "ended"      // an ended generation goes on: a copy of the device, or an older image of it
	AlarmGeneration = "generation" // a device began a new ledger
	AlarmLines      = "lines"      // the lines a device sent are not those it signed
)

// Witness is one witness. Its methods are safe for concurrent use; requests for one device are done
// one at a time.
type Witness struct {
	o     Options
	self  evidence.Witness
	files durable.Files
	lock  *os.File

	mu      sync.Mutex // guards what follows
	devices map[string]*device
	frozen  bool // restored, and not confirmed yet
	closed  bool
}

// device is one device's state with its own lock.
type device struct {
	mu    sync.Mutex
	read  bool
	state state
}

const (
	lockName   = "lock"
	frozenName = "restored" // while this file is there, nothing is cosigned
	statesDir  = "held"
	tmpDir     = "tmp"
)

// ErrFrozen is what a restored witness answers until a person has confirmed it.
var ErrFrozen = errors.New("this witness was restored from a backup and cosigns nothing until a person has confirmed it: minglu-provisioning witness confirm")

// Open takes hold of a witness's state. Close it.
func Open(o Options) (*Witness, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Alarm == nil {
		o.Alarm = func(Alarm) {}
	}
	if o.Layer == nil {
		o.Layer = durable.OS{}
	}
	if len(o.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("witness: it has no Ed25519 key")
	}
	self, err := evidence.NewWitness(o.Name, o.Key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	w := &Witness{o: o, self: self, devices: map[string]*device{}}
	w.files = durable.Files{Layer: o.Layer, Tmp: filepath.Join(o.Dir, tmpDir), Perm: 0o600}
	for _, dir := range []string{w.files.Tmp, filepath.Join(o.Dir, statesDir)} {
		if err := w.files.MkdirAll(dir); err != nil {
			return nil, fmt.Errorf("witness: state: %w", err)
		}
	}
	if w.lock, err = hold(filepath.Join(o.Dir, lockName)); err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	if err := w.files.Sweep(); err != nil {
		return nil, errors.Join(fmt.Errorf("witness: state: %w", err), w.lock.Close())
	}
	switch _, err := w.files.ReadFile(filepath.Join(o.Dir, frozenName)); {
	case err == nil:
		w.frozen = true
	case !errors.Is(err, fs.ErrNotExist):
		return nil, errors.Join(fmt.Errorf("witness: state: %w", err), w.lock.Close())
	}
	return w, nil
}

// hold keeps a second process out of the folder.
func hold(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: another witness holds this folder: stop it first: %w", name, err), f.Close())
	}
	return f, nil
}

// Close lets the state go. Requests after it fail.
func (w *Witness) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	return w.lock.Close()
}

// VKey is the witness's public key, as others put it into their trust folder.
func (w *Witness) VKey() string { return w.self.VKey() }

// Frozen reports whether the witness waits for a person's confirmation.
func (w *Witness) Frozen() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.frozen
}

// Freeze marks the state in a folder as restored from a backup. No process may hold it.
func Freeze(dir string) error {
	files := durable.Files{Layer: durable.OS{}, Tmp: filepath.Join(dir, tmpDir), Perm: 0o600}
	if err := files.MkdirAll(files.Tmp); err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	return files.CreateSame(filepath.Join(dir, frozenName), []byte("restored from a backup\n"))
}

// Confirm lets a restored witness cosign again. Before, a person has looked at what each device shows
// and found nothing that contradicts it.
func (w *Witness) Confirm() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.files.Remove(filepath.Join(w.o.Dir, frozenName)); err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	w.frozen = false
	return nil
}

// of returns a device's state with its lock held; the caller unlocks it.
func (w *Witness) of(id string) (*device, error) {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil, errors.New("witness: closed")
	}
	d := w.devices[id]
	if d == nil {
		d = new(device)
		w.devices[id] = d
	}
	w.mu.Unlock()
	d.mu.Lock()
	if !d.read {
		st, err := w.readState(id)
		if err != nil {
			d.mu.Unlock()
			return nil, err
		}
		d.state, d.read = st, true
	}
	return d, nil
}

func (w *Witness) statePath(id string) string {
	return filepath.Join(w.o.Dir, statesDir, id+".json")
}
