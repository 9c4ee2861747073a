package web

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"minglu/agent/durable"
	"minglu/agent/report"
)

// measuredFake is a room in which something is measured: of each kind of verdict one at least.
func measuredFake() *fake {
	f := newFake()
	why := func(zh, en string) *report.Text { return &report.Text{Zh: zh, En: en} }
	f.items = []report.Item{
		{Item: "camera.fps", Subject: "face", Verdict: "pass", Value: 25.0, Limit: "≥ 25", Unit: "fps", Clause: "GB 50395-2007 5.0.10", Basis: "national", Seen: "read", Since: opened, Severity: "must", Zh: "帧率", En: "Frame rate"},
		{Item: "camera.fps", Subject: "room", Verdict: "fail", Value: 12.4, Limit: "≥ 25", Unit: "fps", Clause: "GB 50395-2007 5.0.10", Basis: "national", Seen: "read", Since: opened, Severity: "must", Zh: "帧率", En: "Frame rate",
			Why: why("实测 12.4 fps，要求 ≥ 25", "measured 12.4 fps, required ≥ 25")},
		{Item: "picture.covered", Subject: "face", Verdict: "unknown", Limit: "= false", Basis: "default", Seen: "none", Since: opened, Severity: "must", Zh: "镜头未被遮挡", En: "Lens not covered",
			Why: why("本机没有解码器", "no decoder on this board")},
		{Item: "disk.free", Subject: "A", Verdict: "pass", Value: 31.4, Limit: "≥ 24", Unit: "h", Basis: "default", Seen: "none", Since: opened, Severity: "should", Zh: "剩余空间", En: "Free space"},
		{Item: "time.error", Verdict: "pass", Value: 0.0076, Limit: "≤ 1", Unit: "s", Clause: "GA/T 1400", Basis: "police", Seen: "memory", Since: opened, Severity: "must", Zh: "时间误差", En: "Clock error"},
		{Item: "room.lamp", Verdict: "not-applicable", Limit: "≤ 1", Unit: "s", Clause: "door lamp follows recording", Basis: "vendor", Seen: "read", Since: opened, Severity: "must", Zh: "录音录像指示灯与状态一致", En: "Lamp follows the recorder",
			Why: why("仅在录音录像时检查", "checked while a session records")},
		{Item: "allocate.C", Verdict: "unknown", Basis: "city", Seen: "read", Since: opened, Severity: "info", Clause: "长治市 第8条(3)", Zh: "C类按需配备", En: "Class C as needed", Why: why("按需配备", "as needed")},
	}
	return f
}

func (f *fake) Health() report.Health {
	return report.Health{V: 1, Device: "room-3", T: opened, Measurements: []report.Measurement{
		{Measure: "video.fps", Subject: "face", Value: 25.0, Unit: "fps", At: opened, How: &report.Text{Zh: "数到达的帧", En: "pictures counted"}},
		{Measure: "picture.covered", Subject: "face", At: opened, Unknown: &report.Text{Zh: "本机没有解码器", En: "no decoder on this board"}},
	}}
}

func (f *fake) Compliance() report.Compliance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return report.Compliance{V: 1, Device: "room-3", T: opened, Profile: report.Profile{ID: "default", Version: "1", Zh: "默认设备标准", En: "Default equipment standard"}, Items: f.items}
}

func TestAnItemCountsOnceByItsWorst(t *testing.T) {
	m := meets(measuredFake().items)
	if want := (Meets{Rules: Counts{Pass: 1, Fail: 1}, Defaults: Counts{Pass: 1, Unknown: 1}}); *m != want {
		t.Errorf("meets = %+v, want %+v: what does not apply and what is only shown do not count", *m, want)
	}
	var st State
	if err := json.Unmarshal(call(newServer(t, measuredFake()), "GET", "/api/v1/state", "").Body.Bytes(), &st); err != nil || st.Meets == nil || *st.Meets != *m {
		t.Errorf("GET state has %+v, %v", st.Meets, err)
	}
}

func TestMetrics(t *testing.T) {
	f := measuredFake()
	_, _ = f.Start(t.Context(), "panel", Details{Case: "12"}, "")
	f.state.Faults = []Fault{{Code: "disk.gone", Severity: "alarm", Ch: "B"}}
	f.state.Channels[2].AgeMS = -1
	s := newServer(t, f, func(o *Options) {
		o.Outbox = func() int64 { return 7 }
		o.Writes = func() durable.Stats { return durable.Stats{Fsyncs: 11, Written: 4096} }
	})
	for _, tt := range []struct {
		rule, hdr string
		status    int
	}{
		{"a collector on the board needs no login", "", 200},
		{"from elsewhere nobody reads", "Remote: 192.0.2.7", 401},
		{"behind a proxy neither", "X-Forwarded-For: 192.0.2.7", 401},
		{"a name may", logged, 200},
	} {
		hdr := []string{}
		if tt.hdr != "" {
			hdr = append(hdr, tt.hdr)
		}
		if w := call(s, "GET", "/metrics", "", hdr...); w.Code != tt.status || tt.status == 401 && strings.Contains(w.Body.String(), "minglu_") {
			t.Errorf("%s: %d", tt.rule, w.Code)
		}
	}
	w := call(s, "GET", "/metrics", "")
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("Content-Type %q", got)
	}
	text := w.Body.String()
	for _, line := range []string{
		`minglu_info{board="sim",device="room-3",room="询问室三",version="test"} 1`,
		`minglu_state{state="recording"} 1`, `minglu_state{state="idle"} 0`,
		`minglu_channel_fps{channel="face"} 25`, `minglu_channel_bits_per_second{channel="face"} 4e+06`, `minglu_channel_sample_age_seconds{channel="face"} 0.04`,
		`minglu_disk_free_bytes{disk="A"} 9.3e+10`, `minglu_disk_up{disk="B"} 1`, `minglu_unsigned_seconds 0.6`, `minglu_clock_error_seconds 0.0076`,
		`minglu_fault{ch="B",code="disk.gone",severity="alarm"} 1`, `minglu_faults 1`,
		`minglu_compliance_items{basis="rule",verdict="fail"} 1`, `minglu_compliance_items{basis="default",verdict="unknown"} 1`,
		`minglu_outbox_messages 7`, `minglu_fsyncs_total 11`, `minglu_written_bytes_total 4096`, `minglu_climate_celsius 23.5`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	for _, rule := range []string{"go_goroutines ", "process_resident_memory_bytes "} {
		if !strings.Contains(text, "\n"+rule) {
			t.Errorf("/metrics lacks %s", rule)
		}
	}
	if strings.Contains(text, `sample_age_seconds{channel="voice"}`) {
		t.Error("an unknown age has a value")
	}
	if strings.Contains(call(newServer(t, newFake()), "GET", "/metrics", "").Body.String(), "minglu_unsigned_seconds") {
		t.Error("an idle room has unsigned media")
	}
}

