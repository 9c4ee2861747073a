package rtsp

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pace waits for the moments at which a connection is looked at: the multiples of gatherEvery on the
// monotonic clock, so that all connections share them. It is a timer of the kernel (timerfd_create(2))
// that the runtime waits for as for a socket: for a timer of Go's own, a second thread wakes up each
// time. Only one goroutine uses it.
type pace struct {
	f       *os.File
	raw     syscall.RawConn
	running bool
	took    func(fd uintptr) bool
}

// newPace returns nil if the kernel has no such timers.
func newPace() *pace {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil
	}
	p := &pace{f: os.NewFile(uintptr(fd), "timerfd")}
	if p.raw, err = p.f.SyscallConn(); err != nil {
		p.close()
		return nil
	}
	p.took = func(fd uintptr) bool {
		var expired [8]byte
		n, errno := readNow(fd, expired[:])
		return n > 0 || errno != syscall.EAGAIN && errno != syscall.EINTR
	}
	return p
}

// wait returns at the next moment.
func (p *pace) wait() {
	if !p.running {
		p.running = p.set(gatherEvery)
	}
	if !p.running || p.raw.Read(p.took) != nil {
		time.Sleep(gatherEvery)
	}
}

// stop lets the timer rest until the next wait.
func (p *pace) stop() {
	if p.running {
		p.running = false
		p.set(0)
	}
}

func (p *pace) set(every time.Duration) bool {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return false
	}
	spec := unix.ItimerSpec{Interval: unix.NsecToTimespec(int64(every))}
	if every > 0 {
		spec.Value = unix.NsecToTimespec((now.Nano()/int64(every) + 1) * int64(every))
	}
	ok := false
	err := p.raw.Control(func(fd uintptr) {
		ok = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME, &spec, nil) == nil
	})
	return err == nil && ok
}

func (p *pace) close() { _ = p.f.Close() }
