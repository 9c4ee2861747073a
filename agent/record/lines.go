package record

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"minglu/agent/clock"
	"minglu/agent/evidence"
)

// append adds a line of record's own. A refusal means that the session cannot be proven any more: it
// is given up, for recovery to seal.
func (s *Session) append(v any) {
	if s.broken != nil {
		return
	}
	if _, _, err := s.log.Append(v); err != nil {
		s.break_(fmt.Sprintf("line %T", v), err)
	}
}

// note adds a line of somebody else's.
func (s *Session) note(v any) {
	switch v.(type) {
	case evidence.Open, evidence.SegmentOpen, evidence.Fragment, evidence.SegmentClose, evidence.Gap, evidence.Pause,
		evidence.Clock, evidence.Close, evidence.Seal, evidence.Sign:
		s.r.o.Log.Error("BUG: line refused: it is record's own", "session", s.id, "line", fmt.Sprintf("%T", v))
		return
	}
	if s.closing.ended {
		s.r.o.Log.Warn("line after the close left out", "session", s.id, "line", fmt.Sprintf("%T", v))
		return
	}
	if _, _, err := s.log.Append(v); err != nil {
		s.r.o.Log.Error("line refused", "session", s.id, "line", fmt.Sprintf("%T", v), "err", err)
	}
}

// noteLoss keeps the cause of the next hole.
func (s *Session) noteLoss(m *msg) {
	c := s.channel(m.ch)
	switch {
	case c == nil:
	case m.track >= 0 && m.track < len(c.tracks):
		c.tracks[m.track].cause = m.text
	default:
		c.cause = m.text
	}
}

// flush signs what is in the log and hands the batch to the disks, to be durable there as soon as they can.
func (s *Session) flush() { s.sign(false) }

// sign is flush; with lag the log bytes may go out with the next batch.
func (s *Session) sign(lag bool) {
	if s.broken != nil {
		return
	}
	if s.signed > 0 && s.log.Size() == s.signed+1 && len(s.batch.media) == 0 {
		if s.lagging {
			s.catchUp()
		}
		return
	}
	size, root, err := s.log.Sign()
	if err != nil {
		s.break_("signature", err)
		return
	}
	b := s.batch
	s.batch = new(batch)
	b.log, b.size, b.root = s.log.Take(), size, root
	b.bytes += int64(len(b.log))
	b.final = s.closing.ended
	b.lag = lag && s.r.o.OneBarrier && s.state == StateRecording && len(s.indexes) == 0
	s.lagging = b.lag
	s.signed, s.signedAt = size, s.r.o.Now().Up
	s.mu.Lock()
	s.status.Size = size
	s.mu.Unlock()
	for _, c := range s.order {
		b.span = max(b.span, c.pending)
		c.pending = 0
	}
	s.derive(b.log)
	for i := range b.media {
		b.media[i].buf.refs.Store(int32(len(s.targets)) + 1)
	}
	for _, t := range s.targets {
		if !s.do(t, s.batchOp(t, b)) {
			s.release(b)
		}
	}
	s.release(b)
	s.putIndexes()
}

// catchUp completes a log that lags and that nothing follows for now.
func (s *Session) catchUp() {
	s.lagging = false
	for _, t := range s.targets {
		s.do(t, op{do: func(*disk) error {
			done, err := t.catchUp()
			if done != nil {
				s.post(msg{kind: msgBatch, target: t, batch: done})
			}
			return err
		}})
	}
}

// batchOp writes a batch to one disk and lets it go.
func (s *Session) batchOp(t *target, b *batch) op {
	return op{
		bytes: b.bytes,
		do: func(d *disk) error {
			defer s.release(b)
			start := s.r.o.Now().Up
			done, err := t.write(b)
			if err != nil {
				return err
			}
			d.wrote(s.r.o.Now().Up - start)
			if done != nil {
				s.post(msg{kind: msgBatch, target: t, batch: done})
			}
			if !d.space(time.Second) {
				s.post(msg{kind: msgDiskFull, target: t})
			}
			return nil
		},
		drop: func() { s.release(b) },
	}
}

func (s *Session) release(b *batch) {
	for i := range b.media {
		s.r.bufs.release(b.media[i].buf)
	}
}

// do queues an op for a target. A disk that has no room left hangs.
func (s *Session) do(t *target, o op) bool {
	if t.failed.Load() {
		return false
	}
	o.target = t
	if t.d.put(o) {
		return true
	}
	t.d.fail("hung", fmt.Errorf("record: %s: %d bytes wait to be written: the disk is too slow", t.d.path, t.d.backlog()), t)
	return false
}

// derive follows the log for the manifest.
func (s *Session) derive(log []byte) {
	for len(log) > 0 && s.deriveErr == nil {
		line, rest, _ := bytes.Cut(log, []byte{'\n'})
		s.deriveErr = s.deriver.AddLine(line)
		log = rest
	}
}

