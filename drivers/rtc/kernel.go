package rtc

import (
	"context"
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

// Kernel is a clock that the kernel drives (Documentation/admin-guide/rtc.rst). It implements [drivers.RTC], keeps nothing open
// and is safe for concurrent use. Setting it is the kernel's business: it does so every 11 minutes while the system's
// clock is synchronised.
type Kernel struct {
	path   string
	uptime func() time.Duration
	mu     sync.Mutex // the kernel lets one open it at a time
}

// NewKernel returns the clock of a device such as "/dev/rtc0". It opens nothing yet.
func NewKernel(path string, uptime func() time.Duration) *Kernel {
	return &Kernel{path: path, uptime: uptime}
}

// Read implements [drivers.RTC]. Stopped is what the driver says of the battery, as far as it can (RTC_VL_READ), or that it
// refuses to tell a time it does not believe (EINVAL); others just show the time they begin with, such as 1970.
func (k *Kernel) Read(ctx context.Context) (drivers.RTCTime, error) {
	if err := context.Cause(ctx); err != nil {
		return drivers.RTCTime{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	f, err := os.OpenFile(k.path, os.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return drivers.RTCTime{}, fmt.Errorf("rtc: %w", k.problem(err))
	}
	defer f.Close()
	t, err := k.read(int(f.Fd()))
	if err != nil {
		return drivers.RTCTime{}, fmt.Errorf("rtc: %w", k.problem(err))
	}
	return t, nil
}

func (k *Kernel) read(fd int) (drivers.RTCTime, error) {
	now := drivers.RTCTime{Stopped: low(fd)}
	r, err := unix.IoctlGetRTCTime(fd)
	now.Up = k.uptime()
	switch {
	case errors.Is(err, unix.EINVAL):
		now.T, now.Stopped = time.Unix(0, 0).UTC(), true
		return now, nil
	case err != nil:
		return now, err
	}
	now.T = time.Date(int(r.Year)+1900, time.Month(r.Mon+1), int(r.Mday), int(r.Hour), int(r.Min), int(r.Sec), 0, time.UTC)
	return now, nil
}

// Of uapi/linux/rtc.h: what RTC_VL_READ answers.
const (
	dataInvalid  = 1 << 0 // the time is not to be relied on
	backupEmpty  = 1 << 2
	batteryState = dataInvalid | backupEmpty
)

// low asks the driver for the state of the battery; false if it cannot tell.
func low(fd int) bool {
	var state uint32
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.RTC_VL_READ, uintptr(unsafe.Pointer(&state)))
	return e == 0 && state&batteryState != 0
}

func (k *Kernel) problem(err error) error {
	p := &drivers.Problem{Code: "device", Err: err, Zh: "硬件时钟 " + k.path + " 不能读取；请检查内核日志", En: "the hardware clock " + k.path + " cannot be read: see the kernel's log"}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		p.Code, p.Zh, p.En = "not-found", "没有硬件时钟 "+k.path+"；请用 minglu-agent devices 查看，并核对 agent.yaml 的 rtc", "there is no hardware clock "+k.path+": see minglu-agent devices, and correct rtc in agent.yaml"
	case errors.Is(err, unix.EBUSY):
		p.Code, p.Zh, p.En = "busy", "硬件时钟 "+k.path+" 正被其他程序使用；稍后自动再读", "another program uses the hardware clock "+k.path+": it is read again later"
	case errors.Is(err, fs.ErrPermission):
		p.Code, p.Zh, p.En = "permission", "无权打开 "+k.path+"；请安装 minglu-agent 软件包的 udev 规则", "not allowed to open "+k.path+": install the udev rules of the package minglu-agent"
	}
	return p
}

var _ drivers.RTC = (*Kernel)(nil)
