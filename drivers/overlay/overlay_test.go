package overlay

import (
	"bytes"
	"errors"
	"image"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minglu/drivers"
)

// text is an overlay whose lines a test sets.
type text struct {
	lines []string
	asked int
}

func (t *text) Shown() drivers.Shown { return drivers.Shown{Time: drivers.ShownByBoard} }
func (t *text) Lines(time.Duration) []string {
	t.asked++
	return t.lines
}

func cjk(t testing.TB) *Font {
	t.Helper()
	f, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if !f.Has("询问室") {
		t.Fatalf("font %v has no Chinese: install fonts-noto-cjk", f)
	}
	return f
}

const guard = 64 // bytes around each picture of a test

// layouts are the ways a raw picture lies in memory; each is grey, and stands between guard bytes.
func layouts(w, h int) map[string]func() (*Picture, []byte) {
	grey := func(n int) ([]byte, []byte) {
		b := bytes.Repeat([]byte{100}, guard+n+guard)
		return b[guard : guard+n : guard+n], b
	}
	return map[string]func() (*Picture, []byte){
		"planar": func() (*Picture, []byte) {
			p, all := grey(w * h * 3 / 2)
			return &Picture{w, h, Plane{p, w, 1, 1, 1}, Plane{p[w*h:], w / 2, 1, 2, 2}, Plane{p[w*h*5/4:], w / 2, 1, 2, 2}}, all
		},
		"chroma together": func() (*Picture, []byte) {
			p, all := grey(w * h * 3 / 2)
			return &Picture{w, h, Plane{p, w, 1, 1, 1}, Plane{p[w*h:], w, 2, 2, 2}, Plane{p[w*h+1:], w, 2, 2, 2}}, all
		},
		"packed": func() (*Picture, []byte) {
			p, all := grey(w * h * 2)
			return &Picture{w, h, Plane{p, 2 * w, 2, 1, 1}, Plane{p[1:], 2 * w, 4, 2, 1}, Plane{p[3:], 2 * w, 4, 2, 1}}, all
		},
	}
}

func luma(p *Picture) []byte {
	var b []byte
	for y := range p.Height {
		for x := range p.Width {
			b = append(b, p.Y.Pix[y*p.Y.Stride+x*p.Y.Step])
		}
	}
	return b
}

// TestDraw: the same text in each layout, and nothing beside it or beside the picture.
func TestDraw(t *testing.T) {
	f := cjk(t)
	lines := []string{"2026-11-25 18:46:29 +08:00", "询问室三 被询问人 23.4°C 45%RH"}
	var first []byte
	for name, make := range layouts(640, 360) {
		pic, all := make()
		if err := NewPainter(&text{lines: lines}, f).Draw(pic, 0); err != nil {
			t.Fatal(err)
		}
		y := luma(pic)
		if first == nil {
			first = y
			keep(t, "overlay.png", y, pic.Width)
		}
		if !bytes.Equal(y, first) {
			t.Errorf("%s: another picture", name)
		}
		ink, paper := 0, 0
		for i, v := range y {
			switch x, row := i%pic.Width, i/pic.Width; {
			case v == 100:
			case x > 400 || row > 48:
				t.Fatalf("%s: pixel %d, %d is %d", name, x, row, v)
			case v >= 200:
				ink++
			case v == black:
				paper++
			}
		}
		if ink < 250 || paper < 2*ink {
			t.Errorf("%s: %d white pixels on %d black ones", name, ink, paper)
		}
		for _, b := range append(all[:guard:guard], all[len(all)-guard:]...) {
			if b != 100 {
				t.Errorf("%s: bytes beside the picture were written", name)
				break
			}
		}
		for _, c := range []Plane{pic.U, pic.V} {
			if in, out := c.Pix[2*c.Stride+2*c.Step], c.Pix[(pic.Height/c.SubY-1)*c.Stride]; in != neutral || out != 100 {
				t.Errorf("%s: colour is %d within and %d without", name, in, out)
			}
		}
	}
}

// keep leaves a picture for people to look at.
func keep(t *testing.T, name string, y []byte, width int) {
	dir := filepath.Join("..", "..", "out", "screenshots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, &image.Gray{Pix: y, Stride: width, Rect: image.Rect(0, 0, width, len(y)/width)}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestDrawIsBounded: whatever the text, the picture and its surroundings stand.
func TestDrawIsBounded(t *testing.T) {
	for _, lines := range [][]string{nil, {""}, {strings.Repeat("长", 10000)}, make([]string, 1000), {"\x00\xff\n"}, {strings.Repeat("W", 199), "x"}} {
		for _, f := range []*Font{cjk(t), Builtin()} {
			for name, make := range layouts(64, 32) {
				pic, all := make()
				if err := NewPainter(&text{lines: lines}, f).Draw(pic, 0); err != nil {
					t.Errorf("%v, %s: %v", f, name, err)
				}
				for _, b := range append(all[:guard:guard], all[len(all)-guard:]...) {
					if b != 100 {
						t.Fatalf("%v, %s: bytes beside the picture were written", f, name)
					}
				}
			}
		}
	}
}

// TestDrawFollows: each second anew, and the same second from what is kept.
func TestDrawFollows(t *testing.T) {
	f, src := cjk(t), &text{}
	p := NewPainter(src, f)
	shot := func(s string) string {
		pic, _ := layouts(640, 360)["planar"]()
		src.lines = []string{s}
		if err := p.Draw(pic, 0); err != nil {
			t.Fatal(err)
		}
		return string(luma(pic))
	}
	a, b, c := shot("18:46:29"), shot("18:46:30"), shot("18:46:29")
	if a == b || a != c {
		t.Error("the picture does not follow the text")
	}
	kept := &p.box.luma[0]
	shot("18:46:29")
	if &p.box.luma[0] != kept {
		t.Error("the same text is drawn anew")
	}
	if src.asked != 4 {
		t.Errorf("asked %d times for 4 pictures", src.asked)
	}
}

func TestFonts(t *testing.T) {
	f := cjk(t)
	if !f.Has("案号 渝市监〔2026〕3号 °C %RH ±12 ms") || f.Has("\u202e") || f.Has("\n") {
		t.Errorf("%v: Has() is wrong", f)
	}
	if b := Builtin(); !b.Has("2026-11-25 18:46:29 +08:00") || b.Has("室") {
		t.Error("the built-in font has ASCII and no more")
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.ttf")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open() = %v", err)
	}
	if _, err := Open("overlay_test.go"); err == nil || !strings.Contains(err.Error(), "another TrueType or OpenType file") {
		t.Errorf("Open() of no font = %v", err)
	}
	other, err := Open("/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	pic, _ := layouts(640, 360)["planar"]()
	if err := NewPainter(&text{lines: []string{"18:46 室"}}, other).Draw(pic, 0); err != nil {
		t.Errorf("a character it has not: %v", err)
	}
}

func BenchmarkDraw1080(b *testing.B) {
	f := cjk(b)
	src := &text{lines: []string{"2026-11-25 18:46:29 +08:00 ±3 ms", "询问室三 被询问人 23.4°C 45%RH", "案号 渝市监〔2026〕3号"}}
	for name, make := range layouts(1920, 1080) {
		pic, _ := make()
		b.Run(name, func(b *testing.B) {
			p := NewPainter(src, f)
			for b.Loop() {
				if err := p.Draw(pic, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("another text", func(b *testing.B) {
		for b.Loop() {
			if _, err := f.draw(src.lines, 30); err != nil {
				b.Fatal(err)
			}
		}
	})
}
