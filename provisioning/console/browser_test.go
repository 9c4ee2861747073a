package console

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"minglu/agent/report"
	"minglu/provisioning/review"
)

const axeFile = "axe-4.14.1.js" // as tools/install keeps it

// browser starts Chromium, which make test installs, and fails the test for each script error and
// each breach of the content security policy.
func browser(t *testing.T) context.Context {
	t.Helper()
	flags := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	flags = append(flags, chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("headless", "new"),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(2*time.Minute)) // a loaded machine starts it slowly
	all, cancelAll := chromedp.NewExecAllocator(context.Background(), flags...)
	tab, cancel := chromedp.NewContext(all, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(func() {
		_ = chromedp.Cancel(tab)
		cancel()
		cancelAll()
	})
	ctx, cancelTime := context.WithTimeout(tab, 5*time.Minute)
	t.Cleanup(cancelTime)
	chromedp.ListenTarget(tab, func(e any) {
		switch e := e.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("script: %s", e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError {
				t.Errorf("console: %s", e.Args[0].Value)
			}
		}
	})
	if err := chromedp.Run(tab); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return ctx
}

func act(t *testing.T, ctx context.Context, what string, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// click clicks, again when the page was exchanged between looking for the element and touching it.
func click(sel string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) (err error) {
		for range 20 {
			if err = chromedp.Click(sel).Do(ctx); err == nil || !strings.Contains(err.Error(), "Could not find node") {
				return err
			}
		}
		return err
	})
}

// truth waits until the JavaScript expression holds, over navigations too.
func truth(js string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		var holds bool
		var err error
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(30 * time.Millisecond) { // another process acts: there is nothing to wait on
			if err = chromedp.Evaluate("Boolean("+js+")", &holds).Do(ctx); err == nil && holds {
				return nil
			}
		}
		return fmt.Errorf("not within a minute: %s (last error %v)", js, err)
	})
}

func shows(selector, want string) chromedp.Action {
	return truth(fmt.Sprintf("document.querySelector(%q)?.textContent.includes(%q)", selector, want))
}

var logIn = chromedp.Tasks{chromedp.SendKeys("[name=name]", "王某"), chromedp.SendKeys("[name=password]", "correct horse"+kb.Enter)}

func TestWhatAManagerDoes(t *testing.T) {
	o := open(t, true)
	o.fill(t)
	ctx := browser(t)
	act(t, ctx, "a page asks for a login and comes back", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(o.url+"/rooms?class=fail"), truth("location.pathname === '/login'"),
		chromedp.SendKeys("[name=name]", "王某"), chromedp.SendKeys("[name=password]", "wrong"+kb.Enter), shows("#toast", "用户名或密码不对"),
		chromedp.SendKeys("[name=password]", "correct horse"+kb.Enter), truth("location.pathname + location.search === '/rooms?class=fail'"),
		truth("document.querySelectorAll('#rooms tbody tr').length === 1"), shows("#rooms tbody", "询问室三"), shows("#rooms tbody", "无黑屏 · face"))
	act(t, ctx, "the start page counts", chromedp.Navigate(o.url), shows("#n-fail", "1"), shows("#n-silent", "2"), shows("#n-partial", "1"), shows("#n-pass", "1"), shows("#n-recording", "2"), shows("#n-alarms", "1"),
		shows("#alarmlist", "磁盘 B 没有连接"), shows("#alarmlist", "请接好磁盘"), shows("#faillist", "询问室三"), shows("#sums", "缺号 3"))
	act(t, ctx, "to the room by keyboard", chromedp.Focus("#faillist a"), chromedp.KeyEvent(kb.Enter), truth("location.pathname === '/rooms/room-3'"), shows("#title", "询问室三"), shows("#class", "不合格"),
		truth("document.querySelectorAll('#items tbody tr').length === 7"),
		truth("document.querySelector('#items tbody tr td:nth-child(5) .basis.rule')?.textContent === '司法规定'"), truth("[...document.querySelectorAll('#items .basis.default')].every(e => e.textContent === '本系统默认')"),
		shows("#items tbody", "1 份"), shows("#items tbody", "≥ 2 份"), shows("#items tbody", "最高检 2006 (一)4 双份同期"), shows("#items tbody", "实测 1，低于 2"), shows("#items tbody", "建议整改"), shows("#items tbody tr:first-child .do", "两块独立的磁盘"), shows("#items tbody", "原文待核"),
		shows("#events", "并市监罚〔2026〕12号"), shows("#events .hole", "缺 3 条：№ 3 至 5"), shows("#problems", "№ 3 至 5"), shows("#problems", "格式不符 × 1"))
	act(t, ctx, "only what fails", click("[name=show][value=fail]"), truth("document.querySelectorAll('#items tbody tr').length === 3"),
		chromedp.KeyEvent(kb.ArrowRight), truth("document.querySelectorAll('#items tbody tr').length === 1"), shows("#items tbody", "没有可读的寿命信息"))
	act(t, ctx, "what was refused", chromedp.Navigate(o.url+"/refused"), shows("#refused tbody", "格式不符"), shows("#refused tbody", "口令错误"))
	act(t, ctx, "events", chromedp.Navigate(o.url+"/events"), truth("document.querySelectorAll('#events li').length === 4"), chromedp.SetValue("[name=type]", "alarm."),
		chromedp.Evaluate("document.querySelector('[name=type]').dispatchEvent(new Event('input', {bubbles: true}))", nil), truth("document.querySelectorAll('#events li').length === 1"))
	act(t, ctx, "English stays", click("#lang"), shows("h1", "Events"), chromedp.Navigate(o.url+"/rooms/room-3"), shows("#items tbody", "Two copies written at the same time"), shows("#items tbody", "our default"), click("#lang"), shows("h2", "合规检查"))
	act(t, ctx, "out", click("#logout"), truth("location.pathname === '/login'"), chromedp.Navigate(o.url), truth("location.pathname === '/login'"))
}

