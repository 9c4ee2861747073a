package web

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser starts Chromium, which make test installs, and fails the test for each script error and
// each breach of the content security policy.
func browser(t *testing.T) context.Context {
	t.Helper()
	flags := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	flags = append(flags, chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("headless", "new"),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()))
	all, cancelAll := chromedp.NewExecAllocator(context.Background(), flags...)
	tab, cancel := chromedp.NewContext(all, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(func() {
		_ = chromedp.Cancel(tab)
		cancel()
		cancelAll()
	})
	ctx, cancelTime := context.WithTimeout(tab, 90*time.Second)
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
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(30 * time.Millisecond) { // another process acts: there is nothing to wait on
			if err = chromedp.Evaluate("Boolean("+js+")", &holds).Do(ctx); err == nil && holds {
				return nil
			}
		}
		var png []byte
		if chromedp.CaptureScreenshot(&png).Do(ctx) == nil {
			_ = os.WriteFile(filepath.Join(os.TempDir(), "minglu-web-failed.png"), png, 0o644)
		}
		return fmt.Errorf("not within 10 s: %s (last error %v)", js, err)
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
	for range 100 {
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
	f := newFake()
	url, _ := serve(t, newServer(t, f))
	ctx := browser(t)
	run(t, ctx, "open", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url), text("word", "待机"), enabled("start"),
		truth("document.getElementById('mark').disabled && document.getElementById('stop').disabled"),
		chromedp.SendKeys("[name=case]", "12号"), chromedp.SendKeys("[name=officers]", "王某 001；李某 002"), chromedp.Click("#start"), text("word", "正在录音录像"))
	did(t, f, "start takes the form along", "start panel case=12号 matter= officers=[{王某 001} {李某 002}] flags=[]")
	run(t, ctx, "mark", enabled("mark"), chromedp.SendKeys("#marktext", "告知权利"), chromedp.Click("#mark"), text("marks", "告知权利"))
	did(t, f, "a mark with its text", "mark panel 告知权利")
	run(t, ctx, "pause", chromedp.Click("#pause"), chromedp.WaitVisible("#why"), chromedp.Click("#why .choices button:nth-child(2)"), text("word", "已暂停"), enabled("resume"))
	did(t, f, "a pause for a reason", "pause panel 用餐")
	run(t, ctx, "resume", chromedp.Click("#resume"), text("word", "正在录音录像"), enabled("pause"))
	did(t, f, "resume", "resume panel")
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

func TestTroubleIsSaid(t *testing.T) {
	f := newFake()
	url, stop := serve(t, newServer(t, f))
	ctx := browser(t)
	run(t, ctx, "open", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url), enabled("start"))
	trouble(f)
	run(t, ctx, "faults", text("faults", "磁盘B已断开"), text("faults", "检查连接"), text("impaired", "2 项故障"), text("channels", "信号中断"), text("disks", "未连接"), text("bound", "✕"))
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
	url, _ := serve(t, newServer(t, newFake()))
	ctx := browser(t)
	run(t, ctx, "to English", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url), text("word", "待机"), chromedp.Click("#lang"), text("word", "IDLE"),
		text("start", "Start"), text("channels", "signed"[:0]), chromedp.Navigate(url+"/login"), truth("document.documentElement.lang === 'en'"),
		chromedp.Navigate(url), text("word", "IDLE"), chromedp.Click("#lang"), text("word", "待机"), truth("document.documentElement.lang === 'zh-CN'"))
}

func TestLoginAndSessions(t *testing.T) {
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
		focus("verify"), chromedp.KeyEvent(kb.Enter), text("result", "内容真实"), text("result", "camera lost"))
	run(t, ctx, "log out", chromedp.Click("#logout"), truth("location.pathname === '/' && document.readyState === 'complete'"), chromedp.Navigate(url+"/sessions"), truth("location.pathname === '/login'"))
}

// Pictures for review, in out/screenshots; and what a machine can see of a layout: nothing is wider
// than the screen, and what is touched is at least 48 px.
func TestScreenshots(t *testing.T) {
	out := filepath.Join("..", "..", "out", "screenshots")
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	f := newFake()
	url, _ := serve(t, newServer(t, f))
	ctx := browser(t)
	run(t, ctx, "log in", chromedp.Navigate(url+"/login"), chromedp.SendKeys("[name=name]", "王某"), chromedp.SendKeys("[name=password]", "correct horse"+kb.Enter), truth("location.pathname === '/'"))
	idle := f.State()
	shots := []struct {
		name, path, ready string
		set               func()
	}{
		{"idle", "/", "document.querySelectorAll('.channel').length === 3", func() { f.now("idle", func(s *State) { *s = idle }, "start") }},
		{"recording", "/", "document.querySelector('#bar').dataset.state === 'recording'", func() {
			_, _ = f.Start(ctx, "王某", Details{Matter: Matter{Name: "询问"}, Officers: []Officer{{"王某", "001"}, {"李某", "002"}}})
			_ = f.Mark(ctx, "王某", "告知权利")
			_ = f.Mark(ctx, "王某", "陈述事实")
		}},
		{"impaired", "/", "document.querySelectorAll('.fault').length === 2", func() { trouble(f) }},
		{"paused", "/", "document.querySelector('#bar').dataset.state === 'paused'", func() { _ = f.Pause(ctx, "王某", "休息") }},
		{"fault", "/", "document.querySelector('#bar').dataset.state === 'fault'", func() { f.now("fault", func(s *State) { s.Session = nil }, "start") }},
		{"sessions", "/sessions", "document.querySelectorAll('.session').length === 2", func() {}},
		{"session", "/sessions/20261123T060509Z-0badcafe", "document.querySelectorAll('#files li').length === 4", func() {}},
		{"login", "/login", "true", func() {}},
	}
	for _, shot := range shots {
		shot.set()
		for _, size := range []struct {
			w, h int64
		}{{1024, 600}, {390, 844}, {1920, 1080}} {
			for _, lang := range []string{"zh", "en"} {
				for _, theme := range []string{"light", "dark"} {
					if size.w == 1920 && (lang == "en" || theme == "dark") {
						continue
					}
					name := fmt.Sprintf("%s-%dx%d-%s-%s", shot.name, size.w, size.h, lang, theme)
					var wide bool
					var small []string
					var png []byte
					run(t, ctx, name,
						emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}),
						chromedp.EmulateViewport(size.w, size.h),
						chromedp.Evaluate("document.cookie = 'lang="+lang+"; path=/'", nil), chromedp.Navigate(url+shot.path), truth(shot.ready),
						chromedp.Evaluate("document.documentElement.scrollWidth > innerWidth", &wide),
						chromedp.Evaluate(tooSmall, &small),
						chromedp.ActionFunc(func(ctx context.Context) (err error) {
							png, err = cdpage.CaptureScreenshot().WithCaptureBeyondViewport(shot.path != "/").Do(ctx)
							return err
						}))
					if wide {
						t.Errorf("%s: wider than the screen", name)
					}
					if len(small) > 0 {
						t.Errorf("%s: smaller than 48 px: %q", name, small)
					}
					if err := os.WriteFile(filepath.Join(out, name+".png"), png, 0o644); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
}

// A check box may be small when its label, which is touched as well, is not.
const tooSmall = `[...document.querySelectorAll("a, button, input, select")].filter(e => {
  const box = (e.type === "checkbox" ? e.closest("label") : e).getBoundingClientRect();
  return box.width > 0 && (box.height < 47.5 || box.width < 47.5);
}).map(e => e.id + " " + e.textContent + " " + Math.round(e.getBoundingClientRect().height))`
