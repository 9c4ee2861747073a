package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/config"
	"minglu/agent/doctor"
	"minglu/drivers"
)

type air struct {
	c   drivers.Climate
	err error
}

func (a air) Read(context.Context) (drivers.Climate, error) { return a.c, a.err }

type mouth struct{ err error }

func (m mouth) Play(context.Context, []byte) error { return m.err }

// TestDoctorTriesWhatIsAttached: each thing is tried and told of in words.
func TestDoctorTriesWhatIsAttached(t *testing.T) {
	gone := &drivers.Problem{Code: "gone", Zh: "已断开：请插回；自动恢复", En: "unplugged: plug it in again", Err: errors.New("x")}
	cfg := &config.Config{Thermometer: &config.Thermometer{Modbus: &config.Modbus{}}, Scanner: &config.Scanner{HID: &config.HIDScanner{}}, Speaker: &config.Speaker{ALSA: &config.Playback{}}}
	for _, tt := range []struct {
		rule string
		d    devices
		want doctor.Level
	}{
		{"all is well", devices{thermometer: air{c: drivers.Climate{MilliCelsius: 23100, MilliPercent: -1}}, scanners: map[string]drivers.Scanner{"scanner-hid": &shy{}}, speaker: mouth{}}, doctor.Good},
		{"all is unplugged", devices{thermometer: air{err: gone}, scanners: map[string]drivers.Scanner{"scanner-hid": &shy{gone: 1}}, speaker: mouth{gone}}, doctor.Bad},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := &examination{cfg: cfg}
			checks := e.attached(tt.d)
			if len(checks) != 3 {
				t.Fatalf("%s: %d checks", tt.rule, len(checks))
			}
			for _, c := range checks {
				began := time.Now()
				if f := c.Run(t.Context()); len(f) != 1 || f[0].Level != tt.want || f[0].Text.Zh == "" || f[0].Text.En == "" || time.Since(began) > time.Second {
					t.Errorf("%s: %s: %+v after %v", tt.rule, c.Name, f, time.Since(began))
				}
			}
		})
	}
}
