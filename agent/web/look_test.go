package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const axeFile = "axe-4.14.1.js" // as tools/install keeps it

// look is one thing to look at: a page in a state.
type look struct {
	name, path, ready string
	set               func(f *fake)
}

func looks() []look {
	recording := func(f *fake) {
		_, _ = f.Start(context.Background(), "王某", Details{Matter: Matter{Name: "询问"}, Officers: []Officer{{"王某", "001"}, {"李某", "002"}}}, "")
		_ = f.Mark(context.Background(), "王某", "告知权利", "")
		_ = f.Mark(context.Background(), "王某", "陈述事实", "")
	}
	at := func(state string) string { return "document.querySelector('#bar').dataset.state === '" + state + "'" }
	return []look{
		{"idle", "/", "document.querySelectorAll('.channel').length === 3", nil},
		{"recording", "/", at("recording"), recording},
		{"impaired", "/", "document.querySelectorAll('.fault').length === 2", func(f *fake) { recording(f); trouble(f) }},
		{"impaired-three", "/", "document.querySelectorAll('.fault').length === 3", func(f *fake) { recording(f); trouble(f); third(f) }},
		{"paused", "/", at("paused"), func(f *fake) { recording(f); _ = f.Pause(context.Background(), "王某", "休息") }},
		{"fault", "/", at("fault"), func(f *fake) {
			trouble(f)
			f.now("fault", nil, "start")
		}},
		{"hearing", "/", "document.querySelectorAll('#agenda li').length === 8", func(f *fake) {
			recording(f)
			for _, m := range []string{"核对身份", "告知权利", "询问回避"} {
				_ = f.Mark(context.Background(), "王某", m, "agenda")
			}
			f.now("recording", func(s *State) { s.Kind, s.Room = "hearing", "听证室一" }, f.State().Can...)
			trouble(f)
		}},
		{"pausing", "/", "(d => d.open || (d.showModal(), true))(document.getElementById('why'))", recording},
		{"asking", "/", "!document.getElementById('question').hidden && !document.getElementById('prompts').hidden", asking},
		{"choosing", "/", "(d => d.open || (document.getElementById('choose').click(), false))(document.getElementById('pick'))", func(f *fake) { f.picks = picks() }},
		{"unrecorded", "/", "(d => d.open || (document.getElementById('unrec').click(), false))(document.getElementById('unrecdialog'))", func(f *fake) { f.picks = picks() }},
		{"compliance", "/compliance", "document.querySelectorAll('#items tr').length === 3", nil},
		{"compliance-all", "/compliance", "document.querySelectorAll('#items tr').length > 0 && (document.querySelector('.filters button:last-child').click(), document.querySelectorAll('#items tr').length === 7)", nil},
		{"sessions", "/sessions", "document.querySelectorAll('.session').length === 2", nil},
		{"session", "/sessions/20261123T060509Z-0badcafe", "document.querySelectorAll('#files li').length === 4", nil},
		{"amend", "/sessions/20261123T060509Z-0badcafe/amend", "document.querySelectorAll('#attached li').length === 1 && document.querySelectorAll('#refusals li').length === 1 && document.querySelectorAll('#matters option').length === 2", func(f *fake) {
			f.picks = picks()
			f.store[0].Attached = []Attached{{Name: "询问笔录.pdf", Kind: "record", Size: 182e3, SHA256: strings.Repeat("ab", 32), At: "2026-11-23T08:00:00.000Z", Who: "李某"}}
			f.store[0].Refused = []Refused{{Party: "张某", Reason: "不认可笔录", At: "2026-11-23T08:00:00.000Z", Who: "李某"}}
		}},
		{"access", "/access?session=20261123T060509Z-0badcafe", "document.querySelectorAll('#grants li, #asked li').length === 3 && !document.getElementById('new').hidden", func(f *fake) { f.roles("operator", "approver", "auditor") }},
		{"register", "/register", "document.querySelectorAll('#looks tr').length === 3", func(f *fake) { f.roles("operator", "auditor") }},
		{"keeping", "/keeping", "document.querySelectorAll('#sessions tr').length === 3 && document.querySelectorAll('#holds li').length === 1", func(f *fake) { f.roles("operator", "auditor") }},
		{"hearing-parts", "/sessions/20261123T060509Z-0badcafe", "document.querySelectorAll('#parts a').length === 2 && document.querySelector('#parts [aria-current]').textContent.includes('1')", nil},
		{"sheet", "/sessions/20261123T060509Z-0badcafe/sheet", "document.querySelectorAll('.qr').length === 2", nil},
		{"login", "/login", "document.readyState === 'complete'", nil},
		{"missing", "/nothing", "document.readyState === 'complete'", nil},
	}
}

