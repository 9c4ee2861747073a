package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"minglu/agent/durable"
)

// The bounds of a cycle, evidence-format.md section 6.
const (
	MinCycle = 500 * time.Millisecond
	MaxCycle = 2 * time.Second
)

// What [Measure] does.
const (
	Rounds     = 100             // barriers measured: the 99th percentile of fewer is a guess
	roundBytes = 250_000         // half a second of 4 Mbit/s in each file
	lineBytes  = 1_000           // and what the log says of it
	longEnough = 8 * time.Second // a disk that is so slow is measured by fewer rounds
)

// Barrier is how long a disk takes to make one cycle durable.
type Barrier struct {
	Disk   string        `json:"disk"` // its id, "" if it is new
	Rounds int           `json:"rounds"`
	P50    time.Duration `json:"-"`
	P99    time.Duration `json:"-"`
	P50US  int64         `json:"p50_us"`
	P99US  int64         `json:"p99_us"`
}

// Measure writes to a disk as a recording of so many channels does: a piece to each file and to the log,
// then all made durable at once. It writes about 25 MB a channel into temporary files, which it takes away again.
func Measure(ctx context.Context, layer durable.Layer, disk, id string, channels int) (b Barrier, err error) {
	files := durable.Files{Layer: layer, Tmp: tmpOf(disk)}
	b.Disk = id
	var open []*durable.File
	defer func() {
		for _, f := range open {
			err = errors.Join(err, f.Close(), files.Remove(f.Name()))
		}
	}()
	for i := range channels + 1 {
		name := filepath.Join(files.Tmp, fmt.Sprintf("doctor-%d.tmp", i))
		if err := files.Remove(name); err != nil { // a doctor that was killed left it
			return b, err
		}
		f, err := files.CreateFile(name)
		if err != nil {
			return b, err
		}
		open = append(open, f)
	}
	var took []time.Duration
	media, line := make([]byte, roundBytes), make([]byte, lineBytes)
	for i := range media { // a disk that compresses must not have it easy
		media[i] = byte(uint32(i) * 2654435761 >> 7)
	}
	begin := time.Now()
	for range Rounds {
		if err := context.Cause(ctx); err != nil {
			return b, err
		}
		start := time.Now()
		if err := barrier(open, media, line); err != nil {
			return b, err
		}
		took = append(took, time.Since(start))
		if time.Since(begin) > longEnough && len(took) >= Rounds/10 {
			break
		}
	}
	slices.Sort(took)
	b.Rounds = len(took)
	b.P50, b.P99 = took[len(took)/2], took[len(took)*99/100]
	b.P50US, b.P99US = b.P50.Microseconds(), b.P99.Microseconds()
	return b, nil
}

// barrier is one cycle: the last file is the log.
func barrier(open []*durable.File, media, line []byte) error {
	errs := make([]error, len(open))
	var wg sync.WaitGroup
	for i, f := range open {
		p := media
		if i == len(open)-1 {
			p = line
		}
		wg.Go(func() {
			if _, err := f.Write(p); err != nil {
				errs[i] = err
				return
			}
			errs[i] = f.Sync()
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Cycle chooses the signing cycle for what was measured: four times the slowest disk's 99th percentile,
// in steps of 50 ms, within the bounds.
func Cycle(measured []Barrier) time.Duration {
	var p99 time.Duration
	for _, b := range measured {
		p99 = max(p99, b.P99)
	}
	const step = 50 * time.Millisecond
	return min(max((4*p99+step-1)/step*step, MinCycle), MaxCycle)
}

// Measured is state/cycle.json: the cycle that was chosen, and for which disks.
type Measured struct {
	CycleMS int64     `json:"cycle_ms"`
	At      time.Time `json:"at"`
	Disks   []Barrier `json:"disks"`
}

// Cycle is the cycle chosen.
func (m Measured) Cycle() time.Duration { return time.Duration(m.CycleMS) * time.Millisecond }

// Marshal writes cycle.json.
func (m Measured) Marshal() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

// ParseMeasured reads cycle.json. Anything but a cycle within the bounds is an error.
func ParseMeasured(b []byte) (m Measured, err error) {
	if err := json.Unmarshal(b, &m); err != nil {
		return Measured{}, fmt.Errorf("doctor: cycle.json: %w", err)
	}
	if m.Cycle() < MinCycle || m.Cycle() > MaxCycle {
		return Measured{}, fmt.Errorf("doctor: cycle.json: %s is not between %s and %s", m.Cycle(), MinCycle, MaxCycle)
	}
	for i := range m.Disks {
		d := &m.Disks[i]
		d.P50, d.P99 = time.Duration(d.P50US)*time.Microsecond, time.Duration(d.P99US)*time.Microsecond
	}
	return m, nil
}
