package enrol

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"minglu/agent/report"
	"minglu/provisioning/ca"
	"minglu/provisioning/users"
)

// What boards ask and get is tested in agent/identity, by the real board's side. Here is what no honest
// board does.

type api struct {
	url    string
	client *http.Client
	ca     *ca.CA
	mu     sync.Mutex
	told   []string
}

func serve(t *testing.T) *api {
	t.Helper()
	dir := t.TempDir()
	c, err := ca.Init(ca.Options{Dir: filepath.Join(dir, "ca")}, "测试", []byte("correct horse battery"))
	if err != nil {
		t.Fatal(err)
	}
	conf, err := c.Serve([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	a := &api{ca: c}
	s, err := New(Options{Listen: "127.0.0.1:0", TLS: conf, CA: c, Codes: Codes{File: filepath.Join(dir, "codes.json")}, Hold: users.NewHoldOff(3, time.Now),
		Refused: func(device, why, detail string) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.told = append(a.told, device+" "+why)
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	addr := s.Addr(ctx)
	if addr == "" {
		t.Fatal(<-done)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	roots := x509.NewCertPool()
	roots.AddCert(c.Root())
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(tr.CloseIdleConnections)
	a.url, a.client = "https://"+addr, &http.Client{Transport: tr}
	return a
}

func (a *api) do(t *testing.T, method, path, body string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, a.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := a.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, b
}

func TestStrangers(t *testing.T) {
	a := serve(t)
	for _, tt := range []struct {
		rule, method, path, body string
		status                   int
		code                     string
	}{
		{"who shows no certificate stands as not enrolled", "GET", report.PathStatus, "", 200, ""},
		{"and renews nothing", "POST", report.PathRenew, `{"v":1,"name":"room-3","sign":"AA==","tls":"AA=="}`, 403, report.StandingUnknown},
		{"another method", "GET", report.PathEnrol, "", 405, ""},
		{"another path", "GET", "/", "", 404, ""},
		{"no JSON", "POST", report.PathEnrol, "meow", 400, "request"},
		{"too long", "POST", report.PathEnrol, `{"v":1,"code":"` + strings.Repeat("A", report.MaxEnrol) + `"}`, 400, "request"},
		{"no code", "POST", report.PathEnrol, `{"v":1,"name":"room-3","sign":"AA==","tls":"AA=="}`, 403, "code.unknown"},
		{"after three of them", "POST", report.PathEnrol, `{"v":1,"name":"room-3","sign":"AA==","tls":"AA=="}`, 429, "held"},
		{"the lists go on for all", "GET", report.PathCRL, "", 200, ""},
	} {
		status, b := a.do(t, tt.method, tt.path, tt.body)
		var why report.EnrolRefusal
		_ = json.Unmarshal(b, &why)
		if status != tt.status || why.Code != tt.code {
			t.Errorf("%s: %d %s", tt.rule, status, b)
		}
	}
	_, b := a.do(t, "GET", report.PathRoot, "")
	if block, _ := pem.Decode(b); block == nil || !bytes.Equal(block.Bytes, a.ca.Root().Raw) {
		t.Errorf("root: %s", b)
	}
	var st report.Standing
	if _, b := a.do(t, "GET", report.PathStatus, ""); json.Unmarshal(b, &st) != nil || st.State != report.StandingUnknown {
		t.Errorf("standing: %s", b)
	}
}

func TestCodes(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	c := Codes{File: filepath.Join(t.TempDir(), "enrol", "codes.json"), Now: func() time.Time { return now }}
	root := []byte("root")
	for _, tt := range []struct {
		rule, name string
		valid      time.Duration
	}{{"a bad name", "Room 3", time.Hour}, {"no time at all", "room-3", 0}, {"for ever", "room-3", MaxValid + 1}} {
		if _, _, err := c.Make(tt.name, root, tt.valid, false); err == nil {
			t.Errorf("%s: made", tt.rule)
		}
	}
	first, until, err := c.Make("room-3", root, time.Hour, false)
	if err != nil || !until.Equal(now.Add(time.Hour)) {
		t.Fatal(until, err)
	}
	second, _, err := c.Make("room-3", root, time.Hour, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, known, _ := c.find(first.Ref()); known {
		t.Error("the older code of a name is still good")
	}
	if code, known, err := c.find(second.Ref()); !known || err != nil || !code.Replace || code.Name != "room-3" {
		t.Errorf("%+v %v %v", code, known, err)
	}
	list, err := c.List()
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if b, err := json.Marshal(list); err != nil || strings.Contains(string(b), second.String()) {
		t.Error("the file holds the code itself")
	}
	now = now.Add(time.Hour + keepCodes + time.Second)
	if _, _, err := c.Make("room-4", root, time.Hour, false); err != nil {
		t.Fatal(err)
	}
	if list, _ = c.List(); len(list) != 1 || list[0].Name != "room-4" {
		t.Errorf("old codes stay: %+v", list)
	}
}
