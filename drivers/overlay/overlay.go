package overlay

import (
	"slices"
	"time"

	"minglu/drivers"
)

// Plane is where one component of a picture lies in memory: the value of pixel (x, y) is
// Pix[y/SubY*Stride + x/SubX*Step].
type Plane struct {
	Pix          []byte
	Stride, Step int
	SubX, SubY   int
}

// Picture is a raw picture, Y'CbCr 8 bit with luma from 16 to 235 (ITU-R BT.601, BT.709).
type Picture struct {
	Width, Height int // pixels, even
	Y, U, V       Plane
}

// Brightness of box and text, BT.709.
const (
	black   = 16
	white   = 235
	neutral = 128
)

// Lines of text: 1/32 of the picture's height each, at least minLine, maxLines of them, and of a line maxRunes at most.
const (
	minLine  = 16
	maxLines = 8
	maxRunes = 200
)

// Painter draws an overlay into the pictures of one stream. It belongs to one goroutine.
type Painter struct {
	source drivers.Overlay
	font   *Font
	height int // of the picture that box is for
	lines  []string
	box    box
}

// box is text as it stands in a picture: a row of luma for each line, as wide as the longest.
type box struct {
	width, height int // even
	luma          []byte
}

// NewPainter returns one that asks source for its text.
func NewPainter(source drivers.Overlay, font *Font) *Painter {
	return &Painter{source: source, font: font}
}

// Draw draws the text of a picture taken at uptime at. It draws anew only what changed since the last picture. After
// an error, which is the font's, the picture is as it was.
func (p *Painter) Draw(pic *Picture, at time.Duration) error {
	lines := p.source.Lines(at)
	if pic.Height != p.height || !slices.Equal(lines, p.lines) {
		b, err := p.font.draw(lines, max(minLine, pic.Height/32))
		if err != nil {
			return err
		}
		p.box, p.height, p.lines = b, pic.Height, slices.Clone(lines)
	}
	p.box.put(pic)
	return nil
}

// draw makes the box of some lines of px pixels.
func (f *Font) draw(lines []string, px int) (box, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines = lines[:min(len(lines), maxLines)]
	pad, line := px/4, px*5/4
	b := box{height: even(len(lines)*line + pad)}
	type place struct {
		g    *glyph
		x, y int
	}
	var all []place
	for i, s := range lines {
		x, n := pad, 0
		for _, r := range s {
			if n++; n > maxRunes {
				break
			}
			g, err := f.glyph(r, px)
			if err != nil {
				return box{}, err
			}
			all = append(all, place{g, x, pad + i*line + f.ascent(px)})
			x += g.advance
		}
		b.width = max(b.width, even(x+pad))
	}
	if len(lines) == 0 {
		return box{}, nil
	}
	b.luma = make([]byte, b.width*b.height)
	for i := range b.luma {
		b.luma[i] = black
	}
	for _, p := range all {
		b.ink(p.g, p.x+p.g.x, p.y+p.g.y)
	}
	return b, nil
}

// ink draws a glyph with its upper left corner at x, y.
func (b *box) ink(g *glyph, x, y int) {
	if g.mask == nil {
		return
	}
	for my := range g.mask.Rect.Dy() {
		for mx := range g.mask.Rect.Dx() {
			if tx, ty := x+mx, y+my; tx >= 0 && ty >= 0 && tx < b.width && ty < b.height {
				v := black + int(g.mask.Pix[my*g.mask.Stride+mx])*(white-black)/255
				at := &b.luma[ty*b.width+tx]
				*at = max(*at, byte(v))
			}
		}
	}
}

// put writes the box into the upper left corner of a picture, as far as it fits.
func (b *box) put(pic *Picture) {
	w, h := min(b.width, pic.Width&^1), min(b.height, pic.Height&^1)
	for y := range h {
		row := pic.Y.Pix[y*pic.Y.Stride:]
		text := b.luma[y*b.width:][:w]
		if pic.Y.Step == 1 {
			copy(row, text)
			continue
		}
		for x, v := range text {
			row[x*pic.Y.Step] = v
		}
	}
	for _, c := range []*Plane{&pic.U, &pic.V} {
		for y := range h / c.SubY {
			row := c.Pix[y*c.Stride:]
			for x := range w / c.SubX {
				row[x*c.Step] = neutral
			}
		}
	}
}

func even(n int) int { return (n + 1) &^ 1 }
