package sim

import (
	"context"
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"time"

	"minglu/drivers"
)

// What the microphone delivers.
const (
	SampleRateHz = 48000
	BlockFrames  = 960 // PCM frames in one sample: 20 ms
	BeepHz       = 1000
	BeepLength   = 80 * time.Millisecond // at the start of each second of uptime
)

const blockTime = BlockFrames * time.Second / SampleRateHz

// Microphone is a synthetic microphone: PCM, 48 kHz, mono. It hears somebody talk, a beep at each
// whole second of uptime, and what the [Speaker] plays. It implements [drivers.Source]; one Run at a time.
type Microphone struct {
	id     string
	uptime func() time.Duration
	air    *air
	faults faults
}

// Run delivers 20 ms of sound each 20 ms, right after they have been, until ctx ends or the
// microphone is gone.
func (m *Microphone) Run(ctx context.Context, out drivers.Sink) error {
	if m.faults.has(FaultGone) {
		return errGone(m.id)
	}
	format := &drivers.Format{Codec: drivers.PCM, ClockHz: SampleRateHz, SampleRateHz: SampleRateHz, Channels: 1}
	out.Open(drivers.Description{Formats: []*drivers.Format{format}, Identity: "Minglu simulated microphone " + m.id})
	v := newVoice()
	for k := int64(m.uptime()/blockTime) + 1; ; k++ {
		if err := waitUntil(ctx, m.uptime, time.Duration(k+1)*blockTime); err != nil {
			return err
		}
		if m.faults.has(FaultGone) {
			return errGone(m.id)
		}
		if late := m.uptime() - time.Duration(k+1)*blockTime; late > maxLate {
			skip := int64(late / blockTime)
			out.Lost(0, int(skip), "the simulated microphone did not keep up")
			k += skip
		}
		out.Sample(drivers.Sample{
			Format: format, PTS: k * BlockFrames, DTS: k * BlockFrames, Duration: BlockFrames,
			Arrival: m.uptime(), Keyframe: true, Data: m.block(v, k*BlockFrames),
		})
	}
}

// block is the sound from PCM frame first of the uptime on.
func (m *Microphone) block(v *voice, first int64) []byte {
	silence, gain := m.faults.has(FaultSilence), 1.0
	if m.faults.has(FaultClipping) {
		gain = 20
	}
	var pcm [BlockFrames]float64
	for i := range pcm {
		pcm[i] = v.next()
		if at := (first + int64(i)) % SampleRateHz; at < int64(BeepLength)*SampleRateHz/int64(time.Second) {
			pcm[i] = 0.5 * math.Sin(2*math.Pi*BeepHz*float64(at)/SampleRateHz)
		}
	}
	m.air.mix(pcm[:], first)
	data := make([]byte, 2*BlockFrames)
	for i, x := range pcm {
		if silence {
			break
		}
		x = max(-1, min(1, x*gain))
		binary.LittleEndian.PutUint16(data[2*i:], uint16(int16(x*32767)))
	}
	return data
}

// voice makes speech-like sound: a buzz (vowel) or noise (consonant) through two resonators, in
// syllables of a quarter second with a pause after every few.
type voice struct {
	at       int // PCM frames into the syllable
	syllable int
	phase    float64
	seed     uint32
	f1, f2   resonator
}

const syllableFrames = SampleRateHz / 4

// formants of a, e, i, o, u in Hz (rounded from Peterson and Barney 1952, men).
var formants = [5][2]float64{{730, 1090}, {530, 1840}, {270, 2290}, {570, 840}, {300, 870}}

func newVoice() *voice { return &voice{seed: 1, at: syllableFrames, syllable: -1} }

func (v *voice) next() float64 {
	if v.at >= syllableFrames {
		v.at = 0
		v.syllable++
		f := formants[v.syllable*3%5]
		v.f1.tune(f[0], 80)
		v.f2.tune(f[1], 120)
	}
	t := float64(v.at) / syllableFrames
	v.at++
	v.seed = v.seed*1664525 + 1013904223
	noise := float64(int32(v.seed)) / (1 << 31)
	if v.syllable%9 >= 7 { // between two phrases: the room
		return 0.001 * noise
	}
	pitch := 120 + 25*math.Sin(float64(v.syllable)) - 15*t
	v.phase += pitch / SampleRateHz
	buzz := 0.0
	if v.phase >= 1 {
		v.phase--
		buzz = 1
	}
	if t < 0.15 { // the consonant
		return 0.02 * noise * math.Sin(math.Pi*t/0.15)
	}
	envelope := math.Sin(math.Pi * (t - 0.15) / 0.85)
	x := buzz + 0.002*noise
	return envelope*(0.36*v.f1.filter(x)+0.18*v.f2.filter(x)) + 0.001*noise
}

// resonator is a second-order resonance: y[n] = g·x[n] + b·y[n-1] + c·y[n-2] (Klatt 1980).
type resonator struct{ g, b, c, y1, y2 float64 }

func (r *resonator) tune(hz, bandwidthHz float64) {
	p := math.Exp(-math.Pi * bandwidthHz / SampleRateHz)
	r.b = 2 * p * math.Cos(2*math.Pi*hz/SampleRateHz)
	r.c = -p * p
	r.g = 1 - r.b - r.c
	r.g = math.Sqrt(math.Abs(r.g)) // between unit gain at 0 Hz and at the peak: keeps vowels equally loud
}

func (r *resonator) filter(x float64) float64 {
	y := r.g*x + r.b*r.y1 + r.c*r.y2
	r.y2, r.y1 = r.y1, y
	return y
}

// air carries sound from the speaker to every microphone.
type air struct {
	mu     sync.Mutex
	sounds []*sound
}

// sound is being played; its first PCM frame belongs to frame start of the uptime.
type sound struct {
	start int64
	pcm   []float32
	end   int64 // 0: plays to its end
}

func (a *air) add(s *sound) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := s.start - int64(2*maxLate/time.Second)*SampleRateHz // a late microphone may still want it
	a.sounds = slices.DeleteFunc(a.sounds, func(o *sound) bool { return o.start+int64(len(o.pcm)) < old })
	a.sounds = append(a.sounds, s)
}

func (a *air) stop(s *sound, at int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.end = max(at, 1)
}

func (a *air) mix(pcm []float64, first int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.sounds {
		for i := range pcm {
			at := first + int64(i)
			if j := at - s.start; j >= 0 && j < int64(len(s.pcm)) && (s.end == 0 || at < s.end) {
				pcm[i] += float64(s.pcm[j])
			}
		}
	}
}
