package web

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"minglu/agent/report"
)

// chromium is the one browser of all tests, started by the first that needs it.
var chromium struct {
	once  sync.Once
	ctx   context.Context
	close func()
	err   error
}

func startChromium() {
	profile, err := os.MkdirTemp("", "minglu-web-chromium-")
	if err != nil {
		chromium.err = err
		return
	}
	flags := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	flags = append(flags, chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("headless", "new"),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(profile),
		chromedp.WSURLReadTimeout(2*time.Minute)) // a loaded machine starts it slowly
	all, cancelAll := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, cancel := chromedp.NewContext(all, chromedp.WithErrorf(func(string, ...any) {}))
	chromium.ctx, chromium.err = ctx, chromedp.Run(ctx)
	chromium.close = func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		cancelAll()
		_ = os.RemoveAll(profile)
	}
}

// withChromium ends the browser before goleak looks. Its tests wait, for what a person takes time to
// do, more than they compute: four at once keep two cores busy.
type withChromium struct{ m *testing.M }

func (w withChromium) Run() int {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	defer func() {
		if chromium.close != nil {
			chromium.close()
		}
	}()
	return w.m.Run()
}

// browser gives a tab with cookies of its own, and fails the test for each script error and each
// breach of the content security policy. make test installs Chromium.
func browser(t *testing.T) context.Context {
	t.Helper()
	chromium.once.Do(startChromium)
	if chromium.err != nil {
		t.Fatalf("chromium: %v: make tools installs it", chromium.err)
	}
	tab, cancel := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(func() {
		_ = chromedp.Cancel(tab)
		cancel()
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
		case *cdplog.EventEntryAdded:
			if e.Entry.Source == cdplog.SourceSecurity || e.Entry.Source == cdplog.SourceViolation {
				t.Errorf("policy: %s", e.Entry.Text)
			}
		}
	})
	if err := chromedp.Run(tab, emulation.SetFocusEmulationEnabled(true)); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return ctx
}

// slow says that the test is left out by -short: it needs a browser.
func slow(t *testing.T) bool {
	if testing.Short() {
		t.Log("needs a browser: not with -short")
		return false
	}
	t.Parallel()
	return true
}

func run(t *testing.T, ctx context.Context, what string, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
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
		var png []byte
		if chromedp.CaptureScreenshot(&png).Do(ctx) == nil {
			_ = os.WriteFile(filepath.Join(os.TempDir(), "minglu-web-failed.png"), png, 0o644)
		}
		return fmt.Errorf("not within a minute: %s (last error %v)", js, err)
	})
}

func text(id, want string) chromedp.Action {
	return truth(fmt.Sprintf("document.getElementById(%q).textContent.includes(%q)", id, want))
}

func enabled(id string) chromedp.Action {
	return truth(fmt.Sprintf("(e => !e.disabled && !e.hidden)(document.getElementById(%q))", id))
}

// press holds the mouse on an element for so long.
func press(id string, long time.Duration) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		var at []float64
		js := fmt.Sprintf("(r => [r.x + r.width / 2, r.y + r.height / 2])(document.getElementById(%q).getBoundingClientRect())", id)
		if err := chromedp.Evaluate(js, &at).Do(ctx); err != nil {
			return err
		}
		if err := input.DispatchMouseEvent(input.MousePressed, at[0], at[1]).WithButton(input.Left).WithClickCount(1).Do(ctx); err != nil {
			return err
		}
		if err := chromedp.Sleep(long).Do(ctx); err != nil { // what a finger does
			return err
		}
		return input.DispatchMouseEvent(input.MouseReleased, at[0], at[1]).WithButton(input.Left).WithClickCount(1).Do(ctx)
	})
}

