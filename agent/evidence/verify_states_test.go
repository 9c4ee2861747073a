package evidence_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"minglu/agent/evidence"
)

// TestCutLedger: a disk whose ledger was cut at a sign line, or rewritten, with a session's folder gone. Any
// later state that the device signed and that is still at hand shows it.
func TestCutLedger(t *testing.T) {
	g := witnessedScript().make()
	const gone = "20260301T093000Z-0000000a"
	one := map[string]fstest.MapFS{g.id: g.files}
	cut := *g.ledger // as it was before the second session
	copyOf := func(b *book) *book {
		c := *b
		c.tree, c.data = *b.tree.Clone(), bytes.Clone(b.data)
		return &c
	}
	whole := copyOf(&cut)
	whole.head(gone, g)
	whole.sign()
	rewritten := copyOf(&cut) // as long, by the device's key
	rewritten.head(g.id, g)
	rewritten.sign()
	calm := copyOf(&cut) // longer, but nothing of the second session: what is at hand agrees
	calm.head(g.id, g)
	calm.sign()
	note := func(b *book, by *device) []byte {
		s := lastSign(b)
		root := must(evidence.ParseHash(s.Root))
		return []byte(evidence.Note(b.origin, s.Size, root, must(by.signer.Sign(b.origin, s.Size, root))))
	}
	beside := func(m fstest.MapFS, b *book, by *device) fstest.MapFS {
		return with(m, fmt.Sprintf("ledger/%s/anchors/%012d.note", goldenGen, lastSign(b).Size), note(b, by))
	}
	token := with(g.files, evidence.AnchorName(whole.tree.Size()), whole.anchor(g.id, nil))
	for _, tt := range []struct {
		rule   string
		places []fstest.MapFS
		exit   int
		says   string
	}{
		{"a whole ledger with its note", []fstest.MapFS{beside(disk(calm, one), calm, g.dev)}, 0, `"sessions": 1`},
		{"a note of an earlier state", []fstest.MapFS{beside(disk(calm, one), &cut, g.dev)}, 0, `"sessions": 1`},
		{"cut at a sign line, nothing newer at hand: nobody can tell", []fstest.MapFS{disk(&cut, one)}, 0, `"sessions": 1`},
		{"cut at a sign line, a newer note beside it", []fstest.MapFS{beside(disk(&cut, one), whole, g.dev)}, 1, fmt.Sprintf("ends after %d lines, and the device signed a state of %d", cut.tree.Size(), lastSign(whole).Size)},
		{"cut at a sign line, a newer anchor in a session that is left", []fstest.MapFS{disk(&cut, map[string]fstest.MapFS{g.id: token})}, 1, evidence.AnchorName(whole.tree.Size())},
		{"a newer note by another key is nothing", []fstest.MapFS{beside(disk(&cut, one), whole, newDevice("another", nil))}, 0, `"sessions": 1`},
		{"a note that is none", []fstest.MapFS{with(disk(&cut, one), "ledger/"+goldenGen+"/anchors/999999999999.note", []byte("x"))}, 0, `"sessions": 1`},
		{"rewritten as long by the holder of the key, the old note beside it", []fstest.MapFS{beside(disk(rewritten, one), whole, g.dev)}, 1, "two histories"},
		{"rewritten as long, an anchor of the old one in a session", []fstest.MapFS{disk(rewritten, map[string]fstest.MapFS{g.id: token})}, 1, "two histories"},
		{"the whole ledger names the session that is gone", []fstest.MapFS{beside(disk(whole, one), whole, g.dev)}, 1, "its folder is not here"},
		{"cut on one disk, whole on the other: the longest counts", []fstest.MapFS{beside(disk(&cut, one), calm, g.dev), disk(calm, one)}, 0, `"sessions": 1`},
		{"no ledger at all", []fstest.MapFS{disk(nil, one)}, 0, "whether a whole session was taken away cannot be told"},
		{"a folder of sessions without any ledger", []fstest.MapFS{plain(one)}, 0, "whether a whole session was taken away cannot be told"},
		{"the office's copy beside a cut disk", []fstest.MapFS{disk(&cut, one), officeFolder(g.dev, whole)}, 1, "its folder is not here"},
		{"the office's copy beside a disk without ledger", []fstest.MapFS{disk(nil, one), officeFolder(g.dev, whole)}, 1, "its folder is not here"},
		{"the office's copy that agrees", []fstest.MapFS{disk(calm, one), officeFolder(g.dev, calm)}, 0, `"sessions": 1`},
		{"the office's folder of all devices: those of others are left out", []fstest.MapFS{disk(calm, one), with(officeFolder(g.dev, calm), strings.Repeat("ab", 16)+"/"+goldenGen+"/log.jsonl", whole.data)}, 0, "ledgers of 1 other devices were not looked at"},
		{"the office's folder alone: judged by the certificate beside it, but no session", []fstest.MapFS{officeFolder(g.dev, whole)}, 2, "only ledgers were given"},
	} {
		var places []evidence.Place
		for i, fsys := range tt.places {
			places = append(places, evidence.Place{Path: fmt.Sprintf("/place-%d", i), FS: fsys})
		}
		r := evidence.VerifyPlaces(places, evidence.VerifyOptions{Require: 3, Trust: trusting(nil)})
		if b := asJSON(t, r); r.Exit != tt.exit || !bytes.Contains(b, []byte(tt.says)) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", tt.rule, r.Exit, tt.exit, tt.says, b)
		}
	}
}

