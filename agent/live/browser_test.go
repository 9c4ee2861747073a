package live

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/pion/dtls/v3"

	"minglu/drivers/sim"
)

// testPage watches through the room page's own module, and reads the number blocks of each picture
// that is put on the screen.
var testPage = fmt.Sprintf(`<!doctype html><html lang="en"><meta charset="utf-8"><title>live</title>
<video id="v" playsinline style="width:480px"></video><script type="module">
import { watch } from "/static/live.js";
const v = document.getElementById("v"), N = %d, S = %d;
const cx = new OffscreenCanvas(N, 1).getContext("2d", { willReadFrequently: true });
window.told = [];
window.pictures = [];
window.w = watch("face", v, (text, sound, note) => told.push([performance.timeOrigin + performance.now(), text, sound, note]));
window.began = performance.timeOrigin + performance.now();
const take = (now, m) => {
  cx.drawImage(v, %d, %d + S / 4, N * S, S / 2, 0, 0, N, 1);
  const d = cx.getImageData(0, 0, N, 1).data;
  pictures.push([performance.timeOrigin + performance.now(), [...Array(N).keys()].map((i) => d[4 * i])]);
  v.requestVideoFrameCallback(take);
};
v.requestVideoFrameCallback(take);
</script></html>`, sim.NumberBlocks, sim.NumberSize, sim.NumberX, sim.NumberY)

// chromium opens a page in the browser that make test installs.
func chromium(t *testing.T, url string) context.Context {
	t.Helper()
	flags := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	flags = append(flags, chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("headless", "new"),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		// With nothing but lo, WebRTC has no address to offer otherwise.
		chromedp.Flag("allow-loopback-in-peer-connection", true), chromedp.UserDataDir(t.TempDir()),
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
		if e, ok := e.(*runtime.EventExceptionThrown); ok {
			t.Errorf("script: %s", e.ExceptionDetails.Error())
		}
	})
	grant := chromedp.ActionFunc(func(ctx context.Context) error {
		return browser.GrantPermissions([]browser.PermissionType{browser.PermissionTypeVideoCapture, browser.PermissionTypeAudioCapture}).
			WithOrigin(url).Do(ctx)
	})
	if err := chromedp.Run(tab); err != nil { // starts it: not with the context that ends earlier
		t.Fatalf("chromium: %v", err)
	}
	if err := chromedp.Run(ctx, grant, chromedp.Navigate(url+"/page")); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return ctx
}

// seen is one picture the browser put on the screen.
type seen struct {
	when time.Time
	n    int64
}

func pictures(t *testing.T, ctx context.Context) (all []seen, unread int) {
	t.Helper()
	var raw [][2]any
	if err := chromedp.Run(ctx, chromedp.Evaluate("window.pictures.splice(0)", &raw)); err != nil {
		t.Fatal(err)
	}
	for _, p := range raw {
		row := make([]byte, sim.NumberX+(sim.NumberBlocks+1)*sim.NumberSize)
		for i, v := range p[1].([]any) {
			row[sim.NumberX+i*sim.NumberSize+sim.NumberSize/2] = byte(v.(float64))
		}
		n, err := sim.ReadNumber(row, 0, 1280, 1280)
		if err != nil {
			unread++
			continue
		}
		ms := p[0].(float64)
		all = append(all, seen{time.UnixMilli(0).Add(time.Duration(ms * float64(time.Millisecond))), int64(n)})
	}
	return all, unread
}

func percentile(d []time.Duration, p int) time.Duration {
	slices.Sort(d)
	return d[(len(d)-1)*p/100].Round(100 * time.Microsecond)
}

func wait(t *testing.T, ctx context.Context, js string) {
	t.Helper()
	var last any
	defer func() {
		if t.Failed() {
			t.Logf("the view: %v", last)
		}
	}()
	eventually(t, js, 15*time.Second, func() bool {
		var ok bool
		if err := chromedp.Run(ctx, chromedp.Evaluate("Boolean("+js+")", &ok)); err != nil {
			t.Fatal(err)
		}
		if !ok {
			_ = chromedp.Run(ctx, chromedp.Evaluate("[w.view.state, w.view.text, w.view.pc?.connectionState, w.view.sound, w.view.stats]", &last))
		}
		return ok
	})
}

