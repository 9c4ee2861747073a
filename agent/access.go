package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"minglu/agent/access"
	"minglu/agent/clock"
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/report"
	"minglu/agent/web"
)

// accessFolder, in the state folder, holds grants and the register of looks.
const accessFolder = "access"

// openAccess opens the gate before all that was recorded here.
func (a *agent) openAccess() (*access.Access, error) {
	folder := filepath.Join(a.cfg.State, accessFolder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	gate, err := access.Open(access.Options{
		File: filepath.Join(a.cfg.State, usersFile), Mode: a.cfg.Web.Auth, Board: a.cfg.Board, Uptime: clock.Uptime, Record: a.recordAccess, Log: a.log,
		Folder: folder, Body: a.cfg.Body.USCC, Approval: a.approval, Now: func() time.Time { return a.clock.Now().T }, Told: a.tellLook})
	if err != nil {
		return nil, &usageError{err}
	}
	return gate, nil
}

// approval is the rule of the body, if the lists name one, else the room's.
func (a *agent) approval(body string) string {
	if b, ok := a.lists.Body(body); ok && b.Rules.Approval != "" {
		return b.Rules.Approval
	}
	return a.cfg.Access.Approval
}

// recordAccess makes a look at a recording durable before it begins: in the running session's own log
// while it is recorded, and always as an entry of the device ledger. A look into the idle room names
// no session.
func (a *agent) recordAccess(ctx context.Context, e access.Entry) error {
	if e.Session == "" && e.Action != access.Watch {
		return errors.New("access: no session named")
	}
	if c := a.running(); c != nil && c.id == e.Session {
		data := map[string]string{"ref": e.Ref}
		if e.Grant != nil {
			data["purpose"], data["by"] = e.Grant.Purpose, e.Grant.By
		}
		c.session.Note(&evidence.Event{At: c.session.Media(clock.Uptime()), Code: e.Action, Ch: e.Channel, Text: e.Who, Common: evidence.Common{Type: "access"}, Data: data})
	}
	return a.ledgerLine(func(l *ledger.Ledger) error {
		_, err := l.Append(&evidence.AccessRef{Session: e.Session, Ref: e.Ref})
		return err
	})
}

// tellLook reports a line of the register to the office, which keeps one for all rooms.
func (a *agent) tellLook(l report.Look) {
	l.Salt = ""
	a.tell(report.SessionAccessed, l)
}

// unexplained counts the looks of the last month that state no purpose, at most once in ten minutes.
func (a *agent) unexplained() *int {
	const every, month = 10 * time.Minute, 30 * 24 * time.Hour
	up := clock.Uptime()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.looks.n == nil || up-a.looks.at > every {
		n, err := access.Unexplained(context.Background(), filepath.Join(a.cfg.State, accessFolder), a.clock.Now().T.Add(-month))
		if err != nil {
			return nil
		}
		a.looks.n, a.looks.at = &n, up
	}
	return a.looks.n
}

// webGrants is the gate's other side as web sees it.
type webGrants struct {
	gate  *access.Access
	store *sessions
}

func (w webGrants) Ask(x web.Wish) (report.Grant, error) {
	return w.gate.Ask(access.Wish{Request: access.Request(x.Request), Do: x.Do, Purpose: x.Purpose, For: x.For, Until: x.Until, Whole: x.Whole})
}

func (w webGrants) Answer(r web.Request, id string, give bool, until time.Time, why string) (report.Grant, error) {
	return w.gate.Answer(access.Request(r), id, give, until, why)
}

func (w webGrants) End(r web.Request, id, why string) (report.Grant, error) {
	return w.gate.End(access.Request(r), id, why)
}

func (w webGrants) Handed(_ context.Context, r web.Request, id string, c report.Receipt) (report.Grant, error) {
	for _, g := range w.Grants(web.User(w.gate.Who(access.Request(r)))) {
		if g.ID != id {
			continue
		}
		for _, dir := range w.store.folders(g.Session) {
			if b, err := readAtMost(filepath.Join(dir, "manifest.json"), evidence.MaxJSON); err == nil {
				sum := sha256.Sum256(b)
				c.Digest = hex.EncodeToString(sum[:])
				break
			}
		}
	}
	return w.gate.Handed(access.Request(r), id, c)
}

func (w webGrants) Grants(u web.User) []report.Grant { return w.gate.Grants(access.User(u)) }

func (w webGrants) Find(ctx context.Context, u web.User, q web.Query, limit int) ([]report.Look, bool, error) {
	return w.gate.Find(ctx, access.User(u), access.Query(q), limit)
}

// registerExport puts an export by command on record: who is whom the command names, else the system's user.
func registerExport(state, body, number, session, who, to string) (ref string, err error) {
	folder := filepath.Join(state, accessFolder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	by := "?"
	if u, err := user.Current(); err == nil {
		by = u.Username
	}
	return access.Write(folder, report.Look{At: time.Now(), Who: cmp.Or(who, by), Action: access.Export, Session: session, Body: body, Case: number,
		Purpose: "minglu-agent export --to " + to, Remote: "command"})
}
