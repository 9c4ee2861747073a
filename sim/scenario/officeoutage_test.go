package scenario

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/report"
)

const (
	defaultOutage = 15 * time.Second
	heldBack      = 250 * time.Millisecond // at most, of a camera with two B-frames
)

// lasts reads a time from the environment; make soak asks for longer ones.
func lasts(t *testing.T, name string, otherwise time.Duration) time.Duration {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		t.Fatalf("%s=%q: want a duration such as 5m", name, s)
	}
	return d
}

// story is what happened in a room, as the office must be told it.
type story struct {
	*Agent
	sessions []string // "session.opened ID", in order
	alarms   []string // "alarm.raised microphone.gone spare", in order
}

func (s *story) begin() string {
	id := s.Begin()
	s.sessions = append(s.sessions, report.SessionOpened+" "+id)
	return id
}

func (s *story) end(id string) {
	s.End(id)
	s.sessions = append(s.sessions, report.SessionSealed+" "+id)
}

// interlude marks, pauses and resumes the running session.
func (s *story) interlude(id string) {
	s.Call("POST", "/session/mark", map[string]string{"text": "出示证据"}, nil, http.StatusOK)
	s.Call("POST", "/session/pause", map[string]string{"reason": "休庭"}, nil, http.StatusOK)
	pause(700 * time.Millisecond)
	s.Call("POST", "/session/resume", map[string]string{}, nil, http.StatusOK)
	s.sessions = append(s.sessions, report.SessionPaused+" "+id, report.SessionResumed+" "+id)
}

// disturb unplugs the spare microphone until it is told, and plugs it in again.
func (s *story) disturb() {
	codes := []string{"microphone.gone"}
	s.sim("fault/gone?channel=spare")
	s.waitFault(15*time.Second, "spare", codes...)
	s.sim("fault/gone?channel=spare&on=false")
	s.waitCleared(15*time.Second, "spare", codes...)
	s.alarms = append(s.alarms, report.AlarmRaised+" microphone.gone spare", report.AlarmCleared+" microphone.gone spare")
}

// TestOfficeOutage stops the office while sessions begin and end and alarms come and go, kills it, and
// kills the agent: the office then has each message once, in order, without a hole, and only the
// agent's own death shows in a recording.
func TestOfficeOutage(t *testing.T) {
	t.Parallel()
	outage := lasts(t, "MINGLU_OUTAGE", defaultOutage)
	const device = "room-outage"
	relay, office := lab.Relay(t), lab.Office(t, device)
	relay.Publish("cam1", Stream{Codec: "h264", Size: "320x240", Rate: 25, GOP: 25, Sound: "aac", Length: 2 * time.Hour})
	disks := Disks(t, 2, 2000)
	s := story{Agent: lab.Start(t, Room{
		Name: device, Disks: []string{disks[0].Dir, disks[1].Dir}, Preroll: "2s", Postroll: "0s", Extra: office.Reports(device),
		Channels: map[string]string{"face": relay.URL("cam1"), "voice": SimMicrophone, "spare": SimMicrophone},
	})}
	s.WaitLive(20 * time.Second)
	arrive := func() time.Duration {
		t.Helper()
		began, n := time.Now(), 0
		Wait(t, 60*time.Second, "the office has all of the sessions", func() bool {
			n = 0
			for _, e := range office.EventsOf(device) {
				if strings.HasPrefix(e.Type, "session.") && e.Type != report.SessionAccessed {
					n++
				}
			}
			return n >= len(s.sessions)
		})
		return time.Since(began).Round(10 * time.Millisecond)
	}

	first := s.begin()
	s.interlude(first)
	arrive()
	if code := office.Stop(); code != 0 {
		t.Errorf("the office exits %d after SIGTERM", code)
	}
	down := time.Now()
	s.interlude(first)
	s.disturb()
	s.end(first)
	second := s.begin()
	s.interlude(second)
	for time.Since(down) < outage-10*time.Second { // a long one is a busy one
		pause(min(20*time.Second, outage-10*time.Second-time.Since(down)))
		s.interlude(second)
		s.disturb()
	}
	pause(outage - time.Since(down))
	office.Restart()
	figure(t, "office away for %v: all is there %v after it answers", time.Since(down).Round(time.Second), arrive())

	s.interlude(second)
	office.Kill()
	s.disturb()
	s.interlude(second)
	office.Restart()
	figure(t, "office killed: all is there %v after it answers", arrive())

	// Killed with messages that nobody has taken yet, and the office is not there at the start.
	office.Kill()
	s.interlude(second)
	pause(1200 * time.Millisecond)
	s.Kill()
	s.Restart()
	var third string
	Wait(t, 20*time.Second, "the room records on", func() bool {
		st := s.State()
		if st.Session == nil || st.State != "recording" {
			return false
		}
		third = st.Session.ID
		return st.Session.Continues == second
	})
	// The room records on while it looks after the one that was cut: either may be told first.
	s.sessions = append(s.sessions, report.SessionOpened+" "+third, report.SessionRecovered+" "+second)
	office.Restart()
	s.WaitLive(20 * time.Second)
	pause(time.Second)
	s.end(third)
	figure(t, "agent killed: all is there %v after the seal", arrive())

	s.told(t, office, device)
	s.recorded(t, first, second, third)
}

