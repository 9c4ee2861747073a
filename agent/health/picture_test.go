package health

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// scene is a foreign clip to which things happen: pictures that move, with a clock.
const scene = "testsrc2=size=640x360:rate=5"

// room is a still scene with the noise of a weak sensor, without a clock.
const room = "mandelbrot=size=640x360:rate=5,loop=loop=-1:size=1:start=4,noise=alls=3:allf=t"

// clockOnly is a still scene without noise in which a small clock runs.
const clockOnly = "mandelbrot=size=640x360:rate=5,loop=loop=-1:size=1:start=4,drawtext=text='%{pts\\:hms}':fontsize=20:x=20:y=20:fontcolor=white:box=1:boxcolor=black"

// between is a filter that works from second 20 to 45.
func between(filter string) string { return "," + filter + ":enable='between(t,20,45)'" }

// freeze repeats one picture from second 20 on, for 25 s.
const freeze = ",loop=loop=125:size=1:start=100"

// follow looks at a clip, one keyframe a second, and returns what stood at each.
func follow(t *testing.T, source string, seconds int, encode []string) (v *view, history []string) {
	t.Helper()
	v = newView()
	for i, pix := range decodePictures(t, filmed(t, source, seconds, encode)) {
		v.take(pix, time.Duration(i)*second)
		state := ""
		for _, c := range []struct {
			since, limit time.Duration
			name         string
		}{{v.black, 2 * second, "black"}, {v.covered, 10 * second, "covered"}, {v.frozen, 10 * second, "frozen"}} {
			if c.since >= 0 && v.at-c.since > c.limit {
				state += c.name
			}
		}
		history = append(history, state)
	}
	return v, history
}

func TestWhatAPictureShows(t *testing.T) {
	for _, tt := range []struct {
		rule, source string
		encode       []string
		want         string // from its window after second 20 to 45; never otherwise
		window       int
	}{
		{"pictures that move are nothing, with B frames", scene, x264, "", 0},
		{"pictures that move are nothing, in H.265", scene, x265, "", 0},
		{"a still room with sensor noise is not frozen", room, x264, "", 0},
		{"a still room with sensor noise at a low bit rate is not frozen", room, cbr, "", 0},
		{"a still scene in which a clock runs is not frozen", clockOnly, x264, "", 0},
		{"a black picture", scene + between("drawbox=c=black:t=fill"), x264, "black", 2},
		{"a black picture in H.265", scene + between("drawbox=c=black:t=fill"), x265, "black", 2},
		{"a hand before the lens is covered, not black", scene + between("drawbox=c=0x403028:t=fill") + ",noise=alls=3:allf=t", x264, "covered", 10},
		{"something out of focus and dark before the lens", scene + between("boxblur=40:2") + between("eq=brightness=-0.25:contrast=0.4"), x264, "covered", 10},
		{"white paper before the lens", scene + between("drawbox=c=white:t=fill"), x264, "covered", 10},
		{"a repeated picture", scene + freeze, x264, "frozen", 10},
		{"a repeated picture in H.265", scene + freeze, x265, "frozen", 10},
		{"a repeated picture whose bit rate settles slowly", scene + freeze, cbr, "frozen", 10},
		{"a repeated picture of a noisy room", room + freeze, x264, "frozen", 10},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			_, got := follow(t, tt.source, 60, tt.encode)
			for i, state := range got {
				switch {
				case tt.want != "" && i > 20+tt.window+4 && i < 44:
					if state != tt.want {
						t.Errorf("second %d: %q, want %q", i, state, tt.want)
					}
				case tt.want == "" || i <= 20+tt.window || i > 47:
					if state != "" {
						t.Errorf("second %d: %q, want nothing", i, state)
					}
				}
			}
		})
	}
}

// TestBlurAndMove: measured against what was learnt.
func TestBlurAndMove(t *testing.T) {
	for _, tt := range []struct {
		rule, filter string
		blurred      bool
		moved        bool
	}{
		{"as usual", "", false, false},
		{"out of focus", between("boxblur=6:2"), true, false},
		{"a little darker", between("eq=brightness=-0.08"), false, false},
		{"turned away", ",rotate=a='if(between(t,20,45),PI,0)'", false, true},
	} {
		v, _ := follow(t, room+tt.filter, 40, x264)
		ratio := v.last.sharp / v.base.Sharp
		if (ratio < 0.5) != tt.blurred || (v.match < 0.6) != tt.moved {
			t.Errorf("%s: sharpness %.2f, scene %.2f", tt.rule, ratio, v.match)
		}
		t.Logf("%s: sharpness %.2f, scene %.2f", tt.rule, ratio, v.match)
	}
}

func TestALensCoveredFromTheStart(t *testing.T) {
	v := newView()
	pix := make([]byte, viewBytes)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 30 {
		for j := range pix {
			pix[j] = 60 + byte(r.IntN(3))
		}
		v.take(pix, time.Duration(i)*second)
	}
	if v.covered != 0 || v.base.N != 0 {
		t.Errorf("covered since %v, learnt from %d pictures; want from the start and nothing", v.covered, v.base.N)
	}
}

func TestTheBaseIsKept(t *testing.T) {
	v, _ := follow(t, room, 15, x264)
	data, err := json.Marshal(&v.base)
	if err != nil {
		t.Fatal(err)
	}
	b, ok := parseBase(data)
	if !ok || b.N != v.base.N || !slices.Equal(b.Cells, v.base.Cells) {
		t.Errorf("read back %v %d, want %d", ok, b.N, v.base.N)
	}
	for _, bad := range []string{"", "null", "{}", `{"n":-1}`, `{"n":1,"cells":[1]}`} {
		if _, ok := parseBase([]byte(bad)); ok {
			t.Errorf("%q was taken for a base", bad)
		}
	}
}

func BenchmarkLook(b *testing.B) {
	pix := make([]byte, viewBytes)
	for i := range pix {
		pix[i] = byte(i * 7)
	}
	v := newView()
	b.ReportAllocs()
	for b.Loop() {
		v.take(pix, 0)
	}
}
