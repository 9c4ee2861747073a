package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/agent/durable"
	"minglu/agent/room"
	"minglu/drivers"
)

func TestJudgeRTC(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	const ms = time.Millisecond
	for _, tt := range []struct {
		rule    string
		shows   time.Duration // from now
		stopped bool
		err     time.Duration // of the board's clock
		want    judgment
	}{
		{"right, and so is ours", -900 * ms, false, ms, judgment{}},
		{"it shows full seconds", 0, false, ms, judgment{}},
		{"slow by seconds", -3 * time.Second, false, ms, judgment{set: true}},
		{"fast by seconds", 2 * time.Second, false, ms, judgment{set: true}},
		{"slow, and ours not known well enough", -3 * time.Second, false, time.Second, judgment{}},
		{"stopped, and ours known", -26 * 365 * 24 * time.Hour, true, ms, judgment{stopped: true, set: true}},
		{"stopped, and ours not verified", -26 * 365 * 24 * time.Hour, true, -1, judgment{stopped: true}},
		{"1970 without saying so", -56 * 365 * 24 * time.Hour, false, -1, judgment{stopped: true}},
		{"an hour before the floor is drift", -2 * time.Hour, false, ms, judgment{set: true}},
		{"another time than one nobody vouches for", time.Hour, false, -1, judgment{differs: true}},
		{"about the same", time.Minute, false, -1, judgment{}},
	} {
		got := judgeRTC(drivers.RTCTime{T: now.Add(tt.shows), Stopped: tt.stopped, Up: time.Hour}, clock.Reading{T: now.Add(time.Second), Up: time.Hour + time.Second, Error: tt.err}, now.Add(-time.Hour))
		if got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.rule, got, tt.want)
		}
	}
}

// cell is a hardware clock in the hands of a test.
type cell struct {
	mu  sync.Mutex
	now drivers.RTCTime
	err error
	set time.Time
}

func (c *cell) Read(context.Context) (drivers.RTCTime, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now, c.err
}

func (c *cell) Set(_ context.Context, now func() time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set = now()
	c.now = drivers.RTCTime{T: c.set.Truncate(time.Second), Up: c.now.Up}
	return nil
}

func (c *cell) be(now drivers.RTCTime, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.err = now, err
}

// TestRTCBatteryDead: a clock that begins in 1970 is told, in a record whose time nobody vouches for nothing is set; once network
// time is there it is set, and the fault stands until another boot finds it going.
func TestRTCBatteryDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := t.TempDir()
		began := time.Now()
		vouched := make(chan struct{})
		source := func(context.Context) (clock.Estimate, error) {
			select {
			case <-vouched:
				return clock.Estimate{Error: time.Millisecond, Source: clock.SourceChrony}, nil
			default:
				return clock.Estimate{}, clock.ErrUnverified
			}
		}
		ck, err := clock.New(clock.Options{Build: began.Add(-time.Hour), Sources: []clock.Source{source}, Uptime: func() time.Duration { return time.Since(began) },
			OnSet: func(ctx context.Context, _ func()) { <-ctx.Done() }})
		if err != nil {
			t.Fatal(err)
		}
		files := durable.In(filepath.Join(state, "tmp"))
		if err := files.MkdirAll(files.Tmp); err != nil {
			t.Fatal(err)
		}
		c := &cell{now: drivers.RTCTime{T: time.Unix(0, 0).UTC()}}
		run := func(boot string) *agent {
			return faultsOf(t, devices{rtc: c}, func(a *agent, ctx context.Context) error {
				a.cfg, a.boot, a.clock, a.files = &config.Config{State: state}, boot, ck, files
				return a.runRTC(ctx)
			})
		}
		a := run("one")
		if !stands(a, "rtc.battery", "") || !c.set.IsZero() {
			t.Errorf("1970: told %v, set to %v", stands(a, "rtc.battery", ""), c.set)
		}
		close(vouched)
		ck.Poll(t.Context())
		time.Sleep(pollRTC)
		synctest.Wait()
		if c.set.IsZero() || time.Since(c.set) > pollRTC || !stands(a, "rtc.battery", "") {
			t.Errorf("with network time it is set to %v, told %v", c.set, stands(a, "rtc.battery", ""))
		}
		if again := run("one"); !stands(again, "rtc.battery", "") {
			t.Error("a start of the same boot has forgotten it")
		}
		next := run("two")
		if stands(next, "rtc.battery", "") {
			t.Error("it stands in the next boot, which found the clock going")
		}
		c.be(drivers.RTCTime{}, errors.New("nak"))
		time.Sleep(pollRTC)
		if !stands(next, "rtc.failed", "") {
			t.Error("a clock that does not answer is no fault")
		}
		c.be(drivers.RTCTime{}, &drivers.Problem{Code: "no-time"})
		time.Sleep(pollRTC)
		if stands(next, "rtc.failed", "") || !stands(next, "rtc.battery", "") {
			t.Error("a clock without any time is one whose battery is dead")
		}
	})
}

