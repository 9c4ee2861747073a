package notary

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/report"
	"minglu/sim/tsa"
)

// TestEveryMomentIsAsked holds evidence.md: tokens at presence or precheck, at start and seal, every ten
// minutes in a session, hourly when idle; the witness each minute while recording.
func TestEveryMomentIsAsked(t *testing.T) {
	inWorld(t, func(w *world) {
		w.online(true)
		w.start()
		expect := func(what string, shown, stamps int) {
			t.Helper()
			synctest.Wait()
			if s, n := w.office.counts(); s != shown || n != stamps {
				t.Errorf("%s: %d checkpoints and %d token requests, want %d and %d", what, s, n, shown, stamps)
			}
		}
		w.pass(time.Second)
		expect("a start", 1, 1)
		w.pass(5*time.Hour + presenceGap)
		expect("five idle hours", 5, 5)
		for _, m := range []Moment{Presence, Precheck} {
			w.n.Moment(m)
			w.pass(6 * time.Second)
			expect(string(m), 1, 1)
		}
		w.n.Moment(Presence)
		w.pass(time.Minute)
		expect("a presence sensor that flickers", 0, 0)
		w.open()
		w.pass(6 * time.Second)
		expect("a session's opening", 1, 1)
		w.pass(time.Hour)
		expect("an hour of recording", 60, 6)
		w.seal()
		w.pass(6 * time.Second)
		expect("a seal: the checkpoint and the manifest", 1, 2)
		w.pass(time.Hour - 7*time.Second)
		expect("almost an hour later", 0, 0)

		w.mu.Lock()
		tokens, cosigs := 0, 0
		for _, a := range w.named {
			if a.Token != "" {
				tokens++
			}
			if a.Cosig != "" {
				cosigs++
			}
		}
		w.mu.Unlock()
		if st := w.n.Status(); st.Tokens != 1+5+2+1+6+1 || int64(tokens) != st.Tokens || tokens != cosigs || st.Failures > 0 || st.Owed > 0 || st.Waiting {
			t.Errorf("%+v; named %d tokens, %d cosignatures", st, tokens, cosigs)
		}
		if err := w.officeHasAll(); err != nil {
			t.Error(err)
		}
		// Each line of the ledger names what its folder holds.
		n := 0
		w.l.EachAnchor(0, func(size int64, token, cosig bool) bool {
			n++
			if !token || !cosig {
				t.Errorf("anchor at %d: token %t, cosignature %t", size, token, cosig)
			}
			return true
		})
		if n != tokens {
			t.Errorf("%d anchors for %d tokens", n, tokens)
		}
	})
}

