package annual

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"minglu/agent/report"
	"minglu/agent/standard"
	"minglu/provisioning/fleet"
	"minglu/provisioning/registry"
)

var (
	zone  = time.FixedZone("CST", 8*3600)
	from  = time.Date(2026, 1, 1, 0, 0, 0, 0, zone)
	until = time.Date(2027, 1, 1, 0, 0, 0, 0, zone)
	now   = time.Date(2026, 12, 31, 12, 0, 0, 0, zone)
)

func body(uscc, name, class string, sets int) registry.Body {
	return registry.Body{ListBody: report.ListBody{Name: name, USCC: uscc}, Class: class, Sets: sets}
}

func officers(uscc string, n int, to string) (list []registry.Officer) {
	for range n {
		list = append(list, registry.Officer{Body: uscc, To: to})
	}
	return list
}

func source() Source {
	m := make([][2]int64, 12)
	m[2] = [2]int64{3, 5_400_000}
	return Source{Now: now, Profile: standard.Default(),
		Year: fleet.Year{From: from, Until: until, Bodies: []fleet.BodyYear{{Key: "A", Name: "甲局", Sessions: 3, MediaMS: 5_400_000, Recovered: 1, Unrecorded: 2, Months: m}, {Key: "Z", Name: "外局", Sessions: 1, Months: make([][2]int64, 12)}}},
		Registry: &registry.Data{Bodies: []registry.Body{body("A", "甲局", "A", 1), body("B", "乙局", "B", 0), body("C", "丙局", "C", 0), body("D", "丁局", "", 0)},
			Rooms:    []registry.Room{{Device: "r1", Bodies: []string{"A", "B"}, For: report.MatterInterview}, {Device: "r2", Bodies: []string{"A"}, For: report.MatterHearing}, {Device: "r3", Bodies: []string{"C"}}},
			Officers: slices.Concat(officers("A", 10, ""), officers("A", 90, "2026-12-30"), officers("B", 11, "2026-12-31"), officers("C", 500, ""))},
		Rooms: []fleet.Room{
			{Device: "r1", Room: "询问室一", Class: fleet.Failing, Failed: []fleet.FailedItem{{Item: "rec.copies", Zh: "双份", En: "copies", Severity: "must", Rule: true}, {Item: "mic.snr", Severity: "should"}}},
			{Device: "r2", Room: "听证室", Class: fleet.Passing, Failed: []fleet.FailedItem{{Item: "mic.snr", Severity: "should"}}}, {Device: "r3", Room: "别室", Class: fleet.Silent, Failed: []fleet.FailedItem{{Item: "rec.copies"}}},
			{Device: "x1", Room: "外室", Body: "外局", Class: fleet.Failing}},
		Unrecorded: []fleet.Unrecorded{{Kind: "secret", Reason: "三号案", Body: "甲局", T: now}, {Reason: "设备故障", T: now}, {Kind: "secret", T: now}, {T: now}},
		Looks:      map[string]int{"A": 7, "?": 2}}
}

func TestAYear(t *testing.T) {
	r := Make(source())
	by := map[string]Body{}
	for _, b := range r.Bodies {
		by[b.Key] = b
	}
	a, b, c, d := by["A"], by["B"], by["C"], by["D"]
	// 10 officers of class A: ceil(10/3) = 4 sets; it has two rooms and one other set. 11 of class B: ceil(11/5) = 3.
	if x := a.Allocate; x == nil || x.Officers != 10 || x.Need != 4 || x.Sets != 3 || x.Short != 1 || !strings.Contains(x.Clause, "第8条(1)") || x.Basis != "city" {
		t.Errorf("class A: %+v", x)
	}
	if x := b.Allocate; x == nil || x.Officers != 11 || x.Need != 3 || x.Sets != 0 || x.Short != 3 {
		t.Errorf("class B, a shared room belongs to its first body, a credential is good on its last day: %+v", x)
	}
	if x := c.Allocate; x == nil || x.Need != 0 || x.Short != 0 {
		t.Errorf("class C needs what it needs: %+v", x)
	}
	if d.Allocate != nil {
		t.Errorf("a body without a class: %+v", d.Allocate)
	}
	if r.Bodies[0].Key != "B" || r.Bodies[1].Key != "A" || r.Bodies[2].Key != "Z" {
		t.Errorf("order: %+v; want those that fall short first, then the most sessions", r.Bodies)
	}
	if a.Rooms != 2 || a.Failing != 1 || a.Silent != 0 || c.Silent != 1 || by["Z"].Rooms != 1 || by["Z"].Failing != 1 {
		t.Errorf("rooms: %+v, %+v, %+v", a, c, by["Z"])
	}
	if len(a.Lacks) != 0 || !slices.Equal(b.Lacks, []string{report.MatterHearing}) || len(c.Lacks) != 0 || len(d.Lacks) != 2 {
		t.Errorf("lacks: %q, %q, %q, %q", a.Lacks, b.Lacks, c.Lacks, d.Lacks)
	}
	if r.Total.Sessions != 4 || r.Total.Looks != 9 || r.Total.Months[2] != [2]int64{3, 5_400_000} || r.Total.Allocate.Short != 4 || a.Looks != 7 {
		t.Errorf("total %+v %+v", r.Total, r.Total.Allocate)
	}
	if len(r.Items) != 2 || r.Items[0].Item != "mic.snr" || len(r.Items[0].Rooms) != 2 || len(r.Items[1].Rooms) != 1 {
		t.Errorf("items %+v: want the one of two rooms first, none of a silent room", r.Items)
	}
	if len(r.Reasons) != 3 || r.Reasons[0] != (Reason{"涉密", 2}) {
		t.Errorf("reasons %+v", r.Reasons)
	}
	if len(r.Months) != 12 || r.Months[0] != "2026-01" || r.Months[11] != "2026-12" {
		t.Errorf("months %q", r.Months)
	}
}

func TestTheWorkbookSaysWhatThePageSays(t *testing.T) {
	s := source()
	b, err := Workbook(Make(s), s.Unrecorded)
	if err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, x := range []struct{ sheet, cell, want string }{
		{"单位", "A2", "乙局"}, {"单位", "V2", "3"}, {"单位", "A3", "甲局"}, {"单位", "E3", "3"}, {"单位", "F3", "1.5"}, {"单位", "G3", "2"}, {"单位", "Q2", "听证室"}, {"单位", "A7", "合计"}, {"单位", "V7", "4"},
		{"逐月", "F1", "2026-03 会话"}, {"逐月", "F3", "3"}, {"未录制", "E2", "涉密：三号案"}, {"未录制", "A2", "2026-12-31 12:00:00"}, {"不合格项", "A2", "mic.snr"}, {"不合格项", "D3", "规定"},
	} {
		if got, err := f.GetCellValue(x.sheet, x.cell); err != nil || got != x.want {
			t.Errorf("%s %s = %q, %v; want %q", x.sheet, x.cell, got, err, x.want)
		}
	}
}
