package access

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unicode/utf8"

	"minglu/agent/durable"
	"minglu/agent/report"
)

// Bounds of grants.
const (
	maxGrants     = 2000
	maxGrantsFile = 4 << 20
	maxPurpose    = 1000                 // bytes
	OwnTerm       = 8 * time.Hour        // of a purpose stated for an own session: a working day
	DefaultTerm   = 7 * 24 * time.Hour   // of an approval that names no end
	LongestTerm   = 366 * 24 * time.Hour // of an approval
	keptEnded     = 30 * 24 * time.Hour  // a grant that is over stays on the page this long
)

// Grantable are the actions a [report.Grant] can be about.
var Grantable = []string{View, Play, Download, Export, Copy}

// covers reports whether g allows r at a moment.
func covers(g *report.Grant, r Request, now time.Time) bool {
	if g.State != report.GrantGiven || !now.Before(g.Until) || now.Before(g.Answered.Add(-time.Hour)) { // an hour for a clock put right
		return false
	}
	if g.Session != "" && g.Session != r.Session || g.Session == "" && (g.Case == "" || g.Case != r.Case || g.Body != r.Body) {
		return false
	}
	switch r.Action {
	case List, View, Verify:
		return true // who may play or take may look at the facts, and check
	case Play:
		return slices.Contains(g.Do, Play)
	}
	return slices.Contains(g.Do, r.Action)
}

type grantFile struct {
	V      int            `json:"v"` // 1
	Grants []report.Grant `json:"grants"`
}

// Wish is what [Access.Ask] is asked for. Request says for which session; its Action is set here.
type Wish struct {
	Request
	Do      []string
	Purpose string
	For     *report.Party
	Until   time.Time // zero: as long as the rule gives
	Whole   bool      // all sessions of the session's case
}

// Errors of asking and answering.
var (
	errWish = Denied{Status: 400, Code: "wish",
		Zh: "请填写事由（至多约 300 字）、要做的事（查看、播放、下载、导出、复制）；为他人复制须填姓名、身份和证件。",
		En: "State a purpose (up to 1000 bytes) and what is to be done (view, play, download, export, copy); a copy for a party needs name, capacity and document."}
	errAnswer = Denied{Status: 403, Code: "own-wish",
		Zh: "不能审批自己的申请。请由另一位审批人审批。", En: "Nobody answers an own wish. Let another approver do it."}
	errAnswered = Denied{Status: 409, Code: "answered",
		Zh: "此申请已经处理过。请刷新页面。", En: "This wish was answered already. Load the page again."}
	errWhy = Denied{Status: 400, Code: "why",
		Zh: "不批准或收回须说明理由。", En: "A refusal, or taking a grant back, needs a reason."}
	errFull = Denied{Status: 503, Code: "grants-full",
		Zh: "待审批的申请过多。请先处理或结束一些。", En: "Too many wishes are open. Answer or end some first."}
	errNoGrant = Denied{Status: 404, Code: "not-found",
		Zh: "没有此申请。请从“调阅”页进入。", En: "There is no such wish. Start from the page Access."}
	errReceipt = Denied{Status: 400, Code: "receipt",
		Zh: "请填写介质和签收人；只有已批准的复制才有回执。", En: "Name the medium and who signed; only an approved copy has a receipt."}
)

// Ask puts a wish on record. Where a stated purpose is enough the grant that comes back is given already,
// else somebody with Approve must answer. It is durable when Ask returns nil. Errors are *Denied.
func (a *Access) Ask(w Wish) (report.Grant, error) {
	w.Action = Ask
	u := a.Who(w.Request)
	ask := w.Request
	ask.Session = "" // the role decides here; whose session it is decides below
	if _, err := a.decide(u, ask); err != nil {
		return report.Grant{}, err
	}
	if err := w.valid(); err != nil {
		return report.Grant{}, errWish.with(err)
	}
	now := a.now()
	g := report.Grant{ID: randomID(), Session: w.Session, Body: cmp.Or(w.Body, a.o.Body), Who: u.Name, Do: w.Do, Purpose: w.Purpose, For: w.For, Asked: now, State: report.GrantAsked, Until: w.Until}
	if w.Whole {
		if w.Case == "" {
			return report.Grant{}, errWish.with(errors.New("the session has no case"))
		}
		g.Session, g.Case = "", w.Case
	}
	s := rules{mode: a.o.Mode, body: a.o.Body, approval: a.approval(g.Body)}
	if s.enough(u, w) {
		g.State, g.Rule, g.By, g.Answered, g.Until = report.GrantGiven, report.RuleOwn, u.Name, now, now.Add(OwnTerm)
	}
	return g, a.change(u, w.Remote.String(), func(all []report.Grant) ([]report.Grant, error) {
		if open := slices.IndexFunc(all, func(o report.Grant) bool { return same(o, g, now) }); open >= 0 { // asked twice by a second touch
			g = all[open]
			return all, nil
		}
		if len(all) >= maxGrants {
			return nil, errFull.with(nil)
		}
		return append(all, g), nil
	}, &g, report.GrantAsked)
}