// meter is a battery in the hands of a test.
type meter struct {
	mu  sync.Mutex
	now drivers.Supply
	err error
}

func (m *meter) Read(context.Context) (drivers.Supply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now, m.err
}

func (m *meter) be(s drivers.Supply, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now, m.err = s, err
}

// TestBatteryEndsASession: the mains go, the battery runs down, the session is ended once and the room told why; what is started then is
// left alone; the mains come back.
func TestBatteryEndsASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{now: drivers.Supply{Mains: true, Charge: 1000, Left: -1}}
		a := faultsOf(t, devices{power: m}, func(a *agent, ctx context.Context) error {
			a.cfg = &config.Config{Power: &config.Power{SealAt: config.Duration(3 * time.Minute)}}
			return a.runPower(ctx)
		})
		begin := func() {
			t.Helper()
			if _, err := a.loop.Ask(t.Context(), room.Start{By: room.ByPage}); err != nil {
				t.Fatal(err)
			}
			a.loop.Send(room.Opened{Session: "A"})
			synctest.Wait()
		}
		begin()
		after := func(s drivers.Supply, err error, phase room.Phase, mains, battery, failed bool) {
			t.Helper()
			m.be(s, err)
			time.Sleep(pollPower)
			synctest.Wait()
			if got := a.loop.State().Phase; got != phase {
				t.Errorf("%+v: the room is %s, want %s", s, got, phase)
			}
			for code, want := range map[string]bool{"power.mains": mains, "power.battery": battery, "power.failed": failed} {
				if stands(a, code, "") != want {
					t.Errorf("%+v: %s stands: %v", s, code, !want)
				}
			}
		}
		after(drivers.Supply{Mains: true, Charge: 1000, Left: -1}, nil, room.Recording, false, false, false)
		after(drivers.Supply{Charge: 900, Left: 3 * time.Minute}, nil, room.Recording, true, false, false)
		after(drivers.Supply{}, errors.New("nak"), room.Recording, true, false, true)
		after(drivers.Supply{Charge: 100, Left: 3*time.Minute - 1}, nil, room.Sealing, true, true, false)
		begin()
		after(drivers.Supply{Charge: 50, Left: time.Minute}, nil, room.Recording, true, true, false)
		after(drivers.Supply{Mains: true, Charge: 50, Left: -1}, nil, room.Recording, false, false, false)
		after(drivers.Supply{Charge: 50, Left: time.Minute}, nil, room.Sealing, true, true, false)
	})
}

// horn is a buzzer that may fail.
type horn struct {
	mu     sync.Mutex
	err    error
	sounds []drivers.Beep
}

func (h *horn) Sound(_ context.Context, b drivers.Beep) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sounds = append(h.sounds, b)
	return h.err
}

func TestBuzzerSoundsWhatIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &horn{err: errors.New("no such line")}
		a := faultsOf(t, devices{buzzer: h}, func(a *agent, ctx context.Context) error {
			a.beeps = make(chan drivers.Beep, 8)
			return a.runBuzzer(ctx)
		})
		synctest.Wait()
		a.announce("notice")
		if !stands(a, "buzzer.failed", "") {
			t.Error("a buzzer that does not sound is no fault")
		}
		h.mu.Lock()
		h.err = nil
		h.mu.Unlock()
		a.announce("nobody knows this one")
		a.announce("end")
		if stands(a, "buzzer.failed", "") || len(h.sounds) != 2 || h.sounds[0] != drivers.BeepStart || h.sounds[1] != drivers.BeepEnd {
			t.Errorf("fault %v, sounds %v", stands(a, "buzzer.failed", ""), h.sounds)
		}
	})
}
