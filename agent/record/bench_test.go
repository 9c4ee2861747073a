package record_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"syscall"
	"testing"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/record"
	"minglu/drivers"
)

// BenchmarkMinute records a minute of two cameras and a microphone on two disks as fast as the disks
// allow, and seals it: bytes are media, time is all of it.
func BenchmarkMinute(b *testing.B) {
	cam, mic := get(b, camera), get(b, microphone)
	frame := make([]byte, 20<<10) // 4 Mbit/s at 25 pictures a second
	b.ReportAllocs()
	for b.Loop() {
		r := start(b, 2, func(o *record.Options) { o.QueueBytes = 256 << 20 })
		<-r.rec.Ready()
		o := r.opening(sessionID, "face", "room", "voice")
		o.Zero = r.up() - time.Minute
		s, err := r.rec.Open(o)
		if err != nil {
			b.Fatal(err)
		}
		var bytes int64
		for _, ch := range []string{"face", "room", "voice"} {
			c := cam
			if ch == "voice" {
				c = mic
			}
			s.Describe(ch, drivers.Description{Formats: c.formats})
		}
		for lap := range 10 {
			shift := o.Zero + time.Duration(lap)*6*time.Second
			for _, ch := range []string{"face", "room", "voice"} {
				c := cam
				if ch == "voice" {
					c = mic
				}
				for _, m := range c.samples {
					if m.At >= 5950*time.Millisecond {
						continue
					}
					if m.Track == 0 && ch != "voice" {
						m.Data = frame
					}
					m.At += shift
					m.Run = lap + 1
					s.Write(ch, m)
					bytes += int64(len(m.Data))
				}
			}
		}
		sealed := r.seal(s, "button")
		if sealed.Err != nil {
			b.Fatalf("%+v\n%s", sealed, r.logs)
		}
		b.ReportMetric(sealed.Took.Seconds(), "s/seal")
		b.SetBytes(bytes)
		r.stop()
	}
}

// BenchmarkLog is what the session log of four cameras costs: each round is a second of it, with the
// digests as they are, two signatures, and the manifest followed. %core is the share of one core.
func BenchmarkLog(b *testing.B) {
	r := start(b, 1, nil)
	<-r.rec.Ready()
	origin := evidence.SessionOrigin(r.dev.id, gen, sessionID)
	log := newLog(r, origin)
	var d evidence.Deriver
	if err := d.Begin("log.jsonl"); err != nil {
		b.Fatal(err)
	}
	add := func(v any) {
		if _, _, err := log.Append(v); err != nil {
			b.Fatal(err)
		}
	}
	open := r.opening(sessionID).Open
	open.Type, open.V, open.Session, open.Disks, open.CycleMS, open.AheadMS = "open", 1, sessionID, []string{}, 500, 1500
	add(open)
	add(evidence.Clock{Common: evidence.Common{Type: "clock"}, Epoch: 1, Src: "chrony"})
	hash := evidence.Hash{1}
	digest := hex.EncodeToString(hash[:])
	for ch := range 4 {
		add(evidence.SegmentOpen{Common: evidence.Common{Type: "segment.open"}, Ch: fmt.Sprintf("c%d", ch), Seg: 1, File: fmt.Sprintf("c%d-00001.mp4", ch), Init: digest, InitLen: 900, Reserve: 64, Timescale: 90000, Codec: []string{"avc1.64001f"}})
	}
	n := int64(0)
	b.ReportAllocs()
	began := cpu(b)
	for b.Loop() {
		for cycle := range int64(2) {
			for ch := range 4 {
				from := n*1_000_000 + cycle*500_000
				add(evidence.Fragment{Common: evidence.Common{Type: "fragment"}, Ch: fmt.Sprintf("c%d", ch), Seg: 1, N: 2*n + cycle, Off: 964 + (2*n+cycle)*250_000, Len: 250_000,
					Head: digest, Body: digest, From: from, To: from + 500_000, Samples: []int64{12, 23}})
			}
			if _, _, err := log.Sign(); err != nil {
				b.Fatal(err)
			}
			for line := range bytes.Lines(log.Take()) {
				if err := d.AddLine(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
					b.Fatal(err)
				}
			}
		}
		n++
	}
	b.ReportMetric(100*(cpu(b)-began).Seconds()/float64(b.N), "%core")
	r.stop()
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
