package record

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"minglu/agent/evidence"
)

// sealPatience is how long a sealed session waits for disks that are slower than the first.
const sealPatience = 4 * time.Second

// closing is how far the end of a session has come. The order is W3:
//
//  1. all media, signed
//  2. segment.close of each segment as its digests come back from a disk, signed; then its index
//  3. close, seal, sign
//  4. ledger head
//  5. manifest.json, manifest.json.p7s
//  6. the ledger's sealed line
type closing struct {
	asked   bool          // Close was called
	up      time.Duration // then
	at      int64         // media time at the end, µs
	reading int           // segments whose digests are still to come
	ended   bool          // close, seal, sign are in the log
	durable bool          // and durable on a disk
	puts    int           // disks that have the manifest
	putAt   time.Duration // uptime at which the first had it
	sealing bool          // the ledger was asked for its sealed line
	sealed  bool          // the ledger has it
}

// reading is a segment being read back from each disk; the first whole answer counts.
type reading struct {
	seg   *segment
	index []byte
	sum   digests
	have  bool
}

// pendingIndex is an index to be written once its segment.close line is durable.
type pendingIndex struct {
	seg   *segment
	index []byte
}

// heads keeps the device ledger informed: at open, every HeadEvery, at a pause, at the seal.
type heads struct {
	size int64 // newest signed state that is durable on a disk
	root evidence.Hash
	told int64 // size of the last head
	at   time.Duration
	busy bool
	want bool
}

// close ends the media and asks for the digests of all files.
func (s *Session) close(reason string, up time.Duration) {
	if s.closing.asked {
		return
	}
	s.closing.asked, s.closing.up = true, up
	if s.state == StatePaused {
		s.closing.at = s.Media(up)
		for _, c := range s.order {
			s.closing.at = max(s.closing.at, c.declared)
		}
	} else {
		s.closing.at = s.stopMedia(up)
		s.silentTracks()
	}
	s.state = StateSealing
	s.mu.Lock()
	s.result.Reason, s.result.Media = reason, time.Duration(s.closing.at)*time.Microsecond
	s.mu.Unlock()
	for _, c := range s.order {
		s.closeSegment(c)
	}
	s.report(up)
	s.endLog()
}

// silentTracks declares that a camera's sound ended long before its picture.
func (s *Session) silentTracks() {
	for _, c := range s.order {
		for i := 1; i < len(c.tracks); i++ {
			t, picture := &c.tracks[i], &c.tracks[0]
			from, to := t.micros(t.end), picture.micros(picture.end)
			if t.run != 0 && to-from > lateGrace.Microseconds() {
				s.gap(c, from, to, "sound: "+causeNoData)
			}
		}
	}
}

// readInBackground reads a segment back beside the disk's own work.
func (d *disk) readInBackground(t *target, r *reading) {
	d.bg.Go(func() {
		d.reads <- struct{}{}
		defer func() { <-d.reads }()
		if t.failed.Load() {
			return
		}
		sum, err := t.readBack(r.seg, r.index)
		d.read.end(r.seg)
		t.s.post(msg{kind: msgReadBack, target: t, read: r, sum: sum, err: err})
	})
}

// readBackDone takes the digests of a segment from the first disk that has it whole, and compares the
// others with it.
func (s *Session) readBackDone(m *msg) {
	r := m.read
	m.target.reading--
	if m.err != nil {
		m.target.d.fail(m.target.d.causeOf(m.err), m.err, m.target)
		return
	}
	if r.have {
		defer func() { s.tickSeal(s.r.o.Now().Up) }()
		if r.sum != m.sum {
			m.target.d.fail("differs", fmt.Errorf("record: %s: %w", r.seg.file, errDiffers), m.target)
		}
		return
	}
	r.have, r.sum = true, m.sum
	index := sha256.Sum256(r.index)
	s.append(evidence.SegmentClose{
		Common: evidence.Common{Type: "segment.close"}, Ch: r.seg.ch, Seg: r.seg.n, Size: r.seg.size,
		SHA256: m.sum.sha256, SM3: m.sum.sm3, Index: hex.EncodeToString(index[:]),
	})
	s.indexes = append(s.indexes, pendingIndex{seg: r.seg, index: r.index})
	s.closing.reading--
	s.endLog()
}

// putIndexes queues the indexes whose segment.close line was queued before.
func (s *Session) putIndexes() {
	for _, p := range s.indexes {
		for _, t := range s.targets {
			s.do(t, op{bytes: int64(len(p.index)), do: func(*disk) error { return t.putIndex(p.seg, p.index) }})
		}
	}
	s.indexes = s.indexes[:0]
}

