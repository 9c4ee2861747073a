package scenario

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"minglu/agent/evidence"
)

const (
	defaultKills = 20
	lostAtMost   = time.Second // per channel, with the cycle of 500 ms
	killRooms    = 2           // work through the kills side by side
	manyKills    = 100         // from here on
	manyRooms    = 4           // do
	killPostroll = time.Second

	// On a machine whose processors are never idle a frame may be on its way for longer, and how long says
	// nothing about the recorder; only that much.
	busyWithin   = 3 * time.Second // before the kill
	busyAtMost   = 5 * time.Second
	busySessions = 3 // of many kills at most one of so many may be excused by it
)

// What the room does when it is killed.
const (
	killRecording = "recording"
	killPaused    = "paused"
	killEnding    = "ending" // somewhere between the stop and the end of the seal
	killTwice     = "twice"  // recording, and again while it starts and repairs
)

// TestKill kills the agent at random moments, as a crash does, and holds what is left against what the
// cameras sent: what was signed is intact, at most a second is missing at the end of each channel, the
// next start seals with the true cause, and records on.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := defaultKills
	if s := os.Getenv("MINGLU_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil || kills < 1 {
			t.Fatalf("MINGLU_KILLS=%q: want a number from 1 on", s)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("MINGLU_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("MINGLU_SEED=%q: %v", s, err)
		}
	}
	t.Logf("%d kills, MINGLU_SEED=%d", kills, seed)
	r := lab.Relay(t)
	cameras := []camera{{"face", "cam1", "h264", "aac", 25}, {"room", "cam2", "h265", "", 25}}
	for i, c := range cameras {
		r.Publish(c.path, Stream{Codec: c.codec, Size: "320x240", Rate: c.rate, GOP: 25, Sound: c.sound, Phase: i, Length: 4 * time.Hour})
	}
	var all lossTable
	began, idle, rooms := time.Now(), WatchIdle(t), killRooms
	if kills >= manyKills {
		rooms = manyRooms
	}
	t.Run("rooms", func(t *testing.T) {
		for n := range min(rooms, kills) {
			count := kills / rooms
			if n < kills%rooms {
				count++
			}
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				k := &killing{t: t, relay: r, cameras: cameras, rand: rand.New(rand.NewPCG(seed, uint64(n))), all: &all, idle: idle}
				k.run(count, n)
			})
		}
	})
	all.report(t, kills, time.Since(began))
}

// lossTable gathers what the rooms found.
type lossTable struct {
	mu        sync.Mutex
	lost      []time.Duration // per kill and track: what is missing at the end
	excused   int             // kills of a machine without idle time that lost more
	recovered int             // spans found behind the last signature
	kinds     map[string]int
}

func (l *lossTable) add(kind string, lost []time.Duration, excused bool, recovered int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kinds == nil {
		l.kinds = map[string]int{}
	}
	l.kinds[kind]++
	l.lost = append(l.lost, lost...)
	if excused {
		l.excused++
	}
	l.recovered += recovered
}

func (l *lossTable) report(t *testing.T, kills int, took time.Duration) {
	if len(l.lost) == 0 {
		t.Error("no loss was measured")
		return
	}
	if kills >= manyKills && l.excused > kills/busySessions {
		t.Errorf("at %d of %d kills this machine had no idle time: too many to judge the loss by", l.excused, kills)
	}
	slices.Sort(l.lost)
	figure(t, "kill -9 %d times (%v) in %v: lost per track %v median, %v worst of %d (%d kills excused: no idle time); %d spans recovered behind the last signature",
		kills, l.kinds, took.Round(time.Second), l.lost[len(l.lost)/2].Round(time.Millisecond), l.lost[len(l.lost)-1].Round(time.Millisecond), len(l.lost), l.excused, l.recovered)
}

// killing is one room whose agent is killed again and again.
type killing struct {
	t       *testing.T
	relay   *Relay
	cameras []camera
	rand    *rand.Rand
	all     *lossTable
	idle    *Idle
	agent   *Agent
	disks   []*Disk
	trust   string
}

