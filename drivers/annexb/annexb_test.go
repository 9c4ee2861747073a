package annexb

import (
	"bytes"
	"context"
	"encoding/binary"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minglu/drivers"
	"minglu/drivers/driverstest"
	"minglu/drivers/sim"
)

func stream(units ...[]byte) []byte {
	var b []byte
	for i, u := range units {
		if b = append(b, 0, 0, 1); i == 0 {
			b = append([]byte{0}, b...)
		}
		b = append(b, u...)
	}
	return b
}

func TestUnits(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		stream []byte
		want   []string
	}{
		{"one after another", []byte("\x00\x00\x01ab\x00\x00\x01c"), []string{"ab", "c"}},
		{"longer start codes and padding do not count", []byte("\x00\x00\x00\x01ab\x00\x00\x00\x00\x01c\x00\x00"), []string{"ab", "c"}},
		{"what comes before the first is no unit", []byte("junk\x00\x00\x01ab"), []string{"ab"}},
		{"an empty one is none", []byte("\x00\x00\x01\x00\x00\x01a"), []string{"a"}},
		{"no start code, nothing", []byte("abc"), nil},
		{"nothing, nothing", nil, nil},
		{"a start code alone", []byte("\x00\x00\x01"), nil},
	} {
		var got []string
		for u := range Units(tt.stream) {
			got = append(got, string(u))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: Units(%q) = %q, want %q", tt.rule, tt.stream, got, tt.want)
		}
	}
}

// film is what the simulated camera makes, as access units in a byte stream, the sets before each keyframe.
func film(t *testing.T, n int) (units [][]byte, keys []bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		boot := time.Now()
		up := func() time.Duration { return time.Since(boot) + time.Minute }
		r, err := sim.New(sim.Options{Cameras: []sim.CameraOptions{{ID: "face", FPS: 5}}, Uptime: up})
		if err != nil {
			t.Fatal(err)
		}
		s := driverstest.NewStrict(t, up)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-s.After(n); cancel() }()
		_ = r.Camera("face").Run(ctx, s)
		for _, x := range s.Samples() {
			au := [][]byte{{9, 0xF0}}
			if x.Keyframe {
				au = append(au, x.Format.SPS, x.Format.PPS)
			}
			for b := x.Data; len(b) > 0; {
				k := 4 + binary.BigEndian.Uint32(b)
				au, b = append(au, b[4:k]), b[k:]
			}
			units, keys = append(units, stream(au...)), append(keys, x.Keyframe)
		}
	})
	return units, keys
}

// taken collects what a track gives.
type taken struct {
	*Track
	opened  int
	samples []drivers.Sample
	lost    map[string]int
}

func newTaken(codec drivers.Codec) *taken {
	k := &taken{lost: map[string]int{}}
	k.Track = &Track{
		Codec: codec, Open: func(*drivers.Format) { k.opened++ },
		Sample: func(s drivers.Sample) { k.samples = append(k.samples, s) },
		Lost:   func(n int, cause string) { k.lost[cause] += n },
	}
	return k
}

