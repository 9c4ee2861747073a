package record_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/durable/durabletest"
	"minglu/agent/record"
)

// A disk breaks at one point and from then on fails in everything, until it is mended.
var (
	breaks = []struct {
		name, cause string
		err         error // nil: each call hangs until the disk is mended
	}{
		{"is full", "full", syscall.ENOSPC},
		{"turns read-only", "read-only", syscall.EROFS},
		{"is pulled out", "unplugged", syscall.ENODEV},
		{"fails", "io-error", syscall.EIO},
		{"hangs", "hung", nil},
	}
	points = []struct {
		name, verb, file string
	}{
		{"as the session's folder is made", "mkdir", "/sessions/" + sessionID},
		{"as media is written", "write", ".mp4"},
		{"as media is synced", "datasync", ".mp4"},
		{"as the log is written", "write", "/log.jsonl"},
		{"as a segment is read back", "read", ".mp4"},
		{"as the manifest gets its name", "rename", "/manifest.json"},
	}
)

const (
	hangAfter = 2 * time.Second
	// badFor is how long a disk is bad.
	badFor = time.Minute
)

// badDisk breaks disk dir at the first call that matches.
type badDisk struct {
	mu         sync.Mutex
	dir        string
	verb, file string
	err        error
	at         time.Time // when it broke
	mended     bool
	events     []told
}

type told struct {
	record.DiskEvent
	at time.Time
}

func (b *badDisk) before(op durabletest.Op) error {
	b.mu.Lock()
	if b.dir == "" || b.mended || op.Name != b.dir && !strings.HasPrefix(op.Name, b.dir+"/") {
		b.mu.Unlock()
		return nil
	}
	if b.at.IsZero() && op.Verb == b.verb && strings.HasSuffix(op.Name, b.file) {
		b.at = time.Now()
	}
	broken, until := !b.at.IsZero(), b.at.Add(badFor)
	b.mu.Unlock()
	if broken && b.err == nil {
		time.Sleep(time.Until(until))
		return nil
	}
	if broken {
		return b.err
	}
	return nil
}

func (b *badDisk) onDisk(e record.DiskEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, told{e, time.Now()})
}

// TestABadDisk: whatever a disk does, wherever it does it: nobody who delivers waits, memory is bounded,
// it is told at once and once, the other disk has everything, and when the disk is mended the next
// session is on it again. If it is the only one, the session says that it failed.
func TestABadDisk(t *testing.T) {
	get(t, camera)
	for _, how := range breaks {
		for _, where := range points {
			for _, disks := range []int{1, 2} {
				for _, one := range []bool{false, true} {
					if one && where.verb != "write" && where.verb != "datasync" {
						continue // the barriers have no part in it
					}
					t.Run(fmt.Sprintf("disk 1 of %d %s %s, one barrier %v", disks, how.name, where.name, one), func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) {
							b := &badDisk{verb: where.verb, file: where.file, err: how.err}
							testBadDisk(t, b, how.cause, disks, one)
						})
					})
				}
			}
		}
	}
}

func testBadDisk(t *testing.T, b *badDisk, cause string, disks int, one bool) {
	cam := get(t, camera)
	l := &durabletest.Layer{Before: b.before}
	r := start(t, disks, func(o *record.Options) {
		o.Layer, o.HangAfter, o.OnDisk, o.OneBarrier, o.QueueBytes = l, hangAfter, b.onDisk, one, 1<<20
	})
	<-r.rec.Ready()
	b.mu.Lock()
	b.dir = r.disks[0]
	b.mu.Unlock()
	s := r.open(sessionID, "face")
	zero := r.up()
	watched := make(chan struct{})
	go func() { // what waits never grows beyond its bound
		defer close(watched)
		for {
			select {
			case <-s.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
			for _, d := range r.rec.Disks() {
				if d.Queued > 1<<20 {
					t.Errorf("%d bytes wait for %s", d.Queued, d.Disk)
				}
			}
		}
	}()
	begun := time.Now()
	r.play(s, zero, part{ch: "face", clip: cam, to: 3 * time.Second, run: 1})
	if d := time.Since(begun); d > 3100*time.Millisecond {
		t.Errorf("delivering 3 s took %s: something waited for a disk", d)
	}
	sealed := r.seal(s, "button")
	<-watched
	if disks == 1 {
		select {
		case <-s.Failed():
		default:
			t.Error("the session does not say that it failed")
		}
		if sealed.Err == nil {
			t.Errorf("sealed %+v", sealed)
		}
		if _, err := r.rec.Open(r.opening("20260301T020000Z-0123abcd")); !errors.Is(err, record.ErrNoDisk) {
			t.Errorf("open: %v, want ErrNoDisk", err)
		}
	} else {
		if sealed.Err != nil || fmt.Sprint(sealed.Disks) != fmt.Sprint(r.disks[1:]) {
			t.Errorf("sealed %+v\n%s", sealed, r.logs)
		}
		if sealed.Took > 5*time.Second {
			t.Errorf("sealing took %s", sealed.Took)
		}
		r.check(r.disks[1], sessionID, 0)
	}
	if q := r.rec.Disks()[0].Queued; q > 256<<10 {
		t.Errorf("%d bytes are kept for a disk that has failed", q)
	}
	// It mends, and the next session is on all disks again.
	time.Sleep(badFor)
	b.mu.Lock()
	b.mended = true
	b.mu.Unlock()
	time.Sleep(2 * record.DefaultRetry)
	synctest.Wait()
	b.mu.Lock()
	events, broke := b.events, b.at
	b.mu.Unlock()
	soon := 100 * time.Millisecond
	if b.err == nil {
		soon += hangAfter + time.Second
	}
	switch {
	case broke.IsZero():
		t.Error("the disk was never bad: this row tests nothing")
	case len(events) != 2 || !events[0].Failed || events[0].Cause != cause || events[1].Failed:
		t.Errorf("told %+v, want that it failed (%s) and that it is back", events, cause)
	case events[0].at.Sub(broke) > soon:
		t.Errorf("told after %s", events[0].at.Sub(broke))
	}
	s = r.open("20260301T020000Z-0123abcd", "face")
	if sealed := r.seal(s, "button"); sealed.Err != nil || len(sealed.Disks) != disks {
		t.Errorf("the next session: %+v\n%s", sealed, r.logs)
	}
	r.stop()
}

// TestAnIdleDiskThatHangs: nobody writes to it, and it is told all the same, once.
func TestAnIdleDiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &badDisk{verb: "space"}
		l := &durabletest.Layer{Before: b.before}
		r := start(t, 2, func(o *record.Options) { o.Layer, o.HangAfter, o.OnDisk = l, hangAfter, b.onDisk })
		<-r.rec.Ready()
		b.mu.Lock()
		b.dir = r.disks[0]
		b.mu.Unlock()
		time.Sleep(record.DefaultRetry + hangAfter + 2*time.Second)
		synctest.Wait()
		if st := r.rec.Disks(); st[0].OK || st[0].Cause != "hung" || !st[1].OK {
			t.Errorf("disks %+v", st)
		}
		s := r.open(sessionID, "face")
		if sealed := r.seal(s, "button"); sealed.Err != nil || len(sealed.Disks) != 1 || sealed.Disks[0] != r.disks[1] {
			t.Errorf("sealed %+v", sealed)
		}
		time.Sleep(badFor)
		b.mu.Lock()
		b.mended = true
		b.mu.Unlock()
		time.Sleep(2 * record.DefaultRetry)
		synctest.Wait()
		if len(b.events) != 2 || b.events[0].Cause != "hung" || b.events[1].Failed {
			t.Errorf("told %+v", b.events)
		}
		r.stop()
	})
}

