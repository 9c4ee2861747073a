package capture

import (
	"errors"
	"slices"
	"time"

	"minglu/agent/fmp4"
	"minglu/drivers"
)

// rateWindow is over how long rates are taken.
const rateWindow = 2 * time.Second

// arrival is one sample that came.
type arrival struct {
	at    time.Duration
	bytes int
	lead  bool
}

// health is how a channel stands. The channel's mu guards it.
type health struct {
	connected  bool
	since      time.Duration
	openedAt   time.Duration
	lastLead   time.Duration // arrival of the newest sample of the lead track, -1 none yet
	leads      bool          // one came in this connection
	formats    []*drivers.Format
	recent     []arrival
	attempts   int
	connects   int64
	lost       int64
	problem    *drivers.Problem
	said       string // what was logged last
	seen       *drivers.Format
	seenWidth  int
	seenHeight int
}

func (h *health) opened(now time.Duration, formats []*drivers.Format) {
	h.connected, h.since, h.openedAt, h.leads = true, now, now, false
	h.formats = slices.Clone(formats)
	h.connects++
	h.recent = h.recent[:0]
}

func (h *health) arrived(s *drivers.Sample) {
	lead := s.Track == 0
	if lead {
		h.lastLead, h.leads = s.Arrival, true
		h.attempts, h.problem, h.said = 0, nil, ""
	}
	h.recent = append(h.recent, arrival{s.Arrival, len(s.Data), lead})
	h.forget(s.Arrival)
}

// forget drops arrivals that are older than the window.
func (h *health) forget(now time.Duration) {
	n := 0
	for n < len(h.recent) && h.recent[n].at <= now-rateWindow {
		n++
	}
	// Moving the rest each time would cost; half is often enough.
	if 2*n >= len(h.recent) {
		h.recent = h.recent[:copy(h.recent, h.recent[n:])]
	}
}

// rates returns lead samples and bits a second.
func (h *health) rates(now time.Duration) (fps float64, bits int64) {
	var first, last time.Duration
	n, bytes := 0, 0
	for _, a := range h.recent {
		if a.at <= now-rateWindow {
			continue
		}
		bytes += a.bytes
		if a.lead {
			if n == 0 {
				first = a.at
			}
			last = a.at
			n++
		}
	}
	if n > 1 && last > first {
		fps = float64(n-1) / (last - first).Seconds()
	}
	span := min(rateWindow, max(now-h.openedAt, rateWindow/4))
	return fps, int64(float64(8*bytes) / span.Seconds())
}

func (h *health) closed(now time.Duration) {
	if h.connected {
		h.connected, h.since = false, now
	}
	h.recent = h.recent[:0]
}

// silent reports whether a connection has delivered nothing of its lead track for too long.
func (c *channel) silent(now time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.openedAt
	if c.leads {
		last = max(last, c.lastLead)
	}
	return c.connected && now-last >= c.o.NoFrames
}

// delivered reports whether the connection that began then was a good one, and whether anything of the
// lead track came of it.
func (c *channel) delivered(began time.Duration) (good, some bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	some = c.leads && c.lastLead >= began
	return some && c.lastLead-began >= goodConnection, some
}

// fail notes why a connection ended, and logs what is new.
func (c *channel) fail(err error) {
	var p *drivers.Problem
	if !errors.As(err, &p) {
		p = &drivers.Problem{Code: "gone", Zh: "连接中断，正在重新连接；请检查设备的电源和网线", En: "the connection ended, connecting again; check power and cable of the device", Err: err}
	}
	c.mu.Lock()
	c.attempts++
	c.problem = p
	text := p.Error()
	repeated := c.said == text
	c.said = text
	c.mu.Unlock()
	if !repeated {
		c.log.Warn("source ended, connecting again", "code", p.Code, "err", err)
	}
}

func (c *channel) status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.o.Uptime()
	if c.sink == nil {
		c.ring.trim(now-c.o.Preroll, c.o.PrerollBytes)
	}
	s := Status{
		ID: c.id, State: Connecting, Connected: c.connected, Since: c.since, SampleAge: -1, Formats: slices.Clone(c.formats),
		Attempts: c.attempts, Reconnects: max(0, c.connects-1), Lost: c.lost, Problem: c.problem, Bytes: c.ring.bytes,
	}
	switch {
	case c.connected && c.leads:
		s.State = Live
	case c.connected:
		s.State = Waiting
	case c.attempts > 0:
		s.State = Failed
	}
	if c.lastLead >= 0 {
		s.SampleAge = max(0, now-c.lastLead)
	}
	if c.connected {
		s.FPS, s.BitsPerSec = c.rates(now)
	}
	if c.desc != nil {
		s.Identity, s.Shown = c.desc.Identity, c.desc.Shown
	}
	if items := c.ring.all(); len(items) > 0 {
		s.Preroll = items[len(items)-1].sample.Arrival - items[0].sample.Arrival
	}
	for _, f := range c.formats {
		t := fmp4.Track{Codec: fmp4.Codec(f.Codec), SPS: f.SPS, AudioConfig: f.AudioConfig}
		s.Codecs = append(s.Codecs, t.CodecString())
	}
	s.Width, s.Height = c.size()
	if c.connected && !c.paused {
		for _, e := range c.encoders {
			if e != nil {
				s.SourceHz = e.hz
			}
			if e != nil && now-e.measured < rateWindow {
				s.Level = e.level
			}
		}
	}
	return s
}

// size is the size of the picture; the SPS is read once.
func (c *channel) size() (w, h int) {
	if len(c.formats) == 0 || !c.formats[0].Codec.Video() {
		return 0, 0
	}
	if f := c.formats[0]; f != c.seen {
		c.seen, c.seenWidth, c.seenHeight = f, f.Width, f.Height
		if sps, err := fmp4.ParseSPS(fmp4.Codec(f.Codec), f.SPS); err == nil {
			c.seenWidth, c.seenHeight = sps.Width, sps.Height
		}
	}
	return c.seenWidth, c.seenHeight
}
