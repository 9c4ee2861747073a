package ledger

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"minglu/agent/clock"
	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// Options are what the device ledger needs.
type Options struct {
	State   string               // state folder, which must exist; the ledger lives in State/ledger
	Device  string               // D of the identity
	Signer  *evidence.Signer     // of the device key
	Now     func() clock.Reading // read once per line
	Boot    string               // kernel boot id
	Board   string               // serial of the board, "" if it tells none
	Earlier []*ecdsa.PublicKey   // keys of this device from before a rotation, which its key lines name the next of
	NV      int64                // starts the TPM has counted, 0 without one
	Before  *Before              // the device this state was of until now, nil mostly: its ledger is never continued
	Disks   []string             // ids of the disks present, for a new generation
	// WitnessSize is the size a witness is known to hold of the newest generation, from elsewhere than
	// [Ledger.WitnessHolds]; 0 unknown.
	WitnessSize int64
	Layer       durable.Layer // nil: the operating system
	Log         *slog.Logger  // nil: slog.Default
}

// Before is a device whose state came to another board.
type Before struct {
	Device string // its D
	Public *ecdsa.PublicKey
}

// Opened says what Open found.
type Opened struct {
	Fresh bool   // a new generation was begun
	Cause string // why, one of the constants beginning with Cause
	Prev  *evidence.LedgerRef
	Cut   int64 // bytes behind the deciding signature that were moved to aside/
}

// Why a generation was begun.
const (
	CauseFirst      = "first"
	CauseMissing    = "missing"
	CauseDamaged    = "damaged"
	CauseShort      = "shorter than published"
	CauseWitness    = "shorter than witnessed" // or another history than a witness's
	CauseOtherBoard = "other board"
	CauseOtherKey   = "other key" // another device's: the identity folder was moved away, and a new key made
)

// Ledger is the device ledger. Each method that adds a line adds a sign line too and returns when
// both are durable in the state folder; it blocks for that sync. After an error of such a method
// the line may or may not be found by the next Open; this Ledger goes on without it, and the next
// call tries the file anew. Calls are serialised. Safe for concurrent use.
type Ledger struct {
	o          Options
	files      durable.Files
	generation string
	name       string // of the master file
	now        atomic.Pointer[snapshot]
	index      index
	anchors    anchors

	mu        sync.Mutex // guards what follows
	c         *chain
	f         *durable.File // nil after an error, and once closed
	closed    bool
	published int64
}

// snapshot is the durable state, for those who may not wait for a sync.
type snapshot struct {
	ref   evidence.LedgerRef
	bytes int64
	sign  []byte // the last line
}

var errClosed = errors.New("ledger: closed")

// Close closes the file. Everything returned as signed is durable already. Calls that add lines fail
// after it. It may be called twice.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.drop()
}

func (l *Ledger) drop() error {
	f := l.f
	l.f = nil
	if f == nil {
		return nil
	}
	return f.Close()
}

// Append adds a line of package evidence (see [SessionLog.Append] for what it fills) and a sign
// line, and returns the size signed.
func (l *Ledger) Append(v any) (size int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, errClosed
	}
	c := l.c.clone()
	line, err := c.line(v)
	if err != nil {
		return 0, err
	}
	sign, err := c.sign()
	if err != nil {
		return 0, err
	}
	b := append(append(append(line, '\n'), sign...), '\n')
	if err := l.write(b); err != nil {
		return 0, fmt.Errorf("ledger: %w", errors.Join(err, l.drop()))
	}
	l.index.add(b) // before the state that may be proven
	l.commit(c, l.now.Load().bytes+int64(len(b)), sign)
	return c.size, nil
}

// write puts b behind the durable bytes and returns when it is durable.
func (l *Ledger) write(b []byte) error {
	if l.f == nil {
		if err := l.reopen(); err != nil {
			return err
		}
	}
	if err := l.f.WriteAt(b, l.now.Load().bytes); err != nil {
		return err
	}
	return l.f.Sync()
}

// commit makes c, whose lines are durable and end in the line sign, the state.
func (l *Ledger) commit(c *chain, bytes int64, sign []byte) {
	l.c = c
	l.now.Store(&snapshot{evidence.LedgerRef{Origin: c.origin, Size: c.size, Root: c.root.String()}, bytes, sign})
}

