package guard

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestStep(t *testing.T) {
	const m = time.Minute
	rec := Facts{Up: m, Loop: m, Wanted: true, Session: "s", Durable: 7, Arrived: m, Disks: 2}
	with := func(f Facts, change func(*Facts)) Facts { change(&f); return f }
	at := func(up time.Duration) State { return State{"s", 7, up} }
	for _, tt := range []struct {
		rule string
		s    State
		f    Facts
		now  time.Duration
		want State
		feed bool
	}{
		{"a start is a sign of life", State{}, Facts{Up: m, Loop: m}, m, State{Moved: m}, true},
		{"an idle room is fed while its loop decides", State{Moved: 1}, Facts{Up: m, Loop: m}, m, State{Moved: m}, true},
		{"also after a day", State{Moved: 1}, Facts{Up: 24 * time.Hour, Loop: 24 * time.Hour}, 24 * time.Hour, State{Moved: 24 * time.Hour}, true},
		{"a loop may be late by its limit", at(m), with(rec, func(f *Facts) { f.Loop = m - 15*time.Second }), m, at(m), true},
		{"a loop that stands is not fed, idle", State{Moved: m}, Facts{Up: m, Loop: m - 15*time.Second - 1}, m, State{Moved: m}, false},
		{"nor while recording", at(m), with(rec, func(f *Facts) { f.Loop = m - 15*time.Second - 1 }), m, at(m), false},
		{"facts that do not come", at(m), with(rec, func(f *Facts) { f.Up = m - 15*time.Second - 1 }), m, at(m), false},
		{"recording that advances", State{"s", 6, m - 14*time.Second}, rec, m, at(m), true},
		{"another session is an advance", State{"r", 900, m - 14*time.Second}, rec, m, at(m), true},
		{"it may stand for its limit", at(m - 15*time.Second), rec, m, at(m - 15*time.Second), true},
		{"recording that stands is not fed", at(m - 15*time.Second - 1), rec, m, at(m - 15*time.Second - 1), false},
		{"nor when both disks hang", at(m - 15*time.Second - 1), with(rec, func(f *Facts) { f.Hung = 2 }), m, at(m - 15*time.Second - 1), false},
		{"nor when one hangs and one is gone", at(m - 15*time.Second - 1), with(rec, func(f *Facts) { f.Hung, f.Lost = 1, 1 }), m, at(m - 15*time.Second - 1), false},
		{"nor when nothing can be opened because the disks hang", State{"", 0, m - 15*time.Second - 1}, with(rec, func(f *Facts) { f.Session, f.Durable, f.Hung = "", 0, 2 }), m, State{"", 0, m - 15*time.Second - 1}, false},
		{"both disks gone or full: a reset mends nothing", at(m - 15*time.Second - 1), with(rec, func(f *Facts) { f.Lost = 2 }), m, at(m), true},
		{"one gone, the other stands", at(m - 15*time.Second - 1), with(rec, func(f *Facts) { f.Lost = 1 }), m, at(m - 15*time.Second - 1), false},
		{"no camera delivers: a reset mends no cable", at(m - 15*time.Second - 1), with(rec, func(f *Facts) { f.Arrived = m - 5*time.Second - 1 }), m, at(m), true},
		{"one that was just lost does not hide a stall", at(m - 15*time.Second - 1), with(rec, func(f *Facts) { f.Arrived = m - 5*time.Second }), m, at(m - 15*time.Second - 1), false},
		{"a pause is not a stall", at(m - 15*time.Second - 1), with(rec, func(f *Facts) { f.Wanted = false }), m, at(m), true},
	} {
		got, v := Step(tt.s, tt.f, tt.now)
		if got != tt.want || v.Feed != tt.feed {
			t.Errorf("%s: Step() = %+v, %+v; want %+v, %v", tt.rule, got, v, tt.want, tt.feed)
		}
		if v.Why.Zh == "" || v.Why.En == "" {
			t.Errorf("%s: no words", tt.rule)
		}
	}
}

// dog notes what happens to it.
type dog struct {
	mu     sync.Mutex
	start  time.Time
	did    []string
	refuse error
}

