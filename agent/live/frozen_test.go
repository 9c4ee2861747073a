package live

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"minglu/drivers"
)

// viewerURL makes the test program a viewer and nothing else.
const viewerURL = "MINGLU_TEST_VIEWER"

func frozenViewer() {
	url := os.Getenv(viewerURL)
	if url == "" {
		return
	}
	c, status, text, err := call(url, nil)
	if err != nil || c == nil {
		fmt.Println("failed", status, text, err)
		os.Exit(1)
	}
	<-c.pictures
	fmt.Println("picture")
	for range c.pictures {
	}
}

// TestFrozenViewerHarmsNoOne stops a viewer in another process as SIGSTOP does, while others watch.
func TestFrozenViewerHarmsNoOne(t *testing.T) {
	r := newRig(t, Options{Silent: 6 * time.Second})
	rec := &kept{}
	r.cap.Attach(recording{rec})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), viewerURL+"="+r.url+"/whep/face")
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Wait() }()
	defer func() { _ = child.Process.Kill() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "picture\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	c := r.dial(t, "/whep/face")
	c.picture(t)
	eventually(t, "two watch", time.Second, func() bool { return len(r.Viewers()) == 2 })
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	frozen, loaded := time.Now(), busy()
	var worst time.Duration
	for last := c.picture(t).when; len(r.Viewers()) == 2; {
		p := c.picture(t)
		worst = max(worst, p.when.Sub(last))
		last = p.when
		if time.Since(frozen) > patience*15*time.Second {
			t.Fatal("a viewer that is frozen is still there after 75 s")
		}
	}
	t.Logf("frozen viewer closed after %v; longest wait of the other one %v", time.Since(frozen), worst)
	if worst > 3*time.Second && !loaded() { // a busy machine makes one wait too, but not until the other is closed
		t.Errorf("the other viewer waited %v for a picture", worst)
	}
	r.cap.Detach()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	var first, last int64
	for dts := range rec.by {
		if first == 0 || dts < first {
			first = dts
		}
		last = max(last, dts)
	}
	for dts := first; dts <= last; dts += 3600 {
		if _, ok := rec.by[dts]; !ok {
			t.Errorf("picture %d is not in the recording", dts/3600)
		}
	}
	if v := r.Viewers(); len(v) != 1 || v[0].Dropped != 0 {
		t.Errorf("Viewers() = %+v, want the other one with all its pictures", v)
	}
}

// TestVanishedViewerIsClosed takes a viewer's network away without a word.
func TestVanishedViewerIsClosed(t *testing.T) {
	r := newRig(t, Options{Silent: 2 * time.Second})
	c := r.dial(t, "/whep/mic")
	c.sound(t)
	_ = c.mux.Close()
	took := eventually(t, "the view ends", 10*time.Second, func() bool { return len(r.Viewers()) == 0 })
	t.Logf("vanished viewer closed after %v", took)
}

// recording keeps the pictures a recorder would write.
type recording struct{ *kept }

func (r recording) Sample(ch string, s drivers.Sample) {
	if s.Format.Codec.Video() {
		r.kept.Sample(ch, s)
	}
}
