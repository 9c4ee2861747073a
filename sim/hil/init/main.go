// Command init is PID 1 of a hil guest: it loads the modules of its file system, mounts what the job in
// the share names, runs the job's programs one after the other, says how each ended, and powers off. It
// is built for arm64; the programs may be of arm/7.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"minglu/sim/hil"
)

// plan9 are the options of the host's folders: large messages, reads cached.
const plan9 = "trans=virtio,version=9p2000.L,msize=262144,cache=mmap"

// configfs is where chips of gpio-sim are made.
const configfs = "/sys/kernel/config"

func main() {
	for _, m := range []struct{ kind, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}, {"devpts", "/dev/pts"}, {"tmpfs", "/dev/shm"}} {
		say(mount(m.kind, m.dir, m.kind, 0, ""))
	}
	if err := work(); err != nil {
		say(err)
	} else {
		console("the job has ended")
	}
	syscall.Sync()
	say(syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF))
	select {}
}

func console(text string) {
	f, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		f = os.Stderr
	}
	fmt.Fprintf(f, "hil-init: %s\n", text)
}

func say(err error) {
	if err != nil {
		console(err.Error())
	}
}

func work() error {
	if err := modules("/modules"); err != nil {
		return err
	}
	if _, err := os.Stat(configfs); err == nil { // a module asked for it
		if err := mount("configfs", configfs, "configfs", 0, ""); err != nil {
			return err
		}
	}
	if err := mount("share", hil.Share, "9p", syscall.MS_RDONLY, plan9); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(hil.Share, "job.json"))
	if err != nil {
		return err
	}
	var job hil.Job
	if err := json.Unmarshal(b, &job); err != nil {
		return err
	}
	root := ""
	if job.Root != nil {
		root = "/system"
		if err := mount(job.Root.Device, root, "ext4", 0, ""); err != nil {
			return err
		}
	}
	if job.Work != "" {
		if err := mount("work", root+job.Work, "9p", 0, plan9); err != nil {
			return err
		}
	}
	for _, m := range job.Mounts {
		if err := mount(m.Device, m.Dir, "ext4", 0, ""); err != nil {
			return err
		}
	}
	if err := up("lo", [4]byte{127, 0, 0, 1}, 8); err != nil {
		return err
	}
	if job.Network {
		if err := up("eth0", [4]byte{10, 0, 2, 15}, 24); err != nil {
			return err
		}
	}
	if job.Root != nil {
		return become(root, job.Root.Init)
	}
	var ports [3]*os.File
	for i, name := range []string{hil.PortOut, hil.PortErr, hil.PortResults} {
		if ports[i], err = port(name); err != nil {
			return err
		}
	}
	for _, p := range job.Run {
		res := run(p, ports[0], ports[1])
		line, err := json.Marshal(res)
		if err == nil {
			_, err = ports[2].Write(append(line, '\n'))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// become moves into the file system at root and is its PID 1 from then on.
func become(root string, args []string) error {
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := syscall.Mount(dir, root+dir, "", syscall.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", dir, err)
		}
	}
	if err := errors.Join(syscall.Chdir(root), syscall.Mount(".", "/", "", syscall.MS_MOVE, ""), syscall.Chroot("."), syscall.Chdir("/")); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	return fmt.Errorf("%s: %w", args[0], syscall.Exec(args[0], args, []string{"HOME=/root", "TERM=linux", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}))
}

func run(p hil.Program, out, errs io.Writer) (res hil.Result) {
	res = hil.Result{Name: p.Name, Status: 126}
	began := time.Now()
	defer func() { res.Seconds = time.Since(began).Seconds() }()
	file := "/run/" + p.File
	if err := copyFile(file, filepath.Join(hil.Share, p.File)); err != nil {
		res.Error = err.Error()
		return res
	}
	defer os.Remove(file)
	ctx := context.Background()
	if p.Seconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(p.Seconds)*time.Second)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, file, p.Args...)
	cmd.Env = append([]string{"HOME=/root", "PATH=/bin", "TMPDIR=/tmp"}, p.Env...)
	cmd.Dir = "/tmp"
	if p.Dir != "" {
		cmd.Dir = p.Dir
	}
	cmd.Stdout, cmd.Stderr = out, errs
	if p.Keep {
		var kept tail
		cmd.Stdout, cmd.Stderr = io.MultiWriter(&kept, out), io.MultiWriter(&kept, errs)
		defer func() { res.Output = string(kept.b) }()
	}
	err := cmd.Run()
	exit := new(exec.ExitError)
	switch {
	case err == nil:
		res.Status = 0
	case errors.As(err, &exit):
		res.Status = exit.ExitCode()
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			res.Status = 128 + int(ws.Signal())
		}
	default:
		res.Error = err.Error()
	}
	return res
}

// tail keeps the end of what a program says on both of its pipes.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-hil.KeepBytes):]
	return len(p), nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func mount(what, dir, kind string, flags uintptr, options string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount(what, dir, kind, flags, options); err != nil && !errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("mount %s at %s: %w", what, dir, err)
	}
	return nil
}

// finitModule is the number of the system call on arm64 (asm-generic/unistd.h).
const finitModule = 273

func modules(dir string) error {
	order, err := os.ReadFile(filepath.Join(dir, "order"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(order)) {
		name, parameters, _ := strings.Cut(strings.TrimSpace(line), " ")
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		p, err := syscall.BytePtrFromString(parameters)
		if err != nil {
			return fmt.Errorf("module %s: parameters %q: %w", name, parameters, err)
		}
		_, _, e := syscall.Syscall(finitModule, f.Fd(), uintptr(unsafe.Pointer(p)), 0)
		f.Close()
		if e != 0 && e != syscall.EEXIST {
			return fmt.Errorf("module %s: %w", name, e)
		}
	}
	return nil
}

// port opens a virtio-serial port; the host's side may come a moment after the module.
func port(name string) (*os.File, error) {
	for range 500 {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, n := range names {
			if b, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(b)) == name {
				return os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(n))), os.O_RDWR, 0)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("no port %s", name)
}

// up gives an interface its address and switches it on (netdevice(7)).
func up(name string, addr [4]byte, bits int) error {
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(s)
	type request struct {
		name [16]byte
		data [24]byte
	}
	address := func(a [4]byte) (r request) {
		copy(r.name[:], name)
		*(*uint16)(unsafe.Pointer(&r.data)) = syscall.AF_INET
		copy(r.data[4:], a[:])
		return r
	}
	var mask [4]byte
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	var flags request
	copy(flags.name[:], name)
	*(*uint16)(unsafe.Pointer(&flags.data)) = syscall.IFF_UP | syscall.IFF_RUNNING
	for _, c := range []struct {
		what uintptr
		r    request
	}{{syscall.SIOCSIFADDR, address(addr)}, {syscall.SIOCSIFNETMASK, address(mask)}, {syscall.SIOCSIFFLAGS, flags}} {
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(s), c.what, uintptr(unsafe.Pointer(&c.r))); e != 0 {
			return fmt.Errorf("interface %s: %w", name, e)
		}
	}
	return nil
}
