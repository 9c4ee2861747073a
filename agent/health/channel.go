package health

import (
	"context"
	"encoding/json"
	"math"
	"sync"
	"time"

	"minglu/agent/fmp4"
	"minglu/drivers"
)

const (
	bucketCount = 16 // whole seconds that are kept
	rateSeconds = 5  // over which rates are taken
	keepLosses  = time.Hour
	maxLosses   = 1000
	maxSteps    = 100
	maxTracks   = 16
	usualWeight = 8 // pictures until the usual distance has followed a change, about
	saveEvery   = 10 * time.Minute
	feedDepth   = 2   // keyframes that may wait
	soundDepth  = 256 // sound packets that may wait
)

// channel is what is known of one channel from its samples. Its methods are safe for concurrent use.
type channel struct {
	Channel
	o *Options

	pictures *feed // nil: no decoder, or no camera
	sounds   *feed

	mu     sync.Mutex // guards what follows; never held for long, never while something is called
	tracks []*track
	view   *view
	sound  sound
	losses []time.Duration // of sound, in the last hour
	report *drivers.SenderReport
}

// track is one coded track.
type track struct {
	format  *drivers.Format
	width   int
	height  int
	buckets [bucketCount]bucket
	seen    bool
	joined  bool          // the next sample should follow the last one
	arrival time.Duration // of the newest sample
	from    time.Duration // arrival of the first one
	run     int
	at      time.Duration
	dts     int64
	usual   int64 // ticks from picture to picture
	keyDTS  int64
	keyRun  int
	keyAt   time.Duration // arrival of the newest keyframe, 0 none
	keyGap  time.Duration // between the last two, 0 unknown
}

// bucket counts one second of arrivals.
type bucket struct {
	second          int64
	frames, missing int64
	bytes           int64
}

func newChannel(c Channel, o *Options) *channel {
	ch := &channel{Channel: c, o: o, view: newView()}
	if o.Decoder == nil || !c.Camera {
		return ch
	}
	log := o.Log.With("channel", c.ID)
	ch.pictures, ch.sounds = newFeed(o, log, feedDepth), newFeed(o, log, soundDepth)
	ch.pictures.decode = func(ctx context.Context, _ *drivers.Format, in <-chan []byte) error {
		return o.Decoder.Gray(ctx, in, viewWidth, viewHeight, ch.picture)
	}
	ch.sounds.decode = func(ctx context.Context, f *drivers.Format, in <-chan []byte) error {
		ch.mu.Lock()
		ch.sound = sound{hz: f.SampleRateHz, channels: f.Channels}
		ch.mu.Unlock()
		return o.Decoder.PCM(ctx, in, ch.heard)
	}
	return ch
}

// start begins decoding; wg waits for it.
func (c *channel) start(ctx context.Context, wg *sync.WaitGroup) {
	if c.pictures == nil {
		return
	}
	c.load()
	wg.Go(func() { c.pictures.run(ctx) })
	wg.Go(func() { c.sounds.run(ctx) })
	wg.Go(func() { c.keep(ctx) })
}

// load takes up what was learnt before.
func (c *channel) load() {
	if c.o.Bases == nil {
		return
	}
	data, err := c.o.Bases.Load(c.ID)
	if err != nil {
		c.o.Log.Warn("usual view lost, learning it anew", "channel", c.ID, "err", err)
	}
	if b, ok := parseBase(data); ok {
		c.mu.Lock()
		c.view.base = b
		c.mu.Unlock()
	}
}

// keep saves what was learnt, now and then and at the end.
func (c *channel) keep(ctx context.Context) {
	if c.o.Bases == nil {
		return
	}
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		}
		c.mu.Lock()
		b := c.view.base
		data, err := json.Marshal(&b)
		c.mu.Unlock()
		if b.ready() && err == nil {
			if err := c.o.Bases.Save(c.ID, data); err != nil {
				c.o.Log.Warn("usual view not saved", "channel", c.ID, "err", err)
			}
		}
		if ended {
			return
		}
	}
}

func (c *channel) relearn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view.base = base{}
}

// rest forgets what a pause has interrupted.
func (c *channel) rest(now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view.forget()
	c.sound.forget()
	for _, t := range c.tracks {
		t.buckets, t.seen, t.from = [bucketCount]bucket{}, false, now
		t.apart()
	}
}

func (c *channel) describe(d drivers.Description) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tracks, c.report = nil, nil
	for _, f := range d.Formats[:min(len(d.Formats), maxTracks)] {
		if f == nil || f.ClockHz <= 0 {
			f = &drivers.Format{ClockHz: 90000}
		}
		t := &track{}
		t.setFormat(f)
		c.tracks = append(c.tracks, t)
	}
}

func (t *track) setFormat(f *drivers.Format) {
	t.format, t.width, t.height = f, f.Width, f.Height
	if f.Codec.Video() {
		if sps, err := fmp4.ParseSPS(fmp4.Codec(f.Codec), f.SPS); err == nil {
			t.width, t.height = sps.Width, sps.Height
		}
	}
}

func (c *channel) sample(s *drivers.Sample) {
	if c.count(s) {
		switch {
		case s.Format.Codec.Video():
			c.pictures.offer(s)
		default:
			c.sounds.offer(s)
		}
	}
}