// touch puts a finger on an element for so long.
func touch(selector string, long time.Duration) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		var at []float64
		js := fmt.Sprintf("(e => { e.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'}); const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })(document.querySelector(%q))", selector)
		if err := chromedp.Evaluate(js, &at).Do(ctx); err != nil {
			return err
		}
		if err := input.DispatchTouchEvent(input.TouchStart, []*input.TouchPoint{{X: at[0], Y: at[1]}}).Do(ctx); err != nil {
			return err
		}
		if err := chromedp.Sleep(long).Do(ctx); err != nil { // what a finger does
			return err
		}
		return input.DispatchTouchEvent(input.TouchEnd, []*input.TouchPoint{}).Do(ctx)
	})
}

func focus(id string) chromedp.Action {
	return chromedp.Evaluate(fmt.Sprintf("document.getElementById(%q).focus()", id), nil)
}

// keyHold holds Enter on what has the focus.
func keyHold(long time.Duration) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		down := input.DispatchKeyEvent(input.KeyDown).WithKey("Enter").WithCode("Enter").WithText("\r").WithWindowsVirtualKeyCode(13)
		if err := down.Do(ctx); err != nil {
			return err
		}
		if err := chromedp.Sleep(long).Do(ctx); err != nil {
			return err
		}
		return input.DispatchKeyEvent(input.KeyUp).WithKey("Enter").WithCode("Enter").WithWindowsVirtualKeyCode(13).Do(ctx)
	})
}

