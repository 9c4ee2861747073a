package rtsp

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/auth"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/bluenviron/gortsplib/v5/pkg/liberrors"
	"github.com/pion/rtp"

	"minglu/drivers"
)

func asProblem(err error) *drivers.Problem {
	var p *drivers.Problem
	if errors.As(err, &p) {
		return p
	}
	return nil
}

// loginServer is a real server with one stream that wants a login.
type loginServer struct {
	server *gortsplib.Server
	stream *gortsplib.ServerStream
}

func (l *loginServer) OnDescribe(c *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	if !c.Conn.VerifyCredentials(c.Request, "operator", "s3cret@pass") {
		return &base.Response{StatusCode: base.StatusUnauthorized}, nil, liberrors.ErrServerAuth{}
	}
	if c.Path != "/cam" {
		return &base.Response{StatusCode: base.StatusNotFound}, nil, nil
	}
	return &base.Response{StatusCode: base.StatusOK}, l.stream, nil
}

func (l *loginServer) OnSetup(*gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return &base.Response{StatusCode: base.StatusOK}, l.stream, nil
}

func (l *loginServer) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	time.AfterFunc(50*time.Millisecond, func() {
		_ = l.stream.WritePacketRTP(l.stream.Desc.Medias[0], &rtp.Packet{
			Header:  rtp.Header{Version: 2, PayloadType: 96, Marker: true, SequenceNumber: 1},
			Payload: []byte{0x65, 0x88, 1, 1},
		})
	})
	return &base.Response{StatusCode: base.StatusOK}, nil
}

func startLoginServer(t *testing.T, method auth.VerifyMethod) string {
	t.Helper()
	sps, _, pps := testSets()
	l := &loginServer{}
	var addr string
	l.server = &gortsplib.Server{Handler: l, RTSPAddress: "127.0.0.1:0", AuthMethods: []auth.VerifyMethod{method},
		Listen: func(network, address string) (net.Listener, error) {
			ln, err := net.Listen(network, address)
			if err == nil {
				addr = ln.Addr().String()
			}
			return ln, err
		}}
	if err := l.server.Start(); err != nil {
		t.Fatal(err)
	}
	l.stream = &gortsplib.ServerStream{Server: l.server, Desc: &description.Session{Medias: []*description.Media{{
		Type: description.MediaTypeVideo, Formats: []format.Format{&format.H264{PayloadTyp: 96, SPS: sps, PPS: pps, PacketizationMode: 1}},
	}}}}
	if err := l.stream.Initialize(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.stream.Close()
		l.server.Close()
	})
	return addr
}

func TestLogin(t *testing.T) {
	for _, m := range []struct {
		name   string
		method auth.VerifyMethod
	}{{"basic", auth.VerifyMethodBasic}, {"digest", auth.VerifyMethodDigestMD5}, {"digest SHA-256", auth.VerifyMethodDigestSHA256}} {
		for _, tt := range []struct{ rule, user, path, code string }{
			{"the right password plays", "operator:s3cret%40pass@", "/cam", ""},
			{"a wrong one is told", "operator:wr0ng%40pass@", "/cam", "credentials"},
			{"so is none", "", "/cam", "credentials"},
			{"a wrong path is told after the login", "operator:s3cret%40pass@", "/nope", "not-found"},
		} {
			t.Run(m.name+": "+tt.rule, func(t *testing.T) {
				t.Parallel()
				var log bytes.Buffer
				src := mustNew(t, Options{
					URL: "rtsp://" + tt.user + startLoginServer(t, m.method) + tt.path,
					Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
				})
				s := newSink()
				err := s.run(t, src, func() bool { return len(s.samples) > 0 })
				p := asProblem(err)
				if tt.code == "" && (p != nil || len(s.samples) == 0) || tt.code != "" && (p == nil || p.Code != tt.code || p.Zh == "" || p.En == "") {
					t.Errorf("Run() = %v after %d samples, want code %q", err, len(s.samples), tt.code)
				}
				all := fmt.Sprintf("%v %+v %#v %s %v %+v %#v %+v", err, p, p, log.String(), src, src, src, s.desc)
				for _, secret := range []string{"s3cret", "wr0ng", base64.StdEncoding.EncodeToString([]byte("operator:s3cret@pass"))} {
					if strings.Contains(all, secret) {
						t.Errorf("%q shows in %s", secret, all)
					}
				}
			})
		}
	}
}

