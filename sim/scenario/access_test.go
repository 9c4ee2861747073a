package scenario

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const roomPassword = "correct horse 电池"

// keptRoom is a room with logins, where looks need a purpose or an approval, and one sealed session.
func keptRoom(t *testing.T) (a *Agent, id string) {
	t.Helper()
	disks := Disks(t, 1, 400)
	a = lab.Start(t, Room{Body: "{name: 测试机关, uscc: 111400000000000011}", Auth: "login", Channels: map[string]string{"face": SimCamera, "voice": SimMicrophone},
		Disks: []string{disks[0].Dir}, Preroll: "1s", Postroll: "1s", Extra: "access: {approval: others}\n"})
	for _, u := range [][]string{{"wang", "--role", "operator", "--credential", "A001"}, {"li", "--role", "operator"}, {"du", "--role", "supervisor"}, {"shen", "--role", "auditor"},
		{"she", "--role", "manager"}, {"zhao", "--role", "approver"}, {"qian", "--role", "keeper"}, {"lawyer", "--role", "guest"},
		{"other", "--role", "operator", "--role", "auditor", "--role", "approver", "--body", "11140000000000002X"}} {
		cmd := exec.Command(lab.Agent, append([]string{"user", "add", "--config", a.Config}, u...)...)
		cmd.Stdin = strings.NewReader(roomPassword + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("user add %v: %v: %s", u, err, out)
		}
	}
	a.WaitLive(20 * time.Second)
	id = a.Begin() // the touch panel runs the session without a login
	pause(2 * time.Second)
	a.Call("POST", "/session/stop", map[string]string{"reason": "test"}, nil, http.StatusAccepted)
	shen := a.visitor("shen")
	Wait(t, 30*time.Second, "the session is sealed", func() bool {
		code, body := shen.do("GET", "/sessions?limit=1", "")
		return code == http.StatusOK && strings.Contains(body, `"state":"sealed"`)
	})
	return a, id
}

// visitor is somebody at the pages of a room.
type visitor struct {
	a      *Agent
	cookie string
}

func (a *Agent) visitor(name string) *visitor {
	a.t.Helper()
	v := &visitor{a: a}
	if code, body := v.do("POST", "/login", fmt.Sprintf(`{"name":%q,"password":%q}`, name, roomPassword)); code != http.StatusOK {
		a.t.Fatalf("login of %s: %d %s", name, code, body)
	}
	return v
}

