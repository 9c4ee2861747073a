package unrecorded_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"minglu/agent/clock"
	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/unrecorded"
)

type book struct {
	lines map[string]string
	err   error
}

func (b *book) NotRecorded(id, sum string) error {
	if b.err == nil {
		b.lines[id] = sum
	}
	return b.err
}

func (b *book) HasNotRecorded(id string) (bool, error) { return b.lines[id] != "", nil }

// TestBook: a record is signed and named by the ledger, also when a cut came between the two; it is there after
// the next start; a changed one does not pass.
func TestBook(t *testing.T) {
	dir := t.TempDir()
	pem, err := os.ReadFile("../evidence/testdata/golden/sessions/20260301T013000Z-0123abcd/device.pem")
	if err != nil {
		t.Fatal(err)
	}
	certs, err := evidence.CertsPEM(pem)
	if err != nil {
		t.Fatal(err)
	}
	scalar := sha256.Sum256([]byte("golden-room-3")) // evidence-format.md section 8
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
	if err != nil {
		t.Fatal(err)
	}
	ledger := &book{lines: map[string]string{}}
	o := unrecorded.Options{Folder: filepath.Join(dir, "notrecorded"), Files: durable.In(dir), Key: key, Certs: func() []*x509.Certificate { return certs }, Ledger: ledger,
		Now: func() clock.Reading {
			return clock.Reading{T: time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC), Error: 4 * time.Millisecond}
		}}
	b, err := unrecorded.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	said := evidence.NotRecorded{Body: evidence.Body{Name: "某县市场监督管理局"}, Case: "并市监罚〔2026〕12号", Why: evidence.WhySecret, Reason: "涉及国家秘密", Who: "王某"}
	n, err := b.Add(said)
	if err != nil || ledger.lines[n.ID] == "" {
		t.Fatalf("%+v, %v", n, err)
	}
	ledger.err = errors.New("cut")
	if _, err := b.Add(said); err == nil {
		t.Fatal("an entry the ledger refused is no error")
	}
	ledger.err = nil
	if b, err = unrecorded.Open(o); err != nil || len(b.List(10)) != 2 || len(b.List(1)) != 1 {
		t.Fatalf("%v, %v", b.List(10), err)
	}
	if err := b.Finish(); err != nil || len(ledger.lines) != 2 {
		t.Errorf("after the cut: %v, %v", ledger.lines, err)
	}
	for id, sum := range ledger.lines {
		json, err := os.ReadFile(filepath.Join(o.Folder, id+".json"))
		if err != nil || evidence.DigestFile("", json).SHA256 != sum {
			t.Errorf("the ledger does not name %s: %v", id, err)
		}
		p7s, err := os.ReadFile(filepath.Join(o.Folder, id+".json.p7s"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := evidence.CheckNotRecorded(json, p7s, certs); err != nil || got.Reason != "涉及国家秘密" || got.TE != 4000 {
			t.Errorf("%+v, %v", got, err)
		}
		json[len(json)/2] ^= 1
		if _, err := evidence.CheckNotRecorded(json, p7s, certs); err == nil {
			t.Error("a changed record passes")
		}
	}
	if _, err := b.Add(evidence.NotRecorded{Why: evidence.WhyOther, Who: "王某"}); err == nil {
		t.Error("no reason in words is taken")
	}
}
