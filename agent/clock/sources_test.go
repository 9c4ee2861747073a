package clock

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/facebook/time/ntp/chrony"
	"golang.org/x/sys/unix"
)

// chronyFloat codes v as chrony does: 7-bit exponent, 25-bit coefficient, v = coef·2^(exp-25)
// (chrony util.c, UTI_FloatHostToNetwork).
func chronyFloat(v float64) uint32 {
	if v == 0 {
		return 0
	}
	frac, exp := math.Frexp(v) // 0.5 <= |frac| < 1
	coef := int32(math.Round(frac * (1 << 24)))
	return uint32(exp+1)<<25 | uint32(coef)&(1<<25-1)
}

// trackingReply answers a tracking request the way chronyd 4 does (candm.h, RPY_TRACKING = 5).
func trackingReply(request []byte, tr chrony.Tracking) []byte {
	var b bytes.Buffer
	w := func(vs ...any) {
		for _, v := range vs {
			binary.Write(&b, binary.BigEndian, v)
		}
	}
	w(uint8(6), uint8(2), uint8(0), uint8(0), uint16(33), uint16(5), uint16(0), uint16(0), uint16(0), uint16(0))
	b.Write(request[8:12]) // sequence
	w(uint32(0), uint32(0))
	w(tr.RefID, [16]byte{192, 0, 2, 1}, uint16(1), uint16(0), tr.Stratum, tr.LeapStatus)
	w(uint32(0x7fffffff), uint32(1_700_000_000), uint32(0))
	for _, f := range []float64{tr.CurrentCorrection, 0, 0, 1.5, 0, 0, tr.RootDelay, tr.RootDispersion, 64} {
		w(chronyFloat(f))
	}
	return b.Bytes()
}

// serveChrony answers on conn until the test ends; a nil reply stays silent.
func serveChrony(t *testing.T, conn net.PacketConn, reply func([]byte) []byte) {
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if r := reply(buf[:n]); r != nil {
				conn.WriteTo(r, from)
			}
		}
	})
	t.Cleanup(func() { conn.Close(); wg.Wait() })
}

func udpServer(t *testing.T, reply func([]byte) []byte) string {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveChrony(t, conn, reply)
	return conn.LocalAddr().String()
}

var synced = chrony.Tracking{RefID: 0xC0000201, Stratum: 3, CurrentCorrection: -0.002, RootDelay: 0.010, RootDispersion: 0.001}

func TestChrony(t *testing.T) {
	change := func(f func(*chrony.Tracking)) chrony.Tracking { tr := synced; f(&tr); return tr }
	for _, tt := range []struct {
		rule string
		tr   chrony.Tracking
		want time.Duration
		err  error
	}{
		{"offset plus half the delay plus dispersion", synced, 8 * time.Millisecond, nil},
		{"no source: leap says not synchronised", change(func(tr *chrony.Tracking) { tr.LeapStatus = 3 }), 0, ErrUnverified},
		{"stratum 0 is nobody", change(func(tr *chrony.Tracking) { tr.Stratum = 0 }), 0, ErrUnverified},
		{"its own clock is nobody", change(func(tr *chrony.Tracking) { tr.RefID = 0x7F7F0101 }), 0, ErrUnverified},
		{"a leap second to come is no fault", change(func(tr *chrony.Tracking) { tr.LeapStatus = 1 }), 8 * time.Millisecond, nil},
		{"a perfect clock has at least a microsecond", chrony.Tracking{RefID: 1, Stratum: 1}, time.Microsecond, nil},
	} {
		addr := udpServer(t, func(q []byte) []byte { return trackingReply(q, tt.tr) })
		e, err := Chrony(addr)(t.Context())
		if (e.Error-tt.want).Abs() > time.Microsecond || !errors.Is(err, tt.err) {
			t.Errorf("%s: %+v, %v; want %v, %v", tt.rule, e, err, tt.want, tt.err)
		}
		if err == nil && e.Source != "chrony" {
			t.Errorf("%s: source %q", tt.rule, e.Source)
		}
	}
}

func TestChronyOverUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chronyd.sock")
	conn, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	serveChrony(t, conn, func(q []byte) []byte { return trackingReply(q, synced) })
	for range 2 { // the second finds no litter of the first
		if e, err := Chrony(path)(t.Context()); err != nil || e.Source != "chrony" {
			t.Errorf("Chrony(unix) = %+v, %v", e, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "minglu.*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestChronyTakesTheNextAddress(t *testing.T) {
	addr := udpServer(t, func(q []byte) []byte { return trackingReply(q, synced) })
	if e, err := Chrony(filepath.Join(t.TempDir(), "nobody.sock"), addr)(t.Context()); err != nil || e.Source != "chrony" {
		t.Errorf("Chrony() = %+v, %v; want the second address's answer", e, err)
	}
}

func TestChronyThatIsNotThere(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reply func([]byte) []byte
	}{
		{"silent", func([]byte) []byte { return nil }},
		{"rubbish", func([]byte) []byte { return []byte("hello") }},
		{"refused", func(q []byte) []byte { // status 2: unauthorised
			r := trackingReply(q, synced)
			r[9] = 2
			return r
		}},
		{"another reply", func(q []byte) []byte { r := trackingReply(q, synced); r[7] = 2; return r[:32] }},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		e, err := Chrony(udpServer(t, tt.reply))(ctx)
		cancel()
		if err == nil || errors.Is(err, ErrUnverified) {
			t.Errorf("%s: %+v, %v; want an error that lets the kernel be asked", tt.name, e, err)
		}
	}
}

func FuzzChronyReply(f *testing.F) {
	q := make([]byte, 104)
	f.Add(trackingReply(q, synced))
	f.Add(trackingReply(q, synced)[:40])
	f.Fuzz(func(t *testing.T, reply []byte) {
		c := &chrony.Client{Connection: &playback{reply}}
		if r, err := c.Communicate(chrony.NewTrackingPacket()); err == nil {
			if tr, ok := r.(*chrony.ReplyTracking); ok {
				if e, err := trackingError(&tr.Tracking); err == nil && e.Error <= 0 {
					t.Errorf("error bound %v", e.Error)
				}
			}
		}
	})
}

type playback struct{ reply []byte }

func (p *playback) Write(b []byte) (int, error) { return len(b), nil }
func (p *playback) Read(b []byte) (int, error)  { return copy(b, p.reply), nil }

func TestKernelError(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		state int
		t     unix.Timex
		want  time.Duration
		err   error
	}{
		{"bound plus offset in µs", unix.TIME_OK, unix.Timex{Maxerror: 16000, Esterror: 100, Offset: -2000}, 118 * time.Millisecond, nil},
		{"offset in ns", unix.TIME_OK, unix.Timex{Status: unix.STA_NANO, Maxerror: 16000, Offset: 2_000_000}, 118 * time.Millisecond, nil},
		{"a leap second to come is no fault", unix.TIME_INS, unix.Timex{Maxerror: 1000}, 101 * time.Millisecond, nil},
		{"unsynchronised by status", unix.TIME_OK, unix.Timex{Status: unix.STA_UNSYNC}, 0, ErrUnverified},
		{"unsynchronised by state", unix.TIME_ERROR, unix.Timex{}, 0, ErrUnverified},
	} {
		e, err := kernelError(tt.state, &tt.t)
		if e.Error != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, %v; want %v, %v", tt.rule, e.Error, err, tt.want, tt.err)
		}
	}
}

func TestKernelAnswers(t *testing.T) {
	if e, err := Kernel(t.Context()); err != nil && !errors.Is(err, ErrUnverified) || err == nil && e.Error < KernelMargin {
		t.Errorf("Kernel() = %+v, %v", e, err)
	}
}

func TestUptimeAndBootID(t *testing.T) {
	a := Uptime()
	if b := Uptime(); a <= 0 || b < a {
		t.Errorf("uptime %v, then %v", a, b)
	}
	if id, err := BootID(); err != nil || len(id) != 36 {
		t.Errorf("BootID() = %q, %v", id, err)
	}
}

func TestWatchSetEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { watchSet(ctx, func() {}); close(done) }()
	cancel()
	<-done
}
