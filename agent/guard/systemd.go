package guard

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"minglu/agent/report"
)

// notifyWithin bounds how long systemd is waited for.
const notifyWithin = time.Second

// Systemd is the service manager's side: the protocol of sd_notify(3), a datagram of KEY=VALUE lines. All methods
// may be called on nil, and do nothing then. It is safe for concurrent use.
type Systemd struct {
	addr    *net.UnixAddr
	watches bool // WatchdogSec= is set for this process

	mu   sync.Mutex // guards what follows
	said string
}

// FromEnvironment returns nil where the process was not started by a service manager that wants to hear of it.
// getenv is os.Getenv, pid that of this process.
func FromEnvironment(getenv func(string) string, pid int) *Systemd {
	path := getenv("NOTIFY_SOCKET")
	if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "@") {
		return nil
	}
	s := &Systemd{addr: &net.UnixAddr{Name: path, Net: "unixgram"}}
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	forUs := getenv("WATCHDOG_PID") == "" || getenv("WATCHDOG_PID") == strconv.Itoa(pid)
	s.watches = err == nil && usec > 0 && forUs
	return s
}

// Ready says that the agent has started.
func (s *Systemd) Ready() error { return s.send("READY=1") }

// Stopping says that it was asked to stop, and seals.
func (s *Systemd) Stopping() error { return s.send("STOPPING=1") }

// alive puts off the new start, where systemd watches.
func (s *Systemd) alive() {
	if s != nil && s.watches {
		_ = s.send("WATCHDOG=1") // systemd away for a moment: the next one comes in two seconds
	}
}

// status shows what is going on in `systemctl status`, once for each change.
func (s *Systemd) status(t report.Text) {
	if s == nil {
		return
	}
	line := t.Zh + " · " + t.En
	s.mu.Lock()
	known := s.said == line
	s.said = line
	s.mu.Unlock()
	if !known {
		_ = s.send("STATUS=" + strings.ReplaceAll(line, "\n", " ")) // for people only
	}
}

func (s *Systemd) send(message string) error {
	if s == nil {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, s.addr)
	if err != nil {
		return fmt.Errorf("guard: systemd: %w", err)
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(notifyWithin)); err != nil {
		return fmt.Errorf("guard: systemd: %w", err)
	}
	if _, err := c.Write([]byte(message)); err != nil {
		return fmt.Errorf("guard: systemd: %w", err)
	}
	return nil
}

// Here is the service manager of this process, nil if there is none.
func Here() *Systemd { return FromEnvironment(os.Getenv, os.Getpid()) }
