package evidence

import "fmt"

// follows holds a ledger against the other generations of its device among the places (section 2
// "generation"): what it says of the one before it must be so, and two may not follow the same one.
func (v *verifier) follows(l *ledgerCopy, r *LedgerResult) {
	if l.log == nil || l.err != nil {
		return
	}
	if prev := l.begin.Prev; prev != nil && l.begin.WitnessSize > prev.Size {
		r.Notes = append(r.Notes, fmt.Sprintf("when this generation began, a witness held %d lines of the one before and the device only %d: its last lines were lost, or an older image was put back", l.begin.WitnessSize, prev.Size))
	}
	for _, other := range v.ledgers {
		if other == l || other.log == nil || other.err != nil || other.device != l.device || other.gen == l.gen {
			continue
		}
		switch prev := l.begin.Prev; {
		case prev != nil && prev.Origin == other.log.origin:
			continues(l, other, r)
		case prev != nil && other.begin.Prev != nil && prev.Origin == other.begin.Prev.Origin:
			r.fork("two generations follow the same one, a copied device or a forked history: see " + other.path)
		case prev == nil && other.begin.Prev == nil && l.begin.Cause == "first" && other.begin.Cause == "first":
			r.fork("two generations say they are the first of this device: see " + other.path)
		}
	}
}

func (r *LedgerResult) fork(cause string) {
	if r.Finding == "" {
		r.Finding, r.Cause = FindingForeign, cause
	}
}

// continues holds what a generation says of the one before it against that one.
func continues(l, before *ledgerCopy, r *LedgerResult) {
	prev := l.begin.Prev
	var tree Tree
	rest := before.data
	for tree.Size() < prev.Size {
		raw, after, ok := lineAt(rest)
		if !ok {
			r.Notes = append(r.Notes, fmt.Sprintf("generation %s is here with %d lines, this one says it had %d", before.gen, tree.Size(), prev.Size))
			return
		}
		tree.Append(raw)
		rest = after
	}
	if tree.Root().String() != prev.Root {
		r.fork("says that the generation before it was another than " + before.path)
		return
	}
	if left := before.log.Size - prev.Size; left > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("generation %s went on for %d lines that the device no longer had when this one began (%s)", before.gen, left, l.begin.Cause))
	}
}
