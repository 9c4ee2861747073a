package rtsp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/capture"
	"minglu/agent/evidence"
	"minglu/agent/record"
)

// take is one film as a crafted camera sends it, and what must be recorded of it.
type take struct {
	film      *film
	unknown   bool     // the description has no parameter sets
	conns     [][]shot // of each connection; all but the last break off after it
	hook      func(r *room, c *camConn, conn, i int)
	transport string // added to the answer to SETUP
	segment   time.Duration
	warm      time.Duration // captured before the session begins; 0: 3 s
	gaps      []string      // causes, by their beginning
	files     int           // 0: 1
	off       time.Duration // a picture may be from its capture; 0: 20 ms
}

// plain is a film sent without a fault; change may make some.
func plain(f *film, change func(s []shot)) take {
	s := f.shots(1_000_000)
	if change != nil {
		change(s)
	}
	return take{film: f, conns: [][]shot{s}}
}

// after gives the shots of a film behind others, on the same clock.
func after(first []shot, f *film, pause int64) []shot {
	last := first[len(first)-1]
	far := int64(0) // frames
	for _, s := range first {
		far = max(far, int64(s.taken/(40*time.Millisecond)))
	}
	far += pause
	next := f.shots(first[0].ts + uint32(far*frame))
	late := last.at + 40*time.Millisecond - next[0].at
	for i := range next {
		next[i].at += max(late, time.Duration(far)*40*time.Millisecond)
		next[i].taken += time.Duration(far) * 40 * time.Millisecond
		next[i].pts += far * frame
	}
	return next
}

func (k take) run(t *testing.T, rule string) {
	synctest.Test(t, func(t *testing.T) {
		var r *room
		var played atomic.Int64 // uptime of the first PLAY
		cam := &fakeCamera{sdp: k.film.sdp(!k.unknown, ""), session: "1", transport: k.transport}
		conn, through := 0, make(chan struct{})
		cam.play = func(c *camConn) {
			n := min(conn, len(k.conns)-1)
			conn++
			if n == 0 {
				played.Store(int64(r.up()))
			}
			c.seq[0] = 65530 // wraps in each film
			c.ssrc[0] += uint32(1000 * n)
			var hook func(int)
			if k.hook != nil {
				hook = func(i int) { k.hook(r, c, n, i) }
			}
			c.send(k.conns[n], hook)
			if n < len(k.conns)-1 {
				c.Close()
			} else {
				close(through)
			}
		}
		r = newRoom(t, record.Options{Segment: k.segment}, func(up func() time.Duration) capture.Channel {
			src, err := New(Options{URL: "rtsp://10.0.0.1/x", Uptime: up})
			if err != nil {
				t.Fatal(err)
			}
			return capture.Channel{ID: "face", Source: connected(t, src, cam)}
		})
		r.start(r.capture.Run)
		warm := k.warm
		if warm == 0 {
			warm = 3 * time.Second
		}
		time.Sleep(warm)
		r.open()
		<-through
		time.Sleep(300 * time.Millisecond)
		exit := 0
		if len(k.gaps) > 0 {
			exit = 3
		}
		r.seal(exit)
		k.check(t, r, time.Duration(played.Load()))
		if t.Failed() {
			t.Logf("%s:\n%s", rule, r.logs.String())
		}
	})
}

