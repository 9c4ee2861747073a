package witness

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"minglu/agent/durable"
	"minglu/agent/evidence"
)

var start = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

// history is a device's ledger as somebody with its key could write it.
type history struct {
	t      testing.TB
	signer *evidence.Signer
	origin string
	tree   evidence.FullTree
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newHistory begins a ledger of the device with that key.
func newHistory(t testing.TB, key *ecdsa.PrivateKey, generation string) *history {
	t.Helper()
	s, err := evidence.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return &history{t: t, signer: s, origin: evidence.LedgerOrigin(evidence.DeviceID(s.SPKI()), generation)}
}

func (h *history) device() string { return evidence.DeviceID(h.signer.SPKI()) }

// grow adds n lines that differ by what.
func (h *history) grow(n int, what string) {
	for range n {
		h.tree.Append(fmt.Appendf(nil, "%s %d", what, h.tree.Size()))
	}
}

// fork returns another history with the same first lines.
func (h *history) fork(size int64, again func(*history)) *history {
	o := &history{t: h.t, signer: h.signer, origin: h.origin}
	again(o)
	if o.tree.Size() < size {
		h.t.Fatal("BUG: the fork is shorter than what it shares")
	}
	return o
}

// show makes a request for a size, with the proof from old.
func (h *history) show(old, size int64) Request {
	h.t.Helper()
	root, err := h.tree.Root(size)
	if err != nil {
		h.t.Fatal(err)
	}
	sig, err := h.signer.Sign(h.origin, size, root)
	if err != nil {
		h.t.Fatal(err)
	}
	r := Request{Old: old, Note: evidence.Note(h.origin, size, root, sig)}
	if old > 0 && old < size {
		if r.Proof, err = h.tree.Consistency(old, size); err != nil {
			h.t.Fatal(err)
		}
	}
	return r
}

// rig is a witness in a folder with its alarms.
type rig struct {
	*Witness
	dir string
	key ed25519.PrivateKey

	mu     sync.Mutex
	alarms []Alarm
	keys   map[string][]*ecdsa.PublicKey
}

func newRig(t testing.TB, layer durable.Layer, known ...*history) *rig {
	t.Helper()
	r := newRigIn(t, filepath.Join(t.TempDir(), "witness"), known...)
	r.open(t, layer)
	return r
}

// newRigIn makes a rig whose witness is not open yet.
func newRigIn(t testing.TB, dir string, known ...*history) *rig {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{dir: dir, key: key, keys: map[string][]*ecdsa.PublicKey{}}
	for _, h := range known {
		r.keys[h.device()] = []*ecdsa.PublicKey{h.signer.Public()}
	}
	return r
}

// open opens the witness, after the one before has been closed.
func (r *rig) open(t testing.TB, layer durable.Layer) {
	t.Helper()
	w, err := Open(r.options(layer))
	if err != nil {
		t.Fatal(err)
	}
	r.Witness = w
	t.Cleanup(func() { w.Close() })
}

// codes returns the alarms so far.
func (r *rig) codes() (codes []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.alarms {
		codes = append(codes, a.Code)
	}
	return codes
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func (r *rig) options(layer durable.Layer) Options {
	return Options{Dir: r.dir, Name: "witness.example/w1", Key: r.key, Layer: layer,
		Log:  slog.New(slog.DiscardHandler),
		Now:  func() time.Time { return start },
		Keys: func(d string) []*ecdsa.PublicKey { return r.keys[d] },
		Alarm: func(a Alarm) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.alarms = append(r.alarms, a)
		}}
}
