package live

import (
	"sync"
	"time"

	"minglu/drivers"
)

// frame is one access unit or sound packet as payloads of RTP; read-only, shared by all viewers.
type frame struct {
	video    bool
	key      bool
	ticks    int64         // of the decoding time, on the uptime's timeline: 90 kHz for pictures, 48 kHz for sound
	at       time.Duration // uptime of it
	payloads [][]byte
	bytes    int
}

// line maps the ticks of a track to the timeline of the uptime. Each run is anchored anew.
type line struct {
	run  int
	base int64
}

func (m *line) place(s *drivers.Sample, hz int) int64 {
	if m.run != s.Run {
		m.run, m.base = s.Run, ticks(s.At, hz)-s.DTS
	}
	return s.DTS + m.base
}

// ticks converts time to ticks without overflow.
func ticks(d time.Duration, hz int) int64 {
	return int64(d/time.Second)*int64(hz) + int64(d%time.Second)*int64(hz)/int64(time.Second)
}

// kind is what a channel delivers.
type kind struct {
	video *drivers.Format // nil: none
	sound *drivers.Format // Opus, nil: none
	other drivers.Codec   // sound that cannot be carried
}

// feed makes frames of one channel while somebody watches it. It is a Tap.
type feed struct {
	ch   string
	stop func() // of the tap; Live.mu guards it
	uses int    // viewers, and requests that ask what it delivers; Live.mu guards it

	known chan struct{} // closed once kind is set

	mu        sync.Mutex
	kind      kind
	described bool
	tracks    [2]int // of pictures and sound, -1: none
	lines     [2]line
	packing   *packing
	sets      [][]byte
	viewers   map[*viewer]want
	cache     []*frame // pictures since the last keyframe
	cached    int      // bytes
	reordered bool     // pictures come in another order than they are shown: keyframes only
}

// want is what a viewer takes from a feed.
type want struct{ video, sound bool }

func newFeed(ch string) *feed {
	return &feed{ch: ch, known: make(chan struct{}), viewers: map[*viewer]want{}}
}

// Describe takes what a source says of itself. Viewers that cannot be served with what it delivers now
// are ended: they come back and agree anew.
func (f *feed) Describe(_ string, d drivers.Description) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, again := f.kind, f.described
	f.kind, f.tracks, f.described = kind{}, [2]int{-1, -1}, true
	for i, t := range d.Formats {
		switch {
		case t.Codec.Video() && f.kind.video == nil:
			f.kind.video, f.tracks[0] = t, i
		case t.Codec == drivers.Opus && f.kind.sound == nil:
			f.kind.sound, f.tracks[1] = t, i
		case !t.Codec.Video():
			f.kind.other = t.Codec
		}
	}
	f.cache, f.cached = nil, 0
	if f.kind.video != nil {
		f.format(f.kind.video)
	}
	if !again {
		close(f.known)
		return
	}
	if codec(before.video) != codec(f.kind.video) || codec(before.sound) != codec(f.kind.sound) {
		for v := range f.viewers {
			v.end(errChanged)
		}
	}
}

func codec(f *drivers.Format) drivers.Codec {
	if f == nil {
		return ""
	}
	return f.Codec
}

// format takes over new parameter sets. f.mu is held.
func (f *feed) format(v *drivers.Format) {
	f.kind.video, f.packing, f.sets = v, &avcPacking, nil
	all := [][]byte{v.SPS, v.PPS}
	if v.Codec == drivers.H265 {
		f.packing, all = &hevcPacking, [][]byte{v.VPS, v.SPS, v.PPS}
	}
	for _, s := range all {
		if len(s) > 0 {
			f.sets = append(f.sets, s)
		}
	}
}

// Sample cuts one sample into packets and gives it to all viewers. It does not block.
func (f *feed) Sample(_ string, s drivers.Sample) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.described {
		return
	}
	switch s.Track {
	case f.tracks[0]:
		f.picture(&s)
	case f.tracks[1]:
		f.pass(&frame{ticks: f.lines[1].place(&s, s.Format.ClockHz), at: s.At, payloads: [][]byte{s.Data}, bytes: len(s.Data)})
	}
}

// picture is Sample for the lead track. f.mu is held.
func (f *feed) picture(s *drivers.Sample) {
	if s.Format != nil && s.Format != f.kind.video && s.Format.Codec == f.kind.video.Codec {
		f.format(s.Format)
	}
	fr := &frame{video: true, key: s.Keyframe, ticks: f.lines[0].place(s, f.kind.video.ClockHz), at: s.At, bytes: len(s.Data)}
	if !f.reordered && s.PTS != s.DTS {
		f.reordered, f.cache, f.cached = true, nil, 0
	}
	if f.reordered && !s.Keyframe {
		return // Chromium stops at the first B-frame; a picture now and then is better than a frozen one
	}
	var sets [][]byte
	if s.Keyframe {
		sets = f.sets
		f.cache, f.cached = f.cache[:0:0], 0
	}
	if fr.payloads = f.packing.payloads(s.Data, sets); len(fr.payloads) == 0 {
		return
	}
	if fr.key || len(f.cache) > 0 {
		f.cache = append(f.cache, fr)
		if f.cached += fr.bytes; f.cached > cacheBytes {
			f.cache, f.cached = nil, 0
		}
	}
	f.pass(fr)
}

func (f *feed) pass(fr *frame) {
	for v, w := range f.viewers {
		if fr.video && w.video || !fr.video && w.sound {
			v.push(fr)
		}
	}
}

// Lost needs no answer: a hole is seen, and ends at the next keyframe.
func (f *feed) Lost(string, int, int, string) {}

// SenderReport needs no answer: capture has placed the samples by it already.
func (f *feed) SenderReport(string, drivers.SenderReport) {}

// join gives v the pictures since the last keyframe and then what comes.
func (f *feed) join(v *viewer, w want) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.viewers[v] = w
	if w.video {
		v.begin(f.cache)
	}
}

func (f *feed) leave(v *viewer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.viewers, v)
}

func (f *feed) what() (k kind, reordered bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kind, f.reordered
}

// use gives the feed of a channel and begins to tap it if nobody does. Each use needs one unuse.
func (l *Live) use(ch string) *feed {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.feeds[ch]
	if f == nil {
		f = newFeed(ch)
		l.feeds[ch] = f
		f.stop = l.o.Tap(ch, f)
	}
	f.uses++
	return f
}

// unuse stops the tap with the last one. It may wait for one call of the tap, which never blocks.
func (l *Live) unuse(f *feed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.uses--; f.uses > 0 {
		return
	}
	delete(l.feeds, f.ch)
	f.stop()
}
