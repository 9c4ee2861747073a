package evidence_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/fmp4"
)

func goldenScript() script {
	return script{dev: newDevice("golden-room-3", nil), id: goldenID, cycles: 4, segment: 2, mark: 1}
}

// bounds returns the offset of each fragment of a segment and of the end.
func bounds(file []byte) (offs []int) {
	for i := 0; i+8 <= len(file); {
		n := int(binary.BigEndian.Uint32(file[i:]))
		if string(file[i+4:i+8]) == "moof" {
			offs = append(offs, i)
		}
		i += n
	}
	return append(offs, len(file))
}

// editLog changes the lines of a log file.
func editLog(f func(lines [][]byte) [][]byte) func(fstest.MapFS) fstest.MapFS {
	return func(m fstest.MapFS) fstest.MapFS {
		lines := bytes.Split(bytes.TrimSuffix(m["log.jsonl"].Data, []byte("\n")), []byte("\n"))
		return with(m, "log.jsonl", append(bytes.Join(f(lines), []byte("\n")), '\n'))
	}
}

func editFile(name string, f func([]byte) []byte) func(fstest.MapFS) fstest.MapFS {
	return func(m fstest.MapFS) fstest.MapFS { return with(m, name, f(bytes.Clone(m[name].Data))) }
}

// TestOutsiderAttacks are changes made without the device's key.
func TestOutsiderAttacks(t *testing.T) {
	const seg = "face-00001.mp4"
	free := []byte{0, 0, 0, 8, 'f', 'r', 'e', 'e'}
	for _, tt := range []struct {
		rule  string
		do    func(fstest.MapFS) fstest.MapFS
		place string
		says  string // "" or a finding
	}{
		{"two fragments change places", editFile(seg, func(b []byte) []byte {
			o := bounds(b)
			return slices.Concat(b[:o[0]], b[o[1]:o[2]], b[o[0]:o[1]])
		}), seg, "altered"},
		{"a fragment is left out", editFile(seg, func(b []byte) []byte {
			o := bounds(b)
			return slices.Delete(b, o[0], o[1])
		}), seg, "missing"},
		{"the last fragment is left out", editFile(seg, func(b []byte) []byte { return b[:bounds(b)[1]] }), seg, "missing"},
		{"a fragment comes twice", editFile(seg, func(b []byte) []byte {
			o := bounds(b)
			return slices.Concat(b, b[o[1]:o[2]])
		}), seg, "altered"},
		{"tfdt is moved by one tick", editFile(seg, func(b []byte) []byte {
			i := bytes.Index(b, []byte("tfdt"))
			b[i+15]++
			return b
		}), seg, "re-timed"},
		{"a free box stands between moof and mdat", editFile(seg, func(b []byte) []byte {
			i := bytes.Index(b, []byte("mdat")) - 4
			return slices.Insert(b, i, free...)
		}), seg, "altered"},
		{"mdat stands before moof", editFile(seg, func(b []byte) []byte {
			o := bounds(b)
			m := bytes.Index(b, []byte("mdat")) - 4
			return slices.Concat(b[:o[0]], b[m:o[1]], b[o[0]:m], b[o[1]:])
		}), seg, "altered"},
		{"a free box stands behind the end", editFile(seg, func(b []byte) []byte { return append(b, free...) }), seg, "altered"},
		{"a free box stands before the first fragment", editFile(seg, func(b []byte) []byte {
			return slices.Insert(b, bounds(b)[0], free...)
		}), seg, "altered"},
		{"the index points elsewhere", editFile(seg, func(b []byte) []byte {
			i := bytes.Index(b, []byte("sidx"))
			b[i+40]++
			return b
		}), seg, "altered"},
		{"a line comes twice", editLog(func(l [][]byte) [][]byte { return slices.Insert(l, 9, l[9]) }), "log.jsonl", "altered"},
		{"a line is left out", editLog(func(l [][]byte) [][]byte { return slices.Delete(l, 9, 10) }), "log.jsonl", "altered"},
		{"two lines change places", editLog(func(l [][]byte) [][]byte { l[8], l[9] = l[9], l[8]; return l }), "log.jsonl", "altered"},
		{"the end of the log is cut off", editLog(func(l [][]byte) [][]byte { return l[:len(l)-3] }), "log.jsonl", "altered"},
		{"a line is added behind the end", editLog(func(l [][]byte) [][]byte { return append(l, l[9]) }), "log.jsonl", "altered"},
		{"white space is added to a line", editLog(func(l [][]byte) [][]byte { l[9] = append(l[9], ' '); return l }), "log.jsonl", "altered"},
		{"a torn tail stands behind the end", editFile("log.jsonl", func(b []byte) []byte { return append(b, `{"a"`...) }), "log.jsonl", "altered"},
		{"NUL bytes stand behind the end", editFile("log.jsonl", func(b []byte) []byte { return append(b, make([]byte, 512)...) }), "log.jsonl", "altered"},
		{"another name for the case", editFile("manifest.json", func(b []byte) []byte {
			return bytes.Replace(b, []byte("张三"), []byte("王五"), 1)
		}), "manifest.json", "altered"},
		{"the manifest is written prettier", editFile("manifest.json", func(b []byte) []byte {
			var out bytes.Buffer
			if err := json.Indent(&out, b, "", " "); err != nil {
				panic(err)
			}
			return out.Bytes()
		}), "manifest.json", "altered"},
		{"the certificate is another device's", editFile("device.pem", func([]byte) []byte {
			return evidence.MarshalCertsPEM(newDevice("another", nil).cert)
		}), "device.pem", ""},
		{"a segment belongs to another session", func(m fstest.MapFS) fstest.MapFS {
			s := goldenScript()
			s.id, s.moof = "20260301T090000Z-00000009", func(_ string, _ int64, r []fmp4.Run) []fmp4.Run { r[0].Samples[0].CTO = 9000; return r }
			return with(m, seg, s.make().files[seg].Data)
		}, seg, "altered"},
	} {
		r := answer(goldenID, tt.do(goldenScript().make().files))
		if !caught(r, tt.place) || !bytes.Contains(asJSON(t, r), []byte(tt.says)) {
			t.Errorf("%s: exit %d, want 1 or 2, %q and %q in\n%s", tt.rule, r.Exit, tt.place, tt.says, asJSON(t, r))
		}
	}
}

