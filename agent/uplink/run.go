package uplink

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Run reports until ctx ends; then it writes what is queued, says goodbye if it is connected, and
// returns the cause once all it started has ended: within seconds, if the disk answers. Call it once.
func (u *Uplink) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { u.write(ctx) })
	wg.Go(func() { u.obey(ctx) })
	wg.Go(func() { u.watch(ctx) })
	u.connections(ctx)
	wg.Wait()
	return context.Cause(ctx)
}

// connections makes one connection after the other until ctx ends.
func (u *Uplink) connections(ctx context.Context) {
	for wait := u.o.RetryMin; ; wait = min(2*wait, u.o.RetryMax) {
		began := time.Now()
		up, err := u.connection(ctx)
		if ctx.Err() != nil {
			return
		}
		u.mu.Lock()
		u.lastError = err.Error()
		u.mu.Unlock()
		if up && time.Since(began) > u.o.Timeout { // it worked for a while
			wait = u.o.RetryMin
		}
		args := []any{"err", err, "wait", wait}
		if hint := remedy(err); hint != "" {
			args = append(args, "do", hint)
		}
		u.storm.warn("no connection to the office, trying again", args...)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait/2 + rand.N(wait/2+1)): // a county's rooms do not all come back at once
		}
	}
}

// refusedDo also holds after the password was mended: the office cannot tell that from guessing.
const refusedDo = "take name and password for mqtt.url from minglu-provisioning device add; after several failures the office lets none in from here for up to 15 minutes"

// remedy tells whoever sets a room up what to do about err, where that is known. The client's errors
// wrap no cause, only its text.
func remedy(err error) string {
	for _, r := range [...]struct{ part, do string }{
		{"unknown authority", "put the certificate that vouches for the office into a file and name it in mqtt.ca"},
		{"certificate is valid for", "let mqtt.url name the office as its certificate does"},
		{"certificate is not valid for", "let mqtt.url name the office as its certificate does"},
		{"doesn't contain any IP SANs", "let mqtt.url name the office as its certificate does"},
		{"has expired or is not yet valid", "check this device's clock, then the office's certificate"},
		{"does not look like a TLS handshake", "the office does not speak TLS there: check the port of mqtt.url"},
		{packets.ErrorRefusedNotAuthorised.Error(), refusedDo},
		{packets.ErrorRefusedBadUsernameOrPassword.Error(), refusedDo},
		{"network Error : EOF", "if the office asks for TLS, write mqtts:// in mqtt.url"},
	} {
		if strings.Contains(err.Error(), r.part) {
			return r.do
		}
	}
	return ""
}

// watch raises and clears FaultFull, away from whoever calls Publish: a fault may end in a Publish.
func (u *Uplink) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		u.fault(FaultFull, u.box.isFull())
	}
}

func (u *Uplink) setConnected(on bool) {
	now := u.o.Now().Up
	u.mu.Lock()
	changed := u.connected != on
	if changed {
		u.connected, u.since = on, now
	}
	u.mu.Unlock()
	if changed {
		u.o.Connected(on)
	}
}

// storm logs at most one line a second of a kind of trouble, with how many there were.
type storm struct {
	log  *slog.Logger
	mu   sync.Mutex // guards what follows
	last map[string]time.Time
	more map[string]int
}

func (s *storm) warn(msg string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last, s.more = map[string]time.Time{}, map[string]int{}
	}
	if last, ok := s.last[msg]; ok && time.Since(last) < time.Second {
		s.more[msg]++
		return
	}
	if n := s.more[msg]; n > 0 {
		args = append(args, "more", n)
	}
	s.last[msg], s.more[msg] = time.Now(), 0
	s.log.Warn(msg, args...)
}

// high is the highest number sent so far, to count what is sent again.
type high struct {
	outbox string
	n      int64
}

// again reports whether a number was sent before, and remembers it.
func (h *high) again(outbox string, n int64) bool {
	if h.outbox == outbox && n <= h.n {
		return true
	}
	h.outbox, h.n = outbox, n
	return false
}

var errGone = errors.New("the broker closed the connection")
