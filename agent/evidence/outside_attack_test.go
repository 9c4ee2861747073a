package evidence_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"minglu/agent/evidence"
)

// TestGrades: what outside proofs make of a session, and what not.
func TestGrades(t *testing.T) {
	day := 24 * time.Hour
	without := func(names ...string) func(fstest.MapFS) {
		return func(m fstest.MapFS) {
			for _, n := range names {
				delete(m, n)
			}
		}
	}
	ownAlone := func(m fstest.MapFS) {
		m["witness/witnesses.vkey"] = &fstest.MapFile{Data: []byte("# own\n" + office.VKey() + "\n")}
	}
	for _, tt := range []struct {
		rule   string
		make   func(*script)
		trust  func(fstest.MapFS)
		window time.Duration
		grade  int
		says   string // in why, or in a note
	}{
		{"tokens and witnesses before and after", nil, nil, 0, 3, ""},
		{"only the body's own witness: it is marked", nil, ownAlone, 0, 3, "every witness is the body's own"},
		{"no witness is trusted", nil, without("witness/witnesses.vkey"), 0, 2, "no trusted witness within the window"},
		{"no authority is trusted: nobody says before", nil, without("tsa/root-1.pem"), 0, 1, "no outside time before"},
		{"nobody outside is trusted", nil, without("tsa/root-1.pem", "witness/witnesses.vkey"), 0, 1, "no outside time and no witness"},
		{"nobody vouches for the device: outside proofs do not help", nil, without("ca/root.pem", "ca/issuing.pem", "devices/room-3.pem"), 0, 0, "holds no certificate"},
		{"the last word came late, within the window", func(s *script) { s.out.after = 23 * time.Hour }, nil, 0, 3, ""},
		{"a rewrite a month later, with an old and a new token", func(s *script) { s.out.during, s.out.after = 0, 30*day }, nil, 0, 1, "more than the window of 24h"},
		{"the same, its middle anchored in time: not all of it is bounded", func(s *script) { s.out.after = 30 * day }, nil, 0, 1, "0:00:00.400 of the media"},
		{"whoever accepts a month", func(s *script) { s.out.after = 30 * day }, nil, 31 * day, 3, ""},
		{"three weeks without the office", func(s *script) { s.out.before, s.out.during, s.out.after = -20*day, 0, day }, nil, 0, 1, "504h"},
		{"no word before the session", func(s *script) { s.out.unnamed = true }, nil, 0, 1, "no outside time before 0:00:00.000"},
		{"no word over the seal", func(s *script) { s.out.noSeal = true }, nil, 0, 1, "no outside time bounds the seal"},
		{"the device's clock is an hour ahead of the world", func(s *script) {
			s.out.before, s.out.during, s.out.after = -time.Hour-time.Minute, -time.Hour, 59*time.Second-time.Hour
		}, nil, 0, 1, "the device's clock says"},
		{"the device's clock is an hour behind the world", func(s *script) {
			s.out.before, s.out.during, s.out.after = time.Hour, time.Hour+time.Second, time.Hour+time.Minute
		}, nil, 0, 1, "the device's clock says"},
		{"another authority", nil, func(m fstest.MapFS) {
			m["ca/root.pem"] = &fstest.MapFile{Data: evidence.MarshalCertsPEM(newAuthority("other").cert)}
			delete(m, "ca/issuing.pem")
		}, 0, 0, "none of the trust anchors"},
		{"the certificate expired before the token over the seal", func(s *script) { s.dev = until(s.dev, 30*time.Second) }, nil, 0, 0, "expired"},
		{"it expired after it", func(s *script) { s.dev = until(s.dev, 90*time.Second) }, nil, 0, 3, ""},
		{"it expired after what the session claims, and nobody outside says more", func(s *script) { s.dev, s.out.noSeal = until(s.dev, 30*time.Second), true }, nil, 0, 1, "bounds the seal"},
		{"a clock off by less than its error and a minute", func(s *script) { s.out.before, s.out.during = 50*time.Second, 55*time.Second }, nil, 0, 3, ""},
	} {
		s := witnessedScript()
		if tt.make != nil {
			tt.make(&s)
		}
		r := evidence.Verify(s.make().files, evidence.VerifyOptions{Path: s.id, Trust: trusting(tt.trust), Window: tt.window})
		if r.Exit != 0 || r.Sessions[0].Grade != tt.grade || !strings.Contains(r.Sessions[0].Why, tt.says) && !hasNote(r, tt.says) {
			t.Errorf("%s: exit %d grade %d, want %d and %q in\n%s", tt.rule, r.Exit, r.Sessions[0].Grade, tt.grade, tt.says, asJSON(t, r))
		}
	}
}

