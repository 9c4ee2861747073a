package web

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// shot keeps a picture for review.
func shot(name string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		var png []byte
		if err := chromedp.CaptureScreenshot(&png).Do(ctx); err != nil {
			return err
		}
		out := filepath.Join("..", "..", "out", "screenshots")
		if err := os.MkdirAll(out, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(out, name+".png"), png, 0o644)
	})
}

// panel is a page as the touch panel or a desk shows it.
type panel struct {
	name, lang string
	view       chromedp.Action
	touch      bool
}

func panels() []panel {
	return []panel{
		{"panel", "zh", chromedp.EmulateViewport(1024, 600, chromedp.EmulateTouch), true},
		{"desk", "en", chromedp.EmulateViewport(1920, 1080), false},
	}
}

// tap is a finger, or a mouse at a desk.
func (p panel) tap(selector string) chromedp.Action {
	if p.touch {
		return touch(selector, 60*time.Millisecond)
	}
	return chromedp.Click(selector)
}

func (p panel) open(url string) chromedp.Action {
	return chromedp.Tasks{p.view, chromedp.Navigate(url + "/login"), chromedp.Evaluate("document.cookie = 'lang="+p.lang+"; path=/'", nil), chromedp.Navigate(url), enabled("start")}
}

func state(s string) chromedp.Action {
	return truth("document.getElementById('bar').dataset.state === '" + s + "'")
}

const shownID = "(id => !document.getElementById(id).hidden)"

// TestOfficersInterview: from the page to the end without a keyboard: a booking by one touch, another officer,
// the case by scanner, rest, a supervisor's word, a second case scanned, the end.
func TestOfficersInterview(t *testing.T) {
	if !slow(t) {
		return
	}
	for _, p := range panels() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			f := pickingFake()
			f.picks.Bookings[0].Case = "" // it comes by the scanner
			url, _ := serve(t, newServer(t, f))
			ctx := browser(t)
			run(t, ctx, "open", p.open(url))
			run(t, ctx, "a booking is one touch", p.tap("#choose"), chromedp.WaitVisible("#pick"), p.tap("#p-bookings button"), truth("document.querySelector('#p-bookings button').getAttribute('aria-pressed') === 'true'"),
				truth("document.querySelectorAll('#p-officers [aria-pressed=true]').length === 2"), p.tap("#p-officers button:nth-child(3)"), truth("document.querySelectorAll('#p-officers [aria-pressed=true]').length === 3"),
				shot("story-choosing-"+p.name+"-"+p.lang), p.tap("#pickok"), truth("!document.getElementById('pick').open"))
			run(t, ctx, "start", p.tap("#start"), state("recording"))
			did(t, f, "what was touched goes along", "start panel case= matter=行政处罚听证TZ-01 officers=[{王某 001} {李某 002} {𠅤某 003}] flags=[]")
			run(t, ctx, "the case is missing", truth("document.querySelector('#details .missing [name=case]')"), shot("story-missing-"+p.name+"-"+p.lang))
			f.now("recording", f.change(func(r *Running) { r.Case, r.Missing = "并市监罚〔2026〕12号", nil }), "mark", "pause", "stop", "details") // the scanner
			run(t, ctx, "the scanner completes it", truth("document.querySelector('[name=case]').value === '并市监罚〔2026〕12号' && !document.querySelector('#details .missing')"))
			run(t, ctx, "rest", p.tap("#pause"), chromedp.WaitVisible("#why"), p.tap("#why .choices button:nth-child(1)"), state("paused"), enabled("resume"), p.tap("#resume"), state("recording"))
			_ = f.Prompt(context.Background(), "督察", "请出示执法证件")
			run(t, ctx, "a supervisor's word", truth(shownID+"('prompts') && document.getElementById('prompts').textContent.includes('请出示执法证件')"), shot("story-prompt-"+p.name+"-"+p.lang), p.tap("#seen"), truth("document.getElementById('prompts').hidden"))
			did(t, f, "it is read", "seen panel")
			f.now("recording", f.change(func(r *Running) { r.Question, r.Scanned = "scan", "并市监罚〔2026〕13号" }), "mark", "pause", "stop", "details")
			run(t, ctx, "another case asks", truth(shownID+"('question') && document.getElementById('question').textContent.includes('13号')"), shot("story-scan-"+p.name+"-"+p.lang), p.tap("#q-no"), truth("document.getElementById('question').hidden"))
			did(t, f, "it goes on", "reply panel false")
			run(t, ctx, "the end", p.tap("#stop"), chromedp.WaitVisible("#sure"), shot("story-end-"+p.name+"-"+p.lang), p.tap("#sureyes"), state("sealing"))
			did(t, f, "ended", "stop panel ")
		})
	}
}

