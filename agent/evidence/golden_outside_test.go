package evidence_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"minglu/agent/evidence"
)

// The golden sessions with outside proofs: their authorities, witnesses and keys are made from words,
// and their tokens by hand, because no library makes the same token twice.

const (
	goldenStamped   = "20260301T053000Z-0123abd1" // grade 2
	goldenWitnessed = "20260301T063000Z-0123abd2" // grade 3, with SM2 and an amendment
)

// tlv is one element of DER.
func tlv(tag byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	v := must(asn1.Marshal(asn1.RawValue{Class: int(tag >> 6), Tag: int(tag & 31), IsCompound: tag&32 != 0, Bytes: body}))
	return v
}

func oidDER(s ...int) []byte { return must(asn1.Marshal(asn1.ObjectIdentifier(s))) }

// fixed makes the same token for the same facts: the normal form, built by hand (RFC 3161 2.4.2).
func (a *tsa) fixed(imprint [32]byte, at time.Time) []byte {
	sha := tlv(0x30, oidDER(2, 16, 840, 1, 101, 3, 4, 2, 1))
	info := tlv(0x30, []byte{2, 1, 1}, oidDER(1, 2, 3, 4, 1), tlv(0x30, sha, tlv(4, imprint[:])), must(asn1.Marshal(at.Unix())),
		tlv(0x18, []byte(at.UTC().Format("20060102150405Z"))), tlv(0x30, []byte{2, 1, 1}))
	tst := oidDER(1, 2, 840, 113549, 1, 9, 16, 1, 4)
	digest, cert := sha256.Sum256(info), sha256.Sum256(a.cert.Raw)
	attrs := [][]byte{
		tlv(0x30, oidDER(1, 2, 840, 113549, 1, 9, 3), tlv(0x31, tst)),
		tlv(0x30, oidDER(1, 2, 840, 113549, 1, 9, 4), tlv(0x31, tlv(4, digest[:]))),
		tlv(0x30, oidDER(1, 2, 840, 113549, 1, 9, 16, 2, 47), tlv(0x31, tlv(0x30, tlv(0x30, tlv(0x30, tlv(4, cert[:])))))),
	}
	slices.SortFunc(attrs, bytes.Compare)
	signed := sha256.Sum256(tlv(0x31, attrs...))
	sig := must(a.key.Sign(nil, signed[:], crypto.SHA256))
	signer := tlv(0x30, []byte{2, 1, 1}, tlv(0x30, a.cert.RawIssuer, must(asn1.Marshal(a.cert.SerialNumber))), sha, tlv(0xa0, attrs...),
		tlv(0x30, oidDER(1, 2, 840, 10045, 4, 3, 2)), tlv(4, sig))
	var certs [][]byte
	for _, c := range append([]*x509.Certificate{a.cert}, a.between...) {
		certs = append(certs, c.Raw)
	}
	slices.SortFunc(certs, bytes.Compare)
	sd := tlv(0x30, []byte{2, 1, 3}, tlv(0x31, sha), tlv(0x30, tst, tlv(0xa0, tlv(4, info))), tlv(0xa0, certs...), tlv(0x31, signer))
	return tlv(0x30, tlv(0x30, []byte{2, 1, 0}), tlv(0x30, oidDER(1, 2, 840, 113549, 1, 7, 2), tlv(0xa0, sd)))
}

// outsiders are who vouches for a session, and when they do it, relative to the start.
type outsiders struct {
	tsa       *tsa
	witnesses []outsideWitness
	sm2       *sm2Identity
	before    time.Duration // of the token named in `open`
	during    time.Duration // of the anchor after the second cycle; 0: none
	after     time.Duration // of the anchor over the seal
	unnamed   bool          // `open` names no token
	noSeal    bool          // nobody saw the ledger's `sealed` line
	amend     int           // amendments
	late      bool          // they come after the last anchor
	rotate    *device       // takes over the ledger before the seal; nil: nobody
	unbridged bool          // no anchor of the old key holds the line that says so
	again     bool          // the ledger seals the session twice, and the folder holds the second
	key       *device       // signs amendments in place of the device; nil: the device
}

