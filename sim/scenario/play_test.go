package scenario

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromium starts Debian's Chromium without a window; make test installs it.
func chromium(t *testing.T, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	flags := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	flags = append(flags, chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("headless", "new"),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("autoplay-policy", "no-user-gesture-required"), chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(2*time.Minute)) // a loaded machine starts it slowly
	flags = append(flags, more...)
	all, cancelAll := chromedp.NewExecAllocator(context.Background(), flags...)
	tab, cancel := chromedp.NewContext(all, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(func() {
		_ = chromedp.Cancel(tab)
		cancel()
		cancelAll()
	})
	ctx, cancelTime := context.WithTimeout(tab, 5*time.Minute)
	t.Cleanup(cancelTime)
	if err := chromedp.Run(tab); err != nil { // the tab, not its time limit, owns the browser
		t.Fatalf("chromium: %v", err)
	}
	return ctx
}

// TestPlayInChromium: what real cameras sent plays in a browser, from the room's own page over a
// segment border, and each file by itself.
func TestPlayInChromium(t *testing.T) {
	t.Parallel()
	r := lab.Relay(t)
	r.Publish("cam1", Stream{Codec: "h264", Size: "1280x720", Rate: 25, GOP: 25, Sound: "aac", Length: time.Minute, Loop: true, Encoded: true})
	disks := Disks(t, 2, 400)
	a := lab.Start(t, Room{Channels: map[string]string{"face": r.URL("cam1")}, Disks: []string{disks[0].Dir, disks[1].Dir}, Segment: "10s", Preroll: "2s", Postroll: "1s"})
	a.WaitLive(20 * time.Second)
	id := a.Begin()
	<-time.NewTimer(14 * time.Second).C
	a.End(id)
	if n := len(Segments(t, a.Session(0, id), "face")); n < 2 {
		t.Fatalf("%d segments, want 2 so that a border is played", n)
	}
	ctx := chromium(t)

	// The player of the page, over the border at 10 s.
	var decoded, dropped int
	idle, began := WatchIdle(t), time.Now()
	if err := chromedp.Run(ctx,
		chromedp.Navigate(a.base+"/sessions/"+id),
		chromedp.WaitEnabled("#play"),
		chromedp.Evaluate(`document.querySelector("#seek").value = 8; document.querySelector("#seek").dispatchEvent(new Event("input"))`, nil),
		chromedp.Click("#play"),
		chromedp.Poll(`document.querySelector("video").currentTime > 13`, nil, chromedp.WithPollingTimeout(2*time.Minute)),
		chromedp.Evaluate(`document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames`, &decoded),
		chromedp.Evaluate(`document.querySelector("video").getVideoPlaybackQuality().droppedVideoFrames`, &dropped),
	); err != nil {
		t.Fatalf("the page does not play the session: %v", err)
	}
	figure(t, "page player in Chromium: %d pictures decoded from 8 s to 13 s over a segment border, %d dropped", decoded, dropped)
	want := 5 * 25
	if idle.Busy(began, time.Now()) { // a browser skips what it is too late for
		want /= 3
	}
	if decoded < want {
		t.Errorf("%d pictures decoded of about 125, want %d", decoded, want)
	}

	// Each file by itself, as a browser opens a download.
	for n := 1; n <= 2; n++ {
		var state struct {
			Error string  `json:"error"`
			Time  float64 `json:"time"`
			Width int     `json:"width"`
			Audio int     `json:"audio"`
		}
		js := fmt.Sprintf(`new Promise((done) => {
			const v = document.createElement("video");
			v.muted = true;
			v.src = "/api/v1/sessions/%s/media/face/%d";
			const tell = (e) => done({error: e, time: v.currentTime, width: v.videoWidth, audio: v.webkitAudioDecodedByteCount || 0});
			v.onerror = () => tell(v.error.message || "error");
			let from;
			v.ontimeupdate = () => { from ??= v.currentTime; if (v.currentTime > from + 1) tell(""); };
			document.body.append(v);
			v.play().catch((e) => tell(String(e)));
		})`, id, n)
		if err := chromedp.Run(ctx, chromedp.Evaluate(js, &state, awaitPromise)); err != nil {
			t.Fatalf("segment %d: %v", n, err)
		}
		if state.Error != "" || state.Width != 1280 || state.Audio == 0 {
			t.Errorf("segment %d by itself: %+v", n, state)
		}
	}
	if code := a.Stop(); code != 0 {
		t.Errorf("the agent exits %d after SIGTERM", code)
	}
}

func awaitPromise(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }
