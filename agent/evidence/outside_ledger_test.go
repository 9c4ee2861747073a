package evidence_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"minglu/agent/evidence"
)

// rotated is a device's next key, with a certificate of the authority for the device's own name.
func rotated(word string, of *device, issuer *device) *device {
	next := newDevice(word, nil)
	template := *of.cert
	next.d = of.d
	next.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(nil, &template, issuer.cert, &next.key.PublicKey, issuer.key))))
	return next
}

// TestOutsideKeys: which keys count for a device, and which do not.
func TestOutsideKeys(t *testing.T) {
	dev := newDevice("golden-room-3", goldenIssuing)
	next := rotated("golden next key", dev, goldenIssuing)
	for _, tt := range []struct {
		rule  string
		make  func(*script)
		after func(fstest.MapFS)
		exit  int
		says  string
	}{
		{"the ledger was handed over to a new key", func(s *script) { s.out.rotate = next }, nil, 0, `"grade": 3`},
		{"no anchor of the old key says so", func(s *script) { s.out.rotate, s.out.unbridged = next, true }, nil, 1, "not signed by this device's key"},
		{"an amendment by the new key, with its certificate", func(s *script) { s.out.rotate, s.out.key = next, next }, nil, 0, `"kind": "details"`},
		{"an amendment by a key nobody vouches for", func(s *script) { s.out.key = rotated("thief", dev, newAuthority("thieves")) }, nil, 1, "another key of this device's name"},
		{"an amendment by another device of the same authority", func(s *script) { s.out.key = newDevice("another", goldenIssuing) }, nil, 1, "another device's key"},
		{"a session key that another device certified", func(s *script) {
			s.opener = func(o *evidence.Open) {
				o.SKey, o.SKeySig, _ = newDevice("another", nil).signer.CertifySessionKey(o.Origin, s.session.signer.Public())
			}
		}, nil, 2, "not certified by the device"},
		{"a session key certified for another session", func(s *script) {
			s.opener = func(o *evidence.Open) {
				o.SKey, o.SKeySig, _ = s.dev.signer.CertifySessionKey(o.Origin+"0", s.session.signer.Public())
			}
		}, nil, 2, "not certified by the device"},
		{"a session key without its signature", func(s *script) { s.opener = func(o *evidence.Open) { o.SKeySig = "" } }, nil, 2, "session key"},
		{"the log by another key than the session's", func(s *script) {
			s.opener = func(o *evidence.Open) {
				o.SKey, o.SKeySig, _ = s.dev.signer.CertifySessionKey(o.Origin, newDevice("x", nil).signer.Public())
			}
		}, nil, 2, "no signature by the device's key holds"},
		{"an SM2 signature over other bytes", nil, func(m fstest.MapFS) {
			other := newSM2("")
			m["manifest.json.sm2"] = &fstest.MapFile{Data: must(evidence.SignSM2(constant(5), append([]byte("x"), m["manifest.json"].Data...), other.key))}
		}, 1, "is no SM2 signature"},
		{"a second seal of another manifest", func(s *script) { s.out.again = true }, nil, 1, "sealed with"},
	} {
		s := witnessedScript()
		if tt.make != nil {
			tt.make(&s)
		}
		files := s.make().files
		if tt.after != nil {
			tt.after(files)
		}
		r := graded(s.id, files)
		if b := asJSON(t, r); r.Exit != tt.exit || !bytes.Contains(b, []byte(tt.says)) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", tt.rule, r.Exit, tt.exit, tt.says, b)
		}
	}
	r := evidence.Verify(witnessedScript().make().files, evidence.VerifyOptions{Path: goldenWitnessed, Require: 3, Trust: trusting(func(m fstest.MapFS) { delete(m, "sm2/root.pem"); delete(m, "sm2/issuing.pem") })})
	if s := r.Sessions[0]; r.Exit != 0 || s.SM2 == nil || s.SM2.Anchor != "" || !strings.Contains(s.SM2.Why, "no SM2 authority is trusted") {
		t.Errorf("an SM2 authority that is not trusted: exit %d %+v", r.Exit, r.Sessions[0].SM2)
	}
}

// TestLaterKey: a session by a key that took over, told apart from one by the first key.
func TestLaterKey(t *testing.T) {
	s := stampedScript()
	s.dev = rotated("golden next key", s.dev, goldenIssuing)
	r := evidence.Verify(s.make().files, evidence.VerifyOptions{Path: s.id, Require: 2, Trust: trusting(nil)})
	if r.Exit != 0 || !hasNote(r, "signed by a later key") {
		t.Errorf("exit %d\n%s", r.Exit, asJSON(t, r))
	}
}