type outsideWitness struct {
	evidence.Witness
	key ed25519.PrivateKey
}

func newWitness(word string, own bool) outsideWitness {
	w, key := witness(word)
	w.Own = own
	return outsideWitness{w, key}
}

// constant gives the same bytes for ever: what gmsm draws from it is always the same.
type constant byte

func (c constant) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c)
	}
	return len(b), nil
}

// sm2Identity is a device's SM2 key with its certificate and the authority over it.
type sm2Identity struct {
	key  *sm2.PrivateKey
	cert *smx509.Certificate
	mid  *smx509.Certificate // of the issuing authority
	root *smx509.Certificate
}

func newSM2(device string) *sm2Identity {
	key := func(word string) *sm2.PrivateKey {
		d := sha256.Sum256([]byte(word))
		return must(sm2.NewPrivateKey(d[:]))
	}
	rootKey, midKey, id := key("golden-sm2-root"), key("golden-sm2-issuing"), &sm2Identity{key: key("golden-sm2")}
	template := &smx509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "golden SM2 root"}, NotBefore: time.Unix(0, 0).UTC(),
		NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), IsCA: true, BasicConstraintsValid: true, SignatureAlgorithm: smx509.SM2WithSM3, KeyUsage: smx509.KeyUsageCertSign}
	id.root = must(smx509.ParseCertificate(must(smx509.CreateCertificate(constant(5), template, template, rootKey.Public(), rootKey))))
	template = &smx509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "golden SM2 issuing"}, NotBefore: time.Unix(0, 0).UTC(),
		NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), IsCA: true, BasicConstraintsValid: true, SignatureAlgorithm: smx509.SM2WithSM3, KeyUsage: smx509.KeyUsageCertSign}
	id.mid = must(smx509.ParseCertificate(must(smx509.CreateCertificate(constant(5), template, id.root, midKey.Public(), rootKey))))
	template = &smx509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "golden-room-3"}, NotBefore: time.Unix(0, 0).UTC(),
		NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), SignatureAlgorithm: smx509.SM2WithSM3, KeyUsage: smx509.KeyUsageDigitalSignature,
		URIs: []*url.URL{{Scheme: "minglu", Opaque: device}}}
	id.cert = must(smx509.ParseCertificate(must(smx509.CreateCertificate(constant(5), template, id.mid, id.key.Public(), midKey))))
	return id
}

func (id *sm2Identity) pem() []byte {
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.cert.Raw}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.mid.Raw})...)
}

// issued is the authority's certificate for an issuing authority below it.
func issuing(root *device, word string) *device {
	key := keyOf(word)
	template := &x509.Certificate{SerialNumber: big.NewInt(8), Subject: pkix.Name{CommonName: word}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0).UTC(), NotAfter: time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	return &device{key: key, cert: must(x509.ParseCertificate(must(x509.CreateCertificate(nil, template, root.cert, &key.PublicKey, root.key))))}
}

var (
	goldenRoot    = newAuthority("golden root")
	goldenIssuing = issuing(goldenRoot, "golden issuing")
	goldenTSA     = newTSA("golden tsa", nil)
	province      = newWitness("province", false)
	office        = newWitness("office", true)
)

// stampedScript is the golden session of grade 2: tokens, no witness.
func stampedScript() script {
	s := goldenScript()
	s.id, s.dev, s.chain = goldenStamped, newDevice("golden-room-3", goldenIssuing), []*x509.Certificate{goldenIssuing.cert}
	s.out = &outsiders{tsa: goldenTSA, before: -5 * time.Minute, after: time.Minute}
	return s
}

// witnessedScript is the golden session of grade 3.
func witnessedScript() script {
	s := stampedScript()
	s.id = goldenWitnessed
	s.out = &outsiders{tsa: goldenTSA, witnesses: []outsideWitness{office, province}, sm2: newSM2(s.dev.d),
		before: -5 * time.Minute, during: 10 * time.Second, after: time.Minute, amend: 1}
	s.session = newDevice("golden session key", nil)
	return s
}

