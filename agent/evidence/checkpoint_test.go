package evidence

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const testOrigin = "minglu/00112233445566778899aabbccddeeff/0011223344556677"

// testKey returns one of the fixed keys of the tests, so that what they sign is the same at each run.
func testKey(t testing.TB, n int) *ecdsa.PrivateKey {
	t.Helper()
	d := sha256.Sum256(fmt.Appendf(nil, "minglu test key %d", n))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:])
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func testSigner(t testing.TB, n int) *Signer {
	t.Helper()
	s, err := NewSigner(testKey(t, n))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testLog returns a log of n rounds: two lines and a sign line each.
func testLog(t testing.TB, s *Signer, n int) []byte {
	t.Helper()
	var log bytes.Buffer
	var tree Tree
	add := func(line []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		tree.Append(line)
		log.Write(append(line, '\n'))
	}
	for range n {
		for range 2 {
			add(MarshalLine(Mark{Common: Common{Type: "mark", Seq: tree.Size(), Salt: strings.Repeat("0", 32)}}))
		}
		add(s.SignLine(testOrigin, &tree))
	}
	return log.Bytes()
}

func TestTreeAgainstTlog(t *testing.T) {
	var tree Tree
	var stored []tlog.Hash
	var leaves []Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	if got := tree.Root(); got != sha256.Sum256(nil) {
		t.Errorf("root of the empty tree is %v", got)
	}
	for n := range int64(200) {
		line := fmt.Appendf(nil, `{"n":%d}`, n)
		hashes, err := tlog.StoredHashes(n, line, read)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		before := tree.Clone()
		tree.Append(line)
		leaves = append(leaves, LeafHash(line))
		want, err := tlog.TreeHash(n+1, read)
		if err != nil {
			t.Fatal(err)
		}
		if got := tree.Root(); got != Hash(want) || tree.Size() != n+1 || before.Size() != n {
			t.Fatalf("root of %d leaves is %v, want %v", n+1, got, want)
		}
		if h, err := ParseHash(tree.Root().String()); err != nil || h != tree.Root() || tree.Root().String() != want.String() {
			t.Fatalf("ParseHash(%s) = %v, %v", tree.Root(), h, err)
		}
		if n <= 33 {
			checkRanges(t, leaves, tree.Root())
		}
	}
}

// checkRanges proves each range of the tree, and refuses a proof with anything missing or added.
func checkRanges(t *testing.T, leaves []Hash, root Hash) {
	t.Helper()
	n := int64(len(leaves))
	for i := range n {
		for j := i + 1; j <= n; j++ {
			outside, err := RangeProof(leaves, i, j)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := RangeRoot(n, i, leaves[i:j], outside); err != nil || got != root {
				t.Fatalf("[%d,%d) of %d: %v, %v", i, j, n, got, err)
			}
			if _, err := RangeRoot(n, i, leaves[i:j], append(outside, root)); err == nil {
				t.Fatalf("[%d,%d) of %d: a hash too many is accepted", i, j, n)
			}
			if len(outside) > 0 {
				if _, err := RangeRoot(n, i, leaves[i:j], outside[1:]); err == nil {
					t.Fatalf("[%d,%d) of %d: a hash too few is accepted", i, j, n)
				}
			}
		}
	}
}

func TestRangeProofBounds(t *testing.T) {
	leaves := make([]Hash, 5)
	for _, r := range [][2]int64{{-1, 2}, {2, 2}, {3, 2}, {0, 6}} {
		if _, err := RangeProof(leaves, r[0], r[1]); err == nil {
			t.Errorf("RangeProof(%v) is accepted", r)
		}
	}
	if _, err := RangeRoot(MaxInt, 1<<50, leaves, nil); err == nil {
		t.Error("a proof without hashes for an enormous tree is accepted")
	}
	big := make([]Hash, 345_600) // 12 h of 8 lines a second
	outside, err := RangeProof(big, 172_801, 172_900)
	if err != nil || len(outside) > 38 {
		t.Errorf("%d hashes, %v; want at most 38", len(outside), err)
	}
}

func FuzzRangeRoot(f *testing.F) {
	f.Add(int64(7), int64(2), 3, 4)
	f.Fuzz(func(t *testing.T, size, i int64, leaves, outside int) {
		RangeRoot(size, i, make([]Hash, min(uint(leaves), 1000)), make([]Hash, min(uint(outside), 100)))
	})
}

func TestSign(t *testing.T) {
	s := testSigner(t, 1)
	root := LeafHash([]byte("x"))
	for size := range int64(50) { // both halves of s occur
		sig, err := s.Sign(testOrigin, size, root)
		if err != nil {
			t.Fatal(err)
		}
		if err := VerifySig(s.Public(), testOrigin, size, root, sig); err != nil {
			t.Fatal(err)
		}
		if again, _ := s.Sign(testOrigin, size, root); again != sig {
			t.Fatal("the same tree gives another signature")
		}
		raw, _ := base64.StdEncoding.DecodeString(sig)
		for what, bad := range map[string]string{
			"high s":             highS(t, raw),
			"line feed":          sig[:4] + "\n" + sig[4:],
			"no padding":         strings.TrimRight(sig, "=") + "!",
			"other key id":       base64.StdEncoding.EncodeToString(append([]byte{raw[0] ^ 1}, raw[1:]...)),
			"trailing byte":      base64.StdEncoding.EncodeToString(append(raw[:len(raw):len(raw)], 0)),
			"empty":              "",
			"no signature in it": base64.StdEncoding.EncodeToString(raw[:4]),
		} {
			if VerifySig(s.Public(), testOrigin, size, root, bad) == nil {
				t.Errorf("%s: accepted", what)
			}
		}
		if VerifySig(s.Public(), testOrigin+"0", size, root, sig) == nil || VerifySig(s.Public(), testOrigin, size+1, root, sig) == nil ||
			VerifySig(s.Public(), testOrigin, size, Hash{}, sig) == nil || VerifySig(testSigner(t, 2).Public(), testOrigin, size, root, sig) == nil {
			t.Error("signature holds over something else")
		}
	}
}

// highS returns the sig field with s replaced by n-s.
func highS(t *testing.T, raw []byte) string {
	r, s, err := parseSig(raw[4:])
	if err != nil {
		t.Fatal(err)
	}
	der, err := marshalSig(r, new(big.Int).Sub(elliptic.P256().Params().N, s))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(append(raw[:4:4], der...))
}

// noteVerifier lets the stock note package check our signatures.
type noteVerifier struct {
	s *Signer
}

func (v noteVerifier) Name() string { return testOrigin }
func (v noteVerifier) KeyHash() uint32 {
	id := v.s.KeyID()
	return uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3])
}
func (v noteVerifier) Verify(msg, sig []byte) bool {
	return verifyDER(v.s.Public(), sha256.Sum256(msg), sig) == nil
}

