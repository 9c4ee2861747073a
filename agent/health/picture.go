package health

import (
	"encoding/json"
	"math"
	"time"
)

// The picture that is looked at.
const (
	viewWidth  = 320
	viewHeight = 180
	viewBytes  = viewWidth * viewHeight
	cellsX     = 32 // the view is compared in cells of 10×10 pixels
	cellsY     = 18
	cellSide   = 10
)

// What makes a picture black, still, covered. Levels are of 255, full range.
const (
	blackLevel = 25   // 10 % luma
	blackShare = 0.98 // of the pixels

	// A picture lives when it differs from the one before by the noise of a sensor, or from the first of
	// its still stretch in a few pixels by much: a clock, a hand. Measured with x264 and x265 on repeated
	// pictures: mean under 0.45 once the rate control has settled; noise of ±1 level gives 0.54 and more.
	noiseMean   = 0.45
	localLevel  = 16
	localPixels = 4

	// A covered lens shows next to nothing, or much less than this camera usually does.
	bareDeviation = 6.0
	bareGradient  = 1.5
	coverGradient = 0.35 // of the base
	coverSpread   = 0.4
	coverLuma     = 0.5
)

// How the usual view is learnt.
const (
	learnFirst = 10        // pictures until there is a base
	learnRate  = 1.0 / 600 // weight of a picture after that: ten minutes at a keyframe a second
	learnSharp = 0.7       // a picture less sharp than this teaches nothing
	learnMatch = 0.6
)

// base is the usual view of a camera.
type base struct {
	N         int       `json:"n"` // pictures learnt from
	Luma      float64   `json:"luma"`
	Deviation float64   `json:"deviation"`
	Gradient  float64   `json:"gradient"`
	Sharp     float64   `json:"sharp"`
	Cells     []float64 `json:"cells"` // mean luma of each, row by row
}

func (b *base) ready() bool { return b.N >= learnFirst }

// parseBase reads what json.Marshal wrote, and refuses what cannot be.
func parseBase(data []byte) (base, bool) {
	var b base
	if json.Unmarshal(data, &b) != nil || b.N < 0 || len(b.Cells) != cellsX*cellsY || b.Gradient < 0 || b.Sharp < 0 {
		return base{}, false
	}
	return b, true
}

// numbers are what one picture comes to.
type numbers struct {
	luma, deviation float64 // deviation of the cells
	gradient        float64 // mean step from cell to cell
	sharp           float64 // mean curvature against the spread of pixels: what blur takes first
	dark            float64 // share of pixels under blackLevel
	cells           []float64
}

// look at a picture of viewBytes.
func look(pix []byte) (n numbers) {
	var sum, squares, curve, dark int64
	cells := make([]int64, cellsX*cellsY)
	for y := range viewHeight {
		row := pix[y*viewWidth : (y+1)*viewWidth]
		for x, p := range row {
			v := int64(p)
			sum += v
			squares += v * v
			if v < blackLevel {
				dark++
			}
			cells[y/cellSide*cellsX+x/cellSide] += v
			if x > 0 && y > 0 && x < viewWidth-1 && y < viewHeight-1 {
				curve += abs(4*v - int64(row[x-1]) - int64(row[x+1]) - int64(pix[(y-1)*viewWidth+x]) - int64(pix[(y+1)*viewWidth+x]))
			}
		}
	}
	n.luma = float64(sum) / viewBytes
	spread := math.Sqrt(max(0, float64(squares)/viewBytes-n.luma*n.luma))
	n.sharp = float64(curve) / float64((viewWidth-2)*(viewHeight-2)) / (spread + 1)
	n.dark = float64(dark) / viewBytes
	n.cells = make([]float64, len(cells))
	for i, c := range cells {
		n.cells[i] = float64(c) / (cellSide * cellSide)
	}
	n.deviation, n.gradient = structure(n.cells, n.luma)
	return n
}

// structure is how much the cells differ, from their mean and from their neighbours. In cells of 100
// pixels the noise of a sensor in the dark does not count.
func structure(cells []float64, mean float64) (deviation, gradient float64) {
	for i, c := range cells {
		deviation += (c - mean) * (c - mean)
		if i%cellsX > 0 {
			gradient += math.Abs(c - cells[i-1])
		}
		if i >= cellsX {
			gradient += math.Abs(c - cells[i-cellsX])
		}
	}
	n := float64(len(cells))
	return math.Sqrt(deviation / n), gradient / n / 2
}