func TestLiveIsDecidedFirst(t *testing.T) {
	const post, offer = "POST", "v=0"
	recording := func(f *fake) { _, _ = f.Start(t.Context(), "panel", Details{Flags: []string{"minor"}}, "") }
	paused := func(f *fake) { recording(f); _ = f.Pause(t.Context(), "panel", "rest") }
	for _, tt := range []struct {
		rule, method, path string
		set                func(f *fake)
		idle               bool // WatchIdle
		hdr                string
		status             int
		code, did          string
	}{
		{"a named login watches, and that is on record first", post, "/whep/face", recording, false, logged, 201, "", "enter 王某 state ; enter 王某 watch face running; whep POST"},
		{"the panel alone does not", post, "/whep/face", recording, false, "", 401, "login-needed", "enter panel state ; enter panel watch face running"},
		{"and is told so in an idle room as well", post, "/whep/face", nil, false, "", 401, "login-needed", "enter panel state ; enter panel watch face"},
		{"nor anybody from elsewhere", post, "/whep/face", recording, false, "Remote: 192.0.2.7", 401, "login-needed", "enter  state "},
		{"an idle room shows nothing", post, "/whep/face", nil, false, logged, 409, "idle", "enter 王某 state "},
		{"unless the body's rule lets it", post, "/whep/face", nil, true, logged, 201, "", "enter 王某 state ; enter 王某 watch face; whep POST"},
		{"a pause is never shown", post, "/whep/face", paused, true, logged, 409, "paused", "enter 王某 state "},
		{"post-roll is still recorded", post, "/whep/face", func(f *fake) { recording(f); f.now("postroll", nil) }, false, logged, 201, "", "enter 王某 state ; enter 王某 watch face running; whep POST"},
		{"a channel that is none", post, "/whep/attic", recording, false, logged, 404, "not-found", "enter 王某 state "},
		{"a view is ended by a login", "DELETE", "/whep/face/0123", recording, false, logged, 201, "", "enter 王某 state ; whep DELETE"},
		{"and gets candidates", "PATCH", "/whep/face/0123", recording, false, logged, 201, "", "enter 王某 state ; whep PATCH"},
		{"a view is not begun twice", post, "/whep/face/0123", recording, false, logged, 405, "method", ""},
		{"nothing is watched by GET", "GET", "/whep/face", recording, false, logged, 405, "method", ""},
		{"another site begins nothing", post, "/whep/face", recording, false, "Origin: http://evil.example", 403, "origin", ""},
	} {
		f := newFake()
		if tt.set != nil {
			tt.set(f)
		}
		f.take()
		s := newServer(t, f, func(o *Options) {
			o.WatchIdle = tt.idle
			o.Live = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = f.note("whep %s", r.Method)
				if b, _ := io.ReadAll(r.Body); string(b) != offer && r.Method == post {
					t.Errorf("%s: the offer arrived as %q", tt.rule, b)
				}
				w.WriteHeader(http.StatusCreated)
			})
		})
		hdr := []string{"Content-Type: application/sdp"}
		if tt.hdr != "" {
			hdr = append(hdr, tt.hdr)
		}
		w := call(s, tt.method, tt.path, offer, hdr...)
		did := strings.TrimSpace(regexp.MustCompile(`start.*?(;|$)|pause.*?(;|$)`).ReplaceAllString(f.take(), ""))
		if w.Code != tt.status || code(w) != tt.code || did != strings.TrimSpace(tt.did) {
			t.Errorf("%s: %d %q after %q, want %d %q after %q", tt.rule, w.Code, code(w), did, tt.status, tt.code, tt.did)
		}
	}
	if w := call(newServer(t, newFake()), post, "/whep/face", offer, logged); w.Code != 404 || code(w) != "live-none" {
		t.Errorf("without a live view: %d %q", w.Code, code(w))
	}
	f := newFake()
	recording(f)
	f.deny["watch"] = &Error{503, "entry-failed", "记录无法写入。", "The entry could not be written."}
	s := newServer(t, f, func(o *Options) {
		o.Live = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("shown without an entry") })
	})
	if w := call(s, post, "/whep/face", offer, logged); w.Code != 503 {
		t.Errorf("without an entry: %d", w.Code)
	}
}
