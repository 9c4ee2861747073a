package notary

import (
	"context"
	"sync"
	"time"

	"minglu/agent/report"
)

// feed is what is known of how much of the ledger the office keeps.
type feed struct {
	mu    sync.Mutex // guards what follows
	have  int64
	sent  int64 // from which line on the last piece was
	fresh bool  // the office has told since something was sent
}

// told takes the office's word. piece says that it answers a piece of the ledger: one that brought nothing
// is not sent again before the next checkpoint's answer.
func (f *feed) told(have int64, piece bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fresh = !piece || have > f.sent
	f.have = have
}

func (f *feed) lines() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have
}

// take returns from which line on to send; only after the office has told.
func (f *feed) take() (from int64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ok, f.fresh = f.fresh, false
	f.sent = f.have
	return f.have, ok
}

// feedLines sends the office what it lacks of the ledger, one piece after the other, until ctx ends. A piece
// that is not answered is sent again once; then the next checkpoint's answer begins anew.
func (n *Notary) feedLines(ctx context.Context) {
	timer := time.NewTimer(chunkRetry)
	defer timer.Stop()
	tries := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wakeFeed:
			tries = 0
		case <-timer.C:
			if tries++; tries == 1 {
				n.feed.told(n.feed.lines(), false)
			}
		}
		from, ok := n.feed.take()
		if !ok || !n.isOnline() {
			continue
		}
		sent, err := n.sendLines(from)
		if err != nil {
			n.failed("ledger lines", err)
		}
		if sent {
			timer.Reset(chunkRetry)
		}
	}
}

func (n *Notary) sendLines(from int64) (sent bool, err error) {
	ck, err := n.o.Ledger.Checkpoint()
	if err != nil || from > ck.Size {
		return false, err
	}
	if err := n.o.Ledger.Published(ck.Size); err != nil {
		return false, err
	}
	lines, err := n.o.Ledger.ReadLines(from, int(min(chunkLines, ck.Size+1-from)), chunkBytes)
	if err != nil || len(lines) == 0 {
		return false, err
	}
	return true, n.o.Office(report.Ledger{Device: n.o.Device, T: n.o.Now().T, Origin: ck.Origin, From: from, Lines: lines})
}
