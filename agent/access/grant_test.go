package access

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"minglu/agent/report"
)

var day = time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)

// TestDecideByBodyAndGrant: each row is a rule of who may look at whose sessions, with what.
func TestDecideByBodyAndGrant(t *testing.T) {
	named := func(body string, roles ...string) User { return User{Name: "x", Roles: roles, Named: true, Body: body} }
	officer := User{Name: "x", Roles: []string{Operator}, Named: true, Credential: "001"}
	given := func(rule string, do ...string) []report.Grant {
		return []report.Grant{{ID: "g", Session: "S", Who: "x", Do: do, State: report.GrantGiven, Rule: rule, Answered: day, Until: day.Add(time.Hour)}}
	}
	change := func(g []report.Grant, f func(g *report.Grant)) []report.Grant { f(&g[0]); return g }
	all := []string{List, View, Play, Verify, Download, Export, Copy, Watch}
	secret := []string{"secret"}
	for _, tt := range []struct {
		rule     string
		approval string
		u        User
		body     string // of the session; the room's own is B
		flags    []string
		grants   []report.Grant
		want     string // allowed
		why      string // codes of the others, by action or for all
	}{
		{"by role alone, as long as the body wants no more", ApprovalRoles, named("", Operator), "", nil, nil, "list view play verify download export copy watch", ""},
		{"another body's session is not there", ApprovalRoles, named("", Operator), "C", nil, nil, "", "not-found"},
		{"to auditors as well", ApprovalRoles, named("", Auditor), "C", nil, nil, "", "not-found"},
		{"whose own body it is may", ApprovalRoles, named("C", Operator), "C", nil, nil, "list view play verify download export copy watch", ""},
		{"and does not see the room's", ApprovalRoles, named("C", Auditor), "B", nil, nil, "", "not-found"},
		{"an approval opens one session of another body, for what it names", ApprovalRoles, named("C", Operator), "B", nil, given(report.RuleApproved, Play), "list view play verify", "approval download export copy watch=approval"},
		{"a purpose stated does not", ApprovalRoles, named("C", Operator), "B", nil, given(report.RuleOwn, Play), "", "not-found"},
		{"an officer states a purpose", ApprovalOthers, officer, "B", nil, nil, "list view verify watch", "play=purpose download=approval export=approval copy=approval"},
		{"and looks by it", ApprovalOthers, officer, "B", nil, given(report.RuleOwn, Play), "list view verify play watch", "download=approval export=approval copy=approval"},
		{"who was not there needs approval", ApprovalOthers, named("", Operator), "B", nil, nil, "list view verify watch", "play=approval download=approval export=approval copy=approval"},
		{"with it, what it names", ApprovalOthers, named("", Operator), "B", nil, given(report.RuleApproved, Play, Export), "list view verify watch play export", "download=approval copy=approval"},
		{"where all looks need approval, officers too", ApprovalAll, officer, "B", nil, given(report.RuleOwn, Play), "list view verify watch", "play=approval download=approval export=approval copy=approval"},
		{"auditors state a purpose", ApprovalAll, named("", Auditor), "B", nil, nil, "list view verify watch", "play=purpose download=purpose export=purpose copy=purpose"},
		{"and may then do what it names", ApprovalAll, named("", Auditor), "B", nil, given(report.RuleOwn, Play, Copy), "list view verify watch play copy", "download=purpose export=purpose"},
		{"secret content opens to auditors", ApprovalRoles, named("", Auditor), "B", secret, nil, "list view play verify download export copy watch", ""},
		{"and by approval", ApprovalRoles, named("", Operator), "B", secret, given(report.RuleApproved, Play), "list view verify play", "flagged"},
		{"not by a purpose", ApprovalOthers, officer, "B", secret, given(report.RuleOwn, Play), "list view verify", "flagged"},
		{"a guest sees nothing by the role", ApprovalRoles, named("", Guest), "B", nil, nil, "", "watch=role download=role export=role not-found"},
		{"a guest sees what was granted", ApprovalAll, named("", Guest), "B", nil, given(report.RuleApproved, Play), "list view verify play", "copy=approval watch=role download=role export=role"},
		{"a grant ends", ApprovalAll, named("", Keeper), "B", nil, change(given(report.RuleApproved, Play), func(g *report.Grant) { g.Until = day }), "list view verify", "watch=role approval"},
		{"a grant for another session is none", ApprovalAll, named("", Keeper), "B", nil, change(given(report.RuleApproved, Play), func(g *report.Grant) { g.Session = "T" }), "list view verify", "watch=role approval"},
		{"what is asked is not given", ApprovalAll, named("", Keeper), "B", nil, change(given(report.RuleApproved, Play), func(g *report.Grant) { g.State = report.GrantAsked }), "list view verify", "watch=role approval"},
		{"a grant for the case opens its sessions", ApprovalAll, named("", Keeper), "B", nil, change(given(report.RuleApproved, Play), func(g *report.Grant) { g.Session, g.Case, g.Body = "", "12", "B" }), "list view verify play", "watch=role approval"},
		{"not those of the same number of another body", ApprovalAll, named("C", Keeper), "C", nil, change(given(report.RuleApproved, Play), func(g *report.Grant) { g.Session, g.Case, g.Body = "", "12", "B" }), "list view verify", "watch=role approval"},
		{"a grant from a clock far ahead waits", ApprovalAll, named("", Keeper), "B", nil, change(given(report.RuleApproved, Play), func(g *report.Grant) { g.Answered = day.Add(2 * time.Hour); g.Until = day.Add(3 * time.Hour) }), "list view verify", "watch=role approval"},
		{"an approver sees no content by that", ApprovalRoles, named("", Approver), "B", nil, nil, "list view verify", "role"},
	} {
		for _, action := range all {
			r := Request{Action: action, Session: "S", Body: tt.body, Case: "12", Officers: []string{"001", "002"}, Flags: tt.flags}
			_, err := decide(rules{mode: ModeLogin, body: "B", approval: tt.approval, grants: tt.grants, now: day}, tt.u, r)
			want := ""
			if !slices.Contains(strings.Fields(tt.want), action) {
				for _, w := range strings.Fields(tt.why) {
					if a, c, one := strings.Cut(w, "="); one && a == action {
						want = c
						break
					} else if !one && want == "" && !slices.Contains(all, w) {
						want = w
					}
				}
			}
			if got := code(err); got != want {
				t.Errorf("%s: %s: refused with %q, want %q", tt.rule, action, got, want)
			}
		}
	}
}

