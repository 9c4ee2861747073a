package room

import "time"

// Phase is where a room is in the course of a session.
type Phase string

// The phases. Sealing does not block: a trigger in it opens the next session at once.
const (
	Idle      Phase = "idle"
	Recording Phase = "recording"
	Paused    Phase = "paused"   // a declared break: capture is off
	PostRoll  Phase = "postroll" // the end was asked for; the last seconds are still kept
	Sealing   Phase = "sealing"
)

// Rules are what a body or a room may set. The zero value of a duration turns its rule off.
type Rules struct {
	Triggers     []Trigger       // inputs that may start a session; requests by people and messages always may
	PostRoll     time.Duration   // kept after the end was asked for
	PresenceHold time.Duration   // somebody must be there this long before presence starts a session
	Rearm        time.Duration   // the room must be empty this long before presence or door starts another
	ButtonHold   time.Duration   // a button held this long ends the session
	EmptyAsk     time.Duration   // recording an empty room this long is asked about …
	EmptyStop    time.Duration   // … and ended this long after the question
	NoticeWithin time.Duration   // the notice of recording is missed after this
	QuietAsk     time.Duration   // without a presence sensor: recording this long without a touch of anybody is asked about, never ended
	PauseAsk     time.Duration   // a pause this long is asked about, once
	Limits       []time.Duration // lawful lengths of a session; each is warned of ahead and when reached
	LimitAhead   time.Duration   // how long ahead
	RetryOpen    time.Duration   // pause between attempts when nothing can be recorded
	Continue     time.Duration   // a session cut this recently by a power loss is continued
}

// DefaultRules follow workflow.md; limits are those of an interview by the police (8 and 24 hours).
func DefaultRules() Rules {
	return Rules{
		Triggers:     []Trigger{ByButton, ByPresence},
		PostRoll:     3 * time.Second,
		PresenceHold: 2 * time.Second,
		Rearm:        30 * time.Second,
		ButtonHold:   3 * time.Second,
		EmptyAsk:     10 * time.Minute,
		EmptyStop:    5 * time.Minute,
		NoticeWithin: 2 * time.Minute,
		QuietAsk:     3 * time.Hour,
		PauseAsk:     10 * time.Minute,
		Limits:       []time.Duration{8 * time.Hour, 24 * time.Hour},
		LimitAhead:   15 * time.Minute,
		RetryOpen:    5 * time.Second,
		Continue:     10 * time.Minute,
	}
}

// Trigger says what began a session.
type Trigger string

// The triggers.
const (
	ByButton   Trigger = "button"
	ByDoor     Trigger = "door"
	ByPresence Trigger = "presence"
	ByPage     Trigger = "page"
	ByMessage  Trigger = "message"
	ByScan     Trigger = "scan"
	BySchedule Trigger = "schedule"
	ByPower    Trigger = "power" // continuation after the power or the agent came back
)

// Fault is one catalogued condition (package report) of one channel, disk or the room ("").
type Fault struct {
	Code, Ch string
	Impairs  bool // something is not recorded while it lasts
}

// State is one room at one moment. The zero State is an idle room at boot.
type State struct {
	Phase   Phase         // "" is read as Idle
	Since   time.Duration // when Phase began
	Session string        // id, "" until the recorder has opened it
	Started time.Duration // trigger of the running session
	Wish    Start         // what the running session was started with
	Tried   time.Duration // last attempt to open while Session is ""
	Failing bool          // the last attempt to open failed: nothing is recorded
	Notice  bool          // the notice was played or given in this session
	Missed  bool          // its absence was noted
	Asked   Question      // the question now open, "" if none
	AskedAt time.Duration
	Warned  int           // limits warned of: two per limit, ahead and reached
	Prompts []Prompt      // a supervisor's words that nobody has read yet, newest last
	TouchAt time.Duration // last time somebody did something
	Faults  []Fault
	Lamp    LampState

	Held       bool          // button is down
	HeldSince  time.Duration // since when
	Spent      bool          // this press has had its effect
	Occupied   bool          // presence sensor says so
	Known      bool          // a presence sensor has ever spoken
	MovedAt    time.Duration // last change of Occupied
	Disarmed   bool          // presence and door may not start until the room was empty for Rearm
	ScanWish   Start         // the other case that was scanned
	PausedHow  Pause         // reason and person of the running pause
	StopReason Stop          // why the end was asked for
}

// LampState is what the lamp outside the room shows; the words are those of package drivers.
type LampState string

// The lamp's states.
const (
	LampIdle      LampState = "idle"
	LampRecording LampState = "recording"
	LampPaused    LampState = "paused"
	LampImpaired  LampState = "impaired"
	LampFault     LampState = "fault"
)

// Question is something the room asks the people in it, by sound and page.
type Question string

// The questions.
const (
	AskEmpty Question = "empty" // nobody seems to be here: end the session?
	AskScan  Question = "scan"  // another case was scanned: end this one?
	AskPause Question = "pause" // still paused: go on, or end?
	AskQuiet Question = "quiet" // nobody has touched anything for long: end the session?
)

// Forgotten is the fault that stands while nobody answers whether a session was forgotten.
const Forgotten = "room.forgotten"

// maxPrompts is how many words of supervisors stand at once; the oldest gives way, and stays on record.
const maxPrompts = 3

// Limit is the next lawful limit of the running session under r, as a length since its trigger, and whether it
// was warned of. 0: there is none, or all are passed.
func (s State) Limit(r Rules) (at time.Duration, near bool) {
	limits, _ := s.limits(r)
	if s.Warned >= 2*len(limits) {
		return 0, false
	}
	return limits[s.Warned/2], s.Warned%2 == 1
}

func (s State) limits(r Rules) (at []time.Duration, ahead time.Duration) {
	if l := s.Wish.Limits; len(l.At) > 0 {
		return l.At, l.Ahead
	}
	return r.Limits, r.LimitAhead
}
