package fleet

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"minglu/agent/report"
)

var day = time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)

const box = "00112233445566aa"

// office is a fleet under test with a clock in hand.
type office struct {
	*Fleet
	t    *testing.T
	stop func()

	mu  sync.Mutex
	now time.Time
	got chan string
}

func at(t *testing.T, path string, names ...string) *office {
	t.Helper()
	o := &office{t: t, now: day, got: make(chan string, 10000)}
	f, err := Open(Options{Path: path, Now: o.clock, Names: func() []string { return names }, Send: func(device string, kind report.Kind, b []byte) error {
		a, err := report.ParseAck(b)
		if err != nil || kind != report.KindAck {
			t.Errorf("sent %s %s: %v", kind, b, err)
		}
		o.got <- fmt.Sprintf("%s %s %d", device, a.Outbox, a.UpTo)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	o.Fleet = f
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	o.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(o.stop)
	return o
}

func fresh1(t *testing.T, names ...string) *office {
	return at(t, filepath.Join(t.TempDir(), "fleet.db"), names...)
}

func (o *office) clock() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

func (o *office) later(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = o.now.Add(d)
}

func (o *office) say(device string, m report.Message) {
	o.t.Helper()
	b, err := report.Marshal(m)
	if err != nil {
		o.t.Fatal(err)
	}
	kind := report.KindState
	switch m := m.(type) {
	case report.Health:
		kind = report.KindHealth
	case report.Compliance:
		kind = report.KindCompliance
	case report.Numbered:
		kind = report.KindSession
		if m.Type[0] == 'a' {
			kind = report.KindAlarm
		}
	}
	o.Receive(device, kind, b, false)
}

func (o *office) acked(want string) {
	o.t.Helper()
	select {
	case got := <-o.got:
		if got != want {
			o.t.Errorf("acknowledged %q, want %q", got, want)
		}
	case <-time.After(5 * time.Second):
		o.t.Errorf("nothing acknowledged, want %q", want)
	}
}

// until waits for what the writer does in its own time.
func (o *office) until(what string, holds func() bool) {
	o.t.Helper()
	for end := time.Now().Add(5 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) { // a database writes meanwhile
		if time.Now().After(end) {
			o.t.Fatalf("not within 5 s: %s", what)
		}
	}
}

func body(t *testing.T, v report.NumberedBody) json.RawMessage {
	t.Helper()
	b, err := report.MarshalBody(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (o *office) opened(device string, n int64) report.Numbered {
	return report.Numbered{Device: device, Outbox: box, N: n, T: day, Type: report.SessionOpened, Body: body(o.t, report.SessionEvent{Session: "20261123T140000Z-00000001"})}
}

func (o *office) alarm(device string, n int64, typ, code, ch string) report.Numbered {
	return report.Numbered{Device: device, Outbox: box, N: n, T: day, Type: typ, Body: body(o.t, report.AlarmOf(code, ch, day))}
}

func state(device, run string, bd int64, does string) report.State {
	return report.State{Device: device, Online: true, Run: run, BdSeq: bd, Boot: "b", T: day, Room: "询问室" + device, State: does, Since: day, Version: "1",
		Body: &report.Body{Name: "某县局"}}
}

func item(id, verdict, severity, basis string) report.Item {
	it := report.Item{Item: id, Subject: "face", Verdict: verdict, Value: 20.0, Limit: "≥ 25", Unit: "frame/s", Clause: "GB 50395-2007 5.0.10", Basis: basis,
		Since: day, Severity: severity, Zh: "帧率", En: "Frame rate"}
	if verdict != report.Pass {
		it.Why = &report.Text{Zh: "低于限值", En: "below the limit"}
	}
	if verdict == report.Unknown {
		it.Value = nil
	}
	return it
}

func list(device string, items ...report.Item) report.Compliance {
	return report.Compliance{Device: device, T: day, Profile: report.Profile{ID: "minglu-default", Version: "2026.11", Zh: "默认", En: "default"}, Items: items}
}

const run1, run2 = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"

func TestClassOfARoom(t *testing.T) {
	o := fresh1(t, "a")
	is := func(rule string, want Class, recording bool) {
		t.Helper()
		o.until(rule, func() bool {
			rooms, _, _ := o.Rooms(Filter{}, 0)
			return len(rooms) == 1 && rooms[0].Class == want && rooms[0].Recording == recording
		})
	}
	is("a registered room that never spoke is silent", Silent, false)
	o.say("a", state("a", run1, 1, "recording"))
	is("without a list nothing is proven", Partial, true)
	o.say("a", list("a"))
	is("an empty list proves nothing either", Partial, true)
	o.say("a", list("a", item("camera.fps", report.Pass, "must", "national"), item("x", report.NotApplicable, "must", "law")))
	is("all that apply pass", Passing, true)
	o.say("a", list("a", item("camera.fps", report.Pass, "must", "national"), item("rec.wear", report.Unknown, "must", "default")))
	is("one unknown is no pass", Partial, true)
	o.say("a", list("a", item("camera.fps", report.Fail, "must", "national"), item("rec.wear", report.Unknown, "must", "default")))
	is("one fail fails", Failing, true)
	o.say("a", list("a", item("camera.blur", report.Fail, "should", "default")))
	is("a recommendation that fails is advice", Passing, true)
	o.say("a", state("a", run1, 1, "idle"))
	is("idle is not recording", Passing, false)
	o.later(SilentAfter)
	is("90 s without a word are silence, whatever it said last", Silent, false)
	o.say("a", report.Health{Device: "a", T: day, Measurements: []report.Measurement{}})
	is("any message ends it", Passing, false)

	o.Receive("a", report.KindState, []byte(`{"v":1,"device":"a","online":false,"bdseq":1,"run":"`+run2+`"}`), true)
	o.Receive("a", report.KindState, []byte(`{"v":1,"device":"a","online":false,"bdseq":0,"run":"`+run1+`"}`), true)
	o.say("a", list("a", item("camera.fps", report.Fail, "must", "default")))
	is("a Will of another run or connection is void", Failing, false)
	o.Receive("a", report.KindState, []byte(`{"v":1,"device":"a","online":false,"bdseq":1,"run":"`+run1+`"}`), true)
	is("its own Will silences it", Silent, false)
	r, err := o.Room(t.Context(), "a")
	if err != nil || len(r.Failed) != 1 || r.Failed[0].Rule || r.Compliance == nil {
		t.Errorf("what it last said is kept: %+v, %v", r, err)
	}
}

func TestAcknowledgements(t *testing.T) {
	o := fresh1(t, "a")
	o.say("a", o.opened("a", 1))
	o.acked("a " + box + " 1")
	o.say("a", o.opened("a", 1))
	o.acked("a " + box + " 1") // a duplicate is acknowledged again
	o.say("a", o.opened("a", 4))
	o.acked("a " + box + " 1") // 2 and 3 are missing
	o.say("a", o.opened("a", 3))
	o.acked("a " + box + " 1")
	o.say("a", o.opened("a", 2))
	o.acked("a " + box + " 4")
	ev, err := o.Events(t.Context(), EventFilter{Device: "a"})
	if err != nil || len(ev) != 4 {
		t.Errorf("stored %d events, %v; want each once", len(ev), err)
	}
	if c := o.Counts(); c.Missing != 0 || c.Events != 4 {
		t.Errorf("counts %+v", c)
	}
	o.say("a", o.opened("a", 4+MaxAhead+1))
	o.until("an impossible number is refused", func() bool { return o.Counts().Refused == 1 })
}

func TestHolesAreWaitedForAndThenOnRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.db")
	o := at(t, path, "a")
	o.say("a", o.alarm("a", 3, report.AlarmRaised, "disk.gone", "B"))
	o.acked("a " + box + " 0")
	if n := o.Counts().Alarms; n != 0 {
		t.Errorf("%d alarms: an event takes effect after those before it", n)
	}
	o.later(HoleWait)
	o.acked("a " + box + " 3")
	o.until("the alarm", func() bool { return o.Counts().Alarms == 1 })
	o.stop()

	o = at(t, path, "a")
	if c := o.Counts(); c.Missing != 2 || c.Alarms != 1 || c.Events != 1 {
		t.Errorf("after a restart %+v", c)
	}
	ev, err := o.Events(t.Context(), EventFilter{Type: "alarm."})
	if err != nil || len(ev) != 1 || ev[0].MissingBefore != 2 {
		t.Errorf("events %+v, %v", ev, err)
	}
	r, err := o.Room(t.Context(), "a")
	if err != nil || len(r.Holes) != 1 || !r.Holes[0].Lost || r.Holes[0].From != 1 || r.Holes[0].To != 2 {
		t.Errorf("holes %+v, %v", r.Holes, err)
	}
	o.say("a", o.opened("a", 2)) // too late is better than never
	o.acked("a " + box + " 3")
	o.until("the hole shrinks", func() bool { return o.Counts().Missing == 1 })
}

func TestAlarmsOpenAndClearInOrder(t *testing.T) {
	o := fresh1(t, "a")
	o.say("a", state("a", run1, 1, "idle"))
	o.say("a", o.alarm("a", 2, report.AlarmCleared, "disk.gone", "B"))
	o.say("a", o.alarm("a", 1, report.AlarmRaised, "disk.gone", "B"))
	o.say("a", o.alarm("a", 3, report.AlarmRaised, "disk.gone", "A"))
	o.say("a", o.alarm("a", 4, report.AlarmRaised, "camera.gone", "face"))
	o.say("a", o.alarm("a", 5, report.AlarmRaised, "camera.gone", "face"))
	o.until("two open", func() bool { return len(o.Alarms(0)) == 2 })
	s := state("a", run2, 1, "idle")
	s.T = day.Add(time.Minute)
	s.Faults = []report.ActiveFault{{Code: "camera.gone", Ch: "face", Since: day}}
	o.say("a", s)
	o.until("a new run of the agent ends what no longer holds", func() bool {
		a := o.Alarms(0)
		return len(a) == 1 && a[0].Code == "camera.gone" && a[0].Room == "询问室a"
	})
	o.say("a", o.alarm("a", 6, report.AlarmRaised, "lamp.failed", ""))
	o.until("stored", func() bool { return o.Counts().Events == 6 })
	if a := o.Alarms(0); len(a) != 1 {
		t.Errorf("an alarm of the run before that comes late is history: %+v", a)
	}
}

func TestRestartBetweenCommitAndAcknowledgement(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.db")
	o := at(t, path, "a")
	o.say("a", state("a", run1, 3, "recording"))
	for n := int64(1); n <= 10; n++ {
		o.say("a", o.opened("a", n))
	}
	o.until("stored", func() bool { return o.Counts().Events == 10 })
	o.stop()
	o = at(t, path, "a") // the device has not heard the acknowledgement
	rooms, _, _ := o.Rooms(Filter{}, 0)
	if len(rooms) != 1 || rooms[0].Class != Silent || rooms[0].Room != "询问室a" || rooms[0].Recording {
		t.Errorf("after a restart a room is silent until it speaks: %+v", rooms)
	}
	for n := int64(1); n <= 12; n++ {
		o.say("a", o.opened("a", n))
	}
	o.until("the rest", func() bool { return o.Counts().Events == 12 })
	for last := ""; last != "a "+box+" 12"; {
		select {
		case last = <-o.got:
		case <-time.After(5 * time.Second):
			t.Fatalf("acknowledged up to %q", last)
		}
	}
}

// A database that cannot be written: nothing is acknowledged, the pages say so, and all is made good.
func TestTheDatabaseIsTakenAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.db")
	o := at(t, path, "a")
	o.say("a", o.opened("a", 1))
	o.acked("a " + box + " 1")
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.Begin()
	if err == nil {
		_, err = tx.Exec("UPDATE room SET heard = 0") // holds the write lock
	}
	if err != nil {
		t.Fatal(err)
	}
	o.say("a", o.opened("a", 2))
	for end := time.Now().Add(20 * time.Second); o.Trouble() == ""; time.Sleep(20 * time.Millisecond) { // SQLite waits 5 s for the lock
		if time.Now().After(end) {
			t.Fatal("no trouble is told")
		}
	}
	select {
	case got := <-o.got:
		t.Errorf("acknowledged %s", got)
	default:
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-o.got:
		if got != "a "+box+" 2" {
			t.Errorf("acknowledged %s", got)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("not made good")
	}
	o.until("no trouble", func() bool { return o.Trouble() == "" })
}

func TestWhatIsRefusedIsCountedAndNotStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.db")
	o := at(t, path, "a")
	foreign, err := report.Marshal(list("b", item("camera.fps", report.Pass, "must", "law")))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		rule string
		kind report.Kind
		b    []byte
		why  string
	}{
		{"no JSON", report.KindState, []byte("hello"), WhyMalformed},
		{"nothing", report.KindState, nil, WhyMalformed},
		{"half a message", report.KindCompliance, []byte(`{"v":1,"device":"a"`), WhyMalformed},
		{"a body that is no alarm", report.KindAlarm, []byte(`{"v":1,"device":"a","outbox":"` + box + `","n":1,"t":"2026-11-23T14:00:00Z","type":"alarm.raised","body":{}}`), WhyMalformed},
		{"a number below one", report.KindSession, []byte(`{"v":1,"device":"a","outbox":"` + box + `","n":0,"t":"2026-11-23T14:00:00Z","type":"later.type","body":{}}`), WhyMalformed},
		{"a later version", report.KindHealth, []byte(`{"v":2}`), WhyNewer},
		{"another device's list", report.KindCompliance, foreign, WhyForeign},
		{"more than a message may have", report.KindHealth, make([]byte, report.MaxSize+1), WhyOversized},
		{"a kind that is no report", "command", []byte(`{"v":1}`), WhyMalformed},
	} {
		before := o.Counts().Refused
		o.Receive("a", tt.kind, tt.b, false)
		found := false
		for _, r := range o.Refused() {
			found = found || r.Device == "a" && r.Why == tt.why && r.Detail != ""
		}
		if o.Counts().Refused != before+1 || !found {
			t.Errorf("%s: not counted as %s: %+v", tt.rule, tt.why, o.Refused())
		}
	}
	o.Refuse("nobody", "login", "nobody")
	r, err := o.Room(t.Context(), "a")
	if err != nil || r.Compliance != nil || r.Events != 0 || r.Class != Silent || r.Room.Refused != 9 || len(r.Refusals) != 4 {
		t.Errorf("room %+v, %v", r, err)
	}
	o.until("written", func() bool {
		o.Fleet.mu.RLock()
		defer o.Fleet.mu.RUnlock()
		return len(o.dirty) == 0
	})
	o.stop()
	o = at(t, path, "a")
	if c := o.Counts(); c.Refused != 10 || c.Rooms != 1 {
		t.Errorf("after a restart %+v", c)
	}
}

func TestEventsAreKeptAsLongAsConfigured(t *testing.T) {
	o := &office{t: t, now: day, got: make(chan string, 10000)}
	f, err := Open(Options{Path: filepath.Join(t.TempDir(), "f.db"), Now: o.clock, PerRoom: 20, Keep: time.Hour, Names: func() []string { return []string{"a"} },
		Send: func(string, report.Kind, []byte) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o.Fleet = f
	var ops []op
	for n := int64(1); n <= 50; n++ {
		b, err := report.Marshal(o.opened("a", n))
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := parse("a", report.KindSession, b)
		if err != nil {
			t.Fatal(err)
		}
		p.device, p.kind, p.raw, p.at = "a", report.KindSession, b, o.clock()
		ops = append(ops, p)
	}
	if err := f.commit(t.Context(), ops, false); err != nil {
		t.Fatal(err)
	}
	if _, err := f.age(t.Context(), o.clock()); err != nil {
		t.Fatal(err)
	}
	ev, err := f.Events(t.Context(), EventFilter{})
	if err != nil || len(ev) != 20 || ev[19].N != 31 || f.Counts().Events != 20 {
		t.Errorf("a room keeps its newest 20: %d from %d, %v", len(ev), ev[len(ev)-1].N, err)
	}
	o.later(2 * time.Hour)
	if _, err := f.age(t.Context(), o.clock()); err != nil {
		t.Fatal(err)
	}
	if ev, err := f.Events(t.Context(), EventFilter{}); err != nil || len(ev) != 0 {
		t.Errorf("older ones go: %d left, %v", len(ev), err)
	}
	if err := f.commit(t.Context(), ops[49:], false); err != nil {
		t.Fatal(err)
	}
	if c := f.Counts(); c.Events != 1 { // its outbox was forgotten with it: the office cannot know better
		t.Errorf("after forgetting %+v", c)
	}
}

func TestChangesAndFilters(t *testing.T) {
	o := fresh1(t, "a", "b", "c")
	_, fit, change := o.Rooms(Filter{}, 0)
	if fit != 3 {
		t.Fatalf("%d rooms", fit)
	}
	o.say("b", state("b", run1, 1, "recording"))
	o.say("b", list("b", item("camera.fps", report.Fail, "must", "national")))
	o.until("only b has changed", func() bool {
		rooms, all, _ := o.Changed(change)
		return all && len(rooms) == 1 && rooms[0].Device == "b" && rooms[0].Class == Failing
	})
	for _, tt := range []struct {
		rule string
		q    Filter
		want int
	}{
		{"all", Filter{}, 3}, {"by class", Filter{Class: Failing}, 1}, {"silent ones", Filter{Class: Silent}, 2}, {"recording", Filter{Recording: true}, 1},
		{"by body", Filter{Text: "某县"}, 1}, {"by room", Filter{Text: "询问室B"}, 1}, {"by item", Filter{Item: "camera.fps"}, 1}, {"by another item", Filter{Item: "mic.snr"}, 0},
	} {
		if rooms, n, _ := o.Rooms(tt.q, 0); n != tt.want || len(rooms) != tt.want {
			t.Errorf("%s: %d rooms, want %d", tt.rule, n, tt.want)
		}
	}
	if rooms, n, _ := o.Rooms(Filter{}, 1); n != 3 || len(rooms) != 1 || rooms[0].Device != "b" {
		t.Errorf("the worst comes first: %+v", rooms)
	}
	if _, err := o.Room(t.Context(), "z"); err == nil {
		t.Error("a room that is not there")
	}
}

// FuzzReceive: whatever a device sends, the office stands, and a later good message is stored.
func FuzzReceive(f *testing.F) {
	for _, s := range []string{"", "{}", `{"v":1}`, `{"v":1,"device":"a","outbox":"` + box + `","n":1,"t":"2026-11-23T14:00:00Z","type":"session.opened","body":{"session":"x"}}`,
		`{"v":1,"device":"a","online":true,"bdseq":1,"run":"` + run1 + `"}`, `{"v":1,"device":"a","t":"2026-11-23T14:00:00Z","profile":{"id":"p","version":"1"},"items":[]}`} {
		for k := range report.Kinds() {
			f.Add(k, []byte(s))
		}
	}
	fl, err := Open(Options{Path: filepath.Join(f.TempDir(), "f.db"), Now: time.Now, Names: func() []string { return []string{"a"} },
		Send: func(string, report.Kind, []byte) error { return nil }})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { fl.Close() })
	f.Fuzz(func(t *testing.T, k int, b []byte) {
		kind := report.Kinds()[uint(k)%uint(len(report.Kinds()))]
		p, why, err := parse("a", kind, b)
		if (err == nil) != (why == "") {
			t.Fatalf("parse: why %q, err %v", why, err)
		}
		if err != nil {
			fl.Refuse("a", why, err.Error())
			return
		}
		if kind == report.KindHealth || kind == report.KindCommand {
			return // kept in memory as it is
		}
		p.device, p.kind, p.raw, p.at = "a", kind, b, time.Now()
		if err := fl.commit(context.Background(), []op{p}, true); err != nil {
			t.Fatal(err)
		}
		if _, err := fl.Room(context.Background(), "a"); err != nil {
			t.Fatal(err)
		}
	})
}
