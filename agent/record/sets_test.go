package record_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/record"
	"minglu/drivers"
)

// TestSetsThatFlap: a camera that changes its parameter sets each second makes a few files and then no
// more than two for the time of one; nothing of it is lost.
func TestSetsThatFlap(t *testing.T) {
	cam, big := get(t, camera), get(t, larger)
	synctest.Test(t, func(t *testing.T) {
		const seconds, segment = 40, 10
		r := start(t, 1, func(o *record.Options) { o.Segment = segment * time.Second })
		s := r.open(sessionID, "face")
		zero := r.up()
		want := 0
		for i := range seconds {
			c, from := cam, time.Duration(i%6)*time.Second
			if i%2 == 1 {
				c = big
			}
			for _, m := range c.samples {
				if m.Track == 0 && m.At >= from && m.At < from+time.Second {
					want++
				}
			}
			// One run: the sets change within the connection.
			for _, m := range c.samples {
				if m.Track != 0 || m.At < from || m.At >= from+time.Second {
					continue
				}
				shift := time.Duration(i)*time.Second - from
				m.At += zero + shift
				m.DTS += int64(shift / time.Second * 90000)
				m.PTS += int64(shift / time.Second * 90000)
				if i == 0 && m.DTS == 0 {
					s.Describe("face", drivers.Description{Formats: cam.formats[:1]})
				}
				time.Sleep(m.At - r.up())
				s.Write("face", m)
			}
		}
		if sealed := r.seal(s, "button"); sealed.Err != nil {
			t.Fatalf("sealed %+v\n%s", sealed, r.logs)
		}
		r.stop()
		files, err := filepath.Glob(filepath.Join(r.disks[0], "sessions", sessionID, "*.mp4"))
		if err != nil || len(files) < 8 || len(files) > 8+2*seconds/segment+1 {
			t.Errorf("%d files in %d s, want some and then at most two for each %d s", len(files), seconds, segment)
		}
		got := 0
		for _, f := range files {
			got += probe(t, f)
		}
		if got != want {
			t.Errorf("%d pictures can be decoded, want %d", got, want)
		}
		r.check(r.disks[0], sessionID, 0)
	})
}

// intra is 2 s of keyframes alone.
var intra = sync.OnceValues(func() (*clip, error) {
	return encode("-f", "lavfi", "-i", "life=s=96x96:r=25:mold=10:seed=3", "-t", "2", "-pix_fmt", "yuv420p",
		"-c:v", "libx264", "-preset", "ultrafast", "-g", "1", "-video_track_timescale", "90000")
})

// TestKeyframesAlone: a camera whose pictures are all keyframes gets files of the usual length, and
// fragments that begin with keyframes.
func TestKeyframesAlone(t *testing.T) {
	cam := get(t, intra)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, 1, func(o *record.Options) { o.Segment = 30 * time.Second })
		s := r.open(sessionID, "face")
		zero := r.up()
		s.Describe("face", drivers.Description{Formats: cam.formats})
		for i := range 20 {
			shift := 2 * time.Second * time.Duration(i)
			for _, m := range cam.samples {
				m.At += zero + shift
				m.DTS += int64(i) * 180000
				m.PTS += int64(i) * 180000
				time.Sleep(m.At - r.up())
				s.Write("face", m)
			}
		}
		if sealed := r.seal(s, "button"); sealed.Err != nil {
			t.Fatalf("sealed %+v\n%s", sealed, r.logs)
		}
		r.stop()
		k := r.kinds(r.disks[0], sessionID)
		if k["segment.open"] != 2 || k["fragment"] > 5*40 || k["gap"] != 0 {
			t.Errorf("lines %v: want two files for 40 s, and no fragment for each picture", k)
		}
		r.check(r.disks[0], sessionID, 0)
	})
}

// TestFilesBeginAtKeyframes: also where the length of a file is no multiple of their distance.
func TestFilesBeginAtKeyframes(t *testing.T) {
	cam := get(t, camera)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, 1, func(o *record.Options) { o.Segment = 1500 * time.Millisecond })
		s := r.open(sessionID, "face")
		r.play(s, r.up(), part{ch: "face", clip: cam, to: 6 * time.Second, run: 1})
		if sealed := r.seal(s, "button"); sealed.Err != nil {
			t.Fatalf("sealed %+v\n%s", sealed, r.logs)
		}
		r.stop()
		files, err := filepath.Glob(filepath.Join(r.disks[0], "sessions", sessionID, "*.mp4"))
		if err != nil || len(files) != 3 {
			t.Errorf("%d files, want one each 2 s: up to the next keyframe", len(files))
		}
		for _, f := range files {
			out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=flags", "-read_intervals", "%+#1", "-of", "csv=p=0", f).Output()
			if err != nil || !bytes.HasPrefix(out, []byte("K")) {
				t.Errorf("%s begins with a picture of flags %q, want a keyframe: %v", filepath.Base(f), out, err)
			}
		}
		r.check(r.disks[0], sessionID, 0)
	})
}
