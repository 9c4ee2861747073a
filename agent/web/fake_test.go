package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"minglu/agent/report"
)

var opened = time.Date(2026, 11, 23, 6, 5, 9, 0, time.UTC)

// fake is a room with its sessions and its gate, that notes what it was asked, in order.
type fake struct {
	mu     sync.Mutex
	did    []string
	state  State
	fails  error // of each command
	deny   map[string]*Error
	users  map[string]User // by token
	store  []Session
	verify func(ctx context.Context, progress func(done, all int64)) (json.RawMessage, error)
	media  func() Media
	folder fs.FS         // nil: none
	items  []report.Item // nil: nothing is measured
	picks  Choices
	unrec  []NotRecorded
}

func newFake() *fake {
	level, peak, silent := -18.2, -9.0, -71.0
	return &fake{
		deny:  map[string]*Error{},
		users: map[string]User{"good": {Name: "王某", Roles: []string{"operator"}, Named: true}},
		state: State{
			State: "idle", Since: opened, Room: "询问室三", Device: "room-3", Kind: "interview", Can: []string{"start"}, Lamp: "idle",
			Body:  Body{Name: "某县市场监督管理局", USCC: "11140000000000000X", System: "市场监管"},
			Clock: ClockState{T: opened.Add(42 * time.Minute), ErrorUS: 7600, Source: "chrony", Quality: "good"},
			Channels: []ChannelState{
				{ID: "face", Name: "被询问人", Kind: "camera", State: "live", Codecs: []string{"avc1.64001F", "mp4a.40.2"}, Width: 1920, Height: 1080, FPS: 25, BitsPerSec: 4e6, AgeMS: 40, LevelDB: &level, PeakDB: &peak, SignedAgoMS: -1},
				{ID: "room", Name: "全景", Kind: "camera", State: "live", Codecs: []string{"hvc1.1.6.L93.90"}, Width: 2560, Height: 1440, FPS: 24.97, SignedAgoMS: -1},
				{ID: "voice", Kind: "microphone", State: "live", Codecs: []string{"opus"}, LevelDB: &silent, PeakDB: &silent, SignedAgoMS: -1},
			},
			Disks:   []DiskState{{Name: "A", State: "ok", FreeBytes: 93e9, Hours: 31.4}, {Name: "B", State: "ok", FreeBytes: 90e9, Hours: 30.2}},
			Climate: &Climate{23.5, 45}, Power: &Power{true, 1, -1}, Board: "sim", Sim: true, Version: "test",
		},
		store: []Session{fakeSession("20261123T060509Z-0badcafe", true), fakeSession("20261122T020000Z-00000001", false)},
	}
}

func fakeSession(id string, checked bool) Session {
	s := Session{ID: id, State: "sealed", Room: "询问室三", Device: "room-3", Opened: opened.Format(time.RFC3339), Closed: opened.Add(time.Hour).Format(time.RFC3339),
		DurationUS: 3600e6, PrerollUS: 10e6, Trigger: "button", Reason: "button", Case: "并市监罚〔2026〕12号", Matter: "询问", Officers: []Officer{{"王某", "001"}, {"李某", "002"}},
		Channels: []SessionMedia{{"face", "camera", []string{"avc1.64001f", "mp4a.40.2"}, 2}, {"room", "camera", []string{"hvc1.1.6.L93.90"}, 2}},
		Manifest: strings.Repeat("0123456789abcdef", 4),
		Marks:    []Mark{{At: 600e6, Text: "告知权利", Who: "王某"}}, SizeBytes: 3.6e9, Disks: []string{"A", "B"}}
	if checked {
		s.Checked = &Checked{opened.Add(2 * time.Hour).Format(time.RFC3339), 3, 1}
		s.Breaks = []Break{{1200e6, 1500e6, "休息", "王某"}}
		s.Spans = []Span{{"", 0, 1200e6, "intact"}, {"", 1200e6, 1500e6, "break"}, {"", 1500e6, 2600e6, "intact"}, {"face", 2600e6, 2700e6, "gap"},
			{"face", 2700e6, 3590e6, "intact"}, {"room", 2600e6, 3590e6, "intact"}, {"", 3590e6, 3600e6, "recovered"}}
	}
	return s
}

func (f *fake) note(format string, a ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did = append(f.did, fmt.Sprintf(format, a...))
	return f.fails
}

func (f *fake) take() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := strings.Join(f.did, "; ")
	f.did = nil
	return s
}

func (f *fake) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// now changes the state and what can be done in it.
func (f *fake) now(state string, change func(s *State), can ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.State, f.state.Can = state, can
	if change != nil {
		change(&f.state)
	}
}

