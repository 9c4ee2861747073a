package evidence_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"minglu/agent/evidence"
	"minglu/agent/fmp4"
)

// The golden sessions are made by this file alone, from fixed keys, times and media: anybody's writer
// must give the same bytes for the same facts, and anybody's verifier the same answer.

const (
	goldenID  = "20260301T013000Z-0123abcd"
	goldenGen = "00112233445566778899aabbccddeeff"
	cycle     = 200_000 // µs of media per sign line and fragment
)

var goldenStart = time.Date(2026, 3, 1, 1, 30, 0, 0, time.UTC)

// device is a device with a key made from a word, and its certificate.
type device struct {
	key    *ecdsa.PrivateKey
	signer *evidence.Signer
	cert   *x509.Certificate
	d      string
}

// newDevice makes a device; issuer nil makes the certificate itself.
func newDevice(word string, issuer *device) *device {
	scalar := sha256.Sum256([]byte(word))
	key := must(ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:]))
	s := must(evidence.NewSigner(key))
	dev := &device{key: key, signer: s, d: evidence.DeviceID(s.SPKI())}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: word},
		NotBefore: time.Unix(0, 0).UTC(), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		BasicConstraintsValid: true, URIs: []*url.URL{{Scheme: "minglu", Opaque: dev.d}},
	}
	parent, signKey := template, key
	if issuer != nil {
		parent, signKey = issuer.cert, issuer.key
	}
	dev.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(nil, template, parent, &key.PublicKey, signKey))))
	return dev
}

// selfMadeFor makes a certificate with a device's key and another device's name.
func selfMadeFor(dev *device, name string) *x509.Certificate {
	template := *dev.cert
	template.URIs = []*url.URL{{Scheme: "minglu", Opaque: name}}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(nil, &template, &template, &dev.key.PublicKey, dev.key))))
}

// withUsage makes the device's certificate anew, changed by f.
func (dev device) withUsage(f func(*x509.Certificate)) *device {
	template := *dev.cert
	f(&template)
	dev.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(nil, &template, &template, &dev.key.PublicKey, dev.key))))
	return &dev
}

// newAuthority makes a certification authority.
func newAuthority(word string) *device {
	scalar := sha256.Sum256([]byte(word))
	key := must(ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:]))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: word}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0).UTC(), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return &device{key: key, cert: must(x509.ParseCertificate(must(x509.CreateCertificate(nil, template, template, &key.PublicKey, key))))}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// book is a log being written.
type book struct {
	origin string
	dev    *device
	tree   evidence.Tree
	data   []byte
	up     int64 // µs since boot
	st     int64
	edit   func(line string) string // changes a line before it is signed; nil: none
}

func (b *book) common(typ string) evidence.Common {
	c := evidence.Common{Type: typ, Seq: b.tree.Size(), T: goldenStart.UnixMicro() + b.up - 1_000_000, TE: 4000, Up: b.up}
	if typ != "fragment" {
		d := sha256.Sum256(fmt.Appendf(nil, "%s %d", b.origin, c.Seq))
		c.Salt = hex.EncodeToString(d[:16])
	}
	return c
}

func (b *book) add(v any) {
	line := must(evidence.MarshalLine(v))
	if b.edit != nil {
		line = []byte(b.edit(string(line)))
	}
	switch must(evidence.ParseLine(line)).Type {
	case "pause", "resume", "gap", "clock", "segment.open", "segment.close":
		b.st = b.tree.Size()
	}
	b.put(line)
}

func (b *book) put(line []byte) {
	b.tree.Append(line)
	b.data = append(append(b.data, line...), '\n')
}

func (b *book) sign() { b.put(must(b.dev.signer.SignLine(b.origin, &b.tree))) }

