package witness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/report"
)

// memory keeps lines as package ledgers would, believing them.
type memory struct {
	mu    sync.Mutex
	trees map[string]*evidence.FullTree
	roots map[string]map[int64]string
}

func (m *memory) Append(origin string, from int64, lines []string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.trees[origin]
	if t == nil {
		t = new(evidence.FullTree)
		m.trees[origin], m.roots[origin] = t, map[int64]string{}
	}
	if from != t.Size() {
		return t.Size(), errors.New("a hole")
	}
	for _, l := range lines {
		t.Append([]byte(l))
		root, _ := t.Root(t.Size())
		m.roots[origin][t.Size()] = root.String()
	}
	return t.Size(), nil
}

func (m *memory) Have(origin string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.trees[origin]; t != nil {
		return t.Size(), nil
	}
	return 0, nil
}

func (m *memory) SignedRoot(origin string, size int64) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	root, ok := m.roots[origin][size]
	return root, ok
}

func (m *memory) Proof(origin string, from, to int64) ([]evidence.Hash, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.trees[origin]; t != nil {
		return t.Consistency(from, to)
	}
	return nil, errors.New("no lines")
}

// office is an exchange with what it answered.
type office struct {
	*Exchange
	answers chan report.Cosignature
}

func newOffice(t *testing.T, r *rig, h *history, outside ...OutsideWitness) *office {
	t.Helper()
	o := &office{answers: make(chan report.Cosignature, 100)}
	lines := &memory{trees: map[string]*evidence.FullTree{}, roots: map[string]map[int64]string{}}
	send := func(_ string, k report.Kind, payload []byte) error {
		c, err := report.ParseCosignature(payload)
		if err != nil || k != report.KindCosignature {
			t.Errorf("sent %s %s: %v", k, payload, err)
		}
		o.answers <- c
		return nil
	}
	x, err := NewOutside(OutsideOptions{Witnesses: outside, Lines: lines, Send: send, Retry: time.Hour, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	o.Exchange = &Exchange{Witness: r.Witness, Lines: lines, Send: send, Outside: x, ID: func(device string) string {
		if device == "room-3" {
			return h.device()
		}
		return ""
	}}
	return o
}

// show sends a checkpoint as the device would, and returns the answer.
func (o *office) show(t *testing.T, device string, h *history, old, size int64) (report.Cosignature, error) {
	t.Helper()
	q := h.show(old, size)
	root, _ := h.tree.Root(size)
	m := report.Checkpoint{V: 1, Device: device, T: start, Origin: h.origin, Old: old, Size: size, Root: root.String(), Note: q.Note}
	for _, p := range q.Proof {
		m.Proof = append(m.Proof, p.String())
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	err = o.Receive(device, report.KindCheckpoint, b)
	return <-o.answers, err
}

// lines sends the lines from one number on to another.
func (o *office) send(t *testing.T, device string, h *history, what string, from, to int64) (report.Cosignature, error) {
	t.Helper()
	m := report.Ledger{V: 1, Device: device, T: start, Origin: h.origin, From: from}
	for i := from; i < to; i++ {
		m.Lines = append(m.Lines, fmt.Sprintf("%s %d", what, i))
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	err = o.Receive(device, report.KindLedger, b)
	return <-o.answers, err
}

func TestExchange(t *testing.T) {
	h := newHistory(t, newKey(t), g1)
	h.grow(40, "line")
	forked := h.fork(6, func(o *history) { o.grow(6, "line"); o.grow(34, "other") })
	r := newRig(t, nil, h)
	o := newOffice(t, r, h)

	a, err := o.show(t, "room-3", h, 0, 9)
	if err != nil || len(a.Lines) != 1 || a.Held == nil || a.Held.Size != 9 || a.Conflict || a.Refused != "" || a.HaveLines != 0 {
		t.Fatalf("first: %+v, %v", a, err)
	}
	if a, err = o.show(t, "room-3", h, 5, 20); err != nil || a.Held.Size != 9 || a.Conflict || len(a.Lines) != 0 {
		t.Errorf("a device that is mistaken about what is held is told, and it is no alarm: %+v, %v", a, err)
	}
	if a, _ = o.show(t, "room-3", h, 0, 5); !a.Conflict || a.Held.Size != 9 {
		t.Errorf("a device that has less than it showed: %+v", a)
	}
	if a, err = o.show(t, "room-3", forked, 9, 20); err == nil || !a.Conflict || a.Refused != "fork" && a.Refused != "proof" {
		t.Errorf("a fork: %+v, %v", a, err)
	}
	if a, err = o.show(t, "room-4", h, 9, 20); !errors.Is(err, errForeign) || a.Refused != "foreign" || len(a.Lines) != 0 {
		t.Errorf("another device's ledger: %+v, %v", a, err)
	}
	if a, err = o.send(t, "room-3", h, "line", 0, 12); err != nil || a.HaveLines != 12 || a.Size != 0 {
		t.Errorf("lines: %+v, %v", a, err)
	}
	known := len(r.Witness.devices)
	if a, err = o.send(t, "room-4", h, "line", 0, 12); !errors.Is(err, errForeign) || a.Refused != "foreign" || a.Held != nil || a.HaveLines != 0 {
		t.Errorf("lines of another device's ledger: %+v, %v", a, err)
	}
	if a, err = o.show(t, "room-4", h, 9, 20); !errors.Is(err, errForeign) || a.Refused != "foreign" || a.Held != nil || a.HaveLines != 0 {
		t.Errorf("what is kept of another device is told: %+v, %v", a, err)
	}
	invented := report.Ledger{V: 1, Device: "room-4", T: start, Origin: "minglu/" + strings.Repeat("a", 32) + "/" + strings.Repeat("b", 16), Lines: []string{"{}"}}
	if b, err := json.Marshal(invented); err != nil || !errors.Is(o.Receive("room-4", report.KindLedger, b), errForeign) {
		t.Error("an invented ledger is nobody's")
	}
	<-o.answers
	if len(r.Witness.devices) != known {
		t.Errorf("%d devices are remembered, %d before one was invented", len(r.Witness.devices), known)
	}
	if a, err = o.send(t, "room-3", h, "line", 20, 22); err == nil || a.HaveLines != 12 || a.Refused != "lines" {
		t.Errorf("lines behind a hole: %+v, %v", a, err)
	}
	if len(r.codes()) == 0 || r.codes()[len(r.codes())-1] != AlarmFork {
		t.Errorf("alarms %v", r.codes())
	}
	if err := o.Receive("room-3", report.KindCheckpoint, []byte("{}")); err == nil {
		t.Error("nonsense is taken")
	}
}

// TestLinesAreThoseCosigned: lines that are not the ones the device showed a checkpoint of raise an alarm.
func TestLinesAreThoseCosigned(t *testing.T) {
	h := newHistory(t, newKey(t), g1)
	h.grow(20, "line")
	r := newRig(t, nil, h)
	o := newOffice(t, r, h)
	if _, err := o.show(t, "room-3", h, 0, 9); err != nil {
		t.Fatal(err)
	}
	if _, err := o.send(t, "room-3", h, "other", 0, 12); err != nil {
		t.Fatal(err)
	}
	if got := r.codes(); len(got) != 1 || got[0] != AlarmLines {
		t.Errorf("alarms %v, want %s", got, AlarmLines)
	}
}

// TestOutside: a witness elsewhere is asked for each state the office cosigned, from what it holds.
func TestOutside(t *testing.T) {
	h := newHistory(t, newKey(t), g1)
	h.grow(40, "line")
	office, province := newRig(t, nil, h), newRig(t, nil, h)
	srv := httptest.NewServer(province.Handler())
	defer srv.Close()
	// It has seen the ledger before, of which the office knows nothing.
	if _, err := province.Add(h.show(0, 4)); err != nil {
		t.Fatal(err)
	}
	o := newOffice(t, office, h, OutsideWitness{URL: srv.URL, Key: province.self})
	if _, err := o.send(t, "room-3", h, "line", 0, 12); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ old, size int64 }{{0, 9}, {9, 12}} {
		if _, err := o.show(t, "room-3", h, step.old, step.size); err != nil {
			t.Fatal(err)
		}
		a := <-o.answers
		root, _ := h.tree.Root(step.size)
		if a.Size != step.size || len(a.Lines) != 1 {
			t.Fatalf("from outside: %+v", a)
		}
		if _, err := province.self.Verify(evidence.SignedText(h.origin, step.size, root), a.Lines[0]); err != nil {
			t.Error(err)
		}
	}
	// A state whose lines the office does not have yet waits for them.
	if _, err := o.show(t, "room-3", h, 12, 30); err != nil {
		t.Fatal(err)
	}
	if _, err := o.send(t, "room-3", h, "line", 12, 40); err != nil {
		t.Fatal(err)
	}
	if a := <-o.answers; a.Size != 30 || len(a.Lines) != 1 || a.HaveLines != 40 {
		t.Errorf("after the lines came: %+v", a)
	}
}
