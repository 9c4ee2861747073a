package rtsp

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"minglu/drivers"
)

// each renders samples as track:pts:kind for comparison.
func each(samples []drivers.Sample) []string {
	var s []string
	for _, x := range samples {
		kind := "delta"
		if x.Keyframe {
			kind = "key"
		}
		s = append(s, fmt.Sprintf("%d:%d:%s:%x", x.Track, x.PTS, kind, x.Data))
	}
	return s
}

func idr(n byte) string   { return fmt.Sprintf("000000046588%02x%02x", n, n) }
func slice(n byte) string { return fmt.Sprintf("00000004619a%02x%02x", n, n) }

func TestStreamRules(t *testing.T) {
	sps640, _, pps := testSets()
	inband := func(c *camConn, ts uint32, sets ...[]byte) {
		for _, b := range sets {
			c.rtp(0, ts, false, b...)
		}
	}
	known := sprop(sps640, pps)
	for _, tt := range []struct {
		rule string
		fmtp string
		play func(c *camConn)
		want []string
		lost []string
	}{
		{"each access unit comes once, in order", known, func(c *camConn) {
			c.key(0, 1)
			c.delta(3600, 2)
			c.delta(7200, 3)
		}, []string{"0:0:key:" + idr(1), "0:3600:delta:" + slice(2), "0:7200:delta:" + slice(3)}, nil},
		{"pictures before the first keyframe are not delivered and not lost", known, func(c *camConn) {
			c.delta(0, 1)
			c.key(3600, 2)
		}, []string{"0:3600:key:" + idr(2)}, nil},
		{"a stream joined within a picture begins with the next", known, func(c *camConn) {
			c.rtp(0, 0, true, 0x65, 0x08, 1, 1) // first_mb_in_slice > 0
			c.key(3600, 2)
		}, []string{"0:3600:key:" + idr(2)}, nil},
		{"a stream joined at an SEI has it in the sample", known, func(c *camConn) {
			inband(c, 0, []byte{6, 5, 1})
			c.key(0, 1)
		}, []string{"0:0:key:00000003060501" + idr(1)}, nil},
		{"or at a parameter set", known, func(c *camConn) {
			inband(c, 0, []byte{0x68, 0x5A, 1})
			c.key(0, 1)
		}, []string{"0:0:key:00000003685a01" + idr(1)}, nil},
		{"SEI with a marker of its own belongs to the next picture", known, func(c *camConn) {
			c.rtp(0, 0, true, 6, 5, 1)
			c.key(0, 1)
		}, []string{"0:0:key:00000003060501" + idr(1)}, nil},
		{"a fragmented unit that another interrupts is no picture", known, func(c *camConn) {
			c.key(0, 1)
			c.rtp(0, 3600, false, 0x7C, 0x81, 0x9A, 1)
			c.rtp(0, 3600, true, 0x61, 0x9A, 2, 2)
			c.key(7200, 3)
		}, []string{"0:0:key:" + idr(1), "0:7200:key:" + idr(3)}, []string{"0: 1 fragment without its beginning"}},
		{"nor is one that never ends", known, func(c *camConn) {
			c.key(0, 1)
			c.rtp(0, 3600, false, 0x61, 0x9A, 2, 2)
			c.rtp(0, 3600, true, 0x7C, 0x81, 0x1A, 1)
			c.key(7200, 3)
		}, []string{"0:0:key:" + idr(1), "0:7200:key:" + idr(3)}, []string{"0: 1 fragment without its beginning"}},
		{"delimiters and parameter sets are no part of a sample, SEI is", known, func(c *camConn) {
			inband(c, 0, []byte{9, 0xF0}, sps640, pps, []byte{6, 5, 1})
			c.key(0, 1)
		}, []string{"0:0:key:00000003060501" + idr(1)}, nil},
		{"slices of one picture are one sample", known, func(c *camConn) {
			c.rtp(0, 0, false, 0x65, 0x88, 1, 1)
			c.rtp(0, 0, true, 0x65, 0x08, 2, 2)
		}, []string{"0:0:key:" + idr(1) + "0000000465080202"}, nil},
		{"fragments (FU-A) are put together", known, func(c *camConn) {
			c.rtp(0, 0, false, 0x7C, 0x85, 0x88, 1)
			c.rtp(0, 0, false, 0x7C, 0x05, 2)
			c.rtp(0, 0, true, 0x7C, 0x45, 3)
		}, []string{"0:0:key:000000056588010203"}, nil},
		{"aggregates (STAP-A) are taken apart", known, func(c *camConn) {
			c.rtp(0, 0, true, 0x78, 0, 2, 9, 0xF0, 0, 4, 0x65, 0x88, 1, 1)
		}, []string{"0:0:key:" + idr(1)}, nil},
		{"start codes inside a payload part units", known, func(c *camConn) {
			c.rtp(0, 0, true, 9, 0xF0, 0, 0, 0, 1, 0x65, 0x88, 1, 1)
		}, []string{"0:0:key:" + idr(1)}, nil},
		{"without marker bits timestamps part pictures", known, func(c *camConn) {
			c.rtp(0, 0, false, 0x65, 0x88, 1, 1)
			c.rtp(0, 3600, false, 0x61, 0x9A, 2, 2)
			c.rtp(0, 7200, false, 0x61, 0x9A, 3, 3)
		}, []string{"0:0:key:" + idr(1), "0:3600:delta:" + slice(2)}, nil},
		{"after a gap nothing comes before the next keyframe, and it is told", known, func(c *camConn) {
			c.key(0, 1)
			c.seq[0] += 2
			c.delta(10800, 4)
			c.delta(14400, 5)
			c.key(18000, 6)
		}, []string{"0:0:key:" + idr(1), "0:18000:key:" + idr(6)},
			[]string{"0: 2 2 RTP packets missing", "0: 2 frames without their reference picture"}},
		{"a picture with a missing packet is not delivered", known, func(c *camConn) {
			c.key(0, 1)
			c.rtp(0, 3600, false, 0x7C, 0x81, 0x9A, 1)
			c.seq[0]++
			c.rtp(0, 3600, true, 0x7C, 0x41, 3)
			c.key(7200, 2)
		}, []string{"0:0:key:" + idr(1), "0:7200:key:" + idr(2)}, []string{"0: 1 1 RTP packets missing"}},
		{"a missing packet of a picture nothing refers to costs only that picture", known, func(c *camConn) {
			c.key(0, 1)
			c.rtp(0, 3600, false, 0x01, 0x9A, 1)
			c.seq[0]++
			c.rtp(0, 3600, true, 0x01, 0x1A, 3)
			c.delta(7200, 2)
		}, []string{"0:0:key:" + idr(1), "0:7200:delta:" + slice(2)}, []string{"0: 1 1 RTP packets missing"}},
		{"a keyframe right after a gap counts if it begins with a delimiter", known, func(c *camConn) {
			inband(c, 0, []byte{9, 0xF0})
			c.key(0, 1)
			c.seq[0]++
			inband(c, 3600, []byte{9, 0xF0})
			c.key(3600, 2)
		}, []string{"0:0:key:" + idr(1), "0:3600:key:" + idr(2)}, []string{"0: 1 1 RTP packets missing"}},
		{"and does not if its delimiter is what is missing", known, func(c *camConn) {
			inband(c, 0, []byte{9, 0xF0})
			c.key(0, 1)
			c.seq[0]++
			c.key(3600, 2)
			inband(c, 7200, []byte{9, 0xF0})
			c.key(7200, 3)
		}, []string{"0:0:key:" + idr(1), "0:7200:key:" + idr(3)}, []string{"0: 1 1 RTP packets missing"}},
		{"a repeated packet is ignored", known, func(c *camConn) {
			c.key(0, 1)
			c.seq[0]--
			c.key(0, 1)
			c.delta(3600, 2)
		}, []string{"0:0:key:" + idr(1), "0:3600:delta:" + slice(2)}, nil},
		{"packets of a foreign source are dropped", known, func(c *camConn) {
			c.key(0, 1)
			own, seq := c.ssrc[0], c.seq[0]
			c.ssrc[0], c.seq[0] = 999, 7000
			c.key(500, 9)
			c.ssrc[0], c.seq[0] = own, seq
			c.delta(3600, 2)
		}, []string{"0:0:key:" + idr(1), "0:3600:delta:" + slice(2)}, nil},
		{"timestamps go on over 32 bits", known, func(c *camConn) {
			c.key(0xFFFFFFFF-3599, 1)
			c.delta(0, 2)
			c.delta(3600, 3)
		}, []string{"0:4294963696:key:" + idr(1), "0:4294967296:delta:" + slice(2), "0:4294970896:delta:" + slice(3)}, nil},
		{"parameter sets may come in the stream alone", "", func(c *camConn) {
			c.key(0, 1)
			inband(c, 3600, sps640, pps)
			c.key(3600, 2)
		}, []string{"0:3600:key:" + idr(2)}, nil},
		{"parameter sets with a marker of their own belong to the next picture", "", func(c *camConn) {
			c.rtp(0, 0, true, sps640...)
			c.rtp(0, 0, true, pps...)
			c.key(0, 1)
		}, []string{"0:0:key:" + idr(1)}, nil},
		{"a second picture parameter set of another id stays in the sample", known, func(c *camConn) {
			inband(c, 0, sps640, pps, []byte{0x68, 0x5A, 1}) // ue(v) 010 = id 1
			c.key(0, 1)
		}, []string{"0:0:key:00000003685a01" + idr(1)}, nil},
		{"a marker on each slice is found out", known, func(c *camConn) {
			c.rtp(0, 0, true, 0x65, 0x88, 1, 1)
			c.rtp(0, 0, true, 0x65, 0x08, 2, 2)
			c.rtp(0, 3600, true, 0x65, 0x88, 3, 3)
			c.rtp(0, 3600, true, 0x65, 0x08, 4, 4)
			c.rtp(0, 7200, true, 0x65, 0x88, 5, 5)
		}, []string{"0:0:key:" + idr(1), "0:3600:key:" + idr(3) + "0000000465080404"},
			[]string{"0: 1 picture was cut by a wrong marker bit"}},
		{"interleaved packets cannot be received", known, func(c *camConn) {
			c.key(0, 1)
			c.rtp(0, 3600, true, 0x7D, 0x85, 0, 0, 1)
		}, []string{"0:0:key:" + idr(1)}, []string{"0: 1 malformed RTP payload"}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			t.Parallel()
			cam := &fakeCamera{sdp: sdpH264(true, tt.fmtp), session: "1"}
			cam.play = func(c *camConn) {
				tt.play(c)
				c.rtp(1, 0, true, 0xF8, 0xFF) // sound as the last packet: all before it has been handled
			}
			s := newSink()
			err := s.run(t, mustNew(t, Options{URL: cam.start(t)}), func() bool {
				return len(s.samples) > 0 && s.samples[len(s.samples)-1].Track == 1
			})
			if problem := asProblem(err); problem != nil {
				t.Fatalf("Run() = %v, want to be stopped", err)
			}
			got := each(s.samples[:len(s.samples)-1])
			if !slices.Equal(got, tt.want) {
				t.Errorf("samples\n%q, want\n%q", got, tt.want)
			}
			if !slices.Equal(s.lost, tt.lost) {
				t.Errorf("lost %q, want %q", s.lost, tt.lost)
			}
		})
	}
}