// TestHearingInThreeDays: the agenda in order by one touch each; adjourned twice, continued twice.
func TestHearingInThreeDays(t *testing.T) {
	if !slow(t) {
		return
	}
	for _, p := range panels() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			f := pickingFake()
			f.picks.Adjourned = nil
			url, _ := serve(t, newServer(t, f))
			ctx := browser(t)
			run(t, ctx, "open", p.open(url), p.tap("#choose"), chromedp.WaitVisible("#pick"), p.tap("#p-matters button:nth-child(2)"), p.tap("#pickok"), p.tap("#start"), state("recording"))
			did(t, f, "a hearing", "start panel case= matter=行政处罚听证TZ-01")
			for day := 1; day <= 3; day++ {
				f.now("recording", f.change(func(r *Running) { r.Agenda = []string{"核对身份", "告知权利", "质证", "最后陈述"} }), "mark", "pause", "stop", "details")
				run(t, ctx, "the agenda of the matter", truth("document.querySelectorAll('#agenda li').length === 4 && document.querySelector('#agenda [data-is=next]:enabled')"), truth("document.getElementById('toast').hidden"))
				run(t, ctx, "the next step", p.tap("#agenda button[aria-current]"), truth("document.querySelectorAll('#agenda [data-is=done]').length === 1"))
				if day == 3 {
					break
				}
				run(t, ctx, "adjourn", enabled("stop"), p.tap("#stop"), chromedp.WaitVisible("#sure"), p.tap("#sureadjourn"), state("sealing"))
				did(t, f, "adjourned", "stop panel adjourned")
				f.picks.Adjourned = []Adjourned{{Session: []string{"A", "B"}[day-1], Opened: "2026-11-20T01:00:00.000Z", Matter: "行政处罚听证"}}
				f.now("idle", func(s *State) { s.Session = nil }, "start")
				run(t, ctx, "continue it", enabled("start"), p.tap("#choose"), chromedp.WaitVisible("#pick"), p.tap("#p-adjourned button"), truth("document.querySelector('#p-adjourned button').getAttribute('aria-pressed') === 'true'"),
					shot("story-adjourned-"+p.name+"-"+p.lang), p.tap("#pickok"), truth(shownID+"('picked')"), p.tap("#start"), state("recording"), truth(shownID+"('goeson')"))
				did(t, f, "it continues", "continues "+[]string{"A", "B"}[day-1])
			}
			run(t, ctx, "the last step and the end", shot("story-hearing-"+p.name+"-"+p.lang), p.tap("#stop"), chromedp.WaitVisible("#sure"), p.tap("#sureyes"), state("sealing"))
		})
	}
}

// TestForgottenStopAndPowerCut: an empty room is asked about on the page; a page that was open through a power
// cut shows the continuation by itself.
func TestForgottenStopAndPowerCut(t *testing.T) {
	if !slow(t) {
		return
	}
	for _, p := range panels() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			f := pickingFake()
			url, _ := serve(t, newServer(t, f))
			ctx := browser(t)
			run(t, ctx, "open", p.open(url), p.tap("#start"), state("recording"))
			f.now("recording", f.change(func(r *Running) { r.Question, r.LimitMS, r.Near = "empty", 2700e3, true }), "mark", "pause", "stop", "details")
			run(t, ctx, "the room asks", truth(shownID+"('question')"), truth(shownID+"('limit') && document.getElementById('limit').className.includes('hot')"), shot("story-forgotten-"+p.name+"-"+p.lang), p.tap("#q-yes"))
			did(t, f, "it is to end", "reply panel true")
			f.now("recording", func(s *State) {
				s.Session = &Running{ID: "C", State: "recording", Opened: opened.Format(time.RFC3339), Trigger: "power", Continues: "S", Details: Details{Case: "12"}}
			}, "mark", "pause", "stop", "details")
			word := map[string]string{"zh": "断电后接续", "en": "continued after power loss"}[p.lang]
			run(t, ctx, "the page that was open shows it by itself", truth(shownID+"('goeson') && document.getElementById('goeson').textContent.includes('"+word+"')"))
			run(t, ctx, "so does a page after the restart", chromedp.Navigate(url), state("recording"), truth(shownID+"('goeson') && document.getElementById('goeson').textContent.includes('"+word+"')"), shot("story-power-"+p.name+"-"+p.lang))
		})
	}
}

