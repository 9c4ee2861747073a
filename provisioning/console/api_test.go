package console

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"minglu/agent/report"
	"minglu/provisioning/review"
)

var localAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8090}

func TestOnlyFromThisSiteAndLoggedIn(t *testing.T) {
	o := open(t, true)
	in := "Cookie: office=" + o.token
	for _, tt := range []struct {
		rule, method, path string
		header             []string
		status             int
	}{
		{"logged in", "GET", "/api/v1/counts", []string{in}, 200},
		{"a configured name", "GET", "/api/v1/counts", []string{in, "Host: office.example"}, 200},
		{"not logged in", "GET", "/api/v1/counts", nil, 401},
		{"a made-up token", "GET", "/api/v1/rooms", []string{"Cookie: office=x"}, 401},
		{"each answer needs the login", "GET", "/api/v1/rooms/room-1", nil, 401},
		{"events too", "GET", "/api/v1/events", nil, 401},
		{"and the stream", "GET", "/api/v1/stream", nil, 401},
		{"a page leads to the login", "GET", "/rooms", nil, 303},
		{"the login page", "GET", "/login", nil, 200},
		{"a rebound name", "GET", "/login", []string{"Host: evil.example"}, 421},
		{"another machine's address", "GET", "/login", []string{"Host: 192.0.2.9:8090"}, 421},
		{"another site's script", "GET", "/api/v1/counts", []string{in, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"}, 403},
		{"another origin", "POST", "/api/v1/logout", []string{in, "Origin: http://evil.example"}, 403},
		{"another port", "POST", "/api/v1/logout", []string{in, "Origin: http://127.0.0.1:1"}, 403},
		{"a link from another site to a page", "GET", "/login", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, 200},
		{"a day that is none", "GET", "/api/v1/sessions?from=yesterday", []string{in}, 400},
		{"an end before the beginning", "GET", "/api/v1/year?from=2026-02-01&until=2026-01-01", []string{in}, 400},
		{"a century", "GET", "/api/v1/year?from=2000-01-01&until=2100-01-01", []string{in}, 400},
		{"no such review", "GET", "/api/v1/reviews/20261125-9", []string{in}, 404},
		{"a path for a review", "GET", "/api/v1/reviews/..%2Fregistry", []string{in}, 404},
		{"a wrong query", "GET", "/api/v1/events?before=x", []string{in}, 400},
		{"a negative limit", "GET", "/api/v1/rooms?limit=-1", []string{in}, 400},
		{"no such room", "GET", "/api/v1/rooms/nope", []string{in}, 404},
		{"no such path", "GET", "/api/v1/nope", []string{in}, 404},
		{"no such page", "GET", "/nope", []string{in}, 404},
		{"no such file", "GET", "/static/../site.go", []string{in}, 404},
		{"a wrong method", "DELETE", "/api/v1/rooms", []string{in}, 404},
	} {
		w := o.call(tt.method, tt.path, "", tt.header...)
		if w.Code != tt.status && (w.Code != 301 && w.Code != 307 || tt.rule != "no such file") {
			t.Errorf("%s: %d %s, want %d", tt.rule, w.Code, w.Body, tt.status)
		}
		if w.Header().Get("Content-Security-Policy") != policy {
			t.Errorf("%s: no policy", tt.rule)
		}
	}
}

func TestLogin(t *testing.T) {
	o := open(t, true)
	if w := o.call("POST", "/api/v1/login", `{"name":"王某","password":"wrong"}`); w.Code != 401 || code(w) != "login-wrong" {
		t.Errorf("wrong: %d %s", w.Code, w.Body)
	}
	if w := o.call("POST", "/api/v1/login", `[`); code(w) != "body" {
		t.Errorf("half a body: %d %s", w.Code, w.Body)
	}
	if w := o.call("POST", "/api/v1/login", strings.Repeat("x", MaxBodyBytes+1)); code(w) != "body" {
		t.Errorf("a long body: %d", w.Code)
	}
	w := o.call("POST", "/api/v1/login", `{"name":"王某","password":"correct horse"}`)
	k := w.Result().Cookies()
	if w.Code != 200 || len(k) != 1 || !k[0].HttpOnly || k[0].SameSite != http.SameSiteStrictMode {
		t.Fatalf("right: %d %+v", w.Code, k)
	}
	in := "Cookie: office=" + k[0].Value
	if w := o.call("GET", "/api/v1/counts", "", in); w.Code != 200 {
		t.Errorf("in: %d", w.Code)
	}
	o.call("POST", "/api/v1/logout", "", in)
	if w := o.call("GET", "/api/v1/counts", "", in); w.Code != 401 {
		t.Errorf("out: %d", w.Code)
	}
	for range 5 {
		o.call("POST", "/api/v1/login", `{"name":"王某","password":"wrong"}`)
	}
	if w = o.call("POST", "/api/v1/login", `{"name":"王某","password":"correct horse"}`); code(w) != "login-held" || w.Header().Get("Retry-After") == "" {
		t.Errorf("held: %d %s", w.Code, w.Body)
	}
}

// login2 logs somebody else in and gives the cookie as a header.
func (o *office) login2(t *testing.T, name, password string) string {
	t.Helper()
	w := o.call("POST", "/api/v1/login", `{"name":"`+name+`","password":"`+password+`"}`)
	if w.Code != 200 {
		t.Fatalf("login of %s: %d", name, w.Code)
	}
	return "Cookie: office=" + w.Result().Cookies()[0].Value
}

func TestADemonstrationIsForLoopback(t *testing.T) {
	o := open(t, false)
	for _, tt := range []struct {
		rule   string
		header []string
		status int
	}{
		{"loopback", nil, 200}, {"another machine", []string{"Remote: 192.0.2.7"}, 401}, {"another machine through a proxy here", []string{"X-Forwarded-For: 192.0.2.7"}, 401},
	} {
		if w := o.call("GET", "/api/v1/counts", "", tt.header...); w.Code != tt.status {
			t.Errorf("%s: %d", tt.rule, w.Code)
		}
	}
	if _, err := New(Options{Listen: "0.0.0.0:8090", Fleet: o.fleet}); err == nil {
		t.Error("without login on every address")
	}
}

type document struct {
	Paths map[string]map[string]struct {
		Responses map[string]struct {
			Content map[string]struct {
				Schema struct {
					Ref string `json:"$ref"`
				} `json:"schema"`
			} `json:"content"`
		} `json:"responses"`
	} `json:"paths"`
}

// TestOpenAPI: the document has each route and no other, and each answer is what it says.
func TestOpenAPI(t *testing.T) {
	o := open(t, true)
	o.fill(t)
	o.example(t)
	o.tell(t, "room-3", 7, "session.not-recorded", `{"session":"a","who":"李某","reason":"设备故障"}`)
	if _, err := o.o.Reviews.Make(review.Order{By: "审计", N: 1, Of: []review.Ref{{Device: "room-3", Session: "20261123T060509Z-0badcafe"}}, From: day, Until: day}); err != nil {
		t.Fatal(err)
	}
	made, err := o.o.Reviews.List(1)
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range o.routes() {
		if _, ok := d.Paths[r.path][strings.ToLower(r.method)]; !ok {
			t.Errorf("openapi.json lacks %s %s", r.method, r.path)
		}
		n++
	}
	for _, ops := range d.Paths {
		n -= len(ops)
	}
	if n != 0 {
		t.Errorf("openapi.json has %d routes too many", -n)
	}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("mem:openapi.json", whole); err != nil {
		t.Fatal(err)
	}
	in := "Cookie: office=" + o.token
	for _, tt := range []struct{ path, url, says string }{
		{"/counts", "/counts", `"fail":1,"silent":2,"recording":2,"alarms":1,"missing":3,"refused":2`},
		{"/rooms", "/rooms", `"device":"room-3","room":"询问室三"`}, {"/rooms", "/rooms?class=silent&limit=1", `"fit":2`}, {"/rooms", "/rooms?item=camera.black", `"fit":1`},
		{"/rooms", "/rooms?q=听证", `"fit":1`}, {"/rooms", "/rooms?recording=true", `"fit":2`},
		{"/rooms/{id}", "/rooms/room-3", `"clause":"最高检 2006 (一)4 双份同期"`}, {"/rooms/{id}", "/rooms/room-5", `"compliance":null`},
		{"/events", "/events?device=room-3", `"missing_before":3`}, {"/events", "/events?type=alarm.", `"alarm.raised"`}, {"/events", "/events?type=checkpoint", `"events":[]`},
		{"/sessions", "/sessions?case=12号", `"fit":1`}, {"/sessions", "/sessions?from=2026-11-23&until=2026-11-23", `"state":"paused"`}, {"/sessions/bodies", "/sessions/bodies", `"bodies":[]`}, {"/unrecorded", "/unrecorded?from=2026-01-01&until=2026-12-31", `"reason":"设备故障"`},
		{"/year", "/year?from=2026-01-01&until=2026-12-31", `"item":"allocate.A"`}, {"/reviews", "/reviews", `"of":1`}, {"/reviews/{id}", "/reviews/" + made[0].ID, `"case":"并市监罚`},
		{"/lists", "/lists", `"bodies":2`}, {"/lists/view/{sheet}", "/lists/view/officers?q=王", `"fit":1,"total":2`}, {"/lists/deliveries", "/lists/deliveries", `"device":"room-3"`},
		{"/alarms", "/alarms", `"disk.gone"`}, {"/refused", "/refused", `"malformed"`},
	} {
		w := o.call("GET", "/api/v1"+tt.url, "", in)
		schema, err := c.Compile("mem:openapi.json" + d.Paths[tt.path]["get"].Responses["200"].Content["application/json"].Schema.Ref)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
		if err == nil {
			err = schema.Validate(v)
		}
		if err != nil || w.Code != 200 || !strings.Contains(w.Body.String(), tt.says) {
			t.Errorf("%s: %d %v\n%s (want %s)", tt.url, w.Code, err, w.Body, tt.says)
		}
	}
}

func TestStreamTellsChanges(t *testing.T) {
	o := open(t, true)
	r, err := http.NewRequest("GET", o.url+"/api/v1/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(&http.Cookie{Name: "office", Value: o.token})
	a, err := http.DefaultClient.Do(r)
	if err != nil || a.StatusCode != 200 {
		t.Fatal(a, err)
	}
	defer a.Body.Close()
	lines := bufio.NewScanner(a.Body)
	lines.Buffer(nil, 1<<20)
	next := func() (u update) {
		for lines.Scan() {
			if s, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				// Tally has no way back from JSON; the counts and names are enough.
				var in struct {
					Rooms []struct {
						Device, Class string
					}
					Resync bool
				}
				if err := json.Unmarshal([]byte(s), &in); err != nil {
					t.Fatal(err)
				}
				u.Resync = in.Resync
				for _, r := range in.Rooms {
					u.Trouble += r.Device + " " + r.Class + ";"
				}
				return u
			}
		}
		t.Fatal("the stream ended")
		return u
	}
	if u := next(); !u.Resync {
		t.Error("the first update asks for the list")
	}
	o.say(t, "room-2", report.KindState, state("room-2", "听证室", "idle"))
	if u := next(); u.Resync || !strings.Contains(u.Trouble, "room-2 partial;") {
		t.Errorf("told %+v", u)
	}
}
