package durabletest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Sector is what a disk writes whole or not at all.
const Sector = 512

// Change is one thing a [Layer] with Journal set did to its files: what a [Replay] goes through.
type Change struct {
	Verb string // "create", "mkdir", "rename", "remove", "syncdir", "write", "truncate", "sync"
	Name string // for rename the new name
	From string // rename: the old name
	Off  int64  // truncate: the size
	Data []byte // write
	At   time.Time
}

// note adds to the journal. l.mu is held.
func (l *Layer) note(c Change) {
	if l.Journal {
		c.At = time.Now()
		l.changes = append(l.changes, c)
	}
}

// Changes returns the journal so far.
func (l *Layer) Changes() []Change {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.changes)
}

// inode is a file or folder of a [Replay].
type inode struct {
	dir bool

	data    []byte   // of a file: durable
	pending []change // written since
	names   map[string]*inode
	links   []link            // of a folder: changes of names since its last sync
	visible map[string]*inode // names with links
}

// link is a change of one name in a folder.
type link struct {
	name string
	to   *inode // nil: the name is gone
	with *inode // a folder that must have its last change of the name other first: a rename does not lose the file
	as   string
}

func folderNode() *inode {
	return &inode{dir: true, names: map[string]*inode{}, visible: map[string]*inode{}}
}

// Replay goes through a journal and tells what the disks may hold if the power is cut between two
// changes. What was there before the journal began is durable. Not safe for concurrent use.
type Replay struct {
	changes []Change
	root    *inode
	N       int // changes made
}

