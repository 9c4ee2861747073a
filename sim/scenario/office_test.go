package scenario

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func removeFile(t *testing.T, name string) {
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) { // the disk may be another by now
		t.Error(err)
	}
}

// signal stops a publisher for a while, or lets it go on.
func (p *Publisher) signal(t *testing.T, sig syscall.Signal) {
	if err := p.p.cmd.Process.Signal(sig); err != nil {
		t.Error(err)
	}
}

// stallNoticed is how long this machine may keep a process waiting before it is called overloaded: of
// 30 s of pictures it is what the standard tolerates, and a simulated device drops what is later still.
const stallNoticed = 500 * time.Millisecond

// stalls measures how long this machine kept this process waiting at worst, until the end of the test.
func stalls(t *testing.T) (worst func() time.Duration) {
	var most atomic.Int64
	go func() {
		const every = 20 * time.Millisecond
		tick := time.NewTicker(every)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-t.Context().Done():
				return
			case <-tick.C:
			}
			now := time.Now()
			most.Store(max(most.Load(), int64(now.Sub(last)-every)))
			last = now
		}
	}()
	return func() time.Duration { return time.Duration(most.Load()) }
}

// overloaded reports whether this machine could not keep up, so that verdicts about what was lost are
// true: a process had to wait, or the log of a session names a simulated device that could not follow.
func overloaded(t *testing.T, worst time.Duration, sessions ...string) bool {
	t.Helper()
	over := worst > stallNoticed
	for _, folder := range sessions {
		log, err := os.ReadFile(filepath.Join(folder, "log.jsonl"))
		if err != nil {
			t.Error(err)
		}
		over = over || bytes.Contains(log, []byte("did not keep up"))
	}
	if over {
		figure(t, "this machine was overloaded: a process waited for %v", worst.Round(time.Millisecond))
	}
	return over
}

// ofOverload are the verdicts and alarms that an overloaded machine brings with it.
func ofOverload(key string) bool {
	for _, what := range []string{"item mic.loss ", "alarm sound.lossy ", "item camera.fps ", "alarm picture.slow ", "item rec.drops ", "alarm picture.lossy ", "item rec.gaps ", "item camera.keyframe "} {
		if strings.HasPrefix(key, what) {
			return true
		}
	}
	return false
}
