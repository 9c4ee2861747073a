package sim

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// picture is a 4:2:0 picture whose sides are multiples of 16.
type picture struct {
	W, H    int
	Y, U, V []byte
}

func newPicture(w, h int) *picture {
	w, h = (w+15)&^15, (h+15)&^15
	return &picture{w, h, make([]byte, w*h), make([]byte, w*h/4), make([]byte, w*h/4)}
}

// encoder turns pictures into H.264 Constrained Baseline access units without loss and without a
// real encoder: every macroblock is skipped, Intra16x16 whose residual is DC only, or I_PCM. QP 28
// with chroma offset -6 makes one DC level one sample value (H.264 8.5.10, 8.5.11), so a picture on
// a 4x4 grid with luma steps of 16, or flat over 16x16, never needs I_PCM.
type encoder struct {
	width, height, fps int
	intra, raw         int // macroblocks written so far
	prev               *picture
	pcm                []bool // of the picture being written: the macroblock is I_PCM
	n, idr             int    // frame_num, idr_pic_id
	bw                 bitWriter
}

func newEncoder(w, h, fps int) *encoder {
	p := newPicture(w, h)
	return &encoder{width: w, height: h, fps: fps, prev: p, pcm: make([]bool, p.W*p.H/256)}
}

// sps is the sequence parameter set, H.264 7.3.2.1.1 and E.1.1.
func (e *encoder) sps() []byte {
	w, p := &e.bw, e.prev
	level := uint32(31)
	if len(e.pcm) > 3600 || len(e.pcm)*e.fps > 108000 {
		level = 40
	}
	w.u(24, 66<<16|0xE0<<8|level)
	w.ue(0, 4, 2, 1) // id, 8-bit frame_num, output in decoding order, one reference
	w.u(1, 0)
	w.ue(p.W/16-1, p.H/16-1)
	w.u(2, 3) // frames only, direct_8x8
	if p.W == e.width && p.H == e.height {
		w.u(1, 0)
	} else {
		w.u(1, 1)
		w.ue(0, (p.W-e.width)/2, 0, (p.H-e.height)/2)
	}
	w.u(1, 1)             // VUI
	w.u(10, 0b1000000010) // square samples, no overscan
	w.u(6, 0b110101)      // limited range, colours follow
	w.u(24, 0x010101)     // BT.709
	w.u(2, 0b01)          // no chroma location, timing follows
	w.u(32, 1)
	w.u(32, uint32(2*e.fps))
	w.u(6, 0b100011) // fixed rate, no HRD, no pic_struct, restrictions follow
	w.ue(0, 0, 0, 0, 0, 1)
	return w.nal(0x67)
}

// pps is the picture parameter set, H.264 7.3.2.2.
func (e *encoder) pps() []byte {
	w := &e.bw
	w.ue(0, 0)
	w.u(2, 0) // CAVLC
	w.ue(0, 0, 0)
	w.u(3, 0)
	w.se(2, 0, -6) // QP 28, chroma QP 22
	w.u(3, 0b100)  // slices say how they deblock
	return w.nal(0x68)
}

// encode returns the next access unit: one slice NAL unit behind its 4-byte length. The first must
// be a keyframe.
func (e *encoder) encode(p *picture, key bool) []byte {
	if key {
		e.n = 0
		e.idr ^= 1
	}
	w, hdr := &e.bw, byte(0x61)
	if key {
		hdr = 0x65
		w.ue(0, 7, 0)
		w.u(8, 0)
		w.ue(e.idr)
		w.u(2, 0)
	} else {
		w.ue(0, 5, 0)
		w.u(8, uint32(e.n&255))
		w.u(3, 0) // one reference as is, no marking commands
	}
	w.se(0)
	w.ue(1) // no deblocking
	clear(e.pcm)
	skip, mw := 0, p.W/16
	for my := range p.H / 16 {
		if !key && bytes.Equal(p.Y[my*16*p.W:(my+1)*16*p.W], e.prev.Y[my*16*p.W:(my+1)*16*p.W]) &&
			bytes.Equal(p.U[my*4*p.W:(my+1)*4*p.W], e.prev.U[my*4*p.W:(my+1)*4*p.W]) &&
			bytes.Equal(p.V[my*4*p.W:(my+1)*4*p.W], e.prev.V[my*4*p.W:(my+1)*4*p.W]) {
			skip += mw
			continue
		}
		for mx := range mw {
			if key {
				e.mb(p, mx, my, 0)
			} else if e.same(p, mx, my) {
				skip++
			} else {
				w.ue(skip)
				skip = 0
				e.mb(p, mx, my, 5)
			}
		}
	}
	if skip > 0 {
		w.ue(skip)
	}
	copy(e.prev.Y, p.Y)
	copy(e.prev.U, p.U)
	copy(e.prev.V, p.V)
	e.n++
	nal := w.nal(hdr)
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(nal)), uint32(len(nal))), nal...)
}

func (e *encoder) same(p *picture, mx, my int) bool {
	for i := range 16 {
		o := (my*16+i)*p.W + mx*16
		if !bytes.Equal(p.Y[o:o+16], e.prev.Y[o:o+16]) {
			return false
		}
	}
	for i := range 8 {
		o := (my*8+i)*p.W/2 + mx*8
		if !bytes.Equal(p.U[o:o+8], e.prev.U[o:o+8]) || !bytes.Equal(p.V[o:o+8], e.prev.V[o:o+8]) {
			return false
		}
	}
	return true
}

