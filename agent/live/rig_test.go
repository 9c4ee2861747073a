package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"minglu/agent/capture"
	"minglu/drivers"
	"minglu/drivers/sim"
)

func TestMain(m *testing.M) {
	frozenViewer() // in the child of TestFrozenViewer only
	goleak.VerifyTestMain(m)
}

// rig is a simulated room with its live view behind a web server.
type rig struct {
	*Live
	cap   *capture.Capture
	room  *sim.Room
	up    func() time.Duration
	state atomic.Pointer[State]
	url   string
}

func newRig(t *testing.T, o Options) *rig {
	t.Helper()
	boot := time.Now().Add(-time.Hour)
	r := &rig{up: func() time.Duration { return time.Since(boot) }}
	r.set(Recording)
	var err error
	r.room, err = sim.New(sim.Options{Cameras: []sim.CameraOptions{{ID: "face"}}, Microphones: []string{"mic"}, Uptime: r.up})
	if err != nil {
		t.Fatal(err)
	}
	channels := []capture.Channel{{ID: "face", Source: r.room.Camera("face")}, {ID: "mic", Source: r.room.Microphone("mic")}}
	o.Channels = append(o.Channels, Channel{ID: "face", Sound: "mic"}, Channel{ID: "mic"})
	return r.start(t, o, channels)
}

func (r *rig) set(s State) { r.state.Store(&s) }

func (r *rig) start(t *testing.T, o Options, channels []capture.Channel) *rig {
	t.Helper()
	var err error
	if r.cap, err = capture.New(capture.Options{Channels: channels, Uptime: r.up}); err != nil {
		t.Fatal(err)
	}
	o.Tap = func(ch string, tap Tap) func() { return r.cap.Tap(ch, tap) }
	o.State = func() State { return *r.state.Load() }
	if r.Live, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	var wg sync.WaitGroup
	why := errors.New("asked to stop")
	for _, run := range []func(context.Context) error{r.cap.Run, r.Run} {
		wg.Go(func() {
			if err := run(ctx); !errors.Is(err, why) {
				t.Errorf("Run() = %v, want the reason it was stopped", err)
			}
		})
	}
	mux := http.NewServeMux()
	mux.Handle("/whep/", r.Handler("/whep/"))
	mux.Handle("/static/", http.StripPrefix("/static/", http.FileServer(http.Dir("../web/static"))))
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, testPage) })
	s := httptest.NewServer(mux)
	r.url = s.URL
	t.Cleanup(func() {
		cancel(why)
		wg.Wait()
		s.Close()
		if n := r.Stuck(); n != 0 {
			t.Errorf("%d connections did not close", n)
		}
	})
	if !r.Addr(t.Context()).IsValid() {
		t.Fatal("live does not listen")
	}
	return r
}

// picture is one access unit as a viewer got it.
type picture struct {
	ts   uint32
	nals [][]byte
	when time.Time
}

// client is a viewer in Go.
type client struct {
	pc       *webrtc.PeerConnection
	mux      io.Closer
	header   http.Header
	location string
	pictures chan picture
	sounds   chan *rtp.Packet
	began    time.Time
}

// call opens a view. offer changes what is offered, nil: what pion offers by itself.
func call(url string, offer func(*webrtc.MediaEngine) error) (*client, int, string, error) {
	var m webrtc.MediaEngine
	if offer == nil {
		offer = (*webrtc.MediaEngine).RegisterDefaultCodecs
	}
	if err := offer(&m); err != nil {
		return nil, 0, "", err
	}
	if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: playoutDelay}, webrtc.RTPCodecTypeVideo); err != nil {
		return nil, 0, "", err
	}
	s := webrtc.SettingEngine{LoggerFactory: loggers{quietLog}}
	s.SetIncludeLoopbackCandidate(true)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	own, err := listen("127.0.0.1:0", 0)
	if err != nil {
		return nil, 0, "", err
	}
	s.SetICEUDPMux(own)
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(&m), webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, 0, "", err
	}
	c := &client{pc: pc, mux: closer(own.close), pictures: make(chan picture, 1000), sounds: make(chan *rtp.Packet, 1000), began: time.Now()}
	status, text, err := c.agree(url)
	if err != nil || status != http.StatusCreated {
		c.close()
		return nil, status, text, err
	}
	return c, status, text, nil
}

type closer func()

func (c closer) Close() error { c(); return nil }

func (c *client) agree(url string) (int, string, error) {
	for _, k := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if _, err := c.pc.AddTransceiverFromKind(k, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			return 0, "", err
		}
	}
	c.pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { c.read(t) })
	offer, err := c.pc.CreateOffer(nil)
	if err != nil {
		return 0, "", err
	}
	gathered := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(offer); err != nil {
		return 0, "", err
	}
	<-gathered
	resp, err := http.Post(url, "application/sdp", bytes.NewReader([]byte(c.pc.LocalDescription().SDP)))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	c.header, c.location = resp.Header, resp.Header.Get("Location")
	if err != nil || resp.StatusCode != http.StatusCreated {
		return resp.StatusCode, string(b), err
	}
	return resp.StatusCode, string(b), c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(b)})
}

