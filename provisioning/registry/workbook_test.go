package registry

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"
)

// TestAWorkbookComesInAndGoesOutAgain: all sheets at once, all or nothing; what is exported changes nothing.
func TestAWorkbookComesInAndGoesOutAgain(t *testing.T) {
	r := open(t)
	b, err := Example()
	if err != nil {
		t.Fatal(err)
	}
	apply(t, r, b)
	if d := r.Data(); len(d.Bodies) != 2 || len(d.Rooms) != 2 || len(d.Officers) != 2 || len(d.Matters) != 2 || len(d.Bookings) != 2 || len(d.Cases) != 2 || d.Rev != 1 {
		t.Fatalf("the example gives %+v", d)
	}
	out, err := r.Workbook()
	if err != nil {
		t.Fatal(err)
	}
	p := r.Preview(out)
	for _, s := range p.Sheets {
		if s.Same != 2 || s.Add+s.Change+s.Remove > 0 {
			t.Errorf("what was exported changes %+v", s)
		}
	}
	if len(p.Sheets) != 6 || len(p.Ignored) != 1 || p.Ignored[0] != notes || p.Wrong > 0 {
		t.Errorf("preview %+v", p)
	}
	if p, err := r.Apply(out, p.Token, "王某", "x"); err != nil || r.Data().Rev != 1 {
		t.Errorf("nothing new: %+v, %v, revision %d", p, err, r.Data().Rev)
	}
	f, err := excelize.OpenReader(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	for cell, v := range map[string]string{"A4": "某", "B4": "99990101009", "C4": exampleA} {
		if err := f.SetCellStr("人员", cell, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.SetCellStr("案件", "D2", "何时"); err != nil {
		t.Fatal(err)
	}
	var mixed bytes.Buffer
	if err := f.Write(&mixed); err != nil {
		t.Fatal(err)
	}
	if p := r.Preview(mixed.Bytes()); p.Token != "" || p.Wrong != 1 || !strings.Contains(p.Mistakes[0].Zh, "“案件”第 2 行，结案日期") {
		t.Errorf("a mistake in one sheet: %+v", p.Mistakes)
	}
}

// TestAWorkbookAsPeopleSaveIt: numbers, days as a workbook keeps them, English heads and sheet names.
func TestAWorkbookAsPeopleSaveIt(t *testing.T) {
	r := filled(t)
	f := excelize.NewFile()
	for cell, v := range map[string]any{"A1": "姓名*", "B1": "Credential", "C1": "单位代码", "D1": "有效期自", "A2": " 𠅤某 ", "B2": int64(99990101003), "C2": strings.ToLower(exampleA), "D2": time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)} {
		if err := f.SetCellValue("Sheet1", cell, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.SetSheetName("Sheet1", "officers"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	apply(t, r, b.Bytes())
	if o, ok := r.Data().Officer("99990101003"); !ok || o.Name != "𠅤某" || o.From != "2026-03-04" || o.Body != exampleA {
		t.Errorf("numbers, dates and English heads: %+v", o)
	}
}
