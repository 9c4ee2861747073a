package doctor

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"minglu/agent/report"
	"minglu/drivers"
)

// one checks a finding: its level, and that it is said in both languages, with a remedy unless it is good.
func one(t *testing.T, rule string, got []Finding, check string, level Level) {
	t.Helper()
	for _, f := range got {
		if f.Check != check {
			continue
		}
		if f.Level != level {
			t.Errorf("%s: %s is %s, want %s: %+v", rule, check, f.Level, level, f)
		}
		if f.Text.Zh == "" || f.Text.En == "" || level != Good && (f.Do.Zh == "" || f.Do.En == "") {
			t.Errorf("%s: not all is said: %+v", rule, f)
		}
		return
	}
	t.Errorf("%s: no finding %s in %+v", rule, check, got)
}

func TestDevice(t *testing.T) {
	words := report.Text{Zh: "按钮未按下", En: "The button is not pressed"}
	one(t, "works", Device("input", "button", words, nil), "input", Good)
	one(t, "an error", Device("input", "button", words, errors.New("no")), "input", Bad)
	got := Device("input", "button", words, fmt.Errorf("gpioline: %w", &drivers.Problem{Code: "busy", Zh: "线 17 被占用；请停止它", En: "line 17 is in use: stop that program"}))
	one(t, "a driver's own words", got, "input", Bad)
	if got[0].Text.En != "line 17 is in use" || got[0].Do.En != "stop that program" || got[0].Do.Zh != "请停止它" {
		t.Errorf("%+v", got[0])
	}
	one(t, "left alone", Busy("input", "button"), "input", Good)
}

func TestBoard(t *testing.T) {
	pi := BoardSeen{Configured: "auto", Name: "raspberrypi-4", Recognised: "raspberrypi-4", Model: "Raspberry Pi 4 Model B", Title: report.Text{Zh: "树莓派", En: "Raspberry Pi"}, Crypto: []string{"aes", "sha2"}}
	with := func(change func(*BoardSeen)) BoardSeen { b := pi; change(&b); return b }
	one(t, "recognised", Board(pi), "board", Good)
	one(t, "another than configured", Board(with(func(b *BoardSeen) { b.Configured, b.Name = "rock-3a", "rock-3a" })), "board", Bad)
	one(t, "not known", Board(with(func(b *BoardSeen) { b.Generic, b.Name = true, "generic-arm64" })), "board", Note)
	one(t, "a PC", Board(BoardSeen{Configured: "auto", Name: "generic", Recognised: "generic", Generic: true}), "board", Note)
	one(t, "another kernel", Board(with(func(b *BoardSeen) { b.Differs = 3 })), "board.tree", Note)
	one(t, "a Pi without AES", Board(with(func(b *BoardSeen) { b.Crypto = nil })), "board.crypto", Note)
}

func TestSupply(t *testing.T) {
	yes, no, hot, warm := true, false, 80.0, 79.9
	one(t, "low", Supply(Sensors{Undervolt: &yes}), "board.power", Bad)
	one(t, "right", Supply(Sensors{Undervolt: &no}), "board.power", Good)
	one(t, "hot", Supply(Sensors{Celsius: &hot}), "board.heat", Note)
	one(t, "warm", Supply(Sensors{Celsius: &warm}), "board.heat", Good)
	if got := Supply(Sensors{}); len(got) != 0 {
		t.Errorf("nothing is known: %+v", got)
	}
}

func TestWatchdog(t *testing.T) {
	dog := Dog{Device: "/dev/watchdog0", Identity: "bcm", State: "inactive", Timeout: time.Minute, Exists: true}
	with := func(change func(*Dog)) Dog { d := dog; change(&d); return d }
	for _, tt := range []struct {
		rule    string
		d       Dog
		running bool
		want    Level
	}{
		{"ready, the agent is stopped", dog, false, Good},
		{"at work", with(func(d *Dog) { d.State = "active" }), true, Good},
		{"a kernel that does not tell its state", with(func(d *Dog) { d.State = "" }), true, Good},
		{"the agent runs without it", dog, true, Bad},
		{"it runs without the agent", with(func(d *Dog) { d.State = "active" }), false, Bad},
		{"named, and not there", with(func(d *Dog) { d.Exists = false }), false, Bad},
		{"not allowed", with(func(d *Dog) { d.Access = os.ErrPermission }), false, Bad},
		{"the board should have one", Dog{Known: true}, false, Bad},
		{"none is used", Dog{}, false, Note},
		{"softdog", with(func(d *Dog) { d.Software = true }), false, Note},
	} {
		one(t, tt.rule, Watchdog(tt.d, tt.running), "watchdog", tt.want)
	}
}