// TestThreeWeeksOffline: what came in the meantime is covered by one token and one proof, over a restart.
func TestThreeWeeksOffline(t *testing.T) {
	inWorld(t, func(w *world) {
		w.online(true)
		w.start()
		w.pass(time.Second)
		before := w.record(10 * time.Minute)
		w.pass(time.Minute)
		if n, token, cosig := w.proofs(before); n < 3 || !token || !cosig || !w.stamped(before) {
			t.Errorf("before: %d anchors, token %t, cosignature %t", n, token, cosig)
		}
		w.online(false)
		w.office.counts()
		var ids []string
		for day := range 21 {
			for range 2 {
				ids = append(ids, w.record(10*time.Minute))
				w.pass(time.Hour)
			}
			if day == 10 {
				w.restart()
			}
			w.pass(24*time.Hour - 2*70*time.Minute)
		}
		if shown, stamps := w.office.counts(); shown+stamps > 0 {
			t.Errorf("%d checkpoints and %d requests came through a line that is down", shown, stamps)
		}
		for _, id := range ids {
			if n, token, cosig := w.proofs(id); n > 2 || token || cosig || w.stamped(id) { // two tokens of before it
				t.Fatalf("%s: %d anchors out of nothing", id, n)
			}
		}
		if !w.faults[FaultLate] {
			t.Error("nobody is told that there was no token for weeks")
		}
		if st := w.n.Status(); st.Owed != len(ids) || !st.Waiting {
			t.Errorf("%+v", st)
		}
		w.restart()
		proofs, weeks := len(w.office.proved), w.l.Ref().Size
		back := time.Now()
		w.online(true)
		w.pass(time.Minute)
		shown, stamps := w.office.counts()
		// The first proof leads over all the weeks; what may follow within the minute is about the lines
		// that the answers themselves have added.
		if led := w.office.proved[proofs:]; shown > 3 || len(led) == 0 || len(led) > 2 || led[0][1] < weeks || stamps < 1+len(ids) || stamps > 2+len(ids) {
			t.Errorf("%d checkpoints, proofs %v over %d lines of the weeks, %d token requests; want one proof over all and one request for each seal and for now", shown, led, weeks, stamps)
		}
		for _, id := range ids {
			if _, token, cosig := w.proofs(id); !token || !cosig || !w.stamped(id) {
				t.Errorf("%s: token %t, cosignature %t, stamped %t, %v after the line is back", id, token, cosig, w.stamped(id), time.Since(back))
			}
		}
		if err := w.officeHasAll(); err != nil {
			t.Error(err)
		}
		if st := w.n.Status(); st.Owed != 0 || st.Waiting || w.faults[FaultLate] {
			t.Errorf("%+v, faults %v", st, w.faults)
		}
		if w.through < ids[len(ids)-10] {
			t.Errorf("all up to %q is done; the next start looks at too many", w.through)
		}
		writes := w.writes
		w.restart()
		w.pass(30 * time.Minute)
		if w.writes != writes {
			t.Error("what is complete is written again")
		}
	})
}

// TestAuthoritiesInTurn: what one does wrong is noticed, the next is asked, and nothing wrong is kept.
func TestAuthoritiesInTurn(t *testing.T) {
	inWorld(t, func(w *world) {
		first, err := tsa.New(tsa.Options{Name: "first"})
		if err != nil {
			t.Fatal(err)
		}
		trusted := w.opts.Trust
		w.opts.Trust = func() *evidence.Trust {
			x := trusted()
			x.TSA = append(x.TSA, first.Root())
			return x
		}
		var slow atomic.Bool
		w.opts.Authorities = []Authority{{"first", func(ctx context.Context, q []byte) ([]byte, error) {
			if slow.Load() {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return first.Reply(q)
		}}}
		w.online(true)
		w.start()
		w.pass(time.Minute)
		if _, stamps := w.office.counts(); stamps != 0 || first.Requests() != 0 && w.n.Status().Tokens != 1 {
			t.Errorf("the office was asked %d times although the first answers", stamps)
		}
		for _, f := range append(tsa.Failures(), tsa.Good) {
			if f == tsa.Broken { // of HTTP
				continue
			}
			if err := first.Fail(f); err != nil {
				t.Fatal(err)
			}
			slow.Store(f == tsa.Slow)
			w.pass(10 * time.Minute) // whatever failed may be asked again
			w.office.counts()
			before := w.n.Status().Tokens
			w.n.Moment(Precheck)
			w.pass(time.Minute)
			_, stamps := w.office.counts()
			if got := w.n.Status().Tokens - before; got != 1 || (stamps == 1) == (f == tsa.Good) {
				t.Errorf("with the first %q: %d tokens, the office was asked %d times", f, got, stamps)
			}
		}
		// With all of them failing it is tried again, at intervals that grow to five minutes.
		first.Fail(tsa.Refusing)
		w.tsa.Fail(tsa.WrongNonce)
		w.pass(10 * time.Minute)
		w.office.counts()
		w.n.Moment(Precheck)
		w.pass(10 * time.Hour)
		if _, stamps := w.office.counts(); stamps < 100 || stamps > 260 {
			t.Errorf("%d requests in ten hours", stamps)
		}
		if st := w.n.Status(); !st.Waiting || !strings.Contains(st.LastError, "nonce") && !strings.Contains(st.LastError, "refused") {
			t.Errorf("%+v", st)
		}
		w.tsa.Fail(tsa.Good)
		w.pass(backoffMax + time.Minute)
		if st := w.n.Status(); st.Waiting {
			t.Errorf("after it works again: %+v", st)
		}
	})
}

// TestClockJudgesOnlyWhenItKnows: a token's time is compared with a clock that knows its error.
func TestClockJudgesOnlyWhenItKnows(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tsa.Fail(tsa.ClockOff)
		w.clock = -1
		w.online(true)
		w.start()
		w.pass(time.Minute)
		if st := w.n.Status(); st.Tokens != 1 {
			t.Errorf("with a clock that knows nothing: %+v", st)
		}
	})
}

