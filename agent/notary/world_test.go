package notary

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"minglu/agent/clock"
	"minglu/agent/durable"
	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/report"
	"minglu/sim/tsa"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a device's ledger with its notary, authorities, an office that is a witness, and the sealed
// sessions of two disks in one. It lives in a synctest bubble: weeks take no time.
type world struct {
	t      testing.TB
	state  string
	began  time.Time
	device string
	signer *evidence.Signer
	l      *ledger.Ledger
	n      *Notary
	opts   Options
	stop   context.CancelFunc
	done   chan error
	layer  durable.Layer
	byHand bool // the test makes the rounds itself

	tsa    *tsa.Server // of the office
	office office

	mu       sync.Mutex // guards what follows
	running  string
	named    []evidence.Anchor
	sessions map[string]map[string][]byte
	faults   map[string]bool
	through  string
	passed   []string
	clock    time.Duration // error of the clock
	writes   int
	broken   map[string]bool // sessions on a bad spot of the disk
	hang     chan struct{}   // reading waits until it is closed
}

// office is a witness that keeps lines and relays time-stamp requests.
type office struct {
	w   *world
	key ed25519.PrivateKey

	mu       sync.Mutex // guards what follows
	online   bool
	delay    time.Duration
	deaf     bool // gets everything, answers nothing
	held     map[string]report.Held
	lines    map[string][]string
	shown    []int64    // sizes of checkpoints that came
	proofs   int        // that held, from more than nothing
	proved   [][2]int64 // sizes from and to which they led
	stamps   int        // requests for tokens
	pieces   int
	elsehow  func(o *office, ck report.Checkpoint) // a witness elsewhere
	conflict int
}

const witnessName = "office.example/w1"

func newWorld(t testing.TB) *world {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, state: t.TempDir(), began: time.Now(), sessions: map[string]map[string][]byte{}, faults: map[string]bool{}, clock: 10 * time.Millisecond, layer: noSync{}}
	if w.signer, err = evidence.NewSigner(key); err != nil {
		t.Fatal(err)
	}
	w.device = evidence.DeviceID(w.signer.SPKI())
	if w.tsa, err = tsa.New(tsa.Options{}); err != nil {
		t.Fatal(err)
	}
	_, wkey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.office = office{w: w, key: wkey, delay: 50 * time.Millisecond, held: map[string]report.Held{}, lines: map[string][]string{}}
	w.opts = Options{
		Device: "room-1", Sessions: sessions{w}, Trust: w.trust, Now: w.now, Office: w.office.take, Relay: true, Witness: true,
		Recording: func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.running != "" },
		Append:    func(line any) error { _, err := w.l.Append(line); return err },
		Named:     func(a evidence.Anchor) { w.mu.Lock(); defer w.mu.Unlock(); w.named = append(w.named, a) },
		Fault:     func(code string, on bool) { w.mu.Lock(); defer w.mu.Unlock(); w.faults[code] = on },
		SaveThrough: func(s string, passed []string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.through, w.passed = s, slices.Clone(passed)
			return nil
		},
		Log: slog.New(slog.DiscardHandler),
	}
	return w
}

func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		f(w)
	})
}

func (w *world) now() clock.Reading {
	w.mu.Lock()
	defer w.mu.Unlock()
	return clock.Reading{T: time.Now().UTC(), Error: w.clock, Source: "chrony", Up: time.Hour + time.Since(w.began), Epoch: 1}
}

func (w *world) trust() *evidence.Trust {
	own, err := evidence.NewWitness(witnessName, w.office.key.Public().(ed25519.PublicKey))
	if err != nil {
		w.t.Fatal(err)
	}
	return &evidence.Trust{TSA: []*x509.Certificate{w.tsa.Root()}, Witnesses: []evidence.Witness{own}}
}

// start opens the ledger and runs the notary, as a start of the agent does.
func (w *world) start() (opened ledger.Opened) {
	w.t.Helper()
	var err error
	w.l, opened, err = ledger.Open(ledger.Options{State: w.state, Device: w.device, Signer: w.signer, Now: w.now, Boot: "b", Layer: w.layer, Log: w.opts.Log})
	if err != nil {
		w.t.Fatal(err)
	}
	o := w.opts
	o.Ledger, o.Through, o.Passed = w.l, w.through, w.passed
	w.n = New(o)
	ctx, stop := context.WithCancel(context.Background())
	w.stop, w.done = stop, make(chan error, 1)
	run := w.n.Run
	if w.byHand {
		run = func(ctx context.Context) error { w.n.feedLines(ctx); return ctx.Err() }
	}
	w.n.Connected(w.office.isOnline())
	go func() { w.done <- run(ctx) }()
	return opened
}

