package sim

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// annexB turns samples into a byte stream, H.264 annex B, parameter sets first.
func annexB(sps, pps []byte, samples ...[]byte) []byte {
	var b []byte
	for _, nal := range [][]byte{sps, pps} {
		b = append(append(b, 0, 0, 0, 1), nal...)
	}
	for _, s := range samples {
		for len(s) > 0 {
			n := binary.BigEndian.Uint32(s)
			b = append(append(b, 0, 0, 0, 1), s[4:4+n]...)
			s = s[4+n:]
		}
	}
	return b
}

// decode has ffmpeg decode a stream to planar 4:2:0 and fails on its least warning.
func decode(t *testing.T, stream []byte, filter ...string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "card.h264")
	if err := os.WriteFile(file, stream, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-v", "warning", "-xerror", "-err_detect", "explode", "-threads", "1", "-probesize", "50M", "-i", file}
	args = append(append(args, filter...), "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
	cmd := exec.CommandContext(t.Context(), "ffmpeg", args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil || said.Len() > 0 {
		t.Fatalf("ffmpeg: %v: %s", err, said.Bytes())
	}
	return out
}

func appendPicture(dst []byte, p *picture, w, h int) []byte {
	for _, c := range []struct {
		b         []byte
		stride, n int
	}{{p.Y, p.W, 1}, {p.U, p.W / 2, 2}, {p.V, p.W / 2, 2}} {
		for y := range h / c.n {
			dst = append(dst, c.b[y*c.stride:][:w/c.n]...)
		}
	}
	return dst
}

// paint makes a macroblock that needs DC residual of many shapes, so that every code of the tables
// is written sooner or later.
func paint(r *rand.Rand, p *picture, x, y int) {
	f, ok := [16]int{}, false
	for !ok {
		ok = true
		var c [16]int
		big, levels := 1+r.IntN(1+r.IntN(40)), 1+r.IntN(16)
		for _, i := range r.Perm(16)[:levels] {
			c[i] = r.IntN(2*big+1) - big
			if r.IntN(3) > 0 {
				c[i] = r.IntN(2)*2 - 1
			}
		}
		if r.IntN(3) == 0 { // no zeros below the highest
			for i := range c {
				if c[zigzag[i]] = 0; i < levels {
					c[zigzag[i]] = r.IntN(2)*4 - 2 + r.IntN(2)
				}
			}
		}
		for i := range 16 {
			f[i] = 128
			for j := range 16 {
				f[i] += hadamard[i/4][j/4] * hadamard[i%4][j%4] * c[j]
			}
			ok = ok && f[i] > 0 && f[i] < 256
		}
	}
	for i := range 16 {
		p.fill(x+i%4*4, y+i/4*4, 4, 4, [3]byte{byte(f[i]), 0, 0})
	}
	for _, plane := range [][]byte{p.U, p.V} {
		base, a, b, c, d := 100+r.IntN(50), r.IntN(11)-5, r.IntN(11)-5, r.IntN(3)-1, r.IntN(2)
		dc := [4]int{a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d}
		for i := range 64 {
			plane[(y/2+i/8)*p.W/2+x/2+i%8] = byte(base + dc[i%8/4+i/32*2])
		}
	}
}

func TestDecodedPicturesAreExact(t *testing.T) {
	const w, h = 640, 360 // 360 is cropped from 368
	r := rand.New(rand.NewPCG(1, 2))
	e, p := newEncoder(w, h, 25), newPicture(w, h)
	sps, pps := e.sps(), e.pps()
	var want []byte
	var samples [][]byte
	for n := range 60 {
		for mb := range p.W * p.H / 256 {
			x, y := mb%(p.W/16)*16, mb/(p.W/16)*16
			switch k := r.IntN(10); {
			case k < 2: // skipped
			case k < 4:
				p.fill(x, y, 16, 16, [3]byte{byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))})
			case k < 9:
				paint(r, p, x, y)
			default: // I_PCM, with many zeros for the emulation prevention
				for i := range 256 {
					p.Y[(y+i/16)*p.W+x+i%16] = byte(r.IntN(4))
				}
			}
		}
		want = appendPicture(want, p, w, h)
		samples = append(samples, e.encode(p, n%10 == 0))
	}
	if e.intra == 0 || e.raw == 0 {
		t.Errorf("%d intra and %d raw macroblocks: want both kinds", e.intra, e.raw)
	}
	if got := decode(t, annexB(sps, pps, samples...)); !bytes.Equal(got, want) {
		t.Errorf("decoded %d bytes, drawn %d, or they differ", len(got), len(want))
	}
}

var cardSizes = []CameraOptions{{"face", 1280, 720, 25}, {"room-2", 1920, 1080, 25}, {"small", MinWidth, MinHeight, 10}}

