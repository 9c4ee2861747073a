package console

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/xuri/excelize/v2"

	"minglu/agent/report"
)

// county lets a year go by: sessions of two bodies, a drill, one cut by a power loss, and two things that were not
// recorded, one of them in the third quarter.
func (o *office) county(t *testing.T) {
	t.Helper()
	o.example(t)
	year := o.clock().UTC().Year()
	bodies := o.lists.Data().Bodies
	n := int64(100)
	tell := func(at time.Time, typ, body string) {
		n++
		o.say(t, "room-4", report.KindSession, report.Numbered{Device: "room-4", Outbox: box, N: n - 100, T: at, Type: typ, Body: []byte(body)})
	}
	for i := range 24 {
		at := time.Date(year, time.Month(1+i%12), 5, 1, 0, i, 0, time.UTC)
		b := bodies[i%2]
		id := fmt.Sprintf("%s-%08x", at.Format("20060102T150405Z"), i)
		facts := fmt.Sprintf(`"session":%q,"body":{"name":%q,"uscc":%q},"case":"某市监罚〔%d〕%d号","matter":"询问当事人","officers":[{"name":"王某","credential":"99990101001"}]`, id, b.Name, b.USCC, year, i)
		typ, more := report.SessionSealed, ""
		switch i {
		case 7:
			typ = report.SessionRecovered
		case 9:
			more = `,"flags":["drill"]`
		}
		tell(at, report.SessionOpened, `{`+facts+`,"trigger":"button"}`)
		tell(at.Add(90*time.Minute), typ, `{`+facts+`,"media_ms":5400000,"copies":2`+more+`}`)
	}
	who := fmt.Sprintf(`"body":{"name":%q,"uscc":%q}`, bodies[0].Name, bodies[0].USCC)
	tell(time.Date(year, 3, 1, 1, 0, 0, 0, time.UTC), "session.not-recorded", `{"session":"a","who":"李某","reason":"设备故障",`+who+`}`)
	tell(time.Date(year, 8, 1, 1, 0, 0, 0, time.UTC), "session.not-recorded", `{"session":"b","who":"王某","reason":"涉及国家秘密","case":"某市监罚〔2026〕88号",`+who+`}`)
	for i := range 41 {
		at := time.Date(year, 6, 1, 1, i, 0, 0, time.UTC)
		tell(at, report.SessionAccessed, fmt.Sprintf(`{"at":%q,"who":"审计","action":"play","session":"x","body":%q}`, at.Format(time.RFC3339), bodies[0].USCC))
	}
	until(t, "the county is stored", func() bool { return o.fleet.Counts().Events >= n-100 })
}

