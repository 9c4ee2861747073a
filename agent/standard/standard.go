// Package standard judges measurements against an equipment-standard profile 设备标准, item by item.
//
// It guarantees: the same profile, state, measurements and facts give the same verdicts anywhere; what
// was not measured, is too old or of the wrong kind is "unknown" with the reason, never "pass"; an item
// that does not apply now is "not-applicable", never left out; rules of a law, standard or body and
// numbers of our own stay apart ([Basis.Rule], [Count]).
//
// It does not measure: [Step] takes what health, or an inspector, found. Times are uptime.
package standard

import "time"

// Text is a sentence for people in both languages.
type Text struct {
	Zh string `yaml:"zh" json:"zh"`
	En string `yaml:"en" json:"en"`
}

// Kinds of [Basis]. Default is a number of our own; the others are rules somebody issued.
const (
	BasisLaw      = "law"
	BasisNational = "national"
	BasisJudicial = "judicial"
	BasisPolice   = "police"
	BasisCity     = "city"
	BasisCounty   = "county"
	BasisIndustry = "industry"
	BasisVendor   = "vendor"
	BasisDefault  = "default"
)

// Basis says where an item's number comes from.
type Basis struct {
	Kind   string `yaml:"kind" json:"kind"`     // one of the Basis constants
	Seen   string `yaml:"seen" json:"seen"`     // "read": wording read in a source; "memory": to be checked; "none": our own
	Source string `yaml:"source" json:"source"` // the clause, as people cite it
}

// Rule reports whether somebody else asks for it, rather than our default.
func (b Basis) Rule() bool { return b.Kind != BasisDefault }

// Severity says how much an item weighs.
type Severity string

// The severities.
const (
	Must   Severity = "must"
	Should Severity = "should"
	Info   Severity = "info" // shown, not scored
)

// When limits an item to a situation. Empty fields do not limit.
type When struct {
	Session string `yaml:"session"` // "recording"
	Class   string `yaml:"class"`   // class of the body: "A", "B", "C"
}

// Item is one line of a profile. At most one kind of limit is set: Min and Max, OneOf, or Equals.
type Item struct {
	ID        string
	Measure   string // what is measured, such as "video.fps"
	Unit      string // of the value and the limits
	Min, Max  *float64
	OneOf     []string
	Equals    *bool
	Window    time.Duration // numbers: their mean over it is judged; others: bad all through it
	Tolerance float64       // of Min and Max, in Unit
	Severity  Severity
	When      When
	Manual    bool // entered by a person
	Basis     Basis
	Title     Text
}

// Profile is a list of items. It is immutable once parsed.
type Profile struct {
	ID, Version string
	Title       Text
	Items       []Item
}

// Measurement is one value that was taken, or the reason why not.
type Measurement struct {
	Measure string        // as in [Item.Measure]
	Subject string        // channel or disk, "" for the room or the board
	Value   Value         // none if Unknown is set
	Unit    string        // of Value
	At      time.Duration // uptime at which Value was true
	How     Text          // how it was taken
	Unknown Text          // why Value is not known
	// AtLeast says that Value still grows or is only the best shown so far: the true value is this or
	// more. Under a minimum it proves nothing, and neither does it under a maximum.
	AtLeast bool
}

// Known reports whether there is a value.
func (m *Measurement) Known() bool { return m.Value.Kind() != None && m.Unknown == (Text{}) }

// Facts are what the judge must know beside measurements.
type Facts struct {
	Recording bool          // a session records now; false in a pause
	Closed    bool          // outside the opening hours of the room: nothing applies
	Class     string        // class of the body, "" unknown
	MaxAge    time.Duration // an older measurement is unknown; 0: [DefaultMaxAge]
}

// DefaultMaxAge is how old a measurement may be. One entered by a person holds for a year.
const (
	DefaultMaxAge = 30 * time.Second
	ManualMaxAge  = 366 * 24 * time.Hour
)

// Result is what an item comes to.
type Result string

// The results.
const (
	Pass          Result = "pass"
	Fail          Result = "fail"
	Unknown       Result = "unknown"
	NotApplicable Result = "not-applicable"
)

// Verdict is one item judged for one subject.
type Verdict struct {
	Item     string
	Measure  string
	Subject  string
	Result   Result
	Value    Value  // as judged: the mean over the window, where there is one; none if not known
	Limit    string // such as "≥ 25", "-60 … 40", "= false", "h264 | h265"; "" if not scored
	Unit     string
	Clause   string // Basis.Source
	Basis    Basis
	Since    time.Duration // uptime from which Result holds; short interruptions do not reset it
	At       time.Duration // uptime of the measurement, 0 if there is none
	Severity Severity
	Why      Text // the reason, in words, for all but pass
	Title    Text
}

// differs reports whether an office should be told at once. The reason of a fail holds its value,
// which changes all the time.
func (v *Verdict) differs(w *Verdict) bool {
	return v.Result != w.Result || v.Since != w.Since || v.Result != Fail && v.Why != w.Why
}

// Changed reports whether anything but values has changed: results, reasons, subjects.
func Changed(a, b []Verdict) bool {
	if len(a) != len(b) {
		return true
	}
	for i := range a {
		if a[i].Item != b[i].Item || a[i].Subject != b[i].Subject || a[i].differs(&b[i]) {
			return true
		}
	}
	return false
}

// Tally counts results; an item counts once, by the worst of its subjects.
type Tally struct{ Pass, Fail, Unknown, NotApplicable int }

// Count keeps "meets the rules" and "meets our defaults" apart. Items of severity [Info] are not counted.
func Count(verdicts []Verdict) (rules, defaults Tally) {
	rank := map[Result]int{NotApplicable: 0, Pass: 1, Unknown: 2, Fail: 3}
	worst := map[string]Verdict{}
	for _, v := range verdicts {
		if w, ok := worst[v.Item]; !ok || rank[v.Result] > rank[w.Result] {
			worst[v.Item] = v
		}
	}
	for _, v := range worst {
		t := &defaults
		if v.Basis.Rule() {
			t = &rules
		}
		switch {
		case v.Severity == Info:
		case v.Result == Pass:
			t.Pass++
		case v.Result == Fail:
			t.Fail++
		case v.Result == Unknown:
			t.Unknown++
		default:
			t.NotApplicable++
		}
	}
	return rules, defaults
}