// asking is a hearing, continued, near its limit, with a question and a prompt.
func asking(f *fake) {
	_, _ = f.Start(context.Background(), "panel", Details{Case: "并市监罚〔2026〕12号", Matter: Matter{"行政处罚听证", "TZ-01", "2026-1"}, Officers: []Officer{{"王某", "001"}, {"李某", "002"}}}, "20261120T010000Z-0badcafe")
	_ = f.Mark(context.Background(), "王某", "核对身份", "agenda")
	_ = f.Prompt(context.Background(), "督察 张某", "请出示执法证件")
	f.now("recording", f.change(func(r *Running) {
		r.Question, r.Scanned, r.Agenda, r.LimitMS, r.Near = "scan", "并市监罚〔2026〕13号", []string{"核对身份", "告知权利", "质证", "最后陈述"}, 2700e3, true
	}), f.State().Can...)
}

func third(f *fake) {
	f.now(f.State().State, func(s *State) {
		s.Faults = append(s.Faults, Fault{"clock.unverified", "warning", "", opened.Format(time.RFC3339), Text{"时钟未校准，误差未知", "The clock is not set by anything: its error is unknown"}, Text{"请检查网络和校时服务器", "Check the network and the time server"}})
	}, f.State().Can...)
}

// Pictures for review in out/screenshots, and what a machine can see: nothing is wider than the
// screen; what is touched is at least 48 px; axe-core finds nothing serious.
func TestPagesInEachLanguage(t *testing.T) {
	if !slow(t) {
		return
	}
	out := filepath.Join("..", "..", "out", "screenshots")
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	axe, err := os.ReadFile(filepath.Join("..", "..", "out", "cache", axeFile))
	if err != nil {
		t.Fatalf("axe-core: %v: make tools gets it", err)
	}
	for _, lang := range []string{"zh", "en"} {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			f := measuredFake()
			url, _ := serve(t, newServer(t, f, func(o *Options) {
				o.Live, o.Grants, o.Keeping, o.Hearings = http.NotFoundHandler(), fakeGrants{f}, fakeKeeping{f}, hearings{}
			}))
			ctx := browser(t)
			run(t, ctx, "axe", chromedp.ActionFunc(func(ctx context.Context) error {
				_, err := cdpage.AddScriptToEvaluateOnNewDocument(string(axe)).Do(ctx)
				return err
			}), chromedp.Navigate(url+"/login"), chromedp.Evaluate("document.cookie = 'lang="+lang+"; path=/'", nil),
				chromedp.SendKeys("[name=name]", "王某"), chromedp.SendKeys("[name=password]", "correct horse"+kb.Enter), truth("location.pathname === '/'"))
			idle := f.State()
			for _, l := range looks() {
				f.now("idle", func(s *State) { *s = idle }, "start")
				if l.set != nil {
					l.set(f)
				}
				run(t, ctx, l.name, chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url+l.path), truth(l.ready))
				for _, theme := range []string{"light", "dark"} {
					run(t, ctx, theme, emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}))
					rules := "{resultTypes: ['violations']}"
					if theme == "dark" {
						rules = "{resultTypes: ['violations'], runOnly: {type: 'rule', values: ['color-contrast', 'link-in-text-block']}}" // all else is the same
					}
					serious(t, ctx, l.name+" "+lang+" "+theme, rules)
					for _, width := range []int64{1920, 1024, 390} {
						if width == 1920 && (lang != "zh" || theme != "light") {
							continue // a larger screen has no troubles of its own: one picture each
						}
						take(t, ctx, out, l, lang, theme, width)
					}
				}
			}
		})
	}
}

