package console

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"minglu/agent/report"
	"minglu/agent/standard"
	"minglu/provisioning/fleet"
	"minglu/provisioning/registry"
	"minglu/provisioning/review"
	"minglu/provisioning/users"
)

// office is a console over a real fleet in which a few rooms have reported.
type office struct {
	*Console
	fleet *fleet.Fleet
	lists *registry.Registry
	url   string
	token string

	mu  sync.Mutex
	now time.Time
}

func (o *office) clock() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

var day = time.Date(2026, 11, 23, 6, 5, 9, 0, time.UTC)

const run1, box = "aaaaaaaaaaaaaaaa", "00112233445566aa"

func (o *office) later(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = o.now.Add(d)
}

func open(t *testing.T, login bool) *office {
	t.Helper()
	o := &office{now: time.Now()}
	dir := t.TempDir()
	f, err := fleet.Open(fleet.Options{Path: filepath.Join(dir, "f.db"), Now: o.clock, Send: func(string, report.Kind, []byte) error { return nil },
		Names: func() []string { return []string{"room-1", "room-2", "room-3", "room-4", "room-5"} }})
	if err != nil {
		t.Fatal(err)
	}
	o.fleet = f
	if o.lists, err = registry.Open(registry.Options{Path: filepath.Join(dir, "registry.json"), Now: o.clock, Zone: time.UTC}); err != nil {
		t.Fatal(err)
	}
	post := registry.NewPost(registry.PostOptions{Registry: o.lists, Now: o.clock, Online: func() []registry.Held { return nil }, Send: func(string, []byte) error { return nil }})
	op := Options{Listen: "127.0.0.1:0", Hosts: []string{"office.example"}, Name: "某县执法音像管理中心", Fleet: f,
		Now: o.clock, Zone: time.UTC, Profile: standard.Default(),
		Lists: o.lists, Deliveries: func() []registry.Delivery { return post.Deliveries(nil) }}
	if login {
		book, err := users.Open(users.People, filepath.Join(dir, "users.json"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := book.Add("王某", "correct horse", users.Manager); err != nil {
			t.Fatal(err)
		}
		if err := book.Add("审计", "battery staple", users.Auditor); err != nil {
			t.Fatal(err)
		}
		door := users.NewDoor(book, time.Now)
		if o.token, _, err = door.Login("127.0.0.1", "王某", "correct horse"); err != nil {
			t.Fatal(err)
		}
		op.Door = door
	}
	if op.Reviews, err = review.Open(filepath.Join(dir, "reviews"), o.clock); err != nil {
		t.Fatal(err)
	}
	if o.Console, err = New(op); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- f.Run(ctx) }()
	go func() { done <- o.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	o.url = "http://" + o.Addr(ctx)
	return o
}

func (o *office) say(t *testing.T, device string, kind report.Kind, m report.Message) {
	t.Helper()
	b, err := report.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	o.fleet.Receive(device, kind, b, false)
}

func state(device, room, does string) report.State {
	s := report.State{Device: device, Online: true, Run: run1, BdSeq: 1, Boot: "b", T: day, Room: room, State: does, Since: day, Version: "dev-0123456789ab", Body: &report.Body{Name: "某县市场监督管理局"}}
	if does == "recording" {
		s.Session = "20261123T060509Z-0badcafe"
	}
	return s
}

func list(device string, more ...report.Item) report.Compliance {
	items := []report.Item{
		{Item: "camera.width", Subject: "face", Verdict: report.Pass, Value: 1920.0, Limit: "≥ 1920", Unit: "px", Clause: "本溪县环境保护局音像记录设备配备 2019 第7条(1)", Basis: "county", Seen: "read", Since: day, Severity: "must", Zh: "录像分辨率不低于1920×1080", En: "Recorded width at least 1920 px"},
		{Item: "camera.fps", Subject: "face", Verdict: report.Pass, Value: 25.0, Limit: "≥ 25", Unit: "frame/s", Clause: "GB 50395-2007 5.0.10", Basis: "national", Seen: "memory", Since: day, Severity: "must", Zh: "帧率不低于25帧/秒", En: "At least 25 frames per second"},
		{Item: "mic.snr", Subject: "voice", Verdict: report.NotApplicable, Limit: "≥ 20", Unit: "dB", Clause: "speech over noise floor", Basis: "default", Seen: "none", Since: day, Severity: "should", Why: &report.Text{Zh: "没有会话", En: "no session"}, Zh: "语音信噪比", En: "Speech 20 dB over noise"},
	}
	return report.Compliance{Device: device, T: day, Profile: report.Profile{ID: "minglu-default", Version: "2026.11", Zh: "音像记录设备检查项（默认）", En: "Recording-equipment checks (default)"}, Items: append(items, more...)}
}

var (
	fails = report.Item{Item: "rec.copies", Verdict: report.Fail, Value: 1.0, Limit: "≥ 2", Unit: "copies", Clause: "最高检 2006 (一)4 双份同期", Basis: "judicial", Seen: "read", Since: day, Severity: "must",
		Why: &report.Text{Zh: "实测 1，低于 2", En: "measured 1, below 2"}, Zh: "同期双份记录", En: "Two copies written at the same time"}
	black = report.Item{Item: "camera.black", Subject: "face", Verdict: report.Fail, Value: 14.2, Limit: "≤ 2", Unit: "s", Clause: "98 % of pixels under 10 % luma", Basis: "default", Seen: "none", Since: day, Severity: "must",
		Why: &report.Text{Zh: "黑屏已 14.2 s", En: "black for 14.2 s"}, Zh: "无黑屏", En: "No black picture"}
	advice = report.Item{Item: "mic.clipping", Subject: "voice", Verdict: report.Fail, Value: 0.02, Limit: "≤ 0.001", Unit: "ratio", Clause: "samples at full scale", Basis: "default", Seen: "none", Since: day, Severity: "should",
		Why: &report.Text{Zh: "削波", En: "clipping"}, Zh: "无削波", En: "No clipping"}
	unknown = report.Item{Item: "rec.wear", Subject: "A", Verdict: report.Unknown, Limit: "≤ 0.9", Unit: "ratio", Clause: "eMMC/SD life-time estimate, SMART", Basis: "default", Seen: "none", Since: day, Severity: "must",
		Why: &report.Text{Zh: "没有可读的寿命信息", En: "the disk tells nothing about its wear"}, Zh: "存储介质寿命", En: "Media life used"}
)

func numbered(t *testing.T, device string, n int64, typ string, body report.NumberedBody) report.Numbered {
	t.Helper()
	b, err := report.MarshalBody(body)
	if err != nil {
		t.Fatal(err)
	}
	return report.Numbered{Device: device, Outbox: box, N: n, T: day.Add(time.Duration(n) * time.Minute), Type: typ, Body: b}
}

// tell lets a room report something whose type report does not name, and waits until it is stored.
func (o *office) tell(t *testing.T, device string, n int64, typ, body string) {
	t.Helper()
	before := o.fleet.Counts().Events
	o.say(t, device, report.KindSession, report.Numbered{Device: device, Outbox: box, N: n, T: day, Type: typ, Body: []byte(body)})
	until(t, "stored", func() bool { return o.fleet.Counts().Events == before+1 })
}

// fill lets the rooms report: one fails, one passes and records, one is not all judged, two are silent.
func (o *office) fill(t *testing.T) {
	t.Helper()
	o.say(t, "room-3", report.KindState, state("room-3", "询问室三", "recording"))
	o.say(t, "room-3", report.KindCompliance, list("room-3", fails, black, advice, unknown))
	o.say(t, "room-1", report.KindState, state("room-1", "询问室一", "recording"))
	o.say(t, "room-1", report.KindCompliance, list("room-1"))
	o.say(t, "room-2", report.KindState, state("room-2", "听证室", "idle"))
	o.say(t, "room-2", report.KindCompliance, list("room-2", unknown))
	o.say(t, "room-3", report.KindSession, numbered(t, "room-3", 1, report.SessionOpened, report.SessionEvent{Session: "20261123T060509Z-0badcafe", Case: "并市监罚〔2026〕12号", Who: "panel"}))
	o.say(t, "room-3", report.KindAlarm, numbered(t, "room-3", 2, report.AlarmRaised, report.AlarmOf("disk.gone", "B", day)))
	o.say(t, "room-3", report.KindSession, numbered(t, "room-3", 6, report.SessionPaused, report.SessionEvent{Session: "20261123T060509Z-0badcafe", Reason: "休息"}))
	o.fleet.Receive("room-3", report.KindHealth, []byte(`{"v":1`), false)
	o.fleet.Refuse("", "login", "192.0.2.7 room-9")
	until(t, "stored", func() bool {
		c := o.fleet.Counts()
		return c.Events == 3 && c.Pass == 1 && c.Partial == 1 && c.Fail == 1
	})
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) { // a database writes meanwhile
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// call asks the handler itself; headers are "Name: value", with Remote for the other end.
func (o *office) call(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8090"+path, strings.NewReader(body))
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, localAddr))
	r.RemoteAddr = "127.0.0.1:5555"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range header {
		switch k, v, _ := strings.Cut(h, ": "); k {
		case "Host":
			r.Host = v
		case "Remote":
			r.RemoteAddr = v + ":5555"
		default:
			r.Header.Set(k, v)
		}
	}
	w := httptest.NewRecorder()
	o.handler.ServeHTTP(w, r)
	return w
}

func code(w *httptest.ResponseRecorder) string {
	var e struct{ Error struct{ Code string } }
	_ = json.Unmarshal(w.Body.Bytes(), &e)
	return e.Error.Code
}
