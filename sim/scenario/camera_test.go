package scenario

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"minglu/agent/evidence"
)

// camera is one camera of a recording and what is expected of it.
type camera struct {
	id, path, codec, sound string
	rate                   int
}

// recording is one session of an agent, and when it was asked to begin and end.
type recording struct {
	agent    *Agent
	id       string
	from, to time.Time
}

// record has an agent record cameras for a time on two disks of their own, probing each file while it
// is written.
func record(t *testing.T, r *Relay, cameras []camera, length time.Duration, segment string) recording {
	t.Helper()
	disks := Disks(t, 2, 500)
	room := Room{Channels: map[string]string{}, Segment: segment, Preroll: "3s", Postroll: "1s"}
	for _, d := range disks {
		room.Disks = append(room.Disks, d.Dir)
	}
	for _, c := range cameras {
		room.Channels[c.id] = r.URL(c.path)
	}
	a := lab.Start(t, room)
	a.WaitLive(20 * time.Second)
	<-time.NewTimer(4 * time.Second).C // so that there is something before the trigger: 3 s and a group of pictures
	began := time.Now()
	id := a.Begin()
	probes := 0
	for disk := 0; time.Since(began) < length; disk = 1 - disk {
		<-time.NewTimer(2 * time.Second).C
		for _, c := range cameras {
			var files []string
			Wait(t, 10*time.Second, fmt.Sprintf("%s has a file on disk %d", c.id, disk), func() bool {
				files = Segments(t, a.Session(disk, id), c.id)
				return len(files) > 0
			})
			if complaint := Probe(files[len(files)-1]); complaint != "" {
				t.Errorf("ffprobe, %s while it is written: %s", filepath.Base(files[len(files)-1]), complaint)
			}
			probes++
		}
	}
	ended := time.Now()
	a.End(id)
	t.Logf("%v recorded, %d probes of files being written, sealed %v after the stop", ended.Sub(began).Round(time.Second), probes, time.Since(ended).Round(time.Millisecond))
	return recording{a, id, began, ended}
}

// check holds a sealed recording against what the cameras sent.
func check(t *testing.T, r *Relay, rec recording, cameras []camera, segments int) {
	t.Helper()
	a, id := rec.agent, rec.id
	good := true
	for _, c := range cameras {
		pace := max(pace(r.Frames(c.path, c.codec), 90000), pace(r.Frames(c.path, c.sound), 48000))
		if pace > evenPace {
			good = false
			figure(t, "this machine was too slow to be camera %s: what it stamped as a second took up to %.2f s", c.id, pace)
		}
		files := Segments(t, a.Session(0, id), c.id)
		if len(files) < segments {
			t.Errorf("%s has %d files, want at least %d", c.id, len(files), segments)
		}
		identical(t, files, Segments(t, a.Session(1, id), c.id))
		pictures, sound := Packets(t, files, "v"), Packets(t, files, "a")
		same(t, c.id+" picture", pictures, r.Frames(c.path, c.codec), rec)
		same(t, c.id+" sound", sound, r.Frames(c.path, c.sound), rec)
		even(t, c.id+" picture", pictures, time.Second/time.Duration(c.rate), pace)
		even(t, c.id+" sound", sound, map[string]time.Duration{"aac": time.Second * 1024 / 48000, "opus": 20 * time.Millisecond}[c.sound], pace)
		if pace <= evenPace {
			aligned(t, c.id, Flashes(t, files), Beeps(t, files), rec.to.Sub(rec.from))
		}
	}
	code, out := lab.Verify(t, "--require", "0", a.Session(0, id), a.Session(1, id))
	if code != evidence.ExitGood && (good || code != evidence.ExitSound) {
		t.Errorf("verify --require 0 exits %d\n%s", code, out)
	}
}

// evenPace is how much slower than it stamps a camera may send without the recording, which follows the
// time of capture, being uneven.
const evenPace = 1.15

// pace is how much longer than it stamped a camera took to send at worst, over three seconds of pictures: an encoder that
// runs in real time on a loaded machine falls behind, and is then another camera than the test wants.
func pace(sent []Frame, hz int64) float64 {
	const over = 75
	worst := 1.0
	for i := over; i < len(sent); i++ {
		stamped := float64(int32(sent[i].TS-sent[i-over].TS)) / float64(hz)
		if took := float64(sent[i].WallUS-sent[i-over].WallUS) / 1e6; stamped > 1 {
			worst = max(worst, took/stamped)
		}
	}
	return worst
}

// identical wants the same files on both disks: then what holds for one holds for the other.
func identical(t *testing.T, a, b []string) {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%d files on one disk, %d on the other", len(a), len(b))
	}
	for i := range a {
		x, err1 := os.ReadFile(a[i])
		y, err2 := os.ReadFile(b[i])
		if err1 != nil || err2 != nil || filepath.Base(a[i]) != filepath.Base(b[i]) || !bytes.Equal(x, y) {
			t.Errorf("%s and %s differ (%v, %v)", a[i], b[i], err1, err2)
		}
	}
}

