package room

import (
	"fmt"
	"slices"
	"time"
)

// Step returns the room's state after event e at uptime now, and what to do. It changes nothing it
// was given. An event without meaning in s returns s, and [Refuse] where a person waits for an answer.
func Step(r Rules, s State, e Event, now time.Duration) (State, []Action) {
	m := machine{Rules: r, State: s, now: now}
	if m.Phase == "" {
		m.Phase = Idle
	}
	m.Faults, m.Prompts = slices.Clone(s.Faults), slices.Clone(s.Prompts)
	if touched(e) {
		m.TouchAt = now
	}
	m.on(e)
	if lamp := m.lamp(); lamp != m.Lamp { // first of all: it must not wait for the recorder
		m.Lamp = lamp
		first := []Action{Lamp{lamp}}
		if s.Session != "" && s.Session == m.Session {
			first = append(first, NoteEvent{Type: "lamp", Code: string(lamp)})
		}
		m.actions = append(first, m.actions...)
	}
	return m.State, m.actions
}

// touched tells whether somebody did something in the room.
func touched(e Event) bool {
	switch e.(type) {
	case Button, Start, Scan, Complete, Mark, Pause, Resume, Answer, PromptSeen:
		return true
	}
	return false
}

// machine is one Step at work.
type machine struct {
	Rules
	State
	now     time.Duration
	actions []Action
}

func (m *machine) do(a ...Action) { m.actions = append(m.actions, a...) }

func (m *machine) enter(p Phase) { m.Phase, m.Since = p, m.now }

// running reports whether a session is being made: recorded, paused, or wanted and failing.
func (m *machine) running() bool { return m.Phase == Recording || m.Phase == Paused }

func (m *machine) may(t Trigger) bool { return slices.Contains(m.Triggers, t) }

func (m *machine) on(e Event) {
	switch e := e.(type) {
	case Tick:
		m.tick()
	case Button:
		m.button(e.Down)
	case Presence:
		m.presence(e.On)
	case Door:
		if e.Open && !m.running() && !m.Disarmed && m.may(ByDoor) {
			m.start(Start{By: ByDoor})
		}
	case Start:
		if m.running() {
			m.do(Refuse{"running"})
			return
		}
		m.start(e)
	case Scan:
		m.scan(e)
	case Complete:
		m.complete(e)
	case Mark:
		m.mark(e)
	case Prompt:
		m.prompt(e)
	case PromptSeen:
		m.seen(e)
	case Pause:
		m.pause(e)
	case Resume:
		m.resume(e)
	case Stop:
		m.stop(e)
	case Answer:
		m.answer(e)
	case Opened:
		m.opened(e.Session)
	case OpenFailed:
		if m.Session == "" && (m.running() || m.Phase == PostRoll) {
			if !m.Failing {
				m.do(Announce{"fault"})
			}
			m.Failing, m.Tried = true, m.now
		}
	case Lost:
		m.lost(e)
	case Sealed:
		if m.Phase == Sealing && e.Session == m.Session {
			m.Session = ""
			m.enter(Idle)
		}
	case NoticeGiven:
		if m.running() && m.Session != "" && !m.Notice {
			m.Notice = true
			m.do(NoteEvent{Type: "notice", Text: e.By})
		}
	case Raise:
		m.raise(e.Fault)
	case Clear:
		m.clear(e)
	case PowerBack:
		m.powerBack(e)
	case BatteryLow: // what starts later is recorded all the same: recording is never refused
		if m.running() || m.Phase == PostRoll {
			m.do(Announce{"end"})
			m.finish(Stop{Reason: "battery low", Who: "rule"})
		}
	case Shutdown:
		if m.running() || m.Phase == PostRoll {
			m.finish(Stop{Reason: "agent stopping"})
		}
	}
}

// start opens a session; the recorder answers with Opened or OpenFailed.
func (m *machine) start(w Start) {
	if m.Phase == PostRoll { // the next session begins where this one ends
		m.finish(m.StopReason)
	}
	m.begin(w)
	m.do(Open{Start: w}, Announce{"notice"}, Precheck{})
}