// script is what a golden session does, cycle by cycle.
type script struct {
	dev       *device
	id        string
	cycles    int
	segment   int         // cycles per segment
	pause     map[int]int // cycle -> cycles of pause before it
	gap       map[int]int // the same for a gap of channel face
	hole      map[int]int // the same for a loss that nobody declares
	late      int         // cycles from the last fragment to the close
	afterSeal bool        // a line follows the seal, and another seal
	paused    bool        // the session ends in a pause
	mark      int         // cycle with a mark
	cut       bool        // no close, no seal
	opener    func(*evidence.Open)
	edit      func(line string) string                    // changes log lines before they are signed
	fragment  func(n int64, b []byte) []byte              // changes a fragment's bytes before they are hashed
	line      func(n int64, f *evidence.Fragment)         // changes a fragment line before it is signed
	reserve   func(ch string, seg int64, b []byte) []byte // changes the reserve of a segment, not what is signed of it
	moof      func(ch string, n int64, runs []fmp4.Run) []fmp4.Run
	chain     []*x509.Certificate // chain.pem; nil: none
	out       *outsiders          // nil: nobody outside says anything
	session   *device             // key that signs the log in place of the device's; nil: none
}

// golden is a session being made.
type golden struct {
	script
	files fstest.MapFS
	log   *book
	chans []*goldenChannel
	at    int64 // µs of media time

	ledger *book // of a session with outsiders
}

type goldenChannel struct {
	id     string
	tracks []fmp4.Track
	au     [][]byte // H.264 access units without parameter sets, AVCC
	frame  int      // next of au
	n, seg int64
	file   []byte
	frags  []fmp4.IndexEntry
	init   int
}

const reserveLen = 256

func (s script) make() *golden {
	g := &golden{script: s, files: fstest.MapFS{}}
	origin := evidence.SessionOrigin(s.dev.d, goldenGen, s.id)
	g.log = &book{origin: origin, dev: s.dev, up: 1_000_000, st: -1, edit: s.edit}
	pemFile := evidence.MarshalCertsPEM(s.dev.cert)
	g.write("device.pem", pemFile)
	if s.chain != nil {
		g.write("chain.pem", evidence.MarshalCertsPEM(s.chain...))
	}
	open := evidence.Open{Common: g.log.common("open"), V: 1, Session: s.id, Origin: origin, Boot: "7f1c7c1e-0000-4000-8000-000000000001",
		Device: evidence.Device{ID: s.dev.d, Name: "room-3", Room: "询问室三", Board: "sim", SW: "golden"},
		Body:   evidence.Body{Name: "某县市场监督管理局", USCC: "11140000000000000X", System: "市场监管"}, Trigger: "button", SW: "golden",
		Config: hexSum([]byte("config")), Cert: hexSum(pemFile), Ledger: evidence.LedgerRef{Origin: evidence.LedgerOrigin(s.dev.d, goldenGen), Root: evidence.Hash{}.String()},
		Disks: []string{"a"}, CycleMS: 200, AheadMS: 900, Src: "chrony"}
	if s.session != nil {
		open.SKey, open.SKeySig, _ = s.dev.signer.CertifySessionKey(origin, s.session.signer.Public())
		g.log.dev = s.session
	}
	g.before(&open)
	if s.opener != nil {
		s.opener(&open)
	}
	g.log.add(open)
	g.log.add(evidence.Clock{Common: g.log.common("clock"), Src: "chrony"})
	g.log.add(evidence.Details{Common: g.log.common("details"), Case: "某市监案〔2026〕1号", Matter: "interview",
		Officers: []evidence.Officer{{Name: "张三", Credential: "A-1"}, {Name: "李四", Credential: "A-2"}}, Flags: []string{"drill"}})
	g.log.sign()
	g.chans = []*goldenChannel{newFace(), newVoice()}
	g.run()
	return g
}

func hexSum(b []byte) string {
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}

func (g *golden) write(name string, b []byte) {
	g.files[name] = &fstest.MapFile{Data: bytes.Clone(b), Mode: 0o644}
}

