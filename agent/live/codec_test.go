package live

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"

	"minglu/agent/capture"
	"minglu/drivers"
)

func au(nals ...[]byte) (b []byte) {
	for _, n := range nals {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(n))), n...)
	}
	return b
}

func nal(head []byte, size int) []byte {
	b := slices.Clone(head)
	for i := len(b); i < size; i++ {
		b = append(b, byte(i*7+1)|1)
	}
	return b
}

func TestPayloadsComeApartAndTogether(t *testing.T) {
	sps, pps, idr := nal([]byte{0x67, 66, 0xc0, 31}, 20), nal([]byte{0x68}, 6), []byte{0x65}
	for _, tt := range []struct {
		rule string
		au   []byte
		sets [][]byte
		want [][]byte // NAL units at the other end
		n    int      // packets
	}{
		{"a small picture is one packet", au(nal(idr, 100)), nil, [][]byte{nal(idr, 100)}, 1},
		{"parameter sets come first, together", au(nal(idr, 100)), [][]byte{sps, pps}, [][]byte{sps, pps, nal(idr, 100)}, 2},
		{"but only if the picture has none", au(sps, pps, nal(idr, 100)), [][]byte{sps, pps}, [][]byte{sps, pps, nal(idr, 100)}, 3},
		{"parameter sets too large for one packet", au(nal(idr, 9)), [][]byte{nal([]byte{0x67}, mtu), pps}, [][]byte{nal([]byte{0x67}, mtu), pps, nal(idr, 9)}, 3},
		{"the largest whole one", au(nal(idr, mtu)), nil, [][]byte{nal(idr, mtu)}, 1},
		{"one byte more is two", au(nal(idr, mtu+1)), nil, [][]byte{nal(idr, mtu+1)}, 2},
		{"many slices", au(nal(idr, 3000), nal(idr, 40), nal(idr, 5000)), nil, [][]byte{nal(idr, 3000), nal(idr, 40), nal(idr, 5000)}, 3 + 1 + 5},
		{"delimiters and filler stay away", au([]byte{9, 0xf0}, nal([]byte{12}, 50), nal(idr, 50)), nil, [][]byte{nal(idr, 50)}, 1},
		{"empty units too", au(nil, nal(idr, 50), nil), nil, [][]byte{nal(idr, 50)}, 1},
		{"what is cut off is left away", append(au(nal(idr, 50)), 0, 0, 1, 0, 5), nil, [][]byte{nal(idr, 50)}, 1},
		{"nothing is nothing", nil, nil, nil, 0},
	} {
		got := avcPacking.payloads(tt.au, tt.sets)
		d := &codecs.H264Packet{IsAVC: true}
		var back [][]byte
		for _, p := range got {
			if len(p) > mtu {
				t.Errorf("%s: a payload of %d bytes", tt.rule, len(p))
			}
			b, err := d.Unmarshal(p)
			if err != nil {
				t.Errorf("%s: %v", tt.rule, err)
			}
			back = append(back, units(b)...)
		}
		if len(got) != tt.n || !equal(tt.want, back) {
			t.Errorf("%s: %d packets, %d NAL units; want %d, %d", tt.rule, len(got), len(back), tt.n, len(tt.want))
		}
	}
}

func TestPayloadsOfH265(t *testing.T) {
	vps, sps, pps := nal([]byte{0x40, 1}, 24), nal([]byte{0x42, 1}, 60), nal([]byte{0x44, 1}, 8)
	idr := nal([]byte{0x26, 1}, 4000)
	got := hevcPacking.payloads(au([]byte{0x46, 1, 0x50}, idr), [][]byte{vps, sps, pps})
	d := &codecs.H265Depacketizer{}
	var back []byte
	for _, p := range got {
		b, err := d.Unmarshal(p)
		if err != nil {
			t.Fatal(err)
		}
		back = append(back, b...)
	}
	var want []byte
	for _, n := range [][]byte{vps, sps, pps, idr} {
		want = append(append(want, 0, 0, 0, 1), n...)
	}
	if len(got) != 1+4 || !bytes.Equal(back, want) {
		t.Errorf("%d packets, %d bytes together; want 5, %d", len(got), len(back), len(want))
	}
}