// highS makes a signature's s the larger of its two values.
func highS(der []byte) []byte {
	var v struct{ R, S *big.Int }
	must(asn1.Unmarshal(der, &v))
	v.S.Sub(elliptic.P256().Params().N, v.S)
	return must(asn1.Marshal(v))
}

// TestInsiderAttacks are what the holder of the device key, or of another device's, signs.
func TestInsiderAttacks(t *testing.T) {
	for _, tt := range []struct {
		rule string
		make func(*script)
		says string
	}{
		{"a line says another time than its moof", func(s *script) {
			s.line = func(n int64, f *evidence.Fragment) { f.To += 40_000 }
		}, "the line says"},
		{"a line says another count of samples", func(s *script) {
			s.line = func(n int64, f *evidence.Fragment) { f.Samples[0]++ }
		}, "the line says"},
		{"a fragment number is left out", func(s *script) {
			s.line = func(n int64, f *evidence.Fragment) {
				if n >= 2 {
					f.N++
				}
			}
		}, "fragment number"},
		{"st points past a pause", func(s *script) {
			s.pause = map[int]int{2: 1}
			s.line = func(n int64, f *evidence.Fragment) {
				if n == 3 {
					f.St -= 3
				}
			}
		}, "st "},
		{"time runs backwards", func(s *script) {
			s.moof = func(ch string, n int64, r []fmp4.Run) []fmp4.Run {
				if n == 1 {
					for i := range r {
						r[i].Time -= r[i].Time / 2
					}
				}
				return r
			}
		}, "begins before"},
		{"bytes stand between moof and mdat, signed", func(s *script) {
			s.fragment = func(n int64, b []byte) []byte {
				i := bytes.Index(b, []byte("mdat")) - 4
				return slices.Insert(bytes.Clone(b), i, 0, 0, 0, 8, 'f', 'r', 'e', 'e')
			}
		}, "not the one moof and mdat"},
		{"a false index stands in the reserve", func(s *script) {
			s.reserve = func(ch string, seg int64, b []byte) []byte {
				b = bytes.Clone(b)
				b[45] ^= 4
				return b
			}
		}, "the index is not the one"},
		{"a false index stands in an open segment", func(s *script) {
			s.cut = true
			s.reserve = func(string, int64, []byte) []byte {
				return append([]byte{0, 0, 0, 0x20, 's', 'i', 'd', 'x'}, make([]byte, 100)...)
			}
		}, "never closed"},
		{"another device signs under this origin, its own name in the certificate", func(s *script) {
			s.dev = newDevice("another", nil)
			s.dev.d = newDevice("golden-room-3", nil).d
		}, "another device's key"},
		{"another device signs under this origin, this name in a certificate of its own making", func(s *script) {
			mine, victim := newDevice("another", nil), newDevice("golden-room-3", nil)
			forged := *mine
			forged.d, forged.cert = victim.d, selfMadeFor(mine, victim.d)
			s.dev = &forged
		}, "another device's key"},
		{"a certificate that may also sign others", func(s *script) {
			s.dev = s.dev.withUsage(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign })
		}, "key usage"},
		{"a certificate for TLS", func(s *script) {
			s.dev = s.dev.withUsage(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
		}, "extended key usage"},
		{"a line after the seal", func(s *script) { s.afterSeal = true }, "after the seal"},
		{"uptime falls", edit(`"type":"close","up":`, `"type":"close","up":0,"was":`), "uptime falls"},
		{"a line number is wrong", edit(`"seq":9,`, `"seq":8,`), "is not the line number"},
		{"a resume without a pause", func(s *script) {
			s.edit = func(l string) string {
				if strings.Contains(l, `"type":"mark"`) {
					return strings.NewReplacer(`"salt"`, `"reason":"","salt"`, `"text":"出示证据",`, "", `"mark"`, `"resume"`).Replace(l)
				}
				return l
			}
		}, "resume while the session is running"},
		{"a pause within a pause", func(s *script) { s.pause = map[int]int{1: 1}; edit(`"type":"resume"`, `"type":"pause"`)(s) }, "pause while the session is paused"},
		{"a file name that is not the segment's", edit(`"file":"face-00001.mp4"`, `"file":"face-00007.mp4"`), "is not the name of segment 1"},
		{"another timescale than the init's", edit(`"timescale":90000`, `"timescale":45000`), "timescale is not the one"},
		{"a size that the fragments do not fill", func(s *script) {
			s.edit = func(l string) string {
				if strings.Contains(l, `"segment.close"`) {
					return strings.Replace(l, `"size":`, `"size":1`, 1)
				}
				return l
			}
		}, "its fragments end at"},
		{"a SHA-256 that is not the file's", func(s *script) { s.edit = zeroDigest("sha256") }, "SHA-256 or SM3"},
		{"an SM3 that is not the file's", func(s *script) { s.edit = zeroDigest("sm3") }, "SHA-256 or SM3"},
		{"an origin of another session", edit(goldenGen+"/"+goldenID, goldenGen+"/20260301T013000Z-ffffffff"), "field says"},
		{"an id of another device", edit(`"device":{"board":"sim","id":"5`, `"device":{"board":"sim","id":"6`), "is not that of the origin"},
		{"fragments that close does not count", edit(`"fragments":{"face":4`, `"fragments":{"face":3`), "close counts 3"},
	} {
		s := goldenScript()
		tt.make(&s)
		r := answer(goldenID, s.make().files)
		if b := asJSON(t, r); r.Exit != 1 && r.Exit != 2 || !bytes.Contains(b, []byte(tt.says)) {
			t.Errorf("%s: exit %d, want 1 or 2 and %q in\n%s", tt.rule, r.Exit, tt.says, b)
		}
	}
}

