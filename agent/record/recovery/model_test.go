package recovery_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/record/recovery"
)

// The model: one session of three cycles on two disks that come and go, two cuts, three starts. A step is
// one durable write, so that a cut between any two steps is a cut anywhere. What is written is told by
// letters: a log is "abc" after three signed cycles, a ledger is its lines.

// rules are those of evidence-format.md section 4 that can be dropped.
type rules struct {
	ownFile bool // recovery never extends log.jsonl
	inState bool // the ledger's master is in the state folder
	order   bool // media before log before ledger
	elsewhere,
	ledgerPicks bool // ours: a session sealed on an absent disk is left alone; of two recovery files the ledger's holds

	cycles, starts int // how far to look
}

type modelDisk struct {
	present bool
	used    bool // the session writes to it
	media   int  // cycles of media
	log     string
	led     string // its copy of the ledger, ledger lines end in a point
	rec     string // recovery files: "base,start." each
	man     string // what the manifest was derived from
	amend   string // the recovery file its amendment tells of
}

type model struct {
	up     bool
	starts int
	cycle  int // signed by the writer; of the first start
	disk   [2]modelDisk
	master string
	signed int // ghost: most cycles signed and durable on any disk so far
}

// next returns every state one step away, with the step's name.
func (m model) next(r rules) map[string]model {
	out := map[string]model{}
	if !m.up {
		if m.starts < r.starts {
			for p := range 4 {
				n := m
				n.up, n.starts = true, m.starts+1
				n.disk[0].present, n.disk[1].present = p&1 > 0, p&2 > 0
				out[fmt.Sprintf("start %d with disks %02b", n.starts, p)] = n.boot(r)
			}
		}
		return out
	}
	if m.starts < r.starts {
		n := m
		n.up, n.cycle = false, 0
		out["cut"] = n
	}
	if m.starts > 1 {
		if n, ok := m.recoverStep(r); ok {
			out["recover"] = n
		}
		return out
	}
	if m.cycle < r.cycles {
		n := m
		n.cycle++
		out["sign"] = n
	}
	for i, d := range m.disk {
		if !d.used {
			continue
		}
		name := string(rune('A' + i))
		gone := m
		gone.disk[i].present, gone.disk[i].used = false, false
		out[name+" fails"] = gone
		if d.media < m.cycle {
			n := m
			n.disk[i].media++
			out[name+" media"] = n
		}
		if k := len(d.log); k < m.cycle && (!r.order || k < d.media) {
			n := m
			n.disk[i].log += string(rune('a' + k))
			n.signed = max(n.signed, k+1)
			out[name+" log"] = n
		}
	}
	head := fmt.Sprintf("h%d.", m.cycle)
	if m.cycle > 0 && !strings.Contains(m.master, head) && (!r.order || slices.ContainsFunc(m.disk[:], func(d modelDisk) bool { return len(d.log) >= m.cycle })) {
		n := m
		n = n.ledgerLine(r, head)
		out["head"] = n
	}
	return out
}

// boot opens the ledger: where it is in no state folder, the longest copy at hand is it.
func (m model) boot(r rules) model {
	if !r.inState {
		m.master = ""
		for _, d := range m.disk {
			if d.present && len(d.led) > len(m.master) {
				m.master = d.led
			}
		}
	}
	if m.starts == 1 {
		for i := range m.disk {
			m.disk[i].used = m.disk[i].present
		}
	}
	m = m.ledgerLine(r, fmt.Sprintf("b%d.", m.starts))
	for i, d := range m.disk { // R3; copies that fall behind until the next start are one of these states
		if d.present && strings.HasPrefix(m.master, d.led) {
			m.disk[i].led = m.master
		}
	}
	return m
}

// ledgerLine adds a line to the master, which without a state folder is the copies at hand.
func (m model) ledgerLine(r rules, line string) model {
	before := m.master
	m.master += line
	for i, d := range m.disk {
		if !r.inState && d.present && strings.HasPrefix(before, d.led) {
			m.disk[i].led = m.master
		}
	}
	return m
}

