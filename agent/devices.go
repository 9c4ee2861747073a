package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"minglu/agent/capture"
	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/drivers"
	"minglu/drivers/rtsp"
	"minglu/drivers/sim"
)

// devices are the things of the room, as the configuration names them. A nil one is not there.
type devices struct {
	channels    []capture.Channel
	inputs      map[drivers.InputKind]drivers.Input
	lamp        drivers.Lamp
	lights      func(context.Context) error // keeps the lamp's lines open; nil: it has none
	thermometer drivers.Thermometer
	speaker     drivers.Speaker
	notice      []byte // announcement, WAV
	scanners    map[string]drivers.Scanner
	rtc         drivers.RTC
	power       drivers.PowerMeter
	buzzer      drivers.Buzzer
}

// openDevices makes the drivers; it connects to nothing. text is what is drawn into pictures that are coded here.
func openDevices(cfg *config.Config, step func(time.Duration), text *captions, log *slog.Logger) (d devices, room *sim.Room, err error) {
	if cfg.Sim() {
		if room, err = sim.New(simOptions(cfg, step)); err != nil {
			return d, nil, err
		}
	}
	sound := cards{}
	for _, c := range cfg.Channels {
		src, err := source(c, room, sound, text, log.With("channel", c.ID))
		if err != nil {
			return d, nil, fmt.Errorf("channel %q: %w", c.ID, err)
		}
		if c.Camera != nil && c.Camera.Shown != nil {
			src = stated{src, statement(c.Camera.Shown)}
		}
		d.channels = append(d.channels, capture.Channel{ID: c.ID, Source: src})
	}
	if err := d.openRoom(cfg, room); err != nil {
		return d, nil, err
	}
	if cfg.Thermometer != nil && cfg.Thermometer.Sim != nil {
		d.thermometer = room.Thermometer()
	}
	if cfg.Thermometer != nil && cfg.Thermometer.I2C != nil {
		d.thermometer = chipOnBus(cfg.Thermometer.I2C)
	}
	if cfg.Thermometer != nil && cfg.Thermometer.Modbus != nil {
		if d.thermometer, err = openModbus(cfg.Thermometer.Modbus); err != nil {
			return d, nil, fmt.Errorf("thermometer: %w", err)
		}
	}
	if d.scanners, err = openScanners(cfg.Scanner, room, log); err != nil {
		return d, nil, err
	}
	if err := d.openSpeaker(cfg.Speaker, room, log); err != nil {
		return d, nil, err
	}
	return d, room, nil
}

func source(c config.Channel, room *sim.Room, sound cards, text *captions, log *slog.Logger) (drivers.Source, error) {
	switch {
	case c.Camera != nil && c.Camera.RTSP != "":
		return rtsp.New(rtsp.Options{URL: c.Camera.RTSP.Reveal(), Uptime: clock.Uptime, Log: log})
	case c.Camera != nil && c.Camera.V4L2 != nil:
		return kernelCamera(c, text, log)
	case c.Camera != nil && c.Camera.Pipeline != nil:
		return pipelineCamera(c, text, log)
	case c.Camera != nil && c.Camera.Sim != nil:
		return room.Camera(c.ID), nil
	case c.Microphone != nil && c.Microphone.RTSP != "":
		return rtsp.New(rtsp.Options{URL: c.Microphone.RTSP.Reveal(), Uptime: clock.Uptime, Log: log})
	case c.Microphone != nil && c.Microphone.ALSA != nil:
		return sound.microphone(c.Microphone.ALSA, log)
	case c.Microphone != nil && c.Microphone.Sim != nil:
		return room.Microphone(c.ID), nil
	}
	return nil, fmt.Errorf("this version has no driver for it: use rtsp, or sim on board sim")
}

func simOptions(cfg *config.Config, step func(time.Duration)) sim.Options {
	o := sim.Options{
		Button: simulated(cfg.Inputs.Button), Door: simulated(cfg.Inputs.Door), Presence: simulated(cfg.Inputs.Presence),
		Lamp: cfg.Lamp != nil && cfg.Lamp.Sim != nil, Thermometer: cfg.Thermometer != nil && cfg.Thermometer.Sim != nil, Speaker: cfg.Speaker != nil && cfg.Speaker.Sim != nil, Scanner: cfg.Scanner != nil && cfg.Scanner.Sim != nil,
		Power: cfg.Power != nil && cfg.Power.Sim != nil, RTC: cfg.RTC != nil && cfg.RTC.Sim != nil, Buzzer: cfg.Buzzer != nil && cfg.Buzzer.Sim != nil, Uptime: clock.Uptime, StepClock: step,
	}
	for _, c := range cfg.Channels {
		if c.Camera != nil && c.Camera.Sim != nil {
			o.Cameras = append(o.Cameras, sim.CameraOptions{ID: c.ID, Width: c.Camera.Sim.Width, Height: c.Camera.Sim.Height, FPS: c.Camera.Sim.FPS})
		}
		if c.Microphone != nil && c.Microphone.Sim != nil {
			o.Microphones = append(o.Microphones, c.ID)
		}
	}
	return o
}

func simulated(in *config.Input) bool { return in != nil && in.Sim != nil }
