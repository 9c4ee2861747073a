package scenario

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// What cameras of another maker may see: a moving test card, an empty room that only the noise of the
// sensor moves, and a picture that changes all over.
const (
	sceneCard  = "testsrc2=s=640x360:r=25,noise=alls=8:allf=t"
	sceneRoom  = "smptehdbars=s=640x360:r=25,noise=alls=12:allf=t"
	sceneZoom  = "mandelbrot=s=640x360:r=25:maxiter=300,noise=alls=8:allf=t"
	sceneSound = "aevalsrc='0.3*sin(2*PI*(200+100*mod(t,1))*t)*lt(mod(t,2),1)+0.001*(random(0)-0.5)':s=16000:c=mono"

	// What can become of it.
	filterBlack   = "drawbox=color=black:t=fill,noise=alls=6:allf=t"
	filterFrozen  = "loop=loop=-1:size=1"
	filterCovered = "boxblur=luma_radius=60:luma_power=2,eq=contrast=0.3:brightness=-0.35,noise=alls=6:allf=t"
)

const (
	calmLength  = 10 * time.Second // of the clip of a scene as it should be, which is repeated
	faultLength = 16 * time.Second
	sceneRate   = 25
)

// scene is a camera of another maker: calm for some clips, with a fault for one, then calm again. The
// pictures are coded before the test begins; sending them costs next to nothing.
type scene struct {
	path   string
	source string
	filter string // "" for calm all along
	before int    // calm clips before the fault
	sound  string // filter of the sound, "" for no sound
}

// clips codes what scenes need, each clip once, into a folder. key: source and filter.
func clips(t *testing.T, scenes []scene) map[[2]string]string {
	t.Helper()
	dir := t.TempDir()
	files := map[[2]string]string{}
	for _, s := range scenes {
		for _, filter := range []string{"", s.filter} {
			k := [2]string{s.source, filter}
			if files[k] == "" {
				files[k] = filepath.Join(dir, fmt.Sprintf("clip-%d.nut", len(files)))
			}
		}
	}
	var wg sync.WaitGroup
	for k, file := range files {
		graph, length := k[0], calmLength
		if k[1] != "" {
			graph, length = graph+","+k[1], faultLength
		}
		wg.Go(func() {
			out, err := exec.Command("nice", "ffmpeg", "-v", "error", "-nostdin", "-f", "lavfi", "-i", graph, "-t", fmt.Sprint(length.Seconds()), "-pix_fmt", "yuv420p",
				"-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-crf", "26", "-g", fmt.Sprint(sceneRate), "-bf", "0", file).CombinedOutput()
			if err != nil {
				t.Errorf("ffmpeg %s: %v\n%s", graph, err, out)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return files
}

// play sends a scene from its beginning until the publisher is stopped.
func (s scene) play(t *testing.T, r *Relay, files map[[2]string]string) *Publisher {
	t.Helper()
	var list strings.Builder
	// The container does not count the last picture's own time.
	entry := func(filter string, length time.Duration) string {
		return fmt.Sprintf("file '%s'\nduration %v\n", files[[2]string{s.source, filter}], length.Seconds())
	}
	calm := entry("", calmLength)
	list.WriteString(strings.Repeat(calm, s.before))
	if s.filter != "" {
		list.WriteString(entry(s.filter, faultLength))
	}
	list.WriteString(strings.Repeat(calm, 600))
	name := filepath.Join(t.TempDir(), s.path+".txt")
	if err := os.WriteFile(name, []byte(list.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-v", "error", "-nostdin", "-re", "-f", "concat", "-safe", "0", "-i", name}
	if s.sound != "" {
		args = append(args, "-re", "-f", "lavfi", "-i", sceneSound+","+s.sound, "-c:a", "aac", "-b:a", "48k")
	}
	args = append(args, "-c:v", "copy", "-max_delay", "50000", "-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://"+r.addr+"/"+s.path)
	before := len(r.frames264(s.path))
	p := &Publisher{start(t, "ffmpeg", args...)}
	Wait(t, 20*time.Second, "ffmpeg sends to "+s.path, func() bool {
		if p.p.ended() {
			t.Fatalf("ffmpeg ended: %s", p.p.out)
		}
		return len(r.frames264(s.path)) > before
	})
	return p
}

// frames264 is Frames of the picture, also before there is a frame log.
func (r *Relay) frames264(path string) []Frame {
	if _, err := os.Stat(r.frames); err != nil {
		return nil
	}
	return r.Frames(path, "h264")
}
