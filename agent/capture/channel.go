package capture

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"minglu/drivers"
)

// Causes told to Sink.Lost by this package itself.
const (
	CauseConnection = "connection lost"
	CauseNoFrames   = "no frames"
	CausePackets    = "packets lost"
)

// channel is what is known of one channel. Its methods are safe for concurrent use.
type channel struct {
	id     string
	source drivers.Source
	o      Options
	log    *slog.Logger

	mu sync.Mutex // held while a sink is called: it gives the calls their order

	sink    Sink
	told    *drivers.Description // what the sink was told last
	pending []item               // for the sink, once the run has settled
	paused  bool
	ring    ring
	taps    []*tapped

	desc     *drivers.Description
	encoders []*encoder // per track, nil where sound comes coded
	early    []*drivers.SenderReport
	run      *run
	before   []trackLine // of the last connection
	runs     int         // number of the newest run
	fresh    bool        // the next sample begins a run
	lapsed   int         // the track whose ticks mean nothing in it, -1: none

	health
}

func newChannel(c Channel, o *Options) *channel {
	return &channel{id: c.ID, source: c.Source, o: *o, log: o.Log.With("channel", c.ID), lapsed: -1, health: health{lastLead: -1}}
}

// open takes over what a new connection says of itself. Raw sound is described as what it is encoded to.
func (c *channel) open(d drivers.Description) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.Formats = slices.Clone(d.Formats)
	c.encoders = make([]*encoder, len(d.Formats))
	c.early = make([]*drivers.SenderReport, len(d.Formats))
	for i, f := range d.Formats {
		if f == nil || f.ClockHz <= 0 {
			return errors.New("capture: a track without format")
		}
		if f.Codec != drivers.PCM || f.Exact {
			continue
		}
		e, err := newEncoder(f)
		if err != nil {
			return &drivers.Problem{Code: "codec", Zh: "麦克风的采样格式不受支持，请设为 48 kHz 16 位单声道或立体声",
				En: "the sound format of the microphone cannot be recorded: set 48 kHz, 16 bit, mono or stereo", Err: err}
		}
		c.encoders[i], d.Formats[i] = e, e.format
	}
	c.desc, c.run, c.fresh = &d, nil, true
	c.health.opened(c.o.Uptime(), d.Formats)
	for _, t := range c.taps {
		t.describe(c.desc)
	}
	return nil
}

// receive takes one sample from the source.
func (c *channel) receive(s drivers.Sample) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.desc == nil || s.Track < 0 || s.Track >= len(c.desc.Formats) || len(s.Data) == 0 {
		return nil
	}
	c.health.arrived(&s)
	if c.paused {
		return nil
	}
	e := c.encoders[s.Track]
	if e == nil {
		if s.Format == nil {
			s.Format = c.desc.Formats[s.Track]
		}
		c.health.formats[s.Track] = s.Format
		c.take(s, 0)
		return nil
	}
	if e.lapsed && s.PTS == e.next {
		// Something was lost, and the ticks do not say how much: the arrival does.
		e.reset()
		c.fresh, c.lapsed = true, s.Track
	}
	e.lapsed = false
	hole, err := e.encode(&s, func(p drivers.Sample) { c.take(p, e.lookahead) })
	if hole {
		c.news(s.Track, 0, CausePackets)
	}
	return err
}

// take places a coded sample in its run and passes it on. c.mu is held.
func (c *channel) take(s drivers.Sample, lookahead int64) {
	switch {
	case c.run == nil:
		c.run = newRun(c.runs+1, c.desc, s.Arrival, c.before)
		for _, r := range c.early {
			if r != nil {
				c.run.reported(r)
			}
		}
	case c.fresh:
		c.flush()
		c.run = c.run.next(c.lapsed, s.Arrival)
	case c.run.broken(&s, lookahead):
		c.log.Warn("the source's clock stepped", "track", s.Track, "ticks", s.DTS, "before", c.run.tracks[s.Track].dts)
		c.flush()
		c.run = c.run.next(s.Track, s.Arrival)
	}
	c.fresh, c.lapsed, c.runs = false, -1, c.run.n
	c.run.observe(&s, lookahead)
	c.put(item{run: c.run, sample: s})
}