// edit changes words of a log line before it is signed.
func edit(old, to string) func(*script) {
	return func(s *script) { s.edit = func(l string) string { return strings.Replace(l, old, to, 1) } }
}

// zeroDigest makes a digest of segment.close lines another one.
func zeroDigest(key string) func(string) string {
	return func(l string) string {
		if i := strings.Index(l, `"`+key+`":"`); i >= 0 && strings.Contains(l, `"segment.close"`) {
			i += len(key) + 4
			return l[:i] + strings.Repeat("0", 64) + l[i+64:]
		}
		return l
	}
}

// TestAnotherKeyOfTheSameAuthority: the certificate must carry the device's own origin.
func TestAnotherKeyOfTheSameAuthority(t *testing.T) {
	ca := newAuthority("ca")
	trust := must(evidence.ReadTrust(fstest.MapFS{"ca/root.pem": {Data: evidence.MarshalCertsPEM(ca.cert)}}))
	s := goldenScript()
	s.dev = newDevice("golden-room-3", ca)
	o := evidence.VerifyOptions{Path: goldenID, Require: 1, Trust: trust}
	if r := evidence.Verify(s.make().files, o); r.Exit != 0 {
		t.Errorf("a device of a trusted authority: exit %d\n%s", r.Exit, asJSON(t, r))
	}
	for when, want := range map[time.Duration]int{-time.Hour: 3, time.Hour: 0} {
		list := must(x509.CreateRevocationList(nil, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: goldenStart, NextUpdate: goldenStart.AddDate(1, 0, 0),
			RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: s.dev.cert.SerialNumber, RevocationTime: goldenStart.Add(when)}}}, ca.cert, ca.key))
		revoked := must(evidence.ReadTrust(fstest.MapFS{"ca/root.pem": {Data: evidence.MarshalCertsPEM(ca.cert)},
			"ca/revoked.crl": {Data: pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})}}))
		if r := evidence.Verify(s.make().files, evidence.VerifyOptions{Path: goldenID, Require: 1, Trust: revoked}); r.Exit != want {
			t.Errorf("revoked %s after the start: exit %d, want %d\n%s", when, r.Exit, want, asJSON(t, r))
		}
	}
	victim := s.dev.d
	s.dev = newDevice("another", ca)
	s.dev.d = victim
	if r := evidence.Verify(s.make().files, o); r.Exit != 2 || !strings.Contains(r.Sessions[0].Unchecked, "another device's key") {
		t.Errorf("another device of that authority under this name: exit %d\n%s", r.Exit, asJSON(t, r))
	}
}