// count notes a sample and reports whether it is to be decoded.
func (c *channel) count(s *drivers.Sample) (decode bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Track < 0 || s.Track >= len(c.tracks) || len(s.Data) == 0 {
		return false
	}
	t := c.tracks[s.Track]
	if s.Format == nil {
		s.Format = t.format
	}
	if s.Format.ClockHz <= 0 {
		return false
	}
	if s.Format != t.format {
		t.setFormat(s.Format)
	}
	t.count(s)
	if c.pictures == nil {
		return false
	}
	if s.Format.Codec.Video() {
		return s.Track == 0 && s.Keyframe && len(s.Data) <= maxKeyframe
	}
	return (s.Format.Codec == drivers.AAC || s.Format.Codec == drivers.Opus) && len(s.Data) <= soundPacket && s.Track == c.soundTrack()
}

// soundTrack is the first one with sound, -1 if there is none. c.mu is held.
func (c *channel) soundTrack() int {
	for i, t := range c.tracks {
		if !t.format.Codec.Video() {
			return i
		}
	}
	return -1
}

func (t *track) count(s *drivers.Sample) {
	b := t.bucket(s.Arrival)
	b.frames++
	b.bytes += int64(len(s.Data))
	if t.joined && s.Format.Codec.Video() {
		b.missing += t.missing(s)
	}
	if !t.seen {
		t.from = s.Arrival
	}
	if s.Keyframe && s.Format.Codec.Video() {
		if t.keyAt > 0 && t.keyRun == s.Run && s.DTS > t.keyDTS {
			t.keyGap = span(s.DTS-t.keyDTS, s.Format.ClockHz)
		}
		t.keyAt, t.keyDTS, t.keyRun = s.Arrival, s.DTS, s.Run
	}
	t.seen, t.joined, t.arrival, t.run, t.at, t.dts = true, true, s.Arrival, s.Run, s.At, s.DTS
}

// missing counts the pictures that should have come since the last one, by the time between them.
func (t *track) missing(s *drivers.Sample) int64 {
	d := s.DTS - t.dts
	if s.Run != t.run {
		d = int64((s.At - t.at).Seconds() * float64(s.Format.ClockHz))
	}
	if d <= 0 {
		return 0
	}
	n := int64(0)
	if t.usual > 0 {
		n = min((d+t.usual/2)/t.usual-1, 1e6)
	}
	// The usual distance follows what comes: as a mean, so that one picture stamped too early does not
	// make all that follow look late, and slowly upward so that a hole does not count as usual.
	switch {
	case t.usual == 0:
		t.usual = d
	case n <= 0:
		if s.Run == t.run {
			t.usual += (d - t.usual) / usualWeight
		}
	default:
		t.usual += max(1, t.usual/50)
	}
	return max(n, 0)
}

// apart says that the next sample need not follow the last one: what lies between was not looked at.
func (t *track) apart() { t.joined, t.keyAt = false, 0 }

func (t *track) bucket(at time.Duration) *bucket {
	second := int64(at / time.Second)
	b := &t.buckets[second%bucketCount]
	if b.second != second {
		*b = bucket{second: second}
	}
	return b
}

// sum adds up the last whole seconds before now and says how many of them the track was there for.
func (t *track) sum(now time.Duration, seconds int64) (b bucket, of int64) {
	newest := int64(now/time.Second) - 1 // the running second is not complete
	oldest := max(newest-seconds+1, int64(t.from/time.Second)+1)
	for s := oldest; s <= newest; s++ {
		of++
		if x := &t.buckets[s%bucketCount]; x.second == s {
			b.frames, b.missing, b.bytes = b.frames+x.frames, b.missing+x.missing, b.bytes+x.bytes
		}
	}
	return b, of
}

func span(ticks int64, hz int) time.Duration {
	h := int64(hz)
	return time.Duration(ticks/h)*time.Second + time.Duration(ticks%h*int64(time.Second)/h)
}

// Causes of capture that are no loss of the source: the tap was behind, or the room paused. A source
// that went away is another item's: mic.present, camera.signal.
const (
	causeBehind     = "tap did not keep up"
	causePaused     = "paused"
	causeConnection = "connection lost"
	causeNoFrames   = "no frames"
)

func (c *channel) missed(track int, cause string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch cause {
	case causeConnection, causeNoFrames:
		return
	case causeBehind, causePaused:
		for _, t := range c.tracks {
			t.apart()
		}
		return
	}
	if track < 0 || track >= len(c.tracks) || c.tracks[track].format.Codec.Video() {
		return
	}
	c.losses = append(c.losses, c.o.Now().Up)
	if len(c.losses) > maxLosses {
		c.losses = c.losses[1:]
	}
}

// lossesIn counts what was lost in the last hour. c.mu is held.
func (c *channel) lossesIn(now time.Duration) int {
	n := 0
	for n < len(c.losses) && c.losses[n] <= now-keepLosses {
		n++
	}
	c.losses = c.losses[n:]
	return len(c.losses)
}

func (c *channel) reported(r *drivers.SenderReport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Track == 0 {
		c.report = r
	}
}

// picture takes a decoded picture.
func (c *channel) picture(pix []byte) {
	at := c.o.Now().Up
	c.pictures.works()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view.take(pix, at)
}

// heard takes decoded sound.
func (c *channel) heard(pcm []byte) {
	at := c.o.Now().Up
	c.sounds.works()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sound.take(pcm, at)
}

func round(v float64, decimals int) float64 {
	p := math.Pow10(decimals)
	return math.Round(v*p) / p
}
