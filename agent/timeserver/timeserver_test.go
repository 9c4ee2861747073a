package timeserver

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/facebook/time/ntp/protocol"
	"go.uber.org/goleak"

	"minglu/agent/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func request(version, mode byte) []byte {
	b := make([]byte, packetSize)
	b[0] = version<<3 | mode
	b[2] = 6
	copy(b[40:], "clienttx")
	return b
}

// TestAnswer: when a time is named as good, and what else is said.
func TestAnswer(t *testing.T) {
	at := time.Date(2026, 11, 25, 4, 0, 0, 500_000_000, time.UTC)
	good := clock.Reading{T: at, Error: 3 * time.Millisecond, Source: "chrony", Stratum: 2}
	change := func(f func(*clock.Reading)) clock.Reading { r := good; f(&r); return r }
	for _, tt := range []struct {
		rule          string
		q             []byte
		now           clock.Reading
		answered      bool
		leap, stratum byte
	}{
		{"a clock that knows itself", request(4, 3), good, true, 0, 3},
		{"an older client", request(3, 3), good, true, 0, 3},
		{"extensions are passed over", append(request(4, 3), make([]byte, 20)...), good, true, 0, 3},
		{"a source without stratum is far away", request(4, 3), change(func(r *clock.Reading) { r.Stratum = 0 }), true, 0, 10},
		{"nobody vouches for the clock", request(4, 3), change(func(r *clock.Reading) { r.Error = -1 }), true, 3, 0},
		{"it may be off by too much", request(4, 3), change(func(r *clock.Reading) { r.Error = DefaultMaxError + 1 }), true, 3, 0},
		{"just little enough", request(4, 3), change(func(r *clock.Reading) { r.Error = DefaultMaxError }), true, 0, 3},
		{"before a time that has passed", request(4, 3), change(func(r *clock.Reading) { r.BeforeFloor = true }), true, 3, 0},
		{"no stratum above 15", request(4, 3), change(func(r *clock.Reading) { r.Stratum = 15 }), true, 3, 0},
		{"a server's packet is not answered", request(4, 4), good, false, 0, 0},
		{"nor a peer's", request(4, 1), good, false, 0, 0},
		{"nor control messages (mode 6), which amplify", request(2, 6), good, false, 0, 0},
		{"nor private ones (mode 7)", request(2, 7), good, false, 0, 0},
		{"nor broadcasts", request(4, 5), good, false, 0, 0},
		{"nor a version there is not", request(7, 3), good, false, 0, 0},
		{"nor half a packet", request(4, 3)[:47], good, false, 0, 0},
		{"nor nothing", nil, good, false, 0, 0},
	} {
		s, err := New(Options{Listen: "127.0.0.1:0", Now: func() clock.Reading { return good }})
		if err != nil {
			t.Fatal(err)
		}
		a, ok := s.answer(tt.q, tt.now)
		if ok != tt.answered {
			t.Errorf("%s: answered %t", tt.rule, ok)
			continue
		}
		if !ok {
			continue
		}
		p, err := protocol.BytesToPacket(a) // another implementation reads it
		if err != nil || len(a) != packetSize || a[0]>>6 != tt.leap || p.Stratum != tt.stratum || a[0]&7 != 4 || a[0]>>3&7 != tt.q[0]>>3&7 {
			t.Errorf("%s: %+v, %v; want leap %d, stratum %d", tt.rule, p, err, tt.leap, tt.stratum)
		}
		if string(a[24:32]) != "clienttx" || a[2] != 6 {
			t.Errorf("%s: the client's own timestamp and poll interval do not come back", tt.rule)
		}
		if got := protocol.Unix(p.TxTimeSec, p.TxTimeFrac); got.Sub(at).Abs() > time.Microsecond {
			t.Errorf("%s: time %v, want %v", tt.rule, got, at)
		}
		if want := short(max(tt.now.Error, 0)); binary.BigEndian.Uint32(a[8:]) != want {
			t.Errorf("%s: dispersion %d, want %d", tt.rule, binary.BigEndian.Uint32(a[8:]), want)
		}
	}
}

func TestFormats(t *testing.T) {
	if got := short(time.Second); got != 1<<16 {
		t.Errorf("short(1 s) = %d", got)
	}
	if got := short(time.Nanosecond); got != 1 {
		t.Errorf("an error is rounded up: %d", got)
	}
	if got := int8(precision(time.Microsecond)); got != -19 { // 2^-19 s = 1.9 µs
		t.Errorf("precision = %d", got)
	}
	b := make([]byte, 8)
	put(b, time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC)) // the first second of era 1
	if binary.BigEndian.Uint32(b) != 0 {
		t.Errorf("era 1 begins with %x", b)
	}
}

// TestARealClient asks over UDP as a camera does.
func TestARealClient(t *testing.T) {
	now := func() clock.Reading {
		return clock.Reading{T: time.Now().UTC(), Error: time.Millisecond, Stratum: 1, Up: time.Second}
	}
	s, err := New(Options{Listen: "127.0.0.1:0", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	conn, err := net.Dial("udp", s.Addr(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 512)
	conn.Write([]byte("hello")) // not answered
	sent := time.Now()
	conn.Write(request(4, 3))
	n, err := conn.Read(b)
	if err != nil || n != packetSize {
		t.Fatalf("%d bytes, %v", n, err)
	}
	p, err := protocol.BytesToPacket(b[:n])
	if err != nil {
		t.Fatal(err)
	}
	if at := protocol.Unix(p.RxTimeSec, p.RxTimeFrac); at.Before(sent.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) || p.Stratum != 2 {
		t.Errorf("received at %v, stratum %d", at, p.Stratum)
	}
	if st := s.Status(); st.Answered != 1 || st.Refused != 1 || !st.Good {
		t.Errorf("%+v", st)
	}
	other, err := New(Options{Listen: s.Addr(ctx), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(ctx); err == nil || other.Addr(ctx) != "" {
		t.Error("two servers at one address")
	}
	end := errors.New("end")
	stop(end)
	if err := <-done; !errors.Is(err, end) {
		t.Errorf("Run() = %v", err)
	}
	if _, err := New(Options{Listen: "nowhere", Now: now}); err == nil {
		t.Error("an address without port is accepted")
	}
}

func TestPace(t *testing.T) {
	var p pace
	answered := 0
	for i := range 10 * perSecond {
		if p.may(time.Hour + time.Duration(i)*2*time.Second/(10*perSecond)) {
			answered++
		}
	}
	if answered != 2*perSecond {
		t.Errorf("%d answers in two seconds", answered)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(request(4, 3))
	f.Add([]byte{})
	s, err := New(Options{Listen: "127.0.0.1:0", Now: func() clock.Reading { return clock.Reading{} }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, q []byte) {
		if a, ok := s.answer(q, clock.Reading{}); ok && (len(a) > len(q) || len(a) != packetSize) {
			t.Fatalf("%d bytes for %d", len(a), len(q))
		}
	})
}