// TestAmendments: a chain of which only the end can be hidden, and not from the ledger.
func TestAmendments(t *testing.T) {
	s := witnessedScript()
	s.out.amend, s.out.late = 2, true
	g := s.make()
	other := s
	other.opener = func(o *evidence.Open) { o.Trigger = "door" }
	theirs := other.make().files
	remove := func(m fstest.MapFS, n int) fstest.MapFS {
		name := evidence.AmendmentName(int64(n))
		return with(with(m, name, nil), name+".p7s", nil)
	}
	swapped := with(with(remove(remove(g.files, 1), 2), "amendment-1.json", g.files["amendment-2.json"].Data), "amendment-1.json.p7s", g.files["amendment-2.json.p7s"].Data)
	for _, tt := range []struct {
		rule   string
		files  fstest.MapFS
		ledger bool
		exit   int
		says   string
	}{
		{"both", g.files, true, 0, `"n": 2`},
		{"the last is gone: without the ledger nobody can tell, and it says so", remove(g.files, 2), false, 0, "whether an amendment after number 1 was taken away cannot be told"},
		{"the last is gone, the ledger names it", remove(g.files, 2), true, 1, "the ledger names it"},
		{"both are gone, the ledger names them", remove(remove(g.files, 1), 2), true, 1, "the ledger names it"},
		{"the first is gone", remove(g.files, 1), false, 1, "an amendment after it is here"},
		{"the second as the first", swapped, false, 1, "it is amendment 2"},
		{"one of another manifest", with(with(g.files, "amendment-1.json", theirs["amendment-1.json"].Data), "amendment-1.json.p7s", theirs["amendment-1.json.p7s"].Data), false, 1, "amends another manifest"},
		{"a token over its signature", with(g.files, "amendment-1.json.tsr", goldenTSA.fixed(sum(g.files["amendment-1.json.p7s"].Data), goldenStart.Add(time.Minute))), true, 0, `"outside": 1772328660000000`},
		{"a token over something else", with(g.files, "amendment-1.json.tsr", goldenTSA.fixed(sum(nil), goldenStart)), true, 1, "is no token over the signature"},
	} {
		var fsys fs.FS = tt.files
		path := g.id
		if tt.ledger {
			fsys, path = disk(g.ledger, map[string]fstest.MapFS{g.id: tt.files}), "disk"
		}
		r := evidence.Verify(fsys, evidence.VerifyOptions{Path: path, Require: 3, Trust: trusting(nil)})
		if b := asJSON(t, r); r.Exit != tt.exit || !bytes.Contains(b, []byte(tt.says)) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", tt.rule, r.Exit, tt.exit, tt.says, b)
		}
	}
}

