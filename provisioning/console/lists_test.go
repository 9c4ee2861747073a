package console

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"minglu/provisioning/registry"
)

// example puts the example's lists in place.
func (o *office) example(t *testing.T) {
	t.Helper()
	for _, name := range []string{registry.Bodies, registry.Rooms, registry.Officers, registry.Matters, registry.Bookings, registry.Cases} {
		b, _, err := registry.ExampleCSV(name)
		if err == nil {
			_, err = o.lists.Apply(b, o.lists.Preview(b).Token, "王某", "示例.csv")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestListsOverHTTP(t *testing.T) {
	o := open(t, true)
	in := "Cookie: office=" + o.token
	auditor := o.login2(t, "审计", "battery staple")
	b, _, err := registry.ExampleCSV(registry.Bodies)
	if err != nil {
		t.Fatal(err)
	}
	const raw = "Content-Type: application/octet-stream"
	imp := func(query, body string, header ...string) (int, string) {
		w := o.call("POST", "/api/v1/lists/import?"+query, body, header...)
		return w.Code, w.Body.String()
	}
	if c, _ := imp("", string(b), raw); c != 401 {
		t.Errorf("without a login: %d", c)
	}
	if c, s := imp("", string(b), raw, auditor); c != 403 || !strings.Contains(s, "role") {
		t.Errorf("an auditor: %d %s", c, s)
	}
	if c, _ := imp("", string(b), "Content-Type: application/json", in); c != 400 {
		t.Errorf("as JSON: %d", c)
	}
	if c, _ := imp("", strings.Repeat("x", registry.MaxFile+1), raw, in); c != 400 {
		t.Errorf("too large: %d", c)
	}
	if c, s := imp("do=apply&token=x", string(b), raw, in); c != 409 || o.lists.Data().Rev != 0 {
		t.Errorf("without a preview: %d %s", c, s)
	}
	p := o.lists.Preview(b)
	if c, s := imp("do=apply&name=a.xlsx&token="+p.Token, string(b), raw, in); c != 200 || o.lists.Data().Rev != 1 || o.lists.Data().Changes[0].Who != "王某" {
		t.Errorf("with one: %d %s", c, s)
	}
	for path, want := range map[string]string{"": "PK", "?example=true": "PK", "?example=true&sheet=bodies": "\ufeff单位名称,", "?sheet=officers": "\ufeff姓名,"} {
		w := o.call("GET", "/api/v1/lists/export"+path, "", auditor)
		if w.Code != 200 || !strings.HasPrefix(w.Body.String(), want) || !strings.Contains(w.Header().Get("Content-Disposition"), "attachment") {
			t.Errorf("export%s: %d %.20s", path, w.Code, w.Body)
		}
	}
	if w := o.call("GET", "/api/v1/lists/export?sheet=nope", "", in); w.Code != 404 {
		t.Errorf("a sheet nobody knows: %d", w.Code)
	}
}

// TestAManagerImportsLists: a file with a mistake says in which row, and changes nothing; mended, it is shown and done.
func TestAManagerImportsLists(t *testing.T) {
	o := open(t, true)
	o.example(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	body := o.lists.Data().Bodies[0].USCC
	const heads = "姓名,证号,单位代码,有效期自\n"
	bad := write("bad.csv", heads+"䶮某,99990101003,"+body+",2026-01-01\n王某,99990101001,"+body+",明年\n")
	good := write("good.csv", heads+"䶮某,99990101003,"+body+",2026-01-01\n王某某,99990101001,"+body+",2024-01-01\n")
	choose := func(path string) chromedp.Action {
		return chromedp.ActionFunc(func(ctx context.Context) error { return chromedp.SetUploadFiles("#file", []string{path}).Do(ctx) })
	}
	ctx := browser(t)
	act(t, ctx, "log in", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(o.url+"/lists"), logIn, shows("#n-officers", "2"), shows("#rows tbody", "某县市场监督管理局"))
	act(t, ctx, "a mistake", choose(bad), shows("#mistakes tbody", "“人员”第 3 行，有效期自：“明年”：应为日期"), shows("#verdict", "1 处错误"), truth("document.querySelector('#apply').hidden"))
	act(t, ctx, "mended", choose(good), shows("#verdict", "新增 1，修改 1"), shows("#diffs tbody", "姓名：王某 → 王某某"), click("#apply"), truth("document.querySelector('#preview').hidden"), shows("#n-officers", "3"), shows("#changes", "good.csv"))
	act(t, ctx, "seen", click("[value=officers]"), shows("#rows tbody", "䶮某"), chromedp.SendKeys("[name=q]", "某某"), truth("document.querySelectorAll('#rows tbody tr').length === 1"), shows("#rows tbody", "王某某"))
	act(t, ctx, "where rooms stand", shows("#deliveries [data-device=room-3]", "未联网"))
}
