// Command run runs a program in a hil guest, with its output and its status: one test of a driver while it
// is being written, or anything else that is static and for arm64 or arm/7.
//
//	go run ./sim/hil/run -rig lines ./drivers/climate              all hil tests of the package, on arm64
//	go run ./sim/hil/run -rig usb -arch arm ./drivers/v4l2 -test.run HILUnplug
//	go run ./sim/hil/run -m "vivid n_devs=2" -q "-device qemu-xhci" ./program arguments …
//	GOARCH=arm64 go test -tags hil -exec "$PWD/run -rig lines" ./drivers/climate
//
// A folder is a package: its tests are built with the tag hil. The guest sees this tree at the same path,
// and works in the package's folder, else in the current one. Statuses of its own: 124 when the time was up,
// 123 when the guest ended before the program (a watchdog, a reset), 125 when there was no guest.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"minglu/sim/hil"
)

// Statuses that are not the program's.
const (
	early   = 123
	timeout = 124
	noGuest = 125
)

type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

type options struct {
	rig, arch, qemu string
	modules         list
	network         bool
	limit           time.Duration
	args            []string
}

func main() {
	var o options
	flag.StringVar(&o.rig, "rig", "", "what hangs on the board (see sim/hil/rig.go), several with +")
	flag.Var(&o.modules, "m", "load this module too: `\"name parameter=value …\"`")
	flag.StringVar(&o.qemu, "q", "", "more arguments for the emulator")
	flag.StringVar(&o.arch, "arch", "arm64", "of a package's tests: arm64 or arm")
	flag.BoolVar(&o.network, "net", false, "with network; the host is 10.0.2.2")
	flag.DurationVar(&o.limit, "t", 5*time.Minute, "the guest is cut off after this `time`")
	flag.Parse()
	o.args = flag.Args()
	if len(o.args) == 0 {
		flag.Usage()
		os.Exit(noGuest)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status, err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

func run(ctx context.Context, o options) (int, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return noGuest, fmt.Errorf("run: go list: %w: work in the tree of this module", err)
	}
	tree := strings.TrimSpace(string(out))
	k, err := hil.Prepare(cmp.Or(os.Getenv("HIL_CACHE"), filepath.Join(tree, "out/cache/hil")))
	if err != nil {
		return noGuest, err
	}
	var rig hil.Rig
	if o.rig != "" {
		if rig, err = hil.FindRig(o.rig); err != nil {
			return noGuest, err
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		return noGuest, err
	}
	program := hil.Program{Name: o.args[0], File: "program", Args: o.args[1:], Dir: dir}
	file := o.args[0]
	if st, err := os.Stat(file); err != nil {
		return noGuest, err
	} else if st.IsDir() {
		tmp, err := os.MkdirTemp("", "hil-run-")
		if err != nil {
			return noGuest, err
		}
		defer os.RemoveAll(tmp)
		if program.Dir, err = filepath.Abs(file); err != nil {
			return noGuest, err
		}
		pkg := "./" + filepath.ToSlash(filepath.Clean(file))
		file = filepath.Join(tmp, "test")
		if err := hil.BuildTest(file, o.arch, pkg, "hil"); err != nil {
			return noGuest, err
		}
		// Later ones win.
		program.Args = append([]string{"-test.v", "-test.run=HIL"}, program.Args...)
	}
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	g, err := k.Boot(ctx, hil.Options{Modules: append(rig.Modules, o.modules...), QEMU: append(rig.QEMU, strings.Fields(o.qemu)...),
		Files: map[string]string{"program": file}, Stdout: os.Stdout, Stderr: os.Stderr, Job: hil.Job{Work: tree, Network: o.network, Run: []hil.Program{program}}})
	if err != nil {
		return noGuest, err
	}
	results, err := g.Wait()
	switch {
	case len(results) == 1:
		return results[0].Status, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return timeout, fmt.Errorf("run: the guest was cut off after %v", o.limit)
	default:
		return early, err
	}
}
