package live

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

var quietLog = slog.New(slog.DiscardHandler)

func TestPicturesEqualTheSource(t *testing.T) {
	r := newRig(t, Options{Who: func(*http.Request) string { return "li" }})
	source := &kept{}
	defer r.cap.Tap("face", source)()
	eventually(t, "pictures", 5*time.Second, func() bool { source.mu.Lock(); defer source.mu.Unlock(); return len(source.by) > 30 })

	loaded := busy()
	c := r.dial(t, "/whep/face")
	if got := c.header.Get(HeaderSound); got != "mic" {
		t.Errorf("%s = %q, want the microphone that goes with the camera", HeaderSound, got)
	}
	if got := c.header.Get(HeaderPicture); got != "h264" {
		t.Errorf("%s = %q, want the stream's own profile", HeaderPicture, got)
	}
	first := c.picture(t)
	t.Logf("first picture %v after the call", first.when.Sub(c.began))
	if first.when.Sub(c.began) > time.Second && !loaded() {
		t.Errorf("the first picture took %v: it waited for a keyframe", first.when.Sub(c.began))
	}
	if len(first.nals) < 3 || first.nals[0][0]&31 != avcSPS || first.nals[1][0]&31 != avcPPS {
		t.Fatalf("the first picture has no parameter sets before it")
	}
	last := int64(-1)
	for i, p := 0, first; i < 75; i, p = i+1, c.picture(t) {
		if p.nals[0][0]&31 == avcSPS {
			p.nals = p.nals[2:]
		}
		s, err := source.find(p.nals)
		if err != nil {
			t.Fatalf("picture %d: %v", i, err)
		}
		if last >= 0 && s.PTS != last+3600 {
			t.Errorf("picture %d: PTS %d after %d: one is missing or doubled", i, s.PTS, last)
		}
		last = s.PTS
		if d := int32(p.ts - uint32(ticks(s.At, 90000))); d < -900 || d > 900 { // while nothing is recorded, what is known of the uptime still moves
			t.Errorf("picture %d: RTP time is %d ticks off its uptime", i, d)
		}
	}
	before := c.sound(t)
	for range 50 {
		s := c.sound(t)
		if s.SequenceNumber != before.SequenceNumber+1 || s.Timestamp != before.Timestamp+960 {
			t.Errorf("sound packet %d at %d after %d at %d", s.SequenceNumber, s.Timestamp, before.SequenceNumber, before.Timestamp)
		}
		before = s
	}
	vs := r.Viewers()
	if len(vs) != 1 || vs[0].Who != "li" || vs[0].Channel != "face" || vs[0].Sound != "mic" || !vs[0].Live || !vs[0].Remote.IsLoopback() || vs[0].Dropped != 0 {
		t.Errorf("Viewers() = %+v", vs)
	}
	req, _ := http.NewRequest(http.MethodDelete, r.url+c.location, nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("DELETE: %v %v", resp, err)
	}
	resp.Body.Close()
	eventually(t, "the view ends", 3*time.Second, func() bool { return len(r.Viewers()) == 0 })
	eventually(t, "the viewer is told", 3*time.Second, func() bool { return c.pc.ConnectionState() == webrtc.PeerConnectionStateClosed })
}

func TestTwentyViewersLeaveAtOnce(t *testing.T) {
	r := newRig(t, Options{})
	crowd := func() {
		var cs []*client
		began := time.Now()
		for range 20 {
			c, status, text, err := call(r.url+"/whep/face", nil) // not dial: it would keep them
			if err != nil || c == nil {
				t.Fatalf("POST: %d %s %v", status, text, err)
			}
			cs = append(cs, c)
		}
		for _, c := range cs {
			c.picture(t)
		}
		all := time.Since(began)
		began = time.Now()
		var wg sync.WaitGroup
		for _, c := range cs {
			wg.Go(c.close)
		}
		eventually(t, "all have left", 10*time.Second, func() bool { return len(r.Viewers()) == 0 })
		t.Logf("20 viewers see a picture within %v, and are gone within %v", all, time.Since(began))
		wg.Wait()
	}
	rest := func() (goroutines int, heap int64) {
		http.DefaultClient.CloseIdleConnections()
		runtime.GC()
		runtime.GC() // pools are emptied by the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), int64(m.HeapAlloc)
	}
	crowd() // what is made once is made now
	eventually(t, "the first crowd is gone", 10*time.Second, func() bool { n, _ := rest(); return n < 30 })
	goroutines, heap := rest()
	crowd()
	eventually(t, "goroutines return", 10*time.Second, func() bool { n, _ := rest(); return n <= goroutines+2 })
	n, after := rest()
	t.Logf("goroutines %d → %d, heap %d → %d kB", goroutines, n, heap>>10, after>>10)
	if after > heap+2<<20 {
		t.Errorf("heap grew from %d to %d bytes", heap, after)
	}
}