// archive is a room with grants and a register.
type archive struct {
	*room
	wall time.Time
	refs []string
}

func newArchive(t *testing.T, approval string) *archive {
	t.Helper()
	r := &archive{room: &room{now: time.Hour, file: filepath.Join(t.TempDir(), "users.json")}, wall: day}
	for _, u := range []User{{Name: "wang", Roles: []string{Operator}, Credential: "001"}, {Name: "li", Roles: []string{Operator}}, {Name: "zhao", Roles: []string{Approver, Operator}},
		{Name: "shen", Roles: []string{Auditor}}, {Name: "qian", Roles: []string{Auditor, Approver}, Body: "C"}, {Name: "lawyer", Roles: []string{Guest}}} {
		if err := AddUser(r.file, u, secret); err != nil {
			t.Fatal(err)
		}
	}
	r.open(t, approval)
	return r
}

func (r *archive) open(t *testing.T, approval string) {
	t.Helper()
	a, err := Open(Options{File: r.file, Mode: ModeLogin, Folder: filepath.Dir(r.file), Body: "B", Uptime: func() time.Duration { return r.now }, Now: func() time.Time { return r.wall },
		Approval: func(string) string { return approval },
		Record: func(_ context.Context, e Entry) error {
			if r.fails == nil {
				r.entries, r.refs = append(r.entries, e), append(r.refs, e.Ref)
			}
			return r.fails
		}})
	if err != nil {
		t.Fatal(err)
	}
	r.Access = a
}

var sessionS = Request{Session: "S", Body: "B", Case: "12", Officers: []string{"001"}}

