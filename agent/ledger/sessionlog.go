package ledger

import (
	"errors"
	"minglu/agent/clock"
	"minglu/agent/evidence"
)

// LogOptions are what a log in memory needs.
type LogOptions struct {
	Origin string                 // of the log, see evidence.SessionOrigin and evidence.RecoveryOrigin
	Signer *evidence.Signer       // of the device key
	Now    func() clock.Reading   // read once per line
	Salt   func() (salt [16]byte) // nil: crypto/rand
}

// SessionLog is a session log or a recovery file being written, in memory: it numbers, times, salts
// and signs lines; the caller writes what Take returns to the disks. It keeps the tree, not the
// lines. Safe for concurrent use; nothing blocks.
type SessionLog struct{}

// NewSessionLog starts an empty log.
func NewSessionLog(o LogOptions) *SessionLog { return &SessionLog{} }

// Append adds a line and returns its number and its canonical bytes (without line feed, read-only).
// v is a struct of package evidence that embeds evidence.Common, or a pointer to one; v itself is
// not changed. Append fills seq, t, te, up (never falling) and salt; Type too where the struct has
// only one (evidence.TypeOf); and St of a fragment. After an error the log is unchanged.
func (l *SessionLog) Append(v any) (seq int64, line []byte, err error) {
	return 0, nil, errors.New("ledger: not built yet")
}

// Sign adds a sign line over all lines so far and returns the size and root it signs. If the last
// line is a sign line it adds nothing and returns that one's.
func (l *SessionLog) Sign() (size int64, root evidence.Hash, err error) {
	return 0, root, errors.New("ledger: not built yet")
}

// Take returns the lines added since the last Take, each with its line feed; nil if there are none.
func (l *SessionLog) Take() []byte { return nil }

// Origin returns the log's origin.
func (l *SessionLog) Origin() string { return "" }

// Size returns the number of lines so far, sign lines included.
func (l *SessionLog) Size() int64 { return 0 }

// Signed returns size and root of the last sign line; size 0 if there is none.
func (l *SessionLog) Signed() (size int64, root evidence.Hash) { return 0, root }

// Bytes returns the length of the log so far.
func (l *SessionLog) Bytes() int64 { return 0 }
