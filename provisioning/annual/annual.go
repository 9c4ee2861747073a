// Package annual puts together what a year was: sessions and hours of each body, what was not recorded and
// why, looks at recordings, rooms that fail, and the shortfall against the allocation standard 配备标准. It
// is what annual statistics, assessment and budget are made of, as a page and as a workbook.
//
// It decides and adds up; it reads nothing itself: [Make] is given the catalogue, the registry and the
// profile. What is a fact of the year (sessions) and what is so now (rooms, officers, sets) stand apart.
package annual

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"minglu/agent/report"
	"minglu/agent/standard"
	"minglu/provisioning/fleet"
	"minglu/provisioning/registry"
)

// Source is what a report is made of.
type Source struct {
	Year       fleet.Year
	Unrecorded []fleet.Unrecorded
	Rooms      []fleet.Room // as they stand now
	Registry   *registry.Data
	Profile    *standard.Profile
	Looks      map[string]int // at recordings in the stretch, by key of the body
	Now        time.Time
}

// Report is a year.
type Report struct {
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	Made    time.Time `json:"made"`
	Profile string    `json:"profile"` // id and version of the standard
	Total   Body      `json:"total"`
	Bodies  []Body    `json:"bodies"`  // those that fall short first, then the most sessions
	Months  []string  `json:"months"`  // "2026-01"
	Items   []Item    `json:"items"`   // that fail now, in the most rooms first
	Reasons []Reason  `json:"reasons"` // for not recording, the most frequent first
}

// Body is the year of one body.
type Body struct {
	fleet.BodyYear
	System   string `json:"system"`
	Division string `json:"division"`
	Looks    int    `json:"looks"` // at its recordings
	// As it is now:
	Rooms    int       `json:"rooms"`    // that belong to it
	Failing  int       `json:"failing"`  // of them, those with an item of severity must that fails
	Silent   int       `json:"silent"`   // of them, those that are not heard of
	Lacks    []string  `json:"lacks"`    // report.MatterInterview, report.MatterHearing: no room for it, own or shared
	Allocate *Allocate `json:"allocate"` // nil: it has no class, or is not in the registry
}

// Allocate compares the recording sets a body has with those it must have.
type Allocate struct {
	Item     string        `json:"item"` // such as "allocate.A"
	Class    string        `json:"class"`
	Officers int           `json:"officers"` // whose credentials are good today
	Sets     int           `json:"sets"`     // its rooms, and the other sets the registry names
	Need     int           `json:"need"`     // 0 where the standard asks for none
	Short    int           `json:"short"`    // of Sets
	Clause   string        `json:"clause"`
	Basis    string        `json:"basis"` // kind of the rule; "default" is our own number
	Title    standard.Text `json:"title"`
}

// Item is an item of the standard that fails in some rooms now.
type Item struct {
	Item     string   `json:"item"`
	Zh       string   `json:"zh"`
	En       string   `json:"en"`
	Severity string   `json:"severity"`
	Rule     bool     `json:"rule"` // a rule, not our default
	Rooms    []string `json:"rooms"`
}

// Reason is one reason for not recording.
type Reason struct {
	Reason string `json:"reason"`
	N      int    `json:"n"`
}

// Make adds up a report.
func Make(s Source) Report {
	r := Report{From: s.Year.From, Until: s.Year.Until, Made: s.Now.UTC(), Profile: s.Profile.ID + " " + s.Profile.Version,
		Bodies: []Body{}, Months: months(s.Year.From, s.Year.Until), Items: items(s.Rooms), Reasons: reasons(s.Unrecorded)}
	by := map[string]*Body{}
	for _, y := range s.Year.Bodies {
		by[y.Key] = &Body{BodyYear: y, Lacks: []string{}}
	}
	for _, b := range s.Registry.Bodies {
		x := by[b.USCC]
		if x == nil {
			x = &Body{BodyYear: fleet.BodyYear{Key: b.USCC, Months: make([][2]int64, len(r.Months))}}
			by[b.USCC] = x
		}
		x.Name, x.System, x.Division = b.Name, b.System, b.Division
		x.Lacks = lacks(s.Registry.Rooms, b.USCC)
	}
	rooms(by, s)
	for key, n := range s.Looks {
		if b := by[key]; b != nil {
			b.Looks = n
		}
		r.Total.Looks += n
	}
	today := s.Now.Format(time.DateOnly)
	for _, b := range s.Registry.Bodies {
		by[b.USCC].Allocate = allocate(s, b, by[b.USCC].Rooms, today)
	}
	for _, b := range by {
		r.Bodies = append(r.Bodies, *b)
	}
	slices.SortFunc(r.Bodies, func(a, b Body) int {
		return cmp.Or(cmp.Compare(b.short(), a.short()), cmp.Compare(b.Sessions, a.Sessions), strings.Compare(a.Name, b.Name), strings.Compare(a.Key, b.Key))
	})
	r.Total = total(r.Bodies, r.Total.Looks, len(r.Months))
	return r
}

func (b *Body) short() int {
	if b.Allocate == nil {
		return 0
	}
	return b.Allocate.Short
}

func months(from, until time.Time) []string {
	list := []string{}
	for m := from; m.Before(until) && len(list) < 240; m = time.Date(m.Year(), m.Month()+1, 1, 0, 0, 0, 0, m.Location()) {
		list = append(list, m.Format("2006-01"))
	}
	return list
}

