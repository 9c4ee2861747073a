package standard

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const s = time.Second

// profile parses items written as in a profile, with a title and basis added.
func profile(t *testing.T, items ...string) *Profile {
	t.Helper()
	text := "id: test\nversion: \"1\"\ntitle: {zh: 试, en: test}\nitems:\n"
	for i, it := range items {
		text += fmt.Sprintf("  - {id: i%d, %s, basis: {kind: county, seen: read, source: 某县}, zh: 项, en: item}\n", i, it)
	}
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// at is a measurement of "m" with unit "u".
func at(up time.Duration, v Value) Measurement {
	return Measurement{Measure: "m", Value: v, Unit: "u", At: up}
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		rule string
		item string
		m    []Measurement
		f    Facts
		want Result
		why  string // part of the English reason
	}{
		{"at the minimum passes", "measure: m, unit: u, min: 25, severity: must", []Measurement{at(0, Number(25))}, Facts{}, Pass, ""},
		{"below the minimum fails", "measure: m, unit: u, min: 25, severity: must", []Measurement{at(0, Number(24))}, Facts{}, Fail, "measured 24 u, required ≥ 25"},
		{"within the tolerance passes", "measure: m, unit: u, min: 25, tolerance: 0.5, severity: must", []Measurement{at(0, Number(24.5))}, Facts{}, Pass, ""},
		{"above the maximum fails", "measure: m, unit: u, max: 2, severity: must", []Measurement{at(0, Number(2.1))}, Facts{}, Fail, "≤ 2"},
		{"inside a range passes", "measure: m, unit: u, min: -60, max: 40, severity: must", []Measurement{at(0, Number(-60))}, Facts{}, Pass, ""},
		{"outside a range fails", "measure: m, unit: u, min: -60, max: 40, severity: must", []Measurement{at(0, Number(-61))}, Facts{}, Fail, "-60 … 40"},
		{"zero may be the maximum", "measure: m, unit: u, max: 0, severity: must", []Measurement{at(0, Number(0))}, Facts{}, Pass, ""},
		{"one of the texts passes", "measure: m, oneOf: [h264, h265], severity: must", []Measurement{at(0, String("h265"))}, Facts{}, Pass, ""},
		{"another text fails", "measure: m, oneOf: [h264, h265], severity: must", []Measurement{at(0, String("mjpeg"))}, Facts{}, Fail, "h264 | h265"},
		{"the wanted truth passes", "measure: m, equals: false, severity: must", []Measurement{at(0, Bool(false))}, Facts{}, Pass, ""},
		{"the other truth fails", "measure: m, equals: false, severity: must", []Measurement{at(0, Bool(true))}, Facts{}, Fail, "= false"},
		{"nothing measured is unknown", "measure: m, unit: u, min: 1, severity: must", nil, Facts{}, Unknown, "nothing here measures"},
		{"nothing entered by a person is unknown", "measure: m, unit: u, min: 1, severity: must, manual: true", nil, Facts{}, Unknown, "inspector"},
		{"the reason of an unknown is kept", "measure: m, unit: u, min: 1, severity: must", []Measurement{{Measure: "m", Unknown: Text{"无", "no decoder"}}}, Facts{}, Unknown, "no decoder"},
		{"no value and no reason is unknown", "measure: m, unit: u, min: 1, severity: must", []Measurement{{Measure: "m", Unit: "u"}}, Facts{}, Unknown, "no value"},
		{"a text where a number is wanted is unknown", "measure: m, unit: u, min: 1, severity: must", []Measurement{at(0, String("9"))}, Facts{}, Unknown, "another kind"},
		{"a number where a truth is wanted is unknown", "measure: m, equals: true, severity: must", []Measurement{at(0, Number(1))}, Facts{}, Unknown, "another kind"},
		{"another unit is unknown", "measure: m, unit: ms, min: 1, severity: must", []Measurement{at(0, Number(9))}, Facts{}, Unknown, "measured in u"},
		{"what is not finite is unknown", "measure: m, unit: u, min: 1, severity: must", []Measurement{at(0, Number(1/zero()))}, Facts{}, Unknown, "no value"},
		{"an old measurement is unknown", "measure: m, unit: u, min: 1, severity: must", []Measurement{at(-31*s, Number(9))}, Facts{}, Unknown, "older than 30 s"},
		{"how old is a matter of the judge", "measure: m, unit: u, min: 1, severity: must", []Measurement{at(-31*s, Number(9))}, Facts{MaxAge: time.Hour}, Pass, ""},
		{"what a person entered holds longer", "measure: m, unit: u, min: 1, severity: must, manual: true", []Measurement{at(-24*time.Hour, Number(9))}, Facts{}, Pass, ""},
		{"an idle room has no session items", "measure: m, unit: u, min: 1, severity: must, when: {session: recording}", []Measurement{at(0, Number(0))}, Facts{}, NotApplicable, "while a session records"},
		{"a recording room has", "measure: m, unit: u, min: 1, severity: must, when: {session: recording}", []Measurement{at(0, Number(0))}, Facts{Recording: true}, Fail, ""},
		{"a closed room is not judged", "measure: m, unit: u, min: 1, severity: must", []Measurement{at(0, Number(0))}, Facts{Closed: true}, NotApplicable, "opening hours"},
		{"another class is not judged", "measure: m, unit: u, min: 1, severity: must, when: {class: A}", []Measurement{at(0, Number(0))}, Facts{Class: "B"}, NotApplicable, "class A"},
		{"an unknown class is not judged either", "measure: m, unit: u, min: 1, severity: must, when: {class: A}", []Measurement{at(0, Number(0))}, Facts{}, NotApplicable, "class A"},
		{"its own class is judged", "measure: m, unit: u, min: 1, severity: must, when: {class: A}", []Measurement{at(0, Number(0))}, Facts{Class: "A"}, Fail, ""},
		{"without a limit nothing is scored", "measure: m, unit: u, severity: info", []Measurement{at(0, Number(0))}, Facts{}, NotApplicable, "not scored"},
		{"so far less than a minimum proves nothing", "measure: m, unit: u, min: 8, severity: must", []Measurement{least(3)}, Facts{}, Unknown, "not reached yet"},
		{"so far more than a minimum is enough", "measure: m, unit: u, min: 8, severity: must", []Measurement{least(9)}, Facts{}, Pass, ""},
		{"so far less than a maximum proves nothing", "measure: m, unit: u, max: 8, severity: must", []Measurement{least(3)}, Facts{}, Unknown, "not happened yet"},
		{"so far more than a maximum is too much", "measure: m, unit: u, max: 8, severity: must", []Measurement{least(9)}, Facts{}, Fail, ""},
		{"a window that has just begun is unknown", "measure: m, unit: u, min: 1, window: 30s, severity: must", []Measurement{at(0, Number(9))}, Facts{}, Unknown, "30 s"},
	} {
		p := profile(t, tt.item)
		for i := range tt.m {
			tt.m[i].At += 100 * s
		}
		_, got := Step(p, State{}, tt.m, tt.f, 100*s)
		if len(got) != 1 || got[0].Result != tt.want || !strings.Contains(got[0].Why.En, tt.why) {
			t.Errorf("%s: %+v, want %s because %q", tt.rule, got, tt.want, tt.why)
			continue
		}
		if v := got[0]; (v.Why == Text{}) != (v.Result == Pass) || (v.Why.Zh == "") != (v.Why.En == "") {
			t.Errorf("%s: reason %+v with %s", tt.rule, v.Why, v.Result)
		}
	}
}