// before begins the ledger and gets what `open` names.
func (g *golden) before(open *evidence.Open) {
	if g.out == nil {
		return
	}
	g.ledger = &book{origin: evidence.LedgerOrigin(g.dev.d, goldenGen), dev: g.dev, up: 500_000, st: -1}
	g.ledger.add(evidence.Generation{Common: g.ledger.common("generation"), Cause: "first", Disks: []string{"a"}})
	if g.out.sm2 != nil {
		g.write("sm2.pem", g.out.sm2.pem())
		spki, cert := must2(evidence.SM2KeyLine(g.out.sm2.pem()))
		g.ledger.add(evidence.Key{Common: g.ledger.common("key"), SPKI: spki, Cert: cert, Use: "sm2"})
	}
	g.ledger.sign()
	size := g.ledger.tree.Size()
	digests := g.anchor(g.out.before, g.out.tsa != nil, false)
	if !g.out.unnamed && len(digests) > 0 {
		open.Token = digests[0]
	}
	open.Ledger = evidence.LedgerRef{Origin: g.ledger.origin, Size: size, Root: g.ledger.tree.Root().String()}
}

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

// during writes an anchor line after the second cycle.
func (g *golden) during(cycle int) {
	if g.out == nil || g.out.during == 0 || cycle != 1 {
		return
	}
	g.ledgerHead()
	size, root := g.ledger.tree.Size(), g.ledger.tree.Root().String()
	for _, d := range g.anchor(g.out.during, false, true) {
		g.log.add(evidence.Anchor{Common: g.log.common("anchor"), Size: size, Root: root, Cosig: d})
	}
}

func (g *golden) ledgerHead() {
	g.ledger.up = g.log.up
	g.ledger.add(evidence.Head{Common: g.ledger.common("head"), Session: g.id, Log: "log.jsonl", Size: g.log.tree.Size() - 1, Root: g.lastRoot()})
	g.ledger.sign()
}

// after seals in the ledger and gets the outside proofs over it.
func (g *golden) after() {
	if g.out == nil {
		return
	}
	if n := g.out.rotate; n != nil {
		g.ledger.add(evidence.Key{Common: g.ledger.common("key"), SPKI: base64.StdEncoding.EncodeToString(n.signer.SPKI()), Cert: hexSum(n.cert.Raw), Use: "sign"})
		g.ledger.sign()
		if !g.out.unbridged {
			g.anchor(0, false, false)
		}
		g.ledger.dev = n
	}
	g.ledgerHead()
	if g.out.again {
		g.ledger.add(evidence.Sealed{Common: g.ledger.common("sealed"), Session: g.id, Manifest: hexSum(nil), P7S: hexSum(nil)})
	}
	if g.out.noSeal {
		g.anchor(g.out.after, g.out.tsa != nil, true)
	}
	g.ledger.sealed(g.id, g.files)
	g.ledger.sign()
	if !g.out.noSeal {
		if g.out.tsa != nil {
			g.write("manifest.json.tsr", g.out.tsa.fixed(sha256.Sum256(g.files["manifest.json.p7s"].Data), goldenStart.Add(g.out.after)))
		}
	}
	if g.out.sm2 != nil {
		g.write("manifest.json.sm2", must(evidence.SignSM2(constant(5), g.files["manifest.json"].Data, g.out.sm2.key)))
	}
	if g.out.late {
		g.anchor(g.out.after, g.out.tsa != nil, true)
	}
	g.amendments()
	if !g.out.noSeal && !g.out.late {
		g.anchor(g.out.after, g.out.tsa != nil, true)
	}
}