func TestCardDecodesExactlyWithItsNumbers(t *testing.T) {
	for _, o := range cardSizes {
		s := newShot(o)
		var want []byte
		var samples [][]byte
		bytesTotal := 0
		first := int64(1<<24 - 20) // runs over the end of 24 bits
		for n := first; n < first+30; n++ {
			sample := s.take(n, time.Unix(n/25, n%25*4e7), &faults{})
			if wantKey := n == first || n%int64(o.FPS) == 0; sample.Keyframe != wantKey {
				t.Errorf("%s: picture %d: keyframe %v", o.ID, n, sample.Keyframe)
			}
			want = appendPicture(want, s.shown, o.Width, o.Height)
			samples, bytesTotal = append(samples, sample.Data), bytesTotal+len(sample.Data)
		}
		if s.enc.raw > 0 {
			t.Errorf("%s: %d macroblocks had to be I_PCM", o.ID, s.enc.raw)
		}
		t.Logf("%s: %d bytes in 30 pictures", o.ID, bytesTotal)
		stream := annexB(s.format.SPS, s.format.PPS, samples...)
		if got := decode(t, stream); !bytes.Equal(got, want) {
			t.Errorf("%s: decoded pictures differ from those drawn", o.ID)
		}
		for _, scale := range []int{1, 2, 3} {
			w, h := o.Width/scale&^1, o.Height/scale&^1
			got := decode(t, stream, "-vf", "scale="+itoa(w)+":"+itoa(h)+":flags=area")
			size := w*h + w*h/2
			if len(got) != 30*size {
				t.Fatalf("%s 1/%d: %d bytes decoded, want 30 pictures of %d", o.ID, scale, len(got), size)
			}
			for i := range 30 {
				n, err := ReadNumber(got[i*size:][:w*h], w, w, o.Width)
				if want := uint32(first+int64(i)) & (1<<24 - 1); err != nil || n != want {
					t.Errorf("%s 1/%d: picture %d: ReadNumber() = %d, %v; want %d", o.ID, scale, i, n, err, want)
				}
			}
		}
	}
}

func TestFaultyPicturesDecodeExactly(t *testing.T) {
	o := cardSizes[0]
	s := newShot(o)
	var want []byte
	var samples [][]byte
	n := int64(0)
	for _, fault := range []string{"", FaultFrozen, "", FaultBlack, FaultCovered, FaultFrozen, ""} {
		f := &faults{}
		f.set(fault, true)
		from := len(samples)
		for range 5 {
			n++
			samples = append(samples, s.take(n, time.Unix(n, 0), f).Data)
			want = appendPicture(want, s.shown, o.Width, o.Height)
		}
		size := o.Width * o.Height * 3 / 2
		a, b := want[from*size:][:size], want[(from+4)*size:]
		still := bytes.Equal(a, b)
		number, err := ReadNumber(b, o.Width, o.Width, o.Width)
		switch fault {
		case "":
			if still || err != nil || int64(number) != n {
				t.Errorf("healthy: still %v, number %d, %v", still, number, err)
			}
		case FaultFrozen:
			if !still {
				t.Error("a frozen picture moves")
			}
		case FaultBlack:
			if !still || err == nil || len(bytes.Trim(b[:o.Width*o.Height], string(rune(black)))) > 0 {
				t.Error("black is not black")
			}
		case FaultCovered:
			if still || err == nil {
				t.Error("a covered lens still has noise and shows no number")
			}
		}
	}
	if got := decode(t, annexB(s.format.SPS, s.format.PPS, samples...)); !bytes.Equal(got, want) {
		t.Error("decoded pictures differ from those drawn")
	}
}

func TestReadNumberRefusesWhatIsNone(t *testing.T) {
	p := newCard(1280, 720, 25, "x").draw(77, time.Unix(0, 0))
	flip := func(i int) *picture {
		q := &picture{p.W, p.H, bytes.Clone(p.Y), p.U, p.V}
		q.square(NumberX+i*NumberSize, NumberY, NumberSize, !numberCode(77)[i])
		return q
	}
	for i := range NumberBlocks {
		if n, err := ReadNumber(flip(i).Y, p.W, p.W, p.W); err == nil {
			t.Errorf("block %d turned over: ReadNumber() = %d, want an error", i, n)
		}
	}
	if n, err := ReadNumber(p.Y[:1000], p.W, p.W, p.W); err == nil {
		t.Errorf("a piece of a picture: ReadNumber() = %d, want an error", n)
	}
}

func BenchmarkCameraSecond(b *testing.B) {
	for _, o := range cardSizes[:2] {
		b.Run(itoa(o.Height)+"p25", func(b *testing.B) {
			s, n, f, size := newShot(o), int64(0), &faults{}, 0
			for b.Loop() {
				for range 25 {
					n++
					size += len(s.take(n, time.Unix(n, 0), f).Data)
				}
			}
			b.ReportMetric(float64(size)/float64(b.N), "bytes/s")
		})
	}
}
