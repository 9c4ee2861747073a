package ledger

import (
	"errors"
	"log/slog"
	"minglu/agent/clock"
	"minglu/agent/evidence"
)

// Options are what the device ledger needs.
type Options struct {
	State  string               // state folder; the ledger lives in State/ledger/G/
	Device string               // D of the identity
	Signer *evidence.Signer     // of the device key
	Now    func() clock.Reading // read once per line
	Boot   string               // kernel boot id
	Board  string               // serial of the board, "" if it tells none
	Disks  []string             // ids of the disks present, for a new generation
	Log    *slog.Logger         // nil: discard
}

// Opened says what Open found.
type Opened struct {
	Fresh bool   // a new generation was begun
	Cause string // why: "first", "missing", "damaged", "shorter than published", "other board"
	Prev  *evidence.LedgerRef
	Cut   int64 // bytes behind the deciding signature moved to aside/
}

// Ledger is the device ledger. Each method that adds a line adds a sign line too and returns when
// both are durable in the state folder; it returns the size signed. Calls are serialised. Safe for
// concurrent use.
type Ledger struct{}

// Open opens the newest generation and adds a boot line, or begins a new generation (R2): a ledger
// that is missing, damaged or shorter than what was published is never continued and never deleted.
func Open(o Options) (*Ledger, Opened, error) {
	return nil, Opened{}, errors.New("ledger: not built yet")
}

// Close closes the file. Calls after it fail.
func (l *Ledger) Close() error { return nil }

// Append adds a line of package evidence (see [SessionLog.Append] for what it fills) and a sign line.
func (l *Ledger) Append(v any) (size int64, err error) { return 0, errors.New("ledger: not built yet") }

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

// Origin returns the ledger's origin.
func (l *Ledger) Origin() string { return "" }

// Generation returns G.
func (l *Ledger) Generation() string { return "" }

// Ref returns the last signed state, for the open line of a session.
func (l *Ledger) Ref() evidence.LedgerRef { return evidence.LedgerRef{} }

// Published makes durable that a state of the given size is about to be shown outside. Call it
// before sending (W2).
func (l *Ledger) Published(size int64) error { return errors.New("ledger: not built yet") }

// Bytes returns the durable length of the master file.
func (l *Ledger) Bytes() int64 { return 0 }

// BytesFrom returns the durable bytes of the master file from off on.
func (l *Ledger) BytesFrom(off int64) ([]byte, error) {
	return nil, errors.New("ledger: not built yet")
}

// Copy returns the copy of this ledger on a disk, disk being its mount folder. One goroutine uses it.
func (l *Ledger) Copy(disk string) *Copy { return &Copy{} }

// Copy is DISK/ledger/G/log.jsonl.
type Copy struct{}

// Sync completes the copy from the master and returns when it is durable (R3). A file that is no
// byte prefix of the master is renamed to G.foreign-N first; foreign then names it: raise an alarm.
func (c *Copy) Sync() (foreign string, err error) { return "", errors.New("ledger: not built yet") }