// TestRefusedRoomSaysWhy: the page of a room that was revoked tells that, and for what reason, instead of asking
// to check its network.
func TestRefusedRoomSaysWhy(t *testing.T) {
	o := open(t, false)
	o.fill(t)
	o.later(time.Second)
	o.fleet.Refuse("room-3", "cert", "revoked: key compromised (room-3)")
	ctx := browser(t)
	act(t, ctx, "the room", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(o.url+"/rooms/room-3"), shows("#gone", "证书已被吊销：密钥泄露"), shows("#problems", "证书已被吊销：密钥泄露 × 1"),
		chromedp.Navigate(o.url+"/refused"), shows("#refused tbody", "证书已被吊销：密钥泄露"))
	o.later(time.Second)
	o.say(t, "room-3", report.KindCompliance, list("room-3"))
	act(t, ctx, "it is back", chromedp.Navigate(o.url+"/rooms/room-3"), shows("#problems", "密钥泄露"), truth("document.querySelector('#gone').hidden"))
}

// TestWithinSeconds: a fault appears and clears on open pages without a touch, and silence is no pass.
func TestWithinSeconds(t *testing.T) {
	o := open(t, false)
	o.fill(t)
	ctx := browser(t)
	act(t, ctx, "open", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(o.url+"/rooms"), truth("document.querySelector('[data-device=room-1]')?.dataset.class === 'pass'"))
	began := time.Now()
	o.say(t, "room-1", report.KindCompliance, list("room-1", black))
	act(t, ctx, "the fault", truth("document.querySelector('[data-device=room-1]')?.dataset.class === 'fail'"), shows("[data-device=room-1]", "无黑屏"))
	if d := time.Since(began); d > 15*time.Second { // far more than it takes, far less than a page that asks now and then
		t.Errorf("a fault took %v from message to page", d)
	} else {
		t.Logf("message to page: %v", d.Round(time.Millisecond))
	}
	o.say(t, "room-1", report.KindCompliance, list("room-1"))
	act(t, ctx, "clears", truth("document.querySelector('[data-device=room-1]')?.dataset.class === 'pass'"))
	act(t, ctx, "one room", chromedp.Navigate(o.url+"/rooms/room-1"), shows("#class", "合格"), truth("document.querySelector('#gone').hidden"))
	o.mu.Lock()
	o.now = o.now.Add(91 * time.Second)
	o.mu.Unlock()
	act(t, ctx, "silence", shows("#class", "失联"), shows("#gone", "不代表现状"), shows("#facts", "最后：录制中"))
}

func TestAnEmptyOfficeSaysWhatToDo(t *testing.T) {
	o := open(t, false)
	ctx := browser(t)
	act(t, ctx, "a room that never spoke", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(o.url+"/rooms/room-5"), shows("#class", "失联"), shows("#empty", "尚未上报"), shows("#facts", "从未"), shows("#events", "还没有事件"))
	act(t, ctx, "no events", chromedp.Navigate(o.url+"/events"), truth("!document.querySelector('#empty').hidden"))
	act(t, ctx, "nothing refused", chromedp.Navigate(o.url+"/refused"), truth("!document.querySelector('#empty').hidden"))
	act(t, ctx, "nothing fails", chromedp.Navigate(o.url), truth("!document.querySelector('#nofails').hidden && !document.querySelector('#noalarms').hidden"), shows("nav", "演示"))
	act(t, ctx, "not here", chromedp.Navigate(o.url+"/nope"), shows("main", "没有此内容"))
}