// until is the device with a certificate that ends a while after the session's start.
func until(dev *device, end time.Duration) *device {
	template, d := *dev.cert, *dev
	template.NotAfter = goldenStart.Add(end)
	d.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(nil, &template, goldenIssuing.cert, &dev.key.PublicKey, goldenIssuing.key))))
	return &d
}

// TestRevocation: the outside time over the seal decides what a revocation touches (V18).
func TestRevocation(t *testing.T) {
	g := witnessedScript().make() // sealed at 0 min by its own clock, at 1 min by the outside
	revoked := func(serial *big.Int, issuer *device, at time.Duration) []byte {
		list := must(x509.CreateRevocationList(nil, &x509.RevocationList{Number: big.NewInt(2), ThisUpdate: goldenStart, NextUpdate: goldenStart.AddDate(1, 0, 0),
			RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: serial, RevocationTime: goldenStart.Add(at)}}}, issuer.cert, issuer.key))
		return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})
	}
	tsaRoot := &device{cert: goldenTSA.root, key: goldenTSA.rootKey}
	for _, tt := range []struct {
		rule  string
		file  string
		list  []byte
		grade int
		says  string
	}{
		{"the device, before the token", "ca/b.crl", revoked(g.dev.cert.SerialNumber, goldenIssuing, 30*time.Second), 0, "was revoked before"},
		{"the device, after the token", "ca/b.crl", revoked(g.dev.cert.SerialNumber, goldenIssuing, 2*time.Minute), 3, ""},
		{"the issuing authority, before the token", "ca/b.crl", revoked(goldenIssuing.cert.SerialNumber, goldenRoot, 30*time.Second), 0, "was revoked before"},
		{"the time-stamping authority, before its first token", "tsa/b.crl", revoked(goldenTSA.cert.SerialNumber, tsaRoot, -time.Hour), 1, "no outside time before"},
		{"the time-stamping authority, after its last token", "tsa/b.crl", revoked(goldenTSA.cert.SerialNumber, tsaRoot, time.Hour), 3, ""},
		{"a list that somebody else signed", "ca/b.crl", revoked(g.dev.cert.SerialNumber, &device{cert: goldenIssuing.cert, key: keyOf("thief")}, -time.Hour), 3, ""},
	} {
		trust := trusting(func(m fstest.MapFS) { m[tt.file] = &fstest.MapFile{Data: tt.list} })
		r := evidence.Verify(g.files, evidence.VerifyOptions{Path: g.id, Trust: trust})
		if s := r.Sessions[0]; r.Exit != 0 || s.Grade != tt.grade || !strings.Contains(s.Why, tt.says) {
			t.Errorf("%s: exit %d grade %d, want %d and %q in\n%s", tt.rule, r.Exit, s.Grade, tt.grade, tt.says, asJSON(t, r))
		}
	}
}

// TestBytesOfOutsideProofs flips a bit in many bytes of what outside proofs add to a session: never
// exit 0 with the grade intact, and the answer names the file.
func TestBytesOfOutsideProofs(t *testing.T) {
	files := witnessedScript().make().files
	if r := graded(goldenWitnessed, files); r.Exit != 0 {
		t.Fatalf("%s", asJSON(t, r))
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(files)), func(n string) bool {
		return strings.HasSuffix(n, ".mp4") || n == "log.jsonl" // TestEveryByte's
	})
	if len(names) != 12 {
		t.Errorf("files: %v", names)
	}
	trust := trusting(nil)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := files[name].Data
			step := 11 // every bit of a token and every byte of an anchor: TestTokenEveryBit, TestAnchor
			if testing.Short() {
				step = 101
			}
			for i := 0; i < len(data); i += step {
				flipped := bytes.Clone(data)
				flipped[i] ^= 1 << (i % 8)
				r := evidence.Verify(with(files, name, flipped), evidence.VerifyOptions{Path: goldenWitnessed, Require: 3, Trust: trust})
				if !caught(r, name) {
					t.Fatalf("byte %d of %s flipped from %#02x to %#02x: exit %d\n%s", i, name, data[i], flipped[i], r.Exit, asJSON(t, r))
				}
			}
		})
	}
}

