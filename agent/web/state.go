package web

import "time"

// Text is something said to a person.
type Text struct {
	Zh string `json:"zh"`
	En string `json:"en"`
}

// State is the room at one moment: GET /api/v1/state and each "state" event. Lists are never null.
type State struct {
	State    string         `json:"state"` // "idle", "recording", "paused", "postroll", "sealing", "fault"
	Since    time.Time      `json:"since"` // of State, UTC
	Room     string         `json:"room"`
	Device   string         `json:"device"`
	Kind     string         `json:"kind"` // "interview", "hearing"
	Body     Body           `json:"body"` // the default one
	Can      []string       `json:"can"`  // of "start", "mark", "pause", "resume", "stop", "details"
	Session  *Running       `json:"session"`
	Clock    ClockState     `json:"clock"`
	Channels []ChannelState `json:"channels"`
	Disks    []DiskState    `json:"disks"`
	Faults   []Fault        `json:"faults"` // those that stand now, worst first
	Climate  *Climate       `json:"climate"`
	Power    *Power         `json:"power,omitempty"` // of a room with a battery
	Meets    *Meets         `json:"meets"`           // the standard, null while nothing is judged; set by web
	Live     bool           `json:"live"`            // there is a live view; set by web
	LiveIdle bool           `json:"live_idle"`       // also while nothing is recorded; set by web
	Lamp     string         `json:"lamp"`            // drivers.LampState, "" without a lamp
	Board    string         `json:"board"`
	Sim      bool           `json:"sim"` // nothing here is evidence
	Version  string         `json:"version"`
}

// Running is the session under way.
type Running struct {
	ID         string `json:"id"`
	State      string `json:"state"`
	Opened     string `json:"opened"`      // RFC 3339, UTC
	ElapsedMS  int64  `json:"elapsed_ms"`  // since the trigger, by uptime, breaks included
	PausedMS   int64  `json:"paused_ms"`   // in the break that lasts, else 0
	RecordedMS int64  `json:"recorded_ms"` // without breaks
	PrerollMS  int64  `json:"preroll_ms"`  // media from before the trigger: a mark's time since the trigger is at − this
	Trigger    string `json:"trigger"`
	Continues  string `json:"continues"`
	Details
	Missing  []string `json:"missing"`  // of "case", "matter", "officers"
	Agenda   []string `json:"agenda"`   // of the matter: marks in their order; empty: it has none, or it is not of the list
	Question string   `json:"question"` // the room asks: "empty", "quiet", "scan", "pause"; "" nothing
	Scanned  string   `json:"scanned"`  // question "scan": the other case
	Prompts  []Said   `json:"prompts"`  // a supervisor's words that nobody has read yet
	LimitMS  int64    `json:"limit_ms"` // the next lawful length of this session, 0: none
	Near     bool     `json:"near"`     // it was warned of
	Marks    []Mark   `json:"marks"`    // the newest last; at most 200
	Breaks   []Break  `json:"breaks"`
}

// Mark is a moment worth finding again. At is media time in µs, which begins with the pre-roll.
type Mark struct {
	At   int64  `json:"at"`
	Text string `json:"text"`
	Who  string `json:"who"`
	Kind string `json:"kind,omitempty"` // "agenda", "button"; none: free
}

// Said is something a supervisor said to the officers.
type Said struct {
	Text string `json:"text"`
	Who  string `json:"who"`
}

// Break is a declared pause; To is -1 while it lasts. µs of media time.
type Break struct {
	From   int64  `json:"from"`
	To     int64  `json:"to"`
	Reason string `json:"reason"`
	Who    string `json:"who"`
}

// ClockState is the wall clock with its error bound.
type ClockState struct {
	T       time.Time `json:"t"`
	ErrorUS int64     `json:"error_us"` // bound, -1 unknown
	Source  string    `json:"source"`   // "chrony", "kernel", "unverified"
	Quality string    `json:"quality"`  // "good", "fair", "unverified"
}

