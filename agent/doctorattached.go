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
	if t := e.cfg.Thermometer; t != nil && t.Modbus != nil {
		add("thermometer", "", func(ctx context.Context) (report.Text, error) { return readClimate(ctx, d.thermometer) })
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