func TestNoRootNoJudgement(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts.Trust = func() *evidence.Trust { return &evidence.Trust{} }
		w.online(true)
		w.start()
		w.pass(time.Minute)
		if st := w.n.Status(); st.Tokens != 1 || st.Cosigs != 1 {
			t.Errorf("proofs that somebody else may judge are thrown away: %+v", st)
		}
		w.tsa.Fail(tsa.WrongImprint)
		w.n.Moment(Precheck)
		w.pass(time.Minute)
		if st := w.n.Status(); st.Tokens != 1 {
			t.Error("a token over other data is kept")
		}
	})
}

// TestOfficeWithoutAuthority: an office that has none is asked once an hour, not for ever.
func TestOfficeWithoutAuthority(t *testing.T) {
	inWorld(t, func(w *world) {
		asked := 0
		inner := w.opts.Office
		w.opts.Office = func(m report.Message) error {
			if ts, ok := m.(report.Timestamp); ok {
				asked++
				w.office.send(report.KindTimestamp, report.Timestamp{ID: ts.ID, Error: "unconfigured"}, time.Millisecond)
				return nil
			}
			return inner(m)
		}
		w.online(true)
		w.start()
		w.record(time.Hour)
		w.pass(9 * time.Hour)
		if asked < 9 || asked > 12 {
			t.Errorf("asked %d times in ten hours", asked)
		}
	})
}

// TestConflict: a device whose memory was set back is refused by the witness, says so, records on, and is
// a device like any other after its next start.
func TestConflict(t *testing.T) {
	inWorld(t, func(w *world) {
		w.online(true)
		w.start()
		w.record(5 * time.Minute)
		w.pass(time.Minute)
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
		id := w.record(time.Minute)
		w.pass(time.Hour)
		if !w.faults[FaultConflict] || !w.n.Status().Conflict {
			t.Errorf("%+v, faults %v", w.n.Status(), w.faults)
		}
		if _, token, cosig := w.proofs(id); !token || cosig || !w.stamped(id) {
			t.Errorf("tokens go on, cosignatures do not: %t, %t", token, cosig)
		}
		old := w.l.Origin()
		if o := w.restart(); !o.Fresh || o.Cause != ledger.CauseWitness || o.Prev == nil || o.Prev.Origin != old {
			t.Errorf("the next start: %+v", o)
		}
		id = w.record(time.Minute)
		w.pass(time.Minute)
		if _, token, cosig := w.proofs(id); !token || !cosig || w.n.Status().Conflict {
			t.Errorf("locked out: %+v", w.n.Status())
		}
	})
}

// TestWitnessForgetsOrIsDeaf: answers that do not come, or that do not help, end nothing.
func TestWitnessForgetsOrIsDeaf(t *testing.T) {
	inWorld(t, func(w *world) {
		w.online(true)
		w.start()
		w.pass(time.Minute)
		w.office.mu.Lock()
		w.office.deaf = true
		w.office.mu.Unlock()
		w.n.Moment(Precheck)
		w.pass(time.Hour)
		got := w.n.Status().Cosigs
		w.office.mu.Lock()
		w.office.deaf = false
		w.office.held = map[string]report.Held{} // and it lost its memory
		w.office.lines = map[string][]string{}
		w.office.mu.Unlock()
		w.pass(backoffMax + 2*askWitness)
		if st := w.n.Status(); st.Cosigs <= got || st.Conflict {
			t.Errorf("%+v", st)
		}
		if err := w.officeHasAll(); err != nil {
			t.Error(err)
		}
	})
}