func abs(v int64) int64 {
	if v < 0 {
		return -v
	}
	return v
}

// view follows the pictures of one camera. It belongs to whoever holds the channel's lock.
type view struct {
	base  base
	seen  bool
	at    time.Duration // of the newest picture
	last  numbers
	match float64 // with the base, -1 unknown
	prev  []byte  // the newest picture
	still []byte  // the first of a still stretch

	black, frozen, covered time.Duration // since when, -1 not
}

func newView() *view { return &view{black: -1, frozen: -1, covered: -1, match: -1} }

// forget begins anew, with another connection or after a pause; what was learnt stays.
func (v *view) forget() { *v = view{base: v.base, black: -1, frozen: -1, covered: -1, match: -1} }

// take a picture of viewBytes that was decoded at uptime at.
func (v *view) take(pix []byte, at time.Duration) {
	n := look(pix)
	v.match = -1
	if v.base.ready() {
		v.match = correlate(n.cells, v.base.Cells)
	}
	isBlack := n.dark >= blackShare
	isCovered := !isBlack && v.coveredBy(&n)
	v.black = since(v.black, isBlack, at)
	v.covered = since(v.covered, isCovered, at)
	// A picture without anything to see stands still by nature.
	if isBlack || isCovered || v.lives(pix) {
		v.frozen = -1
		v.still = append(v.still[:0], pix...)
	} else if v.frozen < 0 {
		v.frozen = v.at
	}
	v.prev = append(v.prev[:0], pix...)
	v.last, v.at, v.seen = n, at, true
	if !isBlack && !isCovered && v.frozen < 0 {
		v.learn(&n)
	}
}

// since keeps the beginning of a condition.
func since(began time.Duration, on bool, at time.Duration) time.Duration {
	switch {
	case !on:
		return -1
	case began < 0:
		return at
	}
	return began
}

// coveredBy says whether something is before the lens.
func (v *view) coveredBy(n *numbers) bool {
	if n.deviation < bareDeviation && n.gradient < bareGradient {
		return true
	}
	b := &v.base
	return b.ready() && n.gradient < coverGradient*b.Gradient && (n.deviation < coverSpread*b.Deviation || n.luma < coverLuma*b.Luma)
}

// lives reports whether a picture differs from those before it.
func (v *view) lives(pix []byte) bool {
	if !v.seen {
		return true
	}
	var sum int64
	for i, p := range pix {
		sum += abs(int64(p) - int64(v.prev[i]))
	}
	if float64(sum)/viewBytes >= noiseMean {
		return true
	}
	n := 0
	for i, p := range pix {
		if abs(int64(p)-int64(v.still[i])) >= localLevel {
			if n++; n >= localPixels {
				return true
			}
		}
	}
	return false
}

// learn lets the base follow a picture that looks usual.
func (v *view) learn(n *numbers) {
	b := &v.base
	weight := 1 / float64(b.N+1)
	if b.ready() {
		if v.match < learnMatch || n.sharp < learnSharp*b.Sharp {
			return
		}
		weight = max(weight, learnRate)
	}
	if b.Cells == nil {
		b.Cells = make([]float64, cellsX*cellsY)
	}
	b.Luma += (n.luma - b.Luma) * weight
	b.Deviation += (n.deviation - b.Deviation) * weight
	b.Gradient += (n.gradient - b.Gradient) * weight
	b.Sharp += (n.sharp - b.Sharp) * weight
	for i := range b.Cells {
		b.Cells[i] += (n.cells[i] - b.Cells[i]) * weight
	}
	b.N++
}

// correlate is how alike two views are, 1 the same, whatever their brightness and contrast.
func correlate(a, b []float64) float64 {
	var ma, mb float64
	for i := range a {
		ma += a[i]
		mb += b[i]
	}
	ma, mb = ma/float64(len(a)), mb/float64(len(b))
	var ab, aa, bb float64
	for i := range a {
		x, y := a[i]-ma, b[i]-mb
		ab += x * y
		aa += x * x
		bb += y * y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return max(0, ab/math.Sqrt(aa*bb))
}