func (k *killing) run(count, room int) {
	t := k.t
	k.disks = Disks(t, 2, 500+2*count) // a session has less than a megabyte
	r := Room{Channels: map[string]string{}, Preroll: "3s", Postroll: killPostroll.String()}
	for _, d := range k.disks {
		r.Disks = append(r.Disks, d.Dir)
	}
	for _, c := range k.cameras {
		r.Channels[c.id] = k.relay.URL(c.path)
	}
	k.agent = lab.Start(t, r)
	k.trust = k.agent.Trust()
	k.agent.WaitLive(20 * time.Second)
	id := k.agent.Begin()
	for n := range count {
		kind := killRecording
		switch {
		case room == 0 && n%20 == 1:
			kind = killPaused
		case n%5 == 3:
			kind = killEnding
		case n%5 == 4:
			kind = killTwice
		}
		what := fmt.Sprintf("kill %d (%s)", n, kind)
		id = k.once(what, kind, id)
		if t.Failed() {
			t.Fatalf("%s: see above", what)
		}
	}
	k.agent.End(id)
	for i, d := range k.disks {
		if r := lab.VerifyJSON(t, "--require", "0", "--trust", k.trust, d.Dir); r.Exit != evidence.ExitSound || len(r.Ledgers) == 0 {
			t.Errorf("verify of disk %d exits %d\n%s", i, r.Exit, Text(r))
		}
	}
	if code := k.agent.Stop(); code != 0 {
		t.Errorf("the agent exits %d after SIGTERM", code)
	}
}

// once kills the agent during session id, starts it again, checks what became of the session, and
// returns the id of the one that runs now.
func (k *killing) once(what, kind, id string) (next string) {
	t, a := k.t, k.agent
	k.waitSigned(id)
	span := 2500 * time.Millisecond
	switch kind {
	case killPaused:
		pause(k.random(time.Second))
		a.Call("POST", "/session/pause", map[string]string{"reason": "休庭"}, nil, http.StatusOK)
		span = 500 * time.Millisecond
	case killEnding:
		a.Call("POST", "/session/stop", map[string]string{"reason": "test"}, nil, http.StatusAccepted)
		span = killPostroll + 800*time.Millisecond
	}
	asked := time.Now()
	pause(k.random(span))
	killed := time.Now()
	a.Kill()

	var before [][]byte
	for i := range k.disks {
		b, err := os.ReadFile(filepath.Join(a.Session(i, id), "log.jsonl"))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		before = append(before, Signed(b))
		if _, err := CheckFragments(a.Session(i, id), Lines(t, before[i])); err != nil {
			t.Errorf("%s: right after it, disk %d: %v", what, i, err)
		}
	}
	if kind == killTwice {
		p := start(t, lab.Agent, "run", "--config", a.Config)
		pause(k.random(800 * time.Millisecond))
		p.kill()
	}
	a.Restart()
	k.waitSealed(id)

	r := lab.VerifyJSON(t, "--require", "0", "--trust", k.trust, a.Session(0, id), a.Session(1, id))
	if len(r.Sessions) != 1 {
		t.Fatalf("%s: verify\n%s", what, Text(r))
	}
	s := r.Sessions[0]
	recovered, gaps := 0, 0
	for _, sp := range s.Spans {
		switch sp.Finding {
		case evidence.FindingRecovered:
			recovered++
		case evidence.FindingGap:
			if sp.Cause == "agent stopped unexpectedly" {
				gaps++
			} else if busy := k.idle.Share(killed.Add(-busyWithin), killed) < BusyIdle; busy && sp.Cause == "connection lost" {
				continue // a machine without idle time loses its cameras
			} else if !slices.Contains([]string{"started late", "waiting for a keyframe", "never delivered", "no data", "no frames"}, sp.Cause) {
				// A continuation begins before its cameras are there, and a busy ffmpeg stalls: compare knows what was sent.
				t.Errorf("%s: gap %+v", what, sp)
			}
		}
	}
	signed := func(kind string) bool { // one disk may be ahead of the other
		return slices.ContainsFunc(before, func(signed []byte) bool {
			return slices.ContainsFunc(Lines(t, signed), func(l Line) bool { return l.Type == kind })
		})
	}
	closed := signed("close")
	paused := kind == killPaused && signed("pause") // killed before that, no disk knew of the pause
	switch {
	case closed && r.Exit != evidence.ExitGood && r.Exit != evidence.ExitSound:
		t.Errorf("%s: verify exits %d\n%s", what, r.Exit, Text(r))
	case !closed && (r.Exit != evidence.ExitSound || recovered+gaps == 0 && kind != killPaused || s.Reason != "agent stopped unexpectedly"):
		t.Errorf("%s: verify exits %d, reason %q, %d recovered, %d gaps\n%s", what, r.Exit, s.Reason, recovered, gaps, Text(r))
	}
	k.intact(what, id, before)
	until := killed
	if kind == killPaused || kind == killEnding { // nothing is captured after the pause; after the stop only the post-roll
		until = asked
	}
	lost := k.compare(what, id, until, killed)
	worst, idle := slices.Max(append(lost, 0)), k.idle.Share(killed.Add(-busyWithin), killed)
	excused := worst > lostAtMost && idle < BusyIdle && worst <= busyAtMost
	if worst > lostAtMost && !excused {
		t.Errorf("%s: the last %v are missing, want at most %v (the processors were idle for %.0f %% of the time)", what, worst, lostAtMost, 100*idle)
	}
	k.all.add(kind, lost, excused, recovered)
	t.Logf("%s %v after the trigger: exit %d, %d recovered, %d gaps, lost %v", what, killed.Sub(asked).Round(time.Millisecond), r.Exit, recovered, gaps, lost)
	return k.goOn(what, kind, id, closed, paused)
}

