package uplink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/goleak"

	"minglu/agent/clock"
	"minglu/agent/report"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(childEnv); url != "" {
		beRoom(url, os.Getenv(childEnv+"_DIR"))
		return
	}
	goleak.VerifyTestMain(m)
}

const device = "room-1"

// world is a room's uplink, a broker and an office, inside a synctest bubble: hours take no time.
type world struct {
	t     *testing.T
	dir   string
	opts  Options
	log   *lockedBuffer
	began time.Time

	u    *Uplink
	stop context.CancelCauseFunc
	done chan error

	mu     sync.Mutex // guards what follows
	broker *mochi.Server
	conns  []*end // the broker's ends
	dials  int
	server func(c *end) // instead of the broker, if set
	office office
	faults map[string]bool
	state  string
	cmds   []report.Command
	answer Answer
	clock  clock.Reading // Error and offset of T
}

// office stores numbered messages as an office does, and everything else that came.
type office struct {
	numbers map[string][]int64 // by outbox, first arrivals
	bodies  map[string]string  // by outbox and number
	twice   int
	ahead   int
	wrong   []string
	seen    []string // kind and, for states, what they say; in order of arrival
	types   []string
	deaf    bool // does not acknowledge
	gone    bool // does not even store
	wills   int
}

func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: t.TempDir(), log: &lockedBuffer{}, began: time.Now(), faults: map[string]bool{}, state: "idle"}
		w.answer = Answer{Session: "s-cmd"}
		w.office.numbers, w.office.bodies = map[string][]int64{}, map[string]string{}
		w.opts = Options{
			Device: device, Outbox: w.dir, Layer: noSync{}, Username: device, Password: "hunter2", Dial: w.dial,
			State:  func() report.State { return report.State{Boot: "b0", State: w.roomState(), Room: "询问室三"} },
			Health: func() report.Health { return report.Health{T: w.now().T} },
			Compliance: func() report.Compliance {
				return report.Compliance{T: w.now().T, Profile: report.Profile{ID: "p", Version: "1"}}
			},
			Command: w.command, Now: w.now,
			Fault: func(code, ch string, on bool) { w.lock(func() { w.faults[code] = on }) },
			Log:   slog.New(slog.NewTextHandler(w.log, nil)),
		}
		f(w)
		w.end()
		w.down()
		synctest.Wait()
		if strings.Contains(w.log.String(), "hunter2") {
			t.Error("the password is in the log")
		}
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (w *world) lock(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) now() clock.Reading {
	w.mu.Lock()
	defer w.mu.Unlock()
	return clock.Reading{T: time.Now().UTC(), Error: w.clock.Error, Up: time.Hour + time.Since(w.began)}
}

func (w *world) roomState() (s string) { w.lock(func() { s = w.state }); return s }

func (w *world) command(_ context.Context, c report.Command) (a Answer) {
	w.lock(func() { w.cmds = append(w.cmds, c); a = w.answer })
	return a
}

