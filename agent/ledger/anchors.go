package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"minglu/agent/durable"
)

// Anchor names what the outside gave for one checkpoint: files State/ledger/G/anchors/SIZE.{note,tsr,cosig}
// with the size in twelve digits. A .cosig holds cosignature lines, each with a line feed.
type Anchor struct {
	Size  int64
	Token bool // there is a .tsr
	Cosig bool // there is a .cosig
}

// anchors are the anchors of the generation, by size.
type anchors struct {
	mu    sync.Mutex // guards what follows
	list  []Anchor
	floor int64 // of the last ThinAnchors: 0 none yet
	keep  int   // keepNewest
}

const anchorsFolder = "anchors"

// The kinds of file of an anchor.
const (
	noteFile  = ".note"
	tokenFile = ".tsr"
	cosigFile = ".cosig"
)

func anchorName(size int64, kind string) string { return fmt.Sprintf("%012d%s", size, kind) }

func (l *Ledger) anchorFile(size int64, kind string) string {
	return filepath.Join(filepath.Dir(l.name), anchorsFolder, anchorName(size, kind))
}

// SaveAnchor keeps what was given for the checkpoint of a size: its note, the token (DER TimeStampResp) or
// nil, the cosignature lines or none. Durable when it returns nil; the note goes first, so that no
// proof stands without what it is over. Repeating it with the same bytes is a success; cosignature lines
// are added to those there are; another token is an error wrapping fs.ErrExist.
func (l *Ledger) SaveAnchor(size int64, note string, token []byte, cosigs []string) error {
	dir := filepath.Dir(l.anchorFile(size, noteFile))
	if err := l.files.Mkdir(dir); err != nil {
		return fmt.Errorf("ledger: anchor: %w", err)
	}
	err := l.files.CreateSame(l.anchorFile(size, noteFile), []byte(note))
	if err == nil && token != nil {
		err = l.files.CreateSame(l.anchorFile(size, tokenFile), token)
	}
	if err == nil && len(cosigs) > 0 {
		err = l.addCosigs(size, cosigs)
	}
	if err != nil {
		return fmt.Errorf("ledger: anchor: %w", err)
	}
	l.anchors.put(Anchor{size, token != nil, len(cosigs) > 0})
	return nil
}

// addCosigs adds lines to those that came before: witnesses answer at different times.
func (l *Ledger) addCosigs(size int64, cosigs []string) error {
	have, err := l.optional(size, cosigFile)
	if err != nil {
		return err
	}
	all := string(have)
	for _, c := range cosigs {
		if !strings.Contains("\n"+all, "\n"+c+"\n") {
			all += c + "\n"
		}
	}
	if all == string(have) {
		return nil
	}
	return l.files.Replace(l.anchorFile(size, cosigFile), []byte(all))
}

func bySize(a Anchor, size int64) int { return cmp.Compare(a.Size, size) }

func (x *anchors) put(a Anchor) {
	x.mu.Lock()
	defer x.mu.Unlock()
	i, have := slices.BinarySearchFunc(x.list, a.Size, bySize)
	if !have {
		x.list = slices.Insert(x.list, i, a)
		return
	}
	x.list[i].Token = x.list[i].Token || a.Token
	x.list[i].Cosig = x.list[i].Cosig || a.Cosig
}

// Anchors returns the anchors of this generation with a size of at least from, smallest first.
func (l *Ledger) Anchors(from int64) []Anchor {
	l.anchors.mu.Lock()
	defer l.anchors.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.anchors.list, from, bySize)
	return slices.Clone(l.anchors.list[i:])
}

// EachAnchor is Anchors one by one, until f returns false.
func (l *Ledger) EachAnchor(from int64, f func(size int64, token, cosig bool) bool) {
	for _, a := range l.Anchors(from) {
		if !f(a.Size, a.Token, a.Cosig) {
			return
		}
	}
}

// ReadAnchor reads one anchor; token is nil and cosigs empty where there is none. An error wrapping
// fs.ErrNotExist means that there is no anchor of that size.
func (l *Ledger) ReadAnchor(size int64) (note string, token []byte, cosigs []string, err error) {
	b, err := l.files.ReadFile(l.anchorFile(size, noteFile))
	if err != nil {
		return "", nil, nil, fmt.Errorf("ledger: anchor: %w", err)
	}
	token, err = l.optional(size, tokenFile)
	if err != nil {
		return "", nil, nil, err
	}
	lines, err := l.optional(size, cosigFile)
	if err != nil {
		return "", nil, nil, err
	}
	for line := range strings.Lines(string(lines)) {
		cosigs = append(cosigs, strings.TrimSuffix(line, "\n"))
	}
	return string(b), token, cosigs, nil
}

func (l *Ledger) optional(size int64, kind string) ([]byte, error) {
	b, err := l.files.ReadFile(l.anchorFile(size, kind))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: anchor: %w", err)
	}
	return b, nil
}

// anchorOf is what the name of a file of proofs says.
func anchorOf(name string) (Anchor, bool) {
	kind := filepath.Ext(name)
	size, err := strconv.ParseInt(strings.TrimSuffix(name, kind), 10, 64)
	ok := err == nil && name == anchorName(size, kind) && (kind == tokenFile || kind == cosigFile)
	return Anchor{size, kind == tokenFile, kind == cosigFile}, ok
}

// findAnchors lists what is there at a start.
func (l *Ledger) findAnchors() error {
	entries, err := os.ReadDir(filepath.Dir(l.anchorFile(0, noteFile)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if a, ok := anchorOf(e.Name()); ok {
			l.anchors.put(a)
		}
	}
	return nil
}

// SyncAnchors brings anchors a disk's copy lacks to it, newest first, at most so many files, and reports
// whether it then has all. It blocks for the disk's syncs, several for each file: not for a goroutine
// that recording waits for.
func (c *Copy) SyncAnchors(most int) (all bool, err error) {
	l := c.l
	from := filepath.Dir(l.anchorFile(0, noteFile))
	names, err := readNames(from)
	if err != nil || len(names) == 0 {
		return err == nil, err
	}
	files := durable.Files{Layer: l.o.Layer, Tmp: filepath.Join(c.disk, "tmp")}
	to := filepath.Join(c.disk, "ledger", l.generation, anchorsFolder)
	if err := errors.Join(files.Mkdir(files.Tmp), files.Mkdir(filepath.Dir(to)), files.Mkdir(to)); err != nil {
		return false, fmt.Errorf("ledger: copy: %w", err)
	}
	there, err := readNames(to)
	if err != nil {
		return false, err
	}
	have := make(map[string]bool, len(there))
	for _, n := range there {
		have[n] = true
	}
	for _, n := range slices.Backward(names) {
		put := files.CreateSame
		if have[n] {
			if filepath.Ext(n) != cosigFile || !grew(filepath.Join(from, n), filepath.Join(to, n)) {
				continue
			}
			put = files.Replace // a witness answered later
		}
		if most--; most < 0 {
			return false, nil
		}
		b, err := l.files.ReadFile(filepath.Join(from, n))
		if err == nil {
			err = put(filepath.Join(to, n), b)
		}
		if err != nil {
			return false, fmt.Errorf("ledger: copy: anchor: %w", err)
		}
	}
	return true, c.thin(files, to, there)
}

// grew reports whether a file of cosignatures, to which lines are only added, is longer than its copy.
func grew(master, copied string) bool {
	m, err := os.Stat(master)
	c, cerr := os.Stat(copied)
	return err == nil && cerr == nil && m.Size() > c.Size()
}

// readNames lists a folder in order; one that is not there is empty.
func readNames(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: copy: %w", err)
	}
	return names, nil
}