// TestFalseCosignature: a line that does not hold is no proof.
func TestFalseCosignature(t *testing.T) {
	inWorld(t, func(w *world) {
		_, other, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		right := w.office.key
		key := right.Public().(ed25519.PublicKey)
		w.opts.Trust = func() *evidence.Trust {
			own, _ := evidence.NewWitness(witnessName, key)
			return &evidence.Trust{Witnesses: []evidence.Witness{own}}
		}
		w.office.key = other // the name is right, the key is not
		w.online(true)
		w.start()
		w.pass(time.Hour)
		if st := w.n.Status(); st.Cosigs > 0 || !strings.Contains(st.LastError, "cosignature") {
			t.Errorf("%+v", st)
		}
	})
}

// TestWitnessElsewhere: a witness that the office asks answers later; its line is kept all the same.
func TestWitnessElsewhere(t *testing.T) {
	inWorld(t, func(w *world) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		far, err := evidence.NewWitness("province.example/w", key.Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		trusted := w.opts.Trust
		w.opts.Trust = func() *evidence.Trust {
			x := trusted()
			x.Witnesses = append(x.Witnesses, far)
			return x
		}
		var after atomic.Int64
		after.Store(int64(30 * time.Second))
		w.office.elsehow = func(o *office, ck report.Checkpoint) {
			root, _ := evidence.ParseHash(ck.Root)
			line, err := evidence.Cosign(far.Name, key, evidence.SignedText(ck.Origin, ck.Size, root), time.Now())
			if err != nil {
				t.Error(err)
			}
			o.send(report.KindCosignature, report.Cosignature{Origin: ck.Origin, Size: ck.Size, Lines: []string{line}, HaveLines: int64(len(o.lines[ck.Origin]))}, time.Duration(after.Load()))
		}
		has := func(id string) bool {
			for name, b := range w.sessions[id] {
				if a, err := evidence.ParseAnchor(b); err == nil && strings.HasPrefix(name, "tokens/") {
					for _, line := range a.Cosignatures {
						sealed := strings.Contains(string(b), `\"type\":\"sealed\"`)
						if sealed && strings.Contains(line, far.Name) {
							return true
						}
					}
				}
			}
			return false
		}
		w.online(true)
		w.start()
		w.pass(time.Minute)
		id := w.record(3 * time.Minute)
		w.pass(2 * time.Minute)
		if !has(id) {
			t.Error("the line that came half a minute later is in no anchor over the seal")
		}
		after.Store(int64(time.Second)) // a quick one is waited for: one file holds all
		id = w.record(3 * time.Minute)
		w.pass(time.Minute)
		if !has(id) {
			t.Error("no line of the witness elsewhere")
		}
	})
}

// direct is a C2SP witness as it answers over HTTP.
type direct struct {
	w   *world
	key ed25519.PrivateKey

	mu    sync.Mutex // guards what follows
	size  int64
	root  evidence.Hash
	calls []string
	fail  int
}

func (d *direct) add(_ context.Context, body []byte) (int, string, []byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	head, note, ok := strings.Cut(string(body), "\n\n")
	lines := strings.Split(head, "\n")
	var old int64
	if _, err := fmt.Sscanf(lines[0], "old %d", &old); err != nil || !ok {
		return 0, "", nil, errors.New("malformed")
	}
	if d.fail != 0 {
		return d.fail, "", nil, nil
	}
	ck, err := evidence.ParseCheckpoint(note)
	if err != nil || ck.Verify(d.w.signer.Public()) != nil {
		return 403, "", nil, nil
	}
	if old != d.size {
		d.calls = append(d.calls, "409")
		return 409, "text/x.tlog.size", fmt.Appendf(nil, "%d\n", d.size), nil
	}
	var proof []evidence.Hash
	for _, l := range lines[1:] {
		h, err := evidence.ParseHash(l)
		if err != nil {
			return 400, "", nil, nil
		}
		proof = append(proof, h)
	}
	if d.size > 0 && evidence.CheckConsistency(d.size, ck.Size, d.root, ck.Root, proof) != nil {
		d.calls = append(d.calls, "422")
		return 422, "", nil, nil
	}
	d.size, d.root = ck.Size, ck.Root
	line, err := evidence.Cosign("direct.example/w", d.key, ck.Text(), time.Now())
	d.calls = append(d.calls, "200")
	return 200, "text/plain", []byte(line + "\n"), err
}

