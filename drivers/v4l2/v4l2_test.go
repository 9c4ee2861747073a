package v4l2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"minglu/drivers"
	"minglu/drivers/driverstest"
	"minglu/drivers/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// boardUptime is the clock of arrivals in these tests.
func boardUptime() time.Duration { return time.Duration(monotonic()) }

// card returns n access units of the simulated camera's test card as a USB camera sends them, from a keyframe
// on: the parameter sets before each keyframe, all with start codes.
func card(t *testing.T, n, fps int) (units [][]byte) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		up := func() time.Duration { return time.Minute + time.Since(began) }
		r, err := sim.New(sim.Options{Cameras: []sim.CameraOptions{{ID: "face", Width: 1152, Height: 448, FPS: fps}}, Uptime: up})
		if err != nil {
			t.Fatal(err)
		}
		s := driverstest.NewStrict(t, up)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-s.After(n + fps); cancel() }()
		_ = r.Camera("face").Run(ctx, s)
		for _, x := range s.Samples()[1:] { // the first may be a keyframe out of turn
			if len(units) == 0 && !x.Keyframe || len(units) == n {
				continue
			}
			var b []byte
			put := func(u []byte) { b = append(append(b, 0, 0, 0, 1), u...) }
			if x.Keyframe {
				put(x.Format.SPS)
				put(x.Format.PPS)
			}
			for d := x.Data; len(d) > 0; {
				k := 4 + binary.BigEndian.Uint32(d)
				put(d[4:k])
				d = d[k:]
			}
			units = append(units, b)
		}
	})
	return units
}

// TestPicturesOfACamera: what the buffers of a camera with H.264 become.
func TestPicturesOfACamera(t *testing.T) {
	units := card(t, 15, 5) // keyframes are 0, 5 and 10
	at := func(n int) unix.Timeval { return unix.NsecToTimeval(monotonic() - int64(20-n)*int64(time.Millisecond)) }
	for _, tt := range []struct {
		rule    string
		buffers func(n int) *frame // of picture n; nil: none comes
		want    int
		lost    map[string]int
	}{
		{"all are delivered", func(n int) *frame { return &frame{data: units[n]} }, 15, map[string]int{}},
		{"a hole in the numbers is told, and nothing follows up to the keyframe", func(n int) *frame {
			if n == 2 || n == 3 {
				return nil
			}
			return &frame{data: units[n]}
		}, 12, map[string]int{causeDropped: 2, "frames without their reference picture": 1}},
		{"a damaged one too", func(n int) *frame {
			if n == 3 {
				return &frame{data: units[n], flags: flagError}
			}
			return &frame{data: units[n]}
		}, 13, map[string]int{causeDamaged: 1, "frames without their reference picture": 1}},
		{"an empty buffer is a damaged one", func(n int) *frame {
			if n == 4 {
				return &frame{}
			}
			return &frame{data: units[n]}
		}, 14, map[string]int{causeDamaged: 1}},
		{"bytes that are no picture too", func(n int) *frame {
			if n == 4 {
				return &frame{data: bytes.Repeat([]byte{7}, 999)}
			}
			return &frame{data: units[n]}
		}, 14, map[string]int{causeDamaged: 1}},
		{"the driver numbers anew: nothing is lost", func(n int) *frame {
			if n >= 6 {
				return &frame{data: units[n], sequence: uint32(n - 6)}
			}
			return &frame{data: units[n]}
		}, 15, map[string]int{}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			out := driverstest.NewStrict(t, boardUptime)
			s := &Source{o: Options{Device: "test", Uptime: boardUptime, Log: slog.New(slog.DiscardHandler)}}
			c := &connection{s: s, out: &gate{out: out}, codec: H264, cam: &device{cap: capability{Card: [32]byte{'x'}}}}
			c.coder = c.track()
			for n := range units {
				f := tt.buffers(n)
				if f == nil {
					continue
				}
				if f.sequence == 0 && (n < 6 || !strings.Contains(tt.rule, "anew")) {
					f.sequence = uint32(n)
				}
				f.flags |= flagMonotonic
				f.stamp = at(n)
				if err := c.picture(f); err != nil {
					t.Fatal(err)
				}
			}
			if got := len(out.Samples()); got != tt.want {
				t.Errorf("%d pictures, want %d", got, tt.want)
			}
			if got := out.Losses(); len(got) != len(tt.lost) {
				t.Errorf("lost %v, want %v", got, tt.lost)
			} else {
				for k, n := range tt.lost {
					if got[k] != n {
						t.Errorf("lost %v, want %v", got, tt.lost)
					}
				}
			}
		})
	}
	t.Run("a camera that sends nothing else is given up", func(t *testing.T) {
		s := &Source{o: Options{Device: "test", Uptime: boardUptime, Log: slog.New(slog.DiscardHandler)}}
		c := &connection{s: s, out: &gate{out: driverstest.NewStrict(t, boardUptime)}, codec: H264}
		c.coder = c.track()
		var err error
		for n := 0; err == nil && n < 1000; n++ {
			err = c.picture(&frame{data: []byte("garbage"), sequence: uint32(n)})
		}
		if p := (*drivers.Problem)(nil); !errors.As(err, &p) || p.Code != "codec" {
			t.Errorf("picture() = %v", err)
		}
	})
}

