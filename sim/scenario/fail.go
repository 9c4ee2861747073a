package scenario

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// extShutdown is EXT4_IOC_SHUTDOWN of the kernel's fs/ext4/ext4.h, and what it is asked for: at once,
// without writing the journal.
const (
	extShutdown   = 0x8004587D
	extNoLogFlush = 2
)

// fiFreeze and fiThaw are FIFREEZE and FITHAW of linux/fs.h.
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// Freeze makes each further write wait, as a disk does that hangs, until thaw is called; it may be called
// more than once. A file system of another kind than ext4 goes on as before.
func (d *Disk) Freeze() (thaw func(), err error) {
	if d.fs != "ext4" {
		return func() {}, nil
	}
	f, err := os.Open(d.Dir)
	if err != nil {
		return nil, fmt.Errorf("scenario: freeze %s: %w", d, err)
	}
	if err := unix.IoctlSetInt(int(f.Fd()), fiFreeze, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("scenario: freeze %s: %w", d, err)
	}
	return sync.OnceFunc(func() {
		_ = unix.IoctlSetInt(int(f.Fd()), fiThaw, 0)
		f.Close()
	}), nil
}

// Fail makes each further access end in an error, as when a disk dies, and reports whether the kind of
// file system can. Where it cannot, use Detach.
func (d *Disk) Fail() (bool, error) {
	if d.fs != "ext4" {
		return false, nil
	}
	f, err := os.Open(d.Dir)
	if err != nil {
		return false, fmt.Errorf("scenario: fail %s: %w", d, err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), extShutdown, extNoLogFlush); err != nil {
		return false, fmt.Errorf("scenario: fail %s: %w", d, err)
	}
	return true, nil
}

// Brim writes a file until nothing more fits.
func (d *Disk) Brim() (ballast string, err error) {
	ballast = filepath.Join(d.Dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		return "", fmt.Errorf("scenario: fill %s: %w", d, err)
	}
	defer f.Close()
	size := int64(0)
	for step := int64(64 << 20); step >= 4096; { // allocated, not written: quick
		switch err := syscall.Fallocate(int(f.Fd()), 0, size, step); {
		case err == nil:
			size += step
		case errors.Is(err, syscall.ENOSPC):
			step /= 2
		default:
			return ballast, fmt.Errorf("scenario: fill %s: %w", d, err)
		}
	}
	return ballast, nil
}

// Detach takes the disk out of its folder; files that are open stay so.
func (d *Disk) Detach() error {
	if err := syscall.Unmount(d.Dir, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("scenario: detach %s: %w", d, err)
	}
	return nil
}
