package evidence

import (
	"cmp"
	"slices"
)

// Finding is what a verifier says about one span of one channel, evidence-format.md section 5.
type Finding string

// The findings, heaviest first: of several for one span the first holds.
const (
	FindingAltered   Finding = "altered"   // bytes are not those that were signed
	FindingRetimed   Finding = "re-timed"  // samples are intact, their timing is not
	FindingMissing   Finding = "missing"   // signed, and not there
	FindingForeign   Finding = "foreign"   // there, and not signed
	FindingDestroyed Finding = "destroyed" // lawfully, with an appraisal
	FindingRecovered Finding = "recovered" // found whole behind the last signature before a cut, within the writer's bound
	FindingGap       Finding = "gap"       // declared loss; or undeclared, then the cause says so
	FindingBreak     Finding = "break"     // declared pause
	FindingIntact    Finding = "intact"
)

var weight = []Finding{FindingAltered, FindingRetimed, FindingMissing, FindingForeign, FindingDestroyed, FindingRecovered, FindingGap, FindingBreak, FindingIntact}

func (f Finding) rank() int { return slices.Index(weight, f) }

// bad tells whether the finding alone makes the exit code 1.
func (f Finding) bad() bool {
	return f == FindingAltered || f == FindingRetimed || f == FindingMissing || f == FindingForeign
}

// Span is a finding over a stretch of media time, or, with an empty Channel, over the session as a
// whole because of one of its files. The place (File, Offset, Line) is that of the first thing found.
type Span struct {
	Channel string  `json:"channel"`
	From    int64   `json:"from"` // µs of media time
	To      int64   `json:"to"`
	Finding Finding `json:"finding"`
	Cause   string  `json:"cause"` // "" for intact

	File   string `json:"file,omitempty"`   // relative to the session folder
	Offset int64  `json:"offset,omitempty"` // byte in File
	Line   *int64 `json:"line,omitempty"`   // line number from 0 if File is a log
	Disk   string `json:"disk,omitempty"`   // the place given, if not the one the other spans come from
}

// merge lays the spans of one channel over each other, so that each instant has its heaviest
// finding, joins neighbours that say the same, and calls an instant that no span names an undeclared
// gap when it lasts longer than slack (µs); a shorter one is bridged.
func merge(spans []Span, slack int64) []Span {
	var cuts []int64
	for _, s := range spans {
		cuts = append(cuts, s.From, s.To)
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	order := slices.Clone(spans)
	slices.SortStableFunc(order, func(a, b Span) int { return cmp.Compare(a.From, b.From) })

	var out []Span
	add := func(s Span) {
		if n := len(out); n > 0 && out[n-1].To == s.From && out[n-1].Finding == s.Finding && out[n-1].Cause == s.Cause {
			out[n-1].To = s.To
			return
		}
		out = append(out, s)
	}
	var open []Span
	next := 0
	for i := 0; i+1 < len(cuts); i++ {
		from, to := cuts[i], cuts[i+1]
		for next < len(order) && order[next].From <= from {
			open = append(open, order[next])
			next++
		}
		open = slices.DeleteFunc(open, func(s Span) bool { return s.To <= from })
		switch {
		case len(open) > 0:
			s := slices.MinFunc(open, func(a, b Span) int { return cmp.Compare(a.Finding.rank(), b.Finding.rank()) })
			s.From, s.To = from, to
			add(s)
		case to-from > slack:
			add(Span{Channel: spans[0].Channel, From: from, To: to, Finding: FindingGap, Cause: "undeclared"})
		default:
			s := out[len(out)-1]
			s.From, s.To = from, to
			add(s)
		}
	}
	for _, s := range order { // something found that has no length must not vanish
		if s.From == s.To && s.Finding.bad() {
			out = append(out, s)
		}
	}
	return out
}