// recoverStep does the next thing recovery would do.
func (m model) recoverStep(r rules) (model, bool) {
	var here []int
	src := ""
	for i, d := range m.disk {
		if d.present && d.log != "" {
			here = append(here, i)
			if len(d.log) > len(src) {
				src = d.log
			}
		}
	}
	if len(here) == 0 {
		return m, false
	}
	for _, i := range here { // a copy that tells another story is left alone
		if !strings.HasPrefix(src, m.disk[i].log) {
			return m, false
		}
	}
	recs, stray := m.recoveryFiles(r, here)
	if stray >= 0 {
		m.disk[stray].rec = recs[:min(len(recs), 0)]
		return m, true
	}
	last := ""
	if recs != "" {
		parts := strings.Split(strings.TrimSuffix(recs, "."), ".")
		last = parts[len(parts)-1]
	}
	if r.elsewhere {
		for _, line := range strings.Split(m.master, ".") {
			if strings.HasPrefix(line, "r") && !strings.Contains(recs, line[1:]+".") {
				return m, false
			}
			if strings.HasPrefix(line, "z") && recs == "" {
				return m, false
			}
		}
	}
	man := recs
	for _, i := range here {
		if m.disk[i].man != "" {
			man = m.disk[i].man
		}
	}
	if _, sealed, ok := strings.Cut(m.master, "z"); ok {
		sealed, _, _ = strings.Cut(sealed, ".")
		man = strings.ReplaceAll(sealed, "+", ".") + "."
	} else if late := last != "" && !strings.HasPrefix(last, fmt.Sprintf("%d,", len(src))); late && man != recs || late && slices.ContainsFunc(here, func(i int) bool { return m.disk[i].man != "" }) {
		return m.ledgerLine(r, "z"+strings.TrimSuffix(strings.ReplaceAll(man, ".", "+"), "+")+"."), true
	}
	for _, i := range here {
		if m.disk[i].media < len(src) && r.order {
			m.disk[i].media = len(src)
			return m, true
		}
		if m.disk[i].log != src {
			m.disk[i].log = src
			return m, true
		}
	}
	if !r.ownFile { // the end of the recovery as a line of the log itself
		if !strings.ContainsAny(src, "12345") {
			m.disk[here[0]].log += fmt.Sprint(m.starts)
			return m, true
		}
		return m, false
	}
	if base := fmt.Sprintf("%d,", len(src)); !strings.HasPrefix(last, base) {
		recs += base + fmt.Sprint(m.starts) + "."
		m.disk[here[0]].rec = recs
		return m, true
	}
	for _, i := range here {
		if m.disk[i].rec != recs {
			m.disk[i].rec = recs
			return m, true
		}
	}
	if line := "r" + last + "."; !strings.Contains(m.master, line) {
		return m.ledgerLine(r, line), true
	}
	for _, i := range here {
		if m.disk[i].man == "" {
			m.disk[i].man = man
			return m, true
		}
	}
	if !strings.Contains(m.master, "z") {
		return m.ledgerLine(r, "z"+strings.TrimSuffix(strings.ReplaceAll(man, ".", "+"), "+")+"."), true
	}
	if man != recs {
		for _, i := range here {
			if m.disk[i].amend != last {
				m.disk[i].amend = last
				return m, true
			}
		}
	}
	return m, false
}

// recoveryFiles picks among those of the disks here; stray is a disk whose own must go.
func (m model) recoveryFiles(r rules, here []int) (recs string, stray int) {
	for _, i := range here {
		if len(m.disk[i].rec) > len(recs) || recs != "" && m.disk[i].rec != "" && r.ledgerPicks && m.known(m.disk[i].rec) && !m.known(recs) {
			recs = m.disk[i].rec
		}
	}
	if r.ledgerPicks {
		for _, i := range here {
			if m.disk[i].rec != "" && !strings.HasPrefix(recs, m.disk[i].rec) && !strings.HasPrefix(m.disk[i].rec, recs) {
				return recs, i
			}
		}
	}
	return recs, -1
}

