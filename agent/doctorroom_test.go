package main

import (
	"strings"
	"testing"

	"minglu/agent/config"
	"minglu/agent/doctor"
)

// TestRoomChecks: each configured thing is looked at and told about, with what to do; what the running agent uses is
// left alone; a simulated room has nothing of it.
func TestRoomChecks(t *testing.T) {
	cfg := &config.Config{Board: "auto", Watchdog: config.Watchdog{Device: "/dev/watchdog-none"},
		Inputs: config.Inputs{Button: &config.Input{GPIO: &config.InputGPIO{Chip: "no-such-chip", Line: "17"}}, Door: &config.Input{Sim: &config.SimDevice{}}},
		Lamp:   &config.Lamp{GPIO: &config.LampGPIO{Chip: "no-such-chip", Red: "1", Green: "2"}}}
	level := func(running bool) map[string]doctor.Level {
		got := map[string]doctor.Level{}
		for _, c := range (&examination{cfg: cfg, running: running}).roomChecks() {
			for _, f := range c.Run(t.Context()) {
				got[strings.TrimSuffix(f.Check+" "+f.On, " ")] = f.Level
				if f.Level != doctor.Good && (f.Do.Zh == "" || f.Do.En == "") {
					t.Errorf("what to do? %+v", f)
				}
			}
		}
		return got
	}
	got := level(false)
	for check, want := range map[string]doctor.Level{"board generic": doctor.Note, "watchdog /dev/watchdog-none": doctor.Bad, "input button": doctor.Bad, "lamp": doctor.Bad} {
		if got[check] != want && !strings.HasPrefix(check, "board") { // the board is that of this machine
			t.Errorf("%s is %q, want %s; all: %v", check, got[check], want, got)
		}
	}
	if _, ok := got["input door"]; ok {
		t.Error("a simulated door was looked for on a line")
	}
	if got := level(true); got["input button"] != doctor.Good || got["lamp"] != doctor.Good {
		t.Errorf("in use by the running agent: %v", got)
	}
	cfg = &config.Config{Board: config.BoardSim, Watchdog: config.Watchdog{Device: config.WatchdogAuto}}
	if got := level(false); len(got) != 0 {
		t.Errorf("a simulated room: %v", got)
	}
}
