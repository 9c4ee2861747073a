package scenario

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// Idle watches how much of its time this machine's processors have nothing to do: a bound in real time
// says nothing about a program that was not let run. Safe for concurrent use.
type Idle struct {
	mu   sync.Mutex
	seen []idleAt
}

type idleAt struct {
	at          time.Time
	idle, total int64 // ticks of all processors since boot
}

const (
	idleEvery = 200 * time.Millisecond
	idleKept  = 5 * time.Minute
)

// WatchIdle watches until the end of the test.
func WatchIdle(t testing.TB) *Idle {
	i := &Idle{}
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(idleEvery)
		defer tick.Stop()
		for {
			i.look()
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	t.Cleanup(func() { close(done); <-stopped })
	return i
}

// look reads the first line of /proc/stat (proc(5)): user nice system idle iowait irq softirq steal.
func (i *Idle) look() {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return
	}
	var v [8]int64
	if _, err := fmt.Sscanf(string(b), "cpu %d %d %d %d %d %d %d %d", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]); err != nil {
		return
	}
	s := idleAt{at: time.Now(), idle: v[3] + v[4]}
	for _, x := range v {
		s.total += x
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.seen = append(i.seen, s)
	if old, _ := slices.BinarySearchFunc(i.seen, s.at.Add(-idleKept), func(s idleAt, at time.Time) int { return s.at.Compare(at) }); old > 1000 {
		i.seen = slices.Clone(i.seen[old:])
	}
}

// BusyIdle is the idle share below which this machine is called busy: what is late then proves nothing.
const BusyIdle = 0.10

// Busy reports whether the machine was busy between two moments.
func (i *Idle) Busy(from, to time.Time) bool { return i.Share(from, to) < BusyIdle }

// Share is the part of the processors' time between two moments that was idle, 1 where it is not known.
func (i *Idle) Share(from, to time.Time) float64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := func(when time.Time) idleAt {
		n, _ := slices.BinarySearchFunc(i.seen, when, func(s idleAt, at time.Time) int { return s.at.Compare(at) })
		return i.seen[max(0, min(n, len(i.seen)-1))]
	}
	if len(i.seen) == 0 {
		return 1
	}
	a, b := at(from.Add(-idleEvery)), at(to)
	if b.total <= a.total {
		return 1
	}
	return float64(b.idle-a.idle) / float64(b.total-a.total)
}