func (w *world) end() {
	if w.stop == nil {
		return
	}
	w.stop()
	if err := <-w.done; !errors.Is(err, context.Canceled) {
		w.t.Errorf("Run() = %v", err)
	}
	if err := w.l.Close(); err != nil {
		w.t.Error(err)
	}
	w.stop = nil
}

func (w *world) restart() ledger.Opened {
	w.end()
	return w.start()
}

// pass lets time pass and everything settle.
func (w *world) pass(d time.Duration) {
	time.Sleep(d) // inside the bubble: it takes no time
	synctest.Wait()
}

// online changes the connection to the office.
func (w *world) online(on bool) {
	w.office.mu.Lock()
	w.office.online = on
	w.office.mu.Unlock()
	if w.n != nil {
		w.n.Connected(on)
	}
}

func (w *world) head(session string) {
	w.t.Helper()
	if err := w.l.Head(session, "log.jsonl", 3, evidence.Hash{1}); err != nil {
		w.t.Fatal(err)
	}
}

// open begins a session.
func (w *world) open() string {
	w.t.Helper()
	id := time.Now().UTC().Format("20060102T150405Z-") + "00000001"
	w.mu.Lock()
	w.running = id
	w.mu.Unlock()
	w.head(id)
	w.n.Moment(Opened)
	return id
}

// seal ends it.
func (w *world) seal() {
	w.t.Helper()
	w.mu.Lock()
	id := w.running
	w.running = ""
	w.sessions[id] = map[string][]byte{signatureFile: []byte("signature of " + id)}
	w.mu.Unlock()
	w.head(id)
	if err := w.l.Sealed(id, "m", "p"); err != nil {
		w.t.Fatal(err)
	}
	w.n.Moment(Sealed)
}

// record is a session of a length, with a head each minute.
func (w *world) record(d time.Duration) string {
	w.t.Helper()
	id := w.open()
	for range int(d / time.Minute) {
		w.pass(time.Minute)
		w.head(id)
	}
	w.seal()
	return id
}

// proofs checks all that a session has and returns how many anchors, and whether its seal is proven by a
// token and by a cosignature.
func (w *world) proofs(id string) (anchors int, token, cosig bool) {
	w.t.Helper()
	w.mu.Lock()
	files := maps.Clone(w.sessions[id])
	w.mu.Unlock()
	for name, b := range files {
		if !strings.HasPrefix(name, "tokens/") {
			continue
		}
		a, err := evidence.ParseAnchor(b)
		if err != nil {
			w.t.Fatalf("%s: %s: %v", id, name, err)
		}
		if name != evidence.AnchorName(a.Checkpoint.Size) || a.Checkpoint.Verify(w.signer.Public()) != nil {
			w.t.Fatalf("%s: %s: %v", id, name, a.Checkpoint)
		}
		got, notes, err := w.trust().Outside(a)
		if err != nil || len(got) == 0 || len(notes) > 0 {
			w.t.Fatalf("%s: %s: %v, %q, %v", id, name, got, notes, err)
		}
		anchors++
		for _, l := range a.Lines {
			if strings.Contains(string(l.Line), `"type":"sealed"`) {
				token, cosig = token || len(a.Token) > 0, cosig || len(a.Cosignatures) > 0
			}
		}
	}
	return anchors, token, cosig
}

// stamped reports whether the session has a good manifest.json.tsr.
func (w *world) stamped(id string) bool {
	w.t.Helper()
	w.mu.Lock()
	b, p7s := w.sessions[id][tokenFile], w.sessions[id][signatureFile]
	w.mu.Unlock()
	if b == nil {
		return false
	}
	if _, err := w.trust().Token(b, sha256.Sum256(p7s)); err != nil {
		w.t.Errorf("%s: %v", id, err)
	}
	return true
}

// sessions implements Sessions.
type sessions struct{ w *world }

