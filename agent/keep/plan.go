package keep

import (
	"cmp"
	"slices"
	"time"

	"minglu/agent/report"
)

// Permanent is the last day of what is kept for ever.
const Permanent = "permanent"

// Session is what the decision needs of one sealed session.
type Session struct {
	ID        string
	Case      string
	Closed    time.Time
	Bytes     int64            // on one disk
	Disks     []string         // ids of the disks present that hold a copy
	Retention report.Retention // of its matter as it was then; the zero value: the same as its case
	CaseUntil string           // last day its case must be kept, 2006-01-02 or [Permanent]; "" not known
	Receipt   bool             // the archive proved all of it, and the ledger says so
	InUse     bool             // being recorded, sealed, repaired, looked at or sent
	Held      bool             // by a legal hold
	Appraisal string           // SHA-256 of an appraisal that names it with its manifest; "" none
	Destroyed bool             // the ledger says so: a copy that is here came back
}

// Policy is the room's rule.
type Policy struct {
	Local     time.Duration // a session stays here this long after its end, at least
	MinMonths int           // no session is destroyed sooner, whatever its matter says
	FreeBelow float64       // archived sessions make room when less than this part of a disk is free, 0 to 1; 0: never
	Location  *time.Location
}

// Space is one disk.
type Space struct {
	ID          string
	Free, Total int64
}

// Do is what may be done with a session.
type Do string

// What may be done.
const (
	Stay    Do = "stay"    // nothing
	Release Do = "release" // the copies here make room; the archive has it
	Destroy Do = "destroy" // all copies go, lawfully
)

// Why a session stays, in the order in which they are asked.
const (
	WhyInUse     = "in-use"
	WhyHeld      = "held"
	WhyClock     = "clock"      // nobody knows what day it is
	WhyNoReceipt = "no-receipt" // the archive has not proven that it has it
	WhyLocal     = "local"      // too young to leave this device
	WhySpace     = "space"      // nobody needs its room
	WhyUntil     = "until"      // an appraisal names it before its day
	WhyPermanent = "permanent"  // an appraisal names what is kept for ever
	WhyCase      = "case"       // an appraisal names it, and nobody knows until when its case is kept
)

// Decision is what the plan says of one session.
type Decision struct {
	Session string
	Do      Do
	Why     string // why it stays; "" for the others
	Until   string // last day it must be kept; "" not known, or [Permanent]
	Due     bool   // its day has passed and nothing holds it: it may go on an appraisal
}

// Until is the last day a session must be kept: a day, [Permanent], or "" while nobody can say. The shortest term,
// of minMonths, comes before a shorter one.
func Until(r report.Retention, closed time.Time, caseUntil string, minMonths int, loc *time.Location) string {
	if loc == nil {
		loc = time.Local
	}
	end := closed.In(loc)
	least := months(end, minMonths)
	switch r.Kind {
	case report.KeepPermanently:
		return Permanent
	case report.KeepMonths:
		return max(least, months(end, r.Months))
	}
	if caseUntil == "" || caseUntil == Permanent {
		return caseUntil
	}
	return max(least, caseUntil)
}

// months is the day so many months later, the last one of its month where that has no such day.
func months(t time.Time, n int) string {
	first := time.Date(t.Year(), t.Month()+time.Month(n), 1, 0, 0, 0, 0, time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(t.Day(), last)-1).Format(time.DateOnly)
}

// Plan says what may be done with each session, in the order given. It deletes nothing and asks nobody. sure says
// that the clock can be believed: without that nothing is deleted.
func Plan(sessions []Session, p Policy, space []Space, now time.Time, sure bool) []Decision {
	loc := p.Location
	if loc == nil {
		loc = time.Local
	}
	today := now.In(loc).Format(time.DateOnly)
	out := make([]Decision, len(sessions))
	var spare []int // indices that may make room
	for i, s := range sessions {
		d := &out[i]
		d.Session, d.Do = s.ID, Stay
		d.Until = Until(s.Retention, s.Closed, s.CaseUntil, p.MinMonths, loc)
		past := sure && d.Until != "" && d.Until != Permanent && today > d.Until
		d.Due = past && !s.Held && !s.Destroyed
		switch {
		case s.InUse:
			d.Why = WhyInUse
		case s.Destroyed: // whatever is asked now was answered then
			d.Do = Destroy
		case s.Held:
			d.Why = WhyHeld
		case !sure:
			d.Why = WhyClock
		case s.Appraisal != "" && past:
			d.Do = Destroy
		case s.Appraisal != "":
			d.Why = map[string]string{Permanent: WhyPermanent, "": WhyCase}[d.Until]
			d.Why = cmp.Or(d.Why, WhyUntil)
		case len(s.Disks) == 0: // only the archive has it
		case !s.Receipt:
			d.Why = WhyNoReceipt
		case now.Sub(s.Closed) < p.Local:
			d.Why = WhyLocal
		default:
			d.Why = WhySpace
			spare = append(spare, i)
		}
	}
	makeRoom(sessions, out, spare, p, space)
	return out
}

// makeRoom releases the oldest of those that may go until each disk has room.
func makeRoom(sessions []Session, out []Decision, spare []int, p Policy, space []Space) {
	slices.SortStableFunc(spare, func(a, b int) int { return cmp.Compare(sessions[a].ID, sessions[b].ID) })
	free := make(map[string]int64)
	short := func(d Space) bool {
		return p.FreeBelow > 0 && float64(free[d.ID]) < p.FreeBelow*float64(d.Total)
	}
	for _, d := range space {
		free[d.ID] = d.Free
	}
	for _, i := range spare {
		s := sessions[i]
		if !slices.ContainsFunc(space, func(d Space) bool { return short(d) && slices.Contains(s.Disks, d.ID) }) {
			continue
		}
		out[i].Do, out[i].Why = Release, ""
		for _, id := range s.Disks {
			free[id] += s.Bytes
		}
	}
}
