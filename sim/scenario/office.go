package scenario

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"minglu/agent/report"
)

// Office is a minglu-provisioning, running or stopped, with pages that need no login.
type Office struct {
	Dir    string // its configuration and state
	Config string // path of office.yaml
	Broker string // address of its MQTT broker
	t      testing.TB
	lab    *Lab
	base   string
	p      *process
	pass   map[string]string // device -> password
}

// Office registers devices and starts an office. It returns when its pages and its broker answer.
func (l *Lab) Office(t testing.TB, devices ...string) *Office {
	t.Helper()
	o := &Office{Dir: t.TempDir(), Broker: freePort(t), t: t, lab: l, pass: map[string]string{}}
	o.Config = filepath.Join(o.Dir, "office.yaml")
	listen := freePort(t)
	o.base = "http://" + listen
	text := fmt.Sprintf("name: 测试管理端\ndemo: true\nstate: office\nweb: {listen: %q, auth: none}\nmqtt: {listen: %q}\n", listen, o.Broker)
	if err := os.WriteFile(o.Config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		out, _ := run(t, l.Serve, "device", "add", d, "--config", o.Config)
		name, password, ok := strings.Cut(strings.TrimSpace(out), " ")
		if !ok || name != d {
			t.Fatalf("device add %s printed %q", d, out)
		}
		o.pass[d] = password
	}
	o.Restart()
	return o
}

// Restart starts the office after Stop or Kill.
func (o *Office) Restart() {
	o.t.Helper()
	o.p = start(o.t, o.lab.Serve, "serve", "--config", o.Config)
	Wait(o.t, 15*time.Second, "the office answers", func() bool {
		if o.p.ended() {
			o.t.Fatalf("the office ended: %s", o.p.out)
		}
		res, err := http.Get(o.base + "/api/v1/counts")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK && strings.Contains(o.p.out.String(), "office is open")
	})
}

// Stop asks the office to end and returns its exit code.
func (o *Office) Stop() int { return o.p.stop(syscall.SIGTERM, 20*time.Second) }

// Kill ends the office at once, its broker with it.
func (o *Office) Kill() { o.p.kill() }

// Reports is the part of agent.yaml with which a device reports here.
func (o *Office) Reports(device string) string {
	u := url.URL{Scheme: "mqtt", Host: o.Broker, User: url.UserPassword(device, o.pass[device])}
	return fmt.Sprintf("mqtt: {url: %q}\n", u.String())
}

// OfficeRoom is the part of GET rooms/ID that tests look at.
type OfficeRoom struct {
	Device, Class, State, Session string
	Recording                     bool
	Failed                        []struct{ Item, Subject string }
	Alarms                        []struct {
		report.Alarm
	}
	Missing, Refused, Events int64
	Compliance               *report.Compliance
	Health                   *report.Health
	Refusals                 []Refusal
}

// Refusal is what the office counts of what it did not take.
type Refusal struct {
	Device, Why, Detail string
	N                   int64
}

// OfficeEvent is one numbered message at the office.
type OfficeEvent struct {
	ID, N          int64
	Device, Outbox string
	T              time.Time
	Type           string
	Body           struct{ Session, Reason, Continues, Code, Ch string }
	MissingBefore  int64 `json:"missing_before"`
}

// get asks the office's API, path below /api/v1.
func (o *Office) get(path string, out any) error {
	res, err := http.Get(o.base + "/api/v1" + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", path, res.Status, b)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("GET %s: %w in %s", path, err, b)
	}
	return nil
}

// Get is get that fails the test.
func (o *Office) Get(path string, out any) {
	o.t.Helper()
	if err := o.get(path, out); err != nil {
		o.t.Fatal(err)
	}
}

// Room asks how a room stands.
func (o *Office) Room(device string) (r OfficeRoom) {
	o.t.Helper()
	o.Get("/rooms/"+device, &r)
	return r
}

// EventsOf gives all numbered messages of a device in the order in which they arrived.
func (o *Office) EventsOf(device string) (all []OfficeEvent) {
	o.t.Helper()
	for before := int64(0); ; {
		var page struct{ Events []OfficeEvent }
		o.Get(fmt.Sprintf("/events?device=%s&limit=1000&before=%d", device, before), &page)
		if len(page.Events) == 0 {
			slices.Reverse(all)
			return all
		}
		all = append(all, page.Events...)
		before = page.Events[len(page.Events)-1].ID
	}
}

// Refusals gives what was refused of all devices and of strangers.
func (o *Office) Refusals() []Refusal {
	o.t.Helper()
	var r struct{ Refused []Refusal }
	o.Get("/refused", &r)
	return r.Refused
}

// Span is a time during which something stood at the office; To is zero while it does.
type Span struct{ From, To time.Time }

// Watch follows how a room stands at the office.
type Watch struct {
	mu    sync.Mutex
	spans map[string][]Span // "item camera.black face", "alarm picture.black face"
	polls int
	err   error // why nothing was seen the last time
}

// Look every so often: fine enough for seconds, and little work.
const watchEvery = 250 * time.Millisecond

// Watch begins to follow a room until the end of the test.
func (o *Office) Watch(device string) *Watch {
	w := &Watch{spans: map[string][]Span{}}
	ctx := o.t.Context() // ends before the cleanup of the test
	done := make(chan struct{})
	o.t.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			var r OfficeRoom
			err := o.get("/rooms/"+device, &r)
			w.take(&r, err, time.Now())
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

func (w *Watch) take(r *OfficeRoom, err error, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err = err; err != nil || r.Compliance == nil {
		return
	}
	w.polls++
	stands := map[string]bool{}
	for _, it := range r.Compliance.Items {
		if it.Verdict == report.Fail {
			stands[strings.TrimSpace("item "+it.Item+" "+it.Subject)] = true
		}
	}
	for _, a := range r.Alarms {
		stands[strings.TrimSpace("alarm "+a.Code+" "+a.Ch)] = true
	}
	for key := range stands {
		if s := w.spans[key]; len(s) == 0 || !s[len(s)-1].To.IsZero() {
			w.spans[key] = append(s, Span{From: now})
		}
	}
	for key, s := range w.spans {
		if last := &s[len(s)-1]; !stands[key] && last.To.IsZero() {
			last.To = now
		}
	}
}

// Spans is a copy of what was seen so far, and why nothing was seen the last time.
func (w *Watch) Spans() (map[string][]Span, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string][]Span{}
	for key, s := range w.spans {
		out[key] = slices.Clone(s)
	}
	return out, w.err
}

// Stands reports whether something stands now.
func (w *Watch) Stands(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.spans[key]
	return len(s) > 0 && s[len(s)-1].To.IsZero()
}
