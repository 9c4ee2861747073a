package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"minglu/agent/amend"
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/report"
	"minglu/agent/unrecorded"
	"minglu/agent/web"
)

// Names in the state folder.
const (
	amendingFolder    = "amending"
	notRecordedFolder = "notrecorded"
)

// openAmendments makes what adds to sealed sessions, and the book of what was not recorded.
func (a *agent) openAmendments() (err error) {
	certs := func() []*x509.Certificate { return a.identity().Certs() }
	a.amender, err = amend.New(amend.Options{
		Folder: filepath.Join(a.cfg.State, amendingFolder), Files: a.files, Disks: a.writableDisks, Layer: a.layer, Device: a.id.D, Key: a.id.Key,
		Certs: certs, Ledger: headWriter{a}, Now: a.clock.Now, Log: a.log})
	if err != nil {
		return err
	}
	a.unrec, err = unrecorded.Open(unrecorded.Options{
		Folder: filepath.Join(a.cfg.State, notRecordedFolder), Files: a.files, Key: a.id.Key, Certs: certs, Ledger: headWriter{a}, Now: a.clock.Now})
	if err != nil {
		a.log.Error("records of what was not recorded", "err", err)
	}
	return nil
}

// finishAmendments completes what a cut interrupted.
func (a *agent) finishAmendments(ctx context.Context) {
	if err := errors.Join(a.amender.Finish(ctx), a.unrec.Finish()); err != nil {
		a.log.Error("amendments under way", "err", err)
	}
}

func (a *agent) writableDisks() (dirs []string) {
	for _, d := range a.recoveryDisks() {
		dirs = append(dirs, d.Dir)
	}
	return dirs
}

// find looks through the ledger for the newest line of a type that holds all the words. Canonical lines: these
// bytes must occur.
func (h headWriter) find(words ...string) ([]byte, error) {
	b, err := h.a.ledger.BytesFrom(0)
	if err != nil {
		return nil, err
	}
	var found []byte
lines:
	for line := range bytes.Lines(b) {
		for _, w := range words {
			if !bytes.Contains(line, []byte(w)) {
				continue lines
			}
		}
		found = bytes.TrimSuffix(line, []byte("\n"))
	}
	return found, nil
}

func (h headWriter) Amended(session string, n int64) (string, error) {
	b, err := h.a.ledger.BytesFrom(0)
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(b) {
		if !bytes.Contains(line, []byte(`"type":"amend"`)) || !bytes.Contains(line, []byte(session)) {
			continue
		}
		var r evidence.AmendRef
		if l, err := evidence.ParseLine(bytes.TrimSuffix(line, []byte("\n"))); err == nil && l.Decode(&r) == nil && r.Session == session && r.N == n {
			return r.SHA256, nil
		}
	}
	return "", nil
}

func (h headWriter) NotRecorded(id, sum string) error {
	return h.a.ledgerLine(func(l *ledger.Ledger) error {
		_, err := l.Append(&evidence.NotRecordedRef{ID: id, SHA256: sum})
		return err
	})
}

func (h headWriter) HasNotRecorded(id string) (bool, error) {
	line, err := h.find(`"type":"notrecorded"`, `"id":"`+id+`"`)
	return line != nil, err
}

// webAmends is the amender as web sees it.
type webAmends struct{ a *agent }

func (w webAmends) Amend(_ context.Context, who, session string, c web.Correction) error {
	d := evidence.DetailsData{Case: c.Case, Flags: c.Flags, Who: who}
	if c.Matter != nil {
		m := w.a.named(*c.Matter)
		d.Matter = &evidence.Matter{ID: m.ID, Version: m.Version, Name: m.Name}
	}
	for _, o := range c.Officers {
		d.Officers = append(d.Officers, evidence.Officer(o))
	}
	data, err := d.Map()
	if err != nil {
		return &web.Error{Status: 400, Code: "request", Zh: "请写明要补充的内容；文字中不能有控制字符。", En: "Say what is to be completed; no control characters."}
	}
	return w.add(session, evidence.AmendDetails, data, nil, who)
}

func (w webAmends) Attach(_ context.Context, who, session, name, kind string, file []byte) error {
	t := evidence.Attachment{Name: name, Kind: kind, Size: int64(len(file)), SHA256: evidence.DigestFile("", file).SHA256, Who: who}
	return w.add(session, evidence.AmendAttachment, t.Map(), file, who)
}

func (w webAmends) Refuse(_ context.Context, who, session, party, reason string) error {
	return w.add(session, evidence.AmendRefused, map[string]string{"party": party, "reason": reason, "who": who}, nil, who)
}

