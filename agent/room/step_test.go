package room

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// at is one event at one uptime.
type at struct {
	t time.Duration
	e Event
}

const s, m, h = time.Second, time.Minute, time.Hour

// rules are literal on purpose: changing a default means changing a row here too.
func rules() Rules {
	return Rules{
		Triggers: []Trigger{ByButton, ByPresence, ByDoor}, PostRoll: 3 * s, PresenceHold: 2 * s, Rearm: 30 * s, ButtonHold: 3 * s,
		EmptyAsk: 10 * m, EmptyStop: 5 * m, QuietAsk: 3 * h, NoticeWithin: 2 * m, PauseAsk: 10 * m,
		Limits: []time.Duration{8 * h, 24 * h}, LimitAhead: 15 * m, RetryOpen: 5 * s, Continue: 10 * m,
	}
}

func TestDefaultRules(t *testing.T) {
	want := rules()
	want.Triggers = []Trigger{ByButton, ByPresence}
	if d := cmp.Diff(want, DefaultRules()); d != "" {
		t.Error(d)
	}
}

func opening(by Trigger) []Action {
	return []Action{Lamp{LampRecording}, Open{Start: Start{By: by}}, Announce{"notice"}, Precheck{}}
}

// Prefixes that many rows begin with.
func recording() []at {
	return []at{{m, Start{By: ByPage}}, {m, Opened{"A"}}, {m, NoticeGiven{"played"}}}
}

func paused() []at { return append(recording(), at{2 * m, Pause{"meal", "Wang"}}) }

func join(a []at, b ...at) []at { return append(a[:len(a):len(a)], b...) }