// TestLook keeps pictures for review in out/screenshots, and checks what a machine can see: nothing is
// wider than the screen, what is touched is at least 48 px, axe-core finds nothing serious.
func TestLook(t *testing.T) {
	out := filepath.Join("..", "..", "out", "screenshots")
	axe, err := os.ReadFile(filepath.Join("..", "..", "out", "cache", axeFile))
	if err != nil {
		t.Fatalf("axe-core: %v: make tools gets it", err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	o := open(t, true)
	o.fill(t)
	o.county(t)
	auditor := review.Order{By: "审计", N: 2, Seed: "第 137 期", From: day, Until: day, Of: []review.Ref{{Device: "room-4", Session: fmt.Sprintf("%d0105T010000Z-00000000", o.clock().UTC().Year())}, {Device: "room-3", Session: "20261123T060509Z-0badcafe"}}}
	made, err := o.o.Reviews.Make(auditor)
	if err == nil {
		_, err = o.o.Reviews.Score(made.ID, made.Sample[0].Ref, "审计", map[string]int{"whole": 20, "notice": 4}, "告知不完整")
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx := browser(t)
	act(t, ctx, "log in", chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := cdpage.AddScriptToEvaluateOnNewDocument(string(axe)).Do(ctx)
		return err
	}), chromedp.Navigate(o.url+"/login"), logIn, truth("location.pathname === '/'"))
	for _, page := range []struct{ name, path, ready string }{
		{"start", "/", "document.getElementById('n-fail').textContent === '1' && document.getElementById('sums').textContent && document.querySelectorAll('#alarmlist li').length === 1 && document.querySelectorAll('#faillist > li').length === 1"},
		{"rooms", "/rooms", "document.querySelectorAll('#rooms tbody tr').length === 5"},
		{"room", "/rooms/room-3", "document.querySelectorAll('#items tbody tr').length === 7 && document.querySelectorAll('#events li').length >= 4"},
		{"events", "/events", "document.querySelectorAll('#events li').length >= 4"},
		{"refused", "/refused", "document.querySelectorAll('#refused tbody tr').length === 2"},
		{"sessions", "/sessions", "document.querySelectorAll('#sessions tbody tr').length >= 23"},
		{"year", "/year", "document.getElementById('s-sessions').textContent.length > 1 && document.querySelectorAll('#months li').length === 12"},
		{"reviews", "/reviews", "document.querySelectorAll('#reviews tbody tr').length === 1"},
		{"review", "/reviews/" + made.ID, "document.querySelectorAll('#sample > li').length === 2 && [...document.querySelectorAll('#sample details')].every(e => e.open = true)"},
		{"lists", "/lists", "document.querySelectorAll('#rows tbody tr').length === 2 && document.querySelectorAll('#deliveries li').length === 2 && document.querySelectorAll('#changes li').length === 6"},
		{"login", "/login", "true"},
	} {
		for _, size := range []struct{ w, h int64 }{{1024, 600}, {1920, 1080}, {390, 844}} {
			for _, lang := range []string{"zh", "en"} {
				for _, theme := range []string{"light", "dark"} {
					if size.w == 390 && (lang == "en") != (theme == "dark") {
						continue // one of each is enough for a phone
					}
					name := fmt.Sprintf("office-%s-%dx%d-%s-%s", page.name, size.w, size.h, lang, theme)
					var wide bool
					var small []string
					var png []byte
					found, look := `{"passes":1}`, chromedp.Action(chromedp.Tasks{})
					if size.w != 1920 { // the same elements, only wider
						look = chromedp.Evaluate(axeRun, &found, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) })
					}
					act(t, ctx, name, emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}),
						chromedp.EmulateViewport(size.w, size.h), chromedp.Evaluate("document.cookie = 'lang="+lang+"; path=/'", nil), chromedp.Navigate(o.url+page.path), truth(page.ready),
						chromedp.Evaluate("document.documentElement.scrollWidth > innerWidth", &wide), chromedp.Evaluate(tooSmall, &small),
						look,
						chromedp.ActionFunc(func(ctx context.Context) (err error) {
							png, err = cdpage.CaptureScreenshot().WithCaptureBeyondViewport(true).Do(ctx)
							return err
						}))
					if wide {
						t.Errorf("%s: wider than the screen", name)
					}
					if len(small) > 0 {
						t.Errorf("%s: smaller than 48 px: %q", name, small)
					}
					var r struct {
						Passes int
						Bad    []string
					}
					if err := json.Unmarshal([]byte(found), &r); err != nil || r.Passes == 0 {
						t.Errorf("%s: axe-core looked at nothing: %.200s", name, found)
					}
					if len(r.Bad) > 0 {
						t.Errorf("%s: axe-core: %s", name, strings.Join(r.Bad, "; "))
					}
					if err := os.WriteFile(filepath.Join(out, name+".png"), png, 0o644); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
}

const axeRun = `axe.run().then(r => JSON.stringify({passes: r.passes.length, bad: r.violations.filter(v => v.impact === "serious" || v.impact === "critical").map(v => v.id + ": " + v.nodes.slice(0, 3).map(n => n.target.join(" ") + " " + n.failureSummary).join(", "))}))`

// A check box may be small when its label, which is touched as well, is not. Links inside a line of a
// table or list are read at a desk: 24 px (WCAG 2.2, 2.5.8).
const tooSmall = `[...document.querySelectorAll("a, button, input, select")].filter(e => {
  const box = (e.type === "checkbox" || e.type === "radio" ? e.closest("label") : e).getBoundingClientRect();
  const least = e.closest(".events, #refused") ? 24 : 47.5;
  return box.width > 0 && (box.height < least || box.width < least);
}).map(e => e.id + " " + e.textContent + " " + Math.round(e.getBoundingClientRect().height))`
