// Package gpiosim makes GPIO chips of the kernel's gpio-sim module, for tests in a guest of package hil: a
// chip as any other to the program under test (/dev/gpiochipN), whose lines the test pulls up and down as a
// button does, and reads as a lamp shows them.
//
// Documentation/admin-guide/gpio/gpio-sim.rst of Linux; the module must be loaded and configfs mounted.
package gpiosim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const configfs = "/sys/kernel/config/gpio-sim"

// Chip is one simulated chip. Safe for concurrent use.
type Chip struct {
	Path  string // "/dev/gpiochip1"
	Label string
	dir   string // in configfs
	sysfs string // where its lines are
	lines int
}

// New makes a chip with a label and a line for each name, from line 0 on; "" is a line without a name. A
// label may be used once at a time. Close it.
func New(label string, names ...string) (*Chip, error) {
	c := &Chip{Label: label, dir: filepath.Join(configfs, label), lines: len(names)}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("gpiosim: %s: %w: is gpio-sim loaded, and the label free?", label, err)
	}
	if err := c.build(names); err != nil {
		return nil, errors.Join(fmt.Errorf("gpiosim: %s: %w", label, err), c.Close())
	}
	return c, nil
}

func (c *Chip) build(names []string) error {
	bank := filepath.Join(c.dir, "bank0")
	if err := os.Mkdir(bank, 0o755); err != nil {
		return err
	}
	if err := write(bank, "num_lines", strconv.Itoa(len(names))); err != nil {
		return err
	}
	if err := write(bank, "label", c.Label); err != nil {
		return err
	}
	for i, n := range names {
		if n == "" {
			continue
		}
		line := filepath.Join(bank, fmt.Sprintf("line%d", i))
		if err := os.Mkdir(line, 0o755); err != nil {
			return err
		}
		if err := write(line, "name", n); err != nil {
			return err
		}
	}
	if err := write(c.dir, "live", "1"); err != nil {
		return err
	}
	chip, err := read(bank, "chip_name")
	if err != nil {
		return err
	}
	device, err := read(c.dir, "dev_name")
	if err != nil {
		return err
	}
	c.Path = "/dev/" + chip
	c.sysfs = filepath.Join("/sys/devices/platform", device, chip)
	return nil
}

// Pull sets the level that an input line has from outside.
func (c *Chip) Pull(line int, high bool) error {
	level := "pull-down"
	if high {
		level = "pull-up"
	}
	if err := write(c.line(line), "pull", level); err != nil {
		return fmt.Errorf("gpiosim: %s: line %d: %w", c.Label, line, err)
	}
	return nil
}

// High reports the level of a line: what an output drives, or what an input was pulled to.
func (c *Chip) High(line int) (bool, error) {
	v, err := read(c.line(line), "value")
	if err != nil {
		return false, fmt.Errorf("gpiosim: %s: line %d: %w", c.Label, line, err)
	}
	return v == "1", nil
}

func (c *Chip) line(n int) string { return filepath.Join(c.sysfs, fmt.Sprintf("sim_gpio%d", n)) }

// Close takes the chip away, as pulling out a board does: whoever holds a line gets an error. It is safe to
// call twice.
func (c *Chip) Close() error {
	if _, err := os.Stat(c.dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if live, err := read(c.dir, "live"); err == nil && live == "1" {
		if err := write(c.dir, "live", "0"); err != nil {
			return fmt.Errorf("gpiosim: %s: %w", c.Label, err)
		}
	}
	bank := filepath.Join(c.dir, "bank0")
	lines, err := filepath.Glob(filepath.Join(bank, "line*"))
	if err != nil {
		return fmt.Errorf("gpiosim: %s: %w", c.Label, err)
	}
	for _, d := range append(lines, bank, c.dir) { // rmdir: what is in them is the kernel's
		if err := os.Remove(d); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("gpiosim: %s: %w", c.Label, err)
		}
	}
	return nil
}

func write(dir, name, value string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(value), 0o644)
}

func read(dir, name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(b)), err
}