// TestTheManagersYear: sessions, hours, what was not recorded and why, looks, failing items and the shortfall of
// each body against the allocation standard stand on one page, the same as a workbook, and lead to the sessions.
func TestTheManagersYear(t *testing.T) {
	o := open(t, true)
	o.county(t)
	o.say(t, "room-3", report.KindState, state("room-3", "询问室三", "idle"))
	o.say(t, "room-3", report.KindCompliance, list("room-3", fails, black))
	until(t, "a room fails", func() bool { return o.fleet.Counts().Fail == 1 })
	year := o.clock().UTC().Year()
	a := o.lists.Data().Bodies[0]
	ctx := browser(t)
	act(t, ctx, "the year", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(o.url+"/year"), logIn,
		shows("#s-sessions", "23"), shows("#s-hours", "34.5"), shows("#s-unrecorded", "2"), shows("#s-looks", "41"), shows("#s-failing", "1"), shows("#s-short", "0"))
	act(t, ctx, "a body", shows("[data-body='"+a.USCC+"']", a.Name), shows("[data-body='"+a.USCC+"'] td:nth-child(2)", "12"), shows("[data-body='"+a.USCC+"'] td:nth-child(3)", "18.0"),
		shows("[data-body='"+a.USCC+"']", "1 / 6 套（A 类，持证 2 人）"), shows("[data-body='"+a.USCC+"'] .chip", "已达标"), shows("[data-body='"+a.USCC+"'] .basis", "第8条(1)"),
		shows("#reasons", "涉及国家秘密 1 次"), shows("#items", "同期双份记录"), shows("#items", "询问室三"), shows("#unrecorded", "某市监罚〔2026〕88号"), truth("document.querySelectorAll('#months li').length === 12"), shows("#note", "演练 1 次"))
	// 30 more officers: the body has 6 sets, and must have 11.
	var rows strings.Builder
	rows.WriteString("姓名,证号,单位代码\n")
	for i := range 30 {
		fmt.Fprintf(&rows, "某%d,N%d,%s\n", i, i, a.USCC)
	}
	if _, err := o.lists.Apply([]byte(rows.String()), o.lists.Preview([]byte(rows.String())).Token, "王某", "x.csv"); err != nil {
		t.Fatal(err)
	}
	act(t, ctx, "officers came", chromedp.Reload(), shows("#s-short", "5"), shows("[data-body='"+a.USCC+"'] .chip", "缺 5 套"), shows("[data-body='"+a.USCC+"']", "11 / 6 套"))
	act(t, ctx, "the third quarter alone", chromedp.Evaluate(fmt.Sprintf("(() => {const f = document.getElementById('filter'); f.elements.from.value = '%d-07-01'; f.elements.until.value = '%d-09-30'; f.dispatchEvent(new Event('input'));})()", year, year), nil),
		shows("#s-unrecorded", "1"), shows("#s-sessions", "6"), truth("document.querySelectorAll('#unrecorded li').length === 1"), shows("#unrecorded", "涉及国家秘密"), truth("document.querySelectorAll('#months li').length === 3"))
	act(t, ctx, "to the sessions of a body", click("[data-body='"+a.USCC+"'] td:nth-child(2) a"), truth("location.pathname === '/sessions'"), shows("#fit", "共 4 次"), truth("document.querySelectorAll('#sessions tbody tr').length === 4"),
		shows("#sessions tbody", "1:30:00"), shows("#sessions tbody", "询问当事人"))
	act(t, ctx, "English", click("#lang"), shows("h1", "Sessions"), chromedp.Navigate(o.url+"/year"), shows("[data-body='"+a.USCC+"'] .chip", "5 short"), click("#lang"), shows("h1", "年度统计"))
	w := o.call("GET", "/api/v1/year/export", "", "Cookie: office="+o.token)
	f, err := excelize.OpenReader(bytes.NewReader(w.Body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if v, err := f.GetCellValue("单位", "V2"); err != nil || v != "5" {
		t.Errorf("the workbook says %q sets short, %v", v, err)
	}
}

// TestSessionsOfAllRooms: by case, officer, room, body and day.
func TestSessionsOfAllRooms(t *testing.T) {
	o := open(t, true)
	o.county(t)
	ctx := browser(t)
	rows := func(n int) chromedp.Action {
		return truth(fmt.Sprintf("document.querySelectorAll('#sessions tbody tr').length === %d", n))
	}
	act(t, ctx, "all", chromedp.EmulateViewport(1920, 1080), chromedp.Navigate(o.url+"/sessions"), logIn, shows("#fit", "共 23 次"), rows(23), shows("#sessions tbody", "修复后封存"))
	act(t, ctx, "a case", chromedp.SendKeys("[name=case]", "] 13号"), rows(1), shows("#sessions tbody", "13号"), truth("location.search.includes('case=')"), chromedp.Navigate(o.url+"/sessions"), rows(23), chromedp.SendKeys("[name=officer]", "99990101"), rows(23),
		chromedp.SendKeys("[name=room]", "nobody"), rows(0), truth("!document.querySelector('#empty').hidden"))
	act(t, ctx, "drills, from the address", chromedp.Navigate(o.url+"/sessions?drills=true&room=room-4"), rows(24), shows("#sessions tbody", "演练"))
}

// TestACaseReview: an auditor draws by a seed that is shown, scores, and the result is there for others; a manager
// may look, and not score.
func TestACaseReview(t *testing.T) {
	o := open(t, true)
	o.county(t)
	year := o.clock().UTC().Year()
	ctx := browser(t)
	act(t, ctx, "the auditor", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(o.url+"/reviews"), chromedp.SendKeys("[name=name]", "审计"), chromedp.SendKeys("[name=password]", "battery staple"+kb.Enter), truth("location.pathname === '/reviews' && document.querySelector('[name=n]')"),
		truth("!document.querySelector('#empty').hidden"))
	act(t, ctx, "draws", chromedp.SetValue("[name=n]", "3"), chromedp.SendKeys("[name=seed]", "第 137 期"), click("#draw button"), truth("location.pathname.startsWith('/reviews/2')"), shows("#seed", "第 137 期"),
		truth("document.querySelectorAll('#sample > li').length === 3"), shows("#facts", "23 次中 3 次"), shows("#sample", "未评"))
	act(t, ctx, "scores", click("#sample > li:first-child > details:last-of-type summary"), chromedp.SendKeys("#sample > li:first-child [name=whole]", "20"), chromedp.SendKeys("#sample > li:first-child [name=notice]", "4"), chromedp.SendKeys("#sample > li:first-child [name=note]", "告知不完整"),
		click("#sample > li:first-child .sheet button"), shows("#scored", "1 / 3"), shows("#mean", "80.0"), shows("#sample > li:first-child .chip", "80 分"), shows("#sample > li:first-child details", "审计 80 分"))
	list, err := o.o.Reviews.List(10)
	if err != nil || len(list) != 1 || list[0].Seed != "第 137 期" {
		t.Fatalf("kept: %+v, %v", list, err)
	}
	act(t, ctx, "in the list", chromedp.Navigate(o.url+"/reviews"), shows("#reviews tbody", "第 137 期"), shows("#reviews tbody", "80.0"))
	in, auditor := "Cookie: office="+o.token, o.login2(t, "审计", "battery staple")
	draw := func(seed string) string {
		w := o.call("POST", "/api/v1/reviews", fmt.Sprintf(`{"from":"%d-01-01","until":"%d-12-31","n":3,"seed":%q}`, year, year, seed), auditor)
		_, sample, _ := strings.Cut(w.Body.String(), `"sample":`)
		return sample
	}
	if one, two := draw("第 137 期"), draw("第 137 期"); one != two || one == draw("x") {
		t.Errorf("the same seed draws\n%s\n%s", one, two)
	}
	for _, x := range []struct {
		path, body string
		status     int
	}{
		{"/reviews", `{"from":"2026-01-01","until":"2026-12-31","n":3}`, 403}, {"/reviews/" + list[0].ID + "/scores", `{"device":"room-4","session":"x","points":{"whole":1}}`, 403},
	} {
		if w := o.call("POST", "/api/v1"+x.path, x.body, in); w.Code != x.status {
			t.Errorf("a manager at %s: %d %s", x.path, w.Code, w.Body)
		}
		if w := o.call("POST", "/api/v1"+x.path, x.body); w.Code != 401 {
			t.Errorf("nobody at %s: %d", x.path, w.Code)
		}
	}
	if w := o.call("POST", "/api/v1/reviews", `{"from":"1999-01-01","until":"1999-12-31","n":3}`, auditor); w.Code != 400 || !strings.Contains(w.Body.String(), "没有可抽取") {
		t.Errorf("of nothing: %d %s", w.Code, w.Body)
	}
	if w := o.call("GET", "/api/v1/reviews/"+list[0].ID, "", in); w.Code != 200 {
		t.Errorf("a manager looks: %d", w.Code)
	}
}
