package evidence

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// outside is what outsiders' words do for one copy of a session.
type outside struct {
	keys   []*ecdsa.PublicKey      // of the device: that of the session, and those its ledger names after it
	proofs map[string]OutsideProof // by digest: what `open` and `anchor` lines name
	over   map[string][]outsideAt  // by log: what anchors states of it
	wrong  map[string]bool         // logs that some anchor contradicts: once is enough
	seals  map[int64]*sealedAt     // `sealed` lines by number
	stands standing                // which of them counts, and what was given up
	seal   []OutsideProof          // over that line, or over the manifest's signature
	sealed bool                    // that line is there, fits, and has an outside time
	sm2    []Key                   // key lines with use "sm2"
	amends map[int64]string        // digests by number
	unused map[string]*unusedProof // by reason
	here   map[string]bool         // digests of the tokens and cosignatures in tokens/, trusted or not
}

// outsideAt is the outsiders' word that lines below size were there.
type outsideAt struct {
	size   int64
	proofs []OutsideProof
}

// sealedAt is a `sealed` line with the outsiders' words on it.
type sealedAt struct {
	line   Sealed
	file   string
	proofs []OutsideProof
}

// unusedProof counts outside proofs that this trust cannot judge.
type unusedProof struct {
	file string // the first
	n    int
}

// named is a `open` or `anchor` line's word that an outside proof was known when it was written.
type named struct {
	log    *signedLog
	line   int64
	digest string
}

