package ledgers

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"minglu/agent/evidence"
)

// ledger is one ledger as it is kept.
type ledger struct {
	origin string
	device string
	path   string

	mu     sync.Mutex // guards what follows
	loaded bool
	gone   bool // forgotten: another stands in its place
	tree   evidence.Tree
	bytes  int64
	signs  []evidence.Sign // the newest sign lines, oldest first

	full atomic.Pointer[evidence.FullTree] // nil: not in memory. Grown under mu, dropped by anybody
}

// keepSigns is how many sign lines are remembered: some hours of a room's ledger.
const keepSigns = 2048

// remember notes sign lines that are kept now.
func (l *ledger) remember(signs []evidence.Sign) {
	l.signs = append(l.signs, signs...)
	if extra := len(l.signs) - keepSigns; extra > 0 {
		l.signs = append([]evidence.Sign(nil), l.signs[extra:]...)
	}
}

// load reads what is kept, once. A crash in an append may have left lines without the signature that
// covers them: they are set aside, and the device sends them again.
func (l *ledger) load(s *Store) error {
	if l.loaded {
		return nil
	}
	there, err := exists(l.path)
	if err != nil {
		return err
	}
	if !there {
		l.loaded, l.tree, l.bytes = true, evidence.Tree{}, 0
		return nil
	}
	data, err := os.ReadFile(l.path)
	if err != nil {
		return err
	}
	var b batch
	whole := bytes.Split(data, []byte("\n"))
	used := b.take(whole[:len(whole)-1]) // what has no line feed is torn
	if used < int64(len(data)) {
		s.o.Log.Warn("ledgers: set aside what a crash left unsigned", "ledger", l.origin, "bytes", int64(len(data))-used)
		cut := fmt.Sprintf("%s.cut-%d", l.path, used)
		if err := errors.Join(s.files.Replace(cut, data[used:]), s.files.Truncate(l.path, used)); err != nil {
			return err
		}
	}
	l.loaded, l.tree, l.bytes, l.signs = true, b.signed, used, nil
	l.remember(b.signs)
	return nil
}

// batch takes lines in.
type batch struct {
	tree   evidence.Tree // of all lines taken
	signed evidence.Tree // up to the last sign line
	signs  []evidence.Sign
	err    error // why it took no more
}

// take adds lines to the tree until one is wrong, and returns how many bytes, line feeds included, the
// lines up to the last sign line have. Size and root of a sign line hold then; its signature is not
// looked at.
func (b *batch) take(lines [][]byte) (used int64) {
	b.signed = *b.tree.Clone()
	off := int64(0)
	for _, line := range lines {
		if b.err = b.add(line); b.err != nil {
			break
		}
		off += int64(len(line)) + 1
		if b.signed.Size() == b.tree.Size() {
			used = off
		}
	}
	return used
}

func (b *batch) add(line []byte) error {
	parsed, err := evidence.ParseLine(line)
	if err != nil {
		return fmt.Errorf("line %d: %w", b.tree.Size(), err)
	}
	if parsed.Type != "sign" {
		b.tree.Append(line)
		return nil
	}
	var sign evidence.Sign
	if err := parsed.Decode(&sign); err != nil {
		return fmt.Errorf("line %d: %w", b.tree.Size(), err)
	}
	if sign.Size != b.tree.Size() || sign.Root != b.tree.Root().String() {
		return fmt.Errorf("line %d: it signs another tree", b.tree.Size())
	}
	b.tree.Append(line)
	b.signed, b.signs = *b.tree.Clone(), append(b.signs, sign)
	return nil
}

// append checks and keeps lines.
func (l *ledger) append(s *Store, from int64, lines []string) error {
	size := l.tree.Size()
	if from < 0 || from > size {
		return fmt.Errorf("line %d was sent, %d are kept", from, size)
	}
	if len(lines) == 0 {
		return nil
	}
	if len(lines) > MaxLines {
		return fmt.Errorf("%d lines at once, at most %d are taken", len(lines), MaxLines)
	}
	if again := min(size-from, int64(len(lines))); again > 0 {
		if err := l.compare(from, lines[:again]); err != nil {
			return err
		}
		lines = lines[again:]
	}
	if len(lines) == 0 {
		return nil
	}
	b := batch{tree: *l.tree.Clone()}
	data := []byte(strings.Join(lines, "\n") + "\n")
	if len(data) > MaxBytes {
		return fmt.Errorf("%d bytes at once, at most %d are taken", len(data), MaxBytes)
	}
	raw := make([][]byte, len(lines))
	for i, line := range lines {
		raw[i] = []byte(line)
	}
	used := b.take(raw)
	if b.err != nil {
		return b.err
	}
	if used == 0 {
		return errors.New("none of these lines is a signature")
	}
	if err := l.believe(s, b.signs[len(b.signs)-1]); err != nil {
		return err
	}
	if err := l.write(s, data[:used]); err != nil {
		l.loaded = false // what is on the disk is unknown: read it again
		l.full.Store(nil)
		return err
	}
	if full := l.full.Load(); full != nil {
		for _, line := range raw[:b.signed.Size()-l.tree.Size()] {
			full.Append(line)
		}
	}
	l.tree, l.bytes = b.signed, l.bytes+used
	l.remember(b.signs)
	return nil
}

// believe checks the signature of a sign line whose size and root hold.
func (l *ledger) believe(s *Store, sign evidence.Sign) error {
	root, err := evidence.ParseHash(sign.Root)
	if err != nil {
		return err
	}
	err = ErrUnknown
	for _, key := range s.o.Keys(l.device) {
		if err = evidence.VerifySig(key, l.origin, sign.Size, root, sign.Sig); err == nil {
			return nil
		}
	}
	return err
}

// compare checks that lines, the first of which has number from, are the ones kept.
func (l *ledger) compare(from int64, lines []string) error {
	n, differs := int64(0), false
	err := l.each(from+int64(len(lines)), func(line []byte) bool {
		differs = n >= from && string(line) != lines[n-from]
		n++
		return !differs
	})
	if differs {
		return fmt.Errorf("line %d: %w", n-1, ErrDiffers)
	}
	return err
}

// write appends bytes and returns when they are durable.
func (l *ledger) write(s *Store, b []byte) error {
	if err := s.files.MkdirAll(filepath.Dir(l.path)); err != nil {
		return err
	}
	f, err := s.files.Append(l.path)
	if err != nil {
		return err
	}
	if f.Size() != l.bytes {
		return errors.Join(fmt.Errorf("%s has %d bytes, want %d: something else writes to it", l.path, f.Size(), l.bytes), f.Close())
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// each calls visit for the first n lines kept, until it returns false.
func (l *ledger) each(n int64, visit func(line []byte) bool) error {
	if n == 0 {
		return nil
	}
	f, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, evidence.MaxLine+1)
	for range n {
		line, err := r.ReadSlice('\n')
		if err == io.EOF {
			return fmt.Errorf("%s is shorter than what was written to it: restore the office from a backup", l.path)
		}
		if err != nil {
			return err
		}
		if !visit(line[:len(line)-1]) {
			return nil
		}
	}
	return nil
}