// endLog writes the last lines once every segment is closed.
func (s *Session) endLog() {
	if !s.closing.asked || s.closing.ended || s.closing.reading > 0 {
		return
	}
	s.flush() // the segment.close lines, and after them the indexes
	fragments := make(map[string]int64, len(s.order))
	for _, c := range s.order {
		fragments[c.id] = c.n
	}
	s.append(evidence.Close{Common: evidence.Common{Type: "close"}, At: s.closing.at, Reason: s.result.Reason, Fragments: fragments})
	s.append(evidence.Seal{Common: evidence.Common{Type: "seal"}})
	s.closing.ended = true
	s.flush()
}

// batchDurable notes what a disk has.
func (s *Session) batchDurable(m *msg) {
	b := m.batch
	if b.size > s.head.size {
		s.head.size, s.head.root = b.size, b.root
		s.durableTo = max(s.durableTo, b.to)
		s.mu.Lock()
		s.status.Durable = b.size
		s.mu.Unlock()
	}
	if up := s.r.o.Now().Up; s.head.told == 0 && !s.head.busy && (s.head.at == 0 || up-s.head.at >= s.r.o.Retry) {
		s.tellLedger()
	}
	if b.final && !s.closing.durable {
		s.closing.durable = true
		s.tellLedger()
	}
}

// beat asks for a head when it is time.
func (s *Session) beat(up time.Duration) {
	if s.head.told > 0 && s.head.size > s.head.told && (s.head.want || up-s.head.at >= s.r.o.HeadEvery) && !s.closing.durable {
		s.tellLedger()
	}
}

// tellLedger asks for a head over the newest durable state, unless an answer is outstanding: then its
// arrival asks again.
func (s *Session) tellLedger() {
	if s.head.busy {
		s.head.want = true
		return
	}
	size, root := s.head.size, s.head.root
	s.head.busy, s.head.want, s.head.at = true, false, s.r.o.Now().Up
	s.r.background(func() {
		err := s.r.o.Ledger.Head(s.id, "log.jsonl", size, root)
		s.post(msg{kind: msgHead, size: size, err: err})
	})
}

// headDone goes on after the ledger answered. A ledger that cannot be written does not stop a
// recording, but without its head no manifest is made (W3): recovery finishes the seal.
func (s *Session) headDone(m *msg) {
	s.head.busy = false
	if m.err != nil {
		s.r.o.Log.Error("ledger head", "session", s.id, "err", m.err)
		if s.closing.durable && m.size == s.head.size {
			s.end(fmt.Errorf("record: session %s: ledger head: %w", s.id, m.err), StateFailed)
		} else if s.closing.durable {
			s.tellLedger()
		}
		return
	}
	if s.head.told == 0 {
		close(s.opened)
	}
	s.head.told = m.size
	switch {
	case s.closing.durable && m.size == s.head.size:
		s.makeManifest()
	case s.closing.durable || s.head.want:
		s.tellLedger()
	}
}

// makeManifest derives the manifest from the log and signs it, beside the session's own work.
func (s *Session) makeManifest() {
	certs := make([]evidence.FileDigest, len(s.certs))
	for i, c := range s.certs {
		sum := sha256.Sum256(c.data)
		certs[i] = evidence.FileDigest{File: c.name, SHA256: hex.EncodeToString(sum[:])}
	}
	s.r.background(func() {
		doc, p7s, err := s.signManifest(certs)
		var extras map[string][]byte
		if err == nil && s.extras != nil {
			extras, err = s.extras(doc)
		}
		s.post(msg{kind: msgManifest, doc: doc, extras: extras, p7s: p7s, err: err})
	})
}

// signManifest reads deriver, which the session's goroutine leaves alone once the log has ended.
func (s *Session) signManifest(certs []evidence.FileDigest) (doc, p7s []byte, err error) {
	if s.deriveErr != nil {
		return nil, nil, s.deriveErr
	}
	m, err := s.deriver.Manifest(certs)
	if err != nil {
		return nil, nil, err
	}
	if doc, err = m.Marshal(); err != nil {
		return nil, nil, err
	}
	p7s, err = evidence.SignManifest(doc, s.chain, s.key, time.UnixMicro(m.Closed.T).UTC())
	return doc, p7s, err
}

