package ledger

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

// current is State/ledger/current.json: which generation is written, and how much of it the outside knows.
type current struct {
	Generation string `json:"generation"`
	Published  int64  `json:"published"`
}

func currentFile(state string) string { return filepath.Join(folder(state), "current.json") }

func writeCurrent(files durable.Files, state string, c current) error {
	b, err := evidence.MarshalCanonical(c)
	if err != nil {
		return err
	}
	return files.Replace(currentFile(state), b)
}

// master is what is known of a generation's file.
type master struct {
	generation string
	log        []byte
	decided    evidence.Deciding
	signed     bool   // a deciding signature was found
	unfit      string // why it is not continued, "" if it is
}

// Open opens the newest generation and adds a boot line, or begins a new generation (R2): a ledger
// that is missing, damaged, shorter than what was published or than what a witness holds, or of another
// board is never continued and never deleted. What a power cut left behind the deciding signature is
// moved to aside/. Only one process at a time may use a state folder. Close the ledger.
func Open(o Options) (*Ledger, Opened, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	files := durable.Files{Layer: o.Layer, Tmp: filepath.Join(folder(o.State), "tmp")}
	l := &Ledger{o: o, files: files, anchors: anchors{keep: keepNewest}}
	if err := errors.Join(files.MkdirAll(files.Tmp), files.Sweep()); err != nil {
		return nil, Opened{}, fmt.Errorf("ledger: %w", err)
	}
	m, published, err := l.find()
	if err != nil {
		return nil, Opened{}, fmt.Errorf("ledger: %w", err)
	}
	held, err := readWitnessed(files, o, evidence.LedgerOrigin(o.Device, m.generation))
	if err != nil {
		return nil, Opened{}, fmt.Errorf("ledger: %w", err)
	}
	if m.unfit == "" && (held.contradicts(&m) || m.decided.Size < o.WitnessSize) {
		m.unfit = CauseWitness
		held.Size = max(held.Size, o.WitnessSize)
	}
	opened := Opened{Cause: m.unfit, Fresh: m.unfit != "", Prev: m.ref(l.device())}
	if opened.Fresh {
		err = l.begin(opened, held.Size)
	} else {
		opened.Prev = nil
		l.published = published
		opened.Cut, err = l.resume(m)
	}
	if err == nil {
		_, err = l.Append(evidence.Boot{Boot: o.Boot, NV: o.NV, Board: o.Board})
	}
	if err != nil {
		return nil, Opened{}, fmt.Errorf("ledger: open: %w", errors.Join(err, l.Close()))
	}
	if opened.Fresh || opened.Cut > 0 {
		o.Log.Info("ledger opened", "generation", l.generation, "fresh", opened.Fresh, "cause", opened.Cause, "cut", opened.Cut)
	}
	return l, opened, nil
}

// find reads the generation that current.json names and judges it.
func (l *Ledger) find() (m master, published int64, err error) {
	b, err := l.files.ReadFile(currentFile(l.o.State))
	if errors.Is(err, fs.ErrNotExist) {
		return l.findLast(CauseMissing)
	}
	if err != nil {
		return m, 0, err
	}
	var c current
	if err := evidence.UnmarshalCanonical(b, &c, true); err != nil || !isGeneration(c.Generation) {
		return l.findLast(CauseDamaged)
	}
	m, err = l.read(c.Generation)
	switch {
	case err == nil && l.o.Before != nil:
		m.unfit = CauseOtherBoard
	case err != nil || m.unfit != "":
	case m.decided.Size < c.Published:
		m.unfit = CauseShort
	case l.o.Board != "" && l.o.Board != m.board() && m.board() != "":
		m.unfit = CauseOtherBoard
	}
	return m, c.Published, err
}

// findLast looks for the generation a new one follows when current.json does not tell: the one whose
// signed lines are youngest. If there is none this is the first start.
func (l *Ledger) findLast(cause string) (last master, published int64, err error) {
	entries, err := os.ReadDir(folder(l.o.State))
	if err != nil {
		return last, 0, err
	}
	last.unfit = CauseFirst
	for _, e := range entries {
		if !e.IsDir() || !isGeneration(e.Name()) {
			continue
		}
		m, err := l.read(e.Name())
		if err != nil {
			return last, 0, err
		}
		if last.unfit == CauseFirst || m.signed && m.time() > last.time() {
			last = m
		}
		last.unfit = cause
	}
	return last, 0, nil
}

// device is whose ledger is there: what comes now is never of Before.
func (l *Ledger) device() string {
	if l.o.Before != nil {
		return l.o.Before.Device
	}
	return l.o.Device
}

// read reads a generation's master file.
func (l *Ledger) read(generation string) (m master, err error) {
	m.generation = generation
	m.log, err = l.files.ReadFile(masterFile(l.o.State, generation))
	if errors.Is(err, fs.ErrNotExist) {
		m.unfit = CauseMissing
		return m, nil
	}
	if err != nil {
		return m, err
	}
	pub := l.o.Signer.Public()
	if l.o.Before != nil {
		pub = l.o.Before.Public
	}
	m.decided, err = evidence.Decide(m.log, evidence.LedgerOrigin(l.device(), generation), pub)
	for _, old := range l.o.Earlier {
		if err == nil || l.o.Before != nil {
			break
		}
		// The last thing the old key signed says which one follows it.
		if d, derr := evidence.Decide(m.log, evidence.LedgerOrigin(l.o.Device, generation), old); derr == nil && d.Damaged < 0 && names(m.log[:d.End], l.o.Signer.SPKI()) {
			m.decided, err = d, nil
		}
	}
	m.signed = err == nil
	switch {
	case err != nil && l.otherKey(m.log):
		m.unfit = CauseOtherKey
	case err != nil || m.decided.Damaged >= 0:
		m.unfit = CauseDamaged
	}
	return m, nil
}