func (d *dog) note(s string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.did = append(d.did, s)
	return d.refuse
}
func (d *dog) Feed() error  { return d.note("feed " + time.Since(d.start).String()) }
func (d *dog) Close() error { d.refuse = nil; return d.note("close") }

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boot := time.Now().Add(-time.Hour)
		up := func() time.Duration { return time.Since(boot) }
		d := &dog{start: time.Now()}
		stands := false
		var mu sync.Mutex
		g, err := New(Options{Uptime: up, Open: func() (Watchdog, error) { return d, d.note("open") },
			Facts: func() Facts {
				mu.Lock()
				defer mu.Unlock()
				f := Facts{Up: up(), Loop: up(), Wanted: true, Session: "s", Durable: int64(up()), Arrived: up(), Disks: 1}
				if stands {
					f.Durable = 1
				}
				return f
			}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		time.Sleep(11 * time.Second)
		mu.Lock()
		stands = true
		mu.Unlock()
		time.Sleep(time.Minute)
		if v := g.Verdict(); v.Feed || !strings.Contains(v.Why.En, "stands still") {
			t.Errorf("verdict %+v", v)
		}
		cause := errors.New("asked to stop")
		stop(cause)
		if err := <-done; err != cause {
			t.Errorf("Run() = %v", err)
		}
		want := []string{"open"}
		for s := 4 * time.Second; s <= 24*time.Second; s += 2 * time.Second { // it stands from 12 s on, and may for 15 s
			want = append(want, "feed "+s.String())
		}
		if n := len(d.did); !slices.Equal(d.did[:min(n, len(want))], want) || d.did[n-1] != "close" || n > len(want)+2 {
			t.Errorf("did %q, want %q, at most one more, close", d.did, want)
		}
	})
}

// TestFactsHang: a part of the agent that hangs for ever is noticed, and does not hang the guard.
func TestFactsHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dog{start: time.Now()}
		hang := make(chan struct{})
		boot := time.Now().Add(-time.Hour)
		g, err := New(Options{Uptime: func() time.Duration { return time.Since(boot) }, Open: func() (Watchdog, error) { return d, nil }, Facts: func() Facts { <-hang; return Facts{} }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if err := g.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run() = %v", err)
		}
		if n := len(d.did); n == 0 || n > 8 || d.did[n-1] != "close" || g.Verdict().Feed {
			t.Errorf("did %q", d.did)
		}
		close(hang)
	})
}

// TestNoWatchdog: one that cannot be opened is told once, looked for again, and told when it is back.
func TestNoWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boot := time.Now().Add(-time.Hour)
		up := func() time.Duration { return time.Since(boot) }
		d := &dog{start: time.Now(), refuse: errors.New("busy")}
		var told []bool
		var tries int
		g, err := New(Options{Uptime: up, Facts: func() Facts { return Facts{Up: up(), Loop: up()} },
			Open:  func() (Watchdog, error) { tries++; return d, d.refuse },
			Fault: func(failed bool, err error) { told = append(told, failed) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		time.Sleep(61 * time.Second)
		if tries != 2 || len(told) != 2 || !told[0] {
			t.Errorf("after a minute: %d tries, told %v", tries, told)
		}
		d.mu.Lock()
		d.refuse = nil
		d.mu.Unlock()
		time.Sleep(time.Minute)
		if told[len(told)-1] {
			t.Errorf("it is open again; told %v", told)
		}
		d.mu.Lock()
		d.refuse = errors.New("input/output error")
		d.mu.Unlock()
		time.Sleep(10 * time.Second)
		if !told[len(told)-1] {
			t.Errorf("it cannot be fed; told %v", told)
		}
		cancel()
		<-done
	})
}

func TestSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	env := map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "42"}
	s := FromEnvironment(func(k string) string { return env[k] }, 42)
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}
	s.alive()
	s.status(text("录制中", "recording"))
	s.status(text("录制中", "recording")) // nothing new
	s.status(text("空闲", "idle"))
	if err := s.Stopping(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 5 {
		b := make([]byte, 256)
		if err := l.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(b)
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got = append(got, string(b[:n]))
	}
	if want := []string{"READY=1", "WATCHDOG=1", "STATUS=录制中 · recording", "STATUS=空闲 · idle", "STOPPING=1"}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	for rule, c := range map[string]struct {
		env  map[string]string
		none bool
	}{
		"not started by systemd":         {map[string]string{}, true},
		"a socket that is none":          {map[string]string{"NOTIFY_SOCKET": "vsock:2:1"}, true},
		"WatchdogSec of another process": {map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "41"}, false},
		"no WatchdogSec":                 {map[string]string{"NOTIFY_SOCKET": "@abstract"}, false},
	} {
		s := FromEnvironment(func(k string) string { return c.env[k] }, 42)
		if (s == nil) != c.none || s != nil && s.watches {
			t.Errorf("%s: %+v", rule, s)
		}
		s.alive() // sends nothing, on nil too
	}
	var none *Systemd
	if err := errors.Join(none.Ready(), none.Stopping()); err != nil {
		t.Error(err)
	}
}
