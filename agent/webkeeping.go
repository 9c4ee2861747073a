package main

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/keep"
	"minglu/agent/store"
	"minglu/agent/web"
)

// webKeeping is how sessions are kept, as web sees it.
type webKeeping struct{ a *agent }

func (w webKeeping) State(ctx context.Context) (web.KeepingState, error) {
	a := w.a
	k := web.KeepingState{LocalDays: int(a.cfg.Keep.Local.Std() / (24 * time.Hour)), FreeBelow: a.cfg.Keep.FreeBelow, MinMonths: a.cfg.Keep.MinMonths}
	if a.archive != nil {
		s := a.archive.Status()
		k.Archive = web.ArchiveState{Configured: true, Where: s.Where, Waiting: s.Waiting, Oldest: stamp(s.Oldest), Session: s.Session, File: s.File, Done: s.Done, Total: s.Total,
			Idle: s.Idle, Problem: string(s.Problem), Since: stamp(s.Since), Next: stamp(s.Next), Last: stamp(s.Last)}
	}
	said := map[string]keep.Decision{}
	for _, d := range a.keep.Decisions() {
		said[d.Session] = d
	}
	rows, err := a.store.List(ctx, store.Filter{}, store.MaxLimit, 0)
	if err != nil {
		return k, err
	}
	for _, r := range rows {
		if r.State != store.Sealed && r.State != store.Recovered || r.Device.ID != "" && r.Device.ID != a.id.D {
			continue
		}
		d := said[r.ID]
		k.Sessions = append(k.Sessions, web.KeptSession{ID: r.ID, Case: r.Case, Body: r.Body.USCC, Closed: stamp(r.Closed), Until: cmp.Or(d.Until, r.Kept.Until), Do: string(d.Do), Why: d.Why, Due: d.Due,
			ArchivedAt: stamp(r.Kept.Archive.At), Receipt: r.Kept.Archive.Receipt, Gone: string(r.Kept.Gone), Held: r.Kept.Hold != nil, SizeBytes: r.Bytes})
	}
	for _, h := range slices.Backward(a.keep.Holds()) {
		k.Holds = append(k.Holds, webHold(h))
	}
	for _, d := range a.keep.Drafts() {
		k.Appraisals = append(k.Appraisals, webAppraisal(d.Appraisal, false))
	}
	for _, x := range a.keep.Appraisals() {
		k.Appraisals = append(k.Appraisals, webAppraisal(x, true))
	}
	return k, nil
}

func webHold(h keep.Hold) web.Hold {
	w := web.Hold{ID: h.ID, Session: h.Session, Case: h.Case, By: h.By, Reason: h.Reason, Since: stamp(h.Since)}
	if r := h.Released; r != nil {
		w.ReleasedBy, w.ReleasedAt, w.ReleasedWhy = r.By, stamp(r.At), r.Reason
	}
	return w
}

func webAppraisal(a evidence.Appraisal, final bool) web.Appraisal {
	w := web.Appraisal{ID: a.ID, By: a.By, Reason: a.Reason, At: stamp(time.UnixMicro(a.T)), Final: final}
	for _, p := range a.Approvals {
		w.Approved = append(w.Approved, p.Name)
	}
	for _, s := range a.Sessions {
		w.Sessions = append(w.Sessions, s.Session)
	}
	return w
}

func (w webKeeping) Hold(_ context.Context, u web.User, session, caseNo, reason string) (web.Hold, error) {
	h, err := w.a.keep.Hold(keep.Hold{Session: session, Case: caseNo, By: u.Name, Reason: reason})
	return webHold(h), keepingError(err)
}

func (w webKeeping) Release(_ context.Context, u web.User, id, reason string) error {
	return keepingError(w.a.keep.Release(id, keep.Released{By: u.Name, Reason: reason}))
}

func (w webKeeping) Propose(_ context.Context, u web.User, sessions []string, reason string) error {
	_, err := w.a.keep.Propose(sessions, reason, approval(u), w.a.cfg.Device.Room, w.a.manifestOf)
	return keepingError(err)
}

func (w webKeeping) Appraise(_ context.Context, u web.User, id string, give bool) error {
	if !give {
		return keepingError(w.a.keep.Refuse(id))
	}
	_, err := w.a.keep.Approve(id, approval(u), w.a.identity().Cert, w.a.id.Key)
	return keepingError(err)
}

func approval(u web.User) evidence.Approval {
	role := ""
	if len(u.Roles) > 0 {
		role = u.Roles[0]
	}
	return evidence.Approval{Login: u.Name, Name: u.Name, Role: role}
}

// manifestOf gives the digest of a session's manifest and its case.
func (a *agent) manifestOf(id string) (sum, caseNo string, err error) {
	row, err := a.store.Get(context.Background(), id)
	if err != nil {
		return "", "", err
	}
	_, dirs := a.copiesOf(id)
	names := []string{filepath.Join(a.cfg.State, "keep", "manifests", id+".json")}
	for _, d := range dirs {
		names = append([]string{filepath.Join(d, "manifest.json")}, names...)
	}
	for _, name := range names {
		b, rerr := readAtMost(name, evidence.MaxJSON)
		if rerr == nil {
			return evidence.DigestFile("", b).SHA256, a.factsOf(row, dirs).Case, nil
		}
		err = rerr
	}
	return "", "", err
}

// keepingError says what people can do about it.
func keepingError(err error) error {
	for _, x := range []struct {
		is     error
		status int
		code   string
		zh, en string
	}{
		{keep.ErrTexts, 400, "texts", "请填写理由（不超过 200 字）。", "Give a reason of at most 200 characters."},
		{keep.ErrTarget, 400, "target", "请指定一个会话或一个案号；清单须有 1 到 400 个会话。", "Name one session or one case; a list has 1 to 400 sessions."},
		{keep.ErrUnknown, 404, "not-found", "没有此内容，可能已处理。", "There is no such thing; it may be done already."},
		{keep.ErrOver, 409, "over", "已经解除。", "It is over already."},
		{keep.ErrFull, 409, "full", "数量已达上限，请先处理已有的。", "There are too many: finish some first."},
		{keep.ErrSame, 403, "same-person", "须由另一人批准：提出人不能批准自己的清单。", "Another person must approve: not who proposed it."},
		{keep.ErrNotDue, 409, "not-due", "清单中有会话尚不能销毁：被冻结、永久保存、期限未满或未知。", "A session in the list may not go yet: held, kept for ever, or its term is not over or not known."},
	} {
		if errors.Is(err, x.is) {
			return &web.Error{Status: x.status, Code: x.code, Zh: x.zh, En: x.en}
		}
	}
	return err
}
