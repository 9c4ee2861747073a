package hil

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say what a guest is given.
type Options struct {
	Job   Job
	Files map[string]string // name in the share -> file of the host
	Disks []*Disk           // /dev/vda, /dev/vdb …
	// Modules are loaded in this order, each with those it needs before it: a name and its parameters, such as
	// "vivid n_devs=1". Those that Debian leaves out (see modules.go) are built when first asked for.
	Modules []string
	QEMU    []string  // more arguments for the emulator: buses, USB devices, a watchdog, a TPM
	Stdout  io.Writer // of its programs; nil discards
	Stderr  io.Writer
	Memory  string // "" for 1G
	// Steady makes the guest's clock its own: it counts instructions, one a nanosecond, and skips what nobody does
	// anything in. A busy host makes such a guest slower and no later: what it measures within itself holds.
	Steady bool
	Ended  func(Result) // is called as each program ends; nil: nothing is
}

// Guest is a machine that runs.
type Guest struct {
	dir     string
	cmd     *exec.Cmd
	done    chan struct{} // closed when the emulator has ended
	readers sync.WaitGroup
	listen  []net.Listener

	mu      sync.Mutex
	results []Result
}

// Boot starts a guest; a context that ends cuts its power. Wait must be called.
func (k *Kernel) Boot(ctx context.Context, o Options) (*Guest, error) {
	g := &Guest{done: make(chan struct{})}
	args, err := g.prepare(k, o)
	if err != nil {
		g.close()
		return nil, err
	}
	g.cmd = exec.CommandContext(ctx, "qemu-system-aarch64", args...)
	// A test that is killed leaves nothing behind.
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var complaint bytes.Buffer
	g.cmd.Stdout, g.cmd.Stderr = &complaint, &complaint
	if err := g.cmd.Start(); err != nil {
		g.close()
		return nil, fmt.Errorf("hil: %w", err)
	}
	go func() {
		_ = g.cmd.Wait()
		close(g.done)
		for _, l := range g.listen {
			l.Close()
		}
	}()
	return g, nil
}

// prepare makes the initial file system, the share and the sockets, and returns the emulator's arguments.
func (g *Guest) prepare(k *Kernel, o Options) ([]string, error) {
	var err error
	if g.dir, err = os.MkdirTemp("", "hil-"); err != nil {
		return nil, fmt.Errorf("hil: %w", err)
	}
	initrd, err := k.initrd(o, g.dir)
	if err != nil {
		return nil, err
	}
	share := filepath.Join(g.dir, "share")
	if err := os.Mkdir(share, 0o755); err != nil {
		return nil, fmt.Errorf("hil: %w", err)
	}
	for name, from := range o.Files {
		if err := linkOrCopy(from, filepath.Join(share, name)); err != nil {
			return nil, fmt.Errorf("hil: share %s: %w", name, err)
		}
	}
	b, err := json.Marshal(o.Job)
	if err == nil {
		err = os.WriteFile(filepath.Join(share, "job.json"), b, 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("hil: job: %w", err)
	}
	memory := o.Memory
	if memory == "" {
		memory = "1G"
	}
	clock := []string{"-accel", "tcg,thread=multi"}
	if o.Steady {
		clock = []string{"-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"}
	}
	args := append(clock, "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", memory, "-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot",
		"-kernel", k.image, "-initrd", initrd, "-append", "console=ttyAMA0 panic=-1 quiet",
		"-serial", "file:"+filepath.Join(g.dir, "console"), "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-fsdev", "local,id=share,path="+share+",security_model=none,readonly=on", "-device", "virtio-9p-pci,fsdev=share,mount_tag=share")
	if o.Job.Work != "" {
		args = append(args, "-fsdev", "local,id=work,path="+o.Job.Work+",security_model=none", "-device", "virtio-9p-pci,fsdev=work,mount_tag=work")
	}
	if o.Job.Network {
		args = append(args, "-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile=")
	}
	for i, d := range o.Disks {
		args = append(args, "-drive", fmt.Sprintf("if=none,id=d%d,format=raw,cache=writeback,file=nbd:unix:%s", i, d.Socket()),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=d%d", i))
	}
	for i, p := range []struct {
		name string
		take func(io.Reader)
	}{{PortOut, copyTo(o.Stdout)}, {PortErr, copyTo(o.Stderr)}, {PortResults, func(r io.Reader) { g.takeResults(r, o.Ended) }}} {
		socket := filepath.Join(g.dir, p.name)
		l, err := net.Listen("unix", socket)
		if err != nil {
			return nil, fmt.Errorf("hil: %w", err)
		}
		g.listen = append(g.listen, l)
		g.readers.Add(1)
		go func() {
			defer g.readers.Done()
			c, err := l.Accept()
			if err != nil {
				return // closed: the emulator never came
			}
			defer c.Close()
			p.take(c)
		}()
		args = append(args, "-chardev", fmt.Sprintf("socket,id=c%d,path=%s", i, socket), "-device", fmt.Sprintf("virtserialport,chardev=c%d,name=%s", i, p.name))
	}
	return append(args, o.QEMU...), nil
}

func copyTo(w io.Writer) func(io.Reader) {
	if w == nil {
		w = io.Discard
	}
	return func(r io.Reader) { _, _ = io.Copy(w, r) }
}

func (g *Guest) takeResults(r io.Reader, ended func(Result)) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 8*KeepBytes) // JSON may write a byte as six
	for s.Scan() {
		var res Result
		if err := json.Unmarshal(s.Bytes(), &res); err != nil {
			res.Error = fmt.Sprintf("%v in %q", err, s.Bytes())
		}
		g.mu.Lock()
		g.results = append(g.results, res)
		g.mu.Unlock()
		if ended != nil {
			ended(res)
		}
	}
}

