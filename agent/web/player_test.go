package web

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// film makes segment n of fragmented H.264 and AAC, 4 s long in fragments of half a second, whose
// media time runs on from start.
func film(t *testing.T, start float64) ([]byte, Segment) { return filmOf(t, start, 4) }

func filmOf(t *testing.T, start float64, seconds int) ([]byte, Segment) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "film.mp4")
	args := []string{"-v", "error", "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=s=320x180:r=24:d=%d", seconds), "-f", "lavfi", "-i", fmt.Sprintf("sine=d=%d", seconds),
		"-c:v", "libx264", "-profile:v", "high", "-preset", "ultrafast", "-g", "48", "-video_track_timescale", "90000", "-c:a", "aac", "-ac", "1", "-ar", "48000",
		"-movflags", "+empty_moov+default_base_moof", "-frag_duration", "500000", "-use_editlist", "0", "-f", "mp4", out}
	if b, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	s := Segment{Start: int64(start * 1e6), Duration: int64(seconds) * 1e6, Size: int64(len(b)), Wall: opened.Format(time.RFC3339), Codecs: []string{"avc1.640014", "mp4a.40.2"}}
	at := s.Start
	for off := int64(0); off < s.Size; {
		size := int64(binary.BigEndian.Uint32(b[off:]))
		switch string(b[off+4 : off+8]) {
		case "ftyp", "moov":
			s.Init.Len = off + size
		case "moof":
			s.Fragments = append(s.Fragments, FragSpan{Off: off, From: at, To: at + 500e3})
			at += 500e3
			rest := b[off : off+size] // ffmpeg begins each file at 0: move its fragments on (tfdt, ISO 14496-12 8.8.12)
			for _, timescale := range []float64{90000, 48000} {
				i := bytes.Index(rest, []byte("tfdt"))
				if i < 0 || rest[i+4] != 1 {
					t.Fatal("ffmpeg wrote no 64-bit tfdt")
				}
				tfdt := rest[i+8:]
				binary.BigEndian.PutUint64(tfdt, binary.BigEndian.Uint64(tfdt)+uint64(start*timescale))
				rest = tfdt
			}
		case "mdat":
			f := &s.Fragments[len(s.Fragments)-1]
			f.Len = off + size - f.Off
		}
		off += size
	}
	return b, s
}

// filmed is a fake whose one session has real media with a second missing between its two files.
type filmed struct {
	*fake
	bytes    [2][]byte
	segments []Segment
}

func (f *filmed) Segments(context.Context, string, string) ([]Segment, error) { return f.segments, nil }

func (f *filmed) OpenMedia(_ context.Context, _, channel string, n int64) (Media, error) {
	return Media{memory{bytes.NewReader(f.bytes[n-1]), func() {}}, fmt.Sprintf("%s-%05d.mp4", channel, n), opened}, f.note("open %s %d", channel, n)
}

