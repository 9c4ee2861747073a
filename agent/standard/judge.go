package standard

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

const (
	// settle is how long a value must be good again before a fail ends.
	settle = 2 * time.Second
	// forget is how long after its end a fail that comes back counts as the same one, at least.
	forget = 10 * time.Second
	// maxHeld bounds how long one measurement stands for the time after it in a mean.
	maxHeld = 5 * time.Second
	// maxPoints bounds what is kept of one window; more often is not looked at.
	maxPoints = 4000
)

// State is what [Step] remembers from one step to the next. The zero value is the beginning. It is
// immutable.
type State struct {
	m map[key]memory
}

type key struct{ item, subject string }

// memory is what is known of one item and subject.
type memory struct {
	result Result
	since  time.Duration
	bad    bool          // a fail under way, though its value may be good for less than settle
	goodAt time.Duration // since when it is good again
	failed time.Duration // since when the last fail held
	ended  time.Duration // when it ended
	fails  bool          // there was one
	points []point       // of the window, oldest first
}

type point struct {
	at time.Duration
	v  float64 // for items that are not numbers: 1 good, 0 bad
}

// Step judges all items of p at the uptime now, in the order of the profile, subjects in order of
// their names. measurements holds the newest of each measure and subject. Nothing given is changed.
func Step(p *Profile, s State, measurements []Measurement, f Facts, now time.Duration) (State, []Verdict) {
	of := map[string][]*Measurement{}
	for i := range measurements {
		m := &measurements[i]
		of[m.Measure] = append(of[m.Measure], m)
	}
	for _, list := range of {
		slices.SortStableFunc(list, func(a, b *Measurement) int { return strings.Compare(a.Subject, b.Subject) })
	}
	next := State{m: make(map[key]memory, len(s.m))}
	var out []Verdict
	for i := range p.Items {
		it := &p.Items[i]
		list := of[it.Measure]
		if len(list) == 0 {
			why := Text{"本机没有对此项的测量", "nothing here measures this"}
			if it.Manual {
				why = Text{"须由检查人员录入", "an inspector has to enter it"}
			}
			list = []*Measurement{{Measure: it.Measure, Unknown: why}}
		}
		for _, m := range list {
			k := key{it.ID, m.Subject}
			mem, v := it.judge(s.m[k], m, f, now)
			next.m[k] = mem
			out = append(out, v)
		}
	}
	return next, out
}

