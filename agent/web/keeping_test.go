package web

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

const kept1, kept2, kept3 = "20261123T060509Z-0badcafe", "20260301T013000Z-0123abcd", "20260302T013000Z-0123abce"

// fakeKeeping notes what it is asked.
type fakeKeeping struct{ f *fake }

func (k fakeKeeping) State(context.Context) (KeepingState, error) {
	return KeepingState{
		Archive: ArchiveState{Configured: true, Where: "webdav archive.example/minglu", Waiting: 1, Oldest: "2026-11-23T06:05:09Z", Session: kept1, File: "face-00001.mp4", Done: 40 << 20, Total: 100 << 20},
		Sessions: []KeptSession{
			{ID: kept1, Case: "并市监罚〔2026〕12号", Do: "stay", Why: "no-receipt", SizeBytes: 1},
			{ID: kept2, Case: "旧案", Until: "2026-09-01", Do: "stay", Why: "held", Held: true, ArchivedAt: "2026-03-01T03:00:00Z", Receipt: strings.Repeat("ab", 32)},
			{ID: kept3, Case: "旧案二", Until: "2026-09-02", Do: "stay", Why: "space", Due: true, ArchivedAt: "2026-03-02T03:00:00Z", Receipt: strings.Repeat("cd", 32)},
			{ID: "20260303T013000Z-0123abcf", Body: "OTHER"},
		},
		Holds: []Hold{{ID: "1", Session: kept2, By: "李某", Reason: "行政复议", Since: "2026-09-01T01:00:00Z"}, {ID: "2", Session: "20260303T013000Z-0123abcf", By: "x", Reason: "y", Since: "2026-09-01T01:00:00Z"}},
		Appraisals: []Appraisal{{ID: "aa", By: "询问室三", Reason: "保存期满", At: "2026-10-01T01:00:00Z", Approved: []string{"李某"}, Sessions: []string{kept3}},
			{ID: "bb", Sessions: []string{"20260303T013000Z-0123abcf"}, Final: true}},
		LocalDays: 30, FreeBelow: 20, MinMonths: 6,
	}, nil
}

func (k fakeKeeping) Hold(_ context.Context, u User, session, caseNo, reason string) (Hold, error) {
	return Hold{ID: "3", Session: session, Case: caseNo, By: u.Name, Reason: reason}, k.f.note("hold %s %s %s %s", u.Name, session, caseNo, reason)
}

func (k fakeKeeping) Release(_ context.Context, u User, id, reason string) error {
	return k.f.note("release %s %s %s", u.Name, id, reason)
}

func (k fakeKeeping) Propose(_ context.Context, u User, sessions []string, reason string) error {
	return k.f.note("propose %s %v %s", u.Name, sessions, reason)
}

func (k fakeKeeping) Appraise(_ context.Context, u User, id string, give bool) error {
	return k.f.note("appraise %s %s %v", u.Name, id, give)
}

func withKeeping(f *fake) func(*Options) { return func(o *Options) { o.Keeping = fakeKeeping{f} } }

// TestKeepingRoutes: access is asked first, nobody touches what is another body's, and nothing is told without a keeper.
func TestKeepingRoutes(t *testing.T) {
	for _, tt := range []struct {
		rule, method, path, body, hdr string
		status                        int
		has, did                      string
	}{
		{"the state", "GET", "/keeping", "", logged, 200, `"free_below":20`, "enter 王某 keep "},
		{"not for the panel", "GET", "/keeping", "", "", 401, "login-needed", "enter panel keep "},
		{"a hold", "POST", "/keeping/holds", `{"session":"` + kept1 + `","reason":" 复议 "}`, logged, 201, `"by":"王某"`, "enter 王某 hold ; hold 王某 " + kept1 + "  复议"},
		{"a hold on a case", "POST", "/keeping/holds", `{"case":"旧案","reason":"复议"}`, logged, 201, `"case":"旧案"`, "enter 王某 hold ; hold 王某  旧案 复议"},
		{"a hold on another body's session", "POST", "/keeping/holds", `{"session":"20260303T013000Z-0123abcf","reason":"x"}`, logged, 404, "not-found", "enter 王某 hold "},
		{"its end", "POST", "/keeping/holds/1/release", `{"reason":"够了"}`, logged, 200, `"holds"`, "enter 王某 free ; release 王某 1 够了"},
		{"the end of another body's", "POST", "/keeping/holds/2/release", `{"reason":"够了"}`, logged, 404, "not-found", "enter 王某 free "},
		{"a proposal", "POST", "/keeping/appraisals", `{"sessions":["` + kept3 + `"],"reason":"期满"}`, logged, 201, `"appraisals"`, "enter 王某 appraise ; propose 王某 [" + kept3 + "] 期满"},
		{"one of another body's session", "POST", "/keeping/appraisals", `{"sessions":["20260303T013000Z-0123abcf"],"reason":"x"}`, logged, 404, "not-found", "enter 王某 appraise "},
		{"the second word", "POST", "/keeping/appraisals/aa", `{"give":true}`, logged, 200, `"appraisals"`, "enter 王某 appraise ; appraise 王某 aa true"},
		{"a word on another body's list", "POST", "/keeping/appraisals/bb", `{"give":true}`, logged, 404, "not-found", "enter 王某 appraise "},
		{"not for the panel either", "POST", "/keeping/appraisals/aa", `{"give":true}`, "", 401, "login-needed", "enter panel appraise "},
	} {
		f := newFake()
		w := call(newServer(t, f, withKeeping(f)), tt.method, "/api/v1"+tt.path, tt.body, tt.hdr)
		if did := f.take(); w.Code != tt.status || !strings.Contains(w.Body.String(), tt.has) || strings.Contains(w.Body.String(), "0123abcf") || did != tt.did {
			t.Errorf("%s: %d %s\ndid %q, want %d %s %q", tt.rule, w.Code, w.Body, did, tt.status, tt.has, tt.did)
		}
	}
	if w := call(newServer(t, newFake()), "GET", "/api/v1/keeping", "", logged); w.Code != http.StatusNotFound {
		t.Errorf("without a keeper: %d", w.Code)
	}
}