func TestProblems(t *testing.T) {
	sps, _, pps := testSets()
	known := sdpH264(false, sprop(sps, pps))
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	mjpeg := "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns= \r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:t=0\r\nm=audio 0 RTP/AVP 0\r\na=control:t=1\r\n"
	for _, tt := range []struct {
		rule string
		cam  *fakeCamera
		url  string // instead of cam's
		code string
		says string
	}{
		{"nobody listens there", nil, "rtsp://admin:hunter2@" + closed.Addr().String() + "/x", "address", "power and cable"},
		{"no such host", nil, "rtsp://admin:hunter2@no-such-host.invalid/x", "address", "power and cable"},
		{"the codec is not one a recording can hold", &fakeCamera{sdp: mjpeg, session: "1"}, "", "codec", "JPEG"},
		{"the description is rubbish", &fakeCamera{sdp: "hello", session: "1"}, "", "protocol", "firmware"},
		{"it takes the connection and never answers", &fakeCamera{mute: map[base.Method]bool{base.Options: true}}, "", "address", "power and cable"},
		{"it never answers PLAY", &fakeCamera{sdp: known, session: "1", mute: map[base.Method]bool{base.Play: true}}, "", "address", "power and cable"},
		{"it plays and sends nothing", &fakeCamera{sdp: known, session: "1"}, "", "address", "power and cable"},
		{"it sends nothing but answers to keepalives", &fakeCamera{sdp: known, session: "1;timeout=6"}, "", "address", "sends no media"},
		{"it vanishes", &fakeCamera{sdp: known, session: "1", play: func(c *camConn) { c.key(0, 1); c.Close() }}, "", "address", "power and cable"},
		{"it begins a new stream", &fakeCamera{sdp: known, session: "1", play: func(c *camConn) {
			c.key(0, 1)
			c.ssrc[0]++
			for i := uint32(1); ; i++ {
				select {
				case <-c.done:
					return
				case <-time.After(100 * time.Millisecond):
					c.key(3600*i, byte(i))
				}
			}
		}}, "", "protocol", "anew"},
		{"it sends rubbish instead of RTSP", nil, "", "protocol", ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			t.Parallel()
			url := tt.url
			switch {
			case tt.cam != nil:
				url = strings.Replace(tt.cam.start(t), "//", "//admin:hunter2@", 1)
			case url == "":
				url = rubbish(t)
			}
			var log bytes.Buffer
			src := mustNew(t, Options{URL: url, Timeout: time.Second, Silence: 3 * time.Second,
				Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			if tt.rule == "it sends nothing but answers to keepalives" {
				src.timeout = 20 * time.Second // only the silence of media can end it
			}
			began := time.Now()
			s := newSink()
			err := s.run(t, src, nil)
			p := asProblem(err)
			if p == nil || p.Code != tt.code || !strings.Contains(p.En, tt.says) || p.Zh == "" {
				t.Errorf("Run() = %v (%+v), want code %q that says %q", err, p, tt.code, tt.says)
			}
			if d := time.Since(began); d > 6*time.Second {
				t.Errorf("it took %v to notice", d)
			}
			if all := fmt.Sprintf("%v %+v %s", err, p, log.String()); strings.Contains(all, "hunter2") {
				t.Errorf("the password shows in %s", all)
			}
		})
	}
}

// rubbish is a server that speaks something else.
func rubbish(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("RTSP/9.9 what\r\n\r\n"))
		}
	}()
	return "rtsp://admin:hunter2@" + l.Addr().String() + "/"
}

