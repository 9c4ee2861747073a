// Package gpioline opens single lines of a GPIO chip through the kernel's character device, uAPI v2
// (linux/gpio.h, Linux 5.10 and later; Documentation/userspace-api/gpio/chardev.rst).
//
// A line is named by the label of its chip and its own name, both as `gpioinfo` shows them, so that a
// configuration outlives another order of the chips and a Raspberry Pi 4 and 5 need no address table.
// [Input] and [Output] are pins of periph.io (gpio.PinIn, gpio.PinOut) and can do what those cannot:
//
//   - an output shows its first level from the moment it is taken, without a glitch in between;
//   - an active-low line is turned round by the kernel: High always means on;
//   - reading a level can fail, and never changes the line's direction;
//   - an edge carries when it happened, and one that the kernel had no room for is noticed;
//   - every wait ends at once when the line is closed.
//
// What becomes of an output when the process dies is the chip driver's choice, not the kernel's promise
// (chardev.rst: "the state of a line after release is not guaranteed"): most keep the level, the
// Raspberry Pi's driver may turn the line into an input (pinctrl-bcm2835, persist_gpio_outputs), gpio-sim falls back to
// the pull. Wire a pull resistor so that a line nobody holds means off.
//
// Errors a person can mend are a [drivers.Problem]: "not-found" (no such chip or line; named twice),
// "busy" (another program has the line), "permission", "gone" (the chip was unplugged).
package gpioline

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"

	"minglu/drivers"
)

// Options name a line and say how it is wired.
type Options struct {
	// Chip is the label of the line's chip, such as "pinctrl-bcm2711", or its device, such as
	// "/dev/gpiochip4". "" takes the line's name from any chip, if only one has it.
	Chip string
	// Line is the line's name, such as "GPIO17", or, with a Chip, its number there from 0.
	Line string

	ActiveLow bool          // the line is on while its voltage is low
	Bias      gpio.Pull     // input: PullUp, PullDown, Float (none); PullNoChange, the zero value, leaves it as it is
	Debounce  time.Duration // input: an edge counts when the level has held this long, up to 1 s; told that much later
	Consumer  string        // who has the line, for gpioinfo; at most 31 bytes; "" is "minglu"
}

// maxDebounce bounds Options.Debounce: nobody presses a button for an hour.
const maxDebounce = time.Second

// line is what inputs and outputs share: one requested line. It implements most of pin.Pin.
type line struct {
	name   string // "chip label/line name", for people
	number int

	mu sync.Mutex // guards f: an ioctl must not meet another file's descriptor
	f  *os.File   // nil after Close
}

var errClosed = fmt.Errorf("the line was closed: %w", os.ErrClosed)

func (l *line) String() string { return l.name }

// Name returns chip and line, such as "pinctrl-bcm2711/GPIO17".
func (l *line) Name() string { return l.name }

// Number returns the line's number on its chip.
func (l *line) Number() int { return l.number }

// Halt is Close, for periph.
func (l *line) Halt() error { return l.Close() }

// Close gives the line back and ends every wait on it. The second time does nothing.
func (l *line) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.f
	if f == nil {
		return nil
	}
	l.f = nil
	return f.Close()
}

// Level reads the line now: High means on. An output gives what the chip says, which shows a line that does not
// follow where the chip can tell.
func (l *line) Level() (gpio.Level, error) {
	v := unix.GPIOV2LineValues{Mask: 1}
	if err := l.ioctl(unix.GPIO_V2_LINE_GET_VALUES_IOCTL, unsafe.Pointer(&v)); err != nil {
		return gpio.Low, fmt.Errorf("gpioline: %s: read: %w", l.name, gone(l.name, err))
	}
	return gpio.Level(v.Bits&1 == 1), nil
}

func (l *line) ioctl(op uint, arg unsafe.Pointer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return errClosed
	}
	c, err := l.f.SyscallConn()
	if err != nil {
		return err
	}
	var e error
	if err := c.Control(func(fd uintptr) { e = ioctl(fd, op, arg) }); err != nil {
		return err
	}
	return e
}

// ioctl makes the call; arg points to memory the kernel reads and writes.
func ioctl(fd uintptr, op uint, arg unsafe.Pointer) error {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(op), uintptr(arg))
	runtime.KeepAlive(arg)
	if e != 0 {
		return e
	}
	return nil
}

