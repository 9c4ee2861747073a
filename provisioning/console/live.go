package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"minglu/provisioning/fleet"
)

// update is one event of the stream: what changed since the last. Resync says that too much did, or
// that this watcher missed some: ask for the list anew.
type update struct {
	Counts  fleet.Counts `json:"counts"`
	Rooms   []fleet.Room `json:"rooms"`
	Resync  bool         `json:"resync"`
	Trouble string       `json:"trouble"`
}

// hub looks at the fleet while somebody watches. A watcher that does not keep up is told to resync,
// and delays nobody.
type hub struct {
	mu       sync.Mutex
	watchers map[*watcher]bool
	closed   bool
}

type watcher struct {
	c      chan []byte
	missed bool
}

func (h *hub) join() *watcher {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.watchers) >= MaxWatchers {
		return nil
	}
	if h.watchers == nil {
		h.watchers = map[*watcher]bool{}
	}
	w := &watcher{c: make(chan []byte, 4), missed: true} // the first event is a resync: nothing falls between list and stream
	h.watchers[w] = true
	return w
}

func (h *hub) leave(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		close(w.c)
	}
	clear(h.watchers)
	h.closed = true
}

func (h *hub) run(ctx context.Context, f Fleet) {
	tick := time.NewTicker(Frame)
	defer tick.Stop()
	var since int64
	var before fleet.Counts
	var trouble string
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		h.mu.Lock()
		n := len(h.watchers)
		h.mu.Unlock()
		if n == 0 {
			continue
		}
		u := update{Trouble: f.Trouble(), Counts: f.Counts()}
		var all bool
		u.Rooms, all, since = f.Changed(since)
		u.Resync = !all
		if u.Rooms == nil {
			u.Rooms = []fleet.Room{}
		}
		h.tell(u, len(u.Rooms) > 0 || !all || u.Counts != before || u.Trouble != trouble)
		before, trouble = u.Counts, u.Trouble
	}
}

func (h *hub) tell(u update, news bool) {
	b, err := json.Marshal(u)
	u.Rooms, u.Resync = []fleet.Room{}, true
	again, err2 := json.Marshal(u)
	if err != nil || err2 != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		what := b
		if w.missed {
			what = again
		} else if !news {
			continue
		}
		select {
		case w.c <- what:
			w.missed = false
		default:
			w.missed = true
		}
	}
}

const (
	stillMay = 10 * time.Second // a stream's login is looked at this often
	silence  = 15 * time.Second // a comment is sent after so long, so that a dead client is noticed
)

// stream is the stream of updates (server-sent events, HTML Living Standard 9.2).
func (c *Console) stream(w http.ResponseWriter, r *http.Request) error {
	me := c.live.join()
	if me == nil {
		return errTooMany
	}
	defer c.live.leave(me)
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	out := func(event string, data []byte) error {
		var b bytes.Buffer
		if event == "" {
			b.WriteString(":\n\n")
		} else {
			fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", event, data)
		}
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
		return rc.Flush()
	}
	may, quiet := time.NewTicker(stillMay), time.NewTicker(silence)
	defer may.Stop()
	defer quiet.Stop()
	err := out("", nil)
	for err == nil {
		select {
		case <-r.Context().Done():
			return nil
		case b, ok := <-me.c:
			if !ok {
				return nil
			}
			err = out("update", b)
		case <-quiet.C:
			err = out("", nil)
		case <-may.C:
			if _, ok := c.who(r, false); !ok {
				_ = out("logout", []byte("{}"))
				return nil
			}
		}
	}
	return nil // the client left
}