func did(t *testing.T, f *fake, rule, want string) {
	t.Helper()
	for range 1500 { // half a minute: a loaded machine is late
		f.mu.Lock()
		all := strings.Join(f.did, "; ")
		f.mu.Unlock()
		if strings.Contains(all, want) {
			f.take()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%s: did %q, want %q", rule, f.take(), want)
}

func TestRoomByMouse(t *testing.T) {
	if !slow(t) {
		return
	}
	f := newFake()
	url, _ := serve(t, newServer(t, f))
	ctx := browser(t)
	run(t, ctx, "open", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url), text("word", "待机"), enabled("start"),
		truth("document.getElementById('mark').disabled && document.getElementById('stop').disabled"),
		chromedp.SendKeys("[name=case]", "12号"), chromedp.SendKeys("[name=officers]", "王某 001；李某 002"), chromedp.Click("#start"), text("word", "正在录音录像"))
	did(t, f, "start takes the form along", "start panel case=12号 matter= officers=[{王某 001} {李某 002}] flags=[]")
	run(t, ctx, "mark", enabled("mark"), chromedp.SendKeys("#marktext", "告知权利"), chromedp.Click("#mark"), text("marks", "告知权利"),
		truth("document.querySelector('#marks span').textContent === document.getElementById('elapsed').textContent"))
	did(t, f, "a mark with its text", "mark panel 告知权利")
	run(t, ctx, "pause", chromedp.Click("#pause"), chromedp.WaitVisible("#why"), chromedp.Click("#why .choices button:nth-child(2)"), text("word", "已暂停"), enabled("resume"))
	did(t, f, "a pause for a reason", "pause panel 用餐")
	run(t, ctx, "tiles do not say that they record", truth("[...document.querySelectorAll('.channel')].every(e => e.querySelector('.state').textContent.includes('已暂停') && e.querySelector('.signed').textContent === '' && !e.textContent.includes('帧/秒'))"))
	run(t, ctx, "resume", chromedp.Click("#resume"), text("word", "正在录音录像"), enabled("pause"))
	did(t, f, "resume", "resume panel")
	run(t, ctx, "no reason is asked for again", chromedp.Click("#pause"), chromedp.WaitVisible("#why"), chromedp.Click("#whyok"), truth("!document.getElementById('whysay').hidden && document.getElementById('why').open && document.activeElement.id === 'whytext'"),
		chromedp.Click("#whycancel"), truth("!document.getElementById('why').open"))
	if s := f.take(); strings.Contains(s, "pause") {
		t.Errorf("paused without a reason: %s", s)
	}
	run(t, ctx, "another reason", chromedp.Click("#pause"), chromedp.SendKeys("#whytext", "换电池"+kb.Enter), text("word", "已暂停"))
	did(t, f, "a pause for another reason", "pause panel 换电池")
	run(t, ctx, "complete", chromedp.SendKeys("[name=matter]", "询问"), enabled("save"), chromedp.Click("#save"), text("toast", "已保存"))
	did(t, f, "details are completed", "details panel case=12号")
	run(t, ctx, "a short press asks", enabled("stop"), press("stop", 100*time.Millisecond), chromedp.WaitVisible("#sure"),
		chromedp.Click("#sure .plain"), truth("!document.getElementById('sure').open"))
	if s := f.take(); strings.Contains(s, "stop") {
		t.Errorf("a short press ended the session: %s", s)
	}
	run(t, ctx, "holding ends", press("stop", 2200*time.Millisecond), text("word", "正在封存"))
	did(t, f, "end by holding", "stop panel ")
}

func TestRoomByKeyboard(t *testing.T) {
	if !slow(t) {
		return
	}
	f := newFake()
	url, _ := serve(t, newServer(t, f))
	ctx := browser(t)
	run(t, ctx, "start", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url), enabled("start"), focus("start"), chromedp.KeyEvent(kb.Enter), text("word", "正在录音录像"))
	did(t, f, "start", "start panel")
	run(t, ctx, "mark", enabled("mark"), focus("marktext"), chromedp.KeyEvent("x"+kb.Enter), text("marks", "x"))
	did(t, f, "mark", "mark panel x")
	run(t, ctx, "pause", focus("pause"), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#why"), chromedp.KeyEvent(kb.Escape), truth("!document.getElementById('why').open"))
	if s := f.take(); strings.Contains(s, "pause") {
		t.Errorf("Escape paused: %s", s)
	}
	run(t, ctx, "pause", focus("pause"), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#why"), chromedp.KeyEvent(kb.Enter), text("word", "已暂停"))
	did(t, f, "the first reason has the focus", "pause panel 休息")
	run(t, ctx, "the focus moves along", enabled("resume"), focus("resume"), chromedp.KeyEvent(kb.Enter), text("word", "正在录音录像"), truth("document.activeElement.id === 'pause'"))
	run(t, ctx, "a short key asks", focus("stop"), keyHold(50*time.Millisecond), chromedp.WaitVisible("#sure"), chromedp.KeyEvent(kb.Escape), truth("!document.getElementById('sure').open"))
	run(t, ctx, "so does the click of a screen reader", chromedp.Evaluate("document.getElementById('stop').click()", nil), chromedp.WaitVisible("#sure"))
	if s := f.take(); strings.Contains(s, "stop") {
		t.Errorf("ended without being asked: %s", s)
	}
	run(t, ctx, "and yes ends", focus("sureyes"), chromedp.KeyEvent(kb.Enter), text("word", "正在封存"))
	did(t, f, "end by the dialog", "stop panel ")
	f.now("recording", nil, "mark", "pause", "stop", "details")
	run(t, ctx, "holding the key ends", enabled("stop"), focus("stop"), keyHold(2200*time.Millisecond), text("word", "正在封存"))
	did(t, f, "end by holding the key", "stop panel ")
}

func TestRoomByTouch(t *testing.T) {
	if !slow(t) {
		return
	}
	f := newFake()
	f.state.Kind = "hearing"
	url, _ := serve(t, newServer(t, f))
	ctx := browser(t)
	tap := func(selector string) chromedp.Action { return touch(selector, 60*time.Millisecond) }
	run(t, ctx, "start", chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch), chromedp.Navigate(url), enabled("start"), tap("#start"), text("word", "正在录音录像"))
	did(t, f, "start", "start panel")
	run(t, ctx, "a step of the agenda", enabled("mark"), tap("#agenda li:nth-child(8) button"), text("marks", "最后陈述"))
	did(t, f, "an agenda mark", "mark panel 最后陈述")
	run(t, ctx, "pause", tap("#pause"), chromedp.WaitVisible("#why"), tap("#why .choices button:nth-child(3)"), text("word", "已暂停"))
	did(t, f, "a pause for a reason", "pause panel 休庭")
	run(t, ctx, "resume", enabled("resume"), tap("#resume"), text("word", "正在录音录像"))
	did(t, f, "resume", "resume panel")
	run(t, ctx, "a short touch asks", enabled("stop"), tap("#stop"), chromedp.WaitVisible("#sure"), tap("#sure .plain"), truth("!document.getElementById('sure').open"))
	if s := f.take(); strings.Contains(s, "stop") {
		t.Errorf("a short touch ended the session: %s", s)
	}
	run(t, ctx, "holding ends", touch("#stop", 2200*time.Millisecond), text("word", "正在封存"))
	did(t, f, "end by holding", "stop panel ")
}

func TestTroubleIsSaid(t *testing.T) {
	if !slow(t) {
		return
	}
	f := newFake()
	url, stop := serve(t, newServer(t, f))
	ctx := browser(t)
	run(t, ctx, "open", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url), enabled("start"))
	trouble(f)
	run(t, ctx, "faults", text("faults", "磁盘B已断开"), text("faults", "检查连接"), text("impaired", "2 项故障"), text("channels", "信号中断"), text("disks", "未连接"), text("bound", "✕"))
	before := f.State()
	f.now(before.State, func(s *State) {
		s.Power = &Power{Charge: 0.2, LeftMS: 720_000}
		s.Faults = []Fault{{"power.mains", "warning", "", opened.Format(time.RFC3339), Text{"市电已断开", "The mains are lost"}, Text{"请检查插座", "Check the socket"}}}
	}, before.Can...)
	run(t, ctx, "the battery", text("faults", "电池还可用约 12 分钟"))
	f.fails = &Error{409, "running", "正在录制，请先结束。", "A session runs: end it first."}
	run(t, ctx, "a refusal in words", enabled("start"), chromedp.Click("#start"), text("toast", "请先结束"), enabled("start"))
	stop()
	run(t, ctx, "the connection is lost", text("word", "连接中断"), truth("!document.getElementById('offline').hidden && document.getElementById('start').disabled"))
}

