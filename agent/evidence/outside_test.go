package evidence_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"minglu/agent/evidence"
)

// tsa is a time-stamping authority whose clock the test sets.
type tsa struct {
	root, cert *x509.Certificate
	between    []*x509.Certificate
	key        crypto.Signer
	rootKey    *ecdsa.PrivateKey
	change     func(*timestamp.Timestamp)
}

func keyOf(word string) *ecdsa.PrivateKey {
	scalar := sha256.Sum256([]byte(word))
	return must(ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:]))
}

var tsaUsage = must(asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}}))

// newTSA makes an authority and its root; f changes its certificate before it is signed.
func newTSA(word string, f func(*x509.Certificate)) *tsa {
	root := newAuthority(word + " root")
	key := keyOf(word)
	template := &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: word},
		NotBefore: goldenStart.AddDate(-1, 0, 0), NotAfter: goldenStart.AddDate(9, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: tsaUsage}}}
	if f != nil {
		f(template)
	}
	cert := must(x509.ParseCertificate(must(x509.CreateCertificate(nil, template, root.cert, &key.PublicKey, root.key))))
	return &tsa{root: root.cert, rootKey: root.key, cert: cert, key: key}
}

// reply is what the authority answers, as it comes.
func (a *tsa) reply(imprint [32]byte, at time.Time) []byte {
	t := timestamp.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: imprint[:], Time: at.UTC(), Nonce: big.NewInt(7),
		Policy: asn1.ObjectIdentifier{1, 2, 3, 4, 1}, Accuracy: time.Second, AddTSACertificate: true, Certificates: append(slices.Clone(a.between), a.root)}
	if a.change != nil {
		a.change(&t)
	}
	return must(t.CreateResponseWithOpts(a.cert, a.key, crypto.SHA256))
}

func (a *tsa) token(imprint [32]byte, at time.Time) []byte {
	return must(evidence.NormalToken(a.reply(imprint, at)))
}

func TestToken(t *testing.T) {
	imprint := sha256.Sum256([]byte("x"))
	a := newTSA("tsa", nil)
	token := a.token(imprint, goldenStart)
	info, err := evidence.VerifyToken(token, imprint, []*x509.Certificate{a.root})
	if err != nil || !info.Time.Equal(goldenStart) || info.Accuracy != time.Second || info.TSA != "tsa" || info.Policy != "1.2.3.4.1" ||
		info.Nonce.Int64() != 7 || info.SHA256 != hexSum(token) || len(info.Chain) != 2 || info.Serial.Sign() <= 0 {
		t.Fatalf("%+v %v", info, err)
	}
	other := newTSA("other", nil)
	usage := func(critical bool, ids ...asn1.ObjectIdentifier) *tsa {
		return newTSA("tsa", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: critical, Value: must(asn1.Marshal(ids))}}
		})
	}
	stamping, mail := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 4}
	bare := newTSA("tsa", nil)
	bare.change = func(t *timestamp.Timestamp) { t.AddTSACertificate, t.Certificates = false, nil }
	swapped := newTSA("tsa", func(c *x509.Certificate) { c.Subject.CommonName = "twin" })
	for _, tt := range []struct {
		rule      string
		by        *tsa
		at        time.Time
		imprint   [32]byte
		roots     []*x509.Certificate
		untrusted bool
		says      string
	}{
		{"other data", a, goldenStart, sha256.Sum256([]byte("y")), []*x509.Certificate{a.root}, false, "over other data"},
		{"another authority", a, goldenStart, imprint, []*x509.Certificate{other.root}, true, "no chain to a trusted"},
		{"no authority", a, goldenStart, imprint, nil, true, "no chain to a trusted"},
		{"expired at the token's time", a, goldenStart.AddDate(10, 0, 0), imprint, []*x509.Certificate{a.root}, true, "expired"},
		{"not yet valid at the token's time", a, goldenStart.AddDate(-2, 0, 0), imprint, []*x509.Certificate{a.root}, true, "not yet valid"},
		{"no extended key usage", newTSA("tsa", func(c *x509.Certificate) { c.ExtraExtensions = nil }), goldenStart, imprint, []*x509.Certificate{a.root}, true, "not timeStamping alone"},
		{"one of two usages", usage(true, stamping, mail), goldenStart, imprint, []*x509.Certificate{a.root}, true, "not timeStamping alone"},
		{"another usage", usage(true, mail), goldenStart, imprint, []*x509.Certificate{a.root}, true, "not timeStamping alone"},
		{"the usage is not critical", usage(false, stamping), goldenStart, imprint, []*x509.Certificate{a.root}, true, "not critical"},
	} {
		_, err := evidence.VerifyToken(must(evidence.NormalToken(tt.by.reply(imprint, tt.at))), tt.imprint, tt.roots)
		if err == nil || errors.Is(err, evidence.ErrUntrusted) != tt.untrusted || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.rule, err, tt.says)
		}
	}
	if _, err := evidence.NormalToken(bare.reply(imprint, goldenStart)); err == nil || !strings.Contains(err.Error(), "no certificate of its signer") {
		t.Errorf("a token without certificates: %v", err)
	}
	refused := must(timestamp.CreateErrorResponse(timestamp.Rejection, timestamp.BadAlgorithm))
	if _, err := evidence.NormalToken(refused); err == nil || !strings.Contains(err.Error(), "refused: status 2") {
		t.Errorf("a refusal: %v", err)
	}
	// The certificate's twin has the same key, issuer and serial number: only its digest tells them apart.
	forged := must(evidence.NormalToken(bytes.Replace(a.reply(imprint, goldenStart), a.cert.Raw, swapped.cert.Raw, 1)))
	if len(swapped.cert.Raw) == len(a.cert.Raw) {
		if _, err := evidence.VerifyToken(forged, imprint, []*x509.Certificate{a.root}); err == nil {
			t.Error("a token with its certificate's twin holds")
		}
	}
	if _, err := evidence.VerifyToken(a.reply(imprint, goldenStart), imprint, []*x509.Certificate{a.root}); err == nil || !strings.Contains(err.Error(), "normal form") {
		t.Errorf("a reply as it came: %v", err)
	}
}