// Units of H.265 by type: CRA 21, IDR_N_LP 20, RASL_R 9, TRAIL_R 1, delimiter 35, prefix SEI 39.
func TestStreamRulesH265(t *testing.T) {
	vps, sps, pps := unhex("40010c01ffff01600000030090000003000003003c959409"),
		unhex("42010101600000030090000003000003003ca00a080f16595952930bc05a020000030002000003003210"), unhex("4401c073c189")
	sdp := "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns= \r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=control:trackID=0\r\n" +
		"m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\na=control:trackID=1\r\n"
	unit := func(kind, n byte) []byte { return []byte{kind << 1, 1, 0x80 | n, n} }
	text := func(kind, n byte) string { return fmt.Sprintf("00000004%x", unit(kind, n)) }
	begin := func(c *camConn, ts uint32) {
		for _, b := range [][]byte{{35 << 1, 1, 0x50}, vps, sps, pps} {
			c.rtp(0, ts, false, b...)
		}
	}
	for _, tt := range []struct {
		rule string
		play func(c *camConn)
		want []string
		lost []string
	}{
		{"leading pictures of an open group are dropped when decoding begins there", func(c *camConn) {
			begin(c, 0)
			c.rtp(0, 0, true, unit(21, 1)...)
			c.rtp(0, 3600, true, unit(9, 2)...)
			c.rtp(0, 7200, true, unit(1, 3)...)
			c.rtp(0, 10800, true, unit(21, 4)...)
			c.rtp(0, 14400, true, unit(9, 5)...)
		}, []string{"0:0:key:" + text(21, 1), "0:7200:delta:" + text(1, 3), "0:10800:key:" + text(21, 4), "0:14400:delta:" + text(9, 5)},
			[]string{"0: 1 frames without their reference picture"}},
		{"fragments (FU) are put together", func(c *camConn) {
			begin(c, 0)
			c.rtp(0, 0, false, 49<<1, 1, 0x80|20, 0x81, 1)
			c.rtp(0, 0, false, 49<<1, 1, 20, 2)
			c.rtp(0, 0, true, 49<<1, 1, 0x40|20, 3)
		}, []string{"0:0:key:000000062801" + "81010203"}, nil},
		{"aggregates (AP) are taken apart", func(c *camConn) {
			begin(c, 0)
			c.rtp(0, 0, true, 48<<1, 1, 0, 3, 39<<1, 1, 9, 0, 4, 20<<1, 1, 0x81, 1)
		}, []string{"0:0:key:000000034e0109" + text(20, 1)}, nil},
		{"a missing packet drops up to the next keyframe", func(c *camConn) {
			begin(c, 0)
			c.rtp(0, 0, true, unit(20, 1)...)
			c.rtp(0, 3600, false, 49<<1, 1, 0x80|1, 0x81, 1)
			c.seq[0]++
			c.rtp(0, 3600, true, 49<<1, 1, 0x40|1, 3)
			c.rtp(0, 7200, true, unit(1, 2)...)
			begin(c, 10800)
			c.rtp(0, 10800, true, unit(20, 3)...)
		}, []string{"0:0:key:" + text(20, 1), "0:10800:key:" + text(20, 3)},
			[]string{"0: 1 1 RTP packets missing", "0: 1 frames without their reference picture"}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			t.Parallel()
			cam := &fakeCamera{sdp: sdp, session: "1", play: func(c *camConn) {
				tt.play(c)
				c.rtp(1, 0, true, 0xF8, 0xFF)
			}}
			s := newSink()
			err := s.run(t, mustNew(t, Options{URL: cam.start(t)}), func() bool {
				return len(s.samples) > 0 && s.samples[len(s.samples)-1].Track == 1
			})
			if asProblem(err) != nil {
				t.Fatalf("Run() = %v, want to be stopped", err)
			}
			if got := each(s.samples[:len(s.samples)-1]); !slices.Equal(got, tt.want) || !slices.Equal(s.lost, tt.lost) {
				t.Errorf("samples\n%q, want\n%q; lost %q, want %q", got, tt.want, s.lost, tt.lost)
			}
			if f := s.desc[0].Formats[0]; f.Width != 320 || f.Height != 240 || !bytes.Equal(f.VPS, vps) {
				t.Errorf("opened with %+v", f)
			}
		})
	}
}