// lacks says for which kinds of matters a body has no room, own or shared.
func lacks(rooms []registry.Room, uscc string) []string {
	list := []string{}
	for _, kind := range []string{report.MatterInterview, report.MatterHearing} {
		if !slices.ContainsFunc(rooms, func(r registry.Room) bool {
			return (r.For == "" || r.For == kind) && slices.Contains(r.Bodies, uscc)
		}) {
			list = append(list, kind)
		}
	}
	return list
}

// rooms counts the rooms of each body and how they stand. A room belongs to the first body of its line in
// the registry; one that is not in it, to the body it names itself.
func rooms(by map[string]*Body, s Source) {
	stands := map[string]fleet.Room{}
	for _, r := range s.Rooms {
		stands[r.Device] = r
	}
	count := func(b *Body, device string) {
		b.Rooms++
		switch r, ok := stands[device]; {
		case !ok || r.Class == fleet.Silent:
			b.Silent++
		case r.Class == fleet.Failing:
			b.Failing++
		}
	}
	listed := map[string]bool{}
	for _, r := range s.Registry.Rooms {
		listed[r.Device] = true
		if len(r.Bodies) > 0 && by[r.Bodies[0]] != nil {
			count(by[r.Bodies[0]], r.Device)
		}
	}
	for _, r := range s.Rooms {
		if listed[r.Device] {
			continue
		}
		for _, b := range by {
			if b.Name == r.Body && r.Body != "" {
				count(b, r.Device)
			}
		}
	}
}

// allocate compares a body with the item of the profile for its class, nil if there is none.
func allocate(s Source, b registry.Body, rooms int, today string) *Allocate {
	i := slices.IndexFunc(s.Profile.Items, func(it standard.Item) bool {
		return strings.HasPrefix(it.ID, "allocate.") && it.When.Class == b.Class
	})
	if b.Class == "" || i < 0 {
		return nil
	}
	it := s.Profile.Items[i]
	a := &Allocate{Item: it.ID, Class: b.Class, Sets: rooms + b.Sets, Clause: it.Basis.Source, Basis: string(it.Basis.Kind), Title: it.Title}
	for _, o := range s.Registry.Officers {
		if o.Body == b.USCC && o.ValidOn(today) {
			a.Officers++
		}
	}
	if it.Min != nil {
		a.Need = int(math.Ceil(*it.Min * float64(a.Officers)))
		if it.Measure == "body.sets" {
			a.Need = int(math.Ceil(*it.Min))
		}
	}
	a.Short = max(0, a.Need-a.Sets)
	return a
}

func items(rooms []fleet.Room) []Item {
	by := map[string]*Item{}
	for _, r := range rooms {
		if r.Class == fleet.Silent {
			continue // what it last said may be long mended
		}
		for _, f := range r.Failed {
			x := by[f.Item]
			if x == nil {
				x = &Item{Item: f.Item, Zh: f.Zh, En: f.En, Severity: f.Severity, Rule: f.Rule}
				by[f.Item] = x
			}
			if !slices.Contains(x.Rooms, r.Room) {
				x.Rooms = append(x.Rooms, r.Room)
			}
		}
	}
	list := []Item{}
	for _, x := range by {
		list = append(list, *x)
	}
	slices.SortFunc(list, func(a, b Item) int {
		return cmp.Or(cmp.Compare(len(b.Rooms), len(a.Rooms)), strings.Compare(a.Item, b.Item))
	})
	return list
}

// kindWords are the lawful kinds of not recording; the words each person found stand in the list beside.
var kindWords = map[string]string{"secret": "涉密", "urgent": "情况紧急", "objective": "客观原因", "other": "其他"}

func reasons(list []fleet.Unrecorded) []Reason {
	by := map[string]int{}
	for _, u := range list {
		by[cmp.Or(kindWords[u.Kind], u.Reason, "未注明")]++
	}
	out := []Reason{}
	for reason, n := range by {
		out = append(out, Reason{reason, n})
	}
	slices.SortFunc(out, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.N, a.N), strings.Compare(a.Reason, b.Reason))
	})
	return out
}

func total(bodies []Body, looks, months int) Body {
	t := Body{BodyYear: fleet.BodyYear{Name: "合计", Months: make([][2]int64, months)}, Looks: looks, Lacks: []string{}}
	var a Allocate
	for _, b := range bodies {
		t.Sessions += b.Sessions
		t.MediaMS += b.MediaMS
		t.Recovered += b.Recovered
		t.Unchecked += b.Unchecked
		t.Unsealed += b.Unsealed
		t.Archived += b.Archived
		t.Drills += b.Drills
		t.Unrecorded += b.Unrecorded
		t.Rooms += b.Rooms
		t.Failing += b.Failing
		t.Silent += b.Silent
		for i := range min(len(b.Months), months) {
			t.Months[i][0] += b.Months[i][0]
			t.Months[i][1] += b.Months[i][1]
		}
		if b.Allocate != nil {
			a.Officers += b.Allocate.Officers
			a.Sets += b.Allocate.Sets
			a.Need += b.Allocate.Need
			a.Short += b.Allocate.Short
			t.Allocate = &a
		}
	}
	return t
}
