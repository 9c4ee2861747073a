package web

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const one = "/api/v1/sessions/20261123T060509Z-0badcafe"

func TestRoutes(t *testing.T) {
	for _, tt := range []struct {
		rule               string
		method, path, body string
		hdr                []string
		status             int
		code               string // of an error, else part of the body
		did                string // what room, sessions and access were asked, in order
	}{
		{"the state is for the panel", "GET", "/api/v1/state", "", nil, 200, `"state":"idle"`, "enter panel state "},
		{"and for who logged in", "GET", "/api/v1/state", "", []string{"Remote: 192.0.2.7", logged}, 200, `"room":"询问室三"`, "enter 王某 state "},
		{"not for others", "GET", "/api/v1/state", "", []string{"Remote: 192.0.2.7"}, 401, "login-needed", "enter  state "},
		{"a wrong cookie is nobody", "GET", "/api/v1/state", "", []string{"Remote: 192.0.2.7", "Cookie: minglu=bad"}, 401, "login-needed", "enter  state "},
		{"behind a proxy on the board nobody is the panel", "GET", "/api/v1/state", "", []string{"X-Forwarded-For: 192.0.2.7"}, 401, "login-needed", "enter  state "},
		{"nor behind one that speaks RFC 7239", "GET", "/api/v1/state", "", []string{"Forwarded: for=192.0.2.7"}, 401, "login-needed", "enter  state "},

		{"the panel starts", "POST", "/api/v1/session", "", nil, 201, `{"id":"S","state":"recording","failed":[]}`, "enter panel operate ; start panel case= matter= officers=[] flags=[]"},
		{"with all details", "POST", "/api/v1/session", `{"case":"12号","matter":"询问","officers":["王某 001","李 四 002"],"flags":["drill"],"later":1}`, []string{logged}, 201, `"id":"S"`,
			"enter 王某 operate ; start 王某 case=12号 matter=询问 officers=[{王某 001} {李 四 002}] flags=[drill]"},
		{"or the long forms", "POST", "/api/v1/session", `{"matter":{"id":"M7","version":"2"},"officers":[{"name":"王某","credential":"001"}]}`, nil, 201, `"id":"S"`,
			"enter panel operate ; start panel case= matter=M7 officers=[{王某 001}] flags=[]"},
		{"from elsewhere only with a login", "POST", "/api/v1/session", "", []string{"Remote: 192.0.2.7"}, 401, "login-needed", "enter  operate "},
		{"broken JSON starts nothing", "POST", "/api/v1/session", `{"case":`, nil, 400, "body", "enter panel operate "},
		{"nor does another type", "POST", "/api/v1/session", `{"case":1}`, nil, 400, "body", "enter panel operate "},
		{"nor an unknown flag", "POST", "/api/v1/session", `{"flags":["vip"]}`, nil, 400, "body", "enter panel operate "},
		{"nor control characters", "POST", "/api/v1/session", `{"case":"a\u0000b"}`, nil, 400, "body", "enter panel operate "},
		{"nor a giant", "POST", "/api/v1/session", `{"case":"` + strings.Repeat("x", MaxBodyBytes) + `"}`, nil, 413, "too-large", "enter panel operate "},
		{"nor a form", "POST", "/api/v1/session", `case=1`, []string{"Content-Type: application/x-www-form-urlencoded"}, 415, "content-type", "enter panel operate "},
		{"a mark", "POST", "/api/v1/session/mark", `{"text":"告知"}`, nil, 200, `"state":"idle"`, "enter panel operate ; mark panel 告知"},
		{"a mark without text", "POST", "/api/v1/session/mark", "", nil, 200, `"state"`, "enter panel operate ; mark panel "},
		{"a pause with its reason", "POST", "/api/v1/session/pause", `{"reason":"休息"}`, nil, 200, `"state":"paused"`, "enter panel operate ; pause panel 休息"},
		{"resume", "POST", "/api/v1/session/resume", "", nil, 200, `"state":"recording"`, "enter panel operate ; resume panel"},
		{"stop is taken, not done", "POST", "/api/v1/session/stop", "{}", nil, 202, `"state":"sealing"`, "enter panel operate ; stop panel "},
		{"details later", "POST", "/api/v1/session/details", `{"case":"12"}`, nil, 200, `"state"`, "enter panel operate ; details panel case=12 officers=[]"},
		{"no mark for a stranger", "POST", "/api/v1/session/mark", "", []string{"Remote: 192.0.2.7"}, 401, "login-needed", "enter  operate "},
		{"no pause", "POST", "/api/v1/session/pause", "", []string{"Remote: 192.0.2.7"}, 401, "login-needed", "enter  operate "},
		{"no resume", "POST", "/api/v1/session/resume", "", []string{"Remote: 192.0.2.7"}, 401, "login-needed", "enter  operate "},
		{"no stop", "POST", "/api/v1/session/stop", "", []string{"Remote: 192.0.2.7"}, 401, "login-needed", "enter  operate "},
		{"no details", "POST", "/api/v1/session/details", "{}", []string{"Remote: 192.0.2.7"}, 401, "login-needed", "enter  operate "},

		{"the list is not for the panel", "GET", "/api/v1/sessions", "", nil, 401, "login-needed", "enter panel list "},
		{"but for a name", "GET", "/api/v1/sessions", "", []string{logged}, 200, `"next":""`, "enter 王某 list ; list 100 "},
		{"page by page", "GET", "/api/v1/sessions?limit=1&before=X", "", []string{logged}, 200, `"next":"20261123T060509Z-0badcafe"`, "enter 王某 list ; list 1 X"},
		{"within bounds", "GET", "/api/v1/sessions?limit=501", "", []string{logged}, 400, "query", "enter 王某 list "},
		{"one session is a view", "GET", one, "", []string{logged}, 200, `"state":"sealed"`, "enter 王某 list ; get; enter 王某 view "},
		{"no session for the panel", "GET", one, "", nil, 401, "login-needed", "enter panel list "},
		{"none that is not there", "GET", "/api/v1/sessions/nope", "", []string{logged}, 404, "not-found", "enter 王某 list "},
		{"not even whether it is there", "GET", "/api/v1/sessions/nope", "", nil, 401, "login-needed", "enter panel list "},
		{"the segments", "GET", one + "/media/face", "", []string{logged}, 200, `"fragments":[{"off":200,"len":300,"from":0,"to":500000}`, "enter 王某 list ; get; enter 王某 view ; segments face"},
		{"no segments for the panel", "GET", one + "/media/face", "", nil, 401, "login-needed", "enter panel list "},
		{"no such channel", "GET", one + "/media/nose", "", []string{logged}, 404, "not-found", "enter 王某 list ; get; enter 王某 view "},
		{"a file is a playback", "GET", one + "/media/face/1", "", []string{logged}, 200, "0123456789", "enter 王某 list ; get; enter 王某 play face; open face 1; close"},
		{"a range of it", "GET", one + "/media/face/1", "", []string{logged, "Range: bytes=2-4"}, 206, "234", "enter 王某 list ; get; enter 王某 play face; open face 1; close"},
		{"a range that is not there", "GET", one + "/media/face/1", "", []string{logged, "Range: bytes=20-"}, 416, "", "enter 王某 list ; get; enter 王某 play face; open face 1; close"},
		{"a download is one", "GET", one + "/media/face/1?download=1", "", []string{logged}, 200, "0123456789", "enter 王某 list ; get; enter 王某 download face; open face 1; close"},
		{"no file for the panel", "GET", one + "/media/face/1", "", nil, 401, "login-needed", "enter panel list "},
		{"no file for a stranger", "GET", one + "/media/face/1", "", []string{"Remote: 192.0.2.7"}, 401, "login-needed", "enter  list "},
		{"no such file", "GET", one + "/media/face/3", "", []string{logged}, 404, "not-found", "enter 王某 list ; get; enter 王某 play face"},
		{"no file by another name", "GET", one + "/media/face/..%2Flog.jsonl", "", []string{logged}, 404, "not-found", "enter 王某 list "},
		{"verification", "POST", one + "/verify", "", []string{logged}, 200, `"exit":3`, "enter 王某 list ; get; enter 王某 verify ; verify"},
		{"not for the panel", "POST", one + "/verify", "", nil, 401, "login-needed", "enter panel list "},

		{"login", "POST", "/api/v1/login", `{"name":"王某","password":"correct horse"}`, []string{"Remote: 192.0.2.7"}, 200, `{"name":"王某","named":true,"roles":["operator"]}`, "login 王某"},
		{"a login ends the one before", "POST", "/api/v1/login", `{"name":"王某","password":"correct horse"}`, []string{"Cookie: minglu=old"}, 200, `"named":true`, "login 王某; logout old"},
		{"a wrong login", "POST", "/api/v1/login", `{"name":"王某","password":"horse"}`, nil, 401, "login-wrong", ""},
		{"an empty one", "POST", "/api/v1/login", "", nil, 401, "login-wrong", ""},
		{"logout", "POST", "/api/v1/logout", "", []string{logged}, 204, "", "logout good"},
		{"who am I", "GET", "/api/v1/login", "", nil, 200, `{"name":"panel","named":false,"roles":[]}`, ""},
		{"nobody", "GET", "/api/v1/login", "", []string{"Remote: 192.0.2.7"}, 200, `{"name":"","named":false,"roles":[]}`, ""},
		{"the description is for everybody", "GET", "/api/v1/openapi.json", "", []string{"Remote: 192.0.2.7"}, 200, `"openapi": "3.1.0"`, ""},

		{"no such path", "GET", "/api/v1/nope", "", nil, 404, "not-found", ""},
		{"a wrong method", "GET", "/api/v1/session/stop", "", nil, 405, "method", ""},
		{"another wrong one", "POST", "/api/v1/sessions", "{}", nil, 405, "method", ""},
	} {
		f := newFake()
		w := call(newServer(t, f), tt.method, tt.path, tt.body, tt.hdr...)
		got := code(w)
		if got == "" && strings.Contains(w.Body.String(), tt.code) {
			got = tt.code
		}
		if w.Code != tt.status || got != tt.code {
			t.Errorf("%s: %s %s = %d %s, want %d %s", tt.rule, tt.method, tt.path, w.Code, w.Body, tt.status, tt.code)
		}
		if did := f.take(); did != tt.did {
			t.Errorf("%s: did %q, want %q", tt.rule, did, tt.did)
		}
	}
}