// enough reports whether a stated purpose makes the grant at once.
func (s rules) enough(u User, w Wish) bool {
	if w.Whole || w.For != nil || !s.home(u, w.Request) || flagged(w.Request) && !slices.Contains(u.Roles, Auditor) {
		return false
	}
	if s.mode == ModeNone {
		return true
	}
	for _, do := range w.Do {
		r := w.Request
		r.Action = do
		if !slices.ContainsFunc(u.Roles, func(role string) bool { return slices.Contains(may[role], do) }) {
			return false
		}
		if s.approval == ApprovalRoles && !onlyGuest(u) {
			continue
		}
		if do != View && !s.own(u, r) {
			return false
		}
	}
	return true
}

func same(o, g report.Grant, now time.Time) bool {
	return o.Who == g.Who && o.Session == g.Session && o.Case == g.Case && o.Purpose == g.Purpose && slices.Equal(o.Do, g.Do) &&
		(o.State == report.GrantAsked || o.State == report.GrantGiven && now.Before(o.Until)) && (o.For == nil) == (g.For == nil) && (o.For == nil || *o.For == *g.For)
}

func (w *Wish) valid() error {
	if !text(w.Purpose, 2, maxPurpose) || len(w.Do) == 0 || len(w.Do) > len(Grantable) {
		return errors.New("purpose or actions")
	}
	slices.Sort(w.Do)
	w.Do = slices.Compact(w.Do)
	for _, do := range w.Do {
		if !slices.Contains(Grantable, do) {
			return fmt.Errorf("action %q", do)
		}
	}
	if w.For == nil {
		if slices.Contains(w.Do, Copy) {
			return errors.New("a copy for nobody")
		}
		return nil
	}
	if !text(w.For.Name, 1, 200) || !text(w.For.Capacity, 1, 200) || !text(w.For.Document, 1, 200) {
		return errors.New("the party")
	}
	return nil
}

func text(s string, least, most int) bool {
	return len(s) >= least && len(s) <= most && utf8.ValidString(s)
}

// Answer gives or refuses what somebody else asked for. until is the end of the term, zero for
// [DefaultTerm]; why is needed for a refusal. Errors are *Denied.
func (a *Access) Answer(r Request, id string, give bool, until time.Time, why string) (report.Grant, error) {
	r.Action = Approve
	u := a.Who(r)
	if _, err := a.decide(u, r); err != nil {
		return report.Grant{}, err
	}
	if len(why) > maxPurpose || !utf8.ValidString(why) || !give && why == "" {
		return report.Grant{}, errWhy.with(nil)
	}
	now := a.now()
	var g report.Grant
	state := report.GrantRefused
	if give {
		state = report.GrantGiven
	}
	return g, a.change(u, r.Remote.String(), func(all []report.Grant) ([]report.Grant, error) {
		i := a.find(all, u, id)
		switch {
		case i < 0:
			return nil, errNoGrant.with(nil)
		case all[i].Who == u.Name:
			return nil, errAnswer.with(nil)
		case all[i].State != report.GrantAsked:
			return nil, errAnswered.with(nil)
		}
		o := &all[i]
		o.State, o.By, o.Answered, o.Why = state, u.Name, now, why
		if give {
			o.Rule = report.RuleApproved
			if end := until; !end.IsZero() {
				o.Until = end
			}
			if o.Until.IsZero() || !o.Until.After(now) {
				o.Until = now.Add(DefaultTerm)
			}
			if last := now.Add(LongestTerm); o.Until.After(last) {
				o.Until = last
			}
		}
		g = *o
		return all, nil
	}, &g, state)
}

// End takes a grant back: who has it, or who may approve. Errors are *Denied.
func (a *Access) End(r Request, id, why string) (report.Grant, error) {
	r.Action = Ask
	u := a.Who(r)
	approver := slices.Contains(u.Roles, Approver)
	if approver {
		r.Action = Approve
	}
	if _, err := a.decide(u, r); err != nil {
		return report.Grant{}, err
	}
	if !text(why, 1, maxPurpose) {
		return report.Grant{}, errWhy.with(nil)
	}
	var g report.Grant
	return g, a.change(u, r.Remote.String(), func(all []report.Grant) ([]report.Grant, error) {
		i := a.find(all, u, id)
		if i < 0 || all[i].Who != u.Name && !approver {
			return nil, errNoGrant.with(nil)
		}
		if all[i].State != report.GrantGiven && all[i].State != report.GrantAsked {
			return nil, errAnswered.with(nil)
		}
		all[i].State, all[i].Why = report.GrantEnded, why
		g = all[i]
		return all, nil
	}, &g, report.GrantEnded)
}

