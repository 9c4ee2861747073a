package recovery

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/fmp4"
)

// Limits on the small files of a session.
const (
	maxPEMBytes      = 64 << 10 // evidence-format.md V1
	maxManifestBytes = 64 << 20
)

// replica is one disk's folder of the session.
type replica struct {
	disk  Disk
	dir   string
	files durable.Files
	log   []byte
	dec   evidence.Deciding // zero: nothing signed
	tail  int64             // offset in log up to which it agrees with the source's signed lines
}

// makeTmp makes the folder for temporary files, on a disk that is there.
func (c *replica) makeTmp() error {
	return errors.Join(c.files.Mkdir(filepath.Dir(c.files.Tmp)), c.files.Mkdir(c.files.Tmp))
}

// load finds the copies that may be used and written to, the source first (R5). Damaged, foreign and
// unreadable ones are noted and left out for good.
func (j *job) load() error {
	var usable []*replica
	damaged := false
	for _, d := range j.o.Disks {
		dir := filepath.Join(d.Dir, "sessions", j.id)
		if fi, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil || !fi.IsDir() {
			j.note("disk %s: the session is no folder: left alone: %v", d.ID, err)
			damaged = true
			continue
		}
		c := &replica{disk: d, dir: dir, files: durable.Files{Layer: j.o.Layer, Tmp: filepath.Join(d.Dir, "tmp", "recovery")}} // its own: the recorder sweeps tmp/
		log, err := readFile(c.path("log.jsonl"), maxLogBytes)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			j.note("disk %s: log cannot be read: left alone: %v", d.ID, err)
			damaged = true
			continue
		}
		c.log = log
		usable = append(usable, c)
	}
	if err := j.judge(usable); err != nil {
		return err
	}
	damaged = damaged || len(j.copies) < len(usable)
	if len(j.copies) == 0 {
		return &stop{Damaged, "no copy can be used: copy the folders to another disk and have them examined"}
	}
	if j.copies[0].dec.End > 0 {
		return nil
	}
	damaged = damaged || slices.ContainsFunc(j.copies, func(c *replica) bool { // they come long after the first signature
		for _, name := range []string{"recovery-1.jsonl", "manifest.json"} {
			if _, err := os.Lstat(c.path(name)); err == nil {
				return true
			}
		}
		return false
	})
	if damaged || j.known.any[j.id] {
		return &stop{Damaged, "its signatures are gone: copy the folders to another disk and have them examined"}
	}
	for _, c := range j.copies {
		if !j.ours(c.disk) {
			return &stop{Foreign, fmt.Sprintf("disk %s holds another device's ledger: it may be that one's: keep it read-only", c.disk.ID)}
		}
	}
	return j.unsigned()
}

// judge fills j.copies from the candidates.
func (j *job) judge(all []*replica) error {
	origin := ""
	for _, c := range all { // the first line that says so; the signatures are checked against it
		first, _, _ := bytes.Cut(c.log, []byte("\n"))
		var open evidence.Open
		if l, err := evidence.ParseLine(first); err == nil && l.Type == "open" && l.Decode(&open) == nil && origin == "" {
			origin, j.open = open.Origin, open
		}
	}
	if origin == "" {
		origin = j.o.Ledger.Origin() + "/" + j.id
	}
	if !strings.HasPrefix(origin, "minglu/"+j.o.Device+"/") || !strings.HasSuffix(origin, "/"+j.id) {
		return &stop{Foreign, fmt.Sprintf("its origin is %.120q: attach the disk to its own device, or keep it read-only", origin)}
	}
	j.pub = j.o.Key.Public().(*ecdsa.PublicKey)
	for _, c := range all {
		if pub := c.key(); pub != nil && !pub.Equal(j.pub) {
			return &stop{Foreign, "it was signed with another key: keep the disk read-only"}
		}
	}
	var err error
	if j.logPub, err = j.open.LogKey(j.pub); err != nil {
		return &stop{Damaged, err.Error() + ": copy the folders to another disk and have them examined"}
	}
	for _, c := range all {
		dec, err := evidence.Decide(c.log, origin, j.logPub)
		switch {
		case err != nil && !errors.Is(err, evidence.ErrUnsigned):
			return fmt.Errorf("disk %s: log: %w", c.disk.ID, err)
		case dec.Damaged >= 0:
			j.note("disk %s: log: line %d is altered and signed lines follow: left alone", c.disk.ID, dec.FirstBad)
			continue
		case err != nil && signs(c.log) > 1: // one may be of the first lines, torn in their middle
			j.note("disk %s: log: no signature in it holds: left alone", c.disk.ID)
			continue
		case err == nil:
			c.dec = dec
		}
		j.copies = append(j.copies, c)
	}
	slices.SortStableFunc(j.copies, func(a, b *replica) int { return cmp.Compare(b.dec.End, a.dec.End) })
	if len(j.copies) == 0 {
		return nil
	}
	src := j.copies[0]
	j.copies = slices.DeleteFunc(j.copies, func(c *replica) bool {
		foreign := !bytes.HasPrefix(src.log, c.log[:c.dec.End])
		if foreign {
			j.note("disk %s: log: its signed lines are not those of disk %s: left alone", c.disk.ID, src.disk.ID)
		}
		c.tail = int64(commonPrefix(c.log, src.log[:src.dec.End]))
		return foreign
	})
	return nil
}