// mb writes one intra macroblock; off is 5 in P slices.
func (e *encoder) mb(p *picture, mx, my, off int) {
	w, x, y := &e.bw, mx*16, my*16
	var luma, cu, cv, t, t2 [16]int
	lm, cm, best := -1, -1, 99
	for m := 0; m < 3 && best > 0; m++ { // vertical, horizontal, DC
		if n := residual(p.Y, p.W, x, y, 16, m, &t); n >= 0 && n < best {
			lm, best, luma = m, n, t
		}
	}
	cbest := 99
	for m := 2; m >= 0 && cbest > 0 && lm >= 0; m-- {
		nu, nv := residual(p.U, p.W/2, x/2, y/2, 8, m, &t), residual(p.V, p.W/2, x/2, y/2, 8, m, &t2)
		if nu >= 0 && nv >= 0 && nu+nv < cbest {
			cm, cbest, cu, cv = m, nu+nv, t, t2
		}
	}
	at := my*p.W/16 + mx
	if cm < 0 {
		e.raw++
		e.pcm[at] = true
		w.ue(25 + off)
		w.align()
		for i := range 16 {
			w.b = append(w.b, p.Y[(y+i)*p.W+x:][:16]...)
		}
		for _, c := range [][]byte{p.U, p.V} {
			for i := range 8 {
				w.b = append(w.b, c[(y/2+i)*p.W/2+x/2:][:8]...)
			}
		}
		return
	}
	e.intra++
	cbp := min(cbest, 1)
	w.ue(1+lm+4*cbp+off, 2-cm)
	w.se(0)
	nc, k := 0, 0 // coefficients in the neighbours: 16 in I_PCM, no AC in the others
	if mx > 0 {
		nc, k = nc+16*b2i(e.pcm[at-1]), k+1
	}
	if my > 0 {
		nc, k = nc+16*b2i(e.pcm[at-p.W/16]), k+1
	}
	if k == 2 {
		nc = (nc + 1) >> 1
	}
	var zz [16]int
	for i, j := range zigzag {
		zz[i] = luma[j]
	}
	w.block(zz[:], nc)
	if cbp > 0 {
		w.block(cu[:4], -1)
		w.block(cv[:4], -1)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// residual puts the DC levels that turn prediction m (0 vertical, 1 horizontal, 2 DC) of
// the n x n block into the picture, and returns how many are not zero; -1: cannot be had.
func residual(c []byte, stride, x, y, n, m int, out *[16]int) int {
	if m == 0 && y == 0 || m == 1 && x == 0 {
		return -1
	}
	k := n / 4
	var f [16]int
	for by := range k {
		for bx := range k {
			dc := 0
			if m == 2 {
				dc = dcPred(c, stride, x, y, n, bx, by)
			}
			for i := range 4 {
				row := c[(y+by*4+i)*stride+x+bx*4:][:4]
				for j, v := range row {
					pr := dc
					switch m {
					case 0:
						pr = int(c[(y-1)*stride+x+bx*4+j])
					case 1:
						pr = int(c[(y+by*4+i)*stride+x-1])
					}
					d := int(v) - pr
					if i|j == 0 {
						f[by*k+bx] = d
					} else if d != f[by*k+bx] {
						return -1
					}
				}
			}
		}
	}
	num := 0
	for i := range k { // out = A f A / k*k, A the Hadamard matrix
		for j := range k {
			s := 0
			for a := range k {
				for b := range k {
					s += hadamard[i*4/k][a] * hadamard[j*4/k][b] * f[a*k+b]
				}
			}
			if s%(k*k) != 0 {
				return -1
			}
			out[i*k+j] = s / (k * k)
			num += b2i(s != 0)
		}
	}
	return num
}

// hadamard serves 2x2 too: the first halves of rows 0 and 2.
var hadamard = [4][4]int{{1, 1, 1, 1}, {1, 1, -1, -1}, {1, -1, -1, 1}, {1, -1, 1, -1}}

func dcPred(c []byte, stride, x, y, n, bx, by int) int {
	top, left, x0, y0, l := y > 0, x > 0, x, y, n
	if n == 8 { // chroma predicts each 4x4 by itself
		x0, y0, l = x+bx*4, y+by*4, 4
		if bx > by && top {
			left = false
		} else if by > bx && left {
			top = false
		}
	}
	s, cnt := 0, 0
	for i := range l {
		if top {
			s, cnt = s+int(c[(y-1)*stride+x0+i]), cnt+1
		}
		if left {
			s, cnt = s+int(c[(y0+i)*stride+x-1]), cnt+1
		}
	}
	if cnt == 0 {
		return 128
	}
	return (s + cnt/2) / cnt
}

type bitWriter struct {
	b   []byte
	acc uint64
	n   int
}

func (w *bitWriter) u(n int, v uint32) {
	w.acc, w.n = w.acc<<n|uint64(v), w.n+n
	for w.n >= 8 {
		w.n -= 8
		w.b = append(w.b, byte(w.acc>>w.n))
	}
}

func (w *bitWriter) ue(vs ...int) {
	for _, v := range vs {
		k := bits.Len(uint(v + 1))
		w.u(k-1, 0)
		w.u(k, uint32(v+1))
	}
}

func (w *bitWriter) se(vs ...int) {
	for _, v := range vs {
		w.ue(max(2*v-1, -2*v))
	}
}

func (w *bitWriter) align() {
	if w.n > 0 {
		w.u(8-w.n, 0)
	}
}

// nal ends the RBSP and puts in the emulation prevention bytes.
func (w *bitWriter) nal(hdr byte) []byte {
	w.u(1, 1)
	w.align()
	out, z := append(make([]byte, 0, len(w.b)+len(w.b)/32+8), hdr), 0
	for _, c := range w.b {
		if z >= 2 && c <= 3 {
			out, z = append(out, 3), 0
		}
		out = append(out, c)
		if z++; c != 0 {
			z = 0
		}
	}
	w.b = w.b[:0]
	return out
}