// told holds what the office has against what happened.
func (s *story) told(t *testing.T, office *Office, device string) {
	t.Helper()
	r := office.Room(device)
	if r.Missing != 0 || r.Refused != 0 || r.Class == "silent" {
		t.Errorf("at the office the room is %s, %d numbers are missing, %d messages refused", r.Class, r.Missing, r.Refused)
	}
	var sessions, alarms []string
	looks := map[string]int{}
	events := office.EventsOf(device)
	for i, e := range events {
		if e.N != int64(i)+1 || e.Outbox != events[0].Outbox || e.MissingBefore != 0 {
			t.Errorf("event %d is number %d of outbox %s (the first: %s), %d missing before it", i+1, e.N, e.Outbox, events[0].Outbox, e.MissingBefore)
		}
		switch {
		case e.Type == report.SessionAccessed: // this test asking whether a session is sealed
			looks[e.Body.Session]++
		case strings.HasPrefix(e.Type, "session."):
			sessions = append(sessions, e.Type+" "+e.Body.Session)
		case e.Body.Ch == "spare" && e.Body.Code == "microphone.gone":
			alarms = append(alarms, e.Type+" "+e.Body.Code+" "+e.Body.Ch)
		}
	}
	for id, n := range looks {
		if n != 1 || !slices.Contains(s.sessions, report.SessionSealed+" "+id) {
			t.Errorf("the office was told of %d looks at %s; this test looked once at each session it ended", n, id)
		}
	}
	if len(looks) == 0 {
		t.Error("the office was told of no look")
	}
	either := slices.Clone(s.sessions)
	if i := slices.IndexFunc(either, func(x string) bool { return strings.HasPrefix(x, report.SessionRecovered) }); i > 0 {
		either[i-1], either[i] = either[i], either[i-1]
	}
	if !slices.Equal(sessions, s.sessions) && !slices.Equal(sessions, either) {
		t.Errorf("of sessions the office was told\n%s\nand what happened is\n%s", strings.Join(sessions, "\n"), strings.Join(s.sessions, "\n"))
	}
	if !slices.Equal(alarms, s.alarms) {
		t.Errorf("of the spare microphone the office was told\n%s\nand what happened is\n%s", strings.Join(alarms, "\n"), strings.Join(s.alarms, "\n"))
	}
	figure(t, "%d messages, %d of sessions, each once and in order", len(events), len(sessions))
}

// recorded wants that only the microphone that was unplugged and the agent's own death show.
func (s *story) recorded(t *testing.T, first, killed, last string) {
	t.Helper()
	trust := s.Trust()
	for _, id := range []string{first, killed, last} {
		r := lab.VerifyJSON(t, "--require", "0", "--trust", trust, s.Session(0, id), s.Session(1, id))
		if len(r.Sessions) != 1 || r.Exit != evidence.ExitGood && r.Exit != evidence.ExitSound {
			t.Errorf("verify of %s exits %d\n%s", id, r.Exit, Text(r))
			continue
		}
		spans := r.Sessions[0].Spans
		ends := int64(0)
		for _, sp := range spans {
			ends = max(ends, sp.To)
		}
		for i, sp := range spans {
			switch sp.Finding {
			case evidence.FindingIntact, evidence.FindingBreak:
				continue
			case evidence.FindingRecovered, evidence.FindingGap:
				// At the end of the one that was killed, and the beginning of the next.
				// What was recovered behind the last signature is not lost; the gap behind it runs to the next start.
				if id == killed && sp.Finding == evidence.FindingRecovered && sp.To-sp.From <= (2*time.Second).Microseconds() {
					continue
				}
				if id == killed && ends-sp.From <= (2*time.Second).Microseconds() || id == last && sp.From == 0 || sp.Channel == "spare" {
					continue
				}
				// A session begins with the first channel that has something: another's picture comes later.
				if sp.From == 0 && sp.To <= 2*heldBack.Microseconds() {
					continue
				}
				if strings.Contains(sp.Cause, "did not keep up") { // this machine, not the office
					figure(t, "this machine was overloaded: %s of %s, %.1f s", sp.Cause, sp.Channel, float64(sp.To-sp.From)/1e6)
					continue
				}
				// The pictures held back when a pause begins are only named once the channel goes on, which
				// the kill forestalled.
				if id == killed && i+1 < len(spans) && spans[i+1].Finding == evidence.FindingBreak && sp.To-sp.From <= heldBack.Microseconds() {
					continue
				}
			}
			t.Errorf("%s: %s of %s from %.1f s to %.1f s: %s", id, sp.Finding, sp.Channel, float64(sp.From)/1e6, float64(sp.To)/1e6, sp.Cause)
			t.Log(Text(r))
		}
	}
}
