package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"minglu/agent/report"
	"minglu/agent/room"
	"minglu/agent/store"
	"minglu/agent/web"
)

// What officers pick from: lists of the office, bookings, hearings to continue.

const (
	adjourned     = "adjourned"          // why a session ended whose hearing goes on another day
	adjournedLook = 300                  // newest sessions looked through for those
	bookingEarly  = 30 * time.Minute     // a booking that begins this soon counts as now
	bookingsAhead = 24 * time.Hour       // those later are not shown at the room
	adjournedOld  = 366 * 24 * time.Hour // a hearing adjourned before is not offered any more
)

// Choices is what GET choices shows.
func (r roomCommands) Choices(ctx context.Context, body string, named bool) (web.Choices, error) {
	a, now := r.a, r.a.clock.Now().T
	body = cmp.Or(body, a.cfg.Body.USCC)
	c := web.Choices{Body: body, Bodies: []web.Body{web.Body(a.body())}}
	if t, _ := a.lists.From(); !t.IsZero() {
		c.Lists = stamp(t)
	}
	for _, b := range a.lists.Bodies() {
		if b.USCC != a.cfg.Body.USCC {
			c.Bodies = append(c.Bodies, web.Body{Name: b.Name, USCC: b.USCC, System: b.System})
		}
	}
	for _, o := range a.lists.Officers(body, now.Local().Format("2006-01-02")) {
		c.Officers = append(c.Officers, web.Choice{Officer: web.Officer{Name: o.Name, Credential: o.Credential}, Operator: o.Operator})
	}
	for _, m := range a.lists.Matters(body, "") {
		c.Matters = append(c.Matters, web.MatterPick{ID: m.ID, Version: m.Version, Name: m.Name, Kind: m.Kind, Starts: m.Starts, Ends: m.Ends, Agenda: m.Agenda})
	}
	for _, b := range a.lists.Bookings(now) {
		if b.From.Before(now.Add(bookingsAhead)) {
			c.Bookings = append(c.Bookings, a.bookingPick(b, now))
		}
	}
	list, err := a.adjournedHearings(ctx, "")
	if err != nil {
		return c, err
	}
	for _, s := range list {
		if !cmpBody(s.Body.USCC, body) || len(s.Flags) > 0 && !named {
			continue
		}
		h := web.Adjourned{Session: s.ID, Opened: stamp(s.Opened), Matter: s.Matter}
		if named {
			h.Case = s.Case
		}
		c.Adjourned = append(c.Adjourned, h)
	}
	return c, nil
}

// cmpBody tells whether a session of one body may be continued by another: only its own, where both are known.
func cmpBody(of, by string) bool { return of == by || of == "" || by == "" }

func (a *agent) bookingPick(b report.Booking, now time.Time) web.BookingPick {
	p := web.BookingPick{ID: b.ID, Body: b.Body, Case: b.Case, From: stamp(b.From), To: stamp(b.To), Now: b.From.Before(now.Add(bookingEarly)), Note: b.Note}
	if m, ok := a.lists.Matter(b.Matter); ok {
		p.Matter = web.Matter{ID: m.ID, Version: m.Version, Name: m.Name}
	}
	for _, c := range b.Officers {
		o, _ := a.lists.Officer(c)
		p.Officers = append(p.Officers, web.Officer{Name: cmp.Or(o.Name, c), Credential: c})
	}
	return p
}

// adjournedHearings are the sessions of this device that ended in an adjournment and that none continues yet,
// newest first; of one case, "" of all.
func (a *agent) adjournedHearings(ctx context.Context, number string) ([]store.Session, error) {
	rows, err := a.store.List(ctx, store.Filter{Case: number, From: a.clock.Now().T.Add(-adjournedOld)}, adjournedLook, 0)
	if err != nil {
		return nil, err
	}
	continued := map[string]bool{}
	if c := a.running(); c != nil {
		continued[c.continues] = true
	}
	for _, s := range rows {
		continued[s.Continues] = true
	}
	var out []store.Session
	for _, s := range rows {
		if s.Reason == adjourned && !continued[s.ID] && s.Device.ID == a.id.D {
			out = append(out, s)
		}
	}
	return out, nil
}