// Subjects returns the subjects that were judged, for tests and pages.
func (s State) Subjects() []string {
	seen := map[string]bool{}
	for k := range s.m {
		seen[k.subject] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// judge is one item for one subject.
func (it *Item) judge(mem memory, m *Measurement, f Facts, now time.Duration) (memory, Verdict) {
	v := Verdict{Item: it.ID, Measure: it.Measure, Subject: m.Subject, Limit: it.limit(), Unit: it.Unit, Clause: it.Basis.Source, Basis: it.Basis,
		At: m.At, Severity: it.Severity, Title: it.Title}
	switch why := it.outside(f); {
	case why != Text{}:
		v.Result, v.Why = NotApplicable, why
		mem.points, mem.bad, mem.fails = nil, false, false // a session begins with a clean sheet
	default:
		v.Result, v.Value, v.Why = it.verdict(&mem, m, f, now)
	}
	if v.Result != Fail && mem.result == Fail {
		mem.ended = now
	}
	if v.Result != mem.result {
		v.Since = now
		if v.Result == Fail {
			if mem.fails && now-mem.ended <= max(forget, it.Window) {
				v.Since = mem.failed
			}
			mem.fails, mem.failed = true, v.Since
		}
		mem.since = v.Since
	}
	mem.result, v.Since = v.Result, mem.since
	return mem, v
}

// outside says why an item does not apply now, or nothing.
func (it *Item) outside(f Facts) Text {
	switch {
	case it.limit() == "":
		return Text{"按需配备，不评分", "as needed, not scored"}
	case f.Closed:
		return Text{"不在使用时间内", "outside the opening hours"}
	case it.When.Session == "recording" && !f.Recording:
		return Text{"仅在录音录像时检查", "checked while a session records"}
	case it.When.Class != "" && it.When.Class != f.Class:
		return Text{"适用于 " + it.When.Class + " 类单位", "for bodies of class " + it.When.Class}
	}
	return Text{}
}

// verdict judges an item that applies.
func (it *Item) verdict(mem *memory, m *Measurement, f Facts, now time.Duration) (Result, Value, Text) {
	if why := it.unusable(m, f, now); why != (Text{}) {
		mem.bad = false
		return Unknown, Value{}, why
	}
	value := m.Value
	if it.Window > 0 {
		mem.points = it.remember(mem.points, m, now)
		mean, measured, lasts := it.overWindow(mem.points, now)
		switch {
		case measured < it.Window*9/10:
			mem.bad = false
			return Unknown, Value{}, Text{"测量时间不足 " + seconds(it.Window), "not measured for " + seconds(it.Window) + " yet"}
		case it.numeric():
			value = Number(math.Round(mean*1e9) / 1e9) // sums of seconds are not exact
		case !lasts:
			return it.settled(mem, true, m, value, now)
		}
	}
	good := it.meets(value)
	if m.AtLeast {
		why, open := it.open(value)
		if open {
			mem.bad = false
			return Unknown, value, why
		}
	}
	return it.settled(mem, good, m, value, now)
}

// settled lets a fail begin at once and end only after settle.
func (it *Item) settled(mem *memory, good bool, m *Measurement, value Value, now time.Duration) (Result, Value, Text) {
	switch {
	case !good:
		mem.bad, mem.goodAt = true, -1
	case mem.bad && mem.goodAt < 0:
		mem.goodAt = now
	}
	if mem.bad && (mem.goodAt < 0 || now-mem.goodAt < settle) {
		return Fail, value, Text{"实测 " + value.String() + it.unitZh() + "，要求 " + it.limit(), "measured " + value.String() + it.unit() + ", required " + it.limit()}
	}
	mem.bad = false
	return Pass, value, Text{}
}

// unusable says why a measurement cannot be judged, or nothing.
func (it *Item) unusable(m *Measurement, f Facts, now time.Duration) Text {
	oldest := f.MaxAge
	if oldest <= 0 {
		oldest = DefaultMaxAge
	}
	if it.Manual {
		oldest = ManualMaxAge
	}
	want := TextKind
	switch {
	case it.numeric():
		want = NumberKind
	case it.Equals != nil:
		want = BoolKind
	}
	switch {
	case m.Unknown != (Text{}):
		return m.Unknown
	case m.Value.Kind() == None:
		return Text{"没有测得数值", "no value was measured"}
	case now-m.At > oldest:
		return Text{"测量结果已过期，超过 " + seconds(oldest), "the measurement is older than " + seconds(oldest)}
	case m.Value.Kind() != want:
		return Text{"测量值的类型与检查项不符", "the measured value is of another kind than the item's limit"}
	case it.numeric() && m.Unit != it.Unit:
		return Text{"测量单位 " + m.Unit + " 与检查项的单位 " + it.Unit + " 不符", "measured in " + m.Unit + ", the item's limit is in " + it.Unit}
	}
	return Text{}
}

func (it *Item) numeric() bool { return it.Min != nil || it.Max != nil }

func (it *Item) meets(v Value) bool {
	switch {
	case it.numeric():
		return (it.Min == nil || v.Num() >= *it.Min-it.Tolerance) && (it.Max == nil || v.Num() <= *it.Max+it.Tolerance)
	case it.Equals != nil:
		return v.True() == *it.Equals
	}
	return slices.Contains(it.OneOf, v.Text())
}

// open reports whether a value that is "this or more" leaves the answer open.
func (it *Item) open(v Value) (Text, bool) {
	switch {
	case it.Min != nil && v.Num() < *it.Min-it.Tolerance:
		return Text{"尚未达到，不能证明符合", "not reached yet, so it is not shown"}, true
	case it.Max != nil && v.Num() <= *it.Max+it.Tolerance:
		return Text{"尚未发生，未到时限", "has not happened yet, the limit is not reached"}, true
	}
	return Text{}, false
}

// remember adds a measurement to the window, once, and drops what has left it.
func (it *Item) remember(points []point, m *Measurement, now time.Duration) []point {
	n := 0
	for n+1 < len(points) && points[n+1].at <= now-it.Window {
		n++
	}
	out := append(make([]point, 0, len(points)-n+1), points[n:]...)
	if len(out) > 0 && out[len(out)-1].at >= m.At || len(out) >= maxPoints {
		return out
	}
	v := m.Value.Num()
	if !it.numeric() {
		v = 0
		if it.meets(m.Value) {
			v = 1
		}
	}
	return append(out, point{m.At, v})
}

// overWindow returns the mean over the window, each value weighted by the time it stood for, how much
// of the window was measured, and whether the value was bad all through it.
func (it *Item) overWindow(points []point, now time.Duration) (mean float64, measured time.Duration, lasts bool) {
	from := now - it.Window
	sum := 0.0
	lasts = true
	for i, p := range points {
		end := now
		if i+1 < len(points) {
			end = points[i+1].at
		}
		end = min(end, p.at+maxHeld)
		if d := end - max(p.at, from); d > 0 {
			measured += d
			sum += p.v * d.Seconds()
			lasts = lasts && p.v == 0
		}
	}
	if measured > 0 {
		mean = sum / measured.Seconds()
	}
	return mean, measured, lasts
}

func (it *Item) unit() string {
	if it.Unit == "" {
		return ""
	}
	return " " + it.Unit
}

// unitZh is the unit as it stands in a Chinese sentence; those of the SI stay as they are.
func (it *Item) unitZh() string {
	switch it.Unit {
	case "ratio":
		return ""
	case "copies":
		return " 份"
	case "views":
		return " 路"
	case "frame/s":
		return " 帧/秒"
	case "sessions":
		return " 次"
	case "1/h":
		return " 次/小时"
	case "sets":
		return " 套"
	case "sets/officer":
		return " 套/人"
	case "rooms":
		return " 间"
	case "h":
		return " 小时"
	case "d":
		return " 天"
	case "grade":
		return " 级"
	}
	return it.unit()
}

// limit is the limit in words of mathematics.
func (it *Item) limit() string {
	switch {
	case it.Min != nil && it.Max != nil:
		return number(*it.Min) + " … " + number(*it.Max)
	case it.Min != nil:
		return "≥ " + number(*it.Min)
	case it.Max != nil:
		return "≤ " + number(*it.Max)
	case it.Equals != nil:
		return "= " + Bool(*it.Equals).String()
	}
	return strings.Join(it.OneOf, " | ")
}

func seconds(d time.Duration) string { return number(d.Round(time.Second).Seconds()) + " s" }
