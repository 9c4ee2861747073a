package notary

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"minglu/agent/evidence"
)

const (
	deliverEvery = time.Hour        // a look at the disks without a reason
	deliverAgain = 10 * time.Minute // after a disk failed
	lateWithin   = time.Hour        // so long after a session is complete it may get more
	throughAge   = 72 * time.Hour   // younger sessions are looked at at each start: one may be sealed late
)

// maxAfter is how many anchors after a session's end are looked at for a witness that answers late.
const maxAfter = 24

// Names in a session folder.
const (
	signatureFile = "manifest.json.p7s"
	tokenFile     = "manifest.json.tsr"
)

// owed is one sealed session and the lines of the ledger that are about it.
type owed struct {
	id      string
	lines   []evidence.IndexedLine
	head    int64 // number of its first head line, -1 none in this generation
	sealed  int64 // of its sealed line, -1 none
	before  int64 // sizes of the last two tokens before its first head: one of them is named by its open line
	before2 int64
	wrote   string // the anchors that stand in its folder
	// keys are the states at which the ledger went over to another signing key, each signed by the key
	// so far.
	keys []evidence.Checkpoint
}

// handover is the state by which the session's own key names the next one, ok if there is one; from is
// the size behind which the session's key signs.
func (s *owed) handover() (next evidence.Checkpoint, ok bool, from int64) {
	for _, k := range s.keys {
		if k.Size > s.head {
			return k, true, from
		}
		from = k.Size
	}
	return next, false, from
}

// looks is what earlier looks at the sessions found.
type looks struct {
	through  string
	finished map[string]finish
	newest   int64 // largest anchor of the last look; -1: the next one is to be thorough
}

// finish is what became of a session: done or not, at an uptime.
type finish struct {
	done  bool
	seen  bool // its lines were looked for
	at    time.Duration
	wrote string // the anchors that stand in its folder
}

// deliver brings proofs into the folders of sealed sessions until ctx ends.
func (n *Notary) deliver(ctx context.Context) {
	l := looks{through: n.o.Through, finished: map[string]finish{}, newest: -1}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wakeOwed:
		case <-timer.C:
		}
		left, err := n.lookThrough(ctx, &l)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = n.o.Sessions.Anchors(anchorsStep)
		}
		if err != nil {
			n.failed("disks", err)
		}
		n.mu.Lock()
		n.status.Owed = left
		n.mu.Unlock()
		wait := deliverEvery
		if err != nil {
			wait = deliverAgain
		}
		timer.Reset(wait)
	}
}

// lookThrough completes what can be completed and returns how many sessions still lack something.
func (n *Notary) lookThrough(ctx context.Context, k *looks) (left int, err error) {
	n.mu.Lock()
	ids, again := n.look, n.relook
	n.look, n.relook = nil, false
	n.mu.Unlock()
	now := n.o.Now().Up
	for id, f := range k.finished {
		if again && f.done && now-f.at < lateWithin {
			k.finished[id] = finish{}
		}
	}
	for _, id := range ids {
		delete(k.finished, id)
	}
	listed, err := n.o.Sessions.Sealed(k.through, maxOwed)
	if err != nil {
		return 0, err
	}
	newest := int64(0)
	n.o.Ledger.EachAnchor(0, func(size int64, _, _ bool) bool { newest = size; return true })
	thorough := again || newest != k.newest
	var todo []*owed
	for _, id := range append(ids, listed...) {
		f := k.finished[id]
		if f.done {
			continue
		}
		thorough = thorough || !f.seen
		todo = append(todo, &owed{id: id, head: -1, sealed: -1, before: -1, before2: -1, wrote: f.wrote})
	}
	if !thorough {
		return len(todo), n.onlySeals(ctx, k, todo)
	}
	if len(todo) > 0 {
		if err := n.findLines(todo); err != nil {
			return len(todo), err
		}
	}
	for _, s := range todo {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		done, serr := n.complete(ctx, s)
		if serr != nil {
			err = errors.Join(err, fmt.Errorf("session %s: %w", s.id, serr))
		}
		if k.finished[s.id] = (finish{done, true, now, s.wrote}); !done {
			left++
		}
	}
	if err == nil {
		k.newest = newest
	}
	return left, errors.Join(err, n.advance(k, listed))
}

// onlySeals is a look when no anchor has come since the last one: only a seal's token can have.
func (n *Notary) onlySeals(ctx context.Context, k *looks, todo []*owed) error {
	n.mu.Lock()
	tokens := n.plan.tokens
	n.mu.Unlock()
	for _, s := range todo {
		if !tokens || n.tsa.retryAt() > n.o.Now().Up {
			break
		}
		if err := n.sealToken(ctx, s.id); err == nil {
			k.newest = -1
		}
	}
	return nil
}