// TestHighS: the other encoding of a signature that holds is not ours.
func TestHighS(t *testing.T) {
	files := goldenScript().make().files
	log := editLog(func(l [][]byte) [][]byte {
		var s evidence.Sign
		last := len(l) - 1
		if err := must(evidence.ParseLine(l[last])).Decode(&s); err != nil {
			t.Fatal(err)
		}
		raw := must(base64.StdEncoding.DecodeString(s.Sig))
		s.Sig = base64.StdEncoding.EncodeToString(append(raw[:4:4], highS(raw[4:])...))
		l[last] = must(evidence.MarshalLine(s))
		return l
	})(files)
	if r := answer(goldenID, log); !caught(r, "log.jsonl") {
		t.Errorf("high s in the last sign line: exit %d\n%s", r.Exit, asJSON(t, r))
	}
	p7s := files["manifest.json.p7s"].Data
	i := bytes.LastIndex(p7s, []byte{0x30, 0x44})
	if j := max(bytes.LastIndex(p7s, []byte{0x30, 0x45}), bytes.LastIndex(p7s, []byte{0x30, 0x46})); j > i {
		i = j
	}
	forged := append(bytes.Clone(p7s[:i]), highS(p7s[i:])...)
	if r := answer(goldenID, with(files, "manifest.json.p7s", forged)); !caught(r, "manifest.json.p7s") {
		t.Errorf("high s in the manifest's signature: exit %d\n%s", r.Exit, asJSON(t, r))
	}
}

