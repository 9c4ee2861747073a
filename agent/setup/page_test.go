package setup

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// browser talks to a page that runs.
type browser struct {
	t    *testing.T
	c    *http.Client
	base string
}

func open(t *testing.T, p *Page) (b *browser, ended <-chan bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool, 1)
	go func() {
		ok, err := p.Run(context.Background(), l)
		if err != nil {
			t.Errorf("Run() = %v", err)
		}
		done <- ok
	}()
	jar, _ := cookiejar.New(nil)
	b = &browser{t, &http.Client{Jar: jar}, "http://" + l.Addr().String()}
	t.Cleanup(b.c.CloseIdleConnections)
	return b, done
}

func (b *browser) get(path string) (int, string) { return b.read(b.c.Get(b.base + path)) }

func (b *browser) post(form url.Values) (int, string) { return b.read(b.c.PostForm(b.base+"/", form)) }

func (b *browser) read(r *http.Response, err error) (int, string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

func TestPage(t *testing.T) {
	i := &Interview{Found: Found{Host: "room-3", Board: "generic", BoardName: "ROCK 3A <x>"}}
	applied := 0
	p := NewPage(i, func(_ context.Context, a *Answers, out io.Writer) bool {
		applied++
		fmt.Fprintln(out, "写入", a.Room)
		return true
	})
	b, ended := open(t, p)
	if code, text := b.get("/"); code != http.StatusForbidden || strings.Contains(text, "设备名") {
		t.Errorf("without the token: %d\n%s", code, text)
	}
	if code, _ := b.get("/?t=wrong"); code != http.StatusForbidden {
		t.Errorf("with a wrong token: %d", code)
	}
	if code, text := b.get("/?t=" + p.Token()); code != http.StatusOK || !strings.Contains(text, "设备名") || !strings.Contains(text, "ROCK 3A &lt;x&gt;") {
		t.Errorf("with the token: %d\n%s", code, text)
	}
	if code, text := b.post(url.Values{"key": {"name"}, "answer": {"Room 3"}}); code != http.StatusUnprocessableEntity || !strings.Contains(text, `role="alert"`) {
		t.Errorf("a wrong answer: %d\n%s", code, text)
	}
	if _, text := b.post(url.Values{"key": {"room"}, "answer": {"too early"}}); !strings.Contains(text, "设备名") {
		t.Errorf("an answer to another question was taken:\n%s", text)
	}
	for _, qa := range [][2]string{{"name", "room-3"}, {"room", "询问室三"}, {"kind", "2"}, {"body", "局"}, {"uscc", ""}, {"rtsp.0", "rtsp://a:b@c/d"}, {"seat.0", "全景"},
		{"rtsp.1", ""}, {"disks", ""}, {"listen", ""}, {"user", "wang"}, {"password", "correct horse"}, {"office", ""}, {"drill", "n"}} {
		if q := i.Question(); q == nil || q.Key != qa[0] {
			t.Fatalf("asked %+v, want %s", q, qa[0])
		}
		if code, text := b.post(url.Values{"key": {qa[0]}, "answer": {qa[1]}}); code != http.StatusOK || strings.Contains(text, "correct horse") {
			t.Fatalf("%s: %d\n%s", qa[0], code, text)
		}
	}
	if applied != 0 {
		t.Error("something was done before it was asked for")
	}
	if code, text := b.post(url.Values{"apply": {"1"}}); code != http.StatusOK || text != "写入 询问室三\n" {
		t.Errorf("apply: %d %q", code, text)
	}
	if ok := <-ended; !ok || applied != 1 {
		t.Errorf("ended %v, applied %d times", ok, applied)
	}
}

// TestPageStops: the page ends when it is told to, with nothing done.
func TestPageStops(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if ok, err := NewPage(&Interview{}, nil).Run(ctx, l); ok || err == nil {
		t.Errorf("Run() = %v, %v; want the cause", ok, err)
	}
}
