package uplink

import (
	"encoding/json"
	"sync"
	"time"

	"minglu/agent/report"
)

const (
	maxQueue     = 1024 // messages between Publish and the disk
	lineOverhead = 128  // what a line of the outbox has beside its body, about
)

// draft is a message that has no number yet.
type draft struct {
	t    time.Time
	typ  string
	body json.RawMessage
}

// newDraft checks a message as it will be sent, with the longest number.
func newDraft(o *Options, typ string, body report.NumberedBody) (draft, error) {
	b, err := report.MarshalBody(body)
	if err != nil {
		return draft{}, err
	}
	d := draft{o.Now().T.UTC().Truncate(time.Millisecond), typ, b}
	_, err = report.Marshal(report.Numbered{Device: o.Device, Outbox: "0000000000000000", N: 1<<53 - 1, T: d.t, Type: typ, Body: b})
	return d, err
}

func (d draft) cost() int { return len(d.body) + lineOverhead }

func bytesOf(live []entry) (n int) {
	for _, e := range live {
		n += len(e.Body) + lineOverhead
	}
	return n
}

// box is what all goroutines see of the outbox. The writer's [outbox] is its source.
type box struct {
	maxMessages, maxBytes int

	acks chan struct{} // the office acknowledged something; capacity 1

	mu          sync.Mutex // guards what follows
	queued      int        // messages not yet durable
	queuedBytes int
	full        bool // a message was refused, and there is no room again yet
	id          string
	live        []entry // durable, not acknowledged; never changed in place
	liveBytes   int
	acked       int64
	lastAck     time.Duration
	upto        int64 // acknowledged by the office, not yet noted by the writer
}

func newBox(o *Options) *box {
	return &box{maxMessages: o.MaxMessages, maxBytes: o.MaxBytes, acks: make(chan struct{}, 1)}
}

// reserve takes room for one message of so many bytes, if there is any.
func (b *box) reserve(bytes int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queued+len(b.live) >= b.maxMessages || b.queuedBytes+b.liveBytes+bytes > b.maxBytes {
		b.full = true
		return false
	}
	b.queued++
	b.queuedBytes += bytes
	return true
}

// refuse gives back what was reserved for a message that could not be queued.
func (b *box) refuse(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queued--
	b.queuedBytes -= bytes
	b.full = true
}

// publish shows what o holds now; written drafts are no longer queued.
func (b *box) publish(o *outbox, written []draft) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range written {
		b.queued--
		b.queuedBytes -= d.cost()
	}
	if b.id != o.id {
		b.upto = 0
	}
	b.id, b.live, b.liveBytes, b.acked = o.id, o.live, bytesOf(o.live), o.acked
}

// isFull reports whether messages are refused. It ends when a tenth of the room is free again.
func (b *box) isFull() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queued+len(b.live) <= b.maxMessages*9/10 && b.queuedBytes+b.liveBytes <= b.maxBytes*9/10 && b.queued < maxQueue/2 {
		b.full = false
	}
	return b.full
}

// after returns up to n messages with numbers after the given one, in the outbox id, and up to which
// number the office has acknowledged.
func (b *box) after(number int64, n int) (id string, acked int64, list []entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := 0
	if len(b.live) > 0 { // numbers have no holes
		i = int(min(max(0, number+1-b.live[0].N), int64(len(b.live))))
	}
	return b.id, b.acked, b.live[i:min(len(b.live), i+max(0, n))]
}

// acknowledge takes the office's word, and reports whether it was about this outbox.
func (b *box) acknowledge(a report.Ack, up time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.id == "" || a.Outbox != b.id {
		return false
	}
	if a.UpTo > max(b.acked, b.upto) {
		b.upto, b.lastAck = a.UpTo, up
		select {
		case b.acks <- struct{}{}:
		default:
		}
	}
	return true
}

// upTo is what the writer has to note.
func (b *box) upTo() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.upto
}

func (b *box) status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Status{
		OutboxID: b.id, Waiting: b.queued + len(b.live), Bytes: b.queuedBytes + b.liveBytes, Acked: b.acked, LastAck: b.lastAck,
	}
}
