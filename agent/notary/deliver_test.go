package notary

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/report"
)

// TestWitnessAwayForDays: a session sealed while the witness was away gets its cosignature when the witness is back,
// whatever number of tokens came in between, and nobody is asked in a loop.
func TestWitnessAwayForDays(t *testing.T) {
	inWorld(t, func(w *world) {
		var away atomic.Bool
		away.Store(true)
		inner := w.opts.Office
		w.opts.Office = func(m report.Message) error {
			if _, ok := m.(report.Checkpoint); ok && away.Load() {
				return nil
			}
			return inner(m)
		}
		w.online(true)
		w.start()
		w.pass(time.Minute)
		id := w.record(5 * time.Minute)
		w.pass(3 * maxAfter * time.Hour)
		if _, token, cosig := w.proofs(id); !token || cosig {
			t.Fatalf("token %t, cosignature %t", token, cosig)
		}
		away.Store(false)
		w.office.counts()
		w.pass(time.Hour)
		if shown, stamps := w.office.counts(); shown > 12 || stamps > 12 {
			t.Errorf("%d checkpoints and %d requests in an hour of nothing", shown, stamps)
		}
		if _, token, cosig := w.proofs(id); !token || !cosig {
			t.Errorf("token %t, cosignature %t once the witness is back", token, cosig)
		}
	})
}

// TestStateFolderFull: what cannot be kept is not asked for in a loop, and is got once there is room.
func TestStateFolderFull(t *testing.T) {
	inWorld(t, func(w *world) {
		var full atomic.Bool
		inner := w.opts.Append
		w.opts.Append = func(line any) error {
			if full.Load() {
				return errors.New("no space left on device")
			}
			return inner(line)
		}
		w.online(true)
		w.start()
		w.pass(time.Minute)
		full.Store(true)
		w.office.counts()
		w.n.Moment(Precheck)
		w.pass(time.Hour)
		if shown, stamps := w.office.counts(); shown > 40 || stamps > 40 || stamps < 5 {
			t.Errorf("%d checkpoints and %d requests in an hour", shown, stamps)
		}
		got := w.n.Status().Tokens
		full.Store(false)
		w.pass(backoffMax + time.Minute)
		if st := w.n.Status(); st.Tokens <= got || st.Waiting {
			t.Errorf("with room again: %+v", st)
		}
	})
}

// TestSessionsThatNeverComplete: they do not keep others from getting proofs, and are not forgotten.
func TestSessionsThatNeverComplete(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broken = map[string]bool{}
		old := time.Now().Add(-100 * 24 * time.Hour).UTC()
		for i := range maxOwed + 10 {
			id := old.Add(time.Duration(i)*time.Minute).Format("20060102T150405Z-") + "00000009"
			w.sessions[id], w.broken[id] = map[string][]byte{signatureFile: []byte(id)}, true
		}
		w.online(true)
		w.start()
		w.pass(time.Minute)
		id := w.record(5 * time.Minute)
		w.pass(2 * time.Hour)
		if _, token, cosig := w.proofs(id); !token || !cosig || !w.stamped(id) {
			t.Fatalf("behind %d that never complete: token %t, cosignature %t", len(w.broken), token, cosig)
		}
		if len(w.passed) != maxOwed {
			t.Errorf("%d are remembered", len(w.passed))
		}
		w.restart()
		w.mu.Lock()
		clear(w.broken)
		w.mu.Unlock()
		w.pass(3 * time.Hour)
		for id := range w.sessions {
			if !w.stamped(id) {
				t.Fatalf("%s is forgotten", id)
			}
		}
		if len(w.passed) > 0 {
			t.Errorf("remembered although complete: %q", w.passed)
		}
	})
}

// TestSealedLate: a session that was sealed long after later ones gets its proofs, though they can be had only
// hours after that.
func TestSealedLate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.online(true)
		w.start()
		w.pass(time.Minute)
		w.record(5 * time.Minute)
		late := w.open()
		w.mu.Lock()
		w.running = ""
		w.mu.Unlock()
		w.pass(time.Hour)
		for range 5 {
			w.record(5 * time.Minute)
			w.pass(24 * time.Hour)
		}
		if w.through < late {
			t.Fatalf("through %q, the late one is %q", w.through, late)
		}
		w.online(false)
		w.mu.Lock()
		w.running = late
		w.mu.Unlock()
		w.seal()
		w.n.Look(late)
		w.pass(5 * time.Hour)
		w.restart()
		w.pass(5 * time.Hour)
		w.online(true)
		w.pass(10 * time.Minute)
		if _, token, cosig := w.proofs(late); !token || !cosig || !w.stamped(late) {
			t.Errorf("token %t, cosignature %t, stamped %t; remembered %q", token, cosig, w.stamped(late), w.passed)
		}
	})
}

