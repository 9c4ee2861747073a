package scenario

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestWatchOnThePage: the room page of the real agent shows moving pictures with sound, and the look
// stands in the record of the session.
func TestWatchOnThePage(t *testing.T) {
	t.Parallel()
	disks := Disks(t, 2, 400)
	a := lab.Start(t, Room{Channels: map[string]string{"face": SimCamera, "room": SimCamera, "voice": SimMicrophone}, Disks: []string{disks[0].Dir, disks[1].Dir}, Preroll: "2s", Postroll: "1s"})
	a.WaitLive(20 * time.Second)
	id := a.Begin()
	ctx := chromium(t, chromedp.Flag("allow-loopback-in-peer-connection", true), chromedp.Flag("disable-features", "WebRtcHideLocalIpsWithMdns"))
	var picture []byte
	var moved, heard float64
	if err := chromedp.Run(ctx,
		chromedp.EmulateViewport(1024, 600),
		chromedp.Navigate(a.base+"/"),
		chromedp.Poll(`[...document.querySelectorAll("video")].filter((v) => v.videoWidth > 0 && v.currentTime > 2).length >= 2`, nil, chromedp.WithPollingTimeout(2*time.Minute)),
		chromedp.CaptureScreenshot(&picture),
		chromedp.Evaluate(`document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames`, &moved),
		chromedp.Evaluate(`document.querySelector("video").srcObject.getAudioTracks().length`, &heard),
	); err != nil {
		t.Fatalf("the page shows no live pictures: %v\n%s", err, a.Log())
	}
	if moved < 25 || heard != 1 {
		t.Errorf("%v pictures and %v sound tracks, want moving pictures with sound", moved, heard)
	}
	dir := filepath.Join("..", "..", "out", "screenshots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "watch-1024x600-zh.png"), picture, 0o644); err != nil {
		t.Fatal(err)
	}
	a.End(id)
	hasLine(t, a.Session(0, id), "a look", func(l Line) bool { return l.Type == "access" })
	if code, out := lab.Verify(t, "--require", "0", a.Session(0, id), a.Session(1, id)); code != 0 {
		t.Errorf("verify exits %d\n%s", code, out)
	}
}