func zero() float64 { return 0 }

func least(v float64) Measurement {
	m := at(0, Number(v))
	m.AtLeast = true
	return m
}

// run judges one value a second; it returns the verdicts by second.
func run(p *Profile, f func(second int) (Value, Facts), seconds int) (out []Verdict) {
	var st State
	for i := range seconds {
		v, facts := f(i)
		now := 1000*s + time.Duration(i)*s
		m := at(now, v)
		if v.Kind() == None {
			m.Unknown = Text{"无", "none"}
		}
		var vs []Verdict
		st, vs = Step(p, st, []Measurement{m}, facts, now)
		out = append(out, vs[0])
	}
	return out
}

func series(values ...float64) func(int) (Value, Facts) {
	return func(i int) (Value, Facts) { return Number(values[min(i, len(values)-1)]), Facts{} }
}

// history writes the results by second: P, F, U, N.
func history(vs []Verdict) string {
	b := strings.Builder{}
	for _, v := range vs {
		b.WriteByte(strings.ToUpper(string(v.Result))[0])
	}
	return b.String()
}

func TestHistories(t *testing.T) {
	plain := "measure: m, unit: u, max: 2, severity: must"
	mean := "measure: m, unit: u, min: 25, tolerance: 0.5, window: 10s, severity: must"
	lasts := "measure: m, equals: false, window: 3s, severity: must"
	for _, tt := range []struct {
		rule, item string
		f          func(int) (Value, Facts)
		want       string
	}{
		{"a fail begins at once and ends 2 s after the value is good", plain, series(1, 1, 9, 9, 1, 1, 1, 1), "PPFFFFPP"},
		{"a value that flaps stays a fail", plain, series(9, 1, 9, 1, 9, 1, 9, 1, 1, 1), "FFFFFFFFFP"},
		{"a short dip in a mean does not fail", mean, func(i int) (Value, Facts) {
			if i == 15 {
				return Number(21), Facts{}
			}
			return Number(25), Facts{}
		}, "UUUUUUUUUPPPPPPPPPPPPPPPPPPPPPPP"},
		{"a mean that falls fails, and clears once the window is good", mean, func(i int) (Value, Facts) {
			if i >= 12 && i < 20 {
				return Number(10), Facts{}
			}
			return Number(25), Facts{}
		}, "UUUUUUUUUPPPPFFFFFFFFFFFFFFFFFFFPPPP"},
		{"a truth must be bad all through its window", lasts, func(i int) (Value, Facts) { return Bool(i == 5 || i >= 8 && i < 13), Facts{} }, "UUUPPPPPPPPFFFFPPPP"},
		{"unknown is never held over", plain, func(i int) (Value, Facts) {
			if i == 2 || i == 3 {
				return Value{}, Facts{}
			}
			return Number(9), Facts{}
		}, "FFUUFF"},
		{"a session begins with a clean sheet", "measure: m, unit: u, max: 2, window: 3s, severity: must, when: {session: recording}", func(i int) (Value, Facts) {
			return Number(9), Facts{Recording: i >= 4 && i < 10}
		}, "NNNNUUUFFFNN"},
	} {
		got := history(run(profile(t, tt.item), tt.f, len(tt.want)))
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.rule, got, tt.want)
		}
	}
}