// ledgerFor writes a signed ledger of what more adds.
func ledgerFor(dev *device, more func(*book)) *book {
	b := &book{origin: evidence.LedgerOrigin(dev.d, goldenGen), dev: dev, up: 1_000_000, st: -1}
	b.add(evidence.Generation{Common: b.common("generation"), Cause: "first", Disks: []string{"a"}})
	more(b)
	b.sign()
	return b
}

func (b *book) head(id string, g *golden) {
	b.add(evidence.Head{Common: b.common("head"), Session: id, Log: "log.jsonl", Size: g.log.tree.Size() - 1, Root: g.lastRoot()})
}

func (b *book) sealed(id string, files fstest.MapFS) {
	b.add(evidence.Sealed{Common: b.common("sealed"), Session: id, Manifest: hexSum(files["manifest.json"].Data), P7S: hexSum(files["manifest.json.p7s"].Data)})
}

// disk puts sessions and a ledger where they are on a disk.
func disk(ledger *book, sessions map[string]fstest.MapFS) fstest.MapFS {
	m := fstest.MapFS{"sessions": {Mode: fs.ModeDir | 0o755}}
	if ledger != nil {
		m["ledger/"+goldenGen+"/log.jsonl"] = &fstest.MapFile{Data: ledger.data}
		m["ledger/disk.json"] = &fstest.MapFile{Data: []byte(`{"id":"a"}`)}
	}
	for id, files := range sessions {
		for name, f := range files {
			m["sessions/"+id+"/"+name] = f
		}
	}
	return m
}

