package witness

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	modnote "golang.org/x/mod/sumdb/note"

	"minglu/agent/evidence"
)

const (
	g1 = "00000000000000a1"
	g2 = "00000000000000a2"
)

// TestRules shows one checkpoint after another; each row is a rule.
func TestRules(t *testing.T) {
	key := newKey(t)
	honest := newHistory(t, key, g1)
	honest.grow(20, "line")
	forked := honest.fork(5, func(o *history) { o.grow(5, "line"); o.grow(20, "other") })
	later := newHistory(t, key, g2)
	later.grow(9, "line")
	stranger := newHistory(t, newKey(t), g1)
	stranger.grow(9, "line")
	usurper := newHistory(t, newKey(t), g1) // another key under the honest device's name
	usurper.origin = honest.origin
	usurper.grow(20, "line")
	for _, c := range []struct {
		rule   string
		shown  []Request // all but the last are cosigned
		status int       // of the last; 200: cosigned
		size   int64     // of the answer
		alarm  string
	}{
		{"the first state shown is believed", []Request{honest.show(0, 5)}, 200, 0, ""},
		{"what continues it is cosigned", []Request{honest.show(0, 5), honest.show(5, 9)}, 200, 0, ""},
		{"the same state is cosigned again", []Request{honest.show(0, 5), honest.show(5, 5)}, 200, 0, ""},
		{"who does not know what is held is told", []Request{honest.show(0, 5), honest.show(0, 9)}, 409, 5, ""},
		{"a smaller state is never cosigned", []Request{honest.show(0, 9), honest.show(0, 5)}, 409, 9, ""},
		{"another state of the same size is a fork", []Request{honest.show(0, 9), forked.show(9, 9)}, 409, 9, AlarmFork},
		{"a longer state that does not continue is a fork", []Request{honest.show(0, 9), forked.show(9, 20)}, 422, 9, AlarmFork},
		{"a state of before the fork may go on", []Request{honest.show(0, 5), forked.show(5, 20)}, 200, 0, ""},
		{"old beyond the size makes no sense", []Request{{Old: 9, Note: honest.show(0, 5).Note}}, 400, 0, ""},
		{"a proof from nothing makes no sense", []Request{{Note: honest.show(0, 5).Note, Proof: []evidence.Hash{{}}}}, 422, 0, ""},
		{"a device nobody knows", []Request{stranger.show(0, 5)}, 404, 0, ""},
		{"another key under a known name", []Request{usurper.show(0, 5)}, 403, 0, ""},
		{"a new ledger of a known device is believed, and told", []Request{honest.show(0, 9), later.show(0, 3)}, 200, 0, AlarmGeneration},
		{"a new ledger ends the one before", []Request{honest.show(0, 9), later.show(0, 3), honest.show(9, 20)}, 403, 9, AlarmGeneration + " " + AlarmEnded},
		{"text behind the size", []Request{{Note: strings.Replace(honest.show(0, 5).Note, "\n\n", "\nmore\n\n", 1)}}, 400, 0, ""},
		{"no signature at all", []Request{{Note: strings.SplitAfter(honest.show(0, 5).Note, "\n\n")[0]}}, 400, 0, ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			r := newRig(t, nil, honest)
			var line string
			var err error
			for i, q := range c.shown {
				line, err = r.Add(q)
				if i < len(c.shown)-1 && err != nil {
					t.Fatalf("state %d: %v", i, err)
				}
			}
			var no *Refusal
			switch {
			case c.status == 200 && err != nil:
				t.Fatalf("refused: %v", err)
			case c.status != 200 && (!errors.As(err, &no) || no.Status != c.status || no.Size != c.size):
				t.Fatalf("answer %v (%+v), want status %d, size %d", err, no, c.status, c.size)
			case c.status == 200:
				n, perr := parseNote(c.shown[len(c.shown)-1].Note)
				if perr != nil {
					t.Fatal(perr)
				}
				at, err := r.self.Verify(evidence.SignedText(n.origin, n.size, n.root), line)
				if err != nil || !at.Equal(start) {
					t.Errorf("cosignature of %v: %v", at, err)
				}
			}
			if got := strings.Join(r.codes(), " "); got != c.alarm {
				t.Errorf("alarms %q, want %q", got, c.alarm)
			}
		})
	}
}

