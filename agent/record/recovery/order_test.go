package recovery_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"minglu/agent/durable/durabletest"
	"minglu/agent/evidence"
	"minglu/agent/record/recovery"
)

// cut is one moment at which the power was lost.
type cut struct {
	what string
	at   time.Time
	// durable are, by disk, the bytes of the log up to its last sign line that no cut can take away.
	durable map[string][]byte
}

// moment describes the cut before the next change.
func (r *rig) moment(p *durabletest.Replay, what string, at time.Time) cut {
	c := cut{what: fmt.Sprintf("%s, %s at change %d of %d", r.rule, what, p.N, len(r.changes)), at: at, durable: map[string][]byte{}}
	for _, d := range []string{"a", "b"} {
		log := p.Durable(filepath.Join(r.root, d, "sessions", session, "log.jsonl"))
		if i := bytes.LastIndex(log, []byte(`,"type":"sign"}`+"\n")); i >= 0 {
			c.durable[d] = bytes.Clone(log[:i+len(`,"type":"sign"}`)+1])
		}
	}
	return c
}

// longest is the longest durable signed log of the disks named.
func (c cut) longest(names ...string) (log []byte) {
	for _, n := range names {
		if b := c.durable[n]; len(b) > len(log) {
			log = b
		}
	}
	return log
}

// longestOn is the disk with that log.
func (c cut) longestOn(names ...string) (best string) {
	for _, n := range names {
		if len(c.durable[n]) > len(c.durable[best]) {
			best = n
		}
	}
	return best
}

// recovered runs the agent's start on the disks named and judges what it made of them.
func (r *rig) recovered(c cut, root, boot string, names ...string) bool {
	rep, err := r.start(quick{}, root, boot, c.at, names...)
	if err != nil {
		r.t.Errorf("%s: start: %v", c.what, err)
		return false
	}
	return r.judge(c, root, rep, names...)
}

// judge checks a state after a recovery: nothing altered, missing or not checkable; all that was signed and
// durable is there, on each disk; no channel lost more than ahead_ms; nothing is left to do.
func (r *rig) judge(c cut, root string, rep recovery.Report, names ...string) bool {
	ok := true
	bad := func(format string, args ...any) {
		ok = false
		r.t.Errorf("%s: %s", c.what, fmt.Sprintf(format, args...))
	}
	for _, it := range rep.Items {
		if it.Err != nil && it.Outcome != recovery.Unsigned {
			bad("item %+v", it)
		}
	}
	want := c.longest(names...)
	for _, d := range disksIn(root, names...) {
		if _, err := os.Stat(folder(d)); err != nil && d.ID != c.longestOn(names...) {
			continue // nothing signed was on it; the copy is the mirror's work
		}
		log, err := os.ReadFile(filepath.Join(folder(d), "log.jsonl"))
		if len(want) > 0 && (err != nil || !bytes.HasPrefix(log, want)) {
			bad("disk %s: %d bytes of the log that were signed and durable are not there: %v", d.ID, len(want), err)
		}
	}
	res := evidence.VerifyPlaces(places(root, names...), evidence.VerifyOptions{})
	if len(want) == 0 && len(res.Sessions) == 0 {
		return ok
	}
	if res.Exit != evidence.ExitGood && res.Exit != evidence.ExitSound {
		bad("verify exits %d: %s", res.Exit, brief(res))
		return false
	}
	for _, s := range res.Sessions {
		if s.Open != "" {
			bad("left open: %s", s.Open)
		}
		if len(want) == 0 {
			continue
		}
		media := min(c.at.Sub(r.zero), r.closed.Sub(r.zero)).Microseconds()
		for _, ch := range []string{"face", "voice"} {
			end, told := int64(0), []string{}
			for _, sp := range s.Spans {
				if sp.Channel != ch {
					continue
				}
				told = append(told, fmt.Sprintf("%s %d-%d %s", sp.Finding, sp.From/1000, sp.To/1000, sp.Cause))
				if sp.Finding != evidence.FindingGap {
					end = max(end, sp.To)
				}
				if sp.Finding == evidence.FindingGap && strings.Contains(sp.Cause, "undeclared") {
					bad("%s: an undeclared gap: %q", ch, told)
				}
			}
			// A pre-roll is written after the session opened, in batches of no more than ahead_ms.
			begun := r.preroll == 0 || c.at.Sub(r.zero) > r.preroll+500*time.Millisecond
			if lost := media - end; lost > r.ahead && begun && len(names) == len(r.ids) {
				bad("%s lost %d ms, more than ahead_ms: %q", ch, lost/1000, told)
			}
		}
	}
	if again, err := r.start(quick{}, root, "boot-9", c.at, names...); err != nil || len(again.Items) > 0 {
		bad("a second start has something to do: %+v, %v", again, err)
	}
	return ok
}

// recordAll records one session in each way, once for all tests.
var recordAll = func() func(t *testing.T, n int) []*rig {
	var mu sync.Mutex
	var w *world
	rigs := map[string]*rig{}
	return func(t *testing.T, n int) (out []*rig) {
		mu.Lock()
		defer mu.Unlock()
		if w == nil {
			w = newWorld(t)
		}
		dir, laid := states(t), new(atomic.Int64)
		for _, v := range variants[:n] {
			if rigs[v.rule] == nil {
				rigs[v.rule] = w.record(t, v)
			}
			c := *rigs[v.rule]
			c.t, c.states, c.laid = t, dir, laid
			out = append(out, &c)
		}
		return out
	}
}()

// side runs f for each case on as many goroutines as there are cores, until one failed.
func side(t *testing.T, f func(worker, workers int) bool) {
	const workers = 2
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() { f(i, workers) })
	}
	wg.Wait()
}

