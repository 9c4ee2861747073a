package web

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHostAndOrigin(t *testing.T) {
	for _, tt := range []struct {
		rule         string
		method, path string
		hdr          []string
		code         string // "" allowed
	}{
		{"the address itself", "GET", "/api/v1/state", nil, ""},
		{"localhost", "GET", "/api/v1/state", []string{"Host: localhost:8080"}, ""},
		{"IPv6 loopback", "GET", "/api/v1/state", []string{"Host: [::1]:8080"}, ""},
		{"a configured name", "GET", "/api/v1/state", []string{"Host: Room-3.example"}, ""},
		{"a rebound name", "GET", "/api/v1/state", []string{"Host: evil.example:8080"}, "host"},
		{"another machine's address", "GET", "/api/v1/state", []string{"Host: 192.0.2.9:8080"}, "host"},
		{"no host", "GET", "/api/v1/state", []string{"Host: "}, "host"},
		{"localhost from elsewhere", "GET", "/api/v1/state", []string{"Remote: 192.0.2.7", "Host: localhost"}, "host"},
		{"a rebound name gets no page", "GET", "/", []string{"Host: evil.example"}, "host"},
		{"the page's own script", "POST", "/api/v1/session", []string{"Origin: http://127.0.0.1:8080", "Sec-Fetch-Site: same-origin"}, ""},
		{"no browser", "POST", "/api/v1/session", nil, ""},
		{"another site", "POST", "/api/v1/session", []string{"Origin: http://evil.example"}, "origin"},
		{"another port of this machine", "POST", "/api/v1/session", []string{"Origin: http://127.0.0.1:3000"}, "origin"},
		{"another scheme", "POST", "/api/v1/session", []string{"Origin: https://127.0.0.1:8080"}, "origin"},
		{"a sandboxed frame", "POST", "/api/v1/session", []string{"Origin: null"}, "origin"},
		{"a browser that hides the origin", "POST", "/api/v1/session", []string{"Sec-Fetch-Site: cross-site"}, "origin"},
		{"a read from another site", "GET", "/api/v1/state", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"}, "origin"},
		{"a link from another site to the API", "GET", "/api/v1/state", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, "origin"},
		{"a link from another site to the page", "GET", "/", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, ""},
		{"a form of another site to the page", "POST", "/", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, "origin"},
		{"typed into the address bar", "GET", "/", []string{"Sec-Fetch-Site: none"}, ""},
	} {
		f := newFake()
		w := call(newServer(t, f), tt.method, tt.path, "", tt.hdr...)
		if got := code(w); got != tt.code {
			t.Errorf("%s: %d %.200s, want code %q", tt.rule, w.Code, w.Body, tt.code)
		}
		if did := f.take(); tt.code != "" && did != "" {
			t.Errorf("%s: refused, but did %q", tt.rule, did)
		}
		h := w.Header()
		if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'") || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") == "" {
			t.Errorf("%s: headers %v", tt.rule, h)
		}
	}
}

