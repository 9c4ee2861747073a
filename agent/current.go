package main

import (
	"sync"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/identity"
	"minglu/agent/record"
	"minglu/agent/room"
	"minglu/agent/web"
)

// maxShownMarks bounds what the page holds of a long session; the record holds all.
const maxShownMarks = 200

// current is the session under way as the pages show it. The record on disk is the truth; this is
// what was asked of it.
type current struct {
	key       *identity.SessionKey // signs its log; erased at the seal
	session   *record.Session
	id        string
	opened    time.Time     // wall time of the trigger
	trigger   time.Duration // its uptime
	by        room.Trigger
	continues string
	told      telling
	ended     time.Duration // uptime at which its end was asked for; set once, before it is sealed

	mu      sync.Mutex // guards what follows
	details web.Details
	marks   []web.Mark
	breaks  []web.Break
	failed  []web.Item
	pauseUp time.Duration // uptime at which the running pause began
	paused  time.Duration // length of the breaks that ended
	lag     latencies
}

// latencies are what the trigger cost, from its uptime on; 0 while unknown.
type latencies struct {
	lamp    time.Duration // the lamp shows it
	durable time.Duration // the first signature is on a disk
	preroll time.Duration // media kept from before the trigger
	notice  time.Duration // the notice of recording was given
}

func (c *current) latencies() latencies {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lag
}

func (c *current) noticed(up time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lag.notice = max(up-c.trigger, 1)
}

func (c *current) mark(m web.Mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marks = append(c.marks, m)
	if len(c.marks) > maxShownMarks {
		c.marks = c.marks[1:]
	}
}

func (c *current) pause(at int64, up time.Duration, reason, who string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pauseUp = up
	c.breaks = append(c.breaks, web.Break{From: at, To: -1, Reason: reason, Who: who})
}

func (c *current) resume(at int64, up time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.breaks); n > 0 && c.breaks[n-1].To < 0 {
		c.breaks[n-1].To = at
		c.paused += up - c.pauseUp
		c.pauseUp = 0
	}
}

// resumed is the media time at which the last break ended, 0 without one.
func (c *current) resumed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.breaks); n > 0 {
		return time.Duration(max(0, c.breaks[n-1].To)) * time.Microsecond
	}
	return 0
}

func (c *current) setDetails(d web.Details) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.details = d
}

func (c *current) setFailed(items []web.Item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = items
}

func (c *current) items() []web.Item {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]web.Item{}, c.failed...)
}

// shown is the session as the state bar shows it.
func (c *current) shown(state string, now time.Duration) *web.Running {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &web.Running{
		ID: c.id, State: state, Opened: stamp(c.opened), Trigger: string(c.by), Continues: c.continues, Details: c.details,
		ElapsedMS: (now - c.trigger).Milliseconds(), PrerollMS: c.lag.preroll.Milliseconds(), Marks: append([]web.Mark{}, c.marks...), Breaks: append([]web.Break{}, c.breaks...), Missing: []string{},
	}
	paused := c.paused
	if c.pauseUp > 0 {
		r.PausedMS = (now - c.pauseUp).Milliseconds()
		paused += now - c.pauseUp
	}
	r.RecordedMS = r.ElapsedMS - paused.Milliseconds()
	if c.details.Case == "" {
		r.Missing = append(r.Missing, "case")
	}
	if c.details.Matter == (web.Matter{}) {
		r.Missing = append(r.Missing, "matter")
	}
	if len(c.details.Officers) == 0 {
		r.Missing = append(r.Missing, "officers")
	}
	return r
}

// row is the session as the list shows it while it runs.
func (c *current) row(state string, body evidence.Body) web.Session {
	st := c.session.Status()
	c.mu.Lock()
	defer c.mu.Unlock()
	w := web.Session{
		ID: c.id, State: state, Body: body, Opened: stamp(c.opened), DurationUS: st.Media.Microseconds(), PrerollUS: c.lag.preroll.Microseconds(), Trigger: string(c.by), Continues: c.continues,
		Case: c.details.Case, Matter: matterText(c.details.Matter), Officers: c.details.Officers, Flags: c.details.Flags,
		Breaks: append([]web.Break{}, c.breaks...), Marks: append([]web.Mark{}, c.marks...), Disks: st.Disks,
	}
	if c.details.Body != nil {
		w.Body = *c.details.Body
	}
	for _, ch := range st.Channels {
		w.Channels = append(w.Channels, web.SessionMedia{ID: ch.Ch, Segments: ch.Segment})
		w.SizeBytes += ch.Bytes
	}
	return w
}

// matterText is a matter as one text: its name, or, not known by one, id@version of the list it stands in.
func matterText(m web.Matter) string {
	if m.ID == "" || m.Name != "" {
		return m.Name
	}
	return m.ID + "@" + m.Version
}