// Handed puts the receipt for a copy on record. Errors are *Denied.
func (a *Access) Handed(r Request, id string, c report.Receipt) (report.Grant, error) {
	r.Action, r.Session = Ask, "" // the grant itself says that it is about a copy
	u := a.Who(r)
	if _, err := a.decide(u, r); err != nil {
		return report.Grant{}, err
	}
	if !text(c.Medium, 1, 200) || !text(c.Signed, 1, 200) || len(c.Digest) > 64 {
		return report.Grant{}, errReceipt.with(nil)
	}
	c.At, c.By = a.now(), u.Name
	var g report.Grant
	return g, a.change(u, r.Remote.String(), func(all []report.Grant) ([]report.Grant, error) {
		i := a.find(all, u, id)
		if i < 0 || all[i].Who != u.Name {
			return nil, errNoGrant.with(nil)
		}
		if all[i].State != report.GrantGiven || all[i].For == nil || !slices.Contains(all[i].Do, Copy) {
			return nil, errReceipt.with(nil)
		}
		if all[i].Receipt != nil {
			return nil, errAnswered.with(nil)
		}
		all[i].Receipt = &c
		g = all[i]
		return all, nil
	}, &g, "handed")
}

// Grants are the wishes u may see, newest first: the own ones, and those about the own body for who
// approves or audits.
func (a *Access) Grants(u User) []report.Grant {
	a.mu.Lock()
	defer a.mu.Unlock()
	var l []report.Grant
	for _, g := range slices.Backward(a.grants) {
		if g.Who == u.Name || a.oversees(u, g) {
			l = append(l, g)
		}
	}
	return l
}

func (a *Access) oversees(u User, g report.Grant) bool {
	return (slices.Contains(u.Roles, Approver) || slices.Contains(u.Roles, Auditor)) && cmp.Or(u.Body, a.o.Body) == g.Body
}

func (a *Access) find(all []report.Grant, u User, id string) int {
	return slices.IndexFunc(all, func(g report.Grant) bool { return g.ID == id && (g.Who == u.Name || a.oversees(u, g)) })
}

// grantsOf are what a person was given.
func (a *Access) grantsOf(u User) []report.Grant {
	a.mu.Lock()
	defer a.mu.Unlock()
	var l []report.Grant
	for _, g := range a.grants {
		if g.Who == u.Name && g.State == report.GrantGiven {
			l = append(l, g)
		}
	}
	return l
}

// change lets f work on a copy of the grants, makes the outcome durable, puts a line into the register and
// then lets it hold. One change at a time.
func (a *Access) change(u User, remote string, f func(all []report.Grant) ([]report.Grant, error), g *report.Grant, what string) error {
	if a.o.Folder == "" {
		return errEntry.with(errors.New("no folder for grants"))
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	a.mu.Lock()
	all := slices.Clone(a.grants)
	a.mu.Unlock()
	before := len(all)
	all, err := f(all)
	if err != nil {
		return err
	}
	if what == report.GrantAsked && len(all) == before {
		return nil // it stands there already
	}
	all = fresh(all, a.now())
	b, err := json.MarshalIndent(grantFile{1, all}, "", " ")
	if err == nil && len(b) > maxGrantsFile {
		return errFull.with(nil)
	}
	if err == nil {
		_, err = a.write(report.Look{Who: u.Name, Roles: u.Roles, Action: "grant." + what, Session: g.Session, Body: g.Body, Case: g.Case, Remote: remote,
			Grant: g.ID, Purpose: g.Purpose, Rule: g.Rule, By: g.By, Why: g.Why, For: g.For, Receipt: g.Receipt, Do: g.Do, Until: g.Until})
	}
	if err == nil {
		files := durable.Files{Tmp: a.o.Folder, Perm: 0o600}
		err = files.Replace(filepath.Join(a.o.Folder, grantsFile), b)
	}
	if err != nil {
		a.o.Log.Error("access: grant", "err", err)
		return errEntry.with(err)
	}
	a.mu.Lock()
	a.grants = all
	a.mu.Unlock()
	return nil
}

// fresh leaves out grants that have been over for long: the register keeps them.
func fresh(all []report.Grant, now time.Time) []report.Grant {
	return slices.DeleteFunc(all, func(g report.Grant) bool {
		switch g.State {
		case report.GrantGiven:
			return now.Sub(g.Until) > keptEnded
		case report.GrantRefused, report.GrantEnded:
			return now.Sub(g.Asked) > keptEnded
		}
		return false
	})
}

const grantsFile = "grants.json"

// readGrants sets a file that cannot be read aside: nothing is granted then, and what was must be asked
// for anew; the register has it all.
func readGrants(folder string) (l []report.Grant, aside error) {
	name := filepath.Join(folder, grantsFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		if l, err = parseGrants(b); err == nil {
			return l, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("access: %s: %w", name, err), os.Rename(name, name+".damaged"))
}

func parseGrants(b []byte) ([]report.Grant, error) {
	if len(b) > maxGrantsFile {
		return nil, fmt.Errorf("larger than %d bytes", maxGrantsFile)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var f grantFile
	if err := dec.Decode(&f); err != nil {
		return nil, err
	}
	if f.V != 1 || len(f.Grants) > maxGrants || dec.More() {
		return nil, fmt.Errorf("version %d with %d grants", f.V, len(f.Grants))
	}
	return f.Grants, nil
}

func randomID() string {
	b := make([]byte, 8)
	rand.Read(b)
	return hex.EncodeToString(b)
}
