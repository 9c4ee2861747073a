package clock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Uptime is the time since boot, with suspend: CLOCK_BOOTTIME (clock_gettime(2)). It never steps. It is
// asked for each packet: the call is made without telling Go's scheduler, whose monitor would wake up
// each time.
func Uptime() time.Duration {
	var ts unix.Timespec
	if _, _, err := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0); err != 0 {
		panic("BUG: CLOCK_BOOTTIME needs Linux 2.6.39: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// BootID is the kernel's name for this boot: another one means that the power was gone or the
// board was restarted (random(4)).
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("clock: boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// KernelMargin is added to the kernel's bound: systemd-timesyncd resets it to 0 at each answer
// without counting the way to its server.
const KernelMargin = 100 * time.Millisecond

// Kernel asks the kernel for the error bound that the program which disciplines its clock has left
// there; it grows by 500 ppm until the next correction (adjtimex(2)).
func Kernel(context.Context) (Estimate, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return Estimate{}, fmt.Errorf("clock: adjtimex: %w", err)
	}
	return kernelError(state, &t)
}

func kernelError(state int, t *unix.Timex) (Estimate, error) {
	if state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		return Estimate{}, fmt.Errorf("clock: adjtimex: state %d, status %#x: %w", state, t.Status, ErrUnverified)
	}
	unit := time.Microsecond
	if t.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	bound := time.Duration(max(int64(t.Maxerror), int64(t.Esterror))) * time.Microsecond
	return Estimate{Error: bound + (time.Duration(t.Offset) * unit).Abs() + KernelMargin, Source: SourceKernel}, nil
}

// watchSet calls set each time the system clock is set, until ctx ends: a timer with
// TFD_TIMER_CANCEL_ON_SET is cancelled by it (timerfd_create(2)). Without such timers it returns at
// once, and the check by interval has to do.
func watchSet(ctx context.Context, set func()) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "timerfd")
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer func() {
		stop()
		f.Close()
	}()
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	var buf [8]byte
	for ctx.Err() == nil {
		day := &unix.ItimerSpec{Value: unix.NsecToTimespec(time.Now().Add(24 * time.Hour).UnixNano())}
		var armErr error
		err := raw.Control(func(fd uintptr) {
			armErr = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, day, nil)
		})
		if errors.Is(armErr, unix.ECANCELED) { // set between the last read and now
			set()
			continue
		}
		if err != nil || armErr != nil {
			return
		}
		_, err = f.Read(buf[:])
		if err != nil && ctx.Err() == nil {
			set()
		}
		if err != nil && !errors.Is(err, unix.ECANCELED) {
			return
		}
	}
}
