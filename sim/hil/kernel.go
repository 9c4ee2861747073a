// Package hil runs this tree's programs on boards that are not there: a stock Debian arm64 kernel in
// qemu-system-aarch64 (pure emulation), with disks whose power can be cut, and with real device drivers.
//
// A [Kernel] is fetched once by apt into a cache folder and unpacked there; nothing is installed and no
// foreign architecture is added to the machine. [Kernel.Boot] starts a guest whose PID 1 (folder init)
// loads modules, mounts what a [Job] names, runs its programs one after the other and powers off. Programs
// of arm/7 run by the 32-bit ABI of the same kernel. A [Disk] is a block device with a volatile write cache:
// [Guest.Cut] ends the guest at once, and [Disk.Cut] then loses, keeps and tears what it had not flushed.
//
// Not for timing below some 10 ms: emulation is 10 to 30 times slower than the machine itself; but a guest that
// is steady ([Options]) measures by its own clock, a board of about 1 GHz, whatever else the host does. Not here: CSI
// cameras, real codec hardware (vicodec codes FWHT), PWM, 1-Wire, boot loaders, wear of SD cards.
//
// # Tests of drivers
//
// A package drivers/X may hold tests in files hil_test.go with the build tag hil, whose names begin with
// TestHIL: they run in a guest, as root, against the real kernel driver. A row in drivers_test.go names the
// package and its [Rig], the modules and devices it wants. TestDrivers boots each rig once and reports each
// test of each row, on arm64 and arm/7. The other side of a device is played from within the same test, by
// packages that only such tests may import (house_test.go):
//
//   - gpiosim: GPIO chips whose lines the test pulls and reads
//   - i2cchip: chips on an I²C bus, with faults: SHT3x, SHT4x, DS3231, INA219, INA226, any registers
//   - usbsim: USB cameras, microphones and serial lines that are plugged in and pulled out
//
// While writing one: go run ./sim/hil/run -rig lines ./drivers/climate -test.run Name.
//
// Use: `make hil`; see Makefile for the short form. It needs the packages that tools/install --hil names.
package hil

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// modulesFor are what every guest loads; Boot adds those that disks and networks need.
var modulesFor = []string{"virtio_pci", "virtio_console", "virtio-rng", "9pnet_virtio", "9p", "crc32c_generic"}

// tools are the programs the host needs, beside apt.
var tools = []string{"qemu-system-aarch64", "dpkg-deb", "xz", "tar", "make", "/sbin/depmod", "mkfs.ext4", "e2fsck", "debugfs"}

// Kernel is an unpacked Debian kernel for arm64.
type Kernel struct {
	Version string // as uname says
	image   string
	modules string // folder lib/modules/VERSION
	cache   string
	pid1    func() ([]byte, error)
}

// Prepare fetches the newest arm64 kernel of this machine's Debian release into the cache folder, unless
// it is there already, and unpacks it. It blocks for as long as 60 MB take to come, and is safe to call
// from several processes at once. Keep the cache: Debian removes superseded kernels.
func Prepare(cache string) (*Kernel, error) {
	for _, t := range tools {
		if _, err := exec.LookPath(t); err != nil {
			return nil, fmt.Errorf("hil: %s is missing: run tools/install --hil: %w", t, err)
		}
	}
	cache, err := filepath.Abs(cache)
	if err != nil {
		return nil, fmt.Errorf("hil: %w", err)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("hil: cache: %w", err)
	}
	unlock, err := lock(cache)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if k, err := unpacked(cache); err == nil {
		return k, nil
	}
	var deb string
	if err := again(func() (err error) { deb, err = fetch(cache); return err }); err != nil {
		return nil, err
	}
	for _, stale := range []string{"kernel", "kernel.new"} {
		if err := os.RemoveAll(filepath.Join(cache, stale)); err != nil {
			return nil, fmt.Errorf("hil: cache: %w", err)
		}
	}
	if out, err := exec.Command("dpkg-deb", "-x", deb, filepath.Join(cache, "kernel.new")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("hil: unpack %s: %w: %s", deb, err, out)
	}
	if err := os.Rename(filepath.Join(cache, "kernel.new"), filepath.Join(cache, "kernel")); err != nil {
		return nil, fmt.Errorf("hil: cache: %w", err)
	}
	k, err := unpacked(cache)
	if err != nil {
		return nil, err
	}
	if err := k.depmod(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(filepath.Join(cache, "kernel")))
	}
	return k, nil
}

// unpacked finds the kernel in the cache.
func unpacked(cache string) (*Kernel, error) {
	images, _ := filepath.Glob(filepath.Join(cache, "kernel/boot/vmlinuz-*"))
	if len(images) != 1 {
		return nil, fmt.Errorf("hil: %d kernels in %s, want one: remove the folder to fetch it anew", len(images), cache)
	}
	k := &Kernel{Version: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-"), image: images[0], cache: cache}
	k.pid1 = sync.OnceValues(buildInit)
	for _, lib := range []string{"lib", "usr/lib"} {
		dir := filepath.Join(cache, "kernel", lib, "modules", k.Version)
		if _, err := os.Stat(filepath.Join(dir, "kernel")); err == nil {
			k.modules = dir
			return k, nil
		}
	}
	return nil, fmt.Errorf("hil: no modules of %s in %s: remove the folder to fetch it anew", k.Version, cache)
}

// fetch downloads the kernel's package.
func fetch(cache string) (deb string, err error) {
	const pattern = "linux-image-*_arm64.deb"
	if by, _ := filepath.Glob(filepath.Join(cache, pattern)); len(by) == 1 {
		return by[0], nil
	}
	p, err := openPackages(cache)
	if err != nil {
		return "", err
	}
	fmt.Fprintln(os.Stderr, "hil: fetching a Debian kernel for arm64")
	if _, err := p.run("apt-get", "-qq", "update"); err != nil {
		return "", err
	}
	needs, err := p.field("linux-image-arm64:arm64", "Depends")
	if err != nil {
		return "", err
	}
	name := strings.Fields(strings.ReplaceAll(needs, ",", " ") + " ?")[0]
	if !strings.HasPrefix(name, "linux-image-") {
		return "", fmt.Errorf("hil: linux-image-arm64 depends on %q, want a linux-image: are this machine's apt sources Debian's?", name)
	}
	return p.download(name+":arm64", pattern)
}

// lock keeps other processes from the cache until it is called off.
func lock(cache string) (unlock func(), err error) {
	f, err := os.Create(filepath.Join(cache, "lock"))
	if err != nil {
		return nil, fmt.Errorf("hil: cache: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("hil: cache: lock: %w", err)
	}
	return func() { f.Close() }, nil
}