func TestSince(t *testing.T) {
	p := profile(t, "measure: m, unit: u, max: 2, severity: must")
	for _, tt := range []struct {
		rule   string
		values []float64
		want   time.Duration // seconds after the first, of the last verdict
	}{
		{"from the first verdict", []float64{1, 1, 1}, 0},
		{"from the fail", []float64{1, 1, 9, 9}, 2},
		{"flapping does not reset it", []float64{1, 9, 1, 9, 1, 9}, 1},
		{"a fail that comes back soon is the same one", []float64{1, 9, 1, 1, 1, 1, 1, 9}, 1},
		{"a fail that comes back late is another", append(append([]float64{1, 9}, slices.Repeat([]float64{1}, 15)...), 9), 17},
		{"a pass counts from the end of the fail", []float64{9, 9, 1, 1, 1, 1}, 4},
	} {
		vs := run(p, series(tt.values...), len(tt.values))
		if got := vs[len(vs)-1].Since - 1000*s; got != tt.want*s {
			t.Errorf("%s: since %v, want %v (%s)", tt.rule, got, tt.want*s, history(vs))
		}
	}
}

func TestStepChangesNothingItWasGiven(t *testing.T) {
	p := profile(t, "measure: m, unit: u, min: 25, window: 10s, severity: must")
	var st State
	for i := range 20 {
		now := time.Duration(i) * s
		ms := []Measurement{at(now, Number(float64(i)))}
		a, va := Step(p, st, ms, Facts{}, now)
		_, vb := Step(p, st, ms, Facts{}, now)
		if Changed(va, vb) || va[0].Value != vb[0].Value {
			t.Fatalf("second %d: the same step gave %+v and %+v", i, va, vb)
		}
		st = a
	}
}