// below makes the authority's certificate anew, issued by an intermediate authority that its tokens carry.
func (a *tsa) below(word string) *tsa {
	between := issuing(&device{key: a.rootKey, cert: a.root}, word)
	template := *a.cert
	template.RawSubject, template.ExtKeyUsage = nil, nil
	template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: tsaUsage}}
	key := a.key.(*ecdsa.PrivateKey)
	b := *a
	b.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(nil, &template, between.cert, &key.PublicKey, between.key))))
	b.between = []*x509.Certificate{between.cert}
	return &b
}

// TestTokenEveryBit flips each bit of a token: none is free. In a token with an intermediate authority's
// certificate the worst that a flip does is that nobody trusts it.
func TestTokenEveryBit(t *testing.T) {
	imprint := sha256.Sum256([]byte("x"))
	a := newTSA("tsa", nil)
	for rule, a := range map[string]*tsa{"under its root": a, "under an intermediate authority": a.below("between")} {
		token := a.token(imprint, goldenStart)
		roots := []*x509.Certificate{a.root}
		if info, err := evidence.VerifyToken(token, imprint, roots); err != nil || len(info.Chain) != 2+len(a.between) {
			t.Fatalf("%s: %v %v", rule, info.Chain, err)
		}
		if n := bytes.Count(token, a.root.Raw); n != 0 {
			t.Errorf("%s: the root is kept in the token", rule)
		}
		for i := range len(token) * 8 {
			b := bytes.Clone(token)
			b[i/8] ^= 1 << (i % 8)
			_, err := evidence.VerifyToken(b, imprint, roots)
			if err == nil || a.between == nil && errors.Is(err, evidence.ErrUntrusted) {
				t.Fatalf("%s: bit %d of byte %d is free: %v", rule, i%8, i/8, err)
			}
		}
	}
}

func witness(word string) (evidence.Witness, ed25519.PrivateKey) {
	seed := sha256.Sum256([]byte(word))
	key := ed25519.NewKeyFromSeed(seed[:])
	return must(evidence.NewWitness("witness.example/"+word, key.Public().(ed25519.PublicKey))), key
}

func TestCosignature(t *testing.T) {
	w, key := witness("a")
	other, _ := witness("b")
	text := evidence.SignedText("minglu/x", 7, evidence.Hash{1})
	line := must(evidence.Cosign(w.Name, key, text, goldenStart))
	if at, err := w.Verify(text, line); err != nil || !at.Equal(goldenStart) {
		t.Fatal(at, err)
	}
	back := must(evidence.ParseVKey(w.VKey()))
	if fmt.Sprint(back) != fmt.Sprint(w) {
		t.Errorf("vkey: %v, want %v", back, w)
	}
	for rule, err := range map[string]error{
		"another text":       second(w.Verify(evidence.SignedText("minglu/x", 8, evidence.Hash{1}), line)),
		"another name":       second(w.Verify(text, strings.Replace(line, "/a ", "/c ", 1))),
		"no dash":            second(w.Verify(text, strings.TrimPrefix(line, "— "))),
		"a line feed in it":  second(w.Verify(text, line+"\n")),
		"white space at end": second(w.Verify(text, line+" ")),
	} {
		if err == nil || errors.Is(err, evidence.ErrUntrusted) {
			t.Errorf("%s: %v", rule, err)
		}
	}
	if _, err := other.Verify(text, line); !errors.Is(err, evidence.ErrUntrusted) {
		t.Errorf("another witness: %v", err)
	}
	for _, bad := range []string{"", "a", "a+b", "a+0000+BAAA", w.VKey() + "\n", strings.Replace(w.VKey(), "+", " +", 1), "x" + w.VKey()} {
		if w, err := evidence.ParseVKey(bad); err == nil {
			t.Errorf("vkey %q is read as %v", bad, w)
		}
	}
	ws, err := evidence.ReadWitnesses([]byte("# 省级见证\n" + w.VKey() + "\n\n# own\n" + other.VKey() + "\n"))
	if err != nil || len(ws) != 2 || ws[0].Own || !ws[1].Own {
		t.Errorf("witness file: %v %v", ws, err)
	}
}

func second[T any](_ T, err error) error { return err }