func TestTrack(t *testing.T) {
	units, keys := film(t, 12) // at 5 a second: keyframes are 5 apart, the first may be anywhere
	second := slices.Index(keys[1:], true) + 1
	add := func(k *taken, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if err := k.Add(units[i], int64(i)*18000, int64(i)*18000, time.Duration(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("all pictures, without delimiters and sets", func(t *testing.T) {
		k := newTaken(drivers.H264)
		add(k, 0, 12)
		if len(k.samples) != 12 || k.opened != 1 || len(k.lost) > 0 {
			t.Fatalf("%d pictures, opened %d times, lost %v", len(k.samples), k.opened, k.lost)
		}
		for i, s := range k.samples {
			if kind := s.Data[4] & 31; s.Keyframe != keys[i] || s.PTS != int64(i)*18000 || s.Arrival != time.Duration(i) || kind != 1 && kind != 5 {
				t.Errorf("picture %d: key %v, PTS %d, first unit %d", i, s.Keyframe, s.PTS, kind)
			}
		}
		if f := k.Format(); f.Width != 1280 || f.Height != 720 {
			t.Errorf("format %+v", f)
		}
	})
	t.Run("nothing before a keyframe, and no loss told of it", func(t *testing.T) {
		k := newTaken(drivers.H264)
		add(k, 1, 12)
		if len(k.samples) != 12-second || !k.samples[0].Keyframe || len(k.lost) > 0 {
			t.Errorf("%d pictures, lost %v", len(k.samples), k.lost)
		}
	})
	t.Run("after a gap nothing up to the next keyframe, all told", func(t *testing.T) {
		k := newTaken(drivers.H264)
		add(k, 0, 1)
		k.Gap(1, "cut")
		add(k, 2, 12)
		if len(k.samples) != 1+12-second || k.lost["cut"] != 1 || k.lost[causeReference] != second-2 {
			t.Errorf("%d pictures, lost %v", len(k.samples), k.lost)
		}
	})
	t.Run("a picture lost before it was coded harms no other", func(t *testing.T) {
		k := newTaken(drivers.H264)
		add(k, 0, 1)
		k.Missed(3, "slow")
		add(k, 1, 12)
		if len(k.samples) != 12 || k.lost["slow"] != 3 {
			t.Errorf("%d pictures, lost %v", len(k.samples), k.lost)
		}
	})
	t.Run("garbage is an error and a gap", func(t *testing.T) {
		k := newTaken(drivers.H264)
		add(k, 0, 1)
		for _, b := range [][]byte{nil, []byte("no start code"), make([]byte, MaxAccessUnit+1), bytes.Repeat([]byte{0, 0, 1, 1}, MaxUnits+1)} {
			if err := k.Add(b, 1, 1, 0); err == nil {
				t.Errorf("%d bytes of garbage were taken", len(b))
			}
		}
		add(k, 1, 12)
		if len(k.samples) != 1+12-second || k.lost[causeDamaged] != 4 {
			t.Errorf("%d pictures, lost %v", len(k.samples), k.lost)
		}
	})
	t.Run("times that do not rise are made to", func(t *testing.T) {
		k := newTaken(drivers.H264)
		add(k, 0, 1)
		if err := k.Add(units[1], -5, -5, 0); err != nil || len(k.samples) != 2 || k.samples[1].DTS != 1 || k.samples[1].PTS != 1 {
			t.Errorf("%+v, %v", k.samples, err)
		}
	})
	t.Run("sets in an access unit of their own", func(t *testing.T) {
		k := newTaken(drivers.H264)
		var sets, rest [][]byte
		for u := range Units(units[0]) {
			if kind := u[0] & 31; kind == avcSPS || kind == avcPPS {
				sets = append(sets, u)
			} else {
				rest = append(rest, u)
			}
		}
		if err := k.Add(stream(sets...), 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		if err := k.Add(stream(rest...), 0, 0, 0); err != nil || len(k.samples) != 1 {
			t.Errorf("%d pictures, %v", len(k.samples), err)
		}
	})
}

// TestEncoders: what libx264 and libx265 write is taken whole, and a change of parameter sets begins a new
// format at its keyframe.
func TestEncoders(t *testing.T) {
	for codec, args := range map[drivers.Codec][]string{
		drivers.H264: {"-c:v", "libx264", "-tune", "zerolatency", "-g", "5", "-x264-params", "aud=1", "-f", "h264"},
		drivers.H265: {"-c:v", "libx265", "-tune", "zerolatency", "-x265-params", "keyint=5:aud=1:log-level=error", "-f", "hevc"},
	} {
		t.Run(string(codec), func(t *testing.T) {
			k := newTaken(codec)
			n := int64(0)
			for _, size := range []string{"320x180", "640x360"} {
				c := exec.Command("ffmpeg", append(append([]string{"-v", "error", "-f", "lavfi", "-i", "testsrc=s=" + size + ":r=10,format=yuv420p", "-t", "1"}, args...), "-")...)
				var said strings.Builder
				c.Stderr = &said
				out, err := c.Output()
				if err != nil {
					t.Fatalf("%v: %s", err, said.String())
				}
				for _, au := range accessUnits(codec, out) {
					if err := k.Add(au, n*9000, n*9000, 0); err != nil {
						t.Fatal(err)
					}
					n++
				}
			}
			if len(k.samples) != 20 || k.opened != 1 || len(k.lost) > 0 {
				t.Fatalf("%d pictures, opened %d times, lost %v", len(k.samples), k.opened, k.lost)
			}
			for i, s := range k.samples {
				want, changed := [2]int{320, 180}, i == 10
				if i >= 10 {
					want = [2]int{640, 360}
				}
				if got := [2]int{s.Format.Width, s.Format.Height}; got != want || i > 0 && (s.Format != k.samples[i-1].Format) != changed || changed && !s.Keyframe {
					t.Errorf("picture %d is of %v, keyframe %v", i, got, s.Keyframe)
				}
			}
		})
	}
}

// accessUnits cuts a byte stream before each delimiter.
func accessUnits(codec drivers.Codec, b []byte) (aus [][]byte) {
	t := Track{Codec: codec}
	for u := range Units(b) {
		if k := t.kind(u); t.hevc() && k == hevcAUD || !t.hevc() && k == avcAUD {
			aus = append(aus, nil)
		}
		aus[len(aus)-1] = append(append(aus[len(aus)-1], 0, 0, 1), u...)
	}
	return aus
}

// FuzzTrack feeds any bytes, cut into access units where 0xFE follows a start code.
func FuzzTrack(f *testing.F) {
	f.Add(stream([]byte{0x67, 0x42, 0xc0, 0x1f, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x44}, []byte{0x68, 0xce, 0x3c, 0x80}, []byte{0x65, 0x88, 1}, []byte{0xFE}, []byte{0x61, 0x9A, 2}), false)
	f.Add(stream([]byte{0x40, 1, 12}, []byte{0x42, 1, 1}, []byte{0x44, 1, 0xC1}, []byte{0x26, 1, 0xAF}, []byte{0xFE}, []byte{0x02, 1, 0xAF}), true)
	f.Fuzz(func(t *testing.T, b []byte, hevc bool) {
		codec := drivers.H264
		if hevc {
			codec = drivers.H265
		}
		s := driverstest.NewStrict(t, func() time.Duration { return time.Hour })
		k := &Track{
			Codec:  codec,
			Open:   func(f *drivers.Format) { s.Open(drivers.Description{Formats: []*drivers.Format{f}, Identity: "fuzz"}) },
			Sample: s.Sample, Lost: func(n int, cause string) { s.Lost(0, n, cause) },
		}
		for i, au := range bytes.Split(b, []byte{0, 0, 1, 0xFE}) {
			_ = k.Add(au, int64(i), int64(i), time.Duration(i))
		}
		// What Units gives, put together again, gives the same.
		var first [][]byte
		for u := range Units(b) {
			first = append(first, bytes.Clone(u))
		}
		if again := slices.Collect(Units(stream(first...))); !slices.EqualFunc(first, again, bytes.Equal) {
			t.Errorf("Units of %x: %x, then %x", b, first, again)
		}
	})
}
