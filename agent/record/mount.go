package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// mounted tells whether a folder is a file system of its own: an empty one is then a new disk in place of
// the one that was there before.
func mounted(dir string) bool {
	var own, above syscall.Stat_t
	return syscall.Stat(dir, &own) == nil && syscall.Stat(filepath.Dir(dir), &above) == nil && own.Dev != above.Dev
}

// pulled tells whether the disk that is mounted at a folder is one the kernel no longer has.
func pulled(dir string) bool {
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		return false
	}
	dev := uint64(st.Dev) // of makedev(3); major 0 is no disk
	major, minor := dev>>8&0xfff|dev>>32&^0xfff, dev&0xff|dev>>12&^0xff
	if _, err := os.Stat("/sys/dev/block"); major == 0 || err != nil {
		return false
	}
	_, err := os.Stat(fmt.Sprintf("/sys/dev/block/%d:%d", major, minor))
	return errors.Is(err, fs.ErrNotExist)
}
