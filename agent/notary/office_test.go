package notary

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/report"
	"minglu/provisioning/ledgers"
	tlogwitness "minglu/provisioning/witness"
)

// realOffice puts the office's own witness in the place of the test's: what it says over MQTT.
func (w *world) realOffice(dir string, key ed25519.PrivateKey, alarms *[]string) (*tlogwitness.Witness, *ledgers.Store) {
	w.t.Helper()
	keys := func(device string) []*ecdsa.PublicKey {
		if device == w.device {
			return []*ecdsa.PublicKey{w.signer.Public()}
		}
		return nil
	}
	quiet := slog.New(slog.DiscardHandler)
	lines, err := ledgers.Open(ledgers.Options{Dir: filepath.Join(dir, "ledgers"), Keys: keys, Log: quiet})
	if err != nil {
		w.t.Fatal(err)
	}
	var mu sync.Mutex
	wit, err := tlogwitness.Open(tlogwitness.Options{Dir: filepath.Join(dir, "witness"), Name: witnessName, Key: key, Keys: keys, Now: time.Now, Log: quiet, Alarm: func(a tlogwitness.Alarm) {
		mu.Lock()
		defer mu.Unlock()
		*alarms = append(*alarms, a.Code)
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	x := &tlogwitness.Exchange{Witness: wit, Lines: lines, ID: func(string) string { return w.device }, Send: func(_ string, k report.Kind, b []byte) error {
		n := w.n
		time.AfterFunc(time.Millisecond, func() { n.Receive(k, b) })
		return nil
	}}
	inner := w.opts.Office
	w.opts.Office = func(m report.Message) error {
		k := report.KindCheckpoint
		switch m.(type) {
		case report.Ledger:
			k = report.KindLedger
		case report.Timestamp:
			return inner(m)
		}
		b, err := report.Marshal(m)
		if err != nil || !w.office.isOnline() {
			return err
		}
		x.Receive("room-1", k, b) // what it counts as wrong is its own affair
		return nil
	}
	return wit, lines
}

// TestWithTheRealWitness: device and office understand each other: first contact, growth, restarts of
// either, a long outage, and a device that was set back.
func TestWithTheRealWitness(t *testing.T) {
	inWorld(t, func(w *world) {
		var alarms []string
		dir := t.TempDir()
		wit, lines := w.realOffice(dir, w.office.key, &alarms)
		w.online(true)
		w.start()
		w.pass(time.Minute)
		id := w.record(5 * time.Minute)
		w.pass(time.Minute)
		if _, token, cosig := w.proofs(id); !token || !cosig {
			t.Errorf("token %t, cosignature %t: %+v", token, cosig, w.n.Status())
		}
		w.restart()
		w.pass(time.Minute)
		w.online(false)
		for range 5 {
			id = w.record(10 * time.Minute)
			w.pass(24 * time.Hour)
		}
		w.online(true)
		w.pass(time.Minute)
		if _, token, cosig := w.proofs(id); !token || !cosig || w.n.Status().Conflict {
			t.Errorf("after the outage: %+v", w.n.Status())
		}
		if have, err := lines.Have(w.l.Origin()); err != nil || have < w.l.Lines()-8 {
			t.Errorf("the office keeps %d lines of %d, %v", have, w.l.Lines(), err)
		}
		if len(alarms) > 0 {
			t.Errorf("alarms %q for an honest device", alarms)
		}

		w.end()
		image := t.TempDir()
		if err := os.CopyFS(image, os.DirFS(w.state)); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.record(5 * time.Minute)
		w.pass(time.Minute)
		w.end()
		w.state, w.sessions = image, map[string]map[string][]byte{}
		w.start()
		w.record(20 * time.Minute) // longer than what the witness holds
		w.pass(time.Hour)
		if !w.n.Status().Conflict {
			t.Errorf("set back and not noticed: %+v", w.n.Status())
		}
		if o := w.restart(); o.Cause != ledger.CauseWitness {
			t.Errorf("the next start: %+v", o)
		}
		id = w.record(5 * time.Minute)
		w.pass(time.Minute)
		if _, token, cosig := w.proofs(id); !token || !cosig {
			t.Errorf("locked out: %+v", w.n.Status())
		}
		// That it was set back the device has told itself, by a fault; that it begins anew the office sees.
		if got := strings.Join(alarms, " "); !w.faults[FaultConflict] || !strings.Contains(got, "generation") {
			t.Errorf("alarms: %s; faults %v", got, w.faults)
		}
		if err := wit.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestWithTheRealWitnessOverHTTP: the same by add-checkpoint, over a connection.
func TestWithTheRealWitnessOverHTTP(t *testing.T) {
	w := newWorld(t)
	var alarms []string
	wit, _ := w.realOffice(t.TempDir(), w.office.key, &alarms)
	defer wit.Close()
	web := httptest.NewServer(wit.Handler())
	defer web.Close()
	client := &http.Client{}
	defer client.CloseIdleConnections()
	at, err := HTTPWitness(web.URL, client)
	if err != nil {
		t.Fatal(err)
	}
	w.opts.Office, w.opts.Relay, w.opts.Witness, w.opts.Witnesses = nil, false, false, []WitnessAt{at}
	w.byHand = true
	w.start()
	defer w.end()
	for i := range 4 {
		if i == 2 { // a restart forgets what the witness holds, and is told
			w.end()
			w.start()
		}
		w.head("20260101T000000Z-00000001")
		_, got, err := w.n.attest(t.Context(), job{cosig: true, named: true})
		if err != nil || !got {
			t.Errorf("round %d: %t, %v, %+v", i, got, err, w.n.Status())
		}
	}
	n := 0
	w.l.EachAnchor(0, func(size int64, _, cosig bool) bool {
		note, _, lines, err := w.l.ReadAnchor(size)
		ck, perr := evidence.ParseCheckpoint(note)
		if err != nil || perr != nil || len(lines) != 1 {
			t.Errorf("anchor at %d: %q, %v, %v", size, lines, err, perr)
		}
		if _, err := w.trust().Witnesses[0].Verify(ck.Text(), lines[0]); err != nil {
			t.Error(err)
		}
		n++
		return true
	})
	if n != 4 {
		t.Errorf("%d anchors", n)
	}
}
