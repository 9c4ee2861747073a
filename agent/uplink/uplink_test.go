package uplink

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"minglu/agent/durable/durabletest"
	"minglu/agent/report"
)

func TestBrokerAwayForFiveMinutes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up()
		w.start()
		w.say(1, 10)
		w.pass(time.Second)
		w.check(10, 0)
		w.down()
		for i := range 50 {
			w.say(11+i, 11+i)
			w.pass(6 * time.Second)
		}
		w.check(10, 50)
		if st := w.u.Status(); st.Connected || st.OfflineFor < 4*time.Minute || st.LastError == "" {
			t.Errorf("status after five minutes: %+v", st)
		}
		w.up()
		w.pass(DefaultRetryMax + time.Second)
		w.check(60, 0)
		if st := w.u.Status(); !st.Settled() || st.OfflineFor != 0 || st.Acked != 60 || st.Connects != 2 {
			t.Errorf("status after: %+v", st)
		}
	})
}

func TestRestartGoesOnWithTheNextNumber(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up()
		w.lock(func() { w.office.gone = true })
		w.start()
		w.say(1, 40)
		w.pass(time.Second)
		id := w.u.Status().OutboxID
		w.say(41, 50) // right before the end: Run writes them
		w.end()
		w.pass(time.Second)
		w.lock(func() { w.office.gone = false })
		w.start()
		w.say(51, 55)
		w.pass(5 * time.Second)
		w.check(55, 0)
		if st := w.u.Status(); st.OutboxID != id {
			t.Errorf("outbox %s became %s", id, st.OutboxID)
		}
		w.end()
		w.pass(time.Second)
		w.start() // with nothing waiting, the numbers go on too
		w.say(56, 56)
		w.pass(time.Second)
		w.check(56, 0)
	})
}

func TestPublishAfterTheEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		u := w.u
		w.end()
		if err := u.Publish(report.SessionPaused, report.SessionEvent{Session: "s"}); !errors.Is(err, ErrClosed) {
			t.Errorf("Publish() = %v, want ErrClosed", err)
		}
	})
}

func TestOnlyTheOfficesAckCounts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up()
		w.lock(func() { w.office.deaf = true })
		w.start()
		w.say(1, 40)
		w.pass(5 * time.Minute) // the broker acknowledges everything, the office nothing
		w.check(DefaultWindow, 40)
		st := w.u.Status()
		if w.office.twice == 0 || st.Resent < int64(w.office.twice) || w.office.twice > 20*DefaultWindow || st.Connects != 1 {
			t.Errorf("sent again %d times (%d counted), %d connections", w.office.twice, st.Resent, st.Connects)
		}
		w.lock(func() { w.office.deaf = false })
		w.pass(8*DefaultAckTimeout + time.Second)
		w.check(40, 0)
		if up := w.u.Status().LastAck; up <= time.Hour {
			t.Errorf("last ack at %v", up)
		}
	})
}

func TestBirthAndDeath(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up()
		w.start()
		w.pass(100 * time.Millisecond)
		if got, want := w.news(), []string{"state true 1 idle", "compliance", "health"}; !slices.Equal(got, want) {
			t.Errorf("birth: %q, want %q", got, want)
		}
		w.cutAll()
		w.pass(50 * time.Millisecond)
		if got := w.retained(); !slices.Equal(got, []string{"state false 1 "}) || w.wills() != 1 {
			t.Errorf("after a cut the broker keeps %q, %d wills; want the Will of the first connection", got, w.wills())
		}
		w.pass(2 * time.Second)
		if want := []string{"state false 1 ", "state true 2 idle", "compliance", "health"}; !slices.Equal(w.news(), want) {
			t.Errorf("second birth is not %q", want)
		}
		w.pass(time.Minute)
		w.say(1, 1)
		w.end()
		if got := w.retained(); !slices.Equal(got, []string{"state false 2 "}) || w.wills() != 1 {
			t.Errorf("after an orderly end the broker keeps %q, %d wills", got, w.wills())
		}
		if n := len(w.types()); n != 1 {
			t.Errorf("%d of 1 messages published right before the end came over the connection that was there", n)
		}
	})
}