func TestChromiumPlaysAndRecovers(t *testing.T) {
	r := newRig(t, Options{})
	up := time.Now().Add(-r.up()) // uptime 0 on the wall clock both programs share
	ctx := chromium(t, r.url)
	wait(t, ctx, "window.w && w.view.state === 'live' && w.view.stats.fps > 20")
	first, _ := pictures(t, ctx)
	var began float64
	if err := chromedp.Run(ctx, chromedp.Evaluate("window.began", &began)); err != nil {
		t.Fatal(err)
	}
	t.Logf("first picture on the screen %v after the call", first[0].when.Sub(time.UnixMicro(int64(began*1000))))

	glassToGlass(t, ctx, up)
	if err := chromedp.Run(ctx, chromedp.Evaluate("w.sound(true)", nil)); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx, "w.view.stats.level_db > -50 && w.view.stats.fps > 20 && w.view.sound === 'mic' && w.view.stats.lost === 0")

	var cipher string
	if err := chromedp.Run(ctx, chromedp.Evaluate("w.view.pc.getStats().then((s) => [...s.values()].find((x) => x.type === 'transport').srtpCipher)", &cipher,
		func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) })); err != nil {
		t.Fatal(err)
	}
	if gcm := srtpProfiles()[0] == dtls.SRTP_AEAD_AES_128_GCM; gcm != strings.Contains(cipher, "GCM") {
		t.Errorf("agreed on %s, want the CPU's own AES used: %t", cipher, gcm)
	}

	r.set(Paused)
	r.cap.Pause()
	wait(t, ctx, "w.view.state === 'paused' && document.getElementById('v').srcObject === null")
	r.set(Recording)
	r.cap.Attach(&nothing{})
	if err := chromedp.Run(ctx, chromedp.Evaluate("w.kick()", nil)); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx, "w.view.state === 'live' && w.view.stats.fps > 20")

	var told [][]any
	if err := chromedp.Run(ctx, chromedp.Evaluate("told", &told), chromedp.Evaluate("w.stop()", nil)); err != nil {
		t.Fatal(err)
	}
	t.Logf("told: %v", told)
	eventually(t, "the page has left", 2*time.Second, func() bool { return len(r.Viewers()) == 0 })
}

// glassToGlass measures from the time a picture belongs to until the page has its pixels. A machine
// that does other things as well gets several chances: what is asked is what the program can do.
func glassToGlass(t *testing.T, ctx context.Context, up time.Time) {
	t.Helper()
	loaded := busy()
	for range 8 {
		if err := chromedp.Run(ctx, chromedp.Sleep(5*time.Second)); err != nil { // this is how long it is looked at
			t.Fatal(err)
		}
		all, unread := pictures(t, ctx)
		if unread > 0 || len(all) < 2 && !loaded() {
			t.Fatalf("%d pictures read in 5 s, %d not readable", len(all), unread)
		}
		if len(all) < 2 {
			continue
		}
		var late []time.Duration
		for i, p := range all {
			if i > 0 && p.n < all[i-1].n {
				t.Errorf("picture %d after %d", p.n, all[i-1].n)
			}
			late = append(late, p.when.Sub(up.Add(time.Duration(p.n)*time.Second/25)))
		}
		p50, p99 := percentile(late, 50), percentile(late, 99)
		t.Logf("glass to glass over %d of %d pictures: p50 %v, p99 %v", len(all), all[len(all)-1].n-all[0].n+1, p50, p99)
		if p50 < 0 {
			t.Fatal("a picture was seen before its time")
		}
		if p50 < 100*time.Millisecond && len(all) > 100 {
			return
		}
	}
	if !loaded() {
		t.Error("glass to glass p50 was never under 100 ms at more than 20 pictures a second")
	}
}