func TestKeepaliveAndTeardown(t *testing.T) {
	t.Parallel()
	sps, _, pps := testSets()
	cam := &fakeCamera{sdp: sdpH264(false, sprop(sps, pps)), session: "77;timeout=6"}
	cam.play = func(c *camConn) {
		for i := uint32(0); ; i++ {
			select {
			case <-c.done:
				return
			case <-time.After(40 * time.Millisecond):
				c.key(3600*i, byte(i))
			}
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	src, s := mustNew(t, Options{URL: cam.start(t)}), newSink()
	ended := make(chan error, 1)
	go func() { ended <- src.Run(ctx, s) }()
	for len(cam.requests(base.GetParameter)) < 2 {
		<-s.change
	}
	// gortsplib asks 5 s before the session times out, but not more often than each second
	play, alive := cam.requests(base.Play), cam.requests(base.GetParameter)
	if d := alive[0].Sub(play[0]); d > 2*time.Second {
		t.Errorf("first keepalive %v after PLAY for a session that lives 6 s", d)
	}
	stop := errors.New("room is closed")
	cancel(stop)
	if err := <-ended; !errors.Is(err, stop) {
		t.Errorf("Run() = %v, want the reason it was stopped", err)
	}
	s.mu.Lock()
	n := len(s.samples)
	s.mu.Unlock()
	if len(cam.requests(base.Teardown)) != 1 {
		t.Error("no TEARDOWN")
	}
	if n == 0 {
		t.Error("no sample came")
	}
	// and again on the same Source
	again := newSink()
	if err := again.run(t, src, func() bool { return len(again.samples) > 0 }); asProblem(err) != nil {
		t.Errorf("second Run() = %v", err)
	}
	if len(s.samples) != n {
		t.Error("a sample came after Run had returned")
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct{ rule, url string }{
		{"another scheme", "http://admin:hunter2@10.0.0.1/"},
		{"no host", "rtsp://admin:hunter2@/x"},
		{"a bare sharp in the password", "rtsp://admin:hunter2#@10.0.0.1/x"},
		{"a bare slash in the password", "rtsp://admin:hunter2/@10.0.0.1/x"},
		{"a broken escape", "rtsp://admin:hunter2%zz@10.0.0.1/x"},
		{"nothing", ""},
	} {
		_, err := New(Options{URL: tt.url, Uptime: uptime})
		p := asProblem(err)
		if p == nil || p.Code != "address" || strings.Contains(fmt.Sprintf("%+v %v %#v", p, err, Options{URL: tt.url}), "hunter2") {
			t.Errorf("%s: New() = %v, want a problem of the address without the password", tt.rule, err)
		}
	}
	if _, err := New(Options{URL: "rtsp://10.0.0.1/x"}); err == nil {
		t.Error("New() without a clock succeeds")
	}
}

func TestRedacted(t *testing.T) {
	for in, want := range map[string]string{
		"rtsp://admin:hunter2@10.0.0.1:554/ch1?x=1":          "rtsp://***@10.0.0.1:554/ch1?x=1",
		"rtsp://10.0.0.1/ch1":                                "rtsp://10.0.0.1/ch1",
		"rtsp://a:p@ss@10.0.0.1/":                            "rtsp://***@10.0.0.1/",
		"rtsp://10.0.0.1/user=admin&password=hunter2&ch=1":   "rtsp://10.0.0.1/user=admin&password=***&ch=1",
		"rtsp://10.0.0.1/user=admin_password=hunter2_ch=1.s": "rtsp://10.0.0.1/user=admin_password=***",
		"admin:hunter2@10.0.0.1":                             "***@10.0.0.1",
	} {
		if got := Redacted(in); got != want {
			t.Errorf("Redacted(%q) = %q, want %q", in, got, want)
		}
	}
}