// newFace is a camera of 10 pictures a second with its sound, newVoice a microphone alone.
func newFace() *goldenChannel {
	c := &goldenChannel{id: "face"}
	video := fmp4.Track{ID: 1, Timescale: 90000, Codec: fmp4.H264, Width: 32, Height: 32}
	stream := must(os.ReadFile("testdata/tiny.h264"))
	stream = bytes.ReplaceAll(stream, []byte{0, 0, 0, 1}, []byte{0, 0, 1}) // both start codes occur
	for _, nal := range bytes.Split(stream, []byte{0, 0, 1})[1:] {
		switch nal[0] & 31 {
		case 7:
			video.SPS = nal
		case 8:
			video.PPS = nal
		default:
			c.au = append(c.au, append([]byte{0, 0, byte(len(nal) >> 8), byte(len(nal))}, nal...))
		}
	}
	c.tracks = []fmp4.Track{video, {ID: 2, Timescale: 48000, Codec: fmp4.Opus, SampleRate: 48000, Channels: 1}}
	return c
}

func newVoice() *goldenChannel {
	return &goldenChannel{id: "voice", tracks: []fmp4.Track{{ID: 1, Timescale: 48000, Codec: fmp4.Opus, SampleRate: 48000, Channels: 1}}}
}

// silence is an Opus packet of 20 ms of silence (RFC 6716 3.1: CELT, full band, one frame).
var silence = []byte{0xf8, 0xff, 0xfe}

func (c *goldenChannel) runs(at int64) []fmp4.Run {
	var out []fmp4.Run
	for _, t := range c.tracks {
		r := fmp4.Run{Track: t.ID, Time: uint64(at * int64(t.Timescale) / 1e6)}
		if t.Codec == fmp4.H264 {
			for range 2 {
				au := c.au[c.frame%len(c.au)]
				r.Samples = append(r.Samples, fmp4.Sample{Duration: 9000, Sync: au[4]&31 == 5, Data: au})
				c.frame++
			}
		} else {
			for range 10 {
				r.Samples = append(r.Samples, fmp4.Sample{Duration: 960, Sync: true, Data: silence})
			}
		}
		out = append(out, r)
	}
	return out
}

func (g *golden) run() {
	for i := range g.cycles {
		if n := g.pause[i]; n > 0 {
			g.log.add(evidence.Pause{Common: g.log.common("pause"), At: g.at, Reason: "证人休息", Who: "张三"})
			g.log.sign()
			g.wait(n)
			g.log.add(evidence.Pause{Common: g.log.common("resume"), At: g.at, Reason: "", Who: "张三"})
		}
		g.wait(g.hole[i])
		if n := g.gap[i]; n > 0 {
			from := g.at
			g.wait(n)
			for _, c := range g.chans {
				g.log.add(evidence.Gap{Common: g.log.common("gap"), Ch: c.id, From: from, To: g.at, Cause: "no signal"})
			}
		}
		for _, c := range g.chans {
			if i%g.segment == 0 {
				g.closeSegment(c)
				g.openSegment(c)
			}
			g.log.add(g.next(c, "fragment", g.log))
		}
		if i == g.mark {
			g.log.add(evidence.Mark{Common: g.log.common("mark"), At: g.at, Text: "出示证据", Who: "张三"})
		}
		g.wait(1)
		g.log.sign()
		g.during(i)
	}
	if g.cut {
		g.write("log.jsonl", g.log.data)
		g.flush()
		return
	}
	if g.paused {
		g.log.add(evidence.Pause{Common: g.log.common("pause"), At: g.at, Reason: "休庭", Who: "张三"})
	}
	g.wait(g.late)
	g.end(g.log, "button")
	g.write("log.jsonl", g.log.data)
	g.seal(evidence.LogFile{File: "log.jsonl", Data: g.log.data})
	g.after()
}

func (g *golden) wait(cycles int) {
	g.at += int64(cycles) * cycle
	g.log.up += int64(cycles) * cycle
}

