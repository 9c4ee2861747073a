package amend_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"minglu/agent/amend"
	"minglu/agent/clock"
	"minglu/agent/durable"
	"minglu/agent/durable/durabletest"
	"minglu/agent/evidence"
)

const (
	golden  = "../evidence/testdata/golden/sessions"
	session = "20260301T013000Z-0123abcd"
	open    = "20260301T043000Z-0123abd0"
	device  = "5426223d9394951aee91f3bdcdfd7bfb"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// book is a ledger that is durable at once.
type book map[string]string

func (b book) Amend(session string, n int64, sum string) error {
	key := fmt.Sprint(session, n)
	if b[key] != "" {
		return fmt.Errorf("amendment %d was entered before", n)
	}
	b[key] = sum
	return nil
}

func (b book) Amended(session string, n int64) (string, error) { return b[fmt.Sprint(session, n)], nil }

// rig is a state folder and two disks below one root.
func rig(t *testing.T) string {
	root := t.TempDir()
	for _, d := range []string{"state/tmp", "a/tmp", "b/tmp", "a/sessions", "b/sessions"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	for _, d := range []string{"a", "b"} {
		must(t, os.CopyFS(filepath.Join(root, d, "sessions", session), os.DirFS(filepath.Join(golden, session))))
	}
	return root
}

func amender(t *testing.T, root string, l durable.Layer, ledger book) *amend.Amender {
	scalar := sha256.Sum256([]byte("golden-room-3")) // evidence-format.md section 8
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
	must(t, err)
	a, err := amend.New(amend.Options{
		Folder: filepath.Join(root, "state", "amending"), Files: durable.Files{Layer: l, Tmp: filepath.Join(root, "state", "tmp")}, Layer: l,
		Disks:  func() []string { return []string{filepath.Join(root, "a"), filepath.Join(root, "b")} },
		Device: device, Key: key, Certs: func() []*x509.Certificate { return nil }, Ledger: ledger,
		Now: func() clock.Reading { return clock.Reading{T: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), Error: -1} },
	})
	must(t, err)
	return a
}

func verify(root, disk string) evidence.Result {
	dir := filepath.Join(root, disk, "sessions", session)
	b, _ := os.ReadFile(filepath.Join(dir, "device.pem"))
	certs, _ := evidence.CertsPEM(b)
	return evidence.Verify(os.DirFS(dir), evidence.VerifyOptions{Path: dir, Require: 1, Trust: &evidence.Trust{Devices: certs}})
}

func attachment(file []byte) map[string]string {
	sum := sha256.Sum256(file)
	return evidence.Attachment{Name: "笔录.pdf", Size: int64(len(file)), SHA256: hex.EncodeToString(sum[:]), Kind: evidence.AttachedRecord, Who: "li"}.Map()
}

func TestAdd(t *testing.T) {
	root, ledger := rig(t), book{}
	a := amender(t, root, nil, ledger)
	number := "并市监罚〔2026〕12号"
	data, err := evidence.DetailsData{Case: &number, Who: "li"}.Map()
	must(t, err)
	_, err = a.Add(session, evidence.AmendDetails, data, nil)
	must(t, err)
	file := []byte("笔录")
	am, err := a.Add(session, evidence.AmendAttachment, attachment(file), file)
	must(t, err)
	if am.N != 2 || len(ledger) != 2 {
		t.Errorf("number %d, ledger %v", am.N, ledger)
	}
	for _, d := range []string{"a", "b"} {
		if r := verify(root, d); r.Exit != 0 || len(r.Sessions[0].Amendments) != 2 {
			t.Errorf("disk %s: %+v", d, r)
		}
		_, f, err := evidence.ReadFacts(os.DirFS(filepath.Join(root, d, "sessions", session)))
		if err != nil || f.Case != number || len(f.Attachments) != 1 {
			t.Errorf("disk %s: %+v, %v", d, f, err)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(root, "state", "amending")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestRefused: what cannot be amended says why, and changes nothing.
func TestRefused(t *testing.T) {
	root := rig(t)
	must(t, os.CopyFS(filepath.Join(root, "a", "sessions", open), os.DirFS(filepath.Join(golden, open))))
	a := amender(t, root, nil, book{})
	for id, want := range map[string]error{open: amend.ErrNotSealed, "20990101T000000Z-00000000": amend.ErrNoDisk} {
		if _, err := a.Add(id, evidence.AmendRefused, map[string]string{"who": "li"}, nil); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", id, err, want)
		}
	}
	must(t, os.WriteFile(filepath.Join(root, "a", "sessions", session, "amendment-1.json"), []byte("{}"), 0o644))
	if _, err := a.Add(session, evidence.AmendRefused, map[string]string{"who": "li"}, nil); err == nil || !strings.Contains(err.Error(), "verify") {
		t.Errorf("over an amendment that does not hold: %v", err)
	}
}

// TestCutAtEachStep: the power fails at each operation of adding an attachment, with each loss. After Finish the
// session is sound on both disks, and the amendment, its file and the ledger's line are all there or none is.
func TestCutAtEachStep(t *testing.T) {
	file := []byte("笔录")
	for _, loss := range []durabletest.Loss{durabletest.LoseAll, durabletest.LoseNone, durabletest.LoseTorn, durabletest.LoseZero} {
		there, absent := 0, 0
		stride := 6
		if loss == durabletest.LoseAll {
			stride = 2
		}
		for stop := 0; ; stop += stride {
			root, ledger := rig(t), book{}
			l := &durabletest.Layer{}
			know(t, l, root)
			n := 0
			l.Before = func(op durabletest.Op) error {
				if n++; n > stop {
					return syscall.EIO
				}
				return nil
			}
			_, err := amender(t, root, l, ledger).Add(session, evidence.AmendAttachment, attachment(file), file)
			l.Before = nil
			after := t.TempDir()
			for _, d := range []string{"state/tmp", "a/tmp", "b/tmp", "a/sessions/" + session, "b/sessions/" + session} {
				must(t, os.MkdirAll(filepath.Join(after, d), 0o755))
			}
			must(t, l.Cut(root, after, loss))
			if ferr := amender(t, after, nil, ledger).Finish(t.Context()); ferr != nil {
				t.Fatalf("loss %d, cut after step %d: %v", loss, stop, ferr)
			}
			has := len(ledger) == 1
			for _, d := range []string{"a", "b"} {
				if r := verify(after, d); r.Exit != 0 || (len(r.Sessions[0].Amendments) == 1) != has {
					t.Fatalf("loss %d, cut after step %d, disk %s, ledger %v: exit %d %+v", loss, stop, d, ledger, r.Exit, r.Sessions[0].Spans)
				}
			}
			if err == nil && !has {
				t.Fatalf("loss %d, step %d: told that it is there, and it is not", loss, stop)
			}
			if left, _ := os.ReadDir(filepath.Join(after, "state", "amending")); len(left) > 0 {
				t.Fatalf("loss %d, step %d: left %v", loss, stop, left)
			}
			if has {
				there++
			} else {
				absent++
			}
			if n <= stop {
				break
			}
		}
		if there == 0 || absent == 0 {
			t.Errorf("loss %d: %d with, %d without: the cuts do not reach everything", loss, there, absent)
		}
		t.Logf("loss %d: %d cuts", loss, there+absent)
	}
}

// know makes a layer see what is there before anything happens.
func know(t *testing.T, l *durabletest.Layer, root string) {
	must(t, filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		h, err := l.OpenFile(name, os.O_RDONLY, 0)
		if err != nil {
			return err
		}
		return h.Close()
	}))
}

// TestNumberTaken: a late tail that took the number in between moves the amendment to the next one.
func TestNumberTaken(t *testing.T) {
	root, ledger := rig(t), book{}
	l := &durabletest.Layer{}
	know(t, l, root)
	l.Before = func(op durabletest.Op) error {
		if strings.HasPrefix(op.Name, filepath.Join(root, "a")) || strings.HasPrefix(op.Name, filepath.Join(root, "b")) {
			return syscall.EIO
		}
		return nil
	}
	said := map[string]string{"party": "张某", "reason": "不认可", "who": "li"}
	if _, err := amender(t, root, l, ledger).Add(session, evidence.AmendRefused, said, nil); err == nil {
		t.Fatal("no disk could be written, and no error")
	}
	other := rig(t) // where the other amendment comes from
	_, err := amender(t, other, nil, book{}).Add(session, evidence.AmendDetails, map[string]string{"case": "1", "who": "x"}, nil)
	must(t, err)
	for _, name := range []string{"amendment-1.json", "amendment-1.json.p7s"} {
		b, err := os.ReadFile(filepath.Join(other, "a", "sessions", session, name))
		must(t, err)
		for _, d := range []string{"a", "b"} {
			must(t, os.WriteFile(filepath.Join(root, d, "sessions", session, name), b, 0o644))
		}
	}
	must(t, amender(t, root, nil, ledger).Finish(t.Context()))
	_, f, err := evidence.ReadFacts(os.DirFS(filepath.Join(root, "b", "sessions", session)))
	if err != nil || f.Amended != 2 || len(f.Refused) != 1 || f.Refused[0].N != 2 {
		t.Errorf("%+v, %v", f, err)
	}
	if r := verify(root, "a"); r.Exit != 0 {
		t.Errorf("%+v", r)
	}
}
