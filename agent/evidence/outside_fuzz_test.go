package evidence_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"testing"

	"minglu/agent/evidence"
)

// FuzzAnchor: what parses is written the same way again, and the whole verifier answers for it.
func FuzzAnchor(f *testing.F) {
	files := witnessedScript().make().files
	for _, n := range []int64{3, 5, 11} {
		f.Add(files[evidence.AnchorName(n)].Data)
	}
	trust := trusting(nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := evidence.ParseAnchor(b)
		if err != nil {
			return
		}
		if c := a.Checkpoint; c.Note() != must(evidence.ParseCheckpoint(c.Note())).Note() {
			t.Error("a checkpoint that is not itself")
		}
		if _, _, err := trust.Outside(a); err != nil {
			return
		}
		name := evidence.AnchorName(a.Checkpoint.Size)
		known := files[name]
		r := evidence.Verify(with(files, name, b), evidence.VerifyOptions{Path: goldenWitnessed, Require: 3, Trust: trust})
		if r.Exit == 0 && (known == nil || !bytes.Equal(known.Data, b)) {
			t.Errorf("exit 0 with another %s", name)
		}
	})
}

// FuzzToken: no bytes but the authority's hold, and normal form is a fixed point.
func FuzzToken(f *testing.F) {
	imprint := sha256.Sum256([]byte("x"))
	token := goldenTSA.fixed(imprint, goldenStart)
	f.Add(token)
	f.Add(goldenTSA.reply(imprint, goldenStart))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := evidence.NormalToken(b); err == nil {
			if again, err := evidence.NormalToken(n); err != nil || !bytes.Equal(again, n) {
				t.Errorf("the normal form has another normal form: %v", err)
			}
		}
		if _, err := evidence.VerifyToken(b, imprint, []*x509.Certificate{goldenTSA.root}); err == nil && !bytes.Equal(b, token) {
			t.Error("other bytes hold")
		}
	})
}

// FuzzCosignature: what is read is written the same way, and only the witness's line holds.
func FuzzCosignature(f *testing.F) {
	w, key := witness("a")
	text := evidence.SignedText("minglu/x", 7, evidence.Hash{1})
	line := must(evidence.Cosign(w.Name, key, text, goldenStart))
	f.Add(line)
	f.Add("— a b")
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := evidence.ParseCosignature(s); err == nil && c.Line != s {
			t.Errorf("%q is read as %q", s, c.Line)
		}
		if _, err := w.Verify(text, s); err == nil && s != line {
			t.Errorf("%q holds", s)
		}
	})
}

// FuzzVKey: a verifier key has one form.
func FuzzVKey(f *testing.F) {
	w, _ := witness("a")
	f.Add(w.VKey())
	f.Add("# own\n" + w.VKey())
	f.Fuzz(func(t *testing.T, s string) {
		if w, err := evidence.ParseVKey(s); err == nil && w.Known() && w.VKey() != s {
			t.Errorf("%q is read as %q", s, w.VKey())
		}
		ws, err := evidence.ReadWitnesses([]byte(s))
		for _, w := range ws {
			if again, err2 := evidence.ParseVKey(w.VKey()); err == nil && w.Known() && (err2 != nil || again.VKey() != w.VKey()) {
				t.Errorf("%v is not read again: %v", w, err2)
			}
		}
	})
}