func TestChoose(t *testing.T) {
	const chromium = "a=rtpmap:103 H264/90000\r\na=fmtp:103 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n" +
		"a=rtpmap:107 H264/90000\r\na=fmtp:107 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f\r\n" +
		"a=rtpmap:109 H264/90000\r\na=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n" +
		"a=rtpmap:117 H264/90000\r\na=fmtp:117 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f\r\n" +
		"a=rtpmap:96 VP8/90000\r\n"
	const head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
	const sound = "m=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\na=rtpmap:63 red/48000/2\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10\r\n"
	h264 := func(sps ...byte) *drivers.Format {
		return &drivers.Format{Codec: drivers.H264, ClockHz: 90000, SPS: sps}
	}
	opus := &drivers.Format{Codec: drivers.Opus, ClockHz: 48000}
	for _, tt := range []struct {
		rule   string
		offer  string
		video  *drivers.Format
		sound  *drivers.Format
		pt, ap int // 0: none
		exact  bool
	}{
		{"constrained baseline finds its own", chromium, h264(0x67, 66, 0xc0, 31), opus, 109, 111, true},
		{"so does plain baseline", chromium, h264(0x67, 66, 0x80, 31), opus, 103, 111, true},
		{"and main", chromium, h264(0x67, 77, 0, 30), nil, 117, 0, true},
		{"high goes as the largest offered", chromium, h264(0x67, 100, 0, 40), opus, 117, 111, false},
		{"H.265 needs an offer of it", chromium, &drivers.Format{Codec: drivers.H265}, opus, 0, 111, false},
		{"and is taken", "a=rtpmap:103 H265/90000\r\n", &drivers.Format{Codec: drivers.H265}, opus, 103, 111, true},
		{"one packet a picture does not do", "a=rtpmap:103 H264/90000\r\na=fmtp:103 profile-level-id=42e01f\r\n", h264(0x67, 66, 0xc0, 31), opus, 0, 111, false},
		{"a broken profile is not taken", "a=rtpmap:103 H264/90000\r\na=fmtp:103 packetization-mode=1;profile-level-id=zz\r\n", h264(0x67, 66, 0xc0, 31), opus, 0, 111, false},
		{"no pictures, no video", chromium, nil, opus, 0, 111, false},
	} {
		all, err := offers(head + "m=video 9 UDP/TLS/RTP/SAVPF 103 107 109 117 96\r\n" + tt.offer + sound)
		if err != nil {
			t.Fatal(err)
		}
		c := choose(all, kind{video: tt.video}, tt.sound)
		pt := func(p *webrtc.RTPCodecParameters) int {
			if p == nil {
				return 0
			}
			return int(p.PayloadType)
		}
		if pt(c.video) != tt.pt || pt(c.audio) != tt.ap || c.exact != tt.exact {
			t.Errorf("%s: video %d, sound %d, exact %t; want %d, %d, %t", tt.rule, pt(c.video), pt(c.audio), c.exact, tt.pt, tt.ap, tt.exact)
		}
	}
}

func FuzzOffers(f *testing.F) {
	f.Add("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 103\r\na=rtpmap:103 H264/90000\r\na=fmtp:103 packetization-mode=1;profile-level-id=42001f\r\n")
	f.Add("v=0\r\nm=audio 9 UDP 111\r\na=rtpmap:111 opus\r\n")
	f.Fuzz(func(t *testing.T, sdp string) {
		all, err := offers(sdp)
		if err != nil {
			return
		}
		for _, k := range []drivers.Codec{drivers.H264, drivers.H265} {
			c := choose(all, kind{video: &drivers.Format{Codec: k}}, &drivers.Format{Codec: drivers.Opus})
			if c.video != nil && !strings.EqualFold(c.video.MimeType, "video/"+string(k)) {
				t.Errorf("%s carried as %s", k, c.video.MimeType)
			}
		}
	})
}

