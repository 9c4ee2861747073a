// Package hil runs this tree's programs on boards that are not there: a stock Debian arm64 kernel in
// qemu-system-aarch64 (pure emulation), with disks whose power can be cut.
//
// A [Kernel] is fetched once by apt into a cache folder and unpacked there; nothing is installed and no
// foreign architecture is added to the machine. [Kernel.Boot] starts a guest whose PID 1 (folder init)
// mounts what a [Job] names, runs its programs one after the other and powers off. Programs of arm/7 run
// by the 32-bit ABI of the same kernel. A [Disk] is a block device with a volatile write cache:
// [Guest.Cut] ends the guest at once, and [Disk.Cut] then loses, keeps and tears what it had not flushed.
//
// Not for timing below some 10 ms: emulation is 10 to 30 times slower than the machine itself.
//
// Use: `make hil`; see Makefile for the short form. It needs the packages that tools/install --hil names.
package hil

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// modulesFor are what every guest loads; Boot adds those that disks and networks need.
var modulesFor = []string{"virtio_pci", "virtio_console", "virtio-rng", "9pnet_virtio", "9p", "crc32c_generic"}

// tools are the programs the host needs, beside apt.
var tools = []string{"qemu-system-aarch64", "dpkg-deb", "xz", "/sbin/depmod", "mkfs.ext4", "e2fsck", "debugfs"}

// attempts are made to fetch the kernel.
const attempts = 4

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
	lock, err := os.Create(filepath.Join(cache, "lock"))
	if err != nil {
		return nil, fmt.Errorf("hil: cache: %w", err)
	}
	defer lock.Close() // ends the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("hil: cache: lock: %w", err)
	}
	if k, err := unpacked(cache); err == nil {
		return k, nil
	}
	deb, err := fetch(cache)
	for n := 1; err != nil && n < attempts; n++ { // a mirror may be renewed just now
		fmt.Fprintf(os.Stderr, "%v; once more\n", err)
		time.Sleep(time.Duration(n) * 10 * time.Second)
		deb, err = fetch(cache)
	}
	if err != nil {
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
	// The package leaves modules.dep to be made on the machine it is installed on.
	if out, err := exec.Command("/sbin/depmod", "-b", filepath.Dir(filepath.Dir(filepath.Dir(k.modules))), k.Version).CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("hil: depmod: %w: %s: run tools/install --hil", err, out), os.RemoveAll(filepath.Join(cache, "kernel")))
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
	k.pid1 = sync.OnceValues(k.buildInit)
	for _, lib := range []string{"lib", "usr/lib"} {
		dir := filepath.Join(cache, "kernel", lib, "modules", k.Version)
		if _, err := os.Stat(filepath.Join(dir, "kernel")); err == nil {
			k.modules = dir
			return k, nil
		}
	}
	return nil, fmt.Errorf("hil: no modules of %s in %s: remove the folder to fetch it anew", k.Version, cache)
}