func TestPlayer(t *testing.T) {
	if !slow(t) {
		return
	}
	f := &filmed{fake: newFake()}
	f.store[0].Channels[1].Kind, f.store[0].Marks = "camera", []Mark{{At: 6e6, Text: "告知权利", Who: "王某"}}
	f.store[0].DurationUS, f.store[0].Spans = 9e6, nil
	for i, start := range []float64{0, 5} {
		b, s := film(t, start)
		if i == 0 {
			s.Fragments[0].From += 6000 // no channel begins at the very µs of the others
		}
		s.N, s.File, f.bytes[i] = int64(i+1), fmt.Sprintf("face-%05d.mp4", i+1), b
		f.segments = append(f.segments, s)
	}
	url, _ := serve(t, newServer(t, f.fake, func(o *Options) { o.Store = f }))
	ctx := browser(t)
	const time2 = "Math.max(...[...document.querySelectorAll('video')].map(v => Math.abs(v.currentTime - Number(document.getElementById('seek').value))))"
	run(t, ctx, "open", chromedp.EmulateViewport(1024, 600), chromedp.Navigate(url+"/login"), chromedp.SendKeys("[name=name]", "王某"), chromedp.SendKeys("[name=password]", "correct horse"+kb.Enter),
		truth("location.pathname === '/'"), chromedp.Navigate(url+one[len("/api/v1"):]), enabled("play"))
	run(t, ctx, "the first picture is there", truth("[...document.querySelectorAll('video')].every(v => v.readyState >= 2 && v.videoWidth === 320)"))
	run(t, ctx, "also right at the beginning", chromedp.Evaluate("(s => { s.value = 0; s.dispatchEvent(new Event('input')); })(document.getElementById('seek'))", nil),
		truth("[...document.querySelectorAll('video')].every(v => v.readyState >= 2 && !v.seeking) && [...document.querySelectorAll('.say')].every(e => e.textContent === '')"))
	run(t, ctx, "it plays", focus("play"), chromedp.KeyEvent(kb.Enter), text("play", "暂停播放"), text("at", "0:00:02"), truth(time2+" < 0.5"), chromedp.Evaluate("(s => { s.value = '2'; s.dispatchEvent(new Event('change')); })(document.getElementById('speed'))", nil))
	run(t, ctx, "over the gap into the next file", text("at", "0:00:05"), truth("[...document.querySelectorAll('video')].every(v => v.currentTime > 5 && !v.paused && v.buffered.length === 2)"))
	run(t, ctx, "to the end", text("at", "0:00:09"), text("play", "播放"), truth("!document.getElementById('play').textContent.includes('暂停')"))
	run(t, ctx, "to a mark", chromedp.Evaluate("document.querySelector('#marks button').click()", nil), text("at", "0:00:06"), truth("[...document.querySelectorAll('video')].every(v => Math.abs(v.currentTime - 6) < 0.2 && v.readyState >= 2)"))
	run(t, ctx, "back into the first file, inside a GOP", chromedp.Evaluate("(s => { s.value = 3.5; s.dispatchEvent(new Event('input')); })(document.getElementById('seek'))", nil),
		text("at", "0:00:03"), truth("[...document.querySelectorAll('video')].every(v => Math.abs(v.currentTime - 3.5) < 0.2 && v.readyState >= 2 && !v.seeking)"))
	run(t, ctx, "into the gap", chromedp.Evaluate("(s => { s.value = 4.5; s.dispatchEvent(new Event('input')); })(document.getElementById('seek'))", nil),
		truth("[...document.querySelectorAll('.say')].every(e => e.textContent.includes('此处没有记录'))"))
	var png []byte
	run(t, ctx, "picture", chromedp.Evaluate("document.querySelector('#marks button').click()", nil), truth("[...document.querySelectorAll('video')].every(v => v.readyState >= 2 && !v.seeking)"), chromedp.CaptureScreenshot(&png))
	if err := os.MkdirAll(filepath.Join("..", "..", "out", "screenshots"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("..", "..", "out", "screenshots", "player-1024x600-zh-light.png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestPlayerInStep: two channels with pictures stay within a frame (1/24 s) of each other after a seek and
// while they play, and a frame step goes exactly one picture, by key too.
func TestPlayerInStep(t *testing.T) {
	if !slow(t) {
		return
	}
	f := &filmed{fake: newFake()}
	f.store[0].Channels[1].Kind, f.store[0].Marks = "camera", nil
	b, s := filmOf(t, 0, 30)
	s.Fragments[0].From += 6000 // as above
	s.N, s.File, f.bytes[0] = 1, "face-00001.mp4", b
	f.segments = []Segment{s}
	f.store[0].DurationUS, f.store[0].Spans = 30e6, nil
	url, _ := serve(t, newServer(t, f.fake, func(o *Options) { o.Store = f }))
	ctx := browser(t)
	const videos = "[...document.querySelectorAll('video')]"
	const measure = `(async () => {
		const v = ` + videos + `, off = [], end = performance.now() + 8000;
		while (performance.now() < end) { await new Promise(requestAnimationFrame); off.push(Math.abs(v[0].currentTime - v[1].currentTime)); }
		off.sort((a, b) => a - b);
		return [off[Math.floor(off.length / 2)], off[Math.floor(off.length * 0.99)], Math.abs(v[0].currentTime - v[1].currentTime)];
	})()`
	run(t, ctx, "open", chromedp.EmulateViewport(1024, 600, chromedp.EmulateTouch), chromedp.Navigate(url+"/login"), chromedp.SendKeys("[name=name]", "王某"), chromedp.SendKeys("[name=password]", "correct horse"+kb.Enter),
		truth("location.pathname === '/'"), chromedp.Navigate(url+one[len("/api/v1"):]), enabled("play"), truth(videos+".length === 2 && "+videos+".every(v => v.readyState >= 2)"))
	run(t, ctx, "after a seek", chromedp.KeyEvent("2"), truth(videos+".every(v => !v.seeking && Math.abs(v.currentTime - 6) < 1 / 24)"))
	on := chromedp.Tasks{chromedp.KeyEvent("."), truth(videos + ".every(v => !v.seeking && v.readyState >= 2)")}
	run(t, ctx, "a picture on", on, truth(videos+".every(v => v.currentTime > 6 && v.currentTime < 6.1)"), chromedp.Evaluate("window.was = "+videos+"[0].currentTime", nil))
	run(t, ctx, "two more", on, on, truth(videos+".every(v => !v.seeking && Math.abs(v.currentTime - was - 2 / 24) < 0.004)"))
	run(t, ctx, "one back by touch", touch("#frameback", 60*time.Millisecond), truth(videos+".every(v => !v.seeking && Math.abs(v.currentTime - was - 1 / 24) < 0.004)"))
	run(t, ctx, "faster and as before", chromedp.Evaluate("document.activeElement.blur()", nil), chromedp.KeyEvent(">"), truth("document.getElementById('speed').value === '1.5'"), chromedp.KeyEvent("<"), truth("document.getElementById('speed').value === '1'"))
	run(t, ctx, "play", chromedp.KeyEvent("k"), truth(videos+".every(v => !v.paused && v.currentTime > 7.5)"))
	var off []float64
	run(t, ctx, "measure", chromedp.Evaluate(measure, &off, chromedp.EvalAsValue, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	t.Logf("channels apart while playing: median %.1f ms, p99 %.1f ms, at the end %.1f ms", off[0]*1e3, off[1]*1e3, off[2]*1e3)
	if off[0] > 1.0/24 || off[2] > 1.0/24 {
		t.Errorf("channels apart by median %.3f s, at the end %.3f s: more than a frame", off[0], off[2])
	}
	run(t, ctx, "pause", chromedp.KeyEvent("k"), truth(videos+".every(v => v.paused && !v.seeking) && "+videos+".every((v, i, all) => Math.abs(v.currentTime - all[0].currentTime) < 1 / 24)"))
}