// TestDisk holds a ledger against the folders beside it.
func TestDisk(t *testing.T) {
	s := goldenScript()
	g := s.make()
	s2 := goldenScript()
	s2.id = "20260301T093000Z-0000000a"
	g2 := s2.make()
	both := map[string]fstest.MapFS{goldenID: g.files, s2.id: g2.files}
	one := map[string]fstest.MapFS{goldenID: g.files}
	heads := func(b *book) {
		b.head(goldenID, g)
		b.head(s2.id, g2)
		b.sealed(goldenID, g.files)
	}
	short := goldenScript()
	short.cut = true
	cut, rest := short.make(), short.make()
	rest.recover(0)
	other := goldenScript()
	other.opener = func(o *evidence.Open) { o.Trigger = "door" }
	resigned := must(evidence.SignManifest(g.files["manifest.json"].Data, []*x509.Certificate{s.dev.cert}, s.dev.key, time.UnixMicro(0)))
	resignedFiles := with(g.files, "manifest.json.p7s", resigned)
	for _, tt := range []struct {
		rule string
		disk fstest.MapFS
		exit int
		says string
	}{
		{"a disk whose ledger names what is there", disk(ledgerFor(s.dev, heads), both), 0, goldenGen},
		{"a session of the ledger is gone", disk(ledgerFor(s.dev, heads), one), 1, "its folder is not here"},
		{"it was archived", disk(ledgerFor(s.dev, func(b *book) {
			heads(b)
			b.add(evidence.Archived{Common: b.common("archived"), Session: s2.id, SHA256: hexSum(nil)})
		}), one), 0, "was archived"},
		{"it was destroyed: the device's word", disk(ledgerFor(s.dev, func(b *book) {
			heads(b)
			b.add(evidence.Destroy{Common: b.common("destroyed"), Session: s2.id, Appraisal: hexSum(nil)})
		}), one), 3, "device's word"},
		{"the same times, another log", disk(ledgerFor(s.dev, heads), map[string]fstest.MapFS{goldenID: other.make().files, s2.id: g2.files}), 1, "is not the log whose state"},
		{"another signature over the manifest", disk(ledgerFor(s.dev, heads), map[string]fstest.MapFS{goldenID: resignedFiles, s2.id: g2.files}), 1, "sealed with"},
		{"the manifest and its signature are gone, the log's end too", disk(ledgerFor(s.dev, heads), map[string]fstest.MapFS{
			goldenID: editLog(func(l [][]byte) [][]byte { return l[:len(l)-6] })(with(with(g.files, "manifest.json", nil), "manifest.json.p7s", nil)), s2.id: g2.files}), 1, "signed lines, 19 are here; the rest should be on another copy: verify both together"},
		{"a ledger of another device", disk(ledgerFor(newDevice("another", nil), heads), both), 2, "no signature holds"},
		{"a second seal of another manifest does not replace the first", disk(ledgerFor(s.dev, func(b *book) {
			heads(b)
			b.sealed(goldenID, resignedFiles)
		}), map[string]fstest.MapFS{goldenID: resignedFiles, s2.id: g2.files}), 1, "sealed with"},
		{"it was lost with a disk, a person entered", disk(ledgerFor(s.dev, func(b *book) {
			heads(b)
			b.add(evidence.LostTail{Common: b.common("lost"), Session: s2.id, Size: 1, Disk: "b", Cause: "broken"})
		}), one), 3, "lost with a disk, a person entered: broken"},
		{"its end was lost with a disk, a person entered", disk(ledgerFor(s.dev, func(b *book) {
			heads(b)
			b.add(evidence.LostTail{Common: b.common("lost"), Session: goldenID, Size: 20, Disk: "b", Cause: "broken"})
		}), map[string]fstest.MapFS{goldenID: cut.files, s2.id: g2.files}), 3, "lost with a disk, a person entered: broken"},
		{"less is here than the person said", disk(ledgerFor(s.dev, func(b *book) {
			heads(b)
			b.add(evidence.LostTail{Common: b.common("lost"), Session: goldenID, Size: 23, Disk: "b", Cause: "broken"})
		}), map[string]fstest.MapFS{goldenID: cut.files, s2.id: g2.files}), 1, "signed lines, 22 are here"},
		{"what is left of it was sealed since", disk(ledgerFor(s.dev, func(b *book) {
			heads(b)
			b.add(evidence.LostTail{Common: b.common("lost"), Session: goldenID, Size: 20, Disk: "b", Cause: "broken"})
			b.head(goldenID, rest)
			b.sealed(goldenID, rest.files)
		}), map[string]fstest.MapFS{goldenID: rest.files, s2.id: g2.files}), 3, "lost with a disk, a person entered: broken"},
		{"its seal alone was lost", disk(ledgerFor(s.dev, func(b *book) {
			b.head(goldenID, cut)
			b.sealed(goldenID, g.files)
			b.add(evidence.LostTail{Common: b.common("lost"), Session: goldenID, Size: 22, Disk: "b", Cause: "broken"})
			b.sealed(goldenID, rest.files)
			b.head(s2.id, g2)
		}), map[string]fstest.MapFS{goldenID: rest.files, s2.id: g2.files}), 3, "lost with a disk, a person entered: broken"},
		{"and another seal after that", disk(ledgerFor(s.dev, func(b *book) {
			heads(b)
			b.add(evidence.LostTail{Common: b.common("lost"), Session: goldenID, Size: 20, Disk: "b", Cause: "broken"})
			b.head(goldenID, rest)
			b.sealed(goldenID, g2.files)
			b.sealed(goldenID, rest.files)
		}), map[string]fstest.MapFS{goldenID: rest.files, s2.id: g2.files}), 1, "sealed with"},
		{"what was thought lost is found", disk(ledgerFor(s.dev, func(b *book) {
			heads(b)
			b.add(evidence.LostTail{Common: b.common("lost"), Session: goldenID, Size: 20, Disk: "b", Cause: "broken"})
			b.head(goldenID, rest)
			b.sealed(goldenID, rest.files)
		}), both), 0, goldenGen},
		{"a tail was cut off, and nobody gave it up", disk(ledgerFor(s.dev, func(b *book) {
			heads(b)
			b.head(goldenID, rest)
			b.sealed(goldenID, rest.files)
		}), map[string]fstest.MapFS{goldenID: rest.files, s2.id: g2.files}), 1, "sealed with"},
		{"a changed ledger", func() fstest.MapFS {
			b := ledgerFor(s.dev, heads)
			b.sign()
			b.data = bytes.Replace(b.data, []byte(`"cause":"first"`), []byte(`"cause":"worst"`), 1)
			return disk(b, both)
		}(), 2, "ledger"},
		{"no ledger", disk(nil, both), 0, goldenID},
	} {
		r := evidence.Verify(tt.disk, evidence.VerifyOptions{Path: "disk", Require: 1, Trust: goldenTrust})
		if b := asJSON(t, r); r.Exit != tt.exit || !bytes.Contains(b, []byte(tt.says)) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", tt.rule, r.Exit, tt.exit, tt.says, b)
		}
	}
}