// reopen reads the file back after an error, cuts what did not become durable, and opens it. It
// trusts the file only if it holds what was signed (W1).
func (l *Ledger) reopen() error {
	b, err := l.files.ReadFile(l.name)
	if err != nil {
		return err
	}
	size := l.now.Load().bytes
	if int64(len(b)) < size || treeOf(b[:size]).Root() != l.c.tree.Root() {
		return fmt.Errorf("%s lost lines it had: check the disk of the state folder, then restart", l.name)
	}
	if int64(len(b)) > size {
		if err := l.files.Truncate(l.name, size); err != nil {
			return err
		}
	}
	l.f, err = l.files.Append(l.name)
	return err
}

// Head commits to a sign line (size, root) of a session's log file. Call it only once that line is
// durable on a disk (W2).
func (l *Ledger) Head(session, log string, size int64, root evidence.Hash) error {
	_, err := l.Append(evidence.Head{Session: session, Log: log, Size: size, Root: root.String()})
	return err
}

// Sealed commits to a manifest and its signature, given as hex of their SHA-256.
func (l *Ledger) Sealed(session, manifestSHA256, p7sSHA256 string) error {
	_, err := l.Append(evidence.Sealed{Session: session, Manifest: manifestSHA256, P7S: p7sSHA256})
	return err
}

// Amend commits to amendment n of a session, given as hex of the SHA-256 of amendment-N.json.
func (l *Ledger) Amend(session string, n int64, sha256 string) error {
	_, err := l.Append(evidence.AmendRef{Session: session, N: n, SHA256: sha256})
	return err
}

// Access tells that a session is about to be looked at; ref is random and points to the register.
func (l *Ledger) Access(session, ref string) error {
	_, err := l.Append(evidence.AccessRef{Session: session, Ref: ref})
	return err
}

// Clock tells a step of the wall clock by step µs, or another source of it.
func (l *Ledger) Clock(epoch, step int64, src string) error {
	_, err := l.Append(evidence.LedgerClock{Epoch: epoch, Step: step, Src: src})
	return err
}

// Config tells the SHA-256 of the configuration in force.
func (l *Ledger) Config(sha256 string) error {
	_, err := l.Append(evidence.Config{SHA256: sha256})
	return err
}

// Disks tells which disks are written from here on, by their ids.
func (l *Ledger) Disks(writing []string) error {
	_, err := l.Append(evidence.Disks{Writing: writing})
	return err
}

// Lost tells that a person gave up what an absent disk holds of a session beyond size.
func (l *Ledger) Lost(session string, size int64, disk, cause string) error {
	_, err := l.Append(evidence.LostTail{Session: session, Size: size, Disk: disk, Cause: cause})
	return err
}

// Origin returns the ledger's origin.
func (l *Ledger) Origin() string { return evidence.LedgerOrigin(l.o.Device, l.generation) }

// Generation returns G.
func (l *Ledger) Generation() string { return l.generation }

// Ref returns the last durable signed state, for the open line of a session. Does not block.
func (l *Ledger) Ref() evidence.LedgerRef { return l.now.Load().ref }

// Bytes returns the durable length of the master file. Does not block.
func (l *Ledger) Bytes() int64 { return l.now.Load().bytes }

// BytesFrom returns the durable bytes of the master file from off on.
func (l *Ledger) BytesFrom(off int64) ([]byte, error) {
	size := l.Bytes()
	if off < 0 || off > size {
		return nil, fmt.Errorf("ledger: offset %d is not within %d bytes", off, size)
	}
	f, err := os.Open(l.name)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	defer f.Close()
	b := make([]byte, size-off)
	if _, err := f.ReadAt(b, off); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return b, nil
}

// Published makes durable that a state of the given size is about to be shown outside. Call it
// before sending (W2): a master that is found shorter later is never continued.
func (l *Ledger) Published(size int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return errClosed
	case size > l.c.size:
		return fmt.Errorf("ledger: BUG: size %d published, only %d is signed", size, l.c.size)
	case size <= l.published:
		return nil
	}
	if err := writeCurrent(l.files, l.o.State, current{l.generation, size}); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	l.published = size
	return nil
}

// folder is where the ledger lives in the state folder.
func folder(state string) string { return filepath.Join(state, "ledger") }

func masterFile(state, generation string) string {
	return filepath.Join(folder(state), generation, logFile)
}

const logFile = "log.jsonl"
