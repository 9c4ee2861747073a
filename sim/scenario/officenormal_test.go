package scenario

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestNormalRun has a room run as it should: no alarm but that nobody vouches for the clock, and no
// verdict that changes its mind.
func TestNormalRun(t *testing.T) {
	t.Parallel()
	stalled, idle, sessions, born := stalls(t), WatchIdle(t), []string(nil), time.Now()
	length := lasts(t, "MINGLU_NORMAL", 40*time.Second)
	const device = "room-normal"
	relay, office := lab.Relay(t), lab.Office(t, device)
	s := scene{path: "room", source: sceneRoom, sound: "anull"}
	s.play(t, relay, clips(t, []scene{s}))
	disks := Disks(t, 2, 200_000)
	a := lab.Start(t, Room{
		Name: device, Disks: []string{disks[0].Dir, disks[1].Dir}, Preroll: "2s", Postroll: "0s",
		Channels: map[string]string{"room": relay.URL("room"), "front": "camera: {sim: {width: 1152, height: 448, fps: 25}}", "voice": SimMicrophone},
		Extra:    "lamp: {sim: {}}\nthermometer: {sim: {}}\ninputs: {button: {sim: {}}}\n" + office.Reports(device),
	})
	a.WaitLive(20 * time.Second)
	w := office.Watch(device)
	pause(5 * time.Second)
	for began := time.Now(); time.Since(began) < length; {
		id := a.Begin()
		a.Call("POST", "/session/mark", map[string]string{"text": "告知"}, nil, 200)
		pause(min(2*time.Minute, length-time.Since(began)))
		a.End(id)
		sessions = append(sessions, a.Session(0, id))
		pause(2 * time.Second)
	}
	spans, err := w.Spans()
	if err != nil {
		t.Fatal(err)
	}
	normal := []string{"alarm clock.unverified", "item camera.width room", "item camera.height room", "item camera.floor room", // small pictures, see above
		"item camera.width front", "item camera.height front", "item camera.floor front", "item camera.bitrate room", "item camera.bitrate front"}
	slow := overloaded(t, stalled(), sessions...) || idle.Busy(born, time.Now())
	for key, list := range spans {
		if !slices.Contains(normal, key) && !(slow && ofOverload(key)) {
			for _, s := range list {
				t.Errorf("false alarm: %s from %s to %s", key, s.From.Format("15:04:05.0"), s.To.Format("15:04:05.0"))
			}
		}
	}
	for _, e := range office.EventsOf(device) {
		if strings.HasPrefix(e.Type, "alarm.") && e.Body.Code != "clock.unverified" && !(slow && ofOverload("alarm "+e.Body.Code+" ")) {
			t.Errorf("the office was told %s %s %s", e.Type, e.Body.Code, e.Body.Ch)
		}
	}
	figure(t, "normal run of %v: %d looks at the office, no false alarm", length, w.polls)
}
