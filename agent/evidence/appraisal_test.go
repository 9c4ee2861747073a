package evidence_test

import (
	"bytes"
	"crypto/x509"
	"maps"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"minglu/agent/evidence"
)

// appraised is a good appraisal of one session, changed by edit.
func appraised(session, manifest string, edit func(*evidence.Appraisal)) evidence.Appraisal {
	at := time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)
	a := evidence.Appraisal{ID: strings.Repeat("0a", 16), By: "某县执法音像管理中心", Reason: "保存期满", T: at.UnixMicro(),
		Approvals: []evidence.Approval{{Login: "zhang", Name: "张某", Role: "auditor", T: at.Add(-time.Hour).UnixMicro()}, {Login: "li", Name: "李某", Role: "manager", T: at.UnixMicro()}},
		Sessions:  []evidence.Appraised{{Session: session, Manifest: manifest, Case: "某市监罚〔2026〕1号", Until: "2026-09-01"}}}
	if edit != nil {
		edit(&a)
	}
	return a
}

// TestDestroyed is step V16: who says that a session may be gone.
func TestDestroyed(t *testing.T) {
	s := goldenScript()
	g := s.make()
	s2 := goldenScript()
	s2.id = "20260301T093000Z-0000000a"
	g2 := s2.make()
	office, stranger := newDevice("appraiser", nil), newDevice("stranger", nil)
	trust := *goldenTrust
	trust.Appraisers = []*x509.Certificate{newDevice("another appraiser", nil).cert, office.cert}
	manifest := hexSum(g2.files["manifest.json"].Data)

	for _, tt := range []struct {
		rule   string
		by     *device
		edit   func(*evidence.Appraisal)
		more   func(fstest.MapFS, string) // done to the disk; the digest of the appraisal
		kind   string
		trust  *evidence.Trust
		back   bool // the copy is there again
		exit   int
		says   string
		notSay string
	}{
		{rule: "an appraisal by a trusted appraiser", by: office, exit: 0, says: "by appraisal 0a0a", notSay: "device's word"},
		{rule: "both names stand in it", by: office, exit: 0, says: "approved by 张某 (zhang) and 李某 (li)"},
		{rule: "by somebody nobody trusts", by: stranger, exit: 3, says: "device's word"},
		{rule: "no appraiser is trusted", by: office, trust: goldenTrust, exit: 3, says: "device's word"},
		{rule: "no trust at all", by: office, trust: &evidence.Trust{Devices: goldenTrust.Devices}, exit: 3, says: "device's word"},
		{rule: "of another session", by: office, edit: func(a *evidence.Appraisal) { a.Sessions[0].Session = goldenID }, exit: 3, says: "device's word"},
		{rule: "of another manifest", by: office, edit: func(a *evidence.Appraisal) { a.Sessions[0].Manifest = hexSum([]byte("x")) }, exit: 3, says: "device's word"},
		{rule: "from before the certificate", by: office, edit: func(a *evidence.Appraisal) { a.T, a.Approvals[0].T, a.Approvals[1].T = -1<<50, -1<<50, -1<<50 }, exit: 3, says: "device's word"},
		{rule: "the appraisal was changed", by: office, more: func(m fstest.MapFS, sum string) {
			name := "ledger/appraisals/" + sum + ".json"
			m[name] = &fstest.MapFile{Data: bytes.Replace(m[name].Data, []byte("2026-09-01"), []byte("2026-09-02"), 1)}
		}, exit: 3, says: "device's word"},
		{rule: "its signature is gone", by: office, more: func(m fstest.MapFS, sum string) { delete(m, "ledger/appraisals/"+sum+".json.p7s") }, exit: 3, says: "device's word"},
		{rule: "it is not there", by: office, more: func(m fstest.MapFS, sum string) {
			maps.DeleteFunc(m, func(n string, _ *fstest.MapFile) bool { return strings.Contains(n, sum) })
		}, exit: 3, says: "device's word"},
		{rule: "a file of another name beside it tells nothing", by: office, more: func(m fstest.MapFS, _ string) { m["ledger/appraisals/note.json"] = &fstest.MapFile{Data: []byte("{}")} }, exit: 0, says: "by appraisal"},
		{rule: "destruction began, and was cut", by: office, kind: "destroying", exit: 0, says: "not yet that it ended"},
		{rule: "an old disk brings it back", by: office, back: true, exit: 0, says: "destroy it again"},
	} {
		json, p7s, err := evidence.BuildAppraisal(appraised(s2.id, manifest, tt.edit), tt.by.cert, tt.by.key)
		if err != nil {
			t.Fatalf("%s: %v", tt.rule, err)
		}
		sum, files := evidence.AppraisalFiles(json, p7s, tt.by.cert)
		here := map[string]fstest.MapFS{goldenID: g.files}
		if tt.back {
			here[s2.id] = g2.files
		}
		kind := tt.kind
		if kind == "" {
			kind = "destroyed"
		}
		d := disk(ledgerFor(s.dev, func(b *book) {
			b.head(goldenID, g)
			b.head(s2.id, g2)
			b.sealed(s2.id, g2.files)
			b.add(evidence.Archived{Common: b.common("archived"), Session: s2.id, SHA256: hexSum(nil)})
			b.add(evidence.Destroy{Common: b.common("destroying"), Session: s2.id, Appraisal: sum})
			if kind == "destroyed" {
				b.add(evidence.Destroy{Common: b.common(kind), Session: s2.id, Appraisal: sum})
			}
		}), here)
		for name, f := range files {
			d["ledger/appraisals/"+name] = &fstest.MapFile{Data: f}
		}
		if tt.more != nil {
			tt.more(d, sum)
		}
		use := tt.trust
		if use == nil {
			use = &trust
		}
		r := evidence.Verify(d, evidence.VerifyOptions{Path: "disk", Require: 1, Trust: use})
		b := asJSON(t, r)
		if r.Exit != tt.exit || !bytes.Contains(b, []byte(tt.says)) || tt.notSay != "" && bytes.Contains(b, []byte(tt.notSay)) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", tt.rule, r.Exit, tt.exit, tt.says, b)
		}
		for _, s := range r.Sessions {
			for _, sp := range s.Spans {
				if sp.Cause != "" && evidence.Chinese(sp.Cause) == "" {
					t.Errorf("%s: no Chinese words for %q", tt.rule, sp.Cause)
				}
			}
		}
	}
}