// same wants the samples to be an unbroken stretch of the frames, each, in order, once, and the stretch
// to hold all that was sent between the beginning and the end of the session.
func same(t *testing.T, what string, got []Packet, sent []Frame, rec recording) {
	t.Helper()
	if len(got) == 0 {
		t.Fatalf("%s: nothing recorded", what)
	}
	// Sound repeats itself: of several beginnings the one with the longest run is it.
	best, first := 0, 0
	for i := range sent {
		if n := common(got, sent[i:]); n > best {
			best, first = n, i
		}
	}
	if best != len(got) {
		t.Errorf("%s: sample %d of %d is not the frame that was sent after the one before (run from frame %d of %d)", what, best, len(got), first, len(sent))
		return
	}
	if at := time.UnixMicro(sent[first].WallUS); at.After(rec.from) {
		t.Errorf("%s: the first frame recorded was sent %v after the trigger", what, at.Sub(rec.from))
	}
	if at := time.UnixMicro(sent[first+best-1].WallUS); at.Before(rec.to) {
		t.Errorf("%s: the last frame recorded was sent %v before the stop", what, rec.to.Sub(at))
	}
}

func common(got []Packet, sent []Frame) int {
	n := 0
	for n < len(got) && n < len(sent) && got[n].SHA256 == sent[n].SHA256 && got[n].Key == sent[n].Key {
		n++
	}
	return n
}

// even wants presentation times without a hole of more than one and a half frames and without a
// repetition, also from file to file, and decoding times that rise.
func even(t *testing.T, what string, got []Packet, frame time.Duration, pace float64) {
	t.Helper()
	for i := 1; i < len(got); i++ {
		if got[i].DTS <= got[i-1].DTS {
			t.Errorf("%s: sample %d: DTS %v after %v", what, i, got[i].DTS, got[i-1].DTS)
		}
	}
	pts := slices.Clone(got)
	slices.SortFunc(pts, func(a, b Packet) int { return int(a.PTS - b.PTS) })
	var worst time.Duration
	for i := 1; i < len(pts); i++ {
		if pts[i].PTS > got[len(got)-1].DTS {
			break // the recording ends in the order of decoding: of the last pictures those between may be missing
		}
		gap := pts[i].PTS - pts[i-1].PTS
		worst = max(worst, gap)
		if pace <= evenPace && (gap > frame*3/2 || gap < frame/2) {
			t.Errorf("%s: %v then %v (%s, %s): want about %v", what, pts[i-1].PTS, pts[i].PTS, filepath.Base(pts[i-1].File), filepath.Base(pts[i].File), frame)
		}
	}
	t.Logf("%s: %d samples, greatest distance %v of %v", what, len(got), worst, frame)
}

// aligned wants sound and picture within 40 ms of each other.
func aligned(t *testing.T, what string, flashes, beeps []time.Duration, length time.Duration) {
	t.Helper()
	if want := int(length.Seconds()) - 4; len(flashes) < want || len(beeps) < want {
		t.Errorf("%s: %d flashes and %d beeps in %v", what, len(flashes), len(beeps), length)
	}
	var worst, sum time.Duration
	pairs := 0
	for _, f := range flashes {
		for _, b := range beeps {
			if d := b - f; d > -500*time.Millisecond && d < 500*time.Millisecond {
				pairs++
				sum += d
				if d.Abs() > worst.Abs() {
					worst = d
				}
			}
		}
	}
	if pairs < int(length.Seconds())-5 {
		t.Fatalf("%s: %d pairs of flash and beep", what, pairs)
	}
	t.Logf("%s: %d pairs, the sound comes %v after the picture on average, %v at worst", what, pairs, sum/time.Duration(pairs), worst)
	if worst.Abs() > 40*time.Millisecond {
		t.Errorf("%s: sound and picture are %v apart, want at most 40ms", what, worst)
	}
}

// TestTwoCameras is the recording that the product promises: two 1080p25 cameras with sound, a minute,
// two disks; every frame there, in order, once.
func TestTwoCameras(t *testing.T) {
	t.Parallel()
	const length = 60 * time.Second
	r := lab.Relay(t, "-user", "room", "-pass", "geheim-1")
	cameras := []camera{{"face", "cam1", "h264", "aac", 25}, {"room", "cam2", "h264", "opus", 25}}
	for i, c := range cameras {
		r.Publish(c.path, Stream{Codec: c.codec, Size: "1920x1080", Rate: c.rate, GOP: 50, Sound: c.sound, Phase: i, Length: time.Hour})
	}
	rec := record(t, r, cameras, length, "20s")
	check(t, r, rec, cameras, 3)
	if log := rec.agent.Log(); len(log) == 0 || strings.Contains(log, "geheim-1") {
		t.Errorf("the log is empty or shows the camera's password:\n%s", log)
	}
	if code := rec.agent.Stop(); code != 0 {
		t.Errorf("the agent exits %d after SIGTERM", code)
	}
}

// TestH265 does the same with x265, shorter.
func TestH265(t *testing.T) {
	t.Parallel()
	r := lab.Relay(t)
	cameras := []camera{{"face", "cam1", "h265", "aac", 25}}
	r.Publish("cam1", Stream{Codec: "h265", Size: "1920x1080", Rate: 25, GOP: 50, Sound: "aac", Length: 30 * time.Second, Encoded: true})
	check(t, r, record(t, r, cameras, 14*time.Second, "10s"), cameras, 2)
}
