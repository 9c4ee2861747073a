package evidence

import (
	"bytes"
	"crypto/ecdsa"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
)

var (
	generationName = regexp.MustCompile(`^([0-9a-f]{16}){1,2}$`)
	deviceName     = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// ledgerCopy is one copy of a device ledger as found, and what it says about sessions.
type ledgerCopy struct {
	fsys fs.FS // its folder
	path string
	gen  string // G, the folder's name
	data []byte
	err  error // why it could not be read

	noted  []notedState // checkpoints that lie beside it, largest first, not judged yet
	office string       // D of the office's folder it lies in, "" elsewhere

	log      *signedLog
	device   string
	keys     []*ecdsa.PublicKey // known to sign this ledger
	begin    Generation
	nv       int64  // highest count of the TPM
	fell     string // why the counter says that the device was rolled back
	sm2      []Key
	heads    map[string][]Head
	given    map[string]*given
	ends     map[string]end              // how sessions left this device
	amends   map[string]map[int64]string // digests, by session and number
	sessions []string                    // in order of their first head
}

func readLedger(fsys fs.FS, path, gen string) *ledgerCopy {
	l := &ledgerCopy{fsys: fsys, path: path, gen: gen, noted: readNotes(fsys, path)} // a ledger grows: notes first
	if l.data, l.err = readLimited(fsys, "log.jsonl", MaxLog); l.err != nil {
		l.err = uncheckable("ledger: %w", l.err)
	}
	return l
}

// check finds the deciding signature with one of the keys, by device, and reads the covered lines.
func (l *ledgerCopy) check(keys map[string][]*ecdsa.PublicKey) {
	if l.err != nil {
		return
	}
	if !generationName.MatchString(l.gen) {
		l.err = uncheckable("ledger: folder %q is not called by its generation", l.gen)
		return
	}
	for device, pubs := range keys {
		origin := LedgerOrigin(device, l.gen)
		chain := keyChain(origin, l.data, pubs)
		for _, pub := range slices.Concat(reversed(chain), pubs) { // the key named last signs the end
			log, err := decide("ledger "+l.gen, origin, l.data, pub)
			if err == nil {
				l.log, l.device, l.keys = log, device, chain
				if !containsKey(chain, pub) {
					l.keys = []*ecdsa.PublicKey{pub}
				}
				l.err = l.read()
				return
			}
		}
	}
	l.err = uncheckable("ledger: no signature holds with the certificates at hand (%d devices)", len(keys))
}

// keyChain returns the keys that a ledger's `key` lines hand the signing over to, the first one before
// them; nil if there are none. A key line counts when a sign line behind it holds with a key known before.
func keyChain(origin string, log []byte, known []*ecdsa.PublicKey) (chain []*ecdsa.PublicKey) {
	if !bytes.Contains(log, []byte(`"type":"key"`)) {
		return nil
	}
	var tree Tree
	var named []*ecdsa.PublicKey
	for {
		raw, rest, ok := lineAt(log)
		if !ok {
			return chain
		}
		log = rest
		line, err := ParseLine(raw)
		if err != nil {
			return chain
		}
		if line.Type == "key" {
			if pub := signingKey(line); pub != nil {
				named = append(named, pub)
			}
		}
		var s Sign
		if line.Type == "sign" && len(named) > 0 && line.Decode(&s) == nil && s.Size == tree.Size() && s.Root == tree.Root().String() {
			for _, k := range slices.Concat(chain, known) {
				if VerifySig(k, origin, s.Size, tree.Root(), s.Sig) != nil {
					continue
				}
				if chain == nil {
					chain = []*ecdsa.PublicKey{k}
				}
				chain, named = append(chain, named...), nil
				break
			}
		}
		tree.Append(raw)
	}
}

// signingKey returns the key that a `key` line with use "sign" names, nil if it names none.
func signingKey(line Line) *ecdsa.PublicKey {
	var k Key
	if line.Decode(&k) != nil || k.Use != "sign" {
		return nil
	}
	spki, err := strictBase64(k.SPKI)
	if err != nil {
		return nil
	}
	pub, err := publicSPKI(spki)
	if err != nil {
		return nil
	}
	return pub
}

func containsKey(keys []*ecdsa.PublicKey, pub *ecdsa.PublicKey) bool {
	return slices.ContainsFunc(keys, func(k *ecdsa.PublicKey) bool { return k.Equal(pub) })
}

func reversed[T any](s []T) []T {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}

func (l *ledgerCopy) read() error {
	l.heads, l.given = make(map[string][]Head), make(map[string]*given)
	l.ends = make(map[string]end)
	l.amends = make(map[string]map[int64]string)
	err := l.log.each(func(n, off int64, line Line) error {
		if line.Type != "sign" && line.Seq != n {
			return fmt.Errorf("ledger: line %d: seq is %d", n, line.Seq)
		}
		if (n == 0) != (line.Type == "generation") {
			return fmt.Errorf("ledger: line %d: %q", n, line.Type)
		}
		return l.line(line)
	})
	if err != nil {
		return uncheckable("%w", err)
	}
	return nil
}

func (l *ledgerCopy) line(line Line) error {
	switch line.Type {
	case "generation":
		return line.Decode(&l.begin)
	case "boot":
		var b Boot
		if err := line.Decode(&b); err != nil {
			return err
		}
		if b.NV < l.nv && l.fell == "" {
			l.fell = fmt.Sprintf("line %d: the TPM's counter falls from %d to %d: an older image of the device was put back", line.Seq, l.nv, b.NV)
		}
		l.nv = max(l.nv, b.NV)
	case "key":
		var k Key
		if err := line.Decode(&k); err != nil {
			return err
		}
		if k.Use == "sm2" {
			l.sm2 = append(l.sm2, k)
		}
	case "head":
		var h Head
		if err := line.Decode(&h); err != nil {
			return err
		}
		if l.heads[h.Session] == nil {
			l.sessions = append(l.sessions, h.Session)
		}
		l.heads[h.Session] = append(l.heads[h.Session], h)
	case "sealed", "lost":
		var of struct {
			Session string `json:"session"`
		}
		if err := line.Decode(&of); err != nil {
			return err
		}
		if l.given[of.Session] == nil {
			l.given[of.Session] = new(given)
		}
		if line.Type == "lost" {
			delete(l.amends, of.Session) // they went with it
		}
		return l.given[of.Session].take(line)
	case "amend":
		var r AmendRef
		if err := line.Decode(&r); err != nil {
			return err
		}
		if l.amends[r.Session] == nil {
			l.amends[r.Session] = make(map[int64]string)
		}
		if l.amends[r.Session][r.N] == "" { // the first holds
			l.amends[r.Session][r.N] = r.SHA256
		}
	case "archived":
		var a Archived
		if err := line.Decode(&a); err != nil {
			return err
		}
		if l.ends[a.Session].kind == "" {
			l.ends[a.Session] = end{kind: "archived"}
		}
	case "destroying", "destroyed":
		var d Destroy
		if err := line.Decode(&d); err != nil {
			return err
		}
		l.ends[d.Session] = end{line.Type, d.Appraisal}
	}
	return nil
}

// result tells what the ledger itself looks like.
func (l *ledgerCopy) result() LedgerResult {
	r := LedgerResult{Path: l.path, Sessions: len(l.sessions)}
	if l.err != nil {
		r.Unchecked = l.err.Error()
		return r
	}
	r.Origin, r.Lines = l.log.origin, l.log.Size+1
	if _, _, cause := l.log.beyond(false); cause != "" {
		r.Finding, r.Cause = FindingAltered, cause
	} else if l.fell != "" {
		r.Finding, r.Cause = FindingAltered, l.fell
	} else if l.log.End < int64(len(l.data)) {
		r.Notes = append(r.Notes, fmt.Sprintf("%d bytes behind the last signature are not signed", int64(len(l.data))-l.log.End))
	}
	return r
}

// against does steps V13 and V14: the session is the one whose states the ledger kept.
func (c *copyCheck) against(l *ledgerCopy) {
	if l.log == nil || c.pub == nil || len(c.logs) == 0 || l.log.origin != ledgerOf(c.open.Origin) {
		return
	}
	if !containsKey(l.keys, c.pub) {
		c.found(FindingForeign, "device.pem", "is the certificate of a key that the device's ledger "+l.path+" never named")
	}
	if c.res.SM2 != nil && !c.res.SM2.Named {
		c.res.SM2.Named = slices.ContainsFunc(l.sm2, c.res.SM2.is)
	}
	if len(l.heads[c.id]) == 0 {
		c.note("the ledger %s does not name this session", l.path)
	}
	g := l.given[c.id]
	if g == nil {
		g = new(given)
	}
	s := g.standing(c.manifest)
	for _, h := range l.heads[c.id] {
		if other, gap := c.other(h, &s); other {
			if gap {
				c.gaveUp(&s)
			}
			continue
		}
		if !c.head(h) {
			break // one is enough: later heads repeat it
		}
	}
	switch {
	case s.sealLost():
		c.gaveUp(&s)
	case s.seal != nil:
		if c.sealedWith(*s.seal); len(s.seals) > 1 && !s.whole {
			c.gaveUp(&s)
		}
	}
	c.amendedIn(l)
}

// head holds one head line against the logs; false if it found something.
func (c *copyCheck) head(h Head) bool {
	for _, log := range c.logs {
		if log.file != h.Log {
			continue
		}
		root, ok := log.signs[h.Size]
		switch {
		case h.Size > log.Size && c.damaged:
			c.found(FindingMissing, h.Log, fmt.Sprintf("only %d of the %d signed lines that the ledger knows still hold here: the rest was changed or cut off; another copy of the session may have it", log.Size, h.Size)).From = c.last
		case h.Size > log.Size:
			c.short = true
			c.found(FindingMissing, h.Log, fmt.Sprintf("this copy ends at %s: the ledger knows %d signed lines, %d are here; the rest should be on another copy: verify both together",
				mediaClock(c.last), h.Size, log.Size)).From = c.last
		case !ok || root != h.Root:
			c.found(FindingAltered, h.Log, fmt.Sprintf("is not the log whose state at %d lines the ledger keeps", h.Size))
		default:
			return true
		}
		return false
	}
	c.found(FindingMissing, h.Log, "the ledger names this log")
	return false
}

// mediaClock writes µs of media time as h:mm:ss.mmm.
func mediaClock(us int64) string {
	ms := us / 1000
	return fmt.Sprintf("%d:%02d:%02d.%03d", ms/3_600_000, ms/60_000%60, ms/1000%60, ms%1000)
}

func ledgerOf(sessionOrigin string) string {
	m := originForm.FindStringSubmatch(sessionOrigin)
	return LedgerOrigin(m[1], m[2])
}

// prefix tells whether one ledger copy's signed bytes begin the other's.
func (l *ledgerCopy) prefix(of *ledgerCopy) bool {
	return bytes.HasPrefix(of.data, l.data[:l.log.End]) || bytes.HasPrefix(l.data, of.data[:of.log.End])
}