// read puts pictures together until the track ends. It drops what nobody takes.
func (c *client) read(t *webrtc.TrackRemote) {
	h264, h265 := &codecs.H264Packet{IsAVC: true}, &codecs.H265Depacketizer{}
	var p picture
	for {
		packet, _, err := t.ReadRTP()
		if err != nil {
			return
		}
		if t.Kind() == webrtc.RTPCodecTypeAudio {
			select {
			case c.sounds <- packet:
			default:
			}
			continue
		}
		var b []byte
		if t.Codec().MimeType == webrtc.MimeTypeH265 {
			b, err = h265.Unmarshal(packet.Payload)
		} else {
			b, err = h264.Unmarshal(packet.Payload)
		}
		if err != nil {
			continue
		}
		if t.Codec().MimeType == webrtc.MimeTypeH265 {
			for _, n := range bytes.Split(b, []byte{0, 0, 0, 1}) {
				if len(n) > 0 {
					p.nals = append(p.nals, n)
				}
			}
		} else {
			p.nals = append(p.nals, units(b)...)
		}
		if packet.Marker {
			p.ts, p.when = packet.Timestamp, time.Now()
			select {
			case c.pictures <- p:
			default:
			}
			p = picture{}
		}
	}
}

func (c *client) close() {
	_ = c.pc.GracefulClose()
	_ = c.mux.Close()
}

// dial is call that must work.
func (r *rig) dial(t *testing.T, path string) *client {
	t.Helper()
	c, status, text, err := call(r.url+path, nil)
	if err != nil || c == nil {
		t.Fatalf("POST %s: %d %s %v", path, status, text, err)
	}
	t.Cleanup(c.close)
	return c
}

func (c *client) picture(t *testing.T) picture {
	t.Helper()
	select {
	case p := <-c.pictures:
		return p
	case <-time.After(patience * 10 * time.Second):
		t.Fatal("no picture within 50 s")
		return picture{}
	}
}

func (c *client) sound(t *testing.T) *rtp.Packet {
	t.Helper()
	select {
	case p := <-c.sounds:
		return p
	case <-time.After(patience * 10 * time.Second):
		t.Fatal("no sound within 50 s")
		return nil
	}
}

// patience is how many times longer than on a quiet machine a test waits for what must come.
const patience = 5

// eventually waits, patiently, for what other goroutines and sockets do.
func eventually(t *testing.T, what string, within time.Duration, holds func() bool) time.Duration {
	t.Helper()
	within *= patience
	began := time.Now()
	for !holds() {
		if time.Since(began) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began)
}

// idle reads how much of their time the processors had nothing to do so far, and had at all (proc(5), stat).
func idle() (idle, all int64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	var v [8]int64
	if _, err := fmt.Sscanf(string(b), "cpu %d %d %d %d %d %d %d %d", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]); err != nil {
		return 0, 0
	}
	for _, n := range v {
		all += n
	}
	return v[3] + v[4], all
}

// busy begins to watch the machine, and says later whether it was busy: what is late then proves nothing.
func busy() func() bool {
	idle0, all0 := idle()
	return func() bool {
		idle1, all1 := idle()
		return all1 > all0 && float64(idle1-idle0) < 0.1*float64(all1-all0)
	}
}

// kept is a tap that keeps what it gets, by PTS.
type kept struct {
	mu sync.Mutex
	by map[int64]drivers.Sample
}

func (k *kept) Describe(string, drivers.Description)      {}
func (k *kept) Lost(string, int, int, string)             {}
func (k *kept) SenderReport(string, drivers.SenderReport) {}
func (k *kept) Sample(_ string, s drivers.Sample) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.by == nil {
		k.by = map[int64]drivers.Sample{}
	}
	k.by[s.PTS] = s
}

// find waits a little: a viewer may be faster than this tap.
func (k *kept) find(nals [][]byte) (s drivers.Sample, err error) {
	for range 50 {
		if s, err = k.look(nals); err == nil {
			return s, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return s, err
}

func (k *kept) look(nals [][]byte) (drivers.Sample, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.by {
		if equal(units(s.Data), nals) {
			return s, nil
		}
	}
	return drivers.Sample{}, fmt.Errorf("no picture of the source has these %d NAL units", len(nals))
}

func equal(a, b [][]byte) bool {
	for i := range a {
		if len(a) != len(b) || !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

// nothing is a recording nobody keeps.
type nothing struct{}

func (*nothing) Describe(string, drivers.Description) {}
func (*nothing) Sample(string, drivers.Sample)        {}
func (*nothing) Lost(string, int, int, string)        {}