func (f *fake) Start(_ context.Context, who string, d Details, continues string) (Started, error) {
	if continues != "" {
		_ = f.note("continues %s", continues)
	}
	if err := f.note("start %s case=%s matter=%s officers=%v flags=%v", who, d.Case, d.Matter.Name+d.Matter.ID, d.Officers, d.Flags); err != nil {
		return Started{}, err
	}
	f.now("recording", func(s *State) {
		s.Session = &Running{ID: "S", State: "recording", Opened: opened.Format(time.RFC3339), ElapsedMS: 2537e3, RecordedMS: 2537e3, PrerollMS: 10e3, Trigger: "page", Continues: continues, Details: d}
		if d.Case == "" {
			s.Session.Missing = []string{"case"}
		}
		s.Channels = append([]ChannelState{}, s.Channels...)
		for i := range s.Channels {
			s.Channels[i].SignedAgoMS = 600
		}
	}, "mark", "pause", "stop", "details")
	return Started{ID: "S", State: "recording"}, nil
}

func (f *fake) change(change func(r *Running)) func(s *State) {
	return func(s *State) {
		if s.Session == nil {
			return
		}
		r := *s.Session
		change(&r)
		s.Session = &r
	}
}

func (f *fake) Mark(_ context.Context, who, text, kind string) error {
	f.now(f.State().State, f.change(func(r *Running) {
		r.Marks = append(append([]Mark{}, r.Marks...), Mark{(r.ElapsedMS + r.PrerollMS) * 1000, text, who, kind})
	}), f.State().Can...)
	return f.note("mark %s %s", who, text)
}

func (f *fake) Pause(_ context.Context, who, reason string) error {
	f.now("paused", nil, "mark", "resume", "stop", "details")
	return f.note("pause %s %s", who, reason)
}

func (f *fake) Resume(_ context.Context, who string) error {
	f.now("recording", nil, "mark", "pause", "stop", "details")
	return f.note("resume %s", who)
}

func (f *fake) Stop(_ context.Context, who, reason string) error {
	f.now("sealing", nil)
	return f.note("stop %s %s", who, reason)
}

func (f *fake) Details(_ context.Context, who string, d Details) error {
	f.now(f.State().State, f.change(func(r *Running) { r.Details = d; r.Missing = nil }), f.State().Can...)
	return f.note("details %s case=%s officers=%v", who, d.Case, d.Officers)
}

func (f *fake) Reply(_ context.Context, who string, yes bool) error {
	f.now(f.State().State, f.change(func(r *Running) { r.Question = "" }), f.State().Can...)
	return f.note("reply %s %v", who, yes)
}

func (f *fake) Prompt(_ context.Context, who, text string) error {
	f.now(f.State().State, f.change(func(r *Running) { r.Prompts = append(r.Prompts, Said{text, who}) }), f.State().Can...)
	return f.note("prompt %s %s", who, text)
}

func (f *fake) Seen(_ context.Context, who string) error {
	f.now(f.State().State, f.change(func(r *Running) { r.Prompts = nil }), f.State().Can...)
	return f.note("seen %s", who)
}

func (f *fake) Choices(_ context.Context, body string, named bool) (Choices, error) {
	return f.picks, f.note("choices %s %v", body, named)
}

func (f *fake) Amend(_ context.Context, who, id string, c Correction) error {
	text := ""
	if c.Case != nil {
		text = *c.Case
	}
	return f.note("amend %s %s case=%s flags=%v", who, id, text, c.Flags)
}

func (f *fake) Attach(_ context.Context, who, id, name, kind string, file []byte) error {
	return f.note("attach %s %s %s %s %d", who, id, name, kind, len(file))
}

func (f *fake) Refuse(_ context.Context, who, id, party, reason string) error {
	return f.note("refuse %s %s %s %s", who, id, party, reason)
}

func (f *fake) AddNotRecorded(_ context.Context, who string, n NotRecorded) (NotRecorded, error) {
	n.ID, n.Login, n.At = "00112233445566778899aabbccddeeff", who, opened.Format(time.RFC3339)
	f.unrec = append(f.unrec, n)
	return n, f.note("not-recorded %s %s %s %s", who, n.Why, n.Reason, n.Who)
}

func (f *fake) ListNotRecorded(context.Context, int) ([]NotRecorded, error) { return f.unrec, nil }

func (f *fake) List(_ context.Context, limit int, before string) ([]Session, error) {
	return f.store[:min(limit, len(f.store))], f.note("list %d %s", limit, before)
}

func (f *fake) Get(_ context.Context, id string) (Session, error) {
	for _, s := range f.store {
		if s.ID == id {
			return s, f.note("get")
		}
	}
	return Session{}, fmt.Errorf("store: session %q: %w", id, ErrNotFound)
}

func (f *fake) Segments(_ context.Context, id, channel string) ([]Segment, error) {
	if channel != "face" && channel != "room" {
		return nil, ErrNotFound
	}
	codecs := map[string][]string{"face": {"avc1.64001f"}, "room": {"hvc1.1.6.L93.90"}}[channel]
	return []Segment{
		{N: 1, File: channel + "-00001.mp4", Duration: 300e6, Wall: opened.Format(time.RFC3339), Size: 1000, Codecs: codecs, Init: Range{0, 100}, Fragments: []FragSpan{{200, 300, 0, 500e3}, {500, 500, 500e3, 1e6}}},
		{N: 2, File: channel + "-00002.mp4", Start: 300e6, Duration: 300e6, Size: 1000},
	}, f.note("segments %s", channel)
}