func trouble(f *fake) {
	f.now(f.State().State, func(s *State) {
		s.Channels = append([]ChannelState{}, s.Channels...)
		s.Channels[1].State, s.Channels[1].FPS = "lost", 0
		s.Channels[1].Text = &Text{"摄像机无信号，正在重新连接", "no signal from the camera, connecting again"}
		s.Disks = append([]DiskState{}, s.Disks...)
		s.Disks[1] = DiskState{Name: "B", State: "absent", Hours: -1}
		s.Clock = ClockState{T: opened, ErrorUS: -1, Source: "unverified", Quality: "unverified"}
		s.Faults = []Fault{
			{"disk-absent", "alarm", "B", opened.Format(time.RFC3339), Text{"磁盘B已断开，正在用磁盘A继续录制", "Disk B is gone, recording goes on with disk A"}, Text{"请检查连接", "Check its cable"}},
			{"camera-lost", "warning", "room", opened.Format(time.RFC3339), Text{"通道 room 无信号", "No signal on channel room"}, Text{"请检查摄像机电源和网线", "Check the camera's power and network cable"}},
		}
	}, f.State().Can...)
}

func TestLanguageStays(t *testing.T) {
	if !slow(t) {
		return
	}
	url, _ := serve(t, newServer(t, newFake()))
	ctx := browser(t)
	run(t, ctx, "to English", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url), text("word", "待机"), chromedp.Click("#lang"), text("word", "IDLE"),
		text("start", "Start"), text("channels", "signed"[:0]), chromedp.Navigate(url+"/login"), truth("document.documentElement.lang === 'en'"),
		chromedp.Navigate(url), text("word", "IDLE"), chromedp.Click("#lang"), text("word", "待机"), truth("document.documentElement.lang === 'zh-CN'"))
}