// advance moves Through over sessions that are complete and old.
func (n *Notary) advance(k *looks, listed []string) error {
	limit := n.o.Now().T.Add(-throughAge).UTC().Format("20060102T150405Z")
	to := k.through
	for _, id := range listed {
		if !k.finished[id].done || id >= limit {
			break
		}
		to = id
	}
	if to == k.through || n.o.SaveThrough == nil {
		return nil
	}
	if err := n.o.SaveThrough(to); err != nil {
		return err
	}
	k.through = to
	for id := range k.finished {
		if id <= to {
			delete(k.finished, id)
		}
	}
	return nil
}

var (
	sessionKey     = []byte(`"session":"`)
	generationType = []byte(`"type":"generation"`)
	keyType        = []byte(`"type":"key"`)
	tokenType      = []byte(`"type":"token"`)
)

// findLines reads the ledger once and gives each session its lines.
func (n *Notary) findLines(list []*owed) error {
	by := make(map[string]*owed, len(list))
	for _, s := range list {
		by[s.id] = s
	}
	last, last2 := int64(-1), int64(-1)
	var common []evidence.IndexedLine // generation and key lines
	var keys []evidence.Checkpoint
	follows := false // the line that signs a key line
	err := n.o.Ledger.Walk(0, func(i int64, line []byte) bool {
		if follows {
			follows = false
			if c, ok := n.checkpointOf(line); ok {
				keys = append(keys, c)
			}
			return true
		}
		switch {
		case bytes.Contains(line, tokenType):
			var t evidence.Token
			if l, err := evidence.ParseLine(line); err == nil && l.Type == "token" && l.Decode(&t) == nil {
				last, last2 = t.Size, last
			}
			return true
		case bytes.Contains(line, generationType), bytes.Contains(line, keyType):
			if evidence.SessionLine(line, "") {
				common = append(common, evidence.IndexedLine{Index: i, Line: bytes.Clone(line)})
			}
			var k evidence.Key
			if l, err := evidence.ParseLine(line); err == nil && l.Type == "key" && l.Decode(&k) == nil && k.Use == "sign" {
				follows = true
			}
			return true
		}
		_, rest, ok := bytes.Cut(line, sessionKey)
		if !ok {
			return true
		}
		id, _, _ := bytes.Cut(rest, []byte{'"'})
		s := by[string(id)]
		if s == nil || !evidence.SessionLine(line, s.id) {
			return true
		}
		l, err := evidence.ParseLine(line)
		if err != nil {
			return true
		}
		switch {
		case l.Type == "head" && s.head < 0:
			s.head, s.before, s.before2 = i, last, last2
		case l.Type == "sealed" && s.sealed < 0:
			s.sealed = i
		}
		s.lines = append(s.lines, evidence.IndexedLine{Index: i, Line: bytes.Clone(line)})
		return true
	})
	for _, s := range list {
		s.lines, s.keys = merge(common, s.lines), keys
	}
	return err
}

// checkpointOf is the checkpoint of a sign line of the ledger.
func (n *Notary) checkpointOf(line []byte) (c evidence.Checkpoint, ok bool) {
	l, err := evidence.ParseLine(line)
	var s evidence.Sign
	if err != nil || l.Type != "sign" || l.Decode(&s) != nil {
		return c, false
	}
	root, err := evidence.ParseHash(s.Root)
	if err != nil {
		return c, false
	}
	c, err = evidence.ParseCheckpoint(evidence.Note(n.o.Ledger.Origin(), s.Size, root, s.Sig))
	return c, err == nil
}