// TestGenerations: forks, copies, rollbacks and keys that a device's ledgers show.
func TestGenerations(t *testing.T) {
	g := goldenScript().make()
	dev := g.dev
	const genB, genC = "ffffffffffffffffffffffffffffffff", "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
	ledger := func(gen string, first evidence.Generation, more ...any) *book {
		b := &book{origin: evidence.LedgerOrigin(dev.d, gen), dev: dev, up: 1_000_000, st: -1}
		first.Common, first.Disks = b.common("generation"), []string{"a"}
		b.add(first)
		for _, v := range more {
			switch v := v.(type) {
			case evidence.Boot:
				v.Common = b.common("boot")
				b.add(v)
			case evidence.Head:
				v.Common = b.common("head")
				b.add(v)
			}
		}
		b.sign()
		return b
	}
	a := ledgerFor(dev, func(b *book) { b.head(goldenID, g); b.sealed(goldenID, g.files) })
	ref := &evidence.LedgerRef{Origin: a.origin, Size: a.tree.Size() - 1, Root: lastSign(a).Root}
	lost := &evidence.LedgerRef{Origin: a.origin, Size: 9, Root: ref.Root}
	short := ledgerFor(dev, func(b *book) {})
	older := &evidence.LedgerRef{Origin: a.origin, Size: 1, Root: lastSign(short).Root}
	rogue := rotated("rogue", newDevice("golden-room-3", goldenIssuing), goldenIssuing)
	rogueScript := goldenScript()
	rogueScript.dev, rogueScript.id = rogue, "20260301T103000Z-0000000b"
	stranger := goldenScript()
	stranger.dev, stranger.id = newDevice("stranger", goldenIssuing).withUsage(func(c *x509.Certificate) { c.Subject.CommonName, c.RawSubject = "golden-room-3", nil }), "20260301T113000Z-0000000c"
	for _, tt := range []struct {
		rule    string
		ledgers map[string]*book
		more    *golden
		exit    int
		says    string
	}{
		{"a generation that follows the one before", map[string]*book{goldenGen: a, genB: ledger(genB, evidence.Generation{Prev: ref, Cause: "damaged"})}, nil, 0, `"sessions": 1`},
		{"one that a witness saw longer: a rollback, or a lost minute", map[string]*book{goldenGen: a, genB: ledger(genB, evidence.Generation{Prev: ref, Cause: "shorter than published", WitnessSize: 99})}, nil, 0, "a witness held 99 lines"},
		{"one that the device had longer", map[string]*book{goldenGen: a, genB: ledger(genB, evidence.Generation{Prev: older, Cause: "shorter than published", WitnessSize: 1})}, nil, 0, "went on for 2 lines"},
		{"one of which not all is here", map[string]*book{goldenGen: a, genB: ledger(genB, evidence.Generation{Prev: lost, Cause: "damaged"})}, nil, 0, "this one says it had 9"},
		{"a false word on the one before", map[string]*book{goldenGen: a, genB: ledger(genB, evidence.Generation{Prev: &evidence.LedgerRef{Origin: a.origin, Size: 2, Root: ref.Root}, Cause: "damaged"})}, nil, 1, "was another than"},
		{"two that follow the same one: a copied device", map[string]*book{genC: ledger(genC, evidence.Generation{Prev: ref, Cause: "damaged"}), genB: ledger(genB, evidence.Generation{Prev: ref, Cause: "damaged"}), goldenGen: a}, nil, 1, "follow the same one"},
		{"two that are the first", map[string]*book{goldenGen: a, genB: ledger(genB, evidence.Generation{Cause: "first"})}, nil, 1, "the first of this device"},
		{"the TPM's counter falls: an older image was put back", map[string]*book{goldenGen: a, genB: ledger(genB, evidence.Generation{Prev: ref, Cause: "damaged"}, evidence.Boot{NV: 7}, evidence.Boot{NV: 9}, evidence.Boot{NV: 8})}, nil, 1, "falls from 9 to 8"},
		{"a session by a key that the ledger never named: a replaced device key", map[string]*book{goldenGen: a}, rogueScript.make(), 1, "never named"},
		{"a second device of the same name", map[string]*book{goldenGen: a}, stranger.make(), 0, "two devices call themselves"},
		{"the office's lines know a session that both disks lost in a rollback", map[string]*book{goldenGen: ledgerFor(dev, func(b *book) {
			b.head(goldenID, g)
			b.sealed(goldenID, g.files)
			b.head("20260301T093000Z-0000000a", g)
		})}, nil, 1, "its folder is not here"},
	} {
		m := disk(nil, map[string]fstest.MapFS{goldenID: g.files})
		for gen, b := range tt.ledgers {
			m["ledger/"+gen+"/log.jsonl"] = &fstest.MapFile{Data: b.data}
		}
		if tt.more != nil {
			for name, f := range tt.more.files {
				m["sessions/"+tt.more.id+"/"+name] = f
			}
		}
		trust := trusting(nil)
		if tt.more != nil {
			trust.Devices = append(trust.Devices, tt.more.dev.cert)
		}
		r := evidence.Verify(m, evidence.VerifyOptions{Path: "disk", Require: 1, Trust: trust})
		if b := asJSON(t, r); r.Exit != tt.exit || !bytes.Contains(b, []byte(tt.says)) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", tt.rule, r.Exit, tt.exit, tt.says, b)
		}
	}
}

// TestLedgerHandedOver: a whole ledger that the old key began and a new one ends.
func TestLedgerHandedOver(t *testing.T) {
	s := witnessedScript()
	next := rotated("golden next key", s.dev, goldenIssuing)
	s.out.rotate = next
	g := s.make()
	verify := func(b *book) evidence.Result {
		return evidence.Verify(disk(b, map[string]fstest.MapFS{g.id: g.files}), evidence.VerifyOptions{Path: "disk", Require: 3, Trust: trusting(nil)})
	}
	if r := verify(g.ledger); r.Exit != 0 {
		t.Errorf("handed over: exit %d\n%s", r.Exit, asJSON(t, r))
	}
	b := &book{origin: g.ledger.origin, dev: g.dev, up: 1, st: -1}
	b.add(evidence.Generation{Common: b.common("generation"), Cause: "first", Disks: []string{"a"}})
	b.sign()
	b.add(evidence.Key{Common: b.common("key"), SPKI: base64.StdEncoding.EncodeToString(next.signer.SPKI()), Use: "sign"})
	b.dev = next // signs the line that names itself
	b.sign()
	b.head(g.id, g)
	b.sign()
	if r := verify(b); r.Ledgers[0].Lines != 2 || r.Ledgers[0].Sessions != 0 || !bytes.Contains(asJSON(t, r), []byte("behind the last signature are not signed")) {
		t.Errorf("a key that names itself counts for nothing: exit %d\n%s", r.Exit, asJSON(t, r))
	}
}

func sum(b []byte) [32]byte { return [32]byte(must(decodeHex(hexSum(b)))) }

func decodeHex(s string) (b []byte, err error) {
	_, err = fmt.Sscanf(s, "%x", &b)
	return b, err
}

func lastSign(b *book) (s evidence.Sign) {
	lines := bytes.Split(bytes.TrimSuffix(b.data, []byte("\n")), []byte("\n"))
	if err := must(evidence.ParseLine(lines[len(lines)-1])).Decode(&s); err != nil {
		panic(err)
	}
	return s
}
