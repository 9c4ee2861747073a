package hil

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"testing"
)

// monitor is a way to the emulator itself (QEMU's docs/interop/qmp-spec.rst): what a hand at the board does.
type monitor struct{ socket string }

// openMonitor adds one to a guest that is not yet there.
func openMonitor(t *testing.T, o *Options) *monitor {
	t.Helper()
	m := &monitor{filepath.Join(t.TempDir(), "qmp")}
	o.QEMU = append(o.QEMU, "-qmp", "unix:"+m.socket+",server=on,wait=off")
	return m
}

// do carries out one command.
func (m *monitor) do(command string, arguments any) error {
	c, in, err := m.open()
	if err != nil {
		return err
	}
	defer c.Close()
	return m.ask(c, in, command, arguments)
}

// await waits for an event.
func (m *monitor) await(event string) error {
	c, in, err := m.open()
	if err != nil {
		return err
	}
	defer c.Close()
	for in.Scan() {
		var a struct{ Event string }
		if err := json.Unmarshal(in.Bytes(), &a); err != nil {
			return fmt.Errorf("qmp: %s: %w", in.Bytes(), err)
		}
		if a.Event == event {
			return nil
		}
	}
	return fmt.Errorf("qmp: no event %s before the emulator ended: %w", event, in.Err())
}

func (m *monitor) open() (net.Conn, *bufio.Scanner, error) {
	c, err := net.Dial("unix", m.socket)
	if err != nil {
		return nil, nil, err
	}
	in := bufio.NewScanner(c)
	if !in.Scan() {
		c.Close()
		return nil, nil, fmt.Errorf("qmp: no greeting: %w", in.Err())
	}
	if err := m.ask(c, in, "qmp_capabilities", map[string]string{}); err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, in, nil
}

func (m *monitor) ask(c net.Conn, in *bufio.Scanner, command string, arguments any) error {
	b, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments})
	if err != nil {
		return err
	}
	if _, err := c.Write(append(b, '\n')); err != nil {
		return err
	}
	for in.Scan() {
		var a struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := json.Unmarshal(in.Bytes(), &a); err != nil {
			return fmt.Errorf("qmp: %s: %w", in.Bytes(), err)
		}
		if a.Error != nil {
			return fmt.Errorf("qmp: %s: %s", b, a.Error.Desc)
		}
		if a.Return != nil { // else an event
			return nil
		}
	}
	return fmt.Errorf("qmp: %s: no answer: %w", b, in.Err())
}