// goOn checks that the room records on, or begins a session where none was cut.
func (k *killing) goOn(what, kind, id string, closed, paused bool) string {
	t, a := k.t, k.agent
	st := a.State()
	if closed && st.Session == nil {
		a.WaitLive(20 * time.Second)
		return a.Begin()
	}
	want := "recording"
	if paused {
		want = "paused"
	}
	if !closed { // killed again after the seal, the agent may still be looking at its disks
		Wait(t, 20*time.Second, what+": the room records on", func() bool {
			st = a.State()
			return st.Session != nil && st.State == want
		})
	}
	if st.Session == nil || st.State != want || st.Session.Continues != id && (kind != killTwice || st.Session.Continues == "") {
		t.Fatalf("%s: the room is %s with session %+v; want %s, as the continuation of %s", what, st.State, st.Session, want, id)
	}
	if paused {
		if n := len(Segments(t, a.Session(0, st.Session.ID), "face")); n != 0 {
			t.Errorf("%s: %d files were recorded in the pause", what, n)
		}
		a.Call("POST", "/session/resume", map[string]string{}, nil, http.StatusOK)
	}
	if !closed { // an agent killed in its repair leaves the page of the next one to be told when that one has repaired
		Wait(t, 10*time.Second, what+": the page says that the session was repaired", func() bool {
			return slices.ContainsFunc(a.State().Faults, func(f Fault) bool {
				return f.Code == "session.recovered" && (f.Ch == id || f.Ch == st.Session.Continues) && f.Do.Zh != "" && f.Do.En != ""
			})
		})
	}
	return st.Session.ID
}

func (k *killing) random(below time.Duration) time.Duration {
	return time.Duration(k.rand.Int64N(int64(below)))
}

// pause waits: the moment of a kill is what is being tried.
func pause(d time.Duration) { <-time.After(d) }