type memory struct {
	*bytes.Reader
	closed func()
}

func (m memory) Close() error { m.closed(); return nil }

func (f *fake) OpenMedia(_ context.Context, id, channel string, n int64) (Media, error) {
	if n > 2 {
		return Media{}, ErrNotFound
	}
	if f.media != nil {
		return f.media(), f.note("open %s %d", channel, n)
	}
	return Media{memory{bytes.NewReader([]byte("0123456789")), func() { _ = f.note("close") }}, channel + "-00001.mp4", opened}, f.note("open %s %d", channel, n)
}

func (f *fake) OpenFolder(context.Context, string) (fs.FS, error) {
	if err := f.note("folder"); err != nil || f.folder != nil {
		return f.folder, err
	}
	return nil, ErrNotFound
}

func (f *fake) Verify(ctx context.Context, id string, progress func(done, all int64)) (json.RawMessage, error) {
	err := f.note("verify")
	if f.verify != nil {
		return f.verify(ctx, progress)
	}
	progress(10, 10)
	return json.RawMessage(`{"exit":3,"require":1,"sessions":[{"id":"` + id + `","exit":3,"grade":1,"why":"no outside time and no witness bounds it","notes":["device's own certificate"],
"spans":[{"channel":"face","from":0,"to":3600000000,"finding":"intact","cause":""},{"channel":"room","from":0,"to":1800000000,"finding":"intact","cause":""},{"channel":"room","from":1800000000,"to":3600000000,"finding":"gap","cause":"connection lost","file":"log.jsonl"}]}],"chinese":{"no outside time and no witness bounds it":"没有外部时间和见证","connection lost":"连接中断"}}`), err
}

func (f *fake) Login(_ context.Context, name, password string) (string, User, error) {
	if password != "correct horse" {
		return "", User{}, &Error{401, "login-wrong", "用户名或密码不对。请重试。", "Name or password is wrong. Try again."}
	}
	return "good", f.users["good"], f.note("login %s", name)
}

func (f *fake) Logout(token string) { _ = f.note("logout %s", token) }

func (f *fake) Who(r Request) User {
	f.mu.Lock()
	defer f.mu.Unlock()
	if u, ok := f.users[r.Token]; ok {
		return u
	}
	if r.Loopback {
		return User{Name: "panel"}
	}
	return User{}
}

// Enter is the contract in small: the panel operates, a login does everything, deny overrules.
func (f *fake) Enter(_ context.Context, r Request) (User, error) {
	u := f.Who(r)
	_ = f.note("enter %s %s %s%s", u.Name, r.Action, r.Channel, map[bool]string{true: " running"}[r.Running])
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.deny[r.Action]; e != nil {
		return u, e
	}
	if u.Named || u.Name != "" && (r.Action == "state" || r.Action == "operate") {
		return u, nil
	}
	return u, &Error{401, "login-needed", "请先登录。", "Log in first."}
}

// roles gives the one who logged in other roles.
func (f *fake) roles(roles ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.users["good"]
	u.Roles = roles
	f.users["good"] = u
}

func (f *fake) Sees(_ User, r Request) bool { return r.Body != "OTHER" }

func newServer(t testing.TB, f *fake, change ...func(*Options)) *Server {
	t.Helper()
	o := Options{Listen: "127.0.0.1:0", Hosts: []string{"room-3.example"}, State: f.State, Room: f, Store: f, Access: f, Amends: f, Unrec: f}
	if f.items != nil {
		o.Health, o.Compliance = f.Health, f.Compliance
	}
	for _, c := range change {
		c(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// call is one request as it comes over a connection. hdr is "Key: value" lines; "Host:" and
// "Remote:" set those.
func call(s *Server, method, path, body string, hdr ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body == "" {
		r = httptest.NewRequest(method, path, nil)
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Host, r.RemoteAddr = "127.0.0.1:8080", "127.0.0.1:40000"
	local := "127.0.0.1"
	for _, h := range hdr {
		k, v, _ := strings.Cut(h, ": ")
		switch k {
		case "Host":
			r.Host = v
		case "Remote":
			r.RemoteAddr, local = v+":40000", "192.0.2.1"
			r.Host = "192.0.2.1:8080"
		default:
			r.Header.Set(k, v)
		}
	}
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(local), Port: 8080}))
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

const logged = "Cookie: minglu=good"

// code gives the code of an error answer, "" for an answer that is none.
func code(w *httptest.ResponseRecorder) string {
	var e failure
	if json.Unmarshal(w.Body.Bytes(), &e) != nil || e.Error.Code == "" {
		return ""
	}
	if e.Error.Zh == "" || e.Error.En == "" {
		return "without words: " + e.Error.Code
	}
	return e.Error.Code
}

var errDisk = errors.New("read /media/a/secret-name: input/output error")

var _ io.Closer = memory{}
