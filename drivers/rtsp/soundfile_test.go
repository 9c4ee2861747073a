package rtsp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/capture"
	"minglu/agent/record"
)

// listen plays a film and sound packets of the given length, and returns the room they were recorded in.
func listen(t *testing.T, f *film, media string, packets [][]byte, ticks uint32, length time.Duration) *room {
	t.Helper()
	var r *room
	through := make(chan struct{})
	cam := &fakeCamera{sdp: f.sdp(true, media), session: "1"}
	cam.play = func(c *camConn) {
		began := time.Now()
		shots := f.shots(5000)
		for i, j := 0, 0; i < len(shots) || j < len(packets); {
			heard := time.Duration(j+1) * length
			if i < len(shots) && (j == len(packets) || shots[i].at <= heard) {
				time.Sleep(time.Until(began.Add(shots[i].at)))
				for n, p := range shots[i].payloads {
					c.rtp(0, shots[i].ts, n == len(shots[i].payloads)-1, p...)
				}
				i++
				continue
			}
			time.Sleep(time.Until(began.Add(heard)))
			c.rtp(1, 77+uint32(j)*ticks, true, packets[j]...)
			j++
		}
		close(through)
	}
	r = newRoom(t, record.Options{}, func(up func() time.Duration) capture.Channel {
		src, err := New(Options{URL: "rtsp://10.0.0.1/x", Uptime: up})
		if err != nil {
			t.Fatal(err)
		}
		return capture.Channel{ID: "face", Source: connected(t, src, cam)}
	})
	r.start(r.capture.Run)
	time.Sleep(3 * time.Second)
	r.open()
	<-through
	time.Sleep(300 * time.Millisecond)
	r.seal(0)
	return r
}

// TestG711IsExact: what a camera sends as A-law or µ-law is in the file as the samples it stands for, each
// of them, as ffmpeg's own decoders give them.
func TestG711IsExact(t *testing.T) {
	even := shoot(t, "life=s=160x120:r=25:seed=7:mold=10", "8", "-c:v libx264 -preset ultrafast -sc_threshold 0 -g 50 -bf 0")
	for _, law := range []struct{ name, media string }{
		{"alaw", "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 PCMA/8000\r\na=control:trackID=1\r\n"},
		{"mulaw", "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 PCMU/8000/1\r\na=control:trackID=1\r\n"},
	} {
		t.Run(law.name, func(t *testing.T) {
			t.Parallel()
			var raw []byte
			var packets [][]byte
			for i := range 8 * 50 { // 20 ms each
				var p []byte
				for k := range 160 {
					p = append(p, byte(i*7+k*13+k*k/5)) // all codes
				}
				packets, raw = append(packets, p), append(raw, p...)
			}
			synctest.Test(t, func(t *testing.T) {
				media := law.media
				r := listen(t, even, media, packets, 160, 20*time.Millisecond)
				files := r.files("face")
				if len(files) != 1 {
					t.Fatalf("%d files", len(files))
				}
				got := decode(t, nil, "-i", files[0], "-map", "0:a")
				want := decode(t, raw, "-f", law.name, "-ar", "8000", "-ac", "1", "-i", "-")
				// Recording begins at the first keyframe of the picture: what was heard before it is no part.
				head := len(want) - len(got)
				if head < 0 || head > 2*160*10 || !bytes.Equal(got, want[head:]) {
					t.Errorf("%d bytes of sound in the file, %d sent; equal from there on: %v", len(got), len(want), head >= 0 && bytes.Equal(got, want[head:]))
				}
			})
		})
	}
}

// decode has ffmpeg make 16-bit samples.
func decode(t *testing.T, in []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("ffmpeg", append(append([]string{"-v", "error"}, args...), "-f", "s16le", "-c:a", "pcm_s16le", "-")...)
	var complaint bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &complaint
	out, err := cmd.Output()
	if err != nil || complaint.Len() > 0 {
		t.Fatalf("ffmpeg: %v: %s", err, complaint.String())
	}
	return out
}

// TestCodedSoundComesAsItIs: packets of AAC and Opus are in the file byte for byte, once and in order.
func TestCodedSoundComesAsItIs(t *testing.T) {
	even := shoot(t, "life=s=160x120:r=25:seed=7:mold=10", "8", "-c:v libx264 -preset ultrafast -sc_threshold 0 -g 50 -bf 0")
	for _, tt := range []struct {
		codec, media string
		ticks        uint32
		length       time.Duration
		wrap         func(unit []byte) []byte
	}{
		{"aac", "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/48000/1\r\na=fmtp:97 mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=%s\r\na=control:trackID=1\r\n",
			1024, time.Second * 1024 / 48000, func(u []byte) []byte { // RFC 3640 3.3.6
				return append([]byte{0, 16, byte(len(u) >> 5), byte(len(u) << 3)}, u...)
			}},
		{"libopus", "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\na=control:trackID=1\r\n", 960, 20 * time.Millisecond, func(u []byte) []byte { return u }},
	} {
		t.Run(tt.codec, func(t *testing.T) {
			t.Parallel()
			units, config := hear(t, tt.codec)
			media := tt.media
			if tt.codec == "aac" {
				media = fmt.Sprintf(media, hex.EncodeToString(config))
			}
			var packets [][]byte
			for _, u := range units {
				packets = append(packets, tt.wrap(u))
			}
			synctest.Test(t, func(t *testing.T) {
				r := listen(t, even, media, packets, tt.ticks, tt.length)
				got := samples(t, r.files("face"), "a")
				if head := len(units) - len(got); head < 0 || head > 10 {
					t.Fatalf("%d packets in the file, %d sent", len(got), len(units))
				}
				for i, g := range got {
					u := sha256.Sum256(units[len(units)-len(got)+i])
					if g.hash != hex.EncodeToString(u[:]) {
						t.Fatalf("packet %d of %d is another one", i, len(got))
					}
					if i > 0 && (g.dts-got[i-1].dts-tt.length).Abs() > 50*time.Microsecond {
						t.Errorf("packet %d lies %v after the one before", i, g.dts-got[i-1].dts)
					}
				}
			})
		})
	}
}

// hear has ffmpeg code eight seconds of noise, and returns the packets and the decoder's configuration.
func hear(t *testing.T, codec string) (units [][]byte, config []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.mp4")
	if out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "anoisesrc=r=48000:c=pink:d=8", "-ac", "1", "-c:a", codec, "-b:a", "48k", file).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	out, err := exec.Command("ffprobe", "-v", "error", "-show_streams", "-show_data", "-show_packets", "-of", "json", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Streams []struct{ Extradata string }
		Packets []struct{ Pos, Size string }
	}
	raw, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(out, &p) != nil {
		t.Fatal(err)
	}
	for _, k := range p.Packets {
		pos, _ := strconv.Atoi(k.Pos)
		size, _ := strconv.Atoi(k.Size)
		units = append(units, raw[pos:pos+size])
	}
	return units, undump(p.Streams[0].Extradata)
}
