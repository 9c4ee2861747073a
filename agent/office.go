package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"minglu/agent/record"
	"minglu/agent/report"
	"minglu/agent/room"
	"minglu/agent/uplink"
	"minglu/agent/web"
)

// outboxFolder holds the messages that the office has not acknowledged.
const outboxFolder = "outbox"

// openUplink makes the way to the office, if the configuration names one.
func (a *agent) openUplink() (err error) {
	address := officeURL(a.cfg, a.id.Office)
	if address == "" {
		return nil
	}
	a.runID = randomHex(8)
	o := uplink.Options{
		URL: address, TLS: a.keeper.ClientTLS(), Device: a.cfg.Device.Name, Outbox: filepath.Join(a.cfg.State, outboxFolder),
		State: a.reportState, Health: a.reportHealth, Compliance: a.reportCompliance, Command: a.command,
		Fault: a.loop.Fault, Receive: a.fromOffice, Connected: a.officeConnected, Now: a.clock.Now, Layer: a.layer, Log: a.log,
	}
	if m := a.cfg.MQTT; m != nil && m.CA != "" {
		pem, err := os.ReadFile(m.CA)
		if err != nil {
			return fmt.Errorf("mqtt.ca: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("mqtt.ca: %s holds no PEM certificate", m.CA)
		}
		if o.TLS == nil {
			o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		// These roots and the name in the address count, instead of the office's own root.
		o.TLS.RootCAs, o.TLS.InsecureSkipVerify, o.TLS.VerifyConnection = roots, false, nil
	}
	a.uplink, err = uplink.New(o)
	return err
}

// tell queues a numbered message for the office; without an office it does nothing.
func (a *agent) tell(typ string, body report.NumberedBody) {
	if a.uplink == nil {
		return
	}
	if err := a.uplink.Publish(typ, body); err != nil {
		a.log.Error("report", "type", typ, "err", err)
	}
	a.uplink.Touch(report.KindState)
}

// telling keeps what is told of one session in order: nothing before its opening, which waits for the
// first signature on a disk.
type telling struct {
	mu   sync.Mutex
	open bool
	held []func()
}

// tellOf is tell for a session event. What comes before the opening is held back, and never told if
// the session never opens.
func (a *agent) tellOf(c *current, typ string, body report.SessionEvent) {
	c.told.mu.Lock()
	defer c.told.mu.Unlock()
	if typ != report.SessionOpened && !c.told.open {
		c.told.held = append(c.told.held, func() { a.tell(typ, body) })
		return
	}
	a.tell(typ, body)
	c.told.open = true
	for _, tell := range c.told.held {
		tell()
	}
	c.told.held = nil
}

func (a *agent) reportState() report.State {
	st, now := a.loop.State(), a.clock.Now()
	body := a.reportBody()
	r := report.State{Boot: a.boot, T: now.T, Room: a.cfg.Device.Room, Body: &body, State: shownState(st), Since: wall(now, st.Since), Version: buildVersion(), Run: a.runID, Lists: a.lists.Version()}
	if c := a.running(); c != nil {
		r.Session = c.id
		r.Body = a.sessionEvent(c).Body
	}
	for f, since := range a.loop.Faults() {
		r.Faults = append(r.Faults, report.ActiveFault{Code: f.Code, Ch: f.Ch, Since: since})
	}
	return r
}

func (a *agent) reportBody() report.Body {
	return report.Body{Name: a.cfg.Body.Name, USCC: a.cfg.Body.USCC, System: a.cfg.Body.System}
}

// sessionEvent is what the office is told of a session.
func (a *agent) sessionEvent(c *current) report.SessionEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	body := a.reportBody()
	if c.details.Body != nil {
		body = report.Body(*c.details.Body)
	}
	e := report.SessionEvent{Session: c.id, Trigger: string(c.by), Continues: c.continues, Body: &body, Case: c.details.Case, Matter: matterText(c.details.Matter), Flags: c.details.Flags}
	for _, o := range c.details.Officers {
		e.Officers = append(e.Officers, report.Officer{Name: o.Name, Credential: o.Credential})
	}
	for _, f := range c.failed {
		e.Failed = append(e.Failed, f.Code)
	}
	return e
}

// tellSealed reports the end of a session.
func (a *agent) tellSealed(c *current, s record.Sealed) {
	a.archiveSoon()
	e := a.sessionEvent(c)
	e.Trigger, e.Failed = "", nil
	e.Reason, e.MediaMS, e.Manifest, e.Copies = s.Reason, s.Media.Milliseconds(), s.Manifest, len(s.Disks)
	a.tellOf(c, report.SessionSealed, e)
}

// command carries out what the office asks for.
func (a *agent) command(ctx context.Context, c report.Command) uplink.Answer {
	var e room.Event
	switch c.Do {
	case report.DoStart:
		d := room.Details{Case: c.Case, Matter: c.Matter}
		if c.Body != nil {
			d.Body = room.Body(*c.Body)
		}
		for _, o := range c.Officers {
			d.Officers = append(d.Officers, room.Officer(o))
		}
		e = room.Start{By: room.ByMessage, Who: c.Who, Details: d}
	case report.DoStop:
		e = room.Stop{Reason: c.Reason, Who: c.Who}
	case report.DoMark:
		e = room.Mark{Text: c.Text, Who: c.Who}
	case report.DoPrompt:
		e = room.Prompt{Text: c.Text, Who: c.Who}
	default:
		return uplink.Answer{Code: "unknown", Text: report.Text{Zh: "不认识的命令 " + c.Do, En: "unknown command " + c.Do}}
	}
	actions, err := a.loop.Ask(ctx, e)
	if err == nil {
		err = refusal(actions)
	}
	answer := uplink.Answer{}
	if c := a.running(); c != nil {
		answer.Session = c.id
	}
	if err != nil {
		answer.Code, answer.Text = "failed", report.Text{Zh: "房间没有应答", En: "the room did not answer"}
		if w, ok := err.(*web.Error); ok {
			answer.Code, answer.Text = w.Code, report.Text{Zh: w.Zh, En: w.En}
		}
	}
	return answer
}

// onFault reports a fault that began or ended.
func (a *agent) onFault(f room.Fault, on bool, since time.Time) {
	typ := report.AlarmCleared
	if on {
		typ = report.AlarmRaised
	}
	a.tell(typ, report.AlarmOf(f.Code, f.Ch, since))
	if f.Code == "disk.none" { // it is what an idle room shows
		a.onMove()
	}
}

// onMove lets the office see what the room does now.
func (a *agent) onMove() {
	if a.uplink != nil {
		a.uplink.Touch(report.KindState)
	}
}