func TestNewParameterSetsMakeANewFormat(t *testing.T) {
	t.Parallel()
	sps640, sps320, pps := testSets()
	cam := &fakeCamera{sdp: sdpH264(false, sprop(sps640, pps)), session: "1", server: "Cam/1.0"}
	cam.play = func(c *camConn) {
		c.key(0, 1)
		c.rtp(0, 3600, false, sps320...)
		c.delta(3600, 2) // not at a keyframe yet: the set must stay in the sample
		c.rtp(0, 7200, false, sps320...)
		c.rtp(0, 7200, false, pps...)
		c.key(7200, 3)
		c.delta(10800, 4)
	}
	s := newSink()
	if err := s.run(t, mustNew(t, Options{URL: cam.start(t)}), func() bool { return len(s.samples) == 4 }); asProblem(err) != nil {
		t.Fatal(err)
	}
	f := s.samples[0].Format
	if len(s.desc) != 1 || s.desc[0].Formats[0] != f || f.Width != 640 || f.Height != 360 || !bytes.Equal(f.SPS, sps640) {
		t.Errorf("opened with %+v, first sample %+v; want 640x360 once", s.desc, f)
	}
	if s.desc[0].Identity != "Cam/1.0; Test Cam" || string(s.desc[0].SDP) != cam.sdp {
		t.Errorf("identity %q, SDP %q", s.desc[0].Identity, s.desc[0].SDP)
	}
	if s.samples[1].Format != f || !bytes.Contains(s.samples[1].Data, sps320) {
		t.Errorf("the format changed before a keyframe, or the new set was dropped from its picture")
	}
	g := s.samples[2].Format
	if g == f || g.Width != 320 || g.Height != 240 || bytes.Contains(s.samples[2].Data, sps320) || s.samples[3].Format != g {
		t.Errorf("after the change: %+v, want 320x240 from the keyframe on, out of the sample", g)
	}
}

