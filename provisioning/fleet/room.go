package fleet

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"minglu/agent/report"
)

// Class says in one word how a room stands.
type Class string

// The classes, worst first. Only rules and defaults of severity must decide between them.
const (
	Silent  Class = "silent"  // not heard of: nothing is known
	Failing Class = "fail"    // at least one item fails
	Partial Class = "partial" // none fails, but some could not be judged
	Passing Class = "pass"    // all that apply pass
)

// Room is how a room stands now.
type Room struct {
	Device     string       `json:"device"`
	Room       string       `json:"room"` // its name for people
	Body       string       `json:"body"`
	Class      Class        `json:"class"`
	State      string       `json:"state"` // what it last said it does; see Class and Recording
	Recording  bool         `json:"recording"`
	Session    string       `json:"session"`
	Since      time.Time    `json:"since,omitzero"` // of State, by its clock
	Heard      time.Time    `json:"heard,omitzero"` // last message, by the office's clock
	Version    string       `json:"version"`
	Items      Tally        `json:"items"`
	Failed     []FailedItem `json:"failed"` // at most MaxFailed, must before should
	Faults     int          `json:"faults"`
	Alarms     []OpenAlarm  `json:"alarms"`  // open ones, at most MaxFailed, newest first
	NAlarms    int          `json:"nalarms"` // all open ones
	Missing    int64        `json:"missing"` // numbers that never came
	Refused    int64        `json:"refused"` // messages and tries that were refused
	Events     int64        `json:"events"`
	Judged     time.Time    `json:"judged,omitzero"` // of the compliance list, by its clock
	Profile    string       `json:"profile"`
	HeardNever bool         `json:"never"` // not once since it was registered
}

// MaxFailed bounds the lists in a [Room].
const MaxFailed = 20

// Tally counts items of a compliance list.
type Tally struct {
	Pass, Unknown, NotApplicable int
	Fail                         int // severity must
	Advice                       int // severity should that fail
	FailRule                     int // of Fail: a rule, not our default
}

// MarshalJSON gives the counts short names.
func (t Tally) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]int{"pass": t.Pass, "fail": t.Fail, "fail_rule": t.FailRule, "advice": t.Advice, "unknown": t.Unknown, "not_applicable": t.NotApplicable})
}

// FailedItem is one item that fails, short.
type FailedItem struct {
	Item     string    `json:"item"`
	Subject  string    `json:"subject"`
	Zh       string    `json:"zh"`
	En       string    `json:"en"`
	Severity string    `json:"severity"`
	Rule     bool      `json:"rule"` // a rule, not our default
	Since    time.Time `json:"since,omitzero"`
}

// OpenAlarm is an alarm that was raised and not cleared.
type OpenAlarm struct {
	Device string `json:"device"`
	Room   string `json:"room,omitempty"`
	report.Alarm
}

type alarmKey struct{ code, ch string }

// room is the newest of one device, in memory. The fleet's lock guards it.
type room struct {
	name      string
	state     report.State // last with Online; Online is false after its Will
	begun     time.Time    // T of the first State of its run
	heard     time.Time    // zero: not since this process began
	heardWall time.Time
	silent    bool
	tally     Tally
	failed    []FailedItem
	judged    time.Time
	profile   string
	alarms    map[alarmKey]report.Alarm
	missing   int64
	refused   int64
	events    int64
	health    []byte // last, as it came
	dirty     bool   // health or heard is newer than the database
	change    int64
}

// room gives the room of a device, making it when it is new. The caller holds mu, or is Open.
func (f *Fleet) room(device string) *room {
	r := f.rooms[device]
	if r == nil {
		r = &room{name: device, silent: true, alarms: map[alarmKey]report.Alarm{}}
		f.rooms[device] = r
		f.touch(r)
	}
	return r
}

// touch notes that r looks different now. The caller holds mu, or is Open.
func (f *Fleet) touch(r *room) {
	f.change++
	r.change = f.change
}