func (s sessions) Sealed(after string, n int) (ids []string, err error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.w.sessions)) {
		if id > after && len(ids) < n {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (s sessions) Read(id, file string) ([]byte, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.hang != nil {
		c := s.w.hang
		s.w.mu.Unlock()
		<-c
		s.w.mu.Lock()
	}
	if file == tokenFile && s.w.broken[id] {
		return nil, errors.New("input/output error")
	}
	if b, ok := s.w.sessions[id][file]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func (s sessions) Write(id, file string, data []byte) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.sessions[id][file] = data
	s.w.writes++
	return nil
}

func (s sessions) Anchors(int) error { return nil }

func (o *office) isOnline() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.online
}

// take gets one message of the device and answers it a moment later.
func (o *office) take(m report.Message) error {
	if _, err := report.Marshal(m); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.online || o.deaf {
		return nil // lost on the way
	}
	var k report.Kind
	var answer report.Message
	switch m := m.(type) {
	case report.Checkpoint:
		k, answer = report.KindCosignature, o.cosign(m)
		if o.elsehow != nil {
			o.elsehow(o, m)
		}
	case report.Ledger:
		o.pieces++
		if have := o.lines[m.Origin]; m.From <= int64(len(have)) {
			o.lines[m.Origin] = append(have[:m.From:m.From], m.Lines...)
		}
		k, answer = report.KindCosignature, report.Cosignature{Origin: m.Origin, HaveLines: int64(len(o.lines[m.Origin]))}
	case report.Timestamp:
		o.stamps++
		a := report.Timestamp{ID: m.ID}
		q, _ := base64.StdEncoding.DecodeString(m.Request)
		if reply, err := o.w.tsa.Reply(q); err != nil {
			a.Error = "unreachable"
		} else {
			a.Reply = base64.StdEncoding.EncodeToString(reply)
		}
		k, answer = report.KindTimestamp, a
	}
	o.send(k, answer, o.delay)
	return nil
}

func (o *office) send(k report.Kind, m report.Message, after time.Duration) {
	b, err := report.Marshal(m)
	if err != nil {
		o.w.t.Error(err)
		return
	}
	n := o.w.n
	time.AfterFunc(after, func() { n.Receive(k, b) })
}

// cosign is what a C2SP witness does.
func (o *office) cosign(m report.Checkpoint) report.Cosignature {
	o.shown = append(o.shown, m.Size)
	a := report.Cosignature{Origin: m.Origin, Size: m.Size, HaveLines: int64(len(o.lines[m.Origin]))}
	root, err := evidence.ParseHash(m.Root)
	if err != nil {
		o.w.t.Error(err)
	}
	if h, ok := o.held[m.Origin]; ok {
		a.Held = &h
		if m.Old != h.Size {
			a.Refused = "held"
			a.Conflict = h.Size > m.Size
			return a
		}
		old, _ := evidence.ParseHash(h.Root)
		var proof []evidence.Hash
		for _, s := range m.Proof {
			p, err := evidence.ParseHash(s)
			if err != nil {
				o.w.t.Error(err)
			}
			proof = append(proof, p)
		}
		if evidence.CheckConsistency(h.Size, m.Size, old, root, proof) != nil {
			a.Conflict, a.Refused = true, "proof"
			o.conflict++
			return a
		}
		o.proofs++
		o.proved = append(o.proved, [2]int64{h.Size, m.Size})
	} else if m.Old != 0 {
		a.Refused = "held"
		return a
	}
	o.held[m.Origin] = report.Held{Size: m.Size, Root: m.Root}
	line, err := evidence.Cosign(witnessName, o.key, evidence.SignedText(m.Origin, m.Size, root), time.Now())
	if err != nil {
		o.w.t.Error(err)
	}
	a.Lines, a.Held = []string{line}, &report.Held{Size: m.Size, Root: m.Root}
	return a
}

// counts returns what the office has seen since the last call.
func (o *office) counts() (shown, stamps int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	shown, stamps = len(o.shown), o.stamps
	o.shown, o.stamps = nil, 0
	return shown, stamps
}

// complete reports whether the office has every line of the ledger.
func (w *world) officeHasAll() error {
	lines, err := w.l.ReadLines(0, 1<<30, 1<<30)
	if err != nil {
		return err
	}
	w.office.mu.Lock()
	defer w.office.mu.Unlock()
	have := w.office.lines[w.l.Origin()]
	if !slices.Equal(have, lines[:min(len(have), len(lines))]) || len(lines)-len(have) > 8 {
		return fmt.Errorf("the office has %d lines of %d", len(have), len(lines))
	}
	return nil
}

// noSync is the real file system without syncs.
type noSync struct{ durable.OS }

func (noSync) SyncDir(string) error { return nil }

func (n noSync) OpenFile(name string, flag int, perm fs.FileMode) (durable.Handle, error) {
	h, err := n.OS.OpenFile(name, flag, perm)
	return noSyncFile{h}, err
}

type noSyncFile struct{ durable.Handle }

func (noSyncFile) Sync() error     { return nil }
func (noSyncFile) Datasync() error { return nil }