func (m *machine) begin(w Start) {
	m.enter(Recording)
	m.Session, m.Started, m.Wish, m.Tried, m.TouchAt = "", m.now, w, m.now, m.now
	m.Failing, m.Notice, m.Missed, m.Warned, m.Prompts = false, false, false, 0, nil
	m.settled()
	m.Disarmed = true
	m.PausedHow, m.StopReason, m.ScanWish = Pause{}, Stop{}, Start{}
}

func (m *machine) opened(session string) {
	if m.Session != "" || !m.running() && m.Phase != PostRoll {
		return
	}
	m.Session, m.Failing = session, false
	m.do(NoteEvent{Type: "lamp", Code: string(m.lamp())})
	if d := m.Wish.Details; !d.empty() {
		m.do(NoteDetails{Complete{Who: m.Wish.Who, Details: d}})
	}
	for _, f := range m.Faults {
		m.do(NoteEvent{Type: "fault", Code: f.Code, Ch: f.Ch})
	}
}

func (d Details) empty() bool {
	return d.Case == "" && d.Matter == "" && d.MatterID == "" && d.Booking == "" && len(d.Officers) == 0 && d.Body == (Body{}) && len(d.Flags) == 0
}

// lost keeps the room wanting its session: tick tries to record on, as a continuation.
func (m *machine) lost(e Lost) {
	switch {
	case e.Session == "" || e.Session != m.Session:
	case m.Phase == PostRoll:
		m.finish(m.StopReason)
	case m.running():
		m.do(Finish{m.Session, Stop{Reason: e.Cause, Who: "rule"}}, Announce{"fault"})
		m.Wish.Continues, m.Session, m.Started = m.Session, "", m.now
		m.Failing, m.Tried = true, m.now
		m.raise(Fault{Code: "room.nothing", Impairs: true})
	}
}

// button: down starts; in a session a short press marks and a held one ends. It never pauses.
func (m *machine) button(down bool) {
	switch {
	case down && m.Held, !down && !m.Held:
	case down:
		m.Held, m.HeldSince, m.Spent = true, m.now, false
		if !m.running() && m.may(ByButton) {
			m.Spent = true
			m.start(Start{By: ByButton})
		}
	default:
		m.Held = false
		if !m.Spent && m.running() {
			m.mark(Mark{Text: "button", Who: "button", Kind: "button"})
		}
	}
}

func (m *machine) presence(on bool) {
	if on == m.Occupied && m.Known {
		return
	}
	m.Occupied, m.Known, m.MovedAt = on, true, m.now
	if on && m.Asked == AskEmpty {
		m.settled()
	}
}

func (m *machine) scan(e Scan) {
	w := Start{By: ByScan, Details: e.Facts, Continues: e.Continues, Limits: e.Limits}
	w.Details.Case = e.Case
	switch {
	case !m.running():
		m.start(w)
	case m.Wish.Details.Case == "":
		m.complete(Complete{Who: "scanner", Details: Details{Case: e.Case}})
	case m.Wish.Details.Case != e.Case:
		m.ScanWish = w
		m.ask(AskScan)
	}
}

func (m *machine) complete(c Complete) {
	if !m.running() {
		m.do(Refuse{"not-recording"})
		return
	}
	d := &m.Wish.Details
	if c.Details.Case != "" {
		d.Case = c.Details.Case
	}
	if c.Details.Matter != "" || c.Details.MatterID != "" {
		d.Matter, d.MatterID, d.MatterVersion = c.Details.Matter, c.Details.MatterID, c.Details.MatterVersion
	}
	if c.Details.Booking != "" {
		d.Booking = c.Details.Booking
	}
	if len(c.Limits.At) > 0 {
		m.Wish.Limits, m.Warned = c.Limits, 0
	}
	if len(c.Details.Officers) > 0 {
		d.Officers = c.Details.Officers
	}
	if len(c.Details.Flags) > 0 {
		d.Flags = c.Details.Flags
	}
	if m.Session != "" {
		m.do(NoteDetails{Complete{Who: c.Who, Details: *d}})
	}
}

func (m *machine) mark(e Mark) {
	if !m.running() || m.Session == "" {
		m.do(Refuse{"not-recording"})
		return
	}
	m.do(NoteMark{e})
}