func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// signs counts the whole lines that look like sign lines.
func signs(log []byte) int {
	return bytes.Count(log[:bytes.LastIndexByte(log, '\n')+1], []byte(`"type":"sign"`))
}

// key returns the key of device.pem, nil if that cannot be read.
func (c *replica) key() *ecdsa.PublicKey {
	b, err := readFile(c.path("device.pem"), maxPEMBytes)
	if err != nil {
		return nil
	}
	certs, err := evidence.CertsPEM(b)
	if err != nil || len(certs) == 0 {
		return nil
	}
	pub, _ := certs[0].PublicKey.(*ecdsa.PublicKey)
	return pub
}

// unsigned moves the folders of a session that was cut before its first signature out of sessions/:
// nothing in them is proven, the ledger never heard of them, and a person may still look.
func (j *job) unsigned() error {
	for _, c := range j.copies {
		tmp := filepath.Join(c.disk.Dir, "tmp")
		to := filepath.Join(tmp, "unsigned-"+j.id)
		for n := 2; ; n++ {
			if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
				break
			}
			to = filepath.Join(tmp, fmt.Sprintf("unsigned-%s.%d", j.id, n))
		}
		if err := c.files.Mkdir(tmp); err != nil {
			return err
		}
		if err := c.files.RenameNew(c.dir, to); err != nil {
			return err
		}
		j.note("disk %s: moved to %s", c.disk.ID, to)
	}
	return &stop{Unsigned, "cut before its first signature"}
}

// state is what the signed lines of the session say.
type state struct {
	logs     []evidence.LogFile // log.jsonl cut to its deciding signature, then recovery files
	segments []*segment
	channels map[string]*channel
	paused   bool
	ended    *evidence.Close // the session's own end, if it was signed
	sealed   bool            // the last log ends in seal and sign, and nothing signed is beyond it
	late     bool            // the session was recovered, and then a disk came with more signed lines
	before   *evidence.Close // late: the end it was given
	strays   []piece         // files of copies that lost
	cause    string          // of the last recovery
	aside    map[string]bool
	lastTo   int64 // µs of media time: of the line that ties it to t and up
	lastT    int64
	lastUp   int64

	tied           bool // a clock line was read: media time tiedAt is uptime tiedUp
	tiedAt, tiedUp int64
	signedTo       int64                      // µs of media time: of the last signed line
	faults         map[string]map[string]bool // by channel and code: true while one stands
}

type channel struct {
	to   int64 // µs: up to here fragments, gaps and breaks account for it
	n    int64 // fragments
	last *segment
}

type segment struct {
	evidence.SegmentOpen
	frags  []evidence.Fragment
	closed *evidence.SegmentClose
}

// end is the offset after the last fragment.
func (s *segment) end() int64 {
	if n := len(s.frags); n > 0 {
		return s.frags[n-1].Off + s.frags[n-1].Len
	}
	return s.InitLen + s.Reserve
}

// read takes in the source's signed lines and the recovery files.
func (j *job) read() (*state, error) {
	src := j.copies[0]
	st := &state{channels: map[string]*channel{}, aside: map[string]bool{}, faults: map[string]map[string]bool{}}
	if err := st.add("log.jsonl", src.log[:src.dec.End]); err != nil {
		return nil, err
	}
	j.item.Cause = st.cause
	for n := 1; ; n++ {
		name := fmt.Sprintf("recovery-%d.jsonl", n)
		data, err := j.recoveryFile(st, name, n)
		if err != nil {
			return nil, err
		}
		if data == nil {
			return st, j.whole(st)
		}
		r, err := j.checkRecovery(name, n, data)
		if err != nil {
			return nil, err
		}
		st.late = r.Size < src.dec.Size
		if err := st.add(name, data); err != nil {
			return nil, err
		}
	}
}

// checkRecovery holds a recovery file against its signature and the log it continues.
func (j *job) checkRecovery(name string, n int, data []byte) (r evidence.Recovery, err error) {
	dec, err := evidence.Decide(data, evidence.RecoveryOrigin(j.open.Origin, n), j.pub)
	if err != nil || dec.End != int64(len(data)) || dec.Damaged >= 0 {
		return r, &stop{Damaged, name + " is altered: left alone"}
	}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	l, err := evidence.ParseLine(first)
	if err == nil {
		err = l.Decode(&r)
	}
	if err != nil || l.Type != "recovery" {
		return r, &stop{Damaged, name + " does not begin with a recovery line"}
	}
	if n := j.copies[0].dec.Size; r.Size > n {
		return r, &stop{Waiting, fmt.Sprintf("%s continues %d signed lines, only %d are here: attach the other disk", name, r.Size, n)}
	}
	return r, nil
}