// Cut ends the guest at once, as a power cut does, and waits until it is gone.
func (g *Guest) Cut() {
	_ = g.cmd.Process.Kill()
	<-g.done
}

// Done is closed when the guest is off.
func (g *Guest) Done() <-chan struct{} { return g.done }

// Wait waits until the guest is off and returns how its programs ended. The error says what the console
// last said where a program is missing: the guest was cut, or did not get so far.
func (g *Guest) Wait() ([]Result, error) {
	<-g.done
	g.readers.Wait()
	console, _ := os.ReadFile(filepath.Join(g.dir, "console"))
	g.close()
	g.mu.Lock()
	defer g.mu.Unlock()
	if bytes.Contains(console, []byte(ended)) {
		return g.results, nil
	}
	said := fmt.Sprint(g.cmd.Stderr)
	return g.results, fmt.Errorf("hil: the guest ended before its job: %s%s", said, console[max(0, len(console)-3000):])
}

// ended is what PID 1 says last on the console.
const ended = "hil-init: the job has ended"

func (g *Guest) close() {
	for _, l := range g.listen {
		l.Close()
	}
	_ = os.RemoveAll(g.dir)
}

// initrd writes the guest's first file system: PID 1 and the modules that reach the share; the others are
// beside them.
func (k *Kernel) initrd(o Options, dir string) (string, error) {
	names := append([]string(nil), modulesFor...)
	if len(o.Disks) > 0 {
		names = append(names, "virtio_blk", "ext4")
	}
	if o.Job.Network {
		names = append(names, "virtio_net")
	}
	names = append(names, o.Modules...)
	pid1, err := k.pid1()
	if err != nil {
		return "", err
	}
	const folder, program, plain = 0o40755, 0o100755, 0o100644
	files := []file{{"init", program, pid1}}
	for _, d := range []string{"dev", "proc", "sys", "tmp", "run", "root", "etc", "share", "modules"} {
		files = append(files, file{d, folder, nil})
	}
	files = append(files, file{"etc/passwd", plain, []byte("root:x:0:0:root:/root:/bin/sh\n")})
	var order bytes.Buffer
	have := map[string]bool{}
	for _, n := range names {
		n, parameters, _ := strings.Cut(n, " ")
		list, err := k.module(n)
		if err != nil {
			return "", err
		}
		for i, m := range list {
			if have[m] {
				continue
			}
			have[m] = true
			b, err := k.read(m)
			if err != nil {
				return "", err
			}
			base := filepath.Base(m)
			files = append(files, file{"modules/" + base, plain, b})
			if i == len(list)-1 && parameters != "" {
				base += " " + parameters
			}
			order.WriteString(base + "\n")
		}
	}
	files = append(files, file{"modules/order", plain, order.Bytes()})
	name := filepath.Join(dir, "initrd")
	f, err := os.Create(name)
	if err != nil {
		return "", fmt.Errorf("hil: initrd: %w", err)
	}
	if err := errors.Join(archive(f, files), f.Close()); err != nil {
		return "", fmt.Errorf("hil: initrd: %w", err)
	}
	return name, nil
}

// buildInit builds PID 1.
func buildInit() ([]byte, error) {
	dir, err := os.MkdirTemp("", "hil-init-")
	if err != nil {
		return nil, fmt.Errorf("hil: %w", err)
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "init")
	if err := Build(name, "arm64", "minglu/sim/hil/init"); err != nil {
		return nil, err
	}
	return os.ReadFile(name)
}

// Build builds a program of the tree this is called in, for arm64 or arm (version 7).
func Build(to, arch, pkg string) error { return build(arch, "build", "-o", to, pkg) }

// BuildTest builds the tests of a package, with those of the build tags.
func BuildTest(to, arch, pkg string, tags ...string) error {
	return build(arch, "test", "-c", "-tags", strings.Join(tags, ","), "-o", to, pkg)
}

func build(arch string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOARM=7")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("hil: go %v for %s: %w: %s", args, arch, err, out)
	}
	return nil
}

func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// MakeDisk writes an image file with an empty ext4 file system.
func MakeDisk(image string, megabytes int64) error {
	f, err := os.Create(image)
	if err != nil {
		return fmt.Errorf("hil: image: %w", err)
	}
	if err := errors.Join(f.Truncate(megabytes<<20), f.Close()); err != nil {
		return fmt.Errorf("hil: image: %w", err)
	}
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", image).CombinedOutput()
	if err != nil {
		return fmt.Errorf("hil: mkfs.ext4 %s: %w: %s", image, err, out)
	}
	return nil
}

// settle is how long a guest may take from power on to its first program, on a loaded machine.
const settle = 5 * time.Minute