// TestOfficeNotSetUp: nobody waits for an office that is no witness and has no authority, and what it can give
// once it is set up comes to the sessions of before.
func TestOfficeNotSetUp(t *testing.T) {
	inWorld(t, func(w *world) {
		var setUp atomic.Bool
		inner := w.opts.Office
		shown := 0
		w.opts.Office = func(m report.Message) error {
			switch m := m.(type) {
			case report.Timestamp:
				if !setUp.Load() {
					w.office.send(report.KindTimestamp, report.Timestamp{ID: m.ID, Error: "unconfigured"}, time.Millisecond)
					return nil
				}
			case report.Checkpoint:
				if shown++; !setUp.Load() {
					w.office.send(report.KindCosignature, report.Cosignature{Origin: m.Origin, Size: m.Size, Refused: "unconfigured"}, time.Millisecond)
					return nil
				}
			}
			return inner(m)
		}
		w.online(true)
		w.start()
		id := w.record(5 * time.Minute)
		w.pass(time.Minute)
		shown = 0
		w.pass(10 * 24 * time.Hour)
		if w.through != id || len(w.passed) > 0 || w.n.Status().Owed > 0 {
			t.Errorf("through %q, passed %q, %+v", w.through, w.passed, w.n.Status())
		}
		if shown > 10*24+5 {
			t.Errorf("the office was shown %d checkpoints in ten days, although it is no witness", shown)
		}
		setUp.Store(true)
		w.pass(2 * time.Hour)
		if _, token, cosig := w.proofs(id); !token || !cosig || !w.stamped(id) {
			t.Errorf("token %t, cosignature %t, stamped %t after it was set up", token, cosig, w.stamped(id))
		}
	})
}

// TestStopWithHungDisk: a disk that never answers does not keep the agent from ending.
func TestStopWithHungDisk(t *testing.T) {
	inWorld(t, func(w *world) {
		w.online(true)
		w.start()
		w.record(time.Minute)
		hang := make(chan struct{})
		defer close(hang)
		w.mu.Lock()
		w.hang = hang
		w.mu.Unlock()
		w.pass(time.Hour)
		began := time.Now()
		w.end()
		if took := time.Since(began); took > 2*stopGrace {
			t.Errorf("ended after %v", took)
		}
	})
}

// TestDiskErrorsAreTold: a look between anchors tells of a disk that cannot be read.
func TestDiskErrorsAreTold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broken = map[string]bool{}
		w.opts.Office, w.opts.Relay, w.opts.Witness = nil, false, false
		w.opts.Authorities = []Authority{{"own", func(_ context.Context, q []byte) ([]byte, error) {
			w.mu.Lock()
			none := len(w.broken) > 0
			w.mu.Unlock()
			if none {
				return nil, errUnwanted
			}
			return w.tsa.Reply(q)
		}}}
		w.start()
		w.pass(time.Minute)
		id := w.record(time.Minute)
		w.pass(time.Minute)
		w.mu.Lock()
		w.broken[id] = true
		w.mu.Unlock()
		err := w.n.onlySeals(t.Context(), &looks{}, []*owed{{id: id}})
		if err == nil || !strings.Contains(err.Error(), id) {
			t.Errorf("onlySeals() = %v", err)
		}
	})
}

// TestAddressIsNotTold: an authority's address may hold a key.
func TestAddressIsNotTold(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	at := strings.Replace(web.URL, "http://", "http://user:word@", 1) + "/tsa?key=hush"
	web.Close() // asking fails, with an error of net/http
	var log bytes.Buffer
	client := &http.Client{}
	a, err := HTTPAuthority(at, client)
	if err != nil {
		t.Fatal(err)
	}
	wit, err := HTTPWitness(at, client)
	if err != nil {
		t.Fatal(err)
	}
	_, aerr := a.Ask(t.Context(), nil)
	_, _, _, werr := wit.Add(t.Context(), nil)
	slog.New(slog.NewTextHandler(&log, nil)).Info("all", "names", []string{a.Name, wit.Name}, "errs", []error{aerr, werr})
	for _, secret := range []string{"user", "word", "hush"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is told: %s", secret, &log)
		}
	}
	if aerr == nil || werr == nil || !strings.Contains(a.Name, "/tsa") {
		t.Errorf("%v, %v, %q", aerr, werr, a.Name)
	}
}

// TestKeptBeforeItWasNamed: a cosignature got beside a token that stands already is saved before it is named.
func TestKeptBeforeItWasNamed(t *testing.T) {
	w := newWorld(t)
	w.byHand = true
	w.start()
	defer w.end()
	w.head("20260101T000000Z-00000001")
	ck, err := w.l.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.l.SaveAnchor(ck.Size, ck.Note(), []byte("token of before the cut"), nil); err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	line, err := evidence.Cosign(witnessName, key, ck.Text(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.n.keep(ck, token{der: []byte("another")}, []string{line}); err != nil {
		t.Fatal(err)
	}
	_, der, lines, err := w.l.ReadAnchor(ck.Size)
	if err != nil || string(der) != "token of before the cut" || len(lines) != 1 || lines[0] != line {
		t.Errorf("ReadAnchor() = %q, %q, %v", der, lines, err)
	}
	if got := fmt.Sprint(w.named); !strings.Contains(got, digest(der)) || len(w.named) != 2 {
		t.Errorf("named %v", got)
	}
}
