package pcm

import (
	"fmt"
	"math"
)

// Rates a [Resampler] works between, in Hz.
const (
	MinRateHz = 8000
	MaxRateHz = 192000
)

const (
	lobes    = 16      // zero crossings of the filter on each side
	passband = 0.92    // of half the lower rate: what is kept
	maxTable = 1 << 21 // coefficients, 8 MiB: of 8001 Hz to 48 kHz, say; none need more
)

// Resampler changes the rate of sound that comes in pieces, by a windowed sinc in as many phases as the ratio of
// the rates has (J. O. Smith, Digital Audio Resampling, 2002). The n-th PCM frame out lies exactly n/toHz after the
// first one in: nothing is shifted in time, only the last [Resampler.Holds] frames come with the next piece. Not
// safe for concurrent use.
type Resampler struct {
	up, down, channels int
	half               int       // frames in on each side of a frame out
	table              []float32 // up rows of 2*half coefficients
	kept               []float32 // frames in, from index first
	first, next        int64     // index of kept's first frame; of the next frame out
	in                 int64     // frames in so far
}

// NewResampler returns one for rates of 8 to 192 kHz. Equal rates pass sound through untouched.
func NewResampler(fromHz, toHz, channels int) (*Resampler, error) {
	if fromHz < MinRateHz || fromHz > MaxRateHz || toHz < MinRateHz || toHz > MaxRateHz || channels < 1 {
		return nil, fmt.Errorf("pcm: resampling %d channels from %d Hz to %d Hz: rates are %d to %d Hz", channels, fromHz, toHz, MinRateHz, MaxRateHz)
	}
	g := gcd(fromHz, toHz)
	r := &Resampler{up: toHz / g, down: fromHz / g, channels: channels}
	if r.up == r.down {
		return r, nil
	}
	stretch := max(1, float64(r.down)/float64(r.up)) // going down, the filter is as much wider
	r.half = int(math.Ceil(lobes * stretch))
	if r.up*2*r.half > maxTable {
		return nil, fmt.Errorf("pcm: resampling from %d Hz to %d Hz: such rates have too little in common", fromHz, toHz)
	}
	r.table = make([]float32, r.up*2*r.half)
	cut := passband / stretch
	for phase := range r.up {
		row := r.table[phase*2*r.half:][:2*r.half]
		sum := 0.0
		for i := range row { // of the frame in that lies i-half+1 after the one at or before the frame out
			x := float64(i-r.half+1) - float64(phase)/float64(r.up)
			w := 0.42 + 0.5*math.Cos(math.Pi*x/float64(r.half)) + 0.08*math.Cos(2*math.Pi*x/float64(r.half)) // Blackman
			if math.Abs(x) >= float64(r.half) {
				w = 0
			}
			v := w * cut * sinc(cut*x)
			row[i] = float32(v)
			sum += v
		}
		for i := range row { // each phase passes a steady level unchanged
			row[i] = float32(float64(row[i]) / sum)
		}
	}
	r.Reset()
	return r, nil
}

// Reset forgets what came: the next frame in is the first one.
func (r *Resampler) Reset() {
	r.next, r.in = 0, 0
	r.first = -int64(r.half)
	r.kept = make([]float32, r.half*r.channels) // silence before
}

// Holds is how many frames in the last frame out lags behind, at most.
func (r *Resampler) Holds() int { return r.half }

// Ratio is frames out for frames in: up/down in lowest terms.
func (r *Resampler) Ratio() (up, down int) { return r.up, r.down }

// Push appends to out what in, interleaved, completes.
func (r *Resampler) Push(out, in []int16) []int16 {
	if r.half == 0 {
		return append(out, in...)
	}
	for _, v := range in {
		r.kept = append(r.kept, float32(v))
	}
	r.in += int64(len(in) / r.channels)
	return r.drain(out, math.MaxInt64)
}

// Flush appends what is left, up to the end of the last frame in; then it resets.
func (r *Resampler) Flush(out []int16) []int16 {
	if r.half == 0 {
		return out
	}
	end := (r.in*int64(r.up) + int64(r.down) - 1) / int64(r.down)
	r.kept = append(r.kept, make([]float32, r.half*r.channels)...)
	out = r.drain(out, end)
	r.Reset()
	return out
}

func (r *Resampler) drain(out []int16, end int64) []int16 {
	have := r.first + int64(len(r.kept)/r.channels)
	for ; r.next < end; r.next++ {
		at := r.next * int64(r.down)
		whole, phase := at/int64(r.up), int(at%int64(r.up))
		if whole+int64(r.half) >= have {
			break
		}
		row := r.table[phase*2*r.half:][:2*r.half]
		from := int(whole-int64(r.half)+1-r.first) * r.channels
		for c := range r.channels {
			sum := float32(0)
			for i, k := range row {
				sum += k * r.kept[from+i*r.channels+c]
			}
			out = append(out, clip(sum))
		}
	}
	whole := r.next * int64(r.down) / int64(r.up)
	if drop := whole - int64(r.half) + 1 - r.first; drop > 0 {
		n := min(int(drop)*r.channels, len(r.kept))
		r.kept = append(r.kept[:0], r.kept[n:]...)
		r.first += int64(n / r.channels)
	}
	return out
}

func clip(v float32) int16 {
	return int16(math.Round(float64(min(max(v, math.MinInt16), math.MaxInt16))))
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
