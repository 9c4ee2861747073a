package fleet

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"minglu/agent/report"
)

// BenchmarkTenThousandRooms: a message of one of ten thousand rooms, from bytes to acknowledged on disk.
func BenchmarkTenThousandRooms(b *testing.B) {
	names := make([]string, 10_000)
	for i := range names {
		names[i] = fmt.Sprintf("room-%d", i)
	}
	var acks atomic.Int64
	f, err := Open(Options{Path: filepath.Join(b.TempDir(), "f.db"), Now: time.Now, Names: func() []string { return names },
		Send: func(string, report.Kind, []byte) error { acks.Add(1); return nil }})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	body, err := report.MarshalBody(report.SessionEvent{Session: "20261123T140000Z-00000001"})
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		name := names[i%len(names)]
		m, err := report.Marshal(report.Numbered{Device: name, Outbox: box, N: int64(i/len(names) + 1), T: day, Type: report.SessionOpened, Body: body})
		if err != nil {
			b.Fatal(err)
		}
		f.Receive(name, report.KindSession, m, false)
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	c := f.Counts()
	b.ReportMetric(float64(time.Since(began).Microseconds()), "µs/Counts")
	b.ReportMetric(float64(f.commits), "commits")
	if c.Events != int64(b.N) || c.Rooms != len(names) {
		b.Errorf("%+v after %d", c, b.N)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}