// next makes the channel's next fragment and the line for it.
func (g *golden) next(c *goldenChannel, typ string, log *book) evidence.Fragment {
	runs := c.runs(g.at)
	if g.moof != nil {
		runs = g.moof(c.id, c.n, runs)
	}
	b, head, err := fmp4.AppendFragment(nil, uint32(c.n)+1, runs)
	if err != nil {
		panic(err)
	}
	f := evidence.Fragment{Common: log.common(typ), Ch: c.id, Seg: c.seg, N: c.n, Off: int64(len(c.file)), From: g.at, To: g.at + cycle, St: log.st}
	if g.fragment != nil {
		if changed := g.fragment(c.n, b); changed != nil {
			b = changed
		}
	}
	f.Len, f.Head, f.Body = int64(len(b)), hexSum(b[:head]), hexSum(b[head:])
	for _, r := range runs {
		f.Samples = append(f.Samples, int64(len(r.Samples)))
	}
	if g.line != nil {
		g.line(c.n, &f)
	}
	c.frags = append(c.frags, fmp4.EntryOf(runs, c.tracks, f.Len))
	c.file = append(c.file, b...)
	c.n++
	return f
}

func (g *golden) openSegment(c *goldenChannel) {
	init := must(fmp4.Init(c.tracks))
	c.seg++
	c.file, c.frags, c.init = append(bytes.Clone(init), fmp4.Reserve(reserveLen)...), nil, len(init)
	var codec []string
	for _, t := range c.tracks {
		codec = append(codec, t.CodecString())
	}
	g.log.add(evidence.SegmentOpen{Common: g.log.common("segment.open"), Ch: c.id, Seg: c.seg, File: c.name(), Init: hexSum(init), InitLen: int64(len(init)),
		Reserve: reserveLen, Timescale: int64(c.tracks[0].Timescale), Codec: codec, Camera: "golden " + c.id})
}

func (c *goldenChannel) name() string { return fmt.Sprintf("%s-%05d.mp4", c.id, c.seg) }

// closing puts the index in place and returns what segment.close says.
func (c *goldenChannel) closing(common evidence.Common) evidence.SegmentClose {
	index := must(fmp4.Index(c.tracks[0], c.frags, reserveLen))
	copy(c.file[c.init:], index)
	d := sm3.Sum(c.file)
	return evidence.SegmentClose{Common: common, Ch: c.id, Seg: c.seg, Size: int64(len(c.file)), SHA256: hexSum(c.file),
		SM3: hex.EncodeToString(d[:]), Index: hexSum(index)}
}

func (g *golden) closeSegment(c *goldenChannel) {
	if c.file == nil {
		return
	}
	g.log.add(c.closing(g.log.common("segment.close")))
	g.flushOne(c)
}

func (g *golden) flushOne(c *goldenChannel) {
	b := bytes.Clone(c.file)
	if g.reserve != nil {
		copy(b[c.init:c.init+reserveLen], g.reserve(c.id, c.seg, b[c.init:c.init+reserveLen]))
	}
	g.write(c.name(), b)
}

func (g *golden) flush() {
	for _, c := range g.chans {
		g.flushOne(c)
	}
}

// end closes all segments and seals the log.
func (g *golden) end(log *book, reason string) {
	counts := map[string]int64{}
	for _, c := range g.chans {
		log.add(c.closing(log.common("segment.close")))
		counts[c.id] = c.n
	}
	g.flush()
	log.add(evidence.Close{Common: log.common("close"), At: g.at, Reason: reason, Fragments: counts})
	log.add(evidence.Seal{Common: log.common("seal")})
	if g.afterSeal {
		log.add(evidence.Mark{Common: log.common("mark"), At: g.at, Text: "late", Who: ""})
		log.add(evidence.Seal{Common: log.common("seal")})
	}
	log.sign()
}