var heights = map[int64]int64{1024: 600, 390: 844, 1920: 1080}

func take(t *testing.T, ctx context.Context, out string, l look, lang, theme string, width int64) {
	t.Helper()
	name := fmt.Sprintf("%s-%dx%d-%s-%s", l.name, width, heights[width], lang, theme)
	var wide bool
	var small []string
	var png []byte
	run(t, ctx, name, chromedp.EmulateViewport(width, heights[width]),
		chromedp.Evaluate("document.documentElement.scrollWidth > innerWidth", &wide), chromedp.Evaluate(tooSmall, &small),
		chromedp.ActionFunc(func(ctx context.Context) (err error) {
			png, err = cdpage.CaptureScreenshot().WithOptimizeForSpeed(true).WithCaptureBeyondViewport(l.path != "/").Do(ctx)
			return err
		}))
	if l.path == "/" && width >= 1024 {
		var hidden []string
		run(t, ctx, name, chromedp.Evaluate(outOfSight, &hidden))
		if len(hidden) > 0 {
			t.Errorf("%s: out of sight without scrolling: %q", name, hidden)
		}
	}
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

// A check box may be small when its label, which is touched as well, is not.
const tooSmall = `[...document.querySelectorAll("a, button, input, select")].filter(e => {
  const box = (e.type === "checkbox" ? e.closest("label") : e).getBoundingClientRect();
  return box.width > 0 && (box.height < 47.5 || box.width < 47.5);
}).map(e => e.id + " " + e.textContent + " " + Math.round(e.getBoundingClientRect().height))`

// outOfSight lists what an officer needs at once on a 7-inch panel and does not see whole.
const outOfSight = `[...document.querySelectorAll("#bar, .channel, .fault, #marktext, #details label, #start, #pause, #resume, #mark, #stop, #agenda button[aria-current], footer > *")].filter(e => {
  const faults = document.querySelectorAll(".fault").length;
  if (e.className === "fault" && faults > 2 && !document.getElementById("morefaults").hidden) return false; // a word leads there
  const box = e.getBoundingClientRect();
  const sight = (e.closest("#faultbox, section") || document.documentElement).getBoundingClientRect();
  return box.width > 0 && (box.top < sight.top - 1 || box.bottom > Math.min(innerHeight, sight.bottom) + 1 || box.right > innerWidth);
}).map(e => e.tagName + " " + e.id + " " + e.textContent.slice(0, 30))`

// serious runs axe-core on what is shown and fails for violations that keep people out.
func serious(t *testing.T, ctx context.Context, what, rules string) {
	t.Helper()
	var result string
	run(t, ctx, "axe: "+what, chromedp.Evaluate(`axe.run(`+rules+`).then(r => JSON.stringify({version: axe.version, passes: r.passes.length,
		violations: r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map(n => n.target.join(" ") + ": " + n.html.slice(0, 200) + " " + (n.any[0]?.message || ""))}))}))`,
		&result, chromedp.EvalAsValue, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	var r struct {
		Version    string
		Passes     int
		Violations []struct {
			ID, Impact, Help string
			Nodes            []string
		}
	}
	if err := json.Unmarshal([]byte(result), &r); err != nil || r.Passes == 0 && !strings.Contains(rules, "runOnly") || !strings.HasPrefix(axeFile, "axe-"+r.Version) {
		t.Fatalf("%s: axe-core looked at nothing: %.200s %v", what, result, err)
	}
	for _, v := range r.Violations {
		if slices.Contains([]string{"serious", "critical"}, v.Impact) {
			t.Errorf("%s: axe-core: %s: %s (%s)\n\t%s", what, v.Impact, v.Help, v.ID, strings.Join(v.Nodes, "\n\t"))
		} else {
			t.Logf("%s: axe-core: %s: %s (%s) %q", what, v.Impact, v.Help, v.ID, v.Nodes)
		}
	}
}