// NewReplay begins before the first change, with what lies in the folders now. The layer must not have
// been used yet.
func NewReplay(folders ...string) (*Replay, error) {
	r := &Replay{root: folderNode()}
	for _, dir := range folders {
		err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			n := folderNode()
			if !e.IsDir() {
				n = new(inode)
				if n.data, err = os.ReadFile(p); err != nil {
					return err
				}
			}
			parent := r.folder(filepath.Dir(p))
			parent.names[filepath.Base(p)], parent.visible[filepath.Base(p)] = n, n
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Take sets the journal to go through.
func (r *Replay) Take(changes []Change) { r.changes = changes }

// folder finds a folder by its visible names, making it durable where nobody told of it.
func (r *Replay) folder(path string) *inode {
	n := r.root
	for _, name := range strings.Split(strings.Trim(path, "/"), "/") {
		next := n.visible[name]
		if next == nil {
			next = folderNode()
			n.names[name], n.visible[name] = next, next
		}
		n = next
	}
	return n
}

func (r *Replay) at(path string) *inode {
	return r.folder(filepath.Dir(path)).visible[filepath.Base(path)]
}

// file is at for a file that must be there.
func (r *Replay) file(c Change) *inode {
	n := r.at(c.Name)
	if n == nil {
		panic(fmt.Sprintf("BUG: durabletest: change %d: %s of %s, which is not there", r.N, c.Verb, c.Name))
	}
	return n
}

func (n *inode) link(l link) {
	n.links = append(n.links, l)
	n.visible[l.name] = l.to
	if l.to == nil {
		delete(n.visible, l.name)
	}
}

// commit makes changes of names durable.
func (n *inode) commit(links []link) {
	for _, l := range links {
		if l.to == nil {
			delete(n.names, l.name)
		} else {
			n.names[l.name] = l.to
		}
	}
}

// Step makes the next change. It returns false at the end.
func (r *Replay) Step() (Change, bool) {
	if r.N >= len(r.changes) {
		return Change{}, false
	}
	c := r.changes[r.N]
	r.N++
	dir, base := r.folder(filepath.Dir(c.Name)), filepath.Base(c.Name)
	switch c.Verb {
	case "create":
		dir.link(link{name: base, to: new(inode)})
	case "mkdir":
		dir.link(link{name: base, to: folderNode()})
	case "rename":
		from, old := r.folder(filepath.Dir(c.From)), filepath.Base(c.From)
		dir.link(link{name: base, to: from.visible[old]})
		from.link(link{name: old, with: dir, as: base})
	case "remove":
		dir.link(link{name: base})
	case "syncdir":
		n := r.folder(c.Name)
		for _, l := range n.links {
			if l.with != nil && l.with != n {
				l.with.commitName(l.as)
			}
		}
		n.commit(n.links)
		n.links = nil
	case "write":
		n := r.file(c)
		n.pending = append(n.pending, change{c.Off, c.Data})
	case "truncate":
		n := r.file(c)
		n.pending = append(n.pending, change{off: c.Off})
	case "sync":
		n := r.file(c)
		for _, p := range n.pending {
			n.data = p.on(n.data)
		}
		n.pending = nil
	}
	return c, true
}

// commitName makes the changes of one name durable.
func (n *inode) commitName(name string) {
	var rest []link
	for _, l := range n.links {
		if l.name == name {
			n.commit([]link{l})
		} else {
			rest = append(rest, l)
		}
	}
	n.links = rest
}

// Fate decides what a cut leaves of what was not synced.
type Fate interface {
	names(links []link) []link
	bytes(n *inode) []byte
}

// Fate of a fixed kind: LoseAll loses changes of names too, the others keep them.
func (l Loss) names(links []link) []link {
	if l == LoseAll {
		return nil
	}
	return links
}

func (l Loss) bytes(n *inode) []byte { return (&node{data: n.data, pending: n.pending}).after(l) }

// Scramble is a [Fate] that keeps any subset of the unsynced changes, in any order the disk may have
// chosen, sector by sector.
type Scramble struct{ Rand *rand.Rand }

func (s Scramble) names(links []link) (kept []link) {
	for _, l := range links {
		if s.Rand.IntN(2) == 0 {
			kept = append(kept, l)
		}
	}
	return kept
}

func (s Scramble) bytes(n *inode) []byte {
	b := slices.Clone(n.data)
	for _, c := range n.pending {
		switch fate := s.Rand.IntN(5); {
		case fate == 0: // lost
		case fate == 1 || c.data == nil:
			b = c.on(b)
		case fate == 2: // torn
			b = change{c.off, c.data[:s.Rand.IntN(len(c.data)+1)/Sector*Sector]}.on(b)
		default:
			b = s.sectors(b, c, fate == 3)
		}
	}
	return b
}

// sectors writes some of the sectors of a change. With grown the file has its new size, and zeros where
// no sector came; else it ends with the last one that did.
func (s Scramble) sectors(b []byte, c change, grown bool) []byte {
	if end := c.off + int64(len(c.data)); grown && end > int64(len(b)) {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	for from := c.off; from < c.off+int64(len(c.data)); {
		to := min((from/Sector+1)*Sector, c.off+int64(len(c.data)))
		if s.Rand.IntN(2) == 0 {
			b = change{from, c.data[from-c.off : to-c.off]}.on(b)
		}
		from = to
	}
	return b
}

// Cut lays out in the empty folder to what may be below from after a power cut now.
func (r *Replay) Cut(from, to string, fate Fate) error {
	kept := map[*inode]map[string]*inode{}
	r.root.survive(fate, kept)
	n := r.root
	for _, name := range strings.Split(strings.Trim(from, "/"), "/") {
		if n = kept[n][name]; n == nil {
			return os.MkdirAll(to, 0o755)
		}
	}
	return n.layOut(to, fate, kept)
}

// survive decides the names of each folder, once, and those a surviving rename needs.
func (n *inode) survive(fate Fate, kept map[*inode]map[string]*inode) {
	if !n.dir || kept[n] != nil {
		return
	}
	m := maps.Clone(n.names)
	kept[n] = m
	links := fate.names(n.links)
	after := &inode{names: m}
	after.commit(links)
	for _, c := range n.visible {
		c.survive(fate, kept)
	}
	for _, c := range n.names {
		c.survive(fate, kept)
	}
	for _, l := range links {
		if l.with == nil {
			continue
		}
		l.with.survive(fate, kept)
		if to := l.with.visible[l.as]; to != nil {
			kept[l.with][l.as] = to
		}
	}
}

func (n *inode) layOut(to string, fate Fate, kept map[*inode]map[string]*inode) error {
	if !n.dir {
		return os.WriteFile(to, fate.bytes(n), 0o644)
	}
	all := os.MkdirAll(to, 0o755)
	for _, name := range slices.Sorted(maps.Keys(kept[n])) {
		all = errors.Join(all, kept[n][name].layOut(filepath.Join(to, name), fate, kept))
	}
	return all
}

// Durable returns the bytes of a file that no cut now can take away, nil if its name can be lost.
func (r *Replay) Durable(path string) []byte {
	n := r.root
	for _, name := range strings.Split(strings.Trim(path, "/"), "/") {
		if n = n.names[name]; n == nil {
			return nil
		}
	}
	return n.data
}

// Visible returns the bytes of a file as its writer sees them, nil if there is none.
func (r *Replay) Visible(path string) []byte {
	n := r.at(path)
	if n == nil {
		return nil
	}
	return LoseNone.bytes(n)
}