func TestStamps(t *testing.T) {
	const now = int64(100 * time.Second)
	tv := func(ns int64) unix.Timeval { return unix.NsecToTimeval(ns) }
	ms := int64(time.Millisecond)
	for _, tt := range []struct {
		rule  string
		flags uint32
		stamp int64
		last  int64
		want  int64
	}{
		{"the kernel's time is taken", flagMonotonic, now - 40*ms, now - 80*ms, now - 40*ms},
		{"and one an encoder carries on", flagCopied, now - 40*ms, now - 80*ms, now - 40*ms},
		{"a stamp of an unknown clock is not", 0, now - 40*ms, now - 80*ms, now},
		{"nor one of the future", flagMonotonic, now + 40*ms, now - 80*ms, now},
		{"nor a zero", flagMonotonic, 0, now - 80*ms, now},
		{"nor one that stands still", flagMonotonic, now - 80*ms, now - 80*ms, now},
		{"nor a wall clock", flagMonotonic, 1_760_000_000_000 * ms, now - 80*ms, now},
		{"the result rises whatever comes", 0, 0, now, now + 1},
	} {
		s := stamps{last: tt.last}
		if got := s.next(tt.flags, tv(tt.stamp), now); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.rule, got, tt.want)
		}
	}
}

// TestCopyPicture: each pixel arrives, whatever the lines' lengths are here and there.
func TestCopyPicture(t *testing.T) {
	const w, h = 32, 20
	for _, f := range []FourCC{YU12, NV12, YUYV} {
		wide := 1
		if f == YUYV {
			wide = 2
		}
		from := layout{format: f, width: w, height: h, stride: 40 * wide, planes: 1, size: 40 * wide * h * 2}
		to := layout{format: f, width: w, height: 24, stride: 64 * wide, planes: 1, size: 64 * wide * 24 * 2}
		if !from.holds() || !to.holds() {
			t.Fatalf("%v: layouts hold no picture", f)
		}
		a, b := make([]byte, from.bytes()), make([]byte, to.size)
		for i := range a {
			a[i] = byte(i*7%255 + 1)
		}
		copyPicture(b, &to, a, &from, w, h)
		total := 0
		for i, p := range from.parts(w, h) {
			q := to.parts(w, h)[i]
			for y := range p.lines {
				total += p.line
				if !bytes.Equal(a[p.at+y*p.stride:][:p.line], b[q.at+y*q.stride:][:q.line]) {
					t.Fatalf("%v: line %d of part %d differs", f, y, i)
				}
			}
		}
		if want := w * h * 3 / 2; f == YUYV && total != w*h*2 || f != YUYV && total != want {
			t.Errorf("%v: %d bytes of picture", f, total)
		}
	}
	if small := (&layout{format: NV12, width: w, height: h, stride: w, planes: 1, size: w * h}); small.holds() {
		t.Error("a buffer without room for colour holds a picture")
	}
}

func TestControlRules(t *testing.T) {
	for name, want := range map[string]string{"Video Bitrate": "video_bitrate", "White Balance, Automatic": "white_balance_automatic", "H264 I-Frame Period": "h264_i_frame_period", " Limited RGB Range (16-235)": "limited_rgb_range_16_235"} {
		if got := controlName(name); got != want {
			t.Errorf("controlName(%q) = %q, want %q", name, got, want)
		}
	}
	for _, tt := range []struct {
		c    Control
		v    int64
		want string
	}{
		{Control{Min: 0, Max: 255, Step: 1, kind: typeInteger}, 255, ""},
		{Control{Min: 0, Max: 255, Step: 1, kind: typeInteger}, 256, "0-255"},
		{Control{Min: 0, Max: 255, Step: 1, kind: typeInteger}, -1, "0-255"},
		{Control{Min: 25000, Max: 25000000, Step: 25000, kind: typeInteger}, 30000, "25000-25000000, step 25000"},
		{Control{Min: 0, Max: 6, kind: typeBitmask}, 5, "0-0x6"},
		{Control{Min: 0, Max: 6, kind: typeBitmask}, 6, ""},
		{Control{kind: typeButton}, 1, ""},
	} {
		if got := tt.c.check(tt.v); got != tt.want {
			t.Errorf("%+v: check(%d) = %q, want %q", tt.c, tt.v, got, tt.want)
		}
	}
}

func TestNoSuchCamera(t *testing.T) {
	s, err := New(Options{Device: t.TempDir() + "/usb-none-video-index0", Uptime: boardUptime})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context(), driverstest.NewStrict(t, boardUptime))
	if p := (*drivers.Problem)(nil); !errors.As(err, &p) || p.Code != "not-found" || !strings.Contains(p.Zh, "minglu-agent devices") {
		t.Errorf("Run() = %v", err)
	}
	for _, o := range []Options{{}, {Uptime: boardUptime}, {Uptime: boardUptime, Device: "x", Width: 640}, {Uptime: boardUptime, Device: "x", FPS: -1}} {
		if _, err := New(o); err == nil {
			t.Errorf("New(%+v) is content", o)
		}
	}
}
