package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// namespaces counts those of this process, so that their names differ.
var namespaces atomic.Int32

// Between makes three network namespaces in a row: office, middle and room. Office and room have a link to
// the middle alone, which forwards; nothing else is reachable from them. It needs root.
func Between(t testing.TB) (office, middle, room string) {
	t.Helper()
	base := fmt.Sprintf("minglu-%d-%d", os.Getpid(), namespaces.Add(1))
	office, middle, room = base+"-office", base+"-middle", base+"-room"
	for _, ns := range []string{office, middle, room} {
		ip(t, "netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
		ip(t, "-n", ns, "link", "set", "lo", "up")
	}
	for i, end := range []string{office, room} {
		here, there := fmt.Sprintf("10.98.%d.1", i+1), fmt.Sprintf("10.98.%d.2", i+1)
		near, far := fmt.Sprintf("m%d", i+1), "eth0"
		ip(t, "-n", middle, "link", "add", near, "type", "veth", "peer", "name", far, "netns", end)
		for _, l := range [][]string{{middle, near, here}, {end, far, there}} {
			ip(t, "-n", l[0], "addr", "add", l[2]+"/24", "dev", l[1])
			ip(t, "-n", l[0], "link", "set", l[1], "up")
		}
		ip(t, "-n", end, "route", "add", "default", "via", here)
	}
	run(t, "ip", "netns", "exec", middle, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	return office, middle, room
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s (it needs root and iproute2; run tools/install)", strings.Join(args, " "), err, out)
	}
}

// inNamespace is a command in a network namespace, "" for the test's own.
func inNamespace(ns, name string, args ...string) *exec.Cmd {
	if ns == "" {
		return exec.Command(name, args...)
	}
	return exec.Command("ip", append([]string{"netns", "exec", ns, name}, args...)...)
}

// clientIn speaks HTTP from within a network namespace, "" for the test's own.
func clientIn(ns string) *http.Client {
	if ns == "" {
		return http.DefaultClient
	}
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		return dialIn(ctx, ns, network, addr)
	}}}
}

// dialIn connects in a namespace: the thread goes there and comes back. (A thread that ends instead would
// take with it the processes it has started, by their Pdeathsig.)
func dialIn(ctx context.Context, ns, network, addr string) (c net.Conn, err error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	there, err := os.Open("/var/run/netns/" + ns)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("namespace %s: %w", ns, err)
	}
	c, err = (&net.Dialer{}).DialContext(ctx, network, addr) // addr is a number: nothing is resolved elsewhere
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return nil, errors.Join(fmt.Errorf("namespace: %w", back), err) // still locked: nobody else gets this thread
	}
	runtime.UnlockOSThread()
	return c, err
}