// Output is a line that is driven. Its methods are safe for concurrent use.
type Output struct{ line }

// OpenOutput takes the line and drives it to level from the first moment on.
func OpenOutput(o Options, level gpio.Level) (*Output, error) {
	flags := uint64(flagOutput)
	attrs := []unix.GPIOV2LineAttribute{{Id: unix.GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES, Flags: bit(level)}}
	if o.Bias != gpio.PullNoChange || o.Debounce != 0 {
		return nil, errors.New("gpioline: bias and debounce are for inputs")
	}
	out := &Output{}
	if err := out.request(o, flags, attrs); err != nil {
		return nil, err
	}
	return out, nil
}

// Out drives the line; High means on.
func (o *Output) Out(level gpio.Level) error {
	v := unix.GPIOV2LineValues{Bits: bit(level), Mask: 1}
	if err := o.ioctl(unix.GPIO_V2_LINE_SET_VALUES_IOCTL, unsafe.Pointer(&v)); err != nil {
		return fmt.Errorf("gpioline: %s: write: %w", o.name, gone(o.name, err))
	}
	return nil
}

// PWM is refused: the character device has none.
func (o *Output) PWM(gpio.Duty, physic.Frequency) error {
	return fmt.Errorf("gpioline: %s: no PWM on a line of the character device", o.name)
}

// Function says what the line is, for periph.
func (o *Output) Function() string { return string(gpio.OUT) }

func bit(l gpio.Level) uint64 {
	if l {
		return 1
	}
	return 0
}

// request asks the kernel for the line.
func (l *line) request(o Options, flags uint64, attrs []unix.GPIOV2LineAttribute) error {
	chip, at, err := find(o)
	if err != nil {
		return err
	}
	defer chip.f.Close()
	l.name, l.number = chip.label+"/"+at.title(), int(at.offset)
	if o.ActiveLow {
		flags |= flagActiveLow
	}
	r := unix.GPIOV2LineRequest{Num_lines: 1}
	r.Offsets[0] = at.offset
	if o.Consumer == "" {
		o.Consumer = "minglu"
	}
	if copy(r.Consumer[:31], o.Consumer) < len(o.Consumer) {
		return fmt.Errorf("gpioline: consumer %q: at most 31 bytes", o.Consumer)
	}
	r.Config.Flags = flags
	for i, a := range attrs {
		r.Config.Attrs[i] = unix.GPIOV2LineConfigAttribute{Attr: a, Mask: 1}
	}
	r.Config.Num_attrs = uint32(len(attrs))
	if err := ioctl(chip.f.Fd(), unix.GPIO_V2_GET_LINE_IOCTL, unsafe.Pointer(&r)); err != nil {
		return fmt.Errorf("gpioline: %s: %w", l.name, refused(l.name, at.consumer, err))
	}
	if err := unix.SetNonblock(int(r.Fd), true); err != nil { // so that reads end on Close
		unix.Close(int(r.Fd))
		return fmt.Errorf("gpioline: %s: %w", l.name, err)
	}
	l.f = os.NewFile(uintptr(r.Fd), l.name)
	return nil
}

// refused puts words to what the kernel says to a request.
func refused(name, consumer string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		by, von := "", ""
		if consumer != "" {
			by, von = " by "+consumer, "（"+consumer+"）"
		}
		return &drivers.Problem{Code: "busy", Err: err,
			Zh: "GPIO 线 " + name + " 已被占用" + von + "；请停止另一个程序，或在 agent.yaml 中改用其他线",
			En: "GPIO line " + name + " is taken" + by + ": stop the other program, or name another line in agent.yaml"}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EPERM):
		return &drivers.Problem{Code: "unsupported", Err: err,
			Zh: "GPIO 线 " + name + " 不支持这种用法；请去掉 bias，或在 agent.yaml 中改用其他线",
			En: "GPIO line " + name + " cannot be used like this: leave bias out, or name another line in agent.yaml"}
	}
	return err
}

// gone puts words to a chip that was unplugged.
func gone(name string, err error) error {
	if errors.Is(err, unix.ENODEV) {
		return &drivers.Problem{Code: "gone", Err: err,
			Zh: "GPIO 芯片已断开（" + name + "）；请检查接线，恢复后自动继续",
			En: "the GPIO chip is gone (" + name + "): check its connection; it goes on by itself"}
	}
	return err
}

var _ gpio.PinOut = (*Output)(nil)