func TestStep(t *testing.T) {
	impair := Fault{Code: "camera.lost", Ch: "face", Impairs: true}
	for _, tt := range []struct {
		rule   string
		events []at
		phase  Phase
		want   []Action // of the last event
	}{
		// start
		{"a press starts, on the way down", []at{{m, Button{true}}}, Recording, opening(ByButton)},
		{"its release is no mark", []at{{m, Button{true}}, {m, Opened{"A"}}, {m + s, Button{false}}}, Recording, nil},
		{"and holding that press does not end what it began", []at{{m, Button{true}}, {m, Opened{"A"}}, {m + 9*s, Tick{}}}, Recording, nil},
		{"a request starts", []at{{m, Start{By: ByPage}}}, Recording, opening(ByPage)},
		{"a second request is told that one runs", join(recording(), at{2 * m, Start{By: ByMessage}}), Recording, []Action{Refuse{"running"}}},
		{"presence waits its hold-off", []at{{m, Presence{true}}, {m + 2*s - 1, Tick{}}}, Idle, nil},
		{"then starts", []at{{m, Presence{true}}, {m + 2*s, Tick{}}}, Recording, opening(ByPresence)},
		{"somebody passing by starts nothing", []at{{m, Presence{true}}, {m + s, Presence{false}}, {m + 3*s, Tick{}}}, Idle, nil},
		{"a door starts", []at{{m, Door{true}}}, Recording, opening(ByDoor)},
		{"a closing door does not", []at{{m, Door{false}}}, Idle, nil},
		{"a door in a session means nothing", join(recording(), at{2 * m, Door{true}}), Recording, nil},
		{"a scanned case starts with its number", []at{{m, Scan{Case: "2026-12"}}}, Recording, []Action{
			Lamp{LampRecording}, Open{Start: Start{By: ByScan, Details: Details{Case: "2026-12"}}}, Announce{"notice"}, Precheck{}}},
		{"the lamp, the facts and standing faults enter the record once it is open",
			[]at{{s, Raise{impair}}, {m, Scan{Case: "7"}}, {m, Opened{"A"}}}, Recording, []Action{
				NoteEvent{Type: "lamp", Code: "impaired"}, NoteDetails{Complete{Who: "", Details: Details{Case: "7"}}}, NoteEvent{Type: "fault", Code: "camera.lost", Ch: "face"}}},
		// nothing can be recorded
		{"when nothing can be recorded, the lamp and a sound say so", []at{{m, Button{true}}, {m, OpenFailed{"no disk"}}}, Recording, []Action{Lamp{LampFault}, Announce{"fault"}}},
		{"the sound comes once", []at{{m, Button{true}}, {m, OpenFailed{"x"}}, {m + 5*s, Tick{}}, {m + 5*s, OpenFailed{"x"}}}, Recording, nil},
		{"it is tried again, not sooner", []at{{m, Start{By: ByPage}}, {m, OpenFailed{"x"}}, {m + 5*s - 1, Tick{}}}, Recording, nil},
		{"after five seconds", []at{{m, Start{By: ByPage}}, {m, OpenFailed{"x"}}, {m + 5*s, Tick{}}}, Recording, []Action{Open{Start: Start{By: ByPage}}}},
		{"and the lamp turns when it succeeds", []at{{m, Start{By: ByPage}}, {m, OpenFailed{"x"}}, {m + 5*s, Tick{}}, {m + 5*s, Opened{"A"}}}, Recording,
			[]Action{Lamp{LampRecording}, NoteEvent{Type: "lamp", Code: "recording"}}},
		{"a session that loses its last disk is sealed and wanted again", join(recording(), at{2 * m, Lost{"A", "disk-full"}}), Recording,
			[]Action{Lamp{LampFault}, Finish{"A", Stop{"disk-full", "rule"}}, Announce{"fault"}}},
		{"what was lost is continued once a disk can be written", join(recording(), at{2 * m, Lost{"A", "disk-full"}}, at{2*m + 5*s, Tick{}}), Recording,
			[]Action{Open{Start: Start{By: ByPage, Continues: "A"}}}},
		{"a pause that loses its last disk stays a pause", join(paused(), at{3 * m, Lost{"A", "disk-failed"}}, at{3*m + 5*s, Tick{}}), Paused,
			[]Action{Open{Start: Start{By: ByPage, Continues: "A"}, Paused: true}}},
		{"in the post-roll there is nothing to continue", join(recording(), at{2 * m, Stop{"over", "Li"}}, at{2*m + s, Lost{"A", "disk-full"}}), Sealing,
			[]Action{Lamp{LampIdle}, NoteEvent{Type: "lamp", Code: "idle"}, Finish{"A", Stop{"over", "Li"}}}},
		{"a session that was ended is not lost", join(recording(), at{2 * m, Shutdown{}}, at{2 * m, Lost{"A", "disk-full"}}), Sealing, nil},
		{"a wish that never opened can be ended", []at{{m, Start{By: ByPage}}, {m, OpenFailed{"x"}}, {2 * m, Stop{"no", "Li"}}}, Idle, []Action{Lamp{LampIdle}, Finish{"", Stop{"no", "Li"}}}},
		// marks and facts
		{"a short press marks", join(recording(), at{2 * m, Button{true}}, at{2*m + s, Button{false}}), Recording, []Action{NoteMark{Mark{"button", "button", "button"}}}},
		{"a mark needs a session", []at{{m, Mark{Text: "x", Who: "Li"}}}, Idle, []Action{Refuse{"not-recording"}}},
		{"a mark is noted, in a break too", join(paused(), at{3 * m, Mark{Text: "x", Who: "Li"}}), Paused, []Action{NoteMark{Mark{Text: "x", Who: "Li"}}}},
		{"facts add up", join(recording(), at{m, Complete{Who: "Li", Details: Details{Case: "7"}}}, at{m, Complete{Who: "Li", Details: Details{Matter: "询问"}}}), Recording,
			[]Action{NoteDetails{Complete{Who: "Li", Details: Details{Case: "7", Matter: "询问"}}}}},
		{"facts need a session", []at{{m, Complete{Who: "Li", Details: Details{Case: "7"}}}}, Idle, []Action{Refuse{"not-recording"}}},
		{"a scan completes a session without case", join(recording(), at{2 * m, Scan{Case: "7"}}), Recording, []Action{NoteDetails{Complete{Who: "scanner", Details: Details{Case: "7"}}}}},
		{"the same case again means nothing", join(recording(), at{2 * m, Scan{Case: "7"}}, at{3 * m, Scan{Case: "7"}}), Recording, nil},
		{"another case asks", join(recording(), at{2 * m, Scan{Case: "7"}}, at{3 * m, Scan{Case: "8"}}), Recording,
			[]Action{Ask{AskScan}, Announce{"ask"}, NoteEvent{Type: "prompt", Code: "scan"}}},
		{"yes ends this one and begins that one", join(recording(), at{2 * m, Scan{Case: "7"}}, at{3 * m, Scan{Case: "8"}}, at{3 * m, Answer{true, "Li"}}), Recording,
			[]Action{Finish{"A", Stop{"another case", "Li"}}, Open{Start: Start{By: ByScan, Details: Details{Case: "8"}}}, Announce{"notice"}, Precheck{}}},
		{"no goes on", join(recording(), at{2 * m, Scan{Case: "7"}}, at{3 * m, Scan{Case: "8"}}, at{3 * m, Answer{false, "Li"}}), Recording, nil},
		{"an answer needs a question", join(recording(), at{2 * m, Answer{true, "Li"}}), Recording, []Action{Refuse{"no-question"}}},
		// pause
		{"a pause has a reason", join(recording(), at{2 * m, Pause{"", "Wang"}}), Recording, []Action{Refuse{"reason"}}},
		{"it is heard before capture goes off", paused(), Paused, []Action{Lamp{LampPaused}, NoteEvent{Type: "lamp", Code: "paused"}, Announce{"paused"}, PauseRecording{Pause{"meal", "Wang"}}}},
		{"an idle room cannot pause", []at{{m, Pause{"meal", "Wang"}}}, Idle, []Action{Refuse{"not-recording"}}},
		{"the button never pauses or resumes", join(paused(), at{3 * m, Button{true}}, at{3*m + s, Button{false}}), Paused, []Action{NoteMark{Mark{"button", "button", "button"}}}},
		{"resume", join(paused(), at{3 * m, Resume{"Li"}}), Recording, []Action{Lamp{LampRecording}, NoteEvent{Type: "lamp", Code: "recording"}, ResumeRecording{Resume{"Li"}}, Announce{"resumed"}}},
		{"what is not paused cannot resume", join(recording(), at{3 * m, Resume{"Li"}}), Recording, []Action{Refuse{"not-paused"}}},
		{"a pause may last", join(paused(), at{12*m - 1, Tick{}}), Paused, nil},
		{"a long one is asked about", join(paused(), at{12 * m, Tick{}}), Paused, []Action{Ask{AskPause}, Announce{"ask"}, NoteEvent{Type: "prompt", Code: "pause"}}},
		{"once", join(paused(), at{12 * m, Tick{}}, at{30 * m, Tick{}}), Paused, nil},
		{"an empty room may be paused for hours", join(paused(), at{3 * m, Presence{false}}, at{12 * m, Tick{}}, at{4 * h, Tick{}}), Paused, nil},
		// end
		{"a held button ends", join(recording(), at{2 * m, Button{true}}, at{2*m + 3*s, Tick{}}), PostRoll, []Action{Announce{"end"}}},
		{"and its release is no mark", join(recording(), at{2 * m, Button{true}}, at{2*m + 3*s, Tick{}}, at{2*m + 4*s, Button{false}}), PostRoll, nil},
		{"a request ends", join(recording(), at{2 * m, Stop{"done", "Li"}}), PostRoll, []Action{Announce{"end"}}},
		{"said twice it is the same end", join(recording(), at{2 * m, Stop{"done", "Li"}}, at{2*m + s, Stop{"done", "Li"}}), PostRoll, nil},
		{"the post-roll is kept", join(recording(), at{2 * m, Stop{"done", "Li"}}, at{2*m + 3*s - 1, Tick{}}), PostRoll, nil},
		{"then it is sealed", join(recording(), at{2 * m, Stop{"done", "Li"}}, at{2*m + 3*s, Tick{}}), Sealing, []Action{Lamp{LampIdle}, NoteEvent{Type: "lamp", Code: "idle"}, Finish{"A", Stop{"done", "Li"}}}},
		{"a break ends without post-roll", join(paused(), at{3 * m, Stop{"done", "Li"}}), Sealing, []Action{Lamp{LampIdle}, NoteEvent{Type: "lamp", Code: "idle"}, Finish{"A", Stop{"done", "Li"}}}},
		{"an idle room cannot end", []at{{m, Stop{"done", "Li"}}}, Idle, []Action{Refuse{"not-recording"}}},
		{"sealed, the room is idle", join(recording(), at{2 * m, Stop{"done", "Li"}}, at{3 * m, Tick{}}, at{3 * m, Sealed{"A", ""}}), Idle, nil},
		{"a trigger while sealing starts at once", join(recording(), at{2 * m, Stop{"done", "Li"}}, at{3 * m, Tick{}}, at{3 * m, Button{true}}), Recording, opening(ByButton)},
		{"a trigger in the post-roll ends it and starts", join(recording(), at{2 * m, Stop{"done", "Li"}}, at{2*m + s, Start{By: ByPage}}), Recording,
			[]Action{Finish{"A", Stop{"done", "Li"}}, Open{Start: Start{By: ByPage}}, Announce{"notice"}, Precheck{}}},
		{"the seal of the last session does not end this one", join(recording(), at{2 * m, Stop{"done", "Li"}}, at{3 * m, Tick{}}, at{3 * m, Button{true}}, at{3 * m, Opened{"B"}}, at{4 * m, Sealed{"A", ""}}), Recording, nil},
		{"a stopping agent seals at once", join(recording(), at{2 * m, Shutdown{}}), Sealing, []Action{Lamp{LampIdle}, NoteEvent{Type: "lamp", Code: "idle"}, Finish{"A", Stop{Reason: "agent stopping"}}}},
		{"a battery that ends seals at once, without post-roll", join(recording(), at{2 * m, BatteryLow{}}), Sealing,
			[]Action{Lamp{LampIdle}, NoteEvent{Type: "lamp", Code: "idle"}, Announce{"end"}, Finish{"A", Stop{"battery low", "rule"}}}},
		{"in a break too", join(paused(), at{3 * m, BatteryLow{}}), Sealing,
			[]Action{Lamp{LampIdle}, NoteEvent{Type: "lamp", Code: "idle"}, Announce{"end"}, Finish{"A", Stop{"battery low", "rule"}}}},
		{"and cuts the post-roll", join(recording(), at{2 * m, Stop{"done", "Li"}}, at{2*m + s, BatteryLow{}}), Sealing,
			[]Action{Lamp{LampIdle}, NoteEvent{Type: "lamp", Code: "idle"}, Announce{"end"}, Finish{"A", Stop{"battery low", "rule"}}}},
		{"an idle room has nothing to seal", []at{{m, BatteryLow{}}}, Idle, nil},
		{"who presses the button then is recorded all the same", []at{{m, BatteryLow{}}, {2 * m, Button{true}}}, Recording, opening(ByButton)},
		{"an idle agent just stops", []at{{m, Shutdown{}}}, Idle, nil},
		// re-arming
		{"who stays after the end does not start another", []at{{m, Presence{true}}, {m + 2*s, Tick{}}, {m + 2*s, Opened{"A"}}, {2 * m, Stop{"", "Li"}}, {3 * m, Tick{}}, {3 * m, Sealed{"A", ""}}, {9 * m, Tick{}}}, Idle, nil},
		{"nor who comes back for a coat", []at{{m, Presence{true}}, {m + 2*s, Tick{}}, {m + 2*s, Opened{"A"}}, {2 * m, Stop{"", "Li"}}, {3 * m, Tick{}}, {3 * m, Sealed{"A", ""}},
			{4 * m, Presence{false}}, {4*m + 29*s, Tick{}}, {4*m + 29*s, Presence{true}}, {5 * m, Tick{}}}, Idle, nil},
		{"the next visitor does", []at{{m, Presence{true}}, {m + 2*s, Tick{}}, {m + 2*s, Opened{"A"}}, {2 * m, Stop{"", "Li"}}, {3 * m, Tick{}}, {3 * m, Sealed{"A", ""}},
			{4 * m, Presence{false}}, {4*m + 30*s, Tick{}}, {5 * m, Presence{true}}, {5*m + 2*s, Tick{}}}, Recording, opening(ByPresence)},
		{"leaving through the door starts nothing", []at{{m, Door{true}}, {m, Opened{"A"}}, {2 * m, Stop{"", "Li"}}, {3 * m, Tick{}}, {3 * m, Sealed{"A", ""}}, {3*m + 20*s, Tick{}}, {3*m + 20*s, Door{true}}}, Idle, nil},
		{"coming later does", []at{{m, Door{true}}, {m, Opened{"A"}}, {2 * m, Stop{"", "Li"}}, {3 * m, Tick{}}, {3 * m, Sealed{"A", ""}}, {4 * m, Tick{}}, {4 * m, Door{true}}}, Recording, opening(ByDoor)},
		// forgotten stop
		{"an empty room is asked about", join(recording(), at{2 * m, Presence{false}}, at{12 * m, Tick{}}), Recording, []Action{Ask{AskEmpty}, Announce{"ask"}, NoteEvent{Type: "prompt", Code: "empty"}, NoteEvent{Type: "fault", Code: Forgotten}}},
		{"not sooner", join(recording(), at{2 * m, Presence{false}}, at{12*m - 1, Tick{}}), Recording, nil},
		{"then ended by rule", join(recording(), at{2 * m, Presence{false}}, at{12 * m, Tick{}}, at{17 * m, Tick{}}), PostRoll, []Action{NoteEvent{Type: "cleared", Code: Forgotten}, Announce{"end"}}},
		{"who comes back answers by coming", join(recording(), at{2 * m, Presence{false}}, at{12 * m, Tick{}}, at{13 * m, Presence{true}}, at{17 * m, Tick{}}), Recording, nil},
		{"a no keeps it for another ten minutes", join(recording(), at{2 * m, Presence{false}}, at{12 * m, Tick{}}, at{13 * m, Answer{false, "Li"}}, at{23*m - 1, Tick{}}), Recording, nil},
		{"the answer clears what the office was told", join(recording(), at{2 * m, Presence{false}}, at{12 * m, Tick{}}, at{13 * m, Answer{false, "Li"}}), Recording, []Action{NoteEvent{Type: "cleared", Code: Forgotten}}},
		{"yes ends it", join(recording(), at{2 * m, Presence{false}}, at{12 * m, Tick{}}, at{13 * m, Answer{true, "Li"}}), PostRoll, []Action{NoteEvent{Type: "cleared", Code: Forgotten}, Announce{"end"}}},
		{"without a sensor nobody is missed", join(recording(), at{2 * h, Tick{}}), Recording, nil},
		{"but three hours without a touch are asked about", join(recording(), at{3*h + m, Tick{}}), Recording, []Action{Ask{AskQuiet}, Announce{"ask"}, NoteEvent{Type: "prompt", Code: "quiet"}, NoteEvent{Type: "fault", Code: Forgotten}}},
		{"a mark is a touch", join(recording(), at{h, Mark{Text: "x", Who: "Li"}}, at{3*h + m, Tick{}}), Recording, nil},
		{"unanswered it is asked again", join(recording(), at{3*h + m, Tick{}}, at{6*h + m, Tick{}}), Recording, []Action{Ask{AskQuiet}, Announce{"ask"}, NoteEvent{Type: "prompt", Code: "quiet"}}},
		{"and never ends a session", join(recording(), at{3*h + m, Tick{}}, at{3*h + 30*m, Tick{}}), Recording, nil},
		// adjourned hearings
		{"an adjourned hearing is continued", []at{{m, Start{By: ByPage, Continues: "A"}}}, Recording,
			[]Action{Lamp{LampRecording}, Open{Start: Start{By: ByPage, Continues: "A"}}, Announce{"notice"}, Precheck{}}},
		{"by the scan of its case too", []at{{m, Scan{Case: "7", Continues: "A", Facts: Details{Matter: "听证"}}}}, Recording,
			[]Action{Lamp{LampRecording}, Open{Start: Start{By: ByScan, Details: Details{Case: "7", Matter: "听证"}, Continues: "A"}}, Announce{"notice"}, Precheck{}}},
		{"also as another case", join(recording(), at{2 * m, Scan{Case: "7"}}, at{3 * m, Scan{Case: "8", Continues: "A"}}, at{3 * m, Answer{true, "Li"}}), Recording,
			[]Action{Finish{"A", Stop{"another case", "Li"}}, Open{Start: Start{By: ByScan, Details: Details{Case: "8"}, Continues: "A"}}, Announce{"notice"}, Precheck{}}},
		{"a disk lost in it is continued from what was lost", []at{{m, Start{By: ByPage, Continues: "A"}}, {m, Opened{"B"}}, {2 * m, Lost{"B", "disk-full"}}, {2*m + 5*s, Tick{}}}, Recording,
			[]Action{Open{Start: Start{By: ByPage, Continues: "B"}}}},
		// prompts
		{"a supervisor's word goes on record", join(recording(), at{2 * m, Prompt{"出示证件", "督察"}}), Recording, []Action{NoteEvent{Type: "prompt", Code: "supervisor", Text: "出示证件", Who: "督察"}}},
		{"so does who read it", join(recording(), at{2 * m, Prompt{"x", "督察"}}, at{3 * m, PromptSeen{"panel"}}), Recording, []Action{NoteEvent{Type: "prompt", Code: "seen", Who: "panel"}}},
		{"an idle room is not prompted", []at{{m, Prompt{"x", "督察"}}}, Idle, []Action{Refuse{"not-recording"}}},
		{"what was not said cannot be read", join(recording(), at{2 * m, PromptSeen{"panel"}}), Recording, []Action{Refuse{"no-prompt"}}},
		// timers
		{"a notice not given is noted", []at{{m, Start{By: ByPage}}, {m, Opened{"A"}}, {3 * m, Tick{}}}, Recording, []Action{NoteEvent{Type: "notice", Code: "missing"}}},
		{"once", []at{{m, Start{By: ByPage}}, {m, Opened{"A"}}, {3 * m, Tick{}}, {4 * m, Tick{}}}, Recording, nil},
		{"a late one is noted all the same", []at{{m, Start{By: ByPage}}, {m, Opened{"A"}}, {3 * m, Tick{}}, {4 * m, NoticeGiven{"Li"}}}, Recording, []Action{NoteEvent{Type: "notice", Text: "Li"}}},
		{"a limit is warned of ahead", join(recording(), at{7*h + 46*m, Tick{}}), Recording, []Action{Announce{"limit"}, NoteEvent{Type: "prompt", Code: "limit-near", Text: "8:00:00"}}},
		{"and when reached", join(recording(), at{7*h + 46*m, Tick{}}, at{8*h + m, Tick{}}), Recording, []Action{Announce{"limit"}, NoteEvent{Type: "prompt", Code: "limit-reached", Text: "8:00:00"}}},
		{"a matter has limits of its own", []at{{m, Start{By: ByPage, Limits: Limits{[]time.Duration{2 * h}, 10 * m}}}, {m, Opened{"A"}}, {m, NoticeGiven{"played"}}, {h + 51*m, Tick{}}}, Recording,
			[]Action{Announce{"limit"}, NoteEvent{Type: "prompt", Code: "limit-near", Text: "2:00:00"}}},
		{"also one that is given later", join(recording(), at{h, Complete{Who: "Li", Details: Details{Matter: "询问"}, Limits: Limits{[]time.Duration{2 * h}, 10 * m}}}, at{h + 51*m, Tick{}}), Recording,
			[]Action{Announce{"limit"}, NoteEvent{Type: "prompt", Code: "limit-near", Text: "2:00:00"}}},
		{"but it never ends a session", join(recording(), at{m, Presence{true}}, at{7*h + 46*m, Tick{}}, at{8*h + m, Tick{}}, at{23 * h, Tick{}}), Recording, nil},
		// faults
		{"a fault is shown, heard and recorded", join(recording(), at{2 * m, Raise{impair}}), Recording,
			[]Action{Lamp{LampImpaired}, NoteEvent{Type: "lamp", Code: "impaired"}, NoteEvent{Type: "fault", Code: "camera.lost", Ch: "face"}, Announce{"fault"}}},
		{"said again it is the same fault", join(recording(), at{2 * m, Raise{impair}}, at{2 * m, Raise{impair}}), Recording, nil},
		{"its end too", join(recording(), at{2 * m, Raise{impair}}, at{3 * m, Clear{"camera.lost", "face"}}), Recording,
			[]Action{Lamp{LampRecording}, NoteEvent{Type: "lamp", Code: "recording"}, NoteEvent{Type: "cleared", Code: "camera.lost", Ch: "face"}}},
		{"a warning does not change the lamp", join(recording(), at{2 * m, Raise{Fault{Code: "clock.unverified"}}}), Recording, []Action{NoteEvent{Type: "fault", Code: "clock.unverified"}}},
		{"in an idle room it is only shown", []at{{2 * m, Raise{impair}}}, Idle, nil},
		{"another channel's fault stays", join(recording(), at{2 * m, Raise{impair}}, at{3 * m, Clear{"camera.lost", "room"}}), Recording, nil},
		// power
		{"a cut session is continued", []at{{s, PowerBack{Session: "A", Ago: 9 * m}}}, Recording,
			[]Action{Lamp{LampRecording}, Open{Start: Start{By: ByPower, Continues: "A"}}, Announce{"notice"}, Precheck{}}},
		{"not after ten minutes", []at{{s, PowerBack{Session: "A", Ago: 10 * m}}}, Idle, nil},
		{"paused at the cut, it returns paused", []at{{s, PowerBack{Session: "A", Ago: m, Paused: true, Why: Pause{"meal", "Wang"}}}}, Paused,
			[]Action{Lamp{LampPaused}, Open{Start: Start{By: ByPower, Continues: "A"}, Paused: true}}},
		{"a retry still continues it", []at{{s, PowerBack{Session: "A", Ago: m}}, {s, OpenFailed{"x"}}, {6 * s, Tick{}}}, Recording, []Action{Open{Start: Start{By: ByPower, Continues: "A"}}}},
		{"a person was faster", []at{{s, Start{By: ByPage}}, {s, PowerBack{Session: "A", Ago: m}}}, Recording, nil},
	} {
		var st State
		var got []Action
		for _, x := range join([]at{{0, Tick{}}}, tt.events...) {
			before := fmt.Sprint(st)
			old := st
			st, got = Step(rules(), st, x.e, x.t)
			if fmt.Sprint(old) != before {
				t.Fatalf("%s: Step changed the state it was given", tt.rule)
			}
		}
		if st.Phase != tt.phase {
			t.Errorf("%s: phase %s, want %s", tt.rule, st.Phase, tt.phase)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.rule, d)
		}
	}
}