// merge puts two lists in order into one.
func merge(a, b []evidence.IndexedLine) (out []evidence.IndexedLine) {
	for len(a) > 0 && len(b) > 0 {
		if a[0].Index < b[0].Index {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// complete writes what can be written now of a session's proofs, and reports whether nothing is lacking
// that can still come. Of a session that was sealed in an earlier generation only the seal's token can.
func (n *Notary) complete(ctx context.Context, s *owed) (bool, error) {
	n.mu.Lock()
	tokens, witnesses := n.plan.tokens, n.plan.witnesses && !n.plan.conflict
	n.mu.Unlock()
	sealToken := true
	var serr error
	if tokens {
		if serr = n.sealToken(ctx, s.id); serr != nil {
			sealToken = false
			if errors.Is(serr, errOffline) || errors.Is(serr, errUnwanted) || errors.Is(serr, errBackoff) {
				serr = nil
			}
		}
	}
	if s.head < 0 || s.sealed < 0 {
		n.owes(!sealToken, false)
		return sealToken, serr
	}
	want, token, cosig := n.anchorsOf(s)
	// A session is judged by its own key. What an earlier key signed says nothing to it; what a later one
	// signed does once its own has named that.
	next, ok, own := s.handover()
	want = slices.DeleteFunc(want, func(size int64) bool { return size <= own })
	if ok && slices.ContainsFunc(want, func(size int64) bool { return size > next.Size }) {
		b, err := evidence.BuildAnchor(next, s.lines, n.o.Ledger.Inclusion, nil, nil)
		if err == nil {
			err = n.putOnce(s.id, evidence.AnchorName(next.Size), b)
		}
		if err != nil {
			return false, errors.Join(serr, err)
		}
	}
	if all := fmt.Sprint(want); all != s.wrote {
		for _, size := range want {
			if err := n.anchor(s, size); err != nil {
				return false, errors.Join(serr, err)
			}
		}
		s.wrote = all
	}
	lacksToken, lacksCosig := tokens && !token, witnesses && !cosig
	n.owes(lacksToken || !sealToken, lacksCosig)
	return sealToken && !lacksToken && !lacksCosig, serr
}

// owes lets the rounds ask for what a session lacks; what they get wakes deliver again.
func (n *Notary) owes(token, cosig bool) {
	if !token && !cosig {
		return
	}
	n.mu.Lock()
	n.plan.owes(token, cosig)
	n.mu.Unlock()
	wake(n.wakeRounds)
}

// anchorsOf chooses the anchors a session needs: the tokens it may have begun with, all that came while it ran,
// and the first token over its `sealed` line and the first cosignature of each witness.
func (n *Notary) anchorsOf(s *owed) (sizes []int64, token, cosig bool) {
	names, after := map[string]bool{}, 0
	from := s.head + 1
	if s.before >= 0 {
		from = s.before
	}
	if s.before2 >= 0 {
		from = s.before2
	}
	n.o.Ledger.EachAnchor(from, func(size int64, t, c bool) bool {
		switch {
		case size <= s.head:
			if size == s.before || size == s.before2 {
				sizes = append(sizes, size)
			}
		case size <= s.sealed:
			sizes = append(sizes, size)
		case t && !token || c && n.brings(size, names):
			sizes = append(sizes, size)
			token, cosig = token || t, cosig || c
			fallthrough
		default:
			after++
		}
		return after < maxAfter
	})
	return sizes, token, cosig
}

// brings reports whether an anchor holds a line of a witness not in names, and puts it there.
func (n *Notary) brings(size int64, names map[string]bool) (one bool) {
	_, _, lines, err := n.o.Ledger.ReadAnchor(size)
	if err != nil {
		return false
	}
	for _, line := range lines {
		if c, err := evidence.ParseCosignature(line); err == nil && !names[c.Witness] {
			names[c.Witness], one = true, true
		}
	}
	return one
}

// anchor writes one anchor file, unless it stands as it would be written. One that stands may lack a
// cosignature that came later.
func (n *Notary) anchor(s *owed, size int64) error {
	name := evidence.AnchorName(size)
	have, err := n.o.Sessions.Read(s.id, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	note, token, cosigs, err := n.o.Ledger.ReadAnchor(size)
	if err != nil {
		return err
	}
	ck, err := evidence.ParseCheckpoint(note)
	if err != nil {
		return err
	}
	b, err := evidence.BuildAnchor(ck, s.lines, n.o.Ledger.Inclusion, cosigs, token)
	if err != nil || bytes.Equal(have, b) {
		return err
	}
	return n.o.Sessions.Write(s.id, name, b)
}

// putOnce writes a file of a session unless one of that name is there.
func (n *Notary) putOnce(session, name string, b []byte) error {
	_, err := n.o.Sessions.Read(session, name)
	if errors.Is(err, fs.ErrNotExist) {
		return n.o.Sessions.Write(session, name, b)
	}
	return err
}

// errBackoff: each authority failed a moment ago.
var errBackoff = errors.New("no authority may be asked now")

// sealToken gets a session its manifest.json.tsr, unless it is there.
func (n *Notary) sealToken(ctx context.Context, id string) error {
	_, err := n.o.Sessions.Read(id, tokenFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	p7s, err := n.o.Sessions.Read(id, signatureFile)
	if err != nil {
		return err
	}
	t, err := n.tsa.get(ctx, sha256.Sum256(p7s))
	if err != nil {
		return err
	}
	return n.o.Sessions.Write(id, tokenFile, t.der)
}
