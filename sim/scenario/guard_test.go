package scenario

import (
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestSystemdIsTold plays systemd: it hears when the room can be used, that it lives while recording advances,
// and nothing more from when its one disk hangs, with the reason; after that it hears again, and of the stop.
func TestSystemdIsTold(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var mu sync.Mutex // guards what follows
	var heard []string
	var alive time.Time
	go func() {
		for b := make([]byte, 1024); ; {
			n, err := l.Read(b)
			if err != nil {
				return
			}
			mu.Lock()
			if s := string(b[:n]); s == "WATCHDOG=1" {
				alive = time.Now()
			} else {
				heard = append(heard, s)
			}
			mu.Unlock()
		}
	}()
	said := func(s string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Contains(strings.Join(heard, "\n"), s)
		}
	}
	silentFor := func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Since(alive)
	}
	disks := Disks(t, 1, 300)
	a := lab.Start(t, Room{Channels: map[string]string{"face": SimCamera}, Disks: []string{disks[0].Dir}, Postroll: "0s",
		Env: []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=20000000"}})
	Wait(t, 20*time.Second, "systemd is told that the room can be used", said("READY=1"))
	a.WaitLive(20 * time.Second)
	a.Begin()
	Wait(t, 20*time.Second, "the state is shown", said("STATUS=录制中"))
	if d := silentFor(); d > 6*time.Second {
		t.Errorf("no sign of life for %v while recording", d)
	}
	thaw, err := disks[0].Freeze()
	if err != nil {
		t.Fatal(err)
	}
	if disks[0].fs == "ext4" {
		Wait(t, 60*time.Second, "the stall is told", said("STATUS=录制停滞"))
	} else { // without root no disk can hang here: the whole agent does
		if err := a.p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		thaw = func() { _ = a.p.cmd.Process.Signal(syscall.SIGCONT) }
	}
	Wait(t, 30*time.Second, "no sign of life any more", func() bool { return silentFor() > 5*time.Second })
	thaw()
	Wait(t, 60*time.Second, "signs of life again", func() bool { return silentFor() < time.Second })
	if code := a.Stop(); code != 0 {
		t.Errorf("the agent ends with %d", code)
	}
	Wait(t, 5*time.Second, "the stop is told", said("STOPPING=1"))
}
