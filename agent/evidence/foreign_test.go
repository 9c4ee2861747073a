package evidence_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	f_log "github.com/transparency-dev/formats/log"
	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"minglu/agent/evidence"
)

// TestForeignNotes: what others' code signs is read here, and what this package signs is read by others'.
func TestForeignNotes(t *testing.T) {
	dev := newDevice("golden-room-3", nil)
	c := evidence.Checkpoint{Origin: evidence.LedgerOrigin(dev.d, goldenGen), Size: 123456, Root: evidence.Hash{7}}
	c.Sig = must(dev.signer.Sign(c.Origin, c.Size, c.Root))
	w, key := witness("a")

	// Theirs over ours.
	skey := fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", w.Name, w.ID(), base64.StdEncoding.EncodeToString(append([]byte{4}, key.Seed()...)))
	signer := must(f_note.NewSignerForCosignatureV1(skey))
	device := must(f_note.NewVerifier(evidence.VKey(c.Origin, dev.signer.SPKI())))
	opened := must(note.Open([]byte(c.Note()), note.VerifierList(device)))
	both := must(note.Sign(opened, signer))
	lines := strings.Split(strings.TrimSuffix(string(both), "\n"), "\n")
	line := lines[len(lines)-1]
	if at, err := w.Verify(c.Text(), line); err != nil || time.Since(at) > time.Hour {
		t.Errorf("a cosignature made by transparency-dev/formats: %v %v", at, err)
	}

	// Ours read by theirs.
	verifier := must(f_note.NewVerifierForCosignatureV1(w.VKey()))
	mine := must(evidence.Cosign(w.Name, key, c.Text(), goldenStart))
	n, err := note.Open([]byte(c.Note()+mine+"\n"), note.VerifierList(device, verifier))
	if err != nil || len(n.Sigs) != 2 {
		t.Fatalf("our note and cosignature: %v %v", n, err)
	}
	if at := must(f_note.CoSigV1Timestamp(n.Sigs[1])); !at.Equal(goldenStart) {
		t.Errorf("our cosignature's time: %v", at)
	}
	cp, _, _, err := f_log.ParseCheckpoint([]byte(c.Note()), c.Origin, device)
	if err != nil || cp.Size != 123456 || string(cp.Hash) != string(c.Root[:]) {
		t.Errorf("our checkpoint: %+v %v", cp, err)
	}

	// An ML-DSA-44 key is known by name and judges nothing; a line by it is no error for who has another.
	askey, avkey, err := f_note.GenerateMLDSAKey("witness.example/pq")
	if err != nil {
		t.Fatal(err)
	}
	pq, err := evidence.ParseVKey(avkey)
	if err != nil || pq.Known() || pq.Type != evidence.TypeMLDSA44 {
		t.Fatalf("ML-DSA key: %v %v", pq, err)
	}
	withPQ := must(note.Sign(opened, must(f_note.NewSignerForCosignatureV1(askey))))
	lines = strings.Split(strings.TrimSuffix(string(withPQ), "\n"), "\n")
	trust := &evidence.Trust{Witnesses: []evidence.Witness{pq, w}}
	proofs, notes, err := trust.Outside(&evidence.AnchorFile{Checkpoint: c, Cosignatures: []string{lines[len(lines)-1], mine}})
	if err != nil || len(proofs) != 1 || proofs[0].By != w.Name || len(notes) != 1 || !strings.Contains(notes[0], "not known here") {
		t.Errorf("an ML-DSA cosignature beside ours: %v %v %v", proofs, notes, err)
	}
}