// After a loss decoding times begin anew: two frames before the keyframe, as the set says.
func TestDecodingTimesAfterALoss(t *testing.T) {
	t.Parallel()
	pps := unhex("68ebe3cb22c0")
	cam := &fakeCamera{sdp: sdpH264(false, sprop(unhex("6764001eacd940a02ff97011000003000100000300320f162d96"), pps)), session: "1"}
	cam.play = func(c *camConn) {
		c.key(0, 1)
		c.seq[0]++
		c.delta(3600, 2)
		c.key(180000, 3)
	}
	s := newSink()
	if err := s.run(t, mustNew(t, Options{URL: cam.start(t)}), func() bool { return len(s.samples) == 2 }); asProblem(err) != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{-7200, 180000 - 7200} {
		if s.samples[i].DTS != want {
			t.Errorf("keyframe %d has DTS %d, want %d", i, s.samples[i].DTS, want)
		}
	}
}

func TestTheFirstUsableTracksAreTaken(t *testing.T) {
	t.Parallel()
	sps, _, pps := testSets()
	sdp := "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns= \r\nt=0 0\r\nm=audio 0 RTP/AVP 9\r\na=control:a\r\nm=video 0 RTP/AVP 26\r\na=control:b\r\n" +
		"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=0" + sprop(sps, pps) + "\r\na=control:c\r\n" +
		"m=video 0 RTP/AVP 98\r\na=rtpmap:98 H264/90000\r\na=fmtp:98 packetization-mode=1" + sprop(sps, pps) + "\r\na=control:d\r\n"
	cam := &fakeCamera{sdp: sdp, session: "1", play: func(c *camConn) { c.key(0, 1) }}
	s := newSink()
	if err := s.run(t, mustNew(t, Options{URL: cam.start(t)}), func() bool { return len(s.samples) == 1 }); asProblem(err) != nil {
		t.Fatal(err)
	}
	if len(s.desc[0].Formats) != 1 || len(cam.requests("SETUP")) != 1 {
		t.Errorf("%d tracks, %d set up; want the first H.264 alone", len(s.desc[0].Formats), len(cam.requests("SETUP")))
	}
}