// TestOutsideFiles: files of outside proofs taken away, added, and put in each other's place.
func TestOutsideFiles(t *testing.T) {
	files := witnessedScript().make().files
	anchors := slices.DeleteFunc(slices.Sorted(maps.Keys(files)), func(n string) bool { return !strings.HasPrefix(n, "tokens/") })
	if len(anchors) != 3 {
		t.Fatal(anchors)
	}
	other := witnessedScript()
	other.id, other.opener = goldenWitnessed, func(o *evidence.Open) { o.Trigger = "door" }
	theirs := other.make().files
	stranger := witnessedScript()
	stranger.dev = newDevice("another", goldenIssuing)
	strange := stranger.make().files
	for _, tt := range []struct {
		rule  string
		files fstest.MapFS
		exit  int
		grade int
		says  string
	}{
		{"the anchor before is gone", with(files, anchors[0], nil), 3, 1, "no outside time before"},
		{"the anchor over the seal is gone", with(files, anchors[2], nil), 3, 1, "no outside time after"},
		{"the anchor in the middle is gone: the others bound it", with(files, anchors[1], nil), 0, 3, "the log names 2 that are not in tokens/"},
		{"the token over the signature is gone: the anchor has the seal", with(files, "manifest.json.tsr", nil), 0, 3, ""},
		{"the SM2 signature is gone", with(files, "manifest.json.sm2", nil), 1, 3, "its signature is not there"},
		{"the SM2 certificate is gone", with(files, "sm2.pem", nil), 1, 3, "the manifest names it"},
		{"an anchor under another name", with(with(files, anchors[1], nil), "tokens/anchor-000000000099.json", files[anchors[1]].Data), 1, 3, "no anchor of this name"},
		{"another file among the anchors", with(files, "tokens/readme.txt", []byte("x")), 1, 3, "nothing that is signed names this file"},
		{"an anchor of the same ledger over another log (a fork)", with(files, anchors[2], theirs[anchors[2]].Data), 1, 3, "is not the log whose state"},
		{"the whole log re-signed, the anchors kept", with(with(with(theirs, anchors[1], files[anchors[1]].Data), anchors[2], files[anchors[2]].Data), anchors[0], files[anchors[0]].Data), 1, 3, "is not the log whose state"},
		{"anchors of another device", with(files, anchors[2], strange[anchors[2]].Data), 1, 1, "no anchor of this device's ledger"},
		{"the token of another signature", with(files, "manifest.json.tsr", goldenTSA.fixed([32]byte{1}, goldenStart)), 1, 3, "is no token over the signature"},
		{"the last amendment is gone, the anchor names it", with(with(files, "amendment-1.json", nil), "amendment-1.json.p7s", nil), 1, 3, "the ledger names it"},
		{"the log shortened to an earlier signature, the seal taken away", func() fstest.MapFS {
			m := editLog(func(l [][]byte) [][]byte {
				for i := len(l) - 8; ; i-- {
					if bytes.Contains(l[i], []byte(`"type":"sign"`)) {
						return l[:i+1]
					}
				}
			})(files)
			maps.DeleteFunc(m, func(n string, _ *fstest.MapFile) bool {
				return strings.HasPrefix(n, "manifest") || strings.HasPrefix(n, "amendment")
			})
			return m
		}(), 1, 3, "this copy ends at"},
		{"an amendment without its signature", with(files, "amendment-1.json.p7s", nil), 1, 3, "amendment-1.json"},
		{"a token over no amendment", with(files, "amendment-2.json.tsr", goldenTSA.fixed([32]byte{1}, goldenStart)), 1, 3, "amendment"},
	} {
		r := graded(goldenWitnessed, tt.files)
		if b := asJSON(t, r); r.Exit != tt.exit || !bytes.Contains(b, []byte(tt.says)) || r.Sessions[0].Grade != tt.grade && r.Exit != 1 {
			t.Errorf("%s: exit %d grade %d, want %d, %d and %q in\n%s", tt.rule, r.Exit, r.Sessions[0].Grade, tt.exit, tt.grade, tt.says, b)
		}
	}
}

// TestProofsOnOneCopy: outside proofs that came to one copy alone count.
func TestProofsOnOneCopy(t *testing.T) {
	files := witnessedScript().make().files
	bare := maps.Clone(files)
	maps.DeleteFunc(bare, func(n string, _ *fstest.MapFile) bool { return strings.HasPrefix(n, "tokens/") })
	r := evidence.VerifyPlaces([]evidence.Place{{Path: "a/" + goldenWitnessed, FS: bare}, {Path: "b/" + goldenWitnessed, FS: files}},
		evidence.VerifyOptions{Require: 1, Trust: trusting(nil)})
	if r.Exit != 0 || len(r.Sessions) != 1 || r.Sessions[0].Grade != 3 {
		t.Errorf("exit %d\n%s", r.Exit, asJSON(t, r))
	}
}