func TestSnapshotsAreTimelyAndFew(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up()
		w.start()
		w.pass(time.Second)
		count := func(list []string, kind string) (n int) {
			for _, s := range list {
				if strings.HasPrefix(s, kind) {
					n++
				}
			}
			return n
		}
		w.news()
		w.pass(10 * time.Minute)
		got := w.news()
		if h := count(got, "health"); h < 58 || h > 62 {
			t.Errorf("%d health messages in 10 minutes, want 60", h)
		}
		if s := count(got, "state"); s < 58 || s > 62 {
			t.Errorf("%d states in 10 minutes, want 60: a late Will may not stand for long", s)
		}
		if c := count(got, "compliance"); c != 2 {
			t.Errorf("%d compliance messages in 10 minutes without a change, want 2", c)
		}
		w.lock(func() { w.state = "recording" })
		w.u.Touch(report.KindState)
		w.pass(snapshotGap)
		if got := w.news(); !slices.Equal(got, []string{"state true 1 recording"}) {
			t.Errorf("a change brought %q", got)
		}
		for range 1000 {
			w.u.Touch(report.KindCompliance)
			w.pass(10 * time.Millisecond)
		}
		if c := count(w.news(), "compliance"); c < 19 || c > 21 {
			t.Errorf("%d compliance messages in 10 s of changes, want 2 a second", c)
		}
	})
}

func TestABrokerThatForgetsTheSubscriptions(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up()
		w.start()
		w.pass(time.Second)
		forget := func() {
			for _, k := range []report.Kind{report.KindAck, report.KindCommand} {
				w.broker.Topics.Unsubscribe(report.Topic(device, k), device)
			}
		}
		forget()
		w.say(1, 3)
		w.pass(time.Second)
		w.check(3, 3)
		w.pass(DefaultAckTimeout)
		w.check(3, 0)
		forget() // with nothing to acknowledge
		w.pass((complianceEvery + 1) * DefaultHealthEvery)
		w.say(4, 4)
		w.pass(time.Second)
		w.check(4, 0)
	})
}

func TestCommands(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		change func(w *world, c *report.Command)
		times  int
		runs   int
		types  []string
	}{
		{"a command is carried out and answered", nil, 1, 1, []string{"session.commanded"}},
		{"the same id is carried out and answered once", nil, 3, 1, []string{"session.commanded"}},
		{"the room may refuse", func(w *world, _ *report.Command) {
			w.answer = Answer{Code: "busy", Text: report.Text{Zh: "正在录制", En: "recording"}}
		}, 1, 1, []string{"command.refused"}},
		{"an expired one is refused", func(w *world, c *report.Command) { c.T = c.T.Add(-61 * time.Second) }, 1, 0, []string{"command.refused"}},
		{"the error of the clock counts for the command", func(w *world, c *report.Command) {
			c.T, w.clock.Error = c.T.Add(-61*time.Second), 2*time.Second
		}, 1, 1, []string{"session.commanded"}},
		{"one from the future is refused", func(w *world, c *report.Command) { c.T = c.T.Add(2 * time.Minute) }, 1, 0, []string{"command.refused"}},
		{"an unverified clock cannot judge age", func(w *world, c *report.Command) {
			c.T, w.clock.Error = c.T.Add(-time.Hour), -1
		}, 1, 1, []string{"session.commanded"}},
		{"a word this version does not know is refused", func(w *world, c *report.Command) { c.Do = "dance" }, 1, 0, []string{"command.refused"}},
	} {
		inWorld(t, func(w *world) {
			w.up()
			w.start()
			w.pass(time.Second)
			c := report.Command{ID: "c1", Do: report.DoMark, T: time.Now().UTC(), Who: "王某", Text: "一"}
			if tt.change != nil {
				w.lock(func() { tt.change(w, &c) })
			}
			b, err := report.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			for range tt.times {
				w.send(report.KindCommand, b)
			}
			w.pass(time.Second)
			if len(w.cmds) != tt.runs || !slices.Equal(w.types(), tt.types) {
				t.Errorf("%s: carried out %d times, answers %q; want %d, %q", tt.rule, len(w.cmds), w.types(), tt.runs, tt.types)
			}
			if st := w.u.Status(); st.Commands != 1 || st.Ignored != int64(tt.times-1) {
				t.Errorf("%s: %d commands, %d ignored", tt.rule, st.Commands, st.Ignored)
			}
		})
	}
}

func TestACommandIsNotRepeatedAfterARestart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up()
		w.lock(func() { w.office.deaf = true })
		w.start()
		w.pass(time.Second)
		b, _ := report.Marshal(report.Command{ID: "c1", Do: report.DoStart, T: time.Now().UTC(), Who: "王某"})
		w.send(report.KindCommand, b)
		w.pass(time.Second)
		w.end()
		w.pass(time.Second)
		w.start()
		w.pass(time.Second)
		w.send(report.KindCommand, b)
		w.pass(time.Second)
		if len(w.cmds) != 1 {
			t.Errorf("carried out %d times", len(w.cmds))
		}
	})
}