func TestSenderReportsShareTheTicksOfSamples(t *testing.T) {
	t.Parallel()
	sps, _, pps := testSets()
	cam := &fakeCamera{sdp: sdpH264(true, sprop(sps, pps)), session: "1"}
	const ntp2026 = (1767225600 + 2208988800) << 32 // 2026-01-01
	cam.play = func(c *camConn) {
		c.report(0, ntp2026, 0xFFFFFFF0) // before any packet
		c.key(0x10, 1)
		c.rtp(1, 4800, true, 0xF8, 0xFF)
		c.report(1, ntp2026+1<<31, 4800+24000)
		own := c.ssrc[1]
		c.ssrc[1] = 5 // of nobody here
		c.report(1, ntp2026, 1)
		c.ssrc[1] = own
		c.rtp(1, 5760, true, 0xF8, 0xFF)
	}
	s := newSink()
	if err := s.run(t, mustNew(t, Options{URL: cam.start(t)}), func() bool { return len(s.samples) == 3 }); asProblem(err) != nil {
		t.Fatal(err)
	}
	if len(s.reports) != 2 {
		t.Fatalf("reports %+v, want one per track", s.reports)
	}
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if r := s.reports[0]; r.Track != 0 || !r.NTP.Equal(t0) || r.PTS != s.samples[0].PTS-0x20 || r.Arrival <= 0 {
		t.Errorf("report of the picture %+v, first sample at %d", r, s.samples[0].PTS)
	}
	if r := s.reports[1]; r.Track != 1 || !r.NTP.Equal(t0.Add(500*time.Millisecond)) || r.PTS != 28800 {
		t.Errorf("report of the sound %+v", r)
	}
	if a := s.samples[1]; a.Duration != 960 || !a.Keyframe || a.DTS != a.PTS {
		t.Errorf("sound %+v, want 20 ms of 48 kHz", a)
	}
}

func TestSoundNeverGoesBack(t *testing.T) {
	t.Parallel()
	sps, _, pps := testSets()
	cam := &fakeCamera{sdp: sdpH264(true, sprop(sps, pps)), session: "1"}
	cam.play = func(c *camConn) {
		for _, ts := range []uint32{1000, 1960, 1900, 3000} {
			c.rtp(1, ts, true, 0xF8, 0xFF)
		}
	}
	s := newSink()
	if err := s.run(t, mustNew(t, Options{URL: cam.start(t)}), func() bool { return len(s.samples) == 4 }); asProblem(err) != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{1000, 1960, 1961, 3000} {
		if s.samples[i].DTS != want {
			t.Errorf("sample %d at %d, want %d", i, s.samples[i].DTS, want)
		}
	}
}
