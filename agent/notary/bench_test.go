package notary

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"minglu/agent/durable"
)

// BenchmarkHour is what an hour of recording costs the ledger and the notary: a head each minute, a
// checkpoint with its proof to the witness each minute, a token and a kept cosignature each ten minutes, all
// lines to the office, and a seal; with real syncs, on a ledger that has grown for months. What the
// office and the authority do here is counted too. The goal is 2 % of a core, signing and logs included:
// a session log's own sign lines are 7200 × 26 µs an hour, 0.005 %.
func BenchmarkHour(b *testing.B) {
	w := newWorld(b)
	w.office.delay = 0
	w.online(true)
	w.byHand = true
	w.start()
	for i := range 5000 { // 10,000 lines: about a month
		if err := w.l.Config(fmt.Sprint(i)); err != nil {
			b.Fatal(err)
		}
	}
	w.end()
	w.layer = durable.OS{}
	w.start()
	defer w.end()
	all := job{token: true, cosig: true, named: true}
	if _, _, err := w.n.attest(b.Context(), all); err != nil { // and the office gets all lines so far
		b.Fatal(err)
	}
	for w.officeHasAll() != nil {
		time.Sleep(10 * time.Millisecond) // nothing of it is measured
	}
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	hour := 0
	for b.Loop() {
		id := fmt.Sprintf("20260101T0%05dZ-00000001", hour)
		hour++
		for minute := range 60 {
			w.head(id)
			j := job{cosig: true}
			if minute%10 == 0 {
				j = all
			}
			if _, got, err := w.n.attest(b.Context(), j); err != nil || !got {
				b.Fatal(got, err)
			}
		}
		w.mu.Lock()
		w.running, w.sessions[id] = "", map[string][]byte{signatureFile: []byte(id)}
		w.mu.Unlock()
		if err := w.l.Sealed(id, "m", "p"); err != nil {
			b.Fatal(err)
		}
		if _, _, err := w.n.lookThrough(b.Context(), &looks{finished: map[string]finish{}, newest: -1}); err != nil {
			b.Fatal(err)
		}
		w.mu.Lock()
		delete(w.sessions, id)
		w.mu.Unlock()
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	perHour := cpu / time.Duration(hour)
	b.ReportMetric(float64(perHour.Milliseconds()), "cpu-ms/hour")
	b.ReportMetric(100*perHour.Seconds()/3600, "%core")
}