// TestRestart: what was cosigned is known to the next process.
func TestRestart(t *testing.T) {
	h := newHistory(t, newKey(t), g1)
	h.grow(20, "line")
	r := newRig(t, nil, h)
	if _, err := r.Add(h.show(0, 9)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: r.dir, Name: "w", Key: r.key}); err == nil {
		t.Error("a second process may hold the same state")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.open(t, nil)
	var no *Refusal
	if _, err := r.Add(h.show(0, 20)); !errors.As(err, &no) || no.Size != 9 {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := r.Add(h.show(9, 20)); err != nil {
		t.Error(err)
	}
	held, err := r.Held(h.device())
	if err != nil || len(held) != 1 || held[0].Size != 20 {
		t.Errorf("held %v, %v", held, err)
	}
}

// TestRestored: a witness from a backup cosigns nothing until a person has confirmed it.
func TestRestored(t *testing.T) {
	h := newHistory(t, newKey(t), g1)
	h.grow(20, "line")
	r := newRig(t, nil, h)
	if _, err := r.Add(h.show(0, 9)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := Freeze(r.dir); err != nil {
		t.Fatal(err)
	}
	r.open(t, nil)
	if _, err := r.Add(h.show(9, 20)); !errors.Is(err, ErrFrozen) || !r.Frozen() {
		t.Errorf("restored and not confirmed: %v", err)
	}
	if err := r.Confirm(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Add(h.show(9, 20)); err != nil {
		t.Errorf("confirmed: %v", err)
	}
	r.Close()
	r.open(t, nil)
	if r.Frozen() {
		t.Error("the confirmation was forgotten")
	}
}

// TestHTTP speaks C2SP tlog-witness as any client would.
func TestHTTP(t *testing.T) {
	h := newHistory(t, newKey(t), g1)
	h.grow(20, "line")
	r := newRig(t, nil, h)
	srv := httptest.NewServer(r.Handler())
	defer srv.Close()
	call := func(body string) (int, string, string) {
		t.Helper()
		res, err := http.Post(srv.URL+"/add-checkpoint", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Header.Get("Content-Type"), string(b)
	}
	first := h.show(0, 9)
	code, _, body := call(first.Body())
	if code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	// A stock reader of signed notes finds both signatures, the device's and the witness's.
	verifier := cosignatureVerifier{r.self}
	got, err := modnote.Open([]byte(first.Note+body), modnote.VerifierList(verifier))
	if err != nil || len(got.Sigs) != 1 || got.Sigs[0].Name != "witness.example/w1" || len(got.UnverifiedSigs) != 1 {
		t.Errorf("note %+v, %v", got, err)
	}
	code, typ, body := call(h.show(0, 20).Body())
	if code != 409 || typ != "text/x.tlog.size" || body != "9\n" {
		t.Errorf("a size that is not held: %d %s %q", code, typ, body)
	}
	for _, c := range []struct {
		what, body string
		want       int
	}{
		{"nothing", "", 400},
		{"no old line", "\n\n" + first.Note, 400},
		{"old with a leading zero", strings.Replace(first.Body(), "old 0", "old 00", 1), 400},
		{"a proof line that is no hash", strings.Replace(first.Body(), "old 0\n", "old 0\nabc\n", 1), 400},
		{"too many proof lines", "old 1\n" + strings.Repeat(evidence.Hash{}.String()+"\n", 64) + "\n" + first.Note, 400},
		{"a wrong proof", "old 9\n" + evidence.Hash{}.String() + "\n\n" + h.show(9, 20).Note, 422},
		{"more than a request can be", strings.Repeat("x", maxBody+1), 400},
	} {
		if code, _, body := call(c.body); code != c.want {
			t.Errorf("%s: %d %q, want %d", c.what, code, body, c.want)
		}
	}
	res, err := http.Get(srv.URL + "/vkey")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); strings.TrimSpace(string(b)) != r.VKey() {
		t.Errorf("vkey %q", b)
	}
}

// cosignatureVerifier is a modnote.Verifier for cosignature/v1, as a stock client has one.
type cosignatureVerifier struct{ w evidence.Witness }

func (v cosignatureVerifier) Name() string { return v.w.Name }
func (v cosignatureVerifier) KeyHash() uint32 {
	id := v.w.ID()
	return uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3])
}
func (v cosignatureVerifier) Verify(msg, sig []byte) bool {
	id := v.w.ID()
	_, err := v.w.Verify(msg, "— "+v.w.Name+" "+b64(append(id[:], sig...)))
	return err == nil
}

// TestHonestLoss: a device whose flash lost its last minute begins a new ledger, and is not locked out.
func TestHonestLoss(t *testing.T) {
	for n := range 50 {
		key := newKey(t)
		h := newHistory(t, key, g1)
		h.grow(30+7*n%41, "line")
		r := newRig(t, nil, h)
		size := h.tree.Size()
		if _, err := r.Add(h.show(0, size)); err != nil {
			t.Fatal(err)
		}
		// It comes back with less than what it showed, is told so, and begins anew.
		short := size - 1 - int64(n)%20
		var no *Refusal
		if _, err := r.Add(h.show(0, short)); !errors.As(err, &no) || no.Status != 409 || no.Size != size {
			t.Fatalf("case %d: %v", n, err)
		}
		next := newHistory(t, key, fmt.Sprintf("%016x", n+100))
		next.grow(3, "anew")
		if _, err := r.Add(next.show(0, 3)); err != nil {
			t.Fatalf("case %d: locked out: %v", n, err)
		}
		if !slices.Equal(r.codes(), []string{AlarmGeneration}) {
			t.Errorf("case %d: alarms %v", n, r.codes())
		}
	}
}
