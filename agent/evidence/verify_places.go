package evidence

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// verifier holds what one run over some places has found.
type verifier struct {
	o       VerifyOptions
	copies  []*copyCheck
	ledgers []*ledgerCopy
	first   map[string][]*ecdsa.PublicKey // keys whose digest is D, from certificates beside an office's ledgers

	whole  bool // a whole disk is among the places: sessions that a ledger names must be here (V16)
	folder bool // a folder of sessions, not a session alone, is among the places
	result Result

	appraisals map[string][]appraisalFile // by SHA-256 of the JSON

	done, total int64 // bytes of media
}

// VerifyPlaces checks several places together: copies of the same session are judged by the best one
// (V17), and every ledger given is held against every session of its device (V13, V14, V16).
func VerifyPlaces(places []Place, o VerifyOptions) Result {
	v := &verifier{o: o, first: make(map[string][]*ecdsa.PublicKey), appraisals: make(map[string][]appraisalFile), result: Result{Require: o.Require, Sessions: []SessionResult{}}}
	for _, p := range places {
		if err := v.gather(p); err != nil {
			v.result.Sessions = append(v.result.Sessions, SessionResult{ID: path.Base(p.Path), Paths: []string{p.Path},
				Spans: []Span{}, Unchecked: err.Error()})
		}
	}
	for _, c := range v.copies {
		c.check()
	}
	v.othersLedgers()
	v.checkLedgers()
	v.judge()
	v.returned()
	v.absent()
	v.namesakes()
	v.unledgered()
	v.result.settle()
	return v.result
}

// gather finds out what a place is. Ledgers are read here, before any session log: what a ledger
// names of a session that is being recorded is then in its log.
func (v *verifier) gather(p Place) error {
	first, isLog, err := firstType(p.FS)
	if err != nil {
		return err
	}
	name := path.Base(p.Path)
	switch {
	case first == "generation":
		v.ledgers = append(v.ledgers, readLedger(p.FS, p.Path, name))
		return nil
	case !isLog && has(p.FS, "bagit.txt"):
		return v.bag(p)
	case isLog || has(p.FS, "manifest.json") || sessionName.MatchString(name):
		v.session(p.FS, p.Path, name)
		return nil
	}
	found := false
	for _, dir := range []string{"ledger", "sessions", "ledgers", "."} {
		if dir == "." && found {
			break
		}
		ok, err := v.folders(p, dir)
		if err != nil {
			return err
		}
		found = found || ok
	}
	return nil
}

// folders takes in the ledgers and sessions that lie in a folder of a place.
func (v *verifier) folders(p Place, dir string) (bool, error) {
	entries, err := fs.ReadDir(p.FS, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("V1: %w", err)
	}
	if len(entries) > MaxFiles {
		return false, fmt.Errorf("V1: %s: %w", dir, errTooMany)
	}
	if dir == "sessions" || dir == "." && path.Base(p.Path) == "sessions" {
		v.whole = true
	}
	if dir == "." {
		v.firstKey(p.FS, path.Base(p.Path))
	}
	for _, e := range entries {
		name, full := path.Join(dir, e.Name()), strings.TrimSuffix(p.Path, "/")+"/"+path.Join(dir, e.Name())
		session := sessionName.MatchString(e.Name())
		switch {
		case !e.IsDir() && dir == "sessions" && !litter(name):
			v.result.Notes = append(v.result.Notes, full+": not a session folder")
		case !e.IsDir():
		case e.Name() == AppraisalsFolder && dir != "sessions":
			if err := v.takeAppraisals(p.FS, name); err != nil {
				return true, err
			}
		case dir != "ledger" && dir != "sessions" && v.office(p.FS, name, full):
		case dir == "ledger" || dir == "." && generationName.MatchString(e.Name()):
			if err := v.ledger(p.FS, name, full); err != nil {
				return true, err
			}
		case session:
			sub, err := fs.Sub(p.FS, name)
			if err != nil {
				return true, fmt.Errorf("V1: %w", err)
			}
			v.folder = true
			v.session(sub, full, e.Name())
		case dir == "sessions":
			v.result.Notes = append(v.result.Notes, full+": not a session folder")
		}
	}
	return dir != ".", nil
}

