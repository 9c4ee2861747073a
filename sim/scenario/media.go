package scenario

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// Packet is one sample of a media file, as ffprobe sees it.
type Packet struct {
	File     string
	PTS, DTS time.Duration
	Key      bool
	SHA256   string
}

// Packets reads the samples of one kind ("v" or "a") of files, in the order of the files. Anything
// ffprobe complains about fails the test.
func Packets(t testing.TB, files []string, kind string) []Packet {
	t.Helper()
	var all []Packet
	for _, f := range files {
		out, complaint := run(t, "ffprobe", "-v", "warning", "-of", "json", "-select_streams", kind, "-show_streams",
			"-show_packets", "-show_data_hash", "sha256", f)
		if complaint != "" {
			t.Errorf("ffprobe %s: %s", f, complaint)
		}
		var r struct {
			Streams []struct {
				TimeBase string `json:"time_base"`
			}
			Packets []struct {
				PTS, DTS int64
				Flags    string
				DataHash string `json:"data_hash"`
			}
		}
		if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Streams) != 1 {
			t.Fatalf("ffprobe %s: %d streams of kind %s, %v", f, len(r.Streams), kind, err)
		}
		var num, den int64
		if _, err := fmt.Sscanf(r.Streams[0].TimeBase, "%d/%d", &num, &den); err != nil {
			t.Fatalf("ffprobe %s: time base %q", f, r.Streams[0].TimeBase)
		}
		at := func(ticks int64) time.Duration {
			return time.Duration(math.Round(float64(ticks*num) / float64(den) * 1e9))
		}
		for _, p := range r.Packets {
			all = append(all, Packet{f, at(p.PTS), at(p.DTS), strings.HasPrefix(p.Flags, "K"), strings.TrimPrefix(p.DataHash, "SHA256:")})
		}
	}
	return all
}

// Probe reads a file to its end with ffprobe and returns what it complains about, "" if nothing.
func Probe(file string) string {
	cmd := exec.Command("ffprobe", "-v", "warning", "-show_streams", "-count_packets", "-of", "compact", file)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if _, err := cmd.Output(); err != nil {
		return fmt.Sprintf("%v: %s", err, complaint.String())
	}
	return strings.TrimSpace(complaint.String())
}

// Flashes returns when the picture turns white, in order: presentation times of first white frames.
func Flashes(t testing.TB, files []string) []time.Duration {
	t.Helper()
	var all []time.Duration
	for _, f := range files {
		var pts []time.Duration
		for _, p := range Packets(t, []string{f}, "v") {
			pts = append(pts, p.PTS)
		}
		slices.Sort(pts)
		cmd := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-i", f, "-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "-1",
			"-vf", "scale=2:2:flags=area,format=gray", "-f", "rawvideo", "-")
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		raw, err := cmd.Output()
		if err != nil || complaint.Len() > 0 {
			t.Errorf("ffmpeg %s: %v %s", f, err, complaint.String())
		}
		if len(raw) != 4*len(pts) {
			t.Fatalf("%s: %d samples, %d pictures decoded", f, len(pts), len(raw)/4)
		}
		white := true // a file that begins white has begun within a flash
		for i, at := range pts {
			now := slices.Min(raw[4*i:4*i+4]) > 225
			if now && !white {
				all = append(all, at)
			}
			white = now
		}
	}
	return all
}

// Beeps returns when the sound becomes loud after a fifth of a second of silence, in order.
func Beeps(t testing.TB, files []string) []time.Duration {
	t.Helper()
	const rate = 48000
	var all []time.Duration
	for _, f := range files {
		packets := Packets(t, []string{f}, "a")
		if len(packets) == 0 {
			continue
		}
		// The decoder's output is put on the file's timeline from 0 on, holes filled with silence.
		cmd := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-copyts", "-i", f, "-map", "0:a", "-af",
			"aresample=48000:async=1:first_pts=0", "-ac", "1", "-f", "f32le", "-")
		raw, err := cmd.Output()
		if err != nil {
			t.Fatalf("ffmpeg %s: %v", f, err)
		}
		begin := packets[0].PTS + 100*time.Millisecond // a file may begin within a beep
		quiet := 0
		for i := 0; i+4 <= len(raw); i += 4 {
			if x := math.Float32frombits(binary.LittleEndian.Uint32(raw[i:])); x < 0.2 && x > -0.2 {
				quiet++
				continue
			}
			if at := time.Duration(i/4) * time.Second / rate; quiet > rate/5 && at > begin {
				all = append(all, at)
			}
			quiet = 0
		}
	}
	return all
}

// Stretch finds the samples among the frames sent, unbroken and in order, and returns the index of the
// last. Sound repeats itself: the latest place that fits holds.
func Stretch(got []Packet, sent []Frame) (last int, err error) {
	if len(got) == 0 {
		return 0, fmt.Errorf("nothing is recorded")
	}
	best, at := 0, 0
	for i := len(sent) - 1; i >= 0; i-- {
		n := 0
		for n < len(got) && i+n < len(sent) && got[n].SHA256 == sent[i+n].SHA256 {
			n++
		}
		if n > best {
			best, at = n, i
		}
		if best == len(got) {
			return at + best - 1, nil
		}
	}
	return 0, fmt.Errorf("sample %d of %d is not the frame that was sent after the one before (frame %d of %d)", best, len(got), at+best, len(sent))
}