// scanned turns a code into an event: the case as the office writes it, and the adjourned hearing of that case,
// if there is exactly one, to be continued.
func (a *agent) scanned(ctx context.Context, text string) room.Scan {
	e := room.Scan{Case: text}
	if c, ok := a.lists.Case(text); ok {
		e.Case = c.Case
	}
	list, err := a.adjournedHearings(ctx, e.Case)
	if err != nil {
		a.log.Error("looking for an adjourned hearing", "err", err)
	}
	if len(list) == 1 {
		e.Continues, e.Facts = list[0].ID, a.inherited(room.Details{}, list[0])
		e.Limits = a.limitsOf(e.Facts)
	}
	return e
}

// inherited fills what was not said of a session with what the hearing it continues has.
func (a *agent) inherited(d room.Details, from store.Session) room.Details {
	d.Case = cmp.Or(d.Case, from.Case)
	if d.Matter == "" && d.MatterID == "" {
		d.Matter, d.MatterID, d.MatterVersion = from.Matter, from.MatterID, from.MatterVersion
	}
	if len(d.Officers) == 0 {
		for _, o := range from.Officers {
			d.Officers = append(d.Officers, room.Officer(o))
		}
	}
	for _, f := range from.Flags {
		if !slices.Contains(d.Flags, f) {
			d.Flags = append(d.Flags, f)
		}
	}
	if body := room.Body(from.Body); d.Body == (room.Body{}) && body != room.Body(a.body()) {
		d.Body = body
	}
	return d
}

// limitsOf are the lawful lengths of a session by its matter, else by its body; zero: the room's own.
func (a *agent) limitsOf(d room.Details) (l room.Limits) {
	m, ok := a.lists.MatterVersion(d.MatterID, d.MatterVersion)
	if !ok && d.MatterID != "" {
		m, _ = a.lists.Matter(d.MatterID)
	}
	b, _ := a.lists.Body(cmp.Or(d.Body.USCC, a.cfg.Body.USCC))
	limit, warn := time.Duration(cmp.Or(m.LimitMinutes, b.Rules.MaxMinutes))*time.Minute, time.Duration(b.Rules.WarnMinutes)*time.Minute
	switch {
	case limit > 0:
		l = room.Limits{At: []time.Duration{limit}, Ahead: a.cfg.Room.LimitWarn.Std()}
		if warn > 0 && warn < limit {
			l.Ahead = limit - warn
		}
	case warn > 0:
		l = room.Limits{At: []time.Duration{warn}}
	}
	return l
}

// agendaOf are the marks of a matter in their order, nil if the list has none.
func (a *agent) agendaOf(m web.Matter) []string {
	if m.ID == "" {
		return nil
	}
	x, ok := a.lists.MatterVersion(m.ID, m.Version)
	if !ok {
		x, _ = a.lists.Matter(m.ID)
	}
	return x.Agenda
}

// named gives a matter its name and version from the list, where only its id came.
func (a *agent) named(m web.Matter) web.Matter {
	if x, ok := a.lists.Matter(m.ID); ok && m.ID != "" {
		m.Name, m.Version = cmp.Or(m.Name, x.Name), cmp.Or(m.Version, x.Version)
	}
	return m
}

// prerollOff says that a body wants nothing from before the trigger.
func (a *agent) prerollOff(d room.Details) bool {
	b, _ := a.lists.Body(cmp.Or(d.Body.USCC, a.cfg.Body.USCC))
	return b.Rules.PrerollOff
}

func (r roomCommands) Reply(ctx context.Context, who string, yes bool) error {
	return r.ask(ctx, room.Answer{Yes: yes, Who: who})
}

func (r roomCommands) Prompt(ctx context.Context, who, text string) error {
	return r.ask(ctx, room.Prompt{Text: text, Who: who})
}

func (r roomCommands) Seen(ctx context.Context, who string) error {
	return r.ask(ctx, room.PromptSeen{Who: who})
}

// continuing checks that a hearing can be continued, and gives a session what it has not said of itself.
func (a *agent) continuing(ctx context.Context, id string, d room.Details) (room.Details, error) {
	if id == "" {
		return d, nil
	}
	list, err := a.adjournedHearings(ctx, "")
	if err != nil {
		return d, err
	}
	for _, s := range list {
		if s.ID == id {
			return a.inherited(d, s), nil
		}
	}
	return d, &web.Error{Status: 409, Code: "not-adjourned", Zh: "该听证没有休庭，或已经继续。请刷新页面后重选。", En: "That hearing was not adjourned, or was continued already. Load the page anew and choose again."}
}