// TestOfficeAlone: the ledgers of an office need no session and no trust to be checked, only the certificate
// beside them, and only one of the key that the device is named after.
func TestOfficeAlone(t *testing.T) {
	g := witnessedScript().make()
	for _, tt := range []struct {
		rule  string
		dev   *device
		lines bool
	}{{"its own", g.dev, true}, {"another's", newDevice("another", nil), false}, {"another key of its name", rotated("thief", g.dev, newAuthority("thieves")), false}} {
		m := officeFolder(g.dev, g.ledger)
		m[g.dev.d+"/device.pem"] = &fstest.MapFile{Data: evidence.MarshalCertsPEM(tt.dev.cert)}
		r := evidence.VerifyPlaces([]evidence.Place{{Path: "/ledgers", FS: m}}, evidence.VerifyOptions{})
		if len(r.Ledgers) != 1 || (r.Ledgers[0].Lines > 0) != tt.lines || r.Exit != 2 {
			t.Errorf("%s: exit %d %+v", tt.rule, r.Exit, r.Ledgers)
		}
		sub := must(fs.Sub(m, g.dev.d))
		r = evidence.VerifyPlaces([]evidence.Place{{Path: "/ledgers/" + g.dev.d, FS: sub}}, evidence.VerifyOptions{})
		if len(r.Ledgers) != 1 || (r.Ledgers[0].Lines > 0) != tt.lines {
			t.Errorf("%s: its folder alone: %+v", tt.rule, r.Ledgers)
		}
	}
}

// growing is a ledger that gets its last lines while it is being verified.
type growing struct {
	files fstest.MapFS
	name  string
	later []byte
	opens int
}

func (g *growing) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, g.name) {
		if g.opens++; g.opens > 1 {
			return fstest.MapFS{"f": {Data: g.later}}.Open("f")
		}
	}
	return g.files.Open(name)
}

// TestLedgerGrows: a room that records on while its disk is verified shows no ledger that is too short.
func TestLedgerGrows(t *testing.T) {
	g := witnessedScript().make()
	early := bytes.Clone(g.ledger.data)
	g.ledger.head(g.id, g)
	g.ledger.sign()
	files := with(g.files, evidence.AnchorName(g.ledger.tree.Size()), g.ledger.anchor(g.id, nil))
	m := disk(nil, map[string]fstest.MapFS{g.id: files})
	m["ledger/"+goldenGen+"/log.jsonl"] = &fstest.MapFile{Data: early, ModTime: time.Unix(0, 0)}
	r := evidence.Verify(&growing{files: m, name: goldenGen + "/log.jsonl", later: g.ledger.data}, evidence.VerifyOptions{Path: "disk", Require: 3, Trust: trusting(nil)})
	if r.Exit != 0 {
		t.Errorf("exit %d\n%s", r.Exit, asJSON(t, r))
	}
}

// officeFolder is an office's folder of ledgers, with the device's certificate beside them.
func officeFolder(dev *device, b *book) fstest.MapFS {
	return fstest.MapFS{dev.d + "/" + goldenGen + "/log.jsonl": {Data: b.data}, dev.d + "/device.pem": {Data: evidence.MarshalCertsPEM(dev.cert)}, "tmp": {Mode: fs.ModeDir | 0o755}}
}

// plain is a folder of session folders.
func plain(sessions map[string]fstest.MapFS) fstest.MapFS {
	m := fstest.MapFS{}
	for id, files := range sessions {
		for name, f := range files {
			m[id+"/"+name] = f
		}
	}
	return m
}