// waitSigned waits until each track has signed media on both disks.
func (k *killing) waitSigned(id string) {
	k.t.Helper()
	Wait(k.t, 20*time.Second, "each channel is being recorded", func() bool {
		for i := range k.disks {
			log, err := os.ReadFile(filepath.Join(k.agent.Session(i, id), "log.jsonl"))
			if err != nil {
				return false
			}
			lines := Lines(k.t, Signed(log))
			for _, c := range k.cameras {
				if !slices.ContainsFunc(lines, func(l Line) bool {
					return l.Type == "fragment" && l.Ch == c.id && !slices.Contains(l.Samples, 0)
				}) {
					return false
				}
			}
		}
		return true
	})
}

// waitSealed waits until a session is sealed on both disks and in the catalogue.
func (k *killing) waitSealed(id string) {
	k.t.Helper()
	Wait(k.t, 20*time.Second, "the interrupted session is sealed", func() bool {
		for i := range k.disks {
			if _, err := os.Stat(filepath.Join(k.agent.Session(i, id), "manifest.json.p7s")); err != nil {
				return false
			}
		}
		var list struct{ Sessions []struct{ ID, State string } } // the newest; it is there once it was repaired
		k.agent.Call("GET", "/sessions?limit=10", nil, &list, http.StatusOK)
		for _, s := range list.Sessions {
			if s.ID == id {
				return s.State == "sealed" || s.State == "recovered"
			}
		}
		return false
	})
}

// intact wants what was signed before the kill unchanged in the sealed session, on each disk, and both
// copies to be the same.
func (k *killing) intact(what, id string, before [][]byte) {
	t := k.t
	for i := range k.disks {
		after, err := os.ReadFile(filepath.Join(k.agent.Session(i, id), "log.jsonl"))
		if err != nil || !bytes.HasPrefix(after, before[i]) {
			t.Errorf("%s: disk %d: the signed part of the log is another: %v", what, i, err)
			continue
		}
		if n, err := CheckFragments(k.agent.Session(i, id), Lines(t, Signed(after))); err != nil || n == 0 {
			t.Errorf("%s: disk %d: %d fragments checked: %v", what, i, n, err)
		}
	}
	for _, c := range k.cameras {
		a, b := Segments(t, k.agent.Session(0, id), c.id), Segments(t, k.agent.Session(1, id), c.id)
		if len(a) != len(b) {
			t.Errorf("%s: %s has %d files on one disk, %d on the other", what, c.id, len(a), len(b))
			continue
		}
		for i := range a {
			x, err1 := os.ReadFile(a[i])
			y, err2 := os.ReadFile(b[i])
			if err1 != nil || err2 != nil || !bytes.Equal(x, y) {
				t.Errorf("%s: %s differs between the disks: %v %v", what, filepath.Base(a[i]), err1, err2)
			}
		}
	}
}

// compare holds a sealed session against the frame log: its samples are an unbroken stretch of what the
// camera sent. It returns, for each track, how much older the last of them is than the last that was sent
// until then.
func (k *killing) compare(what, id string, until, killed time.Time) (lost []time.Duration) {
	t := k.t
	for _, c := range k.cameras {
		files := Segments(t, k.agent.Session(0, id), c.id)
		for i, codec := range []string{c.codec, c.sound} {
			if codec == "" {
				continue
			}
			kind := "va"[i : i+1]
			track := strings.TrimSpace(fmt.Sprintf("%s: %s %s", what, c.id, codec))
			sent := k.relay.Frames(c.path, codec)
			end := len(sent)
			for end > 0 && time.UnixMicro(sent[end-1].WallUS).After(killed) {
				end--
			}
			last, err := Stretch(Packets(t, files, kind), sent[:end])
			if err != nil {
				t.Errorf("%s: %v", track, err)
				continue
			}
			due := end - 1
			for due > 0 && time.UnixMicro(sent[due].WallUS).After(until) {
				due--
			}
			gone := time.Duration(max(0, sent[due].WallUS-sent[last].WallUS)) * time.Microsecond
			lost = append(lost, gone)
		}
	}
	return lost
}