func as(token, action string) Request {
	r := sessionS
	r.Token, r.Action = token, action
	return r
}

// TestCopyForAParty goes the whole way: asked, refused to approve oneself, approved by another, taken,
// handed over, read in the register, over a restart.
func TestCopyForAParty(t *testing.T) {
	r := newArchive(t, ApprovalOthers)
	li, zhao, qian := r.login(t, "li"), r.login(t, "zhao"), r.login(t, "qian")
	lawyer := &report.Party{Name: "张律师", Capacity: "代理律师", Document: "律师证 14010001"}
	g, err := r.Ask(Wish{Request: as(li, ""), Do: []string{Copy}, Purpose: "当事人委托律师复制", For: lawyer})
	if err != nil || g.State != report.GrantAsked || g.Who != "li" {
		t.Fatalf("Ask = %+v, %v; want it to wait", g, err)
	}
	if again, err := r.Ask(Wish{Request: as(li, ""), Do: []string{Copy}, Purpose: "当事人委托律师复制", For: lawyer}); err != nil || again.ID != g.ID {
		t.Errorf("the same wish again = %v, %v; want the first", again, err)
	}
	if _, err := r.Enter(t.Context(), as(li, Copy)); code(err) != "approval" {
		t.Errorf("a copy before the approval: %v", err)
	}
	if _, err := r.Answer(as(li, ""), g.ID, true, time.Time{}, ""); code(err) != "role" {
		t.Errorf("an operator approves: %v", err)
	}
	if _, err := r.Answer(as(qian, ""), g.ID, true, time.Time{}, ""); code(err) != "not-found" {
		t.Errorf("another body's approver approves: %v", err)
	}
	own, err := r.Ask(Wish{Request: as(zhao, ""), Do: []string{Export}, Purpose: "归档检查"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Answer(as(zhao, ""), own.ID, true, time.Time{}, ""); code(err) != "own-wish" {
		t.Errorf("an approver answers an own wish: %v", err)
	}
	if _, err := r.Answer(as(zhao, ""), g.ID, false, time.Time{}, ""); code(err) != "why" {
		t.Errorf("a refusal without a reason: %v", err)
	}
	if g, err = r.Answer(as(zhao, ""), g.ID, true, day.Add(48*time.Hour), ""); err != nil || g.By != "zhao" || !g.Until.Equal(day.Add(48*time.Hour)) {
		t.Fatalf("Answer = %+v, %v", g, err)
	}
	if _, err := r.Answer(as(zhao, ""), g.ID, false, time.Time{}, "doch nicht"); code(err) != "answered" {
		t.Errorf("answered twice: %v", err)
	}
	if _, err := r.Handed(as(zhao, ""), g.ID, report.Receipt{Medium: "光盘", Signed: "x"}); code(err) != "not-found" {
		t.Errorf("somebody else hands the copy over: %v", err)
	}
	if _, err := r.Enter(t.Context(), as(li, Copy)); err != nil {
		t.Errorf("the copy: %v", err)
	}
	if _, err := r.Handed(as(li, ""), g.ID, report.Receipt{Medium: "光盘 1 张", Signed: "张律师"}); err != nil {
		t.Errorf("the receipt: %v", err)
	}
	r.open(t, ApprovalOthers) // the agent starts again: grants hold, logins do not
	li = r.login(t, "li")
	shen := r.login(t, "shen")
	if _, err := r.Enter(t.Context(), as(li, Copy)); err != nil {
		t.Errorf("a second copy within the term, after a restart: %v", err)
	}
	r.wall = day.Add(49 * time.Hour)
	if _, err := r.Enter(t.Context(), as(li, Copy)); code(err) != "approval" {
		t.Errorf("a copy after the term: %v", err)
	}
	lines, more, err := r.Find(t.Context(), r.Who(as(shen, Register)), Query{}, 100)
	var did []string
	for _, l := range slices.Backward(lines) {
		did = append(did, l.Who+" "+l.Action)
	}
	want := "li grant.asked, zhao grant.asked, zhao grant.given, li copy, li grant.handed, li copy"
	if got := strings.Join(did, ", "); err != nil || more || got != want {
		t.Errorf("the register: %q, %v, %v; want %q", got, more, err, want)
	}
	copied := lines[slices.IndexFunc(lines, func(l report.Look) bool { return l.Action == Copy })]
	if copied.Purpose != "当事人委托律师复制" || copied.By != "zhao" || copied.For == nil || copied.For.Name != "张律师" || !slices.Contains(r.refs, copied.Ref) {
		t.Errorf("the copy's line = %+v; want purpose, approval, party, and the ref of the ledger's entry", copied)
	}
	if l, _, err := r.Find(t.Context(), User{Name: "qian", Named: true, Roles: []string{Auditor}, Body: "C"}, Query{Body: "B"}, 10); err != nil || len(l) != 0 {
		t.Errorf("another body's auditor reads %d lines, %v", len(l), err)
	}
	if _, _, err := r.Find(t.Context(), r.Who(as(li, Register)), Query{}, 10); code(err) != "role" {
		t.Errorf("an operator reads the register: %v", err)
	}
}

func TestAPurposeIsEnough(t *testing.T) {
	r := newArchive(t, ApprovalOthers)
	wang, shen, li, lawyer := r.login(t, "wang"), r.login(t, "shen"), r.login(t, "li"), r.login(t, "lawyer")
	for _, tt := range []struct {
		rule  string
		token string
		do    []string
		want  string
	}{
		{"to the session's officer for looking", wang, []string{View, Play}, report.GrantGiven},
		{"not for taking", wang, []string{Play, Download}, report.GrantAsked},
		{"to an auditor for taking too", shen, []string{Download, Export}, report.GrantGiven},
		{"not to who was not there", li, []string{Play}, report.GrantAsked},
		{"not to a guest", lawyer, []string{Play}, report.GrantAsked},
		{"not to an auditor for what the role cannot", shen, []string{"operate"}, "wish"},
	} {
		g, err := r.Ask(Wish{Request: as(tt.token, ""), Do: tt.do, Purpose: "案件复核"})
		if got := g.State; err == nil && got != tt.want || err != nil && code(err) != tt.want {
			t.Errorf("%s: %q %v, want %s", tt.rule, got, err, tt.want)
		}
	}
	if _, err := r.Enter(t.Context(), as(wang, Play)); err != nil {
		t.Errorf("play by a stated purpose: %v", err)
	}
	if e := r.entries[len(r.entries)-1]; e.Grant == nil || e.Grant.Purpose != "案件复核" {
		t.Errorf("the entry = %+v; want the purpose", e)
	}
	mine := r.Grants(r.Who(as(wang, Ask)))
	if _, err := r.End(as(wang, ""), mine[len(mine)-1].ID, "看完了"); err != nil {
		t.Errorf("End: %v", err)
	}
	if _, err := r.Enter(t.Context(), as(wang, Play)); code(err) != "purpose" {
		t.Errorf("play after the end: %v", err)
	}
}

// TestTheRegisterFirst: no line, no look; no ledger entry, no look.
func TestTheRegisterFirst(t *testing.T) {
	r := newArchive(t, ApprovalRoles)
	li := r.login(t, "li")
	r.fails = errors.New("disk full")
	if _, err := r.Enter(t.Context(), as(li, Play)); code(err) != "entry-failed" {
		t.Errorf("the ledger fails: %v", err)
	}
	r.fails = nil
	year := filepath.Join(filepath.Dir(r.file), "2026.jsonl")
	if err := os.Remove(year); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(year, 0o700); err != nil {
		t.Fatal(err)
	}
	n := len(r.entries)
	if _, err := r.Enter(t.Context(), as(li, Play)); code(err) != "entry-failed" || len(r.entries) != n {
		t.Errorf("the register fails: %v, %d entries more", err, len(r.entries)-n)
	}
}

// TestRegisterAfterACut: what a power cut tore does not swallow the next line.
func TestRegisterAfterACut(t *testing.T) {
	r := newArchive(t, ApprovalRoles)
	li, shen := r.login(t, "li"), r.login(t, "shen")
	year := filepath.Join(filepath.Dir(r.file), "2026.jsonl")
	if err := os.WriteFile(year, []byte(`{"at":"2026-11-25T08:00:00Z","who":"x","act`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Enter(t.Context(), as(li, Export)); err != nil {
		t.Fatal(err)
	}
	l, _, err := r.Find(t.Context(), r.Who(as(shen, Register)), Query{}, 10)
	if err != nil || len(l) != 1 || l[0].Who != "li" || l[0].Ref != r.refs[0] {
		t.Errorf("Find = %+v, %v; want the line after the torn one", l, err)
	}
	if n, err := Unexplained(t.Context(), filepath.Dir(r.file), day.Add(-time.Hour)); n != 1 || err != nil {
		t.Errorf("Unexplained = %d, %v; want the export without a purpose", n, err)
	}
}

// TestRegisterWithoutLogins: the simulated room has a register, too.
func TestRegisterWithoutLogins(t *testing.T) {
	a, err := Open(Options{Mode: ModeNone, Board: "sim", Folder: t.TempDir(), Uptime: func() time.Duration { return time.Hour }, Record: func(context.Context, Entry) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	r := Request{Loopback: true, Action: Export, Session: "S"}
	if _, err := a.Enter(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if l, _, err := a.Find(t.Context(), a.Who(r), Query{}, 10); err != nil || len(l) != 1 || l[0].Who != "sim" {
		t.Errorf("Find = %+v, %v; want the export", l, err)
	}
}

func TestFindManyYears(t *testing.T) {
	dir := t.TempDir()
	for _, y := range []int{2025, 2026} {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d.jsonl", y)))
		if err != nil {
			t.Fatal(err)
		}
		w := bufio.NewWriter(f)
		for i := range 20_000 {
			fmt.Fprintf(w, `{"at":"%d-%02d-%02dT08:00:00Z","who":"u%d","action":"play","session":"S%d","body":"B","salt":"00"}`+"\n", y, i%12+1, i%28+1, i%7, i)
		}
		if err := errors.Join(w.Flush(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	l, more, err := find(t.Context(), dir, Query{From: time.Date(2025, 7, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2025, 10, 1, 0, 0, 0, 0, time.UTC), Who: "u3"}, 100)
	if err != nil || !more || len(l) != 100 || l[0].At.Year() != 2025 || l[0].At.Month() < 7 || l[0].At.Month() > 9 {
		t.Errorf("find = %d lines, more %v, %v", len(l), more, err)
	}
	t.Logf("20,000 lines of a year in %v", time.Since(began))
}

func TestDamagedGrants(t *testing.T) {
	r := newArchive(t, ApprovalAll)
	name := filepath.Join(filepath.Dir(r.file), grantsFile)
	if err := os.WriteFile(name, []byte(`{"v":1,"grants":[{"id":`), 0o600); err != nil {
		t.Fatal(err)
	}
	r.open(t, ApprovalAll)
	if b, err := os.ReadFile(name + ".damaged"); err != nil || !bytes.HasPrefix(b, []byte(`{"v":1`)) {
		t.Errorf("the damaged file is not kept: %v", err)
	}
	if _, err := r.Ask(Wish{Request: as(r.login(t, "li"), ""), Do: []string{Play}, Purpose: "复核"}); err != nil {
		t.Errorf("asking goes on: %v", err)
	}
}

func FuzzGrants(f *testing.F) {
	f.Add([]byte(`{"v":1,"grants":[{"id":"0123456789abcdef","session":"S","who":"li","do":["play"],"purpose":"复核","asked":"2026-11-25T09:00:00Z","state":"asked"}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := parseGrants(b); err == nil && len(l) > maxGrants {
			t.Error("too many")
		}
	})
}

func FuzzLine(f *testing.F) {
	f.Add([]byte(`{"at":"2026-11-25T08:00:00Z","who":"x","action":"play","salt":"00"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := parseLine(b); err == nil && (l.Who == "" || len(l.Ref) != 32) {
			t.Errorf("parseLine(%q) = %+v", b, l)
		}
	})
}
