package uplink

import (
	"context"
	"fmt"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"minglu/agent/report"
)

const (
	// CommandTimeout is how long one command may take.
	CommandTimeout = 10 * time.Second

	maxCommands = 16  // waiting
	maxSeen     = 256 // ids remembered
)

// receive takes one message of the broker. It runs on the client's own goroutine and never blocks.
func (u *Uplink) receive(_ mqtt.Client, m mqtt.Message) {
	if err := u.take(m.Topic(), m.Payload(), m.Retained()); err != nil {
		u.ignored.Add(1)
		u.storm.warn("ignored what the broker sent", "err", err)
	}
}

func (u *Uplink) take(topic string, payload []byte, retained bool) error {
	device, kind, err := report.ParseTopic(topic)
	switch {
	case err != nil:
		return err
	case device != u.o.Device:
		return fmt.Errorf("topic of device %q", device)
	case retained:
		return fmt.Errorf("a retained %s: it may be of any age", kind)
	case kind == report.KindAck:
		a, err := report.ParseAck(payload)
		if err != nil {
			return err
		}
		if !u.box.acknowledge(a, u.o.Now().Up) {
			return fmt.Errorf("ack for outbox %s, which is not this one", a.Outbox)
		}
		return nil
	case kind == report.KindCommand:
		c, err := report.ParseCommand(payload)
		if err != nil {
			return err
		}
		if !u.seen.add(c.ID) {
			return fmt.Errorf("command %s came before", c.ID)
		}
		select {
		case u.commands <- c:
		default:
			u.refuse(c, "busy", report.Text{Zh: "指令太多", En: "Too many commands at once"})
		}
		return nil
	case kind.ToDevice() && u.o.Receive != nil:
		u.o.Receive(kind, payload)
		return nil
	}
	return fmt.Errorf("a %s: not for a device", kind)
}

// obey carries out commands, one after the other.
func (u *Uplink) obey(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-u.commands:
			u.command(ctx, c)
		}
	}
}

func (u *Uplink) command(ctx context.Context, c report.Command) {
	now := u.o.Now()
	age := now.T.Sub(c.T)
	if limit := report.CommandLife + now.Error; now.Error >= 0 && (age > limit || age < -limit) {
		u.refuse(c, "expired", report.Text{Zh: "指令已过期，请重新下达", En: "The command has expired, give it again"})
		return
	}
	if c.Do != report.DoStart && c.Do != report.DoStop && c.Do != report.DoMark && c.Do != report.DoPrompt {
		u.refuse(c, "unknown", report.Text{Zh: "本机不认识此指令，请更新软件", En: "This room does not know the command, update its software"})
		return
	}
	ctx, cancel := context.WithTimeout(ctx, CommandTimeout)
	defer cancel()
	a := u.o.Command(ctx, c)
	if a.Code != "" {
		u.refuse(c, a.Code, a.Text)
		return
	}
	u.ncommands.Add(1)
	u.answer(report.SessionCommanded, report.SessionEvent{Session: a.Session, Command: c.ID, Do: c.Do, Who: c.Who})
}

func (u *Uplink) refuse(c report.Command, code string, why report.Text) {
	u.ncommands.Add(1)
	u.answer(report.CommandWasRefused, report.CommandRefused{Command: c.ID, Do: c.Do, Who: c.Who, Code: code, Zh: why.Zh, En: why.En})
}

func (u *Uplink) answer(typ string, body report.NumberedBody) {
	if err := u.Publish(typ, body); err != nil {
		u.o.Log.Error("a command stays without answer", "err", err)
	}
}

// dedup remembers the newest ids.
type dedup struct {
	mu   sync.Mutex // guards what follows
	ids  map[string]bool
	ring [maxSeen]string
	next int
}

// add reports whether an id is new.
func (d *dedup) add(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids == nil {
		d.ids = make(map[string]bool)
	}
	if d.ids[id] {
		return false
	}
	delete(d.ids, d.ring[d.next])
	d.ids[id], d.ring[d.next] = true, id
	d.next = (d.next + 1) % maxSeen
	return true
}
