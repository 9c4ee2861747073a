package web

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"minglu/agent/report"
)

// fakeGrants are wishes in each state, and a register of three lines.
type fakeGrants struct{ f *fake }

func sampleGrants() []report.Grant {
	at := opened.Add(time.Hour)
	one := fakeSession("20261123T060509Z-0badcafe", false).ID
	lawyer := &report.Party{Name: "张律师", Capacity: "代理律师", Document: "律师证 14010001"}
	return []report.Grant{
		{ID: "0000000000000001", Session: one, Who: "李某", Do: []string{"copy"}, Purpose: "当事人申请", For: lawyer, Asked: at, State: report.GrantAsked},
		{ID: "0000000000000002", Session: one, Who: "王某", Do: []string{"copy"}, Purpose: "当事人申请", For: lawyer, Asked: at, State: report.GrantGiven, Rule: report.RuleApproved, By: "赵某", Answered: at,
			Until: time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second), Receipt: &report.Receipt{At: at, By: "王某", Medium: "光盘 1 张", Digest: strings.Repeat("ab", 32), Signed: "张律师"}},
		{ID: "0000000000000003", Case: "并市监罚〔2026〕12号", Who: "王某", Do: []string{"play"}, Purpose: "听证准备", Asked: at, State: report.GrantRefused, By: "赵某", Answered: at, Why: "与本案无关"},
	}
}

func (g fakeGrants) Ask(w Wish) (report.Grant, error) {
	x := sampleGrants()[0]
	x.Session, x.Purpose, x.Do = w.Request.Session, w.Purpose, w.Do
	return x, g.f.note("ask %s body=%s case=%s officers=%v do=%v purpose=%s for=%v whole=%v", w.Request.Session, w.Request.Body, w.Request.Case, w.Request.Officers, w.Do, w.Purpose, w.For != nil, w.Whole)
}

func (g fakeGrants) Answer(_ Request, id string, give bool, _ time.Time, why string) (report.Grant, error) {
	return sampleGrants()[1], g.f.note("answer %s %v %s", id, give, why)
}

func (g fakeGrants) End(_ Request, id, why string) (report.Grant, error) {
	return sampleGrants()[2], g.f.note("end %s %s", id, why)
}

func (g fakeGrants) Handed(_ context.Context, _ Request, id string, c report.Receipt) (report.Grant, error) {
	return sampleGrants()[1], g.f.note("handed %s %s %s %s", id, c.Medium, c.Signed, c.Digest)
}

func (g fakeGrants) Grants(User) []report.Grant { return sampleGrants() }

func (g fakeGrants) Find(_ context.Context, u User, q Query, limit int) ([]report.Look, bool, error) {
	at := opened.Add(time.Hour)
	return []report.Look{
		{At: at, Who: "王某", Action: "copy", Session: "20261123T060509Z-0badcafe", Case: "并市监罚〔2026〕12号", Purpose: "当事人申请", By: "赵某", Rule: "approved", For: sampleGrants()[0].For, Ref: "00"},
		{At: at, Who: "王某", Action: "play", Session: "20261123T060509Z-0badcafe", Channel: "face", Remote: "192.0.2.7", Ref: "01"},
		{At: at, Who: "=cmd|x", Action: "grant.refused", Session: "20261123T060509Z-0badcafe", Why: "与本案无关", Ref: "02"},
	}, true, g.f.note("find %s from=%v until=%v who=%s looks=%v limit=%d", u.Name, !q.From.IsZero(), !q.Until.IsZero(), q.Who, q.Looks, limit)
}

func withGrants(f *fake) func(*Options) { return func(o *Options) { o.Grants = fakeGrants{f} } }

func TestGrantRoutes(t *testing.T) {
	for _, tt := range []struct {
		rule               string
		method, path, body string
		hdr                string
		status             int
		code, did          string
	}{
		{"a wish says whose session it is about", "POST", "/access/grants", `{"session":"20261123T060509Z-0badcafe","do":["play"],"purpose":" 案件复核 "}`, logged, 201, `"state":"asked"`,
			"enter 王某 ask ; get; ask 20261123T060509Z-0badcafe body= case=并市监罚〔2026〕12号 officers=[001 002] do=[play] purpose=案件复核 for=false whole=false"},
		{"none about what is not there", "POST", "/access/grants", `{"session":"nope","do":["play"],"purpose":"x"}`, logged, 404, "not-found", "enter 王某 ask "},
		{"not for the panel", "POST", "/access/grants", `{}`, "", 401, "login-needed", "enter panel ask "},
		{"the wishes", "GET", "/access/grants", "", logged, 200, `"purpose":"听证准备"`, "enter 王某 ask "},
		{"an answer", "POST", "/access/grants/7/answer", `{"give":true}`, logged, 200, `"state":"given"`, "enter 王某 approve ; answer 7 true "},
		{"taken back", "POST", "/access/grants/7/end", `{"why":"够了"}`, logged, 200, `"state":"refused"`, "enter 王某 ask ; end 7 够了"},
		{"a receipt, whose digest nobody can give", "POST", "/access/grants/7/receipt", `{"medium":"光盘","signed":"张","digest":"00"}`, logged, 200, `"signed":"张律师"`, "enter 王某 ask ; handed 7 光盘 张 "},
		{"the register", "GET", "/access/register?from=2026-07-01T00:00:00%2B08:00&who=a&looks=1&limit=9", "", logged, 200, `"more":true`, "enter 王某 register ; find 王某 from=true until=false who=a looks=true limit=9"},
		{"a wrong time", "GET", "/access/register?from=yesterday", "", logged, 400, "query", "enter 王某 register "},
		{"as a table, without formulas", "GET", "/access/register?format=csv", "", logged, 200, "'=cmd|x", "enter 王某 register ; find 王某 from=false until=false who= looks=false limit=5000"},
		{"not for the panel either", "GET", "/access/register", "", "", 401, "login-needed", "enter panel register "},
	} {
		f := newFake()
		w := call(newServer(t, f, withGrants(f)), tt.method, "/api/v1"+tt.path, tt.body, tt.hdr)
		if did := f.take(); w.Code != tt.status || !strings.Contains(w.Body.String(), tt.code) || did != tt.did {
			t.Errorf("%s: %d %.200s\n did %q\nwant %q", tt.rule, w.Code, w.Body, did, tt.did)
		}
	}
	if w := call(newServer(t, newFake()), "GET", "/api/v1/access/register", "", logged); w.Code != http.StatusNotFound {
		t.Errorf("a room without grants: %d", w.Code)
	}
}

// TestOtherBodies: the list leaves out what belongs to others, over as many pages as it takes.
func TestOtherBodies(t *testing.T) {
	f := newFake()
	other := fakeSession("20261122T020000Z-00000001", false)
	other.Body.USCC = "OTHER"
	f.store = []Session{fakeSession("20261123T060509Z-0badcafe", false), other}
	w := call(newServer(t, f), "GET", "/api/v1/sessions", "", logged)
	if w.Code != 200 || strings.Contains(w.Body.String(), "00000001") || !strings.Contains(w.Body.String(), "0badcafe") {
		t.Errorf("the list: %d %s", w.Code, w.Body)
	}
}
