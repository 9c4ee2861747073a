package ledger

import (
	"sync"

	"minglu/agent/clock"
	"minglu/agent/evidence"
)

// LogOptions are what a log in memory needs.
type LogOptions struct {
	Origin string               // of the log, see evidence.SessionOrigin and evidence.RecoveryOrigin
	Signer *evidence.Signer     // of the device key
	Now    func() clock.Reading // read once per line
	Salt   func() [16]byte      // nil: crypto/rand
}

// SessionLog is a session log or a recovery file being written, in memory: it numbers, times, salts
// and signs lines; the caller writes what Take returns to the disks. It keeps the tree and the lines
// not yet taken. Safe for concurrent use; nothing blocks.
type SessionLog struct {
	mu    sync.Mutex // guards what follows
	c     *chain
	buf   []byte
	bytes int64
}

// NewSessionLog starts an empty log.
func NewSessionLog(o LogOptions) *SessionLog {
	return &SessionLog{c: newChain(o.Origin, o.Signer, o.Now, o.Salt)}
}

// Append adds a line and returns its number and its canonical bytes (without line feed, the caller's
// to keep). v is a struct of package evidence that embeds evidence.Common, or a pointer to one; v
// itself is not changed. Append fills seq, t, te, up (never falling) and salt; Type too where the
// struct has only one (evidence.TypeOf); and St of a fragment. After an error the log is unchanged.
func (l *SessionLog) Append(v any) (seq int64, line []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq = l.c.tree.Size()
	line, err = l.c.line(v)
	if err != nil {
		return 0, nil, err
	}
	l.put(line)
	return seq, line, nil
}

// Sign adds a sign line over all lines so far and returns the size and root it signs. If the last
// line is a sign line it adds nothing and returns that one's; of an empty log it returns size 0.
func (l *SessionLog) Sign() (size int64, root evidence.Hash, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line, err := l.c.sign()
	if err != nil {
		return 0, root, err
	}
	if line != nil {
		l.put(line)
	}
	return l.c.size, l.c.root, nil
}

func (l *SessionLog) put(line []byte) {
	l.buf = append(append(l.buf, line...), '\n')
	l.bytes += int64(len(line)) + 1
}

// Take returns the lines added since the last Take, each with its line feed; nil if there are none.
// The bytes are the caller's.
func (l *SessionLog) Take() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buf
	l.buf = nil
	return b
}

// Origin returns the log's origin.
func (l *SessionLog) Origin() string { return l.c.origin }

// Size returns the number of lines so far, sign lines included.
func (l *SessionLog) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.c.tree.Size()
}

// Signed returns size and root of the last sign line; size 0 if there is none.
func (l *SessionLog) Signed() (size int64, root evidence.Hash) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.c.size, l.c.root
}

// Bytes returns the length of the log so far, taken or not.
func (l *SessionLog) Bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}