func TestPauseCutsAndRefuses(t *testing.T) {
	r := newRig(t, Options{})
	c := r.dial(t, "/whep/face")
	c.picture(t)
	r.set(Paused)
	r.cap.Pause()
	took := eventually(t, "the view ends", 2*time.Second, func() bool { return len(r.Viewers()) == 0 })
	eventually(t, "the viewer is told", 2*time.Second, func() bool { return c.pc.ConnectionState() == webrtc.PeerConnectionStateClosed })
	t.Logf("cut %v after the pause", took)
	for _, tt := range []struct {
		rule  string
		state State
		code  string
	}{{"nothing in a pause", Paused, "paused"}, {"nothing in an idle room", Idle, "idle"}, {"nothing in a state unknown here", "sealing", "idle"}} {
		r.set(tt.state)
		_, status, text, err := call(r.url+"/whep/face", nil)
		if err != nil || status != http.StatusConflict || !strings.Contains(text, `"code":"`+tt.code+`"`) || !strings.Contains(text, `"zh":"`) {
			t.Errorf("%s: POST = %d %s %v, want 409 %s", tt.rule, status, text, err, tt.code)
		}
	}
	r.set(Recording)
	r.cap.Detach()
	r.cap.Attach(&nothing{})
	if p := r.dial(t, "/whep/face").picture(t); len(p.nals) < 3 {
		t.Error("after the pause a view does not begin at a keyframe")
	}
}

func TestIdleRoomMayBeAllowed(t *testing.T) {
	r := newRig(t, Options{IdleAllowed: func() bool { return true }})
	r.set(Idle)
	r.dial(t, "/whep/face").picture(t)
}

func TestLimits(t *testing.T) {
	r := newRig(t, Options{MaxAll: 3, MaxOfOne: 2})
	r.dial(t, "/whep/face")
	r.dial(t, "/whep/face")
	for _, tt := range []struct {
		rule, path string
		want       int
	}{
		{"a channel has its limit", "/whep/face", 503},
		{"another channel has its own", "/whep/mic", 201},
		{"and all together have one", "/whep/mic", 503},
	} {
		c, status, text, err := call(r.url+tt.path, nil)
		if err != nil || status != tt.want {
			t.Errorf("%s: POST = %d %s %v, want %d", tt.rule, status, text, err, tt.want)
		}
		if c != nil {
			defer c.close()
		}
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t, Options{})
	for _, tt := range []struct {
		rule, method, path, ctype, body string
		want                            int
		code                            string
	}{
		{"an unknown channel", "POST", "/whep/door", "application/sdp", "v=0", 404, "channel"},
		{"another type", "POST", "/whep/face", "text/plain", "v=0", 415, "content-type"},
		{"no session description", "POST", "/whep/face", "application/sdp", "hello", 400, "offer"},
		{"nothing asked for", "POST", "/whep/face", "application/sdp", "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", 400, "offer"},
		{"too long", "POST", "/whep/face", "application/sdp", strings.Repeat("a", maxOfferBytes+1), 400, "body"},
		{"an unknown view", "DELETE", "/whep/face/abcdefgh", "", "", 404, "not-found"},
		{"no trickle", "PATCH", "/whep/face/abcdefgh", "application/trickle-ice-sdpfrag", "", 405, "no-trickle"},
		{"elsewhere", "GET", "/whep/face/a/b", "", "", 404, "not-found"},
		{"unknown sound", "POST", "/whep/face?sound=door", "application/sdp", offerOf(t, nil), 404, "channel"},
	} {
		req, err := http.NewRequest(tt.method, r.url+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", tt.ctype)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.want || !bytes.Contains(b, []byte(`"code":"`+tt.code+`"`)) {
			t.Errorf("%s: %d %s, want %d %s", tt.rule, resp.StatusCode, b, tt.want, tt.code)
		}
	}
	eventually(t, "nothing is left of refused requests", time.Second, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.viewers) == 0 && len(r.feeds) == 0
	})
	req, _ := http.NewRequest("OPTIONS", r.url+"/whep/face", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 204 || resp.Header.Get("Accept-Post") != "application/sdp" || resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("OPTIONS: %v %v, want 204 without CORS", resp, err)
	}
	resp.Body.Close()
}

func offerOf(t *testing.T, m func(*webrtc.MediaEngine) error) string {
	t.Helper()
	var e webrtc.MediaEngine
	if m == nil {
		m = (*webrtc.MediaEngine).RegisterDefaultCodecs
	}
	if err := m(&e); err != nil {
		t.Fatal(err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(&e)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pc.GracefulClose() }()
	for _, k := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if _, err := pc.AddTransceiverFromKind(k, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
	}
	o, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	return o.SDP
}
