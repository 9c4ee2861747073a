package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"minglu/agent/report"
)

const (
	// snapshotGap is the least time between two messages of state, health or compliance.
	snapshotGap = 500 * time.Millisecond
	// complianceEvery counts health messages between two compliance messages without a change, and
	// between two subscriptions.
	complianceEvery = 30
	// maxBackoff is how often the time for the office's ack doubles.
	maxBackoff = 3
)

// snapshotKinds returns the kinds that are sent as they are now, never queued, in the order of a birth.
func snapshotKinds() []report.Kind {
	return []report.Kind{report.KindState, report.KindCompliance, report.KindHealth}
}

// flight is one packet the broker has not acknowledged yet.
type flight struct {
	token    mqtt.Token
	deadline time.Time
	snapshot int // place in snapshotKinds, -1: anything else
}

// snapshot is when one kind of snapshot was sent and is due.
type snapshot struct {
	last   time.Time
	every  time.Duration
	due    bool // something changed since
	flying bool
}

// session is the state of one connection. It is one goroutine's.
type session struct {
	*Uplink
	l         *link
	flights   []flight
	snapshots [3]snapshot

	subscribed time.Time
	outbox     string // sent is about this one
	sent       int64  // number up to which messages were sent over this connection
	acked      int64
	resendAt   time.Time // when the office should have acknowledged
	tries      int       // that it did not
}

// connection makes one connection and reports over it until it ends or ctx does. up says whether there was one.
func (u *Uplink) connection(ctx context.Context) (up bool, err error) {
	l, err := u.connect(ctx)
	if err != nil {
		return false, err
	}
	u.connects.Add(1)
	u.setConnected(true)
	u.storm.log.Info("reporting to the office")
	defer u.setConnected(false)
	s := &session{Uplink: u, l: l, subscribed: time.Now()}
	for i := range s.snapshots {
		s.snapshots[i] = snapshot{every: u.o.HealthEvery, due: true}
	}
	s.snapshots[1].every *= complianceEvery
	// Asked to stop while a packet does not leave: the network is not waited for longer than a goodbye takes.
	defer context.AfterFunc(ctx, func() { time.AfterFunc(2*grace, l.cut) })()
	if err = s.report(ctx); err == nil {
		s.goodbye()
		l.bye()
		return true, context.Cause(ctx)
	}
	if lost := l.drop(); lost != nil && errors.Is(err, errPublish) { // the cause, not its effect
		err = lost
	}
	return true, err
}

// report sends what is there to send until ctx ends (nil) or the connection has to.
func (s *session) report(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := s.landed(); err != nil {
			return err
		}
		s.sendSnapshots()
		s.sendNumbered()
		s.sendExchanged()
		if time.Since(s.subscribed) >= complianceEvery*s.o.HealthEvery {
			s.subscribeAgain()
		}
		timer.Reset(time.Until(s.next()))
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.l.lost:
			s.l.lost <- err // for drop
			if err == nil {
				err = errGone
			}
			return err
		case <-s.changed:
		case <-s.oldest():
		case <-timer.C:
			if len(s.flights) > 0 && !time.Now().Before(s.flights[0].deadline) {
				return errSilent
			}
		}
	}
}

// oldest ends with the oldest flight.
func (s *session) oldest() <-chan struct{} {
	if len(s.flights) == 0 {
		return nil
	}
	return s.flights[0].token.Done()
}

// landed forgets the flights the broker has acknowledged. That is the broker's word: messages stay in the outbox.
func (s *session) landed() error {
	for len(s.flights) > 0 {
		f := s.flights[0]
		select {
		case <-f.token.Done():
		default:
			return nil
		}
		if err := f.token.Error(); err != nil {
			return fmt.Errorf("%w: %w", errPublish, err)
		}
		if f.snapshot >= 0 {
			s.snapshots[f.snapshot].flying = false
		}
		s.flights = s.flights[1:]
	}
	return nil
}

// next is when something is to be done without an event.
func (s *session) next() time.Time {
	at := time.Now().Add(s.o.HealthEvery)
	soonest := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	for _, x := range s.snapshots {
		switch {
		case x.flying:
		case x.due:
			soonest(x.last.Add(snapshotGap))
		default:
			soonest(x.last.Add(x.every))
		}
	}
	if len(s.flights) > 0 {
		soonest(s.flights[0].deadline)
	}
	if s.sent > s.acked {
		soonest(s.resendAt)
	}
	return at
}

func (s *session) sendSnapshots() {
	for i, k := range snapshotKinds() {
		x := &s.snapshots[i]
		if s.touched[i].Swap(false) {
			x.due = true
		}
		age := time.Since(x.last)
		if x.flying || age < snapshotGap || !x.due && age < x.every {
			continue
		}
		x.last, x.due = time.Now(), false
		b, err := s.snapshot(k)
		if err != nil {
			s.storm.warn("a report breaks its limits and is not sent", "kind", k, "err", err)
			continue
		}
		if b == nil {
			continue
		}
		x.flying = true
		s.publish(k, k == report.KindState, b, i)
	}
}

