// Package overlay draws lines of text into raw pictures on their way to an encoder: date, time and place of a
// recording, in Chinese too. Outlines come from a TrueType or OpenType file (ISO/IEC 14496-22) of the system; without one,
// [Builtin] draws ASCII. Text is white on an opaque black box at the top left, so that it can be read on any
// picture, and so that memory which is slow to read (buffers of encoders often are) is only written.
//
// It guarantees that nothing outside the picture is touched, whatever the text: lines that are too long are cut at the
// edge, lines too many are left out. What a font cannot draw stands there as "?"; ask [Font.Has] first. It does not
// know what the text means, and does not shape scripts that need it (Tibetan, Uyghur, Mongolian are drawn letter by letter).
package overlay

import (
	"errors"
	"fmt"
	"image"
	"io/fs"
	"os"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

// Fonts are where Debian puts fonts: fonts-noto-cjk, which has Chinese, and fonts-dejavu-core, which has none. Tried and
// of no use in Debian 12: fonts-wqy-microhei, fonts-wqy-zenhei and fonts-arphic-uming ("invalid table offset": their tables are
// not aligned), fonts-droid-fallback (no ASCII).
var Fonts = []string{
	"/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
	"/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf",
}

// maxGlyphs bounds the glyphs kept of one size: a page of text.
const maxGlyphs = 512

// Font draws characters. Safe for concurrent use. A font from a file keeps it open; it is meant to live as long as the program.
type Font struct {
	name string
	file *os.File   // nil: the built-in one
	f    *sfnt.Font // nil: the built-in one

	mu     sync.Mutex // guards what follows
	buf    sfnt.Buffer
	px     int // of face and glyphs
	face   font.Face
	glyphs map[rune]*glyph
}

// glyph is one character, drawn.
type glyph struct {
	mask    *image.Alpha // nil: a blank
	x, y    int          // of its mask from the origin on the base line
	advance int          // pixels to the next
}

// Find opens the first of Fonts that is there, else the built-in font.
func Find() (*Font, error) {
	for _, path := range Fonts {
		switch f, err := Open(path); {
		case err == nil:
			return f, nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return Builtin(), nil
}

// Open reads a TrueType or OpenType file. Of a collection it takes the font for simplified Chinese if one says so by
// its name ("… SC"), else the first. The file is read as characters are asked for.
func Open(path string) (_ *Font, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("overlay: font: %w", err)
	}
	f := &Font{name: path, file: file}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	c, err := opentype.ParseCollectionReaderAt(file)
	if err != nil {
		return nil, fmt.Errorf("overlay: font %s: %w: name another TrueType or OpenType file", path, err)
	}
	for i := range c.NumFonts() {
		x, err := c.Font(i)
		if err != nil {
			continue
		}
		name, _ := x.Name(&f.buf, sfnt.NameIDFull)
		if f.f == nil || strings.Contains(name+" ", " SC ") {
			f.f = x
		}
		if strings.Contains(name+" ", " SC ") {
			break
		}
	}
	if f.f == nil {
		return nil, fmt.Errorf("overlay: font %s holds no font that can be read: name another TrueType or OpenType file", path)
	}
	return f, nil
}

// Builtin is a font that is always there: printable ASCII, drawn coarsely.
func Builtin() *Font { return &Font{name: "built-in"} }

// Close closes the font's file. The font must not be used afterwards.
func (f *Font) Close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// String is the font's path, or "built-in".
func (f *Font) String() string { return f.name }

// Has reports whether the font draws each character of s.
func (f *Font) Has(s string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range s {
		if !f.has(r) {
			return false
		}
	}
	return true
}

func (f *Font) has(r rune) bool {
	if f.f == nil {
		return r >= ' ' && r <= '~'
	}
	i, err := f.f.GlyphIndex(&f.buf, r)
	return err == nil && i != 0 && unicode.IsPrint(r)
}

// glyph returns r at a height of px, drawn once. f.mu is held.
func (f *Font) glyph(r rune, px int) (*glyph, error) {
	if f.px != px {
		if err := f.size(px); err != nil {
			return nil, err
		}
	}
	if !f.has(r) {
		r = '?'
	}
	if g := f.glyphs[r]; g != nil {
		return g, nil
	}
	if !f.has(r) {
		return &glyph{advance: px / 2}, nil
	}
	box, mask, at, advance, ok := f.face.Glyph(fixed.Point26_6{}, r)
	if !ok {
		return nil, fmt.Errorf("overlay: font %s: no glyph of %q", f.name, r)
	}
	g := &glyph{x: box.Min.X, y: box.Min.Y, advance: advance.Round()}
	if f.f == nil {
		k := f.scale(px)
		g = &glyph{x: box.Min.X * k, y: box.Min.Y * k, advance: advance.Round() * k}
		g.mask = enlarged(mask, at, box.Dx(), box.Dy(), k)
	} else if !box.Empty() {
		g.mask = enlarged(mask, at, box.Dx(), box.Dy(), 1)
	}
	if len(f.glyphs) >= maxGlyphs {
		clear(f.glyphs)
	}
	f.glyphs[r] = g
	return g, nil
}

// scale is how many times the built-in font is enlarged to be px high.
func (f *Font) scale(px int) int { return max(1, px/basicfont.Face7x13.Height) }

func (f *Font) size(px int) (err error) {
	var face font.Face = basicfont.Face7x13
	if f.f != nil {
		if face, err = opentype.NewFace(f.f, &opentype.FaceOptions{Size: float64(px), DPI: 72}); err != nil {
			return fmt.Errorf("overlay: font %s at %d pixels: %w", f.name, px, err)
		}
	}
	f.px, f.face, f.glyphs = px, face, map[rune]*glyph{}
	return nil
}

// ascent is how far text of px reaches above its base line, in pixels.
func (f *Font) ascent(px int) int {
	if f.f == nil {
		return basicfont.Face7x13.Ascent * f.scale(px)
	}
	return px * 7 / 8
}

// enlarged copies the coverage of w×h pixels of a mask from at, each k×k times: the face draws its next glyph in the same memory.
func enlarged(mask image.Image, at image.Point, w, h, k int) *image.Alpha {
	a := image.NewAlpha(image.Rect(0, 0, w*k, h*k))
	for y := range h * k {
		for x := range w * k {
			_, _, _, c := mask.At(at.X+x/k, at.Y+y/k).RGBA()
			a.Pix[y*a.Stride+x] = byte(c >> 8)
		}
	}
	return a
}