func TestWhatTheBrokerSendsIsNotTrusted(t *testing.T) {
	ack, _ := report.Marshal(report.Ack{Outbox: "0123456789abcdef", UpTo: 3})
	cmd, _ := report.Marshal(report.Command{ID: "c1", Do: report.DoStop, T: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), Who: "王某"})
	for _, tt := range []struct {
		rule     string
		topic    string
		payload  []byte
		retained bool
	}{
		{"a retained command may be old", report.Topic(device, report.KindCommand), cmd, true},
		{"malformed", report.Topic(device, report.KindCommand), []byte("{"), false},
		{"empty", report.Topic(device, report.KindAck), []byte{}, false},
		{"a later version", report.Topic(device, report.KindAck), []byte(`{"v":2}`), false},
		{"ack for another outbox", report.Topic(device, report.KindAck), ack, false},
		{"another device's topic", report.Topic("room-2", report.KindCommand), cmd, false},
		{"a topic not for devices", report.Topic(device, report.KindHealth), cmd, false},
		{"a topic of somebody else", "home/lamp", cmd, false},
		{"as long as a packet may be", report.Topic(device, report.KindCommand), make([]byte, report.MaxSize+1), false},
	} {
		inWorld(t, func(w *world) {
			w.up()
			w.start()
			w.say(1, 1)
			w.pass(time.Second)
			for range 1000 {
				w.u.receive(nil, message{tt.topic, tt.payload, tt.retained})
			}
			w.pass(time.Second)
			if st := w.u.Status(); st.Ignored != 1000 || len(w.cmds) != 0 || st.Connects != 1 {
				t.Errorf("%s: %+v, commands %v", tt.rule, st, w.cmds)
			}
			if n := strings.Count(w.log.String(), "ignored what"); n > 2 {
				t.Errorf("%s: logged %d times within a second", tt.rule, n)
			}
			w.check(1, 0)
		})
	}
}

// message is an mqtt.Message of a test.
type message struct {
	topic    string
	payload  []byte
	retained bool
}

func (m message) Duplicate() bool   { return false }
func (m message) Qos() byte         { return 1 }
func (m message) Retained() bool    { return m.retained }
func (m message) Topic() string     { return m.topic }
func (m message) MessageID() uint16 { return 1 }
func (m message) Payload() []byte   { return m.payload }
func (m message) Ack()              {}

func TestRetainedAndHugeOverTheWire(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up()
		cmd, _ := report.Marshal(report.Command{ID: "c1", Do: report.DoStop, T: time.Now().UTC(), Who: "王某"})
		w.sendTo(report.Topic(device, report.KindCommand), cmd, true)
		w.start()
		w.pass(time.Second)
		if st := w.u.Status(); len(w.cmds) != 0 || st.Ignored != 1 {
			t.Errorf("retained: %d carried out, %d ignored", len(w.cmds), st.Ignored)
		}
		w.sendTo(report.Topic(device, report.KindCommand), make([]byte, 10<<20), false)
		w.say(1, 3)
		w.pass(5 * time.Second)
		w.check(3, 0)
		if st := w.u.Status(); st.Connects != 2 || !strings.Contains(st.LastError, "a packet of") {
			t.Errorf("a huge packet: %+v; want another connection", st)
		}
	})
}

func TestCommandStorm(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts.Command = nil
		w.up()
		w.start()
		w.pass(time.Second)
		for i := range 200 {
			b, _ := report.Marshal(report.Command{ID: fmt.Sprint("c", i), Do: report.DoMark, T: time.Now().UTC(), Who: "王某"})
			w.send(report.KindCommand, b)
		}
		w.pass(time.Minute)
		if len(w.types()) != 200 || slices.Contains(w.types(), report.SessionCommanded) {
			t.Errorf("%d of 200 commands refused by a room that takes none", len(w.types()))
		}
	})
}

func TestABrokerThatNeverAnswers(t *testing.T) {
	inWorld(t, func(w *world) {
		w.server = func(*end) {} // accepts, and that is all
		w.start()
		w.say(1, 5)
		w.pass(10 * time.Minute)
		if w.dials < 10 || w.dials > 40 {
			t.Errorf("%d attempts in 10 minutes", w.dials)
		}
		w.check(0, 5)
		w.lock(func() { w.server = nil })
		w.up()
		w.pass(time.Minute)
		w.check(5, 0)
	})
}