// film delivers made-up access units with a keyframe each second, and sound.
type film struct {
	up     func() time.Duration
	video  *drivers.Format
	sound  *drivers.Format
	bFrame bool
}

func (f *film) Run(ctx context.Context, out drivers.Sink) error {
	d := drivers.Description{Identity: "film"}
	for _, x := range []*drivers.Format{f.video, f.sound} {
		if x != nil {
			d.Formats = append(d.Formats, x)
		}
	}
	out.Open(d)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for k := int64(0); ; k++ {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		if f.sound != nil {
			out.Sample(drivers.Sample{Track: len(d.Formats) - 1, Format: f.sound, PTS: k * 960, DTS: k * 960, Duration: 960, Arrival: f.up(), Keyframe: true, Data: []byte{1, 2, 3}})
		}
		if f.video == nil || k%2 == 1 {
			continue
		}
		n := k / 2
		s := drivers.Sample{Format: f.video, PTS: n * 3600, DTS: n * 3600, Arrival: f.up(), Keyframe: n%25 == 0}
		if f.bFrame {
			s.PTS += []int64{2, 4, 0}[n%3] * 1800
		}
		head := []byte{0x41}
		if s.Keyframe {
			head = []byte{0x65}
		}
		if f.video.Codec == drivers.H265 {
			head = []byte{0x02, 1}
			if s.Keyframe {
				head = []byte{0x26, 1}
			}
		}
		s.Data = au(nal(head, 2000))
		out.Sample(s)
	}
}