// otherKey reports whether the last signature in a log says that another key made it, one this device never had.
// It is a word about the key, checked by nothing: good for saying why, for nothing else.
func (l *Ledger) otherKey(log []byte) bool {
	ours := [][]byte{l.o.Signer.SPKI()}
	for _, k := range l.o.Earlier {
		if spki, err := x509.MarshalPKIXPublicKey(k); err == nil {
			ours = append(ours, spki)
		}
	}
	for end := len(log); end > 0; {
		begin := bytes.LastIndexByte(log[:end-1], '\n') + 1
		var s evidence.Sign
		line, err := evidence.ParseLine(bytes.TrimSuffix(log[begin:end], []byte{'\n'}))
		end = begin
		if err != nil || line.Type != "sign" || line.Decode(&s) != nil {
			continue
		}
		sig, err := base64.StdEncoding.DecodeString(s.Sig)
		return err == nil && len(sig) > 4 && !slices.ContainsFunc(ours, func(spki []byte) bool {
			id := evidence.KeyID(spki)
			return bytes.Equal(id[:], sig[:4])
		})
	}
	return false
}

// names reports whether a key line announces this signing key.
func names(log, spki []byte) (found bool) {
	for line := range bytes.Lines(log) {
		var k evidence.Key
		if l, err := evidence.ParseLine(bytes.TrimSuffix(line, []byte{'\n'})); err == nil && l.Type == "key" && l.Decode(&k) == nil {
			found = found || k.Use == "sign" && k.SPKI == base64.StdEncoding.EncodeToString(spki)
		}
	}
	return found
}

// ref returns the signed state, nil if there is none.
func (m *master) ref(device string) *evidence.LedgerRef {
	if !m.signed {
		return nil
	}
	return &evidence.LedgerRef{Origin: evidence.LedgerOrigin(device, m.generation), Size: m.decided.Size, Root: m.decided.Root.String()}
}

// board returns the board of the last signed boot line, time the wall time of the last signed line.
func (m *master) board() (board string) {
	m.each(func(l evidence.Line) {
		var b evidence.Boot
		if l.Type == "boot" && l.Decode(&b) == nil {
			board = b.Board
		}
	})
	return board
}

func (m *master) time() (t int64) {
	m.each(func(l evidence.Line) {
		if l.Type != "sign" {
			t = l.T
		}
	})
	return t
}

func (m *master) each(f func(evidence.Line)) {
	for line := range bytes.Lines(m.log[:m.decided.End]) {
		if l, err := evidence.ParseLine(bytes.TrimSuffix(line, []byte{'\n'})); err == nil {
			f(l)
		}
	}
}

// resume goes on with a generation, once what lies behind its deciding signature is aside.
func (l *Ledger) resume(m master) (cut int64, err error) {
	l.generation, l.name = m.generation, masterFile(l.o.State, m.generation)
	end := m.decided.End
	if tail := m.log[end:]; len(tail) > 0 {
		dir := filepath.Join(filepath.Dir(l.name), "aside")
		if err := l.files.MkdirAll(dir); err != nil {
			return 0, err
		}
		digest := evidence.LeafHash(tail)
		name := fmt.Sprintf("%s.%012d.%x", logFile, end, digest[:4])
		if err := l.files.CreateSame(filepath.Join(dir, name), tail); err != nil {
			return 0, err
		}
		if err := l.files.Truncate(l.name, end); err != nil {
			return 0, err
		}
	}
	c := newChain(l.Origin(), l.o.Signer, l.o.Now, nil)
	c.tree = treeOf(m.log[:end])
	c.size, c.root, c.signed = m.decided.Size, m.decided.Root, true
	log := m.log[:end-1] // without its line feed
	l.index.add(m.log[:end])
	l.commit(c, end, bytes.Clone(log[bytes.LastIndexByte(log, '\n')+1:]))
	if err := l.findAnchors(); err != nil {
		return 0, err
	}
	l.f, err = l.files.Append(l.name)
	return int64(len(m.log)) - end, err
}

// begin makes a new generation. It is the current one only once its first lines are durable.
func (l *Ledger) begin(o Opened, held int64) error {
	var raw [8]byte
	rand.Read(raw[:]) // never fails (crypto/rand)
	l.generation = hex.EncodeToString(raw[:])
	l.name = masterFile(l.o.State, l.generation)
	c := newChain(l.Origin(), l.o.Signer, l.o.Now, nil)
	if held == 0 {
		held = -1
	}
	line, err := c.line(evidence.Generation{Prev: o.Prev, WitnessSize: held, Cause: o.Cause, Disks: l.o.Disks})
	if err != nil {
		return err
	}
	sign, err := c.sign()
	if err != nil {
		return err
	}
	b := append(append(append(line, '\n'), sign...), '\n')
	if err := l.files.MkdirAll(filepath.Dir(l.name)); err != nil {
		return err
	}
	if err := l.files.Create(l.name, b); err != nil {
		return err
	}
	if err := writeCurrent(l.files, l.o.State, current{Generation: l.generation}); err != nil {
		return err
	}
	l.index.add(b)
	l.commit(c, int64(len(b)), sign)
	l.f, err = l.files.Append(l.name)
	return err
}

// treeOf returns the tree over whole lines.
func treeOf(log []byte) *evidence.Tree {
	t := new(evidence.Tree)
	for line := range bytes.Lines(log) {
		t.Append(bytes.TrimSuffix(line, []byte{'\n'}))
	}
	return t
}

// isGeneration reports whether s is 16 lower hex digits.
func isGeneration(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 8 && hex.EncodeToString(b) == s
}
