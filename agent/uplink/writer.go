package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"minglu/agent/durable"
)

const (
	batch    = 256             // messages written with one sync, at most
	diskWait = 2 * time.Second // before a failed outbox is tried again
)

// writer owns the outbox file: it makes durable what Publish queued and notes what the office acknowledged.
type writer struct {
	*Uplink
	file    *outbox // nil: not opened yet
	broken  bool    // file must be rewritten before it is used
	pending []draft // taken from the queue, not durable
}

// write runs the writer until ctx ends and everything queued by then is durable, or the disk refuses it.
func (u *Uplink) write(ctx context.Context) {
	w := &writer{Uplink: u}
	defer close(u.drained)
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		var queue chan draft
		if len(w.pending) == 0 {
			queue = u.queue
		}
		select {
		case <-ctx.Done():
			w.end()
			return
		case d := <-queue:
			w.collect(d)
		case <-u.box.acks:
		case <-retry.C:
		}
		if err := w.work(); err != nil {
			u.fault(FaultOutbox, true)
			u.storm.warn("the outbox cannot be written, trying again", "err", err)
			retry.Reset(diskWait)
			continue
		}
		u.fault(FaultOutbox, false)
	}
}

// collect takes what is queued, up to a batch.
func (w *writer) collect(d draft) {
	w.pending = append(w.pending, d)
	for len(w.pending) < batch {
		select {
		case d := <-w.queue:
			w.pending = append(w.pending, d)
		default:
			return
		}
	}
}

// end refuses further messages and writes those that came before.
func (w *writer) end() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	for {
		select {
		case d := <-w.queue:
			w.collect(d)
			continue
		default:
		}
		break
	}
	if err := w.work(); err != nil {
		w.o.Log.Error("messages to the office are lost", "messages", len(w.pending), "err", err)
	}
	if w.file != nil {
		w.file.close()
	}
}

// work does what there is to do. After an error it may be called again.
func (w *writer) work() error {
	if err := w.ready(); err != nil {
		return err
	}
	if n := len(w.pending); n > 0 {
		if err := w.file.add(w.pending); err != nil {
			w.broken = true
			return err
		}
		w.box.publish(w.file, w.pending)
		w.pending = nil
		w.wake()
	}
	if upto := w.box.upTo(); upto > w.file.acked {
		return w.acknowledged(upto)
	}
	return nil
}

// ready opens the outbox or mends it.
func (w *writer) ready() error {
	if w.file == nil {
		dir := w.o.Outbox
		if err := errors.Join(w.files().MkdirAll(dir), w.files().Sweep()); err != nil {
			return err
		}
		o, lost, err := openOutbox(w.files(), dir, w.o.Device)
		if err != nil {
			return err
		}
		w.file = o
		if lost != "" {
			w.begunAnew(lost)
		}
		for _, e := range o.live {
			var answer struct{ Command string }
			if json.Unmarshal(e.Body, &answer) == nil && answer.Command != "" {
				w.seen.add(answer.Command)
			}
		}
		w.box.publish(o, nil)
		w.wake()
	}
	if w.broken {
		if err := w.file.rewrite(); err != nil {
			return err
		}
		w.broken = false
	}
	return nil
}

func (w *writer) acknowledged(upto int64) (err error) {
	if upto >= w.file.next {
		// The office has numbers this outbox never gave out: the state folder is an old copy.
		w.begunAnew("the office knows more messages than this outbox")
		w.file.renew()
		err = w.file.rewrite()
	} else {
		err = w.file.ack(upto)
	}
	w.broken = w.broken || err != nil
	w.box.publish(w.file, nil)
	w.wake()
	return err
}

// begunAnew says so until the agent starts again: somebody should compare what the office has.
func (w *writer) begunAnew(why string) {
	w.fault(FaultLost, true)
	w.o.Log.Error("another outbox is begun", "why", why)
}

func (w *writer) files() durable.Files {
	return durable.Files{Layer: w.o.Layer, Tmp: w.o.Outbox, Perm: 0o600} // messages name people
}