func (m *machine) prompt(e Prompt) {
	if !m.running() || m.Session == "" {
		m.do(Refuse{"not-recording"})
		return
	}
	m.Prompts = append(m.Prompts, e)
	m.Prompts = m.Prompts[max(0, len(m.Prompts)-maxPrompts):]
	m.do(NoteEvent{Type: "prompt", Code: "supervisor", Text: e.Text, Who: e.Who})
}

// seen takes away what was prompted: it stays on record, with who read it.
func (m *machine) seen(e PromptSeen) {
	if len(m.Prompts) == 0 {
		m.do(Refuse{"no-prompt"})
		return
	}
	m.Prompts = nil
	m.do(NoteEvent{Type: "prompt", Code: "seen", Who: e.Who})
}

func (m *machine) pause(e Pause) {
	switch {
	case m.Phase != Recording || m.Session == "":
		m.do(Refuse{"not-recording"})
	case e.Reason == "":
		m.do(Refuse{"reason"})
	default:
		m.PausedHow = e
		m.settled()
		m.enter(Paused)
		m.do(Announce{"paused"}, PauseRecording{e}) // heard in the recording, then silence
	}
}

func (m *machine) resume(e Resume) {
	if m.Phase != Paused {
		m.do(Refuse{"not-paused"})
		return
	}
	m.PausedHow = Pause{}
	m.settled()
	m.MovedAt = max(m.MovedAt, m.now) // the break does not count as an empty room
	m.enter(Recording)
	m.do(ResumeRecording{e}, Announce{"resumed"})
}

// stop begins the post-roll; a paused room has none, nothing is captured in a break.
func (m *machine) stop(e Stop) {
	switch {
	case m.Phase == PostRoll: // said twice
	case !m.running():
		m.do(Refuse{"not-recording"})
	case m.Phase == Paused || m.Session == "" || m.Rules.PostRoll == 0:
		m.finish(e)
	default:
		m.StopReason = e
		m.settled()
		m.enter(PostRoll)
		m.do(Announce{"end"})
	}
}

func (m *machine) finish(e Stop) {
	m.settled()
	m.do(Finish{m.Session, e})
	m.Failing, m.Spent, m.Prompts = false, true, nil
	if m.Session == "" { // never opened: nothing to seal
		m.enter(Idle)
		return
	}
	m.enter(Sealing)
}

func (m *machine) ask(q Question) {
	m.Asked, m.AskedAt = q, m.now
	m.do(Ask{q}, Announce{"ask"})
	if m.Session != "" {
		m.do(NoteEvent{Type: "prompt", Code: string(q)})
	}
	if q == AskEmpty || q == AskQuiet { // the office is to know
		m.raise(Fault{Code: Forgotten})
	}
}

// settled closes the open question, if any.
func (m *machine) settled() {
	m.Asked = ""
	m.clear(Clear{Code: Forgotten})
}

func (m *machine) answer(e Answer) {
	q, next := m.Asked, m.ScanWish
	switch {
	case q == "":
		m.do(Refuse{"no-question"})
	case !e.Yes:
		m.settled()
		m.ScanWish = Start{}
		m.MovedAt = m.now // asked again only after another EmptyAsk
	case q == AskScan:
		m.finish(Stop{Reason: "another case", Who: e.Who})
		m.start(next)
	default:
		m.stop(Stop{Reason: "answered: end", Who: e.Who})
	}
}

func (m *machine) raise(f Fault) {
	i := slices.IndexFunc(m.Faults, func(o Fault) bool { return o.Code == f.Code && o.Ch == f.Ch })
	if i >= 0 {
		m.Faults[i] = f
		return
	}
	m.Faults = append(m.Faults, f)
	if m.Session != "" && m.Phase != Sealing {
		m.do(NoteEvent{Type: "fault", Code: f.Code, Ch: f.Ch})
		if f.Impairs {
			m.do(Announce{"fault"})
		}
	}
}

func (m *machine) clear(e Clear) {
	i := slices.IndexFunc(m.Faults, func(o Fault) bool { return o.Code == e.Code && o.Ch == e.Ch })
	if i < 0 {
		return
	}
	m.Faults = slices.Delete(m.Faults, i, i+1)
	if m.Session != "" && m.Phase != Sealing {
		m.do(NoteEvent{Type: "cleared", Code: e.Code, Ch: e.Ch})
	}
}