// manifestMade hands the manifest to the disks.
func (s *Session) manifestMade(m *msg) {
	if m.err != nil {
		s.end(fmt.Errorf("record: session %s: manifest: %w", s.id, m.err), StateFailed)
		return
	}
	sum, sig := sha256.Sum256(m.doc), sha256.Sum256(m.p7s)
	s.mu.Lock()
	s.result.Manifest = hex.EncodeToString(sum[:])
	s.mu.Unlock()
	s.p7sSum = hex.EncodeToString(sig[:])
	for _, t := range s.targets {
		doc, extras, p7s := m.doc, m.extras, m.p7s
		s.do(t, op{bytes: int64(len(doc) + len(p7s)), do: func(*disk) error {
			if err := t.putManifest(doc, extras, p7s); err != nil {
				return err
			}
			s.post(msg{kind: msgPut, target: t})
			return nil
		}})
	}
}

// manifestDurable tells the ledger as soon as the first disk has the manifest.
func (s *Session) manifestDurable(t *target) {
	s.closing.puts++
	s.mu.Lock()
	s.result.Disks = append(s.result.Disks, t.d.path)
	s.mu.Unlock()
	if !s.closing.sealing {
		s.closing.sealing, s.closing.putAt = true, s.r.o.Now().Up
		manifest, p7s := s.result.Manifest, s.p7sSum
		s.r.background(func() {
			s.post(msg{kind: msgSealed, err: s.r.o.Ledger.Sealed(s.id, manifest, p7s)})
		})
	}
	s.tickSeal(s.r.o.Now().Up)
}

func (s *Session) ledgerSealed(err error) {
	if err != nil {
		s.end(fmt.Errorf("record: session %s: ledger sealed: %w", s.id, err), StateFailed)
		return
	}
	s.closing.sealed = true
	up := s.r.o.Now().Up
	s.mu.Lock()
	s.result.Took = up - s.closing.up
	s.mu.Unlock()
	s.tickSeal(up)
}

// tickSeal ends the session once it is sealed on each disk, or on one and the others are too slow.
// Those get their manifest all the same, when their turn comes.
func (s *Session) tickSeal(up time.Duration) {
	if s.over || !s.closing.sealed {
		return
	}
	live, reading := 0, 0
	for _, t := range s.targets {
		switch {
		case !t.failed.Load():
			live++
			reading += t.reading
		case !t.told: // diskFailed is about to be
			return
		}
	}
	if s.closing.puts >= live && reading == 0 || up-s.closing.putAt > sealPatience {
		s.end(nil, StateSealed)
	}
}

// diskFailed tells the log and the world that a disk is lost to this session, and gives up after the last.
func (s *Session) diskFailed(m *msg) {
	m.target.told = true
	s.mu.Lock()
	s.result.Failed = append(s.result.Failed, m.event)
	s.result.Disks = slices.DeleteFunc(s.result.Disks, func(d string) bool { return d == m.event.Disk }) // it had the manifest
	s.closing.puts = len(s.result.Disks)
	s.mu.Unlock()
	live := 0
	for _, t := range s.targets {
		if !t.failed.Load() {
			live++
		}
	}
	if live == 0 {
		s.end(fmt.Errorf("record: session %s: the last disk failed: %w", s.id, m.event.Err), StateFailed)
		return
	}
	if !s.closing.ended {
		s.append(evidence.Event{Common: evidence.Common{Type: "fault"}, At: s.Media(s.r.o.Now().Up), Code: m.event.Code(), Ch: m.target.d.diskID(), Text: m.event.Cause})
	}
	s.tickSeal(s.r.o.Now().Up)
	s.report(s.r.o.Now().Up)
}

// diskFull gives up a disk at its floor while another has room, and ends the session when none has: so
// that the disks can hold its seal.
func (s *Session) diskFull(t *target) {
	if s.closing.asked || t.failed.Load() {
		return
	}
	for _, o := range s.targets {
		if o != t && !o.failed.Load() && o.d.space(time.Hour) {
			t.d.fail("full", fmt.Errorf("record: %s: %w", t.d.path, errFull), t)
			return
		}
	}
	s.r.o.Log.Error("no disk has room left: the session ends", "session", s.id)
	s.close("disk-full", s.r.o.Now().Up)
}

// end lets run return. What is not sealed then is left to recovery.
func (s *Session) end(err error, state string) {
	if s.over {
		return
	}
	s.state = state
	s.report(s.r.o.Now().Up)
	s.mu.Lock()
	s.over = true
	s.result.Err = err
	s.inbox, s.held = nil, 0
	s.mu.Unlock()
	if state == StateFailed {
		close(s.failed)
		if err != nil {
			s.r.o.Log.Error("session not sealed", "session", s.id, "err", err)
		}
	}
	for _, t := range s.targets {
		t.d.put(op{target: t, do: func(*disk) error { t.close(); return nil }, drop: t.close})
	}
	close(s.done)
}
