package identity

import (
	"crypto/ecdsa"
	"errors"
	"strings"
	"testing"
	"time"

	"minglu/agent/clock"
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/provisioning/ca"
)

// announceIn puts the line into the ledger of a state folder, signed by the key so far.
func announceIn(state string) func(*Identity, evidence.Key) error {
	return func(old *Identity, line evidence.Key) error {
		l, err := openLedger(state, old)
		if err != nil {
			return err
		}
		_, err = l.Append(line)
		return errors.Join(err, l.Close())
	}
}

func openLedger(state string, id *Identity) (*ledger.Ledger, error) {
	signer, err := evidence.NewSigner(id.Key)
	if err != nil {
		return nil, err
	}
	l, opened, err := ledger.Open(ledger.Options{State: state, Device: id.D, Signer: signer, Earlier: id.Earlier, Boot: "b",
		Now: func() clock.Reading { return clock.Reading{T: time.Now(), Error: -1} }})
	if err == nil && opened.Fresh && opened.Cause != ledger.CauseFirst {
		err = errors.New("the ledger began anew: " + opened.Cause)
	}
	return l, err
}

// TestRotationCutAtEachStep: the device keeps its name, its ledger and its enrolment whatever a cut hits,
// and ends with the new key once it is asked again.
func TestRotationCutAtEachStep(t *testing.T) {
	o := openOffice(t)
	state := t.TempDir()
	first := o.mustEnrol(state, "room-3")
	l, err := openLedger(state, first)
	if err != nil {
		t.Fatal(err)
	}
	generation := l.Generation()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		next, err := Rotate(t.Context(), Options{State: state, Name: "room-3", Layer: &dying{left: n}}, announceIn(state))
		if err != nil && !errors.Is(err, errDead) {
			t.Fatalf("step %d: %v", n, err)
		}
		id := load(t, state, "room-3")
		if id.D != first.D || id.Office == nil || isSelfMade(id.Cert) {
			t.Fatalf("step %d: device %s, was %s", n, id.D, first.D)
		}
		l, lerr := openLedger(state, id)
		if lerr != nil || l.Generation() != generation {
			t.Fatalf("step %d: ledger: %v", n, lerr)
		}
		if lerr := l.Close(); lerr != nil {
			t.Fatal(lerr)
		}
		if err == nil {
			if !sameKey(next.Key, id.Key.Public()) {
				t.Error("what is returned is not what is loaded")
			}
			break
		}
		if len(id.Earlier) > 0 { // committed before the cut
			t.Logf("committed at step %d", n)
			break
		}
	}
	after := load(t, state, "room-3")
	if sameKey(first.Key, after.Key.Public()) || len(after.Earlier) != 1 || !sameKey(first.Key, after.Earlier[0]) {
		t.Fatalf("the key is the old one")
	}
	signs := 0
	for _, e := range o.ca.Entries() {
		if e.Kind == ca.KindSign && e.Device == first.D {
			signs++
		}
	}
	if signs != 2 {
		t.Errorf("%d signing certificates, want the old and the new", signs)
	}
	// The new key signs on, renews, and rotates again.
	k, faults := o.keeper(after, "room-3")
	if err := k.Renew(t.Context()); err != nil || !faults.none() {
		t.Errorf("renewal after a rotation: %v", err)
	}
	third, err := Rotate(t.Context(), Options{State: state, Name: "room-3"}, announceIn(state))
	if err != nil || len(third.Earlier) != 2 || third.D != first.D {
		t.Fatalf("again: %v", err)
	}
	if l, err = openLedger(state, third); err != nil || l.Generation() != generation {
		t.Fatalf("ledger: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	// A key the ledger does not announce is not followed.
	stranger := load(t, t.TempDir(), "room-3")
	if l, err := openLedger(state, &Identity{Key: stranger.Key, D: first.D, Earlier: []*ecdsa.PublicKey{third.Key.Public().(*ecdsa.PublicKey)}}); err == nil || !strings.Contains(err.Error(), "anew") {
		t.Errorf("a key nobody announced goes on with the ledger: %v %v", l, err)
	} else {
		_ = l.Close()
	}
}

func TestRotateNeedsAnOffice(t *testing.T) {
	state := t.TempDir()
	load(t, state, "room-3")
	if _, err := Rotate(t.Context(), Options{State: state, Name: "room-3"}, nil); err == nil || !strings.Contains(err.Error(), "not enrolled") {
		t.Errorf("not enrolled: %v", err)
	}
}
