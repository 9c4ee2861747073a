package rtsp

import (
	"errors"
	"time"

	"github.com/pion/rtp"

	"minglu/drivers"
)

// packet is one RTP packet of the right source, in order. A receiver may keep payload.
type packet struct {
	payload []byte
	ts      uint32
	marker  bool
	lost    bool          // packets are missing directly before this one
	arrival time.Duration // uptime
}

// track is what video and sound have in common: whose packets they are and when they play.
type track struct {
	se    *session
	index int
	first *drivers.Format // as described, before anything in-band; nil if not described
	clock int

	announced *uint32       // SSRC the camera said it would use (RFC 2326 12.39), nil: it said none
	setUp     time.Duration // when it said so
	latched   bool
	ssrc      uint32
	expect    uint16 // sequence number
	lastOwn   time.Duration
	foreign   int

	ticks

	report *report // newest sender report not yet given
}

type report struct {
	ssrc, rtp uint32
	sr        drivers.SenderReport
}

// accept tells whether p belongs to the stream, and how many packets before it are missing. The SSRC
// that was announced, else the first seen, is the stream's; others are remains of an older session
// (retina issue 17) and dropped, unless ours has fallen silent: then the camera has begun a new stream,
// which is an error. Many cameras announce an SSRC and use another: that is found out once.
func (t *track) accept(p *rtp.Packet, now time.Duration) (lost int, ok bool, err error) {
	if !t.latched {
		if a := t.announced; a != nil && *a != p.SSRC && !t.se.src.lies.Load() {
			if now-t.setUp < ssrcPatience {
				t.stranger()
				return 0, false, nil
			}
			t.se.src.lies.Store(true)
		}
		t.latched, t.ssrc, t.expect, t.lastOwn = true, p.SSRC, p.SequenceNumber+1, now
		return 0, true, nil
	}
	if p.SSRC != t.ssrc {
		t.stranger()
		if now-t.lastOwn >= ssrcPatience {
			return 0, false, errors.New("another SSRC took over")
		}
		return 0, false, nil
	}
	t.lastOwn = now
	ahead := int16(p.SequenceNumber - t.expect)
	switch {
	case ahead == 0:
	case ahead > 0:
		lost = int(ahead)
	case ahead > -64: // a repetition; inside TCP nothing is reordered
		return 0, false, nil
	default: // numbered anew: how many are missing cannot be known
		lost = 1
	}
	t.expect = p.SequenceNumber + 1
	return lost, true, nil
}

// stranger counts a packet of a foreign source.
func (t *track) stranger() {
	if t.foreign++; t.foreign == 1 {
		t.se.src.log.Warn("rtsp: packets of a foreign source are dropped", "track", t.index)
	}
}

// flushReport gives the newest sender report once its ticks can be related to those of samples.
func (t *track) flushReport() {
	r := t.report
	if r == nil || !t.known || !t.se.opened.Load() || t.se.dead {
		return
	}
	t.report = nil
	if r.ssrc != t.ssrc {
		return
	}
	r.sr.Track = t.index
	r.sr.PTS = t.now.unwrap(r.rtp)
	t.se.out.SenderReport(r.sr)
}