// A refusal at each step ends the request there: nothing behind it is touched, no byte is sent.
func TestRefusedBeforeTheFirstByte(t *testing.T) {
	for _, tt := range []struct{ action, method, path, did string }{
		{"view", "GET", one, "enter 王某 list ; get; enter 王某 view "},
		{"view", "GET", one + "/media/face", "enter 王某 list ; get; enter 王某 view "},
		{"play", "GET", one + "/media/face/1", "enter 王某 list ; get; enter 王某 play face"},
		{"download", "GET", one + "/media/face/1?download=1", "enter 王某 list ; get; enter 王某 download face"},
		{"verify", "POST", one + "/verify", "enter 王某 list ; get; enter 王某 verify "},
		{"list", "GET", "/api/v1/sessions", "enter 王某 list "},
		{"operate", "POST", "/api/v1/session", "enter 王某 operate "},
	} {
		f := newFake()
		f.deny[tt.action] = &Error{503, "entry-failed", "调阅记录无法写入。", "The entry could not be written."}
		w := call(newServer(t, f), tt.method, tt.path, "", logged, "Range: bytes=0-3")
		if did := f.take(); w.Code != 503 || code(w) != "entry-failed" || did != tt.did {
			t.Errorf("%s %s: %d %s, did %q; want refused after %q", tt.method, tt.path, w.Code, w.Body, did, tt.did)
		}
	}
}