func (m *machine) powerBack(e PowerBack) {
	if m.running() || e.Session == "" || e.Ago >= m.Continue {
		return
	}
	w := Start{By: ByPower, Details: e.Details, Continues: e.Session}
	m.begin(w)
	m.do(Open{Start: w, Paused: e.Paused})
	if e.Paused {
		m.PausedHow = e.Why
		m.enter(Paused)
		return
	}
	m.do(Announce{"notice"}, Precheck{})
}

// tick lets time have its effects.
func (m *machine) tick() {
	age := m.now - m.Since
	if m.Disarmed && !m.running() && m.Phase != PostRoll && m.emptyFor() >= m.Rearm {
		m.Disarmed = false
	}
	switch {
	case m.Held && !m.Spent && m.running() && m.now-m.HeldSince >= m.ButtonHold:
		m.Spent = true
		m.stop(Stop{Reason: "button", Who: "button"})
	case m.Phase == PostRoll && age >= m.Rules.PostRoll:
		m.finish(m.StopReason)
	case m.Session == "" && m.running() && m.Failing && m.now-m.Tried >= m.RetryOpen:
		m.Tried = m.now
		m.do(Open{Start: m.Wish, Paused: m.Phase == Paused})
	case !m.running() && m.Phase != PostRoll && m.Occupied && !m.Disarmed && m.may(ByPresence) && m.now-m.MovedAt >= m.PresenceHold:
		m.start(Start{By: ByPresence})
	case m.running():
		m.remind(age)
	}
}

// emptyFor says how long the room has been empty since its last session; without a presence sensor
// it is taken to be empty from the end of the session on.
func (m *machine) emptyFor() time.Duration {
	switch {
	case !m.Known:
		return m.now - m.Since
	case m.Occupied:
		return -1
	}
	return m.now - max(m.MovedAt, m.Since)
}

// remind warns and asks; at most one thing a tick.
func (m *machine) remind(age time.Duration) {
	empty := m.Known && !m.Occupied
	idle := m.now - max(m.MovedAt, m.Started)
	switch {
	case m.Session != "" && !m.Notice && !m.Missed && m.NoticeWithin > 0 && m.now-m.Started >= m.NoticeWithin:
		m.Missed = true
		m.do(NoteEvent{Type: "notice", Code: "missing"})
	case m.Phase == Paused && m.PauseAsk > 0 && age >= m.PauseAsk && m.AskedAt < m.Since:
		m.ask(AskPause)
	case m.Phase == Recording && empty && m.EmptyAsk > 0 && idle >= m.EmptyAsk && m.Asked == "":
		m.ask(AskEmpty)
	case m.Phase == Recording && m.Asked == AskEmpty && m.EmptyStop > 0 && m.now-m.AskedAt >= m.EmptyStop:
		m.stop(Stop{Reason: "empty room", Who: "rule"})
	case m.warn():
	case m.Phase == Recording && !m.Known && m.QuietAsk > 0 && m.now-max(m.TouchAt, m.AskedAt) >= m.QuietAsk:
		m.ask(AskQuiet)
	}
}

// warn tells of the next lawful limit, ahead of it and when it is reached. It never ends a session.
func (m *machine) warn() bool {
	limits, ahead := m.limits(m.Rules)
	at, reached := m.Limit(m.Rules)
	code, when := "limit-near", at-ahead
	if reached {
		code, when = "limit-reached", at
	}
	if at == 0 || m.now-m.Started < when {
		return false
	}
	m.Warned++
	m.do(Announce{"limit"}, NoteEvent{Type: "prompt", Code: code, Text: hours(limits[(m.Warned-1)/2])})
	return true
}

func hours(d time.Duration) string {
	return fmt.Sprintf("%d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}

// lamp is what the lamp must show.
func (m *machine) lamp() LampState {
	switch {
	case m.running() && m.Session == "" && m.Failing:
		return LampFault
	case m.Phase == Paused:
		return LampPaused
	case (m.Phase == Recording || m.Phase == PostRoll) && slices.ContainsFunc(m.Faults, func(f Fault) bool { return f.Impairs }):
		return LampImpaired
	case m.Phase == Recording || m.Phase == PostRoll:
		return LampRecording
	}
	return LampIdle
}