// amendments adds what was learnt later.
func (g *golden) amendments() {
	prev, by := "", g.dev
	certs := append([]*x509.Certificate{g.dev.cert}, g.chain...)
	if g.out.key != nil {
		by, certs = g.out.key, append([]*x509.Certificate{g.out.key.cert}, g.chain...)
	}
	for n := int64(1); n <= int64(g.out.amend); n++ {
		json, p7s := must2(evidence.BuildAmendment(evidence.Amendment{Session: g.id, N: n, Manifest: hexSum(g.files["manifest.json"].Data), Prev: prev, Kind: "details",
			T: goldenStart.Add(30 * time.Second).UnixMicro(), TE: 4000, Data: map[string]string{"case": fmt.Sprintf("某市监案〔2026〕%d号", n+1)}}, certs, by.key))
		prev = hexSum(json)
		g.write(evidence.AmendmentName(n), json)
		g.write(evidence.AmendmentName(n)+".p7s", p7s)
		if g.out.key != nil {
			g.write(fmt.Sprintf("amendment-%d.pem", n), evidence.MarshalCertsPEM(certs...))
		}
		g.ledger.add(evidence.AmendRef{Common: g.ledger.common("amend"), Session: g.id, N: n, SHA256: prev})
		g.ledger.sign()
	}
}

// anchor writes an anchor over the ledger's state and returns the digests of what outsiders said.
func (g *golden) anchor(at time.Duration, stamped, cosigned bool) (digests []string) {
	var token func([32]byte) []byte
	if stamped {
		token = func(imprint [32]byte) []byte { return g.out.tsa.fixed(imprint, goldenStart.Add(at)) }
	}
	var lines []func([]byte) string
	if cosigned {
		for _, w := range g.out.witnesses {
			lines = append(lines, func(text []byte) string { return must(evidence.Cosign(w.Name, w.key, text, goldenStart.Add(at))) })
		}
	}
	file := g.ledger.anchor(g.id, token, lines...)
	a := must(evidence.ParseAnchor(file))
	g.write(evidence.AnchorName(a.Checkpoint.Size), file)
	if len(a.Token) > 0 {
		digests = append(digests, hexSum(a.Token))
	}
	for _, l := range a.Cosignatures {
		digests = append(digests, must(evidence.ParseCosignature(l)).SHA256())
	}
	return digests
}

// goldenTrustFolder is the trust folder of the golden sessions with outside proofs.
func goldenTrustFolder() fstest.MapFS {
	pemOf := func(certs ...*x509.Certificate) *fstest.MapFile {
		return &fstest.MapFile{Data: evidence.MarshalCertsPEM(certs...)}
	}
	var lists []byte
	for _, by := range []*device{goldenIssuing, goldenRoot} {
		lists = append(lists, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: must(x509.CreateRevocationList(nil, &x509.RevocationList{Number: big.NewInt(1),
			ThisUpdate: goldenStart.Add(-time.Hour), NextUpdate: goldenStart.AddDate(0, 1, 0)}, by.cert, by.key))})...)
	}
	return fstest.MapFS{
		"ca/root.pem":            pemOf(goldenRoot.cert),
		"ca/issuing.pem":         pemOf(goldenIssuing.cert),
		"ca/ca.crl":              {Data: lists},
		"devices/room-3.pem":     pemOf(newDevice("golden-room-3", nil).cert),
		"tsa/root-1.pem":         pemOf(goldenTSA.root),
		"witness/witnesses.vkey": {Data: []byte("# own\n" + office.VKey() + "\n# 省级见证 province\n" + province.VKey() + "\n")},
		"sm2/issuing.pem":        {Data: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newSM2("").mid.Raw})},
		"sm2/root.pem":           {Data: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newSM2("").root.Raw})},
	}
}

// trusting reads the golden trust folder, changed by f.
func trusting(f func(fstest.MapFS)) *evidence.Trust {
	folder := goldenTrustFolder()
	if f != nil {
		f(folder)
	}
	return must(evidence.ReadTrust(folder))
}

// graded verifies with the golden trust folder and grade 3 required.
func graded(id string, files fstest.MapFS) evidence.Result {
	return evidence.Verify(files, evidence.VerifyOptions{Path: id, Require: 3, Trust: trusting(nil)})
}

func hasNote(r evidence.Result, says string) bool {
	return slices.ContainsFunc(r.Sessions, func(s evidence.SessionResult) bool {
		return slices.ContainsFunc(s.Notes, func(n string) bool { return strings.Contains(n, says) })
	})
}