// do asks straight at the API and returns status and body; a login's cookie is kept.
func (v *visitor) do(method, path, body string) (int, string) {
	v.a.t.Helper()
	r, err := http.NewRequestWithContext(v.a.t.Context(), method, v.a.base+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		v.a.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if v.cookie != "" {
		r.Header.Set("Cookie", v.cookie)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		v.a.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		v.a.t.Fatal(err)
	}
	for _, c := range res.Cookies() {
		v.cookie = c.Name + "=" + c.Value
	}
	return res.StatusCode, string(b)
}

// TestPermissions asks each thing as each person, straight at the HTTP API of a room alone, and with each
// kind of wrong login.
func TestPermissions(t *testing.T) {
	t.Parallel()
	a, id := keptRoom(t)
	one := "/sessions/" + id
	things := []struct{ name, method, path, body string }{
		{"list", "GET", "/sessions", ""},
		{"view", "GET", one, ""},
		{"segments", "GET", one + "/media/face", ""},
		{"play", "GET", one + "/media/face/1", ""},
		{"download", "GET", one + "/media/face/1?download=1", ""},
		{"export", "GET", one + "/bundle", ""},
		{"copy", "GET", one + "/bundle?copy=1", ""},
		{"verify", "POST", one + "/verify", "{}"},
		{"grants", "GET", "/access/grants", ""},
		{"answer", "POST", "/access/grants/0/answer", `{"give":true}`},
		{"register", "GET", "/access/register", ""},
		{"mark", "POST", "/session/mark", "{}"}, // 409: nothing runs; the panel may
		{"state", "GET", "/state", ""},
	}
	for _, tt := range []struct {
		who  string
		want string // status of each thing, in order
	}{
		//          list view segs play down expo copy veri gran answ regi mark state
		{"wang", "200 200 200 purpose approval approval approval 200 200 role role 409 200"},
		{"li", "200 200 200 approval approval approval approval 200 200 role role 409 200"},
		{"du", "200 200 200 approval role role role 200 200 role role 409 200"},
		{"shen", "200 200 200 purpose purpose purpose purpose 200 200 role 200 409 200"},
		{"she", "200 role role role role role role 200 role role role 409 200"},
		{"zhao", "200 200 200 role role role role 200 200 404 200 409 200"},
		{"qian", "200 200 200 approval approval approval approval 200 200 role role 409 200"},
		{"lawyer", "200 404 404 404 role role 404 404 200 role role 409 200"},
		{"other", "200 404 404 404 404 404 404 404 200 404 200 409 200"},
		{"", "401 401 401 401 401 401 401 401 401 401 401 409 200"},
	} {
		v := &visitor{a: a}
		if tt.who != "" {
			v = a.visitor(tt.who)
		}
		for i, want := range strings.Fields(tt.want) {
			x := things[i]
			code, body := v.do(x.method, x.path, x.body)
			got := fmt.Sprint(code)
			if code == http.StatusForbidden {
				var e struct{ Error struct{ Code, Zh, En string } }
				if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error.Zh == "" || e.Error.En == "" {
					t.Errorf("%s: %s: %v: %s", tt.who, x.name, err, body)
				}
				got = e.Error.Code
			}
			if got != want {
				t.Errorf("%q asks %s: %s, want %s: %.200s", tt.who, x.name, got, want, body)
			}
			if x.name == "list" && code == http.StatusOK {
				if see := strings.Contains(body, id); see != (tt.who != "lawyer" && tt.who != "other") {
					t.Errorf("%s sees the session in the list: %v", tt.who, see)
				}
			}
		}
	}
	for _, tt := range []struct {
		rule   string
		cookie string
	}{
		{"a token nobody was given", "minglu=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		{"the cookie of TLS on a page without", "__Host-" + a.visitor("shen").cookie},
		{"a token cut short", a.visitor("shen").cookie[:20]},
		{"a token twice as long", strings.Repeat(a.visitor("shen").cookie, 2)},
		{"a login that ended", ended(a.visitor("shen"))},
	} {
		if code, _ := (&visitor{a, tt.cookie}).do("GET", one+"/media/face/1", ""); code != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", tt.rule, code)
		}
	}
	stranger := &visitor{a: a}
	for i := range 7 {
		code, _ := stranger.do("POST", "/login", `{"name":"shen","password":"wrong"}`)
		if want := map[bool]int{true: 401, false: 429}[i < 5]; code != want {
			t.Errorf("wrong password number %d: %d, want %d", i+1, code, want)
		}
	}
	if code, _ := stranger.do("POST", "/login", fmt.Sprintf(`{"name":"shen","password":%q}`, roomPassword)); code != http.StatusTooManyRequests {
		t.Errorf("the right password of a locked name: %d, want 429", code)
	}
}

func ended(v *visitor) string {
	cookie := v.cookie
	v.do("POST", "/logout", "{}")
	return cookie
}

// TestCopyForALawyer is the whole way of a copy, on the pages: asked for by an operator, refused to nobody
// but the operator's own yes, approved by another, downloaded, verified, handed over with a receipt; then
// the auditor's question who looked is answered by the register, whose lines the ledger names.
func TestCopyForALawyer(t *testing.T) {
	t.Parallel()
	a, id := keptRoom(t)
	for _, size := range []struct {
		name          string
		width, height int64
		lang          string
	}{{"1024x600", 1024, 600, "zh"}, {"1920x1080", 1920, 1080, "en"}} {
		ctx := chromium(t)
		down := t.TempDir()
		log := func(name string) chromedp.Tasks {
			return chromedp.Tasks{chromedp.Navigate(a.base + "/login"), chromedp.Evaluate("document.cookie='lang="+size.lang+"; path=/'", nil), chromedp.Navigate(a.base + "/login"),
				chromedp.SendKeys("[name=name]", name), chromedp.SendKeys("[name=password]", roomPassword+kb.Enter), poll("location.pathname === '/'")}
		}
		step := func(what string, tasks ...chromedp.Action) {
			t.Helper()
			if err := chromedp.Run(ctx, tasks...); err != nil {
				var b []byte
				_ = chromedp.Run(ctx, chromedp.CaptureScreenshot(&b))
				shot(t, "copy-failed-"+size.name, b)
				t.Fatalf("%s: %s: %v\n%s", size.name, what, err, a.Log())
			}
		}
		picture := func(name string) chromedp.Action {
			return chromedp.ActionFunc(func(ctx context.Context) error {
				var b []byte
				err := chromedp.CaptureScreenshot(&b).Do(ctx)
				shot(t, name+"-"+size.name+"-"+size.lang, b)
				return err
			})
		}
		step("the operator asks", chromedp.EmulateViewport(size.width, size.height), log("li"),
			chromedp.Navigate(a.base+"/sessions/"+id), chromedp.Click("#asklook", chromedp.NodeVisible), poll("!document.getElementById('new').hidden && document.querySelectorAll('#usual button').length > 3"),
			chromedp.Click("[name=do][value=play]"), chromedp.Click("[name=do][value=copy]"), chromedp.Click("#usual button:nth-child(4)"),
			chromedp.SendKeys("[name=party]", "张律师"), chromedp.SendKeys("[name=capacity]", "代理律师"), chromedp.SendKeys("[name=document]", "律师证 14010001"),
			picture("access-ask"), chromedp.Click("#wish [type=submit]"), poll("document.querySelector('#grants [data-state=asked]')"))
		step("the approver answers", log("zhao"), chromedp.Navigate(a.base+"/access"), poll("document.querySelector('#asked .strong')"), picture("access-answer"),
			chromedp.Click("#asked .strong"), poll("document.querySelector('#grants [data-state=given]')"))
		step("the operator takes the copy", log("li"), browser.SetDownloadBehavior(browser.SetDownloadBehaviorBehaviorAllow).WithDownloadPath(down),
			chromedp.Navigate(a.base+"/access"), poll("document.querySelector('#grants a[download]')"), chromedp.Click("#grants [data-state=given] a[download]"))
		var zipped string
		Wait(t, time.Minute, "the copy is there", func() bool {
			l, _ := filepath.Glob(filepath.Join(down, "*.zip"))
			if len(l) == 1 {
				zipped = l[0]
			}
			return zipped != ""
		})
		unpacked := unzip(t, zipped)
		if code, out := lab.Verify(t, "--trust", a.Trust(), filepath.Join(unpacked, id)); code != 0 {
			t.Errorf("the copy verifies with %d: %s", code, out)
		}
		step("the receipt", chromedp.Evaluate("[...document.querySelectorAll('#grants [data-state=given] button')].find((b) => /回执|Receipt/.test(b.textContent)).click()", nil),
			chromedp.SendKeys("#why", "光盘 1 张"), chromedp.SendKeys("#second", "张律师"+kb.Enter),
			poll("[...document.querySelectorAll('#grants .small')].some((e) => e.textContent.includes('光盘 1 张'))"), picture("access-receipt"))
		step("the auditor's question", log("shen"), chromedp.Navigate(a.base+"/register"), poll("document.querySelectorAll('#looks tr').length > 3"),
			chromedp.Evaluate(fmt.Sprintf("(q => { q.value = '%d-%d'; q.dispatchEvent(new Event('change')); })(document.getElementById('quarter'))", time.Now().Year(), (int(time.Now().Month())+2)/3), nil),
			poll("[...document.querySelectorAll('#looks tr')].some((r) => r.textContent.includes('张律师') && r.textContent.includes('zhao'))"), picture("register"))
		a.endGrants(t)
	}
	_, csv := a.visitor("shen").do("GET", "/access/register?format=csv", "")
	if !strings.HasPrefix(csv, "\uFEFF时间") || strings.Count(csv, ",copy,") != 2 || strings.Count(csv, "grant.handed") != 2 {
		t.Errorf("the exported register: %.2000s", csv)
	}
	// The ledger names each look of the register.
	for line := range strings.Lines(csv) {
		f := strings.Split(strings.TrimSpace(line), ",")
		if len(f) > 4 && f[3] == "copy" {
			ledger := a.ledgerText(t)
			if ref := f[len(f)-1]; !strings.Contains(ledger, `"ref":"`+ref+`"`) {
				t.Errorf("the ledger has no entry %s of %s", ref, line)
			}
		}
	}
}

// endGrants takes back what was given, so that the next one asks anew.
func (a *Agent) endGrants(t *testing.T) {
	t.Helper()
	v := a.visitor("zhao")
	_, body := v.do("GET", "/access/grants", "")
	var l struct{ Grants []struct{ ID, State string } }
	if err := json.Unmarshal([]byte(body), &l); err != nil {
		t.Fatal(err)
	}
	for _, g := range l.Grants {
		if g.State == "given" {
			if code, out := v.do("POST", "/access/grants/"+g.ID+"/end", `{"why":"test"}`); code != http.StatusOK {
				t.Errorf("end: %d %s", code, out)
			}
		}
	}
}

func (a *Agent) ledgerText(t *testing.T) string {
	t.Helper()
	l, err := filepath.Glob(filepath.Join(a.Dir, "state", "ledger", "*", "log.jsonl"))
	if err != nil || len(l) == 0 {
		t.Fatalf("no ledger: %v", err)
	}
	var all bytes.Buffer
	for _, name := range l {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

// poll waits until js is true, over pages that come and go.
func poll(js string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		end := time.Now().Add(time.Minute)
		for {
			var ok bool
			err := chromedp.Evaluate("!!("+js+")", &ok).Do(ctx)
			if err == nil && ok {
				return nil
			}
			if ctx.Err() != nil || time.Now().After(end) {
				return fmt.Errorf("never: %s (%w)", js, errors.Join(err, ctx.Err()))
			}
			pause(50 * time.Millisecond)
		}
	})
}

func shot(t *testing.T, name string, b []byte) {
	t.Helper()
	dir := filepath.Join("..", "..", "out", "screenshots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func unzip(t *testing.T, name string) string {
	t.Helper()
	z, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	dir := t.TempDir()
	if err := os.CopyFS(dir, z); err != nil {
		t.Fatal(err)
	}
	return dir
}
