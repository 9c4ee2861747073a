package evidence

import (
	"encoding/hex"
	"fmt"
)

// walker goes through the covered lines once and builds the model that the media are held against.
type walker struct {
	c        *copyCheck
	byID     map[string]*channelCheck
	log      *signedLog
	recovery bool
	over     bool // the file is superseded: only its aside lines count

	n      int64 // line number
	off    int64 // its offset
	st     int64 // last line that says what time means: pause, resume, gap, clock, segment.open, segment.close
	up     int64
	src    string // source of the wall clock
	paused *Pause
	ended  bool             // close was read
	sealed bool             // seal was read
	extra  map[string]int64 // µs recovered per channel, of this recovery file
}

func newWalker(c *copyCheck) *walker {
	return &walker{c: c, byID: make(map[string]*channelCheck), src: c.open.Src}
}

// walk does steps V3, V5, V6 and V11 over all logs.
func (w *walker) walk() error {
	over := Superseded(w.c.logFiles())
	for i, l := range w.c.logs {
		w.log, w.recovery, w.over = l, i > 0, over[i]
		w.st, w.up = -1, -1
		w.extra = make(map[string]int64)
		w.sealed, w.ended = false, false
		if err := l.each(w.line); err != nil {
			return uncheckable("%w", err)
		}
		w.tail(l, w.c.ended || w.c.manifest != nil || w.recovery)
	}
	w.finishPause()
	if len(w.c.channels) == 0 {
		w.c.note("no channel has a signed segment")
	}
	return nil
}

// bad notes that the line read now is not what an honest device signs (V6).
func (w *walker) bad(ch, format string, args ...any) {
	n := w.n
	s := Span{Finding: FindingAltered, File: w.log.file, Line: &n, Offset: w.off,
		Cause: fmt.Sprintf("line %d: ", n) + fmt.Sprintf(format, args...), To: -1}
	if c := w.byID[ch]; c != nil {
		s.Channel, s.From, s.To = ch, c.last, c.last
		c.spans = append(c.spans, s)
		return
	}
	w.c.spans = append(w.c.spans, s)
}

func (w *walker) line(n, off int64, line Line) error {
	w.n, w.off = n, off
	if line.Type == "sign" {
		return decoded(w, line, func(s Sign) { w.log.signs[s.Size] = s.Root })
	}
	if line.Up < w.up {
		w.bad("", "uptime falls from %d to %d", w.up, line.Up)
	}
	if line.Seq != n {
		w.bad("", "seq %d is not the line number", line.Seq)
	}
	w.up = line.Up
	if w.sealed {
		w.bad("", "%q after the seal", line.Type)
	}
	if first := map[bool]string{false: "open", true: "recovery"}[w.recovery]; (n == 0) != (line.Type == first) {
		w.bad("", "%q in the place of line %d", line.Type, n)
		return nil
	}
	return w.known(line)
}

// known handles the line types that steps V6 to V11 need; others are only covered by the signature.
func (w *walker) known(line Line) error {
	if w.over && line.Type != "recovery" && line.Type != "aside" {
		return nil
	}
	switch line.Type {
	case "open":
		w.named(w.c.open.Token)
	case "recovery":
		return decoded(w, line, w.base)
	case "segment.open":
		return decoded(w, line, w.segmentOpen)
	case "fragment", "recovered":
		return decoded(w, line, w.fragment)
	case "segment.close":
		return decoded(w, line, w.segmentClose)
	case "gap":
		return decoded(w, line, w.gap)
	case "pause", "resume":
		return decoded(w, line, w.pause)
	case "clock":
		return decoded(w, line, w.clock)
	case "anchor":
		return decoded(w, line, func(a Anchor) { w.named(a.Token, a.Cosig) })
	case "aside":
		return decoded(w, line, func(a Aside) { w.c.aside = append(w.c.aside, a) })
	case "close":
		return decoded(w, line, w.close)
	case "seal":
		if !w.ended {
			w.bad("", "seal before close")
		}
		w.sealed = true
	}
	return nil
}

// decoded reads the line into a T and hands it on; a line of a known type with wrong fields is bad.
func decoded[T any](w *walker, line Line, f func(T)) error {
	var v T
	if err := line.Decode(&v); err != nil {
		w.bad("", "%v", err)
		return nil
	}
	f(v)
	return nil
}

// clock takes the clock's word; the first one tells at which media time the session was opened.
func (w *walker) clock(c Clock) {
	w.st, w.src = w.n, c.Src
	if w.n == 1 && !w.recovery {
		w.c.preroll = max(0, min(c.At, MaxInt))
	}
}

