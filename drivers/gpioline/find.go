package gpioline

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"minglu/drivers"
)

// Info is a line as the kernel describes it.
type Info struct {
	Chip     string // label of its chip
	Device   string // its chip's device, such as /dev/gpiochip0
	Number   int    // on its chip
	Name     string // "" if it has none
	Consumer string // who uses it, "" if nobody
	Used     bool
	Output   bool
}

// List returns every line of every chip this process may open, in order of device and number. Chips that
// cannot be opened are in the error, which does not make the list wrong.
func List() (lines []Info, err error) {
	devices, err := deviceNames()
	for _, dev := range devices {
		c, e := openChip(dev)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		for n := range c.lines {
			l, e := c.line(n)
			if e != nil {
				err = errors.Join(err, e)
				break
			}
			lines = append(lines, Info{Chip: c.label, Device: dev, Number: int(n), Name: l.name, Consumer: l.consumer,
				Used: l.flags&flagUsed != 0, Output: l.flags&flagOutput != 0})
		}
		c.f.Close()
	}
	return lines, err
}

// chip is an open chip.
type chip struct {
	f     *os.File
	label string
	lines uint32
}

type lineInfo struct {
	offset         uint32
	name, consumer string
	flags          uint64
}

func (l lineInfo) title() string {
	if l.name != "" {
		return l.name
	}
	return strconv.Itoa(int(l.offset))
}

// deviceNames are the chips' devices, gpiochip2 before gpiochip10.
func deviceNames() ([]string, error) {
	names, err := filepath.Glob("/dev/gpiochip*")
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return names, err
}

func openChip(dev string) (*chip, error) {
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("gpioline: %w", &drivers.Problem{Code: "permission", Err: err,
			Zh: "无权打开 " + dev + "；请将运行用户加入 gpio 组",
			En: "not allowed to open " + dev + ": add the user to the group gpio"})
	case err != nil:
		return nil, fmt.Errorf("gpioline: %w", err)
	}
	var info unix.GPIOChipInfo
	if err := ioctl(f.Fd(), unix.GPIO_GET_CHIPINFO_IOCTL, unsafe.Pointer(&info)); err != nil {
		f.Close()
		return nil, fmt.Errorf("gpioline: %s: no GPIO chip: %w", dev, err)
	}
	c := &chip{f: f, label: text(info.Label[:]), lines: info.Lines}
	if c.label == "" {
		c.label = text(info.Name[:])
	}
	return c, nil
}

func (c *chip) line(n uint32) (lineInfo, error) {
	info := unix.GPIOV2LineInfo{Offset: n}
	if err := ioctl(c.f.Fd(), unix.GPIO_V2_GET_LINEINFO_IOCTL, unsafe.Pointer(&info)); err != nil {
		return lineInfo{}, fmt.Errorf("gpioline: %s: line %d: %w (Linux 5.10 or later is needed)", c.label, n, err)
	}
	return lineInfo{n, text(info.Name[:]), text(info.Consumer[:]), info.Flags}, nil
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// match is a line that answers to what was asked for.
type match struct {
	chip *chip
	line lineInfo
}

// find opens the one chip that has the line.
func find(o Options) (*chip, lineInfo, error) {
	if o.Line == "" {
		return nil, lineInfo{}, errors.New("gpioline: no line named")
	}
	devices, err := deviceNames()
	if strings.HasPrefix(o.Chip, "/dev/") {
		devices, err = []string{o.Chip}, nil
	}
	if err != nil {
		return nil, lineInfo{}, fmt.Errorf("gpioline: %w", err)
	}
	var found []match
	var labels []string
	var problem error // what kept a chip from being looked at
	for _, dev := range devices {
		c, err := openChip(dev)
		if err != nil {
			problem = err
			continue
		}
		labels = append(labels, c.label)
		l, ok, err := c.find(o, dev)
		if !ok {
			problem = errors.Join(problem, err)
			c.f.Close()
			continue
		}
		found = append(found, match{c, l})
	}
	if len(found) == 1 {
		return found[0].chip, found[0].line, nil
	}
	names := []string{}
	for _, m := range found {
		names = append(names, filepath.Base(m.chip.f.Name())+" ("+m.chip.label+")")
		m.chip.f.Close()
	}
	return nil, lineInfo{}, missing(o, names, labels, problem)
}

// find looks for the line in one chip.
func (c *chip) find(o Options, dev string) (lineInfo, bool, error) {
	if o.Chip != "" && o.Chip != c.label && o.Chip != dev {
		return lineInfo{}, false, nil
	}
	for n := range c.lines {
		l, err := c.line(n)
		if err != nil {
			return l, false, err
		}
		if l.name == o.Line {
			return l, true, nil
		}
	}
	if n, err := strconv.ParseUint(o.Line, 10, 32); err == nil && o.Chip != "" && uint32(n) < c.lines {
		l, err := c.line(uint32(n))
		return l, err == nil, err
	}
	return lineInfo{}, false, nil
}

// missing says why there is not exactly one such line.
func missing(o Options, several, labels []string, problem error) error {
	name := o.Line
	if o.Chip != "" {
		name = o.Chip + "/" + o.Line
	}
	p := &drivers.Problem{Code: "not-found"}
	switch {
	case len(several) > 1:
		all := strings.Join(several, ", ")
		p.Err = fmt.Errorf("found on %s", all)
		p.Zh = "有多条 GPIO 线名为 " + name + "；请在 agent.yaml 中以设备名指明芯片"
		p.En = "more than one GPIO line is called " + name + ": name the chip by its device in agent.yaml"
	case problem != nil:
		return problem
	default:
		p.Err = fmt.Errorf("the chips here are %q", labels)
		p.Zh = "找不到 GPIO 线 " + name + "；请用 gpioinfo 或 minglu-agent devices 查看名称，并核对 agent.yaml"
		p.En = "there is no GPIO line " + name + ": see gpioinfo or minglu-agent devices for its name, and correct agent.yaml"
	}
	return fmt.Errorf("gpioline: %s: %w", name, p)
}
