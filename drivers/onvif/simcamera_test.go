package onvif

import (
	"bufio"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// The simulated camera is another process: this test's own binary, told by its environment to be one. It
// answers in the format of a maker (testdata), has a clock of its own, and checks passwords as that maker does.
const (
	envStyle     = "MINGLU_ONVIF_CAMERA"
	envYears     = "MINGLU_ONVIF_YEARS" // its clock is so many years behind
	user         = "admin"
	secret       = `p&ss<"wörd"`
	digestByHand = "7Fm7MpLwn+WgfcvSZzliS2oDEDM=" // see TestToken
	elsewhere    = "198.51.100.77"                // what it believes its address to be
)

func TestMain(m *testing.M) {
	if style := os.Getenv(envStyle); style != "" {
		if err := beCamera(style); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// simulated is a running one.
type simulated struct{ web, udp string }

func startCamera(t *testing.T, style string, yearsBehind int) simulated {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envStyle+"="+style, fmt.Sprintf("%s=%d", envYears, yearsBehind))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // its end is the camera's end
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	var s simulated
	if _, err := fmt.Fscan(bufio.NewReader(out), &s.web, &s.udp); err != nil {
		t.Fatalf("the camera did not start: %v", err)
	}
	return s
}

func beCamera(style string) error {
	raw, err := os.ReadFile("testdata/" + style + ".txt")
	if err != nil {
		return err
	}
	c := &simCamera{style: style, answers: map[string]string{}, kind: "Manual"}
	var years int
	fmt.Sscan(os.Getenv(envYears), &years)
	c.offset = time.Until(time.Now().AddDate(-years, 0, 0))
	for _, part := range strings.Split(string(raw), "-- ")[1:] {
		name, text, _ := strings.Cut(part, " --\n")
		c.answers[name] = strings.TrimSuffix(text, "\n")
	}
	web, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, c.port, _ = net.SplitHostPort(web.Addr().String())
	go c.answerProbes(udp)
	go func() { _ = http.Serve(web, c) }()
	fmt.Println(web.Addr(), udp.LocalAddr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

type simCamera struct {
	style, port string
	answers     map[string]string

	mu     sync.Mutex // guards what follows
	offset time.Duration
	kind   string
	ntp    string
}

func (c *simCamera) answerProbes(udp net.PacketConn) {
	b := make([]byte, maxDatagram)
	for n := 0; ; n++ {
		size, from, err := udp.ReadFrom(b)
		if err != nil {
			return
		}
		var q struct {
			ID string `xml:"Header>MessageID"`
		}
		if n == 0 || xml.Unmarshal(b[:size], &q) != nil { // the first question is lost, as UDP loses
			continue
		}
		foreign := strings.NewReplacer("{id}", "someone-else", "{host}", elsewhere, "{port}", "1").Replace(c.answers["ProbeMatches"])
		_, _ = udp.WriteTo([]byte(foreign), from)
		_, _ = udp.WriteTo([]byte("<broken"), from)
		answer := strings.NewReplacer("{id}", strings.TrimPrefix(q.ID, "uuid:"), "{host}", elsewhere, "{port}", c.port).Replace(c.answers["ProbeMatches"])
		_, _ = udp.WriteTo([]byte(answer), from)
	}
}

func (c *simCamera) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Method == http.MethodGet {
		switch {
		case r.URL.Path == "/told": // for the test: what was set
			fmt.Fprintf(w, "%s %s %d", c.kind, c.ntp, c.offset/time.Second)
		case !c.digested(r):
			w.Header().Set("WWW-Authenticate", `Digest realm="cam", nonce="abc", qop="auth", algorithm=MD5`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			_, _ = w.Write([]byte{0xFF, 0xD8, 0xFF, 0xD9})
		}
		return
	}
	b, _ := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	var q struct {
		Token *tokenXML `xml:"Header>Security>UsernameToken"`
		Body  struct {
			Any []struct {
				XMLName xml.Name
				UTC     *dateXML `xml:"UTCDateTime"`
				Kind    string   `xml:"DateTimeType"`
				NTP     string   `xml:"NTPManual>IPv4Address"`
				Profile string   `xml:"ProfileToken"`
			} `xml:",any"`
		} `xml:"Body"`
	}
	if err := xml.Unmarshal(b, &q); err != nil || len(q.Body.Any) != 1 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	do := q.Body.Any[0]
	if name := do.XMLName.Local; name != "GetSystemDateAndTime" && !c.allowed(w, r, q.Token) {
		return
	}
	switch do.XMLName.Local {
	case "SetSystemDateAndTime":
		if c.kind = do.Kind; do.UTC != nil {
			c.offset = time.Until(do.UTC.time()).Round(time.Second)
		} else {
			c.offset = 0 // from the network
		}
		fmt.Fprint(w, `<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body><SetSystemDateAndTimeResponse/></e:Body></e:Envelope>`)
	case "SetNTP":
		c.ntp = do.NTP
		fmt.Fprint(w, `<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body><SetNTPResponse/></e:Body></e:Envelope>`)
	case "GetStreamUri", "GetSnapshotUri":
		if do.Profile == "nobody" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body><e:Fault><e:Code><e:Value>e:Sender</e:Value><e:Subcode><e:Value>ter:InvalidArgVal</e:Value><e:Subcode><e:Value>ter:NoProfile</e:Value></e:Subcode></e:Subcode></e:Code><e:Reason><e:Text>no such profile</e:Text></e:Reason></e:Fault></e:Body></e:Envelope>`)
			return
		}
		fallthrough
	default:
		now := time.Now().Add(c.offset).UTC()
		date := func(t time.Time) string {
			return fmt.Sprintf("<tt:Time><tt:Hour>%d</tt:Hour><tt:Minute>%d</tt:Minute><tt:Second>%d</tt:Second></tt:Time><tt:Date><tt:Year>%d</tt:Year><tt:Month>%d</tt:Month><tt:Day>%d</tt:Day></tt:Date>", t.Hour(), t.Minute(), t.Second(), t.Year(), t.Month(), t.Day())
		}
		fmt.Fprint(w, strings.NewReplacer("{host}", elsewhere, "{kind}", c.kind, "{utc}", date(now), "{local}", date(now.Add(8*time.Hour))).Replace(c.answers[do.XMLName.Local]))
	}
}

type tokenXML struct {
	User    string `xml:"Username"`
	Digest  string `xml:"Password"`
	Nonce   string `xml:"Nonce"`
	Created string `xml:"Created"`
}

// allowed checks the password as the maker does. A token of another time than the camera's clock is refused.
func (c *simCamera) allowed(w http.ResponseWriter, r *http.Request, token *tokenXML) bool {
	if c.style == "axis" { // HTTP Digest alone
		if c.digested(r) {
			return true
		}
		w.Header().Add("WWW-Authenticate", `Basic realm="cam"`)
		w.Header().Add("WWW-Authenticate", `Digest realm="cam", nonce="abc", qop="auth", algorithm=MD5`)
		w.WriteHeader(http.StatusUnauthorized)
		return false
	}
	err := errors.New("no token")
	if token != nil {
		err = c.check(token)
	}
	if err == nil {
		return true
	}
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprintf(w, `<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body><e:Fault><e:Code><e:Value>e:Sender</e:Value><e:Subcode><e:Value>ter:NotAuthorized</e:Value></e:Subcode></e:Code><e:Reason><e:Text>%v</e:Text></e:Reason></e:Fault></e:Body></e:Envelope>`, err)
	return false
}

func (c *simCamera) check(t *tokenXML) error {
	nonce, err := base64.StdEncoding.DecodeString(t.Nonce)
	if err != nil {
		return err
	}
	sum := sha1.Sum([]byte(string(nonce) + t.Created + secret))
	at, err := time.Parse(time.RFC3339, t.Created)
	if err != nil {
		return err
	}
	if off := time.Since(at.Add(-c.offset)).Abs(); off > 5*time.Second {
		return fmt.Errorf("a token of %v away", off)
	}
	if t.User != user || t.Digest != base64.StdEncoding.EncodeToString(sum[:]) {
		return errors.New("wrong password")
	}
	return nil
}

// digested checks HTTP Digest by RFC 7616 3.4.1.
func (c *simCamera) digested(r *http.Request) bool {
	kind, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	p := parameters(rest)
	sum := func(s string) string { h := md5.Sum([]byte(s)); return hex.EncodeToString(h[:]) }
	want := sum(strings.Join([]string{sum(user + ":cam:" + secret), "abc", p["nc"], p["cnonce"], "auth", sum(r.Method + ":" + r.URL.RequestURI())}, ":"))
	return kind == "Digest" && p["username"] == user && p["uri"] == r.URL.RequestURI() && p["response"] == want
}
