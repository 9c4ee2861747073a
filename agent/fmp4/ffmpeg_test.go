package fmp4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// film is a track with its samples as ffmpeg made them, and the hashes of the decoded source.
type film struct {
	track   Track
	samples []Sample
	hashes  []string // of decoded pictures, or one of all sound
}

// ffmpeg runs the program; anything it prints at level warning fails the test.
func ffmpeg(t testing.TB, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("ffmpeg", append([]string{"-nostdin", "-y", "-v", "warning"}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	// x265 reports on the side whatever the level.
	said := strings.TrimSpace(strings.Join(keep(strings.Split(errs.String(), "\n"), func(l string) bool { return !strings.HasPrefix(l, "x265 [info]") }), "\n"))
	if err != nil || said != "" {
		t.Fatalf("ffmpeg %q: %v: %s", args, err, said)
	}
	return out
}

func keep(lines []string, f func(string) bool) (out []string) {
	for _, l := range lines {
		if f(l) {
			out = append(out, l)
		}
	}
	return out
}

// pictureHashes decodes and returns a hash for each picture.
func pictureHashes(t testing.TB, file string) (hashes []string) {
	t.Helper()
	out := ffmpeg(t, "-i", file, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framehash", "-hash", "md5", "-")
	for _, l := range strings.Split(string(out), "\n") {
		if l != "" && l[0] != '#' {
			f := strings.Split(l, ",")
			hashes = append(hashes, strings.TrimSpace(f[len(f)-1]))
		}
	}
	return hashes
}

// makeVideo encodes 75 pictures; codec arguments choose encoder and B-frames. The samples come from
// the elementary stream, their order of presentation from ffprobe.
func makeVideo(t testing.TB, c Codec, size string, args ...string) film {
	t.Helper()
	dir := t.TempDir()
	mp4, raw := filepath.Join(dir, "v.mp4"), filepath.Join(dir, "v.h26x")
	ffmpeg(t, append(append([]string{"-f", "lavfi", "-i", "testsrc2=rate=25:size=" + size, "-frames:v", "75"}, args...), "-pix_fmt", "yuv420p", "-g", "25", mp4)...)
	format := "h264"
	if c == H265 {
		format = "hevc"
	}
	ffmpeg(t, "-i", mp4, "-c", "copy", "-bsf:v", format+"_mp4toannexb", "-f", format, raw)
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	f := film{track: Track{ID: 1, Timescale: 90000, Codec: c}}
	f.samples = accessUnits(c, b, &f.track)
	times := strings.Fields(string(probe(t, mp4, "-select_streams", "v", "-show_entries", "packet=pts,dts", "-of", "csv=p=0")))
	scale, _ := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(string(probe(t, mp4, "-select_streams", "v", "-show_entries", "stream=time_base", "-of", "csv=p=0"))), "1/"))
	if len(times) != len(f.samples) || scale == 0 {
		t.Fatalf("%d packets, %d access units, time base 1/%d", len(times), len(f.samples), scale)
	}
	for i, l := range times {
		v := strings.Split(strings.TrimSuffix(l, ","), ",")
		pts, _ := strconv.Atoi(v[0])
		dts, _ := strconv.Atoi(v[1])
		f.samples[i].CTO = int32((pts - dts) * 90000 / scale)
		f.samples[i].Duration = 3600
	}
	f.hashes = pictureHashes(t, mp4)
	return f
}

func probe(t testing.TB, file string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("ffprobe", append(append([]string{"-v", "warning"}, args...), file)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || errs.Len() > 0 {
		t.Fatalf("ffprobe: %v: %s", err, errs.String())
	}
	return out
}

// accessUnits splits an Annex B stream as libx264 and libx265 write it: each access unit has one slice.
func accessUnits(c Codec, b []byte, t *Track) (out []Sample) {
	var au []byte
	for _, part := range bytes.Split(b, []byte{0, 0, 1}) {
		nal := bytes.TrimRight(part, "\x00")
		if len(nal) == 0 {
			continue
		}
		kind, slice, sync := nal[0]&0x1F, false, false
		if c == H264 {
			slice, sync = kind == 1 || kind == 5, kind == 5
			switch kind {
			case 7:
				t.SPS = nal
			case 8:
				t.PPS = nal
			}
		} else {
			kind = nal[0] >> 1 & 0x3F
			slice, sync = kind < 32, kind >= 16 && kind <= 23
			switch kind {
			case 32:
				t.VPS = nal
			case 33:
				t.SPS = nal
			case 34:
				t.PPS = nal
			}
		}
		au = binary.BigEndian.AppendUint32(au, uint32(len(nal)))
		au = append(au, nal...)
		if slice {
			out = append(out, Sample{Data: au, Sync: sync})
			au = nil
		}
	}
	return out
}

// makeAAC returns 3 s of AAC, from ADTS (ISO 14496-3 1.A.2.2).
func makeAAC(t testing.TB) film {
	t.Helper()
	b := ffmpeg(t, "-f", "lavfi", "-i", "sine=440:sample_rate=48000:duration=3", "-ac", "2", "-c:a", "aac", "-f", "adts", "-")
	f := film{track: Track{ID: 2, Timescale: 48000, Codec: AAC, SampleRate: 48000, Channels: 2, AudioConfig: []byte{0x11, 0x90}}}
	for len(b) > 7 {
		n := int(b[3]&3)<<11 | int(b[4])<<3 | int(b[5])>>5
		f.samples = append(f.samples, Sample{Duration: 1024, Sync: true, Data: b[7:n]})
		b = b[n:]
	}
	return f
}

// makeOpus returns 3 s of Opus, from Ogg (RFC 3533): segments of 255 go on.
func makeOpus(t testing.TB) film {
	t.Helper()
	b := ffmpeg(t, "-f", "lavfi", "-i", "sine=440:sample_rate=48000:duration=3", "-ac", "1", "-c:a", "libopus", "-b:a", "32000", "-f", "ogg", "-")
	f := film{track: Track{ID: 2, Timescale: 48000, Codec: Opus, SampleRate: 48000, Channels: 1}}
	var packet []byte
	n := 0
	for len(b) > 27 {
		table := b[27 : 27+int(b[26])]
		b = b[27+len(table):]
		for _, l := range table {
			packet = append(packet, b[:l]...)
			b = b[l:]
			if l == 255 {
				continue
			}
			if n++; n > 2 { // after OpusHead and OpusTags
				f.samples = append(f.samples, Sample{Duration: 960, Sync: true, Data: packet})
			}
			packet = nil
		}
	}
	return f
}

// built is a segment file and where its fragments end.
type built struct {
	file    []byte
	ends    []int
	tracks  []Track
	entries []IndexEntry
	reserve int // offset
}

const reserveBytes = 4096

// build writes fragments of half a second, cut at keyframes too, the sound after the pictures.
func build(t testing.TB, films ...film) built {
	t.Helper()
	var o built
	for _, f := range films {
		o.tracks = append(o.tracks, f.track)
	}
	init, err := Init(o.tracks)
	if err != nil {
		t.Fatal(err)
	}
	o.reserve = len(init)
	o.file = append(init, Reserve(reserveBytes)...)
	next := make([]int, len(films))
	at := make([]uint64, len(films))
	for seq := uint32(1); next[0] < len(films[0].samples); seq++ {
		var runs []Run
		var until uint64
		for i, f := range films {
			r := Run{Track: f.track.ID, Time: at[i]}
			scale := uint64(f.track.Timescale)
			for next[i] < len(f.samples) {
				s := f.samples[next[i]]
				n := len(r.Samples)
				if i == 0 && n > 0 && (s.Sync && f.track.Codec.Video() || uint64(n) >= scale/2/uint64(s.Duration)) {
					break
				}
				if i > 0 && at[i]*1000/scale >= until && next[0] < len(films[0].samples) {
					break
				}
				r.Samples = append(r.Samples, s)
				at[i] += uint64(s.Duration)
				next[i]++
			}
			if i == 0 {
				until = at[0] * 1000 / scale
			}
			if len(r.Samples) > 0 {
				runs = append(runs, r)
			}
		}
		before := len(o.file)
		if o.file, _, err = AppendFragment(o.file, seq, runs); err != nil {
			t.Fatal(err)
		}
		o.ends = append(o.ends, len(o.file))
		o.entries = append(o.entries, EntryOf(runs, o.tracks, int64(len(o.file)-before)))
	}
	return o
}

func write(t testing.TB, b []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "a.mp4")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestOthersReadWhatIsWritten(t *testing.T) {
	for _, tt := range []struct {
		name          string
		video         film
		sound         film
		codec         string
		width, height int
	}{
		{"x264 with B-frames and AAC", makeVideo(t, H264, "322x182", "-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-x264-params", "b-pyramid=normal"), makeAAC(t), "avc1.", 322, 182},
		{"x264 baseline and Opus", makeVideo(t, H264, "320x240", "-c:v", "libx264", "-profile:v", "baseline"), makeOpus(t), "avc1.42C0", 320, 240},
		{"x265 with B-frames and Opus", makeVideo(t, H265, "322x182", "-c:v", "libx265", "-preset", "superfast", "-tag:v", "hvc1", "-x265-params", "bframes=3:open-gop=0:log-level=none"), makeOpus(t), "hvc1.1.6.L", 322, 182},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := build(t, tt.video, tt.sound)
			if c := o.tracks[0].CodecString(); !strings.HasPrefix(c, tt.codec) {
				t.Errorf("codec %q, want %s…", c, tt.codec)
			}
			info, err := ParseInit(o.file[:o.reserve])
			if err != nil {
				t.Fatal(err)
			}
			if v := info.Tracks[0]; v.Width != tt.width || v.Height != tt.height {
				t.Errorf("%d×%d, want %d×%d", v.Width, v.Height, tt.width, tt.height)
			}
			if sps, err := ParseSPS(o.tracks[0].Codec, o.tracks[0].SPS); err != nil || sps.FPS != 25 {
				t.Errorf("SPS: %+v, %v, want 25 pictures a second", sps, err)
			}
			growing := write(t, o.file[:o.ends[2]])
			if n := len(pictureHashes(t, growing)); n != 25 {
				t.Errorf("while growing: %d pictures in three fragments of 12, 12 and 1", n)
			}
			ffmpeg(t, "-i", write(t, o.file), "-f", "null", "-")
			index, err := Index(o.tracks[0], o.entries, reserveBytes)
			if err != nil {
				t.Fatal(err)
			}
			copy(o.file[o.reserve:], index)
			whole := write(t, o.file)
			if got := pictureHashes(t, whole); strings.Join(got, ",") != strings.Join(tt.video.hashes, ",") {
				t.Errorf("%d decoded pictures differ from the %d of the source", len(got), len(tt.video.hashes))
			}
			ffmpeg(t, "-i", whole, "-f", "null", "-")
			stream := string(probe(t, whole, "-show_entries", "stream=codec_name,width,height,nb_read_packets,avg_frame_rate", "-count_packets", "-of", "csv=p=0"))
			if want := fmt.Sprintf(",%d,%d,25/1,75\n", tt.width, tt.height); !strings.Contains(stream, want) || !strings.Contains(stream, fmt.Sprint(len(tt.sound.samples))) {
				t.Errorf("ffprobe says %q, want %q and %d of sound", stream, want, len(tt.sound.samples))
			}
			// A seek by the index shows the picture asked for, also in a fragment without keyframe. ffmpeg
			// may begin one sample before the keyframe then, and its H.265 decoder says so: not counted here.
			for _, k := range []int{13, 33, 51, 60, 73} {
				at := fmt.Sprintf("%.3f", float64(k)/25-0.01+float64(tt.video.samples[0].CTO)/90000)
				out := ffmpeg(t, "-v", "fatal", "-ss", at, "-copyts", "-start_at_zero", "-i", whole, "-map", "0:v", "-frames:v", "1", "-f", "framehash", "-hash", "md5", "-")
				if !strings.Contains(string(out), tt.video.hashes[k]) {
					t.Errorf("a seek to %s s does not show picture %d: %s", at, k, out)
				}
			}
			n := 0
			end, err := Scan(bytes.NewReader(o.file), int64(o.reserve+reserveBytes), int64(len(o.file)), info.Tracks, func(off int64, b []byte, f *Fragment) error {
				if EntryOf(f.Runs, o.tracks, int64(len(b))) != o.entries[n] || int(off)+len(b) != o.ends[n] {
					t.Errorf("fragment %d at %d reads otherwise than written", n, off)
				}
				n++
				return nil
			})
			if err != nil || n != len(o.ends) || end != int64(len(o.file)) {
				t.Errorf("Scan() = %d, %v after %d of %d fragments", end, err, n, len(o.ends))
			}
		})
	}
}