// TestCutBeforeEachChange cuts the power before each change the recorder and the ledger made to any disk:
// with all that was not synced lost, and with none of it lost, as kill -9 would.
func TestCutBeforeEachChange(t *testing.T) {
	n, every := len(variants), 1
	if testing.Short() {
		n, every = 1, 12
	}
	var cases atomic.Int64
	total := 0
	sessions := 0
	for _, r := range recordAll(t, n) {
		if r.rare {
			continue
		}
		sessions++
		total += len(r.changes)
		side(t, func(worker, workers int) bool {
			p := r.replay()
			synced := true
			for i := 0; ; i++ {
				if !t.Failed() && i/every%workers == worker && i%every == 0 {
					for _, loss := range []durabletest.Loss{durabletest.LoseAll, durabletest.LoseNone} {
						if every == 1 && (loss == durabletest.LoseAll) != synced {
							continue // the same state as before the last change
						}
						cases.Add(1)
						at := r.closed
						if i < len(r.changes) {
							at = r.changes[i].At
						}
						c := r.moment(p, fmt.Sprintf("loss %d", loss), at)
						root := r.lay(p, r.root, loss)
						if r.recovered(c, root, "boot-2", "a", "b") {
							must(t, os.RemoveAll(root))
						}
					}
				}
				c, ok := p.Step()
				if !ok || t.Failed() {
					return true
				}
				synced = c.Verb == "sync" || c.Verb == "syncdir"
			}
		})
	}
	t.Logf("%d prefixes of %d sessions, %d states recovered", total, sessions, cases.Load())
}

// TestAhead holds W1: at no moment does a disk have more than ahead_ms of a channel's media beyond its
// last durable sign line. Whoever cuts the power then finds no more than recovery may take up.
func TestAhead(t *testing.T) {
	for _, r := range recordAll(t, len(variants)) {
		p := r.replay()
		most := int64(0)
		for more := true; more; _, more = p.Step() {
			for d := range r.ids {
				dir := filepath.Join(r.root, d, "sessions", session)
				log := p.Durable(filepath.Join(dir, "log.jsonl"))
				signed := bytes.Count(log[:bytes.LastIndex(log, []byte(`,"type":"sign"}`+"\n"))+1], []byte(`"type":"fragment"`))
				ahead, size := map[string]int64{}, map[string]int64{}
				for _, f := range r.frags[min(signed, len(r.frags)):] {
					name := r.names[fmt.Sprint(f.Ch, f.Seg)]
					if _, ok := size[name]; !ok {
						size[name] = int64(len(p.Visible(filepath.Join(dir, name))))
					}
					if f.Off < size[name] {
						ahead[f.Ch] += f.To - f.From
					}
				}
				for ch, n := range ahead {
					if most = max(most, n); n > r.ahead {
						t.Fatalf("%s, change %d: disk %s has %d ms of %s beyond its last durable signature, %d are allowed", r.rule, p.N, d, n/1000, ch, r.ahead/1000)
					}
				}
			}
		}
		t.Logf("%s: at most %d ms of %d", r.rule, most/1000, r.ahead/1000)
	}
}

// TestReordered cuts at random moments, with any subset of the unsynced sectors and names on the disk, then
// cuts the recovery of that at a random step in the same way, and once more, with one disk away or none.
func TestReordered(t *testing.T) {
	n, cases := len(variants), 1000
	if testing.Short() {
		n, cases = 2, 40
	}
	seed := uint64(20261125) // the same in each `make test`; `make soak` draws others
	if s := os.Getenv("MINGLU_SEED"); s != "" {
		_, err := fmt.Sscan(s, &seed)
		must(t, err)
	}
	rigs := recordAll(t, n)
	side(t, func(worker, workers int) bool {
		for i := worker; i < cases && !t.Failed(); i += workers {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			r := rigs[i%len(rigs)]
			p := r.replay()
			for range rnd.IntN(len(r.changes) + 1) {
				p.Step()
			}
			at := r.closed
			if p.N < len(r.changes) {
				at = r.changes[p.N].At
			}
			c := r.moment(p, fmt.Sprintf("MINGLU_SEED=%d case %d", seed, i), at)
			root := r.lay(p, r.root, durabletest.Scramble{Rand: rnd})
			for nested := range 2 {
				here := [][]string{{"a", "b"}, {"a"}, {"b"}, {"a", "b"}}[rnd.IntN(4)]
				c.what += fmt.Sprint(", cut again with ", here)
				next, ok := r.cutRecovery(c, root, fmt.Sprint("boot-", nested+2), rnd, here...)
				must(t, os.RemoveAll(root))
				if root = next; !ok {
					return false
				}
			}
			if r.recovered(c, root, "boot-5", "a", "b") {
				must(t, os.RemoveAll(root))
			}
		}
		return true
	})
	t.Logf("%d reorderings, each with two cuts in its recovery, seed %d", cases, seed)
}

// cutRecovery runs a start and returns what a cut at a random step of it left.
func (r *rig) cutRecovery(c cut, root, boot string, rnd *rand.Rand, names ...string) (string, bool) {
	p, err := durabletest.NewReplay(root)
	must(r.t, err)
	l := &durabletest.Layer{Journal: true}
	if _, err := r.start(l, root, boot, c.at, names...); err != nil {
		r.t.Errorf("%s: start: %v", c.what, err)
		return root, false
	}
	changes := l.Changes()
	p.Take(changes)
	for range rnd.IntN(len(changes) + 1) {
		p.Step()
	}
	return r.lay(p, root, durabletest.Scramble{Rand: rnd}), true
}