func TestWitnessDirectly(t *testing.T) {
	inWorld(t, func(w *world) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		d := &direct{w: w, key: key}
		w.opts.Office, w.opts.Relay, w.opts.Witness = nil, false, false
		w.opts.Witnesses = []WitnessAt{{"direct", d.add}}
		w.start()
		w.pass(time.Minute)
		id := w.record(2 * time.Minute)
		w.pass(time.Minute)
		w.restart() // it asks as if it knew nothing, and is told
		w.pass(time.Minute)
		if got := strings.Join(d.calls, " "); !strings.HasPrefix(got, "200 200 200") || !strings.HasSuffix(got, "200 409 200") || strings.Contains(got, "422") {
			t.Errorf("answers: %s", got)
		}
		found := false
		for name, b := range w.sessions[id] {
			found = found || strings.HasPrefix(name, "tokens/") && strings.Contains(string(b), "direct.example/w") && strings.Contains(string(b), `\"type\":\"sealed\"`)
		}
		if !found || w.n.Status().Owed > 0 {
			t.Errorf("no anchor over the seal: %+v", w.n.Status())
		}
		for _, status := range []int{403, 404, 500, 302} {
			d.mu.Lock()
			d.fail = status
			d.mu.Unlock()
			w.n.Moment(Precheck)
			w.pass(2 * backoffMax)
		}
		if st := w.n.Status(); st.Conflict || !strings.Contains(st.LastError, "302") {
			t.Errorf("%+v", st)
		}
		d.mu.Lock()
		d.fail = 0
		d.root = evidence.Hash{9} // another history of the same size
		d.mu.Unlock()
		w.pass(time.Hour)
		if st := w.n.Status(); !st.Conflict {
			t.Errorf("%+v", st)
		}
		if o := w.restart(); o.Cause != ledger.CauseWitness {
			t.Errorf("%+v", o)
		}
	})
}

// TestCutBeforeItIsNamed: a token that was kept and not yet named when the power went is named by the next.
func TestCutBeforeItIsNamed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.online(true)
		var broken atomic.Bool
		broken.Store(true)
		inner := w.opts.Append
		w.opts.Append = func(line any) error {
			if broken.Load() {
				return errors.New("the disk is full")
			}
			return inner(line)
		}
		w.start()
		w.pass(time.Minute)
		if st := w.n.Status(); st.Tokens > 0 || !strings.Contains(st.LastError, "full") {
			t.Errorf("%+v", st)
		}
		broken.Store(false)
		w.pass(time.Hour)
		if st := w.n.Status(); st.Tokens == 0 || st.Waiting {
			t.Errorf("%+v", st)
		}
		lines, err := w.l.ReadLines(0, 100, 1<<20)
		if err != nil || strings.Count(strings.Join(lines, "\n"), `"type":"token"`) == 0 {
			t.Errorf("%d lines, %v", len(lines), err)
		}
	})
}

func TestHTTPAddresses(t *testing.T) {
	for _, bad := range []string{"tsa.example", "://", ""} {
		if _, err := HTTPAuthority(bad, http.DefaultClient); err == nil {
			t.Errorf("authority %q is accepted", bad)
		}
		if _, err := HTTPWitness(bad, http.DefaultClient); err == nil {
			t.Errorf("witness %q is accepted", bad)
		}
	}
	a, err := HTTPAuthority("http://u:hunter2@tsa.example/x", http.DefaultClient)
	if err != nil || strings.Contains(a.Name, "hunter2") {
		t.Errorf("%q, %v", a.Name, err)
	}
}