// names makes rooms of the devices that may log in.
func (f *Fleet) names() {
	all := f.o.Names()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range all {
		f.room(n)
	}
}

// isSilent is the rule for silence. The caller holds mu.
func (r *room) isSilent(now time.Time) bool {
	return !r.state.Online || r.heard.IsZero() || now.Sub(r.heard) >= SilentAfter
}

// judge takes in a new compliance list.
func (r *room) judge(c *report.Compliance) {
	r.tally, r.failed = Tally{}, nil
	r.judged, r.profile = c.T, c.Profile.ID+" "+c.Profile.Version
	for _, it := range c.Items {
		switch rule := it.Basis != "default"; it.Verdict {
		case report.Pass:
			r.tally.Pass++
		case report.NotApplicable:
			r.tally.NotApplicable++
		case report.Fail:
			if it.Severity == "must" {
				r.tally.Fail++
				if rule {
					r.tally.FailRule++
				}
			} else {
				r.tally.Advice++
			}
			r.failed = append(r.failed, FailedItem{it.Item, it.Subject, it.Zh, it.En, it.Severity, rule, it.Since})
		default:
			if it.Severity == "must" {
				r.tally.Unknown++
			}
		}
	}
	rank := map[string]int{"must": 0, "should": 1}
	slices.SortStableFunc(r.failed, func(a, b FailedItem) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), a.Since.Compare(b.Since))
	})
	r.failed = r.failed[:min(len(r.failed), MaxFailed)]
}

// show makes what others see. The caller holds mu.
func (r *room) show(now time.Time) Room {
	out := Room{Device: r.name, Room: cmp.Or(r.state.Room, r.name), State: r.state.State, Session: r.state.Session, Since: r.state.Since.UTC(),
		Heard: r.heardWall.UTC(), Version: r.state.Version, Items: r.tally, Failed: slices.Clone(r.failed), Faults: len(r.state.Faults),
		NAlarms: len(r.alarms), Missing: r.missing, Refused: r.refused, Events: r.events, Judged: r.judged.UTC(), Profile: r.profile,
		HeardNever: r.heardWall.IsZero(), Alarms: []OpenAlarm{}}
	if out.Failed == nil {
		out.Failed = []FailedItem{}
	}
	if r.state.Body != nil {
		out.Body = r.state.Body.Name
	}
	for _, a := range r.alarms {
		out.Alarms = append(out.Alarms, OpenAlarm{r.name, out.Room, a})
	}
	slices.SortFunc(out.Alarms, func(a, b OpenAlarm) int {
		return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Ch, b.Ch))
	})
	out.Alarms = out.Alarms[:min(len(out.Alarms), MaxFailed)]
	out.Class, out.Recording = r.class(now)
	return out
}

// class is the rule for how a room stands. The caller holds mu.
func (r *room) class(now time.Time) (c Class, recording bool) {
	recording = slices.Contains([]string{"recording", "paused", "postroll"}, r.state.State)
	switch {
	case r.isSilent(now):
		return Silent, false
	case r.tally.Fail > 0:
		return Failing, recording
	case r.tally.Pass+r.tally.Advice == 0 || r.tally.Unknown > 0: // an empty list proves nothing
		return Partial, recording
	}
	return Passing, recording
}

func alarmOf(body string) (a report.Alarm) {
	_ = json.Unmarshal([]byte(body), &a) // as we wrote it
	return a
}

// take applies a State or a Will, and reports whether the room looks different.
func (r *room) take(s *report.State, will bool) (changed bool) {
	if !s.Online {
		// A late Will is void (report.State). An orderly farewell comes over the connection itself.
		if will && (s.Run != r.state.Run || s.BdSeq != r.state.BdSeq) || !r.state.Online {
			return false
		}
		r.state.Online = false
		return true
	}
	begun := s.Run != r.state.Run
	if !begun && s.BdSeq < r.state.BdSeq {
		return false
	}
	r.state = *s
	if begun {
		r.begun = s.T
	}
	return true
}