func (g *golden) seal(logs ...evidence.LogFile) {
	certs := []*x509.Certificate{g.dev.cert}
	var files []evidence.FileDigest
	for _, name := range []string{"device.pem", "chain.pem", "sm2.pem"} {
		if f := g.files[name]; f != nil {
			files = append(files, evidence.DigestFile(name, f.Data))
		}
	}
	certs = append(certs, g.chain...)
	m, err := evidence.DeriveManifest(logs, files)
	if err != nil {
		return // lines that no honest device writes have no manifest
	}
	b := must(m.Marshal())
	g.write("manifest.json", b)
	g.write("manifest.json.p7s", must(evidence.SignManifest(b, certs, g.dev.key, time.UnixMicro(m.Closed.T))))
}

// recover ends a session that was cut, as recovery does: one fragment per channel behind the last
// signature is taken, torn bytes go to aside/, the gap reaches to the next start.
func (g *golden) recover(fragments int) {
	log := &book{origin: evidence.RecoveryOrigin(g.log.origin, 1), dev: g.dev, up: 500_000, st: -1, edit: g.edit}
	size, root := g.log.tree.Size()-1, g.lastRoot()
	log.add(evidence.Recovery{Common: log.common("recovery"), Of: g.log.origin, Size: size, Root: root, Boot: "7f1c7c1e-0000-4000-8000-000000000002",
		Present: []string{"a"}, Absent: []string{}, Cause: "power lost", Src: "chrony"})
	for range fragments {
		for _, c := range g.chans {
			log.add(g.next(c, "recovered", log))
		}
		g.wait(1)
	}
	torn := []byte("torn bytes behind the last whole fragment")
	g.write("aside/face-00001.mp4@0-1.torn", torn)
	log.add(evidence.Aside{Common: log.common("aside"), File: "aside/face-00001.mp4@0-1.torn", Size: int64(len(torn)), SHA256: hexSum(torn), Why: "torn"})
	from := g.at
	g.wait(10)
	for _, c := range g.chans {
		log.add(evidence.Gap{Common: log.common("gap"), Ch: c.id, From: from, To: g.at, Cause: "power lost"})
	}
	g.end(log, "power lost")
	g.write("recovery-1.jsonl", log.data)
	g.seal(evidence.LogFile{File: "log.jsonl", Data: g.log.data}, evidence.LogFile{File: "recovery-1.jsonl", Data: log.data})
}

// lastRoot is the root that the log's last sign line signs.
func (g *golden) lastRoot() string {
	lines := bytes.Split(bytes.TrimSuffix(g.log.data, []byte("\n")), []byte("\n"))
	var s evidence.Sign
	if err := must(evidence.ParseLine(lines[len(lines)-1])).Decode(&s); err != nil {
		panic(err)
	}
	return s.Root
}

// goldenSessions are the sessions kept in testdata, by folder.
func goldenSessions() map[string]fstest.MapFS {
	dev := newDevice("golden-room-3", nil)
	base := script{dev: dev, id: goldenID, cycles: 4, segment: 2, mark: 1}
	breaks := base
	breaks.id, breaks.cycles, breaks.pause, breaks.gap = "20260301T023000Z-0123abce", 4, map[int]int{1: 3}, map[int]int{3: 2}
	cut := base
	cut.id, cut.cycles, cut.segment, cut.cut = "20260301T033000Z-0123abcf", 2, 8, true
	recovered := cut.make()
	recovered.recover(2)
	cut.id = "20260301T043000Z-0123abd0"
	return map[string]fstest.MapFS{
		base.id:                     base.make().files,
		breaks.id:                   breaks.make().files,
		"20260301T033000Z-0123abcf": recovered.files,
		cut.id:                      cut.make().files,
		goldenStamped:               stampedScript().make().files,
		goldenWitnessed:             witnessedScript().make().files,
	}
}

// writeGolden writes the sessions under testdata/golden; run with MINGLU_GOLDEN=write to renew them.
func writeGolden(t *testing.T, sessions map[string]fstest.MapFS) {
	for id, files := range sessions {
		for name, f := range files {
			p := filepath.Join("testdata", "golden", "sessions", id, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, f.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