// anchors reads tokens/ (V2, V13, V14, V19). An anchor that is false for everybody is foreign; a token
// or cosignature that this trust cannot judge is left out, and a note tells.
func (c *copyCheck) anchors() {
	c.out = outside{keys: []*ecdsa.PublicKey{c.pub}, proofs: make(map[string]OutsideProof), over: make(map[string][]outsideAt),
		here: make(map[string]bool), wrong: make(map[string]bool), seals: make(map[int64]*sealedAt), amends: make(map[int64]string), unused: make(map[string]*unusedProof)}
	waiting := make(map[string]*AnchorFile)
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		if isAnchorName(name) {
			if a := c.readAnchor(name); a != nil {
				waiting[name] = a
			}
		}
	}
	c.out.stands = standingIn(c.id, waiting, c.manifest)
	for progress := true; progress; { // an anchor by the old key may hold the line that names the new one
		progress = false
		for _, name := range slices.Sorted(maps.Keys(waiting)) {
			if c.signedAnchor(waiting[name]) {
				c.anchor(name, waiting[name])
				delete(waiting, name)
				progress = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(waiting)) {
		c.found(FindingForeign, name, "its checkpoint is not signed by this device's key")
	}
	c.sealTimes()
	c.namedAndGone()
	for _, reason := range slices.Sorted(maps.Keys(c.out.unused)) {
		u := c.out.unused[reason]
		c.note("outside proof not used, %s (first of %d in %s)", reason, u.n, u.file)
	}
}

// namedAndGone notes the outside proofs that signed lines name and that tokens/ does not hold.
func (c *copyCheck) namedAndGone() {
	gone, first := make(map[string]bool), named{}
	for _, n := range c.named {
		if !c.out.here[n.digest] && !gone[n.digest] {
			if gone[n.digest] = true; len(gone) == 1 {
				first = n
			}
		}
	}
	if len(gone) > 0 {
		c.note("outside proofs are missing: the log names %d that are not in tokens/, not added yet or taken away (first: line %d of %s)", len(gone), first.line, first.log.file)
	}
}

// readAnchor reads one file; nil if it is foreign.
func (c *copyCheck) readAnchor(name string) *AnchorFile {
	c.known[name] = true
	b, err := readLimited(c.fsys, name, MaxAnchor)
	if err != nil {
		c.found(FindingForeign, name, "no anchor: "+err.Error())
		return nil
	}
	a, err := ParseAnchor(b)
	if err != nil {
		c.found(FindingForeign, name, "no anchor: "+err.Error())
		return nil
	}
	gen, ok := strings.CutPrefix(a.Checkpoint.Origin, "minglu/"+c.device+"/")
	switch {
	case name != AnchorName(a.Checkpoint.Size):
		c.found(FindingForeign, name, "no anchor of this name: it is over a state of "+fmt.Sprint(a.Checkpoint.Size)+" lines")
	case !ok || !generationName.MatchString(gen):
		c.found(FindingForeign, name, "no anchor of this device's ledger: "+a.Checkpoint.Origin)
	default:
		return a
	}
	return nil
}

func (c *copyCheck) signedAnchor(a *AnchorFile) bool {
	return slices.ContainsFunc(c.out.keys, func(k *ecdsa.PublicKey) bool { return a.Checkpoint.Verify(k) == nil })
}

// anchor takes what an anchor signed by the device says.
func (c *copyCheck) anchor(name string, a *AnchorFile) {
	proofs, notes, err := c.v.o.Trust.Outside(a)
	if err != nil {
		c.found(FindingForeign, name, "no anchor: "+err.Error())
		return
	}
	for _, n := range notes {
		u := c.out.unused[n]
		if u == nil {
			u = &unusedProof{file: name}
			c.out.unused[n] = u
		}
		u.n++
	}
	for _, p := range proofs {
		c.out.proofs[p.SHA256] = p
	}
	if len(a.Token) > 0 {
		c.out.here[digestOf(a.Token)] = true
	}
	for _, l := range a.Cosignatures {
		if s, err := ParseCosignature(l); err == nil {
			c.out.here[s.SHA256()] = true
		}
	}
	c.shown = append(c.shown, notedState{a.Checkpoint, c.path + "/" + name})
	if a.Checkpoint.Origin != ledgerOf(c.open.Origin) {
		return // of an earlier generation: it can only be named, not hold lines of this session
	}
	for _, l := range a.Lines {
		line, err := ParseLine(l.Line)
		if err == nil {
			err = c.anchored(name, line, proofs)
		}
		if err != nil {
			c.found(FindingAltered, name, fmt.Sprintf("line %d of the ledger: %v", l.Index, err))
		}
	}
}

// anchored takes one line of the ledger that an anchor proves, with the outsiders' words on it.
func (c *copyCheck) anchored(name string, line Line, proofs []OutsideProof) error {
	switch line.Type {
	case "head":
		var h Head
		if err := line.Decode(&h); err != nil || h.Session != c.id {
			return err
		}
		if other, gap := c.other(h, &c.out.stands); other {
			if gap {
				c.gaveUp(&c.out.stands)
			}
			return nil
		}
		if !c.out.wrong[h.Log] {
			c.out.wrong[h.Log] = !c.head(h)
			c.out.over[h.Log] = append(c.out.over[h.Log], outsideAt{h.Size, proofs})
		}
	case "sealed":
		var s Sealed
		if err := line.Decode(&s); err != nil || s.Session != c.id {
			return err
		}
		at := c.out.seals[s.Seq]
		if at == nil {
			at = &sealedAt{line: s, file: name}
			c.out.seals[s.Seq] = at
		}
		at.proofs = append(at.proofs, proofs...)
	case "amend":
		var r AmendRef
		if err := line.Decode(&r); err != nil || r.Session != c.id {
			return err
		}
		c.amendmentNamed(r)
	case "key":
		return c.keyNamed(line)
	}
	return nil
}

// keyNamed takes a key line of the ledger, signed by a key known before it.
func (c *copyCheck) keyNamed(line Line) error {
	var k Key
	if err := line.Decode(&k); err != nil {
		return err
	}
	if k.Use == "sm2" {
		c.out.sm2 = append(c.out.sm2, k)
	}
	if pub := signingKey(line); pub != nil && !containsKey(c.out.keys, pub) {
		c.out.keys = append(c.out.keys, pub)
	}
	return nil
}

// sealTimes holds the `sealed` line of the anchors that counts against the manifest (V14), and takes
// manifest.json.tsr, the token over the manifest's signature.
func (c *copyCheck) sealTimes() {
	switch s := &c.out.stands; {
	case s.sealLost():
		c.gaveUp(s)
	case s.seal != nil:
		if at := c.out.seals[s.seal.Seq]; at != nil && c.sealedWith(at.line) {
			c.out.seal, c.out.sealed = at.proofs, len(at.proofs) > 0
		}
		if len(s.seals) > 1 && !s.whole {
			c.gaveUp(s)
		}
	}
	if p, ok := c.tokenOver("manifest.json.tsr", c.p7s); ok {
		c.out.seal = append(c.out.seal, p)
	}
}

// tokenOver reads a .tsr file over the bytes of a .p7s file; ok if it is there, holds and is trusted.
func (c *copyCheck) tokenOver(name string, p7s []byte) (p OutsideProof, ok bool) {
	der, err := c.optional(name, MaxDER)
	if err == nil && (der == nil || p7s == nil) {
		return p, false // nothing there; or over nothing, then listing calls it foreign
	}
	c.known[name] = true
	var info TokenInfo
	if err == nil {
		info, err = c.v.o.Trust.Token(der, sha256.Sum256(p7s))
	}
	switch {
	case errors.Is(err, ErrUntrusted):
		c.note("%s: outside proof not used, %v", name, err)
		return p, false
	case err != nil:
		c.found(FindingAltered, name, fmt.Sprintf("is no token over the signature beside it: %v", err))
		return p, false
	}
	return OutsideProof{Time: info.Time, By: info.TSA, SHA256: info.SHA256}, true
}

// earliest returns the earliest of the proofs, zero if there are none.
func earliest(proofs []OutsideProof) (at OutsideProof) {
	for _, p := range proofs {
		if at.Time.IsZero() || p.Time.Before(at.Time) {
			at = p
		}
	}
	return at
}

// judgedAt is the time T of V18: the earliest outside time over the seal, else what the session claims.
func (c *copyCheck) judgedAt() time.Time {
	if p := earliest(c.out.seal); !p.Time.IsZero() {
		return p.Time
	}
	if c.closed != nil {
		return time.UnixMicro(c.sealedAt())
	}
	return time.UnixMicro(c.open.T)
}

// sealedWith does V14: a `sealed` line against manifest and signature.
func (c *copyCheck) sealedWith(s Sealed) bool {
	good := true
	for _, f := range []struct {
		name, want string
		data       []byte
	}{{"manifest.json", s.Manifest, c.manifest}, {"manifest.json.p7s", s.P7S, c.p7s}} {
		d := sha256.Sum256(f.data)
		switch {
		case f.data == nil && c.short:
			c.found(FindingMissing, f.name, "the ledger says the session was sealed with it: it should be on the copy that has the rest").From = c.last
		case f.data == nil:
			c.found(FindingMissing, f.name, "the ledger says the session was sealed with it")
		case hex.EncodeToString(d[:]) != f.want:
			c.found(FindingAltered, f.name, "is not the one that the ledger says the session was sealed with")
		default:
			continue
		}
		good = false
	}
	return good
}

// interval is what outside times say of one line: it was written after lower and before upper.
type interval struct {
	lower, upper, cosigned time.Time // zero: nobody says
}

// intervals answers for the lines of one log, asked in rising order.
type intervals struct {
	over   []outsideAt // by size
	upper  []time.Time // upper[k]: earliest time over over[k:]
	cosign []time.Time
	named  []named // of this log, by line
	lower  time.Time
	proofs map[string]OutsideProof
}

// newIntervals prepares a log; lower is what was known before its first line.
func (c *copyCheck) newIntervals(log *signedLog, lower time.Time) *intervals {
	n := &intervals{over: slices.Clone(c.out.over[log.file]), lower: lower, proofs: c.out.proofs}
	slices.SortStableFunc(n.over, func(a, b outsideAt) int { return int(max(-1, min(1, a.size-b.size))) })
	n.upper, n.cosign = make([]time.Time, len(n.over)+1), make([]time.Time, len(n.over)+1)
	for k := len(n.over) - 1; k >= 0; k-- {
		n.upper[k], n.cosign[k] = n.upper[k+1], n.cosign[k+1]
		for _, p := range n.over[k].proofs {
			n.upper[k] = sooner(n.upper[k], p.Time)
			if p.Cosig {
				n.cosign[k] = sooner(n.cosign[k], p.Time)
			}
		}
	}
	for _, m := range c.named {
		if m.log == log {
			n.named = append(n.named, m)
		}
	}
	return n
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// at returns the interval of a line. U: the earliest word over a state that has the line. L: the latest
// word named at or before it.
func (n *intervals) at(line int64) interval {
	for len(n.named) > 0 && n.named[0].line <= line {
		if p, ok := n.proofs[n.named[0].digest]; ok && p.Time.After(n.lower) {
			n.lower = p.Time
		}
		n.named = n.named[1:]
	}
	k, _ := slices.BinarySearchFunc(n.over, line, func(o outsideAt, line int64) int {
		if o.size > line {
			return 1
		}
		return -1
	})
	return interval{n.lower, n.upper[k], n.cosign[k]}
}