// ChannelState is one camera or microphone.
type ChannelState struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`  // as people call it, else the id
	Kind        string   `json:"kind"`  // "camera", "microphone"
	State       string   `json:"state"` // "live", "connecting", "lost", "failed"
	Codecs      []string `json:"codecs"`
	Width       int      `json:"width"`
	Height      int      `json:"height"`
	FPS         float64  `json:"fps"`
	BitsPerSec  int64    `json:"bits_per_s"`
	AgeMS       int64    `json:"age_ms"`        // of the newest sample; -1 none yet
	LevelDB     *float64 `json:"level_db"`      // RMS in dBFS, null without sound
	PeakDB      *float64 `json:"peak_db"`       // null without sound
	SignedAgoMS int64    `json:"signed_ago_ms"` // age of this channel's newest moment that is signed and durable; -1 none, or not recording
	Text        *Text    `json:"text"`          // what is wrong, null when nothing
}

// DiskState is one disk sessions are written to.
type DiskState struct {
	Name        string  `json:"name"`  // "A", "B"
	State       string  `json:"state"` // "ok", "behind", "full", "failed", "absent"
	FreeBytes   int64   `json:"free_bytes"`
	Hours       float64 `json:"hours"` // of recording that still fit; -1 unknown
	SignedAgoMS int64   `json:"signed_ago_ms"`
	Lacking     int64   `json:"lacking"`      // sessions whose copy here is still to be completed
	CopyPercent int64   `json:"copy_percent"` // of the one being completed now; -1 none is
}

// Fault is a standing fault of the catalogue.
type Fault struct {
	Code     string `json:"code"`
	Severity string `json:"severity"` // "alarm", "warning", "notice"
	Ch       string `json:"ch"`       // channel or disk, "" for the room
	Since    string `json:"since"`    // RFC 3339, UTC
	Text     Text   `json:"text"`
	Do       Text   `json:"do"`
}

// Power is what a room with a battery runs on.
type Power struct {
	Mains  bool    `json:"mains"`
	Charge float64 `json:"charge"`  // of the battery, 0 to 1
	LeftMS int64   `json:"left_ms"` // until the battery is empty; -1 with mains
}

// Climate of the room.
type Climate struct {
	Celsius  float64 `json:"celsius"`
	Humidity float64 `json:"humidity"` // %RH, -1 unknown
}

// Started is the answer to POST session.
type Started struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Failed []Item `json:"failed"` // of the check before use; never a reason not to record
}

// Item is one failed item of the check before use.
type Item struct {
	Code string `json:"code"`
	Ch   string `json:"ch"`
	Text Text   `json:"text"`
	Do   Text   `json:"do"`
}

// Session is one recorded session.
type Session struct {
	ID         string         `json:"id"`
	State      string         `json:"state"` // "recording", "paused", "postroll", "sealing", "sealed", "open" (never sealed), "recovered"
	Room       string         `json:"room"`
	Device     string         `json:"device"`
	Adopted    bool           `json:"adopted"` // recorded by another device, whose disk was taken in; Room and Device are of that one
	Body       Body           `json:"body"`
	Opened     string         `json:"opened"` // RFC 3339, UTC
	Closed     string         `json:"closed"` // "" while open
	DurationUS int64          `json:"duration_us"`
	PrerollUS  int64          `json:"preroll_us"` // media from before the trigger; 0 none or unknown
	Trigger    string         `json:"trigger"`
	Reason     string         `json:"reason"`
	Continues  string         `json:"continues"`
	Case       string         `json:"case"`
	Matter     string         `json:"matter"`
	Officers   []Officer      `json:"officers"`
	Flags      []string       `json:"flags"`
	Channels   []SessionMedia `json:"channels"`
	Breaks     []Break        `json:"breaks"`
	Marks      []Mark         `json:"marks"`
	Spans      []Span         `json:"spans"`   // time bar; stretches not covered are unchecked
	Checked    *Checked       `json:"checked"` // the last verification, null: never
	SizeBytes  int64          `json:"size_bytes"`
	Disks      []string       `json:"disks"`
	Attached   []Attached     `json:"attached"` // files bound to it after the seal
	Refused    []Refused      `json:"refused"`  // who did not sign the session sheet
	Manifest   string         `json:"manifest"` // SHA-256 of manifest.json, hex; "" until sealed, and in lists
	Amended    int64          `json:"amended"`  // amendments; the facts above are as they are with them
}

// Attached is a file bound to a session by its digest.
type Attached struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"` // "record" 笔录, "evidence-list", "sheet-scan", "other"
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	At     string `json:"at"` // RFC 3339, UTC
	Who    string `json:"who"`
}

