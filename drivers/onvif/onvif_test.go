package onvif

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"minglu/drivers"
)

func open(t *testing.T, address, password string) *Camera {
	t.Helper()
	c, err := New(Options{Address: address, User: user, Password: password, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func code(err error) string {
	var p *drivers.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return fmt.Sprint(err)
}

// TestMakers asks cameras that are other processes, and whose clocks are years behind, in the formats of several makers.
func TestMakers(t *testing.T) {
	for _, tt := range []struct {
		style           string
		name, model     string
		maker, firmware string
		profiles        string
		stream          string
		snapshot        string // code of the problem, "" a picture
	}{
		{"hikvision", "HIKVISION DS-2CD2143G2-I", "DS-2CD2143G2-I", "HIKVISION", "V5.7.3 build 220112",
			"[{Profile_1 mainStream H264 2560 1440 25 4096 G711} {Profile_2 subStream H264 640 360 0 0 }]",
			"rtsp://127.0.0.1:554/Streaming/Channels/101?transportmode=unicast&profile=Profile_1", ""},
		{"dahua", "Dahua", "IPC-HDW3441EM-AS", "Dahua", "2.840.0000000.18.R, Build Date 2022-08-24",
			"[{MediaProfile00000 MediaProfile_Channel1_MainStream H265 2688 1520 25 2048 AAC}]",
			"rtsp://127.0.0.1:554/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif", ""},
		{"axis", "AXIS P3245-V", "P3245-V", "AXIS", "10.12.114",
			"[{profile_1 h264 profile_1 h264 H264 1920 1080 30 2147483647 } {profile_1 jpeg profile_1 jpeg JPEG 1920 1080 0 0 }]",
			"rtsp://127.0.0.1/onvif-media/media.amp?profile=profile_1_h264&sessiontimeout=60&streamtype=unicast", ""},
		{"cheap", "IPC%", "IPC-model", "H264", "", "[{000  H264 0 0 0 0 }]",
			"rtsp://127.0.0.1:554/user=admin_password=tlJwpbo6_channel=1_stream=0.sdp?real_stream", "not-found"},
	} {
		t.Run(tt.style, func(t *testing.T) {
			t.Parallel()
			sim := startCamera(t, tt.style, 11)
			found, err := Discover(t.Context(), Discovery{Targets: []string{sim.udp}, Wait: time.Second})
			if err != nil || len(found) != 1 || found[0].Name != tt.name || found[0].Model != tt.model || found[0].Service != "http://"+sim.web+"/onvif/device_service" {
				t.Fatalf("found %+v, %v; want one, at the host that answered", found, err)
			}
			c := open(t, found[0].Service, secret)
			clock, err := c.Clock(t.Context())
			if years := -clock.Ahead.Hours() / 24 / 365.25; err != nil || years < 10.9 || years > 11.1 || clock.FromNTP {
				t.Errorf("clock %+v, %v; want 11 years behind, set by hand", clock, err)
			}
			id, err := c.Identity(t.Context())
			if err != nil || id.Maker != tt.maker || id.Firmware != tt.firmware {
				t.Errorf("identity %+v, %v", id, err)
			}
			profiles, err := c.Profiles(t.Context())
			if got := fmt.Sprint(profiles); err != nil || got != tt.profiles {
				t.Fatalf("profiles %s, %v; want %s", got, err, tt.profiles)
			}
			if s, err := c.Stream(t.Context(), profiles[0].Token); err != nil || s != tt.stream {
				t.Errorf("stream %q, %v; want %q", s, err, tt.stream)
			}
			if tt.style != "cheap" {
				if _, err := c.Stream(t.Context(), "nobody"); code(err) != "not-found" {
					t.Errorf("a stream of nobody: %v", err)
				}
			}
			b, err := c.Snapshot(t.Context(), profiles[0].Token)
			if tt.snapshot == "" && (err != nil || len(b) != 4) || tt.snapshot != "" && code(err) != tt.snapshot {
				t.Errorf("snapshot %x, %v; want %q", b, err, tt.snapshot)
			}
			setTime(t, c, sim)
			if _, err := open(t, sim.web, "hunter2").Profiles(t.Context()); code(err) != "credentials" || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a wrong password: %v", err)
			}
		})
	}
}

// setTime puts the camera's clock right, by hand and by pointing it at the board.
func setTime(t *testing.T, c *Camera, sim simulated) {
	t.Helper()
	if err := c.SetClock(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Errorf("SetClock: %v", err)
	}
	if clock, err := c.Clock(t.Context()); err != nil || (clock.Ahead-time.Hour).Abs() > 3*time.Second {
		t.Errorf("set an hour ahead it is %v ahead, %v", clock.Ahead, err)
	}
	if err := c.SetNTP(t.Context(), "192.168.9.1"); err != nil { // with a token of the new time
		t.Errorf("SetNTP: %v", err)
	}
	clock, err := c.Clock(t.Context())
	if err != nil || !clock.FromNTP || clock.Ahead.Abs() > 3*time.Second {
		t.Errorf("from the network: %+v, %v", clock, err)
	}
	resp, err := http.Get("http://" + sim.web + "/told")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "NTP 192.168.9.1 0" {
		t.Errorf("the camera was told %q, %v", b, err)
	}
}

// TestBadAnswers: nothing a camera sends does harm, and each is told in words.
func TestBadAnswers(t *testing.T) {
	for rule, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"a page instead": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html><body>login</body></html>") }, "protocol"},
		"nothing":        {func(http.ResponseWriter, *http.Request) {}, "protocol"},
		"not found":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, "protocol"},
		"without end": {func(w http.ResponseWriter, _ *http.Request) {
			for range 1 << 12 {
				fmt.Fprint(w, strings.Repeat("<a>", 1<<10))
			}
		}, "protocol"},
		"sent elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}, "protocol"},
		"Basic alone": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}, "credentials"},
		"entities": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `<!DOCTYPE x [<!ENTITY a "aaaa">]><Envelope><Body><GetProfilesResponse>&a;</GetProfilesResponse></Body></Envelope>`)
		}, "protocol"},
	} {
		s := httptest.NewServer(tt.answer)
		_, err := open(t, s.URL, secret).Profiles(t.Context())
		if code(err) != tt.want || strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("%s: %v, want %s", rule, err, tt.want)
		}
		s.Close()
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	if _, err := open(t, address, secret).Profiles(t.Context()); code(err) != "address" {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(t, address, secret).Profiles(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("asked to stop: %v", err)
	}
	for _, a := range []string{"", "ftp://x", "http://user:pw@x/", "a b"} {
		if _, err := New(Options{Address: a, Now: time.Now}); err == nil {
			t.Errorf("address %q was taken", a)
		}
	}
}

