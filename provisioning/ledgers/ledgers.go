// Package ledgers keeps, at the office, the lines of each device's ledger, byte for byte as the device
// signed them: DIR/D/G/log.jsonl, the same file as the device's own. So it is known here which sessions
// there were, even when a room with all its disks is gone; minglu-agent verify reads the folder.
//
// It guarantees: a line is kept only if a signature of the device covers it and its tree is the one
// signed; what is kept is never changed or shortened; lines that contradict it are refused and told.
// The lines hold opaque ids and digests, no names.
//
// It does not decide who may send, and does not cosign: package witness does.
package ledgers

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// Limits of [Store.Append].
const (
	MaxLines = 2000    // of one call
	MaxBytes = 4 << 20 // of one call
)

// Options are what a Store needs.
type Options struct {
	Dir  string
	Keys func(device string) []*ecdsa.PublicKey // signing keys of a device by its D, old ones included
	Log  *slog.Logger                           // nil: slog.Default
}

// Store keeps the ledgers. Its methods are safe for concurrent use; those of one ledger are done one at
// a time, and block for its disk.
type Store struct {
	o     Options
	files durable.Files

	mu      sync.Mutex
	ledgers map[string]*ledger
	full    []*ledger // those with all their nodes in memory, oldest first
}

// maxFull is for how many ledgers all nodes are kept in memory, 64 bytes a line: those that outside
// witnesses were last asked about.
const maxFull = 128

// ErrDiffers means that lines were sent that contradict what is kept: two histories of one ledger.
var ErrDiffers = errors.New("these lines contradict the ones kept of this ledger")

// ErrUnknown means that no key of the device is known.
var ErrUnknown = errors.New("no device of this name is known here")

// Open makes the folder if it is missing.
func Open(o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Store{o: o, ledgers: map[string]*ledger{}}
	s.files = durable.Files{Layer: durable.OS{}, Tmp: filepath.Join(o.Dir, "tmp")}
	if err := errors.Join(s.files.MkdirAll(s.files.Tmp), s.files.Sweep()); err != nil {
		return nil, fmt.Errorf("ledgers: %w", err)
	}
	return s, nil
}

// Append keeps lines (without line feeds), the first of which has number from. Those that are kept
// already are compared and passed over, as are those behind the last sign line. have is how many lines
// are kept then, durably; send from there next.
func (s *Store) Append(origin string, from int64, lines []string) (have int64, err error) {
	l, err := s.of(origin)
	if err != nil {
		return 0, fmt.Errorf("ledgers: %w", err)
	}
	defer s.done(l)
	have = l.tree.Size()
	if err := l.append(s, from, lines); err != nil {
		return have, fmt.Errorf("ledgers: %s: %w", origin, err)
	}
	return l.tree.Size(), nil
}

// Have tells how many lines are kept of a ledger.
func (s *Store) Have(origin string) (int64, error) {
	l, err := s.of(origin)
	if err != nil {
		return 0, fmt.Errorf("ledgers: %w", err)
	}
	defer s.done(l)
	return l.tree.Size(), nil
}

// Proof returns the consistency proof from one size of a ledger to a later one (RFC 6962 2.1.2).
func (s *Store) Proof(origin string, from, to int64) ([]evidence.Hash, error) {
	l, err := s.of(origin)
	if err != nil {
		return nil, fmt.Errorf("ledgers: %w", err)
	}
	defer s.done(l)
	if to > l.tree.Size() {
		return nil, fmt.Errorf("ledgers: %s: %d lines are kept, a proof over %d was asked for", origin, l.tree.Size(), to)
	}
	full := l.full.Load()
	if full == nil {
		full = new(evidence.FullTree)
		if err := l.each(l.tree.Size(), func(line []byte) bool { full.Append(line); return true }); err != nil {
			return nil, fmt.Errorf("ledgers: %w", err)
		}
		l.full.Store(full)
		s.keepFull(l)
	}
	return full.Consistency(from, to)
}

// keepFull bounds how many ledgers have all their nodes in memory.
func (s *Store) keepFull(l *ledger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full = append(s.full, l); len(s.full) > maxFull {
		s.full[0].full.Store(nil)
		s.full = append([]*ledger(nil), s.full[1:]...)
	}
}

// SignedRoot returns the root that a sign line states for a size, if it is among the newest of them.
func (s *Store) SignedRoot(origin string, size int64) (root string, ok bool) {
	l, err := s.of(origin)
	if err != nil {
		return "", false
	}
	defer s.done(l)
	for _, sign := range l.signs {
		if sign.Size == size {
			return sign.Root, true
		}
	}
	return "", false
}

// Origins lists the ledgers kept.
func (s *Store) Origins() ([]string, error) {
	var origins []string
	devices, err := os.ReadDir(s.o.Dir)
	for _, d := range devices {
		if !d.IsDir() || d.Name() == "tmp" {
			continue
		}
		gens, err := os.ReadDir(filepath.Join(s.o.Dir, d.Name()))
		if err != nil {
			return nil, fmt.Errorf("ledgers: %w", err)
		}
		for _, g := range gens {
			origins = append(origins, evidence.LedgerOrigin(d.Name(), g.Name()))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ledgers: %w", err)
	}
	return origins, nil
}

// of returns a ledger with its lock held.
func (s *Store) of(origin string) (*ledger, error) {
	device, generation, ok := splitOrigin(origin)
	if !ok {
		return nil, fmt.Errorf("%.100q is no ledger", origin)
	}
	if len(s.o.Keys(device)) == 0 {
		return nil, fmt.Errorf("%s: %w", device, ErrUnknown)
	}
	for {
		s.mu.Lock()
		l := s.ledgers[origin]
		if l == nil {
			l = &ledger{origin: origin, device: device, path: filepath.Join(s.o.Dir, device, generation, "log.jsonl")}
			s.ledgers[origin] = l
		}
		s.mu.Unlock()
		l.mu.Lock()
		if l.gone { // while this waited for it
			l.mu.Unlock()
			continue
		}
		if err := l.load(s); err != nil {
			s.done(l)
			return nil, err
		}
		return l, nil
	}
}

// done lets a ledger go. One of which nothing is kept is forgotten: a device may ask after any number of them.
func (s *Store) done(l *ledger) {
	if l.tree.Size() == 0 {
		l.gone = true
		s.mu.Lock()
		delete(s.ledgers, l.origin)
		s.mu.Unlock()
	}
	l.mu.Unlock()
}

func splitOrigin(origin string) (device, generation string, ok bool) {
	rest, ok := strings.CutPrefix(origin, "minglu/")
	device, generation, two := strings.Cut(rest, "/")
	return device, generation, ok && two && isHex(device, 32) && isHex(generation, 16)
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// exists reports whether there is a file, or why that cannot be told.
func exists(name string) (bool, error) {
	_, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
