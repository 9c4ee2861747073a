package rtsp

import (
	"errors"
	"fmt"
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

	latched bool
	ssrc    uint32
	next    uint16 // sequence number expected
	lastOwn time.Duration
	foreign int

	unwrapped bool
	lastTS    uint32
	lastPTS   int64

	report *report // newest sender report not yet given
}

type report struct {
	ssrc, rtp uint32
	sr        drivers.SenderReport
}

// accept tells whether p belongs to the stream, and how many packets before it are missing. The
// first SSRC seen is the stream's; others are remains of an older session (retina issue 17) and
// dropped, unless ours has fallen silent: then the camera has begun a new stream, which is an error.
func (t *track) accept(p *rtp.Packet, now time.Duration) (lost int, ok bool, err error) {
	if !t.latched {
		t.latched, t.ssrc, t.next, t.lastOwn = true, p.SSRC, p.SequenceNumber+1, now
		return 0, true, nil
	}
	if p.SSRC != t.ssrc {
		if t.foreign++; t.foreign == 1 {
			t.se.src.log.Warn("rtsp: packets of a foreign source are dropped", "track", t.index)
		}
		if now-t.lastOwn >= ssrcPatience {
			return 0, false, errors.New("another SSRC took over")
		}
		return 0, false, nil
	}
	t.lastOwn = now
	ahead := int16(p.SequenceNumber - t.next)
	switch {
	case ahead == 0:
	case ahead > 0:
		lost = int(ahead)
	case ahead > -64: // a repetition; inside TCP nothing is reordered
		return 0, false, nil
	default: // numbered anew: how many are missing cannot be known
		lost = 1
	}
	t.next = p.SequenceNumber + 1
	return lost, true, nil
}

// pts unwraps an RTP timestamp (RFC 3550 5.1) to 64 bits: it is taken to lie within half the range
// of the one before.
func (t *track) pts(ts uint32) int64 {
	if !t.unwrapped {
		t.unwrapped, t.lastTS, t.lastPTS = true, ts, int64(ts)
		return t.lastPTS
	}
	t.lastPTS += int64(int32(ts - t.lastTS))
	t.lastTS = ts
	return t.lastPTS
}

// flushReport gives the newest sender report once its ticks can be related to those of samples.
func (t *track) flushReport() {
	r := t.report
	if r == nil || !t.unwrapped || !t.se.opened.Load() || t.se.dead {
		return
	}
	t.report = nil
	if r.ssrc != t.ssrc {
		return
	}
	r.sr.Track = t.index
	r.sr.PTS = t.lastPTS + int64(int32(r.rtp-t.lastTS))
	t.se.out.SenderReport(r.sr)
}

// fallen checks that a timestamp is not far behind the newest: reordering spans a few frames, more
// is a camera whose clock was set back, and the connection must be anchored anew.
func (t *track) fallen(pts, newest int64) error {
	if newest-pts > int64(t.clock)*maxFallback {
		return fmt.Errorf("timestamps fell by %d ticks", newest-pts)
	}
	return nil
}