// tick ends a cycle: every channel is cut, the log signed, the disks looked after.
func (s *Session) tick() {
	now := s.r.o.Now()
	for _, t := range s.targets {
		if !t.failed.Load() && t.d.hung(now.Up) {
			t.d.fail("hung", fmt.Errorf("record: %s: nothing was written for more than %s", t.d.path, s.r.o.HangAfter), t)
		}
	}
	if s.congested() {
		s.takeEvents()
	}
	if s.broken != nil {
		s.end(fmt.Errorf("record: session %s: %w", s.id, s.broken), StateFailed)
	}
	if s.over {
		return
	}
	if s.state == StateRecording && !s.congested() {
		s.checkClock(now)
		for _, c := range s.order {
			s.cutAll(c, false)
		}
		if s.log.Size() == s.signed+1 && now.Up-s.signedAt >= aliveEvery {
			s.tieClock(now)
		}
	}
	s.sign(true)
	s.beat(now.Up)
	s.tickSeal(now.Up)
	s.report(now.Up)
}

// clockDrift is by how much wall time and media time may part before the log ties them anew.
const clockDrift = 100 * time.Millisecond

// checkClock writes a clock line when the wall clock stepped, drifted off, or got another source.
func (s *Session) checkClock(now clock.Reading) {
	old := s.clock
	step := now.T.Sub(old.T) - (now.Up - old.Up)
	if now.Epoch == old.Epoch && now.Source == old.Source && step.Abs() < clockDrift {
		return
	}
	s.tieClock(now)
}

// aliveEvery is how often a session to which no channel delivers says that it records all the same:
// after a cut, the log alone tells what was lost before it from what was lost to it.
const aliveEvery = 10 * time.Second

// tieClock writes a clock line.
func (s *Session) tieClock(now clock.Reading) {
	step := now.T.Sub(s.clock.T) - (now.Up - s.clock.Up)
	s.clock = now
	s.append(evidence.Clock{Common: evidence.Common{Type: "clock"}, Epoch: now.Epoch, At: s.Media(now.Up), Step: step.Microseconds(), Src: now.Source})
}

// pause ends the media of all channels and declares a break.
func (s *Session) pause(m *msg) {
	if s.state != StateRecording {
		s.r.o.Log.Warn("pause while not recording", "session", s.id, "state", s.state)
		return
	}
	s.beginPaused(m.up)
	at := s.stopMedia(m.up)
	s.append(evidence.Pause{Common: evidence.Common{Type: "pause"}, At: at, Reason: m.text, Who: m.who})
	s.state = StatePaused
	s.flush()
	s.head.want = true
	s.report(m.up)
}

// beginPaused lets a session that is paused as soon as it opens, as the continuation of a paused one,
// begin with its break: nothing was due before it.
func (s *Session) beginPaused(up time.Duration) {
	at := s.Media(up)
	if at > lateGrace.Microseconds() || slices.ContainsFunc(s.order, func(c *channel) bool { return c.begun || c.started }) {
		return
	}
	for _, c := range s.order {
		c.declared, c.begun = max(at, 0), true
	}
}

// resume ends a break.
func (s *Session) resume(m *msg) {
	if s.state != StatePaused {
		s.r.o.Log.Warn("resume while not paused", "session", s.id, "state", s.state)
		return
	}
	at := s.Media(m.up)
	for _, c := range s.order {
		at = max(at, c.declared)
	}
	s.state = StateRecording
	s.checkClock(s.r.o.Now())
	s.append(evidence.Pause{Common: evidence.Common{Type: "resume"}, At: at, Reason: m.text, Who: m.who})
	for _, c := range s.order {
		if !c.begun {
			continue // it has still to come for the first time
		}
		c.declared, c.resumed = at, true
		c.needKey = c.needKey || len(c.tracks) > 0 && c.tracks[0].format.Codec.Video()
	}
	s.report(m.up)
}

// stopMedia writes out all media that is there, declares what is missing up to now, and returns the
// media time at which it all ends.
func (s *Session) stopMedia(up time.Duration) int64 {
	at := s.Media(up)
	for _, c := range s.order {
		for i := range c.tracks {
			c.tracks[i].finish()
			c.tracks[i].resume()
		}
		s.cutAll(c, true)
		at = max(at, c.declared)
	}
	for _, c := range s.order {
		cause := c.cause
		if len(c.tracks) > 0 && c.tracks[0].cause != "" {
			cause = c.tracks[0].cause
		}
		switch {
		case c.begun && at-c.declared <= lateGrace.Microseconds():
			continue
		case cause != "":
		case !c.begun:
			cause = causeNever
		default:
			cause = causeNoData
		}
		s.gap(c, c.declared, at, cause)
		c.declared, c.begun = at, true
	}
	return at
}

// report publishes the status.
func (s *Session) report(up time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.status
	st.Session, st.State, st.Media = s.id, s.state, up-s.zero
	st.Channels, st.Disks = st.Channels[:0], st.Disks[:0]
	for _, c := range s.order {
		st.Channels = append(st.Channels, c.status)
	}
	for _, t := range s.targets {
		if !t.failed.Load() {
			st.Disks = append(st.Disks, t.d.path)
		}
	}
	st.Unsynced = max(0, time.Duration(s.mediaTo-s.durableTo)*time.Microsecond)
}
