package recovery

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minglu/agent/evidence"
)

// maxFragmentBytes is the largest fragment read, evidence-format.md V1.
const maxFragmentBytes = 64 << 20

// Why something went to aside/, evidence-format.md R8.
const (
	torn   = "torn"   // zeros or an incomplete box or line
	beyond = "beyond" // whole, but outside what may be accepted
)

// plan is what must be done to the files of the usable copies. Making it writes nothing, and making it
// again after a cut in its execution gives what is left of it.
type plan struct {
	pieces   []piece
	targets  []*target
	accepted []accepted // in the order of the recovery file
}

// piece is bytes of one copy that go to aside/.
type piece struct {
	c        *replica
	file     string
	off, len int64
	whole    bool // the file itself goes
	stray    bool // to tmp/superseded-S: a signed file holds something else for its place
	why      string
}

// target is what a segment file must be on every copy.
type target struct {
	seg   *segment
	end   int64 // length; -1: nobody has it whole, nothing is completed
	spans []span
	alone map[*replica]bool // copies whose file is damaged: left alone
}

// span tells which copy holds the target's bytes up to an offset.
type span struct {
	c   *replica
	end int64
}

type accepted struct {
	seg   *segment
	line  evidence.Fragment
	holes []evidence.Gap // before the fragment
}

// file is one copy's segment file, opened for reading.
type file struct {
	c    *replica
	f    *os.File // nil if there is none
	size int64    // 0 if there is none
	ok   int64    // signed bytes from the start that are there and right
	bad  string   // not "": its signed bytes are wrong, in words
}

func (j *job) plan(st *state) (*plan, error) {
	p := &plan{pieces: st.strays}
	for _, c := range j.copies {
		if n := int64(len(c.log)); n > c.tail {
			why := torn
			if t := c.log[c.tail:]; t[len(t)-1] == '\n' {
				why = beyond
			}
			p.pieces = append(p.pieces, piece{c: c, file: "log.jsonl", off: c.tail, len: n - c.tail, why: why})
		}
	}
	for _, s := range st.segments {
		if err := j.planSegment(st, p, s); err != nil {
			return nil, fmt.Errorf("%s: %w", s.File, err)
		}
	}
	return p, j.planStrangers(st, p)
}

func (j *job) planSegment(st *state, p *plan, s *segment) error {
	var files []*file
	defer func() {
		for _, f := range files {
			if f.f != nil {
				f.f.Close()
			}
		}
	}()
	for _, c := range j.copies {
		f, size, err := openFile(c.path(s.File))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("disk %s: %w", c.disk.ID, err)
		}
		files = append(files, &file{c: c, f: f, size: size})
	}
	t := &target{seg: s, alone: map[*replica]bool{}}
	p.targets = append(p.targets, t)
	if s.closed != nil && !slices.ContainsFunc(files, func(f *file) bool { return f.size != s.closed.Size }) {
		t.end, t.spans = s.closed.Size, []span{{files[0].c, s.closed.Size}}
		return nil // the common case costs no reading
	}
	for _, f := range files {
		f.check(s)
	}
	ref := reference(files, s.end())
	if ref == nil {
		t.end = -1
		j.note("%s: its signed media is on no disk", s.File)
		return nil
	}
	for _, f := range files {
		if f.bad != "" && f != ref {
			t.alone[f.c] = true
		}
		if f.bad != "" {
			j.note("disk %s: %s: %s", f.c.disk.ID, s.File, f.bad)
		}
	}
	t.end, t.spans = s.end(), []span{{ref.c, s.end()}}
	if ch := st.channels[s.Ch]; ch.last == s && s.closed == nil && !st.sealed && !st.paused && st.ended == nil && ref.bad == "" {
		if err := j.accept(st, p, t, files); err != nil {
			return err
		}
	}
	return j.tails(p, t, files)
}