// TestSupervisorsPrompt: a supervisor who logged in says something; nobody else has the field.
func TestSupervisorsPrompt(t *testing.T) {
	if !slow(t) {
		return
	}
	f := newFake()
	f.roles("operator", "supervisor")
	url, _ := serve(t, newServer(t, f))
	ctx := browser(t)
	run(t, ctx, "without a login there is no field", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url), enabled("start"), truth("!document.getElementById('tell')"), chromedp.Click("#start"), state("recording"))
	run(t, ctx, "log in and say it", chromedp.Navigate(url+"/login"), chromedp.SendKeys("[name=name]", "王某"), chromedp.SendKeys("[name=password]", "correct horse"+kb.Enter), truth("location.pathname === '/'"),
		state("recording"), chromedp.SendKeys("#tell input", "请出示证件"+kb.Enter), truth("document.querySelector('#tell input').value === ''"), truth(shownID+"('prompts') && document.getElementById('prompts').textContent.includes('请出示证件')"), shot("story-supervisor-zh"))
	did(t, f, "said", "prompt 王某 请出示证件")
}

// TestNotRecorded: the reason is entered by touch, and not without who says so.
func TestNotRecorded(t *testing.T) {
	if !slow(t) {
		return
	}
	p := panels()[0]
	f := pickingFake()
	url, _ := serve(t, newServer(t, f))
	ctx := browser(t)
	run(t, ctx, "open", p.open(url), p.tap("#choose"), chromedp.WaitVisible("#pick"), p.tap("#unrec"), chromedp.WaitVisible("#unrecdialog"), truth("document.querySelectorAll('#u-why button').length === 4"), p.tap("#u-why button:nth-child(1)"), p.tap("#u-ok"),
		truth(shownID+"('u-say')"), p.tap("#u-who button:nth-child(1)"), shot("story-unrecorded-panel-zh"), p.tap("#u-ok"), truth("!document.getElementById('unrecdialog').open"))
	did(t, f, "entered", "not-recorded panel secret 涉及国家秘密、商业秘密 王某 001")
}

// TestAmendAtADesk: the case that was missing is completed, the written record bound, a refusal entered.
func TestAmendAtADesk(t *testing.T) {
	if !slow(t) {
		return
	}
	f := pickingFake()
	f.store[0].Case = ""
	url, _ := serve(t, newServer(t, f))
	ctx := browser(t)
	pdf := filepath.Join(t.TempDir(), "询问笔录.pdf")
	if err := os.WriteFile(pdf, []byte("PDF"), 0o600); err != nil {
		t.Fatal(err)
	}
	const page = "/sessions/20261123T060509Z-0badcafe"
	run(t, ctx, "log in", chromedp.EmulateViewport(1280, 900), chromedp.Navigate(url+"/login"), chromedp.SendKeys("[name=name]", "王某"), chromedp.SendKeys("[name=password]", "correct horse"+kb.Enter), truth("location.pathname === '/'"),
		chromedp.Navigate(url+page), chromedp.WaitVisible("a.button[href$='/amend']"), chromedp.Click("a.button[href$='/amend']"), truth("document.querySelector('[name=officers]').value.includes('001')"))
	run(t, ctx, "the case", chromedp.SendKeys("[name=case]", "12号"), chromedp.Click("[name=minor]"), chromedp.Click("#savefacts"), text("toast", "已补正"))
	did(t, f, "only what changed", "amend 王某 20261123T060509Z-0badcafe case=12号 flags=[minor]")
	run(t, ctx, "a file", chromedp.SetUploadFiles("[name=file]", []string{pdf}), chromedp.Click("#savefile"), text("toast", "已绑定"))
	did(t, f, "bound", "attach 王某 20261123T060509Z-0badcafe 询问笔录.pdf record 3")
	run(t, ctx, "a refusal", chromedp.SendKeys("[name=party]", "张某"), chromedp.SendKeys("[name=reason]", "不认可笔录"), chromedp.Click("#saverefusal"), text("toast", "已登记"))
	did(t, f, "entered", "refuse 王某 20261123T060509Z-0badcafe 张某 不认可笔录")
}