func TestLoginAndSessions(t *testing.T) {
	if !slow(t) {
		return
	}
	f := newFake()
	url, _ := serve(t, newServer(t, f))
	ctx := browser(t)
	run(t, ctx, "sessions ask for a login", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url+"/sessions"), truth("location.pathname === '/login'"),
		chromedp.SendKeys("[name=name]", "王某"), chromedp.SendKeys("[name=password]", "wrong"+kb.Enter), text("toast", "用户名或密码不对"),
		chromedp.SendKeys("[name=password]", "correct horse"+kb.Enter), truth("location.pathname === '/sessions' && document.querySelectorAll('.session').length === 2"))
	run(t, ctx, "the bar is drawn and said", truth("document.querySelectorAll('.session:first-child .span').length === 7"),
		truth("document.querySelector('.timebar').getAttribute('aria-label').includes('已证实')"))
	run(t, ctx, "verify in words", chromedp.Click(".session:nth-child(2) .verify"), truth("document.querySelector('.session:nth-child(2) .verdict').textContent.includes('内容真实')"))
	did(t, f, "verify", "enter 王某 verify ; verify")
	run(t, ctx, "one session", chromedp.Click(".session:first-child a"), text("facts", "并市监罚"), text("files", "face-00001.mp4"), text("marks", "告知权利"),
		truth("[...document.querySelectorAll('.say')].some(e => e.textContent.includes('H.265'))"),
		focus("verify"), chromedp.KeyEvent(kb.Enter), text("result", "内容真实"), text("result", "缺口：连接中断"), text("result", "没有外部时间和见证"),
		truth("!/connection lost|log.jsonl|no outside/.test(document.getElementById('result').textContent)"), text("zero", "含触发前预录 10 秒"), truth("document.querySelector('#bundle a').href.endsWith('/bundle')"))
	run(t, ctx, "log out", chromedp.Click("#logout"), truth("location.pathname === '/' && document.readyState === 'complete'"), chromedp.Navigate(url+"/sessions"), truth("location.pathname === '/login'"))
}

func TestHearingByOneTouch(t *testing.T) {
	if !slow(t) {
		return
	}
	f := newFake()
	f.state.Kind = "hearing"
	url, _ := serve(t, newServer(t, f))
	ctx := browser(t)
	const item = "#agenda li:nth-child(%d) button"
	nth := func(n int) string { return fmt.Sprintf("document.querySelector('"+item+"')", n) }
	run(t, ctx, "nothing can be marked before the start", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url), enabled("start"), truth("[...document.querySelectorAll('#agenda button')].length === 8 && "+nth(1)+".disabled"))
	run(t, ctx, "the first step is next", chromedp.Click("#start"), truth("!"+nth(1)+".disabled && "+nth(1)+".getAttribute('aria-current') === 'step'"))
	run(t, ctx, "one touch marks it", chromedp.Click(fmt.Sprintf(item, 1)), truth(nth(1)+".textContent.includes('✓') && "+nth(2)+".getAttribute('aria-current') === 'step'"))
	did(t, f, "an agenda mark", "mark panel 核对身份")
	run(t, ctx, "steps may be passed over, by key", chromedp.Evaluate(nth(5)+".focus()", nil), chromedp.KeyEvent(kb.Enter), truth(nth(5)+".textContent.includes('✓') && "+nth(2)+".getAttribute('aria-current') === 'step'"))
	did(t, f, "another", "mark panel 陈述申辩")
	run(t, ctx, "the record has the Chinese words, the page those of its reader", chromedp.Click("#lang"), text("marks", "Identities checked"), chromedp.Click(fmt.Sprintf(item, 2)), text("marks", "Rights told"))
	did(t, f, "a mark in English", "mark panel 告知权利")
	f.now("recording", func(s *State) { s.Kind = "interview" }, "mark", "pause", "stop", "details")
	run(t, ctx, "an interview has no agenda", truth("document.getElementById('agenda').hidden"))
}

