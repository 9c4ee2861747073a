package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// hub looks at the room while somebody watches and gives each watcher the newest state. A watcher
// that does not keep up misses states in between, and delays nobody.
type hub struct {
	mu       sync.Mutex
	watchers map[chan []byte]bool // true: from loopback
	closed   bool
}

// join gives a channel of states as JSON, closed when the server stops; nil when there are too many
// watchers. Loopback has places of its own, so that the panel always gets one.
func (h *hub) join(loopback bool) chan []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, l := range h.watchers {
		if l == loopback {
			n++
		}
	}
	if h.closed || n >= MaxWatchers {
		return nil
	}
	if h.watchers == nil {
		h.watchers = map[chan []byte]bool{}
	}
	c := make(chan []byte, 1)
	h.watchers[c] = loopback
	return c
}

func (h *hub) leave(c chan []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, c)
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.watchers {
		close(c)
	}
	clear(h.watchers)
	h.closed = true
}

func (h *hub) run(ctx context.Context, state func() State) {
	tick := time.NewTicker(Frame)
	defer tick.Stop()
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
		b, err := json.Marshal(state())
		if err != nil {
			continue // State holds nothing that cannot be marshalled but a NaN, which the next look may not have
		}
		h.mu.Lock()
		for c := range h.watchers {
			select {
			case <-c: // the watcher has not taken the last one: this one is newer
			default:
			}
			c <- b
		}
		h.mu.Unlock()
	}
}

const (
	stillMay = 10 * time.Second // a stream's login is looked at this often
	silence  = 15 * time.Second // a comment is sent after so long, so that a dead client is noticed
)

// events is the stream of states (server-sent events, HTML Living Standard 9.2).
func (s *Server) events(w http.ResponseWriter, r *http.Request, u User) error {
	q := request(r, "state")
	c := s.watchers.join(q.Loopback)
	if c == nil {
		return &Error{http.StatusServiceUnavailable, "too-many", "查看实时状态的人过多。请关闭其他页面后重试。", "Too many pages watch the live state. Close some and try again."}
	}
	defer s.watchers.leave(c)
	out := stream(w)
	first, err := json.Marshal(s.snapshot())
	if err == nil {
		err = out("state", first)
	}
	may := time.NewTicker(stillMay)
	defer may.Stop()
	quiet := time.NewTicker(silence)
	defer quiet.Stop()
	for err == nil {
		select {
		case <-r.Context().Done():
			return nil
		case b, ok := <-c:
			if !ok {
				return nil
			}
			quiet.Reset(silence)
			err = out("state", b)
		case <-quiet.C:
			err = out("", nil)
		case <-may.C:
			if now, derr := s.o.Access.Enter(r.Context(), q); derr != nil || now.Name != u.Name {
				_ = out("logout", []byte("{}"))
				return nil
			}
		}
	}
	return nil // the client left
}

// stream starts an event stream and returns what sends one event: JSON without line breaks.
func stream(w http.ResponseWriter) func(event string, data []byte) error {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	c := http.NewResponseController(w)
	return func(event string, data []byte) error {
		var b bytes.Buffer
		if event == "" {
			b.WriteString(":\n\n")
		} else {
			fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", event, data)
		}
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
		return c.Flush()
	}
}
