package console

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"minglu/agent/report"
)

// TestTheAuditorsQuestion: "who looked, and what was not recorded in the third quarter?", on one page and
// as a table; a manager, who keeps equipment, is not told.
func TestTheAuditorsQuestion(t *testing.T) {
	o := open(t, true)
	o.county(t)
	year := o.clock().UTC().Year()
	uscc := o.lists.Data().Bodies[0].USCC
	at := time.Date(year, 8, 3, 1, 0, 0, 0, time.UTC)
	say := func(n int64, body string) {
		o.say(t, "room-4", report.KindSession, report.Numbered{Device: "room-4", Outbox: box, N: n, T: at, Type: report.SessionAccessed, Body: []byte(body)})
	}
	first := o.fleet.Counts().Events
	say(first+1, fmt.Sprintf(`{"at":%q,"who":"li","action":"copy","session":"S1","case":"某市监罚〔2026〕88号","body":%q,"purpose":"当事人申请","rule":"approved","by":"zhao","for":{"name":"张律师","capacity":"代理律师","document":"律师证 1"}}`, at.Format(time.RFC3339), uscc))
	say(first+2, fmt.Sprintf(`{"at":%q,"who":"=HYPERLINK(1)","action":"play","session":"S2","body":%q}`, at.Add(time.Hour).Format(time.RFC3339), uscc))
	until(t, "the looks are stored", func() bool { return o.fleet.Counts().Events == first+2 })
	ctx := browser(t)
	auditor := chromedp.Tasks{chromedp.SendKeys("[name=name]", "审计"), chromedp.SendKeys("[name=password]", "battery staple"+kb.Enter)}
	for _, size := range [][2]int64{{1024, 600}, {1920, 1080}} {
		act(t, ctx, "the third quarter", chromedp.EmulateViewport(size[0], size[1]), chromedp.Navigate(o.url+"/register"), chromedp.Evaluate("0", nil))
		if size[0] == 1024 {
			act(t, ctx, "log in", auditor)
		}
		act(t, ctx, "the answer", truth("document.querySelector('#quarter') && document.querySelectorAll('#quarter option').length === 12"),
			chromedp.Evaluate(fmt.Sprintf("(q => { q.value = '%d-3'; q.dispatchEvent(new Event('change')); })(document.getElementById('quarter'))", year), nil),
			truth("document.querySelectorAll('#looks tbody tr').length === 2"), shows("#looks tbody", "张律师（代理律师"), shows("#looks tbody", "zhao"), shows("#looks tbody tr[data-bare]", "未说明事由"),
			truth("document.querySelectorAll('#unrecorded li').length === 1"), shows("#unrecorded", "涉及国家秘密"))
		act(t, ctx, "one case", chromedp.SendKeys("[name=text]", "88号"), truth("document.querySelectorAll('#looks tbody tr').length === 1"))
	}
	act(t, ctx, "English", click("#lang"), shows("h1", "Register of access"), click("#lang"))
	table := o.call("GET", fmt.Sprintf("/api/v1/register/export?from=%d-07-01&until=%d-09-30", year, year), "", o.login2(t, "审计", "battery staple"))
	if s := table.Body.String(); table.Code != 200 || !strings.HasPrefix(s, "\uFEFF时间,房间") || strings.Count(s, "\n") != 3 || !strings.Contains(s, "'=HYPERLINK") {
		t.Errorf("the table: %d %s", table.Code, s)
	}
	all := o.call("GET", fmt.Sprintf("/api/v1/register?from=%d-01-01&until=%d-12-31", year, year), "", o.login2(t, "审计", "battery staple"))
	if strings.Count(all.Body.String(), `"device"`) != 43 || !strings.Contains(all.Body.String(), `"next":0`) {
		t.Errorf("the year's looks: %d %.300s", all.Code, all.Body)
	}
	if w := o.call("GET", "/api/v1/register", "", "Cookie: office="+o.token); w.Code != 403 {
		t.Errorf("a manager asks: %d, want 403", w.Code)
	}
}
