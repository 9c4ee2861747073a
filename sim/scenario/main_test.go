package scenario

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// atOnce is how many tests may run side by side: most of their time they wait for real time to pass.
const atOnce = "8"

// lab is made by TestMain: the programs are built once.
var lab *Lab

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(asRoot())
	}
	os.Exit(func() int {
		flag.Parse()
		if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
			if err := f.Value.Set(atOnce); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		var err error
		if lab, err = Open(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer lab.Close()
		return m.Run()
	}())
}

// asRoot runs these tests again in a user and mount namespace of their own, where an ordinary user may
// mount a tmpfs, and returns their exit code.
func asRoot() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.ExitCode()
	} else if err != nil {
		fmt.Fprintf(os.Stderr, "scenario: these tests mount file systems: run them as root, or allow user namespaces: %v\n", err)
		return 1
	}
	return 0
}