// named takes note of outside proofs that the line names.
func (w *walker) named(digests ...string) {
	for _, d := range digests {
		if d != "" {
			w.c.named = append(w.c.named, named{w.log, w.n, d})
		}
	}
}

// base does the first half of V11: a recovery file continues a state that the log before it signed.
func (w *walker) base(r Recovery) {
	w.src = r.Src
	for _, l := range w.c.logs {
		if l == w.log {
			break
		}
		if root, ok := l.signs[r.Size]; l.origin == r.Of && ok && root == r.Root {
			return
		}
	}
	w.bad("", "recovery of %s at size %d: no log here has that state", r.Of, r.Size)
}

func (w *walker) segmentOpen(o SegmentOpen) {
	w.st = w.n
	if w.recovery {
		w.bad(o.Ch, "segment.open in a recovery file")
		return
	}
	if !channelName.MatchString(o.Ch) {
		w.bad("", "channel id %q is not allowed", o.Ch)
		return
	}
	ch := w.byID[o.Ch]
	if ch == nil {
		ch = &channelCheck{c: w.c, id: o.Ch}
		w.byID[o.Ch] = ch
		w.c.channels = append(w.c.channels, ch)
	}
	switch want := int64(len(ch.segments)) + 1; {
	case o.Seg != want:
		w.bad(o.Ch, "segment %d follows segment %d", o.Seg, want-1)
		return
	case o.File != segmentFile(o.Ch, o.Seg):
		w.bad(o.Ch, "file %q is not the name of segment %d", o.File, o.Seg)
		return
	case o.InitLen < 16 || o.InitLen > MaxMoov || o.Reserve < 8 || o.Reserve > MaxReserve || o.Timescale < 1 || o.Timescale > 1<<32-1:
		w.bad(o.Ch, "init_len, reserve or timescale is out of range")
		return
	case w.ended: // segment.close may come after the next segment.open: its digests are read back from the disk first
		w.bad(o.Ch, "segment.open after close")
	}
	ch.segments = append(ch.segments, &segmentCheck{ch: ch, open: o, end: o.InitLen + o.Reserve})
	w.c.known[o.File] = true
}

func (w *walker) fragment(f Fragment) {
	ch := w.byID[f.Ch]
	if ch == nil || len(ch.segments) == 0 {
		w.bad("", "fragment of channel %q, which has no segment", f.Ch)
		return
	}
	s := ch.segments[len(ch.segments)-1]
	head, body, ok := digests(f.Head, f.Body)
	switch {
	case f.Seg != s.open.Seg || s.close != nil:
		w.bad(f.Ch, "fragment of segment %d, which is not open", f.Seg)
		return
	case f.N != ch.n:
		w.bad(f.Ch, "fragment number %d, want %d", f.N, ch.n)
	case f.Off != s.end || f.Len < 16 || f.Len > MaxFragment:
		w.bad(f.Ch, "fragment at %d+%d, want one at %d", f.Off, f.Len, s.end)
		return
	case !ok:
		w.bad(f.Ch, "digests are not 64 hex digits")
		return
	case f.From < 0 || f.To < f.From || f.To > MaxInt:
		w.bad(f.Ch, "fragment from %d to %d", f.From, f.To)
		return
	case f.St != w.st:
		w.bad(f.Ch, "st %d, want %d", f.St, w.st)
	case w.ended:
		w.bad(f.Ch, "fragment after close")
	case (f.Type == "recovered") != w.recovery:
		w.bad(f.Ch, "%q in %s", f.Type, w.log.file)
	}
	ch.n = f.N + 1
	s.end += f.Len
	finding := FindingIntact
	if w.recovery {
		finding = FindingRecovered
		w.extra[f.Ch] += f.To - f.From
		if w.extra[f.Ch] > w.c.open.AheadMS*1000+1000 { // 1 ms for the rounding of from and to
			finding = FindingForeign
		}
	}
	s.fragments = append(s.fragments, signedFragment{log: w.log, line: w.n, off: f.Off, len: f.Len, from: f.From, to: f.To,
		head: head, body: body, samples: f.Samples, t: f.T, te: f.TE, finding: finding})
	ch.last = max(ch.last, f.To)
	w.c.last = max(w.c.last, f.To)
}

