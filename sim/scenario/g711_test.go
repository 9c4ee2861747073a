package scenario

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"minglu/agent/evidence"
)

// TestG711OnThePage: a camera whose sound is G.711 is recorded with it, and its picture plays on the
// room's page although no browser plays PCM.
func TestG711OnThePage(t *testing.T) {
	t.Parallel()
	r := lab.Relay(t)
	r.Publish("cam1", Stream{Codec: "h264", Size: "640x360", Rate: 25, GOP: 25, Sound: "alaw", Length: time.Minute, Loop: true, Encoded: true})
	disks := Disks(t, 1, 400)
	a := lab.Start(t, Room{Channels: map[string]string{"face": r.URL("cam1")}, Disks: []string{disks[0].Dir}, Segment: "10s", Preroll: "5s", Postroll: "0s"})
	a.WaitLive(20 * time.Second)
	pause(3 * time.Second) // a keyframe has come: the session begins with it
	id := a.Begin()
	<-time.NewTimer(12 * time.Second).C
	a.End(id)
	files := Segments(t, a.Session(0, id), "face")
	pictures, beeps := Flashes(t, files), Beeps(t, files)
	if len(pictures) < 5 || len(beeps) < 5 {
		t.Errorf("%d flashes and %d beeps in the files", len(pictures), len(beeps))
	}
	if v := lab.VerifyJSON(t, "--require", "0", a.Session(0, id)); v.Exit != evidence.ExitGood {
		t.Errorf("verify exits %d\n%s", v.Exit, Text(v))
	}
	ctx := chromium(t)
	var decoded int
	var said bool
	if err := chromedp.Run(ctx,
		chromedp.Navigate(a.base+"/sessions/"+id),
		chromedp.WaitEnabled("#play"),
		chromedp.Click("#play"),
		chromedp.Poll(`document.querySelector("video").currentTime > 11`, nil, chromedp.WithPollingTimeout(2*time.Minute)),
		chromedp.Evaluate(`document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames`, &decoded),
		chromedp.Evaluate(`document.body.textContent.includes("G.711")`, &said),
	); err != nil {
		t.Fatalf("the page does not play the picture: %v", err)
	}
	figure(t, "G.711: %d pictures on the page over a file's border, %d flashes and %d beeps in the files", decoded, len(pictures), len(beeps))
	if decoded < 5*25 || !said {
		t.Errorf("%d pictures decoded; the page says that sound is not played: %v", decoded, said)
	}
}