func (w webAmends) add(session, kind string, data map[string]string, file []byte, who string) error {
	a := w.a
	if a.inUse(session) {
		return errNotSealed
	}
	am, err := a.amender.Add(session, kind, data, file)
	switch {
	case errors.Is(err, amend.ErrNotSealed):
		return errNotSealed
	case errors.Is(err, amend.ErrNotOurs):
		return &web.Error{Status: 409, Code: "adopted", Zh: "此会话由另一台设备录制，只能在那台设备上补正。", En: "Another device recorded this session; only that device can amend it."}
	case errors.Is(err, amend.ErrNoDisk):
		return &web.Error{Status: 409, Code: "no-disk", Zh: "保存此会话的磁盘没有连接。请连接后重试。", En: "No disk with this session is connected. Connect it and try again."}
	case err != nil:
		return err
	}
	a.log.Info("session amended", "session", session, "n", am.N, "kind", kind)
	if err := a.enter(session); err != nil {
		a.log.Error("catalogue", "session", session, "err", err)
	}
	a.mirror.Kick()
	a.notary.Look(session)
	a.tellAmended(session, kind, who)
	return nil
}

var errNotSealed = &web.Error{Status: 409, Code: "not-sealed", Zh: "此会话尚未封存；请在房间页面补充，或封存后再补正。", En: "This session is not sealed yet: complete it at the room's page, or once it is sealed."}

// tellAmended tells the office the facts as they are now.
func (a *agent) tellAmended(session, kind, who string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := a.store.Get(ctx, session)
	if err != nil {
		a.log.Error("catalogue", "session", session, "err", err)
		return
	}
	body := report.Body{Name: s.Body.Name, USCC: s.Body.USCC, System: s.Body.System}
	e := report.SessionEvent{Session: session, Kind: kind, Who: who, Body: &body, Case: s.Case, Matter: s.Matter, Flags: s.Flags}
	for _, o := range s.Officers {
		e.Officers = append(e.Officers, report.Officer{Name: o.Name, Credential: o.Credential})
	}
	a.tell(report.SessionAmended, e)
}

// webUnrecorded is the book of what was not recorded as web sees it.
type webUnrecorded struct{ a *agent }

func (w webUnrecorded) AddNotRecorded(_ context.Context, login string, n web.NotRecorded) (web.NotRecorded, error) {
	a := w.a
	r := evidence.NotRecorded{Device: a.device(), Body: a.body(), Case: n.Case, Matter: n.Matter, Why: n.Why, Reason: n.Reason, Who: n.Who, Login: login, From: micros(n.From), To: micros(n.To)}
	if n.Body != nil {
		r.Body = *n.Body
	}
	for _, o := range n.Officers {
		r.Officers = append(r.Officers, evidence.Officer(o))
	}
	r, err := a.unrec.Add(r)
	if err != nil {
		return n, err
	}
	body := report.Body{Name: r.Body.Name, USCC: r.Body.USCC, System: r.Body.System}
	e := report.SessionEvent{Session: r.ID, Kind: r.Why, Reason: r.Reason, Who: r.Who, Body: &body, Case: r.Case, Matter: r.Matter}
	for _, o := range r.Officers {
		e.Officers = append(e.Officers, report.Officer{Name: o.Name, Credential: o.Credential})
	}
	a.tell(report.SessionNotRecorded, e)
	return shownUnrecorded(r), nil
}

func (w webUnrecorded) ListNotRecorded(_ context.Context, limit int) (list []web.NotRecorded, err error) {
	for _, r := range w.a.unrec.List(limit) {
		list = append(list, shownUnrecorded(r))
	}
	return list, nil
}

func shownUnrecorded(r evidence.NotRecorded) web.NotRecorded {
	n := web.NotRecorded{ID: r.ID, At: stamp(time.UnixMicro(r.T)), Who: r.Who, Login: r.Login, Why: r.Why, Reason: r.Reason, Case: r.Case, Matter: r.Matter, Body: &r.Body}
	if r.From > 0 {
		n.From = stamp(time.UnixMicro(r.From))
	}
	if r.To > 0 {
		n.To = stamp(time.UnixMicro(r.To))
	}
	for _, o := range r.Officers {
		n.Officers = append(n.Officers, web.Officer(o))
	}
	return n
}

func micros(rfc3339 string) int64 {
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(rfc3339))
	if err != nil {
		return 0
	}
	return t.UnixMicro()
}

// device is this device as records name it.
func (a *agent) device() evidence.Device {
	return evidence.Device{ID: a.id.D, Name: a.cfg.Device.Name, Room: a.cfg.Device.Room, Board: a.board, SW: buildVersion(), TPM: a.id.TPM}
}