// check finds out how much of the signed part of the file is there and right. A wrong byte in what this
// disk's own log signs is damage; beyond that it is a tail the disk had not written to the end.
func (f *file) check(s *segment) {
	if f.f == nil {
		return
	}
	init := make([]byte, min(s.InitLen, 1<<20)) // V1: moov 1 MiB
	if f.size >= s.InitLen {
		_, err := io.ReadFull(io.NewSectionReader(f.f, 0, f.size), init)
		if err != nil || digest(init) != s.Init {
			f.wrong(s.Seq, "init is altered")
			return
		}
	}
	if f.size < s.InitLen+s.Reserve {
		return
	}
	f.ok = s.InitLen + s.Reserve
	for _, fr := range s.frags {
		if fr.Off != f.ok || fr.Off+fr.Len > f.size || fr.Len > maxFragmentBytes {
			return
		}
		b := make([]byte, fr.Len)
		_, err := f.f.ReadAt(b, fr.Off)
		if err != nil || !covered(b, fr) {
			f.wrong(fr.Seq, fmt.Sprintf("fragment %d is altered", fr.N))
			return
		}
		f.ok += fr.Len
	}
}

func (f *file) wrong(seq int64, what string) {
	if seq < f.c.dec.Size {
		f.bad = what
	}
}

// covered tells whether b is the moof and mdat the line names.
func covered(b []byte, fr evidence.Fragment) bool {
	head, total, ok := boxes(b)
	return ok && total == int64(len(b)) && digest(b[:head]) == fr.Head && digest(b[head:]) == fr.Body
}

// reference picks the file the others are completed from: the first that has all of it right, else that
// of the source, if it is at least long enough.
func reference(files []*file, end int64) *file {
	for _, f := range files {
		if f.ok >= end {
			return f
		}
	}
	if files[0].size >= end {
		return files[0]
	}
	return nil
}

// accept takes whole fragments after the last signed one (R7).
func (j *job) accept(st *state, p *plan, t *target, files []*file) error {
	s, ch := t.seg, st.channels[t.seg.Ch]
	files = slices.DeleteFunc(slices.Clone(files), func(f *file) bool { return f.ok < s.end() })
	prev, err := before(files[0].f, s)
	if err != nil {
		j.note("%s: nothing accepted: %v", s.File, err)
		return nil
	}
	prev.to = max(prev.to, ch.to)
	var total int64
	for n := ch.n; ; n++ {
		w, from := j.candidate(files, s, t.end, prev)
		if w == nil || w.before(prev) || len(s.frags) == 0 && n == ch.n && w.from < prev.to {
			return nil
		}
		total += w.to - w.from
		if total > j.open.AheadMS*1000 {
			return nil
		}
		a := accepted{seg: s, line: evidence.Fragment{
			Common: evidence.Common{Type: "recovered"}, Ch: s.Ch, Seg: s.Seg, N: n, Off: t.end, Len: int64(len(w.data)),
			Head: digest(w.data[:w.head]), Body: digest(w.data[w.head:]), From: w.from, To: w.to, Samples: w.samples}}
		if hole := w.from - prev.to; 2*hole > 3*w.sample {
			a.holes = st.lost(s.Ch, prev.to, w.from, j.open.AheadMS, "lost with the unsigned end of the log")
		}
		p.accepted = append(p.accepted, a)
		files = slices.DeleteFunc(files, func(f *file) bool { return !f.has(w.data, t.end) }) // what follows there goes to aside/
		t.end += int64(len(w.data))
		t.spans = append(t.spans, span{from, t.end})
		prev = w.then(prev)
	}
}

// has tells whether the file holds b at off.
func (f *file) has(b []byte, off int64) bool {
	if f.size-off < int64(len(b)) {
		return false
	}
	have := make([]byte, len(b))
	_, err := f.f.ReadAt(have, off)
	return err == nil && bytes.Equal(have, b)
}