// TestDisksFillUp gives disks so many bytes and no more. A session that fills the last one ends by itself
// and is sealed, before a single write is refused.
func TestDisksFillUp(t *testing.T) {
	cam := get(t, camera)
	const floor = 300 << 10
	for _, tt := range []struct {
		rule   string
		room   []int64 // of each disk, bytes
		reason string
		sealed []int // disks
	}{
		{"the only disk", []int64{900 << 10}, "disk-full", []int{0}},
		{"both at once", []int64{900 << 10, 900 << 10}, "disk-full", []int{0, 1}},
		{"one: the other goes on", []int64{600 << 10, 1 << 40}, "button", []int{1}},
		{"one, then the other", []int64{600 << 10, 900 << 10}, "disk-full", []int{1}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var disks []string
				used := make([]int64, len(tt.room))
				of := func(name string) int {
					for i, d := range disks {
						if strings.HasPrefix(name, d) {
							return i
						}
					}
					return -1
				}
				refused := 0
				l := &fullLayer{Layer: new(durabletest.Layer)}
				l.Before = func(op durabletest.Op) error {
					mu.Lock()
					defer mu.Unlock()
					if i := of(op.Name); op.Verb == "write" && i >= 0 {
						if used[i]+int64(op.Len) > tt.room[i] {
							refused++
							return syscall.ENOSPC
						}
						used[i] += int64(op.Len)
					}
					return nil
				}
				l.space = func(name string) int64 {
					mu.Lock()
					defer mu.Unlock()
					if i := of(name); i >= 0 {
						return tt.room[i] - used[i]
					}
					return 1 << 40
				}
				r := start(t, len(tt.room), func(o *record.Options) { o.Layer, o.Floor, o.Segment = l, floor, 2*time.Second })
				mu.Lock()
				disks = r.disks
				mu.Unlock()
				s := r.open(sessionID, "face", "room", "desk")
				zero := r.up()
				r.play(s, zero, part{ch: "face", clip: cam, to: 6 * time.Second, run: 1}, part{ch: "room", clip: cam, to: 6 * time.Second, run: 1}, part{ch: "desk", clip: cam, to: 6 * time.Second, run: 1})
				sealed := r.seal(s, "button")
				want := []string{}
				for _, i := range tt.sealed {
					want = append(want, r.disks[i])
					if _, err := os.Stat(r.disks[i] + "/sessions/" + sessionID + "/manifest.json.p7s"); err != nil {
						t.Error(err)
					}
					r.check(r.disks[i], sessionID, 0)
				}
				if sealed.Err != nil || sealed.Reason != tt.reason || len(sealed.Disks) != len(want) {
					t.Errorf("sealed %+v, want %q on %v\n%s", sealed, tt.reason, want, r.logs)
				}
				if refused > 0 {
					t.Errorf("%d writes were refused", refused)
				}
				r.stop()
				t.Logf("used %v of %v", used, tt.room)
			})
		})
	}
}

// fullLayer tells the space of each disk by itself.
type fullLayer struct {
	*durabletest.Layer
	space func(name string) int64
}

func (l *fullLayer) Space(name string) (free, total int64, err error) {
	return l.space(name), 1 << 41, nil
}
