package record

import (
	"sync"
	"sync/atomic"

	"minglu/agent/evidence"
)

// buffer holds the bytes of one fragment until the last disk has written them.
type buffer struct {
	b    []byte
	refs atomic.Int32
}

// buffers are used again and again: a fragment's bytes are copied once, into one of these.
type buffers struct{ pool sync.Pool }

func (p *buffers) get() *buffer {
	if b, ok := p.pool.Get().(*buffer); ok {
		b.b = b.b[:0]
		return b
	}
	return new(buffer)
}

func (p *buffers) release(b *buffer) {
	if b.refs.Add(-1) == 0 {
		p.pool.Put(b)
	}
}

// write is one write to a media file: to its end, or as its first bytes.
type write struct {
	file   string
	create bool
	off    int64
	buf    *buffer
}

// batch is what one sign line covers: media, and the log bytes that end with the sign line. The same
// batch goes to each disk.
type batch struct {
	media []write
	log   []byte
	bytes int64
	lag   bool  // the log bytes may go out with the media of the next batch (Options.OneBarrier)
	span  int64 // µs: media of the channel that has most of it here

	size  int64 // lines signed
	root  evidence.Hash
	to    int64 // media time in µs at its end
	final bool  // its last line but one is the seal
}

func (b *batch) add(w write) {
	b.media = append(b.media, w)
	b.bytes += int64(len(w.buf.b))
}
