package evidence

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// DefaultWindow is how far apart the outside times before and after a moment may lie for grades 2 and 3.
const DefaultWindow = 24 * time.Hour

// clockSlack is by how much a device's clock may leave the outside times, beyond its own error bound.
const clockSlack = 60 * time.Second

// Outside is what outside proofs say about when a session was written.
type Outside struct {
	After  int64   `json:"after"`  // µs since 1970: the session was begun after it; 0: nobody says
	Before int64   `json:"before"` // and ended before it; 0: not for all of it
	Width  int64   `json:"width"`  // µs: the largest distance of the two for one moment; -1: some moment lacks one
	Window int64   `json:"window"` // µs: how large the width may be
	Sealed int64   `json:"sealed"` // the earliest outside time over the seal; 0: there is none
	Bounds []Bound `json:"bounds"`
	// Parties that vouch: time-stamping authorities and witnesses, each with its earliest and latest word.
	Parties []Party `json:"parties"`
}

// Bound is a stretch of media time that was written between two outside times.
type Bound struct {
	From     int64 `json:"from"` // µs of media time
	To       int64 `json:"to"`
	After    int64 `json:"after"`    // µs since 1970; 0: nobody says
	Before   int64 `json:"before"`   // 0: nobody says
	Cosigned int64 `json:"cosigned"` // the earliest word of a witness over it; 0: there is none
}

// Party is an outsider whose word was used.
type Party struct {
	Name    string `json:"name"`
	Witness bool   `json:"witness"` // else a time-stamping authority
	Own     bool   `json:"own"`     // the body's own
	First   int64  `json:"first"`   // µs since 1970
	Last    int64  `json:"last"`
}

// bounded is a fragment with what outside times say of its line.
type bounded struct {
	fr *signedFragment
	interval
}

// bound works out what outside times say of every intact fragment, puts it into the answer, and returns
// the grade it is worth and why it is not worth more. The signer is vouched for.
func (c *copyCheck) bound() (grade int, why string) {
	parts := c.bounded()
	if len(c.out.proofs) == 0 && len(c.out.seal) == 0 {
		return 1, "no outside time and no witness bounds it: the holder of the device key could still rewrite it"
	}
	window := c.v.o.Window
	if window == 0 {
		window = DefaultWindow
	}
	o := &Outside{Window: window.Microseconds(), Bounds: []Bound{}, Parties: c.parties()}
	c.res.Outside = o
	if at := earliest(c.out.seal).Time; !at.IsZero() {
		o.Sealed = at.UnixMicro()
	}
	o.summarize(parts)
	if len(parts) == 0 {
		return 1, "no intact fragment for outside times to bound"
	}
	if why := beyondWindow(parts, window, func(b bounded) time.Time { return b.upper }); why != "" {
		return 1, why
	}
	if why := clockOff(parts); why != "" {
		return 1, why
	}
	if !c.out.sealed {
		return 1, "no outside time bounds the seal: another manifest over the same log could have been the first"
	}
	if why := beyondWindow(parts, window, func(b bounded) time.Time { return b.cosigned }); why != "" {
		return 2, "no trusted witness within the window: " + why
	}
	if !slices.ContainsFunc(o.Parties, func(p Party) bool { return p.Witness && !p.Own }) {
		c.note("every witness is the body's own")
	}
	return 3, ""
}

// bounded returns the intact fragments, in order of media time, with their intervals.
func (c *copyCheck) bounded() []bounded {
	byLog := make(map[*signedLog][]bounded)
	for _, ch := range c.channels {
		for _, s := range ch.segments {
			for i := range s.fragments {
				if fr := &s.fragments[i]; fr.intact {
					byLog[fr.log] = append(byLog[fr.log], bounded{fr: fr})
				}
			}
		}
	}
	var all []bounded
	lower := time.Time{}
	for _, log := range c.logs {
		parts := byLog[log]
		slices.SortFunc(parts, func(a, b bounded) int { return cmp.Compare(a.fr.line, b.fr.line) })
		n := c.newIntervals(log, lower)
		for i := range parts {
			parts[i].interval = n.at(parts[i].fr.line)
		}
		lower = n.at(log.Size).lower // what a log knew, the recovery after it knows
		all = append(all, parts...)
	}
	slices.SortStableFunc(all, func(a, b bounded) int { return cmp.Compare(a.fr.from, b.fr.from) })
	return all
}

// beyondWindow tells why not every part lies between two outside times within the window.
func beyondWindow(parts []bounded, window time.Duration, upper func(bounded) time.Time) string {
	for _, p := range parts {
		u := upper(p)
		switch {
		case u.IsZero():
			return fmt.Sprintf("no outside time after %s of the media", mediaClock(p.fr.from))
		case p.lower.IsZero():
			return fmt.Sprintf("no outside time before %s of the media", mediaClock(p.fr.from))
		case u.Sub(p.lower) > window:
			return fmt.Sprintf("written between %s and %s, %s apart at %s of the media: more than the window of %s, so that it could have been rewritten in between",
				stamp(p.lower), stamp(u), u.Sub(p.lower), mediaClock(p.fr.from), window)
		}
	}
	return ""
}

// clockOff tells where the device's clock contradicts the outside times.
func clockOff(parts []bounded) string {
	for _, p := range parts {
		slack := clockSlack + time.Duration(max(0, p.fr.te))*time.Microsecond
		t := time.UnixMicro(p.fr.t)
		if t.Before(p.lower.Add(-slack)) || t.After(p.upper.Add(slack)) {
			return fmt.Sprintf("the device's clock says %s at %s of the media, outside times say between %s and %s",
				stamp(t), mediaClock(p.fr.from), stamp(p.lower), stamp(p.upper))
		}
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// summarize fills in times, width and bounds.
func (o *Outside) summarize(parts []bounded) {
	for i, p := range parts {
		b := Bound{From: p.fr.from, To: p.fr.to, After: micro(p.lower), Before: micro(p.upper), Cosigned: micro(p.cosigned)}
		if i == 0 {
			o.After = b.After
		}
		o.Before = max(o.Before, b.Before)
		if b.After == 0 || b.Before == 0 {
			o.Width = -1
		} else if o.Width >= 0 {
			o.Width = max(o.Width, b.Before-b.After)
		}
		if n := len(o.Bounds); n > 0 {
			if last := &o.Bounds[n-1]; last.After == b.After && last.Before == b.Before && last.Cosigned == b.Cosigned {
				last.To = max(last.To, b.To)
				continue
			}
		}
		o.Bounds = append(o.Bounds, b)
	}
	if slices.ContainsFunc(o.Bounds, func(b Bound) bool { return b.Before == 0 }) {
		o.Before = 0
	}
}

func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// parties lists whose word was used, witnesses first.
func (c *copyCheck) parties() []Party {
	all := slices.Clone(c.out.seal)
	for _, p := range c.out.proofs {
		all = append(all, p)
	}
	byName := make(map[Party]*Party)
	for _, p := range all {
		key := Party{Name: p.By, Witness: p.Cosig, Own: p.Own}
		at := p.Time.UnixMicro()
		if byName[key] == nil {
			byName[key] = &Party{Name: p.By, Witness: p.Cosig, Own: p.Own, First: at, Last: at}
		}
		byName[key].First, byName[key].Last = min(byName[key].First, at), max(byName[key].Last, at)
	}
	out := []Party{}
	for _, p := range byName {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Party) int {
		if a.Witness != b.Witness {
			return map[bool]int{true: -1, false: 1}[a.Witness]
		}
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.First, b.First))
	})
	return out
}