func TestCommandsThatFail(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		err    error
		status int
		code   string
	}{
		{"one session at a time", &Error{409, "running", "正在录制。", "A session runs."}, 409, "running"},
		{"an error without words is ours, and stays in the log", errDisk, 500, "internal"},
		{"a room that does not answer", context.DeadlineExceeded, 503, "timeout"},
	} {
		for _, path := range []string{"session", "session/mark", "session/pause", "session/resume", "session/stop", "session/details"} {
			f := newFake()
			f.fails = tt.err
			w := call(newServer(t, f), "POST", "/api/v1/"+path, "")
			if w.Code != tt.status || code(w) != tt.code || strings.Contains(w.Body.String(), "secret-name") {
				t.Errorf("%s: POST %s = %d %s, want %d %s", tt.rule, path, w.Code, w.Body, tt.status, tt.code)
			}
		}
	}
}

func TestTheRunningSessionIsSaidToAccess(t *testing.T) {
	f := newFake()
	f.state.Session = &Running{ID: f.store[0].ID}
	call(newServer(t, f), "GET", one+"/media/face/2", "", logged)
	if did := f.take(); !strings.Contains(did, "enter 王某 play face running") {
		t.Errorf("did %q, want the entry to know that the session runs", did)
	}
}

func TestVerifyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.verify = func(ctx context.Context, progress func(done, all int64)) (json.RawMessage, error) {
			progress(5, 10)
			time.Sleep(time.Second)
			return json.RawMessage("{\"exit\":0,\n\"sessions\":[]}"), nil
		}
		w := call(newServer(t, f), "POST", one+"/verify", "", logged, "Accept: text/event-stream")
		want := "event: progress\ndata: {\"done\":5,\"all\":10}\n\n"
		got := w.Body.String()
		if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "event: result\ndata: {\"exit\":0,\"sessions\":[]}\n\n") {
			t.Errorf("stream %q, want progress, then the result on one line", got)
		}

		f.verify = func(context.Context, func(done, all int64)) (json.RawMessage, error) { panic("a hostile file") }
		w = call(newServer(t, f), "POST", one+"/verify", "", logged, "Accept: text/event-stream")
		if !strings.Contains(w.Body.String(), "event: error\ndata: {\"error\":{\"code\":\"internal\"") {
			t.Errorf("after a panic: %q, want an error and a living agent", w.Body)
		}
		if w = call(newServer(t, f), "POST", one+"/verify", "", logged); w.Code != 500 {
			t.Errorf("after a panic without a stream: %d, want 500", w.Code)
		}
	})
}

func TestOneVerificationAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, release := newFake(), make(chan struct{})
		f.verify = func(context.Context, func(done, all int64)) (json.RawMessage, error) {
			<-release
			return json.RawMessage(`{"exit":0}`), nil
		}
		s := newServer(t, f)
		first := make(chan int)
		go func() { first <- call(s, "POST", one+"/verify", "", logged).Code }()
		synctest.Wait()
		if w := call(s, "POST", one+"/verify", "", logged); w.Code != 503 || code(w) != "verify-busy" || w.Header().Get("Retry-After") == "" {
			t.Errorf("the second = %d %s, want 503", w.Code, w.Body)
		}
		close(release)
		if c := <-first; c != 200 {
			t.Errorf("the first = %d", c)
		}
		if w := call(s, "POST", one+"/verify", "", logged); w.Code != 200 {
			t.Errorf("the next = %d %s", w.Code, w.Body)
		}
	})
}

func FuzzDetails(f *testing.F) {
	for _, s := range []string{`{}`, `{"case":"12","matter":"询问","officers":["王某 001",{"name":"李","credential":"2"}],"flags":["drill"]}`,
		`{"matter":{"id":"m","version":"1"},"body":{"name":"局","uscc":"1","system":"s"}}`, `{"officers":[" a  b "," ",""]}`, `null`, `[]`, `{"matter":null}`, `{} {}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Details
		if decode(b, &d) != nil {
			return
		}
		out, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var again Details
		if err := decode(out, &again); err != nil {
			t.Fatalf("%q became %q: %v", b, out, err)
		}
		twice, err := json.Marshal(again)
		if err != nil || string(twice) != string(out) {
			t.Errorf("%q, then %q, %v", out, twice, err)
		}
	})
}

func FuzzSay(f *testing.F) {
	f.Add([]byte(`{"text":"告知","reason":"休息"}`))
	f.Add([]byte(`{"text":"\ud800"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s say
		if decode(b, &s) == nil && s.valid() != nil {
			t.Errorf("%q passed as %+v", b, s)
		}
	})
}

func FuzzCredentials(f *testing.F) {
	f.Add([]byte(`{"name":"王某","password":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c credentials
		_ = decode(b, &c)
	})
}
