package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"

	"minglu/agent/clock"
	"minglu/agent/evidence"
	"minglu/agent/identity"
	"minglu/agent/ledger"
	"minglu/agent/notary"
	"minglu/agent/record"
	"minglu/agent/report"
	"minglu/agent/room"
	"minglu/agent/web"
	"minglu/drivers"
)

// do carries out one action of the room. It runs on the room's own goroutine and waits for no device
// and no disk: the recorder queues, the lamp and the speaker have goroutines of their own.
func (a *agent) do(x room.Action) {
	c := a.running()
	switch x := x.(type) {
	case room.Lamp:
		latest(a.lampWish, lampWish{drivers.LampState(x.State), a.loop.State().Started})
	case room.Open:
		a.startSession(x)
	case room.Announce:
		a.announce(x.Sound)
	case room.Precheck:
		if c != nil {
			c.setFailed(a.precheck(c))
			done := true
			a.mu.Lock()
			a.records.precheck = &done
			a.mu.Unlock()
		}
	case room.Finish:
		a.finish(c, x.Reason)
	case room.Ask:
		a.log.Info("the room asks", "question", x.Question)
	case room.Refuse: // the answer of whoever asked carries it
	default:
		if c != nil {
			a.inSession(c, x)
		}
	}
}

// inSession carries out what only has meaning while a session is open.
func (a *agent) inSession(c *current, x room.Action) {
	up := clock.Uptime()
	at := c.session.Media(up)
	switch x := x.(type) {
	case room.NoteDetails:
		c.setDetails(webDetails(x.Details))
		c.session.Note(detailsLine(x.Details))
	case room.NoteMark:
		c.mark(web.Mark{At: at, Text: x.Text, Who: x.Who, Kind: x.Kind})
		c.session.Note(&evidence.Mark{At: at, Text: x.Text, Who: x.Who, Kind: x.Kind})
	case room.NoteEvent:
		f := evidence.Event{Common: evidence.Common{Type: x.Type}, At: at, Code: x.Code, Ch: x.Ch, Text: x.Text}
		if x.Who != "" {
			f.Data = map[string]string{"who": x.Who}
		}
		if x.Type == "notice" && x.Code == "" {
			c.noticed(up)
		}
		if x.Type == "fault" {
			f.Text = report.Find(x.Code).Text.In(x.Ch).Zh
		}
		c.session.Note(&f)
	case room.PauseRecording:
		a.capture.Pause()
		c.session.Pause(x.Reason, x.Who)
		c.pause(at, up, x.Reason, x.Who)
		a.tellOf(c, report.SessionPaused, report.SessionEvent{Session: c.id, Reason: x.Reason, Who: x.Who, MediaMS: at / 1000})
	case room.ResumeRecording:
		c.session.Resume("", x.Who)
		c.resume(at, up)
		a.capture.Attach(a.sink(c))
		a.tellOf(c, report.SessionResumed, report.SessionEvent{Session: c.id, Who: x.Who, MediaMS: at / 1000})
	}
}

// startSession opens a session with the recorder and lets the pre-roll and what follows flow into it.
func (a *agent) startSession(x room.Open) {
	now := a.clock.Now()
	st := a.loop.State()
	id := now.T.Format("20060102T150405Z-") + randomHex(4)
	zero := a.capture.Earliest()
	if !x.Paused && a.prerollOff(x.Details) {
		a.capture.Pause() // forgets what it holds
		zero = 0
	}
	if x.Paused || zero == 0 || zero > now.Up {
		zero = now.Up
	}
	c := &current{id: id, opened: now.T.Add(st.Started - now.Up), trigger: st.Started, by: x.By, continues: x.Continues}
	c.details = webDetails(x.Details)
	body := a.body()
	if c.details.Body != nil {
		body = *c.details.Body
	}
	origin, own := evidence.SessionOrigin(a.id.D, a.ledger.Generation(), id), a.identity()
	key, err := own.SessionSigner(origin)
	if err != nil { // the device's own key signs, however slow
		a.log.Error("session key", "err", err)
		key = &identity.SessionKey{Signer: a.signer}
	}
	c.key = key
	log := ledger.NewSessionLog(ledger.LogOptions{Origin: origin, Signer: key.Signer, Now: a.clock.Now})
	o := record.Opening{
		Session: id, Log: log, Zero: zero, Trigger: st.Started, Certs: own.Certs(), Key: a.id.Key, SM2: own.SM2PEM, Extras: own.SealExtras,
		Open: evidence.Open{
			Origin: origin, SKey: key.SKey, SKeySig: key.SKeySig, Boot: a.boot, Body: body, Trigger: string(x.By), SW: buildVersion(),
			Device: a.device(),
			Config: a.cfg.Digest(), Ledger: a.ledger.Ref(), Token: a.tokenAtOpen(), Continues: x.Continues,
		},
	}
	for _, ch := range a.devices.channels {
		o.Channels = append(o.Channels, ch.ID)
	}
	a.setOpening(id) // its folder is there before it is the session under way
	defer a.setOpening("")
	s, err := a.recorder.Open(o)
	if err != nil {
		a.log.Error("nothing can be recorded", "err", err)
		a.loop.Fault("room.nothing", "", true)
		a.loop.Send(room.OpenFailed{Cause: err.Error()})
		return
	}
	c.session = s
	if zero < st.Started {
		c.lag.preroll = st.Started - zero
	}
	a.mu.Lock()
	a.session = c
	a.mu.Unlock()
	if x.Paused {
		st := a.loop.State()
		a.capture.Pause()
		s.Pause(st.PausedHow.Reason, st.PausedHow.Who)
		c.pause(0, now.Up, st.PausedHow.Reason, st.PausedHow.Who)
	} else {
		a.capture.Attach(a.sink(c))
	}
	a.loop.Fault("room.nothing", "", false)
	a.loop.Send(room.Opened{Session: id})
	a.wg.Go(func() { a.follow(c) })
}