// known tells whether the ledger names the first of the recovery files.
func (m model) known(recs string) bool {
	first, _, _ := strings.Cut(recs, ".")
	return strings.Contains(m.master, "r"+first+".")
}

// wrong names a rule of the whole that the state breaks, "" if none.
func (m model) wrong(r rules) string {
	a, b := m.disk[0], m.disk[1]
	head := 0
	for _, line := range strings.Split(m.master, ".") {
		if len(line) == 2 && line[0] == 'h' {
			head = max(head, int(line[1]-'0'))
		}
	}
	switch {
	case !strings.HasPrefix(a.log, b.log) && !strings.HasPrefix(b.log, a.log):
		return "two session logs under one name"
	case !strings.HasPrefix(a.led, b.led) && !strings.HasPrefix(b.led, a.led):
		return "two ledgers under one name"
	case head > m.signed:
		return "the ledger names a state of the session that no disk has"
	case a.man != "" && b.man != "" && a.man != b.man:
		return "one session sealed twice"
	}
	for _, d := range m.disk {
		if len(strings.TrimRight(d.log, "12345")) > d.media {
			return "a signature over media that is not there"
		}
		if m.up && d.present && !strings.HasPrefix(m.master, d.led) {
			return "a copy of the ledger is not the master's"
		}
	}
	if _, more := m.recoverStep(r); m.up && m.starts > 1 && a.present && b.present && !more && m.signed > 0 {
		switch {
		case max(len(a.log), len(b.log)) < m.signed:
			return "signed and durable lines lost"
		case a.log == "" || b.log == "": // a disk without the folder is the mirror's work
		case a.log != b.log || a.rec != b.rec || a.man != b.man || a.amend != b.amend:
			return "both disks are here, and their copies differ"
		case a.man == "":
			return "not sealed"
		}
	}
	return ""
}

// mirrored is the same state with the disks exchanged.
func (m model) mirrored() model {
	m.disk[0], m.disk[1] = m.disk[1], m.disk[0]
	return m
}

func (m model) less(n model) bool {
	a, b := m.disk[0], n.disk[0]
	return cmp.Or(cmp.Compare(a.log, b.log), cmp.Compare(a.media, b.media), cmp.Compare(a.led, b.led), cmp.Compare(a.rec, b.rec),
		cmp.Compare(a.man, b.man), cmp.Compare(a.amend, b.amend), cmp.Compare(fmt.Sprint(a.present, a.used), fmt.Sprint(b.present, b.used))) < 0
}

// explore goes through every reachable state, and returns how many there are and the steps to the first
// wrong one.
func explore(r rules) (states int, wrong string, trace []string) {
	type from struct {
		state model
		step  string
	}
	start := model{}
	seen := map[model]from{start: {}}
	queue := []model{start}
	see := func(n, m model, step string) {
		if k := n.mirrored(); k.less(n) { // the disks are alike
			n = k
		}
		if _, ok := seen[n]; !ok {
			seen[n] = from{m, step}
			queue = append(queue, n)
		}
	}
	for len(queue) > 0 {
		m := queue[0]
		queue = queue[1:]
		if wrong = m.wrong(r); wrong != "" {
			for m != start {
				f := seen[m]
				trace = append(trace, f.step)
				m = f.state
			}
			slices.Reverse(trace)
			return len(seen), wrong, trace
		}
		steps := m.next(r)
		for step, n := range steps {
			see(n, m, step)
		}
	}
	return len(seen), "", nil
}

