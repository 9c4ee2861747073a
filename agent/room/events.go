package room

import "time"

// Event is something that happened to a room. The types below are all there are.
type Event interface{ event() }

// Officer names a person with the number of the enforcement credential.
type Officer struct{ Name, Credential string }

// Body is a law-enforcement body; rooms are shared, each session belongs to one.
type Body struct{ Name, USCC, System string }

// Details say whose session it is; each may be empty and completed later.
type Details struct {
	Case, Matter            string // Matter is its name
	MatterID, MatterVersion string // where in the office's list it stands, "" for a name alone
	Booking                 string // id of the booking that was taken
	Officers                []Officer
	Body                    Body // whose session it is; zero: the room's own. It is fixed once the session is open
	Flags                   []string
}

// Limits are the lawful lengths of one session, by its matter or body. The zero value: those of the [Rules].
type Limits struct {
	At    []time.Duration // rising
	Ahead time.Duration   // how long ahead each is warned of
}

type (
	// Tick comes at least four times a second; time alone changes nothing else.
	Tick struct{}
	// Button is the hardware button going down or up, debounced.
	Button struct{ Down bool }
	// Presence is the presence sensor's opinion.
	Presence struct{ On bool }
	// Door is the door contact.
	Door struct{ Open bool }
	// Start asks for a session.
	Start struct {
		By        Trigger
		Who       string
		Details   Details
		Continues string // the session that this one continues: an adjourned hearing, or one that was cut; "" none
		Limits    Limits
	}
	// Scan is a scanned case number. Continues is the adjourned hearing of that case that a new session continues, ""
	// none; Facts are that hearing's, and Limits its lawful lengths.
	Scan struct {
		Case, Continues string
		Facts           Details
		Limits          Limits
	}
	// Complete gives facts that were missing.
	Complete struct {
		Who     string
		Details Details
		Limits  Limits
	}
	// Mark notes a moment. Kind is "agenda" for a step of a hearing, "button" for the room's button, "" for free text.
	Mark struct{ Text, Who, Kind string }
	// Prompt is a supervisor's word to the officers.
	Prompt struct{ Text, Who string }
	// PromptSeen says that the officers have read what was prompted.
	PromptSeen struct{ Who string }
	// Pause asks for a declared break; without a reason it is refused.
	Pause struct{ Reason, Who string }
	// Resume ends the break.
	Resume struct{ Who string }
	// Stop asks for the end.
	Stop struct{ Reason, Who string }
	// Answer answers the open question: Yes ends the session, no lets it go on.
	Answer struct {
		Yes bool
		Who string
	}
	// Opened says that the recorder has opened the session.
	Opened struct{ Session string }
	// OpenFailed says that nothing can be recorded.
	OpenFailed struct{ Cause string }
	// Lost says that the recorder has ended the running session by itself: no disk can be written any more.
	Lost struct{ Session, Cause string }
	// Sealed says that a session is sealed, or could not be.
	Sealed struct {
		Session string
		Err     string
	}
	// NoticeGiven says that the notice of recording was played, or given by a person.
	NoticeGiven struct{ By string }
	// Raise says that a fault began.
	Raise struct{ Fault Fault }
	// Clear says that a fault ended.
	Clear struct{ Code, Ch string }
	// PowerBack says, once after the start, that a session was cut Ago before now.
	PowerBack struct {
		Session string
		Paused  bool
		Why     Pause // reason and person of the pause, if Paused
		Ago     time.Duration
		Details Details
	}
	// BatteryLow says that the battery, which feeds the room alone, ends soon.
	BatteryLow struct{}
	// Shutdown asks for the seal at once, without post-roll.
	Shutdown struct{}
)

func (Tick) event()        {}
func (Button) event()      {}
func (Presence) event()    {}
func (Door) event()        {}
func (Start) event()       {}
func (Scan) event()        {}
func (Complete) event()    {}
func (Mark) event()        {}
func (Prompt) event()      {}
func (PromptSeen) event()  {}
func (Pause) event()       {}
func (Resume) event()      {}
func (Stop) event()        {}
func (Answer) event()      {}
func (Opened) event()      {}
func (OpenFailed) event()  {}
func (Lost) event()        {}
func (Sealed) event()      {}
func (NoticeGiven) event() {}
func (Raise) event()       {}
func (Clear) event()       {}
func (PowerBack) event()   {}
func (BatteryLow) event()  {}
func (Shutdown) event()    {}

// Action is something to do. Actions are carried out in order.
type Action interface{ action() }

type (
	// Open begins a session, with pre-roll unless it starts paused.
	Open struct {
		Start
		Paused bool
	}
	// Lamp sets the lamp.
	Lamp struct{ State LampState }
	// Announce plays a sound into the room: "notice", "resumed", "paused", "fault", "ask", "limit", "end".
	Announce struct{ Sound string }
	// Precheck measures the room and notes the result; it never blocks.
	Precheck struct{}
	// NoteDetails writes who and what into the record.
	NoteDetails struct{ Complete }
	// NoteMark writes a mark.
	NoteMark struct{ Mark }
	// NoteEvent writes an entry of the given type ("notice", "lamp", "fault", "cleared", "prompt").
	NoteEvent struct{ Type, Code, Ch, Text, Who string }
	// PauseRecording turns capture off and declares the break.
	PauseRecording struct{ Pause }
	// ResumeRecording turns it on again.
	ResumeRecording struct{ Resume }
	// Finish closes the media and seals. Session may be "" when nothing was ever opened.
	Finish struct {
		Session string
		Stop
	}
	// Ask asks the people in the room.
	Ask struct{ Question Question }
	// Refuse answers a request that has no meaning now. Code: "running", "not-recording", "reason", "not-paused", "no-question", "no-prompt".
	Refuse struct{ Code string }
)

func (Open) action()            {}
func (Lamp) action()            {}
func (Announce) action()        {}
func (Precheck) action()        {}
func (NoteDetails) action()     {}
func (NoteMark) action()        {}
func (NoteEvent) action()       {}
func (PauseRecording) action()  {}
func (ResumeRecording) action() {}
func (Finish) action()          {}
func (Ask) action()             {}
func (Refuse) action()          {}
