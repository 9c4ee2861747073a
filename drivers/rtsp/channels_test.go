package rtsp

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bluenviron/gortsplib/v5/pkg/base"

	"minglu/agent/capture"
	"minglu/agent/evidence"
	"minglu/agent/record"
)

// TestChannelsComeAndGo: a camera that comes late, breaks off and comes again leaves its own gaps, and
// nothing in the channel beside it.
func TestChannelsComeAndGo(t *testing.T) {
	even := shoot(t, "life=s=160x120:r=25:seed=7:mold=10", "8", "-c:v libx264 -preset ultrafast -sc_threshold 0 -g 50 -bf 0")
	synctest.Test(t, func(t *testing.T) {
		film := even.shots(9000)
		for range 2 { // 24 s
			film = append(film, after(film, even, 0)[:200]...)
		}
		through := make(chan struct{})
		steady := &fakeCamera{sdp: even.sdp(true, ""), session: "1", play: func(c *camConn) {
			c.send(film, nil)
			close(through)
		}}
		conns := 0
		moody := &fakeCamera{sdp: even.sdp(true, ""), session: "1", mute: map[base.Method]bool{}}
		moody.play = func(c *camConn) {
			if conns++; conns < 3 {
				c.send(even.shots(uint32(conns))[:125], nil) // 5 s
				c.Close()
				return
			}
			c.send(even.shots(77), nil)
		}
		began := time.Now()
		channel := func(id string, cam *fakeCamera, from time.Duration) func(up func() time.Duration) capture.Channel {
			return func(up func() time.Duration) capture.Channel {
				src, err := New(Options{URL: "rtsp://10.0.0.1/x", Uptime: up})
				if err != nil {
					t.Fatal(err)
				}
				connected(t, src, cam)
				if pipe := src.connect; from > 0 {
					src.connect = late(began, from, pipe)
				}
				return capture.Channel{ID: id, Source: src}
			}
		}
		r := newRoom(t, record.Options{}, channel("face", steady, 0), channel("room", moody, 8*time.Second))
		r.start(r.capture.Run)
		time.Sleep(3 * time.Second)
		r.open()
		<-through
		time.Sleep(300 * time.Millisecond)
		r.seal(3)
		got := samples(t, r.files("face"), "v")
		if len(got) != len(film) {
			t.Errorf("%d pictures of the steady camera, want %d", len(got), len(film))
		}
		for _, g := range lines[evidence.Gap](r, "gap") {
			t.Logf("gap in %s from %d to %d ms: %s", g.Ch, g.From/1000, g.To/1000, g.Cause)
			switch {
			case g.Ch != "room":
				t.Errorf("a gap in %s: %+v", g.Ch, g)
			case g.Cause == "connection lost" && g.To-g.From > 1e6:
				t.Errorf("a camera that delivered was asked again only after %d ms", (g.To-g.From)/1000)
			}
		}
		if n := len(r.files("room")); n != 1 {
			t.Errorf("%d files of the camera that came and went, want 1", n)
		}
	})
}
