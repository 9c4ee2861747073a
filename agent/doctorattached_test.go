package main

import (
	"context"
	"errors"
	"strings"
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

func (m mouth) Sound(context.Context, drivers.Beep) error { return m.err }

// TestDoctorTriesWhatIsAttached: each thing is tried and told of in words.
func TestDoctorTriesWhatIsAttached(t *testing.T) {
	gone := &drivers.Problem{Code: "gone", Zh: "已断开：请插回；自动恢复", En: "unplugged: plug it in again", Err: errors.New("x")}
	cfg := &config.Config{Thermometer: &config.Thermometer{Modbus: &config.Modbus{}}, Scanner: &config.Scanner{HID: &config.HIDScanner{}}, Speaker: &config.Speaker{ALSA: &config.Playback{}},
		RTC: &config.RTC{Device: "/dev/rtc0"}, Power: &config.Power{I2C: &config.I2C{}}, Buzzer: &config.Buzzer{GPIO: &config.BuzzerGPIO{}}}
	for _, tt := range []struct {
		rule string
		d    devices
		want doctor.Level
	}{
		{"all is well", devices{thermometer: air{c: drivers.Climate{MilliCelsius: 23100, MilliPercent: -1}}, scanners: map[string]drivers.Scanner{"scanner-hid": &shy{}}, speaker: mouth{},
			rtc: &cell{now: drivers.RTCTime{T: time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)}}, power: &meter{now: drivers.Supply{MilliVolt: 12_500, Mains: true}}, buzzer: mouth{}}, doctor.Good},
		{"all is unplugged", devices{thermometer: air{err: gone}, scanners: map[string]drivers.Scanner{"scanner-hid": &shy{gone: 1}}, speaker: mouth{gone},
			rtc: &cell{err: gone}, power: &meter{err: gone}, buzzer: mouth{gone}}, doctor.Bad},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := &examination{cfg: cfg}
			checks := e.attached(tt.d)
			if len(checks) != 6 {
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

// TestDoctorLooksAtTheRTC: a clock that stood still, or shows 1970, is told with what to do.
func TestDoctorLooksAtTheRTC(t *testing.T) {
	for _, now := range []drivers.RTCTime{{T: time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC), Stopped: true}, {T: time.Unix(0, 0).UTC()}} {
		words, err := readRTC(t.Context(), &cell{now: now})
		f := doctor.Device("rtc", "", words, err)
		if len(f) != 1 || f[0].Level != doctor.Bad || !strings.Contains(f[0].Do.Zh, "CR2032") || !strings.Contains(f[0].Do.En, "CR2032") {
			t.Errorf("%+v: %+v", now, f)
		}
	}
}