// fetch downloads the kernel's package with an apt state of its own: this machine's sources and keys, but
// for arm64 too.
func fetch(cache string) (deb string, err error) {
	state := filepath.Join(cache, "apt")
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(state, d), 0o755); err != nil {
			return "", fmt.Errorf("hil: cache: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(state, "status"), nil, 0o644); err != nil {
		return "", fmt.Errorf("hil: cache: %w", err)
	}
	arch := map[string]string{"arm": "armhf", "386": "i386"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	conf := fmt.Sprintf(`Dir::State::lists "%[1]s/lists"; Dir::State::status "%[1]s/status"; Dir::Cache "%[1]s/cache";
APT::Architecture "%[2]s"; APT::Architectures { "%[2]s"; "arm64"; }; APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Retries "3";
`, state, arch)
	if err := os.WriteFile(filepath.Join(state, "apt.conf"), []byte(conf), 0o644); err != nil {
		return "", fmt.Errorf("hil: cache: %w", err)
	}
	apt := func(name string, args ...string) (string, error) {
		cmd := exec.Command(name, args...)
		cmd.Dir = cache
		cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(state, "apt.conf"), "LC_ALL=C")
		var out, complaint bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &complaint
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("hil: %s %s: %w: %s (this machine's apt sources must be Debian's and offer arm64; or put a linux-image-*_arm64.deb into %s by hand)",
				name, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()), cache)
		}
		return out.String(), nil
	}
	by, _ := filepath.Glob(filepath.Join(cache, "linux-image-*_arm64.deb"))
	if len(by) == 1 {
		return by[0], nil
	}
	fmt.Fprintln(os.Stderr, "hil: fetching a Debian kernel for arm64")
	if _, err := apt("apt-get", "-qq", "update"); err != nil {
		return "", err
	}
	show, err := apt("apt-cache", "show", "--no-all-versions", "linux-image-arm64:arm64")
	if err != nil {
		return "", err
	}
	_, after, _ := strings.Cut(show, "\nDepends: ")
	name, _, _ := strings.Cut(after, "\n")
	name = strings.Fields(strings.ReplaceAll(name, ",", " ") + " ?")[0]
	if !strings.HasPrefix(name, "linux-image-") {
		return "", fmt.Errorf("hil: linux-image-arm64 depends on %q, want a linux-image: are this machine's apt sources Debian's?", name)
	}
	if _, err := apt("apt-get", "-qq", "download", name+":arm64"); err != nil {
		return "", err
	}
	if by, _ = filepath.Glob(filepath.Join(cache, "linux-image-*_arm64.deb")); len(by) != 1 {
		return "", fmt.Errorf("hil: %d kernel packages in %s after the download, want one", len(by), cache)
	}
	return by[0], nil
}

// module returns a module's path below the modules' folder with those it needs before it, first to be
// loaded first; none where the kernel has it built in. A name has - and _ alike.
func (k *Kernel) module(name string) ([]string, error) {
	same := func(p string) bool {
		base, _, _ := strings.Cut(path.Base(p), ".ko")
		return strings.ReplaceAll(base, "-", "_") == strings.ReplaceAll(name, "-", "_")
	}
	deps, err := os.ReadFile(filepath.Join(k.modules, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("hil: modules: %w", err)
	}
	for l := range strings.Lines(string(deps)) {
		file, needs, ok := strings.Cut(strings.TrimSpace(l), ":")
		if !ok || !same(file) {
			continue
		}
		order := []string{file}
		for _, n := range strings.Fields(needs) { // the nearest need comes first
			order = append([]string{n}, order...)
		}
		return order, nil
	}
	builtin, err := os.ReadFile(filepath.Join(k.modules, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("hil: modules: %w", err)
	}
	for l := range strings.Lines(string(builtin)) {
		if same(strings.TrimSpace(l)) {
			return nil, nil
		}
	}
	return nil, fmt.Errorf("hil: kernel %s has no module %s", k.Version, name)
}

// read returns a module as the kernel loads it.
func (k *Kernel) read(file string) ([]byte, error) {
	full := filepath.Join(k.modules, file)
	switch filepath.Ext(file) {
	case ".xz":
		out, err := exec.Command("xz", "-dc", full).Output()
		if err != nil {
			return nil, fmt.Errorf("hil: xz %s: %w", file, err)
		}
		return out, nil
	default:
		b, err := os.ReadFile(full)
		if err != nil {
			return nil, fmt.Errorf("hil: module: %w", err)
		}
		return b, nil
	}
}

// archive writes files as a cpio archive of the "newc" kind, which the kernel unpacks at boot
// (Documentation/driver-api/early-userspace/buffer-format.rst).
func archive(w io.Writer, files []file) error {
	var b bytes.Buffer
	pad := func() {
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	for i, f := range append(files, file{name: "TRAILER!!!"}) {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", i+1, f.mode, 0, 0, 1, 0, len(f.data), 0, 0, 0, 0, len(f.name)+1, 0)
		b.WriteString(f.name)
		b.WriteByte(0)
		pad()
		b.Write(f.data)
		pad()
	}
	_, err := w.Write(b.Bytes())
	return err
}

// file is one file of an archive.
type file struct {
	name string
	mode uint32 // of st_mode
	data []byte
}
