package web

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// hearings are two sessions that continue one another, with names that few fonts have.
type hearings struct{}

func (hearings) Hearing(context.Context, string) ([]Session, error) {
	one, two := fakeSession("20261123T060509Z-0badcafe", true), fakeSession("20261123T080509Z-00000002", false)
	two.Opened, two.Closed = opened.Add(2*time.Hour).Format(time.RFC3339), opened.Add(3*time.Hour).Format(time.RFC3339)
	one.Officers = []Officer{{"王䶮", "001"}, {"李𠅤", "002"}}
	two.Refused = []Refused{{Party: "张某", Reason: "对笔录有异议", At: one.Closed, Who: "王䶮"}}
	return []Session{one, two}, nil
}

func TestSheet(t *testing.T) {
	f := newFake()
	w := call(newServer(t, f, func(o *Options) { o.Hearings = hearings{} }), "GET", "/sessions/20261123T060509Z-0badcafe/sheet", "", logged)
	body := w.Body.String()
	if did := f.take(); did != "get; enter 王某 view ; enter 王某 view " {
		t.Errorf("did %q; want a look for each part", did)
	}
	for _, want := range []string{"01234567", "并市监罚〔2026〕12号", "王某 001；李某 002", "1:00:00", "与上一段相隔 1:00:00", "0:20:00 – 0:25:00 休息", "face 0:43:20 – 0:45:00", "尚未核验", "对笔录有异议", "2 段", "<svg class=\"qr\""} {
		if w.Code != 200 || !strings.Contains(body, want) {
			t.Errorf("the sheet (%d) lacks %q", w.Code, want)
		}
	}
	f.store[0].Manifest = ""
	if w := call(newServer(t, f), "GET", "/sessions/20261123T060509Z-0badcafe/sheet", "", logged); w.Code != 409 || !strings.Contains(w.Body.String(), "尚未封存") {
		t.Errorf("an open session: %d", w.Code)
	}
	if w := call(newServer(t, f), "GET", "/sessions/20261123T060509Z-0badcafe/sheet", ""); w.Code != 303 {
		t.Errorf("without a login: %d, want the login page", w.Code)
	}
}

// TestSheetOnPaper prints the sheet as a person does: rare characters are right, the digest can be read, and the
// QR code says the same.
func TestSheetOnPaper(t *testing.T) {
	if !slow(t) {
		return
	}
	f := newFake()
	f.store[0].Officers = []Officer{{"王䶮", "001"}, {"李𠅤", "002"}}
	for _, lang := range []string{"zh", "en"} {
		url, _ := serve(t, newServer(t, f))
		ctx := browser(t)
		var pdf []byte
		run(t, ctx, "print", chromedp.Navigate(url+"/login"), chromedp.Evaluate("document.cookie = 'lang="+lang+"; path=/'", nil), chromedp.SendKeys("[name=name]", "王某"), chromedp.SendKeys("[name=password]", "correct horse"+kb.Enter), truth("location.pathname === '/'"),
			chromedp.Navigate(url+"/sessions/20261123T060509Z-0badcafe/sheet"), truth("document.querySelectorAll('.qr').length === 1"),
			chromedp.ActionFunc(func(ctx context.Context) (err error) {
				pdf, _, err = cdpage.PrintToPDF().WithPreferCSSPageSize(true).Do(ctx)
				return err
			}))
		dir := filepath.Join("..", "..", "out", "screenshots")
		name := filepath.Join(dir, "sheet-"+lang+".pdf")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, pdf, 0o644); err != nil {
			t.Fatal(err)
		}
		text, err := exec.Command("pdftotext", "-layout", name, "-").Output()
		if err != nil {
			t.Fatalf("pdftotext: %v: make tools installs poppler-utils", err)
		}
		for _, want := range []string{"王䶮", "李𠅤", "01234567", "并市监罚〔2026〕12号"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s: the paper lacks %q:\n%s", lang, want, text)
			}
		}
		if n := strings.Count(string(text), "\f"); n != 1 {
			t.Errorf("%s: %d pages, want one", lang, n)
		}
		png := strings.TrimSuffix(name, ".pdf")
		if out, err := exec.Command("pdftoppm", "-r", "150", "-png", "-singlefile", name, png).CombinedOutput(); err != nil {
			t.Fatalf("pdftoppm: %v: %s", err, out)
		}
		code, err := exec.Command("zbarimg", "-q", "--raw", png+".png").Output()
		if err != nil {
			t.Fatalf("zbarimg: %v: make tools installs zbar-tools", err)
		}
		if want := "minglu:1:20261123T060509Z-0badcafe:" + strings.Repeat("0123456789abcdef", 4); strings.TrimSpace(string(code)) != want {
			t.Errorf("%s: the QR code says %q, want %q", lang, code, want)
		}
	}
}
