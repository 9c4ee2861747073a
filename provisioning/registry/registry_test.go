package registry

import (
	"bytes"
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"minglu/agent/report"
)

var day1 = time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC)

func open(t *testing.T) *Registry {
	t.Helper()
	r, err := Open(Options{Path: filepath.Join(t.TempDir(), "registry.json"), Now: func() time.Time { return day1 }, Zone: time.FixedZone("CST", 8*3600)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// filled is a registry with the example in it.
func filled(t *testing.T) *Registry {
	t.Helper()
	r := open(t)
	for _, name := range []string{Bodies, Rooms, Officers, Matters, Bookings, Cases} {
		b, ok, err := ExampleCSV(name)
		if !ok || err != nil {
			t.Fatalf("example of %s: %v", name, err)
		}
		apply(t, r, b)
	}
	return r
}

func apply(t *testing.T, r *Registry, file []byte) Plan {
	t.Helper()
	p := r.Preview(file)
	for _, m := range p.Mistakes {
		t.Errorf("mistake: %s / %s", m.Zh, m.En)
	}
	p, err := r.Apply(file, p.Token, "王某", "x.xlsx")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTheExampleComesInAndGoesOutAgain(t *testing.T) {
	r := filled(t)
	d := r.Data()
	if len(d.Bodies) != 2 || len(d.Rooms) != 2 || len(d.Officers) != 2 || len(d.Matters) != 2 || len(d.Bookings) != 2 || len(d.Cases) != 2 || d.Rev != 6 {
		t.Fatalf("the example gives %+v", d)
	}
	if b, ok := d.Body(exampleA); !ok || b.Class != "A" || b.Sets != 4 || b.Rules.MaxMinutes != 480 || b.Rules.Approval != report.ApprovalOthers || b.Division != "999900" {
		t.Errorf("body %+v", b)
	}
	if m, ok := d.Matter("hearing"); !ok || len(m.Agenda) != 8 || m.Agenda[1] != "告知权利" || m.Retention.Kind != report.KeepWithCase {
		t.Errorf("matter %+v", m)
	}
	if b := d.Bookings[0]; !b.From.Equal(time.Date(2026, 11, 24, 1, 0, 0, 0, time.UTC)) || len(b.Officers) != 2 {
		t.Errorf("booking %+v: 09:00 in the office's zone", b)
	}
	for _, name := range []string{Bodies, Rooms, Officers, Matters, Bookings, Cases} {
		b, ok, err := r.CSV(name)
		if !ok || err != nil || !bytes.HasPrefix(b, []byte("\ufeff")) {
			t.Fatalf("%s as CSV: %v", name, err)
		}
		p := r.Preview(b)
		if p.Wrong > 0 || len(p.Sheets) != 1 || p.Sheets[0].Sheet != name || p.Sheets[0].Same != 2 {
			t.Errorf("%s as CSV comes back as %+v", name, p)
		}
	}
	again, err := Open(r.o)
	if err != nil || len(again.Data().Officers) != 2 || again.Data().Changes[0].Who != "王某" {
		t.Errorf("after a restart: %+v, %v", again.Data(), err)
	}
}

func TestMistakesAreNamedByRow(t *testing.T) {
	const heads = "姓名,证号,单位代码,有效期自,有效期至,操作员\n"
	row := func(s string) string { return heads + s }
	for _, tt := range []struct{ rule, file, zh, en string }{
		{"an empty name", row(",1,A,,,"), "“人员”第 2 行，姓名：不能为空", `"人员" row 2, 姓名: must not be empty`},
		{"the third row", row("甲,1,A,,,\n乙,,A,,,"), "“人员”第 3 行，证号：不能为空", "row 3"},
		{"lines that are empty count", row("甲,1,A,,,\n\n\n乙,2,A,2026-13-01,,"), "“人员”第 5 行，有效期自：“2026-13-01”：应为日期", "row 5"},
		{"a line within a cell counts as its spreadsheet counts", row("\"甲\n乙\",1,A,,,\n丙,2,A,,,好"), "第 4 行，操作员：“好”：应为 是 或 否", "want yes or no"},
		{"a code with a wrong check digit", row("甲,1,11999900MB00000019,,,"), "单位代码：“11999900MB00000019”：校验位不对", "check digit"},
		{"a code of another length", row("甲,1,123,,,"), "应为 18 位", "want 18"},
		{"a letter that cannot be", row("甲,1,11999900MB000000IK,,,"), "第 17 位不能是 I", "position 17"},
		{"a body nobody knows", row("甲,1,91350100M000100Y43,,,"), "单位 91350100M000100Y43 不在“单位”表中", "is not in the sheet of bodies"},
		{"a credential twice", row("甲,1,A,,,\n乙,1,A,,,"), "第 3 行：1 与第 2 行重复", "is the same as row 2"},
		{"a number that lost its digits", row("甲,1.23457E+17,A,,,"), "长数字已失真", "lost its digits"},
		{"days the wrong way round", row("甲,1,A,2026-01-02,2026-01-01,"), "有效期至：早于有效期自", "before the first day"},
		{"a column nobody knows", "姓名,证号,单位代码,电话\n甲,1,A,2\n", "“人员”第 1 行，电话：没有这一列", "no such column"},
		{"a column that is missing", "姓名,单位代码,有效期自,有效期至\n甲,A,,\n", "“人员”第 1 行，证号：缺少这一列", "this column is missing"},
		{"a name that is too long", row(strings.Repeat("名", 201) + ",1,A,,,"), "201 个字，最多 200 个", "201 characters"},
		{"a control character", row("甲\x01,1,A,,,"), "控制字符", "control character"},
		{"one to remove that is not there", strings.Replace(heads, "\n", ",删除\n", 1) + "甲,77,A,,,,是\n", "要删除的 77 不存在", "is not there"},
		{"nothing we know", "a,b\n1,2\n", "没有认出任何清单", "no list was recognised"},
		{"an empty file", "", "文件是空的", "empty"},
		{"a quotation mark", row("\"甲,1,A,,,"), "引号", "quotation mark"},
		{"neither UTF-8 nor GB 18030", "\xff\xff\xff", "GB 18030", "GB 18030"},
		{"an old workbook", "\xd0\xcf\x11\xe0....", ".xls", ".xlsx"},
		{"half a workbook", "PK\x03\x04....", "不能作为 XLSX 打开", "cannot be opened"},
	} {
		r := filled(t)
		before := r.Data()
		file := []byte(strings.ReplaceAll(tt.file, ",A,", ","+exampleA+","))
		p := r.Preview(file)
		if p.Wrong == 0 || p.Token != "" || !strings.Contains(p.Mistakes[0].Zh, tt.zh) || !strings.Contains(p.Mistakes[0].En, tt.en) {
			t.Errorf("%s: %+v, want %q", tt.rule, p.Mistakes, tt.zh)
		}
		var m *MistakesError
		if _, err := r.Apply(file, p.Token, "王某", "x"); !errors.As(err, &m) || r.Data() != before {
			t.Errorf("%s: applied all the same: %v", tt.rule, err)
		}
	}
}

func csvRows(rows ...[]string) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.WriteAll(rows); err != nil {
		panic("BUG: " + err.Error())
	}
	return b.Bytes()
}

func TestRowsRefertoEachOther(t *testing.T) {
	booking := []string{"预约编号", "设备名称", "单位代码", "开始", "结束", "事项编号", "人员证号"}
	book := func(cells ...string) []byte { return csvRows(booking, cells) }
	for _, tt := range []struct {
		rule string
		file []byte
		zh   string // "": it is right
	}{
		{"a booking", book("b-9", "room-3", exampleA, "2026-12-01 09:00", "2026-12-01 10:00", "ask", "99990101001"), ""},
		{"of a room nobody knows", book("b-9", "room-9", exampleA, "2026-12-01 09:00", "2026-12-01 10:00", "", ""), "设备 room-9 不在“房间”表中"},
		{"by a body that does not use the room", book("b-9", "room-3", exampleB, "2026-12-01 09:00", "2026-12-01 10:00", "", ""), "不使用房间 room-3"},
		{"that ends before it begins", book("b-9", "room-3", exampleA, "2026-12-01 09:00", "2026-12-01 09:00", "", ""), "不晚于开始"},
		{"over another", book("b-9", "room-3", exampleA, "2026-11-24 10:30", "2026-11-24 12:00", "", ""), "与同一房间的预约 b-2026-001 时间重叠"},
		{"right after another", book("b-9", "room-3", exampleA, "2026-11-24 11:00", "2026-11-24 12:00", "", ""), ""},
		{"of a matter nobody knows", book("b-9", "room-3", exampleA, "2026-12-01 09:00", "2026-12-01 10:00", "raid", ""), "事项 raid 不存在"},
		{"with a credential that has expired", book("b-9", "room-3", exampleA, "2029-12-01 09:00", "2029-12-01 10:00", "", "99990101001"), "证号 99990101001 在 2029-12-01 无效"},
		{"with a day as a workbook keeps it", book("b-9", "room-3", exampleA, "46357.375", "46357.5", "", ""), ""},
		{"taking away what others need", csvRows([]string{"单位名称", "统一社会信用代码", "删除"}, []string{"", exampleB, "是"}), "现有的 room-4：单位 " + exampleB + " 不在“单位”表中"},
		{"another text under a version that was given out", csvRows([]string{"事项编号", "版本", "事项名称", "类型", "保存期限"}, []string{"hearing", "2026-1", "听证", "听证", "永久"}), "版本“2026-1”已下发，“事项名称”不能再改"},
		{"a new version beside it", csvRows([]string{"事项编号", "版本", "事项名称", "类型", "保存期限"}, []string{"hearing", "2026-2", "听证", "听证", "永久"}), ""},
		{"two at once", csvRows([]string{"事项编号", "版本", "事项名称", "类型", "保存期限"}, []string{"x", "1", "听证", "听证", "永久"}, []string{"x", "2", "听证", "听证", "永久"}), "事项 x 有两个在用版本"},
		{"an interview with an agenda", csvRows([]string{"事项编号", "版本", "事项名称", "类型", "保存期限", "议程"}, []string{"x", "1", "询问", "询问", "永久", "甲、乙"}), "只有听证有议程"},
		{"a case kept until before its end", csvRows([]string{"案号", "单位代码", "案由", "结案日期", "保存至"}, []string{"1", exampleA, "", "2026-01-02", "2026-01-01"}), "早于结案日期"},
	} {
		r := filled(t)
		p := r.Preview(tt.file)
		switch {
		case tt.zh == "" && p.Wrong > 0:
			t.Errorf("%s: %+v", tt.rule, p.Mistakes)
		case tt.zh != "" && (p.Wrong == 0 || !strings.Contains(p.Mistakes[0].Zh, tt.zh)):
			t.Errorf("%s: %+v, want %q", tt.rule, p.Mistakes, tt.zh)
		}
	}
}

func TestANewVersionRetiresTheOld(t *testing.T) {
	r := filled(t)
	apply(t, r, csvRows([]string{"事项编号", "版本", "事项名称", "类型", "保存期限"}, []string{"ask", "2027-1", "询问", "询问", "10年"}))
	m, ok := r.Data().Matter("ask")
	if !ok || m.Version != "2027-1" || m.Retention.Months != 120 || len(r.Data().Matters) != 3 {
		t.Errorf("in use: %+v of %d", m, len(r.Data().Matters))
	}
	for _, x := range r.Data().Matters {
		if x.ID == "ask" && x.Version == "2026-1" && (!x.Retired || x.Retention.Months != 6) {
			t.Errorf("the old one: %+v", x)
		}
	}
}

func TestWhatAPreviewShowedIsDone(t *testing.T) {
	r := filled(t)
	one := csvRows([]string{"姓名", "证号", "单位代码", "操作员"}, []string{"张某", "99990101001", exampleA, "是"}, []string{"新人", "5", exampleA, ""})
	p := r.Preview(one)
	if s := p.Sheets[0]; s.Add != 1 || s.Change != 1 || len(s.Diffs) != 2 || s.Diffs[0].Fields[0] != (Fields{"姓名", "王某", "张某"}) || s.Diffs[0].Row != 2 {
		t.Fatalf("preview %+v", s)
	}
	other := csvRows([]string{"姓名", "证号", "单位代码"}, []string{"别人", "6", exampleA})
	apply(t, r, other)
	if _, err := r.Apply(one, p.Token, "王某", "x"); !errors.Is(err, ErrChanged) {
		t.Errorf("after another change: %v", err)
	}
	if _, err := r.Apply(other, p.Token, "王某", "x"); !errors.Is(err, ErrChanged) {
		t.Errorf("another file: %v", err)
	}
	apply(t, r, one)
	o, _ := r.Data().Officer("99990101001")
	if o.Name != "张某" || !o.Operator || o.To != "2028-12-31" {
		t.Errorf("%+v: a column that is not in the file keeps what it has", o)
	}
	gone := csvRows([]string{"姓名", "证号", "单位代码", "删除"}, []string{"", "6", "", "是"})
	if p := apply(t, r, gone); p.Sheets[0].Remove != 1 {
		t.Errorf("remove: %+v", p)
	}
}

func TestSpreadsheetsAsPeopleSaveThem(t *testing.T) {
	r := filled(t)
	gbk, err := simplifiedchinese.GB18030.NewEncoder().Bytes([]byte("姓名;证号;单位代码\r\n䶮某;7;" + exampleA + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	apply(t, r, gbk)
	if o, ok := r.Data().Officer("7"); !ok || o.Name != "䶮某" {
		t.Errorf("GB 18030 with semicolons: %+v", o)
	}
	apply(t, r, csvRows([]string{"姓名", "证号", "单位代码"}, []string{"'=1+1", "8", exampleA}))
	if o, _ := r.Data().Officer("8"); o.Name != "=1+1" {
		t.Errorf("a guarded cell: %q", o.Name)
	}
	out, _, err := r.CSV(Officers)
	if err != nil || !strings.Contains(string(out), "'=1+1") {
		t.Errorf("a cell that looks like a formula is written as one: %v", err)
	}
}

func TestADamagedRegistryIsNotSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Path: path, Now: time.Now}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("opened: %v", err)
	}
}

func FuzzPreview(f *testing.F) {
	b, err := Example()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("姓名,证号,单位代码\n甲,1," + exampleA + "\n"))
	r, err := Open(Options{Path: filepath.Join(f.TempDir(), "r.json"), Now: time.Now, Zone: time.UTC})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := r.Preview(b)
		if (p.Wrong == 0) != (p.Token != "") || p.Wrong > 0 && len(p.Mistakes) == 0 {
			t.Errorf("%+v", p)
		}
	})
}