// TestAppraisalNeedsTwoPersons: nobody signs what one person alone approved.
func TestAppraisalNeedsTwoPersons(t *testing.T) {
	dev := newDevice("appraiser", nil)
	manifest := hexSum(nil)
	if _, _, err := evidence.BuildAppraisal(appraised(goldenID, manifest, nil), dev.cert, dev.key); err != nil {
		t.Fatal(err)
	}
	for rule, edit := range map[string]func(*evidence.Appraisal){
		"one approval":             func(a *evidence.Appraisal) { a.Approvals = a.Approvals[:1] },
		"none":                     func(a *evidence.Appraisal) { a.Approvals = nil },
		"the same login twice":     func(a *evidence.Appraisal) { a.Approvals[1].Login = "Zhang" },
		"two logins of one person": func(a *evidence.Appraisal) { a.Approvals[1].Name = "张某 " },
		"no name":                  func(a *evidence.Appraisal) { a.Approvals[1].Name = " " },
		"an approval of tomorrow":  func(a *evidence.Appraisal) { a.Approvals[1].T = a.T + 1 },
		"no session":               func(a *evidence.Appraisal) { a.Sessions = nil },
		"a session twice":          func(a *evidence.Appraisal) { a.Sessions = append(a.Sessions, a.Sessions[0]) },
		"no digest":                func(a *evidence.Appraisal) { a.Sessions[0].Manifest = "" },
		"no day":                   func(a *evidence.Appraisal) { a.Sessions[0].Until = "" },
		"no id":                    func(a *evidence.Appraisal) { a.ID = "" },
		"a text without end":       func(a *evidence.Appraisal) { a.Reason = strings.Repeat("x", 201) },
	} {
		if _, _, err := evidence.BuildAppraisal(appraised(goldenID, manifest, edit), dev.cert, dev.key); err == nil {
			t.Errorf("%s: it was built", rule)
		}
	}
}

// FuzzParseAppraisal: what parses is what would be written.
func FuzzParseAppraisal(f *testing.F) {
	dev := newDevice("appraiser", nil)
	json, _, err := evidence.BuildAppraisal(appraised(goldenID, hexSum(nil), nil), dev.cert, dev.key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(json)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := evidence.ParseAppraisal(b)
		if err != nil {
			return
		}
		if again, err := evidence.MarshalCanonical(*a); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q is written as %q, %v", b, again, err)
		}
	})
}
