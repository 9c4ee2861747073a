package scenario

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Disk is a file system of its own, as a disk of a room is.
type Disk struct {
	Dir string // mount point
	fs  string
}

// Disks mounts n file systems of their own: ext4 on loop devices where this is root and there are
// loop devices, else tmpfs. Where neither can be mounted the test fails: a folder is no second disk.
func Disks(t testing.TB, n, megabytes int) []*Disk {
	t.Helper()
	base := t.TempDir()
	var disks []*Disk
	for i := range n {
		d, err := mount(filepath.Join(base, fmt.Sprintf("disk%c", 'a'+i)), megabytes)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Unmount(); err != nil && !errors.Is(err, syscall.EINVAL) {
				t.Errorf("%v", err)
			}
		})
		disks = append(disks, d)
	}
	return disks
}

func mount(dir string, megabytes int) (*Disk, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("scenario: disk: %w", err)
	}
	image := dir + ".img"
	ext4 := func() error {
		f, err := os.Create(image)
		if err != nil {
			return err
		}
		err = errors.Join(f.Truncate(int64(megabytes)<<20), f.Close())
		if err != nil {
			return err
		}
		for _, c := range [][]string{{"mkfs.ext4", "-q", "-F", "-m", "0", image}, {"mount", "-o", "loop", image, dir}} {
			if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %s", strings.Join(c, " "), err, out)
			}
		}
		return nil
	}
	err := ext4()
	if err == nil {
		_ = os.RemoveAll(filepath.Join(dir, "lost+found"))
		return &Disk{dir, "ext4"}, nil
	}
	if e := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); e != nil {
		return nil, fmt.Errorf("scenario: no file system can be mounted here (run as root): %w", errors.Join(err, e))
	}
	return &Disk{dir, "tmpfs"}, nil
}

// Unmount takes the disk away, also under a program that uses it.
func (d *Disk) Unmount() error {
	err := syscall.Unmount(d.Dir, 0)
	if errors.Is(err, syscall.EBUSY) {
		err = syscall.Unmount(d.Dir, syscall.MNT_DETACH)
	}
	if err != nil {
		return fmt.Errorf("scenario: unmount %s: %w", d.Dir, err)
	}
	return nil
}

// String names the kind of file system and where it is.
func (d *Disk) String() string { return d.fs + " at " + d.Dir }

// Fill writes a file until only left bytes are free.
func (d *Disk) Fill(t testing.TB, left int64) (ballast string) {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.Dir, &st); err != nil {
		t.Fatal(err)
	}
	size := int64(st.Bavail)*int64(st.Bsize) - left
	ballast = filepath.Join(d.Dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, max(size, 1)); err != nil {
		t.Fatalf("filling %s with %d bytes: %v", d, size, err)
	}
	return ballast
}

// Spare keeps a second way to the disk, so that after Detach it can be attached again.
func (d *Disk) Spare(t testing.TB) (attach func()) {
	t.Helper()
	spare := d.Dir + ".spare"
	if err := os.Mkdir(spare, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(d.Dir, spare, "", syscall.MS_BIND, ""); err != nil {
		t.Fatalf("scenario: second way to %s: %v", d, err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(spare, syscall.MNT_DETACH) })
	return func() {
		if err := syscall.Mount(spare, d.Dir, "", syscall.MS_BIND, ""); err != nil {
			t.Errorf("scenario: attach %s again: %v", d, err)
		}
	}
}