// add takes in the lines of a log file that is known to be whole and signed.
func (st *state) add(name string, data []byte) error {
	st.logs = append(st.logs, evidence.LogFile{File: name, Data: data})
	st.sealed = false
	over := st.late // another recovery file will take its place
	seal := false
	for raw := range bytes.Lines(data) {
		l, err := evidence.ParseLine(bytes.TrimSuffix(raw, []byte("\n")))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		st.sealed = seal && l.Type == "sign" && !over
		seal = l.Type == "seal"
		switch {
		case over && l.Type == "close":
			st.before = new(evidence.Close)
			err = l.Decode(st.before)
		case !over || l.Type == "aside" || l.Type == "recovery":
			err = st.line(l)
		}
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", name, l.Seq, err)
		}
	}
	return nil
}

func (st *state) line(l evidence.Line) error {
	if err := st.moment(l); err != nil {
		return err
	}
	switch l.Type {
	case "open", "clock":
		var c evidence.Clock // at is 0 for open
		if l.Type == "clock" {
			if err := l.Decode(&c); err != nil {
				return err
			}
		}
		if c.At >= st.lastTo {
			st.lastTo, st.lastT, st.lastUp = c.At, l.T, l.Up
		}
		var o evidence.Open
		if l.Type == "open" {
			if err := l.Decode(&o); err != nil {
				return err
			}
		}
		for _, ch := range o.Channels { // one that never comes is lost too
			st.channels[ch] = &channel{}
		}
	case "segment.open":
		s := &segment{}
		if err := l.Decode(&s.SegmentOpen); err != nil {
			return err
		}
		if !goodName(s.File) {
			return fmt.Errorf("segment file name %.80q", s.File)
		}
		if s.InitLen < 16 || s.InitLen > fmp4.MaxInit || s.Reserve < 8 || s.Reserve > evidence.MaxReserve {
			return fmt.Errorf("%s: init_len %d or reserve %d is out of range", s.File, s.InitLen, s.Reserve)
		}
		st.segments = append(st.segments, s)
		if st.channels[s.Ch] == nil {
			st.channels[s.Ch] = &channel{}
		}
		st.channels[s.Ch].last = s
	case "fragment", "recovered":
		var f evidence.Fragment
		if err := l.Decode(&f); err != nil {
			return err
		}
		s := st.segment(f.Ch, f.Seg)
		if s == nil {
			return errors.New("fragment of a segment that was not opened")
		}
		s.frags = append(s.frags, f)
		c := st.channels[f.Ch]
		c.n, c.to = c.n+1, max(c.to, f.To)
		if l.Type == "fragment" && f.To >= st.lastTo {
			st.lastTo, st.lastT, st.lastUp = f.To, l.T, l.Up
		}
	case "segment.close":
		var end evidence.SegmentClose
		if err := l.Decode(&end); err != nil {
			return err
		}
		if s := st.segment(end.Ch, end.Seg); s != nil {
			s.closed = &end
		}
	case "close":
		var c evidence.Close
		if err := l.Decode(&c); err != nil {
			return err
		}
		st.ended = &c
	case "gap":
		var g evidence.Gap
		if err := l.Decode(&g); err != nil {
			return err
		}
		if c := st.channels[g.Ch]; c != nil && !strings.HasPrefix(g.Cause, "sound: ") { // those are of one track
			c.to = max(c.to, g.To)
		}
	case "pause", "resume":
		var p evidence.Pause
		if err := l.Decode(&p); err != nil {
			return err
		}
		st.paused = l.Type == "pause"
		for _, c := range st.channels {
			c.to = max(c.to, p.At)
		}
	case "aside":
		var a evidence.Aside
		if err := l.Decode(&a); err != nil {
			return err
		}
		st.aside[a.File] = true
	case "recovery":
		var r evidence.Recovery
		if err := l.Decode(&r); err != nil {
			return err
		}
		st.cause = r.Cause
	}
	return nil
}

func (st *state) segment(ch string, seg int64) *segment {
	for _, s := range slices.Backward(st.segments) {
		if s.Ch == ch && s.Seg == seg {
			return s
		}
	}
	return nil
}

// goodName keeps a name from the log inside the session folder.
func goodName(s string) bool {
	return s != "" && s[0] != '.' && !strings.ContainsAny(s, "/\\\x00") && filepath.Ext(s) == ".mp4"
}

func digest(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
