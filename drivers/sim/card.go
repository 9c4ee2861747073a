package sim

import (
	"fmt"
	"strings"
	"time"
)

const (
	black = 16 // BT.709 limited range
	white = 224
	grey  = 128 // chroma of no colour
)

// Where the frame number stands on the card, in pixels: NumberBlocks squares of NumberSize in a row
// from (NumberX, NumberY): white, black, 24 bits of number, 8 bits of CRC, most significant first.
const (
	NumberBlocks = 34
	NumberSize   = 32
	NumberX      = 32
	NumberY      = 64
)

// Where the flash stands: a square of FlashSize, FlashInset from the right and the lower edge (of the
// height rounded up to 16), white during the first [FlashFrames] pictures of each second of uptime.
const (
	FlashSize   = 128
	FlashInset  = 160
	FlashFrames = 2
)

// Smallest card on which everything has room.
const (
	MinWidth  = NumberBlocks*NumberSize + 2*NumberX
	MinHeight = 448
)

// card draws a test picture: colour bars, a ramp, a name, a clock, a running square, a flash, and
// the frame number as blocks. All of it sits on a grid the encoder codes without I_PCM.
type card struct {
	*picture
	fps     int
	squareX int
}

// bars are the 75 % colour bars in BT.709 limited range (SMPTE RP 219 colours).
var bars = [8][3]byte{{180, 128, 128}, {168, 44, 136}, {145, 147, 44}, {133, 63, 52}, {63, 193, 204}, {51, 109, 212}, {28, 212, 120}, {16, 128, 128}}

func newCard(w, h, fps int, name string) *card {
	c := &card{picture: newPicture(w, h), fps: fps}
	for i, b := range bars {
		x := i * c.W / 8 &^ 15
		c.fill(x, 0, c.W-x, c.H, b)
	}
	for x := 0; x < c.W; x += 16 {
		c.fill(x, c.H*5/8&^15, 16, 64, [3]byte{byte(16 + x*219/c.W), grey, grey})
	}
	c.fill(NumberX-16, NumberY-16, NumberBlocks*NumberSize+32, NumberSize+32, [3]byte{black, grey, grey})
	c.fill(32, 144, 32*25, 48+48+16, [3]byte{black, grey, grey})
	c.text(48, 144, strings.ToUpper(name))
	c.fill(0, c.H*3/4&^15, c.W, 64, [3]byte{black, grey, grey})
	return c
}

// draw makes the picture of frame n, whose clock shows t.
func (c *card) draw(n int64, t time.Time) *picture {
	for i, on := range numberCode(uint32(n)) {
		c.square(NumberX+i*NumberSize, NumberY, NumberSize, on)
	}
	c.text(48, 208, t.UTC().Format("2006-01-02 15:04:05.00"))
	c.square(c.W-FlashInset, (c.H-FlashInset)&^15, FlashSize, n%int64(c.fps) < FlashFrames)
	y := c.H * 3 / 4 &^ 15
	c.square(c.squareX, y, 64, false)
	c.squareX = int(n*16%int64(c.W-64)) &^ 15
	c.square(c.squareX, y, 64, true)
	return c.picture
}

func (p *picture) square(x, y, side int, on bool) {
	v := byte(black)
	if on {
		v = white
	}
	p.fill(x, y, side, side, [3]byte{v, grey, grey})
}

// fill paints a rectangle; everything is a multiple of 4, the chroma of 8.
func (p *picture) fill(x, y, w, h int, c [3]byte) {
	for j := y; j < min(y+h, p.H); j++ {
		row := p.Y[j*p.W+x : j*p.W+min(x+w, p.W)]
		for i := range row {
			row[i] = c[0]
		}
		if j%2 == 0 {
			for i := (j*p.W/2 + x) / 2; i < (j*p.W/2+min(x+w, p.W))/2; i++ {
				p.U[i], p.V[i] = c[1], c[2]
			}
		}
	}
}

// text draws 3x5 glyphs of 8-pixel dots in cells of 32x48. A letter without glyph is a space.
func (p *picture) text(x, y int, s string) {
	for _, r := range s {
		for d := range 15 {
			p.square(x+d%3*8, y+d/3*8, 8, font[r]>>(14-d)&1 == 1)
		}
		x += 32
	}
}

// numberCode is frame number n modulo 2^24 as blocks, true for white.
func numberCode(n uint32) (b [NumberBlocks]bool) {
	v := n<<8 | uint32(crc8(n))
	b[0] = true
	for i := range 32 {
		b[2+i] = v>>(31-i)&1 == 1
	}
	return b
}

// ReadNumber finds the frame number (modulo 2^24) in decoded luma of any scale: width and stride are
// the decoded picture's, full is the card's width. A picture without a number is an error.
func ReadNumber(luma []byte, stride, width, full int) (uint32, error) {
	var level [NumberBlocks]int
	for i := range level {
		at := (NumberY+NumberSize/2)*width/full*stride + (NumberX+i*NumberSize+NumberSize/2)*width/full
		if at >= len(luma) {
			return 0, fmt.Errorf("sim: frame number: a picture of %d bytes is too small for width %d", len(luma), width)
		}
		level[i] = int(luma[at])
	}
	if level[0]-level[1] < 60 {
		return 0, fmt.Errorf("sim: frame number: marks %d and %d, want white and black", level[0], level[1])
	}
	var v uint32
	for _, l := range level[2:] {
		v = v<<1 | uint32(b2i(l > (level[0]+level[1])/2))
	}
	if n := v >> 8; crc8(n) == byte(v) {
		return n, nil
	}
	return 0, fmt.Errorf("sim: frame number: %08x has a wrong check", v)
}

// crc8 is the CRC with polynomial x^8+x^2+x+1 over 24 bits.
func crc8(n uint32) (c byte) {
	for i := 23; i >= 0; i-- {
		c = c<<1 ^ 7*(c>>7^byte(n>>i&1))
	}
	return c
}

// font holds 3x5 dots, top row first.
var font = map[rune]uint16{
	'0': 0x7B6F, '1': 0x2C97, '2': 0x73E7, '3': 0x73CF, '4': 0x5BC9, '5': 0x79CF, '6': 0x79EF, '7': 0x7252, '8': 0x7BEF, '9': 0x7BCF,
	'A': 0x2BED, 'B': 0x6BAE, 'C': 0x3923, 'D': 0x6B6E, 'E': 0x79A7, 'F': 0x79A4, 'G': 0x396B, 'H': 0x5BED, 'I': 0x7497, 'J': 0x126A,
	'K': 0x5BAD, 'L': 0x4927, 'M': 0x5FED, 'N': 0x6B6D, 'O': 0x2B6A, 'P': 0x6BA4, 'Q': 0x2B7B, 'R': 0x6BAD, 'S': 0x388E, 'T': 0x7492,
	'U': 0x5B6F, 'V': 0x5B6A, 'W': 0x5BFD, 'X': 0x5AAD, 'Y': 0x5A92, 'Z': 0x72A7, ':': 0x0410, '.': 0x0002, '-': 0x01C0, '/': 0x12A4,
}