// check compares what is in the files with what was sent: each picture once, in order, at its time.
func (k take) check(t *testing.T, r *room, played time.Duration) {
	t.Helper()
	var want []shot
	for _, c := range k.conns {
		for _, s := range c {
			if s.sample != nil {
				want = append(want, s)
			}
		}
	}
	files := r.files("face")
	if n := max(k.files, 1); len(files) != n {
		t.Errorf("%d files, want %d", len(files), n)
	}
	got := samples(t, files, "v")
	off, n := k.off, 0
	if off == 0 {
		off = 20 * time.Millisecond
	}
	for i := range min(len(got), len(want)) {
		sum := sha256.Sum256(want[i].sample)
		if got[i].hash != hex.EncodeToString(sum[:]) || got[i].key != want[i].key {
			t.Fatalf("picture %d of %d in the files is not picture %d that was sent", i, len(got), i)
		}
		if d := r.zero + got[i].pts - played - want[i].taken; d.Abs() > off && len(k.conns) == 1 {
			if n++; n < 4 {
				t.Errorf("picture %d lies %v from its capture", i, d)
			}
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d pictures in the files, want %d", len(got), len(want))
	}
	order := shown(got)
	slices.SortStableFunc(want, func(a, b shot) int { return int(a.taken - b.taken) })
	for i := range min(len(order), len(want)) {
		if sum := sha256.Sum256(want[i].sample); order[i].hash != hex.EncodeToString(sum[:]) {
			t.Fatalf("picture %d of those shown is another one", i)
		}
	}
	gaps := r.gaps()
	ok := len(gaps) == len(k.gaps)
	for i := 0; ok && i < len(gaps); i++ {
		ok = strings.HasPrefix(gaps[i], k.gaps[i])
	}
	if !ok {
		t.Errorf("gaps %q, want %q", gaps, k.gaps)
	}
}

// TestTimeline: whatever a camera does with its clocks, packets and parameter sets, what it sent whole
// is in the files: each picture once, in order and at its time.
func TestTimeline(t *testing.T) {
	const small = "size=160x120:rate=25"
	const quick = "-preset ultrafast -sc_threshold 0 "
	// Foreign subjects: nothing of our own test card is in them.
	bframes := shoot(t, "mandelbrot="+small, "8", "-c:v libx264 -preset veryfast -g 50 -bf 2 -b_strategy 0 -sc_threshold 0")
	pyramid := shoot(t, "mandelbrot="+small, "8", "-c:v libx264 -preset veryfast -g 40 -bf 3 -b_strategy 0 -x264-params b-pyramid=normal:slices=3:scenecut=0")
	even := shoot(t, "life=s=160x120:r=25:seed=7:mold=10", "8", "-c:v libx264 "+quick+"-g 50 -bf 0")
	other := shoot(t, "gradients=s=176x144:r=25:seed=3", "6", "-c:v libx264 "+quick+"-g 50 -bf 0")
	tinted := shoot(t, "life=s=160x120:r=25:seed=9:mold=10", "6", "-c:v libx264 "+quick+"-g 50 -bf 0 -x264-params chroma-qp-offset=3")
	slow := shoot(t, "cellauto=s=160x120:rate=25:rule=110", "24", "-c:v libx264 "+quick+"-g 250 -keyint_min 250 -bf 0")
	long := shoot(t, "life=s=96x96:r=25:seed=2:mold=10", "60", "-c:v libx264 "+quick+"-g 50 -bf 0")
	hevc := shoot(t, "mandelbrot="+small, "6", "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=50:bframes=3:open-gop=1")
	hevc2 := shoot(t, "gradients=s=176x144:r=25:seed=5", "4", "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=50:bframes=0")
	for f, want := range map[*film][2]int{bframes: {0, 1}, pyramid: {0, 1}, even: {2, 0}} {
		if poc, b := f.order(); poc != want[0] || b != (want[1] == 1) {
			t.Fatalf("the encoder made pic_order_cnt_type %d, reordered %v; want %v", poc, b, want)
		}
	}
	if !bytes.Equal(even.sps, tinted.sps) || bytes.Equal(even.pps, tinted.pps) {
		t.Fatal("the encoder did not change the picture parameter set alone")
	}
	// dropTo says that nothing is recorded of shots i up to the next keyframe.
	dropTo := func(s []shot, i int) {
		for ; i < len(s) && !s[i].key; i++ {
			s[i].sample = nil
		}
	}
	sets := func(f *film, change func(s *shot, u unit, i int)) take {
		k := plain(f, func(s []shot) {
			for i := range s {
				change(&s[i], f.units[i], i)
			}
		})
		return k
	}
	ts := func(f *film, first uint32) take { return take{film: f, conns: [][]shot{f.shots(first)}} }
	step := func(f *film, from int64, by int64) take {
		return plain(f, func(s []shot) {
			for i := range s {
				if s[i].pts >= from*frame {
					s[i].ts += uint32(by)
				}
			}
		})
	}
	const hour = 3600 * 90000
	aud, sei := []byte{avcAUD, 0xF0}, []byte{avcSEI, 5, 1, 0x42, 0x80}
	for _, tt := range []struct {
		rule string
		take func() take
	}{
		{"B-frames, pic_order_cnt_type 0", func() take { return plain(bframes, nil) }},
		{"B-pyramid and slices", func() take { return plain(pyramid, nil) }},
		{"pic_order_cnt_type 2, no reordering", func() take { return plain(even, nil) }},
		{"RTP timestamps wrap", func() take { return ts(even, 0xFFFFFFFF-4*90000) }},
		{"RTP timestamps wrap among B-frames", func() take { return ts(pyramid, 0xFFFFFFFF-4*90000-frame/2) }},
		{"sequence numbers wrap", func() take {
			k := plain(bframes, nil)
			k.hook = func(_ *room, c *camConn, _, i int) {
				if i == 0 {
					c.seq[0] = 0xFFFF - 100 // in the middle of a picture or between two
				}
			}
			return k
		}},
		{"sender reports step", func() take {
			k := plain(bframes, nil)
			k.hook = func(r *room, c *camConn, _, i int) {
				if i%20 == 0 {
					wall := uint64(i) * 40 / 1000
					if i/20%2 == 1 {
						wall += 3600
					}
					c.report(0, (1767225600+2208988800+wall)<<32, 1_000_000+uint32(i*frame))
				}
			}
			return k
		}},
		{"the camera's clock is set forward an hour", func() take { return step(even, 110, hour) }},
		{"the camera's clock is set back an hour", func() take { return step(even, 110, -hour) }},
		{"the camera's clock is set back a second", func() take { return step(even, 110, -90000) }},
		{"the camera's clock is set back a tenth of a second", func() take { return step(even, 110, -9000) }},
		{"the camera's clock is set forward among B-frames", func() take { return step(bframes, 110, hour) }},
		{"the camera's clock is set back among B-frames", func() take { return step(pyramid, 111, -hour) }},
		{"the camera's clock is set and set right again", func() take {
			k := step(even, 100, hour)
			for i := range k.conns[0] {
				if k.conns[0][i].pts >= 120*frame {
					k.conns[0][i].ts -= hour
				}
			}
			return k
		}},
		{"25 pictures a second stamped, 21 sent", func() take {
			k := plain(long, func(s []shot) {
				for i := range s {
					s[i].at = time.Duration(i) * time.Second / 21
					s[i].taken = s[i].at
				}
			})
			k.off = 1500 * time.Millisecond // while the rate is found; capture tests how soon that is
			return k
		}},
		{"new parameter sets and size begin a file", func() take {
			k := plain(even, nil)
			k.conns[0] = append(k.conns[0], after(k.conns[0], other, 0)...)
			k.files = 2
			return k
		}},
		{"a new picture parameter set alone begins a file", func() take {
			k := plain(even, nil)
			k.conns[0] = append(k.conns[0], after(k.conns[0], tinted, 0)...)
			k.files = 2
			return k
		}},
		{"new parameter sets of H.265 begin a file", func() take {
			k := plain(hevc, nil)
			k.conns[0] = append(k.conns[0], after(k.conns[0], hevc2, 0)...)
			k.files = 2
			return k
		}},
		{"H.265 with open groups of pictures", func() take { return plain(hevc, nil) }},
		{"groups of pictures of ten seconds", func() take { return plain(slow, nil) }},
		{"lost packets cost the pictures up to the next keyframe", func() take {
			k := plain(even, func(s []shot) {
				s[110].skip, s[110].sample = -1, nil
				dropTo(s, 111)
			})
			k.gaps = []string{"frames without their reference picture"}
			return k
		}},
		{"a lost keyframe costs its group of pictures", func() take {
			k := plain(even, func(s []shot) {
				s[100].skip, s[100].sample = 1, nil
				dropTo(s, 101)
			})
			k.gaps = []string{"frames without their reference picture"}
			return k
		}},
		{"packets of foreign sources are no part of it", func() take {
			k := plain(even, nil)
			var mixed []shot
			for i, s := range k.conns[0] {
				mixed = append(mixed, s)
				if i > 10 {
					mixed = append(mixed, shot{at: s.at, ts: s.ts + 77, payloads: s.payloads, foreign: 4242})
				}
			}
			k.conns[0] = mixed
			return k
		}},
		{"remains of a stale session come before the new one", func() take {
			k := plain(even, nil)
			var mixed []shot
			for i, s := range k.conns[0] {
				if i < 60 {
					mixed = append(mixed, shot{at: s.at, ts: s.ts + 5*90000, payloads: s.payloads, foreign: 4242})
				}
				mixed = append(mixed, s)
			}
			k.conns[0] = mixed
			k.transport = fmt.Sprintf(";ssrc=%08X", 111)
			return k
		}},
		{"a camera reboots: another source, other timestamps", func() take {
			k := plain(even, nil)
			first := k.conns[0][:140]
			second := other.shots(77)
			for i := range second {
				second[i].taken += first[139].taken + time.Hour // only for the order
			}
			k.conns = [][]shot{first, second}
			k.gaps, k.files = []string{"connection lost"}, 2
			return k
		}},
		{"parameter sets come in the stream alone", func() take { k := plain(bframes, nil); k.unknown = true; return k }},
		{"parameter sets come in the description alone", func() take {
			return sets(even, func(s *shot, u unit, _ int) { s.payloads = even.payloads(u.nals) })
		}},
		{"parameter sets come before every slice", func() take {
			return sets(even, func(s *shot, u unit, _ int) {
				var all [][]byte
				for _, n := range u.nals {
					all = append(append(all, even.sets()...), n)
				}
				s.payloads = even.payloads(all)
			})
		}},
		{"parameter sets are repeated before the keyframe, with delimiter and SEI among them", func() take {
			return sets(even, func(s *shot, u unit, _ int) {
				all := [][]byte{aud}
				if u.key {
					all = append(all, even.sps, even.pps, sei, even.sps, even.pps, sei)
					s.sample = append([]byte{0, 0, 0, 5, 6, 5, 1, 0x42, 0x80, 0, 0, 0, 5, 6, 5, 1, 0x42, 0x80}, s.sample...)
				}
				s.payloads = even.payloads(append(all, u.nals...))
			})
		}},
		{"delimiter, parameter sets, SEI and slices are aggregated", func() take {
			return sets(pyramid, func(s *shot, u unit, _ int) {
				all := [][]byte{pyramid.aggregate(aud)}
				if u.key {
					all = [][]byte{pyramid.aggregate(aud, pyramid.sps, pyramid.pps, sei)}
					s.sample = append([]byte{0, 0, 0, 5, 6, 5, 1, 0x42, 0x80}, s.sample...)
				}
				for _, n := range u.nals {
					if len(n) < 600 {
						all = append(all, pyramid.aggregate(n))
					} else {
						all = append(all, pyramid.payloads([][]byte{n})...)
					}
				}
				s.payloads = all
			})
		}},
		{"parameter sets come as pictures of their own, a frame early", func() take {
			k := plain(even, nil)
			var all []shot
			for i, s := range k.conns[0] {
				if s.key {
					s.payloads = even.payloads(even.units[i].nals)
					for _, p := range even.sets() {
						all = append(all, shot{at: s.at, ts: s.ts - frame/2, payloads: [][]byte{p}})
					}
				}
				all = append(all, s)
			}
			k.conns[0] = all
			return k
		}},
		{"marker bits are never set", func() take {
			k := sets(even, func(s *shot, _ unit, _ int) { s.noMarker = true })
			k.conns[0][len(k.conns[0])-1].sample = nil // nothing tells that it is whole
			k.off = 60 * time.Millisecond              // a picture is known to be whole when the next begins
			return k
		}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			t.Parallel()
			tt.take().run(t, tt.rule)
		})
	}
}