// follow measures how long the first signature took, and tells the room if the session loses its last disk.
func (a *agent) follow(c *current) {
	select {
	case <-c.session.Opened():
	case <-c.session.Done():
	}
	select {
	case <-c.session.Opened(): // also when it is over already
		c.mu.Lock()
		c.lag.durable = clock.Uptime() - c.trigger
		c.lag.lamp = a.lampLag(c.trigger)
		lag := c.lag
		c.mu.Unlock()
		a.tellOf(c, report.SessionOpened, a.sessionEvent(c))
		a.moment(notary.Opened)
		a.log.Info("session opened", "session", c.id, "trigger", c.by, "trigger_to_lamp", lag.lamp, "trigger_to_durable", lag.durable, "preroll", lag.preroll)
	default:
	}
	select {
	case <-c.session.Failed():
		a.log.Error("the session lost its last disk", "session", c.id)
		a.loop.Send(room.Lost{Session: c.id, Cause: "disk-failed"})
	case <-c.session.Done(): // asked for, or its last disk is full; the room knows which
		a.loop.Send(room.Lost{Session: c.id, Cause: "disk-full"})
	}
}

// finish ends the session's media at once and seals beside whatever comes next.
func (a *agent) finish(c *current, reason string) {
	if c == nil { // it could never be opened, and is not wanted any more
		a.loop.Fault("room.nothing", "", false)
		return
	}
	a.capture.Detach()
	c.ended = clock.Uptime()
	c.session.Close(reason)
	a.mu.Lock()
	if a.session == c {
		a.session = nil
	}
	a.closing[c.id] = c
	a.mu.Unlock()
	a.wg.Go(func() { a.seal(c) })
}

// seal waits for the recorder's seal and enters the session into the catalogue.
func (a *agent) seal(c *current) {
	defer c.key.Erase()
	sealed, err := c.session.Wait(context.Background()) // bounded by the recorder, which gives a hung disk up
	if err = errors.Join(err, sealed.Err); err != nil {
		a.log.Error("the session is not sealed; it will be when a disk is back", "session", c.id, "err", err)
		a.loop.Fault("seal.failed", c.id, true)
		a.sealFailed(c)
	} else {
		a.tellSealed(c, sealed)
		a.moment(notary.Sealed)
		a.notary.Look(c.id)
		a.log.Info("session sealed", "session", c.id, "media", sealed.Media, "took", sealed.Took, "manifest", sealed.Manifest, "disks", sealed.Disks)
	}
	if err := a.enter(c.id); err != nil {
		a.log.Error("catalogue", "session", c.id, "err", err)
	}
	a.mu.Lock()
	delete(a.closing, c.id)
	a.mu.Unlock()
	a.mirror.Kick()
	text := ""
	if err != nil {
		text = err.Error()
	}
	a.loop.Send(room.Sealed{Session: c.id, Err: text})
}

// running is the session under way, nil if none.
func (a *agent) running() *current {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.session
}

func (a *agent) body() evidence.Body {
	return evidence.Body{Name: a.cfg.Body.Name, USCC: a.cfg.Body.USCC, System: a.cfg.Body.System}
}

// sink lets one session take what capture delivers.
func (a *agent) sink(c *current) sessionSink { return sessionSink{c.session} }

type sessionSink struct{ s *record.Session }

func (k sessionSink) Describe(ch string, d drivers.Description)      { k.s.Describe(ch, d) }
func (k sessionSink) Sample(ch string, s drivers.Sample)             { k.s.Write(ch, s) }
func (k sessionSink) Lost(ch string, track int, n int, cause string) { k.s.Lost(ch, track, cause) }

func detailsLine(d room.Details) *evidence.Details {
	l := &evidence.Details{Case: d.Case, Matter: d.Matter, Officers: []evidence.Officer{}, Flags: []string{}, MatterID: d.MatterID, MatterVersion: d.MatterVersion, Booking: d.Booking}
	for _, o := range d.Officers {
		l.Officers = append(l.Officers, evidence.Officer(o))
	}
	l.Flags = append(l.Flags, d.Flags...)
	return l
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails since Go 1.24
	return hex.EncodeToString(b)
}

// sound is one announcement to play.
type sound struct {
	name string
	c    *current
}

// announce queues a sound; with the queue full, the room is loud enough.
func (a *agent) announce(name string) {
	a.beep(name)
	if a.devices.speaker == nil {
		return
	}
	select {
	case a.sounds <- sound{name, a.running()}:
	default:
	}
}

// runSpeaker plays one announcement after the other.
func (a *agent) runSpeaker(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case s := <-a.sounds:
			play, cancel := context.WithTimeout(ctx, time.Minute)
			err := a.devices.speaker.Play(play, a.devices.notice)
			cancel()
			if err != nil {
				a.log.Warn("announcement not played", "sound", s.name, "err", err)
			} else if s.name == "notice" {
				a.loop.Send(room.NoticeGiven{By: "announcement"})
			}
		}
	}
}

// lampLag is how long after a trigger the lamp showed it; 0 unknown.
func (a *agent) lampLag(trigger time.Duration) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lampFor != trigger || a.lampAt < trigger {
		return 0
	}
	return a.lampAt - trigger
}