// Refused is somebody who did not sign the session sheet.
type Refused struct {
	Party  string `json:"party"`
	Reason string `json:"reason"`
	At     string `json:"at"` // RFC 3339, UTC
	Who    string `json:"who"`
}

// SessionMedia is one channel of a session.
type SessionMedia struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind"`
	Codecs   []string `json:"codecs"` // RFC 6381, lead first
	Segments int64    `json:"segments"`
}

// Span is a stretch of media time with a finding of the verifier: "intact", "recovered", "break",
// "gap", "altered", "re-timed", "missing", "foreign", "destroyed"; "unchecked" before a check.
type Span struct {
	Ch      string `json:"channel"` // "" all channels
	From    int64  `json:"from"`
	To      int64  `json:"to"`
	Finding string `json:"finding"`
}

// Checked is what the last verification found.
type Checked struct {
	At    string `json:"at"` // RFC 3339, UTC
	Exit  int    `json:"exit"`
	Grade int    `json:"grade"`
}

// Segment is one media file of a channel. Times are µs of media time; offsets are bytes.
type Segment struct {
	N         int64      `json:"n"`
	File      string     `json:"file"`
	Start     int64      `json:"start"`
	Duration  int64      `json:"duration"`
	Wall      string     `json:"wall"` // wall time of Start, RFC 3339 UTC; "" unknown
	Size      int64      `json:"size"`
	Codecs    []string   `json:"codecs"`
	Init      Range      `json:"init"`
	Fragments []FragSpan `json:"fragments"`
}

// Range is a stretch of a file in bytes.
type Range struct {
	Off int64 `json:"off"`
	Len int64 `json:"len"`
}

// FragSpan is one fragment: where in the file and on the timeline.
type FragSpan struct {
	Off  int64 `json:"off"`
	Len  int64 `json:"len"`
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// whole gives s with every list there: a client may rely on it.
func (s State) whole() State {
	s.Can, s.Channels, s.Disks, s.Faults = some(s.Can), some(s.Channels), some(s.Disks), some(s.Faults)
	for i := range s.Channels {
		if s.Channels[i].Codecs == nil {
			c := append([]ChannelState(nil), s.Channels...)
			c[i].Codecs = []string{}
			s.Channels = c
		}
	}
	if s.Session != nil {
		r := *s.Session
		r.Officers, r.Flags, r.Missing, r.Marks, r.Breaks = some(r.Officers), some(r.Flags), some(r.Missing), some(r.Marks), some(r.Breaks)
		r.Agenda, r.Prompts = some(r.Agenda), some(r.Prompts)
		s.Session = &r
	}
	return s
}

func (s Session) whole() Session {
	s.Officers, s.Flags, s.Channels, s.Breaks = some(s.Officers), some(s.Flags), some(s.Channels), some(s.Breaks)
	s.Marks, s.Spans, s.Disks = some(s.Marks), some(s.Spans), some(s.Disks)
	s.Attached, s.Refused = some(s.Attached), some(s.Refused)
	return s
}

func some[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
