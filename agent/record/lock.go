package record

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// errTaken means that somebody else writes to the disk: two agents that share it would sweep each
// other's temporary files away.
var errTaken = errors.New("another minglu-agent writes to this disk: stop it, or give each its own disks")

// diskLock is an advisory lock on DISK/ledger/disk.json, held while a session has files open on the
// disk and no longer: an open file keeps a disk from being unmounted. The kernel lifts it with the
// process. The disk's goroutine owns it. A file system without such locks has none.
type diskLock struct {
	f     *os.File
	holds int
}

// hold takes the lock, or errTaken; holds add up.
func (l *diskLock) hold(disk string) error {
	if l.holds == 0 {
		f, err := os.Open(filepath.Join(disk, "ledger", "disk.json"))
		if err == nil {
			if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
				f.Close()
				return errTaken
			}
			l.f = f
		}
	}
	l.holds++
	return nil
}

// release ends one hold.
func (l *diskLock) release() {
	if l.holds--; l.holds == 0 && l.f != nil {
		l.f.Close()
		l.f = nil
	}
}