func TestNoteIsReadByNotePackage(t *testing.T) {
	s := testSigner(t, 1)
	root := LeafHash([]byte("x"))
	sig, err := s.Sign(testOrigin, 17, root)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open([]byte(Note(testOrigin, 17, root, sig)), note.VerifierList(noteVerifier{s}))
	if err != nil {
		t.Fatal(err)
	}
	if n.Text != string(SignedText(testOrigin, 17, root)) || len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		t.Errorf("note is %+v", n)
	}
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + strings.SplitN(n.Text, "\n", 2)[1]))
	if err != nil || tree.N != 17 || Hash(tree.Hash) != root {
		t.Errorf("tree is %+v, %v", tree, err)
	}
}

func TestVKey(t *testing.T) {
	s := testSigner(t, 1)
	id := s.KeyID()
	want := fmt.Sprintf("%s+%x+%s", testOrigin, id, base64.StdEncoding.EncodeToString(append([]byte{2}, s.SPKI()...)))
	if got := VKey(testOrigin, s.SPKI()); got != want {
		t.Errorf("VKey() = %s, want %s", got, want)
	}
	if d := DeviceID(s.SPKI()); len(d) != 32 || !strings.HasPrefix(d, fmt.Sprintf("%x", id)) {
		t.Errorf("DeviceID() = %s", d)
	}
}

func TestSignatureByOpenSSL(t *testing.T) {
	s := testSigner(t, 1)
	root := LeafHash([]byte("x"))
	sig, err := s.Sign(testOrigin, 17, root)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(sig)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, "pub.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
	write(t, dir, "sig", raw[4:])
	write(t, dir, "text", SignedText(testOrigin, 17, root))
	openssl(t, dir, "dgst", "-sha256", "-verify", "pub.pem", "-signature", "sig", "text")
}

