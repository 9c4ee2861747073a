package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"minglu/drivers"
	"minglu/drivers/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const second = time.Second

// render runs the real ffmpeg and returns what it wrote.
func render(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	args = append(append([]string{"-v", "error"}, args...), file)
	if out, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	x264 = []string{"-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "5", "-sc_threshold", "0", "-x264-params", "aud=1", "-f", "h264"}
	x265 = []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=5:min-keyint=5:scenecut=0:bframes=3:aud=1:log-level=error", "-f", "hevc"}
	cbr  = []string{"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-b:v", "300k", "-maxrate", "300k", "-bufsize", "300k", "-g", "5", "-sc_threshold", "0", "-x264-params", "aud=1", "-f", "h264"}
)

// filmed renders a source of ffmpeg (lavfi) at 5 pictures a second, a keyframe each second and returns its samples, DTS from 0.
func filmed(t testing.TB, source string, seconds int, encode []string) []drivers.Sample {
	t.Helper()
	args := append([]string{"-f", "lavfi", "-i", source, "-t", strconv.Itoa(seconds), "-r", "5", "-pix_fmt", "yuv420p"}, encode...)
	f := &drivers.Format{Codec: drivers.H264, ClockHz: 90000}
	if encode[1] == "libx265" {
		f.Codec = drivers.H265
	}
	return accessUnits(render(t, "clip.bin", args...), f)
}

// accessUnits cuts Annex B at its delimiters.
func accessUnits(b []byte, f *drivers.Format) (out []drivers.Sample) {
	var au []byte
	key := false
	end := func() {
		if len(au) > 0 {
			n := int64(len(out)) * 18000
			out = append(out, drivers.Sample{Format: f, DTS: n, PTS: n, Keyframe: key, Data: au, Run: 1})
		}
		au, key = nil, false
	}
	for _, nal := range bytes.Split(b, []byte{0, 0, 1}) {
		nal = bytes.TrimRight(nal, "\x00")
		if len(nal) == 0 {
			continue
		}
		kind := nal[0] & 0x1f
		names := map[byte]string{9: "aud", 7: "sps", 8: "pps", 5: "key"}
		if f.Codec == drivers.H265 {
			kind = nal[0] >> 1 & 0x3f
			names = map[byte]string{35: "aud", 32: "vps", 33: "sps", 34: "pps", 16: "key", 17: "key", 18: "key", 19: "key", 20: "key", 21: "key"}
		}
		switch names[kind] {
		case "aud":
			end()
			continue
		case "vps":
			f.VPS = nal
			continue
		case "sps":
			f.SPS = nal
			continue
		case "pps":
			f.PPS = nal
			continue
		case "key":
			key = true
		}
		au = binary.BigEndian.AppendUint32(au, uint32(len(nal)))
		au = append(au, nal...)
	}
	end()
	return out
}

// spoken renders sound as AAC or Opus and returns its samples.
func spoken(t testing.TB, source string, seconds int, codec drivers.Codec) []drivers.Sample {
	t.Helper()
	args := []string{"-f", "lavfi", "-i", source, "-t", strconv.Itoa(seconds), "-ar", "48000", "-ac", "1"}
	f := &drivers.Format{Codec: codec, ClockHz: 48000, SampleRateHz: 48000, Channels: 1}
	var packets [][]byte
	length := int64(960)
	if codec == drivers.AAC {
		f.AudioConfig, length = []byte{0x11, 0x88}, 1024 // AAC-LC, 48 kHz, mono: ISO 14496-3 1.6.2.1
		for b := render(t, "clip.aac", append(args, "-c:a", "aac", "-f", "adts")...); len(b) > 7; {
			n := int(b[3]&3)<<11 | int(b[4])<<3 | int(b[5])>>5
			packets = append(packets, b[7:n])
			b = b[n:]
		}
	} else {
		packets = oggPackets(render(t, "clip.ogg", append(args, "-c:a", "libopus", "-f", "ogg")...))[2:]
	}
	out := make([]drivers.Sample, len(packets))
	for i, p := range packets {
		n := int64(i) * length
		out[i] = drivers.Sample{Track: 1, Format: f, PTS: n, DTS: n, Duration: length, Keyframe: true, Data: p, Run: 1}
	}
	return out
}

// oggPackets cuts an Ogg stream into its packets (RFC 3533 6).
func oggPackets(b []byte) (out [][]byte) {
	var packet []byte
	for len(b) > 27 {
		n := int(b[26])
		lacing, body := b[27:27+n], b[27+n:]
		for _, l := range lacing {
			packet = append(packet, body[:l]...)
			body = body[l:]
			if l < 255 {
				out, packet = append(out, packet), nil
			}
		}
		b = body
	}
	return out
}

// decodePictures sends the keyframes of a clip through the same code as a camera's.
func decodePictures(t testing.TB, samples []drivers.Sample) (pictures [][]byte) {
	t.Helper()
	w, init, err := newWrap(samples[0].Format)
	if err != nil {
		t.Fatal(err)
	}
	in := make(chan []byte, len(samples)+1)
	in <- init
	keys := 0
	for i := range samples {
		if samples[i].Keyframe {
			keys++
			for _, p := range w.wrap(&samples[i]) {
				in <- p
			}
		}
	}
	close(in)
	_ = ffmpeg(t).Gray(t.Context(), in, viewWidth, viewHeight, func(pix []byte) { pictures = append(pictures, bytes.Clone(pix)) })
	if len(pictures) != keys {
		t.Fatalf("%d pictures of %d keyframes", len(pictures), keys)
	}
	return pictures
}

func ffmpeg(t testing.TB) *pipeline.FFmpeg {
	t.Helper()
	f, err := pipeline.New(pipeline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// memoryDecoder stands in for a process, under a fast clock: it knows the pictures of some keyframes.
type memoryDecoder struct{ pictures map[string][]byte }

// learn decodes a clip once.
func (d *memoryDecoder) learn(t testing.TB, samples []drivers.Sample) {
	t.Helper()
	pictures := decodePictures(t, samples)
	for i := range samples {
		if samples[i].Keyframe {
			d.pictures[string(samples[i].Data)] = pictures[0]
			pictures = pictures[1:]
		}
	}
}

func (d *memoryDecoder) Gray(ctx context.Context, in <-chan []byte, width, height int, out func([]byte)) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case b := <-in:
			if i := bytes.Index(b, []byte("mdat")); i >= 0 {
				out(d.pictures[string(b[i+4:])])
			}
		}
	}
}

func (d *memoryDecoder) PCM(ctx context.Context, in <-chan []byte, out func([]byte)) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-in:
			out(bytes.Repeat([]byte{0, 16, 0, 240}, 12000)) // half a second of a tone at -18 dBFS
		}
	}
}