func (v *verifier) ledger(fsys fs.FS, name, full string) error {
	if !generationName.MatchString(path.Base(name)) {
		v.result.Notes = append(v.result.Notes, full+": a ledger set aside, not checked")
		return nil
	}
	sub, err := fs.Sub(fsys, name)
	if err != nil {
		return fmt.Errorf("V1: %w", err)
	}
	v.ledgers = append(v.ledgers, readLedger(sub, full, path.Base(name)))
	return nil
}

func (v *verifier) session(fsys fs.FS, full, id string) {
	v.copies = append(v.copies, &copyCheck{v: v, fsys: fsys, path: full, id: id})
}

// firstType returns the type of the first line of the place's log.jsonl, if it has one.
func firstType(fsys fs.FS) (string, bool, error) {
	f, err := fsys.Open("log.jsonl")
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("V1: %w", err)
	}
	defer f.Close()
	b := make([]byte, MaxLine+1)
	n, _ := readFull(f, b)
	raw, _, ok := lineAt(b[:n])
	if !ok {
		return "", true, nil
	}
	line, err := ParseLine(raw)
	if err != nil {
		return "", true, nil // the session check says what is wrong with it
	}
	return line.Type, true, nil
}

func has(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

// checkLedgers verifies every ledger with the keys of the sessions given and of the trust anchors.
func (v *verifier) checkLedgers() {
	keys := make(map[string][]*ecdsa.PublicKey)
	add := func(device string, pub *ecdsa.PublicKey) {
		if !slices.ContainsFunc(keys[device], func(k *ecdsa.PublicKey) bool { return k.Equal(pub) }) {
			keys[device] = append(keys[device], pub)
		}
	}
	for device, pubs := range v.first {
		for _, pub := range pubs {
			add(device, pub)
		}
	}
	for _, c := range v.copies {
		if c.pub != nil {
			add(c.device, c.pub)
		}
	}
	if v.o.Trust != nil {
		for _, cert := range slices.Concat(v.o.Trust.Devices, v.o.Trust.Known) {
			if len(cert.URIs) != 1 {
				continue
			}
			device := strings.TrimPrefix(cert.URIs[0].String(), "minglu:")
			if pub, err := deviceCertificate(cert, device); err == nil {
				add(device, pub)
			}
		}
	}
	for _, l := range v.ledgers {
		l.check(keys)
	}
	short, another := v.contradicted()
	for i, l := range v.ledgers {
		r := l.result()
		if cause := another[l]; cause != "" && r.Finding == "" {
			r.Finding, r.Cause = FindingForeign, cause
		}
		if cause := short[r.Origin]; cause != "" && r.Finding == "" {
			r.Finding, r.Cause = FindingMissing, cause
		}
		v.follows(l, &r)
		for _, other := range v.ledgers[:i] {
			if l.log != nil && other.log != nil && l.log.origin == other.log.origin && !l.prefix(other) {
				r.Finding, r.Cause = FindingForeign, "two copies of this ledger tell different stories: see "+other.path
			}
		}
		for _, c := range v.copies {
			c.against(l)
		}
		v.result.Ledgers = append(v.result.Ledgers, r)
	}
}

// judge does step V17: of the copies of one session the best gives the spans.
func (v *verifier) judge() {
	groups := make(map[string][]*copyCheck)
	var order []string
	for _, c := range v.copies {
		c.untold()
		c.place()
		c.res.settle(v.o.Require)
		if groups[c.id] == nil {
			order = append(order, c.id)
		}
		groups[c.id] = append(groups[c.id], c)
	}
	slices.Sort(order)
	for _, id := range order {
		group := groups[id]
		best := slices.MinFunc(group, compareCopies)
		for _, c := range group {
			if c != best {
				best.beside(c)
			}
		}
		v.result.Sessions = append(v.result.Sessions, best.res)
	}
}

// compareCopies is negative if a is the better copy.
func compareCopies(a, b *copyCheck) int {
	rank := [4]int{ExitGood: 0, ExitSound: 1, ExitUnchecked: 3, ExitBad: 2}
	if d := rank[a.res.Exit] - rank[b.res.Exit]; d != 0 {
		return d
	}
	if a.res.Grade != b.res.Grade { // outside proofs may have come to one copy alone
		return b.res.Grade - a.res.Grade
	}
	if a.res.Fragments != b.res.Fragments {
		return int(max(-1, min(1, b.res.Fragments-a.res.Fragments)))
	}
	return int(max(-1, min(1, b.res.Lines-a.res.Lines)))
}

// beside holds another copy of the same session against this one, the best.
func (c *copyCheck) beside(other *copyCheck) {
	c.res.Paths = append(c.res.Paths, other.path)
	switch {
	case len(other.logs) == 0 || len(c.logs) == 0:
		c.note("copy %s is not checkable: %s", other.path, other.res.Unchecked)
		return
	case other.open.Origin != c.open.Origin || !sameStart(c.logs[0], other.logs[0]):
		c.res.Spans = append(c.res.Spans, Span{To: c.last, Finding: FindingForeign, Disk: other.path, File: "log.jsonl",
			Cause: "this copy tells another story under the same name"})
		return
	case c.manifest != nil && other.manifest != nil && string(c.manifest) != string(other.manifest):
		c.res.Spans = append(c.res.Spans, Span{To: c.last, Finding: FindingForeign, Disk: other.path, File: "manifest.json",
			Cause: "this copy was sealed with another manifest"})
		return
	case other.logs[0].Size > c.logs[0].Size:
		c.note("copy %s holds %d signed lines more: a late tail", other.path, other.logs[0].Size-c.logs[0].Size)
	}
	for _, s := range other.res.Spans {
		if s.Finding.bad() {
			c.note("copy %s: %s %s: %s", other.path, s.File, s.Finding, s.Cause)
		}
	}
}

// notAmong says how many sessions a ledger names that are not in the folder given, which may be a choice of
// them: nothing is judged missing, and nobody shall think that nothing is.
func (v *verifier) notAmong(seen map[string]bool) {
	if !v.folder {
		return
	}
	n := 0
	for _, l := range v.ledgers {
		for _, id := range l.sessions {
			if !seen[id] {
				seen[id], n = true, n+1
			}
		}
	}
	if n > 0 {
		v.result.Notes = append(v.result.Notes, fmt.Sprintf("the ledgers name %d sessions that are not in the folder given: give the whole disk, the folder that holds sessions/, to have them judged", n))
	}
}

// absent does step V16: each session that a ledger names is there, or was archived or destroyed.
func (v *verifier) absent() {
	seen := make(map[string]bool)
	for _, c := range v.copies {
		seen[c.id] = true
	}
	if !v.whole {
		v.notAmong(seen)
		return
	}
	for _, l := range v.ledgers {
		for _, id := range l.sessions {
			if seen[id] {
				continue
			}
			seen[id] = true
			s := SessionResult{ID: id, Paths: []string{l.path}, Origin: l.log.origin + "/" + id, Why: "there is nothing to grade"}
			sp := Span{Finding: FindingMissing, Cause: "the ledger names this session, its folder is not here"}
			switch {
			case l.ends[id].kind == "archived":
				v.result.Notes = append(v.result.Notes, "session "+id+" was archived, and is not here")
				continue
			case l.ends[id].kind != "":
				sp = Span{Finding: FindingDestroyed, Cause: v.destroyed(l, id)}
				if l.ends[id].kind == "destroying" {
					s.Notes = append(s.Notes, "the ledger says that its destruction began, not yet that it ended")
				}
			case l.given[id] != nil && l.given[id].lost.Cause != "":
				sp = Span{Finding: FindingGap, Cause: "lost with a disk, a person entered: " + l.given[id].lost.Cause}
			}
			s.Spans = []Span{sp}
			v.result.Sessions = append(v.result.Sessions, s)
		}
	}
}

// namesakes tells where two devices bear one name: each has its own key and D.
func (v *verifier) namesakes() {
	by := make(map[string]string)
	for _, c := range v.copies {
		if c.res.Signer == nil {
			continue
		}
		name := c.res.Signer.Name
		if other := by[name]; other != "" && other != c.device {
			v.result.Notes = append(v.result.Notes, fmt.Sprintf("two devices call themselves %q: minglu:%s and minglu:%s", name, other, c.device))
		}
		by[name] = c.device
	}
}

// progress counts bytes of media read.
func (v *verifier) progress(session, file string, n int64) {
	if v.done += n; v.o.Progress != nil {
		v.o.Progress(Progress{Session: session, File: file, Done: v.done, Total: max(v.done, v.total)})
	}
}