// What a tile says when there is no picture. The pictures themselves are tested where they are made.
func TestTilesSayWhyThereIsNothingToSee(t *testing.T) {
	if !slow(t) {
		return
	}
	f := newFake()
	asked := make(chan string, 100)
	url, _ := serve(t, newServer(t, f, func(o *Options) {
		o.Live = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked <- r.Method + " " + r.URL.Path
			http.Error(w, `{"error":{"code":"full","zh":"观看的人过多。","en":"Too many watch."}}`, http.StatusServiceUnavailable)
		})
	}))
	ctx := browser(t)
	says := func(words string) chromedp.Action {
		return truth(fmt.Sprintf("document.querySelector('.channel .say').textContent.includes(%q)", words))
	}
	run(t, ctx, "an idle room", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url), says("待机：不显示画面"))
	run(t, ctx, "the panel needs a login to look", chromedp.Click("#start"), says("须登录"), truth("document.querySelector('.channel .say a').getAttribute('href') === '/login?next=/'"))
	if len(asked) > 0 {
		t.Errorf("asked for pictures without a login: %s", <-asked)
	}
	run(t, ctx, "log in", chromedp.Click(".channel .say a"), truth("location.pathname === '/login' && document.readyState === 'complete'"), chromedp.SendKeys("[name=name]", "王某"), chromedp.SendKeys("[name=password]", "correct horse"+kb.Enter),
		truth("location.pathname === '/' && document.querySelector('.channel .say') && !document.querySelector('.channel .say').textContent.includes('须登录')"))
	_ = f.Pause(ctx, "王某", "休息")
	run(t, ctx, "a pause", says("已暂停：不显示画面"))
	trouble(f)
	run(t, ctx, "a camera that is gone", truth("document.querySelectorAll('.channel .say')[1].textContent.includes('摄像机无信号')"))
}

func TestComplianceIsKeptNew(t *testing.T) {
	if !slow(t) {
		return
	}
	f := measuredFake()
	url, _ := serve(t, newServer(t, f))
	ctx := browser(t)
	run(t, ctx, "the room page counts", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url), text("standard", "✕ 1 项不符合"), text("standard", "? 1 项未知"), chromedp.Click("#standard"))
	run(t, ctx, "what is to be seen to comes first", truth("location.pathname === '/compliance' && document.querySelectorAll('#items tr').length === 3"),
		truth("(r => ['✕ 不符合', '帧率', 'room', '12.4 fps', '≥ 25 fps', '规定 · 国家标准', 'GB 50395-2007', '请将摄像机帧率设为 25'].every(x => r.textContent.includes(x)))(document.querySelector('#items tr'))"),
		truth("document.querySelectorAll('#items .kind.ours').length === 1 && document.querySelector('#items .kind.ours').textContent === '本系统默认'"))
	run(t, ctx, "only fails", chromedp.Click(".filters [data-show=fail]"), truth("document.querySelectorAll('#items tr').length === 1 && document.querySelector('[data-show=fail]').getAttribute('aria-pressed') === 'true'"))
	f.mu.Lock()
	f.items = append([]report.Item{}, f.items...)
	f.items[1].Verdict, f.items[1].Value, f.items[1].Why = "pass", 25.0, nil
	f.mu.Unlock()
	run(t, ctx, "a fail that ends leaves by itself", truth("!document.getElementById('none').hidden && document.getElementById('table').hidden"), text("meets", "不符合 0"), text("live", "不符合 0"))
	run(t, ctx, "all", focus("lang"), chromedp.Evaluate("document.querySelector('.filters button:last-child').focus()", nil), chromedp.KeyEvent(kb.Enter), truth("document.querySelectorAll('#items tr').length === 7"))
}
