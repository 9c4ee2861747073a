package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"minglu/agent/doctor"
	"minglu/agent/report"
	"minglu/drivers"
)

// scannerTest is how long doctor holds a scanner open.
const scannerTest = 500 * time.Millisecond

// attached checks what hangs on serial lines and the speaker, while no agent uses them.
func (e *examination) attached(d devices) (list []doctor.Check) {
	add := func(name, on string, test func(context.Context) (report.Text, error)) {
		list = append(list, doctor.Check{Name: name, On: on, Run: func(ctx context.Context) []doctor.Finding {
			words, err := test(ctx)
			return doctor.Device(name, on, words, err)
		}})
	}
	if t := e.cfg.Thermometer; t != nil && t.Sim == nil {
		add("thermometer", "", func(ctx context.Context) (report.Text, error) { return readClimate(ctx, d.thermometer) })
	}
	if r := e.cfg.RTC; r != nil && r.Sim == nil {
		add("rtc", "", func(ctx context.Context) (report.Text, error) { return readRTC(ctx, d.rtc) })
	}
	if p := e.cfg.Power; p != nil && p.Sim == nil {
		add("power", "", func(ctx context.Context) (report.Text, error) { return readPower(ctx, d.power) })
	}
	if b := e.cfg.Buzzer; b != nil && b.Sim == nil {
		add("buzzer", "", func(ctx context.Context) (report.Text, error) {
			return report.Text{Zh: "蜂鸣器已响过；没有听到时请检查接线和 active_low", En: "The buzzer sounded; if nobody heard it, check its wiring and active_low"}, d.buzzer.Sound(ctx, drivers.BeepStart)
		})
	}
	if s := e.cfg.Scanner; s != nil && s.Sim == nil {
		for name, scanner := range d.scanners {
			add("scanner", name, func(ctx context.Context) (report.Text, error) { return holdScanner(ctx, scanner) })
		}
	}
	if s := e.cfg.Speaker; s != nil && s.ALSA != nil {
		add("speaker", "", func(ctx context.Context) (report.Text, error) {
			return report.Text{Zh: "已播放告知音；没有听到时请检查音量（speaker.alsa.volume）和接线", En: "The notice was played; if nobody heard it, check its volume (speaker.alsa.volume) and cable"},
				d.speaker.Play(ctx, d.notice)
		})
	}
	return list
}

func readClimate(ctx context.Context, t drivers.Thermometer) (report.Text, error) {
	c, err := t.Read(ctx)
	if err != nil {
		return report.Text{}, err
	}
	air := fmt.Sprintf("%.1f °C", float64(c.MilliCelsius)/1000)
	if c.MilliPercent >= 0 {
		air += fmt.Sprintf(", %.1f %%RH", float64(c.MilliPercent)/1000)
	}
	return report.Text{Zh: "室内 " + air, En: "The room has " + air}, nil
}

// readRTC reads a hardware clock, and says so if its time is worth nothing.
func readRTC(ctx context.Context, c drivers.RTC) (report.Text, error) {
	build, err := time.Parse(time.RFC3339, buildDate)
	if err != nil {
		panic("BUG: build date: " + err.Error())
	}
	r, err := c.Read(ctx)
	if err != nil {
		return report.Text{}, err
	}
	shows := r.T.Format(time.DateTime) + " UTC"
	if r.Stopped || r.T.Before(build.Add(-rtcLost)) {
		f := report.Find("rtc.battery")
		return report.Text{}, &drivers.Problem{Code: "stopped", Zh: f.Text.Zh + "；" + f.Do.Zh, En: f.Text.En + ": " + f.Do.En, Err: errors.New(shows)}
	}
	return report.Text{Zh: "硬件时钟为 " + shows, En: "The hardware clock shows " + shows}, nil
}

// readPower reads the battery's meter once: somebody has to look whether the current is the right way round.
func readPower(ctx context.Context, m drivers.PowerMeter) (report.Text, error) {
	s, err := m.Read(ctx)
	if err != nil {
		return report.Text{}, err
	}
	values := fmt.Sprintf("%.2f V, %+.2f A", float64(s.MilliVolt)/1000, float64(s.MilliAmp)/1000)
	if s.Mains {
		return report.Text{Zh: "电池 " + values + "（市电供电）；正在放电时应为正，否则请改 power.reversed", En: "The battery has " + values + ", the mains are there; discharging counts positive, else set power.reversed"}, nil
	}
	return report.Text{Zh: "电池 " + values + "，正由电池供电；若有市电，请改 power.reversed", En: "The battery has " + values + " and feeds the room; if the mains are there, set power.reversed"}, nil
}

var errTested = errors.New("tested")

// holdScanner opens a scanner for a moment: it says nothing by itself.
func holdScanner(ctx context.Context, s drivers.Scanner) (report.Text, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, scannerTest, errTested)
	defer cancel()
	if err := s.Run(ctx, func(string, time.Duration) {}); !errors.Is(err, errTested) {
		return report.Text{}, err
	}
	return report.Text{Zh: "扫码枪已连接；请在房间页面打开时扫一个案号试试", En: "The scanner is there; scan a case with the room's page open to try it"}, nil
}