func TestOtherCodecs(t *testing.T) {
	hevc := &drivers.Format{Codec: drivers.H265, ClockHz: 90000, VPS: nal([]byte{0x40, 1}, 24), SPS: nal([]byte{0x42, 1}, 60), PPS: nal([]byte{0x44, 1}, 8)}
	avc := &drivers.Format{Codec: drivers.H264, ClockHz: 90000, SPS: nal([]byte{0x67, 100, 0, 31}, 20), PPS: nal([]byte{0x68}, 6)}
	aac := &drivers.Format{Codec: drivers.AAC, ClockHz: 48000, SampleRateHz: 48000, Channels: 1}
	opus := &drivers.Format{Codec: drivers.Opus, ClockHz: 48000, SampleRateHz: 48000, Channels: 1}
	r := &rig{}
	boot := time.Now().Add(-time.Hour)
	r.up = func() time.Duration { return time.Since(boot) }
	r.set(Recording)
	r.start(t, Options{Channels: []Channel{{ID: "hevc"}, {ID: "avc", Sound: "far"}, {ID: "aac"}, {ID: "far"}, {ID: "dead"}, {ID: "deaf", Sound: "dead"}}}, []capture.Channel{
		{ID: "hevc", Source: &film{up: r.up, video: hevc, sound: opus}},
		{ID: "avc", Source: &film{up: r.up, video: avc, sound: aac, bFrame: true}},
		{ID: "deaf", Source: &film{up: r.up, video: avc, sound: aac}},
		{ID: "aac", Source: &film{up: r.up, sound: aac}},
		{ID: "far", Source: &film{up: r.up, sound: opus}},
		{ID: "dead", Source: dead{}},
	})
	no265 := func(m *webrtc.MediaEngine) error {
		if err := m.RegisterCodec(webrtc.RTPCodecParameters{PayloadType: 111, RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}}, webrtc.RTPCodecTypeAudio); err != nil {
			return err
		}
		return m.RegisterCodec(webrtc.RTPCodecParameters{PayloadType: 96, RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}}, webrtc.RTPCodecTypeVideo)
	}
	time.Sleep(100 * time.Millisecond) // a B-frame may have come by then
	for _, tt := range []struct {
		rule, path     string
		offer          func(*webrtc.MediaEngine) error
		status         int
		code           string
		picture, sound string
	}{
		{"H.265 to a browser that has it", "/whep/hevc", nil, 201, "", "h265", "hevc"},
		{"H.265 to one that has not", "/whep/hevc", no265, 406, "h265", "", ""},
		{"H.264 to one that has not", "/whep/avc", no265, 406, "h264", "", ""},
		{"B-frames are told; a microphone replaces AAC", "/whep/avc", nil, 201, "", "h264; order=reordered", "far"},
		{"AAC without a microphone is told", "/whep/avc?sound=none", nil, 201, "", "h264; order=reordered", "none; codec=aac"},
		{"AAC alone cannot be heard", "/whep/aac", nil, 406, "aac", "", ""},
		{"another sound by request", "/whep/hevc?sound=far", nil, 201, "", "h265", "far"},
		{"a channel without signal", "/whep/dead", nil, 503, "no-signal", "", ""},
		{"its sound as well", "/whep/hevc?sound=dead", nil, 503, "no-signal", "", ""},
		{"but pictures do not wait for a default microphone that is gone", "/whep/deaf", nil, 201, "", "h264", "none; codec=aac"},
	} {
		c, status, text, err := call(r.url+tt.path, tt.offer)
		if err != nil || status != tt.status || tt.code != "" && !strings.Contains(text, `"code":"`+tt.code+`"`) {
			t.Errorf("%s: %d %s %v, want %d %s", tt.rule, status, text, err, tt.status, tt.code)
		}
		if c == nil {
			continue
		}
		if p := c.header.Get(HeaderPicture); p != tt.picture && p != strings.Replace(tt.picture, "h264", "h264; profile=other", 1) {
			t.Errorf("%s: %s %q, want %q", tt.rule, HeaderPicture, p, tt.picture)
		}
		if s := c.header.Get(HeaderSound); s != tt.sound {
			t.Errorf("%s: %s %q, want %q", tt.rule, HeaderSound, s, tt.sound)
		}
		p := c.picture(t)
		if n := len(p.nals); n < 3 {
			t.Errorf("%s: the first picture has %d NAL units, want parameter sets and a keyframe", tt.rule, n)
		}
		if !strings.HasPrefix(tt.sound, "none") {
			c.sound(t)
		}
		c.close()
	}
	http.DefaultClient.CloseIdleConnections()
}

// dead never connects.
type dead struct{}

func (dead) Run(ctx context.Context, _ drivers.Sink) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestQueueDropsToTheNextKeyframe(t *testing.T) {
	v := &viewer{wake: make(chan struct{}, 1), video: &track{}}
	fr := func(key bool, n int) *frame { return &frame{video: true, key: key, bytes: n} }
	v.begin([]*frame{fr(true, cacheBytes-1), fr(false, 1)})
	for range queueFrames - 2 {
		v.push(fr(false, 1000))
	}
	if len(v.queue) != queueFrames || v.dropped.Load() != 0 {
		t.Fatalf("%d frames wait, %d dropped; want %d, 0", len(v.queue), v.dropped.Load(), queueFrames)
	}
	v.push(fr(false, 1000))
	v.push(fr(false, 1000))
	v.push(&frame{bytes: 9}) // sound goes on
	if len(v.queue) != 1 || v.dropped.Load() != queueFrames+2 || v.queue[0].video {
		t.Fatalf("%d frames wait, %d dropped", len(v.queue), v.dropped.Load())
	}
	v.push(fr(true, queueBytes))
	v.push(fr(false, cacheBytes-9))
	if len(v.queue) != 3 || v.dropped.Load() != queueFrames+2 {
		t.Errorf("%d frames wait, %d dropped after two large ones", len(v.queue), v.dropped.Load())
	}
	v.push(fr(true, 2*queueBytes+2*cacheBytes))
	if len(v.queue) != 1 {
		t.Errorf("%d frames wait; a keyframe too large for any queue is better than none", len(v.queue))
	}
}
