package scenario

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"minglu/agent/evidence"
	"minglu/drivers/sim"
)

// simState is what the simulated devices do.
func (a *Agent) simState() (s sim.State) {
	a.t.Helper()
	res, err := http.Get(a.base + "/sim/state")
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		a.t.Fatal(err)
	}
	return s
}

// TestMainsLost takes the mains away from a room whose battery is worn out: the page tells, the session is ended and sealed
// in order while the battery lasts, the record says why, and it verifies. A start on what is left is recorded all the same.
func TestMainsLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := lab.Start(t, Room{Channels: map[string]string{"face": SimCamera}, Disks: []string{dir}, Preroll: "0s", Postroll: "30s",
		Extra: "power: {sim: {}, seal_at: 30s}\nbuzzer: {sim: {}}\nrtc: {sim: {}}\n"})
	trust := a.Trust()
	a.WaitLive(20 * time.Second)
	id := a.Begin()
	pause(2 * time.Second)
	a.sim("fault/worn-out")
	a.sim("fault/mains")
	a.waitFault(5*time.Second, "", "power.mains")
	if st := a.State(); st.State != "recording" || st.Session == nil || st.Session.ID != id {
		t.Errorf("on the battery the room is %s", st.State)
	}
	manifest := filepath.Join(a.Session(0, id), "manifest.json.p7s")
	Wait(t, 30*time.Second, "the session is sealed", func() bool { _, err := os.Stat(manifest); return err == nil })
	left := a.simState().Power.Left
	if left < 20*time.Second {
		t.Errorf("sealed with %v left on the battery, which was to be 30 s", left)
	}
	a.waitFault(5*time.Second, "", "power.battery")
	hasLine(t, a.Session(0, id), "fault of the mains", faultLine("", "power.mains"))
	hasLine(t, a.Session(0, id), "fault of the battery", faultLine("", "power.battery"))
	r := lab.VerifyJSON(t, "--require", "0", "--trust", trust, a.Session(0, id))
	if len(r.Sessions) != 1 || r.Exit != evidence.ExitGood && r.Exit != evidence.ExitSound || r.Sessions[0].Reason != "battery low" {
		t.Errorf("verify exits %d\n%s", r.Exit, Text(r))
	}
	figure(t, "mains lost: sealed with %v left on the battery", left.Round(time.Second))

	next := a.Begin() // recording is never refused
	pause(2 * time.Second)
	if st := a.State(); st.State != "recording" {
		t.Errorf("started on what is left of the battery, the room is %s", st.State)
	}
	a.sim("fault/mains?on=false")
	a.waitCleared(5*time.Second, "", "power.mains", "power.battery")
	if st := a.State(); st.Session == nil || st.Session.ID != next {
		t.Errorf("with the mains back the session is %+v", st.Session)
	}
	beeps := []string{}
	for _, b := range a.simState().Buzzer {
		beeps = append(beeps, string(b.Beep))
	}
	if len(beeps) < 4 || beeps[0] != "start" || beeps[len(beeps)-1] != "start" {
		t.Errorf("the buzzer sounded %v", beeps)
	}
}

// TestDeadRTC: a hardware clock that lost its time is told, and recording goes on.
func TestDeadRTC(t *testing.T) {
	t.Parallel()
	a := lab.Start(t, Room{Channels: map[string]string{"face": SimCamera}, Disks: []string{t.TempDir()}, Postroll: "0s", Extra: "rtc: {sim: {}}\n"})
	a.sim("fault/rtc")
	a.waitFault(30*time.Second, "", "rtc.battery")
	a.End(a.Begin())
}
