package evidence_test

import (
	"bytes"
	"crypto/x509"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"minglu/agent/evidence"
)

// amended is a sealed session with amendments of these kinds and data.
func amended(t *testing.T, say ...map[string]string) (string, fstest.MapFS) {
	t.Helper()
	g := goldenScript().make()
	prev := ""
	for i, data := range say {
		n := int64(i + 1)
		kind := data["_kind"]
		delete(data, "_kind")
		json, p7s, err := evidence.BuildAmendment(evidence.Amendment{Session: g.id, N: n, Manifest: hexSum(g.files["manifest.json"].Data), Prev: prev,
			Kind: kind, T: goldenStart.Add(time.Hour).UnixMicro(), TE: -1, Data: data}, []*x509.Certificate{g.dev.cert}, g.dev.key)
		if err != nil {
			t.Fatal(err)
		}
		prev = hexSum(json)
		g.write(evidence.AmendmentName(n), json)
		g.write(evidence.AmendmentName(n)+".p7s", p7s)
	}
	return g.id, g.files
}

func TestFacts(t *testing.T) {
	number := "并市监罚〔2026〕12号"
	details, err := evidence.DetailsData{Case: &number, Matter: &evidence.Matter{ID: "QX-01", Version: "3", Name: "询问"},
		Officers: []evidence.Officer{{Name: "王 某", Credential: "001"}, {Name: "𠅤李", Credential: ""}}, Flags: []string{"minor"}, Who: "li"}.Map()
	if err != nil {
		t.Fatal(err)
	}
	details["_kind"] = evidence.AmendDetails
	file := []byte("笔录")
	bound := evidence.Attachment{Name: "笔录.pdf", Size: int64(len(file)), SHA256: hexSum(file), Kind: evidence.AttachedRecord, Who: "li"}
	attach := bound.Map()
	attach["_kind"] = evidence.AmendAttachment
	id, files := amended(t, details, attach,
		map[string]string{"_kind": "refused", "party": "张某", "reason": "不认可笔录", "who": "li"},
		map[string]string{"_kind": "details", "case": "", "flags": "secret minor", "who": "li"})
	files = with(files, evidence.AttachmentPath(bound.SHA256), file)

	m, f, err := evidence.ReadFacts(files)
	if err != nil {
		t.Fatal(err)
	}
	at := goldenStart.Add(time.Hour).UnixMicro()
	bound.N, bound.T = 2, at
	want := evidence.Facts{Body: m.Body, Case: "", Matter: "询问", MatterID: "QX-01", MatterVersion: "3", Officers: []evidence.Officer{{Name: "王 某", Credential: "001"}, {Name: "𠅤李"}},
		Flags: []string{"drill", "minor", "secret"}, Attachments: []evidence.Attachment{bound}, Refused: []evidence.Refusal{{N: 3, T: at, Party: "张某", Reason: "不认可笔录", Who: "li"}}, Amended: 4}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("facts %+v\nwant  %+v", f, want)
	}
	name := evidence.AttachmentPath(bound.SHA256)
	for _, tt := range []struct {
		rule  string
		files fstest.MapFS
		exit  int
		says  string
	}{
		{"a file named by an amendment is listed", files, 0, ""},
		{"an attachment that was changed is altered", with(files, name, []byte("记录")), 1, "is not the attachment that the amendment names"},
		{"one that lacks bytes too", with(files, name, file[:2]), 1, "is not the attachment that the amendment names"},
		{"one that was taken away is missing", with(files, name, nil), 1, "an amendment names this attachment"},
		{"a file that no amendment names is foreign", with(files, evidence.AttachmentPath(strings.Repeat("0", 64)), file), 1, "nothing that is signed names this file"},
		{"without the amendments after it, it is still named", with(with(files, "amendment-4.json", nil), "amendment-4.json.p7s", nil), 0, ""},
	} {
		r := answer(id, tt.files)
		if b := asJSON(t, r); r.Exit != tt.exit || !bytes.Contains(b, []byte(tt.says)) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", tt.rule, r.Exit, tt.exit, tt.says, b)
		}
	}
	// What does not hold on is left out and told.
	if _, f, err := evidence.ReadFacts(with(files, "amendment-3.json", files["amendment-2.json"].Data)); err == nil || f.Amended != 2 {
		t.Errorf("an amendment in the wrong place: %d taken, %v", f.Amended, err)
	}
	if m, _, err := evidence.ReadFacts(fstest.MapFS{}); m != nil || err == nil {
		t.Errorf("no manifest: %v, %v", m, err)
	}
	for rule, data := range map[string]map[string]string{
		"no digest":       {"_kind": "attachment", "name": "x", "size": "1", "sha256": "../../x", "kind": "other", "who": "li"},
		"a size too many": {"_kind": "attachment", "name": "x", "size": "99999999999", "sha256": bound.SHA256, "kind": "other", "who": "li"},
	} {
		id, files := amended(t, data)
		if r := answer(id, files); r.Exit != 1 {
			t.Errorf("%s: exit %d", rule, r.Exit)
		}
		if _, f, err := evidence.ReadFacts(fs.FS(files)); err != nil || len(f.Attachments) != 0 {
			t.Errorf("%s: %v, %v", rule, f.Attachments, err)
		}
	}
}

func TestDetailsDataRefuses(t *testing.T) {
	bad := "a\nb"
	for rule, d := range map[string]evidence.DetailsData{"nothing said": {Who: "li"}, "a line break": {Case: &bad}, "a tab in a name": {Officers: []evidence.Officer{{Name: "a\tb"}}}} {
		if data, err := d.Map(); err == nil {
			t.Errorf("%s: %v", rule, data)
		}
	}
}

// TestMatterInManifest: where a matter of the list stands is sealed with the session.
func TestMatterInManifest(t *testing.T) {
	g := goldenScript().make()
	if bytes.Contains(g.files["manifest.json"].Data, []byte("matter_id")) {
		t.Error("a manifest without a listed matter has another form than before")
	}
	s := goldenScript()
	s.edit = func(line string) string { // canonical: the keys in order
		line = strings.Replace(line, `{"case":"某市监案`, `{"booking":"b-7","case":"某市监案`, 1)
		return strings.Replace(line, `"matter":"interview",`, `"matter":"interview","matter_id":"QX-01","matter_version":"3",`, 1)
	}
	g = s.make()
	m, f, err := evidence.ReadFacts(g.files)
	if err != nil || m.MatterID != "QX-01" || f.MatterVersion != "3" || f.Booking != "b-7" {
		t.Errorf("%+v, %v", f, err)
	}
	if r := answer(g.id, g.files); r.Exit != 0 {
		t.Errorf("exit %d\n%s", r.Exit, asJSON(t, r))
	}
}