// snapshot asks the owner for one message; nil while there is none yet.
func (s *session) snapshot(k report.Kind) ([]byte, error) {
	switch k {
	case report.KindState:
		m := s.o.State()
		m.Device, m.Online, m.BdSeq, m.Run = s.o.Device, true, s.bdseq.Load(), s.run
		if m.T.IsZero() {
			m.T = s.o.Now().T.UTC()
		}
		return report.Marshal(m)
	case report.KindCompliance:
		m := s.o.Compliance()
		if m.T.IsZero() { // an empty list would read as if nothing failed
			return nil, nil
		}
		m.Device = s.o.Device
		return report.Marshal(m)
	}
	m := s.o.Health()
	m.Device = s.o.Device
	return report.Marshal(m)
}

// sendNumbered keeps a window of messages on their way, in order, and begins again at the first that the
// office has not acknowledged when it takes too long.
func (s *session) sendNumbered() {
	id, acked, _ := s.box.after(0, 0)
	now := time.Now()
	switch {
	case id != s.outbox: // another outbox: all its numbers are new
		s.outbox, s.sent, s.acked, s.tries = id, acked, acked, 0
	case acked > s.acked:
		s.acked, s.tries = acked, 0
		s.sent = max(s.sent, acked)
		s.resendAt = now.Add(s.o.AckTimeout)
	case s.sent > s.acked && !now.Before(s.resendAt):
		s.sent = s.acked
		s.tries = min(s.tries+1, maxBackoff)
		s.subscribeAgain()
	}
	_, _, list := s.box.after(s.sent, s.o.Window-int(s.sent-s.acked))
	if len(list) == 0 {
		return
	}
	if s.sent == s.acked {
		s.resendAt = now.Add(s.o.AckTimeout << s.tries)
	}
	for _, e := range list {
		k, b := s.numbered(e)
		if s.highest.again(s.outbox, e.N) {
			s.resent.Add(1)
		}
		s.publish(k, false, b, -1)
		s.sent = e.N
	}
}

// numbered writes a message of the outbox. One that this version may not send, from before an update, is
// replaced by a word about it, so that the numbers stay whole.
func (s *session) numbered(e entry) (report.Kind, []byte) {
	m := report.Numbered{Device: s.o.Device, Outbox: s.outbox, N: e.N, T: e.T, Type: e.Type, Body: e.Body}
	k, _ := report.KindOf(e.Type)
	b, err := report.Marshal(m)
	if err == nil {
		return k, b
	}
	s.storm.warn("a stored message breaks its limits and is not sent", "n", e.N, "err", err)
	m.Type, m.T = "alarm.unreadable", s.o.Now().T.UTC()
	m.Body, _ = json.Marshal(map[string]string{"type": e.Type})
	if b, err = report.Marshal(m); err != nil {
		panic("BUG: uplink: " + err.Error())
	}
	return report.KindAlarm, b
}

// publish hands one message to the client. It blocks for writeWait at most, when the network does.
func (s *session) publish(k report.Kind, retained bool, b []byte, snapshot int) {
	t := s.l.client.Publish(report.Topic(s.o.Device, k), 1, retained, b)
	s.flights = append(s.flights, flight{t, time.Now().Add(s.o.Timeout), snapshot})
}

// subscribeAgain makes up for a broker that forgot the subscriptions: mochi-mqtt 2.7.9 drops those of a new
// connection when it clears up an old one of the same client late.
func (s *session) subscribeAgain() {
	s.subscribed = time.Now()
	s.flights = append(s.flights, flight{s.subscribe(s.l), time.Now().Add(s.o.Timeout), -1})
}

// goodbye sends what became durable at the end, and that the room goes offline on purpose, within grace.
func (s *session) goodbye() {
	stop := time.AfterFunc(grace+flush, s.l.cut)
	defer stop.Stop()
	end := time.NewTimer(grace)
	defer end.Stop()
	select {
	case <-s.drained:
	case <-end.C:
		return
	}
	s.sendNumbered()
	b, err := report.Marshal(report.State{Device: s.o.Device, BdSeq: s.bdseq.Load(), Run: s.run, T: s.o.Now().T.UTC()})
	if err != nil {
		panic(fmt.Sprintf("BUG: uplink: %v", err))
	}
	s.publish(report.KindState, true, b, -1)
	for len(s.flights) > 0 {
		select {
		case <-s.oldest():
			if s.landed() != nil {
				return
			}
		case <-end.C:
			return
		}
	}
}