// TestModel holds that with the rules of section 4 no reachable state breaks the whole, and that each of
// them is needed.
func TestModel(t *testing.T) {
	all := rules{ownFile: true, inState: true, order: true, elsewhere: true, ledgerPicks: true}
	for _, all.cycles = range []int{3, 2} {
		all.starts = 5 - (all.cycles+1)/2 // three starts, or four of a short session
		n, wrong, trace := explore(all)
		t.Logf("all rules, %d cycles, %d cuts: %d states", all.cycles, all.starts-1, n)
		if wrong != "" {
			t.Fatalf("%s:\n%s", wrong, strings.Join(trace, "\n"))
		}
	}
	for _, tt := range []struct {
		rule string
		drop func(*rules)
	}{
		{"recovery never extends log.jsonl", func(r *rules) { r.ownFile = false }},
		{"the ledger's master is in the state folder", func(r *rules) { r.inState = false }},
		{"media before log before ledger", func(r *rules) { r.order = false }},
		{"what was sealed on an absent disk is left alone", func(r *rules) { r.elsewhere = false }},
		{"of two recovery files the ledger's holds", func(r *rules) { r.ledgerPicks = false }},
	} {
		r := all
		tt.drop(&r)
		n, wrong, trace := explore(r)
		if wrong == "" {
			t.Errorf("without %q nothing goes wrong in %d states", tt.rule, n)
			continue
		}
		t.Logf("without %q, after %d states: %s: %s", tt.rule, n, wrong, strings.Join(trace, ", "))
	}
}

// TestModelTraces drives the real recovery through random traces of the model: disks that hold what they
// may at the first cut, then starts with the disks that are there, each cut anywhere, then one with both.
func TestModelTraces(t *testing.T) {
	cases := 150
	if testing.Short() {
		cases = 15
	}
	seed := uint64(20261125) // the same in each `make test`; `make soak` draws others
	if s := os.Getenv("MINGLU_SEED"); s != "" {
		_, err := fmt.Sscan(s, &seed)
		must(t, err)
	}
	w := tenCycles(t)
	for i := range cases {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		var trace []string
		var disks []recovery.Disk
		n := [2]int{1 + rnd.IntN(9), 1 + rnd.IntN(9)}
		for k, id := range []string{"a", "b"} {
			d := w.disk(id, n[k])
			how := []tail{{media(none), none}, {media(half), half}, {media(all), none}, {media(all), half}, {media(zeros(90)), zeros(40)}}
			j := rnd.IntN(len(how))
			w.tail(d, n[k], how[j])
			disks = append(disks, d)
			trace = append(trace, fmt.Sprintf("disk %s has %d cycles, tail %d", id, n[k], j))
		}
		w.led = &fakeLedger{log: w.newLog(w.led.Origin(), w.options(nil).Now).(*ledger.SessionLog)}
		must(t, w.led.append(evidence.Generation{}))
		for range 1 + rnd.IntN(3) {
			here := disks[:]
			if k := rnd.IntN(3); k < 2 {
				here = disks[k : k+1]
			}
			at := 1 + rnd.IntN(130)
			l := &cutLayer{t: t, n: at, lose: rnd.IntN(2) == 0}
			o := w.options(l, here...)
			o.Ledger = cutLedger{w.led, l}
			done := w.cutQuiet(o)
			trace = append(trace, fmt.Sprintf("start with %d disk(s) from %s, cut at %d: %v", len(here), here[0].ID, at, !done))
		}
		w.run(disks...)
		for k, d := range disks {
			w.signed(d, n[k])
			r := w.verifyAll(d)
			if r.Exit != evidence.ExitSound || r.Sessions[0].Open != "" || !strings.HasPrefix(spans(r, "face"), fmt.Sprintf("intact 0-%d", max(n[0], n[1])*cycleUS/1000)) {
				t.Errorf("disk %s: verify exits %d, face %q: %s", d.ID, r.Exit, spans(r, "face"), brief(r))
			}
		}
		if diff := differ(contents(t, folder(disks[0])), contents(t, folder(disks[1]))); len(diff) > 0 {
			t.Errorf("the copies differ in %q", diff)
		}
		if t.Failed() {
			t.Fatalf("MINGLU_SEED=%d case %d:\n%s", seed, i, strings.Join(trace, "\n"))
		}
		for _, d := range disks {
			must(t, os.RemoveAll(d.Dir))
		}
	}
	t.Logf("%d traces, seed %d", cases, seed)
}