func TestABrokerThatHangs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up()
		w.start()
		w.say(1, 3)
		w.pass(time.Second)
		w.conns[len(w.conns)-1].stall(true) // neither reads nor writes, the connection stays
		w.say(4, 10)
		w.pass(DefaultTimeout + writeWait + unwind)
		w.check(10, 0)
		if st := w.u.Status(); st.Connects != 2 {
			t.Errorf("%d connections, want another one", st.Connects)
		}
	})
}

func TestStopWhileTheBrokerHangs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up()
		w.start()
		w.pass(time.Second)
		w.conns[len(w.conns)-1].stall(true)
		w.say(1, 3)
		w.pass(time.Second)
		w.say(4, 5)
		w.end() // checks how long it takes
		w.start()
		w.pass(time.Minute)
		w.check(5, 0)
	})
}

func TestABrokerThatDoesNotAcknowledge(t *testing.T) {
	inWorld(t, func(w *world) {
		var mute atomic.Bool
		mute.Store(true)
		w.up()
		broker := w.broker
		w.server = func(c *end) { // a broker behind something that swallows PUBACK
			near, far := pipe()
			go broker.EstablishConnection("pipe", far)
			go func() {
				defer near.Close()
				copyPackets(near, c, func(first byte) bool { return true })
			}()
			copyPackets(c, near, func(first byte) bool { return !mute.Load() || first>>4 != puback })
			c.Close()
		}
		w.start()
		w.say(1, 3)
		w.pass(DefaultTimeout / 2)
		if st := w.u.Status(); st.Connects != 1 {
			t.Errorf("%d connections before the time is up", st.Connects)
		}
		w.pass(DefaultTimeout)
		if st := w.u.Status(); st.Connects < 2 || !strings.Contains(st.LastError, errSilent.Error()) {
			t.Errorf("%+v, want another connection", st)
		}
		mute.Store(false)
		w.pass(time.Minute)
		w.check(3, 0)
	})
}

// copyPackets passes on the packets that pass allows.
func copyPackets(to, from *end, pass func(first byte) bool) {
	for {
		var b [2]byte
		if _, err := from.Read(b[:1]); err != nil {
			return
		}
		p, n, shift := []byte{b[0]}, 0, 0
		for {
			if _, err := from.Read(b[1:]); err != nil {
				return
			}
			p = append(p, b[1])
			n |= int(b[1]&0x7f) << shift
			if shift += 7; b[1] < 0x80 {
				break
			}
		}
		body := make([]byte, n)
		for got := 0; got < n; {
			m, err := from.Read(body[got:])
			if err != nil {
				return
			}
			got += m
		}
		if pass(p[0]) {
			if _, err := to.Write(append(p, body...)); err != nil {
				return
			}
		}
	}
}

func TestFullOutboxRefuses(t *testing.T) {
	for _, limit := range []Options{{MaxMessages: 10}, {MaxBytes: 10 * (lineOverhead + len(`{"session":"s-1"}`))}} {
		inWorld(t, func(w *world) {
			w.opts.MaxMessages, w.opts.MaxBytes = limit.MaxMessages, limit.MaxBytes
			w.start()
			w.say(1, 9)
			w.pass(time.Second)
			w.checkFault(FaultFull, false)
			if err := w.u.Publish(report.SessionPaused, report.SessionEvent{Session: "s-x"}); err != nil {
				t.Errorf("the tenth: %v", err)
			}
			if err := w.u.Publish(report.SessionPaused, report.SessionEvent{Session: "s-y"}); !errors.Is(err, ErrFull) {
				t.Errorf("the eleventh: %v, want ErrFull", err)
			}
			w.pass(2 * time.Second)
			w.checkFault(FaultFull, true)
			if st := w.u.Status(); st.Refused != 1 || st.Waiting != 10 {
				t.Errorf("%+v", st)
			}
			w.up()
			w.pass(time.Minute)
			w.check(10, 0)
			w.checkFault(FaultFull, false)
			w.say(11, 12)
			w.pass(time.Second)
			w.check(12, 0)
		})
	}
}

