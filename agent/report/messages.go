package report

import (
	"encoding/json"
	"time"
)

// Version is the value of "v" in every message this package reads and writes.
const Version = 1

// MaxSize is the most bytes a message may have.
const MaxSize = 256 << 10

// State is the retained message that says whether a room is there and what it does. It is sent anew at
// each connect and at each change. The Will is a State of which only V, Device, Online, BdSeq and Run are
// set; a State sent before an orderly end has T besides.
//
// A Will may arrive late: one whose Run and BdSeq are not those of the newest online State is void.
type State struct {
	V       int           `json:"v"`
	Device  string        `json:"device"`
	Online  bool          `json:"online"`
	BdSeq   int64         `json:"bdseq"`           // counts the connections of a run, from 1
	Run     string        `json:"run"`             // 16 hex digits, drawn anew at each start of the agent
	Boot    string        `json:"boot,omitempty"`  // id of the board's boot
	T       time.Time     `json:"t,omitzero"`      // the device's wall time
	Room    string        `json:"room,omitempty"`  // its name for people
	Body    *Body         `json:"body,omitempty"`  // whose session it is, else the default body
	State   string        `json:"state,omitempty"` // "idle", "recording", "paused", "postroll", "sealing", "fault"
	Session string        `json:"session,omitempty"`
	Since   time.Time     `json:"since,omitzero"`   // of State
	Faults  []ActiveFault `json:"faults,omitempty"` // those that hold now
	Version string        `json:"version,omitempty"`
	Lists   string        `json:"lists,omitempty"` // version of the [Lists] it holds; none: it has none
}

// Body is the body 单位 a room or a session belongs to.
type Body struct {
	Name   string `json:"name"`
	USCC   string `json:"uscc,omitempty"`   // 统一社会信用代码
	System string `json:"system,omitempty"` // 系统, such as 市场监管
}

