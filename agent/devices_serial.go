package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"minglu/agent/clock"
	"minglu/agent/config"
	"minglu/agent/room"
	"minglu/drivers"
	"minglu/drivers/modbus"
	"minglu/drivers/scanner"
	"minglu/drivers/sim"
)

// openScanners makes the scanners, by what their faults are told of; it opens nothing.
func openScanners(s *config.Scanner, room *sim.Room, log *slog.Logger) (map[string]drivers.Scanner, error) {
	all := map[string]drivers.Scanner{}
	if s == nil {
		return all, nil
	}
	if s.Sim != nil {
		all["scanner"] = room.Scanner()
	}
	if l := s.Serial; l != nil {
		real, err := scanner.NewSerial(scanner.SerialOptions{Path: l.Device, Baud: l.Baud, Ending: scanner.Ending(l.Ending), Prefix: l.Prefix, Uptime: clock.Uptime, Log: log})
		if err != nil {
			return nil, fmt.Errorf("scanner: serial: %w", err)
		}
		all["scanner"] = real
	}
	if h := s.HID; h != nil {
		real, err := scanner.NewKeyboard(scanner.KeyboardOptions{Path: h.Device, Prefix: h.Prefix, Uptime: clock.Uptime, Log: log})
		if err != nil {
			return nil, fmt.Errorf("scanner: hid: %w", err)
		}
		all["scanner-hid"] = real
	}
	return all, nil
}

// openModbus makes a climate sensor on RS-485; nothing is opened before it is read.
func openModbus(m *config.Modbus) (drivers.Thermometer, error) {
	table := modbus.Input
	if m.Table == "holding" {
		table = modbus.Holding
	}
	return modbus.New(modbus.Options{Path: m.Device, Baud: m.Baud, Parity: m.Parity, Slave: m.Slave, Table: table,
		Temperature: m.Temperature, Humidity: m.Humidity, Scale: m.Scale, Uptime: clock.Uptime})
}

// scannerSteady is how long a scanner must have been open to count as there: it says nothing by itself.
const scannerSteady = 2 * time.Second

// runScanner listens to a scanner for ever; one that is unplugged is looked for again. find says what a code means.
func (a *agent) runScanner(ctx context.Context, name string, s drivers.Scanner, find func(ctx context.Context, text string) room.Scan) error {
	t := tries{what: name, log: a.log}
	there := func() { a.loop.Fault("input.failed", name, false) }
	return t.again(ctx, func(ctx context.Context) error {
		steady := time.AfterFunc(scannerSteady, there)
		defer steady.Stop()
		return s.Run(ctx, func(text string, up time.Duration) {
			there()
			a.loop.Scan(find(ctx, text), up)
		})
	}, func(error) { a.loop.Fault("input.failed", name, true) })
}

// Scan turns a scanned code into an event of the time it came.
func (l *roomLoop) Scan(e room.Scan, up time.Duration) {
	select {
	case l.events <- request{event: e, up: up}:
	default:
		l.log.Error("room: scanned code dropped, the queue is full")
	}
}
