// Package watchdog keeps a hardware watchdog of the kernel from resetting the board: /dev/watchdogN, linux
// Documentation/watchdog/watchdog-api.rst.
//
// From [Open] on the hardware resets the board unless [Dev.Feed] is called more often than its time. A process
// that dies, hangs or is stopped feeds no more: that is the purpose. [Dev.Close] switches it off by the "magic
// close" (watchdog-api.rst, "Magic Close feature"), where the driver allows it; a process that ends without Close
// leaves it running, and the one that is started after it must open and feed it in time.
//
// Times are whole seconds. The hardware has steps of its own (Synopsys DesignWare: powers of two of its
// clock) or a longest time that the kernel stretches (BCM2835: 15 s): what was set is read back.
//
// Faults: a [drivers.Problem] of code "not-found", "busy" (somebody else feeds it, systemd's RuntimeWatchdogSec for
// one), "permission", "device" (it does not answer, or refuses the time).
package watchdog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"minglu/drivers"
)

// Bounds of a time. Under 10 s a loaded board resets itself.
const (
	Min = 10 * time.Second
	Max = 10 * time.Minute
)

// Info is what a watchdog says of itself.
type Info struct {
	Identity string        // of the driver, such as "Broadcom BCM2835 Watchdog timer"
	Timeout  time.Duration // in force, as read back
	Magic    bool          // Close switches it off; otherwise the board is reset after the process has ended
	Reset    bool          // it was this watchdog that reset the board last, as far as the driver knows
}

// Dev is an open watchdog. It is safe for concurrent use.
type Dev struct {
	name string
	info Info

	mu  sync.Mutex // guards what follows
	dev device     // nil once closed
}

// device is the kernel's side.
type device interface {
	info() (identity string, options uint32, err error)
	set(seconds int) error
	get() (seconds int, err error)
	bootStatus() (uint32, error)
	keepAlive() error
	write(b []byte) error
	close() error
}

// Open starts the watchdog with a time between [Min] and [Max], and reads back what the driver made of it. The
// board is reset when nobody calls Feed for that long. After an error it does not run because of this call.
func Open(path string, timeout time.Duration) (*Dev, error) {
	if timeout < Min || timeout > Max {
		return nil, fmt.Errorf("watchdog: %s: %v is not between %v and %v", path, timeout, Min, Max)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", openProblem(path, err))
	}
	return start(path, timeout, kernel{f})
}

func openProblem(path string, err error) *drivers.Problem {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return &drivers.Problem{Code: "not-found", Err: err, Zh: "没有看门狗 " + path + "；请用 minglu-agent devices 查看，并核对 agent.yaml 的 watchdog.device",
			En: "there is no watchdog " + path + ": see minglu-agent devices, and correct watchdog.device in agent.yaml"}
	case errors.Is(err, unix.EBUSY):
		return &drivers.Problem{Code: "busy", Err: err, Zh: "看门狗 " + path + " 正被其他程序使用；若是 systemd，请在 system.conf 中去掉 RuntimeWatchdogSec",
			En: "another program feeds the watchdog " + path + ": if it is systemd, take RuntimeWatchdogSec out of system.conf"}
	case errors.Is(err, fs.ErrPermission):
		return &drivers.Problem{Code: "permission", Err: err, Zh: "无权打开 " + path + "；请安装 minglu-agent 软件包的 udev 规则，或加入其用户组",
			En: "not allowed to open " + path + ": install the udev rules of the package minglu-agent, or join its group"}
	}
	return deviceProblem(path, err)
}

func deviceProblem(path string, err error) *drivers.Problem {
	return &drivers.Problem{Code: "device", Err: err, Zh: "看门狗 " + path + " 不能使用；请检查内核日志", En: "the watchdog " + path + " cannot be used: see the kernel's log"}
}

// start sets the time of a device that was opened, or gives it back.
func start(path string, timeout time.Duration, dev device) (*Dev, error) {
	d := &Dev{name: path, dev: dev}
	identity, options, err := dev.info()
	if err != nil { // no watchdog at all: nothing may be written to it
		err = fmt.Errorf("watchdog: %w", deviceProblem(path, fmt.Errorf("its support cannot be asked: %w", err)))
		return nil, errors.Join(err, dev.close())
	}
	if err := d.setUp(timeout, identity, options); err != nil {
		err = fmt.Errorf("watchdog: %w", deviceProblem(path, err))
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Dev) setUp(timeout time.Duration, identity string, options uint32) error {
	d.info.Identity, d.info.Magic = identity, options&unix.WDIOF_MAGICCLOSE != 0
	if boot, err := d.dev.bootStatus(); err == nil {
		d.info.Reset = boot&unix.WDIOF_CARDRESET != 0
	}
	if options&unix.WDIOF_SETTIMEOUT != 0 {
		if err := d.dev.set(int((timeout + time.Second - 1) / time.Second)); err != nil {
			return fmt.Errorf("%v is refused: %w", timeout, err)
		}
	}
	got, err := d.dev.get()
	if err != nil {
		return fmt.Errorf("its time cannot be read back: %w", err)
	}
	if d.info.Timeout = time.Duration(got) * time.Second; d.info.Timeout < time.Second {
		return fmt.Errorf("its time is %d s: it cannot be fed so often", got)
	}
	return d.dev.keepAlive()
}

// Info is what was found at Open.
func (d *Dev) Info() Info { return d.info }

// String is its path.
func (d *Dev) String() string { return d.name }

// ErrClosed says that the watchdog was closed.
var ErrClosed = errors.New("watchdog: closed")

// Feed puts off the reset by the whole time. It does not block.
func (d *Dev) Feed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dev == nil {
		return ErrClosed
	}
	if err := d.dev.keepAlive(); err != nil {
		return fmt.Errorf("watchdog: %w", deviceProblem(d.name, err))
	}
	return nil
}

// Close switches it off, if the driver allows that. It may be called twice.
func (d *Dev) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dev == nil {
		return nil
	}
	dev := d.dev
	d.dev = nil
	return errors.Join(dev.write([]byte("V")), dev.close())
}

// kernel is a real one.
type kernel struct{ f *os.File }

func (k kernel) info() (string, uint32, error) {
	i, err := unix.IoctlGetWatchdogInfo(int(k.f.Fd()))
	if err != nil {
		return "", 0, err
	}
	return unix.ByteSliceToString(i.Identity[:]), i.Options, nil
}

func (k kernel) set(seconds int) error {
	n := int32(seconds)
	return k.ioctl(unix.WDIOC_SETTIMEOUT, &n)
}

func (k kernel) get() (int, error) {
	var n int32
	err := k.ioctl(unix.WDIOC_GETTIMEOUT, &n)
	return int(n), err
}

func (k kernel) bootStatus() (uint32, error) {
	var n int32
	err := k.ioctl(unix.WDIOC_GETBOOTSTATUS, &n)
	return uint32(n), err
}

// ioctl passes the address of an int, which is 32 bits on all that Linux runs on.
func (k kernel) ioctl(request uint, n *int32) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, k.f.Fd(), uintptr(request), uintptr(unsafe.Pointer(n))); e != 0 {
		return e
	}
	return nil
}

func (k kernel) keepAlive() error { return unix.IoctlWatchdogKeepalive(int(k.f.Fd())) }

func (k kernel) write(b []byte) error {
	_, err := k.f.Write(b)
	return err
}

func (k kernel) close() error { return k.f.Close() }