// put passes an item on and keeps what the next pre-roll may begin with. c.mu is held.
func (c *channel) put(it item) {
	c.ring.push(it)
	c.showAll(&it)
	now := it.sample.Arrival
	if c.sink == nil {
		c.ring.trim(now-c.o.Preroll, c.o.PrerollBytes)
		return
	}
	c.ring.last(c.o.PrerollBytes)
	settled := now-c.run.first >= settleTime
	if settled && len(c.pending) == 0 {
		c.give(&it)
		return
	}
	c.pending = append(c.pending, it)
	if settled {
		c.flush()
	}
}

// give hands one item to the sink. c.mu is held.
func (c *channel) give(it *item) {
	if c.told != it.run.desc {
		c.told = it.run.desc
		c.sink.Describe(c.id, *c.told)
	}
	s := it.sample
	if !it.isSample() {
		c.sink.Lost(c.id, s.Track, it.lost, it.cause)
		return
	}
	if it.run.tracks[0].seen {
		it.run.fix(0)
	}
	it.run.fix(s.Track)
	s.At, s.Run = it.run.at(s.Track, s.DTS), it.run.n
	c.sink.Sample(c.id, s)
}

// flush hands over what waited for its run to settle. c.mu is held.
func (c *channel) flush() {
	for i := range c.pending {
		c.give(&c.pending[i])
	}
	c.pending = nil
}

// news tells of a loss in the run under way. c.mu is held.
func (c *channel) news(track, n int, cause string) {
	if c.run == nil || c.paused || track < 0 || track >= len(c.run.tracks) {
		return
	}
	it := item{run: c.run, lost: n, cause: cause}
	it.sample.Track, it.sample.Arrival = track, c.o.Uptime()
	c.put(it)
}

func (c *channel) missed(track, n int, cause string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cause == "" {
		cause = CausePackets
	}
	c.health.lost += int64(n)
	if track >= 0 && track < len(c.encoders) && c.encoders[track] != nil {
		c.encoders[track].lapsed = true
	}
	c.news(track, n, cause)
}

func (c *channel) reported(r drivers.SenderReport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Track < 0 || r.Track >= len(c.early) {
		return
	}
	if !c.paused {
		c.reportAll(&r)
	}
	if c.run == nil {
		c.early[r.Track] = &r
		return
	}
	c.run.reported(&r)
}

// closed ends the connection under way.
func (c *channel) closed(cause string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run != nil {
		for i := range c.run.tracks {
			c.news(i, 0, cause)
		}
		c.flush()
		c.before = c.run.tracks
	}
	c.fresh, c.run, c.desc = true, nil, nil
	c.health.closed(c.o.Uptime())
}

func (c *channel) attach(s Sink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release()
	c.sink, c.told, c.paused = s, nil, false
	now := c.o.Uptime()
	c.ring.trim(now-c.o.Preroll, c.o.PrerollBytes)
	c.pending = slices.Clone(c.ring.all())
	if c.run == nil || now-c.run.first >= settleTime {
		c.flush()
	}
	c.ring.last(c.o.PrerollBytes)
}

func (c *channel) detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release()
	c.ring.clear()
}

// release hands over what is left and lets the mapping follow the source again. c.mu is held.
func (c *channel) release() {
	if c.sink == nil {
		return
	}
	c.flush()
	c.sink, c.told = nil, nil
	if c.run != nil {
		c.run.loosen()
	}
	for _, it := range c.ring.all() {
		it.run.loosen()
	}
}

func (c *channel) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release()
	c.ring.clear()
	c.paused, c.fresh = true, true
	c.pauseTaps()
	for _, e := range c.encoders {
		if e != nil {
			e.reset()
		}
	}
}

func (c *channel) earliest() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring.trim(c.o.Uptime()-c.o.Preroll, c.o.PrerollBytes)
	for _, it := range c.ring.all() {
		return it.run.at(it.sample.Track, it.sample.DTS), true
	}
	return 0, false
}
