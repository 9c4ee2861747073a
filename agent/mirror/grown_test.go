package mirror_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"minglu/agent/clock"
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/mirror"
	"minglu/agent/record/recovery"
)

// repairer is the golden device, which repairs its own sessions.
type repairer struct {
	o recovery.Options
}

func newRepairer(t *testing.T) *repairer {
	t.Helper()
	scalar := sha256.Sum256([]byte("golden-room-3")) // evidence-format.md section 8
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
	must(t, err)
	signer, err := evidence.NewSigner(key)
	must(t, err)
	certs, err := evidence.CertsPEM(read(t, filepath.Join(golden, open, "device.pem")))
	must(t, err)
	now := func() clock.Reading {
		return clock.Reading{T: time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC), Error: time.Millisecond, Source: "test", Up: time.Minute}
	}
	d := evidence.DeviceID(signer.SPKI())
	l, _, err := ledger.Open(ledger.Options{State: t.TempDir(), Device: d, Signer: signer, Now: now, Boot: "later"})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return &repairer{recovery.Options{Ledger: l, Device: d, Key: key, Certs: certs, Now: now, BootID: "later",
		NewLog: func(origin string) recovery.Log {
			return ledger.NewSessionLog(ledger.LogOptions{Origin: origin, Signer: signer, Now: now})
		}}}
}

func (r *repairer) run(t *testing.T, want recovery.Outcome, disks ...mirror.Disk) {
	t.Helper()
	r.o.Disks = nil
	for _, d := range disks {
		r.o.Disks = append(r.o.Disks, recovery.Disk{ID: d.ID, Dir: d.Dir})
	}
	rep, err := recovery.Run(t.Context(), r.o)
	if err != nil || len(rep.Items) != 1 || rep.Items[0].Outcome != want {
		t.Fatalf("recovery: %+v, %v; want %s", rep.Items, err, want)
	}
}

// TestGrownAfterTheSeal: a session was sealed from one disk, and the other came back with more of it. The
// grown copy is what a third disk gets; a copy of before is brought up to it; damage does not spread.
func TestGrownAfterTheSeal(t *testing.T) {
	a, b := disk(t, "a", open), disk(t, "b", open)
	log := read(t, at(a, open, "log.jsonl"))
	first := bytes.Index(log, []byte(`"type":"fragment"`))
	end := first + bytes.Index(log[first:], []byte(`,"type":"sign"}`+"\n")) + len(`,"type":"sign"}`+"\n")
	if end >= len(log) {
		t.Fatal("the golden session has no second signature")
	}
	write(t, at(a, open, "log.jsonl"), log[:end])
	device := newRepairer(t)
	device.run(t, recovery.Recovered, a)
	sealed := tree(t, at(a, open))

	// Both have a claim, and recovery is to decide.
	if r := pass(t, mirror.Options{}, a, b); len(r.Foreign) != 1 || r.Foreign[0].Disk != b.ID || !maps.Equal(tree(t, at(a, open)), sealed) {
		t.Fatalf("before recovery saw both: %+v", r)
	}
	device.run(t, recovery.LateTail, a, b)
	want := tree(t, at(a, open))
	if !maps.Equal(tree(t, at(b, open)), want) || len(want) <= len(sealed) {
		t.Fatalf("recovery left two copies: %v", slices.Sorted(maps.Keys(want)))
	}

	c := disk(t, "c")
	r := pass(t, mirror.Options{}, a, b, c)
	if len(r.Completed) != 1 || !maps.Equal(tree(t, at(c, open)), want) {
		t.Fatalf("a new disk: %+v", r)
	}
	// The copy as it was before.
	must(t, os.RemoveAll(at(c, open)))
	for name, data := range sealed {
		must(t, os.MkdirAll(filepath.Dir(at(c, open, name)), 0o755))
		write(t, at(c, open, name), []byte(data))
	}
	if r = pass(t, mirror.Options{}, a, c); !maps.Equal(tree(t, at(c, open)), want) {
		t.Errorf("the copy of before: %+v", r)
	}
	// The best copy damaged: the other is taken.
	v := read(t, at(a, open, "voice-00001.mp4"))
	v[len(v)-3] ^= 1
	write(t, at(a, open, "voice-00001.mp4"), v)
	if r = pass(t, mirror.Options{}, a, b); !maps.Equal(tree(t, at(a, open)), want) || !maps.Equal(tree(t, at(b, open)), want) {
		t.Errorf("with damage: %+v", r)
	}
	// And stops when the disks are needed.
	if r = pass(t, mirror.Options{Busy: func() bool { return true }}, a, b); !r.Waiting {
		t.Errorf("needed elsewhere: %+v", r)
	}
}