// candidate reads the fragment at off: the same on all files that have one whole there, or none. Bytes
// of this file already set aside as "beyond" from there were judged before a cut, and stay judged.
func (j *job) candidate(files []*file, s *segment, off int64, prev ends) (w *whole, from *replica) {
	for _, c := range j.copies {
		if m, err := filepath.Glob(filepath.Join(escape(c.path("aside")), fmt.Sprintf("%s@%d-*.%s", s.File, off, beyond))); err != nil || len(m) > 0 {
			return nil, nil
		}
	}
	for _, f := range files {
		one := fragmentAt(f.f, off, f.size, prev)
		if one == nil {
			continue
		}
		if w != nil && !bytes.Equal(w.data, one.data) {
			return nil, nil
		}
		if w == nil {
			w, from = one, f.c
		}
	}
	return w, from
}

// escape keeps a folder's own name from being read as a pattern.
func escape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// tails makes a piece of whatever does not agree with the target.
func (j *job) tails(p *plan, t *target, files []*file) error {
	for _, f := range files {
		if f.f == nil || t.alone[f.c] {
			continue
		}
		keep := min(f.ok, t.end)
		if f.c == t.spans[0].c {
			keep = max(keep, min(t.spans[0].end, f.size))
		}
		keep, err := agree(f, t, files, keep)
		if err != nil {
			return err
		}
		if keep < f.size {
			p.pieces = append(p.pieces, piece{c: f.c, file: t.seg.File, off: keep, len: f.size - keep, why: f.why(keep)})
		}
	}
	return nil
}

// agree tells up to where f holds the target's bytes, keep being known.
func agree(f *file, t *target, files []*file, keep int64) (int64, error) {
	for _, sp := range t.spans {
		ref := files[slices.IndexFunc(files, func(g *file) bool { return g.c == sp.c })]
		for keep < min(sp.end, f.size) {
			n := min(sp.end, f.size, keep+1<<20) - keep
			a, b := make([]byte, n), make([]byte, n)
			if _, err := f.f.ReadAt(a, keep); err != nil {
				return 0, err
			}
			if _, err := ref.f.ReadAt(b, keep); err != nil {
				return 0, err
			}
			same := int64(commonPrefix(a, b))
			keep += same
			if same < n {
				return keep, nil
			}
		}
	}
	return keep, nil
}

// why judges the bytes from off on: beyond if a whole pair of boxes begins there.
func (f *file) why(off int64) string {
	b := make([]byte, min(f.size-off, maxFragmentBytes))
	if _, err := f.f.ReadAt(b, off); err != nil {
		return torn
	}
	if _, total, ok := boxes(b); ok && total <= f.size-off {
		return beyond
	}
	return torn
}

// planStrangers finds media files that no signed line opened (R8).
func (j *job) planStrangers(st *state, p *plan) error {
	for _, c := range j.copies {
		entries, err := os.ReadDir(c.dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := e.Name()
			if !goodName(name) || !e.Type().IsRegular() || slices.ContainsFunc(st.segments, func(s *segment) bool { return s.File == name }) {
				continue
			}
			fi, err := e.Info()
			if err != nil {
				return err
			}
			why, err := whyFile(c.path(name), fi.Size())
			if err != nil {
				return err
			}
			p.pieces = append(p.pieces, piece{c: c, file: name, len: fi.Size(), whole: true, why: why})
		}
	}
	return nil
}

// whyFile judges a whole file: torn if it is zeros.
func whyFile(name string, size int64) (string, error) {
	f, _, err := openFile(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, min(size, 1<<20))
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if len(bytes.TrimLeft(b, "\x00")) == 0 {
		return torn, nil
	}
	return beyond, nil
}

// digestOf reads n bytes from off on through SHA-256.
func digestOf(f io.ReaderAt, off, n int64) (string, error) {
	h := sha256.New()
	got, err := io.Copy(h, io.NewSectionReader(f, off, n))
	if err == nil && got != n {
		err = io.ErrUnexpectedEOF
	}
	return hex.EncodeToString(h.Sum(nil)), err
}