// TestToken is the example of the ONVIF Core Specification's digest: Base64(SHA-1(nonce + created + password)), as worked out
// by hand with openssl.
func TestToken(t *testing.T) {
	c := open(t, "192.0.2.1", "userpassword")
	got := c.token(time.Date(2010, 9, 16, 7, 50, 45, 0, time.UTC), []byte("LKqI6G/AikKCQrN0zqZFlg=="))
	// printf 'LKqI6G/AikKCQrN0zqZFlg==2010-09-16T07:50:45.000Zuserpassword' | openssl dgst -sha1 -binary | base64
	for _, want := range []string{">TOKEN<", "<Username>admin</Username>", ">2010-09-16T07:50:45.000Z<"} {
		want = strings.Replace(want, "TOKEN", digestByHand, 1)
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

// TestDigest is RFC 7616 3.9.1, both algorithms.
func TestDigest(t *testing.T) {
	p := map[string]string{"realm": "http-auth@example.org", "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"}
	for algorithm, want := range map[string]string{"MD5": "8ca523f5e9506fed4657c9700eebdbec", "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"} {
		got := respond(p, algorithm, "auth", "GET", "/dir/index.html", "Mufasa", "Circle of Life", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
		if !strings.Contains(got, `response="`+want+`"`) {
			t.Errorf("%s: %s, want response %s", algorithm, got, want)
		}
	}
	both := []string{`Digest realm="r", nonce="n", qop="auth-int, auth"`, `Digest realm="r", nonce="m", algorithm=SHA-256`, `Basic realm="r"`}
	if got := answerTo(both, "GET", "/", "u", "p"); !strings.Contains(got, `nonce="m"`) {
		t.Errorf("the better algorithm is taken: %s", got)
	}
	if got := answerTo(both[:1], "GET", "/", "u", "p"); !strings.Contains(got, "qop=auth,") {
		t.Errorf("without algorithm it is MD5: %s", got)
	}
	for _, none := range []string{`Basic realm="r"`, `Digest realm="r"`, `Digest realm="r", nonce="n", qop="auth-int"`, `Digest realm="r", nonce="n", algorithm=MD5-sess`} {
		if got := answerTo([]string{none}, "GET", "/", "u", "p"); got != "" {
			t.Errorf("%s was answered: %s", none, got)
		}
	}
}

func FuzzParseMatches(f *testing.F) {
	f.Add([]byte(`<Envelope><Header><RelatesTo>x</RelatesTo></Header><Body><ProbeMatches><ProbeMatch><XAddrs>http://a/b</XAddrs><Scopes>onvif://www.onvif.org/name/%41</Scopes></ProbeMatch></ProbeMatches></Body></Envelope>`))
	f.Add([]byte(`<Envelope><Header><RelatesTo>x</RelatesTo></Header><Body><ProbeMatches><ProbeMatch><XAddrs>http:A http://[::1%25x]:0/</XAddrs></ProbeMatch></ProbeMatches></Body></Envelope>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range parseMatches(b, net.IPv4(192, 0, 2, 7), "x") {
			if _, err := New(Options{Address: m.Service, Now: time.Now}); err != nil {
				t.Errorf("%+v cannot be asked: %v", m, err)
			}
		}
	})
}

func FuzzParameters(f *testing.F) {
	f.Add(`realm="a\"b", nonce=c, qop="auth"`)
	f.Fuzz(func(t *testing.T, s string) { parameters(s) })
}