func digests(head, body string) (h, b Hash, ok bool) {
	hb, err1 := hex.DecodeString(head)
	bb, err2 := hex.DecodeString(body)
	if err1 != nil || err2 != nil || len(hb) != len(h) || len(bb) != len(b) {
		return h, b, false
	}
	return Hash(hb), Hash(bb), true
}

func (w *walker) segmentClose(s SegmentClose) {
	w.st = w.n
	ch := w.byID[s.Ch]
	if ch == nil || s.Seg < 1 || s.Seg > int64(len(ch.segments)) {
		w.bad(s.Ch, "segment.close of segment %d, which was not opened", s.Seg)
		return
	}
	seg := ch.segments[s.Seg-1]
	switch {
	case seg.close != nil:
		w.bad(s.Ch, "segment %d is closed twice", s.Seg)
		return
	case s.Size != seg.end:
		w.bad(s.Ch, "segment %d is closed at %d bytes, its fragments end at %d", s.Seg, s.Size, seg.end)
	case w.ended:
		w.bad(s.Ch, "segment.close after close")
	}
	seg.close = &s
}

func (w *walker) gap(g Gap) {
	w.st = w.n
	ch := w.byID[g.Ch]
	if g.From > g.To || g.From < -MaxInt/2 {
		w.bad(g.Ch, "gap from %d to %d", g.From, g.To)
		return
	}
	n := w.n
	s := Span{Channel: g.Ch, From: g.From, To: g.To, Finding: FindingGap, Cause: g.Cause, File: w.log.file, Line: &n, Offset: w.off}
	if ch == nil { // lost before its first segment: still to be told
		w.c.spans = append(w.c.spans, s)
		return
	}
	ch.spans = append(ch.spans, s)
}

func (w *walker) pause(p Pause) {
	w.st = w.n
	if (p.Type == "pause") == (w.paused != nil) {
		w.bad("", "%s while the session is %s", p.Type, map[bool]string{true: "paused", false: "running"}[w.paused != nil])
		return
	}
	if p.Type == "pause" {
		w.paused = &p
		return
	}
	if p.At < w.paused.At {
		w.bad("", "resumed at %d, paused at %d", p.At, w.paused.At)
	}
	w.breakUntil(p.At)
}

func (w *walker) breakUntil(at int64) {
	n := w.paused.Seq
	w.c.breaks = append(w.c.breaks, Span{From: w.paused.At, To: max(at, w.paused.At), Finding: FindingBreak,
		Cause: w.paused.Reason, File: w.c.logs[0].file, Line: &n})
	w.paused = nil
}

func (w *walker) finishPause() {
	if w.paused == nil {
		return
	}
	at := w.c.last
	if w.c.closed != nil {
		at = w.c.closed.At
	}
	w.breakUntil(at)
}

func (w *walker) close(cl Close) {
	if w.ended {
		w.bad("", "closed twice")
		return
	}
	w.ended = true
	for id, n := range cl.Fragments {
		if ch := w.byID[id]; ch == nil && n != 0 || ch != nil && n != ch.n {
			w.bad(id, "close counts %d fragments of channel %q", n, id)
		}
	}
	for id, ch := range w.byID {
		if n, ok := cl.Fragments[id]; !ok && ch.n != 0 {
			w.bad(id, "close counts %d fragments of channel %q, there are %d", n, id, ch.n)
		}
	}
	w.c.closed = &cl
	w.c.last = max(w.c.last, min(cl.At, MaxInt))
	w.c.closedMark = Moment{T: cl.T, TE: cl.TE, Src: w.src}
}

// tail does step V3: what lies behind the deciding signature of a log.
func (w *walker) tail(l *signedLog, whole bool) {
	n, off, cause := l.beyond(whole)
	if cause == "" {
		if l.End < int64(len(l.data)) {
			w.c.note("%s: %d bytes behind the last signature are not signed", l.file, int64(len(l.data))-l.End)
		}
		return
	}
	w.c.damaged = true
	end := w.c.last
	for id, to := range l.claims() {
		end = max(end, to)
		ch := w.byID[id]
		if ch == nil {
			ch = &channelCheck{c: w.c, id: id}
			w.byID[id] = ch
			w.c.channels = append(w.c.channels, ch)
		}
		if to > ch.last {
			ch.spans = append(ch.spans, Span{Channel: id, From: ch.last, To: to, Finding: FindingAltered, Cause: cause, File: l.file, Line: &n, Offset: off})
		}
	}
	w.c.spans = append(w.c.spans, Span{From: w.c.last, To: end, Finding: FindingAltered, Cause: cause, File: l.file, Line: &n, Offset: off})
	w.c.last = end
}