// ActiveFault is a fault that holds.
type ActiveFault struct {
	Code  string    `json:"code"` // of the catalogue
	Ch    string    `json:"ch,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// Health is what was measured: whole, every 10 s and within 1 s of a change of faults.
type Health struct {
	V            int           `json:"v"`
	Device       string        `json:"device"`
	T            time.Time     `json:"t"`
	Measurements []Measurement `json:"measurements"`
}

// Measurement is one value, or the reason why there is none. Value is a float64, string, bool or nil.
type Measurement struct {
	Measure string    `json:"measure"` // such as "video.fps"
	Subject string    `json:"subject"` // channel or disk, "" for the room or the board
	Value   any       `json:"value"`
	Unit    string    `json:"unit,omitempty"`
	At      time.Time `json:"at,omitzero"`
	How     *Text     `json:"how,omitempty"`
	Unknown *Text     `json:"unknown,omitempty"` // set if and only if Value is nil
	AtLeast bool      `json:"at_least,omitempty"`
}

// Verdicts of an [Item].
const (
	Pass          = "pass"
	Fail          = "fail"
	Unknown       = "unknown"
	NotApplicable = "not-applicable"
)

// Compliance is the whole list of verdicts, sent at each connect and when one of them changes.
type Compliance struct {
	V       int       `json:"v"`
	Device  string    `json:"device"`
	T       time.Time `json:"t"`
	Profile Profile   `json:"profile"`
	Items   []Item    `json:"items"`
}

// Profile names the list of rules that was applied.
type Profile struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	Zh      string `json:"zh,omitempty"` // its title
	En      string `json:"en,omitempty"`
}

// Item is one rule judged for one subject. Value is a float64, string, bool or nil.
type Item struct {
	Item     string    `json:"item"`    // such as "camera.fps"
	Subject  string    `json:"subject"` // channel or disk, "" for the room or the board
	Verdict  string    `json:"verdict"`
	Value    any       `json:"value"`
	Limit    string    `json:"limit,omitempty"` // for people, such as "≥ 25"
	Unit     string    `json:"unit,omitempty"`
	Clause   string    `json:"clause,omitempty"` // where the rule stands
	Basis    string    `json:"basis"`            // "law", "national", …; "default" is our own number
	Seen     string    `json:"seen,omitempty"`   // "read", "memory" (to be checked before it is quoted) or "none"
	Since    time.Time `json:"since"`            // of Verdict
	Severity string    `json:"severity"`         // "must", "should", "info"
	Why      *Text     `json:"why,omitempty"`    // the reason, for all but pass
	Zh       string    `json:"zh"`               // its title
	En       string    `json:"en"`
}

// Numbered is a message that is not lost: the device keeps it until an [Ack] covers it. One outbox
// numbers its messages 1, 2, 3 … over all kinds, without a hole. A device that lost its outbox begins
// another one with a new id.
//
// The same message may come more than once, always with the same content; the order of numbers is the
// order in which things happened.
type Numbered struct {
	V      int             `json:"v"`
	Device string          `json:"device"`
	Outbox string          `json:"outbox"` // 16 hex digits
	N      int64           `json:"n"`      // from 1
	T      time.Time       `json:"t"`      // when it happened, by the device's clock
	Type   string          `json:"type"`   // one of the Type constants, or a later one
	Body   json.RawMessage `json:"body"`   // SessionEvent, Alarm or CommandRefused, by Type
}

// Types of [Numbered]. Their first word decides the topic, see [KindOf].
const (
	SessionOpened      = "session.opened"
	SessionPaused      = "session.paused"
	SessionResumed     = "session.resumed"
	SessionSealed      = "session.sealed"
	SessionRecovered   = "session.recovered"
	SessionAmended     = "session.amended"      // facts of a sealed session were completed; the body has them as they are now
	SessionNotRecorded = "session.not-recorded" // something was lawfully not recorded: Session is the record's id
	SessionArchived    = "session.archived"     // the archive proved receipt: Where, Receipt
	SessionKept        = "session.kept"         // how long it is kept has changed: Until
	SessionHeld        = "session.held"         // a hold on a session, or on Case with Session "case": Command is the hold's id
	SessionReleased    = "session.released"     // the hold ended
	SessionMoved       = "session.left"         // its copies here made room, the archive has it
	SessionDestroyed   = "session.destroyed"    // by the appraisal whose SHA-256 Receipt is
	SessionCommanded   = "session.commanded"    // a command was carried out; its effect comes as a message of its own
	SessionAccessed    = "session.accessed"     // somebody looked at one, or a [Grant] changed: its body is a [Look]
	AlarmRaised        = "alarm.raised"
	AlarmCleared       = "alarm.cleared"
	CommandWasRefused  = "command.refused" // travels as an alarm
)

// SessionEvent is the body of all types that begin with "session.". What does not apply is left out.
type SessionEvent struct {
	Session   string    `json:"session"`
	Command   string    `json:"command,omitempty"`   // id of the command it answers
	Do        string    `json:"do,omitempty"`        // of that command
	Trigger   string    `json:"trigger,omitempty"`   // opened: by what
	Continues string    `json:"continues,omitempty"` // opened: the session a power cut ended, or the hearing that was adjourned
	Body      *Body     `json:"body,omitempty"`
	Case      string    `json:"case,omitempty"`
	Matter    string    `json:"matter,omitempty"`
	Officers  []Officer `json:"officers,omitempty"`
	Who       string    `json:"who,omitempty"`
	Flags     []string  `json:"flags,omitempty"`      // "secret", "minor", "drill"
	Kind      string    `json:"kind,omitempty"`       // amended: "details", "attachment", "refused"; not-recorded: "secret", "urgent", "objective", "other"
	Reason    string    `json:"reason,omitempty"`     // paused, sealed, recovered, not-recorded
	MediaMS   int64     `json:"media_ms,omitempty"`   // media time of the event; sealed, recovered: length
	Manifest  string    `json:"manifest,omitempty"`   // sealed, recovered: SHA-256 of manifest.json, hex
	Copies    int       `json:"copies,omitempty"`     // sealed, recovered: disks that hold it whole
	Failed    []string  `json:"failed,omitempty"`     // opened: items of the check before use that failed
	Where     string    `json:"where,omitempty"`      // archived: the archive
	Receipt   string    `json:"receipt,omitempty"`    // archived, destroyed: SHA-256 of the receipt, of the appraisal
	Until     string    `json:"keep_until,omitempty"` // archived, kept: the last day, 2006-01-02, or "permanent"
}

// Officer is one official of a session.
type Officer struct {
	Name       string `json:"name"`
	Credential string `json:"credential,omitempty"` // 执法证号
}

// Alarm is the body of alarm.raised and alarm.cleared.
type Alarm struct {
	Code     string    `json:"code"`
	Ch       string    `json:"ch,omitempty"`
	Severity Severity  `json:"severity"`
	Zh       string    `json:"zh"`
	En       string    `json:"en"`
	DoZh     string    `json:"do_zh"`
	DoEn     string    `json:"do_en"`
	Since    time.Time `json:"since,omitzero"` // when it was raised
}

// AlarmOf returns the body for a fault of the catalogue.
func AlarmOf(code, ch string, since time.Time) Alarm {
	f := Find(code)
	text, do := f.Text.In(ch), f.Do.In(ch)
	return Alarm{Code: code, Ch: ch, Severity: f.Severity, Zh: text.Zh, En: text.En, DoZh: do.Zh, DoEn: do.En, Since: since}
}

// CommandRefused is the body of command.refused.
type CommandRefused struct {
	Command string `json:"command"`
	Do      string `json:"do"`
	Who     string `json:"who,omitempty"`
	Code    string `json:"code"` // "expired", "busy", "idle", "unknown", …
	Zh      string `json:"zh"`
	En      string `json:"en"`
}

// Ack is the office's word that it has stored every message of an outbox up to a number.
type Ack struct {
	V      int    `json:"v"`
	Outbox string `json:"outbox"`
	UpTo   int64  `json:"upto"` // from 0
}

// What a [Command] may ask for.
const (
	DoStart  = "start"
	DoStop   = "stop"
	DoMark   = "mark"
	DoPrompt = "prompt" // a supervisor's word to the officers, never heard in the room
)

// Command asks a room to do something. It is answered by session.commanded or command.refused, once.
type Command struct {
	V        int       `json:"v"`
	ID       string    `json:"id"` // 1 to 64 of A-Z, a-z, 0-9, dot, hyphen, underscore; a second use is ignored
	Do       string    `json:"do"`
	T        time.Time `json:"t"`              // by the office's clock; older than [CommandLife] is refused
	Who      string    `json:"who"`            // the person
	Body     *Body     `json:"body,omitempty"` // start
	Case     string    `json:"case,omitempty"` // start
	Matter   string    `json:"matter,omitempty"`
	Officers []Officer `json:"officers,omitempty"`
	Text     string    `json:"text,omitempty"`   // mark, prompt
	Reason   string    `json:"reason,omitempty"` // stop
}

// CommandLife is how long after its T a command may be carried out.
const CommandLife = 60 * time.Second
