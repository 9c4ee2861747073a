package record_test

import (
	"testing"
	"time"

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