func TestADiskThatFails(t *testing.T) {
	for _, verb := range []string{"", "create", "datasync", "rename", "sync", "syncdir"} { // "": all
		inWorld(t, func(w *world) {
			var bad atomic.Bool
			w.opts.Layer = &durabletest.Layer{Before: func(op durabletest.Op) error {
				if bad.Load() && (verb == "" || verb == op.Verb) {
					return errors.New("input/output error")
				}
				return nil
			}}
			bad.Store(true)
			w.up()
			w.start()
			w.say(1, 5)
			w.pass(time.Minute)
			if got := len(w.types()); verb != "datasync" && got > 0 {
				t.Errorf("%q: %d messages were sent before they were durable", verb, got)
			}
			w.checkFault(FaultOutbox, true)
			bad.Store(false)
			w.pass(5 * time.Second)
			w.checkFault(FaultOutbox, false)
			w.check(5, 0)
			bad.Store(true)
			w.say(6, 2000/2)
			w.pass(time.Minute)
			bad.Store(false)
			w.pass(2 * time.Minute)
			w.check(1000, 0)
		})
	}
}

func TestADiskThatHangsBlocksNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		hang := make(chan struct{})
		w.opts.Layer = &durabletest.Layer{Before: func(op durabletest.Op) error {
			if op.Verb == "datasync" {
				<-hang
			}
			return nil
		}}
		w.up()
		w.start()
		w.pass(time.Second)
		n := 0
		began := time.Now()
		for ; n < 3*maxQueue; n++ {
			if w.u.Publish(report.SessionPaused, report.SessionEvent{Session: "s"}) != nil {
				break
			}
			w.pass(0)
		}
		if n < maxQueue || n > maxQueue+batch || time.Since(began) > 0 {
			t.Errorf("%d messages taken in %v while the disk hangs", n, time.Since(began))
		}
		w.pass(2 * time.Second)
		w.checkFault(FaultFull, true)
		close(hang)
		w.pass(time.Minute)
		w.check(n, 0)
		w.checkFault(FaultFull, false)
	})
}

func TestAnOldCopyOfTheStateFolder(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up()
		w.start()
		w.say(1, 2)
		w.pass(time.Second)
		old := w.u.Status().OutboxID
		ack, _ := report.Marshal(report.Ack{Outbox: old, UpTo: 7}) // the office stored 7 before the folder was put back
		w.lock(func() { w.office.gone = true })
		w.say(3, 3)
		w.pass(time.Second)
		w.lock(func() { w.office.gone = false })
		w.send(report.KindAck, ack)
		w.pass(time.Second)
		if id := w.u.Status().OutboxID; id == old {
			t.Error("numbers the office knows already are used again")
		}
		w.check(1, 0) // what waited came under a new number
		w.checkFault(FaultLost, true)
		w.say(4, 4)
		w.pass(time.Second)
		w.check(2, 0)
	})
}

func TestMessagesOfBeforeAnUpdate(t *testing.T) {
	inWorld(t, func(w *world) {
		o := mustOpen(t, w.dir, noSync{})
		ds := append(drafts(1, 1), draft{time.Now(), report.SessionPaused, []byte(`{"session":"` + strings.Repeat("x", 999) + `"}`)}, draft{time.Now(), "nonsense", []byte(`{}`)})
		if err := o.add(append(ds, drafts(4, 4)...)); err != nil {
			t.Fatal(err)
		}
		o.close()
		w.up()
		w.start()
		w.pass(time.Second)
		w.check(4, 0)
		if want := []string{report.SessionPaused, "alarm.unreadable", "alarm.unreadable", report.SessionPaused}; !slices.Equal(w.types(), want) {
			t.Errorf("%q, want %q", w.types(), want)
		}
	})
}

func TestOptions(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, tt := range []struct {
			rule   string
			change func(o *Options)
			bad    bool
		}{
			{"mqtts", func(o *Options) { o.Dial, o.URL = nil, "mqtts://u:hunter2@office.example:8883" }, false},
			{"no other scheme", func(o *Options) { o.Dial, o.URL = nil, "http://u:hunter2@office.example" }, true},
			{"no URL", func(o *Options) { o.Dial, o.URL = nil, "mqtt://u:hunter2@[::1" }, true},
			{"no host", func(o *Options) { o.Dial, o.URL = nil, "mqtt://" }, true},
			{"a device is a part of topics", func(o *Options) { o.Device = "a/+" }, true},
			{"negative", func(o *Options) { o.Timeout = -1 }, true},
			{"no state", func(o *Options) { o.State = nil }, true},
		} {
			o := w.opts
			tt.change(&o)
			u, err := New(o)
			if (err != nil) != tt.bad || err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v", tt.rule, err)
			}
			if err == nil && u.o.Password != "hunter2" {
				t.Errorf("%s: the URL's password is not used", tt.rule)
			}
		}
		if _, err := New(w.opts); err != nil {
			t.Error(err)
		}
	})
}
