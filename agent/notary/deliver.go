package notary

import (
	"context"
	"errors"
	"fmt"
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

// never64 is larger than each size.
const never64 = int64(1<<63 - 1)

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
	lost    int64 // of the last line that gave up what a disk held of it, -1 none
	before  int64 // sizes of the last two tokens before its first head: one of them is named by its open line
	before2 int64
	wrote   string // the anchors that stand in its folder
	// keys are the states at which the ledger went over to another signing key, each signed by the key
	// so far.
	keys []evidence.Checkpoint
}

// from is the smallest anchor that the session may need.
func (s *owed) from() int64 {
	for _, at := range []int64{s.before2, s.before, s.head + 1} {
		if at >= 0 && s.head >= 0 {
			return at
		}
	}
	return never64
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
	passed   []string // up to through, in order: those that lack something
	finished map[string]finish
	newest   int64 // largest anchor of the last look; -1: the next one is to be thorough
}

// finish is what became of a session: done or not, at an uptime.
type finish struct {
	done   bool
	seen   bool // its lines were looked for
	at     time.Duration
	newest int64  // largest anchor at that look
	from   int64  // smallest anchor it may need
	wrote  string // the anchors that stand in its folder
}

// deliver brings proofs into the folders of sealed sessions until ctx ends.
func (n *Notary) deliver(ctx context.Context) {
	l := looks{through: n.o.Through, passed: n.o.Passed, finished: map[string]finish{}, newest: -1}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wakeOwed:
		case <-timer.C:
		}
		left, more, err := n.lookThrough(ctx, &l)
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
		switch {
		case err != nil:
			wait = deliverAgain
		case more:
			wait = 0
		}
		timer.Reset(wait)
	}
}

// lookThrough completes what can be completed and returns how many sessions still lack something, of those
// looked at, and whether there are more to be looked at now.
func (n *Notary) lookThrough(ctx context.Context, k *looks) (left int, more bool, err error) {
	n.mu.Lock()
	ids, again, anew := n.look, n.relook, n.anew
	n.look, n.relook, n.anew = nil, false, false
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
	if anew { // from the beginning
		k.through, k.passed, k.finished = "", nil, map[string]finish{}
	}
	listed, err := n.o.Sessions.Sealed(k.through, maxOwed)
	if err != nil {
		n.lookAgain(ids)
		return 0, false, err
	}
	newest := int64(0)
	n.o.Ledger.EachAnchor(0, func(size int64, _, _ bool) bool { newest = size; return true })
	passed, more := k.due(newest)
	thorough := again || newest != k.newest || len(passed) > 0
	var todo []*owed
	for _, id := range sorted(ids, listed, passed) {
		f := k.finished[id]
		if f.done {
			continue
		}
		thorough = thorough || !f.seen
		todo = append(todo, &owed{id: id, head: -1, sealed: -1, lost: -1, before: -1, before2: -1, wrote: f.wrote})
	}
	if !thorough {
		err := n.onlySeals(ctx, k, todo)
		on, aerr := n.advance(k, ids, listed)
		return len(todo), on, errors.Join(err, aerr)
	}
	if len(todo) > 0 {
		if err := n.findLines(todo); err != nil {
			n.lookAgain(ids)
			return len(todo), false, err
		}
	}
	for _, s := range todo {
		if ctx.Err() != nil {
			return 0, false, context.Cause(ctx)
		}
		done, serr := n.complete(ctx, s)
		if serr != nil {
			err = errors.Join(err, fmt.Errorf("session %s: %w", s.id, serr))
		}
		if k.finished[s.id] = (finish{done, true, now, newest, s.from(), s.wrote}); !done {
			left++
		}
	}
	if err == nil {
		k.newest = newest
	}
	on, aerr := n.advance(k, ids, listed)
	err = errors.Join(err, aerr)
	more = more || on
	if err == nil && !more && len(listed) < maxOwed { // all that lack something are known
		err = n.o.Ledger.ThinAnchors(k.floor(newest))
	}
	return left, more && err == nil, err
}

// lookAgain has the sessions looked at at the next look.
func (n *Notary) lookAgain(ids []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.look = append(n.look, ids...)
}

// due are the sessions that were passed by and were not looked at since the newest anchor came, a few at a
// time; more: there are others.
func (k *looks) due(newest int64) (ids []string, more bool) {
	for _, id := range k.passed {
		if f := k.finished[id]; f.seen && f.newest == newest {
			continue
		}
		if len(ids) == passedStep {
			return ids, true
		}
		ids = append(ids, id)
	}
	return ids, false
}

// floor is the smallest anchor that a session known to lack something may need.
func (k *looks) floor(newest int64) int64 {
	at := newest
	for _, f := range k.finished {
		if !f.done {
			at = min(at, f.from)
		}
	}
	return at
}

// sorted is all ids, each once.
func sorted(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}

// onlySeals is a look when no anchor has come since the last one: only a seal's token can have.
func (n *Notary) onlySeals(ctx context.Context, k *looks, todo []*owed) (err error) {
	n.mu.Lock()
	tokens := n.plan.tokens
	n.mu.Unlock()
	for _, s := range todo {
		if !tokens || n.tsa.retryAt() > n.o.Now().Up {
			break
		}
		serr := n.sealToken(ctx, s.id)
		switch {
		case serr == nil:
			k.newest = -1
		case !soon(serr):
			err = errors.Join(err, fmt.Errorf("session %s: %w", s.id, serr))
		}
	}
	return err
}

// advance moves Through over old sessions that are complete. Those that lack something are passed by, and
// remembered, where others wait behind them. on reports whether it came to others.
func (n *Notary) advance(k *looks, ids, listed []string) (on bool, err error) {
	lacking := func(id string) bool { f := k.finished[id]; return f.seen && !f.done }
	limit := n.o.Now().T.Add(-throughAge).UTC().Format("20060102T150405Z")
	to, full := k.through, len(listed) >= maxOwed
	passed := sorted(k.passed, slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id > k.through || !lacking(id) }))
	passed = slices.DeleteFunc(passed, func(id string) bool { return k.finished[id].done })
	for _, id := range listed {
		if id >= limit {
			break
		}
		if !k.finished[id].done {
			if !full || !lacking(id) || len(passed) >= maxPassed {
				break
			}
			passed = append(passed, id)
		}
		to = id
	}
	if to == k.through && slices.Equal(passed, k.passed) || n.o.SaveThrough == nil {
		return false, nil
	}
	if err := n.o.SaveThrough(to, passed); err != nil {
		return false, err
	}
	on = full && to != k.through
	k.through, k.passed = to, passed
	for id, f := range k.finished {
		if id <= to && f.done {
			delete(k.finished, id)
		}
	}
	return on, nil
}