func TestSubjectsAreJudgedApart(t *testing.T) {
	p := profile(t, "measure: m, unit: u, max: 2, severity: must")
	ms := []Measurement{at(0, Number(9)), at(0, Number(1))}
	ms[0].Subject, ms[1].Subject = "room", "face"
	st, vs := Step(p, State{}, ms, Facts{}, 0)
	if len(vs) != 2 || vs[0].Subject != "face" || vs[0].Result != Pass || vs[1].Subject != "room" || vs[1].Result != Fail {
		t.Errorf("%+v", vs)
	}
	if got := st.Subjects(); !slices.Equal(got, []string{"face", "room"}) {
		t.Errorf("Subjects() = %v", got)
	}
	rules, defaults := Count(vs)
	if rules != (Tally{Fail: 1}) || defaults != (Tally{}) {
		t.Errorf("Count() = %+v, %+v: an item counts once, by its worst subject, among the rules", rules, defaults)
	}
}

// TestEveryItemOfTheDefaultProfile judges each item with a value that meets it and one that does not.
func TestEveryItemOfTheDefaultProfile(t *testing.T) {
	p := Default()
	if len(p.Items) < 60 {
		t.Fatalf("%d items", len(p.Items))
	}
	rules := 0
	for i := range p.Items {
		it := &p.Items[i]
		if it.Basis.Rule() {
			rules++
		}
		good, bad := values(it)
		for _, tt := range []struct {
			v    Value
			want Result
		}{{good, Pass}, {bad, Fail}, {Value{}, Unknown}} {
			if it.limit() == "" {
				tt.want = NotApplicable
			}
			one := &Profile{Items: []Item{*it}}
			var st State
			var vs []Verdict
			for now := 1000 * s; now <= 1000*s+it.Window+2*s; now += s {
				m := Measurement{Measure: it.Measure, Value: tt.v, Unit: it.Unit, At: now}
				st, vs = Step(one, st, []Measurement{m}, Facts{Recording: true, Class: it.When.Class}, now)
			}
			if v := vs[0]; v.Result != tt.want || v.Title.Zh == "" || v.Clause != it.Basis.Source {
				t.Errorf("%s with %v: %+v, want %s", it.ID, tt.v, v, tt.want)
			}
		}
	}
	if rules < 25 {
		t.Errorf("%d items are rules of somebody", rules)
	}
}

func values(it *Item) (good, bad Value) {
	switch {
	case it.Min != nil:
		return Number(*it.Min), Number(*it.Min - it.Tolerance - 0.1)
	case it.Max != nil:
		return Number(*it.Max), Number(*it.Max + it.Tolerance + 0.1)
	case it.Equals != nil:
		return Bool(*it.Equals), Bool(!*it.Equals)
	case len(it.OneOf) > 0:
		return String(it.OneOf[0]), String("other")
	}
	return Number(1), Number(1)
}

func BenchmarkStepDefaultProfile(b *testing.B) {
	p := Default()
	var ms []Measurement
	for _, it := range p.Items {
		for _, subject := range []string{"face", "room", "voice"} {
			good, _ := values(&it)
			ms = append(ms, Measurement{Measure: it.Measure, Subject: subject, Value: good, Unit: it.Unit})
		}
	}
	var st State
	now := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		now += s
		for i := range ms {
			ms[i].At = now
		}
		st, _ = Step(p, st, ms, Facts{Recording: true}, now)
	}
}