func write(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func openssl(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openssl", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestNewSignerRefusesOtherKeys(t *testing.T) {
	d := sha256.Sum256([]byte("x"))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P384(), append(d[:], d[:16]...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSigner(key); err == nil {
		t.Error("P-384 is accepted")
	}
}

func TestDecide(t *testing.T) {
	s := testSigner(t, 1)
	log := testLog(t, s, 3) // 9 lines, signs at 2, 5, 8
	lines := bytes.SplitAfter(log, []byte("\n"))
	at := func(n int) int64 { return int64(len(bytes.Join(lines[:n], nil))) }
	edit := func(n int, from, to string) []byte {
		l := append([][]byte(nil), lines...)
		if !bytes.Contains(l[n], []byte(from)) {
			t.Fatalf("BUG: line %d has no %q", n, from)
		}
		l[n] = bytes.Replace(l[n], []byte(from), []byte(to), 1)
		return bytes.Join(l, nil)
	}
	other := bytes.SplitAfter(testLog(t, testSigner(t, 2), 3), []byte("\n"))
	foreign := append([][]byte(nil), lines...)
	foreign[8] = other[8]

	for _, tt := range []struct {
		rule              string
		log               []byte
		size, end         int64 // size -1: unsigned
		torn, bad, damage int64
	}{
		{"a whole log ends with its deciding signature", log, 8, at(9), 0, -1, -1},
		{"lines behind it are not covered", bytes.Join(lines[:8], nil), 5, at(6), 0, -1, -1},
		{"nor is a torn line", log[:at(8)+10], 5, at(6), 10, -1, -1},
		{"a sign line without line feed is torn", log[:len(log)-1], 5, at(6), int64(len(lines[8])) - 1, -1, -1},
		{"a tail of zeros is torn", append(append([]byte(nil), log...), make([]byte, 100)...), 8, at(9), 100, -1, -1},
		{"a bad line with no signature behind it is a tail", append(append([]byte(nil), log...), "\x00\n"...), 8, at(9), 0, 9, -1},
		{"a changed line with a signature behind it is damage", edit(4, `"seq":4`, `"seq":5`), 2, at(3), 0, 5, 8},
		{"even if the sign line of the changed lines is changed too", edit(5, `"size":5`, `"size":6`), 2, at(3), 0, 5, 8},
		{"but the last lines may be torn in their middle by a power cut", edit(7, `"seq":7`, `"seq":8`), 5, at(6), 0, 8, -1},
		{"a line feed lost is damage", edit(4, "\n", " "), 2, at(3), 0, 4, 7},
		{"a line taken out is damage", edit(3, string(lines[3]), ""), 2, at(3), 0, 4, 7},
		{"a line repeated is damage", edit(3, string(lines[3]), string(lines[3])+string(lines[3])), 2, at(3), 0, 6, 9},
		{"first line changed: no signature decides", edit(0, `"seq":0`, `"seq":1`), -1, 0, 0, 2, 8},
		{"the last signature changed: the one before decides", edit(8, `"sig":"`, `"sig":"AAAA`), 5, at(6), 0, -1, -1},
		{"an earlier signature changed is damage", edit(5, `"sig":"`, `"sig":"AAAA`), 2, at(3), 0, 8, 8},
		{"the size of the last sign line changed", edit(8, `"size":8`, `"size":9`), 5, at(6), 0, 8, -1},
		{"a sign line with another field", edit(8, `{"root"`, `{"a":1,"root"`), 5, at(6), 0, 8, -1},
		{"a sign line by another key does not decide", bytes.Join(foreign, nil), 5, at(6), 0, 8, -1},
		{"nothing", nil, -1, 0, 0, -1, -1},
		{"another device's log", testLog(t, testSigner(t, 2), 3), -1, 0, 0, -1, -1},
	} {
		d, err := Decide(tt.log, testOrigin, s.Public())
		if (tt.size < 0) != errors.Is(err, ErrUnsigned) {
			t.Errorf("%s: error %v", tt.rule, err)
		}
		if err == nil && (d.Size != tt.size || d.End != tt.end) || d.Torn != tt.torn || d.FirstBad != tt.bad || d.Damaged != tt.damage {
			t.Errorf("%s: size %d end %d torn %d bad %d damaged %d; want %d %d %d %d %d",
				tt.rule, d.Size, d.End, d.Torn, d.FirstBad, d.Damaged, tt.size, tt.end, tt.torn, tt.bad, tt.damage)
		}
		if err == nil && VerifySig(s.Public(), testOrigin, d.Size, d.Root, d.Sig) != nil {
			t.Errorf("%s: the deciding signature does not hold", tt.rule)
		}
	}
}

// TestDecideEachByteFlipped holds that no change of a signed log goes unseen.
func TestDecideEachByteFlipped(t *testing.T) {
	s := testSigner(t, 1)
	log := testLog(t, s, 2)
	for i := range log {
		bad := bytes.Clone(log)
		bad[i] ^= 1 << (i % 8)
		if d, err := Decide(bad, testOrigin, s.Public()); err == nil && d.End == int64(len(log)) {
			t.Fatalf("byte %d flipped, and the last signature still decides", i)
		}
	}
}

func FuzzDecide(f *testing.F) {
	s := testSigner(f, 1)
	f.Add(testLog(f, s, 2))
	f.Add([]byte("\n\n{}\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		d, err := Decide(log, testOrigin, s.Public())
		if err == nil && (d.End > int64(len(log)) || d.Size >= d.Lines) {
			t.Fatalf("%+v of %d bytes", d, len(log))
		}
	})
}

func BenchmarkSign(b *testing.B) {
	s := testSigner(b, 1)
	for b.Loop() {
		if _, err := s.Sign(testOrigin, 17, Hash{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifySig(b *testing.B) {
	s := testSigner(b, 1)
	sig, err := s.Sign(testOrigin, 17, Hash{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := VerifySig(s.Public(), testOrigin, 17, Hash{}, sig); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	log := testLog(b, testSigner(b, 1), 1000)
	pub := testSigner(b, 1).Public()
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		if _, err := Decide(log, testOrigin, pub); err != nil {
			b.Fatal(err)
		}
	}
}
