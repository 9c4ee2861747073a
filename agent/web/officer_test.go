package web

import (
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

// picks are lists as an office sends them.
func picks() Choices {
	return Choices{
		Lists: "2026-11-23T00:00:00.000Z", Body: "11140000000000000X",
		Bodies:    []Body{{Name: "某县市场监督管理局", USCC: "11140000000000000X"}, {Name: "某县应急管理局", USCC: "11140000000000001X"}},
		Officers:  []Choice{{Officer{"王某", "001"}, false}, {Officer{"李某", "002"}, false}, {Officer{"𠅤某", "003"}, true}},
		Matters:   []MatterPick{{ID: "QX-01", Version: "2026-1", Name: "询问当事人", Kind: "interview"}, {ID: "TZ-01", Version: "2026-1", Name: "行政处罚听证", Kind: "hearing", Agenda: []string{"核对身份", "告知权利", "质证", "最后陈述"}}},
		Bookings:  []BookingPick{{ID: "b-7", Body: "11140000000000000X", Case: "并市监罚〔2026〕12号", Matter: Matter{"行政处罚听证", "TZ-01", "2026-1"}, Officers: []Officer{{"王某", "001"}, {"李某", "002"}}, From: "2026-11-23T06:00:00.000Z", To: "2026-11-23T09:00:00.000Z", Now: true}},
		Adjourned: []Adjourned{{Session: "20261120T010000Z-0badcafe", Opened: "2026-11-20T01:00:00.000Z", Matter: "行政处罚听证"}},
	}
}

func pickingFake() *fake {
	f := newFake()
	f.picks = picks()
	return f
}

// TestOfficerCommands: what officers and supervisors do reaches the room with the name of who does it.
func TestOfficerCommands(t *testing.T) {
	for _, tt := range []struct {
		path, body, hdr string
		status          int
		did             string
	}{
		{"/session", `{"continues":"A","matter":{"id":"TZ-01"}}`, "X: y", 201, "enter panel operate ; continues A; start panel case= matter=TZ-01 officers=[] flags=[]"},
		{"/session/answer", `{"yes":true}`, "X: y", 200, "enter panel operate ; reply panel true"},
		{"/session/seen", `{}`, "X: y", 200, "enter panel operate ; seen panel"},
		{"/session/prompt", `{"text":"出示证件"}`, logged, 200, "enter 王某 prompt ; prompt 王某 出示证件"},
		{"/session/prompt", `{"text":"出示证件"}`, "X: y", 401, "enter panel prompt "},
		{"/session/mark", `{"text":"质证","kind":"agenda"}`, "X: y", 200, "enter panel operate ; mark panel 质证"},
		{"/session/mark", `{"text":"质证","kind":"other"}`, "X: y", 400, "enter panel operate "},
		{"/not-recorded", `{"why":"urgent","reason":"嫌疑人突发疾病","who":"王某"}`, "X: y", 201, "enter panel operate ; not-recorded panel urgent 嫌疑人突发疾病 王某"},
		{"/not-recorded", `{"why":"lazy","reason":"x","who":"王某"}`, "X: y", 400, "enter panel operate "},
		{"/not-recorded", ``, "X: y", 400, "enter panel operate "},
		{"/sessions/20261123T060509Z-0badcafe/details", `{"case":"12","flags":["minor"]}`, logged, 201, "enter 王某 list ; get; enter 王某 amend ; amend 王某 20261123T060509Z-0badcafe case=12 flags=[minor]; get"},
		{"/sessions/20261123T060509Z-0badcafe/details", `{"case":"12"}`, "X: y", 401, "enter panel list "},
		{"/sessions/20261123T060509Z-0badcafe/refused", `{"party":"张某","reason":"不认可"}`, logged, 201, "enter 王某 list ; get; enter 王某 amend ; refuse 王某 20261123T060509Z-0badcafe 张某 不认可; get"},
		{"/sessions/20261123T060509Z-0badcafe/refused", `{"party":"张某"}`, logged, 400, "enter 王某 list "},
	} {
		f := newFake()
		w := call(newServer(t, f), "POST", "/api/v1"+tt.path, tt.body, tt.hdr)
		if got := f.take(); w.Code != tt.status || got != tt.did {
			t.Errorf("%s %s = %d, %q; want %d, %q", tt.path, tt.body, w.Code, got, tt.status, tt.did)
		}
	}
}

// TestAttachments: a file is bound by who may amend, within the limit, and taken as a download.
func TestAttachments(t *testing.T) {
	const at = "/api/v1/sessions/20261123T060509Z-0badcafe/attachments"
	send := func(f *fake, query, body string, hdr ...string) *httptest.ResponseRecorder {
		return call(newServer(t, f), "POST", at+query, body, append([]string{"Content-Type: application/octet-stream"}, hdr...)...)
	}
	f := newFake()
	if w := send(f, "?name=%E7%AC%94%E5%BD%95.pdf&kind=record", "PDF", logged); w.Code != 201 || !strings.Contains(f.take(), "attach 王某 20261123T060509Z-0badcafe 笔录.pdf record 3") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for query, want := range map[string]int{"?name=x": 400, "?kind=record": 400, "?name=x&kind=movie": 400} {
		if w := send(newFake(), query, "PDF", logged); w.Code != want {
			t.Errorf("%s: %d, want %d", query, w.Code, want)
		}
	}
	if w := send(newFake(), "?name=x&kind=record", "PDF"); w.Code != 401 {
		t.Errorf("without a login: %d", w.Code)
	}
	if w := send(newFake(), "?name=x&kind=record", strings.Repeat("x", MaxAttachment+1), logged); w.Code != 413 {
		t.Errorf("too large: %d", w.Code)
	}
	sum := strings.Repeat("ab", 32)
	f = newFake()
	f.store[0].Attached = []Attached{{Name: "笔录.pdf", Kind: "record", Size: 3, SHA256: sum}}
	f.folder = fstest.MapFS{"attachments/" + sum: {Data: []byte("PDF")}, "manifest.json": {Data: []byte("{}")}}
	w := call(newServer(t, f), "GET", at+"/"+sum, "", logged)
	if got := f.take(); w.Code != 200 || w.Body.String() != "PDF" || !strings.Contains(got, "enter 王某 download ; folder") || !strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment;") {
		t.Errorf("%d %q, %s, %v", w.Code, w.Body, got, w.Header())
	}
	for _, name := range []string{strings.Repeat("cd", 32), "..%2Fmanifest.json"} {
		if w := call(newServer(t, f), "GET", at+"/"+name, "", logged); w.Code != 404 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}