// TestTwoDisks: the best copy gives the spans; a copy that tells another story is foreign.
func TestTwoDisks(t *testing.T) {
	g := goldenScript().make()
	other := goldenScript()
	other.opener = func(o *evidence.Open) { o.Trigger = "door" }
	longer := goldenScript()
	longer.cut = true
	resealed := func() fstest.MapFS { // the same signed lines, cut and recovered on the other disk
		s := goldenScript()
		s.cut = true
		r := s.make()
		r.recover(0)
		return r.files
	}()
	damaged := editFile("face-00001.mp4", func(b []byte) []byte { b[len(b)-1]++; return b })(g.files)
	for _, tt := range []struct {
		rule string
		a, b fstest.MapFS
		exit int
		says string
	}{
		{"two equal copies", g.files, g.files, 0, "intact"},
		{"one copy is damaged", damaged, g.files, 0, "copy a/" + goldenID + ": face-00001.mp4 altered"},
		{"one copy stopped early", g.files, longer.make().files, 0, "intact"},
		{"one copy is gone", with(g.files, "log.jsonl", nil), g.files, 0, "not checkable"},
		{"one copy tells another story", g.files, other.make().files, 1, "another story"},
		{"one copy was sealed with another manifest", g.files, resealed, 1, "another manifest"},
	} {
		r := evidence.VerifyPlaces([]evidence.Place{{Path: "a/" + goldenID, FS: tt.a}, {Path: "b/" + goldenID, FS: tt.b}},
			evidence.VerifyOptions{Require: 1, Trust: goldenTrust})
		if b := asJSON(t, r); r.Exit != tt.exit || !bytes.Contains(b, []byte(tt.says)) || len(r.Sessions) != 1 {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", tt.rule, r.Exit, tt.exit, tt.says, b)
		}
	}
}

// TestRecoveryBase: a recovery file continues a state that the log really signed, of this session.
func TestRecoveryBase(t *testing.T) {
	for rule, change := range map[string]func(*golden){
		"another root": func(g *golden) {
			g.edit = func(l string) string { return strings.Replace(l, g.lastRoot(), evidence.Hash{}.String(), 1) }
		},
		"another session": func(g *golden) {
			g.edit = func(l string) string { return strings.Replace(l, `"of":"minglu/`, `"of":"minglu/0`, 1) }
		},
	} {
		s := goldenScript()
		s.cycles, s.segment, s.cut = 2, 8, true
		g := s.make()
		change(g)
		g.recover(1)
		if r := answer(goldenID, g.files); r.Exit != 1 || !bytes.Contains(asJSON(t, r), []byte("no log here has that state")) {
			t.Errorf("%s: exit %d\n%s", rule, r.Exit, asJSON(t, r))
		}
	}
}

