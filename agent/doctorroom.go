package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/gpio"

	"minglu/agent/config"
	"minglu/agent/doctor"
	"minglu/agent/inventory"
	"minglu/agent/report"
	"minglu/boards"
	"minglu/drivers"
	"minglu/drivers/gpioline"
)

// lampTest is how long doctor lights a lamp, for somebody to see.
const lampTest = 300 * time.Millisecond

// roomChecks look at the board and at what hangs on its lines and buses. What the running agent uses is left
// alone.
func (e *examination) roomChecks() (list []doctor.Check) {
	add := func(name, on string, run func(ctx context.Context) []doctor.Finding) {
		list = append(list, doctor.Check{Name: name, On: on, Run: run})
	}
	cfg := e.cfg
	if !cfg.Sim() {
		add("board", "", func(context.Context) []doctor.Finding { return e.board() })
		add("board.power", "", func(context.Context) []doctor.Finding {
			return doctor.Supply(doctor.Sensors(inventory.StateOf(machine(cfg))))
		})
	}
	if !cfg.Sim() || watchdogOf(cfg) != "" {
		add("watchdog", "", func(context.Context) []doctor.Finding { return doctor.Watchdog(e.dog(), e.running) })
	}
	for _, in := range []struct {
		kind drivers.InputKind
		*config.Input
	}{{drivers.Button, cfg.Inputs.Button}, {drivers.Door, cfg.Inputs.Door}, {drivers.Presence, cfg.Inputs.Presence}} {
		if in.Input == nil || in.GPIO == nil {
			continue
		}
		add("input", string(in.kind), func(context.Context) []doctor.Finding {
			if e.running {
				return doctor.Busy("input", string(in.kind))
			}
			words, err := readInput(in.kind, in.GPIO)
			return doctor.Device("input", string(in.kind), words, err)
		})
	}
	if l := cfg.Lamp; l != nil && l.GPIO != nil {
		add("lamp", "", func(ctx context.Context) []doctor.Finding {
			if e.running {
				return doctor.Busy("lamp", "")
			}
			words, err := lightUp(ctx, l.GPIO)
			return doctor.Device("lamp", "", words, err)
		})
	}
	return list
}

// machine is this one, as configured.
func machine(cfg *config.Config) inventory.Options {
	return inventory.Options{Root: os.DirFS("/"), Arch: runtime.GOARCH, Board: cfg.Board}
}

func (e *examination) board() []doctor.Finding {
	m := inventory.Look(machine(e.cfg))
	tree := boards.Running{FS: os.DirFS("/proc/device-tree")}
	recognised, _ := boards.Detect(tree, runtime.GOARCH)
	return doctor.Board(doctor.BoardSeen{Configured: e.cfg.Board, Name: m.Board, Title: m.Title, Recognised: recognised.Name, Model: m.Seen.Model,
		Generic: m.Facts().Generic(), Crypto: m.Crypto, Differs: len(m.Differs)})
}

// dog looks at the watchdog without opening it.
func (e *examination) dog() doctor.Dog {
	d := doctor.Dog{Device: watchdogOf(e.cfg)}
	b := boards.Find(e.cfg.Board)
	if b == nil {
		b, _ = boards.Detect(boards.Running{FS: os.DirFS("/proc/device-tree")}, runtime.GOARCH)
	}
	d.Known = b.Watchdog != nil && e.cfg.Watchdog.Device != config.WatchdogNone
	if d.Device == "" {
		return d
	}
	w := inventory.WatchdogAt(machine(e.cfg), d.Device)
	d.Exists, d.Identity, d.State, d.Timeout, d.Software = w.Exists, w.Identity, w.State, w.Timeout, w.Software
	if d.Exists && unix.Access(d.Device, unix.W_OK) != nil {
		d.Access = os.ErrPermission
	}
	return d
}

// levelWords says what a level of an input means.
var levelWords = map[drivers.InputKind]map[gpio.Level]report.Text{
	drivers.Button:   {gpio.Low: {Zh: "未按下", En: "not pressed"}, gpio.High: {Zh: "按下", En: "pressed"}},
	drivers.Door:     {gpio.Low: {Zh: "关着", En: "closed"}, gpio.High: {Zh: "开着", En: "open"}},
	drivers.Presence: {gpio.Low: {Zh: "没有人", En: "nobody there"}, gpio.High: {Zh: "有人", En: "somebody there"}},
}

// readInput reads a contact or a sensor once.
func readInput(kind drivers.InputKind, g *config.InputGPIO) (report.Text, error) {
	in, err := gpioline.OpenInput(gpioline.Options{Chip: g.Chip, Line: g.Line, ActiveLow: g.ActiveLow, Bias: biases[g.Bias], Consumer: "minglu-doctor"})
	if err != nil {
		return report.Text{}, err
	}
	level, err := in.Level()
	words := levelWords[kind][level]
	if err := errors.Join(err, in.Close()); err != nil {
		return report.Text{}, err
	}
	return report.Text{Zh: fmt.Sprintf("%s（%s）现在：%s；不符时请检查接线和 active_low", kind, in.Name(), words.Zh),
		En: fmt.Sprintf("%s (%s) is now: %s; if that is wrong, check its wiring and active_low", kind, in.Name(), words.En)}, nil
}

// lightUp lights each light of the lamp for a moment, and reads back whether it followed.
func lightUp(ctx context.Context, g *config.LampGPIO) (report.Text, error) {
	var names string
	for _, line := range []string{g.Line, g.Red, g.Amber, g.Green, g.Blue} {
		if line == "" {
			continue
		}
		out, err := gpioline.OpenOutput(gpioline.Options{Chip: g.Chip, Line: line, ActiveLow: g.ActiveLow, Consumer: "minglu-doctor"}, gpio.High)
		if err != nil {
			return report.Text{}, err
		}
		names += " " + out.Name()
		level, err := out.Level()
		if err == nil && level != gpio.High {
			err = fmt.Errorf("%s does not follow: it reads dark while it is lit", out.Name())
		}
		select {
		case <-time.After(lampTest):
		case <-ctx.Done():
		}
		if err := errors.Join(err, out.Out(gpio.Low), out.Close()); err != nil {
			return report.Text{}, err
		}
	}
	return report.Text{Zh: "指示灯已依次点亮：" + names[1:] + "；没看到亮灯请检查接线和 active_low", En: "The lamp was lit, one light after the other: " + names[1:] + "; if nothing was seen, check its wiring and active_low"}, nil
}