// order reads pic_order_cnt_type of H.264, and whether pictures come out of order.
func (f *film) order() (poc int, reordered bool) {
	for i := range f.units {
		reordered = reordered || i > 0 && f.units[i].pts < f.units[i-1].pts
	}
	return pocType(f.sps), reordered
}

// TestWallClockSteps: the board's clock is set forward and back during a session: new clock epochs, and
// the files go on as if nothing were.
func TestWallClockSteps(t *testing.T) {
	even := shoot(t, "life=s=160x120:r=25:seed=7:mold=10", "8", "-c:v libx264 -preset ultrafast -sc_threshold 0 -g 50 -bf 0")
	k := plain(even, nil)
	k.hook = func(r *room, _ *camConn, _, i int) {
		switch i {
		case 100:
			r.stepClock(3 * time.Hour)
		case 150:
			r.stepClock(-26 * time.Hour)
		}
	}
	var clocks []evidence.Clock
	hook := k.hook
	k.hook = func(r *room, c *camConn, n, i int) {
		hook(r, c, n, i)
		if i == len(k.conns[0])-1 {
			clocks = lines[evidence.Clock](r, "clock")
		}
	}
	k.run(t, "wall clock")
	if len(clocks) != 3 || clocks[1].Epoch != clocks[0].Epoch+1 || clocks[1].Step != 3*3600e6 || clocks[2].Step != -26*3600e6 {
		t.Errorf("clock lines %+v, want one for the beginning and one for each step", clocks)
	}
}