// start begins an uplink on the same outbox.
func (w *world) start() {
	w.t.Helper()
	u, err := New(w.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(w.t.Context())
	w.u, w.stop, w.done = u, stop, make(chan error, 1)
	go func() { w.done <- u.Run(ctx) }()
}

var errEnd = errors.New("end of test")

// end stops the uplink in order; it must not take long.
func (w *world) end() {
	if w.u == nil {
		return
	}
	began := time.Now()
	w.stop(errEnd)
	if err := <-w.done; !errors.Is(err, errEnd) {
		w.t.Errorf("Run() = %v, want the cause", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		w.t.Errorf("Run took %v to end", took)
	}
	w.u = nil
}

// up starts a broker that knows nothing from before, with the office on it.
func (w *world) up() {
	s := mochi.New(&mochi.Options{InlineClient: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := errors.Join(s.AddHook(&brokerHook{w: w}, nil), s.Serve()); err != nil {
		w.t.Fatal(err)
	}
	if err := s.Subscribe("minglu/1/#", 1, func(_ *mochi.Client, _ packets.Subscription, pk packets.Packet) {
		if ack := w.arrive(pk.TopicName, pk.Payload, pk.FixedHeader.Retain); ack != nil {
			w.send(report.KindAck, ack)
		}
	}); err != nil {
		w.t.Fatal(err)
	}
	w.lock(func() { w.broker = s })
}

type brokerHook struct {
	mochi.HookBase
	w *world
}

func (h *brokerHook) Provides(b byte) bool {
	return b == mochi.OnWillSent || b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (h *brokerHook) OnConnectAuthenticate(_ *mochi.Client, pk packets.Packet) bool {
	return string(pk.Connect.Username) == device && string(pk.Connect.Password) == "hunter2"
}
func (h *brokerHook) OnACLCheck(*mochi.Client, string, bool) bool { return true }
func (h *brokerHook) OnWillSent(*mochi.Client, packets.Packet) {
	h.w.lock(func() { h.w.office.wills++ })
}

// down kills the broker and cuts all connections.
func (w *world) down() {
	w.mu.Lock()
	s := w.broker
	w.broker = nil
	w.mu.Unlock()
	w.cutAll()
	if s != nil {
		s.Close()
	}
}

func (w *world) cutAll() {
	w.mu.Lock()
	conns := w.conns
	w.conns = nil
	w.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

func (w *world) dial(context.Context) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials++
	a, b := pipe()
	switch {
	case w.server != nil:
		go w.server(b)
	case w.broker != nil:
		s := w.broker
		go s.EstablishConnection("pipe", b)
	default:
		return nil, errors.New("connection refused")
	}
	w.conns = append(w.conns, b)
	return a, nil
}

// send publishes to the room.
func (w *world) send(k report.Kind, b []byte) { w.sendTo(report.Topic(device, k), b, false) }

func (w *world) sendTo(topic string, b []byte, retain bool) {
	w.mu.Lock()
	s := w.broker
	w.mu.Unlock()
	if s != nil {
		if err := s.Publish(topic, b, retain, 1); err != nil {
			w.t.Error(err)
		}
	}
}

// arrive is what the office does with a message; it returns an ack to send.
func (w *world) arrive(topic string, b []byte, retained bool) []byte {
	_, k, err := report.ParseTopic(topic)
	if err != nil || !k.FromDevice() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	o := &w.office
	if !k.Numbered() {
		if string(b) != "{}" { // a test's own answer comes back
			o.seen = append(o.seen, w.describe(k, b))
		}
		return nil
	}
	m, err := report.ParseNumbered(b)
	if err != nil || m.Device != device {
		o.wrong = append(o.wrong, fmt.Sprint(m.Device, err))
		return nil
	}
	if o.gone {
		return nil
	}
	ns := o.numbers[m.Outbox]
	key := fmt.Sprint(m.Outbox, m.N)
	switch next := int64(len(ns)) + 1; {
	case m.N < next:
		o.twice++
		if o.bodies[key] != string(b) {
			o.wrong = append(o.wrong, fmt.Sprintf("message %d came with another content", m.N))
		}
	case m.N > next:
		o.ahead++ // an office that came late: it does not take what leaves a hole
	default:
		o.numbers[m.Outbox], o.bodies[key] = append(ns, m.N), string(b)
		o.types = append(o.types, m.Type)
	}
	if o.deaf {
		return nil
	}
	ack, _ := report.Marshal(report.Ack{Outbox: m.Outbox, UpTo: int64(len(o.numbers[m.Outbox]))})
	return ack
}

func (w *world) describe(k report.Kind, b []byte) string {
	var err error
	s := string(k)
	switch k {
	case report.KindState:
		var m report.State
		m, err = report.ParseState(b)
		s = fmt.Sprintf("state %t %d %s", m.Online, m.BdSeq, m.State)
	case report.KindHealth:
		_, err = report.ParseHealth(b)
	case report.KindTimestamp:
		var m report.Timestamp
		m, err = report.ParseTimestamp(b)
		s = "timestamp " + m.ID
	case report.KindCheckpoint:
		_, err = report.ParseCheckpoint(b)
	case report.KindCompliance:
		_, err = report.ParseCompliance(b)
	}
	if err != nil {
		w.office.wrong = append(w.office.wrong, err.Error())
	}
	return s
}

// say publishes messages number from to to, which tell so.
func (w *world) say(from, to int) {
	w.t.Helper()
	for i := from; i <= to; i++ {
		if err := w.u.Publish(report.SessionPaused, report.SessionEvent{Session: fmt.Sprintf("s-%d", i)}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// pass lets time pass and everything settle.
func (w *world) pass(d time.Duration) {
	time.Sleep(d) // inside the bubble: it takes no time
	synctest.Wait()
}

// check wants messages 1 to n at the office, complete and in order, and how many wait in the room.
func (w *world) check(n, waiting int) {
	w.t.Helper()
	st := w.u.Status()
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.office.numbers[st.OutboxID]
	if len(got) != n || n > 0 && got[n-1] != int64(n) || len(w.office.wrong) > 0 || w.office.ahead > 0 {
		w.t.Errorf("the office has %d messages, want %d; %d left holes; wrong: %q", len(got), n, w.office.ahead, w.office.wrong)
	}
	if st.Waiting != waiting {
		w.t.Errorf("%d messages wait, want %d", st.Waiting, waiting)
	}
}

func (w *world) checkFault(code string, on bool) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.faults[code] != on {
		w.t.Errorf("fault %s = %t, want %t", code, w.faults[code], on)
	}
}

// retained is what the broker keeps of the device, by kind.
func (w *world) retained() (kinds []string) {
	for topic, pk := range w.broker.Topics.Retained.GetAll() {
		if strings.HasPrefix(topic, "minglu/") {
			w.lock(func() {
				kinds = append(kinds, w.describe(report.Kind(topic[strings.LastIndex(topic, "/")+1:]), pk.Payload))
			})
		}
	}
	slices.Sort(kinds)
	return kinds
}

// news is what came since the last call beside numbered messages.
func (w *world) news() (list []string) {
	w.lock(func() { list, w.office.seen = w.office.seen, nil })
	return list
}

func (w *world) types() (list []string) {
	w.lock(func() { list = slices.Clone(w.office.types) })
	return list
}

func (w *world) wills() (n int) {
	w.lock(func() { n = w.office.wills })
	return n
}