func TestCookie(t *testing.T) {
	s := newServer(t, newFake())
	const body = `{"name":"王某","password":"correct horse"}`
	got := call(s, "POST", "/api/v1/login", body).Header().Get("Set-Cookie")
	if want := "minglu=good; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"; got != want {
		t.Errorf("cookie %q, want %q", got, want)
	}
	got = call(s, "POST", "/api/v1/logout", "", logged).Header().Get("Set-Cookie")
	if want := "minglu=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"; got != want {
		t.Errorf("cookie after logout %q, want %q", got, want)
	}

	r := httptest.NewRequest("POST", "https://room-3.example/api/v1/login", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", "https://room-3.example")
	r.TLS = &tls.ConnectionState{}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	if got, want := w.Header().Get("Set-Cookie"), "__Host-minglu=good; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Strict"; got != want {
		t.Errorf("cookie over TLS %q, want %q", got, want)
	}
}

func TestPages(t *testing.T) {
	for _, tt := range []struct {
		rule, path string
		hdr        []string
		status     int
		want       string // in the body, or the Location
	}{
		{"the room for the panel", "/", nil, 200, "正在连接"},
		{"in English when chosen", "/", []string{"Cookie: lang=en"}, 200, `<html lang="en">`},
		{"Chinese for any other choice", "/", []string{"Cookie: lang=fr"}, 200, `<html lang="zh-CN">`},
		{"login first from elsewhere", "/", []string{"Remote: 192.0.2.7"}, 303, "/login?next=%2F"},
		{"sessions need a name", "/sessions", nil, 303, "/login?next=%2Fsessions"},
		{"and come back", "/sessions/S", nil, 303, "/login?next=%2Fsessions%2FS"},
		{"sessions", "/sessions", []string{logged}, 200, "sessions.js"},
		{"the panel sees what is not as it should be", "/compliance", nil, 200, "compliance.js"},
		{"a session's id is text", "/sessions/%22%3E%3Cscript%3E", []string{logged}, 200, `data-session="&#34;&gt;&lt;script&gt;"`},
		{"login", "/login", []string{"Remote: 192.0.2.7"}, 200, "密码"},
		{"nothing there", "/nope", nil, 404, "没有此内容"},
		{"style", "/static/minglu.css", nil, 200, "--bg"},
		{"no folder", "/static/", nil, 404, "not-found"},
		{"no file from elsewhere", "/static/..%2fpages.go", nil, 404, "not-found"},
		{"no simulation on a real board", "/sim/", nil, 404, "没有此内容"},
	} {
		f := newFake()
		w := call(newServer(t, f), "GET", tt.path, "", tt.hdr...)
		if w.Code != tt.status || !strings.Contains(w.Body.String()+w.Header().Get("Location"), tt.want) {
			t.Errorf("%s: GET %s = %d %.300s, want %d with %q", tt.rule, tt.path, w.Code, w.Body, tt.status, tt.want)
		}
		if strings.Contains(w.Body.String(), "<style") || strings.Contains(w.Body.String(), " style=") || strings.Contains(w.Body.String(), " onclick=") {
			t.Errorf("%s: inline style or script, which the policy forbids", tt.rule)
		}
	}
}

func TestARoleThatMayNotSeesWhy(t *testing.T) {
	f := newFake()
	f.deny["list"] = &Error{403, "role", "您的角色无此权限。", "Your role does not allow this."}
	if w := call(newServer(t, f), "GET", "/sessions", "", logged); w.Code != 403 || !strings.Contains(w.Body.String(), "您的角色无此权限。") {
		t.Errorf("%d %s, want a page that says why", w.Code, w.Body)
	}
}

func TestSim(t *testing.T) {
	f := newFake()
	s := newServer(t, f, func(o *Options) {
		o.Sim = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("sim " + r.URL.Path)) })
	})
	if w := call(s, "POST", "/sim/button", ""); w.Body.String() != "sim /sim/button" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := call(s, "GET", "/", ""); !strings.Contains(w.Body.String(), `href="/sim/"`) {
		t.Error("no link to the control page")
	}
	f.take()
	if w := call(s, "POST", "/sim/button", "", "Remote: 192.0.2.7"); w.Code != 401 || f.take() != "enter  operate " {
		t.Errorf("a stranger: %d %s", w.Code, w.Body)
	}
	if w := call(s, "POST", "/sim/button", "", "Origin: http://evil.example"); w.Code != 403 {
		t.Errorf("another site: %d %s", w.Code, w.Body)
	}
}

func TestStaticIsAskedForAgain(t *testing.T) {
	s := newServer(t, newFake())
	w := call(s, "GET", "/static/room.js", "")
	tag := w.Header().Get("ETag")
	if w.Header().Get("Cache-Control") != "no-cache" || tag == "" || w.Header().Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("headers %v", w.Header())
	}
	if w = call(s, "GET", "/static/room.js", "", "If-None-Match: "+tag); w.Code != 304 {
		t.Errorf("the same file again = %d, want 304", w.Code)
	}
}