// TestLedgerFork: two copies of one ledger that tell different stories.
func TestLedgerFork(t *testing.T) {
	g := goldenScript().make()
	a := ledgerFor(g.dev, func(b *book) { b.head(goldenID, g) })
	b := ledgerFor(g.dev, func(b *book) { b.sealed(goldenID, g.files) })
	sessions := map[string]fstest.MapFS{goldenID: g.files}
	for _, tt := range []struct {
		rule string
		b    *book
		exit int
	}{{"the same", a, 0}, {"another", b, 1}} {
		r := evidence.VerifyPlaces([]evidence.Place{{Path: "a", FS: disk(a, sessions)}, {Path: "b", FS: disk(tt.b, sessions)}},
			evidence.VerifyOptions{Require: 1, Trust: goldenTrust})
		if r.Exit != tt.exit {
			t.Errorf("%s: exit %d, want %d\n%s", tt.rule, r.Exit, tt.exit, asJSON(t, r))
		}
	}
}

// TestRecoveredBound: more than the writer may have had unsigned is foreign.
func TestRecoveredBound(t *testing.T) {
	for n, want := range map[int]int{1: 3, 4: 3, 5: 1} {
		s := goldenScript()
		s.cycles, s.segment, s.cut = 2, 8, true
		g := s.make()
		g.recover(n)
		r := answer(goldenID, g.files)
		if r.Exit != want {
			t.Errorf("%d fragments of 200 ms recovered with ahead_ms 900: exit %d, want %d\n%s", n, r.Exit, want, asJSON(t, r))
		}
	}
}

// TestFolderBesideLedger: the folder of a disk's sessions is judged as the disk is; of any other folder of
// sessions it is said that the ledger names more.
func TestFolderBesideLedger(t *testing.T) {
	s := goldenScript()
	g := s.make()
	other := "20260301T093000Z-0000000a"
	ledger := ledgerFor(s.dev, func(b *book) {
		b.head(goldenID, g)
		b.sealed(goldenID, g.files)
		b.head(other, g)
		b.sealed(other, g.files)
	})
	d := disk(ledger, map[string]fstest.MapFS{goldenID: g.files})
	sub := func(dir string) fs.FS {
		f, err := fs.Sub(d, dir)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	// No session is left: the key that the trust folder knows reads the ledger.
	for known, exit := range map[*x509.Certificate]int{nil: evidence.ExitUnchecked, s.dev.cert: evidence.ExitBad} {
		trust := &evidence.Trust{Roots: goldenTrust.Roots}
		if known != nil {
			trust.Known = []*x509.Certificate{known}
		}
		if r := evidence.Verify(disk(ledger, nil), evidence.VerifyOptions{Path: "disk", Trust: trust}); r.Exit != exit {
			t.Errorf("only the ledger is left, its key is known: %v: exit %d, want %d", known != nil, r.Exit, exit)
		}
	}
	for _, tt := range []struct {
		path string
		exit int
		note bool
	}{{"/media/a/sessions/", evidence.ExitBad, false}, {"/home/lawyer/copies", evidence.ExitGood, true}} {
		r := evidence.VerifyPlaces([]evidence.Place{{FS: sub("sessions"), Path: tt.path}, {FS: sub("ledger"), Path: "/media/a/ledger"}}, evidence.VerifyOptions{Require: 1, Trust: goldenTrust})
		noted := slices.ContainsFunc(r.Notes, func(n string) bool { return strings.HasPrefix(n, "the ledgers name 1 sessions") })
		if r.Exit != tt.exit || noted != tt.note {
			t.Errorf("%s: exit %d, want %d; notes %q", tt.path, r.Exit, tt.exit, r.Notes)
		}
	}
}