// A room fed any events in any order never asks for two sessions at once, and always ends what it opened.
func FuzzStep(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14})
	f.Fuzz(func(t *testing.T, in []byte) {
		var st State
		var now time.Duration
		open := ""
		n := 0
		for _, b := range in {
			events := []Event{Tick{}, Button{true}, Button{false}, Presence{true}, Presence{false}, Door{true}, Start{By: ByPage}, Scan{Case: "7"}, Scan{Case: "8"},
				Mark{Text: "x", Who: "y"}, Pause{"r", "w"}, Resume{"w"}, Stop{"r", "w"}, Answer{true, "w"}, Answer{false, "w"}, Prompt{"x", "w"}, PromptSeen{"w"}, Raise{Fault{"c", "d", true}}, Clear{"c", "d"}, Shutdown{}}
			now += time.Duration(b/20) * 7 * time.Second
			var acts []Action
			st, acts = Step(rules(), st, events[int(b)%len(events)], now)
			for i := 0; i < len(acts); i++ {
				switch a := acts[i].(type) {
				case Open:
					if open != "" {
						t.Fatalf("opened while %s runs", open)
					}
					n++
					open = fmt.Sprint(n)
					var more []Action
					st, more = Step(rules(), st, Opened{open}, now)
					acts = append(acts, more...)
				case Finish:
					if a.Session != "" && a.Session != open {
						t.Fatalf("finished %q while %q runs", a.Session, open)
					}
					open = ""
				}
			}
		}
	})
}
